//! What `validate` and `calibrate` promise.

#![allow(clippy::expect_used, clippy::panic)]

mod fixtures;

use fixtures::{Bench, copy, data_set, fit, goods, text, train, validate};
use partgate::backbone::Threads;
use partgate::frame::file::read_frame;
use partgate::inspection::Inspector;
use partgate::product::Product;
use partgate::simulation::part::Defect;
use partgate::verdict::{BoundMethod, Verdict};

const FIGURES: [&str; 7] = [
    "image_auroc",
    "pixel_auroc",
    "aupro",
    "image_f1_max",
    "false_reject_rate",
    "escape_rate",
    "false_reject_rate_at_full_recall",
];

#[test]
fn the_figures_have_the_documented_names() {
    let bench = Bench::new();
    let set = bench.at("set");
    data_set(&set, 1, 8, &[Defect::Stain, Defect::ComponentsSwapped]);
    for rule in ["patchcore", "position", "coverage"] {
        let bundle = bench.at("part.pgp");
        let short = ["--folds", "2", "--network-steps", "12"];
        fit(&set, &bundle, &[&["--method", rule], &short[..]].concat()).exits(0);
        let page = bench.at("report.html");
        let ran = validate(&set, &bundle, &["--json", "--report", &text(&page)]).exits(0);
        let figures = ran.json();
        assert_eq!(figures["images"], 8);
        for name in FIGURES {
            for value in [&figures[name], &figures["baseline"][name]] {
                let value = value.as_f64().unwrap_or_else(|| panic!("no {name}"));
                assert!((0.0..=1.0).contains(&value), "{name}: {value}");
            }
        }
        if rule == "patchcore" {
            for name in FIGURES {
                assert_eq!(figures[name], figures["baseline"][name]);
            }
        }
        let page = std::fs::read_to_string(page).expect("report");
        for what in [
            "<svg",
            "image/jpeg",
            "Image AUROC",
            "components_swapped",
            "oracle",
            "partgate-train validate",
            rule,
        ] {
            assert!(page.contains(what), "{what}");
        }
        assert!(!page.contains("http"), "a page must fetch nothing");
    }
}

#[test]
fn without_masks_or_goods_the_figures_that_need_them_are_absent() {
    let bench = Bench::new();
    let set = bench.at("set");
    data_set(&set, 1, 6, &[Defect::Scratch]);
    let bundle = bench.at("part.pgp");
    fit(&set, &bundle, &[]).exits(0);
    let validate = || {
        fixtures::validate(&set, &bundle, &["--json"])
            .exits(0)
            .json()
    };
    std::fs::remove_dir_all(set.join("ground_truth")).expect("remove");
    let figures = validate();
    assert!(figures["pixel_auroc"].is_null() && figures["aupro"].is_null());
    assert!(figures["image_auroc"].is_number());
    std::fs::remove_dir_all(set.join("test/scratch")).expect("remove");
    let figures = validate();
    assert!(figures["image_auroc"].is_null() && figures["escape_rate"].is_null());
    assert!(figures["false_reject_rate"].is_number());
}

#[test]
fn eroded_masks_only_shrink_what_counts_as_defect() {
    let bench = Bench::new();
    let set = bench.at("set");
    data_set(&set, 1, 6, &[Defect::ComponentMissing]);
    let bundle = bench.at("part.pgp");
    fit(&set, &bundle, &[]).exits(0);
    let validate = |more: &[&str]| {
        let more = [&["--json"], more].concat();
        fixtures::validate(&set, &bundle, &more).exits(0).json()
    };
    let (whole, eroded) = (validate(&[]), validate(&["--eroded-masks"]));
    assert_eq!(whole["image_auroc"], eroded["image_auroc"]);
    assert_ne!(whole["pixel_auroc"], eroded["pixel_auroc"]);
}

#[test]
fn calibration_moves_the_thresholds_and_says_so_in_the_bundle() {
    let bench = Bench::new();
    goods(&bench.at("parts"), 1, 0, 8);
    goods(&bench.at("another day"), 2, 500, 12);
    let (old, new) = (bench.at("old.pgp"), bench.at("new.pgp"));
    fit(&bench.at("parts"), &old, &["--method", "position"]).exits(0);
    let report = train(&[
        "calibrate",
        &text(&old),
        "--goods",
        &text(&bench.at("another day")),
        "-o",
        &text(&new),
        "--json",
    ])
    .exits(0)
    .json();
    assert_eq!(report["images"], 12);
    assert!(report["shift"].as_f64().expect("shift") > 0.5);
    let (before, after) = (
        Product::open(&old).expect("old"),
        Product::open(&new).expect("new"),
    );
    let (was, is) = (before.manifest(), after.manifest());
    assert_ne!(was.thresholds, is.thresholds);
    assert_eq!(is.thresholds.unknown.n, 12);
    assert_eq!(is.audit.len(), 1);
    let entry = &is.audit[0];
    assert!(entry.unix.is_some() && entry.action.contains("12 good images"));
    for threshold in [&was.thresholds, &is.thresholds].map(|t| t.unknown.threshold) {
        let shown = threshold.to_string();
        assert!(entry.action.contains(&shown), "{shown}: {}", entry.action);
    }
    // All else is as it was, and the goods that it was calibrated on pass.
    assert_eq!(was.method, is.method);
    assert_eq!(was.training, is.training);
    let mut inspector = Inspector::new(&after, &Threads::default()).expect("usable");
    for i in 0..12 {
        let path = bench.at("another day").join(format!("{i:03}.png"));
        let frame = read_frame(&path).expect("image");
        let inspection = inspector.inspect(&frame).expect("a score");
        assert_eq!(inspection.verdict, Verdict::Ok, "{}", path.display());
        assert_eq!(inspection.verdict, is.thresholds.verdict(inspection.score));
    }
}

#[test]
fn thresholds_by_hand_need_a_reason_and_decide() {
    let bench = Bench::new();
    goods(&bench.at("parts"), 1, 0, 6);
    let (old, new) = (bench.at("old.pgp"), bench.at("new.pgp"));
    fit(&bench.at("parts"), &old, &[]).exits(0);
    let (old, new_text) = (text(&old), text(&new));
    let by_hand = ["calibrate", &old, "-o", &new_text, "--set-unknown", "0.5"];
    train(&by_hand).exits(2).tells("--reason");
    assert!(!new.exists());
    let reasoned = [&by_hand[..], &["--reason", "trial on line 3"]].concat();
    train(&[&reasoned[..], &["--set-ng", "0.25"]].concat())
        .exits(3)
        .tells("unknown 0.5 <= ng 0.25");
    assert!(!new.exists());
    train(&reasoned).exits(0);
    let product = Product::open(&new).expect("bundle");
    let manifest = product.manifest();
    assert_eq!(manifest.thresholds.unknown.threshold, 0.5);
    assert_eq!(manifest.thresholds.unknown.method, BoundMethod::Manual);
    assert!(manifest.audit[0].action.contains("trial on line 3"));
    // Every part is further from the bank than 0.5: the gate now rejects even good ones.
    let mut inspector = Inspector::new(&product, &Threads::default()).expect("usable");
    let frame = read_frame(&bench.at("parts/000.png")).expect("image");
    let inspection = inspector.inspect(&frame).expect("a score");
    assert_ne!(inspection.verdict, Verdict::Ok);
    // A threshold that lets everything pass is refused, unless somebody insists.
    let high = [
        "calibrate",
        &old,
        "-o",
        &new_text,
        "--set-unknown",
        "1e9",
        "--reason",
        "x",
    ];
    if Product::open(&bench.at("old.pgp"))
        .expect("bundle")
        .manifest()
        .goldens
        .iter()
        .any(|g| g.kind == partgate::product::GoldenKind::Damaged && g.verdict != Verdict::Ok)
    {
        train(&high).exits(3).tells("--force");
    }
    train(&[&high[..], &["--force"]].concat()).exits(0);
    // And the self-test expects just that.
    let goldens = inspector.selftest(&product).expect("goldens");
    assert!(goldens.iter().all(|g| g.agrees && g.verdict != Verdict::Ok));
    train(&["calibrate", &old, "-o", &new_text])
        .exits(2)
        .tells("--goods");
}

#[test]
fn the_images_of_the_fit_cannot_calibrate_it() {
    let bench = Bench::new();
    goods(&bench.at("parts"), 1, 0, 4);
    copy(&bench.at("parts"), &bench.at("the same again"));
    let (old, new) = (bench.at("old.pgp"), bench.at("new.pgp"));
    fit(&bench.at("parts"), &old, &[]).exits(0);
    for folder in ["parts", "the same again"] {
        let goods = text(&bench.at(folder));
        let (old, new) = (text(&old), text(&new));
        train(&["calibrate", &old, "--goods", &goods, "-o", &new])
            .exits(3)
            .tells("the images of the fit")
            .tells(folder);
    }
    assert!(!new.exists());
}
