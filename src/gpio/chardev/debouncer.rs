//! Debouncing from the kernel's edges, without delay.

use crate::time::{Duration, Instant};

/// Passes an on-edge at once if the input was quiet before it, and an off-edge when the input is
/// quiet after it.
///
/// It uses both edges of the input, so that a contact that bounces on release does not count as a
/// new part. The time of the edge that passes is the kernel's own. A single spike passes as well.
/// That is the safe side: it makes a part that is rejected, not one that is missed.
///
/// The kernel names an edge rising or falling by the level that its interrupt thread finds a moment
/// after the edge. While a contact bounces, this can be another level, and edges close together
/// merge. Only the last edge of a burst is surely correct. So the level before an edge decides what
/// an edge after quiet is. From off it can only be an on-edge, whatever its name. From on it is a
/// release, unless its name is rising. Then either the release bounces, or an off-edge was missed
/// and this is a new part. Which of the two it is shows when the input is quiet again, so the edge
/// is held back until then. Every release is held back too: it began with the burst's first edge.
#[derive(Clone, Debug)]
pub(super) struct Debouncer {
    period: Duration,
    /// The last edge of either direction.
    last: Option<Instant>,
    /// The level after that edge.
    on: bool,
    /// The level that was reported last.
    known: bool,
    /// Edges after which the input is not quiet yet.
    burst: Option<Burst>,
}

#[derive(Clone, Copy, Debug)]
struct Burst {
    first: Instant,
    /// It began while the input was on.
    from_on: bool,
    /// Its first edge has the name rising.
    rising: bool,
}

/// An edge that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) on: bool,
    pub(super) at: Instant,
}

impl Debouncer {
    /// `on`: the level at the start.
    pub(super) fn new(period: Duration, on: bool) -> Self {
        Self {
            period,
            last: None,
            on,
            known: on,
            burst: None,
        }
    }

    /// Takes an edge; returns what counts by now: an edge that was held back, and this one. If
    /// edges are missing (`lost`), the input may not have been quiet, and this edge counts by its
    /// name.
    pub(super) fn edge(&mut self, rising: bool, at: Instant, lost: bool) -> [Option<Counted>; 2] {
        let (mut settled, mut counts) = (None, None);
        if self.quiet(at) {
            settled = self.settle(at);
            self.burst = Some(Burst {
                first: at,
                from_on: self.on,
                rising,
            });
            counts = (!self.on).then_some(Counted { on: true, at });
        }
        if lost && counts.is_none() {
            self.burst = Some(Burst {
                first: at,
                from_on: false,
                rising: false,
            });
            counts = Some(Counted { on: rising, at });
        }
        self.known = counts.map_or(self.known, |counted| counted.on);
        self.last = Some(at);
        self.on = rising;
        [settled, counts]
    }

    /// Decides about an edge that was held back, if the input was quiet until `now`.
    pub(super) fn settle(&mut self, now: Instant) -> Option<Counted> {
        if !self.quiet(now) {
            return None;
        }
        let (burst, last) = (self.burst.take()?, self.last?);
        let counts = match (self.known, self.on) {
            (true, false) if burst.from_on => Some((false, burst.first)),
            // A pulse within one burst, or a pulse of which only this last edge is known.
            (true, false) => Some((false, last)),
            (false, true) => Some((true, burst.first)),
            (true, true) if burst.from_on && burst.rising => Some((true, burst.first)),
            _ => None,
        };
        self.known = self.on;
        counts.map(|(on, at)| Counted { on, at })
    }

    /// When the decision about an edge that is held back is possible.
    pub(super) fn settles_at(&self) -> Option<Instant> {
        self.burst
            .and(self.last)
            .map(|last| last.after(self.period))
    }

    fn quiet(&self, at: Instant) -> bool {
        self.last.is_none_or(|last| at.since(last) >= self.period)
    }

    /// How many of `lost` edges of both directions can be on-edges.
    pub(super) fn lost_on_edges(lost: u32) -> u32 {
        lost.div_ceil(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Feeds (direction, microseconds) and a long quiet; returns what counts: on and off, in
    /// microseconds.
    fn debounced(on: bool, edges: &[(bool, u64)]) -> Vec<(bool, u64)> {
        let mut debouncer = Debouncer::new(Duration::from_micros(200), on);
        let mut counted: Vec<Counted> = edges
            .iter()
            .flat_map(|(rising, us)| debouncer.edge(*rising, Instant::from_micros(*us), false))
            .flatten()
            .collect();
        counted.extend(debouncer.settle(Instant::MAX));
        let counted = counted.iter();
        counted.map(|edge| (edge.on, edge.at.0 / 1_000)).collect()
    }

    fn counted(on: bool, edges: &[(bool, u64)]) -> Vec<u64> {
        let edges = debounced(on, edges).into_iter();
        edges.filter_map(|(on, at)| on.then_some(at)).collect()
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
        // The part covers the sensor from its first edge to the first one of its release.
        let counted = debounced(false, &edges);
        assert_eq!(counted, [(true, 1_000), (false, 9_000), (true, 20_000)]);
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
        let pulses = debounced(false, &[(false, 5_000), (true, 9_000), (false, 9_100)]);
        assert_eq!(
            pulses,
            [(true, 5_000), (false, 5_000), (true, 9_000), (false, 9_100)]
        );
        // A part that was there at the start leaves.
        assert_eq!(debounced(true, &[(false, 5_000)]), [(false, 5_000)]);
        // A sensor that loses a part for a moment has not seen it leave.
        assert_eq!(debounced(true, &[(false, 5_000), (true, 5_100)]), []);
    }

    #[test]
    fn an_edge_is_held_back_until_the_input_is_quiet() {
        let mut debouncer = Debouncer::new(Duration(100), true);
        let on = |at| {
            Some(Counted {
                on: true,
                at: Instant(at),
            })
        };
        let off = |at| {
            Some(Counted {
                on: false,
                at: Instant(at),
            })
        };
        assert_eq!(debouncer.settles_at(), None);
        assert_eq!(debouncer.edge(true, Instant(1_000), false), [None, None]);
        assert_eq!(debouncer.settles_at(), Some(Instant(1_100)));
        assert_eq!(debouncer.edge(true, Instant(1_050), false), [None, None]);
        assert_eq!(debouncer.settle(Instant(1_149)), None);
        assert_eq!(debouncer.settle(Instant(1_150)), on(1_000));
        assert_eq!(debouncer.settles_at(), None);
        assert_eq!(debouncer.settle(Instant(9_000)), None);
        // An off-edge comes with the next on-edge at the latest, before it.
        assert_eq!(debouncer.edge(false, Instant(10_000), false), [None, None]);
        let both = debouncer.edge(true, Instant(20_000), false);
        assert_eq!(both, [off(10_000), on(20_000)]);
    }

    #[test]
    fn with_edges_missing_the_next_one_counts_by_its_name() {
        let mut debouncer = Debouncer::new(Duration(100), true);
        let counted = |on, at| {
            Some(Counted {
                on,
                at: Instant(at),
            })
        };
        let release = debouncer.edge(false, Instant(1_000), true);
        assert_eq!(release, [None, counted(false, 1_000)]);
        assert_eq!(debouncer.settle(Instant(2_000)), None, "reported already");
        assert_eq!(
            debouncer.edge(true, Instant(3_000), false)[1],
            counted(true, 3_000)
        );
        let within = debouncer.edge(true, Instant(3_050), true);
        assert_eq!(within, [None, counted(true, 3_050)]);
        assert_eq!(debouncer.edge(false, Instant(3_070), false), [None, None]);
        assert_eq!(debouncer.settle(Instant(9_000)), counted(false, 3_070));
    }

    proptest! {
        /// Contacts that close and open with bounces of any name; the last edge of each burst has
        /// the correct name.
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
            let mut debouncer = Debouncer::new(Duration(100), false);
            let (mut at, mut came, mut left, mut counts) =
                (10_000, Vec::new(), Vec::new(), Vec::new());
            for (closing, opening, stays, gap) in parts {
                came.push(Instant(at));
                for (bounces, level) in [(closing, true), (opening, false)] {
                    if !level {
                        left.push(Instant(at));
                    }
                    for (step, name) in bounces {
                        counts.extend(debouncer.edge(name, Instant(at), false).into_iter().flatten());
                        at += step;
                    }
                    counts.extend(debouncer.edge(level, Instant(at), false).into_iter().flatten());
                    at += if level { stays } else { gap };
                }
            }
            counts.extend(debouncer.settle(Instant::MAX));
            let of = |on: bool| -> Vec<Instant> {
                counts.iter().filter(|edge| edge.on == on).map(|edge| edge.at).collect()
            };
            prop_assert_eq!(of(true), came);
            prop_assert_eq!(of(false), left);
            prop_assert!(counts.is_sorted_by_key(|edge| edge.at));
        }

        #[test]
        fn whatever_comes_nothing_counts_twice_or_closer_than_the_period(
            period in 1u64..1_000,
            steps in proptest::collection::vec((0u64..3_000, any::<bool>()), 1..200),
        ) {
            let mut debouncer = Debouncer::new(Duration(period), false);
            let (mut at, mut counts) = (0, Vec::new());
            for (step, rising) in steps {
                at += step;
                counts.extend(debouncer.edge(rising, Instant(at), false).into_iter().flatten());
            }
            counts.extend(debouncer.settle(Instant::MAX));
            prop_assert!(counts.is_sorted_by_key(|edge| edge.at));
            let counts: Vec<Instant> = counts.iter().filter(|edge| edge.on).map(|edge| edge.at).collect();
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
