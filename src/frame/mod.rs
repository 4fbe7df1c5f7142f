//! One frame as it left its source: pixels, size, kernel time, sequence number.

mod decode;
pub mod file;
mod raw;
mod reading;

pub use decode::{DecodeError, decode, decode_as};
pub use raw::{PixelFormat, RawFrame, YuvCoding, YuvMatrix, content};
pub use reading::{Picture, RIGHT_ALIGNED, Reading, Said, right_aligned};

use thiserror::Error;

/// Largest accepted side, pixels. A larger frame has a corrupt header.
pub const MAX_SIDE: usize = 32_768;

/// Largest accepted area, pixels (about 12000 x 11000); it bounds memory before the allocation.
pub(crate) const MAX_AREA: usize = 1 << 27;

/// Row-major samples without row padding. 16-bit samples span the full 0..=65535 range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pixels {
    /// One 8-bit sample per pixel.
    Gray8(Vec<u8>),
    /// One 16-bit sample per pixel.
    Gray16(Vec<u16>),
    /// Three 8-bit samples per pixel, red first.
    Rgb8(Vec<u8>),
    /// Three 16-bit samples per pixel, red first.
    Rgb16(Vec<u16>),
}

impl Pixels {
    fn samples(&self) -> usize {
        match self {
            Pixels::Gray8(v) | Pixels::Rgb8(v) => v.len(),
            Pixels::Gray16(v) | Pixels::Rgb16(v) => v.len(),
        }
    }

    /// Samples per pixel: 1 (grey) or 3 (colour).
    pub fn channels(&self) -> usize {
        match self {
            Pixels::Gray8(_) | Pixels::Gray16(_) => 1,
            Pixels::Rgb8(_) | Pixels::Rgb16(_) => 3,
        }
    }
}

/// Why pixels do not make a frame.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// A side or the area is zero or too large.
    #[error(
        "a frame of {width} x {height} pixels is outside what is accepted (1..={MAX_SIDE} per side, {MAX_AREA} in all)"
    )]
    Size {
        /// Width, pixels.
        width: usize,
        /// Height, pixels.
        height: usize,
    },
    /// The buffer does not hold width x height pixels.
    #[error("a {width} x {height} frame needs {expected} samples but {found} were given")]
    Samples {
        /// Width, pixels.
        width: usize,
        /// Height, pixels.
        height: usize,
        /// Number of samples for this size.
        expected: usize,
        /// Number of samples in the buffer.
        found: usize,
    },
}

/// Number of pixels of a frame of this size, if the size is accepted.
fn area(width: usize, height: usize) -> Result<usize, FrameError> {
    let area = width.saturating_mul(height);
    if width == 0 || height == 0 || width > MAX_SIDE || height > MAX_SIDE || area > MAX_AREA {
        return Err(FrameError::Size { width, height });
    }
    Ok(area)
}

fn sized<T: Clone + Default>(mut samples: Vec<T>, count: usize) -> Vec<T> {
    samples.resize(count, T::default());
    samples
}

/// One frame. Invariant: `pixels` has exactly `width * height` pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    width: usize,
    height: usize,
    pixels: Pixels,
    /// When the exposure was taken, CLOCK_MONOTONIC nanoseconds; `None` for files.
    pub kernel_time_ns: Option<u64>,
    /// The source's own counter; a gap means lost frames.
    pub sequence: u64,
}

impl Frame {
    /// Checks size against buffer.
    ///
    /// # Errors
    /// [`FrameError`] if a side is out of range or the buffer has another length.
    pub fn new(width: usize, height: usize, pixels: Pixels) -> Result<Self, FrameError> {
        let expected = area(width, height)? * pixels.channels();
        if pixels.samples() != expected {
            return Err(FrameError::Samples {
                width,
                height,
                expected,
                found: pixels.samples(),
            });
        }
        Ok(Self {
            width,
            height,
            pixels,
            kernel_time_ns: None,
            sequence: 0,
        })
    }

    /// One black pixel: the state of a reused frame before its first refill.
    pub fn blank() -> Self {
        Self {
            width: 1,
            height: 1,
            pixels: Pixels::Gray8(vec![0]),
            kernel_time_ns: None,
            sequence: 0,
        }
    }

    /// Gives the frame a new size as 8-bit grey and returns its `width * height` samples, to be
    /// overwritten; until then they are old data. The memory is reused: frames of one size and kind
    /// cost no allocation after the first.
    ///
    /// # Errors
    /// [`FrameError::Size`] if a side is out of range; the frame is then unchanged.
    pub(crate) fn refill_gray8(
        &mut self,
        width: usize,
        height: usize,
    ) -> Result<&mut [u8], FrameError> {
        let samples = area(width, height)?;
        self.pixels = Pixels::Gray8(sized(self.take_bytes(), samples));
        (self.width, self.height) = (width, height);
        Ok(self.bytes())
    }

    /// As [`Frame::refill_gray8`] for 8-bit colour: `3 * width * height` samples, red first.
    ///
    /// # Errors
    /// [`FrameError::Size`] if a side is out of range; the frame is then unchanged.
    pub(crate) fn refill_rgb8(
        &mut self,
        width: usize,
        height: usize,
    ) -> Result<&mut [u8], FrameError> {
        let samples = area(width, height)? * 3;
        self.pixels = Pixels::Rgb8(sized(self.take_bytes(), samples));
        (self.width, self.height) = (width, height);
        Ok(self.bytes())
    }

    /// As [`Frame::refill_gray8`] for 16-bit grey.
    ///
    /// # Errors
    /// [`FrameError::Size`] if a side is out of range; the frame is then unchanged.
    pub(crate) fn refill_gray16(
        &mut self,
        width: usize,
        height: usize,
    ) -> Result<&mut [u16], FrameError> {
        let samples = area(width, height)?;
        let words = match &mut self.pixels {
            Pixels::Gray16(v) | Pixels::Rgb16(v) => std::mem::take(v),
            Pixels::Gray8(_) | Pixels::Rgb8(_) => Vec::new(),
        };
        self.pixels = Pixels::Gray16(sized(words, samples));
        (self.width, self.height) = (width, height);
        Ok(match &mut self.pixels {
            Pixels::Gray16(v) | Pixels::Rgb16(v) => v,
            Pixels::Gray8(_) | Pixels::Rgb8(_) => &mut [],
        })
    }

    /// The buffer of 8-bit samples, moved out; empty if the frame has 16-bit ones.
    fn take_bytes(&mut self) -> Vec<u8> {
        match &mut self.pixels {
            Pixels::Gray8(v) | Pixels::Rgb8(v) => std::mem::take(v),
            Pixels::Gray16(_) | Pixels::Rgb16(_) => Vec::new(),
        }
    }

    fn bytes(&mut self) -> &mut [u8] {
        match &mut self.pixels {
            Pixels::Gray8(v) | Pixels::Rgb8(v) => v,
            Pixels::Gray16(_) | Pixels::Rgb16(_) => &mut [],
        }
    }

    /// Width, pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height, pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The samples, row-major.
    pub fn pixels(&self) -> &Pixels {
        &self.pixels
    }

    /// 8-bit RGB copy for pictures that people see; 16-bit samples lose their low byte.
    pub fn to_rgb8(&self) -> Vec<u8> {
        match &self.pixels {
            Pixels::Rgb8(v) => v.clone(),
            Pixels::Gray8(v) => v.iter().flat_map(|&g| [g; 3]).collect(),
            Pixels::Gray16(v) => v.iter().flat_map(|&g| [(g >> 8) as u8; 3]).collect(),
            Pixels::Rgb16(v) => v.iter().map(|&s| (s >> 8) as u8).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_and_buffer_must_agree() {
        assert!(Frame::new(2, 2, Pixels::Gray8(vec![0; 4])).is_ok());
        let short = Frame::new(2, 2, Pixels::Rgb8(vec![0; 11]));
        assert!(matches!(
            short,
            Err(FrameError::Samples {
                expected: 12,
                found: 11,
                ..
            })
        ));
        for (w, h) in [
            (0, 2),
            (2, 0),
            (MAX_SIDE + 1, 1),
            (20_000, 20_000),
            (usize::MAX, 2),
        ] {
            let refused = FrameError::Size {
                width: w,
                height: h,
            };
            let new = Frame::new(w, h, Pixels::Gray8(vec![]));
            assert_eq!(new, Err(refused));
            let mut frame = Frame::new(2, 1, Pixels::Gray8(vec![7, 9])).expect("frame");
            let before = frame.clone();
            assert!(frame.refill_gray8(w, h).is_err());
            assert!(frame.refill_rgb8(w, h).is_err());
            assert!(frame.refill_gray16(w, h).is_err());
            assert_eq!(frame, before);
        }
    }

    #[test]
    fn a_refilled_frame_is_one_made_anew() {
        let mut frame = Frame::blank();
        for (w, h) in [(4, 3), (2, 2), (9, 1)] {
            let grey: Vec<u8> = (0..w * h).map(|i| i as u8 + 1).collect();
            let colour: Vec<u8> = (0..3 * w * h).map(|i| i as u8 + 2).collect();
            let deep: Vec<u16> = (0..w * h).map(|i| i as u16 * 300 + 3).collect();
            frame
                .refill_gray8(w, h)
                .expect("grey")
                .copy_from_slice(&grey);
            assert_eq!(frame, Frame::new(w, h, Pixels::Gray8(grey)).expect("frame"));
            frame
                .refill_gray16(w, h)
                .expect("deep")
                .copy_from_slice(&deep);
            assert_eq!(
                frame,
                Frame::new(w, h, Pixels::Gray16(deep)).expect("frame")
            );
            frame
                .refill_rgb8(w, h)
                .expect("rgb")
                .copy_from_slice(&colour);
            assert_eq!(
                frame,
                Frame::new(w, h, Pixels::Rgb8(colour)).expect("frame")
            );
        }
    }

    #[test]
    fn refilling_keeps_the_memory() {
        let mut frame = Frame::blank();
        let first = frame.refill_rgb8(64, 48).expect("rgb").as_ptr();
        frame.refill_gray8(10, 10).expect("grey");
        assert_eq!(frame.refill_rgb8(64, 48).expect("rgb").as_ptr(), first);
    }
}
