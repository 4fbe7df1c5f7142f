//! Areas of the picture that do not count.

/// Areas of the picture that do not count, at the network's resolution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IgnoreMask {
    pixels: Vec<bool>,
    cells: Vec<bool>,
}

impl IgnoreMask {
    /// `pixels` is `[side, side]`, true where the picture is ignored. A cell is ignored if all its
    /// pixels are.
    ///
    /// # Panics
    /// If the length is not `side * side`: a programming error.
    pub fn new(pixels: Vec<bool>, side: usize, grid: usize) -> Self {
        assert_eq!(pixels.len(), side * side, "ignore mask");
        // The pixels that a cell touches: whole ones if the grid divides the side.
        let span = |cell: usize| cell * side / grid..((cell + 1) * side).div_ceil(grid);
        let cells = (0..grid * grid)
            .map(|cell| {
                let columns = span(cell % grid);
                span(cell / grid).all(|y| pixels[y * side..][columns.clone()].iter().all(|&p| p))
            })
            .collect();
        Self { pixels, cells }
    }

    /// Ignored pixels, `[side, side]`.
    pub fn pixels(&self) -> &[bool] {
        &self.pixels
    }

    /// Cells in which every pixel is ignored, `[grid, grid]`.
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
