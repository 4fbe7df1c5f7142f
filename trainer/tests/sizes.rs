//! What `fit --size WxH` and `--aspect keep` promise: an input of the picture's own aspect, through
//! fit, bundle and inspection, and width and height never exchanged.

#![allow(clippy::expect_used, clippy::panic)]

mod fixtures;

use fixtures::{
    Bench, Ran, SHORT, assert_selftest, data_set, fit_with, goods, inspector, left_half_black,
    opened, text, validate,
};
use partgate::backbone::{Rect, Threads};
use partgate::frame::file::read_frame;
use partgate::frame::{Frame, Pixels};
use partgate::inspection::Inspector;
use partgate::seed::Rng;
use partgate::simulation::part::Defect;
use partgate::size::Size;
use partgate::view::NetworkView;
use serde_json::Value;
use std::path::Path;

/// A quick fit; `more` names the size.
fn fit(folder: &Path, bundle: &Path, more: &[&str]) -> Ran {
    let method = ["--method", "patchcore"];
    let usual = if more.contains(&method[0]) {
        &[][..]
    } else {
        &method
    };
    fit_with(
        folder,
        bundle,
        &[&["--min-bank", "128"], usual, more].concat(),
    )
}

#[test]
fn every_rule_inspects_at_the_given_width_and_height_as_it_was_fitted() {
    let bench = Bench::new();
    data_set(&bench.at("set"), 1, 10, &[Defect::Scratch, Defect::Stain]);
    let mask = bench.at("mask.png");
    left_half_black(&mask);
    let mask = text(&mask);
    for (rule, more) in [
        ("patchcore", &["--mask", &mask][..]),
        ("coverage", &["--refine", "on"]),
        ("pni", &["--member", "size=224x128"]),
        ("position", &["--crop", "128x96"]),
    ] {
        let bundle = bench.at(&format!("{rule}.pgp"));
        let given = ["--method", rule, "--size", "160x96"];
        fit(
            &bench.at("set"),
            &bundle,
            &[&given, &SHORT[..], more].concat(),
        )
        .exits(0);
        let product = opened(&bundle);
        let size = if rule == "position" {
            Size::new(128, 96)
        } else {
            Size::new(160, 96)
        };
        let manifest = product.manifest();
        assert_eq!((manifest.input.size(), product.format()), (size, 4));
        // The blur goes with the side of the square of as many pixels.
        let sigma = manifest.method.sigma * 60.0;
        assert!((sigma * sigma - size.area() as f32).abs() < 1.0, "{sigma}");
        if let Some(near) = &manifest.method.neighbourhood {
            assert_eq!(near.shape.grid, size.map(|side| side / 8));
        }
        if let Some(other) = manifest.others.first() {
            assert_eq!(other.input.size(), Size::new(224, 128));
        }
        assert_selftest(&product, 4);

        // Inspection here, by any number of threads, is what validation found.
        let scores = bench.at("scores.jsonl");
        let (scores, report) = (text(&scores), text(&bench.at("report.html")));
        validate(
            &bench.at("set"),
            &bundle,
            &["--scores", &scores, "--report", &report],
        )
        .exits(0);
        let two = Threads::new(2).expect("threads");
        let mut here = [
            inspector(&product),
            Inspector::new(&product, &two).expect("a usable bundle"),
        ];
        let lines = std::fs::read_to_string(&scores).expect("scores");
        assert_eq!(lines.lines().count(), 8);
        for line in lines.lines() {
            let line: Value = serde_json::from_str(line).expect("a JSON line");
            let frame = read_frame(Path::new(line["path"].as_str().expect("path"))).expect("image");
            for inspector in &mut here {
                let score = inspector.inspect(&frame).expect("a score").score;
                assert_eq!(
                    f64::from(score) as f32,
                    line["score"].as_f64().expect("score") as f32
                );
                assert_eq!(inspector.map().len(), size.area());
                if rule == "patchcore" {
                    let rows = inspector.map().chunks_exact(size.width);
                    assert!(
                        rows.map(|row| &row[..70])
                            .all(|left| left.iter().all(|&v| v == 0.0))
                    );
                }
            }
        }
    }
}

/// A woven strip, `[height, width]` grey, with a dark spot around `spot`.
fn strip(seed: u64, spot: Option<(usize, usize)>) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    let phase = rng.below(12);
    (0..STRIP.area())
        .map(|i| {
            let (x, y) = (i % STRIP.width, i / STRIP.width);
            let thread = if (x + phase) / 3 % 2 == y / 3 % 2 {
                150
            } else {
                110
            };
            let near = spot.is_some_and(|(sx, sy)| x.abs_diff(sx) < 7 && y.abs_diff(sy) < 7);
            let grey = if near { 20 } else { thread };
            grey + rng.below(8) as u8
        })
        .collect()
}

const STRIP: Size = Size::new(64, 1024);

fn turned(values: &[u8]) -> Vec<u8> {
    (0..STRIP.area())
        .map(|i| values[i % STRIP.height * STRIP.width + i / STRIP.height])
        .collect()
}

fn save_grey(values: Vec<u8>, size: Size, path: &Path) {
    std::fs::create_dir_all(path.parent().expect("parent")).expect("folder");
    image::GrayImage::from_raw(size.width as u32, size.height as u32, values)
        .expect("a whole picture")
        .save(path)
        .expect("write");
}

#[test]
fn a_strip_is_inspected_at_its_own_aspect_lying_or_standing() {
    let bench = Bench::new();
    for i in 0..8 {
        let name = format!("{i}.png");
        let standing = strip(i, None);
        save_grey(
            turned(&standing),
            STRIP.transposed(),
            &bench.at("lying").join(&name),
        );
        save_grey(standing, STRIP, &bench.at("standing").join(&name));
    }
    let (x, y) = (19, 801);
    let defective = strip(99, Some((x, y)));
    for (way, size, pixels, place) in [
        ("standing", STRIP, defective.clone(), (x, y)),
        ("lying", STRIP.transposed(), turned(&defective), (y, x)),
    ] {
        let bundle = bench.at(&format!("{way}.pgp"));
        let more = ["--aspect", "keep", "--size", "256"];
        fit(&bench.at(way), &bundle, &more).exits(0);
        let product = opened(&bundle);
        let input = &product.manifest().input;
        assert_eq!((input.size(), input.resize), (size, size));
        assert_eq!(product.bank().dimensions(), 152);
        assert_selftest(&product, 4);
        let mut inspector = inspector(&product);
        let frame = Frame::new(size.width, size.height, Pixels::Gray8(pixels)).expect("frame");
        let found = inspector.inspect(&frame).expect("a score");
        assert!(found.score > product.manifest().thresholds.ng.threshold);
        let map = inspector.map();
        let highest = (0..map.len()).max_by(|&a, &b| map[a].total_cmp(&map[b]));
        let at = highest.expect("a pixel");
        let at = (at % size.width, at / size.width);
        assert!(
            at.0.abs_diff(place.0) < 16 && at.1.abs_diff(place.1) < 16,
            "{way}: the spot at {place:?} was found at {at:?}"
        );
        let view = NetworkView::new(input.clone())
            .picture(&frame)
            .expect("a view");
        assert_eq!(view.len(), 3 * size.area());
        // The other way round is another view.
        let manifest = product.manifest();
        assert!(manifest.expects_size(size.width, size.height));
        assert!(!manifest.expects_size(size.height, size.width));
    }
}

#[test]
fn the_aspect_kept_is_that_of_the_region() {
    let bench = Bench::new();
    goods(&bench.at("parts"), 1, 0, 6);
    let size = |name: &str, more: &[&str]| {
        let bundle = bench.at(&format!("{name}.pgp"));
        let given = ["--aspect", "keep", "--size", "160"];
        let ran = fit(&bench.at("parts"), &bundle, &[&given, more].concat()).exits(0);
        (opened(&bundle).manifest().input.clone(), ran.stderr)
    };
    // Pictures of 320 x 256.
    let (whole, told) = size("whole", &[]);
    assert_eq!(whole.size(), Size::new(160, 128));
    assert!(!told.contains("another aspect"), "{told}");
    let (region, _) = size("region", &["--roi", "10,10,60,240"]);
    assert_eq!(region.size(), Size::new(96, 352));
    let roi = Rect {
        x: 10,
        y: 10,
        width: 60,
        height: 240,
    };
    assert_eq!(region.roi, Some(roi));
    // Two of eight are of another aspect: all become the median's, and the user is told.
    for (name, grey) in [("x.png", 90), ("y.png", 190)] {
        save_grey(
            vec![grey; 100 * 300],
            Size::new(100, 300),
            &bench.at("parts").join(name),
        );
    }
    // Pictures of something else lift the threshold over all damage.
    let (mixed, told) = size("mixed", &["--force"]);
    assert_eq!(mixed.size(), Size::new(160, 128));
    assert!(
        told.contains("2 of 8 good images have another aspect"),
        "{told}"
    );
}

/// A square by name is a square as it ever was.
#[test]
fn both_sides_alike_are_one_number() {
    let bench = Bench::new();
    goods(&bench.at("parts"), 1, 0, 6);
    let bytes = |run: &str, size: &[&str]| {
        let bundle = bench.at(run).join("part.pgp");
        fit(&bench.at("parts"), &bundle, size).exits(0);
        std::fs::read(bundle).expect("bundle")
    };
    let one = bytes("1", &["--size", "128"]);
    assert!(one == bytes("2", &["--size", "128x128", "--crop", "128x128"]));
    assert_eq!(one[8..12], 4u32.to_le_bytes());
}

const PLATE: Size = Size::new(1024, 768);

/// A plate with rows of printed dots that lie a little differently each time, `[height, width]` grey;
/// with a speck near `spot`.
fn plate(seed: u64, spot: Option<(usize, usize)>) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    let (left, top) = (rng.below(PITCH), rng.below(PITCH));
    // Between four printed dots.
    let between = |at: usize, offset: usize| at - (at + offset) % PITCH;
    let spot = spot.map(|(x, y)| (between(x, left), between(y, top)));
    let near = |at: usize, offset: usize| {
        let in_cell = (at + offset) % PITCH;
        in_cell.abs_diff(PITCH / 2)
    };
    (0..PLATE.area())
        .map(|i| {
            let (x, y) = (i % PLATE.width, i / PLATE.width);
            let (dx, dy) = (near(x, left), near(y, top));
            let printed = dx * dx + dy * dy < DOT * DOT;
            let extra = spot.is_some_and(|(sx, sy)| {
                let (dx, dy) = (x.abs_diff(sx), y.abs_diff(sy));
                dx * dx + dy * dy < DOT * DOT
            });
            let grey = match (extra, printed) {
                (true, _) => 20,
                (_, true) => 105,
                _ => 130,
            };
            grey + rng.below(12) as u8
        })
        .collect()
}

/// Pixels from dot to dot, and half of a dot's side.
const PITCH: usize = 24;
const DOT: usize = 4;

/// Defects of eight pixels: the usual input shows two by two of each.
#[test]
fn a_large_input_finds_what_the_usual_one_cannot_show() {
    let bench = Bench::new();
    for i in 0..4 {
        let path = bench.at("goods").join(format!("{i}.png"));
        save_grey(plate(i, None), PLATE, &path);
    }
    let spots = [(412, 333), (803, 570), (95, 701)];
    for (size, finds) in [("256", false), ("1024x768", true)] {
        let bundle = bench.at(&format!("{size}.pgp"));
        let quick = [
            "--partitions",
            "1",
            "--folds",
            "2",
            "--max-bank",
            "256",
            "--force",
        ];
        fit(
            &bench.at("goods"),
            &bundle,
            &[&["--size", size], &quick[..]].concat(),
        )
        .exits(0);
        let product = opened(&bundle);
        assert_selftest(&product, 4);
        let mut inspector = inspector(&product);
        let threshold = product.manifest().thresholds.unknown.threshold;
        let mut score = |pixels: Vec<u8>| {
            let frame = Frame::new(PLATE.width, PLATE.height, Pixels::Gray8(pixels));
            let frame = frame.expect("frame");
            let score = inspector.inspect(&frame).expect("a score").score;
            let map = inspector.map();
            let highest = (0..map.len()).max_by(|&a, &b| map[a].total_cmp(&map[b]));
            (score, highest.expect("a pixel"))
        };
        assert!(
            score(plate(50, None)).0 <= threshold,
            "{size}: a good plate"
        );
        let input = product.manifest().input.size();
        let mut escapes = 0;
        for (x, y) in spots {
            let (score, at) = score(plate(60 + x as u64, Some((x, y))));
            if score <= threshold {
                escapes += 1;
                continue;
            }
            let found = (
                at % input.width * PLATE.width / input.width,
                at / input.width * PLATE.height / input.height,
            );
            assert!(
                !finds || (found.0.abs_diff(x) < 40 && found.1.abs_diff(y) < 40),
                "the speck near {x}, {y} was found at {found:?}"
            );
        }
        assert_eq!(escapes == 0, finds, "{size}: {escapes} of 3 specks pass");
    }
}
