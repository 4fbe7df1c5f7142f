//! What threads need while they serve a block of cells, and who has it.

use super::bound::Bound;
use super::float::Pair;
use super::integer::IntegerBank;
use crate::network::integer::kernels::{LANES, MOST_SUMS, PANELS};
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// Cells of a block: a panel of rows that is in the nearest cache serves all.
pub(super) const CELLS: usize = 64;
/// Panels of a block: their bytes and the scores stay in the second cache.
pub(super) const DEPTH: usize = 22 * PANELS;
/// Most candidates of a cell; more cost as much as the search in f32.
pub(super) const MOST: usize = 64;

/// A cell on its way through the blocks of rows.
#[derive(Clone, Copy)]
pub(super) struct Cell {
    /// 1 over the scale.
    pub(super) inverse: f32,
    /// `None`: to be searched in f32.
    pub(super) bound: Option<Bound>,
    /// The best score, lane by lane.
    pub(super) best: [f32; LANES],
    /// The best at the last scan, and what that gave.
    pub(super) scanned: f32,
    pub(super) factor: f32,
    pub(super) least: f32,
    pub(super) candidates: usize,
}

pub(super) const NO_CELL: Cell = Cell {
    inverse: 1.0,
    bound: None,
    best: [f32::NEG_INFINITY; LANES],
    scanned: f32::NEG_INFINITY,
    factor: 0.0,
    least: 0.0,
    candidates: 0,
};

#[derive(Clone, Copy, Default)]
pub(super) struct Candidate {
    pub(super) row: u32,
    pub(super) score: f32,
}

/// What a thread needs to serve a block of cells.
pub(super) struct Scratch {
    pub(super) centred: Vec<f32>,
    pub(super) bytes: Vec<u8>,
    pub(super) cells: [Cell; CELLS],
    /// Of a tile: filling them with zeros each time would cost a twentieth of the search.
    pub(super) sums: [[i32; LANES]; MOST_SUMS],
    /// Of a block of rows, by cell.
    pub(super) scores: Vec<[f32; LANES]>,
    /// The best of [`PANELS`] panels' scores, lane by lane.
    pub(super) tops: Vec<[f32; LANES]>,
    pub(super) candidates: Vec<[Candidate; MOST]>,
    pub(super) rows: [u32; CELLS],
    pub(super) pairs: Vec<Pair>,
    pub(super) refused: Vec<u32>,
}

impl Scratch {
    fn new(bank: &IntegerBank) -> Self {
        let depth = DEPTH.min(bank.panels);
        Self {
            centred: vec![0.0; bank.stride()],
            bytes: vec![0; CELLS * bank.stride()],
            cells: [NO_CELL; CELLS],
            sums: [[0; LANES]; MOST_SUMS],
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
    pub(super) fn settle(&mut self, bank: &IntegerBank, first: usize, count: usize) {
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
pub(super) fn leave(bound: &Bound, bank: &IntegerBank, candidates: &mut [Candidate]) -> usize {
    if candidates.len() == 1 {
        return 1;
    }
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
