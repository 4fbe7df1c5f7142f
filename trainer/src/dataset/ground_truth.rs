//! Ground-truth masks at the network's resolution.

use super::pictures::named;
use super::problem;
use crate::error::TrainError;
use partgate::backbone::InputGeometry;
use partgate::frame::file::read_with_opacity;
use partgate::frame::{Frame, Pixels};
use rayon::prelude::*;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What a mask marks, as it lies in its file.
struct Marks {
    width: usize,
    height: usize,
    marked: Vec<bool>,
    /// Different grey levels, as far as they mark: two for a plain mask.
    levels: usize,
    /// Whether opacity marks, and not colour.
    by_opacity: bool,
}

/// The sum of each pixel's channels.
fn levels(frame: &Frame) -> Vec<u32> {
    fn sums<T: Copy + Into<u32>>(v: &[T], channels: usize) -> Vec<u32> {
        let pixels = v.chunks_exact(channels);
        pixels.map(|p| p.iter().map(|&s| s.into()).sum()).collect()
    }
    match frame.pixels() {
        Pixels::Gray8(v) | Pixels::Rgb8(v) => sums(v, frame.pixels().channels()),
        Pixels::Gray16(v) | Pixels::Rgb16(v) => sums(v, frame.pixels().channels()),
    }
}

impl Marks {
    /// Marked is anything but black. Where opacity differs between pixels, marked is what is not
    /// transparent: and black is marked too, unless other colours are there.
    fn read(path: &Path) -> Result<Self, TrainError> {
        let (frame, opacity) = read_with_opacity(path)?;
        let colours = levels(&frame);
        let by_opacity = opacity.is_some();
        let opacity = opacity.unwrap_or_else(|| vec![u8::MAX; colours.len()]);
        let seen = || colours.iter().zip(&opacity).filter(|(_, o)| **o > 0);
        let coloured = seen().any(|(&c, _)| c > 0);
        let levels: BTreeSet<u32> = if by_opacity {
            opacity.iter().map(|&o| u32::from(o)).collect()
        } else {
            colours.iter().copied().collect()
        };
        let marked = colours.iter().zip(&opacity);
        let marked = marked.map(|(&c, &o)| o > 0 && (c > 0 || by_opacity && !coloured));
        Ok(Self {
            width: frame.width(),
            height: frame.height(),
            marked: marked.collect(),
            levels: levels.len(),
            by_opacity,
        })
    }

    fn share(&self) -> f64 {
        let count = self.marked.iter().filter(|&&m| m).count();
        count as f64 / self.marked.len().max(1) as f64
    }
}

/// What is odd about masks, a sentence each.
pub(super) fn odd_masks(masks: &[PathBuf]) -> Result<Vec<String>, TrainError> {
    struct Seen {
        name: String,
        levels: usize,
        by_opacity: bool,
        share: f64,
    }
    let all: Vec<Result<Seen, TrainError>> = masks
        .par_iter()
        .map(|path| {
            let marks = Marks::read(path)?;
            let parent = path.parent().and_then(Path::file_name).unwrap_or_default();
            let file = path.file_name().unwrap_or_default();
            Ok(Seen {
                name: Path::new(parent).join(file).display().to_string(),
                levels: marks.levels,
                by_opacity: marks.by_opacity,
                share: marks.share(),
            })
        })
        .collect();
    let all: Vec<Seen> = all.into_iter().collect::<Result<_, _>>()?;
    let note = |fits: &dyn Fn(&Seen) -> bool, words: &str| {
        let names: Vec<String> = all
            .iter()
            .filter(|m| fits(m))
            .map(|m| m.name.clone())
            .collect();
        let masks = if names.len() == 1 { "mask" } else { "masks" };
        (!names.is_empty()).then(|| format!("{} {masks} {words}: {}", names.len(), named(names)))
    };
    Ok([
        note(
            &|m| m.by_opacity,
            "coded by opacity; what is not transparent counts as defect",
        ),
        note(
            &|m| m.levels > 2,
            "with more than two levels; everything but black counts as defect",
        ),
        note(
            &|m| m.share == 0.0,
            "without a single marked pixel; pixel figures take the image as free of defects",
        ),
        note(
            &|m| m.share > 0.5,
            "marking more than half of the picture; are they inverted?",
        ),
    ]
    .into_iter()
    .flatten()
    .collect())
}

/// Bilinear weight pair for output pixel `out`: two source pixels that must both be marked for
/// an eroded mask.
fn between(out: usize, scale: f64, from: usize, length: usize) -> [usize; 2] {
    let at = ((out as f64 + 0.5) * scale - 0.5).clamp(0.0, (length - 1) as f64);
    let low = at.floor() as usize;
    let high = if at > low as f64 {
        (low + 1).min(length - 1)
    } else {
        low
    };
    [from + low, from + high]
}

/// Reads the masks of an image and brings what any of them marks to the network's input through the same
/// region, resize and crop as the image: nearest pixel, or, with `eroded`, only where bilinear
/// interpolation gives exactly "marked" (as the published figures do).
pub(crate) fn defect_mask(
    paths: &[PathBuf],
    image_size: (usize, usize),
    geometry: &InputGeometry,
    eroded: bool,
) -> Result<Vec<u8>, TrainError> {
    let mut all = vec![false; image_size.0 * image_size.1];
    for path in paths {
        let marks = Marks::read(path)?;
        if (marks.width, marks.height) != image_size {
            return Err(problem(
                path,
                format!(
                    "the mask is {} x {} pixels but its image is {} x {}",
                    marks.width, marks.height, image_size.0, image_size.1
                ),
            ));
        }
        for (all, marked) in all.iter_mut().zip(marks.marked) {
            *all |= marked;
        }
    }
    Ok(seen_by_network(&all, image_size, geometry, eroded))
}

/// Marks `[height, width]` of an image brought to the network's input: 1 where the pixel that the
/// network sees is marked.
pub(crate) fn seen_by_network(
    source: &[bool],
    (width, height): (usize, usize),
    geometry: &InputGeometry,
    eroded: bool,
) -> Vec<u8> {
    let (x0, y0, rw, rh) = match geometry.roi {
        Some(r) => (
            r.x as usize,
            r.y as usize,
            r.width as usize,
            r.height as usize,
        ),
        None => (0, 0, width, height),
    };
    let (size, resize) = (geometry.size(), geometry.resize);
    let (left, top) = geometry.margin();
    let (sx, sy) = (
        rw as f64 / resize.width as f64,
        rh as f64 / resize.height as f64,
    );
    let nearest = |out: usize, scale: f64, from: usize, length: usize| {
        from + (((out as f64 + 0.5) * scale) as usize).min(length - 1)
    };
    let mut mask = Vec::with_capacity(size.area());
    for oy in top..top + size.height {
        for ox in left..left + size.width {
            let hit = if eroded {
                between(oy, sy, y0, rh).iter().all(|y| {
                    between(ox, sx, x0, rw)
                        .iter()
                        .all(|x| source[y * width + x])
                })
            } else {
                source[nearest(oy, sy, y0, rh) * width + nearest(ox, sx, x0, rw)]
            };
            mask.push(u8::from(hit));
        }
    }
    mask
}

#[cfg(test)]
mod tests {
    use super::*;
    use partgate::size::Size;

    #[test]
    fn masks_follow_crop_and_erosion_only_shrinks() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let path = dir.path().join("m.png");
        image::GrayImage::from_fn(100, 60, |x, y| {
            image::Luma([if (30..70).contains(&x) && (20..40).contains(&y) {
                255
            } else {
                0
            }])
        })
        .save(&path)
        .expect("mask");
        let geometry = InputGeometry {
            roi: None,
            resize: Size::square(64),
            crop: Size::square(32),
        };
        let plain =
            defect_mask(std::slice::from_ref(&path), (100, 60), &geometry, false).expect("mask");
        let eroded =
            defect_mask(std::slice::from_ref(&path), (100, 60), &geometry, true).expect("mask");
        assert_eq!(plain.len(), 32 * 32);
        let area = |m: &[u8]| m.iter().map(|&v| usize::from(v)).sum::<usize>();
        // 40 x 20 of 100 x 60 source pixels at 0.64 x 1.0667, all inside the crop.
        assert!(
            (area(&plain) as i64 - 26 * 21).abs() < 60,
            "{}",
            area(&plain)
        );
        assert!(area(&eroded) < area(&plain) && area(&eroded) > 0);
        assert!(plain.iter().zip(&eroded).all(|(p, e)| p >= e));
        let error =
            defect_mask(std::slice::from_ref(&path), (99, 60), &geometry, false).expect_err("size");
        assert!(error.to_string().contains("99 x 60"));
    }
}
