//! Golden parity: does this machine get the trainer's results on the bundle's own images?

use super::manifest::{COARSE_SIDE, Golden, Parity};
use crate::size::Size;
use crate::verdict::Verdict;
use serde::Serialize;

/// Means of a map of `size` over [`COARSE_SIDE`] x [`COARSE_SIDE`] rectangles: small enough to ship, fine
/// enough to show a map that moved or was mirrored.
pub fn coarse(map: &[f32], size: Size) -> Vec<f32> {
    let edge = |i: usize, side: usize| i * side / COARSE_SIDE;
    let mut out = Vec::with_capacity(COARSE_SIDE * COARSE_SIDE);
    for row in 0..COARSE_SIDE {
        for column in 0..COARSE_SIDE {
            let (mut sum, mut count) = (0.0f64, 0u32);
            let columns = edge(column, size.width)..edge(column + 1, size.width);
            for y in edge(row, size.height)..edge(row + 1, size.height) {
                for &v in &map[y * size.width..][columns.clone()] {
                    sum += f64::from(v);
                    count += 1;
                }
            }
            out.push((sum / f64::from(count.max(1))) as f32);
        }
    }
    out
}

/// One golden image inspected here, with the trainer's results.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GoldenOutcome {
    /// The golden's name.
    pub name: String,
    /// The trainer's score.
    pub expected_score: f32,
    /// This machine's score.
    pub score: f32,
    /// `|score - expected| / expected`.
    pub relative_difference: f32,
    /// The trainer's verdict.
    pub expected_verdict: Verdict,
    /// This machine's verdict.
    pub verdict: Verdict,
    /// Pearson correlation of the coarse maps.
    pub map_correlation: f32,
    /// Whether all three agree within the bundle's bounds.
    pub agrees: bool,
}

fn correlation(a: &[f32], b: &[f32]) -> f32 {
    let n = a.len() as f64;
    let mean = |v: &[f32]| v.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
    let (ma, mb) = (mean(a), mean(b));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (&x, &y) in a.iter().zip(b) {
        let (x, y) = (f64::from(x) - ma, f64::from(y) - mb);
        ab += x * y;
        aa += x * x;
        bb += y * y;
    }
    if aa == 0.0 && bb == 0.0 {
        return 1.0; // two flat maps
    }
    (ab / (aa * bb).sqrt()) as f32
}

/// Compares an inspected golden image with what the bundle holds. A value that is not a number
/// disagrees.
pub fn compare(
    golden: &Golden,
    parity: Parity,
    score: f32,
    verdict: Verdict,
    coarse_map: &[f32],
) -> GoldenOutcome {
    let difference = (score - golden.score).abs();
    let relative = if difference == 0.0 {
        0.0
    } else {
        difference / golden.score.abs()
    };
    let map_correlation = correlation(&golden.coarse_map, coarse_map);
    GoldenOutcome {
        name: golden.name.clone(),
        expected_score: golden.score,
        score,
        relative_difference: relative,
        expected_verdict: golden.verdict,
        verdict,
        map_correlation,
        agrees: relative <= parity.score_relative
            && verdict == golden.verdict
            && map_correlation >= parity.map_correlation,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::product::GoldenKind;

    #[test]
    fn disagreement_in_any_of_the_three_shows() {
        let size = Size::new(40, 72); // no multiples of the coarse side
        let map: Vec<f32> = (0..size.area()).map(|i| (i % size.width) as f32).collect();
        let golden = Golden {
            name: "g".into(),
            kind: GoldenKind::Good,
            section: 0,
            score: 2.0,
            verdict: Verdict::Ok,
            coarse_map: coarse(&map, size),
        };
        let parity = Parity {
            score_relative: 1e-3,
            map_correlation: 0.999,
        };
        let same = coarse(&map, size);
        assert!(compare(&golden, parity, 2.001, Verdict::Ok, &same).agrees);
        assert!(!compare(&golden, parity, 2.01, Verdict::Ok, &same).agrees);
        assert!(!compare(&golden, parity, f32::NAN, Verdict::Ok, &same).agrees);
        assert!(!compare(&golden, parity, 2.0, Verdict::Unknown, &same).agrees);
        let mirrored: Vec<f32> = map.iter().map(|v| 40.0 - v).collect();
        let turned = compare(&golden, parity, 2.0, Verdict::Ok, &coarse(&mirrored, size));
        assert!(!turned.agrees && turned.map_correlation < -0.99);
        let broken = vec![f32::NAN; COARSE_SIDE * COARSE_SIDE];
        assert!(!compare(&golden, parity, 2.0, Verdict::Ok, &broken).agrees);
    }
}
