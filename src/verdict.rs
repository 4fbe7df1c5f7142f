//! Score to verdict, and the evidence behind the thresholds.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The verdict on a part. Everything but [`Verdict::Ok`] is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// At or below the lower threshold: the part may pass.
    Ok,
    /// Above the upper threshold.
    Ng,
    /// Between the thresholds, or not a number.
    Unknown,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Verdict::Ok => "OK",
            Verdict::Ng => "NG",
            Verdict::Unknown => "UNKNOWN",
        })
    }
}

/// How a threshold was derived from held-out good images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BoundMethod {
    /// An order statistic: assumes only that future good parts are like the held-out ones.
    OrderStatistic,
    /// A generalised Pareto tail above a high quantile, with its upper confidence limit.
    GeneralisedParetoTail,
    /// A tolerance bound that assumes that the logarithms of the scores are normal.
    LogNormalTolerance,
    /// The largest held-out score; the stated rate is the best that so few images support.
    Maximum,
    /// Set by a person; it states no rate.
    Manual,
    /// The score that the budget of false rejects leaves on average, by counting held-out scores.
    BudgetQuantile,
    /// The same from a line through the upper half of the scores' logarithms, where the images are too
    /// few to count.
    BudgetLine,
}

/// One threshold with its evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bound {
    /// Scores above it are rejected.
    pub threshold: f32,
    /// How it was derived.
    pub method: BoundMethod,
    /// Held-out good images.
    pub n: u32,
    /// Requested false-reject rate, 0..1.
    pub rate: f64,
    /// Requested confidence, 0..1.
    pub confidence: f64,
    /// Upper bound on the false-reject rate by this method at that confidence.
    pub stated_rate: f64,
    /// Upper bound without any assumption on the distribution of the scores (Clopper-Pearson).
    pub distribution_free_rate: f64,
    /// One sentence for people.
    pub note: String,
}

impl Bound {
    /// A threshold set by a person; it states nothing about future parts.
    pub fn by_hand(threshold: f32, note: String) -> Self {
        Self {
            threshold,
            method: BoundMethod::Manual,
            n: 0,
            rate: 0.0,
            confidence: 0.0,
            stated_rate: 1.0,
            distribution_free_rate: 1.0,
            note,
        }
    }
}

/// The two thresholds of a product.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Thresholds {
    /// A score up to it is OK; above it, up to `ng`, UNKNOWN.
    pub unknown: Bound,
    /// A score above it is NG.
    pub ng: Bound,
}

/// Why thresholds cannot be used.
#[derive(Debug, Error)]
pub enum ThresholdsError {
    /// The values are not numbers, or in the wrong order.
    #[error(
        "thresholds must be finite, at least 0 and in order: unknown {unknown} <= ng {ng} does not hold"
    )]
    Order {
        /// Lower.
        unknown: f32,
        /// Upper.
        ng: f32,
    },
}

impl Thresholds {
    /// Checks that both values are finite, not negative and in order.
    ///
    /// # Errors
    /// [`ThresholdsError::Order`].
    pub fn check(&self) -> Result<(), ThresholdsError> {
        let (unknown, ng) = (self.unknown.threshold, self.ng.threshold);
        if unknown.is_finite() && ng.is_finite() && 0.0 <= unknown && unknown <= ng {
            Ok(())
        } else {
            Err(ThresholdsError::Order { unknown, ng })
        }
    }

    /// The same with another lower threshold, which a board sets. A score above it is not OK; NG begins
    /// no lower than that.
    #[must_use]
    pub fn with_unknown(&self, unknown: f32) -> Self {
        let note = |which: &str| format!("{which} as set on this board");
        Self {
            unknown: Bound::by_hand(unknown, note("UNKNOWN")),
            ng: if self.ng.threshold < unknown {
                Bound::by_hand(unknown, note("NG"))
            } else {
                self.ng.clone()
            },
        }
    }

    /// The verdict for `score`. A score that is not a finite number is UNKNOWN, never OK.
    pub fn verdict(&self, score: f32) -> Verdict {
        if !score.is_finite() {
            Verdict::Unknown
        } else if score > self.ng.threshold {
            Verdict::Ng
        } else if score > self.unknown.threshold {
            Verdict::Unknown
        } else {
            Verdict::Ok
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn thresholds(unknown: f32, ng: f32) -> Thresholds {
        let bound = |threshold| Bound::by_hand(threshold, String::new());
        Thresholds {
            unknown: bound(unknown),
            ng: bound(ng),
        }
    }

    proptest! {
        #[test]
        fn only_a_number_at_or_below_the_lower_threshold_is_ok(
            score: f32, a in 0.0f32..100.0, b in 0.0f32..100.0,
        ) {
            let t = thresholds(a.min(b), a.max(b));
            prop_assert!(t.check().is_ok());
            let verdict = t.verdict(score);
            prop_assert_eq!(verdict == Verdict::Ok, score.is_finite() && score <= a.min(b));
            prop_assert_eq!(verdict == Verdict::Ng, score.is_finite() && score > a.max(b));
        }
    }

    #[test]
    fn a_threshold_of_a_board_keeps_the_order() {
        let t = thresholds(1.0, 2.0);
        for (unknown, ng) in [(0.5, 2.0), (2.0, 2.0), (3.0, 3.0)] {
            let set = t.with_unknown(unknown);
            assert!(set.check().is_ok());
            assert_eq!((set.unknown.threshold, set.ng.threshold), (unknown, ng));
        }
    }

    #[test]
    fn what_is_not_a_number_is_unknown() {
        let t = thresholds(1.0, 2.0);
        for score in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(t.verdict(score), Verdict::Unknown);
        }
        assert!(thresholds(2.0, 1.0).check().is_err());
        assert!(thresholds(f32::NAN, 1.0).check().is_err());
        assert!(thresholds(0.0, f32::INFINITY).check().is_err());
    }
}
