//! An alarm stays latched until a person acknowledges it, whatever happens to the process that
//! raised it. A file beside the event log states as text whether an alarm is latched.
//!
//! The file exists after the first run of a line. It is kept open and written in place, so a disk
//! without space or inodes does not matter. If it is missing or cannot be read, it is unknown
//! whether there is an alarm, which is not the same as no alarm. The file also states when a
//! challenge was last passed.

use crate::line::devices::LatchedAlarm;
use crate::record::Utc;
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Text before the time of the last passed challenge.
const CHALLENGE: &str = " Challenge passed: ";

/// The file always has this size in bytes, so writing it in place needs no new block.
const SIZE: usize = 256;

/// The latched alarm, on disk.
#[derive(Debug)]
pub struct AlarmLatch {
    path: PathBuf,
    file: Option<File>,
    /// What the file should contain.
    wanted: Option<LatchedAlarm>,
    /// When a challenge was last passed, in seconds since 1970.
    challenge: Option<u64>,
    /// Whether the file contains it.
    written: bool,
    stated: bool,
}

impl AlarmLatch {
    /// The file `alarm` in the folder `record`.
    pub fn new(record: &Path) -> Self {
        Self {
            path: record.join("alarm"),
            file: None,
            wanted: None,
            challenge: None,
            written: false,
            stated: false,
        }
    }

    /// Path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The alarm in the file; [`LatchedAlarm::Unknown`] if the file is missing, empty or cannot be
    /// read.
    pub fn read(&self) -> LatchedAlarm {
        let Ok(bytes) = std::fs::read(&self.path) else {
            return LatchedAlarm::Unknown;
        };
        let text = String::from_utf8_lossy(&bytes);
        if text.starts_with("No alarm stands.") {
            return LatchedAlarm::None;
        }
        let named = |alarm: &LatchedAlarm| text.starts_with(beginning(*alarm));
        // An earlier version wrote a file when an alarm was raised, and removed it later.
        let old = || text.starts_with("An alarm was raised.");
        let known = LatchedAlarm::ALL.into_iter().find(named);
        known.unwrap_or(if old() {
            LatchedAlarm::Rejects
        } else {
            LatchedAlarm::Unknown
        })
    }

    /// When a challenge was last passed, in seconds since 1970; None if the file does not state
    /// it.
    pub fn challenge(&self) -> Option<u64> {
        let bytes = std::fs::read(&self.path).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        let (_, after) = text.split_once(CHALLENGE)?;
        let (_, seconds) = after.split_once(" = ")?;
        seconds.split_once(' ')?.0.parse().ok()
    }

    /// Writes the latched `alarm` and the time of the last passed challenge, in seconds since
    /// 1970. A failure is logged once; `tick` tries again.
    pub fn set(&mut self, alarm: LatchedAlarm, challenge: Option<u64>) {
        self.wanted = Some(alarm);
        self.challenge = challenge;
        self.written = false;
        self.tick();
    }

    /// Writes what could not be written before, and creates the file again if the next start would
    /// not find it: somebody removed it, replaced it, or unmounted its folder.
    pub(super) fn tick(&mut self) {
        let Some(alarm) = self.wanted else {
            return;
        };
        if self.file.as_ref().is_some_and(|file| !self.is_found(file)) {
            self.file = None;
            self.written = false;
        }
        if self.written {
            return;
        }
        match self.write(alarm) {
            Ok(()) => {
                self.written = true;
                self.stated = false;
            }
            Err(error) if !std::mem::replace(&mut self.stated, true) => {
                log::error!(
                    "{}: cannot be written ({error}); after a new start of the service nobody will know whether an alarm stands, and with alarm.stop_line the line waits for `partgate tell CONFIG acknowledge`",
                    self.path.display()
                );
            }
            Err(_) => {}
        }
    }

    /// Whether the path leads to the open `file`. If the system does not report it, it does.
    fn is_found(&self, file: &File) -> bool {
        let Ok(open) = rustix::fs::fstat(file) else {
            return true;
        };
        match rustix::fs::stat(&self.path) {
            Ok(found) => (found.st_dev, found.st_ino) == (open.st_dev, open.st_ino),
            Err(Errno::NOENT | Errno::NOTDIR) => false,
            Err(_) => true,
        }
    }

    fn write(&mut self, alarm: LatchedAlarm) -> io::Result<()> {
        let new = self.file.is_none();
        let file = match self.file.take() {
            Some(file) => file,
            None => {
                let folder = self.path.parent().unwrap_or(Path::new("."));
                std::fs::create_dir_all(folder)?;
                let mut options = OpenOptions::new();
                options.write(true).create(true).truncate(false);
                options.open(&self.path)?
            }
        };
        let file = self.file.insert(file);
        file.write_all_at(&text(alarm, self.challenge), 0)?;
        if new {
            // Size and name must survive a power cut too.
            file.set_len(SIZE as u64)?;
            file.sync_all()?;
            let folder = self.path.parent().unwrap_or(Path::new("."));
            return File::open(folder)?.sync_all();
        }
        file.sync_data()
    }
}

fn beginning(alarm: LatchedAlarm) -> &'static str {
    match alarm {
        LatchedAlarm::None => "No alarm stands.",
        LatchedAlarm::Rejects => "An alarm stands: rejects.",
        LatchedAlarm::Restarts => "An alarm stands: restarts.",
        LatchedAlarm::Unknown => "An alarm stands: unknown.",
        LatchedAlarm::Challenge => "An alarm stands: challenge.",
    }
}

fn text(alarm: LatchedAlarm, challenge: Option<u64>) -> [u8; SIZE] {
    let more = match alarm {
        LatchedAlarm::None => " partgate writes over this file when one is raised.",
        LatchedAlarm::Rejects => {
            " Too many parts were rejected. `partgate tell CONFIG acknowledge` when somebody has looked."
        }
        LatchedAlarm::Restarts => {
            " The vision process was started again too often. `partgate tell CONFIG acknowledge` when somebody has looked."
        }
        LatchedAlarm::Unknown => {
            " This file was missing or could not be read at a start. `partgate tell CONFIG acknowledge` when somebody has looked."
        }
        LatchedAlarm::Challenge => {
            " A known-bad part has to be rejected: `partgate tell CONFIG challenge`, the part, then acknowledge."
        }
    };
    let mut bytes = [b' '; SIZE];
    let mut rest = &mut bytes[..];
    // All texts fit. A longer one would be cut.
    let _ = write!(rest, "{}{more}", beginning(alarm));
    if let Some(seconds) = challenge {
        let at = Utc::from_unix_millis(seconds.saturating_mul(1_000).cast_signed());
        let _ = write!(rest, "{CHALLENGE}{at} = {seconds} s since 1970.");
    }
    bytes[SIZE - 1] = b'\n';
    bytes
}

/// The latched alarm at the start of a vision process. What the previous process reported to the
/// supervisor counts more than the file. If it is unknown, a line is stopped if its alarms stop
/// it.
pub fn standing_at_start(
    file: LatchedAlarm,
    stated: Option<LatchedAlarm>,
    stop_line: bool,
) -> LatchedAlarm {
    match stated.unwrap_or(file) {
        LatchedAlarm::Unknown if !stop_line => LatchedAlarm::None,
        standing => standing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn what_was_raised_stands_until_it_is_acknowledged_and_nothing_new_is_needed_on_disk() {
        let folder = tempfile::tempdir().unwrap();
        let record = folder.path().join("record");
        let mut latch = AlarmLatch::new(&record);
        assert_eq!(latch.read(), LatchedAlarm::Unknown, "no file");
        latch.set(LatchedAlarm::None, None);
        let before = std::fs::metadata(latch.path()).unwrap();
        for alarm in LatchedAlarm::ALL {
            // The last time is in the year 9999.
            for challenge in [None, Some(1_764_417_600), Some(253_402_300_799)] {
                latch.set(alarm, challenge);
                let read = AlarmLatch::new(&record);
                assert_eq!((read.read(), read.challenge()), (alarm, challenge));
                let text = std::fs::read_to_string(read.path()).unwrap();
                assert!(text.ends_with(" \n"), "all of it has room: {text:?}");
            }
        }
        latch.set(LatchedAlarm::None, None);
        assert_eq!(AlarmLatch::new(&record).read(), LatchedAlarm::None);
        let after = std::fs::metadata(latch.path()).unwrap();
        assert_eq!(
            (before.ino(), before.blocks(), before.len()),
            (after.ino(), after.blocks(), after.len())
        );
    }

    #[test]
    fn not_to_know_is_not_no_alarm() {
        let folder = tempfile::tempdir().unwrap();
        let latch = AlarmLatch::new(folder.path());
        for (text, says) in [
            (
                "An alarm was raised. `partgate tell CONFIG acknowledge` removes this file.\n",
                LatchedAlarm::Rejects,
            ),
            ("", LatchedAlarm::Unknown),
            ("\0\0\0\0", LatchedAlarm::Unknown),
            ("No alarm stands.", LatchedAlarm::None),
        ] {
            std::fs::write(latch.path(), text).unwrap();
            assert_eq!(latch.read(), says, "{text:?}");
        }
        let (none, rejects, unknown) = (
            LatchedAlarm::None,
            LatchedAlarm::Rejects,
            LatchedAlarm::Unknown,
        );
        assert_eq!(standing_at_start(unknown, None, true), unknown);
        assert_eq!(standing_at_start(unknown, None, false), none);
        assert_eq!(standing_at_start(unknown, Some(none), true), none);
        assert_eq!(standing_at_start(none, Some(rejects), true), rejects);
        assert_eq!(standing_at_start(rejects, None, false), rejects);
        // Acknowledged, and then the disk could not be written.
        assert_eq!(standing_at_start(rejects, Some(none), true), none);
    }

    #[test]
    fn a_file_that_was_removed_under_a_running_line_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let record = folder.path().join("record");
        let mut latch = AlarmLatch::new(&record);
        latch.set(LatchedAlarm::Rejects, Some(7));
        std::fs::remove_dir_all(&record).unwrap();
        assert_eq!(latch.read(), LatchedAlarm::Unknown);
        latch.tick();
        assert_eq!(latch.read(), LatchedAlarm::Rejects);
        // The folder under an unmounted one can have a file of an earlier line.
        std::fs::rename(&record, folder.path().join("elsewhere")).unwrap();
        AlarmLatch::new(&record).set(LatchedAlarm::None, None);
        latch.tick();
        assert_eq!(latch.read(), LatchedAlarm::Rejects);
    }
}
