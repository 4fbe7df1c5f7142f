//! The neighbourhood network: it predicts the distribution-coreset row of a cell from the cells
//! around it, without the cell itself (PNI, arXiv 2211.12634, section 3.2). There is a form for
//! small devices and the published one. Both begin with a `window x window` convolution whose
//! centre is zero.

mod edge;
mod paper;

use super::features::Features;
use super::training::{Batches, Learning, values};
use crate::export::{Convolution, Graph};
use burn::module::Module;
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};
use edge::EdgeLayers;
use paper::{Moments, PaperLayers};
use partgate::score::{NeighbourhoodForm, NeighbourhoodShape};
use partgate::seed::Rng;
use partgate::size::Size;

/// Images a step: about the published 2,048 cells at 32 x 32.
const BATCH: usize = 2;
/// Standardised features are rounded over this many standard deviations in int8.
const FEATURE_RANGE: f32 = 8.0;

/// Values between the layers.
struct Stages {
    /// After each rectified layer, for the export's ranges.
    rectified: Vec<Tensor<2>>,
    logits: Tensor<2>,
    /// Mean and variance of each normalised layer's input; none where no layer is normalised.
    seen: Vec<[Tensor<1>; 2]>,
}

// A few hundred bytes, once a network: a box would save nothing.
#[allow(clippy::large_enum_variant)]
#[derive(Module, Debug)]
enum Layers {
    Edge(EdgeLayers),
    Paper(PaperLayers),
}

impl Layers {
    fn new(shape: &NeighbourhoodShape, rng: &mut Rng, device: &Device) -> Self {
        match shape.form {
            NeighbourhoodForm::Edge { .. } => Self::Edge(EdgeLayers::new(shape, rng, device)),
            NeighbourhoodForm::Paper { layers } => {
                Self::Paper(PaperLayers::new(shape, layers as usize, rng, device))
            }
        }
    }

    /// `features` is `[images, cells, dimensions]`, standardised. Normalised layers use `moments`,
    /// or, in training, the moments of the batch.
    fn forward(
        &self,
        features: Tensor<3>,
        shape: &NeighbourhoodShape,
        hole: &Tensor<4>,
        moments: Option<&[Moments]>,
    ) -> Stages {
        match self {
            Self::Edge(edge) => edge.forward(features, shape, hole),
            Self::Paper(paper) => paper.forward(features, shape, hole, moments),
        }
    }
}

/// All ones but the centre.
fn hole(window: usize, device: &Device) -> Tensor<4> {
    let mut values = vec![1.0f32; window * window];
    values[window * window / 2] = 0.0;
    Tensor::from_data(TensorData::new(values, [1, 1, window, window]), device)
}

/// A trained network.
pub(crate) struct NeighbourhoodModel {
    shape: NeighbourhoodShape,
    shift: Vec<f32>,
    scale: Vec<f32>,
    layers: Layers,
    /// Of each normalised layer of the paper's form.
    moments: Vec<Moments>,
    /// Largest value after each rectified layer, over some training images.
    highest: Vec<f32>,
    /// Mean cross-entropy of the last epoch's steps, nats.
    pub(crate) training_loss: f32,
}

/// Mean and standard deviation of each channel over the cells of `images`.
pub(super) fn statistics(features: &Features, images: &[usize]) -> (Vec<f32>, Vec<f32>) {
    let d = features.dimensions;
    let (mut sum, mut square) = (vec![0.0f64; d], vec![0.0f64; d]);
    for &image in images {
        for vector in features.image(image).chunks_exact(d) {
            for ((s, q), &v) in sum.iter_mut().zip(&mut square).zip(vector) {
                *s += f64::from(v);
                *q += f64::from(v) * f64::from(v);
            }
        }
    }
    let n = (images.len() * features.cells()) as f64;
    let mean: Vec<f64> = sum.iter().map(|s| s / n).collect();
    let deviation = |(m, q): (&f64, &f64)| ((q / n - m * m).max(0.0).sqrt() + 1e-6) as f32;
    let scale = mean.iter().zip(&square).map(deviation).map(|s| 1.0 / s);
    (
        mean.iter().map(|&m| m as f32).collect(),
        scale.clone().collect(),
    )
}

impl NeighbourhoodModel {
    /// Trains on `images`, whose cells are the rows `targets[image * cells + cell]` of D. Calls
    /// `tick` after each of [`Learning::steps`] steps.
    pub(crate) fn train(
        features: &Features,
        images: &[usize],
        targets: &[u16],
        shape: NeighbourhoodShape,
        learning: &Learning,
        tick: &(dyn Fn() + Sync),
    ) -> Self {
        let device = Device::flex().autodiff();
        let mut rng = Rng::stream(learning.seed, learning.stream);
        let (shift, scale) = statistics(features, images);
        let mut layers = Layers::new(&shape, &mut rng, &device);
        let mut optimiser = learning.optimiser();
        let hole_mask = hole(shape.window as usize, &device);
        let cells = features.cells();
        let mut batches = Batches::new(images.len(), BATCH);
        let (mut recent, mut counted) = (0.0, 0);
        let mut moments = Vec::new();
        for step in 0..learning.steps {
            let batch: Vec<usize> = batches
                .next(&mut rng)
                .into_iter()
                .map(|i| images[i])
                .collect();
            let input = standardised(features, &batch, &shift, &scale, &device);
            let truth: Vec<i32> = batch
                .iter()
                .flat_map(|&i| {
                    targets[i * cells..(i + 1) * cells]
                        .iter()
                        .map(|&t| i32::from(t))
                })
                .collect();
            let count = truth.len();
            let truth: Tensor<2, Int> =
                Tensor::from_data(TensorData::new(truth, [count, 1]), &device);
            let stages = layers.forward(input, &shape, &hole_mask, None);
            Moments::follow(&mut moments, &stages.seen, step);
            let loss = log_softmax(stages.logits, 1).gather(1, truth).mean().neg();
            if step + 10 >= learning.steps {
                recent += values(loss.clone())[0];
                counted += 1;
            }
            layers = learning.step(step, &mut optimiser, layers, &loss);
            tick();
        }
        let mut model = Self {
            shape,
            shift,
            scale,
            layers,
            moments,
            highest: Vec::new(),
            training_loss: recent / counted.max(1) as f32,
        };
        model.highest = model.ranges(features, &images[..images.len().min(8)], &device);
        model
    }

    fn ranges(&self, features: &Features, images: &[usize], device: &Device) -> Vec<f32> {
        let hole_mask = hole(self.shape.window as usize, device);
        let mut highest = Vec::new();
        for &image in images {
            let input = standardised(features, &[image], &self.shift, &self.scale, device);
            let moments = Some(&self.moments[..]);
            let stages = self
                .layers
                .forward(input, &self.shape, &hole_mask, moments)
                .rectified;
            highest.resize(stages.len(), 0.0f32);
            for (most, stage) in highest.iter_mut().zip(stages) {
                *most = most.max(values(stage.max())[0]);
            }
        }
        highest
    }

    /// The network as ONNX: input `features` `[1, rows, columns, dimensions]`, output `logits`
    /// `[1, entries, rows, columns]`.
    pub(crate) fn onnx(&self, int8: bool) -> Vec<u8> {
        let shape = &self.shape;
        let [d, k] = [shape.dimensions, shape.entries].map(|v| v as usize);
        let Size { width, height } = shape.grid;
        let mut graph = Graph::new(int8);
        let x = graph.channels_first("features");
        let x = graph.standardise(&x, &self.shift, &self.scale);
        let x = graph.rounded(&x, -FEATURE_RANGE, FEATURE_RANGE);
        let x = match &self.layers {
            Layers::Edge(edge) => edge.export(&mut graph, &x, shape, &self.highest),
            Layers::Paper(paper) => {
                paper.export(&mut graph, &x, shape, &self.moments, &self.highest)
            }
        };
        graph.finish(
            ("features", &[1, height, width, d]),
            &x,
            ("logits", &[1, k, height, width]),
            "partgate-train",
        )
    }
}

/// The first convolution, whose kernel has a centre of zero.
fn ring(mut weights: Vec<f32>, biases: Vec<f32>, shape: &NeighbourhoodShape) -> Convolution {
    let side = shape.window as usize;
    for kernel in weights.chunks_exact_mut(side * side) {
        kernel[side * side / 2] = 0.0;
    }
    Convolution {
        weights,
        biases,
        inputs: shape.bottleneck as usize,
        outputs: shape.hidden as usize,
        side,
        groups: 1,
    }
}

/// `count` draws by He's initialisation for layers of `fan_in` inputs; Gaussian draws from the
/// pinned generator, so that a seed means the same network whatever else runs in the process.
fn draw(rng: &mut Rng, count: usize, fan_in: usize) -> Vec<f32> {
    let scale = (2.0 / fan_in as f32).sqrt();
    (0..count).map(|_| rng.gaussian() * scale).collect()
}

fn standardised(
    features: &Features,
    images: &[usize],
    shift: &[f32],
    scale: &[f32],
    device: &Device,
) -> Tensor<3> {
    let (cells, d) = (features.cells(), features.dimensions);
    let mut input = Vec::with_capacity(images.len() * cells * d);
    for &image in images {
        for vector in features.image(image).chunks_exact(d) {
            let centred = vector.iter().zip(shift).zip(scale);
            input.extend(
                centred.map(|((v, m), s)| ((v - m) * s).clamp(-FEATURE_RANGE, FEATURE_RANGE)),
            );
        }
    }
    Tensor::from_data(TensorData::new(input, [images.len(), cells, d]), device)
}

#[cfg(test)]
#[path = "neighbourhood_tests.rs"]
mod tests;
