//! Distances along the line in the unit in which they are set.

use crate::time::{Position, Span};

/// A span as unit and length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Along {
    pub(super) unit: Unit,
    pub(super) length: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Time,
    Counts,
}

impl Unit {
    pub(super) const fn of(self, position: Position) -> u64 {
        match self {
            Unit::Time => position.time.0,
            Unit::Counts => position.count.0,
        }
    }
}

impl Along {
    pub(super) const fn new(span: Span) -> Self {
        match span {
            Span::Time(time) => Self {
                unit: Unit::Time,
                length: time.0,
            },
            Span::Counts(counts) => Self {
                unit: Unit::Counts,
                length: counts.0,
            },
        }
    }

    /// The place this far after `position`.
    pub(super) const fn after(self, position: Position) -> u64 {
        self.unit.of(position).saturating_add(self.length)
    }
}
