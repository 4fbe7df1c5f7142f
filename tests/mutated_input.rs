//! No file, however damaged, makes the program panic, hang or take more memory than stated: pictures,
//! bundles, configurations, event logs and networks. Tables and folders are in the trainer
//! (`trainer/src/dataset/mutated.rs`).
//!
//! A few executions in the test suite; how to run many is in CONTRIBUTING.md.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod bundle;
mod mutation;

use mutation::{Summary, Target, run};
use partgate::backbone::{Backbone, BackboneSpec};
use partgate::config::LineConfig;
use partgate::frame::file::{decode_picture, read_with_opacity};
use partgate::frame::{Frame, PixelFormat, RawFrame, Reading, decode};
use partgate::inspection::Inspector;
use partgate::network::Threads;
use partgate::product::{self, Product, SectionBytes};
use partgate::record::LogReader;
use partgate::seed::Rng;
use partgate::simulation::part::Renderer;
use partgate::size::Size;
use std::io::Cursor;
use std::path::Path;
use std::time::Duration;

const MIB: usize = 1 << 20;

fn unsealed(_: &mut Vec<u8>, _: &mut Rng) {}

/// A small part in each format, with what makes formats differ.
fn pictures() -> Vec<Vec<u8>> {
    let part = Renderer::new(1).good(1);
    let (width, height) = (part.width as u32, part.height as u32);
    let rgb = image::RgbImage::from_raw(width, height, part.rgb).expect("whole");
    let small = image::imageops::thumbnail(&rgb, 40, 32);
    let deep = image::DynamicImage::ImageRgb8(small.clone()).into_luma16();
    let opaque = image::DynamicImage::ImageRgb8(small.clone()).into_rgba8();
    let grey = image::DynamicImage::ImageRgb8(small.clone()).into_luma8();
    let mut all = Vec::new();
    let mut add = |picture: image::DynamicImage, format| {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).expect("encode");
        all.push(bytes.into_inner());
    };
    use image::ImageFormat::{Bmp, Jpeg, Png, Tiff};
    for format in [Png, Jpeg, Bmp, Tiff] {
        add(small.clone().into(), format);
        add(grey.clone().into(), format);
    }
    for format in [Png, Tiff] {
        add(deep.clone().into(), format);
        add(opaque.clone().into(), format);
    }
    all
}

/// Makes the checksums of a PNG right again, most of the time.
fn seal_png(bytes: &mut [u8], rng: &mut Rng) {
    if !bytes.starts_with(b"\x89PNG\r\n\x1a\n") || rng.below(8) == 0 {
        return;
    }
    let mut at = 8;
    while let Some(head) = bytes.get(at..at + 8) {
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let Some(end) = at.checked_add(8).and_then(|body| body.checked_add(length)) else {
            break;
        };
        let Some(body) = bytes.get(at + 4..end) else {
            break;
        };
        let sum = crc32fast::hash(body).to_be_bytes();
        let Some(slot) = bytes.get_mut(end..end + 4) else {
            break;
        };
        slot.copy_from_slice(&sum);
        at = end + 4;
    }
}

#[test]
fn pictures_of_any_bytes() {
    let target = Target {
        name: "pictures",
        seeds: pictures(),
        words: &[
            b"IHDR",
            b"IDAT",
            b"IEND",
            b"PLTE",
            b"tRNS",
            b"acTL",
            b"eXIf",
            b"\xff\xd8",
            b"\xff\xd9",
            b"\xff\xda",
            b"\xff\xc0",
            b"\xff\xe1",
            b"Exif\0\0",
            b"II*\0",
            b"MM\0*",
            b"BM",
        ],
        executions: 1500,
        // A decoder may take 8 bytes for each of the most pixels; a copy in another form is made of it.
        most_bytes: 3 * 8 * (1 << 27),
        longest: Duration::from_secs(20),
        foreign: &[],
    };
    let folder = tempfile::tempdir().expect("folder");
    let mask = folder.path().join("mask.png");
    let turns = std::cell::Cell::new(0u32);
    run(
        &target,
        |bytes, rng| seal_png(bytes, rng),
        |bytes| {
            let name = Path::new("mutated.png");
            turns.set(turns.get().wrapping_add(1));
            // Masks are read by another way, from a file: less often, because files are slow.
            if turns.get().is_multiple_of(16) {
                std::fs::write(&mask, bytes).expect("write");
                let _ = read_with_opacity(&mask);
            }
            let upright = Reading {
                upright: turns.get().is_multiple_of(2),
                ..Reading::default()
            };
            let decoded = decode_picture(bytes, name, upright).is_ok();
            let mut raw = RawFrame::with_capacity(bytes.len());
            (raw.bytes, raw.format) = (bytes.to_vec(), PixelFormat::Mjpeg);
            let mut frame = Frame::blank();
            let _ = decode(&raw, &mut frame);
            decoded
        },
    );
}

/// Head, manifest and sections of a bundle with their digests made right again.
fn seal_bundle(bytes: &mut [u8], rng: &mut Rng) {
    if bytes.len() < 192 || rng.below(8) == 0 {
        return;
    }
    // Most mutations must not end at the length.
    let length = (bytes.len() as u64).to_le_bytes();
    bytes[24..32].copy_from_slice(&length);
    let manifest = u64::from_le_bytes(bytes[16..24].try_into().expect("8 bytes"));
    let end = usize::try_from(manifest)
        .ok()
        .and_then(|n| n.checked_add(192));
    if let Some(encoded) = end.and_then(|end| bytes.get(192..end)) {
        let digest = *blake3::hash(encoded).as_bytes();
        bytes[32..64].copy_from_slice(&digest);
    }
    let digest = *blake3::hash(&bytes[..160]).as_bytes();
    bytes[160..192].copy_from_slice(&digest);
}

/// What a bundle of these bytes says, as every command asks it.
fn open_bundle(bytes: &[u8]) -> bool {
    let Ok(product) = Product::from_bytes(bytes.to_vec(), "mutated") else {
        return false;
    };
    let manifest = product.manifest();
    for golden in &manifest.goldens {
        let _ = product.golden_frame(golden);
    }
    let _ = (product.operating(), product.inputs(), product.reading());
    let _ = manifest.method.in_words();
    let _ = product.rewritten(manifest.clone());
    true
}

/// A bundle without its networks, which are the most of its bytes and are another target.
fn bundles() -> Vec<Vec<u8>> {
    vec![
        bundle::small().to_vec(),
        bundle::with_inputs(bundle::small(), &bundle::inputs()),
    ]
}

#[test]
fn bundles_of_any_bytes() {
    let target = Target {
        name: "bundles",
        seeds: bundles(),
        words: &[
            b"\x89PGP\r\n\x1a\n",
            &[0; 64],
            &[0xff; 8],
            b"{\"width\":[1,2]",
        ],
        executions: 300,
        most_bytes: 256 * MIB,
        longest: Duration::from_secs(10),
        foreign: &[],
    };
    run(&target, |bytes, rng| seal_bundle(bytes, rng), open_bundle);
}

/// Every section in turn is changed, and the bundle is written again around it, so that all digests
/// are right.
#[test]
fn bundles_with_any_section() {
    let whole = bundle::small();
    let product = Product::from_bytes(whole.to_vec(), "small").expect("whole");
    let manifest = product.manifest().clone();
    let sections: Vec<SectionBytes> = bundle::sections(&product, whole);
    let target = Target {
        name: "sections",
        seeds: sections.iter().map(|s| s.bytes.clone()).collect(),
        words: &[
            &[0; 8],
            &[0xff; 8],
            &[0, 0, 0x80, 0x7f],
            &[0, 0, 0xc0, 0x7f],
        ],
        executions: 300,
        most_bytes: 256 * MIB,
        longest: Duration::from_secs(10),
        foreign: &[],
    };
    let turn = std::cell::Cell::new(0);
    run(&target, unsealed, |bytes| {
        turn.set((turn.get() + 1) % sections.len());
        let mut sections = sections.clone();
        let section = &mut sections[turn.get()];
        section.bytes = bytes.to_vec();
        if section.shape.len() == 1 {
            section.shape = vec![bytes.len() as u64];
        }
        let signature = product::Signature::Unsigned;
        match product::write(manifest.clone(), &sections, &signature) {
            Ok(bytes) => open_bundle(&bytes),
            Err(_) => false,
        }
    });
}

#[test]
fn configurations_of_any_text() {
    let example = std::fs::read(bundle::root().join("board/line.example.toml")).expect("example");
    let target = Target {
        name: "configurations",
        seeds: vec![example],
        words: &[
            b"[camera]\n",
            b"[lines]\n",
            b"= \"",
            b"\"",
            b"= 1e308\n",
            b"= -1\n",
            b"= []\n",
            b"= {}\n",
            b"= 18446744073709551615\n",
            b"generic-x86",
            b"v4l2",
            b"[[",
            b"]]",
            b"'''",
            b"\xf0\x9f\x98\x80",
        ],
        executions: 3000,
        most_bytes: 64 * MIB,
        longest: Duration::from_secs(5),
        foreign: &[],
    };
    run(&target, unsealed, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        match LineConfig::parse(&text, Path::new("line.toml")) {
            Ok(_) => true,
            Err(error) => {
                // What a person reads is made of it.
                let _ = error.to_string();
                false
            }
        }
    });
}

/// A log of a few entries.
fn log_of(entries: &[&str]) -> Vec<u8> {
    let mut log = Vec::new();
    let mut before = 0u32;
    for entry in entries {
        before = add_entry(&mut log, entry.as_bytes(), before);
    }
    log
}

fn add_entry(log: &mut Vec<u8>, json: &[u8], before: u32) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(format!("{before:08x}").as_bytes());
    hasher.update(json);
    let sum = hasher.finalize();
    log.extend(json);
    log.extend(format!("\t{sum:08x}\n").as_bytes());
    sum
}

/// Makes the chain of checksums right again, most of the time.
fn seal_log(bytes: &mut Vec<u8>, rng: &mut Rng) {
    if rng.below(4) == 0 {
        return;
    }
    let mut sealed = Vec::with_capacity(bytes.len());
    let mut before = 0;
    for line in bytes.split(|&b| b == b'\n').filter(|l| !l.is_empty()) {
        let json = line.rsplit(|&b| b == b'\t').next_back().unwrap_or(line);
        before = add_entry(&mut sealed, json, before);
    }
    *bytes = sealed;
}

#[test]
fn event_logs_of_any_bytes() {
    let first = r#"{"event":"log","format":1,"previous":null,"time":"2026-01-01T00:00:00Z"}"#;
    let part = r#"{"event":"part","part":7,"trigger_ns":1,"verdict":"OK","score":1.5,"decision":"passed"}"#;
    let target = Target {
        name: "event-logs",
        seeds: vec![log_of(&[first, part, part]), log_of(&[first]), Vec::new()],
        words: &[
            b"\t",
            b"\n",
            b"null",
            b"\"previous\":",
            b"\"format\":99",
            b"{",
            b"[[[[[[[[",
            b"1e999",
        ],
        executions: 2000,
        most_bytes: 32 * MIB,
        longest: Duration::from_secs(5),
        foreign: &[],
    };
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("events-000001.log");
    run(&target, seal_log, |bytes| {
        std::fs::write(&path, bytes).expect("write");
        let Ok(reader) = LogReader::open(&path) else {
            return false;
        };
        // As many lines as there can be, and no more.
        let most = bytes.len() + 2;
        let read: Vec<bool> = reader.take(most + 1).map(|entry| entry.is_ok()).collect();
        assert!(read.len() <= most, "the reader does not come to an end");
        read.iter().any(|&whole| whole)
    });
}

/// A shipped network and its description.
fn network(precision: &str) -> (BackboneSpec, Vec<u8>) {
    let models = bundle::root().join("models");
    let manifest = std::fs::read(models.join("manifest.json")).expect("manifest");
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("JSON");
    let mut all = manifest["backbones"].as_array().expect("backbones").iter();
    let found = all
        .find(|spec| spec["precision"] == precision)
        .expect("one");
    let file = found["file"].as_str().expect("file");
    let spec = serde_json::from_value(found.clone()).expect("description");
    (spec, std::fs::read(models.join(file)).expect("ONNX file"))
}

/// Loads mutations of a shipped network. The engine for float networks is another project's code: its
/// panics are counted and printed, not repaired here.
fn networks(precision: &str, executions: u64) -> Summary {
    let (spec, onnx) = network(precision);
    let target = Target {
        name: if precision == "int8" {
            "networks-int8"
        } else {
            "networks-f32"
        },
        seeds: vec![onnx],
        words: &[
            b"Conv",
            b"Relu",
            b"QuantizeLinear",
            b"DequantizeLinear",
            b"Add",
            b"image",
            b"kernel_shape",
            b"pads",
            b"strides",
            b"group",
            &[
                0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
            ],
        ],
        executions,
        most_bytes: 1024 * MIB,
        longest: Duration::from_secs(60),
        foreign: &["tract", "ndarray", "prost", "smallvec", "half-"],
    };
    run(&target, unsealed, |bytes| {
        Backbone::load(bytes, &spec, Size::square(64), &Threads::default()).is_ok()
    })
}

#[test]
fn quantised_networks_of_any_bytes() {
    networks("int8", 30);
}

#[test]
fn float_networks_of_any_bytes() {
    networks("f32", 10);
}

/// What the mutations start from is valid, so they test what they should.
#[test]
fn the_inputs_before_they_are_changed_are_valid() {
    for picture in pictures() {
        decode_picture(&picture, Path::new("a.png"), Reading::default()).expect("a picture");
    }
    for bytes in bundles() {
        assert!(open_bundle(&bytes));
        let product = Product::from_bytes(bytes, "whole").expect("whole");
        Inspector::new(&product, &Threads::default()).expect("loads");
    }
    let entry = r#"{"event":"log","format":1,"previous":null}"#;
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("events-000001.log");
    std::fs::write(&path, log_of(&[entry, entry])).expect("write");
    let read: Vec<_> = LogReader::open(&path).expect("a log").collect();
    assert!(
        read.len() == 2 && read.iter().all(Result::is_ok),
        "{read:?}"
    );
}
