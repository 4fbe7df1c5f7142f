//! Members combined to one product: each member's map over its scale, the mean of these maps,
//! thresholds from the mean of held-out maps, and the gain over the best member alone.
//!
//! A member's scale is the median score of the good images that it was fitted without: a constant
//! of the product that inspected parts do not change. The functions that boards use draw and average
//! the held-out maps, from the cells' scores of each member's folds. The folds are the same images
//! in every member, so an ensemble's held-out score is held out in all members.

use super::copies::Harm;
use super::held_out::{HeldOut, auroc_of_copies, shortfall};
use super::member::{FittedMember, ScoredCopy};
use super::refinement::scale_of;
use super::thresholds::{Risk, thresholds_from};
use crate::error::TrainError;
use partgate::inspection::average;
use partgate::product::{DamagedScore, Product};
use partgate::score::ScoreMap;
use partgate::verdict::Thresholds;
use serde::Serialize;

/// An ensemble must bring damaged copies this much nearer to its threshold than its best member
/// alone, as a logarithm, to be called better.
const LEAST_GAIN: f64 = 0.002;

/// Members combined.
pub(crate) struct Ensemble {
    /// Divisors of the members' maps.
    pub(crate) scales: Vec<f32>,
    /// Held-out score of each good image.
    pub(crate) scores: Vec<f32>,
    pub(crate) thresholds: Thresholds,
    /// `None` where no image could be damaged.
    pub(crate) separations: Option<Separations>,
    /// Scores of the damaged copies that every member has inspected.
    pub(crate) copies: Vec<DamagedScore>,
}

/// Separation of held-out good images from painted damage on copies of them, under one way of
/// inspection.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Separation {
    /// Damaged copies that every member has inspected.
    pub(crate) copies: usize,
    pub(crate) image_auroc: f64,
    /// Share of the copies above the UNKNOWN threshold of this way of inspection.
    pub(crate) caught: f64,
    /// The mean of `-ln(score / threshold)` over the copies, 0 for those above it. Small is good.
    pub(crate) shortfall: f64,
}

/// The same for each member alone and for the ensemble.
pub(crate) struct Separations {
    pub(crate) members: Vec<Separation>,
    pub(crate) ensemble: Separation,
}

impl Separations {
    /// Whether painted damage comes nearer to the threshold than with the best member alone. A
    /// hint, not a proof: real defects have decided otherwise (docs/ablation.md).
    pub(crate) fn better(&self) -> bool {
        let least = self
            .members
            .iter()
            .map(|s| s.shortfall)
            .fold(f64::INFINITY, f64::min);
        self.ensemble.shortfall <= least - LEAST_GAIN
    }
}

/// Draws maps from the cells' scores as the product does.
struct MemberMaps {
    maps: Vec<ScoreMap>,
    mean: Vec<f32>,
    top: usize,
}

impl MemberMaps {
    fn new(product: &Product) -> Self {
        let size = product.manifest().input.size();
        let members = product.members().iter();
        Self {
            maps: members.map(|member| product.score_map(member)).collect(),
            mean: vec![0.0; size.area()],
            top: product.top_pixels(),
        }
    }

    /// The image score that member `index` gives alone, the mean over the partitions of `cells`.
    fn member_score(&mut self, index: usize, cells: &[&[f32]]) -> f32 {
        let scores = cells.iter().map(|cells| self.maps[index].score(cells));
        mean(scores.collect())
    }

    /// The image score of the ensemble; `cells` are each member's, `[members][partitions][cells]`.
    /// Partitions that a member does not have do not count.
    fn ensemble_score(&mut self, cells: &[Vec<&[f32]>], scales: &[f32]) -> f32 {
        let partitions = cells.iter().map(Vec::len).min().unwrap_or(0);
        let scores = (0..partitions).map(|partition| {
            for (map, cells) in self.maps.iter_mut().zip(cells) {
                map.score(cells[partition]);
            }
            average(
                self.maps.iter_mut().map(|map| map.pixels()),
                scales,
                &mut self.mean,
                self.top,
            )
        });
        mean(scores.collect())
    }
}

fn mean(scores: Vec<f32>) -> f32 {
    let sum: f64 = scores.iter().map(|&s| f64::from(s)).sum();
    (sum / scores.len() as f64) as f32
}

/// Scores of the cells of one image in each partition.
fn of_image(held_out: &HeldOut, image: usize) -> Vec<&[f32]> {
    held_out
        .cells
        .iter()
        .map(|images| &images[image][..])
        .collect()
}

/// Scores of the cells of one copy in each partition.
fn of_copy(copy: &ScoredCopy) -> Vec<&[f32]> {
    copy.cells.iter().map(|cells| &cells[..]).collect()
}

/// Combines `members`, which `product` holds in the same order. The product's own scales and
/// thresholds do not count.
pub(super) fn combine(
    product: &Product,
    members: &[FittedMember],
    risk: Risk,
) -> Result<Ensemble, TrainError> {
    let mut maps = MemberMaps::new(product);
    let scales: Vec<f32> = members
        .iter()
        .enumerate()
        .map(|(index, member)| {
            let images = 0..member.held_out.scores.len();
            let cells = images.map(|image| of_image(&member.held_out, image));
            let scores: Vec<f32> = cells.map(|c| maps.member_score(index, &c)).collect();
            scale_of(&scores)
        })
        .collect();
    let scores: Vec<f32> = (0..members[0].held_out.scores.len())
        .map(|image| {
            let cells = members.iter().map(|m| of_image(&m.held_out, image));
            maps.ensemble_score(&cells.collect::<Vec<_>>(), &scales)
        })
        .collect();
    let thresholds = thresholds_from(&scores, risk)?;
    let together = Inspected {
        scores: &scores,
        thresholds: &thresholds,
    };
    let copies = common_copies(&mut maps, members, &scales);
    let separations = separations(&mut maps, members, &copies, together)?;
    Ok(Ensemble {
        scales,
        thresholds,
        separations,
        scores,
        copies: copies.into_iter().map(|copy| copy.score).collect(),
    })
}

/// Held-out scores of the good images under one way of inspection, and its thresholds.
#[derive(Clone, Copy)]
struct Inspected<'a> {
    scores: &'a [f32],
    thresholds: &'a Thresholds,
}

/// A copy that every member has inspected.
struct CommonCopy<'m> {
    /// Of each member.
    members: Vec<&'m ScoredCopy>,
    /// Under the ensemble.
    score: DamagedScore,
}

fn common_copies<'m>(
    maps: &mut MemberMaps,
    members: &'m [FittedMember],
    scales: &[f32],
) -> Vec<CommonCopy<'m>> {
    let mut common = Vec::new();
    for first in &members[0].copies {
        let of = |member: &'m FittedMember| member.copies.iter().find(|c| c.id == first.id);
        let Some(copies) = members.iter().map(of).collect::<Option<Vec<_>>>() else {
            continue;
        };
        let cells: Vec<Vec<&[f32]>> = copies.iter().map(|copy| of_copy(copy)).collect();
        common.push(CommonCopy {
            score: DamagedScore {
                misplaced: first.id.harm == Harm::Misplaced,
                side: first.side,
                score: maps.ensemble_score(&cells, scales),
            },
            members: copies,
        });
    }
    common
}

/// `None` where there is no copy that every member has inspected.
fn separations(
    maps: &mut MemberMaps,
    members: &[FittedMember],
    copies: &[CommonCopy<'_>],
    together: Inspected<'_>,
) -> Result<Option<Separations>, TrainError> {
    if copies.is_empty() {
        return Ok(None);
    }
    let mut found = Vec::new();
    for (index, member) in members.iter().enumerate() {
        let damaged = copies.iter().map(|copy| {
            let cells = of_copy(copy.members[index]);
            maps.member_score(index, &cells)
        });
        let damaged: Vec<f32> = damaged.collect();
        let alone = Inspected {
            scores: &member.held_out.scores,
            thresholds: &member.held_out.thresholds,
        };
        found.push(separation(alone, &damaged)?);
    }
    let damaged: Vec<f32> = copies.iter().map(|copy| copy.score.score).collect();
    Ok(Some(Separations {
        members: found,
        ensemble: separation(together, &damaged)?,
    }))
}

fn separation(goods: Inspected<'_>, damaged: &[f32]) -> Result<Separation, TrainError> {
    let threshold = goods.thresholds.unknown.threshold;
    let count = damaged.len() as f64;
    let caught = damaged.iter().filter(|&&s| s > threshold).count();
    let sum: f64 = damaged.iter().map(|&s| shortfall(s, threshold)).sum();
    Ok(Separation {
        copies: damaged.len(),
        image_auroc: auroc_of_copies(goods.scores, damaged)?,
        caught: caught as f64 / count,
        shortfall: sum / count,
    })
}
