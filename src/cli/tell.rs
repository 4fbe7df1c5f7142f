//! `partgate tell`: a word to a running line.

use super::failure::{Code, Failure};
use super::terminal::Out;
use clap::{Args, ValueEnum};
use partgate::config::LineConfig;
use partgate::station::ask;
use std::io::ErrorKind;
use std::path::PathBuf;
use thiserror::Error;

/// Ask a running line for its state, acknowledge its alarm, or trigger a part
///
/// Prints the line's answer, one line of JSON.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  partgate tell line.toml status\n  partgate tell line.toml acknowledge\n\nExit codes: 0 done, 1 nobody answers or the line refuses, 3 the configuration cannot be used."
)]
pub(crate) struct Arguments {
    /// The line's configuration, which names its control socket
    config: PathBuf,
    /// What to say
    word: Word,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Word {
    /// READY, the faults and alarms that are there now, counters
    Status,
    /// The alarm has been looked at: READY may come back
    Acknowledge,
    /// A part is in front of the camera (where trigger.kind is "socket")
    Trigger,
}

impl Word {
    fn text(self) -> &'static str {
        match self {
            Word::Status => "status",
            Word::Acknowledge => "acknowledge",
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
    #[error("the line refuses: {0}")]
    Refused(String),
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments, out: &mut Out) -> Result<Code, Failure> {
    let config = LineConfig::open(&arguments.config).map_err(Failure::input)?;
    let Some(socket) = config.access.control else {
        return Err(Failure::input(TellError::NoSocket(
            arguments.config.clone(),
        )));
    };
    let answer = ask(&socket, arguments.word.text()).map_err(|source| {
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
