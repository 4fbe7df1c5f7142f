//! CLOCK_MONOTONIC: the one clock that decides anything, and the one that the kernel stamps edges
//! and frames with.

use crate::line::gate::Nanos;
use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Now.
pub fn now() -> Nanos {
    read(ClockId::Monotonic)
}

fn read(clock: ClockId) -> Nanos {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

/// Notices that the machine was suspended: this clock stands still then, and the world does not.
#[derive(Clone, Copy, Debug)]
pub struct Suspension {
    /// How far CLOCK_BOOTTIME was ahead at the start, at most.
    ahead: Nanos,
}

impl Suspension {
    /// Counts from here.
    pub fn watch() -> Self {
        let now = now();
        Self {
            ahead: read(ClockId::Boottime).since(now),
        }
    }

    /// How long the machine has been suspended since then, at least: a thread that is kept waiting
    /// between its two looks at the clocks sees less, never more.
    pub fn lasted(&self) -> Nanos {
        let boot = read(ClockId::Boottime);
        Nanos(boot.since(now()).0.saturating_sub(self.ahead.0))
    }
}

/// `duration` in nanoseconds; 584 years at most.
pub fn nanos(duration: Duration) -> Nanos {
    Nanos(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}

/// Time left until `deadline`; zero once it has passed.
pub fn until(deadline: Nanos) -> Duration {
    Duration::from_nanos(deadline.since(now()).0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_stays_awake_was_not_suspended() {
        let watch = Suspension::watch();
        for _ in 0..1_000 {
            assert!(watch.lasted() < Nanos::from_millis(1));
            std::thread::yield_now();
        }
    }
}
