//! A product becomes active only after it has proven itself on this board; whatever is refused is
//! refused with its reason, and the active product stays.

#![allow(clippy::expect_used, clippy::panic)]

mod bundle;
mod command;
mod signed;

use command::*;
use partgate::keys::{Role, SecretKeyFile};
use partgate::product::sign;
use serde_json::Value;
use signed::*;

/// A board with a trusted key and a store.
struct Board {
    bench: Bench,
    key: SecretKeyFile,
}

impl Board {
    fn new() -> Self {
        let board = Self {
            bench: Bench::empty(),
            key: key("plant-7", Role::Production),
        };
        trust(&board.bench.at("keys"), &board.key);
        board
    }

    fn store(&self) -> String {
        text(&self.bench.at("store"))
    }

    fn run(&self, command: &str, more: &[&str]) -> Ran {
        let store = self.store();
        partgate(&[&[command, "--store", &store], more].concat())
    }

    /// `install` of these bytes.
    fn install(&self, bytes: &[u8], more: &[&str]) -> Ran {
        let file = text(&self.bench.write("product.pgp", bytes));
        let keys = text(&self.bench.at("keys"));
        self.run(
            "install",
            &[&[&*file, "--keys", &keys, "--by", "anna"], more].concat(),
        )
    }

    fn active(&self) -> Value {
        let state = self.run("store", &["--json"]).json();
        let slot = match state["active"].as_str() {
            Some(slot) => slot.to_owned(),
            None => return Value::Null,
        };
        state[slot].clone()
    }

    fn history(&self) -> Vec<Value> {
        self.run("history", &["--json"]).exits(0).lines()
    }

    /// A line whose gate leaves `ms` for the inspection.
    fn line(&self, board: &str, ms: u32) -> String {
        let after = 100 + ms;
        let config = format!(
            "board = \"{board}\"\n[store]\nfolder = \"store\"\n[trust]\nkeys = \"keys\"\n\
             [camera]\nsource = \"rendered\"\non_trigger = true\nseed = 1\ndefective_percent = 0.0\n\
             [trigger]\nkind = \"socket\"\nmin_pitch_ms = 1000\n\
             [capture]\nexposure_max_ms = 50\ndelivery_ms = 50\n\
             [gate]\nafter_ms = {after}\npulse_ms = 40\nejector = \"pass\"\n\
             [inference]\nthreads = 1\ntimeout_ms = 60000\n[lines]\npass = \"line pass\"\n\
             [record]\nfolder = \"record\"\n[control]\nsocket = \"control.sock\"\n"
        );
        text(&self.bench.write("line.toml", config.as_bytes()))
    }

    /// `install` for a line.
    fn install_for(&self, line: &str, bytes: &[u8]) -> Ran {
        let file = text(&self.bench.write("product.pgp", bytes));
        partgate(&["install", &file, "--line", line, "--by", "anna"])
    }
}

#[test]
fn a_product_is_installed_confirmed_and_rolled_back() {
    let board = Board::new();
    board.run("store", &[]).exits(3);
    let first = revision(3, &board.key);
    let ran = board.install(&first, &[]).exits(0);
    assert!(ran.stdout.contains("signed by plant-7"), "{}", ran.stdout);
    assert!(ran.stdout.contains("on trial in slot A"), "{}", ran.stdout);
    assert_eq!(board.active()["state"], "trial");
    let again = board.install(&first, &[]).exits(0);
    assert!(again.stdout.contains("nothing to do"), "{}", again.stdout);
    let second = revision(4, &board.key);
    board.install(&second, &[]).exits(3).tells("is on trial");
    board
        .run("confirm", &["--by", "ben", "--reason", "a good shift"])
        .exits(0);
    board.run("confirm", &[]).exits(3).tells("no trial runs");
    let ran = board.install(&second, &["--json"]).exits(0).json();
    assert_eq!(ran["slot"], "b");
    assert_eq!(ran["proof"]["rejected"], 1);
    assert!(number(&ran, "proof.median_ms") > 0.0);
    assert_eq!(board.active()["revision"], 4);
    board
        .run("rollback", &["--reason", "scratches pass"])
        .exits(0);
    assert_eq!(board.active()["revision"], 3);
    assert_eq!(board.active()["state"], "confirmed");
    board.run("rollback", &[]).exits(3).tells("scratches pass");
    let shown = board.run("store", &[]).exits(0).stdout;
    assert!(
        shown.contains("* A") && shown.contains("given up: rolled back"),
        "{shown}"
    );
    let events: Vec<Value> = board.history().iter().map(|e| e["event"].clone()).collect();
    assert_eq!(
        events,
        ["installed", "confirmed", "installed", "rolled-back"]
    );
    let text = board.run("history", &[]).exits(0).stdout;
    assert!(
        text.contains("ben") && text.contains("a good shift"),
        "{text}"
    );
}

#[test]
fn what_is_not_proven_to_come_from_a_trusted_key_is_refused() {
    let board = Board::new();
    let keys = board.bench.at("keys");
    board.install(&revision(3, &board.key), &[]).exits(0);
    board.run("confirm", &[]).exits(0);
    let before = board.active();
    let unsigned = lenient(|m| m.revision = 9);
    let stranger = key("stranger", Role::Production);
    let (old, lab) = (key("old", Role::Production), key("lab", Role::Test));
    trust(&keys, &old);
    trust(&keys, &lab);
    revoke(&keys, &old);
    let mut flipped = revision(9, &board.key);
    let middle = flipped.len() / 2;
    flipped[middle] ^= 4;
    let cut = &revision(9, &board.key)[..middle];
    for (bytes, more, words) in [
        (&*unsigned, &[][..], "UNSIGNED"),
        (&revision(9, &stranger), &[], "not trusted here"),
        (
            &revision(9, &old),
            &["--allow-unsigned", "--allow-test-key"],
            "revoked (lost laptop)",
        ),
        (&revision(9, &lab), &["--allow-unsigned"], "test key `lab`"),
        (&flipped, &[], "is damaged"),
        (cut, &[], "copy it again"),
        (b"no bundle at all", &[], "not a partgate bundle"),
        (&revision(2, &board.key), &[], "this board had revision 3"),
    ] {
        board.install(bytes, more).exits(4).tells(words);
        assert_eq!(board.active(), before, "{words}");
    }
    // Refused by name in the history, if it was a bundle.
    let refused: Vec<Value> = board
        .history()
        .into_iter()
        .filter(|e| e["event"] == "refused")
        .collect();
    assert_eq!(refused.len(), 5);
    assert!(
        refused
            .iter()
            .all(|e| e["by"] == "anna" && e["why"].is_string())
    );
    // With a person's word.
    board
        .install(&revision(2, &board.key), &["--allow-downgrade"])
        .exits(0);
    let last = board.history().pop().expect("an entry");
    assert!(
        last["why"]
            .as_str()
            .expect("said")
            .contains("--allow-downgrade")
    );
    board.run("rollback", &[]).exits(0);
    let ran = board.install(&unsigned, &["--allow-unsigned"]).exits(0);
    assert!(ran.stdout.contains("UNSIGNED"), "{}", ran.stdout);
    assert_eq!(board.active()["origin"], "UNSIGNED");
    board.run("rollback", &[]).exits(0);
    let ran = board
        .install(&revision(9, &lab), &["--allow-test-key"])
        .exits(0);
    assert!(ran.stdout.contains("TEST KEY lab"), "{}", ran.stdout);
    // Keys that cannot be read trust nobody.
    board.run("rollback", &[]).exits(0);
    std::fs::write(keys.join("x.key"), "nonsense").expect("write");
    board
        .install(&revision(9, &board.key), &[])
        .exits(3)
        .tells("x.key");
}

#[test]
fn a_changed_weight_is_caught_by_parity_however_well_it_is_signed() {
    let board = Board::new();
    let whole = sign(bundle::small_in_floats().to_vec(), &board.key).expect("signed");
    board.install(&whole, &[]).exits(0);
    board.run("confirm", &[]).exits(0);
    let before = board.active();
    let changed = sign(bundle::with_weights(1.05), &board.key).expect("signed");
    board.install(&changed, &[]).exits(5).tells("failed parity");
    assert_eq!(board.active(), before);
    let last = board.history().pop().expect("an entry");
    assert_eq!(last["event"], "refused");
    assert!(last["why"].as_str().expect("said").contains("in the fit"));
}

#[test]
fn what_rejects_nothing_or_has_nothing_to_show_is_refused() {
    let board = Board::new();
    let blind = sign(bundle::with_thresholds(1e6, 1e6), &board.key).expect("signed");
    board
        .install(&blind, &[])
        .exits(4)
        .tells("none of the bundle's damaged golden images");
    let bare = lenient(|m| m.goldens.clear());
    let bare = sign(bare, &board.key).expect("signed");
    board.install(&bare, &[]).exits(4).tells("no golden images");
    assert_eq!(board.active(), Value::Null);
}

#[test]
fn what_does_not_fit_the_line_is_refused_before_it_is_active() {
    let board = Board::new();
    let line = board.line("generic-x86", 60_000);
    board.install_for(&line, &revision(3, &board.key)).exits(0);
    partgate(&["confirm", "--line", &line]).exits(0);
    partgate(&["config", "check", &line]).exits(0);
    let before = board.active();
    let other = |change: &dyn Fn(&mut partgate::product::Manifest)| {
        sign(lenient(|m| change(m)), &board.key).expect("signed")
    };
    let jetson = other(&|m| m.boards = vec!["jetson-orin-nano".into()]);
    board
        .install_for(&line, &jetson)
        .exits(4)
        .tells("the product is for jetson-orin-nano, and this board is generic-x86");
    let square = other(&|m| (m.training.smallest, m.training.largest) = ([300; 2], [300; 2]));
    board
        .install_for(&line, &square)
        .exits(4)
        .tells("another view");
    let here = other(&|m| {
        m.boards = vec!["generic-x86".into()];
        m.revision = 4;
    });
    let hurried = board.line("generic-x86", 1);
    board
        .install_for(&hurried, &here)
        .exits(4)
        .tells("too slow for this line");
    assert_eq!(board.active(), before);
    board.line("generic-x86", 60_000);
    let ran = board.install_for(&line, &here).exits(0);
    assert!(
        ran.stdout.contains("the gate leaves 60000.0 ms"),
        "{}",
        ran.stdout
    );
}

#[test]
fn a_board_reports_a_store_that_somebody_damaged() {
    let board = Board::new();
    board.install(&revision(3, &board.key), &[]).exits(0);
    let slot = std::fs::read_dir(board.bench.at("store"))
        .expect("store")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|e| e == "pgp"))
        .expect("a slot");
    let mut bytes = std::fs::read(&slot).expect("read");
    bytes[5000] ^= 1;
    std::fs::write(&slot, bytes).expect("write");
    let shown = board.run("store", &[]).exits(3).stdout;
    assert!(shown.contains("its file is damaged"), "{shown}");
    // The same product can be put there again.
    board
        .install(&revision(3, &board.key), &[])
        .exits(3)
        .tells("is on trial");
    let history = board.bench.at("store/history");
    let text = std::fs::read_to_string(&history).expect("read");
    std::fs::write(&history, text.replace("anna", "otto")).expect("write");
    board
        .run("history", &[])
        .exits(3)
        .tells("entry 1 is damaged");
    std::fs::write(board.bench.at("store/state"), "{}\n").expect("write");
    board.run("store", &[]).exits(3).tells("state is damaged");
}
