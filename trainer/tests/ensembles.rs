//! What `fit --member` promises: members fitted as if each were alone, joined by constants that no
//! inspected part can move, thresholds of what they say together, and a board that says the same.

#![allow(clippy::expect_used, clippy::panic)]

mod fixtures;

use fixtures::{
    Bench, SHORT, assert_selftest, copy, data_set, fit, fit_with, goods, inspector,
    left_half_black, opened, own_network, save, text, train, validate,
};
use partgate::backbone::Threads;
use partgate::frame::file::read_frame;
use partgate::inspection::Inspector;
use partgate::product::{Product, SectionKind};
use partgate::simulation::part::{Defect, Renderer};
use partgate::size::Size;
use serde_json::Value;
use std::path::Path;

/// Gives the description of a network another name.
fn named(spec: &mut Value) {
    spec["name"] = "of-our-own".into();
}

#[test]
fn three_members_are_one_product_that_inspects_as_validation_did() {
    let bench = Bench::new();
    data_set(&bench.at("set"), 1, 10, &[Defect::Scratch, Defect::Stain]);
    let own = format!("backbone={},size=96", text(&own_network(&bench, named)));
    let members = ["--member", "size=160", "--member", &own];
    for (method, refine) in [("patchcore", "off"), ("coverage", "on")] {
        let bundle = bench.at(&format!("{method}.pgp"));
        let more = ["--method", method, "--refine", refine, "--json"];
        let outcome = fit(
            &bench.at("set"),
            &bundle,
            &[&more[..], &members, &SHORT].concat(),
        )
        .exits(0)
        .json();
        let product = opened(&bundle);
        let manifest = product.manifest();
        let members = product.members().iter();
        let sides: Vec<usize> = members.map(|m| m.input().size().width).collect();
        assert_eq!(sides, [128, 160, 96]);
        assert_eq!(manifest.others[1].backbone.name, "of-our-own");
        assert_eq!(manifest.member_scales.len(), 3);

        // The report says what the bundle does, and what the members gain by each other.
        let ensemble = &outcome["ensemble"];
        for (index, scale) in manifest.member_scales.iter().enumerate() {
            let member = &ensemble["members"][index];
            assert_eq!(member["scale"].as_f64().expect("scale") as f32, *scale);
            assert_eq!(member["side"], sides[index]);
            assert!(member["separation"]["copies"].as_u64().expect("copies") > 0);
        }
        let separation = |of: &Value| of["separation"]["shortfall"].as_f64().expect("shortfall");
        let together = separation(ensemble);
        let alone = ensemble["members"].as_array().expect("members").iter();
        let best = alone.map(separation).fold(f64::INFINITY, f64::min);
        let better = ensemble["better"].as_bool().expect("a verdict");
        assert_eq!(better, together <= best - 0.002, "{together} {best}");

        // The goldens were inspected by all members, here as there.
        let mut here = inspector(&product);
        assert_selftest(&product, 4);

        // And so were the test images, by any number of threads.
        let scores = bench.at("scores.jsonl");
        let report = bench.at("report.html");
        let pages = [&scores, &report].map(|p| text(p));
        let more = ["--scores", &pages[0], "--report", &pages[1]];
        let ran = validate(&bench.at("set"), &bundle, &more).exits(0);
        assert!(ran.stdout.contains("3 members"), "{}", ran.stdout);
        let page = std::fs::read_to_string(report).expect("page");
        assert!(page.contains("of-our-own at 96 pixels"));
        let two = Threads::new(2).expect("threads");
        let mut two = Inspector::new(&product, &two).expect("a usable bundle");
        let lines = std::fs::read_to_string(&scores).expect("scores");
        assert_eq!(lines.lines().count(), 8);
        for line in lines.lines() {
            let line: Value = serde_json::from_str(line).expect("a JSON line");
            let frame = read_frame(Path::new(line["path"].as_str().expect("path"))).expect("image");
            let found = [&mut here, &mut two].map(|i| i.inspect(&frame).expect("a score"));
            let there = line["score"].as_f64().expect("score") as f32;
            assert_eq!([found[0].score, found[1].score], [there; 2], "{method}");
            assert_eq!(line["verdict"], found[0].verdict.to_string());
            // The plain bank beside it is inspected by thresholds of its own.
            assert!(line["baseline_score"].as_f64().expect("score") > 3.0 * f64::from(there));
        }
    }
}

#[test]
fn threads_and_cache_change_no_byte_of_an_ensemble() {
    let bench = Bench::new();
    goods(&bench.at("parts"), 1, 0, 8);
    let cache = text(&bench.at("cache"));
    // With everything that is drawn at random: the choice, both networks, damaged copies.
    let fitted = |run: &str, more: &[&str]| {
        let bundle = bench.at(run).join("part.pgp");
        let sizes = ["--size", "96", "--member", "size=64", "--min-bank", "64"];
        let all = [&sizes[..], &SHORT, &["--method", "auto", "--json"], more];
        let ran = fit_with(&bench.at("parts"), &bundle, &all.concat()).exits(0);
        (std::fs::read(bundle).expect("bundle"), ran.json())
    };
    let (first, _) = fitted("1", &["--threads", "1"]);
    let (second, outcome) = fitted("2", &["--threads", "2", "--cache", &cache]);
    assert!(first == second, "threads");
    assert_eq!(outcome["ensemble"]["members"][1]["cached_images"], 0);
    let (third, outcome) = fitted("3", &["--threads", "2", "--cache", &cache]);
    assert!(first == third, "cache");
    for member in 0..2 {
        assert_eq!(outcome["ensemble"]["members"][member]["cached_images"], 8);
    }
    // The order of the members is part of the product: maps are drawn at the first one's size.
    let swapped = bench.at("4/part.pgp");
    let larger = ["--member", "size=192"];
    fit(&bench.at("parts"), &swapped, &larger).exits(0);
    assert_eq!(inspector(&opened(&swapped)).size(), Size::square(128));
}

/// What each member keeps is what it would keep as a product of its own.
/// Sections that belong to the product and not to a member.
const OF_ALL: [SectionKind; 4] = [
    SectionKind::GoldenImage,
    SectionKind::Operating,
    SectionKind::Inputs,
    SectionKind::Light,
];

#[test]
fn a_member_is_fitted_as_if_it_were_alone() {
    let bench = Bench::new();
    goods(&bench.at("parts"), 1, 0, 8);
    let coverage = [
        "--method",
        "coverage",
        "--density",
        "0.5",
        "--min-bank",
        "100",
    ];
    let fitted = |name: &str, more: &[&str]| {
        let bundle = bench.at(name);
        let all = [&coverage[..], &SHORT, more].concat();
        fit_with(&bench.at("parts"), &bundle, &all).exits(0);
        opened(&bundle)
    };
    let joined = fitted("joined.pgp", &["--size", "128", "--member", "size=160"]);
    for (index, size) in [(0u8, "128"), (1, "160")] {
        let alone = fitted("alone.pgp", &["--size", size]);
        let sections = |product: &Product, member: u8| -> Vec<(SectionKind, [u8; 32])> {
            let all = product.manifest().sections.iter();
            all.filter(|s| s.member == member && !OF_ALL.contains(&s.kind))
                .map(|s| (s.kind, s.blake3))
                .collect()
        };
        assert_eq!(sections(&joined, index), sections(&alone, 0));
        let method = joined.members()[usize::from(index)].method();
        assert_eq!(*method, alone.manifest().method);
    }
}

/// Held-out scores, from which the thresholds come, are the scores that an ensemble gives which
/// has not seen the image: with one image a fold, fitted without it and asked about it.
#[test]
fn thresholds_rest_on_parts_that_no_member_has_seen() {
    const IMAGES: u64 = 4;
    let bench = Bench::new();
    goods(&bench.at("parts"), 1, 0, IMAGES);
    let settings = |folds: &'static str| {
        let usual = [
            "--size",
            "96",
            "--member",
            "size=64",
            "--method",
            "patchcore",
        ];
        let more = [
            "--min-bank",
            "40",
            "--bank-ratio",
            "0.05",
            "--folds",
            folds,
            "--partitions",
            "1",
            "--unknown-rate",
            "1%",
            "--json",
        ];
        [&usual[..], &more].concat()
    };
    let bundle = bench.at("part.pgp");
    let outcome = fit_with(&bench.at("parts"), &bundle, &settings("4"))
        .exits(0)
        .json();
    let manifest = opened(&bundle).manifest().clone();
    let scores: Vec<f32> = outcome["held_out_scores"]
        .as_array()
        .expect("scores")
        .iter()
        .map(|s| s.as_f64().expect("score") as f32)
        .collect();
    for (held, expected) in scores.iter().enumerate() {
        let others = bench.at(&format!("without {held}"));
        copy(&bench.at("parts"), &others);
        let name = format!("{held:03}.png");
        std::fs::remove_file(others.join(&name)).expect("remove");
        let without = bench.at("without.pgp");
        fit_with(&others, &without, &settings("2")).exits(0);
        // Its own scales are of three images; those of the whole fit are constants here.
        let without = opened(&without);
        let mut changed = without.manifest().clone();
        changed.member_scales.clone_from(&manifest.member_scales);
        let bytes = without.rewritten(changed).expect("write");
        let without = Product::from_bytes(bytes, "without").expect("a whole bundle");
        let frame = read_frame(&bench.at("parts").join(&name)).expect("image");
        let found = inspector(&without).inspect(&frame).expect("a score");
        assert_eq!(found.score, *expected, "image {held}");
    }
    let highest = scores.iter().copied().fold(0.0, f32::max);
    assert_eq!(manifest.thresholds.unknown.threshold, highest);
    assert_eq!(manifest.training.held_out[2], highest);
}

#[test]
fn a_crop_a_region_and_a_mask_are_the_same_for_all_members() {
    let bench = Bench::new();
    goods(&bench.at("parts"), 1, 0, 6);
    left_half_black(&bench.at("mask.png"));
    let mask = text(&bench.at("mask.png"));
    let bundle = bench.at("part.pgp");
    let view = ["--roi", "20,0,300,256", "--mask", &mask];
    let sizes = ["--size", "128", "--crop", "96", "--member", "size=256"];
    let more = ["--method", "position", "--min-bank", "100"];
    fit_with(
        &bench.at("parts"),
        &bundle,
        &[&view[..], &sizes, &more].concat(),
    )
    .exits(0);
    let product = opened(&bundle);
    let [first, second] = [0, 1].map(|i| product.members()[i].input().clone());
    assert_eq!(first.roi, second.roi);
    assert_eq!(
        (first.resize, first.crop),
        (Size::square(128), Size::square(96))
    );
    assert_eq!(
        (second.resize, second.crop),
        (Size::square(256), Size::square(192))
    );
    let mut inspector = inspector(&product);
    for golden in inspector.selftest(&product).expect("goldens") {
        assert_eq!(golden.score, golden.expected_score);
    }
    // What lies under the mask changes no member's mind much; beside it, it does.
    let blotched = |left: usize| {
        let mut part = Renderer::new(1).good(50);
        for y in 110..146 {
            for x in left..left + 36 {
                part.rgb[(y * part.width + x) * 3..][..3].copy_from_slice(&[255, 0, 255]);
            }
        }
        save(&part, &bench.at("blotched.png"));
        read_frame(&bench.at("blotched.png")).expect("image")
    };
    let mut score = |left| inspector.inspect(&blotched(left)).expect("a score").score;
    let (masked, seen) = (score(70), score(200));
    assert!(seen > 1.2 * masked, "{seen} {masked}");
}

#[test]
fn thresholds_of_another_day_are_those_of_all_members() {
    let bench = Bench::new();
    goods(&bench.at("parts"), 1, 0, 8);
    goods(&bench.at("tuesday"), 1, 500, 8);
    let [bundle, again] = ["part.pgp", "again.pgp"].map(|name| bench.at(name));
    fit(&bench.at("parts"), &bundle, &["--member", "size=96"]).exits(0);
    let paths = [&bundle, &bench.at("tuesday"), &again].map(|p| text(p));
    let outcome = train(&[
        "calibrate",
        &paths[0],
        "--goods",
        &paths[1],
        "-o",
        &paths[2],
        "--unknown-rate",
        "1%",
        "--json",
    ])
    .exits(0)
    .json();
    let mut inspector = inspector(&opened(&bundle));
    let mut highest = 0.0f32;
    for i in 0..8 {
        let frame = read_frame(&bench.at(&format!("tuesday/{i:03}.png"))).expect("image");
        highest = highest.max(inspector.inspect(&frame).expect("a score").score);
    }
    let product = opened(&again);
    assert_eq!(product.manifest().thresholds.unknown.threshold, highest);
    assert_eq!(outcome["images"], 8);
    assert_eq!(product.members().len(), 2);
}

#[test]
fn members_that_cannot_be_joined_are_refused_by_their_option() {
    let bench = Bench::new();
    goods(&bench.at("parts"), 1, 0, 3);
    let bundle = bench.at("part.pgp");
    let own = own_network(&bench, named);
    let own = format!("backbone={}", text(&own));
    let f32 = "backbone=efficientnet-lite0-f32";
    for (arguments, texts) in [
        (
            &[
                "--member", "size=96", "--member", "size=160", "--member", "size=192",
            ][..],
            &["--member is given 3 times", "4 members", "3"][..],
        ),
        (
            &["--member", "size=128"],
            &[
                "--member size=128",
                "--size and --backbone",
                "the same network",
            ],
        ),
        (
            &["--member", "size=96", "--member", "size=96"],
            &["the same size as --member size=96"],
        ),
        // Under another name it is the same network all the same.
        (&["--member", f32, "--member", &own], &["the same network"]),
        (
            &["--member", "size=100"],
            &["--member size=100", "multiple of 32"],
        ),
        (
            &["--crop", "96", "--member", "size=130"],
            &["--member size=130", "no whole number"],
        ),
        (
            &["--member", "backbone=gone.onnx"],
            &["--member backbone=gone.onnx", "reading"],
        ),
        (
            &["--member", "backbone=resnet9000,size=64"],
            &[
                "--member backbone=resnet9000,size=64",
                "efficientnet-lite0-int8",
            ],
        ),
    ] {
        let ran = fit(&bench.at("parts"), &bundle, arguments).exits(3);
        texts.iter().fold(ran, |ran, what| ran.tells(what));
        assert!(!bundle.exists());
    }
    let ran = fit(&bench.at("parts"), &bundle, &["--member", "side=96"]).exits(2);
    ran.tells("size=N");
}
