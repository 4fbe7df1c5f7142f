//! Features to score: aggregate taps, find the nearest allowed bank row of every cell, draw the
//! map, take its maximum.

pub mod aggregate;
mod conditions;
mod ignore;
pub mod map;
pub mod nearest;
mod neighbourhood;
pub mod position;

pub use aggregate::{Aggregator, Border};
pub use conditions::{Condition, Likelihood, Measure, SightingTable};
pub use ignore::IgnoreMask;
pub use map::MapOperator;
pub use nearest::{Neighbour, PackedBank};
pub use neighbourhood::{NeighbourhoodForm, NeighbourhoodNetwork, NeighbourhoodShape};
pub use position::{MaskError, PositionMask};

use crate::network::{NetworkError, Threads};
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

/// Scores one image's features. All buffers live here: scoring takes no memory after the first
/// image, but for what the neighbourhood network takes.
pub struct Scorer {
    bank: PackedBank,
    conditions: Vec<Condition>,
    row_scale: Option<Vec<f32>>,
    ignore: Option<IgnoreMask>,
    operator: MapOperator,
    plain: Vec<Neighbour>,
    neighbours: Vec<Neighbour>,
    distances: Vec<f32>,
    map: Vec<f32>,
    again: Again,
}

/// Scratch of the second search: the cells whose nearest row is not allowed there.
struct Again {
    cells: Vec<u32>,
    features: Vec<f32>,
    allowed: PositionMask,
    found: Vec<Neighbour>,
    column: Vec<f32>,
}

impl Scorer {
    /// For a `grid` x `grid` feature grid of a `side` pixel input; `sigma` blurs the map, pixels.
    /// With several `conditions` the score is the mean of what each alone would give.
    ///
    /// # Panics
    /// When a condition is for another grid or bank: a programming error, bundles are checked.
    pub fn new(
        bank: PackedBank,
        conditions: Vec<Condition>,
        ignore: Option<IgnoreMask>,
        grid: usize,
        side: usize,
        sigma: f32,
    ) -> Self {
        let cells = grid * grid;
        for condition in &conditions {
            if let Some(mask) = &condition.place {
                assert_eq!((mask.cells(), mask.rows()), (cells, bank.rows()), "mask");
            }
        }
        let room = if conditions.is_empty() { 0 } else { cells };
        Self {
            again: Again {
                cells: Vec::with_capacity(room),
                features: Vec::with_capacity(room * bank.dimensions()),
                allowed: PositionMask::nothing(room, bank.rows()),
                found: Vec::with_capacity(room),
                column: Vec::new(),
            },
            bank,
            conditions,
            row_scale: None,
            ignore,
            operator: MapOperator::new(grid, side, sigma),
            plain: vec![Neighbour::default(); cells],
            neighbours: vec![Neighbour::default(); cells],
            distances: vec![0.0; cells],
            map: vec![0.0; side * side],
        }
    }

    /// Multiplies each distance by a factor of the row that explains the cell: rows that lie apart
    /// from the others leave more room around them.
    ///
    /// # Panics
    /// When there is not one factor a row: a programming error.
    #[must_use]
    pub fn with_row_scale(mut self, scale: Option<Vec<f32>>) -> Self {
        assert!(
            scale.as_ref().is_none_or(|s| s.len() == self.bank.rows()),
            "row scale"
        );
        self.row_scale = scale;
        self
    }

    /// Finds the nearest allowed row of every cell of `features`, `[cells, dimensions]`.
    ///
    /// # Errors
    /// [`NetworkError::Run`] when the neighbourhood network fails.
    ///
    /// # Panics
    /// When the buffer has another length: a programming error.
    pub fn search(&mut self, features: &[f32], threads: &Threads) -> Result<(), NetworkError> {
        self.bank.nearest(features, None, threads, &mut self.plain);
        self.neighbours.copy_from_slice(&self.plain);
        if self.conditions.is_empty() {
            self.add_distances(0, 1.0);
            self.clear_ignored();
            return Ok(());
        }
        let share = 1.0 / self.conditions.len() as f32;
        for index in 0..self.conditions.len() {
            self.condition(index, features, threads)?;
            self.add_distances(index, share);
        }
        self.clear_ignored();
        Ok(())
    }

    /// Ignored cells have no score, for whoever looks at cells as for the map.
    fn clear_ignored(&mut self) {
        if let Some(ignore) = &self.ignore {
            for (distance, &ignored) in self.distances.iter_mut().zip(ignore.cells()) {
                if ignored {
                    *distance = 0.0;
                }
            }
        }
    }

    /// Replaces the neighbours that condition `index` refuses.
    fn condition(
        &mut self,
        index: usize,
        features: &[f32],
        threads: &Threads,
    ) -> Result<(), NetworkError> {
        let d = self.bank.dimensions();
        self.neighbours.copy_from_slice(&self.plain);
        let again = &mut self.again;
        again.cells.clear();
        self.conditions[index].look(features)?;
        let condition = &self.conditions[index];
        condition.refused(self.plain.iter().map(|n| n.row), |cell| {
            again.cells.push(cell as u32);
        })?;
        again.features.clear();
        again.allowed.clear_for(again.cells.len());
        for (slot, &cell) in again.cells.iter().enumerate() {
            let cell = cell as usize;
            again.features.extend_from_slice(&features[cell * d..][..d]);
            let words = again.allowed.words_mut(slot);
            condition.words(cell, self.bank.rows(), words, &mut again.column)?;
        }
        again.found.clear();
        again.found.resize(again.cells.len(), Neighbour::default());
        self.bank.nearest(
            &again.features,
            Some(&again.allowed),
            threads,
            &mut again.found,
        );
        for (&cell, &found) in again.cells.iter().zip(&again.found) {
            let cell = cell as usize;
            self.neighbours[cell] = found;
            if condition.unknown(cell) {
                self.neighbours[cell].distance = f32::NAN;
            }
        }
        Ok(())
    }

    /// Adds `share` of the distances of condition `index`; the first one starts from nothing. A
    /// condition never lowers a cell's score, whatever the factors of the two rows.
    fn add_distances(&mut self, index: usize, share: f32) {
        let scaled = |neighbour: &Neighbour| match &self.row_scale {
            Some(scale) => scale[neighbour.row as usize] * neighbour.distance,
            None => neighbour.distance,
        };
        let pairs = self.plain.iter().zip(&self.neighbours);
        for (distance, (plain, allowed)) in self.distances.iter_mut().zip(pairs) {
            let (plain, allowed) = (scaled(plain), scaled(allowed));
            // A NaN on either side stays one.
            let value = if allowed < plain { plain } else { allowed };
            let before = if index == 0 { 0.0 } else { *distance };
            *distance = before + share * value;
        }
    }

    /// Draws the map from the last search and returns the image score: the map's maximum outside
    /// ignored pixels, NaN when any cell that counts has no number.
    pub fn draw(&mut self) -> f32 {
        self.clear_ignored();
        self.operator.run(&self.distances, &mut self.map);
        if let Some(ignore) = &self.ignore {
            for (value, &ignored) in self.map.iter_mut().zip(ignore.pixels()) {
                if ignored {
                    *value = 0.0;
                }
            }
        }
        highest(&self.map)
    }

    /// Search and draw.
    ///
    /// # Errors
    /// [`NetworkError::Run`].
    pub fn score(&mut self, features: &[f32], threads: &Threads) -> Result<f32, NetworkError> {
        self.search(features, threads)?;
        Ok(self.draw())
    }

    /// The last map, `[side, side]`.
    pub fn map(&self) -> &[f32] {
        &self.map
    }

    /// The score of each cell in the last search, `[grid, grid]`.
    pub fn distances(&self) -> &[f32] {
        &self.distances
    }

    /// The same, to be corrected before the map is drawn.
    pub fn distances_mut(&mut self) -> &mut [f32] {
        &mut self.distances
    }

    /// Nearest rows of the last search, a cell each (under the last condition).
    pub fn neighbours(&self) -> &[Neighbour] {
        &self.neighbours
    }

    /// Cells whose nearest row was not allowed there, in the last search (last condition).
    pub fn searched_again(&self) -> usize {
        self.again.cells.len()
    }

    /// The bank.
    pub fn bank(&self) -> &PackedBank {
        &self.bank
    }

    /// The conditions.
    pub fn conditions(&self) -> &[Condition] {
        &self.conditions
    }
}

/// Maximum that a NaN anywhere turns into NaN: `f32::max` would hide it.
pub(crate) fn highest(map: &[f32]) -> f32 {
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
        Scorer::new(bank, vec![Condition::by_place(mask)], ignore, 2, 16, 0.0)
    }

    #[test]
    fn a_row_right_elsewhere_does_not_explain_a_cell() {
        let mut scorer = scorer(None);
        let at_home = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 10.0, 0.0];
        assert_eq!(
            scorer.score(&at_home, &Threads::default()).expect("score"),
            0.0
        );
        // The same vector in a place where only the other row is allowed.
        let moved = [10.0, 0.0, 0.0, 0.0, 0.0, 0.0, 10.0, 0.0];
        assert!(scorer.score(&moved, &Threads::default()).expect("score") > 9.0);
    }

    #[test]
    fn ignored_pixels_do_not_count_and_nan_does() {
        let pixels: Vec<bool> = (0..256).map(|i| i / 16 < 8 && i % 16 < 8).collect();
        let ignore = IgnoreMask::new(pixels, 16, 2);
        assert_eq!(ignore.cells(), [true, false, false, false]);
        let mut scorer = scorer(Some(ignore));
        let mut features = [10.0, 0.0, 0.0, 0.0, 0.0, 0.0, 10.0, 0.0];
        assert_eq!(
            scorer.score(&features, &Threads::default()).expect("score"),
            0.0
        );
        features[0] = f32::NAN;
        assert_eq!(
            scorer.score(&features, &Threads::default()).expect("score"),
            0.0
        );
        features[2] = f32::NAN;
        assert!(
            scorer
                .score(&features, &Threads::default())
                .expect("score")
                .is_nan()
        );
    }
}
