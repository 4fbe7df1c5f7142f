//! Pictures and networks of another kind than those of the fit give no verdict that a gate could take
//! for OK, in every command that inspects (docs/inputs.md). The trainer's side is in
//! `trainer/tests/inputs.rs`.

#![allow(clippy::expect_used, clippy::panic)]

mod bundle;
mod command;

use command::{Bench, Ran, field, partgate, text};
use image::{GrayImage, ImageBuffer, Luma, RgbImage};
use partgate::frame::{Frame, PixelFormat, Pixels, RawFrame};
use partgate::inspection::Inspector;
use partgate::network::Threads;
use partgate::product::{Inputs, Light, LightMeasure, Product};
use partgate::simulation::part::Renderer;
use partgate::station::{PartInspector, ProductInspector};
use std::path::Path;

fn part(i: u64) -> RgbImage {
    let part = Renderer::new(1).good(i);
    RgbImage::from_raw(part.width as u32, part.height as u32, part.rgb).expect("whole")
}

/// A grey part with `bits` bits at the right of 16.
fn deep(i: u64, bits: u8) -> ImageBuffer<Luma<u16>, Vec<u16>> {
    let grey: GrayImage = image::DynamicImage::ImageRgb8(part(i)).to_luma8();
    let most = (1u32 << bits) - 1;
    ImageBuffer::from_fn(grey.width(), grey.height(), |x, y| {
        Luma([(u32::from(grey.get_pixel(x, y).0[0]) * most / 255) as u16])
    })
}

/// Writes `picture` as JPEG with an EXIF orientation.
fn oriented(picture: &RgbImage, path: &Path, orientation: u8) {
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture
        .write_to(&mut bytes, image::ImageFormat::Jpeg)
        .expect("encode");
    let bytes = bytes.into_inner();
    // APP1 with one entry: tag 0x0112, short, 1 value (EXIF 2.3, 4.6.4).
    let mut exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01".to_vec();
    exif.extend([0, orientation, 0, 0, 0, 0, 0, 0]);
    let length = ((exif.len() + 2) as u16).to_be_bytes();
    let whole = [&bytes[..2], &[0xff, 0xe1], &length, &exif, &bytes[2..]].concat();
    std::fs::write(path, whole).expect("write");
}

/// A bundle that finds every picture OK that it takes, fitted on pictures like `inputs`.
fn lenient(bench: &Bench, inputs: &Inputs) -> String {
    let bytes = bundle::with_inputs(&bundle::with_thresholds(1e6, 1e6), inputs);
    text(&bench.write("part.pgp", &bytes))
}

/// What the line's inspector says of a frame: its error, or nothing.
fn on_the_line(bundle: &str, raw: &RawFrame) -> Result<(), String> {
    let product = Product::open(bundle.as_ref()).expect("a bundle");
    let inspector = Inspector::new(&product, &Threads::default()).expect("loads");
    let mut line = ProductInspector::new(product, inspector, None);
    let outcome = line.inspect(raw);
    outcome
        .map(|_| ())
        .map_err(|e| partgate::causes::causes(&e).join(": "))
}

fn file_frame(path: &Path) -> RawFrame {
    let bytes = std::fs::read(path).expect("read");
    let mut raw = RawFrame::with_capacity(bytes.len());
    (raw.bytes, raw.format) = (bytes, PixelFormat::File);
    raw
}

/// `config check` of a line that takes its pictures from `folder`.
fn config_check(bench: &Bench, bundle: &str, camera: &str) -> Ran {
    std::fs::create_dir_all(bench.at("record")).expect("folder");
    let text = format!(
        "product = {bundle:?}\nboard = \"generic-x86\"\n[camera]\n{camera}\n[trigger]\nkind = \"socket\"\n\
         min_pitch_ms = 1000\n[capture]\nexposure_max_ms = 100\ndelivery_ms = 100\n[gate]\nafter_ms = 60000\n\
         pulse_ms = 40\nejector = \"pass\"\n[inference]\ntimeout_ms = 60000\n\
         [lines]\npass = \"line partgate-test-of-a-line\"\n[record]\nfolder = \"record\"\n\
         images_quota_mib = 1\nmin_free_mib = 1\nlog_max_mib = 1\n[control]\nsocket = \"control.sock\"\n\
         [trust]\nallow_unsigned = true\n"
    );
    let path = bench.write("line.toml", text.as_bytes());
    partgate(&["config", "check", &path.display().to_string()])
}

/// Asserts that the picture in `folder` is refused by the gate, the configuration's check and the
/// line, all with `words`; and that `score` without a gate warns.
fn refused_everywhere(bench: &Bench, bundle: &str, folder: &str, words: &str) {
    let path = text(&bench.at(folder));
    let ran = partgate(&["score", bundle, &path, "--gate"]).exits(3);
    let line = &ran.lines()[0];
    assert_eq!(line["verdict"], "UNKNOWN", "{line}");
    assert!(
        line["error"].as_str().expect("an error").contains(words),
        "{line}"
    );
    let camera = format!("source = \"folder\"\nfolder = {folder:?}");
    config_check(bench, bundle, &camera)
        .exits(3)
        .tells_anywhere(words);
    let file = std::fs::read_dir(bench.at(folder))
        .expect("list")
        .next()
        .expect("one");
    let error = on_the_line(bundle, &file_frame(&file.expect("entry").path())).expect_err("judged");
    assert!(error.contains(words), "{error}");
}

impl Ran {
    fn tells_anywhere(self, what: &str) -> Self {
        let all = format!("{}{}", self.stdout, self.stderr);
        assert!(all.contains(what), "`{what}` is not in: {all}");
        self
    }
}

fn folder(bench: &Bench, name: &str) -> std::path::PathBuf {
    let folder = bench.at(name);
    std::fs::create_dir_all(&folder).expect("folder");
    folder
}

#[test]
fn pictures_within_the_range_of_the_fit_are_judged_and_others_are_not() {
    let bench = Bench::new();
    let one_taller = Inputs {
        height: [256, 257],
        aspect: [320.0 / 257.0, 1.25],
        ..bundle::inputs()
    };
    let bundle = lenient(&bench, &one_taller);
    part(1)
        .save(folder(&bench, "fits").join("a.png"))
        .expect("write");
    let fits = text(&bench.at("fits"));
    partgate(&["score", &bundle, &fits, "--gate"]).exits(0);
    on_the_line(&bundle, &file_frame(&bench.at("fits/a.png"))).expect("judged");
    let resize = |w, h| image::imageops::resize(&part(1), w, h, image::imageops::Triangle);
    resize(640, 256)
        .save(folder(&bench, "wide").join("a.png"))
        .expect("write");
    refused_everywhere(&bench, &bundle, "wide", "another view");
    partgate(&["score", &bundle, &text(&bench.at("wide"))])
        .exits(0)
        .tells("another view");
    let camera = "source = \"v4l2\"\nwidth = 640\nheight = 256";
    config_check(&bench, &bundle, camera)
        .exits(3)
        .tells_anywhere("another view");
}

#[test]
fn a_picture_that_lies_another_way_in_its_file_is_not_judged() {
    let bench = Bench::new();
    let bundle = lenient(&bench, &bundle::inputs());
    oriented(&part(1), &folder(&bench, "turned").join("a.jpg"), 3);
    refused_everywhere(&bench, &bundle, "turned", "EXIF orientation 3");
    // A product that turns its pictures sees the same as of the upright file.
    let upright = Inputs {
        upright: true,
        ..bundle::inputs()
    };
    let bundle = lenient(&bench, &upright);
    let turned = image::imageops::rotate180(&part(1));
    oriented(&turned, &folder(&bench, "both").join("turned.jpg"), 3);
    oriented(&part(1), &bench.at("both/upright.jpg"), 1);
    let ran = partgate(&["score", &bundle, &text(&bench.at("both")), "--gate"]).exits(0);
    let scores: Vec<f64> = ran
        .lines()
        .iter()
        .map(|l| l["score"].as_f64().expect("score"))
        .collect();
    assert!((scores[0] / scores[1] - 1.0).abs() < 0.05, "{scores:?}");
}

#[test]
fn a_picture_in_other_light_is_not_judged() {
    let bench = Bench::new();
    let bytes = bundle::with_inputs(&bundle::with_thresholds(1e6, 1e6), &bundle::inputs());
    let product = Product::from_bytes(bytes, "before").expect("a bundle");
    let frame = |picture: &RgbImage| {
        let (w, h) = (picture.width() as usize, picture.height() as usize);
        Frame::new(w, h, Pixels::Rgb8(picture.as_raw().clone())).expect("a frame")
    };
    let seen = LightMeasure::of(&frame(&part(1)));
    let light = Light {
        lowest: seen,
        highest: seen,
        below: LightMeasure([0.3; 4]),
        above: LightMeasure([0.3; 4]),
        trials: Vec::new(),
    };
    let sections = vec![light.section().expect("JSON")];
    let manifest = product.manifest().clone();
    let bytes = product.rewritten_with(manifest, sections).expect("bytes");
    let bundle = text(&bench.write("part.pgp", &bytes));
    let lit = |name: &str, factor: fn(usize, u32, u32) -> f32| {
        let mut picture = part(1);
        for (x, y, pixel) in picture.enumerate_pixels_mut() {
            for (channel, value) in pixel.0.iter_mut().enumerate() {
                *value = (f32::from(*value) * factor(channel, x, y)).min(255.0) as u8;
            }
        }
        picture
            .save(folder(&bench, name).join("a.png"))
            .expect("write");
    };
    lit("same", |_, _, _| 0.9);
    let same = text(&bench.at("same"));
    partgate(&["score", &bundle, &same, "--gate"]).exits(0);
    on_the_line(&bundle, &file_frame(&bench.at("same/a.png"))).expect("inspected");
    lit("dim", |_, _, _| 0.5);
    lit("warm", |channel, _, _| [1.2, 1.0, 0.8][channel]);
    lit("lamp", |_, x, _| 1.2 - 0.7 * x as f32 / 320.0);
    lit("below", |_, _, y| 0.5 + 0.7 * y as f32 / 256.0);
    for (name, what) in [
        ("dim", "brightness over full scale"),
        ("warm", "red over blue"),
        ("lamp", "left half over right half"),
        ("below", "upper half over lower half"),
    ] {
        refused_everywhere(&bench, &bundle, name, what);
    }
    partgate(&["score", &bundle, &text(&bench.at("dim"))])
        .exits(0)
        .tells("other light than that of the fit");
    partgate(&["inspect", &bundle])
        .exits(0)
        .tells_anywhere("upper half over lower half");
}

#[test]
fn the_depth_of_the_fit_is_checked() {
    let bench = Bench::new();
    let full = lenient(&bench, &bundle::inputs());
    deep(1, 12)
        .save(folder(&bench, "twelve").join("a.png"))
        .expect("write");
    refused_everywhere(&bench, &full, "twelve", "Mono12");
    let bytes = bundle::with_thresholds(1e6, 1e6);
    let twelve = Inputs {
        bits: 12,
        ..bundle::inputs()
    };
    let twelve = text(&bench.write("twelve.pgp", &bundle::with_inputs(&bytes, &twelve)));
    let score = |bundle: &str, folder: &str| {
        let ran = partgate(&["score", bundle, &text(&bench.at(folder)), "--gate"]).exits(0);
        ran.lines()[0]["score"].as_f64().expect("score")
    };
    let grey = image::DynamicImage::ImageRgb8(part(1)).to_luma8();
    grey.save(folder(&bench, "eight").join("a.png"))
        .expect("write");
    let (a, b) = (score(&twelve, "twelve"), score(&full, "eight"));
    assert!((a / b - 1.0).abs() < 0.05, "{a} and {b}");
    deep(1, 16)
        .save(folder(&bench, "sixteen").join("a.png"))
        .expect("write");
    refused_everywhere(&bench, &twelve, "sixteen", "does not fit into 12 bits");
    deep(1, 10)
        .save(folder(&bench, "ten").join("a.png"))
        .expect("write");
    refused_everywhere(&bench, &twelve, "ten", "samples lie at the right");

    // The same of a camera's Y16.
    let camera = |bits: u8| {
        let picture = deep(1, bits);
        let bytes: Vec<u8> = picture
            .as_raw()
            .iter()
            .flat_map(|s| s.to_le_bytes())
            .collect();
        let mut raw = RawFrame::with_capacity(bytes.len());
        (raw.bytes, raw.format) = (bytes, PixelFormat::Grey16);
        (raw.width, raw.height, raw.stride) = (320, 256, 640);
        raw
    };
    on_the_line(&twelve, &camera(12)).expect("judged");
    for (bundle, bits) in [(&twelve, 10), (&twelve, 16), (&full, 12)] {
        on_the_line(bundle, &camera(bits)).expect_err("judged");
    }
    let config = |bits: &str, format: &str| {
        format!(
            "source = \"v4l2\"\nformat = {format:?}\nbits = {bits:?}\nwidth = 320\nheight = 256"
        )
    };
    let ran = config_check(&bench, &full, &config("12", "Y16")).exits(3);
    ran.tells_anywhere("camera.bits")
        .tells_anywhere("--bits 12");
    let ran = config_check(&bench, &twelve, &config("12", "GREY")).exits(3);
    ran.tells_anywhere("camera.bits");
    let ran = config_check(&bench, &twelve, &config("12", "Y16"));
    assert!(!format!("{}{}", ran.stdout, ran.stderr).contains("camera.bits"));
}

#[test]
fn a_network_without_numbers_never_says_ok() {
    let bench = Bench::new();
    part(1)
        .save(folder(&bench, "parts").join("a.png"))
        .expect("write");
    let parts = text(&bench.at("parts"));
    let sound = text(&bench.write("sound.pgp", &bundle::with_weights(1.0)));
    partgate(&["score", &sound, &parts]).exits(0);
    partgate(&["selftest", &sound]).exits(0);
    let nan = text(&bench.write("nan.pgp", &bundle::with_weights(f32::NAN)));
    partgate(&["score", &nan, &parts, "--gate"])
        .exits(4)
        .tells("is NaN");
    partgate(&["selftest", &nan]).exits(4).tells("is NaN");
    // Finite weights that overflow: Clip would make a bound of the infinity.
    let huge = text(&bench.write("huge.pgp", &bundle::with_weights(1e38)));
    let ran = partgate(&["score", &huge, &parts, "--gate"]).exits(3);
    let line = &ran.lines()[0];
    assert_eq!(line["verdict"], "UNKNOWN", "{line}");
    assert!(
        line["error"].to_string().contains("not a finite number"),
        "{line}"
    );
    partgate(&["selftest", &huge]).exits(4);
    on_the_line(&huge, &file_frame(&bench.at("parts/a.png"))).expect_err("judged");
}

#[test]
fn what_force_overruled_is_shown_for_ever() {
    let bench = Bench::new();
    let forced = Inputs {
        forced: vec!["nothing damaged is rejected".into()],
        ..bundle::inputs()
    };
    let bundle = lenient(&bench, &forced);
    part(1)
        .save(folder(&bench, "parts").join("a.png"))
        .expect("write");
    let parts = text(&bench.at("parts"));
    for arguments in [
        vec!["inspect", &bundle],
        vec!["score", &bundle, &parts],
        vec!["selftest", &bundle],
    ] {
        let ran = partgate(&arguments);
        ran.tells("fitted with --force although nothing damaged is rejected");
    }
    let json = partgate(&["inspect", &bundle, "--json"]).exits(0).json();
    assert_eq!(
        field(&json, "inputs.forced")[0],
        "nothing damaged is rejected"
    );
    let shown = partgate(&["inspect", &bundle]).exits(0).stdout;
    assert!(shown.contains("accepted like 320 x 256"), "{shown}");
}

#[test]
fn files_that_are_not_read_are_counted_by_kind() {
    let bench = Bench::new();
    let bundle = lenient(&bench, &bundle::inputs());
    part(1)
        .save(folder(&bench, "parts").join("a.png"))
        .expect("write");
    for name in ["b.webp", "c.WEBP", "d.pdf", ".e.png"] {
        bench.write(&format!("parts/{name}"), b"x");
    }
    let words = "4 files are passed over: 1 .pdf, 2 .webp, 1 hidden";
    let parts = text(&bench.at("parts"));
    partgate(&["score", &bundle, &parts]).exits(0).tells(words);
    partgate(&["score", &bundle, &parts, "--gate"])
        .exits(3)
        .tells(words);
    let camera = "source = \"folder\"\nfolder = \"parts\"";
    config_check(&bench, &bundle, camera).tells(words);
}

#[test]
fn a_bundle_from_before_judges_as_it_did() {
    let bench = Bench::new();
    let old = text(&bench.write("old.pgp", &bundle::with_thresholds(1e6, 1e6)));
    oriented(&part(1), &folder(&bench, "parts").join("a.jpg"), 3);
    deep(1, 12).save(bench.at("parts/b.png")).expect("write");
    partgate(&["score", &old, &text(&bench.at("parts")), "--gate"]).exits(0);
    let shown = partgate(&["inspect", &old]).exits(0).stdout;
    assert!(shown.contains("nothing is kept of them"), "{shown}");
}
