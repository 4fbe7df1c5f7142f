//! Wrong input of the kinds that the field reports is refused or named, in every command where it can
//! enter, and never makes a product or a figure in silence (docs/inputs.md).

#![allow(clippy::expect_used, clippy::panic)]

mod fixtures;

use fixtures::{
    Bench, Ran, altered_network, copy, data_set, deep_goods, fit, goods, jpeg, opened, own_network,
    picture, quick, text, train, validate,
};
use partgate::simulation::part::{Defect, Renderer};
use serde_json::Value;
use std::path::Path;

fn calibrate(bundle: &Path, goods: &Path, output: &Path) -> Ran {
    let (bundle, goods, output) = (text(bundle), text(goods), text(output));
    train(&["calibrate", &bundle, "--goods", &goods, "-o", &output])
}

/// `command FOLDER` with the settings of a quick fit: `benchmark` or `ablate`.
fn fitting(command: &str, folder: &Path, more: &[&str]) -> Ran {
    let folder = text(folder);
    train(&[&[command, &folder], &quick(more)[..]].concat())
}

fn notes(report: &Value) -> String {
    report["notes"].to_string()
}

#[test]
fn a_network_that_gives_no_numbers_makes_no_product() {
    let bench = Bench::new();
    let set = bench.at("set");
    data_set(&set, 1, 6, &[Defect::Stain]);
    let bundle = bench.at("part.pgp");
    let nan = altered_network(&bench, "nan", |_, values| {
        if values.len() > 1000 {
            values[500] = f32::NAN;
        }
    });
    let nan = ["--backbone", &text(&nan)];
    let huge = altered_network(&bench, "huge", |_, values| {
        if values.len() > 1000 {
            values.iter_mut().for_each(|v| *v *= 1e30);
        }
    });
    let huge = ["--backbone", &text(&huge)];
    for (backbone, problem) in [(nan, "is NaN"), (huge, "not a finite number")] {
        for forced in [&[][..], &["--force"]] {
            let all = [&backbone[..], forced].concat();
            fit(&set, &bundle, &all).exits(3).tells(problem);
        }
        fitting("ablate", &set, &[&backbone[..], &["--rules-only"]].concat())
            .exits(3)
            .tells(problem);
        let out = text(&bench.at("figures"));
        fitting(
            "benchmark",
            &set,
            &[&backbone[..], &["--out", &out]].concat(),
        )
        .exits(3)
        .tells(problem);
    }
    assert!(!bundle.exists());
}

#[test]
fn a_network_that_sees_no_difference_needs_force_and_the_bundle_says_so() {
    let bench = Bench::new();
    goods(&bench.at("parts"), 1, 0, 6);
    let flat = altered_network(&bench, "flat", |_, values| {
        if values.len() > 1000 {
            values.fill(0.0);
        }
    });
    let (bundle, flat) = (bench.at("part.pgp"), text(&flat));
    fit(&bench.at("parts"), &bundle, &["--backbone", &flat])
        .exits(3)
        .tells("the network sees no difference")
        .tells("--force");
    assert!(!bundle.exists());
    let ran = fit(
        &bench.at("parts"),
        &bundle,
        &["--backbone", &flat, "--force", "--json"],
    );
    let report = ran.exits(0).tells("sees no difference").json();
    assert!(report["forced"].to_string().contains("sees no difference"));
    let product = opened(&bundle);
    let audit = &product.manifest().audit;
    assert!(
        audit
            .iter()
            .any(|e| e.action.contains("fitted with --force")),
        "{audit:?}"
    );
    let inputs = product.inputs().expect("kept");
    assert!(
        inputs
            .forced
            .iter()
            .any(|f| f.contains("damaged golden images"))
    );
}

#[test]
fn a_fit_that_rejects_none_of_its_damaged_goldens_needs_force() {
    let bench = Bench::new();
    let parts = bench.at("parts");
    goods(&parts, 1, 0, 6);
    // A picture of something else among the goods lifts the threshold over all damage.
    image::RgbImage::from_fn(320, 256, |x, y| {
        image::Rgb([
            (x * y % 251) as u8,
            (x * 7 % 253) as u8,
            (y * 13 % 255) as u8,
        ])
    })
    .save(parts.join("other.png"))
    .expect("write");
    let bundle = bench.at("part.pgp");
    fit(&parts, &bundle, &[])
        .exits(3)
        .tells("none of the 2 synthetically damaged");
    fit(&parts, &bundle, &["--force"])
        .exits(0)
        .tells("none of the 2");
    assert_eq!(opened(&bundle).inputs().expect("kept").forced.len(), 1);
    // A measurement is made all the same.
    data_set(&bench.at("set"), 1, 6, &[Defect::Stain]);
    std::fs::copy(
        parts.join("other.png"),
        bench.at("set/train/good/other.png"),
    )
    .expect("copy");
    let out = text(&bench.at("figures"));
    fitting("benchmark", &bench.at("set"), &["--out", &out])
        .exits(0)
        .tells("none of the 2");
}

#[test]
fn defects_beside_the_goods_are_not_swept_up() {
    let bench = Bench::new();
    let set = bench.at("lid");
    data_set(&set, 1, 6, &[Defect::Stain]);
    let (bundle, new) = (bench.at("part.pgp"), bench.at("new.pgp"));
    fit(&set, &bundle, &[]).exits(0);
    // One level above a category; and folders of another layout.
    copy(&set.join("train/good"), &bench.at("other/2024/OK"));
    copy(&set.join("test/stain"), &bench.at("other/2024/stain"));
    copy(&set.join("train/good"), &bench.at("masked/a"));
    copy(&set.join("ground_truth/stain"), &bench.at("masked/a/Masks"));
    let above = bench.at("");
    std::fs::create_dir(bench.at("above")).expect("folder");
    copy(&set, &bench.at("above/lid"));
    let instead = [
        (bench.at("above"), text(&bench.at("above/lid"))),
        (bench.at("other"), text(&bench.at("other/2024/OK"))),
        (bench.at("masked"), "good images only".to_owned()),
    ];
    for (folder, cure) in &instead {
        fit(folder, &new, &[])
            .exits(3)
            .tells("holds more than good images")
            .tells(cure);
        calibrate(&bundle, folder, &new).exits(3).tells(cure);
        let out = above.join("damaged");
        train(&["damage", &text(folder), &text(&out)])
            .exits(3)
            .tells(cure);
    }
    assert!(!new.exists());
}

#[test]
fn equal_pictures_count_once_and_near_ones_are_named() {
    let bench = Bench::new();
    let set = bench.at("set");
    data_set(&set, 1, 8, &[Defect::Stain]);
    let good = set.join("train/good");
    std::fs::copy(good.join("002.png"), good.join("copied.png")).expect("copy");
    picture(&good.join("002.png"))
        .save(good.join("resaved.bmp"))
        .expect("write");
    jpeg(
        &picture(&good.join("005.png")),
        &good.join("again.jpg"),
        92,
        None,
    );
    let bundle = bench.at("part.pgp");
    let ran = fit(&set, &bundle, &["--json"]).exits(0);
    let report = ran.json();
    assert_eq!(report["images"], 9);
    let said = notes(&report);
    assert!(
        said.contains("002.png is there 3 times (copied.png, resaved.bmp)"),
        "{said}"
    );
    assert!(said.contains("005.png and again.jpg"), "{said}");
    assert_eq!(
        said.matches(" and ").count(),
        1,
        "distinct goods are no near copies: {said}"
    );
    assert_eq!(opened(&bundle).manifest().thresholds.ng.n, 9);

    let day = bench.at("day");
    goods(&day, 2, 500, 6);
    std::fs::copy(day.join("001.png"), day.join("twice.png")).expect("copy");
    let ran = calibrate(&bundle, &day, &bench.at("new.pgp")).exits(0);
    ran.tells("001.png is there 2 times (twice.png)");
    assert_eq!(opened(&bench.at("new.pgp")).manifest().thresholds.ng.n, 6);

    let test = set.join("test");
    std::fs::copy(test.join("good/001.png"), test.join("good/twice.png")).expect("copy");
    let report = validate(&set, &bundle, &["--json"]).exits(0).json();
    assert_eq!(
        (&report["good"], &report["left_out"]),
        (&4.into(), &1.into())
    );
    std::fs::copy(test.join("stain/001.png"), test.join("good/bad.png")).expect("copy");
    validate(&set, &bundle, &[]).exits(3).tells("another label");
}

#[test]
fn an_odd_size_is_named_and_another_view_is_not_judged() {
    let bench = Bench::new();
    let set = bench.at("set");
    data_set(&set, 1, 8, &[Defect::Stain]);
    let odd = set.join("train/good/003.png");
    let taller = image::imageops::resize(&picture(&odd), 320, 257, image::imageops::Triangle);
    taller.save(&odd).expect("write");
    let bundle = bench.at("part.pgp");
    let report = fit(&set, &bundle, &["--json"]).exits(0).json();
    assert!(
        notes(&report).contains("003.png (320 x 257)"),
        "{}",
        notes(&report)
    );
    let product = opened(&bundle);
    assert!(product.expects_size(640, 512) && product.expects_size(320, 257));
    assert!(!product.expects_size(640, 256) && !product.expects_size(256, 256));

    let stretched = |from: &Path, to: &Path| {
        std::fs::create_dir_all(to.parent().expect("parent")).expect("folder");
        let wide = image::imageops::resize(&picture(from), 640, 256, image::imageops::Triangle);
        wide.save(to).expect("write");
    };
    let day = bench.at("day");
    goods(&day, 2, 500, 6);
    stretched(&day.join("000.png"), &day.join("000.png"));
    calibrate(&bundle, &day, &bench.at("new.pgp"))
        .exits(3)
        .tells("1 of 6 images")
        .tells("000.png: 640 x 256 pixels is another view");
    let good = set.join("test/good");
    stretched(&good.join("000.png"), &good.join("000.png"));
    let report = validate(&set, &bundle, &["--json"]).exits(0).json();
    assert_eq!(report["other_view"], 1);
    assert!(report["false_reject_rate"].as_f64().expect("a rate") >= 0.25);
}

#[test]
fn other_light_is_unknown_until_calibration_has_seen_good_parts_in_it() {
    let bench = Bench::new();
    let set = bench.at("set");
    data_set(&set, 1, 12, &[Defect::Stain]);
    let bundle = bench.at("part.pgp");
    let report = fit(&set, &bundle, &["--json"]).exits(0).json();
    let trials = report["light"]["trials"].as_array().expect("trials");
    assert!(trials.iter().any(|t| t["kind"] == "brightness"), "{report}");
    assert!(trials.iter().all(|t| t["images"].as_u64() <= Some(12)));

    let warm = |from: &Path| {
        let mut picture = picture(from);
        for pixel in picture.pixels_mut() {
            let [red, _, blue] = &mut pixel.0;
            *red = (f32::from(*red) * 1.2) as u8;
            *blue = (f32::from(*blue) * 0.75) as u8;
        }
        picture.save(from).expect("write");
    };
    let test = set.join("test/good");
    warm(&test.join("000.png"));
    let report = validate(&set, &bundle, &["--json"]).exits(0).json();
    assert_eq!(report["other_view"], 1);
    assert!(
        notes(&report).contains("good/000.png: other light than that of the fit"),
        "{}",
        notes(&report)
    );

    let day = bench.at("day");
    goods(&day, 2, 500, 6);
    for i in 0..6 {
        warm(&day.join(format!("{i:03}.png")));
    }
    let new = bench.at("new.pgp");
    calibrate(&bundle, &day, &new).exits(0);
    let report = validate(&set, &new, &["--json"]).exits(0).json();
    assert_eq!(report["other_view"], 0, "{}", notes(&report));
    let product = opened(&new);
    let audit = &product.manifest().audit;
    assert!(
        audit
            .last()
            .expect("an entry")
            .action
            .contains("accepted light is wider"),
        "{audit:?}"
    );
    // Only the thresholds move with a budget.
    let later = bench.at("later.pgp");
    let (from, to) = (text(&new), text(&later));
    train(&["calibrate", &from, "--budget", "5%", "-o", &to]).exits(0);
    assert_eq!(opened(&later).light(), product.light());
}

#[test]
fn images_of_a_few_pixels_are_refused_and_long_ones_named() {
    let bench = Bench::new();
    let bundle = bench.at("part.pgp");
    for (i, side) in [(0, 31), (1, 40)] {
        let path = bench.at(&format!("small/{i}.png"));
        std::fs::create_dir_all(path.parent().expect("parent")).expect("folder");
        image::GrayImage::from_fn(side, 40, |x, y| image::Luma([(x * y) as u8]))
            .save(path)
            .expect("write");
    }
    fit(&bench.at("small"), &bundle, &[])
        .exits(3)
        .tells("0.png: 31 x 40 pixels");
    goods(&bench.at("parts"), 1, 0, 6);
    fit(&bench.at("parts"), &bundle, &["--roi", "10,10,1,1"])
        .exits(3)
        .tells("--roi: 1 x 1");
    let ran = fit(
        &bench.at("parts"),
        &bundle,
        &["--roi", "0,100,320,36", "--force"],
    )
    .exits(0);
    ran.tells("longer than 8:1: --roi");
}

#[test]
fn images_of_the_fit_say_nothing_about_new_parts() {
    let bench = Bench::new();
    let set = bench.at("set");
    data_set(&set, 1, 8, &[Defect::Stain]);
    let (bundle, new) = (bench.at("part.pgp"), bench.at("new.pgp"));
    fit(&set, &bundle, &[]).exits(0);
    let train = set.join("train/good");
    // Half of them, renamed, saved in another format, beside new ones.
    let half = bench.at("half");
    goods(&half, 2, 500, 4);
    for i in 0..4 {
        let from = train.join(format!("{i:03}.png"));
        picture(&from)
            .save(half.join(format!("new{i}.bmp")))
            .expect("write");
    }
    calibrate(&bundle, &half, &new)
        .exits(3)
        .tells("4 of 8 images are images of the fit (new0.bmp");
    calibrate(&bundle, &set, &new).exits(3);
    assert!(!new.exists());

    std::fs::copy(train.join("000.png"), set.join("test/good/fitted.png")).expect("copy");
    let ran = validate(&set, &bundle, &["--json"]).exits(0);
    let report = ran.json();
    assert_eq!(
        (&report["good"], &report["left_out"]),
        (&4.into(), &1.into())
    );
    assert!(notes(&report).contains("1 of 5 good test images are among the images of the fit"));
    for i in 0..4 {
        std::fs::remove_file(set.join(format!("test/good/{i:03}.png"))).expect("remove");
    }
    validate(&set, &bundle, &[])
        .exits(3)
        .tells("no good image is left");
}

#[test]
fn samples_at_the_right_of_16_bits_are_found() {
    let bench = Bench::new();
    let bundle = bench.at("part.pgp");
    let parts = bench.at("parts");
    deep_goods(&parts, 0, 8, 12);
    fit(&parts, &bundle, &[])
        .exits(3)
        .tells("say --bits 12")
        .tells("Mono12");
    fit(&parts, &bundle, &["--bits", "10"])
        .exits(3)
        .tells("does not fit into 10 bits");
    fit(&parts, &bundle, &["--bits", "11"]).exits(2);
    assert!(!bundle.exists());
    fit(&parts, &bundle, &["--bits", "12"]).exits(0);
    let inputs = opened(&bundle).inputs().expect("kept").clone();
    assert_eq!(inputs.bits, 12);

    // The bits are those of 8-bit pictures: the scores are nearly the same.
    goods(&bench.at("grey"), 1, 0, 8);
    for entry in std::fs::read_dir(bench.at("grey")).expect("list") {
        let path = entry.expect("entry").path();
        image::open(&path)
            .expect("picture")
            .to_luma8()
            .save(&path)
            .expect("write");
    }
    let plain = bench.at("plain.pgp");
    fit(&bench.at("grey"), &plain, &["--bits", "12"])
        .exits(3)
        .tells("none of the images has 16-bit");
    fit(&bench.at("grey"), &plain, &[]).exits(0);
    let median = |bundle: &Path| opened(bundle).manifest().training.held_out[1];
    let (a, b) = (median(&bundle), median(&plain));
    assert!((a / b - 1.0).abs() < 0.05, "{a} and {b}");

    // Another depth is no picture of this product, either way.
    let new = bench.at("new.pgp");
    deep_goods(&bench.at("deeper"), 500, 6, 16);
    calibrate(&bundle, &bench.at("deeper"), &new)
        .exits(3)
        .tells("does not fit into 12 bits");
    deep_goods(&bench.at("day"), 500, 6, 12);
    calibrate(&plain, &bench.at("day"), &new)
        .exits(3)
        .tells("6 of 6")
        .tells("Mono12");
    calibrate(&bundle, &bench.at("day"), &new).exits(0);
    assert_eq!(opened(&new).inputs().expect("kept"), &inputs);
}

#[test]
fn a_test_set_is_read_as_its_names_say() {
    let bench = Bench::new();
    let set = bench.at("set");
    data_set(&set, 1, 6, &[Defect::Stain]);
    let bundle = bench.at("part.pgp");
    fit(&set, &bundle, &[]).exits(0);
    let usual = validate(&set, &bundle, &["--json"]).exits(0).json();
    let changed = |change: &dyn Fn(&Path)| {
        let folder = bench.at("changed");
        let _ = std::fs::remove_dir_all(&folder);
        copy(&set, &folder);
        change(&folder);
        validate(&folder, &bundle, &["--json"])
    };
    let rename = |from: &str, to: &str| {
        let (from, to) = (from.to_owned(), to.to_owned());
        move |set: &Path| std::fs::rename(set.join(&from), set.join(&to)).expect("rename")
    };
    // Hidden folders are no kind, and good images may be called otherwise.
    for name in ["Good", "ok", "normal", "OK parts"] {
        let report = changed(&rename("test/good", &format!("test/{name}")))
            .exits(0)
            .json();
        assert_eq!(report["image_auroc"], usual["image_auroc"]);
        assert_eq!(report["good"], 4, "{name}");
    }
    for hidden in ["test/.ipynb_checkpoints", "test/__MACOSX"] {
        let ran = changed(&|set| copy(&set.join("test/good"), &set.join(hidden))).exits(0);
        assert_eq!(ran.json()["defective"], 2);
        ran.tells("1 hidden");
    }
    changed(&rename("test/good/000.png", "test/000.png"))
        .exits(3)
        .tells("directly here (000.png)");
    changed(&|set| std::fs::remove_dir_all(set.join("test/good")).expect("remove"))
        .exits(3)
        .tells("no good images: here is stain: 2");
    changed(&|set| {
        let image = picture(&set.join("test/stain/000.png"));
        image.save(set.join("test/stain/000.bmp")).expect("write");
    })
    .exits(3)
    .tells("a mask for two images");
    // MVTec LOCO, BTAD, MVTec AD 2, and plain folders.
    let loco = changed(&|set| {
        for i in 0..2 {
            let mask = set.join(format!("ground_truth/stain/{i:03}_mask.png"));
            let folder = set.join(format!("ground_truth/stain/{i:03}"));
            std::fs::create_dir(&folder).expect("folder");
            std::fs::rename(mask, folder.join("000.png")).expect("rename");
        }
    });
    let btad = changed(&|set| {
        for i in 0..2 {
            let mask = set.join(format!("ground_truth/stain/{i:03}_mask.png"));
            let bitmap = set.join(format!("ground_truth/stain/{i:03}.bmp"));
            image::open(&mask)
                .expect("mask")
                .to_luma8()
                .save(bitmap)
                .expect("write");
            std::fs::remove_file(mask).expect("remove");
        }
    });
    let second = changed(&|set| {
        rename("test", "test_public")(set);
        rename("ground_truth", "test_public/ground_truth")(set);
    });
    for ran in [loco, btad, second] {
        assert_eq!(ran.exits(0).json()["pixel_auroc"], usual["pixel_auroc"]);
    }
    copy(&set.join("test/good"), &bench.at("plain/ok"));
    copy(&set.join("test/stain"), &bench.at("plain/ng"));
    let plain = validate(&bench.at("plain"), &bundle, &["--json"])
        .exits(0)
        .json();
    assert_eq!(plain["image_auroc"], usual["image_auroc"]);
}

#[test]
fn masks_mark_what_they_show_and_odd_ones_are_named() {
    let bench = Bench::new();
    let set = bench.at("set");
    data_set(&set, 1, 6, &[Defect::Stain]);
    let bundle = bench.at("part.pgp");
    fit(&set, &bundle, &[]).exits(0);
    let usual = validate(&set, &bundle, &["--json"]).exits(0).json();
    let mask = |i: u32| set.join(format!("ground_truth/stain/{i:03}_mask.png"));
    let plain = image::open(mask(0)).expect("mask").to_luma8();
    // Opaque where the defect is: white everywhere, and black everywhere.
    for colour in [255, 0] {
        image::RgbaImage::from_fn(320, 256, |x, y| {
            image::Rgba([colour, colour, colour, plain.get_pixel(x, y).0[0]])
        })
        .save(mask(0))
        .expect("write");
        let report = validate(&set, &bundle, &["--json"]).exits(0).json();
        assert_eq!(report["pixel_auroc"], usual["pixel_auroc"]);
        assert!(
            notes(&report).contains("1 mask coded by opacity"),
            "{}",
            notes(&report)
        );
    }
    image::GrayImage::new(320, 256)
        .save(mask(0))
        .expect("write");
    image::GrayImage::from_fn(320, 256, |x, _| image::Luma([(x / 2) as u8]))
        .save(mask(1))
        .expect("write");
    let said = notes(&validate(&set, &bundle, &["--json"]).exits(0).json());
    for words in [
        "without a single marked pixel",
        "more than two levels",
        "are they inverted",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn exif_orientations_are_said_and_never_mixed() {
    let bench = Bench::new();
    let renderer = Renderer::new(1);
    let part = |i: u64| {
        let part = renderer.good(i);
        image::RgbImage::from_raw(part.width as u32, part.height as u32, part.rgb).expect("whole")
    };
    // Half of the parts lie upside down in their files, which say so.
    let write = |folder: &str, from: u64, turned: &dyn Fn(u64) -> bool| {
        for i in 0..8 {
            let path = bench.at(&format!("{folder}/{i:03}.jpg"));
            if turned(i) {
                let picture = image::imageops::rotate180(&part(from + i));
                jpeg(&picture, &path, 95, Some(3));
            } else {
                jpeg(&part(from + i), &path, 95, None);
            }
        }
    };
    write("mixed", 0, &|i| i % 2 == 0);
    write("turned", 0, &|_| true);
    write("day", 500, &|i| i < 3);
    let (bundle, applied, new) = (bench.at("a.pgp"), bench.at("b.pgp"), bench.at("new.pgp"));
    fit(&bench.at("mixed"), &bundle, &[])
        .exits(3)
        .tells("4 of 8 images have an EXIF orientation other than 1")
        .tells("000.jpg (3)")
        .tells("--exif apply");
    fit(&bench.at("mixed"), &applied, &["--exif", "apply"])
        .exits(0)
        .tells("4 images turned");
    assert!(opened(&applied).reading().upright);
    fit(&bench.at("turned"), &bundle, &[])
        .exits(0)
        .tells("all images have EXIF orientation 3");
    assert_eq!(opened(&bundle).inputs().expect("kept").orientation, 3);

    calibrate(&applied, &bench.at("day"), &new).exits(0);
    calibrate(&bundle, &bench.at("day"), &new)
        .exits(3)
        .tells("3 of 8 images");
    let set = bench.at("set");
    copy(&bench.at("day"), &set.join("test/good"));
    data_set(&bench.at("plain"), 1, 2, &[Defect::Stain]);
    copy(&bench.at("plain/test/stain"), &set.join("test/stain"));
    validate(&set, &bundle, &[]).exits(3).tells("--exif apply");
    validate(&set, &applied, &[]).exits(0);
}

#[test]
fn a_description_is_held_against_its_network() {
    let bench = Bench::new();
    goods(&bench.at("parts"), 1, 0, 4);
    let bundle = bench.at("part.pgp");
    type Change = fn(&mut Value);
    let changes: [(&str, Change); 7] = [
        ("sha256 is", |s| s["sha256"] = "0".repeat(64).into()),
        ("bytes", |s| s["bytes"] = 7.into()),
        ("input.std is", |s| {
            s["input"]["std"] = serde_json::json!([0.229, 0.224, 0.225])
        }),
        ("input.mean is", |s| {
            s["input"]["mean"] = serde_json::json!([0.485, 0.456, 0.406])
        }),
        ("input.multiple_of", |s| {
            s["input"]["multiple_of"] = 4096.into()
        }),
        ("taps is", |s| {
            s["taps"][0]["output"] = s["taps"][1]["output"].clone()
        }),
        ("licence is", |s| s["licence"] = "".into()),
    ];
    for (words, change) in changes {
        let own = text(&own_network(&bench, change));
        fit(&bench.at("parts"), &bundle, &["--backbone", &own])
            .exits(3)
            .tells("own.onnx.json")
            .tells(words);
    }
    assert!(!bundle.exists());
    let own = text(&own_network(&bench, |_| ()));
    fit(
        &bench.at("parts"),
        &bundle,
        &["--backbone", &own, "--force"],
    )
    .exits(0);
}

#[test]
#[cfg(unix)]
fn only_regular_files_are_written() {
    let bench = Bench::new();
    let set = bench.at("set");
    data_set(&set, 1, 6, &[Defect::Stain]);
    let bundle = bench.at("part.pgp");
    fit(&set, &bundle, &[]).exits(0);
    let _socket = std::os::unix::net::UnixListener::bind(bench.at("socket")).expect("socket");
    std::os::unix::fs::symlink("/dev/null", bench.at("link")).expect("link");
    let (set_text, bundle_text) = (text(&set), text(&bundle));
    let good = text(&set.join("test/good"));
    for (target, words) in [("socket", "a device or a pipe"), ("link", "this is a link")] {
        let there = std::fs::symlink_metadata(bench.at(target))
            .expect("there")
            .file_type();
        let out = text(&bench.at(target));
        fit(&set, &bench.at(target), &[]).exits(3).tells(words);
        for arguments in [
            vec![
                "validate",
                &set_text,
                "--bundle",
                &bundle_text,
                "--report",
                &out,
            ],
            vec![
                "validate",
                &set_text,
                "--bundle",
                &bundle_text,
                "--scores",
                &out,
            ],
            vec!["calibrate", &bundle_text, "--goods", &good, "-o", &out],
        ] {
            train(&arguments).exits(3).tells(words);
        }
        let still = std::fs::symlink_metadata(bench.at(target))
            .expect("there")
            .file_type();
        assert_eq!(still, there);
    }
    fit(&set, &bench.at("new/folder/part.pgp"), &[])
        .exits(0)
        .tells("this folder was not there and was made");
}

#[test]
fn files_that_are_not_read_are_counted_by_kind() {
    let bench = Bench::new();
    let set = bench.at("set");
    data_set(&set, 1, 6, &[Defect::Stain]);
    let bundle = bench.at("part.pgp");
    for folder in ["train/good", "test/good"] {
        for name in [
            "a.webp",
            "b.HEIC",
            "c.avif",
            "d.CR2",
            "e.pdf",
            ".hidden.png",
            "f.webp",
        ] {
            bench.write(&format!("set/{folder}/{name}"), b"x");
        }
    }
    let words = "7 files are passed over: 1 .avif, 1 .cr2, 1 .heic, 1 .pdf, 2 .webp, 1 hidden";
    fit(&set, &bundle, &[]).exits(0).tells(words);
    validate(&set, &bundle, &[]).exits(0).tells(words);
    calibrate(&bundle, &set.join("test/good"), &bench.at("new.pgp"))
        .exits(0)
        .tells(words);
    train(&[
        "damage",
        &text(&set),
        &text(&bench.at("damaged")),
        "--count",
        "1",
    ])
    .exits(0)
    .tells(words);
}
