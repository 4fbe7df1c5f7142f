//! Members joined to one product: each one's map over its scale, the mean of them, thresholds from
//! the mean of held-out maps, and what the members gain by each other.
//!
//! A member's scale is the median score of the good images that it was fitted without: frozen
//! here, never taken from what is judged. Held-out maps are drawn and averaged by the functions
//! that boards use, from the cells' scores that each member's folds gave; the folds are the same
//! images in every member, so a score of the ensemble is held out in all of it.

use super::choice::{CopyId, under};
use super::member::FittedMember;
use super::refinement::scale_of;
use super::study::HeldOut;
use super::{Risk, thresholds_from};
use crate::error::TrainError;
use crate::metrics::image_auroc;
use partgate::inspection::average;
use partgate::product::Product;
use partgate::score::ScoreMap;
use partgate::verdict::Thresholds;
use serde::Serialize;

/// An ensemble must bring damaged copies this much nearer to its threshold than its best member
/// alone, as a logarithm, to be called better.
const LEAST_GAIN: f64 = 0.002;

/// What joining gave.
pub(crate) struct Joined {
    /// What each member's map is divided by.
    pub(crate) scales: Vec<f32>,
    /// Held-out score of each good image.
    pub(crate) scores: Vec<f32>,
    pub(crate) thresholds: Thresholds,
    /// Each member alone, then the ensemble; empty where no image could be damaged.
    pub(crate) separation: Vec<Separation>,
}

/// How one way of judging tells held-out good images from painted damage on copies of them.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Separation {
    /// Damaged copies that every member has seen.
    pub(crate) copies: usize,
    pub(crate) image_auroc: f64,
    /// Share of the copies above the UNKNOWN threshold that it has, or would have.
    pub(crate) caught: f64,
    /// The mean of `-ln(score / threshold)` over the copies, 0 for those above it. Small is good.
    pub(crate) shortfall: f64,
}

impl Joined {
    /// Whether painted damage comes nearer to the threshold than with the best member alone; `None`
    /// where no image could be damaged. A hint, not a proof: real defects have decided otherwise
    /// (docs/ablation.md).
    pub(crate) fn better(&self) -> Option<bool> {
        let (together, alone) = self.separation.split_last()?;
        let least = alone
            .iter()
            .map(|s| s.shortfall)
            .fold(f64::INFINITY, f64::min);
        Some(together.shortfall <= least - LEAST_GAIN)
    }
}

/// Draws what the members found, as the product does.
struct Drawing {
    maps: Vec<ScoreMap>,
    mean: Vec<f32>,
}

impl Drawing {
    fn new(product: &Product) -> Self {
        let side = product.manifest().input.side();
        let members = product.members().iter();
        Self {
            maps: members.map(|member| product.score_map(member)).collect(),
            mean: vec![0.0; side * side],
        }
    }

    /// The score that member `index` gives alone.
    fn alone(&mut self, index: usize, cells: &[f32]) -> f32 {
        self.maps[index].draw(cells)
    }

    /// The score of all together; `cells` are each member's.
    fn together<'c>(&mut self, cells: impl Iterator<Item = &'c [f32]>, scales: &[f32]) -> f32 {
        for (map, cells) in self.maps.iter_mut().zip(cells) {
            map.draw(cells);
        }
        average(
            self.maps.iter().map(ScoreMap::pixels),
            scales,
            &mut self.mean,
        )
    }
}

/// Joins `members`, which `product` holds in the same order (its scales and thresholds are not
/// looked at).
pub(super) fn join(
    product: &Product,
    members: &[FittedMember],
    risk: Risk,
) -> Result<Joined, TrainError> {
    let mut drawing = Drawing::new(product);
    let scales: Vec<f32> = members
        .iter()
        .enumerate()
        .map(|(index, member)| {
            let cells = member.held_out.cells.iter();
            let scores: Vec<f32> = cells.map(|cells| drawing.alone(index, cells)).collect();
            scale_of(&scores)
        })
        .collect();
    let scores: Vec<f32> = (0..members[0].held_out.cells.len())
        .map(|image| {
            let cells = members.iter().map(|m| &m.held_out.cells[image][..]);
            drawing.together(cells, &scales)
        })
        .collect();
    let thresholds = thresholds_from(&scores, risk)?;
    let separation = separation(&mut drawing, members, &scales, (&scores, &thresholds))?;
    Ok(Joined {
        scales,
        scores,
        thresholds,
        separation,
    })
}

/// Copies that every member has judged, by their identity.
fn common(members: &[FittedMember]) -> Vec<CopyId> {
    let ids = members[0].copies.iter().map(|copy| copy.id);
    ids.filter(|id| {
        members[1..]
            .iter()
            .all(|m| m.copies.iter().any(|c| c.id == *id))
    })
    .collect()
}

fn separation(
    drawing: &mut Drawing,
    members: &[FittedMember],
    scales: &[f32],
    (scores, thresholds): (&[f32], &Thresholds),
) -> Result<Vec<Separation>, TrainError> {
    let ids = common(members);
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let cells: Vec<Vec<&[f32]>> = members
        .iter()
        .map(|member| {
            let of = |id: &CopyId| member.copies.iter().find(|copy| copy.id == *id);
            let found = ids.iter().filter_map(of);
            found.map(|copy| &copy.cells[..]).collect()
        })
        .collect();
    let mut out = Vec::new();
    for (index, (member, cells)) in members.iter().zip(&cells).enumerate() {
        let damaged: Vec<f32> = cells.iter().map(|c| drawing.alone(index, c)).collect();
        let HeldOut {
            scores, thresholds, ..
        } = &member.held_out;
        out.push(separated(scores, &damaged, thresholds)?);
    }
    let damaged: Vec<f32> = (0..ids.len())
        .map(|copy| drawing.together(cells.iter().map(|member| member[copy]), scales))
        .collect();
    out.push(separated(scores, &damaged, thresholds)?);
    Ok(out)
}

fn separated(
    goods: &[f32],
    damaged: &[f32],
    thresholds: &Thresholds,
) -> Result<Separation, TrainError> {
    let threshold = thresholds.unknown.threshold;
    let both: Vec<f32> = goods.iter().chain(damaged).copied().collect();
    let defective: Vec<bool> = (0..both.len()).map(|i| i >= goods.len()).collect();
    let count = damaged.len() as f64;
    let caught = damaged.iter().filter(|&&s| s > threshold).count();
    Ok(Separation {
        copies: damaged.len(),
        image_auroc: image_auroc(&both, &defective)?,
        caught: caught as f64 / count,
        shortfall: damaged.iter().map(|&s| under(s, threshold)).sum::<f64>() / count,
    })
}

/// Several members, joined.
#[derive(Debug, Serialize)]
pub(crate) struct EnsembleReport {
    /// The first one first.
    pub(crate) members: Vec<MemberReport>,
    /// Painted damage against held-out goods under the ensemble's own threshold; `None` where no
    /// image could be damaged.
    pub(crate) separation: Option<Separation>,
    /// Whether damaged copies come nearer to the threshold than with the best member alone.
    pub(crate) better: Option<bool>,
}

/// One member of an ensemble.
#[derive(Debug, Serialize)]
pub(crate) struct MemberReport {
    pub(crate) backbone: String,
    /// Side of the network's input, pixels.
    pub(crate) side: usize,
    pub(crate) rule: String,
    pub(crate) bank_rows: usize,
    pub(crate) dimensions: usize,
    pub(crate) cached_images: usize,
    /// The method in words.
    pub(crate) method: Vec<(&'static str, String)>,
    /// What its map is divided by.
    pub(crate) scale: f32,
    /// The thresholds that it would have alone, in units of its own.
    pub(crate) thresholds: Thresholds,
    /// As for the ensemble, if this member were the product.
    pub(crate) separation: Option<Separation>,
}

impl EnsembleReport {
    pub(super) fn new(members: &[FittedMember], joined: Joined) -> Self {
        // One figure a member, or none at all where no image could be damaged.
        let mut alone = joined.separation.iter().take(members.len());
        let members = members
            .iter()
            .zip(&joined.scales)
            .map(|(member, &scale)| MemberReport {
                backbone: member.backbone.name.clone(),
                side: member.input.side(),
                rule: member.spec.to_string(),
                bank_rows: member.bank_rows,
                dimensions: member.dimensions,
                cached_images: member.cached_images,
                method: member.method.in_words(),
                scale,
                thresholds: member.held_out.thresholds.clone(),
                separation: alone.next().cloned(),
            })
            .collect();
        Self {
            members,
            better: joined.better(),
            separation: joined.separation.last().cloned(),
        }
    }
}
