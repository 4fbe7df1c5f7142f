//! Numbers of so few bits that sums of 16 bits are exact.

use super::isa::QUAD;

/// Which numbers a search may take, so that [`Kernel::run_narrow`](super::Kernel::run_narrow) has exact sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Narrow {
    /// Most that a vector's byte may be.
    pub(crate) byte: u8,
    /// Most that the sizes of a row's numbers of one [`Narrow::group`] may sum to, if there is a
    /// limit.
    pub(crate) four: Option<i32>,
}

impl Narrow {
    /// The group of number `k` of a row: four numbers of two steps.
    pub(crate) fn group(k: usize) -> usize {
        k / (2 * QUAD) * 2 + k % QUAD / 2
    }
}
