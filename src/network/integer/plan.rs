//! A network as steps over buffers, everything decided: the run only follows.

use super::description::{
    Convolution, Description, ExitForm, Geometry, Lattice, Layer, Operation, Value,
};
use super::entry::Entry;
use super::fuse::{Fused, Kind, fuse};
use super::kernels::{
    Addition, Block, Kernel, LANES, Lines, Operand, QUAD, Saturation, Wide, Window, read_quads,
};
use super::pack::{Order, Packed, Rounding};
use super::shapes::{PlanError, Shape, factors, shapes};
use super::sums::{BEHIND, Sums};

/// Most bytes of one buffer.
const MOST_BYTES: usize = 1 << 31;

/// A value that lives in a buffer: rows of pixels of bytes, with a margin of zeros where a
/// convolution looks over the edge.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tensor {
    pub(super) shape: Shape,
    pub(super) lattice: Lattice,
    pub(super) lines: Lines,
    /// Rows of margin above.
    pub(super) top: usize,
    pub(super) bytes: usize,
    pub(super) buffer: usize,
}

/// A depthwise convolution with its neighbours.
pub(super) struct BlockStep {
    pub(super) expand: Option<(Window, Packed)>,
    pub(super) wide: Wide,
    pub(super) side: usize,
    pub(super) stride: usize,
    pub(super) start: usize,
    pub(super) above: usize,
    pub(super) taps: Packed,
    pub(super) project: Option<Packed>,
}

pub(super) enum Work {
    Dense {
        window: Window,
        filter: Packed,
    },
    Block(Box<BlockStep>),
    Add(Addition),
    MaxPool {
        geometry: Geometry,
        low: u8,
        high: u8,
    },
}

impl Work {
    /// What it is called in reports.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Work::Dense { .. } => "Convolution",
            Work::Block(block) => match (&block.expand, &block.project) {
                (Some(_), Some(_)) => "ExpandDepthwiseProject",
                (Some(_), None) => "ExpandDepthwise",
                (None, Some(_)) => "DepthwiseProject",
                (None, None) => "Depthwise",
            },
            Work::Add(_) => "Add",
            Work::MaxPool { .. } => "MaxPool",
        }
    }
}

/// One step: from a tensor (and another one that is added) to a tensor.
pub(super) struct Step {
    /// The file's nodes in it.
    pub(super) name: String,
    pub(super) work: Work,
    pub(super) input: usize,
    pub(super) other: Option<(usize, Addition)>,
    pub(super) output: usize,
    /// Multiplications of a run, without what padding and halos add.
    pub(super) products: u64,
}

/// A value that leaves.
pub(super) struct Leaving {
    /// The output in the file.
    pub(super) name: String,
    pub(super) tensor: usize,
    pub(super) form: LeavingForm,
}

pub(super) enum LeavingForm {
    Bytes {
        /// One a channel.
        scales: Vec<f32>,
        zero_point: u8,
    },
    Sums(Sums),
}

impl Leaving {
    /// Channels, rows and columns.
    pub(super) fn shape(&self, tensors: &[Tensor]) -> Shape {
        let inside = tensors[self.tensor].shape;
        let channels = match &self.form {
            LeavingForm::Bytes { .. } => inside.channels,
            LeavingForm::Sums(sums) => sums.outputs(),
        };
        Shape { channels, ..inside }
    }

    /// Multiplications of a run.
    pub(super) fn products(&self, plan: &Plan) -> u64 {
        let shape = plan.tensors[self.tensor].shape;
        match &self.form {
            LeavingForm::Bytes { .. } => 0,
            LeavingForm::Sums(sums) => sums.weights * (shape.rows * shape.columns) as u64,
        }
    }
}

/// A network at one input shape, for one kernel.
pub(crate) struct Plan {
    pub(super) kernel: Kernel,
    pub(super) entry: Entry,
    pub(super) tensors: Vec<Tensor>,
    pub(super) steps: Vec<Step>,
    pub(super) exits: Vec<Leaving>,
    /// Bytes of each buffer and what fills it at first.
    pub(super) buffers: Vec<(usize, u8)>,
    /// Bytes that each thread needs for itself.
    pub(super) scratch: usize,
    /// Values that are rounded to bytes.
    pub(super) rounded: usize,
}

struct Drafts<'a> {
    description: &'a Description,
    shapes: Vec<Shape>,
    kernel: Kernel,
    tensors: Vec<Tensor>,
    /// The tensor of each value that has one.
    of_value: Vec<Option<usize>>,
}

fn convolution(layer: &Layer) -> &Convolution {
    match &layer.operation {
        Operation::Convolution(c) => c,
        // `fuse` looked at the operation before it chose the kind of step.
        _ => unreachable!("`{}` is no convolution", layer.name),
    }
}

impl Plan {
    /// Decides how `description` runs on an input of `input` with `kernel`.
    ///
    /// # Errors
    /// [`PlanError`] naming the node that cannot run in integers.
    pub(crate) fn new(
        description: &Description,
        input: Shape,
        kernel: Kernel,
    ) -> Result<Self, PlanError> {
        let shapes = shapes(description, input)?;
        let entry = description.entry.whole(input.channels);
        let entry = entry.map_err(|problem| PlanError::new("input", problem))?;
        let fused = fuse(description);
        let mut drafts = Drafts {
            description,
            of_value: vec![None; shapes.len()],
            shapes,
            kernel,
            tensors: Vec::new(),
        };
        drafts.lay_out(&fused)?;
        let mut steps = Vec::with_capacity(fused.len());
        for step in &fused {
            steps.push(drafts.step(step)?);
        }
        let mut scratch = 0;
        for step in &steps {
            if let Work::Block(block) = &step.work {
                let columns = drafts.tensors[step.output].shape.columns;
                let bytes = Block::scratch(&block.wide, block.side, columns)
                    .filter(|&b| b <= MOST_BYTES)
                    .ok_or_else(|| PlanError::new(&step.name, "its rows do not fit in memory"))?;
                scratch = scratch.max(bytes);
            }
        }
        let exits = drafts.exits();
        let mut tensors = drafts.tensors;
        let buffers = share(&mut tensors, &steps, &exits);
        Ok(Self {
            kernel,
            entry,
            tensors,
            steps,
            exits,
            buffers,
            scratch,
            rounded: description.layers.len() + 1,
        })
    }
}

impl Plan {
    /// Numbers of an input.
    pub(super) fn input_length(&self) -> usize {
        let shape = self.tensors[0].shape;
        shape.channels * shape.rows * shape.columns
    }
}

/// Gives each tensor a buffer. One with a margin keeps its own, because the margin is written
/// once; the others share as soon as nobody reads them any more.
fn share(tensors: &mut [Tensor], steps: &[Step], exits: &[Leaving]) -> Vec<(usize, u8)> {
    let mut last_use = vec![0; tensors.len()];
    for (number, step) in steps.iter().enumerate() {
        last_use[step.input] = number;
        if let Some((other, _)) = step.other {
            last_use[other] = number;
        }
    }
    for exit in exits {
        last_use[exit.tensor] = usize::MAX;
    }
    let own = |t: &Tensor| t.bytes != t.shape.rows * t.shape.columns * t.lines.pixel_stride;
    let mut buffers: Vec<(usize, u8)> = Vec::new();
    // Buffers without margins, with the step after which each is free.
    let mut shared: Vec<(usize, usize)> = Vec::new();
    for number in 0..tensors.len() {
        let made_by = steps.iter().position(|s| s.output == number);
        let tensor = tensors[number];
        let free = shared
            .iter_mut()
            .find(|(_, until)| made_by.is_some_and(|m| *until < m));
        let buffer = match free {
            Some((buffer, until)) if !own(&tensor) => {
                *until = last_use[number];
                buffers[*buffer].0 = buffers[*buffer].0.max(tensor.bytes);
                *buffer
            }
            _ => {
                buffers.push((tensor.bytes, tensor.lattice.zero_point));
                if !own(&tensor) && made_by.is_some() {
                    shared.push((buffers.len() - 1, last_use[number]));
                }
                buffers.len() - 1
            }
        };
        tensors[number].buffer = buffer;
    }
    buffers
}

impl Drafts<'_> {
    fn layer(&self, number: usize) -> &Layer {
        &self.description.layers[number]
    }

    fn lattice(&self, value: Value) -> Lattice {
        match value {
            0 => self.description.input,
            _ => self.layer(value - 1).lattice,
        }
    }

    fn tensor(&self, value: Value) -> usize {
        // `lay_out` gave one to every value that crosses steps.
        self.of_value[value].unwrap_or(0)
    }

    fn exits(&self) -> Vec<Leaving> {
        let exits = self.description.exits.iter();
        exits
            .map(|exit| {
                let tensor = self.tensor(exit.value);
                let form = match &exit.form {
                    ExitForm::Bytes { scales, zero_point } => LeavingForm::Bytes {
                        scales: match scales[..] {
                            [one] => vec![one; self.shapes[exit.value].channels],
                            _ => scales.clone(),
                        },
                        zero_point: *zero_point,
                    },
                    ExitForm::Unrounded(unrounded) => {
                        let stride = self.tensors[tensor].lines.pixel_stride;
                        let from = self.lattice(exit.value);
                        LeavingForm::Sums(Sums::new(unrounded, from, stride, self.kernel))
                    }
                };
                Leaving {
                    name: exit.name.clone(),
                    tensor,
                    form,
                }
            })
            .collect()
    }

    /// Whether the sums of `value` leave as they are.
    fn leaves_unrounded(&self, value: Value) -> bool {
        let mut exits = self.description.exits.iter();
        exits.any(|e| e.value == value && matches!(e.form, ExitForm::Unrounded(_)))
    }

    /// The layer that first touches a step's input, and its window if it has one.
    fn entrance(&self, step: &Fused) -> (Value, Option<&Convolution>, &Layer) {
        let number = match step.kind {
            Kind::Dense(layer) | Kind::Add(layer) | Kind::MaxPool(layer) => layer,
            Kind::Block {
                expand, depthwise, ..
            } => expand.unwrap_or(depthwise),
        };
        let layer = self.layer(number);
        let dense = match &layer.operation {
            Operation::Convolution(c) if c.groups == 1 => Some(c),
            _ => None,
        };
        let value = layer.operation.inputs()[0].unwrap_or(0);
        (value, dense, layer)
    }

    /// Whether nothing but convolutions that are not depthwise take `value`.
    fn only_windows_read(&self, value: Value) -> bool {
        let layers = self.description.layers.iter();
        layers
            .filter(|l| l.operation.inputs().contains(&Some(value)))
            .all(|l| matches!(&l.operation, Operation::Convolution(c) if c.groups == 1))
    }

    /// Decides where the pixels of every value that crosses steps are.
    fn lay_out(&mut self, steps: &[Fused]) -> Result<(), PlanError> {
        let values = std::iter::once(0).chain(steps.iter().map(|s| s.last + 1));
        for value in values {
            let shape = self.shapes[value];
            let name = match value {
                0 => "input",
                _ => &self.layer(value - 1).name,
            };
            let readers: Vec<&Fused> = steps
                .iter()
                .filter(|s| self.entrance(s).0 == value)
                .collect();
            let windows = || readers.iter().filter_map(|s| self.entrance(s).1);
            // Pictures stay pictures: only convolutions that are not depthwise read them.
            let narrow = value == 0 && shape.channels <= QUAD && self.only_windows_read(0);
            let pixel_stride = if narrow {
                QUAD
            } else {
                shape.channels.next_multiple_of(LANES)
            };
            let most = |of: fn(&Convolution) -> usize| windows().map(of).max().unwrap_or(0);
            let (top, left) = (
                most(|c| c.geometry.pads.top),
                most(|c| c.geometry.pads.left),
            );
            let bottom = most(|c| c.geometry.pads.bottom);
            let right = most(|c| c.geometry.pads.right);
            let row_stride = (left + shape.columns + right) * pixel_stride;
            let too_large = || PlanError::new(name, "too large for memory");
            let rows = top + shape.rows + bottom;
            let mut bytes = rows.checked_mul(row_stride).ok_or_else(too_large)?;
            let lines = Lines {
                first: top * row_stride + left * pixel_stride,
                row_stride,
                pixel_stride,
                columns: shape.columns,
            };
            for c in windows() {
                let out = c.geometry;
                let out = self.output_shape(shape, &out);
                let window = window(c, &lines);
                let end = window
                    .operand
                    .extent(out.columns.div_ceil(QUAD))
                    .and_then(|e| e.checked_add((out.rows - 1).checked_mul(window.advance)?))
                    .and_then(|e| e.checked_add(window.first))
                    .ok_or_else(too_large)?;
                bytes = bytes.max(end);
            }
            if self.leaves_unrounded(value) {
                bytes = bytes.saturating_add(BEHIND * pixel_stride);
            }
            if bytes > MOST_BYTES {
                return Err(too_large());
            }
            self.of_value[value] = Some(self.tensors.len());
            self.tensors.push(Tensor {
                shape,
                lattice: self.lattice(value),
                lines,
                top,
                bytes,
                buffer: 0,
            });
        }
        Ok(())
    }

    fn output_shape(&self, input: Shape, g: &Geometry) -> Shape {
        // `shapes` computed the same with checks.
        Shape {
            channels: input.channels,
            rows: (input.rows + g.pads.top + g.pads.bottom - g.rows) / g.row_stride + 1,
            columns: (input.columns + g.pads.left + g.pads.right - g.columns) / g.column_stride + 1,
        }
    }

    fn saturation(&self, layer: usize) -> Saturation {
        let layer = self.layer(layer);
        Saturation {
            zero_point: layer.lattice.zero_point,
            low: layer.low,
            high: layer.high,
        }
    }

    fn addition(&self, layer: usize, left: Value, right: Value) -> Addition {
        let to = self.layer(layer).lattice;
        let [l, r] = [left, right].map(|v| self.lattice(v));
        Addition {
            left: l.scale / to.scale,
            right: r.scale / to.scale,
            left_zero: l.zero_point,
            right_zero: r.zero_point,
            saturation: self.saturation(layer),
        }
    }

    fn packed(&self, layer: usize, order: Option<Order>, start: usize) -> Packed {
        let c = convolution(self.layer(layer));
        let (from, to) = (self.lattice(c.input), self.layer(layer).lattice);
        let rounding = Rounding {
            input_zero: from.zero_point,
            factors: &factors(c, from, to),
            saturation: self.saturation(layer),
        };
        match order {
            Some(order) => Packed::dense(c, order, &rounding, self.kernel),
            None => Packed::depthwise(c, start, &rounding, self.kernel),
        }
    }

    fn dense(&self, layer: usize) -> (Window, Packed) {
        let c = convolution(self.layer(layer));
        let lines = self.tensors[self.tensor(c.input)].lines;
        let packed = self.packed(layer, Some(Order::Pixels(lines.pixel_stride)), 0);
        (window(c, &lines), packed)
    }

    fn products(&self, layer: usize) -> u64 {
        let (c, out) = (convolution(self.layer(layer)), self.shapes[layer + 1]);
        [out.rows, out.columns, c.weights.len()]
            .iter()
            .map(|&n| n as u64)
            .product()
    }

    fn step(&self, fused: &Fused) -> Result<Step, PlanError> {
        let (value, _, first) = self.entrance(fused);
        let mut layers = Vec::new();
        let work = match fused.kind {
            Kind::Dense(layer) => {
                layers.push(layer);
                let (window, filter) = self.dense(layer);
                Work::Dense { window, filter }
            }
            Kind::Block {
                expand,
                depthwise,
                project,
            } => {
                layers.extend([expand, Some(depthwise), project].into_iter().flatten());
                Work::Block(Box::new(self.block(expand, depthwise, project)?))
            }
            Kind::Add(layer) => {
                let [left, right] = first.operation.inputs().map(|v| v.unwrap_or(0));
                Work::Add(self.addition(layer, left, right))
            }
            Kind::MaxPool(layer) => {
                let Operation::MaxPool { geometry, .. } = first.operation else {
                    return Err(PlanError::new(&first.name, "is no maximum"));
                };
                let Saturation { low, high, .. } = self.saturation(layer);
                Work::MaxPool {
                    geometry,
                    low,
                    high,
                }
            }
        };
        let other = match (fused.kind, fused.addition) {
            (Kind::Add(layer), _) => {
                let right = first.operation.inputs()[1].unwrap_or(0);
                Some((self.tensor(right), self.addition(layer, value, right)))
            }
            (_, Some((layer, other))) => {
                // The other operand's partner is what the step computes just before.
                let [left, right] = self.layer(layer).operation.inputs().map(|v| v.unwrap_or(0));
                let own = if left == other { right } else { left };
                Some((self.tensor(other), self.addition(layer, own, other)))
            }
            _ => None,
        };
        let ends = layers.first().zip(layers.last());
        let name = match ends {
            Some((a, b)) if a != b => format!("{} .. {}", self.layer(*a).name, self.layer(*b).name),
            _ => first.name.clone(),
        };
        Ok(Step {
            name,
            work,
            input: self.tensor(value),
            other,
            output: self.tensor(fused.last + 1),
            products: layers.iter().map(|&l| self.products(l)).sum(),
        })
    }

    fn block(
        &self,
        expand: Option<usize>,
        depthwise: usize,
        project: Option<usize>,
    ) -> Result<BlockStep, PlanError> {
        let layer = self.layer(depthwise);
        let c = convolution(layer);
        let (side, stride, pads) = (c.geometry.rows, c.geometry.row_stride, c.geometry.pads);
        let margin = pads.left.div_ceil(QUAD);
        let start = margin * QUAD - pads.left;
        let (inside, outside) = (self.shapes[c.input], self.shapes[depthwise + 1]);
        let read = read_quads(side, stride, start, outside.columns.div_ceil(QUAD));
        Ok(BlockStep {
            expand: expand.map(|layer| self.dense(layer)),
            wide: Wide {
                rows: inside.rows,
                columns: inside.columns,
                margin,
                quads: read.max(margin + inside.columns.div_ceil(QUAD)),
                groups: inside.channels.div_ceil(LANES),
                fill: self.lattice(c.input).zero_point,
            },
            side,
            stride,
            start,
            above: pads.top,
            taps: self.packed(depthwise, None, start),
            project: project.map(|layer| self.packed(layer, Some(Order::Channels), 0)),
        })
    }
}

/// Where the products of `c` are in a tensor with these lines.
fn window(c: &Convolution, lines: &Lines) -> Window {
    let g = &c.geometry;
    let row = Operand {
        segments: g.rows,
        segment_stride: lines.row_stride,
        depth: match g.columns {
            1 => c.inputs_a_group.div_ceil(QUAD),
            columns => columns * lines.pixel_stride / QUAD,
        },
        depth_stride: QUAD,
        pixel_stride: g.column_stride * lines.pixel_stride,
        quad_stride: QUAD * g.column_stride * lines.pixel_stride,
    };
    Window {
        operand: row,
        first: lines.first - g.pads.top * lines.row_stride - g.pads.left * lines.pixel_stride,
        advance: g.row_stride * lines.row_stride,
    }
}
