//! Bundles of formats 1 to 5 stay readable, field by field (`tests/golden/README.md`).

#![allow(clippy::expect_used, clippy::panic)]

use partgate::backbone::{BackgroundFilter, Foreground, Precision, Threads};
use partgate::inspection::Inspector;
use partgate::product::{
    DType, FORMAT, GoldenKind, Manifest, Product, SectionBytes, SectionKind, Signature, write,
};
use partgate::score::{
    Border, Combination, GlancingForm, Interpolation, Measure, NPadForm, NeighbourhoodForm,
    PlaceWeights, Rule, Scoring,
};
use partgate::size::Size;
use partgate::verdict::{BoundMethod, Verdict};
use serde_json::Value;
use std::path::PathBuf;

fn square(side: usize) -> Size {
    Size::square(side)
}

const BLAKE3: [(&str, &str); 5] = [
    (
        "format-1",
        "761b36d5fbea4cb2c16a2bce7ab8479e9c01973a60d2cde47f509f2ff9ee11ba",
    ),
    (
        "format-2",
        "3f509135a62a6ba8fd6af60dba21f25679b7344761e2c5ff320957f021851db7",
    ),
    (
        "format-3",
        "7c13ec900a720da731145434b4f996da115061ad723d1cab3e61d81daf76257e",
    ),
    (
        "format-4",
        "62db7ac3b970950f97976eaf4cacf7f788d8e1f27f096658d94a8e3d48754c46",
    ),
    (
        "format-5",
        "d6ec1471e2eeea7e23c50c6a7b1466a8629dd63851992bf96137891e86840ff0",
    ),
];
/// Scores of the golden images, good and blotched.
const SCORES: [(&str, [f32; 2]); 4] = [
    ("format-2", [0.897_379_2, 1.406_506_5]),
    ("format-3", [0.820_518_85, 1.908_026]),
    ("format-4", [8.410_894, 18.054_428]),
    ("format-5", [1.724_812_2, 2.683_875_3]),
];

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

fn open_format(name: &str) -> Product {
    Product::open(&golden(&format!("{name}.pgp"))).expect("a bundle of an earlier format or this")
}

fn open() -> Product {
    open_format("format-1")
}

/// Every value of `written` is in `read`; more values in `read` are allowed.
fn compare(path: &str, written: &Value, read: &Value) {
    match (written, read) {
        (Value::Object(old), Value::Object(new)) => {
            for (key, value) in old {
                let read = new.get(key);
                let read = read.unwrap_or_else(|| panic!("{path}.{key} is gone"));
                compare(&format!("{path}.{key}"), value, read);
            }
            for (key, value) in new.iter().filter(|(key, _)| !old.contains_key(*key)) {
                let nothing = value.is_null() || value == 0 || *value == Value::Array(vec![]);
                assert!(nothing, "{path}.{key} is new and holds {value}");
            }
        }
        (Value::Array(old), Value::Array(new)) => {
            assert_eq!(old.len(), new.len(), "{path}");
            for (i, (old, new)) in old.iter().zip(new).enumerate() {
                compare(&format!("{path}[{i}]"), old, new);
            }
        }
        _ => assert_eq!(written, read, "{path}"),
    }
}

#[test]
fn every_field_reads_as_it_was_written() {
    for (name, digest) in BLAKE3 {
        let product = open_format(name);
        assert_eq!(
            product.digest().to_hex().as_str(),
            digest,
            "{name} was made again; was that meant?"
        );
        let read = serde_json::to_string_pretty(product.manifest()).expect("JSON") + "\n";
        let written = std::fs::read_to_string(golden(&format!("{name}.json"))).expect("fields");
        let values =
            [&written, &read].map(|text| serde_json::from_str::<Value>(text).expect("JSON"));
        compare(name, &values[0], &values[1]);
        if name != "format-1" {
            // Those that are written: exactly the same text.
            for (read, written) in read.lines().zip(written.lines()) {
                assert_eq!(read, written);
            }
            assert_eq!(read.len(), written.len());
        }
    }
}

#[test]
fn a_picture_that_does_not_hold_the_region_is_never_expected() {
    let mut manifest = open().manifest().clone();
    let [w, h] = manifest.training.smallest.map(|side| side as usize);
    assert!(manifest.expects_size(w, h));
    // Fitted on pictures of many sizes, so any size that contains the region is accepted: the
    // region ends at 92.
    manifest.training.largest = [400, 300];
    assert!(manifest.expects_size(92, 92) && manifest.expects_size(1000, 100));
    assert!(!manifest.expects_size(91, 1000) && !manifest.expects_size(1000, 91));
}

/// The meaning of the values. The JSON cannot show it, because its names change with the code.
#[test]
fn what_the_fields_mean_has_not_moved() {
    let product = open();
    let manifest = product.manifest();
    assert_eq!(FORMAT, 5);
    assert_eq!(
        [1, 2, 3, 4, 5],
        BLAKE3.map(|(name, _)| open_format(name).format())
    );
    assert!(matches!(product.signature(), Signature::Unsigned));
    assert_eq!(
        (manifest.name.as_str(), manifest.part_number.as_str()),
        ("golden", "G-1")
    );
    assert_eq!(manifest.revision, 3);
    assert_eq!(manifest.created_unix, Some(1_700_000_000));
    assert_eq!(manifest.minimum_runtime, [0, 1, 0]);
    let input = &manifest.input;
    assert_eq!((input.resize, input.crop), (square(80), square(64)));
    let roi = input.roi.expect("a region");
    assert_eq!((roi.x, roi.y, roi.width, roi.height), (4, 4, 88, 88));
    let method = &manifest.method;
    assert_eq!((method.rule, method.border), (Rule::Position, Border::Zero));
    assert_eq!((method.patch, method.projection), (3, 0));
    let position = method.position.as_ref().expect("position evidence");
    assert_eq!((position.window, position.sightings), (3, 2));
    assert_eq!((position.lost_share, position.threshold), (None, None));
    assert!(method.neighbourhood.is_none() && method.refinement.is_none());
    assert!(manifest.others.is_empty() && manifest.member_scales.is_empty());
    assert!(manifest.sections.iter().all(|s| s.member == 0));
    let (unknown, ng) = (&manifest.thresholds.unknown, &manifest.thresholds.ng);
    assert_eq!((unknown.method, unknown.n), (BoundMethod::Maximum, 4));
    assert_eq!((unknown.rate, ng.rate), (0.01, 0.001));
    assert_eq!((unknown.confidence, ng.threshold), (0.95, 35.0));
    let baseline = manifest.baseline_thresholds.as_ref().expect("baseline");
    assert_eq!(
        (baseline.unknown.threshold, baseline.ng.threshold),
        (30.0, 34.0)
    );
    let training = &manifest.training;
    assert_eq!((training.images, training.cells), (4, 256));
    assert_eq!((training.seed, training.folds), (7, 4));
    assert_eq!((training.smallest, training.largest), ([96, 96], [96, 96]));
    let validation = manifest.validation.as_ref().expect("figures");
    assert_eq!(validation.images, [5, 6]);
    assert_eq!(
        (validation.image_auroc, validation.pixel_auroc),
        (Some(0.75), None)
    );
    assert_eq!(validation.aupro, Some(0.5));
    assert_eq!(
        (validation.false_reject_rate, validation.escape_rate),
        (Some(0.2), Some(0.25))
    );
    assert_eq!(manifest.boards, ["x86-64", "aarch64"]);
    assert_eq!(manifest.audit.len(), 1);
    assert_eq!(manifest.audit[0].unix, Some(1_700_000_001));
    let sections: Vec<(SectionKind, DType, &[u64])> = manifest
        .sections
        .iter()
        .map(|s| (s.kind, s.dtype, s.shape.as_slice()))
        .collect();
    assert_eq!(
        sections[..4],
        [
            (SectionKind::Backbone, DType::Bytes, &[869_107][..]),
            (SectionKind::Bank, DType::F32, &[16, 152]),
            (SectionKind::PositionMask, DType::U16, &[64, 1]),
            (SectionKind::IgnoreMask, DType::Bits, &[64, 64]),
        ]
    );
    assert_eq!(
        (product.bank().rows(), product.bank().dimensions()),
        (16, 152)
    );
    assert_eq!(product.mask().expect("a position mask").cells(), 64);
    assert!(product.ignore().is_some());
}

fn inspected(product: &Product, threads: usize) -> Vec<f32> {
    let threads = Threads::new(threads).expect("threads");
    let mut inspector = Inspector::new(product, &threads).expect("usable");
    let outcomes = inspector.selftest(product).expect("goldens");
    let goldens = &product.manifest().goldens;
    assert_eq!(outcomes.len(), 2);
    for (outcome, golden) in outcomes.iter().zip(goldens) {
        assert!(outcome.agrees, "{outcome:?}");
        let expected = match golden.kind {
            GoldenKind::Good => Verdict::Ok,
            GoldenKind::Damaged => Verdict::Ng,
        };
        assert_eq!(outcome.verdict, expected, "{}", golden.name);
    }
    outcomes.into_iter().map(|o| o.score).collect()
}

#[test]
fn they_inspect_as_they_did() {
    for threads in [1, 2] {
        inspected(&open(), threads);
        for (name, pinned) in SCORES {
            let scores = inspected(&open_format(name), threads);
            for (score, pinned) in scores.into_iter().zip(pinned) {
                // f32 sums have another order on another processor; the bundle itself allows no
                // larger difference.
                assert!((score - pinned).abs() < 1e-4 * pinned, "{score} {pinned}");
            }
        }
    }
}

#[test]
fn what_was_read_is_written_again_byte_for_byte() {
    for name in ["format-2", "format-3", "format-4", "format-5"] {
        let product = open_format(name);
        let again = product
            .rewritten(product.manifest().clone())
            .expect("bytes");
        let bytes = std::fs::read(golden(&format!("{name}.pgp"))).expect("read");
        assert!(
            again == bytes,
            "the writer no longer writes {name} as it did"
        );
    }
}

/// A bundle states the oldest format that can hold it: programs from before other sizes read square
/// products, and refuse the others as newer instead of misreading them.
#[test]
fn the_format_follows_from_the_inputs() {
    let square_one = open_format("format-2");
    let mut manifest = square_one.manifest().clone();
    let bytes = square_one.rewritten(manifest.clone()).expect("bytes");
    assert_eq!(bytes[8..12], 2u32.to_le_bytes());
    // As much as another size before the crop, in a further member.
    manifest.others[0].input.resize = Size::new(40, 48);
    let bytes = square_one.rewritten(manifest).expect("bytes");
    assert_eq!(bytes[8..12], 3u32.to_le_bytes());
    let product = Product::from_bytes(bytes, "another size").expect("a bundle");
    assert_eq!(
        product.members()[1].input().resize,
        Size::new(40, 48),
        "the sides were exchanged"
    );
    // A file that claims the other format is refused, although its digests are right.
    for (name, claimed) in [
        ("format-2", 3u32),
        ("format-3", 2),
        ("format-3", 4),
        ("format-4", 3),
        ("format-4", 5),
        ("format-5", 4),
    ] {
        let mut bytes = std::fs::read(golden(&format!("{name}.pgp"))).expect("read");
        bytes[8..12].copy_from_slice(&claimed.to_le_bytes());
        let digest = *blake3::hash(&bytes[..160]).as_bytes();
        bytes[160..192].copy_from_slice(&digest);
        let error = Product::from_bytes(bytes, name).err().expect("accepted");
        let cause = std::error::Error::source(&error)
            .expect("a cause")
            .to_string();
        assert!(cause.contains(&format!("format {claimed}")), "{cause}");
    }
}

/// New thresholds for an old product: the bundle becomes one of format 2 and inspects as before.
#[test]
fn a_bundle_of_format_1_is_carried_over_whole() {
    let old = open();
    let bytes = old.rewritten(old.manifest().clone()).expect("bytes");
    assert_eq!(bytes[8..12], 2u32.to_le_bytes());
    let new = Product::from_bytes(bytes, "carried over").expect("a bundle");
    let mut manifest = new.manifest().clone();
    for (section, before) in manifest.sections.iter_mut().zip(&old.manifest().sections) {
        section.offset = before.offset;
    }
    assert_eq!(&manifest, old.manifest());
    assert_eq!(inspected(&new, 1), inspected(&old, 1));
}

#[test]
fn what_the_fields_of_format_2_mean_has_not_moved() {
    let product = open_format("format-2");
    let manifest = product.manifest();
    assert!(matches!(product.signature(), Signature::Unsigned));
    assert_eq!((manifest.name.as_str(), manifest.revision), ("golden", 5));
    assert_eq!(manifest.input.size(), square(64));
    let method = &manifest.method;
    assert_eq!(
        (method.rule, method.border),
        (Rule::Coverage, Border::Inside)
    );
    let position = method.position.as_ref().expect("position evidence");
    assert_eq!(
        (position.lost_share, position.threshold),
        (Some(0.03125), Some(0.0625))
    );
    let near = method.neighbourhood.as_ref().expect("a neighbourhood");
    let shape = near.shape;
    assert_eq!(
        (shape.grid, shape.dimensions, shape.window),
        (square(8), 11, 3)
    );
    assert_eq!((shape.bottleneck, shape.hidden, shape.entries), (4, 8, 10));
    assert!(
        shape.form == NeighbourhoodForm::Edge { place: true } && shape.precision == Precision::Int8
    );
    assert_eq!((near.measure, near.rows), (Measure::Ratio, 24));
    assert_eq!((near.temperature, near.threshold), (1.0, 0.125));
    assert_eq!(near.lost_share, Some(0.015625));
    assert_eq!((near.held_out_loss, near.best_temperature), (1.5, 0.85));
    assert_eq!(near.held_out_images, 3);
    let density = method.density.as_ref().expect("row factors");
    assert_eq!((density.neighbours, density.power), (9, 0.5));
    let refinement = method.refinement.as_ref().expect("a refinement");
    let shape = refinement.shape;
    assert_eq!((shape.grid, shape.dimensions), (square(8), 11));
    assert_eq!((shape.channels, shape.blocks), (4, 2));
    assert_eq!((refinement.scale, refinement.weight), (1.25, 0.375));
    assert_eq!(refinement.separation, [0.625, 0.6875]);
    assert_eq!(refinement.caught, [0.28125, 0.34375]);
    assert_eq!(refinement.held_out_images, 12);
    let choice = method.choice.as_ref().expect("a choice");
    assert_eq!((choice.images, choice.damaged), (4, [8, 12, 10]));
    let taken = &choice.candidates[1];
    assert_eq!(choice.candidates[0].rule, Rule::Patchcore);
    assert_eq!(
        (taken.rule, taken.place_lost, taken.near_lost),
        (Rule::Coverage, Some(0.03125), Some(0.015625))
    );
    assert_eq!((taken.surface, taken.misplaced), (0.75, 0.875));
    assert_eq!((taken.exchanged, taken.density), (0.625, 0.5));
    assert_eq!(taken.caught, [0.8125, 0.6875, 0.78125]);
    assert_eq!((taken.shortfall, taken.spread), (0.1875, 0.09375));
    assert_eq!(manifest.others.len(), 1);
    let other = &manifest.others[0];
    assert_eq!(
        (other.input.resize, other.input.crop),
        (square(40), square(32))
    );
    assert_eq!(
        (other.method.rule, other.method.border),
        (Rule::Pni, Border::Zero)
    );
    let near = other
        .method
        .neighbourhood
        .as_ref()
        .expect("a neighbourhood");
    assert_eq!(
        (near.measure, near.temperature, near.threshold),
        (Measure::MeanWithPosition, 2.0, 0.0625)
    );
    assert_eq!(manifest.member_scales, [1.5, 0.75]);
    let sections: Vec<(SectionKind, u8, DType)> = manifest
        .sections
        .iter()
        .map(|s| (s.kind, s.member, s.dtype))
        .collect();
    assert_eq!(
        sections,
        [
            (SectionKind::Backbone, 0, DType::Bytes),
            (SectionKind::Bank, 0, DType::F32),
            (SectionKind::PositionMask, 0, DType::U16),
            (SectionKind::Neighbourhood, 0, DType::Bytes),
            (SectionKind::Assignment, 0, DType::U16),
            (SectionKind::RowScale, 0, DType::F32),
            (SectionKind::Refinement, 0, DType::Bytes),
            (SectionKind::Backbone, 1, DType::Bytes),
            (SectionKind::Bank, 1, DType::F32),
            (SectionKind::SightingCounts, 1, DType::U8),
            (SectionKind::SightingTotals, 1, DType::U32),
            (SectionKind::Neighbourhood, 1, DType::Bytes),
            (SectionKind::Assignment, 1, DType::U16),
            (SectionKind::IgnoreMask, 0, DType::Bits),
            (SectionKind::GoldenImage, 0, DType::Bytes),
            (SectionKind::GoldenImage, 0, DType::Bytes),
        ]
    );
    assert_eq!(product.members().len(), 2);
    assert_eq!(product.members()[0].row_scale().map(<[f32]>::len), Some(24));
    assert_eq!(product.mask().expect("a position mask").cells(), 64);
    assert!(product.ignore().is_some());
}

#[test]
fn width_and_height_of_format_3_have_not_changed_places() {
    let product = open_format("format-3");
    let manifest = product.manifest();
    let (input, other) = (&manifest.input, &manifest.others[0].input);
    assert_eq!(
        (input.resize, input.crop),
        (Size::new(104, 72), Size::new(96, 64))
    );
    assert_eq!(
        (other.resize, other.crop),
        (Size::new(56, 40), Size::new(48, 32))
    );
    let method = &manifest.method;
    let near = method.neighbourhood.as_ref().expect("a neighbourhood");
    let refinement = method.refinement.as_ref().expect("a refinement");
    assert_eq!(
        (near.shape.grid, refinement.shape.grid),
        (Size::new(12, 8), Size::new(12, 8))
    );
    let mut sections = manifest.sections.iter();
    let mask = sections
        .find(|s| s.kind == SectionKind::IgnoreMask)
        .expect("an ignore mask");
    assert_eq!(mask.shape, [64, 96]);
    let json = serde_json::to_value(manifest).expect("JSON");
    assert_eq!(
        json["input"]["crop"],
        serde_json::json!({"width": 96, "height": 64})
    );
    // The upper left corner is ignored: six columns of twenty rows, not twenty of six.
    let ignored = product.ignore().expect("a mask");
    let at = |x: usize, y: usize| ignored.pixels()[y * 96 + x];
    assert!(at(0, 0) && at(5, 19) && !at(6, 0) && !at(0, 20));
}

/// A pinned score shows nothing about a part that does not contribute to it.
#[test]
fn every_part_of_the_golden_bundles_has_a_say_in_their_scores() {
    for name in ["format-2", "format-3"] {
        every_part_has_a_say(&open_format(name));
    }
}

#[test]
fn the_gaussians_of_format_4_are_read_as_they_were_written() {
    let product = open_format("format-4");
    let manifest = product.manifest();
    let (first, second) = (&manifest.method, &manifest.others[0].method);
    assert_eq!(
        (first.rule, second.rule),
        (Rule::BankGaussian, Rule::Gaussian)
    );
    assert_eq!(first.rule.combination(), Some(Combination::GeometricMean));
    assert_eq!(second.rule.combination(), Some(Combination::GaussianOnly));
    assert_eq!(first.density.as_ref().expect("row factors").power, 0.5);
    let compared = &first.choice.as_ref().expect("a comparison").candidates;
    assert_eq!(compared[1].rule, Rule::BankGaussian);
    let of = |kind: SectionKind| -> Vec<(u8, Vec<u64>)> {
        let sections = manifest.sections.iter().filter(|s| s.kind == kind);
        sections.map(|s| (s.member, s.shape.clone())).collect()
    };
    // Grids of 8 x 8 and 4 x 4 cells in blocks of 2 x 2, 11 values.
    assert_eq!(
        of(SectionKind::GaussianMean),
        [(0, vec![64, 11]), (1, vec![16, 11])]
    );
    assert_eq!(
        of(SectionKind::GaussianFactor),
        [(0, vec![16, 66]), (1, vec![4, 66])]
    );
    assert_eq!(
        of(SectionKind::GaussianScale),
        [(0, vec![16, 11]), (1, vec![4, 11])]
    );
}

/// The bank has no say under `gaussian`, and both have one under `bank-gaussian`.
#[test]
fn what_counts_in_format_4_is_what_the_rules_say() {
    let product = open_format("format-4");
    let score_with = |member: u8, kind: SectionKind| {
        let mut manifest = product.manifest().clone();
        // The second member alone is seen where the first has a scale beyond any score.
        manifest.member_scales = match member {
            0 => vec![1.0, 1e9],
            _ => vec![1e9, 1.0],
        };
        let file = std::fs::read(golden("format-4.pgp")).expect("read");
        let scores = |doubled: bool| {
            let sections = manifest.sections.iter().map(|s| {
                let mut bytes = file[s.offset as usize..][..s.length as usize].to_vec();
                if doubled && (s.kind, s.member) == (kind, member) {
                    for value in bytes.as_chunks_mut::<4>().0 {
                        *value = (f32::from_le_bytes(*value) * 2.0).to_le_bytes();
                    }
                }
                SectionBytes {
                    kind: s.kind,
                    member: s.member,
                    dtype: s.dtype,
                    shape: s.shape.clone(),
                    bytes,
                }
            });
            let sections: Vec<SectionBytes> = sections.collect();
            let bytes = write(manifest.clone(), &sections, &Signature::Unsigned).expect("bytes");
            let product = Product::from_bytes(bytes, "doubled").expect("a bundle");
            let mut inspector = Inspector::new(&product, &Threads::default()).expect("usable");
            let outcomes = inspector.selftest(&product).expect("goldens");
            outcomes.iter().map(|o| o.score).collect::<Vec<f32>>()
        };
        scores(false) != scores(true)
    };
    assert!(score_with(0, SectionKind::GaussianScale) && score_with(0, SectionKind::GaussianMean));
    assert!(score_with(0, SectionKind::Bank) && score_with(0, SectionKind::RowScale));
    assert!(score_with(1, SectionKind::GaussianScale) && score_with(1, SectionKind::GaussianMean));
    assert!(!score_with(1, SectionKind::Bank));
}

#[test]
fn the_means_and_the_background_of_format_5_are_read_as_they_were_written() {
    let product = open_format("format-5");
    let [first, second] = product.members() else {
        panic!("two members");
    };
    assert_eq!(
        (first.method().rule, second.method().rule),
        (Rule::NPad, Rule::Glancing)
    );
    let form = NPadForm {
        window: 9,
        reach: 15,
        weights: PlaceWeights::Bhattacharyya,
    };
    let n_pad = Scoring {
        neighbours: 3,
        top_pixels: 20,
        n_pad: Some(form),
        glancing: None,
        interpolation: Interpolation::Bilinear,
    };
    let networks = GlancingForm {
        weight: 0.75,
        window: 3,
        hole: 1,
        channels: [4, 6, 3, 5],
    };
    let glancing = Scoring {
        neighbours: 1,
        top_pixels: 20,
        n_pad: None,
        glancing: Some(networks),
        interpolation: Interpolation::InverseDistance,
    };
    assert_eq!((first.scoring(), second.scoring()), (&n_pad, &glancing));
    assert_eq!(product.top_pixels(), 20);
    let background = product.background().expect("a background");
    let range = Foreground::Range {
        low: [60.0, 0.0, 0.0],
        high: [255.0; 3],
    };
    assert_eq!(background.foreground, range);
    assert_eq!((background.opening, background.closing), (1, 2));
    assert_eq!(background.filter, BackgroundFilter::Median);
    assert_eq!(background.radius, 1);
    let of = |kind: SectionKind| {
        let mut sections = product.manifest().sections.iter();
        let section = sections.find(|s| s.kind == kind).expect("such a section");
        (section.member, section.shape.clone())
    };
    assert_eq!(of(SectionKind::RowNeighbours), (0, vec![24, 2]));
    assert_eq!(of(SectionKind::NPadMean), (0, vec![64, 11]));
    assert_eq!(of(SectionKind::NPadFactor), (0, vec![64, 66]));
    assert_eq!(of(SectionKind::Glancing).0, 1);
    let encoder = first.encoder().expect("an encoder");
    assert_eq!(
        (encoder.name.as_str(), encoder.dimensions()),
        ("tiny encoder", 11)
    );
    assert_eq!(of(SectionKind::RefinementEncoder).0, 0);
}

/// Each section of format 5 changes what is scored.
#[test]
fn what_counts_in_format_5_is_what_the_sections_say() {
    let product = open_format("format-5");
    let file = std::fs::read(golden("format-5.pgp")).expect("read");
    let scores = |change: &dyn Fn(SectionKind, u8, &mut Vec<u8>)| -> Vec<f32> {
        let manifest = product.manifest();
        let sections = manifest.sections.iter().map(|s| {
            let mut bytes = file[s.offset as usize..][..s.length as usize].to_vec();
            change(s.kind, s.member, &mut bytes);
            let shape = match s.dtype {
                DType::Bytes => vec![bytes.len() as u64],
                _ => s.shape.clone(),
            };
            SectionBytes {
                kind: s.kind,
                member: s.member,
                dtype: s.dtype,
                shape,
                bytes,
            }
        });
        let sections: Vec<SectionBytes> = sections.collect();
        let bytes = write(manifest.clone(), &sections, &Signature::Unsigned).expect("bytes");
        let product = Product::from_bytes(bytes, "changed").expect("a bundle");
        let mut inspector = Inspector::new(&product, &Threads::default()).expect("usable");
        let outcomes = inspector.selftest(&product).expect("goldens");
        outcomes.iter().map(|o| o.score).collect()
    };
    let before = scores(&|_, _, _| ());
    let doubled = |kind: SectionKind| {
        scores(&|of, _, bytes| {
            if of == kind {
                for value in bytes.as_chunks_mut::<4>().0 {
                    *value = (f32::from_le_bytes(*value) * 2.0).to_le_bytes();
                }
            }
        })
    };
    for kind in [
        SectionKind::NPadMean,
        SectionKind::NPadFactor,
        SectionKind::Bank,
    ] {
        assert_ne!(doubled(kind), before, "{kind:?}");
    }
    let without_neighbours = scores(&|of, _, bytes| {
        if of == SectionKind::RowNeighbours {
            bytes.fill(0);
        }
    });
    assert_ne!(without_neighbours, before);
    let replaced = |kind: SectionKind, from: &str, to: &str| {
        scores(&|of, _, bytes| {
            if of == kind {
                let text = String::from_utf8(bytes.clone()).expect("JSON");
                *bytes = text.replace(from, to).into_bytes();
            }
        })
    };
    let (scoring, background) = (SectionKind::Scoring, SectionKind::Background);
    for (kind, from, to) in [
        (scoring, r#""top_pixels":20"#, r#""top_pixels":21"#),
        (scoring, r#""reach":15"#, r#""reach":1"#),
        (scoring, r#""weight":0.75"#, r#""weight":0.5"#),
        (scoring, "inverse-distance", "bilinear"),
        (background, r#""radius":1"#, r#""radius":5"#),
        (background, "median", "mean"),
        (background, "60.0", "200.0"),
        (SectionKind::RefinementEncoderSpec, "120.0", "60.0"),
    ] {
        assert_ne!(replaced(kind, from, to), before, "{from}");
    }
}

#[test]
fn the_evidence_in_format_3_is_read_as_it_was_written() {
    let product = open_format("format-3");
    let operating = product.operating().expect("operating points");
    assert_eq!(operating.goods, [0.25, 0.5, 0.5, 0.75]);
    assert_eq!((operating.partitions, operating.confidence), (3, 0.9375));
    let [damaged] = operating.damaged[..] else {
        panic!("{:?}", operating.damaged);
    };
    assert!(damaged.misplaced && (damaged.side, damaged.score) == (12.5, 0.875));
    let [point] = operating.points[..] else {
        panic!("{:?}", operating.points);
    };
    assert_eq!(point.method, BoundMethod::BudgetLine);
    assert_eq!((point.budget, point.threshold), (0.0625, 0.6875));
    assert_eq!((point.above, point.at_most), (1, 0.75));
    let inputs = product.inputs().expect("what the pictures were like");
    assert_eq!(
        (inputs.width, inputs.bits, inputs.upright),
        ([80, 80], 16, false)
    );
    assert_eq!(inputs.digests, ["0123456789abcdef"]);
    assert_eq!(inputs.forced.len(), 1);
    // Its scores are pinned, and the map is no unit matrix.
    let map = product.members()[0].feature_map().expect("a map");
    assert_eq!((map.from(), map.to()), (11, 11));
    let mut mapped = [0.0; 11];
    map.run(&[1.0; 11], &mut mapped);
    assert!(mapped.iter().all(|v| (v - 1.0).abs() > 1e-3), "{mapped:?}");
}

fn every_part_has_a_say(product: &Product) {
    let maps = |product: &Product| -> Vec<f32> {
        let mut inspector = Inspector::new(product, &Threads::default()).expect("usable");
        let goldens = &product.manifest().goldens;
        let all = goldens.iter().flat_map(|golden| {
            let frame = product.golden_frame(golden).expect("a picture");
            inspector.inspect(&frame).expect("a score");
            inspector.map().to_vec()
        });
        all.collect()
    };
    type Change = fn(&mut Manifest);
    let changes: [(&str, Change); 7] = [
        ("refinement", |m| {
            m.method.refinement.as_mut().expect("evidence").weight = 0.0;
        }),
        ("unit of the refinement", |m| {
            m.method.refinement.as_mut().expect("evidence").scale = 3.0;
        }),
        ("neighbourhood", |m| {
            m.method.neighbourhood.as_mut().expect("evidence").threshold = 0.0;
        }),
        ("sightings and neighbourhood", |m| {
            let method = &mut m.others[0].method;
            method.neighbourhood.as_mut().expect("evidence").threshold = 0.0;
        }),
        ("temperature", |m| {
            let method = &mut m.others[0].method;
            method.neighbourhood.as_mut().expect("evidence").temperature = 0.25;
        }),
        ("scale of the first member", |m| m.member_scales[0] = 1.0),
        ("scale of the second member", |m| m.member_scales[1] = 1.0),
    ];
    let before = maps(product);
    for (what, change) in changes {
        let mut manifest = product.manifest().clone();
        change(&mut manifest);
        let bytes = product.rewritten(manifest).expect("bytes");
        let changed = Product::from_bytes(bytes, what).expect("a bundle");
        assert_ne!(maps(&changed), before, "{what} changes nothing");
    }
    let ignored = product.ignore().expect("a mask").pixels();
    let first = &before[..ignored.len()];
    let hidden = first.iter().zip(ignored).filter(|(_, ignored)| **ignored);
    assert!(hidden.clone().count() > 0 && hidden.into_iter().all(|(v, _)| *v == 0.0));
}
