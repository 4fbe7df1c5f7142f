//! The bank: k-centre greedy over feature vectors, exact and seeded.
//!
//! Each step takes the vector farthest from all chosen ones (Sener and Savarese 2018, as PatchCore
//! uses it). The plain algorithm updates the distances of all vectors after every step. This one
//! gives the same sequence for a fraction of the work, because distances only shrink: while a level
//! holds, only vectors whose last known distance reaches it can be the farthest. Only these are
//! kept up to date. The others are updated in bulk when the level drops to them; most are then near
//! enough to a centre to wait on.

use super::pairwise::{LANES, Panels, four_to_panel, one_to_panels};
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

/// Factor by which the level of squared distance drops; a tenth of the distance.
const LEVEL_DROP: f32 = 0.8;

/// Vectors that one task catches up; a fixed number, so that the outcome cannot depend on threads.
const CHUNK: usize = 1024;

/// State of one vector.
#[derive(Clone, Copy)]
struct Member {
    /// Row among all vectors.
    row: u32,
    /// Full panels of centres that it was compared with.
    seen: u32,
    /// Squared distance to the nearest centre seen: never below the true one.
    distance: f32,
}

/// Compares up to four members with the centres they have not seen, until all are below `level`.
fn catch_up(members: &mut [Member], vectors: Vectors<'_>, centres: &Panels, level: f32) {
    for group in members.chunks_mut(4) {
        let last = group.len() - 1;
        let rows = std::array::from_fn(|i| vectors.row(group[i.min(last)].row));
        let mut panel = group.iter().map(|m| m.seen).min().unwrap_or(0);
        let full = (centres.len() / LANES) as u32;
        while (panel as usize) < centres.panels() && group.iter().any(|m| m.distance >= level) {
            let filled = (centres.len() - panel as usize * LANES).min(LANES);
            let found = four_to_panel(rows, centres, panel as usize);
            for (member, distances) in group.iter_mut().zip(&found) {
                for &d in &distances[..filled] {
                    member.distance = member.distance.min(d);
                }
                // A panel still being filled is compared again later.
                member.seen = member.seen.max((panel + 1).min(full));
            }
            panel += 1;
        }
    }
}

/// The members that may be the farthest, packed and up to date.
struct Active {
    panels: Panels,
    rows: Vec<u32>,
    distances: Vec<f32>,
}

impl Active {
    /// Takes in a new centre.
    fn compare(&mut self, centre: &[f32]) {
        let panels = &self.panels;
        self.distances
            .par_chunks_mut(4 * LANES)
            .with_min_len(16)
            .enumerate()
            .for_each(|(i, distances)| {
                let found = one_to_panels(centre, panels, i * 4);
                for (distance, &d) in distances.iter_mut().zip(found.as_flattened()) {
                    *distance = distance.min(d);
                }
            });
    }

    /// The farthest, ties to the lower row.
    fn farthest(&self) -> Farthest {
        let none = Farthest {
            distance: -1.0,
            row: u32::MAX,
        };
        let pairs = self.distances.iter().zip(&self.rows);
        pairs.fold(none, |best, (&distance, &row)| {
            if distance > best.distance || (distance == best.distance && row < best.row) {
                Farthest { distance, row }
            } else {
                best
            }
        })
    }

    /// Takes the members of `all` whose known distance reaches `level`.
    fn refill(&mut self, all: &[Member], vectors: Vectors<'_>, level: f32) {
        self.panels.clear();
        self.rows.clear();
        self.distances.clear();
        for member in all.iter().filter(|m| m.distance >= level) {
            self.panels.push(vectors.row(member.row));
            self.rows.push(member.row);
            self.distances.push(member.distance);
        }
    }
}

/// The active member that is farthest from all centres; a negative distance where there is none.
struct Farthest {
    /// Squared.
    distance: f32,
    /// Row among all vectors.
    row: u32,
}

/// Chooses `count` of `members` (rows of `vectors`) in greedy order; the first is drawn by `seed`.
/// It chooses fewer where fewer differ. `progress` gets the number of rows chosen so far.
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
    let mut centres = Panels::new(vectors.dimensions);
    centres.push(vectors.row(first));
    let mut all: Vec<Member> = members
        .iter()
        .map(|&row| Member {
            row,
            seen: 0,
            distance: f32::INFINITY,
        })
        .collect();
    let mut active = Active {
        panels: Panels::new(vectors.dimensions),
        rows: Vec::new(),
        distances: Vec::new(),
    };
    let mut level = f32::INFINITY;
    while chosen.len() < count {
        let mut next = active.farthest();
        while next.distance < level {
            // No active member reaches the level: lower it.
            let Some(lower) = lowered(&mut all, vectors, &centres, level) else {
                progress(count);
                return chosen; // the rest are copies of chosen vectors
            };
            level = lower;
            active.refill(&all, vectors, level);
            next = active.farthest();
            log::debug!(
                "coreset: {} chosen, level {level}, {} of {} members active",
                chosen.len(),
                active.rows.len(),
                all.len()
            );
        }
        let centre = vectors.row(next.row);
        chosen.push(next.row);
        centres.push(centre);
        active.compare(centre);
        if chosen.len().is_multiple_of(64) {
            progress(chosen.len());
        }
    }
    progress(count);
    chosen
}

/// Lowers `level` and catches up all members that may reach the new one; `None` where every member
/// is a copy of a centre.
fn lowered(all: &mut [Member], vectors: Vectors<'_>, centres: &Panels, level: f32) -> Option<f32> {
    all.par_chunks_mut(CHUNK)
        .for_each(|chunk| catch_up_some(chunk, vectors, centres, level));
    let high = all.iter().map(|m| m.distance).fold(0.0, f32::max);
    if high <= 0.0 {
        return None;
    }
    let level = if level.is_finite() { level } else { high } * LEVEL_DROP;
    let level = level.min(high);
    all.par_chunks_mut(CHUNK)
        .for_each(|chunk| catch_up_some(chunk, vectors, centres, level));
    Some(level)
}

/// Catches up the members of a chunk whose known distance reaches `level`.
fn catch_up_some(chunk: &mut [Member], vectors: Vectors<'_>, centres: &Panels, level: f32) {
    let mut open: Vec<usize> = (0..chunk.len())
        .filter(|&i| chunk[i].distance >= level)
        .collect();
    // Members that have seen the same panels stand together, so that a group of four shares them.
    open.sort_by_key(|&i| (chunk[i].seen, i));
    for four in open.chunks(4) {
        let mut group: Vec<Member> = four.iter().map(|&i| chunk[i]).collect();
        catch_up(&mut group, vectors, centres, level);
        for (&i, member) in four.iter().zip(group) {
            chunk[i] = member;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use partgate::seed::Rng;
    use proptest::prelude::*;

    fn distance(a: &[f32], b: &[f32]) -> f32 {
        let mut sum = 0.0;
        for (x, y) in a.iter().zip(b) {
            sum += (x - y) * (x - y);
        }
        sum
    }

    /// The algorithm as published: keep the vector of distances, take the farthest, update.
    fn plain(vectors: Vectors<'_>, members: &[u32], count: usize, seed: u64) -> Vec<u32> {
        let mut chosen = vec![members[Rng::stream(seed, START_STREAM).below(members.len())]];
        let mut near: Vec<f32> = members
            .iter()
            .map(|&r| distance(vectors.row(r), vectors.row(chosen[0])))
            .collect();
        while chosen.len() < count {
            let mut far = 0;
            for i in 1..members.len() {
                if near[i] > near[far] {
                    far = i;
                }
            }
            if near[far] <= 0.0 {
                break;
            }
            chosen.push(members[far]);
            for (d, &r) in near.iter_mut().zip(members) {
                *d = d.min(distance(vectors.row(r), vectors.row(members[far])));
            }
        }
        chosen
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn waiting_changes_nothing(
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
        let vectors = Vectors {
            values: &values,
            dimensions: 8,
        };
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
        let vectors = Vectors {
            values: &values,
            dimensions: 1,
        };
        let chosen = k_centre_greedy(vectors, &[0, 1, 2, 3, 4], 5, 0, &|_| {});
        assert_eq!(chosen.len(), 2);
        assert!(k_centre_greedy(vectors, &[], 5, 0, &|_| {}).is_empty());
    }

    #[test]
    fn projection_keeps_distances_roughly() {
        let mut rng = Rng::new(6);
        let values: Vec<f32> = (0..40 * 300).map(|_| rng.gaussian()).collect();
        let vectors = Vectors {
            values: &values,
            dimensions: 300,
        };
        let projected = project(vectors, 128, 3);
        let flat = Vectors {
            values: &projected,
            dimensions: 128,
        };
        for i in 1..40 {
            let ratio =
                distance(flat.row(0), flat.row(i)) / distance(vectors.row(0), vectors.row(i));
            assert!((0.5..1.7).contains(&ratio), "{ratio}");
        }
    }
}
