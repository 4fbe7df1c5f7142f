//! Runs the program and reads what it says.

// Each test crate uses its own part of this.
#![allow(dead_code)]

use super::bundle;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What a run of the program left behind.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }
}

impl Ran {
    /// Standard output as one JSON value.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|e| panic!("{e}\n{}\n{}", self.stdout, self.stderr))
    }

    /// Standard output as JSON lines.
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.stdout
            .lines()
            .map(|l| serde_json::from_str(l).expect("a JSON line"))
            .collect()
    }

    /// Asserts the exit code, and that nothing panicked.
    pub(crate) fn exits(self, code: i32) -> Self {
        let text = format!("stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        assert_eq!(self.code, Some(code), "{text}");
        assert!(!self.stderr.contains("panicked"), "{text}");
        self
    }

    /// Asserts that standard error names `what`.
    pub(crate) fn tells(self, what: &str) -> Self {
        assert!(
            self.stderr.contains(what),
            "`{what}` is not in: {}",
            self.stderr
        );
        self
    }
}

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

/// A folder with a small bundle in it.
pub(crate) struct Bench {
    pub(crate) folder: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        std::fs::write(folder.path().join("small.pgp"), bundle::small()).expect("write");
        Self { folder }
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.at(name);
        std::fs::create_dir_all(path.parent().expect("parent")).expect("folder");
        std::fs::write(&path, bytes).expect("write");
        path
    }

    /// The small bundle's path, as an argument.
    pub(crate) fn bundle(&self) -> String {
        text(&self.at("small.pgp"))
    }
}

pub(crate) fn text(path: &Path) -> String {
    path.to_str().expect("UTF-8 path").to_string()
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
