//! Every public metric and the distributions behind them against scikit-learn, scipy and plain
//! definitions (`tests/reference/metrics.py`, which says how to write the file again).

use super::distributions::{
    binomial_cdf, normal_upper_quantile, student_upper_quantile, tolerance_factor,
};
use super::intervals::clopper_pearson;
use super::{PixelScores, auroc_interval, f1_max, false_reject_rate_at_full_recall, image_auroc};
use serde::Deserialize;

#[derive(Deserialize)]
struct ImageCase {
    name: String,
    scores: Vec<f32>,
    defective: Vec<bool>,
    auroc: f64,
    f1: f64,
    false_reject_rate_at_full_recall: f64,
    standard_error: f64,
    low: f64,
    high: f64,
}

#[derive(Deserialize)]
struct Map {
    width: usize,
    height: usize,
    map: Vec<f32>,
    mask: Vec<u8>,
}

#[derive(Deserialize)]
struct PixelCase {
    name: String,
    images: Vec<Map>,
    components: usize,
    auroc: f64,
    f1: f64,
    aupro: f64,
}

#[derive(Deserialize)]
struct Proportion {
    count: u64,
    of: u64,
    low: f64,
    high: f64,
    upper: f64,
}

#[derive(Deserialize)]
struct Tail {
    k: u64,
    n: u64,
    p: f64,
    value: f64,
}

#[derive(Deserialize)]
struct Quantile {
    probability: f64,
    value: f64,
}

#[derive(Deserialize)]
struct Factor {
    n: u64,
    rate: f64,
    confidence: f64,
    value: f64,
}

#[derive(Deserialize)]
struct Reference {
    image: Vec<ImageCase>,
    pixel: Vec<PixelCase>,
    clopper_pearson: Vec<Proportion>,
    binomial_cdf: Vec<Tail>,
    normal_upper_quantile: Vec<Quantile>,
    tolerance_factor: Vec<Factor>,
}

fn reference() -> Reference {
    serde_json::from_str(include_str!("../../tests/reference/metrics.json")).unwrap()
}

#[track_caller]
fn close(ours: f64, theirs: f64, what: &str) {
    assert!(
        (ours - theirs).abs() < 1e-6,
        "{what}: {ours} is not {theirs}"
    );
}

#[track_caller]
fn relatively_close(ours: f64, theirs: f64, what: &str) {
    let error = (ours - theirs).abs() / theirs.abs().max(1e-300);
    assert!(
        ours == theirs || error < 1e-9,
        "{what}: {ours} is not {theirs}"
    );
}

#[test]
fn image_metrics() {
    for case in reference().image {
        let (scores, defective) = (&case.scores, &case.defective);
        close(
            image_auroc(scores, defective).unwrap(),
            case.auroc,
            &case.name,
        );
        close(f1_max(scores, defective).unwrap().f1, case.f1, &case.name);
        let rate = false_reject_rate_at_full_recall(scores, defective).unwrap();
        close(rate, case.false_reject_rate_at_full_recall, &case.name);
        let interval = auroc_interval(scores, defective).unwrap();
        close(interval.standard_error, case.standard_error, &case.name);
        close(interval.low, case.low, &case.name);
        close(interval.high, case.high, &case.name);
    }
}

#[test]
fn pixel_metrics() {
    for case in reference().pixel {
        let mut pixels = PixelScores::new();
        for image in &case.images {
            let (width, height) = (image.width, image.height);
            pixels.add(&image.map, &image.mask, width, height).unwrap();
        }
        assert_eq!(pixels.components(), case.components, "{}", case.name);
        let sorted = pixels.sort();
        close(sorted.auroc().unwrap(), case.auroc, &case.name);
        close(sorted.f1_max().unwrap().f1, case.f1, &case.name);
        close(sorted.aupro().unwrap(), case.aupro, &case.name);
    }
}

#[test]
fn distributions() {
    let reference = reference();
    for case in reference.clopper_pearson {
        let (low, high) = clopper_pearson(case.count, case.of, 0.95).unwrap();
        let what = format!("{} of {}", case.count, case.of);
        relatively_close(low, case.low, &what);
        relatively_close(high, case.high, &what);
        let upper = super::intervals::upper_limit(case.count, case.of, 0.95);
        relatively_close(upper, case.upper, &what);
    }
    for case in reference.binomial_cdf {
        let what = format!("P(B({}, {}) <= {})", case.n, case.p, case.k);
        relatively_close(binomial_cdf(case.k, case.n, case.p), case.value, &what);
    }
    for case in reference.normal_upper_quantile {
        let ours = normal_upper_quantile(case.probability);
        if case.value == 0.0 {
            assert!(ours.abs() < 1e-12);
        } else {
            relatively_close(ours, case.value, &format!("z({})", case.probability));
        }
    }
    for case in reference.tolerance_factor {
        let ours = tolerance_factor(case.n, case.rate, case.confidence);
        let what = format!("k({}, {}, {})", case.n, case.rate, case.confidence);
        relatively_close(ours, case.value, &what);
    }
}

#[test]
fn student_quantiles_are_those_of_scipy() {
    // scipy.stats.t.isf of SciPy 1.17.
    for (probability, degrees, want) in [
        (0.01, 15.0, 2.602_480_295_011_123),
        (0.05, 10.0, 1.812_461_122_811_676),
        (0.001, 4.0, 7.173_182_219_782_308_5),
        (0.005, 150.5, 2.608_891_031_493_093),
    ] {
        let found = student_upper_quantile(probability, degrees);
        assert!(
            (found / want - 1.0).abs() < 1e-9,
            "{probability} {degrees}: {found}"
        );
    }
}
