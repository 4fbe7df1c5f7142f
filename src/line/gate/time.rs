//! Instants and distances of the line.

/// An instant of CLOCK_MONOTONIC, nanoseconds. The wall clock never decides anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(pub u64);

impl Nanos {
    /// Longest instant there is.
    pub const MAX: Self = Self(u64::MAX);

    /// `ms` milliseconds.
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms.saturating_mul(1_000_000))
    }

    /// `us` microseconds.
    pub const fn from_micros(us: u64) -> Self {
        Self(us.saturating_mul(1_000))
    }

    /// This much later; stays at the end of time instead of wrapping.
    #[must_use]
    pub const fn after(self, span: Self) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// Time from `earlier` until here; 0 when it is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }

    /// Microseconds, rounded down.
    pub const fn as_micros(self) -> u64 {
        self.0 / 1_000
    }
}

/// Encoder counts since the start of the program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Counts(pub u64);

/// A distance along the line after a trigger: by the clock, or by the encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// For belts of constant speed.
    Time(Nanos),
    /// For belts that stop and change speed.
    Counts(Counts),
}

/// Where the line is: the time and the encoder's count at that time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// CLOCK_MONOTONIC.
    pub time: Nanos,
    /// Encoder counts so far; 0 for ever without an encoder.
    pub counts: Counts,
}
