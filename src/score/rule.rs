//! The scoring rules by name.

use super::gaussian::Combination;
use serde::{Deserialize, Serialize};

/// Which bank rows may explain a cell (`docs/method.md` has the sources).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// Every row: PatchCore, the baseline.
    Patchcore,
    /// Rows that good images showed near the cell's place.
    Position,
    /// Rows that the neighbourhood network finds likely.
    Neighbourhood,
    /// Mean of position and neighbourhood above the published threshold.
    Pni,
    /// The published first version: scores over the distribution coreset only.
    PniV1,
    /// One mask per model, and the mean of the two scores.
    PniTwoMap,
    /// Thresholds chosen so that few held-out good cells lose the row they really are.
    Coverage,
    /// Distance to the Gaussian of good parts at the cell's place.
    Gaussian,
    /// Geometric mean of the distances to that Gaussian and to the bank.
    BankGaussian,
    /// Geometric mean of the distances to the nearest of the distributions around the place and to the
    /// bank.
    NPad,
    /// What networks give that compare a cell with its surroundings.
    Glancing,
}

impl Rule {
    /// The format of bundles that brought it, from format 2 on.
    pub(crate) fn since(self) -> u32 {
        match self {
            Rule::Gaussian | Rule::BankGaussian => 4,
            Rule::NPad | Rule::Glancing => 5,
            _ => 2,
        }
    }

    /// How distances to Gaussians of blocks take part in the score, under a rule that has them.
    pub fn combination(self) -> Option<Combination> {
        match self {
            Rule::Gaussian => Some(Combination::GaussianOnly),
            Rule::BankGaussian => Some(Combination::GeometricMean),
            _ => None,
        }
    }
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
            Rule::Gaussian => "gaussian",
            Rule::BankGaussian => "bank-gaussian",
            Rule::NPad => "n-pad",
            Rule::Glancing => "glancing",
        })
    }
}
