//! What a look at all good images found.

use super::pictures::Facts;
use partgate::frame::Reading;
use partgate::product::{Inputs, LightMeasure};

/// What the images of a fit are like.
#[derive(Clone, Debug)]
pub(crate) struct Survey {
    pub(super) facts: Vec<Facts>,
    pub(super) orientation: u8,
    /// What is odd, a sentence each.
    pub(crate) notes: Vec<String>,
}

impl Survey {
    /// The light of each picture.
    pub(crate) fn light(&self) -> Vec<LightMeasure> {
        self.facts.iter().map(|facts| facts.light).collect()
    }

    /// What a bundle keeps of it. `training` is the training digest; `forced` is what `--force`
    /// overruled.
    pub(crate) fn inputs(
        &self,
        reading: Reading,
        training: &[u8; 32],
        forced: Vec<String>,
    ) -> Inputs {
        let range = |values: &mut dyn Iterator<Item = u32>| {
            values.fold([u32::MAX, 0], |[low, high], v| [low.min(v), high.max(v)])
        };
        let facts = &self.facts;
        let aspects = facts.iter().map(Facts::aspect);
        Inputs {
            width: range(&mut facts.iter().map(|f| f.size[0])),
            height: range(&mut facts.iter().map(|f| f.size[1])),
            aspect: aspects.fold([f64::INFINITY, 0.0], |[low, high], a| {
                [low.min(a), high.max(a)]
            }),
            bits: reading.bits,
            upright: reading.upright,
            orientation: self.orientation,
            dimmest: facts.iter().map(|f| f.brightest).min().unwrap_or(0),
            digests: facts
                .iter()
                .map(|f| Inputs::digest(&f.content, training))
                .collect(),
            forced,
        }
    }
}
