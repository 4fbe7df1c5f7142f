//! Shift sensitivity: the rise of scores when a good part lies a little aside.
//!
//! A condition by place expects a part where good parts were. Held-out good images that are moved
//! by a few per cent of their side show how exact a fixture must be. Pixels that come in at an edge
//! repeat the edge.

use super::copies::{SomeImages, drawn};
use super::features::Extractor;
use super::fitter::Fitter;
use super::held_out::{ImageCopy, copy_scores};
use super::rules::RuleSpec;
use super::study::Study;
use crate::dataset::GoodImages;
use crate::error::TrainError;
use partgate::frame::file::ImageFileError;
use partgate::frame::{Frame, FrameError, Pixels};
use serde::Serialize;

/// How far good images are moved, per cent of the side.
pub(super) const SHIFTS: [usize; 3] = [1, 2, 4];
/// Images that are moved, at most.
pub(super) const MOVED_IMAGES: usize = 24;

/// Score of moved held-out good images over their score in place, less one: the median, for each of
/// 1, 2 and 4 % of the side.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ShiftSensitivity {
    pub(crate) images: usize,
    /// With the rule that was taken, before any refinement.
    pub(crate) taken: [f64; 3],
    /// With the plain bank.
    pub(crate) plain: [f64; 3],
}

impl ShiftSensitivity {
    /// Moves some of the good images and compares; `None` where no image has a score above 0 to
    /// compare with.
    pub(crate) fn of(
        study: &Study<'_>,
        images: &GoodImages,
        spec: RuleSpec,
    ) -> Result<Option<Self>, TrainError> {
        let mut count = 0;
        let [mut taken, mut plain] = [Rises::default(), Rises::default()];
        let some = SomeImages {
            fitter: &study.fitter,
            extractor: &study.extractor,
            chosen: drawn(&study.fitter, images, MOVED_IMAGES),
            copies: SHIFTS.len(),
            what: "moved",
        };
        let fitter = &study.fitter;
        some.in_turns(
            |image, extractor| moved_copies(fitter, images, image, extractor),
            |copies| {
                count += copies.iter().filter(|copy| copy.shift == 0).count();
                taken.add(study, &copies, spec)?;
                plain.add(study, &copies, RuleSpec::BASELINE)
            },
        )?;
        Ok(taken
            .medians()
            .zip(plain.medians())
            .map(|(taken, plain)| Self {
                images: count,
                taken,
                plain,
            }))
    }

    pub(crate) fn in_words(&self) -> String {
        let percent = |rises: [f64; 3]| {
            let [a, b, c] = rises.map(|rise| format!("{:+.1}", 100.0 * rise));
            format!("{a}, {b} and {c} %")
        };
        format!(
            "{} held-out goods moved by 1, 2 and 4 % of the side change their score by {} (median), with the plain bank by {}",
            self.images,
            percent(self.taken),
            percent(self.plain)
        )
    }
}

/// A moved good image.
struct MovedCopy {
    image: usize,
    /// Index into [`SHIFTS`].
    shift: usize,
    /// `[cells, dimensions]`.
    features: Vec<f32>,
}

/// Pixels to the right and down: right, down, left and up in turn, so that no direction decides.
fn offset(image: usize, share: usize, frame: &Frame) -> (i64, i64) {
    let pixels = |side: usize| (side * share).div_ceil(100) as i64;
    let (x, y) = (pixels(frame.width()), pixels(frame.height()));
    [(x, 0), (0, y), (-x, 0), (0, -y)][image % 4]
}

/// `frame` moved by so many pixels to the right and down.
fn moved(frame: &Frame, by: (i64, i64)) -> Result<Frame, FrameError> {
    let (w, h) = (frame.width(), frame.height());
    let pixels = match frame.pixels() {
        Pixels::Gray8(s) => Pixels::Gray8(moved_samples(s, (w, h, 1), by)),
        Pixels::Gray16(s) => Pixels::Gray16(moved_samples(s, (w, h, 1), by)),
        Pixels::Rgb8(s) => Pixels::Rgb8(moved_samples(s, (w, h, 3), by)),
        Pixels::Rgb16(s) => Pixels::Rgb16(moved_samples(s, (w, h, 3), by)),
    };
    Frame::new(w, h, pixels)
}

fn moved_samples<T: Copy>(
    samples: &[T],
    (w, h, channels): (usize, usize, usize),
    (dx, dy): (i64, i64),
) -> Vec<T> {
    let from =
        |at: usize, by: i64, side: usize| (at as i64 - by).clamp(0, side as i64 - 1) as usize;
    let mut out = Vec::with_capacity(samples.len());
    for y in 0..h {
        let row = from(y, dy, h) * w;
        for x in 0..w {
            let at = (row + from(x, dx, w)) * channels;
            out.extend_from_slice(&samples[at..at + channels]);
        }
    }
    out
}

/// One good image moved by each of [`SHIFTS`].
fn moved_copies(
    fitter: &Fitter<'_>,
    images: &GoodImages,
    image: usize,
    extractor: &mut Extractor,
) -> Result<Vec<MovedCopy>, TrainError> {
    let features = &fitter.features;
    let path = &images.paths[image];
    let frame = images.read(path)?;
    let mut out = Vec::new();
    for (shift, share) in SHIFTS.into_iter().enumerate() {
        let moved = moved(&frame, offset(image, share, &frame)).map_err(|source| {
            let path = path.clone();
            ImageFileError::Frame { path, source }
        })?;
        let mut values = vec![0.0; features.cells() * features.dimensions];
        extractor
            .run(&moved, &mut values)
            .map_err(|source| TrainError::Image {
                path: path.clone(),
                source,
            })?;
        out.push(MovedCopy {
            image,
            shift,
            features: values,
        });
    }
    Ok(out)
}

/// Rises of the scores of moved images, for each shift.
#[derive(Default)]
struct Rises([Vec<f64>; 3]);

impl Rises {
    /// Adds those of `copies`; an image without a score above 0 has none.
    fn add(
        &mut self,
        study: &Study<'_>,
        copies: &[MovedCopy],
        spec: RuleSpec,
    ) -> Result<(), TrainError> {
        let goods = &study.fitter.features;
        let in_place = copies.iter().map(|copy| ImageCopy {
            image: copy.image,
            features: goods.image(copy.image),
        });
        let moved = copies.iter().map(|copy| ImageCopy {
            image: copy.image,
            features: &copy.features,
        });
        let in_place: Vec<ImageCopy<'_>> = in_place.collect();
        let moved: Vec<ImageCopy<'_>> = moved.collect();
        let partitions = study.partitions(spec);
        let before = copy_scores(study, partitions, &in_place, spec)?.means();
        let after = copy_scores(study, partitions, &moved, spec)?.means();
        for ((copy, &before), &after) in copies.iter().zip(&before).zip(&after) {
            if before > 0.0 {
                self.0[copy.shift].push(f64::from(after) / f64::from(before) - 1.0);
            }
        }
        Ok(())
    }

    /// `None` where no image has a rise.
    fn medians(self) -> Option<[f64; 3]> {
        if self.0.iter().any(Vec::is_empty) {
            return None;
        }
        Some(self.0.map(|mut rises| {
            rises.sort_by(f64::total_cmp);
            let n = rises.len();
            (rises[(n - 1) / 2] + rises[n / 2]) / 2.0
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moved_picture_is_the_picture_aside_and_its_edge_again() {
        let rows = |w: usize, h: usize| Pixels::Gray8((0..w * h).map(|i| i as u8).collect());
        let frame = Frame::new(3, 2, rows(3, 2)).expect("frame");
        for (by, want) in [
            ((0, 0), [0, 1, 2, 3, 4, 5]),
            ((1, 0), [0, 0, 1, 3, 3, 4]),
            ((-1, 0), [1, 2, 2, 4, 5, 5]),
            ((0, 1), [0, 1, 2, 0, 1, 2]),
            ((0, -9), [3, 4, 5, 3, 4, 5]),
        ] {
            let out = moved(&frame, by).expect("frame");
            assert_eq!(out.pixels(), &Pixels::Gray8(want.to_vec()), "{by:?}");
        }
        let colour = Frame::new(2, 1, Pixels::Rgb16(vec![1, 2, 3, 4, 5, 6])).expect("frame");
        let out = moved(&colour, (1, 0)).expect("frame");
        assert_eq!(out.pixels(), &Pixels::Rgb16(vec![1, 2, 3, 1, 2, 3]));
    }

    #[test]
    fn every_shift_moves_by_a_pixel_at_least_and_in_every_direction() {
        let frame = Frame::new(50, 400, Pixels::Gray8(vec![0; 20_000])).expect("frame");
        let offsets: Vec<_> = (0..4).map(|image| offset(image, 1, &frame)).collect();
        assert_eq!(offsets, [(1, 0), (0, 4), (-1, 0), (0, -4)]);
        assert_eq!(offset(1, 4, &frame), (0, 16));
    }
}
