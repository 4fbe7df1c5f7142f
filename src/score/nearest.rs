//! Masked nearest neighbour: for each cell the allowed bank row with the smallest distance.
//!
//! `||x - c||^2 = ||x||^2 + ||c||^2 - 2 x.c`, so the nearest row is the one that maximises
//! `x.c - ||c||^2 / 2`: a matrix product whose accumulators start at `-||c||^2 / 2` and whose
//! result is reduced in registers, never written. The winner's distance is then summed directly,
//! so the expansion's cancellation never reaches a score.

use super::position::PositionMask;
use crate::lanes::{Kernel, LANES, Lanes, MOST_CELLS, Task, cells, run};
use crate::network::Threads;

/// The bank laid out for the kernel: panels of [`LANES`] rows, dimension-major inside.
#[derive(Clone, Debug)]
pub struct PackedBank {
    rows: usize,
    dimensions: usize,
    panels: Vec<f32>,
    /// `-||c||^2 / 2` a row, minus infinity for the padding, which therefore never wins.
    start: Vec<f32>,
    values: Vec<f32>,
}

/// The nearest allowed row and the distance to it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Neighbour {
    /// Row of the bank.
    pub row: u32,
    /// Euclidean distance.
    pub distance: f32,
}

impl PackedBank {
    /// Packs `values`, `[rows, dimensions]`.
    ///
    /// # Panics
    /// When the length is not a multiple of `dimensions` or the bank is empty: a programming error.
    pub fn new(values: Vec<f32>, dimensions: usize) -> Self {
        assert!(
            dimensions > 0 && !values.is_empty() && values.len().is_multiple_of(dimensions),
            "bank shape"
        );
        let rows = values.len() / dimensions;
        let count = rows.div_ceil(LANES);
        let mut panels = vec![0.0; count * dimensions * LANES];
        let mut start = vec![f32::NEG_INFINITY; count * LANES];
        for (row, vector) in values.chunks_exact(dimensions).enumerate() {
            let (panel, lane) = (row / LANES, row % LANES);
            let base = panel * dimensions * LANES + lane;
            for (k, &v) in vector.iter().enumerate() {
                panels[base + k * LANES] = v;
            }
            let norm: f64 = vector.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
            start[row] = (-0.5 * norm) as f32;
        }
        Self {
            rows,
            dimensions,
            panels,
            start,
            values,
        }
    }

    /// Rows in the bank.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Length of a row.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// The rows as given, `[rows, dimensions]`.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Finds the nearest allowed row for every cell of `features`, `[cells, dimensions]`. With a
    /// `mask`, cell `i` may use the rows that `mask` allows at `i`.
    ///
    /// The result does not depend on the number of threads. A cell with a NaN gets a NaN distance.
    ///
    /// # Panics
    /// When buffers disagree in length: a programming error.
    pub fn nearest(
        &self,
        features: &[f32],
        mask: Option<&PositionMask>,
        threads: &Threads,
        out: &mut [Neighbour],
    ) {
        self.nearest_with(Kernel::best(), features, mask, threads, out);
    }

    /// [`PackedBank::nearest`] on a chosen kernel, which must be among [`Kernel::available`].
    ///
    /// # Panics
    /// When buffers disagree in length or the processor lacks the kernel.
    pub fn nearest_with(
        &self,
        kernel: Kernel,
        features: &[f32],
        mask: Option<&PositionMask>,
        threads: &Threads,
        out: &mut [Neighbour],
    ) {
        assert_eq!(
            features.len(),
            out.len() * self.dimensions,
            "feature buffer"
        );
        if let Some(mask) = mask {
            assert_eq!(mask.cells(), out.len(), "mask cells");
            assert_eq!(mask.rows(), self.rows, "mask rows");
        }
        if out.is_empty() {
            // No condition refused anything: common, and pieces of nothing cannot be shared out.
            return;
        }
        let step = cells(kernel);
        let work = |first: usize, out: &mut [Neighbour]| {
            let mut at = 0;
            while at < out.len() {
                let here = (out.len() - at).min(step);
                let cell = first + at;
                let block = &features[cell * self.dimensions..(cell + here) * self.dimensions];
                self.step(kernel, block, mask, cell, &mut out[at..at + here]);
                at += here;
            }
        };
        match threads.pool() {
            None => work(0, out),
            Some(pool) => {
                // A few pieces a thread, so that one slow core does not hold up the frame.
                let pieces = threads.count() * 4;
                let piece = out.len().div_ceil(pieces).next_multiple_of(step);
                pool.scope(|scope| {
                    for (i, part) in out.chunks_mut(piece).enumerate() {
                        scope.spawn(move |_| work(i * piece, part));
                    }
                });
            }
        }
    }
}

impl PackedBank {
    /// Serves `out.len()` cells, at most the kernel's step, the first of which is cell `first`.
    fn step(
        &self,
        kernel: Kernel,
        features: &[f32],
        mask: Option<&PositionMask>,
        first: usize,
        out: &mut [Neighbour],
    ) {
        let d = self.dimensions;
        let mut rows = [0u32; MOST_CELLS];
        run(
            kernel,
            Search {
                bank: self,
                features,
                mask,
                first,
                cells: out.len(),
                rows: &mut rows,
            },
        );
        let found = out.iter_mut().zip(&rows).zip(features.chunks_exact(d));
        for ((neighbour, &row), vector) in found {
            let entry = &self.values[row as usize * d..][..d];
            *neighbour = Neighbour {
                row,
                distance: distance(vector, entry),
            };
        }
    }
}

/// The search for a few cells at once.
struct Search<'a> {
    bank: &'a PackedBank,
    features: &'a [f32],
    mask: Option<&'a PositionMask>,
    first: usize,
    cells: usize,
    rows: &'a mut [u32; MOST_CELLS],
}

impl Task for Search<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes, const CELLS: usize>(self) {
        let d = self.bank.dimensions;
        // Missing cells of the last step repeat the first, which is cheaper than a second kernel.
        let row_of = |cell: usize| if cell < self.cells { cell } else { 0 };
        let vectors: [&[f32]; CELLS] =
            std::array::from_fn(|m| &self.features[row_of(m) * d..][..d]);
        let words: Option<[&[u16]; CELLS]> = self
            .mask
            .map(|mask| std::array::from_fn(|m| mask.words(self.first + row_of(m))));
        let mut best = [L::splat(f32::NEG_INFINITY); CELLS];
        let mut from = [L::index(); CELLS];
        let starts = self.bank.start.as_chunks::<LANES>().0;
        let panels = self.bank.panels.chunks_exact(d * LANES);
        for (p, (panel, start)) in panels.zip(starts).enumerate() {
            let mut sums = [L::load(start); CELLS];
            for (k, entry) in panel.as_chunks::<LANES>().0[..d].iter().enumerate() {
                let entry = L::load(entry);
                for m in 0..CELLS {
                    sums[m] = L::splat(vectors[m][k]).mul_add(entry, sums[m]);
                }
            }
            for m in 0..CELLS {
                let allowed = words.map_or(u16::MAX, |w| w[m][p]);
                sums[m].improve(&mut best[m], &mut from[m], allowed, p as u32);
            }
        }
        for m in 0..self.cells.min(CELLS) {
            let (mut values, mut panels) = ([0.0; LANES], [0; LANES]);
            best[m].store(&mut values);
            L::store_index(from[m], &mut panels);
            let mut winner = (f32::NEG_INFINITY, u32::MAX);
            for l in 0..LANES {
                let row = panels[l] * LANES as u32 + l as u32;
                // Ties go to the lower row, whatever lane it sits in.
                if values[l] > winner.0 || (values[l] == winner.0 && row < winner.1) {
                    winner = (values[l], row);
                }
            }
            self.rows[m] = winner.1.min(self.bank.rows as u32 - 1);
        }
    }
}

/// Euclidean distance, summed in eight lanes in a fixed order, never fused: the same bits on every
/// processor.
pub fn distance(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 8];
    let (a8, a_rest) = a.as_chunks::<8>();
    let (b8, b_rest) = b.as_chunks::<8>();
    for (x, y) in a8.iter().zip(b8) {
        for l in 0..8 {
            let d = x[l] - y[l];
            lanes[l] += d * d;
        }
    }
    let mut sum = (lanes[0] + lanes[4]) + (lanes[1] + lanes[5]);
    sum += (lanes[2] + lanes[6]) + (lanes[3] + lanes[7]);
    for (x, y) in a_rest.iter().zip(b_rest) {
        let d = x - y;
        sum += d * d;
    }
    sum.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Rng;
    use proptest::prelude::*;

    fn brute(bank: &[f32], d: usize, x: &[f32], allowed: impl Fn(usize) -> bool) -> f64 {
        bank.chunks_exact(d)
            .enumerate()
            .filter(|(row, _)| allowed(*row))
            .map(|(_, c)| {
                c.iter()
                    .zip(x)
                    .map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2))
                    .sum::<f64>()
                    .sqrt()
            })
            .fold(f64::INFINITY, f64::min)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn every_kernel_finds_the_nearest_allowed_row(
            seed: u64, rows in 1usize..70, d in 1usize..40, cells in 1usize..30, masked: bool, threads in 1usize..4,
        ) {
            let mut rng = Rng::new(seed);
            let bank: Vec<f32> = (0..rows * d).map(|_| rng.gaussian()).collect();
            let features: Vec<f32> = (0..cells * d).map(|_| rng.gaussian()).collect();
            let mut mask = PositionMask::nothing(cells, rows);
            for cell in 0..cells {
                mask.allow(cell, rng.below(rows));
                for row in 0..rows {
                    if rng.unit() < 0.3 { mask.allow(cell, row); }
                }
            }
            let packed = PackedBank::new(bank.clone(), d);
            let pool = Threads::new(threads).expect("threads");
            for kernel in Kernel::available() {
                let mut out = vec![Neighbour::default(); cells];
                packed.nearest_with(kernel, &features, masked.then_some(&mask), &pool, &mut out);
                for (cell, found) in out.iter().enumerate() {
                    let allowed = |row: usize| !masked || mask.allows(cell, row);
                    prop_assert!(allowed(found.row as usize));
                    let want = brute(&bank, d, &features[cell * d..][..d], allowed);
                    prop_assert!((f64::from(found.distance) - want).abs() <= 1e-5 * (1.0 + want),
                        "{:?} cell {}: {} against {}", kernel, cell, found.distance, want);
                }
            }
        }
    }

    #[test]
    fn a_nan_feature_gives_a_nan_distance_and_no_panic() {
        let packed = PackedBank::new(vec![1.0, 2.0, 3.0, 4.0], 2);
        for kernel in Kernel::available() {
            let mut out = [Neighbour::default(); 2];
            let features = [f32::NAN, 0.0, 1.0, 2.0];
            packed.nearest_with(kernel, &features, None, &Threads::default(), &mut out);
            assert!(out[0].distance.is_nan());
            assert_eq!(
                out[1],
                Neighbour {
                    row: 0,
                    distance: 0.0
                }
            );
        }
    }
}
