//! Shapes of every value, and refusals of networks that cannot be computed: everything that comes
//! from a file is checked here or in the reader, before any memory is asked for.

use super::description::{
    Convolution, Description, Exit, ExitForm, Geometry, Lattice, Layer, Operation, Unrounded,
};
use thiserror::Error;

/// Most channels, rows or columns of a value.
const MOST_SIDE: usize = 1 << 16;
/// Most bytes of a value, and of a layer's weights.
const MOST_BYTES: usize = 1 << 30;
/// Sums, and sums times multipliers, stay below this, so that no conversion overflows.
const MOST_SUM: f64 = (1u64 << 30) as f64;

/// Why a network cannot run in integers.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("node `{node}`: {problem}")]
pub(crate) struct PlanError {
    /// The node in the file.
    pub(super) node: String,
    /// What is off.
    pub(super) problem: String,
}

impl PlanError {
    pub(super) fn new(node: &str, problem: impl Into<String>) -> Self {
        Self {
            node: node.into(),
            problem: problem.into(),
        }
    }
}

/// Channels, rows and columns of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) channels: usize,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            channels,
            rows,
            columns,
        } = self;
        write!(f, "{channels} channels of {rows} x {columns}")
    }
}

impl Shape {
    fn check(self) -> Result<Self, String> {
        let sides = [self.channels, self.rows, self.columns];
        let bytes = sides.iter().try_fold(1usize, |n, &s| n.checked_mul(s));
        if sides.iter().all(|s| (1..=MOST_SIDE).contains(s))
            && bytes.is_some_and(|b| b <= MOST_BYTES)
        {
            Ok(self)
        } else {
            Err(format!("a value of {self}"))
        }
    }
}

fn output_side(side: usize, window: usize, stride: usize, pads: usize) -> Option<usize> {
    Some(
        side.checked_add(pads)?
            .checked_sub(window)?
            .checked_div(stride)?
            + 1,
    )
}

impl Geometry {
    fn output(&self, input: Shape, channels: usize) -> Result<Shape, String> {
        let p = self.pads;
        let sane = (1..=MOST_SIDE).contains(&self.rows)
            && (1..=MOST_SIDE).contains(&self.columns)
            && (1..=MOST_SIDE).contains(&self.row_stride)
            && (1..=MOST_SIDE).contains(&self.column_stride)
            && p.top.max(p.bottom) < self.rows
            && p.left.max(p.right) < self.columns;
        let problem = || {
            format!(
                "a window of {} x {} with strides {} and {} does not fit {} x {} values",
                self.rows,
                self.columns,
                self.row_stride,
                self.column_stride,
                input.rows,
                input.columns
            )
        };
        if !sane {
            return Err(problem());
        }
        let rows = output_side(input.rows, self.rows, self.row_stride, p.top + p.bottom);
        let (across, stride) = (p.left + p.right, self.column_stride);
        let columns = output_side(input.columns, self.columns, stride, across);
        let (rows, columns) = rows.zip(columns).ok_or_else(problem)?;
        Ok(Shape {
            channels,
            rows,
            columns,
        })
    }
}

impl Lattice {
    fn check(self) -> Result<(), String> {
        let scale = self.scale;
        let usable = scale.is_finite() && scale >= f32::MIN_POSITIVE;
        usable.then_some(()).ok_or_else(|| format!("scale {scale}"))
    }
}

/// `input scale * weight scale / output scale` of each channel.
pub(super) fn factors(c: &Convolution, input: Lattice, output: Lattice) -> Vec<f32> {
    c.scales
        .iter()
        .map(|scale| input.scale * scale / output.scale)
        .collect()
}

impl Convolution {
    fn check(&self, input: Shape, from: Lattice, to: Lattice) -> Result<Shape, String> {
        let g = &self.geometry;
        let all_inputs = self.inputs_a_group.checked_mul(self.groups);
        if all_inputs != Some(input.channels)
            || self.groups == 0
            || !self.outputs.is_multiple_of(self.groups)
        {
            return Err(format!(
                "{} groups of {} inputs for {} channels",
                self.groups, self.inputs_a_group, input.channels
            ));
        }
        if self.groups > 1 {
            let square = g.rows == g.columns && g.row_stride == g.column_stride;
            if !self.is_depthwise() {
                return Err("grouped, but not each channel for itself".into());
            }
            if !square || !matches!(g.rows, 3 | 5) || !matches!(g.row_stride, 1 | 2) {
                return Err("depthwise, but not 3 x 3 or 5 x 5 with stride 1 or 2".into());
            }
        }
        let output = g.output(input, self.outputs)?.check()?;
        let count = [self.outputs, self.inputs_a_group, g.rows, g.columns]
            .iter()
            .try_fold(1usize, |n, &d| n.checked_mul(d))
            .filter(|&n| n <= MOST_BYTES);
        let lengths = [self.bias.len(), self.scales.len()];
        if count != Some(self.weights.len()) || lengths != [self.outputs; 2] {
            return Err("weights, biases and scales do not fit each other".into());
        }
        let each = self.weights.len() / self.outputs;
        let furthest = f64::from(from.zero_point.max(255 - from.zero_point));
        let factors = factors(self, from, to);
        for (c, filter) in self.weights.chunks_exact(each).enumerate() {
            let weight: u64 = filter.iter().map(|w| u64::from(w.unsigned_abs())).sum();
            let most = weight as f64 * furthest + f64::from(self.bias[c].unsigned_abs());
            let factor = f64::from(factors[c]);
            let small = most < MOST_SUM && most * factor < MOST_SUM;
            if !(small && factor >= 0.0 && self.scales[c].is_finite()) {
                return Err(format!("channel {c} may sum up to {most:.0} x {factor:e}"));
            }
        }
        Ok(output)
    }
}

fn layer_shape(layer: &Layer, shapes: &[Shape], lattices: &[Lattice]) -> Result<Shape, String> {
    layer.lattice.check()?;
    if layer.low > layer.high {
        return Err("nothing is left between its least and most value".into());
    }
    if layer
        .operation
        .inputs()
        .into_iter()
        .flatten()
        .any(|v| v >= shapes.len())
    {
        return Err("takes what comes after it".into());
    }
    match &layer.operation {
        Operation::Convolution(c) => c.check(shapes[c.input], lattices[c.input], layer.lattice),
        Operation::Add { left, right } => {
            if shapes[*left] != shapes[*right] {
                return Err(format!("adds {} and {}", shapes[*left], shapes[*right]));
            }
            for side in [left, right] {
                let ratio = lattices[*side].scale / layer.lattice.scale;
                if f64::from(ratio) * 512.0 >= MOST_SUM {
                    return Err(format!("scales differ by {ratio:e}"));
                }
            }
            Ok(shapes[*left])
        }
        Operation::MaxPool { input, geometry } => {
            if lattices[*input] != layer.lattice {
                return Err("its result is rounded to other steps than its input".into());
            }
            geometry
                .output(shapes[*input], shapes[*input].channels)?
                .check()
        }
    }
}

/// The shape of every value.
///
/// # Errors
/// [`PlanError`] naming the node.
pub(super) fn shapes(description: &Description, input: Shape) -> Result<Vec<Shape>, PlanError> {
    let refused = |problem| PlanError::new("input", problem);
    let mut shapes = vec![input.check().map_err(refused)?];
    description.input.check().map_err(refused)?;
    let mut lattices = vec![description.input];
    for layer in &description.layers {
        let shape = layer_shape(layer, &shapes, &lattices)
            .map_err(|problem| PlanError::new(&layer.name, problem))?;
        shapes.push(shape);
        lattices.push(layer.lattice);
    }
    for exit in &description.exits {
        exit_fits(exit, &shapes, &lattices)
            .map_err(|problem| PlanError::new(&exit.name, problem))?;
    }
    Ok(shapes)
}

fn exit_fits(exit: &Exit, shapes: &[Shape], lattices: &[Lattice]) -> Result<(), String> {
    let Some((&shape, &lattice)) = shapes.get(exit.value).zip(lattices.get(exit.value)) else {
        return Err("takes what is not there".into());
    };
    match &exit.form {
        ExitForm::Bytes { scales, .. } => {
            let fits = scales.len() == 1 || scales.len() == shape.channels;
            let problem = || "its scales do not fit its channels".into();
            fits.then_some(()).ok_or_else(problem)
        }
        ExitForm::Unrounded(Unrounded {
            convolution,
            bias,
            added,
            ..
        }) => {
            let one = Lattice {
                scale: 1.0,
                zero_point: 0,
            };
            convolution.check(shape, lattice, one)?;
            if !convolution.is_pointwise() {
                return Err("is not rounded, and not 1 x 1".into());
            }
            if bias.len() != convolution.outputs {
                return Err("weights and biases do not fit each other".into());
            }
            let Some(added) = *added else {
                return Ok(());
            };
            let size = |s: Shape| (s.rows, s.columns);
            let fits = convolution.outputs == 1
                && added < shapes[0].channels
                && size(shape) == size(shapes[0]);
            let problem = || "adds a channel of the input to what has another size".into();
            fits.then_some(()).ok_or_else(problem)
        }
    }
}
