//! What a rule may add between the nearest row and the image score: a mean over rows of the bank, and a
//! mean over pixels of the map. Published methods have them; both are off by default.

use super::glancing::GlancingForm;
use super::nearest::{Neighbour, PackedBank, distance};
use serde::{Deserialize, Serialize};

/// Rows of a mean at most.
pub const MOST_NEIGHBOURS: u32 = 64;
/// Pixels of a mean at most: those of the largest map.
const MOST_TOP_PIXELS: u32 = 4096 * 4096;
/// Widest square of places of [`NPadForm`], cells.
pub const MOST_REACH: u32 = 31;

/// How distances become the image score: JSON in the section `scoring`. A reader refuses fields that it
/// does not know.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scoring {
    /// Rows whose distances are averaged: the row that explains the cell, and the nearest other rows of
    /// the bank to it. 1: that row alone.
    #[serde(default = "one")]
    pub neighbours: u32,
    /// The image score is the mean of so many highest pixels of the map. 1: its maximum.
    #[serde(default = "one")]
    pub top_pixels: u32,
    /// How the distributions of rule `n-pad` were made and are compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_pad: Option<NPadForm>,
    /// The networks of rule `glancing`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub glancing: Option<GlancingForm>,
    /// How the map is drawn between cells.
    #[serde(default, skip_serializing_if = "Interpolation::is_bilinear")]
    pub interpolation: Interpolation,
}

/// How a map is drawn between the middles of cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Interpolation {
    /// Linear down and across.
    #[default]
    Bilinear,
    /// The four cells around, each weighted by one over its distance.
    InverseDistance,
}

impl Interpolation {
    fn is_bilinear(&self) -> bool {
        *self == Self::Bilinear
    }
}

fn one() -> u32 {
    1
}

impl Default for Scoring {
    fn default() -> Self {
        Self {
            neighbours: 1,
            top_pixels: 1,
            n_pad: None,
            glancing: None,
            interpolation: Interpolation::Bilinear,
        }
    }
}

/// Weights of the places around a cell in its distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlaceWeights {
    /// By how alike the distributions of the two places are (Bhattacharyya coefficient).
    Bhattacharyya,
    /// All alike.
    Equal,
}

impl std::fmt::Display for PlaceWeights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            PlaceWeights::Bhattacharyya => "Bhattacharyya weights",
            PlaceWeights::Equal => "equal weights",
        })
    }
}

/// The form of rule `n-pad`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NPadForm {
    /// Side of the square of places that a distribution is made from, cells, odd.
    pub window: u32,
    /// Side of the square of places to whose distributions a cell is compared, cells, odd. The smallest
    /// distance counts.
    pub reach: u32,
    /// Weights of the places in a distribution.
    pub weights: PlaceWeights,
}

impl Scoring {
    /// What is wrong with the values, if anything is.
    pub fn problem(&self) -> Option<String> {
        if !(1..=MOST_NEIGHBOURS).contains(&self.neighbours) {
            return Some(format!(
                "a mean over {} rows; 1 to {MOST_NEIGHBOURS} are possible",
                self.neighbours
            ));
        }
        if !(1..=MOST_TOP_PIXELS).contains(&self.top_pixels) {
            return Some(format!("a mean over {} pixels of the map", self.top_pixels));
        }
        if let Some(problem) = self.glancing.as_ref().and_then(GlancingForm::problem) {
            return Some(problem);
        }
        let side = |side: u32| side % 2 == 1 && side <= MOST_REACH;
        self.n_pad
            .filter(|form| !side(form.window) || !side(form.reach))
            .map(|form| {
                format!(
                    "squares of {} and {} places; odd numbers up to {MOST_REACH} are possible",
                    form.window, form.reach
                )
            })
    }

    /// Whether it leaves distances and map as they are.
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }

    /// What it does, for each a short name and a sentence.
    pub fn in_words(&self) -> Vec<(&'static str, String)> {
        let mut out = Vec::new();
        if let Some(form) = &self.n_pad {
            out.push((
                "places",
                format!(
                    "distributions over {0} x {0} places, {1}; the nearest of those within {2} x {2} places counts",
                    form.window, form.weights, form.reach
                ),
            ));
        }
        if let Some(form) = &self.glancing {
            out.push((
                "networks",
                format!(
                    "{0} x {0} cells without the middle {1} x {1} tell the code of the cell; {2} of the score is the difference, the rest is what looks distorted",
                    form.window, form.hole, form.weight
                ),
            ));
        }
        if self.interpolation == Interpolation::InverseDistance {
            out.push((
                "between cells",
                "the four cells around, each weighted by one over its distance".into(),
            ));
        }
        if self.neighbours > 1 {
            out.push((
                "row mean",
                format!(
                    "a distance is the mean of those to the nearest row and to its {} nearest rows in the bank",
                    self.neighbours - 1
                ),
            ));
        }
        if self.top_pixels > 1 {
            out.push((
                "image score",
                format!("mean of the {} highest pixels of the map", self.top_pixels),
            ));
        }
        out
    }
}

/// For each row of a bank its nearest other rows, nearest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowNeighbours {
    per_row: usize,
    rows: Vec<u32>,
}

impl RowNeighbours {
    /// `rows` is `[rows of the bank, per_row]`.
    ///
    /// # Panics
    /// If `per_row` is 0 or the table is not whole: a programming error, because bundles are checked.
    pub fn new(rows: Vec<u32>, per_row: usize) -> Self {
        assert!(
            per_row > 0 && rows.len().is_multiple_of(per_row),
            "neighbours of rows"
        );
        Self { per_row, rows }
    }

    /// Rows of the bank.
    pub fn len(&self) -> usize {
        self.rows.len() / self.per_row
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The mean of the distances from `vector` to the row of `found` and to its neighbours in `bank`,
    /// each times the row's factor if there are `factors`.
    pub(super) fn mean(
        &self,
        bank: &PackedBank,
        factors: Option<&[f32]>,
        vector: &[f32],
        found: &Neighbour,
    ) -> f32 {
        let d = bank.dimensions();
        let factor = |row: u32| factors.map_or(1.0, |factors| factors[row as usize]);
        let around = &self.rows[found.row as usize * self.per_row..][..self.per_row];
        let mut sum = factor(found.row) * found.distance;
        for &row in around {
            let entry = &bank.values()[row as usize * d..][..d];
            sum += factor(row) * distance(vector, entry);
        }
        sum / (self.per_row + 1) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_is_over_the_row_and_its_neighbours_in_the_bank() {
        let bank = PackedBank::new(vec![0.0, 3.0, 4.0, 100.0], 1);
        let table = RowNeighbours::new(vec![1, 2, 2, 0, 1, 0, 2, 1], 2);
        let found = Neighbour {
            row: 0,
            distance: 1.0,
        };
        // Distances from 1: 1 to row 0, 2 to row 1, 3 to row 2.
        assert_eq!(table.mean(&bank, None, &[1.0], &found), 2.0);
        let factors = [2.0, 1.0, 0.5, 9.0];
        let mean = table.mean(&bank, Some(&factors), &[1.0], &found);
        assert_eq!(mean, (2.0 + 2.0 + 1.5) / 3.0);
        let broken = Neighbour {
            row: 0,
            distance: f32::NAN,
        };
        assert!(table.mean(&bank, None, &[1.0], &broken).is_nan());
    }

    #[test]
    fn values_that_no_rule_has_are_refused() {
        let form = |window, reach| NPadForm {
            window,
            reach,
            weights: PlaceWeights::Equal,
        };
        let scoring = |neighbours, top_pixels, n_pad| Scoring {
            neighbours,
            top_pixels,
            n_pad,
            ..Scoring::default()
        };
        assert_eq!(Scoring::default().problem(), None);
        assert_eq!(scoring(9, 100, Some(form(3, 1))).problem(), None);
        for wrong in [
            scoring(0, 1, None),
            scoring(65, 1, None),
            scoring(1, 0, None),
            scoring(1, 1, Some(form(2, 3))),
            scoring(1, 1, Some(form(3, 33))),
        ] {
            assert!(wrong.problem().is_some(), "{wrong:?}");
        }
        let read = |text| serde_json::from_str::<Scoring>(text);
        assert_eq!(read("{}").expect("defaults"), Scoring::default());
        assert!(read(r#"{"neighbors":3}"#).is_err());
    }
}
