//! The problems of a configuration, each with its line number.

use std::path::{Path, PathBuf};
use thiserror::Error;

/// One problem of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Problem {
    /// Line number in the file, from 1.
    pub line: usize,
    /// Dotted key, such as `camera.width`; empty if the file is not TOML.
    pub key: String,
    /// What is wrong, with the value and the allowed range if there is one.
    pub message: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.key.is_empty() {
            write!(f, "line {}: {}", self.line, self.message)
        } else {
            write!(f, "line {}: {}: {}", self.line, self.key, self.message)
        }
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The file is far too large for a configuration.
    #[error("{}: {size} bytes is over the limit of {limit}; is this a configuration?", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// The file was read but has problems. All of them are listed.
    #[error("{}: {}", file.display(), listed(problems))]
    Problems {
        /// The file.
        file: PathBuf,
        /// At least one, sorted by line.
        problems: Vec<Problem>,
    },
}

/// One problem as it is; several are numbered, because the text can end up in one line.
fn listed(problems: &[Problem]) -> String {
    if let [problem] = problems {
        return problem.to_string();
    }
    let numbered = problems.iter().zip(1..);
    let lines: Vec<String> = numbered.map(|(p, n)| format!("({n}) {p}")).collect();
    format!("{} problems:\n{}", problems.len(), lines.join("\n"))
}

impl ConfigError {
    /// The problems of a file that was read; empty for other errors.
    pub fn problems(&self) -> &[Problem] {
        match self {
            ConfigError::Problems { problems, .. } => problems,
            _ => &[],
        }
    }
}

/// Collects the problems of one file.
#[derive(Debug, Default)]
pub(crate) struct Problems(Vec<Problem>);

impl Problems {
    pub(crate) fn note(&mut self, line: usize, key: impl Into<String>, message: impl Into<String>) {
        let (key, message) = (key.into(), message.into());
        self.0.push(Problem { line, key, message });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn sorted(mut self) -> Vec<Problem> {
        self.0.sort();
        self.0.dedup();
        self.0
    }

    pub(crate) fn into_error(self, file: &Path) -> ConfigError {
        ConfigError::Problems {
            file: file.to_path_buf(),
            problems: self.sorted(),
        }
    }
}
