//! Input that cannot be used is refused with its name, its causes and the documented exit code.

#![allow(clippy::expect_used, clippy::panic)]

mod bundle;
mod command;

#[cfg(unix)]
use command::with_locked;
use command::{Bench, Ran, partgate, program, text};
use partgate::backbone::Rect;
use partgate::simulation::part::Renderer;
use std::process::Stdio;

#[test]
fn a_bundle_that_cannot_be_used_is_4_for_every_command() {
    let bench = Bench::new();
    let whole = bundle::small();
    let mut flipped = whole.to_vec();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    let mut newer = whole.to_vec();
    newer[8] = 200;
    let later = bundle::changed(whole, |m| m.minimum_runtime = [9, 0, 0]);
    bench.write("cut.pgp", &whole[..whole.len() - 1]);
    bench.write("flipped.pgp", &flipped);
    bench.write("newer.pgp", &newer);
    bench.write("later.pgp", &later);
    bench.write("empty.pgp", b"");
    bench.write("text.pgp", b"hello");
    std::fs::create_dir(bench.at("folder.pgp")).expect("folder");
    bundle::save(&Renderer::new(1).good(1), &bench.at("part.png"));
    let image = text(&bench.at("part.png"));
    for (name, words) in [
        ("missing.pgp", "No such file"),
        ("cut.pgp", "bytes long but must be"),
        ("flipped.pgp", "damaged"),
        ("newer.pgp", "newer than this program reads"),
        ("later.pgp", "needs partgate 9.0.0"),
        ("empty.pgp", "not a partgate bundle"),
        ("text.pgp", "not a partgate bundle"),
        ("folder.pgp", "folder.pgp"),
    ] {
        let path = text(&bench.at(name));
        let good = bench.bundle();
        for arguments in [
            vec!["inspect", &path],
            vec!["inspect", &path, "--json"],
            vec!["diff", &path, &good],
            vec!["diff", &good, &path],
            vec!["selftest", &path],
            vec!["bench", &path],
            vec!["score", &path, &image],
        ] {
            let printed = partgate(&arguments).exits(4).tells(words).tells(name);
            assert_eq!(printed.stdout, "", "{arguments:?}");
            assert!(printed.stderr.starts_with("error: "), "{}", printed.stderr);
        }
    }
}

#[test]
fn causes_come_one_to_a_line() {
    let printed = partgate(&["inspect", "/nowhere/x.pgp"]).exits(4);
    let lines: Vec<&str> = printed.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{}", printed.stderr);
    assert!(lines[0].starts_with("error: /nowhere/x.pgp"));
    assert!(lines[1].starts_with("  caused by: "));
}

#[test]
fn a_network_that_is_none_is_4() {
    let bench = Bench::new();
    let bytes = bundle::changed(bundle::small(), |m| {
        m.backbone.taps[0].output = "no such tap".into();
    });
    let path = text(&bench.write("tap.pgp", &bytes));
    partgate(&["selftest", &path]).exits(4).tells("no such tap");
}

#[test]
fn an_unreadable_image_does_not_stop_the_others() {
    let bench = Bench::new();
    let folder = bench.at("images");
    std::fs::create_dir(&folder).expect("folder");
    for (i, name) in ["a.png", "c.png"].iter().enumerate() {
        bundle::save(&Renderer::new(1).good(i as u64), &folder.join(name));
    }
    let png = std::fs::read(folder.join("a.png")).expect("read");
    bench.write("images/b.png", &png[..png.len() / 2]);
    bench.write("images/d.jpg", b"no picture");
    let printed = partgate(&["score", &bench.bundle(), &text(&folder)])
        .exits(3)
        .tells("2 of 4 inputs");
    let lines = printed.lines();
    assert_eq!(lines.len(), 4);
    for (line, inspected) in lines.iter().zip([true, false, true, false]) {
        assert_eq!(line["score"].is_number(), inspected, "{line}");
        assert_eq!(line["error"].is_string(), !inspected, "{line}");
        assert!(line["path"].is_string());
        if !inspected {
            assert_eq!(line["verdict"], "UNKNOWN");
            let error = line["error"].as_str().expect("error");
            assert!(
                error.contains(line["path"].as_str().expect("path")),
                "{error}"
            );
        }
    }
}

#[test]
fn a_frame_smaller_than_the_region_is_no_verdict() {
    let bench = Bench::new();
    let bytes = bundle::changed(bundle::small(), |m| {
        m.input.roi = Some(Rect {
            x: 300,
            y: 0,
            width: 100,
            height: 100,
        });
    });
    let path = text(&bench.write("roi.pgp", &bytes));
    bundle::save(&Renderer::new(1).good(1), &bench.at("part.png"));
    let printed = partgate(&["score", &path, &text(&bench.at("part.png"))]).exits(3);
    let line = &printed.lines()[0];
    assert_eq!(line["verdict"], "UNKNOWN");
    assert!(line["error"].as_str().expect("error").contains("320 x 256"));
}

#[test]
fn empty_folders_and_missing_paths_are_named() {
    let bench = Bench::new();
    let empty = bench.at("empty");
    std::fs::create_dir(&empty).expect("folder");
    let printed = partgate(&["score", &bench.bundle(), &text(&empty)])
        .exits(3)
        .tells("no images in this folder");
    assert_eq!(printed.lines().len(), 1);
    bundle::save(&Renderer::new(1).good(1), &bench.at("part.png"));
    let paths = [text(&bench.at("gone")), text(&bench.at("part.png"))];
    let printed = partgate(&["score", &bench.bundle(), &paths[0], &paths[1]])
        .exits(3)
        .tells("gone");
    assert!(printed.lines()[1]["score"].is_number());
    partgate(&["bench", &bench.bundle(), "--image", &paths[0]])
        .exits(3)
        .tells("gone");
}

#[test]
fn a_bundle_without_goldens_needs_an_image_to_measure() {
    let bench = Bench::new();
    let bytes = bundle::changed(bundle::small(), |m| m.goldens.clear());
    let path = text(&bench.write("none.pgp", &bytes));
    partgate(&["bench", &path]).exits(3).tells("--image");
}

#[test]
fn folders_of_others_are_left_alone() {
    let bench = Bench::new();
    let page = bench.write("site/index.html", b"<h1>mine</h1>");
    let folder = text(&bench.at("site"));
    partgate(&["demo", "--parts", "1", "--out", &folder])
        .exits(3)
        .tells("not overwritten");
    assert_eq!(std::fs::read(page).expect("read"), b"<h1>mine</h1>");
    partgate(&["render", &folder]).exits(3).tells("not empty");
    bundle::save(&Renderer::new(1).good(1), &bench.at("site/part.png"));
    let before = std::fs::read(bench.at("site/part.png")).expect("read");
    partgate(&["score", &bench.bundle(), &folder, "--out", &folder])
        .exits(3)
        .tells("choose another --out");
    assert_eq!(
        std::fs::read(bench.at("site/part.png")).expect("read"),
        before
    );
}

#[test]
fn a_file_where_a_folder_must_be_is_3() {
    let bench = Bench::new();
    let file = text(&bench.write("file", b""));
    let below = format!("{file}/deeper");
    bundle::save(&Renderer::new(1).good(1), &bench.at("part.png"));
    let image = text(&bench.at("part.png"));
    for out in [&file, &below] {
        partgate(&["render", out]).exits(3).tells("file");
        partgate(&["demo", "--parts", "1", "--out", out])
            .exits(3)
            .tells("file");
        partgate(&["score", &bench.bundle(), &image, "--out", out])
            .exits(3)
            .tells("file");
    }
}

#[test]
#[cfg(unix)]
fn a_folder_without_permission_is_3() {
    let bench = Bench::new();
    let locked = bench.at("locked");
    std::fs::create_dir(&locked).expect("folder");
    bundle::save(&Renderer::new(1).good(1), &bench.at("part.png"));
    let out = text(&locked);
    let deeper = text(&locked.join("deeper"));
    let (small, image) = (bench.bundle(), text(&bench.at("part.png")));
    for arguments in [
        vec!["render", &deeper],
        vec!["render", &out],
        vec!["demo", "--parts", "1", "--out", &deeper],
        vec!["demo", "--parts", "1", "--out", &out],
        vec!["score", &small, &image, "--out", &deeper],
        vec!["score", &small, &image, "--out", &out],
    ] {
        let Some(ran) = with_locked(program(&arguments), &locked) else {
            return;
        };
        ran.exits(3)
            .tells("may this user write there?")
            .tells("locked");
    }
}

#[test]
fn a_full_disk_under_standard_output_is_3() {
    let Ok(full) = std::fs::OpenOptions::new().write(true).open("/dev/full") else {
        eprintln!("SKIPPED: no /dev/full here");
        return;
    };
    let bench = Bench::new();
    let output = program(&["inspect", &bench.bundle()])
        .stdout(Stdio::from(full))
        .output()
        .expect("the program runs");
    Ran::from(output)
        .exits(3)
        .tells("standard output cannot be written");
}

#[test]
fn pictures_that_cannot_be_written_cost_no_verdicts() {
    let bench = Bench::new();
    let folder = bench.at("parts");
    std::fs::create_dir(&folder).expect("folder");
    for i in 0..3 {
        let part = partgate::simulation::part::Renderer::new(1).good(3_000_000 + i);
        bundle::save(&part, &folder.join(format!("{i}.png")));
    }
    let out = bench.at("overlays");
    std::fs::create_dir_all(out.join("1.png")).expect("a folder where a picture should go");
    let ran = partgate(&[
        "score".as_ref(),
        bundle::demo().as_os_str(),
        folder.as_os_str(),
        "--out".as_ref(),
        out.as_os_str(),
    ])
    .exits(3);
    assert_eq!(ran.stdout.lines().count(), 3, "{}", ran.stdout);
    assert!(!ran.stdout.contains("error"), "{}", ran.stdout);
}
