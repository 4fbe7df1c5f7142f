//! The form for small devices: `1x1 -> ReLU -> ring -> (+ row, column) -> ReLU -> 1x1 -> ReLU ->
//! 1x1 -> logits`. With `place`, a bias for each grid row and each grid column gives the network
//! the position.

use super::super::training::{parameter, pointwise, values};
use super::{Stages, draw, ring};
use crate::export::Graph;
use burn::module::{Module, Param};
use burn::tensor::activation::relu;
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor};
use partgate::score::{NeighbourhoodForm, NeighbourhoodShape};
use partgate::seed::Rng;

#[derive(Module, Debug)]
pub(super) struct EdgeLayers {
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

impl EdgeLayers {
    pub(super) fn new(shape: &NeighbourhoodShape, rng: &mut Rng, device: &Device) -> Self {
        let (d, m, h, k) = (
            shape.dimensions as usize,
            shape.bottleneck as usize,
            shape.hidden as usize,
            shape.entries as usize,
        );
        let (w, grid) = (shape.window as usize, shape.grid);
        let mut draw = |count, fan_in| draw(rng, count, fan_in);
        Self {
            narrow: parameter(draw(d * m, d), [d, m], device),
            narrow_bias: parameter(vec![0.0; m], [m], device),
            ring: parameter(draw(h * m * w * w, m * (w * w - 1)), [h, m, w, w], device),
            ring_bias: parameter(vec![0.0; h], [h], device),
            row: parameter(vec![0.0; h * grid.height], [1, h, grid.height, 1], device),
            column: parameter(vec![0.0; h * grid.width], [1, h, 1, grid.width], device),
            mid: parameter(draw(h * h, h), [h, h], device),
            mid_bias: parameter(vec![0.0; h], [h], device),
            last: parameter(draw(h * k, 2 * h), [h, k], device),
            last_bias: parameter(vec![0.0; k], [k], device),
        }
    }

    /// `features` is `[images, cells, dimensions]`, standardised.
    pub(super) fn forward(
        &self,
        features: Tensor<3>,
        shape: &NeighbourhoodShape,
        hole: &Tensor<4>,
    ) -> Stages {
        let [n, cells, d] = features.dims();
        let grid = shape.grid;
        let (m, h) = (shape.bottleneck as usize, shape.hidden as usize);
        let pad = shape.window as usize / 2;
        let narrow = relu(
            features.reshape([n * cells, d]).matmul(self.narrow.val())
                + self.narrow_bias.val().unsqueeze(),
        );
        let map = narrow
            .clone()
            .reshape([n, grid.height, grid.width, m])
            .permute([0, 3, 1, 2]);
        let mut map = conv2d(
            map,
            self.ring.val() * hole.clone(),
            Some(self.ring_bias.val()),
            ConvOptions::new([1, 1], [pad, pad], [1, 1], 1),
        );
        if knows_place(shape) {
            map = map + self.row.val() + self.column.val();
        }
        let ring = relu(map).permute([0, 2, 3, 1]).reshape([n * cells, h]);
        let mid = relu(ring.clone().matmul(self.mid.val()) + self.mid_bias.val().unsqueeze());
        let logits = mid.clone().matmul(self.last.val()) + self.last_bias.val().unsqueeze();
        Stages {
            rectified: vec![narrow, ring, mid],
            logits,
            seen: Vec::new(),
        }
    }

    /// Appends the layers to `graph` and names the logits. `highest` is the largest value after
    /// each rectified layer.
    pub(super) fn export(
        &self,
        graph: &mut Graph,
        input: &str,
        shape: &NeighbourhoodShape,
        highest: &[f32],
    ) -> String {
        let (h, grid) = (shape.hidden as usize, shape.grid);
        let x = graph.convolution(input, &pointwise(&self.narrow, &self.narrow_bias));
        let x = graph.relu(&x);
        let x = graph.rounded(&x, 0.0, highest[0]);
        let ring = ring(values(self.ring.val()), values(self.ring_bias.val()), shape);
        let mut x = graph.convolution(&x, &ring);
        if knows_place(shape) {
            x = graph.add_constant(&x, &[1, h, grid.height, 1], &values(self.row.val()));
            x = graph.add_constant(&x, &[1, h, 1, grid.width], &values(self.column.val()));
        }
        let x = graph.relu(&x);
        let x = graph.rounded(&x, 0.0, highest[1]);
        let x = graph.convolution(&x, &pointwise(&self.mid, &self.mid_bias));
        let x = graph.relu(&x);
        let x = graph.rounded(&x, 0.0, highest[2]);
        graph.convolution(&x, &pointwise(&self.last, &self.last_bias))
    }
}

fn knows_place(shape: &NeighbourhoodShape) -> bool {
    matches!(shape.form, NeighbourhoodForm::Edge { place: true })
}
