//! CLOCK_MONOTONIC: the one clock that decides anything, and the one that the kernel stamps edges
//! and frames with.

use crate::time::{Duration, Instant};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Now.
pub fn now() -> Instant {
    read(ClockId::Monotonic)
}

fn read(clock: ClockId) -> Instant {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Instant(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

/// Notices that the machine was suspended: this clock stands still then, and the world does not.
#[derive(Clone, Copy, Debug)]
pub struct Suspension {
    /// How far CLOCK_BOOTTIME was ahead at the start, at most.
    ahead: Duration,
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
    pub fn lasted(&self) -> Duration {
        let boot = read(ClockId::Boottime);
        boot.since(now()) - self.ahead
    }
}

/// Waits for so long.
pub fn sleep(time: Duration) {
    std::thread::sleep(time.into());
}

/// As the kernel's calls take it.
pub(crate) fn timespec(time: Duration) -> Timespec {
    Timespec {
        tv_sec: (time.0 / 1_000_000_000).cast_signed(),
        tv_nsec: (time.0 % 1_000_000_000) as _,
    }
}

/// Time left until `deadline`; zero once it has passed.
pub fn until(deadline: Instant) -> Duration {
    deadline.since(now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_stays_awake_was_not_suspended() {
        let watch = Suspension::watch();
        for _ in 0..1_000 {
            assert!(watch.lasted() < Duration::from_millis(1));
            std::thread::yield_now();
        }
    }
}
