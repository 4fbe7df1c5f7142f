//! Killing the vision process lets nothing pass, drops READY at once, and the line comes back.
//!
//! Real processes in real time: this program is the plant. Parts pass the sensor whether the line is
//! ready or not, and lie at the ejector a while later; one *passes* when PASS is on there. What each
//! of them shows follows from its trigger's time alone, so the same camera and the same product tell
//! afterwards which may have passed.
//!
//! How fast parts come follows from how fast this machine judges, which is measured first. The
//! product is a small one, made so strict that it passes about half of what is made.
//! `PARTGATE_KILLS=1000` kills more often than continuous integration does, and
//! `PARTGATE_KILLS_PRODUCT` names another product than the small one (board/kill.sh sets both).

#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod bundle;
mod command;
mod line;

use line::{
    Change, MS, PATIENCE, Plant, change_after, children_of, level_at, lives, on_between, percentile,
};
use partgate::capture::source::RawFrame;
use partgate::clock;
use partgate::config::LineConfig;
use partgate::inspection::Inspector;
use partgate::line::gate::Judgement;
use partgate::network::Threads;
use partgate::product::Product;
use partgate::seed::Rng;
use partgate::station::{Judge, Judged, ProductJudge, source};
use rustix::process::{Signal, kill_process};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const SEED: u64 = 20;
/// A killed process cannot speak any more, so READY and PASS are off a lease after a kill, however
/// busy the machine: that is the bound. They are off sooner, as soon as the kernel has ended the last
/// of its threads; on a busy machine that takes a while. What the supervisor then needs is within
/// these.
const LEASE_MS: f64 = 200.0;
const SOON_MS: f64 = 50.0;
/// And the line is ready again; the design's aim is 2,000 on a machine of its own. Where even the
/// first start takes longer, no restart may take much more than that.
const RESTART_BOUND_MS: f64 = 10_000.0;
/// Without `PARTGATE_KILLS` a busy machine stops killing after this, if it did [`FEWEST`].
const ENOUGH: Duration = Duration::from_secs(60);
const FEWEST: usize = 5;
/// How long a part lies at the ejector.
const PULSE: u64 = 40 * MS;

/// The belt.
#[derive(Clone, Copy, Debug)]
struct Belt {
    /// From sensor to ejector.
    after: u64,
    /// Parts are so far apart, and half as much again at most.
    pitch: u64,
    /// A ready line lives at most so long before it is killed.
    life: u64,
}

impl Belt {
    /// One that a machine can serve that judges a part in `judging`.
    fn for_judging(judging: Duration) -> Self {
        let judging = judging.as_nanos() as u64;
        let pitch = (2 * judging).clamp(100 * MS, 1000 * MS);
        let after = (4 * judging).clamp(300 * MS, 3000 * MS);
        Self {
            after,
            pitch,
            // Half of it on average; then parts that came in time are at the ejector.
            life: 2 * after + 5 * pitch,
        }
    }

    /// For tests in which hardly a part comes.
    const SLOW: Self = Self {
        after: 500 * MS,
        pitch: 100 * MS,
        life: 0,
    };

    fn config(self, product: &Path) -> String {
        format!(
            r#"product = "{}"
board = "generic-x86"
[camera]
source = "rendered"
on_trigger = true
seed = 1
defective_percent = 30.0
[trigger]
kind = "gpio"
min_pitch_ms = {}
[capture]
exposure_max_ms = 40
delivery_ms = 60
[gate]
after_ms = {}
pulse_ms = {}
ejector = "pass"
late_output_ms = 10
capacity = 64
[alarm]
consecutive_rejects = 0
stop_line = false
[inference]
threads = 1
timeout_ms = 3000
max_waiting = 16
[supervisor]
lease_ms = {LEASE_MS:.1}
restart_ms = 20
"#,
            product.display(),
            self.pitch * 9 / 10 / MS,
            self.after / MS,
            PULSE / MS,
        )
    }
}

/// A plant whose line has the small product.
fn small_line() -> Plant {
    let plant = Plant::new(&Belt::SLOW.config(Path::new("small.pgp")));
    std::fs::write(plant.at("small.pgp"), bundle::small()).expect("bundle");
    plant
}

/// What makes the belt's sections a whole configuration.
const ANY_LINES: &str = r#"
[lines]
trigger = "line trigger"
ready = "line ready"
pass = "line pass"
[record]
folder = "record"
[plant]
outputs = "outputs"
inputs = "inputs"
"#;

/// Says of parts whether they may pass.
struct Truth {
    camera: Box<dyn partgate::capture::source::FrameSource>,
    flash: Box<dyn partgate::capture::source::Flash>,
    frame: RawFrame,
    judge: ProductJudge,
    known: HashMap<Vec<u8>, Judged>,
}

impl Truth {
    /// Of the lines that `config` configures.
    fn new(config: &Path) -> Self {
        let config = LineConfig::open(config).expect("configuration");
        let mut camera = source(&config).expect("camera");
        camera.open().expect("camera");
        let flash = camera.flash().expect("exposes on command");
        let product = Product::open(&config.product).expect("product");
        let threads = Threads::new(1).expect("threads");
        let inspector = Inspector::new(&product, &threads).expect("inspector");
        Self {
            frame: RawFrame::with_capacity(camera.frame_bytes()),
            camera,
            flash,
            judge: ProductJudge::new(product, inspector, None),
            known: HashMap::new(),
        }
    }

    fn show(&mut self, at: u64) {
        self.flash.fire(at);
        let frame = &mut self.frame;
        assert!(self.camera.next(frame, PATIENCE).expect("frame"));
    }

    /// The picture of the part that was triggered at `at`, told from others by its digest.
    fn shown(&mut self, at: u64) -> blake3::Hash {
        self.show(at);
        blake3::hash(&self.frame.bytes)
    }

    /// What the product says of the part that was triggered at `at`.
    fn of(&mut self, at: u64) -> Judged {
        self.show(at);
        let frame = &mut self.frame;
        if let Some(judged) = self.known.get(&frame.bytes) {
            return judged.clone();
        }
        let judged = self.judge.judge(frame).expect("judged");
        self.known.insert(frame.bytes.clone(), judged.clone());
        judged
    }
}

/// Different parts of the camera that are looked at beforehand.
const SAMPLE: usize = 24;

/// How long judging takes on this machine as it is now: the slow ones of a few.
fn judging(truth: &mut Truth) -> Duration {
    let mut took = Vec::new();
    for us in 0.. {
        let (started, known) = (Instant::now(), truth.known.len());
        truth.of(us * 1000);
        if truth.known.len() > known {
            took.push(started.elapsed());
        }
        if took.len() == SAMPLE {
            break;
        }
    }
    took.sort();
    took[took.len() * 9 / 10]
}

/// The small product with thresholds in the middle of what it says of the parts of `truth`.
fn strict(truth: &mut Truth) -> Vec<u8> {
    judging(truth);
    let mut scores: Vec<f32> = truth.known.values().map(|judged| judged.score).collect();
    scores.sort_by(f32::total_cmp);
    let (low, high) = (scores[scores.len() / 2 - 1], scores[scores.len() / 2]);
    assert!(low < high, "{scores:?}");
    let between = (low + high) / 2.0;
    bundle::with_thresholds(between, high.max(between))
}

/// Lets parts pass the sensor until `stop`; when they did. Whether anybody took note or not.
fn run_belt(belt: Belt, plant: &Plant, stop: &AtomicBool) -> Vec<u64> {
    let mut rng = Rng::stream(SEED, 1);
    let mut parts = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        parts.push(plant.trigger());
        std::thread::sleep(share(belt.pitch, rng.between(1.0, 1.5)));
    }
    parts
}

fn share(of: u64, share: f32) -> Duration {
    Duration::from_nanos(of).mul_f32(share)
}

fn milliseconds(from: u64, to: u64) -> f64 {
    to.saturating_sub(from) as f64 / 1e6
}

fn summary(name: &str, values: &[f64]) -> String {
    format!(
        "{name}: p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms of {}",
        percentile(values, 50.0),
        percentile(values, 99.0),
        percentile(values, 100.0),
        values.len()
    )
}

/// From each of `from` to the next time that `line` is `on`, but for those where another of `from`
/// comes before.
fn delays(heard: &[Change], from: &[u64], line: &str, on: bool) -> Vec<f64> {
    let next = from.iter().skip(1).copied().chain([u64::MAX]);
    let pairs = from.iter().zip(next);
    pairs
        .filter_map(|(&at, next)| {
            let then = change_after(heard, line, on, at).filter(|then| *then < next)?;
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
    let small = scratch.path().join("small.pgp");
    std::fs::write(&small, bundle::small()).expect("bundle");
    let before = scratch.path().join("before.toml");
    let of_product = |product: &Path| {
        let config = Belt::SLOW.config(product) + ANY_LINES;
        std::fs::write(&before, config).expect("configuration");
        Truth::new(&before)
    };
    let (product, mut truth) = match std::env::var("PARTGATE_KILLS_PRODUCT") {
        Ok(named) => (PathBuf::from(&named), of_product(Path::new(&named))),
        Err(_) => {
            let lenient = &mut of_product(&small);
            std::fs::write(&small, strict(lenient)).expect("bundle");
            (small.clone(), of_product(&small))
        }
    };
    let judging = judging(&mut truth);
    let belt = Belt::for_judging(judging);
    println!("{}: judged in {judging:?}: {belt:?}", product.display());
    let plant = Plant::new(&belt.config(&product));
    let running = plant.start();
    let mut rng = Rng::stream(SEED, 2);
    let stop = AtomicBool::new(false);
    let mut killed_at = Vec::new();
    let (started, start) = (Instant::now(), clock::now().0);
    let parts = std::thread::scope(|scope| {
        let parts = scope.spawn(|| run_belt(belt, &plant, &stop));
        let mut last = None;
        for kill in 0..most {
            if asked.is_none() && kill >= FEWEST && started.elapsed() > ENOUGH {
                println!("this machine is busy: {kill} kills instead of {most}");
                break;
            }
            // Most while the line runs, some while it starts.
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
        // And then it works as ever.
        plant.await_change("ready", true, killed_at.last().copied().unwrap_or(0));
        std::thread::sleep(share(2 * belt.life, 1.0));
        stop.store(true, Ordering::Relaxed);
        parts.join().expect("belt")
    });
    std::thread::sleep(Duration::from_nanos(belt.after + 2 * PULSE));
    running.stop();
    let heard = plant.heard();
    let kills = killed_at.len();

    let was = |line: &str| -> Vec<u64> {
        let on = |at: &u64| level_at(&heard, line, *at);
        killed_at.iter().copied().filter(on).collect()
    };
    let (ready, passing) = (was("ready"), was("pass"));
    let ready_off = delays(&heard, &ready, "ready", false);
    let pass_off = delays(&heard, &passing, "pass", false);
    let back = delays(&heard, &ready, "ready", true);
    println!(
        "{kills} kills, {} while READY was on, {} while PASS was",
        ready.len(),
        passing.len()
    );
    let first_start = change_after(&heard, "ready", true, 0).expect("READY");
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
        let middle = level_at(&heard, "pass", from + PULSE / 2);
        if truth.of(part).judgement != Judgement::Ok {
            bad += 1;
            // The least touch of PASS is too much.
            if middle || on_between(&heard, "pass", from, to) {
                escaped.push(part);
            }
            continue;
        }
        good += 1;
        passed += usize::from(middle);
        // The line was ready from before this part to after it.
        let before = part.saturating_sub(belt.after);
        let fell = change_after(&heard, "ready", false, before);
        if level_at(&heard, "ready", before) && fell.is_none_or(|at| at > to) {
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

    assert!(
        escaped.is_empty(),
        "passed, and ought not to have: {escaped:?}"
    );
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
    let said = plant.said();
    let started = |l: &&str| l.contains("vision process") && l.ends_with("started");
    assert_eq!(said.lines().filter(started).count(), kills + 1);
    the_record_is_whole(&plant, kills + 1);
}

/// The event log holds a start of every process that came that far, and nothing is missing.
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
    let fell = milliseconds(at, plant.await_change("ready", false, at));
    let back = plant.await_change("ready", true, at);
    println!(
        "hung to READY off: {fell:.1} ms, to READY on: {:.0} ms",
        milliseconds(at, back)
    );
    assert!(fell < LEASE_MS + SOON_MS, "{fell} ms");
    assert!(!lives(hung));
    assert_ne!(running.await_vision(None), hung);
    running.stop();
    assert!(plant.said().contains("no word from the vision process"));
}

#[test]
fn sigterm_leaves_the_lines_unattended_and_the_record_ends_with_a_stop() {
    let plant = small_line();
    let running = plant.start();
    running.await_ready();
    plant.trigger();
    running.await_status("a part", |s| s["parts"] == 1);
    running.stop();
    let (heard, now) = (plant.heard(), clock::now().0);
    for (name, level) in [
        ("ready", false),
        ("pass", false),
        ("reject", true),
        ("fault", true),
    ] {
        assert_eq!(level_at(&heard, name, now), level, "{name}");
    }
    the_record_is_whole(&plant, 1);
    assert!(!plant.at("control.sock").exists());
}

/// A terminal that is closed sends SIGHUP, to both processes.
#[test]
fn no_signal_that_can_be_taken_leaves_the_lines_at_their_last_level() {
    for signal in [Signal::HUP, Signal::QUIT, Signal::INT] {
        let plant = small_line();
        let mut running = plant.start();
        running.await_ready();
        let vision = running.await_vision(None);
        running.signal(signal);
        let _ = kill_process(vision, signal);
        assert!(running.await_end().success(), "{signal:?}");
        let (heard, now) = (plant.heard(), clock::now().0);
        assert!(!level_at(&heard, "ready", now), "{signal:?}");
        assert!(level_at(&heard, "fault", now), "{signal:?}");
    }
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
    // Its own end is an orderly one: nothing is left in the way of the next.
    the_record_is_whole(&plant, 1);
    let from = clock::now().0;
    let next = plant.start();
    plant.await_change("ready", true, from);
    next.stop();
}

#[test]
fn a_vision_process_that_can_never_start_ends_the_line_and_says_why() {
    let broken = tempfile::tempdir().expect("folder");
    let path = broken.path().join("broken.pgp");
    let mut bytes = std::fs::read(bundle::demo()).expect("bundle");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).expect("write");
    let plant = Plant::new(&Belt::SLOW.config(&path));
    let mut running = plant.start();
    assert_eq!(running.await_end().code(), Some(4), "as `score` ends");
    let said = plant.said();
    assert_eq!(said.matches("broken.pgp").count(), 1, "once: {said}");
    assert!(
        said.contains("starting it again would not change that"),
        "{said}"
    );
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
    let said = plant.said();
    assert_eq!(said.matches(&address.to_string()).count(), 5, "{said}");
    assert!(
        said.contains("ended 5 times in a row before the line was ready"),
        "{said}"
    );
    the_line_was_never_on(&plant);
    assert!(children_of(running.supervisor()).is_empty());
}

fn the_line_was_never_on(plant: &Plant) {
    assert!(
        plant
            .heard()
            .iter()
            .all(|c| !(c.on && (c.line == "ready" || c.line == "pass")))
    );
}

#[test]
fn a_second_line_on_one_record_folder_is_refused_and_told_whose_it_is() {
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
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(3), "{said}");
    let holder = format!("process {}", running.await_vision(None).as_raw_nonzero());
    assert!(
        said.contains(&holder) && said.contains("record.folder"),
        "{said}"
    );
    // The first one runs on.
    assert!(level_at(&plant.heard(), "ready", clock::now().0));
    running.stop();
}
