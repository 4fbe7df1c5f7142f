//! A second network that looks at the picture, for the refinement alone: an encoder of the user's own.

use super::{InspectionError, check_finite};
use crate::backbone::{Backbone, Preprocessor, Threads};
use crate::frame::Frame;
use crate::product::{MemberData, Product};
use crate::score::Aggregator;

/// The encoder of a member, ready to run.
pub(super) struct Encoder {
    preprocessor: Preprocessor,
    backbone: Backbone,
    aggregator: Aggregator,
    features: Vec<f32>,
}

impl Encoder {
    /// The encoder of `member`, if it has one.
    pub(super) fn of(
        product: &Product,
        member: &MemberData,
        threads: &Threads,
    ) -> Result<Option<Self>, InspectionError> {
        let Some((spec, onnx)) = product.encoder_of(member) else {
            return Ok(None);
        };
        let (input, method) = (member.input(), member.method());
        let grid = spec.grid(input.size());
        let channels = [0, 1].map(|i| spec.taps[i].channels as usize);
        Ok(Some(Self {
            preprocessor: Preprocessor::new(input.clone(), spec.input.mean, spec.input.std)
                .with_background(product.background()),
            backbone: Backbone::load(onnx, spec, input.size(), threads)?,
            aggregator: Aggregator::new(grid, channels, method.patch as usize, method.border),
            features: vec![0.0; grid.area() * spec.dimensions()],
        }))
    }

    /// What it gives for each cell of `frame`, `[cells, dimensions]`.
    pub(super) fn run(&mut self, frame: &Frame) -> Result<&[f32], InspectionError> {
        self.backbone
            .take::<InspectionError>(&mut self.preprocessor, frame)?;
        self.backbone.infer()?;
        let (fine, coarse) = (self.backbone.tap(0)?, self.backbone.tap(1)?);
        self.aggregator.run(fine, coarse, &mut self.features);
        let dimensions = self.features.len() / self.aggregator.cells().max(1);
        check_finite(&self.features, dimensions)?;
        Ok(&self.features)
    }

    pub(super) fn require_integers(&self) -> Result<(), InspectionError> {
        Ok(self.backbone.require_integers()?)
    }
}
