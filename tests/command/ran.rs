//! A run of a program and what it printed; the tests of the trainer use this file too.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Exit code and output of a program.
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

    /// Standard output as JSON, one value per line.
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

/// A temporary folder.
pub(crate) struct Bench {
    pub(crate) folder: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn empty() -> Self {
        Self {
            folder: tempfile::tempdir().expect("temporary folder"),
        }
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
}

pub(crate) fn text(path: &Path) -> String {
    path.to_str().expect("UTF-8 path").to_string()
}

/// Sets the permission bits of a file or folder.
#[cfg(unix)]
pub(crate) fn set_mode(path: &Path, bits: u32) {
    use std::os::unix::fs::PermissionsExt;
    let permissions = std::fs::Permissions::from_mode(bits);
    std::fs::set_permissions(path, permissions).expect("permissions");
}

/// Runs `command` as a user without rights on other users' files; `None` if that is not possible
/// here.
#[cfg(unix)]
pub(crate) fn as_nobody(mut command: Command) -> Option<Ran> {
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::process::CommandExt;
    if std::fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0) {
        // Root may write anywhere, so the program runs as `nobody`.
        command.uid(65_534).gid(65_534);
    }
    let ran = command.output().ok().map(Ran::from);
    if ran.is_none() {
        eprintln!("SKIPPED: the program cannot be run as another user here");
    }
    ran
}

/// Runs `command` as a user who may not write into the folder `locked`; `None` if that is not
/// possible here.
#[cfg(unix)]
pub(crate) fn with_locked(command: Command, locked: &Path) -> Option<Ran> {
    set_mode(locked, 0o555);
    set_mode(locked.parent().expect("parent"), 0o755);
    as_nobody(command)
}
