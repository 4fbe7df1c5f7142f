//! Held-out scores: every image, and every copy of it, under the folds that were fitted without the
//! image; and the thresholds that follow. An image's score is the mean over the partitions.

use super::conditions::Scored;
use super::copies::DamagedCopy;
use super::rules::RuleSpec;
use super::study::{Partition, Study};
use super::thresholds::thresholds_from;
use crate::error::TrainError;
use crate::progress::Progress;
use partgate::verdict::Thresholds;

/// Scores of the same images in each partition, `[partitions][images]`; at least one partition.
pub(crate) struct PartitionScores(Vec<Vec<Scored>>);

impl PartitionScores {
    /// Image scores, the mean over the partitions.
    pub(crate) fn means(&self) -> Vec<f32> {
        let count = self.0.len() as f64;
        (0..self.0[0].len())
            .map(|image| {
                let scores = self.0.iter().map(|scored| f64::from(scored[image].score));
                (scores.sum::<f64>() / count) as f32
            })
            .collect()
    }

    /// Scores of the cells, `[partitions][images][cells]`.
    pub(crate) fn into_cells(self) -> Vec<Vec<Vec<f32>>> {
        let cells = |scored: Vec<Scored>| scored.into_iter().map(|s| s.cells).collect();
        self.0.into_iter().map(cells).collect()
    }
}

/// Held-out scores of the good images under a rule, and the thresholds that follow.
pub(crate) struct HeldOut {
    /// Image scores, `[images]`.
    pub(crate) scores: Vec<f32>,
    /// Scores of the cells, `[partitions][images][cells]`.
    pub(crate) cells: Vec<Vec<Vec<f32>>>,
    pub(crate) thresholds: Thresholds,
    /// Thresholds of the plain bank, where the rule is another.
    pub(crate) baseline_thresholds: Option<Thresholds>,
}

impl HeldOut {
    /// Scores every good image under `spec`.
    pub(crate) fn new(study: &Study<'_>, spec: RuleSpec) -> Result<Self, TrainError> {
        let risk = study.fitter.settings.risk;
        let baseline = (spec != RuleSpec::BASELINE).then_some(RuleSpec::BASELINE);
        let partitions = |spec| study.partitions(spec).len();
        let rounds = partitions(spec) + baseline.map_or(0, partitions);
        let images = study.fitter.features.images;
        let progress = Progress::new("held out", (rounds * images) as u64);
        let done = |images| progress.advance(images);
        let found = held_out_scores(study, study.partitions(spec), spec, &done)?;
        let baseline_thresholds = baseline
            .map(|spec| {
                let found = held_out_scores(study, study.partitions(spec), spec, &done)?;
                Ok::<_, TrainError>(thresholds_from(&found.means(), risk)?)
            })
            .transpose()?;
        progress.finish();
        let scores = found.means();
        Ok(Self {
            thresholds: thresholds_from(&scores, risk)?,
            scores,
            cells: found.into_cells(),
            baseline_thresholds,
        })
    }
}

/// Scores every good image under `spec` in each of `partitions`. `done` gets the number of images
/// after each fold.
pub(crate) fn held_out_scores(
    study: &Study<'_>,
    partitions: &[Partition],
    spec: RuleSpec,
    done: &dyn Fn(u64),
) -> Result<PartitionScores, TrainError> {
    let features = &study.fitter.features;
    let goods: Vec<ImageCopy<'_>> = (0..features.images)
        .map(|image| ImageCopy {
            image,
            features: features.image(image),
        })
        .collect();
    scored(study, partitions, &goods, spec, done)
}

/// An image, or a copy of it, as its features.
#[derive(Clone, Copy)]
pub(crate) struct ImageCopy<'a> {
    /// Number of the good image.
    pub(crate) image: usize,
    /// `[cells, dimensions]`.
    pub(crate) features: &'a [f32],
}

/// Scores copies of good images under `spec`, in their order, in each of `partitions`.
pub(crate) fn copy_scores(
    study: &Study<'_>,
    partitions: &[Partition],
    copies: &[ImageCopy<'_>],
    spec: RuleSpec,
) -> Result<PartitionScores, TrainError> {
    scored(study, partitions, copies, spec, &|_| ())
}

fn scored(
    study: &Study<'_>,
    partitions: &[Partition],
    copies: &[ImageCopy<'_>],
    spec: RuleSpec,
    done: &dyn Fn(u64),
) -> Result<PartitionScores, TrainError> {
    let (fitter, calibration) = (&study.fitter, &study.calibration);
    let mut all = Vec::new();
    for partition in partitions {
        let mut scores = vec![Scored::default(); copies.len()];
        for fold in &partition.folds {
            let held: Vec<usize> = (0..copies.len())
                .filter(|&i| fold.holds_out(copies[i].image))
                .collect();
            let found = fitter.score(&fold.fitted, spec, calibration, held.len(), |i| {
                copies[held[i]].features
            })?;
            for (&copy, score) in held.iter().zip(found) {
                scores[copy] = score;
            }
            done(held.len() as u64);
        }
        all.push(scores);
    }
    Ok(PartitionScores(all))
}

/// Scores damaged copies under `spec`, in their order, in each of `partitions`.
pub(crate) fn damaged_scores(
    study: &Study<'_>,
    partitions: &[Partition],
    copies: &[&DamagedCopy],
    spec: RuleSpec,
) -> Result<PartitionScores, TrainError> {
    let copies: Vec<ImageCopy<'_>> = copies
        .iter()
        .map(|copy| ImageCopy {
            image: copy.id.image,
            features: &copy.features,
        })
        .collect();
    copy_scores(study, partitions, &copies, spec)
}

/// The middle one of `scores`, of which there is at least one.
pub(crate) fn median(scores: &[f32]) -> f32 {
    let mut sorted = scores.to_vec();
    sorted.sort_by(f32::total_cmp);
    sorted[sorted.len() / 2]
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
