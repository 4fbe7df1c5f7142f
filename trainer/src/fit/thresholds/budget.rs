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
use crate::metrics::distributions::{normal_upper_quantile, student_upper_quantile};
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
    /// exp(a + b t) where a line a + b q(i) is fitted by least squares to the logarithms of the higher
    /// half of the scores; q(i) is the normal quantile of (i - 0.375) / (n + 0.25) (Blom 1958), t the
    /// point that a Student t variable with n / 2 degrees of freedom exceeds with probability
    /// `budget`. With the normal quantile instead of t the line's own error is left out, and 30
    /// log-normal scores give a mean share of 1.7 % for 1 %, 8 scores 4.2 %. `None` for fewer than 8
    /// scores, and where the higher half has no spread or holds a 0.
    ///
    /// Mean share above the threshold, per cent, for budgets of 0.1 / 1 / 5 % (4000 samples each,
    /// test `budget_table`; from 3 / budget scores on by counting):
    ///
    /// | scores, n = | 8 | 14 | 30 | 60 | 100 | 200 |
    /// |---|---|---|---|---|---|---|
    /// | log-normal 0.15  | 0.21 / 1.3 / 5.0 | 0.12 / 1.0 / 4.8 | 0.10 / 0.9 / 4.8 | 0.11 / 1.0 / 5.0 | 0.10 / 1.0 / 4.9 | 0.10 / 1.0 / 5.0 |
    /// | log-normal 0.3   | 0.21 / 1.3 / 5.0 | 0.12 / 1.0 / 4.8 | 0.10 / 0.9 / 4.8 | 0.11 / 1.0 / 5.0 | 0.10 / 1.0 / 4.9 | 0.10 / 1.0 / 5.0 |
    /// | log-normal 0.6   | 0.21 / 1.3 / 5.0 | 0.12 / 1.0 / 4.8 | 0.10 / 0.9 / 4.8 | 0.11 / 1.0 / 5.0 | 0.10 / 1.0 / 4.9 | 0.10 / 1.0 / 5.0 |
    /// | log-normal 1     | 0.21 / 1.3 / 5.0 | 0.12 / 1.0 / 4.8 | 0.10 / 0.9 / 4.8 | 0.11 / 1.0 / 5.0 | 0.10 / 1.0 / 4.9 | 0.10 / 1.0 / 5.0 |
    /// | normal 8 +- 1    | 0.17 / 1.1 / 4.7 | 0.08 / 0.8 / 4.5 | 0.06 / 0.8 / 4.6 | 0.05 / 0.8 / 5.0 | 0.05 / 0.8 / 4.9 | 0.05 / 0.8 / 5.0 |
    /// | gamma 2          | 0.15 / 1.0 / 4.4 | 0.06 / 0.7 / 4.4 | 0.04 / 0.6 / 4.6 | 0.02 / 0.6 / 4.8 | 0.02 / 0.6 / 5.0 | 0.02 / 0.7 / 5.0 |
    /// | gamma 20         | 0.19 / 1.2 / 4.8 | 0.09 / 0.9 / 4.6 | 0.08 / 0.9 / 4.8 | 0.07 / 0.9 / 4.9 | 0.06 / 0.8 / 4.9 | 0.06 / 0.9 / 5.0 |
    /// | exponential      | 0.14 / 0.8 / 4.0 | 0.04 / 0.5 / 4.0 | 0.02 / 0.5 / 4.4 | 0.01 / 0.5 / 4.9 | 0.01 / 0.5 / 4.9 | 0.01 / 0.5 / 5.0 |
    /// | uniform          | 0.02 / 0.2 / 1.9 | 0.00 / 0.1 / 1.6 | 0.00 / 0.0 / 1.9 | 0.00 / 0.0 / 4.9 | 0.00 / 0.0 / 4.9 | 0.00 / 0.0 / 5.0 |
    /// | Pareto tail 0.3  | 0.19 / 1.1 / 4.6 | 0.10 / 0.9 / 4.5 | 0.08 / 0.8 / 4.6 | 0.08 / 0.8 / 4.9 | 0.09 / 0.9 / 4.9 | 0.09 / 0.9 / 5.0 |
    /// | 3 % at 1.5 x     | 0.60 / 2.4 / 6.0 | 0.80 / 2.2 / 5.5 | 0.88 / 2.1 / 4.8 | 0.83 / 2.1 / 4.9 | 0.86 / 2.2 / 5.0 | 0.85 / 2.2 / 5.0 |
    ///
    /// So the stated budget is kept on average, except where a rare second kind of good part is not
    /// among few images, and it is kept with room to spare where scores have light tails.
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
        let reach = student_upper_quantile(budget, n as f64 / 2.0);
        let found = (y + slope * (reach - x)).exp();
        (slope > 0.0 && super::round_up(found).is_finite()).then_some(found)
    }
}
