//! `partgate-train flash` brings a product to several boards: canaries first, copies that break go on,
//! and after a failure no further board is begun. A shell script stands for ssh: it runs each command
//! in the folder of its board.

#![allow(clippy::expect_used, clippy::panic)]

mod bundle;
mod command;
mod signed;

use command::*;
use partgate::keys::{Role, SecretKeyFile};
use serde_json::Value;
use signed::*;
use std::path::PathBuf;
use std::process::Command;

/// The trainer beside this test's program. `cargo test --workspace` builds it.
fn trainer() -> Option<PathBuf> {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_partgate"));
    let trainer = program.with_file_name("partgate-train");
    let found = trainer.exists();
    if !found {
        eprintln!("SKIPPED: {} is not built", trainer.display());
    }
    found.then_some(trainer)
}

/// Boards in folders, and what stands for ssh.
struct Plant {
    bench: Bench,
    trainer: PathBuf,
}

impl Plant {
    fn new(boards: &[&str], key: &SecretKeyFile) -> Option<Self> {
        let plant = Self {
            bench: Bench::empty(),
            trainer: trainer()?,
        };
        for board in boards {
            let config = "board = \"generic-x86\"\n[store]\nfolder = \"store\"\n[trust]\nkeys = \"keys\"\n\
                [camera]\nsource = \"rendered\"\non_trigger = true\nseed = 1\ndefective_percent = 0.0\n\
                [trigger]\nkind = \"socket\"\nmin_pitch_ms = 1000\n\
                [capture]\nexposure_max_ms = 50\ndelivery_ms = 50\n\
                [gate]\nafter_ms = 60000\npulse_ms = 40\nejector = \"pass\"\n\
                [inference]\nthreads = 1\ntimeout_ms = 60000\n[lines]\npass = \"line pass\"\n\
                [record]\nfolder = \"record\"\n[control]\nsocket = \"control.sock\"\n";
            plant
                .bench
                .write(&format!("{board}/line.toml"), config.as_bytes());
            trust(&plant.bench.at(&format!("{board}/keys")), key);
        }
        // The connection breaks once where the file `break` is.
        let program = PathBuf::from(env!("CARGO_BIN_EXE_partgate"));
        let folder = program.parent().expect("a folder");
        let script = format!(
            "#!/bin/sh\nfor word; do host=$command; command=$word; done\n\
             cd '{}'/\"$host\" || exit 255\nPATH='{}':$PATH\n\
             case $command in \"cat >>\"*) if [ -e break ]; then rm break; head -c 5000 >>\"$(echo \"${{command#cat >> }}\" | tr -d \"\'\")\"; exit 255; fi;; esac\n\
             echo \"$command\" >>commands\nexec sh -c \"$command\"\n",
            plant.bench.folder.path().display(),
            folder.display()
        );
        let ssh = plant.bench.write("ssh", script.as_bytes());
        let ran = Command::new("chmod").arg("755").arg(&ssh).status();
        assert!(ran.expect("chmod").success());
        Some(plant)
    }

    fn run(&self, words: &[&str]) -> Ran {
        let mut command = Command::new(&self.trainer);
        let ssh = text(&self.bench.at("ssh"));
        command
            .args(words)
            .args(["--ssh", &ssh])
            .env_remove("RUST_LOG");
        command.output().expect("the trainer runs").into()
    }

    fn state(&self, board: &str) -> Value {
        let line = text(&self.bench.at(&format!("{board}/line.toml")));
        partgate(&["store", "--line", &line, "--json"]).json()
    }

    fn commands(&self, board: &str) -> String {
        std::fs::read_to_string(self.bench.at(&format!("{board}/commands"))).unwrap_or_default()
    }
}

#[test]
fn a_fleet_is_flashed_canary_first_and_stops_at_the_first_failure() {
    let key = key("plant-7", Role::Production);
    let Some(plant) = Plant::new(&["a", "b", "c"], &key) else {
        return;
    };
    let fleet = plant.bench.write(
        "fleet.toml",
        b"line = \"line.toml\"\nparallel = 1\n[[board]]\nname = \"press-1\"\nhost = \"a\"\n\
          [[board]]\nname = \"press-2\"\nhost = \"b\"\ncanary = true\n\
          [[board]]\nname = \"press-3\"\nhost = \"c\"\n",
    );
    let fleet = text(&fleet);
    let bytes = revision(3, &key);
    let product = text(&plant.bench.write("lid.pgp", &bytes));
    let flash = ["flash", "--fleet", &fleet, &product, "--by", "anna"];
    // Nothing is touched by a dry run.
    let ran = plant.run(&[&flash[..], &["--dry-run"]].concat()).exits(0);
    assert!(
        ran.stdout
            .contains("press-2: would copy to b and install, before the others")
    );
    assert_eq!(plant.commands("b"), "");
    // The first of the others trusts nobody; the connection to the canary breaks once.
    std::fs::remove_dir_all(plant.bench.at("a/keys")).expect("keys");
    plant.bench.write("b/break", b"");
    let ran = plant.run(&flash).exits(5);
    for words in [
        "press-2: copies ",
        "press-2: goes on with the copy at byte 5000",
        "press-2  installed",
        "press-1  failed",
        "not trusted here",
        "press-3  not begun",
    ] {
        assert!(ran.stdout.contains(words), "{words}: {}", ran.stdout);
    }
    assert_eq!(plant.state("b")["b"], Value::Null);
    assert_eq!(plant.state("b")["a"]["state"], "trial");
    assert_eq!(plant.state("a")["active"], Value::Null);
    assert_eq!(plant.commands("c"), "");
    let left = std::fs::read_dir(plant.bench.at("b")).expect("folder");
    let names = left.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    assert!(names.into_iter().all(|name| !name.contains(".part")));
    // With the key there, all boards have it; the first one had it already.
    trust(&plant.bench.at("a/keys"), &key);
    let ran = plant
        .run(&[&flash[..], &["--json"]].concat())
        .exits(0)
        .json();
    let results: Vec<&Value> = ran
        .as_array()
        .expect("boards")
        .iter()
        .map(|b| &b["result"])
        .collect();
    assert_eq!(results, ["installed", "installed", "installed"]);
    assert_eq!(ran[0]["answer"]["state"], "active already");
    for board in ["a", "b", "c"] {
        assert_eq!(plant.state(board)["active"], "a", "{board}");
    }
    let ran = plant.run(&["fleet", "status", &fleet]).exits(0);
    assert!(
        ran.stdout.contains("test assembly r3 trial (A)"),
        "{}",
        ran.stdout
    );
    assert!(ran.stdout.contains("not running"), "{}", ran.stdout);
    // A board that is not there.
    std::fs::remove_dir_all(plant.bench.at("c")).expect("a board");
    let ran = plant
        .run(&["fleet", "status", &fleet, "--json"])
        .exits(5)
        .json();
    assert!(
        ran[2]["why"]
            .as_str()
            .expect("said")
            .contains("no connection")
    );
}

#[test]
fn keys_are_made_bundles_signed_and_verified() {
    let key = key("plant-7", Role::Production);
    let Some(plant) = Plant::new(&[], &key) else {
        return;
    };
    let at = |name: &str| text(&plant.bench.at(name));
    let run = |words: &[&str]| -> Ran {
        let output = Command::new(&plant.trainer).args(words).output();
        output.expect("the trainer runs").into()
    };
    let folder = at("");
    run(&["keygen", "shop", "--out", &folder]).exits(0);
    run(&["keygen", "shop", "--out", &folder])
        .exits(3)
        .tells("never overwritten");
    run(&["keygen", "no name", "--out", &folder])
        .exits(3)
        .tells("`no name`");
    run(&["keygen", "lab", "--role", "test", "--out", &folder]).exits(0);
    let bundle = text(&plant.bench.write("lid.pgp", &lenient(|_| ())));
    run(&["verify", &bundle, "--keys", &folder])
        .exits(4)
        .tells("UNSIGNED");
    let signed = at("signed.pgp");
    let secret = at("shop.secret");
    run(&[
        "sign",
        &bundle,
        "--key",
        &secret,
        "-o",
        &signed,
        "--revision",
        "7",
        "--board",
        "generic-x86",
    ])
    .exits(0);
    let ran = run(&["verify", &signed, "--keys", &folder]).exits(0);
    assert!(
        ran.stdout.contains("revision 7, signed by shop"),
        "{}",
        ran.stdout
    );
    let json = run(&["verify", &signed, "--keys", &folder, "--json"])
        .exits(0)
        .json();
    assert_eq!(
        (&json["trusted"], &json["role"]),
        (&true.into(), &"production".into())
    );
    run(&["sign", &signed, "--key", &secret, "--revision", "2"])
        .exits(3)
        .tells("revision 7 already");
    run(&["sign", &signed, "--key", &at("shop.key")])
        .exits(3)
        .tells("the secret one signs");
    run(&["sign", &signed, "--key", &at("lab.secret")]).exits(0);
    run(&["verify", &signed, "--keys", &folder])
        .exits(4)
        .tells("test key `lab`");
    run(&["verify", &signed, "--keys", &folder, "--allow-test-key"]).exits(0);
    let shown = partgate(&["inspect", &signed]).exits(0).stdout;
    assert!(shown.contains("signed by key"), "{shown}");
    let mut bytes = std::fs::read(&signed).expect("read");
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    std::fs::write(&signed, bytes).expect("write");
    run(&["verify", &signed, "--keys", &folder])
        .exits(4)
        .tells("is damaged");
}
