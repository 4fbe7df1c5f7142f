//! The description that a user's own network needs, as far as its file says it.

use prost::Message;
use std::fmt::Write;
use tract_onnx::pb::tensor_shape_proto::dimension::Value;
use tract_onnx::pb::type_proto;
use tract_onnx::pb::{GraphProto, ModelProto, ValueInfoProto};

/// Outputs that are named, at most.
const SHOWN: usize = 20;

/// The sides of an input or output; 0 where the file leaves one open.
fn shape(value: &ValueInfoProto) -> Vec<i64> {
    let kind = value.r#type.as_ref().and_then(|t| t.value.as_ref());
    let Some(type_proto::Value::TensorType(tensor)) = kind else {
        return Vec::new();
    };
    let dims = tensor.shape.iter().flat_map(|shape| &shape.dim);
    dims.map(|dim| match dim.value {
        Some(Value::DimValue(side)) => side,
        _ => 0,
    })
    .collect()
}

/// The inputs that are no weights.
fn inputs(graph: &GraphProto) -> impl Iterator<Item = &ValueInfoProto> {
    let is_weight =
        |value: &&ValueInfoProto| graph.initializer.iter().any(|w| w.name == value.name);
    graph.input.iter().filter(move |value| !is_weight(value))
}

/// `1 x 40 x 32 x 32`, with `?` for what is open.
fn sides(shape: &[i64]) -> String {
    let side = |s: &i64| if *s > 0 { s.to_string() } else { "?".into() };
    shape.iter().map(side).collect::<Vec<_>>().join(" x ")
}

/// A tap as JSON. What the file leaves open is left to the user, as 0, which is refused.
fn tap(output: &str, shape: &[i64], height: i64) -> String {
    let channels = shape.get(1).copied().unwrap_or(0);
    let rows = shape.get(2).copied().unwrap_or(0);
    let stride = if height > 0 && rows > 0 {
        height / rows
    } else {
        0
    };
    let output = serde_json::Value::from(output);
    format!("{{\"output\": {output}, \"channels\": {channels}, \"stride\": {stride}}}")
}

/// The description to write beside the network `onnx` named `name`, and what it has to say. The error
/// says why the file is no network.
pub(super) fn to_write(name: &str, onnx: &[u8]) -> Result<String, String> {
    let model = ModelProto::decode(onnx).map_err(|_| "not an ONNX file".to_owned())?;
    let graph = model.graph.ok_or("an ONNX file without a network")?;
    let input = inputs(&graph).next().ok_or("a network without an input")?;
    let size = shape(input);
    let height = size.get(2).copied().unwrap_or(0);
    // The two largest maps of which one has twice the side of the other are the usual taps.
    let mut maps: Vec<(&str, Vec<i64>)> = graph
        .output
        .iter()
        .map(|o| (o.name.as_str(), shape(o)))
        .filter(|(_, shape)| shape.len() == 4 || shape.is_empty())
        .collect();
    maps.sort_by_key(|(_, shape)| std::cmp::Reverse(shape.get(2).copied().unwrap_or(0)));
    let mut taps: Vec<String> = maps
        .iter()
        .take(2)
        .map(|(output, shape)| tap(output, shape, height))
        .collect();
    taps.resize(2, tap("", &[], 0));
    let stem = std::path::Path::new(name).file_stem();
    let own = serde_json::Value::from(stem.map_or("own".into(), |s| s.to_string_lossy()));
    let input_name = serde_json::Value::from(input.name.as_str());
    // Messages are one line, and JSON may be.
    let mut text = format!(
        "{{\"name\": {own}, \"precision\": \"f32\", \"licence\": \"?\", \"attribution\": \"?\", \"input\": {{\"name\": {input_name}, \"colour\": \"rgb\", \
         \"mean\": [123.675, 116.28, 103.53], \"std\": [58.395, 57.12, 57.375], \"multiple_of\": 32}}, \"taps\": [{}]}} ",
        taps.join(", ")
    );
    let _ = write!(
        text,
        "Check: mean and std are those of ImageNet on the scale 0 to 255; stride is pixels of the input per cell, the second twice the first; a 0 is what the file leaves open. Its input {} is {}; its outputs are ",
        input.name,
        sides(&size)
    );
    let outputs = graph.output.iter().take(SHOWN);
    let outputs: Vec<String> = outputs
        .map(|o| format!("{} ({})", o.name, sides(&shape(o))))
        .collect();
    text += &outputs.join(", ");
    if let Some(more) = graph.output.len().checked_sub(SHOWN).filter(|&n| n > 0) {
        let _ = write!(text, " and {more} more");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fit::catalogue::backbone;
    use partgate::backbone::BackboneSpec;

    #[test]
    fn the_description_of_a_shipped_network_is_found_in_its_file() {
        let file = backbone("efficientnet-lite0-f32").expect("shipped");
        let text = to_write("own/lite.onnx", &file.onnx).expect("a network");
        let json = text.split(" Check:").next().expect("JSON");
        let spec: BackboneSpec = serde_json::from_str(json).expect("a description");
        assert_eq!(
            (spec.name.as_str(), &spec.input.name),
            ("lite", &file.spec.input.name)
        );
        let outputs = |spec: &BackboneSpec| -> Vec<String> {
            spec.taps.iter().map(|t| t.output.clone()).collect()
        };
        assert_eq!(outputs(&spec), outputs(&file.spec), "{text}");
        assert!(text.contains("its outputs are"), "{text}");
    }

    #[test]
    fn what_is_no_network_is_named_as_such() {
        for bytes in [&b"not a network"[..], &[0xff; 40]] {
            assert_eq!(to_write("a.onnx", bytes), Err("not an ONNX file".into()));
        }
        assert!(to_write("a.onnx", &[]).is_err_and(|e| e.contains("without a network")));
    }
}
