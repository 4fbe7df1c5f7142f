//! A bundle that is damaged in any way is an error that says so; never a panic, never a product.

#![allow(clippy::expect_used, clippy::panic)]

mod bundle;

use partgate::backbone::{BackboneSpec, InputGeometry, InputSpec, Precision, Rect, TapSpec};
use partgate::product::{
    AuditEntry, COARSE_SIDE, DType, FORMAT, Golden, GoldenKind, Manifest, Method, Parity,
    PositionEvidence, Product, SectionBytes, SectionKind, Signature, Training, Validation, write,
};
use partgate::score::{Border, PositionMask, Rule};
use partgate::verdict::{Bound, BoundMethod, Thresholds, Verdict};
use proptest::prelude::*;
use std::sync::OnceLock;

const HEADER: usize = 192;

fn demo() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| std::fs::read(bundle::demo()).expect("the demo bundle"))
}

fn refused(bytes: Vec<u8>, how: &str) -> String {
    match Product::from_bytes(bytes, "x.pgp") {
        Ok(_) => panic!("accepted although {how}"),
        Err(error) => {
            let mut text = error.to_string();
            let mut next = std::error::Error::source(&error);
            while let Some(cause) = next {
                text = format!("{text}: {cause}");
                next = cause.source();
            }
            assert!(text.contains("x.pgp"), "does not name the file: {text}");
            text
        }
    }
}

#[test]
fn the_demo_bundle_opens() {
    Product::from_bytes(demo().to_vec(), "demo").expect("whole");
}

#[test]
fn every_flipped_header_bit_is_seen() {
    for at in 0..HEADER {
        for bit in 0..8 {
            let mut bytes = demo().to_vec();
            bytes[at] ^= 1 << bit;
            refused(bytes, &format!("bit {bit} of byte {at} was flipped"));
        }
    }
}

#[test]
fn every_cut_in_header_and_manifest_is_seen() {
    let whole = bundle::small();
    for length in (0..8192).chain(whole.len() - 300..whole.len()) {
        refused(whole[..length].to_vec(), &format!("cut to {length} bytes"));
    }
}

#[test]
fn a_newer_format_is_told_from_damage() {
    let mut bytes = demo().to_vec();
    bytes[8..12].copy_from_slice(&(FORMAT + 41).to_le_bytes());
    let text = refused(bytes, "it is of a newer format");
    assert!(text.contains(&format!("{}", FORMAT + 41)) && text.contains("newer"));
}

#[test]
fn trailing_bytes_and_other_files_are_refused() {
    let mut bytes = demo().to_vec();
    bytes.push(0);
    refused(bytes, "a byte was added");
    assert!(refused(vec![], "it is empty").contains("not a partgate bundle"));
    refused(b"PK\x03\x04 something else".repeat(100), "it is a zip");
}

#[test]
fn a_bundle_for_a_later_runtime_says_which() {
    let bytes = bundle::changed(bundle::small(), |m| m.minimum_runtime = [99, 1, 0]);
    assert!(refused(bytes, "it needs another version").contains("99.1.0"));
}

/// Puts header and manifest digests right again, as somebody with bad intentions would.
fn seal(bytes: &mut [u8], manifest: usize) {
    let digest = *blake3::hash(&bytes[HEADER..HEADER + manifest]).as_bytes();
    bytes[32..64].copy_from_slice(&digest);
    let digest = *blake3::hash(&bytes[..160]).as_bytes();
    bytes[160..192].copy_from_slice(&digest);
}

proptest! {
    #[test]
    fn a_cut_anywhere_is_an_error(share in 0.0f64..1.0) {
        let length = (demo().len() as f64 * share) as usize;
        refused(demo()[..length].to_vec(), &format!("cut to {length} bytes"));
    }

    #[test]
    fn a_flip_anywhere_is_an_error(share in 0.0f64..1.0, bits in 1u8..=255) {
        let at = (demo().len() as f64 * share) as usize;
        let mut bytes = demo().to_vec();
        bytes[at] ^= bits;
        refused(bytes, &format!("byte {at} was changed by {bits:#x}"));
    }

    #[test]
    fn noise_is_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..2000), magic: bool) {
        let mut bytes = bytes;
        if magic && bytes.len() >= 12 {
            bytes[..12].copy_from_slice(&demo()[..12]);
        }
        refused(bytes, "it is noise");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    /// Digests keep accidents out; this is about the decoder behind them.
    #[test]
    fn a_forged_manifest_never_panics(
        edits in proptest::collection::vec((0.0f64..1.0, any::<u8>()), 1..4),
    ) {
        let (whole, manifest) = synthetic_small();
        let mut bytes = whole.clone();
        for (share, value) in edits {
            bytes[HEADER + (*manifest as f64 * share) as usize] = value;
        }
        seal(&mut bytes, *manifest);
        // Either is fine: a changed name still makes a product.
        let _ = Product::from_bytes(bytes, "forged");
    }
}

fn bound(threshold: f32, n: u32, note: &str) -> Bound {
    Bound {
        threshold,
        method: BoundMethod::OrderStatistic,
        n,
        rate: 0.001,
        confidence: 0.95,
        stated_rate: 0.03,
        distribution_free_rate: 0.04,
        note: note.into(),
    }
}

/// The parts of a manifest that a round trip varies.
#[derive(Clone, Debug)]
struct Varied {
    text: String,
    numbers: [u32; 4],
    unix: Option<u64>,
    thresholds: [f32; 2],
    rows: usize,
    position: bool,
    roi: bool,
    validation: Option<f64>,
    goldens: usize,
}

fn varied() -> impl Strategy<Value = Varied> {
    (
        ".{0,40}",
        any::<[u32; 4]>(),
        any::<Option<u64>>(),
        (0.0f32..10.0, 0.0f32..10.0),
        1usize..40,
        any::<(bool, bool)>(),
        proptest::option::of(0.0f64..1.0),
        0usize..4,
    )
        .prop_map(
            |(text, numbers, unix, (low, more), rows, (position, roi), validation, goldens)| {
                Varied {
                    text,
                    numbers,
                    unix,
                    thresholds: [low, low + more],
                    rows,
                    position,
                    roi,
                    validation,
                    goldens,
                }
            },
        )
}

/// A bundle whose every value comes from `v`; its network is no network, which opening does not
/// look at.
fn synthetic(v: &Varied) -> (Manifest, Vec<SectionBytes>) {
    let (side, grid, d) = (32usize, 4usize, 5usize);
    let section = |kind, dtype, shape: &[usize], bytes| SectionBytes {
        kind,
        dtype,
        shape: shape.iter().map(|&s| s as u64).collect(),
        bytes,
    };
    let bank: Vec<u8> = (0..v.rows * d)
        .flat_map(|i| (i as f32 * 0.25).to_le_bytes())
        .collect();
    let mut sections = vec![
        section(
            SectionKind::Backbone,
            DType::Bytes,
            &[7],
            b"no ONNX".to_vec(),
        ),
        section(SectionKind::Bank, DType::F32, &[v.rows, d], bank),
    ];
    if v.position {
        let mut mask = PositionMask::nothing(grid * grid, v.rows);
        (0..grid * grid).for_each(|cell| mask.allow(cell, cell % v.rows));
        let words = mask.all_words();
        let bytes = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        let shape = [grid * grid, words.len() / (grid * grid)];
        sections.push(section(
            SectionKind::PositionMask,
            DType::U16,
            &shape,
            bytes,
        ));
    }
    let goldens = (0..v.goldens)
        .map(|i| {
            let at = sections.len() as u32;
            sections.push(section(
                SectionKind::GoldenImage,
                DType::Bytes,
                &[i],
                vec![9; i],
            ));
            Golden {
                name: format!("{}-{i}", v.text),
                kind: GoldenKind::Good,
                section: at,
                score: i as f32,
                verdict: Verdict::Unknown,
                coarse_map: vec![0.5; COARSE_SIDE * COARSE_SIDE],
            }
        })
        .collect();
    let tap = |name: &str, channels, stride| TapSpec {
        output: name.into(),
        channels,
        stride,
    };
    let manifest = Manifest {
        name: v.text.clone(),
        part_number: v.text.chars().rev().collect(),
        revision: v.numbers[0],
        created_unix: v.unix,
        tool_version: "0.1.0".into(),
        minimum_runtime: [0, 0, 1],
        input: InputGeometry {
            roi: v.roi.then_some(Rect {
                x: v.numbers[1],
                y: 0,
                width: 1 + v.numbers[2] % 1000,
                height: 1,
            }),
            resize: side as u32 + v.numbers[3] % 100,
            crop: side as u32,
        },
        backbone: BackboneSpec {
            name: v.text.clone(),
            precision: Precision::F32,
            licence: "MIT".into(),
            attribution: String::new(),
            input: InputSpec {
                name: "image".into(),
                colour: "rgb".into(),
                mean: [1.0; 3],
                std: [2.0; 3],
                multiple_of: 16,
            },
            taps: vec![tap("a", 2, 8), tap("b", 3, 16)],
        },
        method: Method {
            rule: if v.position {
                Rule::Position
            } else {
                Rule::Patchcore
            },
            patch: 3,
            border: Border::Zero,
            sigma: 4.0,
            bank_ratio: 0.01,
            projection: v.numbers[1],
            position: v.position.then_some(PositionEvidence {
                window: 3,
                sightings: 1,
                allowed_share: 0.1,
            }),
        },
        thresholds: Thresholds {
            unknown: bound(v.thresholds[0], v.numbers[2], &v.text),
            ng: bound(v.thresholds[1], v.numbers[3], ""),
        },
        baseline_thresholds: None,
        training: Training {
            images: v.numbers[0],
            cells: u64::from(v.numbers[1]),
            digest: [v.numbers[2] as u8; 32],
            seed: v.unix.unwrap_or(0),
            folds: 5,
            smallest: [1, 2],
            largest: [3, 4],
            held_out: [0.0, 1.0, 2.0],
        },
        validation: v.validation.map(|figure| Validation {
            images: [1, 2],
            image_auroc: Some(figure),
            pixel_auroc: None,
            aupro: Some(figure),
            false_reject_rate: None,
            escape_rate: Some(0.0),
        }),
        boards: vec![v.text.clone()],
        parity: Parity {
            score_relative: 1e-3,
            map_correlation: 0.99,
        },
        goldens,
        audit: vec![AuditEntry {
            action: v.text.clone(),
            unix: v.unix,
        }],
        sections: vec![],
    };
    (manifest, sections)
}

/// A bundle of a few kilobytes and the length of its manifest.
fn synthetic_small() -> &'static (Vec<u8>, usize) {
    static BYTES: OnceLock<(Vec<u8>, usize)> = OnceLock::new();
    BYTES.get_or_init(|| {
        let (manifest, sections) = synthetic(&Varied {
            text: "forged".into(),
            numbers: [1, 2, 3, 4],
            unix: Some(5),
            thresholds: [1.0, 2.0],
            rows: 20,
            position: true,
            roi: true,
            validation: Some(0.5),
            goldens: 1,
        });
        let bytes = write(manifest, &sections, &Signature::Unsigned).expect("write");
        let mut length = [0; 8];
        length.copy_from_slice(&bytes[16..24]);
        (bytes, u64::from_le_bytes(length) as usize)
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(v in varied()) {
        let (manifest, sections) = synthetic(&v);
        let bytes = write(manifest.clone(), &sections, &Signature::Unsigned).expect("write");
        let product = Product::from_bytes(bytes.clone(), "round trip").expect("read");
        let mut read = product.manifest().clone();
        prop_assert_eq!(read.sections.len(), sections.len());
        read.sections.clear();
        prop_assert_eq!(&read, &manifest);
        prop_assert_eq!(product.bank().rows(), v.rows);
        prop_assert_eq!(product.backbone_onnx(), b"no ONNX");
        prop_assert_eq!(product.mask().is_some(), v.position);
        prop_assert_eq!(product.signature(), &Signature::Unsigned);
        // The same in, the same bytes out; a rewrite without a change changes nothing.
        prop_assert_eq!(&product.rewritten(manifest).expect("write"), &bytes);
        // JSON has it all, digests readably.
        let json = serde_json::to_value(product.manifest()).expect("JSON");
        let digest = json["training"]["digest"].as_str().expect("hexadecimal");
        prop_assert_eq!(digest.len(), 64);
        let back: Manifest = serde_json::from_value(json).expect("a manifest");
        prop_assert_eq!(&back, product.manifest());
    }
}

#[test]
fn a_signature_is_kept() {
    let (manifest, sections) = synthetic(&Varied {
        text: "signed".into(),
        numbers: [0; 4],
        unix: None,
        thresholds: [0.0, 0.0],
        rows: 1,
        position: false,
        roi: false,
        validation: None,
        goldens: 0,
    });
    let signature = Signature::Ed25519 {
        public_key: [3; 32],
        signature: Box::new([4; 64]),
    };
    let bytes = write(manifest, &sections, &signature).expect("write");
    let product = Product::from_bytes(bytes, "signed").expect("read");
    assert_eq!(product.signature(), &signature);
}
