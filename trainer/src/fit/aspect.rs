//! Input sizes that keep the aspect of what is inspected.

use crate::dataset::GoodImages;
use crate::error::TrainError;
use image::{ImageDecoder, ImageReader};
use partgate::backbone::InputGeometry;
use partgate::size::Size;
use std::path::Path;

/// Shortest side of an input that keeps an aspect, pixels: on fewer, every cell of the coarse tap
/// has seen the padding at both edges.
const LEAST_SIDE: usize = 64;
/// Aspects that differ by less are one aspect: as [`partgate::product::Manifest::expects_size`]
/// takes them.
const ALIKE: f64 = 0.01;

/// Width over height of a size.
fn ratio(size: Size) -> f64 {
    size.width as f64 / size.height as f64
}

/// The size of about `side` x `side` pixels in all whose sides are multiples of `multiple_of`, at
/// least [`LEAST_SIDE`], and whose aspect is nearest to `region`'s. The region of a square gives a
/// square.
///
/// # Errors
/// What to do, where a side would be shorter than can be used.
pub(crate) fn sized(region: Size, side: usize, multiple_of: usize) -> Result<Size, String> {
    let aspect = ratio(region);
    let exact = [
        side as f64 * aspect.sqrt(),
        side as f64 * (1.0 / aspect).sqrt(),
    ];
    let least = LEAST_SIDE.next_multiple_of(multiple_of);
    let shortest = exact[0].min(exact[1]);
    if shortest + multiple_of as f64 / 2.0 < least as f64 {
        let needed = (least as f64 * aspect.max(1.0 / aspect).sqrt()).ceil();
        return Err(format!(
            "{side} x {side} pixels at the aspect of {region} would be {:.0} x {:.0}, and no side may be below {least}; take {needed} or more instead of {side}, or give both sides as WxH",
            exact[0], exact[1]
        ));
    }
    let choices = |exact: f64| {
        let below = (exact / multiple_of as f64).floor() as usize * multiple_of;
        [below, below + multiple_of].map(|side| side.max(least))
    };
    let candidates = choices(exact[0])
        .into_iter()
        .flat_map(|width| choices(exact[1]).map(|height| Size::new(width, height)));
    // The aspect first; twice the area is as bad as a fourth off the aspect.
    let cost = |size: Size| {
        let aspect = (ratio(size) / aspect).ln().abs();
        let area = (size.area() as f64 / (side * side) as f64).ln().abs();
        aspect + area / 3.0
    };
    let best = candidates.min_by(|a, b| cost(*a).total_cmp(&cost(*b)));
    Ok(best.unwrap_or(Size::square(side)))
}

/// Whether `size` has the aspect of `other` as nearly as multiples of `multiple_of` allow.
pub(crate) fn alike(size: Size, other: Size, multiple_of: usize) -> bool {
    let apart = (size.width * other.height).abs_diff(size.height * other.width);
    apart < multiple_of * other.longer()
}

/// Sizes of `images`. A file that cannot be read is left out: the fit itself refuses it.
fn sizes(images: &GoodImages) -> Vec<Size> {
    let size = |path: &Path| {
        if images.reading.upright {
            // The file's header has the sides as they are stored.
            let frame = images.read(path).ok()?;
            return Some(Size::new(frame.width(), frame.height()));
        }
        let file = ImageReader::open(path).ok()?.with_guessed_format().ok()?;
        let (width, height) = file.into_decoder().ok()?.dimensions();
        (width > 0 && height > 0).then(|| Size::new(width as usize, height as usize))
    };
    images.paths.iter().filter_map(|path| size(path)).collect()
}

/// The one of `sizes` with the median aspect, and how many have another one.
fn median(mut sizes: Vec<Size>) -> Option<(Size, usize)> {
    sizes.sort_by(|a, b| ratio(*a).total_cmp(&ratio(*b)));
    let middle = *sizes.get(sizes.len().saturating_sub(1) / 2)?;
    let other = |size: &&Size| (ratio(**size) / ratio(middle) - 1.0).abs() > ALIKE;
    let others = sizes.iter().filter(other).count();
    Some((middle, others))
}

/// The input of about `side` x `side` pixels in all with the aspect of the region of interest, or,
/// without one, of the images. Images of several aspects are all brought to the median one, which
/// squeezes them less than a square does; a warning says how many have another.
///
/// # Errors
/// [`TrainError::Setting`] where no usable size has this aspect.
pub(crate) fn keep(
    input: &InputGeometry,
    images: &GoodImages,
    multiple_of: usize,
) -> Result<InputGeometry, TrainError> {
    let side = input.resize.width;
    let region = match input.roi {
        Some(roi) => Size::new(roi.width as usize, roi.height as usize),
        None => {
            let Some((middle, others)) = median(sizes(images)) else {
                return Ok(input.clone());
            };
            if others > 0 {
                log::warn!(
                    "{others} of {} good images have another aspect than {middle}, the median; all are brought to one input, so they are squeezed. Cut one region with --roi if the part has a fixed place",
                    images.paths.len()
                );
            }
            middle
        }
    };
    let size = sized(region, side, multiple_of)
        .map_err(|problem| TrainError::Setting(format!("--aspect keep: {problem}")))?;
    log::info!("the input is {size} pixels, for a region of {region}");
    Ok(InputGeometry::whole(input.roi, size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use partgate::seed::Rng;

    #[test]
    fn sizes_follow_the_aspect() {
        let sized = |w, h, side| sized(Size::new(w, h), side, 32).expect("a size");
        assert_eq!(sized(500, 500, 256), Size::square(256));
        assert_eq!(sized(64, 1024, 256), Size::new(64, 1024));
        assert_eq!(sized(1024, 64, 256), Size::new(1024, 64));
        assert_eq!(sized(576, 768, 256), Size::new(224, 288));
        assert_eq!(sized(550, 380, 256), Size::new(320, 224));
        assert_eq!(sized(1920, 1080, 320), Size::new(448, 256));
    }

    #[test]
    fn random_regions_get_sizes_that_a_network_takes() {
        let mut rng = Rng::new(8);
        for _ in 0..2000 {
            let region = Size::new(30 + rng.below(4000), 30 + rng.below(4000));
            let side = 128 + rng.below(500);
            let Ok(size) = sized(region, side, 32) else {
                let ratio = ratio(region).max(1.0 / ratio(region));
                assert!(side as f64 / ratio.sqrt() < 64.0, "{region} at {side}");
                continue;
            };
            assert!(size.width % 32 == 0 && size.height % 32 == 0 && size.shorter() >= 64);
            let area = size.area() as f64 / (side * side) as f64;
            assert!((0.5..2.0).contains(&area), "{region} at {side}: {size}");
            // Half a step on both sides.
            let allowed = 16.0 / size.width as f64 + 16.0 / size.height as f64;
            let apart = (ratio(size) / ratio(region)).ln().abs();
            assert!(apart < 1.5 * allowed, "{region} at {side}: {size}");
            assert_eq!(
                sized(region.transposed(), side, 32).expect("a size"),
                size.transposed()
            );
        }
    }

    #[test]
    fn a_strip_that_would_become_too_thin_is_refused_with_the_size_that_fits() {
        let error = sized(Size::new(64, 1024), 128, 32).expect_err("too thin");
        let text = error;
        assert!(
            text.contains("32 x 512") && text.contains("256 or more"),
            "{text}"
        );
    }

    #[test]
    fn members_of_one_aspect_are_alike() {
        let first = Size::new(224, 288);
        for size in [(224, 288), (448, 576), (288, 384), (160, 192)] {
            assert!(alike(Size::new(size.0, size.1), first, 32), "{size:?}");
        }
        for size in [(288, 224), (256, 256), (448, 640)] {
            assert!(!alike(Size::new(size.0, size.1), first, 32), "{size:?}");
        }
    }

    #[test]
    fn the_median_aspect_stands_for_mixed_ones() {
        let sizes = [(100, 50), (200, 100), (201, 100), (100, 100), (50, 100)];
        let sizes = sizes.map(|(w, h)| Size::new(w, h)).to_vec();
        let (middle, others) = median(sizes).expect("a size");
        assert_eq!(others, 2);
        assert!(ratio(middle) > 1.99 && ratio(middle) < 2.01);
        assert!(median(Vec::new()).is_none());
    }
}
