//! The refinement network: a second look at the cell scores (PNI, arXiv 2211.12634, section 3.3, in
//! a form for small devices), trained on damaged copies of good images.
//!
//! `features, score -> 1x1 -> ReLU -> blocks x (3x3 a channel -> ReLU -> 1x1 -> ReLU) -> 1x1 ->
//! correction`; refined = score + correction, never below 0. The target of the correction is 1 in
//! damaged cells and 0 elsewhere, so high scores on good parts stay high. A network that learns to
//! lower them ranks most damage higher, but also the one unusual good part that sets the threshold
//! (docs/method.md has figures).

use super::training::{Batches, Learning, parameter, pointwise, values};
use crate::error::TrainError;
use crate::export::{Convolution, Graph};
use crate::metrics::image_auroc;
use burn::module::{Module, Param};
use burn::tensor::activation::relu;
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor, TensorData};
use partgate::network::{NetworkError, Precision, Threads};
use partgate::refine::{RefinementShape, Refiner};
use partgate::seed::Rng;
use partgate::size::Size;
use rayon::prelude::*;
use std::ops::Range;

/// Images a step.
const BATCH: usize = 8;
/// Limit of standardised features, and of the score over the scale times [`SCORE_GAIN`].
const INPUT_RANGE: f32 = 8.0;
/// A score is about 1 at most on a good part; this gives it the spread of a standardised feature
/// and finer steps in int8.
const SCORE_GAIN: f32 = 2.0;
/// A cell that has changed by this share is damaged; below it, in proportion.
const FULLY_CHANGED: f32 = 0.25;
/// Images that set the ranges of int8 activations.
const RANGE_IMAGES: usize = 16;
/// Weights that [`choose_weight`] compares.
const WEIGHTS: [f32; 7] = [0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0];
/// A weight must bring damaged copies this much nearer to the threshold, as a logarithm, ...
const LEAST_GAIN: f64 = 0.002;
/// ... and may cost this much AUROC ...
const AUROC_SLACK: f64 = 0.005;
/// ... and this share of damaged copies above the threshold.
const CAUGHT_SLACK: f64 = 0.02;

/// The usual network: 7.6 thousand products a cell with 152 features, 0.008 GMAC at 32 x 32.
pub(crate) fn default_shape(grid: Size, dimensions: u32, precision: Precision) -> RefinementShape {
    RefinementShape {
        grid,
        dimensions,
        channels: 32,
        blocks: 2,
        precision,
    }
}

/// Steps that suffice for about 50 good images and 200 damaged copies.
pub(crate) const STEPS: usize = 400;
/// Highest learning rate.
pub(crate) const RATE: f64 = 3e-3;

/// The unit of the scores that the network sees: the median image score of held-out good images.
pub(crate) fn scale_of(image_scores: &[f32]) -> f32 {
    let mut sorted = image_scores.to_vec();
    sorted.sort_by(f32::total_cmp);
    let middle = sorted.get(sorted.len() / 2).copied().unwrap_or(1.0);
    // All good images may be equal, cell by cell; then any unit is right.
    if middle > 0.0 && middle.is_finite() {
        middle
    } else {
        1.0
    }
}

/// One image that the network learns from, good or damaged.
pub(crate) struct Sample<'a> {
    /// `[cells, dimensions]`.
    pub(crate) features: &'a [f32],
    /// `[cells]`: distances under the product's rule, from a bank without the image.
    pub(crate) scores: Vec<f32>,
    /// `[cells]`: share of damaged pixels in the cell.
    pub(crate) changed: Vec<f32>,
    /// The good image that it comes from. Folds hold out whole groups.
    pub(crate) group: usize,
}

impl Sample<'_> {
    fn damaged(&self) -> bool {
        self.changed.iter().any(|&c| c > 0.0)
    }
}

/// Target of the correction.
fn damage(changed: f32) -> f32 {
    (changed / FULLY_CHANGED).min(1.0)
}

#[derive(Module, Debug)]
struct Block {
    spatial: Param<Tensor<4>>,
    spatial_bias: Param<Tensor<1>>,
    mix: Param<Tensor<2>>,
    mix_bias: Param<Tensor<1>>,
}

#[derive(Module, Debug)]
struct Layers {
    first: Param<Tensor<2>>,
    first_bias: Param<Tensor<1>>,
    blocks: Vec<Block>,
    last: Param<Tensor<2>>,
    last_bias: Param<Tensor<1>>,
}

/// Values between the layers.
struct Stages {
    /// After each rectified layer, for the export's ranges.
    rectified: Vec<Tensor<2>>,
    /// `[images * cells, 1]`.
    correction: Tensor<2>,
}

impl Layers {
    fn new(shape: &RefinementShape, rng: &mut Rng, device: &Device) -> Self {
        let [d, c] = [shape.dimensions, shape.channels].map(|v| v as usize);
        // He's initialisation, by the pinned generator.
        let mut draw = |count: usize, fan_in: usize| -> Vec<f32> {
            let deviation = (2.0 / fan_in as f32).sqrt();
            (0..count).map(|_| rng.gaussian() * deviation).collect()
        };
        let zeros = |count: usize| parameter(vec![0.0; count], [count], device);
        Self {
            first: parameter(draw((d + 1) * c, d + 1), [d + 1, c], device),
            first_bias: zeros(c),
            blocks: (0..shape.blocks)
                .map(|_| Block {
                    spatial: parameter(draw(c * 9, 9), [c, 1, 3, 3], device),
                    spatial_bias: zeros(c),
                    mix: parameter(draw(c * c, c), [c, c], device),
                    mix_bias: zeros(c),
                })
                .collect(),
            // No correction at first: the network starts as the score itself.
            last: parameter(vec![0.0; c], [c, 1], device),
            last_bias: zeros(1),
        }
    }

    /// `input` is `[images, cells, dimensions + 1]` as [`RefinementModel::input`] makes it.
    fn forward(&self, input: Tensor<3>, shape: &RefinementShape) -> Stages {
        let [n, cells, d] = input.dims();
        let (grid, c) = (shape.grid, shape.channels as usize);
        let flat = input.reshape([n * cells, d]);
        let mut x = relu(flat.matmul(self.first.val()) + self.first_bias.val().unsqueeze());
        let mut rectified = vec![x.clone()];
        for block in &self.blocks {
            let map = x
                .reshape([n, grid.height, grid.width, c])
                .permute([0, 3, 1, 2]);
            let map = relu(conv2d(
                map,
                block.spatial.val(),
                Some(block.spatial_bias.val()),
                ConvOptions::new([1, 1], [1, 1], [1, 1], c),
            ));
            let spatial = map.permute([0, 2, 3, 1]).reshape([n * cells, c]);
            x = relu(spatial.clone().matmul(block.mix.val()) + block.mix_bias.val().unsqueeze());
            rectified.extend([spatial, x.clone()]);
        }
        let correction = x.matmul(self.last.val()) + self.last_bias.val().unsqueeze();
        Stages {
            rectified,
            correction,
        }
    }
}

/// Half the mean squared error, and a quarter each of that of the horizontal and the vertical
/// differences.
fn loss(correction: Tensor<2>, wanted: Tensor<2>, images: usize, grid: Size) -> Tensor<1> {
    let Size { width, height } = grid;
    let error = (correction - wanted).reshape([images, height, width]);
    let square = |error: Tensor<3>| (error.clone() * error).mean();
    let level = square(error.clone()).mul_scalar(0.5);
    if grid.shorter() < 2 {
        return level;
    }
    let part =
        |rows: Range<usize>, columns: Range<usize>| error.clone().slice([0..images, rows, columns]);
    let across = part(0..height, 1..width) - part(0..height, 0..width - 1);
    let down = part(1..height, 0..width) - part(0..height - 1, 0..width);
    level + (square(across) + square(down)).mul_scalar(0.25)
}

/// A trained network.
pub(crate) struct RefinementModel {
    shape: RefinementShape,
    scale: f32,
    /// Of the network's input, `[dimensions + 1]`.
    shift: Vec<f32>,
    gain: Vec<f32>,
    layers: Layers,
    /// Largest value after each rectified layer, over some of the samples.
    highest: Vec<f32>,
    /// Mean loss of the last steps.
    pub(crate) training_loss: f32,
}

/// Mean and inverse standard deviation of each channel over the undamaged samples' cells (all
/// samples' where all are damaged).
fn statistics(samples: &[&Sample<'_>], dimensions: usize) -> (Vec<f32>, Vec<f32>) {
    let all_damaged = samples.iter().all(|s| s.damaged());
    let mut sums = vec![[0.0f64; 2]; dimensions];
    let mut count = 0.0;
    for sample in samples.iter().filter(|s| all_damaged || !s.damaged()) {
        for vector in sample.features.chunks_exact(dimensions) {
            count += 1.0;
            for (sum, &v) in sums.iter_mut().zip(vector) {
                sum[0] += f64::from(v);
                sum[1] += f64::from(v) * f64::from(v);
            }
        }
    }
    let moments = |&[sum, square]: &[f64; 2]| {
        let mean = sum / count;
        let deviation = (square / count - mean * mean).max(0.0).sqrt();
        (mean as f32, (1.0 / (deviation + 1e-6)) as f32)
    };
    sums.iter().map(moments).unzip()
}

impl RefinementModel {
    /// Trains on `samples`. `scale` is the unit of the scores that the network sees. Calls `tick`
    /// after each of [`Learning::steps`] steps.
    ///
    /// # Panics
    /// When there are no samples or one has another shape: a programming error.
    pub(crate) fn train(
        samples: &[Sample<'_>],
        shape: RefinementShape,
        scale: f32,
        learning: &Learning,
        tick: &(dyn Fn() + Sync),
    ) -> Self {
        let samples: Vec<&Sample<'_>> = samples.iter().collect();
        Self::learn(&samples, shape, scale, learning, tick)
    }

    fn learn(
        samples: &[&Sample<'_>],
        shape: RefinementShape,
        scale: f32,
        learning: &Learning,
        tick: &(dyn Fn() + Sync),
    ) -> Self {
        let (grid, d) = (shape.grid, shape.dimensions as usize);
        assert!(!samples.is_empty(), "nothing to learn from");
        let fits = |s: &&Sample<'_>| {
            let cells = [s.scores.len(), s.changed.len(), s.features.len() / d];
            cells == [grid.area(); 3]
        };
        assert!(samples.iter().all(fits), "samples of another shape");
        let device = Device::flex().autodiff();
        let mut rng = Rng::stream(learning.seed, learning.stream);
        let (mut shift, mut gain) = statistics(samples, d);
        shift.push(0.0);
        gain.push(SCORE_GAIN);
        let mut model = Self {
            layers: Layers::new(&shape, &mut rng, &device),
            shape,
            scale,
            shift,
            gain,
            highest: Vec::new(),
            training_loss: 0.0,
        };
        let mut optimiser = learning.optimiser();
        let mut batches = Batches::new(samples.len(), BATCH);
        let mut recent = Vec::new();
        for step in 0..learning.steps {
            let batch: Vec<&Sample<'_>> = batches
                .next(&mut rng)
                .into_iter()
                .map(|i| samples[i])
                .collect();
            let wanted: Vec<f32> = batch
                .iter()
                .flat_map(|s| s.changed.iter().map(|&c| damage(c)))
                .collect();
            let count = wanted.len();
            let wanted = Tensor::from_data(TensorData::new(wanted, [count, 1]), &device);
            let input = model.input(batch.iter().map(|s| (s.features, &s.scores[..])), &device);
            let correction = model.layers.forward(input, &model.shape).correction;
            let loss = loss(correction, wanted, batch.len(), grid);
            if step + 20 >= learning.steps {
                recent.push(values(loss.clone())[0]);
            }
            model.layers = learning.step(step, &mut optimiser, model.layers, &loss);
            tick();
        }
        model.training_loss = recent.iter().sum::<f32>() / recent.len().max(1) as f32;
        model.highest = model.ranges(samples);
        model
    }

    /// Images of `[cells, dimensions]` features and `[cells]` scores as the first layer sees them:
    /// `[images, cells, dimensions + 1]`.
    fn input<'a>(
        &self,
        images: impl Iterator<Item = (&'a [f32], &'a [f32])>,
        device: &Device,
    ) -> Tensor<3> {
        let d = self.shape.dimensions as usize;
        let mut input = Vec::new();
        let mut count = 0;
        let limited = |v: f32| v.clamp(-INPUT_RANGE, INPUT_RANGE);
        for (features, scores) in images {
            count += 1;
            for (vector, score) in features.chunks_exact(d).zip(scores) {
                let centred = vector.iter().zip(&self.shift).zip(&self.gain);
                input.extend(centred.map(|((v, m), g)| limited((v - m) * g)));
                input.push(limited(score / self.scale * SCORE_GAIN));
            }
        }
        let cells = input.len() / (count * (d + 1)).max(1);
        Tensor::from_data(TensorData::new(input, [count, cells, d + 1]), device)
    }

    /// Largest value after each rectified layer: over as many damaged samples as good ones.
    fn ranges(&self, samples: &[&Sample<'_>]) -> Vec<f32> {
        let device = Device::flex();
        let layers = self.layers.clone().to_device(&device);
        let mut highest = vec![0.0f32; 1 + 2 * layers.blocks.len()];
        for damaged in [false, true] {
            let of_kind = samples.iter().filter(|s| s.damaged() == damaged);
            for sample in of_kind.take(RANGE_IMAGES / 2) {
                let image = std::iter::once((sample.features, &sample.scores[..]));
                let stages = layers.forward(self.input(image, &device), &self.shape);
                for (most, stage) in highest.iter_mut().zip(stages.rectified) {
                    *most = most.max(values(stage.max())[0]);
                }
            }
        }
        highest
    }

    /// The network as ONNX: input `cells` `[1, rows, columns, dimensions + 1]`, the last channel being
    /// the score over the scale; output `refined` `[1, 1, rows, columns]` in the same unit.
    pub(crate) fn onnx(&self, int8: bool) -> Vec<u8> {
        let Size { width, height } = self.shape.grid;
        let [d, c] = [self.shape.dimensions, self.shape.channels].map(|v| v as usize);
        let layers = &self.layers;
        let mut highest = self.highest.iter().copied();
        let mut graph = Graph::new(int8);
        let mut rectified = |graph: &mut Graph, x: &str, layer: &Convolution| {
            let x = graph.convolution(x, layer);
            let x = graph.relu(&x);
            graph.rounded(&x, 0.0, highest.next().unwrap_or(0.0))
        };
        let cells = graph.channels_first("cells");
        let x = graph.standardise(&cells, &self.shift, &self.gain);
        let x = graph.clipped(&x, -INPUT_RANGE, INPUT_RANGE);
        let x = graph.rounded(&x, -INPUT_RANGE, INPUT_RANGE);
        let mut x = rectified(
            &mut graph,
            &x,
            &pointwise(&layers.first, &layers.first_bias),
        );
        for block in &layers.blocks {
            let spatial = Convolution {
                weights: values(block.spatial.val()),
                biases: values(block.spatial_bias.val()),
                inputs: c,
                outputs: c,
                side: 3,
                groups: c,
            };
            x = rectified(&mut graph, &x, &spatial);
            x = rectified(&mut graph, &x, &pointwise(&block.mix, &block.mix_bias));
        }
        let correction = graph.convolution(&x, &pointwise(&layers.last, &layers.last_bias));
        // The score itself is not rounded.
        let score = graph.channel(&cells, d);
        let refined = graph.add(&score, &correction);
        let refined = graph.relu(&refined);
        graph.finish(
            ("cells", &[1, height, width, d + 1]),
            &refined,
            ("refined", &[1, 1, height, width]),
            "partgate-train",
        )
    }

    /// The network as a product runs it, in the shape's precision.
    pub(crate) fn refiner(&self, weight: f32, threads: &Threads) -> Result<Refiner, NetworkError> {
        let onnx = self.onnx(self.shape.precision == Precision::Int8);
        Refiner::load(&onnx, self.shape, self.scale, weight, threads)
    }
}

/// Refined scores of every sample, `[samples][cells]`, by networks that have seen no sample of its
/// fold, as the product runs its own. Thresholds and [`choose_weight`] need these: a network that
/// has seen the image would set the threshold too low. `fold` gives a group's fold, in `0..folds`,
/// whose bank gave the scores. Calls `tick` as [`RefinementModel::train`] does, for each fold.
pub(crate) fn held_out(
    samples: &[Sample<'_>],
    folds: usize,
    fold: &dyn Fn(usize) -> usize,
    shape: RefinementShape,
    scale: f32,
    learning: &Learning,
    tick: &(dyn Fn() + Sync),
) -> Result<Vec<Vec<f32>>, NetworkError> {
    let of: Vec<usize> = samples.iter().map(|s| fold(s.group)).collect();
    // The networks are small: one thread each, the folds side by side.
    let found: Vec<Vec<(usize, Vec<f32>)>> = (0..folds)
        .into_par_iter()
        .map(|held| {
            let both = || samples.iter().zip(&of);
            let others: Vec<&Sample<'_>> = both()
                .filter(|(_, fold)| **fold != held)
                .map(|(s, _)| s)
                .collect();
            if others.is_empty() {
                return Ok(Vec::new());
            }
            let learning = Learning {
                stream: learning.stream + 1 + held as u64,
                ..*learning
            };
            let model = RefinementModel::learn(&others, shape, scale, &learning, tick);
            let mut refiner = model.refiner(1.0, &Threads::default())?;
            both()
                .enumerate()
                .filter(|(_, (_, fold))| **fold == held)
                .map(|(index, (sample, _))| {
                    let mut scores = sample.scores.clone();
                    refiner.run(sample.features, &mut scores)?;
                    Ok((index, scores))
                })
                .collect::<Result<Vec<_>, NetworkError>>()
        })
        .collect::<Result<_, _>>()?;
    let mut refined: Vec<Vec<f32>> = samples.iter().map(|s| s.scores.clone()).collect();
    for (index, scores) in found.into_iter().flatten() {
        refined[index] = scores;
    }
    Ok(refined)
}

/// An image with the scores of its cells in each partition, of which there is at least one.
pub(crate) struct HeldOutImage<'a> {
    pub(crate) damaged: bool,
    pub(crate) partitions: Vec<HeldOutCells<'a>>,
}

impl HeldOutImage<'_> {
    /// The image score at `weight` of the refined cells, the mean over the partitions.
    pub(crate) fn score(&self, weight: f32, image_score: &mut dyn FnMut(&[f32]) -> f32) -> f32 {
        let scores = self
            .partitions
            .iter()
            .map(|cells| f64::from(image_score(&cells.fused(weight))));
        (scores.sum::<f64>() / self.partitions.len() as f64) as f32
    }
}

/// Scores of an image's cells, and the same refined by a network that has not seen the image
/// ([`held_out`]).
#[derive(Clone, Copy)]
pub(crate) struct HeldOutCells<'a> {
    pub(crate) original: &'a [f32],
    pub(crate) refined: &'a [f32],
}

impl HeldOutCells<'_> {
    /// Both together at `weight` of the refined ones, as the runtime does it.
    pub(crate) fn fused(&self, weight: f32) -> Vec<f32> {
        let pairs = self.original.iter().zip(self.refined);
        pairs
            .map(|(&score, &refined)| {
                let corrected = (1.0 - weight) * score + weight * refined;
                if corrected < 0.0 { 0.0 } else { corrected }
            })
            .collect()
    }
}

/// Figures of one weight on held-out images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct WeightFigures {
    pub(crate) weight: f32,
    /// Highest image score of a good image.
    pub(crate) threshold: f32,
    /// AUROC of goods against damaged copies.
    pub(crate) separation: f64,
    /// Share of damaged copies above the threshold.
    pub(crate) caught: f64,
    /// Mean of `-ln(score / threshold)` over damaged copies; those above the threshold count 0.
    pub(crate) shortfall: f64,
}

/// The weight taken, 0 where refinement does not pay, and the figures of all that were compared;
/// the first is without refinement.
#[derive(Clone, Debug)]
pub(crate) struct WeightChoice {
    pub(crate) weight: f32,
    pub(crate) figures: Vec<WeightFigures>,
}

impl WeightChoice {
    /// The figures of the weight taken.
    pub(crate) fn taken(&self) -> &WeightFigures {
        let taken = self.figures.iter().find(|f| f.weight == self.weight);
        taken.unwrap_or(&self.figures[0])
    }
}

/// Takes the weight under which damaged copies that a threshold above all goods lets pass come
/// nearest to it. How high the rest stands does not count: an average of that would take weights
/// that raise what is caught anyway and the threshold with it. `image_score` makes an image score
/// of cell scores.
pub(crate) fn choose_weight(
    held: &[HeldOutImage<'_>],
    image_score: &mut dyn FnMut(&[f32]) -> f32,
) -> Result<WeightChoice, TrainError> {
    let damaged: Vec<bool> = held.iter().map(|h| h.damaged).collect();
    let mut figures = Vec::new();
    for weight in WEIGHTS {
        let scores: Vec<f32> = held
            .iter()
            .map(|image| image.score(weight, image_score))
            .collect();
        let separation = image_auroc(&scores, &damaged)?;
        let goods = scores.iter().zip(&damaged).filter(|(_, d)| !**d);
        let threshold = goods.fold(0.0f32, |most, (&s, _)| most.max(s));
        let (mut caught, mut shortfall, mut count) = (0.0, 0.0, 0.0);
        for (&score, _) in scores.iter().zip(&damaged).filter(|(_, d)| **d) {
            count += 1.0;
            if score > threshold {
                caught += 1.0;
            } else {
                shortfall -= f64::from((score / threshold.max(1e-12)).max(1e-6))
                    .ln()
                    .min(0.0);
            }
        }
        figures.push(WeightFigures {
            weight,
            threshold,
            separation,
            caught: caught / count,
            shortfall: shortfall / count,
        });
    }
    let plain = figures[0];
    let sound = |f: &&WeightFigures| {
        f.separation >= plain.separation - AUROC_SLACK
            && f.caught >= plain.caught - CAUGHT_SLACK
            && f.shortfall <= plain.shortfall - LEAST_GAIN
    };
    let best = figures
        .iter()
        .filter(sound)
        .min_by(|a, b| a.shortfall.total_cmp(&b.shortfall));
    Ok(WeightChoice {
        weight: best.map_or(0.0, |f| f.weight),
        figures,
    })
}

#[cfg(test)]
#[path = "refinement_tests.rs"]
mod tests;
