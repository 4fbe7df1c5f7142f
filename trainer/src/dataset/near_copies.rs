//! The same picture saved again: not equal to the byte, but no other picture of another part either.

use super::pictures::Facts;
use rayon::prelude::*;

/// Pictures that are nearer to each other than this part of what pictures of a set usually are...
const NEARER: f32 = 0.2;
/// ... and nearer than so many grey levels, as a root mean square over the small pictures.
const LEVELS: f32 = 1.5;
/// Sets of more pictures are not looked at: the work grows with the square.
const MOST: usize = 6000;

fn distance(a: &[f32], b: &[f32]) -> f32 {
    let squares: f32 = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum();
    (squares / a.len().max(1) as f32).sqrt()
}

/// Pairs of pictures, the smaller number first, that are far nearer to each other than the pictures
/// of the set usually are.
pub(super) fn near_copies(facts: &[Facts]) -> Vec<(usize, usize)> {
    if facts.len() > MOST {
        return Vec::new();
    }
    // Each picture's own usual distance: the lower quartile over the others. A part in a fixture is
    // near to all others, and its copy nearer still.
    let usual: Vec<f32> = facts
        .par_iter()
        .enumerate()
        .map(|(index, fact)| {
            let others = facts.iter().enumerate().filter(|(other, _)| *other != index);
            let mut all: Vec<f32> =
                others.map(|(_, other)| distance(&fact.small, &other.small)).collect();
            all.sort_by(f32::total_cmp);
            // Few pictures say nothing about what is usual.
            all.get(all.len() / 4).copied().filter(|_| all.len() >= 4).unwrap_or(0.0)
        })
        .collect();
    let near = |a: usize, b: usize| {
        let apart = distance(&facts[a].small, &facts[b].small);
        apart < LEVELS && apart < NEARER * usual[a].min(usual[b])
    };
    (0..facts.len())
        .into_par_iter()
        .flat_map_iter(|a| (a + 1..facts.len()).filter(move |&b| near(a, b)).map(move |b| (a, b)))
        .collect()
}
