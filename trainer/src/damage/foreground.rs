//! The part in a picture, where the background around it is plain.

use super::samples::{Colour, Picture};
use partgate::backbone::Rect;
use partgate::frame::Frame;

/// Cells on the longer side of the coarse picture in which the part is searched: fine enough for
/// the outline at a network's input size, coarse enough to average out sensor noise.
const CELLS: usize = 384;

/// A picture in square cells, each with its mean colour.
pub(super) struct Cells {
    /// Pixels a cell's side.
    pub(super) side: usize,
    pub(super) columns: usize,
    pub(super) rows: usize,
    pub(super) means: Vec<Colour>,
}

impl Cells {
    pub(super) fn of(picture: Picture<'_>) -> Self {
        let (width, height) = (picture.width(), picture.height());
        let side = width.max(height).div_ceil(CELLS);
        let (columns, rows) = (width.div_ceil(side), height.div_ceil(side));
        let mut means = Vec::with_capacity(columns * rows);
        for row in 0..rows {
            for column in 0..columns {
                let (x1, y1) = ((column + 1) * side, (row + 1) * side);
                let mut sum = [0.0; 3];
                let mut count = 0.0;
                for y in row * side..y1.min(height) {
                    for x in column * side..x1.min(width) {
                        let colour = picture.at(x, y);
                        for c in 0..3 {
                            sum[c] += colour[c];
                        }
                        count += 1.0;
                    }
                }
                means.push(sum.map(|s| s / count));
            }
        }
        Self {
            side,
            columns,
            rows,
            means,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.means.len()
    }

    /// Cells that share a side with cell `i`.
    fn neighbours(&self, i: usize) -> impl Iterator<Item = usize> {
        let (column, row) = (i % self.columns, i / self.columns);
        [
            (column > 0).then(|| i - 1),
            (column + 1 < self.columns).then(|| i + 1),
            (row > 0).then(|| i - self.columns),
            (row + 1 < self.rows).then(|| i + self.columns),
        ]
        .into_iter()
        .flatten()
    }

    /// Cells within `margin` of the picture's edge.
    fn ring(&self, margin: usize) -> Vec<usize> {
        (0..self.len())
            .filter(|i| {
                let (column, row) = (i % self.columns, i / self.columns);
                column.min(self.columns - 1 - column) < margin
                    || row.min(self.rows - 1 - row) < margin
            })
            .collect()
    }
}

/// Pieces of the border, a quarter of them on each side. Each has a colour of its own, because
/// light falls off across a table and shines at one end of it.
const PIECES: usize = 16;

/// A piece whose colour is within this of the middle one is background; another shows the part.
const ALIKE: f32 = 0.2;

/// Share of the pieces that must be background.
const GROUNDS: f32 = 0.75;

/// Share of the border's cells that must have one of their colours. A part may reach the edge in
/// some places; a part that fills the picture has no background.
const UNIFORM_BORDER: f32 = 0.75;

/// Least tolerance of the background's colour, also for a border without any variation.
const LEAST_TOLERANCE: f32 = 0.04;

/// Most tolerance: a border that varies by more is no plain background.
const MOST_TOLERANCE: f32 = 0.15;

/// Share of the picture that a part covers: less is a smudge, more is a picture without background.
const PART: std::ops::Range<f32> = 0.05..0.97;

/// Length of the outline over that of a square of the same area. The demo product has 1.06, cookies
/// on speckled cloth 2.2 to 3.2 (the cloth frays the outline); bands and clouds on magnetic tiles,
/// which are no part, mostly more.
const RAGGED: f32 = 3.2;

/// Specks of foreground below this share of the largest piece are dirt, not part.
const SPECK: f32 = 0.05;

fn distance(a: Colour, b: Colour) -> f32 {
    a.iter()
        .zip(b)
        .map(|(x, y)| (x - y).abs())
        .fold(0.0, f32::max)
}

fn median(mut values: Vec<f32>) -> f32 {
    values.sort_unstable_by(f32::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// The cells that `start` reaches through cells of `open`.
fn reached(cells: &Cells, start: Vec<usize>, open: &[bool]) -> Vec<bool> {
    let mut seen = vec![false; cells.len()];
    let mut todo: Vec<usize> = start.into_iter().filter(|&i| open[i]).collect();
    for &i in &todo {
        seen[i] = true;
    }
    while let Some(i) = todo.pop() {
        for n in cells.neighbours(i) {
            if open[n] && !seen[n] {
                seen[n] = true;
                todo.push(n);
            }
        }
    }
    seen
}

/// Means over each cell and its neighbours, against the speckles of cloth and paper.
fn calmed(cells: &Cells) -> Vec<Colour> {
    (0..cells.len())
        .map(|i| {
            let mut sum = cells.means[i];
            let mut count = 1.0;
            for n in cells.neighbours(i) {
                for (s, v) in sum.iter_mut().zip(cells.means[n]) {
                    *s += v;
                }
                count += 1.0;
            }
            sum.map(|s| s / count)
        })
        .collect()
}

fn median_colour(colours: &[Colour]) -> Colour {
    std::array::from_fn(|c| median(colours.iter().map(|colour| colour[c]).collect()))
}

/// The piece of the border that a cell near the edge belongs to.
fn piece(cells: &Cells, i: usize) -> usize {
    const A_SIDE: usize = PIECES / 4;
    let (column, row) = (i % cells.columns, i / cells.columns);
    let (right, bottom) = (cells.columns - 1 - column, cells.rows - 1 - row);
    let nearest = column.min(row).min(right).min(bottom);
    let (across, down) = (column * A_SIDE / cells.columns, row * A_SIDE / cells.rows);
    if row == nearest {
        across
    } else if bottom == nearest {
        A_SIDE + across
    } else if column == nearest {
        2 * A_SIDE + down
    } else {
        3 * A_SIDE + down
    }
}

/// The cells that belong to the part, or `None` when the border is no plain background.
///
/// The background is all that the border reaches through cells of the border's colours. So a hole
/// in the part counts as part: a defect may show in it.
pub(super) fn part(cells: &Cells) -> Option<Vec<bool>> {
    let calm = calmed(cells);
    let ring = cells.ring((cells.columns.min(cells.rows) / 50).max(1));
    let mut pieces: Vec<Vec<Colour>> = vec![Vec::new(); PIECES];
    for &i in &ring {
        pieces[piece(cells, i)].push(calm[i]);
    }
    let colours: Vec<Colour> = pieces.iter().map(|p| median_colour(p)).collect();
    let middle = median_colour(&colours);
    let grounds: Vec<Colour> = colours
        .into_iter()
        .filter(|&c| distance(c, middle) <= ALIKE)
        .collect();
    if (grounds.len() as f32) < GROUNDS * PIECES as f32 {
        return None;
    }
    let off: Vec<f32> = calm
        .iter()
        .map(|&colour| {
            let apart = grounds.iter().map(|&g| distance(colour, g));
            apart.fold(f32::INFINITY, f32::min)
        })
        .collect();
    let tolerance = (4.0 * median(ring.iter().map(|&i| off[i]).collect())).max(LEAST_TOLERANCE);
    let alike: Vec<bool> = off.iter().map(|&o| o <= tolerance).collect();
    let uniform = ring.iter().filter(|&&i| alike[i]).count();
    if tolerance > MOST_TOLERANCE || (uniform as f32) < UNIFORM_BORDER * ring.len() as f32 {
        return None;
    }
    let background = reached(cells, ring, &alike);
    let foreground: Vec<bool> = background.iter().map(|b| !b).collect();
    let part = without_specks(cells, &foreground);
    let size = part.iter().filter(|&&p| p).count();
    // Stains and the grain of the background hardly leave the tolerance. Most of a part does
    // (cookies 0.84 to 0.91, bands on magnetic tiles 0.3 to 0.6).
    let plain = (0..cells.len())
        .filter(|&i| part[i] && off[i] > 2.0 * tolerance)
        .count();
    let share = size as f32 / cells.len() as f32;
    let outline: usize = (0..cells.len())
        .filter(|&i| part[i])
        .map(|i| cells.neighbours(i).filter(|&n| !part[n]).count())
        .sum();
    let ragged = outline as f32 > RAGGED * 4.0 * (size as f32).sqrt();
    (PART.contains(&share) && 3 * plain > 2 * size && !ragged).then_some(part)
}

/// Colours of the background around the part, shares of full scale; `None` when the border is no plain
/// background.
pub(crate) fn background_colours(frame: &Frame) -> Option<Vec<Colour>> {
    let cells = Cells::of(Picture::new(frame));
    let part = part(&cells)?;
    let outside = cells.means.iter().zip(&part).filter(|(_, part)| !**part);
    Some(outside.map(|(colour, _)| *colour).collect())
}

/// The box around the part, in pixels; `None` when the border is no plain background.
pub(crate) fn part_box(frame: &Frame) -> Option<Rect> {
    let cells = Cells::of(Picture::new(frame));
    let part = part(&cells)?;
    let (mut low, mut high) = ([usize::MAX; 2], [0; 2]);
    for i in (0..cells.len()).filter(|&i| part[i]) {
        for (axis, at) in [i % cells.columns, i / cells.columns]
            .into_iter()
            .enumerate()
        {
            low[axis] = low[axis].min(at * cells.side);
            high[axis] = high[axis].max((at + 1) * cells.side);
        }
    }
    let ends = [high[0].min(frame.width()), high[1].min(frame.height())];
    Some(Rect {
        x: low[0] as u32,
        y: low[1] as u32,
        width: (ends[0] - low[0]) as u32,
        height: (ends[1] - low[1]) as u32,
    })
}

fn without_specks(cells: &Cells, foreground: &[bool]) -> Vec<bool> {
    let mut left = foreground.to_vec();
    let mut pieces: Vec<Vec<usize>> = Vec::new();
    for i in 0..cells.len() {
        if left[i] {
            left[i] = false;
            let mut piece = vec![i];
            let mut next = 0;
            while let Some(&at) = piece.get(next) {
                next += 1;
                for n in cells.neighbours(at) {
                    if left[n] {
                        left[n] = false;
                        piece.push(n);
                    }
                }
            }
            pieces.push(piece);
        }
    }
    let largest = pieces.iter().map(Vec::len).max().unwrap_or(0);
    let mut part = vec![false; cells.len()];
    for piece in pieces {
        if piece.len() as f32 >= SPECK * largest as f32 {
            for i in piece {
                part[i] = true;
            }
        }
    }
    part
}

#[cfg(test)]
mod tests {
    use super::*;
    use partgate::frame::Pixels;

    fn part_of(
        width: usize,
        height: usize,
        value: impl Fn(usize, usize) -> u8,
    ) -> Option<Vec<bool>> {
        let samples = (0..width * height)
            .map(|i| value(i % width, i / width))
            .collect();
        let frame = Frame::new(width, height, Pixels::Gray8(samples)).expect("frame");
        part(&Cells::of(Picture::new(&frame)))
    }

    #[test]
    fn a_part_on_a_plain_background_is_found_with_its_holes() {
        // A ring on noise of a few grey levels, and a speck of dirt.
        let on_part = |x: usize, y: usize| {
            let (dx, dy) = (x as f32 - 60.0, y as f32 - 40.0);
            let r = (dx * dx + dy * dy).sqrt();
            r < 30.0 && r > 8.0
        };
        let part = part_of(120, 80, |x, y| match (x, y) {
            (5..8, 5..8) => 250,
            _ if on_part(x, y) => 180,
            _ => 40 + ((x * 7 + y * 13) % 5) as u8,
        })
        .expect("found");
        for (i, &inside) in part.iter().enumerate() {
            let (dx, dy) = ((i % 120) as f32 - 60.0, (i / 120) as f32 - 40.0);
            // The outline may be off by the neighbour that was averaged in.
            let r = (dx * dx + dy * dy).sqrt();
            assert!(inside || r >= 30.0, "cell {i}");
            assert!(!inside || r < 32.0, "cell {i}");
        }
    }

    #[test]
    fn the_box_is_around_the_part() {
        let samples = (0..120 * 80).map(|i| match (i % 120, i / 120) {
            (30..90, 20..50) => 200,
            _ => 40,
        });
        let frame = Frame::new(120, 80, Pixels::Gray8(samples.collect())).expect("frame");
        let found = part_box(&frame).expect("found");
        // A pixel on each side, averaged with its neighbour, counts too.
        let want = [30i64, 20, 60, 30];
        let found = [found.x, found.y, found.width, found.height].map(i64::from);
        let off = want.iter().zip(found).map(|(a, b)| (a - b).abs());
        assert!(off.max() <= Some(2), "{found:?}");
    }

    #[test]
    fn a_picture_without_background_has_no_part() {
        assert!(part_of(64, 64, |x, y| (x * 3 + y) as u8).is_none());
        assert!(part_of(64, 64, |_, _| 90).is_none());
        // Only the middle pixel differs.
        assert!(part_of(64, 64, |x, y| if (x, y) == (32, 32) { 200 } else { 90 }).is_none());
        // All but the border is part: nothing is gained by calling it one.
        assert!(part_of(400, 400, |x, y| if x.min(y) < 2 { 0 } else { 200 }).is_none());
    }
}
