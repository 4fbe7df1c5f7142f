//! Bundles for tests, made without the trainer: a random bank of rendered good parts, and
//! thresholds from a few held-out ones. They can inspect, but are not well fitted.

// Each test crate uses only some of this.
#![allow(dead_code)]

use partgate::backbone::{Backbone, BackboneSpec, InputGeometry, Preprocessor, Threads};
use partgate::frame::{Frame, Pixels};
use partgate::inspection::Inspector;
use partgate::product::{
    DType, Golden, GoldenKind, Inputs, Manifest, Method, Parity, PositionEvidence, Product,
    SectionBytes, SectionKind, Signature, Training, coarse, write,
};
use partgate::score::{Aggregator, Border, Neighbour, PackedBank, PositionMask, Rule};
use partgate::seed::Rng;
use partgate::simulation::part::{Defect, RenderedPart, Renderer};
use partgate::size::Size;
use partgate::verdict::{Bound, BoundMethod, Thresholds};
use partgate::view::Picture;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// What a test bundle is made of.
pub(crate) struct Recipe {
    /// Network input, pixels.
    pub(crate) size: Size,
    /// Good parts behind the bank.
    pub(crate) train: u64,
    /// Rows of the bank.
    pub(crate) rows: usize,
    /// Good parts behind the thresholds.
    pub(crate) held_out: u64,
    /// Whether golden images are stored.
    pub(crate) goldens: bool,
    /// Arithmetic of the backbone: "int8" or "f32".
    pub(crate) precision: &'static str,
}

/// A bundle that is quick to make and to run.
pub(crate) const SMALL: Recipe = Recipe {
    size: Size::square(128),
    train: 6,
    rows: 200,
    held_out: 4,
    goldens: true,
    precision: "int8",
};

const WINDOW: usize = 3;
const PATCH: u32 = 3;

pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn frame(part: &RenderedPart) -> Frame {
    Frame::new(part.width, part.height, Pixels::Rgb8(part.rgb.clone())).expect("frame")
}

fn spec_and_onnx(precision: &str) -> (BackboneSpec, Vec<u8>) {
    let models = root().join("models");
    let text = std::fs::read_to_string(models.join("manifest.json")).expect("models/manifest.json");
    let manifest: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let entry = manifest["backbones"]
        .as_array()
        .expect("backbones")
        .iter()
        .find(|b| b["precision"] == precision)
        .expect("a backbone")
        .clone();
    let file = models.join(entry["file"].as_str().expect("file"));
    let spec: BackboneSpec = serde_json::from_value(entry).expect("backbone description");
    (spec, std::fs::read(file).expect("ONNX file"))
}

fn bound(threshold: f32, n: u32) -> Bound {
    Bound {
        threshold,
        method: BoundMethod::Maximum,
        n,
        rate: 0.01,
        confidence: 0.95,
        stated_rate: 0.5,
        distribution_free_rate: 0.5,
        note: "made for tests".into(),
    }
}

fn le_bytes<T: Copy, const N: usize>(values: &[T], bytes: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|&v| bytes(v)).collect()
}

/// The rows that a cell may match: those that a training part showed in the window around it.
fn position_mask(grid: Size, bank: &PackedBank, parts: &[Vec<f32>]) -> PositionMask {
    let mut mask = PositionMask::nothing(grid.area(), bank.rows());
    let mut nearest = vec![Neighbour::default(); grid.area()];
    let reach = WINDOW / 2;
    for features in parts {
        bank.nearest(features, None, &Threads::default(), &mut nearest);
        for (cell, neighbour) in nearest.iter().enumerate() {
            let (row, column) = (cell / grid.width, cell % grid.width);
            for y in row.saturating_sub(reach)..=(row + reach).min(grid.height - 1) {
                for x in column.saturating_sub(reach)..=(column + reach).min(grid.width - 1) {
                    mask.allow(y * grid.width + x, neighbour.row as usize);
                }
            }
        }
    }
    mask
}

fn golden_section(part: &RenderedPart) -> SectionBytes {
    let bytes = Picture::png(&part.rgb, part.width, part.height, "")
        .expect("PNG")
        .bytes;
    section(
        SectionKind::GoldenImage,
        DType::Bytes,
        vec![bytes.len() as u64],
        bytes,
    )
}

fn section(kind: SectionKind, dtype: DType, shape: Vec<u64>, bytes: Vec<u8>) -> SectionBytes {
    SectionBytes {
        kind,
        member: 0,
        dtype,
        shape,
        bytes,
    }
}

/// Makes a bundle by `recipe`.
pub(crate) fn build(recipe: &Recipe) -> Vec<u8> {
    let (spec, onnx) = spec_and_onnx(recipe.precision);
    let size = recipe.size;
    let grid = spec.grid(size);
    let input = InputGeometry::whole(None, size);
    let renderer = Renderer::new(1);
    let mut network =
        Backbone::load(&onnx, &spec, size, &Threads::default()).expect("the backbone loads");
    let mut preprocessor = Preprocessor::new(input.clone(), spec.input.mean, spec.input.std);
    let channels = [0, 1].map(|i| spec.taps[i].channels as usize);
    let mut aggregator = Aggregator::new(grid, channels, PATCH as usize, Border::Inside);
    let d = spec.dimensions();
    let parts: Vec<Vec<f32>> = (0..recipe.train)
        .map(|i| {
            let frame = frame(&renderer.good(i));
            network
                .run(|input| {
                    preprocessor.run(&frame, input).expect("geometry");
                    Ok::<(), partgate::backbone::BackboneError>(())
                })
                .expect("the backbone runs");
            let mut features = vec![0.0; grid.area() * d];
            let (fine, coarse) = (network.tap(0).expect("tap"), network.tap(1).expect("tap"));
            aggregator.run(fine, coarse, &mut features);
            features
        })
        .collect();
    let cells = parts.len() * grid.area();
    let values: Vec<f32> = Rng::new(1)
        .permutation(cells)
        .into_iter()
        .take(recipe.rows)
        .flat_map(|i| {
            let cell = i % grid.area() * d;
            parts[i / grid.area()][cell..cell + d].to_vec()
        })
        .collect();
    let bank = PackedBank::new(values.clone(), d);
    let mask = position_mask(grid, &bank, &parts);
    let allowed_share = mask.allowed_share();

    let manifest = Manifest {
        name: "test assembly".into(),
        part_number: "T-1".into(),
        revision: 3,
        created_unix: None,
        tool_version: partgate::VERSION.into(),
        minimum_runtime: [0, 1, 0],
        input,
        backbone: spec,
        method: Method {
            rule: Rule::Position,
            patch: PATCH,
            border: Border::Inside,
            sigma: 4.0,
            bank_ratio: recipe.rows as f64 / cells as f64,
            projection: 0,
            position: Some(PositionEvidence {
                window: WINDOW as u32,
                sightings: 1,
                allowed_share,
                lost_share: None,
                threshold: None,
            }),
            neighbourhood: None,
            density: None,
            refinement: None,
            choice: None,
        },
        others: vec![],
        member_scales: vec![],
        thresholds: Thresholds {
            unknown: bound(1e6, 0),
            ng: bound(1e6, 0),
        },
        baseline_thresholds: None,
        training: Training {
            images: recipe.train as u32,
            cells: cells as u64,
            digest: [7; 32],
            seed: 1,
            folds: 1,
            smallest: [320, 256],
            largest: [320, 256],
            held_out: [0.0; 3],
        },
        validation: None,
        boards: vec![],
        parity: Parity {
            score_relative: 1e-3,
            map_correlation: 0.999,
        },
        goldens: vec![],
        audit: vec![],
        sections: vec![],
    };
    let mut sections = vec![
        section(
            SectionKind::Backbone,
            DType::Bytes,
            vec![onnx.len() as u64],
            onnx,
        ),
        section(
            SectionKind::Bank,
            DType::F32,
            vec![bank.rows() as u64, d as u64],
            le_bytes(&values, f32::to_le_bytes),
        ),
        section(
            SectionKind::PositionMask,
            DType::U16,
            vec![
                grid.area() as u64,
                (mask.all_words().len() / grid.area()) as u64,
            ],
            le_bytes(mask.all_words(), u16::to_le_bytes),
        ),
    ];
    let bytes = write(manifest, &sections, &Signature::Unsigned).expect("write");
    let product = Product::from_bytes(bytes, "draft").expect("a bundle opens");

    // Thresholds from parts that the bank has not seen, then goldens under those thresholds.
    let mut manifest = product.manifest().clone();
    let mut inspector = Inspector::new(&product, &Threads::default()).expect("inspector");
    let mut scores: Vec<f32> = (0..recipe.held_out)
        .map(|i| {
            inspector
                .inspect(&frame(&renderer.good(50_000 + i)))
                .expect("score")
                .score
        })
        .collect();
    scores.sort_by(f32::total_cmp);
    let highest = *scores.last().expect("held-out parts");
    let n = recipe.held_out as u32;
    manifest.training.held_out = [scores[0], scores[scores.len() / 2], highest];
    manifest.thresholds = Thresholds {
        unknown: bound(highest * 1.02, n),
        ng: bound(highest * 1.1, n),
    };
    if recipe.goldens {
        let shown = [
            ("good-1", GoldenKind::Good, renderer.good(60_000)),
            (
                "missing-1",
                GoldenKind::Damaged,
                renderer.defective(60_001, Defect::ComponentMissing),
            ),
        ];
        for (name, kind, part) in shown {
            let inspected = inspector.inspect(&frame(&part)).expect("golden");
            manifest.goldens.push(Golden {
                name: name.into(),
                kind,
                section: sections.len() as u32,
                score: inspected.score,
                verdict: manifest.thresholds.verdict(inspected.score),
                coarse_map: coarse(inspector.map(), size),
            });
            sections.push(golden_section(&part));
        }
    }
    write(manifest, &sections, &Signature::Unsigned).expect("write")
}

/// The bundle of [`SMALL`], made once per test program.
pub(crate) fn small() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| build(&SMALL))
}

/// As [`small`], with the f32 backbone.
pub(crate) fn small_in_floats() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    let recipe = Recipe {
        precision: "f32",
        ..SMALL
    };
    BYTES.get_or_init(|| build(&recipe))
}

/// The product that `partgate demo` has built in.
pub(crate) fn demo() -> PathBuf {
    root().join("calibration/demo.pgp")
}

/// `bytes` with a manifest changed by `change`, sections as they were.
pub(crate) fn changed(bytes: &[u8], change: impl FnOnce(&mut Manifest)) -> Vec<u8> {
    let product = Product::from_bytes(bytes.to_vec(), "before").expect("a bundle opens");
    let mut manifest = product.manifest().clone();
    change(&mut manifest);
    product.rewritten(manifest).expect("write")
}

/// The small bundle with other thresholds, and golden verdicts that follow from them.
pub(crate) fn with_thresholds(unknown: f32, ng: f32) -> Vec<u8> {
    changed(small(), |manifest| {
        manifest.thresholds.unknown.threshold = unknown;
        manifest.thresholds.ng.threshold = ng;
        for golden in &mut manifest.goldens {
            golden.verdict = manifest.thresholds.verdict(golden.score);
        }
    })
}

/// Writes the picture of a part.
pub(crate) fn save(part: &RenderedPart, path: &Path) {
    let picture = Picture::png(&part.rgb, part.width, part.height, "").expect("PNG");
    std::fs::write(path, picture.bytes).expect("write");
}

/// The sections of a bundle with their bytes.
pub(crate) fn sections(product: &Product, bytes: &[u8]) -> Vec<SectionBytes> {
    let all = product.manifest().sections.iter();
    all.map(|s| SectionBytes {
        kind: s.kind,
        member: s.member,
        dtype: s.dtype,
        shape: s.shape.clone(),
        bytes: bytes[s.offset as usize..][..s.length as usize].to_vec(),
    })
    .collect()
}

/// `bytes` with what the pictures of the fit were like.
pub(crate) fn with_inputs(bytes: &[u8], inputs: &Inputs) -> Vec<u8> {
    let product = Product::from_bytes(bytes.to_vec(), "before").expect("a bundle opens");
    let mut sections = sections(&product, bytes);
    sections.push(inputs.section().expect("JSON"));
    write(product.manifest().clone(), &sections, &Signature::Unsigned).expect("write")
}

/// Pictures as [`small`] was made of: 320 x 256, 8 bits.
pub(crate) fn inputs() -> Inputs {
    Inputs {
        width: [320, 320],
        height: [256, 256],
        aspect: [1.25, 1.25],
        bits: 16,
        upright: false,
        orientation: 1,
        dimmest: 60_000,
        digests: Vec::new(),
        forced: Vec::new(),
    }
}

/// [`small_in_floats`] with weights of the backbone multiplied by `factor`.
pub(crate) fn with_weights(factor: f32) -> Vec<u8> {
    /// Neighbouring floats that can only be weights.
    const RUN: usize = 256;
    let bytes = small_in_floats();
    let product = Product::from_bytes(bytes.to_vec(), "before").expect("a bundle opens");
    let mut sections = sections(&product, bytes);
    let network = sections
        .iter_mut()
        .find(|s| s.kind == SectionKind::Backbone);
    let onnx = &mut network.expect("a backbone").bytes;
    let value = |onnx: &[u8], at: usize| {
        f32::from_le_bytes([onnx[at], onnx[at + 1], onnx[at + 2], onnx[at + 3]])
    };
    let weights =
        |at: &usize| (0..RUN).all(|i| (1e-6..4.0).contains(&value(onnx, at + 4 * i).abs()));
    let at = (0..onnx.len() - 4 * RUN).find(weights).expect("weights");
    for i in 0..RUN {
        let new = (value(onnx, at + 4 * i) * factor).to_le_bytes();
        onnx[at + 4 * i..][..4].copy_from_slice(&new);
    }
    write(product.manifest().clone(), &sections, &Signature::Unsigned).expect("write")
}
