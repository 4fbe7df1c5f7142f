//! `partgate tell`: sends a command to a running line.

use super::failure::{Code, Failure};
use super::terminal::Out;
use clap::{Args, ValueEnum};
use partgate::config::LineConfig;
use partgate::record::MarkKind;
use partgate::station::ask;
use serde_json::Value;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use thiserror::Error;

/// How long the recorder may take for a mark.
const PATIENCE: Duration = Duration::from_secs(10);

/// Ask a running line for its state, acknowledge its alarm, trigger a part, begin a challenge or mark a
/// part
///
/// Prints the answer of the line, one line of JSON.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  partgate tell line.toml status\n  partgate tell line.toml acknowledge\n  partgate tell line.toml challenge          then let a known-bad part pass the sensor\n  partgate tell line.toml mark 42 good --by anna --reason 'only dust'\n  partgate tell line.toml mark 57 defect\n\nExit codes: 0 done, 1 no answer or the line refuses, 3 the configuration cannot be used."
)]
pub(crate) struct Arguments {
    /// The line's configuration, which names its control socket
    config: PathBuf,
    /// The command
    word: Word,
    /// With `trigger`: the time of the part in nanoseconds of this board's CLOCK_MONOTONIC, at
    /// most one second ago [default: when the line receives the command]. With `mark`: the part's
    /// number in the log; numbers begin anew with every start, and the newest picture is taken
    number: Option<u64>,
    /// With `mark`: what the part really is
    mark: Option<Marked>,
    /// With `mark`: who says so [default: the user]
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// With `mark`: why
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Word {
    /// Show READY, the faults and alarms that are there now, and counters
    Status,
    /// A person has looked at the alarm: READY can come on again
    Acknowledge,
    /// The next triggered part is known to be bad: it must get the verdict NG and be rejected
    Challenge,
    /// A part is in front of the camera (only if trigger.kind is "socket")
    Trigger,
    /// A part was rejected or passed by mistake: its picture is kept in the folder `marked` of the
    /// record, for `partgate-train amend`
    Mark,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Marked {
    /// It was rejected, and is good
    Good,
    /// It passed, or could have, and is defective
    Defect,
}

impl Word {
    fn text(self) -> &'static str {
        match self {
            Word::Status => "status",
            Word::Acknowledge => "acknowledge",
            Word::Challenge => "challenge",
            Word::Trigger => "trigger",
            Word::Mark => "mark",
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
    #[error("only `trigger` takes a time, and only `mark` a part's number and what it is")]
    NoNumber,
    #[error("which part, and what is it? `partgate tell LINE mark PART good`, or `defect`")]
    NoMark,
    #[error("the line refuses: {0}")]
    Refused(String),
    #[error("the line has not kept the picture within {} s; its log says later whether it did", PATIENCE.as_secs())]
    Slow,
}

/// Sends `command` and returns the answer with its text.
fn send(socket: &Path, command: &str) -> Result<(String, Value), Failure> {
    let answer = ask(socket, command).map_err(|source| {
        let path = socket.to_path_buf();
        Failure::unexpected(match source.kind() {
            ErrorKind::PermissionDenied => TellError::Forbidden { path, source },
            _ => TellError::Silent { path, source },
        })
    })?;
    let value: Value = serde_json::from_str(&answer).unwrap_or_default();
    match value["error"].as_str() {
        Some(refused) => Err(Failure::unexpected(TellError::Refused(refused.to_owned()))),
        None => Ok((answer, value)),
    }
}

/// The words for the line.
fn command(arguments: &Arguments) -> Result<String, TellError> {
    let said = arguments.by.is_some() || arguments.reason.is_some();
    let word = arguments.word.text();
    match (arguments.word, arguments.number, arguments.mark) {
        (Word::Mark, Some(part), Some(mark)) => {
            let kind = match mark {
                Marked::Good => MarkKind::Good,
                Marked::Defect => MarkKind::Defect,
            };
            let by = super::store::user(arguments.by.as_ref());
            let why = arguments.reason.iter().map(|why| format!(": {why}"));
            let said: String = std::iter::once(by).chain(why).collect();
            // The line takes one text line of 255 bytes.
            let said: String = said.chars().filter(|c| !c.is_control()).take(60).collect();
            Ok(format!("{word} {part} {} {said}", kind.name()))
        }
        (Word::Mark, _, _) => Err(TellError::NoMark),
        (Word::Trigger, Some(at), None) if !said => Ok(format!("{word} {at}")),
        (_, None, None) if !said => Ok(word.to_owned()),
        _ => Err(TellError::NoNumber),
    }
}

/// Waits until the recorder has kept the picture of mark `number`.
fn await_mark(socket: &Path, number: u64) -> Result<String, Failure> {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        let (text, answer) = send(socket, &format!("marked {number}"))?;
        if answer["done"] == true {
            return Ok(text);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(Failure::unexpected(TellError::Slow))
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments, out: &mut Out) -> Result<Code, Failure> {
    let config = LineConfig::open(&arguments.config).map_err(Failure::input)?;
    let Some(socket) = config.control.socket else {
        return Err(Failure::input(TellError::NoSocket(
            arguments.config.clone(),
        )));
    };
    let command = command(arguments).map_err(Failure::input)?;
    let (mut text, answer) = send(&socket, &command)?;
    if let Some(number) = answer["mark"].as_u64() {
        text = await_mark(&socket, number)?;
    }
    out.line(text)?;
    Ok(Code::Done)
}
