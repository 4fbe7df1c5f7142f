//! Random numbers that do not depend on earlier draws: each is a function of a seed, of its
//! purpose, and of a number. If a fault is left out, the others stay the same, so a failing run can
//! be made smaller.

use crate::seed::mix;

/// Draws under one seed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draws {
    seed: u64,
}

impl Draws {
    pub(super) const fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// 64 bits for item `number` of `purpose`.
    pub(super) fn bits(self, purpose: u64, number: u64) -> u64 {
        mix(mix(self.seed ^ purpose.wrapping_mul(0x9e37_79b9_7f4a_7c15)) ^ number)
    }

    /// Uniform in `low..high`; `low` if that is empty.
    pub(super) fn between(self, purpose: u64, number: u64, low: u64, high: u64) -> u64 {
        let width = u128::from(high.saturating_sub(low));
        low + ((u128::from(self.bits(purpose, number)) * width) >> 64) as u64
    }

    /// True once in `one_in` on average; never for 0.
    pub(super) fn one_in(self, purpose: u64, number: u64, one_in: u64) -> bool {
        one_in > 0 && self.between(purpose, number, 0, one_in) == 0
    }

    /// True in `percent` of a hundred cases.
    pub(super) fn percent(self, purpose: u64, number: u64, percent: u64) -> bool {
        self.between(purpose, number, 0, 100) < percent
    }
}
