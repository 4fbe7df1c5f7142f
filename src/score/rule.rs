//! The scoring rules by name.

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
