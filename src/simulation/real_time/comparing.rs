//! An inspector that compares pixels with known pictures. It takes about one millisecond, where a
//! network takes a hundred. So a test can run the line's threads at part rates that the machine's
//! network does not reach.

use super::camera::Picture;
use crate::frame::RawFrame;
use crate::frame::decode;
use crate::frame::{Frame, Pixels};
use crate::line::gate::PartVerdict;
use crate::station::{Inspected, InspectorError, PartInspector};
use std::sync::Arc;

/// The search for the nearest picture compares one byte in this many (a prime, so that it covers
/// all colours).
const STEP: usize = 61;
/// Mean difference, grey levels, above which a picture is unknown.
const SAME: f32 = 0.25;

/// An inspector that compares pixels with known pictures; see the module.
pub struct ComparingInspector {
    pictures: Arc<[Picture]>,
    frame: Frame,
}

impl ComparingInspector {
    /// An inspector that knows `pictures`, and which of them are defective.
    pub fn new(pictures: Arc<[Picture]>) -> Self {
        Self {
            pictures,
            frame: Frame::blank(),
        }
    }
}

fn difference<'a>(pairs: impl Iterator<Item = (&'a u8, &'a u8)>) -> f32 {
    let (mut sum, mut count) = (0u64, 0u64);
    for (a, b) in pairs {
        sum += u64::from(a.abs_diff(*b));
        count += 1;
    }
    sum as f32 / count.max(1) as f32
}

impl PartInspector for ComparingInspector {
    fn inspect(&mut self, raw: &RawFrame) -> Result<Inspected, InspectorError> {
        decode(raw, &mut self.frame)?;
        let (width, height) = (self.frame.width(), self.frame.height());
        let other = || InspectorError::other_size(width, height);
        let Pixels::Rgb8(pixels) = self.frame.pixels() else {
            return Err(other());
        };
        let same_size = self.pictures.iter().filter(|p| p.rgb.len() == pixels.len());
        let coarse = |p: &&Picture| {
            let sampled = pixels.iter().step_by(STEP);
            difference(sampled.zip(p.rgb.iter().step_by(STEP)))
        };
        let nearest = same_size.min_by(|a, b| coarse(a).total_cmp(&coarse(b)));
        let Some(nearest) = nearest else {
            return Err(other());
        };
        let score = difference(pixels.iter().zip(&nearest.rgb));
        let verdict = match (score <= SAME, nearest.defective) {
            (false, _) => PartVerdict::Unknown,
            (true, true) => PartVerdict::Ng,
            (true, false) => PartVerdict::Ok,
        };
        Ok(Inspected {
            verdict,
            score,
            finding: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::rendered_pictures;
    use super::*;
    use crate::frame::PixelFormat;

    #[test]
    fn pixels_decide() {
        let pictures: Arc<[Picture]> = rendered_pictures(3, 8, 50.0).into();
        let mut inspector = ComparingInspector::new(Arc::clone(&pictures));
        let mut inspected = |rgb: Vec<u8>| {
            let raw = RawFrame {
                format: PixelFormat::Rgb24,
                width: pictures[0].width,
                height: pictures[0].height,
                stride: 3 * pictures[0].width,
                bytes: rgb,
                ..RawFrame::with_capacity(0)
            };
            inspector.inspect(&raw).map(|j| j.verdict)
        };
        for picture in pictures.iter() {
            let truth = [PartVerdict::Ok, PartVerdict::Ng][usize::from(picture.defective)];
            assert_eq!(inspected(picture.rgb.clone()).expect("inspected"), truth);
        }
        let good = pictures.iter().find(|p| !p.defective).expect("a good one");
        let mut broken = good.rgb.clone();
        broken.iter_mut().take(4096).for_each(|b| *b ^= 0x80);
        assert_eq!(inspected(broken).expect("inspected"), PartVerdict::Unknown);
        let black = vec![0; good.rgb.len()];
        assert_eq!(inspected(black).expect("inspected"), PartVerdict::Unknown);
        assert!(inspected(vec![0; 10]).is_err());
    }
}
