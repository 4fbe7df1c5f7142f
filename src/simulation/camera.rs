//! A camera that shows the demonstration part: good ones and, at times, a defective one.

use super::part::{Defect, RenderedPart, Renderer, SIZE};
use crate::capture::folder_source::describe;
use crate::capture::pace::{Exposure, Pacer};
use crate::capture::source::{CaptureError, Flash, FrameSource};
use crate::frame::{PixelFormat, RawFrame};
use crate::seed::Rng;
use crate::time::Duration;
use std::sync::Arc;

/// Other parts than those of the fit, the tests and `partgate demo`.
const FIRST_GOOD: u64 = 3_000_000;
const FIRST_DEFECTIVE: u64 = 4_000_000;
/// Key of the random stream that decides which parts are defective.
const ORDER: u64 = 0x7072_6f64_5f6f_7264;
/// Key of the random stream that decides which part is in front of the sensor at a trigger.
const SHOWN: u64 = 0x7368_6f77_6e5f_6174;
/// Most parts that can be drawn beforehand: 240 KiB each.
const MOST_PARTS: usize = 4096;

/// Parts that the rendered camera of a configuration shows.
pub const RENDERED: usize = 120;
/// Up to this many parts are drawn before the start, which takes 10 to 30 ms per part. If there are
/// more, each is drawn when it is first shown, or while nothing is shown.
const DRAWN_FIRST: usize = 24;

/// What is produced: a seed decides which part is good and which is not. Cheap to copy, so that a
/// simulation can ask what its camera has shown.
#[derive(Clone, Debug)]
pub struct Production {
    seed: u64,
    parts: Arc<[Option<Defect>]>,
}

impl Production {
    /// `parts` different parts (1 to 4096), `defective_percent` of them with a defect, the kinds in
    /// turn. Then the sequence repeats. Drawing takes milliseconds per part; hence the limit.
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

    /// What is wrong with the part on frame `sequence` of a free-running camera; None for a good
    /// part.
    pub fn defect(&self, sequence: u64) -> Option<Defect> {
        self.parts.get(self.slot(sequence)).copied().flatten()
    }

    /// Whether frame `sequence` shows a defective part.
    #[cfg(test)]
    pub(crate) fn is_defective(&self, sequence: u64) -> bool {
        self.defect(sequence).is_some()
    }

    /// Number of different parts; frame `sequence` of a free-running camera shows part `sequence %
    /// parts`.
    pub fn parts(&self) -> usize {
        self.parts.len()
    }

    /// Which of the parts, from 0, is in front of the sensor at `trigger_ns` (CLOCK_MONOTONIC), if
    /// the camera exposes on triggers. A hash of the time in microseconds decides, so that triggers
    /// at even distances show all parts too. It follows from seed and time alone, so a plant that
    /// outlives the program knows what each of its cameras showed. Use it with [`Self::defect`].
    pub fn shown_at(&self, trigger_ns: u64) -> usize {
        Rng::stream(self.seed ^ SHOWN, trigger_ns / 1000).below(self.parts.len())
    }

    fn slot(&self, sequence: u64) -> usize {
        (sequence % self.parts.len().max(1) as u64) as usize
    }

    pub(crate) fn draw(&self, slot: usize) -> RenderedPart {
        let renderer = Renderer::new(self.seed);
        match self.parts.get(slot).copied().flatten() {
            None => renderer.good(FIRST_GOOD + slot as u64),
            Some(defect) => renderer.defective(FIRST_DEFECTIVE + slot as u64, defect),
        }
    }
}

/// Frames of a [`Production`], [`PixelFormat::Rgb24`]. Up to 24 parts are drawn at the first open.
/// If there are more, each is drawn when it is first shown, which makes that frame late by 10 to 30
/// ms.
pub struct RenderedSource {
    production: Production,
    exposure: Exposure,
    pacer: Option<Pacer>,
    /// By place; None: not drawn yet.
    drawn: Vec<Option<RenderedPart>>,
    /// Which of them a frame has shown.
    shown: Vec<bool>,
}

impl RenderedSource {
    /// A camera over `production`; nothing is drawn yet.
    pub fn new(production: Production, exposure: Exposure) -> Self {
        Self {
            production,
            exposure,
            pacer: None,
            drawn: Vec::new(),
            shown: Vec::new(),
        }
    }

    /// What is produced.
    pub fn production(&self) -> &Production {
        &self.production
    }

    /// How many different parts its frames have shown so far.
    pub(crate) fn different_shown(&self) -> usize {
        self.shown.iter().filter(|shown| **shown).count()
    }
}

const NAME: &str = "rendered parts";

impl FrameSource for RenderedSource {
    fn open(&mut self) -> Result<(), CaptureError> {
        if self.drawn.is_empty() {
            let slots = 0..self.production.parts();
            let first = slots.len() <= DRAWN_FIRST;
            let draw = |slot| first.then(|| self.production.draw(slot));
            self.drawn = slots.map(draw).collect();
            self.shown = vec![false; self.drawn.len()];
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
            // Nothing is shown now: there is time to draw a part that is not drawn yet.
            let mut places = self.drawn.iter_mut().enumerate();
            if let Some((slot, place)) = places.find(|(_, part)| part.is_none()) {
                *place = Some(self.production.draw(slot));
            }
            return Ok(false);
        };
        let slot = match self.exposure {
            Exposure::FreeRunning { .. } => self.production.slot(exposed.sequence),
            Exposure::OnTrigger { delay } => self.production.shown_at(exposed.time.before(delay).0),
        };
        let Some(part) = self.drawn.get_mut(slot) else {
            return Ok(false);
        };
        let part = part.get_or_insert_with(|| self.production.draw(slot));
        if let Some(shown) = self.shown.get_mut(slot) {
            *shown = true;
        }
        let taken = part.rgb.len().min(into.bytes.capacity());
        into.bytes.clear();
        into.bytes.extend_from_slice(&part.rgb[..taken]);
        into.format = PixelFormat::Rgb24;
        (into.width, into.height) = (part.width, part.height);
        into.stride = 3 * part.width;
        (into.time, into.sequence) = (exposed.time, exposed.sequence);
        into.lost_before = exposed.lost_before;
        into.damaged = taken < part.rgb.len();
        Ok(true)
    }

    fn frame_bytes(&self) -> usize {
        3 * SIZE.0 * SIZE.1
    }

    fn describe(&self) -> String {
        let parts = self.production.parts.iter();
        let defective = parts.filter(|part| part.is_some()).count();
        format!(
            "{NAME}: {} of seed {}, {defective} defective, {} shown so far, {}",
            self.production.parts(),
            self.production.seed,
            self.different_shown(),
            describe(self.exposure)
        )
    }

    fn flash(&mut self) -> Option<Box<dyn Flash>> {
        self.pacer.as_mut()?.flash()
    }
}

/// The log states how much of a production the camera showed, because this is part of what a run
/// proves.
impl Drop for RenderedSource {
    fn drop(&mut self) {
        if self.different_shown() > 0 {
            log::info!("{}", self.describe());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::decode;
    use crate::frame::{Frame, Pixels};
    use crate::time::Instant;

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

    fn next(source: &mut RenderedSource) -> (Pixels, u64, u64) {
        let mut raw = RawFrame::with_capacity(source.frame_bytes());
        let mut frame = Frame::blank();
        assert!(source.next(&mut raw, Duration::from_secs(5)).expect("next"));
        decode(&raw, &mut frame).expect("decode");
        (frame.pixels().clone(), raw.sequence, raw.time.0)
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
        // A camera that restarts with every trigger shows the same as one that runs on.
        let start = || {
            let exposure = Exposure::OnTrigger { delay };
            let mut source = RenderedSource::new(production.clone(), exposure);
            source.open().expect("open");
            let flash = source.flash().expect("flash");
            (source, flash)
        };
        let (mut runs_on, mut flash) = start();
        for (sequence, time) in times.into_iter().enumerate() {
            let slot = production.shown_at(time);
            flash.fire(Instant(time));
            let shown = next(&mut runs_on);
            let (mut anew, mut flash) = start();
            flash.fire(Instant(time));
            assert_eq!(next(&mut anew).0, shown.0);
            assert_eq!((shown.1, shown.2), (sequence as u64, time + 2_500_000));
            let part = production.draw(slot);
            assert_eq!(part.defect.is_some(), production.is_defective(slot as u64));
            assert_eq!(shown.0, Pixels::Rgb8(part.rgb));
        }
        // Within a microsecond it is the same part.
        assert_eq!(production.shown_at(2_000), production.shown_at(2_999));
        let slots = times.map(|time| production.shown_at(time));
        let different: std::collections::HashSet<_> = slots.into_iter().collect();
        assert_eq!(runs_on.different_shown(), different.len());
        let wanted = format!("{} shown so far", different.len());
        assert!(
            runs_on.describe().contains(&wanted),
            "{}",
            runs_on.describe()
        );
    }

    #[test]
    fn of_many_parts_each_is_drawn_when_it_is_first_shown() {
        let production = Production::new(3, DRAWN_FIRST + 1, 50.0);
        let delay = Duration::ZERO;
        let mut source = RenderedSource::new(production.clone(), Exposure::OnTrigger { delay });
        source.open().expect("open");
        let drawn = |source: &RenderedSource| source.drawn.iter().flatten().count();
        assert_eq!(drawn(&source), 0);
        let mut flash = source.flash().expect("flash");
        flash.fire(Instant(1_000));
        let shown = next(&mut source);
        assert_eq!(
            shown.0,
            Pixels::Rgb8(production.draw(production.shown_at(1_000)).rgb)
        );
        assert_eq!(drawn(&source), 1);
        let mut raw = RawFrame::with_capacity(source.frame_bytes());
        let came = source.next(&mut raw, Duration::ZERO).expect("open");
        assert!(!came);
        assert_eq!(drawn(&source), 2, "while nothing is shown");
    }

    /// Regression: a timer of 400 ms showed the same three parts without end, none of them
    /// defective.
    #[test]
    fn triggers_at_even_distances_show_many_parts_and_the_share_that_is_defective() {
        let (parts, percent) = (RENDERED, 20.0);
        for every_ms in [1u64, 24, 150, 400, 1000] {
            for seed in 1..=4 {
                let production = Production::new(seed, parts, percent);
                let start = 1_234_567_891_011;
                let slots = (0..600).map(|n| production.shown_at(start + n * every_ms * 1_000_000));
                let slots: Vec<usize> = slots.collect();
                let different: std::collections::HashSet<_> = slots.iter().collect();
                assert!(
                    different.len() > parts * 9 / 10,
                    "{every_ms} ms: {}",
                    different.len()
                );
                // Six standard deviations of 600 draws with a chance of one in five: 59.
                let is_defective = |slot: &&usize| production.is_defective(**slot as u64);
                let defective = slots.iter().filter(is_defective).count();
                assert!(
                    (61..=179).contains(&defective),
                    "{every_ms} ms: {defective} of 600"
                );
            }
        }
    }
}
