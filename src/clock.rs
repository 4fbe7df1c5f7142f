//! CLOCK_MONOTONIC: the only clock that decides anything. The kernel stamps edges and frames with it.

use crate::time::{Duration, Instant};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// The present time.
pub fn now() -> Instant {
    read(ClockId::Monotonic)
}

fn read(clock: ClockId) -> Instant {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Instant(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

/// Notices that the machine was suspended: this clock stops then, but the line does not.
#[derive(Clone, Copy, Debug)]
pub struct Suspension {
    /// How far CLOCK_BOOTTIME was ahead at the start, at most.
    ahead: Duration,
}

impl Suspension {
    /// Starts to watch now.
    pub fn watch() -> Self {
        let now = now();
        Self {
            ahead: read(ClockId::Boottime).since(now),
        }
    }

    /// How long the machine has been suspended since then, at least. A thread that is delayed between
    /// reading the two clocks measures less, never more.
    pub fn lasted(&self) -> Duration {
        let boot = read(ClockId::Boottime);
        boot.since(now()) - self.ahead
    }
}

/// Waits for `time`.
pub fn sleep(time: Duration) {
    std::thread::sleep(time.into());
}

/// In the form of the kernel's calls.
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
