//! A bundle that is damaged in any way gives an error that states the damage; never a panic, never
//! a product.

#![allow(clippy::expect_used, clippy::panic)]

mod bundle;

use partgate::backbone::{BackboneSpec, InputGeometry, InputSpec, Precision, Rect, TapSpec};
use partgate::product::{
    AuditEntry, COARSE_SIDE, Candidate, Choice, DType, DensityEvidence, FORMAT, Golden, GoldenKind,
    Manifest, Member, Method, NeighbourhoodEvidence, Parity, PositionEvidence, Product,
    RefinementEvidence, SectionBytes, SectionKind, Signature, Training, Validation, write,
};
use partgate::refine::RefinementShape;
use partgate::score::{Border, Measure, NeighbourhoodForm, NeighbourhoodShape, PositionMask, Rule};
use partgate::verdict::{Bound, BoundMethod, Thresholds, Verdict};
use proptest::prelude::*;
use std::sync::OnceLock;

const HEADER: usize = 192;

fn demo() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| std::fs::read(bundle::demo()).expect("the demo bundle"))
}

fn refused(bytes: Vec<u8>, how: &str) -> String {
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

#[test]
fn the_demo_bundle_opens() {
    Product::from_bytes(demo().to_vec(), "demo").expect("whole");
}

#[test]
fn every_flipped_header_bit_is_seen() {
    for at in 0..HEADER {
        for bit in 0..8 {
            let mut bytes = demo().to_vec();
            bytes[at] ^= 1 << bit;
            refused(bytes, &format!("bit {bit} of byte {at} was flipped"));
        }
    }
}

#[test]
fn every_cut_in_header_and_manifest_is_seen() {
    let whole = bundle::small();
    for length in (0..8192).chain(whole.len() - 300..whole.len()) {
        refused(whole[..length].to_vec(), &format!("cut to {length} bytes"));
    }
}

#[test]
fn a_newer_format_is_not_taken_for_damage() {
    let mut bytes = demo().to_vec();
    bytes[8..12].copy_from_slice(&(FORMAT + 41).to_le_bytes());
    let text = refused(bytes, "it is of a newer format");
    assert!(text.contains(&format!("{}", FORMAT + 41)) && text.contains("newer"));
}

#[test]
fn trailing_bytes_and_other_files_are_refused() {
    let mut bytes = demo().to_vec();
    bytes.push(0);
    refused(bytes, "a byte was added");
    assert!(refused(vec![], "it is empty").contains("not a partgate bundle"));
    refused(b"PK\x03\x04 something else".repeat(100), "it is a zip");
}

#[test]
fn a_bundle_for_a_later_runtime_names_it() {
    let bytes = bundle::changed(bundle::small(), |m| m.minimum_runtime = [99, 1, 0]);
    assert!(refused(bytes, "it needs another version").contains("99.1.0"));
}

/// Makes header and manifest digests correct again, as an attacker would.
fn seal(bytes: &mut [u8], manifest: usize) {
    let digest = *blake3::hash(&bytes[HEADER..HEADER + manifest]).as_bytes();
    bytes[32..64].copy_from_slice(&digest);
    let digest = *blake3::hash(&bytes[..160]).as_bytes();
    bytes[160..192].copy_from_slice(&digest);
}

proptest! {
    #[test]
    fn a_cut_anywhere_is_an_error(share in 0.0f64..1.0) {
        let length = (demo().len() as f64 * share) as usize;
        refused(demo()[..length].to_vec(), &format!("cut to {length} bytes"));
    }

    #[test]
    fn a_flip_anywhere_is_an_error(share in 0.0f64..1.0, bits in 1u8..=255) {
        let at = (demo().len() as f64 * share) as usize;
        let mut bytes = demo().to_vec();
        bytes[at] ^= bits;
        refused(bytes, &format!("byte {at} was changed by {bits:#x}"));
    }

    #[test]
    fn noise_is_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..2000), magic: bool) {
        let mut bytes = bytes;
        if magic && bytes.len() >= 12 {
            bytes[..12].copy_from_slice(&demo()[..12]);
        }
        refused(bytes, "it is noise");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    /// Digests catch accidents; this test is about the decoder behind them.
    #[test]
    fn a_forged_manifest_never_panics(
        edits in proptest::collection::vec((0.0f64..1.0, any::<u8>()), 1..4),
    ) {
        let (whole, manifest) = synthetic_small();
        let mut bytes = whole.clone();
        for (share, value) in edits {
            bytes[HEADER + (*manifest as f64 * share) as usize] = value;
        }
        seal(&mut bytes, *manifest);
        // Both results are allowed: a changed name still makes a product.
        let _ = Product::from_bytes(bytes, "forged");
    }
}

fn bound(threshold: f32, n: u32, note: &str) -> Bound {
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
struct Varied {
    text: String,
    numbers: [u32; 4],
    unix: Option<u64>,
    thresholds: [f32; 2],
    rows: usize,
    rule: Rule,
    /// Under `coverage`: whether there is the position condition, and the neighbourhood condition.
    coverage: [bool; 2],
    density: bool,
    refinement: bool,
    choice: bool,
    others: usize,
    roi: bool,
    ignore: bool,
    validation: Option<f64>,
    goldens: usize,
}

const RULES: [Rule; 7] = [
    Rule::Patchcore,
    Rule::Position,
    Rule::Neighbourhood,
    Rule::Pni,
    Rule::PniV1,
    Rule::PniTwoMap,
    Rule::Coverage,
];

fn varied() -> impl Strategy<Value = Varied> {
    (
        ".{0,40}",
        any::<[u32; 4]>(),
        any::<Option<u64>>(),
        (0.0f32..10.0, 0.0f32..10.0),
        2usize..40,
        (proptest::sample::select(&RULES[..]), 0usize..3, 0usize..3),
        any::<[bool; 5]>(),
        proptest::option::of(0.0f64..1.0),
        0usize..4,
    )
        .prop_map(
            |(text, numbers, unix, (low, more), rows, scoring, flags, validation, goldens)| {
                let (rule, covers, others) = scoring;
                let [density, refinement, choice, roi, ignore] = flags;
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
                    roi,
                    ignore,
                    validation,
                    goldens,
                }
            },
        )
}

const SIDE: usize = 32;
const GRID: usize = 4;
const CELLS: usize = GRID * GRID;
const DIMENSIONS: usize = 5;

fn section(
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

fn candidate(rule: Rule, figure: f64) -> Candidate {
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

/// A method and its sections; none of them is a network, because opening does not check networks.
fn method(v: &Varied, member: u8, sections: &mut Vec<SectionBytes>) -> Method {
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
        Rule::Patchcore => [false, false],
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
    if v.density {
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
                grid: GRID as u32,
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
        density: v.density.then_some(DensityEvidence {
            neighbours: 9,
            power: 0.5,
            factors: [0.5, 2.0],
        }),
        refinement: v.refinement.then_some(RefinementEvidence {
            shape: RefinementShape {
                grid: GRID as u32,
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

/// A bundle whose every value comes from `v`.
fn synthetic(v: &Varied) -> (Manifest, Vec<SectionBytes>) {
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
        resize: SIDE as u32 + v.numbers[3] % 100,
        crop: SIDE as u32,
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
        let bits = vec![0b101; SIDE * SIDE / 8];
        let (kind, shape) = (SectionKind::IgnoreMask, [SIDE, SIDE]);
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
fn everything(rule: Rule) -> Varied {
    Varied {
        text: "forged".into(),
        numbers: [1, 2, 3, 4],
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

/// A bundle of a few kilobytes and the length of its manifest.
fn synthetic_small() -> &'static (Vec<u8>, usize) {
    static BYTES: OnceLock<(Vec<u8>, usize)> = OnceLock::new();
    BYTES.get_or_init(|| {
        let (manifest, sections) = synthetic(&everything(Rule::Coverage));
        let bytes = write(manifest, &sections, &Signature::Unsigned).expect("write");
        let mut length = [0; 8];
        length.copy_from_slice(&bytes[16..24]);
        (bytes, u64::from_le_bytes(length) as usize)
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(v in varied()) {
        let (manifest, sections) = synthetic(&v);
        let bytes = write(manifest.clone(), &sections, &Signature::Unsigned).expect("write");
        let product = Product::from_bytes(bytes.clone(), "round trip").expect("read");
        let mut read = product.manifest().clone();
        prop_assert_eq!(read.sections.len(), sections.len());
        for (read, written) in read.sections.iter().zip(&sections) {
            prop_assert_eq!((read.kind, read.member), (written.kind, written.member));
        }
        read.sections.clear();
        prop_assert_eq!(&read, &manifest);
        prop_assert_eq!(product.bank().rows(), v.rows);
        prop_assert_eq!(product.backbone_onnx(), b"no ONNX");
        let [place, near] = [SectionKind::PositionMask, SectionKind::Neighbourhood]
            .map(|kind| sections.iter().any(|s| s.kind == kind));
        prop_assert_eq!(product.mask().is_some(), place);
        prop_assert_eq!(product.ignore().is_some(), v.ignore);
        prop_assert_eq!(product.members().len(), 1 + v.others);
        for member in product.members() {
            prop_assert_eq!(member.method().neighbourhood.is_some(), near);
            prop_assert_eq!(member.row_scale().is_some(), v.density);
        }
        prop_assert_eq!(product.signature(), &Signature::Unsigned);
        // The same values give the same bytes; a rewrite without a change changes nothing.
        prop_assert_eq!(&product.rewritten(manifest).expect("write"), &bytes);
        // The JSON has everything, with readable digests.
        let json = serde_json::to_value(product.manifest()).expect("JSON");
        let digest = json["training"]["digest"].as_str().expect("hexadecimal");
        prop_assert_eq!(digest.len(), 64);
        let back: Manifest = serde_json::from_value(json).expect("a manifest");
        prop_assert_eq!(&back, product.manifest());
    }
}

#[test]
fn a_signature_is_kept() {
    let (manifest, sections) = synthetic(&everything(Rule::Pni));
    let signature = Signature::Ed25519 {
        public_key: [3; 32],
        signature: Box::new([4; 64]),
    };
    let bytes = write(manifest, &sections, &signature).expect("write");
    let product = Product::from_bytes(bytes, "signed").expect("read");
    assert_eq!(product.signature(), &signature);
}

#[test]
fn every_cut_and_every_changed_byte_of_every_kind_of_section_is_seen() {
    for rule in [Rule::Coverage, Rule::Pni] {
        let (manifest, sections) = synthetic(&everything(rule));
        let whole = write(manifest, &sections, &Signature::Unsigned).expect("write");
        Product::from_bytes(whole.clone(), "whole").expect("whole");
        for at in 0..whole.len() {
            refused(whole[..at].to_vec(), &format!("cut to {at} bytes"));
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            refused(bytes, &format!("byte {at} was changed"));
        }
    }
}

type Edit<'a> = &'a dyn Fn(&mut Manifest, &mut Vec<SectionBytes>);

/// The error for a bundle of [`everything`] that `edit` has changed.
fn complaint(rule: Rule, what: &str, edit: Edit<'_>) -> String {
    let (mut manifest, mut sections) = synthetic(&everything(rule));
    let whole = write(manifest.clone(), &sections, &Signature::Unsigned).expect("write");
    Product::from_bytes(whole, "whole").expect("whole before it is changed");
    edit(&mut manifest, &mut sections);
    let bytes = write(manifest, &sections, &Signature::Unsigned).expect("write");
    refused(bytes, what)
}

fn find(sections: &mut [SectionBytes], kind: SectionKind) -> &mut SectionBytes {
    let mut all = sections.iter_mut();
    all.find(|s| s.kind == kind).expect("such a section")
}

fn near(manifest: &mut Manifest) -> &mut NeighbourhoodEvidence {
    manifest.method.neighbourhood.as_mut().expect("evidence")
}

fn refinement(manifest: &mut Manifest) -> &mut RefinementEvidence {
    manifest.method.refinement.as_mut().expect("evidence")
}

/// Sections and values of the method that do not fit together. Each would make another method than
/// the fitted one inspect, so each is an error, and the error names the cause.
#[test]
fn what_does_not_fit_together_is_refused_and_named() {
    let stray: Edit<'_> = &|_, sections| {
        let mut more = sections[0].clone();
        more.member = 2;
        sections.push(more);
    };
    let four: Edit<'_> = &|manifest, _| {
        let one = manifest.others[0].clone();
        manifest.others = vec![one; 3];
        manifest.member_scales = vec![1.0; 4];
    };
    let float = |value: f32| {
        move |_: &mut Manifest, sections: &mut Vec<SectionBytes>| {
            find(sections, SectionKind::RowScale).bytes[8..12]
                .copy_from_slice(&value.to_le_bytes());
        }
    };
    let drop_kind = |kind: SectionKind| {
        move |_: &mut Manifest, sections: &mut Vec<SectionBytes>| {
            find(sections, kind).kind = SectionKind::GoldenImage;
        }
    };
    let cases: &[(&str, Edit<'_>, &[&str])] = &[
        (
            "a section belongs to nobody",
            stray,
            &["Backbone", "member 2", "not there"],
        ),
        ("it has four members", four, &["4 members", "at most 3"]),
        (
            "a member has no scale",
            &|m, _| m.member_scales = vec![1.0],
            &["scales", "members"],
        ),
        (
            "a scale is nothing",
            &|m, _| m.member_scales[1] = 0.0,
            &["scales", "positive"],
        ),
        (
            "a scale is no number",
            &|m, _| m.member_scales[0] = f32::NAN,
            &["scales", "positive"],
        ),
        (
            "a product of one member has scales",
            &|m, sections| {
                m.others.clear();
                sections.retain(|s| s.member == 0);
                m.goldens.clear();
            },
            &["scales"],
        ),
        (
            "the second member has no bank",
            &|_, sections| {
                let bank = sections
                    .iter_mut()
                    .find(|s| s.member == 1 && s.kind == SectionKind::Bank);
                bank.expect("a bank").kind = SectionKind::GoldenImage;
            },
            &["Bank"],
        ),
        (
            "the ignore mask is of the second member",
            &|_, sections| find(sections, SectionKind::IgnoreMask).member = 1,
            &["ignore mask"],
        ),
        (
            "coverage rests on nothing",
            &|m, _| (m.method.position, m.method.neighbourhood) = (None, None),
            &["evidence", "`coverage`"],
        ),
        (
            "coverage has a mask that its evidence does not know",
            &|m, _| m.method.position = None,
            &["PositionMask", "`coverage`"],
        ),
        (
            "patchcore has a neighbourhood network",
            &|m, sections| {
                m.method.rule = Rule::Patchcore;
                (m.method.position, m.method.neighbourhood) = (None, None);
                find(sections, SectionKind::PositionMask).kind = SectionKind::GoldenImage;
            },
            &["Neighbourhood", "`patchcore`"],
        ),
        (
            "patchcore has evidence of a neighbourhood network",
            &|m, _| m.method.rule = Rule::Patchcore,
            &["evidence", "`patchcore`"],
        ),
        (
            "pni has no sightings",
            &|m, _| m.method.rule = Rule::Pni,
            &["`pni`"],
        ),
        (
            "the mask is gone",
            &drop_kind(SectionKind::PositionMask),
            &["PositionMask", "`coverage`"],
        ),
        (
            "the network is gone",
            &drop_kind(SectionKind::Neighbourhood),
            &["Neighbourhood", "`coverage`"],
        ),
        (
            "the assignment is gone",
            &drop_kind(SectionKind::Assignment),
            &["Assignment", "`coverage`"],
        ),
        (
            "the row factors are gone",
            &drop_kind(SectionKind::RowScale),
            &["RowScale"],
        ),
        (
            "the refinement is gone",
            &drop_kind(SectionKind::Refinement),
            &["Refinement"],
        ),
        (
            "row factors are there that the evidence does not know",
            &|m, _| m.method.density = None,
            &["RowScale"],
        ),
        (
            "a refinement is there that the evidence does not know",
            &|m, _| m.method.refinement = None,
            &["Refinement"],
        ),
        (
            "there are two networks",
            &|_, sections| {
                let more = find(sections, SectionKind::Neighbourhood).clone();
                sections.push(more);
            },
            &["2 sections Neighbourhood"],
        ),
        (
            "the assignment is beyond the network's entries",
            &|m, sections| {
                let entries = near(m).shape.entries as u16;
                find(sections, SectionKind::Assignment).bytes[6..8]
                    .copy_from_slice(&entries.to_le_bytes());
            },
            &["assignment", "bank"],
        ),
        (
            "the assignment is short",
            &|_, sections| {
                let section = find(sections, SectionKind::Assignment);
                section.bytes.truncate(38);
                section.shape = vec![19];
            },
            &["assignment", "bank"],
        ),
        ("a row factor is nothing", &float(0.0), &["row factors"]),
        (
            "a row factor is no number",
            &float(f32::NAN),
            &["row factors"],
        ),
        (
            "a row factor has no end",
            &float(f32::INFINITY),
            &["row factors"],
        ),
        ("a row factor is negative", &float(-1.0), &["row factors"]),
        (
            "a row factor is missing",
            &|_, sections| {
                let section = find(sections, SectionKind::RowScale);
                section.bytes.truncate(76);
                section.shape = vec![19];
            },
            &["row factors"],
        ),
        (
            "the network is for another grid",
            &|m, _| near(m).shape.grid = 5,
            &["neighbourhood network", "grid"],
        ),
        (
            "the network is for other features",
            &|m, _| near(m).shape.dimensions = 6,
            &["neighbourhood network", "bank"],
        ),
        (
            "the network tells more rows apart than there are",
            &|m, _| near(m).shape.entries = 21,
            &["neighbourhood network", "bank"],
        ),
        (
            "more rows take part than there are",
            &|m, _| near(m).rows = 21,
            &["neighbourhood network", "bank"],
        ),
        (
            "no row takes part",
            &|m, _| near(m).rows = 0,
            &["neighbourhood network", "bank"],
        ),
        (
            "the window is even",
            &|m, _| near(m).shape.window = 4,
            &["neighbourhood network", "window: 4"],
        ),
        (
            "the threshold is no number",
            &|m, _| near(m).threshold = f32::NAN,
            &["neighbourhood", "threshold NaN"],
        ),
        (
            "nothing can be above the threshold",
            &|m, _| near(m).threshold = 1.0,
            &["neighbourhood", "threshold 1"],
        ),
        (
            "the threshold is negative",
            &|m, _| near(m).threshold = -0.5,
            &["neighbourhood", "threshold -0.5"],
        ),
        (
            "logits are divided by nothing",
            &|m, _| near(m).temperature = 0.0,
            &["neighbourhood", "temperature 0"],
        ),
        (
            "the mean with the position has no sightings",
            &|m, _| near(m).measure = Measure::MeanWithPosition,
            &["neighbourhood", "measure"],
        ),
        (
            "the refinement is for another grid",
            &|m, _| refinement(m).shape.grid = 8,
            &["refinement", "grid"],
        ),
        (
            "the refinement counts more than the whole",
            &|m, _| refinement(m).weight = 1.5,
            &["refinement", "weight 1.5"],
        ),
        (
            "the refinement's weight is no number",
            &|m, _| refinement(m).weight = f32::NAN,
            &["refinement", "weight NaN"],
        ),
        (
            "the refinement's unit is nothing",
            &|m, _| refinement(m).scale = 0.0,
            &["refinement", "scale 0"],
        ),
        (
            "the refinement has no blocks",
            &|m, _| refinement(m).shape.blocks = 0,
            &["refinement", "blocks: 0"],
        ),
    ];
    for (what, edit, names) in cases {
        let text = complaint(Rule::Coverage, what, *edit);
        for name in *names {
            assert!(text.contains(name), "{what}: `{name}` is not in: {text}");
        }
    }
}

#[test]
fn sightings_that_do_not_fit_are_refused_and_named() {
    for (kind, item) in [
        (SectionKind::SightingCounts, 1),
        (SectionKind::SightingTotals, 4),
    ] {
        let text = complaint(Rule::Pni, "sightings are missing", &|_, sections| {
            let section = find(sections, kind);
            let left = section.bytes.len() - item;
            section.bytes.truncate(left);
            section.shape = vec![(left / item) as u64];
        });
        assert!(text.contains("sighting table"), "{text}");
        let text = complaint(Rule::Pni, "sightings are gone", &|_, sections| {
            find(sections, kind).kind = SectionKind::GoldenImage;
        });
        assert!(text.contains(&format!("{kind:?}")), "{text}");
    }
}
