//! Memory and disk space of a fit, estimated before it starts.

use super::available::available_mib;
use super::catalogue::BackboneFile;
use super::choice::candidates;
use super::copies::{COPIES_OF_AN_IMAGE, DAMAGED_IMAGES, images_at_a_time};
use super::gaussian::{MOST_DIMENSIONS, section_bytes};
use super::golden::{golden_area, largest_input};
use super::n_pad;
use super::plan::MemberPlan;
use super::rules::RuleSpec;
use super::settings::{NetworkForm, Settings};
use super::shift::{MOVED_IMAGES, SHIFTS};
use crate::dataset::GoodImages;
use crate::error::TrainError;
use image::{ImageDecoder, ImageReader};
use partgate::backbone::Precision;
use partgate::product::MAX_FILE;
use partgate::score::NeighbourhoodShape;
use partgate::size::Size;
use std::path::Path;

const MIB: u64 = 1 << 20;

/// The program with its backbone, before it has seen an image.
const PROGRAM: u64 = 64 * MIB;
/// A thread's network state, image file and decoded picture.
const A_THREAD: u64 = 32 * MIB;
/// The coreset packs the vectors that may be the farthest once more. Of 819,200 vectors of the
/// demonstration product a fourteenth were, at most; while they grow, they take twice the memory.
const PACKED_SHARE: u64 = 4;
/// Values a cell that a training step of the neighbourhood network holds for a batch: layers and
/// logits, forwards and backwards.
const STEP_VALUES: u64 = 2 * 6 * 1024;
/// Copies of the weights of the paper's form while it learns (themselves, masked, gradients, Adam's
/// two moments, some twice while a step replaces them), is written and loaded: of 11 million
/// weights 7.3 were seen.
const LEARNING_COPIES: u64 = 10;
/// Values a cell and channel of each of its layers, forwards and backwards, times the images a
/// step.
const LAYER_VALUES: u64 = 2 * 16;
/// Rest of a bundle: manifest, maps, the networks besides the backbone.
const SMALL_SECTIONS: u64 = 8 * MIB;

/// Sizes that follow from settings, backbone and number of images.
struct Sizes {
    /// Of one image.
    cells: u64,
    /// Of all images.
    all: u64,
    /// Values of a feature vector as the backbone gives it.
    dimensions: u64,
    /// The same as the bank holds it.
    mapped: u64,
    /// Of the bank, at most.
    rows: u64,
    /// Some rule that is fitted needs to know where rows are seen.
    places: bool,
    /// Some rule that is fitted needs the neighbourhood network.
    network: bool,
    /// Bytes of the Gaussians' sections; 0 without them.
    gaussians: u64,
    /// Bytes of the sections of rule `n-pad`; 0 without it.
    n_pad: u64,
    entries: u64,
    /// The network in the paper's form; `None` for the edge form, which is small.
    paper: Option<PaperNetworkSize>,
}

/// Size of the paper's form of the neighbourhood network.
#[derive(Clone, Copy)]
struct PaperNetworkSize {
    weights: u64,
    /// Of its file.
    bytes: u64,
    /// Values of all layers a cell.
    channels: u64,
}

impl PaperNetworkSize {
    /// Refuses a file that no bundle could hold.
    fn new(shape: &NeighbourhoodShape, layers: usize) -> Result<Self, TrainError> {
        let weights = shape.weights();
        let bytes = match shape.precision {
            Precision::F32 => 4 * weights,
            Precision::Int8 => weights,
        };
        if bytes > MAX_FILE {
            return Err(TrainError::Setting(format!(
                "--network paper: {} layers of {} over {} x {} cells of {} values are {} MiB of weights, and a bundle holds {} MiB at most; take fewer with --network-width, --network-layers or --ring{}",
                layers,
                shape.hidden,
                shape.window,
                shape.window,
                shape.dimensions,
                bytes / MIB,
                MAX_FILE / MIB,
                match shape.precision {
                    Precision::F32 => ", or an int8 backbone (a quarter)",
                    Precision::Int8 => "",
                }
            )));
        }
        Ok(Self {
            weights,
            bytes,
            channels: layers as u64 * u64::from(shape.hidden),
        })
    }
}

impl Sizes {
    fn new(file: &BackboneFile, settings: &Settings, images: usize) -> Result<Self, TrainError> {
        let spec = &file.spec;
        spec.check()
            .map_err(|e| TrainError::Setting(e.to_string()))?;
        let input = &settings.features.input;
        input.check(spec.input.multiple_of)?;
        let cells = spec.grid(input.size()).area() as u64;
        let pictures = images * (1 + settings.features.copies(images));
        let all = cells * pictures as u64;
        let rows = (all as f64 * settings.bank_ratio).ceil() as u64;
        let rules = match settings.rule {
            Some(rule) => vec![rule],
            None => candidates(settings, spec.dimensions(), images),
        };
        let rows = rows
            .max(settings.min_bank as u64)
            .min(settings.max_bank as u64)
            .min(all);
        let dimensions: u64 = spec.taps.iter().map(|t| u64::from(t.channels)).sum();
        let mapped = settings.mapped(spec.dimensions()) as u64;
        let gaussians = rules.iter().any(RuleSpec::gaussian);
        if gaussians && mapped > MOST_DIMENSIONS as u64 {
            return Err(TrainError::Setting(format!(
                "Gaussians of {mapped} values take too much; at most {MOST_DIMENSIONS} can be used, so add --principal 128 or take another --method"
            )));
        }
        let grid = spec.grid(input.size());
        let n_pad = n_pad_bytes(&rules, grid, mapped as usize)?;
        let network = rules.iter().any(RuleSpec::network);
        let paper = match settings.network {
            NetworkForm::Paper { layers, .. } if network => {
                let shape = settings.network_shape(
                    spec.grid(input.size()),
                    mapped as usize,
                    rows.min(settings.entries as u64) as usize,
                    spec.precision,
                );
                Some(PaperNetworkSize::new(&shape, layers)?)
            }
            _ => None,
        };
        let sizes = Self {
            cells,
            all,
            dimensions,
            mapped,
            rows,
            places: rules.iter().any(RuleSpec::places),
            network,
            gaussians: if gaussians {
                section_bytes(grid, mapped as usize)
            } else {
                0
            },
            n_pad,
            entries: settings.entries as u64,
            paper,
        };
        let bank = rows * mapped * 4;
        if bank > MAX_FILE {
            return Err(TrainError::Setting(format!(
                "a bank of {rows} rows of {mapped} values takes {} MiB, and a bundle holds {} MiB at most; take a smaller --bank-ratio or --max-bank",
                bank / MIB,
                MAX_FILE / MIB
            )));
        }
        Ok(sizes)
    }

    /// Bytes of a bundle's sections for the bank and for the places of its rows.
    fn sections(&self) -> u64 {
        let bank = self.rows * self.mapped * 4 + self.dimensions * self.mapped * 4;
        // At most a table of one-byte counts, beside which a mask of bits is nothing.
        let places = if self.places || self.network {
            self.cells * (self.rows + self.rows / 8 + 4)
        } else {
            0
        };
        bank + places + self.gaussians + self.n_pad + self.paper.map_or(0, |paper| paper.bytes)
    }

    /// Rows of D.
    fn entries(&self) -> u64 {
        self.rows.min(self.entries)
    }
}

/// Bytes of the sections of rule `n-pad`, if one of `rules` is that.
fn n_pad_bytes(rules: &[RuleSpec], grid: Size, dimensions: usize) -> Result<u64, TrainError> {
    if rules.iter().all(|rule| rule.n_pad.is_none()) {
        return Ok(0);
    }
    let bytes = n_pad::section_bytes(grid, dimensions);
    if bytes > MAX_FILE {
        return Err(TrainError::Setting(format!(
            "--method n-pad: a covariance of {dimensions} values at each of {} cells takes {} MiB, and a bundle holds {} MiB at most; take fewer values with --channels 100, or a smaller --size",
            grid.area(),
            bytes / MIB,
            MAX_FILE / MIB
        )));
    }
    Ok(bytes)
}

/// Damaged and moved copies whose features are held at a time, at most.
fn held_copies(images: usize, cells: u64, dimensions: u64) -> u64 {
    let held = |most: usize, each: usize| {
        let at_a_time = images_at_a_time((cells * dimensions) as usize, each);
        (most.min(images).min(at_a_time) * each) as u64
    };
    held(DAMAGED_IMAGES, COPIES_OF_AN_IMAGE) + held(MOVED_IMAGES, SHIFTS.len())
}

/// Damaged copies at most.
fn copies(images: usize) -> u64 {
    (DAMAGED_IMAGES.min(images) * COPIES_OF_AN_IMAGE) as u64
}

/// The most memory that fitting a member on `images` images takes, bytes: features, and the work of
/// the folds and of the bank on top of them.
fn memory_bytes(
    file: &BackboneFile,
    settings: &Settings,
    images: usize,
    threads: u64,
) -> Result<u64, TrainError> {
    let sizes = Sizes::new(file, settings, images)?;
    let (cells, all, rows) = (sizes.cells, sizes.all, sizes.rows);
    let dimensions = sizes.dimensions;
    let mapped = if sizes.mapped < dimensions {
        sizes.mapped
    } else {
        0
    };
    let projected = settings.projection_for(sizes.mapped as usize) as u64;
    let compared = if projected > 0 { projected } else { dimensions };
    let vectors = all * (dimensions + mapped + projected) * 4;
    // Row number and what the coreset knows of each vector, and the packed ones.
    let coreset = all * 16 + all * compared * 4 / PACKED_SHARE;
    let folds = settings.folds.clamp(2, images.max(2)) * settings.partitions(images);
    let banks = folds as u64 + 1;
    let scorers = banks + threads;
    // Row numbers and distances of a search, and each cell's held-out score.
    let mut work = scorers * rows * dimensions * 4 + all * 16;
    if sizes.places || sizes.network {
        // Nearest rows, kept by every bank; targets while one is conditioned.
        work += banks * all * 4 + threads * all * 10;
        // Probabilities by place; counts, twice, while a mask is made.
        work += banks * cells * sizes.entries() * 4;
        work += threads * cells * rows * (8 + 1);
    }
    // Each bank keeps its own; the sums of products have four bytes where a factor has one.
    work += (banks + threads * 5) * sizes.gaussians;
    // The moments and the distributions have eight bytes while they are made.
    work += (banks + threads * 4) * sizes.n_pad;
    if sizes.network {
        // The logits and their gradients grow with D.
        work += threads * cells * STEP_VALUES.max(16 * sizes.entries()) * 4;
    }
    if let Some(paper) = sizes.paper {
        let step = paper.channels * cells * LAYER_VALUES;
        work += threads * (paper.weights * LEARNING_COPIES + step) * 4;
        // Every bank keeps its network's file.
        work += banks * paper.bytes;
    }
    if settings.refines(images) {
        // Scores, changed shares and refined scores of every good image, in each partition.
        work += all * 12 * settings.partitions(images) as u64;
        if let Some(name) = &settings.refine_encoder {
            let encoder = settings.encoder(name, file)?;
            let values = cells * encoder.spec.dimensions() as u64;
            work += (images as u64 + held_copies(images, cells, dimensions)) * values * 4
                + encoder.onnx.len() as u64;
        }
    }
    work += held_copies(images, cells, dimensions) * cells * (dimensions + 2) * 4;
    // The cells' scores of all copies, in each partition.
    work += copies(images) * cells * 4 * settings.partitions(images) as u64;
    Ok(vectors + coreset + work + PROGRAM + threads * A_THREAD)
}

/// Bytes that a fitted member of an ensemble keeps while the next one is fitted: its sections, and
/// the cells' scores of good images and of damaged copies.
fn kept_bytes(plan: &MemberPlan, images: usize) -> Result<u64, TrainError> {
    let sizes = Sizes::new(&plan.file, &plan.settings, images)?;
    let scores = (sizes.all + copies(images) * sizes.cells) * 4;
    Ok(plan.file.onnx.len() as u64 + sizes.sections() + scores)
}

/// The most memory that a fit of all of `plans`, one after the other, takes, MiB.
fn memory_mib(plans: &[MemberPlan], images: usize, threads: u64) -> Result<u64, TrainError> {
    let alone = plans.len() == 1;
    let (mut most, mut kept) = (0, 0);
    for plan in plans {
        let work = memory_bytes(&plan.file, &plan.settings, images, threads)?;
        most = most.max(work);
        if !alone {
            kept += kept_bytes(plan, images)?;
        }
    }
    Ok((most + kept).div_ceil(MIB))
}

/// Refuses a fit of `plans` on `images` images that needs more memory than there is.
///
/// # Errors
/// [`TrainError::Memory`].
pub(crate) fn check_memory(plans: &[MemberPlan], images: usize) -> Result<(), TrainError> {
    let threads = rayon::current_num_threads() as u64;
    let needed_mib = memory_mib(plans, images, threads)?;
    log::info!("a fit on {images} images takes up to {needed_mib} MiB of memory");
    match available_mib() {
        Some(available_mib) if needed_mib > available_mib => {
            let sizes = plans.iter().map(|p| p.settings.features.input.size());
            let sizes: Vec<String> = sizes.map(Size::briefly).collect();
            let paper = match plans[0].settings.network {
                NetworkForm::Edge => "",
                NetworkForm::Paper { .. } => {
                    " with --network paper (a smaller --network-width, --network-layers or --threads takes less)"
                }
            };
            Err(TrainError::Memory {
                what: format!(
                    "a fit on {images} images at {} px{paper}",
                    sizes.join(" + ")
                ),
                needed_mib,
                available_mib,
            })
        }
        _ => Ok(()),
    }
}

/// Bytes that a picture may take as a golden image: PNG files of photographs are smaller than their
/// pixels. `shrunk` is the input that it is shrunk for. `None` for a file that cannot be read, which the fit itself refuses.
fn golden_bytes(path: &Path, shrunk: Option<Size>) -> Option<u64> {
    let file = ImageReader::open(path).ok()?.with_guessed_format().ok()?;
    let picture = file.into_decoder().ok()?;
    let (width, height) = picture.dimensions();
    let area = u64::from(width) * u64::from(height);
    let area = shrunk.map_or(area, |input| golden_area(area, input));
    Some(area * u64::from(picture.color_type().bytes_per_pixel()))
}

/// The most bytes of the bundle of a fit on `images`.
pub(crate) fn bundle_bytes(settings: &Settings, images: &GoodImages) -> Result<u64, TrainError> {
    let mut members = 0;
    for plan in settings.members()? {
        let sizes = Sizes::new(&plan.file, &plan.settings, images.paths.len())?;
        members += plan.file.onnx.len() as u64 + sizes.sections() + SMALL_SECTIONS;
        if let Some(name) = &plan.settings.refine_encoder {
            members += plan.settings.encoder(name, &plan.file)?.onnx.len() as u64;
        }
    }
    let whole = settings.features.input.roi.is_none();
    let shrunk = whole.then(|| largest_input(settings));
    let largest = images
        .paths
        .iter()
        .filter_map(|path| golden_bytes(path, shrunk))
        .max();
    let goldens = 2 * settings.goldens as u64 * largest.unwrap_or(0);
    Ok(members + goldens)
}

#[cfg(test)]
mod tests {
    use super::super::settings::OtherMember;
    use super::*;
    use crate::cli::fit::default_settings;

    fn plans(sizes: &[usize]) -> Vec<MemberPlan> {
        let mut settings = default_settings();
        settings.others = sizes
            .iter()
            .map(|&size| OtherMember {
                backbone: None,
                size: Some(Size::square(size)),
            })
            .collect();
        settings.members().expect("members")
    }

    /// The README's promise, with everything on.
    #[test]
    fn a_thousand_images_fit_into_four_gibibytes() {
        let needed = memory_mib(&plans(&[]), 1000, 2).expect("a need");
        assert!(needed < 4096, "{needed} MiB");
    }

    fn paper(width: usize, backbone: &str) -> Result<u64, TrainError> {
        let mut settings = default_settings();
        settings.backbone = backbone.into();
        settings.entries = 2048;
        settings.network = NetworkForm::Paper { width, layers: 10 };
        memory_mib(&settings.members().expect("members"), 100, 2)
    }

    /// 43 million weights at the published width over this backbone and 1024 rows of D.
    #[test]
    fn the_papers_form_counts() {
        let int8 = "efficientnet-lite0-int8";
        let edge = memory_mib(&plans(&[]), 100, 2).expect("a need");
        let (small, published) = (paper(64, int8), paper(2048, int8));
        let (small, published) = (small.expect("a need"), published.expect("a need"));
        assert!(edge < small && small < 2 * edge, "{edge} {small}");
        // Two threads learn it, with all that Adam remembers; six banks keep it.
        assert!(published > 3200, "{published}");
        // As f32 no bundle could hold the widest.
        let error = paper(4096, "efficientnet-lite0-f32").expect_err("too large");
        let text = error.to_string();
        assert!(
            text.contains("--network-width") && text.contains("512 MiB"),
            "{text}"
        );
    }

    #[test]
    fn members_are_fitted_one_after_the_other() {
        let needed = |sizes: &[usize]| memory_mib(&plans(sizes), 700, 2).expect("a need");
        let (one, two, three) = (needed(&[]), needed(&[320]), needed(&[320, 224]));
        let larger = memory_mib(&plans(&[320])[1..], 700, 2).expect("a need");
        // The larger one's work, and what the others leave: not the sum of both.
        assert!(one < larger && larger < two && two < three);
        assert!(
            two < one + larger && three - two < one / 4,
            "{one} {two} {three}"
        );
    }
}
