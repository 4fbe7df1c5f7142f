//! Distances in units of the bank's own spacing: where good features lie far apart, a distance
//! means less than where they lie close.

use partgate::score::PackedBank;
use rayon::prelude::*;

/// Nearest other rows whose mean distance is a row's spacing.
pub(crate) const NEIGHBOURS: usize = 9;
/// Factors stay within this of 1: a single far row must not hide defects near it.
const WIDEST: f32 = 4.0;

/// Spacing of the bank around each row: the mean distance to the nearest other rows, averaged over
/// the row and those.
pub(crate) fn spacing(bank: &PackedBank) -> Vec<f32> {
    let rows = bank.rows();
    if rows < 3 {
        return vec![1.0; rows];
    }
    let count = NEIGHBOURS.min(rows - 1);
    let near = nearest_rows(bank, count);
    let spacing: Vec<f32> = near
        .iter()
        .map(|near| near.iter().map(|n| n.0).sum::<f32>() / count as f32)
        .collect();
    near.iter()
        .enumerate()
        .map(|(i, near)| {
            let around: f32 = near.iter().map(|&(_, j)| spacing[j]).sum();
            (spacing[i] + around) / (count + 1) as f32
        })
        .collect()
}

/// The `count` nearest other rows of each row with their distances, nearest first.
pub(crate) fn nearest_rows(bank: &PackedBank, count: usize) -> Vec<Vec<(f32, usize)>> {
    let (rows, d) = (bank.rows(), bank.dimensions());
    let row = |i: usize| &bank.values()[i * d..][..d];
    if count == 0 {
        return vec![Vec::new(); rows];
    }
    (0..rows)
        .into_par_iter()
        .map(|i| {
            let mut all: Vec<(f32, usize)> = (0..rows)
                .filter(|&j| j != i)
                .map(|j| {
                    let squares = row(i).iter().zip(row(j)).map(|(a, b)| (a - b) * (a - b));
                    (squares.sum::<f32>().sqrt(), j)
                })
                .collect();
            all.select_nth_unstable_by(count - 1, |a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            all.truncate(count);
            all.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            all
        })
        .collect()
}

/// `(median spacing / spacing)^power` of each row.
pub(crate) fn factors(spacing: &[f32], power: f32) -> Vec<f32> {
    let mut sorted = spacing.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    let median = sorted[sorted.len() / 2];
    if median <= 0.0 {
        return vec![1.0; spacing.len()];
    }
    spacing
        .iter()
        .map(|&s| {
            (median / s.max(1e-6 * median))
                .powf(power)
                .clamp(1.0 / WIDEST, WIDEST)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::reference::{Reference, numbers};
    use super::*;
    use partgate::network::Threads;
    use partgate::score::{RowNeighbours, Search};
    use partgate::seed::Rng;

    #[test]
    fn rows_far_apart_leave_more_room() {
        let mut rng = Rng::new(1);
        let mut values: Vec<f32> = (0..200).map(|_| rng.gaussian()).collect();
        values.extend((0..200).map(|_| 100.0 + 5.0 * rng.gaussian()));
        let scale = factors(&spacing(&PackedBank::new(values, 4)), 1.0);
        let mean = |s: &[f32]| s.iter().sum::<f32>() / s.len() as f32;
        let (dense, sparse) = (mean(&scale[..50]), mean(&scale[50..]));
        assert!(dense > 2.0 * sparse, "{dense} {sparse}");
        assert!(scale.iter().all(|s| (0.25..=4.0).contains(s)));
    }

    #[test]
    fn means_over_rows_are_those_of_the_reference() {
        let reference = Reference::n_pad();
        let d = reference.features().dimensions;
        let query = reference.list("query");
        let cells = query.len() / d;
        for count in [1, 3, 5] {
            let bank = PackedBank::new(reference.list("bank"), d);
            let near = nearest_rows(&bank, count - 1);
            let near = near.iter().flatten().map(|&(_, row)| row as u32).collect();
            let mut search = Search::new(bank, Vec::new(), None, Vec::new(), cells);
            if count > 1 {
                search = search.with_neighbours(RowNeighbours::new(near, count - 1));
            }
            search.run(&query, &Threads::default()).expect("no network");
            let right = numbers(&reference.value("row_means")[count.to_string()]);
            assert_eq!(right.len(), cells);
            for (found, right) in search.cell_scores().iter().zip(&right) {
                let off = (f64::from(*found) / right - 1.0).abs();
                assert!(off < 1e-4, "{count}: {found} {right}");
            }
        }
    }

    #[test]
    fn equal_rows_and_tiny_banks_have_no_factors() {
        for (values, d) in [(vec![1.0; 40], 4), (vec![1.0, 2.0], 1)] {
            let rows = values.len() / d;
            let spacing = spacing(&PackedBank::new(values, d));
            assert_eq!(factors(&spacing, 1.0), vec![1.0; rows]);
        }
    }
}
