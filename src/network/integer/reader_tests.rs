//! Graphs as files have them, whole and spoilt.

use super::description::{ExitForm, Operation};
use super::reader::{Refusal, read};
use tract_onnx::pb::{
    AttributeProto, GraphProto, NodeProto, TensorProto, ValueInfoProto, tensor_proto::DataType,
};

fn tensor(name: &str, dims: &[i64], kind: DataType, raw: Vec<u8>) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: dims.to_vec(),
        data_type: kind.into(),
        raw_data: raw,
        ..Default::default()
    }
}

fn real(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    tensor(name, dims, DataType::Float, raw)
}

fn node(operator: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        name: format!("{output}.{operator}"),
        op_type: operator.into(),
        input: inputs.iter().map(|&i| i.into()).collect(),
        output: vec![output.into()],
        ..Default::default()
    }
}

fn with(mut node: NodeProto, name: &str, ints: &[i64]) -> NodeProto {
    node.attribute.push(AttributeProto {
        name: name.into(),
        ints: ints.to_vec(),
        i: ints.first().copied().unwrap_or(0),
        ..Default::default()
    });
    node
}

/// image -> Conv 3 x 3 -> Clip -> MaxPool -> out.
fn graph() -> GraphProto {
    let step = ["step", "zero"];
    GraphProto {
        node: vec![
            node("QuantizeLinear", &["image", step[0], step[1]], "image_q"),
            node(
                "DequantizeLinear",
                &["image_q", step[0], step[1]],
                "image_d",
            ),
            with(
                node("DequantizeLinear", &["w", "w_steps"], "w_d"),
                "axis",
                &[0],
            ),
            with(
                with(
                    node("Conv", &["image_d", "w_d"], "conv"),
                    "pads",
                    &[1, 1, 1, 1],
                ),
                "kernel_shape",
                &[3, 3],
            ),
            node("Clip", &["conv", "least", "most"], "clip"),
            node("QuantizeLinear", &["clip", step[0], step[1]], "clip_q"),
            node("DequantizeLinear", &["clip_q", step[0], step[1]], "clip_d"),
            with(
                node("MaxPool", &["clip_d"], "pool"),
                "kernel_shape",
                &[2, 2],
            ),
            node("QuantizeLinear", &["pool", step[0], step[1]], "pool_q"),
            node("DequantizeLinear", &["pool_q", step[0], step[1]], "out"),
        ],
        initializer: vec![
            real("step", &[], &[0.5]),
            tensor("zero", &[], DataType::Uint8, vec![10]),
            tensor("w", &[2, 1, 3, 3], DataType::Int8, vec![1; 18]),
            real("w_steps", &[2], &[0.1, 0.2]),
            real("least", &[], &[-1.0]),
            real("most", &[], &[3.0]),
        ],
        input: vec![ValueInfoProto {
            name: "image".into(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn refusals(graph: &GraphProto) -> Vec<Refusal> {
    read(graph, &["out"]).expect_err("refused")
}

#[test]
fn clips_become_saturation() {
    let found = read(&graph(), &["out"]).expect("reads");
    assert_eq!((found.layers.len(), found.exits.len()), (2, 1));
    assert_eq!((found.layers[0].low, found.layers[0].high), (8, 16));
    assert!(matches!(
        found.layers[1].operation,
        Operation::MaxPool { input: 1, .. }
    ));
}

#[test]
fn each_node_that_floats_is_told_with_the_reason() {
    let mut spoilt = graph();
    spoilt.node[4].op_type = "Tanh".into();
    spoilt.node[7].attribute.clear();
    let stated = refusals(&spoilt);
    let of = |operator: &str| {
        stated
            .iter()
            .find(|r| r.operator == operator)
            .expect(operator)
    };
    assert!(of("Tanh").reason.contains("no such operator"), "{stated:?}");
    assert!(
        of("MaxPool").reason.contains("no kernel_shape"),
        "{stated:?}"
    );
}

#[test]
fn spoilt_files_are_refused() {
    let spoils: [fn(&mut GraphProto); 12] = [
        |g| g.initializer[2].dims = vec![i64::MAX, i64::MAX, 3, 3],
        |g| g.initializer[2].dims = vec![-2, 1, 3, 3],
        |g| g.initializer[2].dims = vec![2, 9],
        |g| g.initializer[2].dims = vec![0, 1, 3, 3],
        |g| g.initializer[2].raw_data.clear(),
        |g| g.initializer[2].data_type = 99,
        |g| g.initializer[0].raw_data.clear(),
        |g| g.node[3] = with(g.node[3].clone(), "strides", &[-1, 1]),
        |g| g.node[3] = with(g.node[3].clone(), "dilations", &[2, 2]),
        |g| g.node[3].input.clear(),
        |g| g.node[9].output.clear(),
        |g| g.node.clear(),
    ];
    for (number, spoil) in spoils.iter().enumerate() {
        let mut spoilt = graph();
        spoil(&mut spoilt);
        assert!(!refusals(&spoilt).is_empty(), "{number}");
    }
    let mut nothing = graph();
    nothing.input.clear();
    assert!(read(&nothing, &["out"]).is_err());
}

/// cells -> channels first -> (x - shift) * gain -> Clip -> Conv 1 x 1, plus channel 1 of the input.
fn features() -> GraphProto {
    let step = ["step", "zero"];
    let long = |v: i64| v.to_le_bytes().to_vec();
    GraphProto {
        node: vec![
            with(
                node("Transpose", &["cells"], "first"),
                "perm",
                &[0, 3, 1, 2],
            ),
            node("Sub", &["first", "shift"], "centred"),
            node("Mul", &["centred", "gain"], "standard"),
            node("Clip", &["standard", "least", "most"], "clip"),
            node("QuantizeLinear", &["clip", step[0], step[1]], "clip_q"),
            node("DequantizeLinear", &["clip_q", step[0], step[1]], "clip_d"),
            with(
                node("DequantizeLinear", &["w", "w_steps"], "w_d"),
                "axis",
                &[0],
            ),
            node("Conv", &["clip_d", "w_d", "bias"], "conv"),
            node("Slice", &["first", "one", "two", "one"], "score"),
            node("Add", &["score", "conv"], "sum"),
            node("Relu", &["sum"], "relu"),
            node("Identity", &["relu"], "out"),
        ],
        initializer: vec![
            real("step", &[], &[0.5]),
            tensor("zero", &[], DataType::Uint8, vec![10]),
            tensor("w", &[1, 2, 1, 1], DataType::Int8, vec![3, 5]),
            real("w_steps", &[1], &[0.25]),
            real("bias", &[1], &[0.7]),
            real("shift", &[1, 2, 1, 1], &[1.0, 2.0]),
            real("gain", &[1, 2, 1, 1], &[3.0, 4.0]),
            real("least", &[], &[-1.0]),
            real("most", &[], &[3.0]),
            tensor("one", &[1], DataType::Int64, long(1)),
            tensor("two", &[1], DataType::Int64, long(2)),
        ],
        input: vec![ValueInfoProto {
            name: "cells".into(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

#[test]
fn features_are_standardised_and_the_last_sums_are_not_rounded() {
    let found = read(&features(), &["out"]).expect("reads");
    assert!(found.layers.is_empty() && found.entry.channels_last);
    assert_eq!(found.entry.shift, [1.0, 2.0]);
    assert_eq!(found.entry.gain, [3.0, 4.0]);
    assert_eq!((found.entry.low, found.entry.high), (-1.0, 3.0));
    let ExitForm::Unrounded(exit) = &found.exits[0].form else {
        panic!("rounded");
    };
    assert_eq!((exit.added, &exit.bias[..]), (Some(1), &[0.7][..]));
    assert_eq!((exit.low, exit.high), (0.0, f32::INFINITY));
    // A bias is not added twice.
    assert_eq!(exit.convolution.bias, [0]);
}

#[test]
fn what_else_happens_to_an_input_is_refused() {
    type Spoil = fn(&mut GraphProto);
    let spoils: [(Spoil, &str); 8] = [
        (
            |g| g.node[0].attribute[0].ints = vec![0, 2, 3, 1],
            "channels to the front",
        ),
        (|g| g.initializer[5].dims = vec![2], "number per channel"),
        (
            |g| g.node[1].input[0] = "centred".into(),
            "is not quantised",
        ),
        (|g| g.node.swap(2, 3), "which is not computed"),
        (|g| g.node[2].input[0] = "conv".into(), "is not quantised"),
        (|g| g.node[8].input[2] = "one".into(), "one channel"),
        (|g| g.node[9].input[1] = "score".into(), "is not rounded"),
        (
            |g| g.node[8].input[0] = "centred".into(),
            "the input as it is",
        ),
    ];
    for (number, (spoil, reason)) in spoils.iter().enumerate() {
        let mut spoilt = features();
        spoil(&mut spoilt);
        let refusals = refusals(&spoilt);
        assert!(
            refusals.iter().any(|r| r.reason.contains(reason)),
            "{number}: {refusals:?}"
        );
    }
}
