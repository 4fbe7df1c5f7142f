//! A block of cells from the first pass to the nearest rows.

use super::first_pass::FirstPass;
use super::float::{self, Pair};
use super::integer::IntegerBank;
use super::scratch::Scratch;
use super::{Ask, Neighbour};
use crate::lanes::MOST_CELLS;

impl IntegerBank {
    /// Serves `out.len()` cells, at most [`CELLS`], from cell `first` on.
    pub(super) fn serve(
        &self,
        ask: &Ask<'_>,
        first: usize,
        out: &mut [Neighbour],
        scratch: &mut Scratch,
    ) {
        let d = self.mean.len();
        self.kernel.run_narrow(FirstPass {
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
