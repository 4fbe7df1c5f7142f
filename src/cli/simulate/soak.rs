//! `partgate simulate --real-time`: the threads of a running line in real time, under faults.

use super::counted::{Counted, faults, injected, listed, proved, reasons, tell_unverified};
use crate::cli::built_in;
use crate::cli::failure::{Code, Failure};
use crate::cli::load;
use crate::cli::memory::rss_bytes;
use crate::cli::terminal::Out;
use partgate::frame::Frame;
use partgate::frame::decode;
use partgate::network::{Placement, Threads};
use partgate::record::{ImageOptions, LogOptions, Quantiles, RecordOptions, Recorder};
use partgate::simulation::{
    ComparingInspector, Kind, Picture, Soak, SoakOutcome, rendered_pictures, soak,
};
use partgate::station::{PartInspector, ProductInspector};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Number of different parts, and per cent of them that are defective.
const PARTS: usize = 60;
const DEFECTIVE_PERCENT: f64 = 15.0;
/// Time between two progress reports on the terminal.
const NEWS: Duration = Duration::from_secs(10);
/// Memory is measured from this time on. Before it, the line still allocates.
const SETTLED: Duration = Duration::from_secs(10);

#[derive(Serialize)]
struct Report {
    seconds: f64,
    seed: u64,
    lives: u64,
    gate_ms: f64,
    judging_median_ms: f64,
    /// Parts that reached the ejector.
    came: u64,
    /// Number of parts that looked different.
    different: u64,
    parts: u64,
    passed: u64,
    rejected: u64,
    under_way_at_ends: u64,
    passed_physically: u64,
    passed_unverified: u64,
    defective_passed: u64,
    good_thrown_out: u64,
    balance_exact: bool,
    reasons: Counted,
    injected: Counted,
    not_injected: Vec<&'static str>,
    faults: Counted,
    frames: Counted,
    late_outputs: u64,
    trigger_to_verdict: Quantiles,
    trigger_to_output: Quantiles,
    output_lateness: Quantiles,
    rss: Memory,
}

/// Bytes held; None if the system does not report it.
#[derive(Clone, Copy, Default, Serialize)]
struct Memory {
    /// Ten seconds after the start.
    start: Option<u64>,
    min: Option<u64>,
    max: Option<u64>,
    end: Option<u64>,
}

impl Memory {
    fn look(&mut self, elapsed: Duration) {
        let now = rss_bytes();
        self.end = now;
        if elapsed >= SETTLED {
            self.start = self.start.or(now);
            self.min = self.min.map_or(now, |m| Some(m.min(now?)));
            self.max = self.max.max(now);
        }
    }
}

/// A temporary folder, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, Failure> {
        let folder = std::env::temp_dir().join(format!("partgate-soak-{}", std::process::id()));
        std::fs::create_dir(&folder).map_err(Failure::unexpected)?;
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs the command.
pub(super) fn run(
    duration: Duration,
    seed: u64,
    kinds: &[Kind],
    quick: bool,
    out: &mut Out,
) -> Result<Code, Failure> {
    let pictures = rendered_pictures(seed, PARTS, DEFECTIVE_PERCENT);
    let (inspector, ng_threshold) = inspector(quick, &pictures)?;
    let folder = Scratch::new()?;
    let mut make_recorder = |metrics| {
        let log = LogOptions {
            folder: folder.0.clone(),
            max_bytes: 4 << 20,
            keep: 4,
        };
        let images = ImageOptions {
            folder: folder.0.join("images"),
            quota_bytes: 64 << 20,
            ok_sample_percent: 1.0,
            min_free_bytes: 512 << 20,
            seed,
        };
        let pixels = |raw: &_| {
            let mut frame = Frame::blank();
            decode(raw, &mut frame)?;
            Ok(frame)
        };
        Recorder::new(
            RecordOptions { log, images },
            Box::new(pixels),
            None,
            metrics,
        )
    };
    let mut memory = Memory::default();
    let mut news = Instant::now();
    let terminal = std::io::stderr().is_terminal();
    let outcome = soak(
        Soak {
            duration: duration.into(),
            seed,
            kinds: kinds.to_vec(),
            pictures,
            inspector,
            ng_threshold,
        },
        &mut make_recorder,
        &mut |outcome| {
            memory.look(outcome.elapsed.into());
            if terminal && news.elapsed() >= NEWS {
                news = Instant::now();
                tell(outcome, memory);
            }
        },
    )
    .map_err(Failure::unexpected)?;
    memory.look(outcome.elapsed.into());
    let report = report(&outcome, seed, kinds, memory);
    if out.json() {
        out.json_page(&report)?;
    } else {
        print(&report, out)?;
    }
    out.finish()?;
    proved(report.passed_unverified, report.balance_exact)
}

/// The inspector, and the NG threshold for its metrics.
fn inspector(quick: bool, pictures: &[Picture]) -> Result<(Box<dyn PartInspector>, f32), Failure> {
    if quick {
        return Ok((Box::new(ComparingInspector::new(pictures.into())), 1.0));
    }
    let product = built_in::product()?;
    // One processor is left to camera and gate, as on a real line.
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = Threads::new((processors - 1).max(1)).map_err(Failure::unexpected)?;
    let inspector = load(&product, &threads, Placement::default())?;
    let ng_threshold = product.manifest().thresholds.ng.threshold;
    let inspector = ProductInspector::new(product, inspector, None);
    Ok((Box::new(inspector), ng_threshold))
}

fn tell(outcome: &SoakOutcome, memory: Memory) {
    let line = &outcome.line;
    // The run does not stop because its progress cannot be shown.
    let _ = writeln!(
        std::io::stderr(),
        "{:6.0} s: {} parts, {} passed, {} rejected, {} unverified, {} faults injected, {}",
        outcome.elapsed.as_secs_f64(),
        line.physical,
        line.passed_physically,
        line.physical - line.passed_physically,
        line.passed_unverified,
        line.injected.iter().sum::<u64>(),
        mib(memory.end)
    );
}

fn mib(bytes: Option<u64>) -> String {
    bytes.map_or("unknown".into(), |b| {
        format!("{:.1} MiB", b as f64 / f64::from(1 << 20))
    })
}

fn report(outcome: &SoakOutcome, seed: u64, kinds: &[Kind], rss: Memory) -> Report {
    let (line, frames) = (&outcome.line, &outcome.frames);
    let counters = &line.counters;
    Report {
        seconds: outcome.elapsed.as_secs_f64(),
        seed,
        lives: outcome.lives,
        gate_ms: outcome.gate.0 as f64 / 1e6,
        judging_median_ms: outcome.inspection.0 as f64 / 1e6,
        came: line.physical,
        // The parts come in turn.
        different: line.physical.min(PARTS as u64),
        parts: counters.parts,
        passed: counters.passed,
        rejected: counters.rejected_in_all(),
        under_way_at_ends: line.lost_at_death,
        passed_physically: line.passed_physically,
        passed_unverified: line.passed_unverified,
        defective_passed: outcome.defective_passed,
        good_thrown_out: line.good_thrown_out,
        balance_exact: line.balances(),
        reasons: reasons(counters),
        injected: injected(Kind::in_real_time(), line),
        not_injected: kinds
            .iter()
            .filter(|k| !k.is_real())
            .map(|k| k.name())
            .collect(),
        faults: faults(counters),
        frames: BTreeMap::from([
            ("frames", frames.frames),
            ("unclaimed", frames.unclaimed),
            ("stale", frames.stale),
            ("ambiguous", frames.ambiguous),
            ("damaged", frames.damaged),
            ("skipped", frames.skipped),
        ]),
        late_outputs: counters.late_outputs,
        trigger_to_verdict: outcome.trigger_to_verdict,
        trigger_to_output: outcome.trigger_to_output,
        output_lateness: outcome.lateness,
        rss,
    }
}

fn print(report: &Report, out: &mut Out) -> Result<(), Failure> {
    tell_unverified(report.passed_unverified, out)?;
    out.line(format_args!(
        "{:.0} s in real time, seed {}; gate {:.0} ms after the sensor, inspection {:.1} ms (median at the start)",
        report.seconds, report.seed, report.gate_ms, report.judging_median_ms
    ))?;
    out.line(format_args!(
        "at the ejector: {} parts, {} different ones, {} passed, {} good ones rejected; {} defective ones passed",
        report.came, report.different, report.passed_physically, report.good_thrown_out, report.defective_passed
    ))?;
    out.line(format_args!(
        "the line: {} parts, {} passed, {} rejected, {} under way at the end of its {} lives; the balance is {}",
        report.parts,
        report.passed,
        report.rejected,
        report.under_way_at_ends,
        report.lives,
        if report.balance_exact { "exact" } else { "OFF" }
    ))?;
    out.line(format_args!("injected: {}", listed(&report.injected)))?;
    if !report.not_injected.is_empty() {
        out.line(format_args!(
            "not injected in real time: {}",
            report.not_injected.join(", ")
        ))?;
    }
    out.line(format_args!("rejected: {}", listed(&report.reasons)))?;
    out.line(format_args!("faults:   {}", listed(&report.faults)))?;
    out.line(format_args!("frames:   {}", listed(&report.frames)))?;
    for (name, q) in [
        ("trigger to verdict", &report.trigger_to_verdict),
        ("trigger to output", &report.trigger_to_output),
        ("ejector after its schedule", &report.output_lateness),
    ] {
        out.line(format_args!(
            "{name} (us): p50 {}, p99 {}, p99.9 {}, max {}",
            q.p50_us, q.p99_us, q.p999_us, q.max_us
        ))?;
    }
    let rss = &report.rss;
    out.line(format_args!(
        "memory: {} after {} s, then {} to {}, {} at the end",
        mib(rss.start),
        SETTLED.as_secs(),
        mib(rss.min),
        mib(rss.max),
        mib(rss.end)
    ))
}
