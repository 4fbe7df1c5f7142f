//! Debouncing from the kernel's edges, without delay.

use crate::line::gate::Nanos;

/// Lets an on-edge through at once if the line had been quiet before it, and nothing else.
///
/// Both edges of the line are looked at, so that a contact that bounces on release does not count
/// as a new part. The time of the edge that passes is the kernel's own; the price is that a single
/// spike passes as well. That is the safe side: it makes a part that is rejected, not one that is
/// missed.
#[derive(Clone, Debug)]
pub(super) struct Debouncer {
    period: Nanos,
    /// The last edge of either direction.
    last: Option<Nanos>,
    on: bool,
}

impl Debouncer {
    /// `on`: the level at the start.
    pub(super) fn new(period: Nanos, on: bool) -> Self {
        Self {
            period,
            last: None,
            on,
        }
    }

    /// Takes in an edge; true if it counts.
    pub(super) fn edge(&mut self, rising: bool, at: Nanos) -> bool {
        let quiet = self
            .last
            .is_none_or(|last| at.since(last).0 >= self.period.0);
        // Off after off: the line went on and off again before the kernel looked. That edge was
        // real, and must not be skipped.
        let went_on = rising || !self.on;
        self.last = Some(at);
        self.on = rising;
        quiet && went_on
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

    /// Feeds (direction, microseconds); returns the times that count.
    fn counted(debouncer: &mut Debouncer, edges: &[(bool, u64)]) -> Vec<u64> {
        edges
            .iter()
            .filter(|(rising, us)| debouncer.edge(*rising, Nanos::from_micros(*us)))
            .map(|(_, us)| *us)
            .collect()
    }

    #[test]
    fn a_bouncing_contact_counts_once_at_its_first_edge() {
        let mut debouncer = Debouncer::new(Nanos::from_micros(200), false);
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
        assert_eq!(counted(&mut debouncer, &edges), [1_000, 20_000]);
    }

    #[test]
    fn a_pulse_too_short_for_the_kernel_to_see_both_edges_still_counts() {
        let mut debouncer = Debouncer::new(Nanos::from_micros(200), false);
        assert_eq!(
            counted(&mut debouncer, &[(false, 5_000), (false, 9_000)]),
            [5_000, 9_000]
        );
        // A part that was there at the start leaves.
        let mut debouncer = Debouncer::new(Nanos::from_micros(200), true);
        assert!(counted(&mut debouncer, &[(false, 5_000)]).is_empty());
    }

    proptest! {
        #[test]
        fn every_clean_on_edge_counts_and_no_two_are_closer_than_the_period(
            period in 1u64..1_000,
            steps in proptest::collection::vec((1u64..3_000, any::<bool>()), 1..200),
        ) {
            let mut debouncer = Debouncer::new(Nanos(period), false);
            let (mut at, mut last) = (0, None);
            for (step, rising) in steps {
                at += step;
                let counts = debouncer.edge(rising, Nanos(at));
                if rising && (last.is_none() || step >= period) {
                    prop_assert!(counts);
                }
                if counts && last.is_some() {
                    prop_assert!(step >= period);
                }
                last = Some(at);
            }
        }

        #[test]
        fn lost_edges_are_never_undercounted(directions in proptest::collection::vec(any::<bool>(), 0..50)) {
            // Real edges alternate; the worst case starts with an on-edge.
            let alternating = directions.iter().enumerate().filter(|(n, _)| n % 2 == 0).count();
            let lost = u32::try_from(directions.len()).unwrap();
            prop_assert!(Debouncer::lost_on_edges(lost) as usize >= alternating);
        }
    }
}
