//! `--method auto`: which conditioning a product gets, from good images alone.
//!
//! A condition can only raise a score, so it loses a defect only by raising the threshold: what it costs shows on held-out goods, what it gains on damaged copies of them, and
//! both are in the same number, the score over the threshold. The candidate is taken whose damaged
//! copies stay least under its own threshold, unless a family of damage gets worse by it. How high
//! the others stand above it does not count: they are caught anyway.

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
/// Copies of each image with exchanged features, and pairs of blocks tried for each.
pub(super) const EXCHANGES: usize = 2;
/// Other good images that damage is filled from.
const DONORS: usize = 8;
const DAMAGE_STREAM: u64 = 5;
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

/// What was done to a copy of a good image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Harm {
    /// Something foreign, painted on the picture.
    Surface,
    /// Something moved, turned, recoloured or removed in the picture.
    Misplaced,
    /// The features of two places exchanged: each right in itself, with no seam that gives the
    /// exchange away. A plain bank cannot see it; what a condition is for.
    Exchanged,
}

impl Harm {
    /// Whether the picture itself was changed, so that every member of an ensemble sees it.
    pub(crate) fn painted(self) -> bool {
        self != Self::Exchanged
    }

    const ALL: [Self; 3] = [Self::Surface, Self::Misplaced, Self::Exchanged];
}

/// Which damaged copy: the same one for every network that looks at it, where it is painted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CopyId {
    pub(crate) image: usize,
    pub(crate) harm: Harm,
    /// Among the image's copies of this harm.
    pub(crate) number: usize,
}

/// A damaged copy of a good image.
pub(crate) struct DamagedCopy {
    pub(crate) id: CopyId,
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
            if fitter.ignored_cells[cell] {
                return 0.0;
            }
            let (row, column) = (cell / grid * stride, cell % grid * stride);
            let ones: u32 = (row..row + stride)
                .flat_map(|y| &seen[y * side + column..][..stride])
                .map(|&c| u32::from(c))
                .sum();
            ones as f32 / (stride * stride) as f32
        })
        .collect()
}

/// Exchanges two equal blocks of cells, the most unlike of a few pairs; `None` where the grid is
/// too small for two.
fn exchanged(
    features: &[f32],
    grid: usize,
    ignored: &[bool],
    rng: &mut Rng,
) -> Option<(Vec<f32>, Vec<f32>)> {
    let d = features.len() / (grid * grid);
    let cell = |row: usize, column: usize| &features[(row * grid + column) * d..][..d];
    let longest = (grid / 4).max(2);
    let mut best: Option<(f32, [usize; 6])> = None;
    for _ in 0..EXCHANGES * 8 {
        let (h, w) = (2 + rng.below(longest - 1), 2 + rng.below(longest - 1));
        if h >= grid || w >= grid {
            continue;
        }
        let mut place = || (rng.below(grid - h + 1), rng.below(grid - w + 1));
        let ((ay, ax), (by, bx)) = (place(), place());
        if ay.abs_diff(by) < h && ax.abs_diff(bx) < w {
            continue;
        }
        let counts = |i: usize| {
            let (y, x) = (i / w, i % w);
            !ignored[(ay + y) * grid + ax + x] && !ignored[(by + y) * grid + bx + x]
        };
        if !(0..h * w).all(counts) {
            continue;
        }
        let unlike: f32 = (0..h * w)
            .map(|i| {
                let (y, x) = (i / w, i % w);
                let pairs = cell(ay + y, ax + x).iter().zip(cell(by + y, bx + x));
                pairs.map(|(a, b)| (a - b) * (a - b)).sum::<f32>()
            })
            .sum::<f32>()
            / (h * w) as f32;
        if best.is_none_or(|(most, _)| unlike > most) {
            best = Some((unlike, [ay, ax, by, bx, h, w]));
        }
    }
    let (_, [ay, ax, by, bx, h, w]) = best?;
    let mut out = features.to_vec();
    let mut changed = vec![0.0; grid * grid];
    for i in 0..h * w {
        let (y, x) = (i / w, i % w);
        let (a, b) = ((ay + y) * grid + ax + x, (by + y) * grid + bx + x);
        out[a * d..(a + 1) * d].copy_from_slice(&features[b * d..(b + 1) * d]);
        out[b * d..(b + 1) * d].copy_from_slice(&features[a * d..(a + 1) * d]);
        (changed[a], changed[b]) = (1.0, 1.0);
    }
    Some((out, changed))
}

/// What `work` makes of some of the images, at most `most`, side by side, in their order. The bar is
/// called `what`.
pub(super) fn of_chosen<T: Send>(
    fitter: &Fitter<'_>,
    extractor: &Extractor,
    images: &GoodImages,
    (most, what): (usize, &'static str),
    work: impl Fn(usize, &mut Extractor) -> Result<Vec<T>, TrainError> + Sync,
) -> Result<Vec<T>, TrainError> {
    let n = images.paths.len();
    let mut chosen = Rng::stream(fitter.settings.seed, DAMAGE_STREAM).permutation(n);
    chosen.truncate(most.min(n));
    chosen.sort_unstable();
    let progress = Progress::new(what, chosen.len() as u64);
    let share = chosen.len().div_ceil(rayon::current_num_threads()).max(1);
    let mut workers = Vec::new();
    for run in chosen.chunks(share) {
        workers.push((extractor.another(&fitter.settings.features)?, run));
    }
    let made: Vec<Vec<T>> = workers
        .into_par_iter()
        .map(|(mut extractor, run)| {
            let mut out = Vec::new();
            for &image in run {
                out.extend(work(image, &mut extractor)?);
                progress.advance(1);
            }
            Ok(out)
        })
        .collect::<Result<_, TrainError>>()?;
    progress.finish();
    Ok(made.into_iter().flatten().collect())
}

/// Damages copies of some of the images and extracts their features.
pub(crate) fn damaged_copies(
    fitter: &Fitter<'_>,
    extractor: &Extractor,
    images: &GoodImages,
    most: usize,
) -> Result<Vec<DamagedCopy>, TrainError> {
    of_chosen(
        fitter,
        extractor,
        images,
        (most, "damage"),
        |image, extractor| copies_of(image, fitter, extractor, images),
    )
}

/// Damaged copies of one image.
fn copies_of(
    image: usize,
    fitter: &Fitter<'_>,
    extractor: &mut Extractor,
    images: &GoodImages,
) -> Result<Vec<DamagedCopy>, TrainError> {
    let n = images.paths.len();
    let seed = Rng::stream(fitter.settings.seed, DAMAGE_STREAM + 100 + image as u64).next_u64();
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
            return Ok(Vec::new());
        }
    };
    let mut out = Vec::new();
    let families = [
        (Family::Surface, Harm::Surface),
        (Family::Misplaced, Harm::Misplaced),
    ];
    for ((family, harm), count) in families.into_iter().zip(COPIES) {
        for number in 0..count {
            // A picture with nothing to misplace gives fewer copies.
            let Ok(damaged) = damager.damage(family, rng.next_u64()) else {
                continue;
            };
            let changed = changed_cells(&damaged.frame, &damaged.changed, fitter);
            // Damage where nothing is inspected says nothing.
            if changed.iter().all(|&c| c == 0.0) {
                continue;
            }
            let mut features = vec![0.0; fitter.features.cells() * fitter.features.dimensions];
            extractor
                .run(&damaged.frame, &mut features)
                .map_err(|source| TrainError::Image {
                    path: images.paths[image].clone(),
                    source,
                })?;
            out.push(DamagedCopy {
                id: CopyId {
                    image,
                    harm,
                    number,
                },
                features,
                changed,
            });
        }
    }
    let good = fitter.features.image(image);
    for number in 0..EXCHANGES {
        if let Some((features, changed)) =
            exchanged(good, fitter.features.grid, &fitter.ignored_cells, &mut rng)
        {
            out.push(DamagedCopy {
                id: CopyId {
                    image,
                    harm: Harm::Exchanged,
                    number,
                },
                features,
                changed,
            });
        }
    }
    Ok(out)
}

/// Image scores of every good image under the fold that was fitted without it.
/// `done` is told how many more there are.
pub(crate) fn held_out_scores(
    study: &Study<'_>,
    spec: RuleSpec,
    done: &dyn Fn(u64),
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
        done(fold.held.len() as u64);
    }
    Ok(scores)
}

/// The same of the damaged copies, each under the fold without its original.
pub(crate) fn damaged_scores(
    study: &Study<'_>,
    copies: &[&DamagedCopy],
    spec: RuleSpec,
) -> Result<Vec<(f32, Vec<f32>)>, TrainError> {
    let copies: Vec<_> = copies
        .iter()
        .map(|copy| (copy.id.image, &copy.features[..]))
        .collect();
    copy_scores(study, &copies, spec)
}

/// The same of any copies, each an image's number and features.
pub(super) fn copy_scores(
    study: &Study<'_>,
    copies: &[(usize, &[f32])],
    spec: RuleSpec,
) -> Result<Vec<(f32, Vec<f32>)>, TrainError> {
    let (fitter, calibration) = (&study.fitter, &study.calibration);
    let mut scores = vec![(0.0, Vec::new()); copies.len()];
    for fold in &study.folds {
        let mine: Vec<usize> = (0..copies.len())
            .filter(|&i| fold.held.binary_search(&copies[i].0).is_ok())
            .collect();
        let found = fitter.score(&fold.fitted, spec, calibration, mine.len(), |i| {
            copies[mine[i]].1
        })?;
        for (&copy, score) in mine.iter().zip(found) {
            scores[copy] = score;
        }
    }
    Ok(scores)
}

/// How far `score` is under `threshold`, as a logarithm; 0 where it is above.
pub(super) fn under(score: f32, threshold: f32) -> f64 {
    // All goods alike may have a threshold of 0: whatever is above it is caught.
    -f64::from((score / threshold.max(1e-12)).clamp(1e-6, 1.0)).ln()
}

/// A candidate and its figures.
struct Judged {
    spec: RuleSpec,
    figures: Candidate,
}

fn judge(study: &Study<'_>, copies: &[DamagedCopy], spec: RuleSpec) -> Result<Judged, TrainError> {
    let first =
        |scores: Vec<(f32, Vec<f32>)>| -> Vec<f32> { scores.into_iter().map(|s| s.0).collect() };
    let goods = first(held_out_scores(study, spec, &|_| ())?);
    let damaged = first(damaged_scores(
        study,
        &copies.iter().collect::<Vec<_>>(),
        spec,
    )?);
    let threshold = thresholds_from(&goods, study.fitter.settings.risk)?
        .unknown
        .threshold;
    let of = |harm: Harm| -> Vec<f32> {
        let pairs = copies.iter().zip(&damaged);
        pairs
            .filter(|(copy, _)| copy.id.harm == harm)
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
    let mut aurocs = [0.5; 3];
    let mut caught = [0.0; 3];
    let mut shortfall = 0.0;
    for (i, harm) in Harm::ALL.into_iter().enumerate() {
        let scores = of(harm);
        if scores.is_empty() {
            continue;
        }
        let both: Vec<f32> = goods.iter().chain(&scores).copied().collect();
        let defective: Vec<bool> = (0..both.len()).map(|i| i >= goods.len()).collect();
        aurocs[i] = image_auroc(&both, &defective)?;
        let count = scores.len() as f64;
        caught[i] = scores.iter().filter(|&&s| s > threshold).count() as f64 / count;
        let under: f64 = scores.iter().map(|&s| under(s, threshold)).sum();
        shortfall += under / count / Harm::ALL.len() as f64;
    }
    Ok(Judged {
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
            shortfall,
            spread: variance.sqrt() / mean.max(1e-12),
        },
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
        a.shortfall.is_finite()
            && a.surface >= b.surface - AUROC_SLACK
            && a.misplaced >= b.misplaced - AUROC_SLACK
            && a.caught[0] >= b.caught[0] - CAUGHT_SLACK
            && a.caught[1] >= b.caught[1] - CAUGHT_SLACK
            && a.caught[2] >= b.caught[2] - CAUGHT_SLACK
    };
    let nearest = |network: bool| {
        let candidates = judged[1..].iter().filter(|j| j.spec.network() == network);
        candidates
            .filter(sound)
            .min_by(|a, b| a.figures.shortfall.total_cmp(&b.figures.shortfall))
    };
    let mut best = plain;
    let shortfall = |j: &Judged| j.figures.shortfall;
    if let Some(found) = nearest(false).filter(|f| shortfall(f) <= shortfall(plain) - LEAST_GAIN) {
        best = found;
    }
    let enough = |f: &&Judged| shortfall(f) <= shortfall(best) * (1.0 - NETWORK_GAIN) - LEAST_GAIN;
    if let Some(found) = nearest(true).filter(enough) {
        best = found;
    }
    let percent = |share: f64| 100.0 * share;
    let reason = if copies.is_empty() {
        "no image could be damaged, so nothing was compared".to_string()
    } else if std::ptr::eq(best, plain) {
        "no candidate brought damaged copies nearer to its own threshold without making a family of damage harder to see".to_string()
    } else {
        format!(
            "damaged copies stay {:.1} % under the threshold on average, {:.1} % with the plain bank; above it are {:.0} % of surface damage, {:.0} % of misplaced and {:.0} % of exchanged parts; {:.0} %, {:.0} % and {:.0} % with the plain bank",
            percent(1.0 - (-shortfall(best)).exp()),
            percent(1.0 - (-shortfall(plain)).exp()),
            percent(best.figures.caught[0]),
            percent(best.figures.caught[1]),
            percent(best.figures.caught[2]),
            percent(plain.figures.caught[0]),
            percent(plain.figures.caught[1]),
            percent(plain.figures.caught[2]),
        )
    };
    let count = |harm| copies.iter().filter(|c| c.id.harm == harm).count() as u32;
    let spec = best.spec;
    let choice = Choice {
        images: study.fitter.features.images as u32,
        damaged: Harm::ALL.map(count),
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
