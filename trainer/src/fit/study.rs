//! What is fitted once and used by every rule: the features of all images, a bank without each
//! fold's images, and the models around it. `fit` takes one rule from it, `ablate` all of them.
//!
//! The images are split into folds several times, each time at random and with another start of the
//! banks: half of the spread between good images' held-out scores is the luck of one split.

use super::catalogue::BackboneFile;
use super::coreset::{Vectors, project};
use super::discriminant::discriminant_weights;
use super::features::{Extractor, Features, extract};
use super::fitted_bank::{FittedBank, Needs};
use super::fitter::{Fitter, ProjectedFeatures};
use super::reduction::{FeatureMap, Reduction};
use super::rules::{Calibration, RuleSpec};
use super::seconds::{FitSeconds, timed};
use super::settings::Settings;
use crate::dataset::GoodImages;
use crate::error::TrainError;
use crate::progress::Progress;
use partgate::score::IgnoreMask;
use partgate::seed::Rng;
use partgate::size::Size;
use rayon::prelude::*;

const FOLD_STREAM: u64 = 3;
/// Splits after the first draw their order and the start of their banks from here on.
const PARTITION_STREAM: u64 = 1 << 32;
/// Damage that a map is learnt from.
const MAP_STREAM: u64 = 10;
/// Side of a square input, pixels, above which the blur grows no more.
const MOST_BLURRED: f32 = 512.0;

/// The good images as the encoder of the refinement sees them.
pub(crate) struct EncodedImages {
    pub(crate) file: BackboneFile,
    pub(crate) features: Features,
}

impl EncodedImages {
    /// By the encoder of `settings`, which must have the grid of the backbone `file`; `None` where there
    /// is none, or nothing is refined.
    fn of(
        images: &GoodImages,
        settings: &Settings,
        file: &BackboneFile,
    ) -> Result<Option<Self>, TrainError> {
        let Some(name) = &settings.refine_encoder else {
            return Ok(None);
        };
        if !settings.refines(images.paths.len()) {
            return Ok(None);
        }
        let encoder = settings.encoder(name, file)?;
        let mut wanted = settings.features.clone();
        // Varied copies join the bank, which it has nothing to do with.
        wanted.variation = None;
        let features = extract(&encoder, &wanted, images)?;
        Ok(Some(Self {
            file: encoder,
            features,
        }))
    }
}

/// A bank, and the images that it was fitted without.
pub(crate) struct Fold {
    pub(crate) fitted: FittedBank,
    /// Ascending.
    pub(crate) held: Vec<usize>,
}

impl Fold {
    /// Whether the bank was fitted without `image`.
    pub(crate) fn holds_out(&self, image: usize) -> bool {
        self.held.binary_search(&image).is_ok()
    }
}

/// Folds that hold out every image once.
pub(crate) struct Partition {
    pub(crate) folds: Vec<Fold>,
}

/// Features, folds, and what the folds' models give on images that they have not seen.
pub(crate) struct Study<'a> {
    pub(crate) file: &'a BackboneFile,
    pub(crate) fitter: Fitter<'a>,
    pub(crate) extractor: Extractor,
    /// `None` where the refinement takes the backbone's features.
    pub(crate) encoder: Option<EncodedImages>,
    /// At least one.
    partitions: Vec<Partition>,
    pub(crate) calibration: Calibration,
}

impl<'a> Study<'a> {
    /// Extracts features and fits every fold with what `specs` need.
    pub(crate) fn new(
        images: &GoodImages,
        settings: &'a Settings,
        file: &'a BackboneFile,
        specs: &[RuleSpec],
        seconds: &mut FitSeconds,
    ) -> Result<Self, TrainError> {
        let (fitter, extractor, encoder) = timed(&mut seconds.features, || {
            let encoder = EncodedImages::of(images, settings, file)?;
            let (fitter, extractor) = prepare(images, settings, file)?;
            let beside = encoder
                .as_ref()
                .map(|e| Extractor::new(&e.file, &settings.features));
            Ok::<_, TrainError>((fitter, extractor.with_encoder(beside.transpose()?), encoder))
        })?;
        let (partitions, calibration) =
            timed(&mut seconds.folds, || fit_partitions(&fitter, specs))?;
        Ok(Self {
            file,
            fitter,
            extractor,
            encoder,
            partitions,
            calibration,
        })
    }

    /// The partitions that have what `spec` needs. Neighbourhood networks take most of the time of a
    /// fit, so only the first partition has them.
    pub(crate) fn partitions(&self, spec: RuleSpec) -> &[Partition] {
        let count = if spec.trained() {
            1
        } else {
            self.partitions.len()
        };
        &self.partitions[..count]
    }

    /// The folds of the first partition, which every rule has.
    pub(crate) fn first_folds(&self) -> &[Fold] {
        &self.partitions[0].folds
    }

    /// The numbers of all images.
    pub(crate) fn images(&self) -> Vec<usize> {
        (0..self.fitter.features.images).collect()
    }

    /// The bank of all images, with what `specs` need.
    pub(crate) fn whole(&self, specs: &[RuleSpec]) -> FittedBank {
        let fitter = &self.fitter;
        let all = self.images();
        let rows = fitter.bank_rows(fitter.bank_vectors(&all).len());
        let progress = Progress::new("bank", rows as u64);
        let seed = fitter.settings.seed;
        let chosen = fitter.choose_bank(&all, seed, &|done| progress.set(done as u64));
        progress.finish();
        let needs = Needs::of(specs);
        let progress = Progress::new("network", training_steps(fitter, needs) as u64);
        let fitted = fitter.condition(chosen, needs, 0, &|| progress.advance(1));
        progress.finish();
        fitted
    }
}

/// Training steps of the networks of one bank; 0 where no rule needs any.
fn training_steps(fitter: &Fitter<'_>, needs: Needs) -> usize {
    let steps = fitter.settings.network_steps;
    let neighbourhood = if needs.network { steps } else { 0 };
    // Local-Net first, then Global-Net with the judge.
    let glancing = if needs.glancing.is_some() {
        2 * steps
    } else {
        0
    };
    neighbourhood + glancing
}

/// Features of all images and what fitting on them needs.
fn prepare<'a>(
    images: &GoodImages,
    settings: &'a Settings,
    file: &BackboneFile,
) -> Result<(Fitter<'a>, Extractor), TrainError> {
    let input = &settings.features.input;
    input.check(file.spec.input.multiple_of)?;
    let size = input.size();
    let map_size = settings.map_size.unwrap_or(size);
    let features = extract(file, &settings.features, images)?;
    let grid = features.grid;
    let ignored_cells = ignored_cells(settings, map_size, grid);
    if ignored_cells.iter().all(|&ignored| ignored) {
        return Err(TrainError::Setting(
            "the ignore mask covers the whole picture; nothing would be inspected".into(),
        ));
    }
    let taps: Vec<usize> = file.spec.taps.iter().map(|t| t.channels as usize).collect();
    let reduction = settings.reduction;
    let mut features = features;
    let map = match reduction.filter(|reduction| reduction.shortens(features.dimensions)) {
        None => None,
        Some(Reduction::Discriminant(directions)) => {
            let (given, map) = learnt_map(images, settings, file, features, directions)?;
            features = given;
            Some(map)
        }
        Some(reduction) => reduction.fit(&features, &ignored_cells, &taps, settings.seed),
    };
    let features = match &map {
        Some(map) => map.of(features),
        None => features,
    };
    let linear = map.as_ref().map(|map| map.map.clone());
    let extractor = Extractor::new(file, &settings.features)?.mapped(linear);
    let projection = settings.projection_for(features.dimensions);
    let fitter = Fitter {
        settings,
        projected: (projection > 0).then(|| {
            let full = Vectors {
                values: &features.values,
                dimensions: features.dimensions,
            };
            ProjectedFeatures {
                values: project(full, projection, settings.seed),
                dimensions: projection,
            }
        }),
        features,
        map,
        ignored_cells,
        size,
        map_size,
        sigma: settings.sigma.unwrap_or_else(|| blur(size)),
        precision: file.spec.precision,
    };
    Ok((fitter, extractor))
}

/// The map to the directions that tell damage from what good parts leave unexplained, and the features as
/// they are given. The damage has draws of its own: that of the product's table would look found too often.
fn learnt_map(
    images: &GoodImages,
    settings: &Settings,
    file: &BackboneFile,
    features: Features,
    directions: usize,
) -> Result<(Features, FeatureMap), TrainError> {
    let learning = Settings {
        seed: Rng::stream(settings.seed, MAP_STREAM).next_u64(),
        reduction: None,
        ..settings.clone()
    };
    let extractor = Extractor::new(file, &settings.features)?;
    let size = settings.features.input.size();
    let map_size = settings.map_size.unwrap_or(size);
    let fitter = Fitter {
        settings: &learning,
        projected: None,
        ignored_cells: ignored_cells(settings, map_size, features.grid),
        features,
        map: None,
        size,
        map_size,
        sigma: blur(size),
        precision: file.spec.precision,
    };
    let weights = discriminant_weights(&fitter, &extractor, images, directions)?;
    let features = fitter.features;
    let map = FeatureMap::new(weights, features.dimensions, None);
    Ok((features, map))
}

/// Cells of the grid in which every pixel is ignored.
fn ignored_cells(settings: &Settings, map_size: Size, grid: Size) -> Vec<bool> {
    match &settings.ignore {
        Some(pixels) => IgnoreMask::new(pixels.clone(), map_size, grid)
            .cells()
            .to_vec(),
        None => vec![false; grid.area()],
    }
}

/// The published blur in proportion to the input, and no more than that of [`MOST_BLURRED`]: a larger
/// input has more cells and no larger ones, and a defect of one cell would be blurred away.
fn blur(input: Size) -> f32 {
    input.mean_side().min(MOST_BLURRED) / 60.0
}

/// The images of one fold and all others, each ascending.
struct Split {
    held: Vec<usize>,
    rest: Vec<usize>,
}

/// Splits `order`, a permutation of the images, for the `fold`-th of `folds` folds.
fn split_fold(order: &[usize], fold: usize, folds: usize) -> Split {
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
    Split { held, rest }
}

/// Every partition with banks without each fold's images and what `specs` need, and what the models
/// of all folds give to the rows that held-out cells really are.
fn fit_partitions(
    fitter: &Fitter<'_>,
    specs: &[RuleSpec],
) -> Result<(Vec<Partition>, Calibration), TrainError> {
    let settings = fitter.settings;
    let n = fitter.features.images;
    let (partitions, folds) = (settings.partitions(n), settings.folds.clamp(2, n));
    let (cells, copies) = (fitter.features.cells(), fitter.features.copies);
    let rows = fitter.bank_rows(n * (1 + copies) * cells);
    let needs = Needs::of(specs);
    let progress = Progress::new("folds", (partitions * folds * rows) as u64);
    let mut chosen = Vec::new();
    for partition in 0..partitions {
        let (order, seed) = order_and_seed(settings.seed, partition as u64, n);
        for fold in 0..folds {
            let Split { held, rest } = split_fold(&order, fold, folds);
            let before = chosen.len() * rows;
            let bank =
                fitter.choose_bank(&rest, seed, &|done| progress.set((before + done) as u64));
            chosen.push((bank, held));
        }
    }
    progress.finish();
    let steps = training_steps(fitter, needs);
    let progress = Progress::new("networks", (folds * steps) as u64);
    // The networks are small: one thread each, the folds side by side.
    let fitted: Vec<(Fold, Calibration)> = chosen
        .into_par_iter()
        .enumerate()
        .map(|(index, (bank, held))| {
            let tick = || progress.advance(1);
            let needs = if index < folds {
                needs
            } else {
                needs.without_network()
            };
            // Stream 0 is the product's own network.
            let fitted = fitter.condition(bank, needs, index as u64 + 1, &tick);
            let calibration = fitter.calibration(&fitted, &held)?;
            Ok((Fold { fitted, held }, calibration))
        })
        .collect::<Result<_, TrainError>>()?;
    progress.finish();
    let mut calibration = Calibration::default();
    let mut all = Vec::new();
    for (fold, other) in fitted {
        if all
            .last()
            .is_none_or(|p: &Partition| p.folds.len() == folds)
        {
            all.push(Partition { folds: Vec::new() });
        }
        if let Some(partition) = all.last_mut() {
            partition.folds.push(fold);
        }
        calibration.extend(other);
    }
    Ok((all, calibration))
}

/// The order in which a partition deals the images to its folds, and the seed of its banks.
fn order_and_seed(seed: u64, partition: u64, images: usize) -> (Vec<usize>, u64) {
    if partition == 0 {
        return (Rng::stream(seed, FOLD_STREAM).permutation(images), seed);
    }
    let mut rng = Rng::stream(seed, PARTITION_STREAM + partition);
    (rng.permutation(images), rng.next_u64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_share_no_image_and_leave_none_out() {
        let order = Rng::new(3).permutation(23);
        let mut seen = Vec::new();
        for fold in 0..5 {
            let Split { held, rest } = split_fold(&order, fold, 5);
            assert_eq!(held.len() + rest.len(), 23);
            assert!(held.iter().all(|i| !rest.contains(i)));
            seen.extend(held);
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..23).collect::<Vec<_>>());
    }
}
