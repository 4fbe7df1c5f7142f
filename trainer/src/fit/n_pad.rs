//! The distributions of rule `n-pad`: at each cell one of what good parts show at the places around,
//! with all places alike or weighted by how alike they are (docs/method.md).

use super::features::Features;
use super::gaussian::{cholesky, inverse_factor};
use partgate::score::{NPadForm, PlaceDistributions, PlaceWeights, around, triangle};
use partgate::size::Size;
use rayon::prelude::*;

/// Variance added in every direction, as a share of the mean variance of a value over good parts at a
/// place.
const FLOOR: f64 = 0.01;

/// Distributions as a bundle has them.
#[derive(Clone, Debug)]
pub(crate) struct NPadModel {
    pub(crate) form: NPadForm,
    pub(crate) grid: Size,
    pub(crate) dimensions: usize,
    /// `[cells, dimensions]`.
    pub(crate) mean: Vec<f32>,
    /// `[cells, triangle(dimensions)]`.
    pub(crate) factor: Vec<f32>,
}

impl NPadModel {
    /// Ready to run.
    pub(crate) fn load(&self) -> PlaceDistributions {
        let reach = self.form.reach as usize;
        let mean = self.mean.clone();
        PlaceDistributions::new(self.grid, self.dimensions, reach, mean, &self.factor)
    }
}

/// Bytes of the sections.
pub(crate) fn section_bytes(grid: Size, dimensions: usize) -> u64 {
    4 * grid.area() as u64 * (dimensions + triangle(dimensions)) as u64
}

/// Mean and covariance of one place.
struct Moments {
    mean: Vec<f64>,
    /// Lower triangle.
    covariance: Vec<f64>,
}

/// What comparing a place with another needs.
struct Place {
    moments: Moments,
    /// Logarithm of the determinant of the covariance with the floor.
    log_determinant: f64,
}

/// The distributions of `images`, of which `ignored` cells do not count for the floor.
pub(crate) fn distributions(
    features: &Features,
    ignored: &[bool],
    images: &[usize],
    form: NPadForm,
) -> NPadModel {
    let (grid, d) = (features.grid, features.dimensions);
    let moments: Vec<Moments> = (0..grid.area())
        .into_par_iter()
        .map(|cell| moments(features, images, cell))
        .collect();
    let floor = floor(&moments, ignored, d);
    let places: Vec<Place> = moments
        .into_par_iter()
        .map(|moments| {
            let covariance = with_floor(&moments.covariance, floor, d);
            Place {
                log_determinant: log_determinant(&cholesky(covariance, d), d),
                moments,
            }
        })
        .collect();
    let half = form.window as usize / 2;
    let weights = match form.weights {
        PlaceWeights::Equal => None,
        PlaceWeights::Bhattacharyya => Some(PairWeights::new(&places, grid, half, floor, d)),
    };
    let made: Vec<(Vec<f32>, Vec<f32>)> = (0..grid.area())
        .into_par_iter()
        .map(|cell| {
            let near: Vec<(usize, f64)> = around(cell, grid, half)
                .map(|place| {
                    let weight = weights.as_ref().map_or(1.0, |w| w.of(cell, place));
                    (place, weight)
                })
                .collect();
            let Moments { mean, covariance } = mixture(&places, &near, d);
            let factor = inverse_factor(with_floor(&covariance, floor, d), d);
            let narrow = |values: Vec<f64>| values.into_iter().map(|v| v as f32).collect();
            (narrow(mean), narrow(factor))
        })
        .collect();
    let (mean, factor): (Vec<_>, Vec<_>) = made.into_iter().unzip();
    NPadModel {
        form,
        grid,
        dimensions: d,
        mean: mean.concat(),
        factor: factor.concat(),
    }
}

fn moments(features: &Features, images: &[usize], cell: usize) -> Moments {
    let d = features.dimensions;
    let n = images.len() as f64;
    let vectors = || {
        let images = images.iter();
        images.map(|&image| &features.image(image)[cell * d..][..d])
    };
    let mut mean = vec![0.0f64; d];
    for vector in vectors() {
        for (sum, &value) in mean.iter_mut().zip(vector) {
            *sum += f64::from(value);
        }
    }
    mean.iter_mut().for_each(|sum| *sum /= n);
    let mut covariance = vec![0.0f64; triangle(d)];
    let mut deviation = vec![0.0f64; d];
    for vector in vectors() {
        for ((out, &value), mean) in deviation.iter_mut().zip(vector).zip(&mean) {
            *out = f64::from(value) - mean;
        }
        add_square(&mut covariance, &deviation, 1.0 / n);
    }
    Moments { mean, covariance }
}

/// Adds `weight` times the products of a vector with itself to a lower triangle.
fn add_square(products: &mut [f64], vector: &[f64], weight: f64) {
    let mut rest = products;
    for (i, &value) in vector.iter().enumerate() {
        let (row, below) = rest.split_at_mut(i + 1);
        rest = below;
        let own = weight * value;
        for (sum, other) in row.iter_mut().zip(vector) {
            *sum += own * other;
        }
    }
}

fn floor(places: &[Moments], ignored: &[bool], d: usize) -> f64 {
    let inspected = places.iter().zip(ignored).filter(|(_, ignored)| !**ignored);
    let (sum, count) = inspected.fold((0.0, 0.0f64), |(sum, count), (place, _)| {
        let trace: f64 = (0..d).map(|i| place.covariance[triangle(i) + i]).sum();
        (sum + trace / d as f64, count + 1.0)
    });
    // Good parts that are all alike still get a spread.
    (FLOOR * sum / count.max(1.0)).max(1e-12)
}

fn with_floor(covariance: &[f64], floor: f64, d: usize) -> Vec<f64> {
    let mut out = covariance.to_vec();
    (0..d).for_each(|i| out[triangle(i) + i] += floor);
    out
}

fn log_determinant(factor: &[f64], d: usize) -> f64 {
    let diagonal = (0..d).map(|i| factor[triangle(i) + i].ln());
    2.0 * diagonal.sum::<f64>()
}

/// Bhattacharyya distance of two places.
fn bhattacharyya(a: &Place, b: &Place, floor: f64, d: usize) -> f64 {
    let pairs = a.moments.covariance.iter().zip(&b.moments.covariance);
    let middle: Vec<f64> = pairs.map(|(a, b)| 0.5 * (a + b)).collect();
    let factor = cholesky(with_floor(&middle, floor, d), d);
    // The difference of the means in the middle's own spread, by forward substitution.
    let mut solved = vec![0.0; d];
    for i in 0..d {
        let row = &factor[triangle(i)..][..=i];
        let known: f64 = row[..i].iter().zip(&solved).map(|(w, v)| w * v).sum();
        solved[i] = (a.moments.mean[i] - b.moments.mean[i] - known) / row[i];
    }
    let apart: f64 = solved.iter().map(|v| v * v).sum();
    let spread = log_determinant(&factor, d) - 0.5 * (a.log_determinant + b.log_determinant);
    apart / 8.0 + 0.5 * spread
}

/// Weights of pairs of places, each pair once.
struct PairWeights {
    /// Of each cell with those after it in its window.
    later: Vec<Vec<(usize, f64)>>,
}

impl PairWeights {
    fn new(places: &[Place], grid: Size, half: usize, floor: f64, d: usize) -> Self {
        let later = (0..grid.area())
            .into_par_iter()
            .map(|cell| {
                let others = around(cell, grid, half).filter(|&other| other > cell);
                let weight = |other: usize| {
                    let distance = bhattacharyya(&places[cell], &places[other], floor, d);
                    // Per value: the coefficient itself leaves a place alone with itself as soon as
                    // vectors are long.
                    (other, (-distance.max(0.0) / d as f64).exp())
                };
                others.map(weight).collect()
            })
            .collect();
        Self { later }
    }

    fn of(&self, a: usize, b: usize) -> f64 {
        let (first, second) = (a.min(b), a.max(b));
        let found = self.later[first].iter().find(|(other, _)| *other == second);
        // A place is like itself.
        found.map_or(1.0, |&(_, weight)| weight)
    }
}

/// Mean and covariance of a mixture of places.
fn mixture(places: &[Place], near: &[(usize, f64)], d: usize) -> Moments {
    let all: f64 = near.iter().map(|(_, weight)| weight).sum();
    let mut mean = vec![0.0; d];
    for &(place, weight) in near {
        for (sum, value) in mean.iter_mut().zip(&places[place].moments.mean) {
            *sum += weight / all * value;
        }
    }
    let mut covariance = vec![0.0; triangle(d)];
    for &(place, weight) in near {
        let moments = &places[place].moments;
        let share = weight / all;
        for (sum, value) in covariance.iter_mut().zip(&moments.covariance) {
            *sum += share * value;
        }
        let apart: Vec<f64> = moments.mean.iter().zip(&mean).map(|(a, b)| a - b).collect();
        add_square(&mut covariance, &apart, share);
    }
    Moments { mean, covariance }
}

#[cfg(test)]
mod tests {
    use super::super::reference::{Reference, numbers};
    use super::*;
    use partgate::network::Threads;
    use partgate::score::{PackedBank, Search};
    use serde_json::Value;

    fn form(case: &Value) -> NPadForm {
        let side = |name: &str| case[name].as_u64().expect("a side") as u32;
        NPadForm {
            window: side("window"),
            reach: side("reach"),
            weights: serde_json::from_value(case["weights"].clone()).expect("weights"),
        }
    }

    fn compare(what: &str, found: &[f32], right: &Value) {
        let right = numbers(right);
        assert_eq!(found.len(), right.len(), "{what}");
        for (at, (found, right)) in found.iter().zip(&right).enumerate() {
            let off = (f64::from(*found) - right).abs();
            assert!(
                off <= 1e-4 * right.abs().max(1.0),
                "{what} {at}: {found} {right}"
            );
        }
    }

    #[test]
    fn means_distances_and_scores_are_those_of_the_reference() {
        let reference = Reference::n_pad();
        let features = reference.features();
        let cells = features.grid.area();
        let images: Vec<usize> = (0..features.images).collect();
        let query: Vec<f32> = reference.list("query");
        let cases = reference.value("cases").as_array().expect("cases");
        assert_eq!(cases.len(), 6);
        for case in cases {
            let form = form(case);
            let model = distributions(&features, &vec![false; cells], &images, form);
            compare("mean", &model.mean, &case["mean"]);
            let mut found = vec![0.0; cells];
            model.load().run(&query, &Threads::default(), &mut found);
            compare(&format!("distances {form:?}"), &found, &case["distances"]);
            let bank = PackedBank::new(reference.list("bank"), features.dimensions);
            let mut search =
                Search::new(bank, Vec::new(), None, Vec::new(), cells).with_places(model.load());
            search.run(&query, &Threads::default()).expect("no network");
            compare("scores", search.cell_scores(), &case["scores"]);
        }
    }

    #[test]
    fn threads_do_not_change_a_byte() {
        let reference = Reference::n_pad();
        let features = reference.features();
        let ignored = vec![false; features.grid.area()];
        let images: Vec<usize> = (0..features.images).collect();
        let form = NPadForm {
            window: 3,
            reach: 3,
            weights: PlaceWeights::Bhattacharyya,
        };
        let fit = || distributions(&features, &ignored, &images, form);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
        let alone = pool.expect("a thread").install(fit);
        let shared = fit();
        assert_eq!((alone.mean, alone.factor), (shared.mean, shared.factor));
    }

    #[test]
    fn parts_that_are_all_alike_have_a_spread() {
        let features = Features::made_up(vec![2.0; 4 * 6 * 3], 4, Size::new(3, 2));
        let form = NPadForm {
            window: 3,
            reach: 1,
            weights: PlaceWeights::Bhattacharyya,
        };
        let model = distributions(&features, &[false; 6], &[0, 1, 2, 3], form);
        assert!(model.factor.iter().all(|v| v.is_finite()));
        let mut found = vec![1.0; 6];
        let good = vec![2.0; 6 * 3];
        model.load().run(&good, &Threads::default(), &mut found);
        assert_eq!(found, [0.0; 6]);
    }
}
