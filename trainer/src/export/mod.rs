//! Trained networks to ONNX files: float, or int8 in the QDQ form that the runtime reads.
//!
//! Only the operators that the networks here are made of, over `[1, channels, rows, columns]`.

use prost::Message;
use tract_onnx::pb::{
    self, AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, attribute_proto::AttributeType,
    tensor_proto::DataType, tensor_shape_proto, type_proto,
};

/// Weights of a convolution, `[outputs, inputs / groups, side, side]`, and its biases.
pub(crate) struct Convolution {
    pub(crate) weights: Vec<f32>,
    pub(crate) biases: Vec<f32>,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    /// Side of the kernel, odd; the input is padded with zeros to keep its size.
    pub(crate) side: usize,
    /// 1, or `inputs` for a depthwise convolution.
    pub(crate) groups: usize,
}

/// A graph under construction. Values are known by name.
pub(crate) struct Graph {
    nodes: Vec<NodeProto>,
    constants: Vec<TensorProto>,
    int8: bool,
}

fn floats(name: &str, dims: &[usize], values: &[f32]) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: dims.iter().map(|&d| d as i64).collect(),
        data_type: DataType::Float.into(),
        raw_data: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        ..Default::default()
    }
}

fn bytes(name: &str, dims: &[usize], kind: DataType, values: Vec<u8>) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: dims.iter().map(|&d| d as i64).collect(),
        data_type: kind.into(),
        raw_data: values,
        ..Default::default()
    }
}

fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        ints: values.to_vec(),
        r#type: AttributeType::Ints.into(),
        ..Default::default()
    }
}

fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        i: value,
        r#type: AttributeType::Int.into(),
        ..Default::default()
    }
}

fn value(name: &str, shape: &[usize]) -> ValueInfoProto {
    let dim = |&d: &usize| tensor_shape_proto::Dimension {
        value: Some(tensor_shape_proto::dimension::Value::DimValue(d as i64)),
        ..Default::default()
    };
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(type_proto::Tensor {
                elem_type: DataType::Float.into(),
                shape: Some(TensorShapeProto {
                    dim: shape.iter().map(dim).collect(),
                }),
            })),
            ..Default::default()
        }),
        ..Default::default()
    }
}

impl Graph {
    /// `int8` stores weights as i8 per output channel and rounds activations to u8.
    pub(crate) fn new(int8: bool) -> Self {
        Self {
            nodes: Vec::new(),
            constants: Vec::new(),
            int8,
        }
    }

    /// Adds one operator and returns the name of its result.
    fn node(&mut self, operator: &str, inputs: &[&str], attributes: Vec<AttributeProto>) -> String {
        let output = format!("{}_{}", operator.to_lowercase(), self.nodes.len());
        self.nodes.push(NodeProto {
            name: output.clone(),
            op_type: operator.into(),
            input: inputs.iter().map(|&i| i.into()).collect(),
            output: vec![output.clone()],
            attribute: attributes,
            ..Default::default()
        });
        output
    }

    fn constant(&mut self, tensor: TensorProto) -> String {
        let name = tensor.name.clone();
        self.constants.push(tensor);
        name
    }

    fn fresh(&self, what: &str) -> String {
        format!("{what}_{}", self.constants.len())
    }

    /// `[1, rows, columns, channels]` to `[1, channels, rows, columns]`.
    pub(crate) fn channels_first(&mut self, input: &str) -> String {
        self.node("Transpose", &[input], vec![ints("perm", &[0, 3, 1, 2])])
    }

    /// `(x - shift) * scale`, a shift and a scale a channel.
    pub(crate) fn standardise(&mut self, input: &str, shift: &[f32], scale: &[f32]) -> String {
        let dims = [1, shift.len(), 1, 1];
        let shift = self.constant(floats(&self.fresh("shift"), &dims, shift));
        let centred = self.node("Sub", &[input, &shift], vec![]);
        let scale = self.constant(floats(&self.fresh("scale"), &dims, scale));
        self.node("Mul", &[&centred, &scale], vec![])
    }

    /// Adds `values`, `[1, channels, rows, columns]` with broadcasting.
    pub(crate) fn add_constant(&mut self, input: &str, dims: &[usize], values: &[f32]) -> String {
        let constant = self.constant(floats(&self.fresh("offset"), dims, values));
        self.node("Add", &[input, &constant], vec![])
    }

    /// Multiplies by `values`, `[1, channels, rows, columns]` with broadcasting.
    pub(crate) fn times_constant(&mut self, input: &str, dims: &[usize], values: &[f32]) -> String {
        let constant = self.constant(floats(&self.fresh("factor"), dims, values));
        self.node("Mul", &[input, &constant], vec![])
    }

    /// The difference of two values of one shape.
    pub(crate) fn difference(&mut self, left: &str, right: &str) -> String {
        self.node("Sub", &[left, right], vec![])
    }

    /// The product of two values of one shape.
    pub(crate) fn product(&mut self, left: &str, right: &str) -> String {
        self.node("Mul", &[left, right], vec![])
    }

    /// The channels of one after those of the other.
    pub(crate) fn stacked(&mut self, first: &str, second: &str) -> String {
        self.node("Concat", &[first, second], vec![int("axis", 1)])
    }

    pub(crate) fn sigmoid(&mut self, input: &str) -> String {
        self.node("Sigmoid", &[input], vec![])
    }

    /// The sum of two values of one shape.
    pub(crate) fn add(&mut self, left: &str, right: &str) -> String {
        self.node("Add", &[left, right], vec![])
    }

    /// One channel of `[1, channels, rows, columns]`.
    pub(crate) fn channel(&mut self, input: &str, index: usize) -> String {
        let [start, end, axis] = [index as i64, index as i64 + 1, 1].map(|value| {
            let number = bytes(
                &self.fresh("number"),
                &[1],
                DataType::Int64,
                value.to_le_bytes().to_vec(),
            );
            self.constant(number)
        });
        self.node("Slice", &[input, &start, &end, &axis], vec![])
    }

    /// Every value brought into `low..=high`.
    pub(crate) fn clipped(&mut self, input: &str, low: f32, high: f32) -> String {
        let [low, high] = [low, high].map(|limit| {
            let limit = floats(&self.fresh("limit"), &[], &[limit]);
            self.constant(limit)
        });
        self.node("Clip", &[input, &low, &high], vec![])
    }

    /// In int8 graphs: rounds to u8 over `low..=high`. In float graphs: nothing.
    pub(crate) fn rounded(&mut self, input: &str, low: f32, high: f32) -> String {
        if !self.int8 {
            return input.into();
        }
        let (low, high) = (low.min(0.0), high.max(low.min(0.0) + 1e-6).max(0.0));
        let scale = (high - low) / 255.0;
        let zero = (-low / scale).round().clamp(0.0, 255.0) as u8;
        let scale = self.constant(floats(&self.fresh("step"), &[], &[scale]));
        let zero = self.constant(bytes(&self.fresh("zero"), &[], DataType::Uint8, vec![zero]));
        let q = self.node("QuantizeLinear", &[input, &scale, &zero], vec![]);
        self.node("DequantizeLinear", &[&q, &scale, &zero], vec![])
    }

    pub(crate) fn relu(&mut self, input: &str) -> String {
        self.node("Relu", &[input], vec![])
    }

    pub(crate) fn convolution(&mut self, input: &str, layer: &Convolution) -> String {
        let dims = [
            layer.outputs,
            layer.inputs / layer.groups,
            layer.side,
            layer.side,
        ];
        let weights = if self.int8 {
            let per_output = layer.weights.len() / layer.outputs;
            let rows = layer.weights.chunks_exact(per_output);
            let steps: Vec<f32> = rows
                .clone()
                .map(|row| {
                    let most = row.iter().fold(0.0f32, |m, w| m.max(w.abs()));
                    if most > 0.0 { most / 127.0 } else { 1.0 }
                })
                .collect();
            let whole = rows
                .zip(&steps)
                .flat_map(|(row, step)| {
                    row.iter()
                        .map(move |w| (w / step).round_ties_even().clamp(-127.0, 127.0) as i8 as u8)
                })
                .collect();
            let stored = self.constant(bytes(&self.fresh("weights"), &dims, DataType::Int8, whole));
            let steps = self.constant(floats(&self.fresh("steps"), &[layer.outputs], &steps));
            let zeros = self.constant(bytes(
                &self.fresh("zeros"),
                &[layer.outputs],
                DataType::Int8,
                vec![0; layer.outputs],
            ));
            self.node(
                "DequantizeLinear",
                &[&stored, &steps, &zeros],
                vec![int("axis", 0)],
            )
        } else {
            self.constant(floats(&self.fresh("weights"), &dims, &layer.weights))
        };
        let biases = self.constant(floats(
            &self.fresh("biases"),
            &[layer.outputs],
            &layer.biases,
        ));
        let (side, pad) = (layer.side as i64, (layer.side / 2) as i64);
        self.node(
            "Conv",
            &[input, &weights, &biases],
            vec![
                int("group", layer.groups as i64),
                ints("kernel_shape", &[side, side]),
                ints("pads", &[pad; 4]),
                ints("strides", &[1, 1]),
            ],
        )
    }

    /// The file. `result` becomes the output `output`.
    pub(crate) fn finish(
        mut self,
        input: (&str, &[usize]),
        result: &str,
        output: (&str, &[usize]),
        producer: &str,
    ) -> Vec<u8> {
        self.nodes.push(NodeProto {
            name: output.0.into(),
            op_type: "Identity".into(),
            input: vec![result.into()],
            output: vec![output.0.into()],
            ..Default::default()
        });
        let model = ModelProto {
            ir_version: 8,
            producer_name: producer.into(),
            opset_import: vec![OperatorSetIdProto {
                domain: String::new(),
                version: 13,
            }],
            graph: Some(GraphProto {
                name: output.0.into(),
                node: self.nodes,
                initializer: self.constants,
                input: vec![value(input.0, input.1)],
                output: vec![value(output.0, output.1)],
                ..Default::default()
            }),
            ..Default::default()
        };
        pb::ModelProto::encode_to_vec(&model)
    }
}
