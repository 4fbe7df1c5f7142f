//! Damaged copies of good images: what the choice of conditioning, refinement and the report of an
//! ensemble take for defective parts.

use super::features::Extractor;
use super::fitter::Fitter;
use super::settings::Settings;
use crate::damage::{Damaged, Damager, Family};
use crate::dataset::{GoodImages, seen_by_network};
use crate::error::TrainError;
use crate::progress::Progress;
use partgate::frame::Frame;
use partgate::seed::Rng;
use partgate::size::Size;
use rayon::prelude::*;
use std::borrow::Cow;

/// Images that are damaged, at most.
pub(super) const DAMAGED_IMAGES: usize = 48;
/// Damaged copies of each image: surface, misplaced.
pub(super) const PAINTED_COPIES: [usize; 2] = [2, 3];
/// Copies of each image with exchanged features.
pub(super) const EXCHANGED_COPIES: usize = 2;
/// Other good images that damage is filled from.
const DONORS: usize = 8;
const DAMAGE_STREAM: u64 = 5;
/// Finely damaged copies of each image, where they are asked for.
const FINE_COPIES: usize = 2;
/// Copies of an image in all.
pub(super) const COPIES_OF_AN_IMAGE: usize =
    PAINTED_COPIES[0] + PAINTED_COPIES[1] + EXCHANGED_COPIES;
/// Bytes of copies' features that are held at a time, ...
const MOST_BYTES: usize = 1 << 30;
/// ... but no fewer than the copies of so many images where all are needed at once.
const LEAST_AT_ONCE: usize = 4;
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
    /// As [`Harm::Surface`], but smaller: only where input sizes are compared.
    Fine,
}

impl Harm {
    /// Whether the picture itself was changed: then every member of an ensemble sees the damage.
    pub(crate) fn painted(self) -> bool {
        self != Self::Exchanged
    }

    /// Those that a choice of rules compares.
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
#[derive(Clone)]
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

/// Whether a changed pixel lies in the region of interest.
fn inside(frame: &Frame, changed: &[bool], settings: &Settings) -> bool {
    let Some(region) = settings.features.input.roi else {
        return true;
    };
    let within = |at: usize, from: u32, side: u32| (from..from + side).contains(&(at as u32));
    let mut pixels = changed.iter().enumerate().filter(|(_, changed)| **changed);
    pixels.any(|(at, _)| {
        let (x, y) = (at % frame.width(), at / frame.width());
        within(x, region.x, region.width) && within(y, region.y, region.height)
    })
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

/// At most `most` of the images, drawn by the seed, ascending.
pub(super) fn drawn(fitter: &Fitter<'_>, images: &GoodImages, most: usize) -> Vec<usize> {
    let n = images.paths.len();
    let mut chosen = Rng::stream(fitter.settings.seed, DAMAGE_STREAM).permutation(n);
    chosen.truncate(most.min(n));
    chosen.sort_unstable();
    chosen
}

/// Some of the images, with what their copies take.
pub(super) struct SomeImages<'a> {
    pub(super) fitter: &'a Fitter<'a>,
    pub(super) extractor: &'a Extractor,
    /// Their numbers.
    pub(super) chosen: Vec<usize>,
    /// Copies of one image.
    pub(super) copies: usize,
    /// Name of the progress bar.
    pub(super) what: &'static str,
}

impl SomeImages<'_> {
    /// Images whose copies are held at a time. It depends on nothing of the machine, so that the same
    /// settings give the same bytes everywhere.
    fn at_a_time(&self) -> usize {
        images_at_a_time(
            self.fitter.features.cells() * self.fitter.features.dimensions,
            self.copies,
        )
    }

    /// The results of `work` on each of the images, in parallel and in their order.
    pub(super) fn all<T: Send>(
        &self,
        work: impl Fn(usize, &mut Extractor) -> Result<Vec<T>, TrainError> + Sync,
    ) -> Result<Vec<T>, TrainError> {
        let mut all = Vec::new();
        self.run(self.chosen.len().max(1), work, |made| {
            all.extend(made);
            Ok(())
        })?;
        Ok(all)
    }

    /// The same for so many images at a time as their copies' features may be held for: `done` gets
    /// the results of each turn.
    pub(super) fn in_turns<T: Send>(
        &self,
        work: impl Fn(usize, &mut Extractor) -> Result<Vec<T>, TrainError> + Sync,
        done: impl FnMut(Vec<T>) -> Result<(), TrainError>,
    ) -> Result<(), TrainError> {
        self.run(self.at_a_time(), work, done)
    }

    fn run<T: Send>(
        &self,
        at_a_time: usize,
        work: impl Fn(usize, &mut Extractor) -> Result<Vec<T>, TrainError> + Sync,
        mut done: impl FnMut(Vec<T>) -> Result<(), TrainError>,
    ) -> Result<(), TrainError> {
        let chosen = &self.chosen;
        let progress = Progress::new(self.what, chosen.len() as u64);
        let threads = rayon::current_num_threads();
        let mut extractors = Vec::new();
        while extractors.len() < threads.min(chosen.len()) {
            let settings = &self.fitter.settings.features;
            extractors.push(self.extractor.another(settings)?);
        }
        for turn in chosen.chunks(at_a_time) {
            let share = turn.len().div_ceil(threads).max(1);
            let made: Vec<Vec<T>> = extractors
                .par_iter_mut()
                .zip(turn.par_chunks(share))
                .map(|(extractor, run)| {
                    let mut out = Vec::new();
                    for &image in run {
                        out.extend(work(image, extractor)?);
                        progress.advance(1);
                    }
                    Ok(out)
                })
                .collect::<Result<_, TrainError>>()?;
            done(made.into_iter().flatten().collect())?;
        }
        progress.finish();
        Ok(())
    }
}

/// Images with so many `values` in their features, of which `copies` each may be held at a time.
pub(super) fn images_at_a_time(values: usize, copies: usize) -> usize {
    (MOST_BYTES / (values * copies * 4).max(1)).max(1)
}

/// Damaged copies of some of the good images: all at once where their features may be held, else made
/// anew for so many images at a time as may be. The copies are the same either way.
pub(crate) struct DamagedCopies<'a> {
    some: SomeImages<'a>,
    images: &'a GoodImages,
    fine: bool,
    kept: Option<Vec<DamagedCopy>>,
}

impl<'a> DamagedCopies<'a> {
    pub(crate) fn new(
        fitter: &'a Fitter<'a>,
        extractor: &'a Extractor,
        images: &'a GoodImages,
    ) -> Result<Self, TrainError> {
        let mut copies = Self::unmade(fitter, extractor, images, false);
        if copies.some.at_a_time() >= copies.some.chosen.len() {
            copies.kept = Some(copies.some.all(copies.work())?);
        }
        Ok(copies)
    }

    /// The same with finely damaged copies, where the pictures have pixels for them. Nothing is kept:
    /// it is for one look at each copy.
    pub(crate) fn with_fine(
        fitter: &'a Fitter<'a>,
        extractor: &'a Extractor,
        images: &'a GoodImages,
    ) -> Self {
        Self::unmade(fitter, extractor, images, true)
    }

    fn unmade(
        fitter: &'a Fitter<'a>,
        extractor: &'a Extractor,
        images: &'a GoodImages,
        fine: bool,
    ) -> Self {
        Self {
            some: SomeImages {
                fitter,
                extractor,
                chosen: drawn(fitter, images, DAMAGED_IMAGES),
                copies: COPIES_OF_AN_IMAGE,
                what: "damage",
            },
            images,
            fine,
            kept: None,
        }
    }

    /// What makes the copies of one image. It holds no extractor: those are of a thread each.
    fn work(
        &self,
    ) -> impl Fn(usize, &mut Extractor) -> Result<Vec<DamagedCopy>, TrainError> + Sync {
        let (fitter, images, fine) = (self.some.fitter, self.images, self.fine);
        move |image, extractor| copies_of(image, fitter, extractor, images, fine)
    }

    /// How often [`DamagedCopies::each`] gives copies.
    pub(crate) fn turns(&self) -> usize {
        match &self.kept {
            Some(_) => 1,
            None => self.some.chosen.len().div_ceil(self.some.at_a_time()),
        }
    }

    /// Gives `work` all copies, some at a time, in the order of the images.
    pub(crate) fn each(
        &self,
        mut work: impl FnMut(&[DamagedCopy]) -> Result<(), TrainError>,
    ) -> Result<(), TrainError> {
        if let Some(copies) = &self.kept {
            return work(copies);
        }
        self.some.in_turns(self.work(), |copies| work(&copies))
    }

    /// Those of so many images as may be held at once, for what learns from all together.
    pub(crate) fn at_once(&self) -> Result<Cow<'_, [DamagedCopy]>, TrainError> {
        if let Some(copies) = &self.kept {
            return Ok(Cow::Borrowed(copies));
        }
        let most = self.some.at_a_time().max(LEAST_AT_ONCE);
        let fewer = SomeImages {
            chosen: drawn(self.some.fitter, self.images, most.min(DAMAGED_IMAGES)),
            ..self.some
        };
        let copies = fewer.all(self.work())?;
        Ok(Cow::Owned(copies))
    }
}

/// Damaged copies of one image.
fn copies_of(
    image: usize,
    fitter: &Fitter<'_>,
    extractor: &mut Extractor,
    images: &GoodImages,
    fine: bool,
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
    let fine = if fine && damager.resolves_fine() {
        FINE_COPIES
    } else {
        0
    };
    // Fine ones last, so that the others are the same with them and without.
    let families = [
        (Family::Surface, Harm::Surface, PAINTED_COPIES[0]),
        (Family::Misplaced, Harm::Misplaced, PAINTED_COPIES[1]),
        (Family::Fine, Harm::Fine, fine),
    ];
    for (family, harm, count) in families {
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
    let seen = match id.harm {
        // The network's pixels may pass it by, and that is what the copy is there to show.
        Harm::Fine => inside(&damaged.frame, &damaged.changed, fitter.settings),
        _ => changed.iter().any(|&c| c > 0.0),
    };
    if !seen {
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
