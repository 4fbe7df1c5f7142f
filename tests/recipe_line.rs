//! Several products on one board: chosen by command or by recipe inputs, with acknowledgement. Real
//! processes in real time: this test program is the PLC and the belt.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "command/mod.rs"]
mod command;

mod bundle;
mod line;
mod signed;

use command::*;
use line::*;
use partgate::clock;
use partgate::keys::{Role, SecretKeyFile};
use partgate::product::sign;
use rustix::process::Signal;
use serde_json::Value;
use signed::*;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

/// From sensor to ejector, and the pulse there.
const AFTER: u64 = 1_200 * MS;
const PULSE: u64 = 60 * MS;

/// A line with the products lid, base and cap.
struct Board {
    plant: Plant,
    key: SecretKeyFile,
    /// The name of the product with each digest.
    names: Mutex<HashMap<String, String>>,
}

impl Board {
    /// `lines`: more inputs and outputs. `recipe`: more sections.
    fn new(lines: &str, sections: &str) -> Self {
        let plant = Plant::new(&format!(
            "board = \"generic-x86\"\n[store]\nfolder = \"store\"\n\
             products = [\"lid\", \"base\", \"\", \"cap\"]\n[trust]\nkeys = \"keys\"\n\
             [camera]\nsource = \"rendered\"\non_trigger = true\nseed = 1\ndefective_percent = 0.0\n\
             [trigger]\nkind = \"gpio\"\nmin_pitch_ms = 80\n\
             [capture]\nexposure_max_ms = 60\ndelivery_ms = 200\n[gate]\nafter_ms = 1200\n\
             pulse_ms = 60\nejector = \"pass\"\nlate_output_ms = 100\n\
             [inference]\nthreads = 1\ntimeout_ms = 10000\nmax_waiting = 16\n\
             [supervisor]\nlease_ms = 4000\nlate_ms = 1000\nrestart_ms = 20\n{sections}\n\
             [alarm]\nconsecutive_rejects = 0\nrestarts_per_hour = 0\nstop_line = false"
        ));
        let file = plant.at("line.toml");
        let config = std::fs::read_to_string(&file).expect("read");
        let wired = config.replace("[lines]\n", &format!("[lines]\n{lines}"));
        std::fs::write(&file, wired).expect("write");
        let key = key("plant-7", Role::Production);
        trust(&plant.at("keys"), &key);
        Self {
            plant,
            key,
            names: Mutex::default(),
        }
    }

    fn run(&self, words: &[&str]) -> Ran {
        let mut command = program(&[words, &["--line", "line.toml"]].concat());
        let output = command.current_dir(self.plant.folder.path()).output();
        output.expect("the program runs").into()
    }

    fn choose(&self, name: &str) -> Ran {
        self.run(&["choose", name, "--by", "anna", "--wait", "60"])
    }

    /// The product of this name, which `strange` makes one that does not prove itself at a start.
    fn product(&self, name: &str, strange: bool) -> Vec<u8> {
        let bytes = lenient(|manifest| {
            manifest.name = name.to_owned();
            if strange {
                manifest.goldens[0].score *= 1.5;
            }
        });
        let bytes = sign(bytes, &self.key).expect("signed");
        let known = (short_digest(&bytes), name.to_owned());
        self.names.lock().expect("names").extend([known]);
        bytes
    }

    fn install(&self, name: &str) {
        let bytes = self.product(name, false);
        std::fs::write(self.plant.at("next.pgp"), bytes).expect("write");
        self.run(&["install", "next.pgp", "--by", "anna"]).exits(0);
        self.run(&["confirm", "--product", name]).exits(0);
    }

    /// As after an update of the program that scores otherwise: a confirmed product without another one
    /// that is not what it was in the fit any more.
    fn smuggle(&self, name: &str) {
        use partgate::store::{Folder, Identity, Store, Who};
        let bytes = self.product(name, true);
        let identity = Identity {
            product: name.to_owned(),
            revision: 7,
            digest: blake3::hash(&bytes).to_hex().to_string(),
            origin: "signed by plant-7".into(),
        };
        let folder = self.plant.at(&format!("store/products/{name}"));
        std::fs::create_dir_all(&folder).expect("folder");
        let mut store = Store::open(Folder::new(&folder)).expect("a store");
        let who = Who::now("nobody");
        let put = store.install(identity, &bytes, false, &who, |_| Ok(()));
        put.expect("installed");
        store.confirm(None, &who).expect("confirmed");
    }

    fn store(&self) -> Value {
        self.run(&["store", "--json"]).exits(0).json()
    }

    fn name_of(&self, digest: &str) -> String {
        self.names.lock().expect("names")[digest].clone()
    }
}

fn status(running: &Running<'_>) -> Value {
    let socket = running.plant.at("control.sock");
    let answer = partgate::station::ask(&socket, "status").unwrap_or_default();
    serde_json::from_str(&answer).unwrap_or_default()
}

/// Waits until the status of the line `is` as wanted. It does not answer while it switches.
fn await_line(running: &Running<'_>, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    let began = Instant::now();
    loop {
        let status = status(running);
        if is(&status) {
            return status;
        }
        assert!(began.elapsed() < PATIENCE, "{what}: {status:#}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn runs<'a>(name: &'a str) -> impl Fn(&Value) -> bool + 'a {
    move |status| status["ready"] == true && status["product"]["name"] == name
}

fn held(status: &Value) -> bool {
    let faults = status["faults"].as_array().into_iter().flatten();
    status["ready"] == false && faults.into_iter().any(|fault| fault == "asked_product")
}

#[test]
fn a_person_chooses_and_what_cannot_start_is_left_with_nothing_passing() {
    let board = Board::new("", "");
    board.install("lid");
    board.install("base");
    let running = board.plant.start();
    running.await_clear();
    // The first one that was installed runs until somebody chooses.
    let first = await_line(&running, "lid", runs("lid"));
    let known = &first["products"];
    assert_eq!(known[1]["name"], "base", "{first:#}");
    assert_eq!(
        (&known[2]["name"], &known[2]["installed"]),
        (&"cap".into(), &false.into())
    );
    board.choose("base").exits(0);
    await_line(&running, "base", runs("base"));
    board
        .run(&["choose", "cap"])
        .exits(3)
        .tells("not installed");
    board
        .run(&["choose", "pot"])
        .exits(3)
        .tells("lid, base, cap");
    // A bundle of another product goes to no store.
    std::fs::write(board.plant.at("pot.pgp"), board.product("pot", false)).expect("write");
    board
        .run(&["install", "pot.pgp"])
        .exits(3)
        .tells("store.products");
    assert!(runs("base")(&status(&running)), "as before");
    // One that does not prove itself at the start.
    board.smuggle("cap");
    board.choose("cap").exits(1).tells("could not start");
    let left = await_line(&running, "back", held);
    assert_eq!(left["product"]["name"], "base");
    let why = left["asked"]["why"].as_str().expect("said");
    assert!(why.contains("could not start"), "{left:#}");
    let store = board.store();
    assert_eq!(store["choice"]["refused"]["product"], "cap", "{store:#}");
    assert_eq!(store["products"][1]["runs"], true);
    // A part with it: rejected.
    let part = board.plant.trigger();
    clock::sleep(partgate::time::Duration::from_millis(2_000));
    let changes = board.plant.changes();
    assert!(!on_between(&changes, "pass", part, part + AFTER + PULSE));
    // Somebody says that it is to be the one that runs.
    board.choose("base").exits(0);
    await_line(&running, "base again", runs("base"));
    running.stop();
    let events = board
        .run(&["history", "--json", "--product", "base"])
        .exits(0)
        .lines();
    let chosen = events.iter().filter(|e| e["event"] == "chosen");
    assert_eq!(chosen.count(), 2, "{events:#?}");
    let text = board.run(&["store"]).exits(0).stdout;
    assert!(
        text.contains("*  2  base: revision") && text.contains("   4  cap"),
        "{text}"
    );
}

/// What the PLC shows at the inputs, and since when: numbers above 31 have the wrong parity, STROBE_OFF
/// is added while the strobe is off.
struct Plc<'a> {
    board: &'a Board,
    shows: AtomicU8,
    strobe: bool,
    /// Every change: when, and what from then on.
    past: Mutex<Vec<(u64, u8)>>,
}

const STROBE_OFF: u8 = 64;
const WRONG_PARITY: u8 = 32;

impl Plc<'_> {
    fn show(&self, what: u8) {
        self.past.lock().expect("past").push((clock::now().0, what));
        self.shows.store(what, Ordering::Relaxed);
        self.send();
    }

    fn send(&self) {
        let shown = self.shows.load(Ordering::Relaxed);
        let number = shown & 31;
        let odd = number.count_ones() % 2 == 1;
        let mut levels = vec![
            ("recipe_1", number & 1 != 0),
            ("recipe_2", number & 2 != 0),
            ("recipe_4", number & 4 != 0),
            ("recipe_parity", odd == (shown & WRONG_PARITY != 0)),
        ];
        if self.strobe {
            levels.push(("recipe_strobe", shown & STROBE_OFF == 0));
        }
        for (input, on) in levels {
            let level = format!("{input} level {}", u8::from(on));
            self.board.plant.edge(&level, clock::now().0);
        }
    }

    /// Sends the levels again and again, for every vision process that begins to listen, and lets a
    /// part pass the sensor from time to time; returns the parts.
    fn run(&self, stop: &AtomicBool) -> Vec<u64> {
        let mut parts = Vec::new();
        let mut next = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            self.send();
            if Instant::now() >= next {
                next += Duration::from_millis(310);
                parts.push(self.board.plant.trigger());
            }
            std::thread::sleep(Duration::from_millis(15));
        }
        parts
    }

    /// The name of the product that was asked for during all of this time; None: none, or another one in
    /// between.
    fn asked(&self, from: u64, to: u64) -> Option<&'static str> {
        let past = self.past.lock().expect("past");
        let until = past.partition_point(|(at, _)| *at <= to);
        let since = past
            .partition_point(|(at, _)| *at <= from)
            .saturating_sub(1);
        let mut shown = past[since..until].iter().map(|(_, what)| *what);
        let first = shown.next()?;
        let name = match first {
            1 => "lid",
            2 => "base",
            4 => "cap",
            _ => return None,
        };
        shown.all(|what| what == first).then_some(name)
    }
}

/// Every part that passed was asked for as the product that judged it, from the sensor to the ejector.
/// Returns the number of parts that passed, by product.
fn check_parts(board: &Board, plc: &Plc<'_>, parts: &[u64]) -> HashMap<String, usize> {
    let log = board.plant.log();
    let judged: HashMap<u64, &Value> = log
        .iter()
        .filter_map(|entry| Some((entry["trigger_ns"].as_u64()?, entry)))
        .collect();
    let changes = board.plant.changes();
    let mut passed = HashMap::new();
    for &part in parts {
        let (from, to) = (part + AFTER, part + AFTER + PULSE);
        if !on_between(&changes, "pass", from + 5 * MS, to - 5 * MS) {
            continue;
        }
        let entry = judged.get(&part).expect("passed, but nobody judged it");
        assert_eq!(entry["decision"], "passed", "{entry}");
        let name = board.name_of(entry["digest"].as_str().expect("a digest"));
        if !plc.strobe {
            // A change a moment before the end of the pulse comes too late for this part.
            let asked = plc.asked(part, from);
            assert_eq!(asked, Some(name.as_str()), "{entry}");
        }
        *passed.entry(name).or_default() += 1;
    }
    passed
}

const WIRES: &str = "recipe_1 = \"line recipe_1\"\nrecipe_2 = \"line recipe_2\"\n\
    recipe_4 = \"line recipe_4\"\nrecipe_parity = \"line recipe_parity\"\n\
    recipe_ack = \"line recipe_ack\"\n";

/// Waits until `why` is what the line says about the inputs.
fn await_why(running: &Running<'_>, why: &str) -> Value {
    let status = await_line(running, why, |status| {
        held(status)
            && status["asked"]["why"]
                .as_str()
                .is_some_and(|w| w.contains(why))
    });
    assert_eq!(status["asked"]["acknowledged"], false);
    status
}

#[test]
fn recipe_inputs_choose_while_parts_flow_and_nothing_else_passes() {
    let board = Board::new(WIRES, "[recipe]\nstable_ms = 60");
    board.install("lid");
    board.install("base");
    let plc = Plc {
        board: &board,
        shows: AtomicU8::new(0),
        strobe: false,
        past: Mutex::default(),
    };
    let running = board.plant.start();
    let stop = AtomicBool::new(false);
    let parts = std::thread::scope(|scope| {
        let _stops = Stops(&stop);
        let parts = scope.spawn(|| plc.run(&stop));
        let settle = || std::thread::sleep(Duration::from_millis(2_500));
        plc.show(0);
        await_why(&running, "all off");
        plc.show(1);
        let served = await_line(&running, "lid", runs("lid"));
        assert_eq!(served["asked"]["acknowledged"], true);
        settle();
        let asked = clock::now().0;
        plc.show(2);
        await_line(&running, "base", runs("base"));
        let off = board.plant.await_change("recipe_ack", false, asked);
        let on = board.plant.await_change("recipe_ack", true, off);
        println!(
            "acknowledgement: off after {} ms, on with the other product after {} ms",
            (off - asked) / MS,
            (on - asked) / MS
        );
        settle();
        // A person has no say here.
        board
            .run(&["choose", "lid"])
            .exits(3)
            .tells("recipe inputs");
        // A number without a product, a broken wire, a product that is not there.
        plc.show(3);
        await_why(&running, "number without a product");
        plc.show(2 | WRONG_PARITY);
        await_why(&running, "parity");
        plc.show(4);
        await_why(&running, "not installed");
        assert_eq!(status(&running)["product"]["name"], "base", "as before");
        // Inputs that flicker ask for nothing.
        for at in 0..40 {
            plc.show(if at % 2 == 0 { 1 } else { 2 });
            std::thread::sleep(Duration::from_millis(25));
        }
        plc.show(2);
        await_line(&running, "base again", runs("base"));
        settle();
        // What is installed meanwhile is taken when it is there.
        plc.show(4);
        await_why(&running, "not installed");
        board.install("cap");
        await_line(&running, "cap", runs("cap"));
        settle();
        // What does not prove itself, and has no other slot to return to: the line returns, and passes nothing until it is asked for what
        // runs.
        std::fs::remove_dir_all(board.plant.at("store/products/base")).expect("removed");
        board.smuggle("base");
        plc.show(2);
        await_why(&running, "could not start");
        assert_eq!(status(&running)["product"]["name"], "cap");
        settle();
        plc.show(4);
        await_line(&running, "cap again", runs("cap"));
        settle();
        // The vision process is killed: the next one asks the inputs.
        let vision = running.await_vision(None);
        rustix::process::kill_process(vision, Signal::KILL).expect("killed");
        running.await_vision(Some(vision));
        await_line(&running, "cap after a restart", runs("cap"));
        settle();
        stop.store(true, Ordering::Relaxed);
        parts.join().expect("belt")
    });
    std::thread::sleep(Duration::from_nanos(AFTER + 2 * PULSE));
    running.stop();
    let passed = check_parts(&board, &plc, &parts);
    println!("{} parts, passed: {passed:?}", parts.len());
    for name in ["lid", "base", "cap"] {
        assert!(
            passed.get(name).is_some_and(|n| *n > 0),
            "{name}: {passed:?}"
        );
    }
    let events: Vec<Value> = board
        .plant
        .log()
        .into_iter()
        .filter(|e| e["event"] == "product")
        .collect();
    let said = |what: &str| {
        let mut details = events.iter().filter_map(|e| e["detail"].as_str());
        assert!(
            details.any(|detail| detail.contains(what)),
            "{what}: {events:#?}"
        );
    };
    said("number 3: the recipe inputs ask for a number without a product");
    said("could not start");
}

#[test]
fn a_strobe_is_answered_or_the_line_waits() {
    let wires = format!("{WIRES}recipe_strobe = \"line recipe_strobe\"\n");
    let board = Board::new(&wires, "");
    board.install("lid");
    board.install("base");
    let plc = Plc {
        board: &board,
        shows: AtomicU8::new(STROBE_OFF),
        strobe: true,
        past: Mutex::default(),
    };
    let running = board.plant.start();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stops = Stops(&stop);
        scope.spawn(|| plc.run(&stop));
        // Nobody has asked since the board was set up.
        await_why(&running, "ask again");
        let ask = |number: u8| {
            plc.show(number | STROBE_OFF);
            plc.show(number);
            let acknowledged = |status: &Value| status["asked"]["acknowledged"] == true;
            let status = await_line(&running, "acknowledged", acknowledged);
            plc.show(STROBE_OFF);
            // As a PLC must: the answer to this strobe is not the answer to the next one.
            await_line(&running, "strobe off", |status| {
                status["asked"]["acknowledged"] == false
            });
            status
        };
        assert_eq!(ask(2)["product"]["name"], "base");
        await_line(&running, "base", runs("base"));
        // Without the strobe the number means nothing.
        plc.show(1 | STROBE_OFF);
        std::thread::sleep(Duration::from_millis(1_000));
        assert!(runs("base")(&status(&running)));
        // A strobe for nothing: the line waits, also after a crash, until it is asked for something.
        plc.show(3);
        await_why(&running, "number without a product");
        plc.show(3 | STROBE_OFF);
        await_why(&running, "ask again");
        std::thread::sleep(Duration::from_millis(1_000));
        let vision = running.await_vision(None);
        rustix::process::kill_process(vision, Signal::KILL).expect("killed");
        running.await_vision(Some(vision));
        let still = await_why(&running, "ask again");
        assert_eq!(still["product"]["name"], "base");
        assert_eq!(ask(2)["product"]["name"], "base");
        await_line(&running, "base again", runs("base"));
        assert_eq!(ask(1)["product"]["name"], "lid");
        await_line(&running, "lid", runs("lid"));
        stop.store(true, Ordering::Relaxed);
    });
    running.stop();
}

/// Ends the other threads of a test that fails.
struct Stops<'a>(&'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
