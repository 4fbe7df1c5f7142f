//! The same picture saved again: not equal to the byte, but no picture of another part either. Two
//! exposures have each their own noise; a picture that was saved again keeps the one it had.

use super::pictures::Facts;
use rayon::prelude::*;

/// Only pictures whose small pictures are nearer than this are compared in full, grey levels.
const LEVELS: f32 = 2.0;
/// The noise of a copy differs by less than this part of what it usually differs by in the set.
const NEARER: f32 = 0.3;
/// Least correlation of the noise of a copy.
const ALIKE: f32 = 0.6;
/// Sets of more pictures are not looked at: the work grows with the square.
const MOST: usize = 6000;
/// Pairs behind what is usual in a set.
const USUAL: usize = 400;

/// Root of the mean square difference of two small pictures.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    let squares: f32 = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum();
    (squares / a.len().max(1) as f32).sqrt()
}

/// Correlation of what two pictures have besides the means around their pixels; 0 for different
/// sizes and for flat pictures.
fn correlation(a: &Facts, b: &Facts) -> f32 {
    if a.size != b.size {
        return 0.0;
    }
    let dot = |a: &[i8], b: &[i8]| -> i64 {
        a.iter()
            .zip(b)
            .map(|(&a, &b)| i64::from(i32::from(a) * i32::from(b)))
            .sum()
    };
    let (aa, bb) = (dot(&a.grain, &a.grain), dot(&b.grain, &b.grain));
    if aa == 0 || bb == 0 {
        return 0.0;
    }
    (dot(&a.grain, &b.grain) as f64 / (aa as f64 * bb as f64).sqrt()) as f32
}

/// The median correlation of pictures of the set that are no neighbours in it.
fn usual(facts: &[Facts]) -> f32 {
    let n = facts.len();
    // Steps around the set, each picture with others in turn.
    let pairs: Vec<(usize, usize)> = (0..USUAL.min(n * n))
        .map(|i| (i % n, (i % n + 2 + i / n) % n))
        .filter(|(a, b)| a != b)
        .collect();
    let mut all: Vec<f32> = pairs
        .par_iter()
        .map(|&(a, b)| correlation(&facts[a], &facts[b]))
        .collect();
    all.sort_by(f32::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(0.0).max(0.0)
}

/// Pairs of pictures, the smaller number first, that are probably one exposure.
pub(super) fn near_copies(facts: &[Facts]) -> Vec<(usize, usize)> {
    if facts.len() < 2 || facts.len() > MOST {
        return Vec::new();
    }
    let least = ALIKE.max(1.0 - NEARER * (1.0 - usual(facts)));
    let near = |a: usize, b: usize| {
        distance(&facts[a].small, &facts[b].small) < LEVELS
            && correlation(&facts[a], &facts[b]) > least
    };
    (0..facts.len())
        .into_par_iter()
        .flat_map_iter(|a| {
            (a + 1..facts.len())
                .filter(move |&b| near(a, b))
                .map(move |b| (a, b))
        })
        .collect()
}
