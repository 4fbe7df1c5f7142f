//! What the pictures of the fit were like, and whether a picture can be one of their kind. One check
//! for every command that inspects. Bundles from before this section are judged as they were.

use super::light::OtherLight;
use super::manifest::{DType, Manifest, SectionKind};
use super::member::Sections;
use super::{Problem, SectionBytes, other};
use crate::backbone::Rect;
use crate::frame::{Frame, Pixels, RIGHT_ALIGNED, Reading, Said};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What the good pictures of the fit were like: JSON in the section `inputs`. A reader refuses fields
/// that it does not know, because a field can change how pictures are read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inputs {
    /// Smallest and largest width, pixels.
    pub width: [u32; 2],
    /// Smallest and largest height, pixels.
    pub height: [u32; 2],
    /// Smallest and largest width / height.
    pub aspect: [f64; 2],
    /// Bits that count in 16-bit samples: 10, 12, 14 or 16.
    #[serde(default = "all_bits")]
    pub bits: u8,
    /// Whether pictures are turned as their EXIF orientation says.
    #[serde(default)]
    pub upright: bool,
    /// EXIF orientation of all good pictures, 1 to 8; 1 if they are turned.
    #[serde(default = "as_stored")]
    pub orientation: u8,
    /// Brightest sample of the darkest good picture, on the scale 0 to 65535.
    #[serde(default)]
    pub dimmest: u16,
    /// A digest of each good picture, by [`Inputs::digest`], in hexadecimal.
    #[serde(default)]
    pub digests: Vec<String>,
    /// What `--force` overruled at the fit, a sentence each.
    #[serde(default)]
    pub forced: Vec<String>,
}

fn all_bits() -> u8 {
    16
}

fn as_stored() -> u8 {
    1
}

/// A picture is of another kind than those of the fit.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum OtherView {
    /// The size of another camera mode or another camera.
    #[error(
        "{width} x {height} pixels is another view than the product was fitted on ({fitted}); was the camera's mode changed?"
    )]
    Size {
        /// Pixels per row.
        width: usize,
        /// Rows.
        height: usize,
        /// The sizes of the fit, in words.
        fitted: String,
    },
    /// The region that is inspected does not lie in the picture.
    #[error(
        "pictures of {width} x {height} do not hold the region that the product inspects: {} x {} pixels from {}, {}", roi.width, roi.height, roi.x, roi.y
    )]
    Region {
        /// Pixels per row.
        width: usize,
        /// Rows.
        height: usize,
        /// The region.
        roi: Rect,
    },
    /// Its file asks to be shown turned in another way.
    #[error(
        "EXIF orientation {found} is another view than the product was fitted on (orientation {fitted}); pixels are taken as they are stored, so the part would lie another way"
    )]
    Orientation {
        /// Of the picture.
        found: u8,
        /// Of the pictures of the fit.
        fitted: u8,
    },
    /// In light in which it was not shown that good parts stay good.
    #[error(transparent)]
    Light(#[from] OtherLight),
    /// Far darker than every picture of the fit.
    #[error(
        "its brightest 16-bit sample is {found} where the pictures of the fit reach at least {fitted}: the picture is dark, or its samples lie at the right of their 16 bits (Mono10, Mono12) as those of the fit did not; check the camera's format and exposure"
    )]
    Depth {
        /// Its largest sample, on the scale 0 to 65535.
        found: u16,
        /// Of the darkest good picture.
        fitted: u16,
    },
}

/// The least part of the dimmest good picture's brightest sample that a picture must reach. Two bits
/// fewer give a quarter.
const DIMMER: f32 = 0.3;

/// Relative slack of an aspect.
const ASPECT_SLACK: f64 = 0.01;

impl Inputs {
    /// BLAKE3 over size, depth and samples of a picture as it is read: the same for a copy of the
    /// file under another name or in another lossless format.
    pub fn content_of(frame: &Frame) -> [u8; 32] {
        let mut digest = blake3::Hasher::new();
        digest.update(&[frame.pixels().channels() as u8]);
        digest.update(&(frame.width() as u64).to_le_bytes());
        digest.update(&(frame.height() as u64).to_le_bytes());
        match frame.pixels() {
            Pixels::Gray8(v) | Pixels::Rgb8(v) => {
                digest.update(v);
            }
            Pixels::Gray16(v) | Pixels::Rgb16(v) => {
                digest.update(&[16]);
                let mut bytes = Vec::with_capacity(2 * v.len());
                bytes.extend(v.iter().flat_map(|sample| sample.to_le_bytes()));
                digest.update(&bytes);
            }
        }
        *digest.finalize().as_bytes()
    }

    /// What [`Inputs::digests`] holds of a picture of this content: 8 bytes, keyed with the training
    /// digest, so that bundles cannot be compared picture by picture.
    pub fn digest(content: &[u8; 32], training: &[u8; 32]) -> String {
        blake3::keyed_hash(training, content).to_hex()[..16].to_string()
    }

    /// The section that holds this.
    ///
    /// # Errors
    /// [`serde_json::Error`] if an aspect is not a number.
    pub fn section(&self) -> Result<SectionBytes, serde_json::Error> {
        let bytes = serde_json::to_vec(self)?;
        Ok(SectionBytes {
            kind: SectionKind::Inputs,
            member: 0,
            dtype: DType::Bytes,
            shape: vec![bytes.len() as u64],
            bytes,
        })
    }

    fn reading(&self) -> Reading {
        Reading {
            bits: self.bits,
            upright: self.upright,
        }
    }

    fn sound(&self) -> bool {
        let range = |[low, high]: [u32; 2]| 0 < low && low <= high;
        let [low, high] = self.aspect;
        let aspects = low.is_finite() && high.is_finite() && 0.0 < low && low <= high;
        let bits = self.bits == 16 || RIGHT_ALIGNED.contains(&self.bits);
        let orientation = (1..=8).contains(&self.orientation);
        range(self.width) && range(self.height) && aspects && bits && orientation
    }

    /// The sizes in words.
    pub fn sizes(&self) -> String {
        let span = |[low, high]: [u32; 2]| {
            if low == high {
                low.to_string()
            } else {
                format!("{low}..{high}")
            }
        };
        let [low, high] = self.aspect;
        let aspect = if high / low > 1.0 + 1e-6 {
            format!(", aspects {low:.3} to {high:.3}")
        } else {
            String::new()
        };
        format!("{} x {}{aspect}", span(self.width), span(self.height))
    }

    /// Whether a picture of this size can be the view of the fit: with a region of interest in
    /// pixels a size within the range seen, else an aspect within it. The picture is squeezed to a
    /// square, so another aspect is another view. The slack is 1 %, or a tenth of the range.
    fn expects_size(&self, width: usize, height: usize, region: bool) -> bool {
        if region {
            let within =
                |side: usize, [low, high]: [u32; 2]| (low as usize..=high as usize).contains(&side);
            return within(width, self.width) && within(height, self.height);
        }
        let [low, high] = self.aspect.map(f64::ln);
        let slack = (1.0 + ASPECT_SLACK).ln().max(0.1 * (high - low));
        let aspect = (width as f64 / height.max(1) as f64).ln();
        (low - slack..=high + slack).contains(&aspect)
    }
}

/// Reads the section `inputs`; None in a bundle from before it.
pub(super) fn read(sections: &Sections<'_>) -> Result<Option<Inputs>, Problem> {
    let all = sections.manifest.sections.iter();
    let count = all.filter(|s| s.kind == SectionKind::Inputs).count();
    if count == 0 {
        return Ok(None);
    }
    let (_, data) = sections.only(SectionKind::Inputs, 0, DType::Bytes)?;
    if count > 1 {
        return other(format!("{count} sections `{}`", SectionKind::Inputs));
    }
    let inputs: Inputs = serde_json::from_slice(data)
        .map_err(|e| Problem::Other(format!("section `{}`: {e}", SectionKind::Inputs)))?;
    if !inputs.sound() {
        return other("the sizes or depth of the fitted pictures are not sound");
    }
    Ok(Some(inputs))
}

/// The check of a picture against a product.
pub(super) struct Expected<'a> {
    pub(super) manifest: &'a Manifest,
    pub(super) inputs: Option<&'a Inputs>,
}

impl Expected<'_> {
    pub(super) fn reading(&self) -> Reading {
        self.inputs.map(Inputs::reading).unwrap_or_default()
    }

    fn sizes(&self) -> String {
        match self.inputs {
            Some(inputs) => inputs.sizes(),
            None => {
                let [width, height] = self.manifest.training.smallest;
                format!("{width} x {height}")
            }
        }
    }

    pub(super) fn size(&self, width: usize, height: usize) -> Result<(), OtherView> {
        let end = |from: u32, length: u32| u64::from(from) + u64::from(length);
        if let Some(roi) = self.manifest.input.roi
            && (end(roi.x, roi.width) > width as u64 || end(roi.y, roi.height) > height as u64)
        {
            return Err(OtherView::Region { width, height, roi });
        }
        let fits = match self.inputs {
            Some(inputs) => inputs.expects_size(width, height, self.manifest.input.roi.is_some()),
            None => self.manifest.expects_size(width, height),
        };
        if fits {
            return Ok(());
        }
        Err(OtherView::Size {
            width,
            height,
            fitted: self.sizes(),
        })
    }

    pub(super) fn said(&self, said: Said, reading: Reading) -> Result<(), OtherView> {
        let Some(inputs) = self.inputs else {
            return Ok(());
        };
        let fitted = inputs.orientation;
        if let Some(found) = said.orientation.filter(|&found| found != fitted)
            && !reading.upright
        {
            return Err(OtherView::Orientation { found, fitted });
        }
        let Some(largest) = said.largest else {
            return Ok(());
        };
        let scale = f32::from(u16::MAX) / f32::from(reading.largest());
        let found = (f32::from(largest) * scale) as u16;
        let fitted = inputs.dimmest;
        if f32::from(found) < DIMMER * f32::from(fitted) {
            return Err(OtherView::Depth { found, fitted });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(width: [u32; 2], height: [u32; 2], aspect: [f64; 2]) -> Inputs {
        Inputs {
            width,
            height,
            aspect,
            bits: 16,
            upright: false,
            orientation: 1,
            dimmest: 0,
            digests: Vec::new(),
            forced: Vec::new(),
        }
    }

    #[test]
    fn a_pixel_more_does_not_open_the_door_to_another_view() {
        let odd = inputs([48, 48], [48, 49], [48.0 / 49.0, 1.0]);
        assert!(odd.expects_size(48, 48, false) && odd.expects_size(480, 480, false));
        assert!(odd.expects_size(48, 49, false));
        assert!(!odd.expects_size(96, 48, false) && !odd.expects_size(48, 96, false));
        assert!(odd.expects_size(48, 49, true) && !odd.expects_size(49, 49, true));
        let many = inputs([100, 400], [100, 400], [0.5, 2.0]);
        assert!(many.expects_size(205, 100, false) && !many.expects_size(250, 100, false));
    }

    #[test]
    fn a_field_that_is_not_known_is_refused_and_one_that_is_missing_is_the_default() {
        let text = br#"{"width":[4,4],"height":[4,4],"aspect":[1.0,1.0]}"#;
        let read: Inputs = serde_json::from_slice(text).expect("old fields");
        assert_eq!(read, inputs([4, 4], [4, 4], [1.0, 1.0]));
        let newer = br#"{"width":[4,4],"height":[4,4],"aspect":[1.0,1.0],"gamma":2.2}"#;
        assert!(serde_json::from_slice::<Inputs>(newer).is_err());
        assert!(!inputs([5, 4], [4, 4], [1.0, 1.0]).sound());
        assert!(!inputs([4, 4], [4, 4], [f64::NAN, 1.0]).sound());
    }
}
