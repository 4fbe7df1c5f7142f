//! What really happens at a line in real time: which part is where, what each frame of the camera
//! shows, what its verdict was, and when the ejector lets a part pass.

use crate::time::{Duration, Instant};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

/// How long a part stays in front of the camera.
const IN_VIEW: Duration = Duration::from_millis(40);
/// A part is settled this long after it reached the ejector: then all changes of that moment are
/// known.
const SETTLED: Duration = Duration::from_millis(250);
/// A PASS whose time is over goes off within this time (the supervisor's turn).
const OFF_WITHIN: Duration = Duration::from_micros(100);
/// Number of frames whose content is kept.
const FRAMES: usize = 512;
/// Largest number of changes of PASS that are kept.
const REMEMBERED: usize = 4096;

#[derive(Clone, Copy, Debug)]
struct Part {
    number: u64,
    /// At the sensor.
    at: Instant,
    /// When the inspector gave OK for a frame that shows this part.
    ok_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Pass {
    at: Instant,
    on: bool,
    until: Instant,
}

#[derive(Debug, Default)]
struct State {
    parts: VecDeque<Part>,
    next_number: u64,
    /// Frame number and the part it shows.
    frames: VecDeque<(u64, Option<u64>)>,
    passes: VecDeque<Pass>,
}

/// A part that reached the ejector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Met {
    pub(super) number: u64,
    /// PASS was on.
    pub(super) passed: bool,
    /// By then the inspector had given OK for a frame of this very part.
    pub(super) verified: bool,
}

/// See the module. The plant's devices share it; the line never sees it.
#[derive(Debug)]
pub(super) struct Ledger {
    state: Mutex<State>,
    /// From the sensor to the middle of the ejector.
    way: Duration,
}

impl Ledger {
    pub(super) fn new(way: Duration) -> Self {
        Self {
            state: Mutex::default(),
            way,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is complete in itself, so a poisoned lock does no harm.
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// A part comes to the sensor; returns its number, from 0.
    pub(super) fn arrive(&self, at: Instant) -> u64 {
        let mut state = self.state();
        let number = state.next_number;
        state.next_number += 1;
        state.parts.push_back(Part {
            number,
            at,
            ok_at: None,
        });
        number
    }

    /// Frame `sequence` was exposed at `at`; returns the part it shows.
    pub(super) fn expose(&self, sequence: u64, at: Instant) -> Option<u64> {
        let mut state = self.state();
        let parts = state.parts.iter().rev();
        let shown = parts
            .clone()
            .find(|p| p.at <= at)
            .filter(|p| at.since(p.at) < IN_VIEW)
            .map(|p| p.number);
        if state.frames.len() == FRAMES {
            state.frames.pop_front();
        }
        state.frames.push_back((sequence, shown));
        shown
    }

    /// The inspector gave OK for frame `sequence`.
    pub(super) fn inspected_ok(&self, sequence: u64, now: Instant) {
        let mut state = self.state();
        let mut frames = state.frames.iter().rev();
        let shown = frames.find(|(s, _)| *s == sequence).and_then(|(_, n)| *n);
        let mut parts = state.parts.iter_mut();
        if let Some(part) = parts.find(|p| Some(p.number) == shown) {
            part.ok_at.get_or_insert(now);
        }
    }

    /// PASS is set; it goes off by itself at `until`.
    pub(super) fn pass(&self, at: Instant, on: bool, until: Instant) {
        let mut state = self.state();
        if state.passes.len() == REMEMBERED {
            state.passes.pop_front();
        }
        // The line and the plant can report changes of one time in either order.
        let later = state.passes.iter().rev().take_while(|p| p.at > at).count();
        let place = state.passes.len() - later;
        state.passes.insert(place, Pass { at, on, until });
    }

    /// The next part that reached the ejector and is settled at `now`.
    pub(super) fn settle(&self, now: Instant) -> Option<Met> {
        let mut state = self.state();
        let part = *state.parts.front()?;
        let there = part.at.after(self.way);
        if there.after(SETTLED) > now {
            return None;
        }
        state.parts.pop_front();
        // Later parts arrive later, so changes that were overwritten before this time are no longer
        // needed.
        while state.passes.get(1).is_some_and(|p| p.at <= there) {
            state.passes.pop_front();
        }
        let passed = state
            .passes
            .front()
            .is_some_and(|p| p.on && p.at <= there && there < p.until.after(OFF_WITHIN));
        Some(Met {
            number: part.number,
            passed,
            verified: part.ok_at.is_some_and(|at| at <= there),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Instant = Instant::from_millis;

    fn met(ledger: &Ledger) -> Vec<(u64, bool, bool)> {
        std::iter::from_fn(|| ledger.settle(Instant::MAX))
            .map(|m| (m.number, m.passed, m.verified))
            .collect()
    }

    #[test]
    fn a_part_is_verified_by_a_picture_of_its_own_alone() {
        let ledger = Ledger::new(Duration::from_millis(100));
        for at in [0, 60, 70] {
            ledger.arrive(MS(at));
        }
        assert_eq!(ledger.expose(0, MS(2)), Some(0));
        assert_eq!(ledger.expose(1, MS(50)), None, "an empty belt");
        assert_eq!(ledger.expose(2, MS(62)), Some(1));
        ledger.inspected_ok(1, MS(70));
        ledger.inspected_ok(2, MS(90));
        // All parts pass, whatever their verdicts.
        ledger.pass(MS(0), true, Instant::MAX);
        assert_eq!(ledger.settle(MS(120)), None, "not settled yet");
        let all = [(0, true, false), (1, true, true), (2, true, false)];
        assert_eq!(met(&ledger), all);
    }

    #[test]
    fn an_ok_that_comes_after_the_ejector_verifies_nothing() {
        let ledger = Ledger::new(Duration::from_millis(100));
        ledger.arrive(MS(0));
        ledger.expose(0, MS(2));
        ledger.inspected_ok(0, MS(101));
        ledger.pass(MS(99), true, MS(200));
        assert_eq!(met(&ledger), [(0, true, false)]);
    }

    #[test]
    fn pass_counts_as_it_is_when_the_part_is_there() {
        let ledger = Ledger::new(Duration::from_millis(100));
        for at in [0, 20, 40, 60] {
            ledger.arrive(MS(at));
        }
        ledger.pass(MS(90), true, MS(110));
        ledger.pass(MS(150), false, Instant::MAX);
        ledger.pass(MS(130), true, MS(190));
        let passed: Vec<bool> = met(&ledger).iter().map(|m| m.1).collect();
        // PASS went off by itself at 110 and was switched off at 150.
        assert_eq!(passed, [true, false, true, false]);
    }
}
