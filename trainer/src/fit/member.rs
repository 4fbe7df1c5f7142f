//! One member of a product, fitted as if it were alone. All members use the same images and the
//! same folds; `ensemble` combines them.

use super::alike::{Lonely, lonely};
use super::choice::{Chosen, candidates, choose};
use super::copies::{CopyId, DamagedCopies, DamagedCopy};
use super::fitted_bank::FittedBank;
use super::held_out::{HeldOut, damaged_scores};
use super::light::light_trials;
use super::plan::MemberPlan;
use super::refined::{Refined, RefinedScores, refine};
use super::rules::RuleSpec;
use super::seconds::{FitSeconds, timed};
use super::sections::{MemberSections, RuleTaken, member_sections};
use super::shift::ShiftSensitivity;
use super::study::Study;
use crate::dataset::GoodImages;
use crate::error::TrainError;
use partgate::backbone::{BackboneSpec, InputGeometry};
use partgate::product::{Choice, LightTrial, Method, SectionBytes, Training};

/// Held-out scores of a damaged copy under a member's rule.
pub(crate) struct ScoredCopy {
    pub(crate) id: CopyId,
    /// Side of a square as large as the damage, pixels of the picture.
    pub(crate) side: f32,
    /// The image score, the mean over the partitions.
    pub(crate) score: f32,
    /// `[partitions][cells]`.
    pub(crate) cells: Vec<Vec<f32>>,
}

/// A fitted member: its part of a bundle, and what combining members needs.
pub(crate) struct FittedMember {
    pub(crate) backbone: BackboneSpec,
    pub(crate) input: InputGeometry,
    pub(crate) spec: RuleSpec,
    pub(crate) method: Method,
    pub(crate) bank_rows: usize,
    pub(crate) dimensions: usize,
    /// `None` without a map of the features.
    pub(crate) variance_kept: Option<f64>,
    /// Distinct image sizes.
    pub(crate) image_sizes: usize,
    /// Images whose features came from the cache.
    pub(crate) cached_images: usize,
    /// `None` where the rule was not chosen but given.
    pub(crate) shift: Option<ShiftSensitivity>,
    pub(super) training: Training,
    pub(super) sections: Vec<SectionBytes>,
    /// Scores and thresholds of this member alone.
    pub(crate) held_out: HeldOut,
    /// What good parts bear of other light; empty where it was not tried.
    pub(super) light: Vec<LightTrial>,
    /// Painted copies of good images; none where none were made or none could be damaged.
    pub(super) copies: Vec<ScoredCopy>,
    /// Each good image without those that explain it best; `None` for few images.
    pub(super) lonely: Option<Vec<Lonely>>,
}

/// A member's rule with the figures that the product states about it.
pub(crate) struct MemberRule {
    pub(crate) spec: RuleSpec,
    /// `None` where the rule was not chosen but given, as for `shift`.
    pub(crate) choice: Option<Choice>,
    pub(crate) shift: Option<ShiftSensitivity>,
    pub(crate) held_out: HeldOut,
    pub(crate) refined: Option<Refined>,
    pub(crate) copies: Vec<ScoredCopy>,
}

impl MemberRule {
    /// The rule `spec` as it is given, without refinement.
    pub(crate) fn given(study: &Study<'_>, spec: RuleSpec) -> Result<Self, TrainError> {
        Ok(Self {
            spec,
            choice: None,
            shift: None,
            held_out: HeldOut::new(study, spec)?,
            refined: None,
            copies: Vec::new(),
        })
    }

    /// The rule `spec` with refinement, where damaged copies ask for it.
    pub(crate) fn refined(
        study: &Study<'_>,
        spec: RuleSpec,
        copies: &[DamagedCopy],
    ) -> Result<Self, TrainError> {
        let RefinedScores { held_out, refined } = refine(study, spec, copies)?;
        Ok(Self {
            held_out,
            refined,
            spec,
            choice: None,
            shift: None,
            copies: Vec::new(),
        })
    }
}

/// Lowest, median and highest of `scores`, of which there is at least one.
pub(crate) fn lowest_median_highest(scores: &[f32]) -> [f32; 3] {
    let mut sorted = scores.to_vec();
    sorted.sort_by(f32::total_cmp);
    let n = sorted.len();
    [sorted[0], sorted[n / 2], sorted[n - 1]]
}

impl FittedMember {
    /// The member with the bank `fitted` of all images, under `rule`.
    pub(crate) fn new(
        study: &Study<'_>,
        fitted: &FittedBank,
        rule: MemberRule,
    ) -> Result<Self, TrainError> {
        let (fitter, features) = (&study.fitter, &study.fitter.features);
        let taken = RuleTaken {
            spec: rule.spec,
            choice: rule.choice,
            refined: rule.refined.as_ref(),
        };
        let MemberSections { sections, method } = member_sections(study, fitted, taken)?;
        Ok(Self {
            backbone: study.file.spec.clone(),
            input: fitter.settings.features.input.clone(),
            spec: rule.spec,
            method,
            bank_rows: fitted.bank.rows(),
            dimensions: features.dimensions,
            variance_kept: fitter.map.as_ref().and_then(|map| map.variance_kept),
            image_sizes: features.set.sizes,
            cached_images: features.cached,
            shift: rule.shift,
            training: Training {
                images: features.images as u32,
                cells: fitter.bank_vectors(&study.images()).len() as u64,
                digest: features.set.digest,
                seed: fitter.settings.seed,
                folds: study.first_folds().len() as u32,
                smallest: features.set.smallest,
                largest: features.set.largest,
                held_out: lowest_median_highest(&rule.held_out.scores),
            },
            sections,
            held_out: rule.held_out,
            copies: rule.copies,
            light: Vec::new(),
            lonely: lonely(study),
        })
    }
}

/// Held-out scores of the painted ones among `copies` under `spec`, without refinement.
fn inspected_copies(
    study: &Study<'_>,
    spec: RuleSpec,
    copies: &DamagedCopies<'_>,
) -> Result<Vec<ScoredCopy>, TrainError> {
    let mut out = Vec::new();
    copies.each(|copies| {
        let painted: Vec<&DamagedCopy> = copies.iter().filter(|c| c.id.harm.painted()).collect();
        let found = damaged_scores(study, study.partitions(spec), &painted, spec)?;
        let scores = found.means();
        out.extend(scored_copies(&painted, &scores, &found.into_cells()));
        Ok(())
    })?;
    Ok(out)
}

/// `copies` with their scores, and those of their cells, `[partitions][copies][cells]`.
fn scored_copies<'a>(
    copies: &'a [&DamagedCopy],
    scores: &'a [f32],
    cells: &'a [Vec<Vec<f32>>],
) -> impl Iterator<Item = ScoredCopy> + 'a {
    let pairs = copies.iter().enumerate().zip(scores);
    pairs.map(|((index, copy), &score)| ScoredCopy {
        id: copy.id,
        side: copy.side,
        score,
        cells: cells.iter().map(|copies| copies[index].clone()).collect(),
    })
}

/// The rule of a member.
struct ChosenRule {
    spec: RuleSpec,
    /// `None` where the rule is given, as for `shift`.
    choice: Option<Choice>,
    shift: Option<ShiftSensitivity>,
}

fn chosen_rule(
    study: &Study<'_>,
    images: &GoodImages,
    copies: &DamagedCopies<'_>,
) -> Result<ChosenRule, TrainError> {
    let settings = study.fitter.settings;
    if let Some(spec) = settings.rule {
        return Ok(ChosenRule {
            spec,
            choice: None,
            shift: None,
        });
    }
    let Chosen { spec, mut choice } = choose(
        study,
        &candidates(settings, study.file.spec.dimensions(), images.paths.len()),
        copies,
    )?;
    let shift = ShiftSensitivity::of(study, images, spec)?;
    if let Some(shift) = &shift {
        // As words, which older runtimes show too.
        choice.reason += "; ";
        choice.reason += &shift.in_words();
    }
    Ok(ChosenRule {
        spec,
        choice: Some(choice),
        shift,
    })
}

/// Fits one member.
pub(crate) fn fit_member(
    images: &GoodImages,
    plan: &MemberPlan,
    seconds: &mut FitSeconds,
) -> Result<FittedMember, TrainError> {
    let settings = &plan.settings;
    let specs = match settings.rule {
        Some(spec) => vec![spec],
        None => candidates(settings, plan.file.spec.dimensions(), images.paths.len()),
    };
    let study = Study::new(images, settings, &plan.file, &specs, seconds)?;
    let (copies, chosen) = timed(&mut seconds.choice, || {
        let copies = DamagedCopies::new(&study.fitter, &study.extractor, images)?;
        let chosen = chosen_rule(&study, images, &copies)?;
        Ok::<_, TrainError>((copies, chosen))
    })?;
    let rule = timed(&mut seconds.thresholds, || {
        let rule = if settings.refines(images.paths.len()) {
            MemberRule::refined(&study, chosen.spec, &copies.at_once()?)?
        } else {
            MemberRule::given(&study, chosen.spec)?
        };
        let inspected = match &rule.refined {
            // Of the copies that the refinement learnt from.
            Some(refined) => {
                let copies = copies.at_once()?;
                let painted: Vec<_> = copies.iter().filter(|c| c.id.harm.painted()).collect();
                scored_copies(&painted, &refined.copy_scores, &refined.copies).collect()
            }
            None => inspected_copies(&study, chosen.spec, &copies)?,
        };
        Ok::<_, TrainError>(MemberRule {
            choice: chosen.choice,
            shift: chosen.shift,
            copies: inspected,
            ..rule
        })
    })?;
    drop(copies);
    let light = timed(&mut seconds.light, || {
        light_trials(&study, images, rule.spec)
    })?;
    let fitted = timed(&mut seconds.bank, || study.whole(&[rule.spec]));
    let member = FittedMember::new(&study, &fitted, rule)?;
    Ok(FittedMember { light, ..member })
}
