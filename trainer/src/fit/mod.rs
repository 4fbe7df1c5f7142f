//! Good images to a product: features, bank, position mask, thresholds, goldens, bundle.

pub(crate) mod catalogue;
mod coreset;
mod features;
mod golden;
mod outliers;
mod pairwise;
mod position;
pub(crate) mod thresholds;

pub(crate) use features::{FeatureSettings, digest_of};

use crate::dataset::GoodImages;
use crate::error::TrainError;
use crate::progress::Progress;
use coreset::{Vectors, k_centre_greedy, project};
use features::{Features, extract};
use golden::{golden_frames, png};
use outliers::{Outlier, outliers};
use partgate::backbone::{Precision, Threads};
use partgate::inspection::Inspector;
use partgate::lanes::LANES;
use partgate::product::{
    self, AuditEntry, DType, Golden, GoldenKind, Manifest, Method, Parity, PositionEvidence,
    Product, SectionBytes, SectionKind, Signature, Training,
};
use partgate::score::{IgnoreMask, Neighbour, PackedBank, PositionMask, Rule, Scorer};
use partgate::seed::Rng;
use partgate::verdict::{Bound, BoundMethod, Thresholds, Verdict};
use position::{Sightings, default_window, fit_mask, published_sightings};
use rayon::prelude::*;
use serde::Serialize;

/// Everything a fit is told.
pub(crate) struct Settings {
    pub(crate) name: String,
    pub(crate) part_number: String,
    pub(crate) revision: u32,
    pub(crate) created_unix: Option<u64>,
    pub(crate) features: FeatureSettings,
    pub(crate) backbone: String,
    pub(crate) rule: Rule,
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
    pub(crate) cells: u64,
    pub(crate) bank_rows: usize,
    pub(crate) dimensions: usize,
    pub(crate) backbone: String,
    pub(crate) rule: Rule,
    pub(crate) position: Option<PositionEvidence>,
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
    pub(crate) thresholds: f64,
    pub(crate) bank: f64,
    pub(crate) total: f64,
}

/// Above this length of the feature vectors the coreset is chosen under a projection.
const PROJECT_ABOVE: usize = 256;
const PROJECTED: usize = 128;
const FOLD_STREAM: u64 = 3;

/// A bank with what conditions it.
struct FittedBank {
    bank: PackedBank,
    position: Option<(PositionMask, PositionEvidence)>,
}

struct Fitter<'a> {
    settings: &'a Settings,
    features: Features,
    /// The vectors that distances for the coreset are taken in, when projected.
    projected: Option<(Vec<f32>, usize)>,
    ignored_cells: Vec<bool>,
    side: usize,
    sigma: f32,
}

impl Fitter<'_> {
    fn full(&self) -> Vectors<'_> {
        Vectors {
            values: &self.features.values,
            dimensions: self.features.dimensions,
        }
    }

    fn members(&self, images: &[usize]) -> Vec<u32> {
        let cells = self.features.cells();
        images
            .iter()
            .flat_map(|&image| {
                (0..cells)
                    .filter(|&cell| !self.ignored_cells[cell])
                    .map(move |cell| (image * cells + cell) as u32)
            })
            .collect()
    }

    fn bank_rows(&self, members: usize) -> usize {
        let asked = (members as f64 * self.settings.bank_ratio).round() as usize;
        let (low, high) = (self.settings.min_bank, self.settings.max_bank);
        asked.clamp(low.min(high), high).clamp(1, members.max(1))
    }

    fn fit_bank(&self, images: &[usize], progress: &(dyn Fn(usize) + Sync)) -> FittedBank {
        let members = self.members(images);
        let space = match &self.projected {
            Some((values, dimensions)) => Vectors {
                values,
                dimensions: *dimensions,
            },
            None => self.full(),
        };
        let rows = self.bank_rows(members.len());
        let chosen = k_centre_greedy(space, &members, rows, self.settings.seed, progress);
        let values = chosen
            .iter()
            .flat_map(|&row| self.full().row(row).iter().copied())
            .collect();
        let bank = PackedBank::new(values, self.features.dimensions);
        let position =
            (self.settings.rule == Rule::Position).then(|| self.fit_position(&bank, images));
        FittedBank { bank, position }
    }

    fn fit_position(
        &self,
        bank: &PackedBank,
        images: &[usize],
    ) -> (PositionMask, PositionEvidence) {
        let cells = self.features.cells();
        let nearest: Vec<u32> = images
            .par_iter()
            .flat_map_iter(|&image| {
                let mut found = vec![Neighbour::default(); cells];
                bank.nearest(
                    self.features.image(image),
                    None,
                    &Threads::default(),
                    &mut found,
                );
                found.into_iter().map(|n| n.row)
            })
            .collect();
        let window = self
            .settings
            .window
            .unwrap_or_else(|| default_window(self.features.grid));
        let needed = self
            .settings
            .sightings
            .unwrap_or_else(|| published_sightings(images.len(), window, bank.rows()));
        let sightings = Sightings {
            nearest: &nearest,
            grid: self.features.grid,
            rows: bank.rows(),
        };
        fit_mask(&sightings, window, needed)
    }

    fn score(&self, bank: &PackedBank, mask: Option<&PositionMask>, images: &[usize]) -> Vec<f32> {
        let ignore = self
            .settings
            .ignore
            .as_ref()
            .map(|pixels| IgnoreMask::new(pixels.clone(), self.side, self.features.grid));
        let share = images.len().div_ceil(rayon::current_num_threads()).max(1);
        images
            .par_chunks(share)
            .flat_map_iter(|images| {
                let mut scorer = Scorer::new(
                    bank.clone(),
                    mask.cloned(),
                    ignore.clone(),
                    self.features.grid,
                    self.side,
                    self.sigma,
                );
                images
                    .iter()
                    .map(|&i| scorer.score(self.features.image(i), &Threads::default()))
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    /// Scores of every image against a bank fitted without its fold: under the rule, and under
    /// the plain bank where the rule is another.
    fn held_out(&self, folds: usize) -> (Vec<f32>, Option<Vec<f32>>) {
        let n = self.features.images;
        let order = Rng::stream(self.settings.seed, FOLD_STREAM).permutation(n);
        let mut scores = vec![0.0; n];
        let mut baseline = (self.settings.rule != Rule::Patchcore).then(|| vec![0.0; n]);
        let rows = self.bank_rows(n * self.features.cells());
        let progress = Progress::new("thresholds", (folds * rows) as u64);
        for fold in 0..folds {
            let (held, rest) = split_fold(&order, fold, folds);
            let fitted = self.fit_bank(&rest, &|done| progress.set((fold * rows + done) as u64));
            let mask = fitted.position.as_ref().map(|(mask, _)| mask);
            let found = self.score(&fitted.bank, mask, &held);
            for (&image, score) in held.iter().zip(found) {
                scores[image] = score;
            }
            if let Some(baseline) = &mut baseline {
                for (&image, score) in held.iter().zip(self.score(&fitted.bank, None, &held)) {
                    baseline[image] = score;
                }
            }
        }
        progress.finish();
        (scores, baseline)
    }
}

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

/// Fits a product on `images`. Returns the bundle's bytes: the same for the same images, settings
/// and version, whatever the number of threads.
pub(crate) fn fit(
    images: &GoodImages,
    settings: &Settings,
) -> Result<(Vec<u8>, FitReport), TrainError> {
    let started = std::time::Instant::now();
    let mut seconds = FitSeconds::default();
    if !matches!(settings.rule, Rule::Patchcore | Rule::Position) {
        return Err(TrainError::Setting(format!(
            "--method {} is not in this version; patchcore and position are",
            settings.rule
        )));
    }
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
    let input = &settings.features.input;
    input.check(file.spec.input.multiple_of)?;
    let side = input.side();
    let features = extract(&file, &settings.features, images)?;
    seconds.features = started.elapsed().as_secs_f64();
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
    let projection = settings
        .projection
        .unwrap_or(if features.dimensions > PROJECT_ABOVE {
            PROJECTED
        } else {
            0
        });
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
    };
    let n = fitter.features.images;
    let folds = settings.folds.clamp(2, n);
    let since = std::time::Instant::now();
    let (held_out, baseline) = fitter.held_out(folds);
    let thresholds = thresholds_from(&held_out, settings.risk)?;
    let baseline_thresholds = baseline
        .map(|scores| thresholds_from(&scores, settings.risk))
        .transpose()?;
    seconds.thresholds = since.elapsed().as_secs_f64();

    let since = std::time::Instant::now();
    let all: Vec<usize> = (0..n).collect();
    let members = fitter.members(&all).len();
    let rows = fitter.bank_rows(members);
    let progress = Progress::new("bank", rows as u64);
    let fitted = fitter.fit_bank(&all, &|done| progress.set(done as u64));
    progress.finish();
    seconds.bank = since.elapsed().as_secs_f64();

    let mut sorted = held_out.clone();
    sorted.sort_by(f32::total_cmp);
    let (bank, features) = (&fitted.bank, &fitter.features);
    let mut manifest = Manifest {
        name: settings.name.clone(),
        part_number: settings.part_number.clone(),
        revision: settings.revision,
        created_unix: settings.created_unix,
        tool_version: format!("partgate-train {}", partgate::VERSION),
        minimum_runtime: [0, 1, 0],
        input: input.clone(),
        backbone: file.spec.clone(),
        method: Method {
            rule: settings.rule,
            patch: settings.features.patch as u32,
            border: settings.features.border,
            sigma: fitter.sigma,
            bank_ratio: settings.bank_ratio,
            projection: projection as u32,
            position: fitted.position.as_ref().map(|(_, e)| e.clone()),
        },
        thresholds: thresholds.clone(),
        baseline_thresholds: baseline_thresholds.clone(),
        training: Training {
            images: n as u32,
            cells: members as u64,
            digest: features.digest,
            seed: settings.seed,
            folds: folds as u32,
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
    let mut sections = vec![
        SectionBytes {
            kind: SectionKind::Backbone,
            dtype: DType::Bytes,
            shape: vec![file.onnx.len() as u64],
            bytes: file.onnx.to_vec(),
        },
        SectionBytes {
            kind: SectionKind::Bank,
            dtype: DType::F32,
            shape: vec![bank.rows() as u64, bank.dimensions() as u64],
            bytes: little_endian(bank.values()),
        },
    ];
    if let Some((mask, _)) = &fitted.position {
        sections.push(SectionBytes {
            kind: SectionKind::PositionMask,
            dtype: DType::U16,
            shape: vec![mask.cells() as u64, mask.rows().div_ceil(LANES) as u64],
            bytes: mask
                .all_words()
                .iter()
                .flat_map(|w| w.to_le_bytes())
                .collect(),
        });
    }
    if let Some(pixels) = &settings.ignore {
        sections.push(SectionBytes {
            kind: SectionKind::IgnoreMask,
            dtype: DType::Bits,
            shape: vec![side as u64, side as u64],
            bytes: bits(pixels),
        });
    }
    // The goldens are judged by the very bundle that carries them, without them.
    let bare = product::write(manifest.clone(), &sections, &Signature::Unsigned)?;
    let opened = Product::from_bytes(bare, &settings.name)?;
    let mut inspector = Inspector::new(&opened, &Threads::default())?;
    for (name, kind, frame) in golden_frames(settings, images)? {
        let inspection = inspector.inspect(&frame)?;
        let bytes = png(&frame)?;
        manifest.goldens.push(Golden {
            name,
            kind,
            section: sections.len() as u32,
            score: inspection.score,
            verdict: inspection.verdict,
            coarse_map: product::coarse(inspector.map(), side),
        });
        sections.push(SectionBytes {
            kind: SectionKind::GoldenImage,
            dtype: DType::Bytes,
            shape: vec![bytes.len() as u64],
            bytes,
        });
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
    let position = manifest.method.position.clone();
    let bytes = product::write(manifest, &sections, &Signature::Unsigned)?;
    seconds.total = started.elapsed().as_secs_f64();
    let report = FitReport {
        name: settings.name.clone(),
        images: n,
        image_sizes: fitter.features.sizes,
        cells: members as u64,
        bank_rows: fitted.bank.rows(),
        dimensions: fitter.features.dimensions,
        backbone: file.spec.name.clone(),
        rule: settings.rule,
        position,
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
