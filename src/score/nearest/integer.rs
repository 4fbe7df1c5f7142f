//! The first pass in int8: rows and cells less the bank's mean, each with a scale of its own.
//!
//! For a block of cells the scores of a block of rows are computed and scanned while they are in
//! the cache. What [`super::bound`] cannot exclude is a candidate. A cell with too many of them, or
//! whose values the bounds do not cover, is searched in f32.

use super::bound::{Bound, Limits};
use super::float::{self, Pair};
use super::{Ask, Neighbour};
use crate::lanes::MOST_CELLS;
use crate::network::integer::kernels::{
    BLOCK, Blocks, Kernel, LANES, MOST_SUMS, PANELS, Panels, QUAD, Task, Tile,
};
use crate::score::position::PositionMask;
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// Cells of a block: a panel of rows that is in the nearest cache serves all.
pub(super) const CELLS: usize = 64;
/// Panels of a block: their bytes and the scores stay in the second cache.
const DEPTH: usize = 22 * PANELS;
/// Most candidates of a cell; more cost as much as the search in f32.
const MOST: usize = 64;
/// Sums of squares of integers stay exact in f32 lanes.
pub(super) const MOST_DIMENSIONS: usize = 16_384;
/// Added to a cell's integers, because kernels want them unsigned.
const ZERO: i32 = 128;
/// Added and taken away again: rounds to the nearest integer.
const ROUNDER: f32 = 12_582_912.0;

/// Whether a first pass on `kernel` is faster than the search in f32.
pub(super) fn pays(kernel: Kernel, rows: usize, dimensions: usize) -> bool {
    kernel != Kernel::Portable && rows >= 256 && dimensions >= 32
}

/// The bank in integers.
#[derive(Clone)]
pub(super) struct IntegerBank {
    kernel: Kernel,
    limits: Limits,
    mean: Vec<f32>,
    panels: usize,
    weights: Blocks,
    bias: Vec<i32>,
    /// Of a row: 0 in the padding, as its error.
    scale: Vec<f32>,
    /// `-||b||^2 / 2 + eb^2 / 2` of a row; minus infinity in the padding, which never is found.
    offset: Vec<f32>,
    error: Vec<f32>,
    /// The largest error of each lane of [`PANELS`] panels.
    errors: Vec<[f32; LANES]>,
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
        let whole = |v: f64| {
            if most > 0.0 {
                (v * (127.0 / most)).round_ties_even()
            } else {
                0.0
            }
        };
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
        self.bias[row] = -(ZERO - self.kernel.offset()) * sum;
    }

    /// Bytes of a cell.
    fn stride(&self) -> usize {
        self.mean.len().next_multiple_of(LANES)
    }

    /// Serves `out.len()` cells, at most [`CELLS`], from cell `first` on.
    pub(super) fn serve(
        &self,
        ask: &Ask<'_>,
        first: usize,
        out: &mut [Neighbour],
        scratch: &mut Scratch,
    ) {
        let d = self.mean.len();
        self.kernel.run(FirstPass {
            bank: self,
            features: &ask.features[first * d..][..out.len() * d],
            mask: ask.mask,
            first,
            scratch,
        });
        scratch.settle(self, first, out.len());
        float::values(ask.kernel, ask.bank, ask.features, &mut scratch.pairs);
        for cells in scratch.pairs.chunk_by(|a, b| a.cell == b.cell) {
            // Candidates are in the order of rows: of equal ones the first wins.
            let better =
                |best: Pair, pair: &Pair| if pair.value > best.value { *pair } else { best };
            let best = cells[1..].iter().fold(cells[0], better);
            scratch.rows[best.cell as usize - first] = best.row;
        }
        for cells in scratch.refused.chunks(crate::lanes::cells(ask.kernel)) {
            let mut rows = [0; MOST_CELLS];
            ask.winners(cells, &mut rows);
            for (&cell, row) in cells.iter().zip(rows) {
                scratch.rows[cell as usize - first] = row;
            }
        }
        for (i, neighbour) in out.iter_mut().enumerate() {
            *neighbour = ask.neighbour(first + i, scratch.rows[i]);
        }
    }
}

fn length(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|v| v * v).sum::<f64>().sqrt()
}

/// A cell on its way through the blocks of rows.
#[derive(Clone, Copy)]
struct Cell {
    /// 1 over the scale.
    inverse: f32,
    /// `None`: to be searched in f32.
    bound: Option<Bound>,
    /// The best score, lane by lane.
    best: [f32; LANES],
    /// The best at the last scan, and what that gave.
    scanned: f32,
    factor: f32,
    least: f32,
    candidates: usize,
}

const NO_CELL: Cell = Cell {
    inverse: 1.0,
    bound: None,
    best: [f32::NEG_INFINITY; LANES],
    scanned: f32::NEG_INFINITY,
    factor: 0.0,
    least: 0.0,
    candidates: 0,
};

#[derive(Clone, Copy, Default)]
struct Candidate {
    row: u32,
    score: f32,
}

/// What a thread needs to serve a block of cells.
pub(super) struct Scratch {
    centred: Vec<f32>,
    bytes: Vec<u8>,
    cells: [Cell; CELLS],
    /// Of a block of rows, by cell.
    scores: Vec<[f32; LANES]>,
    /// The best of [`PANELS`] panels' scores, lane by lane.
    tops: Vec<[f32; LANES]>,
    candidates: Vec<[Candidate; MOST]>,
    rows: [u32; CELLS],
    pairs: Vec<Pair>,
    refused: Vec<u32>,
}

impl Scratch {
    fn new(bank: &IntegerBank) -> Self {
        let depth = DEPTH.min(bank.panels);
        Self {
            centred: vec![0.0; bank.stride()],
            bytes: vec![0; CELLS * bank.stride()],
            cells: [NO_CELL; CELLS],
            scores: vec![[0.0; LANES]; CELLS * depth],
            tops: vec![[0.0; LANES]; CELLS * depth / PANELS],
            candidates: vec![[Candidate::default(); MOST]; CELLS],
            rows: [0; CELLS],
            pairs: Vec::with_capacity(CELLS * MOST),
            refused: Vec::with_capacity(CELLS),
        }
    }

    /// Candidates of the scan, pairs and refused cells of the block that was served last.
    #[cfg(test)]
    pub(super) fn counts(&self, cells: usize) -> (usize, usize, usize) {
        let found = self.cells[..cells].iter().map(|c| c.candidates).sum();
        (found, self.pairs.len(), self.refused.len())
    }

    /// Sorts cells into those with one candidate, with a few, and those to be searched in f32.
    fn settle(&mut self, bank: &IntegerBank, first: usize, count: usize) {
        self.pairs.clear();
        self.refused.clear();
        for i in 0..count {
            let state = &mut self.cells[i];
            let candidates = &mut self.candidates[i];
            let left = state.bound.map_or(0, |bound| {
                leave(&bound, bank, &mut candidates[..state.candidates])
            });
            let cell = (first + i) as u32;
            match left {
                0 => self.refused.push(cell),
                1 => self.rows[i] = candidates[0].row,
                _ => self.pairs.extend(candidates[..left].iter().map(|c| Pair {
                    cell,
                    row: c.row,
                    value: 0.0,
                })),
            }
        }
    }
}

/// Moves the candidates that (5) of [`super::bound`] leaves to the front, in their order.
fn leave(bound: &Bound, bank: &IntegerBank, candidates: &mut [Candidate]) -> usize {
    let of = |c: &Candidate| bound.of(c.score, bank.error[c.row as usize]);
    let most = candidates
        .iter()
        .fold(f64::INFINITY, |most, c| most.min(of(c).1));
    let limit = bound.limit(most);
    let mut left = 0;
    for i in 0..candidates.len() {
        if of(&candidates[i]).0 <= limit {
            candidates[left] = candidates[i];
            left += 1;
        }
    }
    left
}

/// All rows for a block of cells.
struct FirstPass<'a> {
    bank: &'a IntegerBank,
    /// Of the block's cells.
    features: &'a [f32],
    mask: Option<&'a PositionMask>,
    /// The first cell, as the mask counts them.
    first: usize,
    scratch: &'a mut Scratch,
}

impl Task for FirstPass<'_> {
    type Output = ();

    #[inline(always)]
    fn run<T: Tile>(mut self) {
        let (d, stride) = (self.bank.mean.len(), self.bank.stride());
        let count = self.features.len() / d;
        for i in 0..count.next_multiple_of(T::CELLS) {
            self.scratch.cells[i] = NO_CELL;
            if i < count {
                let features = &self.features[i * d..][..d];
                let bytes = &mut self.scratch.bytes[i * stride..][..stride];
                let centred = &mut self.scratch.centred;
                quantise(
                    self.bank,
                    features,
                    centred,
                    bytes,
                    &mut self.scratch.cells[i],
                );
            }
        }
        let depth = DEPTH.min(self.bank.panels);
        for start in (0..self.bank.panels).step_by(depth) {
            let end = (start + depth).min(self.bank.panels);
            for panel in (start..end).step_by(PANELS) {
                for cell in (0..count).step_by(T::CELLS) {
                    match self.mask {
                        None => self.tile::<T, false>(panel, panel - start, cell, count),
                        Some(_) => self.tile::<T, true>(panel, panel - start, cell, count),
                    }
                }
            }
            for cell in 0..count {
                self.scan(start, end - start, cell);
            }
        }
    }
}

impl FirstPass<'_> {
    /// Bits of the rows of `panel` that the mask allows at cell `cell` of the block.
    #[inline(always)]
    fn allowed(&self, cell: usize, panel: usize) -> u16 {
        let words = self.mask.map(|mask| mask.words(self.first + cell));
        words.map_or(u16::MAX, |w| w.get(panel).copied().unwrap_or(0))
    }

    /// The scores of a tile's cells and [`PANELS`] panels; `place` is the first panel's in its
    /// block.
    #[inline(always)]
    fn tile<T: Tile, const MASKED: bool>(
        &mut self,
        panel: usize,
        place: usize,
        cell: usize,
        count: usize,
    ) {
        let (bank, stride) = (self.bank, self.bank.stride());
        let depth = DEPTH.min(bank.panels);
        let rows = Panels {
            steps: bank.mean.len().div_ceil(QUAD),
            weights: bank.weights.bytes(),
            bias: &bank.bias,
        };
        let bytes = &self.scratch.bytes[cell * stride..];
        let mut sums = [[0; LANES]; MOST_SUMS];
        for p in (0..PANELS).step_by(T::PANELS) {
            T::products(&rows, panel + p, bytes, stride, &mut sums[p * T::CELLS..]);
        }
        let (scales, _) = bank.scale[panel * LANES..].as_chunks::<LANES>();
        let (offsets, _) = bank.offset[panel * LANES..].as_chunks::<LANES>();
        let (scales, offsets) = (&scales[..PANELS], &offsets[..PANELS]);
        for c in 0..T::CELLS.min(count - cell) {
            let state = &self.scratch.cells[cell + c];
            // Through arrays of their own: memory that may be the same is not vectorised.
            let (inverse, mut best) = (state.inverse, state.best);
            let mut top = [f32::NEG_INFINITY; LANES];
            for p in 0..PANELS {
                let sums =
                    &sums[p / T::PANELS * T::PANELS * T::CELLS + c * T::PANELS + p % T::PANELS];
                let allowed = if MASKED {
                    self.allowed(cell + c, panel + p)
                } else {
                    u16::MAX
                };
                let mut scores = [0.0; LANES];
                for l in 0..LANES {
                    let (sum, own) = (sums[l] as f32, offsets[p][l] * inverse);
                    let score = if T::FUSED {
                        sum.mul_add(scales[p][l], own)
                    } else {
                        sum * scales[p][l] + own
                    };
                    let may = !MASKED || allowed >> l & 1 == 1;
                    scores[l] = if may { score } else { f32::NEG_INFINITY };
                    top[l] = if scores[l] > top[l] {
                        scores[l]
                    } else {
                        top[l]
                    };
                }
                self.scratch.scores[(cell + c) * depth + place + p] = scores;
            }
            for l in 0..LANES {
                best[l] = if top[l] > best[l] { top[l] } else { best[l] };
            }
            self.scratch.tops[((cell + c) * depth + place) / PANELS] = top;
            self.scratch.cells[cell + c].best = best;
        }
    }

    /// Adds the candidates among `panels` panels from `start` on.
    #[inline(always)]
    fn scan(&mut self, start: usize, panels: usize, cell: usize) {
        let bank = self.bank;
        let state = &mut self.scratch.cells[cell];
        let Some(bound) = &state.bound else {
            return;
        };
        let best = greatest(state.best);
        if best == f32::NEG_INFINITY {
            return;
        }
        if best > state.scanned {
            state.scanned = best;
            (state.factor, state.least) = bound.scan(best);
        }
        let (factor, least) = (state.factor, state.least);
        let depth = DEPTH.min(bank.panels);
        let scores = &self.scratch.scores[cell * depth..][..panels];
        let tops = &self.scratch.tops[cell * depth / PANELS..][..panels / PANELS];
        let errors = &bank.errors[start / PANELS..][..panels / PANELS];
        let (row_errors, _) = bank.error[start * LANES..].as_chunks::<LANES>();
        let row_errors = &row_errors[..panels];
        for (i, (top, errors)) in tops.iter().zip(errors).enumerate() {
            if !reaches(top, errors, factor, least) {
                continue;
            }
            for p in PANELS * i..PANELS * (i + 1) {
                if !reaches(&scores[p], &row_errors[p], factor, least) {
                    continue;
                }
                for (l, &score) in scores[p].iter().enumerate() {
                    let row = (start + p) * LANES + l;
                    if score + factor * row_errors[p][l] < least {
                        continue;
                    }
                    let candidates = &mut self.scratch.candidates[cell];
                    if state.candidates == MOST {
                        state.candidates = leave(bound, bank, candidates);
                    }
                    if state.candidates == MOST {
                        state.bound = None;
                        return;
                    }
                    let row = row as u32;
                    candidates[state.candidates] = Candidate { row, score };
                    state.candidates += 1;
                }
            }
        }
    }
}

/// Whether one of sixteen rows is within the bound.
#[inline(always)]
fn reaches(scores: &[f32; LANES], errors: &[f32; LANES], factor: f32, least: f32) -> bool {
    let mut any = false;
    for l in 0..LANES {
        any |= scores[l] + factor * errors[l] >= least;
    }
    any
}

/// The greatest of sixteen, none of which is a NaN.
#[inline(always)]
fn greatest(mut of: [f32; LANES]) -> f32 {
    for half in [8, 4, 2, 1] {
        for l in 0..half {
            of[l] = if of[l + half] > of[l] {
                of[l + half]
            } else {
                of[l]
            };
        }
    }
    of[0]
}

/// A cell's integers into `bytes`, and what is known of them.
#[inline(always)]
fn quantise(
    bank: &IntegerBank,
    features: &[f32],
    centred: &mut [f32],
    bytes: &mut [u8],
    cell: &mut Cell,
) {
    for ((to, &x), &m) in centred.iter_mut().zip(features).zip(&bank.mean) {
        *to = x - m;
    }
    let (chunks, _) = centred.as_chunks::<LANES>();
    let mut most = [0.0f32; LANES];
    for chunk in chunks {
        for l in 0..LANES {
            let size = chunk[l].abs();
            most[l] = if size > most[l] { size } else { most[l] };
        }
    }
    let most = greatest(most);
    // A cell at the mean has no scale of its own; this one is far below every row's.
    let scale = (most * (1.0 / 127.0)).max((bank.limits.reach * 1e-6) as f32);
    let inverse = 1.0 / scale;
    let (mut squares, mut residuals) = ([0.0f32; LANES], [0.0f32; LANES]);
    let (to, _) = bytes.as_chunks_mut::<LANES>();
    for (chunk, to) in chunks.iter().zip(to) {
        for l in 0..LANES {
            let shifted = chunk[l] * inverse + ROUNDER;
            let whole = shifted - ROUNDER;
            let residual = chunk[l] - whole * scale;
            squares[l] += whole * whole;
            residuals[l] += residual * residual;
            // The lowest byte of the significand is the integer's.
            to[l] = (shifted.to_bits() as u8).wrapping_add(ZERO as u8);
        }
    }
    let mut squares = squares.map(f64::from);
    for half in [8, 4, 2, 1] {
        for l in 0..half {
            squares[l] += squares[l + half];
            residuals[l] += residuals[l + half];
        }
    }
    let bound = Bound::new(&bank.limits, scale, squares[0], residuals[0]);
    cell.inverse = if bound.is_some() { inverse } else { 1.0 };
    cell.bound = bound;
}

/// Scratch that waits for a thread: nothing is allocated once every thread has had its own.
#[derive(Default)]
pub(super) struct Spare {
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    idle: Vec<Box<Scratch>>,
    made: usize,
}

impl Held {
    fn make(&mut self, bank: &IntegerBank) {
        self.made += 1;
        self.idle.reserve(self.made);
        self.idle.push(Box::new(Scratch::new(bank)));
    }
}

impl Spare {
    /// Makes what `threads` threads need.
    pub(super) fn prepare(&self, threads: usize, bank: &IntegerBank) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        while held.made < threads {
            held.make(bank);
        }
    }

    pub(super) fn take(&self, bank: &IntegerBank) -> Box<Scratch> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(scratch) = held.idle.pop() {
                return scratch;
            }
            held.make(bank);
        }
    }

    pub(super) fn give_back(&self, scratch: Box<Scratch>) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.idle.push(scratch);
    }
}

impl Clone for Spare {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl fmt::Debug for Spare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Spare")
    }
}
