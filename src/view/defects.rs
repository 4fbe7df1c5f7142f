//! Defects of a picture: the connected regions of its score map above a limit, in pixels of the
//! picture.

use crate::backbone::{InputGeometry, Rect};
use crate::size::Size;
use crate::verdict::{Thresholds, Verdict};

/// Where the pixels of a score map lie in the picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ground {
    /// The left and the top edge of the map, pixels of the picture.
    pub origin: [f64; 2],
    /// Width and height of one pixel of the map, pixels of the picture.
    pub pixel: [f64; 2],
    /// Width and height of the picture.
    picture: [u32; 2],
}

impl Ground {
    /// Of a map of `geometry` over a picture of `width` x `height` pixels.
    pub fn new(geometry: &InputGeometry, width: usize, height: usize) -> Self {
        let (width, height) = (width as u32, height as u32);
        let region = geometry.roi.unwrap_or(Rect {
            x: 0,
            y: 0,
            width,
            height,
        });
        let (left, top) = geometry.margin();
        let pixel = [
            f64::from(region.width) / geometry.resize.width as f64,
            f64::from(region.height) / geometry.resize.height as f64,
        ];
        Self {
            origin: [
                f64::from(region.x) + left as f64 * pixel[0],
                f64::from(region.y) + top as f64 * pixel[1],
            ],
            pixel,
            picture: [width, height],
        }
    }

    /// The place of a point of the map (pixel centres at half-integers) in the picture.
    pub fn place(&self, x: f64, y: f64) -> [f64; 2] {
        [
            self.origin[0] + x * self.pixel[0],
            self.origin[1] + y * self.pixel[1],
        ]
    }

    /// The pixels of the picture that the columns and rows of a map touch; ends are exclusive.
    fn touched(&self, from: [usize; 2], to: [usize; 2]) -> Rect {
        let low = self.place(from[0] as f64, from[1] as f64);
        let high = self.place(to[0] as f64, to[1] as f64);
        // An edge that is whole but for rounding must not take in one pixel more.
        let first = |at: f64, side: u32| ((at + 1e-6).floor().max(0.0) as u32).min(side - 1);
        let end = |at: f64, side: u32| ((at - 1e-6).ceil().max(1.0) as u32).min(side);
        let (x, y) = (
            first(low[0], self.picture[0]),
            first(low[1], self.picture[1]),
        );
        Rect {
            x,
            y,
            width: end(high[0], self.picture[0]).saturating_sub(x).max(1),
            height: end(high[1], self.picture[1]).saturating_sub(y).max(1),
        }
    }
}

/// One region of the map above the limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Defect {
    /// The box around it, pixels of the picture.
    pub bounds: Rect,
    /// Its area, square pixels of the picture.
    pub area: f64,
    /// The pixel of the picture with the highest score.
    pub peak: [u32; 2],
    /// The highest score; NaN if any of the region is no number.
    pub score: f32,
    /// The verdict that this score alone gives.
    pub verdict: Verdict,
}

/// The limit above which a pixel of the map belongs to a defect: the score from which a part is not
/// OK. So a part that is not OK has at least one defect, and one that is OK has none.
pub fn limit(thresholds: &Thresholds) -> f32 {
    thresholds.unknown.threshold
}

/// The regions of `map`, `[height, width]` of `size`, above [`limit`], the highest score first.
/// Pixels that touch by a side or a corner are one region. What is not a number is above any limit.
pub fn defects(map: &[f32], size: Size, thresholds: &Thresholds, ground: &Ground) -> Vec<Defect> {
    let limit = limit(thresholds);
    let mut open: Vec<bool> = map.iter().map(|&v| v.is_nan() || v > limit).collect();
    let mut found = Vec::new();
    let mut reached = Vec::new();
    for start in 0..open.len() {
        if !open[start] {
            continue;
        }
        open[start] = false;
        reached.clear();
        reached.push(start);
        let mut next = 0;
        while let Some(&at) = reached.get(next) {
            next += 1;
            around(at, size, |near| {
                if std::mem::take(&mut open[near]) {
                    reached.push(near);
                }
            });
        }
        found.push(region(&reached, map, size, thresholds, ground));
    }
    // NaN is the largest number of this order, and comes first.
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    found
}

/// Calls `each` with the pixels that touch pixel `at`.
fn around(at: usize, size: Size, mut each: impl FnMut(usize)) {
    let (x, y) = (at % size.width, at / size.width);
    for near_y in y.saturating_sub(1)..(y + 2).min(size.height) {
        for near_x in x.saturating_sub(1)..(x + 2).min(size.width) {
            each(near_y * size.width + near_x);
        }
    }
}

fn region(
    pixels: &[usize],
    map: &[f32],
    size: Size,
    thresholds: &Thresholds,
    ground: &Ground,
) -> Defect {
    let (mut from, mut to) = ([usize::MAX; 2], [0; 2]);
    let mut highest = (f32::NEG_INFINITY, [0; 2]);
    for &at in pixels {
        let place = [at % size.width, at / size.width];
        for side in 0..2 {
            from[side] = from[side].min(place[side]);
            to[side] = to[side].max(place[side] + 1);
        }
        let value = if map[at].is_nan() { f32::NAN } else { map[at] };
        let more = value.is_nan() && !highest.0.is_nan() || value > highest.0;
        if more {
            highest = (value, place);
        }
    }
    let (score, [x, y]) = highest;
    let centre = ground.place(x as f64 + 0.5, y as f64 + 0.5);
    let inside = |at: f64, side: u32| (at.max(0.0) as u32).min(side - 1);
    Defect {
        bounds: ground.touched(from, to),
        area: pixels.len() as f64 * ground.pixel[0] * ground.pixel[1],
        peak: [
            inside(centre[0], ground.picture[0]),
            inside(centre[1], ground.picture[1]),
        ],
        score,
        verdict: thresholds.verdict(score),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Bound;

    fn thresholds(unknown: f32, ng: f32) -> Thresholds {
        let bound = |threshold| Bound::by_hand(threshold, String::new());
        Thresholds {
            unknown: bound(unknown),
            ng: bound(ng),
        }
    }

    fn rect(x: u32, y: u32, width: u32, height: u32) -> Rect {
        Rect {
            x,
            y,
            width,
            height,
        }
    }

    #[test]
    fn regions_are_found_in_pixels_of_the_picture() {
        let size = Size::new(8, 4);
        // The whole picture of 80 x 20: a pixel of the map is 10 x 5.
        let ground = Ground::new(&InputGeometry::whole(None, size), 80, 20);
        let mut map = vec![0.0; 32];
        (map[9], map[10], map[2]) = (1.5, 3.0, 1.2);
        // It touches the others by a corner only.
        map[3 + 8 * 2] = 1.1;
        map[31] = 1.5;
        // At the limit is not above it.
        map[24] = 1.0;
        let found = defects(&map, size, &thresholds(1.0, 2.0), &ground);
        let [large, small] = &found[..] else {
            panic!("{found:?}");
        };
        assert_eq!(large.bounds, rect(10, 0, 30, 15));
        assert_eq!((large.area, large.peak), (200.0, [25, 7]));
        assert_eq!((large.score, large.verdict), (3.0, Verdict::Ng));
        assert_eq!((small.bounds, small.peak), (rect(70, 15, 10, 5), [75, 17]));
        assert_eq!((small.score, small.verdict), (1.5, Verdict::Unknown));
    }

    #[test]
    fn region_and_crop_move_a_defect_to_its_place() {
        let geometry = InputGeometry {
            roi: Some(rect(100, 40, 60, 30)),
            resize: Size::new(20, 10),
            crop: Size::new(10, 10),
        };
        let ground = Ground::new(&geometry, 400, 300);
        assert_eq!((ground.origin, ground.pixel), ([115.0, 40.0], [3.0, 3.0]));
        let mut map = vec![0.0; 100];
        map[0] = 9.0;
        let found = defects(&map, Size::square(10), &thresholds(1.0, 2.0), &ground);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].bounds, rect(115, 40, 3, 3));
        assert_eq!((found[0].area, found[0].peak), (9.0, [116, 41]));
    }

    #[test]
    fn a_map_finer_than_the_picture_still_marks_whole_pixels() {
        let ground = Ground::new(&InputGeometry::whole(None, Size::square(8)), 3, 3);
        let mut map = vec![0.0; 64];
        map[63] = 9.0;
        let found = defects(&map, Size::square(8), &thresholds(1.0, 2.0), &ground);
        assert_eq!(found[0].bounds, rect(2, 2, 1, 1));
        assert_eq!(found[0].peak, [2, 2]);
        assert!((found[0].area - 0.140_625).abs() < 1e-9);
        // Everything above the limit is the whole picture.
        let found = defects(&[5.0; 64], Size::square(8), &thresholds(1.0, 2.0), &ground);
        assert_eq!((found.len(), found[0].bounds), (1, rect(0, 0, 3, 3)));
        assert!((found[0].area - 9.0).abs() < 1e-9);
    }

    #[test]
    fn what_is_no_number_is_a_defect_and_comes_first() {
        let ground = Ground::new(&InputGeometry::whole(None, Size::square(4)), 4, 4);
        let mut map = vec![0.0; 16];
        (map[0], map[15]) = (7.0, f32::NAN);
        let found = defects(&map, Size::square(4), &thresholds(1.0, 2.0), &ground);
        assert!(found[0].score.is_nan(), "{found:?}");
        assert_eq!(found[0].verdict, Verdict::Unknown);
        assert_eq!(found[1].score, 7.0);
    }

    #[test]
    fn a_part_has_a_defect_exactly_if_it_is_not_ok() {
        let ground = Ground::new(&InputGeometry::whole(None, Size::square(4)), 4, 4);
        let thresholds = thresholds(1.0, 2.0);
        for highest in [0.0, 0.5, 1.0, 1.000_001, 1.5, 2.0, 3.0] {
            let mut map = vec![0.0; 16];
            map[6] = highest;
            let found = defects(&map, Size::square(4), &thresholds, &ground);
            let ok = thresholds.verdict(highest) == Verdict::Ok;
            assert_eq!(found.is_empty(), ok, "{highest}");
            assert!(
                found
                    .iter()
                    .all(|d| d.verdict == thresholds.verdict(d.score))
            );
        }
    }
}
