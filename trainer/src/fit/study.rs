//! Everything that is fitted once and asked many times: features, a bank without each fold,
//! the models around them. `fit` asks for one rule, `ablate` for all of them.

use super::bundle::{self, Ingredients};
use super::catalogue::BackboneFile;
use super::choice::{DamagedCopy, damaged_scores, held_out_scores};
use super::coreset::{Vectors, project};
use super::features::{Extractor, extract};
use super::fitter::{FittedBank, Fitter, Wanted};
use super::member::{FittedMember, JudgedCopy};
use super::refined::{Refined, refine};
use super::rules::{Calibration, RuleSpec};
use super::{FitSeconds, Settings, thresholds_from};
use crate::dataset::GoodImages;
use crate::error::TrainError;
use crate::progress::Progress;
use partgate::product::{Choice, Training};
use partgate::score::IgnoreMask;
use partgate::seed::Rng;
use partgate::verdict::Thresholds;
use rayon::prelude::*;
use std::time::Instant;

const FOLD_STREAM: u64 = 3;

/// A fold: its bank, and the images it was fitted without.
pub(crate) struct Fold {
    pub(crate) fitted: FittedBank,
    pub(crate) held: Vec<usize>,
}

/// Features, folds and what the folds' models say of images that they have not seen.
pub(crate) struct Study<'a> {
    pub(crate) file: &'a BackboneFile,
    pub(crate) fitter: Fitter<'a>,
    pub(crate) extractor: Extractor,
    pub(crate) folds: Vec<Fold>,
    pub(crate) calibration: Calibration,
}

/// Held-out scores of the good images under a rule, and the thresholds that follow.
pub(crate) struct HeldOut {
    pub(crate) scores: Vec<f32>,
    /// The cells' scores behind them, `[images][cells]`.
    pub(crate) cells: Vec<Vec<f32>>,
    pub(crate) thresholds: Thresholds,
    /// What the plain bank would have, where the rule is another.
    pub(crate) baseline_thresholds: Option<Thresholds>,
}

impl<'a> Study<'a> {
    /// Extracts features and fits every fold with what `specs` need.
    pub(crate) fn new(
        images: &GoodImages,
        settings: &'a Settings,
        file: &'a BackboneFile,
        specs: &[RuleSpec],
        seconds: &mut FitSeconds,
    ) -> Result<Self, TrainError> {
        let since = Instant::now();
        let (fitter, extractor) = prepare(images, settings, file)?;
        seconds.features += since.elapsed().as_secs_f64();
        let since = Instant::now();
        let (folds, calibration) = fit_folds(&fitter, specs)?;
        seconds.folds += since.elapsed().as_secs_f64();
        Ok(Self {
            file,
            fitter,
            extractor,
            folds,
            calibration,
        })
    }

    /// Scores of every good image under `spec`, each by the fold that was fitted without it.
    pub(crate) fn held_out(&self, spec: RuleSpec) -> Result<HeldOut, TrainError> {
        let risk = self.fitter.settings.risk;
        let rules = 1 + u64::from(spec != RuleSpec::BASELINE);
        let progress = Progress::new("held out", rules * self.fitter.features.images as u64);
        let done = |images| progress.advance(images);
        let found = held_out_scores(self, spec, &done)?;
        let (scores, cells): (Vec<f32>, _) = found.into_iter().unzip();
        let baseline_thresholds = (spec != RuleSpec::BASELINE)
            .then(|| {
                let found = held_out_scores(self, RuleSpec::BASELINE, &done)?;
                let scores: Vec<f32> = found.into_iter().map(|s| s.0).collect();
                thresholds_from(&scores, risk)
            })
            .transpose()?;
        progress.finish();
        Ok(HeldOut {
            thresholds: thresholds_from(&scores, risk)?,
            scores,
            cells,
            baseline_thresholds,
        })
    }

    /// The same with refinement, where damaged copies ask for it.
    pub(crate) fn refined(
        &self,
        spec: RuleSpec,
        copies: &[DamagedCopy],
    ) -> Result<(HeldOut, Option<Refined>), TrainError> {
        let mut held_out = self.held_out(spec)?;
        let refined = refine(self, spec, copies)?;
        if let Some(refined) = &refined {
            let risk = self.fitter.settings.risk;
            if held_out.baseline_thresholds.is_none() {
                held_out.baseline_thresholds = Some(held_out.thresholds.clone());
            }
            held_out.scores.clone_from(&refined.scores);
            held_out.cells.clone_from(&refined.cells);
            held_out.thresholds = thresholds_from(&held_out.scores, risk)?;
        }
        Ok((held_out, refined))
    }

    /// The bank of all images, with what `specs` need.
    pub(crate) fn whole(&self, specs: &[RuleSpec]) -> Result<FittedBank, TrainError> {
        let fitter = &self.fitter;
        let all: Vec<usize> = (0..fitter.features.images).collect();
        let rows = fitter.bank_rows(fitter.members(&all).len());
        let progress = Progress::new("bank", rows as u64);
        let mut fitted = fitter.fit_bank(&all, &|done| progress.set(done as u64));
        progress.finish();
        let wanted = Wanted::by(specs);
        let steps = if wanted.network {
            fitter.settings.network_steps
        } else {
            0
        };
        let progress = Progress::new("network", steps as u64);
        fitter.condition(&mut fitted, wanted, 0, &|| progress.advance(1))?;
        progress.finish();
        Ok(fitted)
    }

    /// The painted ones among `copies` under `spec`, each by the fold without its original.
    pub(crate) fn judged_copies(
        &self,
        spec: RuleSpec,
        copies: &[DamagedCopy],
        refined: Option<&Refined>,
    ) -> Result<Vec<JudgedCopy>, TrainError> {
        let painted: Vec<&DamagedCopy> = copies.iter().filter(|c| c.id.harm.painted()).collect();
        let cells = match refined {
            Some(refined) => refined.copies.clone(),
            None => damaged_scores(self, &painted, spec)?
                .into_iter()
                .map(|s| s.1)
                .collect(),
        };
        let pairs = painted.iter().zip(cells);
        Ok(pairs
            .map(|(copy, cells)| JudgedCopy { id: copy.id, cells })
            .collect())
    }

    /// The member under `spec`.
    pub(crate) fn member(
        &self,
        fitted: &FittedBank,
        spec: RuleSpec,
        choice: Option<Choice>,
        held_out: HeldOut,
        refined: Option<&Refined>,
        copies: Vec<JudgedCopy>,
    ) -> Result<FittedMember, TrainError> {
        let (fitter, features) = (&self.fitter, &self.fitter.features);
        let (sections, method) = bundle::member_sections(
            fitter,
            fitted,
            Ingredients {
                file: self.file,
                spec,
                calibration: &self.calibration,
                choice,
                refined,
            },
        )?;
        let all: Vec<usize> = (0..features.images).collect();
        Ok(FittedMember {
            backbone: self.file.spec.clone(),
            input: fitter.settings.features.input.clone(),
            spec,
            method,
            bank_rows: fitted.bank.rows(),
            dimensions: features.dimensions,
            image_sizes: features.sizes,
            cached_images: features.cached,
            shift: None,
            training: Training {
                images: features.images as u32,
                cells: fitter.members(&all).len() as u64,
                digest: features.digest,
                seed: fitter.settings.seed,
                folds: self.folds.len() as u32,
                smallest: features.smallest,
                largest: features.largest,
                held_out: [0.0; 3],
            },
            sections,
            held_out,
            copies,
        })
    }
}

/// Features of all images and what fitting on them needs.
fn prepare<'a>(
    images: &GoodImages,
    settings: &'a Settings,
    file: &BackboneFile,
) -> Result<(Fitter<'a>, Extractor), TrainError> {
    let input = &settings.features.input;
    input.check(file.spec.input.multiple_of)?;
    let side = input.side();
    let map_side = settings.map_side.unwrap_or(side);
    let features = extract(file, &settings.features, images)?;
    let extractor = Extractor::new(file, &settings.features)?;
    let grid = features.grid;
    let ignored_cells = match &settings.ignore {
        Some(pixels) => IgnoreMask::new(pixels.clone(), map_side, grid)
            .cells()
            .to_vec(),
        None => vec![false; grid * grid],
    };
    if ignored_cells.iter().all(|&ignored| ignored) {
        return Err(TrainError::Setting(
            "the ignore mask covers the whole picture; nothing would be inspected".into(),
        ));
    }
    let projection = settings.projection_for(features.dimensions);
    let fitter = Fitter {
        settings,
        projected: (projection > 0).then(|| {
            let full = Vectors {
                values: &features.values,
                dimensions: features.dimensions,
            };
            (project(full, projection, settings.seed), projection)
        }),
        features,
        ignored_cells,
        side,
        map_side,
        // The published blur, in proportion to the input.
        sigma: settings.sigma.unwrap_or(side as f32 / 60.0),
        precision: file.spec.precision,
    };
    Ok((fitter, extractor))
}

/// The images of one fold and the rest, each sorted.
fn split_fold(order: &[usize], fold: usize, folds: usize) -> (Vec<usize>, Vec<usize>) {
    let (mut held, mut rest) = (Vec::new(), Vec::new());
    for (rank, &image) in order.iter().enumerate() {
        if rank % folds == fold {
            held.push(image);
        } else {
            rest.push(image);
        }
    }
    held.sort_unstable();
    rest.sort_unstable();
    (held, rest)
}

/// A bank without each fold, with what `specs` need around it, and what the models gave to the
/// rows that held-out cells really are.
fn fit_folds(
    fitter: &Fitter<'_>,
    specs: &[RuleSpec],
) -> Result<(Vec<Fold>, Calibration), TrainError> {
    let settings = fitter.settings;
    let n = fitter.features.images;
    let count = settings.folds.clamp(2, n);
    let order = Rng::stream(settings.seed, FOLD_STREAM).permutation(n);
    let rows = fitter.bank_rows(n * fitter.features.cells());
    let progress = Progress::new("folds", (count * rows) as u64);
    let mut folds = Vec::new();
    for fold in 0..count {
        let (held, rest) = split_fold(&order, fold, count);
        let fitted = fitter.fit_bank(&rest, &|done| progress.set((fold * rows + done) as u64));
        folds.push(Fold { fitted, held });
    }
    progress.finish();
    let wanted = Wanted::by(specs);
    let steps = if wanted.network {
        settings.network_steps
    } else {
        0
    };
    let progress = Progress::new("networks", (count * steps) as u64);
    // The networks are small: one thread each, the folds side by side.
    let calibrations: Vec<Calibration> = folds
        .par_iter_mut()
        .enumerate()
        .map(|(index, fold)| {
            let tick = || progress.advance(1);
            // Stream 0 is the product's own network.
            fitter.condition(&mut fold.fitted, wanted, index as u64 + 1, &tick)?;
            fitter.truths(&fold.fitted, &fold.held)
        })
        .collect::<Result<_, TrainError>>()?;
    progress.finish();
    let mut calibration = Calibration::default();
    for other in calibrations {
        calibration.extend(other);
    }
    Ok((folds, calibration))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_share_no_image_and_leave_none_out() {
        let order = Rng::new(3).permutation(23);
        let mut seen = Vec::new();
        for fold in 0..5 {
            let (held, rest) = split_fold(&order, fold, 5);
            assert_eq!(held.len() + rest.len(), 23);
            assert!(held.iter().all(|i| !rest.contains(i)));
            seen.extend(held);
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..23).collect::<Vec<_>>());
    }
}
