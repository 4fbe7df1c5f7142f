//! The last seconds of a simulated line, in words, for the engineer who must find out why a part
//! passed.

use std::collections::VecDeque;

/// Number of notes that are kept.
const KEPT: usize = 4000;
/// Fewest notes: if a line stood still, its last seconds have few.
const FEWEST: usize = 60;

/// Notes of a run. If nobody wants them, none are written or kept.
#[derive(Clone, Debug, Default)]
pub(super) struct Trace {
    wanted: bool,
    notes: VecDeque<(u64, String)>,
}

impl Trace {
    pub(super) fn new(wanted: bool) -> Self {
        Self {
            wanted,
            notes: VecDeque::new(),
        }
    }

    pub(super) const fn wanted(&self) -> bool {
        self.wanted
    }

    pub(super) fn note(&mut self, at: u64, words: impl FnOnce() -> String) {
        if !self.wanted {
            return;
        }
        if self.notes.len() == KEPT {
            self.notes.pop_front();
        }
        self.notes.push_back((at, words()));
    }

    /// The notes of the last `ns`, and at least the last [`FEWEST`], one per entry, each with its
    /// time in milliseconds.
    pub(super) fn last(&self, ns: u64) -> Vec<String> {
        let end = self.notes.back().map_or(0, |(at, _)| *at);
        let from = end.saturating_sub(ns);
        self.notes
            .iter()
            .enumerate()
            .filter(|(n, (at, _))| *at >= from || n + FEWEST >= self.notes.len())
            .map(|(_, note)| note)
            .map(|(at, words)| format!("{:14.3} ms  {words}", *at as f64 / 1e6))
            .collect()
    }
}
