//! The inspector of a product: frame in; score, map and verdict out, with the time of each stage.

mod encoder;

use crate::backbone::{Backbone, BackboneError, GeometryError, Preprocessor};
use crate::frame::Frame;
use crate::frame::file::ImageFileError;
use crate::network::{KernelReport, NetworkError, Placement, StepCost, Threads, all_finite};
use crate::product::{self, GoldenOutcome, MemberData, Product};
use crate::refine::Refiner;
use crate::score::{Aggregator, Condition, LinearMap, ScoreMap, Search, mean_of_highest};
use crate::size::Size;
use crate::verdict::{Thresholds, Verdict};
use encoder::Encoder;
use serde::Serialize;
use std::time::{Duration, Instant};
use thiserror::Error;

/// Why a frame could not be inspected. The part has no verdict, and the gate rejects it.
#[derive(Debug, Error)]
pub enum InspectionError {
    /// The frame does not fit the product's geometry.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// The backbone failed.
    #[error(transparent)]
    Backbone(#[from] BackboneError),
    /// The neighbourhood or refinement network failed.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The network gave no numbers.
    #[error(
        "feature {feature} of cell {cell} is {value}, not a finite number, so this part has no verdict; is the network damaged?"
    )]
    NotFinite {
        /// Cell, row by row.
        cell: usize,
        /// Place in the cell's feature vector.
        feature: usize,
        /// The value.
        value: f32,
    },
    /// A golden image is broken.
    #[error(transparent)]
    Golden(#[from] ImageFileError),
}

impl InspectionError {
    /// Whether the accelerator is the reason, so that the product is not at fault.
    pub fn is_accelerator(&self) -> bool {
        matches!(
            self,
            InspectionError::Backbone(BackboneError::Network(NetworkError::Accelerator(_)))
        )
    }
}

/// The stages of one inspection, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Region, resize, crop, normalise.
    Preprocess,
    /// The network.
    Backbone,
    /// Taps to feature vectors, and their map.
    Aggregate,
    /// Nearest allowed bank row of each cell, with the neighbourhood network.
    Nearest,
    /// The refinement network.
    Refine,
    /// Map and its maximum.
    Map,
}

impl Stage {
    /// All stages, in order.
    pub const ALL: [Stage; 6] = [
        Stage::Preprocess,
        Stage::Backbone,
        Stage::Aggregate,
        Stage::Nearest,
        Stage::Refine,
        Stage::Map,
    ];

    /// Name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Preprocess => "preprocess",
            Stage::Backbone => "backbone",
            Stage::Aggregate => "aggregate",
            Stage::Nearest => "nearest",
            Stage::Refine => "refine",
            Stage::Map => "map",
        }
    }
}

/// The time of each stage, in order. Fixed capacity, because it is filled for every part.
pub type StageTimes = heapless::Vec<(Stage, Duration), 8>;

/// The result of one inspection.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// Image score, a distance in feature space: 0 is exactly like the bank, larger is less like it.
    pub score: f32,
    /// The verdict by the product's thresholds.
    pub verdict: Verdict,
    /// The time of each stage.
    pub stages: StageTimes,
}

impl Inspection {
    /// The time of all stages together.
    pub fn total(&self) -> Duration {
        self.stages.iter().map(|(_, t)| *t).sum()
    }
}

/// The kernels that run a product here.
#[derive(Clone, Debug, Serialize)]
pub struct Kernels {
    /// The backbone's (the first member's).
    pub backbone: KernelReport,
    /// The neighbourhood network's, if the rule has one.
    pub neighbourhood: Option<KernelReport>,
    /// The refinement network's, if there is one.
    pub refinement: Option<KernelReport>,
    /// The networks of an ensemble's further members.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<MemberKernels>,
    /// The nearest-neighbour search's.
    pub nearest: String,
}

/// The kernels that run a further member's networks here.
#[derive(Clone, Debug, Serialize)]
pub struct MemberKernels {
    /// The backbone's.
    pub backbone: KernelReport,
    /// The neighbourhood network's, if the rule has one.
    pub neighbourhood: Option<KernelReport>,
    /// The refinement network's, if there is one.
    pub refinement: Option<KernelReport>,
}

/// One member of a product, ready to run: frame to map.
struct Pipeline {
    preprocessor: Preprocessor,
    backbone: Backbone,
    aggregator: Aggregator,
    /// The backbone's features and their map, if the product has one.
    mapped: Option<(Vec<f32>, LinearMap)>,
    features: Vec<f32>,
    search: Search,
    refiner: Option<Refiner>,
    /// What the refiner sees in the place of the features.
    encoder: Option<Encoder>,
    map: ScoreMap,
}

/// The search where `placement` wants it.
fn placed(search: Search, placement: Placement) -> Result<Search, NetworkError> {
    #[cfg(feature = "cuda")]
    if placement.accelerator == crate::network::Accelerator::Cuda {
        return search.on_device();
    }
    // Without the feature the backbone was refused before.
    let Placement { accelerator: _, .. } = placement;
    Ok(search)
}

impl Pipeline {
    fn new(
        product: &Product,
        member: &MemberData,
        threads: &Threads,
        placement: Placement,
    ) -> Result<Self, InspectionError> {
        let (spec, input, method) = (member.backbone(), member.input(), member.method());
        let size = input.size();
        let grid = spec.grid(size);
        let channels = [0, 1].map(|i| spec.taps[i].channels as usize);
        Ok(Self {
            preprocessor: Preprocessor::new(input.clone(), spec.input.mean, spec.input.std)
                .with_background(product.background()),
            backbone: Backbone::load_placed(
                product.onnx_of(member),
                spec,
                size,
                threads,
                placement,
            )?,
            aggregator: Aggregator::new(grid, channels, method.patch as usize, method.border),
            mapped: member.feature_map().map(|map| {
                let features = vec![0.0; grid.area() * spec.dimensions()];
                (features, map.clone())
            }),
            features: vec![0.0; grid.area() * member.bank().dimensions()],
            search: placed(product.search(member, threads)?, placement)?,
            refiner: product.refiner(member, threads)?,
            encoder: Encoder::of(product, member, threads)?,
            map: product.score_map(member),
        })
    }

    fn run(
        &mut self,
        frame: &Frame,
        threads: &Threads,
        done: &mut impl FnMut(Stage),
    ) -> Result<f32, InspectionError> {
        self.backbone
            .take::<InspectionError>(&mut self.preprocessor, frame)?;
        done(Stage::Preprocess);
        self.backbone.infer()?;
        done(Stage::Backbone);
        let (fine, coarse) = (self.backbone.tap(0)?, self.backbone.tap(1)?);
        match &mut self.mapped {
            None => self.aggregator.run(fine, coarse, &mut self.features),
            Some((features, map)) => {
                self.aggregator.run(fine, coarse, features);
                map.run(features, &mut self.features);
            }
        }
        check_finite(
            &self.features,
            self.features.len() / self.aggregator.cells(),
        )?;
        done(Stage::Aggregate);
        self.search.run(&self.features, threads)?;
        done(Stage::Nearest);
        if let Some(refiner) = &mut self.refiner {
            let seen = match &mut self.encoder {
                Some(encoder) => encoder.run(frame)?,
                None => &self.features,
            };
            refiner.run(seen, self.search.cell_scores_mut())?;
            done(Stage::Refine);
        }
        let score = self.map.score(self.search.cell_scores());
        done(Stage::Map);
        Ok(score)
    }

    fn require_integers(&self) -> Result<(), InspectionError> {
        self.backbone.require_integers()?;
        let mut networks = self.search.conditions().iter();
        if let Some(network) = networks.find_map(Condition::network) {
            network.require_integers()?;
        }
        if let Some(network) = self.search.glancing() {
            network.require_integers()?;
        }
        if let Some(encoder) = &self.encoder {
            encoder.require_integers()?;
        }
        if let Some(refiner) = &self.refiner {
            refiner.require_integers()?;
        }
        Ok(())
    }

    fn kernels(&self) -> MemberKernels {
        let mut networks = self.search.conditions().iter();
        MemberKernels {
            backbone: self.backbone.kernels().clone(),
            neighbourhood: networks
                .find_map(Condition::network)
                .map(|n| n.kernels().clone()),
            refinement: self.refiner.as_ref().map(|r| r.kernels().clone()),
        }
    }
}

/// Refuses feature vectors of `dimensions` values with a value that is not a finite number. A search
/// would compare it with the bank's rows and could end with a distance.
///
/// # Errors
/// [`InspectionError::NotFinite`].
pub fn check_finite(features: &[f32], dimensions: usize) -> Result<(), InspectionError> {
    if all_finite(features) {
        return Ok(());
    }
    let at = features.iter().position(|v| !v.is_finite()).unwrap_or(0);
    Err(InspectionError::NotFinite {
        cell: at / dimensions.max(1),
        feature: at % dimensions.max(1),
        value: features.get(at).copied().unwrap_or(f32::NAN),
    })
}

/// A product, loaded and ready. It has every buffer and makes one inspection at a time.
pub struct Inspector {
    pipelines: Vec<Pipeline>,
    /// The divisor of each member's map; empty without an ensemble.
    scales: Vec<f32>,
    /// The mean map of an ensemble.
    mean: Vec<f32>,
    /// Highest pixels of that map whose mean is the score.
    top: usize,
    thresholds: Thresholds,
    threads: Threads,
}

impl Inspector {
    /// Loads `product` for `threads` threads per image. The verdict does not depend on their number.
    ///
    /// # Errors
    /// [`InspectionError`] if a network cannot be loaded.
    pub fn new(product: &Product, threads: &Threads) -> Result<Self, InspectionError> {
        Self::placed(product, threads, Placement::default())
    }

    /// As [`Inspector::new`], with the backbones and the search where `placement` wants them. The other
    /// networks stay on the CPU.
    ///
    /// # Errors
    /// [`InspectionError`] if a network cannot be loaded, or the accelerator cannot be used here.
    pub fn placed(
        product: &Product,
        threads: &Threads,
        placement: Placement,
    ) -> Result<Self, InspectionError> {
        let manifest = product.manifest();
        let size = manifest.input.size();
        let members = product.members().iter();
        let pipelines: Vec<Pipeline> = members
            .map(|member| Pipeline::new(product, member, threads, placement))
            .collect::<Result<_, _>>()?;
        let mean = if pipelines.len() > 1 { size.area() } else { 0 };
        Ok(Self {
            pipelines,
            scales: manifest.member_scales.clone(),
            mean: vec![0.0; mean],
            top: product.top_pixels(),
            thresholds: manifest.thresholds.clone(),
            threads: threads.clone(),
        })
    }

    /// Inspects one frame.
    ///
    /// # Errors
    /// [`InspectionError`]; then the part has no verdict.
    pub fn inspect(&mut self, frame: &Frame) -> Result<Inspection, InspectionError> {
        // Once per part, and not once per network and search.
        let threads = self.threads.clone();
        threads.enter(|| self.inspect_here(frame))
    }

    fn inspect_here(&mut self, frame: &Frame) -> Result<Inspection, InspectionError> {
        let mut stages = StageTimes::new();
        let mut since = Instant::now();
        let mut done = |stage: Stage| {
            let now = Instant::now();
            match stages.iter_mut().find(|(s, _)| *s == stage) {
                // Each member of an ensemble passes the same stages.
                Some((_, time)) => *time += now - since,
                // Capacity 8 for 6 stages: it cannot fail, and a lost time would not change a verdict.
                None => drop(stages.push((stage, now - since))),
            }
            since = now;
        };
        let mut score = 0.0;
        for pipeline in &mut self.pipelines {
            score = pipeline.run(frame, &self.threads, &mut done)?;
        }
        if self.pipelines.len() > 1 {
            let maps = self.pipelines.iter_mut().map(|p| p.map.pixels());
            score = average(maps, &self.scales, &mut self.mean, self.top);
            done(Stage::Map);
        }
        Ok(Inspection {
            score,
            verdict: self.thresholds.verdict(score),
            stages,
        })
    }

    /// The score map of the last inspection, `[height, width]`.
    pub fn map(&mut self) -> &[f32] {
        if self.mean.is_empty() {
            self.pipelines[0].map.pixels()
        } else {
            &self.mean
        }
    }

    /// Size of the map and of the network input, pixels.
    pub fn size(&self) -> Size {
        self.pipelines[0].backbone.size()
    }

    /// Width and height of a cell, and the sigma of the blur, in pixels of the map: the coarsest of the
    /// members. Nothing finer is in the map.
    pub fn resolution(&self) -> ([f32; 2], f32) {
        let members = self.pipelines.iter().map(|p| p.map.resolution());
        members.fold(([0.0; 2], 0.0), |(cell, blur), (other, sigma)| {
            let coarser = [0, 1].map(|side| cell[side].max(other[side]));
            (coarser, f32::max(blur, sigma))
        })
    }

    /// Feature vectors of the last inspection, `[cells, dimensions]` (the first member's).
    pub fn features(&self) -> &[f32] {
        &self.pipelines[0].features
    }

    /// Takes other thresholds from now on.
    pub fn set_thresholds(&mut self, thresholds: Thresholds) {
        self.thresholds = thresholds;
    }

    /// The thresholds that it inspects by.
    pub fn thresholds(&self) -> &Thresholds {
        &self.thresholds
    }

    /// The kernels that run it.
    pub fn kernels(&self) -> Kernels {
        let first = self.pipelines[0].kernels();
        Kernels {
            backbone: first.backbone,
            neighbourhood: first.neighbourhood,
            refinement: first.refinement,
            others: self.pipelines[1..].iter().map(Pipeline::kernels).collect(),
            nearest: self.pipelines[0].search.kernels(),
        }
    }

    /// Refuses a product of which a network runs in floats.
    ///
    /// # Errors
    /// [`InspectionError`] naming the network, and each node that is the reason.
    pub fn require_integers(&self) -> Result<(), InspectionError> {
        self.pipelines
            .iter()
            .try_for_each(Pipeline::require_integers)
    }

    /// Runs the first member's backbone once more on the last frame, and says what each fused step
    /// cost. Empty if it runs in floats.
    ///
    /// # Errors
    /// [`InspectionError`] if the backbone fails.
    pub fn backbone_steps(&mut self) -> Result<Vec<StepCost>, InspectionError> {
        Ok(self.pipelines[0].backbone.infer_timed()?)
    }

    /// Inspects the bundle's golden images and compares with the trainer's results.
    ///
    /// # Errors
    /// [`InspectionError`] if one cannot be inspected at all.
    pub fn selftest(&mut self, product: &Product) -> Result<Vec<GoldenOutcome>, InspectionError> {
        let mut outcomes = Vec::new();
        for golden in &product.manifest().goldens {
            let frame = product.golden_frame(golden)?;
            let inspection = self.inspect(&frame)?;
            let size = self.size();
            outcomes.push(product::compare(
                golden,
                product.manifest().parity,
                inspection.score,
                inspection.verdict,
                &product::coarse(self.map(), size),
            ));
        }
        Ok(outcomes)
    }
}

/// The map of an ensemble: writes the mean of the members' `maps`, each divided by its scale, and
/// returns the image score, the maximum of the mean or the mean of its `top` highest pixels. A NaN in any of them stays in the result. The
/// trainer inspects held-out parts with it, as a board inspects a part.
///
/// # Panics
/// If there is not one scale per map, or a map has another length: a programming error.
pub fn average<'a>(
    maps: impl ExactSizeIterator<Item = &'a [f32]>,
    scales: &[f32],
    mean: &mut [f32],
    top: usize,
) -> f32 {
    assert_eq!(maps.len(), scales.len(), "scales");
    let share = 1.0 / scales.len() as f32;
    for (index, (map, scale)) in maps.zip(scales).enumerate() {
        assert_eq!(map.len(), mean.len(), "maps");
        let factor = share / scale;
        for (sum, value) in mean.iter_mut().zip(map) {
            let before = if index == 0 { 0.0 } else { *sum };
            *sum = before + factor * value;
        }
    }
    mean_of_highest(mean, top, &mut Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_count_alike_whatever_their_units() {
        let (a, b) = ([2.0f32, 4.0, 0.0], [100.0f32, 0.0, 300.0]);
        let mut mean = [7.0; 3];
        let score = average([&a[..], &b].into_iter(), &[2.0, 100.0], &mut mean, 1);
        assert_eq!((mean, score), ([1.0, 1.0, 1.5], 1.5));
        let score = average([&a[..], &b].into_iter(), &[2.0, 100.0], &mut mean, 2);
        assert_eq!(score, 1.25);
    }

    #[test]
    fn a_member_without_a_number_leaves_none() {
        let (a, b) = ([1.0f32, 1.0], [f32::NAN, 1.0]);
        let mut mean = [0.0; 2];
        for maps in [[&a[..], &b], [&b, &a]] {
            assert!(average(maps.into_iter(), &[1.0; 2], &mut mean, 1).is_nan());
        }
    }
}
