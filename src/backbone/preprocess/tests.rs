use super::*;

fn geometry(resize: usize, crop: usize) -> InputGeometry {
    InputGeometry {
        roi: None,
        resize: Size::square(resize),
        crop: Size::square(crop),
    }
}

fn run(frame: &Frame, geometry: InputGeometry) -> Vec<f32> {
    let mut out = vec![0.0; 3 * geometry.size().area()];
    Preprocessor::new(geometry, [0.0; 3], [1.0; 3])
        .run(frame, &mut out)
        .expect("preprocess");
    out
}

fn gradient(width: usize, height: usize) -> Frame {
    let mut v = Vec::new();
    for y in 0..height {
        for x in 0..width {
            v.extend([(x * 7 + y) as u8, (y * 5) as u8, (x * y) as u8]);
        }
    }
    Frame::new(width, height, Pixels::Rgb8(v)).expect("frame")
}

/// The resize as a double sum over all source pixels.
fn reference(frame: &Frame, geometry: &InputGeometry) -> Vec<f32> {
    let rgb = frame.to_rgb8();
    let (resize, crop) = (geometry.resize, geometry.crop);
    let (left, top) = (
        (resize.width - crop.width) / 2,
        (resize.height - crop.height) / 2,
    );
    let weight = |source: usize, resize: usize, out: usize| -> Vec<f64> {
        let scale = source as f64 / resize as f64;
        let support = scale.max(1.0);
        let centre = (out as f64 + 0.5) * scale;
        let w: Vec<f64> = (0..source)
            .map(|i| (1.0 - ((i as f64 + 0.5 - centre) / support).abs()).max(0.0))
            .collect();
        let sum: f64 = w.iter().sum();
        w.into_iter().map(|v| v / sum).collect()
    };
    let mut out = vec![0.0; 3 * crop.area()];
    for c in 0..3 {
        for oy in 0..crop.height {
            let wy = weight(frame.height(), resize.height, oy + top);
            for ox in 0..crop.width {
                let wx = weight(frame.width(), resize.width, ox + left);
                let mut sum = 0.0;
                for (y, &a) in wy.iter().enumerate() {
                    for (x, &b) in wx.iter().enumerate() {
                        sum += a * b * f64::from(rgb[(y * frame.width() + x) * 3 + c]);
                    }
                }
                out[(c * crop.height + oy) * crop.width + ox] = sum as f32;
            }
        }
    }
    out
}

#[test]
fn agrees_with_the_written_out_sum_when_shrinking_and_growing() {
    let square = Size::square;
    for (w, h, resize, crop) in [
        (97, 61, square(32), square(32)),
        (20, 150, square(32), square(16)),
        (9, 5, square(32), square(32)),
        (1, 1, square(32), square(32)),
        (97, 61, Size::new(64, 32), Size::new(64, 32)),
        (20, 150, Size::new(16, 96), Size::new(16, 64)),
        (61, 20, Size::new(33, 40), Size::new(16, 32)),
    ] {
        let frame = gradient(w, h);
        let geometry = InputGeometry {
            roi: None,
            resize,
            crop,
        };
        let got = run(&frame, geometry.clone());
        let want = reference(&frame, &geometry);
        assert_eq!(got.len(), want.len());
        for (g, r) in got.iter().zip(&want) {
            assert!((g - r).abs() < 2e-3, "{w}x{h}: {g} against {r}");
        }
    }
}

#[test]
fn grey_and_sixteen_bit_give_what_colour_eight_bit_gives() {
    let grey: Vec<u8> = (0..40 * 30).map(|i| (i % 251) as u8).collect();
    let colour: Vec<u8> = grey.iter().flat_map(|&g| [g; 3]).collect();
    let deep: Vec<u16> = grey.iter().map(|&g| u16::from(g) * 257).collect();
    let deep_colour: Vec<u16> = colour.iter().map(|&g| u16::from(g) * 257).collect();
    let frame = |p| Frame::new(40, 30, p).expect("frame");
    let want = run(&frame(Pixels::Gray8(grey)), geometry(32, 32));
    for pixels in [
        Pixels::Rgb8(colour),
        Pixels::Gray16(deep),
        Pixels::Rgb16(deep_colour),
    ] {
        let got = run(&frame(pixels), geometry(32, 32));
        for (g, w) in got.iter().zip(&want) {
            assert!((g - w).abs() < 1e-3);
        }
    }
}

#[test]
fn a_region_of_interest_is_the_picture_cut_out() {
    let frame = gradient(50, 40);
    let rgb = frame.to_rgb8();
    let roi = Rect {
        x: 7,
        y: 11,
        width: 30,
        height: 20,
    };
    let mut cut = Vec::new();
    for y in 11..31 {
        cut.extend_from_slice(&rgb[(y * 50 + 7) * 3..(y * 50 + 37) * 3]);
    }
    let cut = Frame::new(30, 20, Pixels::Rgb8(cut)).expect("frame");
    let mut with_roi = geometry(32, 32);
    with_roi.roi = Some(roi);
    assert_eq!(run(&frame, with_roi.clone()), run(&cut, geometry(32, 32)));
    let mut out = vec![0.0; 3 * 32 * 32];
    let error = Preprocessor::new(with_roi, [0.0; 3], [1.0; 3])
        .run(&cut, &mut out)
        .expect_err("region outside accepted");
    assert!(error.to_string().contains("30 x 20"));
}

#[test]
fn bytes_are_what_the_network_rounds_the_numbers_to() {
    let grey: Vec<u16> = (0..70 * 50).map(|i| (i * 37 % 65_536) as u16).collect();
    let frames = [
        gradient(97, 61),
        gradient(20, 150),
        Frame::new(70, 50, Pixels::Gray16(grey)).expect("frame"),
    ];
    for (scale, zero_point) in [(1.0 / 128.0, 127), (0.0123, 40)] {
        let bytes = Bytes { scale, zero_point };
        for frame in &frames {
            let mut preprocessor =
                Preprocessor::new(geometry(96, 64), [127.0, 110.0, 90.0], [128.0, 60.0, 55.0]);
            let mut numbers = vec![0.0f32; 3 * 64 * 64];
            preprocessor.run(frame, &mut numbers).expect("numbers");
            let mut found = vec![0; numbers.len()];
            preprocessor
                .run_bytes(frame, bytes, &mut found)
                .expect("bytes");
            for (i, &byte) in found.iter().enumerate() {
                let number = numbers[i % 3 * 64 * 64 + i / 3];
                let steps = (number / scale).round_ties_even() + f32::from(zero_point);
                assert_eq!(byte, steps.clamp(0.0, 255.0) as u8, "{i}");
            }
        }
    }
}

/// Rows and columns have one meaning each.
#[test]
fn a_transposed_frame_in_a_transposed_geometry_gives_the_transposed_input() {
    let (w, h) = (50, 90);
    let frame = gradient(w, h);
    let rgb = frame.to_rgb8();
    let turned = (0..w * h)
        .flat_map(|i| rgb[((i % h) * w + i / h) * 3..][..3].to_vec())
        .collect();
    let turned = Frame::new(h, w, Pixels::Rgb8(turned)).expect("frame");
    let (resize, crop) = (Size::new(40, 70), Size::new(32, 64));
    let geometry = InputGeometry {
        roi: None,
        resize,
        crop,
    };
    let transposed = InputGeometry {
        roi: None,
        resize: resize.transposed(),
        crop: crop.transposed(),
    };
    let (a, b) = (run(&frame, geometry), run(&turned, transposed));
    for (i, value) in a.iter().enumerate() {
        let (c, y, x) = (i / crop.area(), i % crop.area() / 32, i % 32);
        let other = b[c * crop.area() + x * crop.height + y];
        assert!((value - other).abs() < 1e-3, "{c} {y} {x}: {value} {other}");
    }
}

#[test]
fn frames_of_changing_size_do_not_disturb_each_other() {
    let (a, b) = (gradient(64, 48), gradient(33, 90));
    let mut shared = Preprocessor::new(geometry(32, 32), [127.0; 3], [128.0; 3]);
    let mut out = vec![0.0; 3 * 32 * 32];
    shared.run(&a, &mut out).expect("first");
    let first = out.clone();
    shared.run(&b, &mut out).expect("other size");
    shared.run(&a, &mut out).expect("again");
    assert_eq!(first, out);
}

#[test]
fn geometry_errors_name_the_value() {
    for (resize, crop, word) in [(256, 230, "230"), (200, 224, "200"), (256, 0, " 0 ")] {
        let error = geometry(resize, crop).check(32).expect_err("accepted");
        assert!(error.to_string().contains(word), "{error}");
    }
    assert!(geometry(256, 224).check(32).is_ok());
    let sides = |resize, crop| InputGeometry {
        roi: None,
        resize,
        crop,
    };
    for (resize, crop, words) in [
        ((384, 250), (384, 250), ["side 250", "384 x 250"]),
        ((384, 256), (384, 288), ["384 x 288", "384 x 256"]),
        ((64, 8224), (64, 8224), ["side 8224", "64 x 8224"]),
        ((64, 0), (64, 0), ["side 0", "64 x 0"]),
    ] {
        let (resize, crop) = (Size::new(resize.0, resize.1), Size::new(crop.0, crop.1));
        let error = sides(resize, crop).check(32).expect_err("accepted");
        let text = error.to_string();
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    }
    let strip = sides(Size::new(64, 1024), Size::new(64, 1024));
    assert!(strip.check(32).is_ok());
}
