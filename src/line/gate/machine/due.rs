//! What is due next: everything that happens by itself has a place or a time.

use super::super::along::Unit;
use super::super::lines::Output;
use super::{Gate, Hold};
use crate::time::{Duration, Instant};

/// The next thing that happens by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    // In the order in which they happen at one instant. Beginnings come first, so that pulses merge.
    StretchBegins,
    Part,
    StretchEnds,
    HoldEnds,
    RejectEnds,
    RejectTailEnds,
    PassEnds,
    PassUnseen,
    OkEnds,
    PassingFaultsEnd,
    EncoderSilent,
    FaultShown,
    Heartbeat,
    CoveredTooLong,
    Unconfirmed,
    AckEnds,
    ValidEnds,
}

impl<const N: usize> Gate<N> {
    /// The latest time of the next call.
    pub fn deadline(&self) -> Instant {
        let later = |at: Option<(u64, Due)>| at.map_or(Instant::MAX, |(at, _)| Instant(at));
        later(self.first(Unit::Time))
    }

    /// The first thing due in `unit`. It is asked for several times per event: written out like this it
    /// takes a fifth of the time that a chain of options takes.
    pub(super) fn first(&self, unit: Unit) -> Option<(u64, Due)> {
        let mut first: Option<(u64, Due)> = None;
        let mut take = |at: u64, due: Due| {
            if first.is_none_or(|first| (at, due) < first) {
                first = Some((at, due));
            }
        };
        if self.gate.unit == unit {
            match &self.stretch {
                Some(stretch) if stretch.open => take(stretch.to, Due::StretchEnds),
                Some(stretch) => take(stretch.from, Due::StretchBegins),
                None => {}
            }
            if let Some(part) = self.parts.front() {
                take(part.gate, Due::Part);
            }
            if let Hold::Until(at) = self.hold {
                take(at, Due::HoldEnds);
            }
            if let Some(at) = self.covered_too_long_at() {
                take(at, Due::CoveredTooLong);
            }
            if let Some(at) = self.unconfirmed_at() {
                take(at, Due::Unconfirmed);
            }
        }
        if self.pulse.unit == unit {
            if let Some(at) = self.reject_until {
                take(at, Due::RejectEnds);
            }
            if let Some(at) = self.pass_until {
                take(at, Due::PassEnds);
            }
            if let Some(at) = self.ok_until {
                take(at, Due::OkEnds);
            }
        }
        if unit == Unit::Counts {
            return first;
        }
        take(self.heartbeat_at.0, Due::Heartbeat);
        if let Some(at) = self.reject_tail {
            take(at.0, Due::RejectTailEnds);
        }
        if let Some(at) = self.pass_unseen_at() {
            take(at.0, Due::PassUnseen);
        }
        if let Some(at) = self.passing_faults_until {
            take(at.0, Due::PassingFaultsEnd);
        }
        if let Some(at) = self.ack_until {
            take(at.0, Due::AckEnds);
        }
        if let Some(at) = self.valid_until {
            take(at.0, Due::ValidEnds);
        }
        let silence = self.settings.encoder_silence;
        let watched = self.settings.by_counts() && silence > Duration::ZERO;
        if watched && matches!(self.hold, Hold::Off | Hold::Until(_)) {
            take(self.counted_at.after(silence).0, Due::EncoderSilent);
        }
        if self.levels[Output::Fault as usize] && self.faults.is_empty() && !self.alarm.raised() {
            take(self.fault_shown_until.0, Due::FaultShown);
        }
        first
    }

    /// If the pulse is in counts: when PASS goes off because no count was seen. If the encoder dies, or
    /// the belt stops, PASS must not stay on for the next part.
    pub(super) fn pass_unseen_at(&self) -> Option<Instant> {
        let counted = self.pulse.unit == Unit::Counts && self.pass_until.is_some();
        let seen = self.counted_at.max(self.pass_since);
        counted.then(|| seen.after(self.settings.pass_unseen()))
    }
}
