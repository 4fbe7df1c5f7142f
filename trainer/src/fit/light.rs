//! Other light tried on held-out good pictures: the range in which good parts stay good, and damage that
//! was found stays found. A picture outside it says more about the lamp than about the part, and gets no verdict.

use super::copies::{SomeImages, drawn};
use super::features::Extractor;
use super::golden::shrunk;
use super::held_out::{ImageCopy, copy_scores, held_out_scores};
use super::rules::RuleSpec;
use super::study::Study;
use super::thresholds::thresholds_from;
use crate::damage::damaged;
use crate::dataset::GoodImages;
use crate::error::TrainError;
use partgate::frame::file::ImageFileError;
use partgate::frame::{Frame, FrameError, Pixels};
use partgate::product::{Light, LightKind, LightMeasure, LightTrial};
use partgate::seed::Rng;
use std::path::Path;

/// Pictures that other light is tried on, at most.
const IMAGES: usize = 12;
/// Where whole pictures must be kept because a region is cut out of them: so many bytes, ...
const MOST_BYTES: usize = 512 << 20;
/// ... but no fewer pictures.
const LEAST_IMAGES: usize = 4;
/// Stops that are tried each way, one after the other until good parts do not stay good.
const STEPS: [f32; 3] = [0.25, 0.5, 1.0];
/// The same of red over blue, in which cameras differ less.
const WARMTH_STEPS: [f32; 3] = [0.1, 0.2, 0.4];
/// Share of good parts that must stay OK, and of marks on them that must stay found.
const STAY: f64 = 0.9;
/// The least room is the first step, and so much of it more where few images show their own range.
const FEW: f32 = 10.0;
/// Pictures on which every step is tried, and that are tried at a time.
const NEAREST: usize = 6;
/// Seeds of the marks, one stream an image.
const MARK_STREAM: u64 = 1 << 34;

fn steps(kind: LightKind) -> [f32; 3] {
    match kind {
        LightKind::Warmth => WARMTH_STEPS,
        _ => STEPS,
    }
}

/// `frame` in other light.
fn lit(frame: &Frame, kind: LightKind, stops: f32) -> Result<Frame, FrameError> {
    let (w, h) = (frame.width(), frame.height());
    // Halves whose means differ by `stops`: a ramp through the whole picture, -1 to 1.
    let ramp = |i: usize, n: usize| (stops * (1.0 - (2 * i + 1) as f32 / n as f32)).exp2();
    let mut channel = [1.0f32; 3];
    let (mut column, mut row) = (vec![1.0; w], vec![1.0; h]);
    match kind {
        LightKind::Brightness => channel = [stops.exp2(); 3],
        LightKind::Warmth => channel = [(stops / 2.0).exp2(), 1.0, (-stops / 2.0).exp2()],
        LightKind::Across => column = (0..w).map(|i| ramp(i, w)).collect(),
        LightKind::Down => row = (0..h).map(|i| ramp(i, h)).collect(),
    }
    let channels = frame.pixels().channels();
    // Of each sample of a row: a plain loop over them is what the compiler makes wide.
    let column: Vec<f32> = column.iter().flat_map(|&c| vec![c; channels]).collect();
    let channel: Vec<f32> = channel[..channels]
        .iter()
        .copied()
        .cycle()
        .take(w * channels)
        .collect();
    let factors = Factors {
        column,
        channel,
        row,
    };
    let pixels = match frame.pixels() {
        Pixels::Gray8(v) => Pixels::Gray8(factors.applied(v, 255.0, |v| v as u8)),
        Pixels::Rgb8(v) => Pixels::Rgb8(factors.applied(v, 255.0, |v| v as u8)),
        Pixels::Gray16(v) => Pixels::Gray16(factors.applied(v, 65_535.0, |v| v as u16)),
        Pixels::Rgb16(v) => Pixels::Rgb16(factors.applied(v, 65_535.0, |v| v as u16)),
    };
    Frame::new(w, h, pixels)
}

/// What the samples of a picture are multiplied by: one factor for each sample of a row by its column,
/// one by its channel, and one for each row.
struct Factors {
    column: Vec<f32>,
    channel: Vec<f32>,
    row: Vec<f32>,
}

impl Factors {
    /// `samples` times the factors, rounded, `most` at most.
    fn applied<T: Copy + Into<f32>>(
        &self,
        samples: &[T],
        most: f32,
        whole: impl Fn(f32) -> T,
    ) -> Vec<T> {
        let mut out = Vec::with_capacity(samples.len());
        for (samples, &row) in samples.chunks_exact(self.column.len()).zip(&self.row) {
            let factors = self.column.iter().zip(&self.channel);
            let samples = samples.iter().zip(factors);
            out.extend(samples.map(|(&sample, (&column, &channel))| {
                whole((sample.into() * (row * column * channel) + 0.5).min(most))
            }));
        }
        out
    }
}

/// A good picture and the same with a mark.
struct Pictures {
    image: usize,
    good: Frame,
    marked: Frame,
}

/// Some of the images, smaller than they are where that changes nothing about the region.
fn pictures(study: &Study<'_>, images: &GoodImages) -> Result<Vec<Pictures>, TrainError> {
    let fitter = &study.fitter;
    let whole = fitter.settings.features.input.roi.is_none();
    let largest = fitter.features.set.largest.map(|side| side as usize);
    let bytes = 2 * 3 * largest[0] * largest[1];
    let most = if whole {
        IMAGES
    } else {
        (MOST_BYTES / bytes.max(1)).clamp(LEAST_IMAGES, IMAGES)
    };
    let some = SomeImages {
        fitter,
        extractor: &study.extractor,
        chosen: drawn(fitter, images, most),
        copies: 0,
        what: "pictures",
    };
    some.all(|image, _| {
        let path = &images.paths[image];
        let wrong = |source| {
            let path = path.clone();
            ImageFileError::Frame { path, source }
        };
        let mut good = images.read(path)?;
        if whole {
            good = shrunk(&good, fitter.settings.features.input.resize)?;
        }
        let seed = Rng::stream(fitter.settings.seed, MARK_STREAM + image as u64).next_u64();
        let marked = damaged(&good, seed).map_err(wrong)?;
        Ok(vec![Pictures {
            image,
            good,
            marked,
        }])
    })
}

/// A picture that is judged rightly in its own light.
struct Sound {
    image: usize,
    frame: Frame,
    marked: bool,
    score: f32,
}

/// Pictures in other light under a rule.
struct Trials<'a> {
    study: &'a Study<'a>,
    images: &'a GoodImages,
    spec: RuleSpec,
    threshold: f32,
    /// Those nearest to the threshold first: other light moves them over it first.
    sound: Vec<Sound>,
}

/// Light of one kind, so many stops.
type OtherLight = (LightKind, f32);

/// One kind of light, darker or brighter, with its trials.
struct Way {
    kind: LightKind,
    sign: f32,
    trials: Vec<LightTrial>,
    /// Steps that hold on the pictures tried so far.
    borne: usize,
    /// Whether the widest of them was tried on all pictures, and holds.
    tried: bool,
}

impl<'a> Trials<'a> {
    /// The pictures that are judged rightly as they are.
    fn new(
        study: &'a Study<'a>,
        images: &'a GoodImages,
        spec: RuleSpec,
        threshold: f32,
    ) -> Result<Self, TrainError> {
        let pictures = pictures(study, images)?;
        let both = pictures.into_iter().flat_map(|p| {
            let of = |frame, marked| Sound {
                image: p.image,
                frame,
                marked,
                score: 0.0,
            };
            [of(p.good, false), of(p.marked, true)]
        });
        let mut trials = Self {
            study,
            images,
            spec,
            threshold,
            sound: both.collect(),
        };
        let as_they_are = [(LightKind::Brightness, 0.0)];
        let scores = trials.scores(0..trials.sound.len(), &as_they_are)?;
        for (sound, scores) in trials.sound.iter_mut().zip(scores) {
            sound.score = scores[0];
        }
        trials.sound.retain(|s| (s.score > threshold) == s.marked);
        let margin = |sound: &Sound| (sound.score - threshold).abs();
        trials.sound.sort_by(|a, b| margin(a).total_cmp(&margin(b)));
        Ok(trials)
    }

    /// The scores of some of the pictures in each of `lights`, `[pictures][lights]`.
    fn scores(
        &self,
        some: std::ops::Range<usize>,
        lights: &[OtherLight],
    ) -> Result<Vec<Vec<f32>>, TrainError> {
        let study = self.study;
        let partitions = study.partitions(self.spec);
        let features = &study.fitter.features;
        let length = features.cells() * features.dimensions;
        let (paths, sound) = (&self.images.paths, &self.sound);
        let mut out = Vec::new();
        let turns = SomeImages {
            fitter: &study.fitter,
            extractor: &study.extractor,
            chosen: some.collect(),
            copies: lights.len(),
            what: "other light",
        };
        turns.in_turns(
            |at, extractor| {
                let Sound { image, frame, .. } = &sound[at];
                let lit = features_in(lights, frame, length, &paths[*image], extractor)?;
                Ok(lit.into_iter().map(|values| (*image, values)).collect())
            },
            |copies| {
                let copies: Vec<ImageCopy<'_>> = copies
                    .iter()
                    .map(|(image, features)| ImageCopy {
                        image: *image,
                        features,
                    })
                    .collect();
                let scores = copy_scores(study, partitions, &copies, self.spec)?.means();
                out.extend(scores.chunks_exact(lights.len()).map(<[f32]>::to_vec));
                Ok(())
            },
        )?;
        Ok(out)
    }

    /// Goes on with a trial of each of `ways`, that of the step beside it, on `some` of the pictures. A
    /// trial that cannot hold any more ends.
    fn go_on(
        &self,
        ways: &mut [(&mut Way, usize)],
        some: std::ops::Range<usize>,
    ) -> Result<(), TrainError> {
        let mut from = some.start;
        while from < some.end {
            let group = from..(from + NEAREST).min(some.end);
            let mut open: Vec<&mut LightTrial> = ways
                .iter_mut()
                .map(|(way, step)| &mut way.trials[*step])
                .filter(|trial| self.may_stay(trial))
                .collect();
            if open.is_empty() {
                break;
            }
            let lights: Vec<OtherLight> = open.iter().map(|t| (t.kind, t.stops)).collect();
            let scores = self.scores(group.clone(), &lights)?;
            for (sound, scores) in self.sound[group].iter().zip(scores) {
                for (trial, score) in open.iter_mut().zip(scores) {
                    let above = u32::from(score > self.threshold);
                    if sound.marked {
                        trial.marked += 1;
                        trial.caught += above;
                    } else {
                        trial.images += 1;
                        trial.ok += 1 - above;
                    }
                }
            }
            from += NEAREST;
        }
        Ok(())
    }

    /// Whether a trial has not lost too many yet, of all pictures that there are.
    fn may_stay(&self, trial: &LightTrial) -> bool {
        let marks = self.sound.iter().filter(|s| s.marked).count() as u32;
        let goods = self.sound.len() as u32 - marks;
        let few = |lost: u32, of: u32| f64::from(of - lost) >= STAY * f64::from(of);
        few(trial.images - trial.ok, goods) && few(trial.marked - trial.caught, marks)
    }
}

/// Features of `frame` in each of `lights`, `length` values each.
fn features_in(
    lights: &[OtherLight],
    frame: &Frame,
    length: usize,
    path: &Path,
    extractor: &mut Extractor,
) -> Result<Vec<Vec<f32>>, TrainError> {
    let features = |&(kind, stops): &OtherLight| {
        let path = || path.to_path_buf();
        let lit = lit(frame, kind, stops).map_err(|source| ImageFileError::Frame {
            path: path(),
            source,
        })?;
        let mut features = vec![0.0; length];
        extractor
            .run(&lit, &mut features)
            .map_err(|source| TrainError::Image {
                path: path(),
                source,
            })?;
        Ok(features)
    };
    lights.iter().map(features).collect()
}

/// Tries other light on some of the images: for each kind darker and brighter, step by step until
/// less than [`STAY`] of the good parts stay OK, or of the marks stay found. The steps are tried on the
/// pictures nearest to the threshold; on the others only the widest that those bear, and, if it does not
/// hold, the next below. Nothing is tried where nothing is known of the pictures' light.
pub(super) fn light_trials(
    study: &Study<'_>,
    images: &GoodImages,
    spec: RuleSpec,
) -> Result<Vec<LightTrial>, TrainError> {
    let Some(survey) = &images.survey else {
        return Ok(Vec::new());
    };
    // Grey pictures are as red as they are blue.
    let colour = survey.light().iter().any(|light| light.0[1] != 0.0);
    let goods = held_out_scores(study, study.partitions(spec), spec, &|_| ())?.means();
    let risk = study.fitter.settings.risk;
    let threshold = thresholds_from(&goods, risk)?.unknown.threshold;
    let trials = Trials::new(study, images, spec, threshold)?;
    let kinds = LightKind::ALL.into_iter();
    let kinds = kinds.filter(|&kind| kind != LightKind::Warmth || colour);
    let mut ways: Vec<Way> = kinds
        .flat_map(|kind| [(kind, -1.0), (kind, 1.0)])
        .map(|(kind, sign)| Way {
            kind,
            sign,
            trials: Vec::new(),
            borne: 0,
            tried: false,
        })
        .collect();
    let (all, nearest) = (trials.sound.len(), NEAREST.min(trials.sound.len()));
    for step in 0..STEPS.len() {
        let mut open: Vec<(&mut Way, usize)> = Vec::new();
        for way in ways.iter_mut().filter(|way| way.borne == step) {
            way.trials.push(LightTrial {
                kind: way.kind,
                stops: way.sign * steps(way.kind)[step],
                images: 0,
                ok: 0,
                marked: 0,
                caught: 0,
            });
            open.push((way, step));
        }
        trials.go_on(&mut open, 0..nearest)?;
        for (way, step) in open {
            way.borne += usize::from(trials.may_stay(&way.trials[step]));
        }
    }
    for _ in 0..STEPS.len() {
        let open = ways.iter_mut().filter(|way| way.borne > 0 && !way.tried);
        let mut open: Vec<(&mut Way, usize)> = open
            .map(|w| (w.borne - 1, w))
            .map(|(s, w)| (w, s))
            .collect();
        trials.go_on(&mut open, nearest..all)?;
        for (way, step) in open {
            way.tried = trials.may_stay(&way.trials[step]);
            way.borne -= usize::from(!way.tried);
        }
    }
    Ok(ways.into_iter().flat_map(|way| way.trials).collect())
}

fn stays(trial: &LightTrial) -> bool {
    let enough = |left: u32, of: u32| f64::from(left) >= STAY * f64::from(of);
    trial.images > 0 && enough(trial.ok, trial.images) && enough(trial.caught, trial.marked)
}

/// The light in which a product of pictures of these values inspects, from the trials of each member.
/// Under an ensemble the member that bears the least decides.
pub(super) fn light_of(seen: &[LightMeasure], members: &[&[LightTrial]]) -> Option<Light> {
    let (&first, others) = seen.split_first()?;
    let room = |way: f32| {
        let mut at = 0;
        LightMeasure([0.0f32; 4].map(|_| {
            let kind = LightKind::ALL[at];
            at += 1;
            let least = steps(kind)[0] * (1.0 + FEW / seen.len() as f32);
            let of_member = |trials: &&[LightTrial]| {
                let borne = trials
                    .iter()
                    .filter(|t| t.kind == kind && t.stops * way > 0.0 && stays(t));
                borne.map(|t| t.stops * way).fold(least, f32::max)
            };
            members.iter().map(of_member).fold(f32::INFINITY, f32::min)
        }))
    };
    let mut light = Light {
        lowest: first,
        highest: first,
        below: room(-1.0),
        above: room(1.0),
        trials: members.concat(),
    };
    light.widen(others.iter().copied());
    Some(light)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_measured_in_the_light_that_was_put_on_it() {
        let samples = (0..64 * 48 * 3).map(|i| 40 + (i * 7 % 20) as u8).collect();
        let frame = Frame::new(64, 48, Pixels::Rgb8(samples)).expect("a frame");
        let before = LightMeasure::of(&frame).0;
        for (at, kind) in LightKind::ALL.into_iter().enumerate() {
            for stops in [-0.5f32, 0.25] {
                let lit = lit(&frame, kind, stops).expect("a frame");
                let found = LightMeasure::of(&lit).0[at] - before[at];
                assert!((found - stops).abs() < 0.06, "{kind} {stops}: {found}");
            }
        }
    }

    fn trial(kind: LightKind, stops: f32, ok: u32) -> LightTrial {
        LightTrial {
            kind,
            stops,
            images: 12,
            ok,
            marked: 10,
            caught: 10,
        }
    }

    #[test]
    fn room_is_what_good_parts_bear_and_never_less_than_the_first_step() {
        let seen = vec![
            LightMeasure([-1.0, 0.0, 0.1, 0.0]),
            LightMeasure([-0.8, 0.0, -0.1, 0.0]),
        ];
        let many: Vec<LightMeasure> = seen.iter().copied().cycle().take(1000).collect();
        let trials = [
            trial(LightKind::Brightness, -0.25, 12),
            trial(LightKind::Brightness, -0.5, 11),
            trial(LightKind::Brightness, -1.0, 5),
            trial(LightKind::Brightness, 0.25, 3),
            LightTrial {
                caught: 8,
                ..trial(LightKind::Down, 0.5, 12)
            },
        ];
        let light = light_of(&many, &[&trials]).expect("light");
        assert_eq!(light.below.0[0], 0.5);
        assert!((light.above.0[0] - 0.2525).abs() < 1e-4);
        assert_eq!((light.lowest.0[2], light.highest.0[2]), (-0.1, 0.1));
        assert!((light.below.0[1] - 0.101).abs() < 1e-4);
        // Damage that is not found any more is no light to inspect in.
        assert!((light.above.0[3] - 0.2525).abs() < 1e-4);
        // Two pictures know little of their own range.
        let few = light_of(&seen, &[&trials]).expect("light");
        assert_eq!(few.above.0[0], 1.5);
        let other = [trial(LightKind::Brightness, -0.25, 12)];
        let both = light_of(&many, &[&trials, &other]).expect("light");
        assert!((both.below.0[0] - 0.2525).abs() < 1e-4);
        assert!(light_of(&[], &[&trials]).is_none());
    }
}
