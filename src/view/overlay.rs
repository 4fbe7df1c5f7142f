//! A score map over the picture it belongs to.
//!
//! Colours depend on the product's NG threshold and not on the extremes of one picture. So two
//! pictures of one product can be compared, and a good part is not painted red because one place
//! on it has the highest score.

use super::defects::Ground;
use super::picture::NetworkView;
use crate::backbone::{GeometryError, InputGeometry};
use crate::frame::Frame;
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

/// As [`overlay`], over the whole of `frame` in its own aspect: what lies outside the inspected region
/// has no colour. The longer side is that of the frame, at most `longest` pixels. `map`,
/// `[height, width]` of `size`, lies on the frame as `ground` says.
///
/// # Errors
/// [`GeometryError`] if the frame cannot be made smaller.
pub fn over_picture(
    frame: &Frame,
    longest: usize,
    (map, size): (&[f32], Size),
    ground: &Ground,
    thresholds: &Thresholds,
) -> Result<(Vec<u8>, Size), GeometryError> {
    let whole = Size::new(frame.width(), frame.height());
    let shrink = (whole.longer() as f64 / longest as f64).max(1.0);
    let shown = whole.map(|side| ((side as f64 / shrink).round() as usize).max(1));
    let geometry = InputGeometry::whole(None, shown);
    let mut rgb = NetworkView::new(geometry).picture(frame)?;
    let stretch = [
        whole.width as f64 / shown.width as f64,
        whole.height as f64 / shown.height as f64,
    ];
    let across = taps(shown.width, size.width, |x| {
        ((x + 0.5) * stretch[0] - ground.origin[0]) / ground.pixel[0]
    });
    let down = taps(shown.height, size.height, |y| {
        ((y + 0.5) * stretch[1] - ground.origin[1]) / ground.pixel[1]
    });
    let mut spread = Vec::with_capacity(shown.area());
    for row in &down {
        spread.extend(across.iter().map(|column| match (row, column) {
            (Some((y, next_y, ty)), Some((x, next_x, tx))) => {
                let at = |y: usize, x: usize| map[y * size.width + x];
                let above = at(*y, *x) + tx * (at(*y, *next_x) - at(*y, *x));
                let below = at(*next_y, *x) + tx * (at(*next_y, *next_x) - at(*next_y, *x));
                above + ty * (below - above)
            }
            _ => 0.0,
        }));
    }
    blend(&mut rgb, &spread, thresholds.ng.threshold);
    contour(
        &mut rgb,
        &spread,
        shown.width,
        thresholds.ng.threshold,
        CONTOUR,
    );
    Ok((rgb, shown))
}

/// For each of `count` pixels the two of `cells` between whose centres it lies, and how far it is from
/// the first to the second; none outside of all cells. `place` gives a pixel's place in cells.
fn taps(
    count: usize,
    cells: usize,
    place: impl Fn(f64) -> f64,
) -> Vec<Option<(usize, usize, f32)>> {
    let tap = |i: usize| {
        let at = place(i as f64);
        if !(0.0..=cells as f64).contains(&at) {
            return None;
        }
        let at = (at - 0.5).clamp(0.0, (cells - 1) as f64);
        let first = at.floor() as usize;
        Some((first, (first + 1).min(cells - 1), (at - at.floor()) as f32))
    };
    (0..count).map(tap).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backbone::Rect;
    use crate::frame::Pixels;
    use crate::verdict::Bound;

    #[test]
    fn over_a_picture_colours_lie_where_the_region_is() {
        let geometry = InputGeometry::whole(
            Some(Rect {
                x: 8,
                y: 4,
                width: 8,
                height: 4,
            }),
            Size::square(4),
        );
        let frame = Frame::new(32, 16, Pixels::Gray8(vec![100; 512])).expect("frame");
        let ground = Ground::new(&geometry, 32, 16);
        let bound = |threshold| Bound::by_hand(threshold, String::new());
        let thresholds = Thresholds {
            unknown: bound(1.0),
            ng: bound(1.0),
        };
        let map = [9.0; 16];
        for (longest, factor) in [(64, 1), (16, 2)] {
            let (rgb, shown) = over_picture(
                &frame,
                longest,
                (&map, Size::square(4)),
                &ground,
                &thresholds,
            )
            .expect("drawn");
            assert_eq!(shown, Size::new(32 / factor, 16 / factor));
            let coloured = |x: usize, y: usize| {
                let pixel = &rgb[3 * (y * shown.width + x)..][..3];
                pixel != [100; 3]
            };
            for y in 0..shown.height {
                for x in 0..shown.width {
                    let inside = (8 / factor..16 / factor).contains(&x)
                        && (4 / factor..8 / factor).contains(&y);
                    assert_eq!(coloured(x, y), inside, "{x} {y} at {shown}");
                }
            }
        }
    }

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
