//! The networks of rule `glancing` (Glancing at the Patch, CVPR 2021), on the backbone's features.
//!
//! Local-Net codes a cell by itself. It learns from the features, which it must be able to give back,
//! with codes whose values do not repeat each other. Global-Net tells the code of a cell from the cells
//! around it, without the patch in the middle: its first layer is a partial convolution. A judge sees
//! both codes and tells cells as they are from cells with a stain, which is mixed into their features.

use super::features::Features;
use super::training::{Batches, Learning, parameter, pointwise, values};
use crate::export::{Convolution, Graph};
use burn::module::{Module, Param};
use burn::tensor::activation::{log_sigmoid, relu};
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor, TensorData};
use partgate::score::GlancingForm;
use partgate::seed::Rng;
use partgate::size::Size;

/// Published share of the inconsistency in the score.
pub(crate) const WEIGHT: f32 = 0.8;
/// Channels of the layers ([`GlancingForm::channels`]).
pub(crate) const CHANNELS: [u32; 4] = [24, 64, 32, 32];
/// Images a step.
const BATCH: usize = 2;
/// Standardised features are cut at this many standard deviations.
const FEATURE_RANGE: f32 = 8.0;
/// Least and most share of a stain in a cell's features.
const STAIN: [f32; 2] = [0.3, 1.0];

/// Codes a cell by itself.
#[derive(Module, Debug)]
struct Local {
    wide: Param<Tensor<2>>,
    wide_bias: Param<Tensor<1>>,
    code: Param<Tensor<2>>,
    code_bias: Param<Tensor<1>>,
    /// Gives the features back; only for learning.
    back: Param<Tensor<2>>,
    back_bias: Param<Tensor<1>>,
}

/// Codes a cell by its surroundings, and judges both codes.
#[derive(Module, Debug)]
struct Global {
    narrow: Param<Tensor<2>>,
    narrow_bias: Param<Tensor<1>>,
    ring: Param<Tensor<4>>,
    ring_bias: Param<Tensor<1>>,
    code: Param<Tensor<2>>,
    code_bias: Param<Tensor<1>>,
    judge: Param<Tensor<2>>,
    judge_bias: Param<Tensor<1>>,
    verdict: Param<Tensor<2>>,
    verdict_bias: Param<Tensor<1>>,
}

/// What the networks are for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GlancingShape {
    pub(crate) grid: Size,
    pub(crate) dimensions: usize,
    pub(crate) form: GlancingForm,
}

impl GlancingShape {
    fn channels(&self) -> [usize; 4] {
        self.form.channels.map(|c| c as usize)
    }

    /// Which of a window's cells count: all but the patch in the middle.
    fn mask(&self) -> Vec<f32> {
        let (window, hole) = (self.form.window as usize, self.form.hole as usize);
        let from = (window - hole) / 2;
        let inside = |at: usize| (from..from + hole).contains(&at);
        (0..window * window)
            .map(|at| f32::from(u8::from(!(inside(at / window) && inside(at % window)))))
            .collect()
    }

    /// Factor of the partial convolution at each cell: cells of a window over those that count and lie in
    /// the picture. 0 where none does.
    fn factors(&self) -> Vec<f32> {
        let (window, mask) = (self.form.window as usize, self.mask());
        let Size { width, height } = self.grid;
        let within = |at: usize, offset: usize, side: usize| {
            let at = (at + offset) as i64 - (window / 2) as i64;
            (0..side as i64).contains(&at)
        };
        (0..self.grid.area())
            .map(|cell| {
                let (x, y) = (cell % width, cell / width);
                let counted = (0..window * window).filter(|&at| {
                    mask[at] > 0.0
                        && within(y, at / window, height)
                        && within(x, at % window, width)
                });
                match counted.count() {
                    0 => 0.0,
                    count => (window * window) as f32 / count as f32,
                }
            })
            .collect()
    }
}

/// Draws of a layer of `inputs` and `outputs`, and biases of 0.
struct Draws<'a> {
    rng: &'a mut Rng,
    device: &'a Device,
}

impl Draws<'_> {
    fn values(&mut self, count: usize, fan_in: usize) -> Vec<f32> {
        let scale = (2.0 / fan_in as f32).sqrt();
        (0..count).map(|_| self.rng.gaussian() * scale).collect()
    }

    fn layer(&mut self, inputs: usize, outputs: usize) -> (Param<Tensor<2>>, Param<Tensor<1>>) {
        let weights = self.values(inputs * outputs, inputs);
        (
            parameter(weights, [inputs, outputs], self.device),
            parameter(vec![0.0; outputs], [outputs], self.device),
        )
    }
}

fn linear(x: Tensor<2>, weights: &Param<Tensor<2>>, biases: &Param<Tensor<1>>) -> Tensor<2> {
    x.matmul(weights.val()) + biases.val().unsqueeze()
}

impl Local {
    fn new(shape: &GlancingShape, draws: &mut Draws<'_>) -> Self {
        let (d, [_, hidden, code, _]) = (shape.dimensions, shape.channels());
        let (wide, wide_bias) = draws.layer(d, hidden);
        let (code_weights, code_bias) = draws.layer(hidden, code);
        let (back, back_bias) = draws.layer(code, d);
        Self {
            wide,
            wide_bias,
            code: code_weights,
            code_bias,
            back,
            back_bias,
        }
    }

    /// Codes of `features`, `[cells, dimensions]`, standardised.
    fn codes(&self, features: Tensor<2>) -> Tensor<2> {
        let wide = relu(linear(features, &self.wide, &self.wide_bias));
        linear(wide, &self.code, &self.code_bias)
    }

    /// How badly codes give the features back, and how much their values repeat each other.
    fn loss(&self, features: Tensor<2>) -> Tensor<1> {
        let codes = self.codes(features.clone());
        let back = linear(codes.clone(), &self.back, &self.back_bias);
        let missed = (back - features).powi_scalar(2).mean();
        missed + repeated(codes)
    }
}

/// The mean square of the correlations between different values of the codes, `[cells, values]`.
fn repeated(codes: Tensor<2>) -> Tensor<1> {
    let [count, width] = codes.dims();
    let centred = codes.clone() - codes.mean_dim(0);
    let spread = (centred.clone().powi_scalar(2).mean_dim(0) + 1e-6).sqrt();
    let unit = centred / spread;
    let correlations = unit.clone().transpose().matmul(unit) / count as f32;
    let own = Tensor::<2>::eye(width, &correlations.device());
    let pairs = (width * width.saturating_sub(1)).max(1) as f32;
    ((correlations * (own.neg() + 1.0)).powi_scalar(2)).sum() / pairs
}

impl Global {
    fn new(shape: &GlancingShape, draws: &mut Draws<'_>) -> Self {
        let (d, [narrow, hidden, code, judge]) = (shape.dimensions, shape.channels());
        let window = shape.form.window as usize;
        let counted = shape.mask().iter().sum::<f32>() as usize;
        let (narrow_weights, narrow_bias) = draws.layer(d, narrow);
        let ring = draws.values(hidden * narrow * window * window, narrow * counted);
        let ring = parameter(ring, [hidden, narrow, window, window], draws.device);
        let (code_weights, code_bias) = draws.layer(hidden, code);
        let (judge_weights, judge_bias) = draws.layer(2 * code, judge);
        let (verdict, verdict_bias) = draws.layer(judge, 1);
        Self {
            narrow: narrow_weights,
            narrow_bias,
            ring,
            ring_bias: parameter(vec![0.0; hidden], [hidden], draws.device),
            code: code_weights,
            code_bias,
            judge: judge_weights,
            judge_bias,
            verdict,
            verdict_bias,
        }
    }

    /// Codes of the cells of `images` images by their surroundings; `features` are `[images * cells,
    /// dimensions]`.
    fn codes(&self, features: Tensor<2>, images: usize, constant: &Constants) -> Tensor<2> {
        let (grid, window) = (constant.grid, constant.window);
        let narrow = relu(linear(features, &self.narrow, &self.narrow_bias));
        let [_, channels] = narrow.dims();
        let map = narrow
            .reshape([images, grid.height, grid.width, channels])
            .permute([0, 3, 1, 2]);
        let pad = window / 2;
        let around = conv2d(
            map,
            self.ring.val() * constant.mask.clone(),
            None,
            ConvOptions::new([1, 1], [pad, pad], [1, 1], 1),
        );
        let [_, hidden, _, _] = around.dims();
        let biases = self.ring_bias.val().reshape([1, hidden, 1, 1]);
        let around = relu(around * constant.factors.clone() + biases);
        let around = around
            .permute([0, 2, 3, 1])
            .reshape([images * grid.area(), hidden]);
        linear(around, &self.code, &self.code_bias)
    }

    /// How sure the judge is that cells are as they should be, logits `[cells, 1]`.
    fn judged(&self, local: Tensor<2>, global: Tensor<2>) -> Tensor<2> {
        let both = Tensor::cat(vec![local, global], 1);
        let hidden = relu(linear(both, &self.judge, &self.judge_bias));
        linear(hidden, &self.verdict, &self.verdict_bias)
    }
}

/// What every step shares.
struct Constants {
    grid: Size,
    window: usize,
    /// `[1, 1, window, window]`.
    mask: Tensor<4>,
    /// `[1, 1, rows, columns]`.
    factors: Tensor<4>,
}

impl Constants {
    fn new(shape: &GlancingShape, device: &Device) -> Self {
        let window = shape.form.window as usize;
        let Size { width, height } = shape.grid;
        let tensor = |values: Vec<f32>, dims: [usize; 4]| {
            Tensor::from_data(TensorData::new(values, dims), device)
        };
        Self {
            grid: shape.grid,
            window,
            mask: tensor(shape.mask(), [1, 1, window, window]),
            factors: tensor(shape.factors(), [1, 1, height, width]),
        }
    }
}

/// The images that are learnt from.
struct Lessons<'a> {
    features: &'a Features,
    images: &'a [usize],
    shift: Vec<f32>,
    scale: Vec<f32>,
}

impl Lessons<'_> {
    /// Standardised features of `batch`, `[images * cells, dimensions]`.
    fn standardised(&self, batch: &[usize]) -> Vec<f32> {
        let d = self.features.dimensions;
        let vectors = batch
            .iter()
            .flat_map(|&image| self.features.image(image).chunks_exact(d));
        vectors.flat_map(|vector| self.unit(vector)).collect()
    }

    fn unit(&self, vector: &[f32]) -> impl Iterator<Item = f32> {
        let centred = vector.iter().zip(&self.shift).zip(&self.scale);
        centred.map(|((v, m), s)| ((v - m) * s).clamp(-FEATURE_RANGE, FEATURE_RANGE))
    }

    /// The same with a stain in every cell: a share of what another place of a good image shows.
    fn stained(&self, clean: &[f32], rng: &mut Rng) -> Vec<f32> {
        let d = self.features.dimensions;
        let cells = self.features.cells();
        let mut out = Vec::with_capacity(clean.len());
        for vector in clean.chunks_exact(d) {
            let image = self.images[rng.below(self.images.len())];
            let other = &self.features.image(image)[rng.below(cells) * d..][..d];
            let share = STAIN[0] + (STAIN[1] - STAIN[0]) * rng.unit();
            let mixed = vector.iter().zip(self.unit(other));
            out.extend(mixed.map(|(own, other)| own + share * (other - own)));
        }
        out
    }
}

/// Trained networks.
pub(crate) struct GlancingModel {
    shape: GlancingShape,
    shift: Vec<f32>,
    scale: Vec<f32>,
    local: Local,
    global: Global,
}

impl GlancingModel {
    /// Trains on `images`: first Local-Net, then Global-Net and the judge, [`Learning::steps`] steps
    /// each. `tick` is called after each step.
    pub(crate) fn train(
        features: &Features,
        images: &[usize],
        shape: GlancingShape,
        learning: &Learning,
        tick: &(dyn Fn() + Sync),
    ) -> Self {
        let device = Device::flex().autodiff();
        let mut rng = Rng::stream(learning.seed, learning.stream);
        let (shift, scale) = super::neighbourhood::statistics(features, images);
        let lessons = Lessons {
            features,
            images,
            shift,
            scale,
        };
        let mut draws = Draws {
            rng: &mut rng,
            device: &device,
        };
        let mut local = Local::new(&shape, &mut draws);
        let mut global = Global::new(&shape, &mut draws);
        let tensor = |values: Vec<f32>| -> Tensor<2> {
            let dims = [values.len() / shape.dimensions, shape.dimensions];
            Tensor::from_data(TensorData::new(values, dims), &device)
        };
        let mut batches = Batches::new(images.len(), BATCH);
        let mut next = |rng: &mut Rng| -> Vec<usize> {
            batches.next(rng).into_iter().map(|i| images[i]).collect()
        };
        let mut optimiser = learning.optimiser();
        for step in 0..learning.steps {
            let batch = next(&mut rng);
            let loss = local.loss(tensor(lessons.standardised(&batch)));
            local = learning.step(step, &mut optimiser, local, &loss);
            tick();
        }
        let constants = Constants::new(&shape, &device);
        let mut optimiser = learning.optimiser();
        for step in 0..learning.steps {
            let batch = next(&mut rng);
            let clean = lessons.standardised(&batch);
            let stained = lessons.stained(&clean, &mut rng);
            let clean = tensor(clean);
            let own = local.codes(clean.clone()).detach();
            let stained = local.codes(tensor(stained)).detach();
            let told = global.codes(clean, batch.len(), &constants);
            let inconsistent = (told.clone() - own.clone()).powi_scalar(2).mean();
            // The judge does not bend the codes that it judges.
            let told = told.detach();
            let right = log_sigmoid(global.judged(own, told.clone())).mean();
            let wrong = log_sigmoid(global.judged(stained, told).neg()).mean();
            let loss = inconsistent - (right + wrong) / 2.0;
            global = learning.step(step, &mut optimiser, global, &loss);
            tick();
        }
        Self {
            shape,
            shift: lessons.shift,
            scale: lessons.scale,
            local,
            global,
        }
    }

    /// The networks as one ONNX file: input `features` `[1, rows, columns, dimensions]`, output `parts`
    /// `[1, 2, rows, columns]`, the inconsistency and the distortion.
    pub(crate) fn onnx(&self) -> Vec<u8> {
        let shape = &self.shape;
        let [narrow, hidden, code, _] = shape.channels();
        let Size { width, height } = shape.grid;
        let mut graph = Graph::new(false);
        let x = graph.channels_first("features");
        let x = graph.standardise(&x, &self.shift, &self.scale);
        let x = graph.clipped(&x, -FEATURE_RANGE, FEATURE_RANGE);
        let (local, global) = (&self.local, &self.global);
        let own = graph.convolution(&x, &pointwise(&local.wide, &local.wide_bias));
        let own = graph.relu(&own);
        let own = graph.convolution(&own, &pointwise(&local.code, &local.code_bias));
        let told = graph.convolution(&x, &pointwise(&global.narrow, &global.narrow_bias));
        let told = graph.relu(&told);
        let mask = shape.mask();
        let mut weights = values(global.ring.val());
        for kernel in weights.chunks_exact_mut(mask.len()) {
            kernel.iter_mut().zip(&mask).for_each(|(w, m)| *w *= m);
        }
        let ring = Convolution {
            weights,
            biases: vec![0.0; hidden],
            inputs: narrow,
            outputs: hidden,
            side: shape.form.window as usize,
            groups: 1,
        };
        let told = graph.convolution(&told, &ring);
        let told = graph.times_constant(&told, &[1, 1, height, width], &shape.factors());
        let biases = values(global.ring_bias.val());
        let told = graph.add_constant(&told, &[1, hidden, 1, 1], &biases);
        let told = graph.relu(&told);
        let told = graph.convolution(&told, &pointwise(&global.code, &global.code_bias));
        let apart = graph.difference(&own, &told);
        let squares = graph.product(&apart, &apart);
        let mean = Convolution {
            weights: vec![1.0 / code as f32; code],
            biases: vec![0.0],
            inputs: code,
            outputs: 1,
            side: 1,
            groups: 1,
        };
        let inconsistent = graph.convolution(&squares, &mean);
        let both = graph.stacked(&own, &told);
        let judged = graph.convolution(&both, &pointwise(&global.judge, &global.judge_bias));
        let judged = graph.relu(&judged);
        // How sure the judge is that it is not as it should be.
        let mut verdict = pointwise(&global.verdict, &global.verdict_bias);
        let flipped = verdict.weights.iter_mut().chain(&mut verdict.biases);
        flipped.for_each(|w| *w = -*w);
        let judged = graph.convolution(&judged, &verdict);
        let distorted = graph.sigmoid(&judged);
        let parts = graph.stacked(&inconsistent, &distorted);
        graph.finish(
            ("features", &[1, height, width, shape.dimensions]),
            &parts,
            ("parts", &[1, 2, height, width]),
            "partgate-train",
        )
    }
}

#[cfg(test)]
#[path = "glancing_tests.rs"]
mod tests;
