//! Frame to network input: region of interest, antialiased bilinear resize, crop, normalise, and for
//! a network in integers round to its bytes.
//!
//! The trainer and the board use the same function, so that the fit and the inspection see the same
//! numbers. Everything is f32 with additions and multiplications in a fixed order: the same bits on
//! every processor.

use crate::frame::{Frame, Pixels};
use crate::network::Bytes;
use crate::size::Size;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A rectangle in source pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rect {
    /// Left edge.
    pub x: u32,
    /// Top edge.
    pub y: u32,
    /// Width, at least 1.
    pub width: u32,
    /// Height, at least 1.
    pub height: u32,
}

/// How a frame becomes the network's input, as fitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputGeometry {
    /// The part of the frame that is inspected; `None`: all of it.
    pub roi: Option<Rect>,
    /// The region is resized to this many pixels, whatever its aspect is.
    pub resize: Size,
    /// Then the central pixels of this size are kept; equal to `resize` if nothing is cut.
    pub crop: Size,
}

impl InputGeometry {
    /// Without crop: the region, or the whole frame, becomes `size` pixels.
    pub fn whole(roi: Option<Rect>, size: Size) -> Self {
        Self {
            roi,
            resize: size,
            crop: size,
        }
    }

    /// The network input, pixels.
    pub fn size(&self) -> Size {
        self.crop
    }

    /// Pixels cut off at the left and at the top by the crop: rounded down, as usual in a centre
    /// crop.
    pub fn margin(&self) -> (usize, usize) {
        let margin = |resize: usize, crop: usize| resize.saturating_sub(crop) / 2;
        (
            margin(self.resize.width, self.crop.width),
            margin(self.resize.height, self.crop.height),
        )
    }

    /// Checks the sizes against each other and against the multiple that the backbone needs.
    ///
    /// # Errors
    /// [`GeometryError`] naming the value.
    pub fn check(&self, multiple_of: u32) -> Result<(), GeometryError> {
        for side in [self.crop.width, self.crop.height] {
            if side == 0 || side > 4096 || !side.is_multiple_of(multiple_of as usize) {
                return Err(GeometryError::Side {
                    side,
                    size: self.crop,
                    multiple_of,
                });
            }
        }
        let (crop, resize) = (self.crop, self.resize);
        if resize.width < crop.width || resize.height < crop.height || resize.longer() > 8192 {
            return Err(GeometryError::Crop { resize, crop });
        }
        if let Some(roi) = self.roi
            && (roi.width == 0 || roi.height == 0)
        {
            return Err(GeometryError::EmptyRoi { roi });
        }
        Ok(())
    }
}

/// Why a geometry cannot be used.
#[derive(Debug, Error)]
pub enum GeometryError {
    /// The network cannot take this side.
    #[error(
        "network input side {side}{} is not usable: it must be a multiple of {multiple_of} from {multiple_of} to 4096",
        of(*size)
    )]
    Side {
        /// Requested side.
        side: usize,
        /// Requested size.
        size: Size,
        /// The multiple that the backbone needs.
        multiple_of: u32,
    },
    /// The crop does not fit in the resized picture.
    #[error(
        "crop {} does not fit into resize {} (crop <= resize <= 8192)",
        crop.briefly(),
        resize.briefly()
    )]
    Crop {
        /// Size after the resize.
        resize: Size,
        /// Size of the crop.
        crop: Size,
    },
    /// A region without pixels.
    #[error("region of interest {roi:?} is empty")]
    EmptyRoi {
        /// The region.
        roi: Rect,
    },
    /// The region reaches over the edge of the frame.
    #[error(
        "region of interest {roi:?} does not lie inside the {width} x {height} frame; was the camera's resolution changed?"
    )]
    RoiOutside {
        /// The region.
        roi: Rect,
        /// Frame width.
        width: usize,
        /// Frame height.
        height: usize,
    },
}

/// The size beside a side of it; nothing for a square, whose side says all.
fn of(size: Size) -> String {
    if size.is_square() {
        String::new()
    } else {
        format!(" of {size}")
    }
}

/// For each output sample: the first source index, and the weights of the samples from there on.
#[derive(Clone, Debug, Default)]
struct Taps {
    first: Vec<u32>,
    /// `span` weights per output sample, padded with zeros, which sum to 1.
    weights: Vec<f32>,
    span: usize,
}

impl Taps {
    /// Triangle filter, widened by the scale when shrinking (antialiased bilinear), pixel centres at
    /// half-integers, weights renormalised at the borders: the definition in Pillow and torchvision,
    /// without their rounding to 8 bits between the passes.
    fn new(source: usize, target: usize, from: usize, count: usize) -> Self {
        let scale = source as f64 / target as f64;
        let support = scale.max(1.0);
        let span = (2.0 * support).ceil() as usize + 1;
        let span = span.min(source);
        let mut taps = Taps {
            first: Vec::with_capacity(count),
            weights: Vec::with_capacity(count * span),
            span,
        };
        for out in from..from + count {
            let centre = (out as f64 + 0.5) * scale;
            let low = (centre - support + 0.5).floor().max(0.0) as usize;
            let low = low.min(source - span);
            let mut weights: Vec<f64> = (low..low + span)
                .map(|i| (1.0 - ((i as f64 + 0.5 - centre) / support).abs()).max(0.0))
                .collect();
            let sum: f64 = weights.iter().sum();
            weights.iter_mut().for_each(|w| *w /= sum);
            taps.first.push(low as u32);
            taps.weights.extend(weights.iter().map(|&w| w as f32));
        }
        taps
    }
}

/// Resizes, crops and normalises frames. It keeps its tables and rows, so that frames of one size
/// allocate nothing after the first.
#[derive(Clone, Debug)]
pub struct Preprocessor {
    geometry: InputGeometry,
    scale: [f32; 3],
    offset: [f32; 3],
    tables_for: Option<(usize, usize)>,
    vertical: Taps,
    horizontal: Taps,
    row: Vec<f32>,
    /// A row of the result, three channels per pixel, before it is normalised.
    line: Vec<f32>,
}

/// Values of a line that are finished together: whole vectors, and whole pixels.
const BATCH: usize = 48;

/// Where normalised lines go.
trait Sink {
    /// Line `y`: `values`, three per pixel, become `value * scale + offset`.
    fn line(&mut self, y: usize, values: &[f32], scale: &[f32; BATCH], offset: &[f32; BATCH]);
}

/// `[3, height, width]`.
struct Planes<'a>(&'a mut [f32]);

impl Sink for Planes<'_> {
    fn line(&mut self, y: usize, values: &[f32], scale: &[f32; BATCH], offset: &[f32; BATCH]) {
        let width = values.len() / 3;
        let plane = self.0.len() / 3;
        for (x, pixel) in values.chunks_exact(3).enumerate() {
            for c in 0..3 {
                self.0[c * plane + y * width + x] = pixel[c] * scale[c] + offset[c];
            }
        }
    }
}

/// `[height, width, 3]`, each value rounded to a byte.
struct Rounded<'a>(&'a mut [u8], Bytes);

impl Sink for Rounded<'_> {
    fn line(&mut self, y: usize, values: &[f32], scale: &[f32; BATCH], offset: &[f32; BATCH]) {
        let to = &mut self.0[y * values.len()..][..values.len()];
        let bytes = self.1;
        match bytes.inverse() {
            Some(inverse) => each(to, values, scale, offset, |v| {
                bytes.round_steps(v * inverse)
            }),
            None => each(to, values, scale, offset, |v| bytes.round(v)),
        }
    }
}

#[inline(always)]
fn each(
    to: &mut [u8],
    values: &[f32],
    scale: &[f32; BATCH],
    offset: &[f32; BATCH],
    round: impl Fn(f32) -> u8,
) {
    // Arrays of a known length are what becomes vectors.
    let (whole, rest) = values.as_chunks::<BATCH>();
    let (to, to_rest) = to.as_chunks_mut::<BATCH>();
    for (values, to) in whole.iter().zip(to) {
        for i in 0..BATCH {
            to[i] = round(values[i] * scale[i] + offset[i]);
        }
    }
    let by = scale.iter().zip(offset);
    for ((to, value), (scale, offset)) in to_rest.iter_mut().zip(rest).zip(by) {
        *to = round(value * scale + offset);
    }
}

impl Preprocessor {
    /// `mean` and `std` are on the 0..=255 scale, red first: the network gets `(v - mean) / std`.
    pub fn new(geometry: InputGeometry, mean: [f32; 3], std: [f32; 3]) -> Self {
        Self {
            geometry,
            scale: std.map(|s| 1.0 / s),
            offset: std::array::from_fn(|c| -mean[c] / std[c]),
            tables_for: None,
            vertical: Taps::default(),
            horizontal: Taps::default(),
            row: Vec::new(),
            line: Vec::new(),
        }
    }

    /// The geometry it was made with.
    pub fn geometry(&self) -> &InputGeometry {
        &self.geometry
    }

    /// Fills `out`, `[3, height, width]` f32, channel-major, red first. A grey frame fills the three
    /// channels alike; 257 steps of 16-bit samples count as one 8-bit step.
    ///
    /// # Errors
    /// [`GeometryError::RoiOutside`] if the frame is smaller than the fitted region.
    ///
    /// # Panics
    /// If `out` is not `3 * height * width` long: a programming error.
    pub fn run(&mut self, frame: &Frame, out: &mut [f32]) -> Result<(), GeometryError> {
        let area = self.geometry.size().area();
        assert_eq!(out.len(), 3 * area, "network input buffer");
        self.fill(frame, Planes(out))
    }

    /// As [`Preprocessor::run`], with every number rounded to a byte as the network rounds it: `out`
    /// is `[height, width, 3]`, red first.
    ///
    /// # Errors
    /// [`GeometryError::RoiOutside`] if the frame is smaller than the fitted region.
    ///
    /// # Panics
    /// If `out` is not `3 * height * width` long: a programming error.
    pub(crate) fn run_bytes(
        &mut self,
        frame: &Frame,
        bytes: Bytes,
        out: &mut [u8],
    ) -> Result<(), GeometryError> {
        let area = self.geometry.size().area();
        assert_eq!(out.len(), 3 * area, "network input buffer");
        self.fill(frame, Rounded(out, bytes))
    }

    fn fill(&mut self, frame: &Frame, out: impl Sink) -> Result<(), GeometryError> {
        let size = self.geometry.size();
        let (width, height) = (frame.width(), frame.height());
        let roi = self.geometry.roi.unwrap_or(Rect {
            x: 0,
            y: 0,
            width: width as u32,
            height: height as u32,
        });
        let inside = u64::from(roi.x) + u64::from(roi.width) <= width as u64
            && u64::from(roi.y) + u64::from(roi.height) <= height as u64;
        if !inside {
            return Err(GeometryError::RoiOutside { roi, width, height });
        }
        let (rw, rh) = (roi.width as usize, roi.height as usize);
        if self.tables_for != Some((rw, rh)) {
            let resize = self.geometry.resize;
            let (left, top) = self.geometry.margin();
            self.vertical = Taps::new(rh, resize.height, top, size.height);
            self.horizontal = Taps::new(rw, resize.width, left, size.width);
            self.tables_for = Some((rw, rh));
        }
        let channels = frame.pixels().channels();
        self.row.resize(rw * channels, 0.0);
        self.line.resize(3 * size.width, 0.0);
        match frame.pixels() {
            Pixels::Gray8(v) => self.resize::<u8, 1>(v, width, roi, 1.0, out),
            Pixels::Gray16(v) => self.resize::<u16, 1>(v, width, roi, 1.0 / 257.0, out),
            Pixels::Rgb8(v) => self.resize::<u8, 3>(v, width, roi, 1.0, out),
            Pixels::Rgb16(v) => self.resize::<u16, 3>(v, width, roi, 1.0 / 257.0, out),
        }
        Ok(())
    }

    /// The vertical pass comes first: it works on whole rows, which vectorises for any number of
    /// channels, and leaves only the rows of the result for the horizontal pass.
    fn resize<T: Copy + Into<f32>, const C: usize>(
        &mut self,
        samples: &[T],
        width: usize,
        roi: Rect,
        depth_scale: f32,
        mut out: impl Sink,
    ) {
        let size = self.geometry.size();
        let (x0, y0) = (roi.x as usize, roi.y as usize);
        let row_len = roi.width as usize * C;
        let scale = std::array::from_fn(|i| self.scale[i % 3]);
        let offset = std::array::from_fn(|i| self.offset[i % 3]);
        for oy in 0..size.height {
            let first = self.vertical.first[oy] as usize;
            let weights = &self.vertical.weights[oy * self.vertical.span..][..self.vertical.span];
            self.row.fill(0.0);
            for (k, &weight) in weights.iter().enumerate() {
                if weight == 0.0 {
                    continue;
                }
                let start = ((y0 + first + k) * width + x0) * C;
                let source = &samples[start..start + row_len];
                for (acc, &s) in self.row.iter_mut().zip(source) {
                    *acc += weight * s.into();
                }
            }
            for ox in 0..size.width {
                let first = self.horizontal.first[ox] as usize;
                let span = self.horizontal.span;
                let weights = &self.horizontal.weights[ox * span..][..span];
                let mut sum = [0.0f32; C];
                let source = &self.row[first * C..(first + span) * C];
                for (pixel, &weight) in source.chunks_exact(C).zip(weights) {
                    for c in 0..C {
                        sum[c] += weight * pixel[c];
                    }
                }
                for c in 0..3 {
                    self.line[3 * ox + c] = sum[c.min(C - 1)] * depth_scale;
                }
            }
            out.line(oy, &self.line, &scale, &offset);
        }
    }
}

#[cfg(test)]
mod tests {
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
}
