//! Outcome of a fit.

use super::bundle::Bundle;
use super::ensemble::{Ensemble, Separation, Separations};
use super::member::FittedMember;
use super::outliers::{Outlier, OutlierCost, closest, cost, outliers};
use super::region::PartBox;
use super::rules::RuleSpec;
use super::seconds::FitSeconds;
use super::settings::Settings;
use super::shift::ShiftSensitivity;
use super::size_choice::SizeChoice;
use crate::dataset::GoodImages;
use crate::error::TrainError;
use partgate::backbone::Rect;
use partgate::product::{
    Choice, DensityEvidence, Light, Method, NeighbourhoodEvidence, Operating, PositionEvidence,
    RefinementEvidence,
};
use partgate::score::Rule;
use partgate::size::Size;
use partgate::verdict::Thresholds;
use serde::Serialize;

/// Outcome of a fit, for people and programs.
#[derive(Debug, Serialize)]
pub(crate) struct FitReport {
    pub(crate) name: String,
    pub(crate) images: usize,
    pub(crate) image_sizes: usize,
    /// How the images lie, in a line.
    pub(crate) layout: String,
    /// What is odd about the images, a sentence each.
    pub(crate) notes: Vec<String>,
    /// What `--force` overruled, a sentence each.
    pub(crate) forced: Vec<String>,
    /// Images whose features came from the cache.
    pub(crate) cached_images: usize,
    pub(crate) cells: u64,
    pub(crate) bank_rows: usize,
    pub(crate) dimensions: usize,
    pub(crate) backbone: String,
    /// The box around the part in the pictures, where one was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) part: Option<PartBox>,
    pub(crate) region: Option<Rect>,
    /// The comparison behind `--size auto`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) size: Option<SizeChoice>,
    /// Share of the features' variance that the map of `dimensions` directions keeps; `None` without
    /// a map.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) variance_kept: Option<f64>,
    pub(crate) rule: Rule,
    pub(crate) position: Option<PositionEvidence>,
    pub(crate) neighbourhood: Option<NeighbourhoodEvidence>,
    pub(crate) density: Option<DensityEvidence>,
    pub(crate) refinement: Option<RefinementEvidence>,
    /// The method in words.
    pub(crate) method: Vec<(&'static str, String)>,
    /// The comparison behind `--method auto`.
    pub(crate) choice: Option<Choice>,
    /// The same in three lines; empty without a comparison.
    #[serde(skip)]
    pub(crate) choice_summary: Vec<String>,
    /// Of the first member, under `--method auto`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) shift: Option<ShiftSensitivity>,
    /// `None` for a product of one member; the fields above are those of the first member.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ensemble: Option<EnsembleReport>,
    pub(crate) thresholds: Thresholds,
    pub(crate) baseline_thresholds: Option<Thresholds>,
    /// What budgets of false rejects cost and bring.
    pub(crate) operating: Operating,
    /// The light in which the product inspects, and what was tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) light: Option<Light>,
    /// Held-out score of each image, in the order of their paths.
    pub(crate) held_out_scores: Vec<f32>,
    /// Good images that score far above the others and may be defective.
    pub(crate) outliers: Vec<Outlier>,
    /// The highest held-out scores of the others.
    #[serde(skip)]
    pub(crate) closest: Vec<Outlier>,
    /// What these images cost, as far as this fit can tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) outlier_cost: Option<OutlierCost>,
    /// The images that were left out because they stood out in a fit with them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dropped: Option<Dropped>,
    pub(crate) bytes: usize,
    pub(crate) blake3: String,
    pub(crate) seconds: FitSeconds,
}

/// Outliers that a fit was made without.
#[derive(Debug, Serialize)]
pub(crate) struct Dropped {
    pub(crate) outliers: Vec<Outlier>,
    /// UNKNOWN threshold of the fit with them.
    pub(crate) threshold_with: f32,
    /// Damaged copies that the fit with them rejected, and how many there were.
    pub(crate) caught_with: [usize; 2],
}

impl FitReport {
    /// Damaged copies above the UNKNOWN threshold, and how many there are.
    pub(crate) fn caught(&self) -> [usize; 2] {
        let copies = &self.operating.damaged;
        let threshold = self.thresholds.unknown.threshold;
        let above = copies.iter().filter(|c| c.score > threshold);
        [above.count(), copies.len()]
    }
}

/// A fitted product: the bytes of its bundle, and the report.
pub(crate) struct FittedProduct {
    pub(crate) bytes: Vec<u8>,
    pub(crate) report: FitReport,
}

impl FittedProduct {
    pub(super) fn new(
        images: &GoodImages,
        settings: &Settings,
        members: &[FittedMember],
        bundle: Bundle,
        seconds: FitSeconds,
    ) -> Result<Self, TrainError> {
        let Bundle {
            bytes,
            manifest,
            scores,
            ensemble,
            forced,
            operating,
            light,
        } = bundle;
        let first = &members[0];
        let outliers = outliers(&scores, first, images);
        let outlier_cost = cost(&scores, &outliers, &operating, settings.risk)?;
        let report = FitReport {
            name: manifest.name.clone(),
            images: images.paths.len(),
            image_sizes: first.image_sizes,
            layout: String::new(),
            notes: images
                .survey
                .as_ref()
                .map_or_else(Vec::new, |s| s.notes.clone()),
            forced,
            cached_images: first.cached_images,
            cells: manifest.training.cells,
            bank_rows: first.bank_rows,
            dimensions: first.dimensions,
            backbone: first.backbone.name.clone(),
            part: None,
            size: None,
            region: manifest.input.roi,
            variance_kept: first.variance_kept,
            rule: first.spec.rule,
            method: in_words(&manifest.method, first.spec),
            choice_summary: summary(&manifest.method),
            position: manifest.method.position,
            neighbourhood: manifest.method.neighbourhood,
            density: manifest.method.density,
            refinement: manifest.method.refinement,
            choice: manifest.method.choice,
            shift: first.shift.clone(),
            ensemble: ensemble.map(|ensemble| EnsembleReport::new(members, ensemble)),
            thresholds: manifest.thresholds,
            baseline_thresholds: manifest.baseline_thresholds,
            operating,
            light,
            closest: closest(&scores, &outliers, first, images),
            outliers,
            outlier_cost,
            dropped: None,
            held_out_scores: scores,
            bytes: bytes.len(),
            blake3: blake3::hash(&bytes).to_hex().to_string(),
            seconds,
        };
        Ok(Self { bytes, report })
    }
}

fn summary(method: &Method) -> Vec<String> {
    let Some(choice) = &method.choice else {
        return Vec::new();
    };
    let [compared, taken, why] = choice.summary(method);
    // The figures behind the first sentence are for those who ask for all.
    let why = why.split("; ").next().unwrap_or_default().to_owned();
    vec![compared, taken, why]
}

/// The members of an ensemble and their gain.
#[derive(Debug, Serialize)]
pub(crate) struct EnsembleReport {
    /// The first member first.
    pub(crate) members: Vec<MemberReport>,
    /// Painted damage against held-out goods under the ensemble's own threshold; `None` where no
    /// image could be damaged.
    pub(crate) separation: Option<Separation>,
    /// Whether damaged copies come nearer to the threshold than with the best member alone.
    pub(crate) better: Option<bool>,
}

/// One member of an ensemble.
#[derive(Debug, Serialize)]
pub(crate) struct MemberReport {
    pub(crate) backbone: String,
    /// The network's input, pixels; a square is told by its side.
    #[serde(rename = "side")]
    pub(crate) size: Size,
    pub(crate) rule: String,
    pub(crate) bank_rows: usize,
    pub(crate) dimensions: usize,
    pub(crate) cached_images: usize,
    /// The method in words.
    pub(crate) method: Vec<(&'static str, String)>,
    /// Divisor of its map.
    pub(crate) scale: f32,
    /// Thresholds of this member alone, on its own scores.
    pub(crate) thresholds: Thresholds,
    /// Painted damage under this member alone.
    pub(crate) separation: Option<Separation>,
}

/// A member's method with what follows the search.
fn in_words(method: &Method, spec: RuleSpec) -> Vec<(&'static str, String)> {
    let words = method.in_words().into_iter();
    words.chain(spec.scoring().in_words()).collect()
}

impl EnsembleReport {
    fn new(members: &[FittedMember], ensemble: Ensemble) -> Self {
        let separations = ensemble.separations;
        let members = members.iter().enumerate().zip(&ensemble.scales);
        Self {
            members: members
                .map(|((index, member), &scale)| MemberReport {
                    backbone: member.backbone.name.clone(),
                    size: member.input.size(),
                    rule: member.spec.to_string(),
                    bank_rows: member.bank_rows,
                    dimensions: member.dimensions,
                    cached_images: member.cached_images,
                    method: in_words(&member.method, member.spec),
                    scale,
                    thresholds: member.held_out.thresholds.clone(),
                    separation: separations.as_ref().map(|s| s.members[index].clone()),
                })
                .collect(),
            better: separations.as_ref().map(Separations::better),
            separation: separations.map(|s| s.ensemble),
        }
    }
}
