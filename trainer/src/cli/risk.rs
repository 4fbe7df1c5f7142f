//! Limits of the thresholds, as options that `fit`, `benchmark` and `calibrate` share.

use crate::error::TrainError;
use crate::fit::thresholds::{OperatingPoint, Risk};
use clap::Args;
use serde::Serialize;

/// The budget where none is given.
const DEFAULT_BUDGET: f64 = 0.01;

/// The budget of false rejects, and what the thresholds prove.
#[derive(Args, Clone, Debug, Serialize)]
pub(crate) struct RiskArgs {
    /// Share of good parts that you accept as rejects (1% or 0.01), on average; a larger budget
    /// catches more. The report states what it costs and what the number of images proves [default:
    /// 1%]
    #[arg(long, value_name = "SHARE", value_parser = parse_share)]
    budget: Option<f64>,
    /// Instead of a budget: share of goods that rejects do not exceed at --confidence, without
    /// assumptions; with too few images the largest held-out score
    #[arg(long, value_name = "RATE", conflicts_with = "budget", value_parser = parse_share)]
    unknown_rate: Option<f64>,
    /// Share of goods that may be NG and not only UNKNOWN
    #[arg(long, value_name = "RATE", default_value = "0.001", value_parser = parse_share)]
    false_reject_rate: f64,
    /// Confidence of the bounds
    #[arg(long, value_name = "SHARE", default_value_t = 0.95)]
    confidence: f64,
}

/// `1%` or `0.01`.
fn parse_share(text: &str) -> Result<f64, String> {
    let (number, unit) = match text.trim().strip_suffix('%') {
        Some(number) => (number, 100.0),
        None => (text, 1.0),
    };
    let share = number.trim().parse::<f64>().map_err(|_| expected(text))?;
    Ok(share / unit)
}

fn expected(given: &str) -> String {
    format!("{given}: a share such as 1% or 0.01, above 0 and below 50%")
}

impl RiskArgs {
    /// Whether a budget was given.
    pub(crate) fn has_budget(&self) -> bool {
        self.budget.is_some()
    }

    /// Checks the ranges; `seed` is for the bootstrap behind extrapolated bounds.
    pub(crate) fn risk(&self, seed: u64) -> Result<Risk, TrainError> {
        if !(self.confidence > 0.5 && self.confidence < 0.999) {
            return Err(TrainError::Setting(format!(
                "--confidence {}: above 0.5 and below 0.999",
                self.confidence
            )));
        }
        let shares = [
            ("--budget", self.budget),
            ("--unknown-rate", self.unknown_rate),
            ("--false-reject-rate", Some(self.false_reject_rate)),
        ];
        for (name, share) in shares {
            if share.is_some_and(|share| !(share > 0.0 && share < 0.5)) {
                let given = share.map_or(String::new(), |share| format!("{name} {share}"));
                return Err(TrainError::Setting(expected(&given)));
            }
        }
        Ok(Risk {
            ng_rate: self.false_reject_rate,
            operating: match self.unknown_rate {
                Some(rate) => OperatingPoint::Proven(rate),
                None => OperatingPoint::Budget(self.budget.unwrap_or(DEFAULT_BUDGET)),
            },
            confidence: self.confidence,
            seed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_per_cent_or_numbers_below_a_half() {
        for (text, want) in [
            ("1%", 0.01),
            ("0.01", 0.01),
            (" 2.5 % ", 0.025),
            ("49%", 0.49),
        ] {
            assert!(
                (parse_share(text).expect(text) - want).abs() < 1e-12,
                "{text}"
            );
        }
        for text in ["", "%", "a", "1 percent", "1%%"] {
            let error = parse_share(text).expect_err(text);
            assert!(error.contains("1% or 0.01"), "{error}");
        }
        for share in [0.0, 0.5, 1.0, -0.01, f64::NAN, f64::INFINITY] {
            let arguments = RiskArgs {
                budget: Some(share),
                unknown_rate: None,
                false_reject_rate: 0.001,
                confidence: 0.95,
            };
            let error = arguments.risk(0).expect_err("a share").to_string();
            assert!(error.contains(&format!("--budget {share}")), "{error}");
        }
    }
}
