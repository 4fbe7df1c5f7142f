//! Metrics of one score per image.

use super::MetricError;
use super::sweep::{self, ClassCounts, F1Max};

/// Checks scores and labels and sorts them, most anomalous first.
pub(super) fn sorted_entries(scores: &[f32], defective: &[bool]) -> Result<Vec<u64>, MetricError> {
    if scores.len() != defective.len() {
        return Err(MetricError::LengthMismatch {
            scores: scores.len(),
            labels: defective.len(),
        });
    }
    if let Some(index) = scores.iter().position(|s| s.is_nan()) {
        return Err(MetricError::NotANumber { index });
    }
    let mut entries: Vec<u64> = scores
        .iter()
        .zip(defective)
        .map(|(&score, &defective)| sweep::entry(score, u32::from(defective)))
        .collect();
    entries.sort_unstable();
    Ok(entries)
}

/// The counts of good and defective images, both at least 1.
pub(super) fn both_classes(entries: &[u64]) -> Result<ClassCounts, MetricError> {
    let counts = ClassCounts::of(entries);
    let ClassCounts { goods, defects } = counts;
    let given = goods + defects;
    if defects == 0 {
        return Err(MetricError::MissingClass {
            missing: "defective image",
            given,
            fix: "add defective images to the test set, or report only the false-reject rate at \
                  the product's threshold",
        });
    }
    if goods == 0 {
        return Err(MetricError::MissingClass {
            missing: "good image",
            given,
            fix: "add good images that the fit has not seen, or report only the escape rate at \
                  the product's threshold",
        });
    }
    Ok(counts)
}

/// Area under the ROC curve: the probability that a defective image scores higher than a good one,
/// a tie counting half (Mann-Whitney U / number of pairs; Hanley and McNeil 1982).
pub(crate) fn image_auroc(scores: &[f32], defective: &[bool]) -> Result<f64, MetricError> {
    let entries = sorted_entries(scores, defective)?;
    let counts = both_classes(&entries)?;
    Ok(sweep::auroc(&entries, counts))
}

/// The best F1 over all thresholds; see [`F1Max`] for what it may be used for.
pub(crate) fn f1_max(scores: &[f32], defective: &[bool]) -> Result<F1Max, MetricError> {
    let entries = sorted_entries(scores, defective)?;
    let counts = both_classes(&entries)?;
    Ok(sweep::f1_max(&entries, counts.defects))
}

/// Share of good images that score at least as high as the lowest defective one: the price of
/// letting no defect of this test set through. An oracle, like [`f1_max`].
pub(crate) fn false_reject_rate_at_full_recall(
    scores: &[f32],
    defective: &[bool],
) -> Result<f64, MetricError> {
    let entries = sorted_entries(scores, defective)?;
    let ClassCounts { goods, defects } = both_classes(&entries)?;
    let (mut found, mut rejected) = (0, 0);
    for step in sweep::Steps::new(&entries) {
        found += step.defective;
        rejected += step.good;
        if found == defects {
            break;
        }
    }
    Ok(rejected as f64 / goods as f64)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// O(n^2): every pair once.
    fn pairs(scores: &[f32], defective: &[bool]) -> f64 {
        let (mut ordered, mut all) = (0.0, 0.0);
        for (&d, _) in scores.iter().zip(defective).filter(|p| *p.1) {
            for (&g, _) in scores.iter().zip(defective).filter(|p| !*p.1) {
                all += 1.0;
                ordered += if d > g {
                    1.0
                } else if d == g {
                    0.5
                } else {
                    0.0
                };
            }
        }
        ordered / all
    }

    fn f1_at(scores: &[f32], defective: &[bool], threshold: f64) -> (f64, f64, f64) {
        let count = |want: bool| {
            scores
                .iter()
                .zip(defective)
                .filter(|(s, d)| **d == want && f64::from(**s) >= threshold)
                .count() as f64
        };
        let (found, wrong) = (count(true), count(false));
        let all = defective.iter().filter(|d| **d).count() as f64;
        let precision = if found + wrong == 0.0 {
            0.0
        } else {
            found / (found + wrong)
        };
        let recall = found / all;
        let f1 = if found == 0.0 {
            0.0
        } else {
            2.0 * precision * recall / (precision + recall)
        };
        (f1, precision, recall)
    }

    fn labelled() -> impl Strategy<Value = (Vec<f32>, Vec<bool>)> {
        // Few distinct values, so that ties are the rule, negative zero among them.
        proptest::collection::vec((-3i32..8, any::<bool>()), 2..60)
            .prop_filter("both classes", |v| {
                v.iter().any(|x| x.1) && v.iter().any(|x| !x.1)
            })
            .prop_map(|v| {
                v.into_iter()
                    .map(|(s, d)| (if s == 0 && d { -0.0 } else { s as f32 * 0.37 }, d))
                    .unzip()
            })
    }

    proptest! {
        #[test]
        fn agrees_with_every_pair_and_every_threshold((scores, defective) in labelled()) {
            let auroc = image_auroc(&scores, &defective).unwrap();
            prop_assert!((auroc - pairs(&scores, &defective)).abs() < 1e-12);

            let best = f1_max(&scores, &defective).unwrap();
            let brute = scores
                .iter()
                .map(|&t| f1_at(&scores, &defective, f64::from(t)).0)
                .fold(0.0, f64::max);
            prop_assert!((best.f1 - brute).abs() < 1e-12);
            let (f1, precision, recall) = f1_at(&scores, &defective, best.threshold);
            prop_assert!((best.f1 - f1).abs() < 1e-12);
            prop_assert!((best.precision - precision).abs() < 1e-12);
            prop_assert!((best.recall - recall).abs() < 1e-12);

            let lowest = scores.iter().zip(&defective).filter(|p| *p.1).map(|p| *p.0)
                .fold(f32::INFINITY, f32::min);
            let goods: Vec<f32> =
                scores.iter().zip(&defective).filter(|p| !*p.1).map(|p| *p.0).collect();
            let rejected = goods.iter().filter(|g| **g >= lowest).count() as f64;
            let rate = false_reject_rate_at_full_recall(&scores, &defective).unwrap();
            prop_assert!((rate - rejected / goods.len() as f64).abs() < 1e-12);
        }
    }

    #[test]
    fn errors_name_the_value_and_the_fix() {
        assert_eq!(
            image_auroc(&[1.0, f32::NAN], &[true, false]),
            Err(MetricError::NotANumber { index: 1 })
        );
        assert_eq!(
            f1_max(&[1.0], &[true, false]),
            Err(MetricError::LengthMismatch {
                scores: 1,
                labels: 2
            })
        );
        let no_defect = image_auroc(&[1.0, 2.0], &[false, false]).unwrap_err();
        assert!(
            no_defect
                .to_string()
                .contains("no defective image among the 2")
        );
        let no_good = image_auroc(&[1.0], &[true]).unwrap_err();
        assert!(no_good.to_string().contains("add good images"));
    }

    #[test]
    fn infinite_scores_have_their_place() {
        let scores = [f32::NEG_INFINITY, 0.0, f32::INFINITY];
        assert_eq!(image_auroc(&scores, &[false, false, true]), Ok(1.0));
    }
}
