//! `--method auto`: which conditioning a product gets, from good images alone.
//!
//! Forbidding rows can only raise a score, so a condition loses a defect only by raising the
//! threshold: what it costs shows on held-out goods, what it gains on damaged copies of them, and
//! both are in the same number, the score over the threshold. The candidate whose damaged copies
//! stand highest over its own threshold is taken, unless a family of damage gets worse by it.

use super::features::Extractor;
use super::fitter::Fitter;
use super::rules::RuleSpec;
use super::study::Study;
use super::thresholds_from;
use crate::damage::{Damager, Family};
use crate::dataset::{GoodImages, seen_by_network};
use crate::error::TrainError;
use crate::metrics::image_auroc;
use crate::progress::Progress;
use partgate::capture::folder::read_frame;
use partgate::frame::Frame;
use partgate::product::{Candidate, Choice};
use partgate::score::Rule;
use partgate::seed::Rng;
use rayon::prelude::*;

/// Held-out images that are damaged, at most.
pub(super) const IMAGES: usize = 48;
/// Damaged copies of each image: surface, misplaced.
pub(super) const COPIES: [usize; 2] = [2, 3];
/// Other good images that damage is filled from.
const DONORS: usize = 8;
const DAMAGE_STREAM: u64 = 5;
/// A candidate must put damaged copies this much higher over the threshold, as a logarithm, ...
const LEAST_GAIN: f64 = 0.002;
/// ... a network, which costs time on every part, this much more than the best without one, ...
const NETWORK_GAIN: f64 = 0.02;
/// ... and may cost neither family of damage this much AUROC ...
const AUROC_SLACK: f64 = 0.005;
/// ... nor this share of damaged copies above the threshold.
const CAUGHT_SLACK: f64 = 0.02;

/// Shares of held-out good cells that may lose their row: far below one cell an image
/// (docs/method.md has what larger ones do to the threshold).
pub(crate) const LOST: f64 = 0.001;

/// What is compared; the plain bank first.
pub(crate) const CANDIDATES: [RuleSpec; 6] = [
    RuleSpec::of(Rule::Patchcore),
    RuleSpec::of(Rule::Position),
    RuleSpec::coverage(Some(LOST), None),
    RuleSpec::coverage(Some(5.0 * LOST), None),
    RuleSpec::coverage(None, Some(LOST)),
    RuleSpec::coverage(Some(LOST), Some(LOST)),
];

/// A damaged copy of a good image.
pub(crate) struct DamagedCopy {
    pub(crate) image: usize,
    pub(crate) family: Family,
    /// `[cells, dimensions]`.
    pub(crate) features: Vec<f32>,
    /// Share of changed pixels in each cell, `[cells]`.
    pub(crate) changed: Vec<f32>,
}

/// Share of the changed pixels of a `width` picture that fall into each cell, as the network sees
/// them.
fn changed_cells(frame: &Frame, changed: &[bool], fitter: &Fitter<'_>) -> Vec<f32> {
    let input = &fitter.settings.features.input;
    let seen = seen_by_network(changed, (frame.width(), frame.height()), input, false);
    let (grid, side) = (fitter.features.grid, fitter.side);
    let stride = side / grid;
    (0..grid * grid)
        .map(|cell| {
            let (row, column) = (cell / grid * stride, cell % grid * stride);
            let ones: u32 = (row..row + stride)
                .flat_map(|y| &seen[y * side + column..][..stride])
                .map(|&c| u32::from(c))
                .sum();
            ones as f32 / (stride * stride) as f32
        })
        .collect()
}

/// Damages copies of some of the images and extracts their features.
pub(crate) fn damaged_copies(
    fitter: &Fitter<'_>,
    extractor: &Extractor,
    images: &GoodImages,
    most: usize,
) -> Result<Vec<DamagedCopy>, TrainError> {
    let n = images.paths.len();
    let mut chosen = Rng::stream(fitter.settings.seed, DAMAGE_STREAM).permutation(n);
    chosen.truncate(most.min(n));
    chosen.sort_unstable();
    let progress = Progress::new("damage", chosen.len() as u64);
    let share = chosen.len().div_ceil(rayon::current_num_threads()).max(1);
    let mut workers = Vec::new();
    for run in chosen.chunks(share) {
        workers.push((extractor.another(&fitter.settings.features)?, run));
    }
    let copies: Vec<Vec<DamagedCopy>> = workers
        .into_par_iter()
        .map(|(mut extractor, run)| {
            let mut out = Vec::new();
            for &image in run {
                let seed = Rng::stream(fitter.settings.seed, DAMAGE_STREAM + 100 + image as u64)
                    .next_u64();
                let mut rng = Rng::new(seed);
                let frame = read_frame(&images.paths[image])?;
                let donors: Vec<Frame> = (0..DONORS.min(n - 1))
                    .map(|_| {
                        let other = (image + 1 + rng.below(n - 1)) % n;
                        Ok(read_frame(&images.paths[other])?)
                    })
                    .collect::<Result<_, TrainError>>()?;
                let donors: Vec<&Frame> = donors.iter().collect();
                let damager = match Damager::new(&frame, &donors, None) {
                    Ok(damager) => damager,
                    Err(e) => {
                        log::warn!("{}: not damaged: {e}", images.paths[image].display());
                        continue;
                    }
                };
                for (family, count) in [Family::Surface, Family::Misplaced].into_iter().zip(COPIES)
                {
                    for _ in 0..count {
                        // A picture with nothing to misplace gives fewer copies.
                        let Ok(damaged) = damager.damage(family, rng.next_u64()) else {
                            continue;
                        };
                        let mut features =
                            vec![0.0; fitter.features.cells() * fitter.features.dimensions];
                        extractor
                            .run(&damaged.frame, &mut features)
                            .map_err(|source| TrainError::Image {
                                path: images.paths[image].clone(),
                                source,
                            })?;
                        out.push(DamagedCopy {
                            image,
                            family,
                            features,
                            changed: changed_cells(&damaged.frame, &damaged.changed, fitter),
                        });
                    }
                }
                progress.advance(1);
            }
            Ok(out)
        })
        .collect::<Result<_, TrainError>>()?;
    progress.finish();
    Ok(copies.into_iter().flatten().collect())
}

/// Image scores of every good image under the fold that was fitted without it.
pub(crate) fn held_out_scores(
    study: &Study<'_>,
    spec: RuleSpec,
) -> Result<Vec<(f32, Vec<f32>)>, TrainError> {
    let (fitter, calibration) = (&study.fitter, &study.calibration);
    let mut scores = vec![(0.0, Vec::new()); fitter.features.images];
    for fold in &study.folds {
        let found = fitter.score(&fold.fitted, spec, calibration, fold.held.len(), |i| {
            fitter.features.image(fold.held[i])
        })?;
        for (&image, score) in fold.held.iter().zip(found) {
            scores[image] = score;
        }
    }
    Ok(scores)
}

/// The same of the damaged copies, each under the fold without its original.
pub(crate) fn damaged_scores(
    study: &Study<'_>,
    copies: &[DamagedCopy],
    spec: RuleSpec,
) -> Result<Vec<(f32, Vec<f32>)>, TrainError> {
    let (fitter, calibration) = (&study.fitter, &study.calibration);
    let mut scores = vec![(0.0, Vec::new()); copies.len()];
    for fold in &study.folds {
        let mine: Vec<usize> = (0..copies.len())
            .filter(|&i| fold.held.binary_search(&copies[i].image).is_ok())
            .collect();
        let found = fitter.score(&fold.fitted, spec, calibration, mine.len(), |i| {
            &copies[mine[i]].features
        })?;
        for (&copy, score) in mine.iter().zip(found) {
            scores[copy] = score;
        }
    }
    Ok(scores)
}

/// A candidate's figures, and how high damaged copies stand over its threshold.
struct Judged {
    spec: RuleSpec,
    figures: Candidate,
    height: f64,
}

fn judge(study: &Study<'_>, copies: &[DamagedCopy], spec: RuleSpec) -> Result<Judged, TrainError> {
    let first =
        |scores: Vec<(f32, Vec<f32>)>| -> Vec<f32> { scores.into_iter().map(|s| s.0).collect() };
    let goods = first(held_out_scores(study, spec)?);
    let damaged = first(damaged_scores(study, copies, spec)?);
    let threshold = thresholds_from(&goods, study.fitter.settings.risk)?
        .unknown
        .threshold;
    let of = |family: Family| -> Vec<f32> {
        let pairs = copies.iter().zip(&damaged);
        pairs
            .filter(|(copy, _)| copy.family == family)
            .map(|(_, &score)| score)
            .collect()
    };
    let n = goods.len() as f64;
    let mean = goods.iter().map(|&s| f64::from(s)).sum::<f64>() / n;
    let variance = goods
        .iter()
        .map(|&s| (f64::from(s) - mean).powi(2))
        .sum::<f64>()
        / n;
    let mut aurocs = [0.5; 2];
    let mut caught = [0.0; 2];
    let mut height = 0.0;
    for (i, family) in [Family::Surface, Family::Misplaced].into_iter().enumerate() {
        let scores = of(family);
        if scores.is_empty() {
            continue;
        }
        let both: Vec<f32> = goods.iter().chain(&scores).copied().collect();
        let defective: Vec<bool> = (0..both.len()).map(|i| i >= goods.len()).collect();
        aurocs[i] = image_auroc(&both, &defective)?;
        let count = scores.len() as f64;
        caught[i] = scores.iter().filter(|&&s| s > threshold).count() as f64 / count;
        let over = |&s: &f32| f64::from((s / threshold).max(1e-6)).ln();
        height += 0.5 * scores.iter().map(over).sum::<f64>() / count;
    }
    Ok(Judged {
        spec,
        figures: Candidate {
            rule: spec.rule,
            place_lost: spec.place_lost,
            near_lost: spec.near_lost,
            surface: aurocs[0],
            misplaced: aurocs[1],
            caught,
            height,
            spread: variance.sqrt() / mean.max(1e-12),
        },
        height,
    })
}

/// Compares `candidates`, the plain bank first, and takes one.
pub(crate) fn choose(
    study: &Study<'_>,
    candidates: &[RuleSpec],
    copies: &[DamagedCopy],
) -> Result<(RuleSpec, Choice), TrainError> {
    let progress = Progress::new("conditioning", candidates.len() as u64);
    let mut judged = Vec::new();
    for &spec in candidates {
        judged.push(judge(study, copies, spec)?);
        progress.advance(1);
    }
    progress.finish();
    let plain = &judged[0];
    let sound = |j: &&Judged| {
        let (a, b) = (&j.figures, &plain.figures);
        a.surface >= b.surface - AUROC_SLACK
            && a.misplaced >= b.misplaced - AUROC_SLACK
            && a.caught[0] >= b.caught[0] - CAUGHT_SLACK
            && a.caught[1] >= b.caught[1] - CAUGHT_SLACK
    };
    let highest = |network: bool| {
        let candidates = judged[1..].iter().filter(|j| j.spec.network() == network);
        candidates
            .filter(sound)
            .max_by(|a, b| a.height.total_cmp(&b.height))
    };
    let mut best = plain;
    if let Some(found) = highest(false).filter(|f| f.height >= plain.height + LEAST_GAIN) {
        best = found;
    }
    if let Some(found) = highest(true).filter(|f| f.height >= best.height + NETWORK_GAIN) {
        best = found;
    }
    let percent = |share: f64| 100.0 * share;
    let reason = if std::ptr::eq(best, plain) {
        "no condition raised damaged copies over its own threshold by enough without making a kind of damage harder to see".to_string()
    } else {
        format!(
            "damaged copies stand {:.1} % higher over the threshold; caught {:.0} % of surface and {:.0} % of misplaced ones, the plain bank {:.0} % and {:.0} %",
            percent((best.height - plain.height).exp() - 1.0),
            percent(best.figures.caught[0]),
            percent(best.figures.caught[1]),
            percent(plain.figures.caught[0]),
            percent(plain.figures.caught[1]),
        )
    };
    let count = |family| copies.iter().filter(|c| c.family == family).count() as u32;
    let spec = best.spec;
    let choice = Choice {
        images: study.fitter.features.images as u32,
        damaged: [count(Family::Surface), count(Family::Misplaced)],
        reason,
        candidates: judged.into_iter().map(|j| j.figures).collect(),
    };
    Ok((spec, choice))
}

/// Damaged copies for [`choose`].
pub(crate) fn copies_for_choice(
    fitter: &Fitter<'_>,
    extractor: &Extractor,
    images: &GoodImages,
) -> Result<Vec<DamagedCopy>, TrainError> {
    damaged_copies(fitter, extractor, images, IMAGES)
}
