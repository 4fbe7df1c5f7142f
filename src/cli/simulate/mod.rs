//! `partgate simulate`: the gate under every fault there is, in virtual time.

mod counted;
mod soak;

use super::failure::{Code, Failure};
use super::ms;
use super::progress::Progress;
use super::terminal::{Colour, Out};
use clap::Args;
use counted::{
    Counted, SimulationFailed, faults, injected, listed, proved, reasons, tell_unverified,
};
use partgate::simulator::{Kind, LineModel, Outcome, Stuck, Times, seed_of, simulate};
use serde::Serialize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Run the line's own gate against a simulated plant whose devices fail
///
/// The parts are shared among twelve lines: gate and pulse by clock and by encoder, ejector wired to
/// pass and to reject, belts that stop when READY falls and belts that do not. The plant knows which
/// part lies where; whatever the ejector lets by without an OK verdict on that very part's picture is
/// counted as passed_unverified, and makes the command fail. Time is virtual: a million parts, a day
/// of production, take minutes, and the latencies are those of the simulated devices, not of this
/// machine (`partgate bench --line` measures those).
///
/// With --real-time one line runs with all its threads in real time, judging pictures by the built-in
/// product, for as long as is asked. Process death is not part of it.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  partgate simulate\n  partgate simulate --parts 1000000 --seed 1 --faults all --json\n  partgate simulate --faults lost_frame,process_death\n  partgate simulate --real-time 30m --seed 1\n\nJSON: parts, passed, rejected, passed_unverified, balance_exact, good_thrown_out, injected.KIND,\nfaults.KIND, reasons.KIND, trigger_to_output.{p50,p99,p999,max}_us, output_lateness.{...}, lines, seconds,\nvirtual_hours.\n\nExit codes: 0 done, 1 something passed unverified, the counters do not balance, or a line never\nrecovered."
)]
pub(crate) struct Arguments {
    /// Parts in all
    #[arg(long, value_name = "N", default_value_t = 60_000, value_parser = clap::value_parser!(u64).range(12..=1_000_000_000))]
    parts: u64,
    /// Seed: the same seed is the same run
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Faults to inject: all, none, or names separated by commas
    #[arg(long, value_name = "KINDS", default_value = "all", value_parser = kinds)]
    faults: Kinds,
    /// Run in real time for so long (90s, 30m, 2h) instead of for --parts
    #[arg(long, value_name = "DURATION", conflicts_with = "parts", value_parser = duration)]
    real_time: Option<Duration>,
    /// With --real-time: judge by comparing pixels instead of by the product, for part rates that its
    /// network does not serve on this machine
    #[arg(long, requires = "real_time")]
    quick_judge: bool,
}

/// A whole number with its unit, a second to a week.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no duration; write 90s, 30m or 2h, up to 168h");
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let number = &text[..text.len() - unit.len()];
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let seconds = number
        .checked_mul(seconds)
        .filter(|s| (1..=604_800).contains(s));
    seconds.map(Duration::from_secs).ok_or_else(wrong)
}

#[derive(Clone, Debug)]
struct Kinds(Vec<Kind>);

fn kinds(text: &str) -> Result<Kinds, String> {
    let named = |name: &str| Kind::ALL.into_iter().find(|k| k.name() == name);
    match text {
        "all" => Ok(Kinds(Kind::ALL.to_vec())),
        "none" => Ok(Kinds(Vec::new())),
        list => list
            .split(',')
            .map(|name| {
                named(name.trim()).ok_or_else(|| {
                    let known: Vec<_> = Kind::ALL.into_iter().map(Kind::name).collect();
                    format!("no fault is called `{name}`; known: {}", known.join(", "))
                })
            })
            .collect::<Result<_, _>>()
            .map(Kinds),
    }
}

#[derive(Serialize)]
struct Quantiles {
    p50_us: f64,
    p99_us: f64,
    p999_us: f64,
    max_us: f64,
}

impl From<&Times> for Quantiles {
    fn from(times: &Times) -> Self {
        Self {
            p50_us: times.quantile_us(0.5),
            p99_us: times.quantile_us(0.99),
            p999_us: times.quantile_us(0.999),
            max_us: times.max_us(),
        }
    }
}

#[derive(Serialize)]
struct LineReport {
    line: String,
    seed: u64,
    parts: u64,
    passed: u64,
    passed_unverified: u64,
    good_thrown_out: u64,
}

#[derive(Serialize)]
struct Report {
    seed: u64,
    parts: u64,
    passed: u64,
    rejected: u64,
    lost_at_process_death: u64,
    passed_unverified: u64,
    balance_exact: bool,
    good_thrown_out: u64,
    reasons: Counted,
    injected: Counted,
    faults: Counted,
    trigger_to_output: Quantiles,
    output_lateness: Quantiles,
    late_outputs: u64,
    most_tracked: u64,
    lines: Vec<LineReport>,
    virtual_hours: f64,
    seconds: f64,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments, out: &mut Out) -> Result<Code, Failure> {
    if let Some(duration) = arguments.real_time {
        let (seed, kinds) = (arguments.seed, &arguments.faults.0);
        return soak::run(duration, seed, kinds, arguments.quick_judge, out);
    }
    let started = Instant::now();
    let outcomes = all_lines(arguments);
    let mut all = Outcome::default();
    let mut lines = Vec::new();
    for (index, (model, outcome)) in LineModel::ALL.into_iter().zip(outcomes).enumerate() {
        let outcome = outcome.map_err(|e| Failure::unexpected(SimulationFailed::Stuck(e)))?;
        lines.push(LineReport {
            line: model.name(),
            seed: seed_of(arguments.seed, index),
            parts: outcome.physical,
            passed: outcome.passed_physically,
            passed_unverified: outcome.passed_unverified,
            good_thrown_out: outcome.good_thrown_out,
        });
        all.merge(&outcome);
    }
    let report = Report {
        seed: arguments.seed,
        parts: all.counters.parts,
        passed: all.counters.passed,
        rejected: all.counters.rejected_in_all(),
        lost_at_process_death: all.lost_at_death,
        passed_unverified: all.passed_unverified,
        balance_exact: all.balances(),
        good_thrown_out: all.good_thrown_out,
        reasons: reasons(&all.counters),
        injected: injected(Kind::ALL.into_iter(), &all),
        faults: faults(&all.counters),
        trigger_to_output: (&all.trigger_to_output).into(),
        output_lateness: (&all.lateness).into(),
        late_outputs: all.counters.late_outputs,
        most_tracked: all.most_tracked,
        lines,
        virtual_hours: all.virtual_ns as f64 / 3.6e12,
        seconds: ms(started.elapsed()) / 1e3,
    };
    if out.json() {
        out.json_page(&report)?;
    } else {
        print(&report, out)?;
    }
    out.finish()?;
    proved(report.passed_unverified, report.balance_exact)
}

/// Every line on as many threads as there are processors; the result does not depend on them.
fn all_lines(arguments: &Arguments) -> Vec<Result<Outcome, Stuck>> {
    let models = LineModel::ALL;
    let share = arguments.parts / models.len() as u64;
    let rest = arguments.parts % models.len() as u64;
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let progress = Mutex::new(Progress::new("simulating lines", models.len()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(models.len()) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(model) = models.get(index).copied() else {
                        break;
                    };
                    let parts = share + if index == 0 { rest } else { 0 };
                    let seed = seed_of(arguments.seed, index);
                    let outcome = simulate(model, parts, seed, &arguments.faults.0);
                    if let Ok(mut results) = results.lock() {
                        results.push((index, outcome));
                    }
                    if let Ok(mut progress) = progress.lock() {
                        progress.step();
                    }
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(|e| e.into_inner());
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, outcome)| outcome).collect()
}

fn print(report: &Report, out: &mut Out) -> Result<(), Failure> {
    let header = format!(
        "{:58}  {:>9}  {:>9}  {:>10}  {:>8}",
        "line", "parts", "passed", "unverified", "good out"
    );
    out.line(out.paint(header, Colour::Soft))?;
    for line in &report.lines {
        out.line(format_args!(
            "{:58}  {:>9}  {:>9}  {:>10}  {:>8}",
            line.line, line.parts, line.passed, line.passed_unverified, line.good_thrown_out
        ))?;
    }
    out.line("")?;
    tell_unverified(report.passed_unverified, out)?;
    out.line(format_args!(
        "{} parts: {} passed, {} rejected, {} under way when the process died; the balance is {}",
        report.parts,
        report.passed,
        report.rejected,
        report.lost_at_process_death,
        if report.balance_exact { "exact" } else { "OFF" }
    ))?;
    out.line(format_args!("injected: {}", listed(&report.injected)))?;
    out.line(format_args!("rejected: {}", listed(&report.reasons)))?;
    out.line(format_args!("faults:   {}", listed(&report.faults)))?;
    let lateness = &report.output_lateness;
    out.line(format_args!(
        "ejector switched after its schedule (virtual): p50 {:.0} us, p99 {:.0}, p99.9 {:.0}, max {:.0}",
        lateness.p50_us, lateness.p99_us, lateness.p999_us, lateness.max_us
    ))?;
    out.line(format_args!(
        "{:.1} hours of production in {:.1} s; seed {}",
        report.virtual_hours, report.seconds, report.seed
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_and_an_end() {
        for (text, seconds) in [("90s", 90), ("30m", 1800), ("168h", 604_800)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)));
        }
        for text in [
            "",
            "s",
            "30",
            "0s",
            "169h",
            "-1m",
            "1.5h",
            "99999999999999999999s",
            "5 m",
            "é",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
