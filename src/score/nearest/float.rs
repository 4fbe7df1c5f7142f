//! The search in f32: a matrix product whose accumulators start at `-||c||^2 / 2` and whose result
//! is reduced in registers, never written.
//!
//! What it computes, value by value and tie by tie, defines the winner: the first pass in integers
//! must find the same.

use super::PackedBank;
use crate::lanes::{Kernel, LANES, Lanes, MOST_CELLS, Task, run};
use crate::score::position::PositionMask;

/// The bank laid out for the kernel: panels of [`LANES`] rows, dimension-major inside.
#[derive(Clone, Debug)]
pub(super) struct Panels {
    values: Vec<f32>,
    /// `-||c||^2 / 2` a row, minus infinity for the padding, which therefore never wins.
    start: Vec<f32>,
}

impl Panels {
    /// What each row's value starts at, with the padding.
    #[cfg(feature = "cuda")]
    pub(super) fn starts(&self) -> &[f32] {
        &self.start
    }

    pub(super) fn new(values: &[f32], dimensions: usize) -> Self {
        let count = (values.len() / dimensions).div_ceil(LANES);
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
            values: panels,
            start,
        }
    }
}

/// Finds the winners of `cells`, at most as many as the kernel has accumulators, into `rows`.
/// Cells are counted in `features` and in `mask`.
pub(super) fn winners(
    kernel: Kernel,
    bank: &PackedBank,
    features: &[f32],
    mask: Option<&PositionMask>,
    cells: &[u32],
    rows: &mut [u32; MOST_CELLS],
) {
    run(
        kernel,
        Search {
            bank,
            features,
            mask,
            cells,
            rows,
        },
    );
}

/// The search for a few cells at once.
struct Search<'a> {
    bank: &'a PackedBank,
    features: &'a [f32],
    mask: Option<&'a PositionMask>,
    cells: &'a [u32],
    rows: &'a mut [u32; MOST_CELLS],
}

impl Task for Search<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes, const CELLS: usize>(self) {
        let d = self.bank.dimensions;
        // Missing cells of the last step repeat the first, which is cheaper than a second kernel.
        let cell_of = |m: usize| *self.cells.get(m).unwrap_or(&self.cells[0]) as usize;
        let vectors: [&[f32]; CELLS] =
            std::array::from_fn(|m| &self.features[cell_of(m) * d..][..d]);
        let words: Option<[&[u16]; CELLS]> = self
            .mask
            .map(|mask| std::array::from_fn(|m| mask.words(cell_of(m))));
        let mut best = [L::splat(f32::NEG_INFINITY); CELLS];
        let mut from = [L::index(); CELLS];
        let starts = self.bank.float.start.as_chunks::<LANES>().0;
        let panels = self.bank.float.values.chunks_exact(d * LANES);
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
        for m in 0..self.cells.len().min(CELLS) {
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

/// A row that may be a cell's nearest, and what the search gives to it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pair {
    pub(super) cell: u32,
    pub(super) row: u32,
    pub(super) value: f32,
}

/// Computes the value that the search has for each pair, with the same bits.
pub(super) fn values(kernel: Kernel, bank: &PackedBank, features: &[f32], pairs: &mut [Pair]) {
    run(
        kernel,
        Values {
            bank,
            features,
            pairs,
        },
    );
}

struct Values<'a> {
    bank: &'a PackedBank,
    features: &'a [f32],
    pairs: &'a mut [Pair],
}

/// Pairs at once: one sum would wait for itself.
const PAIRS: usize = 8;

impl Task for Values<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes, const CELLS: usize>(self) {
        let d = self.bank.dimensions;
        for pairs in self.pairs.chunks_mut(PAIRS) {
            let of = |i: usize| *pairs.get(i).unwrap_or(&pairs[0]);
            let vectors: [&[f32]; PAIRS] =
                std::array::from_fn(|i| &self.features[of(i).cell as usize * d..][..d]);
            let entries: [&[f32]; PAIRS] =
                std::array::from_fn(|i| &self.bank.values[of(i).row as usize * d..][..d]);
            let mut sums: [f32; PAIRS] =
                std::array::from_fn(|i| self.bank.float.start[of(i).row as usize]);
            for k in 0..d {
                for i in 0..PAIRS {
                    let (x, c) = (vectors[i][k], entries[i][k]);
                    sums[i] = if L::FUSED {
                        x.mul_add(c, sums[i])
                    } else {
                        x * c + sums[i]
                    };
                }
            }
            for (pair, sum) in pairs.iter_mut().zip(sums) {
                pair.value = sum;
            }
        }
    }
}
