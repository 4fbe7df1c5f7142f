//! Features to score: aggregate taps, find the nearest allowed bank row of every cell, draw the
//! map, take its maximum.

pub mod aggregate;
pub mod map;
pub mod nearest;
pub mod position;

pub use aggregate::{Aggregator, Border};
pub use map::MapOperator;
pub use nearest::{Neighbour, PackedBank};
pub use position::{MaskError, PositionMask};

use crate::network::Threads;
use serde::{Deserialize, Serialize};

/// Which bank rows may explain a cell (`docs/method.md` has the sources).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// Any row: PatchCore, the baseline.
    Patchcore,
    /// Rows that good images showed near the cell's place.
    Position,
    /// Rows that the neighbourhood network finds likely.
    Neighbourhood,
    /// Mean of position and neighbourhood above the published threshold.
    Pni,
    /// The published first version: score over the distribution coreset only.
    PniV1,
    /// One mask a model and the mean of the two scores.
    PniTwoMap,
    /// Thresholds chosen so that few held-out good cells lose the row they really are.
    Coverage,
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Rule::Patchcore => "patchcore",
            Rule::Position => "position",
            Rule::Neighbourhood => "neighbourhood",
            Rule::Pni => "pni",
            Rule::PniV1 => "pni-v1",
            Rule::PniTwoMap => "pni-two-map",
            Rule::Coverage => "coverage",
        })
    }
}

/// Parts of the picture that do not count, at the network's resolution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IgnoreMask {
    pixels: Vec<bool>,
    cells: Vec<bool>,
}

impl IgnoreMask {
    /// `pixels` is `[side, side]`, true where the picture is ignored; a cell is ignored when all
    /// its `side / grid` squared pixels are.
    ///
    /// # Panics
    /// When the length is not `side * side`: a programming error.
    pub fn new(pixels: Vec<bool>, side: usize, grid: usize) -> Self {
        assert_eq!(pixels.len(), side * side, "ignore mask");
        let stride = side / grid;
        let cells = (0..grid * grid)
            .map(|cell| {
                let (row, column) = (cell / grid * stride, cell % grid * stride);
                (row..row + stride)
                    .all(|y| pixels[y * side + column..][..stride].iter().all(|&p| p))
            })
            .collect();
        Self { pixels, cells }
    }

    /// Ignored pixels, `[side, side]`.
    pub fn pixels(&self) -> &[bool] {
        &self.pixels
    }

    /// Cells without a single pixel that counts, `[grid, grid]`.
    pub fn cells(&self) -> &[bool] {
        &self.cells
    }
}

/// Scores one image's features. All buffers live here: scoring takes no memory after the first
/// image.
pub struct Scorer {
    bank: PackedBank,
    mask: Option<PositionMask>,
    ignore: Option<IgnoreMask>,
    operator: MapOperator,
    neighbours: Vec<Neighbour>,
    distances: Vec<f32>,
    map: Vec<f32>,
}

impl Scorer {
    /// For a `grid` x `grid` feature grid of a `side` pixel input; `sigma` blurs the map, pixels.
    ///
    /// # Panics
    /// When the mask is for another grid or bank: a programming error, bundles are checked.
    pub fn new(
        bank: PackedBank,
        mask: Option<PositionMask>,
        ignore: Option<IgnoreMask>,
        grid: usize,
        side: usize,
        sigma: f32,
    ) -> Self {
        let cells = grid * grid;
        if let Some(mask) = &mask {
            assert_eq!((mask.cells(), mask.rows()), (cells, bank.rows()), "mask");
        }
        Self {
            bank,
            mask,
            ignore,
            operator: MapOperator::new(grid, side, sigma),
            neighbours: vec![Neighbour::default(); cells],
            distances: vec![0.0; cells],
            map: vec![0.0; side * side],
        }
    }

    /// Finds the nearest allowed row of every cell of `features`, `[cells, dimensions]`.
    ///
    /// # Panics
    /// When the buffer has another length: a programming error.
    pub fn search(&mut self, features: &[f32], threads: &Threads) {
        self.bank
            .nearest(features, self.mask.as_ref(), threads, &mut self.neighbours);
    }

    /// Draws the map from the last search and returns the image score: the map's maximum outside
    /// ignored pixels, NaN when any cell that counts has no number.
    pub fn draw(&mut self) -> f32 {
        for (distance, neighbour) in self.distances.iter_mut().zip(&self.neighbours) {
            *distance = neighbour.distance;
        }
        if let Some(ignore) = &self.ignore {
            for (distance, &ignored) in self.distances.iter_mut().zip(&ignore.cells) {
                if ignored {
                    *distance = 0.0;
                }
            }
        }
        self.operator.run(&self.distances, &mut self.map);
        if let Some(ignore) = &self.ignore {
            for (value, &ignored) in self.map.iter_mut().zip(&ignore.pixels) {
                if ignored {
                    *value = 0.0;
                }
            }
        }
        highest(&self.map)
    }

    /// Search and draw.
    pub fn score(&mut self, features: &[f32], threads: &Threads) -> f32 {
        self.search(features, threads);
        self.draw()
    }

    /// The last map, `[side, side]`.
    pub fn map(&self) -> &[f32] {
        &self.map
    }

    /// Nearest rows of the last search, a cell each.
    pub fn neighbours(&self) -> &[Neighbour] {
        &self.neighbours
    }

    /// The bank.
    pub fn bank(&self) -> &PackedBank {
        &self.bank
    }
}

/// Maximum that a NaN anywhere turns into NaN: `f32::max` would hide it.
fn highest(map: &[f32]) -> f32 {
    let mut high = f32::NEG_INFINITY;
    let mut broken = false;
    for &v in map {
        high = if v > high { v } else { high };
        broken |= v.is_nan();
    }
    if broken { f32::NAN } else { high }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scorer(ignore: Option<IgnoreMask>) -> Scorer {
        let bank = PackedBank::new(vec![0.0, 0.0, 10.0, 0.0], 2);
        let mut mask = PositionMask::nothing(4, 2);
        for cell in 0..4 {
            mask.allow(cell, usize::from(cell == 3));
        }
        Scorer::new(bank, Some(mask), ignore, 2, 16, 0.0)
    }

    #[test]
    fn a_row_right_elsewhere_does_not_explain_a_cell() {
        let mut scorer = scorer(None);
        let at_home = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 10.0, 0.0];
        assert_eq!(scorer.score(&at_home, &Threads::default()), 0.0);
        // The same vector in a place where only the other row is allowed.
        let moved = [10.0, 0.0, 0.0, 0.0, 0.0, 0.0, 10.0, 0.0];
        assert!(scorer.score(&moved, &Threads::default()) > 9.0);
    }

    #[test]
    fn ignored_pixels_do_not_count_and_nan_does() {
        let pixels: Vec<bool> = (0..256).map(|i| i / 16 < 8 && i % 16 < 8).collect();
        let ignore = IgnoreMask::new(pixels, 16, 2);
        assert_eq!(ignore.cells(), [true, false, false, false]);
        let mut scorer = scorer(Some(ignore));
        let mut features = [10.0, 0.0, 0.0, 0.0, 0.0, 0.0, 10.0, 0.0];
        assert_eq!(scorer.score(&features, &Threads::default()), 0.0);
        features[0] = f32::NAN;
        assert_eq!(scorer.score(&features, &Threads::default()), 0.0);
        features[2] = f32::NAN;
        assert!(scorer.score(&features, &Threads::default()).is_nan());
    }
}
