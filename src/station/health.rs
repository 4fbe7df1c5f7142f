//! A program of the board's owner that says whether the board is well with a product on trial: whether
//! its PLC answers, its shares are there, and so on. It runs once per start, when the line is ready.

use crate::clock;
use crate::store::{Identity, Slot};
use crate::time::{Duration, Instant};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// Longest time that the program may take.
const PATIENCE: Duration = Duration::from_millis(60_000);

enum State {
    NotBegun,
    Running(Child, Instant),
    Done(Result<(), String>),
}

/// The program and what it has said.
pub(super) struct Health {
    program: PathBuf,
    patience: Duration,
    state: State,
}

fn said(status: ExitStatus) -> Result<(), String> {
    match status.code() {
        Some(0) => Ok(()),
        Some(code) => Err(format!("it ended with {code}")),
        None => Err("a signal ended it".into()),
    }
}

impl Health {
    pub(super) fn new(program: &Path) -> Self {
        Self {
            program: program.to_path_buf(),
            patience: PATIENCE,
            state: State::NotBegun,
        }
    }

    /// Begins or looks; does not wait. Some: what the program has said.
    pub(super) fn look(&mut self, slot: Slot, product: &Identity) -> Option<Result<(), String>> {
        match &mut self.state {
            State::NotBegun => {
                self.state = match self.begin(slot, product) {
                    Ok(child) => State::Running(child, clock::now()),
                    Err(error) => State::Done(Err(format!("it cannot be run: {error}"))),
                };
            }
            State::Running(child, since) => {
                let late = clock::now().since(*since) > self.patience;
                match child.try_wait() {
                    Ok(Some(status)) => self.state = State::Done(said(status)),
                    Ok(None) if late => {
                        let seconds = self.patience.as_millis() / 1000;
                        let why = format!("it had not ended after {seconds} s");
                        // Dropped, and so ended.
                        self.state = State::Done(Err(why));
                    }
                    Ok(None) => {}
                    Err(error) => self.state = State::Done(Err(error.to_string())),
                }
            }
            State::Done(_) => {}
        }
        match &self.state {
            State::Done(outcome) => Some(
                outcome
                    .clone()
                    .map_err(|why| format!("health check {}: {why}", self.program.display())),
            ),
            _ => None,
        }
    }

    fn begin(&self, slot: Slot, product: &Identity) -> std::io::Result<Child> {
        // A name without a folder would be looked for in PATH. What the program prints goes where the
        // line's own messages go.
        Command::new(std::path::absolute(&self.program)?)
            .env("PARTGATE_PRODUCT", &product.product)
            .env("PARTGATE_REVISION", product.revision.to_string())
            .env("PARTGATE_DIGEST", &product.digest)
            .env("PARTGATE_SLOT", slot.to_string())
            .stdin(Stdio::null())
            .spawn()
    }
}

impl Drop for State {
    fn drop(&mut self) {
        if let State::Running(child, _) = self {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn outcome(script: &str, patience: Duration) -> Result<(), String> {
        let folder = tempfile::tempdir().expect("folder");
        let program = folder.path().join("health");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("write");
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&program, executable).expect("mode");
        let mut health = Health::new(&program);
        health.patience = patience;
        let product = Identity {
            product: "lid".into(),
            revision: 7,
            digest: "d".repeat(64),
            origin: "signed by plant-7".into(),
        };
        loop {
            if let Some(outcome) = health.look(Slot::B, &product) {
                return outcome;
            }
            clock::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn the_program_decides_by_its_exit_code_and_in_time() {
        let long = Duration::from_millis(30_000);
        let facts = "[ \"$PARTGATE_PRODUCT $PARTGATE_REVISION $PARTGATE_SLOT\" = 'lid 7 B' ]";
        assert_eq!(outcome(facts, long), Ok(()));
        for (script, patience, words) in [
            ("exit 3", long, "ended with 3"),
            ("kill -9 $$", long, "a signal"),
            ("exec sleep 60", Duration::from_millis(100), "not ended"),
        ] {
            let why = outcome(script, patience).expect_err(script);
            assert!(why.contains(words), "{why}");
        }
        let mut none = Health::new(Path::new("/no/such/program"));
        let product = Identity {
            product: String::new(),
            revision: 0,
            digest: String::new(),
            origin: String::new(),
        };
        let why = none.look(Slot::A, &product).expect("said");
        assert!(why.expect_err("missing").contains("cannot be run"));
    }
}
