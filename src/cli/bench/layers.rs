//! `bench --layers`: what each fused step of the backbone costs, against the most that this
//! processor can do.

use crate::cli::failure::Failure;
use crate::cli::terminal::{Colour, Out};
use partgate::inspection::Inspector;
use partgate::network::{Kernel, StepCost, peak_products};
use serde::Serialize;
use std::time::Duration;

/// How long the yardstick is measured, before and after the steps.
const PEAK: Duration = Duration::from_millis(100);

/// A fused step, medians over the runs.
#[derive(Serialize)]
pub(super) struct Layer {
    /// First and last node of the file in it.
    nodes: String,
    microseconds: f64,
    /// Multiplications of the convolutions in it.
    products: u64,
    products_per_second: f64,
    /// Of what `threads` threads could do at best.
    share_of_peak: f64,
}

/// The steps of the first member's backbone.
#[derive(Serialize)]
pub(super) struct Layers {
    kernel: String,
    /// Of one thread, all data in the first cache, measured in this run.
    peak_products_per_second: f64,
    steps: Vec<Layer>,
}

/// Measures every step `runs` times on the frame that was inspected last.
pub(super) fn measure(
    inspector: &mut Inspector,
    runs: u32,
    threads: usize,
) -> Result<Option<Layers>, Failure> {
    let kernel = Kernel::chosen().map_err(Failure::input)?;
    let before = peak_products(kernel, PEAK);
    let mut found: Vec<Vec<StepCost>> = Vec::new();
    for _ in 0..runs {
        found.push(inspector.backbone_steps().map_err(Failure::input)?);
    }
    let peak = before.max(peak_products(kernel, PEAK));
    let Some(first) = found.first().filter(|steps| !steps.is_empty()) else {
        return Ok(None);
    };
    let steps = first.iter().enumerate().map(|(number, step)| {
        let mut times: Vec<f64> = found.iter().map(|run| run[number].microseconds).collect();
        times.sort_by(f64::total_cmp);
        let microseconds = times[times.len() / 2];
        let rate = step.products as f64 / microseconds.max(1e-3) * 1e6;
        Layer {
            nodes: step.nodes.clone(),
            microseconds,
            products: step.products,
            products_per_second: rate,
            share_of_peak: rate / (peak * threads as f64),
        }
    });
    Ok(Some(Layers {
        kernel: kernel.to_string(),
        peak_products_per_second: peak,
        steps: steps.collect(),
    }))
}

pub(super) fn print(layers: &Layers, out: &mut Out) -> Result<(), Failure> {
    out.line("")?;
    let header = format!(
        "{:>9}  {:>7}  {:>7}  {:>5}  step of the backbone",
        "us", "MMAC", "GMAC/s", "peak"
    );
    out.line(out.paint(header, Colour::Soft))?;
    let row = |microseconds: f64, products: u64, rate: f64, share: f64, name: &str| {
        format!(
            "{microseconds:>9.1}  {:>7.2}  {:>7.1}  {:>3.0} %  {name}",
            products as f64 / 1e6,
            rate / 1e9,
            share * 100.0
        )
    };
    for s in &layers.steps {
        out.line(row(
            s.microseconds,
            s.products,
            s.products_per_second,
            s.share_of_peak,
            &s.nodes,
        ))?;
    }
    out.line(format_args!(
        "peak: {:.1} GMAC/s on one thread by {}, measured in this run; the steps' medians",
        layers.peak_products_per_second / 1e9,
        layers.kernel
    ))
}
