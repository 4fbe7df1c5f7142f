//! Cell distances to a score map at the network's resolution: bilinear upsampling, then a Gaussian.
//! Both are linear and separable, so together they are `A S A^T` with one banded `A`.

mod inverse_distance;

use super::ignore::{IgnoreMask, clear};
use super::scoring::Interpolation;
use crate::size::Size;
use inverse_distance::InverseDistance;
use std::ops::Range;

/// Bilinear upsampling and Gaussian blur from a feature grid to a map.
#[derive(Clone, Debug)]
pub struct MapOperator {
    grid: Size,
    size: Size,
    /// From rows of cells to rows of the map.
    down: Band,
    /// From columns of cells to columns of the map.
    across: Band,
    columns: Vec<f32>,
    /// Of `across`.
    stretches: Vec<Stretch>,
    /// `span` weights per stretch, each the largest of its outputs.
    largest: Vec<f32>,
}

/// Upsampling and blur along one side.
#[derive(Clone, Debug)]
struct Band {
    /// First cell that each output depends on.
    first: Vec<u32>,
    /// `span` weights per output, which sum to 1.
    weights: Vec<f32>,
    span: usize,
}

/// Neighbouring outputs that depend on the same cells.
#[derive(Clone, Debug)]
struct Stretch {
    outputs: Range<usize>,
    first: usize,
}

/// A bound of sums whose terms are rounded: more than a hundred roundings of f32.
const ROUNDED: f32 = 1.0 + 1e-5;

/// The Gaussian, cut at four sigma, which sums to 1.
fn gaussian(sigma: f64) -> Vec<f64> {
    let radius = (4.0 * sigma + 0.5) as usize;
    let mut kernel: Vec<f64> = (0..=2 * radius)
        .map(|i| {
            let x = i as f64 - radius as f64;
            if radius == 0 {
                1.0
            } else {
                (-0.5 * x * x / (sigma * sigma)).exp()
            }
        })
        .collect();
    let sum: f64 = kernel.iter().sum();
    kernel.iter_mut().for_each(|w| *w /= sum);
    kernel
}

impl Band {
    /// From `cells` to `pixels` along one side.
    fn new(cells: usize, pixels: usize, kernel: &[f64]) -> Self {
        let radius = kernel.len() / 2;
        let scale = cells as f64 / pixels as f64;
        let mirrored = |at: isize| {
            let period = 2 * pixels as isize;
            let at = at.rem_euclid(period);
            (if at < pixels as isize {
                at
            } else {
                period - 1 - at
            }) as usize
        };
        let mut dense = vec![0.0f64; pixels * cells];
        for out in 0..pixels {
            for (i, weight) in kernel.iter().enumerate() {
                let source = mirrored(out as isize + i as isize - radius as isize);
                let at = ((source as f64 + 0.5) * scale - 0.5).clamp(0.0, (cells - 1) as f64);
                let low = at.floor() as usize;
                let high = (low + 1).min(cells - 1);
                dense[out * cells + low] += weight * (1.0 - (at - low as f64));
                dense[out * cells + high] += weight * (at - low as f64);
            }
        }
        let band = |row: &[f64]| {
            let first = row.iter().position(|&w| w != 0.0).unwrap_or(0);
            let last = row.iter().rposition(|&w| w != 0.0).unwrap_or(0);
            (first, last + 1 - first)
        };
        let rows = dense.chunks_exact(cells);
        let span = rows.map(|row| band(row).1).max().unwrap_or(1);
        let mut out = Self {
            first: Vec::with_capacity(pixels),
            weights: Vec::with_capacity(pixels * span),
            span,
        };
        for row in dense.chunks_exact(cells) {
            let first = band(row).0.min(cells - span);
            out.first.push(first as u32);
            out.weights
                .extend(row[first..first + span].iter().map(|&w| w as f32));
        }
        out
    }

    /// The weights of output `at`.
    fn weights(&self, at: usize) -> &[f32] {
        &self.weights[at * self.span..][..self.span]
    }
}

impl MapOperator {
    /// From `grid` cells to `size` pixels; `sigma` in pixels of the map, 0 leaves the blur out.
    /// Upsampling uses half-pixel centres with the edge repeated; the Gaussian is cut at four sigma,
    /// mirrored at the border and normalised (what `scipy.ndimage.gaussian_filter` does).
    ///
    /// # Panics
    /// If a side is 0: a programming error.
    pub fn new(grid: Size, size: Size, sigma: f32) -> Self {
        assert!(grid.shorter() > 0 && size.shorter() > 0, "map shape");
        let kernel = gaussian(f64::from(sigma));
        let mut operator = Self {
            grid,
            size,
            down: Band::new(grid.height, size.height, &kernel),
            across: Band::new(grid.width, size.width, &kernel),
            columns: vec![0.0; size.height * grid.width],
            stretches: Vec::new(),
            largest: Vec::new(),
        };
        operator.find_stretches();
        operator
    }

    fn find_stretches(&mut self) {
        let band = &self.across;
        for (output, &first) in band.first.iter().enumerate() {
            let (first, weights) = (first as usize, band.weights(output));
            match self.stretches.last_mut() {
                Some(last) if last.first == first => {
                    last.outputs.end = output + 1;
                    let at = self.largest.len() - band.span;
                    for (largest, &weight) in self.largest[at..].iter_mut().zip(weights) {
                        *largest = largest.max(weight);
                    }
                }
                _ => {
                    let outputs = output..output + 1;
                    self.stretches.push(Stretch { outputs, first });
                    self.largest.extend_from_slice(weights);
                }
            }
        }
    }

    /// `cells` is `[rows, columns]` of the grid; `map` becomes `[height, width]`.
    ///
    /// # Panics
    /// If a buffer has another length: a programming error.
    pub fn run(&mut self, cells: &[f32], map: &mut [f32]) {
        let (grid, size) = (self.grid, self.size);
        assert_eq!(cells.len(), grid.area(), "cells");
        assert_eq!(map.len(), size.area(), "map");
        self.down_the_columns(cells);
        for (line, out) in self
            .columns
            .chunks_exact(grid.width)
            .zip(map.chunks_exact_mut(size.width))
        {
            for (x, value) in out.iter_mut().enumerate() {
                *value = self.pixel(line, x);
            }
        }
    }

    /// The maximum of the map that `run` makes of `cells`, outside `ignored` (empty, or one per
    /// pixel): the same bits. Few pixels are computed: a stretch whose weights at their largest do
    /// not reach the maximum so far is left out. None if a cell is negative or not finite, because
    /// that bound is then none.
    fn maximum(&mut self, cells: &[f32], ignored: &[bool]) -> Option<f32> {
        if !cells.iter().all(|v| (0.0..f32::INFINITY).contains(v)) {
            return None;
        }
        self.down_the_columns(cells);
        // An ignored pixel is 0, and no pixel is less.
        let mut high = 0.0;
        let highest_in = |line: &[f32]| line.iter().copied().fold(0.0, f32::max);
        let lines = self.columns.chunks_exact(self.grid.width).enumerate();
        let best = lines.max_by(|a, b| highest_in(a.1).total_cmp(&highest_in(b.1)));
        let lines = self.columns.chunks_exact(self.grid.width).enumerate();
        // The line that promises most is computed first, and leaves little to do.
        for (y, line) in best.into_iter().chain(lines) {
            if highest_in(line) * ROUNDED <= high {
                continue;
            }
            for (stretch, largest) in self
                .stretches
                .iter()
                .zip(self.largest.chunks(self.across.span))
            {
                let bound: f32 = products(largest, &line[stretch.first..]);
                if bound * ROUNDED <= high {
                    continue;
                }
                for x in stretch.outputs.clone() {
                    let value = self.pixel(line, x);
                    let counts = ignored
                        .get(y * self.size.width + x)
                        .is_none_or(|ignored| !ignored);
                    if counts && value > high {
                        high = value;
                    }
                }
            }
        }
        Some(high)
    }

    fn down_the_columns(&mut self, cells: &[f32]) {
        let columns = self.grid.width;
        for (y, line) in self.columns.chunks_exact_mut(columns).enumerate() {
            let weights = self.down.weights(y);
            let first = self.down.first[y] as usize;
            line.fill(0.0);
            for (k, &w) in weights.iter().enumerate() {
                let row = &cells[(first + k) * columns..][..columns];
                for (value, cell) in line.iter_mut().zip(row) {
                    *value += w * cell;
                }
            }
        }
    }

    fn pixel(&self, line: &[f32], x: usize) -> f32 {
        let first = self.across.first[x] as usize;
        products(self.across.weights(x), &line[first..])
    }
}

/// The sum of the products, from the first to the last of `weights`.
fn products(weights: &[f32], cells: &[f32]) -> f32 {
    let mut sum = 0.0;
    for (w, cell) in weights.iter().zip(cells) {
        sum += w * cell;
    }
    sum
}

/// Cell scores to the image score, and to the score map when somebody looks at it.
#[derive(Clone, Debug)]
pub struct ScoreMap {
    operator: MapOperator,
    sigma: f32,
    ignore: Option<IgnoreMask>,
    cells: Vec<f32>,
    map: Vec<f32>,
    drawn: bool,
    /// Highest pixels whose mean is the image score.
    top: usize,
    /// Room to sort them; empty for one.
    sorted: Vec<f32>,
    /// What draws the map instead of the operator.
    inverse: Option<Box<InverseDistance>>,
}

impl ScoreMap {
    /// For the feature grid `grid` and a map of `size` pixels; `sigma` blurs the map, in its pixels.
    pub fn new(grid: Size, size: Size, sigma: f32, ignore: Option<IgnoreMask>) -> Self {
        Self {
            operator: MapOperator::new(grid, size, sigma),
            sigma,
            ignore,
            cells: vec![0.0; grid.area()],
            map: vec![0.0; size.area()],
            drawn: true,
            top: 1,
            sorted: Vec::new(),
            inverse: None,
        }
    }

    /// The same with another way between cells.
    #[must_use]
    pub fn with_interpolation(self, interpolation: Interpolation) -> Self {
        let inverse = match interpolation {
            Interpolation::Bilinear => None,
            Interpolation::InverseDistance => {
                let (grid, size) = (self.operator.grid, self.operator.size);
                Some(Box::new(InverseDistance::new(grid, size, self.sigma)))
            }
        };
        Self { inverse, ..self }
    }

    /// The same with the mean of the `pixels` highest pixels as the image score. Ignored pixels count
    /// as 0.
    #[must_use]
    pub fn with_top(self, pixels: usize) -> Self {
        let top = pixels.clamp(1, self.map.len());
        let room = if top > 1 { self.map.len() } else { 0 };
        Self {
            top,
            sorted: Vec::with_capacity(room),
            ..self
        }
    }

    /// Takes `cells`, `[rows, columns]`, and returns the image score: the maximum of their map outside
    /// ignored pixels, for which the map is not drawn, or the mean of the highest ones. NaN if a cell that counts is NaN.
    ///
    /// # Panics
    /// If the buffer has another length: a programming error.
    pub fn score(&mut self, cells: &[f32]) -> f32 {
        self.cells.copy_from_slice(cells);
        if let Some(ignore) = &self.ignore {
            clear(&mut self.cells, ignore.cells());
        }
        self.drawn = false;
        if self.top > 1 || self.inverse.is_some() {
            self.pixels();
            return mean_of_highest(&self.map, self.top, &mut self.sorted);
        }
        let ignored = self.ignore.as_ref().map_or(&[][..], |i| i.pixels());
        let maximum = self.operator.maximum(&self.cells, ignored);
        maximum.unwrap_or_else(|| highest(self.pixels()))
    }

    /// Width and height of a cell, and the sigma of the blur, in pixels of the map: nothing finer is in
    /// a map.
    pub fn resolution(&self) -> ([f32; 2], f32) {
        let (grid, size) = (self.operator.grid, self.operator.size);
        let side = |pixels: usize, cells: usize| pixels as f32 / cells as f32;
        let cell = [side(size.width, grid.width), side(size.height, grid.height)];
        (cell, self.sigma)
    }

    /// The map of the cells that were taken last, `[height, width]`.
    pub fn pixels(&mut self) -> &[f32] {
        if !std::mem::replace(&mut self.drawn, true) {
            match &mut self.inverse {
                Some(inverse) => inverse.run(&self.cells, &mut self.map),
                None => self.operator.run(&self.cells, &mut self.map),
            }
            if let Some(ignore) = &self.ignore {
                clear(&mut self.map, ignore.pixels());
            }
        }
        &self.map
    }
}

/// The maximum; NaN if any value is NaN, which `f32::max` would hide.
fn highest(map: &[f32]) -> f32 {
    let mut high = f32::NEG_INFINITY;
    let mut broken = false;
    for &v in map {
        high = if v > high { v } else { high };
        broken |= v.is_nan();
    }
    if broken { f32::NAN } else { high }
}

/// The mean of the `count` highest values; NaN if any value is NaN. `sorted` is room for them.
pub(crate) fn mean_of_highest(map: &[f32], count: usize, sorted: &mut Vec<f32>) -> f32 {
    let count = count.clamp(1, map.len());
    if count == 1 {
        return highest(map);
    }
    if map.iter().any(|v| v.is_nan()) {
        return f32::NAN;
    }
    sorted.clear();
    sorted.extend_from_slice(map);
    let descending = |a: &f32, b: &f32| b.total_cmp(a);
    sorted.select_nth_unstable_by(count - 1, descending);
    sorted.truncate(count);
    // One order, whatever the selection left.
    sorted.sort_unstable_by(descending);
    let sum: f64 = sorted.iter().map(|&v| f64::from(v)).sum();
    (sum / count as f64) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Rng;

    #[test]
    fn the_mean_of_the_highest_pixels_can_be_the_score() {
        let grid = Size::new(3, 2);
        let size = grid.map(|cells| 8 * cells);
        let cells = [1.0, 5.0, 2.0, 0.5, 0.25, 3.0];
        let mut plain = ScoreMap::new(grid, size, 1.0, None);
        let highest = plain.score(&cells);
        let mut all = plain.pixels().to_vec();
        all.sort_by(|a, b| b.total_cmp(a));
        for top in [1, 2, 10, 384, 1000] {
            let mut map = ScoreMap::new(grid, size, 1.0, None).with_top(top);
            let score = map.score(&cells);
            let top = top.min(384);
            let right = all[..top].iter().map(|&v| f64::from(v)).sum::<f64>() / top as f64;
            assert!((f64::from(score) - right).abs() < 1e-6, "{top}");
            assert!(score <= highest && (top > 1 || score == highest));
            let mut broken = cells;
            broken[4] = f32::NAN;
            assert!(map.score(&broken).is_nan());
        }
    }

    /// Upsample, then blur, each written out.
    fn reference(cells: &[f32], grid: Size, size: Size, sigma: f64) -> Vec<f64> {
        let Size { width, height } = size;
        let sample = |o: usize, grid: usize, side: usize| {
            let scale = grid as f64 / side as f64;
            let at = ((o as f64 + 0.5) * scale - 0.5).clamp(0.0, (grid - 1) as f64);
            (at.floor() as usize, at - at.floor())
        };
        let mut up = vec![0.0f64; size.area()];
        for y in 0..height {
            let (y0, fy) = sample(y, grid.height, height);
            for x in 0..width {
                let (x0, fx) = sample(x, grid.width, width);
                let at = |a: usize, b: usize| {
                    let (a, b) = (a.min(grid.height - 1), b.min(grid.width - 1));
                    f64::from(cells[a * grid.width + b])
                };
                up[y * width + x] = (1.0 - fy) * ((1.0 - fx) * at(y0, x0) + fx * at(y0, x0 + 1))
                    + fy * ((1.0 - fx) * at(y0 + 1, x0) + fx * at(y0 + 1, x0 + 1));
            }
        }
        let radius = (4.0 * sigma + 0.5) as isize;
        let mirror = |mut at: isize, side: usize| {
            let n = side as isize;
            while at < 0 || at >= n {
                at = if at < 0 { -1 - at } else { 2 * n - 1 - at };
            }
            at as usize
        };
        let weight = |d: isize| (-0.5 * (d as f64 / sigma).powi(2)).exp();
        let total: f64 = (-radius..=radius).map(weight).sum();
        let mut out = vec![0.0; size.area()];
        for y in 0..height as isize {
            for x in 0..width as isize {
                let mut sum = 0.0;
                for dy in -radius..=radius {
                    for dx in -radius..=radius {
                        let at = mirror(y + dy, height) * width + mirror(x + dx, width);
                        sum += weight(dy) * weight(dx) * up[at];
                    }
                }
                out[(y * width as isize + x) as usize] = sum / (total * total);
            }
        }
        out
    }

    #[test]
    fn agrees_with_upsampling_then_blurring() {
        let mut rng = Rng::new(9);
        for (width, height, sigma) in [
            (4, 4, 2.0),
            (7, 7, 1.3),
            (4, 4, 9.0),
            (8, 3, 2.0),
            (2, 12, 4.0),
            (5, 1, 1.3),
        ] {
            let grid = Size::new(width, height);
            let size = grid.map(|cells| 8 * cells);
            let cells: Vec<f32> = (0..grid.area()).map(|_| rng.unit()).collect();
            let mut map = vec![0.0; size.area()];
            MapOperator::new(grid, size, sigma).run(&cells, &mut map);
            let want = reference(&cells, grid, size, f64::from(sigma));
            for (got, want) in map.iter().zip(&want) {
                assert!((f64::from(*got) - want).abs() < 1e-5, "{got} {want}");
            }
        }
    }

    /// The score is the maximum of the drawn map, to the bit, whatever the cells are.
    #[test]
    fn the_score_is_the_maximum_of_the_map_that_is_drawn_later() {
        let mut rng = Rng::new(11);
        let shapes = [
            (Size::square(4), 2.0),
            (Size::square(32), 4.0),
            (Size::square(7), 0.0),
            (Size::square(9), 30.0),
            (Size::square(1), 1.0),
            (Size::new(12, 4), 2.0),
            (Size::new(3, 16), 0.0),
            (Size::new(2, 9), 30.0),
        ];
        for (grid, sigma) in shapes {
            let size = grid.map(|cells| 8 * cells);
            for kind in 0..12_usize {
                let ignored: Vec<bool> = (0..size.area())
                    .map(|p| match kind % 3 {
                        1 => p / size.width < size.height / 2,
                        2 => rng.unit() < 0.5,
                        _ => false,
                    })
                    .collect();
                let mask = IgnoreMask::new(ignored, size, grid);
                let mask = (!kind.is_multiple_of(3)).then_some(mask);
                let mut map = ScoreMap::new(grid, size, sigma, mask);
                let at = (rng.unit() * grid.area() as f32) as usize;
                let cells: Vec<f32> = (0..grid.area())
                    .map(|cell| match kind / 3 {
                        0 => rng.unit(),
                        1 => 3.0 + f32::from(u8::from(cell == at)),
                        2 => rng.gaussian(),
                        _ => 0.0,
                    })
                    .collect();
                let score = map.score(&cells);
                let drawn = highest(map.pixels());
                assert_eq!(score, drawn, "{grid} {sigma} {kind}");
                let mut broken = cells;
                broken[at] = [f32::NAN, f32::INFINITY][kind % 2];
                let score = map.score(&broken);
                let drawn = highest(map.pixels());
                assert_eq!(score.to_bits(), drawn.to_bits(), "{grid} {kind}");
            }
        }
    }

    #[test]
    fn without_blur_a_constant_stays_and_a_nan_shows() {
        let mut map = vec![0.0; 256];
        MapOperator::new(Size::square(2), Size::square(16), 0.0).run(&[3.0; 4], &mut map);
        assert!(map.iter().all(|v| (v - 3.0).abs() < 1e-6));
        MapOperator::new(Size::square(2), Size::square(16), 1.0)
            .run(&[3.0, f32::NAN, 3.0, 3.0], &mut map);
        assert!(map.iter().any(|v| v.is_nan()));
    }
}
