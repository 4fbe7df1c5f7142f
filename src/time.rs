//! Times and the belt's distances: types that do not mix.
//!
//! [`Instant`] and [`Duration`] are of CLOCK_MONOTONIC: the wall clock never decides anything.
//! [`Count`] and [`Counts`] are the same for the encoder: a reading, and a distance. Arithmetic
//! saturates; nothing here wraps or panics, except a division by zero.
//!
//! Pure, and without the standard library. It has its own `Duration` because the gate calculates with
//! durations all the time: with the one of `core` it takes a seventh longer.
//!
//! An instant is not a duration:
//!
//! ```compile_fail,E0308
//! use partgate::time::{Duration, Instant};
//! let pulse = Duration::from_millis(20);
//! let (now, falls_at): (Instant, Instant) = (Instant(0), pulse);
//! ```
//!
//! Counts are not a time:
//!
//! ```compile_fail,E0308
//! use partgate::time::{Counts, Instant};
//! let due = Instant(0).after(Counts(1_200));
//! ```

use core::ops::{Add, Div, Mul, Sub};

/// An instant of CLOCK_MONOTONIC: nanoseconds since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub u64);

impl Instant {
    /// The last instant, after 584 years; means never.
    pub const MAX: Self = Self(u64::MAX);

    /// `ms` milliseconds after the start of the clock.
    pub const fn from_millis(ms: u64) -> Self {
        Self(Duration::from_millis(ms).0)
    }

    /// `us` microseconds after the start of the clock.
    pub const fn from_micros(us: u64) -> Self {
        Self(Duration::from_micros(us).0)
    }

    /// This much later; stops at [`Instant::MAX`] instead of wrapping.
    #[must_use]
    pub const fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time.0))
    }

    /// This much earlier; stops at the start of the clock.
    #[must_use]
    pub const fn before(self, time: Duration) -> Self {
        Self(self.0.saturating_sub(time.0))
    }

    /// Time from `earlier` to `self`; zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration(self.0.saturating_sub(earlier.0))
    }
}

/// A duration in nanoseconds. [`Debug`](core::fmt::Debug) shows it in the largest unit that fits.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(pub u64);

impl Duration {
    /// Zero.
    pub const ZERO: Self = Self(0);

    /// `secs` seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000_000_000))
    }

    /// `ms` milliseconds.
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms.saturating_mul(1_000_000))
    }

    /// `us` microseconds.
    pub const fn from_micros(us: u64) -> Self {
        Self(us.saturating_mul(1_000))
    }

    /// Microseconds, rounded down.
    pub const fn as_micros(self) -> u64 {
        self.0 / 1_000
    }

    /// Milliseconds, rounded down.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Seconds.
    pub const fn as_secs_f64(self) -> f64 {
        core::time::Duration::from_nanos(self.0).as_secs_f64()
    }

    /// Whether it is zero.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl core::fmt::Debug for Duration {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::time::Duration::from(*self).fmt(f)
    }
}

impl Add for Duration {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Duration {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Mul<u64> for Duration {
    type Output = Self;

    fn mul(self, times: u64) -> Self {
        Self(self.0.saturating_mul(times))
    }
}

impl Div<u64> for Duration {
    type Output = Self;

    fn div(self, parts: u64) -> Self {
        Self(self.0 / parts)
    }
}

impl From<core::time::Duration> for Duration {
    /// Stops at 584 years.
    fn from(time: core::time::Duration) -> Self {
        Self(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
    }
}

impl From<Duration> for core::time::Duration {
    fn from(time: Duration) -> Self {
        Self::from_nanos(time.0)
    }
}

/// A reading of the encoder: counts since the start of the program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Count(pub u64);

impl Count {
    /// A count that is never reached.
    pub const MAX: Self = Self(u64::MAX);

    /// This much further on; stops at the last count instead of wrapping.
    #[must_use]
    pub const fn after(self, way: Counts) -> Self {
        Self(self.0.saturating_add(way.0))
    }

    /// This much further back; stops at the first.
    #[must_use]
    pub const fn before(self, way: Counts) -> Self {
        Self(self.0.saturating_sub(way.0))
    }

    /// Counts from `earlier` to `self`; zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Counts {
        Counts(self.0.saturating_sub(earlier.0))
    }
}

/// A distance along the belt, in counts of the encoder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Counts(pub u64);

impl Mul<u64> for Counts {
    type Output = Self;

    fn mul(self, times: u64) -> Self {
        Self(self.0.saturating_mul(times))
    }
}

impl Div<u64> for Counts {
    type Output = Self;

    fn div(self, parts: u64) -> Self {
        Self(self.0 / parts)
    }
}

/// A distance along the line after a trigger: by the clock, or by the encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// For belts of constant speed.
    Time(Duration),
    /// For belts that stop and change speed.
    Counts(Counts),
}

/// The line's place: a time, and the encoder's reading at that time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Time of CLOCK_MONOTONIC.
    pub time: Instant,
    /// The encoder's reading; always zero without an encoder.
    pub count: Count,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_stays_at_the_ends() {
        let second = Duration::from_secs(1);
        assert_eq!(Instant(7).after(second), Instant(1_000_000_007));
        assert_eq!(Instant(1_000_000_007).before(second), Instant(7));
        assert_eq!(Instant(9).since(Instant(7)), Duration(2));
        assert_eq!(Instant(7).since(Instant(9)), Duration::ZERO);
        assert_eq!(Instant(7).before(second), Instant(0));
        assert_eq!(Instant::MAX.after(second), Instant::MAX);
        assert_eq!(second + Duration(5), Duration(1_000_000_005));
        assert_eq!(second - Duration(5), Duration(999_999_995));
        assert_eq!(Duration(5) - second, Duration::ZERO);
        assert_eq!(Duration(u64::MAX) + second, Duration(u64::MAX));
        assert_eq!(Duration(u64::MAX) * 2, Duration(u64::MAX));
        assert_eq!(
            (second * 3, second / 4),
            (Duration(3_000_000_000), Duration(250_000_000))
        );
    }

    #[test]
    fn counts_stay_at_the_ends() {
        assert_eq!(Count(7).after(Counts(2)), Count(9));
        assert_eq!(Count(9).before(Counts(2)), Count(7));
        assert_eq!(Count(9).since(Count(7)), Counts(2));
        assert_eq!(Count(7).since(Count(9)), Counts(0));
        assert_eq!(Count(7).before(Counts(9)), Count(0));
        assert_eq!(Count::MAX.after(Counts(2)), Count::MAX);
        assert_eq!((Counts(9) * 3, Counts(9) / 3), (Counts(27), Counts(3)));
        assert_eq!(Counts(u64::MAX) * 2, Counts(u64::MAX));
    }

    #[test]
    fn units_are_what_they_say() {
        assert_eq!(Duration::from_secs(2), Duration(2_000_000_000));
        assert_eq!(Duration::from_millis(2), Duration(2_000_000));
        assert_eq!(Duration::from_micros(2), Duration(2_000));
        assert_eq!(Instant::from_millis(2), Instant(2_000_000));
        assert_eq!(Instant::from_micros(2), Instant(2_000));
        assert_eq!(Duration(2_999).as_micros(), 2);
        assert_eq!(Duration(2_999_999).as_millis(), 2);
        assert_eq!(Duration::from_millis(2_500).as_secs_f64(), 2.5);
        assert!(Duration(0).is_zero() && !Duration(1).is_zero());
        assert_eq!(std::format!("{:?}", Duration::from_micros(1_500)), "1.5ms");
    }

    #[test]
    fn the_length_that_the_system_takes_is_the_same_or_the_longest() {
        let system = core::time::Duration::new(3, 7);
        assert_eq!(Duration::from(system), Duration(3_000_000_007));
        assert_eq!(core::time::Duration::from(Duration(3_000_000_007)), system);
        assert_eq!(
            Duration::from(core::time::Duration::MAX),
            Duration(u64::MAX)
        );
    }
}
