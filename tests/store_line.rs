//! A running line takes another product between two parts; each part is inspected by exactly one
//! product, and the log says which. A product on trial that fails is given up by itself.

#![allow(clippy::expect_used, clippy::panic)]

#[path = "command/mod.rs"]
mod command;

mod bundle;
mod line;
mod signed;

use command::*;
use line::*;
use partgate::clock;
use partgate::keys::{Role, SecretKeyFile};
use partgate::product::{BudgetPoint, GoldenKind, Operating, Product, sign};
use partgate::store::{Folder, Identity, Store, Who};
use partgate::time::Duration;
use partgate::verdict::BoundMethod;
use rustix::process::Signal;
use serde_json::Value;
use signed::*;

/// A line that runs what is in a store, with limits of a trial.
struct Board {
    plant: Plant,
    key: SecretKeyFile,
}

impl Board {
    fn new(limits: &str) -> Self {
        let plant = Plant::new(&format!(
            "board = \"generic-x86\"\n[store]\nfolder = \"store\"\n{limits}\n\
             [trust]\nkeys = \"keys\"\n\
             [camera]\nsource = \"rendered\"\non_trigger = true\nseed = 1\ndefective_percent = 0.0\n\
             [trigger]\nkind = \"gpio\"\nmin_pitch_ms = 80\n\
             [capture]\nexposure_max_ms = 60\ndelivery_ms = 200\n[gate]\nafter_ms = 2000\n\
             pulse_ms = 60\nejector = \"pass\"\nlate_output_ms = 100\n\
             [inference]\nthreads = 1\ntimeout_ms = 10000\nmax_waiting = 16\n\
             [supervisor]\nlease_ms = 4000\nlate_ms = 1000\nrestart_ms = 20\n\
             [alarm]\nconsecutive_rejects = 0\nstop_line = false"
        ));
        let key = key("plant-7", Role::Production);
        trust(&plant.at("keys"), &key);
        Self { plant, key }
    }

    fn run(&self, words: &[&str]) -> Ran {
        let mut command = program(words);
        let output = command.current_dir(self.plant.folder.path()).output();
        output.expect("the program runs").into()
    }

    fn install(&self, revision: u32) -> String {
        self.install_bytes(&signed::revision(revision, &self.key))
    }

    fn install_bytes(&self, bytes: &[u8]) -> String {
        std::fs::write(self.plant.at("next.pgp"), bytes).expect("write");
        let words = ["install", "next.pgp", "--line", "line.toml", "--by", "anna"];
        self.run(&words).exits(0);
        short_digest(bytes)
    }

    fn threshold(&self, words: &[&str]) -> Ran {
        self.run(&[&["threshold", "--line", "line.toml"], words].concat())
    }

    fn confirm(&self) {
        self.run(&["confirm", "--line", "line.toml"]).exits(0);
    }

    /// Puts a product into the store without the proof that `install` demands.
    fn smuggle(&self, bytes: &[u8]) {
        let product = Product::from_bytes(bytes.to_vec(), "smuggled").expect("opens");
        let identity = Identity {
            product: product.manifest().name.clone(),
            revision: product.manifest().revision,
            digest: product.digest().to_hex().to_string(),
            origin: "signed by plant-7".into(),
        };
        let mut store = Store::open(Folder::new(&self.plant.at("store"))).expect("a store");
        let who = Who::now("nobody");
        store
            .install(identity, bytes, false, &who, |_| Ok(()))
            .expect("installed");
    }

    fn history(&self) -> Vec<Value> {
        self.run(&["history", "--line", "line.toml", "--json"])
            .exits(0)
            .lines()
    }

    fn state(&self) -> Value {
        self.run(&["store", "--line", "line.toml", "--json"])
            .exits(0)
            .json()
    }

    /// Waits for an entry of the history.
    fn await_event(&self, event: &str) -> Value {
        let began = std::time::Instant::now();
        loop {
            let entry = self
                .history()
                .into_iter()
                .rev()
                .find(|e| e["event"] == event);
            if let Some(entry) = entry {
                return entry;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "no {event}: {:#?}",
                self.history()
            );
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}

/// Waits until the line is ready with a product that `is`. It does not answer while it switches.
fn await_line(running: &Running<'_>, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    let began = std::time::Instant::now();
    loop {
        let socket = running.plant.at("control.sock");
        let answer = partgate::station::ask(&socket, "status").unwrap_or_default();
        let status: Value = serde_json::from_str(&answer).unwrap_or_default();
        if status["ready"] == true && is(&status["product"]) {
            return status;
        }
        assert!(began.elapsed() < PATIENCE, "{what}: {status:#}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// Waits until the line runs the product with this digest and is ready.
fn await_product(running: &Running<'_>, digest: &str) {
    await_line(running, digest, |product| product["digest"] == digest);
}

/// Parts of the log: number of each, and the digest that it was inspected by.
fn parts(plant: &Plant) -> Vec<Value> {
    let log = plant.log();
    log.into_iter().filter(|e| e["part"].is_u64()).collect()
}

#[test]
fn a_switch_comes_between_two_parts_and_each_part_has_one_product() {
    let board = Board::new("confirm_after_parts = 3");
    let first = board.install(3);
    board.confirm();
    let mut running = board.plant.start();
    running.await_clear();
    let status = running.ask("status");
    assert_eq!(status["product"]["digest"], *first);
    assert_eq!(status["product"]["origin"], "signed by plant-7");
    for _ in 0..3 {
        board.plant.trigger();
        clock::sleep(Duration::from_millis(400));
    }
    // The last part is still on its way: it keeps its product.
    let switched = clock::now().0;
    let second = board.install(4);
    await_product(&running, &second);
    let off = board.plant.await_change("ready", false, switched);
    let on = board.plant.await_change("ready", true, off);
    println!("READY was off for {} ms", (on - off) / 1_000_000);
    // Wait until what was on the belt is rejected.
    board.plant.await_change("reject", false, on);
    for _ in 0..5 {
        board.plant.trigger();
        clock::sleep(Duration::from_millis(800));
    }
    // The parts reach the ejector two seconds after the sensor, and then they are counted.
    let confirmed = |state: &Value| state["b"]["state"] == "confirmed";
    let began = std::time::Instant::now();
    while !confirmed(&board.state()) {
        assert!(began.elapsed() < PATIENCE, "{:#}", board.state());
        clock::sleep(Duration::from_millis(100));
    }
    let last = board.history().pop().expect("an entry");
    let why = last["why"].as_str().expect("said");
    assert!(
        why.contains("good parts") && last["by"] == "the line",
        "{last}"
    );
    clock::sleep(Duration::from_millis(3000));
    running.signal(Signal::TERM);
    running.await_end();
    let parts = parts(&board.plant);
    let digests: Vec<&str> = parts.iter().filter_map(|p| p["digest"].as_str()).collect();
    assert_eq!(digests.len(), 8);
    assert!(digests[..3].iter().all(|d| *d == first), "{digests:?}");
    assert!(digests[3..].iter().all(|d| *d == second), "{digests:?}");
    let passed = parts.iter().filter(|p| p["decision"] == "passed").count();
    assert!(passed >= 6, "{parts:#?}");
    for part in &parts {
        assert!(part["origin"].is_null(), "{part}");
        let before = part["digest"] == *first;
        let at = part["trigger_ns"].as_u64().expect("a time");
        assert_eq!(before, at < switched, "{part}");
    }
    assert!(board.plant.log().iter().any(|e| e["event"] == "product"));
}

#[test]
fn a_product_that_does_not_score_here_as_in_the_fit_is_given_up_at_the_start() {
    let board = Board::new("");
    let first = board.install(3);
    board.confirm();
    // Another expected score: what a changed program or driver looks like.
    let strange = lenient(|m| {
        m.revision = 4;
        m.goldens[0].score *= 1.5;
    });
    board.smuggle(&sign(strange, &board.key).expect("signed"));
    let running = board.plant.start();
    await_product(&running, &first);
    let returned = board.await_event("returned");
    assert!(
        returned["why"]
            .as_str()
            .expect("said")
            .contains("failed parity")
    );
    assert_eq!(returned["by"], "the line");
    running.stop();
    let state = board.state();
    assert_eq!(state["active"], "a");
    assert_eq!(state["b"]["state"], "bad");
}

#[test]
fn a_crash_loop_and_a_trial_without_an_end_return() {
    let board = Board::new("trial_restarts = 2\ntrial_parts = 3");
    let first = board.install(3);
    board.confirm();
    let second = board.install(4);
    let running = board.plant.start();
    await_product(&running, &second);
    let mut killed = None;
    for _ in 0..3 {
        let vision = running.await_vision(killed);
        clock::sleep(Duration::from_millis(300));
        rustix::process::kill_process(vision, Signal::KILL).expect("killed");
        killed = Some(vision);
    }
    await_product(&running, &first);
    let returned = board.await_event("returned");
    assert!(
        returned["why"]
            .as_str()
            .expect("said")
            .contains("crash loop"),
        "{returned}"
    );
    // Parts without a confirmation.
    let third = board.install(5);
    await_product(&running, &third);
    running.await_status("ready", |s| s["ready"] == true);
    for _ in 0..4 {
        board.plant.trigger();
        clock::sleep(Duration::from_millis(400));
    }
    await_product(&running, &first);
    let last = board.history().pop().expect("an entry");
    assert_eq!(last["event"], "returned");
    assert!(
        last["why"]
            .as_str()
            .expect("said")
            .contains("3 parts without"),
        "{last}"
    );
    // A product that nobody trusts any more does not start, and is not given up for it.
    running.stop();
    revoke(&board.plant.at("keys"), &board.key);
    let mut running = board.plant.start();
    assert_eq!(running.await_end().code(), Some(4));
    assert!(board.plant.printed().contains("revoked (lost laptop)"));
    assert_eq!(
        board.history().pop().expect("an entry")["event"],
        "returned"
    );
}

/// The product with evidence that allows thresholds from `low` to its own. Under `low` its good golden
/// image would be rejected.
fn with_evidence(low: f32, key: &SecretKeyFile) -> Vec<u8> {
    let product = Product::from_bytes(lenient(|_| ()), "a product").expect("opens");
    let own = product.manifest().thresholds.unknown.threshold;
    let point = |budget, threshold| BudgetPoint {
        budget,
        threshold,
        method: BoundMethod::BudgetQuantile,
        above: 0,
        at_most: 0.5,
    };
    let evidence = Operating {
        goods: vec![low, own],
        partitions: 1,
        damaged: Vec::new(),
        points: vec![point(0.001, own), point(0.05, low)],
        confidence: 0.95,
    };
    let section = evidence.section().expect("a section");
    let bytes = product.rewritten_with(product.manifest().clone(), vec![section]);
    sign(bytes.expect("written"), key).expect("signed")
}

/// With a group in the configuration only its members set a threshold.
fn only_members_may(board: &Board, set_to: &str) {
    let config = std::fs::read_to_string(board.plant.at("line.toml")).expect("read");
    let config = config.replace("[store]", "[store]\nthreshold_group = \"no-such-group\"");
    std::fs::write(board.plant.at("line.toml"), config).expect("write");
    board
        .threshold(&["set", set_to, "--reason", "a try"])
        .exits(3)
        .tells("only members of the group no-such-group");
}

#[test]
fn a_threshold_is_set_and_restored_within_what_the_bundle_allows() {
    let board = Board::new("");
    let good = {
        let product = Product::from_bytes(lenient(|_| ()), "a product").expect("opens");
        let mut goldens = product.manifest().goldens.iter();
        goldens
            .find(|g| g.kind == GoldenKind::Good)
            .expect("good")
            .score
    };
    let low = good * 0.01;
    let set_to = (good * 0.02).to_string();
    let digest = board.install_bytes(&with_evidence(low, &board.key));
    board.confirm();
    let mut running = board.plant.start();
    running.await_clear();
    await_product(&running, &digest);
    let part = || {
        board.plant.trigger();
        clock::sleep(Duration::from_millis(3000));
    };
    part();
    for (score, why) in [
        ("1e9", "the bundle allows"),
        ("nan", "the bundle allows"),
        ("0", "the bundle allows"),
    ] {
        board
            .threshold(&["set", score, "--reason", "a try"])
            .exits(3)
            .tells(why);
    }
    board
        .threshold(&["set", &set_to])
        .exits(2)
        .tells("--reason");
    let before = clock::now().0;
    let why = ["--by", "anna", "--reason", "scratches pass"];
    let ran = board
        .threshold(&[&["set", &set_to], &why[..]].concat())
        .exits(0);
    assert!(
        ran.stdout.contains("as set on this board"),
        "{}",
        ran.stdout
    );
    let off = board.plant.await_change("ready", false, before);
    board.plant.await_change("ready", true, off);
    let status = await_line(&running, "set", |product| product["set"].is_string());
    assert_eq!(status["product"]["set"], format!("UNKNOWN above {set_to}"));
    assert_eq!(status["product"]["digest"], *digest);
    clock::sleep(Duration::from_millis(2500));
    part();
    board
        .threshold(&["restore", "--reason", "the lamp is back"])
        .exits(0);
    await_line(&running, "restored", |product| product["set"].is_null());
    clock::sleep(Duration::from_millis(2500));
    part();
    running.signal(Signal::TERM);
    running.await_end();
    let parts = parts(&board.plant);
    let facts: Vec<_> = parts
        .iter()
        .map(|p| (p["decision"].as_str(), p["set"].is_null()))
        .collect();
    assert_eq!(
        facts,
        [
            (Some("passed"), true),
            (Some("rejected"), false),
            (Some("passed"), true)
        ],
        "{parts:#?}"
    );
    assert_eq!(parts[1]["reason"], "unknown");
    let events: Vec<Value> = board.history();
    let last = &events[events.len() - 2..];
    assert_eq!(last[0]["event"], "threshold-set");
    assert_eq!(last[0]["by"], "anna");
    assert!(
        last[0]["why"]
            .as_str()
            .expect("said")
            .ends_with("scratches pass")
    );
    assert_eq!(last[1]["event"], "threshold-restored");
    only_members_may(&board, &set_to);
}

#[test]
fn a_product_on_trial_that_is_too_slow_for_its_line_is_given_up_at_the_start() {
    let board = Board::new("");
    let first = board.install(3);
    board.confirm();
    board.smuggle(&revision(4, &board.key));
    // The gate leaves 1 ms: another line than the one that it was installed for.
    let file = board.plant.at("line.toml");
    let config = std::fs::read_to_string(&file).expect("read");
    let quick = config.replace("after_ms = 2000", "after_ms = 261");
    assert_ne!(quick, config);
    std::fs::write(&file, quick).expect("write");
    let running = board.plant.start();
    let returned = board.await_event("returned");
    assert!(
        returned["why"].as_str().expect("said").contains("too slow"),
        "{returned}"
    );
    // A confirmed one runs, and says so.
    await_product(&running, &first);
    running.stop();
    let printed = board.plant.printed();
    let said = printed.matches("too slow for this line: a part takes");
    assert_eq!(said.count(), 2, "{printed}");
    assert!(printed.contains("parts with a late verdict are rejected"));
}

#[test]
fn the_boards_own_health_check_decides_about_a_trial() {
    let board = Board::new("health = \"health\"\nconfirm_after_parts = 1");
    let script = |text: &str| {
        let file = board.plant.at("health");
        std::fs::write(&file, format!("#!/bin/sh\n{text}\n")).expect("write");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&file, mode).expect("mode");
    };
    // Well, but not at once: a good part alone does not confirm.
    script("while [ ! -e well ]; do sleep 0.1; done");
    let first = board.install(3);
    let running = board.plant.start();
    running.await_clear();
    await_product(&running, &first);
    board.plant.trigger();
    running.await_status("a part", |s| s["passed"] == 1);
    clock::sleep(Duration::from_millis(1500));
    assert_eq!(board.state()["a"]["state"], "trial");
    std::fs::write(board.plant.at("well"), b"").expect("write");
    board.await_event("confirmed");
    // Not well with the next one.
    script("echo the PLC does not answer >&2; exit 7");
    let second = board.install(4);
    let returned = board.await_event("returned");
    let why = returned["why"].as_str().expect("said");
    assert!(
        why.contains("health") && why.ends_with("ended with 7"),
        "{returned}"
    );
    assert_eq!(returned["digest"].as_str().expect("a digest")[..16], second);
    await_product(&running, &first);
    running.stop();
    assert!(board.plant.printed().contains("the PLC does not answer"));
}
