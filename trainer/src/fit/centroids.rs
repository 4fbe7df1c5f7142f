//! k-means: a bank of the centroids of good features, as N-pad has it (Lloyd's algorithm from a random
//! start).

use super::coreset::Vectors;
use partgate::network::Threads;
use partgate::score::{Neighbour, PackedBank};
use partgate::seed::Rng;
use rayon::prelude::*;

const START_STREAM: u64 = 8;
/// Rounds at most. It ends before, where no vector changes its centroid.
pub(crate) const ROUNDS: usize = 20;
/// Vectors that one task assigns; the outcome does not depend on it.
const CHUNK: usize = 1024;

/// Centroids of feature vectors.
pub(crate) struct Centroids {
    /// `[rows, dimensions]`.
    pub(crate) values: Vec<f32>,
    /// The vector nearest to each centroid.
    pub(crate) nearest: Vec<u32>,
}

/// `rows` centroids of the vectors `candidates`. `progress` gets the share of the rounds that are done,
/// times `rows`.
pub(crate) fn k_means(
    vectors: Vectors<'_>,
    candidates: &[u32],
    rows: usize,
    seed: u64,
    progress: &(dyn Fn(usize) + Sync),
) -> Centroids {
    let mut order = Rng::stream(seed, START_STREAM).permutation(candidates.len());
    order.truncate(rows);
    let start: Vec<u32> = order.into_iter().map(|at| candidates[at]).collect();
    lloyd(vectors, candidates, start, &|round| {
        progress(rows * round / ROUNDS);
    })
}

/// Lloyd's algorithm from the vectors `start`. `each` gets the number of rounds done.
fn lloyd(
    vectors: Vectors<'_>,
    candidates: &[u32],
    start: Vec<u32>,
    each: &(dyn Fn(usize) + Sync),
) -> Centroids {
    let d = vectors.dimensions;
    let values = start.iter().flat_map(|&row| vectors.row(row)).copied();
    let mut values: Vec<f32> = values.collect();
    let mut assigned: Vec<Neighbour> = Vec::new();
    for round in 1..=ROUNDS {
        let found = assign(vectors, candidates, &values);
        let rows = |found: &[Neighbour]| found.iter().map(|n| n.row).collect::<Vec<_>>();
        let same = rows(&found) == rows(&assigned);
        assigned = found;
        if same {
            break;
        }
        move_to_means(vectors, candidates, &assigned, &mut values);
        each(round);
    }
    let mut nearest: Vec<(f32, u32)> = start.iter().map(|&row| (f32::INFINITY, row)).collect();
    for (&candidate, found) in candidates.iter().zip(&assigned) {
        let best = &mut nearest[found.row as usize];
        if found.distance < best.0 {
            *best = (found.distance, candidate);
        }
    }
    debug_assert_eq!(values.len(), nearest.len() * d);
    Centroids {
        values,
        nearest: nearest.into_iter().map(|(_, row)| row).collect(),
    }
}

/// The nearest centroid of every candidate.
fn assign(vectors: Vectors<'_>, candidates: &[u32], values: &[f32]) -> Vec<Neighbour> {
    let bank = PackedBank::new(values.to_vec(), vectors.dimensions);
    candidates
        .par_chunks(CHUNK)
        .flat_map_iter(|chunk| {
            let query = chunk.iter().flat_map(|&row| vectors.row(row)).copied();
            let query: Vec<f32> = query.collect();
            let mut found = vec![Neighbour::default(); chunk.len()];
            bank.nearest(&query, None, &Threads::default(), &mut found);
            found
        })
        .collect()
}

/// Sets each centroid to the mean of its vectors, in their order; one without vectors stays.
fn move_to_means(
    vectors: Vectors<'_>,
    candidates: &[u32],
    assigned: &[Neighbour],
    values: &mut [f32],
) {
    let d = vectors.dimensions;
    let mut sums = vec![0.0f64; values.len()];
    let mut counts = vec![0.0f64; values.len() / d];
    for (&candidate, found) in candidates.iter().zip(assigned) {
        let row = found.row as usize;
        counts[row] += 1.0;
        let sums = &mut sums[row * d..][..d];
        for (sum, &value) in sums.iter_mut().zip(vectors.row(candidate)) {
            *sum += f64::from(value);
        }
    }
    let rows = values.chunks_exact_mut(d).zip(sums.chunks_exact(d));
    for ((centroid, sums), count) in rows.zip(counts) {
        if count > 0.0 {
            for (value, sum) in centroid.iter_mut().zip(sums) {
                *value = (sum / count) as f32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::reference::{Reference, numbers};
    use super::*;

    #[test]
    fn centroids_are_those_of_the_reference() {
        let reference = Reference::n_pad();
        let features = reference.features();
        let d = features.dimensions;
        let vectors = Vectors {
            values: &features.values,
            dimensions: d,
        };
        let candidates: Vec<u32> = (0..vectors.rows() as u32).collect();
        let start = reference.list("k_means_start");
        let start: Vec<u32> = start.iter().map(|&row| row as u32).collect();
        let found = lloyd(vectors, &candidates, start, &|_| ());
        let right = numbers(reference.value("k_means"));
        assert_eq!(found.values.len(), right.len());
        for (found, right) in found.values.iter().zip(&right) {
            assert!((f64::from(*found) - right).abs() < 1e-4, "{found} {right}");
        }
        // Each centroid's vector is one of its own.
        let assigned = assign(vectors, &candidates, &found.values);
        for (row, &vector) in found.nearest.iter().enumerate() {
            assert_eq!(assigned[vector as usize].row as usize, row);
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_centroids() {
        let mut rng = Rng::new(2);
        let values: Vec<f32> = (0..3000).map(|_| rng.gaussian()).collect();
        let vectors = Vectors {
            values: &values,
            dimensions: 3,
        };
        let candidates: Vec<u32> = (0..1000).collect();
        let one = k_means(vectors, &candidates, 17, 5, &|_| ());
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
        let alone = pool.expect("a thread");
        let other = alone.install(|| k_means(vectors, &candidates, 17, 5, &|_| ()));
        assert_eq!(one.values, other.values);
        let another = k_means(vectors, &candidates, 17, 6, &|_| ());
        assert_ne!(one.values, another.values);
    }
}
