//! Places of the bank's rows on good parts, and the rows that are allowed at each cell (PNI, arXiv
//! 2211.12634, equation 5, as counts).

use partgate::score::PositionMask;
use partgate::size::Size;
use rayon::prelude::*;

/// Sightings of bank rows: `nearest[image][cell]` flattened, for a feature grid.
pub(crate) struct Sightings<'a> {
    pub(crate) nearest: &'a [u32],
    pub(crate) grid: Size,
    pub(crate) rows: usize,
}

/// The window in which a sighting counts: 9 cells on the published 60 x 60 grid, in proportion on
/// others (of one that is not square, to the side of the square of as many cells), odd, at least 3.
pub(crate) fn default_window(grid: Size) -> usize {
    let cells = 9.0 * f64::from(grid.mean_side()) / 60.0;
    (2 * ((cells - 1.0) / 2.0).round() as usize + 1).max(3)
}

/// Sightings that the published threshold `tau = 1 / (2 K)` asks for: more than `images * window^2
/// / (2 K)`. For a small set one is enough, so that few images do not forbid rows.
pub(crate) fn published_sightings(images: usize, window: usize, rows: usize) -> usize {
    images * window * window / (2 * rows.max(1)) + 1
}

/// Counts at single cells, then sums over the window: the same numbers as adding each sighting to
/// its whole window, far cheaper.
pub(crate) fn windowed_counts(sightings: &Sightings<'_>, window: usize) -> Vec<u32> {
    let Sightings {
        nearest,
        grid,
        rows,
    } = *sightings;
    let Size { width, height } = grid;
    let cells = grid.area();
    let mut single = vec![0u32; cells * rows];
    for image in nearest.chunks_exact(cells) {
        for (cell, &row) in image.iter().enumerate() {
            single[cell * rows + row as usize] += 1;
        }
    }
    let reach = window / 2;
    let mut summed = vec![0u32; cells * rows];
    summed
        .par_chunks_mut(rows)
        .enumerate()
        .for_each(|(cell, out)| {
            let (y, x) = (cell / width, cell % width);
            for near_y in y.saturating_sub(reach)..(y + reach + 1).min(height) {
                for near_x in x.saturating_sub(reach)..(x + reach + 1).min(width) {
                    let counts = &single[(near_y * width + near_x) * rows..][..rows];
                    for (o, c) in out.iter_mut().zip(counts) {
                        *o += c;
                    }
                }
            }
        });
    summed
}

/// The mask that allows a row where it was seen `needed` times or more. A cell that this leaves
/// with nothing gets its most-seen row; a cell where nothing was ever seen (an ignored one) gets
/// all of them.
pub(crate) fn fit_mask(sightings: &Sightings<'_>, window: usize, needed: usize) -> PositionMask {
    let counts = windowed_counts(sightings, window);
    let mut mask = PositionMask::nothing(sightings.grid.area(), sightings.rows);
    for (cell, counts) in counts.chunks_exact(sightings.rows).enumerate() {
        let mut any = false;
        for (row, &count) in counts.iter().enumerate() {
            if count as usize >= needed {
                mask.allow(cell, row);
                any = true;
            }
        }
        if !any {
            let most = counts.iter().copied().max().unwrap_or(0);
            for (row, &count) in counts.iter().enumerate() {
                if count == most {
                    mask.allow(cell, row);
                    if most > 0 {
                        break; // ties go to the lower row
                    }
                }
            }
        }
    }
    mask
}

/// Probability of each row at each cell from windowed sightings, `[cells, rows]`, with one sighting
/// spread over all rows as often as they are seen anywhere: what was never seen is unlikely, not
/// impossible.
pub(crate) fn place_table(sightings: &Sightings<'_>, window: usize) -> Vec<f32> {
    let rows = sightings.rows;
    let mut anywhere = vec![0.5f32; rows];
    for &row in sightings.nearest {
        anywhere[row as usize] += 1.0;
    }
    let all: f32 = anywhere.iter().sum();
    let counts = windowed_counts(sightings, window);
    let mut table = vec![0.0; counts.len()];
    table
        .par_chunks_mut(rows)
        .zip(counts.par_chunks(rows))
        .for_each(|(out, counts)| {
            let total: u32 = counts.iter().sum();
            for ((p, &count), seen) in out.iter_mut().zip(counts).zip(&anywhere) {
                *p = (count as f32 + seen / all) / (total as f32 + 1.0);
            }
        });
    table
}

/// The mask that allows a bank row where its row of D has at least `threshold` of `table`,
/// `[cells, entries]`; where none has, the rows of the likeliest.
pub(crate) fn place_mask(
    table: &[f32],
    entries: usize,
    assignment: &[u16],
    threshold: f32,
) -> PositionMask {
    let mut mask = PositionMask::nothing(table.len() / entries, assignment.len());
    for (cell, table) in table.chunks_exact(entries).enumerate() {
        let highest = table.iter().copied().fold(0.0, f32::max);
        let least = threshold.min(highest);
        for (row, &entry) in assignment.iter().enumerate() {
            if table[usize::from(entry)] >= least {
                mask.allow(cell, row);
            }
        }
    }
    mask
}

#[cfg(test)]
mod tests {
    use super::*;
    use partgate::seed::Rng;

    #[test]
    fn windows_scale_with_the_grid() {
        for (side, window) in [(60, 9), (32, 5), (28, 5), (8, 3)] {
            assert_eq!(default_window(Size::square(side)), window);
        }
        assert_eq!(default_window(Size::new(8, 128)), 5);
        assert_eq!(default_window(Size::new(128, 8)), 5);
        // The published case: 1 % of the cells at 60 x 60 asks for two sightings.
        assert_eq!(published_sightings(100, 9, 3600), 2);
        assert_eq!(published_sightings(31, 5, 512), 1);
    }

    #[test]
    fn counts_are_those_of_adding_each_sighting_to_its_window() {
        let mut rng = Rng::new(2);
        for round in 0..20 {
            let square = Size::square(6);
            let random = Size::new(1 + rng.below(12), 1 + rng.below(12));
            let grid = if round == 0 { square } else { random };
            let (rows, images, window) = (5, 4, 3 + 2 * (round % 3));
            let nearest: Vec<u32> = (0..images * grid.area())
                .map(|_| rng.below(rows) as u32)
                .collect();
            let sightings = Sightings {
                nearest: &nearest,
                grid,
                rows,
            };
            let got = windowed_counts(&sightings, window);
            let mut want = vec![0u32; grid.area() * rows];
            let reach = (window / 2) as isize;
            let (w, h) = (grid.width as isize, grid.height as isize);
            for (i, &row) in nearest.iter().enumerate() {
                let cell = (i % grid.area()) as isize;
                for dy in -reach..=reach {
                    for dx in -reach..=reach {
                        let (yy, xx) = (cell / w + dy, cell % w + dx);
                        if (0..h).contains(&yy) && (0..w).contains(&xx) {
                            want[(yy * w + xx) as usize * rows + row as usize] += 1;
                        }
                    }
                }
            }
            assert_eq!(got, want, "{grid}");
        }
    }

    #[test]
    fn no_cell_is_left_without_an_explanation() {
        let nearest = vec![3u32; 16];
        let sightings = Sightings {
            nearest: &nearest,
            grid: Size::square(4),
            rows: 7,
        };
        let mask = fit_mask(&sightings, 3, 1000);
        assert!((0..16).all(|cell| mask.allows(cell, 3) && !mask.allows(cell, 2)));
        assert!((mask.allowed_share() - 1.0 / 7.0).abs() < 1e-9);
        let nothing = Sightings {
            nearest: &[],
            grid: Size::square(4),
            rows: 7,
        };
        let mask = fit_mask(&nothing, 3, 1);
        assert!((0..16).all(|cell| (0..7).all(|row| mask.allows(cell, row))));
    }
}
