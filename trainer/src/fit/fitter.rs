//! A bank and everything that conditions it, fitted on some of the images: once on all of them for
//! the product, once a fold without the fold's images for held-out figures.

use super::coreset::{Vectors, k_centre_greedy};
use super::density;
use super::features::Features;
use super::neighbourhood::NeighbourhoodModel;
use super::position::{
    Sightings, default_window, fit_mask, place_mask, place_table, published_sightings,
    windowed_counts,
};
use super::rules::{Calibration, RuleSpec};
use super::training::Learning;
use super::{NetworkForm, Settings};
use crate::error::TrainError;
use partgate::backbone::Precision;
use partgate::network::Threads;
use partgate::product::PositionEvidence;
use partgate::score::{
    Condition, IgnoreMask, Likelihood, Measure, Neighbour, NeighbourhoodForm, NeighbourhoodNetwork,
    NeighbourhoodShape, PackedBank, PositionMask, Scorer, SightingTable,
};
use rayon::prelude::*;

/// Draws of the networks' initial weights and batches; one stream a fold follows.
const NETWORK_STREAM: u64 = 16;
/// The published temperature of the rules that compare probabilities.
const PUBLISHED_TEMPERATURE: f32 = 2.0;

/// A bank with what conditions it.
pub(crate) struct FittedBank {
    pub(crate) bank: PackedBank,
    /// How far apart its rows lie; empty where no rule needs it.
    spacing: Vec<f32>,
    /// Images it was fitted on.
    images: Vec<usize>,
    /// Nearest row for each of their cells; empty where no rule needs it.
    nearest: Vec<u32>,
    /// Nearest row of D for each row of the bank.
    pub(crate) assignment: Vec<u16>,
    pub(crate) entries: usize,
    /// Probability of each row of D at each cell by place, `[cells, entries]`.
    place: Vec<f32>,
    /// The neighbourhood network's file and size.
    pub(crate) network: Option<(Vec<u8>, NeighbourhoodShape)>,
}

impl FittedBank {
    /// Factors of the rows under `spec`.
    pub(crate) fn row_scale(&self, spec: RuleSpec) -> Option<Vec<f32>> {
        (spec.density > 0.0).then(|| density::factors(&self.spacing, spec.density))
    }

    /// The network ready to run, where there is one. Each worker loads its own: a running network
    /// holds state.
    fn load_network(&self) -> Result<Option<NeighbourhoodNetwork>, TrainError> {
        let Some((onnx, shape)) = &self.network else {
            return Ok(None);
        };
        Ok(Some(NeighbourhoodNetwork::load(
            onnx,
            *shape,
            &Threads::default(),
        )?))
    }
}

/// What a rule makes of a fitted bank: the condition, and what the bundle stores of it.
pub(crate) struct Conditioned {
    pub(crate) conditions: Vec<Condition>,
    pub(crate) position: Option<(PositionEvidence, Option<PositionMask>)>,
    pub(crate) sightings: Option<SightingTable>,
    pub(crate) measure: Measure,
    pub(crate) temperature: f32,
    pub(crate) threshold: f32,
    /// Rows of the bank that take part.
    pub(crate) rows: usize,
}

/// What fitting a bank is to bring along.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) places: bool,
    pub(crate) network: bool,
    pub(crate) spacing: bool,
}

impl Wanted {
    /// What all of `specs` need.
    pub(crate) fn by(specs: &[RuleSpec]) -> Self {
        Self {
            places: specs.iter().any(RuleSpec::places),
            network: specs.iter().any(RuleSpec::network),
            spacing: specs.iter().any(|s| s.density > 0.0),
        }
    }
}

impl Settings {
    /// The neighbourhood network's size on a grid of `grid` x `grid` cells for `entries` rows of D.
    pub(crate) fn network_shape(
        &self,
        grid: usize,
        dimensions: usize,
        entries: usize,
        precision: Precision,
    ) -> NeighbourhoodShape {
        let (form, bottleneck, hidden) = match self.network {
            NetworkForm::Edge => (NeighbourhoodForm::Edge { place: false }, 24, 128),
            NetworkForm::Paper { width, layers } => {
                let layers = layers as u32;
                (NeighbourhoodForm::Paper { layers }, dimensions, width)
            }
        };
        NeighbourhoodShape {
            grid: grid as u32,
            dimensions: dimensions as u32,
            window: self.ring.unwrap_or(default_window(grid).max(5)) as u32,
            bottleneck: bottleneck as u32,
            hidden: hidden as u32,
            entries: entries as u32,
            form,
            precision,
        }
    }
}

pub(crate) struct Fitter<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) features: Features,
    /// The vectors that distances for the coreset are taken in, when projected.
    pub(crate) projected: Option<(Vec<f32>, usize)>,
    pub(crate) ignored_cells: Vec<bool>,
    /// Of the network's input, pixels.
    pub(crate) side: usize,
    /// Of the maps, pixels.
    pub(crate) map_side: usize,
    /// Blur of the map, pixels of the network's input.
    pub(crate) sigma: f32,
    pub(crate) precision: Precision,
}

impl Fitter<'_> {
    fn full(&self) -> Vectors<'_> {
        Vectors {
            values: &self.features.values,
            dimensions: self.features.dimensions,
        }
    }

    pub(crate) fn members(&self, images: &[usize]) -> Vec<u32> {
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

    pub(crate) fn bank_rows(&self, members: usize) -> usize {
        let asked = (members as f64 * self.settings.bank_ratio).round() as usize;
        let (low, high) = (self.settings.min_bank, self.settings.max_bank);
        asked.clamp(low.min(high), high).clamp(1, members.max(1))
    }

    pub(crate) fn window(&self) -> usize {
        self.settings
            .window
            .unwrap_or_else(|| default_window(self.features.grid))
    }

    /// Chooses the bank from `images`. What conditions it is added by [`Fitter::condition`].
    pub(crate) fn fit_bank(
        &self,
        images: &[usize],
        progress: &(dyn Fn(usize) + Sync),
    ) -> FittedBank {
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
        FittedBank {
            spacing: Vec::new(),
            entries: bank.rows().min(self.settings.entries),
            bank,
            images: images.to_vec(),
            nearest: Vec::new(),
            assignment: Vec::new(),
            place: Vec::new(),
            network: None,
        }
    }

    /// The first rows of the bank, D, as a bank of their own.
    fn entries_of(&self, fitted: &FittedBank) -> PackedBank {
        let d = self.features.dimensions;
        PackedBank::new(fitted.bank.values()[..fitted.entries * d].to_vec(), d)
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

    /// Adds what rules need: sightings, and the neighbourhood network. `stream` keeps the draws of
    /// one fold apart from another's; `tick` is called once a training step.
    pub(crate) fn condition(
        &self,
        fitted: &mut FittedBank,
        wanted: Wanted,
        stream: u64,
        tick: &(dyn Fn() + Sync),
    ) -> Result<(), TrainError> {
        if wanted.spacing {
            fitted.spacing = density::spacing(&fitted.bank);
        }
        if !wanted.places && !wanted.network {
            return Ok(());
        }
        let entries = self.entries_of(fitted);
        let mut found = vec![Neighbour::default(); fitted.bank.rows()];
        entries.nearest(fitted.bank.values(), None, &Threads::default(), &mut found);
        fitted.assignment = found.iter().map(|n| n.row as u16).collect();
        fitted.nearest = self.nearest_rows(&fitted.bank, &fitted.images);
        let targets = self.nearest_rows(&entries, &fitted.images);
        if wanted.places {
            let sightings = Sightings {
                nearest: &targets,
                grid: self.features.grid,
                rows: fitted.entries,
            };
            fitted.place = place_table(&sightings, self.window());
        }
        if wanted.network {
            let features = &self.features;
            let shape = self.settings.network_shape(
                features.grid,
                features.dimensions,
                fitted.entries,
                self.precision,
            );
            let cells = self.features.cells();
            // Targets by image index, as training draws images.
            let mut by_image = vec![0u16; self.features.images * cells];
            for (&image, row) in fitted.images.iter().zip(targets.chunks_exact(cells)) {
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
            let model = NeighbourhoodModel::train(
                &self.features,
                &fitted.images,
                &by_image,
                shape,
                &learning,
                tick,
            );
            log::debug!(
                "neighbourhood network {stream}: loss {}",
                model.training_loss
            );
            let onnx = model.onnx(self.precision == Precision::Int8);
            fitted.network = Some((onnx, shape));
        }
        Ok(())
    }

    /// What the models give to the row of D that each cell of `images` really is: by place
    /// (a probability), and by neighbourhood (probability at temperature 1, logarithm of the
    /// ratio to the likeliest).
    pub(crate) fn truths(
        &self,
        fitted: &FittedBank,
        images: &[usize],
    ) -> Result<Calibration, TrainError> {
        let entries = self.entries_of(fitted);
        let cells = self.features.cells();
        let mut network = fitted.load_network()?;
        let mut out = Calibration::default();
        for &image in images {
            let truth = self.nearest_rows(&entries, &[image]);
            let logits = match &mut network {
                None => None,
                Some(network) => Some(network.run(self.features.image(image))?),
            };
            for (cell, &entry) in truth.iter().enumerate() {
                if self.ignored_cells[cell] {
                    continue;
                }
                let entry = entry as usize;
                if !fitted.place.is_empty() {
                    out.place.push(fitted.place[cell * fitted.entries + entry]);
                }
                if let Some(logits) = logits {
                    out.add_logits(
                        logits.iter().skip(cell).step_by(cells).copied(),
                        logits[entry * cells + cell],
                    );
                }
            }
        }
        Ok(out)
    }

    fn sightings<'a>(&self, fitted: &'a FittedBank) -> Sightings<'a> {
        Sightings {
            nearest: &fitted.nearest,
            grid: self.features.grid,
            rows: fitted.bank.rows(),
        }
    }

    /// The conditions of `spec` on `fitted`.
    pub(crate) fn conditioned(
        &self,
        fitted: &FittedBank,
        spec: RuleSpec,
        calibration: &Calibration,
    ) -> Result<Conditioned, TrainError> {
        use partgate::score::Rule;
        let mut out = Conditioned {
            conditions: Vec::new(),
            position: None,
            sightings: None,
            measure: Measure::Probability,
            temperature: PUBLISHED_TEMPERATURE,
            threshold: 1.0 / (2.0 * fitted.bank.rows() as f32),
            rows: fitted.bank.rows(),
        };
        let (window, rows) = (self.window(), fitted.bank.rows());
        let evidence = |mask: &PositionMask, sightings, lost_share, threshold| PositionEvidence {
            window: window as u32,
            sightings,
            allowed_share: mask.allowed_share(),
            lost_share,
            threshold,
        };
        let mut mask = None;
        let mut likely = false;
        match spec.rule {
            Rule::Patchcore => return Ok(out),
            Rule::Position | Rule::PniTwoMap => {
                let needed = self
                    .settings
                    .sightings
                    .unwrap_or_else(|| published_sightings(fitted.images.len(), window, rows));
                let found = fit_mask(&self.sightings(fitted), window, needed);
                out.position = Some((
                    evidence(&found, needed as u32, None, None),
                    Some(found.clone()),
                ));
                mask = Some(found);
                likely = spec.rule == Rule::PniTwoMap;
            }
            Rule::Neighbourhood => likely = true,
            Rule::Pni | Rule::PniV1 => {
                likely = true;
                out.measure = Measure::MeanWithPosition;
                if spec.rule == Rule::PniV1 {
                    out.rows = fitted.entries;
                    out.threshold = 1.0 / (2.0 * fitted.entries as f32);
                }
                let counts = windowed_counts(&self.sightings(fitted), window);
                let totals = counts.chunks_exact(rows).map(|c| c.iter().sum()).collect();
                out.sightings = Some(SightingTable {
                    counts: counts.iter().map(|&c| c.min(255) as u8).collect(),
                    totals,
                });
                out.position = Some((
                    PositionEvidence {
                        window: window as u32,
                        sightings: 0,
                        allowed_share: 1.0,
                        lost_share: None,
                        threshold: None,
                    },
                    None,
                ));
            }
            Rule::Coverage => {
                if let Some(lost) = spec.place_lost {
                    let threshold = calibration.place_threshold(lost);
                    let found =
                        place_mask(&fitted.place, fitted.entries, &fitted.assignment, threshold);
                    out.position = Some((
                        evidence(&found, 0, Some(lost), Some(threshold)),
                        Some(found.clone()),
                    ));
                    mask = Some(found);
                }
                if let Some(lost) = spec.near_lost {
                    likely = true;
                    out.measure = Measure::Ratio;
                    out.temperature = 1.0;
                    out.threshold = calibration.ratio_threshold(lost);
                }
            }
        }
        if let Some(mask) = mask {
            out.conditions.push(Condition::by_place(mask));
        }
        if likely {
            let Some(network) = fitted.load_network()? else {
                return Err(TrainError::Setting(format!(
                    "rule {} was asked for without its network",
                    spec.rule
                )));
            };
            if out.conditions.is_empty() || spec.rule == Rule::PniTwoMap {
                out.conditions.push(Condition::default());
            }
            let last = out.conditions.len() - 1;
            out.conditions[last].likely = Some(Box::new(Likelihood::new(
                network,
                fitted.assignment.clone(),
                out.measure,
                out.temperature,
                out.threshold,
                out.sightings.clone(),
                out.rows,
            )));
        }
        Ok(out)
    }

    /// A scorer of `spec` on `fitted`.
    pub(crate) fn scorer(
        &self,
        fitted: &FittedBank,
        spec: RuleSpec,
        calibration: &Calibration,
    ) -> Result<Scorer, TrainError> {
        let conditions = self.conditioned(fitted, spec, calibration)?.conditions;
        let ignore = self.settings.ignore.as_ref();
        let (grid, side) = (self.features.grid, self.map_side);
        Ok(Scorer::new(
            fitted.bank.clone(),
            conditions,
            fitted.row_scale(spec),
            ignore.map(|pixels| IgnoreMask::new(pixels.clone(), side, grid)),
            (grid, side),
            // As the product's own scorer has it.
            self.sigma * side as f32 / self.side as f32,
        ))
    }

    /// Scores `count` feature maps under `spec`, in parallel; `features(i)` is the i-th. With each
    /// score the cells' own, `[cells]`, for those who need them.
    pub(crate) fn score<'f>(
        &self,
        fitted: &FittedBank,
        spec: RuleSpec,
        calibration: &Calibration,
        count: usize,
        features: impl Fn(usize) -> &'f [f32] + Sync,
    ) -> Result<Vec<(f32, Vec<f32>)>, TrainError> {
        let share = count.div_ceil(rayon::current_num_threads()).max(1);
        let runs: Vec<std::ops::Range<usize>> = (0..count)
            .step_by(share)
            .map(|from| from..(from + share).min(count))
            .collect();
        let found: Vec<Vec<_>> = runs
            .into_par_iter()
            .map(|run| {
                let mut scorer = self.scorer(fitted, spec, calibration)?;
                run.map(|i| {
                    let score = scorer.score(features(i), &Threads::default())?;
                    Ok((score, scorer.search.cell_scores().to_vec()))
                })
                .collect::<Result<Vec<_>, TrainError>>()
            })
            .collect::<Result<_, _>>()?;
        Ok(found.into_iter().flatten().collect())
    }
}
