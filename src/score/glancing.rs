//! Compares what a cell shows with what its surroundings say, and judges both: Glancing at the Patch
//! (Wang et al., CVPR 2021), on features (docs/method.md has the definition). For hosts that compare
//! methods; it runs in floats.

use crate::network::{Network, NetworkError, Precision, Signature, Threads};
use crate::size::Size;
use serde::{Deserialize, Serialize};

/// Form and sizes of the networks behind rule `glancing`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GlancingForm {
    /// Share of the inconsistency in the score; the rest is the distortion.
    pub weight: f32,
    /// Side of the surroundings, cells, odd.
    pub window: u32,
    /// Side of the patch in their middle, which is left out, cells, odd.
    pub hole: u32,
    /// Channels: before the surroundings are summed, of the inner layers, of the code that is compared,
    /// of the judging layer.
    pub channels: [u32; 4],
}

impl GlancingForm {
    /// What is wrong with it, if anything is.
    pub(super) fn problem(&self) -> Option<String> {
        let sane = (0.0..=1.0).contains(&self.weight)
            && self.window % 2 == 1
            && self.hole % 2 == 1
            && self.hole < self.window
            && self.window <= 31
            && self.channels.iter().all(|c| (1..=4096).contains(c));
        (!sane).then(|| format!("networks of {self:?}"))
    }

    /// Multiply-accumulates per cell for vectors of `dimensions` values.
    pub fn multiplications(&self, dimensions: usize) -> u64 {
        let [narrow, hidden, code, judge] = self.channels.map(u64::from);
        let around = u64::from(self.window * self.window - self.hole * self.hole);
        let d = dimensions as u64;
        let local = d * hidden + hidden * code;
        let global = d * narrow + around * narrow * hidden + hidden * code;
        local + global + code + 2 * code * judge + judge
    }
}

/// The networks of rule `glancing` in one file, ready to run.
pub struct GlancingNetwork {
    network: Network,
    grid: Size,
    dimensions: usize,
    weight: f32,
}

impl GlancingNetwork {
    /// Loads ONNX `bytes`: input `features`, `[1, rows, columns, dimensions]`; output `parts`, `[1, 2,
    /// rows, columns]`, the inconsistency and the distortion of each cell.
    ///
    /// # Errors
    /// [`NetworkError`] if the file is not such a network.
    pub fn load(
        bytes: &[u8],
        grid: Size,
        dimensions: usize,
        weight: f32,
        threads: &Threads,
    ) -> Result<Self, NetworkError> {
        let signature = Signature {
            name: "networks of rule glancing".into(),
            input: vec![1, grid.height, grid.width, dimensions],
            outputs: vec![("parts", vec![1, 2, grid.height, grid.width])],
            precision: Precision::F32,
        };
        Ok(Self {
            network: Network::load(bytes, &signature, threads)?,
            grid,
            dimensions,
            weight,
        })
    }

    /// The feature grid, cells.
    pub fn grid(&self) -> Size {
        self.grid
    }

    /// Values of a feature vector.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// Writes the score of each cell of `features`, `[cells, dimensions]`, to `out`.
    ///
    /// # Errors
    /// [`NetworkError::Run`].
    ///
    /// # Panics
    /// If a buffer has another length: a programming error.
    pub fn run(&mut self, features: &[f32], out: &mut [f32]) -> Result<(), NetworkError> {
        self.network.fill(|input| {
            input.copy_from_slice(features);
            Ok::<_, NetworkError>(())
        })?;
        self.network.infer()?;
        let parts = self.network.output(0)?;
        assert_eq!(parts.len(), 2 * out.len(), "cells");
        let (inconsistent, distorted) = parts.split_at(out.len());
        for ((score, a), b) in out.iter_mut().zip(inconsistent).zip(distorted) {
            *score = self.weight * a + (1.0 - self.weight) * b;
        }
        Ok(())
    }

    /// Refuses to run, as these networks run in floats.
    ///
    /// # Errors
    /// [`NetworkError::NotIntegers`].
    pub(crate) fn require_integers(&self) -> Result<(), NetworkError> {
        self.network.require_integers()
    }
}
