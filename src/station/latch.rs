//! An alarm stands until a person has looked, whatever becomes of the process that raised it: a file
//! beside the event log says in words whether one stands.
//!
//! The file is there once a line ran. It is kept open and written over in place, so that a disk
//! without room or inodes does not matter; where it is missing or cannot be read, nobody knows, and
//! that is not the same as no alarm. It also says when a challenge was passed last.

use crate::line::devices::LatchedAlarm;
use crate::record::Utc;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Before the time of the challenge that was passed last.
const CHALLENGE: &str = " Challenge passed: ";

/// Always so many bytes, so that writing over them takes no new block.
const SIZE: usize = 256;

/// Whether an alarm stands, on disk.
#[derive(Debug)]
pub struct AlarmLatch {
    path: PathBuf,
    file: Option<File>,
    /// What is to be there.
    wanted: Option<LatchedAlarm>,
    /// When a challenge was passed last, in seconds since 1970.
    challenge: Option<u64>,
    /// Whether it is there.
    written: bool,
    told: bool,
}

impl AlarmLatch {
    /// In the record's folder.
    pub fn new(record: &Path) -> Self {
        Self {
            path: record.join("alarm"),
            file: None,
            wanted: None,
            challenge: None,
            written: false,
            told: false,
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the file says; [`Standing::Unknown`] where it is missing, empty or cannot be read.
    pub fn read(&self) -> LatchedAlarm {
        let Ok(bytes) = std::fs::read(&self.path) else {
            return LatchedAlarm::Unknown;
        };
        let text = String::from_utf8_lossy(&bytes);
        if text.starts_with("No alarm stands.") {
            return LatchedAlarm::None;
        }
        let named = |alarm: &LatchedAlarm| text.starts_with(beginning(*alarm));
        // A version before this one wrote a file when an alarm was raised, and removed it later.
        let old = || text.starts_with("An alarm was raised.");
        let known = LatchedAlarm::ALL.into_iter().find(named);
        known.unwrap_or(if old() {
            LatchedAlarm::Rejects
        } else {
            LatchedAlarm::Unknown
        })
    }

    /// When a challenge was passed last, in seconds since 1970; None where the file does not say.
    pub fn challenge(&self) -> Option<u64> {
        let bytes = std::fs::read(&self.path).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        let (_, after) = text.split_once(CHALLENGE)?;
        let (_, seconds) = after.split_once(" = ")?;
        seconds.split_once(' ')?.0.parse().ok()
    }

    /// Says in the file which `alarm` stands, and when a challenge was passed last, in seconds since
    /// 1970. What fails is told once, and tried again now and then.
    pub fn set(&mut self, alarm: LatchedAlarm, challenge: Option<u64>) {
        self.wanted = Some(alarm);
        self.challenge = challenge;
        self.written = false;
        self.tick();
    }

    /// Writes what could not be written, and makes the file again that somebody removed.
    pub(super) fn tick(&mut self) {
        let Some(alarm) = self.wanted else {
            return;
        };
        let removed = self.file.as_ref().is_some_and(|file| {
            // Where the system does not say, the file is taken to be there.
            rustix::fs::fstat(file).is_ok_and(|stat| stat.st_nlink == 0)
        });
        if removed {
            self.file = None;
            self.written = false;
        }
        if self.written {
            return;
        }
        match self.write(alarm) {
            Ok(()) => {
                self.written = true;
                self.told = false;
            }
            Err(error) if !std::mem::replace(&mut self.told, true) => {
                log::error!(
                    "{}: cannot be written ({error}); after a new start of the service nobody will know whether an alarm stands, and with alarm.stop_line the line waits for `partgate tell CONFIG acknowledge`",
                    self.path.display()
                );
            }
            Err(_) => {}
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
            // Its size, and its name, have to outlive a power cut too.
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
    // All of it has room; what had none would be cut off.
    let _ = write!(rest, "{}{more}", beginning(alarm));
    if let Some(seconds) = challenge {
        let at = Utc::from_unix_millis(seconds.saturating_mul(1_000).cast_signed());
        let _ = write!(rest, "{CHALLENGE}{at} = {seconds} s since 1970.");
    }
    bytes[SIZE - 1] = b'\n';
    bytes
}

/// What stands at the start of a vision process: what the last one told the supervisor weighs more
/// than what the file says. Not to know stops a line whose alarms stop it.
pub fn standing_at_start(
    file: LatchedAlarm,
    told: Option<LatchedAlarm>,
    stop_line: bool,
) -> LatchedAlarm {
    match told.unwrap_or(file) {
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
            // Of the year 9999.
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
        // Acknowledged, and then the disk took nothing.
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
    }
}
