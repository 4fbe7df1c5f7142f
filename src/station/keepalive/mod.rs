//! Kicks the watchers of this process: systemd and the hardware watchdog.
//!
//! The gate thread calls [`Keepalive::kick`], and only while the inspector works, the outputs can be
//! set and the camera's thread runs (a lost camera is no reason to reset a board: docs/line.md,
//! Watchdogs). If any of these hangs, the kicks stop. systemd then restarts the service. The hardware
//! watchdog, which works without the kernel, resets the board. Both leave the outputs to the wiring,
//! which must stop the line (docs/wiring.md).

mod service;
mod watchdog;

use crate::time::{Duration, Instant};
use std::path::{Path, PathBuf};
use thiserror::Error;

use service::Service;
use watchdog::Watchdog;

/// Kicks per timeout of a watchdog: it may miss three.
const KICKS_PER_TIMEOUT: u64 = 4;

/// Why a watcher cannot be reached.
#[derive(Debug, Error)]
pub enum KeepaliveError {
    /// A variable of systemd's has a value that systemd never sets.
    #[error("environment variable {name} is {value:?}, which is no {expected}")]
    Environment {
        /// Name of the variable.
        name: &'static str,
        /// Its value, cut to a length fit for a message.
        value: String,
        /// What it must be.
        expected: &'static str,
    },
    /// The notification socket cannot be used.
    #[error(
        "{socket}: systemd cannot be notified; does the unit set NotifyAccess=all, for a process that is not its first?"
    )]
    Notify {
        /// Value of NOTIFY_SOCKET.
        socket: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The watchdog cannot be opened.
    #[error("{}: {}", path.display(), problem)]
    Open {
        /// The device.
        path: PathBuf,
        /// What is wrong, and the fix if one is known.
        problem: &'static str,
        /// The system's error.
        source: std::io::Error,
    },
    /// The watchdog does not take kicks.
    #[error("{}: cannot be kicked; the board will be reset when its time runs out", path.display())]
    Kick {
        /// The device.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
}

/// The watchers of this process. Only the gate's thread has it.
///
/// Dropping it sends nothing: a hardware watchdog keeps running, so that it resets the board after a
/// crash. [`Keepalive::end`] is the orderly end.
#[derive(Debug)]
pub struct Keepalive {
    service: Option<Service>,
    watchdog: Option<Watchdog>,
}

/// When to kick next.
#[derive(Clone, Copy, Debug)]
struct Pace {
    every: Duration,
    next: Instant,
}

impl Pace {
    fn new(timeout: Duration) -> Self {
        Self {
            every: timeout / KICKS_PER_TIMEOUT,
            next: Instant(0),
        }
    }

    /// True if a kick is due. The next one is then due a period later, even if this one fails.
    fn due(&mut self, now: Instant) -> bool {
        if now < self.next {
            return false;
        }
        self.next = now.after(self.every);
        true
    }
}

impl Keepalive {
    /// The watchers that the environment names (`NOTIFY_SOCKET` and `WATCHDOG_USEC`, as systemd sets
    /// them), and the hardware watchdog `device` if given. **Opening that device starts it.** Without
    /// any watcher no method does anything.
    ///
    /// # Errors
    /// [`KeepaliveError`] that names the variable, socket or device and the fix.
    pub fn new(device: Option<&Path>) -> Result<Self, KeepaliveError> {
        Self::with(|name| std::env::var_os(name), device)
    }

    /// As [`Keepalive::new`], with another environment.
    ///
    /// # Errors
    /// As [`Keepalive::new`].
    pub fn with(
        variable: impl Fn(&str) -> Option<std::ffi::OsString>,
        device: Option<&Path>,
    ) -> Result<Self, KeepaliveError> {
        // What can fail without consequences comes first: once the device is open, it needs kicks.
        let service = Service::from_environment(&variable)?;
        let watchdog = device.map(Watchdog::open).transpose()?;
        Ok(Self { service, watchdog })
    }

    /// Kicks begin only after `at_most`, because a product is being loaded. Asks systemd to wait for
    /// this long, and kicks every watcher once. A hardware watchdog with a shorter timeout resets the
    /// board.
    ///
    /// # Errors
    /// [`KeepaliveError`] of the watcher that failed.
    pub fn loading(&mut self, at_most: Duration, now: Instant) -> Result<(), KeepaliveError> {
        let service = self.service.as_ref().map_or(Ok(()), |s| s.wait(at_most));
        self.kick(now).and(service)
    }

    /// The gate runs: reports to systemd that the start is over and that kicks follow, with a status
    /// for `systemctl status`.
    ///
    /// # Errors
    /// [`KeepaliveError::Notify`].
    pub(crate) fn serving(&self, status: &str) -> Result<(), KeepaliveError> {
        if let Some(service) = &self.service {
            service.wait_as_usual()?;
        }
        self.tell("READY=1\n", status)
    }

    /// The status for `systemctl status`. Line breaks become spaces, and it is cut to
    /// 256 bytes.
    ///
    /// # Errors
    /// [`KeepaliveError::Notify`].
    pub fn status(&self, status: &str) -> Result<(), KeepaliveError> {
        self.tell("", status)
    }

    fn tell(&self, what: &str, status: &str) -> Result<(), KeepaliveError> {
        match &self.service {
            Some(service) => service.tell(what, status),
            None => Ok(()),
        }
    }

    /// The gate is alive, and what it depends on works. Call it as often as convenient: each watcher is
    /// kicked four times per timeout. Takes no memory unless it fails, and does not wait.
    ///
    /// # Errors
    /// [`KeepaliveError`] of the watcher that failed; the other one was kicked all the same. Continue:
    /// the next kick tries again.
    pub fn kick(&mut self, now: Instant) -> Result<(), KeepaliveError> {
        let service = match &mut self.service {
            Some(service) => service.kick(now),
            None => Ok(()),
        };
        let watchdog = match &mut self.watchdog {
            Some(watchdog) => watchdog.kick(now),
            None => Ok(()),
        };
        service.and(watchdog)
    }

    /// Whether there is a watcher.
    pub fn watched(&self) -> bool {
        self.watchdog.is_some() || self.service.as_ref().is_some_and(Service::watches)
    }

    /// The watchers and their timeouts, for logs and `doctor`.
    pub fn describe(&self) -> String {
        let service = self.service.as_ref().map(Service::describe);
        let watchdog = self.watchdog.as_ref().map(Watchdog::describe);
        let both: Vec<String> = service.into_iter().chain(watchdog).collect();
        if both.is_empty() {
            "no watchdog watches this process".into()
        } else {
            both.join("; ")
        }
    }

    /// The orderly end: disarms the hardware watchdog if its driver allows that.
    ///
    /// # Errors
    /// [`KeepaliveError::Kick`]: the watchdog could not be disarmed and will reset the board.
    pub fn end(self) -> Result<(), KeepaliveError> {
        match self.watchdog {
            Some(watchdog) => watchdog.disarm(),
            None => Ok(()),
        }
    }
}

/// The longest status, bytes.
pub(crate) const LONGEST_STATUS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_watchers_everything_does_nothing() {
        let mut alive = Keepalive::with(|_| None, None).unwrap();
        assert!(!alive.watched());
        alive.loading(Duration::from_secs(30), Instant(1)).unwrap();
        alive.serving("running").unwrap();
        alive.kick(Instant(5)).unwrap();
        assert_eq!(alive.describe(), "no watchdog watches this process");
        alive.end().unwrap();
    }

    #[test]
    fn the_pace_is_a_quarter_of_the_timeout_and_never_faster() {
        let mut pace = Pace::new(Duration::from_millis(400));
        let kicks = (0..1000)
            .filter(|ms| pace.due(Instant::from_millis(*ms)))
            .collect::<Vec<u64>>();
        assert_eq!(kicks, [0, 100, 200, 300, 400, 500, 600, 700, 800, 900]);
        // After a long pause one kick, not all that were missed.
        assert!(pace.due(Instant::from_millis(9_000)));
        assert!(!pace.due(Instant::from_millis(9_099)));
    }
}
