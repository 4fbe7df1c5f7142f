//! The search against plain sums, and in integers against floats.

use super::*;
use crate::seed::Rng;
use proptest::prelude::*;

fn brute(bank: &[f32], d: usize, x: &[f32], allowed: impl Fn(usize) -> bool) -> f64 {
    bank.chunks_exact(d)
        .enumerate()
        .filter(|(row, _)| allowed(*row))
        .map(|(_, c)| {
            c.iter()
                .zip(x)
                .map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2))
                .sum::<f64>()
                .sqrt()
        })
        .fold(f64::INFINITY, f64::min)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn every_kernel_finds_the_nearest_allowed_row(
        seed: u64, rows in 1usize..70, d in 1usize..40, cells in 1usize..30, masked: bool, threads in 1usize..4,
    ) {
        let mut rng = Rng::new(seed);
        let bank: Vec<f32> = (0..rows * d).map(|_| rng.gaussian()).collect();
        let features: Vec<f32> = (0..cells * d).map(|_| rng.gaussian()).collect();
        let mut mask = PositionMask::nothing(cells, rows);
        for cell in 0..cells {
            mask.allow(cell, rng.below(rows));
            for row in 0..rows {
                if rng.unit() < 0.3 { mask.allow(cell, row); }
            }
        }
        let packed = PackedBank::new(bank.clone(), d);
        let pool = Threads::new(threads).expect("threads");
        for kernel in Kernel::available() {
            let mut out = vec![Neighbour::default(); cells];
            packed.nearest_with(kernel, &features, masked.then_some(&mask), &pool, &mut out);
            for (cell, found) in out.iter().enumerate() {
                let allowed = |row: usize| !masked || mask.allows(cell, row);
                prop_assert!(allowed(found.row as usize));
                let want = brute(&bank, d, &features[cell * d..][..d], allowed);
                prop_assert!((f64::from(found.distance) - want).abs() <= 1e-5 * (1.0 + want),
                    "{:?} cell {}: {} against {}", kernel, cell, found.distance, want);
            }
        }
    }
}

#[test]
fn a_nan_feature_gives_a_nan_distance_and_no_panic() {
    let packed = PackedBank::new(vec![1.0, 2.0, 3.0, 4.0], 2);
    for kernel in Kernel::available() {
        let mut out = [Neighbour::default(); 2];
        let features = [f32::NAN, 0.0, 1.0, 2.0];
        packed.nearest_with(kernel, &features, None, &Threads::default(), &mut out);
        assert!(out[0].distance.is_nan());
        assert_eq!(
            out[1],
            Neighbour {
                row: 0,
                distance: 0.0
            }
        );
    }
}

/// A bank, cells and a mask that are hard on the bounds.
struct Hard {
    values: Vec<f32>,
    dimensions: usize,
    features: Vec<f32>,
    mask: Option<PositionMask>,
}

/// A number of a kind: `scale` is its size, small whole numbers tie.
fn number(rng: &mut Rng, kind: usize, scale: f32) -> f32 {
    scale
        * match kind {
            0 => rng.below(3) as f32 - 1.0,
            1 => rng.below(40) as f32 * rng.below(2) as f32,
            2 => rng.gaussian().max(0.0),
            _ => rng.gaussian(),
        }
}

/// One step of the last place up or down, or none.
fn nudged(rng: &mut Rng, v: f32) -> f32 {
    match rng.below(3) {
        0 => v.next_up(),
        1 => v.next_down(),
        _ => v,
    }
}

fn hard(seed: u64) -> Hard {
    let mut rng = Rng::new(seed);
    let rng = &mut rng;
    let up_to = [3, 40, 152, 600][rng.below(4)];
    let d = 1 + rng.below(up_to);
    let most = if d < 20 { 2600 } else { 150 };
    let up_to = rng.below(most);
    let rows = 1 + rng.below(1 + up_to);
    let cells = 1 + rng.below(70);
    let scale = match rng.below(4) {
        0 => 10f32.powi(rng.below(76) as i32 - 45),
        1 => 10f32.powi(rng.below(8) as i32 - 4),
        _ => 1.0,
    };
    let kind = rng.below(6);
    let offset = [0.0, 0.0, 1.0, 30.0, 3000.0][rng.below(5)] * scale;
    let mut values: Vec<f32> = (0..rows * d)
        .map(|_| number(rng, kind, scale) + offset)
        .collect();
    let copies = [0, 0, rows / 8, rows][rng.below(4)];
    for _ in 0..copies {
        let (from, to) = (rng.below(rows), rng.below(rows));
        values.copy_within(from * d..(from + 1) * d, to * d);
        if rng.below(2) == 0 {
            let k = to * d + rng.below(d);
            values[k] = nudged(rng, values[k]);
        }
    }
    match rng.below(12) {
        // Everything the same.
        0 => values.copy_within(..d, rng.below(rows) * d),
        1 => values.fill(offset),
        2 => values[rng.below(rows) * d..][..d].fill(0.0),
        3 => values[rng.below(rows) * d..][..d]
            .iter_mut()
            .for_each(|v| *v *= 50.0),
        4 if rng.below(3) == 0 => {
            let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, 1e-42];
            values[rng.below(rows * d)] = odd[rng.below(5)];
        }
        _ => {}
    }
    let mut features = Vec::with_capacity(cells * d);
    for _ in 0..cells {
        let (a, b) = (rng.below(rows) * d, rng.below(rows) * d);
        let way = rng.below(8);
        let far = [1.0, 1e-3, 1e-6, 100.0, 1e6][rng.below(5)] * scale;
        for k in 0..d {
            let (a, b) = (values[a + k], values[b + k]);
            features.push(match way {
                0 => a,
                1 => 0.5 * (a + b),
                2 => nudged(rng, 0.5 * (a + b)),
                3 => 0.0,
                4 => offset,
                5 => a + far * rng.gaussian(),
                _ => number(rng, kind, scale) + offset,
            });
        }
        if rng.below(20) == 0 {
            let odd = [
                f32::NAN,
                f32::INFINITY,
                f32::NEG_INFINITY,
                f32::MAX,
                -1e38,
                1e-42,
            ];
            let at = features.len() - 1 - rng.below(d);
            features[at] = odd[rng.below(6)];
        }
    }
    let share = [0.0, 0.01, 0.3, 1.0][rng.below(4)];
    let masked = rng.below(2) == 0;
    let mask = masked.then(|| {
        let mut mask = PositionMask::nothing(cells, rows);
        for cell in 0..cells {
            if rng.below(10) > 0 {
                mask.allow(cell, rng.below(rows));
            }
            for row in 0..rows {
                if rng.unit() < share {
                    mask.allow(cell, row);
                }
            }
        }
        mask
    });
    Hard {
        values,
        dimensions: d,
        features,
        mask,
    }
}

fn bits(of: &[Neighbour]) -> Vec<(u32, u32)> {
    let distance = |n: &Neighbour| {
        if n.distance.is_nan() {
            u32::MAX
        } else {
            n.distance.to_bits()
        }
    };
    of.iter().map(|n| (n.row, distance(n))).collect()
}

/// Whether integers were used at all. One pair of kernels a seed, or every.
fn integers_find_what_floats_find(seed: u64, threads: &Threads, every: bool) -> bool {
    let case = hard(seed);
    let d = case.dimensions;
    let mut used = false;
    let kinds = IntegerKernel::available().len() * Kernel::available().len();
    let mut kind = 0;
    for integers in IntegerKernel::available() {
        let bank = PackedBank::with(case.values.clone(), d, Some(integers));
        used |= bank.integers.is_some();
        for kernel in Kernel::available() {
            kind += 1;
            if !every && kind - 1 != seed as usize % kinds {
                continue;
            }
            let search = |integers: Option<&IntegerBank>, threads: &Threads| {
                let mut out = vec![Neighbour::default(); case.features.len() / d];
                bank.search(
                    kernel,
                    integers,
                    &case.features,
                    case.mask.as_ref(),
                    threads,
                    &mut out,
                );
                bits(&out)
            };
            let want = search(None, &Threads::default());
            let got = search(bank.integers.as_ref(), threads);
            assert_eq!(got, want, "seed {seed}: {integers:?}, {kernel:?}");
        }
    }
    used
}

#[test]
fn hard_cases_in_integers_are_as_in_floats() {
    let pool = Threads::new(3).expect("threads");
    let used = (0..150)
        .filter(|seed| integers_find_what_floats_find(*seed, &pool, true))
        .count();
    assert!(used > 75, "{used} of 150 banks in integers");
}

#[test]
#[ignore = "takes long"]
fn many_hard_cases_in_integers_are_as_in_floats() {
    for seed in 1000..101_000 {
        integers_find_what_floats_find(seed, &Threads::default(), false);
    }
}

#[test]
fn most_cells_have_few_candidates() {
    let (rows, d, cells) = (3000, 64, 64);
    let mut rng = Rng::new(5);
    let values: Vec<f32> = (0..rows * d).map(|_| rng.gaussian().max(0.0)).collect();
    let features: Vec<f32> = values
        .iter()
        .map(|v| v + 0.2 * rng.gaussian())
        .take(cells * d)
        .collect();
    for kernel in IntegerKernel::available() {
        let bank = PackedBank::with(values.clone(), d, Some(kernel));
        let integers = bank.integers.as_ref().expect("integers");
        let ask = Ask {
            bank: &bank,
            kernel: Kernel::best(),
            features: &features,
            mask: None,
        };
        let mut scratch = bank.spare.take(integers);
        let mut total = (0, 0, 0);
        for first in (0..cells).step_by(CELLS) {
            let mut out = [Neighbour::default(); CELLS];
            integers.serve(&ask, first, &mut out, &mut scratch);
            let counts = scratch.counts(CELLS);
            total = (total.0 + counts.0, total.1 + counts.1, total.2 + counts.2);
            for (i, found) in out.iter().enumerate() {
                assert_eq!(found.row as usize, first + i);
            }
        }
        assert!(total.0 < 4 * cells && total.2 == 0, "{kernel:?}: {total:?}");
    }
}
