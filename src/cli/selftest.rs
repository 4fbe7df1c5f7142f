//! `partgate selftest`: does this machine give the trainer's results for the bundle's own images?

use super::failure::{Code, Failure};
use super::terminal::{Colour, Out};
use super::{PlacementOptions, ThreadCount, load, open, places};
use clap::Args;
use partgate::inspection::Kernels;
use partgate::product::{GoldenOutcome, Parity};
use serde::Serialize;
use std::path::PathBuf;

/// Inspect the bundle's golden images on this machine and compare with the trainer's results
///
/// A bundle holds a few images with the trainer's score, verdict and map. All three must be the
/// same here, within the bundle's bounds.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  partgate selftest part.pgp\n  partgate selftest part.pgp --json --threads 1\n\nExit codes: 0 all agree, 3 the accelerator cannot be used, 4 the bundle cannot be used,\n5 a golden image disagreed, or the bundle has none."
)]
pub(crate) struct Arguments {
    /// The product bundle
    bundle: PathBuf,
    #[command(flatten)]
    threads: ThreadCount,
    #[command(flatten)]
    placement: PlacementOptions,
}

#[derive(Serialize)]
struct Report {
    agrees: bool,
    /// Who signed the product, or UNSIGNED.
    origin: String,
    goldens: Vec<GoldenOutcome>,
    bounds: Parity,
    kernels: Kernels,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments, out: &mut Out) -> Result<Code, Failure> {
    let product = open(&arguments.bundle)?;
    let mut inspector = load(
        &product,
        &arguments.threads.threads()?,
        arguments.placement.placement(),
    )?;
    let goldens = inspector.selftest(&product).map_err(Failure::bundle)?;
    let disagreeing = goldens.iter().filter(|g| !g.agrees).count();
    // A test without images is not a passed test.
    let agrees = disagreeing == 0 && !goldens.is_empty();
    let code = if agrees { Code::Done } else { Code::Parity };
    let bounds = product.manifest().parity;
    if out.json() {
        out.json_page(&Report {
            agrees,
            origin: product.signature().to_string(),
            goldens,
            bounds,
            kernels: inspector.kernels(),
        })?;
        return Ok(code);
    }
    let width = goldens.iter().map(|g| g.name.chars().count()).max();
    let width = width.unwrap_or(0).max("golden".len());
    if goldens.is_empty() {
        out.line(format_args!(
            "{}: the bundle has no golden images, so nothing can be compared; fit it again with partgate-train",
            product.origin()
        ))?;
        return Ok(code);
    }
    let header = format!(
        "{:width$}  {:>12}  {:>12}  {:>10}  {:>10}  {:8}  {:8}",
        "golden", "trainer", "here", "difference", "map corr.", "trainer", "here"
    );
    out.line(out.paint(header, Colour::Soft))?;
    for golden in &goldens {
        let word = if golden.agrees {
            out.paint("agrees", Colour::Good)
        } else {
            out.paint("DISAGREES", Colour::Bad)
        };
        out.line(format_args!(
            "{:width$}  {:>12.6}  {:>12.6}  {:>10.1e}  {:>10.6}  {:8}  {:8}  {word}",
            golden.name,
            golden.expected_score,
            golden.score,
            golden.relative_difference,
            golden.map_correlation,
            golden.expected_verdict,
            golden.verdict
        ))?;
    }
    for place in places(&inspector.kernels()) {
        out.line(place)?;
    }
    out.line(format_args!(
        "{}: {}",
        product.origin(),
        product.signature()
    ))?;
    out.line(format_args!(
        "bounds: score within {:.1e} relative, map correlation at least {}, verdict equal",
        bounds.score_relative, bounds.map_correlation
    ))?;
    out.line(if agrees {
        out.paint(
            format_args!("all {} golden images agree", goldens.len()),
            Colour::Good,
        )
    } else {
        out.paint(
            format_args!(
                "{disagreeing} of {} golden images disagree: this machine does not inspect as the trainer did",
                goldens.len()
            ),
            Colour::Bad,
        )
    })?;
    Ok(code)
}
