//! Writes `tests/golden/format-2.pgp` to `format-5.pgp` and their fields anew; see the README beside
//! them for when that is right.

mod evidence;
mod gaussians;
mod published;
mod tiny;

use super::density;
use super::features::{Features, ImageSet};
use super::made_up_products::{
    GoldenInputs, bound, manifest, mask_section, method, network_sections, position, section,
    sighting_sections,
};
use super::neighbourhood::NeighbourhoodModel;
use super::position::{Sightings, place_mask, place_table, windowed_counts};
use super::sections::little_endian;
use super::training::Learning;
use crate::export::{Convolution, Graph};
use crate::png::png;
use evidence::NewSections;
use partgate::backbone::{Backbone, BackboneSpec, Background, InputGeometry, Preprocessor};
use partgate::frame::{Frame, Pixels};
use partgate::inspection::{InspectionError, Inspector};
use partgate::network::{Precision, Threads};
use partgate::product::{
    AuditEntry, Candidate, Choice, DType, DensityEvidence, Golden, GoldenKind, Manifest, Member,
    Method, NeighbourhoodEvidence, Product, RefinementEvidence, SectionBytes, SectionKind,
    Signature, Training, Validation, coarse, write,
};
use partgate::refine::RefinementShape;
use partgate::score::{
    Aggregator, Border, LinearMap, Measure, Neighbour, NeighbourhoodForm, NeighbourhoodShape,
    PackedBank, Rule, SightingTable,
};
use partgate::seed::Rng;
use partgate::simulation::part::Renderer;
use partgate::size::Size;
use partgate::verdict::Thresholds;
use std::path::Path;
use tiny::backbone;

/// Channels of the taps.
const TAPS: [usize; 2] = [5, 6];
const D: usize = TAPS[0] + TAPS[1];
/// Side of the pictures.
const PICTURE: usize = 80;
const IMAGES: usize = 4;

/// A refinement network of random weights that adds a little to the score.
fn refinement(shape: RefinementShape, rng: &mut Rng) -> Vec<u8> {
    let Size { width, height } = shape.grid;
    let [d, c] = [shape.dimensions, shape.channels].map(|v| v as usize);
    let mut layer = |inputs: usize, outputs: usize, side: usize, groups: usize| Convolution {
        weights: (0..outputs * inputs / groups * side * side)
            .map(|_| 0.3 * rng.gaussian())
            .collect(),
        biases: (0..outputs).map(|_| 0.1 * rng.unit()).collect(),
        inputs,
        outputs,
        side,
        groups,
    };
    let mut graph = Graph::new(false);
    let input = graph.channels_first("cells");
    let score = graph.channel(&input, d);
    let x = graph.convolution(&input, &layer(d + 1, c, 1, 1));
    let mut x = graph.relu(&x);
    for _ in 0..shape.blocks {
        for layer in [layer(c, c, 3, c), layer(c, c, 1, 1)] {
            x = graph.convolution(&x, &layer);
            x = graph.relu(&x);
        }
    }
    let mut last = layer(c, 1, 1, 1);
    // The runtime only lifts scores: the last layer must have something to add.
    last.weights.iter_mut().for_each(|w| *w = w.abs());
    let x = graph.convolution(&x, &last);
    let x = graph.add(&score, &x);
    graph.finish(
        ("cells", &[1, height, width, d + 1]),
        &x,
        ("refined", &[1, 1, height, width]),
        "partgate tests",
    )
}

fn picture(index: u64) -> Frame {
    let part = Renderer::new(1).good(index);
    let rows = (64..64 + PICTURE).flat_map(|y| {
        let from = (y * part.width + 112) * 3;
        part.rgb[from..from + PICTURE * 3].to_vec()
    });
    Frame::new(PICTURE, PICTURE, Pixels::Rgb8(rows.collect())).expect("a picture")
}

fn blotched(frame: &Frame) -> Frame {
    let Pixels::Rgb8(rgb) = frame.pixels() else {
        panic!("rendered parts are RGB");
    };
    let mut rgb = rgb.clone();
    for y in 44..60 {
        for x in 30..46 {
            rgb[(y * PICTURE + x) * 3..][..3].copy_from_slice(&[255, 0, 255]);
        }
    }
    Frame::new(PICTURE, PICTURE, Pixels::Rgb8(rgb)).expect("a picture")
}

fn features(
    onnx: &[u8],
    spec: &BackboneSpec,
    input: &InputGeometry,
    border: Border,
    map: Option<&LinearMap>,
    background: Option<&Background>,
) -> Features {
    let size = input.size();
    let grid = spec.grid(size);
    let mut network = Backbone::load(onnx, spec, size, &Threads::default()).expect("a backbone");
    let mut preprocessor = Preprocessor::new(input.clone(), spec.input.mean, spec.input.std)
        .with_background(background);
    let mut aggregator = Aggregator::new(grid, TAPS, 3, border);
    let length = grid.area() * D;
    let mut values = vec![0.0; IMAGES * length];
    for (image, out) in values.chunks_exact_mut(length).enumerate() {
        network
            .run(|pixels| {
                preprocessor
                    .run(&picture(image as u64), pixels)
                    .map_err(InspectionError::from)
            })
            .expect("the backbone runs");
        aggregator.run(
            network.tap(0).expect("tap"),
            network.tap(1).expect("tap"),
            out,
        );
        if let Some(map) = map {
            let unmapped = out.to_vec();
            map.run(&unmapped, out);
        }
    }
    Features {
        values,
        images: IMAGES,
        copies: 0,
        grid,
        dimensions: D,
        set: ImageSet {
            digest: [0; 32],
            smallest: [PICTURE as u32; 2],
            largest: [PICTURE as u32; 2],
            sizes: 1,
        },
        cached: 0,
    }
}

/// A fitted bank and what conditions it, as sections.
struct Fitted {
    bank: PackedBank,
    entries: usize,
    assignment: Vec<u16>,
    /// Nearest row of D, and of the bank, of every cell.
    targets: Vec<u32>,
    nearest: Vec<u32>,
    network: NeighbourhoodShape,
    onnx: Vec<u8>,
}

fn fitted(features: &Features, rows: usize, entries: usize, precision: Precision) -> Fitted {
    let cells = features.cells();
    let chosen = Rng::new(rows as u64).permutation(IMAGES * cells);
    let values: Vec<f32> = chosen[..rows]
        .iter()
        .flat_map(|&i| features.values[i * D..][..D].to_vec())
        .collect();
    let (bank, first) = (
        PackedBank::new(values.clone(), D),
        PackedBank::new(values[..entries * D].to_vec(), D),
    );
    let nearest = |of: &[f32], bank: &PackedBank| -> Vec<u32> {
        let mut found = vec![Neighbour::default(); of.len() / D];
        bank.nearest(of, None, &Threads::default(), &mut found);
        found.into_iter().map(|n| n.row).collect()
    };
    let assignment: Vec<u16> = nearest(&values, &first).iter().map(|&r| r as u16).collect();
    let targets = nearest(&features.values, &first);
    let network = NeighbourhoodShape {
        grid: features.grid,
        dimensions: D as u32,
        window: 3,
        bottleneck: 4,
        hidden: 8,
        entries: entries as u32,
        form: NeighbourhoodForm::Edge {
            place: precision == Precision::Int8,
        },
        precision,
    };
    let learning = Learning {
        steps: 60,
        rate: 1e-2,
        seed: 7,
        stream: 1,
    };
    let truth: Vec<u16> = targets.iter().map(|&t| t as u16).collect();
    let all: Vec<usize> = (0..IMAGES).collect();
    let model = NeighbourhoodModel::train(features, &all, &truth, network, &learning, &|| {});
    Fitted {
        nearest: nearest(&features.values, &bank),
        onnx: model.onnx(precision == Precision::Int8),
        bank,
        entries,
        assignment,
        targets,
        network,
    }
}

fn common(member: u8, backbone: &[u8], fitted: &Fitted) -> Vec<SectionBytes> {
    let bank = &fitted.bank;
    vec![
        section(
            (SectionKind::Backbone, member),
            DType::Bytes,
            &[backbone.len()],
            backbone.to_vec(),
        ),
        section(
            (SectionKind::Bank, member),
            DType::F32,
            &[bank.rows(), D],
            little_endian(bank.values()),
        ),
    ]
}

fn evidence(fitted: &Fitted, measure: Measure) -> NeighbourhoodEvidence {
    NeighbourhoodEvidence {
        shape: fitted.network,
        measure,
        temperature: 1.0,
        threshold: 0.125,
        rows: fitted.bank.rows() as u32,
        lost_share: None,
        held_out_loss: 1.5,
        best_temperature: 0.85,
        held_out_images: 3,
    }
}

/// Coverage by place and neighbourhood, row factors and a refinement, for the first member.
fn first(
    features: &Features,
    backbone: &[u8],
    sections: &mut Vec<SectionBytes>,
    rng: &mut Rng,
) -> Method {
    let fitted = fitted(features, 24, 10, Precision::Int8);
    sections.extend(common(0, backbone, &fitted));
    let sightings = Sightings {
        nearest: &fitted.targets,
        grid: features.grid,
        rows: fitted.entries,
    };
    let table = place_table(&sightings, 3);
    let mask = place_mask(&table, fitted.entries, &fitted.assignment, 0.0625);
    sections.push(mask_section(0, &mask));
    sections.extend(network_sections(0, &fitted.onnx, &fitted.assignment));
    let scale = density::factors(&density::spacing(&fitted.bank), 0.5);
    sections.push(section(
        (SectionKind::RowScale, 0),
        DType::F32,
        &[scale.len()],
        little_endian(&scale),
    ));
    let shape = RefinementShape {
        grid: features.grid,
        dimensions: D as u32,
        channels: 4,
        blocks: 2,
        precision: Precision::F32,
    };
    let onnx = refinement(shape, rng);
    sections.push(section(
        (SectionKind::Refinement, 0),
        DType::Bytes,
        &[onnx.len()],
        onnx,
    ));
    let mut method = method(Rule::Coverage);
    method.border = Border::Inside;
    let mut place = position(0);
    place.allowed_share = mask.allowed_share();
    (place.lost_share, place.threshold) = (Some(0.03125), Some(0.0625));
    method.position = Some(place);
    let mut near = evidence(&fitted, Measure::Ratio);
    near.lost_share = Some(0.015625);
    method.neighbourhood = Some(near);
    method.density = Some(DensityEvidence {
        neighbours: density::NEIGHBOURS as u32,
        power: 0.5,
        factors: [
            scale.iter().copied().fold(f32::INFINITY, f32::min),
            scale.iter().copied().fold(0.0, f32::max),
        ],
    });
    method.refinement = Some(RefinementEvidence {
        shape,
        scale: 1.25,
        weight: 0.375,
        separation: [0.625, 0.6875],
        caught: [0.28125, 0.34375],
        held_out_images: 12,
    });
    method.choice = Some(choice());
    method
}

/// The comparison behind the first member's rule.
fn choice() -> Choice {
    let candidate = |rule, figure: f64| Candidate {
        rule,
        density: 0.5,
        place_lost: (rule == Rule::Coverage).then_some(0.03125),
        near_lost: (rule == Rule::Coverage).then_some(0.015625),
        surface: figure,
        misplaced: figure + 0.125,
        exchanged: figure - 0.125,
        caught: [figure + 0.0625, figure - 0.0625, figure + 0.03125],
        shortfall: figure / 4.0,
        spread: figure / 8.0,
    };
    Choice {
        images: 4,
        damaged: [8, 12, 10],
        candidates: vec![
            candidate(Rule::Patchcore, 0.5),
            candidate(Rule::Coverage, 0.75),
        ],
        reason: "made for the format's golden test".into(),
    }
}

/// The second member: `pni`, with its sightings, on a smaller input.
fn second(features: &Features, backbone: &[u8], sections: &mut Vec<SectionBytes>) -> Method {
    let fitted = fitted(features, 16, 8, Precision::F32);
    sections.extend(common(1, backbone, &fitted));
    let sightings = Sightings {
        nearest: &fitted.nearest,
        grid: features.grid,
        rows: fitted.bank.rows(),
    };
    let counts = windowed_counts(&sightings, 3);
    let seen = SightingTable {
        counts: counts.iter().map(|&c| c.min(255) as u8).collect(),
        totals: counts
            .chunks_exact(fitted.bank.rows())
            .map(|c| c.iter().sum())
            .collect(),
    };
    sections.extend(sighting_sections(1, &seen));
    sections.extend(network_sections(1, &fitted.onnx, &fitted.assignment));
    let mut method = method(Rule::Pni);
    method.position = Some(position(0));
    let mut near = evidence(&fitted, Measure::MeanWithPosition);
    near.temperature = 2.0;
    near.threshold = 0.0625;
    method.neighbourhood = Some(near);
    method
}

/// The rules of the two members.
#[derive(Clone, Copy, Default)]
enum Rules {
    /// `coverage` and `pni`.
    #[default]
    Conditions,
    /// `bank-gaussian` and `gaussian`.
    Gaussians,
    /// `n-pad` and `patchcore`, with means; and a background.
    Published,
}

/// What a format brought, beside the inputs.
#[derive(Default)]
struct Brought {
    sections: Option<NewSections>,
    rules: Rules,
}

fn golden_bundle(inputs: GoldenInputs, brought: Brought) -> (Manifest, Vec<SectionBytes>) {
    let new = brought.sections;
    let mut rng = Rng::new(2);
    let onnx = [backbone(&mut rng), backbone(&mut rng)];
    let channels = TAPS.map(|t| t as u32);
    let mut manifest = manifest(Size::square(64), channels, method(Rule::Patchcore));
    let GoldenInputs {
        first: input,
        second: smaller,
    } = inputs;
    let size = input.size();
    manifest.input = input;
    let spec = manifest.backbone.clone();
    let mut sections = Vec::new();
    let map = new.as_ref().map(|new| &new.map);
    let background = matches!(brought.rules, Rules::Published).then(published::background);
    let ground = background.as_ref();
    let seen = features(
        &onnx[0],
        &spec,
        &manifest.input,
        Border::Inside,
        map,
        ground,
    );
    manifest.method = match brought.rules {
        Rules::Conditions => first(&seen, &onnx[0], &mut sections, &mut rng),
        Rules::Gaussians => gaussians::first(&seen, &onnx[0], &mut sections),
        Rules::Published => published::first(&seen, &onnx[0], &spec, &mut sections),
    };
    let seen = features(&onnx[1], &spec, &smaller, Border::Zero, None, ground);
    manifest.others = vec![Member {
        input: smaller,
        backbone: spec,
        method: match brought.rules {
            Rules::Conditions => second(&seen, &onnx[1], &mut sections),
            Rules::Gaussians => gaussians::second(&seen, &onnx[1], &mut sections),
            Rules::Published => published::second(&seen, &onnx[1], &mut sections),
        },
    }];
    manifest.member_scales = vec![1.5, 0.75];
    // The left six pixels of the upper twenty rows.
    let row = size.width / 8;
    let bits = (0..size.height * row).map(|i| {
        if i % row == 0 && i < 20 * row {
            0x3f
        } else {
            0
        }
    });
    sections.push(section(
        (SectionKind::IgnoreMask, 0),
        DType::Bits,
        &[size.height, size.width],
        bits.collect(),
    ));
    sections.extend(new.into_iter().flat_map(|new| new.sections));
    manifest.name = "golden".into();
    manifest.part_number = "G-2".into();
    manifest.revision = 5;
    manifest.created_unix = Some(1_700_000_002);
    manifest.training = Training {
        images: IMAGES as u32,
        cells: (IMAGES * size.area() / 64) as u64,
        digest: std::array::from_fn(|i| i as u8),
        seed: 7,
        folds: 2,
        smallest: [PICTURE as u32; 2],
        largest: [PICTURE as u32; 2],
        held_out: [0.25, 0.5, 0.75],
    };
    manifest.validation = Some(Validation {
        images: [5, 6],
        image_auroc: Some(0.75),
        pixel_auroc: None,
        aupro: Some(0.5),
        false_reject_rate: Some(0.2),
        escape_rate: Some(0.25),
    });
    manifest.boards = vec!["x86-64".into(), "aarch64".into()];
    manifest.audit = vec![AuditEntry {
        action: "made for the format's golden test".into(),
        unix: Some(1_700_000_003),
    }];
    (manifest, sections)
}

#[test]
#[ignore = "writes tests/golden/format-2.pgp: only when the format itself changes"]
fn make_the_golden_bundle_of_format_2() {
    make_golden_bundle("format-2", GoldenInputs::format_2(), Brought::default());
}

#[test]
#[ignore = "writes tests/golden/format-3.pgp: only when the format itself changes"]
fn make_the_golden_bundle_of_format_3() {
    let brought = Brought {
        sections: Some(NewSections::new()),
        rules: Rules::Conditions,
    };
    make_golden_bundle("format-3", GoldenInputs::format_3(), brought);
}

#[test]
#[ignore = "writes tests/golden/format-4.pgp: only when the format itself changes"]
fn make_the_golden_bundle_of_format_4() {
    let brought = Brought {
        sections: None,
        rules: Rules::Gaussians,
    };
    make_golden_bundle("format-4", GoldenInputs::format_2(), brought);
}

#[test]
#[ignore = "writes tests/golden/format-5.pgp: only when the format itself changes"]
fn make_the_golden_bundle_of_format_5() {
    let brought = Brought {
        sections: None,
        rules: Rules::Published,
    };
    make_golden_bundle("format-5", GoldenInputs::format_2(), brought);
}

/// A bundle with every part of the format that this version can write, and small.
fn make_golden_bundle(name: &str, inputs: GoldenInputs, brought: Brought) {
    let (mut manifest, mut sections) = golden_bundle(inputs, brought);
    let bare = write(manifest.clone(), &sections, &Signature::Unsigned).expect("write");
    let product = Product::from_bytes(bare, "golden").expect("a bundle");
    let mut inspector = Inspector::new(&product, &Threads::default()).expect("an inspector");
    let good = picture(9);
    let shown = [
        ("good", GoldenKind::Good, good.clone()),
        ("blotched", GoldenKind::Damaged, blotched(&good)),
    ];
    let inspected: Vec<(f32, Vec<f32>)> = shown
        .iter()
        .map(|(_, _, frame)| {
            let score = inspector.inspect(frame).expect("a score").score;
            let size = inspector.size();
            (score, coarse(inspector.map(), size))
        })
        .collect();
    let (low, high) = (inspected[0].0, inspected[1].0);
    println!("scores {low} and {high}");
    assert!(low * 1.5 < high, "the golden's blotch hardly shows");
    manifest.thresholds = Thresholds {
        unknown: bound(low * 1.125, 0.01),
        ng: bound(low * 1.25, 0.001),
    };
    manifest.baseline_thresholds = Some(Thresholds {
        unknown: bound(30.0, 0.01),
        ng: bound(34.0, 0.001),
    });
    for ((name, kind, frame), (score, coarse_map)) in shown.into_iter().zip(inspected) {
        manifest.goldens.push(Golden {
            name: name.into(),
            kind,
            section: sections.len() as u32,
            score,
            verdict: manifest.thresholds.verdict(score),
            coarse_map,
        });
        let png = png(&frame).expect("PNG");
        sections.push(section(
            (SectionKind::GoldenImage, 0),
            DType::Bytes,
            &[png.len()],
            png,
        ));
    }
    let bytes = write(manifest, &sections, &Signature::Unsigned).expect("write");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
    let target = folder.join(format!("{name}.pgp"));
    std::fs::write(&target, &bytes).expect("write");
    let written = Product::open(&target).expect("bundle");
    let fields = serde_json::to_string_pretty(written.manifest()).expect("JSON");
    std::fs::write(folder.join(format!("{name}.json")), fields + "\n").expect("write");
    println!(
        "{} bytes, BLAKE3 {}",
        written.size(),
        written.digest().to_hex()
    );
}
