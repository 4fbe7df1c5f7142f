//! Areas of the picture that do not count.

use crate::size::Size;

/// Areas of the picture that do not count, at the network's resolution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IgnoreMask {
    pixels: Vec<bool>,
    cells: Vec<bool>,
}

impl IgnoreMask {
    /// `pixels` is `[height, width]` of `size`, true where the picture is ignored. A cell of `grid` is
    /// ignored if all its pixels are.
    ///
    /// # Panics
    /// If the length is not the area of `size`: a programming error.
    pub fn new(pixels: Vec<bool>, size: Size, grid: Size) -> Self {
        assert_eq!(pixels.len(), size.area(), "ignore mask");
        // The pixels that a cell touches: whole ones if the grid divides the side.
        let span = |cell: usize, side: usize, cells: usize| {
            cell * side / cells..((cell + 1) * side).div_ceil(cells)
        };
        let cells = (0..grid.area())
            .map(|cell| {
                let columns = span(cell % grid.width, size.width, grid.width);
                let mut rows = span(cell / grid.width, size.height, grid.height);
                let ignored =
                    |y: usize| pixels[y * size.width..][columns.clone()].iter().all(|&p| p);
                rows.all(ignored)
            })
            .collect();
        Self { pixels, cells }
    }

    /// Ignored pixels, `[height, width]`.
    pub fn pixels(&self) -> &[bool] {
        &self.pixels
    }

    /// Cells in which every pixel is ignored, `[rows, columns]`.
    pub fn cells(&self) -> &[bool] {
        &self.cells
    }
}

/// Sets the ignored ones of `scores` to 0, so that they count nowhere, not even as NaN. Does nothing if
/// `ignored` is empty.
pub(super) fn clear(scores: &mut [f32], ignored: &[bool]) {
    for (score, &ignored) in scores.iter_mut().zip(ignored) {
        if ignored {
            *score = 0.0;
        }
    }
}
