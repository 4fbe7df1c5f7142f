//! Promise: the shipped networks give the same values here as in another runtime. ONNX Runtime
//! computed the expected values (`tests/reference/expected_taps.py`); it shares no code with tract
//! or with our handling of the quantised file.

#![allow(clippy::expect_used)]

mod bundle;

use partgate::backbone::{Backbone, BackboneError, BackboneSpec, Precision, Threads};
use partgate::size::Size;

const SIDE: usize = 64;

fn fill(input: &mut [f32], size: Size) {
    for (i, value) in input.iter_mut().enumerate() {
        let (c, y, x) = (
            i / size.area(),
            i / size.width % size.height,
            i % size.width,
        );
        let v = (7 * x + 13 * y + 50 * c + (x * y) % 31) % 256;
        *value = (v as f32 - 127.0) / 128.0;
    }
}

fn described(name: &str) -> (BackboneSpec, Vec<u8>) {
    let models = bundle::root().join("models");
    let text = std::fs::read_to_string(models.join("manifest.json")).expect("manifest");
    let manifest: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let entries = manifest["backbones"].as_array().expect("backbones");
    let entry = entries.iter().find(|b| b["name"] == name).expect("entry");
    let spec: BackboneSpec = serde_json::from_value(entry.clone()).expect("description");
    let onnx = std::fs::read(models.join(format!("{name}.onnx"))).expect("file");
    (spec, onnx)
}

fn load(name: &str, size: Size, threads: usize) -> Result<Backbone, BackboneError> {
    let (spec, onnx) = described(name);
    let threads = Threads::new(threads).expect("threads");
    Backbone::load(&onnx, &spec, size, &threads)
}

fn taps(name: &str, threads: usize) -> [Vec<f32>; 2] {
    taps_at(name, Size::square(SIDE), threads)
}

fn taps_at(name: &str, size: Size, threads: usize) -> [Vec<f32>; 2] {
    let mut backbone = load(name, size, threads).expect("loads");
    backbone
        .run(|input| {
            fill(input, size);
            Ok::<_, BackboneError>(())
        })
        .expect("runs");
    [0, 1].map(|i| backbone.tap(i).expect("tap").to_vec())
}

fn expected(name: &str) -> [Vec<f32>; 2] {
    let path = bundle::root().join(format!("tests/reference/{name}.f32le"));
    let bytes = std::fs::read(path).expect("reference");
    let values: Vec<f32> = bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|&b| f32::from_le_bytes(b))
        .collect();
    let (fine, coarse) = values.split_at(40 * 8 * 8);
    [fine.to_vec(), coarse.to_vec()]
}

/// The cosine, and the largest difference divided by the largest value.
fn agreement(a: &[f32], b: &[f32]) -> (f64, f64) {
    assert_eq!(a.len(), b.len());
    let dot = |p: &[f32], q: &[f32]| -> f64 {
        p.iter()
            .zip(q)
            .map(|(x, y)| f64::from(*x) * f64::from(*y))
            .sum()
    };
    let largest = b.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let difference = a
        .iter()
        .zip(b)
        .fold(0.0f32, |m, (x, y)| m.max((x - y).abs()));
    (
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt(),
        f64::from(difference / largest),
    )
}

#[test]
fn the_f32_network_agrees_to_rounding() {
    let name = "efficientnet-lite0-f32";
    for (got, want) in taps(name, 1).iter().zip(&expected(name)) {
        let (cosine, difference) = agreement(got, want);
        println!("f32: cosine {cosine:.9}, largest difference {difference:.2e}");
        assert!(difference < 1e-5, "{difference}");
    }
}

#[test]
fn the_int8_network_means_the_same_in_both_runtimes() {
    let name = "efficientnet-lite0-int8";
    for (got, want) in taps(name, 1).iter().zip(&expected(name)) {
        let (cosine, difference) = agreement(got, want);
        println!("int8: cosine {cosine:.9}, largest difference {difference:.2e}");
        // A rounding may tip here and there, by one level of the 255.
        assert!(
            cosine > 0.9999 && difference < 0.01,
            "{cosine} {difference}"
        );
    }
}

#[test]
fn the_int8_network_runs_in_integers() {
    let backbone = load("efficientnet-lite0-int8", Size::square(SIDE), 1).expect("loads");
    let kernels = backbone.kernels();
    assert!(kernels.engine.contains("integers"), "{}", kernels.engine);
    assert_eq!(
        (kernels.float_nodes, &kernels.refused_nodes[..]),
        (0, &[][..])
    );
    assert!(kernels.integer_nodes > 0 && kernels.rounded_activations > 0);
    backbone.require_integers().expect("integers");
    let floats = load("efficientnet-lite0-f32", Size::square(SIDE), 1).expect("loads");
    assert!(floats.require_integers().is_err());
}

#[test]
fn threads_do_not_change_a_bit() {
    for name in ["efficientnet-lite0-f32", "efficientnet-lite0-int8"] {
        assert_eq!(taps(name, 1), taps(name, 2), "{name}");
    }
}

#[test]
fn every_documented_input_size_runs() {
    let squares = [224, 256, 320, 480].map(Size::square);
    let others = [(384, 256), (64, 1024), (1024, 64), (32, 96)];
    let others = others.map(|(width, height)| Size::new(width, height));
    for size in squares.into_iter().chain(others) {
        for name in ["efficientnet-lite0-f32", "efficientnet-lite0-int8"] {
            let mut backbone = load(name, size, 1).expect("loads");
            backbone
                .run(|input| {
                    input.fill(0.1);
                    Ok::<_, BackboneError>(())
                })
                .expect("runs");
            for (tap, channels, stride) in [(0, 40, 8), (1, 112, 16)] {
                let values = backbone.tap(tap).expect("tap");
                assert_eq!(values.len(), channels * size.area() / (stride * stride));
                assert!(values.iter().all(|v| v.is_finite()));
            }
        }
    }
}

/// A cell of the finer tap sees 33 pixels around it. So a picture that goes on to the right, or
/// downwards, changes no cell farther from there: width and height are the network's.
#[test]
fn a_longer_picture_changes_nothing_far_from_its_end() {
    let (short, cells) = (Size::square(128), 16);
    for name in ["efficientnet-lite0-f32", "efficientnet-lite0-int8"] {
        let [square, _] = taps_at(name, short, 1);
        for long in [Size::new(224, 128), Size::new(128, 224)] {
            let grid = long.map(|side| side / 8);
            let [tap, _] = taps_at(name, long, 1);
            for (channel, plane) in tap.chunks_exact(grid.area()).enumerate() {
                for (y, x) in (0..121).map(|i| (i / 11, i % 11)) {
                    let (got, want) = (
                        plane[y * grid.width + x],
                        square[(channel * cells + y) * cells + x],
                    );
                    assert!(
                        (got - want).abs() <= 1e-4 * (1.0 + want.abs()),
                        "{name} {long} channel {channel} at {x}, {y}: {got} {want}"
                    );
                }
            }
            let last = tap.len() - 1;
            assert_ne!(tap[last], square[square.len() - 1]);
        }
    }
}

#[test]
fn a_file_that_differs_from_its_description_is_refused() {
    let error = load("efficientnet-lite0-f32", Size::new(64, 72), 1)
        .err()
        .expect("refused");
    assert!(error.to_string().contains("multiple of 32"), "{error}");
    let (mut spec, onnx) = described("efficientnet-lite0-f32");
    let refused = |spec: &BackboneSpec, word: &str| {
        let error = Backbone::load(&onnx, spec, Size::square(SIDE), &Threads::default());
        let error = error.err().expect("refused").to_string();
        assert!(error.contains(word), "{error}");
    };
    spec.precision = Precision::Int8;
    refused(&spec, "described as int8");
    spec.precision = Precision::F32;
    spec.taps[0].channels = 41;
    refused(&spec, "tap8");
    spec.taps[0].output = "tap9".into();
    refused(&spec, "tap9");
    spec.taps.truncate(1);
    refused(&spec, "two taps");
}
