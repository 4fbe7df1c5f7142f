//! Which bank rows may explain a cell, given where the cell is: one bit per (cell, row).
//!
//! The rule (method: PNI, arXiv 2211.12634, position term): row `c` is allowed at cell `x` if the good
//! images showed it near `x` often enough. Only the position decides here, so the fitted histogram is
//! reduced to bits before it ships.

use crate::lanes::LANES;
use thiserror::Error;

/// Allowed rows per cell, [`LANES`] rows in a `u16` word, lowest row in the lowest bit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PositionMask {
    cells: usize,
    rows: usize,
    words: Vec<u16>,
}

/// Why a stored mask cannot be used.
#[derive(Debug, Error)]
pub enum MaskError {
    /// Too many or too few words.
    #[error("position mask has {found} words; {cells} cells over {rows} bank rows need {expected}")]
    Length {
        /// Words found.
        found: usize,
        /// Words needed.
        expected: usize,
        /// Cells of the grid.
        cells: usize,
        /// Rows of the bank.
        rows: usize,
    },
    /// A cell without any allowed row, which would have no score.
    #[error("position mask allows no bank row at cell {cell}")]
    Nothing {
        /// The cell.
        cell: usize,
    },
    /// Bits after the last row are set.
    #[error("position mask allows bank rows past the last ({rows}) at cell {cell}")]
    Beyond {
        /// The cell.
        cell: usize,
        /// Rows of the bank.
        rows: usize,
    },
}

impl PositionMask {
    /// A mask that allows no row yet.
    pub fn nothing(cells: usize, rows: usize) -> Self {
        Self {
            cells,
            rows,
            words: vec![0; cells * rows.div_ceil(LANES)],
        }
    }

    /// From stored words.
    ///
    /// # Errors
    /// [`MaskError`] if a cell would be left without any row, or lengths disagree.
    pub(crate) fn from_words(
        cells: usize,
        rows: usize,
        words: Vec<u16>,
    ) -> Result<Self, MaskError> {
        let stride = rows.div_ceil(LANES);
        let expected = cells * stride;
        if words.len() != expected || rows == 0 {
            return Err(MaskError::Length {
                found: words.len(),
                expected,
                cells,
                rows,
            });
        }
        let tail = rows % LANES;
        for (cell, row) in words.chunks_exact(stride).enumerate() {
            if row.iter().all(|&w| w == 0) {
                return Err(MaskError::Nothing { cell });
            }
            if tail != 0 && row[stride - 1] >> tail != 0 {
                return Err(MaskError::Beyond { cell, rows });
            }
        }
        Ok(Self { cells, rows, words })
    }

    /// Makes room for `cells` cells, whatever it held before. Takes no memory once it has held as many.
    pub(super) fn clear_for(&mut self, cells: usize) {
        self.cells = cells;
        self.words.clear();
        self.words.resize(cells * self.rows.div_ceil(LANES), 0);
    }

    /// The words of one cell, to be written.
    pub(super) fn words_mut(&mut self, cell: usize) -> &mut [u16] {
        let stride = self.rows.div_ceil(LANES);
        &mut self.words[cell * stride..][..stride]
    }

    /// Cells of the grid.
    pub fn cells(&self) -> usize {
        self.cells
    }

    /// Rows of the bank.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The words of one cell.
    pub fn words(&self, cell: usize) -> &[u16] {
        let stride = self.rows.div_ceil(LANES);
        &self.words[cell * stride..][..stride]
    }

    /// All words, cell by cell, as stored.
    pub fn all_words(&self) -> &[u16] {
        &self.words
    }

    /// Allows `row` at `cell`.
    ///
    /// # Panics
    /// If either is out of range: a programming error.
    pub fn allow(&mut self, cell: usize, row: usize) {
        assert!(cell < self.cells && row < self.rows, "mask index");
        let stride = self.rows.div_ceil(LANES);
        self.words[cell * stride + row / LANES] |= 1 << (row % LANES);
    }

    /// Whether `row` may explain `cell`.
    pub fn allows(&self, cell: usize, row: usize) -> bool {
        self.words(cell)[row / LANES] >> (row % LANES) & 1 == 1
    }

    /// Share of (cell, row) pairs that are allowed, 0..=1.
    pub fn allowed_share(&self) -> f64 {
        let ones: u64 = self.words.iter().map(|w| u64::from(w.count_ones())).sum();
        ones as f64 / (self.cells * self.rows) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_mask_is_checked() {
        let mut mask = PositionMask::nothing(3, 20);
        for cell in 0..3 {
            mask.allow(cell, 19 - cell);
        }
        assert!(mask.allows(0, 19) && !mask.allows(0, 18));
        let words = mask.all_words().to_vec();
        assert_eq!(
            PositionMask::from_words(3, 20, words.clone()).expect("same"),
            mask
        );
        assert!((mask.allowed_share() - 0.05).abs() < 1e-9);
        assert!(matches!(
            PositionMask::from_words(3, 20, words[1..].to_vec()),
            Err(MaskError::Length {
                found: 5,
                expected: 6,
                ..
            })
        ));
        let mut empty = words.clone();
        empty[2..4].fill(0);
        assert!(matches!(
            PositionMask::from_words(3, 20, empty),
            Err(MaskError::Nothing { cell: 1 })
        ));
        let mut beyond = words;
        beyond[5] |= 0x8000;
        assert!(matches!(
            PositionMask::from_words(3, 20, beyond),
            Err(MaskError::Beyond { cell: 2, rows: 20 })
        ));
    }
}
