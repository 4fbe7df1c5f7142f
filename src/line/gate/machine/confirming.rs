//! A sensor at the ejector or in the reject bin: what the gate did is confirmed, or the line stops.

use super::super::along::{Along, Unit};
use super::super::fault::Fault;
use super::super::output::Output;
use super::super::part::Reason;
use super::super::settings::ConfirmKind;
use super::super::time::{Nanos, Position};
use super::{Gate, Hold, Tracked};
use heapless::Deque;

/// A part that has been decided and is still to be confirmed.
#[derive(Clone, Copy, Debug)]
struct Awaited {
    gate: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Confirming<const N: usize> {
    awaited: Deque<Awaited, N>,
    /// How far behind their reckoned place parts arrive, in the gate's unit.
    shift: i64,
}

impl<const N: usize> Confirming<N> {
    pub(super) const fn new() -> Self {
        Self {
            awaited: Deque::new(),
            shift: 0,
        }
    }

    /// Where a part arrives that is reckoned to arrive at `gate`.
    pub(super) fn shifted(&self, gate: u64) -> u64 {
        gate.saturating_add_signed(self.shift)
    }
}

impl<const N: usize> Gate<N> {
    fn tolerance(&self) -> Option<(ConfirmKind, u64)> {
        let confirm = self.settings.confirm?;
        Some((confirm.kind, Along::new(confirm.tolerance).length))
    }

    /// The confirming sensor saw a part at `at`; `lost` edges before it were not told.
    pub fn confirm(
        &mut self,
        at: Position,
        lost: u32,
        clock: Nanos,
        emit: &mut impl FnMut(Output),
    ) {
        self.tick(clock, emit);
        let Some((kind, tolerance)) = self.tolerance() else {
            return;
        };
        let place = self.gate.unit.of(at);
        // While the belt is thrown out nobody knows what is on it: nothing is expected, and nothing
        // surprises. Where edges were lost, parts may have been confirmed unheard.
        let blind = self.hold != Hold::Off || lost > 0;
        let found = match kind {
            ConfirmKind::Part => self.confirm_part(place, tolerance),
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

    fn confirm_part(&mut self, place: u64, tolerance: u64) -> bool {
        let near = |gate: u64| gate.abs_diff(place) <= tolerance;
        let mut gate = None;
        // Parts come in their order: the one that was decided first, then those still tracked.
        if self
            .confirming
            .awaited
            .front()
            .is_some_and(|a| near(a.gate))
        {
            gate = self.confirming.awaited.pop_front().map(|a| a.gate);
        } else if let Some(part) = self.parts.iter_mut().find(|p| !p.confirmed)
            && near(part.gate)
        {
            part.confirmed = true;
            gate = Some(part.gate);
        }
        let Some(gate) = gate else {
            // A stretch holds parts that are not tracked one by one.
            return self.stretch.is_some_and(|s| s.open);
        };
        // Half of what it is off, so that one part's place does not move all others by its own.
        let off = place.cast_signed().wrapping_sub(gate.cast_signed()) / 2;
        self.confirming.shift += off;
        let now = self.gate.unit.of(self.now);
        for part in self.parts.iter_mut().filter(|p| !p.confirmed) {
            part.gate = part.gate.saturating_add_signed(off).max(now);
        }
        true
    }

    fn confirm_reject(&mut self, place: u64, tolerance: u64) -> bool {
        let awaited = &mut self.confirming.awaited;
        if let Some(first) = awaited.front()
            && (first.gate..=first.gate.saturating_add(tolerance)).contains(&place)
        {
            awaited.pop_front();
            return true;
        }
        // What a pulse throws out besides its part.
        self.rejecting()
            || self
                .rejected_until
                .is_some_and(|until| place.saturating_sub(until) <= tolerance)
    }

    /// A part was decided: it has to be confirmed from here on, where places are known.
    pub(super) fn await_confirmation(&mut self, part: &Tracked, rejected: Option<Reason>) {
        let Some((kind, _)) = self.tolerance() else {
            return;
        };
        let due = match kind {
            ConfirmKind::Part => !part.confirmed,
            ConfirmKind::Reject => rejected.is_some(),
        };
        // Two triggers too close may be one part that bounced.
        let known = self.hold == Hold::Off
            && !matches!(rejected, Some(Reason::NotReady | Reason::DoubleTrigger));
        if due && known {
            // As many places as tracked parts, and the oldest is overdue by then.
            let _ = self
                .confirming
                .awaited
                .push_back(Awaited { gate: part.gate });
        }
    }

    /// Where the first part that is awaited is missing, in the gate's unit.
    pub(super) fn unconfirmed_at(&self) -> Option<u64> {
        let (_, tolerance) = self.tolerance()?;
        let first = self.confirming.awaited.front()?;
        let last = first.gate.saturating_add(tolerance);
        Some(match self.gate.unit {
            // Its edge may have been on its way at the last instant.
            Unit::Time => last.saturating_add(self.settings.late_output.0),
            Unit::Counts => last.saturating_add(1),
        })
    }

    pub(super) fn unconfirmed(&mut self, emit: &mut impl FnMut(Output)) {
        self.confirming.awaited.pop_front();
        if self.hold == Hold::Off {
            self.counters.unconfirmed += 1;
            self.stop_unconfirmed(emit);
        }
    }

    /// The line stands until a person has looked.
    fn stop_unconfirmed(&mut self, emit: &mut impl FnMut(Output)) {
        self.confirming.awaited.clear();
        self.confirming.shift = 0;
        self.set_fault(Fault::Confirm, true, emit);
    }
}
