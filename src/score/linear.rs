//! A linear map of feature vectors to fewer values, which comes before the search: principal
//! directions of the good parts' features, found by the trainer.

use crate::lanes::{self, Kernel, LANES, Lanes, MOST_CELLS, Task};

/// A matrix that maps feature vectors. Sums are in the order of the values and rounded after each
/// product and each addition, so every processor gives the same bits.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearMap {
    from: usize,
    to: usize,
    /// `[ceil(to / 16)][from][16]`, zeros beyond `to`.
    packed: Vec<f32>,
}

impl LinearMap {
    /// `weights` are `[from, to]`, where `to` is their number over `from`.
    ///
    /// # Panics
    /// If they are no such matrix: a programming error, because bundles are checked.
    pub fn new(weights: &[f32], from: usize) -> Self {
        let to = weights.len() / from;
        assert!(to > 0 && weights.len() == from * to, "a matrix");
        let blocks = to.div_ceil(LANES);
        let mut packed = vec![0.0; blocks * from * LANES];
        for (k, row) in weights.chunks_exact(to).enumerate() {
            for (column, &weight) in row.iter().enumerate() {
                let (block, lane) = (column / LANES, column % LANES);
                packed[(block * from + k) * LANES + lane] = weight;
            }
        }
        Self { from, to, packed }
    }

    /// Values of a vector before the map.
    pub fn from(&self) -> usize {
        self.from
    }

    /// Values of a vector after it.
    pub fn to(&self) -> usize {
        self.to
    }

    /// `features` are `[cells, from]`, `out` becomes `[cells, to]`.
    ///
    /// # Panics
    /// If a buffer has another length: a programming error.
    pub fn run(&self, features: &[f32], out: &mut [f32]) {
        self.run_on(Kernel::best(), features, out);
    }

    fn run_on(&self, kernel: Kernel, features: &[f32], out: &mut [f32]) {
        assert_eq!(features.len() / self.from, out.len() / self.to, "cells");
        assert!(features.len().is_multiple_of(self.from), "feature vectors");
        lanes::run(
            kernel,
            Mapping {
                map: self,
                features,
                out,
            },
        );
    }
}

struct Mapping<'a> {
    map: &'a LinearMap,
    features: &'a [f32],
    out: &'a mut [f32],
}

impl Task for Mapping<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes, const CELLS: usize>(self) {
        let LinearMap { from, to, packed } = self.map;
        let (from, to) = (*from, *to);
        let zeros = [0.0; LANES];
        let groups = self.features.chunks(CELLS * from);
        for (vectors, out) in groups.zip(self.out.chunks_mut(CELLS * to)) {
            let cells = vectors.len() / from;
            for (block, weights) in packed.chunks_exact(from * LANES).enumerate() {
                let (weights, _) = weights.as_chunks::<LANES>();
                let mut sums = [L::load(&zeros); MOST_CELLS];
                for (k, weights) in weights.iter().enumerate() {
                    let weights = L::load(weights);
                    for cell in 0..CELLS {
                        // Spare accumulators take the last cell again.
                        let value = vectors[cell.min(cells - 1) * from + k];
                        sums[cell] = L::splat(value).mul_then_add(weights, sums[cell]);
                    }
                }
                let first = block * LANES;
                let count = (to - first).min(LANES);
                for cell in 0..cells {
                    let mut values = [0.0; LANES];
                    sums[cell].store(&mut values);
                    out[cell * to + first..][..count].copy_from_slice(&values[..count]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Rng;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_kernel_gives_the_bits_of_the_plain_sum(
            from in 1usize..40, to in 1usize..40, cells in 1usize..30, seed: u64,
        ) {
            let mut rng = Rng::new(seed);
            let mut draw = |n: usize| -> Vec<f32> { (0..n).map(|_| rng.gaussian()).collect() };
            let (weights, features) = (draw(from * to), draw(cells * from));
            let map = LinearMap::new(&weights, from);
            let plain: Vec<f32> = (0..cells * to)
                .map(|i| {
                    let (cell, column) = (i / to, i % to);
                    (0..from).fold(0.0, |sum, k| {
                        features[cell * from + k] * weights[k * to + column] + sum
                    })
                })
                .collect();
            for kernel in Kernel::available() {
                let mut out = vec![f32::NAN; cells * to];
                map.run_on(kernel, &features, &mut out);
                let same = out.iter().zip(&plain).all(|(a, b)| a.to_bits() == b.to_bits());
                prop_assert!(same, "{kernel:?}");
            }
        }
    }

    #[test]
    fn what_is_not_a_number_stays_none() {
        let map = LinearMap::new(&[1.0, 0.0, 0.0, 1.0], 2);
        let mut out = [0.0; 4];
        map.run(&[f32::NAN, 1.0, 2.0, 3.0], &mut out);
        assert!(out[0].is_nan() && out[1].is_nan());
        assert_eq!(out[2..], [2.0, 3.0]);
    }
}
