//! Frame to network input: region of interest, antialiased bilinear resize, crop, normalise, and for
//! a network in integers round to its bytes.
//!
//! The trainer and the board use the same function, so that the fit and the inspection see the same
//! numbers. Everything is f32 with additions and multiplications in a fixed order: the same bits on
//! every processor.

use super::background::{Background, BackgroundRemover};
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

impl std::fmt::Display for Rect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            x,
            y,
            width,
            height,
        } = self;
        write!(f, "{width} x {height} pixels from {x}, {y}")
    }
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
    #[error("region of interest of {roi} is empty")]
    EmptyRoi {
        /// The region.
        roi: Rect,
    },
    /// The region reaches over the edge of the frame.
    #[error(
        "region of interest of {roi} does not lie inside the {width} x {height} frame; was the camera's resolution changed?"
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
    /// What is done to the whole result before it is normalised, with room for it.
    remover: Option<(BackgroundRemover, Vec<f32>)>,
}

/// Values of a line that are finished together: whole vectors, and whole pixels.
const BATCH: usize = 48;

/// Where normalised lines go.
trait Sink {
    /// Line `y`: `values`, three per pixel, become `value * scale + offset`.
    fn line(&mut self, y: usize, values: &[f32], scale: &[f32; BATCH], offset: &[f32; BATCH]);
}

/// `[height, width, 3]`, as they are.
struct Whole<'a>(&'a mut [f32]);

impl Sink for Whole<'_> {
    fn line(&mut self, y: usize, values: &[f32], _: &[f32; BATCH], _: &[f32; BATCH]) {
        self.0[y * values.len()..][..values.len()].copy_from_slice(values);
    }
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
            remover: None,
        }
    }

    /// The same with the background changed as `background` says, if it does.
    #[must_use]
    pub fn with_background(self, background: Option<&Background>) -> Self {
        let size = self.geometry.size();
        let remover = |background: &Background| {
            let room = vec![0.0; 3 * size.area()];
            (BackgroundRemover::new(background.clone(), size), room)
        };
        Self {
            remover: background.map(remover),
            ..self
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

    fn fill(&mut self, frame: &Frame, mut out: impl Sink) -> Result<(), GeometryError> {
        // Out of its place while the picture is made.
        let Some((mut remover, mut whole)) = self.remover.take() else {
            return self.resized(frame, out);
        };
        let outcome = self.resized(frame, Whole(&mut whole));
        if outcome.is_ok() {
            remover.run(&mut whole);
            let (scale, offset) = self.factors();
            let line = 3 * self.geometry.size().width;
            for (y, values) in whole.chunks_exact(line).enumerate() {
                out.line(y, values, &scale, &offset);
            }
        }
        self.remover = Some((remover, whole));
        outcome
    }

    /// Factors and offsets of a batch of values.
    fn factors(&self) -> ([f32; BATCH], [f32; BATCH]) {
        (
            std::array::from_fn(|i| self.scale[i % 3]),
            std::array::from_fn(|i| self.offset[i % 3]),
        )
    }

    fn resized(&mut self, frame: &Frame, out: impl Sink) -> Result<(), GeometryError> {
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
        let (scale, offset) = self.factors();
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
mod tests;
