//! How far a figure from a small test set can be trusted.

use super::sweep::{self, ClassCounts};
use super::{MetricError, distributions, image};

/// Confidence of every interval in a report.
pub(crate) const CONFIDENCE: f64 = 0.95;

/// A proportion with its two-sided Clopper-Pearson interval.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub(crate) struct Share {
    /// How many.
    pub(crate) count: u64,
    /// Of how many.
    pub(crate) of: u64,
    /// `count / of`.
    pub(crate) rate: f64,
    /// Lower end of the interval.
    pub(crate) low: f64,
    /// Upper end of the interval.
    pub(crate) high: f64,
}

impl Share {
    /// `count` of `of`, with its interval at the given confidence.
    pub(crate) fn new(count: u64, of: u64, confidence: f64) -> Result<Self, MetricError> {
        let (low, high) = clopper_pearson(count, of, confidence)?;
        Ok(Self {
            count,
            of,
            rate: count as f64 / of as f64,
            low,
            high,
        })
    }
}

/// Two-sided interval of a proportion from the exact binomial tails (Clopper and Pearson 1934). It
/// covers the true proportion at least as often as stated, whatever the counts.
pub(crate) fn clopper_pearson(
    count: u64,
    of: u64,
    confidence: f64,
) -> Result<(f64, f64), MetricError> {
    let proper = count <= of && of > 0 && confidence > 0.0 && confidence < 1.0;
    if !proper {
        return Err(MetricError::NotAProportion {
            count,
            of,
            confidence,
        });
    }
    let tail = 0.5 * (1.0 - confidence);
    let (hits, misses) = (count as f64, (of - count) as f64);
    let low = match count {
        0 => 0.0,
        _ => distributions::beta_quantile(tail, hits, misses + 1.0),
    };
    Ok((low, upper_limit(count, of, 1.0 - tail)))
}

/// One-sided Clopper-Pearson upper limit of a proportion. `count <= of`, `of > 0`.
pub(crate) fn upper_limit(count: u64, of: u64, confidence: f64) -> f64 {
    if count >= of {
        return 1.0;
    }
    if count == 0 {
        // Closed form: (1 - limit)^of = 1 - confidence.
        return -((1.0 - confidence).ln() / of as f64).exp_m1();
    }
    distributions::beta_quantile(confidence, count as f64 + 1.0, (of - count) as f64)
}

/// An AUROC with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub(crate) struct AurocInterval {
    pub(crate) auroc: f64,
    /// DeLong's standard error; 0 where the classes are separated completely.
    pub(crate) standard_error: f64,
    /// Lower end, not below 0.
    pub(crate) low: f64,
    /// Upper end, not above 1.
    pub(crate) high: f64,
}

/// 95 % interval of the image AUROC after DeLong, DeLong and Clarke-Pearson (Biometrics 44, 1988),
/// eq. 2-5 for one curve, clamped to \[0, 1\].
///
/// DeLong's variance is 0 when the classes are separated completely, which would turn "no mistake
/// among 20 defects" into certainty. There the interval comes from min(goods, defects) disjoint
/// pairs instead: they are independent, each is ordered rightly with the probability that the
/// AUROC measures, and all were; hence Clopper-Pearson for all of all. That interval is
/// conservative. If all scores are equal, nothing is known: \[0, 1\].
pub(crate) fn auroc_interval(
    scores: &[f32],
    defective: &[bool],
) -> Result<AurocInterval, MetricError> {
    let entries = image::sorted_entries(scores, defective)?;
    let counts = image::both_classes(&entries)?;
    let ClassCounts { goods, defects } = counts;
    if goods < 2 || defects < 2 {
        return Err(MetricError::TooFewForInterval { goods, defects });
    }
    let auroc = sweep::auroc(&entries, counts);
    // DeLong's structural components are constant within a step: V10 of a defective image is the
    // share of goods below it, V01 of a good one the share of defects above it.
    let (mut square_10, mut square_01) = (0.0, 0.0);
    let (mut goods_above, mut defects_above) = (0, 0);
    for step in sweep::Steps::new(&entries) {
        let goods_below = goods - goods_above - step.good;
        let v10 = (goods_below as f64 + 0.5 * step.good as f64) / goods as f64;
        let v01 = (defects_above as f64 + 0.5 * step.defective as f64) / defects as f64;
        square_10 += step.defective as f64 * (v10 - auroc).powi(2);
        square_01 += step.good as f64 * (v01 - auroc).powi(2);
        goods_above += step.good;
        defects_above += step.defective;
    }
    let (m, n) = (defects as f64, goods as f64);
    let variance = square_10 / (m * (m - 1.0)) + square_01 / (n * (n - 1.0));
    let standard_error = variance.sqrt();
    let pairs = goods.min(defects);
    let (low, high) = if auroc == 1.0 {
        clopper_pearson(pairs, pairs, CONFIDENCE)?
    } else if auroc == 0.0 {
        clopper_pearson(0, pairs, CONFIDENCE)?
    } else if standard_error < 1e-12 {
        (0.0, 1.0)
    } else {
        let reach = distributions::normal_upper_quantile(0.5 * (1.0 - CONFIDENCE)) * standard_error;
        ((auroc - reach).max(0.0), (auroc + reach).min(1.0))
    };
    Ok(AurocInterval {
        auroc,
        standard_error,
        low,
        high,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn complete_separation_is_not_certainty() {
        let scores: Vec<f32> = (0..40u8).map(f32::from).collect();
        let defective: Vec<bool> = (0..40).map(|i| i >= 20).collect();
        let interval = auroc_interval(&scores, &defective).unwrap();
        assert_eq!((interval.auroc, interval.high), (1.0, 1.0));
        // 0.025^(1/20)
        assert!((interval.low - 0.831_57).abs() < 1e-5, "{interval:?}");
        let inverted: Vec<bool> = defective.iter().map(|d| !d).collect();
        let interval = auroc_interval(&scores, &inverted).unwrap();
        assert!((interval.high - 0.168_43).abs() < 1e-5, "{interval:?}");
        let flat = auroc_interval(&[1.0; 40], &defective).unwrap();
        assert_eq!((flat.auroc, flat.low, flat.high), (0.5, 0.0, 1.0));
    }

    #[test]
    fn too_few_images_and_improper_shares_are_refused() {
        let too_few = auroc_interval(&[1.0, 2.0, 3.0], &[true, false, false]);
        assert_eq!(
            too_few,
            Err(MetricError::TooFewForInterval {
                goods: 2,
                defects: 1
            })
        );
        assert!(clopper_pearson(2, 1, 0.95).is_err());
        assert!(clopper_pearson(0, 0, 0.95).is_err());
        assert!(clopper_pearson(0, 1, 1.0).is_err());
        assert_eq!(clopper_pearson(7, 7, 0.95).unwrap().1, 1.0);
        assert_eq!(upper_limit(3, 3, 0.95), 1.0);
    }

    #[test]
    fn delong_covers_the_true_auroc() {
        // Two normal populations 1.5 apart: AUROC = P(Z < 1.5 / sqrt(2)) = 0.855578.
        let truth = 1.0 - distributions::normal_survival(1.5 / std::f64::consts::SQRT_2);
        let mut rng = partgate::seed::Rng::new(3);
        let defective: Vec<bool> = (0..120).map(|i| i < 40).collect();
        let covered = (0..1000)
            .filter(|_| {
                let scores: Vec<f32> = defective
                    .iter()
                    .map(|&d| rng.gaussian() + if d { 1.5 } else { 0.0 })
                    .collect();
                let interval = auroc_interval(&scores, &defective).unwrap();
                (interval.low..=interval.high).contains(&truth)
            })
            .count();
        assert!((920..=975).contains(&covered), "{covered} of 1000");
    }
}
