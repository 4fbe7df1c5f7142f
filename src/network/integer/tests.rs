//! Every kernel against nested loops, on drawn networks.

use super::description::{
    Convolution, Description, Exit, Geometry, Lattice, Layer, Operation, Pads, Value,
};
use super::kernels::Kernel;
use super::plan::Plan;
use super::run::{Alone, Buffers, Team};
use super::shapes::Shape;
use proptest::prelude::*;

/// A small generator of its own: what proptest draws is the seed.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, most: usize) -> usize {
        (self.next() % most as u64) as usize
    }

    fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn byte(&mut self) -> u8 {
        // Ends are where saturation goes wrong.
        match self.below(8) {
            0 => 0,
            1 => 255,
            _ => self.next() as u8,
        }
    }

    fn scale(&mut self) -> f32 {
        (self.below(1000) + 1) as f32 / 1000.0
    }

    fn weight(&mut self, extreme: bool) -> i8 {
        if extreme {
            self.one_of(&[-128, 127])
        } else {
            self.next() as i8
        }
    }
}

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

struct Net {
    description: Description,
    shapes: Vec<Shape>,
}

impl Net {
    fn lattice(&self, value: Value) -> Lattice {
        value.checked_sub(1).map_or(self.description.input, |l| {
            self.description.layers[l].lattice
        })
    }

    fn push(&mut self, draw: &mut Draw, operation: Operation, shape: Shape) -> Value {
        let name = format!("layer{}", self.description.layers.len());
        let mut lattice = Lattice {
            scale: draw.scale(),
            zero_point: draw.byte(),
        };
        let (mut low, mut high) = (0, 255);
        if let Operation::MaxPool { input, .. } = operation {
            lattice = self.lattice(input);
        }
        if draw.below(3) == 0 {
            let (a, b) = (draw.byte(), draw.byte());
            (low, high) = (a.min(b), a.max(b));
        }
        self.description.layers.push(Layer {
            name,
            operation,
            lattice,
            low,
            high,
        });
        self.shapes.push(shape);
        self.shapes.len() - 1
    }

    fn convolution(
        &mut self,
        draw: &mut Draw,
        input: Value,
        outputs: usize,
        depthwise: bool,
        side: usize,
    ) -> Option<Value> {
        let from = self.shapes[input];
        let stride = if side == 1 && draw.below(4) > 0 {
            1
        } else {
            draw.one_of(&[1, 1, 2])
        };
        let pads = Pads {
            top: draw.below(side),
            left: draw.below(side),
            bottom: draw.below(side),
            right: draw.below(side),
        };
        let geometry = Geometry {
            rows: side,
            columns: side,
            row_stride: stride,
            column_stride: stride,
            pads,
        };
        let rows = (from.rows + pads.top + pads.bottom).checked_sub(side)? / stride + 1;
        let columns = (from.columns + pads.left + pads.right).checked_sub(side)? / stride + 1;
        let (groups, inputs_a_group) = if depthwise {
            (from.channels, 1)
        } else {
            (1, from.channels)
        };
        let outputs = if depthwise { from.channels } else { outputs };
        let extreme = draw.below(4) == 0;
        let each = inputs_a_group * side * side;
        let weights = (0..outputs * each).map(|_| draw.weight(extreme)).collect();
        // So that sums use the whole range of a byte.
        let usual =
            255.0 / (f64::from(self.lattice(input).scale) * 74.0 * (each as f64).sqrt() * 128.0);
        let scales = (0..outputs)
            .map(|_| (usual * f64::from(draw.scale())) as f32)
            .collect();
        let bias = (0..outputs)
            .map(|_| (draw.next() as i32) >> (12 + draw.below(16)))
            .collect();
        let shape = Shape {
            channels: outputs,
            rows,
            columns,
        };
        let operation = Operation::Convolution(Convolution {
            input,
            outputs,
            inputs_a_group,
            groups,
            geometry,
            weights,
            bias,
            scales,
        });
        Some(self.push(draw, operation, shape))
    }

    fn pool(&mut self, draw: &mut Draw, input: Value) -> Option<Value> {
        let from = self.shapes[input];
        let side = draw.one_of(&[2, 3]);
        let pads = Pads {
            top: draw.below(side),
            left: draw.below(side),
            bottom: draw.below(side),
            right: draw.below(side),
        };
        let geometry = Geometry {
            rows: side,
            columns: side,
            row_stride: 2,
            column_stride: 1,
            pads,
        };
        let shape = Shape {
            channels: from.channels,
            rows: (from.rows + pads.top + pads.bottom).checked_sub(side)? / 2 + 1,
            columns: (from.columns + pads.left + pads.right).checked_sub(side)? + 1,
        };
        Some(self.push(draw, Operation::MaxPool { input, geometry }, shape))
    }
}

fn drawn(seed: u64) -> Net {
    let draw = &mut Draw(seed);
    let shape = Shape {
        channels: draw.one_of(&[1, 2, 3, 4, 5, 16, 19, 33, 48]),
        rows: 1 + draw.below(14),
        columns: 1 + draw.below(21),
    };
    let input = Lattice {
        scale: draw.scale(),
        zero_point: draw.byte(),
    };
    let mut net = Net {
        description: Description {
            input,
            layers: Vec::new(),
            exits: Vec::new(),
        },
        shapes: vec![shape],
    };
    for _ in 0..1 + draw.below(7) {
        let value = match draw.below(4) {
            0 => draw.below(net.shapes.len()),
            _ => net.shapes.len() - 1,
        };
        let outputs = 1 + draw.below(70);
        match draw.below(8) {
            0 => {
                let side = draw.one_of(&[1, 2, 3, 5, 7]);
                net.convolution(draw, value, outputs, false, side);
            }
            1 | 2 if net.shapes[value].channels > 1 => {
                let side = draw.one_of(&[3, 5]);
                net.convolution(draw, value, outputs, true, side);
            }
            3 => {
                net.pool(draw, value);
            }
            4 => {
                let alike: Vec<Value> = (0..net.shapes.len())
                    .filter(|&v| net.shapes[v] == net.shapes[value])
                    .collect();
                let right = draw.one_of(&alike);
                let shape = net.shapes[value];
                net.push(draw, Operation::Add { left: value, right }, shape);
            }
            // What most networks are made of: expand, depthwise, project, and the way around it.
            _ => {
                let wide = 2 + draw.below(90);
                let expanded = net.convolution(draw, value, wide, false, 1);
                let side = draw.one_of(&[3, 5]);
                let spread = expanded.and_then(|v| net.convolution(draw, v, 0, true, side));
                let narrow = spread.and_then(|v| {
                    let outputs = net.shapes[value].channels;
                    net.convolution(draw, v, outputs, false, 1)
                });
                if let Some(v) = narrow
                    && net.shapes[v] == net.shapes[value]
                {
                    let shape = net.shapes[v];
                    net.push(
                        draw,
                        Operation::Add {
                            left: v,
                            right: value,
                        },
                        shape,
                    );
                }
            }
        }
    }
    for number in 0..1 + draw.below(2) {
        let value = match number {
            0 => net.shapes.len() - 1,
            _ => draw.below(net.shapes.len()),
        };
        let scales = if draw.below(2) == 0 {
            1
        } else {
            net.shapes[value].channels
        };
        net.description.exits.push(Exit {
            name: format!("exit{number}"),
            value,
            scales: (0..scales).map(|_| draw.scale()).collect(),
            zero_point: draw.byte(),
        });
    }
    net
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

/// The layer by definition, on `[channels, rows, columns]`.
fn naive(net: &Net, number: usize, values: &[Vec<u8>]) -> Vec<u8> {
    let layer = &net.description.layers[number];
    let shape = net.shapes[number + 1];
    let mut out = Vec::new();
    for c in 0..shape.channels {
        for y in 0..shape.rows {
            for x in 0..shape.columns {
                let byte = match &layer.operation {
                    Operation::Convolution(k) => {
                        let from = net.lattice(k.input);
                        let g = &k.geometry;
                        let mut sum = i64::from(k.bias[c]);
                        for i in 0..k.inputs_a_group {
                            let channel = if k.groups > 1 { c } else { i };
                            for r in 0..g.rows {
                                for s in 0..g.columns {
                                    let (row, column) = (
                                        (y * g.row_stride + r) as isize - g.pads.top as isize,
                                        (x * g.column_stride + s) as isize - g.pads.left as isize,
                                    );
                                    let byte = at(
                                        &values[k.input],
                                        net.shapes[k.input],
                                        channel,
                                        row,
                                        column,
                                    );
                                    let byte = byte.unwrap_or(from.zero_point);
                                    let w = k.weights
                                        [((c * k.inputs_a_group + i) * g.rows + r) * g.columns + s];
                                    sum += i64::from(w)
                                        * (i64::from(byte) - i64::from(from.zero_point));
                                }
                            }
                        }
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

fn expected(net: &Net, input: &[u8]) -> Vec<Vec<f32>> {
    let mut values = vec![input.to_vec()];
    for number in 0..net.description.layers.len() {
        let value = naive(net, number, &values);
        values.push(value);
    }
    let exits = net.description.exits.iter().map(|e| {
        let plane = values[e.value].len() / net.shapes[e.value].channels;
        let bytes = values[e.value].iter().enumerate();
        bytes
            .map(|(i, &b)| {
                let scale = if e.scales.len() == 1 {
                    e.scales[0]
                } else {
                    e.scales[i / plane]
                };
                (f32::from(b) - f32::from(e.zero_point)) * scale
            })
            .collect()
    });
    exits.collect()
}

fn check(seed: u64) -> Result<(), TestCaseError> {
    let net = drawn(seed);
    let shape = net.shapes[0];
    let draw = &mut Draw(!seed);
    let planes: Vec<u8> = (0..shape.channels * shape.rows * shape.columns)
        .map(|_| draw.byte())
        .collect();
    let expected = expected(&net, &planes);
    let plane = shape.rows * shape.columns;
    let pixels: Vec<u8> = (0..planes.len())
        .map(|i| planes[i % shape.channels * plane + i / shape.channels])
        .collect();
    let lattice = net.description.input;
    let reals: Vec<f32> = planes
        .iter()
        .map(|&b| (f32::from(b) - f32::from(lattice.zero_point)) * lattice.scale)
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
                2 => plan.run(&mut buffers, &Some3, true),
                _ => plan.run(&mut buffers, &Alone, false),
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
                plan.run(&mut Buffers::new(&plan, 1), &Alone, false);
            }
        }
    }
}
