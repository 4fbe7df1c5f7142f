//! A Gaussian at each place of the grid: how far a cell's features are from what good parts show
//! there, in their own spread (Mahalanobis distance). N-pad's core, with covariances that are shared
//! by small blocks of cells and shrunk towards that of all cells (docs/method.md).

use crate::lanes::{self, Kernel, LANES, Lanes, Task};
use crate::network::Threads;
use crate::size::Size;

/// Side of the square of cells that share a covariance.
pub const BLOCK: usize = 2;
const BLOCK_CELLS: usize = BLOCK * BLOCK;

/// How distances to the Gaussians and to the bank become the score of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Combination {
    /// The distance to the Gaussian; the bank does not count.
    GaussianOnly,
    /// The geometric mean of both distances.
    GeometricMean,
}

/// Number of blocks of a grid of `grid` cells.
pub fn blocks(grid: Size) -> usize {
    grid.map(|side| side.div_ceil(BLOCK)).area()
}

/// Values of a lower triangle with the diagonal, of side `d`.
pub fn triangle(d: usize) -> usize {
    d * (d + 1) / 2
}

/// A Gaussian for each cell. The covariance C of a block is kept as the inverse W of its Cholesky
/// factor, in bytes with a scale per row, so that the distance is `|W (f - mean)|`.
#[derive(Clone, Debug, PartialEq)]
pub struct Gaussians {
    grid: Size,
    dimensions: usize,
    /// `[cells, dimensions]`.
    mean: Vec<f32>,
    /// `[blocks][lane blocks][k][16]`: column k of 16 rows of W, zeros above the diagonal.
    packed: Vec<i8>,
    /// `[blocks, dimensions rounded up to 16]`, zeros beyond.
    scale: Vec<f32>,
}

/// Columns that the 16 rows of lane block `block` have at most.
fn columns(block: usize, dimensions: usize) -> usize {
    ((block + 1) * LANES).min(dimensions)
}

impl Gaussians {
    /// `mean` is `[cells, dimensions]`, `factor` the lower triangles of W row by row, `[blocks,
    /// triangle(dimensions)]`, `scale` of its rows `[blocks, dimensions]`.
    ///
    /// # Panics
    /// If a length is another: a programming error, because bundles are checked.
    pub fn new(
        grid: Size,
        dimensions: usize,
        mean: Vec<f32>,
        factor: &[i8],
        scale: &[f32],
    ) -> Self {
        let blocks = blocks(grid);
        assert_eq!(mean.len(), grid.area() * dimensions, "means");
        assert_eq!(factor.len(), blocks * triangle(dimensions), "factors");
        assert_eq!(scale.len(), blocks * dimensions, "scales");
        let lane_blocks = dimensions.div_ceil(LANES);
        let padded = lane_blocks * LANES;
        let mut packed = Vec::new();
        for factor in factor.chunks_exact(triangle(dimensions)) {
            for block in 0..lane_blocks {
                for k in 0..columns(block, dimensions) {
                    packed.extend((block * LANES..(block + 1) * LANES).map(|row| {
                        let inside = row < dimensions && k <= row;
                        if inside { factor[triangle(row) + k] } else { 0 }
                    }));
                }
            }
        }
        let mut scales = vec![0.0; blocks * padded];
        let rows = scales.chunks_exact_mut(padded);
        for (to, from) in rows.zip(scale.chunks_exact(dimensions)) {
            to[..dimensions].copy_from_slice(from);
        }
        Self {
            grid,
            dimensions,
            mean,
            packed,
            scale: scales,
        }
    }

    /// The feature grid, cells.
    pub fn grid(&self) -> Size {
        self.grid
    }

    /// Values of a feature vector.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// Writes the distance of each cell of `features`, `[cells, dimensions]`, to `out`. The bits do not
    /// depend on the processor or on the number of threads. A NaN among the features becomes one.
    ///
    /// # Panics
    /// If a buffer has another length: a programming error.
    pub fn run(&self, features: &[f32], threads: &Threads, out: &mut [f32]) {
        self.run_on(Kernel::best(), features, threads, out);
    }

    fn run_on(&self, kernel: Kernel, features: &[f32], threads: &Threads, out: &mut [f32]) {
        assert_eq!(features.len(), self.mean.len(), "feature vectors");
        assert_eq!(out.len(), self.grid.area(), "cells");
        threads.enter(|| self.rows(kernel, features, threads, 0, out));
    }

    /// Rows of blocks from `first` on; `out` holds their cells.
    fn rows(
        &self,
        kernel: Kernel,
        features: &[f32],
        threads: &Threads,
        first: usize,
        out: &mut [f32],
    ) {
        let of_blocks = BLOCK * self.grid.width;
        let count = out.len().div_ceil(of_blocks);
        // A share of an eighth keeps threads busy to the end.
        let least = self.grid.height.div_ceil(BLOCK * 8).max(1);
        if threads.count() == 1 || count <= least {
            let task = Distances {
                gaussians: self,
                features,
                first,
                out,
            };
            return lanes::run(kernel, task);
        }
        let middle = count / 2;
        let (left, right) = out.split_at_mut(middle * of_blocks);
        threads.join(
            || self.rows(kernel, features, threads, first, left),
            || self.rows(kernel, features, threads, first + middle, right),
        );
    }
}

struct Distances<'a> {
    gaussians: &'a Gaussians,
    features: &'a [f32],
    /// First row of blocks.
    first: usize,
    out: &'a mut [f32],
}

impl Task for Distances<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes, const CELLS: usize>(self) {
        let Gaussians {
            grid,
            dimensions: d,
            mean,
            packed,
            scale,
        } = self.gaussians;
        let (width, d) = (grid.width, *d);
        let lane_blocks = d.div_ceil(LANES);
        let (scales, _) = scale.as_chunks::<LANES>();
        let (packed, _) = packed.as_chunks::<LANES>();
        let a_block: usize = (0..lane_blocks).map(|block| columns(block, d)).sum();
        let across = width.div_ceil(BLOCK);
        let rows = self.out.len() / width;
        for block in 0..rows.div_ceil(BLOCK) * across {
            let (row, column) = (block / across * BLOCK, block % across * BLOCK);
            // Beyond the grid's end the last cell is taken again.
            let cells: [usize; BLOCK_CELLS] = std::array::from_fn(|i| {
                let y = (row + i / BLOCK).min(rows - 1);
                y * width + (column + i % BLOCK).min(width - 1)
            });
            let vectors = cells.map(|cell| {
                let at = (self.first * BLOCK * width + cell) * d;
                (&self.features[at..][..d], &mean[at..][..d])
            });
            let number = self.first * across + block;
            let mut weights = packed[number * a_block..][..a_block].iter();
            let mut totals = [L::splat(0.0); BLOCK_CELLS];
            for lane_block in 0..lane_blocks {
                let mut sums = [L::splat(0.0); BLOCK_CELLS];
                for (k, bytes) in weights.by_ref().take(columns(lane_block, d)).enumerate() {
                    let weight = L::load(&bytes.map(f32::from));
                    for (sum, (features, mean)) in sums.iter_mut().zip(vectors) {
                        *sum = L::splat(features[k] - mean[k]).mul_then_add(weight, *sum);
                    }
                }
                let scale = L::load(&scales[number * lane_blocks + lane_block]);
                for (total, sum) in totals.iter_mut().zip(sums) {
                    let value = sum.mul(scale);
                    *total = value.mul_then_add(value, *total);
                }
            }
            for (cell, total) in cells.into_iter().zip(totals) {
                let mut squares = [0.0; LANES];
                total.store(&mut squares);
                self.out[cell] = squares.iter().sum::<f32>().sqrt();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Rng;
    use proptest::prelude::*;

    struct Drawn {
        gaussians: Gaussians,
        features: Vec<f32>,
        plain: Vec<f64>,
    }

    /// Random Gaussians, and the distances by nested loops in f64.
    fn drawn(grid: Size, d: usize, seed: u64) -> Drawn {
        let mut rng = Rng::new(seed);
        let mut draw = |n: usize| -> Vec<f32> { (0..n).map(|_| rng.gaussian()).collect() };
        let (mean, features) = (draw(grid.area() * d), draw(grid.area() * d));
        let scale: Vec<f32> = draw(blocks(grid) * d).iter().map(|v| v.abs()).collect();
        let factor: Vec<i8> = draw(blocks(grid) * triangle(d))
            .iter()
            .map(|v| (v * 40.0) as i8)
            .collect();
        let across = grid.width.div_ceil(BLOCK);
        let plain = (0..grid.area())
            .map(|cell| {
                let block = cell / grid.width / BLOCK * across + cell % grid.width / BLOCK;
                let w = &factor[block * triangle(d)..];
                let of_row = |row: usize| {
                    let sum: f64 = (0..=row)
                        .map(|k| {
                            let at = cell * d + k;
                            let delta = f64::from(features[at]) - f64::from(mean[at]);
                            f64::from(w[triangle(row) + k]) * delta
                        })
                        .sum();
                    (sum * f64::from(scale[block * d + row])).powi(2)
                };
                (0..d).map(of_row).sum::<f64>().sqrt()
            })
            .collect();
        Drawn {
            gaussians: Gaussians::new(grid, d, mean, &factor, &scale),
            features,
            plain,
        }
    }

    proptest! {
        #[test]
        fn every_kernel_gives_the_same_bits_and_they_are_the_distance(
            width in 1usize..9, height in 1usize..9, d in 1usize..40, seed: u64, threads in 1usize..4,
        ) {
            let grid = Size::new(width, height);
            let Drawn { gaussians, features, plain } = drawn(grid, d, seed);
            let pool = Threads::new(threads).expect("threads");
            let mut first: Option<Vec<u32>> = None;
            for kernel in Kernel::available() {
                for threads in [&Threads::default(), &pool] {
                    let mut out = vec![f32::NAN; grid.area()];
                    gaussians.run_on(kernel, &features, threads, &mut out);
                    for (&found, &right) in out.iter().zip(&plain) {
                        prop_assert!((f64::from(found) - right).abs() <= 1e-4 * right + 1e-4);
                    }
                    let bits: Vec<u32> = out.iter().map(|v| v.to_bits()).collect();
                    let expected = first.get_or_insert_with(|| bits.clone());
                    prop_assert_eq!(&bits, expected, "{:?}", kernel);
                }
            }
        }
    }

    #[test]
    fn what_is_not_a_number_stays_none() {
        let grid = Size::square(3);
        let mut drawn = drawn(grid, 20, 1);
        drawn.features[4 * 20 + 19] = f32::NAN;
        let mut out = vec![0.0; 9];
        drawn
            .gaussians
            .run(&drawn.features, &Threads::default(), &mut out);
        let unknown: Vec<usize> = (0..9).filter(|&i| out[i].is_nan()).collect();
        assert_eq!(unknown, [4]);
    }
}
