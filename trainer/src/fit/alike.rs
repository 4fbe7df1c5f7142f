//! Good images that only others like them explain. Two defective parts among the goods that look alike
//! hide each other: when one is held out, the rows of the other are in the bank, and its score is low.
//!
//! Each image is scored once more without a further share of the images, each share in turn. A good
//! part loses little, because what it shows is in many images. One of two that hide each other loses
//! its explanation with the other. The plain distances count, whatever the product's rule is.

use super::fitter::Fitter;
use super::settings::BankKind;
use super::study::{Fold, Study};
use partgate::network::Threads;
use partgate::score::{IgnoreMask, Neighbour, PackedBank, ScoreMap};
use rayon::prelude::*;

/// Shares of the images that are left out in turn.
const SHARES: usize = 8;
/// Fewer images have no shares that can be spared.
const LEAST: usize = 12;

/// An image without the share of images that explains it best.
#[derive(Clone, Debug)]
pub(crate) struct Lonely {
    /// Its score with every share.
    pub(crate) with_all: f32,
    /// Its highest score without one share.
    pub(crate) without_share: f32,
    /// The image of that share that explains the place of the highest score.
    pub(crate) other: usize,
    /// Scores of the cells without that share.
    pub(crate) cells: Vec<f32>,
}

/// Every image without each share; `None` for a few images.
pub(crate) fn lonely(study: &Study<'_>) -> Option<Vec<Lonely>> {
    let images = study.fitter.features.images;
    // A centroid is of many images.
    if images < LEAST || study.fitter.settings.bank == BankKind::Centroids {
        return None;
    }
    let mut found: Vec<(usize, Lonely)> = Vec::with_capacity(images);
    for fold in study.first_folds() {
        found.extend(of_fold(&study.fitter, fold));
    }
    found.sort_by_key(|(image, _)| *image);
    Some(found.into_iter().map(|(_, lonely)| lonely).collect())
}

/// The rows of one share, and the image that each comes from.
struct Share {
    bank: PackedBank,
    origins: Vec<u32>,
}

/// Splits the rows of a fold's bank by the images they come from.
fn shares(fold: &Fold, dimensions: usize) -> Vec<Share> {
    let bank = &fold.fitted.bank;
    let rows = || {
        fold.fitted
            .origins
            .iter()
            .zip(bank.values().chunks_exact(dimensions))
    };
    (0..SHARES)
        .filter_map(|share| {
            let of_share = || rows().filter(|(image, _)| **image as usize % SHARES == share);
            let values: Vec<f32> = of_share()
                .flat_map(|(_, row)| row.iter().copied())
                .collect();
            (!values.is_empty()).then(|| Share {
                bank: PackedBank::new(values, dimensions),
                origins: of_share().map(|(image, _)| *image).collect(),
            })
        })
        .collect()
}

fn of_fold(fitter: &Fitter<'_>, fold: &Fold) -> Vec<(usize, Lonely)> {
    let shares = shares(fold, fitter.features.dimensions);
    fold.held
        .par_iter()
        .map_init(
            || map_of(fitter),
            |map, &image| (image, of_image(fitter, &shares, map, image)),
        )
        .collect()
}

/// A map as the product's.
fn map_of(fitter: &Fitter<'_>) -> ScoreMap {
    let (grid, size) = (fitter.features.grid, fitter.map_size);
    let ignore = fitter.settings.ignore.as_ref();
    let ignore = ignore.map(|pixels| IgnoreMask::new(pixels.clone(), size, grid));
    let sigma = fitter.sigma * size.mean_side() / fitter.size.mean_side();
    ScoreMap::new(grid, size, sigma, ignore)
}

fn of_image(fitter: &Fitter<'_>, shares: &[Share], map: &mut ScoreMap, image: usize) -> Lonely {
    let features = &fitter.features;
    let cells = features.cells();
    let nearest: Vec<Vec<Neighbour>> = shares
        .iter()
        .map(|share| {
            let mut found = vec![Neighbour::default(); cells];
            let query = features.image(image);
            share
                .bank
                .nearest(query, None, &Threads::default(), &mut found);
            found
        })
        .collect();
    let without = |left_out: Option<usize>| -> Vec<f32> {
        let cell = |cell: usize| {
            let kept = nearest
                .iter()
                .enumerate()
                .filter(|(share, _)| Some(*share) != left_out);
            kept.map(|(_, found)| found[cell].distance)
                .fold(f32::INFINITY, f32::min)
        };
        (0..cells).map(cell).collect()
    };
    let with_all = map.score(&without(None));
    let mut worst = Lonely {
        with_all,
        without_share: f32::NEG_INFINITY,
        other: image,
        cells: Vec::new(),
    };
    for (share, of_share) in nearest.iter().enumerate() {
        // One share alone leaves nothing to compare with.
        if shares.len() < 2 {
            break;
        }
        let left = without(Some(share));
        let score = map.score(&left);
        if score > worst.without_share {
            let highest = (0..cells)
                .filter(|&cell| !fitter.ignored_cells[cell])
                .max_by(|&a, &b| left[a].total_cmp(&left[b]));
            let row = of_share[highest.unwrap_or(0)].row as usize;
            worst = Lonely {
                with_all,
                without_share: score,
                other: shares[share]
                    .origins
                    .get(row)
                    .map_or(image, |&o| o as usize),
                cells: left,
            };
        }
    }
    worst
}
