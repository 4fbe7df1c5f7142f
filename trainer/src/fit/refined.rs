//! Refinement of a fitted rule: networks that have not seen the image, a weight that damaged
//! copies ask for, and the held-out scores that thresholds then come from.

use super::choice::{DamagedCopy, damaged_scores, held_out_scores};
use super::refinement::{
    self, HeldOut, RATE, RefinementModel, STEPS, Sample, choose_weight, default_shape, scale_of,
};
use super::rules::RuleSpec;
use super::study::Study;
use super::training::Learning;
use crate::error::TrainError;
use crate::progress::Progress;
use partgate::network::Precision;
use partgate::product::RefinementEvidence;

/// Streams of the folds' networks and the product's.
const STREAM: u64 = 256;

/// What refinement adds to a product.
pub(crate) struct Refined {
    pub(crate) onnx: Vec<u8>,
    pub(crate) evidence: RefinementEvidence,
    /// Held-out image scores of the good images, refined.
    pub(crate) scores: Vec<f32>,
    /// The cells' scores behind them, `[images][cells]`.
    pub(crate) cells: Vec<Vec<f32>>,
    /// The same of the painted copies, in their order.
    pub(crate) copies: Vec<Vec<f32>>,
}

/// Trains refinement for `spec`; `None` where damaged copies do not ask for it.
pub(crate) fn refine(
    study: &Study<'_>,
    spec: RuleSpec,
    copies: &[DamagedCopy],
) -> Result<Option<Refined>, TrainError> {
    let fitter = &study.fitter;
    let (features, settings) = (&fitter.features, fitter.settings);
    let goods = held_out_scores(study, spec, &|_| ())?;
    // Exchanged features have no look of their own that a network could learn.
    let copies: Vec<&DamagedCopy> = copies.iter().filter(|c| c.id.harm.painted()).collect();
    if copies.is_empty() {
        log::warn!("no image could be damaged, so there is nothing to learn refinement from");
        return Ok(None);
    }
    let damaged = damaged_scores(study, &copies, spec)?;
    let image_scores: Vec<f32> = goods.iter().map(|g| g.0).collect();
    let scale = scale_of(&image_scores);
    let shape = default_shape(
        features.grid as u32,
        features.dimensions as u32,
        fitter.precision,
    );
    let mut samples: Vec<Sample<'_>> = goods
        .into_iter()
        .enumerate()
        .map(|(image, (_, scores))| Sample {
            features: features.image(image),
            scores,
            changed: vec![0.0; features.cells()],
            group: image,
        })
        .collect();
    samples.extend(
        damaged
            .into_iter()
            .zip(&copies)
            .map(|((_, scores), copy)| Sample {
                features: &copy.features,
                scores,
                changed: copy.changed.clone(),
                group: copy.id.image,
            }),
    );
    let fold_of = |image: usize| {
        let mine = |fold: &super::study::Fold| fold.held.binary_search(&image).is_ok();
        study.folds.iter().position(mine).unwrap_or(0)
    };
    let learning = Learning {
        steps: STEPS,
        rate: RATE,
        seed: settings.seed,
        stream: STREAM,
    };
    let progress = Progress::new("refinement", ((study.folds.len() + 1) * STEPS) as u64);
    let tick = || progress.advance(1);
    let refined = refinement::held_out(
        &samples,
        study.folds.len(),
        &fold_of,
        (shape, scale),
        &learning,
        &tick,
    )?;
    let held: Vec<HeldOut<'_>> = samples
        .iter()
        .zip(&refined)
        .enumerate()
        .map(|(index, (sample, refined))| HeldOut {
            damaged: index >= features.images,
            original: &sample.scores,
            refined,
        })
        .collect();
    let mut image_score = image_score(study)?;
    let chosen = choose_weight(&held, &mut image_score)?;
    if chosen.weight <= 0.0 {
        progress.finish();
        return Ok(None);
    }
    let weight = chosen.weight;
    let fused = |image: &HeldOut<'_>| -> Vec<f32> {
        let pairs = image.original.iter().zip(image.refined);
        pairs
            .map(|(&s, &r)| (1.0 - weight) * s + weight * r)
            .collect()
    };
    let (goods, damaged) = held.split_at(features.images);
    let cells: Vec<Vec<f32>> = goods.iter().map(fused).collect();
    let damaged = damaged.iter().map(fused).collect();
    let scores = cells.iter().map(|cells| image_score(cells)).collect();
    let model = RefinementModel::train(&samples, shape, scale, &learning, &tick);
    progress.finish();
    log::debug!("refinement network: loss {}", model.training_loss);
    Ok(Some(Refined {
        onnx: model.onnx(shape.precision == Precision::Int8),
        evidence: RefinementEvidence {
            shape,
            scale,
            weight,
            separation: [chosen.figures[0].separation, chosen.taken().separation],
            caught: [chosen.figures[0].caught, chosen.taken().caught],
            held_out_images: copies.len() as u32,
        },
        scores,
        cells,
        copies: damaged,
    }))
}

/// Cell scores to the image score, drawn by the scorer that boards have.
fn image_score(study: &Study<'_>) -> Result<impl FnMut(&[f32]) -> f32, TrainError> {
    // Any bank will do: only the drawing is used.
    let any = &study.folds[0].fitted;
    let mut scorer = study
        .fitter
        .scorer(any, RuleSpec::BASELINE, &study.calibration)?;
    Ok(move |cells: &[f32]| scorer.map.draw(cells))
}
