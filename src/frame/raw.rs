//! Frames as they left a camera: the bytes, and how to read them.

use crate::time::Instant;

/// The format of the bytes of a [`RawFrame`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PixelFormat {
    /// One 8-bit sample per pixel (V4L2 `GREY`).
    Grey8,
    /// One little-endian 16-bit sample per pixel (V4L2 `Y16 `).
    Grey16,
    /// Red, green, blue, 8 bits each (V4L2 `RGB3`).
    Rgb24,
    /// Blue, green, red, 8 bits each (V4L2 `BGR3`).
    Bgr24,
    /// Y0 U Y1 V, 8 bits each (V4L2 `YUYV`).
    Yuyv,
    /// One JPEG per frame (V4L2 `MJPG`).
    Mjpeg,
    /// A whole image file: PNG, JPEG, BMP or TIFF.
    File,
}

impl std::fmt::Display for PixelFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            PixelFormat::Grey8 => "GREY",
            PixelFormat::Grey16 => "Y16",
            PixelFormat::Rgb24 => "RGB3",
            PixelFormat::Bgr24 => "BGR3",
            PixelFormat::Yuyv => "YUYV",
            PixelFormat::Mjpeg => "MJPG",
            PixelFormat::File => "image file",
        })
    }
}

/// How luma and chroma become red, green and blue; used only for [`PixelFormat::Yuyv`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct YuvCoding {
    /// The weights of red, green and blue in luma.
    pub matrix: YuvMatrix,
    /// Luma spans 0..=255 and chroma 0..=255, not 16..=235 and 16..=240.
    pub full_range: bool,
}

/// The standard that defines the weights of red, green and blue in luma.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum YuvMatrix {
    /// ITU-R BT.601: the default of USB cameras.
    #[default]
    Bt601,
    /// ITU-R BT.709.
    Bt709,
}

/// One frame as it left its source. The buffer is reused: its capacity is allocated at start.
#[derive(Clone, Debug)]
pub struct RawFrame {
    /// The bytes, `stride` per row for the uncompressed formats.
    pub bytes: Vec<u8>,
    /// How to read them.
    pub format: PixelFormat,
    /// How to read colour, for YUYV.
    pub yuv: YuvCoding,
    /// Width, pixels; 0 if only decoding gives it.
    pub width: usize,
    /// Height, pixels; 0 if only decoding gives it.
    pub height: usize,
    /// Bytes from one row to the next; 0 for compressed formats.
    pub stride: usize,
    /// When the exposure was taken, CLOCK_MONOTONIC.
    pub time: Instant,
    /// The source's counter.
    pub sequence: u64,
    /// Number of frames that were lost just before this one, by the source's counter.
    pub lost_before: u32,
    /// Whether the driver reports that the content is damaged (V4L2_BUF_FLAG_ERROR), or the content
    /// is cut short.
    pub damaged: bool,
    /// [`content`] of the bytes, if the source's frames are never alike: two frames with the same
    /// value are one frame that came twice. None if frames can be alike.
    pub content: Option<u64>,
}

/// A digest of a frame: the same bytes give the same number, other bytes almost never. It is much
/// faster than a cryptographic digest. It protects against a camera's mistakes, not against a
/// forger.
pub fn content(bytes: &[u8]) -> u64 {
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let halves = u64::from(crc32fast::hash(first)) << 32 | u64::from(crc32fast::hash(second));
    halves ^ (bytes.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl RawFrame {
    /// An empty frame with room for `bytes`.
    pub fn with_capacity(bytes: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(bytes),
            format: PixelFormat::Grey8,
            yuv: YuvCoding::default(),
            width: 0,
            height: 0,
            stride: 0,
            time: Instant(0),
            sequence: 0,
            lost_before: 0,
            damaged: false,
            content: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_that_differ_anywhere_have_another_content() {
        let picture: Vec<u8> = (0..10_001u32).map(|n| (n * 31 / 8) as u8).collect();
        let of = content(&picture);
        assert_eq!(of, content(&picture.clone()));
        for at in [0, 1, 4_999, 5_000, 5_001, 10_000] {
            let mut other = picture.clone();
            other[at] ^= 1;
            assert_ne!(content(&other), of, "byte {at}");
        }
        assert_ne!(content(&picture[..10_000]), of);
        // Exchanged halves, and pictures of one value.
        let (a, b) = ([7u8; 64], [9u8; 64]);
        assert_ne!(content(&[a, b].concat()), content(&[b, a].concat()));
        assert_ne!(content(&[0; 64]), content(&[0; 66]));
        assert_ne!(content(&[]), content(&[0]));
    }
}
