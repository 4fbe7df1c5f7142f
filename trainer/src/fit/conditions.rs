//! Conditions of a rule on a fitted bank, and the scores that follow from them.

use super::fitted_bank::{FittedBank, missing};
use super::fitter::Fitter;
use super::position::{Sightings, fit_mask, place_mask, published_sightings, windowed_counts};
use super::rules::{Calibration, RuleSpec};
use crate::error::TrainError;
use partgate::network::Threads;
use partgate::product::PositionEvidence;
use partgate::score::{
    Condition, GlancingNetwork, IgnoreMask, Likelihood, Measure, PositionMask, RowNeighbours, Rule,
    Scorer, SightingTable,
};
use rayon::prelude::*;

/// The published temperature of the rules that compare probabilities.
const PUBLISHED_TEMPERATURE: f32 = 2.0;

/// The condition by the neighbourhood network.
pub(crate) struct NeighbourhoodCondition {
    pub(crate) measure: Measure,
    pub(crate) temperature: f32,
    /// A row counts where the measure is above this.
    pub(crate) threshold: f32,
    /// Rows of the bank that take part.
    pub(crate) rows: usize,
    /// Sightings that the measure takes in; `None` where it compares the network's output alone.
    pub(crate) sightings: Option<SightingTable>,
}

/// What a rule makes of a fitted bank.
#[derive(Default)]
pub(crate) struct RuleConditions {
    /// What the bundle states of the condition by place.
    pub(crate) position: Option<PositionEvidence>,
    /// Rows that are allowed at each cell; `None` where the place counts only within the measure
    /// of [`NeighbourhoodCondition`].
    pub(crate) mask: Option<PositionMask>,
    pub(crate) neighbourhood: Option<NeighbourhoodCondition>,
}

/// One scored image.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scored {
    /// The image score.
    pub(crate) score: f32,
    /// Scores of the cells, `[cells]`.
    pub(crate) cells: Vec<f32>,
}

impl RuleConditions {
    /// The conditions as a scorer takes them.
    fn for_scorer(
        &self,
        fitted: &FittedBank,
        spec: RuleSpec,
    ) -> Result<Vec<Condition>, TrainError> {
        let mut conditions: Vec<Condition> =
            self.mask.iter().cloned().map(Condition::by_place).collect();
        if let Some(neighbourhood) = &self.neighbourhood {
            let network = fitted.network().ok_or_else(|| missing(spec))?.load()?;
            let likelihood = Likelihood::new(
                network,
                fitted.distribution(spec)?.assignment.clone(),
                neighbourhood.measure,
                neighbourhood.temperature,
                neighbourhood.threshold,
                neighbourhood.sightings.clone(),
                neighbourhood.rows,
            );
            if conditions.is_empty() || spec.rule == Rule::PniTwoMap {
                conditions.push(Condition::default());
            }
            let last = conditions.len() - 1;
            conditions[last].likely = Some(Box::new(likelihood));
        }
        Ok(conditions)
    }
}

impl Fitter<'_> {
    /// The conditions of `spec` on `fitted`.
    ///
    /// # Errors
    /// [`TrainError::Setting`] where `fitted` lacks a model that the rule needs.
    pub(crate) fn conditions(
        &self,
        fitted: &FittedBank,
        spec: RuleSpec,
        calibration: &Calibration,
    ) -> Result<RuleConditions, TrainError> {
        let rows = fitted.bank.rows();
        match spec.rule {
            Rule::Patchcore | Rule::Gaussian | Rule::BankGaussian | Rule::NPad | Rule::Glancing => {
                Ok(RuleConditions::default())
            }
            Rule::Position => self.by_sightings(fitted, spec),
            Rule::Neighbourhood => Ok(RuleConditions {
                neighbourhood: Some(published(Measure::Probability, rows, None)),
                ..RuleConditions::default()
            }),
            Rule::PniTwoMap => Ok(RuleConditions {
                neighbourhood: Some(published(Measure::Probability, rows, None)),
                ..self.by_sightings(fitted, spec)?
            }),
            Rule::Pni | Rule::PniV1 => self.by_mean(fitted, spec),
            Rule::Coverage => self.by_coverage(fitted, spec, calibration),
        }
    }

    fn sightings<'a>(
        &self,
        fitted: &'a FittedBank,
        spec: RuleSpec,
    ) -> Result<Sightings<'a>, TrainError> {
        Ok(Sightings {
            nearest: &fitted.distribution(spec)?.nearest,
            grid: self.features.grid,
            rows: fitted.bank.rows(),
        })
    }

    /// Rows that were seen often enough near the cell's place.
    fn by_sightings(
        &self,
        fitted: &FittedBank,
        spec: RuleSpec,
    ) -> Result<RuleConditions, TrainError> {
        let (window, rows) = (self.window(), fitted.bank.rows());
        let needed = self
            .settings
            .sightings
            .unwrap_or_else(|| published_sightings(fitted.images, window, rows));
        let mask = fit_mask(&self.sightings(fitted, spec)?, window, needed);
        Ok(RuleConditions {
            position: Some(PositionEvidence {
                window: window as u32,
                sightings: needed as u32,
                allowed_share: mask.allowed_share(),
                lost_share: None,
                threshold: None,
            }),
            mask: Some(mask),
            neighbourhood: None,
        })
    }

    /// Rows for which the mean of both models is above the published threshold.
    fn by_mean(&self, fitted: &FittedBank, spec: RuleSpec) -> Result<RuleConditions, TrainError> {
        let (window, rows) = (self.window(), fitted.bank.rows());
        let counts = windowed_counts(&self.sightings(fitted, spec)?, window);
        let totals = counts.chunks_exact(rows).map(|c| c.iter().sum()).collect();
        let sightings = SightingTable {
            counts: counts.iter().map(|&c| c.min(255) as u8).collect(),
            totals,
        };
        let compared = if spec.rule == Rule::PniV1 {
            fitted.distribution(spec)?.entries
        } else {
            rows
        };
        Ok(RuleConditions {
            position: Some(PositionEvidence {
                window: window as u32,
                sightings: 0,
                allowed_share: 1.0,
                lost_share: None,
                threshold: None,
            }),
            mask: None,
            neighbourhood: Some(published(
                Measure::MeanWithPosition,
                compared,
                Some(sightings),
            )),
        })
    }

    /// Rows above thresholds that few held-out good cells miss.
    fn by_coverage(
        &self,
        fitted: &FittedBank,
        spec: RuleSpec,
        calibration: &Calibration,
    ) -> Result<RuleConditions, TrainError> {
        let mut out = RuleConditions::default();
        if let Some(lost) = spec.place_lost {
            let distribution = fitted.distribution(spec)?;
            let table = distribution.place.as_ref().ok_or_else(|| missing(spec))?;
            let threshold = calibration.place_threshold(lost);
            let mask = place_mask(
                table,
                distribution.entries,
                &distribution.assignment,
                threshold,
            );
            out.position = Some(PositionEvidence {
                window: self.window() as u32,
                sightings: 0,
                allowed_share: mask.allowed_share(),
                lost_share: Some(lost),
                threshold: Some(threshold),
            });
            out.mask = Some(mask);
        }
        out.neighbourhood = spec.near_lost.map(|lost| NeighbourhoodCondition {
            measure: Measure::Ratio,
            temperature: 1.0,
            threshold: calibration.ratio_threshold(lost),
            rows: fitted.bank.rows(),
            sightings: None,
        });
        Ok(out)
    }

    /// A scorer of `spec` on `fitted`.
    pub(crate) fn scorer(
        &self,
        fitted: &FittedBank,
        spec: RuleSpec,
        calibration: &Calibration,
    ) -> Result<Scorer, TrainError> {
        let conditions = self
            .conditions(fitted, spec, calibration)?
            .for_scorer(fitted, spec)?;
        let ignore = self.settings.ignore.as_ref();
        let (grid, size) = (self.features.grid, self.map_size);
        let scorer = Scorer::new(
            fitted.bank.clone(),
            conditions,
            fitted.row_scale(spec)?,
            ignore.map(|pixels| IgnoreMask::new(pixels.clone(), size, grid)),
            (grid, size),
            // As the product's own scorer has it.
            self.sigma * size.mean_side() / self.size.mean_side(),
        );
        let neighbours = fitted.row_neighbours(spec)?;
        let neighbours = neighbours.map(|n| RowNeighbours::new(n, spec.neighbours as usize - 1));
        let mut scorer = scorer.with_means(neighbours, spec.top_pixels as usize);
        scorer.map = scorer.map.with_interpolation(spec.interpolation);
        Ok(match spec.rule.combination() {
            Some(combination) => scorer.with_gaussians(fitted.gaussians(spec)?.load(), combination),
            None if spec.glancing.is_some() => {
                scorer.with_glancing(self.glancing_network(fitted, spec)?)
            }
            None if spec.n_pad.is_some() => scorer.with_places(fitted.n_pad(spec)?.load()),
            None => scorer,
        })
    }

    fn glancing_network(
        &self,
        fitted: &FittedBank,
        spec: RuleSpec,
    ) -> Result<GlancingNetwork, TrainError> {
        let (grid, d) = (self.features.grid, self.features.dimensions);
        let weight = spec.glancing.map_or(1.0, |form| form.weight);
        let onnx = fitted.glancing(spec)?;
        Ok(GlancingNetwork::load(
            onnx,
            grid,
            d,
            weight,
            &Threads::default(),
        )?)
    }

    /// Scores `count` feature maps under `spec`, in parallel; `features(i)` is the i-th.
    pub(crate) fn score<'f>(
        &self,
        fitted: &FittedBank,
        spec: RuleSpec,
        calibration: &Calibration,
        count: usize,
        features: impl Fn(usize) -> &'f [f32] + Sync,
    ) -> Result<Vec<Scored>, TrainError> {
        let share = count.div_ceil(rayon::current_num_threads()).max(1);
        let runs: Vec<std::ops::Range<usize>> = (0..count)
            .step_by(share)
            .map(|from| from..(from + share).min(count))
            .collect();
        let found: Vec<Vec<Scored>> = runs
            .into_par_iter()
            .map(|run| {
                let mut scorer = self.scorer(fitted, spec, calibration)?;
                run.map(|i| {
                    Ok(Scored {
                        score: scorer.score(features(i), &Threads::default())?,
                        cells: scorer.search.cell_scores().to_vec(),
                    })
                })
                .collect::<Result<Vec<_>, TrainError>>()
            })
            .collect::<Result<_, _>>()?;
        Ok(found.into_iter().flatten().collect())
    }
}

/// A condition at the published threshold and temperature, over `rows` rows.
fn published(
    measure: Measure,
    rows: usize,
    sightings: Option<SightingTable>,
) -> NeighbourhoodCondition {
    NeighbourhoodCondition {
        measure,
        temperature: PUBLISHED_TEMPERATURE,
        threshold: 1.0 / (2.0 * rows as f32),
        rows,
        sightings,
    }
}
