//! A belt that runs, at any speed, or stands. Places are nanoseconds of a belt at full speed.

use super::line::FULL;

#[derive(Clone, Copy, Debug)]
pub(super) struct Belt {
    since: u64,
    place: u64,
    running: bool,
    /// In units of 1 / [`FULL`] of full speed.
    speed: u64,
}

impl Belt {
    pub(super) fn running() -> Self {
        Self {
            since: 0,
            place: 0,
            running: true,
            speed: FULL,
        }
    }

    pub(super) fn place(&self, now: u64) -> u64 {
        let moved = if self.running {
            (now - self.since) * self.speed / FULL
        } else {
            0
        };
        self.place + moved
    }

    pub(super) fn runs(&self) -> bool {
        self.running
    }

    pub(super) fn set(&mut self, running: bool, speed: u64, now: u64) {
        *self = Self {
            since: now,
            place: self.place(now),
            running,
            speed,
        };
    }

    pub(super) fn speed(&self) -> u64 {
        self.speed
    }

    /// When the belt reaches `place`, if it goes on as now.
    pub(super) fn reaches(&self, place: u64) -> Option<u64> {
        let left = place.saturating_sub(self.place);
        let takes = if self.speed == FULL {
            left
        } else {
            (left * FULL).div_ceil(self.speed)
        };
        self.running.then(|| self.since + takes)
    }
}
