//! Principal directions of good parts' features: the map that comes before the bank.
//!
//! The bank's distances are taken in the directions in which good parts differ most. What is left out
//! is mostly noise of the backbone, which hides small defects; and the search is cheaper. Nothing is
//! scaled: whitening ruins thresholds (docs/method.md).

use super::features::Features;
use partgate::seed::Rng;
use rayon::prelude::*;

/// Feature vectors that the covariance is taken from, at most.
const VECTORS: usize = 100_000;
/// Steps of the iteration: more than enough, as only the span of the directions counts.
const STEPS: usize = 60;
const STREAM: u64 = 7;

/// The `directions` leading principal directions of the inspected cells, `[from, to]`, and the share of
/// the features' variance in them.
pub(crate) fn principal_weights(
    features: &Features,
    ignored: &[bool],
    directions: usize,
    seed: u64,
) -> (Vec<f32>, f64) {
    let d = features.dimensions;
    let directions = directions.min(d);
    let covariance = covariance(features, ignored);
    let mut basis: Vec<Vec<f64>> = {
        let mut rng = Rng::stream(seed, STREAM);
        let mut draw = |_| (0..d).map(|_| f64::from(rng.gaussian())).collect();
        (0..directions).map(&mut draw).collect()
    };
    orthonormalise(&mut basis);
    for _ in 0..STEPS {
        basis = basis.par_iter().map(|v| times(&covariance, v)).collect();
        orthonormalise(&mut basis);
    }
    let all: f64 = (0..d).map(|i| covariance[i * d + i]).sum();
    let kept: f64 = basis.iter().map(|v| dot(v, &times(&covariance, v))).sum();
    let mut weights = vec![0.0; d * directions];
    for (column, direction) in basis.iter().enumerate() {
        for (row, &value) in direction.iter().enumerate() {
            weights[row * directions + column] = value as f32;
        }
    }
    (weights, if all > 0.0 { kept / all } else { 1.0 })
}

/// Covariance of the inspected cells' features, `[d, d]`.
fn covariance(features: &Features, ignored: &[bool]) -> Vec<f64> {
    let (d, cells) = (features.dimensions, features.cells());
    let inspected: Vec<usize> = (0..features.images * cells)
        .filter(|at| !ignored[at % cells])
        .collect();
    // A step that shares no factor with the grid would be better still; an odd one meets every column.
    let step = (inspected.len() / VECTORS).max(1) | 1;
    let step = if inspected.len() < VECTORS { 1 } else { step };
    let taken: Vec<&[f32]> = inspected
        .iter()
        .step_by(step)
        .map(|at| &features.values[at * d..][..d])
        .collect();
    let n = taken.len().max(1) as f64;
    let mut mean = vec![0.0f64; d];
    for vector in &taken {
        for (sum, &v) in mean.iter_mut().zip(*vector) {
            *sum += f64::from(v);
        }
    }
    mean.iter_mut().for_each(|sum| *sum /= n);
    let mut out = vec![0.0; d * d];
    out.par_chunks_mut(d).enumerate().for_each(|(i, row)| {
        // Only up to the diagonal: the rest is the same mirrored.
        for vector in &taken {
            let own = f64::from(vector[i]) - mean[i];
            for (sum, (&v, m)) in row[..=i].iter_mut().zip(vector.iter().zip(&mean)) {
                *sum += own * (f64::from(v) - m);
            }
        }
    });
    for i in 0..d {
        for j in 0..=i {
            let value = out[i * d + j] / n;
            (out[i * d + j], out[j * d + i]) = (value, value);
        }
    }
    out
}

pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

pub(super) fn times(matrix: &[f64], vector: &[f64]) -> Vec<f64> {
    let rows = matrix.chunks_exact(vector.len());
    rows.map(|row| dot(row, vector)).collect()
}

/// Gram-Schmidt, twice, as once loses digits. A vector in the span of those before becomes the first
/// unit vector that is not.
pub(super) fn orthonormalise(basis: &mut [Vec<f64>]) {
    for at in 0..basis.len() {
        let (before, rest) = basis.split_at_mut(at);
        let vector = &mut rest[0];
        let mut axis = 0;
        loop {
            let length = dot(vector, vector).sqrt();
            for _ in 0..2 {
                for other in before.iter() {
                    let along = dot(vector, other);
                    for (v, o) in vector.iter_mut().zip(other) {
                        *v -= along * o;
                    }
                }
            }
            let left = dot(vector, vector).sqrt();
            if left > 1e-9 * length && left > 1e-150 {
                vector.iter_mut().for_each(|v| *v /= left);
                break;
            }
            vector.fill(0.0);
            vector[axis] = 1.0;
            axis += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::reduction::Reduction;
    use super::*;
    use partgate::size::Size;

    /// Features that vary by 9, 4 and 1 in three directions of six, and hardly at all in the others.
    fn made_up(seed: u64) -> (Features, [[f64; 6]; 3]) {
        let mut rng = Rng::new(seed);
        let mut directions: Vec<Vec<f64>> = (0..3)
            .map(|_| (0..6).map(|_| f64::from(rng.gaussian())).collect())
            .collect();
        orthonormalise(&mut directions);
        let values = (0..4 * 100)
            .flat_map(|_| {
                let along: Vec<f64> = [3.0, 2.0, 1.0]
                    .iter()
                    .map(|s| s * f64::from(rng.gaussian()))
                    .collect();
                let value = |k: usize| {
                    let sum: f64 = (0..3).map(|i| along[i] * directions[i][k]).sum();
                    5.0 + sum as f32 + 1e-3 * rng.gaussian()
                };
                (0..6).map(value).collect::<Vec<f32>>()
            })
            .collect();
        let array = |i: usize| std::array::from_fn(|k| directions[i][k]);
        (
            Features::made_up(values, 4, Size::square(10)),
            [array(0), array(1), array(2)],
        )
    }

    #[test]
    fn the_directions_are_those_in_which_the_features_vary() {
        let (features, directions) = made_up(3);
        let ignored = vec![false; 100];
        let found = Reduction::Principal(3)
            .fit(&features, &ignored, &[], 0)
            .expect("a map");
        let kept = found.variance_kept.expect("a share");
        assert!(kept > 0.999, "{kept}");
        // Each of the true directions lies in the span of the found ones.
        for direction in directions {
            let inside: f64 = (0..3)
                .map(|column| {
                    let along =
                        (0..6).map(|k| direction[k] * f64::from(found.weights[k * 3 + column]));
                    along.sum::<f64>().powi(2)
                })
                .sum();
            assert!((inside - 1.0).abs() < 1e-4, "{inside}");
        }
        let mapped = found.of(features);
        assert_eq!((mapped.dimensions, mapped.values.len()), (3, 4 * 100 * 3));
    }

    #[test]
    fn all_directions_keep_every_distance() {
        let (features, _) = made_up(4);
        let before: Vec<f32> = features.values[..12].to_vec();
        let found = Reduction::Principal(99)
            .fit(&features, &[false; 100], &[], 0)
            .expect("a map");
        let mapped = found.of(features);
        assert_eq!(mapped.dimensions, 6);
        let distance = |v: &[f32]| -> f32 {
            let (a, b) = v.split_at(6);
            a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f32>()
        };
        let (a, b) = (distance(&before), distance(&mapped.values[..12]));
        assert!((a / b - 1.0).abs() < 1e-4, "{a} {b}");
    }

    #[test]
    fn features_without_variance_have_directions_too() {
        let features = Features::made_up(vec![2.0; 2 * 9 * 4], 2, Size::square(3));
        let found = Reduction::Principal(2)
            .fit(&features, &[false; 9], &[], 0)
            .expect("a map");
        assert!(found.weights.iter().all(|w| w.is_finite()));
        assert_eq!(found.variance_kept, Some(1.0));
    }
}
