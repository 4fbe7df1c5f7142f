//! What `damage` promises: damaged pictures with their masks in MVTec layout, the same each time.

#![allow(clippy::expect_used, clippy::panic)]

mod fixtures;

use fixtures::{Bench, goods, text, train};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Every file under `folder` with its bytes.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).expect("list") {
            let path = entry.expect("entry").path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(folder).expect("below").to_path_buf();
                found.insert(name, std::fs::read(&path).expect("read"));
            }
        }
    }
    found
}

#[test]
fn every_damaged_picture_has_its_mask_and_runs_repeat() {
    let bench = Bench::new();
    goods(&bench.at("parts"), 1, 0, 4);
    let damage = |out: &str, threads: &str| {
        let (parts, sheet) = (
            text(&bench.at("parts")),
            text(&bench.at(out).with_extension("png")),
        );
        let out = text(&bench.at(out));
        let more = [
            "--count",
            "24",
            "--seed",
            "5",
            "--sheet",
            &sheet,
            "--threads",
            threads,
            "--json",
        ];
        train(&[&["damage", &parts, &out], &more[..]].concat()).exits(0)
    };
    let report = damage("a", "1").json();
    assert_eq!(report["written"], 24);
    assert_eq!(report["part_found"], 24);
    let kinds = report["kinds"].as_object().expect("kinds");
    let all: u64 = kinds.values().filter_map(serde_json::Value::as_u64).sum();
    assert_eq!(all, 24);
    for (kind, count) in kinds {
        for i in 0..count.as_u64().expect("count") {
            let name = format!("a/test/{kind}/{i:03}.png");
            let picture = image::open(bench.at(&name)).expect("picture");
            let mask = format!("a/ground_truth/{kind}/{i:03}_mask.png");
            let mask = image::open(bench.at(&mask)).expect("mask").to_luma8();
            assert_eq!((picture.width(), picture.height()), mask.dimensions());
            let changed = mask.pixels().filter(|p| p.0[0] == 255).count();
            assert!(changed > 15, "{name}: {changed}");
            assert!(mask.pixels().all(|p| p.0[0] == 255 || p.0[0] == 0));
        }
    }
    damage("b", "3");
    assert_eq!(files(&bench.at("a")), files(&bench.at("b")));
    let read = |name| std::fs::read(bench.at(name)).expect("sheet");
    assert_eq!(read("a.png"), read("b.png"));
}

#[test]
fn a_family_can_be_named() {
    let bench = Bench::new();
    goods(&bench.at("parts"), 1, 0, 1);
    for (family, kind) in [("surface", "blob"), ("misplaced", "swapped")] {
        let ran = train(&[
            "damage",
            &text(&bench.at("parts")),
            &text(&bench.at(family)),
            "--family",
            family,
            "--json",
        ])
        .exits(0);
        let report = ran.json();
        assert!(report["kinds"][kind].as_u64() > Some(0), "{report}");
        let fillings = report["fillings"].as_object().expect("fillings");
        assert_eq!(fillings.is_empty(), family == "misplaced");
    }
}

#[test]
fn refusals_name_the_folder() {
    let bench = Bench::new();
    goods(&bench.at("parts"), 1, 0, 1);
    let parts = text(&bench.at("parts"));
    bench.write("full/notes.txt", b"kept");
    train(&["damage", &parts, &text(&bench.at("full"))])
        .exits(3)
        .tells("full: the folder is not empty");
    train(&[
        "damage",
        &text(&bench.at("nowhere")),
        &text(&bench.at("new")),
    ])
    .exits(3)
    .tells("nowhere");
    assert!(!bench.at("new").exists());

    let small = bench.at("small");
    std::fs::create_dir(&small).expect("folder");
    image::GrayImage::new(12, 40)
        .save(small.join("tiny.png"))
        .expect("write");
    train(&["damage", &text(&small), &text(&bench.at("out"))])
        .exits(3)
        .tells("tiny.png")
        .tells("too small to be damaged");
}
