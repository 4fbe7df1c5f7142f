//! Telling whoever watches that the gate lives: systemd, and the hardware watchdog.
//!
//! The gate thread calls [`Keepalive::kick`], and only while the inspector works, the outputs can be set
//! and the camera's thread goes round (a camera that is gone is no reason to reset a board:
//! docs/line.md, Watchdogs). Whatever hangs, the kicks stop: systemd then restarts the service, and the hardware
//! watchdog, which does not need a working kernel, resets the board. Both leave the output lines to
//! the wiring, which must stop the line (docs/wiring.md).

mod service;
mod watchdog;

use crate::time::{Duration, Instant};
use std::path::{Path, PathBuf};
use thiserror::Error;

use service::Service;
use watchdog::Watchdog;

/// Kicks in the time that a watchdog allows: it may miss three before it bites.
const KICKS_PER_TIMEOUT: u64 = 4;

/// Why the watchers cannot be told.
#[derive(Debug, Error)]
pub enum KeepaliveError {
    /// A variable that systemd sets holds what it never sets.
    #[error("environment variable {name} is {value:?}, which is no {expected}")]
    Environment {
        /// Variable.
        name: &'static str,
        /// As found, cut to a length fit for a message.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// The notification socket cannot be used.
    #[error(
        "{socket}: systemd cannot be notified; does the unit say NotifyAccess=all, for a process that is not its first?"
    )]
    Notify {
        /// NOTIFY_SOCKET.
        socket: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The watchdog cannot be opened.
    #[error("{}: {}", path.display(), problem)]
    Open {
        /// The device.
        path: PathBuf,
        /// What is off, and the fix where one is known.
        problem: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The watchdog does not take kicks.
    #[error("{}: cannot be kicked; the board will be reset when its time runs out", path.display())]
    Kick {
        /// The device.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// The watchers of this process. One thread, the gate's, owns it.
///
/// Dropping it tells nobody anything: a watchdog that runs goes on running, so that a crash is
/// answered. [`Keepalive::end`] is the orderly way out.
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

    /// True when a kick is due; the next one is then a while off, whatever comes of this one.
    fn due(&mut self, now: Instant) -> bool {
        if now < self.next {
            return false;
        }
        self.next = now.after(self.every);
        true
    }
}

impl Keepalive {
    /// The watchers that the environment names (`NOTIFY_SOCKET`, `WATCHDOG_USEC`, as systemd sets
    /// them), and the hardware watchdog `device` if given. **Opening that device starts it.** Without
    /// any watcher everything here does nothing.
    ///
    /// # Errors
    /// [`KeepaliveError`] that names the variable, socket or device and the fix.
    pub fn new(device: Option<&Path>) -> Result<Self, KeepaliveError> {
        Self::with(|name| std::env::var_os(name), device)
    }

    /// As [`Keepalive::new`] with another environment.
    ///
    /// # Errors
    /// As there.
    pub fn with(
        variable: impl Fn(&str) -> Option<std::ffi::OsString>,
        device: Option<&Path>,
    ) -> Result<Self, KeepaliveError> {
        // First what can fail without consequences: the device, once open, wants kicks.
        let service = Service::from_environment(&variable)?;
        let watchdog = device.map(Watchdog::open).transpose()?;
        Ok(Self { service, watchdog })
    }

    /// Kicks begin only after `at_most`: a product is being loaded. Tells systemd to wait for so long,
    /// and kicks everyone once. A hardware watchdog with less time than that resets the board.
    ///
    /// # Errors
    /// [`KeepaliveError`] of the watcher that did not take it.
    pub fn loading(&mut self, at_most: Duration, now: Instant) -> Result<(), KeepaliveError> {
        let service = self.service.as_ref().map_or(Ok(()), |s| s.wait(at_most));
        self.kick(now).and(service)
    }

    /// The gate runs: tells systemd that the start is over and that kicks come from now on, with a
    /// line for `systemctl status`.
    ///
    /// # Errors
    /// [`KeepaliveError::Notify`].
    pub fn serving(&self, status: &str) -> Result<(), KeepaliveError> {
        if let Some(service) = &self.service {
            service.wait_as_usual()?;
        }
        self.tell("READY=1\n", status)
    }

    /// A line for `systemctl status`. Output breaks become spaces, and it is cut to
    /// [`LONGEST_STATUS`] bytes.
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

    /// The gate lives, and what it depends on is fresh. Call it as often as convenient: each watcher
    /// is kicked four times in its timeout. Takes no memory unless it fails, and does not wait.
    ///
    /// # Errors
    /// [`KeepaliveError`] of the watcher that did not take it; the other one was kicked all the
    /// same. Going on is right: kicks are tried again.
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

    /// Whether anybody has to be kicked.
    pub fn watched(&self) -> bool {
        self.watchdog.is_some() || self.service.as_ref().is_some_and(Service::watches)
    }

    /// Who watches and how long they wait, for logs and `doctor`.
    pub fn describe(&self) -> String {
        let service = self.service.as_ref().map(Service::describe);
        let watchdog = self.watchdog.as_ref().map(Watchdog::describe);
        let both: Vec<String> = service.into_iter().chain(watchdog).collect();
        if both.is_empty() {
            "nobody watches this process".into()
        } else {
            both.join("; ")
        }
    }

    /// The orderly end: disarms the hardware watchdog, where its driver lets it be disarmed.
    ///
    /// # Errors
    /// [`KeepaliveError::Kick`]: it could not be told and will reset the board.
    pub fn end(self) -> Result<(), KeepaliveError> {
        match self.watchdog {
            Some(watchdog) => watchdog.disarm(),
            None => Ok(()),
        }
    }
}

/// The longest status line, bytes.
pub const LONGEST_STATUS: usize = 256;

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
        assert_eq!(alive.describe(), "nobody watches this process");
        alive.end().unwrap();
    }

    #[test]
    fn the_pace_is_a_quarter_of_the_timeout_and_never_faster() {
        let mut pace = Pace::new(Duration::from_millis(400));
        let kicks = (0..1000)
            .filter(|ms| pace.due(Instant::from_millis(*ms)))
            .collect::<Vec<u64>>();
        assert_eq!(kicks, [0, 100, 200, 300, 400, 500, 600, 700, 800, 900]);
        // After a long silence one kick, not all that were missed.
        assert!(pace.due(Instant::from_millis(9_000)));
        assert!(!pace.due(Instant::from_millis(9_099)));
    }
}
