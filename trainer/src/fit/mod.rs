//! Good images to a product: features, bank, conditioning, thresholds, goldens, bundle.

mod available;
mod bundle;
mod cache;
pub(crate) mod catalogue;
pub(crate) mod choice;
mod coreset;
mod density;
pub(crate) mod ensemble;
mod features;
pub(crate) mod fitter;
#[cfg(test)]
mod format_tests;
mod golden;
#[cfg(test)]
mod made_up_products;
pub(crate) mod member;
mod moved;
mod needs;
mod neighbourhood;
mod outliers;
mod pairwise;
mod position;
mod refined;
mod refinement;
#[cfg(test)]
mod rule_tests;
pub(crate) mod rules;
pub(crate) mod study;
pub(crate) mod thresholds;
mod training;

pub(crate) use bundle::assemble;
pub(crate) use cache::CacheSettings;
pub(crate) use features::{FeatureSettings, digest_of};
pub(crate) use needs::{bundle_bytes, check_memory};

use crate::dataset::GoodImages;
use crate::error::TrainError;
use bundle::Assembled;
use choice::{choose, copies_for_choice};
use ensemble::EnsembleReport;
use member::{FittedMember, MemberPlan, OtherMember};
use moved::ShiftSensitivity;
use outliers::{Outlier, outliers};
use partgate::product::{
    Choice, DensityEvidence, NeighbourhoodEvidence, PositionEvidence, RefinementEvidence,
};
use partgate::score::Rule;
use partgate::verdict::{Bound, BoundMethod, Thresholds};
use rules::RuleSpec;
use serde::Serialize;
use study::Study;

/// Form of the neighbourhood network, and the size of what is not always the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NetworkForm {
    /// For boards.
    Edge,
    /// As published, for hosts.
    Paper {
        /// Channels of each layer.
        width: usize,
        /// Layers in all.
        layers: usize,
    },
}

/// Everything a fit is told.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) name: String,
    pub(crate) part_number: String,
    pub(crate) revision: u32,
    pub(crate) created_unix: Option<u64>,
    pub(crate) features: FeatureSettings,
    pub(crate) backbone: String,
    /// Further members of an ensemble: the same product by another network, or at another size.
    pub(crate) others: Vec<OtherMember>,
    /// Side of the maps and of [`Settings::ignore`], pixels; `None` takes the network's input. The
    /// members of an ensemble draw theirs at the first one's.
    pub(crate) map_side: Option<usize>,
    /// The rule; `None` chooses by held-out goods and damaged copies of them.
    pub(crate) rule: Option<RuleSpec>,
    /// Power of the rows' spacing in the scale of distances under `auto`; 0 leaves them.
    pub(crate) density: f32,
    /// Side of the neighbourhood network's window, cells; `None` takes the sighting window's.
    pub(crate) ring: Option<usize>,
    /// Whether to train a refinement network and let damaged copies decide its weight.
    pub(crate) refine: bool,
    /// Rows of the distribution coreset at most.
    pub(crate) entries: usize,
    pub(crate) network: NetworkForm,
    /// Training steps of the neighbourhood network.
    pub(crate) network_steps: usize,
    /// Blur of the map, pixels; `None` takes the published 8 at 480 px in proportion.
    pub(crate) sigma: Option<f32>,
    pub(crate) bank_ratio: f64,
    pub(crate) min_bank: usize,
    pub(crate) max_bank: usize,
    /// Dimensions of the random projection for the coreset; `None` decides by feature length.
    pub(crate) projection: Option<usize>,
    /// Side of the sighting window, cells; `None` takes the published one in proportion.
    pub(crate) window: Option<usize>,
    /// Sightings that allow a row; `None` takes the published threshold.
    pub(crate) sightings: Option<usize>,
    /// Pixels that do not count, `[side, side]` of the maps.
    pub(crate) ignore: Option<Vec<bool>>,
    pub(crate) folds: usize,
    pub(crate) risk: Risk,
    pub(crate) seed: u64,
    /// Good images (and as many damaged ones) carried for the self-test.
    pub(crate) goldens: usize,
}

/// What the thresholds are to promise.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Risk {
    /// Goods that may be NG.
    pub(crate) ng_rate: f64,
    /// Goods that may be anything but OK.
    pub(crate) unknown_rate: f64,
    /// Confidence of both bounds.
    pub(crate) confidence: f64,
    /// Seed of the bootstrap behind extrapolated bounds.
    pub(crate) seed: u64,
}

/// What came out, for people and programs.
#[derive(Debug, Serialize)]
pub(crate) struct FitReport {
    pub(crate) name: String,
    pub(crate) images: usize,
    pub(crate) image_sizes: usize,
    /// Images whose features came from the cache.
    pub(crate) cached_images: usize,
    pub(crate) cells: u64,
    pub(crate) bank_rows: usize,
    pub(crate) dimensions: usize,
    pub(crate) backbone: String,
    pub(crate) rule: Rule,
    pub(crate) position: Option<PositionEvidence>,
    pub(crate) neighbourhood: Option<NeighbourhoodEvidence>,
    pub(crate) density: Option<DensityEvidence>,
    pub(crate) refinement: Option<RefinementEvidence>,
    /// The method in words.
    pub(crate) method: Vec<(&'static str, String)>,
    /// How `--method auto` decided.
    pub(crate) choice: Option<Choice>,
    /// What parts that lie a little aside cost, where `--method auto` decided; of the first member.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) shift: Option<ShiftSensitivity>,
    /// The members of an ensemble and what they gain by each other; what stands above is the first
    /// member's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ensemble: Option<EnsembleReport>,
    pub(crate) thresholds: Thresholds,
    pub(crate) baseline_thresholds: Option<Thresholds>,
    /// Held-out score of each image, in the order of their paths.
    pub(crate) held_out_scores: Vec<f32>,
    /// Good images that score far above the others: maybe not good.
    pub(crate) outliers: Vec<Outlier>,
    pub(crate) bytes: usize,
    pub(crate) blake3: String,
    pub(crate) seconds: FitSeconds,
}

/// Where the time of a fit went.
#[derive(Debug, Default, Serialize)]
pub(crate) struct FitSeconds {
    pub(crate) features: f64,
    pub(crate) folds: f64,
    pub(crate) choice: f64,
    pub(crate) thresholds: f64,
    pub(crate) bank: f64,
    /// Joining members, judging golden images, writing.
    pub(crate) bundle: f64,
    pub(crate) total: f64,
}

/// Above this length of the feature vectors the coreset is chosen under a projection.
const PROJECT_ABOVE: usize = 256;
const PROJECTED: usize = 128;

fn bound_of(found: thresholds::Bound) -> Bound {
    Bound {
        threshold: found.threshold as f32,
        method: match found.method {
            thresholds::BoundMethod::OrderStatistic => BoundMethod::OrderStatistic,
            thresholds::BoundMethod::GeneralisedParetoTail => BoundMethod::GeneralisedParetoTail,
            thresholds::BoundMethod::LogNormalTolerance => BoundMethod::LogNormalTolerance,
            thresholds::BoundMethod::Maximum => BoundMethod::Maximum,
        },
        n: found.n as u32,
        rate: found.rate,
        confidence: found.confidence,
        stated_rate: found.stated_rate,
        distribution_free_rate: found.distribution_free_rate,
        note: found.note,
    }
}

/// Both thresholds from held-out scores of good images. What passes the line is decided by the
/// lower one, so it never extrapolates: an order statistic, or the largest score where the images
/// are too few for the rate asked.
pub(crate) fn thresholds_from(scores: &[f32], risk: Risk) -> Result<Thresholds, TrainError> {
    let enough = thresholds::needed_for_order_statistic(risk.unknown_rate, risk.confidence);
    let unknown = if scores.len() >= enough {
        thresholds::bound(scores, risk.unknown_rate, risk.confidence, risk.seed)?
    } else {
        let mut bound = thresholds::maximum(scores, risk.confidence)?;
        bound.rate = risk.unknown_rate;
        bound
    };
    let unknown = bound_of(unknown);
    let mut ng = bound_of(thresholds::bound(
        scores,
        risk.ng_rate,
        risk.confidence,
        risk.seed,
    )?);
    if ng.threshold < unknown.threshold {
        ng.threshold = unknown.threshold;
    }
    Ok(Thresholds { unknown, ng })
}

/// Fits a product on `images`. Returns the bundle's bytes: the same for the same images, settings
/// and version, whatever the number of threads.
pub(crate) fn fit(
    images: &GoodImages,
    settings: &Settings,
) -> Result<(Vec<u8>, FitReport), TrainError> {
    let started = std::time::Instant::now();
    let mut seconds = FitSeconds::default();
    if images.paths.len() < 2 {
        return Err(TrainError::Dataset {
            path: images.root.clone(),
            problem: format!(
                "{} good image(s): thresholds need held-out images, so at least 2 are needed; 30 make a usable product, {} support the default false-reject bound without extrapolation",
                images.paths.len(),
                thresholds::needed_for_order_statistic(
                    settings.risk.unknown_rate,
                    settings.risk.confidence
                ),
            ),
        });
    }
    let plans = settings.members()?;
    check_memory(&plans, images.paths.len())?;
    let mut members = Vec::new();
    for (index, plan) in plans.iter().enumerate() {
        if plans.len() > 1 {
            log::info!(
                "member {} of {}: {} at {} px",
                index + 1,
                plans.len(),
                plan.file.spec.name,
                plan.settings.features.input.side()
            );
        }
        members.push(fit_member(images, plan, plans.len() > 1, &mut seconds)?);
    }
    let since = std::time::Instant::now();
    let Assembled {
        bytes,
        manifest,
        scores,
        joined,
    } = bundle::assemble(images, settings, &members)?;
    seconds.bundle = since.elapsed().as_secs_f64();
    seconds.total = started.elapsed().as_secs_f64();
    let first = &members[0];
    let report = FitReport {
        name: settings.name.clone(),
        images: images.paths.len(),
        image_sizes: first.image_sizes,
        cached_images: first.cached_images,
        cells: manifest.training.cells,
        bank_rows: first.bank_rows,
        dimensions: first.dimensions,
        backbone: first.backbone.name.clone(),
        rule: first.spec.rule,
        method: manifest.method.in_words(),
        position: manifest.method.position,
        neighbourhood: manifest.method.neighbourhood,
        density: manifest.method.density,
        refinement: manifest.method.refinement,
        choice: manifest.method.choice,
        shift: first.shift.clone(),
        ensemble: joined.map(|joined| EnsembleReport::new(&members, joined)),
        thresholds: manifest.thresholds,
        baseline_thresholds: manifest.baseline_thresholds,
        outliers: outliers(&scores, images),
        held_out_scores: scores,
        bytes: bytes.len(),
        blake3: blake3::hash(&bytes).to_hex().to_string(),
        seconds,
    };
    Ok((bytes, report))
}

/// Fits one member as if it were alone. `joined` says that it is not, and that it will be asked
/// what it makes of damaged copies.
fn fit_member(
    images: &GoodImages,
    plan: &MemberPlan,
    joined: bool,
    seconds: &mut FitSeconds,
) -> Result<FittedMember, TrainError> {
    let settings = &plan.settings;
    let candidates = choice::candidates(settings.density);
    let specs = match settings.rule {
        Some(spec) => vec![spec],
        None => candidates.clone(),
    };
    let study = Study::new(images, settings, &plan.file, &specs, seconds)?;

    let since = std::time::Instant::now();
    let copies = if settings.rule.is_none() || settings.refine || joined {
        copies_for_choice(&study.fitter, &study.extractor, images)?
    } else {
        Vec::new()
    };
    let (spec, choice, shift) = match settings.rule {
        Some(spec) => (spec, None, None),
        None => {
            let (spec, mut choice) = choose(&study, &candidates, &copies)?;
            let shift = ShiftSensitivity::of(&study, images, spec)?;
            if let Some(shift) = &shift {
                // The bundle's reader has a place for words, and old ones read it.
                choice.reason += "; ";
                choice.reason += &shift.in_words();
            }
            (spec, Some(choice), shift)
        }
    };
    seconds.choice += since.elapsed().as_secs_f64();

    let since = std::time::Instant::now();
    let (held_out, refined) = if settings.refine {
        study.refined(spec, &copies)?
    } else {
        (study.held_out(spec)?, None)
    };
    let judged = if joined {
        study.judged_copies(spec, &copies, refined.as_ref())?
    } else {
        Vec::new()
    };
    drop(copies);
    seconds.thresholds += since.elapsed().as_secs_f64();

    let since = std::time::Instant::now();
    let fitted = study.whole(&[spec])?;
    seconds.bank += since.elapsed().as_secs_f64();
    let mut member = study.member(&fitted, spec, choice, held_out, refined.as_ref(), judged)?;
    member.shift = shift;
    Ok(member)
}

impl Settings {
    /// Dimensions of the projection for vectors of `dimensions`; 0 for none.
    fn projection_for(&self, dimensions: usize) -> usize {
        let usual = if dimensions > PROJECT_ABOVE {
            PROJECTED
        } else {
            0
        };
        self.projection.unwrap_or(usual)
    }
}
