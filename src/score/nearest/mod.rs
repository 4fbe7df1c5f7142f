//! Masked nearest neighbour: for each cell the allowed bank row with the smallest distance.
//!
//! `||x - c||^2 = ||x||^2 + ||c||^2 - 2 x.c`, so the nearest row is the one that maximises
//! `x.c - ||c||^2 / 2`. `float` computes that for every row. `integer` computes it coarsely in
//! int8, several times faster, and proves which rows cannot win; the few others are computed as
//! `float` does, so that the winner is always the one that `float` finds. The winner's distance is
//! then summed directly, so the expansion's cancellation never reaches a score.

mod block;
mod bound;
mod first_pass;
mod float;
mod integer;
mod scratch;
#[cfg(test)]
mod tests;

use super::position::PositionMask;
use crate::lanes::{Kernel, MOST_CELLS, cells};
use crate::network::{Kernel as IntegerKernel, Threads};
use integer::IntegerBank;
use scratch::{CELLS, Spare};

/// The bank laid out for the kernels.
///
/// Memory: twice the rows in f32 and, where a first pass in integers pays, once in int8 with 16 bytes
/// a row (8 MB for 50,000 rows of 152), and 0.4 MB a thread once it has searched.
#[derive(Clone, Debug)]
pub struct PackedBank {
    rows: usize,
    dimensions: usize,
    values: Vec<f32>,
    float: float::Panels,
    integers: Option<IntegerBank>,
    spare: Spare,
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
        let rows = values.len() / dimensions.max(1);
        let kernel = IntegerKernel::chosen().ok();
        Self::with(
            values,
            dimensions,
            kernel.filter(|&k| integer::pays(k, rows, dimensions)),
        )
    }

    /// With a first pass in integers on `kernel`, where the values allow it.
    fn with(values: Vec<f32>, dimensions: usize, kernel: Option<IntegerKernel>) -> Self {
        assert!(
            dimensions > 0 && !values.is_empty() && values.len().is_multiple_of(dimensions),
            "bank shape"
        );
        Self {
            rows: values.len() / dimensions,
            dimensions,
            float: float::Panels::new(&values, dimensions),
            integers: kernel.and_then(|k| IntegerBank::new(&values, dimensions, k)),
            values,
            spare: Spare::default(),
        }
    }

    /// What searches it, for reports.
    pub fn kernels(&self) -> String {
        let floats = crate::lanes::Kernel::best().name();
        match &self.integers {
            Some(integers) => format!("int8 {}, then f32 {floats}", integers.kernel),
            None => format!("f32 {floats}"),
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

    /// What each row's value starts at, before its products are added.
    #[cfg(feature = "cuda")]
    pub(super) fn starts(&self) -> &[f32] {
        &self.float.starts()[..self.rows]
    }

    /// Cells `features`, `[cells, dimensions]`, are explained by `rows`, which a search elsewhere found.
    #[cfg(feature = "cuda")]
    pub(super) fn explained(&self, features: &[f32], rows: &[u32], out: &mut [Neighbour]) {
        let vectors = features.chunks_exact(self.dimensions);
        for ((vector, &row), to) in vectors.zip(rows).zip(out) {
            *to = self.neighbour(vector, row);
        }
    }

    fn neighbour(&self, vector: &[f32], row: u32) -> Neighbour {
        let d = self.dimensions;
        let entry = &self.values[row as usize * d..][..d];
        Neighbour {
            row,
            distance: distance(vector, entry),
        }
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
        self.search(
            Kernel::best(),
            self.integers.as_ref(),
            features,
            mask,
            threads,
            out,
        );
    }

    /// [`PackedBank::nearest`] in f32 alone, on a chosen kernel, which must be among
    /// [`Kernel::available`].
    ///
    /// # Panics
    /// When buffers disagree in length or the processor lacks the kernel.
    #[cfg(test)]
    pub(crate) fn nearest_with(
        &self,
        kernel: Kernel,
        features: &[f32],
        mask: Option<&PositionMask>,
        threads: &Threads,
        out: &mut [Neighbour],
    ) {
        self.search(kernel, None, features, mask, threads, out);
    }

    fn search(
        &self,
        kernel: Kernel,
        integers: Option<&IntegerBank>,
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
        let step = if integers.is_some() {
            CELLS
        } else {
            cells(kernel)
        };
        let ask = Ask {
            bank: self,
            kernel,
            features,
            mask,
        };
        let work = |first: usize, out: &mut [Neighbour]| match integers {
            None => {
                for (i, part) in out.chunks_mut(step).enumerate() {
                    ask.floats(first + i * step, part);
                }
            }
            Some(integers) => {
                let mut scratch = self.spare.take(integers);
                for (i, part) in out.chunks_mut(step).enumerate() {
                    integers.serve(&ask, first + i * step, part, &mut scratch);
                }
                self.spare.give_back(scratch);
            }
        };
        if threads.count() == 1 {
            return work(0, out);
        }
        if let Some(integers) = integers {
            self.spare.prepare(threads.count(), integers);
        }
        // A few pieces a thread, so that one slow core does not hold up the frame.
        let pieces = threads.count() * 4;
        let piece = out.len().div_ceil(pieces).next_multiple_of(step);
        threads.enter(|| in_pieces(threads, piece, 0, out, &work));
    }
}

/// `work` on pieces of `out` of `piece` cells, the first of which is cell `first`.
fn in_pieces(
    threads: &Threads,
    piece: usize,
    first: usize,
    out: &mut [Neighbour],
    work: &(impl Fn(usize, &mut [Neighbour]) + Sync),
) {
    if out.len() <= piece {
        return work(first, out);
    }
    let middle = out.len().div_ceil(piece) / 2 * piece;
    let (left, right) = out.split_at_mut(middle);
    threads.join(
        || in_pieces(threads, piece, first, left, work),
        || in_pieces(threads, piece, first + middle, right, work),
    );
}

/// What is searched for, and where.
#[derive(Clone, Copy)]
struct Ask<'a> {
    bank: &'a PackedBank,
    kernel: Kernel,
    /// Of all cells, as the mask.
    features: &'a [f32],
    mask: Option<&'a PositionMask>,
}

impl Ask<'_> {
    /// Serves `out.len()` cells, at most the kernel's step, from cell `first` on.
    fn floats(&self, first: usize, out: &mut [Neighbour]) {
        let cells: [u32; MOST_CELLS] = std::array::from_fn(|m| (first + m) as u32);
        let mut rows = [0; MOST_CELLS];
        self.winners(&cells[..out.len()], &mut rows);
        for (i, neighbour) in out.iter_mut().enumerate() {
            *neighbour = self.neighbour(first + i, rows[i]);
        }
    }

    fn winners(&self, cells: &[u32], rows: &mut [u32; MOST_CELLS]) {
        float::winners(
            self.kernel,
            self.bank,
            self.features,
            self.mask,
            cells,
            rows,
        );
    }

    /// Cell `cell` is explained by `row`.
    fn neighbour(&self, cell: usize, row: u32) -> Neighbour {
        let d = self.bank.dimensions;
        self.bank.neighbour(&self.features[cell * d..][..d], row)
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
