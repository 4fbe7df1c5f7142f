//! `--method auto`: the choice of a product's conditioning, from good images alone.
//!
//! A condition can only raise scores, so it loses a defect only where it raises the threshold.
//! Held-out good images show that cost, and damaged copies of them show the gain. Both are in one
//! number, a copy's shortfall: how far its score is under the product's own threshold, in units of
//! how far the median good part is under it ([`shortfall`]). The unit makes rules comparable whose
//! scores have different ranges. How far other copies are above the threshold does not count: every
//! candidate catches them.
//!
//! The plain bank is left only for a reason: not with fewer than [`LEAST_IMAGES`] good images, whose
//! copies say nothing reliable; not for a rule of place where good parts do not prove that places
//! differ; and not without a gain that resampling the images confirms.

use super::copies::{CopyId, DamagedCopies, DamagedCopy, Harm};
use super::gaussian::MOST_DIMENSIONS;
use super::held_out::{auroc_of_copies, damaged_scores, held_out_scores, median, shortfall};
use super::rules::RuleSpec;
use super::settings::{LEAST_IMAGES, Settings};
use super::study::{Partition, Study};
use super::thresholds::thresholds_from;
use crate::error::TrainError;
use crate::progress::Progress;
use partgate::product::{Candidate, Choice};
use partgate::score::Rule;
use partgate::seed::Rng;

/// A candidate must save this much of the shortfall, ...
const LEAST_GAIN: f64 = 0.005;
/// ... more than nothing in this share of the samples that are drawn from the images, ...
const CONFIDENCE: f64 = 0.975;
const RESAMPLES: usize = 2000;
/// ... one with a network, which costs time on every part, this share of the shortfall that the
/// best without one leaves, ...
const NETWORK_GAIN: f64 = 0.1;
/// ... and may cost neither family of damage this much AUROC ...
const AUROC_SLACK: f64 = 0.01;
/// ... nor this share of damaged copies above the threshold.
const CAUGHT_SLACK: f64 = 0.03;
const RESAMPLE_STREAM: u64 = 6;

/// Shares of held-out good cells that may lose their row: far below one cell an image
/// (docs/method.md has what larger ones do to the threshold).
pub(crate) const LOST: f64 = 0.001;

/// What is compared for a product of `images` good images, the plain bank first: each condition, on
/// distances as they are and in units of the bank's spacing to the power of the settings; and the bank
/// with Gaussians of places, if vectors of `dimensions` values are short enough for them. Gaussians
/// alone are not compared: no set is known on which they are better (docs/ablation.md), and they need
/// a better fixture.
pub(crate) fn candidates(settings: &Settings, dimensions: usize, images: usize) -> Vec<RuleSpec> {
    let density = settings.density;
    if images < LEAST_IMAGES {
        return vec![RuleSpec::BASELINE];
    }
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
    if settings.mapped(dimensions) <= MOST_DIMENSIONS {
        let both = RuleSpec::of(Rule::BankGaussian);
        all.push(both);
        if density > 0.0 {
            all.push(both.with_density(density));
        }
    }
    all
}

/// A candidate and its figures.
struct Inspected {
    spec: RuleSpec,
    figures: Candidate,
    /// Shortfall of each damaged copy.
    shortfalls: Vec<f64>,
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

/// The copies that decide, and how.
struct Comparison<'a> {
    study: &'a Study<'a>,
    copies: Vec<CopyId>,
    /// Families of damage that count. Exchanged features are no defect where places do not differ.
    families: Vec<Harm>,
}

impl<'a> Comparison<'a> {
    fn new(study: &'a Study<'a>, copies: Vec<CopyId>) -> Self {
        let differ = study.calibration.places_differ();
        let counts =
            |harm: &Harm| (harm.painted() || differ) && copies.iter().any(|id| id.harm == *harm);
        Self {
            study,
            families: Harm::ALL.into_iter().filter(counts).collect(),
            copies,
        }
    }

    /// The mean of a value of each copy over a family.
    fn mean(&self, values: &[f64], harm: Harm) -> f64 {
        let of_family = self.copies.iter().zip(values);
        let of_family = of_family.filter(|(copy, _)| copy.harm == harm);
        let (sum, count) = of_family.fold((0.0, 0.0f64), |(sum, n), (_, v)| (sum + v, n + 1.0));
        sum / count.max(1.0)
    }

    /// The mean over the families that count, each with the same weight.
    fn over_families(&self, values: &[f64]) -> f64 {
        let means = self.families.iter().map(|&harm| self.mean(values, harm));
        means.sum::<f64>() / self.families.len().max(1) as f64
    }

    /// The figures of a rule that gives the copies the scores `damaged`.
    fn inspect(&self, scored: ScoredCopies<'_>) -> Result<Inspected, TrainError> {
        let study = self.study;
        let ScoredCopies {
            spec,
            partitions,
            scores: damaged,
        } = scored;
        let goods = held_out_scores(study, partitions, spec, &|_| ())?.means();
        let threshold = thresholds_from(&goods, study.fitter.settings.risk)?
            .unknown
            .threshold;
        let mut aurocs = [0.5; 3];
        let mut caught = [0.0; 3];
        let above: Vec<f64> = damaged
            .iter()
            .map(|&score| f64::from(u8::from(score > threshold)))
            .collect();
        for (i, harm) in Harm::ALL.into_iter().enumerate() {
            let of_family = self.copies.iter().zip(&damaged);
            let scores: Vec<f32> = of_family
                .filter(|(copy, _)| copy.harm == harm)
                .map(|(_, &score)| score)
                .collect();
            if !scores.is_empty() {
                aurocs[i] = auroc_of_copies(&goods, &scores)?;
                caught[i] = self.mean(&above, harm);
            }
        }
        let unit = shortfall(median(&goods), threshold);
        let shortfalls: Vec<f64> = damaged
            .iter()
            .map(|&score| shortfall(score, threshold) / unit.max(1e-3))
            .collect();
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
                shortfall: self.over_families(&shortfalls),
                spread: spread(&goods),
            },
            shortfalls,
        })
    }

    /// What `candidate` saves of `plain`'s shortfall; `None` where it makes a family of damage harder
    /// to see, or where other images of the same product might say that it saves nothing.
    fn gain(&self, plain: &Inspected, candidate: &Inspected) -> Option<f64> {
        let (here, there) = (&candidate.figures, &plain.figures);
        let mut caught = here.caught.iter().zip(&there.caught);
        let sound = here.shortfall.is_finite()
            && here.surface >= there.surface - AUROC_SLACK
            && here.misplaced >= there.misplaced - AUROC_SLACK
            && caught.all(|(here, plain)| *here >= plain - CAUGHT_SLACK);
        let gain = there.shortfall - here.shortfall;
        let savings = plain.shortfalls.iter().zip(&candidate.shortfalls);
        let savings: Vec<f64> = savings.map(|(plain, here)| plain - here).collect();
        (sound && gain >= LEAST_GAIN && self.least_of_resamples(&savings) > 0.0).then_some(gain)
    }

    /// The value that the mean of `values` over the families exceeds in [`CONFIDENCE`] of the samples
    /// that are drawn from the images with replacement, each image with all its copies.
    fn least_of_resamples(&self, values: &[f64]) -> f64 {
        let mut images: Vec<usize> = self.copies.iter().map(|copy| copy.image).collect();
        images.dedup();
        let sums: Vec<Vec<(f64, f64)>> = images
            .iter()
            .map(|&image| self.sums_of(image, values))
            .collect();
        let mut rng = Rng::stream(self.study.fitter.settings.seed, RESAMPLE_STREAM);
        let mut means: Vec<f64> = (0..RESAMPLES)
            .map(|_| {
                let mut drawn = vec![(0.0, 0.0f64); self.families.len()];
                for _ in 0..images.len() {
                    let of_image = &sums[rng.below(images.len())];
                    for (all, one) in drawn.iter_mut().zip(of_image) {
                        *all = (all.0 + one.0, all.1 + one.1);
                    }
                }
                let means = drawn.iter().map(|(sum, count)| sum / count.max(1.0));
                means.sum::<f64>() / self.families.len().max(1) as f64
            })
            .collect();
        means.sort_by(f64::total_cmp);
        means[((1.0 - CONFIDENCE) * RESAMPLES as f64) as usize]
    }

    /// Sum and number of the values of an image's copies, for each family that counts.
    fn sums_of(&self, image: usize, values: &[f64]) -> Vec<(f64, f64)> {
        let of_image = || {
            let all = self.copies.iter().zip(values);
            all.filter(|(copy, _)| copy.image == image)
        };
        let sum = |harm: &Harm| {
            let of_family = of_image().filter(|(copy, _)| copy.harm == *harm);
            of_family.fold((0.0, 0.0), |(sum, n), (_, v)| (sum + v, n + 1.0))
        };
        self.families.iter().map(sum).collect()
    }
}

/// The figures behind the choice of `best` in a sentence.
fn reason(best: &Candidate, plain: &Candidate) -> String {
    let percent = |share: f64| 100.0 * share;
    format!(
        "damaged copies stay {:.2} of the way from the threshold to the median good part on average, {:.2} with the plain bank; above the threshold are {:.0} % of surface damage, {:.0} % of misplaced and {:.0} % of exchanged parts; {:.0} %, {:.0} % and {:.0} % with the plain bank",
        best.shortfall,
        plain.shortfall,
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

/// Scores of all damaged copies under a rule.
struct ScoredCopies<'a> {
    spec: RuleSpec,
    partitions: &'a [Partition],
    scores: Vec<f32>,
}

/// The copies' identities, and their scores under each of `specs` in its own partitions; the last one
/// is the plain bank in the partitions that networks have.
fn scored<'a>(
    study: &'a Study<'a>,
    specs: &[RuleSpec],
    copies: &DamagedCopies<'_>,
) -> Result<(Vec<CopyId>, Vec<ScoredCopies<'a>>), TrainError> {
    let networks = specs.iter().find(|spec| spec.network());
    let under = |spec: RuleSpec, of: RuleSpec| ScoredCopies {
        spec,
        partitions: study.partitions(of),
        scores: Vec::new(),
    };
    let mut all: Vec<ScoredCopies<'_>> = specs.iter().map(|&spec| under(spec, spec)).collect();
    all.extend(networks.map(|&network| under(specs[0], network)));
    let mut ids = Vec::new();
    let progress = Progress::new("conditioning", (copies.turns() * all.len()) as u64);
    copies.each(|some| {
        ids.extend(some.iter().map(|copy| copy.id));
        let some: Vec<&DamagedCopy> = some.iter().collect();
        for rule in &mut all {
            let found = damaged_scores(study, rule.partitions, &some, rule.spec)?;
            rule.scores.extend(found.means());
            progress.advance(1);
        }
        Ok(())
    })?;
    progress.finish();
    Ok((ids, all))
}

/// Compares `candidates`, the plain bank first, and takes one.
pub(crate) fn choose(
    study: &Study<'_>,
    candidates: &[RuleSpec],
    copies: &DamagedCopies<'_>,
) -> Result<Chosen, TrainError> {
    let (ids, mut scored) = scored(study, candidates, copies)?;
    let comparison = Comparison::new(study, ids);
    let differ = study.calibration.places_differ();
    // A network's rule has fewer partitions, so it is compared with the plain bank on the same ones.
    let plain_with_networks = match scored.len() > candidates.len() {
        true => scored
            .pop()
            .map(|plain| comparison.inspect(plain))
            .transpose()?,
        false => None,
    };
    let mut inspected: Vec<Inspected> = Vec::new();
    let mut best: Option<(usize, f64)> = None;
    let mut best_network: Option<(usize, f64)> = None;
    for (index, scored) in scored.into_iter().enumerate() {
        let spec = scored.spec;
        let found = comparison.inspect(scored)?;
        if index > 0 && (differ || !spec.places()) {
            let plain = match spec.network() {
                true => plain_with_networks.as_ref(),
                false => inspected.first(),
            };
            let gain = plain.and_then(|plain| comparison.gain(plain, &found));
            let slot = if spec.network() {
                &mut best_network
            } else {
                &mut best
            };
            if let Some(gain) = gain
                && slot.is_none_or(|(_, most)| gain > most)
            {
                *slot = Some((index, gain));
            }
        }
        inspected.push(found);
    }
    let taken = with_or_without_network(&inspected, best, best_network);
    let reason = if study.fitter.features.images < LEAST_IMAGES {
        format!(
            "{} good images are too few to choose by: the plain bank is taken, from {LEAST_IMAGES} on others are compared",
            study.fitter.features.images
        )
    } else if comparison.copies.is_empty() {
        "no image could be damaged, so nothing was compared".to_string()
    } else if taken == 0 {
        "no candidate brings damaged copies nearer to its own threshold, beyond what other images of this product might contradict, without making a family of damage harder to see".to_string()
    } else {
        reason(&inspected[taken].figures, &inspected[0].figures)
    };
    let places = if inspected.len() > 1 && !differ {
        "; good parts do not prove that places differ, so no rule of place was considered"
    } else {
        ""
    };
    let ids = &comparison.copies;
    let count = |harm| ids.iter().filter(|id| id.harm == harm).count() as u32;
    Ok(Chosen {
        spec: inspected[taken].spec,
        choice: Choice {
            images: study.fitter.features.images as u32,
            damaged: Harm::ALL.map(count),
            reason: reason + places,
            candidates: inspected.into_iter().map(|j| j.figures).collect(),
        },
    })
}

/// Index of the candidate to take, from the best without and with a network, each with its gain.
fn with_or_without_network(
    inspected: &[Inspected],
    best: Option<(usize, f64)>,
    network: Option<(usize, f64)>,
) -> usize {
    let plain = inspected[0].figures.shortfall;
    let left = plain - best.map_or(0.0, |(_, gain)| gain);
    match network {
        Some((index, gain)) if plain - gain <= left * (1.0 - NETWORK_GAIN) - LEAST_GAIN => index,
        _ => best.map_or(0, |(index, _)| index),
    }
}
