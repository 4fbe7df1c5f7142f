//! Everything that the documents name exists: commands, options, links, files.

#![allow(clippy::expect_used, clippy::panic)]

mod documents;

use documents::{Helps, documents};
use std::path::Path;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_documented_command_and_option_exists() {
    let mut helps = Helps::new(env!("CARGO_BIN_EXE_partgate"));
    let mut checked = 0;
    let mut wrong = Vec::new();
    for document in documents(root()) {
        for call in document.calls("partgate") {
            checked += 1;
            if let Some(problem) = helps.problem(&call) {
                let path = document.path.display();
                wrong.push(format!("{path}: partgate {}: {problem}", call.join(" ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked > 60, "only {checked} commands were found");
}

#[test]
fn a_command_that_does_not_exist_is_noticed() {
    let mut helps = Helps::new(env!("CARGO_BIN_EXE_partgate"));
    let mut problem = |call: &str| {
        let words: Vec<String> = call.split(' ').map(str::to_owned).collect();
        helps.problem(&words)
    };
    assert_eq!(problem("config example --board NAME"), None);
    assert!(problem("nonsense").is_some());
    assert!(problem("config nonsense").is_some());
    assert!(problem("demo --nonsense").is_some());
}

#[test]
fn every_link_leads_somewhere() {
    let all = documents(root());
    let mut wrong = Vec::new();
    for document in &all {
        let folder = document.path.parent().expect("folder");
        for link in document.links() {
            if link.contains("://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() {
                root().join(&document.path)
            } else {
                root().join(folder).join(file)
            };
            let known = target.exists()
                && (anchor.is_empty()
                    || all.iter().any(|other| {
                        root().join(&other.path).canonicalize().ok() == target.canonicalize().ok()
                            && other.anchors().iter().any(|a| a == anchor)
                    }));
            if !known {
                wrong.push(format!("{}: {link}", document.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Files and folders that running text names, in the folders of this project.
#[test]
fn every_named_file_exists() {
    const FOLDERS: [&str; 10] = [
        ".ci/",
        "benches/",
        "board/",
        "calibration/",
        "docs/",
        "examples/",
        "models/",
        "src/",
        "tests/",
        "trainer/",
    ];
    let mut wrong = Vec::new();
    for document in documents(root()) {
        for span in document.code_spans() {
            let named = FOLDERS.iter().any(|folder| span.starts_with(folder));
            let plain = !span.contains(|c: char| " *{}<>".contains(c));
            if named && plain && !root().join(span).exists() {
                wrong.push(format!("{}: {span}", document.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
