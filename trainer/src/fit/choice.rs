//! `--method auto`: the choice of a product's conditioning, from good images alone.
//!
//! A condition can only raise scores, so it loses a defect only where it raises the threshold.
//! Held-out good images show that cost, and damaged copies of them show the gain. Both are in one
//! number, the score over the threshold. The choice takes the candidate whose damaged copies stay
//! least under its own threshold, unless a family of damage becomes harder to see. How far other
//! copies are above the threshold does not count: every candidate catches them.

use super::copies::{DamagedCopy, Harm};
use super::held_out::{auroc_of_copies, damaged_scores, held_out_scores, image_scores, shortfall};
use super::rules::RuleSpec;
use super::study::Study;
use super::thresholds::thresholds_from;
use crate::error::TrainError;
use crate::progress::Progress;
use partgate::product::{Candidate, Choice};
use partgate::score::Rule;

/// A candidate must bring damaged copies this much nearer to the threshold, as a logarithm, ...
const LEAST_GAIN: f64 = 0.001;
/// ... one with a network, which costs time on every part, this share of the shortfall that the
/// best without one leaves, ...
const NETWORK_GAIN: f64 = 0.1;
/// ... and may cost neither family of damage this much AUROC ...
const AUROC_SLACK: f64 = 0.01;
/// ... nor this share of damaged copies above the threshold.
const CAUGHT_SLACK: f64 = 0.03;

/// Shares of held-out good cells that may lose their row: far below one cell an image
/// (docs/method.md has what larger ones do to the threshold).
pub(crate) const LOST: f64 = 0.001;

/// What is compared, the plain bank first: each condition, on distances as they are and in units of
/// the bank's spacing to the power `density`.
pub(crate) fn candidates(density: f32) -> Vec<RuleSpec> {
    let conditions = [
        RuleSpec::BASELINE,
        RuleSpec::of(Rule::Position),
        RuleSpec::coverage(Some(0.2 * LOST), None),
        RuleSpec::coverage(Some(LOST), None),
        RuleSpec::coverage(None, Some(LOST)),
        RuleSpec::coverage(None, Some(5.0 * LOST)),
        RuleSpec::coverage(Some(LOST), Some(LOST)),
        RuleSpec::coverage(Some(LOST), Some(5.0 * LOST)),
    ];
    let mut all = conditions.to_vec();
    if density > 0.0 {
        all.extend(conditions.map(|spec| spec.with_density(density)));
    }
    all
}

/// A candidate and its figures.
struct Inspected {
    spec: RuleSpec,
    figures: Candidate,
}

/// Standard deviation of `scores` over their mean.
fn spread(scores: &[f32]) -> f64 {
    let n = scores.len() as f64;
    let mean = scores.iter().map(|&s| f64::from(s)).sum::<f64>() / n;
    let variance = scores
        .iter()
        .map(|&s| (f64::from(s) - mean).powi(2))
        .sum::<f64>()
        / n;
    variance.sqrt() / mean.max(1e-12)
}

fn inspect(
    study: &Study<'_>,
    copies: &[DamagedCopy],
    spec: RuleSpec,
) -> Result<Inspected, TrainError> {
    let goods = image_scores(&held_out_scores(study, spec, &|_| ())?);
    let all: Vec<&DamagedCopy> = copies.iter().collect();
    let damaged = damaged_scores(study, &all, spec)?;
    let threshold = thresholds_from(&goods, study.fitter.settings.risk)?
        .unknown
        .threshold;
    let mut aurocs = [0.5; 3];
    let mut caught = [0.0; 3];
    let mut mean_shortfall = 0.0;
    for (i, harm) in Harm::ALL.into_iter().enumerate() {
        let scores: Vec<f32> = copies
            .iter()
            .zip(&damaged)
            .filter(|(copy, _)| copy.id.harm == harm)
            .map(|(_, scored)| scored.score)
            .collect();
        if scores.is_empty() {
            continue;
        }
        aurocs[i] = auroc_of_copies(&goods, &scores)?;
        let count = scores.len() as f64;
        caught[i] = scores.iter().filter(|&&s| s > threshold).count() as f64 / count;
        let sum: f64 = scores.iter().map(|&s| shortfall(s, threshold)).sum();
        mean_shortfall += sum / count / Harm::ALL.len() as f64;
    }
    Ok(Inspected {
        spec,
        figures: Candidate {
            rule: spec.rule,
            density: spec.density,
            place_lost: spec.place_lost,
            near_lost: spec.near_lost,
            surface: aurocs[0],
            misplaced: aurocs[1],
            exchanged: aurocs[2],
            caught,
            shortfall: mean_shortfall,
            spread: spread(&goods),
        },
    })
}

/// Index of the candidate to take; `inspected` has the plain bank first.
fn best(inspected: &[Inspected]) -> usize {
    let plain = &inspected[0].figures;
    let shortfall = |index: usize| inspected[index].figures.shortfall;
    let sound = |figures: &Candidate| {
        let mut caught = figures.caught.iter().zip(&plain.caught);
        figures.shortfall.is_finite()
            && figures.surface >= plain.surface - AUROC_SLACK
            && figures.misplaced >= plain.misplaced - AUROC_SLACK
            && caught.all(|(here, plain)| *here >= plain - CAUGHT_SLACK)
    };
    let nearest = |network: bool| {
        (1..inspected.len())
            .filter(|&i| inspected[i].spec.network() == network && sound(&inspected[i].figures))
            .min_by(|&a, &b| shortfall(a).total_cmp(&shortfall(b)))
    };
    let mut best = 0;
    if let Some(found) = nearest(false).filter(|&f| shortfall(f) <= shortfall(0) - LEAST_GAIN) {
        best = found;
    }
    let enough = |f: &usize| shortfall(*f) <= shortfall(best) * (1.0 - NETWORK_GAIN) - LEAST_GAIN;
    if let Some(found) = nearest(true).filter(enough) {
        best = found;
    }
    best
}

/// The figures behind the choice of `best` in a sentence.
fn reason(best: &Candidate, plain: &Candidate) -> String {
    let percent = |share: f64| 100.0 * share;
    format!(
        "damaged copies stay {:.1} % under the threshold on average, {:.1} % with the plain bank; above it are {:.0} % of surface damage, {:.0} % of misplaced and {:.0} % of exchanged parts; {:.0} %, {:.0} % and {:.0} % with the plain bank",
        percent(1.0 - (-best.shortfall).exp()),
        percent(1.0 - (-plain.shortfall).exp()),
        percent(best.caught[0]),
        percent(best.caught[1]),
        percent(best.caught[2]),
        percent(plain.caught[0]),
        percent(plain.caught[1]),
        percent(plain.caught[2]),
    )
}

/// The rule taken, and the comparison behind it.
pub(crate) struct Chosen {
    pub(crate) spec: RuleSpec,
    pub(crate) choice: Choice,
}

/// Compares `candidates`, the plain bank first, and takes one.
pub(crate) fn choose(
    study: &Study<'_>,
    candidates: &[RuleSpec],
    copies: &[DamagedCopy],
) -> Result<Chosen, TrainError> {
    let progress = Progress::new("conditioning", candidates.len() as u64);
    let mut inspected = Vec::new();
    for &spec in candidates {
        inspected.push(inspect(study, copies, spec)?);
        progress.advance(1);
    }
    progress.finish();
    let best = best(&inspected);
    let reason = if copies.is_empty() {
        "no image could be damaged, so nothing was compared".to_string()
    } else if best == 0 {
        "no candidate brought damaged copies nearer to its own threshold without making a family of damage harder to see".to_string()
    } else {
        reason(&inspected[best].figures, &inspected[0].figures)
    };
    let count = |harm| copies.iter().filter(|c| c.id.harm == harm).count() as u32;
    Ok(Chosen {
        spec: inspected[best].spec,
        choice: Choice {
            images: study.fitter.features.images as u32,
            damaged: Harm::ALL.map(count),
            reason,
            candidates: inspected.into_iter().map(|j| j.figures).collect(),
        },
    })
}
