//! `partgate simulate`: the gate under all kinds of faults, in virtual time.

mod counted;
mod search;
mod soak;

use super::failure::{Code, Failure};
use super::ms;
use super::terminal::{Colour, Out};
use clap::Args;
use counted::{
    Counted, by_one_product, faults, injected, listed, proved, reasons, tell_unverified,
};
use partgate::simulation::{Case, Kind, Outcome, Times, classes};
use search::{Found, Plan, search};
use serde::Serialize;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Run the line's own gate against a simulated plant whose devices and processes fail
///
/// The parts are divided among lines of up to 5,000 parts each. The settings of each line are
/// drawn from all that `config check` accepts: gate and pulse by clock or encoder, ejector wired
/// to pass or to reject, trigger by sensor, encoder, command or clock, cameras that run freely or
/// are triggered. Each line gets half of the kinds of faults, each kind at its own rate. Both
/// processes are simulated, with the socket between them. Outputs keep their level when nobody
/// sets them. The plant knows where every part is. A part that the ejector lets pass without an OK
/// verdict on its own picture counts as passed_unverified, and the command fails. What no program
/// could have known or prevented is counted by kind and wiring as beyond_knowledge; the plant
/// proves it.
///
/// Every run begins with the cases that failed once. If a line fails, it is reduced to the
/// smallest case that still fails. That case is printed with its configuration, its last seconds
/// and the command that plays it again. Time is virtual: a million parts, days of production, take
/// minutes.
///
/// With --real-time one line runs in real time with all its threads and inspects pictures with the
/// built-in product, for the given time. It has no process death.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  partgate simulate\n  partgate simulate --parts 200000 --seed 1 --seeds 1000 --faults all --json\n  partgate simulate --faults lost_frame,process_death\n  partgate simulate --hours 8 --keep failed.txt\n  partgate simulate --replay 'line=7 parts=300 faults=lost_trigger'\n  partgate simulate --real-time 30m --seed 1\n\nJSON: parts, passed, rejected, passed_unverified, beyond_knowledge.{pass,reject}.KIND, balance_exact,\ngood_thrown_out, injected.KIND, faults.KIND, reasons.KIND, trigger_to_output.{p50,p99,p999,max}_us,\noutput_lateness.{...}, lines, failures, seconds, virtual_hours, switches, refused_switches,\njudged_by_two, passed_another, ready_off_for_switch.{...}.\n\nExit codes: 0 done, 1 something passed unverified, two products judged a part, the counters do not\nbalance, or a line never recovered."
)]
pub(crate) struct Arguments {
    /// Parts per seed
    #[arg(long, value_name = "N", default_value_t = 60_000, value_parser = clap::value_parser!(u64).range(12..=1_000_000_000))]
    parts: u64,
    /// Seed. The same seed gives the same run
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Number of seeds, from --seed on
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    seeds: u64,
    /// Continue with further seeds for this many hours
    #[arg(long, value_name = "H", conflicts_with_all = ["seeds", "real_time"])]
    hours: Option<f64>,
    /// Append failing cases to this file
    #[arg(long, value_name = "FILE", conflicts_with = "real_time")]
    keep: Option<PathBuf>,
    /// Play one case again and print its last seconds
    #[arg(long, value_name = "CASE", conflicts_with_all = ["parts", "seed", "seeds", "hours", "keep", "real_time"])]
    replay: Option<Case>,
    /// Faults to inject: all, none, or names separated by commas
    #[arg(long, value_name = "KINDS", default_value = "all", value_parser = kinds)]
    faults: Kinds,
    /// Run in real time for this long (90s, 30m, 2h) instead of --parts
    #[arg(long, value_name = "DURATION", conflicts_with = "parts", value_parser = duration)]
    real_time: Option<Duration>,
    /// With --real-time: inspect by comparing pixels instead of with the product. For part rates
    /// that are too high for its network on this machine
    #[arg(long = "quick-judge", requires = "real_time")]
    quick_inspector: bool,
}

/// A whole number with its unit, from one second to one week.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration; write 90s, 30m or 2h, up to 168h");
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
    Kind::list(text).map(Kinds)
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

/// Lines of one class.
#[derive(Serialize)]
struct ClassReport {
    line: String,
    lines: u64,
    parts: u64,
    passed: u64,
    passed_unverified: u64,
    beyond_knowledge: u64,
    good_thrown_out: u64,
}

/// By wiring, then by kind.
#[derive(Serialize)]
struct Beyond {
    pass: Counted,
    reject: Counted,
}

#[derive(Serialize)]
struct FailureReport {
    case: String,
    configuration: String,
    trace: Vec<String>,
}

#[derive(Serialize)]
struct Report {
    seed: u64,
    seeds: u64,
    parts: u64,
    passed: u64,
    rejected: u64,
    lost_at_process_death: u64,
    passed_unverified: u64,
    beyond_knowledge: Beyond,
    balance_exact: bool,
    good_thrown_out: u64,
    at_ejector: u64,
    reasons: Counted,
    injected: Counted,
    faults: Counted,
    supervisor_late: u64,
    repeated_frames: u64,
    found_by_level: u64,
    covered_too_long: u64,
    implausible_counts: u64,
    trigger_to_output: Quantiles,
    output_lateness: Quantiles,
    late_outputs: u64,
    switches: u64,
    refused_switches: u64,
    judged_by_two: u64,
    passed_another: u64,
    ready_off_for_switch: Quantiles,
    most_tracked: u64,
    lines: Vec<ClassReport>,
    failures: Vec<FailureReport>,
    virtual_hours: f64,
    seconds: f64,
}

fn beyond(outcome: &Outcome, wiring: usize) -> Counted {
    let counts = outcome.beyond[wiring];
    let some = Kind::ALL
        .into_iter()
        .map(|k| (k.name(), counts[k as usize]));
    some.filter(|(_, n)| *n > 0).collect()
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments, out: &mut Out) -> Result<Code, Failure> {
    if let Some(duration) = arguments.real_time {
        let (seed, kinds) = (arguments.seed, &arguments.faults.0);
        return soak::run(duration, seed, kinds, arguments.quick_inspector, out);
    }
    if let Some(case) = &arguments.replay {
        return replay(case, out);
    }
    let started = Instant::now();
    let found = search(&Plan {
        seed: arguments.seed,
        seeds: arguments.seeds,
        until: arguments
            .hours
            .map(|hours| started + Duration::from_secs_f64((hours * 3600.0).clamp(0.0, 1e7))),
        parts: arguments.parts,
        kinds: &arguments.faults.0,
        keep: arguments.keep.as_deref(),
    })?;
    let report = report(arguments.seed, &found, started.elapsed());
    if out.json() {
        out.json_page(&report)?;
    } else {
        print(&report, out)?;
    }
    out.finish()?;
    found.stuck.map_or(Ok(()), |stuck| {
        Err(Failure::unexpected(counted::SimulationFailed::Stuck(stuck)))
    })?;
    by_one_product(report.passed_another, report.judged_by_two)?;
    proved(report.passed_unverified, report.balance_exact)
}

fn report(seed: u64, found: &Found, took: Duration) -> Report {
    let mut all = Outcome::default();
    let mut lines = Vec::new();
    for (name, (count, outcome)) in classes().into_iter().zip(&found.classes) {
        lines.push(ClassReport {
            line: name,
            lines: *count,
            parts: outcome.physical,
            passed: outcome.passed_physically,
            passed_unverified: outcome.passed_unverified,
            beyond_knowledge: outcome.beyond.iter().flatten().sum(),
            good_thrown_out: outcome.good_thrown_out,
        });
        all.merge(outcome);
    }
    Report {
        seed,
        seeds: found.seeds,
        parts: all.counters.parts,
        passed: all.counters.passed,
        rejected: all.counters.rejected_in_all(),
        lost_at_process_death: all.lost_at_death,
        passed_unverified: all.passed_unverified,
        beyond_knowledge: Beyond {
            pass: beyond(&all, 0),
            reject: beyond(&all, 1),
        },
        balance_exact: all.balances(),
        good_thrown_out: all.good_thrown_out,
        at_ejector: all.physical,
        reasons: reasons(&all.counters),
        injected: injected(Kind::ALL.into_iter(), &all),
        faults: faults(&all.counters),
        supervisor_late: all.incidents,
        repeated_frames: all.repeated_frames,
        found_by_level: all.counters.found_by_level,
        covered_too_long: all.counters.covered_too_long,
        implausible_counts: all.counters.implausible_counts,
        trigger_to_output: (&all.trigger_to_output).into(),
        output_lateness: (&all.lateness).into(),
        late_outputs: all.counters.late_outputs,
        switches: all.switches,
        refused_switches: all.refused_switches,
        judged_by_two: all.judged_by_two,
        passed_another: all.passed_another,
        ready_off_for_switch: (&all.ready_off).into(),
        most_tracked: all.most_tracked,
        lines,
        failures: found
            .failures
            .iter()
            .map(|failure| FailureReport {
                case: failure.case.to_string(),
                configuration: failure.configuration.clone(),
                trace: failure.trace.clone(),
            })
            .collect(),
        virtual_hours: all.virtual_ns as f64 / 3.6e12,
        seconds: ms(took) / 1e3,
    }
}

/// Plays one case and prints its configuration and its last seconds.
fn replay(case: &Case, out: &mut Out) -> Result<Code, Failure> {
    let outcome = case.run();
    if !out.json() {
        out.line(out.paint(case.to_string(), Colour::Soft))?;
        out.line(case.configuration())?;
        for entry in case.trace(3) {
            out.line(entry)?;
        }
        out.line("")?;
    }
    let (_, outcome) =
        outcome.map_err(|stuck| Failure::unexpected(counted::SimulationFailed::Stuck(stuck)))?;
    if out.json() {
        out.json_page(&serde_json::json!({
            "case": case.to_string(),
            "configuration": case.configuration(),
            "trace": case.trace(3),
            "passed_unverified": outcome.passed_unverified,
            "judged_by_two": outcome.judged_by_two,
            "passed_another": outcome.passed_another,
            "balance_exact": outcome.balances(),
            "beyond_knowledge": {"pass": beyond(&outcome, 0), "reject": beyond(&outcome, 1)},
        }))?;
    } else {
        tell_unverified(outcome.passed_unverified, out)?;
    }
    out.finish()?;
    by_one_product(outcome.passed_another, outcome.judged_by_two)?;
    proved(outcome.passed_unverified, outcome.balances())
}

fn print(report: &Report, out: &mut Out) -> Result<(), Failure> {
    let header = format!(
        "{:44}  {:>6}  {:>10}  {:>10}  {:>10}  {:>8}  {:>9}",
        "lines", "number", "parts", "passed", "unverified", "beyond", "good rej"
    );
    out.line(out.paint(header, Colour::Soft))?;
    for line in &report.lines {
        out.line(format_args!(
            "{:44}  {:>6}  {:>10}  {:>10}  {:>10}  {:>8}  {:>9}",
            line.line,
            line.lines,
            line.parts,
            line.passed,
            line.passed_unverified,
            line.beyond_knowledge,
            line.good_thrown_out
        ))?;
    }
    out.line("")?;
    tell_unverified(report.passed_unverified, out)?;
    out.line(format_args!(
        "beyond knowledge (no program could have prevented it; docs/line.md): wired to pass: {}; wired to reject: {}",
        listed(&report.beyond_knowledge.pass),
        listed(&report.beyond_knowledge.reject)
    ))?;
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
    if report.switches > 0 {
        let off = &report.ready_off_for_switch;
        out.line(format_args!(
            "{} switches to another product, {} wishes refused; {} parts judged by two, {} passed while another was asked for; READY off (virtual): p50 {:.0} ms, p99 {:.0}, max {:.0}",
            report.switches,
            report.refused_switches,
            report.judged_by_two,
            report.passed_another,
            off.p50_us / 1e3,
            off.p99_us / 1e3,
            off.max_us / 1e3
        ))?;
    }
    for failure in &report.failures {
        out.line("")?;
        out.line(out.paint(
            format!("partgate simulate --replay '{}'", failure.case),
            Colour::Bad,
        ))?;
        out.line(&failure.configuration)?;
        for entry in &failure.trace {
            out.line(entry)?;
        }
    }
    out.line(format_args!(
        "{:.1} hours of production in {:.1} s; {} from {} on",
        report.virtual_hours,
        report.seconds,
        if report.seeds == 1 {
            "1 seed".to_string()
        } else {
            format!("{} seeds", report.seeds)
        },
        report.seed
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
