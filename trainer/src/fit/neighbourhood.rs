//! The neighbourhood network: which distribution-coreset row is a cell, told from the cells around
//! it without the cell itself (PNI, arXiv 2211.12634, section 3.2, in a form for small devices).
//!
//! `features -> standardise -> 1x1 -> ReLU -> ring -> (+ row, column) -> ReLU -> 1x1 -> ReLU -> 1x1
//! -> logits`, where the ring is a `window x window` convolution whose centre is zero: the true hole.
//! With `place`, a bias a grid row and one a grid column let the same network know the position.

use super::features::Features;
use super::training::{Learning, parameter, pointwise, values};
use crate::export::{Convolution, Graph};
use burn::module::{Module, Param};
use burn::tensor::activation::{log_softmax, relu};
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Int, Tensor, TensorData};
use partgate::score::NeighbourhoodShape;
use partgate::seed::Rng;

/// Images a step: about the published 2,048 cells at 32 x 32.
const BATCH: usize = 2;
/// Standardised features are rounded over this many standard deviations in int8.
const FEATURE_RANGE: f32 = 8.0;

#[derive(Module, Debug)]
struct Layers {
    narrow: Param<Tensor<2>>,
    narrow_bias: Param<Tensor<1>>,
    ring: Param<Tensor<4>>,
    ring_bias: Param<Tensor<1>>,
    row: Param<Tensor<4>>,
    column: Param<Tensor<4>>,
    mid: Param<Tensor<2>>,
    mid_bias: Param<Tensor<1>>,
    last: Param<Tensor<2>>,
    last_bias: Param<Tensor<1>>,
}

/// What passes between the layers, for the export's ranges.
struct Stages {
    narrow: Tensor<2>,
    ring: Tensor<2>,
    mid: Tensor<2>,
    logits: Tensor<2>,
}

impl Layers {
    fn new(shape: &NeighbourhoodShape, rng: &mut Rng, device: &Device) -> Self {
        let (d, m, h, k) = (
            shape.dimensions as usize,
            shape.bottleneck as usize,
            shape.hidden as usize,
            shape.entries as usize,
        );
        let (w, g) = (shape.window as usize, shape.grid as usize);
        // He's initialisation; Gaussian draws from the pinned generator, so that a seed means the
        // same network whatever else runs in the process.
        let mut draw = |count: usize, fan_in: usize| -> Vec<f32> {
            let scale = (2.0 / fan_in as f32).sqrt();
            (0..count).map(|_| rng.gaussian() * scale).collect()
        };
        Self {
            narrow: parameter(draw(d * m, d), [d, m], device),
            narrow_bias: parameter(vec![0.0; m], [m], device),
            ring: parameter(draw(h * m * w * w, m * (w * w - 1)), [h, m, w, w], device),
            ring_bias: parameter(vec![0.0; h], [h], device),
            row: parameter(vec![0.0; h * g], [1, h, g, 1], device),
            column: parameter(vec![0.0; h * g], [1, h, 1, g], device),
            mid: parameter(draw(h * h, h), [h, h], device),
            mid_bias: parameter(vec![0.0; h], [h], device),
            last: parameter(draw(h * k, 2 * h), [h, k], device),
            last_bias: parameter(vec![0.0; k], [k], device),
        }
    }

    /// `features` is `[images, cells, dimensions]`, standardised.
    fn forward(&self, features: Tensor<3>, shape: &NeighbourhoodShape, hole: &Tensor<4>) -> Stages {
        let [n, cells, d] = features.dims();
        let grid = shape.grid as usize;
        let (m, h) = (shape.bottleneck as usize, shape.hidden as usize);
        let pad = shape.window as usize / 2;
        let narrow = relu(
            features.reshape([n * cells, d]).matmul(self.narrow.val())
                + self.narrow_bias.val().unsqueeze(),
        );
        let map = narrow
            .clone()
            .reshape([n, grid, grid, m])
            .permute([0, 3, 1, 2]);
        let mut map = conv2d(
            map,
            self.ring.val() * hole.clone(),
            Some(self.ring_bias.val()),
            ConvOptions::new([1, 1], [pad, pad], [1, 1], 1),
        );
        if shape.place {
            map = map + self.row.val() + self.column.val();
        }
        let ring = relu(map).permute([0, 2, 3, 1]).reshape([n * cells, h]);
        let mid = relu(ring.clone().matmul(self.mid.val()) + self.mid_bias.val().unsqueeze());
        let logits = mid.clone().matmul(self.last.val()) + self.last_bias.val().unsqueeze();
        Stages {
            narrow,
            ring,
            mid,
            logits,
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
    /// Largest value after each rectified layer, over some training images.
    highest: [f32; 3],
    /// Mean cross-entropy of the last epoch's steps, nats.
    pub(crate) training_loss: f32,
}

/// Mean and standard deviation of each channel over the cells of `images`.
fn statistics(features: &Features, images: &[usize]) -> (Vec<f32>, Vec<f32>) {
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
    /// Trains on `images`, whose cells are the rows `targets[image * cells + cell]` of D. `tick`
    /// is called after each of [`Learning::steps`] steps.
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
        let mut order: Vec<usize> = Vec::new();
        let (mut recent, mut counted) = (0.0, 0);
        for step in 0..learning.steps {
            let batch: Vec<usize> = (0..BATCH.min(images.len()))
                .map(|_| {
                    if order.is_empty() {
                        order = rng.permutation(images.len());
                    }
                    // Never empty: refilled above.
                    images[order.pop().unwrap_or(0)]
                })
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
            let logits = layers.forward(input, &shape, &hole_mask).logits;
            let loss = log_softmax(logits, 1).gather(1, truth).mean().neg();
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
            highest: [0.0; 3],
            training_loss: recent / counted.max(1) as f32,
        };
        model.highest = model.ranges(features, &images[..images.len().min(8)], &device);
        model
    }

    fn ranges(&self, features: &Features, images: &[usize], device: &Device) -> [f32; 3] {
        let hole_mask = hole(self.shape.window as usize, device);
        let mut highest = [0.0f32; 3];
        for &image in images {
            let input = standardised(features, &[image], &self.shift, &self.scale, device);
            let stages = self.layers.forward(input, &self.shape, &hole_mask);
            for (most, stage) in highest
                .iter_mut()
                .zip([stages.narrow, stages.ring, stages.mid])
            {
                *most = most.max(values(stage.max())[0]);
            }
        }
        highest
    }

    /// The network as ONNX: input `features` `[1, grid, grid, dimensions]`, output `logits`
    /// `[1, entries, grid, grid]`.
    pub(crate) fn onnx(&self, int8: bool) -> Vec<u8> {
        let shape = &self.shape;
        let (d, m, h, k, w, grid) = (
            shape.dimensions as usize,
            shape.bottleneck as usize,
            shape.hidden as usize,
            shape.entries as usize,
            shape.window as usize,
            shape.grid as usize,
        );
        let mut ring = values(self.layers.ring.val());
        for kernel in ring.chunks_exact_mut(w * w) {
            kernel[w * w / 2] = 0.0;
        }
        let mut graph = Graph::new(int8);
        let x = graph.channels_first("features");
        let x = graph.standardise(&x, &self.shift, &self.scale);
        let x = graph.rounded(&x, -FEATURE_RANGE, FEATURE_RANGE);
        let x = graph.convolution(
            &x,
            &pointwise(&self.layers.narrow, &self.layers.narrow_bias),
        );
        let x = graph.relu(&x);
        let x = graph.rounded(&x, 0.0, self.highest[0]);
        let ring = Convolution {
            weights: ring,
            biases: values(self.layers.ring_bias.val()),
            inputs: m,
            outputs: h,
            side: w,
            groups: 1,
        };
        let mut x = graph.convolution(&x, &ring);
        if shape.place {
            x = graph.add_constant(&x, &[1, h, grid, 1], &values(self.layers.row.val()));
            x = graph.add_constant(&x, &[1, h, 1, grid], &values(self.layers.column.val()));
        }
        let x = graph.relu(&x);
        let x = graph.rounded(&x, 0.0, self.highest[1]);
        let x = graph.convolution(&x, &pointwise(&self.layers.mid, &self.layers.mid_bias));
        let x = graph.relu(&x);
        let x = graph.rounded(&x, 0.0, self.highest[2]);
        let x = graph.convolution(&x, &pointwise(&self.layers.last, &self.layers.last_bias));
        graph.finish(
            ("features", &[1, grid, grid, d]),
            &x,
            ("logits", &[1, k, grid, grid]),
            "partgate-train",
        )
    }
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
