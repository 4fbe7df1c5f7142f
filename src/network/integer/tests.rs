//! Every kernel against nested loops, on drawn networks.

mod drawn;

use super::description::{Convolution, ExitForm, Layer, Operation, Pads, Unrounded, Value};
use super::kernels::Kernel;
use super::plan::Plan;
use super::run::Buffers;
use super::shapes::Shape;
use super::team::{Alone, Team};
use drawn::{Draw, Net, drawn};
use proptest::prelude::*;

/// Threads that are made for each step: slow, and enough to see whether bands fit together.
struct Some3;

impl Team for Some3 {
    fn count(&self) -> usize {
        3
    }

    fn join(&self, first: impl FnOnce() + Send, second: impl FnOnce() + Send) {
        std::thread::scope(|s| {
            s.spawn(second);
            first();
        });
    }
}

/// Value of `bytes`, `[channels, rows, columns]`, or `None` outside.
fn at(bytes: &[u8], shape: Shape, c: usize, y: isize, x: isize) -> Option<u8> {
    let inside = (0..shape.rows as isize).contains(&y) && (0..shape.columns as isize).contains(&x);
    inside.then(|| bytes[(c * shape.rows + y as usize) * shape.columns + x as usize])
}

fn saturated(value: f32, layer: &Layer) -> u8 {
    let whole = f64::from(value).round_ties_even() + f64::from(layer.lattice.zero_point);
    whole.max(f64::from(layer.low)).min(f64::from(layer.high)) as u8
}

/// Steps from the zero point, `[channels, rows, columns]` with zeros around each channel.
struct Steps {
    of: Vec<i32>,
    rows: usize,
    columns: usize,
}

impl Steps {
    fn new(bytes: &[u8], shape: Shape, pads: Pads, zero_point: u8) -> Self {
        let rows = shape.rows + pads.top + pads.bottom;
        let columns = shape.columns + pads.left + pads.right;
        let mut of = vec![0; shape.channels * rows * columns];
        for (number, row) in bytes.chunks_exact(shape.columns).enumerate() {
            let (c, y) = (number / shape.rows, number % shape.rows);
            let to = (c * rows + pads.top + y) * columns + pads.left;
            for (step, &byte) in of[to..].iter_mut().zip(row) {
                *step = i32::from(byte) - i32::from(zero_point);
            }
        }
        Self { of, rows, columns }
    }

    fn sum(&self, k: &Convolution, (c, y, x): (usize, usize, usize)) -> i64 {
        let g = &k.geometry;
        let kernel = g.rows * g.columns;
        let weights = &k.weights[c * k.inputs_a_group * kernel..][..k.inputs_a_group * kernel];
        let mut sum = i64::from(k.bias[c]);
        for (i, taps) in weights.chunks_exact(kernel).enumerate() {
            let channel = if k.groups > 1 { c } else { i };
            for (r, taps) in taps.chunks_exact(g.columns).enumerate() {
                let row = channel * self.rows + y * g.row_stride + r;
                let steps = &self.of[row * self.columns + x * g.column_stride..];
                for (&step, &weight) in steps.iter().zip(taps) {
                    sum += i64::from(step * i32::from(weight));
                }
            }
        }
        sum
    }
}

/// The layer by definition, on `[channels, rows, columns]`.
fn naive(net: &Net, number: usize, values: &[Vec<u8>]) -> Vec<u8> {
    let layer = &net.description.layers[number];
    let shape = net.shapes[number + 1];
    let steps = match &layer.operation {
        Operation::Convolution(k) => {
            let zero_point = net.lattice(k.input).zero_point;
            let pads = k.geometry.pads;
            Some(Steps::new(
                &values[k.input],
                net.shapes[k.input],
                pads,
                zero_point,
            ))
        }
        _ => None,
    };
    let mut out = Vec::with_capacity(shape.channels * shape.rows * shape.columns);
    for c in 0..shape.channels {
        for y in 0..shape.rows {
            for x in 0..shape.columns {
                let byte = match &layer.operation {
                    Operation::Convolution(k) => {
                        let from = net.lattice(k.input);
                        let sum = steps.as_ref().map_or(0, |s| s.sum(k, (c, y, x)));
                        let factor = from.scale * k.scales[c] / layer.lattice.scale;
                        saturated(sum as i32 as f32 * factor, layer)
                    }
                    Operation::Add { left, right } => {
                        let side = |v: Value| {
                            let l = net.lattice(v);
                            let byte =
                                at(&values[v], shape, c, y as isize, x as isize).unwrap_or(0);
                            (f32::from(byte) - f32::from(l.zero_point))
                                * (l.scale / layer.lattice.scale)
                        };
                        saturated(side(*left) + side(*right), layer)
                    }
                    Operation::MaxPool { input, geometry: g } => {
                        let mut most = layer.low;
                        for r in 0..g.rows {
                            for s in 0..g.columns {
                                let row = (y * g.row_stride + r) as isize - g.pads.top as isize;
                                let column =
                                    (x * g.column_stride + s) as isize - g.pads.left as isize;
                                let byte = at(&values[*input], net.shapes[*input], c, row, column);
                                most = most.max(byte.unwrap_or(0));
                            }
                        }
                        most.min(layer.high)
                    }
                };
                out.push(byte);
            }
        }
    }
    out
}

/// Every exit, of the bytes and of the numbers that they were rounded from.
fn expected(net: &Net, input: &[u8], reals: &[f32]) -> Vec<Vec<f32>> {
    let mut values = vec![input.to_vec()];
    for number in 0..net.description.layers.len() {
        let value = naive(net, number, &values);
        values.push(value);
    }
    let exits = net.description.exits.iter().map(|e| {
        let plane = values[e.value].len() / net.shapes[e.value].channels;
        match &e.form {
            ExitForm::Bytes { scales, zero_point } => {
                let bytes = values[e.value].iter().enumerate();
                bytes
                    .map(|(i, &b)| {
                        let scale = scales[if scales.len() == 1 { 0 } else { i / plane }];
                        (f32::from(b) - f32::from(*zero_point)) * scale
                    })
                    .collect()
            }
            ExitForm::Unrounded(u) => (0..u.convolution.outputs * plane)
                .map(|i| {
                    let (output, pixel) = (i / plane, i % plane);
                    let bytes = values[e.value][pixel..].iter().step_by(plane);
                    unrounded_value(net, u, (output, pixel), bytes.copied(), reals)
                })
                .collect(),
        }
    });
    exits.collect()
}

fn unrounded_value(
    net: &Net,
    u: &Unrounded,
    (output, pixel): (usize, usize),
    bytes: impl Iterator<Item = u8>,
    reals: &[f32],
) -> f32 {
    let c = &u.convolution;
    let from = net.lattice(c.input);
    let weights = &c.weights[output * c.inputs_a_group..];
    let products = bytes
        .zip(weights)
        .map(|(b, &w)| (i32::from(b) - i32::from(from.zero_point)) * i32::from(w));
    let sum: i32 = products.sum();
    let mut value = sum as f32 * (from.scale * c.scales[output]) + u.bias[output];
    if let Some(added) = u.added {
        value += reals[pixel * net.shapes[0].channels + added];
    }
    value.max(u.low).min(u.high)
}

/// Numbers that round to anything, in the order that the network takes, and the bytes that they
/// are, `[channels, rows, columns]`.
fn input_of(net: &Net, draw: &mut Draw) -> (Vec<f32>, Vec<u8>) {
    let (shape, lattice) = (net.shapes[0], net.description.input);
    let (plane, zero) = (shape.rows * shape.columns, f32::from(lattice.zero_point));
    let bytes: Vec<u8> = (0..shape.channels * plane).map(|_| draw.byte()).collect();
    let real = |b: u8| (f32::from(b) - zero) * lattice.scale;
    let entry = &net.description.entry;
    if !entry.channels_last {
        return (bytes.iter().map(|&b| real(b)).collect(), bytes);
    }
    let of = |list: &[f32], channel: usize, none: f32| list.get(channel).copied().unwrap_or(none);
    let mut rounded = vec![0; bytes.len()];
    let mut reals = Vec::new();
    for (i, &byte) in bytes.iter().enumerate() {
        let (pixel, channel) = (i / shape.channels, i % shape.channels);
        let (shift, gain) = (
            of(&entry.shift, channel, 0.0),
            of(&entry.gain, channel, 1.0),
        );
        let value = real(byte) / gain + shift + draw.scale() * lattice.scale;
        let changed = ((value - shift) * gain).max(entry.low).min(entry.high);
        let steps = (changed / lattice.scale).round_ties_even() + zero;
        rounded[channel * plane + pixel] = steps.clamp(0.0, 255.0) as u8;
        reals.push(value);
    }
    (reals, rounded)
}

fn check(seed: u64) -> Result<(), TestCaseError> {
    let net = drawn(seed);
    let shape = net.shapes[0];
    let draw = &mut Draw(!seed);
    let (reals, planes) = input_of(&net, draw);
    let expected = expected(&net, &planes, &reals);
    let plane = shape.rows * shape.columns;
    let pixels: Vec<u8> = (0..planes.len())
        .map(|i| planes[i % shape.channels * plane + i / shape.channels])
        .collect();
    for kernel in Kernel::available() {
        let plan = Plan::new(&net.description, shape, kernel)
            .map_err(|e| TestCaseError::fail(e.to_string()))?;
        let mut buffers = Buffers::new(&plan, 3);
        // Twice, because what the first run leaves behind must not matter.
        for round in 0..3 {
            match round {
                0 => plan.quantise(&reals, &mut buffers),
                _ => plan.take_bytes(&pixels, &mut buffers),
            }
            match round {
                2 => plan.run(&reals, &mut buffers, &Some3, true),
                _ => plan.run(&reals, &mut buffers, &Alone, false),
            }
            for (number, want) in expected.iter().enumerate() {
                let got = buffers.output(number);
                let off = got.iter().zip(want).position(|(g, w)| g != w);
                prop_assert!(
                    got.len() == want.len() && off.is_none(),
                    "{kernel:?}, round {round}, exit {number}, at {off:?} of {}: {:?}",
                    want.len(),
                    net.description
                        .layers
                        .iter()
                        .map(|l| match &l.operation {
                            Operation::Convolution(c) =>
                                format!("conv {} {} {:?}", c.groups, c.outputs, c.geometry),
                            o => format!("{o:?}"),
                        })
                        .collect::<Vec<_>>()
                );
            }
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn every_kernel_is_the_definition(seed: u64) {
        check(seed)?;
    }
}

/// Numbers that a file may hold and nobody wants.
const HOSTILE: [usize; 9] = [
    0,
    1,
    2,
    7,
    65_536,
    1_000_000_000,
    u32::MAX as usize,
    usize::MAX / 2,
    usize::MAX,
];

fn spoil(net: &mut Net, draw: &mut Draw) {
    let number = draw.one_of(&HOSTILE);
    let scale = draw.one_of(&[0.0, -1.0, f32::NAN, f32::INFINITY, 1e-40, 1e38, 1e-30]);
    let layers = &mut net.description.layers;
    let at = draw.below(layers.len().max(1));
    let Some(layer) = layers.get_mut(at) else {
        return;
    };
    let spoilt = draw.below(16);
    match (&mut layer.operation, spoilt) {
        (_, 0) => layer.lattice.scale = scale,
        (_, 1) => (layer.low, layer.high) = (200, 100),
        (_, 2) => net.description.input.scale = scale,
        (Operation::Convolution(c), 3) => c.outputs = number,
        (Operation::Convolution(c), 4) => c.inputs_a_group = number,
        (Operation::Convolution(c), 5) => c.groups = number,
        (Operation::Convolution(c), 6) => c.geometry.rows = number,
        (Operation::Convolution(c), 7) => c.geometry.columns = number,
        (Operation::Convolution(c), 8) => c.geometry.row_stride = number,
        (Operation::Convolution(c), 9) => c.geometry.column_stride = number,
        (Operation::Convolution(c), 10) => c.geometry.pads.left = number,
        (Operation::Convolution(c), 11) => c.geometry.pads.bottom = number,
        (Operation::Convolution(c), 12) => c.weights.truncate(number),
        (Operation::Convolution(c), 13) => c.scales.iter_mut().for_each(|s| *s = scale),
        (Operation::Convolution(c), 14) => c.bias.iter_mut().for_each(|b| *b = i32::MIN),
        (Operation::Convolution(c), _) => c.input = number,
        (Operation::MaxPool { geometry, .. }, 3..=6) => geometry.rows = number,
        (Operation::MaxPool { geometry, .. }, 7..=9) => geometry.row_stride = number,
        (Operation::MaxPool { geometry, .. }, _) => geometry.pads.top = number,
        (Operation::Add { left, .. }, 3..=8) => *left = number,
        (Operation::Add { .. }, _) => {
            if let Some(exit) = net.description.exits.first_mut() {
                exit.value = number;
            }
        }
    }
    // And the ends of the network.
    match (net.description.exits.first_mut(), draw.below(8)) {
        (Some(exit), 0) => {
            if let ExitForm::Unrounded(u) = &mut exit.form {
                match draw.below(4) {
                    0 => u.added = Some(number),
                    1 => u.bias.truncate(number),
                    2 => u.convolution.outputs = number,
                    _ => u.convolution.scales.iter_mut().for_each(|s| *s = scale),
                }
            }
        }
        (_, 1) => net.description.entry.shift.truncate(number),
        (_, 2) => net.description.entry.gain = vec![scale],
        _ => {}
    }
}

proptest! {
    /// A plan or a refusal, never a panic; what still is a plan runs.
    #[test]
    fn hostile_networks_are_refused(seed: u64) {
        let mut net = drawn(seed);
        let draw = &mut Draw(!seed);
        let mut shape = net.shapes[0];
        match draw.below(8) {
            0 => shape.rows = draw.one_of(&HOSTILE),
            1 => shape.channels = draw.one_of(&HOSTILE),
            2 => shape.columns = draw.one_of(&HOSTILE),
            _ => spoil(&mut net, draw),
        }
        if let Ok(plan) = Plan::new(&net.description, shape, Kernel::available()[0]) {
            let bytes: usize = plan.buffers.iter().map(|b| b.0).sum();
            if bytes < 1 << 22 {
                let input = vec![0.0; shape.channels * shape.rows * shape.columns];
                plan.run(&input, &mut Buffers::new(&plan, 1), &Alone, false);
            }
        }
    }
}
