//! A few damaged pictures of every kind beside their masks, on one small picture.

use crate::damage::{Damaged, Family, Kind};
use crate::error::TrainError;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};
use std::collections::BTreeMap;

/// Examples of every kind.
const EXAMPLES: usize = 3;

/// Sides of a tile in pixels; the mask beside it is half as wide and high.
const TILE: usize = 88;

/// Blank pixels between tiles.
const GAP: usize = 3;

/// A tile shows the damage and its surroundings: this many times the damage's sides ...
const SURROUNDINGS: usize = 2;

/// ... and never less than this part of the picture's shorter side, so that one sees where it is.
const LEAST_VIEW: usize = 3;

/// Colours are rounded to this many steps a channel: a sheet is to be looked at and to stay small
/// in a repository.
const STEPS: u32 = 14;

struct Tile {
    side: usize,
    rgb: Vec<u8>,
}

/// A square view of a picture: column, row, side.
#[derive(Clone, Copy)]
struct View {
    left: usize,
    top: usize,
    side: usize,
}

impl View {
    /// Around the changed pixels, moved and shrunk to lie in the picture.
    fn of(changed: &[bool], width: usize, height: usize) -> Self {
        let (mut x0, mut y0, mut x1, mut y1) = (width, height, 0, 0);
        for (i, _) in changed.iter().enumerate().filter(|(_, c)| **c) {
            let (x, y) = (i % width, i / width);
            (x0, y0, x1, y1) = (x0.min(x), y0.min(y), x1.max(x + 1), y1.max(y + 1));
        }
        let shorter = width.min(height);
        let extent = x1.saturating_sub(x0).max(y1.saturating_sub(y0));
        let side = (SURROUNDINGS * extent)
            .max(shorter / LEAST_VIEW)
            .clamp(1, shorter);
        let corner = |low: usize, high: usize, n: usize| {
            ((low + high) / 2).saturating_sub(side / 2).min(n - side)
        };
        Self {
            left: corner(x0, x1, width),
            top: corner(y0, y1, height),
            side,
        }
    }
}

impl Tile {
    /// The view averaged down (or repeated up) to `side` pixels.
    fn new(rgb: &[u8], width: usize, view: View, side: usize) -> Self {
        // Whole numbers only: the sheet is the same bytes everywhere, too.
        let range = |i: usize| {
            let first = i * view.side / side;
            first..((i + 1) * view.side).div_ceil(side).max(first + 1)
        };
        let mut out = Vec::with_capacity(side * side * 3);
        for (x, y) in (0..side * side).map(|i| (i % side, i / side)) {
            let (rows, columns) = (range(y), range(x));
            let count = (rows.len() * columns.len()) as u32;
            let mut sum = [0u32; 3];
            for row in rows {
                for column in columns.clone() {
                    let at = ((view.top + row) * width + view.left + column) * 3;
                    for c in 0..3 {
                        sum[c] += u32::from(rgb[at + c]);
                    }
                }
            }
            out.extend(sum.map(|s| {
                let step = (s * (STEPS - 1) + count * 127) / (count * 255);
                (step * 255 / (STEPS - 1)) as u8
            }));
        }
        Self { side, rgb: out }
    }
}

/// Collects examples as they come.
#[derive(Default)]
pub(super) struct Sheet {
    rows: BTreeMap<Kind, Vec<[Tile; 2]>>,
}

impl Sheet {
    /// Takes the picture if there are too few of its kind yet.
    pub(super) fn add(&mut self, damaged: &Damaged) {
        let row = self.rows.entry(damaged.kind).or_default();
        if row.len() >= EXAMPLES {
            return;
        }
        let (w, h) = (damaged.frame.width(), damaged.frame.height());
        let view = View::of(&damaged.changed, w, h);
        let mask: Vec<u8> = damaged
            .changed
            .iter()
            .flat_map(|&c| if c { [255; 3] } else { [20, 20, 60] })
            .collect();
        row.push([
            Tile::new(&damaged.frame.to_rgb8(), w, view, TILE),
            Tile::new(&mask, w, view, TILE / 2),
        ]);
    }

    /// The sheet as a PNG file: surface kinds on the left, misplaced ones on the right, a kind a
    /// row.
    pub(super) fn png(&self) -> Result<Vec<u8>, TrainError> {
        const PAIR: usize = TILE + TILE / 2 + 3 * GAP;
        const BAND: usize = EXAMPLES * PAIR + 3 * GAP;
        let halves: Vec<Vec<_>> = [Family::Surface, Family::Misplaced]
            .iter()
            .map(|f| f.kinds().iter().filter_map(|k| self.rows.get(k)).collect())
            .filter(|half: &Vec<_>| !half.is_empty())
            .collect();
        let rows = halves.iter().map(Vec::len).max().unwrap_or(1);
        let (width, height) = (halves.len().max(1) * BAND, rows * (TILE + GAP) + GAP);
        let mut rgb = vec![255u8; width * height * 3];
        for (i, half) in halves.iter().enumerate() {
            for (j, row) in half.iter().enumerate() {
                for (k, [picture, mask]) in row.iter().enumerate() {
                    let (left, top) = (i * BAND + k * PAIR + GAP, j * (TILE + GAP) + GAP);
                    paste(&mut rgb, width, picture, left, top);
                    paste(&mut rgb, width, mask, left + TILE + GAP, top);
                }
            }
        }
        let mut bytes = Vec::new();
        PngEncoder::new_with_quality(&mut bytes, CompressionType::Best, FilterType::NoFilter)
            .write_image(&rgb, width as u32, height as u32, ExtendedColorType::Rgb8)
            .map_err(|e| TrainError::Setting(format!("the sheet cannot be encoded: {e}")))?;
        Ok(bytes)
    }
}

fn paste(rgb: &mut [u8], width: usize, tile: &Tile, left: usize, top: usize) {
    for (y, line) in tile.rgb.chunks_exact(tile.side * 3).enumerate() {
        let at = ((top + y) * width + left) * 3;
        rgb[at..at + line.len()].copy_from_slice(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_hold_the_damage_and_lie_in_the_picture() {
        for (w, h, at) in [(600, 400, 0), (100, 700, 69_999), (16, 16, 100)] {
            let mut changed = vec![false; w * h];
            changed[at] = true;
            let view = View::of(&changed, w, h);
            assert!(view.left + view.side <= w && view.top + view.side <= h);
            assert!((view.left..view.left + view.side).contains(&(at % w)));
            assert!((view.top..view.top + view.side).contains(&(at / w)));
            let tile = Tile::new(&vec![200; w * h * 3], w, view, TILE);
            assert_eq!(tile.rgb.len(), TILE * TILE * 3);
            assert!(tile.rgb.iter().all(|v| v.abs_diff(200) < 12));
        }
    }
}
