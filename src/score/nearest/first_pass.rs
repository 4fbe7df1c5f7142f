//! The first pass over all rows, compiled for every instruction set.

use super::bound::Bound;
use super::integer::IntegerBank;
use super::scratch::{Candidate, Cell, DEPTH, MOST, NO_CELL, Scratch, leave};
use crate::network::integer::kernels::{LANES, PANELS, Panels, QUAD, Task, Tile};
use crate::score::position::PositionMask;

/// Added and taken away again: rounds to the nearest integer.
const ROUNDER: f32 = 12_582_912.0;

/// All rows for a block of cells.
pub(super) struct FirstPass<'a> {
    pub(super) bank: &'a IntegerBank,
    /// Of the block's cells.
    pub(super) features: &'a [f32],
    pub(super) mask: Option<&'a PositionMask>,
    /// The first cell, as the mask counts them.
    pub(super) first: usize,
    pub(super) scratch: &'a mut Scratch,
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
        let sums = &mut self.scratch.sums;
        let at = |p: usize, c: usize| (p / T::PANELS * T::CELLS + c) * T::PANELS + p % T::PANELS;
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
                let sums = &self.scratch.sums[at(p, c)];
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
    let levels = bank.levels();
    let scale = (most / levels as f32).max((bank.limits.reach * 1e-6) as f32);
    let inverse = 1.0 / scale;
    // Kernels want them unsigned.
    let zero = bank.zero() as u8;
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
            to[l] = (shifted.to_bits() as u8).wrapping_add(zero);
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
