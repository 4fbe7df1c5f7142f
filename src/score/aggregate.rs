//! Two taps to one feature vector per cell: box average, bring the coarse map to the fine grid,
//! concatenate (method: PatchCore's local aggregation, arXiv 2106.08265, section 3.1).

use crate::size::Size;
use serde::{Deserialize, Serialize};

/// How the box average treats the area outside the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Border {
    /// Zeros outside, constant divisor: the published form. Border cells are dimmed.
    Zero,
    /// Only cells inside count, and the divisor is their number.
    Inside,
}

/// Turns taps into features. Keeps its row buffers, so that a run allocates nothing.
#[derive(Clone, Debug)]
pub struct Aggregator {
    grid: Size,
    channels: [usize; 2],
    patch: usize,
    border: Border,
    row_sums: Vec<f32>,
    averaged: Vec<f32>,
    block: Vec<f32>,
}

/// Channels handled together, so that a cell's features are written a cache line at a time.
const BLOCK: usize = 16;

impl Aggregator {
    /// `grid` is the cells at the fine stride (both sides even), `channels` those of the fine and the
    /// coarse tap, `patch` the side of the box (odd).
    pub fn new(grid: Size, channels: [usize; 2], patch: usize, border: Border) -> Self {
        Self {
            grid,
            channels,
            patch,
            border,
            row_sums: vec![0.0; grid.area()],
            averaged: vec![0.0; grid.area()],
            block: vec![0.0; BLOCK * grid.area()],
        }
    }

    /// Length of a feature vector.
    pub fn dimensions(&self) -> usize {
        self.channels[0] + self.channels[1]
    }

    /// Cells of the grid.
    pub fn cells(&self) -> usize {
        self.grid.area()
    }

    /// `fine` is `[channels[0], rows, columns]`, `coarse` `[channels[1], rows / 2, columns / 2]`; `out`
    /// becomes `[rows * columns, dimensions]`, one feature vector per cell.
    ///
    /// # Panics
    /// If a buffer has another length: a programming error.
    pub fn run(&mut self, fine: &[f32], coarse: &[f32], out: &mut [f32]) {
        let (cells, d) = (self.cells(), self.dimensions());
        let half = self.grid.map(|side| side / 2);
        let halves = half.area();
        assert_eq!(fine.len(), self.channels[0] * cells, "fine tap");
        assert_eq!(coarse.len(), self.channels[1] * halves, "coarse tap");
        assert_eq!(out.len(), cells * d, "feature buffer");
        let mut done = 0;
        while done < d {
            // A block never holds channels of both taps.
            let end = if done < self.channels[0] {
                (done + BLOCK).min(self.channels[0])
            } else {
                (done + BLOCK).min(d)
            };
            for channel in done..end {
                let slot = (channel - done) * cells;
                if channel < self.channels[0] {
                    let plane = &fine[channel * cells..][..cells];
                    box_average(
                        plane,
                        self.grid,
                        self.patch,
                        self.border,
                        &mut self.row_sums,
                        &mut self.block[slot..slot + cells],
                    );
                } else {
                    let plane = &coarse[(channel - self.channels[0]) * halves..][..halves];
                    box_average(
                        plane,
                        half,
                        self.patch,
                        self.border,
                        &mut self.row_sums,
                        &mut self.averaged[..halves],
                    );
                    double(
                        &self.averaged[..halves],
                        half,
                        &mut self.row_sums,
                        &mut self.block[slot..slot + cells],
                    );
                }
            }
            for (cell, features) in out.chunks_exact_mut(d).enumerate() {
                for (k, value) in features[done..end].iter_mut().enumerate() {
                    *value = self.block[k * cells + cell];
                }
            }
            done = end;
        }
    }
}

/// Mean over the `patch` x `patch` window at each cell of a plane of `size`.
fn box_average(
    plane: &[f32],
    size: Size,
    patch: usize,
    border: Border,
    row_sums: &mut [f32],
    out: &mut [f32],
) {
    let reach = patch / 2;
    for (row, sums) in plane
        .chunks_exact(size.width)
        .zip(row_sums.chunks_exact_mut(size.width))
    {
        for (x, sum) in sums.iter_mut().enumerate() {
            let window = &row[x.saturating_sub(reach)..(x + reach + 1).min(size.width)];
            *sum = window.iter().sum();
        }
    }
    let inside = |at: usize, side: usize| (at + reach + 1).min(side) - at.saturating_sub(reach);
    for (y, line) in out.chunks_exact_mut(size.width).enumerate() {
        line.fill(0.0);
        for near in y.saturating_sub(reach)..(y + reach + 1).min(size.height) {
            let sums = &row_sums[near * size.width..][..size.width];
            for (value, sum) in line.iter_mut().zip(sums) {
                *value += sum;
            }
        }
        match border {
            Border::Zero => {
                let scale = 1.0 / (patch * patch) as f32;
                line.iter_mut().for_each(|v| *v *= scale);
            }
            Border::Inside => {
                let rows = inside(y, size.height);
                for (x, value) in line.iter_mut().enumerate() {
                    *value *= 1.0 / (rows * inside(x, size.width)) as f32;
                }
            }
        }
    }
}

/// Bilinear to twice the size, half-pixel centres, edges repeated: weights 3/4 and 1/4.
fn double(plane: &[f32], size: Size, rows: &mut [f32], out: &mut [f32]) {
    let neighbours = |o: usize, side: usize| {
        let near = o / 2;
        let far = if o.is_multiple_of(2) {
            near.saturating_sub(1)
        } else {
            (near + 1).min(side - 1)
        };
        (near, far)
    };
    let wide = 2 * size.width;
    let lines = rows.chunks_exact_mut(wide);
    for (row, line) in plane.chunks_exact(size.width).zip(lines) {
        for (ox, value) in line.iter_mut().enumerate() {
            let (near, far) = neighbours(ox, size.width);
            *value = 0.75 * row[near] + 0.25 * row[far];
        }
    }
    for (oy, line) in out.chunks_exact_mut(wide).enumerate() {
        let (near, far) = neighbours(oy, size.height);
        let (a, b) = (&rows[near * wide..][..wide], &rows[far * wide..][..wide]);
        for ((value, a), b) in line.iter_mut().zip(a).zip(b) {
            *value = 0.75 * a + 0.25 * b;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Rng;

    /// The definition, one cell and channel at a time.
    fn reference(
        tap: &[f32],
        channels: usize,
        side: Size,
        grid: Size,
        patch: usize,
        border: Border,
    ) -> Vec<f32> {
        let reach = (patch / 2) as isize;
        let (w, h) = (side.width as isize, side.height as isize);
        let mut averaged = vec![0.0f64; channels * side.area()];
        for c in 0..channels {
            for y in 0..h {
                for x in 0..w {
                    let (mut sum, mut count) = (0.0, 0);
                    for dy in -reach..=reach {
                        for dx in -reach..=reach {
                            let (yy, xx) = (y + dy, x + dx);
                            if (0..h).contains(&yy) && (0..w).contains(&xx) {
                                sum += f64::from(tap[((c as isize * h + yy) * w + xx) as usize]);
                                count += 1;
                            }
                        }
                    }
                    let divisor = match border {
                        Border::Zero => patch * patch,
                        Border::Inside => count,
                    };
                    averaged[((c as isize * h + y) * w + x) as usize] = sum / divisor as f64;
                }
            }
        }
        let mut out = vec![0.0; channels * grid.area()];
        let sample = |o: usize, side: usize, grid: usize| {
            let scale = side as f64 / grid as f64;
            let at = ((o as f64 + 0.5) * scale - 0.5).clamp(0.0, (side - 1) as f64);
            let low = at.floor() as usize;
            (low, (low + 1).min(side - 1), at - at.floor())
        };
        for c in 0..channels {
            for oy in 0..grid.height {
                let (y0, y1, fy) = sample(oy, side.height, grid.height);
                for ox in 0..grid.width {
                    let (x0, x1, fx) = sample(ox, side.width, grid.width);
                    let at = |y: usize, x: usize| averaged[(c * side.height + y) * side.width + x];
                    let value = (1.0 - fy) * ((1.0 - fx) * at(y0, x0) + fx * at(y0, x1))
                        + fy * ((1.0 - fx) * at(y1, x0) + fx * at(y1, x1));
                    out[(c * grid.height + oy) * grid.width + ox] = value as f32;
                }
            }
        }
        out
    }

    #[test]
    fn agrees_with_the_definition() {
        let mut rng = Rng::new(3);
        for (width, height, patch, border) in [
            (8, 8, 3, Border::Zero),
            (12, 12, 5, Border::Inside),
            (6, 6, 1, Border::Zero),
            (4, 4, 3, Border::Inside),
            (12, 4, 3, Border::Zero),
            (4, 10, 5, Border::Inside),
            (2, 16, 3, Border::Inside),
            (16, 2, 5, Border::Zero),
        ] {
            let channels = [19, 33];
            let grid = Size::new(width, height);
            let half = grid.map(|side| side / 2);
            let fine: Vec<f32> = (0..channels[0] * grid.area()).map(|_| rng.unit()).collect();
            let coarse: Vec<f32> = (0..channels[1] * half.area()).map(|_| rng.unit()).collect();
            let mut aggregator = Aggregator::new(grid, channels, patch, border);
            let d = aggregator.dimensions();
            let mut out = vec![0.0; grid.area() * d];
            aggregator.run(&fine, &coarse, &mut out);
            let want_fine = reference(&fine, channels[0], grid, grid, patch, border);
            let want_coarse = reference(&coarse, channels[1], half, grid, patch, border);
            for cell in 0..grid.area() {
                for c in 0..d {
                    let want = if c < channels[0] {
                        want_fine[c * grid.area() + cell]
                    } else {
                        want_coarse[(c - channels[0]) * grid.area() + cell]
                    };
                    let got = out[cell * d + c];
                    assert!(
                        (got - want).abs() < 1e-5,
                        "cell {cell} channel {c}: {got} {want}"
                    );
                }
            }
        }
    }
}
