//! Which bank rows may explain which cells, under every rule: by place, by neighbourhood, or by both.
//!
//! A condition is evaluated for few rows only. If the nearest row of the whole bank is allowed, it is
//! also the nearest allowed one, so most cells need one evaluation. For the others all rows are
//! evaluated and the search runs again (`docs/method.md`, "What a rule costs").

use super::neighbourhood::NeighbourhoodNetwork;
use super::position::PositionMask;
use crate::lanes::LANES;
use crate::network::NetworkError;
use serde::{Deserialize, Serialize};

/// The value that is compared with a condition's threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// The network's probability of the row.
    Probability,
    /// That probability divided by the largest at the cell: needs no exponential on the device.
    Ratio,
    /// Mean of the network's probability and the share of sightings near the cell (`pni`).
    MeanWithPosition,
}

/// How often good images showed each row near each cell. Counts saturate at 255, which is far above the
/// published threshold for windows of the published proportion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SightingTable {
    /// `[cells, rows]`.
    pub counts: Vec<u8>,
    /// Sightings at a cell in total, `[cells]`.
    pub totals: Vec<u32>,
}

/// A condition on the network's output.
pub struct Likelihood {
    /// The network.
    pub network: NeighbourhoodNetwork,
    /// Nearest row of D for each row of the bank.
    pub assignment: Vec<u16>,
    /// The value that is compared.
    pub measure: Measure,
    /// Divides the logits.
    pub temperature: f32,
    /// Rows whose value is above this are allowed.
    pub threshold: f32,
    /// Only for [`Measure::MeanWithPosition`].
    pub sightings: Option<SightingTable>,
    /// Rows of the bank that take part; fewer than all under `pni-v1`.
    pub rows: usize,
    state: State,
}

/// Per-cell values of the last image. With them most evaluations are one comparison.
#[derive(Default)]
struct State {
    /// A row of D whose logit is above this is allowed.
    bound: Vec<f32>,
    /// Logarithm of the sum of the exponentials of `logit / temperature`.
    log_sum: Vec<f32>,
}

/// What a row must satisfy to explain a cell: all conditions that are present.
#[derive(Default)]
pub struct Condition {
    /// By place alone.
    pub place: Option<PositionMask>,
    /// By the neighbourhood network, with or without the sightings.
    pub likely: Option<Box<Likelihood>>,
}

impl Likelihood {
    /// A condition of `network` on the rows of a bank.
    ///
    /// # Panics
    /// If `sightings` is missing but the measure needs it: a programming error, because bundles are
    /// checked.
    pub fn new(
        network: NeighbourhoodNetwork,
        assignment: Vec<u16>,
        measure: Measure,
        temperature: f32,
        threshold: f32,
        sightings: Option<SightingTable>,
        rows: usize,
    ) -> Self {
        assert_eq!(
            measure == Measure::MeanWithPosition,
            sightings.is_some(),
            "sightings"
        );
        Self {
            network,
            assignment,
            measure,
            temperature,
            threshold,
            sightings,
            rows,
            state: State::default(),
        }
    }

    fn cells(&self) -> usize {
        self.network.shape().grid.area()
    }

    fn look(&mut self, features: &[f32]) -> Result<(), NetworkError> {
        let cells = self.cells();
        let logits = self.network.run(features)?;
        let (temperature, threshold) = (self.temperature, self.threshold.ln());
        let bound = &mut self.state.bound;
        bound.clear();
        bound.resize(cells, f32::NEG_INFINITY);
        for row in logits.chunks_exact(cells) {
            for (high, &z) in bound.iter_mut().zip(row) {
                // A NaN stays a NaN: then no comparison as above it is true.
                *high = if z > *high || z.is_nan() { z } else { *high };
            }
        }
        if self.measure != Measure::Ratio {
            let sum = &mut self.state.log_sum;
            sum.clear();
            sum.resize(cells, 0.0);
            for row in logits.chunks_exact(cells) {
                for ((sum, &high), &z) in sum.iter_mut().zip(bound.iter()).zip(row) {
                    *sum += ((z - high) / temperature).exp();
                }
            }
            for (sum, high) in sum.iter_mut().zip(bound.iter_mut()) {
                *sum = sum.ln() + *high / temperature;
                *high = *sum * temperature;
            }
        }
        for bound in bound {
            *bound += threshold * temperature;
        }
        Ok(())
    }

    /// Mean of the share of sightings of `row` near `cell` and of its probability, whose logit is `z`.
    /// `None` if only the network counts.
    fn mean(&self, z: f32, cell: usize, row: usize) -> Option<f32> {
        let seen = self.sightings.as_ref()?;
        let width = seen.counts.len() / self.cells();
        let share = f32::from(seen.counts[cell * width + row]) / seen.totals[cell].max(1) as f32;
        Some(0.5 * (share + (z / self.temperature - self.state.log_sum[cell]).exp()))
    }

    /// Whether `row`, whose row of D has the logit `z`, may explain `cell`.
    fn allows(&self, z: f32, cell: usize, row: usize) -> bool {
        row < self.rows
            && match self.mean(z, cell, row) {
                Some(mean) => mean > self.threshold,
                None => z > self.state.bound[cell],
            }
    }

    /// Keeps the set bits of allowed rows; if none is left, the likeliest of them. `column` is scratch.
    fn keep(&self, logits: &[f32], cell: usize, words: &mut [u16], column: &mut Vec<f32>) {
        column.clear();
        column.extend(logits.chunks_exact(self.cells()).map(|row| row[cell]));
        let set = |words: &[u16], row: usize| words[row / LANES] >> (row % LANES) & 1 == 1;
        let candidates = || self.assignment[..self.rows].iter().enumerate();
        let allowed = |row: usize, entry: u16| self.allows(column[usize::from(entry)], cell, row);
        if candidates().any(|(row, &entry)| set(words, row) && allowed(row, entry)) {
            for (row, &entry) in self.assignment.iter().enumerate() {
                if row >= self.rows || !allowed(row, entry) {
                    words[row / LANES] &= !(1 << (row % LANES));
                }
            }
            return;
        }
        let mut best = (f32::NEG_INFINITY, 0);
        for (row, &entry) in candidates().filter(|&(row, _)| set(words, row)) {
            let z = column[usize::from(entry)];
            let value = self.mean(z, cell, row).unwrap_or(z);
            if value > best.0 {
                best = (value, row); // ties go to the lower row
            }
        }
        words.fill(0);
        words[best.1 / LANES] |= 1 << (best.1 % LANES);
    }
}

impl Condition {
    /// By place alone.
    pub fn by_place(mask: PositionMask) -> Self {
        Self {
            place: Some(mask),
            likely: None,
        }
    }

    /// Evaluates the image's features, `[cells, dimensions]`. Must run before the other methods.
    ///
    /// # Errors
    /// [`NetworkError::Run`].
    pub(super) fn look(&mut self, features: &[f32]) -> Result<(), NetworkError> {
        match &mut self.likely {
            None => Ok(()),
            Some(likelihood) => likelihood.look(features),
        }
    }

    /// Calls `found` with every cell whose row in `rows`, one per cell, is not allowed there.
    ///
    /// # Errors
    /// [`NetworkError::Run`] before the first look.
    pub(super) fn refused(
        &self,
        rows: impl Iterator<Item = u32>,
        mut found: impl FnMut(usize),
    ) -> Result<(), NetworkError> {
        let likely = match &self.likely {
            None => None,
            Some(likelihood) => Some((likelihood, likelihood.network.logits()?)),
        };
        for (cell, row) in rows.enumerate() {
            let row = row as usize;
            let here = self
                .place
                .as_ref()
                .is_none_or(|mask| mask.allows(cell, row));
            let likely = likely.is_none_or(|(likelihood, logits)| {
                let entry = usize::from(likelihood.assignment[row]);
                likelihood.allows(logits[entry * likelihood.cells() + cell], cell, row)
            });
            if !(here && likely) {
                found(cell);
            }
        }
        Ok(())
    }

    /// Writes the allowed rows of `cell` as bits, `rows` of them; at least one is set. `column` is
    /// scratch.
    ///
    /// # Errors
    /// [`NetworkError::Run`] before the first look.
    pub(super) fn words(
        &self,
        cell: usize,
        rows: usize,
        words: &mut [u16],
        column: &mut Vec<f32>,
    ) -> Result<(), NetworkError> {
        match &self.place {
            Some(mask) => words.copy_from_slice(mask.words(cell)),
            None => {
                words.fill(u16::MAX);
                if let (Some(last), tail @ 1..) = (words.last_mut(), rows % LANES) {
                    *last = (1 << tail) - 1;
                }
            }
        }
        if let Some(likelihood) = &self.likely {
            likelihood.keep(likelihood.network.logits()?, cell, words, column);
        }
        Ok(())
    }

    /// Whether the network's output for `cell` was unusable in the last image.
    pub(super) fn unknown(&self, cell: usize) -> bool {
        let likely = self.likely.as_ref();
        likely.is_some_and(|likelihood| !likelihood.state.bound[cell].is_finite())
    }

    /// The neighbourhood network, if there is one.
    pub fn network(&self) -> Option<&NeighbourhoodNetwork> {
        self.likely.as_ref().map(|likelihood| &likelihood.network)
    }
}
