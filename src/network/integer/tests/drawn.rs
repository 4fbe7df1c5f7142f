//! Networks that are drawn from a seed.

use crate::network::integer::description::{
    Convolution, Description, Exit, ExitForm, Geometry, Lattice, Layer, Operation, Pads, Unrounded,
    Value,
};
use crate::network::integer::entry::Entry;
use crate::network::integer::shapes::Shape;

/// A small generator of its own: what proptest draws is the seed.
pub(super) struct Draw(pub(super) u64);

impl Draw {
    fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, most: usize) -> usize {
        (self.next() % most as u64) as usize
    }

    pub(super) fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    pub(super) fn byte(&mut self) -> u8 {
        // Ends are where saturation goes wrong.
        match self.below(8) {
            0 => 0,
            1 => 255,
            _ => self.next() as u8,
        }
    }

    pub(super) fn scale(&mut self) -> f32 {
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

pub(super) struct Net {
    pub(super) description: Description,
    pub(super) shapes: Vec<Shape>,
}

impl Net {
    pub(super) fn lattice(&self, value: Value) -> Lattice {
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

pub(super) fn drawn(seed: u64) -> Net {
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
            entry: entry(draw, shape.channels),
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
        let form = match draw.below(3) {
            0 => ExitForm::Unrounded(unrounded(draw, &net, value)),
            _ => ExitForm::Bytes {
                scales: (0..scales).map(|_| draw.scale()).collect(),
                zero_point: draw.byte(),
            },
        };
        net.description.exits.push(Exit {
            name: format!("exit{number}"),
            value,
            form,
        });
    }
    net
}

/// As a picture's, or as features' whose channels are last.
fn entry(draw: &mut Draw, channels: usize) -> Entry {
    let mut entry = Entry::default();
    if draw.below(2) == 0 {
        return entry;
    }
    entry.channels_last = true;
    let by_channel = |draw: &mut Draw| match draw.below(3) {
        0 => Vec::new(),
        _ => (0..channels).map(|_| draw.scale()).collect(),
    };
    entry.shift = by_channel(draw);
    entry.gain = by_channel(draw);
    if draw.below(2) == 0 {
        (entry.low, entry.high) = (-draw.scale() * 50.0, draw.scale() * 50.0);
    }
    entry
}

fn unrounded(draw: &mut Draw, net: &Net, input: Value) -> Unrounded {
    let (from, whole) = (net.shapes[input], net.shapes[0]);
    let one = draw.below(3) == 0;
    let outputs = if one { 1 } else { 1 + draw.below(120) };
    let fits = (from.rows, from.columns) == (whole.rows, whole.columns);
    let extreme = draw.below(4) == 0;
    let limited = draw.below(2) == 0;
    Unrounded {
        convolution: Convolution {
            input,
            outputs,
            inputs_a_group: from.channels,
            groups: 1,
            geometry: Geometry {
                rows: 1,
                columns: 1,
                row_stride: 1,
                column_stride: 1,
                pads: Pads::default(),
            },
            weights: (0..outputs * from.channels)
                .map(|_| draw.weight(extreme))
                .collect(),
            bias: vec![0; outputs],
            scales: (0..outputs).map(|_| draw.scale()).collect(),
        },
        bias: (0..outputs).map(|_| draw.scale() - 0.5).collect(),
        added: (one && fits && net.description.entry.channels_last)
            .then(|| draw.below(whole.channels)),
        low: if limited { 0.0 } else { f32::NEG_INFINITY },
        high: f32::INFINITY,
    }
}
