//! Masked nearest neighbour: for each cell the allowed bank row with the smallest distance.
//!
//! `||x - c||^2 = ||x||^2 + ||c||^2 - 2 x.c`, so the nearest row is the one that maximises
//! `x.c - ||c||^2 / 2`: a matrix product whose accumulators start at `-||c||^2 / 2` and whose
//! result is reduced in registers, never written. The winner's distance is then summed directly,
//! so the expansion's cancellation never reaches a score.

use super::position::PositionMask;
use crate::backbone::Threads;
use std::sync::OnceLock;

/// Bank rows that one step compares at once; also the bits of one mask word.
pub const LANES: usize = 16;

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

/// The instruction set the search runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// x86-64 with AVX-512 F, BW, VL and DQ.
    Avx512,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// What every processor of the target has (NEON on aarch64, SSE2 on x86-64).
    Portable,
}

impl Kernel {
    /// Every kernel that this processor can run, fastest first.
    pub fn available() -> Vec<Kernel> {
        #[allow(unused_mut)]
        let mut found = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq")
            {
                found.push(Kernel::Avx512);
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                found.push(Kernel::Avx2);
            }
        }
        found.push(Kernel::Portable);
        found
    }

    /// The fastest that this processor can run.
    pub fn best() -> Kernel {
        static BEST: OnceLock<Kernel> = OnceLock::new();
        *BEST.get_or_init(|| Kernel::available()[0])
    }

    /// Name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Kernel::Avx512 => "f32 avx512",
            Kernel::Avx2 => "f32 avx2+fma",
            Kernel::Portable if cfg!(target_arch = "aarch64") => "f32 neon",
            Kernel::Portable => "f32 portable",
        }
    }

    fn cells_a_step(self) -> usize {
        match self {
            Kernel::Avx512 => simd::CELLS_AVX512,
            Kernel::Avx2 => simd::CELLS_AVX2,
            Kernel::Portable => simd::CELLS_PORTABLE,
        }
    }
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
        assert!(kernel == Kernel::best() || Kernel::available().contains(&kernel));
        assert_eq!(
            features.len(),
            out.len() * self.dimensions,
            "feature buffer"
        );
        if let Some(mask) = mask {
            assert_eq!(mask.cells(), out.len(), "mask cells");
            assert_eq!(mask.rows(), self.rows, "mask rows");
        }
        let step = kernel.cells_a_step();
        let work = |first: usize, out: &mut [Neighbour]| {
            let mut at = 0;
            while at < out.len() {
                let here = (out.len() - at).min(step);
                let cell = first + at;
                let block = &features[cell * self.dimensions..(cell + here) * self.dimensions];
                simd::step(kernel, self, block, mask, cell, &mut out[at..at + here]);
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

/// Euclidean distance, summed in eight lanes in a fixed order: the same bits on every processor.
pub fn distance(a: &[f32], b: &[f32]) -> f32 {
    squared_distance(a, b).sqrt()
}

/// [`distance`] before the root.
pub fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    simd::squared_distance(a, b)
}

/// Separate multiplications and additions, never fused: wider registers must not change the bits.
#[inline(always)]
fn squared_distance_body(a: &[f32], b: &[f32]) -> f32 {
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
    sum
}

/// The kernels. `unsafe` only to call a function compiled for an instruction set after that set
/// was detected; the functions themselves are safe code that the compiler vectorises.
#[allow(unsafe_code)]
mod simd {
    use super::{
        Kernel, LANES, Neighbour, PackedBank, PositionMask, distance, squared_distance_body,
    };

    pub(super) fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
        #[cfg(target_arch = "x86_64")]
        if Kernel::best() != Kernel::Portable {
            // SAFETY: every other kernel of this architecture implies AVX2.
            return unsafe { squared_distance_avx2(a, b) };
        }
        squared_distance_body(a, b)
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn squared_distance_avx2(a: &[f32], b: &[f32]) -> f32 {
        squared_distance_body(a, b)
    }

    // Accumulators that fit the register file: 12 of 32 zmm, 12 of 16 ymm (two a cell), 24 of 32
    // NEON registers (four a cell).
    pub(super) const CELLS_AVX512: usize = 12;
    pub(super) const CELLS_AVX2: usize = 6;
    pub(super) const CELLS_PORTABLE: usize = if cfg!(target_arch = "aarch64") { 6 } else { 2 };
    const MOST_CELLS: usize = 12;

    /// Serves `out.len()` cells, at most the kernel's step, the first of which is cell `first`.
    pub(super) fn step(
        kernel: Kernel,
        bank: &PackedBank,
        features: &[f32],
        mask: Option<&PositionMask>,
        first: usize,
        out: &mut [Neighbour],
    ) {
        let mut rows = [0u32; MOST_CELLS];
        match kernel {
            // SAFETY: `nearest_with` admits only kernels that `Kernel::available` detected.
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512 => unsafe { avx512(bank, features, mask, first, out.len(), &mut rows) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => unsafe { avx2(bank, features, mask, first, out.len(), &mut rows) },
            _ => body::<CELLS_PORTABLE, { cfg!(target_arch = "aarch64") }>(
                bank,
                features,
                mask,
                first,
                out.len(),
                &mut rows,
            ),
        }
        let d = bank.dimensions;
        for (i, (neighbour, &row)) in out.iter_mut().zip(&rows).enumerate() {
            let entry = &bank.values[row as usize * d..][..d];
            *neighbour = Neighbour {
                row,
                distance: distance(&features[i * d..][..d], entry),
            };
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    fn avx512(
        bank: &PackedBank,
        features: &[f32],
        mask: Option<&PositionMask>,
        first: usize,
        cells: usize,
        rows: &mut [u32; MOST_CELLS],
    ) {
        body::<CELLS_AVX512, true>(bank, features, mask, first, cells, rows);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    fn avx2(
        bank: &PackedBank,
        features: &[f32],
        mask: Option<&PositionMask>,
        first: usize,
        cells: usize,
        rows: &mut [u32; MOST_CELLS],
    ) {
        body::<CELLS_AVX2, true>(bank, features, mask, first, cells, rows);
    }

    /// `FUSED` where the target has fused multiply-add; without it the call would go to a library.
    #[inline(always)]
    fn body<const CELLS: usize, const FUSED: bool>(
        bank: &PackedBank,
        features: &[f32],
        mask: Option<&PositionMask>,
        first: usize,
        cells: usize,
        rows: &mut [u32; MOST_CELLS],
    ) {
        let d = bank.dimensions;
        // Missing cells of the last step repeat the first, which is cheaper than a second kernel.
        let row_of = |cell: usize| if cell < cells { cell } else { 0 };
        let vectors: [&[f32]; CELLS] = std::array::from_fn(|m| &features[row_of(m) * d..][..d]);
        let words: Option<[&[u16]; CELLS]> =
            mask.map(|mask| std::array::from_fn(|m| mask.words(first + row_of(m))));
        let mut best = [[f32::NEG_INFINITY; LANES]; CELLS];
        let mut best_panel = [[0u32; LANES]; CELLS];
        let starts = bank.start.as_chunks::<LANES>().0;
        for (p, (panel, start)) in bank.panels.chunks_exact(d * LANES).zip(starts).enumerate() {
            let mut acc = [*start; CELLS];
            for (k, entry) in panel.as_chunks::<LANES>().0.iter().enumerate() {
                for m in 0..CELLS {
                    let x = vectors[m][k];
                    for l in 0..LANES {
                        acc[m][l] = if FUSED {
                            x.mul_add(entry[l], acc[m][l])
                        } else {
                            acc[m][l] + x * entry[l]
                        };
                    }
                }
            }
            for m in 0..CELLS {
                let allowed = words.map_or(u16::MAX, |w| w[m][p]);
                for l in 0..LANES {
                    let better = (acc[m][l] > best[m][l]) & (allowed >> l & 1 == 1);
                    best[m][l] = if better { acc[m][l] } else { best[m][l] };
                    best_panel[m][l] = if better { p as u32 } else { best_panel[m][l] };
                }
            }
        }
        for m in 0..cells.min(CELLS) {
            let mut winner = (f32::NEG_INFINITY, u32::MAX);
            for l in 0..LANES {
                let row = best_panel[m][l] * LANES as u32 + l as u32;
                // Ties go to the lower row, whatever lane it sits in.
                if best[m][l] > winner.0 || (best[m][l] == winner.0 && row < winner.1) {
                    winner = (best[m][l], row);
                }
            }
            rows[m] = winner.1.min(bank.rows as u32 - 1);
        }
    }
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
