//! A bundle of format 1 stays readable, field by field (`tests/golden/README.md`).

#![allow(clippy::expect_used, clippy::panic)]

use partgate::backbone::Threads;
use partgate::inspection::Inspector;
use partgate::product::{DType, FORMAT, GoldenKind, Product, SectionKind, Signature};
use partgate::score::{Border, Rule};
use partgate::verdict::{BoundMethod, Verdict};
use std::path::PathBuf;

const BLAKE3: &str = "761b36d5fbea4cb2c16a2bce7ab8479e9c01973a60d2cde47f509f2ff9ee11ba";

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

fn open() -> Product {
    Product::open(&golden("format-1.pgp")).expect("a bundle of format 1")
}

#[test]
fn every_field_reads_as_it_was_written() {
    let product = open();
    assert_eq!(
        product.digest().to_hex().as_str(),
        BLAKE3,
        "the file was made again; was that meant?"
    );
    let read = serde_json::to_string_pretty(product.manifest()).expect("JSON") + "\n";
    let written = std::fs::read_to_string(golden("format-1.json")).expect("fields");
    for (read, written) in read.lines().zip(written.lines()) {
        assert_eq!(read, written);
    }
    assert_eq!(read.len(), written.len());
}

/// What the JSON cannot catch, because its names move with the code: what the values mean.
#[test]
fn what_the_fields_mean_has_not_moved() {
    let product = open();
    let manifest = product.manifest();
    assert_eq!(FORMAT, 1);
    assert!(matches!(product.signature(), Signature::Unsigned));
    assert_eq!(
        (manifest.name.as_str(), manifest.part_number.as_str()),
        ("golden", "G-1")
    );
    assert_eq!(manifest.revision, 3);
    assert_eq!(manifest.created_unix, Some(1_700_000_000));
    assert_eq!(manifest.minimum_runtime, [0, 1, 0]);
    let input = &manifest.input;
    assert_eq!((input.resize, input.crop), (80, 64));
    let roi = input.roi.expect("a region");
    assert_eq!((roi.x, roi.y, roi.width, roi.height), (4, 4, 88, 88));
    let method = &manifest.method;
    assert_eq!((method.rule, method.border), (Rule::Position, Border::Zero));
    assert_eq!((method.patch, method.projection), (3, 0));
    let position = method.position.as_ref().expect("position evidence");
    assert_eq!((position.window, position.sightings), (3, 2));
    let (unknown, ng) = (&manifest.thresholds.unknown, &manifest.thresholds.ng);
    assert_eq!((unknown.method, unknown.n), (BoundMethod::Maximum, 4));
    assert_eq!((unknown.rate, ng.rate), (0.01, 0.001));
    assert_eq!((unknown.confidence, ng.threshold), (0.95, 35.0));
    let baseline = manifest.baseline_thresholds.as_ref().expect("baseline");
    assert_eq!(
        (baseline.unknown.threshold, baseline.ng.threshold),
        (30.0, 34.0)
    );
    let training = &manifest.training;
    assert_eq!((training.images, training.cells), (4, 256));
    assert_eq!((training.seed, training.folds), (7, 4));
    assert_eq!((training.smallest, training.largest), ([96, 96], [96, 96]));
    let validation = manifest.validation.as_ref().expect("figures");
    assert_eq!(validation.images, [5, 6]);
    assert_eq!(
        (validation.image_auroc, validation.pixel_auroc),
        (Some(0.75), None)
    );
    assert_eq!(validation.aupro, Some(0.5));
    assert_eq!(
        (validation.false_reject_rate, validation.escape_rate),
        (Some(0.2), Some(0.25))
    );
    assert_eq!(manifest.boards, ["x86-64", "aarch64"]);
    assert_eq!(manifest.audit.len(), 1);
    assert_eq!(manifest.audit[0].unix, Some(1_700_000_001));
    let sections: Vec<(SectionKind, DType, &[u64])> = manifest
        .sections
        .iter()
        .map(|s| (s.kind, s.dtype, s.shape.as_slice()))
        .collect();
    assert_eq!(
        sections[..4],
        [
            (SectionKind::Backbone, DType::Bytes, &[869_107][..]),
            (SectionKind::Bank, DType::F32, &[16, 152]),
            (SectionKind::PositionMask, DType::U16, &[64, 1]),
            (SectionKind::IgnoreMask, DType::Bits, &[64, 64]),
        ]
    );
    assert_eq!(
        (product.bank().rows(), product.bank().dimensions()),
        (16, 152)
    );
    assert_eq!(product.mask().expect("a position mask").cells(), 64);
    assert!(product.ignore().is_some());
}

#[test]
fn it_judges_as_it_did() {
    let product = open();
    for threads in [1, 2] {
        let threads = Threads::new(threads).expect("threads");
        let mut inspector = Inspector::new(&product, &threads).expect("usable");
        let outcomes = inspector.selftest(&product).expect("goldens");
        let goldens = &product.manifest().goldens;
        assert_eq!(outcomes.len(), 2);
        for (outcome, golden) in outcomes.iter().zip(goldens) {
            assert!(outcome.agrees, "{outcome:?}");
            let expected = match golden.kind {
                GoldenKind::Good => Verdict::Ok,
                GoldenKind::Damaged => Verdict::Ng,
            };
            assert_eq!(outcome.verdict, expected, "{}", golden.name);
        }
    }
}

#[test]
fn what_was_read_is_written_again_byte_for_byte() {
    let product = open();
    let again = product
        .rewritten(product.manifest().clone())
        .expect("bytes");
    let bytes = std::fs::read(golden("format-1.pgp")).expect("read");
    assert!(
        again == bytes,
        "the writer no longer writes format 1 as it did"
    );
}
