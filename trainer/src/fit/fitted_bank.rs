//! A bank with what its rules need: the spacing of its rows, the distribution coreset, and the
//! models by place and by neighbourhood. It is fitted once on all images for the product, and once
//! a fold without the fold's images for held-out scores.

use super::density::{self, nearest_rows};
use super::fitter::{ChosenBank, Fitter};
use super::gaussian::{GaussianModel, GoodCells};
use super::glancing::{GlancingModel, GlancingShape};
use super::n_pad::{self, NPadModel};
use super::neighbourhood::NeighbourhoodModel;
use super::position::{Sightings, place_table};
use super::rules::{Calibration, RuleSpec};
use super::settings::NetworkForm;
use super::training::Learning;
use crate::error::TrainError;
use partgate::backbone::Precision;
use partgate::network::Threads;
use partgate::score::{
    GlancingForm, NPadForm, Neighbour, NeighbourhoodNetwork, NeighbourhoodShape, PackedBank,
};

/// Streams of the networks' initial weights and batches; each fold adds its number.
const NETWORK_STREAM: u64 = 16;
const GLANCING_STREAM: u64 = 1 << 35;

/// What the rules of a fit need beside the bank.
#[derive(Clone, Copy)]
pub(crate) struct Needs {
    places: bool,
    pub(crate) network: bool,
    spacing: bool,
    gaussian: bool,
    /// Most rows of a mean.
    neighbours: u32,
    n_pad: Option<NPadForm>,
    pub(crate) glancing: Option<GlancingForm>,
}

impl Needs {
    /// What at least one of `specs` needs.
    pub(crate) fn of(specs: &[RuleSpec]) -> Self {
        Self {
            places: specs.iter().any(RuleSpec::places),
            network: specs.iter().any(RuleSpec::network),
            spacing: specs.iter().any(|s| s.density > 0.0),
            gaussian: specs.iter().any(RuleSpec::gaussian),
            neighbours: specs.iter().map(|s| s.neighbours).max().unwrap_or(1),
            n_pad: specs.iter().find_map(|s| s.n_pad),
            glancing: specs.iter().find_map(|s| s.glancing),
        }
    }

    /// The same without what is trained.
    pub(crate) fn without_network(self) -> Self {
        Self {
            network: false,
            glancing: None,
            ..self
        }
    }
}

/// A trained neighbourhood network as its file.
pub(crate) struct NetworkFile {
    pub(crate) onnx: Vec<u8>,
    pub(crate) shape: NeighbourhoodShape,
}

impl NetworkFile {
    /// The network ready to run. Each worker loads its own: a running network holds state.
    pub(crate) fn load(&self) -> Result<NeighbourhoodNetwork, TrainError> {
        Ok(NeighbourhoodNetwork::load(
            &self.onnx,
            self.shape,
            &Threads::default(),
        )?)
    }
}

/// The distribution coreset D, which is the first rows of the bank, and the models over its rows.
pub(crate) struct Distribution {
    /// Rows of D.
    pub(crate) entries: usize,
    /// Nearest row of D for each row of the bank.
    pub(crate) assignment: Vec<u16>,
    /// Nearest row of the bank for each cell of the images that the bank was fitted on.
    pub(crate) nearest: Vec<u32>,
    /// Probability of each row of D at each cell by place, `[cells, entries]`; `None` where no rule
    /// needs it.
    pub(crate) place: Option<Vec<f32>>,
    /// `None` where no rule needs it.
    pub(crate) network: Option<NetworkFile>,
}

/// A bank with what conditions it.
pub(crate) struct FittedBank {
    pub(crate) bank: PackedBank,
    /// The image that each row comes from.
    pub(crate) origins: Vec<u32>,
    /// Number of images that it was fitted on.
    pub(crate) images: usize,
    /// How far apart its rows lie; `None` where no rule needs it.
    spacing: Option<Vec<f32>>,
    /// `None` where no rule has a condition.
    distribution: Option<Distribution>,
    /// `None` where no rule needs them.
    gaussians: Option<GaussianModel>,
    /// Nearest other rows of each row; empty where no rule needs them.
    near_rows: Vec<Vec<u32>>,
    /// `None` where no rule needs it.
    n_pad: Option<NPadModel>,
    /// `None` where no rule needs it.
    glancing: Option<GlancingFile>,
}

/// The trained networks of rule `glancing` as their file.
struct GlancingFile {
    form: GlancingForm,
    onnx: Vec<u8>,
}

impl FittedBank {
    /// Factors of the rows under `spec`; `None` where the rule scales no distance.
    ///
    /// # Errors
    /// [`TrainError::Setting`] where the bank was fitted for rules that need no spacing.
    pub(crate) fn row_scale(&self, spec: RuleSpec) -> Result<Option<Vec<f32>>, TrainError> {
        if spec.density <= 0.0 {
            return Ok(None);
        }
        let spacing = self.spacing.as_ref().ok_or_else(|| missing(spec))?;
        Ok(Some(density::factors(spacing, spec.density)))
    }

    /// The Gaussians of the places for `spec`.
    ///
    /// # Errors
    /// [`TrainError::Setting`] where the bank was fitted for rules that need none.
    pub(crate) fn gaussians(&self, spec: RuleSpec) -> Result<&GaussianModel, TrainError> {
        self.gaussians.as_ref().ok_or_else(|| missing(spec))
    }

    /// Nearest other rows of each row for `spec`, `[rows, neighbours - 1]`; `None` where it averages none.
    ///
    /// # Errors
    /// [`TrainError::Setting`] where the bank has too few rows, or was fitted for rules that need none.
    pub(crate) fn row_neighbours(&self, spec: RuleSpec) -> Result<Option<Vec<u32>>, TrainError> {
        let count = spec.neighbours as usize - 1;
        if count == 0 {
            return Ok(None);
        }
        if self.bank.rows() <= count {
            return Err(TrainError::Setting(format!(
                "--neighbours {}: the bank has {} rows; take fewer neighbours or a larger --min-bank",
                spec.neighbours,
                self.bank.rows()
            )));
        }
        let near = self.near_rows.iter().map(|near| near.get(..count));
        let table: Option<Vec<&[u32]>> = near.collect();
        let table = table
            .filter(|t| !t.is_empty())
            .ok_or_else(|| missing(spec))?;
        Ok(Some(table.concat()))
    }

    /// The distributions of the places for `spec`.
    ///
    /// # Errors
    /// [`TrainError::Setting`] where the bank was fitted for another rule.
    pub(crate) fn n_pad(&self, spec: RuleSpec) -> Result<&NPadModel, TrainError> {
        let fits = |model: &&NPadModel| Some(model.form) == spec.n_pad;
        self.n_pad
            .as_ref()
            .filter(fits)
            .ok_or_else(|| missing(spec))
    }

    /// The file of the networks of rule `glancing` for `spec`.
    ///
    /// # Errors
    /// [`TrainError::Setting`] where the bank was fitted for another rule.
    pub(crate) fn glancing(&self, spec: RuleSpec) -> Result<&[u8], TrainError> {
        let fits = |file: &&GlancingFile| Some(file.form) == spec.glancing;
        let file = self.glancing.as_ref().filter(fits);
        file.map(|file| &*file.onnx).ok_or_else(|| missing(spec))
    }

    /// The distribution coreset for `spec`.
    ///
    /// # Errors
    /// [`TrainError::Setting`] where the bank was fitted for rules that need none.
    pub(crate) fn distribution(&self, spec: RuleSpec) -> Result<&Distribution, TrainError> {
        self.distribution.as_ref().ok_or_else(|| missing(spec))
    }

    /// The neighbourhood network's file, where there is one.
    pub(crate) fn network(&self) -> Option<&NetworkFile> {
        self.distribution.as_ref()?.network.as_ref()
    }
}

/// The error for a rule whose models were not fitted.
pub(crate) fn missing(spec: RuleSpec) -> TrainError {
    TrainError::Setting(format!(
        "rule {} was asked for without its models",
        spec.rule
    ))
}

impl Fitter<'_> {
    /// The first rows of the bank as the distribution coreset D.
    fn entries_of(&self, bank: &PackedBank, entries: usize) -> PackedBank {
        let d = self.features.dimensions;
        PackedBank::new(bank.values()[..entries * d].to_vec(), d)
    }

    /// Adds to a bank what `needs` names. `stream` keeps the draws of one fold apart from
    /// another's; `tick` is called once a training step.
    pub(crate) fn condition(
        &self,
        chosen: ChosenBank,
        needs: Needs,
        stream: u64,
        tick: &(dyn Fn() + Sync),
    ) -> FittedBank {
        let ChosenBank {
            bank,
            origins,
            images,
        } = chosen;
        let spacing = needs.spacing.then(|| density::spacing(&bank));
        let distribution = (needs.places || needs.network)
            .then(|| self.distribution(&bank, &images, needs, stream, tick));
        let gaussians = needs.gaussian.then(|| {
            let cells = GoodCells {
                features: &self.features,
                ignored: &self.ignored_cells,
            };
            cells.gaussians(&images)
        });
        let near_rows = if needs.neighbours > 1 {
            let count = (needs.neighbours as usize - 1).min(bank.rows() - 1);
            let near = nearest_rows(&bank, count);
            let numbers = |near: Vec<(f32, usize)>| near.iter().map(|n| n.1 as u32).collect();
            near.into_iter().map(numbers).collect()
        } else {
            Vec::new()
        };
        let n_pad = needs.n_pad.map(|form| {
            // Shifted copies are what makes a place bear a part that lies otherwise.
            let images = self.features.with_copies(&images);
            n_pad::distributions(&self.features, &self.ignored_cells, &images, form)
        });
        let glancing = needs
            .glancing
            .map(|form| self.glancing(&images, form, stream, tick));
        FittedBank {
            glancing,
            near_rows,
            n_pad,
            bank,
            origins,
            images: images.len(),
            spacing,
            distribution,
            gaussians,
        }
    }

    fn distribution(
        &self,
        bank: &PackedBank,
        images: &[usize],
        needs: Needs,
        stream: u64,
        tick: &(dyn Fn() + Sync),
    ) -> Distribution {
        let entries = bank.rows().min(self.settings.entries);
        let coreset = self.entries_of(bank, entries);
        let mut found = vec![Neighbour::default(); bank.rows()];
        coreset.nearest(bank.values(), None, &Threads::default(), &mut found);
        let nearest = self.nearest_rows(bank, images);
        let targets = self.nearest_rows(&coreset, images);
        let place = needs.places.then(|| {
            let sightings = Sightings {
                nearest: &targets,
                grid: self.features.grid,
                rows: entries,
            };
            place_table(&sightings, self.window())
        });
        let network = needs
            .network
            .then(|| self.network(images, &targets, entries, stream, tick));
        Distribution {
            entries,
            assignment: found.iter().map(|n| n.row as u16).collect(),
            nearest,
            place,
            network,
        }
    }

    /// Trains the neighbourhood network on `images`, whose cells are the rows `targets` of D.
    fn network(
        &self,
        images: &[usize],
        targets: &[u32],
        entries: usize,
        stream: u64,
        tick: &(dyn Fn() + Sync),
    ) -> NetworkFile {
        let features = &self.features;
        let shape = self.settings.network_shape(
            features.grid,
            features.dimensions,
            entries,
            self.precision,
        );
        let cells = features.cells();
        // Targets by image index, as training draws images.
        let mut by_image = vec![0u16; features.images * cells];
        for (&image, row) in images.iter().zip(targets.chunks_exact(cells)) {
            for (slot, &t) in by_image[image * cells..].iter_mut().zip(row) {
                *slot = t as u16;
            }
        }
        let learning = Learning {
            steps: self.settings.network_steps,
            rate: match self.settings.network {
                NetworkForm::Edge => 3e-3,
                // The published one.
                NetworkForm::Paper { .. } => 1e-3,
            },
            seed: self.settings.seed,
            stream: NETWORK_STREAM + stream,
        };
        let model = NeighbourhoodModel::train(features, images, &by_image, shape, &learning, tick);
        log::debug!(
            "neighbourhood network {stream}: loss {}",
            model.training_loss
        );
        NetworkFile {
            onnx: model.onnx(self.precision == Precision::Int8),
            shape,
        }
    }

    /// Trains the networks of rule `glancing` on `images`.
    fn glancing(
        &self,
        images: &[usize],
        form: GlancingForm,
        stream: u64,
        tick: &(dyn Fn() + Sync),
    ) -> GlancingFile {
        let shape = GlancingShape {
            grid: self.features.grid,
            dimensions: self.features.dimensions,
            form,
        };
        let learning = Learning {
            steps: self.settings.network_steps,
            rate: 3e-3,
            seed: self.settings.seed,
            stream: GLANCING_STREAM + stream,
        };
        let model = GlancingModel::train(&self.features, images, shape, &learning, tick);
        GlancingFile {
            form,
            onnx: model.onnx(),
        }
    }

    /// What the models of `fitted` give, on `images`, to the row of D that each cell really is.
    pub(crate) fn calibration(
        &self,
        fitted: &FittedBank,
        images: &[usize],
    ) -> Result<Calibration, TrainError> {
        let mut out = Calibration::default();
        let Some(distribution) = &fitted.distribution else {
            return Ok(out);
        };
        let coreset = self.entries_of(&fitted.bank, distribution.entries);
        let cells = self.features.cells();
        let places = distribution.place.as_deref();
        let shares = places.map(|table| row_shares(table, distribution.entries));
        let mut network = match &distribution.network {
            Some(file) => Some(file.load()?),
            None => None,
        };
        for &image in images {
            let truth = self.nearest_rows(&coreset, &[image]);
            let logits = match &mut network {
                None => None,
                Some(network) => Some(network.run(self.features.image(image))?),
            };
            let (mut information, mut inspected) = (0.0, 0.0f64);
            for (cell, &entry) in truth.iter().enumerate() {
                if self.ignored_cells[cell] {
                    continue;
                }
                let entry = entry as usize;
                if let (Some(place), Some(shares)) = (places, &shares) {
                    let here = place[cell * distribution.entries + entry];
                    out.place.push(here);
                    information += (f64::from(here) / shares[entry].max(1e-12)).ln();
                    inspected += 1.0;
                }
                if let Some(logits) = logits {
                    out.add_logits(
                        logits.iter().skip(cell).step_by(cells).copied(),
                        logits[entry * cells + cell],
                    );
                }
            }
            if inspected > 0.0 {
                out.place_information.push(information / inspected);
            }
        }
        Ok(out)
    }
}

/// Probability of each row at any place, from its probabilities by place, `[cells, entries]`.
fn row_shares(table: &[f32], entries: usize) -> Vec<f64> {
    let mut shares = vec![0.0; entries];
    for cell in table.chunks_exact(entries) {
        for (share, &p) in shares.iter_mut().zip(cell) {
            *share += f64::from(p);
        }
    }
    let cells = (table.len() / entries) as f64;
    shares.iter_mut().for_each(|share| *share /= cells);
    shares
}
