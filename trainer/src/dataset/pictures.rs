//! Facts of single pictures, and copies among them.

use crate::error::TrainError;
use partgate::frame::file::read_picture;
use partgate::frame::{Frame, Pixels, Reading, Said};
use partgate::product::{Inputs, LightMeasure};
use rayon::prelude::*;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Side of the small picture in [`Facts::small`], pixels.
pub(super) const SMALL_SIDE: usize = 16;

/// What a picture is like.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// Width and height, pixels.
    pub(crate) size: [u32; 2],
    /// What the file says beside the pixels.
    pub(crate) said: Said,
    /// Brightest sample as it is read, on the scale 0 to 65535.
    pub(crate) brightest: u16,
    pub(crate) light: LightMeasure,
    /// See [`Inputs::content_of`].
    pub(crate) content: [u8; 32],
    /// Grey means over [`SMALL_SIDE`] x [`SMALL_SIDE`] equal parts, 0 to 255.
    pub(crate) small: Vec<f32>,
    /// What is left of the pixels in the middle without the mean of their neighbours, in eighths of
    /// a grey level: mostly the noise of the one exposure.
    pub(crate) grain: Vec<i8>,
}

impl Facts {
    /// The facts of the picture in `path`.
    pub(crate) fn of(path: &Path, reading: Reading) -> Result<Self, TrainError> {
        let picture = read_picture(path, reading)?;
        let frame = &picture.frame;
        let brightest = match frame.pixels() {
            Pixels::Gray8(v) | Pixels::Rgb8(v) => {
                257 * u16::from(v.iter().copied().max().unwrap_or(0))
            }
            Pixels::Gray16(v) | Pixels::Rgb16(v) => v.iter().copied().max().unwrap_or(0),
        };
        Ok(Self {
            size: [frame.width() as u32, frame.height() as u32],
            said: picture.said(),
            brightest,
            light: LightMeasure::of(frame),
            content: Inputs::content_of(frame),
            small: small(frame),
            grain: grain(frame),
        })
    }

    /// Width over height.
    pub(crate) fn aspect(&self) -> f64 {
        let [width, height] = self.size.map(f64::from);
        width / height
    }
}

/// Side of the square in the middle of which [`Facts::grain`] is, pixels.
const GRAIN_SIDE: usize = 96;

fn grain(frame: &Frame) -> Vec<i8> {
    let (width, height, channels) = (frame.width(), frame.height(), frame.pixels().channels());
    fn grey<T: Copy + Into<f32>>(v: &[T], channels: usize, pixel: usize, scale: f32) -> f32 {
        let samples = &v[pixel * channels..][..channels];
        samples.iter().map(|&s| s.into()).sum::<f32>() * scale / channels as f32
    }
    let at = |pixel: usize| match frame.pixels() {
        Pixels::Gray8(v) | Pixels::Rgb8(v) => grey(v, channels, pixel, 1.0),
        Pixels::Gray16(v) | Pixels::Rgb16(v) => grey(v, channels, pixel, 1.0 / 257.0),
    };
    let span = |length: usize| {
        let side = GRAIN_SIDE.min(length.saturating_sub(2));
        let from = (length - side) / 2;
        from.max(1)..(from + side).min(length.saturating_sub(1))
    };
    let mut grain = Vec::with_capacity(GRAIN_SIDE * GRAIN_SIDE);
    for y in span(height) {
        for x in span(width) {
            let pixel = y * width + x;
            let beside = at(pixel - 1) + at(pixel + 1) + at(pixel - width) + at(pixel + width);
            // The cast saturates: an edge is no noise.
            grain.push((8.0 * (at(pixel) - beside / 4.0)) as i8);
        }
    }
    grain
}

/// Means over equal parts, whose borders are rounded to whole pixels.
fn small(frame: &Frame) -> Vec<f32> {
    let (width, height, channels) = (frame.width(), frame.height(), frame.pixels().channels());
    let mut sums = vec![0.0f64; SMALL_SIDE * SMALL_SIDE];
    let mut counts = vec![0u32; SMALL_SIDE * SMALL_SIDE];
    let mut add = |pixel: usize, grey: f64| {
        let (x, y) = (pixel % width, pixel / width);
        let at = y * SMALL_SIDE / height * SMALL_SIDE + x * SMALL_SIDE / width;
        sums[at] += grey;
        counts[at] += 1;
    };
    fn greys<T: Copy + Into<f64>>(
        v: &[T],
        channels: usize,
        scale: f64,
        add: &mut impl FnMut(usize, f64),
    ) {
        for (pixel, samples) in v.chunks_exact(channels).enumerate() {
            let sum: f64 = samples.iter().map(|&s| s.into()).sum();
            add(pixel, sum * scale / channels as f64);
        }
    }
    match frame.pixels() {
        Pixels::Gray8(v) | Pixels::Rgb8(v) => greys(v, channels, 1.0, &mut add),
        Pixels::Gray16(v) | Pixels::Rgb16(v) => greys(v, channels, 1.0 / 257.0, &mut add),
    }
    let means = sums.iter().zip(&counts);
    means
        .map(|(sum, &n)| (sum / f64::from(n.max(1))) as f32)
        .collect()
}

/// The facts of all `paths`, in their order.
///
/// # Errors
/// That of the first picture, by path, that cannot be read.
pub(crate) fn facts_of(paths: &[PathBuf], reading: Reading) -> Result<Vec<Facts>, TrainError> {
    let all: Vec<Result<Facts, TrainError>> = paths
        .par_iter()
        .map(|path| Facts::of(path, reading))
        .collect();
    all.into_iter().collect()
}

/// The first of equal pictures, and the others.
pub(crate) struct Copies {
    pub(crate) kept: usize,
    /// Not empty.
    pub(crate) others: Vec<usize>,
}

/// The pictures of which there are copies, by the number of the first.
pub(crate) fn copies(facts: &[Facts]) -> Vec<Copies> {
    let mut groups: HashMap<[u8; 32], Copies> = HashMap::new();
    for (index, fact) in facts.iter().enumerate() {
        groups
            .entry(fact.content)
            .and_modify(|group| group.others.push(index))
            .or_insert(Copies {
                kept: index,
                others: Vec::new(),
            });
    }
    let mut groups: Vec<Copies> = groups.into_values().collect();
    groups.retain(|group| !group.others.is_empty());
    groups.sort_by_key(|group| group.kept);
    groups
}

/// `a.png, b.png and 3 more`.
pub(crate) fn named(names: impl IntoIterator<Item = String>) -> String {
    const SHOWN: usize = 5;
    let names: Vec<String> = names.into_iter().collect();
    let shown = names
        .iter()
        .take(SHOWN)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// What `copies` say in words, a sentence each for the first few.
pub(crate) fn in_words(copies: &[Copies], name: &dyn Fn(usize) -> String) -> Option<String> {
    if copies.is_empty() {
        return None;
    }
    let left_out: usize = copies.iter().map(|c| c.others.len()).sum();
    let words = copies.iter().map(|c| {
        let others = named(c.others.iter().map(|&other| name(other)));
        format!(
            "{} is there {} times ({others})",
            name(c.kept),
            1 + c.others.len()
        )
    });
    let (verb, pictures) = if left_out == 1 {
        ("is", "picture")
    } else {
        ("are", "pictures")
    };
    Some(format!(
        "{left_out} {pictures} {verb} left out, because equal pictures count once: {}",
        named(words)
    ))
}

/// `paths` and their `facts` without copies, and what was left out in words.
pub(crate) fn without_copies(
    paths: Vec<PathBuf>,
    facts: Vec<Facts>,
    name: &dyn Fn(&Path) -> String,
) -> (Vec<PathBuf>, Vec<Facts>, Option<String>) {
    let copies = copies(&facts);
    let words = in_words(&copies, &|index| name(&paths[index]));
    let dropped: std::collections::HashSet<usize> = copies
        .iter()
        .flat_map(|c| c.others.iter().copied())
        .collect();
    let kept = paths.into_iter().zip(facts).enumerate();
    let kept = kept.filter(|(index, _)| !dropped.contains(index));
    let (paths, facts) = kept.map(|(_, pair)| pair).unzip();
    (paths, facts, words)
}
