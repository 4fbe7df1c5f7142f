//! What `amend` promises: good parts that were rejected by mistake pass, the images of the fit are not
//! needed, and a marked defect that would pass is refused.

#![allow(clippy::expect_used, clippy::panic)]

mod fixtures;

use fixtures::{
    Bench, Ran, SHORT, assert_selftest, fit, goods, opened, picture, save, text, train,
};
use partgate::product::{Product, SectionKind};
use partgate::simulation::part::{Defect, Renderer};
use partgate::verdict::Verdict;
use serde_json::Value;
use std::path::Path;

/// Good parts with a sticker at one place, which nobody minds.
fn stickers(folder: &Path, from: u64, count: u64) {
    goods(folder, 1, from, count);
    for i in 0..count {
        let path = folder.join(format!("{i:03}.png"));
        let mut image = picture(&path);
        for (x, y, pixel) in image.enumerate_pixels_mut() {
            if (200..232).contains(&x) && (40..72).contains(&y) {
                let stripe = (x / 4 + y / 4) % 2 == 0;
                pixel.0 = if stripe {
                    [240, 60, 200]
                } else {
                    [20, 220, 240]
                };
            }
        }
        image.save(&path).expect("write");
    }
}

fn defects(folder: &Path, kind: Defect, count: u64) {
    let renderer = Renderer::new(1);
    for i in 0..count {
        let part = renderer.defective(2_000 + i, kind);
        save(&part, &folder.join(format!("{i:03}.png")));
    }
}

/// A bench with a product, stickers that it rejects, and defects.
struct Shop {
    bench: Bench,
}

impl Shop {
    fn new(more: &[&str]) -> Self {
        let shop = Self {
            bench: Bench::new(),
        };
        goods(&shop.bench.at("fit"), 1, 0, 8);
        stickers(&shop.bench.at("good"), 100, 3);
        defects(&shop.bench.at("defect"), Defect::ComponentMissing, 2);
        fit(&shop.bench.at("fit"), &shop.bench.at("old.pgp"), more).exits(0);
        // Nothing below may need them.
        std::fs::remove_dir_all(shop.bench.at("fit")).expect("remove");
        shop
    }

    fn at(&self, name: &str) -> String {
        text(&self.bench.at(name))
    }

    fn amend(&self, more: &[&str]) -> Ran {
        self.amend_against("defect", more)
    }

    /// With the defects of this folder.
    fn amend_against(&self, defects: &str, more: &[&str]) -> Ran {
        let (old, goods) = (self.at("old.pgp"), self.at("good"));
        let (defects, new) = (self.at(defects), self.at("new.pgp"));
        let words = [
            "amend",
            &*old,
            "--goods",
            &*goods,
            "--defects",
            &*defects,
            "-o",
            &*new,
        ];
        train(&[&words[..], more].concat())
    }

    fn old(&self) -> Product {
        opened(&self.bench.at("old.pgp"))
    }

    fn new_product(&self) -> Product {
        opened(&self.bench.at("new.pgp"))
    }
}

fn marked<'a>(report: &'a Value, mark: &str) -> Vec<&'a Value> {
    let images = report["images"].as_array().expect("images").iter();
    images.filter(|image| image["mark"] == mark).collect()
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

/// The stickers are rejected before and pass after, also one that was not among them, and the defects
/// are rejected.
fn heals(more: &[&str]) {
    let shop = Shop::new(more);
    let report = shop.amend(&["--json"]).exits(0).json();
    let goods = marked(&report, "good");
    assert_eq!(goods.len(), 3);
    for good in &goods {
        let words = format!("{more:?}: {good}");
        assert_ne!(good["verdict_before"], "OK", "{words}");
        assert_eq!(good["verdict_after"], "OK", "{words}");
        // Two others are in the bank: this one is unseen and better known than before.
        assert!(number(&good["unseen"]) < number(&good["before"]), "{words}");
    }
    for defect in marked(&report, "defect") {
        assert_ne!(defect["verdict_after"], "OK", "{more:?}: {defect}");
    }
    let (old, new) = (shop.old(), shop.new_product());
    let (was, is) = (old.manifest(), new.manifest());
    assert_eq!(is.revision, was.revision + 1);
    assert_eq!(is.thresholds, was.thresholds);
    assert_eq!(is.training.images, was.training.images + 3);
    assert_eq!(is.training.digest, was.training.digest);
    assert!(
        is.audit
            .last()
            .expect("an entry")
            .action
            .contains("3 good images")
    );
    assert!(new.bank().rows() > old.bank().rows(), "{more:?}");
    let kept = old.bank().values().len();
    assert_eq!(&new.bank().values()[..kept], old.bank().values());
    assert_selftest(&new, is.goldens.len());
    assert!(
        is.goldens
            .iter()
            .any(|golden| golden.verdict != Verdict::Ok)
    );
}

#[test]
fn rejected_good_parts_pass_afterwards_under_each_rule() {
    heals(&[]);
    heals(&["--density", "1"]);
    heals(&["--method", "bank-gaussian"]);
    for rule in ["pni", "pni-two-map", "coverage"] {
        heals(&[&["--method", rule], &SHORT[..]].concat());
    }
}

#[test]
fn what_the_bundle_cannot_answer_is_refused() {
    let shop = Shop::new(&["--method", "gaussian"]);
    shop.amend(&[])
        .exits(3)
        .tells("rule `gaussian`")
        .tells("fit it again");
    assert!(!shop.bench.at("new.pgp").exists());
}

#[test]
fn a_marked_defect_that_passes_is_refused_and_says_what_it_would_cost() {
    let shop = Shop::new(&[]);
    let other = shop.bench.at("passing");
    stickers(&other, 300, 1);
    let refused = shop
        .amend_against("passing", &[])
        .exits(3)
        .tells("Nothing is written");
    assert!(!shop.bench.at("new.pgp").exists());
    // It names the threshold that would reject it.
    let (_, rest) = refused.stderr.split_once("--unknown ").expect("named");
    let threshold = rest.split(':').next().expect("a number");
    let ran = shop.amend_against("passing", &["--unknown", threshold, "--json"]);
    // With so low a threshold a good golden image may be rejected; then that is said.
    if ran.code == Some(0) {
        let report = ran.json();
        assert_ne!(marked(&report, "defect")[0]["verdict_after"], "OK");
    } else {
        ran.exits(3).tells("golden image");
    }
    let ran = shop.amend_against("passing", &["--unknown", "1e9"]);
    ran.exits(3).tells("below the present threshold");
    // The same picture as good and as defective.
    let ran = shop.amend_against("good", &[]);
    ran.exits(3).tells("is it good or defective?");
}

#[test]
fn a_sample_of_goods_moves_the_thresholds_and_is_not_taken_twice() {
    let shop = Shop::new(&[]);
    let before = shop.old().operating().expect("evidence").goods.len();
    let report = shop.amend(&["--sample", "--json"]).exits(0).json();
    assert!(
        number(&report["new"]["unknown"]["threshold"])
            > number(&report["old"]["unknown"]["threshold"])
    );
    let new = shop.new_product();
    assert_eq!(new.operating().expect("evidence").goods.len(), before + 3);
    let (bundle, goods) = (shop.at("new.pgp"), shop.at("good"));
    let words = [
        "amend",
        &*bundle,
        "--goods",
        &*goods,
        "-o",
        &*shop.at("third.pgp"),
    ]
    .map(str::to_owned);
    train(&words).exits(3).tells("images of the fit");
}

#[test]
fn means_are_those_of_a_fit_on_all_images() {
    let bench = Bench::new();
    goods(&bench.at("eight"), 1, 0, 8);
    goods(&bench.at("three"), 1, 8, 3);
    goods(&bench.at("eleven"), 1, 0, 11);
    let rule = ["--method", "bank-gaussian"];
    fit(&bench.at("eight"), &bench.at("old.pgp"), &rule).exits(0);
    fit(&bench.at("eleven"), &bench.at("all.pgp"), &rule).exits(0);
    let [old, goods, new] = ["old.pgp", "three", "new.pgp"].map(|name| text(&bench.at(name)));
    train(&["amend", &*old, "--goods", &*goods, "-o", &*new]).exits(0);
    let mean = |name: &str| -> Vec<f32> {
        let product = opened(&bench.at(name));
        let bytes = product.section(SectionKind::GaussianMean).expect("means");
        let numbers = bytes.as_chunks::<4>().0.iter();
        numbers.map(|&b| f32::from_le_bytes(b)).collect()
    };
    let (amended, refitted, before) = (mean("new.pgp"), mean("all.pgp"), mean("old.pgp"));
    let away = |a: &[f32], b: &[f32]| {
        let pairs = a.iter().zip(b);
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    let (error, moved) = (away(&amended, &refitted), away(&before, &refitted));
    assert!(error < 1e-4 * moved, "{error} of {moved}");
}
