//! Parts that cannot be tracked one by one: lost edges, and more parts than there is room for. The
//! whole section of the line where they can be is rejected.

use super::super::output::{Action, Decision};
use super::super::part::{PartId, Reason};
use super::{Gate, State, Stretch, Tracked};
use crate::time::{Instant, Position};

impl<const N: usize> Gate<N> {
    pub(super) fn lose_triggers(
        &mut self,
        last: Option<Position>,
        at: Position,
        lost: u64,
        emit: &mut impl FnMut(Action),
    ) {
        // Each lost part is somewhere between the last part that was seen and this one, or anywhere
        // before this one if none was seen.
        let to = self.gate.after(at);
        let last = last.map_or(0, |last| self.gate.after(last));
        let from = last.min(to);
        for _ in 0..lost {
            self.counters.triggers += 1;
            self.counters.lost_triggers += 1;
            let id = self.number();
            self.reject_stretch(from, to);
            self.reject_untracked(id, at, None, Reason::Overload, emit);
        }
    }

    /// A part went by somewhere between `since` and `at`.
    pub fn lost_since(
        &mut self,
        since: Position,
        at: Position,
        clock: Instant,
        emit: &mut impl FnMut(Action),
    ) {
        self.tick(clock, emit);
        self.lose_triggers(Some(since), at, 1, emit);
        self.tick(clock, emit);
    }

    /// Parts before `at` had no triggers: everything between `at` and the ejector is rejected.
    pub fn unwatched(&mut self, at: Position, clock: Instant, emit: &mut impl FnMut(Action)) {
        self.tick(clock, emit);
        self.reject_stretch(0, self.gate.after(at).saturating_sub(1));
        self.tick(clock, emit);
    }

    /// Stops tracking part by part: everything from the first tracked part to `last` is rejected as one
    /// section, and there is room again. Waiting for room could take forever, because a line may stand
    /// still while READY is off.
    pub(super) fn give_up_all(&mut self, last: Tracked, emit: &mut impl FnMut(Action)) {
        let first = self.parts.front().map_or(last.gate, |p| p.gate);
        self.reject_stretch(first, last.gate);
        self.bridge = None;
        while let Some(part) = self.parts.pop_front() {
            let reason = match part.state {
                State::Rejected(reason) => reason,
                State::Waiting | State::Ok => Reason::Overload,
            };
            self.reject_untracked(part.id, part.trigger, part.verdict_at, reason, emit);
        }
        self.reject_untracked(last.id, last.trigger, None, Reason::Overload, emit);
    }

    pub(super) fn reject_stretch(&mut self, from: u64, to: u64) {
        self.stretch = Some(match self.stretch {
            None => Stretch {
                from,
                to,
                open: false,
                known: self.clock,
            },
            Some(s) => Stretch {
                from: s.from.min(from),
                to: s.to.max(to),
                open: s.open,
                known: if from < s.from { self.clock } else { s.known },
            },
        });
    }

    pub(super) fn reject_untracked(
        &mut self,
        part: PartId,
        trigger: Position,
        verdict_at: Option<Instant>,
        reason: Reason,
        emit: &mut impl FnMut(Action),
    ) {
        self.counters.untracked += 1;
        self.counters.rejected[reason as usize] += 1;
        emit(Action::Decided(Decision {
            part,
            trigger,
            due: self.clock,
            verdict_at,
            rejected: Some(reason),
        }));
        self.watch_rejects(Some(reason), emit);
    }
}
