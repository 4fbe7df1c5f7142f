//! Refinement of the cell scores: a small network takes the features and the scores and lifts the
//! scores of cells that it finds damaged (PNI, arXiv 2211.12634, section 3.3, in a form for small
//! devices: on the feature grid, from feature maps that are calculated anyway).

use crate::network::{
    KernelReport, Network, NetworkError, Precision, Signature, Threads, all_finite,
};
use crate::size::Size;
use serde::{Deserialize, Serialize};

/// The network's size; enough to calculate its cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefinementShape {
    /// The feature grid, cells.
    pub grid: Size,
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
        (self.weights() * self.grid.area() as u64) as f64 / 1e9
    }

    /// What is wrong with it; None if nothing is.
    pub(crate) fn problem(&self) -> Option<String> {
        let sane = self.grid.shorter() > 0
            && self.grid.longer() <= 512
            && (1..=8192).contains(&self.dimensions)
            && (1..=4096).contains(&self.channels)
            && (1..=64).contains(&self.blocks);
        (!sane).then(|| {
            format!(
                "a refinement network for {} x {} cells of {} values, with {} blocks of {} channels",
                self.grid.width, self.grid.height, self.dimensions, self.blocks, self.channels
            )
        })
    }
}

fn signature(shape: RefinementShape) -> Signature<'static> {
    let (grid, d) = (shape.grid, shape.dimensions as usize);
    Signature {
        name: "refinement network".into(),
        input: vec![1, grid.height, grid.width, d + 1],
        outputs: vec![("refined", vec![1, 1, grid.height, grid.width])],
        precision: shape.precision,
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
    /// Loads ONNX `bytes`: input `cells`, `[1, rows, columns, dimensions + 1]`, whose last channel is
    /// the cell score divided by `scale`; output `refined`, `[1, 1, rows, columns]`, in the same unit.
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
        Ok(Self {
            network: Network::load(bytes, &signature(shape), threads)?,
            shape,
            scale,
            weight,
        })
    }

    /// Lifts `scores`, `[cells]`, by means of `features`, `[cells, dimensions]`. Scores of which one
    /// is not a finite number stay as they are.
    ///
    /// # Errors
    /// [`NetworkError::Run`].
    ///
    /// # Panics
    /// If a buffer has another length: a programming error.
    pub fn run(&mut self, features: &[f32], scores: &mut [f32]) -> Result<(), NetworkError> {
        if !all_finite(scores) {
            // A part with such a cell has no verdict, and the network must not make a number of it.
            return Ok(());
        }
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

    /// Refuses a network that runs in floats.
    ///
    /// # Errors
    /// [`NetworkError::NotIntegers`].
    pub fn require_integers(&self) -> Result<(), NetworkError> {
        self.network.require_integers()
    }

    /// Its size.
    pub fn shape(&self) -> RefinementShape {
        self.shape
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspection::Inspector;
    use crate::product::Product;

    #[test]
    fn the_demos_network_computes_in_integers_what_tract_computes_in_floats() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/calibration/demo.pgp");
        let product = Product::open(path.as_ref()).expect("the demo's product");
        let threads = Threads::default();
        let mut inspector = Inspector::new(&product, &threads).expect("loads");
        let evidence = product.manifest().method.refinement.as_ref();
        let shape = evidence.expect("it refines").shape;
        let file = product.refinement_file().expect("it refines");
        let mut integers = Network::load(file, &signature(shape), &threads).expect("loads");
        integers.require_integers().expect("all of it");
        let mut floats = Network::load_in_floats(file, &signature(shape), &threads).expect("loads");
        let (mut most, mut sum, mut count) = (0.0f32, 0.0, 0);
        for golden in &product.manifest().goldens {
            let frame = product.golden_frame(golden).expect("decodes");
            inspector.inspect(&frame).expect("inspects");
            let d = shape.dimensions as usize;
            for network in [&mut integers, &mut floats] {
                let filled: Result<(), NetworkError> = network.fill(|input| {
                    let cells = inspector.features().chunks_exact(d);
                    for (n, (cell, vector)) in input.chunks_exact_mut(d + 1).zip(cells).enumerate()
                    {
                        cell[..d].copy_from_slice(vector);
                        cell[d] = (n % 17) as f32 / 8.0;
                    }
                    Ok(())
                });
                filled.expect("fills");
                network.infer().expect("runs");
            }
            let both = integers.output(0).expect("ran").iter();
            for (a, b) in both.zip(floats.output(0).expect("ran")) {
                let off = (a - b).abs();
                most = most.max(off);
                sum += f64::from(off);
                count += 1;
            }
        }
        // Biases are rounded to steps of the sums, so a value between two bytes may be the other.
        let mean = sum / f64::from(count);
        println!("differ by {mean:.1e} in the mean of {count} cells, by {most:.1e} at most");
        assert!(mean < 5e-4 && most < 0.02);
    }
}
