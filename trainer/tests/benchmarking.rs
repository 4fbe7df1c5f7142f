//! What `benchmark` promises: a table over all categories, and no work done twice.

#![allow(clippy::expect_used, clippy::panic)]

mod fixtures;

use fixtures::{Bench, Ran, data_set, quick, text, train};
use partgate::simulation::part::Defect;
use serde_json::Value;
use std::path::Path;
use std::time::SystemTime;

fn benchmark(root: &Path, out: &Path, more: &[&str]) -> Ran {
    let (root, out) = (text(root), text(out));
    let arguments = ["benchmark", &root, "--out", &out];
    train(&[&arguments[..], &quick(more)].concat())
}

fn two_categories(bench: &Bench) {
    data_set(&bench.at("root/lid"), 1, 6, &[Defect::Stain]);
    data_set(&bench.at("root/mtd"), 2, 6, &[Defect::ScrewMissing]);
}

fn written(path: &Path) -> SystemTime {
    let metadata = std::fs::metadata(path).expect("metadata");
    metadata.modified().expect("a time")
}

#[test]
fn a_table_json_and_a_page_over_all_categories() {
    let bench = Bench::new();
    two_categories(&bench);
    let (root, out) = (bench.at("root"), bench.at("out"));
    let report = benchmark(&root, &out, &["--json", "--method", "position"])
        .exits(0)
        .json();
    let categories = report["categories"].as_array().expect("categories");
    assert_eq!(categories.len(), 2);
    for (category, name) in categories.iter().zip(["lid", "mtd"]) {
        assert_eq!(category["name"], name);
        assert_eq!(category["images"], 6);
        assert!(category["fit_seconds"].as_f64().expect("seconds") > 0.0);
        assert!(category["baseline"]["image_auroc"].is_number());
        assert!(out.join(format!("{name}.pgp")).is_file());
    }
    for figure in ["image_auroc", "pixel_auroc", "aupro", "escape_rate"] {
        let of = |v: &Value| v[figure].as_f64().expect(figure);
        let mean = (of(&categories[0]) + of(&categories[1])) / 2.0;
        assert!((of(&report["mean"]) - mean).abs() < 1e-12);
        let of = |v: &Value| v["baseline"][figure].as_f64().expect(figure);
        let mean = (of(&categories[0]) + of(&categories[1])) / 2.0;
        assert!((of(&report["mean"]) - mean).abs() < 1e-12);
    }
    let page = std::fs::read_to_string(out.join("report.html")).expect("page");
    for what in [
        "lid",
        "mtd",
        "image/jpeg",
        "as published",
        "<svg",
        "partgate-train benchmark",
    ] {
        assert!(page.contains(what), "{what}");
    }
    // The same as text, from what was kept.
    let ran = benchmark(&root, &out, &["--method", "position"]).exits(0);
    for what in ["lid", "mean", "(kept)", "N-pad", "not measured here"] {
        assert!(ran.stdout.contains(what), "{what} in {}", ran.stdout);
    }
}

#[test]
fn what_was_done_is_kept_and_what_is_missing_is_done() {
    let bench = Bench::new();
    two_categories(&bench);
    let (root, out) = (bench.at("root"), bench.at("out"));
    let first = benchmark(&root, &out, &["--json"]).exits(0).json();
    let names = ["lid.pgp", "lid.json", "mtd.pgp", "mtd.json"];
    let times = || names.map(|name| written(&out.join(name)));
    let done = times();
    // Figures, and seconds, to the last digit.
    assert_eq!(benchmark(&root, &out, &["--json"]).exits(0).json(), first);
    assert_eq!(times(), done);
    let without_seconds = |mut report: Value| {
        for category in report["categories"].as_array_mut().expect("categories") {
            category["fit_seconds"].take();
        }
        report
    };
    let first = without_seconds(first);
    let again = |more: &[&str], redone: [bool; 2]| {
        let before = times();
        let report = benchmark(&root, &out, &[&["--json"], more].concat()).exits(0);
        let changed: Vec<bool> = times().iter().zip(before).map(|(a, b)| *a != b).collect();
        assert_eq!(changed, [redone[0], redone[0], redone[1], redone[1]]);
        without_seconds(report.json())
    };
    // Interrupted before a record was written, or while a bundle was.
    let restored = std::fs::read(out.join("mtd.json")).expect("read");
    std::fs::write(out.join("mtd.json"), &restored[..restored.len() / 2]).expect("write");
    assert_eq!(again(&[], [false, true]), first);
    std::fs::write(out.join("lid.pgp"), b"half a bundle").expect("write");
    assert_eq!(again(&[], [true, false]), first);
    assert_eq!(again(&["--fresh"], [true, true]), first);
    // Other settings and other images are other figures.
    again(&["--seed", "1"], [true, true]);
    again(&["--seed", "1", "--eroded-masks"], [true, true]);
    again(&["--seed", "1", "--eroded-masks"], [false, false]);
    let good = root.join("lid/test/good/000.png");
    let mut other = image::open(&good).expect("image").to_rgb8();
    other.put_pixel(0, 0, image::Rgb([255, 0, 0]));
    other.save(&good).expect("save");
    again(&["--seed", "1", "--eroded-masks"], [true, false]);
}

#[test]
fn a_category_that_fails_does_not_stop_the_others() {
    let bench = Bench::new();
    two_categories(&bench);
    bench.write("root/lid/train/good/bad.png", b"no picture");
    let (root, out) = (bench.at("root"), bench.at("out"));
    let ran = benchmark(&root, &out, &["--json"])
        .exits(3)
        .tells("bad.png")
        .tells("1 of 2 categories failed: lid");
    let report = ran.json();
    assert_eq!(report["categories"].as_array().expect("list").len(), 1);
    assert_eq!(report["categories"][0]["name"], "mtd");
    assert_eq!(report["failed"][0]["name"], "lid");
    let page = std::fs::read_to_string(out.join("report.html")).expect("page");
    assert!(page.contains("bad.png"));
}

#[test]
fn one_category_is_a_data_set_too() {
    let bench = Bench::new();
    data_set(&bench.at("lid"), 1, 4, &[Defect::Stain]);
    let report = benchmark(&bench.at("lid"), &bench.at("out"), &["--json"])
        .exits(0)
        .json();
    assert_eq!(report["categories"][0]["name"], "lid");
    std::fs::create_dir(bench.at("empty")).expect("folder");
    benchmark(&bench.at("empty"), &bench.at("out"), &[])
        .exits(3)
        .tells("train/good");
}
