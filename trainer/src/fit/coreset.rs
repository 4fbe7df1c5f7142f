//! The bank: k-centre greedy over feature vectors, exact and seeded.
//!
//! Each step takes the vector farthest from all chosen ones (Sener and Savarese 2018, as PatchCore
//! uses it). The result is that of the plain algorithm; the triangle inequality only spares
//! distances that cannot matter: when the new centre is at least twice as far from a vector's
//! nearest centre as the vector itself is, the vector cannot be nearer to the new one.

use partgate::score::nearest::squared_distance;
use partgate::seed::Rng;
use rayon::prelude::*;

/// Vectors, one a row; a view that threads share.
#[derive(Clone, Copy)]
pub(crate) struct Vectors<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) dimensions: usize,
}

impl<'a> Vectors<'a> {
    pub(crate) fn row(&self, at: u32) -> &'a [f32] {
        &self.values[at as usize * self.dimensions..][..self.dimensions]
    }

    pub(crate) fn rows(&self) -> usize {
        self.values.len() / self.dimensions
    }
}

/// Seeded Gaussian projection to `target` dimensions: k-centre needs distances only up to a few
/// per cent (Johnson and Lindenstrauss), and they cost in proportion to the dimensions.
pub(crate) fn project(vectors: Vectors<'_>, target: usize, seed: u64) -> Vec<f32> {
    let d = vectors.dimensions;
    let mut rng = Rng::stream(seed, PROJECTION_STREAM);
    let scale = 1.0 / (target as f32).sqrt();
    let matrix: Vec<f32> = (0..d * target).map(|_| rng.gaussian() * scale).collect();
    let mut out = vec![0.0; vectors.rows() * target];
    out.par_chunks_mut(target)
        .zip(vectors.values.par_chunks(d))
        .for_each(|(to, from)| {
            for (x, row) in from.iter().zip(matrix.chunks_exact(target)) {
                for (t, m) in to.iter_mut().zip(row) {
                    *t += x * m;
                }
            }
        });
    out
}

const PROJECTION_STREAM: u64 = 1;
const START_STREAM: u64 = 2;

/// Vectors that one task looks at; a fixed number, so that the outcome cannot depend on threads.
const CHUNK: usize = 4096;

struct Member {
    /// Row among all vectors.
    row: u32,
    /// Order number of the nearest chosen vector.
    nearest: u32,
    /// Squared distance to it.
    distance: f32,
}

/// Chooses `count` of `members` (rows of `vectors`) in greedy order; the first is drawn by `seed`.
/// Fewer come back when fewer differ. `progress` is told how many are chosen.
pub(crate) fn k_centre_greedy(
    vectors: Vectors<'_>,
    members: &[u32],
    count: usize,
    seed: u64,
    progress: &(dyn Fn(usize) + Sync),
) -> Vec<u32> {
    let mut chosen: Vec<u32> = Vec::with_capacity(count);
    if members.is_empty() || count == 0 {
        return chosen;
    }
    let first = members[Rng::stream(seed, START_STREAM).below(members.len())];
    chosen.push(first);
    let mut state: Vec<Member> = members
        .par_iter()
        .map(|&row| Member {
            row,
            nearest: 0,
            distance: squared_distance(vectors.row(row), vectors.row(first)),
        })
        .collect();
    let farther = |a: (f32, u32), b: (f32, u32)| {
        // Ties go to the lower row.
        if b.0 > a.0 || (b.0 == a.0 && b.1 < a.1) { b } else { a }
    };
    let mut next = state
        .iter()
        .map(|m| (m.distance, m.row))
        .fold((-1.0, u32::MAX), farther);
    let mut spare: Vec<f32> = Vec::with_capacity(count);
    while chosen.len() < count && next.0 > 0.0 {
        let centre = vectors.row(next.1);
        let order = chosen.len() as u32;
        // A member at squared distance m of centre j keeps it when |new - j|^2 >= 4 m. The margin
        // covers rounding, so that the outcome is the plain algorithm's to the bit.
        spare.clear();
        chosen
            .par_iter()
            .with_min_len(512)
            .map(|&row| squared_distance(vectors.row(row), centre) * (0.25 * 0.9999))
            .collect_into_vec(&mut spare);
        chosen.push(next.1);
        next = state
            .par_chunks_mut(CHUNK)
            .map(|chunk| {
                let mut best = (-1.0, u32::MAX);
                for member in chunk {
                    if member.distance > spare[member.nearest as usize] {
                        let d = squared_distance(vectors.row(member.row), centre);
                        if d < member.distance {
                            member.distance = d;
                            member.nearest = order;
                        }
                    }
                    best = farther(best, (member.distance, member.row));
                }
                best
            })
            .reduce(|| (-1.0, u32::MAX), farther);
        if chosen.len().is_multiple_of(64) {
            progress(chosen.len());
        }
    }
    progress(count);
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The algorithm as published: keep the vector of distances, take the farthest, update.
    fn plain(vectors: Vectors<'_>, members: &[u32], count: usize, seed: u64) -> Vec<u32> {
        let mut chosen = vec![members[Rng::stream(seed, START_STREAM).below(members.len())]];
        let mut distance: Vec<f32> = members
            .iter()
            .map(|&r| squared_distance(vectors.row(r), vectors.row(chosen[0])))
            .collect();
        while chosen.len() < count {
            let mut far = 0;
            for i in 1..members.len() {
                if distance[i] > distance[far] {
                    far = i;
                }
            }
            if distance[far] <= 0.0 {
                break;
            }
            chosen.push(members[far]);
            for (d, &r) in distance.iter_mut().zip(members) {
                *d = d.min(squared_distance(vectors.row(r), vectors.row(members[far])));
            }
        }
        chosen
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn pruning_changes_nothing(
            seed: u64, n in 1usize..400, d in 1usize..20, count in 1usize..60, clusters in 1usize..6,
        ) {
            let mut rng = Rng::new(seed);
            let centres: Vec<f32> = (0..clusters * d).map(|_| 5.0 * rng.gaussian()).collect();
            let values: Vec<f32> = (0..n)
                .flat_map(|_| {
                    let c = rng.below(clusters);
                    (0..d).map(|k| centres[c * d + k] + rng.gaussian()).collect::<Vec<_>>()
                })
                .collect();
            let vectors = Vectors { values: &values, dimensions: d };
            let members: Vec<u32> = (0..n as u32).filter(|r| r % 5 != 0 || n < 5).collect();
            prop_assume!(!members.is_empty());
            let fast = k_centre_greedy(vectors, &members, count, seed, &|_| {});
            prop_assert_eq!(fast, plain(vectors, &members, count, seed));
        }
    }

    #[test]
    fn the_same_bank_on_one_and_three_threads() {
        let mut rng = Rng::new(4);
        let values: Vec<f32> = (0..12_000 * 8).map(|_| rng.gaussian()).collect();
        let vectors = Vectors { values: &values, dimensions: 8 };
        let members: Vec<u32> = (0..12_000).collect();
        let on = |threads: usize| {
            rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .expect("threads")
                .install(|| k_centre_greedy(vectors, &members, 100, 7, &|_| {}))
        };
        assert_eq!(on(1), on(3));
    }

    #[test]
    fn identical_vectors_are_taken_once() {
        let values = [1.0, 1.0, 1.0, 2.0, 2.0];
        let vectors = Vectors { values: &values, dimensions: 1 };
        let chosen = k_centre_greedy(vectors, &[0, 1, 2, 3, 4], 5, 0, &|_| {});
        assert_eq!(chosen.len(), 2);
        assert!(k_centre_greedy(vectors, &[], 5, 0, &|_| {}).is_empty());
    }

    #[test]
    fn projection_keeps_distances_roughly() {
        let mut rng = Rng::new(6);
        let values: Vec<f32> = (0..40 * 300).map(|_| rng.gaussian()).collect();
        let vectors = Vectors { values: &values, dimensions: 300 };
        let projected = project(vectors, 128, 3);
        let flat = Vectors { values: &projected, dimensions: 128 };
        for i in 1..40 {
            let ratio = squared_distance(flat.row(0), flat.row(i))
                / squared_distance(vectors.row(0), vectors.row(i));
            assert!((0.5..1.7).contains(&ratio), "{ratio}");
        }
    }
}
