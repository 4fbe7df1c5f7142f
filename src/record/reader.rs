//! Reads a log back and says whether it is whole.

use super::chain::{self, MAX_LINE};
use super::log::previous_in;
use serde::Serialize;
use serde_json::Value;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Newest format that is read.
const FORMAT: u64 = 1;

/// What is wrong with a log, and where.
#[derive(Debug, Error)]
pub enum LogFault {
    /// A file or folder cannot be read.
    #[error("{}: cannot be read", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A folder without a log.
    #[error("{}: no event log here (looked for events-NNNNNNNN.log)", path.display())]
    NoLog {
        /// The folder.
        path: PathBuf,
    },
    /// A number is left out between the files of a folder.
    #[error("{}: missing, though files before and after it are here", path.display())]
    MissingFile {
        /// The file that should be there.
        path: PathBuf,
    },
    /// A file without even its first line.
    #[error("{}: line 1: the file is empty", path.display())]
    EmptyFile {
        /// The file.
        path: PathBuf,
    },
    /// The first line is not the one that every file starts with.
    #[error("{}: line 1: not the first line of a log", path.display())]
    Head {
        /// The file.
        path: PathBuf,
    },
    /// Written by a later version.
    #[error(
        "{}: line 1: format {format} is newer than this program reads (up to {FORMAT})",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u64,
    },
    /// The last line has no end.
    #[error(
        "{}: line {line}: torn, {bytes} bytes without an end; the next start of the line cuts it off and notes it",
        path.display()
    )]
    Torn {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: u64,
        /// Bytes of it.
        bytes: u64,
    },
    /// Not of the form of a line.
    #[error(
        "{}: line {line}: not a log line (JSON, a tab and eight hexadecimal digits)",
        path.display()
    )]
    NotALine {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: u64,
    },
    /// The checksum does not follow from the line and the checksum before it.
    #[error(
        "{}: line {line}: checksum is {found:08x} but should be {expected:08x}: the line was changed, or lines before it are missing",
        path.display()
    )]
    Checksum {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: u64,
        /// In the file.
        found: u32,
        /// By the line.
        expected: u32,
    },
    /// A file does not go on where the one before ended.
    #[error(
        "{}: line 1: does not follow {}: lines at that file's end are missing or were changed",
        path.display(), before.display()
    )]
    NotNext {
        /// The file.
        path: PathBuf,
        /// The file before.
        before: PathBuf,
    },
}

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub struct LogLine {
    /// The file that it is in.
    pub file: PathBuf,
    /// From 1.
    pub number: u64,
    /// What it says.
    pub value: Value,
}

/// What a log holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LogCheck {
    /// Whole lines.
    pub lines: u64,
    /// Lines about parts.
    pub parts: u64,
    /// Parts that passed.
    pub passed: u64,
    /// Parts that were rejected.
    pub rejected: u64,
    /// Lines that `gap` lines say are missing.
    pub lost: u64,
    /// Lines that were torn by a crash and cut off at the next start.
    pub torn: u64,
    /// Wall clock of the first line.
    pub first: Option<String>,
    /// Wall clock of the last line.
    pub last: Option<String>,
}

impl LogCheck {
    /// Counts one line.
    pub fn count(&mut self, value: &Value) {
        self.lines += 1;
        let text = |key| value.get(key).and_then(Value::as_str);
        if value.get("part").is_some() {
            self.parts += 1;
            match text("decision") {
                Some("passed") => self.passed += 1,
                _ => self.rejected += 1,
            }
        }
        match text("event") {
            Some("gap") => self.lost += value.get("lost").and_then(Value::as_u64).unwrap_or(0),
            Some("torn") => self.torn += 1,
            _ => {}
        }
        if let Some(wall) = text("wall") {
            self.first.get_or_insert_with(|| wall.to_string());
            self.last = Some(wall.to_string());
        }
    }
}

/// The file being read.
#[derive(Debug)]
struct Open {
    path: PathBuf,
    from: BufReader<File>,
    line: u64,
    /// Checksum of the line before; None where that line was none.
    chain: Option<u32>,
}

/// Reads a log from its oldest line to its newest. After a fault it goes on with the next line.
#[derive(Debug)]
pub struct LogReader {
    files: VecDeque<(u64, PathBuf)>,
    open: Option<Open>,
    /// Path and last checksum of the file before; None where it did not end well.
    before: Option<(PathBuf, u32)>,
    /// Number of the file before.
    number: Option<u64>,
}

impl LogReader {
    /// Of one file, or of all log files in a folder.
    ///
    /// # Errors
    /// [`LogFault::Read`], [`LogFault::NoLog`].
    pub fn open(path: &Path) -> Result<Self, LogFault> {
        let read = |source| LogFault::Read {
            path: path.to_path_buf(),
            source,
        };
        let files = if std::fs::metadata(path).map_err(read)?.is_dir() {
            let files = chain::files_in(path).map_err(read)?;
            if files.is_empty() {
                return Err(LogFault::NoLog {
                    path: path.to_path_buf(),
                });
            }
            files.into()
        } else {
            // Alone, it has no number to miss.
            VecDeque::from([(0, path.to_path_buf())])
        };
        Ok(Self {
            files,
            open: None,
            before: None,
            number: None,
        })
    }

    /// Opens the next file; false after the last.
    fn next_file(&mut self) -> Result<bool, LogFault> {
        let Some((number, path)) = self.files.front() else {
            return Ok(false);
        };
        if let Some(before) = self.number {
            let expected = before.saturating_add(1);
            if *number != expected {
                // Told once; the file itself is read at the next call.
                self.number = number.checked_sub(1);
                self.before = None;
                let name = chain::file_name(expected);
                let path = path.with_file_name(name);
                return Err(LogFault::MissingFile { path });
            }
        }
        self.number = Some(*number);
        let path = path.clone();
        self.files.pop_front();
        match File::open(&path) {
            Ok(file) => {
                self.open = Some(Open {
                    path,
                    from: BufReader::new(file),
                    line: 0,
                    chain: None,
                });
                Ok(true)
            }
            Err(source) => {
                self.before = None;
                Err(LogFault::Read { path, source })
            }
        }
    }

    /// The next line, or None at the end of all files.
    fn read(&mut self) -> Result<Option<LogLine>, LogFault> {
        loop {
            if self.open.is_none() && !self.next_file()? {
                return Ok(None);
            }
            let Some(mut open) = self.open.take() else {
                continue;
            };
            let mut bytes = Vec::new();
            let limit = MAX_LINE as u64;
            let got = open.from.by_ref().take(limit).read_until(b'\n', &mut bytes);
            if let Err(source) = got {
                // The rest of this file cannot be had.
                self.before = None;
                let path = open.path;
                return Err(LogFault::Read { path, source });
            }
            if bytes.is_empty() {
                let Open {
                    path, line, chain, ..
                } = open;
                self.before = chain.map(|sum| (path.clone(), sum));
                if line == 0 {
                    return Err(LogFault::EmptyFile { path });
                }
                continue;
            }
            open.line += 1;
            let result = self.inspect(&mut open, bytes);
            self.open = Some(open);
            return result.map(Some);
        }
    }

    fn inspect(&mut self, open: &mut Open, mut bytes: Vec<u8>) -> Result<LogLine, LogFault> {
        let (path, line) = (open.path.clone(), open.line);
        let before = open.chain.take();
        if bytes.pop_if(|b| *b == b'\n').is_none() {
            let rest = skip_line(&mut open.from).map_err(|source| LogFault::Read {
                path: path.clone(),
                source,
            })?;
            let bytes = bytes.len() as u64 + rest.bytes;
            return Err(if rest.ended {
                LogFault::NotALine { path, line }
            } else {
                LogFault::Torn { path, line, bytes }
            });
        }
        let parsed = chain::split(&bytes)
            .and_then(|(json, sum)| Some((serde_json::from_slice::<Value>(json).ok()?, json, sum)));
        let Some((value, json, found)) = parsed else {
            return Err(LogFault::NotALine { path, line });
        };
        let expected = if line == 1 {
            let Some(previous) = previous_in(json) else {
                open.chain = Some(found);
                return Err(LogFault::Head { path });
            };
            let format = value.get("format").and_then(Value::as_u64).unwrap_or(0);
            if format > FORMAT {
                return Err(LogFault::Newer { path, format });
            }
            let starts_anew = value.get("previous").is_some_and(Value::is_null);
            if let Some((before, sum)) = self.before.take()
                && (starts_anew || sum != previous)
            {
                open.chain = Some(found);
                return Err(LogFault::NotNext { path, before });
            }
            previous
        } else {
            // After a line that was none there is nothing to check against.
            match before {
                Some(before) => before,
                None => {
                    open.chain = Some(found);
                    return Ok(LogLine {
                        file: path,
                        number: line,
                        value,
                    });
                }
            }
        };
        open.chain = Some(found);
        let expected = chain::checksum(expected, json);
        if expected != found {
            return Err(LogFault::Checksum {
                path,
                line,
                found,
                expected,
            });
        }
        Ok(LogLine {
            file: path,
            number: line,
            value,
        })
    }
}

impl Iterator for LogReader {
    type Item = Result<LogLine, LogFault>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

/// What was passed over.
struct Skipped {
    bytes: u64,
    /// By a newline; otherwise by the end of the file.
    ended: bool,
}

/// Passes over the rest of a line, however long.
fn skip_line(from: &mut impl BufRead) -> io::Result<Skipped> {
    let mut bytes = 0;
    loop {
        let there = from.fill_buf()?;
        if there.is_empty() {
            return Ok(Skipped {
                bytes,
                ended: false,
            });
        }
        if let Some(end) = there.iter().position(|&b| b == b'\n') {
            from.consume(end + 1);
            return Ok(Skipped {
                bytes: bytes + end as u64 + 1,
                ended: true,
            });
        }
        let length = there.len();
        bytes += length as u64;
        from.consume(length);
    }
}
