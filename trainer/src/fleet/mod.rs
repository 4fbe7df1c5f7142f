//! Boards that are reached by the system's ssh: copy a product there, install it, ask for its state.
//!
//! Nothing runs on a board for this but `sh`, `cat`, `wc`, `rm` and `partgate`.

mod file;
mod parallel;
mod ssh;

pub(crate) use file::{Fleet, FleetBoard, FleetError};
pub(crate) use parallel::in_parallel;
pub(crate) use ssh::{Ssh, SshError};

use serde_json::Value;
use std::time::Duration;
use thiserror::Error;

/// Copies that are tried if the connection breaks. Each one goes on where the one before ended.
const COPIES: usize = 3;
/// Time for a network to come back before the next copy.
const PAUSE: Duration = Duration::from_secs(1);

/// Why a board did not get a product.
#[derive(Debug, Error)]
pub(crate) enum FlashError {
    #[error(transparent)]
    Ssh(#[from] SshError),
    #[error("the copy on the board has {found} bytes instead of {expected}; is its disk full?")]
    Copy { found: u64, expected: u64 },
    #[error("the board refuses: {0}")]
    Refused(String),
    #[error("the board's answer is not understood: {0}; is its partgate of this version?")]
    Answer(String),
    #[error("the board installed {found}, and this is {expected}")]
    Other { found: String, expected: String },
}

/// How a board is asked.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Where ssh goes: `user@board`.
    pub(crate) host: String,
    /// The line's configuration there; None: the default store.
    pub(crate) line: Option<String>,
    /// Whether `install` needs `sudo`.
    pub(crate) sudo: bool,
}

/// A product to be copied.
pub(crate) struct Parcel<'a> {
    pub(crate) bytes: &'a [u8],
    /// BLAKE3 of the bytes.
    pub(crate) digest: String,
    /// Who sends it, for the history on the board.
    pub(crate) by: String,
    /// More options for `install`.
    pub(crate) options: Vec<String>,
}

/// Quotes a word for the shell on the board.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

impl Target {
    /// `partgate` with these words, for the board's shell.
    fn partgate(&self, words: &[&str], sudo: bool) -> String {
        let sudo = if sudo && self.sudo { "sudo -n " } else { "" };
        let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
        let line = self
            .line
            .as_deref()
            .map_or(String::new(), |line| format!(" --line {}", quoted(line)));
        format!("{sudo}partgate {}{line}", words.join(" "))
    }

    /// Copies and installs. `step` hears what happens.
    pub(crate) fn flash(
        &self,
        ssh: &Ssh,
        parcel: &Parcel<'_>,
        step: &mut dyn FnMut(String),
    ) -> Result<Value, FlashError> {
        let version = ssh.run(&self.host, "partgate --version", &[])?;
        step(version.stdout.trim().to_owned());
        let file = format!(".partgate-{}.part", &parcel.digest[..16]);
        let name = quoted(&file);
        self.copy(ssh, parcel, &name, step)?;
        let mut words = vec!["install", &*file, "--json", "--by", &*parcel.by];
        words.extend(parcel.options.iter().map(String::as_str));
        let answer = ssh.ask(&self.host, &self.partgate(&words, true));
        // Not needed any more, whatever came of it: a refused product is refused again.
        let _ = ssh.run(&self.host, &format!("rm -f {name}"), &[]);
        let answer = answer?;
        if answer.code != Some(0) {
            return Err(FlashError::Refused(answer.stderr.trim().to_owned()));
        }
        let value: Value = serde_json::from_str(&answer.stdout)
            .map_err(|error| FlashError::Answer(error.to_string()))?;
        match value["digest"].as_str() {
            Some(found) if found == parcel.digest => Ok(value),
            found => Err(FlashError::Other {
                found: found.unwrap_or("nothing").to_owned(),
                expected: parcel.digest.clone(),
            }),
        }
    }

    /// Copies what the board does not have yet.
    fn copy(
        &self,
        ssh: &Ssh,
        parcel: &Parcel<'_>,
        name: &str,
        step: &mut dyn FnMut(String),
    ) -> Result<(), FlashError> {
        let mut copy = 1;
        loop {
            let copied = self.copy_rest(ssh, parcel, name, step);
            match copied {
                Err(FlashError::Ssh(SshError::Connection { said, .. })) if copy < COPIES => {
                    step(format!("the connection broke: {said}"));
                }
                Err(FlashError::Copy { .. }) if copy < COPIES => {}
                other => return other,
            }
            copy += 1;
            std::thread::sleep(PAUSE);
        }
    }

    /// Asks how much is there, and sends the rest.
    fn copy_rest(
        &self,
        ssh: &Ssh,
        parcel: &Parcel<'_>,
        name: &str,
        step: &mut dyn FnMut(String),
    ) -> Result<(), FlashError> {
        let expected = parcel.bytes.len() as u64;
        let size = format!("wc -c < {name} 2>/dev/null || echo 0");
        let there = || -> Result<u64, FlashError> {
            let answer = ssh.run(&self.host, &size, &[])?;
            let text = answer.stdout.trim();
            text.parse()
                .map_err(|_| FlashError::Answer(text.to_owned()))
        };
        let mut found = there()?;
        if found > expected {
            ssh.run(&self.host, &format!("rm -f {name}"), &[])?;
            found = 0;
        }
        step(match found {
            0 => format!("copies {expected} bytes"),
            _ => format!("goes on with the copy at byte {found} of {expected}"),
        });
        let rest = parcel.bytes.get(found as usize..).unwrap_or_default();
        ssh.run(&self.host, &format!("cat >> {name}"), rest)?;
        found = there()?;
        if found == expected {
            Ok(())
        } else {
            Err(FlashError::Copy { found, expected })
        }
    }

    /// Program, store and line of a board, as far as it answers.
    pub(crate) fn status(&self, ssh: &Ssh) -> Result<BoardStatus, FlashError> {
        let version = ssh.run(&self.host, "partgate --version", &[])?;
        let json = |text: &str| serde_json::from_str(text).unwrap_or(Value::Null);
        let store = ssh.ask(&self.host, &self.partgate(&["store", "--json"], true))?;
        let line = match &self.line {
            None => Value::Null,
            Some(line) => {
                let sudo = if self.sudo { "sudo -n " } else { "" };
                let words = format!("{sudo}partgate tell {} status", quoted(line));
                json(&ssh.ask(&self.host, &words)?.stdout)
            }
        };
        Ok(BoardStatus {
            version: version.stdout.trim().to_owned(),
            store: json(&store.stdout),
            line,
        })
    }
}

/// What a board says about itself.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct BoardStatus {
    pub(crate) version: String,
    pub(crate) store: Value,
    /// The answer to `tell status`; null if the line does not run.
    pub(crate) line: Value,
}

impl BoardStatus {
    /// The active product in a few words.
    pub(crate) fn active(&self) -> String {
        let Some(slot) = self.store["active"].as_str() else {
            return "no product".into();
        };
        let held = &self.store[slot];
        format!(
            "{} r{} {} ({})",
            held["product"].as_str().unwrap_or("?"),
            held["revision"],
            held["state"].as_str().unwrap_or("?"),
            slot.to_uppercase()
        )
    }

    /// READY, or why not, with the counters.
    pub(crate) fn running(&self) -> String {
        if self.line.is_null() {
            return "not running".into();
        }
        let list = |name: &str| {
            let names = self.line[name].as_array().into_iter().flatten();
            let names: Vec<&str> = names.filter_map(Value::as_str).collect();
            names.join(",")
        };
        let state = match (self.line["ready"].as_bool(), list("alarms")) {
            (Some(true), alarms) if alarms.is_empty() => "READY".to_owned(),
            (Some(true), alarms) => format!("READY, alarms {alarms}"),
            (_, alarms) => format!("not READY: {} {alarms}", list("faults")),
        };
        format!(
            "{state}, {} parts, {} passed",
            self.line["parts"], self.line["passed"]
        )
    }
}
