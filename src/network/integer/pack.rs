//! Weights in the order in which the kernels read them.

use super::description::Convolution;
use super::kernels::{
    BLOCK, Blocks, Filter, Kernel, LANES, PANELS, Panels, QUAD, Saturation, Taps, packed_blocks,
    places, touched,
};

/// Weights, biases and multipliers of a step, padded to whole groups of channels.
#[derive(Clone)]
pub(super) struct Packed {
    groups: usize,
    steps: usize,
    weights: Blocks,
    bias: Vec<i32>,
    factors: Vec<f32>,
    saturation: Saturation,
}

/// How a convolution's sums become the bytes of its result.
pub(super) struct Rounding<'a> {
    pub(super) input_zero: u8,
    pub(super) factors: &'a [f32],
    pub(super) saturation: Saturation,
}

/// Order of the input's bytes.
#[derive(Clone, Copy)]
pub(super) enum Order {
    /// Pixel by pixel, this many bytes each.
    Pixels(usize),
    /// Four channels by four channels, whole groups: what a depthwise step leaves.
    Channels,
}

impl Packed {
    /// Of a convolution that is not depthwise.
    pub(super) fn dense(
        c: &Convolution,
        order: Order,
        rounding: &Rounding<'_>,
        kernel: Kernel,
    ) -> Self {
        Self::grouped(c, c.outputs.div_ceil(LANES), order, rounding, kernel)
    }

    /// Of a 1 x 1 convolution whose sums leave as they are; pixels are `stride` bytes.
    pub(super) fn sums(c: &Convolution, stride: usize, input_zero: u8, kernel: Kernel) -> Self {
        let groups = c.outputs.div_ceil(LANES).next_multiple_of(PANELS);
        let rounding = Rounding {
            input_zero,
            factors: &vec![1.0; c.outputs],
            saturation: Saturation {
                zero_point: 0,
                low: 0,
                high: 0,
            },
        };
        Self::grouped(c, groups, Order::Pixels(stride), &rounding, kernel)
    }

    fn grouped(
        c: &Convolution,
        groups: usize,
        order: Order,
        rounding: &Rounding<'_>,
        kernel: Kernel,
    ) -> Self {
        let (rows, columns, inputs) = (c.geometry.rows, c.geometry.columns, c.inputs_a_group);
        let depth = match order {
            Order::Pixels(_) if columns == 1 => inputs.div_ceil(QUAD),
            Order::Pixels(stride) => columns * stride / QUAD,
            Order::Channels => inputs.div_ceil(LANES) * LANES / QUAD,
        };
        let steps = rows * depth;
        let mut weights = Blocks::filled(groups * steps * BLOCK, 0);
        let bytes = weights.bytes_mut();
        for (output, filter) in c.weights.chunks_exact(inputs * rows * columns).enumerate() {
            for (i, &weight) in filter.iter().enumerate() {
                let (input, row, column) = (i / (rows * columns), i / columns % rows, i % columns);
                let along = match order {
                    Order::Pixels(stride) => column * stride + input,
                    Order::Channels => input,
                };
                let step = row * depth + along / QUAD;
                let block = (output / LANES * steps + step) * BLOCK;
                bytes[block + output % LANES * QUAD + along % QUAD] = weight as u8;
            }
        }
        Self::with_tables(c, groups, steps, weights, rounding, kernel)
    }

    /// Of a depthwise convolution whose taps start at column `start` of a row.
    pub(super) fn depthwise(
        c: &Convolution,
        start: usize,
        rounding: &Rounding<'_>,
        kernel: Kernel,
    ) -> Self {
        let (side, stride) = (c.geometry.rows, c.geometry.row_stride);
        let groups = c.outputs.div_ceil(LANES);
        let steps = packed_blocks(side, stride, start);
        let mut weights = Blocks::filled(groups * steps * BLOCK, 0);
        let bytes = weights.bytes_mut();
        for (channel, filter) in c.weights.chunks_exact(side * side).enumerate() {
            let mut block = channel / LANES * steps;
            for row in filter.chunks_exact(side) {
                for place in 0..places(stride) {
                    let shift = (start + stride * place) % QUAD;
                    for (tap, &weight) in row.iter().enumerate() {
                        let column = shift + tap;
                        let at = (block + column / QUAD) * BLOCK;
                        bytes[at + channel % LANES * QUAD + column % QUAD] = weight as u8;
                    }
                    block += touched(side, stride, start, place);
                }
            }
        }
        Self::with_tables(c, groups, steps, weights, rounding, kernel)
    }

    fn with_tables(
        c: &Convolution,
        groups: usize,
        steps: usize,
        weights: Blocks,
        rounding: &Rounding<'_>,
        kernel: Kernel,
    ) -> Self {
        let each = c.weights.len() / c.outputs;
        let mut bias = vec![0; groups * LANES];
        let mut factors = vec![0.0; groups * LANES];
        factors[..c.outputs].copy_from_slice(rounding.factors);
        for ((bias, &of), filter) in bias
            .iter_mut()
            .zip(&c.bias)
            .zip(c.weights.chunks_exact(each))
        {
            let sum: i64 = filter.iter().map(|&w| i64::from(w)).sum();
            let shift = i64::from(kernel.offset()) - i64::from(rounding.input_zero);
            // Sums wrap on the way; that what comes out fits was checked.
            *bias = (i64::from(of) + shift * sum) as i32;
        }
        Self {
            groups,
            steps,
            weights: kernel.laid_out(weights),
            bias,
            factors,
            saturation: rounding.saturation,
        }
    }

    pub(super) fn filter(&self) -> Filter<'_> {
        Filter {
            groups: self.groups,
            steps: self.steps,
            weights: self.weights.bytes(),
            bias: &self.bias,
            factors: &self.factors,
            saturation: self.saturation,
        }
    }

    pub(super) fn panels(&self) -> Panels<'_> {
        Panels {
            steps: self.steps,
            weights: self.weights.bytes(),
            bias: &self.bias,
        }
    }

    pub(super) fn taps(&self, side: usize, stride: usize, start: usize) -> Taps<'_> {
        Taps {
            side,
            stride,
            start,
            groups: self.groups,
            weights: self.weights.bytes(),
            bias: &self.bias,
            factors: &self.factors,
            saturation: self.saturation,
        }
    }
}
