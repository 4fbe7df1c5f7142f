//! The threshold for a budget: the share of good parts that a user accepts as rejects, on average.
//!
//! A proven bound ([`super::bound`]) is far above what most users can bear: with 300 images it keeps
//! the largest score or one near it. A budget asks for the mean instead, and the bound that the
//! number of images can prove is stated beside it.
//!
//! From 3 / budget images on, the threshold is an order statistic: the k-th of n scores has
//! (n + 1 - k) / (n + 1) of the population above it on average, whatever the distribution. With
//! fewer images it is a line through the upper half of the sorted logarithms over normal quantiles
//! ([`Sample::upper_half_line`]).

use super::{OperatingPoint, Sample, ThresholdError, percent};
use crate::metrics::distributions::normal_upper_quantile;
use crate::metrics::intervals::upper_limit;
use partgate::verdict::{Bound, BoundMethod};

/// Scores that must lie above a threshold by counting.
const COUNTED: f64 = 3.0;
/// Fewest scores for a line through their upper half.
const LINE_IMAGES: usize = 8;

/// Budgets that every report shows, besides the product's own.
pub(crate) const SHOWN: [f64; 5] = [0.001, 0.005, 0.01, 0.02, 0.05];

impl OperatingPoint {
    /// The share of good parts that it is set for.
    pub(crate) fn share(self) -> f64 {
        match self {
            Self::Budget(share) | Self::Proven(share) => share,
        }
    }
}

/// The threshold above which a share `budget` of good parts is expected.
///
/// # Errors
/// [`ThresholdError`] for scores or a budget that give no threshold.
pub(crate) fn threshold(
    scores: &[f32],
    budget: f64,
    confidence: f64,
) -> Result<Bound, ThresholdError> {
    if !(budget > 0.0 && budget < 0.5) {
        return Err(ThresholdError::Rate { rate: budget });
    }
    let sample = Sample::new(scores, confidence)?;
    let n = sample.n();
    let few = format!("{n} held-out good images are too few for a budget");
    let (threshold, method, origin) = if n as f64 * budget >= COUNTED {
        let rank = (((n + 1) as f64 * (1.0 - budget)).ceil() as usize).clamp(1, n);
        let origin = format!("the score of rank {rank} among {n} held-out good images");
        (
            sample.ascending[rank - 1],
            BoundMethod::BudgetQuantile,
            origin,
        )
    } else {
        let Some(line) = sample.upper_half_line(budget) else {
            return Ok(sample.maximum(budget, &few));
        };
        let origin = format!(
            "read from a line through the logarithms of the higher half of {n} held-out scores, because {} would be needed to count",
            (COUNTED / budget).ceil()
        );
        (line, BoundMethod::BudgetLine, origin)
    };
    let above = sample.ascending.iter().filter(|s| **s > threshold).count();
    let limit = upper_limit(above as u64, n as u64, confidence);
    let note = format!(
        "About {} of good parts are expected above the threshold. It is {origin}. {above} of {n} held-out goods are above it, so with {} confidence at most {} of good parts are, whatever their distribution.",
        percent(budget),
        percent(confidence),
        percent(limit),
    );
    Ok(sample.bound_at(threshold, method, budget, limit, limit, note))
}

impl Sample {
    /// exp(a + b z) where a line a + b q(i) is fitted by least squares to the logarithms of the higher
    /// half of the scores; q(i) is the normal quantile of (i - 0.375) / (n + 0.25) (Blom 1958), z that
    /// of 1 - `budget`. `None` for fewer than 8 scores, and where the higher half has no spread or
    /// holds a 0.
    ///
    /// Mean share above it, per cent, by the test `budget_table`: BUDGET_TABLE
    fn upper_half_line(&self, budget: f64) -> Option<f64> {
        let n = self.n();
        if n < LINE_IMAGES {
            return None;
        }
        let points: Vec<[f64; 2]> = (n / 2..n)
            .map(|at| {
                let below = (at as f64 + 1.0 - 0.375) / (n as f64 + 0.25);
                [normal_upper_quantile(1.0 - below), self.ascending[at].ln()]
            })
            .collect();
        let count = points.len() as f64;
        let mean = |axis: usize| points.iter().map(|p| p[axis]).sum::<f64>() / count;
        let (x, y) = (mean(0), mean(1));
        let product = points.iter().map(|p| (p[0] - x) * (p[1] - y)).sum::<f64>();
        let square = points.iter().map(|p| (p[0] - x).powi(2)).sum::<f64>();
        let slope = product / square;
        let found = (y + slope * (normal_upper_quantile(budget) - x)).exp();
        (slope > 0.0 && super::round_up(found).is_finite()).then_some(found)
    }
}
