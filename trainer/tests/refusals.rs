//! What cannot be used is refused with its name, the fix and the documented exit code, and a
//! target that exists is left as it was.

#![allow(clippy::expect_used, clippy::panic)]

mod fixtures;

#[cfg(unix)]
use fixtures::with_locked;
use fixtures::{Bench, data_set, fit, fit_with, goods, program, save, text, train, validate};
use partgate::simulation::part::{Defect, Renderer};
use std::path::Path;

fn jpeg(path: &Path) -> Vec<u8> {
    save(&Renderer::new(1).good(77), path);
    std::fs::read(path).expect("read")
}

#[test]
fn folders_without_enough_images_are_3() {
    let bench = Bench::new();
    let bundle = bench.at("part.pgp");
    fit(&bench.at("nowhere"), &bundle, &[])
        .exits(3)
        .tells("nowhere");
    std::fs::create_dir(bench.at("empty")).expect("folder");
    fit(&bench.at("empty"), &bundle, &[])
        .exits(3)
        .tells("empty: no images here")
        .tells("name a folder of good images");
    goods(&bench.at("one"), 1, 0, 1);
    fit(&bench.at("one"), &bundle, &[])
        .exits(3)
        .tells("one: 1 good image")
        .tells("at least 2 are needed");
    let file = bench.write("file.txt", b"not a folder");
    fit(&file, &bundle, &[]).exits(3).tells("file.txt");
    assert!(!bundle.exists());
}

#[test]
fn an_image_that_cannot_be_read_is_named() {
    let bench = Bench::new();
    let bundle = bench.write("part.pgp", b"what was here before");
    let whole = jpeg(&bench.at("whole.jpg"));
    let parts = bench.at("parts");
    for (name, bytes, problem) in [
        ("text.png", &b"no picture"[..], "not a readable image"),
        ("empty.png", &b""[..], "not a readable image"),
        ("cut.jpg", &whole[..whole.len() / 2], "copy the file again"),
        ("stub.jpg", &whole[..20], "stub.jpg"),
    ] {
        goods(&parts, 1, 0, 3);
        bench.write(&format!("parts/{name}"), bytes);
        fit(&parts, &bundle, &[])
            .exits(3)
            .tells(name)
            .tells(problem);
        std::fs::remove_dir_all(&parts).expect("remove");
    }
    let kept = std::fs::read(&bundle).expect("read");
    assert_eq!(kept, b"what was here before");
    let left: Vec<_> = std::fs::read_dir(bench.at("")).expect("list").collect();
    assert_eq!(left.len(), 2, "a half file was left behind: {left:?}");
}

/// Options that cannot work, and a piece of the text that refuses them.
const UNUSABLE: &[(&[&str], &str)] = &[
    (&["--size", "100"], "multiple of 32"),
    (&["--crop", "256"], "crop 256 does not fit into resize 128"),
    (&["--size", "0"], "multiple of 32"),
    (&["--size", "160x100"], "side 100 of 160 x 100"),
    (
        &["--size", "160x96", "--crop", "128"],
        "crop 128 does not fit into resize 160 x 96",
    ),
    (
        &["--size", "160x96", "--aspect", "keep"],
        "--size 160x96 already has an aspect",
    ),
    (&["--crop", "96", "--aspect", "keep"], "--crop 96"),
    (&["--size", "32", "--aspect", "keep"], "may be below 64"),
    (&["--backbone", "resnet9000"], "efficientnet-lite0-int8"),
    (&["--backbone", "gone.onnx"], "gone.onnx"),
    (&["--patch", "4"], "odd"),
    (&["--bank-ratio", "0"], "--bank-ratio 0"),
    (&["--max-bank", "0"], "--max-bank 0"),
    (&["--sigma=-1"], "--sigma"),
    (&["--unknown-rate", "1"], "--unknown-rate 1"),
    (&["--confidence", "NaN"], "--confidence NaN"),
    (&["--roi", "300,0,100,100"], "320 x 256"),
    (&["--mask", "gone.png"], "gone.png"),
    (
        &["--method", "position", "--sightings", "0"],
        "--sightings 0",
    ),
    (&["--created", "yesterday"], "yesterday"),
    (&["--place-lost", "51"], "--place-lost"),
    (&["--near-lost=-1"], "--near-lost"),
    (
        &[
            "--method",
            "coverage",
            "--place-lost",
            "0",
            "--near-lost",
            "0",
        ],
        "patchcore",
    ),
    (&["--density", "NaN"], "--density NaN"),
    (&["--density", "2.5"], "--density 2.5"),
    (&["--ring", "4"], "--ring"),
    (&["--ring", "33"], "--ring"),
    (&["--entries", "1"], "--entries 1"),
    (&["--network-steps", "0"], "--network-steps 0"),
    (&["--network-width", "64"], "--network paper"),
    (
        &["--network", "paper", "--network-width", "0"],
        "--network-width 0",
    ),
    (
        &["--network", "paper", "--network-layers", "1"],
        "--network-layers 1",
    ),
    (
        &[
            "--network",
            "paper",
            "--network-width",
            "4096",
            "--network-layers",
            "64",
            "--method",
            "neighbourhood",
        ],
        "512 MiB at most",
    ),
];

#[test]
fn settings_that_cannot_work_are_3_and_say_what_would() {
    let bench = Bench::new();
    goods(&bench.at("parts"), 1, 0, 3);
    let bundle = bench.at("part.pgp");
    for (arguments, text) in UNUSABLE {
        let size = ["--size", "128"];
        let usual = if arguments.contains(&"--size") {
            &[][..]
        } else {
            &size
        };
        let all = [usual, arguments].concat();
        fit_with(&bench.at("parts"), &bundle, &all)
            .exits(3)
            .tells(text);
    }
    for wrong in [
        &["--method", "magic"][..],
        &["--roi", "1,2,3"],
        &["--seed", "-1"],
        &["--no-such-option"],
        &["--crop", "128x"],
        &["--member", "size=128x128x2"],
    ] {
        fit(&bench.at("parts"), &bundle, wrong).exits(2);
    }
    assert!(!bundle.exists());
}

#[test]
fn test_sets_with_gaps_are_3_and_named() {
    let bench = Bench::new();
    let set = bench.at("set");
    data_set(&set, 1, 4, &[Defect::Stain]);
    let bundle = bench.at("part.pgp");
    fit(&set, &bundle, &[]).exits(0);
    validate(&bench.at("set/train"), &bundle, &[])
        .exits(3)
        .tells("no `test` folder");
    let mask = set.join("ground_truth/stain/000_mask.png");
    let orphan = set.join("ground_truth/stain/777_mask.png");
    std::fs::copy(&mask, &orphan).expect("copy");
    validate(&set, &bundle, &[])
        .exits(3)
        .tells("777_mask.png")
        .tells("without its image");
    std::fs::remove_file(&orphan).expect("remove");
    image::GrayImage::new(64, 48).save(&mask).expect("write");
    validate(&set, &bundle, &[])
        .exits(3)
        .tells("000_mask.png")
        .tells("64 x 48")
        .tells("320 x 256");
    image::GrayImage::new(320, 256).save(&mask).expect("write");
    bench.write("set/test/stain/001.png", b"no picture");
    validate(&set, &bundle, &[])
        .exits(3)
        .tells("001.png")
        .tells("not a readable image");
    // Without train/good the test images must not be swept into a bank.
    std::fs::remove_dir_all(set.join("train")).expect("remove");
    fit(&set, &bundle, &[]).exits(3).tells("train/good");
}

#[test]
fn a_bundle_that_cannot_be_used_is_4() {
    let bench = Bench::new();
    let set = bench.at("set");
    data_set(&set, 1, 4, &[Defect::Stain]);
    let bundle = bench.at("part.pgp");
    fit(&set, &bundle, &[]).exits(0);
    let whole = std::fs::read(&bundle).expect("read");
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    bench.write("flipped.pgp", &flipped);
    bench.write("cut.pgp", &whole[..whole.len() - 1]);
    bench.write("empty.pgp", b"");
    let goods = text(&set.join("test/good"));
    for (name, problem) in [
        ("flipped.pgp", "damaged"),
        ("cut.pgp", "bytes long but must be"),
        ("empty.pgp", "not a partgate bundle"),
        ("missing.pgp", "No such file"),
    ] {
        let path = bench.at(name);
        validate(&set, &path, &[])
            .exits(4)
            .tells(name)
            .tells(problem);
        let out = text(&bench.at("out.pgp"));
        train(&["calibrate", &text(&path), "--goods", &goods, "-o", &out])
            .exits(4)
            .tells(name)
            .tells(problem);
    }
}

#[test]
#[cfg(unix)]
fn a_folder_without_permission_is_3_before_any_work() {
    let bench = Bench::new();
    let set = bench.at("set");
    data_set(&set, 1, 3, &[Defect::Stain]);
    fit(&set, &bench.at("part.pgp"), &[]).exits(0);
    let locked = bench.at("locked");
    std::fs::create_dir(&locked).expect("folder");
    let (set, bundle) = (text(&set), text(&bench.at("part.pgp")));
    let (out, deeper) = (locked.join("out.pgp"), locked.join("new/out.pgp"));
    let (out, deeper, locked_text) = (text(&out), text(&deeper), text(&locked));
    let goods = text(&bench.at("set/test/good"));
    for arguments in [
        vec!["fit", &set, "-o", &out],
        vec!["fit", &set, "-o", &deeper],
        vec!["validate", &set, "--bundle", &bundle, "--report", &out],
        vec!["validate", &set, "--bundle", &bundle, "--scores", &out],
        vec!["calibrate", &bundle, "--goods", &goods, "-o", &out],
        vec!["benchmark", &set, "--out", &locked_text],
    ] {
        let Some(ran) = with_locked(program(&arguments), &locked) else {
            return;
        };
        ran.exits(3)
            .tells("may this user write there")
            .tells("locked");
    }
    let folder = text(&bench.at(""));
    train(&["fit", &set, "-o", &folder])
        .exits(3)
        .tells("this is a folder");
}
