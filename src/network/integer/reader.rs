//! Quantised ONNX (QDQ) to a [`Description`]: each QuantizeLinear ends a layer, whatever computes
//! before it is the layer's operation, and Clip and Relu are its saturation. What happens to the
//! input before the first QuantizeLinear is the [`Entry`]; a 1 x 1 convolution behind the last one
//! leaves unrounded.

mod input;

use super::description::{
    Convolution, Description, Exit, ExitForm, Geometry, Lattice, Layer, Operation, Pads, Unrounded,
    Value,
};
use super::entry::Entry;
use serde::Serialize;
use std::collections::HashMap;
use tract_onnx::pb::{self, tensor_proto::DataType};

/// A node that does not run in integers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// The node in the file.
    pub node: String,
    /// Its operator.
    pub operator: String,
    /// Why.
    pub reason: String,
}

/// What a name in the file stands for.
#[derive(Clone)]
enum Thing {
    /// The input, not rounded yet.
    Entry(Box<Entry>),
    /// One channel of the input as it is.
    Channel(usize),
    /// Computed, not rounded yet.
    Real(Box<Real>),
    Byte(Value),
    Dequantised {
        value: Value,
        scales: Vec<f32>,
        zero_point: u8,
    },
    /// A constant behind a DequantizeLinear whose zero points are 0.
    Weights {
        numbers: String,
        scales: Vec<f32>,
    },
    /// What a refused node would have made.
    Unknown,
}

#[derive(Clone)]
struct Real {
    name: String,
    operation: Operation,
    /// Of a convolution, as numbers.
    bias: Vec<f32>,
    /// A channel of the input that is added.
    added: Option<usize>,
    low: f32,
    high: f32,
}

impl Real {
    fn of(node: &pb::NodeProto, operation: Operation, bias: Vec<f32>) -> Thing {
        Thing::Real(Box::new(Self {
            name: node.name.clone(),
            operation,
            bias,
            added: None,
            low: f32::NEG_INFINITY,
            high: f32::INFINITY,
        }))
    }

    /// As an exit, without rounding.
    fn leaves(self, name: &str) -> Result<Exit, String> {
        let Operation::Convolution(mut convolution) = self.operation else {
            return Err("is not rounded to bytes, and no convolution".into());
        };
        convolution.bias.fill(0);
        Ok(Exit {
            name: name.into(),
            value: convolution.input,
            form: ExitForm::Unrounded(Unrounded {
                convolution,
                bias: self.bias,
                added: self.added,
                low: self.low,
                high: self.high,
            }),
        })
    }
}

type Outcome = Result<Thing, String>;

struct Reader<'a> {
    constants: HashMap<&'a str, &'a pb::TensorProto>,
    things: HashMap<&'a str, Thing>,
    entry: Option<(Entry, Lattice)>,
    layers: Vec<Layer>,
}

fn whole(tensor: &pb::TensorProto) -> Option<Vec<i32>> {
    let raw = &tensor.raw_data;
    let listed = || tensor.int32_data.clone();
    let numbers: Vec<i32> = match DataType::try_from(tensor.data_type).ok()? {
        DataType::Int8 if raw.is_empty() => listed(),
        DataType::Uint8 | DataType::Int32 if raw.is_empty() => listed(),
        DataType::Int8 => raw.iter().map(|&b| i32::from(b as i8)).collect(),
        DataType::Uint8 => raw.iter().map(|&b| i32::from(b)).collect(),
        DataType::Int32 => raw
            .as_chunks::<4>()
            .0
            .iter()
            .map(|&b| i32::from_le_bytes(b))
            .collect(),
        _ => return None,
    };
    fits(tensor, numbers.len()).then_some(numbers)
}

fn reals(tensor: &pb::TensorProto) -> Option<Vec<f32>> {
    if tensor.data_type != i32::from(DataType::Float) {
        return None;
    }
    let raw = tensor.raw_data.as_chunks::<4>().0;
    let numbers = match raw {
        [] => tensor.float_data.clone(),
        _ => raw.iter().map(|&b| f32::from_le_bytes(b)).collect(),
    };
    fits(tensor, numbers.len()).then_some(numbers)
}

fn longs(tensor: &pb::TensorProto) -> Option<Vec<i64>> {
    if tensor.data_type != i32::from(DataType::Int64) {
        return None;
    }
    let raw = tensor.raw_data.as_chunks::<8>().0;
    let numbers = match raw {
        [] => tensor.int64_data.clone(),
        _ => raw.iter().map(|&b| i64::from_le_bytes(b)).collect(),
    };
    fits(tensor, numbers.len()).then_some(numbers)
}

fn fits(tensor: &pb::TensorProto, count: usize) -> bool {
    let dims = tensor.dims.iter().try_fold(1i64, |n, &d| n.checked_mul(d));
    dims.and_then(|n| usize::try_from(n).ok()) == Some(count)
}

fn attribute<'n>(node: &'n pb::NodeProto, name: &str) -> Option<&'n pb::AttributeProto> {
    node.attribute.iter().find(|a| a.name == name)
}

fn sizes<const N: usize>(node: &pb::NodeProto, name: &str) -> Result<Option<[usize; N]>, String> {
    let Some(found) = attribute(node, name) else {
        return Ok(None);
    };
    let sizes: Option<Vec<usize>> = found
        .ints
        .iter()
        .map(|&v| usize::try_from(v).ok())
        .collect();
    let sizes = sizes.and_then(|s| <[usize; N]>::try_from(s).ok());
    let wanted = || {
        format!(
            "attribute {name} is {:?}; {N} numbers are usable",
            found.ints
        )
    };
    sizes.map(Some).ok_or_else(wanted)
}

/// Attributes that change what a window means must have the values that change nothing.
fn plain_window(node: &pb::NodeProto) -> Result<(), String> {
    if sizes::<2>(node, "dilations")?.is_some_and(|d| d != [1, 1]) {
        return Err("dilated".into());
    }
    let pad = attribute(node, "auto_pad").map(|a| &a.s[..]);
    if !matches!(pad, None | Some(b"" | b"NOTSET")) {
        return Err("auto_pad; explicit pads are usable".into());
    }
    for name in ["ceil_mode", "storage_order"] {
        if attribute(node, name).is_some_and(|a| a.i != 0) {
            return Err(format!("{name} is not 0"));
        }
    }
    Ok(())
}

fn geometry(node: &pb::NodeProto, [rows, columns]: [usize; 2]) -> Result<Geometry, String> {
    plain_window(node)?;
    let [row_stride, column_stride] = sizes(node, "strides")?.unwrap_or([1, 1]);
    let [top, left, bottom, right] = sizes(node, "pads")?.unwrap_or([0; 4]);
    Ok(Geometry {
        rows,
        columns,
        row_stride,
        column_stride,
        pads: Pads {
            top,
            left,
            bottom,
            right,
        },
    })
}

fn on_lattice(value: f32, lattice: Lattice) -> u8 {
    ((value / lattice.scale).round_ties_even() + f32::from(lattice.zero_point)).clamp(0.0, 255.0)
        as u8
}

impl<'a> Reader<'a> {
    fn thing(&self, node: &'a pb::NodeProto, index: usize) -> Outcome {
        let name = node.input.get(index).map_or("", String::as_str);
        match self.things.get(name) {
            Some(Thing::Unknown) => {
                Err(format!("takes `{name}`, which is not computed in integers"))
            }
            Some(thing) => Ok(thing.clone()),
            None => Err(format!("input {index}, `{name}`, is not quantised")),
        }
    }

    fn constant(&self, node: &pb::NodeProto, index: usize) -> Option<&'a pb::TensorProto> {
        node.input
            .get(index)
            .and_then(|name| self.constants.get(name.as_str()).copied())
    }

    /// The value behind a DequantizeLinear that gives back what was quantised.
    fn value(&self, node: &'a pb::NodeProto, index: usize) -> Result<Value, String> {
        let Thing::Dequantised {
            value,
            scales,
            zero_point,
        } = self.thing(node, index)?
        else {
            return Err(format!("input {index} is not rounded to bytes"));
        };
        let lattice = self.lattice(value);
        if scales != [lattice.scale] || zero_point != lattice.zero_point {
            return Err(format!(
                "input {index} is dequantised by other scales than it was quantised by"
            ));
        }
        Ok(value)
    }

    fn lattice(&self, value: Value) -> Lattice {
        let none = Lattice {
            scale: 0.0,
            zero_point: 0,
        };
        match value {
            0 => self.entry.as_ref().map_or(none, |(_, lattice)| *lattice),
            _ => self.layers[value - 1].lattice,
        }
    }

    fn scales(&self, node: &pb::NodeProto) -> Result<Vec<f32>, String> {
        self.constant(node, 1)
            .and_then(reals)
            .ok_or_else(|| "its scales are no constant".into())
    }

    fn quantise(&mut self, node: &'a pb::NodeProto) -> Outcome {
        let [scale] = self.scales(node)?[..] else {
            return Err("more than one scale".into());
        };
        let zero = self
            .constant(node, 2)
            .filter(|t| t.data_type == i32::from(DataType::Uint8));
        let Some(&[zero_point]) = zero.and_then(whole).as_deref() else {
            return Err("its zero point is not one u8 constant".into());
        };
        let lattice = Lattice {
            scale,
            zero_point: u8::try_from(zero_point).map_err(|e| e.to_string())?,
        };
        let real = match self.thing(node, 0)? {
            Thing::Real(real) => real,
            Thing::Entry(entry) => {
                let entry = (*entry, lattice);
                if self.entry.as_ref().is_some_and(|before| *before != entry) {
                    return Err("the input is quantised in two ways".into());
                }
                self.entry = Some(entry);
                return Ok(Thing::Byte(0));
            }
            _ => return Err("rounds what is rounded already".into()),
        };
        if real.added.is_some() {
            return Err("rounds a sum with the input".into());
        }
        self.layers.push(Layer {
            name: real.name,
            operation: real.operation,
            lattice,
            low: on_lattice(real.low, lattice),
            high: on_lattice(real.high, lattice),
        });
        Ok(Thing::Byte(self.layers.len()))
    }

    fn dequantise(&self, node: &'a pb::NodeProto) -> Outcome {
        let scales = self.scales(node)?;
        let zeros = match node.input.get(2) {
            Some(_) => self
                .constant(node, 2)
                .and_then(whole)
                .ok_or("its zero points are no constant")?,
            None => vec![0; scales.len()],
        };
        if zeros.len() != scales.len() || zeros.iter().any(|z| *z != zeros[0]) {
            return Err("its zero points differ".into());
        }
        let axis = attribute(node, "axis").map_or(1, |a| a.i);
        if let Some(constant) = self.constant(node, 0) {
            if zeros.first() != Some(&0) || (scales.len() > 1 && axis != 0) {
                return Err("weights have a zero point or scales along another axis than 0".into());
            }
            return Ok(Thing::Weights {
                numbers: constant.name.clone(),
                scales,
            });
        }
        let Thing::Byte(value) = self.thing(node, 0)? else {
            return Err("its input is not rounded to bytes".into());
        };
        if scales.is_empty() || (scales.len() > 1 && axis != 1) {
            return Err("scales along another axis than 1".into());
        }
        Ok(Thing::Dequantised {
            value,
            scales,
            zero_point: u8::try_from(zeros[0]).map_err(|e| e.to_string())?,
        })
    }

    fn convolution(&self, node: &'a pb::NodeProto) -> Outcome {
        let input = self.value(node, 0)?;
        let Thing::Weights {
            numbers,
            mut scales,
        } = self.thing(node, 1)?
        else {
            return Err("its weights are not quantised constants".into());
        };
        let tensor = self.constants[numbers.as_str()];
        let dims: Option<Vec<usize>> = tensor
            .dims
            .iter()
            .map(|&d| usize::try_from(d).ok())
            .collect();
        let Some(&[outputs, inputs_a_group, rows, columns]) = dims.as_deref() else {
            return Err(format!("weights of {:?}", tensor.dims));
        };
        let narrow = |w: Vec<i32>| w.into_iter().map(|w| i8::try_from(w).ok()).collect();
        let weights: Option<Vec<i8>> = Some(tensor)
            .filter(|t| t.data_type == i32::from(DataType::Int8))
            .and_then(whole)
            .and_then(narrow);
        let weights = weights.ok_or("its weights are not i8")?;
        if sizes(node, "kernel_shape")?.is_some_and(|k| k != [rows, columns]) {
            return Err("kernel_shape is not the weights'".into());
        }
        if weights.is_empty() {
            return Err("no weights".into());
        }
        if scales.len() == 1 {
            scales = vec![scales[0]; outputs];
        }
        let scale = self.lattice(input).scale;
        let bias = self.bias(node, outputs, scale, &scales)?;
        let steps = bias.iter().zip(&scales);
        let exact = match self.constant(node, 2).and_then(reals) {
            Some(reals) => reals,
            None => steps.map(|(&b, s)| b as f32 * (scale * s)).collect(),
        };
        let groups = attribute(node, "group").map_or(1, |a| a.i);
        let convolution = Convolution {
            input,
            outputs,
            inputs_a_group,
            groups: usize::try_from(groups).map_err(|e| e.to_string())?,
            geometry: geometry(node, [rows, columns])?,
            weights,
            bias,
            scales,
        };
        Ok(Real::of(node, Operation::Convolution(convolution), exact))
    }

    /// In units of the input's scale times the weights'.
    fn bias(
        &self,
        node: &'a pb::NodeProto,
        outputs: usize,
        scale: f32,
        scales: &[f32],
    ) -> Result<Vec<i32>, String> {
        let Some(name) = node.input.get(2).filter(|n| !n.is_empty()) else {
            return Ok(vec![0; outputs]);
        };
        if let Some(real) = self.constant(node, 2).and_then(reals) {
            let rounded = real.iter().zip(scales).map(|(&b, &s)| {
                let steps = (f64::from(b) / (f64::from(scale) * f64::from(s))).round_ties_even();
                (steps.abs() < 2f64.powi(30)).then_some(steps as i32)
            });
            let rounded: Option<Vec<i32>> = rounded.collect();
            return rounded.ok_or_else(|| "a bias is too large for its weights".into());
        }
        let Some(Thing::Weights {
            numbers,
            scales: steps,
        }) = self.things.get(name.as_str())
        else {
            return Err("its biases are no constants".into());
        };
        let tensor = self.constants[numbers.as_str()];
        let bias = Some(tensor)
            .filter(|t| t.data_type == i32::from(DataType::Int32))
            .and_then(whole);
        let expected = scales.iter().map(|s| s * scale);
        let alike = steps.len() == scales.len()
            && expected
                .zip(steps)
                .all(|(e, &s)| (e - s).abs() <= e.abs() * 1e-5);
        match bias {
            Some(bias) if alike => Ok(bias),
            _ => Err("its biases are not i32 by the scales of input and weights".into()),
        }
    }

    fn clipped(&self, node: &'a pb::NodeProto) -> Outcome {
        let mut thing = self.thing(node, 0)?;
        let (low_end, high_end) = match &mut thing {
            Thing::Real(real) => (&mut real.low, &mut real.high),
            Thing::Entry(entry) => (&mut entry.low, &mut entry.high),
            _ => return Err("does not follow what is computed in integers directly".into()),
        };
        let limit = |index: usize, none: f32| {
            if node.op_type == "Relu" {
                return Some(if index == 1 { 0.0 } else { none });
            }
            match node.input.get(index).filter(|n| !n.is_empty()) {
                None => Some(none),
                Some(_) => match self.constant(node, index).and_then(reals)?[..] {
                    [limit] if !limit.is_nan() => Some(limit),
                    _ => None,
                },
            }
        };
        let limits = limit(1, f32::NEG_INFINITY).zip(limit(2, f32::INFINITY));
        let (low, high) = limits.ok_or("its limits are no constants")?;
        if attribute(node, "min").or(attribute(node, "max")).is_some() {
            return Err("its limits are attributes".into());
        }
        *low_end = low_end.max(low).min(high);
        *high_end = high_end.min(high).max(low);
        Ok(thing)
    }

    fn addition(&self, node: &'a pb::NodeProto) -> Outcome {
        match (self.thing(node, 0), self.thing(node, 1)) {
            (Ok(Thing::Channel(channel)), Ok(Thing::Real(mut real)))
            | (Ok(Thing::Real(mut real)), Ok(Thing::Channel(channel))) => {
                let limits = [real.low, real.high];
                if real.added.is_some() || limits != [f32::NEG_INFINITY, f32::INFINITY] {
                    return Err("adds the input a second time, or after limits".into());
                }
                real.added = Some(channel);
                Ok(Thing::Real(real))
            }
            _ => {
                let (left, right) = (self.value(node, 0)?, self.value(node, 1)?);
                Ok(Real::of(node, Operation::Add { left, right }, Vec::new()))
            }
        }
    }

    fn node(&mut self, node: &'a pb::NodeProto) -> Outcome {
        if node.output.len() != 1 {
            return Err(format!("{} outputs", node.output.len()));
        }
        match node.op_type.as_str() {
            "QuantizeLinear" => self.quantise(node),
            "DequantizeLinear" => self.dequantise(node),
            "Conv" => self.convolution(node),
            "Clip" | "Relu" => self.clipped(node),
            "Identity" => self.thing(node, 0),
            "Add" => self.addition(node),
            "Transpose" => self.moved(node),
            "Sub" => self.shifted(node),
            "Mul" => self.scaled(node),
            "Slice" => self.channel(node),
            "MaxPool" => {
                let window = sizes(node, "kernel_shape")?.ok_or("no kernel_shape")?;
                let operation = Operation::MaxPool {
                    input: self.value(node, 0)?,
                    geometry: geometry(node, window)?,
                };
                Ok(Real::of(node, operation, Vec::new()))
            }
            _ => Err("no such operator in integers".into()),
        }
    }
}

/// Reads a graph whose outputs are wanted in the order of `outputs`.
///
/// # Errors
/// Every node that does not run in integers.
pub(super) fn read(graph: &pb::GraphProto, outputs: &[&str]) -> Result<Description, Vec<Refusal>> {
    let constants: HashMap<_, _> = graph
        .initializer
        .iter()
        .map(|t| (t.name.as_str(), t))
        .collect();
    let inputs = graph.input.iter().map(|i| i.name.as_str());
    let input = inputs.clone().find(|i| !constants.contains_key(i));
    let mut reader = Reader {
        constants,
        things: input
            .map(|name| (name, Thing::Entry(Box::default())))
            .into_iter()
            .collect(),
        entry: None,
        layers: Vec::new(),
    };
    let mut refusals = Vec::new();
    for node in &graph.node {
        let thing = reader.node(node).unwrap_or_else(|reason| {
            refusals.push(Refusal {
                node: node.name.clone(),
                operator: node.op_type.clone(),
                reason,
            });
            Thing::Unknown
        });
        for output in &node.output {
            reader.things.insert(output, thing.clone());
        }
    }
    let mut exits = Vec::with_capacity(outputs.len());
    for &name in outputs {
        let exit = match reader.things.get(name).cloned() {
            Some(Thing::Dequantised {
                value,
                scales,
                zero_point,
            }) => Ok(Exit {
                name: name.into(),
                value,
                form: ExitForm::Bytes { scales, zero_point },
            }),
            Some(Thing::Real(real)) => real.leaves(name),
            _ => Err("is not dequantised from bytes".into()),
        };
        match exit {
            Ok(exit) => exits.push(exit),
            Err(reason) => refusals.push(Refusal {
                node: name.into(),
                operator: "output".into(),
                reason,
            }),
        }
    }
    match reader.entry {
        Some((entry, input)) if refusals.is_empty() => Ok(Description {
            entry,
            input,
            layers: reader.layers,
            exits,
        }),
        _ => Err(refusals),
    }
}
