//! A belt that runs or stands. Places are nanoseconds of running belt, so that at full speed a
//! place and the time at which it is reached are the same number.

#[derive(Clone, Copy, Debug)]
pub(super) struct Belt {
    since: u64,
    place: u64,
    running: bool,
}

impl Belt {
    pub(super) fn running() -> Self {
        Self {
            since: 0,
            place: 0,
            running: true,
        }
    }

    pub(super) fn place(&self, now: u64) -> u64 {
        self.place + if self.running { now - self.since } else { 0 }
    }

    pub(super) fn set(&mut self, running: bool, now: u64) {
        *self = Self {
            since: now,
            place: self.place(now),
            running,
        };
    }

    /// When `place` is reached, if the belt goes on as it does.
    pub(super) fn reaches(&self, place: u64) -> Option<u64> {
        self.running
            .then(|| self.since + place.saturating_sub(self.place))
    }
}
