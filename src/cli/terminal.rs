//! Standard output: text or JSON, colours on a terminal, and a reader that can leave early.

use super::failure::{Code, Failure};
use partgate::verdict::Verdict;
use serde::Serialize;
use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal, StdoutLock, Write};
use thiserror::Error;

#[derive(Debug, Error)]
#[error("standard output cannot be written")]
struct PrintError {
    source: std::io::Error,
}

/// Colours as ANSI escape sequences.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Colour {
    Good,
    Bad,
    Unsure,
    Alarm,
    Soft,
    Bold,
}

impl Colour {
    fn code(self) -> &'static str {
        match self {
            Colour::Good => "\x1b[32m",
            Colour::Bad => "\x1b[31m",
            Colour::Unsure => "\x1b[33m",
            Colour::Alarm => "\x1b[1;35m",
            Colour::Soft => "\x1b[2m",
            Colour::Bold => "\x1b[1m",
        }
    }

    pub(crate) fn of(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Ok => Colour::Good,
            Verdict::Ng => Colour::Bad,
            Verdict::Unknown => Colour::Unsure,
        }
    }
}

/// Standard output.
pub(crate) struct Out {
    to: StdoutLock<'static>,
    json: bool,
    colour: bool,
    /// Exit code if the reader leaves before everything is printed.
    when_left: Code,
}

impl Out {
    pub(crate) fn new(json: bool) -> Self {
        let to = std::io::stdout().lock();
        // https://no-color.org: if it is set and not empty there are no colours, whatever the
        // value.
        let refused = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty())
            || std::env::var_os("TERM").is_some_and(|v| v == "dumb");
        Self {
            colour: to.is_terminal() && !refused,
            to,
            json,
            when_left: Code::Done,
        }
    }

    /// Whether JSON is requested.
    pub(crate) fn json(&self) -> bool {
        self.json
    }

    /// Sets the exit code for a reader that leaves early.
    pub(crate) fn when_left(&mut self, code: Code) {
        self.when_left = code;
    }

    /// Prints one line of text.
    pub(crate) fn line(&mut self, text: impl Display) -> Result<(), Failure> {
        let done = writeln!(self.to, "{text}");
        self.check(done)
    }

    /// Prints `value` as one line of JSON.
    pub(crate) fn json_line(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value).map_err(Failure::unexpected)?;
        self.line(text)
    }

    /// Prints `value` as indented JSON.
    pub(crate) fn json_page(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value).map_err(Failure::unexpected)?;
        self.line(text)
    }

    /// `text` in `colour`, if colours are used.
    pub(crate) fn paint(&self, text: impl Display, colour: Colour) -> String {
        if self.colour {
            format!("{}{text}\x1b[0m", colour.code())
        } else {
            text.to_string()
        }
    }

    /// Writes everything that is still buffered.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        let done = self.to.flush();
        self.check(done)
    }

    fn check(&self, done: std::io::Result<()>) -> Result<(), Failure> {
        match done {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == ErrorKind::BrokenPipe => Err(Failure::ReaderGone(self.when_left)),
            Err(source) => Err(Failure::input(PrintError { source })),
        }
    }
}
