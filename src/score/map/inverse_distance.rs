//! Cell scores to a map by inverse distance: each pixel is the mean of the four cells around it, each
//! weighted by one over the distance to its middle. Then the same blur as ever.

use super::MapOperator;
use crate::size::Size;

/// Draws maps so. The plain way, bilinear, is [`MapOperator`] alone.
#[derive(Clone, Debug)]
pub(super) struct InverseDistance {
    grid: Size,
    size: Size,
    /// Before the blur, `[height, width]`.
    sharp: Vec<f32>,
    blur: MapOperator,
}

impl InverseDistance {
    pub(super) fn new(grid: Size, size: Size, sigma: f32) -> Self {
        Self {
            grid,
            size,
            sharp: vec![0.0; size.area()],
            // From every pixel to itself nothing is interpolated.
            blur: MapOperator::new(size, size, sigma),
        }
    }

    /// `map`, `[height, width]`, of `cells`, `[rows, columns]`.
    pub(super) fn run(&mut self, cells: &[f32], map: &mut [f32]) {
        let Size { width, height } = self.size;
        let side = |at: usize, cells: usize, pixels: usize| {
            // The middle of a pixel in cells, from the middle of the first one on.
            let place = (at as f32 + 0.5) * cells as f32 / pixels as f32 - 0.5;
            let place = place.clamp(0.0, (cells - 1) as f32);
            let low = place as usize;
            (low, (low + 1).min(cells - 1), place)
        };
        for y in 0..height {
            let (top, bottom, down) = side(y, self.grid.height, height);
            for x in 0..width {
                let (left, right, across) = side(x, self.grid.width, width);
                let (mut sum, mut weights) = (0.0, 0.0);
                let mut met = None;
                for row in [top, bottom] {
                    for column in [left, right] {
                        let (dy, dx) = (down - row as f32, across - column as f32);
                        let value = cells[row * self.grid.width + column];
                        let distance = (dy * dy + dx * dx).sqrt();
                        if distance == 0.0 {
                            met = Some(value);
                            continue;
                        }
                        sum += value / distance;
                        weights += 1.0 / distance;
                    }
                }
                self.sharp[y * width + x] = met.unwrap_or(sum / weights);
            }
        }
        self.blur.run(&self.sharp, map);
    }
}
