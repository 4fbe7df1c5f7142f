//! The challenge: a known-bad part must be rejected because of the inspector's verdict, and the log
//! proves it.
//!
//! Each test runs the real program, both processes. The product gives the verdict on the known-bad
//! part: one product finds every part NG, one finds every part OK, one gives UNKNOWN.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod bundle;
mod command;
mod line;

use command::{Ran, program};
use line::{MS, Plant, Running, on_between};
use serde_json::Value;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Time from sensor to ejector; generous, because the other tests of the workspace run at the same
/// time.
const AFTER_MS: u64 = 3000;
const PULSE_MS: u64 = 60;

/// The verdict of the product on every part.
#[derive(Clone, Copy)]
enum Finds {
    Ok,
    Unknown,
    Ng,
}

fn seconds_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("after 1970").as_secs()
}

/// A line that needs a challenge every `hours`; the last one was passed at `passed`, if its record
/// has one.
fn plant(finds: Finds, hours: f64, passed: Option<u64>) -> Plant {
    let plant = Plant::new(&format!(
        "product = \"small.pgp\"\nboard = \"generic-x86\"\n[camera]\nsource = \"rendered\"\n\
         on_trigger = true\nseed = 1\ndefective_percent = 0.0\n[trigger]\nkind = \"socket\"\n\
         min_pitch_ms = 80\n[capture]\nexposure_max_ms = 60\ndelivery_ms = 500\n[gate]\n\
         after_ms = {AFTER_MS}\npulse_ms = {PULSE_MS}\nejector = \"pass\"\nlate_output_ms = 100\n\
         [inference]\nthreads = 1\ntimeout_ms = 10000\nmax_waiting = 16\n[supervisor]\n\
         lease_ms = 4000\nlate_ms = 1000\nrestart_ms = 20\n[alarm]\nconsecutive_rejects = 0\n\
         stop_line = true\n[challenge]\nevery_hours = {hours}\n"
    ));
    let product = match finds {
        Finds::Ok => bundle::with_thresholds(1e6, 1e6),
        Finds::Unknown => bundle::with_thresholds(0.0, 1e6),
        Finds::Ng => bundle::with_thresholds(1e-6, 1e-6),
    };
    std::fs::write(plant.at("small.pgp"), product).expect("bundle");
    if let Some(passed) = passed {
        let text = format!(
            "No alarm stands. Challenge passed: 2026-01-01T00:00:00.000Z = {passed} s since 1970.\n"
        );
        std::fs::write(plant.at("record/alarm"), text).expect("alarm file");
    }
    plant
}

fn tell(plant: &Plant, word: &str) -> Ran {
    let mut command = program(&["tell", "line.toml", word]);
    let output = command.current_dir(plant.folder.path()).output();
    output.expect("the program runs").into()
}

/// The alarms of `status`.
fn alarms(status: &Value) -> Vec<&str> {
    let alarms = status["alarms"].as_array().expect("a list");
    alarms.iter().filter_map(Value::as_str).collect()
}

/// Events of this kind in the log.
fn events(plant: &Plant, kind: &str) -> Vec<Value> {
    let of_kind = |line: &Value| line["event"] == kind;
    plant.log().into_iter().filter(of_kind).collect()
}

/// Waits until the log has such an event.
fn await_event(plant: &Plant, kind: &str) -> Value {
    let started = Instant::now();
    loop {
        if let Some(event) = events(plant, kind).pop() {
            return event;
        }
        assert!(started.elapsed() < line::PATIENCE, "no {kind} in the log");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until the line takes commands.
fn await_socket(plant: &Plant) {
    let started = Instant::now();
    while UnixStream::connect(plant.at("control.sock")).is_err() {
        assert!(started.elapsed() < line::PATIENCE, "no control socket");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until the parts that were on the belt before the line was ready are rejected.
fn await_clear(running: &Running<'_>, ready: u64) {
    running.plant.await_change("reject", false, ready);
}

/// The known-bad part passes the sensor; returns its time.
fn known_bad_part(running: &Running<'_>) -> u64 {
    running.await_status("awaited", |s| s["challenge"]["state"] == "awaited");
    let answer = tell(running.plant, "trigger").exits(0).json();
    answer["at_ns"].as_u64().expect("a time")
}

#[test]
fn an_overdue_challenge_stops_the_line_until_a_known_bad_part_was_rejected_on_the_inspectors_word()
{
    let plant = plant(Finds::Ng, 8.0, None);
    let running = plant.start();
    // No challenge is known. The line was ready once, so the alarm is not one of the start.
    let ready = running.await_ready();
    let stopped = plant.await_change("ready", false, ready);
    let status = running.await_status("overdue", |s| alarms(s) == ["challenge"]);
    assert_eq!(status["ready"], false);
    assert_eq!(status["challenge"]["needed"], true);
    assert_eq!(status["challenge"]["passed_s_ago"], Value::Null);
    let alarm = await_event(&plant, "alarm");
    assert_eq!(
        (&alarm["subject"], &alarm["detail"]),
        (&"challenge".into(), &"overdue".into())
    );
    assert!(plant.printed().contains("partgate tell CONFIG challenge"));
    // An acknowledgement is not enough.
    tell(&plant, "acknowledge").exits(1).tells("challenge");
    assert_eq!(alarms(&running.ask("status")), ["challenge"]);

    // The line runs for the known-bad part, with the alarm latched.
    tell(&plant, "challenge").exits(0);
    let ready = plant.await_change("ready", true, stopped);
    assert_eq!(alarms(&running.ask("status")), ["challenge"]);
    await_clear(&running, ready);
    let at = known_bad_part(&running);
    let passed = await_event(&plant, "challenge_passed");
    assert_eq!(passed["subject"], "part 1");
    let detail = passed["detail"].as_str().expect("text");
    let score = detail.strip_prefix("NG, score ").expect(detail);
    assert!(score.parse::<f32>().expect("a score") > 0.0);
    let pulse = at + AFTER_MS * MS;
    assert!(!on_between(
        &plant.changes(),
        "pass",
        pulse,
        pulse + PULSE_MS * MS
    ));
    let parts = plant.log().into_iter().filter(|l| l["part"] == 1);
    let verdicts: Vec<_> = parts
        .map(|l| (l["verdict"].clone(), l["reason"].clone()))
        .collect();
    assert_eq!(verdicts, [("NG".into(), "ng".into())]);

    // The alarm stays until a person acknowledges it.
    let stopped = plant.await_change("ready", false, ready);
    let status = running.await_status("passed", |s| s["challenge"]["passed"] == 1);
    assert_eq!(alarms(&status), ["challenge"]);
    assert_eq!(status["challenge"]["needed"], false);
    assert!(status["challenge"]["passed_s_ago"].as_u64().is_some());
    tell(&plant, "acknowledge").exits(0);
    plant.await_change("ready", true, stopped);
    assert_eq!(alarms(&running.ask("status")), Vec::<&str>::new());
    running.stop();

    // A new start knows it too.
    let kept = std::fs::read_to_string(plant.at("record/alarm")).expect("alarm file");
    assert!(kept.starts_with("No alarm stands."), "{kept}");
    assert!(kept.contains(" Challenge passed: "), "{kept}");
    let from = partgate::clock::now().0;
    let running = plant.start();
    let ready = plant.await_change("ready", true, from);
    await_clear(&running, ready);
    assert_eq!(alarms(&running.ask("status")), Vec::<&str>::new());
    assert!(
        running.ask("status")["challenge"]["passed_s_ago"]
            .as_u64()
            .is_some()
    );
    running.stop();
}

#[test]
fn a_known_bad_part_that_is_inspected_ok_raises_the_alarm_which_outlives_a_new_start() {
    let plant = plant(Finds::Ok, 8.0, Some(seconds_now()));
    let running = plant.start();
    running.await_clear();
    assert_eq!(alarms(&running.ask("status")), Vec::<&str>::new());
    tell(&plant, "challenge").exits(0);
    let at = known_bad_part(&running);
    let failed = await_event(&plant, "challenge_failed");
    assert_eq!(failed["subject"], "part 1");
    plant.await_change("ready", false, at);
    let status = running.await_status("failed", |s| s["challenge"]["failed"] == 1);
    assert_eq!(alarms(&status), ["challenge"]);
    assert!(plant.printed().contains("challenge FAILED"));
    tell(&plant, "acknowledge").exits(1).tells("challenge");
    assert_eq!(running.ask("status")["ready"], false);
    let latched = |kept: &str| kept.starts_with("An alarm stands: challenge.");
    let kept = std::fs::read_to_string(plant.at("record/alarm")).expect("alarm file");
    assert!(latched(&kept), "{kept}");
    running.stop();

    let from = partgate::clock::now().0;
    let running = plant.start();
    await_socket(&plant);
    let status = running.await_status("it stands", |s| alarms(s) == ["challenge"]);
    assert_eq!(status["challenge"]["needed"], true);
    tell(&plant, "acknowledge").exits(1).tells("challenge");
    running.stop();
    let ready = line::change_after(&plant.changes(), "ready", true, from);
    assert_eq!(ready, None, "the line waits for a challenge");
}

#[test]
fn a_known_bad_part_that_is_rejected_for_another_reason_proves_nothing_and_is_repeated() {
    let plant = plant(Finds::Unknown, 8.0, Some(seconds_now()));
    let running = plant.start();
    running.await_clear();
    for round in 1..=2 {
        tell(&plant, "challenge").exits(0);
        known_bad_part(&running);
        tell(&plant, "challenge")
            .exits(1)
            .tells("under way already");
        running.await_status("void", |s| s["challenge"]["void"] == round);
    }
    let status = running.ask("status");
    // The last passed challenge is not overdue yet.
    assert_eq!(alarms(&status), Vec::<&str>::new());
    assert_eq!(
        (
            &status["challenge"]["passed"],
            &status["challenge"]["failed"]
        ),
        (&0.into(), &0.into())
    );
    let void = await_event(&plant, "challenge_void");
    let detail = void["detail"].as_str().expect("text");
    assert!(detail.contains("unknown"), "{detail}");
    running.stop();
}

#[test]
fn a_challenge_that_was_not_passed_again_in_time_raises_the_alarm() {
    // 36 s, of which ten are left.
    let started = Instant::now();
    let plant = plant(Finds::Ng, 0.01, Some(seconds_now() - 26));
    let running = plant.start();
    let ready = running.await_ready();
    if started.elapsed() > Duration::from_secs(8) {
        eprintln!("NOT TESTED: this machine is too busy to start a line within eight seconds");
        return;
    }
    plant.await_change("ready", false, ready);
    let lasted = started.elapsed();
    assert!(lasted > Duration::from_millis(8_900), "{lasted:?}");
    running.await_status("overdue", |s| alarms(s) == ["challenge"]);
    running.stop();
}
