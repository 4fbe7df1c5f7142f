//! Decodes raw frames into memory that is used again.
//!
//! The uncompressed formats allocate no memory after the first frame of their size and kind. MJPEG
//! and image files do: the JPEG, PNG, BMP and TIFF decoders have their own buffers.

use super::file::{ImageFileError, decode_picture};
use super::raw::{PixelFormat, RawFrame, YuvCoding, YuvMatrix};
use crate::frame::{Frame, FrameError, Reading, Said};
use std::path::Path;
use thiserror::Error;

/// Why a raw frame cannot be decoded. Its part is rejected.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// The size is zero or too large.
    #[error("frame {sequence}: {source}")]
    Size {
        /// The source's counter.
        sequence: u64,
        /// The size and what is accepted.
        source: FrameError,
    },
    /// Rows would overlap.
    #[error(
        "frame {sequence}: {stride} bytes from row to row are fewer than the {row} bytes of a row of {width} {format} pixels"
    )]
    Stride {
        /// The source's counter.
        sequence: u64,
        /// Bytes from one row to the next.
        stride: usize,
        /// Bytes of a row.
        row: usize,
        /// Width, pixels.
        width: usize,
        /// The format.
        format: PixelFormat,
    },
    /// The bytes end before the last row does.
    #[error(
        "frame {sequence}: {found} bytes where {width} x {height} {format} pixels take {expected}; the camera's transfer was cut short"
    )]
    Short {
        /// The source's counter.
        sequence: u64,
        /// Bytes given.
        found: usize,
        /// Bytes needed.
        expected: usize,
        /// Width, pixels.
        width: usize,
        /// Height, pixels.
        height: usize,
        /// The format.
        format: PixelFormat,
    },
    /// YUYV holds pixels in pairs.
    #[error("frame {sequence}: YUYV with an odd width of {width} pixels; set an even one")]
    OddWidth {
        /// The source's counter.
        sequence: u64,
        /// Width, pixels.
        width: usize,
    },
    /// A camera that is set to JPEG sent something else.
    #[error("frame {sequence}: not a JPEG, although the camera was set to MJPG")]
    NoJpeg {
        /// The source's counter.
        sequence: u64,
    },
    /// The picture inside has another size than the camera's settings.
    #[error(
        "frame {sequence}: a picture of {width} x {height} where the camera was set to {wanted_width} x {wanted_height}"
    )]
    OtherSize {
        /// The source's counter.
        sequence: u64,
        /// Width found, pixels.
        width: usize,
        /// Height found, pixels.
        height: usize,
        /// Width as set, pixels.
        wanted_width: usize,
        /// Height as set, pixels.
        wanted_height: usize,
    },
    /// More bits than the depth of the product's pictures.
    #[error(
        "frame {sequence}: a sample of {largest} does not fit into {bits} bits, the depth of the pictures that the product was fitted on; was the camera's format changed?"
    )]
    Deeper {
        /// The source's counter.
        sequence: u64,
        /// The largest sample.
        largest: u16,
        /// The product's depth, bits.
        bits: u8,
    },
    /// The compressed picture cannot be decoded.
    #[error("{source}")]
    Image {
        /// What is wrong with it.
        #[from]
        source: ImageFileError,
    },
}

/// Decodes `raw` into `into`, whose memory is reused, with its time and sequence number. `damaged`
/// is ignored: the caller decides whether to decode a damaged frame.
///
/// YUYV becomes colour with the matrix and range in [`RawFrame::yuv`], in integers with 16
/// fractional bits. Each value is within one grey level of the exact one.
///
/// # Errors
/// [`DecodeError`]; then `into` must not be inspected.
pub fn decode(raw: &RawFrame, into: &mut Frame) -> Result<(), DecodeError> {
    decode_as(raw, Reading::default(), into).map(|_| ())
}

/// As [`decode`], read as `reading` says.
///
/// # Errors
/// [`DecodeError`]; then `into` must not be inspected.
pub fn decode_as(raw: &RawFrame, reading: Reading, into: &mut Frame) -> Result<Said, DecodeError> {
    let mut said = Said::default();
    let (width, height) = (raw.width, raw.height);
    let size = |source| DecodeError::Size {
        sequence: raw.sequence,
        source,
    };
    match raw.format {
        PixelFormat::Grey8 => {
            let rows = Rows::of(raw, 1)?;
            let samples = into.refill_gray8(width, height).map_err(size)?;
            for (out, row) in samples.chunks_exact_mut(width).zip(rows.iter()) {
                out.copy_from_slice(row);
            }
        }
        PixelFormat::Grey16 => {
            let rows = Rows::of(raw, 2)?;
            let samples = into.refill_gray16(width, height).map_err(size)?;
            for (out, row) in samples.chunks_exact_mut(width).zip(rows.iter()) {
                let (pairs, _) = row.as_chunks::<2>();
                for (sample, &pair) in out.iter_mut().zip(pairs) {
                    *sample = u16::from_le_bytes(pair);
                }
            }
            said.largest = into.largest_sample();
            if let Some(largest) = said.largest.filter(|&largest| largest > reading.largest()) {
                return Err(DecodeError::Deeper {
                    sequence: raw.sequence,
                    largest,
                    bits: reading.bits,
                });
            }
            into.widen(reading.bits);
        }
        PixelFormat::Rgb24 => {
            let rows = Rows::of(raw, 3)?;
            let samples = into.refill_rgb8(width, height).map_err(size)?;
            for (out, row) in samples.chunks_exact_mut(3 * width).zip(rows.iter()) {
                out.copy_from_slice(row);
            }
        }
        PixelFormat::Bgr24 => {
            let rows = Rows::of(raw, 3)?;
            let samples = into.refill_rgb8(width, height).map_err(size)?;
            for (out, row) in samples.chunks_exact_mut(3 * width).zip(rows.iter()) {
                let (out, _) = out.as_chunks_mut::<3>();
                let (row, _) = row.as_chunks::<3>();
                for (rgb, &[blue, green, red]) in out.iter_mut().zip(row) {
                    *rgb = [red, green, blue];
                }
            }
        }
        PixelFormat::Yuyv => {
            if !width.is_multiple_of(2) {
                let sequence = raw.sequence;
                return Err(DecodeError::OddWidth { sequence, width });
            }
            let rows = Rows::of(raw, 2)?;
            let samples = into.refill_rgb8(width, height).map_err(size)?;
            let coding = Coefficients::of(raw.yuv);
            for (out, row) in samples.chunks_exact_mut(3 * width).zip(rows.iter()) {
                coding.convert(row, out);
            }
        }
        PixelFormat::Mjpeg => {
            if !raw.bytes.starts_with(&[0xff, 0xd8]) {
                let sequence = raw.sequence;
                return Err(DecodeError::NoJpeg { sequence });
            }
            decode_compressed(raw, "camera frame", Reading::default(), into)?;
        }
        PixelFormat::File => said = decode_compressed(raw, "image file", reading, into)?,
    }
    into.kernel_time_ns = Some(raw.time.0);
    into.sequence = raw.sequence;
    Ok(said)
}

fn decode_compressed(
    raw: &RawFrame,
    what: &str,
    reading: Reading,
    into: &mut Frame,
) -> Result<Said, DecodeError> {
    let name = format!("{what} {}", raw.sequence);
    let picture = decode_picture(&raw.bytes, Path::new(&name), reading)?;
    *into = picture.frame;
    let size_known = raw.width != 0 || raw.height != 0;
    if size_known && (into.width(), into.height()) != (raw.width, raw.height) {
        return Err(DecodeError::OtherSize {
            sequence: raw.sequence,
            width: into.width(),
            height: into.height(),
            wanted_width: raw.width,
            wanted_height: raw.height,
        });
    }
    Ok(Said {
        orientation: Some(picture.orientation),
        largest: picture.largest,
    })
}

/// The rows of an uncompressed frame without their padding; checked to be complete.
struct Rows<'a> {
    bytes: &'a [u8],
    stride: usize,
    row: usize,
}

impl<'a> Rows<'a> {
    fn of(raw: &'a RawFrame, bytes_a_pixel: usize) -> Result<Self, DecodeError> {
        let RawFrame {
            width,
            height,
            stride,
            format,
            sequence,
            ..
        } = *raw;
        // The size itself is checked when the frame is refilled; here it must only not overflow.
        let row = width.saturating_mul(bytes_a_pixel);
        if stride < row || stride == 0 {
            return Err(DecodeError::Stride {
                sequence,
                stride,
                row,
                width,
                format,
            });
        }
        // The last row can come without its padding.
        let padded = stride.saturating_mul(height.saturating_sub(1));
        let expected = padded.saturating_add(row);
        if raw.bytes.len() < expected {
            return Err(DecodeError::Short {
                sequence,
                found: raw.bytes.len(),
                expected,
                width,
                height,
                format,
            });
        }
        Ok(Self {
            bytes: &raw.bytes,
            stride,
            row,
        })
    }

    fn iter(&self) -> impl Iterator<Item = &'a [u8]> {
        let row = self.row;
        self.bytes
            .chunks(self.stride)
            .filter_map(move |chunk| chunk.get(..row))
    }
}

/// Fractional bits of [`Coefficients`].
const FRACTION: i32 = 16;

/// The conversion of ITU-R BT.601 and BT.709 (both: 8-bit quantisation in their section 3) as
/// integers: from luma and chroma to red, green and blue.
struct Coefficients {
    luma_offset: i32,
    luma: i32,
    red_v: i32,
    green_u: i32,
    green_v: i32,
    blue_u: i32,
}

impl Coefficients {
    fn of(coding: YuvCoding) -> Self {
        // Weights of red and blue in luma; green has the rest.
        let (red, blue) = match coding.matrix {
            YuvMatrix::Bt601 => (0.299, 0.114),
            YuvMatrix::Bt709 => (0.2126, 0.0722),
        };
        let green = 1.0 - red - blue;
        let (luma, chroma, luma_offset) = if coding.full_range {
            (1.0, 1.0, 0)
        } else {
            (255.0 / 219.0, 255.0 / 224.0, 16)
        };
        let fixed = |value: f64| (value * f64::from(1 << FRACTION)).round() as i32;
        let (v, u) = (2.0 * (1.0 - red) * chroma, 2.0 * (1.0 - blue) * chroma);
        Self {
            luma_offset,
            luma: fixed(luma),
            red_v: fixed(v),
            green_u: fixed(u * blue / green),
            green_v: fixed(v * red / green),
            blue_u: fixed(u),
        }
    }

    /// Two pixels at a time: Y0 U Y1 V to two RGB triples. Largest sum: below 2^26.
    fn convert(&self, row: &[u8], out: &mut [u8]) {
        let level = |sum: i32| (sum >> FRACTION).clamp(0, 255) as u8;
        let (pairs, _) = row.as_chunks::<4>();
        let (out, _) = out.as_chunks_mut::<6>();
        for (rgb, &[y0, u, y1, v]) in out.iter_mut().zip(pairs) {
            let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
            let half = 1 << (FRACTION - 1);
            let red = self.red_v * v + half;
            let green = half - self.green_u * u - self.green_v * v;
            let blue = self.blue_u * u + half;
            let first = self.luma * (i32::from(y0) - self.luma_offset);
            let second = self.luma * (i32::from(y1) - self.luma_offset);
            *rgb = [
                level(first + red),
                level(first + green),
                level(first + blue),
                level(second + red),
                level(second + green),
                level(second + blue),
            ];
        }
    }
}

#[cfg(test)]
mod tests;
