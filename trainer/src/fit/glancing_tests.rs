use super::super::reference::{Reference, numbers};
use super::*;
use partgate::network::Threads;
use partgate::score::{GlancingNetwork, Interpolation, ScoreMap};

/// The networks of the reference, whose weights it drew.
fn reference_model(reference: &Reference) -> GlancingModel {
    let device = Device::flex().autodiff();
    let side = |name: &str| reference.value(name).as_u64().expect("a number") as u32;
    let channels = numbers(reference.value("channels"));
    let shape = GlancingShape {
        grid: Size::new(side("width") as usize, side("height") as usize),
        dimensions: side("dimensions") as usize,
        form: GlancingForm {
            weight: WEIGHT,
            window: side("window"),
            hole: side("hole"),
            channels: std::array::from_fn(|i| channels[i] as u32),
        },
    };
    let (d, [narrow, hidden, code, judge]) = (shape.dimensions, shape.channels());
    let window = shape.form.window as usize;
    let two = |name: &str, dims: [usize; 2]| parameter(reference.list(name), dims, &device);
    let one = |name: &str, width: usize| parameter(reference.list(name), [width], &device);
    let ring = [hidden, narrow, window, window];
    GlancingModel {
        shape,
        shift: reference.list("shift"),
        scale: reference.list("scale"),
        local: Local {
            wide: two("local_wide", [d, hidden]),
            wide_bias: one("local_wide_bias", hidden),
            code: two("local_code", [hidden, code]),
            code_bias: one("local_code_bias", code),
            back: two("local_back", [code, d]),
            back_bias: one("local_back_bias", d),
        },
        global: Global {
            narrow: two("global_narrow", [d, narrow]),
            narrow_bias: one("global_narrow_bias", narrow),
            ring: parameter(reference.list("global_ring"), ring, &device),
            ring_bias: one("global_ring_bias", hidden),
            code: two("global_code", [hidden, code]),
            code_bias: one("global_code_bias", code),
            judge: two("global_judge", [2 * code, judge]),
            judge_bias: one("global_judge_bias", judge),
            verdict: two("global_verdict", [judge, 1]),
            verdict_bias: one("global_verdict_bias", 1),
        },
    }
}

fn compare(what: &str, found: &[f32], right: &[f64]) {
    assert_eq!(found.len(), right.len(), "{what}");
    for (at, (found, right)) in found.iter().zip(right).enumerate() {
        let off = (f64::from(*found) - right).abs();
        assert!(
            off <= 1e-4 * right.abs().max(1.0),
            "{what} {at}: {found} {right}"
        );
    }
}

fn scores(model: &GlancingModel, features: &[f32], weight: f32) -> Vec<f32> {
    let (grid, d) = (model.shape.grid, model.shape.dimensions);
    let threads = Threads::default();
    let mut network =
        GlancingNetwork::load(&model.onnx(), grid, d, weight, &threads).expect("a network");
    let mut out = vec![0.0; grid.area()];
    network.run(features, &mut out).expect("scores");
    out
}

#[test]
fn parts_scores_and_map_are_those_of_the_reference() {
    let reference = Reference::glancing();
    let model = reference_model(&reference);
    let features = reference.list("features");
    let right = |name: &str| numbers(reference.value(name));
    // The parts one by one, then both as published.
    compare(
        "inconsistency",
        &scores(&model, &features, 1.0),
        &right("inconsistent"),
    );
    compare(
        "distortion",
        &scores(&model, &features, 0.0),
        &right("distorted"),
    );
    let both = scores(&model, &features, WEIGHT);
    compare("scores", &both, &right("scores"));
    let grid = model.shape.grid;
    let size = grid.map(|cells| 4 * cells);
    let mut map =
        ScoreMap::new(grid, size, 0.0, None).with_interpolation(Interpolation::InverseDistance);
    let highest = map.score(&both);
    compare("map", map.pixels(), &right("map"));
    let most = right("map").iter().copied().fold(0.0, f64::max);
    assert!((f64::from(highest) / most - 1.0).abs() < 1e-4);
}

#[test]
fn losses_are_those_of_the_reference() {
    let reference = Reference::glancing();
    let model = reference_model(&reference);
    let device = Device::flex().autodiff();
    let d = model.shape.dimensions;
    let unit = reference.list("standardised");
    let dims = [unit.len() / d, d];
    let features: Tensor<2> = Tensor::from_data(TensorData::new(unit, dims), &device);
    let found = values(model.local.loss(features));
    compare(
        "loss of Local-Net",
        &found,
        &numbers(reference.value("local_loss")),
    );
}

fn form() -> GlancingForm {
    GlancingForm {
        weight: WEIGHT,
        window: 5,
        hole: 1,
        channels: [8, 16, 6, 8],
    }
}

/// Places of a pattern that repeats: each is known from those around it.
fn patterned(images: usize, grid: Size, rng: &mut Rng) -> Vec<f32> {
    let mut out = Vec::new();
    for _ in 0..images {
        for cell in 0..grid.area() {
            let kind = (cell % grid.width + cell / grid.width) % 2;
            out.extend((0..4).map(|k| {
                let level = if (k + kind).is_multiple_of(2) {
                    2.0
                } else {
                    -2.0
                };
                level + 0.2 * rng.gaussian()
            }));
        }
    }
    out
}

#[test]
fn a_cell_that_its_surroundings_do_not_expect_scores_high() {
    let (grid, mut rng) = (Size::new(8, 6), Rng::new(5));
    let features = Features::made_up(patterned(6, grid, &mut rng), 6, grid);
    let shape = GlancingShape {
        grid,
        dimensions: 4,
        form: form(),
    };
    let learning = Learning {
        steps: 150,
        rate: 1e-2,
        seed: 3,
        stream: 1,
    };
    let images: Vec<usize> = (0..5).collect();
    let train = || GlancingModel::train(&features, &images, shape, &learning, &|| {});
    let model = train();
    assert_eq!(model.onnx(), train().onnx(), "the same seed");
    let mut held = features.image(5).to_vec();
    let good = scores(&model, &held, WEIGHT);
    // One cell of the other kind, which is right next to it.
    let (here, there) = (3 * 8 + 3, 3 * 8 + 4);
    let other = held[there * 4..][..4].to_vec();
    held[here * 4..][..4].copy_from_slice(&other);
    let changed = scores(&model, &held, WEIGHT);
    let highest = good.iter().copied().fold(0.0, f32::max);
    assert!(
        changed[here] > 2.0 * highest,
        "{} after {highest}",
        changed[here]
    );
}

#[test]
fn what_lies_in_the_patch_is_not_seen_around_it() {
    let reference = Reference::glancing();
    let model = reference_model(&reference);
    let mask = model.shape.mask();
    let (window, hole) = (5, 3);
    let counted = mask.iter().sum::<f32>();
    assert_eq!(counted, (window * window - hole * hole) as f32);
    // In the middle of the picture all of them lie in it, in a corner only some do.
    let factors = model.shape.factors();
    let width = model.shape.grid.width;
    let middle = factors[2 * width + 2];
    assert_eq!(middle, 25.0 / 16.0);
    // Three by three cells of the window lie in the picture, two by two of them in the patch.
    assert_eq!(factors[0], 25.0 / 5.0);
}
