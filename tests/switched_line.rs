//! Products are installed, confirmed and rolled back while parts flow: each part is judged by one
//! product, none passes without an OK of the product that ran, and READY comes back.
//!
//! Real processes in real time: this test program is the plant, and `partgate install`, `confirm` and
//! `rollback` are given beside the running line. Parts pass the sensor whether the line is ready or not.
//! The products differ in their thresholds, so that they disagree about many parts.
//! `PARTGATE_SWITCHES=1000` switches more often than continuous integration does.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "line/belt.rs"]
mod belt;
mod bundle;
mod command;
mod line;
mod signed;

use belt::{Belt, PULSE, SEED, Stops, Truth, measured, milliseconds, run_belt, share};
use command::{Ran, program};
use line::{Change, PATIENCE, Plant, level_at, on_between, percentile};
use partgate::clock;
use partgate::keys::{Role, SecretKeyFile};
use partgate::product::sign;
use partgate::seed::Rng;
use serde_json::Value;
use signed::{key, short_digest, trust};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// READY is off for no longer than this in a switch, and a start's inspections, on a machine that builds
/// and tests beside it. Pauses
/// of the machine itself do not count: they are measured beside the line.
const OFF_BOUND_MS: f64 = 10_000.0;
/// A sleep of [`NAP`] that lasts longer by this is a pause of the machine.
const PAUSE: Duration = Duration::from_millis(100);
const NAP: Duration = Duration::from_millis(5);
/// Shares of the parts that the products pass.
const PASSED: [f32; 2] = [0.3, 0.7];

/// A line with a store, and the products that were made for it.
struct Board<'a> {
    plant: &'a Plant,
    key: SecretKeyFile,
    strict: Vec<u8>,
    /// Thresholds of the two kinds of product.
    thresholds: [f32; 2],
    revision: u32,
    /// The threshold of each product, by its digest.
    known: HashMap<String, f32>,
}

/// A plant whose line runs what is in a store.
fn store_plant(belt: Belt, product: &Path) -> Plant {
    let config = belt.config(product);
    let (_, rest) = config.split_once('\n').expect("a product first");
    Plant::new(&format!(
        "{rest}\n[store]\nfolder = \"store\"\n[trust]\nkeys = \"keys\"\n"
    ))
}

impl<'a> Board<'a> {
    fn new(plant: &'a Plant, product: &Path, truth: &mut Truth) -> Self {
        let key = key("plant-7", Role::Production);
        trust(&plant.at("keys"), &key);
        let mut scores: Vec<f32> = (0..400).map(|i| truth.of(i * 1_000).score).collect();
        scores.sort_by(f32::total_cmp);
        let at = |share: f32| scores[(scores.len() as f32 * share) as usize];
        Self {
            plant,
            key,
            strict: std::fs::read(product).expect("bundle"),
            thresholds: PASSED.map(at),
            revision: 0,
            known: HashMap::new(),
        }
    }

    fn run(&self, words: &[&str]) -> Ran {
        let mut command = program(&[words, &["--line", "line.toml", "--by", "anna"]].concat());
        let output = command.current_dir(self.plant.folder.path()).output();
        output.expect("the program runs").into()
    }

    /// Installs the next revision, of the other kind; returns its digest.
    fn install(&mut self) -> String {
        self.revision += 1;
        let threshold = self.thresholds[self.revision as usize % 2];
        let bytes = bundle::changed(&self.strict, |manifest| {
            manifest.revision = self.revision;
            manifest.thresholds.unknown.threshold = threshold;
            manifest.thresholds.ng.threshold = manifest.thresholds.ng.threshold.max(threshold);
            for golden in &mut manifest.goldens {
                golden.verdict = manifest.thresholds.verdict(golden.score);
            }
        });
        let bytes = sign(bytes, &self.key).expect("signed");
        std::fs::write(self.plant.at("next.pgp"), &bytes).expect("write");
        self.run(&["install", "next.pgp"]).exits(0);
        let digest = short_digest(&bytes);
        self.known.insert(digest.clone(), threshold);
        digest
    }

    /// Number of entries of each kind in the history, which must be whole.
    fn run_history(&self) -> HashMap<String, usize> {
        let mut command = program(&["history", "--line", "line.toml", "--json"]);
        let output = command.current_dir(self.plant.folder.path()).output();
        let entries = Ran::from(output.expect("the program runs"))
            .exits(0)
            .lines();
        let mut counts = HashMap::new();
        for entry in entries {
            let event = entry["event"].as_str().expect("an event").to_owned();
            *counts.entry(event).or_default() += 1;
        }
        counts
    }

    /// The digest of the active product, as the log shows it.
    fn active(&self) -> String {
        let mut command = program(&["store", "--line", "line.toml", "--json"]);
        let output = command.current_dir(self.plant.folder.path()).output();
        let state = Ran::from(output.expect("the program runs")).exits(0).json();
        let slot = state["active"].as_str().expect("active");
        state[slot]["digest"].as_str().expect("a digest")[..16].to_owned()
    }

    /// Waits until the line is ready with this product. It counts looks and not time, because a long run
    /// may be paused together with its line.
    fn await_product(&self, digest: &str) {
        let look = Duration::from_millis(20);
        let looks = PATIENCE.as_millis() / look.as_millis();
        let mut status = Value::Null;
        for _ in 0..looks {
            let answer = partgate::station::ask(&self.plant.at("control.sock"), "status");
            status = serde_json::from_str(&answer.unwrap_or_default()).unwrap_or_default();
            if status["product"]["digest"] == digest && status["ready"] == true {
                return;
            }
            std::thread::sleep(look);
        }
        panic!("{digest}: {status:#}");
    }
}

/// Installs, confirms and rolls back, `most` switches in all; returns installs and rollbacks.
fn switch(board: &mut Board<'_>, belt: Belt, most: usize) -> (usize, usize) {
    let mut rng = Rng::stream(SEED, 3);
    let (mut installs, mut rollbacks, mut cycle) = (0, 0, 0);
    let mut live = |board: &Board<'_>, digest: &str| {
        board.await_product(digest);
        std::thread::sleep(share(belt.after + 2 * belt.pitch, rng.unit()));
    };
    while installs + rollbacks < most {
        let digest = board.install();
        installs += 1;
        live(board, &digest);
        // Confirmed, given up, or confirmed and left for the one before.
        let (confirmed, back) = [(true, false), (false, true), (true, true)][cycle % 3];
        cycle += 1;
        if confirmed {
            board.run(&["confirm"]).exits(0);
        }
        if back && installs + rollbacks < most {
            board.run(&["rollback", "--reason", "a test"]).exits(0);
            rollbacks += 1;
            live(board, &board.active());
        } else if !confirmed {
            board.run(&["confirm"]).exits(0);
        }
    }
    (installs, rollbacks)
}

/// Measures when this machine did not run what was due, until `stop`: (from, to) of each pause.
fn watch_pauses(stop: &AtomicBool) -> Vec<(u64, u64)> {
    let mut pauses = Vec::new();
    let mut before = clock::now().0;
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(NAP);
        let now = clock::now().0;
        let due = before + NAP.as_nanos() as u64;
        if now > due + PAUSE.as_nanos() as u64 {
            pauses.push((due, now));
        }
        before = now;
    }
    pauses
}

/// Milliseconds of `from..to` that lie in no pause.
fn without(pauses: &[(u64, u64)], (from, to): (u64, u64)) -> f64 {
    let paused = pauses
        .iter()
        .map(|(a, b)| (*b).min(to).saturating_sub((*a).max(from)));
    (to - from - paused.sum::<u64>()) as f64 / 1e6
}

/// When READY was off each time, from the first time that it was on.
fn times_off(changes: &[Change]) -> Vec<(u64, u64)> {
    let ready = changes.iter().filter(|change| change.output == "ready");
    let (mut off_at, mut times) = (None, Vec::new());
    let mut was_on = false;
    for change in ready {
        match (change.on, off_at) {
            (true, Some(at)) => {
                times.push((at, change.at));
                off_at = None;
            }
            (false, None) if was_on => off_at = Some(change.at),
            _ => {}
        }
        was_on = change.on;
    }
    times
}

/// What the log says of a part.
struct Judged {
    digest: String,
    passed: bool,
    ok: bool,
}

/// Parts by the time of their trigger. Each has the digest of the product that its process ran.
fn judged(log: &[Value]) -> BTreeMap<u64, Judged> {
    let mut parts = BTreeMap::new();
    let mut running = None;
    for entry in log {
        if entry["event"] == "start" {
            running = None;
        } else if entry["event"] == "product" && running.is_none() {
            let detail = entry["detail"].as_str().expect("said");
            running = detail.split(", ").nth(1).map(str::to_owned);
        }
        let Some(at) = entry["trigger_ns"].as_u64() else {
            continue;
        };
        let digest = entry["digest"].as_str().expect("a digest").to_owned();
        assert_eq!(
            Some(&digest),
            running.as_ref(),
            "another product than its process ran: {entry}"
        );
        let judged = Judged {
            digest,
            passed: entry["decision"] == "passed",
            ok: entry["verdict"] == "OK",
        };
        assert!(parts.insert(at, judged).is_none(), "judged twice: {entry}");
    }
    parts
}

/// What became of the parts at the ejector.
#[derive(Debug, Default)]
struct Came {
    parts: usize,
    passed: usize,
    /// With no entry in the log: the line saw nothing of them.
    unseen: usize,
    /// About which the two kinds of product disagree, by what the part shows.
    disputed: usize,
    by_product: BTreeMap<String, usize>,
}

/// Compares what passed with the log and with the truth.
fn check(
    board: &Board<'_>,
    belt: Belt,
    parts: &[u64],
    judged: &BTreeMap<u64, Judged>,
    truth: &mut Truth,
) -> Came {
    let changes = board.plant.changes();
    let mut came = Came::default();
    for &part in parts {
        came.parts += 1;
        let (from, to) = (part + belt.after, part + belt.after + PULSE);
        let middle = level_at(&changes, "pass", from + PULSE / 2);
        let passing = middle || on_between(&changes, "pass", from, to);
        let score = truth.of(part).score;
        let [a, b] = board.thresholds.map(|threshold| score <= threshold);
        came.disputed += usize::from(a != b);
        let Some(judged) = judged.get(&part) else {
            came.unseen += 1;
            assert!(!passing, "passed unverified: {part}");
            continue;
        };
        if passing {
            let threshold = board.known[&judged.digest];
            assert!(
                judged.ok && judged.passed && score <= threshold,
                "passed without an OK of {}: {part}, score {score}, threshold {threshold}",
                judged.digest
            );
            came.passed += 1;
            *came.by_product.entry(judged.digest.clone()).or_default() += 1;
        }
    }
    came
}

#[test]
fn each_part_is_judged_by_one_product_while_products_are_switched() {
    let asked = std::env::var("PARTGATE_SWITCHES").ok();
    let most: usize = asked.map_or(6, |n| n.parse().expect("PARTGATE_SWITCHES is a number"));
    let scratch = tempfile::tempdir().expect("folder");
    let (product, mut truth, belt) = measured(scratch.path(), None);
    let plant = store_plant(belt, &product);
    let mut board = Board::new(&plant, &product, &mut truth);
    let first = board.install();
    board.run(&["confirm"]).exits(0);
    let running = plant.start();
    running.await_clear();
    board.await_product(&first);
    let stop = AtomicBool::new(false);
    let started = Instant::now();
    let (parts, pauses, (installs, rollbacks)) = std::thread::scope(|scope| {
        let _stops = Stops(&stop);
        let pauses = scope.spawn(|| watch_pauses(&stop));
        let parts = scope.spawn(|| run_belt(belt, &plant, &stop));
        let counts = switch(&mut board, belt, most);
        std::thread::sleep(share(belt.life, 1.0));
        stop.store(true, Ordering::Relaxed);
        let pauses = pauses.join().expect("pauses");
        (parts.join().expect("belt"), pauses, counts)
    });
    let seconds = started.elapsed().as_secs_f64();
    std::thread::sleep(Duration::from_nanos(belt.after + 2 * PULSE));
    running.stop();
    let judged = judged(&plant.log());
    let came = check(&board, belt, &parts, &judged, &mut truth);
    let off = times_off(&plant.changes());
    let longest = pauses.iter().map(|(from, to)| milliseconds(*from, *to));
    println!(
        "the machine paused {} times, for {:.0} ms at most",
        pauses.len(),
        longest.fold(0.0, f64::max)
    );
    let whole: Vec<f64> = off
        .iter()
        .map(|(from, to)| milliseconds(*from, *to))
        .collect();
    let off: Vec<f64> = off.iter().map(|off| without(&pauses, *off)).collect();
    println!(
        "{installs} installs and {rollbacks} rollbacks in {seconds:.0} s; READY off {} times: p50 {:.0} ms, p99 {:.0} ms, max {:.0} ms; without the machine's pauses p50 {:.0} ms, p99 {:.0} ms, max {:.0} ms",
        off.len(),
        percentile(&whole, 50.0),
        percentile(&whole, 99.0),
        percentile(&whole, 100.0),
        percentile(&off, 50.0),
        percentile(&off, 99.0),
        percentile(&off, 100.0)
    );
    println!(
        "{} parts, {} of them unseen, {} disputed; {} passed, by {} products; none passed unverified, none judged by two",
        came.parts,
        came.unseen,
        came.disputed,
        came.passed,
        came.by_product.len()
    );
    let switches = installs + rollbacks;
    assert_eq!(switches, most);
    assert!(off.len() >= switches, "{} times off", off.len());
    // A start inspects several pictures, which takes long where one inspection does.
    let bound = OFF_BOUND_MS + 5.0 * belt.after as f64 / 1e6;
    assert!(percentile(&off, 100.0) < bound, "{bound} {off:?}");
    assert!(percentile(&off, 50.0) < OFF_BOUND_MS, "{off:?}");
    assert!(
        came.disputed * 10 > came.parts,
        "the products hardly differ"
    );
    assert!(came.passed > 0 && came.by_product.len() > 1, "{came:?}");
    let verified = command::partgate(&[
        "log",
        &command::text(&plant.at("record")),
        "--verify",
        "--json",
    ]);
    assert_eq!(verified.exits(0).json()["whole"], true);
    let history = board.run_history();
    assert_eq!(history["installed"], installs + 1);
    assert_eq!(history["rolled-back"], rollbacks);
}
