//! What a fit needs, reckoned before it starts: memory, and room on the disk for the bundle.

use super::catalogue::{self, BackboneFile};
use super::golden::GOLDEN_AREA;
use super::rules::RuleSpec;
use super::{Settings, choice};
use crate::dataset::GoodImages;
use crate::error::TrainError;
use image::{ImageDecoder, ImageReader};
use std::path::Path;

const MIB: u64 = 1 << 20;

/// The program with its backbone, before it has seen an image.
const PROGRAM: u64 = 64 * MIB;
/// A thread's network state, image file and decoded picture.
const A_THREAD: u64 = 32 * MIB;
/// The coreset packs the vectors that may be the farthest once more. Of 819,200 vectors of the
/// demonstration product a fourteenth were, at most; growing the packed ones doubles their room.
const PACKED_SHARE: u64 = 4;
/// Values a cell that a training step of the neighbourhood network holds for a batch: layers and
/// logits, forwards and backwards.
const STEP_VALUES: u64 = 2 * 6 * 1024;
/// Of a bundle, what is not counted one by one: manifest, maps, the networks besides the backbone.
const SMALL_THINGS: u64 = 8 * MIB;

/// Sizes that follow from settings, backbone and number of images.
struct Sizes {
    /// Of one image.
    cells: u64,
    /// Of all images.
    all: u64,
    dimensions: u64,
    /// Of the bank, at most.
    rows: u64,
    /// Some rule that is fitted needs to know where rows are seen.
    places: bool,
    /// Some rule that is fitted needs the neighbourhood network.
    network: bool,
    entries: u64,
}

impl Sizes {
    fn new(file: &BackboneFile, settings: &Settings, images: usize) -> Result<Self, TrainError> {
        let spec = &file.spec;
        spec.check()
            .map_err(|e| TrainError::Setting(e.to_string()))?;
        let input = &settings.features.input;
        input.check(spec.input.multiple_of)?;
        let cells = (spec.grid(input.side()) as u64).pow(2);
        let all = cells * images as u64;
        let rows = (all as f64 * settings.bank_ratio).ceil() as u64;
        let rules = match settings.rule {
            Some(rule) => vec![rule],
            None => choice::candidates(settings.density),
        };
        Ok(Self {
            cells,
            all,
            dimensions: spec.taps.iter().map(|t| u64::from(t.channels)).sum(),
            rows: rows
                .max(settings.min_bank as u64)
                .min(settings.max_bank as u64)
                .min(all),
            places: rules.iter().any(RuleSpec::places),
            network: rules.iter().any(RuleSpec::network),
            entries: settings.entries as u64,
        })
    }

    /// Rows of D.
    fn entries(&self) -> u64 {
        self.rows.min(self.entries)
    }
}

/// The most memory that a fit on `images` images takes, bytes: features, and the work of the folds
/// and of the bank on top of them.
fn memory_bytes(
    file: &BackboneFile,
    settings: &Settings,
    images: usize,
    threads: u64,
) -> Result<u64, TrainError> {
    let sizes = Sizes::new(file, settings, images)?;
    let (cells, all, rows) = (sizes.cells, sizes.all, sizes.rows);
    let dimensions = sizes.dimensions;
    let projected = settings.projection_for(dimensions as usize) as u64;
    let compared = if projected > 0 { projected } else { dimensions };
    let vectors = all * (dimensions + projected) * 4;
    // Row number and what the coreset knows of each vector, and the packed ones.
    let coreset = all * 16 + all * compared * 4 / PACKED_SHARE;
    let banks = settings.folds.clamp(2, images.max(2)) as u64 + 1;
    let scorers = banks + threads;
    let mut work = scorers * rows * dimensions * 4 + all * 12;
    if sizes.places || sizes.network {
        // Nearest rows, kept by every bank; targets while one is conditioned.
        work += banks * all * 4 + threads * all * 10;
        // Probabilities by place; counts, twice, while a mask is made.
        work += banks * cells * sizes.entries() * 4;
        work += threads * cells * rows * (8 + 1);
    }
    if sizes.network {
        // The logits and their gradients grow with D.
        work += threads * cells * STEP_VALUES.max(16 * sizes.entries()) * 4;
    }
    if settings.refine {
        // Scores, changed shares and refined scores of every good image.
        work += all * 12;
    }
    if settings.rule.is_none() || settings.refine {
        let copies =
            choice::IMAGES.min(images) * (choice::COPIES.iter().sum::<usize>() + choice::EXCHANGES);
        work += copies as u64 * cells * (dimensions + 2) * 4;
    }
    Ok(vectors + coreset + work + PROGRAM + threads * A_THREAD)
}

/// MiB that the system could still give; `None` where it does not say.
fn available_mib() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|l| l.starts_with("MemAvailable:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024)
}

/// Refuses a fit on `images` images that the memory would not suffice for.
pub(super) fn check_memory(
    file: &BackboneFile,
    settings: &Settings,
    images: usize,
) -> Result<(), TrainError> {
    let threads = rayon::current_num_threads() as u64;
    let needed_mib = memory_bytes(file, settings, images, threads)?.div_ceil(MIB);
    log::info!("a fit on {images} images takes up to {needed_mib} MiB of memory");
    match available_mib() {
        Some(available_mib) if needed_mib > available_mib => Err(TrainError::Memory {
            what: format!(
                "a fit on {images} images at {} px",
                settings.features.input.side()
            ),
            needed_mib,
            available_mib,
        }),
        _ => Ok(()),
    }
}

/// Bytes that a picture may take as a golden image: PNG files of photographs come out smaller than
/// their pixels. None for a file that cannot be read; the fit will say so.
fn golden_bytes(path: &Path, shrunk: bool) -> Option<u64> {
    let file = ImageReader::open(path).ok()?.with_guessed_format().ok()?;
    let picture = file.into_decoder().ok()?;
    let (width, height) = picture.dimensions();
    let area = u64::from(width) * u64::from(height);
    let area = if shrunk {
        area.min(GOLDEN_AREA as u64)
    } else {
        area
    };
    Some(area * u64::from(picture.color_type().bytes_per_pixel()))
}

/// The most room that the bundle of a fit on `images` takes on the disk, bytes.
pub(crate) fn bundle_bytes(settings: &Settings, images: &GoodImages) -> Result<u64, TrainError> {
    let file = catalogue::backbone(&settings.backbone)?;
    let sizes = Sizes::new(&file, settings, images.paths.len())?;
    let bank = sizes.rows * sizes.dimensions * 4;
    // At most a table of one-byte counts, beside which a mask of bits is nothing.
    let places = if sizes.places || sizes.network {
        sizes.cells * (sizes.rows + sizes.rows / 8 + 4)
    } else {
        0
    };
    let shrunk = settings.features.input.roi.is_none();
    let largest = images
        .paths
        .iter()
        .filter_map(|path| golden_bytes(path, shrunk))
        .max();
    let goldens = 2 * settings.goldens as u64 * largest.unwrap_or(0);
    Ok(file.onnx.len() as u64 + bank + places + goldens + SMALL_THINGS)
}
