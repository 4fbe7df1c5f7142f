//! What every bank of a fit shares: settings, features of all images, and the choice of rows.

use super::centroids::{Centroids, k_means};
use super::coreset::{Vectors, k_centre_greedy};
use super::features::Features;
use super::position::default_window;
use super::reduction::FeatureMap;
use super::settings::{BankKind, Settings};
use partgate::backbone::Precision;
use partgate::network::Threads;
use partgate::product::BankBytes;
use partgate::score::{Neighbour, PackedBank};
use partgate::size::Size;
use rayon::prelude::*;

/// Feature vectors under a random projection, for the distances of the coreset.
pub(crate) struct ProjectedFeatures {
    /// `[images, cells, dimensions]`.
    pub(crate) values: Vec<f32>,
    pub(crate) dimensions: usize,
}

/// Features of all images with what fitting a bank on some of them needs.
pub(crate) struct Fitter<'a> {
    pub(crate) settings: &'a Settings,
    /// After the map, if there is one.
    pub(crate) features: Features,
    /// The map of the backbone's features.
    pub(crate) map: Option<FeatureMap>,
    pub(crate) projected: Option<ProjectedFeatures>,
    pub(crate) ignored_cells: Vec<bool>,
    /// Of the network's input, pixels.
    pub(crate) size: Size,
    /// Of the maps, pixels.
    pub(crate) map_size: Size,
    /// Blur of the map, pixels of the network's input.
    pub(crate) sigma: f32,
    pub(crate) precision: Precision,
}

/// A bank as chosen from some of the images, before it is conditioned.
pub(crate) struct ChosenBank {
    pub(crate) bank: PackedBank,
    /// The image that each row comes from, or that shows what is nearest to it.
    pub(crate) origins: Vec<u32>,
    /// The images, ascending.
    pub(crate) images: Vec<usize>,
}

impl Fitter<'_> {
    fn full(&self) -> Vectors<'_> {
        Vectors {
            values: &self.features.values,
            dimensions: self.features.dimensions,
        }
    }

    /// Indices of the feature vectors of `images` that are inspected.
    pub(crate) fn inspected_vectors(&self, images: &[usize]) -> Vec<u32> {
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

    /// Indices of the feature vectors that a bank of `images` is chosen from: theirs, and those of their
    /// varied copies.
    pub(crate) fn bank_vectors(&self, images: &[usize]) -> Vec<u32> {
        self.inspected_vectors(&self.features.with_copies(images))
    }

    /// Rows of a bank that is chosen from `vectors` feature vectors.
    pub(crate) fn bank_rows(&self, vectors: usize) -> usize {
        let asked = (vectors as f64 * self.settings.bank_ratio).round() as usize;
        let (low, high) = (self.settings.min_bank, self.settings.max_bank);
        asked.clamp(low.min(high), high).clamp(1, vectors.max(1))
    }

    /// Side of the sighting window, cells.
    pub(crate) fn window(&self) -> usize {
        self.settings
            .window
            .unwrap_or_else(|| default_window(self.features.grid))
    }

    /// Chooses a bank from `images`, from a start that `seed` draws. `progress` gets the number of
    /// rows chosen so far.
    pub(crate) fn choose_bank(
        &self,
        images: &[usize],
        seed: u64,
        progress: &(dyn Fn(usize) + Sync),
    ) -> ChosenBank {
        let candidates = self.bank_vectors(images);
        let space = match &self.projected {
            Some(projected) => Vectors {
                values: &projected.values,
                dimensions: projected.dimensions,
            },
            None => self.full(),
        };
        let rows = self.bank_rows(candidates.len());
        let cells = self.features.cells() as u32;
        if self.settings.bank == BankKind::Centroids {
            let Centroids { values, nearest } =
                k_means(self.full(), &candidates, rows, seed, progress);
            return ChosenBank {
                origins: nearest.iter().map(|&row| row / cells).collect(),
                bank: self.as_stored(values),
                images: images.to_vec(),
            };
        }
        let chosen = k_centre_greedy(space, &candidates, rows, seed, progress);
        let values = chosen
            .iter()
            .flat_map(|&row| self.full().row(row).iter().copied())
            .collect();
        ChosenBank {
            origins: chosen.iter().map(|&row| row / cells).collect(),
            bank: self.as_stored(values),
            images: images.to_vec(),
        }
    }

    /// The bank of `rows` as the product will hold it.
    fn as_stored(&self, rows: Vec<f32>) -> PackedBank {
        let dimensions = self.features.dimensions;
        let stored = match self.settings.bank_in_bytes {
            true => BankBytes::of(&rows, dimensions).rows(),
            false => rows,
        };
        PackedBank::new(stored, dimensions)
    }

    /// Nearest row of `bank` for every cell of `images`, in their order.
    pub(crate) fn nearest_rows(&self, bank: &PackedBank, images: &[usize]) -> Vec<u32> {
        let cells = self.features.cells();
        images
            .par_iter()
            .flat_map_iter(|&image| {
                let mut found = vec![Neighbour::default(); cells];
                let features = self.features.image(image);
                bank.nearest(features, None, &Threads::default(), &mut found);
                found.into_iter().map(|n| n.row)
            })
            .collect()
    }
}
