//! Manual pages and completions come from the program itself and have every command.

#![allow(clippy::expect_used, clippy::panic)]

mod bundle;
mod command;

use command::{partgate, text};
use std::collections::BTreeSet;

/// The commands that the help lists.
fn commands() -> BTreeSet<String> {
    let help = partgate(&["--help"]).exits(0).stdout;
    let listed = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| line.starts_with("  "))
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect::<BTreeSet<String>>();
    assert!(listed.len() > 5, "{help}");
    listed
}

#[test]
fn every_command_has_a_manual_page() {
    let folder = tempfile::tempdir().expect("folder");
    let pages = folder.path().join("new/pages");
    let report = partgate(&["man", &text(&pages), "--json"]).exits(0).json();
    let reported = report.as_array().expect("paths").len();
    let top = std::fs::read_to_string(pages.join("partgate.1")).expect("partgate.1");
    assert!(top.contains(".TH partgate 1"), "{top}");
    assert!(top.contains("Exit codes"), "{top}");
    for command in commands() {
        let page = std::fs::read_to_string(pages.join(format!("partgate-{command}.1")));
        let page = page.unwrap_or_else(|e| panic!("partgate-{command}.1: {e}"));
        assert!(page.contains("Exit codes"), "{command}");
        // Escape codes that a plain terminal does not get must not be in the page either.
        assert!(!page.contains('\u{1b}'), "{command}");
    }
    let written = std::fs::read_dir(&pages).expect("folder").count();
    assert_eq!(written, reported);
    partgate(&["man", "/proc/none"])
        .exits(3)
        .tells("/proc/none");
}

#[test]
fn every_shell_completes_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = partgate(&["completions", shell]).exits(0).stdout;
        for command in commands() {
            assert!(script.contains(&command), "{shell}: {command}");
        }
        let json = partgate(&["completions", shell, "--json"]).exits(0).json();
        assert_eq!(json["shell"], shell);
    }
    partgate(&["completions", "csh"]).exits(2);
}
