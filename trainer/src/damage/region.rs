//! The region of a picture that damage may change, and its structure.

use super::foreground::{Cells, part};
use super::samples::{Picture, Window};
use partgate::seed::Rng;

/// Sums over rectangles in four look-ups. An `f64` holds sums of whole numbers exactly, so the
/// order of additions does not matter for counts.
struct Sums {
    columns: usize,
    sums: Vec<f64>,
}

impl Sums {
    fn new(columns: usize, rows: usize, value: impl Fn(usize) -> f64) -> Self {
        let mut sums = vec![0.0; (columns + 1) * (rows + 1)];
        for row in 0..rows {
            let mut line = 0.0;
            for column in 0..columns {
                line += value(row * columns + column);
                sums[(row + 1) * (columns + 1) + column + 1] =
                    sums[row * (columns + 1) + column + 1] + line;
            }
        }
        Self { columns, sums }
    }

    /// Over cells `left..right` by `top..bottom`.
    fn over(&self, (left, top, right, bottom): (usize, usize, usize, usize)) -> f64 {
        let at = |x: usize, y: usize| self.sums[y * (self.columns + 1) + x];
        at(right, bottom) + at(left, top) - at(left, bottom) - at(right, top)
    }
}

/// The pixels of a picture that damage may change.
pub(super) struct Region<'a> {
    cells: Cells,
    part: Option<Vec<bool>>,
    allowed: Option<&'a [bool]>,
    width: usize,
    height: usize,
    /// Pixels that may change.
    pub(super) pixels: usize,
    /// Cells with at least one such pixel.
    open: Vec<usize>,
    inside: Sums,
    structure: Sums,
}

impl<'a> Region<'a> {
    /// `allowed`, where given, has one entry a pixel.
    pub(super) fn new(picture: Picture<'_>, allowed: Option<&'a [bool]>) -> Self {
        let cells = Cells::of(picture);
        let part = part(&cells);
        let (width, height) = (picture.width(), picture.height());
        let mut counts = vec![0usize; cells.len()];
        for y in 0..height {
            for x in 0..width {
                let cell = y / cells.side * cells.columns + x / cells.side;
                let free = allowed.is_none_or(|a| a[y * width + x]);
                counts[cell] += usize::from(free && part.as_ref().is_none_or(|p| p[cell]));
            }
        }
        let full = (cells.side * cells.side) as f64;
        let (columns, rows) = (cells.columns, cells.rows);
        let inside = Sums::new(columns, rows, |i| counts[i] as f64 / full);
        // The outline of the part is the strongest edge, but no component: cells beside the
        // background count as plain.
        let gradient = |i: usize| -> f64 {
            let (column, row) = (i % columns, i / columns);
            if column + 1 >= columns || row + 1 >= rows || column == 0 || row == 0 {
                return 0.0;
            }
            let around = [i, i - 1, i + 1, i - columns, i + columns];
            if around.iter().any(|&n| counts[n] == 0) {
                return 0.0;
            }
            let step = |n: usize| -> f32 {
                let (a, b) = (cells.means[i], cells.means[n]);
                (0..3).map(|c| (a[c] - b[c]).abs()).fold(0.0, f32::max)
            };
            f64::from(step(i + 1) + step(i + columns))
        };
        let structure = Sums::new(columns, rows, gradient);
        Self {
            pixels: counts.iter().sum(),
            open: (0..cells.len()).filter(|&i| counts[i] > 0).collect(),
            inside,
            structure,
            cells,
            part,
            allowed,
            width,
            height,
        }
    }

    /// Share of the picture that the part covers; `None` where no part was found and the whole
    /// picture counts.
    pub(super) fn part_share(&self) -> Option<f32> {
        let part = self.part.as_ref()?;
        Some(part.iter().filter(|&&p| p).count() as f32 / part.len() as f32)
    }

    /// Whether the pixel may change.
    pub(super) fn holds(&self, x: usize, y: usize) -> bool {
        let cell = y / self.cells.side * self.cells.columns + x / self.cells.side;
        self.allowed.is_none_or(|a| a[y * self.width + x])
            && self.part.as_ref().is_none_or(|p| p[cell])
    }

    /// A pixel that may change, or `None` when there is none. (Cells with few such pixels are as
    /// likely as others: they are rare.)
    pub(super) fn place(&self, rng: &mut Rng) -> Option<(usize, usize)> {
        let cell = *self.open.get(rng.below(self.open.len()))?;
        let (left, top) = (
            cell % self.cells.columns * self.cells.side,
            cell / self.cells.columns * self.cells.side,
        );
        let side = self.cells.side;
        let here: Vec<(usize, usize)> = (0..side * side)
            .map(|i| (left + i % side, top + i / side))
            .filter(|&(x, y)| x < self.width && y < self.height && self.holds(x, y))
            .collect();
        here.get(rng.below(here.len())).copied()
    }

    /// The cells that a window touches.
    fn cells_of(&self, w: Window) -> (usize, usize, usize, usize) {
        let side = self.cells.side;
        (
            w.left / side,
            w.top / side,
            (w.left + w.width).div_ceil(side).min(self.cells.columns),
            (w.top + w.height).div_ceil(side).min(self.cells.rows),
        )
    }

    /// Share of the window that may change, to the accuracy of cells.
    pub(super) fn share_inside(&self, w: Window) -> f32 {
        let cells = self.cells_of(w);
        let count = (cells.2 - cells.0) * (cells.3 - cells.1);
        (self.inside.over(cells) / count.max(1) as f64) as f32
    }

    /// How much more structure the window has than a frame around it: high for a component that
    /// lies whole in it, low for blank areas and for places in an even texture. `border_weight` is
    /// the weight of the frame: a large one prefers windows whose border cuts through nothing.
    pub(super) fn distinctness(&self, w: Window, border_weight: f32) -> f32 {
        let inner = self.cells_of(w);
        let margin = (w.width.min(w.height) / 6).max(self.cells.side);
        let (left, top) = (w.left.saturating_sub(margin), w.top.saturating_sub(margin));
        let outer = self.cells_of(Window {
            left,
            top,
            width: (w.left + w.width + margin).min(self.width) - left,
            height: (w.top + w.height + margin).min(self.height) - top,
        });
        let count = |c: (usize, usize, usize, usize)| ((c.2 - c.0) * (c.3 - c.1)) as f64;
        let (sum, all) = (self.structure.over(inner), self.structure.over(outer));
        let within = sum / count(inner).max(1.0);
        let around = (all - sum) / (count(outer) - count(inner)).max(1.0);
        let (within, around) = (within as f32, around as f32);
        // A ratio, because with a difference and a large weight blank areas would win.
        within * within / (within + border_weight * around).max(1e-6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use partgate::frame::{Frame, Pixels};

    /// A bright 60 x 60 part with one dark component on a dark ground.
    fn frame() -> Frame {
        let value = |x: usize, y: usize| match (x, y) {
            (50..60, 40..50) => 30,
            (20..80, 20..80) => 200,
            _ => 10,
        };
        let samples = (0..10_000).map(|i| value(i % 100, i / 100)).collect();
        Frame::new(100, 100, Pixels::Gray8(samples)).expect("frame")
    }

    fn window(left: usize, top: usize, side: usize) -> Window {
        Window {
            left,
            top,
            width: side,
            height: side,
        }
    }

    #[test]
    fn places_lie_in_the_part_and_where_allowed() {
        let frame = frame();
        let allowed: Vec<bool> = (0..10_000).map(|i| i % 100 < 30).collect();
        let region = Region::new(Picture::new(&frame), Some(&allowed));
        // The outline is exact to a pixel.
        assert!((600..=682).contains(&region.pixels), "{}", region.pixels);
        assert!((region.part_share().expect("part") - 0.36).abs() < 0.03);
        let mut rng = Rng::new(1);
        for _ in 0..200 {
            let (x, y) = region.place(&mut rng).expect("place");
            assert!((19..30).contains(&x) && (19..81).contains(&y));
        }
        let nothing = vec![false; 10_000];
        assert!(
            Region::new(Picture::new(&frame), Some(&nothing))
                .place(&mut rng)
                .is_none()
        );
    }

    #[test]
    fn a_component_is_more_distinct_than_blank_area_or_outline() {
        let frame = frame();
        let region = Region::new(Picture::new(&frame), None);
        let component = region.distinctness(window(48, 38, 14), 0.6);
        assert!(component > 0.05, "{component}");
        for other in [window(25, 60, 14), window(14, 60, 14), window(45, 45, 10)] {
            assert!(region.distinctness(other, 0.6) < component, "{other:?}");
        }
        assert_eq!(region.share_inside(window(20, 20, 60)), 1.0);
        let half = region.share_inside(window(10, 20, 20));
        assert!((0.5..0.6).contains(&half), "{half}");
    }
}
