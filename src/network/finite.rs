//! Numbers that are none: weights that are not finite are refused, and a float network whose
//! activations overflow fails instead of giving a feature. Clip and Relu turn a NaN into a bound, so
//! that without this a damaged network gives every picture the same, small features.

use std::collections::{HashMap, HashSet};
use tract_onnx::pb::{self, tensor_proto::DataType};
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::element_wise::{ElementWiseMiniOp, ElementWiseOp};

/// Operators of which an infinite constant is a weight. Elsewhere it may be meant: as a limit of
/// Clip, or as a mask that is added.
const WEIGHING: [&str; 9] = [
    "Conv",
    "ConvTranspose",
    "Gemm",
    "MatMul",
    "Mul",
    "BatchNormalization",
    "PRelu",
    "QuantizeLinear",
    "DequantizeLinear",
];

/// The f32 values of `tensor`; none for another type.
fn floats(tensor: &pb::TensorProto) -> impl Iterator<Item = f32> {
    let kind = DataType::try_from(tensor.data_type);
    let float = kind.is_ok_and(|kind| kind == DataType::Float);
    let (words, _) = tensor.raw_data.as_chunks::<4>();
    let raw = words.iter().map(|&word| f32::from_le_bytes(word));
    let all = raw.chain(tensor.float_data.iter().copied());
    all.take(if float { usize::MAX } else { 0 })
}

/// The first constant of the graph that holds a NaN, or an infinity as a weight, in words.
pub(super) fn unsound_weight(graph: &pb::GraphProto) -> Option<String> {
    let weighing = graph
        .node
        .iter()
        .filter(|node| WEIGHING.contains(&node.op_type.as_str()));
    let weights: HashSet<&str> = weighing
        .flat_map(|node| node.input.iter().map(String::as_str))
        .collect();
    let constants = graph.node.iter().filter(|node| node.op_type == "Constant");
    let constants = constants.filter_map(|node| {
        let name = node.output.first()?;
        let value = node.attribute.iter().find_map(|a| a.t.as_ref())?;
        Some((name.as_str(), value))
    });
    let initializers = graph.initializer.iter().map(|t| (t.name.as_str(), t));
    initializers.chain(constants).find_map(|(name, tensor)| {
        let mut values = floats(tensor).enumerate();
        let (at, value) = values
            .find(|(_, value)| value.is_nan() || (value.is_infinite() && weights.contains(name)))?;
        Some(format!("value {at} of `{name}` is {value}"))
    })
}

/// Whether every value is a finite number. Sums of the exponents' bits in lanes, so that it is a
/// fraction of the time that reading the memory takes.
pub(crate) fn all_finite(values: &[f32]) -> bool {
    const EXPONENT: u32 = 0x7f80_0000;
    let (whole, rest) = values.as_chunks::<16>();
    let mut unsound = [0u32; 16];
    for lane in whole {
        for (flag, value) in unsound.iter_mut().zip(lane) {
            *flag |= u32::from(value.to_bits() & EXPONENT == EXPONENT);
        }
    }
    unsound.iter().all(|&flag| flag == 0) && rest.iter().all(|value| value.is_finite())
}

/// # Errors
/// If one of `values` is not a finite number.
pub(super) fn check(values: &[f32]) -> TractResult<()> {
    if all_finite(values) {
        return Ok(());
    }
    bail!("a value inside the network is not a finite number (an overflow, or damaged weights)")
}

/// Passes values on, and fails at one that is no finite number.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Guard;

impl ElementWiseMiniOp for Guard {
    fn name(&self) -> String {
        "Finite".into()
    }

    fn eval_in_place(&self, t: &mut Tensor, _: Option<DatumType>) -> TractResult<()> {
        check(t.try_as_plain_ram()?.as_slice::<f32>()?)
    }
}

/// Whether `node` can turn a NaN or an infinity into a number: limits, comparisons, and functions of
/// one value, whose kernels limit their argument first.
fn swallows(node: &TypedNode) -> bool {
    const LIMITS: [&str; 13] = [
        "Max", "Min", "Softmax", "Iff", "Eq", "Ne", "Lt", "Gt", "Le", "Ge", "Less", "Greater",
        "Topk",
    ];
    let name = node.op().name();
    let rounds = name == "RoundAndSaturate";
    let limits =
        LIMITS.contains(&&*name) || name.contains("MaxPool") || name.starts_with("Reduce<M");
    // The rounding looks at its values itself.
    limits || node.op_is::<ElementWiseOp>() && !rounds
}

/// A limit's result needs no look if its operands had one.
fn is_limit(node: &TypedNode) -> bool {
    matches!(&*node.op().name(), "Max" | "Min" | "RoundAndSaturate")
}

/// Puts a [`Guard`] before every operator of `model` that can turn a NaN into a number.
pub(super) fn guard(model: &mut TypedModel) -> TractResult<()> {
    let mut guards: HashMap<OutletId, OutletId> = HashMap::new();
    let consumers: Vec<usize> = model
        .nodes()
        .iter()
        .filter(|node| swallows(node))
        .map(|node| node.id)
        .collect();
    for consumer in consumers {
        for slot in 0..model.node(consumer).inputs.len() {
            let outlet = model.node(consumer).inputs[slot];
            let fact = model.outlet_fact(outlet)?.clone();
            let looked_at = is_limit(model.node(outlet.node));
            if looked_at || fact.konst.is_some() || fact.datum_type != f32::datum_type() {
                continue;
            }
            let guarded = match guards.get(&outlet) {
                Some(&guarded) => guarded,
                None => {
                    let name = format!("{}.{}.finite", model.node(outlet.node).name, outlet.slot);
                    let op = ElementWiseOp(Box::new(Guard), None);
                    let id = model.add_node(name, op, tvec!(fact.without_value()))?;
                    model.add_edge(outlet, InletId::new(id, 0))?;
                    guards.insert(outlet, OutletId::new(id, 0));
                    OutletId::new(id, 0)
                }
            };
            model.add_edge(guarded, InletId::new(consumer, slot))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_is_no_number_is_found_wherever_it_is() {
        for length in [1, 15, 16, 17, 40] {
            let mut values = vec![f32::MAX; length];
            values[0] = f32::MIN_POSITIVE / 2.0;
            assert!(all_finite(&values));
            for at in 0..length {
                for unsound in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                    let mut values = values.clone();
                    values[at] = unsound;
                    assert!(!all_finite(&values), "{unsound} at {at} of {length}");
                }
            }
        }
    }
}
