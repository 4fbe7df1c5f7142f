//! The fitted members as a bundle: sections, manifest, and golden images that the bundle itself has
//! inspected.

use super::ensemble::{self, Ensemble};
use super::golden::golden_frames;
use super::light::light_of;
use super::member::{FittedMember, lowest_median_highest};
use super::operating::{damaged_scores_of, operating};
use super::sections::{bits, opaque, section};
use super::settings::Settings;
use crate::dataset::GoodImages;
use crate::error::TrainError;
use crate::png::png;
use partgate::backbone::Precision;
use partgate::inspection::Inspector;
use partgate::network::Threads;
use partgate::product::{
    self, AuditEntry, DType, Golden, GoldenKind, Light, LightTrial, Manifest, Member, Operating,
    Parity, Product, SectionBytes, SectionKind, Signature,
};
use partgate::verdict::Verdict;

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

/// The sections of a product, without golden images.
fn sections(
    settings: &Settings,
    members: &[FittedMember],
) -> Result<Vec<SectionBytes>, TrainError> {
    let mut sections = Vec::new();
    for (index, member) in (0..).zip(members) {
        sections.extend(member.sections.iter().map(|section| SectionBytes {
            member: index,
            ..section.clone()
        }));
    }
    let size = settings.map_size.unwrap_or(members[0].input.size());
    if let Some(pixels) = &settings.ignore {
        sections.push(section(
            SectionKind::IgnoreMask,
            DType::Bits,
            &[size.height, size.width],
            bits(pixels),
        ));
    }
    if let Some(background) = &settings.features.background {
        sections.push(product::background_section(background)?);
    }
    Ok(sections)
}

/// The manifest of a product, without golden images. Without `ensemble` several members have scales
/// of 1, and scores and thresholds are those of the first member alone.
fn manifest(
    settings: &Settings,
    members: &[FittedMember],
    ensemble: Option<&Ensemble>,
) -> Manifest {
    let (first, others) = (&members[0], &members[1..]);
    let int8 = members
        .iter()
        .any(|m| m.backbone.precision == Precision::Int8);
    let mut manifest = Manifest {
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
    if let Some(ensemble) = ensemble {
        manifest.member_scales.clone_from(&ensemble.scales);
        // The baseline is the plain bank of the first member, alone.
        manifest
            .baseline_thresholds
            .get_or_insert_with(|| first.held_out.thresholds.clone());
        manifest.thresholds = ensemble.thresholds.clone();
        manifest.training.held_out = lowest_median_highest(&ensemble.scores);
    }
    manifest
}

/// A product as it is written.
pub(crate) struct Bundle {
    pub(crate) bytes: Vec<u8>,
    pub(crate) manifest: Manifest,
    /// Held-out score of each good image.
    pub(crate) scores: Vec<f32>,
    /// `None` for a product of one member.
    pub(crate) ensemble: Option<Ensemble>,
    /// What `--force` overruled, a sentence each.
    pub(crate) forced: Vec<String>,
    pub(crate) operating: Operating,
    /// `None` where nothing is known of the pictures' light.
    pub(crate) light: Option<Light>,
}

impl Bundle {
    /// The product of `members`, the first member first. There is at least one.
    pub(crate) fn new(
        images: &GoodImages,
        settings: &Settings,
        members: &[FittedMember],
    ) -> Result<Self, TrainError> {
        let mut sections = sections(settings, members)?;
        let written = |manifest: &Manifest, sections: &[SectionBytes]| {
            product::write(manifest.clone(), sections, &Signature::Unsigned)
        };
        let ensemble = if members.len() > 1 {
            let alone = written(&manifest(settings, members, None), &sections)?;
            let opened = Product::from_bytes(alone, &settings.name)?;
            Some(ensemble::combine(&opened, members, settings.risk)?)
        } else {
            None
        };
        let held_out = match &ensemble {
            Some(ensemble) => &ensemble.scores,
            None => &members[0].held_out.scores,
        };
        let mut forced = Vec::new();
        check_spread(held_out, settings.force, &mut forced)?;
        let mut manifest = manifest(settings, members, ensemble.as_ref());
        let operating = operating_of(settings, members, ensemble.as_ref())?;
        sections.push(operating.section()?);
        let bare = written(&manifest, &sections)?;
        let opened = Product::from_bytes(bare, &settings.name)?;
        add_goldens(images, settings, &opened, &mut manifest, &mut sections)?;
        check_goldens(&manifest, &operating, settings.force, &mut forced)?;
        if let Some((variation, _)) = settings.features.variation {
            let copies = settings.features.copies(images.paths.len());
            manifest.audit.push(AuditEntry {
                action: format!(
                    "fitted with {copies} varied copies of each good image in the bank: {variation}"
                ),
                unix: settings.created_unix,
            });
        }
        if let Some(sentence) = &settings.left_out {
            manifest.audit.push(AuditEntry {
                action: sentence.clone(),
                unix: settings.created_unix,
            });
        }
        for sentence in &forced {
            log::warn!("{sentence}");
            manifest.audit.push(AuditEntry {
                action: format!("fitted with --force although {sentence}"),
                unix: settings.created_unix,
            });
        }
        let light = if let Some(survey) = &images.survey {
            let training = &manifest.training.digest;
            let inputs = survey.inputs(images.reading, training, forced.clone());
            sections.push(inputs.section()?);
            let trials: Vec<&[LightTrial]> = members.iter().map(|m| &*m.light).collect();
            let light = light_of(&survey.light(), &trials);
            if let Some(light) = &light {
                sections.push(light.section()?);
            }
            light
        } else {
            None
        };
        let scores = match &ensemble {
            Some(ensemble) => &ensemble.scores,
            None => &members[0].held_out.scores,
        };
        Ok(Self {
            bytes: written(&manifest, &sections)?,
            manifest,
            scores: scores.clone(),
            ensemble,
            forced,
            operating,
            light,
        })
    }
}

/// What budgets of false rejects cost and bring.
fn operating_of(
    settings: &Settings,
    members: &[FittedMember],
    ensemble: Option<&Ensemble>,
) -> Result<Operating, TrainError> {
    let first = &members[0];
    let partitions = members.iter().map(|m| m.held_out.cells.len()).min();
    let (goods, damaged) = match ensemble {
        Some(ensemble) => (&ensemble.scores, ensemble.copies.clone()),
        None => (&first.held_out.scores, damaged_scores_of(&first.copies)),
    };
    Ok(operating(
        goods,
        partitions.unwrap_or(1),
        damaged,
        settings.risk,
    )?)
}

/// Adds golden images as `opened`, the bundle without them, inspects them.
fn add_goldens(
    images: &GoodImages,
    settings: &Settings,
    opened: &Product,
    manifest: &mut Manifest,
    sections: &mut Vec<SectionBytes>,
) -> Result<(), TrainError> {
    let mut inspector = Inspector::new(opened, &Threads::default())?;
    let size = inspector.size();
    for golden in golden_frames(settings, images)? {
        let mut frame = golden.frame.clone();
        for &mark in &golden.marks {
            frame = golden.marked(mark)?;
            if inspector.inspect(&frame)?.verdict != Verdict::Ok {
                break;
            }
        }
        let inspection = inspector.inspect(&frame)?;
        manifest.goldens.push(Golden {
            name: golden.name,
            kind: golden.kind,
            section: sections.len() as u32,
            score: inspection.score,
            verdict: inspection.verdict,
            coarse_map: product::coarse(inspector.map(), size),
        });
        sections.push(opaque(SectionKind::GoldenImage, &png(&frame)?));
    }
    Ok(())
}

/// Relative difference of scores that are the same but for rounding.
const ALIKE: f32 = 1e-6;

/// Refuses a product that cannot tell its good images apart: a network that gives every picture the
/// same can never reject one. With `force` it notes that instead.
fn check_spread(scores: &[f32], force: bool, forced: &mut Vec<String>) -> Result<(), TrainError> {
    match without_spread(scores) {
        Some(problem) => overruled(force, forced, problem),
        None => Ok(()),
    }
}

/// What is wrong if all `scores` are the same.
pub(crate) fn without_spread(scores: &[f32]) -> Option<String> {
    let low = scores.iter().copied().fold(f32::INFINITY, f32::min);
    let high = scores.iter().copied().fold(0.0, f32::max);
    let alike = scores.len() > 1 && high - low <= ALIKE * high;
    alike.then(|| {
        format!(
            "all {} images have the score {high}: the network sees no difference between pictures, so the product cannot reject anything by it",
            scores.len()
        )
    })
}

/// Share of the damaged copies that a product must reject if it rejects no damaged golden image.
const CAUGHT: f64 = 0.1;

/// Refuses a product that rejects nothing: no damaged golden image, and hardly a damaged copy of a
/// good image. With `force` it notes that instead. Warns where only copies are rejected.
fn check_goldens(
    manifest: &Manifest,
    operating: &Operating,
    force: bool,
    forced: &mut Vec<String>,
) -> Result<(), TrainError> {
    let goldens = manifest.goldens.iter();
    let damaged: Vec<&Golden> = goldens.filter(|g| g.kind == GoldenKind::Damaged).collect();
    if damaged.is_empty() || damaged.iter().any(|g| g.verdict != Verdict::Ok) {
        return Ok(());
    }
    let highest = damaged.iter().map(|g| g.score).fold(0.0, f32::max);
    let threshold = manifest.thresholds.unknown.threshold;
    let problem = format!(
        "none of the {} synthetically damaged golden images is rejected (highest score {highest:.4}, UNKNOWN above {threshold:.4})",
        damaged.len(),
    );
    let copies = &operating.damaged;
    let caught = copies.iter().filter(|copy| copy.score > threshold).count();
    if !copies.is_empty() && caught as f64 >= CAUGHT * copies.len() as f64 {
        log::warn!(
            "{problem}, but {caught} of {} other damaged copies are; validate this product on real defects before use",
            copies.len()
        );
        return Ok(());
    }
    overruled(force, forced, problem)
}

fn overruled(force: bool, forced: &mut Vec<String>, problem: String) -> Result<(), TrainError> {
    if force {
        forced.push(problem);
        return Ok(());
    }
    Err(TrainError::Setting(format!(
        "{problem}; look at the good images with the highest scores (--drop-outliers leaves out those that stand out), and at the backbone. To write the product all the same say --force, and validate it on real defects"
    )))
}
