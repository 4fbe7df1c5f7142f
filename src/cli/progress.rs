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
            let width = terminal_size::terminal_size_of(std::io::stderr())
                .map_or(80, |(width, _)| usize::from(width.0));
            let line = bar(self.what, self.done, self.total, left, width);
            // Work does not stop because its progress cannot be shown.
            let _ = write!(std::io::stderr(), "\r{line}\x1b[K");
            self.shown = Some(Instant::now());
        }
    }
}

/// A line of `width` columns at most: a bar as wide as there is room.
fn bar(what: &str, done: usize, total: usize, left: f64, width: usize) -> String {
    let left = match left.ceil() as u64 {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds => format!("{} min", seconds.div_ceil(60)),
    };
    let (head, tail) = (
        format!("{what} ["),
        format!("] {done}/{total}, {left} left"),
    );
    // The last column stays free: some terminals wrap when it is written.
    let room = width.saturating_sub(head.len() + tail.len() + 1);
    if room < 4 {
        return format!("{done}/{total}")
            .chars()
            .take(width.saturating_sub(1))
            .collect();
    }
    let full = (room * done.min(total)).checked_div(total).unwrap_or(0);
    format!(
        "{head}{}{}{tail}",
        "=".repeat(full),
        " ".repeat(room - full)
    )
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_wide_as_the_terminal() {
        for width in [0, 5, 20, 40, 80, 213] {
            for done in [1, 50, 100] {
                let line = bar("inspecting", done, 100, 12.3, width);
                assert!(line.len() < width.max(1), "{width}: {line}");
                if width >= 80 {
                    assert_eq!(line.len(), width - 1);
                    let inside = line.split(['[', ']']).nth(1).expect("a bar");
                    let (full, room) = (inside.matches('=').count(), inside.len());
                    assert!((full * 100).abs_diff(done * room) <= 100, "{line}");
                }
            }
        }
        assert!(bar("x", 1, 9, 12.3, 80).ends_with("] 1/9, 13 s left"));
        assert!(bar("x", 1, 9, 121.0, 80).ends_with("3 min left"));
        assert!(!bar("x", 0, 0, 0.0, 80).is_empty());
    }
}
