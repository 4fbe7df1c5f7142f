//! The part's position against a reference picture.
//!
//! Both pictures become 64 x 64 cells, whatever their size is. The mean of its surroundings is
//! subtracted from each cell, so that brightness, contrast and slow gradients of the light do not
//! count. Then the two are compared at every shift of up to 8 cells (12.5 % of a side), by normalised
//! cross-correlation of the area where they overlap. A parabola through the adjacent shifts refines the
//! best one to less than a cell.
//!
//! The best shift counts only if it is clearly the best: its correlation reaches a floor, no shift more
//! than a few cells away comes near it, and it is not at the edge of the range.

use super::{PARTS, Points};

/// Cells per side.
const CELLS: usize = 64;
/// Largest shift in each direction, cells.
const REACH: usize = 8;
/// Shifts per side.
const SHIFTS: usize = 2 * REACH + 1;
/// Half the side of the surroundings whose mean is subtracted.
const AROUND: usize = 4;
/// A lower correlation is no resemblance.
const FLOOR: f32 = 0.5;
/// A high correlation within this many cells of the best shift belongs to the same peak.
const PEAK: usize = 3;
/// The best correlation must exceed that of every other position by this.
const MARGIN: f32 = 0.05;
/// Cells that differ from their surroundings by less than this on average show nothing; grey levels.
/// Below it the correlation would be one of sensor noise.
const STRUCTURE: f32 = 0.5;

/// The part's position against the reference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shift {
    /// To the right, per cent of the width.
    pub dx: f64,
    /// Downwards, per cent of the height.
    pub dy: f64,
    /// Correlation there, up to 1.
    pub correlation: f64,
    /// By how much it exceeds the correlation at every other position.
    pub margin: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Placement {
    At(Shift),
    Unclear { correlation: f32 },
}

/// A reference, and the memory for comparing frames with it.
#[derive(Debug)]
pub(super) struct Place {
    reference: Cells,
    frame: Cells,
    correlations: Vec<f32>,
    ambiguity: Option<f32>,
}

impl Place {
    pub(super) fn new(reference: &Points) -> Self {
        let mut cells = Cells::new();
        cells.fill(reference);
        let mut place = Self {
            reference: cells,
            frame: Cells::new(),
            correlations: vec![0.0; SHIFTS * SHIFTS],
            ambiguity: None,
        };
        if let Placement::Unclear { .. } = place.find(reference) {
            place.ambiguity = Some(place.rival((REACH, REACH)));
        }
        place
    }

    /// The correlation of the reference with itself at another position, if it is too high; None if the
    /// position is clear.
    pub(super) fn ambiguity(&self) -> Option<f32> {
        self.ambiguity
    }

    pub(super) fn find(&mut self, frame: &Points) -> Placement {
        self.frame.fill(frame);
        for row in 0..SHIFTS {
            for column in 0..SHIFTS {
                let shift = (
                    column as isize - REACH as isize,
                    row as isize - REACH as isize,
                );
                self.correlations[row * SHIFTS + column] =
                    correlation(&self.reference, &self.frame, shift);
            }
        }
        let mut best = (REACH, REACH);
        for row in 0..SHIFTS {
            for column in 0..SHIFTS {
                if self.at(column, row) > self.at(best.0, best.1) {
                    best = (column, row);
                }
            }
        }
        let correlation = self.at(best.0, best.1);
        let margin = correlation - self.rival(best);
        let rim = |at: usize| at == 0 || at == SHIFTS - 1;
        if correlation < FLOOR || margin < MARGIN || rim(best.0) || rim(best.1) {
            return Placement::Unclear { correlation };
        }
        let (column, row) = best;
        let percent = |at: usize, low: f32, high: f32| {
            let cells = at as f64 - REACH as f64 + f64::from(vertex(low, correlation, high));
            cells * 100.0 / CELLS as f64
        };
        Placement::At(Shift {
            dx: percent(column, self.at(column - 1, row), self.at(column + 1, row)),
            dy: percent(row, self.at(column, row - 1), self.at(column, row + 1)),
            correlation: f64::from(correlation),
            margin: f64::from(margin),
        })
    }

    fn at(&self, column: usize, row: usize) -> f32 {
        self.correlations[row * SHIFTS + column]
    }

    /// The best correlation away from the peak at `best`.
    fn rival(&self, best: (usize, usize)) -> f32 {
        let mut rival = -1.0f32;
        for row in 0..SHIFTS {
            for column in 0..SHIFTS {
                if column.abs_diff(best.0).max(row.abs_diff(best.1)) > PEAK {
                    rival = rival.max(self.at(column, row));
                }
            }
        }
        rival
    }
}

/// The top of a parabola through three values, -0.5 to 0.5 from the middle one.
fn vertex(low: f32, top: f32, high: f32) -> f32 {
    let bend = low - 2.0 * top + high;
    if bend >= 0.0 {
        return 0.0;
    }
    (0.5 * (low - high) / bend).clamp(-0.5, 0.5)
}

/// A picture as cells, with the mean of the surroundings subtracted.
#[derive(Debug)]
struct Cells {
    /// Grey levels, row-major.
    values: Vec<f32>,
    /// Sums of squares over everything above and to the left, one more per side.
    squares: Vec<f64>,
    /// The same for the values before the subtraction, and scratch.
    sums: Vec<f64>,
}

const EDGE: usize = CELLS + 1;

impl Cells {
    fn new() -> Self {
        Self {
            values: vec![0.0; CELLS * CELLS],
            squares: vec![0.0; EDGE * EDGE],
            sums: vec![0.0; EDGE * EDGE],
        }
    }

    fn fill(&mut self, points: &Points) {
        let bounds = |cell: usize, count: usize| {
            let from = cell * count / CELLS;
            from..((cell + 1) * count / CELLS).max(from + 1)
        };
        for row in 0..CELLS {
            for column in 0..CELLS {
                let (rows, columns) = (bounds(row, points.rows), bounds(column, points.columns));
                let count = rows.len() * columns.len();
                let sum: i32 = rows
                    .flat_map(|r| &points.luma[r * points.columns..][columns.clone()])
                    .sum();
                self.values[row * CELLS + column] = sum as f32 / (count as i32 * PARTS) as f32;
            }
        }
        table(&self.values, |value| value, &mut self.sums);
        for row in 0..CELLS {
            for column in 0..CELLS {
                let rows = (row.saturating_sub(AROUND), (row + AROUND + 1).min(CELLS));
                let columns = (
                    column.saturating_sub(AROUND),
                    (column + AROUND + 1).min(CELLS),
                );
                let count = (rows.1 - rows.0) * (columns.1 - columns.0);
                let mean = total(&self.sums, rows, columns) / count as f64;
                self.values[row * CELLS + column] -= mean as f32;
            }
        }
        table(&self.values, |value| value * value, &mut self.squares);
    }
}

/// The summed-area table of `of(values)`.
fn table(values: &[f32], of: impl Fn(f64) -> f64, into: &mut [f64]) {
    for row in 0..CELLS {
        let mut sum = 0.0;
        for column in 0..CELLS {
            sum += of(f64::from(values[row * CELLS + column]));
            into[(row + 1) * EDGE + column + 1] = into[row * EDGE + column + 1] + sum;
        }
    }
}

/// Sum over rows and columns, each from the first up to but not including the second.
fn total(table: &[f64], rows: (usize, usize), columns: (usize, usize)) -> f64 {
    let at = |row: usize, column: usize| table[row * EDGE + column];
    at(rows.1, columns.1) - at(rows.0, columns.1) - at(rows.1, columns.0) + at(rows.0, columns.0)
}

/// Normalised correlation of the area where the frame, moved back by `shift`, overlaps the reference; 0
/// if one of the two shows nothing there.
fn correlation(reference: &Cells, frame: &Cells, shift: (isize, isize)) -> f32 {
    // For each axis: first cell in the reference, first in the frame, count.
    let overlap = |shift: isize| {
        let (before, after) = (shift.min(0).unsigned_abs(), shift.max(0).unsigned_abs());
        (before, after, CELLS - before - after)
    };
    let (columns, rows) = (overlap(shift.0), overlap(shift.1));
    let mut product = 0.0;
    for row in 0..rows.2 {
        let a = &reference.values[(rows.0 + row) * CELLS + columns.0..][..columns.2];
        let b = &frame.values[(rows.1 + row) * CELLS + columns.1..][..columns.2];
        product += dot(a, b);
    }
    let energy = |cells: &Cells, row: usize, column: usize| {
        total(
            &cells.squares,
            (row, row + rows.2),
            (column, column + columns.2),
        )
    };
    let a = energy(reference, rows.0, columns.0);
    let b = energy(frame, rows.1, columns.1);
    let nothing = f64::from(STRUCTURE * STRUCTURE) * (rows.2 * columns.2) as f64;
    if a < nothing || b < nothing {
        return 0.0;
    }
    (f64::from(product) / (a * b).sqrt()) as f32
}

/// In sixteen sums, so that it is vectorised.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; 16];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    for (a, b) in a.iter().zip(b) {
        for lane in 0..16 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}
