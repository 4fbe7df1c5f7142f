//! Thresholds from the scores of held-out good images (`docs/method.md`, "Thresholds").
//!
//! A product is fitted without defects, so its threshold is a promise about goods: with the stated
//! confidence, at most the stated share of future good parts scores above it. The scores must come
//! from images that the fit has not seen (K-fold): images inside the bank score lower than new
//! ones. No figure here knows about goods of another day; see `partgate-train calibrate`.
//!
//! The number of images decides between the four methods of [`BoundMethod`]. Their coverage was
//! measured; the tables are at the functions of `Sample`. Coverage = how often the true
//! false-reject rate was at most the rate asked, nominally 95 %; width = median of
//! (threshold - median score) / (true quantile - median score), the price paid in sensitivity.
//! Measured over 1000 samples each at rate 0.1 %
//! (`cargo test -p partgate-train -- --ignored --nocapture coverage_table`).

pub(crate) mod budget;

use crate::metrics::distributions::{binomial_cdf, tolerance_factor};
use crate::metrics::intervals::upper_limit;
use partgate::seed::Rng;
use partgate::verdict::{Bound, BoundMethod, Thresholds};

/// Fewest images for which a tail is fitted rather than a whole distribution.
const TAIL_IMAGES: usize = 100;
/// Fewest images for which a distribution is fitted at all.
const TOLERANCE_IMAGES: usize = 8;
/// The tail is the highest tenth of the scores: fewer exceedances and the shape is noise, more and
/// they are not the tail any more. Above 500 nothing is gained but bias.
const EXCEEDANCES: (usize, usize) = (25, 500);
/// Parametric bootstrap samples behind the upper limit of a fitted tail.
const REPLICATES: u64 = 2000;
/// Shapes that the tail fit may return. The lower end is 0 (an exponential tail), not -0.5: see
/// [`Sample::pareto_tail`].
const SHAPES: (f64, f64) = (0.0, 0.5);
/// The upper limit is calibrated as if the shape were at least this.
const LEAST_CALIBRATION_SHAPE: f64 = 0.1;

/// What the lower threshold, which decides what passes, is set for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum OperatingPoint {
    /// Share of good parts that a user accepts as rejects, on average.
    Budget(f64),
    /// Share of good parts that rejects do not exceed, at the confidence of the bounds.
    Proven(f64),
}

/// Limits that the thresholds must keep.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Risk {
    /// Largest share of good parts that may be NG.
    pub(crate) ng_rate: f64,
    /// Where the lower threshold lies.
    pub(crate) operating: OperatingPoint,
    /// Confidence of both bounds.
    pub(crate) confidence: f64,
    /// Seed of the bootstrap behind extrapolated bounds.
    pub(crate) seed: u64,
}

/// Why no threshold could be derived.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum ThresholdError {
    /// No threshold can be taken from fewer than two scores.
    #[error(
        "a threshold needs 2 held-out good images at least, better 100, and here {}; take more images",
        match given { 0 => "is none", _ => "is 1" }
    )]
    TooFew { given: usize },
    /// A score is NaN or infinite.
    #[error(
        "held-out score {index} is {value}; find out why that image has no proper score before \
         deriving a threshold"
    )]
    NotFinite {
        /// Position of the first such score.
        index: usize,
        value: f32,
    },
    /// A score is negative.
    #[error(
        "held-out score {index} is {value}, but scores are distances and cannot be negative; pass \
         the scores as the runtime reports them"
    )]
    Negative {
        /// Position of the first such score.
        index: usize,
        value: f32,
    },
    /// The rate is not usable.
    #[error(
        "a false-reject rate of {rate} cannot be promised; choose one above 0 and below 0.5, such \
         as 0.001"
    )]
    Rate { rate: f64 },
    /// The confidence is not usable.
    #[error(
        "a confidence of {confidence} cannot be met; choose one from 0.5 to 0.999, such as 0.95"
    )]
    Confidence { confidence: f64 },
}

/// The smallest number of held-out good images for which the largest score bounds the
/// false-reject rate by `rate` with `confidence`: ln(1 - confidence) / ln(1 - rate), rounded up.
/// 2995 for 0.1 % at 95 %. `usize::MAX` for a rate that no number of images supports.
pub(crate) fn needed_for_order_statistic(rate: f64, confidence: f64) -> usize {
    let images = ((-confidence).ln_1p() / (-rate).ln_1p()).ceil();
    if images.is_nan() || rate <= 0.0 {
        return usize::MAX;
    }
    // The cast saturates.
    (images as usize).max(1)
}

/// Both thresholds from held-out scores of good images.
///
/// The lower one decides what passes the line. For a budget it is where that share of good parts is
/// expected above it ([`budget`]). For a proven share it never extrapolates: it is an order
/// statistic, or the largest score where the images are too few for the share asked.
///
/// # Errors
/// [`ThresholdError`] for scores or limits that give no threshold.
pub(crate) fn thresholds_from(scores: &[f32], risk: Risk) -> Result<Thresholds, ThresholdError> {
    let unknown = match risk.operating {
        OperatingPoint::Budget(share) => budget::threshold(scores, share, risk.confidence)?,
        OperatingPoint::Proven(rate) => proven(scores, rate, risk)?,
    };
    let mut ng = bound(scores, risk.ng_rate, risk.confidence, risk.seed)?;
    if ng.threshold < unknown.threshold {
        ng.threshold = unknown.threshold;
    }
    Ok(Thresholds { unknown, ng })
}

/// The lower threshold for at most `rate` false rejects, without extrapolation.
fn proven(scores: &[f32], rate: f64, risk: Risk) -> Result<Bound, ThresholdError> {
    if scores.len() >= needed_for_order_statistic(rate, risk.confidence) {
        return bound(scores, rate, risk.confidence, risk.seed);
    }
    let mut bound = maximum(scores, rate, risk.confidence)?;
    bound.rate = rate;
    Ok(bound)
}

/// A threshold for at most `rate` false rejects with `confidence`, from the scores of held-out
/// good images, by the best method that their number allows ([`BoundMethod`]):
///
/// - an order statistic from [`needed_for_order_statistic`] images on,
/// - a generalised Pareto tail from 100 on,
/// - a log-normal tolerance limit from 8 on,
/// - the maximum below that, with the rate that so few support instead of the rate asked.
///
/// An extrapolated threshold is never below the largest held-out score. That costs nothing: where
/// the methods in the middle are in use, the maximum alone is too low for the confidence asked,
/// whatever the distribution. Seed and scores determine the result; their order is irrelevant.
fn bound(scores: &[f32], rate: f64, confidence: f64, seed: u64) -> Result<Bound, ThresholdError> {
    if !(rate > 0.0 && rate < 0.5) {
        return Err(ThresholdError::Rate { rate });
    }
    let sample = Sample::new(scores, confidence)?;
    let needed = needed_for_order_statistic(rate, confidence);
    let n = sample.n();
    if n >= needed
        && let Some(bound) = sample.order_statistic(rate)
    {
        return Ok(bound);
    }
    let extrapolated = if n >= TAIL_IMAGES {
        sample.pareto_tail(rate, seed, REPLICATES)
    } else if n >= TOLERANCE_IMAGES {
        sample.log_normal(tolerance_factor(n as u64, rate, confidence))
    } else {
        let reason = format!("{n} held-out good images are too few to extrapolate");
        return Ok(sample.maximum(rate, &reason));
    };
    Ok(match extrapolated {
        Ok(Extrapolation {
            method,
            threshold,
            assumption,
        }) => {
            let limit = upper_limit(0, n as u64, confidence);
            sample.bound_at(
                threshold.max(sample.largest()),
                method,
                rate,
                rate,
                limit,
                format!(
                    "{n} good images are too few to show a false-reject rate of {} by counting \
                     ({needed} are needed): {assumption}. By counting alone, at most {} is certain with \
                     {} confidence.",
                    percent(rate),
                    percent(limit),
                    percent(confidence),
                ),
            )
        }
        Err(reason) => sample.maximum(rate, reason),
    })
}

/// The largest held-out score as threshold, with the rate that the number of images supports.
fn maximum(scores: &[f32], rate: f64, confidence: f64) -> Result<Bound, ThresholdError> {
    let sample = Sample::new(scores, confidence)?;
    let reason = format!("{} held-out good images are too few to count", sample.n());
    Ok(sample.maximum(rate, &reason))
}

/// A threshold beyond the largest score.
struct Extrapolation {
    method: BoundMethod,
    threshold: f64,
    /// The assumption behind it, for the bound's note.
    assumption: String,
}

/// An extrapolation, or the reason why there is none.
type Extrapolated = Result<Extrapolation, &'static str>;

/// Checked scores, ascending, at least two.
struct Sample {
    ascending: Vec<f64>,
    confidence: f64,
}

impl Sample {
    fn new(scores: &[f32], confidence: f64) -> Result<Self, ThresholdError> {
        if !(0.5..=0.999).contains(&confidence) {
            return Err(ThresholdError::Confidence { confidence });
        }
        for (index, &value) in scores.iter().enumerate() {
            if !value.is_finite() {
                return Err(ThresholdError::NotFinite { index, value });
            }
            if value < 0.0 {
                return Err(ThresholdError::Negative { index, value });
            }
        }
        if scores.len() < 2 {
            let given = scores.len();
            return Err(ThresholdError::TooFew { given });
        }
        let mut ascending: Vec<f64> = scores.iter().map(|&s| f64::from(s)).collect();
        ascending.sort_unstable_by(f64::total_cmp);
        Ok(Self {
            ascending,
            confidence,
        })
    }

    fn n(&self) -> usize {
        self.ascending.len()
    }

    fn largest(&self) -> f64 {
        self.ascending[self.n() - 1]
    }

    fn bound_at(
        &self,
        threshold: f64,
        method: BoundMethod,
        rate: f64,
        stated_rate: f64,
        distribution_free_rate: f64,
        note: String,
    ) -> Bound {
        Bound {
            threshold: round_up(threshold),
            method,
            n: self.n() as u32,
            rate,
            confidence: self.confidence,
            stated_rate,
            distribution_free_rate,
            note,
        }
    }

    /// The largest held-out score, with the rate that the number of images supports:
    /// 1 - (1 - confidence)^(1/n). Distribution-free like [`Sample::order_statistic`].
    fn maximum(&self, rate: f64, reason: &str) -> Bound {
        let n = self.n();
        let limit = upper_limit(0, n as u64, self.confidence);
        let note = format!(
            "{reason}: the threshold is the largest of {n} held-out scores, which supports a \
             false-reject rate of at most {} with {} confidence{}.",
            percent(limit),
            percent(self.confidence),
            if rate < limit {
                format!(
                    "; {} good images would be needed for {}",
                    needed_for_order_statistic(rate, self.confidence),
                    percent(rate)
                )
            } else {
                String::new()
            }
        );
        let threshold = self.largest();
        self.bound_at(threshold, BoundMethod::Maximum, rate, limit, limit, note)
    }

    /// The smallest order statistic X(k) with P(Binomial(n, 1 - rate) <= k - 1) >= confidence
    /// (distribution-free tolerance limit; Wilks 1941, David and Nagaraja 2003, section 7.2).
    /// Assumes only that future goods are like the held-out ones; coverage is never below the
    /// confidence, for any distribution.
    fn order_statistic(&self, rate: f64) -> Option<Bound> {
        let n = self.n();
        let k = order_statistic_rank(n, rate, self.confidence)?;
        let above = n - k;
        let limit = upper_limit(above as u64, n as u64, self.confidence);
        let note = format!(
            "The threshold is the score of rank {k} among {n} held-out good images ({above} above \
             it); with {} confidence it rejects at most {} of the goods, whatever their \
             distribution.",
            percent(self.confidence),
            percent(limit),
        );
        let threshold = self.ascending[k - 1];
        let method = BoundMethod::OrderStatistic;
        Some(self.bound_at(threshold, method, rate, limit, limit, note))
    }

    /// A generalised Pareto tail over the highest tenth of the scores, extrapolated to the rate,
    /// with an upper confidence limit.
    ///
    /// Fit by probability-weighted moments (Hosking and Wallis, Technometrics 29, 1987). The limit
    /// is estimate x factor, where the factor is the `confidence` quantile of truth / estimate over
    /// bootstrap samples from the fitted tail (the share above the tail's start drawn as well). Two
    /// choices come from simulation (300 to 400 samples each). With shapes down to -0.5 this limit
    /// covers only 69 to 94 % for log-normal, gamma, normal and exponential scores at n = 100 to
    /// 760, as a few dozen exceedances often look bounded when they are not: hence shapes below 0
    /// are taken as 0, and the bootstrap draws with a shape of at least 0.1. A floor of 0.2 there
    /// would cover 85 to 94 % in the worst two cases below, at 12 to 20 % more width for the rest.
    ///
    /// | coverage % (width), n = | 100 | 200 | 400 | 760 | 2000 |
    /// |---|---|---|---|---|---|
    /// | log-normal, sigma 0.15 | 100 (1.94) | 100 (1.63) | 100 (1.46) | 100 (1.34) | 100 (1.26) |
    /// | log-normal, sigma 0.3 | 100 (1.81) | 99.9 (1.60) | 99.5 (1.43) | 99.9 (1.31) | 100 (1.23) |
    /// | log-normal, sigma 0.6 | 96.3 (1.60) | 96.1 (1.52) | 95.6 (1.39) | 95.4 (1.29) | 97.1 (1.28) |
    /// | log-normal, sigma 1 | **77.5** (1.82) | **81.5** (1.61) | **81.3** (1.54) | **86.6** (1.46) | 94.3 (1.43) |
    /// | normal | 100 (2.07) | 100 (1.66) | 100 (1.48) | 100 (1.37) | 100 (1.29) |
    /// | gamma, shape 2 | 99.8 (1.82) | 99.1 (1.62) | 99.5 (1.45) | 99.7 (1.33) | 100 (1.24) |
    /// | exponential | 99.1 (1.76) | 98.8 (1.61) | 98.6 (1.44) | 99.7 (1.32) | 99.9 (1.25) |
    /// | uniform | 100 (2.84) | 100 (1.76) | 100 (1.49) | 100 (1.44) | 100 (1.38) |
    /// | Pareto, shape 0.3 | **72.4** (1.74) | **74.1** (1.56) | **78.6** (1.55) | **84.9** (1.49) | 93.8 (1.50) |
    /// | 3 % of goods at 1.5 x | 94.0 (2.71) | 98.5 (2.84) | 99.8 (2.46) | 100 (2.20) | 100 (1.87) |
    ///
    /// So the stated rate holds for scores with tails up to those of a log-normal with sigma 0.6,
    /// and **not at full confidence for heavier ones**. The largest score alone covers 10 % at
    /// n = 100 and 53 % at n = 760.
    fn pareto_tail(&self, rate: f64, seed: u64, replicates: u64) -> Extrapolated {
        let n = self.n();
        let exceedances = (n / 10).clamp(EXCEEDANCES.0, EXCEEDANCES.1);
        let start = self.ascending[n - exceedances - 1];
        let excess: Vec<f64> = self.ascending[n - exceedances..]
            .iter()
            .map(|s| s - start)
            .collect();
        if self.largest() <= start {
            return Err("The highest held-out scores are all equal, so there is no tail to fit");
        }
        let tail = ParetoTail::fit(&excess);
        let asked = exceedances as f64 / (n as f64 * rate);
        let shape = tail.shape.max(LEAST_CALIBRATION_SHAPE);
        let truth = ParetoTail { scale: 1.0, shape };
        let mut factors: Vec<f64> = (0..replicates)
            .map(|replicate| {
                let mut rng = Rng::stream(seed, replicate);
                // The probability above the (n - exceedances)-th of n scores is a
                // Beta(exceedances + 1, n - exceedances) variable, not exceedances / n.
                let above = gamma(exceedances as f64 + 1.0, &mut rng);
                let below = gamma((n - exceedances) as f64, &mut rng);
                let share = above / (above + below);
                let mut drawn: Vec<f64> = (0..exceedances)
                    .map(|_| truth.height(1.0 / uniform(&mut rng)))
                    .collect();
                drawn.sort_unstable_by(f64::total_cmp);
                truth.height(share / rate) / ParetoTail::fit(&drawn).height(asked)
            })
            .collect();
        factors.sort_unstable_by(f64::total_cmp);
        let rank = (replicates as f64 * self.confidence).ceil() as usize;
        let factor = factors[rank.clamp(1, factors.len()) - 1];
        let threshold = start + factor * tail.height(asked);
        if round_up(threshold).is_infinite() {
            return Err("The held-out scores spread too far to extrapolate their tail");
        }
        let assumption = format!(
            "the threshold extrapolates a tail fitted to the highest {exceedances} scores (shape \
             {:.2}), which is an assumption",
            tail.shape
        );
        Ok(Extrapolation {
            method: BoundMethod::GeneralisedParetoTail,
            threshold,
            assumption,
        })
    }

    /// Upper tolerance limit of a log-normal distribution: exp(mean + k sd) of the log scores with
    /// the exact one-sided factor k (noncentral t).
    ///
    /// Exact if the scores are log-normal; nothing guards it otherwise, as so few images cannot
    /// show what they follow.
    ///
    /// | coverage % (width), n = | 8 | 20 | 50 | 99 |
    /// |---|---|---|---|---|
    /// | log-normal, sigma 0.15 | 94.9 (2.12) | 95.3 (1.52) | 94.3 (1.28) | 95.6 (1.19) |
    /// | log-normal, sigma 0.3 | 94.9 (2.65) | 95.3 (1.70) | 94.3 (1.36) | 95.6 (1.24) |
    /// | normal | 98.0 (2.51) | 99.2 (1.83) | 99.8 (1.56) | 100 (1.44) |
    /// | gamma, shape 20 | 97.3 (2.84) | 98.6 (1.81) | 99.6 (1.51) | 99.8 (1.39) |
    /// | gamma, shape 2 | 99.0 (14) | 99.9 (5.6) | 100 (3.8) | 100 (3.2) |
    /// | exponential | 99.6 (70) | 100 (17) | 100 (10) | 100 (8.0) |
    /// | 3 % of goods at 1.5 x | **52.3** (1.02) | **30.5** (0.81) | **9.8** (0.75) | **8.4** (0.78) |
    ///
    /// Scores that reach down to 0 make it uselessly wide, and a rare second kind of good part
    /// makes it fail: then only more images help.
    fn log_normal(&self, factor: f64) -> Extrapolated {
        let n = self.n();
        let Some(&least) = self.ascending.iter().find(|s| **s > 0.0) else {
            return Err("All held-out scores are 0, so there is no distribution to fit");
        };
        let zeros = self.ascending.iter().filter(|s| **s == 0.0).count();
        // A zero is a score below the smallest that can be measured; half of that one is the usual
        // replacement (Hornung and Reed 1990). It widens the spread and so raises the threshold.
        let logs = self.ascending.iter().map(|s| s.max(0.5 * least).ln());
        let mean = logs.clone().sum::<f64>() / n as f64;
        let squares = logs.map(|l| (l - mean).powi(2)).sum::<f64>();
        let deviation = (squares / (n - 1) as f64).sqrt();
        if self.ascending[0] == self.largest() {
            return Err("All held-out scores are equal, so there is no spread to extrapolate");
        }
        let threshold = (mean + factor * deviation).exp();
        if round_up(threshold).is_infinite() {
            return Err("The held-out scores spread too far to extrapolate them");
        }
        let stand_in = match zeros {
            0 => String::new(),
            _ => format!("; {zeros} scores of 0 count as half the smallest other one"),
        };
        let assumption = format!(
            "the threshold assumes that scores are log-normal, which so few cannot show{stand_in}"
        );
        Ok(Extrapolation {
            method: BoundMethod::LogNormalTolerance,
            threshold,
            assumption,
        })
    }
}

/// Rank k (1 = smallest) of [`Sample::order_statistic`].
fn order_statistic_rank(n: usize, rate: f64, confidence: f64) -> Option<usize> {
    let suffices = |k: usize| binomial_cdf(k as u64 - 1, n as u64, 1.0 - rate) >= confidence;
    if n == 0 || !suffices(n) {
        return None;
    }
    // The probability rises with k: halve the ranks between one too low and one that suffices.
    let (mut low, mut high) = (0, n);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if suffices(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    Some(high)
}

/// A generalised Pareto distribution of the amounts by which scores exceed the tail's start.
struct ParetoTail {
    scale: f64,
    shape: f64,
}

impl ParetoTail {
    /// Probability-weighted moments with plotting positions (i - 0.35) / k (Hosking and Wallis
    /// 1987, section 3; their k is minus the shape here). Where the shape is clipped, the scale
    /// still reproduces the mean.
    fn fit(ascending: &[f64]) -> Self {
        let count = ascending.len() as f64;
        let mean = ascending.iter().sum::<f64>() / count;
        let weighted = ascending
            .iter()
            .enumerate()
            .map(|(i, y)| (1.0 - (i as f64 + 0.65) / count) * y)
            .sum::<f64>()
            / count;
        let shape = (2.0 - mean / (mean - 2.0 * weighted)).clamp(SHAPES.0, SHAPES.1);
        Self {
            scale: mean * (1.0 - shape),
            shape,
        }
    }

    /// The height exceeded by one in `odds` of the scores in the tail.
    fn height(&self, odds: f64) -> f64 {
        if self.shape < 1e-9 {
            self.scale * odds.ln()
        } else {
            self.scale * (self.shape * odds.ln()).exp_m1() / self.shape
        }
    }
}

/// Uniform in (0, 1), 53 bits, never 0: the logarithm of a draw is finite.
fn uniform(rng: &mut Rng) -> f64 {
    ((rng.next_u64() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
}

/// A gamma variable for shapes of 25 and more (Wilson and Hilferty 1931: its cube root is nearly
/// normal; within 0.1 % there, far below the bootstrap's own noise).
fn gamma(shape: f64, rng: &mut Rng) -> f64 {
    let spread = 1.0 / (9.0 * shape);
    shape * (1.0 - spread + spread.sqrt() * f64::from(rng.gaussian())).powi(3)
}

/// The smallest `f32` that is not below `value`, infinite if there is none.
fn round_up(value: f64) -> f32 {
    let nearest = value as f32;
    if f64::from(nearest) < value {
        nearest.next_up()
    } else {
        nearest
    }
}

/// A rate in per cent with three digits, rounded up: "at most" must stay true.
fn percent(rate: f64) -> String {
    let value = 100.0 * rate;
    let digits = (2.0 - value.log10().floor()).clamp(0.0, 12.0);
    let shift = 10f64.powf(digits);
    let rounded = (value * shift * (1.0 - 1e-12)).ceil() / shift;
    format!("{rounded} %")
}

#[cfg(test)]
mod tests;
