//! `partgate bench`: how long each stage takes on this machine.

mod layers;
mod line;

use super::failure::{Code, Failure};
use super::memory::peak_rss_bytes;
use super::progress::Progress;
use super::terminal::{Colour, Out};
use super::{PlacementOptions, ThreadCount, load, ms, open, places};
use clap::Args;
use layers::Layers;
use partgate::frame::Frame;
use partgate::frame::file::read_frame;
use partgate::inspection::{Inspector, Kernels, Stage};
use partgate::product::Product;
use partgate::size::Size;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use thiserror::Error;

/// Measure how long the inspection of one image takes here, stage by stage
///
/// The same image is inspected again and again. `start_ms` is the time from the start of the
/// process until the first image can be inspected: the bundle is opened and checked, the network
/// is loaded and optimised. Build with --release to get useful figures.
///
/// With --layers each fused step of the backbone is measured too, in multiplications per second and
/// as a share of what this processor can do at best, which is measured in the same run.
///
/// With --line the running line is measured instead, in real time and with all its threads. Parts
/// come to simulated inputs at rising rates and are really inspected. The distance of the ejector
/// follows from the time that an inspection takes. The results are when outputs are set and
/// whether anything is late.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  partgate bench part.pgp\n  partgate bench part.pgp --threads 1 --runs 500 --json\n  partgate bench part.pgp --threads 1 --layers\n  partgate bench --line part.pgp --seconds 20\n\nJSON: origin, stages.NAME.{p50_ms,p90_ms,p99_ms,max_ms}, total.{...}, frames_per_second, peak_rss_bytes,\nstart_ms, kernels, runs, warmup, threads, bank_rows, side\n(a number for a square, else {width,height}); others, if there are further members,\nwhose times are in the stages; layers, with --layers: kernel, peak_products_per_second,\nsteps[].{nodes,microseconds,products,products_per_second,share_of_peak}. The stage `decode` is there only with --image\nand is not part of `total`.\nJSON with --line: origin, rates[].{parts_per_second,parts,late,passed,rejected,judging,trigger_to_verdict,\ntrigger_to_output,output_jitter}, each time {count,p50_us,p99_us,p999_us,max_us};\nhighest_parts_per_second, judging_alone, gate_ms, threads.\n\nExit codes: 0 done, 3 the image or the accelerator cannot be used, 4 the bundle cannot be used, or runs in floats with\n--require-integers."
)]
pub(crate) struct Arguments {
    /// The product bundle [with --line: default: the built-in product]
    #[arg(required_unless_present = "line")]
    bundle: Option<PathBuf>,
    /// Measure the running line
    #[arg(long, conflicts_with_all = ["image", "runs", "warmup"])]
    line: bool,
    /// With --line: how many seconds parts come at each rate. A rate that is too high for the
    /// inspector shows only when the queue is longer than the way to the ejector
    #[arg(long, value_name = "N", default_value_t = 20, requires = "line", value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Image to inspect [default: the bundle's first golden image]
    #[arg(long, value_name = "PATH")]
    image: Option<PathBuf>,
    /// Measured runs
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    runs: u32,
    /// Runs before the measured ones
    #[arg(long, value_name = "N", default_value_t = 10)]
    warmup: u32,
    /// Measure each fused step of the backbone as well
    #[arg(long, conflicts_with = "line")]
    layers: bool,
    /// Refuse a product of which a network, or a part of one, runs in floats
    #[arg(long, conflicts_with = "line")]
    require_integers: bool,
    #[command(flatten)]
    threads: ThreadCount,
    #[command(flatten)]
    placement: PlacementOptions,
}

#[derive(Debug, Error)]
#[error("{bundle}: the bundle has no golden image to measure with; name one with --image")]
struct NoImage {
    bundle: String,
}

#[derive(Serialize)]
struct Percentiles {
    p50_ms: f64,
    p90_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

impl Percentiles {
    /// Nearest rank: every figure is a time that was measured.
    fn of(times: &mut [Duration]) -> Self {
        times.sort_unstable();
        let rank = |share: f64| {
            let at = (share * times.len() as f64).ceil() as usize;
            times
                .get(at.saturating_sub(1))
                .map_or(0.0, |time| ms(*time))
        };
        Self {
            p50_ms: rank(0.50),
            p90_ms: rank(0.90),
            p99_ms: rank(0.99),
            max_ms: rank(1.0),
        }
    }
}

#[derive(Serialize)]
struct Report {
    bundle: PathBuf,
    /// Who signed the product, or UNSIGNED.
    origin: String,
    stages: BTreeMap<&'static str, Percentiles>,
    total: Percentiles,
    frames_per_second: f64,
    /// None if the system does not report it.
    peak_rss_bytes: Option<u64>,
    start_ms: f64,
    kernels: Kernels,
    runs: u32,
    warmup: u32,
    threads: usize,
    bank_rows: usize,
    #[serde(rename = "side")]
    size: Size,
    /// Further members of an ensemble, in their order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    others: Vec<MemberSize>,
    /// The steps of a backbone that runs in integers, if they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    layers: Option<Layers>,
}

#[derive(Serialize)]
struct MemberSize {
    #[serde(rename = "side")]
    size: Size,
    bank_rows: usize,
}

/// The times of the measured runs.
struct Measured {
    /// In the order of [`Stage::ALL`]; empty for a stage that the product does not have.
    stages: Vec<Vec<Duration>>,
    totals: Vec<Duration>,
    /// Empty without --image.
    decodes: Vec<Duration>,
}

impl Measured {
    /// The stages in the order of the printed table.
    fn table(&mut self) -> Vec<(&'static str, Percentiles)> {
        let mut table: Vec<(&'static str, Percentiles)> = Vec::new();
        if !self.decodes.is_empty() {
            table.push(("decode", Percentiles::of(&mut self.decodes)));
        }
        for (stage, times) in Stage::ALL.iter().zip(&mut self.stages) {
            if !times.is_empty() {
                table.push((stage.name(), Percentiles::of(times)));
            }
        }
        table
    }
}

fn picture(arguments: &Arguments, product: &Product) -> Result<Frame, Failure> {
    match (&arguments.image, product.manifest().goldens.first()) {
        (Some(path), _) => read_frame(path).map_err(Failure::input),
        (None, Some(golden)) => product.golden_frame(golden).map_err(Failure::bundle),
        (None, None) => {
            let bundle = product.origin().to_string();
            Err(Failure::input(NoImage { bundle }))
        }
    }
}

fn measure(
    arguments: &Arguments,
    inspector: &mut Inspector,
    frame: &Frame,
) -> Result<Measured, Failure> {
    let mut measured = Measured {
        stages: vec![Vec::new(); Stage::ALL.len()],
        totals: Vec::new(),
        decodes: Vec::new(),
    };
    let runs = arguments.warmup + arguments.runs;
    let mut progress = Progress::new("measuring", runs as usize);
    for run in 0..runs {
        let decode = Instant::now();
        if let Some(path) = &arguments.image {
            read_frame(path).map_err(Failure::input)?;
        }
        let decode = decode.elapsed();
        let inspection = inspector.inspect(frame).map_err(Failure::input)?;
        progress.step();
        if run < arguments.warmup {
            continue;
        }
        // By name and not by position: most products have no refinement.
        for (stage, time) in &inspection.stages {
            let mut named = Stage::ALL.iter().zip(&mut measured.stages);
            if let Some((_, times)) = named.find(|(s, _)| *s == stage) {
                times.push(*time);
            }
        }
        measured.totals.push(inspection.total());
        if arguments.image.is_some() {
            measured.decodes.push(decode);
        }
    }
    Ok(measured)
}

/// Runs the command. `started` is when the process began.
pub(crate) fn run(arguments: &Arguments, started: Instant, out: &mut Out) -> Result<Code, Failure> {
    let bundle = match &arguments.bundle {
        Some(bundle) if !arguments.line => bundle,
        bundle => return line::run(bundle.as_deref(), arguments, out),
    };
    let product = open(bundle)?;
    let threads = arguments.threads.threads()?;
    let mut inspector = load(&product, &threads, arguments.placement.placement())?;
    if arguments.require_integers {
        inspector.require_integers().map_err(Failure::bundle)?;
    }
    let start = started.elapsed();

    let frame = picture(arguments, &product)?;
    let mut measured = measure(arguments, &mut inspector, &frame)?;
    let inspection: Duration = measured.totals.iter().sum();
    let table = measured.table();
    let total = Percentiles::of(&mut measured.totals);
    let kernels = inspector.kernels();
    let layers = match arguments.layers {
        true => layers::measure(&mut inspector, arguments.runs, threads.count())?,
        false => None,
    };
    let report = Report {
        bundle: bundle.clone(),
        origin: product.signature().to_string(),
        total,
        frames_per_second: f64::from(arguments.runs) / inspection.as_secs_f64(),
        peak_rss_bytes: peak_rss_bytes(),
        start_ms: ms(start),
        kernels,
        runs: arguments.runs,
        warmup: arguments.warmup,
        threads: threads.count(),
        bank_rows: product.bank().rows(),
        size: inspector.size(),
        others: product.members()[1..]
            .iter()
            .map(|member| MemberSize {
                size: member.input().size(),
                bank_rows: member.bank().rows(),
            })
            .collect(),
        layers,
        stages: BTreeMap::new(),
    };
    if out.json() {
        out.json_page(&Report {
            stages: table.into_iter().collect(),
            ..report
        })?;
    } else {
        print(&report, &table, out)?;
    }
    Ok(Code::Done)
}

fn print(
    report: &Report,
    table: &[(&'static str, Percentiles)],
    out: &mut Out,
) -> Result<(), Failure> {
    let others: String = report
        .others
        .iter()
        .map(|m| format!(" + {} px, bank of {} rows", m.size.briefly(), m.bank_rows))
        .collect();
    out.line(format_args!(
        "{}: {} px, bank of {} rows{others}, {} threads, {} runs",
        report.bundle.display(),
        report.size.briefly(),
        report.bank_rows,
        report.threads,
        report.runs
    ))?;
    out.line(format_args!("product            {}", report.origin))?;
    let header = format!(
        "{:12}  {:>9}  {:>9}  {:>9}  {:>9}",
        "stage (ms)", "p50", "p90", "p99", "max"
    );
    out.line(out.paint(header, Colour::Soft))?;
    let row = |name: &str, p: &Percentiles| {
        format!(
            "{name:12}  {:>9.2}  {:>9.2}  {:>9.2}  {:>9.2}",
            p.p50_ms, p.p90_ms, p.p99_ms, p.max_ms
        )
    };
    for (name, percentiles) in table {
        out.line(row(name, percentiles))?;
    }
    let total = out.paint(row("total", &report.total), Colour::Bold);
    out.line(total)?;
    if table.iter().any(|(name, _)| *name == "decode") {
        out.line("(decode is not part of the total)")?;
    }
    out.line("")?;
    out.line(format_args!(
        "frames per second  {:.1}",
        report.frames_per_second
    ))?;
    let memory = report.peak_rss_bytes.map_or("unknown".into(), |bytes| {
        format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
    });
    out.line(format_args!("peak memory        {memory}"))?;
    out.line(format_args!("start-up           {:.0} ms", report.start_ms))?;
    let kernels = &report.kernels;
    let others = kernels.others.iter().map(|member| &member.backbone);
    for network in std::iter::once(&kernels.backbone).chain(others) {
        out.line(format_args!(
            "network            {}, {} file, {} integer and {} float nodes, {} activations rounded to 8 bits",
            network.engine,
            network.precision,
            network.integer_nodes,
            network.float_nodes,
            network.rounded_activations
        ))?;
        let operators: Vec<String> = network
            .operators
            .iter()
            .map(|(name, count)| format!("{count} {name}"))
            .collect();
        out.line(format_args!("operators          {}", operators.join(", ")))?;
    }
    for place in places(kernels) {
        out.line(place)?;
    }
    out.line(format_args!(
        "nearest neighbour  {}",
        report.kernels.nearest
    ))?;
    match &report.layers {
        Some(layers) => layers::print(layers, out),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_measured_times() {
        let mut times: Vec<Duration> = (1..=200).rev().map(Duration::from_millis).collect();
        let p = Percentiles::of(&mut times);
        assert_eq!(
            (p.p50_ms, p.p90_ms, p.p99_ms, p.max_ms),
            (100.0, 180.0, 198.0, 200.0)
        );
        let one = Percentiles::of(&mut [Duration::from_millis(7)]);
        assert_eq!((one.p50_ms, one.max_ms), (7.0, 7.0));
    }
}
