//! Writes `tests/golden/format-1.pgp` and its fields anew; see the README beside it for when that is right.

#![allow(clippy::expect_used, clippy::panic)]

mod common;

use common::{Bench, fit_with, text};
use partgate::capture::rendered::Renderer;
use partgate::product::{AuditEntry, Product, Validation};
use std::path::Path;

/// A bundle with every part of the format that this version can write, and small.
#[test]
#[ignore = "writes tests/golden/format-1.pgp: only when the format itself changes"]
fn make_the_golden_bundle() {
    let bench = Bench::new();
    let parts = bench.at("parts");
    std::fs::create_dir(&parts).expect("folder");
    for i in 0..4u64 {
        let part = Renderer::new(1).good(i);
        let (width, height) = (part.width as u32, part.height as u32);
        let whole = image::RgbImage::from_raw(width, height, part.rgb).expect("picture");
        image::imageops::crop_imm(&whole, 112, 64, 96, 96)
            .to_image()
            .save(parts.join(format!("{i}.png")))
            .expect("write");
    }
    image::GrayImage::from_fn(96, 96, |x, y| {
        image::Luma([if x + y < 40 { 0 } else { 255 }])
    })
    .save(bench.at("mask.png"))
    .expect("write");
    let bundle = bench.at("format-1.pgp");
    fit_with(
        &parts,
        &bundle,
        &[
            "--name",
            "golden",
            "--part-number",
            "G-1",
            "--revision",
            "3",
            "--created",
            "1700000000",
            "--roi",
            "4,4,88,88",
            "--mask",
            &text(&bench.at("mask.png")),
            "--size",
            "80",
            "--crop",
            "64",
            "--method",
            "position",
            "--min-bank",
            "16",
            "--seed",
            "7",
            "--goldens",
            "1",
        ],
    )
    .exits(0);
    // What no fit writes by itself, so that the file holds every field.
    let product = Product::open(&bundle).expect("bundle");
    let mut manifest = product.manifest().clone();
    manifest.validation = Some(Validation {
        images: [5, 6],
        image_auroc: Some(0.75),
        pixel_auroc: None,
        aupro: Some(0.5),
        false_reject_rate: Some(0.2),
        escape_rate: Some(0.25),
    });
    // Equal values could change places unseen.
    manifest.thresholds.ng.threshold = 35.0;
    if let Some(baseline) = &mut manifest.baseline_thresholds {
        (baseline.unknown.threshold, baseline.ng.threshold) = (30.0, 34.0);
    }
    manifest.boards = vec!["x86-64".into(), "aarch64".into()];
    manifest.audit = vec![AuditEntry {
        action: "made for the format's golden test".into(),
        unix: Some(1_700_000_001),
    }];
    let bytes = product.rewritten(manifest).expect("bytes");
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
    let target = golden.join("format-1.pgp");
    std::fs::write(&target, &bytes).expect("write");
    let written = Product::open(&target).expect("bundle");
    let fields = serde_json::to_string_pretty(written.manifest()).expect("JSON");
    std::fs::write(golden.join("format-1.json"), fields + "\n").expect("write");
    println!(
        "{} bytes, BLAKE3 {}",
        written.size(),
        written.digest().to_hex()
    );
}
