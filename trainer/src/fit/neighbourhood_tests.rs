//! What the exported network promises: it is the one that was trained, and a cell's own features
//! have no say in what the cell ought to be.

use super::*;
use partgate::network::{Precision, Threads};
use partgate::score::NeighbourhoodNetwork;
use partgate::size::Size;

const GRID: Size = Size::new(9, 6);
const CELLS: usize = GRID.area();
const D: usize = 6;
const IMAGES: usize = 4;

/// Images whose cells are blends of few vectors that change slowly over the grid, so that the
/// neighbours do tell what a cell is.
fn images(seed: u64, entries: usize) -> (Features, Vec<u16>) {
    let mut rng = Rng::new(seed);
    let rows: Vec<f32> = (0..entries * D).map(|_| 3.0 * rng.gaussian()).collect();
    let mut values = Vec::new();
    let mut targets = Vec::new();
    for image in 0..IMAGES {
        for cell in 0..CELLS {
            let entry = (cell / GRID.width / 2 + cell % GRID.width / 2 + image % 2) % entries;
            targets.push(entry as u16);
            values.extend((0..D).map(|k| rows[entry * D + k] + 0.3 * rng.gaussian()));
        }
    }
    let features = Features::made_up(values, IMAGES, GRID);
    (features, targets)
}

fn shape(window: u32, place: bool) -> NeighbourhoodShape {
    NeighbourhoodShape {
        grid: GRID,
        dimensions: D as u32,
        window,
        bottleneck: 5,
        hidden: 12,
        entries: 9,
        form: NeighbourhoodForm::Edge { place },
        precision: Precision::F32,
    }
}

fn paper(window: u32, layers: u32) -> NeighbourhoodShape {
    NeighbourhoodShape {
        bottleneck: D as u32,
        hidden: 24,
        form: NeighbourhoodForm::Paper { layers },
        ..shape(window, false)
    }
}

fn trained(seed: u64, shape: NeighbourhoodShape, steps: usize) -> (Features, NeighbourhoodModel) {
    let (features, targets) = images(seed, shape.entries as usize);
    let learning = Learning {
        steps,
        rate: 1e-2,
        seed,
        stream: 1,
    };
    let all: Vec<usize> = (0..IMAGES).collect();
    let model = NeighbourhoodModel::train(&features, &all, &targets, shape, &learning, &|| {});
    (features, model)
}

fn loaded(model: &NeighbourhoodModel, precision: Precision) -> NeighbourhoodNetwork {
    let shape = NeighbourhoodShape {
        precision,
        ..model.shape
    };
    let onnx = model.onnx(precision == Precision::Int8);
    NeighbourhoodNetwork::load(&onnx, shape, &Threads::default()).expect("a network")
}

/// Logits, `[cells, entries]`.
fn look(network: &mut NeighbourhoodNetwork, features: &[f32]) -> Vec<Vec<f32>> {
    let logits = network.run(features).expect("logits");
    (0..CELLS)
        .map(|cell| logits.iter().skip(cell).step_by(CELLS).copied().collect())
        .collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// The true hole: changing a cell changes what is said of its neighbours within the window, and not
/// one bit of what is said of itself or of cells further away.
#[test]
fn a_cell_has_no_say_in_what_it_ought_to_be() {
    for (seed, shape) in [
        (1, shape(3, false)),
        (2, shape(5, true)),
        (3, shape(5, false)),
        (4, paper(3, 2)),
        (5, paper(5, 4)),
        (6, paper(3, 10)),
    ] {
        let window = shape.window;
        let (features, model) = trained(seed, shape, 20);
        for precision in [Precision::F32, Precision::Int8] {
            let mut network = loaded(&model, precision);
            let mut rng = Rng::stream(seed, 9);
            let before = look(&mut network, features.image(0));
            let reach = window as usize / 2;
            let (mut stated, mut asked) = (0, 0);
            for x in 0..CELLS {
                let mut changed = features.image(0).to_vec();
                for v in &mut changed[x * D..][..D] {
                    *v += 6.0 * rng.gaussian();
                }
                let after = look(&mut network, &changed);
                let what = format!("{precision} {:?} window {window} cell {x}", shape.form);
                assert_eq!(bits(&after[x]), bits(&before[x]), "{what}: itself");
                let mut any = false;
                for cell in 0..CELLS {
                    let away = (cell / GRID.width)
                        .abs_diff(x / GRID.width)
                        .max((cell % GRID.width).abs_diff(x % GRID.width));
                    let same = bits(&after[cell]) == bits(&before[cell]);
                    assert!(away <= reach || same, "{what}: {cell} is out of reach");
                    any |= !same;
                    if cell != x && away <= reach {
                        asked += 1;
                        stated += usize::from(!same);
                    }
                }
                assert!(any, "{what}: nobody noticed");
            }
            // Rectifiers and rounding hide a change now and then.
            assert!(
                stated * 10 >= asked * 9,
                "{precision} {:?}: {stated} of {asked}",
                shape.form
            );
        }
    }
}

#[test]
fn the_file_is_the_network_that_was_trained() {
    for shape in [shape(5, false), shape(5, true), paper(5, 2), paper(3, 6)] {
        let (features, model) = trained(4, shape, 25);
        let device = Device::flex().autodiff();
        let hole = hole(model.shape.window as usize, &device);
        let mut network = loaded(&model, Precision::F32);
        for image in 0..IMAGES {
            let input = standardised(&features, &[image], &model.shift, &model.scale, &device);
            let here = values({
                let moments = Some(&model.moments[..]);
                let layers = &model.layers;
                layers.forward(input, &model.shape, &hole, moments).logits
            });
            let there = look(&mut network, features.image(image)).concat();
            for (a, b) in here.iter().zip(&there) {
                assert!((a - b).abs() < 1e-4 * (1.0 + a.abs()), "{a} {b}");
            }
            assert_eq!(here.len(), there.len());
        }
    }
}

fn probabilities(logits: &[f32]) -> Vec<f64> {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let shares: Vec<f64> = logits
        .iter()
        .map(|z| f64::from(z - highest).exp())
        .collect();
    let sum: f64 = shares.iter().sum();
    shares.iter().map(|s| s / sum).collect()
}

#[test]
fn int8_says_nearly_what_f32_says() {
    for (seed, shape) in [
        (5, shape(5, false)),
        (6, shape(5, true)),
        (7, shape(5, false)),
        (8, paper(5, 4)),
    ] {
        let (features, model) = trained(seed, shape, 120);
        let mut float = loaded(&model, Precision::F32);
        let mut int8 = loaded(&model, Precision::Int8);
        assert!(int8.kernels().rounded_activations > 0);
        assert_eq!(float.kernels().rounded_activations, 0);
        let (mut worst, mut sum, mut same) = (0.0f64, 0.0, 0);
        for image in 0..IMAGES {
            let a = look(&mut float, features.image(image));
            let b = look(&mut int8, features.image(image));
            assert_ne!(a, b, "nothing was rounded");
            for (a, b) in a.iter().zip(&b) {
                let (p, q) = (probabilities(a), probabilities(b));
                let apart: f64 = p.iter().zip(&q).map(|(p, q)| (p - q).abs()).sum();
                worst = worst.max(apart / 2.0);
                sum += apart / 2.0;
                let likeliest = |p: &[f64]| {
                    (0..p.len())
                        .max_by(|&i, &j| p[i].total_cmp(&p[j]))
                        .expect("rows")
                };
                same += usize::from(likeliest(&p) == likeliest(&q));
            }
        }
        let cells = CELLS * IMAGES;
        println!(
            "seed {seed}: worst {worst:.4}, mean {:.4}, {same} of {cells}",
            sum / cells as f64
        );
        assert!(worst < 0.2, "{worst}");
        assert!(sum / (cells as f64) < 0.02, "{}", sum / cells as f64);
        assert!(same * 100 >= cells * 97, "{same} of {cells}");
    }
}

#[test]
fn the_same_seed_is_the_same_file_and_another_is_not() {
    for shape in [shape(3, true), paper(3, 4)] {
        let file = |seed| trained(seed, shape, 5).1.onnx(true);
        assert!(file(1) == file(1));
        assert!(file(1) != file(2));
    }
}

/// Layers wide enough that the products, and what backpropagation sums, are shared out.
#[test]
fn threads_change_no_byte_of_the_papers_form() {
    let wide = NeighbourhoodShape {
        hidden: 384,
        ..paper(5, 4)
    };
    let file = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.expect("threads");
        pool.install(|| trained(1, wide, 4).1.onnx(false))
    };
    let one = file(1);
    assert!(one == file(2) && one == file(3));
}

/// Trained as it was, the network is not what it would be with its normalisations left out.
#[test]
fn normalisation_has_a_say() {
    let (_, model) = trained(1, paper(3, 4), 20);
    assert_eq!(model.moments.len(), 3);
    let as_trained = model.onnx(false);
    let other = NeighbourhoodModel {
        moments: trained(2, paper(3, 4), 20).1.moments,
        ..model
    };
    assert!(other.onnx(false) != as_trained);
}

/// Without the neighbours' word there is nothing to learn here but how often each row is seen.
#[test]
fn neighbours_are_learnt_from() {
    for shape in [shape(5, false), paper(5, 4)] {
        learnt_from(shape);
    }
}

fn learnt_from(shape: NeighbourhoodShape) {
    let (features, model) = trained(8, shape, 200);
    let (_, targets) = images(8, 9);
    let mut network = loaded(&model, Precision::F32);
    let mut loss = 0.0;
    for image in 0..IMAGES {
        let logits = look(&mut network, features.image(image));
        for (cell, logits) in logits.iter().enumerate() {
            let truth = usize::from(targets[image * CELLS + cell]);
            loss -= probabilities(logits)[truth].ln();
        }
    }
    let loss = loss / (CELLS * IMAGES) as f64;
    let mut seen = [0.0f64; 9];
    targets.iter().for_each(|&t| seen[usize::from(t)] += 1.0);
    let n = targets.len() as f64;
    let entropy: f64 = seen
        .iter()
        .filter(|&&s| s > 0.0)
        .map(|s| -s / n * (s / n).ln())
        .sum();
    assert!(loss < 0.5 * entropy, "{loss} of {entropy}");
}
