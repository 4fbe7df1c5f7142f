//! The part's box in the pictures, proposed from the good images: what lies around the part costs
//! pixels that the part could have.

use crate::damage::part_box;
use crate::dataset::GoodImages;
use crate::error::TrainError;
use partgate::backbone::Rect;
use rayon::prelude::*;
use serde::Serialize;

/// Images in which the part is looked for, at most.
const IMAGES: usize = 64;
/// Share of them that must show a part on a plain background.
const FOUND: f64 = 0.9;
/// Room around the union of the boxes, as a share of its longer side, ...
const MARGIN: f64 = 0.04;
/// ... and as a share of how far a box's edge moves among the images: the next part moves further.
const MOVEMENT: f64 = 0.25;
/// A box with a larger share of the picture gains nothing.
const LARGEST: f64 = 0.85;

/// Where the part is in the pictures of good parts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct PartBox {
    /// Box with room for parts that move, source pixels.
    pub(crate) region: Rect,
    /// Share of the picture.
    pub(crate) share: f64,
    /// Most that an edge of the part's own box moves among the images, pixels.
    pub(crate) movement: u32,
    /// Images in which the part was found, and looked for.
    pub(crate) found: usize,
    pub(crate) images: usize,
}

/// Looks for the part; `None` where pictures differ in size, where too few show a part on a plain
/// background, or where it fills the picture.
///
/// # Errors
/// [`TrainError`] for an image that cannot be read.
pub(crate) fn part_region(images: &GoodImages) -> Result<Option<PartBox>, TrainError> {
    let step = images.paths.len().div_ceil(IMAGES).max(1);
    let looked: Vec<_> = images.paths.iter().step_by(step).collect();
    let seen = looked
        .par_iter()
        .map(|path| {
            let frame = images.read(path)?;
            Ok(([frame.width(), frame.height()], part_box(&frame)))
        })
        .collect::<Result<Vec<_>, TrainError>>()?;
    let Some(&(size, _)) = seen.first() else {
        return Ok(None);
    };
    if seen.iter().any(|(other, _)| *other != size) {
        return Ok(None);
    }
    let boxes: Vec<Rect> = seen.into_iter().filter_map(|(_, part)| part).collect();
    Ok(around(&boxes, looked.len(), size))
}

/// The box around the parts' `boxes`, of `images` pictures of `size`.
fn around(boxes: &[Rect], images: usize, size: [usize; 2]) -> Option<PartBox> {
    if boxes.is_empty() || (boxes.len() as f64) < FOUND * images as f64 {
        return None;
    }
    let edge = |of: fn(&Rect) -> u32| {
        let all = || boxes.iter().map(of);
        let (least, most) = (all().min().unwrap_or(0), all().max().unwrap_or(0));
        (f64::from(least), f64::from(most))
    };
    let (left, top) = (edge(|b| b.x), edge(|b| b.y));
    let (right, bottom) = (edge(|b| b.x + b.width), edge(|b| b.y + b.height));
    let moved = |(least, most): (f64, f64)| most - least;
    let movement = [left, top, right, bottom]
        .map(moved)
        .into_iter()
        .fold(0.0, f64::max);
    let side = (right.1 - left.0).max(bottom.1 - top.0);
    let room = MARGIN * side + MOVEMENT * movement;
    let [width, height] = size.map(|s| s as f64);
    let (x, y) = (
        (left.0 - room).max(0.0).floor(),
        (top.0 - room).max(0.0).floor(),
    );
    let region = Rect {
        x: x as u32,
        y: y as u32,
        width: ((right.1 + room).min(width).ceil() - x) as u32,
        height: ((bottom.1 + room).min(height).ceil() - y) as u32,
    };
    let share = f64::from(region.width) * f64::from(region.height) / (width * height);
    (share <= LARGEST).then_some(PartBox {
        region,
        share,
        movement: movement as u32,
        found: boxes.len(),
        images,
    })
}

impl PartBox {
    /// As `--roi` takes it.
    pub(crate) fn argument(&self) -> String {
        let Rect {
            x,
            y,
            width,
            height,
        } = self.region;
        format!("{x},{y},{width},{height}")
    }

    /// What was seen.
    pub(crate) fn in_words(&self) -> String {
        format!(
            "the part lies within {} ({:.0} % of the picture; found in {} of {} images, its edges move by up to {} pixels)",
            self.argument(),
            100.0 * self.share,
            self.found,
            self.images,
            self.movement
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rect(x: u32, y: u32, width: u32, height: u32) -> Rect {
        Rect {
            x,
            y,
            width,
            height,
        }
    }

    #[test]
    fn the_box_holds_every_part_with_room_for_the_next_one() {
        let boxes = [rect(100, 50, 100, 100), rect(120, 50, 100, 100)];
        let found = around(&boxes, 2, [640, 480]).expect("a box");
        // 4 % of 120 pixels and a quarter of 20: 9.8 pixels on each side.
        assert_eq!(found.region, rect(90, 40, 140, 120));
        assert_eq!((found.movement, found.found), (20, 2));
        assert_eq!(found.argument(), "90,40,140,120");
    }

    #[test]
    fn a_box_stays_inside_the_picture() {
        let found = around(&[rect(0, 0, 100, 300)], 1, [400, 300]).expect("a box");
        assert_eq!(found.region, rect(0, 0, 112, 300));
    }

    #[test]
    fn no_box_without_parts_or_for_parts_that_fill_the_picture() {
        assert!(around(&[], 0, [100, 100]).is_none());
        assert!(around(&[rect(10, 10, 20, 20); 8], 10, [100, 100]).is_none());
        assert!(around(&[rect(1, 1, 98, 98)], 1, [100, 100]).is_none());
    }
}
