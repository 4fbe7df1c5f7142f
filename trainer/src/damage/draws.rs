//! Random draws with the same bits on every machine: only sums, products and square roots, which
//! IEEE 754 rounds exactly. Logarithms and cosines depend on the maths library.

use partgate::seed::Rng;

/// Log-uniform in `[low, high)`: every octave is as likely as the next. `low` must be above 0.
pub(super) fn log_uniform(rng: &mut Rng, low: f32, high: f32) -> f32 {
    // low * (high / low) ^ u, with one factor, a repeated square root, for each binary digit of u.
    let mut bits = rng.next_u64();
    let mut root = (high / low).max(1.0);
    let mut value = low;
    for _ in 0..16 {
        root = root.sqrt();
        if bits & 1 == 1 {
            value *= root;
        }
        bits >>= 1;
    }
    value
}

/// A direction of length 1, every angle as likely as any other.
pub(super) fn direction(rng: &mut Rng) -> (f32, f32) {
    loop {
        let (x, y) = (rng.between(-1.0, 1.0), rng.between(-1.0, 1.0));
        let square = x * x + y * y;
        if (0.01..=1.0).contains(&square) {
            let norm = square.sqrt();
            return (x / norm, y / norm);
        }
    }
}

/// Cosine and sine of an angle near `2 t` (exactly: of twice the angle whose tangent is `t`).
pub(super) fn turn(t: f32) -> (f32, f32) {
    let square = t * t;
    ((1.0 - square) / (1.0 + square), 2.0 * t / (1.0 + square))
}

/// One of `choices`, which must not be empty.
pub(super) fn one_of<T: Copy>(rng: &mut Rng, choices: &[T]) -> T {
    choices[rng.below(choices.len())]
}

/// True with probability `share`.
pub(super) fn chance(rng: &mut Rng, share: f32) -> bool {
    rng.unit() < share
}

/// Smooth random values in the plane ("value noise"): a random number at every whole point,
/// interpolated between.
pub(super) struct Noise {
    seed: u64,
}

impl Noise {
    pub(super) fn new(rng: &mut Rng) -> Self {
        Self {
            seed: rng.next_u64(),
        }
    }

    /// -1..=1. Mixed from the coordinates (the finishing steps of SplitMix64) instead of looked up
    /// in a table, which would repeat: a network learns to see the repetition.
    fn value(&self, x: i64, y: i64) -> f32 {
        let mut z = self
            .seed
            .wrapping_add((x as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
            .wrapping_add((y as u64).wrapping_mul(0xd1b5_4a32_d192_ed03));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z >> 40) as f32 * (2.0 / (1u32 << 24) as f32) - 1.0
    }

    /// One value for the whole unit square that holds (`x`, `y`): grains with edges.
    pub(super) fn grain(&self, x: f32, y: f32) -> f32 {
        self.value(x.floor() as i64, y.floor() as i64)
    }

    /// Smooth, -1..=1, features about one unit wide.
    pub(super) fn smooth(&self, x: f32, y: f32) -> f32 {
        let (fx, fy) = (x.floor(), y.floor());
        let (ix, iy) = (fx as i64, fy as i64);
        let ease = |t: f32| t * t * (3.0 - 2.0 * t);
        let (tx, ty) = (ease(x - fx), ease(y - fy));
        let row = |j| {
            let left = self.value(ix, iy + j);
            left + tx * (self.value(ix + 1, iy + j) - left)
        };
        let top = row(0);
        top + ty * (row(1) - top)
    }

    /// Three octaves: clouds with detail, about -1..=1.
    pub(super) fn cloudy(&self, x: f32, y: f32) -> f32 {
        (self.smooth(x, y)
            + 0.5 * self.smooth(2.0 * x + 11.3, 2.0 * y + 5.7)
            + 0.25 * self.smooth(4.0 * x + 3.1, 4.0 * y + 19.9))
            / 1.4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_log_uniform() {
        let mut rng = Rng::new(3);
        let mut low = 0;
        for _ in 0..4000 {
            let v = log_uniform(&mut rng, 0.01, 1.0);
            assert!((0.01..1.001).contains(&v), "{v}");
            low += usize::from(v < 0.1);
        }
        assert!(
            (1850..2150).contains(&low),
            "{low} of 4000 below the middle"
        );
        assert_eq!(log_uniform(&mut rng, 2.0, 1.0), 2.0);
    }

    #[test]
    fn directions_and_turns_have_length_one() {
        let mut rng = Rng::new(4);
        for _ in 0..200 {
            let (x, y) = direction(&mut rng);
            assert!((x * x + y * y - 1.0).abs() < 1e-5);
            let (c, s) = turn(rng.between(-3.0, 3.0));
            assert!((c * c + s * s - 1.0).abs() < 1e-5);
        }
    }

    #[test]
    fn noise_is_bounded_and_continuous() {
        let noise = Noise::new(&mut Rng::new(5));
        let mut last = noise.cloudy(-40.0, 3.3);
        for i in 1..8000 {
            let v = noise.cloudy(-40.0 + i as f32 * 0.01, 3.3);
            assert!(v.abs() <= 1.3 && (v - last).abs() < 0.15, "{last} to {v}");
            last = v;
        }
    }
}
