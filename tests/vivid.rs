//! Promise: a kernel camera is listed, opened as configured, streamed with the kernel's times,
//! watched, lost and found again. The tests need the kernel's virtual camera (module `vivid`, one
//! HDMI input, as `board/vm` loads it) and root: `board/vm/run.sh --task test --binary FILE`.

#![cfg(feature = "v4l2")]
#![allow(clippy::expect_used, clippy::panic)]

use partgate::capture::source::{CaptureError, FrameSource};
use partgate::capture::v4l2::{Camera, V4l2Settings, V4l2Source, cameras};
use partgate::clock;
use partgate::frame::Frame;
use partgate::frame::decode;
use partgate::frame::{PixelFormat, RawFrame};
use partgate::time::{Duration, Instant};

/// Frames come sixty times per second; an emulated processor is slower.
const SOON: Duration = Duration::from_secs(10);
const UNPLUG: &str = "/sys/bus/platform/drivers/vivid/unbind";
const PLUG: &str = "/sys/bus/platform/drivers/vivid/bind";

fn camera() -> Camera {
    let cameras = cameras().expect("list");
    let found = cameras.into_iter().find(|c| c.driver == "vivid");
    found.expect("no vivid camera here; board/vm/run.sh --task test has one")
}

fn settings(camera: &Camera, fps: f64) -> V4l2Settings {
    V4l2Settings {
        device: camera.path.clone(),
        width: 640,
        height: 480,
        format: None,
        fps,
        controls: Vec::new(),
    }
}

/// The rate that the input fixes: the refusal of another rate names it.
fn rate(camera: &Camera) -> f64 {
    let error = V4l2Source::new(settings(camera, 7.0)).open();
    let error = error.expect_err("7 frames per second").to_string();
    println!("{error}");
    let rate_text = error
        .split("RGB3 at ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    rate_text.and_then(|rate| rate.parse().ok()).expect("rate")
}

fn open(settings: V4l2Settings) -> (V4l2Source, RawFrame) {
    let mut source = V4l2Source::new(settings);
    source.open().expect("open");
    println!("{}", source.describe());
    let raw = RawFrame::with_capacity(source.frame_bytes());
    (source, raw)
}

fn next(source: &mut V4l2Source, raw: &mut RawFrame) {
    assert!(source.next(raw, SOON).expect("next"), "no frame");
}

#[test]
#[ignore = "wants the kernel module vivid; board/vm has it"]
fn the_offer_of_the_camera_is_listed() {
    let camera = camera();
    println!(
        "{} {} {:?}",
        camera.path.display(),
        camera.name,
        camera.problem
    );
    assert_eq!(camera.problem, None);
    let codes: Vec<String> = camera.formats.iter().map(|f| f.code()).collect();
    for code in ["RGB3", "YUYV", "GREY"] {
        assert!(codes.iter().any(|c| c == code), "{codes:?}");
    }
    // The driver has arrays, rectangles and strings among its controls as well.
    let control = |key: &str| camera.controls.iter().find(|c| c.key == key);
    let brightness = control("brightness").expect("brightness");
    assert!(
        brightness
            .value
            .is_some_and(|v| (brightness.least..=brightness.most).contains(&v))
    );
    println!("{} controls", camera.controls.len());

    let mut large = settings(&camera, 60.0);
    (large.width, large.height) = (30_000, 4000);
    let error = V4l2Source::new(large)
        .open()
        .expect_err("opened")
        .to_string();
    println!("{error}");
    assert!(error.contains("30000"), "{error}");
    let mut jpeg = settings(&camera, 60.0);
    jpeg.format = Some(PixelFormat::Mjpeg);
    let error = V4l2Source::new(jpeg)
        .open()
        .expect_err("opened")
        .to_string();
    println!("{error}");
    assert!(error.contains("MJPG") && error.contains("YUYV"), "{error}");
}

#[test]
#[ignore = "wants the kernel module vivid; board/vm has it"]
fn frames_have_the_kernels_time_and_every_format_shows_the_same() {
    let camera = camera();
    let fps = rate(&camera);
    let mut means: Vec<(PixelFormat, [f64; 3])> = Vec::new();
    for format in [
        None,
        Some(PixelFormat::Rgb24),
        Some(PixelFormat::Bgr24),
        Some(PixelFormat::Yuyv),
        Some(PixelFormat::Grey8),
        Some(PixelFormat::Grey16),
    ] {
        let mut settings = settings(&camera, fps);
        settings.format = format;
        let (mut source, mut raw) = open(settings);
        let mut frame = Frame::blank();
        let (mut last, mut expected) = (Instant(0), None);
        for _ in 0..8 {
            next(&mut source, &mut raw);
            assert!(
                !raw.damaged && raw.time > last,
                "{:?} after {last:?}",
                raw.time
            );
            let number = expected.map_or(raw.sequence, |n: u64| n + u64::from(raw.lost_before));
            assert_eq!(raw.sequence, number);
            (last, expected) = (raw.time, Some(raw.sequence + 1));
            decode(&raw, &mut frame).expect("decode");
            assert_eq!((frame.width(), frame.height()), (640, 480));
        }
        assert_eq!(format.unwrap_or(PixelFormat::Rgb24), raw.format);
        let mut mean = [0.0; 3];
        for pixel in frame.to_rgb8().chunks(3) {
            for (sum, &sample) in mean.iter_mut().zip(pixel) {
                *sum += f64::from(sample) / (640.0 * 480.0);
            }
        }
        println!("{:?}: means {mean:.1?}, {:?}", raw.format, raw.yuv);
        means.push((raw.format, mean));
    }
    let reference = means[1].1;
    for (format, mean) in &means {
        let colour = !matches!(format, PixelFormat::Grey8 | PixelFormat::Grey16);
        for (a, b) in mean.iter().zip(reference) {
            assert!(
                !colour || (a - b).abs() < 4.0,
                "{format:?}: {mean:?}, {reference:?}"
            );
        }
    }
}

#[test]
#[ignore = "wants the kernel module vivid; board/vm has it"]
fn controls_are_set_locked_and_watched() {
    let camera = camera();
    let mut with = settings(&camera, rate(&camera));
    with.controls = vec![("brightness".to_owned(), 100), ("gain".to_owned(), 77)];
    let (mut source, mut raw) = open(with.clone());
    next(&mut source, &mut raw);
    source.check_controls().expect("as set");
    let brightness = camera.controls.iter().find(|c| c.key == "brightness");
    let brightness = brightness.expect("brightness");
    let other = v4l::Device::with_path(&camera.path).expect("second opening");
    let set = |value| {
        let control = v4l::Control {
            id: brightness.id,
            value: v4l::control::Value::Integer(value),
        };
        other.set_control(control).expect("set");
    };
    set(50);
    let error = source.check_controls().expect_err("unnoticed");
    println!("{error}");
    assert!(matches!(error, CaptureError::Changed { .. }), "{error}");
    drop(source);
    set(brightness.default);
    for (name, value, words) in [("brightness", 5000, "255"), ("zoom_in", 1, "brightness")] {
        with.controls = vec![(name.to_owned(), value)];
        let error = V4l2Source::new(with.clone())
            .open()
            .expect_err("opened")
            .to_string();
        println!("{error}");
        assert!(error.contains(name) && error.contains(words), "{error}");
    }
}

#[test]
#[ignore = "wants the kernel module vivid; board/vm has it"]
fn waiting_is_bounded_a_pause_leaves_no_old_frames_after_opening_again() {
    let camera = camera();
    let (mut source, mut raw) = open(settings(&camera, rate(&camera)));
    next(&mut source, &mut raw);
    let before = raw.time;
    clock::sleep(Duration::from_secs(1));
    // Frames that waited are older than the pause; their stamps show it.
    next(&mut source, &mut raw);
    assert!(
        raw.time < before.after(Duration::from_millis(900)),
        "a frame without its time"
    );
    source.open().expect("open again");
    next(&mut source, &mut raw);
    assert!(
        raw.time > before.after(Duration::from_secs(1)),
        "an old frame after opening again"
    );
    let busy = V4l2Source::new(settings(&camera, 60.0))
        .open()
        .expect_err("opened twice");
    println!("{busy}");
}

#[test]
#[ignore = "wants the kernel module vivid; board/vm has it"]
fn an_unplugged_camera_is_noticed_and_found_again() {
    let camera = camera();
    let (mut source, mut raw) = open(settings(&camera, rate(&camera)));
    next(&mut source, &mut raw);
    std::fs::write(UNPLUG, "vivid.0").expect("unbind");
    let start = clock::now();
    let error = loop {
        match source.next(&mut raw, Duration::from_secs(2)) {
            Ok(true) => {}
            Ok(false) => panic!("waited in vain"),
            Err(error) => break error,
        }
    };
    println!("{error}, after {:?}", clock::now().since(start));
    assert!(matches!(error, CaptureError::Lost { .. }), "{error}");
    assert!(clock::now().since(start) < Duration::from_secs(2));
    println!("{}", source.open().expect_err("opened"));
    std::fs::write(PLUG, "vivid.0").expect("bind");
    let start = clock::now();
    while let Err(error) = source.open() {
        assert!(clock::now().since(start) < SOON, "{error}");
        clock::sleep(Duration::from_millis(50));
    }
    next(&mut source, &mut raw);
    println!("back after {:?}", clock::now().since(start));
}
