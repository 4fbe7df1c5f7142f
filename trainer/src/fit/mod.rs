//! Good images to a product: features, bank, conditioning, thresholds, goldens, bundle.

mod bundle;
mod cache;
pub(crate) mod catalogue;
pub(crate) mod choice;
mod coreset;
mod density;
mod features;
pub(crate) mod fitter;
mod golden;
mod needs;
mod neighbourhood;
mod outliers;
mod pairwise;
mod position;
mod refinement;
pub(crate) mod rules;
pub(crate) mod thresholds;
mod training;

pub(crate) use cache::CacheSettings;
pub(crate) use features::{FeatureSettings, digest_of};
pub(crate) use needs::bundle_bytes;

use crate::dataset::GoodImages;
use crate::error::TrainError;
use crate::progress::Progress;
use bundle::Ingredients;
use choice::{Fold, choose, copies_for_choice, held_out_scores};
use coreset::{Vectors, project};
use features::{Extractor, extract};
use fitter::{Fitter, Wanted};
use outliers::{Outlier, outliers};
use partgate::product::{Choice, NeighbourhoodEvidence, PositionEvidence};
use partgate::score::{IgnoreMask, Rule};
use partgate::seed::Rng;
use partgate::verdict::{Bound, BoundMethod, Thresholds};
use rayon::prelude::*;
use rules::{Calibration, RuleSpec};
use serde::Serialize;

/// Everything a fit is told.
pub(crate) struct Settings {
    pub(crate) name: String,
    pub(crate) part_number: String,
    pub(crate) revision: u32,
    pub(crate) created_unix: Option<u64>,
    pub(crate) features: FeatureSettings,
    pub(crate) backbone: String,
    /// The rule; `None` chooses by held-out goods and damaged copies of them.
    pub(crate) rule: Option<RuleSpec>,
    /// Power of the rows' spacing in the scale of distances; `None` leaves them.
    pub(crate) density: Option<f32>,
    /// Side of the neighbourhood network's window, cells; `None` takes the sighting window's.
    pub(crate) ring: Option<usize>,
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
    /// Pixels that do not count, `[side, side]`.
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
    /// How `--method auto` decided.
    pub(crate) choice: Option<Choice>,
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
    pub(crate) total: f64,
}

/// Above this length of the feature vectors the coreset is chosen under a projection.
const PROJECT_ABOVE: usize = 256;
const PROJECTED: usize = 128;
const FOLD_STREAM: u64 = 3;

/// The images of one fold and the rest, each sorted.
fn split_fold(order: &[usize], fold: usize, folds: usize) -> (Vec<usize>, Vec<usize>) {
    let (mut held, mut rest) = (Vec::new(), Vec::new());
    for (rank, &image) in order.iter().enumerate() {
        if rank % folds == fold {
            held.push(image);
        } else {
            rest.push(image);
        }
    }
    held.sort_unstable();
    rest.sort_unstable();
    (held, rest)
}

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
    let file = catalogue::backbone(&settings.backbone)?;
    file.spec
        .check()
        .map_err(|e| TrainError::Setting(e.to_string()))?;
    let (fitter, extractor) = prepare(images, settings, &file)?;
    seconds.features = started.elapsed().as_secs_f64();

    let since = std::time::Instant::now();
    let specs: &[RuleSpec] = match &settings.rule {
        Some(spec) => std::slice::from_ref(spec),
        None => &choice::CANDIDATES,
    };
    let (folds, calibration) = fit_folds(&fitter, specs)?;
    seconds.folds = since.elapsed().as_secs_f64();

    let since = std::time::Instant::now();
    let (spec, choice) = match settings.rule {
        Some(spec) => (spec, None),
        None => {
            let copies = copies_for_choice(&fitter, &extractor, images)?;
            let (spec, choice) = choose(&fitter, &folds, &copies, &calibration)?;
            (spec, Some(choice))
        }
    };
    seconds.choice = since.elapsed().as_secs_f64();

    let since = std::time::Instant::now();
    let first = |scores: Vec<(f32, Vec<f32>)>| scores.into_iter().map(|s| s.0).collect::<Vec<_>>();
    let held_out = first(held_out_scores(&fitter, &folds, spec, &calibration)?);
    let thresholds = thresholds_from(&held_out, settings.risk)?;
    let plain = spec.rule == Rule::Patchcore && settings.density.is_none();
    let baseline_thresholds = if plain {
        None
    } else {
        let scores = held_out_scores(&fitter, &folds, RuleSpec::BASELINE, &calibration)?;
        Some(thresholds_from(&first(scores), settings.risk)?)
    };
    let folds_used = folds.len();
    drop(folds);
    seconds.thresholds = since.elapsed().as_secs_f64();

    let since = std::time::Instant::now();
    let n = fitter.features.images;
    let all: Vec<usize> = (0..n).collect();
    let members = fitter.members(&all).len();
    let rows = fitter.bank_rows(members);
    let progress = Progress::new("bank", rows as u64);
    let mut fitted = fitter.fit_bank(&all, &|done| progress.set(done as u64));
    progress.finish();
    let wanted = Wanted {
        places: spec.places(),
        network: spec.network(),
    };
    let progress = Progress::new("network", settings.network_steps as u64);
    fitter.condition(&mut fitted, wanted, 0, &|| progress.advance(1))?;
    progress.finish();
    seconds.bank = since.elapsed().as_secs_f64();

    let (bytes, manifest) = bundle::assemble(
        images,
        &fitter,
        &fitted,
        Ingredients {
            file: &file,
            spec,
            calibration: &calibration,
            choice: choice.clone(),
            thresholds: thresholds.clone(),
            baseline_thresholds: baseline_thresholds.clone(),
            held_out: &held_out,
            folds: folds_used,
        },
    )?;
    seconds.total = started.elapsed().as_secs_f64();
    let report = FitReport {
        name: settings.name.clone(),
        images: n,
        image_sizes: fitter.features.sizes,
        cached_images: fitter.features.cached,
        cells: members as u64,
        bank_rows: fitted.bank.rows(),
        dimensions: fitter.features.dimensions,
        backbone: file.spec.name.clone(),
        rule: spec.rule,
        position: manifest.method.position,
        neighbourhood: manifest.method.neighbourhood,
        choice,
        thresholds,
        baseline_thresholds,
        outliers: outliers(&held_out, images),
        held_out_scores: held_out,
        bytes: bytes.len(),
        blake3: blake3::hash(&bytes).to_hex().to_string(),
        seconds,
    };
    Ok((bytes, report))
}

/// Features of all images and what fitting on them needs.
pub(crate) fn prepare<'a>(
    images: &GoodImages,
    settings: &'a Settings,
    file: &catalogue::BackboneFile,
) -> Result<(Fitter<'a>, Extractor), TrainError> {
    let input = &settings.features.input;
    input.check(file.spec.input.multiple_of)?;
    let side = input.side();
    needs::check_memory(file, settings, images.paths.len())?;
    let features = extract(file, &settings.features, images)?;
    let extractor = Extractor::new(file, &settings.features)?;
    let grid = features.grid;
    let ignored_cells = match &settings.ignore {
        Some(pixels) => IgnoreMask::new(pixels.clone(), side, grid).cells().to_vec(),
        None => vec![false; grid * grid],
    };
    if ignored_cells.iter().all(|&ignored| ignored) {
        return Err(TrainError::Setting(
            "the ignore mask covers the whole picture; nothing would be inspected".into(),
        ));
    }
    let projection = settings.projection_for(features.dimensions);
    let fitter = Fitter {
        settings,
        projected: (projection > 0).then(|| {
            let full = Vectors {
                values: &features.values,
                dimensions: features.dimensions,
            };
            (project(full, projection, settings.seed), projection)
        }),
        features,
        ignored_cells,
        side,
        // The published blur, in proportion to the input.
        sigma: settings.sigma.unwrap_or(side as f32 / 60.0),
        precision: file.spec.precision,
    };
    Ok((fitter, extractor))
}

impl Settings {
    /// Dimensions of the projection for vectors of `dimensions`; 0 for none.
    fn projection_for(&self, dimensions: usize) -> usize {
        let usual = if dimensions > PROJECT_ABOVE { PROJECTED } else { 0 };
        self.projection.unwrap_or(usual)
    }
}

/// A bank without each fold, with what `specs` need around it, and what the models gave to the
/// rows that held-out cells really are.
pub(crate) fn fit_folds(
    fitter: &Fitter<'_>,
    specs: &[RuleSpec],
) -> Result<(Vec<Fold>, Calibration), TrainError> {
    let settings = fitter.settings;
    let n = fitter.features.images;
    let count = settings.folds.clamp(2, n);
    let order = Rng::stream(settings.seed, FOLD_STREAM).permutation(n);
    let rows = fitter.bank_rows(n * fitter.features.cells());
    let progress = Progress::new("folds", (count * rows) as u64);
    let mut folds = Vec::new();
    for fold in 0..count {
        let (held, rest) = split_fold(&order, fold, count);
        let fitted = fitter.fit_bank(&rest, &|done| progress.set((fold * rows + done) as u64));
        folds.push(Fold { fitted, held });
    }
    progress.finish();
    let wanted = Wanted {
        places: specs.iter().any(RuleSpec::places),
        network: specs.iter().any(RuleSpec::network),
    };
    let steps = if wanted.network { settings.network_steps } else { 0 };
    let progress = Progress::new("networks", (count * steps) as u64);
    // The networks are small: one thread each, the folds side by side.
    let calibrations: Vec<Calibration> = folds
        .par_iter_mut()
        .enumerate()
        .map(|(index, fold)| {
            let tick = || progress.advance(1);
            // Stream 0 is the product's own network.
            fitter.condition(&mut fold.fitted, wanted, index as u64 + 1, &tick)?;
            fitter.truths(&fold.fitted, &fold.held)
        })
        .collect::<Result<_, TrainError>>()?;
    progress.finish();
    let mut calibration = Calibration::default();
    for other in calibrations {
        calibration.extend(other);
    }
    Ok((folds, calibration))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_share_no_image_and_leave_none_out() {
        let order = Rng::new(3).permutation(23);
        let mut seen = Vec::new();
        for fold in 0..5 {
            let (held, rest) = split_fold(&order, fold, 5);
            assert_eq!(held.len() + rest.len(), 23);
            assert!(held.iter().all(|i| !rest.contains(i)));
            seen.extend(held);
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..23).collect::<Vec<_>>());
    }
}
