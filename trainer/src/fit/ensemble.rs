//! Members combined to one product: each member's map over its scale, the mean of these maps,
//! thresholds from the mean of held-out maps, and the gain over the best member alone.
//!
//! A member's scale is the median score of the good images that it was fitted without: a constant
//! of the product that inspected parts do not change. The functions that boards use draw and average
//! the held-out maps, from the cells' scores of each member's folds. The folds are the same images
//! in every member, so an ensemble's held-out score is held out in all members.

use super::copies::CopyId;
use super::held_out::{auroc_of_copies, shortfall};
use super::member::FittedMember;
use super::refinement::scale_of;
use super::thresholds::{Risk, thresholds_from};
use crate::error::TrainError;
use partgate::inspection::average;
use partgate::product::Product;
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
}

impl MemberMaps {
    fn new(product: &Product) -> Self {
        let size = product.manifest().input.size();
        let members = product.members().iter();
        Self {
            maps: members.map(|member| product.score_map(member)).collect(),
            mean: vec![0.0; size.area()],
        }
    }

    /// The image score that member `index` gives alone.
    fn member_score(&mut self, index: usize, cells: &[f32]) -> f32 {
        self.maps[index].score(cells)
    }

    /// The image score of the ensemble; `cells` are each member's.
    fn ensemble_score<'c>(
        &mut self,
        cells: impl Iterator<Item = &'c [f32]>,
        scales: &[f32],
    ) -> f32 {
        for (map, cells) in self.maps.iter_mut().zip(cells) {
            map.score(cells);
        }
        average(
            self.maps.iter_mut().map(|map| map.pixels()),
            scales,
            &mut self.mean,
        )
    }
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
            let cells = member.held_out.cells.iter();
            let scores: Vec<f32> = cells.map(|c| maps.member_score(index, c)).collect();
            scale_of(&scores)
        })
        .collect();
    let scores: Vec<f32> = (0..members[0].held_out.cells.len())
        .map(|image| {
            let cells = members.iter().map(|m| &m.held_out.cells[image][..]);
            maps.ensemble_score(cells, &scales)
        })
        .collect();
    let thresholds = thresholds_from(&scores, risk)?;
    let together = Inspected {
        scores: &scores,
        thresholds: &thresholds,
    };
    let separations = separations(&mut maps, members, &scales, together)?;
    Ok(Ensemble {
        scales,
        thresholds,
        separations,
        scores,
    })
}

/// Held-out scores of the good images under one way of inspection, and its thresholds.
#[derive(Clone, Copy)]
struct Inspected<'a> {
    scores: &'a [f32],
    thresholds: &'a Thresholds,
}

/// Copies that every member has inspected.
fn common_copies(members: &[FittedMember]) -> Vec<CopyId> {
    let ids = members[0].copies.iter().map(|copy| copy.id);
    ids.filter(|id| {
        members[1..]
            .iter()
            .all(|m| m.copies.iter().any(|c| c.id == *id))
    })
    .collect()
}

/// `None` where there is no copy that every member has inspected.
fn separations(
    maps: &mut MemberMaps,
    members: &[FittedMember],
    scales: &[f32],
    together: Inspected<'_>,
) -> Result<Option<Separations>, TrainError> {
    let ids = common_copies(members);
    if ids.is_empty() {
        return Ok(None);
    }
    let cells: Vec<Vec<&[f32]>> = members
        .iter()
        .map(|member| {
            let of = |id: &CopyId| member.copies.iter().find(|copy| copy.id == *id);
            let found = ids.iter().filter_map(of);
            found.map(|copy| &copy.cells[..]).collect()
        })
        .collect();
    let mut found = Vec::new();
    for (index, (member, cells)) in members.iter().zip(&cells).enumerate() {
        let damaged = cells.iter().map(|c| maps.member_score(index, c));
        let damaged: Vec<f32> = damaged.collect();
        let alone = Inspected {
            scores: &member.held_out.scores,
            thresholds: &member.held_out.thresholds,
        };
        found.push(separation(alone, &damaged)?);
    }
    let damaged: Vec<f32> = (0..ids.len())
        .map(|copy| {
            let cells = cells.iter().map(|member| member[copy]);
            maps.ensemble_score(cells, scales)
        })
        .collect();
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
