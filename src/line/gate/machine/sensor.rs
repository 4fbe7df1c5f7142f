//! What the trigger's sensor shows besides its edges: its level, and how long it is covered. A part
//! whose edge was lost still covers the sensor. Parts that touch cover it for longer than one part
//! does.

use super::super::along::{Along, Unit};
use super::super::output::Action;
use super::super::part::{PartId, Reason};
use super::Gate;
use crate::time::{Instant, Position};

/// What is known of the sensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    /// Nothing yet.
    Unknown,
    Free,
    /// Since this place.
    Covered(Position),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Sensor {
    level: Level,
    /// Where the present or last cover began.
    began: Option<Position>,
    /// The level was read and disagrees with the edges. An edge may be on its way, so that only a
    /// second reading counts.
    doubted: bool,
    /// The sensor is covered for longer than one part takes: every part that goes by is rejected.
    too_long: bool,
}

impl Sensor {
    pub(super) const fn new() -> Self {
        Self {
            level: Level::Unknown,
            began: None,
            doubted: false,
            too_long: false,
        }
    }

    /// An on-edge was seen; a `near` one is closer to the last one than parts can be. A near edge, and
    /// one without an off-edge before it, begins no new cover: noise and bounces would otherwise hide
    /// a part that touches the one before.
    pub(super) fn covered(&mut self, at: Position, near: bool) {
        self.doubted = false;
        if self.too_long {
            return;
        }
        let began = match self.level {
            Level::Covered(since) => since,
            Level::Free | Level::Unknown => self.began.filter(|_| near).unwrap_or(at),
        };
        self.cover(began);
    }

    fn cover(&mut self, began: Position) {
        self.began = Some(began);
        self.level = Level::Covered(began);
    }
}

impl<const N: usize> Gate<N> {
    /// The sensor is free again since `at`. The kernel lost `lost` edges before that.
    pub fn release(
        &mut self,
        at: Position,
        lost: u32,
        clock: Instant,
        emit: &mut impl FnMut(Action),
    ) {
        self.tick(clock, emit);
        if lost > 0 {
            self.lose_triggers(self.last_trigger, at, u64::from(lost), emit);
        }
        self.sensor.doubted = false;
        self.free(at);
        self.tick(clock, emit);
    }

    /// The sensor's level was read, and no edge of it is pending.
    pub fn level_read(
        &mut self,
        on: bool,
        at: Position,
        clock: Instant,
        emit: &mut impl FnMut(Action),
    ) {
        self.tick(clock, emit);
        let as_known = match self.sensor.level {
            Level::Unknown => {
                if on {
                    self.sensor.cover(at);
                } else {
                    self.sensor.level = Level::Free;
                }
                true
            }
            Level::Free => !on,
            Level::Covered(_) => on,
        };
        let twice = self.sensor.doubted;
        self.sensor.doubted = !as_known && !twice;
        if !as_known && twice {
            if on {
                // A part is there whose edge was lost.
                self.counters.found_by_level += 1;
                self.lose_triggers(self.last_trigger, at, 1, emit);
                self.sensor.cover(at);
            } else {
                self.free(at);
            }
        }
        self.tick(clock, emit);
    }

    fn free(&mut self, at: Position) {
        self.sensor.level = Level::Free;
        if core::mem::take(&mut self.sensor.too_long)
            && let Some(stretch) = &mut self.stretch
        {
            stretch.to = self.gate.after(at);
        }
    }

    /// When the sensor is covered for longer than one part takes, in the gate's unit.
    pub(super) fn covered_too_long_at(&self) -> Option<u64> {
        let Level::Covered(since) = self.sensor.level else {
            return None;
        };
        let longest = Along::new(self.settings.occupied_max?);
        if self.sensor.too_long {
            return None;
        }
        if self.gate.unit == Unit::Counts {
            return Some(longest.after(since));
        }
        // By the clock only while the belt runs: if it stands with a part at the sensor, the time says
        // nothing about the part's length. Whatever lies on that belt is rejected anyway.
        let runs_since = self.ready_since.after(self.settings.spin_up);
        let since = Position {
            time: since.time.max(runs_since),
            ..since
        };
        self.ready.then(|| longest.after(since))
    }

    /// More than one part may be there: the last part and all that follow are rejected until the sensor
    /// is free.
    pub(super) fn covered_too_long(&mut self) {
        let Level::Covered(since) = self.sensor.level else {
            return;
        };
        self.sensor.too_long = true;
        self.counters.covered_too_long += 1;
        let last = PartId(self.counters.parts);
        self.reject(last, Reason::DoubleTrigger);
        let from = self.gate.after(since);
        self.reject_stretch(from, u64::MAX);
    }
}
