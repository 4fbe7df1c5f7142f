//! Debouncing from the kernel's edges, without delay.

use crate::line::gate::Nanos;

/// Lets an on-edge through at once if the line had been quiet before it, and nothing else.
///
/// Both edges of the line are looked at, so that a contact that bounces on release does not count
/// as a new part. The time of the edge that passes is the kernel's own; the price is that a single
/// spike passes as well. That is the safe side: it makes a part that is rejected, not one that is
/// missed.
///
/// What the kernel calls rising or falling is the level that its interrupt thread finds a moment
/// after the edge. While a contact bounces that may be another one, and edges close together
/// merge; only the last of a burst is sure to be right. So an edge after quiet is judged by the
/// level before it: from off it can only be an on-edge, whatever it is called. From on it is a
/// release, unless it is called rising: then either the release bounces, or an off-edge was missed
/// and this is a new part. Which of the two shows once the line is quiet again, and the edge is held
/// back until then.
#[derive(Clone, Debug)]
pub(super) struct Debouncer {
    period: Nanos,
    /// The last edge of either direction.
    last: Option<Nanos>,
    /// The level as of that edge.
    on: bool,
    /// An edge of which it is not yet known whether it counts.
    held: Option<Nanos>,
}

impl Debouncer {
    /// `on`: the level at the start.
    pub(super) fn new(period: Nanos, on: bool) -> Self {
        Self {
            period,
            last: None,
            on,
            held: None,
        }
    }

    /// Takes in an edge; the time of the on-edge that counts by now, if any.
    pub(super) fn edge(&mut self, rising: bool, at: Nanos) -> Option<Nanos> {
        let mut counts = None;
        if self.quiet(at) {
            counts = self.settle(at);
            if !self.on {
                counts = Some(at);
            } else if rising {
                self.held = Some(at);
            }
        }
        self.last = Some(at);
        self.on = rising;
        counts
    }

    /// Decides on an edge that was held back, if the line was quiet until `now`.
    pub(super) fn settle(&mut self, now: Nanos) -> Option<Nanos> {
        if self.held.is_none() || !self.quiet(now) {
            return None;
        }
        let held = self.held.take();
        if self.on { held } else { None }
    }

    /// When an edge that is held back can be decided on.
    pub(super) fn settles_at(&self) -> Option<Nanos> {
        self.held.and(self.last).map(|last| last.after(self.period))
    }

    fn quiet(&self, at: Nanos) -> bool {
        self.last
            .is_none_or(|last| at.since(last).0 >= self.period.0)
    }

    /// Of `lost` edges of both directions, how many may have been on-edges.
    pub(super) fn lost_on_edges(lost: u32) -> u32 {
        lost.div_ceil(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Feeds (direction, microseconds) and a long quiet; returns the times that count.
    fn counted(on: bool, edges: &[(bool, u64)]) -> Vec<u64> {
        let mut debouncer = Debouncer::new(Nanos::from_micros(200), on);
        let mut counted: Vec<Nanos> = edges
            .iter()
            .filter_map(|(rising, us)| debouncer.edge(*rising, Nanos::from_micros(*us)))
            .collect();
        counted.extend(debouncer.settle(Nanos::MAX));
        counted.iter().map(|at| at.as_micros()).collect()
    }

    #[test]
    fn a_bouncing_contact_counts_once_at_its_first_edge() {
        let edges = [
            (true, 1_000),
            (false, 1_020),
            (true, 1_050),
            // Released, bouncing as well.
            (false, 9_000),
            (true, 9_030),
            (false, 9_070),
            // The next part.
            (true, 20_000),
        ];
        assert_eq!(counted(false, &edges), [1_000, 20_000]);
    }

    #[test]
    fn wrong_names_of_bouncing_edges_make_no_difference() {
        // Closing, the first edge called falling; opening, the first called rising.
        let edges = [
            (false, 1_000),
            (true, 1_040),
            (true, 9_000),
            (true, 9_030),
            (false, 9_070),
            (true, 20_000),
        ];
        assert_eq!(counted(false, &edges), [1_000, 20_000]);
    }

    #[test]
    fn a_missed_off_edge_does_not_hide_the_next_part() {
        assert_eq!(
            counted(false, &[(true, 1_000), (true, 9_000)]),
            [1_000, 9_000]
        );
        assert_eq!(
            counted(false, &[(true, 1_000), (true, 9_000), (true, 20_000)]),
            [1_000, 9_000, 20_000]
        );
    }

    #[test]
    fn a_pulse_too_short_for_the_kernel_to_see_both_edges_still_counts() {
        assert_eq!(
            counted(false, &[(false, 5_000), (false, 9_000)]),
            [5_000, 9_000]
        );
        // A part that was there at the start leaves.
        assert!(counted(true, &[(false, 5_000)]).is_empty());
    }

    #[test]
    fn an_edge_is_held_back_until_the_line_is_quiet() {
        let mut debouncer = Debouncer::new(Nanos(100), true);
        assert_eq!(debouncer.settles_at(), None);
        assert_eq!(debouncer.edge(true, Nanos(1_000)), None);
        assert_eq!(debouncer.settles_at(), Some(Nanos(1_100)));
        assert_eq!(debouncer.edge(true, Nanos(1_050)), None);
        assert_eq!(debouncer.settle(Nanos(1_149)), None);
        assert_eq!(debouncer.settle(Nanos(1_150)), Some(Nanos(1_000)));
        assert_eq!(debouncer.settles_at(), None);
        assert_eq!(debouncer.settle(Nanos(9_000)), None);
    }

    proptest! {
        /// Contacts that close and open with bounces of any names, the last of each burst right.
        #[test]
        fn every_part_counts_once_with_the_time_of_its_first_edge(
            parts in proptest::collection::vec(
                (
                    proptest::collection::vec((1u64..100, any::<bool>()), 0..6),
                    proptest::collection::vec((1u64..100, any::<bool>()), 0..6),
                    1_000u64..5_000,
                    1_000u64..5_000,
                ),
                1..20,
            ),
        ) {
            let mut debouncer = Debouncer::new(Nanos(100), false);
            let (mut at, mut came, mut counts) = (10_000, Vec::new(), Vec::new());
            for (closing, opening, stays, gap) in parts {
                came.push(Nanos(at));
                for (bounces, level) in [(closing, true), (opening, false)] {
                    for (step, name) in bounces {
                        counts.extend(debouncer.edge(name, Nanos(at)));
                        at += step;
                    }
                    counts.extend(debouncer.edge(level, Nanos(at)));
                    at += if level { stays } else { gap };
                }
            }
            counts.extend(debouncer.settle(Nanos::MAX));
            prop_assert_eq!(counts, came);
        }

        #[test]
        fn whatever_comes_nothing_counts_twice_or_closer_than_the_period(
            period in 1u64..1_000,
            steps in proptest::collection::vec((0u64..3_000, any::<bool>()), 1..200),
        ) {
            let mut debouncer = Debouncer::new(Nanos(period), false);
            let (mut at, mut counts) = (0, Vec::new());
            for (step, rising) in steps {
                at += step;
                counts.extend(debouncer.edge(rising, Nanos(at)));
            }
            counts.extend(debouncer.settle(Nanos::MAX));
            prop_assert!(counts.windows(2).all(|pair| pair[1].since(pair[0]).0 >= period));
        }

        #[test]
        fn lost_edges_are_never_undercounted(lost in 0u32..100) {
            // Real edges alternate; the worst case starts with an on-edge.
            let alternating = (0..lost).filter(|n| n % 2 == 0).count();
            prop_assert!(Debouncer::lost_on_edges(lost) as usize >= alternating);
        }
    }
}
