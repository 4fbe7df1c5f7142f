//! Data sets are read in the layout they have, which is printed in a line; where more than one is
//! possible nothing is guessed (docs/inputs.md).

#![allow(clippy::expect_used, clippy::panic)]

mod fixtures;

use fixtures::{Bench, Ran, fit, fit_with, goods, jpeg, opened, picture, quick, save, text, train};
use partgate::simulation::part::{Defect, Renderer};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// `count` good parts from number `from` as JPEG, named by their number, in `folder`.
fn photos(folder: &Path, from: u64, count: u64) {
    let beside = folder.with_extension("png-of-it");
    goods(&beside, 1, from, count);
    for i in 0..count {
        let part = picture(&beside.join(format!("{i:03}.png")));
        jpeg(
            &part,
            &folder.join(format!("{:04}.jpg", from + i)),
            92,
            None,
        );
    }
    std::fs::remove_dir_all(beside).expect("remove");
}

/// A defective part as JPEG and its mask.
fn defect(photo: &Path, mask: &Path, number: u64) {
    let part = Renderer::new(1).defective(number, Defect::Stain);
    save(&part, mask);
    let rgb = picture(mask);
    jpeg(&rgb, photo, 92, None);
    let (width, height) = (part.width as u32, part.height as u32);
    image::GrayImage::from_raw(width, height, part.mask.expect("a mask"))
        .expect("whole")
        .save(mask)
        .expect("write");
}

fn magnetic_tiles(root: &Path) {
    photos(&root.join("MT_Free/Imgs"), 0, 10);
    for name in ["0001", "0005"] {
        // The set has black masks beside its good pictures.
        image::GrayImage::new(320, 256)
            .save(root.join(format!("MT_Free/Imgs/{name}.png")))
            .expect("write");
    }
    for i in 0..2 {
        let folder = root.join("MT_Blowhole/Imgs");
        std::fs::create_dir_all(&folder).expect("folder");
        let named = |ending: &str| folder.join(format!("exp1_num_{i}.{ending}"));
        defect(&named("jpg"), &named("png"), 2_000 + i);
    }
}

fn visa(root: &Path) -> PathBuf {
    let candle = root.join("candle");
    let images = candle.join("Data/Images");
    photos(&images.join("Normal"), 0, 8);
    let mut split = "object,split,label,image,mask\n".to_owned();
    for i in 0..8 {
        let part = if i < 6 { "train" } else { "test" };
        split += &format!("candle,{part},normal,candle/Data/Images/Normal/{i:04}.jpg,\n");
    }
    for i in 0..2 {
        let mask = candle.join(format!("Data/Masks/Anomaly/{i:03}.png"));
        std::fs::create_dir_all(images.join("Anomaly")).expect("folder");
        defect(
            &images.join(format!("Anomaly/{i:03}.jpg")),
            &mask,
            2_000 + i,
        );
        split += &format!(
            "candle,test,anomaly,candle/Data/Images/Anomaly/{i:03}.jpg,candle/Data/Masks/Anomaly/{i:03}.png\n"
        );
    }
    let table = root.join("split_csv/1cls.csv");
    std::fs::create_dir_all(table.parent().expect("parent")).expect("folder");
    std::fs::write(table, split).expect("write");
    candle
}

fn list(root: &Path) -> PathBuf {
    goods(&root.join("photos"), 1, 0, 8);
    let mut rows = "path,label,mask,part\n".to_owned();
    for i in 0..8 {
        let part = if i < 6 { "train" } else { "test" };
        rows += &format!("photos/{i:03}.png,OK,,{part}\n");
    }
    for i in 0..2 {
        let mask = root.join(format!("masks/{i}.png"));
        let photo = root.join(format!("bad, {i}.jpg"));
        defect(&photo, &mask, 2_000 + i);
        rows += &format!("\"bad, {i}.jpg\",stain,masks/{i}.png,test\n");
    }
    let table = root.join("parts.csv");
    std::fs::write(&table, rows).expect("write");
    table
}

fn layout_of(report: &Value) -> &str {
    report["layout"].as_str().expect("a layout")
}

/// Fits and validates `set`, and asserts what was found in it.
fn found(bench: &Bench, set: &Path, name: &str, train_on: usize, tested: usize) {
    let bundle = bench.at("part.pgp");
    let fitted = fit(set, &bundle, &["--json"]).exits(0).json();
    assert_eq!(fitted["images"], train_on, "{}", set.display());
    assert!(layout_of(&fitted).contains(name), "{fitted}");
    let report = fixtures::validate(set, &bundle, &["--json"])
        .exits(0)
        .json();
    assert!(layout_of(&report).contains(name), "{report}");
    assert_eq!(report["images"], tested, "{report}");
    assert_eq!(
        (&report["good"], &report["with_mask"]),
        (&2.into(), &2.into()),
        "{report}"
    );
    assert_eq!(report["left_out"], 0, "{report}");
    assert!(report["pixel_auroc"].is_number(), "{report}");
    let shown = fixtures::validate(set, &bundle, &[]).exits(0).stdout;
    let lines: Vec<&str> = shown
        .lines()
        .filter(|l| l.starts_with("layout: "))
        .collect();
    assert!(lines.len() == 1 && lines[0].contains(name), "{shown}");
}

#[test]
fn magnetic_tiles_are_read_in_their_own_layout() {
    let bench = Bench::new();
    let set = bench.at("tiles");
    magnetic_tiles(&set);
    found(&bench, &set, "(Magnetic-Tile)", 8, 4);
    // Half of what lies there are masks.
    std::fs::write(set.join("MT_Blowhole/Imgs/gone.png"), b"x").expect("write");
    let ran = fixtures::validate(&set, &bench.at("part.pgp"), &[]).exits(3);
    ran.tells("gone.png").tells("a mask without its picture");
}

#[test]
fn visa_is_read_by_its_split() {
    let bench = Bench::new();
    let candle = visa(&bench.at("visa"));
    found(&bench, &candle, "VisA, candle in split_csv/1cls.csv", 6, 4);
    std::fs::remove_file(bench.at("visa/split_csv/1cls.csv")).expect("remove");
    let ran = fit(&candle, &bench.at("part.pgp"), &[]).exits(3);
    ran.tells("1cls.csv is not there");
}

#[test]
fn a_list_is_read_wherever_its_images_lie() {
    let bench = Bench::new();
    let table = list(&bench.at("set"));
    found(
        &bench,
        &table,
        "a list (path,label,mask,part), parts.csv",
        6,
        4,
    );
    let bundle = bench.at("part.pgp");
    let text_of = std::fs::read_to_string(&table).expect("read");
    let refused = |text_of: &str, words: &str| {
        let table = bench.write("set/wrong.csv", text_of.as_bytes());
        for ran in [
            fit(&table, &bench.at("no.pgp"), &[]),
            fixtures::validate(&table, &bundle, &[]),
        ] {
            ran.exits(3).tells(words).tells("wrong.csv");
        }
    };
    refused(&text_of.replace("002.png", "nothing.png"), "line 4:");
    refused(&text_of.replace("stain", ""), "line 10: no label");
    refused(&text_of.replace(",test", ",later"), "`later` is no part");
    refused("a;b;c\n1;2;3\n", "no column `path`");
}

/// `calibrate`, `benchmark`, `ablate` and `damage` of a set.
#[test]
fn every_command_takes_every_layout() {
    let bench = Bench::new();
    let table = list(&bench.at("list"));
    magnetic_tiles(&bench.at("tiles"));
    visa(&bench.at("visa"));
    let command = |name: &str, set: &Path, more: &[&str]| -> Ran {
        let set = text(set);
        train(&[&[name, &set], more].concat())
    };
    for (set, name, category) in [
        (table.clone(), "a list", "parts"),
        (bench.at("tiles"), "(Magnetic-Tile)", "tiles"),
        (bench.at("visa"), "VisA, candle", "candle"),
    ] {
        let out = text(&bench.at("figures"));
        let ran = command("benchmark", &set, &quick(&["--out", &out, "--json"]));
        let report = ran.exits(0).json();
        assert!(
            layout_of(&report["categories"][0]).contains(name),
            "{report}"
        );
        assert_eq!(report["categories"][0]["name"], category, "{report}");
        assert_eq!(report["categories"][0]["images"], 4, "{report}");
    }
    let ran = command("ablate", &table, &quick(&["--changes-only", "--json"]));
    assert!(layout_of(&ran.exits(0).json()).contains("a list"));
    let out = text(&bench.at("damaged"));
    let ran = command(
        "damage",
        &bench.at("tiles"),
        &[&out, "--count", "2", "--json"],
    );
    assert!(layout_of(&ran.exits(0).json()).contains("(Magnetic-Tile)"));

    // The goods of another day, in a list without parts.
    let bundle = bench.at("part.pgp");
    fit(&table, &bundle, &[]).exits(0);
    goods(&bench.at("day"), 1, 100, 6);
    let rows: String = (0..6).map(|i| format!("{i:03}.png,good\n")).collect();
    let day = bench.write("day/day.csv", format!("path,label\n{rows}").as_bytes());
    let (bundle, day) = (text(&bundle), text(&day));
    let output = text(&bench.at("new.pgp"));
    let ran = train(&["calibrate", &bundle, "--goods", &day, "-o", &output]).exits(0);
    assert!(
        ran.stdout.contains("a list (path,label,mask), day.csv"),
        "{}",
        ran.stdout
    );
    for name in ["benchmark", "ablate"] {
        let out = text(&bench.at("none"));
        let more: &[&str] = if name == "benchmark" {
            &["--out", &out]
        } else {
            &[]
        };
        let ran = command(name, Path::new(&day), more).exits(3);
        ran.tells("no column `part`");
    }
    let product = opened(Path::new(&bundle));
    assert_eq!(product.manifest().training.images, 6);
}

#[test]
fn where_two_layouts_are_possible_nothing_is_guessed() {
    let bench = Bench::new();
    let set = bench.at("set");
    let table = list(&set);
    goods(&set.join("train/good"), 1, 0, 6);
    goods(&set.join("test/good"), 1, 100, 2);
    let bundle = bench.at("part.pgp");
    let ran = fit(&set, &bundle, &[]).exits(3);
    ran.tells("more than one layout")
        .tells("test/ (mvtec)")
        .tells("parts.csv (list)")
        .tells("--layout");
    fit(&set, &bundle, &["--layout", "mvtec"]).exits(0);
    let ran = fit(&set, &bundle, &["--layout", "list", "--json"]).exits(0);
    assert_eq!(ran.json()["images"], 6);
    fixtures::validate(&set, &bundle, &[])
        .exits(3)
        .tells("more than one layout");
    fixtures::validate(&set, &bundle, &["--layout", "list"]).exits(0);
    let out = text(&bench.at("figures"));
    let at = text(&set);
    train(&["benchmark", &at, "--out", &out])
        .exits(3)
        .tells("more than one layout");
    train(&["ablate", &at])
        .exits(3)
        .tells("more than one layout");
    let (bundle, new) = (text(&bundle), text(&bench.at("new.pgp")));
    train(&["calibrate", &bundle, "--goods", &at, "-o", &new])
        .exits(3)
        .tells("more than one layout");
    // Two lists in one folder.
    std::fs::remove_dir_all(set.join("train")).expect("remove");
    std::fs::remove_dir_all(set.join("test")).expect("remove");
    std::fs::copy(&table, set.join("other.csv")).expect("copy");
    fit(&set, Path::new(&bundle), &[])
        .exits(3)
        .tells("several lists of images: other.csv, parts.csv");
}

#[test]
fn plain_folders_are_fitted_where_that_is_said() {
    let bench = Bench::new();
    let set = bench.at("set");
    goods(&set.join("OK"), 1, 0, 6);
    goods(&set.join("scratch"), 1, 100, 2);
    let bundle = bench.at("part.pgp");
    fit_with(&set, &bundle, &quick(&[]))
        .exits(3)
        .tells("more than good images");
    let ran = fit(&set, &bundle, &["--layout", "folders", "--json"]).exits(0);
    assert_eq!(ran.json()["images"], 6);
    let out = text(&bench.at("figures"));
    let set = text(&set);
    train(&["benchmark", &set, "--out", &out])
        .exits(3)
        .tells("plain folders do not say");
}

#[test]
fn the_saturation_thresholds_of_loco_are_read_and_named() {
    let bench = Bench::new();
    let set = bench.at("set");
    fixtures::data_set(&set, 1, 6, &[Defect::Stain]);
    let bundle = bench.at("part.pgp");
    fit(&set, &bundle, &[]).exits(0);
    let table = |threshold: f64| {
        let text = format!(
            r#"[{{"defect_name": "stain", "pixel_value": 255, "saturation_threshold": {threshold}, "relative_saturation": true}}]"#
        );
        bench.write("set/defects_config.json", text.as_bytes());
    };
    table(0.5);
    let shown = fixtures::validate(&set, &bundle, &[]).exits(0).stdout;
    assert!(
        shown.contains("saturation thresholds of 1 kind of defects are read"),
        "{shown}"
    );
    table(1.5);
    fixtures::validate(&set, &bundle, &[])
        .exits(3)
        .tells("defects_config.json")
        .tells("more than the whole defect");
}
