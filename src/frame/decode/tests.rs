use super::*;
use crate::frame::Pixels;
use crate::time::Instant;
use proptest::prelude::*;

fn raw(format: PixelFormat, width: usize, height: usize, stride: usize) -> RawFrame {
    let mut raw = RawFrame::with_capacity(stride * height);
    raw.bytes = (0..stride * height)
        .map(|i| (i * 7 + i / 5) as u8)
        .collect();
    raw.format = format;
    (raw.width, raw.height, raw.stride) = (width, height, stride);
    (raw.time, raw.sequence) = (Instant(77), 5);
    raw
}

fn decoded(raw: &RawFrame) -> Frame {
    let mut frame = Frame::blank();
    decode(raw, &mut frame).expect("decode");
    frame
}

#[test]
fn padding_is_left_out_and_time_and_sequence_come_along() {
    let raw = raw(PixelFormat::Grey8, 5, 3, 8);
    let frame = decoded(&raw);
    let expected: Vec<u8> = (0..3)
        .flat_map(|y| raw.bytes[y * 8..y * 8 + 5].to_vec())
        .collect();
    assert_eq!(frame.pixels(), &Pixels::Gray8(expected));
    assert_eq!((frame.width(), frame.height()), (5, 3));
    assert_eq!((frame.kernel_time_ns, frame.sequence), (Some(77), 5));
}

#[test]
fn sixteen_bit_samples_are_little_endian() {
    let mut raw = raw(PixelFormat::Grey16, 2, 1, 4);
    raw.bytes = vec![0x34, 0x12, 0xff, 0x00];
    assert_eq!(
        decoded(&raw).pixels(),
        &Pixels::Gray16(vec![0x1234, 0x00ff])
    );
}

#[test]
fn blue_first_becomes_red_first() {
    let rgb = raw(PixelFormat::Rgb24, 3, 2, 10);
    let mut bgr = rgb.clone();
    bgr.format = PixelFormat::Bgr24;
    for y in 0..2 {
        for x in 0..3 {
            bgr.bytes.swap(y * 10 + x * 3, y * 10 + x * 3 + 2);
        }
    }
    let frame = decoded(&rgb);
    assert_eq!(frame, decoded(&bgr));
    let expected: Vec<u8> = [&rgb.bytes[..9], &rgb.bytes[10..19]].concat();
    assert_eq!(frame.pixels(), &Pixels::Rgb8(expected));
}

/// ITU-R BT.601-7 and BT.709-6 written out with their own decimals, limited range: luma 16..=235,
/// colour differences 16..=240; and JFIF 1.02 for BT.601 in full range.
fn reference(coding: YuvCoding, y: u8, u: u8, v: u8) -> [f64; 3] {
    let (y, u, v) = (f64::from(y), f64::from(u) - 128.0, f64::from(v) - 128.0);
    match (coding.matrix, coding.full_range) {
        (YuvMatrix::Bt601, true) => [
            y + 1.402 * v,
            y - 0.344_136 * u - 0.714_136 * v,
            y + 1.772 * u,
        ],
        (YuvMatrix::Bt601, false) => {
            let y = 1.164_384 * (y - 16.0);
            [
                y + 1.596_027 * v,
                y - 0.391_762 * u - 0.812_968 * v,
                y + 2.017_232 * u,
            ]
        }
        (YuvMatrix::Bt709, true) => [
            y + 1.5748 * v,
            y - 0.187_324 * u - 0.468_124 * v,
            y + 1.8556 * u,
        ],
        (YuvMatrix::Bt709, false) => {
            let y = 1.164_384 * (y - 16.0);
            [
                y + 1.792_741 * v,
                y - 0.213_249 * u - 0.532_909 * v,
                y + 2.112_402 * u,
            ]
        }
    }
}

#[test]
fn yuyv_is_the_standards_conversion_over_the_whole_cube() {
    for matrix in [YuvMatrix::Bt601, YuvMatrix::Bt709] {
        for full_range in [false, true] {
            let coding = YuvCoding { matrix, full_range };
            let mut raw = raw(PixelFormat::Yuyv, 512, 1, 1024);
            raw.yuv = coding;
            let mut frame = Frame::blank();
            for u in (0..=255u8).step_by(5) {
                for v in (0..=255u8).step_by(5) {
                    raw.bytes.clear();
                    for y in 0..=255u8 {
                        raw.bytes.extend([y, u, 255 - y, v]);
                    }
                    decode(&raw, &mut frame).expect("decode");
                    let Pixels::Rgb8(rgb) = frame.pixels() else {
                        panic!("colour expected");
                    };
                    for (at, pixel) in rgb.chunks_exact(3).enumerate() {
                        let step = (at / 2) as u8;
                        let y = if at % 2 == 0 { step } else { 255 - step };
                        let wanted = reference(coding, y, u, v);
                        for (&got, wanted) in pixel.iter().zip(wanted) {
                            let wanted = wanted.clamp(0.0, 255.0);
                            assert!(
                                (f64::from(got) - wanted).abs() < 0.51,
                                "{coding:?} {y} {u} {v}: {got} for {wanted}"
                            );
                        }
                    }
                }
            }
        }
    }
}

fn jpeg(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, 90]))
        .write_to(&mut bytes, image::ImageFormat::Jpeg)
        .expect("encode");
    bytes.into_inner()
}

#[test]
fn jpeg_frames_are_decoded_and_cut_ones_refused() {
    let mut frame = raw(PixelFormat::Mjpeg, 40, 30, 0);
    frame.bytes = jpeg(40, 30);
    let picture = decoded(&frame);
    assert_eq!((picture.width(), picture.height()), (40, 30));
    assert_eq!((picture.kernel_time_ns, picture.sequence), (Some(77), 5));
    let mut into = Frame::blank();
    // Cameras pad the buffer after the end marker.
    let mut padded = frame.clone();
    padded.bytes.extend([0; 100]);
    decode(&padded, &mut into).expect("padding is not part of the picture");
    assert_eq!(into, picture);
    for cut in 0..frame.bytes.len() - 1 {
        let mut short = frame.clone();
        short.bytes.truncate(cut);
        let error = decode(&short, &mut into).expect_err("cut JPEG accepted");
        assert!(error.to_string().contains(" 5"), "{error}");
    }
    let mut other = frame.clone();
    other.width = 41;
    let error = decode(&other, &mut into).expect_err("another size accepted");
    assert!(error.to_string().contains("40 x 30"), "{error}");
    let mut png = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(40, 30)
        .write_to(&mut png, image::ImageFormat::Png)
        .expect("encode");
    frame.bytes = png.into_inner();
    assert!(matches!(
        decode(&frame, &mut into),
        Err(DecodeError::NoJpeg { .. })
    ));
    frame.format = PixelFormat::File;
    decode(&frame, &mut into).expect("a PNG is a file");
}

#[test]
fn what_does_not_fit_together_is_told_with_its_numbers() {
    let mut into = Frame::blank();
    let mut short = raw(PixelFormat::Rgb24, 10, 4, 32);
    short.bytes.truncate(3 * 32 + 29);
    let error = decode(&short, &mut into).expect_err("short").to_string();
    assert!(
        error.contains("125 bytes") && error.contains("126"),
        "{error}"
    );
    // The last row without its padding is complete.
    short.bytes.push(0);
    decode(&short, &mut into).expect("whole");
    let narrow = raw(PixelFormat::Grey16, 10, 4, 19);
    let error = decode(&narrow, &mut into).expect_err("stride").to_string();
    assert!(error.contains("19 bytes"), "{error}");
    let odd = raw(PixelFormat::Yuyv, 5, 4, 10);
    let error = decode(&odd, &mut into).expect_err("odd width").to_string();
    assert!(error.contains('5'), "{error}");
}

proptest! {
    #[test]
    fn no_sizes_and_no_bytes_make_it_panic(
        format in prop::sample::select(vec![
            PixelFormat::Grey8, PixelFormat::Grey16, PixelFormat::Rgb24, PixelFormat::Bgr24,
            PixelFormat::Yuyv, PixelFormat::Mjpeg, PixelFormat::File,
        ]),
        width in prop_oneof![0usize..40, Just(usize::MAX), Just(usize::MAX / 2 + 1), 32_760usize..32_780],
        height in prop_oneof![0usize..40, Just(usize::MAX), Just(usize::MAX / 2 + 1), 32_760usize..32_780],
        stride in prop_oneof![0usize..130, Just(usize::MAX), Just(usize::MAX / 2 + 1)],
        mut bytes in prop::collection::vec(any::<u8>(), 0..3000),
        as_jpeg in any::<bool>(),
    ) {
        if as_jpeg && bytes.len() > 2 {
            bytes[0] = 0xff;
            bytes[1] = 0xd8;
        }
        let mut raw = RawFrame::with_capacity(0);
        raw.bytes = bytes;
        raw.format = format;
        (raw.width, raw.height, raw.stride) = (width, height, stride);
        let mut frame = Frame::blank();
        if decode(&raw, &mut frame).is_ok() && raw.format != PixelFormat::File {
            prop_assert_eq!((frame.width(), frame.height()), (width, height));
            prop_assert!(raw.bytes.len() >= stride * (height - 1));
        }
    }
}
