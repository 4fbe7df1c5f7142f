//! `--size auto`: the input size and the region, from good images alone.
//!
//! More pixels show smaller defects where the network's cells were too coarse, and they make good
//! parts more different from each other; which of the two counts depends on the product. So each
//! candidate is fitted as a plain bank, and damaged copies, painted at the resolution of the
//! pictures, are inspected under its own threshold: the shortfall of `choice`, on the copies that all
//! candidates see. A candidate that costs more is taken only for a gain that resampling the images
//! confirms. Nothing is chosen by few images: on 31 cookies the copies saved 10 % at 384 pixels, and
//! real defects escaped twice as often (docs/ablation.md).
//!
//! On large pictures some copies have fine damage, smaller than anything that the rules are compared
//! on. Inputs above the usual sizes are tried one after the other, for as long as the step before
//! saved something and time and memory allow the next.

use super::copies::{CopyId, DamagedCopies, DamagedCopy, Harm};
use super::held_out::{damaged_scores, held_out_scores, median, shortfall};
use super::needs::check_memory;
use super::plan::MemberPlan;
use super::rules::RuleSpec;
use super::seconds::FitSeconds;
use super::settings::Settings;
use super::study::Study;
use super::thresholds::thresholds_from;
use crate::dataset::GoodImages;
use crate::error::TrainError;
use partgate::backbone::InputGeometry;
use partgate::network::Threads;
use partgate::seed::Rng;
use serde::Serialize;
use std::borrow::Borrow;
use std::collections::HashMap;
use std::time::Instant;

/// Sides of the squares that are compared, in pixels; with another aspect as many pixels in all.
pub(crate) const SIDES: [usize; 3] = [256, 384, 512];
/// Pixels of the largest of them.
pub(crate) const MOST_USUAL: usize = SIDES[2] * SIDES[2];
/// Random splits into folds for each candidate.
const PARTITIONS: usize = 2;
/// Share of the shortfall that a candidate must save, ...
const LEAST_GAIN: f64 = 0.2;
/// ... and share of the samples drawn from the images in which it must save something.
const CONFIDENCE: f64 = 0.975;
const RESAMPLES: usize = 2000;
const RESAMPLE_STREAM: u64 = 8;
/// Share of the shortfall that damage of the usual sizes may lose where fine damage gains.
const LOSS_OF_USUAL: f64 = 0.05;
/// Share of the shortfall that a step to an input above the usual sizes must save for the next to be
/// tried.
const WORTH_GOING_ON: f64 = 0.05;
/// Images whose inspection is timed.
const TIMED: usize = 5;

/// One way of looking at the pictures, with its figures.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SizeCandidate {
    pub(crate) input: InputGeometry,
    /// Median time of an inspection on one thread of this machine, ms.
    pub(crate) ms: f64,
    /// Mean shortfall of the damaged copies that all candidates see, in units of the distance from the
    /// threshold to the median good part.
    pub(crate) shortfall: f64,
    /// Share of these copies above the threshold.
    pub(crate) caught: f64,
    /// Whether it may take the time that it takes.
    pub(crate) within_budget: bool,
}

/// The comparison of sizes.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SizeChoice {
    /// The usual input first.
    pub(crate) candidates: Vec<SizeCandidate>,
    /// Index of the candidate that was taken.
    pub(crate) taken: usize,
    /// Damaged copies that all candidates see.
    pub(crate) copies: usize,
    /// Those of them with fine damage.
    pub(crate) fine: usize,
    /// Larger inputs that were not tried, and why.
    pub(crate) skipped: Vec<String>,
}

impl SizeChoice {
    /// The input to inspect with.
    pub(crate) fn input(&self) -> &InputGeometry {
        &self.candidates[self.taken].input
    }

    /// One line per candidate, the one that was taken marked.
    pub(crate) fn lines(&self) -> Vec<String> {
        let line = |(index, candidate): (usize, &SizeCandidate)| {
            let mark = if index == self.taken { '>' } else { ' ' };
            let region = match candidate.input.roi {
                Some(_) => "region",
                None => "whole picture",
            };
            let budget = if candidate.within_budget {
                ""
            } else {
                "  (over --budget-ms)"
            };
            format!(
                "{mark} {:<14} {:>11} px {:>8.1} ms   caught {:>5.1} %   shortfall {:.3}{budget}",
                region,
                candidate.input.size().to_string(),
                candidate.ms,
                100.0 * candidate.caught,
                candidate.shortfall
            )
        };
        let skipped = self.skipped.iter().map(|line| format!("  {line}"));
        let tried = self.candidates.iter().enumerate().map(line);
        tried.chain(skipped).collect()
    }
}

/// A candidate that was tried.
struct Tried {
    input: InputGeometry,
    ms: f64,
    /// Shortfall of each copy; 0 for one above the threshold.
    shortfalls: HashMap<CopyId, f64>,
}

/// Compares `inputs`, the usual one first, then ascending by cost. None that takes more than
/// `budget_ms` is taken, except the first.
pub(crate) fn choose_size(
    images: &GoodImages,
    settings: &Settings,
    inputs: Vec<InputGeometry>,
    budget_ms: Option<f64>,
) -> Result<SizeChoice, TrainError> {
    let mut tried: Vec<Tried> = Vec::new();
    let mut skipped: Vec<String> = Vec::new();
    for input in inputs {
        let settings = of_input(settings, &input);
        if input.size().area() > MOST_USUAL
            && let Some(reason) = reason_to_skip(&tried, &settings, images, budget_ms)?
        {
            skipped.push(format!("{} px not tried: {reason}", input.size()));
            continue;
        }
        log::info!("--size auto: trying {}", input.size());
        tried.push(try_input(images, &settings)?);
    }
    let common = common_copies(&tried);
    let usual = |id: &CopyId| id.harm != Harm::Fine;
    let of_usual: Vec<CopyId> = common.iter().copied().filter(usual).collect();
    let within = |ms: f64| budget_ms.is_none_or(|most| ms <= most);
    let mut taken = 0;
    for index in 1..tried.len() {
        let savings = savings(&common, &tried[taken], &tried[index]);
        let before = mean(&common, &tried[taken]);
        let gain = before - mean(&common, &tried[index]);
        let [usual_before, usual] = [taken, index].map(|at| mean(&of_usual, &tried[at]));
        if within(tried[index].ms)
            && gain >= LEAST_GAIN * before
            && gain > 0.0
            && usual <= (1.0 + LOSS_OF_USUAL) * usual_before
            && least_of_resamples(&savings, settings.seed) > 0.0
        {
            taken = index;
        }
    }
    let figures = |tried: &Tried| {
        let caught = common.iter().filter(|id| tried.shortfalls[id] == 0.0);
        SizeCandidate {
            input: tried.input.clone(),
            ms: tried.ms,
            shortfall: mean(&common, tried),
            caught: caught.count() as f64 / common.len().max(1) as f64,
            within_budget: within(tried.ms),
        }
    };
    Ok(SizeChoice {
        candidates: tried.iter().map(figures).collect(),
        taken,
        copies: common.len(),
        fine: common.len() - of_usual.len(),
        skipped,
    })
}

/// Why the input of `settings`, above the usual sizes, is not worth trying; `None` where it is. It
/// depends on what was tried of the same region.
fn reason_to_skip(
    tried: &[Tried],
    settings: &Settings,
    images: &GoodImages,
    budget_ms: Option<f64>,
) -> Result<Option<String>, TrainError> {
    let input = &settings.features.input;
    let mut of_region = tried.iter().filter(|t| t.input.roi == input.roi).rev();
    let (last, before) = (of_region.next(), of_region.next());
    if let (Some(last), Some(before)) = (last, before) {
        let common = common_copies(&[last, before]);
        let [now, then] = [last, before].map(|tried| mean(&common, tried));
        if now > (1.0 - WORTH_GOING_ON) * then {
            return Ok(Some(format!(
                "the step to {} px saved less than {:.0} % of the shortfall",
                last.input.size(),
                100.0 * WORTH_GOING_ON
            )));
        }
    }
    if let (Some(last), Some(most)) = (last, budget_ms) {
        // Backbone and search take time by the pixel.
        let ms = last.ms * input.size().area() as f64 / last.input.size().area() as f64;
        if ms > most {
            return Ok(Some(format!("it would take about {ms:.0} ms")));
        }
    }
    match check_memory(&settings.members()?, images.paths.len()) {
        Err(error @ TrainError::Memory { .. }) => Ok(Some(error.to_string())),
        other => other.map(|()| None),
    }
}

/// `settings` of a plain bank at `input`.
fn of_input(settings: &Settings, input: &InputGeometry) -> Settings {
    let mut settings = settings.clone();
    settings.features.input = input.clone();
    settings.rule = Some(RuleSpec::BASELINE);
    settings.partitions = Some(PARTITIONS);
    settings.ignore = None;
    settings.others.clear();
    settings
}

fn try_input(images: &GoodImages, settings: &Settings) -> Result<Tried, TrainError> {
    let plan: MemberPlan = settings.members()?.remove(0);
    let specs = [RuleSpec::BASELINE];
    let mut seconds = FitSeconds::default();
    let study = Study::new(images, &plan.settings, &plan.file, &specs, &mut seconds)?;
    let partitions = study.partitions(RuleSpec::BASELINE);
    let goods = held_out_scores(&study, partitions, RuleSpec::BASELINE, &|_| ())?.means();
    let threshold = thresholds_from(&goods, settings.risk)?.unknown.threshold;
    let unit = shortfall(median(&goods), threshold).max(1e-3);
    let mut shortfalls = HashMap::new();
    DamagedCopies::with_fine(&study.fitter, &study.extractor, images).each(|copies| {
        let painted: Vec<&DamagedCopy> = copies.iter().filter(|c| c.id.harm.painted()).collect();
        let scores = damaged_scores(&study, partitions, &painted, RuleSpec::BASELINE)?.means();
        let scored = painted.iter().zip(scores);
        shortfalls.extend(scored.map(|(copy, s)| (copy.id, shortfall(s, threshold) / unit)));
        Ok(())
    })?;
    Ok(Tried {
        input: settings.features.input.clone(),
        ms: milliseconds(&study, images)?,
        shortfalls,
    })
}

/// Median time from the frame to the score, on one thread.
fn milliseconds(study: &Study<'_>, images: &GoodImages) -> Result<f64, TrainError> {
    let fitter = &study.fitter;
    let mut extractor = study.extractor.another(&fitter.settings.features)?;
    let fitted = &study.first_folds()[0].fitted;
    let mut scorer = fitter.scorer(fitted, RuleSpec::BASELINE, &study.calibration)?;
    let mut features = vec![0.0; fitter.features.cells() * fitter.features.dimensions];
    let mut times = Vec::new();
    for path in images.paths.iter().take(TIMED) {
        let frame = images.read(path)?;
        let started = Instant::now();
        extractor
            .run(&frame, &mut features)
            .map_err(|source| TrainError::Image {
                path: path.clone(),
                source,
            })?;
        scorer.score(&features, &Threads::default())?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

/// Copies that every candidate sees: damage outside a region is none.
fn common_copies<T: Borrow<Tried>>(tried: &[T]) -> Vec<CopyId> {
    let Some(first) = tried.first() else {
        return Vec::new();
    };
    let mut common: Vec<CopyId> = first
        .borrow()
        .shortfalls
        .keys()
        .filter(|id| tried.iter().all(|t| t.borrow().shortfalls.contains_key(id)))
        .copied()
        .collect();
    common.sort_by_key(|id| (id.image, id.harm as u8, id.number));
    common
}

fn mean(common: &[CopyId], tried: &Tried) -> f64 {
    let sum: f64 = common.iter().map(|id| tried.shortfalls[id]).sum();
    sum / common.len().max(1) as f64
}

/// What `candidate` saves on each image's copies, in sum, and their number.
fn savings(common: &[CopyId], before: &Tried, candidate: &Tried) -> Vec<(f64, f64)> {
    let mut by_image: Vec<(usize, (f64, f64))> = Vec::new();
    for id in common {
        let saved = before.shortfalls[id] - candidate.shortfalls[id];
        match by_image.last_mut() {
            Some((image, sum)) if *image == id.image => *sum = (sum.0 + saved, sum.1 + 1.0),
            _ => by_image.push((id.image, (saved, 1.0))),
        }
    }
    by_image.into_iter().map(|(_, sum)| sum).collect()
}

/// The mean that [`CONFIDENCE`] of the samples exceed, which are drawn from the images with
/// replacement.
fn least_of_resamples(images: &[(f64, f64)], seed: u64) -> f64 {
    if images.is_empty() {
        return 0.0;
    }
    let mut rng = Rng::stream(seed, RESAMPLE_STREAM);
    let mut means: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let (mut sum, mut count) = (0.0, 0.0);
            for _ in 0..images.len() {
                let (saved, copies) = images[rng.below(images.len())];
                sum += saved;
                count += copies;
            }
            sum / count
        })
        .collect();
    means.sort_by(f64::total_cmp);
    means[((1.0 - CONFIDENCE) * RESAMPLES as f64) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fit::copies::Harm;

    fn tried(shortfalls: &[f64]) -> Tried {
        let id = |at: usize| CopyId {
            image: at / 2,
            harm: Harm::Surface,
            number: at % 2,
        };
        let pairs = shortfalls.iter().enumerate();
        Tried {
            input: InputGeometry::whole(None, partgate::size::Size::square(256)),
            ms: 1.0,
            shortfalls: pairs.map(|(at, &value)| (id(at), value)).collect(),
        }
    }

    #[test]
    fn a_gain_must_hold_for_other_images_too() {
        let before = tried(&[1.0; 20]);
        let (steady, lucky) = (tried(&[0.8; 20]), {
            // One image of ten gains a lot, the others lose a little.
            let mut values = [1.05; 20];
            values[..2].fill(-2.0);
            tried(&values)
        });
        let common = common_copies(&[before, tried(&[0.0; 20])]);
        let before = tried(&[1.0; 20]);
        for (candidate, sound) in [(steady, true), (lucky, false)] {
            assert!(mean(&common, &candidate) < 0.9 * mean(&common, &before));
            let savings = savings(&common, &before, &candidate);
            assert_eq!(savings.len(), 10);
            assert_eq!(least_of_resamples(&savings, 1) > 0.0, sound);
        }
    }

    #[test]
    fn only_copies_that_all_candidates_see_count() {
        let (all, few) = (tried(&[1.0; 6]), tried(&[1.0; 4]));
        assert_eq!(common_copies(&[all, few]).len(), 4);
        assert_eq!(least_of_resamples(&[], 0), 0.0);
    }
}
