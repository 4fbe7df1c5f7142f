//! A backbone of random weights, small enough for a golden bundle.

use super::TAPS;
use crate::fit::sections::little_endian;
use partgate::seed::Rng;
use prost::Message;
use tract_onnx::pb;

fn floats(name: &str, dims: &[i64], values: &[f32]) -> pb::TensorProto {
    pb::TensorProto {
        name: name.into(),
        dims: dims.to_vec(),
        data_type: pb::tensor_proto::DataType::Float.into(),
        raw_data: little_endian(values),
        ..Default::default()
    }
}

fn ints(name: &str, ints: &[i64]) -> pb::AttributeProto {
    pb::AttributeProto {
        name: name.into(),
        ints: ints.to_vec(),
        r#type: pb::attribute_proto::AttributeType::Ints.into(),
        ..Default::default()
    }
}

/// A dimension of `value`, or of the picture's side where it is 0.
fn dimension(value: i64) -> pb::tensor_shape_proto::Dimension {
    pb::tensor_shape_proto::Dimension {
        value: Some(if value > 0 {
            pb::tensor_shape_proto::dimension::Value::DimValue(value)
        } else {
            pb::tensor_shape_proto::dimension::Value::DimParam("side".into())
        }),
        ..Default::default()
    }
}

fn port(name: &str, dims: [i64; 4]) -> pb::ValueInfoProto {
    pb::ValueInfoProto {
        name: name.into(),
        r#type: Some(pb::TypeProto {
            value: Some(pb::type_proto::Value::TensorType(pb::type_proto::Tensor {
                elem_type: pb::tensor_proto::DataType::Float.into(),
                shape: Some(pb::TensorShapeProto {
                    dim: dims.map(dimension).to_vec(),
                }),
            })),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// A backbone of two random convolutions: `fine` at stride 8, `coarse` at 16.
pub(super) fn backbone(rng: &mut Rng) -> Vec<u8> {
    let (mut node, mut initializer) = (Vec::new(), Vec::new());
    let layers = [("image", 3, 8i64, "fine"), ("fine", TAPS[0], 2, "coarse")];
    for ((from, inputs, side, to), outputs) in layers.into_iter().zip(TAPS) {
        let fan_in = inputs * (side * side) as usize;
        let deviation = (2.0 / fan_in as f32).sqrt();
        let weights: Vec<f32> = (0..outputs * fan_in)
            .map(|_| rng.gaussian() * deviation)
            .collect();
        let dims = [outputs as i64, inputs as i64, side, side];
        let names = [format!("{to}.weights"), format!("{to}.biases")];
        initializer.push(floats(&names[0], &dims, &weights));
        let biases: Vec<f32> = (0..outputs).map(|_| rng.unit()).collect();
        initializer.push(floats(&names[1], &dims[..1], &biases));
        node.push(pb::NodeProto {
            name: format!("{to}.convolution"),
            op_type: "Conv".into(),
            input: [&[from.to_string()], &names[..]].concat(),
            output: vec![format!("{to}.sum")],
            attribute: vec![
                ints("kernel_shape", &[side; 2]),
                ints("strides", &[side; 2]),
            ],
            ..Default::default()
        });
        node.push(pb::NodeProto {
            name: format!("{to}.rectified"),
            op_type: "Relu".into(),
            input: vec![format!("{to}.sum")],
            output: vec![to.into()],
            ..Default::default()
        });
    }
    let [a, b] = TAPS.map(|t| t as i64);
    let model = pb::ModelProto {
        ir_version: 8,
        producer_name: "partgate tests".into(),
        opset_import: vec![pb::OperatorSetIdProto {
            domain: String::new(),
            version: 13,
        }],
        graph: Some(pb::GraphProto {
            name: "tiny".into(),
            node,
            initializer,
            input: vec![port("image", [1, 3, 0, 0])],
            output: vec![port("fine", [1, a, 0, 0]), port("coarse", [1, b, 0, 0])],
            ..Default::default()
        }),
        ..Default::default()
    };
    model.encode_to_vec()
}
