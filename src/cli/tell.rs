//! `partgate tell`: a word to a running line.

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
/// Prints the line's answer, one line of JSON.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  partgate tell line.toml status\n  partgate tell line.toml acknowledge\n  partgate tell line.toml challenge          then let a known-bad part through\n\nExit codes: 0 done, 1 nobody answers or the line refuses, 3 the configuration cannot be used."
)]
pub(crate) struct Arguments {
    /// The line's configuration, which names its control socket
    config: PathBuf,
    /// What to say
    word: Word,
    /// With `trigger`: when the part was there, nanoseconds of this board's CLOCK_MONOTONIC, at most
    /// a second ago [default: when the line hears the word]
    at: Option<u64>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Word {
    /// READY, the faults and alarms that are there now, counters
    Status,
    /// The alarm has been looked at: READY may come back
    Acknowledge,
    /// The next part that is triggered is known to be bad: it has to be inspected NG and rejected
    Challenge,
    /// A part is in front of the camera (where trigger.kind is "socket")
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
    #[error("{}: nobody answers; does `partgate run` run?", path.display())]
    Silent {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(
        "{}: this user may not; run it as the line's user (`sudo -u partgate`), or join its group", path.display()
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
