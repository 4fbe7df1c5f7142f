//! Every command and option of `partgate-train` that the documents name exists.

#![allow(clippy::expect_used, clippy::panic)]

#[path = "../../tests/documents/mod.rs"]
mod documents;

use documents::{Helps, documents};
use std::path::Path;

#[test]
fn every_documented_command_and_option_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("root");
    let mut helps = Helps::new(env!("CARGO_BIN_EXE_partgate-train"));
    let mut checked = 0;
    let mut wrong = Vec::new();
    for document in documents(root) {
        for call in document.calls("partgate-train") {
            checked += 1;
            if let Some(problem) = helps.problem(&call) {
                let path = document.path.display();
                wrong.push(format!(
                    "{path}: partgate-train {}: {problem}",
                    call.join(" ")
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked > 10, "only {checked} commands were found");
}
