//! Golden images: a few good parts and damaged copies in a bundle, for its self-test.

use super::settings::Settings;
use crate::damage::damaged;
use crate::dataset::GoodImages;
use crate::error::TrainError;
use partgate::frame::{Frame, Pixels};
use partgate::product::GoldenKind;
use partgate::seed::Rng;
use partgate::size::Size;

/// Another stream than those of the coreset and of the folds.
const GOLDEN_STREAM: u64 = 4;

/// Golden images larger than this are shrunk by a whole factor before they are inspected and stored,
/// where the product has no region of interest in source pixels.
const GOLDEN_AREA: usize = 400_000;

/// Pixels of a golden image of a picture of `area` pixels, at most. `input` is what the picture is
/// resized to.
pub(super) fn golden_area(area: u64, input: Size) -> u64 {
    // A factor further would be less than the input has.
    area.min((GOLDEN_AREA as u64).max(4 * input.area() as u64))
}

/// `frame` with every n-th pixel of every n-th row, so that it has at most [`GOLDEN_AREA`], but no fewer
/// pixels than the network sees: `input`.
pub(super) fn shrunk(frame: &Frame, input: Size) -> Result<Frame, TrainError> {
    let area = |factor: usize| frame.width() * frame.height() / (factor * factor);
    let mut factor = 1;
    while area(factor) > GOLDEN_AREA && area(factor + 1) >= input.area() {
        factor += 1;
    }
    let (w, h) = (frame.width() / factor, frame.height() / factor);
    let channels = frame.pixels().channels();
    fn pick<T: Copy>(v: &[T], width: usize, w: usize, h: usize, f: usize, c: usize) -> Vec<T> {
        (0..h * w)
            .flat_map(|i| {
                let at = ((i / w * f) * width + i % w * f) * c;
                v[at..at + c].iter().copied()
            })
            .collect()
    }
    let pixels = match frame.pixels() {
        Pixels::Gray8(v) => Pixels::Gray8(pick(v, frame.width(), w, h, factor, channels)),
        Pixels::Rgb8(v) => Pixels::Rgb8(pick(v, frame.width(), w, h, factor, channels)),
        Pixels::Gray16(v) => Pixels::Gray16(pick(v, frame.width(), w, h, factor, channels)),
        Pixels::Rgb16(v) => Pixels::Rgb16(pick(v, frame.width(), w, h, factor, channels)),
    };
    Frame::new(w, h, pixels).map_err(|e| TrainError::Setting(e.to_string()))
}

/// What the pictures of a product are resized to; of an ensemble's members, the largest.
pub(super) fn largest_input(settings: &Settings) -> Size {
    let first = settings.features.input.resize;
    let others = settings.others.iter().filter_map(|other| other.size);
    others.fold(first, |most, size| {
        if size.area() > most.area() {
            size
        } else {
            most
        }
    })
}

/// A golden image before it is inspected.
pub(super) struct GoldenFrame {
    pub(super) name: String,
    pub(super) kind: GoldenKind,
    /// The good part.
    pub(super) frame: Frame,
    /// Seeds of the marks to try on a damaged one; none on a good one.
    pub(super) marks: Vec<u64>,
}

/// Marks that are tried on a golden image until the product rejects one: a challenge that it fails
/// proves nothing on a board.
const MARKS: usize = 8;

impl GoldenFrame {
    /// The picture with the mark of `seed`.
    pub(super) fn marked(&self, seed: u64) -> Result<Frame, TrainError> {
        damaged(&self.frame, seed).map_err(|e| TrainError::Setting(e.to_string()))
    }
}

/// Good training images, and as many damaged ones.
pub(super) fn golden_frames(
    settings: &Settings,
    images: &GoodImages,
) -> Result<Vec<GoldenFrame>, TrainError> {
    let mut rng = Rng::stream(settings.seed, GOLDEN_STREAM);
    let order = rng.permutation(images.paths.len());
    let mut frames = Vec::new();
    for (i, &image) in order.iter().cycle().take(2 * settings.goldens).enumerate() {
        let path = &images.paths[image];
        let mut frame = images.read(path)?;
        if settings.features.input.roi.is_none() {
            frame = shrunk(&frame, largest_input(settings))?;
        }
        let (kind, label, marks) = if i < settings.goldens {
            (GoldenKind::Good, "good", Vec::new())
        } else {
            let first = rng.next_u64();
            let mut further = Rng::new(first);
            let mut marks = vec![first];
            marks.resize_with(MARKS, || further.next_u64());
            (GoldenKind::Damaged, "damaged", marks)
        };
        let name = format!("{label}: {}", images.relative(path));
        frames.push(GoldenFrame {
            name,
            kind,
            frame,
            marks,
        });
    }
    Ok(frames)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_golden_image_is_small_but_shows_what_the_network_sees() {
        let frame =
            |w: usize, h: usize| Frame::new(w, h, Pixels::Gray8(vec![9; w * h])).expect("a frame");
        for (picture, input, want) in [
            ((1600, 1200), Size::square(256), (533, 400)),
            ((1600, 1200), Size::square(512), (800, 600)),
            ((1600, 1200), Size::square(1024), (1600, 1200)),
            ((1600, 1200), Size::new(1600, 1184), (1600, 1200)),
            ((2448, 2048), Size::new(1024, 864), (1224, 1024)),
            ((300, 200), Size::square(1024), (300, 200)),
        ] {
            let found = shrunk(&frame(picture.0, picture.1), input).expect("a frame");
            assert_eq!((found.width(), found.height()), want, "{picture:?} {input}");
            let area = (picture.0 * picture.1) as u64;
            assert!((want.0 * want.1) as u64 <= golden_area(area, input));
        }
    }
}
