//! How the picture files of a product become frames: how many bits of a 16-bit sample count, and
//! whether a picture is turned as its EXIF orientation says.

use super::{Frame, Pixels};

/// Depths of industrial cameras whose samples can lie at the right of 16 bits (Mono10, Mono12,
/// Mono14), bits.
pub const RIGHT_ALIGNED: [u8; 3] = [10, 12, 14];

/// How picture files become frames. A product is fitted and inspects with the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Bits that count in a 16-bit sample, from the right: 10, 12, 14 or 16. Fewer than 16 are
    /// moved to the left, so that a full sample is white.
    pub bits: u8,
    /// Whether a picture is turned as its EXIF orientation says. If not, its pixels are taken as
    /// they are stored.
    pub upright: bool,
}

impl Default for Reading {
    fn default() -> Self {
        Self {
            bits: 16,
            upright: false,
        }
    }
}

impl Reading {
    /// Largest 16-bit sample that fits.
    pub fn largest(self) -> u16 {
        u16::MAX >> 16u8.saturating_sub(self.bits).min(15)
    }
}

/// A picture with what its file says beside the pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// The pixels, read as [`Reading`] says.
    pub frame: Frame,
    /// EXIF orientation of the file, 1 to 8; 1 where it has none.
    pub orientation: u8,
    /// Largest 16-bit sample as stored; None for 8-bit samples.
    pub largest: Option<u16>,
}

/// What a decoded frame says beside its pixels; see [`Picture`](crate::frame::Picture).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// EXIF orientation of an image file; None for what a camera sent.
    pub orientation: Option<u8>,
    /// Largest 16-bit sample before it was moved.
    pub largest: Option<u16>,
}

impl Picture {
    /// What the picture's file says beside its pixels.
    pub fn said(&self) -> Said {
        Said {
            orientation: Some(self.orientation),
            largest: self.largest,
        }
    }
}

/// The fewest bits that hold samples up to `largest`, if they are fewer than 16: then the samples
/// lie at the right, or the picture is nearly black.
pub fn right_aligned(largest: u16) -> Option<u8> {
    RIGHT_ALIGNED.into_iter().find(|&bits| largest < 1 << bits)
}

impl Frame {
    /// Largest 16-bit sample; None for 8-bit samples.
    pub fn largest_sample(&self) -> Option<u16> {
        match &self.pixels {
            Pixels::Gray16(v) | Pixels::Rgb16(v) => Some(v.iter().copied().fold(0, u16::max)),
            Pixels::Gray8(_) | Pixels::Rgb8(_) => None,
        }
    }

    /// Moves samples of `bits` bits to the left of their 16. Samples that are larger are cut; see
    /// [`Reading::largest`].
    pub(crate) fn widen(&mut self, bits: u8) {
        let Some(missing) = 16u8.checked_sub(bits).filter(|&missing| missing > 0) else {
            return;
        };
        if let Pixels::Gray16(v) | Pixels::Rgb16(v) = &mut self.pixels {
            // The highest bits fill the lowest, so that white becomes white.
            let fill = bits.saturating_sub(missing);
            for sample in v {
                *sample = *sample << missing | *sample >> fill;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_stays_white_and_black_black_at_every_depth() {
        for bits in RIGHT_ALIGNED {
            let reading = Reading {
                bits,
                ..Reading::default()
            };
            let white = reading.largest();
            assert_eq!(u32::from(white), (1 << bits) - 1);
            assert_eq!(right_aligned(white), Some(bits));
            let pixels = Pixels::Gray16(vec![0, white / 2, white]);
            let mut frame = Frame::new(3, 1, pixels).expect("frame");
            frame.widen(bits);
            let Pixels::Gray16(v) = frame.pixels() else {
                panic!("another depth");
            };
            assert_eq!((v[0], v[2]), (0, u16::MAX));
            assert!(v[1].abs_diff(u16::MAX / 2) < 1 << (16 - bits), "{v:?}");
        }
        assert_eq!(right_aligned(1 << 14), None);
        assert_eq!(Reading::default().largest(), u16::MAX);
    }
}
