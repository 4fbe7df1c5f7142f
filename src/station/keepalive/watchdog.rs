//! The hardware watchdog: a timer that resets the board unless the device file is written to.

use super::{KeepaliveError, Pace};
use crate::time::{Duration, Instant};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Assumed if the driver does not report its own; shorter than the timeout of any driver in use.
const UNKNOWN_TIMEOUT: Duration = Duration::from_secs(4);

/// The letter that disarms the device when it is closed.
const DISARM: &[u8] = b"V";

/// An armed hardware watchdog. Dropping it leaves it armed.
#[derive(Debug)]
pub(super) struct Watchdog {
    device: File,
    path: PathBuf,
    timeout: Option<Duration>,
    /// The driver does not allow disarming.
    no_way_out: bool,
    pace: Pace,
}

impl Watchdog {
    /// Opens the device, which arms it. Its timeout is read, not set: setting it takes an ioctl for
    /// which this program would need unsafe code. `wdctl --settimeout SECONDS` sets it beforehand.
    pub(super) fn open(path: &Path) -> Result<Self, KeepaliveError> {
        let device = OpenOptions::new().write(true).open(path);
        let device = device.map_err(|source| KeepaliveError::Open {
            path: path.into(),
            problem: match source.kind() {
                ErrorKind::NotFound => {
                    "no such watchdog; is its driver loaded (`softdog` if there is no hardware)?"
                }
                ErrorKind::PermissionDenied => {
                    "may not be opened by this user; the udev rule in board/udev gives it to group `partgate`"
                }
                ErrorKind::ResourceBusy => {
                    "is held by another program; systemd holds it when RuntimeWatchdogSec is set in system.conf"
                }
                _ => "cannot be opened",
            },
            source,
        })?;
        let attributes = attributes(&device, path);
        let read = |name| std::fs::read_to_string(attributes.as_ref()?.join(name)).ok();
        let timeout = read("timeout")
            .and_then(|text| text.trim().parse().ok())
            .filter(|seconds| (1..=86_400).contains(seconds))
            .map(Duration::from_secs);
        Ok(Self {
            device,
            path: path.into(),
            timeout,
            no_way_out: read("nowayout").is_some_and(|text| text.trim() == "1"),
            pace: Pace::new(timeout.unwrap_or(UNKNOWN_TIMEOUT)),
        })
    }

    pub(super) fn kick(&mut self, now: Instant) -> Result<(), KeepaliveError> {
        if !self.pace.due(now) {
            return Ok(());
        }
        // Every letter but the disarming one.
        self.write(b"\0")
    }

    pub(super) fn disarm(mut self) -> Result<(), KeepaliveError> {
        if self.no_way_out {
            log::warn!(
                "{}: its driver never disarms (nowayout); the board is reset unless this program starts again in time",
                self.path.display()
            );
        }
        self.write(DISARM)
    }

    fn write(&mut self, letter: &[u8]) -> Result<(), KeepaliveError> {
        match self.device.write_all(letter) {
            Ok(()) => Ok(()),
            Err(source) => Err(KeepaliveError::Kick {
                path: self.path.clone(),
                source,
            }),
        }
    }

    pub(super) fn describe(&self) -> String {
        let path = self.path.display();
        let way_out = if self.no_way_out {
            ", and cannot be disarmed"
        } else {
            ""
        };
        match self.timeout {
            Some(timeout) => format!("{path} resets the board after {timeout:?}{way_out}"),
            None => format!(
                "{path} resets the board after a time that its driver does not report; kicked as if after {UNKNOWN_TIMEOUT:?}{way_out}"
            ),
        }
    }
}

/// The folder in which the kernel describes the device. `/dev/watchdog` is another name of the first
/// device and is described there.
fn attributes(device: &File, path: &Path) -> Option<PathBuf> {
    let number = device.metadata().ok()?.rdev();
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    let own = PathBuf::from(format!("/sys/dev/char/{major}:{minor}"));
    if own.join("timeout").exists() {
        return Some(own);
    }
    let first = PathBuf::from("/sys/class/watchdog/watchdog0");
    (path == Path::new("/dev/watchdog") && first.exists()).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::super::Keepalive;
    use super::*;

    #[test]
    fn kicks_are_written_and_only_the_orderly_end_disarms() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("watchdog");
        std::fs::write(&path, "").unwrap();
        let mut alive = Keepalive::with(|_| None, Some(&path)).unwrap();
        assert!(alive.watched());
        assert!(
            alive.describe().contains("watchdog"),
            "{}",
            alive.describe()
        );
        // Four times in the assumed four seconds.
        for ms in 0..4_000 {
            alive.kick(Instant::from_millis(ms)).unwrap();
        }
        assert_eq!(std::fs::read(&path).unwrap(), b"\0\0\0\0");
        drop(alive);
        assert_eq!(std::fs::read(&path).unwrap(), b"\0\0\0\0", "still armed");

        std::fs::write(&path, "").unwrap();
        let mut alive = Keepalive::with(|_| None, Some(&path)).unwrap();
        alive.kick(Instant(0)).unwrap();
        alive.end().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"\0V");
    }

    #[test]
    fn a_watchdog_that_is_not_there_or_takes_nothing_is_named() {
        let error = Keepalive::with(|_| None, Some(Path::new("/no/watchdog"))).unwrap_err();
        assert!(
            error.to_string().contains("/no/watchdog: no such"),
            "{error}"
        );
        // Can be opened, refuses every write.
        let mut full = Keepalive::with(|_| None, Some(Path::new("/dev/full"))).unwrap();
        let error = full.kick(Instant(0)).unwrap_err();
        assert!(error.to_string().contains("/dev/full"), "{error}");
    }
}
