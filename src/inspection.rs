//! A product at work: frame in, score, map and verdict out, each stage timed.

use crate::backbone::{
    Backbone, BackboneError, GeometryError, KernelReport, Preprocessor, Threads,
};
use crate::capture::folder::FolderError;
use crate::frame::Frame;
use crate::lanes::Kernel;
use crate::product::{self, GoldenOutcome, Product};
use crate::score::{Aggregator, Scorer};
use crate::verdict::{Thresholds, Verdict};
use serde::Serialize;
use std::time::{Duration, Instant};
use thiserror::Error;

/// Why a frame could not be judged. The part has no verdict, and a gate rejects it.
#[derive(Debug, Error)]
pub enum InspectionError {
    /// The frame does not fit the product's geometry.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// The network failed.
    #[error(transparent)]
    Backbone(#[from] BackboneError),
    /// A golden image is broken.
    #[error(transparent)]
    Golden(#[from] FolderError),
}

/// The steps of one inspection, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Region, resize, crop, normalise.
    Preprocess,
    /// The network.
    Backbone,
    /// Taps to feature vectors.
    Aggregate,
    /// Nearest allowed bank row of each cell.
    Nearest,
    /// Map and its maximum.
    Map,
}

impl Stage {
    /// All stages, in order.
    pub const ALL: [Stage; 5] = [
        Stage::Preprocess,
        Stage::Backbone,
        Stage::Aggregate,
        Stage::Nearest,
        Stage::Map,
    ];

    /// Name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Preprocess => "preprocess",
            Stage::Backbone => "backbone",
            Stage::Aggregate => "aggregate",
            Stage::Nearest => "nearest",
            Stage::Map => "map",
        }
    }
}

/// Time each stage took, in order; fixed capacity, because it is filled for every part.
pub type StageTimes = heapless::Vec<(Stage, Duration), 8>;

/// What became of one frame.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// Image score: 0 is exactly like the bank, larger is stranger; feature-space distance.
    pub score: f32,
    /// The score against the product's thresholds.
    pub verdict: Verdict,
    /// Where the time went.
    pub stages: StageTimes,
}

impl Inspection {
    /// All stages together.
    pub fn total(&self) -> Duration {
        self.stages.iter().map(|(_, t)| *t).sum()
    }
}

/// The kernels that a product runs on here.
#[derive(Clone, Debug, Serialize)]
pub struct Kernels {
    /// The network's.
    pub backbone: KernelReport,
    /// The nearest-neighbour search's.
    pub nearest: &'static str,
}

/// A product loaded and ready. Holds every buffer; one inspection at a time.
pub struct Inspector {
    preprocessor: Preprocessor,
    backbone: Backbone,
    aggregator: Aggregator,
    features: Vec<f32>,
    scorer: Scorer,
    thresholds: Thresholds,
    threads: Threads,
}

impl Inspector {
    /// Loads `product` for `threads` threads an image. The verdict does not depend on their
    /// number.
    ///
    /// # Errors
    /// [`InspectionError`] when the network cannot be loaded.
    pub fn new(product: &Product, threads: &Threads) -> Result<Self, InspectionError> {
        let manifest = product.manifest();
        let (spec, method) = (&manifest.backbone, &manifest.method);
        let side = manifest.input.side();
        let grid = spec.grid(side);
        let backbone = Backbone::load(product.backbone_onnx(), spec, side, threads)?;
        let channels = [0, 1].map(|i| spec.taps[i].channels as usize);
        Ok(Self {
            preprocessor: Preprocessor::new(
                manifest.input.clone(),
                spec.input.mean,
                spec.input.std,
            ),
            backbone,
            aggregator: Aggregator::new(grid, channels, method.patch as usize, method.border),
            features: vec![0.0; grid * grid * spec.dimensions()],
            scorer: Scorer::new(
                product.bank().clone(),
                product.mask().cloned(),
                product.ignore().cloned(),
                grid,
                side,
                method.sigma,
            ),
            thresholds: manifest.thresholds.clone(),
            threads: threads.clone(),
        })
    }

    /// Judges one frame.
    ///
    /// # Errors
    /// [`InspectionError`]; the part has no verdict then.
    pub fn inspect(&mut self, frame: &Frame) -> Result<Inspection, InspectionError> {
        let mut stages = StageTimes::new();
        let mut since = Instant::now();
        let mut done = |stage| {
            let now = Instant::now();
            // Capacity 8 for 5 stages: cannot fail, and a lost time would not change a verdict.
            let _ = stages.push((stage, now - since));
            since = now;
        };
        let preprocessor = &mut self.preprocessor;
        self.backbone.fill(|input| {
            preprocessor
                .run(frame, input)
                .map_err(InspectionError::from)
        })?;
        done(Stage::Preprocess);
        self.backbone.infer()?;
        done(Stage::Backbone);
        let (fine, coarse) = (self.backbone.tap(0)?, self.backbone.tap(1)?);
        self.aggregator.run(fine, coarse, &mut self.features);
        done(Stage::Aggregate);
        self.scorer.search(&self.features, &self.threads);
        done(Stage::Nearest);
        let score = self.scorer.draw();
        done(Stage::Map);
        Ok(Inspection {
            score,
            verdict: self.thresholds.verdict(score),
            stages,
        })
    }

    /// The score map of the last inspection, `[side, side]`.
    pub fn map(&self) -> &[f32] {
        self.scorer.map()
    }

    /// Side of the map and of the network input, pixels.
    pub fn side(&self) -> usize {
        self.backbone.side()
    }

    /// Feature vectors of the last inspection, `[cells, dimensions]`.
    pub fn features(&self) -> &[f32] {
        &self.features
    }

    /// The product's thresholds.
    pub fn thresholds(&self) -> &Thresholds {
        &self.thresholds
    }

    /// What runs here.
    pub fn kernels(&self) -> Kernels {
        Kernels {
            backbone: self.backbone.kernels().clone(),
            nearest: Kernel::best().name(),
        }
    }

    /// Judges the bundle's golden images and compares with what the trainer had.
    ///
    /// # Errors
    /// [`InspectionError`] when one cannot be judged at all.
    pub fn selftest(&mut self, product: &Product) -> Result<Vec<GoldenOutcome>, InspectionError> {
        let mut outcomes = Vec::new();
        for golden in &product.manifest().goldens {
            let frame = product.golden_frame(golden)?;
            let inspection = self.inspect(&frame)?;
            outcomes.push(product::compare(
                golden,
                product.manifest().parity,
                inspection.score,
                inspection.verdict,
                &product::coarse(self.map(), self.side()),
            ));
        }
        Ok(outcomes)
    }
}
