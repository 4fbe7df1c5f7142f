//! The event log: one checksummed entry per part and event, written as it happens.
//!
//! Each entry goes to the kernel with one write, so a killed process loses none. It is on the disk
//! at most one second later. An entry that cannot be written is counted. When writing works again,
//! a `gap` entry states how many are missing and why. Nothing here waits for space, and nothing
//! gives up for good.

pub use super::chain::MAX_LINE;
use super::chain::{self, SEAL, START};
use super::wall::Utc;
use crate::time::{Duration, Instant};
use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Version of the entries' meaning, in the first entry of every file.
const FORMAT: u32 = 1;
/// Wait after a failed write or open, so that a failed disk is not tried without pause.
const PAUSE: Duration = Duration::from_millis(1_000);
/// An entry is synced to the disk at most this long after it was written, if [`EventLog::tick`] is
/// called. Half of the promised second is left for the caller's own period.
const SYNC_AFTER: Duration = Duration::from_millis(500);
/// Shortest time between two warnings on standard error.
const WARN_EVERY: Duration = Duration::from_millis(60_000);
/// Bytes of a file's end that are read when it is opened: room for one torn and two whole entries.
const TAIL: u64 = 4 * MAX_LINE as u64;

/// Where the log is and how large it can grow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// The folder, created if it is missing.
    pub folder: PathBuf,
    /// A file is closed before it is larger than this, bytes; at least [`MAX_LINE`].
    pub max_bytes: u64,
    /// Number of files that are kept, the current one included; at least 2.
    pub keep: usize,
}

/// Counts of entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogCounts {
    /// Entries that the kernel accepted.
    pub written: u64,
    /// Entries that are missing.
    pub lost: u64,
    /// How many times a sync to the disk failed.
    pub sync_failures: u64,
}

/// First entry of a file.
#[derive(Serialize)]
struct Head {
    event: &'static str,
    format: u32,
    file: u64,
    /// Checksum of the previous file's last entry.
    previous: Option<String>,
    program: &'static str,
    wall: Utc,
}

/// An entry about the log itself.
#[derive(Serialize)]
struct About<'a> {
    event: &'static str,
    wall: Utc,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lost: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
}

impl About<'_> {
    fn new(event: &'static str) -> Self {
        Self {
            event,
            wall: SystemTime::now().into(),
            file: None,
            bytes: None,
            lost: None,
            count: None,
            why: None,
        }
    }
}

/// The file that is being written.
#[derive(Debug)]
struct Current {
    file: File,
    number: u64,
    size: u64,
    /// Checksum of the last entry.
    chain: u32,
    /// A failed write left bytes after `size`, and they could not be cut off yet.
    dirty: bool,
}

impl Current {
    /// Writes whole entries, or none of them.
    fn write(&mut self, lines: &[u8], chain: u32) -> io::Result<()> {
        if self.dirty {
            self.file.set_len(self.size)?;
            self.dirty = false;
        }
        match self.file.write_all(lines) {
            Ok(()) => {
                self.size += lines.len() as u64;
                self.chain = chain;
                Ok(())
            }
            Err(error) => {
                // A full disk accepts the beginning of an entry. A partial entry would break the
                // log.
                self.dirty = self.file.set_len(self.size).is_err();
                Err(error)
            }
        }
    }
}

/// How a file ends.
enum Tail {
    /// With a whole entry of this checksum, at this length. Bytes after it are a torn entry.
    Sound { length: u64, chain: u32 },
    /// There is no whole entry.
    Empty,
    /// The last entries do not fit together.
    Damaged,
}

/// The log. One thread owns it.
#[derive(Debug)]
pub struct EventLog {
    options: LogOptions,
    current: Option<Current>,
    /// Writing is not tried again before this time.
    pause_until: Option<Instant>,
    warned: Option<Instant>,
    /// Entries lost since the last gap entry.
    gap: u64,
    why: String,
    unsynced_since: Option<Instant>,
    sync_failed: u64,
    counts: LogCounts,
    line: Vec<u8>,
}

impl EventLog {
    /// A log that opens its file when the first entry comes. Never fails: a folder that cannot be
    /// written is tried again every second, and the entries lost meanwhile are counted.
    pub fn new(options: LogOptions) -> Self {
        Self {
            options: LogOptions {
                max_bytes: options.max_bytes.max(MAX_LINE as u64),
                keep: options.keep.max(2),
                ..options
            },
            current: None,
            pause_until: None,
            warned: None,
            gap: 0,
            why: String::new(),
            unsynced_since: None,
            sync_failed: 0,
            counts: LogCounts::default(),
            line: Vec::with_capacity(MAX_LINE),
        }
    }

    /// Counts of entries since the start.
    pub fn counts(&self) -> LogCounts {
        self.counts
    }

    /// Whether entries are being lost: a gap is not noted yet, or the last write or sync failed.
    pub fn failing(&self) -> bool {
        self.gap > 0 || self.pause_until.is_some() || self.sync_failed > 0
    }

    /// Path of the current file.
    pub fn file(&self) -> Option<PathBuf> {
        let number = self.current.as_ref()?.number;
        Some(self.options.folder.join(chain::file_name(number)))
    }

    /// Appends `line`, an object, as JSON. False: the entry is lost and counted.
    pub fn append(&mut self, line: &impl Serialize, now: Instant) -> bool {
        let written = self.ready(now) && self.try_line(line, now);
        if !written {
            self.lose(1);
        }
        written
    }

    /// Counts `lines` entries that did not reach this log, because of `why`.
    pub fn missing(&mut self, lines: u64, why: &str) {
        if lines > 0 {
            why.clone_into(&mut self.why);
            self.lose(lines);
        }
    }

    /// To be called a few times per second. Writes a pending gap entry and syncs when it is time.
    pub fn tick(&mut self, now: Instant) {
        if self.gap > 0 || self.current.is_none() {
            self.ready(now);
        }
        let due = self
            .unsynced_since
            .is_some_and(|since| now.since(since) >= SYNC_AFTER);
        if due {
            self.sync(now);
        }
    }

    /// Syncs all entries to the disk. Adds an entry if that failed before or if the file is gone.
    pub fn sync(&mut self, now: Instant) {
        let pushed = self.push(now);
        if pushed && self.sync_failed > 0 {
            let mut about = About::new("sync_failed");
            about.count = Some(std::mem::take(&mut self.sync_failed));
            about.why = Some("lines before this may be missing after a power cut");
            self.append(&about, now);
        }
        let gone = self.current.as_ref().is_some_and(|c| {
            // If the system does not report it, the file is assumed to be there.
            rustix::fs::fstat(&c.file).is_ok_and(|stat| stat.st_nlink == 0)
        });
        if gone {
            // Somebody removed the file. Entries would be written nowhere.
            let number = self.current.take().map_or(0, |c| c.number);
            let mut about = About::new("removed");
            about.file = Some(chain::file_name(number));
            self.append(&about, now);
        }
    }

    fn push(&mut self, now: Instant) -> bool {
        self.unsynced_since = None;
        let Some(current) = &self.current else {
            return false;
        };
        let Err(error) = current.file.sync_data() else {
            return true;
        };
        self.counts.sync_failures += 1;
        self.sync_failed += 1;
        // Try again in the next round.
        self.unsynced_since = Some(now);
        self.warn(&error, now);
        false
    }

    fn lose(&mut self, lines: u64) {
        self.gap += lines;
        self.counts.lost += lines;
    }

    /// Whether an entry can be written: a file is open, and a pending gap entry is written.
    fn ready(&mut self, now: Instant) -> bool {
        if self.pause_until.is_some_and(|until| now < until) {
            return false;
        }
        self.pause_until = None;
        if self.current.is_none() {
            match self.open() {
                Ok(notes) => {
                    for note in &notes {
                        if !self.try_line(note, now) {
                            self.lose(1);
                            return false;
                        }
                    }
                }
                Err(error) => {
                    self.failed(&error, now);
                    return false;
                }
            }
        }
        if self.gap > 0 {
            let why = std::mem::take(&mut self.why);
            let mut about = About::new("gap");
            about.lost = Some(self.gap);
            about.why = Some(&why);
            let written = self.try_line(&about, now);
            if !written {
                self.why = why;
                return false;
            }
            self.gap = 0;
        }
        true
    }

    fn failed(&mut self, error: &io::Error, now: Instant) {
        self.why = error.to_string();
        self.pause_until = Some(now.after(PAUSE));
        self.warn(error, now);
    }

    fn warn(&mut self, error: &io::Error, now: Instant) {
        if self.warned.is_none_or(|at| now.since(at) >= WARN_EVERY) {
            self.warned = Some(now);
            ::log::warn!(
                "event log in {}: {error}; {} lines lost so far, the gate goes on",
                self.options.folder.display(),
                self.counts.lost
            );
        }
    }

    fn try_line(&mut self, line: &impl Serialize, now: Instant) -> bool {
        match self.write_line(line, now) {
            Ok(()) => {
                self.counts.written += 1;
                self.unsynced_since.get_or_insert(now);
                true
            }
            Err(error) => {
                self.failed(&error, now);
                false
            }
        }
    }

    fn write_line(&mut self, line: &impl Serialize, now: Instant) -> io::Result<()> {
        encode(&mut self.line, line)?;
        let length = (self.line.len() + SEAL + 1) as u64;
        let full = |c: &Current| c.size > 0 && c.size + length > self.options.max_bytes;
        if self.current.as_ref().is_some_and(full) {
            self.rotate(now)?;
            // The first entry of the new file used the buffer.
            encode(&mut self.line, line)?;
        }
        let current = self.current.as_mut().ok_or(io::ErrorKind::NotFound)?;
        let chain = chain::seal(current.chain, &mut self.line);
        current.write(&self.line, chain)
    }

    fn rotate(&mut self, now: Instant) -> io::Result<()> {
        self.push(now);
        let Some(old) = self.current.take() else {
            return Ok(());
        };
        if old.dirty {
            // If the bytes cannot be cut off, they stay as a torn entry. The next open removes it.
            old.file.set_len(old.size)?;
        }
        self.remove_old(self.options.keep - 1)?;
        match self.create(old.number + 1, Some(old.chain)) {
            Ok(new) => {
                self.current = Some(new);
                Ok(())
            }
            Err(error) => {
                // The old file stays the newest, so the chain continues from it.
                self.current = Some(old);
                Err(error)
            }
        }
    }

    /// Removes the oldest files beyond `keep`.
    fn remove_old(&self, keep: usize) -> io::Result<()> {
        let files = chain::files_in(&self.options.folder)?;
        let surplus = files.len().saturating_sub(keep);
        for (_, path) in &files[..surplus] {
            std::fs::remove_file(path)?;
        }
        Ok(())
    }

    /// Creates file `number` with its first entry. On failure nothing is left of it.
    fn create(&mut self, number: u64, previous: Option<u32>) -> io::Result<Current> {
        let path = self.options.folder.join(chain::file_name(number));
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(&path)?;
        let made = self.begin(file, number, previous);
        if made.is_err() {
            // An empty file that stays does no harm: the next open uses it.
            let _ = std::fs::remove_file(&path);
        }
        made
    }

    /// Locks an empty file and writes its first entry.
    fn begin(&mut self, file: File, number: u64, previous: Option<u32>) -> io::Result<Current> {
        lock(&file)?;
        let mut current = Current {
            file,
            number,
            size: 0,
            chain: previous.unwrap_or(START),
            dirty: false,
        };
        let digits = |sum| String::from_utf8_lossy(&chain::digits(sum)).into_owned();
        let head = Head {
            event: "log",
            format: FORMAT,
            file: number,
            previous: previous.map(digits),
            program: crate::VERSION,
            wall: SystemTime::now().into(),
        };
        encode(&mut self.line, &head)?;
        let chain = chain::seal(current.chain, &mut self.line);
        current.write(&self.line, chain)?;
        current.file.sync_data()?;
        // The file name must survive a power cut too.
        File::open(&self.options.folder)?.sync_all()?;
        self.counts.written += 1;
        Ok(current)
    }

    /// Continues at the end of the newest file. Returns entries about what was found.
    fn open(&mut self) -> io::Result<Vec<About<'static>>> {
        std::fs::create_dir_all(&self.options.folder)?;
        let files = chain::files_in(&self.options.folder)?;
        let mut notes = Vec::new();
        let Some((number, path)) = files.last() else {
            self.current = Some(self.create(1, None)?);
            return Ok(notes);
        };
        let mut file = OpenOptions::new().read(true).append(true).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other(format!(
                "{} is not a regular file",
                path.display()
            )));
        }
        lock(&file)?;
        let size = file.seek(SeekFrom::End(0))?;
        let noted = |event, bytes| {
            let mut about = About::new(event);
            about.file = Some(chain::file_name(*number));
            about.bytes = Some(bytes);
            about
        };
        match tail(&mut file, size)? {
            Tail::Sound { length, chain } => {
                if length < size {
                    file.set_len(length)?;
                    notes.push(noted("torn", size - length));
                }
                self.current = Some(Current {
                    file,
                    number: *number,
                    size: length,
                    chain,
                    dirty: false,
                });
            }
            Tail::Empty => {
                if size > 0 {
                    file.set_len(0)?;
                    notes.push(noted("torn", size));
                }
                let previous = match files.iter().rev().nth(1) {
                    Some((_, before)) => last_checksum(before)?,
                    None => None,
                };
                self.current = Some(self.begin(file, *number, previous)?);
            }
            Tail::Damaged => {
                notes.push(noted("damaged", size));
                drop(file);
                self.remove_old(self.options.keep - 1)?;
                let next = number.checked_add(1).ok_or(io::ErrorKind::InvalidInput)?;
                self.current = Some(self.create(next, None)?);
            }
        }
        Ok(notes)
    }
}

/// Writes `line` as JSON into `into`. There must be room for the checksum.
fn encode(into: &mut Vec<u8>, line: &impl Serialize) -> io::Result<()> {
    into.clear();
    serde_json::to_writer(&mut *into, line)?;
    if into.len() + SEAL + 1 > MAX_LINE {
        return Err(io::Error::other(format!(
            "a line of {} bytes is over {MAX_LINE}",
            into.len()
        )));
    }
    Ok(())
}

/// Two writers would tear each other's entries.
fn lock(file: &File) -> io::Result<()> {
    flock(file, FlockOperation::NonBlockingLockExclusive).map_err(|e| {
        if e == rustix::io::Errno::WOULDBLOCK {
            io::Error::other("another process writes this log; is partgate running twice?")
        } else {
            e.into()
        }
    })
}

fn tail(file: &mut File, size: u64) -> io::Result<Tail> {
    let from = size.saturating_sub(TAIL);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::with_capacity((size - from) as usize);
    file.take(size - from).read_to_end(&mut bytes)?;
    let Some(end) = bytes.iter().rposition(|&b| b == b'\n') else {
        // Only a first entry can be torn with no entry before it.
        return Ok(if from == 0 && size < MAX_LINE as u64 {
            Tail::Empty
        } else {
            Tail::Damaged
        });
    };
    let length = from + end as u64 + 1;
    if bytes.len() - end > MAX_LINE {
        return Ok(Tail::Damaged);
    }
    let mut lines = bytes[..end].rsplit(|&b| b == b'\n');
    let (last, before) = (lines.next().unwrap_or_default(), lines.next());
    let Some((json, chain)) = chain::split(last) else {
        return Ok(Tail::Damaged);
    };
    let hangs = match before {
        Some(before) => {
            chain::split(before).is_some_and(|(_, sum)| chain::checksum(sum, json) == chain)
        }
        // The first entry states the checksum that it follows.
        None => from == 0 && previous_in(json).is_some_and(|p| chain::checksum(p, json) == chain),
    };
    Ok(if hangs {
        Tail::Sound { length, chain }
    } else {
        Tail::Damaged
    })
}

/// The checksum that a file's first entry follows; None if `json` is not a first entry.
pub(super) fn previous_in(json: &[u8]) -> Option<u32> {
    let value: serde_json::Value = serde_json::from_slice(json).ok()?;
    if value.get("event")?.as_str()? != "log" {
        return None;
    }
    match value.get("previous")? {
        serde_json::Value::Null => Some(START),
        previous => chain::parse_digits(previous.as_str()?.as_bytes()),
    }
}

/// Checksum of the last entry of a closed file; None if the file is damaged.
fn last_checksum(path: &Path) -> io::Result<Option<u32>> {
    let mut file = File::open(path)?;
    let size = file.seek(SeekFrom::End(0))?;
    Ok(match tail(&mut file, size)? {
        Tail::Sound { length, chain } if length == size => Some(chain),
        _ => None,
    })
}
