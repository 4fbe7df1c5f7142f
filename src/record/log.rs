//! The event log: one checksummed line for every part and event, written as it happens.
//!
//! A line goes to the kernel with one write, so a killed process loses none; it is on the disk at
//! most a second later. When a line cannot be written it is counted, and once writing works again
//! a `gap` line says how many are missing and why. Nothing here waits for space or gives up for
//! good.

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

/// Version of the lines' meaning, in the first line of every file.
const FORMAT: u32 = 1;
/// A failed write or opening is tried again after this time, so that a dead disk is not hammered.
const PAUSE: Duration = Duration::from_millis(1_000);
/// A written line is pushed to the disk at most so long after it was written, as far as
/// [`EventLog::tick`] is called; leaves half of the promised second for the caller's own pace.
const SYNC_AFTER: Duration = Duration::from_millis(500);
/// Trouble is told on standard error at most so often.
const TELL_EVERY: Duration = Duration::from_millis(60_000);
/// So much of a file's end is looked at when it is opened: room for a torn line and two whole ones.
const TAIL: u64 = 4 * MAX_LINE as u64;

/// Where the log is and how large it may grow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// The folder; made if it is missing.
    pub folder: PathBuf,
    /// A file is closed before it grows over this, bytes; at least [`MAX_LINE`].
    pub max_bytes: u64,
    /// Files that are kept, the one being written included; at least 2.
    pub keep: usize,
}

/// What became of the lines so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogCounts {
    /// Lines that the kernel took.
    pub written: u64,
    /// Lines that are missing.
    pub lost: u64,
    /// Times that the disk could not be brought to keep what was written.
    pub sync_failures: u64,
}

/// First line of a file.
#[derive(Serialize)]
struct Head {
    event: &'static str,
    format: u32,
    file: u64,
    /// Checksum of the last line of the file before.
    previous: Option<String>,
    program: &'static str,
    wall: Utc,
}

/// A line about the log itself.
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
    /// Checksum of the last line.
    chain: u32,
    /// Bytes after `size` that a failed write left and that could not be cut off yet.
    dirty: bool,
}

impl Current {
    /// Writes whole lines, or none of them.
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
                // A full disk takes the beginning of a line; half a line would break the log.
                self.dirty = self.file.set_len(self.size).is_err();
                Err(error)
            }
        }
    }
}

/// How a file ends.
enum Tail {
    /// With a whole line of this checksum, at this length; what comes after is a torn line.
    Sound { length: u64, chain: u32 },
    /// No whole line at all.
    Empty,
    /// With lines that do not hang together.
    Damaged,
}

/// The log. One thread owns it.
#[derive(Debug)]
pub struct EventLog {
    options: LogOptions,
    current: Option<Current>,
    /// Not before this is writing tried again.
    pause_until: Option<Instant>,
    told: Option<Instant>,
    /// Lost since the last gap line.
    gap: u64,
    why: String,
    unsynced_since: Option<Instant>,
    sync_failed: u64,
    counts: LogCounts,
    line: Vec<u8>,
}

impl EventLog {
    /// A log that opens its file when the first line comes. Never fails: a folder that cannot be
    /// written is tried again every second, and what is lost meanwhile is counted.
    pub fn new(options: LogOptions) -> Self {
        Self {
            options: LogOptions {
                max_bytes: options.max_bytes.max(MAX_LINE as u64),
                keep: options.keep.max(2),
                ..options
            },
            current: None,
            pause_until: None,
            told: None,
            gap: 0,
            why: String::new(),
            unsynced_since: None,
            sync_failed: 0,
            counts: LogCounts::default(),
            line: Vec::with_capacity(MAX_LINE),
        }
    }

    /// What became of the lines so far.
    pub fn counts(&self) -> LogCounts {
        self.counts
    }

    /// Whether lines are being lost: something is owed, or the last attempt failed.
    pub fn failing(&self) -> bool {
        self.gap > 0 || self.pause_until.is_some() || self.sync_failed > 0
    }

    /// The file being written.
    pub fn file(&self) -> Option<PathBuf> {
        let number = self.current.as_ref()?.number;
        Some(self.options.folder.join(chain::file_name(number)))
    }

    /// Appends `line`, an object, as JSON. False: it is lost and counted.
    pub fn append(&mut self, line: &impl Serialize, now: Instant) -> bool {
        let written = self.ready(now) && self.try_line(line, now);
        if !written {
            self.lose(1);
        }
        written
    }

    /// Counts `lines` that never came here, because of `why`.
    pub fn missing(&mut self, lines: u64, why: &str) {
        if lines > 0 {
            why.clone_into(&mut self.why);
            self.lose(lines);
        }
    }

    /// To be called a few times a second: writes what is owed, pushes to the disk what is due.
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

    /// Pushes all lines to the disk, and notes when that failed before or the file is gone.
    pub fn sync(&mut self, now: Instant) {
        let pushed = self.push(now);
        if pushed && self.sync_failed > 0 {
            let mut about = About::new("sync_failed");
            about.count = Some(std::mem::take(&mut self.sync_failed));
            about.why = Some("lines before this may be missing after a power cut");
            self.append(&about, now);
        }
        let gone = self.current.as_ref().is_some_and(|c| {
            // Where the system does not say, the file is taken to be there.
            rustix::fs::fstat(&c.file).is_ok_and(|stat| stat.st_nlink == 0)
        });
        if gone {
            // Somebody removed it: lines would go nowhere.
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
        // Asked again at the next round.
        self.unsynced_since = Some(now);
        self.tell(&error, now);
        false
    }

    fn lose(&mut self, lines: u64) {
        self.gap += lines;
        self.counts.lost += lines;
    }

    /// Whether a line may be tried: a file is open, and it has the gap line that is owed.
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
        self.tell(error, now);
    }

    fn tell(&mut self, error: &io::Error, now: Instant) {
        if self.told.is_none_or(|at| now.since(at) >= TELL_EVERY) {
            self.told = Some(now);
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
            // The first line of the new file took the buffer.
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
            // What could not be cut off stays a torn line; the next opening sees to it.
            old.file.set_len(old.size)?;
        }
        self.remove_old(self.options.keep - 1)?;
        match self.create(old.number + 1, Some(old.chain)) {
            Ok(new) => {
                self.current = Some(new);
                Ok(())
            }
            Err(error) => {
                // The old file stays the newest, so the chain goes on from it.
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

    /// File `number` with its first line; nothing is left of it on failure.
    fn create(&mut self, number: u64, previous: Option<u32>) -> io::Result<Current> {
        let path = self.options.folder.join(chain::file_name(number));
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(&path)?;
        let made = self.begin(file, number, previous);
        if made.is_err() {
            // An empty file that stays is no harm: it is taken up at the next opening.
            let _ = std::fs::remove_file(&path);
        }
        made
    }

    /// Locks an empty file and writes its first line.
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
        // The name has to survive a power cut as well.
        File::open(&self.options.folder)?.sync_all()?;
        self.counts.written += 1;
        Ok(current)
    }

    /// Goes on where the newest file ends; returns lines that have to be noted.
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

/// `line` as JSON in `into`, which must leave room for the checksum.
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

/// Two writers would tear each other's lines.
fn lock(file: &File) -> io::Result<()> {
    flock(file, FlockOperation::NonBlockingLockExclusive).map_err(|e| {
        if e == rustix::io::Errno::WOULDBLOCK {
            io::Error::other("another process writes this log; is partgate running twice?")
        } else {
            e.into()
        }
    })
}

/// How `file` of `size` bytes ends.
fn tail(file: &mut File, size: u64) -> io::Result<Tail> {
    let from = size.saturating_sub(TAIL);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::with_capacity((size - from) as usize);
    file.take(size - from).read_to_end(&mut bytes)?;
    let Some(end) = bytes.iter().rposition(|&b| b == b'\n') else {
        // Only a first line may be torn without one before it.
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
        // The first line; it says itself what it hangs on.
        None => from == 0 && previous_in(json).is_some_and(|p| chain::checksum(p, json) == chain),
    };
    Ok(if hangs {
        Tail::Sound { length, chain }
    } else {
        Tail::Damaged
    })
}

/// The checksum that a file's first line says it follows; None where it is no first line.
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

/// Checksum of the last line of a closed file; None where it is damaged.
fn last_checksum(path: &Path) -> io::Result<Option<u32>> {
    let mut file = File::open(path)?;
    let size = file.seek(SeekFrom::End(0))?;
    Ok(match tail(&mut file, size)? {
        Tail::Sound { length, chain } if length == size => Some(chain),
        _ => None,
    })
}
