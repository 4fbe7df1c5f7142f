//! A sensor at the ejector or in the reject bin: it confirms what the gate did, or the line stops.

use super::super::along::{Along, Unit};
use super::super::fault::Fault;
use super::super::output::Action;
use super::super::part::Reason;
use super::super::settings::ConfirmKind;
use super::{Gate, Hold, Tracked};
use crate::time::{Instant, Position};
use heapless::Deque;

/// A decided part that is not confirmed yet.
#[derive(Clone, Copy, Debug)]
struct Awaited {
    gate: u64,
    rejected: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Confirming<const N: usize> {
    awaited: Deque<Awaited, N>,
    /// The gate of the last part that may come by but need not.
    excused: Option<u64>,
}

impl<const N: usize> Confirming<N> {
    pub(super) const fn new() -> Self {
        Self {
            awaited: Deque::new(),
            excused: None,
        }
    }
}

impl<const N: usize> Gate<N> {
    fn tolerance(&self) -> Option<(ConfirmKind, u64)> {
        let confirm = self.settings.confirm?;
        Some((confirm.kind, Along::new(confirm.tolerance).length))
    }

    /// The confirming sensor saw a part at `at`. The kernel lost `lost` edges before it.
    pub fn confirm(
        &mut self,
        at: Position,
        lost: u32,
        clock: Instant,
        emit: &mut impl FnMut(Action),
    ) {
        self.tick(clock, emit);
        let Some((kind, tolerance)) = self.tolerance() else {
            return;
        };
        let place = self.gate.unit.of(at);
        // While everything on the line is rejected nobody knows what is on it: no part is expected, and
        // none is a surprise. If edges were lost, parts may have been confirmed without an edge.
        let blind = self.hold != Hold::Off || lost > 0;
        let found = match kind {
            ConfirmKind::Part => self.confirm_part(at, tolerance),
            ConfirmKind::Reject => self.confirm_reject(place, tolerance),
        };
        if lost > 0 {
            self.confirming.awaited.clear();
        }
        if !found && !blind {
            self.counters.surplus_confirmations += 1;
            self.stop_unconfirmed(emit);
        }
        self.tick(clock, emit);
    }

    /// The part is where its edge is, whatever place was calculated for it: it is decided there, or its
    /// pulse begins there.
    fn confirm_part(&mut self, at: Position, tolerance: u64) -> bool {
        let place = self.gate.unit.of(at);
        let near = |gate: u64| gate.abs_diff(place) <= tolerance;
        // Parts come in order: first the one that was decided, then those still tracked.
        if let Some(decided) = self.confirming.awaited.front().copied()
            && near(decided.gate)
        {
            self.confirming.awaited.pop_front();
            if decided.rejected {
                self.start_reject(self.clock);
            } else if !self.rejecting() && self.faults.is_empty() {
                let end = self.pulse.after(at);
                self.pass_until = Some(self.pass_until.map_or(end, |until| until.max(end)));
                self.pass_since = self.clock;
            }
            return true;
        }
        if let Some(part) = self.parts.iter_mut().find(|p| !p.confirmed)
            && near(part.gate)
        {
            part.confirmed = true;
            part.gate = part.gate.min(place);
            return true;
        }
        if self.confirming.excused.is_some_and(near) {
            self.start_reject(self.clock);
            return true;
        }
        // In a rejected section parts are not tracked one by one.
        self.stretch.is_some_and(|s| s.open)
    }

    fn confirm_reject(&mut self, place: u64, tolerance: u64) -> bool {
        let awaited = &mut self.confirming.awaited;
        if let Some(first) = awaited.front()
            && (first.gate..=first.gate.saturating_add(tolerance)).contains(&place)
        {
            awaited.pop_front();
            return true;
        }
        // A pulse can reject more than its own part.
        self.rejecting()
            || self
                .rejected_until
                .is_some_and(|until| place.saturating_sub(until) <= tolerance)
    }

    /// A part was decided: from here on it must be confirmed, if positions are known.
    pub(super) fn await_confirmation(&mut self, part: &Tracked, rejected: Option<Reason>) {
        let Some((kind, _)) = self.tolerance() else {
            return;
        };
        let due = match kind {
            ConfirmKind::Part => !part.confirmed,
            ConfirmKind::Reject => rejected.is_some(),
        };
        if !due || self.hold != Hold::Off {
            return;
        }
        // Two triggers that are too close may be one part that bounced. While READY is off, a person
        // may take parts off the belt.
        if matches!(rejected, Some(Reason::NotReady | Reason::DoubleTrigger)) {
            self.confirming.excused = Some(part.gate);
        } else {
            // There are as many places as tracked parts; if they are all taken, the oldest part is
            // overdue already.
            let _ = self.confirming.awaited.push_back(Awaited {
                gate: part.gate,
                rejected: rejected.is_some(),
            });
        }
    }

    /// Where the first part that still waits counts as missing, in the gate's unit.
    pub(super) fn unconfirmed_at(&self) -> Option<u64> {
        let (_, tolerance) = self.tolerance()?;
        let first = self.confirming.awaited.front()?;
        let last = first.gate.saturating_add(tolerance);
        Some(match self.gate.unit {
            // Its edge may still be on its way at that instant.
            Unit::Time => last.saturating_add(self.settings.late_output.0),
            Unit::Counts => last.saturating_add(1),
        })
    }

    pub(super) fn unconfirmed(&mut self, emit: &mut impl FnMut(Action)) {
        self.confirming.awaited.pop_front();
        if self.hold == Hold::Off {
            self.counters.unconfirmed += 1;
            self.stop_unconfirmed(emit);
        }
    }

    /// The line stops until a person acknowledges.
    fn stop_unconfirmed(&mut self, emit: &mut impl FnMut(Action)) {
        self.confirming.awaited.clear();
        self.set_fault(Fault::Confirm, true, emit);
    }
}
