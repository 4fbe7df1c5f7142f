//! Labelled images under the thresholds of several budgets of false rejects, and the scores that would
//! have separated them.

use crate::metrics::{CONFIDENCE, Share};
use partgate::product::Operating;
use serde::{Deserialize, Serialize};

/// A labelled image with its score.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Labelled {
    pub(crate) defective: bool,
    pub(crate) score: f32,
}

/// Labelled images under the threshold of one budget.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct BudgetFigures {
    /// Share of good parts that the fit expects above the threshold.
    pub(crate) budget: f64,
    pub(crate) threshold: f32,
    /// Good images above it.
    pub(crate) false_rejects: usize,
    /// Defective images not above it.
    pub(crate) escapes: usize,
}

/// The scores between which a threshold separates the labelled images. Nobody knows them before the
/// defects are there: an oracle's figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Separating {
    pub(crate) highest_good: f32,
    pub(crate) lowest_defective: f32,
    /// Good images that a threshold just below every defective image rejects.
    pub(crate) false_rejects_without_escapes: usize,
    /// Defective images that a threshold at the highest good image lets pass.
    pub(crate) escapes_without_false_rejects: usize,
}

/// Scores of one class, without those that are no numbers: they are UNKNOWN under any threshold.
fn scores(inspected: &[Labelled], defective: bool) -> impl Iterator<Item = f32> + '_ {
    let class = inspected.iter().filter(move |i| i.defective == defective);
    class.map(|i| i.score).filter(|score| score.is_finite())
}

/// The figures of every budget that the product has a threshold for.
pub(crate) fn budgets(operating: &Operating, inspected: &[Labelled]) -> Vec<BudgetFigures> {
    let points = operating.points.iter();
    points
        .map(|point| {
            let rejected = |i: &&Labelled| i.score.is_nan() || i.score > point.threshold;
            let (defective, good): (Vec<_>, Vec<_>) = inspected.iter().partition(|i| i.defective);
            BudgetFigures {
                budget: point.budget,
                threshold: point.threshold,
                false_rejects: good.iter().filter(|i| rejected(i)).count(),
                escapes: defective.iter().filter(|i| !rejected(i)).count(),
            }
        })
        .collect()
}

/// `None` where one class is missing.
pub(crate) fn separating(inspected: &[Labelled]) -> Option<Separating> {
    let highest_good = scores(inspected, false).max_by(f32::total_cmp)?;
    let lowest_defective = scores(inspected, true).min_by(f32::total_cmp)?;
    Some(Separating {
        highest_good,
        lowest_defective,
        false_rejects_without_escapes: scores(inspected, false)
            .filter(|&score| score >= lowest_defective)
            .count(),
        escapes_without_false_rejects: scores(inspected, true)
            .filter(|&score| score <= highest_good)
            .count(),
    })
}

/// The share that `count` of `of` stands for with 95 % confidence, in words: `1.6 to 20.4 % at 95 %`; none
/// of no images.
pub(crate) fn stands_for(count: usize, of: usize) -> Option<String> {
    let share = Share::new(count as u64, of as u64, CONFIDENCE).ok()?;
    let [low, high] = [share.low, share.high].map(|share| 100.0 * share);
    let confidence = 100.0 * CONFIDENCE;
    Some(match count {
        0 => format!("at most {high:.1} % at {confidence} %"),
        all if all == of => format!("at least {low:.1} % at {confidence} %"),
        _ => format!("{low:.1} to {high:.1} % at {confidence} %"),
    })
}

/// `3 of 40, 1.6 to 20.4 % at 95 %`: a count, and the share that it stands for.
pub(crate) fn counted(count: usize, of: usize) -> String {
    match stands_for(count, of) {
        Some(share) => format!("{count} of {of}, {share}"),
        None => format!("{count} of {of}"),
    }
}

impl Separating {
    /// For people.
    pub(crate) fn in_words(&self, good: usize, defective: usize) -> String {
        let Self {
            highest_good,
            lowest_defective,
            ..
        } = self;
        if lowest_defective > highest_good {
            return format!(
                "a threshold from {highest_good:.4} to {lowest_defective:.4} separates all of these images (known only with the defects at hand)"
            );
        }
        format!(
            "no threshold separates these images: one below every defective image ({lowest_defective:.4}) rejects {} of {good} good ones, one above every good image ({highest_good:.4}) passes {} of {defective} defective ones (known only with the defects at hand)",
            self.false_rejects_without_escapes, self.escapes_without_false_rejects
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use partgate::product::BudgetPoint;
    use partgate::verdict::BoundMethod;

    fn image(defective: bool, score: f32) -> Labelled {
        Labelled { defective, score }
    }

    #[test]
    fn a_budget_counts_what_its_threshold_rejects_and_passes() {
        let point = |budget, threshold| BudgetPoint {
            budget,
            threshold,
            method: BoundMethod::BudgetLine,
            above: 0,
            at_most: 1.0,
        };
        let operating = Operating {
            goods: vec![1.0],
            partitions: 1,
            damaged: Vec::new(),
            points: vec![point(0.01, 3.0), point(0.05, 2.0)],
            confidence: 0.95,
        };
        let images = [
            image(false, 1.0),
            image(false, 2.5),
            image(false, f32::NAN),
            image(true, 2.2),
            image(true, 3.0),
            image(true, 9.0),
        ];
        let found = budgets(&operating, &images);
        let counts: Vec<_> = found.iter().map(|b| (b.false_rejects, b.escapes)).collect();
        // What is not a number is rejected.
        assert_eq!(counts, [(1, 2), (2, 0)]);
        let separating = separating(&images).expect("both classes");
        assert_eq!(
            (
                separating.false_rejects_without_escapes,
                separating.escapes_without_false_rejects
            ),
            (1, 1)
        );
        assert!(separating.in_words(3, 3).contains("rejects 1 of 3"));
        assert!(super::separating(&images[..3]).is_none());
    }

    #[test]
    fn counts_come_with_the_share_they_stand_for() {
        assert_eq!(counted(0, 10), "0 of 10, at most 30.8 % at 95 %");
        assert_eq!(counted(10, 10), "10 of 10, at least 69.2 % at 95 %");
        assert_eq!(counted(3, 40), "3 of 40, 1.6 to 20.4 % at 95 %");
        assert_eq!(counted(0, 0), "0 of 0");
    }
}
