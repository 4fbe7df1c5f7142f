//! Made-up products for tests: sections and manifests with nothing fitted behind them.

use super::sections;
use partgate::backbone::{BackboneSpec, InputGeometry, InputSpec, Rect, TapSpec};
use partgate::network::Precision;
use partgate::product::{
    DType, Manifest, Method, Parity, PositionEvidence, SectionBytes, SectionKind, Training,
};
use partgate::score::{Border, PositionMask, Rule, SightingTable};
use partgate::size::Size;
use partgate::verdict::{Bound, BoundMethod, Thresholds};

pub(super) fn bound(threshold: f32, rate: f64) -> Bound {
    Bound {
        threshold,
        method: BoundMethod::Maximum,
        n: 4,
        rate,
        confidence: 0.95,
        stated_rate: 0.5,
        distribution_free_rate: 0.25,
        note: "made for tests".into(),
    }
}

fn of_member(member: u8, section: SectionBytes) -> SectionBytes {
    SectionBytes { member, ..section }
}

pub(super) fn section(
    (kind, member): (SectionKind, u8),
    dtype: DType,
    shape: &[usize],
    bytes: Vec<u8>,
) -> SectionBytes {
    of_member(member, sections::section(kind, dtype, shape, bytes))
}

pub(super) fn mask_section(member: u8, mask: &PositionMask) -> SectionBytes {
    of_member(member, sections::mask_section(mask))
}

pub(super) fn sighting_sections(member: u8, seen: &SightingTable) -> [SectionBytes; 2] {
    sections::sighting_sections(seen).map(|section| of_member(member, section))
}

pub(super) fn network_sections(member: u8, onnx: &[u8], assignment: &[u16]) -> [SectionBytes; 2] {
    sections::network_sections(onnx, assignment).map(|section| of_member(member, section))
}

/// A method without evidence.
pub(super) fn method(rule: Rule) -> Method {
    Method {
        rule,
        patch: 3,
        border: Border::Zero,
        sigma: 1.0,
        bank_ratio: 0.01,
        projection: 0,
        position: None,
        neighbourhood: None,
        density: None,
        refinement: None,
        choice: None,
    }
}

pub(super) fn position(sightings: u32) -> PositionEvidence {
    PositionEvidence {
        window: 3,
        sightings,
        allowed_share: 0.5,
        lost_share: None,
        threshold: None,
    }
}

/// A product for pictures of `size` pixels, taps of `channels` at strides 8 and 16.
pub(super) fn manifest(size: Size, channels: [u32; 2], method: Method) -> Manifest {
    let tap = |name: &str, channels, stride| TapSpec {
        output: name.into(),
        channels,
        stride,
    };
    Manifest {
        name: "made for tests".into(),
        part_number: "T-2".into(),
        revision: 1,
        created_unix: None,
        tool_version: "tests".into(),
        minimum_runtime: [0, 1, 0],
        input: InputGeometry::whole(None, size),
        backbone: BackboneSpec {
            name: "tiny".into(),
            precision: Precision::F32,
            licence: "MIT OR Apache-2.0".into(),
            attribution: "drawn at random by the partgate project".into(),
            input: InputSpec {
                name: "image".into(),
                colour: "rgb".into(),
                mean: [120.0, 121.0, 122.0],
                std: [60.0, 61.0, 62.0],
                multiple_of: 16,
            },
            taps: vec![tap("fine", channels[0], 8), tap("coarse", channels[1], 16)],
        },
        method,
        others: Vec::new(),
        member_scales: Vec::new(),
        thresholds: Thresholds {
            unknown: bound(1e6, 0.01),
            ng: bound(1e6, 0.001),
        },
        baseline_thresholds: None,
        training: Training {
            images: 4,
            cells: 144,
            digest: [7; 32],
            seed: 1,
            folds: 2,
            smallest: [1, 1],
            largest: [1, 1],
            held_out: [1.0, 2.0, 3.0],
        },
        validation: None,
        boards: Vec::new(),
        parity: Parity {
            score_relative: 1e-4,
            map_correlation: 0.9999,
        },
        goldens: Vec::new(),
        audit: Vec::new(),
        sections: Vec::new(),
    }
}

/// Sizes of the inputs of a golden bundle.
pub(super) struct GoldenInputs {
    pub(super) first: InputGeometry,
    pub(super) second: InputGeometry,
}

impl GoldenInputs {
    fn new([resize, crop]: [Size; 2], [other_resize, other_crop]: [Size; 2]) -> Self {
        let roi = Rect {
            x: 4,
            y: 2,
            width: 72,
            height: 74,
        };
        Self {
            first: InputGeometry {
                roi: Some(roi),
                resize,
                crop,
            },
            second: InputGeometry {
                roi: None,
                resize: other_resize,
                crop: other_crop,
            },
        }
    }

    pub(super) fn format_2() -> Self {
        let square = Size::square;
        Self::new([square(72), square(64)], [square(40), square(32)])
    }

    pub(super) fn format_3() -> Self {
        Self::new(
            [Size::new(104, 72), Size::new(96, 64)],
            [Size::new(56, 40), Size::new(48, 32)],
        )
    }
}
