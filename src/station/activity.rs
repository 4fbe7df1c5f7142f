//! When each thread last made a round of its loop. A thread that hangs cannot report it, so the
//! gate thread checks these times.

use crate::clock;
use crate::time::{Duration, Instant};
use std::sync::atomic::{AtomicU64, Ordering};

/// Time of one thread's last round, nanoseconds of CLOCK_MONOTONIC.
#[derive(Debug)]
pub(super) struct ActivityStamp(AtomicU64);

impl ActivityStamp {
    fn now() -> Self {
        Self(AtomicU64::new(clock::now().0))
    }

    /// To be called by the thread in every round.
    pub(super) fn stamp(&self) {
        self.0.store(clock::now().0, Ordering::Relaxed);
    }

    /// Time since the last round at `now`.
    pub(super) fn silent_for(&self, now: Instant) -> Duration {
        now.since(Instant(self.0.load(Ordering::Relaxed)))
    }
}

/// The times of all threads except the gate thread.
#[derive(Debug)]
pub(super) struct ThreadActivity {
    pub(super) trigger: ActivityStamp,
    pub(super) camera: ActivityStamp,
    pub(super) inspector: ActivityStamp,
    pub(super) record: ActivityStamp,
    pub(super) control: ActivityStamp,
}

impl ThreadActivity {
    pub(super) fn new() -> Self {
        Self {
            trigger: ActivityStamp::now(),
            camera: ActivityStamp::now(),
            inspector: ActivityStamp::now(),
            record: ActivityStamp::now(),
            control: ActivityStamp::now(),
        }
    }
}
