//! Coverage of the bounds, by simulation and against references.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::metrics::distributions::normal_survival;
use serde::Deserialize;

#[derive(Deserialize)]
struct Rank {
    n: usize,
    rate: f64,
    confidence: f64,
    k: usize,
}

#[derive(Deserialize)]
struct Reference {
    order_statistic: Vec<Rank>,
}

/// A population: its name, a draw from it and the share of it above a value.
struct Population {
    name: &'static str,
    draw: fn(&mut Rng) -> f64,
    survival: fn(f64) -> f64,
}

fn exponential(rng: &mut Rng) -> f64 {
    -uniform(rng).ln()
}

/// Box-Muller: `Rng::gaussian` has no tails to extrapolate.
fn normal(rng: &mut Rng) -> f64 {
    (2.0 * exponential(rng)).sqrt() * (std::f64::consts::TAU * uniform(rng)).cos()
}

fn erlang(shape: u32, x: f64) -> f64 {
    let mut term = 1.0;
    let mut sum = 1.0;
    for i in 1..shape {
        term *= x / f64::from(i);
        sum += term;
    }
    (-x).exp() * sum
}

const POPULATIONS: [Population; 11] = [
    Population {
        name: "log-normal 0.15",
        draw: |r| (0.15 * normal(r)).exp(),
        survival: |x| normal_survival(x.ln() / 0.15),
    },
    Population {
        name: "log-normal 0.3",
        draw: |r| (0.3 * normal(r)).exp(),
        survival: |x| normal_survival(x.ln() / 0.3),
    },
    Population {
        name: "log-normal 0.6",
        draw: |r| (0.6 * normal(r)).exp(),
        survival: |x| normal_survival(x.ln() / 0.6),
    },
    Population {
        name: "log-normal 1",
        draw: |r| normal(r).exp(),
        survival: |x| normal_survival(x.ln()),
    },
    Population {
        name: "normal 8 +- 1",
        draw: |r| 8.0 + normal(r),
        survival: |x| normal_survival(x - 8.0),
    },
    Population {
        name: "gamma 2",
        draw: |r| exponential(r) + exponential(r),
        survival: |x| erlang(2, x),
    },
    Population {
        name: "gamma 20",
        draw: |r| (0..20).map(|_| exponential(r)).sum(),
        survival: |x| erlang(20, x),
    },
    Population {
        name: "exponential",
        draw: exponential,
        survival: |x| (-x).exp(),
    },
    Population {
        name: "uniform",
        draw: |r| uniform(r),
        survival: |x| (1.0 - x).max(0.0),
    },
    Population {
        name: "Pareto tail 0.3",
        draw: |r| (0.3 * exponential(r)).exp_m1() / 0.3,
        survival: |x| (1.0 + 0.3 * x).powf(-1.0 / 0.3),
    },
    Population {
        name: "3 % at 1.5 x",
        draw: |r| (0.1 * normal(r)).exp() * if uniform(r) < 0.03 { 1.5 } else { 1.0 },
        survival: |x| {
            0.97 * normal_survival(x.ln() / 0.1) + 0.03 * normal_survival((x / 1.5).ln() / 0.1)
        },
    },
];

fn population(name: &str) -> &'static Population {
    POPULATIONS.iter().find(|p| p.name == name).unwrap()
}

fn sample(population: &Population, n: usize, repetition: u64) -> Vec<f32> {
    let mut rng = Rng::stream(repetition, n as u64);
    (0..n).map(|_| (population.draw)(&mut rng) as f32).collect()
}

/// Threshold whose true exceedance is `share`.
fn quantile(population: &Population, share: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1e6);
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if (population.survival)(middle) > share {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// Share of repetitions in which the threshold keeps the rate, and the median width.
fn coverage(
    population: &Population,
    n: usize,
    rate: f64,
    repetitions: u64,
    threshold: impl Fn(&[f32], u64) -> f64,
) -> (f64, f64) {
    let (middle, truth) = (quantile(population, 0.5), quantile(population, rate));
    let mut kept = 0.0;
    let mut widths: Vec<f64> = (0..repetitions)
        .map(|repetition| {
            let at = threshold(&sample(population, n, repetition), repetition);
            kept += f64::from((population.survival)(at) <= rate);
            (at - middle) / (truth - middle)
        })
        .collect();
    widths.sort_unstable_by(f64::total_cmp);
    (kept / repetitions as f64, widths[widths.len() / 2])
}

fn tail_threshold(scores: &[f32], rate: f64, seed: u64, replicates: u64) -> f64 {
    let sample = Sample::new(scores, 0.95).unwrap();
    let found = sample.pareto_tail(rate, seed, replicates).unwrap();
    found.threshold.max(sample.largest())
}

fn tolerance_threshold(scores: &[f32], factor: f64) -> f64 {
    let sample = Sample::new(scores, 0.95).unwrap();
    let found = sample.log_normal(factor).unwrap();
    found.threshold.max(sample.largest())
}

#[test]
fn ranks_agree_with_scipy() {
    let reference: Reference =
        serde_json::from_str(include_str!("../../../tests/reference/metrics.json")).unwrap();
    for case in reference.order_statistic {
        let rank = order_statistic_rank(case.n, case.rate, case.confidence);
        let what = format!("n {}, {}, {}", case.n, case.rate, case.confidence);
        assert_eq!(rank.unwrap_or(0), case.k, "{what}");
        let needed = needed_for_order_statistic(case.rate, case.confidence);
        assert_eq!(rank.is_some(), case.n >= needed, "{what}, needed {needed}");
    }
    assert_eq!(needed_for_order_statistic(0.001, 0.95), 2995);
    assert_eq!(needed_for_order_statistic(0.01, 0.95), 299);
    assert_eq!(needed_for_order_statistic(0.0, 0.95), usize::MAX);
    assert_eq!(needed_for_order_statistic(1.0, 0.95), 1);
}

#[test]
fn order_statistics_cover_every_population() {
    // 600 repetitions: a true coverage of 0.95 stays above 0.92 but once in a thousand.
    for population in &POPULATIONS {
        for (n, rate) in [(60, 0.05), (300, 0.01), (500, 0.05)] {
            let (kept, _) = coverage(population, n, rate, 600, |scores, seed| {
                let bound = bound(scores, rate, 0.95, seed).unwrap();
                assert_eq!(bound.method, BoundMethod::OrderStatistic);
                assert!(bound.stated_rate <= rate);
                f64::from(bound.threshold)
            });
            assert!(kept >= 0.92, "{} n {n}: {kept}", population.name);
        }
    }
}

#[test]
fn the_maximum_covers_what_it_states() {
    for population in &POPULATIONS {
        for n in [2, 5, 30] {
            let (scores, rate) = (sample(population, n, 0), 0.95f64);
            let stated = maximum(&scores, 0.001, rate).unwrap().stated_rate;
            assert!((stated - (1.0 - 0.05f64.powf(1.0 / n as f64))).abs() < 1e-12);
            let (kept, _) = coverage(population, n, stated, 600, |scores, _| {
                f64::from(maximum(scores, 0.001, 0.95).unwrap().threshold)
            });
            assert!(kept >= 0.92, "{} n {n}: {kept}", population.name);
        }
    }
}

#[test]
fn fitted_tails_cover_what_their_documentation_says() {
    // Fewer repetitions and bootstrap samples than behind the documented table; the floors
    // leave three standard errors.
    for (name, n, floor) in [
        ("log-normal 0.3", 200, 0.94),
        ("log-normal 0.6", 200, 0.89),
        ("log-normal 1", 200, 0.74),
        ("gamma 2", 200, 0.94),
        ("uniform", 200, 0.94),
        ("log-normal 0.3", 760, 0.94),
        ("log-normal 0.6", 760, 0.89),
        ("log-normal 1", 760, 0.80),
        ("gamma 2", 760, 0.94),
    ] {
        let (kept, width) = coverage(population(name), n, 0.001, 200, |scores, seed| {
            tail_threshold(scores, 0.001, seed, 300)
        });
        assert!(kept >= floor, "{name} n {n}: {kept}");
        assert!(width < 2.2, "{name} n {n}: width {width}");
    }
}

#[test]
fn log_normal_tolerance_is_exact_for_log_normal_scores() {
    for n in [8, 20, 50] {
        let factor = tolerance_factor(n as u64, 0.001, 0.95);
        for (name, at_least, at_most) in [("log-normal 0.3", 0.92, 0.975), ("uniform", 0.95, 1.0)] {
            let (kept, _) = coverage(population(name), n, 0.001, 600, |scores, _| {
                tolerance_threshold(scores, factor)
            });
            assert!((at_least..=at_most).contains(&kept), "{name} n {n}: {kept}");
        }
    }
}

#[test]
#[ignore = "writes the documented table: cargo test -- --ignored --nocapture coverage_table"]
fn coverage_table() {
    for population in &POPULATIONS {
        print!("{:16}", population.name);
        for n in [100, 200, 400, 760, 2000] {
            let (kept, width) = coverage(population, n, 0.001, 1000, |scores, seed| {
                tail_threshold(scores, 0.001, seed, 1000)
            });
            print!(" | {n}: {:.1} {width:.2}", 100.0 * kept);
        }
        print!(" || log-normal");
        for n in [8, 20, 50, 99] {
            let factor = tolerance_factor(n as u64, 0.001, 0.95);
            let (kept, width) = coverage(population, n, 0.001, 1000, |scores, _| {
                tolerance_threshold(scores, factor)
            });
            print!(" | {n}: {:.1} {width:.2}", 100.0 * kept);
        }
        println!();
    }
}

#[test]
fn the_number_of_images_decides_the_method() {
    let population = population("gamma 20");
    for (n, method) in [
        (2, BoundMethod::Maximum),
        (7, BoundMethod::Maximum),
        (8, BoundMethod::LogNormalTolerance),
        (99, BoundMethod::LogNormalTolerance),
        (100, BoundMethod::GeneralisedParetoTail),
        (2994, BoundMethod::GeneralisedParetoTail),
        (2995, BoundMethod::OrderStatistic),
    ] {
        let scores = sample(population, n, 1);
        let found = bound(&scores, 0.001, 0.95, 7).unwrap();
        assert_eq!((found.method, found.n), (method, n as u32));
        let largest = scores.iter().copied().fold(0.0, f32::max);
        assert!(found.threshold >= largest, "{found:?}");
        assert!(found.distribution_free_rate >= found.stated_rate);
        let mut reversed = scores.clone();
        reversed.reverse();
        assert_eq!(bound(&reversed, 0.001, 0.95, 7).unwrap(), found);
    }
}

#[test]
fn notes_say_what_is_missing() {
    let scores = sample(population("gamma 20"), 200, 1);
    let note = bound(&scores, 0.001, 0.95, 7).unwrap().note;
    assert!(note.starts_with("200 good images are too few"), "{note}");
    assert!(note.contains("0.1 %") && note.contains("2995"), "{note}");
    assert!(note.contains("at most 1.49 % is certain with 95 % confidence"));
    let note = bound(&scores[..5], 0.001, 0.95, 7).unwrap().note;
    assert!(note.contains("at most 45.1 %"), "{note}");
    assert!(note.contains("2995 good images would be needed for 0.1 %"));
    let note = maximum(&scores, 0.1, 0.95).unwrap().note;
    assert!(!note.contains("needed"), "{note}");
    assert_eq!(percent(0.00001), "0.001 %");
    assert_eq!(percent(1.0), "100 %");
    assert_eq!(percent(0.123_41), "12.4 %");
}

#[test]
fn scores_without_spread_or_with_zeros_are_handled() {
    for n in [2, 30, 200, 3000] {
        for value in [0.0, 1.5] {
            let found = bound(&vec![value; n], 0.001, 0.95, 1).unwrap();
            assert_eq!(found.threshold, value);
            assert!(n == 3000 || found.method == BoundMethod::Maximum);
            assert!(n == 3000 || found.stated_rate > 0.001);
        }
    }
    let mut scores = sample(population("log-normal 0.3"), 30, 2);
    let without = bound(&scores, 0.001, 0.95, 1).unwrap();
    scores[..3].fill(0.0);
    let with = bound(&scores, 0.001, 0.95, 1).unwrap();
    assert_eq!(with.method, BoundMethod::LogNormalTolerance);
    assert!(with.threshold > without.threshold);
    assert!(with.note.contains("3 scores of 0"), "{}", with.note);
    // Too wide for a number: another method, not an infinite threshold.
    let wide: Vec<f32> = (0..8).map(|i| 10f32.powi(10 * (i % 8) - 37)).collect();
    let found = bound(&wide, 0.001, 0.95, 1).unwrap();
    assert_eq!(found.method, BoundMethod::Maximum);
}

#[test]
fn improper_input_is_refused_by_name() {
    let good = [1.0, 2.0];
    assert_eq!(
        bound(&[1.0], 0.001, 0.95, 0),
        Err(ThresholdError::TooFew { given: 1 })
    );
    assert!(maximum(&[], 0.001, 0.95).is_err());
    assert_eq!(
        bound(&[1.0, f32::INFINITY], 0.001, 0.95, 0),
        Err(ThresholdError::NotFinite {
            index: 1,
            value: f32::INFINITY
        })
    );
    assert!(bound(&[f32::NAN, 1.0], 0.001, 0.95, 0).is_err());
    assert_eq!(
        bound(&[1.0, -0.5], 0.001, 0.95, 0),
        Err(ThresholdError::Negative {
            index: 1,
            value: -0.5
        })
    );
    for rate in [0.0, -1.0, 0.5, f64::NAN] {
        assert!(bound(&good, rate, 0.95, 0).is_err());
    }
    for confidence in [0.4, 1.0, f64::NAN] {
        assert!(bound(&good, 0.001, confidence, 0).is_err());
    }
}

/// Mean share of the population above the threshold for `budget`.
fn share_above(population: &Population, n: usize, budget: f64, repetitions: u64) -> f64 {
    let sum: f64 = (0..repetitions)
        .map(|repetition| {
            let scores = sample(population, n, repetition);
            let bound = budget::threshold(&scores, budget, 0.95).unwrap();
            (population.survival)(f64::from(bound.threshold))
        })
        .sum();
    sum / repetitions as f64
}

#[test]
fn counted_budgets_are_kept_on_average_in_every_population() {
    for population in &POPULATIONS {
        for (n, budget) in [(60, 0.05), (300, 0.01), (301, 0.02)] {
            let scores = sample(population, n, 0);
            let method = budget::threshold(&scores, budget, 0.95).unwrap().method;
            assert_eq!(method, BoundMethod::BudgetQuantile);
            // The rank is a whole number, so the mean is at most 1 / (n + 1) below the budget. 800
            // repetitions leave a standard error of 2 % of it.
            let mean = share_above(population, n, budget, 800);
            let low = budget - 1.0 / (n as f64 + 1.0);
            assert!(
                mean < 1.08 * budget && mean > 0.92 * low,
                "{} n {n}: {mean} for {budget}",
                population.name
            );
        }
    }
}

#[test]
fn few_images_come_nearer_to_the_budget_than_their_largest_score() {
    // The largest of n scores has 1 / (n + 1) of the population above it: 6.7, 3.2 and 1 %.
    for name in [
        "log-normal 0.3",
        "gamma 20",
        "normal 8 +- 1",
        "log-normal 0.6",
    ] {
        for n in [14, 30, 100] {
            let mean = share_above(population(name), n, 0.01, 1500);
            assert!(mean > 0.006 && mean < 0.013, "{name} n {n}: {mean}");
        }
    }
}

#[test]
fn budgets_say_what_they_can_and_cannot_prove() {
    let scores = sample(population("gamma 20"), 30, 1);
    let few = budget::threshold(&scores, 0.01, 0.95).unwrap();
    assert_eq!(few.method, BoundMethod::BudgetLine);
    assert_eq!((few.rate, few.n), (0.01, 30));
    assert!(few.stated_rate >= 0.095, "{few:?}");
    assert!(few.note.contains("300 would be needed"), "{}", few.note);
    let strict = budget::threshold(&scores, 0.001, 0.95).unwrap();
    let loose = budget::threshold(&scores, 0.05, 0.95).unwrap();
    assert!(strict.threshold > few.threshold && few.threshold > loose.threshold);
    let tiny = budget::threshold(&scores[..5], 0.01, 0.95).unwrap();
    assert_eq!(tiny.method, BoundMethod::Maximum);
    for value in [0.0, 2.0] {
        let equal = budget::threshold(&[value; 30], 0.01, 0.95).unwrap();
        assert_eq!(
            (equal.method, equal.threshold),
            (BoundMethod::Maximum, value)
        );
    }
    for budget in [0.0, 0.5, -0.01, f64::NAN] {
        assert!(budget::threshold(&scores, budget, 0.95).is_err());
    }
}

#[test]
#[ignore = "writes the documented table: cargo test -- --ignored --nocapture budget_table"]
fn budget_table() {
    for population in &POPULATIONS {
        print!("    /// | {:16}", population.name);
        for n in [8, 14, 30, 60, 100, 200] {
            let at = |budget| 100.0 * share_above(population, n, budget, 4000);
            print!(" | {:.2} / {:.1} / {:.1}", at(0.001), at(0.01), at(0.05));
        }
        println!(" |");
    }
}
