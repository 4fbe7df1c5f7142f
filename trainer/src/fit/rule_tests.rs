//! Every rule against itself written out plainly: which rows may explain a cell, by definition and
//! in f64 from the network's logits, and the nearest of them.

use super::density;
use super::features::Features;
use super::made_up_products::{
    manifest, mask_section, method, network_sections, position, section, sighting_sections,
};
use super::neighbourhood::NeighbourhoodModel;
use super::sections::little_endian;
use super::training::Learning;
use partgate::network::{Precision, Threads};
use partgate::product::{
    DType, DensityEvidence, NeighbourhoodEvidence, Product, SectionKind, Signature, write,
};
use partgate::score::{
    Measure, NeighbourhoodForm, NeighbourhoodNetwork, NeighbourhoodShape, PackedBank, PositionMask,
    Rule, Scorer, SightingTable,
};
use partgate::seed::Rng;
use partgate::size::Size;

const SIZE: Size = Size::new(64, 48);
const GRID: Size = Size::new(8, 6);
const CELLS: usize = GRID.area();
const D: usize = 7;
/// Not a multiple of the lanes: the last word of a mask is part empty.
const ROWS: usize = 45;
const ENTRIES: usize = 12;
const IMAGES: usize = 4;

/// Everything that any rule needs, drawn at random around a network that was really trained.
struct RandomProduct {
    features: Features,
    bank: PackedBank,
    onnx: Vec<u8>,
    shape: NeighbourhoodShape,
    assignment: Vec<u16>,
    mask: PositionMask,
    seen: SightingTable,
    row_scale: Vec<f32>,
    /// Of the first image, `[cells][entries]`.
    logits: Vec<Vec<f64>>,
}

/// The image that is scored: the network has learnt from the others.
const JUDGED: usize = IMAGES - 1;

/// Row of D for each row of the bank. Rows beyond D belong to any of its rows: no rule may depend
/// on the nearest one.
fn assignment(rng: &mut Rng) -> Vec<u16> {
    (0..ROWS)
        .map(|row| {
            if row < ENTRIES {
                row as u16
            } else {
                rng.below(ENTRIES) as u16
            }
        })
        .collect()
}

/// Features of [`IMAGES`] images near the rows of `bank`, and the row of D of each of their cells.
fn images(bank: &[f32], rng: &mut Rng) -> (Vec<f32>, Vec<u16>) {
    let (mut values, mut targets) = (Vec::new(), Vec::new());
    for image in 0..IMAGES {
        for cell in 0..CELLS {
            // Mostly what the place says; now and then, and often in the inspected image, not.
            let odd = if image == JUDGED { 2 } else { 8 };
            let entry = if rng.below(odd) == 0 {
                rng.below(ENTRIES)
            } else {
                (cell / GRID.width / 2 * 3 + cell % GRID.width / 2) % ENTRIES
            };
            targets.push(entry as u16);
            values.extend((0..D).map(|k| bank[entry * D + k] + 0.8 * rng.gaussian()));
        }
    }
    (values, targets)
}

fn network_shape(seed: u64) -> NeighbourhoodShape {
    NeighbourhoodShape {
        grid: GRID,
        dimensions: D as u32,
        window: 3 + 2 * (seed % 2) as u32,
        bottleneck: 5,
        hidden: 16,
        entries: ENTRIES as u32,
        form: NeighbourhoodForm::Edge {
            place: seed.is_multiple_of(3),
        },
        precision: if seed.is_multiple_of(2) {
            Precision::F32
        } else {
            Precision::Int8
        },
    }
}

/// A network trained on all images but the inspected one.
fn train(features: &Features, targets: &[u16], shape: NeighbourhoodShape, seed: u64) -> Vec<u8> {
    let learning = Learning {
        steps: 60,
        rate: 1e-2,
        seed,
        stream: 1,
    };
    let learnt: Vec<usize> = (0..JUDGED).collect();
    let model = NeighbourhoodModel::train(features, &learnt, targets, shape, &learning, &|| {});
    model.onnx(shape.precision == Precision::Int8)
}

fn random_mask(rng: &mut Rng) -> PositionMask {
    let mut mask = PositionMask::nothing(CELLS, ROWS);
    for cell in 0..CELLS {
        mask.allow(cell, rng.below(ROWS));
        for row in 0..ROWS {
            if rng.below(3) == 0 {
                mask.allow(cell, row);
            }
        }
    }
    mask
}

fn random_sightings(rng: &mut Rng) -> SightingTable {
    let counts: Vec<u8> = (0..CELLS * ROWS)
        .map(|_| {
            if rng.below(4) == 0 {
                rng.below(256) as u8
            } else {
                0
            }
        })
        .collect();
    let totals = counts
        .chunks_exact(ROWS)
        .enumerate()
        // Nothing was ever seen at an ignored cell.
        .map(|(cell, counts)| match cell {
            0 => 0,
            _ => counts.iter().map(|&c| u32::from(c)).sum(),
        })
        .collect();
    let mut counts = counts;
    counts[..ROWS].fill(0);
    SightingTable { counts, totals }
}

impl RandomProduct {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let bank: Vec<f32> = (0..ROWS * D).map(|_| 2.0 * rng.gaussian()).collect();
        let assignment = assignment(&mut rng);
        let (values, targets) = images(&bank, &mut rng);
        let features = Features::made_up(values, IMAGES, GRID);
        let shape = network_shape(seed);
        let onnx = train(&features, &targets, shape, seed);
        let mut network =
            NeighbourhoodNetwork::load(&onnx, shape, &Threads::default()).expect("a network");
        let logits = network.run(features.image(JUDGED)).expect("logits");
        let logits = (0..CELLS)
            .map(|cell| {
                let column = logits.iter().skip(cell).step_by(CELLS);
                column.map(|&z| f64::from(z)).collect()
            })
            .collect();
        let mask = random_mask(&mut rng);
        let seen = random_sightings(&mut rng);
        let bank = PackedBank::new(bank, D);
        let row_scale = density::factors(&density::spacing(&bank), 1.0);
        Self {
            features,
            bank,
            onnx,
            shape,
            assignment,
            mask,
            seen,
            row_scale,
            logits,
        }
    }

    /// Probability of a row of D, by definition.
    fn probability(&self, cell: usize, entry: usize, temperature: f64) -> f64 {
        let logits = &self.logits[cell];
        let highest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let of = |z: f64| ((z - highest) / temperature).exp();
        of(logits[entry]) / logits.iter().map(|&z| of(z)).sum::<f64>()
    }

    /// What `measure` compares for a row of the bank.
    fn measured(&self, measure: Measure, temperature: f64, cell: usize, row: usize) -> f64 {
        let entry = usize::from(self.assignment[row]);
        let p = self.probability(cell, entry, temperature);
        match measure {
            Measure::Probability => p,
            Measure::Ratio => {
                let all = (0..ENTRIES).map(|e| self.probability(cell, e, temperature));
                p / all.fold(0.0, f64::max)
            }
            Measure::MeanWithPosition => {
                let counts = &self.seen.counts[cell * ROWS..][..ROWS];
                let total = f64::from(self.seen.totals[cell].max(1));
                0.5 * (f64::from(counts[row]) / total + p)
            }
        }
    }

    fn distance(&self, cell: usize, row: usize) -> f64 {
        let vector = &self.features.image(JUDGED)[cell * D..][..D];
        let entry = &self.bank.values()[row * D..][..D];
        let squares = vector.iter().zip(entry);
        squares
            .map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2))
            .sum::<f64>()
            .sqrt()
    }
}

/// A rule as a bundle states it.
#[derive(Clone, Copy, Debug)]
struct Stated {
    rule: Rule,
    place: bool,
    near: Option<Measure>,
    temperature: f32,
    /// Share of (cell, row) pairs that are not above the threshold.
    refused: f64,
    rows: usize,
    scaled: bool,
}

const fn stated(rule: Rule, place: bool, near: Option<Measure>, refused: f64) -> Stated {
    Stated {
        rule,
        place,
        near,
        temperature: 2.0,
        refused,
        rows: ROWS,
        scaled: false,
    }
}

/// Every rule, thresholds from what refuses little to what leaves many cells with nothing.
fn all() -> Vec<Stated> {
    use Measure::{MeanWithPosition, Probability, Ratio};
    let mut rules = vec![
        stated(Rule::Patchcore, false, None, 0.0),
        stated(Rule::Position, true, None, 0.0),
        stated(Rule::Coverage, true, None, 0.0),
    ];
    for refused in [0.02, 0.6, 0.97, 0.999] {
        rules.extend([
            stated(Rule::Neighbourhood, false, Some(Probability), refused),
            stated(Rule::Pni, false, Some(MeanWithPosition), refused),
            Stated {
                rows: ENTRIES,
                ..stated(Rule::PniV1, false, Some(MeanWithPosition), refused)
            },
            stated(Rule::PniTwoMap, true, Some(Probability), refused),
            Stated {
                temperature: 1.0,
                ..stated(Rule::Coverage, true, Some(Ratio), refused)
            },
            Stated {
                temperature: 0.7,
                ..stated(Rule::Coverage, false, Some(Ratio), refused)
            },
        ]);
    }
    let scaled = rules.iter().map(|&rule| Stated {
        scaled: true,
        ..rule
    });
    scaled.chain(rules.iter().copied()).collect()
}

impl Stated {
    /// A threshold that no pair is near enough to for rounding to decide.
    fn threshold(&self, world: &RandomProduct) -> f32 {
        let Some(measure) = self.near else {
            return 0.0;
        };
        let temperature = f64::from(self.temperature);
        let mut values: Vec<f64> = (0..CELLS)
            .flat_map(|cell| (0..self.rows).map(move |row| (cell, row)))
            .map(|(cell, row)| world.measured(measure, temperature, cell, row))
            .collect();
        values.sort_by(f64::total_cmp);
        let at = (self.refused * (values.len() - 2) as f64) as usize;
        let gap = |i: &usize| {
            let (low, high) = (values[*i], values[*i + 1]);
            high - low > 1e-4 * high && high < 0.999
        };
        let near = (at..values.len() - 1).find(gap);
        let i = near
            .or_else(|| (0..at).rev().find(gap))
            .expect("values that differ");
        (0.5 * (values[i] + values[i + 1])) as f32
    }

    /// The scorer that a runtime makes of a bundle of this rule.
    fn scorer(&self, world: &RandomProduct, threshold: f32) -> Scorer {
        let mut manifest = manifest(SIZE, [4, 3], method(self.rule));
        let mut sections = vec![
            section(
                (SectionKind::Backbone, 0),
                DType::Bytes,
                &[5],
                b"empty".to_vec(),
            ),
            section(
                (SectionKind::Bank, 0),
                DType::F32,
                &[ROWS, D],
                little_endian(world.bank.values()),
            ),
        ];
        if self.place {
            manifest.method.position = Some(position(1));
            sections.push(mask_section(0, &world.mask));
        }
        if let Some(measure) = self.near {
            sections.extend(network_sections(0, &world.onnx, &world.assignment));
            if measure == Measure::MeanWithPosition {
                manifest.method.position = Some(position(0));
                sections.extend(sighting_sections(0, &world.seen));
            }
            manifest.method.neighbourhood = Some(NeighbourhoodEvidence {
                shape: world.shape,
                measure,
                temperature: self.temperature,
                threshold,
                rows: self.rows as u32,
                lost_share: None,
                held_out_loss: 1.0,
                best_temperature: 1.0,
                held_out_images: 1,
            });
        }
        if self.scaled {
            manifest.method.density = Some(DensityEvidence {
                neighbours: 9,
                power: 1.0,
                factors: [0.25, 4.0],
            });
            sections.push(section(
                (SectionKind::RowScale, 0),
                DType::F32,
                &[ROWS],
                little_endian(&world.row_scale),
            ));
        }
        let bytes = write(manifest, &sections, &Signature::Unsigned).expect("write");
        let product = Product::from_bytes(bytes, "a rule").expect("a bundle");
        product
            .scorer(&product.members()[0], &Threads::default())
            .expect("a scorer")
    }

    /// Rows that may explain `cell` under the conditions at hand: all that satisfy them, or, where
    /// none does, the likeliest of those that the place allows. More than one answer where two
    /// rows are equally likely but for rounding.
    fn allowed(
        &self,
        world: &RandomProduct,
        threshold: f32,
        cell: usize,
        [place, near]: [bool; 2],
    ) -> Vec<Vec<usize>> {
        let here: Vec<usize> = (0..ROWS)
            .filter(|&row| !place || world.mask.allows(cell, row))
            .collect();
        let Some(measure) = self.near.filter(|_| near) else {
            return vec![here];
        };
        let temperature = f64::from(self.temperature);
        let value = |row: usize| world.measured(measure, temperature, cell, row);
        let here: Vec<usize> = here.into_iter().filter(|&row| row < self.rows).collect();
        let above: Vec<usize> = here
            .iter()
            .copied()
            .filter(|&row| value(row) > f64::from(threshold))
            .collect();
        if !above.is_empty() {
            return vec![above];
        }
        let best = here.iter().map(|&row| value(row)).fold(0.0, f64::max);
        let mut likeliest: Vec<usize> = Vec::new();
        for row in here {
            // Rows that share everything that counts: the lowest.
            let alike = |&other: &usize| {
                world.assignment[other] == world.assignment[row] && value(other) == value(row)
            };
            if value(row) >= best * (1.0 - 1e-5) && !likeliest.iter().any(alike) {
                likeliest.push(row);
            }
        }
        likeliest.into_iter().map(|row| vec![row]).collect()
    }

    /// The scaled distances that the nearest of `rows` may have: equally near rows may have
    /// different factors.
    fn nearest(&self, world: &RandomProduct, cell: usize, rows: &[usize]) -> Vec<f64> {
        let nearest = rows
            .iter()
            .map(|&row| world.distance(cell, row))
            .fold(f64::INFINITY, f64::min);
        let near = |&&row: &&usize| world.distance(cell, row) <= nearest + 1e-5;
        rows.iter()
            .filter(near)
            .map(|&row| {
                let scale = if self.scaled {
                    f64::from(world.row_scale[row])
                } else {
                    1.0
                };
                scale * world.distance(cell, row)
            })
            .collect()
    }

    /// What the score of `cell` may be under one condition: never less than the plain bank's.
    fn one(&self, world: &RandomProduct, cell: usize, allowed: &[Vec<usize>]) -> Vec<f64> {
        let every: Vec<usize> = (0..ROWS).collect();
        let plain = self.nearest(world, cell, &every);
        let allowed = allowed
            .iter()
            .flat_map(|rows| self.nearest(world, cell, rows));
        allowed
            .flat_map(|a| plain.iter().map(move |&p| a.max(p)))
            .collect()
    }

    /// What the score of `cell` may be.
    fn reference(&self, world: &RandomProduct, threshold: f32, cell: usize) -> Vec<f64> {
        let of = |by: [bool; 2]| {
            let allowed = self.allowed(world, threshold, cell, by);
            self.one(world, cell, &allowed)
        };
        if self.rule != Rule::PniTwoMap {
            return of([self.place, self.near.is_some()]);
        }
        let (place, near) = (of([true, false]), of([false, true]));
        let pairs = place
            .iter()
            .flat_map(|p| near.iter().map(move |n| 0.5 * (p + n)));
        pairs.collect()
    }
}

#[test]
fn every_rule_is_what_its_definition_says() {
    // How often each case came up: without them the test would hold nothing.
    let (mut again, mut nothing, mut cells) = (0, 0, 0);
    for seed in 0..6 {
        let world = RandomProduct::new(seed);
        for rule in all() {
            let threshold = rule.threshold(&world);
            let mut scorer = rule.scorer(&world, threshold);
            let features = world.features.image(JUDGED);
            // Twice, so that nothing of the image before is left over.
            scorer
                .search
                .run(world.features.image(0), &Threads::default())
                .expect("distances");
            scorer
                .search
                .run(features, &Threads::default())
                .expect("distances");
            for (cell, &found) in scorer.search.cell_scores().iter().enumerate() {
                let want = rule.reference(&world, threshold, cell);
                let found = f64::from(found);
                assert!(
                    want.iter().any(|w| (w - found).abs() < 1e-4 * (1.0 + w)),
                    "seed {seed}, {rule:?}, threshold {threshold}, cell {cell}: {found}, by definition {want:?}"
                );
                if rule.near.is_some() {
                    let by = [rule.place && rule.rule != Rule::PniTwoMap, true];
                    let rows = rule.allowed(&world, threshold, cell, by);
                    nothing += usize::from(rows[0].len() == 1);
                }
            }
            again += scorer.search.searched_again();
            cells += CELLS;
        }
    }
    println!("{again} of {cells} cells searched again, {nothing} with one row");
    assert!(
        again * 4 > cells && again * 10 < cells * 9,
        "{again} of {cells}"
    );
    assert!(nothing > 1000, "{nothing}");
}

/// Fewer rows to choose from: no condition may make a cell look better than the plain bank does.
#[test]
fn conditions_never_lower_a_cell() {
    for seed in 10..14 {
        let world = RandomProduct::new(seed);
        let mut plain = stated(Rule::Patchcore, false, None, 0.0).scorer(&world, 0.0);
        let mut raised = 0;
        for image in 0..IMAGES {
            let features = world.features.image(image);
            plain
                .search
                .run(features, &Threads::default())
                .expect("distances");
            for rule in all().into_iter().filter(|r| !r.scaled) {
                let mut scorer = rule.scorer(&world, rule.threshold(&world));
                scorer
                    .search
                    .run(features, &Threads::default())
                    .expect("distances");
                for (cell, (&with, &without)) in scorer
                    .search
                    .cell_scores()
                    .iter()
                    .zip(plain.search.cell_scores())
                    .enumerate()
                {
                    assert!(
                        with >= without * (1.0 - 1e-6),
                        "seed {seed}, {rule:?}, image {image}, cell {cell}: {with} < {without}"
                    );
                    raised += usize::from(with > without * 1.01);
                }
            }
        }
        assert!(raised > 1000, "{raised}");
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let world = RandomProduct::new(20);
    for rule in all() {
        let threshold = rule.threshold(&world);
        let distances = |threads: usize| -> Vec<u32> {
            let threads = Threads::new(threads).expect("threads");
            let mut scorer = rule.scorer(&world, threshold);
            let features = world.features.image(JUDGED);
            scorer.search.run(features, &threads).expect("distances");
            scorer
                .search
                .cell_scores()
                .iter()
                .map(|d| d.to_bits())
                .collect()
        };
        assert_eq!(distances(1), distances(3), "{rule:?}");
    }
}

/// A feature that is no number must end as a score that is none, or as an error of a network, under
/// every rule.
#[test]
fn what_is_no_number_stays_none() {
    let world = RandomProduct::new(21);
    for rule in all() {
        let mut scorer = rule.scorer(&world, rule.threshold(&world));
        let mut features = world.features.image(JUDGED).to_vec();
        features[5 * D + 2] = f32::NAN;
        let score = scorer.score(&features, &Threads::default());
        match score {
            Ok(score) => assert!(score.is_nan(), "{rule:?}: {score}"),
            Err(error) => assert!(error.to_string().contains("finite"), "{rule:?}: {error}"),
        }
    }
}
