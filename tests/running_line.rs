//! What a running line guarantees to the people and programs around it.
//!
//! Each test runs the real program, both processes. This test program is the plant.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stderr)]

#[path = "running_line/alarms.rs"]
mod alarms;
mod bundle;
mod command;
mod line;
#[path = "running_line/marks.rs"]
mod marks;

use alarms::kill_vision;
use command::{Ran, program, text};
use line::{MS, Plant, Running, level_at, on_between};
use partgate::clock;
use partgate::simulation::part::Renderer;
use partgate::station::ask;
use partgate::time::Duration;
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

/// Time from sensor to ejector; generous, because the other tests of the workspace run at the same
/// time.
const AFTER_MS: u64 = 2000;
const PULSE_MS: u64 = 60;
/// A machine that is busy with other tests runs later than a board.
const LATE_MS: u64 = 400;

/// A line of the small product, with the given sections.
fn config(camera: &str, trigger: &str, alarm: &str) -> String {
    format!(
        "product = \"small.pgp\"\nboard = \"generic-x86\"\n[camera]\n{camera}\n[trigger]\n{trigger}\n\
         [capture]\nexposure_max_ms = 60\ndelivery_ms = 200\n[gate]\nafter_ms = {AFTER_MS}\n\
         pulse_ms = {PULSE_MS}\nejector = \"pass\"\nlate_output_ms = 30\n\
         [inference]\nthreads = 1\ntimeout_ms = 10000\nmax_waiting = 16\n[supervisor]\nlease_ms = 1000\n\
         late_ms = {LATE_MS}\nrestart_ms = 20\n[alarm]\n{alarm}\n"
    )
}

/// The verdict of the product on every part.
#[derive(Clone, Copy)]
enum Finds {
    Ok,
    Unknown,
}

fn small_plant(finds: Finds, config: &str) -> Plant {
    let product = match finds {
        Finds::Ok => bundle::with_thresholds(1e6, 1e6),
        Finds::Unknown => bundle::with_thresholds(0.0, 1e6),
    };
    let plant = Plant::new(config);
    std::fs::write(plant.at("small.pgp"), product).expect("bundle");
    plant
}

const RENDERED: &str =
    "source = \"rendered\"\non_trigger = true\nseed = 1\ndefective_percent = 0.0";
const BY_SOCKET: &str = "kind = \"socket\"\nmin_pitch_ms = 80";
const BY_EDGE: &str = "kind = \"gpio\"\nmin_pitch_ms = 80";
const BY_TIMER: &str = "kind = \"timer\"\nevery_ms = 600\nmin_pitch_ms = 80";
const NO_ALARM: &str = "consecutive_rejects = 0\nstop_line = false";

fn small_line(finds: Finds, camera: &str, trigger: &str, alarm: &str) -> Plant {
    small_plant(finds, &config(camera, trigger, alarm))
}

fn tell(plant: &Plant, word: &str) -> Ran {
    let mut command = program(&["tell", "line.toml", word]);
    let output = command.current_dir(plant.folder.path()).output();
    output.expect("the program runs").into()
}

/// Waits until the line says `words` on standard error.
fn await_printed(plant: &Plant, words: &str) {
    let started = std::time::Instant::now();
    while !plant.printed().contains(words) {
        assert!(started.elapsed().as_secs() < 60, "never said: {words}");
        clock::sleep(Duration::from_millis(50));
    }
}

fn count(status: &Value, name: &str) -> u64 {
    status[name].as_u64().expect("a count")
}

fn rejected(status: &Value, reason: &str) -> u64 {
    status["rejected"][reason].as_u64().expect("a count")
}

/// Number of parts with a decision.
fn decided(status: &Value) -> u64 {
    let rejected = status["rejected"].as_object().expect("reasons");
    let rejected = rejected.values().map(|n| n.as_u64().expect("a count"));
    count(status, "passed") + rejected.sum::<u64>()
}

/// Lets `parts` parts pass the sensor and waits until all are decided; returns the times of their
/// triggers.
fn run_parts(running: &Running<'_>, parts: u64) -> (Vec<u64>, Value) {
    let before = decided(&running.ask("status"));
    let triggers = (0..parts).map(|_| {
        let at = running.plant.trigger();
        clock::sleep(Duration::from_millis(400));
        at
    });
    let triggers = triggers.collect();
    let all = |s: &Value| decided(s) == before + parts;
    (triggers, running.await_status("all are decided", all))
}

/// Whether PASS was on when the part that was triggered at `at` was at the ejector.
fn passed(plant: &Plant, at: u64) -> bool {
    level_at(
        &plant.changes(),
        "pass",
        at + (AFTER_MS + PULSE_MS / 2) * MS,
    )
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the page answers");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: line\r\n\r\n").expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answer");
    answer
}

#[test]
fn tell_asks_triggers_and_reports_errors() {
    let plant = small_line(Finds::Ok, RENDERED, BY_SOCKET, NO_ALARM);
    tell(&plant, "status")
        .exits(1)
        .tells("is `partgate run` running?");
    let running = plant.start();
    running.await_clear();
    let status = tell(&plant, "status").exits(0).json();
    assert_eq!(status["ready"], true);
    let comes = "line.toml: ready; the next part comes with `partgate tell line.toml trigger`";
    await_printed(&plant, comes);
    assert_eq!((count(&status, "parts"), decided(&status)), (0, 0));
    let pid = running.await_vision(None).as_raw_nonzero().get();
    assert_eq!(status["pid"], pid);
    let answer = tell(&plant, "trigger").exits(0).json();
    assert_eq!(answer["ok"], true);
    let at = answer["at_ns"].as_u64().expect("a time");
    let status = running.await_status("decided", |s| decided(s) == 1);
    assert_eq!(count(&status, "passed"), 1, "{status}");
    plant.await_change("pass", false, at + AFTER_MS * MS);
    assert!(passed(&plant, at));
    tell(&plant, "acknowledge").exits(0);
    let unknown = running.ask("explode");
    assert_eq!(unknown["ok"], false);
    assert!(
        unknown["error"]
            .as_str()
            .is_some_and(|e| e.contains("acknowledge"))
    );
    running.stop();
}

#[test]
fn edges_make_parts_and_the_socket_does_not_where_it_is_not_asked_to() {
    let plant = small_line(Finds::Ok, RENDERED, BY_EDGE, NO_ALARM);
    let running = plant.start();
    running.await_clear();
    tell(&plant, "trigger").exits(1).tells("trigger.kind");
    let (parts, status) = run_parts(&running, 3);
    assert_eq!(count(&status, "parts"), 3);
    assert_eq!(count(&status, "passed"), 3, "{status}");
    let last = parts[parts.len() - 1];
    plant.await_change("pass", false, last + AFTER_MS * MS);
    assert!(parts.iter().all(|&at| passed(&plant, at)));
    running.stop();
    let log = plant.log();
    let entries = log.iter().filter(|e| e["decision"] == "passed");
    let triggered: Vec<u64> = entries.filter_map(|e| e["trigger_ns"].as_u64()).collect();
    assert_eq!(triggered, parts, "{log:#?}");
}

#[test]
fn timer_triggers_come_by_themselves() {
    let plant = small_line(Finds::Ok, RENDERED, BY_TIMER, NO_ALARM);
    let running = plant.start();
    let ready = running.await_ready();
    let status = running.await_status("three parts", |s| count(s, "passed") >= 3);
    assert_eq!(rejected(&status, "ng") + rejected(&status, "unknown"), 0);
    running.stop();
    let changes = plant.changes();
    let passes: Vec<u64> = changes
        .iter()
        .filter(|c| c.output == "pass" && c.on && c.at > ready)
        .map(|c| c.at)
        .collect();
    assert!(passes.len() >= 3);
    let apart = (passes[1] - passes[0]) as f64 / 1e6;
    assert!(
        (apart / 600.0 - (apart / 600.0).round()).abs() < 0.2,
        "{apart} ms"
    );
}

#[test]
fn every_so_many_counts_of_the_encoder_are_a_part() {
    let camera =
        "source = \"rendered\"\nfps = 20\ntimeout_ms = 20000\nseed = 1\ndefective_percent = 0.0";
    let trigger = "kind = \"encoder\"\nevery_counts = 20\nmin_pitch_ms = 80";
    let plant = small_line(Finds::Ok, camera, trigger, NO_ALARM);
    let running = plant.start();
    running.await_clear();
    // 20 counts in 300 ms and more, three times.
    for _ in 0..60 {
        assert!(plant.edge("encoder", clock::now().0));
        clock::sleep(Duration::from_millis(15));
    }
    let status = running.await_status("three parts", |s| decided(s) == 3);
    assert_eq!(count(&status, "parts"), 3, "{status}");
    // On a busy machine a frame can come too late. That no frame belongs to any part is an error.
    assert!(count(&status, "passed") >= 1, "{status}");
    assert_eq!(
        count(&status, "passed") + rejected(&status, "no_frame"),
        3,
        "{status}"
    );
    running.stop();
}

#[test]
fn a_restarted_process_inspects_by_the_bytes_that_the_line_was_started_with() {
    let plant = small_line(Finds::Ok, RENDERED, BY_EDGE, NO_ALARM);
    let running = plant.start();
    running.await_clear();
    let (_, status) = run_parts(&running, 1);
    assert_eq!(count(&status, "passed"), 1, "{status}");
    // Another product, which passes no part, and another lease.
    std::fs::write(plant.at("small.pgp"), bundle::with_thresholds(0.0, 1e6)).expect("bundle");
    let text = std::fs::read_to_string(plant.at("line.toml")).expect("configuration");
    let edited = text.replace("lease_ms = 1000", "lease_ms = 25");
    assert_ne!(edited, text);
    std::fs::write(plant.at("line.toml"), edited).expect("configuration");
    for round in 1..=2 {
        let from = clock::now().0;
        kill_vision(&running);
        let ready = plant.await_change("ready", true, from);
        plant.await_change("reject", false, ready);
        let changed = json!(["configuration", "bundle"]);
        let status = running.ask("status");
        assert_eq!(status["changed_on_disk"], changed, "{status}");
        let (_, status) = run_parts(&running, 1);
        assert_eq!(count(&status, "passed"), 1, "{status}");
        // READY does not go off and on again.
        let now = clock::now().0;
        let off = line::change_after(&plant.changes(), "ready", false, ready);
        assert!(off.is_none_or(|at| at > now), "round {round}: {off:?}");
    }
    running.stop();
    let log = plant.log();
    let changed = log.iter().filter(|e| e["event"] == "changed_on_disk");
    let changed: Vec<&Value> = changed.map(|e| &e["subject"]).collect();
    assert_eq!(changed, ["configuration", "bundle"], "each once");
    assert_eq!(plant.printed().matches("changed on disk").count(), 2);
}

#[test]
fn one_who_holds_the_control_socket_keeps_nobody_waiting() {
    let plant = small_line(Finds::Ok, RENDERED, BY_EDGE, NO_ALARM);
    let running = plant.start();
    running.await_clear();
    let connect = || UnixStream::connect(plant.at("control.sock")).expect("connected");
    // More peers than there is room for: silent ones, and one that sends commands and does not
    // read.
    let mut silent: Vec<UnixStream> = Vec::new();
    let started = clock::now();
    for asked in 0..24 {
        let mut peer = connect();
        let half: &[u8] = if asked % 2 == 0 { b"" } else { b"sta" };
        peer.write_all(half).expect("sent");
        silent.push(peer);
        assert_eq!(running.ask("status")["ok"], true);
    }
    let mut deaf = connect();
    deaf.set_nonblocking(true).expect("socket");
    while deaf.write(b"status\n").is_ok() {}
    assert_eq!(running.ask("status")["ok"], true);
    tell(&plant, "acknowledge").exits(0);
    let took = clock::now().since(started);
    assert!(took < Duration::from_secs(10), "{took:?}");
    // Two commands in one write, and one that is too long.
    let mut peer = connect();
    peer.write_all(format!("acknowledge\nstatus\n{}\nstatus\n", "x".repeat(300)).as_bytes())
        .expect("sent");
    peer.set_read_timeout(Some(line::PATIENCE)).expect("socket");
    let answers: Vec<Value> = BufReader::new(peer)
        .lines()
        .take(4)
        .map(|l| serde_json::from_str(&l.expect("an answer")).expect("JSON"))
        .collect();
    let ok: Vec<&Value> = answers.iter().map(|a| &a["ok"]).collect();
    assert_eq!(ok, [true, true, false, true], "{answers:#?}");
    running.stop();
}

#[test]
fn a_button_acknowledges_on_a_line_that_the_clock_triggers() {
    let alarm = "consecutive_rejects = 3\nstop_line = true";
    let plant = small_line(Finds::Unknown, RENDERED, BY_TIMER, alarm);
    let running = plant.start();
    let ready = running.await_ready();
    let off = plant.await_change("ready", false, ready);
    // Only acknowledgements are accepted from the inputs: this edge is no part.
    plant.trigger();
    assert!(plant.edge("acknowledge", clock::now().0));
    plant.await_change("ready", true, off);
    running.stop();
    assert!(plant.log().iter().any(|e| e["event"] == "acknowledged"));
}

#[test]
fn the_metrics_page_answers_and_health_follows_ready() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("address").to_string();
    drop(free);
    let mut whole = config(RENDERED, BY_EDGE, "consecutive_rejects = 1");
    whole += &format!("stop_line = true\n[metrics]\nlisten = \"{address}\"\n");
    let plant = small_plant(Finds::Unknown, &whole);
    let running = plant.start();
    running.await_clear();
    let healthy = get(&address, "/healthz");
    assert!(healthy.starts_with("HTTP/1.1 200"), "{healthy}");
    let begin = clock::now().0;
    run_parts(&running, 1);
    plant.await_change("ready", false, begin);
    let page = get(&address, "/metrics");
    for line in ["partgate_ready 0", "partgate_parts_total 1"] {
        assert!(page.lines().any(|l| l == line), "no `{line}` in {page}");
    }
    let ill = get(&address, "/healthz");
    assert!(ill.starts_with("HTTP/1.1 503"), "{ill}");
    running.stop();
}

#[test]
fn a_second_program_on_the_same_line_is_refused_and_leaves_the_first_alone() {
    let plant = small_line(Finds::Ok, RENDERED, BY_EDGE, NO_ALARM);
    let running = plant.start();
    running.await_clear();
    let begin = clock::now().0;
    let mut second = program(&["run", "line.toml"]);
    let second = second.current_dir(plant.folder.path()).output();
    let second = Ran::from(second.expect("the program runs")).exits(3);
    second
        .tells("control.sock")
        .tells("is `partgate run` running already?");
    let changes = plant.changes();
    let since: Vec<_> = changes.iter().filter(|c| c.at > begin).collect();
    assert!(
        since.is_empty(),
        "the second one changed outputs: {since:?}"
    );
    let (_, status) = run_parts(&running, 1);
    assert_eq!(count(&status, "passed"), 1, "{status}");
    running.stop();
}

/// A file system of one MiB at `folder`, until it is dropped.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    /// None if this user may not mount.
    fn mount(folder: &'a Path) -> Option<Self> {
        std::fs::create_dir_all(folder).expect("folder");
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(folder);
        let mounted = mount.output().is_ok_and(|o| o.status.success());
        mounted.then_some(Self(folder))
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn a_full_disk_does_not_stop_the_gate() {
    let plant = small_line(Finds::Ok, RENDERED, BY_EDGE, NO_ALARM);
    let record = plant.at("record");
    let Some(_disk) = SmallDisk::mount(&record) else {
        eprintln!("NOT TESTED: a full disk: this user may not mount a small one");
        return;
    };
    let running = plant.start();
    running.await_clear();
    // Full to the last byte.
    let mut hog = std::fs::File::create(record.join("hog")).expect("file");
    let full = (0..).find_map(|_| hog.write_all(&[0; 4096]).err());
    assert_eq!(
        full.map(|e| e.kind()),
        Some(std::io::ErrorKind::StorageFull)
    );
    let (parts, status) = run_parts(&running, 4);
    assert_eq!(count(&status, "passed"), 4, "{status}");
    let last = parts[parts.len() - 1];
    plant.await_change("pass", false, last + AFTER_MS * MS);
    assert!(parts.iter().all(|&at| passed(&plant, at)));
    assert!(level_at(&plant.changes(), "ready", clock::now().0));
    // With room again the record continues, and states that something is missing.
    drop(hog);
    std::fs::remove_file(record.join("hog")).expect("removed");
    run_parts(&running, 1);
    running.stop();
    let log = text(&record);
    let report = command::partgate(&["log", &log, "--verify", "--json"])
        .exits(0)
        .json();
    assert_eq!(report["whole"], true, "{report}");
    let last = plant
        .log()
        .into_iter()
        .rev()
        .find(|e| e.get("part").is_some());
    assert_eq!(last.expect("a part")["part"], 5);
}

/// A folder in the place of the next log file prevents writing, also for root.
#[test]
fn a_record_that_cannot_be_written_stops_a_line_that_needs_it_and_only_shows_on_another() {
    for required in [true, false] {
        let record =
            format!("[record]\nfolder = \"record\"\nmin_free_mib = 0\nrequired = {required}\n");
        let whole = config(RENDERED, BY_EDGE, NO_ALARM) + &record;
        let plant = small_plant(Finds::Ok, &whole);
        let running = plant.start();
        running.await_clear();
        assert_eq!(running.ask("status")["record_lost"], false);
        let from = clock::now().0;
        // The folder is removed, and a file takes its place.
        std::fs::remove_dir_all(plant.at("record")).expect("removed");
        std::fs::write(plant.at("record"), "in the way").expect("file");
        plant.trigger();
        let lost = running.await_status("the record is lost", |s| s["record_lost"] == true);
        plant.await_change("record_lost", true, from);
        if required {
            plant.await_change("ready", false, from);
            running.await_status("fault", |s| s["faults"] == json!(["record"]));
        } else {
            assert_eq!(lost["ready"], true, "{lost}");
        }
        std::fs::remove_file(plant.at("record")).expect("removed");
        let from = clock::now().0;
        running.await_status("it is there again", |s| s["record_lost"] == false);
        plant.await_change("record_lost", false, from);
        running.await_status("READY", |s| s["ready"] == true);
        running.stop();
        assert!(plant.log().iter().any(|e| e["event"] == "gap"));
    }
}

#[test]
fn a_camera_of_no_pictures_ends_the_line_with_the_reason() {
    let empty = tempfile::tempdir().expect("folder");
    let camera = format!(
        "source = \"folder\"\nfolder = \"{}\"\non_trigger = true",
        empty.path().display()
    );
    let plant = small_line(Finds::Ok, &camera, BY_EDGE, NO_ALARM);
    let mut running = plant.start();
    assert_eq!(running.await_end().code(), Some(1));
    let printed = plant.printed();
    assert!(printed.contains(&text(empty.path())), "{printed}");
    assert!(printed.contains("no images"), "{printed}");
    assert!(!on_between(&plant.changes(), "ready", 0, u64::MAX));
}

#[test]
fn a_product_in_floats_does_not_run_where_integers_are_required() {
    let config = config(RENDERED, BY_EDGE, NO_ALARM);
    let asked = config.replace("[inference]", "[inference]\nrequire_integers = true");
    let plant = small_plant(Finds::Ok, &asked);
    let product = bundle::root().join("tests/golden/format-2.pgp");
    std::fs::copy(product, plant.at("small.pgp")).expect("bundle");
    let mut running = plant.start();
    assert_eq!(running.await_end().code(), Some(4));
    let printed = plant.printed();
    assert!(printed.contains("does not run in integers"), "{printed}");
    assert!(!on_between(&plant.changes(), "ready", 0, u64::MAX));
}

#[test]
fn parts_in_another_view_than_the_products_are_rejected() {
    let pictures = tempfile::tempdir().expect("folder");
    let part = Renderer::new(1).good(70_000);
    let (w, h) = (part.width as u32, part.height as u32);
    let rgb = image::RgbImage::from_raw(w, h, part.rgb).expect("image");
    let half = image::imageops::thumbnail(&rgb, w, h / 2);
    half.save(pictures.path().join("half.png")).expect("save");
    let camera = format!(
        "source = \"folder\"\nfolder = \"{}\"\non_trigger = true",
        pictures.path().display()
    );
    let plant = small_line(Finds::Ok, &camera, BY_EDGE, NO_ALARM);
    let running = plant.start();
    running.await_clear();
    let (_, status) = run_parts(&running, 3);
    assert_eq!(rejected(&status, "failed"), 3, "{status}");
    running.stop();
    assert!(!on_between(&plant.changes(), "pass", 0, u64::MAX));
    assert!(plant.printed().contains("was the camera's mode changed?"));
}

#[test]
fn parts_without_a_frame_of_their_own_are_rejected() {
    // One frame every five seconds: almost no part has one.
    let camera = "source = \"rendered\"\non_trigger = false\nfps = 0.2\ntimeout_ms = 20000\n\
                  seed = 1\ndefective_percent = 0.0";
    let plant = small_line(Finds::Ok, camera, BY_EDGE, NO_ALARM);
    let running = plant.start();
    running.await_clear();
    let (parts, status) = run_parts(&running, 5);
    let without = rejected(&status, "no_frame");
    assert!(without >= 4, "{status}");
    assert_eq!(without + count(&status, "passed"), 5, "{status}");
    running.stop();
    let pass = parts.iter().filter(|&&at| passed(&plant, at)).count() as u64;
    assert_eq!(pass, count(&status, "passed"));
}
