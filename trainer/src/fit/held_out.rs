//! Held-out scores: every image, and every copy of it, under the fold that was fitted without the
//! image; and the thresholds that follow.

use super::conditions::Scored;
use super::copies::DamagedCopy;
use super::rules::RuleSpec;
use super::study::Study;
use super::thresholds::thresholds_from;
use crate::error::TrainError;
use crate::progress::Progress;
use partgate::verdict::Thresholds;

/// Held-out scores of the good images under a rule, and the thresholds that follow.
pub(crate) struct HeldOut {
    /// Image scores, `[images]`.
    pub(crate) scores: Vec<f32>,
    /// Scores of the cells, `[images][cells]`.
    pub(crate) cells: Vec<Vec<f32>>,
    pub(crate) thresholds: Thresholds,
    /// Thresholds of the plain bank, where the rule is another.
    pub(crate) baseline_thresholds: Option<Thresholds>,
}

impl HeldOut {
    /// Scores every good image under `spec`.
    pub(crate) fn new(study: &Study<'_>, spec: RuleSpec) -> Result<Self, TrainError> {
        let risk = study.fitter.settings.risk;
        let rules = 1 + u64::from(spec != RuleSpec::BASELINE);
        let progress = Progress::new("held out", rules * study.fitter.features.images as u64);
        let done = |images| progress.advance(images);
        let found = held_out_scores(study, spec, &done)?;
        let baseline_thresholds = (spec != RuleSpec::BASELINE)
            .then(|| {
                let found = held_out_scores(study, RuleSpec::BASELINE, &done)?;
                Ok::<_, TrainError>(thresholds_from(&image_scores(&found), risk)?)
            })
            .transpose()?;
        progress.finish();
        let scores = image_scores(&found);
        Ok(Self {
            thresholds: thresholds_from(&scores, risk)?,
            scores,
            cells: found.into_iter().map(|scored| scored.cells).collect(),
            baseline_thresholds,
        })
    }
}

/// The image scores of `scored`.
pub(crate) fn image_scores(scored: &[Scored]) -> Vec<f32> {
    scored.iter().map(|scored| scored.score).collect()
}

/// Scores every good image under `spec`. `done` gets the number of images after each fold.
pub(crate) fn held_out_scores(
    study: &Study<'_>,
    spec: RuleSpec,
    done: &dyn Fn(u64),
) -> Result<Vec<Scored>, TrainError> {
    let (fitter, calibration) = (&study.fitter, &study.calibration);
    let mut scores = vec![Scored::default(); fitter.features.images];
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

/// A copy of a good image as its features.
#[derive(Clone, Copy)]
pub(crate) struct ImageCopy<'a> {
    /// Number of the good image.
    pub(crate) image: usize,
    /// `[cells, dimensions]`.
    pub(crate) features: &'a [f32],
}

/// Scores copies of good images under `spec`, in their order.
pub(crate) fn copy_scores(
    study: &Study<'_>,
    copies: &[ImageCopy<'_>],
    spec: RuleSpec,
) -> Result<Vec<Scored>, TrainError> {
    let (fitter, calibration) = (&study.fitter, &study.calibration);
    let mut scores = vec![Scored::default(); copies.len()];
    for fold in &study.folds {
        let held: Vec<usize> = (0..copies.len())
            .filter(|&i| fold.holds_out(copies[i].image))
            .collect();
        let found = fitter.score(&fold.fitted, spec, calibration, held.len(), |i| {
            copies[held[i]].features
        })?;
        for (&copy, score) in held.iter().zip(found) {
            scores[copy] = score;
        }
    }
    Ok(scores)
}

/// Scores damaged copies under `spec`, in their order.
pub(crate) fn damaged_scores(
    study: &Study<'_>,
    copies: &[&DamagedCopy],
    spec: RuleSpec,
) -> Result<Vec<Scored>, TrainError> {
    let copies: Vec<ImageCopy<'_>> = copies
        .iter()
        .map(|copy| ImageCopy {
            image: copy.id.image,
            features: &copy.features,
        })
        .collect();
    copy_scores(study, &copies, spec)
}

/// `-ln(score / threshold)`, how far `score` is under `threshold`; 0 where it is above.
pub(crate) fn shortfall(score: f32, threshold: f32) -> f64 {
    // Where all goods are alike the threshold may be 0, and every score above it is caught.
    -f64::from((score / threshold.max(1e-12)).clamp(1e-6, 1.0)).ln()
}

/// AUROC of good images against damaged copies.
///
/// # Errors
/// [`TrainError::Metric`] where one of the two is missing.
pub(crate) fn auroc_of_copies(goods: &[f32], damaged: &[f32]) -> Result<f64, TrainError> {
    let both: Vec<f32> = goods.iter().chain(damaged).copied().collect();
    let defective: Vec<bool> = (0..both.len()).map(|i| i >= goods.len()).collect();
    Ok(crate::metrics::image_auroc(&both, &defective)?)
}
