//! What a quantised network computes, free of the file that it came in: values are u8 lattices,
//! steps are convolutions, additions and maxima over them.

use super::entry::Entry;

/// Which real number a byte stands for: `(byte - zero_point) * scale`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Lattice {
    pub(crate) scale: f32,
    pub(crate) zero_point: u8,
}

/// A number of a value: 0 is the input, `i + 1` what layer `i` makes.
pub(crate) type Value = usize;

/// Padding in pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pads {
    pub(crate) top: usize,
    pub(crate) left: usize,
    pub(crate) bottom: usize,
    pub(crate) right: usize,
}

/// Window of a convolution or a maximum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) row_stride: usize,
    pub(crate) column_stride: usize,
    pub(crate) pads: Pads,
}

/// Weights `[outputs, inputs / groups, rows, columns]`.
#[derive(Clone, Debug)]
pub(crate) struct Convolution {
    pub(crate) input: Value,
    pub(crate) outputs: usize,
    pub(crate) inputs_a_group: usize,
    pub(crate) groups: usize,
    pub(crate) geometry: Geometry,
    pub(crate) weights: Vec<i8>,
    /// In units of the input's scale times the weights' scale.
    pub(crate) bias: Vec<i32>,
    /// One an output channel.
    pub(crate) scales: Vec<f32>,
}

/// What a layer does.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Convolution(Convolution),
    Add {
        left: Value,
        right: Value,
    },
    /// Keeps its input's lattice.
    MaxPool {
        input: Value,
        geometry: Geometry,
    },
}

/// An operation and the rounding of its result.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    /// The node in the file.
    pub(crate) name: String,
    pub(crate) operation: Operation,
    pub(crate) lattice: Lattice,
    /// Least and most byte that comes out.
    pub(crate) low: u8,
    pub(crate) high: u8,
}

/// A value that leaves as f32.
#[derive(Clone, Debug)]
pub(crate) struct Exit {
    /// The output in the file.
    pub(crate) name: String,
    pub(crate) value: Value,
    pub(crate) form: ExitForm,
}

/// How a value leaves.
#[derive(Clone, Debug)]
pub(crate) enum ExitForm {
    /// `(byte - zero_point) * scale`.
    Bytes {
        /// One, or one a channel.
        scales: Vec<f32>,
        zero_point: u8,
    },
    Unrounded(Unrounded),
}

/// A 1 x 1 convolution whose result is not rounded.
#[derive(Clone, Debug)]
pub(crate) struct Unrounded {
    /// Its own biases are 0.
    pub(crate) convolution: Convolution,
    pub(crate) bias: Vec<f32>,
    /// A channel of the network's input that is added to the only channel.
    pub(crate) added: Option<usize>,
    pub(crate) low: f32,
    pub(crate) high: f32,
}

/// A network. Layers come after what they take.
#[derive(Clone, Debug)]
pub(crate) struct Description {
    pub(crate) entry: Entry,
    pub(crate) input: Lattice,
    pub(crate) layers: Vec<Layer>,
    pub(crate) exits: Vec<Exit>,
}

impl Operation {
    /// The values that it takes.
    pub(crate) fn inputs(&self) -> [Option<Value>; 2] {
        match *self {
            Operation::Convolution(Convolution { input, .. })
            | Operation::MaxPool { input, .. } => [Some(input), None],
            Operation::Add { left, right } => [Some(left), Some(right)],
        }
    }
}

impl Convolution {
    /// Each channel for itself.
    pub(crate) fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.groups == self.outputs && self.inputs_a_group == 1
    }

    /// 1 x 1, every pixel.
    pub(crate) fn is_pointwise(&self) -> bool {
        let g = &self.geometry;
        self.groups == 1
            && [g.rows, g.columns, g.row_stride, g.column_stride] == [1; 4]
            && g.pads == Pads::default()
    }
}
