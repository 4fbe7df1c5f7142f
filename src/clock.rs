//! CLOCK_MONOTONIC: the one clock that decides anything, and the one that the kernel stamps edges
//! and frames with.

use crate::line::gate::Nanos;
use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Now.
pub fn now() -> Nanos {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

/// `duration` in nanoseconds; 584 years at most.
pub fn nanos(duration: Duration) -> Nanos {
    Nanos(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}

/// Time left until `deadline`; zero once it has passed.
pub fn until(deadline: Nanos) -> Duration {
    Duration::from_nanos(deadline.since(now()).0)
}
