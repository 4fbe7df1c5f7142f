//! Bundles with every kind of section, small and made up, and how they are refused.

// Each test program uses a part of this.
#![allow(dead_code, clippy::expect_used, clippy::panic)]

use partgate::backbone::{BackboneSpec, InputGeometry, InputSpec, Precision, Rect, TapSpec};
use partgate::product::{
    AuditEntry, COARSE_SIDE, Candidate, Choice, DType, DensityEvidence, Golden, GoldenKind,
    Manifest, Member, Method, NeighbourhoodEvidence, Parity, PositionEvidence, Product,
    RefinementEvidence, SectionBytes, SectionKind, Training, Validation,
};
use partgate::refine::RefinementShape;
use partgate::score::{
    Border, GlancingForm, Interpolation, Measure, NPadForm, NeighbourhoodForm, NeighbourhoodShape,
    PlaceWeights, PositionMask, Rule, Scoring, blocks, triangle,
};
use partgate::size::Size;
use partgate::verdict::{Bound, BoundMethod, Thresholds, Verdict};
use proptest::prelude::*;

pub(crate) fn refused(bytes: Vec<u8>, how: &str) -> String {
    match Product::from_bytes(bytes, "x.pgp") {
        Ok(_) => panic!("accepted although {how}"),
        Err(error) => {
            let mut text = error.to_string();
            let mut next = std::error::Error::source(&error);
            while let Some(cause) = next {
                text = format!("{text}: {cause}");
                next = cause.source();
            }
            assert!(text.contains("x.pgp"), "does not name the file: {text}");
            text
        }
    }
}

pub(crate) fn bound(threshold: f32, n: u32, note: &str) -> Bound {
    Bound {
        threshold,
        method: BoundMethod::OrderStatistic,
        n,
        rate: 0.001,
        confidence: 0.95,
        stated_rate: 0.03,
        distribution_free_rate: 0.04,
        note: note.into(),
    }
}

/// The parts of a manifest that a round trip varies.
#[derive(Clone, Debug)]
pub(crate) struct Varied {
    pub(crate) text: String,
    pub(crate) numbers: [u32; 4],
    pub(crate) unix: Option<u64>,
    pub(crate) thresholds: [f32; 2],
    pub(crate) rows: usize,
    pub(crate) rule: Rule,
    /// Under `coverage`: whether there is the position condition, and the neighbourhood condition.
    pub(crate) coverage: [bool; 2],
    pub(crate) density: bool,
    pub(crate) refinement: bool,
    pub(crate) choice: bool,
    pub(crate) others: usize,
    /// Whether inputs have another width than height.
    pub(crate) tall: bool,
    pub(crate) roi: bool,
    pub(crate) ignore: bool,
    pub(crate) validation: Option<f64>,
    pub(crate) goldens: usize,
}

pub(crate) const RULES: [Rule; 11] = [
    Rule::Patchcore,
    Rule::Position,
    Rule::Neighbourhood,
    Rule::Pni,
    Rule::PniV1,
    Rule::PniTwoMap,
    Rule::Coverage,
    Rule::Gaussian,
    Rule::BankGaussian,
    Rule::NPad,
    Rule::Glancing,
];

pub(crate) fn varied() -> impl Strategy<Value = Varied> {
    (
        ".{0,40}",
        any::<[u32; 4]>(),
        any::<Option<u64>>(),
        (0.0f32..10.0, 0.0f32..10.0),
        2usize..40,
        (proptest::sample::select(&RULES[..]), 0usize..3, 0usize..3),
        any::<[bool; 6]>(),
        proptest::option::of(0.0f64..1.0),
        0usize..4,
    )
        .prop_map(
            |(text, numbers, unix, (low, more), rows, scoring, flags, validation, goldens)| {
                let (rule, covers, others) = scoring;
                let [density, refinement, choice, roi, ignore, tall] = flags;
                Varied {
                    text,
                    numbers,
                    unix,
                    thresholds: [low, low + more],
                    rows,
                    rule,
                    coverage: [covers != 1, covers != 0],
                    density,
                    refinement,
                    choice,
                    others,
                    tall,
                    roi,
                    ignore,
                    validation,
                    goldens,
                }
            },
        )
}

/// Both sizes of inputs have as many cells.
pub(crate) const CELLS: usize = 16;
pub(crate) const DIMENSIONS: usize = 5;

pub(crate) fn section(
    kind: SectionKind,
    member: u8,
    dtype: DType,
    shape: &[usize],
    bytes: Vec<u8>,
) -> SectionBytes {
    SectionBytes {
        kind,
        member,
        dtype,
        shape: shape.iter().map(|&s| s as u64).collect(),
        bytes,
    }
}

pub(crate) fn candidate(rule: Rule, figure: f64) -> Candidate {
    Candidate {
        rule,
        density: 0.5,
        place_lost: (rule == Rule::Coverage).then_some(0.001),
        near_lost: None,
        surface: figure,
        misplaced: 0.5,
        exchanged: 0.375,
        caught: [0.25, figure, 0.125],
        shortfall: 0.125,
        spread: 0.0625,
    }
}

/// Size of the inputs.
pub(crate) fn size(v: &Varied) -> Size {
    if v.tall {
        Size::new(16, 64)
    } else {
        Size::square(32)
    }
}

/// A method and its sections; none of them is a network, because opening does not check networks.
pub(crate) fn method(v: &Varied, member: u8, sections: &mut Vec<SectionBytes>) -> Method {
    let rows = v.rows;
    let opaque =
        |kind, text: &[u8]| section(kind, member, DType::Bytes, &[text.len()], text.to_vec());
    let bank: Vec<u8> = (0..rows * DIMENSIONS)
        .flat_map(|i| (i as f32 * 0.25).to_le_bytes())
        .collect();
    sections.push(opaque(SectionKind::Backbone, b"no ONNX"));
    let shape = [rows, DIMENSIONS];
    sections.push(section(SectionKind::Bank, member, DType::F32, &shape, bank));
    let [place, near] = match v.rule {
        Rule::Patchcore | Rule::Gaussian | Rule::BankGaussian | Rule::NPad | Rule::Glancing => {
            [false, false]
        }
        Rule::Position => [true, false],
        Rule::Neighbourhood | Rule::Pni | Rule::PniV1 => [false, true],
        Rule::PniTwoMap => [true, true],
        Rule::Coverage => v.coverage,
    };
    let seen = matches!(v.rule, Rule::Pni | Rule::PniV1);
    if place {
        let mut mask = PositionMask::nothing(CELLS, rows);
        (0..CELLS).for_each(|cell| mask.allow(cell, cell % rows));
        let words = mask.all_words();
        let bytes = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        let shape = [CELLS, words.len() / CELLS];
        let kind = SectionKind::PositionMask;
        sections.push(section(kind, member, DType::U16, &shape, bytes));
    }
    if seen {
        let counts = (0..CELLS * rows).map(|i| i as u8).collect();
        let kind = SectionKind::SightingCounts;
        sections.push(section(kind, member, DType::U8, &[CELLS, rows], counts));
        let totals = (0..CELLS as u32).flat_map(u32::to_le_bytes).collect();
        let kind = SectionKind::SightingTotals;
        sections.push(section(kind, member, DType::U32, &[CELLS], totals));
    }
    let entries = rows.div_ceil(2).max(2);
    if near {
        sections.push(opaque(SectionKind::Neighbourhood, b"no ONNX either"));
        let assignment = (0..rows).flat_map(|r| ((r % entries) as u16).to_le_bytes());
        let kind = SectionKind::Assignment;
        sections.push(section(
            kind,
            member,
            DType::U16,
            &[rows],
            assignment.collect(),
        ));
    }
    if v.rule.combination().is_some() {
        let blocks = blocks(size(v).map(|side| side / 8));
        let mut add = |kind, dtype, shape: [usize; 2], bytes| {
            sections.push(section(kind, member, dtype, &shape, bytes));
        };
        let mean = vec![0; CELLS * DIMENSIONS * 4];
        let kind = SectionKind::GaussianMean;
        add(kind, DType::F32, [CELLS, DIMENSIONS], mean);
        let shape = [blocks, triangle(DIMENSIONS)];
        let factor = (0..shape[0] * shape[1]).map(|i| 1 + (i % 100) as u8);
        add(
            SectionKind::GaussianFactor,
            DType::I8,
            shape,
            factor.collect(),
        );
        let shape = [blocks, DIMENSIONS];
        let scale = (0..shape[0] * shape[1]).flat_map(|i| (1.0 + i as f32).to_le_bytes());
        add(
            SectionKind::GaussianScale,
            DType::F32,
            shape,
            scale.collect(),
        );
    }
    if v.rule == Rule::NPad {
        n_pad(member, rows, sections);
    }
    if v.rule == Rule::Glancing {
        glancing(member, sections);
    }
    let density = v.density && !matches!(v.rule, Rule::Gaussian | Rule::Glancing);
    if density {
        let scale = (0..rows).flat_map(|r| (0.5 + r as f32 / 64.0).to_le_bytes());
        let kind = SectionKind::RowScale;
        sections.push(section(kind, member, DType::F32, &[rows], scale.collect()));
    }
    if v.refinement {
        sections.push(opaque(SectionKind::Refinement, b"nor this"));
    }
    let coverage = v.rule == Rule::Coverage;
    Method {
        rule: v.rule,
        patch: 3,
        border: Border::Zero,
        sigma: 4.0,
        bank_ratio: 0.01,
        projection: v.numbers[1],
        position: (place || seen).then_some(PositionEvidence {
            window: 3,
            sightings: 1,
            allowed_share: 0.1,
            lost_share: coverage.then_some(0.001),
            threshold: coverage.then_some(0.25),
        }),
        neighbourhood: near.then_some(NeighbourhoodEvidence {
            shape: NeighbourhoodShape {
                grid: size(v).map(|side| side / 8),
                dimensions: DIMENSIONS as u32,
                window: 5,
                bottleneck: if v.roi { 3 } else { DIMENSIONS as u32 },
                hidden: 7,
                entries: entries as u32,
                form: if v.roi {
                    NeighbourhoodForm::Edge { place: v.ignore }
                } else {
                    NeighbourhoodForm::Paper { layers: 5 }
                },
                precision: Precision::Int8,
            },
            measure: match v.rule {
                Rule::Pni | Rule::PniV1 => Measure::MeanWithPosition,
                Rule::Coverage => Measure::Ratio,
                _ => Measure::Probability,
            },
            temperature: 1.5,
            threshold: 0.03125,
            rows: rows as u32,
            lost_share: coverage.then_some(0.002),
            held_out_loss: 2.5,
            best_temperature: 0.85,
            held_out_images: v.numbers[0],
        }),
        density: density.then_some(DensityEvidence {
            neighbours: 9,
            power: 0.5,
            factors: [0.5, 2.0],
        }),
        refinement: v.refinement.then_some(RefinementEvidence {
            shape: RefinementShape {
                grid: size(v).map(|side| side / 8),
                dimensions: DIMENSIONS as u32,
                channels: 4,
                blocks: 2,
                precision: Precision::F32,
            },
            scale: 3.0,
            weight: 0.25,
            separation: [0.75, 0.875],
            caught: [0.125, 0.5],
            held_out_images: 11,
        }),
        choice: v.choice.then(|| Choice {
            images: v.numbers[0],
            damaged: [v.numbers[1], 5, 6],
            candidates: vec![candidate(Rule::Patchcore, 0.5), candidate(v.rule, 0.75)],
            reason: v.text.clone(),
        }),
    }
}

/// What rule `n-pad` has with means over two rows and three pixels.
fn n_pad(member: u8, rows: usize, sections: &mut Vec<SectionBytes>) {
    let form = NPadForm {
        window: 3,
        reach: 5,
        weights: PlaceWeights::Equal,
    };
    let scoring = Scoring {
        neighbours: 2,
        top_pixels: 3,
        n_pad: Some(form),
        ..Scoring::default()
    };
    let json = serde_json::to_vec(&scoring).expect("JSON");
    let kind = SectionKind::Scoring;
    sections.push(section(kind, member, DType::Bytes, &[json.len()], json));
    let next = (0..rows).flat_map(|row| (((row + 1) % rows) as u32).to_le_bytes());
    let kind = SectionKind::RowNeighbours;
    sections.push(section(
        kind,
        member,
        DType::U32,
        &[rows, 1],
        next.collect(),
    ));
    for (kind, width) in [
        (SectionKind::NPadMean, DIMENSIONS),
        (SectionKind::NPadFactor, triangle(DIMENSIONS)),
    ] {
        let values = (0..CELLS * width).flat_map(|i| (1.0 + i as f32).to_le_bytes());
        let shape = [CELLS, width];
        sections.push(section(kind, member, DType::F32, &shape, values.collect()));
    }
}

/// What rule `glancing` has; no networks, because opening does not check them.
fn glancing(member: u8, sections: &mut Vec<SectionBytes>) {
    let scoring = Scoring {
        glancing: Some(GlancingForm {
            weight: 0.8,
            window: 5,
            hole: 3,
            channels: [2, 3, 4, 5],
        }),
        interpolation: Interpolation::InverseDistance,
        ..Scoring::default()
    };
    let json = serde_json::to_vec(&scoring).expect("JSON");
    for (kind, bytes) in [
        (SectionKind::Scoring, json),
        (SectionKind::Glancing, b"no ONNX at all".to_vec()),
    ] {
        let shape = [bytes.len()];
        sections.push(section(kind, member, DType::Bytes, &shape, bytes));
    }
}

/// A bundle whose every value comes from `v`.
pub(crate) fn synthetic(v: &Varied) -> (Manifest, Vec<SectionBytes>) {
    let mut sections = Vec::new();
    let first = method(v, 0, &mut sections);
    let tap = |name: &str, channels, stride| TapSpec {
        output: name.into(),
        channels,
        stride,
    };
    let input = InputGeometry {
        roi: v.roi.then_some(Rect {
            x: v.numbers[1],
            y: 0,
            width: 1 + v.numbers[2] % 1000,
            height: 1,
        }),
        resize: size(v).map(|side| side + v.numbers[3] as usize % 100),
        crop: size(v),
    };
    let backbone = BackboneSpec {
        name: v.text.clone(),
        precision: Precision::F32,
        licence: "MIT".into(),
        attribution: String::new(),
        input: InputSpec {
            name: "image".into(),
            colour: "rgb".into(),
            mean: [1.0; 3],
            std: [2.0; 3],
            multiple_of: 16,
        },
        taps: vec![tap("a", 2, 8), tap("b", 3, 16)],
    };
    let others: Vec<Member> = (1..=v.others)
        .map(|index| Member {
            input: input.clone(),
            backbone: backbone.clone(),
            method: method(v, index as u8, &mut sections),
        })
        .collect();
    let members = if v.others == 0 { 0 } else { v.others + 1 };
    let member_scales = (0..members).map(|i| 1.0 + i as f32).collect();
    if v.ignore {
        let bits = vec![0b101; size(v).area() / 8];
        let shape = [size(v).height, size(v).width];
        let kind = SectionKind::IgnoreMask;
        sections.push(section(kind, 0, DType::Bits, &shape, bits));
    }
    let goldens = (0..v.goldens)
        .map(|i| {
            let at = sections.len() as u32;
            let (kind, picture) = (SectionKind::GoldenImage, vec![9; i]);
            sections.push(section(kind, 0, DType::Bytes, &[i], picture));
            Golden {
                name: format!("{}-{i}", v.text),
                kind: GoldenKind::Good,
                section: at,
                score: i as f32,
                verdict: Verdict::Unknown,
                coarse_map: vec![0.5; COARSE_SIDE * COARSE_SIDE],
            }
        })
        .collect();
    let manifest = Manifest {
        name: v.text.clone(),
        part_number: v.text.chars().rev().collect(),
        revision: v.numbers[0],
        created_unix: v.unix,
        tool_version: "0.1.0".into(),
        minimum_runtime: [0, 0, 1],
        input,
        backbone,
        method: first,
        others,
        member_scales,
        thresholds: Thresholds {
            unknown: bound(v.thresholds[0], v.numbers[2], &v.text),
            ng: bound(v.thresholds[1], v.numbers[3], ""),
        },
        baseline_thresholds: None,
        training: Training {
            images: v.numbers[0],
            cells: u64::from(v.numbers[1]),
            digest: [v.numbers[2] as u8; 32],
            seed: v.unix.unwrap_or(0),
            folds: 5,
            smallest: [1, 2],
            largest: [3, 4],
            held_out: [0.0, 1.0, 2.0],
        },
        validation: v.validation.map(|figure| Validation {
            images: [1, 2],
            image_auroc: Some(figure),
            pixel_auroc: None,
            aupro: Some(figure),
            false_reject_rate: None,
            escape_rate: Some(0.0),
        }),
        boards: vec![v.text.clone()],
        parity: Parity {
            score_relative: 1e-3,
            map_correlation: 0.99,
        },
        goldens,
        audit: vec![AuditEntry {
            action: v.text.clone(),
            unix: v.unix,
        }],
        sections: vec![],
    };
    (manifest, sections)
}

/// One of everything: two members, both conditions, every kind of section that `rule` has.
pub(crate) fn everything(rule: Rule) -> Varied {
    Varied {
        text: "forged".into(),
        numbers: [1, 2, 3, 4],
        tall: rule == Rule::Pni,
        unix: Some(5),
        thresholds: [1.0, 2.0],
        rows: 20,
        rule,
        coverage: [true, true],
        density: true,
        refinement: true,
        choice: true,
        others: 1,
        roi: true,
        ignore: true,
        validation: Some(0.5),
        goldens: 1,
    }
}
