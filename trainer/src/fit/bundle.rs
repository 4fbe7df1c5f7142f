//! Everything fitted, written as a bundle: sections, manifest, golden images judged by itself.

use super::Settings;
use super::catalogue::BackboneFile;
use super::density;
use super::ensemble::{self, Joined};
use super::fitter::{FittedBank, Fitter};
use super::golden::{golden_frames, png};
use super::member::FittedMember;
use super::refined::Refined;
use super::rules::{Calibration, RuleSpec};
use crate::dataset::GoodImages;
use crate::error::TrainError;
use partgate::backbone::Precision;
use partgate::inspection::Inspector;
use partgate::lanes::LANES;
use partgate::network::Threads;
use partgate::product::{
    self, AuditEntry, Choice, DType, DensityEvidence, Golden, GoldenKind, Manifest, Member, Method,
    NeighbourhoodEvidence, Parity, Product, SectionBytes, SectionKind, Signature,
};
use partgate::verdict::Verdict;

/// What a member is made of besides the bank.
pub(super) struct Ingredients<'a> {
    pub(super) file: &'a BackboneFile,
    pub(super) spec: RuleSpec,
    pub(super) calibration: &'a Calibration,
    pub(super) choice: Option<Choice>,
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

fn opaque(kind: SectionKind, bytes: &[u8]) -> SectionBytes {
    section(kind, DType::Bytes, &[bytes.len()], bytes.to_vec())
}

/// A member's sections, as those of a first member, and its method.
pub(super) fn member_sections(
    fitter: &Fitter<'_>,
    fitted: &FittedBank,
    with: Ingredients<'_>,
) -> Result<(Vec<SectionBytes>, Method), TrainError> {
    let (settings, features, bank) = (fitter.settings, &fitter.features, &fitted.bank);
    let file = with.file;
    let conditioned = fitter.conditioned(fitted, with.spec, with.calibration)?;
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
    let method = Method {
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
    };
    Ok((sections, method))
}

/// The product of `members` without golden images, as it would be with thresholds of the first
/// member alone, and its sections.
fn without_goldens(settings: &Settings, members: &[FittedMember]) -> (Manifest, Vec<SectionBytes>) {
    let (first, others) = (&members[0], &members[1..]);
    let mut sections = Vec::new();
    for (index, member) in (0..).zip(members) {
        sections.extend(member.sections.iter().map(|section| SectionBytes {
            member: index,
            ..section.clone()
        }));
    }
    let side = settings.map_side.unwrap_or(first.input.side());
    if let Some(pixels) = &settings.ignore {
        sections.push(section(
            SectionKind::IgnoreMask,
            DType::Bits,
            &[side, side],
            bits(pixels),
        ));
    }
    let int8 = members
        .iter()
        .any(|m| m.backbone.precision == Precision::Int8);
    let manifest = Manifest {
        name: settings.name.clone(),
        part_number: settings.part_number.clone(),
        revision: settings.revision,
        created_unix: settings.created_unix,
        tool_version: format!("partgate-train {}", partgate::VERSION),
        minimum_runtime: [0, 1, 0],
        input: first.input.clone(),
        backbone: first.backbone.clone(),
        method: first.method.clone(),
        others: others
            .iter()
            .map(|member| Member {
                input: member.input.clone(),
                backbone: member.backbone.clone(),
                method: member.method.clone(),
            })
            .collect(),
        member_scales: if others.is_empty() {
            Vec::new()
        } else {
            vec![1.0; members.len()]
        },
        thresholds: first.held_out.thresholds.clone(),
        baseline_thresholds: first.held_out.baseline_thresholds.clone(),
        training: first.training.clone(),
        validation: None,
        boards: Vec::new(),
        parity: parity(if int8 {
            Precision::Int8
        } else {
            Precision::F32
        }),
        goldens: Vec::new(),
        audit: Vec::<AuditEntry>::new(),
        sections: Vec::new(),
    };
    (manifest, sections)
}

/// A product: its bytes, what they say, and what joining several members gave.
pub(crate) struct Assembled {
    pub(crate) bytes: Vec<u8>,
    pub(crate) manifest: Manifest,
    /// Held-out score of each good image.
    pub(crate) scores: Vec<f32>,
    pub(crate) joined: Option<Joined>,
}

/// The product of `members`, the first one first. There is at least one.
pub(crate) fn assemble(
    images: &GoodImages,
    settings: &Settings,
    members: &[FittedMember],
) -> Result<Assembled, TrainError> {
    let (mut manifest, mut sections) = without_goldens(settings, members);
    let joined = if members.len() > 1 {
        let bare = product::write(manifest.clone(), &sections, &Signature::Unsigned)?;
        let opened = Product::from_bytes(bare, &settings.name)?;
        Some(ensemble::join(&opened, members, settings.risk)?)
    } else {
        None
    };
    let held_out = &members[0].held_out;
    let mut scores = held_out.scores.clone();
    if let Some(joined) = &joined {
        manifest.member_scales.clone_from(&joined.scales);
        manifest.thresholds = joined.thresholds.clone();
        // The plain bank beside it is the first member's, alone.
        let plain = held_out.baseline_thresholds.as_ref();
        manifest.baseline_thresholds = Some(plain.unwrap_or(&held_out.thresholds).clone());
        scores.clone_from(&joined.scores);
    }
    let mut sorted = scores.clone();
    sorted.sort_by(f32::total_cmp);
    let n = sorted.len();
    manifest.training.held_out = [sorted[0], sorted[n / 2], sorted[n - 1]];
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
            coarse_map: product::coarse(inspector.map(), inspector.side()),
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
    Ok(Assembled {
        bytes,
        manifest,
        scores,
        joined,
    })
}
