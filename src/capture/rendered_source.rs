//! A camera that shows the demonstration part: good ones and, now and then, a defective one.

use super::folder_source::describe;
use super::pace::{Exposure, Pacer, nanoseconds};
use super::rendered::{Defect, RenderedPart, Renderer};
use super::source::{CaptureError, Flash, FrameSource, PixelFormat, RawFrame};
use crate::seed::Rng;
use std::sync::Arc;
use std::time::Duration;

/// Parts other than those of the fit, the tests and `partgate demo`.
const FIRST_GOOD: u64 = 3_000_000;
const FIRST_DEFECTIVE: u64 = 4_000_000;
/// Key of the random stream that says which parts are defective.
const ORDER: u64 = 0x7072_6f64_5f6f_7264;
/// Most parts that may be drawn beforehand: 240 KiB each.
const MOST_PARTS: usize = 4096;

/// What is made: which part is good and which is not, told by a seed. Cheap to copy, so that a
/// simulation can ask what its camera has shown.
#[derive(Clone, Debug)]
pub struct Production {
    seed: u64,
    parts: Arc<[Option<Defect>]>,
}

impl Production {
    /// `parts` different ones (1 to 4096), `defective_percent` of them with a defect, the kinds in
    /// turn; then the same again. Drawing takes milliseconds a part, hence the limit.
    pub fn new(seed: u64, parts: usize, defective_percent: f64) -> Self {
        let parts = parts.clamp(1, MOST_PARTS);
        let share = (defective_percent / 100.0).clamp(0.0, 1.0);
        let defective = (share * parts as f64).round() as usize;
        let mut rng = Rng::stream(seed, ORDER);
        let mut plan = vec![None; parts];
        let kinds = rng.permutation(Defect::ALL.len());
        let kinds = kinds
            .iter()
            .cycle()
            .filter_map(|&kind| Defect::ALL.get(kind));
        let places = rng.permutation(parts);
        for (place, &kind) in places.into_iter().take(defective).zip(kinds) {
            if let Some(part) = plan.get_mut(place) {
                *part = Some(kind);
            }
        }
        Self {
            seed,
            parts: plan.into(),
        }
    }

    /// What is wrong with the part that frame `sequence` of a free-running camera shows; None for a
    /// good one.
    pub fn defect(&self, sequence: u64) -> Option<Defect> {
        self.parts.get(self.slot(sequence)).copied().flatten()
    }

    /// Whether frame `sequence` shows a defective part.
    pub fn is_defective(&self, sequence: u64) -> bool {
        self.defect(sequence).is_some()
    }

    /// Different parts; frame `sequence` of a free-running camera shows the one of
    /// `sequence % parts`.
    pub fn parts(&self) -> usize {
        self.parts.len()
    }

    /// Which of the parts, from 0, lies before the sensor at `trigger_ns` (CLOCK_MONOTONIC) where
    /// the camera exposes on triggers: `(trigger_ns / 1000) % parts`. It follows from the time
    /// alone, so a plant that outlives the program knows what every one of its cameras showed. Good
    /// for [`Self::defect`] and [`Self::is_defective`].
    pub fn shown_at(&self, trigger_ns: u64) -> usize {
        self.slot(trigger_ns / 1000)
    }

    fn slot(&self, sequence: u64) -> usize {
        (sequence % self.parts.len().max(1) as u64) as usize
    }

    /// The part of place `slot`.
    pub(crate) fn draw(&self, slot: usize) -> RenderedPart {
        let renderer = Renderer::new(self.seed);
        match self.parts.get(slot).copied().flatten() {
            None => renderer.good(FIRST_GOOD + slot as u64),
            Some(defect) => renderer.defective(FIRST_DEFECTIVE + slot as u64, defect),
        }
    }
}

/// Frames of a [`Production`], [`PixelFormat::Rgb24`]. All its parts are drawn at the first open.
pub struct RenderedSource {
    production: Production,
    exposure: Exposure,
    pacer: Option<Pacer>,
    drawn: Vec<RenderedPart>,
}

impl RenderedSource {
    /// A camera over `production`; nothing is drawn yet.
    pub fn new(production: Production, exposure: Exposure) -> Self {
        Self {
            production,
            exposure,
            pacer: None,
            drawn: Vec::new(),
        }
    }

    /// What is made.
    pub fn production(&self) -> &Production {
        &self.production
    }
}

const NAME: &str = "rendered parts";

impl FrameSource for RenderedSource {
    fn open(&mut self) -> Result<(), CaptureError> {
        if self.drawn.is_empty() {
            let slots = 0..self.production.parts();
            self.drawn = slots.map(|slot| self.production.draw(slot)).collect();
        }
        if self.pacer.is_none() {
            let pacer = Pacer::new(self.exposure).map_err(|problem| CaptureError::Open {
                source_name: NAME.to_owned(),
                problem,
            })?;
            self.pacer = Some(pacer);
        }
        if let Some(pacer) = &mut self.pacer {
            pacer.restart();
        }
        Ok(())
    }

    fn next(&mut self, into: &mut RawFrame, at_most: Duration) -> Result<bool, CaptureError> {
        let Some(pacer) = &mut self.pacer else {
            return Err(CaptureError::Lost {
                source_name: NAME.to_owned(),
                problem: "not open".to_owned(),
            });
        };
        let Some(exposed) = pacer.next(at_most) else {
            return Ok(false);
        };
        let slot = match self.exposure {
            Exposure::FreeRunning { .. } => self.production.slot(exposed.sequence),
            Exposure::OnTrigger { delay } => {
                let trigger_ns = exposed.time_ns.saturating_sub(nanoseconds(delay));
                self.production.shown_at(trigger_ns)
            }
        };
        let Some(part) = self.drawn.get(slot) else {
            return Ok(false);
        };
        let taken = part.rgb.len().min(into.bytes.capacity());
        into.bytes.clear();
        into.bytes.extend_from_slice(&part.rgb[..taken]);
        into.format = PixelFormat::Rgb24;
        (into.width, into.height) = (part.width, part.height);
        into.stride = 3 * part.width;
        (into.time_ns, into.sequence) = (exposed.time_ns, exposed.sequence);
        into.lost_before = exposed.lost_before;
        into.damaged = taken < part.rgb.len();
        Ok(true)
    }

    fn frame_bytes(&self) -> usize {
        self.drawn
            .iter()
            .map(|part| part.rgb.len())
            .max()
            .unwrap_or(0)
    }

    fn describe(&self) -> String {
        let parts = self.production.parts.iter();
        let defective = parts.filter(|part| part.is_some()).count();
        format!(
            "{NAME}: {} of seed {}, {defective} defective, {}",
            self.production.parts(),
            self.production.seed,
            describe(self.exposure)
        )
    }

    fn flash(&mut self) -> Option<Box<dyn Flash>> {
        self.pacer.as_mut()?.flash()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::decode::decode;
    use crate::frame::{Frame, Pixels};

    #[test]
    fn the_seed_says_which_parts_are_defective() {
        let production = Production::new(7, 60, 30.0);
        let count = (0..60).filter(|&s| production.is_defective(s)).count();
        assert_eq!(count, 18);
        let again = Production::new(7, 60, 30.0);
        let other = Production::new(8, 60, 30.0);
        let plan = |p: &Production| -> Vec<_> { (0..60).map(|s| p.defect(s)).collect() };
        assert_eq!(plan(&production), plan(&again));
        assert_ne!(plan(&production), plan(&other));
        assert_eq!(production.defect(5), production.defect(65));
        let kinds: std::collections::HashSet<_> = plan(&production)
            .into_iter()
            .flatten()
            .map(|defect| defect.name())
            .collect();
        assert_eq!(kinds.len(), 18.min(Defect::ALL.len()));
        assert!((0..60).all(|s| !Production::new(7, 60, 0.0).is_defective(s)));
        assert!((0..60).all(|s| Production::new(7, 60, 100.0).is_defective(s)));
    }

    /// What `source` shows next, and the frame's stamps.
    fn next(source: &mut RenderedSource) -> (Pixels, u64, u64) {
        let mut raw = RawFrame::with_capacity(source.frame_bytes());
        let mut frame = Frame::blank();
        assert!(source.next(&mut raw, Duration::from_secs(5)).expect("next"));
        decode(&raw, &mut frame).expect("decode");
        (frame.pixels().clone(), raw.sequence, raw.time_ns)
    }

    #[test]
    fn frames_show_the_parts_in_turn() {
        let production = Production::new(3, 4, 50.0);
        let running = Exposure::FreeRunning { fps: 200.0 };
        let mut source = RenderedSource::new(production.clone(), running);
        source.open().expect("open");
        for _ in 0..6 {
            let (pixels, sequence, _) = next(&mut source);
            let part = production.draw((sequence % 4) as usize);
            assert_eq!(part.defect, production.defect(sequence));
            assert_eq!(pixels, Pixels::Rgb8(part.rgb));
        }
    }

    #[test]
    fn on_triggers_the_time_alone_says_which_part_is_shown() {
        let production = Production::new(3, 4, 50.0);
        let delay = Duration::from_micros(2500);
        let times = [1_000, 7_999, 2_000, 2_999, 11_000, 5_000];
        // A camera that is started anew with every trigger shows what one that runs on shows.
        let start = || {
            let exposure = Exposure::OnTrigger { delay };
            let mut source = RenderedSource::new(production.clone(), exposure);
            source.open().expect("open");
            let flash = source.flash().expect("flash");
            (source, flash)
        };
        let (mut runs_on, mut flash) = start();
        for (sequence, (time, slot)) in times.into_iter().zip([1, 3, 2, 2, 3, 1]).enumerate() {
            flash.fire(time);
            let shown = next(&mut runs_on);
            let (mut anew, mut flash) = start();
            flash.fire(time);
            assert_eq!(next(&mut anew).0, shown.0);
            assert_eq!((shown.1, shown.2), (sequence as u64, time + 2_500_000));
            assert_eq!(production.shown_at(time), slot);
            let part = production.draw(slot);
            assert_eq!(part.defect.is_some(), production.is_defective(slot as u64));
            assert_eq!(shown.0, Pixels::Rgb8(part.rgb));
        }
    }
}
