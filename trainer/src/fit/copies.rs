//! Damaged copies of good images: what the choice of conditioning, refinement and the report of an
//! ensemble take for defective parts.

use super::features::Extractor;
use super::fitter::Fitter;
use crate::damage::{Damaged, Damager, Family};
use crate::dataset::{GoodImages, seen_by_network};
use crate::error::TrainError;
use crate::progress::Progress;
use partgate::frame::Frame;
use partgate::seed::Rng;
use partgate::size::Size;
use rayon::prelude::*;

/// Images that are damaged, at most.
pub(super) const DAMAGED_IMAGES: usize = 48;
/// Damaged copies of each image: surface, misplaced.
pub(super) const PAINTED_COPIES: [usize; 2] = [2, 3];
/// Copies of each image with exchanged features.
pub(super) const EXCHANGED_COPIES: usize = 2;
/// Other good images that damage is filled from.
const DONORS: usize = 8;
const DAMAGE_STREAM: u64 = 5;
/// Pairs of blocks that are compared for each copy with exchanged features.
const EXCHANGES_TRIED: usize = 8 * EXCHANGED_COPIES;

/// What was done to a copy of a good image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Harm {
    /// Something foreign, painted on the picture.
    Surface,
    /// Something moved, turned, recoloured or removed in the picture.
    Misplaced,
    /// The features of two places exchanged, without a seam. A plain bank cannot see it: each place
    /// looks normal in itself. Conditions exist for such defects.
    Exchanged,
}

impl Harm {
    /// Whether the picture itself was changed: then every member of an ensemble sees the damage.
    pub(crate) fn painted(self) -> bool {
        self != Self::Exchanged
    }

    pub(super) const ALL: [Self; 3] = [Self::Surface, Self::Misplaced, Self::Exchanged];
}

/// Identity of a damaged copy. Painted copies with the same identity are the same picture for every
/// member of an ensemble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CopyId {
    pub(crate) image: usize,
    pub(crate) harm: Harm,
    /// Among the image's copies of this harm.
    pub(crate) number: usize,
}

/// A damaged copy of a good image.
pub(crate) struct DamagedCopy {
    pub(crate) id: CopyId,
    /// `[cells, dimensions]`.
    pub(crate) features: Vec<f32>,
    /// What the encoder of the refinement gives; empty without one, and for exchanged features.
    pub(crate) encoded: Vec<f32>,
    /// Share of changed pixels in each cell, `[cells]`.
    pub(crate) changed: Vec<f32>,
    /// Side of a square as large as what was changed, pixels of the picture; 0 for exchanged features.
    pub(crate) side: f32,
}

/// Share of changed pixels in each cell, as the network sees the picture; 0 in ignored cells.
fn changed_cells(frame: &Frame, changed: &[bool], fitter: &Fitter<'_>) -> Vec<f32> {
    let input = &fitter.settings.features.input;
    let seen = seen_by_network(changed, (frame.width(), frame.height()), input, false);
    let (grid, width) = (fitter.features.grid, fitter.size.width);
    // The same both ways: the backbone's.
    let stride = width / grid.width;
    (0..grid.area())
        .map(|cell| {
            if fitter.ignored_cells[cell] {
                return 0.0;
            }
            let (row, column) = (cell / grid.width * stride, cell % grid.width * stride);
            let ones: u32 = (row..row + stride)
                .flat_map(|y| &seen[y * width + column..][..stride])
                .map(|&c| u32::from(c))
                .sum();
            ones as f32 / (stride * stride) as f32
        })
        .collect()
}

/// Features of an image with two blocks of cells exchanged.
struct ExchangedFeatures {
    /// `[cells, dimensions]`.
    features: Vec<f32>,
    /// 1 in exchanged cells, 0 elsewhere.
    changed: Vec<f32>,
}

/// Exchanges two equal blocks of cells, the most unlike of a few pairs; `None` where the grid is
/// too small for two.
fn exchanged(
    features: &[f32],
    grid: Size,
    ignored: &[bool],
    rng: &mut Rng,
) -> Option<ExchangedFeatures> {
    let d = features.len() / grid.area();
    let Size { width, height } = grid;
    let cell = |row: usize, column: usize| &features[(row * width + column) * d..][..d];
    let longest = grid.map(|cells| (cells / 4).max(2));
    let mut best: Option<(f32, [usize; 6])> = None;
    for _ in 0..EXCHANGES_TRIED {
        let h = 2 + rng.below(longest.height - 1);
        let w = 2 + rng.below(longest.width - 1);
        if h >= height || w >= width {
            continue;
        }
        let mut place = || (rng.below(height - h + 1), rng.below(width - w + 1));
        let ((ay, ax), (by, bx)) = (place(), place());
        if ay.abs_diff(by) < h && ax.abs_diff(bx) < w {
            continue;
        }
        let counts = |i: usize| {
            let (y, x) = (i / w, i % w);
            !ignored[(ay + y) * width + ax + x] && !ignored[(by + y) * width + bx + x]
        };
        if !(0..h * w).all(counts) {
            continue;
        }
        let unlike: f32 = (0..h * w)
            .map(|i| {
                let (y, x) = (i / w, i % w);
                let pairs = cell(ay + y, ax + x).iter().zip(cell(by + y, bx + x));
                pairs.map(|(a, b)| (a - b) * (a - b)).sum::<f32>()
            })
            .sum::<f32>()
            / (h * w) as f32;
        if best.is_none_or(|(most, _)| unlike > most) {
            best = Some((unlike, [ay, ax, by, bx, h, w]));
        }
    }
    let (_, [ay, ax, by, bx, h, w]) = best?;
    let mut out = features.to_vec();
    let mut changed = vec![0.0; grid.area()];
    for i in 0..h * w {
        let (y, x) = (i / w, i % w);
        let (a, b) = ((ay + y) * width + ax + x, (by + y) * width + bx + x);
        out[a * d..(a + 1) * d].copy_from_slice(&features[b * d..(b + 1) * d]);
        out[b * d..(b + 1) * d].copy_from_slice(&features[a * d..(a + 1) * d]);
        (changed[a], changed[b]) = (1.0, 1.0);
    }
    Some(ExchangedFeatures {
        features: out,
        changed,
    })
}

/// The results of `work` on at most `most` of the images, which are drawn by the seed. They run in
/// parallel; the results keep the order of the images. `what` names the progress bar.
pub(super) fn on_some_images<T: Send>(
    fitter: &Fitter<'_>,
    extractor: &Extractor,
    images: &GoodImages,
    most: usize,
    what: &'static str,
    work: impl Fn(usize, &mut Extractor) -> Result<Vec<T>, TrainError> + Sync,
) -> Result<Vec<T>, TrainError> {
    let n = images.paths.len();
    let mut chosen = Rng::stream(fitter.settings.seed, DAMAGE_STREAM).permutation(n);
    chosen.truncate(most.min(n));
    chosen.sort_unstable();
    let progress = Progress::new(what, chosen.len() as u64);
    let share = chosen.len().div_ceil(rayon::current_num_threads()).max(1);
    let mut workers = Vec::new();
    for run in chosen.chunks(share) {
        workers.push((extractor.another(&fitter.settings.features)?, run));
    }
    let made: Vec<Vec<T>> = workers
        .into_par_iter()
        .map(|(mut extractor, run)| {
            let mut out = Vec::new();
            for &image in run {
                out.extend(work(image, &mut extractor)?);
                progress.advance(1);
            }
            Ok(out)
        })
        .collect::<Result<_, TrainError>>()?;
    progress.finish();
    Ok(made.into_iter().flatten().collect())
}

/// Damages copies of some of the images and extracts their features.
pub(crate) fn damaged_copies(
    fitter: &Fitter<'_>,
    extractor: &Extractor,
    images: &GoodImages,
) -> Result<Vec<DamagedCopy>, TrainError> {
    on_some_images(
        fitter,
        extractor,
        images,
        DAMAGED_IMAGES,
        "damage",
        |image, extractor| copies_of(image, fitter, extractor, images),
    )
}

/// Damaged copies of one image.
fn copies_of(
    image: usize,
    fitter: &Fitter<'_>,
    extractor: &mut Extractor,
    images: &GoodImages,
) -> Result<Vec<DamagedCopy>, TrainError> {
    let seed = Rng::stream(fitter.settings.seed, DAMAGE_STREAM + 100 + image as u64).next_u64();
    let mut rng = Rng::new(seed);
    let frame = images.read(&images.paths[image])?;
    let donors = donors_for(image, images, &mut rng)?;
    let donors: Vec<&Frame> = donors.iter().collect();
    let damager = match Damager::new(&frame, &donors, None) {
        Ok(damager) => damager,
        Err(e) => {
            log::warn!("{}: not damaged: {e}", images.paths[image].display());
            return Ok(Vec::new());
        }
    };
    let mut out = Vec::new();
    let families = [
        (Family::Surface, Harm::Surface),
        (Family::Misplaced, Harm::Misplaced),
    ];
    for ((family, harm), count) in families.into_iter().zip(PAINTED_COPIES) {
        for number in 0..count {
            // A picture with nothing to misplace gives fewer copies.
            let Ok(damaged) = damager.damage(family, rng.next_u64()) else {
                continue;
            };
            let id = CopyId {
                image,
                harm,
                number,
            };
            out.extend(painted_copy(id, &damaged, fitter, extractor, images)?);
        }
    }
    let good = fitter.features.image(image);
    for number in 0..EXCHANGED_COPIES {
        let exchanged = exchanged(good, fitter.features.grid, &fitter.ignored_cells, &mut rng);
        out.extend(exchanged.map(|exchanged| DamagedCopy {
            id: CopyId {
                image,
                harm: Harm::Exchanged,
                number,
            },
            features: exchanged.features,
            encoded: Vec::new(),
            changed: exchanged.changed,
            side: 0.0,
        }));
    }
    Ok(out)
}

/// Other good images that damage on `image` is filled from.
fn donors_for(image: usize, images: &GoodImages, rng: &mut Rng) -> Result<Vec<Frame>, TrainError> {
    let n = images.paths.len();
    (0..DONORS.min(n - 1))
        .map(|_| {
            let other = (image + 1 + rng.below(n - 1)) % n;
            Ok(images.read(&images.paths[other])?)
        })
        .collect()
}

/// A damaged picture as a copy; `None` where no inspected cell has changed.
fn painted_copy(
    id: CopyId,
    damaged: &Damaged,
    fitter: &Fitter<'_>,
    extractor: &mut Extractor,
    images: &GoodImages,
) -> Result<Option<DamagedCopy>, TrainError> {
    let changed = changed_cells(&damaged.frame, &damaged.changed, fitter);
    if changed.iter().all(|&c| c == 0.0) {
        return Ok(None);
    }
    let mut features = vec![0.0; fitter.features.cells() * fitter.features.dimensions];
    let encoded = extractor
        .run(&damaged.frame, &mut features)
        .and_then(|()| extractor.encode(&damaged.frame))
        .map_err(|source| TrainError::Image {
            path: images.paths[id.image].clone(),
            source,
        })?;
    let pixels = damaged.changed.iter().filter(|&&c| c).count();
    Ok(Some(DamagedCopy {
        id,
        features,
        encoded,
        changed,
        side: (pixels as f32).sqrt(),
    }))
}
