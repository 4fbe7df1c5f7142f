//! The published form: `ring -> BN -> ReLU -> (1x1 -> BN -> ReLU) x (layers - 2) -> 1x1 -> logits`.
//! The ring takes whole feature vectors. A fully connected layer over the concatenated window
//! without its centre is such a convolution, shared by all cells.

use super::super::training::{parameter, pointwise, values};
use super::{Stages, draw, ring};
use crate::export::{Convolution, Graph};
use burn::module::{Module, Param};
use burn::tensor::activation::relu;
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor, TensorData};
use partgate::score::NeighbourhoodShape;
use partgate::seed::Rng;

/// Against a division by zero in a channel that never varies.
const SMALLEST_VARIANCE: f32 = 1e-5;
/// Weight of the newest batch in the moments, after the first ten batches.
const MOMENTUM: f32 = 0.1;

/// Layers before a normalisation have no bias: the normalisation would remove it.
#[derive(Module, Debug)]
pub(super) struct PaperLayers {
    ring: Param<Tensor<4>>,
    between: Vec<Param<Tensor<2>>>,
    gains: Vec<Param<Tensor<1>>>,
    shifts: Vec<Param<Tensor<1>>>,
    last: Param<Tensor<2>>,
    last_bias: Param<Tensor<1>>,
}

/// Mean and variance by which a trained layer normalises each channel.
pub(super) struct Moments {
    mean: Vec<f32>,
    variance: Vec<f32>,
}

impl Moments {
    /// Adds the moments `seen` by the `step`-th batch, from 0: first as a plain mean of all
    /// batches, then as a moving average.
    pub(super) fn follow(moments: &mut Vec<Self>, seen: &[[Tensor<1>; 2]], step: usize) {
        let weight = (1.0 / (step + 1) as f32).max(MOMENTUM);
        for (layer, [mean, variance]) in seen.iter().enumerate() {
            let [mean, variance] = [mean, variance].map(|t| values(t.clone()));
            let Some(known) = moments.get_mut(layer) else {
                moments.push(Self { mean, variance });
                continue;
            };
            let pairs = known.mean.iter_mut().zip(mean);
            for (old, new) in pairs.chain(known.variance.iter_mut().zip(variance)) {
                *old += weight * (new - *old);
            }
        }
    }

    fn tensors(&self, device: &Device) -> [Tensor<1>; 2] {
        [&self.mean, &self.variance].map(|values| {
            Tensor::from_data(TensorData::new(values.clone(), [values.len()]), device)
        })
    }
}

impl PaperLayers {
    pub(super) fn new(
        shape: &NeighbourhoodShape,
        layers: usize,
        rng: &mut Rng,
        device: &Device,
    ) -> Self {
        let [d, h, k, w] =
            [shape.dimensions, shape.hidden, shape.entries, shape.window].map(|v| v as usize);
        let normalised = layers - 1;
        let constant = |value| parameter(vec![value; h], [h], device);
        Self {
            ring: parameter(
                draw(rng, h * d * w * w, d * (w * w - 1)),
                [h, d, w, w],
                device,
            ),
            between: (1..normalised)
                .map(|_| parameter(draw(rng, h * h, h), [h, h], device))
                .collect(),
            gains: (0..normalised).map(|_| constant(1.0)).collect(),
            shifts: (0..normalised).map(|_| constant(0.0)).collect(),
            last: parameter(draw(rng, h * k, 2 * h), [h, k], device),
            last_bias: parameter(vec![0.0; k], [k], device),
        }
    }

    /// `features` is `[images, cells, dimensions]`, standardised.
    pub(super) fn forward(
        &self,
        features: Tensor<3>,
        shape: &NeighbourhoodShape,
        hole: &Tensor<4>,
        moments: Option<&[Moments]>,
    ) -> Stages {
        let [n, cells, d] = features.dims();
        let (grid, h) = (shape.grid, shape.hidden as usize);
        let pad = shape.window as usize / 2;
        let map = features
            .reshape([n, grid.height, grid.width, d])
            .permute([0, 3, 1, 2]);
        let map = conv2d(
            map,
            self.ring.val() * hole.clone(),
            None,
            ConvOptions::new([1, 1], [pad, pad], [1, 1], 1),
        );
        let mut x = map.permute([0, 2, 3, 1]).reshape([n * cells, h]);
        let (mut rectified, mut seen) = (Vec::new(), Vec::new());
        for (layer, (gain, shift)) in self.gains.iter().zip(&self.shifts).enumerate() {
            if layer > 0 {
                x = x.matmul(self.between[layer - 1].val());
            }
            let known = moments.and_then(|m| m.get(layer));
            let [mean, variance] = match known {
                Some(moments) => moments.tensors(&x.device()),
                None => {
                    let mean = x.clone().mean_dim(0);
                    let apart = x.clone() - mean.clone();
                    let variance = (apart.clone() * apart).mean_dim(0);
                    [mean.reshape([h]), variance.reshape([h])]
                }
            };
            if known.is_none() {
                seen.push([mean.clone(), variance.clone()]);
            }
            let scale = gain.val() / (variance + SMALLEST_VARIANCE).sqrt();
            x = relu((x - mean.unsqueeze()) * scale.unsqueeze() + shift.val().unsqueeze());
            rectified.push(x.clone());
        }
        let logits = x.matmul(self.last.val()) + self.last_bias.val().unsqueeze();
        Stages {
            rectified,
            logits,
            seen,
        }
    }

    /// The `layer`-th normalisation as a factor and an offset of each channel.
    fn folded(&self, layer: usize, moments: &Moments) -> (Vec<f32>, Vec<f32>) {
        let [gains, shifts] =
            [&self.gains[layer], &self.shifts[layer]].map(|parameter| values(parameter.val()));
        let spread = moments.variance.iter();
        let factors: Vec<f32> = gains
            .iter()
            .zip(spread)
            .map(|(gain, variance)| gain / (variance + SMALLEST_VARIANCE).sqrt())
            .collect();
        let offsets = shifts
            .iter()
            .zip(&moments.mean)
            .zip(&factors)
            .map(|((shift, mean), factor)| shift - mean * factor)
            .collect();
        (factors, offsets)
    }

    /// Appends the layers to `graph`, normalisations within their weights, and names the logits.
    /// `highest` is the largest value after each rectified layer.
    pub(super) fn export(
        &self,
        graph: &mut Graph,
        input: &str,
        shape: &NeighbourhoodShape,
        moments: &[Moments],
        highest: &[f32],
    ) -> String {
        let h = shape.hidden as usize;
        let mut x = input.to_owned();
        for (layer, (moments, &highest)) in moments.iter().zip(highest).enumerate() {
            let (factors, offsets) = self.folded(layer, moments);
            let mut convolution = match layer.checked_sub(1) {
                None => ring(values(self.ring.val()), offsets, shape),
                Some(between) => Convolution {
                    weights: values(self.between[between].val().transpose()),
                    biases: offsets,
                    inputs: h,
                    outputs: h,
                    side: 1,
                    groups: 1,
                },
            };
            let inputs = convolution.weights.len() / h;
            for (row, factor) in convolution.weights.chunks_exact_mut(inputs).zip(&factors) {
                row.iter_mut().for_each(|w| *w *= factor);
            }
            x = graph.convolution(&x, &convolution);
            x = graph.relu(&x);
            x = graph.rounded(&x, 0.0, highest);
        }
        graph.convolution(&x, &pointwise(&self.last, &self.last_bias))
    }
}
