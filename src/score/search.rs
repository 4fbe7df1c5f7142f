//! Features to cell scores: the nearest bank row of each cell that the rule allows there.

use super::conditions::Condition;
use super::gaussian::{Combination, Gaussians};
use super::glancing::GlancingNetwork;
use super::n_pad::PlaceDistributions;
use super::nearest::{Neighbour, PackedBank};
use super::position::PositionMask;
use super::scoring::RowNeighbours;
use crate::network::{NetworkError, Threads};

/// Finds the nearest allowed row of every cell. It has all buffers: a search takes no memory after the
/// first image, apart from what the neighbourhood network takes.
pub struct Search {
    bank: PackedBank,
    device: Option<OnDevice>,
    conditions: Vec<Condition>,
    row_scale: Option<Vec<f32>>,
    /// For means over rows.
    row_neighbours: Option<RowNeighbours>,
    /// Cells that do not count; empty if all count.
    ignored: Vec<bool>,
    plain: Vec<Neighbour>,
    neighbours: Vec<Neighbour>,
    cells: Vec<f32>,
    second: Second,
    gaussian: Option<Gaussian>,
}

/// The bank on a GPU.
#[cfg(feature = "cuda")]
struct OnDevice {
    search: crate::network::DeviceSearch,
    /// Of the last search.
    rows: Vec<u32>,
}

/// A build without the feature has none.
#[cfg(not(feature = "cuda"))]
enum OnDevice {}

/// What gives cells a score beside the bank: distributions of places in either form, or networks.
enum Places {
    Blocks(Gaussians),
    Around(PlaceDistributions),
    Glancing(Box<GlancingNetwork>),
}

/// What the Gaussians of a rule need.
struct Gaussian {
    places: Places,
    combination: Combination,
    distances: Vec<f32>,
}

/// Scratch of the second search: the cells whose nearest row is not allowed there.
struct Second {
    cells: Vec<u32>,
    features: Vec<f32>,
    allowed: PositionMask,
    found: Vec<Neighbour>,
    column: Vec<f32>,
}

impl Search {
    /// For `cells` feature vectors per image. With several `conditions` a cell's score is the mean of
    /// the scores under each alone. `row_scale` multiplies each distance by a factor of the row that
    /// explains the cell: rows far from the others leave more room around them. `ignored` cells have
    /// the score 0; empty if there are none.
    ///
    /// # Panics
    /// If a condition, the factors or the ignored cells are for another grid or bank: a programming
    /// error, because bundles are checked.
    pub fn new(
        bank: PackedBank,
        conditions: Vec<Condition>,
        row_scale: Option<Vec<f32>>,
        ignored: Vec<bool>,
        cells: usize,
    ) -> Self {
        for condition in &conditions {
            if let Some(mask) = &condition.place {
                assert_eq!((mask.cells(), mask.rows()), (cells, bank.rows()), "mask");
            }
        }
        let scales = row_scale.as_ref().map_or(bank.rows(), Vec::len);
        assert_eq!(scales, bank.rows(), "row scale");
        assert!(
            ignored.is_empty() || ignored.len() == cells,
            "ignored cells"
        );
        let room = if conditions.is_empty() { 0 } else { cells };
        Self {
            second: Second {
                cells: Vec::with_capacity(room),
                features: Vec::with_capacity(room * bank.dimensions()),
                allowed: PositionMask::nothing(room, bank.rows()),
                found: Vec::with_capacity(room),
                column: Vec::new(),
            },
            bank,
            device: None,
            conditions,
            row_scale,
            row_neighbours: None,
            ignored,
            plain: vec![Neighbour::default(); cells],
            neighbours: vec![Neighbour::default(); cells],
            cells: vec![0.0; cells],
            gaussian: None,
        }
    }

    /// The same with the bank on the GPU. The winners and the distances are those of the CPU.
    ///
    /// # Errors
    /// [`NetworkError::Accelerator`] where the GPU cannot be used or has no memory left.
    #[cfg(feature = "cuda")]
    pub(crate) fn on_device(self) -> Result<Self, NetworkError> {
        let cells = self.cells.len();
        let (values, starts) = (self.bank.values(), self.bank.starts());
        let search = crate::network::DeviceSearch::new(values, starts, cells)?;
        let device = Some(OnDevice {
            search,
            rows: vec![0; cells],
        });
        Ok(Self { device, ..self })
    }

    /// The same with distances to `places` in the score.
    ///
    /// # Panics
    /// If they are for another grid or bank: a programming error, because bundles are checked.
    #[must_use]
    pub fn with_gaussians(self, places: Gaussians, combination: Combination) -> Self {
        let sizes = (places.grid().area(), places.dimensions());
        self.with(Places::Blocks(places), sizes, combination)
    }

    /// The same with the geometric mean of a cell's distance and the one to the distributions of
    /// `places`.
    ///
    /// # Panics
    /// If they are for another grid or bank: a programming error, because bundles are checked.
    #[must_use]
    pub fn with_places(self, places: PlaceDistributions) -> Self {
        let sizes = (places.grid().area(), places.dimensions());
        self.with(Places::Around(places), sizes, Combination::GeometricMean)
    }

    /// The same with the scores of `network` in the place of the distances to the bank.
    ///
    /// # Panics
    /// If it is for another grid or bank: a programming error, because bundles are checked.
    #[must_use]
    pub fn with_glancing(self, network: GlancingNetwork) -> Self {
        let sizes = (network.grid().area(), network.dimensions());
        let places = Places::Glancing(Box::new(network));
        self.with(places, sizes, Combination::GaussianOnly)
    }

    /// The networks of rule `glancing`, under it.
    pub(crate) fn glancing(&self) -> Option<&GlancingNetwork> {
        match self.gaussian.as_ref().map(|g| &g.places) {
            Some(Places::Glancing(network)) => Some(network),
            _ => None,
        }
    }

    fn with(self, places: Places, sizes: (usize, usize), combination: Combination) -> Self {
        let (cells, d) = (self.cells.len(), self.bank.dimensions());
        assert_eq!(sizes, (cells, d), "Gaussians");
        Self {
            gaussian: Some(Gaussian {
                places,
                combination,
                distances: vec![0.0; cells],
            }),
            ..self
        }
    }

    /// The same with the mean of the distances to a row and to its `neighbours` in the place of the
    /// distance to the row.
    ///
    /// # Panics
    /// If they are of another bank: a programming error, because bundles are checked.
    #[must_use]
    pub fn with_neighbours(self, neighbours: RowNeighbours) -> Self {
        assert_eq!(neighbours.len(), self.bank.rows(), "neighbours of rows");
        Self {
            row_neighbours: Some(neighbours),
            ..self
        }
    }

    /// Scores the cells of `features`, `[cells, dimensions]`.
    ///
    /// # Errors
    /// [`NetworkError::Run`] if the neighbourhood network fails.
    ///
    /// # Panics
    /// If the buffer has another length: a programming error.
    pub fn run(&mut self, features: &[f32], threads: &Threads) -> Result<(), NetworkError> {
        let combination = self.gaussian.as_ref().map(|g| g.combination);
        if combination != Some(Combination::GaussianOnly) {
            self.search_bank(features, threads)?;
        }
        if let Some(gaussian) = &mut self.gaussian {
            let distances = &mut gaussian.distances;
            match &mut gaussian.places {
                Places::Blocks(places) => places.run(features, threads, distances),
                Places::Around(places) => places.run(features, threads, distances),
                Places::Glancing(network) => network.run(features, distances)?,
            }
            for (cell, &distance) in self.cells.iter_mut().zip(distances.iter()) {
                *cell = match gaussian.combination {
                    Combination::GaussianOnly => distance,
                    Combination::GeometricMean => (*cell * distance).sqrt(),
                };
            }
        }
        super::ignore::clear(&mut self.cells, &self.ignored);
        Ok(())
    }

    /// Cell scores by the nearest allowed rows of the bank.
    fn search_bank(&mut self, features: &[f32], threads: &Threads) -> Result<(), NetworkError> {
        let (bank, device) = (&self.bank, &mut self.device);
        nearest(bank, device, features, None, threads, &mut self.plain)?;
        self.neighbours.copy_from_slice(&self.plain);
        if self.conditions.is_empty() {
            self.add_distances(0, 1.0, features);
        }
        let share = 1.0 / self.conditions.len() as f32;
        for index in 0..self.conditions.len() {
            self.condition(index, features, threads)?;
            self.add_distances(index, share, features);
        }
        Ok(())
    }

    /// Replaces the nearest rows that condition `index` does not allow.
    fn condition(
        &mut self,
        index: usize,
        features: &[f32],
        threads: &Threads,
    ) -> Result<(), NetworkError> {
        let d = self.bank.dimensions();
        self.neighbours.copy_from_slice(&self.plain);
        let second = &mut self.second;
        second.cells.clear();
        self.conditions[index].look(features)?;
        let condition = &self.conditions[index];
        condition.refused(self.plain.iter().map(|n| n.row), |cell| {
            second.cells.push(cell as u32);
        })?;
        second.features.clear();
        second.allowed.clear_for(second.cells.len());
        for (slot, &cell) in second.cells.iter().enumerate() {
            let cell = cell as usize;
            second
                .features
                .extend_from_slice(&features[cell * d..][..d]);
            let words = second.allowed.words_mut(slot);
            condition.words(cell, self.bank.rows(), words, &mut second.column)?;
        }
        second.found.clear();
        second
            .found
            .resize(second.cells.len(), Neighbour::default());
        nearest(
            &self.bank,
            &mut self.device,
            &second.features,
            Some(&second.allowed),
            threads,
            &mut second.found,
        )?;
        for (&cell, &found) in second.cells.iter().zip(&second.found) {
            let cell = cell as usize;
            self.neighbours[cell] = found;
            if condition.unknown(cell) {
                self.neighbours[cell].distance = f32::NAN;
            }
        }
        Ok(())
    }

    /// Adds `share` of the distances of condition `index`; the first condition starts from 0. A
    /// condition never lowers a cell's score, whatever the factors of the two rows are.
    fn add_distances(&mut self, index: usize, share: f32, features: &[f32]) {
        let (bank, factors) = (&self.bank, self.row_scale.as_deref());
        let scaled = |neighbour: &Neighbour, vector: &[f32]| match &self.row_neighbours {
            Some(around) => around.mean(bank, factors, vector, neighbour),
            None => match factors {
                Some(scale) => scale[neighbour.row as usize] * neighbour.distance,
                None => neighbour.distance,
            },
        };
        let pairs = self.plain.iter().zip(&self.neighbours);
        let vectors = features.chunks_exact(bank.dimensions());
        for ((cell, (plain, allowed)), vector) in self.cells.iter_mut().zip(pairs).zip(vectors) {
            let same = plain == allowed;
            let plain = scaled(plain, vector);
            let allowed = if same { plain } else { scaled(allowed, vector) };
            // A NaN on either side stays a NaN.
            let value = if allowed < plain { plain } else { allowed };
            let before = if index == 0 { 0.0 } else { *cell };
            *cell = before + share * value;
        }
    }

    /// The score of each cell in the last search, `[rows, columns]`.
    pub fn cell_scores(&self) -> &[f32] {
        &self.cells
    }

    /// The cell scores, to be refined before the map is drawn.
    pub(crate) fn cell_scores_mut(&mut self) -> &mut [f32] {
        &mut self.cells
    }

    /// Nearest row of each cell in the last search (under the last condition).
    pub fn neighbours(&self) -> &[Neighbour] {
        &self.neighbours
    }

    /// Cells whose nearest row was not allowed there, in the last search (last condition).
    pub fn searched_again(&self) -> usize {
        self.second.cells.len()
    }

    /// What searches the bank, for reports.
    pub fn kernels(&self) -> String {
        match self.device {
            Some(_) => "f32 on the GPU".into(),
            None => self.bank.kernels(),
        }
    }

    /// The bank's rows.
    pub fn bank(&self) -> &PackedBank {
        &self.bank
    }

    /// What a row must satisfy to explain a cell, under the rule.
    pub fn conditions(&self) -> &[Condition] {
        &self.conditions
    }
}

/// The nearest allowed row of every cell, where the bank is.
fn nearest(
    bank: &PackedBank,
    device: &mut Option<OnDevice>,
    features: &[f32],
    mask: Option<&PositionMask>,
    threads: &Threads,
    out: &mut [Neighbour],
) -> Result<(), NetworkError> {
    match device {
        Some(device) => device.nearest(bank, features, mask, out),
        None => {
            bank.nearest(features, mask, threads, out);
            Ok(())
        }
    }
}

#[cfg(feature = "cuda")]
impl OnDevice {
    fn nearest(
        &mut self,
        bank: &PackedBank,
        features: &[f32],
        mask: Option<&PositionMask>,
        out: &mut [Neighbour],
    ) -> Result<(), NetworkError> {
        let rows = &mut self.rows[..out.len()];
        let words = mask.map(PositionMask::all_words);
        self.search.winners(features, words, rows)?;
        bank.explained(features, rows, out);
        Ok(())
    }
}

#[cfg(not(feature = "cuda"))]
impl OnDevice {
    fn nearest(
        &mut self,
        _: &PackedBank,
        _: &[f32],
        _: Option<&PositionMask>,
        _: &mut [Neighbour],
    ) -> Result<(), NetworkError> {
        match *self {}
    }
}
