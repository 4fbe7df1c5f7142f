//! Every command does what its help states.

#![allow(clippy::expect_used, clippy::panic)]

mod bundle;
mod command;

use command::{Bench, Ran, field, number, partgate, program, text};
use partgate::frame::MAX_SIDE;
use partgate::simulation::part::Renderer;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

fn demo_bundle() -> String {
    text(&bundle::demo())
}

#[test]
fn help_tells_a_stranger_what_to_type_and_what_comes_back() {
    let top = partgate(&["--help"]).exits(0).stdout;
    for code in ["0  done", "2  wrong usage", "4  the bundle", "6  only with"] {
        assert!(top.contains(code), "{top}");
    }
    for command in [
        "demo", "score", "inspect", "diff", "selftest", "bench", "render",
    ] {
        assert!(top.contains(command));
        let help = partgate(&[command, "--help"]).exits(0).stdout;
        assert!(
            help.contains("Examples:") && help.contains("Exit codes:"),
            "{help}"
        );
        assert!(help.contains("--json"), "{help}");
    }
    assert!(
        partgate(&["--version"])
            .exits(0)
            .stdout
            .contains(partgate::VERSION)
    );
}

#[test]
fn wrong_usage_is_2() {
    partgate::<&str>(&[]).exits(2);
    partgate(&["nonsense"]).exits(2);
    partgate(&["score", "a.pgp"]).exits(2);
    partgate(&["bench", "a.pgp", "--runs", "0"]).exits(2);
    partgate(&["demo", "--threads", "0"]).exits(2);
}

#[test]
fn score_prints_a_line_for_every_image_of_every_format() {
    let bench = Bench::new();
    let part = Renderer::new(1).good(70_000);
    let (w, h) = (part.width as u32, part.height as u32);
    let rgb = image::RgbImage::from_raw(w, h, part.rgb.clone()).expect("image");
    let folder = bench.at("images/sub");
    std::fs::create_dir_all(&folder).expect("folder");
    for name in ["a.png", "b.jpg", "c.bmp", "d.tiff"] {
        rgb.save(folder.join(name)).expect("save");
    }
    let deep = image::DynamicImage::ImageRgb8(rgb.clone()).into_luma16();
    deep.save(folder.join("e.png")).expect("save");
    let grey = image::DynamicImage::ImageRgb8(rgb).into_luma8();
    grey.save(bench.at("single.png")).expect("save");
    std::fs::write(folder.join("notes.txt"), "not an image").expect("write");

    let out = bench.at("overlays");
    let run = |threads: &str| {
        let paths = [text(&bench.at("images")), text(&bench.at("single.png"))];
        let arguments = [
            "score",
            &bench.bundle(),
            &paths[0],
            &paths[1],
            "--out",
            &text(&out),
            "--threads",
            threads,
        ];
        partgate(&arguments).exits(0).lines()
    };
    let lines = run("1");
    assert_eq!(lines.len(), 6);
    for line in &lines {
        assert!(
            field(line, "path")
                .as_str()
                .expect("path")
                .contains(&text(bench.folder.path()))
        );
        assert!(number(line, "score") > 0.0);
        assert!(number(line, "threshold") >= number(line, "unknown_threshold"));
        assert!(
            ["OK", "NG", "UNKNOWN"].contains(&field(line, "verdict").as_str().expect("verdict"))
        );
        let stages = ["preprocess", "backbone", "aggregate", "nearest", "map"];
        let sum: f64 = stages
            .iter()
            .map(|s| number(line, &format!("ms.{s}")))
            .sum();
        assert!((number(line, "ms.total") - sum).abs() < 0.01, "{line}");
        assert!(number(line, "ms.decode") > 0.0);
        let overlay = Path::new(field(line, "overlay").as_str().expect("overlay"));
        let picture = image::open(overlay).expect("overlay");
        assert_eq!((picture.width(), picture.height()), (w, h));
    }
    // The same picture in three lossless formats: the same score.
    for i in [2, 3] {
        assert_eq!(lines[0]["score"], lines[i]["score"]);
    }
    let scores =
        |lines: &[Value]| -> Vec<Value> { lines.iter().map(|l| l["score"].clone()).collect() };
    assert_eq!(
        scores(&lines),
        scores(&run("2")),
        "scores depend on the threads"
    );
    assert_eq!(std::fs::read_dir(&out).expect("overlays").count(), 6);
}

#[test]
fn gate_is_6_when_an_inspectord_part_is_not_ok() {
    let bench = Bench::new();
    let highest = bundle::changed(bundle::small(), |m| {
        m.thresholds.unknown.threshold = 1e6;
        m.thresholds.ng.threshold = 1e6;
    });
    let lowest = bundle::changed(bundle::small(), |m| {
        m.thresholds.unknown.threshold = 0.0;
        m.thresholds.ng.threshold = 1e6;
    });
    let all_ok = text(&bench.write("ok.pgp", &highest));
    let all_unknown = text(&bench.write("unknown.pgp", &lowest));
    bundle::save(&Renderer::new(1).good(70_001), &bench.at("part.png"));
    let image = text(&bench.at("part.png"));
    let printed = partgate(&["score", &all_ok, &image, "--gate"]).exits(0);
    assert_eq!(printed.lines()[0]["verdict"], "OK");
    let printed = partgate(&["score", &all_unknown, &image, "--gate"]).exits(6);
    assert_eq!(printed.lines()[0]["verdict"], "UNKNOWN");
    partgate(&["score", &all_unknown, &image]).exits(0);
    // A part that could not be inspected decides the exit code before one with verdict NG.
    let gone = text(&bench.at("gone.png"));
    partgate(&["score", &all_unknown, &image, &gone, "--gate"]).exits(3);
}

#[test]
fn score_ends_quietly_when_its_reader_leaves() {
    let bench = Bench::new();
    bundle::save(&Renderer::new(1).good(70_002), &bench.at("part.png"));
    let image = text(&bench.at("part.png"));
    for (more, code) in [(None, 0), (Some("--gate"), 1)] {
        let mut arguments = vec!["score".to_string(), bench.bundle()];
        arguments.extend(std::iter::repeat_n(image.clone(), 60));
        arguments.extend(more.map(String::from));
        let mut child = program(&arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let mut first = String::new();
        let mut reader = BufReader::new(child.stdout.take().expect("pipe"));
        reader.read_line(&mut first).expect("a line");
        drop(reader);
        let ran = Ran::from(child.wait_with_output().expect("it ends")).exits(code);
        assert!(first.contains("\"score\""));
        assert_eq!(ran.stderr, "");
    }
}

#[test]
fn inspect_shows_what_matters() {
    let printed = partgate(&["inspect", &demo_bundle()]).exits(0).stdout;
    for word in [
        "UNSIGNED",
        "blake3",
        "Backbone",
        "Apache-2.0",
        "NG",
        "UNKNOWN",
        "Golden",
        "Sections",
    ] {
        assert!(printed.contains(word), "no `{word}` in {printed}");
    }
    let json = partgate(&["inspect", &demo_bundle(), "--json"])
        .exits(0)
        .json();
    assert_eq!(field(&json, "file.signature"), "unsigned");
    assert_eq!(
        field(&json, "file.blake3").as_str().expect("digest").len(),
        64
    );
    assert!(number(&json, "file.bytes") > 1e5);
    assert!(number(&json, "file.bank_rows") >= 1.0);
    assert!(number(&json, "thresholds.ng.threshold") > 0.0);
    assert!(field(&json, "name").is_string() && number(&json, "revision") >= 0.0);
    assert_eq!(
        field(&json, "training.digest")
            .as_str()
            .expect("digest")
            .len(),
        64
    );
    // The built-in product uses a backbone that is part of the release.
    assert_eq!(
        field(&json, "file.shipped_backbone"),
        field(&json, "backbone.name")
    );
}

/// Everything that decides about a part must be printed: conditions, factors, refinement, members.
#[test]
fn inspect_shows_what_conditions_a_product() {
    let golden = |name: &str| text(&bundle::root().join("tests/golden").join(name));
    let printed = partgate(&["inspect", &golden("format-2.pgp")])
        .exits(0)
        .stdout;
    for word in [
        "coverage",
        "position",
        "neighbours",
        "int8 network over 3 x 3 cells",
        "10 kinds of row",
        "distances",
        "refinement",
        "weight 0.375",
        "chosen",
        "rule pni",
        "Further member",
        "divided by 0.75",
        "the mean of 2 maps, the first one's divided by 1.5",
        "bank 2",
    ] {
        assert!(printed.contains(word), "no `{word}` in {printed}");
    }
    let json = partgate(&["inspect", &golden("format-2.pgp"), "--json"])
        .exits(0)
        .json();
    let near = "method.neighbourhood";
    assert_eq!(number(&json, &format!("{near}.threshold")), 0.125);
    assert_eq!(number(&json, &format!("{near}.shape.window")), 3.0);
    assert_eq!(field(&json, &format!("{near}.measure")), "ratio");
    assert_eq!(field(&json, "others")[0]["method"]["rule"], "pni");
    assert_eq!(number(&json, "file.format"), 2.0);
    // The members' times are in one table, with the name of each network.
    let printed = partgate(&["bench", &golden("format-2.pgp"), "--runs", "2"])
        .exits(0)
        .stdout;
    assert!(
        printed.contains(" px, bank of 24 rows + 32 px, bank of "),
        "{printed}"
    );
    assert_eq!(
        printed.matches("network            ").count(),
        2,
        "{printed}"
    );
    let json = partgate(&["bench", &golden("format-2.pgp"), "--runs", "2", "--json"])
        .exits(0)
        .json();
    assert_eq!(field(&json, "others")[0]["side"], 32);
    let further = &field(&json, "kernels.others")[0];
    assert!(field(further, "backbone.engine").is_string());
    // An older file keeps its own format in the output.
    let json = partgate(&["inspect", &golden("format-1.pgp"), "--json"])
        .exits(0)
        .json();
    assert_eq!(number(&json, "file.format"), 1.0);
    assert!(field(&json, near).is_null());
}

#[test]
fn what_runs_in_floats_is_refused_where_integers_are_required() {
    let golden = |name: &str| text(&bundle::root().join("tests/golden").join(name));
    let arguments = ["--runs", "2", "--require-integers", "--layers", "--json"];
    let bench = |name: &str| {
        let file = golden(name);
        let all: Vec<&str> = ["bench", &file].into_iter().chain(arguments).collect();
        partgate(&all)
    };
    // The first member of this one runs in integers, the second is an f32 file.
    let error = bench("format-2.pgp").exits(4).stderr;
    assert!(
        error.contains("does not run in integers") && error.contains("f32"),
        "{error}"
    );
    let json = bench("format-1.pgp").exits(0).json();
    let steps = field(&json, "layers.steps").as_array().expect("steps");
    assert!(steps.len() > 5, "{steps:?}");
    assert!(number(&json, "layers.peak_products_per_second") > 1e8);
    for step in steps.iter().filter(|s| number(s, "products") > 0.0) {
        let share = number(step, "share_of_peak");
        assert!(share > 0.0 && share < 1.5, "{step}");
    }
}

#[test]
fn diff_names_what_differs() {
    let bench = Bench::new();
    let other = bundle::changed(bundle::small(), |m| {
        m.revision += 1;
        m.thresholds.ng.threshold += 0.5;
    });
    let other = text(&bench.write("other.pgp", &other));
    let same = partgate(&["diff", &bench.bundle(), &bench.bundle()]).exits(0);
    assert!(same.stdout.contains("no differences"));
    let printed = partgate(&["diff", &bench.bundle(), &other]).exits(0).stdout;
    assert!(printed.contains("revision") && printed.contains("thresholds.ng.threshold"));
    assert!(
        printed.contains("  - 3\n") && printed.contains("  + 4\n"),
        "{printed}"
    );
    let json = partgate(&["diff", &bench.bundle(), &other, "--json"])
        .exits(0)
        .json();
    assert_eq!(field(&json, "identical"), false);
    let fields: Vec<&Value> = field(&json, "differences")
        .as_array()
        .expect("list")
        .iter()
        .map(|d| field(d, "field"))
        .collect();
    assert!(fields.contains(&&Value::from("revision")), "{fields:?}");
    let same = partgate(&["diff", &other, &other, "--json"])
        .exits(0)
        .json();
    assert_eq!(field(&same, "identical"), true);
}

#[test]
fn selftest_agrees_disagrees_and_wants_something_to_test_with() {
    let bench = Bench::new();
    let json = partgate(&["selftest", &demo_bundle(), "--json"])
        .exits(0)
        .json();
    assert_eq!(field(&json, "agrees"), true);
    let printed = partgate(&["selftest", &bench.bundle(), "--threads", "1"]).exits(0);
    assert!(printed.stdout.contains("all 2 golden images agree"));

    let wrong = bundle::changed(bundle::small(), |m| m.goldens[1].score *= 1.01);
    let wrong = text(&bench.write("wrong.pgp", &wrong));
    let printed = partgate(&["selftest", &wrong]).exits(5);
    assert!(printed.stdout.contains("DISAGREES") && printed.stdout.contains("1 of 2"));
    let json = partgate(&["selftest", &wrong, "--json"]).exits(5).json();
    let golden = &field(&json, "goldens")[1];
    assert_eq!(field(golden, "agrees"), false);
    assert!((number(golden, "expected_score") / number(golden, "score") - 1.01).abs() < 1e-3);

    let none = bundle::changed(bundle::small(), |m| m.goldens.clear());
    let none = text(&bench.write("none.pgp", &none));
    assert!(
        partgate(&["selftest", &none])
            .exits(5)
            .stdout
            .contains("no golden images")
    );
    assert_eq!(
        field(
            &partgate(&["selftest", &none, "--json"]).exits(5).json(),
            "agrees"
        ),
        false
    );
}

#[test]
fn bench_measures_every_stage() {
    let bench = Bench::new();
    let arguments = [
        "bench",
        &bench.bundle(),
        "--runs",
        "5",
        "--warmup",
        "1",
        "--threads",
        "1",
    ];
    let text_form = partgate(&arguments).exits(0).stdout;
    for word in [
        "backbone",
        "frames per second",
        "peak memory",
        "start-up",
        "integers by",
    ] {
        assert!(text_form.contains(word), "no `{word}` in {text_form}");
    }
    let check = |json: &Value, stages: &[&str]| {
        for stage in stages
            .iter()
            .map(|s| format!("stages.{s}"))
            .chain(["total".into()])
        {
            let p: Vec<f64> = ["p50", "p90", "p99", "max"]
                .iter()
                .map(|q| number(json, &format!("{stage}.{q}_ms")))
                .collect();
            assert!(p[0] >= 0.0 && p.is_sorted(), "{stage}: {p:?}");
        }
        assert_eq!(
            field(json, "stages").as_object().expect("stages").len(),
            stages.len()
        );
        for name in ["frames_per_second", "peak_rss_bytes", "start_ms"] {
            assert!(number(json, name) > 0.0, "{name}");
        }
        assert!(field(json, "kernels.backbone.engine").is_string());
        assert!(field(json, "kernels.nearest").is_string());
        let counts = ["runs", "threads", "bank_rows", "side"].map(|name| number(json, name));
        assert_eq!(counts, [5.0, 1.0, 200.0, 128.0]);
    };
    let json = partgate(&[&arguments[..], &["--json"]].concat())
        .exits(0)
        .json();
    check(
        &json,
        &["preprocess", "backbone", "aggregate", "nearest", "map"],
    );

    bundle::save(&Renderer::new(1).good(70_003), &bench.at("part.png"));
    let image = text(&bench.at("part.png"));
    let json = partgate(&[&arguments[..], &["--json", "--image", &image]].concat())
        .exits(0)
        .json();
    check(
        &json,
        &[
            "decode",
            "preprocess",
            "backbone",
            "aggregate",
            "nearest",
            "map",
        ],
    );
    assert!(number(&json, "stages.map.max_ms") > 0.0);
    let stages = ["preprocess", "backbone", "aggregate", "nearest", "map"];
    let sum: f64 = stages
        .iter()
        .map(|s| number(&json, &format!("stages.{s}.max_ms")))
        .sum();
    assert!(
        number(&json, "total.max_ms") <= sum + 0.01,
        "decode is not part of the total"
    );
    // A stage has its own name whether another one runs before it or not.
    let refined = text(&bundle::root().join("tests/golden/format-2.pgp"));
    let json = partgate(&["bench", &refined, "--runs", "3", "--json"])
        .exits(0)
        .json();
    let stages = field(&json, "stages").as_object().expect("stages");
    assert!(stages.contains_key("refine") && stages.len() == 6);
}

#[test]
fn a_picture_larger_than_any_camera_is_refused() {
    let bench = Bench::new();
    let line = vec![0u8; MAX_SIDE + 1];
    let path = bench.at("wide.png");
    image::GrayImage::from_raw(line.len() as u32, 1, line)
        .expect("image")
        .save(&path)
        .expect("save");
    let printed = partgate(&["score", &bench.bundle(), &text(&path)]).exits(3);
    assert!(printed.lines()[0]["error"].is_string());
}

#[test]
fn a_gate_rejects_another_view_and_everything_it_cannot_inspect() {
    let bench = Bench::new();
    let part = Renderer::new(1).good(2_000_000);
    let (width, height) = (part.width as u32, part.height as u32);
    let picture = image::RgbImage::from_raw(width, height, part.rgb).expect("picture");
    let folder = bench.at("parts");
    std::fs::create_dir(&folder).expect("folder");
    picture.save(folder.join("a.png")).expect("write");
    let demo = bundle::demo();
    let gate = |folder: &std::path::Path| {
        partgate(&[
            "score".as_ref(),
            demo.as_os_str(),
            folder.as_os_str(),
            "--gate".as_ref(),
        ])
    };
    gate(&folder).exits(0);
    std::fs::write(folder.join("notes.txt"), b"x").expect("write");
    gate(&folder).exits(3);
    std::fs::remove_file(folder.join("notes.txt")).expect("remove");
    std::os::unix::fs::symlink("/nonexistent", folder.join("b.png")).expect("link");
    gate(&folder).exits(3);
    std::fs::remove_file(folder.join("b.png")).expect("remove");
    image::imageops::rotate90(&picture)
        .save(folder.join("c.png"))
        .expect("write");
    gate(&folder).exits(3);
}
