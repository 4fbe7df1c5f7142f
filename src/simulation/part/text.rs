//! Printed marks: a 5 x 7 letter matrix, drawn smoothly at any size.

use super::canvas::{Area, Canvas, Rgb};

/// Columns from one letter to the next, the gap included.
const PITCH: usize = 6;
/// Rows of a letter.
const ROWS: usize = 7;

/// Rows of a letter, top first; bit 4 is the left column. Only the letters that the part's marks
/// use.
fn glyph(letter: char) -> [u8; ROWS] {
    match letter {
        '0' => [14, 17, 19, 21, 25, 17, 14],
        '1' => [4, 12, 4, 4, 4, 4, 14],
        '2' => [14, 17, 1, 6, 8, 16, 31],
        '3' => [31, 2, 4, 2, 1, 17, 14],
        '4' => [2, 6, 10, 18, 31, 2, 2],
        '5' => [31, 16, 30, 1, 1, 17, 14],
        '6' => [6, 8, 16, 30, 17, 17, 14],
        '7' => [31, 1, 2, 4, 8, 8, 8],
        'A' => [14, 17, 17, 31, 17, 17, 17],
        'C' => [14, 17, 16, 16, 16, 17, 14],
        'F' => [31, 16, 16, 30, 16, 16, 16],
        'H' => [17, 17, 17, 31, 17, 17, 17],
        'K' => [17, 18, 20, 24, 20, 18, 17],
        'M' => [17, 27, 21, 21, 17, 17, 17],
        'R' => [30, 17, 17, 30, 20, 18, 17],
        'V' => [17, 17, 17, 17, 17, 10, 4],
        'u' => [0, 0, 17, 17, 17, 19, 13],
        '-' => [0, 0, 0, 31, 0, 0, 0],
        _ => [0; ROWS],
    }
}

/// A printed mark.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    /// Centre, pixels.
    pub(super) cx: f32,
    /// Centre, pixels.
    pub(super) cy: f32,
    /// Pixels per column and row of the letter matrix.
    pub(super) size: f32,
    /// Upside down: turned by half a turn.
    pub(super) turned: bool,
    /// Colour of the ink.
    pub(super) ink: Rgb,
    /// Share of the ground that the ink hides, 0 to 1.
    pub(super) opacity: f32,
}

impl Mark {
    /// Prints `text`.
    pub(super) fn print(&self, canvas: &mut Canvas, text: &str) {
        let glyphs: Vec<[u8; ROWS]> = text.chars().map(glyph).collect();
        let columns = (glyphs.len() * PITCH) as f32 - 1.0;
        let sign = if self.turned { -1.0 } else { 1.0 };
        let dot = |column: f32, row: f32| -> f32 {
            if column < 0.0 || row < 0.0 {
                return 0.0;
            }
            let (column, row) = (column as usize, row as usize);
            let bits = glyphs.get(column / PITCH).and_then(|g| g.get(row));
            // Column 5 of 6 is the gap; the shift would go past the letter's right side.
            match (bits, 4usize.checked_sub(column % PITCH)) {
                (Some(bits), Some(shift)) => f32::from((bits >> shift) & 1),
                _ => 0.0,
            }
        };
        let area = Area::around(
            self.cx,
            self.cy,
            (columns / 2.0 + 1.0) * self.size,
            (ROWS as f32 / 2.0 + 1.0) * self.size,
        );
        canvas.paint(area, |x, y| {
            let u = sign * (x - self.cx) / self.size + columns / 2.0 - 0.5;
            let v = sign * (y - self.cy) / self.size + ROWS as f32 / 2.0 - 0.5;
            let (fu, fv) = (u.floor(), v.floor());
            let (tu, tv) = (u - fu, v - fv);
            let top = dot(fu, fv) * (1.0 - tu) + dot(fu + 1.0, fv) * tu;
            let bottom = dot(fu, fv + 1.0) * (1.0 - tu) + dot(fu + 1.0, fv + 1.0) * tu;
            let ink = top * (1.0 - tv) + bottom * tv;
            (self.opacity * ink, self.ink)
        });
    }
}
