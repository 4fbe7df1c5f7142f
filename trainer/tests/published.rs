//! Published methods that a fit can be made of, and the background: they travel in the bundle, inspect
//! on the board as they did here, and are the same bytes every time.

#![allow(clippy::expect_used, clippy::panic)]

mod fixtures;

use fixtures::{Bench, SHORT, assert_selftest, fit, fit_with, goods, opened};
use partgate::backbone::{BackgroundFilter, Foreground};
use partgate::product::BankBytes;
use partgate::score::{Interpolation, PlaceWeights, Rule};

/// So few images and steps make no product that must reject anything.
const ONE_SPLIT: [&str; 3] = ["--partitions", "1", "--force"];

#[test]
fn n_pad_with_all_its_parts_is_one_bundle_for_any_number_of_threads() {
    let bench = Bench::new();
    goods(&bench.at("parts"), 1, 0, 10);
    let fitted = |run: &str, more: &[&str]| {
        let bundle = bench.at(run).join("part.pgp");
        let method = ["--method", "n-pad", "--channels", "12", "--vary", "shift=1"];
        let parts = [
            "--bank",
            "kmeans",
            "--neighbours",
            "3",
            "--top-pixels",
            "40",
        ];
        let ground = ["--background", "grey=60..255,radius=2,filter=mean"];
        let all = [&method[..], &parts, &ground, &ONE_SPLIT, &SHORT, more].concat();
        let ran = fit(&bench.at("parts"), &bundle, &all).exits(0);
        (std::fs::read(&bundle).expect("bundle"), bundle, ran)
    };
    let (first, path, ran) = fitted("1", &["--threads", "1", "--json"]);
    let (second, _, _) = fitted("2", &["--threads", "2"]);
    assert!(first == second, "threads");
    let (other, _, _) = fitted("3", &["--seed", "7"]);
    assert!(first != other, "the seed");
    let product = opened(&path);
    assert_eq!(product.format(), 5);
    let member = &product.members()[0];
    assert_eq!(member.method().rule, Rule::NPad);
    let scoring = member.scoring();
    assert_eq!((scoring.neighbours, scoring.top_pixels), (3, 40));
    let form = scoring.n_pad.expect("a form");
    assert_eq!((form.window, form.reach), (3, 3));
    assert_eq!(form.weights, PlaceWeights::Bhattacharyya);
    assert_eq!(product.bank().dimensions(), 12);
    let background = product.background().expect("a background");
    assert_eq!(background.filter, BackgroundFilter::Mean);
    assert!(matches!(background.foreground, Foreground::Range { low, .. } if low == [60.0; 3]));
    assert_selftest(&product, 4);
    let words = ran.json()["method"].to_string();
    for what in ["3 x 3 places", "2 nearest rows", "40 highest pixels"] {
        assert!(words.contains(what), "{what}: {words}");
    }
}

#[test]
fn a_bank_of_bytes_is_smaller_and_inspects_as_the_fit_did() {
    let bench = Bench::new();
    goods(&bench.at("parts"), 1, 0, 8);
    let fitted = |run: &str, more: &[&str]| {
        let bundle = bench.at(run).join("part.pgp");
        let plain = ["--method", "patchcore"];
        let all = [&plain[..], &ONE_SPLIT, &SHORT, more].concat();
        fit(&bench.at("parts"), &bundle, &all).exits(0);
        (std::fs::metadata(&bundle).expect("bundle").len(), bundle)
    };
    let (floats, first) = fitted("1", &[]);
    let (bytes, second) = fitted("2", &["--bank-type", "int8"]);
    let (before, after) = (opened(&first), opened(&second));
    let rows = before.bank().rows() as u64;
    assert_eq!(rows, after.bank().rows() as u64);
    let saved = rows * (3 * before.bank().dimensions() as u64 - 4);
    assert!(floats - bytes >= saved - 256, "{floats} {bytes}");
    assert_selftest(&after, 4);
    let dimensions = before.bank().dimensions();
    let rounded = BankBytes::of(before.bank().values(), dimensions);
    assert!(after.bank().values() == rounded.rows());
}

#[test]
fn glancing_travels_in_the_bundle_and_is_the_same_every_time() {
    let bench = Bench::new();
    goods(&bench.at("parts"), 1, 0, 8);
    let fitted = |run: &str, threads: &str| {
        let bundle = bench.at(run).join("part.pgp");
        let method = ["--method", "glancing", "--ring", "5", "--threads", threads];
        let all = [&method[..], &ONE_SPLIT, &SHORT].concat();
        fit(&bench.at("parts"), &bundle, &all).exits(0);
        (std::fs::read(&bundle).expect("bundle"), bundle)
    };
    let ((first, path), (second, _)) = (fitted("1", "1"), fitted("2", "2"));
    assert!(first == second, "threads");
    let product = opened(&path);
    let scoring = product.members()[0].scoring();
    let form = scoring.glancing.expect("a form");
    assert_eq!((form.weight, form.window, form.hole), (0.8, 5, 3));
    assert_eq!(scoring.interpolation, Interpolation::InverseDistance);
    assert_selftest(&product, 4);
}

/// An encoder of the user's own: the refinement takes its features on the board as in the fit.
#[test]
fn an_encoder_of_the_refinement_travels_in_the_bundle() {
    let bench = Bench::new();
    goods(&bench.at("parts"), 1, 0, 12);
    let bundle = bench.at("part.pgp");
    let refine = ["--method", "patchcore", "--refine", "on"];
    let encoder = ["--refine-encoder", "efficientnet-lite0-f32"];
    let all = [&refine[..], &encoder, &ONE_SPLIT, &SHORT].concat();
    fit(&bench.at("parts"), &bundle, &all).exits(0);
    let product = opened(&bundle);
    let member = &product.members()[0];
    // Damaged copies may ask for no refinement; then there is nothing to encode for.
    assert_eq!(
        member.encoder().map(|spec| spec.name.as_str()),
        member
            .method()
            .refinement
            .as_ref()
            .map(|_| "efficientnet-lite0-f32")
    );
    assert_selftest(&product, 4);
    fit_with(&bench.at("parts"), &bench.at("x.pgp"), &encoder)
        .exits(3)
        .tells("--refine on");
}

/// What a background changes is what the board sees: the same fit without it scores otherwise.
#[test]
fn a_learnt_background_is_part_of_the_product() {
    let bench = Bench::new();
    goods(&bench.at("parts"), 1, 0, 8);
    let fitted = |name: &str, more: &[&str]| {
        let bundle = bench.at(name);
        let all = [&["--method", "patchcore"][..], &ONE_SPLIT, &SHORT, more].concat();
        fit(&bench.at("parts"), &bundle, &all).exits(0);
        opened(&bundle)
    };
    let with = fitted("with.pgp", &["--background", "learnt"]);
    let without = fitted("without.pgp", &[]);
    let background = with.background().expect("a background");
    let Foreground::Unlike { colours, distance } = &background.foreground else {
        panic!("{background:?}");
    };
    assert!(!colours.is_empty() && *distance >= 10.0);
    assert!(without.background().is_none() && without.format() < 5);
    assert_selftest(&with, 4);
    let scores = |product: &partgate::product::Product| -> Vec<f32> {
        product.manifest().goldens.iter().map(|g| g.score).collect()
    };
    assert_ne!(scores(&with), scores(&without));
}

#[test]
fn what_does_not_go_together_is_refused_with_the_reason() {
    let bench = Bench::new();
    goods(&bench.at("parts"), 1, 0, 4);
    let cases: [(&[&str], &str); 10] = [
        (&["--neighbours", "3"], "--method names"),
        (
            &["--method", "gaussian", "--neighbours", "3"],
            "do not count",
        ),
        (&["--method", "patchcore", "--neighbours", "0"], "1 to 64"),
        (
            &["--method", "patchcore", "--top-pixels", "0"],
            "--top-pixels 0",
        ),
        (
            &["--method", "position", "--bank", "kmeans"],
            "no such order",
        ),
        (&["--method", "n-pad", "--pad-reach", "4"], "--pad-reach 4"),
        (
            &[
                "--method",
                "patchcore",
                "--principal",
                "4",
                "--channels",
                "4",
            ],
            "one map",
        ),
        (&["--method", "glancing", "--hole", "9"], "below the 9"),
        (&["--background", "learnt,grey=1..2"], "learnt"),
        (&["--preset", "pni", "--size", "96"], "--size"),
    ];
    for (options, named) in cases {
        let bundle = bench.at("x.pgp");
        // What the command line alone says is 2, what settings say of each other is 3.
        let code = if options[0] == "--background" || options[0] == "--preset" {
            2
        } else {
            3
        };
        fit_with(&bench.at("parts"), &bundle, options)
            .exits(code)
            .tells(named);
        assert!(!bundle.exists(), "{options:?}");
    }
}
