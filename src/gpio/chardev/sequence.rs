//! Edges that the kernel counted and dropped.

/// Follows the kernel's sequence numbers of one GPIO line.
#[derive(Clone, Debug, Default)]
pub(super) struct Sequence {
    last: u32,
}

impl Sequence {
    /// Number of edges between the last edge and this one. The kernel numbers from 1 and wraps.
    pub(super) fn lost_before(&mut self, number: u32) -> u32 {
        let lost = number.wrapping_sub(self.last).wrapping_sub(1);
        self.last = number;
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_found_from_the_first_edge_on_and_across_the_wrap() {
        let mut sequence = Sequence::default();
        assert_eq!(sequence.lost_before(1), 0);
        assert_eq!(sequence.lost_before(2), 0);
        assert_eq!(sequence.lost_before(5), 2);
        assert_eq!(Sequence::default().lost_before(4), 3);
        let mut near_end = Sequence { last: u32::MAX - 1 };
        assert_eq!(near_end.lost_before(u32::MAX), 0);
        assert_eq!(near_end.lost_before(0), 0);
        assert_eq!(near_end.lost_before(2), 1);
    }
}
