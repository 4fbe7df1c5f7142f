//! Progress on standard error with the time left, for work of more than two seconds. Nothing is
//! printed if standard error is not a terminal.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

const SILENT_FOR: Duration = Duration::from_secs(2);
const BETWEEN: Duration = Duration::from_millis(200);

/// Progress of `total` similar steps.
pub(crate) struct Progress {
    what: &'static str,
    total: usize,
    done: usize,
    started: Instant,
    shown: Option<Instant>,
    visible: bool,
}

impl Progress {
    pub(crate) fn new(what: &'static str, total: usize) -> Self {
        Self {
            what,
            total,
            done: 0,
            started: Instant::now(),
            shown: None,
            visible: std::io::stderr().is_terminal(),
        }
    }

    /// Prints nothing if `may` is false.
    pub(crate) fn only_if(&mut self, may: bool) {
        self.visible &= may;
    }

    pub(crate) fn step(&mut self) {
        self.done += 1;
        let elapsed = self.started.elapsed();
        let due = self.shown.is_none_or(|at| at.elapsed() >= BETWEEN);
        if self.visible && due && elapsed >= SILENT_FOR {
            let left = elapsed.as_secs_f64() / self.done as f64
                * self.total.saturating_sub(self.done) as f64;
            // Work does not stop because its progress cannot be shown.
            let _ = write!(
                std::io::stderr(),
                "\r{}: {} of {}, {left:.0} s left\x1b[K",
                self.what,
                self.done,
                self.total
            );
            self.shown = Some(Instant::now());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
