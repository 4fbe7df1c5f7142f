//! Other light tried on held-out good pictures: the range in which good parts stay good, and damage that
//! was found stays found. A picture outside it says more about the lamp than about the part, and gets no verdict.

use super::copies::on_some_images;
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

/// Pictures that other light is tried on, at most.
const IMAGES: usize = 12;
/// Stops that are tried each way, one after the other until good parts do not stay good.
const STEPS: [f32; 3] = [0.25, 0.5, 1.0];
/// The same of red over blue, in which cameras differ less.
const WARMTH_STEPS: [f32; 3] = [0.1, 0.2, 0.4];
/// Share of good parts that must stay OK, and of marks on them that must stay found.
const STAY: f64 = 0.9;
/// The least room is the first step, and so much of it more where few images show their own range.
const FEW: f32 = 10.0;
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
    let mut factors = row.iter().flat_map(|row| {
        let pixels = column.iter().map(move |column| row * column);
        pixels.flat_map(|pixel| channel[..channels].iter().map(move |c| pixel * c))
    });
    let mut changed = |value: f32, most: f32| {
        let factor = factors.next().unwrap_or(1.0);
        (value * factor + 0.5).min(most)
    };
    let pixels = match frame.pixels() {
        Pixels::Gray8(v) => {
            Pixels::Gray8(v.iter().map(|&v| changed(v.into(), 255.0) as u8).collect())
        }
        Pixels::Rgb8(v) => {
            Pixels::Rgb8(v.iter().map(|&v| changed(v.into(), 255.0) as u8).collect())
        }
        Pixels::Gray16(v) => Pixels::Gray16(
            v.iter()
                .map(|&v| changed(v.into(), 65_535.0) as u16)
                .collect(),
        ),
        Pixels::Rgb16(v) => Pixels::Rgb16(
            v.iter()
                .map(|&v| changed(v.into(), 65_535.0) as u16)
                .collect(),
        ),
    };
    Frame::new(w, h, pixels)
}

/// Good pictures, and the same with a mark on them, in other light under a rule.
struct Trials<'a> {
    study: &'a Study<'a>,
    images: &'a GoodImages,
    spec: RuleSpec,
    threshold: f32,
}

/// The scores of an image and of the same image with a mark.
struct Pair {
    image: usize,
    good: f32,
    marked: f32,
}

impl Trials<'_> {
    fn scores(&self, kind: LightKind, stops: f32) -> Result<Vec<Pair>, TrainError> {
        let (fitter, images) = (&self.study.fitter, self.images);
        let length = fitter.features.cells() * fitter.features.dimensions;
        let copies = on_some_images(
            fitter,
            &self.study.extractor,
            images,
            IMAGES,
            "other light",
            |image, extractor| {
                let path = &images.paths[image];
                let wrong = |source| {
                    let path = path.clone();
                    ImageFileError::Frame { path, source }
                };
                let good = images.read(path)?;
                let seed = Rng::stream(fitter.settings.seed, MARK_STREAM + image as u64).next_u64();
                let marked = damaged(&good, seed).map_err(wrong)?;
                let mut out = Vec::new();
                for frame in [good, marked] {
                    let frame = lit(&frame, kind, stops).map_err(wrong)?;
                    let mut features = vec![0.0; length];
                    extractor
                        .run(&frame, &mut features)
                        .map_err(|source| TrainError::Image {
                            path: path.clone(),
                            source,
                        })?;
                    out.push((image, features));
                }
                Ok(out)
            },
        )?;
        let copies: Vec<ImageCopy<'_>> = copies
            .iter()
            .map(|(image, features)| ImageCopy {
                image: *image,
                features,
            })
            .collect();
        let partitions = self.study.partitions(self.spec);
        let scores = copy_scores(self.study, partitions, &copies, self.spec)?.means();
        let pairs = copies.chunks_exact(2).zip(scores.as_chunks::<2>().0);
        Ok(pairs
            .map(|(copies, &[good, marked])| Pair {
                image: copies[0].image,
                good,
                marked,
            })
            .collect())
    }

    /// What other light does to what was right `before`.
    fn of(&self, kind: LightKind, stops: f32, before: &[Pair]) -> Result<LightTrial, TrainError> {
        let ok = |score: f32| score <= self.threshold;
        let mut trial = LightTrial {
            kind,
            stops,
            images: 0,
            ok: 0,
            marked: 0,
            caught: 0,
        };
        for (before, now) in before.iter().zip(self.scores(kind, stops)?) {
            debug_assert_eq!(before.image, now.image);
            trial.images += u32::from(ok(before.good));
            trial.ok += u32::from(ok(before.good) && ok(now.good));
            trial.marked += u32::from(!ok(before.marked));
            trial.caught += u32::from(!ok(before.marked) && !ok(now.marked));
        }
        Ok(trial)
    }
}

/// Tries other light on some of the images: for each kind darker, then brighter, step by step until
/// less than [`STAY`] of the good parts stay OK, or of the marks stay found. Nothing is tried where
/// nothing is known of the pictures' light.
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
    let trials = Trials {
        study,
        images,
        spec,
        threshold: thresholds_from(&goods, risk)?.unknown.threshold,
    };
    let before = trials.scores(LightKind::Brightness, 0.0)?;
    let mut out = Vec::new();
    for kind in LightKind::ALL {
        if kind == LightKind::Warmth && !colour {
            continue;
        }
        for way in [-1.0, 1.0] {
            for step in steps(kind) {
                let trial = trials.of(kind, way * step, &before)?;
                let stays = stays(&trial);
                out.push(trial);
                if !stays {
                    break;
                }
            }
        }
    }
    Ok(out)
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
