//! Belt position from the edges of one encoder channel.

use crate::line::devices::Edge;
use crate::line::gate::Counts;
use std::num::NonZeroU32;

/// Counts the on-edges of an encoder input, every `divider` of them as one count.
///
/// One channel tells distance, not direction: a belt that runs backwards counts forwards. Edges
/// that the kernel had to drop ([`Edge::lost`]) are counted as well, because the belt did move.
///
/// **How fast edges may come.** The kernel handles an edge in an interrupt thread and keeps the
/// interrupt masked until that thread has run. Edges that follow each other faster than the thread
/// is scheduled merge into one, and no sequence number tells of it. What a board manages depends
/// on its kernel and load and was not measured here. Choose an encoder, or a divider in front of
/// the input, whose edges stay a millisecond apart at full speed (a resolution that positions an
/// ejector rarely has to exceed), and compare counts against the belt's length once at
/// commissioning.
#[derive(Clone, Debug)]
pub struct Encoder {
    divider: u32,
    edges: u32,
    counts: Counts,
}

impl Encoder {
    /// An encoder at count 0 that makes one count of `divider` edges.
    pub fn new(divider: NonZeroU32) -> Self {
        Self {
            divider: divider.get(),
            edges: 0,
            counts: Counts(0),
        }
    }

    /// Takes in an edge of the encoder input and returns the count so far.
    pub fn edge(&mut self, edge: &Edge) -> Counts {
        let edges = u64::from(self.edges) + 1 + u64::from(edge.lost);
        let divider = u64::from(self.divider);
        self.counts = Counts(self.counts.0.saturating_add(edges / divider));
        // The remainder is smaller than a u32 divider.
        self.edges = u32::try_from(edges % divider).unwrap_or(0);
        self.counts
    }

    /// The count so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::devices::Input;
    use crate::line::gate::Nanos;
    use proptest::prelude::*;

    fn edge(lost: u32) -> Edge {
        Edge {
            input: Input::Encoder,
            at: Nanos(0),
            lost,
        }
    }

    #[test]
    fn four_edges_make_a_count_when_divided_by_four() {
        let mut encoder = Encoder::new(NonZeroU32::new(4).unwrap());
        let counts: Vec<u64> = (0..9).map(|_| encoder.edge(&edge(0)).0).collect();
        assert_eq!(counts, [0, 0, 0, 1, 1, 1, 1, 2, 2]);
    }

    proptest! {
        #[test]
        fn no_edge_is_forgotten(
            divider in 1u32..1000,
            lost in proptest::collection::vec(prop_oneof![Just(0), any::<u32>()], 0..50),
        ) {
            let mut encoder = Encoder::new(NonZeroU32::new(divider).unwrap());
            let mut total = 0u64;
            for n in lost {
                total += 1 + u64::from(n);
                prop_assert_eq!(encoder.edge(&edge(n)).0, total / u64::from(divider));
            }
            prop_assert_eq!(encoder.counts().0, total / u64::from(divider));
        }
    }
}
