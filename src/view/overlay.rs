//! A score map over the picture it belongs to.
//!
//! Colours depend on the product's NG threshold and not on the extremes of one picture. So two
//! pictures of one product can be compared, and a good part is not painted red because one place
//! on it has the highest score.

use crate::size::Size;
use crate::verdict::Thresholds;

/// Colour of the contour around everything above the NG threshold.
pub(crate) const CONTOUR: [u8; 3] = [0, 229, 255];

/// Colour of a map value that is not a number.
pub(crate) const NOT_A_NUMBER: [u8; 3] = [255, 0, 255];

/// Stops of the scale: map value divided by NG threshold, colour, opacity. Lightness rises with
/// the value, so the order stays visible with colour blindness and in black and white. Good parts
/// are at about half the threshold, so almost nothing is painted up to there.
pub(crate) const STOPS: [(f32, [u8; 3], f32); 5] = [
    (0.0, [18, 10, 60], 0.0),
    (0.65, [86, 16, 110], 0.05),
    (0.85, [176, 42, 94], 0.35),
    (1.0, [232, 84, 32], 0.65),
    (1.6, [255, 238, 120], 0.85),
];

/// Colour and opacity (0..=1) of a map value for the NG threshold `ng`.
pub fn colour(value: f32, ng: f32) -> ([u8; 3], f32) {
    // With a threshold of 0 every positive value is at the top of the scale.
    let level = if value <= 0.0 { 0.0 } else { value / ng };
    if level.is_nan() {
        return (NOT_A_NUMBER, 1.0);
    }
    let mut below = STOPS[0];
    for above in STOPS {
        if level <= above.0 {
            let span = above.0 - below.0;
            let t = if span > 0.0 {
                (level - below.0) / span
            } else {
                0.0
            };
            let mix = |a: u8, b: u8| (f32::from(a) + t * (f32::from(b) - f32::from(a))).round();
            let rgb = [0, 1, 2].map(|c| mix(below.1[c], above.1[c]) as u8);
            return (rgb, below.2 + t * (above.2 - below.2));
        }
        below = above;
    }
    (below.1, below.2)
}

/// Paints `map`, one value per pixel, over `rgb`, 3 bytes per pixel, in place.
pub fn blend(rgb: &mut [u8], map: &[f32], ng: f32) {
    for (pixel, &value) in rgb.chunks_exact_mut(3).zip(map) {
        let (paint, opacity) = colour(value, ng);
        for (sample, paint) in pixel.iter_mut().zip(paint) {
            let under = f32::from(*sample);
            *sample = (under + opacity * (f32::from(paint) - under)).round() as u8;
        }
    }
}

/// Draws a contour of one pixel along the inner edge of the area above `level`. `map` and `rgb`
/// are `width` pixels wide. The border of the picture is not an edge.
pub fn contour(rgb: &mut [u8], map: &[f32], width: usize, level: f32, line: [u8; 3]) {
    if width == 0 {
        return;
    }
    let above = |i: usize| map.get(i).is_none_or(|&v| v > level);
    for i in 0..map.len() {
        let column = i % width;
        let edge = !above(i + width)
            || i.checked_sub(width).is_some_and(|up| !above(up))
            || column > 0 && !above(i - 1)
            || column + 1 < width && !above(i + 1);
        if above(i)
            && edge
            && let Some(pixel) = rgb.get_mut(i * 3..i * 3 + 3)
        {
            pixel.copy_from_slice(&line);
        }
    }
}

/// The picture of a verdict: `map`, `[height, width]`, over `rgb`, the network's view of the same
/// size. A contour runs around everything above the NG threshold.
#[must_use]
pub fn overlay(rgb: &[u8], map: &[f32], size: Size, thresholds: &Thresholds) -> Vec<u8> {
    let mut out = rgb.to_vec();
    blend(&mut out, map, thresholds.ng.threshold);
    contour(&mut out, map, size.width, thresholds.ng.threshold, CONTOUR);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threshold_has_one_colour_whatever_the_picture() {
        let at_threshold = (STOPS[3].1, STOPS[3].2);
        for ng in [0.01, 1.0, 250.0] {
            assert_eq!(colour(ng, ng), at_threshold);
            assert_eq!(colour(0.0, ng).1, 0.0);
            assert_eq!(colour(ng * 50.0, ng), (STOPS[4].1, STOPS[4].2));
        }
        assert_eq!(colour(f32::NAN, 1.0).0, NOT_A_NUMBER);
        assert_eq!(colour(0.0, 0.0).1, 0.0);
        assert_eq!(colour(0.1, 0.0).1, STOPS[4].2);
        assert_eq!(colour(f32::INFINITY, 1.0).1, STOPS[4].2);
    }

    #[test]
    fn opacity_rises_with_the_value() {
        let opacities: Vec<f32> = (0..300).map(|i| colour(i as f32 / 100.0, 1.0).1).collect();
        assert!(opacities.windows(2).all(|w| w[0] <= w[1]));
    }

    #[test]
    fn a_contour_is_the_inner_edge() {
        let mut map = vec![0.0; 49];
        for y in 2..5 {
            for x in 2..5 {
                map[y * 7 + x] = 1.0;
            }
        }
        let mut rgb = vec![9; 49 * 3];
        contour(&mut rgb, &map, 7, 0.5, CONTOUR);
        let drawn: Vec<usize> = (0..49)
            .filter(|&i| rgb[i * 3..i * 3 + 3] == CONTOUR)
            .collect();
        assert_eq!(drawn, [16, 17, 18, 23, 25, 30, 31, 32]);
        // Everything is above: there is no edge.
        let mut rgb = vec![9; 49 * 3];
        contour(&mut rgb, &[1.0; 49], 7, 0.5, CONTOUR);
        assert!(rgb.iter().all(|&v| v == 9));
    }

    #[test]
    fn nothing_is_painted_where_nothing_is_strange() {
        let picture: Vec<u8> = (0..12).collect();
        let mut painted = picture.clone();
        blend(&mut painted, &[0.0; 4], 1.0);
        assert_eq!(painted, picture);
    }
}
