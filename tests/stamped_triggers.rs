//! Triggers by the control socket, with the time of the part and without.
//!
//! Each test runs the real program, both processes.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod bundle;
mod command;
mod line;

use command::{Ran, program};
use line::{MS, PATIENCE, Plant, Running, change_after, on_between};
use partgate::clock;
use rustix::process::{Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Time from sensor to ejector; generous, because the other tests of the workspace run at the same
/// time.
const AFTER_MS: u64 = 4000;
const PULSE_MS: u64 = 60;

/// A line with triggers by socket, whose product finds every part OK. The camera exposes `exposed_ms`
/// after each trigger.
fn plant(exposed_ms: u64) -> Plant {
    let latest = exposed_ms + 60;
    let plant = Plant::new(&format!(
        "product = \"small.pgp\"\nboard = \"generic-x86\"\n[camera]\nsource = \"rendered\"\n\
         on_trigger = true\nseed = 1\ndefective_percent = 0.0\n[trigger]\nkind = \"socket\"\n\
         min_pitch_ms = 80\n[capture]\nexposure_min_ms = {exposed_ms}\nexposure_max_ms = {latest}\n\
         delivery_ms = 950\n[gate]\n\
         after_ms = {AFTER_MS}\npulse_ms = {PULSE_MS}\nejector = \"pass\"\nlate_output_ms = 100\n\
         [inference]\nthreads = 1\ntimeout_ms = 10000\nmax_waiting = 16\n[supervisor]\n\
         lease_ms = 4000\nlate_ms = 1000\nrestart_ms = 20\n[alarm]\nconsecutive_rejects = 0\n\
         stop_line = false\n"
    ));
    let product = bundle::with_thresholds(1e6, 1e6);
    std::fs::write(plant.at("small.pgp"), product).expect("bundle");
    plant
}

fn tell(plant: &Plant, words: &[&str]) -> Ran {
    let mut command = program(&["tell", "line.toml"]);
    let output = command
        .args(words)
        .current_dir(plant.folder.path())
        .output();
    output.expect("the program runs").into()
}

fn rejected(status: &Value, reason: &str) -> u64 {
    status["rejected"][reason].as_u64().expect("a count")
}

fn passed(status: &Value) -> u64 {
    status["passed"].as_u64().expect("a count")
}

/// Sends `word` while the vision process is stopped for `stopped`; returns the answer afterwards.
fn sent_during_a_stall(running: &Running<'_>, word: &str, stopped: Duration) -> Value {
    let vision = running.await_vision(None);
    kill_process(vision, Signal::STOP).expect("stopped");
    std::thread::sleep(stopped / 2);
    let stream = UnixStream::connect(running.plant.at("control.sock")).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    writeln!(&stream, "{word}").expect("sent");
    std::thread::sleep(stopped / 2);
    kill_process(vision, Signal::CONT).expect("goes on");
    let mut answer = String::new();
    let mut stream = BufReader::new(stream);
    stream.read_line(&mut answer).expect("an answer");
    serde_json::from_str(&answer).expect("JSON")
}

#[test]
fn a_part_that_is_reported_late_is_at_the_ejector_by_its_own_time() {
    let plant = plant(0);
    let running = plant.start();
    running.await_clear();
    let at = clock::now().0 - 600 * MS;
    let answer = tell(&plant, &["trigger", &at.to_string()]).exits(0).json();
    assert_eq!(answer["at_ns"], at);
    let status = running.await_status("passed", |s| passed(s) == 1);
    assert_eq!(status["parts"], 1);
    let began = plant.await_change("pass", true, at);
    let late = (began - at) / MS - AFTER_MS;
    // By the time at which the command was received it would be at least 600 ms.
    assert!(began >= at + AFTER_MS * MS && late < 500, "{late} ms");
    tell(&plant, &["status", "1"])
        .exits(3)
        .tells("only `trigger`");
    running.stop();
}

#[test]
fn a_time_that_cannot_be_a_parts_is_refused_and_its_part_rejected() {
    let plant = plant(0);
    let running = plant.start();
    running.await_clear();
    let now = || clock::now().0;
    let soon = (now() + 3_600_000 * MS).to_string();
    tell(&plant, &["trigger", &soon]).exits(1).tells("future");
    let old = (now() - 1_500 * MS).to_string();
    tell(&plant, &["trigger", &old])
        .exits(1)
        .tells("more than a second ago");
    let refused = running.ask("trigger soon");
    assert_eq!(refused["ok"], false, "{refused}");
    let status = running.await_status("three are lost", |s| rejected(s, "overload") == 3);
    assert_eq!(passed(&status), 0);
    // An OK part among those that can be this part is rejected with it.
    let sent = now();
    running.ask("trigger");
    let before = (sent - 100 * MS).to_string();
    tell(&plant, &["trigger", &before])
        .exits(1)
        .tells("before that of the trigger before");
    let all = |s: &Value| rejected(s, "overload") == 4 && s["parts"] == 5;
    running.await_status("its neighbour", |s| all(s) && rejected(s, "neighbour") == 1);
    let changes = plant.changes();
    assert!(!on_between(&changes, "pass", sent, now()), "{changes:#?}");
    running.stop();
}

#[test]
fn a_command_that_waited_for_a_stopped_program_covers_the_stall_and_a_stamped_one_does_not() {
    // The exposures are after the stall. A frame that was exposed in it may have waited for the
    // program, and its stamp is not believed.
    let plant = plant(1_500);
    let running = plant.start();
    running.await_clear();
    // Longer than an output may be late, and shorter than a thread may be silent.
    let stall = Duration::from_millis(300);
    let from = clock::now().0;
    let changes = sent_during_a_stall(&running, "trigger", stall);
    assert_eq!(changes["ok"], true);
    // Nobody knows when its part was at the sensor, so every part that can be it is rejected.
    running.await_status("thrown out", |s| rejected(s, "overload") == 1);
    std::thread::sleep(Duration::from_millis(AFTER_MS + 1_000));
    assert_eq!(change_after(&plant.changes(), "pass", true, from), None);

    let vision = running.await_vision(None);
    kill_process(vision, Signal::STOP).expect("stopped");
    std::thread::sleep(stall / 2);
    let at = clock::now().0;
    let stream = UnixStream::connect(plant.at("control.sock")).expect("connected");
    writeln!(&stream, "trigger {at}").expect("sent");
    std::thread::sleep(stall / 2);
    kill_process(vision, Signal::CONT).expect("goes on");
    let began = plant.await_change("pass", true, at);
    assert!(began >= at + AFTER_MS * MS);
    running.await_status("passed", |s| passed(s) == 1);
    running.stop();
}
