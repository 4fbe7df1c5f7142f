//! What a failed command reports to its caller: an exit code, and the causes on standard error.

use std::error::Error;

pub(crate) use partgate::causes::{causes, print_error as tell};

/// Exit codes, as the help text documents them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// Done.
    Done = 0,
    /// Unexpected failure.
    Unexpected = 1,
    // 2, wrong usage, is an exit code of clap.
    /// An image, folder, output folder or configuration cannot be used.
    Input = 3,
    /// The bundle cannot be used.
    Bundle = 4,
    /// The self-test disagrees.
    Parity = 5,
    /// `score --gate`: all images are inspected, and not all are OK.
    NotOk = 6,
    /// `doctor`: a check failed.
    Unhealthy = 7,
    /// Of the vision process only: another product is to run.
    Switched = 8,
}

/// Why a command ended early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// An error.
    Error(Code, Box<dyn Error + Send + Sync>),
    /// The reader of standard output is gone (`partgate score ... | head`). Nothing is wrong, and
    /// nobody is left to read a message.
    ReaderGone(Code),
}

impl Failure {
    pub(crate) fn unexpected(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Failure::Error(Code::Unexpected, error.into())
    }

    pub(crate) fn input(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Failure::Error(Code::Input, error.into())
    }

    pub(crate) fn bundle(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Failure::Error(Code::Bundle, error.into())
    }

    /// Prints the causes and returns the exit code.
    pub(crate) fn report(self) -> Code {
        match self {
            Failure::Error(code, error) => {
                tell(&*error);
                code
            }
            Failure::ReaderGone(code) => code,
        }
    }
}
