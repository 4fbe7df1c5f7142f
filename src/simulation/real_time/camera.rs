//! A camera over the plant's belt: it shows what is there at the exposure, whatever triggered it.

use super::ledger::Ledger;
use crate::capture::Exposure;
use crate::capture::pace::Pacer;
use crate::capture::source::{CaptureError, Flash, FrameSource};
use crate::frame::{PixelFormat, RawFrame};
use crate::simulation::camera::Production;
use crate::time::Duration;
use std::sync::Arc;

const NAME: &str = "the simulated belt";

/// The picture of a part.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Width, pixels.
    pub width: usize,
    /// Height, pixels.
    pub height: usize,
    /// RGB, row-major, `3 * width * height` bytes.
    pub rgb: Vec<u8>,
    /// Whether such a part should be rejected.
    pub defective: bool,
}

/// `parts` different demonstration parts, `defective_percent` of them with a defect.
pub fn rendered_pictures(seed: u64, parts: usize, defective_percent: f64) -> Vec<Picture> {
    let production = Production::new(seed, parts, defective_percent);
    (0..production.parts())
        .map(|slot| {
            let part = production.draw(slot);
            Picture {
                width: part.width,
                height: part.height,
                rgb: part.rgb,
                defective: part.defect.is_some(),
            }
        })
        .collect()
}

/// Part `number` looks like picture `number % pictures`.
pub(super) struct BeltCamera {
    ledger: Arc<Ledger>,
    pictures: Arc<[Picture]>,
    delay: Duration,
    /// Number of this camera's first frame: all frames of a run have different numbers.
    first: u64,
    pacer: Option<Pacer>,
}

impl BeltCamera {
    pub(super) fn new(
        ledger: Arc<Ledger>,
        pictures: Arc<[Picture]>,
        delay: Duration,
        first: u64,
    ) -> Self {
        Self {
            ledger,
            pictures,
            delay,
            first,
            pacer: None,
        }
    }

    fn lost(problem: String) -> CaptureError {
        CaptureError::Open {
            source_name: NAME.to_owned(),
            problem,
        }
    }
}

impl FrameSource for BeltCamera {
    fn open(&mut self) -> Result<(), CaptureError> {
        if self.pictures.is_empty() {
            return Err(Self::lost("no picture of a part".to_owned()));
        }
        if self.pacer.is_none() {
            let delay = self.delay;
            self.pacer = Some(Pacer::new(Exposure::OnTrigger { delay }).map_err(Self::lost)?);
        }
        if let Some(pacer) = &mut self.pacer {
            pacer.restart();
        }
        Ok(())
    }

    fn next(&mut self, into: &mut RawFrame, at_most: Duration) -> Result<bool, CaptureError> {
        let Some(exposed) = self.pacer.as_mut().and_then(|p| p.next(at_most)) else {
            return Ok(false);
        };
        let sequence = self.first + exposed.sequence;
        let shown = self.ledger.expose(sequence, exposed.time);
        let count = self.pictures.len() as u64;
        let Some(picture) = self.pictures.get((shown.unwrap_or(0) % count) as usize) else {
            return Ok(false);
        };
        let room = picture.rgb.len().min(into.bytes.capacity());
        into.bytes.clear();
        match shown {
            Some(_) => into.bytes.extend_from_slice(&picture.rgb[..room]),
            // An empty belt is black.
            None => into.bytes.resize(room, 0),
        }
        into.format = PixelFormat::Rgb24;
        (into.width, into.height) = (picture.width, picture.height);
        into.stride = 3 * picture.width;
        (into.time, into.sequence) = (exposed.time, sequence);
        into.lost_before = exposed.lost_before;
        into.damaged = room < picture.rgb.len();
        Ok(true)
    }

    fn frame_bytes(&self) -> usize {
        self.pictures.iter().map(|p| p.rgb.len()).max().unwrap_or(0)
    }

    fn describe(&self) -> String {
        format!("{NAME}: {} different parts", self.pictures.len())
    }

    fn flash(&mut self) -> Option<Box<dyn Flash>> {
        self.pacer.as_mut()?.flash()
    }
}
