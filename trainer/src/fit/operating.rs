//! The operating points of a product: what each budget of false rejects costs and brings.

use super::copies::Harm;
use super::member::ScoredCopy;
use super::thresholds::budget::{SHOWN, threshold};
use super::thresholds::{Risk, ThresholdError};
use partgate::product::{BudgetPoint, DamagedScore, Operating};

/// The thresholds of [`SHOWN`] and of the product's own share, from the scores of good images.
///
/// # Errors
/// [`ThresholdError`] for scores or limits that give no threshold.
pub(crate) fn operating(
    goods: &[f32],
    partitions: usize,
    damaged: Vec<DamagedScore>,
    risk: Risk,
) -> Result<Operating, ThresholdError> {
    let mut budgets = SHOWN.to_vec();
    let own = risk.operating.share();
    if !budgets.contains(&own) {
        budgets.push(own);
        budgets.sort_by(f64::total_cmp);
    }
    let points = budgets
        .into_iter()
        .map(|budget| {
            let bound = threshold(goods, budget, risk.confidence)?;
            let above = goods.iter().filter(|&&s| s > bound.threshold).count();
            Ok(BudgetPoint {
                budget,
                threshold: bound.threshold,
                method: bound.method,
                above: above as u32,
                at_most: bound.distribution_free_rate,
            })
        })
        .collect::<Result<_, ThresholdError>>()?;
    let mut goods = goods.to_vec();
    goods.sort_by(f32::total_cmp);
    Ok(Operating {
        goods,
        partitions: partitions as u32,
        damaged,
        points,
        confidence: risk.confidence,
    })
}

/// Scores of a member's damaged copies.
pub(crate) fn damaged_scores_of(copies: &[ScoredCopy]) -> Vec<DamagedScore> {
    copies
        .iter()
        .map(|copy| DamagedScore {
            misplaced: copy.id.harm == Harm::Misplaced,
            side: copy.side,
            score: copy.score,
        })
        .collect()
}
