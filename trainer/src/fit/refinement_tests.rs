use super::*;

const GRID: Size = Size::new(10, 6);
const D: usize = 6;
const CELLS: usize = GRID.area();

fn shape(precision: Precision) -> RefinementShape {
    RefinementShape {
        grid: GRID,
        dimensions: D as u32,
        channels: 8,
        blocks: 2,
        precision,
    }
}

fn learning(steps: usize) -> Learning {
    Learning {
        steps,
        rate: 1e-2,
        seed: 7,
        stream: 3,
    }
}

/// Noise; a damaged image has a spot that the scores hardly show and two features give away.
fn images(count: usize, seed: u64) -> Vec<(Vec<f32>, Vec<f32>, Vec<f32>)> {
    let mut rng = Rng::new(seed);
    (0..count)
        .map(|index| {
            let (top, left) = (rng.below(GRID.height - 2), rng.below(GRID.width - 2));
            let mut features: Vec<f32> =
                (0..CELLS * D).map(|_| 3.0 + 2.0 * rng.gaussian()).collect();
            let mut scores: Vec<f32> = (0..CELLS).map(|_| 10.0 * rng.between(0.3, 1.0)).collect();
            let mut changed = vec![0.0; CELLS];
            if index % 2 == 1 {
                for cell in (0..4).map(|i| (top + i / 2) * GRID.width + left + i % 2) {
                    changed[cell] = rng.between(0.4, 1.0);
                    features[cell * D + 1] += 6.0;
                    features[cell * D + 4] -= 6.0;
                    scores[cell] += 0.5;
                }
            }
            (features, scores, changed)
        })
        .collect()
}

fn samples(images: &[(Vec<f32>, Vec<f32>, Vec<f32>)]) -> Vec<Sample<'_>> {
    let numbered = images.iter().enumerate();
    numbered
        .map(|(i, (features, scores, changed))| Sample {
            features,
            scores: scores.clone(),
            changed: changed.clone(),
            group: i / 2,
        })
        .collect()
}

fn trained(precision: Precision, steps: usize) -> RefinementModel {
    let images = images(40, 1);
    RefinementModel::train(
        &samples(&images),
        shape(precision),
        9.0,
        &learning(steps),
        &|| {},
    )
}

fn highest(cells: &[f32]) -> f32 {
    cells.iter().copied().fold(0.0, f32::max)
}

#[test]
fn the_float_file_computes_what_was_trained() {
    let model = trained(Precision::F32, 60);
    let mut refiner = model.refiner(1.0, &Threads::default()).unwrap();
    let device = Device::flex();
    let layers = model.layers.clone().to_device(&device);
    for (mut features, scores, _) in images(4, 2) {
        // Beyond the range of the inputs too.
        features[7] = 900.0;
        features[100] = -900.0;
        let image = std::iter::once((&features[..], &scores[..]));
        let stages = layers.forward(model.input(image, &device), &model.shape);
        let mut refined = scores.clone();
        refiner.run(&features, &mut refined).unwrap();
        for ((&score, correction), &got) in
            scores.iter().zip(values(stages.correction)).zip(&refined)
        {
            // The runtime only lifts.
            let want = score / model.scale + correction.max(0.0);
            assert!(
                (want - got / model.scale).abs() < 1e-5,
                "{want} {}",
                got / model.scale
            );
        }
    }
}

#[test]
fn the_int8_file_is_close_and_leaves_the_score_alone() {
    let (float, int8) = (trained(Precision::F32, 150), trained(Precision::Int8, 150));
    let mut float = float.refiner(1.0, &Threads::default()).unwrap();
    let mut int8 = int8.refiner(1.0, &Threads::default()).unwrap();
    assert!(int8.kernels().rounded_activations > 0);
    let (mut square, mut most) = (0.0f32, 0.0f32);
    let pictures = images(8, 3);
    for (features, scores, _) in &pictures {
        let (mut a, mut b) = (scores.clone(), scores.clone());
        float.run(features, &mut a).unwrap();
        int8.run(features, &mut b).unwrap();
        for (a, b) in a.iter().zip(&b) {
            let off = (a - b).abs() / 9.0;
            square += off * off;
            most = most.max(off);
        }
    }
    let off = (square / (pictures.len() * CELLS) as f32).sqrt();
    assert!(off < 0.02 && most < 0.15, "{off} {most}");
    // An untrained network corrects nothing, in int8 neither.
    let mut untrained = trained(Precision::Int8, 0)
        .refiner(1.0, &Threads::default())
        .unwrap();
    let (features, scores, _) = &pictures[0];
    let mut refined = scores.clone();
    untrained.run(features, &mut refined).unwrap();
    for (score, refined) in scores.iter().zip(&refined) {
        assert!((score - refined).abs() < 1e-5, "{score} {refined}");
    }
}

#[test]
fn what_the_features_give_away_raises_the_separation() {
    let pictures = images(48, 4);
    let samples = samples(&pictures);
    let calls = std::sync::atomic::AtomicUsize::new(0);
    let refined = held_out(
        &samples,
        3,
        &|group| group % 3,
        shape(Precision::Int8),
        9.0,
        &learning(150),
        &|| {
            calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        },
    )
    .unwrap();
    assert_eq!(calls.into_inner(), 3 * 150);
    let held: Vec<HeldOutImage<'_>> = samples
        .iter()
        .zip(&refined)
        .map(|(sample, refined)| HeldOutImage {
            damaged: sample.damaged(),
            partitions: vec![HeldOutCells {
                original: &sample.scores,
                refined,
            }],
        })
        .collect();
    let choice = choose_weight(&held, &mut highest).unwrap();
    let (plain, taken) = (choice.figures[0], choice.taken());
    assert!(plain.separation < 0.7 && plain.caught < 0.5, "{choice:?}");
    assert!(taken.separation > 0.85 && taken.caught > 0.7, "{choice:?}");
    assert!(choice.weight > 0.0);
}

#[test]
fn a_network_that_only_adds_noise_gets_no_weight() {
    let mut rng = Rng::new(5);
    let pictures = images(24, 6);
    let refined: Vec<Vec<f32>> = pictures
        .iter()
        .map(|(_, scores, _)| {
            scores
                .iter()
                .map(|s| s + 5.0 * rng.gaussian().abs())
                .collect()
        })
        .collect();
    let held: Vec<HeldOutImage<'_>> = pictures
        .iter()
        .zip(&refined)
        .enumerate()
        .map(|(i, ((_, original, _), refined))| HeldOutImage {
            damaged: i % 2 == 1,
            partitions: vec![HeldOutCells {
                original,
                // The goods get the noise.
                refined: if i % 2 == 1 { original } else { refined },
            }],
        })
        .collect();
    let choice = choose_weight(&held, &mut highest).unwrap();
    assert_eq!(choice.weight, 0.0, "{choice:?}");
    assert_eq!(*choice.taken(), choice.figures[0]);
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let model = trained(Precision::Int8, 12);
    for int8 in [false, true] {
        assert_eq!(model.onnx(int8), trained(Precision::Int8, 12).onnx(int8));
    }
    let images = images(40, 1);
    let another = Learning {
        seed: 8,
        ..learning(12)
    };
    let other = RefinementModel::train(
        &samples(&images),
        shape(Precision::Int8),
        9.0,
        &another,
        &|| {},
    );
    assert_ne!(model.onnx(true), other.onnx(true));
}

#[test]
fn the_scale_is_the_median_or_one() {
    assert_eq!(scale_of(&[3.0, 9.0, 5.0]), 5.0);
    assert_eq!(scale_of(&[]), 1.0);
    assert_eq!(scale_of(&[0.0, 0.0]), 1.0);
}

#[test]
fn an_image_score_is_the_mean_over_the_partitions() {
    let cells = [[1.0f32, 3.0], [2.0, 8.0]];
    let image = HeldOutImage {
        damaged: false,
        partitions: cells
            .iter()
            .map(|cells| HeldOutCells {
                original: cells,
                refined: &[4.0, 4.0],
            })
            .collect(),
    };
    assert_eq!(image.score(0.0, &mut highest), 5.5);
    assert_eq!(image.score(1.0, &mut highest), 4.0);
}
