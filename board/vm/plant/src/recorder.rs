//! Records every change of a pin with the kernel's time, by probes in the gpio-sim driver.
//!
//! Reading levels in a loop would miss pulses that are shorter than the loop. The probes see each
//! call of the driver, so even a pulse of one microsecond on PASS is recorded.

use crate::pins::NAMES;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Error, Result};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

const TRACING: &str = "/sys/kernel/tracing";

/// Calls of the driver that are recorded.
const PROBES: &str = "\
p:plant/set gpio_sim_set line=$arg2:u32 value=$arg3:u32
p:plant/set_multiple gpio_sim_set_multiple mask=+0($arg2):x64 bits=+0($arg3):x64
p:plant/output gpio_sim_direction_output line=$arg2:u32 value=$arg3:u32
p:plant/release gpio_sim_free line=$arg2:u32
p:plant/pull gpio_sim_apply_pull line=$arg2:u32 value=$arg3:u32
";

/// A change of a pin's level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// CLOCK_MONOTONIC, microseconds.
    pub at: u64,
    /// Offset of the pin.
    pub line: usize,
    /// Its new level.
    pub up: bool,
}

/// Levels of all pins, as the probes report them.
#[derive(Default)]
struct Levels {
    up: [bool; NAMES.len()],
    pulled_up: [bool; NAMES.len()],
    output: [bool; NAMES.len()],
}

impl Levels {
    /// Reads one line of the kernel's trace, and appends the changes that it contains.
    fn take(&mut self, text: &str, changes: &mut Vec<Change>) -> Option<()> {
        // "  partgate-98  [001] .....  12.345678: set: (gpio_sim_set+0x0/0x40 [gpio_sim]) line=2 value=1"
        let (head, values) = text.split_once(": (")?;
        let (head, event) = head.rsplit_once(": ")?;
        let (seconds, fraction) = head.rsplit_once(' ')?.1.split_once('.')?;
        let at = seconds.parse::<u64>().ok()? * 1_000_000 + fraction.parse::<u64>().ok()?;
        let value = |key: &str| {
            let text = values
                .split_whitespace()
                .find_map(|word| word.strip_prefix(key)?.strip_prefix('='))?;
            match text.strip_prefix("0x") {
                Some(hex) => u64::from_str_radix(hex, 16).ok(),
                None => text.parse().ok(),
            }
        };
        let mut goes = |line: usize, up: bool, levels: &mut Self| {
            if let Some(level) = levels.up.get_mut(line)
                && *level != up
            {
                *level = up;
                changes.push(Change { at, line, up });
            }
        };
        if event == "set_multiple" {
            let (mask, bits) = (value("mask")?, value("bits")?);
            for line in (0..NAMES.len()).filter(|line| mask >> line & 1 == 1) {
                goes(line, bits >> line & 1 == 1, self);
            }
            return Some(());
        }
        let line = usize::try_from(value("line")?)
            .ok()
            .filter(|&line| line < NAMES.len())?;
        match event {
            "set" => goes(line, value("value")? != 0, self),
            "output" => {
                self.output[line] = true;
                goes(line, value("value")? != 0, self);
            }
            "release" => {
                self.output[line] = false;
                goes(line, self.pulled_up[line], self);
            }
            "pull" => {
                self.pulled_up[line] = value("value")? != 0;
                if !self.output[line] {
                    goes(line, self.pulled_up[line], self);
                }
            }
            _ => return None,
        }
        Some(())
    }
}

#[derive(Default)]
struct Log {
    changes: Vec<Change>,
    unread: Vec<String>,
}

/// The growing list of changes.
#[derive(Clone, Default)]
pub struct Recorder {
    log: Arc<(Mutex<Log>, Condvar)>,
}

impl Recorder {
    /// Sets the probes and starts to record.
    pub fn start() -> Result<Self> {
        let write = |file: &str, text: &str| {
            let path = Path::new(TRACING).join(file);
            fs::write(&path, text)
                .map_err(|e| Error::new(e.kind(), format!("{}: {text:?}: {e}", path.display())))
        };
        write("trace_clock", "mono")?;
        write("kprobe_events", PROBES)?;
        write("events/plant/enable", "1")?;
        write("tracing_on", "1")?;
        let pipe = BufReader::new(File::open(Path::new(TRACING).join("trace_pipe"))?);
        let recorder = Self::default();
        let log = recorder.log.clone();
        thread::spawn(move || {
            let mut levels = Levels::default();
            for text in pipe.lines().map_while(Result::ok) {
                let mut guard = log.0.lock().unwrap_or_else(PoisonError::into_inner);
                if levels.take(&text, &mut guard.changes).is_none() {
                    guard.unread.push(text);
                }
                log.1.notify_all();
            }
        });
        Ok(recorder)
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All changes so far.
    pub fn changes(&self) -> Vec<Change> {
        self.lock().changes.clone()
    }

    /// Lines of the trace that could not be read. There must be none.
    pub fn unread(&self) -> Vec<String> {
        self.lock().unread.clone()
    }

    /// The first change of pin `line` to `up` at or after `since`. Waits at most `at_most` for it.
    pub fn wait_for(&self, line: usize, up: bool, since: u64, at_most: Duration) -> Option<Change> {
        let find = |log: &Log| {
            log.changes
                .iter()
                .find(|c| c.line == line && c.up == up && c.at >= since)
                .copied()
        };
        let guard = self
            .log
            .1
            .wait_timeout_while(self.lock(), at_most, |log| find(log).is_none())
            .unwrap_or_else(PoisonError::into_inner)
            .0;
        find(&guard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trace_lines_become_changes() {
        let mut levels = Levels::default();
        let mut changes = Vec::new();
        let mut take = |text: &str| levels.take(text, &mut changes).is_some();
        assert!(take(
            "     partgate-98      [001] ...1.    12.345678: output: (gpio_sim_direction_output+0x0/0x60 [gpio_sim]) line=3 value=1"
        ));
        assert!(take(
            "     partgate-98      [001] .....    12.400000: set_multiple: (gpio_sim_set_multiple+0x0/0x60 [gpio_sim]) mask=0x6 bits=0xfc"
        ));
        assert!(take(
            "  a: b-98      [001] .....    12.500001: set: (gpio_sim_set+0x0/0x60 [gpio_sim]) line=2 value=1"
        ));
        assert!(take(
            "     plant-98      [001] .....    12.600000: pull: (gpio_sim_apply_pull+0x0/0x60 [gpio_sim]) line=3 value=0"
        ));
        assert!(take(
            "     partgate-98      [001] .....    13.000000: release: (gpio_sim_free+0x0/0x60 [gpio_sim]) line=3"
        ));
        assert!(!take("CPU:0 [LOST 12 EVENTS]"));
        let change = |at, line, up| Change { at, line, up };
        assert_eq!(
            changes,
            [
                change(12_345_678, 3, true),
                change(12_400_000, 2, true),
                change(13_000_000, 3, false)
            ]
        );
    }
}
