//! Seeded random numbers whose sequence never changes.
//!
//! A bank fitted with seed 7 must have the same bytes in ten years, and a rendered part the same
//! pixels. General-purpose generators may change their sequences between versions. Therefore the two
//! short published algorithms in use (SplitMix64 to spread the seed, xoshiro256++ to draw; Blackman and
//! Vigna 2019) are written out here and fixed by tests.

/// A seeded generator (xoshiro256++). Not for secrets.
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
}

fn splitmix64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// `value` with its bits mixed: one step of SplitMix64, whose outputs can be used as independent draws.
pub fn mix(value: u64) -> u64 {
    let mut state = value;
    splitmix64(&mut state)
}

impl Rng {
    /// A generator for `seed`; any value may be used, also 0.
    pub fn new(seed: u64) -> Self {
        let mut s = seed;
        Self {
            state: std::array::from_fn(|_| splitmix64(&mut s)),
        }
    }

    /// An independent stream for item `index` under `seed`. It does not depend on earlier draws, so
    /// that work can be split over threads without changing a value.
    pub fn stream(seed: u64, index: u64) -> Self {
        let mut s = index ^ 0x6a09_e667_f3bc_c909;
        let spread = splitmix64(&mut s);
        Self::new(seed ^ spread)
    }

    /// 64 uniform bits.
    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.state;
        let out = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        out
    }

    /// Uniform in `0..n`. `n` = 0 gives 0.
    pub fn below(&mut self, n: usize) -> usize {
        // Multiply-shift: the bias is below n / 2^64, far less than a fit can notice.
        ((u128::from(self.next_u64()) * n as u128) >> 64) as usize
    }

    /// Uniform in `[0, 1)`, 24 bits.
    pub fn unit(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 * (1.0 / (1u32 << 24) as f32)
    }

    /// Uniform in `[low, high)`.
    pub fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// Mean 0, variance 1, from the sum of twelve uniform numbers: only additions, hence the same bits
    /// on every processor (a logarithm or cosine would depend on the maths library). The largest
    /// absolute value is 6.
    pub fn gaussian(&mut self) -> f32 {
        let mut sum = 0.0;
        for _ in 0..12 {
            sum += self.unit();
        }
        sum - 6.0
    }

    /// A permutation of `0..n` (Fisher-Yates).
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i, self.below(i + 1));
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_pinned() {
        let mut rng = Rng::new(0);
        // First output of xoshiro256++ seeded by SplitMix64(0), as in the authors' reference code.
        assert_eq!(rng.next_u64(), 0x53175d61490b23df);
        let mut stream = Rng::stream(7, 3);
        let first = stream.next_u64();
        assert_eq!(first, Rng::stream(7, 3).next_u64());
        assert_ne!(first, Rng::stream(7, 4).next_u64());
        assert_ne!(first, Rng::stream(8, 3).next_u64());
    }

    #[test]
    fn draws_stay_in_range_and_are_centred() {
        let mut rng = Rng::new(1);
        let (mut mean, mut square) = (0.0f64, 0.0f64);
        for _ in 0..20_000 {
            let u = rng.unit();
            assert!((0.0..1.0).contains(&u));
            assert!(rng.below(7) < 7);
            let g = f64::from(rng.gaussian());
            mean += g / 20_000.0;
            square += g * g / 20_000.0;
        }
        assert!(mean.abs() < 0.03, "mean {mean}");
        assert!((square - 1.0).abs() < 0.05, "variance {square}");
        assert_eq!(rng.below(0), 0);
    }

    #[test]
    fn a_permutation_holds_every_index_once() {
        let mut seen = Rng::new(5).permutation(100);
        assert_ne!(seen, (0..100).collect::<Vec<_>>());
        seen.sort_unstable();
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
    }
}
