//! If either process of a line is stopped, or both are, or the supervisor is killed, no part passes
//! that must not pass. The line reports it and rejects the parts that were on the belt.
//!
//! Real processes in real time, as in tests/killed_line.rs. A process that was stopped (SIGSTOP;
//! the same happens by swapping, a debugger, a blocked write) runs on later as if nothing had
//! happened. `PARTGATE_STOPS=1000` stops and kills more often than continuous integration does, and
//! `PARTGATE_KILLS_PRODUCT` names another product than the small one (board/kill.sh sets both).

#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "line/belt.rs"]
mod belt;
mod bundle;
mod command;
mod line;
#[path = "stopped_line/wired_to_reject.rs"]
mod wired_to_reject;

use belt::{Belt, PULSE, SEED, Stops, Truth, measured, milliseconds, run_belt, share};
use line::{
    Change, MS, PATIENCE, Plant, Running, change_after, level_at, lives, on_between, percentile,
};
use partgate::clock;
use partgate::line::gate::PartVerdict;
use partgate::seed::Rng;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Without `PARTGATE_STOPS` a busy machine ends the stops after this time, if it did [`FEWEST`].
const ENOUGH: Duration = Duration::from_secs(60);
const FEWEST: usize = 6;
/// A longer stop is noticed in any state of the processes: a check is due every 50 ms, and they may
/// run 40 ms late (supervisor.late_ms).
const NOTICED: u64 = 150 * MS;
/// Time that a process needs to notice it after it runs again, on a machine that is busy with other
/// tests.
const SOON: u64 = 100 * MS;

/// How often to stop, and whether a person set that number.
fn number() -> (usize, bool) {
    match std::env::var("PARTGATE_STOPS") {
        Ok(n) => (n.parse().expect("PARTGATE_STOPS is a number"), true),
        Err(_) => (12, false),
    }
}

fn product() -> Option<PathBuf> {
    std::env::var_os("PARTGATE_KILLS_PRODUCT").map(PathBuf::from)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Supervisor,
    Vision,
    Both,
}

/// A stop, from the first signal to the last.
#[derive(Clone, Copy, Debug)]
struct Stop {
    who: Who,
    from: u64,
    to: u64,
}

impl Stop {
    /// Stops `pids` for `time`.
    fn of(who: Who, pids: &[Pid], time: Duration) -> Self {
        let from = clock::now().0;
        for pid in pids {
            kill_process(*pid, Signal::STOP).expect("stop");
        }
        std::thread::sleep(time);
        for pid in pids {
            // The supervisor can have killed the vision process for its silence.
            let _ = kill_process(*pid, Signal::CONT);
        }
        let to = clock::now().0;
        Self { who, from, to }
    }

    fn long(&self) -> bool {
        self.to - self.from >= NOTICED
    }
}

/// What happened to the parts.
#[derive(Debug, Default)]
struct Outcome {
    bad: usize,
    good: usize,
    passed: usize,
    /// Parts that must not pass, and did.
    escaped: Vec<u64>,
    /// The same, while no process of the line ran: nothing could prevent it.
    unpreventable: Vec<u64>,
}

/// What happened to `parts`; no process ran during `dead`.
fn outcome(
    belt: Belt,
    changes: &[Change],
    parts: &[u64],
    truth: &mut Truth,
    dead: &[(u64, u64)],
) -> Outcome {
    let mut outcome = Outcome::default();
    for &part in parts {
        let (from, to) = (part + belt.after, part + belt.after + PULSE);
        if truth.of(part).verdict == PartVerdict::Ok {
            outcome.good += 1;
            outcome.passed += usize::from(level_at(changes, "pass", from + PULSE / 2));
            continue;
        }
        outcome.bad += 1;
        // PASS must not be on at any instant.
        if level_at(changes, "pass", from + PULSE / 2) || on_between(changes, "pass", from, to) {
            if dead.iter().any(|d| from <= d.1 && to >= d.0) {
                outcome.unpreventable.push(part);
            } else {
                outcome.escaped.push(part);
            }
        }
    }
    outcome
}

/// Lets a belt run and disturbs the line by `once` at random instants, each time while READY is on.
/// `once` gets the number of the round and returns the time at which its disturbance is over. Returns
/// the times of the parts, when the last of them has left.
fn disturbed(
    plant: &Plant,
    belt: Belt,
    stream: u64,
    mut once: impl FnMut(usize, &mut Rng) -> u64,
) -> Vec<u64> {
    let (most, asked) = number();
    let mut rng = Rng::stream(SEED, stream);
    let stop = AtomicBool::new(false);
    let started = Instant::now();
    let parts = std::thread::scope(|scope| {
        let _stops = Stops(&stop);
        let parts = scope.spawn(|| run_belt(belt, plant, &stop));
        let mut over = 0;
        for round in 0..most {
            if !asked && round >= FEWEST && started.elapsed() > ENOUGH {
                println!("this machine is busy: {round} rounds instead of {most}");
                break;
            }
            await_level(plant, "ready", over);
            std::thread::sleep(share(belt.life, rng.unit()));
            over = once(round, &mut rng);
        }
        await_level(plant, "ready", over);
        std::thread::sleep(share(2 * belt.life, 1.0));
        stop.store(true, Ordering::Relaxed);
        parts.join().expect("belt")
    });
    std::thread::sleep(Duration::from_nanos(belt.after + 2 * PULSE));
    parts
}

/// Kills the supervisor and waits until its vision process has ended too.
fn kill_supervisor(running: &mut Running<'_>) {
    let vision = running.await_vision(None);
    running.signal(Signal::KILL);
    running.await_end();
    let waited = Instant::now();
    while lives(vision) {
        assert!(waited.elapsed() < PATIENCE, "the vision process lives on");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn stops_of_either_process_and_of_both_let_nothing_pass_and_are_told() {
    let scratch = tempfile::tempdir().expect("folder");
    let (product, mut truth, belt) = measured(scratch.path(), product());
    let plant = Plant::new(&belt.config(&product));
    let running = plant.start();
    let mut stops: Vec<Stop> = Vec::new();
    let parts = disturbed(&plant, belt, 3, |round, rng| {
        let time = Duration::from_millis(50).mul_f32(rng.between(1.0, 8.0));
        let (supervisor, vision) = (running.supervisor(), running.await_vision(None));
        let stop = match round % 6 {
            0 | 3 => Stop::of(Who::Supervisor, &[supervisor], time),
            1 | 4 => Stop::of(Who::Vision, &[vision], time),
            2 => Stop::of(Who::Supervisor, &[supervisor], share(2000 * MS, rng.unit())),
            _ => {
                let both = [supervisor, vision];
                Stop::of(Who::Both, &both, Duration::from_millis(700))
            }
        };
        stops.push(stop);
        stop.to
    });
    let status = running.ask("status");
    running.stop();
    let changes = plant.changes();
    let log = plant.log();

    let dead: Vec<(u64, u64)> = stops
        .iter()
        .filter(|s| s.who == Who::Both)
        .map(|s| (s.from, s.to + SOON))
        .collect();
    let parts_of = outcome(belt, &changes, &parts, &mut truth, &dead);
    println!(
        "{} stops, {} of them of both processes; {} parts: {} may not pass, {} of them passed while \
         a process ran; {} may, {} of them passed",
        stops.len(),
        dead.len(),
        parts.len(),
        parts_of.bad,
        parts_of.escaped.len(),
        parts_of.good,
        parts_of.passed,
    );
    for who in [Who::Supervisor, Who::Vision, Who::Both] {
        let ready_off = ready_off(&changes, &stops, who);
        println!(
            "{who:?} stopped to READY off: p50 {:.1} ms, max {:.1} ms of {}",
            percentile(&ready_off, 50.0),
            percentile(&ready_off, 100.0),
            ready_off.len()
        );
    }
    println!(
        "both stopped for 700 ms: what PASS showed stayed on; {} parts met it within that time and \
         {} ms after, which nothing can prevent",
        parts_of.unpreventable.len(),
        SOON / MS
    );
    println!("{status}");

    let escaped = &parts_of.escaped;
    assert!(
        escaped.is_empty(),
        "passed, but must not: {escaped:?} of {stops:#?}"
    );
    assert!(parts_of.bad * 10 > parts.len(), "too few must not pass");
    assert!(parts_of.passed > 0, "nothing passes");
    for (stop, next) in stops.iter().zip(nexts(&stops)) {
        if !stop.long() || !level_at(&changes, "ready", stop.from) {
            continue;
        }
        let off = change_after(&changes, "ready", false, stop.from).expect("READY goes off");
        assert!(off < stop.to + SOON, "{stop:?}: {off}");
        if stop.who == Who::Supervisor {
            // Without the supervisor: a command every 50 ms, 40 ms without an acknowledgement.
            assert!(off < stop.from + 90 * MS + SOON, "{stop:?}: {off}");
        }
        let raised = on_between(&changes, "fault", stop.from, stop.to + 2 * SOON);
        assert!(raised, "FAULT goes on: {stop:?}");
        let reported = |e: &&Value| {
            let at = e["at_ns"].as_u64().unwrap_or(0);
            (stop.from..next).contains(&at)
                && (e["event"] == "was_late" || e["event"] == "restarted")
        };
        assert!(log.iter().any(|e| reported(&e)), "no event: {stop:?}");
        // The parts that were between sensor and ejector at that time.
        for part in &parts {
            let gate = part + belt.after;
            // A part that came after the line was ready again, in a new process, is a part like any
            // other.
            let back = change_after(&changes, "ready", true, off);
            let after = back.is_some_and(|back| back <= *part);
            if *part < stop.to && gate > stop.to + SOON && !after {
                let passed = level_at(&changes, "pass", gate + PULSE / 2);
                assert!(!passed, "was on the belt: {part} under {stop:?}");
            }
        }
    }
    let counted = status["late"]["supervisor"].as_u64().expect("a count")
        + status["late"]["vision"].as_u64().expect("a count")
        + status["restarts"].as_u64().expect("a count");
    assert!(counted > 0, "{status}");
}

/// Time from each long stop of `who` to READY off, ms.
fn ready_off(changes: &[Change], stops: &[Stop], who: Who) -> Vec<f64> {
    let of = |s: &&Stop| s.who == who && s.long() && level_at(changes, "ready", s.from);
    let off = |s: &Stop| change_after(changes, "ready", false, s.from).expect("READY goes off");
    let stops = stops.iter().filter(of);
    stops.map(|s| milliseconds(s.from, off(s))).collect()
}

fn nexts(stops: &[Stop]) -> impl Iterator<Item = u64> {
    stops.iter().skip(1).map(|s| s.from).chain([u64::MAX])
}

/// Waits until `output` is on, at a time after `from`.
fn await_level(plant: &Plant, output: &str, from: u64) {
    let started = Instant::now();
    // An output that stayed on can still go off: the process that was stopped must notice first.
    while clock::now().0 < from + 5 * SOON || !level_at(&plant.changes(), output, u64::MAX) {
        assert!(started.elapsed() < PATIENCE, "{output} is not on again");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn killing_the_supervisor_switches_all_outputs_off_and_nothing_pass() {
    let (most, asked) = number();
    let scratch = tempfile::tempdir().expect("folder");
    let (product, mut truth, belt) = measured(scratch.path(), product());
    let plant = Plant::new(&belt.config(&product));
    let mut rng = Rng::stream(SEED, 4);
    let stop = AtomicBool::new(false);
    let mut killed_at = Vec::new();
    let started = Instant::now();
    let parts = std::thread::scope(|scope| {
        let _stops = Stops(&stop);
        let parts = scope.spawn(|| run_belt(belt, &plant, &stop));
        for kill in 0..most {
            if !asked && kill >= FEWEST && started.elapsed() > ENOUGH {
                println!("this machine is busy: {kill} kills instead of {most}");
                break;
            }
            let mut running = plant.start();
            let last = killed_at.last().copied().unwrap_or(0);
            let ready = plant.await_change("ready", true, last);
            // From this time on parts can pass.
            plant.await_change("reject", false, ready);
            std::thread::sleep(share(belt.life, rng.unit()));
            running.await_vision(None);
            killed_at.push(clock::now().0);
            kill_supervisor(&mut running);
            let (changes, now) = (plant.changes(), clock::now().0);
            for (line, level) in [
                ("ready", false),
                ("pass", false),
                ("reject", true),
                ("fault", true),
            ] {
                assert_eq!(level_at(&changes, line, now), level, "{line}");
            }
        }
        stop.store(true, Ordering::Relaxed);
        parts.join().expect("belt")
    });
    let changes = plant.changes();
    let was = |output: &str| {
        let on = |at: &&u64| level_at(&changes, output, **at);
        let off = |at: &u64| change_after(&changes, output, false, *at).expect("it goes off");
        let delays = killed_at
            .iter()
            .filter(on)
            .map(|at| milliseconds(*at, off(at)));
        delays.collect::<Vec<f64>>()
    };
    let (ready_off, pass_off) = (was("ready"), was("pass"));
    println!(
        "{} kills of the supervisor; kill to READY off: p50 {:.1} ms, max {:.1} ms; PASS was on at {}, \
         off after {:.1} ms at most",
        killed_at.len(),
        percentile(&ready_off, 50.0),
        percentile(&ready_off, 100.0),
        pass_off.len(),
        percentile(&pass_off, 100.0),
    );
    let outcome = outcome(belt, &changes, &parts, &mut truth, &[]);
    println!(
        "{} parts: {} may not pass, {} of them passed; {} may, {} of them passed",
        parts.len(),
        outcome.bad,
        outcome.escaped.len(),
        outcome.good,
        outcome.passed
    );
    assert!(outcome.escaped.is_empty(), "{:?}", outcome.escaped);
    assert!(outcome.bad * 10 > parts.len(), "too few must not pass");
    assert!(!ready_off.is_empty(), "killed while it was not ready");
    let bound = (SOON / MS) as f64;
    assert!(percentile(&ready_off, 100.0) < bound, "{ready_off:?}");
    assert!(pass_off.iter().all(|ms| *ms < bound), "{pass_off:?}");
}

/// The board is reset unless the line continues to show that it works. This test shows what may end
/// that.
#[test]
fn stopping_the_line_disarms_the_hardware_watchdog_and_killing_the_supervisor_does_not() {
    let device = tempfile::NamedTempFile::new().expect("file");
    let path = device.path();
    let config = Belt::SLOW.config("small.pgp".as_ref());
    let plant = Plant::new(&format!("{config}watchdog_device = {path:?}\n"));
    std::fs::write(plant.at("small.pgp"), bundle::small()).expect("bundle");
    let letters = || std::fs::read(path).expect("file");
    let running = plant.start();
    running.await_ready();
    assert!(!letters().is_empty() && !letters().contains(&b'V'));
    let started = Instant::now();
    running.stop();
    assert!(letters().contains(&b'V'), "somebody asked for this end");
    let took = started.elapsed();
    assert!(
        took < Duration::from_secs(3),
        "it was asked to end: {took:?}"
    );

    std::fs::write(path, "").expect("file");
    let from = clock::now().0;
    let mut running = plant.start();
    plant.await_change("ready", true, from);
    kill_supervisor(&mut running);
    assert!(!letters().is_empty() && !letters().contains(&b'V'));
}
