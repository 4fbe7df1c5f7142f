//! What a board runs is a list that a person has read: `tests/dependencies.txt` names every crate in
//! the program. A crate that comes in with an update, or with another crate, must be put there by hand.

#![allow(clippy::expect_used)]

use std::collections::BTreeSet;
use std::process::Command;

const LIST: &str = include_str!("dependencies.txt");

/// The crates of the program for this machine, without those of the build and of optional features, which
/// may not have been fetched. Names without versions: Cargo.lock has these.
fn crates() -> BTreeSet<String> {
    let arguments = "tree --locked --offline --package partgate --edges normal,no-proc-macro --prefix none \
                     --format {p}";
    let ran = Command::new(env!("CARGO"))
        .args(arguments.split_whitespace())
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let problem = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{problem}");
    let lines = String::from_utf8(ran.stdout).expect("text");
    let name = |line: &str| line.split(' ').next().map(str::to_owned);
    lines
        .lines()
        .filter_map(name)
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn the_program_has_the_crates_of_the_list_and_no_other() {
    let listed: BTreeSet<String> = LIST
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let mut words = line.split(' ');
            let name = words.next()?;
            let here = words.next().is_none_or(|of| of == std::env::consts::ARCH);
            (here && !name.is_empty()).then(|| name.to_owned())
        })
        .collect();
    let found = crates();
    let added: Vec<_> = found.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&found).collect();
    println!("{} crates", found.len());
    assert!(
        added.is_empty() && gone.is_empty(),
        "not in tests/dependencies.txt: {added:?}; only there: {gone:?}"
    );
}
