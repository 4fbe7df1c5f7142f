//! Runs the program and reads what it prints.

// Each test crate uses only some of this.
#![allow(dead_code, unused_imports)]

mod ran;

use super::bundle;
use serde_json::Value;
use std::process::Command;

#[cfg(unix)]
pub(crate) use ran::with_locked;
pub(crate) use ran::{Bench, Ran, text};

/// The program, with `arguments`.
pub(crate) fn program<A: AsRef<std::ffi::OsStr>>(arguments: &[A]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_partgate"));
    command.args(arguments).env_remove("RUST_LOG");
    command
}

/// Runs the program.
pub(crate) fn partgate<A: AsRef<std::ffi::OsStr>>(arguments: &[A]) -> Ran {
    program(arguments)
        .output()
        .expect("the program runs")
        .into()
}

impl Bench {
    /// A temporary folder with a small bundle in it.
    pub(crate) fn new() -> Self {
        let bench = Self::empty();
        bench.write("small.pgp", bundle::small());
        bench
    }

    /// The small bundle's path, as an argument.
    pub(crate) fn bundle(&self) -> String {
        text(&self.at("small.pgp"))
    }
}

/// Field `path` (dotted) as a number.
pub(crate) fn number(value: &Value, path: &str) -> f64 {
    field(value, path)
        .as_f64()
        .unwrap_or_else(|| panic!("`{path}` is not a number in {value}"))
}

/// Field `path` (dotted).
pub(crate) fn field<'a>(value: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(value, |v, key| {
        v.get(key)
            .unwrap_or_else(|| panic!("`{path}` is missing in {value}"))
    })
}
