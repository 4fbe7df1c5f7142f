//! Bundles of format 1, which stay readable forever: the manifest as it was, and the present fields for
//! it.

use super::manifest::{
    AuditEntry, DType, Golden, Manifest, Method, Parity, PositionEvidence, Section, SectionKind,
    Training, Validation, hex,
};
use crate::backbone::{BackboneSpec, InputGeometry};
use crate::score::{Border, Rule};
use crate::verdict::Thresholds;
use serde::{Deserialize, Serialize};

/// Format 1: one member, no network beside the backbone.
#[derive(Serialize, Deserialize)]
pub(super) struct ManifestV1 {
    name: String,
    part_number: String,
    revision: u32,
    created_unix: Option<u64>,
    tool_version: String,
    minimum_runtime: [u16; 3],
    input: InputGeometry,
    backbone: BackboneSpec,
    method: MethodV1,
    thresholds: Thresholds,
    baseline_thresholds: Option<Thresholds>,
    training: Training,
    validation: Option<Validation>,
    boards: Vec<String>,
    parity: Parity,
    goldens: Vec<Golden>,
    audit: Vec<AuditEntry>,
    sections: Vec<SectionV1>,
}

#[derive(Serialize, Deserialize)]
struct MethodV1 {
    rule: Rule,
    patch: u32,
    border: Border,
    sigma: f32,
    bank_ratio: f64,
    projection: u32,
    position: Option<PositionEvidenceV1>,
}

#[derive(Serialize, Deserialize)]
struct PositionEvidenceV1 {
    window: u32,
    sightings: u32,
    allowed_share: f64,
}

#[derive(Serialize, Deserialize)]
struct SectionV1 {
    kind: SectionKind,
    dtype: DType,
    shape: Vec<u64>,
    offset: u64,
    length: u64,
    #[serde(with = "hex")]
    blake3: [u8; 32],
}

impl From<ManifestV1> for Manifest {
    fn from(old: ManifestV1) -> Self {
        let MethodV1 {
            rule,
            patch,
            border,
            sigma,
            bank_ratio,
            projection,
            position,
        } = old.method;
        let section = |s: SectionV1| Section {
            kind: s.kind,
            member: 0,
            dtype: s.dtype,
            shape: s.shape,
            offset: s.offset,
            length: s.length,
            blake3: s.blake3,
        };
        Self {
            name: old.name,
            part_number: old.part_number,
            revision: old.revision,
            created_unix: old.created_unix,
            tool_version: old.tool_version,
            minimum_runtime: old.minimum_runtime,
            input: old.input,
            backbone: old.backbone,
            method: Method {
                rule,
                patch,
                border,
                sigma,
                bank_ratio,
                projection,
                position: position.map(|p| PositionEvidence {
                    window: p.window,
                    sightings: p.sightings,
                    allowed_share: p.allowed_share,
                    lost_share: None,
                    threshold: None,
                }),
                neighbourhood: None,
                density: None,
                refinement: None,
                choice: None,
            },
            others: Vec::new(),
            member_scales: Vec::new(),
            thresholds: old.thresholds,
            baseline_thresholds: old.baseline_thresholds,
            training: old.training,
            validation: old.validation,
            boards: old.boards,
            parity: old.parity,
            goldens: old.goldens,
            audit: old.audit,
            sections: old.sections.into_iter().map(section).collect(),
        }
    }
}
