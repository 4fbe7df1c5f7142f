//! A learnt linear map before the bank: the directions in which damage differs from what good parts
//! leave unexplained.
//!
//! A bank explains a cell by its nearest row. What is left, the residual, is noise on good parts and
//! damage on damaged copies of them. The map leads to the directions in which the residuals of damage
//! are largest for those of good parts (a generalised eigenvalue problem, as in linear discriminant
//! analysis). Distances in it weigh a direction by how much it tells.

use super::copies::DamagedCopies;
use super::features::Extractor;
use super::fitter::Fitter;
use super::principal::{dot, orthonormalise, times};
use crate::dataset::GoodImages;
use crate::error::TrainError;
use partgate::network::Threads;
use partgate::score::{Neighbour, PackedBank};
use partgate::seed::Rng;
use rayon::prelude::*;

/// Share of changed pixels from which a cell shows damage.
const CHANGED: f32 = 0.25;
/// One good cell in so many counts.
const EVERY: usize = 3;
/// Added to the good residuals' variances, as a share of their mean, so that no direction is trusted
/// for hardly varying.
const RIDGE: f64 = 0.05;
/// Steps of the iteration: more than enough, as only the span of the directions counts.
const STEPS: usize = 100;
const STREAM: u64 = 9;

/// Second moments of residuals.
struct Moments {
    /// `[d, d]`.
    sums: Vec<f64>,
    dimensions: usize,
    cells: usize,
}

impl Moments {
    fn new(dimensions: usize) -> Self {
        Self {
            sums: vec![0.0; dimensions * dimensions],
            dimensions,
            cells: 0,
        }
    }

    /// Adds what `bank` leaves of those cells of an image that `counts`.
    fn add(&mut self, bank: &PackedBank, features: &[f32], counts: impl Fn(usize) -> bool) {
        let d = self.dimensions;
        let mut found = vec![Neighbour::default(); features.len() / d];
        bank.nearest(features, None, &Threads::default(), &mut found);
        let cells = found.iter().enumerate().filter(|(cell, _)| counts(*cell));
        let residuals: Vec<Vec<f64>> = cells
            .map(|(cell, near)| {
                let row = &bank.values()[near.row as usize * d..][..d];
                let own = features[cell * d..][..d].iter();
                own.zip(row).map(|(a, b)| f64::from(a - b)).collect()
            })
            .collect();
        self.cells += residuals.len();
        self.sums
            .par_chunks_mut(d)
            .enumerate()
            .for_each(|(i, row)| {
                for residual in &residuals {
                    let own = residual[i];
                    for (sum, value) in row.iter_mut().zip(residual) {
                        *sum += own * value;
                    }
                }
            });
    }

    fn means(mut self) -> Vec<f64> {
        let count = self.cells.max(1) as f64;
        self.sums.iter_mut().for_each(|sum| *sum /= count);
        self.sums
    }
}

/// Weights of a map to `directions` values, `[from, to]`. `fitter` has the features without a map, and
/// its seed is that of the damage.
///
/// # Errors
/// [`TrainError`] where no image could be damaged, or one cannot be read.
pub(super) fn discriminant_weights(
    fitter: &Fitter<'_>,
    extractor: &Extractor,
    images: &GoodImages,
    directions: usize,
) -> Result<Vec<f32>, TrainError> {
    let features = &fitter.features;
    let (d, cells, seed) = (features.dimensions, features.cells(), fitter.settings.seed);
    let inspected = |cell: usize| !fitter.ignored_cells[cell];
    // An image is explained by a bank of the other half, as a new part would be.
    let mut half = vec![0; features.images];
    for (rank, image) in Rng::stream(seed, STREAM)
        .permutation(features.images)
        .into_iter()
        .enumerate()
    {
        half[image] = rank % 2;
    }
    let banks = [1, 0].map(|other| {
        let images: Vec<usize> = (0..half.len()).filter(|&i| half[i] == other).collect();
        fitter.choose_bank(&images, seed, &|_| ()).bank
    });
    let mut good = Moments::new(d);
    for image in 0..features.images {
        good.add(&banks[half[image]], features.image(image), |cell| {
            cell % EVERY == image % EVERY && cell < cells && inspected(cell)
        });
    }
    let mut damaged = Moments::new(d);
    DamagedCopies::new(fitter, extractor, images)?.each(|copies| {
        for copy in copies.iter().filter(|copy| copy.id.harm.painted()) {
            damaged.add(&banks[half[copy.id.image]], &copy.features, |cell| {
                copy.changed[cell] > CHANGED && inspected(cell)
            });
        }
        Ok(())
    })?;
    if damaged.cells == 0 {
        return Err(TrainError::Setting(
            "--discriminant: no good image could be damaged, so there is nothing to learn from; leave it out, or take --principal".into(),
        ));
    }
    Ok(weights(
        good.means(),
        &damaged.means(),
        d,
        directions.min(d),
        seed,
    ))
}

/// The leading directions of `damaged` in units of `good`, both `[d, d]`, each times the root of the
/// logarithm of its ratio; a direction in which damage is no larger does not count.
fn weights(
    mut good: Vec<f64>,
    damaged: &[f64],
    d: usize,
    directions: usize,
    seed: u64,
) -> Vec<f32> {
    let trace: f64 = (0..d).map(|i| good[i * d + i]).sum();
    for i in 0..d {
        good[i * d + i] += RIDGE * (trace / d as f64).max(f64::MIN_POSITIVE);
    }
    let factor = Factor::of(&good, d);
    let rows: Vec<Vec<f64>> = damaged
        .chunks_exact(d)
        .map(|row| factor.solved(row))
        .collect();
    let columns = (0..d).map(|j| {
        let column: Vec<f64> = rows.iter().map(|row| row[j]).collect();
        factor.solved(&column)
    });
    let ratios: Vec<f64> = columns.flatten().collect();
    let mut rng = Rng::stream(seed, STREAM + (1 << 35));
    let mut draw = |_| (0..d).map(|_| f64::from(rng.gaussian())).collect();
    let mut basis: Vec<Vec<f64>> = (0..directions).map(&mut draw).collect();
    orthonormalise(&mut basis);
    for _ in 0..STEPS {
        basis = basis.par_iter().map(|v| times(&ratios, v)).collect();
        orthonormalise(&mut basis);
    }
    let mut out = vec![0.0; d * directions];
    for (column, direction) in basis.iter().enumerate() {
        let ratio = dot(direction, &times(&ratios, direction));
        let weight = ratio.max(1.0).ln().sqrt();
        for (row, value) in factor.solved_transposed(direction).iter().enumerate() {
            out[row * directions + column] = (weight * value) as f32;
        }
    }
    out
}

/// The lower factor L of a matrix `L L'`.
struct Factor {
    values: Vec<f64>,
    d: usize,
}

impl Factor {
    fn of(matrix: &[f64], d: usize) -> Self {
        let mut l = vec![0.0; d * d];
        for i in 0..d {
            for j in 0..=i {
                let sum = dot(&l[i * d..][..j], &l[j * d..][..j]);
                let value = matrix[i * d + j] - sum;
                l[i * d + j] = match i == j {
                    true => value.max(f64::MIN_POSITIVE).sqrt(),
                    false => value / l[j * d + j],
                };
            }
        }
        Self { values: l, d }
    }

    /// `L^-1 v`.
    fn solved(&self, v: &[f64]) -> Vec<f64> {
        let (l, d) = (&self.values, self.d);
        let mut x = v.to_vec();
        for i in 0..d {
            x[i] = (x[i] - dot(&l[i * d..][..i], &x[..i])) / l[i * d + i];
        }
        x
    }

    /// `L'^-1 v`.
    fn solved_transposed(&self, v: &[f64]) -> Vec<f64> {
        let (l, d) = (&self.values, self.d);
        let mut x = v.to_vec();
        for i in (0..d).rev() {
            let sum: f64 = (i + 1..d).map(|j| l[j * d + i] * x[j]).sum();
            x[i] = (x[i] - sum) / l[i * d + i];
        }
        x
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Damage of variance 16 in one direction where good residuals have 4, of 9 in another where they
    /// have 1, and no more than good residuals in the third.
    #[test]
    fn directions_are_those_in_which_damage_exceeds_good_residuals() {
        let diagonal = |values: [f64; 3]| {
            let mut out = vec![0.0; 9];
            for (i, value) in values.into_iter().enumerate() {
                out[i * 3 + i] = value;
            }
            out
        };
        let good = diagonal([4.0, 1.0, 2.0]);
        let found = weights(good, &diagonal([16.0, 9.0, 2.0]), 3, 3, 1);
        let column = |j: usize| [0, 1, 2].map(|i| f64::from(found[i * 3 + j]));
        // The ridge is 5 % of 7 / 3.
        let ridge = 0.05 * 7.0 / 3.0;
        let want = |good: f64, damaged: f64| {
            let ratio = damaged / (good + ridge);
            (ratio.ln().max(0.0) / (good + ridge)).sqrt()
        };
        let first = column(0).map(f64::abs);
        assert!(
            first[0] < 1e-6 && (first[1] - want(1.0, 9.0)).abs() < 1e-5 && first[2] < 1e-6,
            "{first:?}"
        );
        let second = column(1).map(f64::abs);
        assert!(
            (second[0] - want(4.0, 16.0)).abs() < 1e-5 && second[1] < 1e-6,
            "{second:?}"
        );
        // It tells nothing.
        assert_eq!(column(2), [0.0; 3]);
    }

    #[test]
    fn a_factor_undoes_its_matrix() {
        let matrix = [4.0, 2.0, 2.0, 5.0];
        let factor = Factor::of(&matrix, 2);
        let x = factor.solved_transposed(&factor.solved(&[8.0, 18.0]));
        assert!(
            (x[0] - 0.25).abs() < 1e-12 && (x[1] - 3.5).abs() < 1e-12,
            "{x:?}"
        );
    }
}
