//! Reads a log and checks whether it is whole.

use super::chain::{self, MAX_LINE};
use super::log::previous_in;
use serde::Serialize;
use serde_json::Value;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Newest format that this program reads.
const FORMAT: u64 = 1;

/// A fault of a log, and where it is.
#[derive(Debug, Error)]
pub enum LogFault {
    /// A file or folder cannot be read.
    #[error("{}: cannot be read", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The folder has no log.
    #[error("{}: no event log here (looked for events-NNNNNNNN.log)", path.display())]
    NoLog {
        /// The folder.
        path: PathBuf,
    },
    /// A file is missing: its number lies between those of other files.
    #[error("{}: missing, though files before and after it are here", path.display())]
    MissingFile {
        /// The missing file.
        path: PathBuf,
    },
    /// The file does not even have its first entry.
    #[error("{}: line 1: the file is empty", path.display())]
    EmptyFile {
        /// The file.
        path: PathBuf,
    },
    /// The first line is not the entry that every file starts with.
    #[error("{}: line 1: not the first line of a log", path.display())]
    Head {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by a later version.
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
    /// The last line has no newline.
    #[error(
        "{}: line {line}: torn, {bytes} bytes without an end; the next start of the line cuts it off and notes it",
        path.display()
    )]
    Torn {
        /// The file.
        path: PathBuf,
        /// Line number, from 1.
        line: u64,
        /// Bytes of the line.
        bytes: u64,
    },
    /// The line does not have the form of an entry.
    #[error(
        "{}: line {line}: not a log line (JSON, a tab and eight hexadecimal digits)",
        path.display()
    )]
    NotALine {
        /// The file.
        path: PathBuf,
        /// Line number, from 1.
        line: u64,
    },
    /// The checksum does not match the entry and the previous checksum.
    #[error(
        "{}: line {line}: checksum is {found:08x} but should be {expected:08x}: the line was changed, or lines before it are missing",
        path.display()
    )]
    Checksum {
        /// The file.
        path: PathBuf,
        /// Line number, from 1.
        line: u64,
        /// Checksum in the file.
        found: u32,
        /// Checksum computed from the entry.
        expected: u32,
    },
    /// A file does not continue where the previous file ended.
    #[error(
        "{}: line 1: does not follow {}: lines at that file's end are missing or were changed",
        path.display(), before.display()
    )]
    NotNext {
        /// The file.
        path: PathBuf,
        /// The previous file.
        before: PathBuf,
    },
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct LogLine {
    /// The file that holds it.
    pub file: PathBuf,
    /// Line number, from 1.
    pub number: u64,
    /// The entry's JSON.
    pub value: Value,
}

/// Counts of a log's entries.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LogCheck {
    /// Whole entries.
    pub lines: u64,
    /// Entries about parts.
    pub parts: u64,
    /// Parts that passed.
    pub passed: u64,
    /// Parts that were rejected.
    pub rejected: u64,
    /// Entries that are missing, as the `gap` entries state.
    pub lost: u64,
    /// Entries that were torn by a crash and cut off at the next start.
    pub torn: u64,
    /// Wall clock of the first entry.
    pub first: Option<String>,
    /// Wall clock of the last entry.
    pub last: Option<String>,
}

impl LogCheck {
    /// Counts one entry.
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
    /// Checksum of the previous line; None if that line was not an entry.
    chain: Option<u32>,
}

/// Reads a log from its oldest entry to its newest. After a fault it continues with the next line.
#[derive(Debug)]
pub struct LogReader {
    files: VecDeque<(u64, PathBuf)>,
    open: Option<Open>,
    /// Path and last checksum of the previous file; None if it did not end with a whole entry.
    before: Option<(PathBuf, u32)>,
    /// Number of the previous file.
    number: Option<u64>,
}

impl LogReader {
    /// Opens one file, or all log files in a folder.
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
            // A single file has no number that could be missing.
            VecDeque::from([(0, path.to_path_buf())])
        };
        Ok(Self {
            files,
            open: None,
            before: None,
            number: None,
        })
    }

    fn next_file(&mut self) -> Result<bool, LogFault> {
        let Some((number, path)) = self.files.front() else {
            return Ok(false);
        };
        if let Some(before) = self.number {
            let expected = before.saturating_add(1);
            if *number != expected {
                // Reported once. The next call reads the file itself.
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

    /// The next entry; None at the end of all files.
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
                // The rest of this file cannot be read.
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
            // After a line that is not an entry there is no checksum to check against.
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

/// Bytes that were skipped.
struct Skipped {
    bytes: u64,
    /// True if a newline ended them, false if the file did.
    ended: bool,
}

/// Skips the rest of a line of any length.
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
