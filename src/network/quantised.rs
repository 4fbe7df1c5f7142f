//! Quantised ONNX (QDQ) to the fastest exact form that tract runs today: for files of which some
//! node does not run in integers.
//!
//! tract loads QuantizeLinear / DequantizeLinear pairs but executes them one by one between float
//! convolutions, which is slower than float alone. Here each activation pair becomes one vectorised
//! round-and-saturate step, and quantised weights are dequantised once at load. The arithmetic is that
//! of the QDQ graph: a float convolution over values on the u8 and i8 lattices. Without rounding it
//! would be a little faster. But rounding gives the file one meaning: integer kernels, here or in
//! another runtime, give the same features up to the order of summation, so a bundle fitted today stays
//! valid when kernels change.

use crate::lanes::{self, Kernel, LANES, Lanes, Task};
use std::collections::{HashMap, HashSet};
use thiserror::Error;
use tract_onnx::Onnx;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::{self, tensor_proto::DataType};
use tract_onnx::prelude::tract_itertools::Itertools;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::element_wise::{ElementWiseMiniOp, ElementWiseOp};
use tract_onnx::tract_hir::internal::{ElementWiseIntoHir, InferenceOp};

/// Operator name of the fused step in tract's ONNX parser.
const ROUND_AND_SATURATE: &str = "PartgateRoundAndSaturate";

/// Why a quantised graph cannot be used.
#[derive(Debug, Error)]
pub enum QuantisedError {
    /// The protobuf has no graph.
    #[error("the ONNX file holds no graph")]
    NoGraph,
    /// Quantised in another form than per-tensor u8 / per-channel i8 QDQ.
    #[error(
        "node `{node}`: {problem}; export with per-tensor u8 activations and per-channel i8 weights in QDQ form (models/export.py does)"
    )]
    Form {
        /// The ONNX node.
        node: String,
        /// What is wrong.
        problem: String,
    },
    /// Weights are stored outside the file.
    #[error("initializer `{name}` lives outside the ONNX file; export it embedded")]
    External {
        /// The initializer.
        name: String,
    },
}

/// `x -> (clamp(round(x / scale) + zero_point, 0, 255) - zero_point) * scale`, halves to even: the
/// result of QuantizeLinear then DequantizeLinear to u8 (ONNX operator set 13).
#[derive(Clone, Debug, PartialEq)]
struct RoundAndSaturate {
    scale: f32,
    zero_point: u8,
}

impl Eq for RoundAndSaturate {}

impl RoundAndSaturate {
    fn apply(&self, values: &mut [f32]) {
        // Adding and subtracting 1.5 * 2^23 rounds to the nearest integer, halves to even, with two
        // additions that every processor vectorises. It is exact for |v| < 2^22, and after the clamp v
        // is within a byte's range of zero.
        const ROUNDER: f32 = 12_582_912.0;
        let low = -f32::from(self.zero_point);
        let high = 255.0 + low;
        let kernel = Kernel::best();
        let (whole, rest) = values.as_chunks_mut::<LANES>();
        let mut tail = [0.0; LANES];
        tail[..rest.len()].copy_from_slice(rest);
        for vectors in [whole, std::slice::from_mut(&mut tail)] {
            let task = Rounding {
                vectors,
                scale: self.scale,
                low,
                high,
                rounder: ROUNDER,
            };
            lanes::run(kernel, task);
        }
        rest.copy_from_slice(&tail[..rest.len()]);
    }
}

struct Rounding<'a> {
    vectors: &'a mut [[f32; LANES]],
    scale: f32,
    low: f32,
    high: f32,
    rounder: f32,
}

impl Task for Rounding<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes, const CELLS: usize>(self) {
        let [scale, low, high, rounder] =
            [self.scale, self.low, self.high, self.rounder].map(L::splat);
        for vector in self.vectors {
            // A division and not a product with the reciprocal: the operator is defined so, and the two
            // differ on ties.
            let q = L::load(vector).div(scale).clamp(low, high);
            q.add(rounder).sub(rounder).mul(scale).store(vector);
        }
    }
}

impl ElementWiseMiniOp for RoundAndSaturate {
    fn name(&self) -> String {
        "RoundAndSaturate".into()
    }

    fn eval_in_place(&self, t: &mut Tensor, _: Option<DatumType>) -> TractResult<()> {
        let mut plain = t.try_as_plain_ram_mut()?;
        let values = plain.as_slice_mut::<f32>()?;
        // The limits would make a number of it.
        super::finite::check(values)?;
        let len = values.len();
        multithread::par_chunks_mut(values, 1, len, |_, chunk| {
            self.apply(chunk);
            Ok(())
        })
    }
}

fn build_round_and_saturate(
    _: &ParsingContext,
    node: &pb::NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let scale = node.get_attr::<f32>("scale")?;
    let zero_point = node.get_attr::<i64>("zero_point")?;
    let op = RoundAndSaturate {
        scale,
        zero_point: u8::try_from(zero_point)?,
    };
    Ok((ElementWiseOp(Box::new(op), None).into_hir(), vec![]))
}

/// tract's ONNX reader with the fused step added.
pub(super) fn reader() -> Onnx {
    let mut onnx = tract_onnx::onnx();
    onnx.op_register
        .insert(ROUND_AND_SATURATE, build_round_and_saturate);
    onnx
}

fn float_attribute(name: &str, value: f32) -> pb::AttributeProto {
    pb::AttributeProto {
        name: name.into(),
        f: value,
        r#type: pb::attribute_proto::AttributeType::Float.into(),
        ..Default::default()
    }
}

fn int_attribute(name: &str, value: i64) -> pb::AttributeProto {
    pb::AttributeProto {
        name: name.into(),
        i: value,
        r#type: pb::attribute_proto::AttributeType::Int.into(),
        ..Default::default()
    }
}

/// An initializer's numbers as f32 (i32 biases lose nothing that a float sum would keep).
struct Constant {
    dims: Vec<i64>,
    kind: i32,
    values: Vec<f32>,
}

fn constant(tensor: &pb::TensorProto) -> Option<Constant> {
    let raw = &tensor.raw_data;
    let kind = DataType::try_from(tensor.data_type).ok()?;
    let values: Vec<f32> = match kind {
        DataType::Float if !raw.is_empty() => raw
            .as_chunks::<4>()
            .0
            .iter()
            .map(|&b| f32::from_le_bytes(b))
            .collect(),
        DataType::Float => tensor.float_data.clone(),
        DataType::Int8 if !raw.is_empty() => raw.iter().map(|&b| f32::from(b as i8)).collect(),
        DataType::Uint8 if !raw.is_empty() => raw.iter().map(|&b| f32::from(b)).collect(),
        DataType::Int32 if !raw.is_empty() => raw
            .as_chunks::<4>()
            .0
            .iter()
            .map(|&b| i32::from_le_bytes(b) as f32)
            .collect(),
        DataType::Int8 | DataType::Uint8 | DataType::Int32 => {
            tensor.int32_data.iter().map(|&v| v as f32).collect()
        }
        _ => return None,
    };
    let count: i64 = tensor.dims.iter().product();
    (count == values.len() as i64).then(|| Constant {
        dims: tensor.dims.clone(),
        kind: tensor.data_type,
        values,
    })
}

fn form(node: &pb::NodeProto, problem: impl Into<String>) -> QuantisedError {
    QuantisedError::Form {
        node: node.name.clone(),
        problem: problem.into(),
    }
}

/// A float initializer from a quantised one: `(q - zero_point) * scale` along `axis`.
fn dequantised(
    node: &pb::NodeProto,
    name: &str,
    source: &Constant,
    scale: &Constant,
    zero_point: Option<&Constant>,
) -> Result<pb::TensorProto, QuantisedError> {
    let axis = node
        .attribute
        .iter()
        .find(|a| a.name == "axis")
        .map_or(1, |a| a.i);
    let channels = scale.values.len();
    let inner: usize = if channels == 1 {
        source.values.len()
    } else {
        let axis = usize::try_from(axis)
            .ok()
            .filter(|&a| source.dims.get(a) == Some(&(channels as i64)))
            .ok_or_else(|| form(node, format!("{channels} scales do not fit axis {axis}")))?;
        source.dims[axis + 1..].iter().product::<i64>() as usize
    };
    if zero_point.is_some_and(|z| z.values.len() != channels) || inner == 0 {
        return Err(form(node, "zero points do not match the scales"));
    }
    let mut raw = Vec::with_capacity(source.values.len() * 4);
    for (i, q) in source.values.iter().enumerate() {
        let channel = (i / inner) % channels;
        let zero = zero_point.map_or(0.0, |z| z.values[channel]);
        raw.extend_from_slice(&((q - zero) * scale.values[channel]).to_le_bytes());
    }
    Ok(pb::TensorProto {
        name: name.into(),
        dims: source.dims.clone(),
        data_type: DataType::Float.into(),
        raw_data: raw,
        ..Default::default()
    })
}

/// `scale[c] / made_scale` for each channel, shaped to multiply `[1, C, H, W]`.
fn per_channel_factor(
    node: &pb::NodeProto,
    scale: &Constant,
    made_scale: f32,
) -> Result<pb::TensorProto, QuantisedError> {
    let axis = node.attribute.iter().find(|a| a.name == "axis");
    if axis.is_some_and(|a| a.i != 1) || scale.values.len() < 2 {
        return Err(form(
            node,
            "its scales are neither those its input was quantised with nor one a channel",
        ));
    }
    Ok(pb::TensorProto {
        name: format!("{}_factor", node.name),
        dims: vec![1, scale.values.len() as i64, 1, 1],
        data_type: DataType::Float.into(),
        raw_data: scale
            .values
            .iter()
            .flat_map(|s| (s / made_scale).to_le_bytes())
            .collect(),
        ..Default::default()
    })
}

/// The numbers of a graph's initializers, by name.
struct Constants(HashMap<String, Constant>);

impl Constants {
    fn of(graph: &pb::GraphProto) -> Self {
        let known = graph.initializer.iter();
        Self(
            known
                .filter_map(|t| Some((t.name.clone(), constant(t)?)))
                .collect(),
        )
    }

    fn input(&self, node: &pb::NodeProto, ix: usize) -> Option<&Constant> {
        node.input.get(ix).and_then(|name| self.0.get(name))
    }
}

/// A graph while its nodes are replaced, in their order.
struct Fusion<'a> {
    graph: &'a mut pb::GraphProto,
    constants: Constants,
    /// Outputs of nodes that were removed, with the tensor that is read instead.
    renamed: HashMap<String, String>,
    /// Output of each QuantizeLinear, with its scale and zero point.
    lattice: HashMap<String, (f32, u8)>,
    fused: usize,
}

impl Fusion<'_> {
    fn rename_inputs(&self, node: &mut pb::NodeProto) {
        for input in &mut node.input {
            if let Some(to) = self.renamed.get(input) {
                *input = to.clone();
            }
        }
    }

    /// QuantizeLinear to the fused step.
    fn quantize_linear(
        &mut self,
        mut node: pb::NodeProto,
    ) -> Result<pb::NodeProto, QuantisedError> {
        let scale = self
            .constants
            .input(&node, 1)
            .filter(|c| c.values.len() == 1 && c.values[0] > 0.0)
            .ok_or_else(|| form(&node, "activation scale is not one positive constant"))?
            .values[0];
        let zero_point = self
            .constants
            .input(&node, 2)
            .filter(|c| c.values.len() == 1 && c.kind == i32::from(DataType::Uint8))
            .ok_or_else(|| form(&node, "activation zero point is not one u8 constant"))?
            .values[0] as u8;
        let output = node
            .output
            .first()
            .cloned()
            .ok_or_else(|| form(&node, "no output"))?;
        self.lattice.insert(output, (scale, zero_point));
        node.op_type = ROUND_AND_SATURATE.into();
        node.domain = String::new();
        node.input.truncate(1);
        node.attribute = vec![
            float_attribute("scale", scale),
            int_attribute("zero_point", zero_point.into()),
        ];
        self.fused += 1;
        Ok(node)
    }

    /// DequantizeLinear to a float initializer, a factor per channel, or nothing: the fused step has
    /// dequantised already. Returns the node that remains.
    fn dequantize_linear(
        &mut self,
        mut node: pb::NodeProto,
    ) -> Result<Option<pb::NodeProto>, QuantisedError> {
        let (Some(input), Some(output)) = (node.input.first(), node.output.first()) else {
            return Err(form(&node, "no input or output"));
        };
        let scale = self
            .constants
            .input(&node, 1)
            .ok_or_else(|| form(&node, "the scale is not a constant"))?;
        let zero_point = self.constants.input(&node, 2);
        if let Some(source) = self.constants.0.get(input) {
            let tensor = dequantised(&node, output, source, scale, zero_point)?;
            self.graph.initializer.push(tensor);
            return Ok(None);
        }
        let made_scale = self.made_scale(&node, input, zero_point)?;
        if scale.values != [made_scale] {
            // Channels that were scaled to a common range before rounding get their own range back:
            // the lattice values times a factor per channel.
            let factor = per_channel_factor(&node, scale, made_scale)?;
            node.op_type = "Mul".into();
            node.input = vec![input.clone(), factor.name.clone()];
            node.attribute.clear();
            self.graph.initializer.push(factor);
            return Ok(Some(node));
        }
        if self.graph.output.iter().any(|o| &o.name == output) {
            node.op_type = "Identity".into();
            node.input.truncate(1);
            node.attribute.clear();
            return Ok(Some(node));
        }
        self.renamed.insert(output.clone(), input.clone());
        Ok(None)
    }

    /// The scale with which the `input` of DequantizeLinear was quantised.
    fn made_scale(
        &self,
        node: &pb::NodeProto,
        input: &str,
        zero_point: Option<&Constant>,
    ) -> Result<f32, QuantisedError> {
        let made_with = self.lattice.get(input).copied().filter(|&(_, z)| {
            zero_point.is_some_and(|c| c.values.iter().all(|&v| v == f32::from(z)))
        });
        let Some((made_scale, _)) = made_with else {
            return Err(form(
                node,
                "its input was not quantised with the same zero point",
            ));
        };
        Ok(made_scale)
    }
}

fn refuse_external(graph: &pb::GraphProto) -> Result<(), QuantisedError> {
    for init in &graph.initializer {
        if init.data_location.unwrap_or_default() != 0 || !init.external_data.is_empty() {
            return Err(QuantisedError::External {
                name: init.name.clone(),
            });
        }
    }
    Ok(())
}

/// Frees the memory of what the dequantised copies replaced.
fn drop_unused_initializers(graph: &mut pb::GraphProto) {
    let used: HashSet<&str> = graph
        .node
        .iter()
        .flat_map(|n| n.input.iter().map(String::as_str))
        .collect();
    graph.initializer.retain(|t| used.contains(t.name.as_str()));
}

/// Replaces every QuantizeLinear / DequantizeLinear in `model`; a float graph stays as it is. Returns
/// the number of fused activation pairs.
///
/// # Errors
/// [`QuantisedError`] naming the node if the graph is quantised in another form.
pub(super) fn fuse_pairs(model: &mut pb::ModelProto) -> Result<usize, QuantisedError> {
    let graph = model.graph.as_mut().ok_or(QuantisedError::NoGraph)?;
    refuse_external(graph)?;
    let mut nodes = Vec::with_capacity(graph.node.len());
    let unfused = std::mem::take(&mut graph.node);
    let mut fusion = Fusion {
        constants: Constants::of(graph),
        graph,
        renamed: HashMap::new(),
        lattice: HashMap::new(),
        fused: 0,
    };
    for mut node in unfused {
        fusion.rename_inputs(&mut node);
        match node.op_type.as_str() {
            "QuantizeLinear" => nodes.push(fusion.quantize_linear(node)?),
            "DequantizeLinear" => nodes.extend(fusion.dequantize_linear(node)?),
            _ => nodes.push(node),
        }
    }
    let Fusion { graph, fused, .. } = fusion;
    graph.node = nodes;
    drop_unused_initializers(graph);
    // The recorded shapes and types of the integer tensors are wrong now.
    graph.value_info.clear();
    Ok(fused)
}

/// Names of the operators in a graph with their counts, for reports.
pub(super) fn census<'a>(names: impl Iterator<Item = &'a str>) -> Vec<(String, usize)> {
    names
        .counts()
        .into_iter()
        .map(|(n, c)| (n.to_string(), c))
        .sorted()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rounding_is_quantise_then_dequantise(
            values in proptest::collection::vec(-40.0f32..40.0, 1..200),
            scale in 0.001f32..0.5,
            zero_point: u8,
        ) {
            let op = RoundAndSaturate { scale, zero_point };
            let mut got = values.clone();
            op.apply(&mut got);
            for (v, g) in values.iter().zip(&got) {
                let q = ((v / scale).round_ties_even() + f32::from(zero_point)).clamp(0.0, 255.0);
                let want = (q - f32::from(zero_point)) * scale;
                prop_assert_eq!(*g, want);
            }
        }
    }
}
