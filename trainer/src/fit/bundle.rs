//! Everything fitted, written as a bundle: sections, manifest, golden images judged by itself.

use super::catalogue::BackboneFile;
use super::density;
use super::fitter::{FittedBank, Fitter};
use super::golden::{golden_frames, png};
use super::refined::Refined;
use super::rules::{Calibration, RuleSpec};
use crate::dataset::GoodImages;
use crate::error::TrainError;
use partgate::backbone::Precision;
use partgate::inspection::Inspector;
use partgate::lanes::LANES;
use partgate::network::Threads;
use partgate::product::{
    self, AuditEntry, Choice, DType, DensityEvidence, Golden, GoldenKind, Manifest, Method,
    NeighbourhoodEvidence, Parity, Product, SectionBytes, SectionKind, Signature, Training,
};
use partgate::verdict::{Thresholds, Verdict};

/// What a bundle is made of besides the bank.
pub(super) struct Ingredients<'a> {
    pub(super) file: &'a BackboneFile,
    pub(super) spec: RuleSpec,
    pub(super) calibration: &'a Calibration,
    pub(super) choice: Option<Choice>,
    pub(super) thresholds: Thresholds,
    pub(super) baseline_thresholds: Option<Thresholds>,
    pub(super) held_out: &'a [f32],
    pub(super) folds: usize,
    pub(super) refined: Option<&'a Refined>,
}

fn little_endian(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn bits(values: &[bool]) -> Vec<u8> {
    values
        .chunks(8)
        .map(|byte| {
            byte.iter()
                .enumerate()
                .fold(0, |b, (i, &set)| b | u8::from(set) << i)
        })
        .collect()
}

/// How closely a board must reproduce the goldens. In f32 only the order of summation differs
/// between processors; with int8 activations such a difference now and then tips a rounding.
fn parity(precision: Precision) -> Parity {
    match precision {
        Precision::F32 => Parity {
            score_relative: 1e-4,
            map_correlation: 0.9999,
        },
        Precision::Int8 => Parity {
            score_relative: 0.02,
            map_correlation: 0.995,
        },
    }
}

fn section(kind: SectionKind, dtype: DType, shape: &[usize], bytes: Vec<u8>) -> SectionBytes {
    SectionBytes {
        kind,
        member: 0,
        dtype,
        shape: shape.iter().map(|&s| s as u64).collect(),
        bytes,
    }
}

/// The bundle's bytes and its manifest.
pub(super) fn assemble(
    images: &GoodImages,
    fitter: &Fitter<'_>,
    fitted: &FittedBank,
    with: Ingredients<'_>,
) -> Result<(Vec<u8>, Manifest), TrainError> {
    let (settings, features, bank) = (fitter.settings, &fitter.features, &fitted.bank);
    let (file, side) = (with.file, fitter.side);
    let conditioned = fitter.conditioned(fitted, with.spec, with.calibration)?;
    let opaque = |kind, bytes: &[u8]| section(kind, DType::Bytes, &[bytes.len()], bytes.to_vec());
    let mut sections = vec![
        opaque(SectionKind::Backbone, &file.onnx),
        section(
            SectionKind::Bank,
            DType::F32,
            &[bank.rows(), bank.dimensions()],
            little_endian(bank.values()),
        ),
    ];
    if let Some((_, Some(mask))) = &conditioned.position {
        sections.push(section(
            SectionKind::PositionMask,
            DType::U16,
            &[mask.cells(), mask.rows().div_ceil(LANES)],
            mask.all_words()
                .iter()
                .flat_map(|w| w.to_le_bytes())
                .collect(),
        ));
    }
    if let Some(seen) = &conditioned.sightings {
        let cells = seen.totals.len();
        let totals = seen.totals.iter().flat_map(|t| t.to_le_bytes()).collect();
        sections.push(section(
            SectionKind::SightingCounts,
            DType::U8,
            &[cells, bank.rows()],
            seen.counts.clone(),
        ));
        sections.push(section(
            SectionKind::SightingTotals,
            DType::U32,
            &[cells],
            totals,
        ));
    }
    let network = fitted.network.as_ref().filter(|_| with.spec.network());
    let neighbourhood = network.map(|(onnx, shape)| {
        sections.push(opaque(SectionKind::Neighbourhood, onnx));
        sections.push(section(
            SectionKind::Assignment,
            DType::U16,
            &[bank.rows()],
            fitted
                .assignment
                .iter()
                .flat_map(|a| a.to_le_bytes())
                .collect(),
        ));
        let (best, loss) = with.calibration.temperature();
        NeighbourhoodEvidence {
            shape: *shape,
            measure: conditioned.measure,
            temperature: conditioned.temperature,
            threshold: conditioned.threshold,
            rows: conditioned.rows as u32,
            lost_share: with.spec.near_lost,
            held_out_loss: loss,
            best_temperature: best,
            held_out_images: features.images as u32,
        }
    });
    let density = fitted.row_scale(with.spec).map(|scale| {
        sections.push(section(
            SectionKind::RowScale,
            DType::F32,
            &[bank.rows()],
            little_endian(&scale),
        ));
        DensityEvidence {
            neighbours: density::NEIGHBOURS as u32,
            power: with.spec.density,
            factors: [
                scale.iter().copied().fold(f32::INFINITY, f32::min),
                scale.iter().copied().fold(0.0, f32::max),
            ],
        }
    });
    if let Some(refined) = with.refined {
        sections.push(opaque(SectionKind::Refinement, &refined.onnx));
    }
    if let Some(pixels) = &settings.ignore {
        sections.push(section(
            SectionKind::IgnoreMask,
            DType::Bits,
            &[side, side],
            bits(pixels),
        ));
    }
    let n = features.images;
    let mut sorted = with.held_out.to_vec();
    sorted.sort_by(f32::total_cmp);
    let all: Vec<usize> = (0..n).collect();
    let mut manifest = Manifest {
        name: settings.name.clone(),
        part_number: settings.part_number.clone(),
        revision: settings.revision,
        created_unix: settings.created_unix,
        tool_version: format!("partgate-train {}", partgate::VERSION),
        minimum_runtime: [0, 1, 0],
        input: settings.features.input.clone(),
        backbone: file.spec.clone(),
        method: Method {
            rule: with.spec.rule,
            patch: settings.features.patch as u32,
            border: settings.features.border,
            sigma: fitter.sigma,
            bank_ratio: settings.bank_ratio,
            projection: settings.projection_for(features.dimensions) as u32,
            position: conditioned.position.map(|(evidence, _)| evidence),
            neighbourhood,
            density,
            refinement: with.refined.map(|r| r.evidence.clone()),
            choice: with.choice,
        },
        others: Vec::new(),
        member_scales: Vec::new(),
        thresholds: with.thresholds,
        baseline_thresholds: with.baseline_thresholds,
        training: Training {
            images: n as u32,
            cells: fitter.members(&all).len() as u64,
            digest: features.digest,
            seed: settings.seed,
            folds: with.folds as u32,
            smallest: features.smallest,
            largest: features.largest,
            held_out: [sorted[0], sorted[n / 2], sorted[n - 1]],
        },
        validation: None,
        boards: Vec::new(),
        parity: parity(file.spec.precision),
        goldens: Vec::new(),
        audit: Vec::<AuditEntry>::new(),
        sections: Vec::new(),
    };
    // The goldens are judged by the very bundle that carries them, without them.
    let bare = product::write(manifest.clone(), &sections, &Signature::Unsigned)?;
    let opened = Product::from_bytes(bare, &settings.name)?;
    let mut inspector = Inspector::new(&opened, &Threads::default())?;
    for (name, kind, frame) in golden_frames(settings, images)? {
        let inspection = inspector.inspect(&frame)?;
        manifest.goldens.push(Golden {
            name,
            kind,
            section: sections.len() as u32,
            score: inspection.score,
            verdict: inspection.verdict,
            coarse_map: product::coarse(inspector.map(), side),
        });
        sections.push(opaque(SectionKind::GoldenImage, &png(&frame)?));
    }
    let caught = manifest
        .goldens
        .iter()
        .any(|g| g.kind == GoldenKind::Damaged && g.verdict != Verdict::Ok);
    if settings.goldens > 0 && !caught {
        log::warn!(
            "none of the synthetically damaged golden images is rejected; validate this product on real defects before use"
        );
    }
    let bytes = product::write(manifest.clone(), &sections, &Signature::Unsigned)?;
    Ok((bytes, manifest))
}
