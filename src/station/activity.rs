//! When each thread last went round. A thread that hangs cannot say so itself: the gate's looks at
//! these words.

use crate::clock;
use crate::time::{Duration, Instant};
use std::sync::atomic::{AtomicU64, Ordering};

/// One thread's word, nanoseconds of CLOCK_MONOTONIC.
#[derive(Debug)]
pub(super) struct ActivityStamp(AtomicU64);

impl ActivityStamp {
    fn now() -> Self {
        Self(AtomicU64::new(clock::now().0))
    }

    /// The calling thread goes round.
    pub(super) fn stamp(&self) {
        self.0.store(clock::now().0, Ordering::Relaxed);
    }

    /// How long it has not gone round at `now`.
    pub(super) fn silent_for(&self, now: Instant) -> Duration {
        now.since(Instant(self.0.load(Ordering::Relaxed)))
    }
}

/// The words of all threads besides the gate's.
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
