//! The demonstration and its product, as a new user sees them.

#![allow(clippy::expect_used, clippy::panic)]

mod bundle;
mod command;

use command::{Bench, Ran, field, number, partgate, text};
use partgate::simulation::part::Defect;
use serde_json::Value;
use std::path::Path;

fn demo(folder: &Path, more: &[&str]) -> Ran {
    let out = text(folder);
    let mut arguments = vec!["demo", "--out", &out];
    arguments.extend(more);
    partgate(&arguments).exits(0)
}

#[test]
fn demo_inspects_a_run_and_writes_a_page() {
    let bench = Bench::new();
    let out = bench.at("deep/er");
    let printed = demo(&out, &["--parts", "6"]);
    assert_eq!(printed.stderr, "");
    assert!(
        !printed.stdout.contains('\x1b'),
        "colours without a terminal"
    );
    for word in [
        "verdict",
        "escapes",
        "false rejects",
        "parts per second",
        "index.html",
    ] {
        assert!(
            printed.stdout.contains(word),
            "no `{word}` in {}",
            printed.stdout
        );
    }
    let page = std::fs::read_to_string(out.join("index.html")).expect("page");
    assert!(page.contains("data:image/jpeg;base64,"));
    assert!(
        !page.contains("http") && !page.contains("<script"),
        "the page fetches something"
    );
    let overlays = std::fs::read_dir(out.join("overlays"))
        .expect("overlays")
        .count();
    assert_eq!(overlays, 6);
    // Again into the same folder: it may replace its own page.
    demo(&out, &["--parts", "1"]);
}

#[test]
fn demo_json_is_the_same_for_the_same_seed_at_any_thread_count() {
    let bench = Bench::new();
    let run = |threads: &str, seed: &str| {
        let arguments = [
            "--parts",
            "5",
            "--seed",
            seed,
            "--threads",
            threads,
            "--json",
        ];
        demo(&bench.at("out"), &arguments).json()
    };
    let inspected = |report: &Value| -> Vec<(Value, Value, Value)> {
        field(report, "parts")
            .as_array()
            .expect("parts")
            .iter()
            .map(|p| (p["shown"].clone(), p["score"].clone(), p["verdict"].clone()))
            .collect()
    };
    let first = run("1", "9");
    assert_eq!(inspected(&first), inspected(&run("1", "9")));
    assert_eq!(inspected(&first), inspected(&run("2", "9")));
    assert_ne!(inspected(&first), inspected(&run("1", "10")));
    let count = |name: &str| number(&first, &format!("summary.{name}"));
    assert_eq!(count("parts"), 5.0);
    assert_eq!(count("ok") + count("ng") + count("unknown"), 5.0);
    assert!(count("median_ms") > 0.0 && count("parts_per_second") > 0.0);
    assert!(count("escapes") <= 3.0 && count("false_rejects") <= 2.0);
    assert!(number(&first, "threshold") >= number(&first, "unknown_threshold"));
    assert!(Path::new(field(&first, "page").as_str().expect("path")).is_file());
}

#[test]
fn render_writes_a_data_set_that_is_the_same_every_time() {
    let bench = Bench::new();
    let write = |name: &str| {
        let folder = bench.at(name);
        let arguments = [
            "render",
            &text(&folder),
            "--train",
            "2",
            "--test",
            "1",
            "--per-defect",
            "1",
        ];
        let printed = partgate(&arguments).exits(0);
        assert!(printed.stdout.contains(&text(&folder)));
        folder
    };
    let (a, b) = (write("a"), write("b"));
    let files = partgate::frame::file::images_under(&a).expect("list");
    assert_eq!(files.len(), 2 + 1 + 2 * Defect::ALL.len());
    for file in &files {
        let below = file.strip_prefix(&a).expect("below");
        let (x, y) = (std::fs::read(file), std::fs::read(b.join(below)));
        assert_eq!(x.expect("read"), y.expect("read"), "{}", below.display());
    }
    for defect in Defect::ALL {
        let test = image::open(a.join("test").join(defect.name()).join("000.png")).expect("image");
        let mask = a
            .join("ground_truth")
            .join(defect.name())
            .join("000_mask.png");
        let mask = image::open(mask).expect("mask").into_luma8();
        assert_eq!((test.width(), test.height()), mask.dimensions());
        assert!(mask.pixels().any(|p| p.0 == [255]));
    }
    let json = partgate(&[
        "render",
        &text(&bench.at("c")),
        "--train",
        "1",
        "--test",
        "0",
        "--per-defect",
        "0",
        "--json",
    ]);
    assert_eq!(number(&json.exits(0).json(), "train_good"), 1.0);
}
