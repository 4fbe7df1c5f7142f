//! The belt's place: the edges of the encoder and the index, and the sensors' reports between two
//! triggers.

use super::super::quadrature::Moved;
use super::{Command, Controller};
use crate::time::{Counts, Instant, Position};

/// Encoder counts whose times are kept; a power of two.
pub(super) const COUNT_TIMES: usize = 256;

impl<F> Controller<F> {
    /// The belt's place at `time`, so that a late report counts at the place where it happened. None if
    /// that time is not kept any more.
    pub(super) fn place_at(&self, time: Instant) -> Option<Position> {
        let mut count = self.count;
        for _ in 0..COUNT_TIMES {
            if count.0 == 0 || self.count_times[count.0 as usize % COUNT_TIMES] <= time {
                return Some(Position { time, count });
            }
            count.0 -= 1;
        }
        None
    }

    pub(super) fn here(&self, clock: Instant) -> Position {
        Position {
            time: clock,
            count: self.count,
        }
    }

    /// The trigger's sensor is free again since `at`. The kernel lost `lost` edges before that.
    pub fn release(
        &mut self,
        at: Instant,
        lost: u32,
        clock: Instant,
        emit: &mut impl FnMut(Command<F>),
    ) {
        let place = self.place_at(at).unwrap_or(self.here(clock));
        self.gate
            .release(place, lost, clock, &mut |o| emit(Command::Gate(o)));
        self.tick(clock, emit);
    }

    /// The level of the trigger's input was read, and no edge of it is pending.
    pub fn level_read(&mut self, on: bool, clock: Instant, emit: &mut impl FnMut(Command<F>)) {
        let here = self.here(clock);
        self.gate
            .level_read(on, here, clock, &mut |o| emit(Command::Gate(o)));
        self.tick(clock, emit);
    }

    /// The confirming sensor saw a part at `at`. The kernel lost `lost` edges before it.
    pub fn confirm(
        &mut self,
        at: Instant,
        lost: u32,
        clock: Instant,
        emit: &mut impl FnMut(Command<F>),
    ) {
        let place = self.place_at(at).unwrap_or(self.here(clock));
        self.gate
            .confirm(place, lost, clock, &mut |o| emit(Command::Gate(o)));
        self.tick(clock, emit);
    }

    /// An edge of the encoder's first or `second` channel. The kernel lost `lost` edges of this channel
    /// before it.
    pub fn encoder_edge(
        &mut self,
        second: bool,
        on: bool,
        at: Instant,
        lost: u32,
        clock: Instant,
        emit: &mut impl FnMut(Command<F>),
    ) {
        if self.settings.quadrature {
            self.quarter(second, on, at, lost, clock, emit);
        } else if on && !second {
            self.encoder(at, lost, clock, emit);
        }
    }

    fn quarter(
        &mut self,
        second: bool,
        on: bool,
        at: Instant,
        lost: u32,
        clock: Instant,
        emit: &mut impl FnMut(Command<F>),
    ) {
        let moved = if second {
            self.quadrature.b(on)
        } else {
            self.quadrature.a(on)
        };
        if moved == Moved::Unsure || lost > 0 {
            self.gate
                .encoder_unsure(clock, &mut |o| emit(Command::Gate(o)));
        }
        if moved == Moved::Forward {
            self.encoder(at, 0, clock, emit);
        }
        self.tick(clock, emit);
    }

    /// The belt moved by one count, and by `lost` counts whose edges the kernel lost.
    pub fn encoder(
        &mut self,
        at: Instant,
        lost: u32,
        clock: Instant,
        emit: &mut impl FnMut(Command<F>),
    ) {
        let before = self.count;
        let reached = before.after(Counts(1 + u64::from(lost)));
        self.count = reached;
        // More counts than are kept would write each place twice.
        for count in (before.0.max(reached.0.saturating_sub(COUNT_TIMES as u64)) + 1)..=reached.0 {
            self.count_times[count as usize % COUNT_TIMES] = at;
        }
        self.gate
            .encoder(reached, at, clock, &mut |o| emit(Command::Gate(o)));
        if let Some(every) = self.settings.every_counts
            && self.phased
            && reached >= self.next_part_at
        {
            // Lost counts do not change where the parts are. Parts that went by meanwhile are lost
            // triggers.
            let every = every.max(Counts(1));
            let gone_by = reached.since(self.next_part_at).0 / every.0;
            self.next_part_at = self.next_part_at.after(every * (gone_by + 1));
            let lost = u32::try_from(gone_by).unwrap_or(u32::MAX);
            self.since_index += 1;
            if self.settings.indexed && self.since_index > 1 {
                // Nobody knows any more where the nests are.
                self.gate
                    .encoder_unsure(clock, &mut |o| emit(Command::Gate(o)));
            }
            self.trigger(at, lost, clock, emit);
        }
        self.tick(clock, emit);
    }

    /// A part is at the place from which the distances count.
    pub fn index(
        &mut self,
        at: Instant,
        lost: u32,
        clock: Instant,
        emit: &mut impl FnMut(Command<F>),
    ) {
        let Some(every) = self.settings.every_counts else {
            return;
        };
        let place = self.place_at(at).unwrap_or(self.here(clock));
        let count = place.count;
        let next = self.next_part_at;
        // The edge belongs to the next part, or to the part that was triggered just now.
        let (early, late) = (next.since(count), count.since(next.before(every)));
        let off = early.min(late);
        let mut gate = |o| emit(Command::Gate(o));
        if !self.phased {
            // Parts went by without a trigger.
            self.phased = true;
            self.gate.unwatched(place, clock, &mut gate);
        } else if lost > 0
            || off > (every / 16).max(Counts(1))
            || (late < early && self.since_index == 0)
        {
            // The encoder and the belt disagree on the distance between two parts.
            self.gate.encoder_unsure(clock, &mut gate);
            self.gate.unwatched(place, clock, &mut gate);
        } else if late < early {
            self.since_index = 0;
            self.next_part_at = count.after(every);
            self.tick(clock, emit);
            return;
        }
        self.since_index = 0;
        self.next_part_at = count.after(every);
        self.trigger(at, 0, clock, emit);
    }
}
