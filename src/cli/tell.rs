//! `partgate tell`: sends a command to a running line.

use super::failure::{Code, Failure};
use super::terminal::Out;
use clap::{Args, ValueEnum};
use partgate::config::LineConfig;
use partgate::station::ask;
use std::io::ErrorKind;
use std::path::PathBuf;
use thiserror::Error;

/// Ask a running line for its state, acknowledge its alarm, trigger a part or begin a challenge
///
/// Prints the answer of the line, one line of JSON.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  partgate tell line.toml status\n  partgate tell line.toml acknowledge\n  partgate tell line.toml challenge          then let a known-bad part pass the sensor\n\nExit codes: 0 done, 1 no answer or the line refuses, 3 the configuration cannot be used."
)]
pub(crate) struct Arguments {
    /// The line's configuration, which names its control socket
    config: PathBuf,
    /// The command
    word: Word,
    /// With `trigger`: the time of the part in nanoseconds of this board's CLOCK_MONOTONIC, at
    /// most one second ago [default: when the line receives the command]
    at: Option<u64>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Word {
    /// Show READY, the faults and alarms that are there now, and counters
    Status,
    /// A person has looked at the alarm: READY can come on again
    Acknowledge,
    /// The next triggered part is known to be bad: it must get the verdict NG and be rejected
    Challenge,
    /// A part is in front of the camera (only if trigger.kind is "socket")
    Trigger,
}

impl Word {
    fn text(self) -> &'static str {
        match self {
            Word::Status => "status",
            Word::Acknowledge => "acknowledge",
            Word::Challenge => "challenge",
            Word::Trigger => "trigger",
        }
    }
}

#[derive(Debug, Error)]
enum TellError {
    #[error("{}: no control.socket in this configuration", .0.display())]
    NoSocket(PathBuf),
    #[error("{}: no answer; is `partgate run` running?", path.display())]
    Silent {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(
        "{}: this user has no permission; run it as the line's user (`sudo -u partgate`), or join its group", path.display()
    )]
    Forbidden {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("only `trigger` takes a time")]
    NoTime,
    #[error("the line refuses: {0}")]
    Refused(String),
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments, out: &mut Out) -> Result<Code, Failure> {
    let config = LineConfig::open(&arguments.config).map_err(Failure::input)?;
    let Some(socket) = config.control.socket else {
        return Err(Failure::input(TellError::NoSocket(
            arguments.config.clone(),
        )));
    };
    let command = match (arguments.word, arguments.at) {
        (word, None) => word.text().to_string(),
        (Word::Trigger, Some(at)) => format!("{} {at}", Word::Trigger.text()),
        (_, Some(_)) => return Err(Failure::input(TellError::NoTime)),
    };
    let answer = ask(&socket, &command).map_err(|source| {
        let path = socket.clone();
        Failure::unexpected(match source.kind() {
            ErrorKind::PermissionDenied => TellError::Forbidden { path, source },
            _ => TellError::Silent { path, source },
        })
    })?;
    let refused = serde_json::from_str::<serde_json::Value>(&answer)
        .ok()
        .and_then(|a| a.get("error")?.as_str().map(str::to_string));
    if let Some(refused) = refused {
        return Err(Failure::unexpected(TellError::Refused(refused)));
    }
    out.line(answer)?;
    Ok(Code::Done)
}
