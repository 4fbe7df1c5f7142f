//! Training of the small networks: parameters, batches, Adam, the learning rate.

use crate::export::Convolution;
use burn::module::{Module, Param};
use burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Tensor, TensorData};
use partgate::seed::Rng;

/// Length and speed of a training.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Learning {
    /// Steps of one batch each.
    pub(crate) steps: usize,
    /// Highest learning rate of Adam.
    pub(crate) rate: f64,
    pub(crate) seed: u64,
    /// Which of the seed's streams the draws come from.
    pub(crate) stream: u64,
}

impl Learning {
    pub(crate) fn optimiser(&self) -> ModuleOptimizer {
        AdamConfig::new().init()
    }

    /// Rises over the first twentieth, then falls along a half cosine to nothing.
    fn rate_at(&self, step: usize) -> f64 {
        let at = (step as f64 + 0.5) / self.steps as f64;
        let warm = (at / 0.05).min(1.0);
        self.rate * warm * 0.5 * (1.0 + (std::f64::consts::PI * at).cos())
    }

    /// One step of Adam down `loss`.
    pub(crate) fn step<M: Module>(
        &self,
        step: usize,
        optimiser: &mut ModuleOptimizer,
        module: M,
        loss: &Tensor<1>,
    ) -> M {
        let gradients = GradientsParams::from_grads(loss.backward(), &module);
        optimiser.step(self.rate_at(step), module, gradients)
    }
}

/// Batches of samples, drawn without replacement.
pub(crate) struct Batches {
    samples: usize,
    size: usize,
    /// Samples that are still to come before all of them are drawn again.
    order: Vec<usize>,
}

impl Batches {
    /// Batches of `size` of the samples `0..samples`, or of all where there are fewer.
    pub(crate) fn new(samples: usize, size: usize) -> Self {
        Self {
            samples,
            size: size.min(samples),
            order: Vec::new(),
        }
    }

    pub(crate) fn next(&mut self, rng: &mut Rng) -> Vec<usize> {
        (0..self.size)
            .map(|_| {
                if self.order.is_empty() {
                    self.order = rng.permutation(self.samples);
                }
                // Never empty: refilled above.
                self.order.pop().unwrap_or(0)
            })
            .collect()
    }
}

/// A trainable tensor.
pub(crate) fn parameter<const D: usize>(
    values: Vec<f32>,
    shape: [usize; D],
    device: &Device,
) -> Param<Tensor<D>> {
    Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), device))
}

/// A linear layer as the 1 x 1 convolution that a file holds: burn keeps weights as
/// `[inputs, outputs]`, a convolution wants the transpose.
pub(crate) fn pointwise(weights: &Param<Tensor<2>>, biases: &Param<Tensor<1>>) -> Convolution {
    let [inputs, outputs] = weights.val().dims();
    Convolution {
        weights: values(weights.val().transpose()),
        biases: values(biases.val()),
        inputs,
        outputs,
        side: 1,
        groups: 1,
    }
}

/// A tensor's values, row-major. Empty for a tensor that is not f32, which none is here; a file of
/// no values would not load.
pub(crate) fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as::<f32>().unwrap_or_default()
}
