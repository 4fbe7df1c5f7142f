//! Refinement of the cell scores: a small network takes the features and the scores and lifts the
//! scores of cells that it finds damaged (PNI, arXiv 2211.12634, section 3.3, in a form for small
//! devices: on the feature grid, from feature maps that are calculated anyway).

use crate::network::{KernelReport, Network, NetworkError, Precision, Signature, Threads};
use serde::{Deserialize, Serialize};

/// The network's size; enough to calculate its cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefinementShape {
    /// Side of the feature grid, cells.
    pub grid: u32,
    /// Length of a feature vector.
    pub dimensions: u32,
    /// Channels of its inner layers.
    pub channels: u32,
    /// Pairs of a depthwise 3 x 3 and a 1 x 1 layer.
    pub blocks: u32,
    /// Arithmetic of the file.
    pub precision: Precision,
}

impl RefinementShape {
    /// Weights that are multiplied once per cell.
    pub fn weights(&self) -> u64 {
        let [d, c, b] = [self.dimensions, self.channels, self.blocks].map(u64::from);
        (d + 1) * c + b * (9 * c + c * c) + c
    }

    /// Multiply-accumulates per image, in units of 10^9.
    pub fn gmac(&self) -> f64 {
        (self.weights() * u64::from(self.grid) * u64::from(self.grid)) as f64 / 1e9
    }

    /// What is wrong with it; None if nothing is.
    pub(crate) fn problem(&self) -> Option<String> {
        let sane = (1..=512).contains(&self.grid)
            && (1..=8192).contains(&self.dimensions)
            && (1..=4096).contains(&self.channels)
            && (1..=64).contains(&self.blocks);
        (!sane).then(|| format!("a refinement network of {self:?}"))
    }
}

/// The network ready to run.
pub struct Refiner {
    network: Network,
    shape: RefinementShape,
    scale: f32,
    weight: f32,
}

impl Refiner {
    /// Loads ONNX `bytes`: input `cells`, `[1, grid, grid, dimensions + 1]`, whose last channel is the
    /// cell score divided by `scale`; output `refined`, `[1, 1, grid, grid]`, in the same unit.
    /// `weight` is the share of the output in the final score, 0 to 1.
    ///
    /// # Errors
    /// [`NetworkError`] if the file is not a network of this shape.
    pub fn load(
        bytes: &[u8],
        shape: RefinementShape,
        scale: f32,
        weight: f32,
        threads: &Threads,
    ) -> Result<Self, NetworkError> {
        let [grid, d] = [shape.grid, shape.dimensions].map(|v| v as usize);
        let signature = Signature {
            name: "refinement network".into(),
            input: vec![1, grid, grid, d + 1],
            outputs: vec![("refined", vec![1, 1, grid, grid])],
            precision: shape.precision,
        };
        Ok(Self {
            network: Network::load(bytes, &signature, threads)?,
            shape,
            scale,
            weight,
        })
    }

    /// Lifts `scores`, `[cells]`, by means of `features`, `[cells, dimensions]`.
    ///
    /// # Errors
    /// [`NetworkError::Run`].
    ///
    /// # Panics
    /// If a buffer has another length: a programming error.
    pub fn run(&mut self, features: &[f32], scores: &mut [f32]) -> Result<(), NetworkError> {
        let d = self.shape.dimensions as usize;
        let scale = self.scale;
        self.network.fill(|input| {
            assert_eq!(input.len(), scores.len() * (d + 1), "cells");
            for ((cell, vector), &score) in input
                .chunks_exact_mut(d + 1)
                .zip(features.chunks_exact(d))
                .zip(scores.iter())
            {
                cell[..d].copy_from_slice(vector);
                cell[d] = score / scale;
            }
            Ok::<_, NetworkError>(())
        })?;
        self.network.infer()?;
        for (score, &refined) in scores.iter_mut().zip(self.network.output(0)?) {
            // It may only lift: whatever a network has learnt, a cell's score is never below its
            // distance. In this form a NaN on either side stays a NaN.
            let corrected = (1.0 - self.weight) * *score + self.weight * refined * scale;
            *score = if corrected < *score {
                *score
            } else {
                corrected
            };
        }
        Ok(())
    }

    /// The kernels that run it.
    pub fn kernels(&self) -> &KernelReport {
        self.network.kernels()
    }

    /// Its size.
    pub fn shape(&self) -> RefinementShape {
        self.shape
    }
}
