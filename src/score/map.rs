//! Cell distances to a score map at the network's resolution: bilinear upsampling, then a Gaussian.
//! Both are linear and separable, so together they are `A S A^T` with one banded `A`.

use super::ignore::{IgnoreMask, clear};
use std::ops::Range;

/// Bilinear upsampling and Gaussian blur from a `grid` x `grid` to a `side` x `side` map.
#[derive(Clone, Debug)]
pub struct MapOperator {
    grid: usize,
    side: usize,
    /// First cell that each output row depends on.
    first: Vec<u32>,
    /// `span` weights per output row, which sum to 1.
    weights: Vec<f32>,
    span: usize,
    columns: Vec<f32>,
    stretches: Vec<Stretch>,
    /// `span` weights per stretch, each the largest of its outputs.
    largest: Vec<f32>,
}

/// Neighbouring outputs that depend on the same cells.
#[derive(Clone, Debug)]
struct Stretch {
    outputs: Range<usize>,
    first: usize,
}

/// A bound of sums whose terms are rounded: more than a hundred roundings of f32.
const ROUNDED: f32 = 1.0 + 1e-5;

impl MapOperator {
    /// `sigma` in input pixels; 0 leaves the blur out. Upsampling uses half-pixel centres with the
    /// edge repeated; the Gaussian is cut at four sigma, mirrored at the border and normalised
    /// (what `scipy.ndimage.gaussian_filter` does).
    ///
    /// # Panics
    /// If a side is 0: a programming error.
    pub fn new(grid: usize, side: usize, sigma: f32) -> Self {
        assert!(grid > 0 && side > 0, "map shape");
        let sigma = f64::from(sigma);
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

        let scale = grid as f64 / side as f64;
        let mirrored = |at: isize| {
            let period = 2 * side as isize;
            let at = at.rem_euclid(period);
            (if at < side as isize {
                at
            } else {
                period - 1 - at
            }) as usize
        };
        let mut dense = vec![0.0f64; side * grid];
        for out in 0..side {
            for (i, weight) in kernel.iter().enumerate() {
                let source = mirrored(out as isize + i as isize - radius as isize);
                let at = ((source as f64 + 0.5) * scale - 0.5).clamp(0.0, (grid - 1) as f64);
                let low = at.floor() as usize;
                let high = (low + 1).min(grid - 1);
                dense[out * grid + low] += weight * (1.0 - (at - low as f64));
                dense[out * grid + high] += weight * (at - low as f64);
            }
        }
        let band = |row: &[f64]| {
            let first = row.iter().position(|&w| w != 0.0).unwrap_or(0);
            let last = row.iter().rposition(|&w| w != 0.0).unwrap_or(0);
            (first, last + 1 - first)
        };
        let span = dense
            .chunks_exact(grid)
            .map(|row| band(row).1)
            .max()
            .unwrap_or(1);
        let mut operator = Self {
            grid,
            side,
            first: Vec::with_capacity(side),
            weights: Vec::with_capacity(side * span),
            span,
            columns: vec![0.0; side * grid],
            stretches: Vec::new(),
            largest: Vec::new(),
        };
        for row in dense.chunks_exact(grid) {
            let first = band(row).0.min(grid - span);
            operator.first.push(first as u32);
            operator
                .weights
                .extend(row[first..first + span].iter().map(|&w| w as f32));
        }
        operator.find_stretches();
        operator
    }

    fn find_stretches(&mut self) {
        for (output, &first) in self.first.iter().enumerate() {
            let (first, weights) = (first as usize, &self.weights[output * self.span..]);
            let weights = &weights[..self.span];
            match self.stretches.last_mut() {
                Some(last) if last.first == first => {
                    last.outputs.end = output + 1;
                    let at = self.largest.len() - self.span;
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

    /// `cells` is `[grid, grid]`; `map` becomes `[side, side]`.
    ///
    /// # Panics
    /// If a buffer has another length: a programming error.
    pub fn run(&mut self, cells: &[f32], map: &mut [f32]) {
        let (grid, side) = (self.grid, self.side);
        assert_eq!(cells.len(), grid * grid, "cells");
        assert_eq!(map.len(), side * side, "map");
        self.down_the_columns(cells);
        for (line, out) in self
            .columns
            .chunks_exact(grid)
            .zip(map.chunks_exact_mut(side))
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
        let lines = self.columns.chunks_exact(self.grid).enumerate();
        let best = lines.max_by(|a, b| highest_in(a.1).total_cmp(&highest_in(b.1)));
        let lines = self.columns.chunks_exact(self.grid).enumerate();
        // The line that promises most is computed first, and leaves little to do.
        for (y, line) in best.into_iter().chain(lines) {
            if highest_in(line) * ROUNDED <= high {
                continue;
            }
            for (stretch, largest) in self.stretches.iter().zip(self.largest.chunks(self.span)) {
                let bound: f32 = products(largest, &line[stretch.first..]);
                if bound * ROUNDED <= high {
                    continue;
                }
                for x in stretch.outputs.clone() {
                    let value = self.pixel(line, x);
                    let counts = ignored
                        .get(y * self.side + x)
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
        let (grid, span) = (self.grid, self.span);
        for (y, line) in self.columns.chunks_exact_mut(grid).enumerate() {
            let weights = &self.weights[y * span..][..span];
            let first = self.first[y] as usize;
            line.fill(0.0);
            for (k, &w) in weights.iter().enumerate() {
                let row = &cells[(first + k) * grid..][..grid];
                for (value, cell) in line.iter_mut().zip(row) {
                    *value += w * cell;
                }
            }
        }
    }

    fn pixel(&self, line: &[f32], x: usize) -> f32 {
        let first = self.first[x] as usize;
        products(&self.weights[x * self.span..][..self.span], &line[first..])
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
    ignore: Option<IgnoreMask>,
    cells: Vec<f32>,
    map: Vec<f32>,
    drawn: bool,
}

impl ScoreMap {
    /// For a `grid` x `grid` feature grid of a `side` pixel input; `sigma` blurs the map, in input
    /// pixels.
    pub fn new(grid: usize, side: usize, sigma: f32, ignore: Option<IgnoreMask>) -> Self {
        Self {
            operator: MapOperator::new(grid, side, sigma),
            ignore,
            cells: vec![0.0; grid * grid],
            map: vec![0.0; side * side],
            drawn: true,
        }
    }

    /// Takes `cells`, `[grid, grid]`, and returns the image score: the maximum of their map outside
    /// ignored pixels. The map is not drawn. NaN if a cell that counts is NaN.
    ///
    /// # Panics
    /// If the buffer has another length: a programming error.
    pub fn score(&mut self, cells: &[f32]) -> f32 {
        self.cells.copy_from_slice(cells);
        if let Some(ignore) = &self.ignore {
            clear(&mut self.cells, ignore.cells());
        }
        self.drawn = false;
        let ignored = self.ignore.as_ref().map_or(&[][..], |i| i.pixels());
        let maximum = self.operator.maximum(&self.cells, ignored);
        maximum.unwrap_or_else(|| highest(self.pixels()))
    }

    /// The map of the cells that were taken last, `[side, side]`.
    pub fn pixels(&mut self) -> &[f32] {
        if !std::mem::replace(&mut self.drawn, true) {
            self.operator.run(&self.cells, &mut self.map);
            if let Some(ignore) = &self.ignore {
                clear(&mut self.map, ignore.pixels());
            }
        }
        &self.map
    }
}

/// The maximum; NaN if any value is NaN, which `f32::max` would hide.
pub(crate) fn highest(map: &[f32]) -> f32 {
    let mut high = f32::NEG_INFINITY;
    let mut broken = false;
    for &v in map {
        high = if v > high { v } else { high };
        broken |= v.is_nan();
    }
    if broken { f32::NAN } else { high }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Rng;

    /// Upsample, then blur, each written out.
    fn reference(cells: &[f32], grid: usize, side: usize, sigma: f64) -> Vec<f64> {
        let scale = grid as f64 / side as f64;
        let sample = |o: usize| {
            let at = ((o as f64 + 0.5) * scale - 0.5).clamp(0.0, (grid - 1) as f64);
            (at.floor() as usize, at - at.floor())
        };
        let mut up = vec![0.0f64; side * side];
        for y in 0..side {
            let (y0, fy) = sample(y);
            for x in 0..side {
                let (x0, fx) = sample(x);
                let at =
                    |a: usize, b: usize| f64::from(cells[a.min(grid - 1) * grid + b.min(grid - 1)]);
                up[y * side + x] = (1.0 - fy) * ((1.0 - fx) * at(y0, x0) + fx * at(y0, x0 + 1))
                    + fy * ((1.0 - fx) * at(y0 + 1, x0) + fx * at(y0 + 1, x0 + 1));
            }
        }
        let radius = (4.0 * sigma + 0.5) as isize;
        let mirror = |mut at: isize| {
            let n = side as isize;
            while at < 0 || at >= n {
                at = if at < 0 { -1 - at } else { 2 * n - 1 - at };
            }
            at as usize
        };
        let weight = |d: isize| (-0.5 * (d as f64 / sigma).powi(2)).exp();
        let total: f64 = (-radius..=radius).map(weight).sum();
        let mut out = vec![0.0; side * side];
        for y in 0..side as isize {
            for x in 0..side as isize {
                let mut sum = 0.0;
                for dy in -radius..=radius {
                    for dx in -radius..=radius {
                        sum += weight(dy) * weight(dx) * up[mirror(y + dy) * side + mirror(x + dx)];
                    }
                }
                out[(y * side as isize + x) as usize] = sum / (total * total);
            }
        }
        out
    }

    #[test]
    fn agrees_with_upsampling_then_blurring() {
        let mut rng = Rng::new(9);
        for (grid, side, sigma) in [(4, 32, 2.0), (7, 56, 1.3), (4, 32, 9.0)] {
            let cells: Vec<f32> = (0..grid * grid).map(|_| rng.unit()).collect();
            let mut map = vec![0.0; side * side];
            MapOperator::new(grid, side, sigma).run(&cells, &mut map);
            let want = reference(&cells, grid, side, f64::from(sigma));
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
            (4, 32, 2.0),
            (32, 256, 4.0),
            (7, 56, 0.0),
            (9, 72, 30.0),
            (1, 8, 1.0),
        ];
        for (grid, side, sigma) in shapes {
            for kind in 0..12_usize {
                let ignored: Vec<bool> = (0..side * side)
                    .map(|p| match kind % 3 {
                        1 => p / side < side / 2,
                        2 => rng.unit() < 0.5,
                        _ => false,
                    })
                    .collect();
                let mask = IgnoreMask::new(ignored, side, grid);
                let mask = (!kind.is_multiple_of(3)).then_some(mask);
                let mut map = ScoreMap::new(grid, side, sigma, mask);
                let at = (rng.unit() * (grid * grid) as f32) as usize;
                let cells: Vec<f32> = (0..grid * grid)
                    .map(|cell| match kind / 3 {
                        0 => rng.unit(),
                        1 => 3.0 + f32::from(u8::from(cell == at)),
                        2 => rng.gaussian(),
                        _ => 0.0,
                    })
                    .collect();
                let score = map.score(&cells);
                let drawn = highest(map.pixels());
                assert_eq!(score, drawn, "{grid} {side} {sigma} {kind}");
                let mut broken = cells;
                broken[at] = [f32::NAN, f32::INFINITY][kind % 2];
                let score = map.score(&broken);
                let drawn = highest(map.pixels());
                assert_eq!(score.to_bits(), drawn.to_bits(), "{grid} {side} {kind}");
            }
        }
    }

    #[test]
    fn without_blur_a_constant_stays_and_a_nan_shows() {
        let mut map = vec![0.0; 256];
        MapOperator::new(2, 16, 0.0).run(&[3.0; 4], &mut map);
        assert!(map.iter().all(|v| (v - 3.0).abs() < 1e-6));
        MapOperator::new(2, 16, 1.0).run(&[3.0, f32::NAN, 3.0, 3.0], &mut map);
        assert!(map.iter().any(|v| v.is_nan()));
    }
}
