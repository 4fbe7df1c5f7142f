//! Contaminated good images are found, also where two hide each other; they are shown with what they
//! cost, and left out on record (docs/fit.md). The page of a fit shows what it rests on.

#![allow(clippy::expect_used, clippy::panic)]

mod fixtures;

use fixtures::{Bench, fit, fit_with, goods, opened, own_network, picture, quick, text, validate};
use serde_json::Value;
use std::path::Path;

/// Paints the same foreign patch onto a good part.
fn contaminate(path: &Path) {
    let mut part = picture(path);
    for y in 90..140 {
        for x in 120..170 {
            let on = (x / 5 + y / 7) % 2 == 0;
            part.put_pixel(
                x,
                y,
                image::Rgb(if on { [250, 10, 240] } else { [10, 240, 20] }),
            );
        }
    }
    part.save(path).expect("write");
}

fn names(report: &Value) -> Vec<String> {
    let outliers = report["outliers"].as_array().expect("outliers").iter();
    let mut names: Vec<String> = outliers
        .map(|o| o["image"].as_str().expect("a name").to_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn one_and_two_alike_are_found_and_left_out_on_record() {
    let bench = Bench::new();
    let (parts, bundle) = (bench.at("parts"), bench.at("part.pgp"));
    goods(&parts, 1, 0, 20);
    let clean = fit(&parts, &bundle, &["--json"]).exits(0).json();
    assert!(names(&clean).is_empty(), "{}", clean["outliers"]);
    let clean_threshold = clean["thresholds"]["unknown"]["threshold"]
        .as_f64()
        .expect("a number");

    contaminate(&parts.join("003.png"));
    // One of them lifts the threshold so high that the fit is refused.
    fit(&parts, &bundle, &[]).exits(3).tells("--drop-outliers");
    let one = fit(&parts, &bundle, &["--json", "--force"]).exits(0).json();
    assert_eq!(names(&one), ["003.png"], "{}", one["outliers"]);
    let cost = &one["outlier_cost"];
    let [with, without] = [0, 1].map(|i| cost["thresholds"][i].as_f64().expect("a number"));
    assert!(
        with > without && (without / clean_threshold - 1.0).abs() < 0.1,
        "{cost}"
    );

    // With every seed of the folds: whether they are held out together or apart.
    contaminate(&parts.join("011.png"));
    for seed in ["0", "1", "2", "3"] {
        let two = fit(&parts, &bundle, &["--json", "--force", "--seed", seed])
            .exits(0)
            .json();
        assert_eq!(names(&two), ["003.png", "011.png"], "{}", two["outliers"]);
        for outlier in two["outliers"].as_array().expect("a list") {
            if let Some(other) = outlier["alike"].as_str() {
                let pair = [other, outlier["image"].as_str().expect("a name")];
                assert!(
                    pair.contains(&"003.png") && pair.contains(&"011.png"),
                    "{outlier}"
                );
            }
        }
    }
    let page = bench.at("fit.html");
    let more = ["--drop-outliers", "--report", &text(&page)];
    let ran = fit(&parts, &bundle, &more).exits(0);
    for words in [
        "2 good images left out",
        "003.png",
        "with them the UNKNOWN threshold was",
    ] {
        assert!(ran.stdout.contains(words), "{words}: {}", ran.stdout);
    }
    let product = opened(&bundle);
    let manifest = product.manifest();
    assert_eq!(manifest.training.images, 18);
    let entry = &manifest.audit[0].action;
    assert!(
        entry.contains("fitted without 2 of 20 good images") && entry.contains("011.png"),
        "{entry}"
    );
    assert!(
        entry.contains("with them the UNKNOWN threshold was"),
        "{entry}"
    );
    let threshold = f64::from(manifest.thresholds.unknown.threshold);
    assert!(
        (threshold / clean_threshold - 1.0).abs() < 0.1,
        "{threshold} {clean_threshold}"
    );
    let html = std::fs::read_to_string(page).expect("a page");
    for words in [
        "Left out",
        "003.png",
        "011.png",
        "<svg",
        "image/jpeg",
        "2 left out",
    ] {
        assert!(html.contains(words), "{words}");
    }
}

#[test]
fn a_mixture_is_not_dropped() {
    let bench = Bench::new();
    let parts = bench.at("parts");
    goods(&parts, 1, 0, 14);
    for i in [1, 4, 8, 11] {
        let path = parts.join(format!("{i:03}.png"));
        let noise = image::RgbImage::from_fn(320, 256, |x, y| {
            image::Rgb(
                [0, 1, 2].map(|c| ((x * (7 + i) + y * (13 + c) + x * y * (i + 1)) % 251) as u8),
            )
        });
        noise.save(path).expect("write");
    }
    let bundle = bench.at("part.pgp");
    let ran = fit(&parts, &bundle, &["--drop-outliers", "--force"]);
    if ran.code == Some(0) {
        // Some robust measure may not see four of fourteen as outliers: then nothing is left out.
        let product = opened(&bundle);
        assert!(product.manifest().training.images >= 12, "{}", ran.stdout);
    } else {
        ran.exits(3).tells("more than one in 5");
        assert!(!bundle.exists());
    }
}

#[test]
fn the_page_of_a_fit_says_what_it_rests_on() {
    let bench = Bench::new();
    let (parts, bundle, page) = (
        bench.at("parts"),
        bench.at("part.pgp"),
        bench.at("new/fit.html"),
    );
    goods(&parts, 1, 0, 12);
    let arguments = [
        "--size",
        "128",
        "--min-bank",
        "128",
        "--report",
        &text(&page),
    ];
    let ran = fit_with(&parts, &bundle, &arguments)
        .exits(0)
        .tells("was not there and was made");
    // Three lines of the choice, without the table of candidates.
    let auto: Vec<&str> = ran
        .stdout
        .lines()
        .filter(|l| l.starts_with("  auto: "))
        .collect();
    assert_eq!(auto.len(), 3, "{}", ran.stdout);
    assert!(
        auto[0].contains("compared on 12 held-out good images"),
        "{auto:?}"
    );
    assert!(
        auto[1].contains("taken: ") && auto[2].contains("why: "),
        "{auto:?}"
    );
    assert!(!ran.stdout.contains("shortfall"), "{}", ran.stdout);
    assert!(
        ran.stdout.contains("12 good images of 1 size,"),
        "{}",
        ran.stdout
    );
    let html = std::fs::read_to_string(&page).expect("a page");
    for words in [
        "Fit of part",
        "What auto chose and why",
        "Thresholds and operating points",
        "Good images that stand out",
        "Good images nearest to the threshold",
        "Held-out goods rejected",
        "at most ",
        "class=\"curve good\"",
        "class=\"band good\"",
        "budget 1 %",
        "partgate-train fit",
    ] {
        assert!(html.contains(words), "{words}");
    }
    assert!(!html.contains("http"), "a page must fetch nothing");
    let verbose = [&arguments[..], &["--verbose"]].concat();
    let ran = fit_with(&parts, &bundle, &verbose).exits(0);
    assert!(ran.stdout.contains("shortfall"), "{}", ran.stdout);
}

#[test]
fn counts_come_before_shares_and_columns_come_once() {
    let bench = Bench::new();
    let set = bench.at("set");
    fixtures::data_set(&set, 1, 8, &[partgate::simulation::part::Defect::Stain]);
    let (bundle, page) = (bench.at("part.pgp"), bench.at("page.html"));
    fit(&set, &bundle, &[]).exits(0);
    let ran = validate(&set, &bundle, &["--report", &text(&page)]).exits(0);
    let line = |name: &str| {
        let mut lines = ran.stdout.lines();
        lines
            .find(|l| l.contains(name))
            .unwrap_or_else(|| panic!("no {name}: {}", ran.stdout))
    };
    let rejects = line("false rejects at own threshold");
    assert!(
        rejects.contains(" of 4 ") && rejects.contains("% at 95 %"),
        "{rejects}"
    );
    // The rule is patchcore itself.
    assert!(
        !line("counts, and %").contains("patchcore  "),
        "{}",
        ran.stdout
    );
    assert_eq!(ran.stdout.matches("patchcore").count(), 1, "{}", ran.stdout);
    let html = std::fs::read_to_string(&page).expect("a page");
    assert!(html.contains("<dt>False rejects</dt>") && html.contains(" of 4</dd>"));
    assert!(!html.contains("<dd>-"));
    // The rule itself, and no column beside it.
    assert_eq!(html.matches("patchcore</th>").count(), 1);
    // Without masks there is no box and no row for pixels.
    std::fs::remove_dir_all(set.join("ground_truth")).expect("remove");
    validate(&set, &bundle, &["--report", &text(&page)]).exits(0);
    let html = std::fs::read_to_string(&page).expect("a page");
    assert!(!html.contains("Pixel AUROC") && !html.contains("AUPRO"));
}

#[test]
fn a_network_without_its_description_gets_the_one_to_write() {
    let bench = Bench::new();
    let parts = bench.at("parts");
    goods(&parts, 1, 0, 4);
    let network = own_network(&bench, |_| {});
    let description = bench.at("own.onnx.json");
    std::fs::remove_file(&description).expect("remove");
    let path = text(&network);
    let arguments = quick(&["--backbone", &path]);
    let ran = fit_with(&parts, &bench.at("part.pgp"), &arguments)
        .exits(3)
        .tells("no description beside it")
        .tells("own.onnx.json");
    // What is printed is nearly what is wanted.
    let (_, rest) = ran
        .stderr
        .split_once("own.onnx.json: ")
        .expect("a description");
    let json = rest.split(" Check:").next().expect("an end");
    let value: Value = serde_json::from_str(json).expect("JSON");
    assert_eq!(value["taps"].as_array().expect("taps").len(), 2);
    bench.write("text.onnx", b"not a network at all");
    let path = text(&bench.at("text.onnx"));
    fit_with(
        &parts,
        &bench.at("part.pgp"),
        &quick(&["--backbone", &path]),
    )
    .exits(3)
    .tells("not an ONNX file");
}
