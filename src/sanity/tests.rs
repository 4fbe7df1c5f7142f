use super::*;
use crate::seed::Rng;
use crate::simulation::part::Renderer;
use proptest::prelude::*;

fn part(index: u64) -> Frame {
    let part = Renderer::new(11).good(index);
    Frame::new(part.width, part.height, Pixels::Rgb8(part.rgb)).expect("frame")
}

/// The picture with the grey levels `of(x, y, channel)`, where `of` gets the original.
fn remade(
    frame: &Frame,
    of: impl Fn(&dyn Fn(i64, i64, usize) -> f32, i64, i64, usize) -> f32,
) -> Frame {
    let (width, height) = (frame.width() as i64, frame.height() as i64);
    let rgb = frame.to_rgb8();
    let at = |x: i64, y: i64, c: usize| {
        let (x, y) = (x.clamp(0, width - 1), y.clamp(0, height - 1));
        f32::from(rgb[(y * width + x) as usize * 3 + c])
    };
    let mut out = Vec::with_capacity(rgb.len());
    for y in 0..height {
        for x in 0..width {
            for c in 0..3 {
                out.push(of(&at, x, y, c).round().clamp(0.0, 255.0) as u8);
            }
        }
    }
    Frame::new(width as usize, height as usize, Pixels::Rgb8(out)).expect("frame")
}

/// A box blur, with sensor noise after it, which no lens blurs.
fn blurred(frame: &Frame, half: i64) -> Frame {
    let noise = std::cell::RefCell::new(Rng::new(5));
    remade(frame, |at, x, y, c| {
        let mut sum = 0.0;
        for dy in -half..=half {
            for dx in -half..=half {
                sum += at(x + dx, y + dy, c);
            }
        }
        sum / ((2 * half + 1) * (2 * half + 1)) as f32 + 1.5 * noise.borrow_mut().gaussian()
    })
}

fn moved(frame: &Frame, dx: i64, dy: i64) -> Frame {
    remade(frame, |at, x, y, c| at(x - dx, y - dy, c))
}

fn lit(frame: &Frame, gain: f32, offset: f32) -> Frame {
    remade(frame, |at, x, y, c| at(x, y, c) * gain + offset)
}

/// Limits for the demonstration part, as printed by the test over its distribution.
const LIMITS: SanitySettings = SanitySettings {
    min_mean: Some(40.0),
    max_saturated_percent: Some(2.0),
    min_sharpness: Some(80.0),
    max_shift_percent: Some(2.0),
};

fn checks() -> Sanity {
    Sanity::new(LIMITS, Some(&part(0))).expect("checks")
}

#[test]
fn good_parts_pass_and_have_room_to_the_limits() {
    let mut sanity = checks();
    let mut all = Vec::new();
    for index in 1..40 {
        let measured = sanity.check(&part(index));
        assert_eq!(measured.finding, None, "part {index}: {measured:?}");
        all.push(measured);
    }
    let range = |of: fn(&Measured) -> f64| {
        let values = all.iter().map(of);
        values.fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(v), h.max(v)))
    };
    println!("mean {:?}", range(|m| m.mean));
    println!("saturated {:?}", range(|m| m.saturated_percent));
    println!("sharpness {:?}", range(|m| m.sharpness));
    println!(
        "shift {:?}",
        range(|m| m.shift.map_or(99.0, |s| s.dx.abs().max(s.dy.abs())))
    );
    println!(
        "correlation {:?}",
        range(|m| m.shift.map_or(0.0, |s| s.correlation))
    );
    println!("margin {:?}", range(|m| m.shift.map_or(0.0, |s| s.margin)));
    for half in 1..3 {
        println!(
            "blurred by {half}: {:.2}",
            sanity.check(&blurred(&part(3), half)).sharpness
        );
    }
}

#[test]
fn what_is_wrong_is_found_and_named() {
    let mut sanity = checks();
    for index in 50..56 {
        let good = part(index);
        let mut find = |frame: &Frame| sanity.check(frame).finding;
        let black = lit(&good, 0.0, 0.0);
        assert!(matches!(
            find(&black),
            Some(Finding::Dark {
                mean: 0.0,
                limit: 40.0
            })
        ));
        let dim = find(&lit(&good, 0.2, 0.0));
        assert!(
            matches!(dim, Some(Finding::Dark { mean, .. }) if mean < 40.0),
            "{dim:?}"
        );
        let bright = find(&lit(&good, 1.0, 120.0));
        assert!(matches!(bright, Some(Finding::Saturated { percent, .. }) if percent > 2.0));
        for half in [1, 2] {
            let soft = find(&blurred(&good, half));
            assert!(matches!(soft, Some(Finding::Blurred { .. })), "{soft:?}");
        }
        for (dx, dy) in [(16, 0), (-16, 13), (0, -10), (20, -18)] {
            let off = find(&moved(&good, dx, dy));
            let Some(Finding::Shifted {
                dx: x,
                dy: y,
                limit,
            }) = off
            else {
                panic!("{dx} {dy}: {off:?}");
            };
            // Parts themselves vary in place, by about a pixel.
            let (wx, wy) = (dx as f64 / 3.2, dy as f64 / 2.56);
            assert!(
                (x - wx).abs() < 1.0 && (y - wy).abs() < 1.0,
                "{x} {y} for {wx} {wy}"
            );
            assert_eq!(limit, 2.0);
        }
        let far = find(&moved(&good, 90, 0));
        assert!(
            matches!(
                far,
                Some(Finding::Placeless { .. } | Finding::Shifted { .. })
            ),
            "{far:?}"
        );
    }
}

#[test]
fn light_does_not_move_the_part() {
    let mut sanity = Sanity::new(SanitySettings::default(), Some(&part(0))).expect("checks");
    for index in 1..6 {
        let good = part(index);
        let plain = sanity.check(&good).shift.expect("shift");
        let gradient = remade(&good, |at, x, y, c| {
            at(x, y, c) * (0.5 + x as f32 / 640.0) + 10.0
        });
        for other in [lit(&good, 0.6, 0.0), lit(&good, 0.8, 40.0), gradient] {
            let shift = sanity.check(&other).shift.expect("shift");
            assert!((shift.dx - plain.dx).abs() < 0.2 && (shift.dy - plain.dy).abs() < 0.2);
            assert!(
                shift.correlation > plain.correlation - 0.05,
                "{shift:?} {plain:?}"
            );
        }
    }
}

#[test]
fn a_picture_that_shows_no_part_has_no_place() {
    let mut sanity = checks();
    let noise = std::cell::RefCell::new(Rng::new(9));
    let empty = remade(&part(0), |_, _, _, _| {
        120.0 + 12.0 * noise.borrow_mut().gaussian()
    });
    let measured = sanity.check(&empty);
    assert!(
        matches!(measured.finding, Some(Finding::Placeless { .. })),
        "{measured:?}"
    );
    assert_eq!(measured.shift, None);
}

#[test]
fn a_reference_without_a_place_is_refused_at_start() {
    let limit = SanitySettings {
        max_shift_percent: Some(2.0),
        ..SanitySettings::default()
    };
    assert_eq!(
        Sanity::new(limit, None).err(),
        Some(SanityError::NoReference)
    );
    let flat = Frame::new(64, 64, Pixels::Gray8(vec![90; 64 * 64])).expect("frame");
    // A comb with a period inside the range fits itself at many positions.
    let comb = (0..256 * 256).map(|i| if (i % 256) / 8 % 2 == 0 { 60 } else { 190 });
    let comb = Frame::new(256, 256, Pixels::Gray8(comb.collect())).expect("frame");
    for reference in [flat, comb] {
        let error = Sanity::new(limit, Some(&reference)).expect_err("refused");
        assert!(error.to_string().contains("no structure"), "{error}");
        // Without a limit the shift is only measured.
        let mut sanity = Sanity::new(SanitySettings::default(), Some(&reference)).expect("checks");
        assert_eq!(sanity.check(&reference).shift, None);
    }
}

#[test]
fn limits_outside_their_range_are_named() {
    for (settings, key) in [
        (
            SanitySettings {
                min_mean: Some(300.0),
                ..LIMITS
            },
            "min_mean",
        ),
        (
            SanitySettings {
                max_saturated_percent: Some(-1.0),
                ..LIMITS
            },
            "max_saturated_percent",
        ),
        (
            SanitySettings {
                min_sharpness: Some(f64::NAN),
                ..LIMITS
            },
            "min_sharpness",
        ),
        (
            SanitySettings {
                max_shift_percent: Some(50.0),
                ..LIMITS
            },
            "max_shift_percent",
        ),
    ] {
        let error = Sanity::new(settings, Some(&part(0))).expect_err("refused");
        assert!(error.to_string().contains(key), "{error}");
    }
}

#[test]
fn every_kind_of_pixels_measures_the_same() {
    let grey: Vec<u8> = part(1).to_rgb8().chunks(3).map(|p| p[1]).collect();
    let deep: Vec<u16> = grey.iter().map(|&g| u16::from(g) * 257).collect();
    let kinds = [
        Pixels::Rgb8(grey.iter().flat_map(|&g| [g; 3]).collect()),
        Pixels::Rgb16(deep.iter().flat_map(|&g| [g; 3]).collect()),
        Pixels::Gray16(deep),
        Pixels::Gray8(grey),
    ];
    let mut sanity = Sanity::new(SanitySettings::default(), Some(&part(0))).expect("checks");
    let measured: Vec<Measured> = kinds
        .into_iter()
        .map(|pixels| sanity.check(&Frame::new(320, 256, pixels).expect("frame")))
        .collect();
    for other in &measured[1..] {
        assert_eq!(other.saturated_percent, measured[0].saturated_percent);
        assert!((other.mean - measured[0].mean).abs() < 0.01, "{measured:?}");
        assert!(
            (other.sharpness - measured[0].sharpness).abs() < 0.5,
            "{measured:?}"
        );
        let (a, b) = (
            other.shift.expect("shift"),
            measured[0].shift.expect("shift"),
        );
        assert!((a.dx - b.dx).abs() < 0.01 && (a.dy - b.dy).abs() < 0.01);
    }
}

#[test]
fn the_numbers_are_what_they_are_called() {
    let mut sanity = Sanity::new(SanitySettings::default(), None).expect("checks");
    let half: Vec<u8> = (0..200 * 100)
        .map(|i| if i % 200 < 100 { 0 } else { 255 })
        .collect();
    let measured = sanity.check(&Frame::new(200, 100, Pixels::Gray8(half)).expect("frame"));
    assert!((measured.mean - 127.5).abs() < 1e-9);
    assert!((measured.saturated_percent - 50.0).abs() < 1e-9);
    // Two of 198 columns are beside an edge of 255: half of the sharpest fiftieth.
    let wanted = (198 * 98usize).div_ceil(50) as f64;
    let on_the_edge = (2 * 98) as f64;
    assert!(
        (measured.sharpness - 255.0 * on_the_edge / wanted).abs() < 1e-9,
        "{measured:?}"
    );
    assert_eq!((measured.shift, measured.finding), (None, None));
}

#[test]
fn memory_is_taken_once() {
    let mut sanity = checks();
    let frame = part(2);
    sanity.check(&frame);
    let before = (
        sanity.points.luma.as_ptr(),
        sanity.points.steepness.as_ptr(),
    );
    sanity.check(&frame);
    assert_eq!(
        (
            sanity.points.luma.as_ptr(),
            sanity.points.steepness.as_ptr()
        ),
        before
    );
}

proptest! {
    #[test]
    fn any_size_is_measured_without_panic(
        width in 1usize..600, height in 1usize..40, turned in any::<bool>(), seed in any::<u64>(),
    ) {
        let (width, height) = if turned { (height, width) } else { (width, height) };
        let mut rng = Rng::new(seed);
        let bytes = (0..width * height).map(|_| rng.below(256) as u8).collect();
        let frame = Frame::new(width, height, Pixels::Gray8(bytes)).expect("frame");
        let mut sanity = Sanity::new(SanitySettings::default(), Some(&frame)).expect("checks");
        let measured = sanity.check(&frame);
        prop_assert!((0.0..=255.0).contains(&measured.mean));
        prop_assert!((0.0..=100.0).contains(&measured.saturated_percent));
        prop_assert!(measured.sharpness.is_finite());
    }
}
