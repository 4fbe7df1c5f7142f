//! `partgate bench --line`: how many parts per second the running line inspects here, and how
//! exact it is.

use super::super::built_in;
use super::super::failure::{Code, Failure};
use super::super::progress::Progress;
use super::super::terminal::{Colour, Out};
use super::super::{load, open};
use super::{Arguments, NoImage};
use partgate::network::Threads;
use partgate::product::Product;
use partgate::record::Quantiles;
use partgate::simulation::{LineFigures, LineTrial, Picture, inspection_times, try_line};
use partgate::station::{PartInspector, ProductInspector};
use partgate::verdict::Verdict;
use serde::Serialize;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Part rates, as shares of the highest rate of the inspector alone.
const SHARES: [f64; 10] = [0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5];
/// Runs of the inspector alone.
const ALONE: usize = 30;
/// Time from the exposure to the inspector, and reserve for other work of the machine.
const AROUND: Duration = Duration::from_millis(100);

#[derive(Serialize)]
struct Rate {
    parts_per_second: f64,
    parts: u64,
    late: u64,
    passed: u64,
    rejected: u64,
    #[serde(rename = "judging")]
    inspection: Quantiles,
    trigger_to_verdict: Quantiles,
    trigger_to_output: Quantiles,
    output_jitter: Quantiles,
}

#[derive(Serialize)]
struct Alone {
    median_ms: f64,
    max_ms: f64,
}

#[derive(Serialize)]
struct Report {
    product: String,
    /// Who signed it, or UNSIGNED.
    origin: String,
    threads: usize,
    seconds: u64,
    judging_alone: Alone,
    gate_ms: f64,
    rates: Vec<Rate>,
    /// None: something was late at every rate.
    highest_parts_per_second: Option<f64>,
}

/// Runs the command.
pub(super) fn run(
    bundle: Option<&Path>,
    arguments: &Arguments,
    out: &mut Out,
) -> Result<Code, Failure> {
    let product = match bundle {
        Some(path) => open(path)?,
        None => built_in::product()?,
    };
    let threads = match arguments.threads.threads {
        Some(_) => arguments.threads.threads()?,
        None => {
            // One processor is left to camera and gate, as on a real line.
            let processors = std::thread::available_parallelism().map_or(1, usize::from);
            Threads::new((processors - 1).max(1)).map_err(Failure::unexpected)?
        }
    };
    let inspector = load(&product, &threads, arguments.placement.placement())?;
    let name = product.origin().to_string();
    let origin = product.signature().to_string();
    let pictures = pictures(&product)?;
    if pictures.is_empty() {
        return Err(Failure::input(NoImage { bundle: name }));
    }
    let ng_threshold = product.manifest().thresholds.ng.threshold;
    let mut inspector: Box<dyn PartInspector> =
        Box::new(ProductInspector::new(product, inspector, None));
    let alone = inspection_times(&mut *inspector, &pictures, ALONE).map_err(Failure::input)?;
    let (median, max) = (Duration::from(alone.median), Duration::from(alone.max));
    let gate = AROUND + 4 * max;
    let inspector = Arc::new(Mutex::new(inspector));
    let pictures: Arc<[Picture]> = pictures.into();
    let mut rates = Vec::new();
    let mut progress = Progress::new("running lines", SHARES.len());
    for share in SHARES {
        let pitch = median.div_f64(share).max(Duration::from_millis(2));
        let parts = (arguments.seconds as f64 / pitch.as_secs_f64()).ceil() as u64;
        let trial = LineTrial {
            pitch: pitch.into(),
            gate: gate.into(),
            parts,
        };
        let figures =
            try_line(trial, &inspector, &pictures, ng_threshold).map_err(Failure::unexpected)?;
        rates.push(rate(&trial, &figures));
        progress.step();
    }
    drop(progress);
    // A higher rate than one at which something was late does not count: it was luck.
    let kept = rates.iter().take_while(|r| r.late == 0);
    let highest = kept.last().map(|r| r.parts_per_second);
    let report = Report {
        product: name,
        origin,
        threads: threads.count(),
        seconds: arguments.seconds,
        judging_alone: Alone {
            median_ms: median.as_secs_f64() * 1e3,
            max_ms: max.as_secs_f64() * 1e3,
        },
        gate_ms: gate.as_secs_f64() * 1e3,
        rates,
        highest_parts_per_second: highest,
    };
    if out.json() {
        out.json_page(&report)?;
    } else {
        print(&report, out)?;
    }
    Ok(Code::Done)
}

/// The parts are the product's golden images.
fn pictures(product: &Product) -> Result<Vec<Picture>, Failure> {
    let goldens = product.manifest().goldens.iter();
    goldens
        .map(|golden| {
            let frame = product.golden_frame(golden).map_err(Failure::bundle)?;
            Ok(Picture {
                width: frame.width(),
                height: frame.height(),
                rgb: frame.to_rgb8(),
                defective: golden.verdict != Verdict::Ok,
            })
        })
        .collect()
}

fn rate(trial: &LineTrial, figures: &LineFigures) -> Rate {
    let rate = 1.0 / trial.pitch.as_secs_f64();
    Rate {
        parts_per_second: (rate * 100.0).round() / 100.0,
        parts: figures.came,
        late: figures.late,
        passed: figures.counters.passed,
        rejected: figures.counters.rejected_in_all(),
        inspection: figures.inspection,
        trigger_to_verdict: figures.trigger_to_verdict,
        trigger_to_output: figures.trigger_to_output,
        output_jitter: figures.lateness,
    }
}

fn print(report: &Report, out: &mut Out) -> Result<(), Failure> {
    out.line(format_args!(
        "{}: inspection alone {:.1} ms (median), {:.1} at most, {} threads; ejector {:.0} ms after the sensor; {} s per rate",
        report.product,
        report.judging_alone.median_ms,
        report.judging_alone.max_ms,
        report.threads,
        report.gate_ms,
        report.seconds
    ))?;
    let header = format!(
        "{:>8} {:>6} {:>5}  {:>31}  {:>31}  {:>31}",
        "parts/s",
        "parts",
        "late",
        "trigger to verdict (ms)",
        "trigger to output (ms)",
        "ejector off its schedule (us)"
    );
    out.line(out.paint(header, Colour::Soft))?;
    let names = format!("{:>7} {:>7} {:>7} {:>7}", "p50", "p99", "p99.9", "max");
    out.line(out.paint(
        format!("{:21}  {names}  {names}  {names}", ""),
        Colour::Soft,
    ))?;
    let ms = |q: &Quantiles| {
        let all = [q.p50_us, q.p99_us, q.p999_us, q.max_us];
        let all = all.map(|us| format!("{:>7.1}", us as f64 / 1e3));
        all.join(" ")
    };
    for rate in &report.rates {
        let q = &rate.output_jitter;
        let jitter = [q.p50_us, q.p99_us, q.p999_us, q.max_us].map(|us| format!("{us:>7}"));
        out.line(format_args!(
            "{:>8.2} {:>6} {:>5}  {}  {}  {}",
            rate.parts_per_second,
            rate.parts,
            rate.late,
            ms(&rate.trigger_to_verdict),
            ms(&rate.trigger_to_output),
            jitter.join(" ")
        ))?;
    }
    out.line(format_args!("product: {}", report.origin))?;
    match report.highest_parts_per_second {
        Some(rate) => out.line(format_args!(
            "highest part rate at which nothing was late: {rate:.2} per second"
        )),
        None => out.line("something was late at every rate"),
    }
}
