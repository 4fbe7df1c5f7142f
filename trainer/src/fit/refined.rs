//! Refinement of a fitted rule: networks that have not seen the image, a weight that damaged copies
//! ask for, and the held-out scores that thresholds then come from.

use super::copies::DamagedCopy;
use super::features::Features;
use super::held_out::{HeldOut, damaged_scores};
use super::refinement::{
    self, HeldOutCells, HeldOutImage, RATE, RefinementModel, STEPS, Sample, WeightChoice,
    choose_weight, default_shape, scale_of,
};
use super::rules::RuleSpec;
use super::study::Study;
use super::thresholds::thresholds_from;
use super::training::Learning;
use crate::error::TrainError;
use crate::progress::Progress;
use partgate::network::Precision;
use partgate::product::RefinementEvidence;
use partgate::refine::RefinementShape;

/// Streams of the folds' networks and the product's.
const STREAM: u64 = 256;

/// What refinement adds to a product.
pub(crate) struct Refined {
    pub(crate) onnx: Vec<u8>,
    pub(crate) evidence: RefinementEvidence,
    /// Refined scores of the painted copies' cells, `[partitions][copies][cells]`.
    pub(crate) copies: Vec<Vec<Vec<f32>>>,
    /// Their image scores.
    pub(crate) copy_scores: Vec<f32>,
}

/// Held-out scores under a rule.
pub(crate) struct RefinedScores {
    pub(crate) held_out: HeldOut,
    /// `None` where damaged copies ask for no refinement; the scores are then those of the rule
    /// alone.
    pub(crate) refined: Option<Refined>,
}

/// Held-out scores under `spec`, refined where damaged copies ask for it.
pub(crate) fn refine(
    study: &Study<'_>,
    spec: RuleSpec,
    copies: &[DamagedCopy],
) -> Result<RefinedScores, TrainError> {
    let mut held_out = HeldOut::new(study, spec)?;
    // Exchanged features have no look of their own that a network could learn.
    let copies: Vec<&DamagedCopy> = copies.iter().filter(|c| c.id.harm.painted()).collect();
    if copies.is_empty() {
        log::warn!("no image could be damaged, so there is nothing to learn refinement from");
        return Ok(RefinedScores {
            held_out,
            refined: None,
        });
    }
    let goods = study.fitter.features.images;
    let samples = samples(study, &held_out, &copies, spec)?;
    let training = RefinementTraining::new(study, &held_out);
    let progress = Progress::new(
        "refinement",
        ((study.first_folds().len() + 1) * STEPS) as u64,
    );
    let tick = || progress.advance(1);
    let refined = training.held_out(study, &samples, &tick)?;
    let images = held_out_images(&samples, &refined, goods, copies.len());
    let mut image_score = image_score(study, spec)?;
    let chosen = choose_weight(&images, &mut image_score)?;
    if chosen.weight <= 0.0 {
        progress.finish();
        return Ok(RefinedScores {
            held_out,
            refined: None,
        });
    }
    let (good, damaged) = images.split_at(goods);
    if held_out.baseline_thresholds.is_none() {
        held_out.baseline_thresholds = Some(held_out.thresholds);
    }
    let mut scores = |images: &[HeldOutImage<'_>]| -> Vec<f32> {
        let images = images.iter();
        images
            .map(|i| i.score(chosen.weight, &mut image_score))
            .collect()
    };
    held_out.scores = scores(good);
    let copy_scores = scores(damaged);
    held_out.cells = fused(good, chosen.weight);
    held_out.thresholds = thresholds_from(&held_out.scores, study.fitter.settings.risk)?;
    let onnx = training.product(&samples, &tick);
    progress.finish();
    let refined = Refined {
        onnx,
        evidence: training.evidence(&chosen, copies.len()),
        copies: fused(damaged, chosen.weight),
        copy_scores,
    };
    Ok(RefinedScores {
        held_out,
        refined: Some(refined),
    })
}

/// Scores of the images' cells at `weight` of the refined ones, `[partitions][images][cells]`.
fn fused(images: &[HeldOutImage<'_>], weight: f32) -> Vec<Vec<Vec<f32>>> {
    let partitions = images.first().map_or(0, |image| image.partitions.len());
    (0..partitions)
        .map(|partition| {
            let cells = images.iter().map(|image| image.partitions[partition]);
            cells.map(|cells| cells.fused(weight)).collect()
        })
        .collect()
}

/// The good images, then `copies`, as a network learns from them; so for each partition in turn.
fn samples<'s>(
    study: &'s Study<'_>,
    held_out: &HeldOut,
    copies: &[&'s DamagedCopy],
    spec: RuleSpec,
) -> Result<Vec<Sample<'s>>, TrainError> {
    let features = &study.fitter.features;
    let seen = seen_by_refinement(study);
    let damaged = damaged_scores(study, study.partitions(spec), copies, spec)?;
    let mut samples = Vec::new();
    for (goods, damaged) in held_out.cells.iter().zip(damaged.into_cells()) {
        let goods = goods.iter().enumerate();
        samples.extend(goods.map(|(image, scores)| Sample {
            features: seen.image(image),
            scores: scores.clone(),
            changed: vec![0.0; features.cells()],
            group: image,
        }));
        let damaged = damaged.into_iter().zip(copies);
        samples.extend(damaged.map(|(scores, copy)| Sample {
            features: if study.encoder.is_some() {
                &copy.encoded
            } else {
                &copy.features
            },
            scores,
            changed: copy.changed.clone(),
            group: copy.id.image,
        }));
    }
    Ok(samples)
}

/// The good images and the `copies`, as [`samples`] has them, with their refined scores.
fn held_out_images<'s>(
    samples: &'s [Sample<'_>],
    refined: &'s [Vec<f32>],
    goods: usize,
    copies: usize,
) -> Vec<HeldOutImage<'s>> {
    let images = goods + copies;
    (0..images)
        .map(|image| HeldOutImage {
            damaged: image >= goods,
            partitions: (image..samples.len())
                .step_by(images)
                .map(|at| HeldOutCells {
                    original: &samples[at].scores,
                    refined: &refined[at],
                })
                .collect(),
        })
        .collect()
}

/// What the refinement sees of the good images: the encoder's features, or those of the backbone.
fn seen_by_refinement<'s>(study: &'s Study<'_>) -> &'s Features {
    match &study.encoder {
        Some(encoder) => &encoder.features,
        None => &study.fitter.features,
    }
}

/// Settings of the training of a product's refinement.
struct RefinementTraining {
    shape: RefinementShape,
    /// Unit of the scores that the networks see.
    scale: f32,
    learning: Learning,
}

impl RefinementTraining {
    fn new(study: &Study<'_>, held_out: &HeldOut) -> Self {
        let (fitter, features) = (&study.fitter, seen_by_refinement(study));
        Self {
            shape: default_shape(features.grid, features.dimensions as u32, fitter.precision),
            scale: scale_of(&held_out.scores),
            learning: Learning {
                steps: STEPS,
                rate: RATE,
                seed: fitter.settings.seed,
                stream: STREAM,
            },
        }
    }

    /// Refined scores of the samples' cells by networks that have not seen the sample.
    fn held_out(
        &self,
        study: &Study<'_>,
        samples: &[Sample<'_>],
        tick: &(dyn Fn() + Sync),
    ) -> Result<Vec<Vec<f32>>, TrainError> {
        let fold_of = |image: usize| {
            let holds = |fold: &super::study::Fold| fold.holds_out(image);
            study.first_folds().iter().position(holds).unwrap_or(0)
        };
        Ok(refinement::held_out(
            samples,
            study.first_folds().len(),
            &fold_of,
            self.shape,
            self.scale,
            &self.learning,
            tick,
        )?)
    }

    /// The product's network, trained on all samples, as an ONNX file.
    fn product(&self, samples: &[Sample<'_>], tick: &(dyn Fn() + Sync)) -> Vec<u8> {
        let model = RefinementModel::train(samples, self.shape, self.scale, &self.learning, tick);
        log::debug!("refinement network: loss {}", model.training_loss);
        model.onnx(self.shape.precision == Precision::Int8)
    }

    fn evidence(&self, chosen: &WeightChoice, copies: usize) -> RefinementEvidence {
        let (plain, taken) = (&chosen.figures[0], chosen.taken());
        RefinementEvidence {
            shape: self.shape,
            scale: self.scale,
            weight: chosen.weight,
            separation: [plain.separation, taken.separation],
            caught: [plain.caught, taken.caught],
            held_out_images: copies as u32,
        }
    }
}

/// Cell scores to the image score, by the scorer that boards have.
fn image_score(study: &Study<'_>, spec: RuleSpec) -> Result<impl FnMut(&[f32]) -> f32, TrainError> {
    // Any bank will do: only the map is drawn.
    let any = &study.first_folds()[0].fitted;
    let mut scorer = study
        .fitter
        .scorer(any, spec.map_alone(), &study.calibration)?;
    Ok(move |cells: &[f32]| scorer.map.score(cells))
}
