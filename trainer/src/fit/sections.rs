//! A fitted member as sections of a bundle, with the method that its manifest states.

use super::catalogue::BackboneFile;
use super::conditions::RuleConditions;
use super::density;
use super::fitted_bank::{FittedBank, NetworkFile, missing};
use super::gaussian::GaussianModel;
use super::n_pad::NPadModel;
use super::refined::Refined;
use super::rules::{Calibration, RuleSpec};
use super::study::Study;
use crate::error::TrainError;
use partgate::lanes::LANES;
use partgate::product::{
    BankBytes, Choice, DType, DensityEvidence, Method, NeighbourhoodEvidence, SectionBytes,
    SectionKind,
};
use partgate::score::{PackedBank, PositionMask, SightingTable};

/// Sections of one member, as those of a first member, and its method.
pub(super) struct MemberSections {
    pub(super) sections: Vec<SectionBytes>,
    pub(super) method: Method,
}

/// What a member's rule is and where it comes from.
pub(super) struct RuleTaken<'a> {
    pub(super) spec: RuleSpec,
    /// The comparison behind the rule, where there was one.
    pub(super) choice: Option<Choice>,
    pub(super) refined: Option<&'a Refined>,
}

pub(super) fn little_endian(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

pub(super) fn bits(values: &[bool]) -> Vec<u8> {
    values
        .chunks(8)
        .map(|byte| {
            byte.iter()
                .enumerate()
                .fold(0, |b, (i, &set)| b | u8::from(set) << i)
        })
        .collect()
}

fn bytes_u16(values: &[u16]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

pub(super) fn section(
    kind: SectionKind,
    dtype: DType,
    shape: &[usize],
    bytes: Vec<u8>,
) -> SectionBytes {
    SectionBytes {
        kind,
        member: 0,
        dtype,
        shape: shape.iter().map(|&s| s as u64).collect(),
        bytes,
    }
}

pub(super) fn opaque(kind: SectionKind, bytes: &[u8]) -> SectionBytes {
    section(kind, DType::Bytes, &[bytes.len()], bytes.to_vec())
}

/// The bank; `in_bytes` are rows that were rounded to bytes when they were chosen.
pub(super) fn bank_sections(bank: &PackedBank, in_bytes: bool) -> Vec<SectionBytes> {
    let shape = [bank.rows(), bank.dimensions()];
    if !in_bytes {
        let rows = little_endian(bank.values());
        return vec![section(SectionKind::Bank, DType::F32, &shape, rows)];
    }
    let BankBytes { values, scales } = BankBytes::of(bank.values(), bank.dimensions());
    let rows = values.iter().map(|v| v.to_le_bytes()[0]).collect();
    let scales = little_endian(&scales);
    vec![
        section(SectionKind::Bank, DType::I8, &shape, rows),
        section(SectionKind::BankScales, DType::F32, &shape[..1], scales),
    ]
}

pub(super) fn row_scale_section(factors: &[f32]) -> SectionBytes {
    section(
        SectionKind::RowScale,
        DType::F32,
        &[factors.len()],
        little_endian(factors),
    )
}

pub(super) fn mask_section(mask: &PositionMask) -> SectionBytes {
    section(
        SectionKind::PositionMask,
        DType::U16,
        &[mask.cells(), mask.rows().div_ceil(LANES)],
        bytes_u16(mask.all_words()),
    )
}

pub(super) fn sighting_sections(seen: &SightingTable) -> [SectionBytes; 2] {
    let cells = seen.totals.len();
    let totals = seen.totals.iter().flat_map(|t| t.to_le_bytes()).collect();
    [
        section(
            SectionKind::SightingCounts,
            DType::U8,
            &[cells, seen.counts.len() / cells],
            seen.counts.clone(),
        ),
        section(SectionKind::SightingTotals, DType::U32, &[cells], totals),
    ]
}

pub(super) fn gaussian_sections(model: &GaussianModel) -> [SectionBytes; 3] {
    let (cells, d) = (model.grid.area(), model.dimensions);
    let blocks = model.scale.len() / d;
    let factor = model.factor.iter().map(|&v| v.to_le_bytes()[0]).collect();
    let (mean, scale) = (little_endian(&model.mean), little_endian(&model.scale));
    let triangle = model.factor.len() / blocks;
    [
        section(SectionKind::GaussianMean, DType::F32, &[cells, d], mean),
        section(
            SectionKind::GaussianFactor,
            DType::I8,
            &[blocks, triangle],
            factor,
        ),
        section(SectionKind::GaussianScale, DType::F32, &[blocks, d], scale),
    ]
}

pub(super) fn n_pad_sections(model: &NPadModel) -> [SectionBytes; 2] {
    let (cells, d) = (model.grid.area(), model.dimensions);
    let triangle = model.factor.len() / cells;
    let of =
        |kind, width, values| section(kind, DType::F32, &[cells, width], little_endian(values));
    [
        of(SectionKind::NPadMean, d, &model.mean),
        of(SectionKind::NPadFactor, triangle, &model.factor),
    ]
}

pub(super) fn row_neighbours_section(rows: &[u32], per_row: usize) -> SectionBytes {
    let bytes = rows.iter().flat_map(|row| row.to_le_bytes()).collect();
    let shape = [rows.len() / per_row, per_row];
    section(SectionKind::RowNeighbours, DType::U32, &shape, bytes)
}

/// What follows the search under `spec`, in a product that has more than the usual.
fn scoring_sections(fitted: &FittedBank, spec: RuleSpec) -> Result<Vec<SectionBytes>, TrainError> {
    let scoring = spec.scoring();
    let mut sections = Vec::new();
    if !scoring.is_usual() {
        let json = serde_json::to_vec(&scoring)?;
        sections.push(opaque(SectionKind::Scoring, &json));
    }
    if let Some(rows) = fitted.row_neighbours(spec)? {
        let per_row = spec.neighbours as usize - 1;
        sections.push(row_neighbours_section(&rows, per_row));
    }
    if spec.n_pad.is_some() {
        sections.extend(n_pad_sections(fitted.n_pad(spec)?));
    }
    if spec.glancing.is_some() {
        sections.push(opaque(SectionKind::Glancing, fitted.glancing(spec)?));
    }
    Ok(sections)
}

pub(super) fn assignment_section(assignment: &[u16]) -> SectionBytes {
    section(
        SectionKind::Assignment,
        DType::U16,
        &[assignment.len()],
        bytes_u16(assignment),
    )
}

pub(super) fn network_sections(onnx: &[u8], assignment: &[u16]) -> [SectionBytes; 2] {
    [
        opaque(SectionKind::Neighbourhood, onnx),
        assignment_section(assignment),
    ]
}

/// The network whose features a refinement takes.
pub(super) fn encoder_sections(file: &BackboneFile) -> Result<[SectionBytes; 2], TrainError> {
    let spec = serde_json::to_vec(&file.spec)?;
    Ok([
        opaque(SectionKind::RefinementEncoder, &file.onnx),
        opaque(SectionKind::RefinementEncoderSpec, &spec),
    ])
}

/// What the manifest states of the condition by neighbourhood; `None` for rules without one.
fn neighbourhood_evidence(
    conditions: &RuleConditions,
    network: &NetworkFile,
    spec: RuleSpec,
    calibration: &Calibration,
    images: usize,
) -> Option<NeighbourhoodEvidence> {
    let condition = conditions.neighbourhood.as_ref()?;
    let best = calibration.temperature();
    Some(NeighbourhoodEvidence {
        shape: network.shape,
        measure: condition.measure,
        temperature: condition.temperature,
        threshold: condition.threshold,
        rows: condition.rows as u32,
        lost_share: spec.near_lost,
        held_out_loss: best.loss,
        best_temperature: best.temperature,
        held_out_images: images as u32,
    })
}

pub(super) fn density_evidence(factors: &[f32], power: f32) -> DensityEvidence {
    DensityEvidence {
        neighbours: density::NEIGHBOURS as u32,
        power,
        factors: [
            factors.iter().copied().fold(f32::INFINITY, f32::min),
            factors.iter().copied().fold(0.0, f32::max),
        ],
    }
}

/// The sections of a member under the rule that was `taken`.
pub(super) fn member_sections(
    study: &Study<'_>,
    fitted: &FittedBank,
    taken: RuleTaken<'_>,
) -> Result<MemberSections, TrainError> {
    let (fitter, calibration, spec) = (&study.fitter, &study.calibration, taken.spec);
    let (settings, features) = (fitter.settings, &fitter.features);
    let conditions = fitter.conditions(fitted, spec, calibration)?;
    let mut sections = vec![opaque(SectionKind::Backbone, &study.file.onnx)];
    sections.extend(bank_sections(&fitted.bank, settings.bank_in_bytes));
    sections.extend(fitter.map.as_ref().map(|map| {
        let shape = [map.map.from(), map.map.to()];
        let bytes = little_endian(&map.weights);
        section(SectionKind::FeatureMap, DType::F32, &shape, bytes)
    }));
    sections.extend(conditions.mask.as_ref().map(mask_section));
    if spec.gaussian() {
        sections.extend(gaussian_sections(fitted.gaussians(spec)?));
    }
    sections.extend(scoring_sections(fitted, spec)?);
    let mut neighbourhood = None;
    if let Some(condition) = &conditions.neighbourhood {
        if let Some(seen) = &condition.sightings {
            sections.extend(sighting_sections(seen));
        }
        let network = fitted.network().ok_or_else(|| missing(spec))?;
        let assignment = &fitted.distribution(spec)?.assignment;
        sections.extend(network_sections(&network.onnx, assignment));
        neighbourhood =
            neighbourhood_evidence(&conditions, network, spec, calibration, features.images);
    }
    let mut density = None;
    if let Some(factors) = fitted.row_scale(spec)? {
        sections.push(row_scale_section(&factors));
        density = Some(density_evidence(&factors, spec.density));
    }
    if let Some(refined) = taken.refined {
        sections.push(opaque(SectionKind::Refinement, &refined.onnx));
        if let Some(encoder) = &study.encoder {
            sections.extend(encoder_sections(&encoder.file)?);
        }
    }
    let method = Method {
        rule: spec.rule,
        patch: settings.features.patch as u32,
        border: settings.features.border,
        sigma: fitter.sigma,
        bank_ratio: settings.bank_ratio,
        projection: settings.projection_for(features.dimensions) as u32,
        position: conditions.position,
        neighbourhood,
        density,
        refinement: taken.refined.map(|r| r.evidence.clone()),
        choice: taken.choice,
    };
    Ok(MemberSections { sections, method })
}
