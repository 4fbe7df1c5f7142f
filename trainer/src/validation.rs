//! A bundle against labelled images: what a line would see, and the field's figures, with the
//! plain bank on the same features beside it.

mod figures;

use crate::budgets::{BudgetFigures, Labelled, Separating, budgets, separating, stands_for};
use crate::dataset::{CheckedSet, TestImage, checked, defect_mask};
use crate::error::TrainError;
use crate::fit::without_spread;
use crate::metrics::{
    CONFIDENCE, PixelScores, Share, auroc_interval, f1_max, false_reject_rate_at_full_recall,
    image_auroc,
};
use crate::progress::Progress;
use partgate::backbone::Threads;
use partgate::frame::file::read_picture;
use partgate::inspection::Inspector;
use partgate::product::{Manifest, Product, SectionKind};
use partgate::score::{Rule, Scorer};
use partgate::verdict::{Thresholds, Verdict};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

use figures::Counts;
pub(crate) use figures::{Figures, MEASURES, Measure, percent};

/// One inspected test image.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Inspected {
    pub(crate) path: PathBuf,
    /// Ground truth, where there is a file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) masks: Vec<PathBuf>,
    pub(crate) kind: String,
    pub(crate) defective: bool,
    pub(crate) score: f32,
    pub(crate) verdict: Verdict,
    pub(crate) baseline_score: f32,
    pub(crate) baseline_verdict: Verdict,
}

/// Defectives of one kind.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct KindFigures {
    pub(crate) kind: String,
    pub(crate) images: usize,
    pub(crate) escapes: usize,
    pub(crate) image_auroc: Option<f64>,
    /// `None` where the bundle has no thresholds of the plain bank.
    pub(crate) baseline_escapes: Option<usize>,
    pub(crate) baseline_image_auroc: Option<f64>,
}

/// The whole outcome; the names are part of the command's interface.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ValidationReport {
    #[serde(flatten)]
    pub(crate) figures: Figures,
    pub(crate) images: usize,
    pub(crate) good: usize,
    pub(crate) defective: usize,
    pub(crate) with_mask: usize,
    /// How the images lie, in a line.
    #[serde(default)]
    pub(crate) layout: String,
    /// Images that are not counted: copies, and good images of the fit.
    #[serde(default)]
    pub(crate) left_out: usize,
    /// Counted images that a line would not judge, because they are of another kind than those of
    /// the fit.
    #[serde(default)]
    pub(crate) other_view: usize,
    /// What is odd about the images, a sentence each.
    #[serde(default)]
    pub(crate) notes: Vec<String>,
    /// Of the first member, as the backbone and the bank.
    pub(crate) rule: Rule,
    pub(crate) backbone: String,
    pub(crate) bank_rows: usize,
    /// How many members inspect together; 1 for most products.
    pub(crate) members: usize,
    /// Whether the product is its own baseline.
    pub(crate) plain: bool,
    /// `patchcore` on the same features and bank (of the first member, alone).
    pub(crate) baseline: Figures,
    pub(crate) kinds: Vec<KindFigures>,
    pub(crate) thresholds: [f32; 2],
    /// The same images under the thresholds of other budgets; empty for bundles of earlier versions.
    #[serde(default)]
    pub(crate) budgets: Vec<BudgetFigures>,
    /// `None` where one class is missing.
    #[serde(default)]
    pub(crate) separating: Option<Separating>,
}

impl ValidationReport {
    /// Good images that `figures` (the report's own, or the baseline's) count as rejected; `None` where
    /// it cannot tell.
    pub(crate) fn false_rejects(&self, figures: &Figures) -> Option<usize> {
        figures
            .false_reject_rate
            .map(|rate| of_rate(rate, self.good))
    }

    /// Defective images that `figures` count as passed.
    pub(crate) fn escapes(&self, figures: &Figures) -> Option<usize> {
        figures
            .escape_rate
            .map(|rate| of_rate(rate, self.defective))
    }

    /// The figures that the data can tell, in the order in which tables show them.
    pub(crate) fn measures(&self) -> impl Iterator<Item = &'static Measure> {
        let told = |m: &&Measure| {
            let values = [&self.figures, &self.baseline].map(|f| (m.value)(f));
            values.iter().any(Option::is_some)
        };
        MEASURES.iter().filter(told)
    }

    /// A figure for people: a count with what it stands for, or per cent.
    pub(crate) fn in_words(&self, measure: &Measure, figures: &Figures) -> [String; 2] {
        let counted = match measure.counts {
            Some(Counts::FalseRejects) => self.false_rejects(figures).map(|n| (n, self.good)),
            Some(Counts::Escapes) => self.escapes(figures).map(|n| (n, self.defective)),
            None => None,
        };
        if let Some((count, of)) = counted {
            let share = stands_for(count, of).unwrap_or_default();
            return [format!("{count} of {of}"), share];
        }
        match (measure.value)(figures) {
            None => [String::new(), String::new()],
            value => {
                let interval = (measure.interval)(figures).map_or(String::new(), |[low, high]| {
                    format!("{:.1} to {:.1} at 95 %", low * 100.0, high * 100.0)
                });
                [percent(value), interval]
            }
        }
    }

    /// What inspected, in a word or two.
    pub(crate) fn inspect(&self) -> String {
        match self.members {
            1 => self.rule.to_string(),
            n => format!("{n} members"),
        }
    }
}

fn of_rate(rate: f64, of: usize) -> usize {
    (rate * of as f64).round() as usize
}

struct Worker {
    inspector: Inspector,
    plain: Option<Scorer>,
}

struct Outcome {
    inspected: Inspected,
    mask: Option<Vec<u8>>,
    map: Vec<f32>,
    baseline_map: Option<Vec<f32>>,
}

impl Worker {
    fn new(product: &Product) -> Result<Self, TrainError> {
        let manifest = product.manifest();
        let size = manifest.input.size();
        let plain = (!is_plain(manifest)).then(|| {
            Scorer::new(
                product.bank().clone(),
                Vec::new(),
                None,
                product.ignore().cloned(),
                (manifest.backbone.grid(size), size),
                manifest.method.sigma,
            )
        });
        Ok(Self {
            inspector: Inspector::new(product, &Threads::default())?,
            plain,
        })
    }

    fn inspect(
        &mut self,
        image: &TestImage,
        product: &Product,
        eroded: bool,
    ) -> Result<Outcome, TrainError> {
        let frame = read_picture(&image.path, product.reading())?.frame;
        let inspection = self
            .inspector
            .inspect(&frame)
            .map_err(|source| TrainError::Image {
                path: image.path.clone(),
                source,
            })?;
        let manifest = product.manifest();
        let area = manifest.input.size().area();
        let mask = if image.masks.is_empty() {
            // A good part's ground truth is known without a file.
            (!image.defective()).then(|| vec![0; area])
        } else {
            let size = (frame.width(), frame.height());
            Some(defect_mask(&image.masks, size, &manifest.input, eroded)?)
        };
        let map = self.inspector.map().to_vec();
        let (baseline_score, baseline_verdict, baseline_map) = match &mut self.plain {
            None => (inspection.score, inspection.verdict, None),
            Some(plain) => {
                let score = plain.score(self.inspector.features(), &Threads::default())?;
                let thresholds = manifest
                    .baseline_thresholds
                    .as_ref()
                    .unwrap_or(&manifest.thresholds);
                (
                    score,
                    thresholds.verdict(score),
                    Some(plain.map.pixels().to_vec()),
                )
            }
        };
        Ok(Outcome {
            inspected: Inspected {
                path: image.path.clone(),
                masks: image.masks.clone(),
                kind: image.kind.clone(),
                defective: image.defective(),
                score: inspection.score,
                verdict: inspection.verdict,
                baseline_score,
                baseline_verdict,
            },
            mask,
            map,
            baseline_map,
        })
    }
}

/// A share of a number of images that may be 0.
struct Rate {
    rate: Option<f64>,
    /// Clopper-Pearson, 95 %.
    interval: Option<[f64; 2]>,
}

impl Rate {
    fn new(count: usize, of: usize) -> Self {
        let interval = Share::new(count as u64, of as u64, CONFIDENCE).ok();
        Self {
            rate: (of > 0).then(|| count as f64 / of as f64),
            interval: interval.map(|s| [s.low, s.high]),
        }
    }
}

fn figures(
    inspected: &[Inspected],
    score: impl Fn(&Inspected) -> f32,
    verdict: impl Fn(&Inspected) -> Verdict,
    pixels: PixelScores,
) -> Result<Figures, TrainError> {
    let scores: Vec<f32> = inspected.iter().map(&score).collect();
    let labels: Vec<bool> = inspected.iter().map(|j| j.defective).collect();
    let both = labels.iter().any(|&d| d) && labels.iter().any(|&d| !d);
    let (image_auroc, interval, f1, full_recall) = if both {
        // One image of a label has a figure, but no interval.
        let interval = auroc_interval(&scores, &labels).ok();
        (
            Some(image_auroc(&scores, &labels)?),
            interval.map(|interval| [interval.low, interval.high]),
            Some(f1_max(&scores, &labels)?),
            Some(false_reject_rate_at_full_recall(&scores, &labels)?),
        )
    } else {
        (None, None, None, None)
    };
    let (mut pixel_auroc, mut aupro, mut pixel_f1) = (None, None, None);
    if pixels.components() > 0 {
        let sorted = pixels.sort();
        pixel_auroc = Some(sorted.auroc()?);
        aupro = Some(sorted.aupro()?);
        pixel_f1 = Some(sorted.f1_max()?.f1);
    }
    let goods = labels.iter().filter(|&&d| !d).count();
    let rejects = inspected
        .iter()
        .filter(|j| !j.defective && verdict(j) != Verdict::Ok)
        .count();
    let escapes = inspected
        .iter()
        .filter(|j| j.defective && verdict(j) == Verdict::Ok)
        .count();
    let rejects = Rate::new(rejects, goods);
    let escapes = Rate::new(escapes, labels.len() - goods);
    Ok(Figures {
        image_auroc,
        image_auroc_interval: interval,
        pixel_auroc,
        aupro,
        image_f1_max: f1.as_ref().map(|f| f.f1),
        image_f1_max_threshold: f1.as_ref().map(|f| f.threshold),
        pixel_f1_max: pixel_f1,
        false_reject_rate_at_full_recall: full_recall,
        false_reject_rate: rejects.rate,
        false_reject_interval: rejects.interval,
        escape_rate: escapes.rate,
        escape_interval: escapes.interval,
    })
}

fn kind_figures(inspected: &[Inspected], comparable: bool) -> Vec<KindFigures> {
    let mut kinds: Vec<&str> = inspected
        .iter()
        .filter(|j| j.defective)
        .map(|j| j.kind.as_str())
        .collect();
    kinds.sort_unstable();
    kinds.dedup();
    let auroc = |kind: &str, score: &dyn Fn(&Inspected) -> f32| {
        let (scores, labels): (Vec<f32>, Vec<bool>) = inspected
            .iter()
            .filter(|j| !j.defective || j.kind == kind)
            .map(|j| (score(j), j.defective))
            .unzip();
        image_auroc(&scores, &labels).ok()
    };
    kinds
        .into_iter()
        .map(|kind| {
            let of_kind = || inspected.iter().filter(|j| j.kind == kind);
            KindFigures {
                kind: kind.into(),
                images: of_kind().count(),
                escapes: of_kind().filter(|j| j.verdict == Verdict::Ok).count(),
                image_auroc: auroc(kind, &|j| j.score),
                baseline_escapes: comparable.then(|| {
                    of_kind()
                        .filter(|j| j.baseline_verdict == Verdict::Ok)
                        .count()
                }),
                baseline_image_auroc: auroc(kind, &|j| j.baseline_score),
            }
        })
        .collect()
}

/// Whether the product is its own baseline: plain distances to the bank.
pub(crate) fn is_plain(manifest: &Manifest) -> bool {
    let method = &manifest.method;
    method.rule == Rule::Patchcore
        && method.density.is_none()
        && method.refinement.is_none()
        && manifest.others.is_empty()
        && !manifest
            .sections
            .iter()
            .any(|s| s.kind == SectionKind::Scoring)
}

/// All images inspected, with the pixels of those that have ground truth.
struct InspectedSet {
    inspected: Vec<Inspected>,
    pixels: PixelScores,
    baseline_pixels: PixelScores,
}

/// Inspects `images` with `product`, in parallel; the results keep the images' order.
fn inspect_all(
    product: &Product,
    images: &[TestImage],
    eroded: bool,
) -> Result<InspectedSet, TrainError> {
    let size = product.manifest().input.size();
    let progress = Progress::new("validate", images.len() as u64);
    let mut workers = (0..rayon::current_num_threads().clamp(1, images.len().max(1)))
        .map(|_| Worker::new(product))
        .collect::<Result<Vec<_>, _>>()?;
    let mut set = InspectedSet {
        inspected: Vec::with_capacity(images.len()),
        pixels: PixelScores::new(),
        baseline_pixels: PixelScores::new(),
    };
    // Batches bound the maps held at once; within one, each worker takes a run of images.
    for batch in images.chunks(workers.len() * 8) {
        let run = batch.len().div_ceil(workers.len());
        let outcomes: Vec<Vec<Outcome>> = workers
            .par_iter_mut()
            .zip(batch.par_chunks(run))
            .map(|(worker, images)| {
                images
                    .iter()
                    .map(|image| {
                        let outcome = worker.inspect(image, product, eroded);
                        progress.advance(1);
                        outcome
                    })
                    .collect::<Result<Vec<_>, _>>()
            })
            .collect::<Result<_, _>>()?;
        for outcome in outcomes.into_iter().flatten() {
            if let Some(mask) = &outcome.mask {
                set.pixels
                    .add(&outcome.map, mask, size.width, size.height)?;
                let map = outcome.baseline_map.as_ref().unwrap_or(&outcome.map);
                set.baseline_pixels
                    .add(map, mask, size.width, size.height)?;
            }
            set.inspected.push(outcome.inspected);
        }
    }
    progress.finish();
    Ok(set)
}

/// The figures of a validation, and the images that they come from.
pub(crate) struct Validation {
    pub(crate) report: ValidationReport,
    pub(crate) inspected: Vec<Inspected>,
}

/// Inspects `images` with `product` and computes every figure.
pub(crate) fn validate(
    product: &Product,
    images: &[TestImage],
    eroded: bool,
) -> Result<Validation, TrainError> {
    let manifest = product.manifest();
    let CheckedSet {
        images,
        other_view,
        left_out,
        mut notes,
    } = checked(product, images)?;
    let InspectedSet {
        mut inspected,
        pixels,
        baseline_pixels,
    } = inspect_all(product, &images, eroded)?;
    let scores: Vec<f32> = inspected.iter().map(|j| j.score).collect();
    notes.extend(without_spread(&scores));
    for note in &notes {
        log::warn!("{note}");
    }
    for (image, other) in inspected.iter_mut().zip(&other_view) {
        if *other && image.verdict == Verdict::Ok {
            image.verdict = Verdict::Unknown;
        }
        if *other && image.baseline_verdict == Verdict::Ok {
            image.baseline_verdict = Verdict::Unknown;
        }
    }
    let plain = is_plain(manifest);
    let main = figures(&inspected, |j| j.score, |j| j.verdict, pixels)?;
    // After `calibrate` the bundle has thresholds for its own rule only: the plain bank's scores
    // must not be inspected by them.
    let comparable = plain || manifest.baseline_thresholds.is_some();
    let mut baseline = if plain {
        main.clone()
    } else {
        figures(
            &inspected,
            |j| j.baseline_score,
            |j| j.baseline_verdict,
            baseline_pixels,
        )?
    };
    if !comparable {
        baseline.false_reject_rate = None;
        baseline.false_reject_interval = None;
        baseline.escape_rate = None;
        baseline.escape_interval = None;
    }
    let defective = inspected.iter().filter(|j| j.defective).count();
    let Thresholds { unknown, ng } = &manifest.thresholds;
    let labelled = inspected.iter().map(|image| Labelled {
        defective: image.defective,
        score: image.score,
    });
    let labelled: Vec<Labelled> = labelled.collect();
    let report = ValidationReport {
        figures: main,
        images: inspected.len(),
        good: inspected.len() - defective,
        layout: String::new(),
        left_out,
        other_view: other_view.iter().filter(|&&other| other).count(),
        notes,
        defective,
        with_mask: images.iter().filter(|i| !i.masks.is_empty()).count(),
        rule: manifest.method.rule,
        backbone: manifest.backbone.name.clone(),
        bank_rows: product.bank().rows(),
        members: product.members().len(),
        plain,
        baseline,
        kinds: kind_figures(&inspected, comparable),
        thresholds: [unknown.threshold, ng.threshold],
        budgets: product
            .operating()
            .map_or(Vec::new(), |operating| budgets(operating, &labelled)),
        separating: separating(&labelled),
    };
    Ok(Validation { report, inspected })
}
