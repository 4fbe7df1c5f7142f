//! `score` says where the defects are, in pixels of the picture, and writes tables and maps that
//! others can read.

#![allow(clippy::expect_used, clippy::panic)]

mod bundle;
mod command;

use command::{Bench, field, number, partgate, text};
use partgate::frame::file::read_frame;
use partgate::inspection::Inspector;
use partgate::network::Threads;
use partgate::product::Product;
use partgate::simulation::part::Renderer;
use serde_json::Value;
use std::path::Path;

/// The numbers of a list.
fn list(value: &Value) -> Vec<f64> {
    let values = value.as_array().expect("a list").iter();
    values.map(|v| v.as_f64().expect("a number")).collect()
}

/// A bundle whose lower threshold lies between the score of the picture and the lowest of its map, so
/// that it has defects which are not the whole picture; and the score.
fn touchy(bench: &Bench, picture: &Path) -> (String, f32) {
    let bytes = bundle::with_thresholds(1e6, 1e6);
    let (score, low) = map_of(&bench.write("plain.pgp", &bytes), picture, |map| {
        map.iter().copied().fold(f32::INFINITY, f32::min)
    });
    let limit = score - 0.2 * (score - low);
    let bytes = bundle::with_thresholds(limit, limit + 0.5 * (score - limit));
    (text(&bench.write("touchy.pgp", &bytes)), score)
}

fn map_of<T>(bundle: &Path, picture: &Path, of: impl FnOnce(&[f32]) -> T) -> (f32, T) {
    let product = Product::open(bundle).expect("a bundle");
    let mut inspector = Inspector::new(&product, &Threads::default()).expect("loads");
    let frame = read_frame(picture).expect("a picture");
    let score = inspector.inspect(&frame).expect("inspected").score;
    (score, of(inspector.map()))
}

#[test]
fn defects_are_boxes_areas_and_peaks_in_the_picture() {
    let bench = Bench::new();
    let picture = bench.at("part.png");
    bundle::save(&Renderer::new(1).good(70_001), &picture);
    let (width, height) = image::image_dimensions(&picture).expect("a picture");
    let (bundle, score) = touchy(&bench, &picture);
    let line = &partgate(&["score", &bundle, &text(&picture)])
        .exits(0)
        .lines()[0];
    assert_eq!(line["verdict"], "NG", "{line}");
    let defects = line["defects"].as_array().expect("defects");
    assert!(!defects.is_empty(), "{line}");
    // The highest is the score's, and lies where the map's maximum lies.
    assert!((number(&defects[0], "score") - f64::from(score)).abs() < 1e-4);
    let (_, at) = map_of(Path::new(&bundle), &picture, |map| {
        let highest = map.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        highest.expect("a map").0
    });
    let side = 128;
    let pixel = list(field(line, "map.pixel"));
    assert_eq!(pixel, [f64::from(width) / 128.0, f64::from(height) / 128.0]);
    let place = [at % side, at / side];
    let peak = list(&defects[0]["peak"]);
    for i in 0..2 {
        let want = ((place[i] as f64 + 0.5) * pixel[i]).floor();
        assert_eq!(peak[i], want, "{line}");
    }
    let mut last = f64::INFINITY;
    for defect in defects {
        let (bounds, peak) = (list(&defect["box"]), list(&defect["peak"]));
        let ends = [bounds[0] + bounds[2], bounds[1] + bounds[3]];
        assert!(ends[0] <= f64::from(width) && ends[1] <= f64::from(height));
        for i in 0..2 {
            assert!(bounds[i] <= peak[i] && peak[i] < ends[i], "{defect}");
        }
        let area = number(defect, "area");
        assert!(
            area > 0.0 && area <= bounds[2] * bounds[3] + 0.1,
            "{defect}"
        );
        let score = number(defect, "score");
        assert!(score > number(line, "map.limit") && score <= last, "{line}");
        last = score;
        let want = if score > number(line, "threshold") {
            "NG"
        } else {
            "UNKNOWN"
        };
        assert_eq!(defect["verdict"], want);
    }
    // How coarse all this is.
    assert!(
        list(field(line, "map.cell"))
            .iter()
            .all(|&side| side >= 8.0)
    );
    assert_eq!(number(line, "map.limit"), number(line, "unknown_threshold"));
    // Nothing is a defect of a part that is OK.
    let lenient = text(&bench.at("plain.pgp"));
    let line = &partgate(&["score", &lenient, &text(&picture)])
        .exits(0)
        .lines()[0];
    assert_eq!(
        (&line["verdict"], &line["defects"]),
        (&"OK".into(), &Value::Array(vec![]))
    );
}

#[test]
fn the_table_has_a_row_per_image_also_for_those_that_fail() {
    let bench = Bench::new();
    let picture = bench.at("in/part, \"1\".png");
    std::fs::create_dir_all(bench.at("in")).expect("folder");
    bundle::save(&Renderer::new(1).good(70_001), &picture);
    bench.write("in/z.png", b"broken");
    let (bundle, _) = touchy(&bench, &picture);
    let table = bench.at("new/scores.csv");
    let run = |table: &Path| {
        let arguments = [
            "score",
            &bundle,
            &text(&bench.at("in")),
            "--csv",
            &text(table),
        ];
        partgate(&arguments)
    };
    let ran = run(&table).exits(3).tells("was not there and was made");
    let lines = ran.lines();
    let text_of = std::fs::read_to_string(&table).expect("a table");
    let rows: Vec<&str> = text_of.lines().collect();
    assert_eq!(rows.len(), 3, "{text_of}");
    let heads: Vec<&str> = rows[0].split(',').collect();
    assert_eq!(heads.len(), 15);
    let quoted = format!("\"{}\"", text(&picture).replace('"', "\"\""));
    let rest: Vec<&str> = rows[1]
        .strip_prefix(&quoted)
        .expect("quoted")
        .split(',')
        .collect();
    assert_eq!(rest.len(), 15);
    assert_eq!(rest[1], "NG");
    let as_number = |at: usize| rest[at].parse::<f64>().expect("a number");
    assert!((as_number(2) - number(&lines[0], "score")).abs() < 1e-6);
    let highest = &lines[0]["defects"][0];
    let bounds = list(&highest["box"]);
    assert_eq!([7, 8, 9, 10].map(as_number).to_vec(), bounds);
    assert_eq!([12, 13].map(as_number).to_vec(), list(&highest["peak"]));
    assert!(rows[2].contains("z.png,UNKNOWN,,,"), "{}", rows[2]);
    assert!(rows[2].contains("not a readable image"), "{}", rows[2]);
    // A second run takes its place; nothing else is overwritten.
    run(&table).exits(3);
    run(&bench.at("in")).exits(3).tells("a folder");
    run(&picture).exits(3).tells("read by the same command");
    assert!(image::open(&picture).is_ok());
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&table, bench.at("link.csv")).expect("link");
        run(&bench.at("link.csv")).exits(3).tells("a link");
        run(Path::new("/dev/null")).exits(3).tells("a device");
    }
}

#[test]
fn maps_are_written_with_their_scale() {
    let bench = Bench::new();
    let picture = bench.at("part.png");
    bundle::save(&Renderer::new(1).good(70_001), &picture);
    let (bundle, score) = touchy(&bench, &picture);
    let maps = text(&bench.at("maps"));
    let score_with = |more: &[&str]| {
        let mut arguments = vec!["score", &bundle];
        let picture = text(&picture);
        arguments.push(&picture);
        arguments.extend(["--maps", &maps]);
        arguments.extend(more);
        partgate(&arguments).exits(0).lines().remove(0)
    };
    let line = score_with(&[]);
    assert_eq!(number(&line, "map.scale"), 1.0);
    let bytes = std::fs::read(field(&line, "map.file").as_str().expect("file")).expect("read");
    let values = &bytes[bytes.len() - 4 * 128 * 128..];
    let values = values
        .as_chunks::<4>()
        .0
        .iter()
        .map(|b| f32::from_le_bytes(*b));
    let (_, whole) = map_of(Path::new(&bundle), &picture, <[f32]>::to_vec);
    assert_eq!(values.collect::<Vec<_>>(), whole);

    let line = score_with(&["--map-format", "png"]);
    let scale = number(&line, "map.scale");
    let file = field(&line, "map.file").as_str().expect("file");
    let levels = image::open(file).expect("a picture").into_luma16();
    let highest = levels.iter().copied().max().expect("pixels");
    assert!((f64::from(highest) - f64::from(score) * scale).abs() <= 0.51);
    assert!((number(&line, "threshold") * scale - 10_000.0).abs() < 0.1);

    let beside = text(bench.folder.path());
    let picture = text(&picture);
    let run = partgate(&["score", &bundle, &picture, "--maps", &beside]);
    run.exits(3).tells("choose another --maps");
}

#[test]
fn an_overlay_has_the_aspect_of_its_picture() {
    let bench = Bench::new();
    for (name, width, height, shown) in [
        ("wide", 500, 60, (500, 60)),
        ("large", 2000, 400, (1600, 320)),
    ] {
        let picture = bench.at(&format!("{name}.png"));
        image::GrayImage::from_fn(width, height, |x, y| image::Luma([(x * 7 + y) as u8]))
            .save(&picture)
            .expect("save");
        let out = text(&bench.at("out"));
        let ran = partgate(&["score", &bench.bundle(), &text(&picture), "--out", &out]).exits(0);
        let overlay = field(&ran.lines()[0], "overlay")
            .as_str()
            .expect("a file")
            .to_owned();
        assert_eq!(image::image_dimensions(overlay).expect("a picture"), shown);
    }
}
