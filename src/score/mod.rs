//! Features to a score: find the nearest allowed bank row of every cell ([`Search`]), draw the map of
//! the cell scores and take its maximum ([`ScoreMap`]). Refinement of the cell scores comes between the
//! two.

pub mod aggregate;
mod conditions;
mod gaussian;
mod glancing;
mod ignore;
mod linear;
pub mod map;
mod n_pad;
pub mod nearest;
mod neighbourhood;
pub mod position;
mod rule;
mod scoring;
mod search;

pub use aggregate::{Aggregator, Border};
pub use conditions::{Condition, Likelihood, Measure, SightingTable};
pub use gaussian::{BLOCK, Combination, Gaussians, blocks, triangle};
pub use glancing::{GlancingForm, GlancingNetwork};
pub use ignore::IgnoreMask;
pub use linear::LinearMap;
pub(crate) use map::mean_of_highest;
pub use map::{MapOperator, ScoreMap};
pub use n_pad::{PlaceDistributions, around};
pub use nearest::{Neighbour, PackedBank, distance};
pub use neighbourhood::{NeighbourhoodForm, NeighbourhoodNetwork, NeighbourhoodShape};
pub use position::{MaskError, PositionMask};
pub use rule::Rule;
pub use scoring::{
    Interpolation, MOST_NEIGHBOURS, MOST_REACH, NPadForm, PlaceWeights, RowNeighbours, Scoring,
};
pub use search::Search;

use crate::network::{NetworkError, Threads};
use crate::size::Size;

/// Both steps of scoring one image.
pub struct Scorer {
    /// Features to cell scores.
    pub search: Search,
    /// Cell scores to the map.
    pub map: ScoreMap,
}

impl Scorer {
    /// For the feature grid `grid` of an input of `size` pixels; the other arguments as in
    /// [`Search::new`] and [`ScoreMap::new`].
    ///
    /// # Panics
    /// If a condition is for another grid or bank: a programming error, because bundles are checked.
    pub fn new(
        bank: PackedBank,
        conditions: Vec<Condition>,
        row_scale: Option<Vec<f32>>,
        ignore: Option<IgnoreMask>,
        (grid, size): (Size, Size),
        sigma: f32,
    ) -> Self {
        let ignored = ignore.as_ref().map_or(Vec::new(), |i| i.cells().to_vec());
        Self {
            search: Search::new(bank, conditions, row_scale, ignored, grid.area()),
            map: ScoreMap::new(grid, size, sigma, ignore),
        }
    }

    /// The same with distances to `places` in the score ([`Search::with_gaussians`]).
    #[must_use]
    pub fn with_gaussians(self, places: Gaussians, combination: Combination) -> Self {
        Self {
            search: self.search.with_gaussians(places, combination),
            ..self
        }
    }

    /// The same with distances to the distributions of `places` in the score
    /// ([`Search::with_places`]).
    #[must_use]
    pub fn with_places(self, places: PlaceDistributions) -> Self {
        Self {
            search: self.search.with_places(places),
            ..self
        }
    }

    /// The same with the scores of `network` in the place of distances to the bank
    /// ([`Search::with_glancing`]).
    #[must_use]
    pub fn with_glancing(self, network: GlancingNetwork) -> Self {
        Self {
            search: self.search.with_glancing(network),
            ..self
        }
    }

    /// The same with means over rows ([`Search::with_neighbours`]), if there are `neighbours`, and over
    /// `top_pixels` pixels ([`ScoreMap::with_top`]).
    #[must_use]
    pub fn with_means(self, neighbours: Option<RowNeighbours>, top_pixels: usize) -> Self {
        Self {
            search: match neighbours {
                Some(neighbours) => self.search.with_neighbours(neighbours),
                None => self.search,
            },
            map: self.map.with_top(top_pixels),
        }
    }

    /// Search and map without refinement between them. Returns the image score.
    ///
    /// # Errors
    /// [`NetworkError::Run`].
    pub fn score(&mut self, features: &[f32], threads: &Threads) -> Result<f32, NetworkError> {
        self.search.run(features, threads)?;
        Ok(self.map.score(self.search.cell_scores()))
    }
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
        Scorer::new(
            bank,
            vec![Condition::by_place(mask)],
            None,
            ignore,
            (Size::square(2), Size::square(16)),
            0.0,
        )
    }

    #[test]
    fn a_row_right_elsewhere_does_not_explain_a_cell() {
        let mut scorer = scorer(None);
        let at_home = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 10.0, 0.0];
        assert_eq!(
            scorer.score(&at_home, &Threads::default()).expect("score"),
            0.0
        );
        // The same vector at a place where only the other row is allowed.
        let moved = [10.0, 0.0, 0.0, 0.0, 0.0, 0.0, 10.0, 0.0];
        assert!(scorer.score(&moved, &Threads::default()).expect("score") > 9.0);
    }

    #[test]
    fn ignored_pixels_do_not_count_and_nan_does() {
        let pixels: Vec<bool> = (0..256).map(|i| i / 16 < 8 && i % 16 < 8).collect();
        let ignore = IgnoreMask::new(pixels, Size::square(16), Size::square(2));
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
