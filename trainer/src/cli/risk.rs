//! Limits of the thresholds, as options that `fit`, `benchmark` and `calibrate` share.

use crate::error::TrainError;
use crate::fit::thresholds::Risk;
use clap::Args;
use serde::Serialize;

/// False-reject rates and the confidence of their bounds.
#[derive(Args, Clone, Debug, Serialize)]
pub(crate) struct RiskArgs {
    /// Share of goods that may be NG
    #[arg(long, value_name = "RATE", default_value_t = 0.001)]
    false_reject_rate: f64,
    /// Share of goods that may be anything but OK
    #[arg(long, value_name = "RATE", default_value_t = 0.01)]
    unknown_rate: f64,
    /// Confidence of both bounds
    #[arg(long, value_name = "SHARE", default_value_t = 0.95)]
    confidence: f64,
}

impl RiskArgs {
    /// Checks the ranges; `seed` is for the bootstrap behind extrapolated bounds.
    pub(crate) fn risk(&self, seed: u64) -> Result<Risk, TrainError> {
        let ranges = [
            ("--false-reject-rate", self.false_reject_rate, 0.0, 0.5),
            ("--unknown-rate", self.unknown_rate, 0.0, 0.5),
            ("--confidence", self.confidence, 0.5, 0.999),
        ];
        for (name, value, low, high) in ranges {
            if !(value > low && value < high) {
                return Err(TrainError::Setting(format!(
                    "{name} {value}: above {low} and below {high}"
                )));
            }
        }
        Ok(Risk {
            ng_rate: self.false_reject_rate,
            unknown_rate: self.unknown_rate,
            confidence: self.confidence,
            seed,
        })
    }
}
