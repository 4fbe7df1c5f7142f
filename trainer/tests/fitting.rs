//! What `fit` promises: a bundle that judges on the board as it did here, and the same bytes for
//! the same images, settings and seed.

#![allow(clippy::expect_used, clippy::panic)]

mod common;

use common::{Bench, copy, data_set, fit, fit_with, goods, program, text, train};
use partgate::backbone::Threads;
use partgate::capture::folder::read_frame;
use partgate::capture::rendered::{Defect, RenderedPart, Renderer};
use partgate::frame::{Frame, Pixels};
use partgate::inspection::Inspector;
use partgate::product::Product;
use serde_json::Value;
use std::path::Path;

fn inspector(bundle: &Path) -> (Product, Inspector) {
    let product = Product::open(bundle).expect("a whole bundle");
    let inspector = Inspector::new(&product, &Threads::default()).expect("a usable bundle");
    (product, inspector)
}

fn frame(part: &RenderedPart) -> Frame {
    let pixels = Pixels::Rgb8(part.rgb.clone());
    Frame::new(part.width, part.height, pixels).expect("frame")
}

#[test]
fn a_fit_is_a_product_whose_selftest_agrees() {
    let bench = Bench::new();
    goods(&bench.at("parts"), 1, 0, 12);
    for rule in ["patchcore", "position"] {
        let bundle = bench.at(&format!("{rule}.pgp"));
        let ran = fit(
            &bench.at("parts"),
            &bundle,
            &["--method", rule, "--json", "--part-number", "A-7"],
        )
        .exits(0);
        let (product, mut inspector) = inspector(&bundle);
        let manifest = product.manifest();
        assert_eq!(manifest.name, rule);
        assert_eq!(manifest.part_number, "A-7");
        assert_eq!(manifest.training.images, 12);
        assert_eq!(manifest.method.rule.to_string(), rule);
        assert_eq!(ran.json()["blake3"], product.digest().to_hex().as_str());
        assert_eq!(ran.json()["bank_rows"], product.bank().rows());
        let outcomes = inspector.selftest(&product).expect("goldens");
        assert_eq!(outcomes.len(), 4);
        for outcome in outcomes {
            // The same machine and code: not nearly the same, the same.
            assert!(outcome.agrees, "{outcome:?}");
            assert_eq!(outcome.score, outcome.expected_score);
        }
    }
}

#[test]
fn threads_and_place_change_no_byte_and_the_seed_does() {
    let bench = Bench::new();
    goods(&bench.at("parts"), 1, 0, 12);
    copy(&bench.at("parts"), &bench.at("elsewhere/copied parts"));
    let fitted = |parts: &str, run: &str, more: &[&str]| {
        let bundle = bench.at(run).join("part.pgp");
        let method = ["--method", "position"];
        fit(&bench.at(parts), &bundle, &[&method, more].concat()).exits(0);
        std::fs::read(bundle).expect("bundle")
    };
    let first = fitted("parts", "1", &["--threads", "1"]);
    assert!(first == fitted("parts", "2", &["--threads", "2"]));
    assert!(first == fitted("elsewhere/copied parts", "3", &["--threads", "2"]));
    assert!(first != fitted("parts", "4", &["--seed", "1"]));
}

#[test]
fn a_recorded_time_is_the_only_difference_it_makes() {
    let bench = Bench::new();
    goods(&bench.at("parts"), 1, 0, 4);
    let bundle = bench.at("part.pgp");
    fit(&bench.at("parts"), &bundle, &[]).exits(0);
    let plain = Product::open(&bundle).expect("bundle").manifest().clone();
    assert_eq!(plain.created_unix, None);
    fit(&bench.at("parts"), &bundle, &["--created", "1700000000"]).exits(0);
    let mut timed = Product::open(&bundle).expect("bundle").manifest().clone();
    assert_eq!(timed.created_unix.take(), Some(1_700_000_000));
    let sections = |m: &partgate::product::Manifest| -> Vec<[u8; 32]> {
        m.sections.iter().map(|s| s.blake3).collect()
    };
    assert_eq!(sections(&timed), sections(&plain));
}

#[test]
fn the_board_gives_the_score_that_validation_gave() {
    let bench = Bench::new();
    data_set(
        &bench.at("set"),
        1,
        8,
        &[Defect::Scratch, Defect::ScrewMissing],
    );
    for backbone in ["efficientnet-lite0-f32", "efficientnet-lite0-int8"] {
        for rule in ["patchcore", "position"] {
            let bundle = bench.at("part.pgp");
            let scores = bench.at("scores.jsonl");
            fit(
                &bench.at("set"),
                &bundle,
                &["--backbone", backbone, "--method", rule],
            )
            .exits(0);
            train(&[
                "validate",
                &text(&bench.at("set")),
                "--bundle",
                &text(&bundle),
                "--scores",
                &text(&scores),
            ])
            .exits(0);
            let (_, mut inspector) = inspector(&bundle);
            let lines = std::fs::read_to_string(scores).expect("scores");
            assert_eq!(lines.lines().count(), 8);
            for line in lines.lines() {
                let line: Value = serde_json::from_str(line).expect("a JSON line");
                let path = line["path"].as_str().expect("path");
                let frame = read_frame(Path::new(path)).expect("image");
                let here = inspector.inspect(&frame).expect("a score");
                let there = line["score"].as_f64().expect("score") as f32;
                assert_eq!(here.score, there, "{backbone} {rule} {path}");
                assert_eq!(line["verdict"], here.verdict.to_string());
            }
        }
    }
}

#[test]
fn the_position_rule_sees_what_is_in_the_wrong_place() {
    let bench = Bench::new();
    goods(&bench.at("parts"), 1, 0, 16);
    let renderer = Renderer::new(1);
    let excess = |rule: &str| -> Vec<f32> {
        let bundle = bench.at(&format!("{rule}.pgp"));
        let arguments = ["--size", "224", "--method", rule];
        fit_with(&bench.at("parts"), &bundle, &arguments).exits(0);
        let (product, mut inspector) = inspector(&bundle);
        let threshold = product.manifest().thresholds.unknown.threshold;
        (0..8)
            .map(|i| {
                let part = renderer.defective(5_000 + i, Defect::ComponentsSwapped);
                let inspection = inspector.inspect(&frame(&part)).expect("a score");
                inspection.score / threshold
            })
            .collect()
    };
    let (plain, position) = (excess("patchcore"), excess("position"));
    println!("score over threshold: patchcore {plain:.3?}, position {position:.3?}");
    let gain: Vec<f32> = position.iter().zip(&plain).map(|(p, q)| p / q).collect();
    // The two boxes change places, or, once in three, the two lamps, which are too small for this
    // input size: there the rules agree.
    assert!(gain.iter().all(|&g| g > 0.98), "{gain:?}");
    let clear = gain.iter().filter(|&&g| g > 1.2).count();
    assert!(clear * 2 >= gain.len(), "{gain:?}");
}

#[test]
fn images_of_different_sizes_are_fitted_and_counted() {
    let bench = Bench::new();
    goods(&bench.at("parts"), 1, 0, 4);
    let part = Renderer::new(1).good(9);
    let (width, height) = (part.width as u32, part.height as u32);
    let whole = image::RgbImage::from_raw(width, height, part.rgb).expect("picture");
    image::imageops::crop_imm(&whole, 10, 10, 300, 200)
        .to_image()
        .save(bench.at("parts/smaller.bmp"))
        .expect("write");
    let bundle = bench.at("part.pgp");
    let ran = fit(&bench.at("parts"), &bundle, &["--json"]).exits(0);
    assert_eq!(ran.json()["image_sizes"], 2);
    let ran = fit(&bench.at("parts"), &bundle, &[]).exits(0);
    assert!(ran.stdout.contains("of 2 size(s)"), "{}", ran.stdout);
    let training = Product::open(&bundle).expect("bundle");
    let training = &training.manifest().training;
    assert_eq!(
        (training.smallest, training.largest),
        ([300, 200], [320, 256])
    );
}

#[test]
fn a_region_and_a_mask_reach_the_board() {
    let bench = Bench::new();
    goods(&bench.at("parts"), 1, 0, 6);
    // Black where nothing is to be inspected: the left half.
    image::GrayImage::from_fn(320, 256, |x, _| {
        image::Luma([if x < 160 { 0 } else { 255 }])
    })
    .save(bench.at("mask.png"))
    .expect("write");
    let bundle = bench.at("part.pgp");
    let mask = text(&bench.at("mask.png"));
    fit(
        &bench.at("parts"),
        &bundle,
        &["--mask", &mask, "--roi", "20,0,300,256"],
    )
    .exits(0);
    let (product, mut inspector) = inspector(&bundle);
    let roi = product.manifest().input.roi.expect("a region");
    assert_eq!((roi.x, roi.y, roi.width, roi.height), (20, 0, 300, 256));
    let part = Renderer::new(1).good(50);
    let clean = inspector.inspect(&frame(&part)).expect("a score");
    let mut blotched = part.clone();
    for y in 100..140 {
        for x in 40..80 {
            blotched.rgb[(y * part.width + x) * 3..][..3].copy_from_slice(&[255, 0, 255]);
        }
    }
    let masked = inspector.inspect(&frame(&blotched)).expect("a score");
    assert_eq!(masked.verdict, clean.verdict);
    assert!(masked.score < 1.05 * clean.score);
    // Without the mask the same blotch stands out.
    let unmasked = bench.at("unmasked.pgp");
    fit(&bench.at("parts"), &unmasked, &["--roi", "20,0,300,256"]).exits(0);
    let (_, mut inspector) = self::inspector(&unmasked);
    let seen = inspector.inspect(&frame(&blotched)).expect("a score");
    assert!(
        seen.score > 1.2 * masked.score,
        "{} {}",
        seen.score,
        masked.score
    );
}

#[test]
fn help_is_there_for_every_command() {
    for command in ["fit", "validate", "calibrate", "benchmark"] {
        let output = program(&[command, "--help"]).output().expect("runs");
        assert!(output.status.success());
        assert!(output.stdout.len() > 300, "{command}");
    }
}
