//! Times in which nothing could act.

use crate::simulation::virtual_time::line::MS;

/// The last time in which a program was not there, or not run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Away {
    pub(super) from: u64,
    pub(super) to: u64,
}

impl Away {
    /// Adds an absence; one that follows another at once continues it.
    pub(super) fn extend(&mut self, from: u64, to: u64) {
        if self.to < from {
            self.from = from;
        }
        self.to = self.to.max(to);
    }

    /// Whether it was away all the time from `from` until now, with a tolerance for waking up.
    pub(super) const fn all_since(self, from: u64, now: u64) -> bool {
        self.from <= from.saturating_add(4 * MS) && self.to.saturating_add(2 * MS) > now
    }

    /// Whether this, or `other`, or one after the other, lasted all the time from `from` until now.
    pub(super) fn or_all_since(self, other: Self, from: u64, now: u64) -> bool {
        let in_turn = |first: Self, then: Self| {
            first.from <= from.saturating_add(4 * MS) && then.all_since(first.to.max(from), now)
        };
        self.all_since(from, now) || in_turn(self, other) || in_turn(other, self)
    }

    /// The time in which both were away.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            from: self.from.max(other.from),
            to: self.to.min(other.to),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn away(from: u64, to: u64) -> Away {
        Away {
            from: from * MS,
            to: to * MS,
        }
    }

    #[test]
    fn two_absences_in_turn_leave_no_time_between_them() {
        let (early, late) = (away(100, 200), away(150, 400));
        let all = |a: Away, b: Away, from: u64, now: u64| a.or_all_since(b, from * MS, now * MS);
        for (a, b) in [(early, late), (late, early)] {
            assert!(all(a, b, 100, 400));
            assert!(all(a, b, 120, 300));
            assert!(!all(a, b, 90, 300), "something could act before");
            assert!(!all(a, b, 100, 403), "something can act now");
        }
        assert!(!all(early, away(210, 400), 100, 300), "and between them");
        assert!(!all(away(210, 400), early, 100, 300), "and between them");
        // One that goes on for ever.
        let dead = Away {
            from: 150 * MS,
            to: u64::MAX,
        };
        assert!(all(early, dead, 100, 900) && all(dead, early, 100, 900));
        assert!(!all(early, dead, 90, 900));
        assert!(!all(Away::default(), dead, 140, 900));
    }

    #[test]
    fn both_are_away_only_while_each_is() {
        let both = away(100, 200).and(away(150, 400));
        assert_eq!((both.from, both.to), (150 * MS, 200 * MS));
        assert!(
            !away(100, 200)
                .and(away(250, 400))
                .all_since(200 * MS, 240 * MS)
        );
    }
}
