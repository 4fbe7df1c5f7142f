//! If the vision process is killed, no part passes, READY goes off at once, and the line comes
//! back.
//!
//! Real processes in real time: this test program is the plant. Parts pass the sensor whether the
//! line is ready or not, and are at the ejector a while later. A part *passes* if PASS is on there.
//! What each part shows follows only from the time of its trigger. So afterwards the same camera
//! and the same product give the parts that were allowed to pass.
//!
//! The rate of parts follows from the time of one inspection on this machine, which is measured
//! first. The product is a small one, so strict that it passes about half of the parts.
//! `PARTGATE_KILLS=1000` kills more often than continuous integration does, and
//! `PARTGATE_KILLS_PRODUCT` names another product than the small one (board/kill.sh sets both).

#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "line/belt.rs"]
mod belt;
mod bundle;
mod command;
mod line;

use belt::{
    Belt, LEASE_MS, PULSE, SEED, Stops, measured, milliseconds, run_belt, share, small_line,
};
use line::{
    Change, MS, PATIENCE, Plant, change_after, children_of, level_at, lives, on_between, percentile,
};
use partgate::clock;
use partgate::line::gate::PartVerdict;
use partgate::seed::Rng;
use rustix::process::{Signal, kill_process};
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Time that the supervisor needs after it notices the kill.
const SOON_MS: f64 = 50.0;
/// Time until the line is ready again; the design's aim is 2,000 on an idle machine. If even the
/// first start takes longer, no restart may take much more than that.
const RESTART_BOUND_MS: f64 = 10_000.0;
/// Without `PARTGATE_KILLS` a busy machine stops the kills after this time, if it did [`FEWEST`].
const ENOUGH: Duration = Duration::from_secs(60);
const FEWEST: usize = 5;
fn summary(name: &str, values: &[f64]) -> String {
    format!(
        "{name}: p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms of {}",
        percentile(values, 50.0),
        percentile(values, 99.0),
        percentile(values, 100.0),
        values.len()
    )
}

/// Time from each of `from` until `output` is next `on`, without those before which another of
/// `from` comes.
fn delays(changes: &[Change], from: &[u64], output: &str, on: bool) -> Vec<f64> {
    let next = from.iter().skip(1).copied().chain([u64::MAX]);
    let pairs = from.iter().zip(next);
    pairs
        .filter_map(|(&at, next)| {
            let then = change_after(changes, output, on, at).filter(|then| *then < next)?;
            Some(milliseconds(at, then))
        })
        .collect()
}

#[test]
fn killing_the_vision_process_proves_that_nothing_passes_by_itself() {
    let asked = std::env::var("PARTGATE_KILLS").ok();
    let number = |n: &String| n.parse().expect("PARTGATE_KILLS is a number");
    let most: usize = asked.as_ref().map_or(50, number);
    let scratch = tempfile::tempdir().expect("folder");
    let named = std::env::var_os("PARTGATE_KILLS_PRODUCT").map(PathBuf::from);
    let (product, mut truth, belt) = measured(scratch.path(), named);
    let plant = Plant::new(&belt.config(&product));
    let running = plant.start();
    let mut rng = Rng::stream(SEED, 2);
    let stop = AtomicBool::new(false);
    let mut killed_at = Vec::new();
    let (started, start) = (Instant::now(), clock::now().0);
    let parts = std::thread::scope(|scope| {
        let _stops = Stops(&stop);
        let parts = scope.spawn(|| run_belt(belt, &plant, &stop));
        let mut last = None;
        for kill in 0..most {
            if asked.is_none() && kill >= FEWEST && started.elapsed() > ENOUGH {
                println!("this machine is busy: {kill} kills instead of {most}");
                break;
            }
            // Most kills while the line runs, some while it starts.
            let starting = kill % 8 == 7;
            if !starting {
                plant.await_change("ready", true, killed_at.last().copied().unwrap_or(0));
            }
            let vision = running.await_vision(last);
            let life = if starting { 800 * MS } else { belt.life };
            std::thread::sleep(share(life, rng.unit()));
            killed_at.push(clock::now().0);
            kill_process(vision, Signal::KILL).expect("kill");
            last = Some(vision);
        }
        // Afterwards the line works as before.
        plant.await_change("ready", true, killed_at.last().copied().unwrap_or(0));
        std::thread::sleep(share(2 * belt.life, 1.0));
        stop.store(true, Ordering::Relaxed);
        parts.join().expect("belt")
    });
    std::thread::sleep(Duration::from_nanos(belt.after + 2 * PULSE));
    running.stop();
    let changes = plant.changes();
    let kills = killed_at.len();

    let was = |output: &str| -> Vec<u64> {
        let on = |at: &u64| level_at(&changes, output, *at);
        killed_at.iter().copied().filter(on).collect()
    };
    let (ready, passing) = (was("ready"), was("pass"));
    let ready_off = delays(&changes, &ready, "ready", false);
    let pass_off = delays(&changes, &passing, "pass", false);
    let back = delays(&changes, &ready, "ready", true);
    println!(
        "{kills} kills, {} while READY was on, {} while PASS was",
        ready.len(),
        passing.len()
    );
    let first_start = change_after(&changes, "ready", true, 0).expect("READY");
    let first_start = milliseconds(start, first_start);
    println!("first start to READY: {first_start:.0} ms");
    println!("{}", summary("kill to READY off", &ready_off));
    println!("{}", summary("kill to READY on", &back));

    let (mut bad, mut good, mut passed, mut served, mut served_passed) = (0, 0, 0, 0, 0);
    let mut escaped = Vec::new();
    let mut shown = HashSet::new();
    for &part in &parts {
        shown.insert(truth.shown(part));
        let (from, to) = (part + belt.after, part + belt.after + PULSE);
        let middle = level_at(&changes, "pass", from + PULSE / 2);
        if truth.of(part).verdict != PartVerdict::Ok {
            bad += 1;
            // PASS must not be on at any instant.
            if middle || on_between(&changes, "pass", from, to) {
                escaped.push(part);
            }
            continue;
        }
        good += 1;
        passed += usize::from(middle);
        // The line was ready from before this part until after it.
        let before = part.saturating_sub(belt.after);
        let off = change_after(&changes, "ready", false, before);
        if level_at(&changes, "ready", before) && off.is_none_or(|at| at > to) {
            served += 1;
            served_passed += usize::from(middle);
        }
    }
    println!(
        "{} parts, {} different ones: {bad} may not pass, {} of them passed; {good} may, {passed} of them passed; \
         {served_passed} of {served} while the line was ready all along",
        parts.len(),
        shown.len(),
        escaped.len(),
    );

    assert!(escaped.is_empty(), "passed, but must not: {escaped:?}");
    assert!(bad * 10 > parts.len(), "too few that must not pass");
    assert!(ready.len() * 10 > kills * 7, "killed before it was ready");
    assert_eq!(ready_off.len(), ready.len());
    assert_eq!(pass_off.len(), passing.len());
    let bound = LEASE_MS + SOON_MS;
    assert!(percentile(&ready_off, 100.0) < bound, "{ready_off:?}");
    assert!(pass_off.iter().all(|ms| *ms < bound), "{pass_off:?}");
    let allowed = RESTART_BOUND_MS.max(2.0 * first_start);
    assert!(percentile(&back, 50.0) < allowed, "{back:?}");
    // A line that rejects everything would be safe as well.
    assert!(served > 0, "no part met a ready line");
    assert!(
        served_passed * 10 > served * 7,
        "{served_passed} of {served}"
    );
    let printed = plant.printed();
    let started = |l: &&str| l.contains("vision process") && l.ends_with("started");
    assert_eq!(printed.lines().filter(started).count(), kills + 1);
    the_record_is_whole(&plant, kills + 1);
}

/// The event log has a start of every process that came so far, and nothing is missing.
fn the_record_is_whole(plant: &Plant, at_most: usize) {
    let record = plant.at("record");
    let report = command::partgate(&["log", record.to_str().expect("UTF-8"), "--verify", "--json"])
        .exits(0)
        .json();
    assert_eq!(report["whole"], true, "{report}");
    let entries = plant.log();
    let starts = entries.iter().filter(|e| e["event"] == "start").count();
    assert!((1..=at_most).contains(&starts), "{starts} starts");
    let last = entries.last().expect("entries");
    assert_eq!(last["event"], "stop", "{last}");
}

#[test]
fn a_vision_process_that_hangs_loses_the_lines_within_the_lease_and_is_replaced() {
    let plant = small_line();
    let running = plant.start();
    running.await_ready();
    let hung = running.await_vision(None);
    let at = clock::now().0;
    kill_process(hung, Signal::STOP).expect("stop");
    let off = milliseconds(at, plant.await_change("ready", false, at));
    let back = plant.await_change("ready", true, at);
    println!(
        "hung to READY off: {off:.1} ms, to READY on: {:.0} ms",
        milliseconds(at, back)
    );
    assert!(off < LEASE_MS + SOON_MS, "{off} ms");
    assert!(!lives(hung));
    assert_ne!(running.await_vision(None), hung);
    running.stop();
    assert!(plant.printed().contains("no word from the vision process"));
}

#[test]
fn sigterm_leaves_the_lines_unattended_and_the_record_ends_with_a_stop() {
    let plant = small_line();
    let running = plant.start();
    running.await_ready();
    plant.trigger();
    running.await_status("a part", |s| s["parts"] == 1);
    running.stop();
    let (changes, now) = (plant.changes(), clock::now().0);
    for (name, level) in [
        ("ready", false),
        ("pass", false),
        ("reject", true),
        ("fault", true),
    ] {
        assert_eq!(level_at(&changes, name, now), level, "{name}");
    }
    the_record_is_whole(&plant, 1);
    assert!(!plant.at("control.sock").exists());
}

/// A terminal that closes sends SIGHUP to both processes.
#[test]
fn no_signal_that_can_be_taken_leaves_the_lines_at_their_last_level() {
    for signal in [Signal::HUP, Signal::QUIT, Signal::INT] {
        let plant = small_line();
        // This test may run under `nohup` itself.
        let mut running = plant.start_by(&["env", "--default-signal=HUP"]);
        running.await_ready();
        let vision = running.await_vision(None);
        running.signal(signal);
        let _ = kill_process(vision, signal);
        assert!(running.await_end().success(), "{signal:?}");
        let (changes, now) = (plant.changes(), clock::now().0);
        assert!(!level_at(&changes, "ready", now), "{signal:?}");
        assert!(level_at(&changes, "fault", now), "{signal:?}");
    }
}

/// `nohup` starts a program that ignores SIGHUP, and that must stay so.
#[test]
fn a_line_under_nohup_outlives_its_terminal() {
    let plant = small_line();
    let running = plant.start_by(&["nohup"]);
    running.await_ready();
    let vision = running.await_vision(None);
    running.signal(Signal::HUP);
    kill_process(vision, Signal::HUP).expect("it lives");
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(running.await_vision(None), vision);
    assert!(level_at(&plant.changes(), "ready", clock::now().0));
    running.stop();
}

#[test]
fn without_its_supervisor_the_vision_process_ends_by_itself() {
    let plant = small_line();
    let mut running = plant.start();
    running.await_ready();
    let vision = running.await_vision(None);
    running.signal(Signal::KILL);
    let started = Instant::now();
    running.await_end();
    while lives(vision) {
        assert!(started.elapsed() < PATIENCE, "it lives on");
        std::thread::sleep(Duration::from_millis(1));
    }
    let took = started.elapsed();
    println!(
        "supervisor killed to vision process gone: {} ms",
        took.as_millis()
    );
    assert!(took < Duration::from_secs(1), "{took:?}");
    // It ends in order: nothing is left that stops the next start.
    the_record_is_whole(&plant, 1);
    let from = clock::now().0;
    let next = plant.start();
    plant.await_change("ready", true, from);
    next.stop();
}

#[test]
fn a_line_whose_bundle_is_damaged_ends_at_once_with_the_reason() {
    let broken = tempfile::tempdir().expect("folder");
    let path = broken.path().join("broken.pgp");
    let mut bytes = std::fs::read(bundle::demo()).expect("bundle");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).expect("write");
    let plant = Plant::new(&Belt::SLOW.config(&path));
    let mut running = plant.start();
    assert_eq!(running.await_end().code(), Some(4), "as `score` ends");
    let printed = plant.printed();
    assert_eq!(printed.matches("broken.pgp").count(), 1, "once: {printed}");
    assert!(printed.contains("its digest does not match"), "{printed}");
    the_line_was_never_on(&plant);
    assert!(children_of(running.supervisor()).is_empty());
}

#[test]
fn devices_are_tried_five_times_before_the_line_is_given_up() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("port");
    let address = port.local_addr().expect("address");
    let config = Belt::SLOW.config(bundle::demo().as_ref());
    let plant = Plant::new(&format!("{config}\n[metrics]\nlisten = \"{address}\"\n"));
    let mut running = plant.start();
    assert_eq!(running.await_end().code(), Some(1));
    let printed = plant.printed();
    assert_eq!(
        printed.matches(&address.to_string()).count(),
        5,
        "{printed}"
    );
    assert!(
        printed.contains("ended 5 times in a row before the line was ready"),
        "{printed}"
    );
    the_line_was_never_on(&plant);
    assert!(children_of(running.supervisor()).is_empty());
}

fn the_line_was_never_on(plant: &Plant) {
    assert!(
        plant
            .changes()
            .iter()
            .all(|c| !(c.on && (c.output == "ready" || c.output == "pass")))
    );
}

#[test]
fn a_second_line_on_one_record_folder_is_refused_with_its_owner() {
    let plant = small_line();
    let running = plant.start();
    plant.await_change("ready", true, 0);
    let first = std::fs::read_to_string(plant.at("line.toml")).expect("configuration");
    let mut second = first.clone();
    for own in ["control.sock", "\"outputs\"", "inputs.sock"] {
        assert!(second.contains(own), "{own} in {second}");
        second = second.replace(own, &own.replacen("s", "s2", 1));
    }
    assert!(second.contains("folder = \"record\""), "{second}");
    std::fs::write(plant.at("second.toml"), second).expect("configuration");
    let refused = command::program(&["run", "second.toml"])
        .current_dir(plant.folder.path())
        .output()
        .expect("the program runs");
    let printed = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(3), "{printed}");
    let holder = format!("process {}", running.await_vision(None).as_raw_nonzero());
    assert!(
        printed.contains(&holder) && printed.contains("record.folder"),
        "{printed}"
    );
    // The first line continues.
    assert!(level_at(&plant.changes(), "ready", clock::now().0));
    running.stop();
}
