//! The first pass in int8: rows and cells less the bank's mean, each with a scale of its own.
//!
//! For a block of cells the scores of a block of rows are computed and scanned while they are in
//! the cache. What [`super::bound`] cannot exclude is a candidate. A cell with too many of them, or
//! whose values the bounds do not cover, is searched in f32.

use super::bound::Limits;
use crate::network::integer::kernels::{BLOCK, Blocks, Kernel, LANES, Narrow, PANELS, QUAD};
use std::fmt;

/// Smaller banks stay in f32.
const LEAST_ROWS: usize = 256;
const LEAST_DIMENSIONS: usize = 32;
/// Largest integer of a row.
const MOST: f64 = 127.0;

/// Whether a first pass on `kernel` is faster than the search in f32.
pub(super) fn pays(kernel: Kernel, rows: usize, dimensions: usize) -> bool {
    kernel.searches_in_bytes() && rows >= LEAST_ROWS && dimensions >= LEAST_DIMENSIONS
}

/// The bank in integers.
#[derive(Clone)]
pub(super) struct IntegerBank {
    pub(super) kernel: Kernel,
    pub(super) limits: Limits,
    pub(super) mean: Vec<f32>,
    pub(super) panels: usize,
    pub(super) weights: Blocks,
    pub(super) bias: Vec<i32>,
    /// Of a row: 0 in the padding, as its error.
    pub(super) scale: Vec<f32>,
    /// `-||b||^2 / 2 + eb^2 / 2` of a row; minus infinity in the padding, which never is found.
    pub(super) offset: Vec<f32>,
    pub(super) error: Vec<f32>,
    /// The largest error of each lane of [`PANELS`] panels.
    pub(super) errors: Vec<[f32; LANES]>,
}

impl fmt::Debug for IntegerBank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = (self.kernel, &self.limits);
        f.debug_tuple("IntegerBank")
            .field(&of)
            .finish_non_exhaustive()
    }
}

impl IntegerBank {
    /// `None` when the bounds would not hold for these values.
    pub(super) fn new(values: &[f32], d: usize, kernel: Kernel) -> Option<Self> {
        let rows = values.len() / d;
        let panels = rows.div_ceil(LANES).next_multiple_of(PANELS);
        let steps = d.div_ceil(QUAD);
        let mut sums = vec![0.0f64; d];
        let mut longest = 0.0f64;
        for row in values.chunks_exact(d) {
            let mut square = 0.0;
            for (sum, &v) in sums.iter_mut().zip(row) {
                *sum += f64::from(v);
                square += f64::from(v) * f64::from(v);
            }
            if !square.is_finite() {
                return None;
            }
            longest = longest.max(square);
        }
        let mean: Vec<f32> = sums.iter().map(|s| (s / rows as f64) as f32).collect();
        let mut bank = Self {
            kernel,
            limits: Limits {
                dimensions: d,
                mean: length(mean.iter().map(|&m| f64::from(m))),
                longest: longest.sqrt() * (1.0 + 1e-9),
                ..Limits::default()
            },
            mean,
            panels,
            weights: Blocks::filled(panels * steps * BLOCK, 0),
            bias: vec![0; panels * LANES],
            scale: vec![0.0; panels * LANES],
            offset: vec![f32::NEG_INFINITY; panels * LANES],
            error: vec![0.0; panels * LANES],
            errors: vec![[0.0; LANES]; panels / PANELS],
        };
        let mut centred = vec![0.0f64; d];
        for (row, vector) in values.chunks_exact(d).enumerate() {
            let less = vector.iter().zip(&bank.mean);
            for (to, (&v, &m)) in centred.iter_mut().zip(less) {
                *to = f64::from(v) - f64::from(m);
            }
            bank.pack(row, &centred);
        }
        bank.limits.hold().then_some(bank)
    }

    /// Row `row`, less the mean.
    fn pack(&mut self, row: usize, centred: &[f64]) {
        let most = centred.iter().fold(0.0f64, |most, v| most.max(v.abs()));
        let factor = if most > 0.0 {
            self.factor(centred, most)
        } else {
            0.0
        };
        let whole = |v: f64| (v * factor).round_ties_even();
        // The scale that leaves the least; integers that are all 0 leave everything.
        let product: f64 = centred.iter().map(|&v| v * whole(v)).sum();
        let square: f64 = centred.iter().map(|&v| whole(v) * whole(v)).sum();
        let scale = if square > 0.0 {
            (product / square) as f32
        } else {
            0.0
        };
        let wide = f64::from(scale);
        let error = length(centred.iter().map(|&v| v - wide * whole(v)));
        let error = (error * (1.0 + 1e-6)) as f32;
        let own = wide * square.sqrt();
        self.scale[row] = scale;
        self.error[row] = error.next_up();
        let wide = f64::from(self.error[row]);
        self.offset[row] = (0.5 * (wide * wide - own * own)) as f32;
        let most = &mut self.errors[row / LANES / PANELS][row % LANES];
        *most = most.max(self.error[row]);
        self.limits.error = self.limits.error.max(wide);
        self.limits.reach = self.limits.reach.max((own + wide) * (1.0 + 1e-9));
        let (panel, lane) = (row / LANES, row % LANES);
        let panel_bytes = self.mean.len().div_ceil(QUAD) * BLOCK;
        let weights = &mut self.weights.bytes_mut()[panel * panel_bytes..][..panel_bytes];
        let mut sum = 0;
        for (k, &v) in centred.iter().enumerate() {
            let integer = whole(v) as i8;
            weights[k / QUAD * BLOCK + lane * QUAD + k % QUAD] = integer as u8;
            sum += i32::from(integer);
        }
        self.bias[row] = -(self.zero() - self.kernel.offset()) * sum;
    }

    /// What a row is multiplied by before it is rounded: its integers are then at most [`MOST`], and
    /// within what the kernel adds exactly.
    fn factor(&self, centred: &[f64], most: f64) -> f64 {
        let factor = MOST / most;
        let Some(four) = self.kernel.narrow().four else {
            return factor;
        };
        let mut sums = vec![0.0; Narrow::group(centred.len() - 1) + 2];
        for (k, v) in centred.iter().enumerate() {
            sums[Narrow::group(k)] += v.abs();
        }
        let heaviest = sums.into_iter().fold(0.0, f64::max);
        // Four are rounded, each by a half at most.
        factor.min((f64::from(four) - 2.0) / heaviest)
    }

    /// Largest integer of a cell.
    pub(super) fn levels(&self) -> i32 {
        i32::from(self.kernel.narrow().byte) / 2
    }

    /// Added to a cell's integers, because kernels want them unsigned.
    pub(super) fn zero(&self) -> i32 {
        self.levels() + 1
    }

    /// Bytes of a cell.
    pub(super) fn stride(&self) -> usize {
        self.mean.len().next_multiple_of(LANES)
    }
}

fn length(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|v| v * v).sum::<f64>().sqrt()
}
