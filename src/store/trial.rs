//! A trial: what a new product has done so far, and what ends the trial.
//!
//! Only counts and running time matter. The wall clock of a board without a battery can be anything.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a product on trial has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// Starts since the line was last ready with it.
    pub starts: u32,
    /// Restarts of the vision process in the trial.
    pub restarts: u32,
    /// Parts that passed.
    pub good: u64,
    /// Parts in all.
    pub parts: u64,
    /// Seconds that the line ran with it.
    pub seconds: u64,
}

/// What ends a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrialLimits {
    /// Good parts that confirm it; None: only a person does.
    pub confirm_after: Option<u64>,
    /// Most parts without a confirmation; None: no limit.
    pub parts: Option<u64>,
    /// Longest running time without a confirmation.
    pub time: Duration,
    /// Most starts in a row without a ready line.
    pub starts: u32,
    /// Most restarts of the vision process.
    pub restarts: u32,
}

/// How a trial ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrialEnd {
    /// The product is confirmed.
    Confirm,
    /// The board returns to the other product.
    Return(String),
}

impl Trial {
    /// How the trial ends now; None: it goes on.
    pub fn end(&self, limits: &TrialLimits) -> Option<TrialEnd> {
        let back = |reason: String| Some(TrialEnd::Return(reason));
        if self.starts > limits.starts {
            return back(format!(
                "crash loop: {} starts in a row without a ready line",
                self.starts
            ));
        }
        if self.restarts > limits.restarts {
            return back(format!(
                "crash loop: the vision process ended {} times",
                self.restarts
            ));
        }
        if limits.confirm_after.is_some_and(|n| self.good >= n) {
            return Some(TrialEnd::Confirm);
        }
        if limits.parts.is_some_and(|n| self.parts >= n) {
            return back(format!(
                "trial over: {} parts without a confirmation",
                self.parts
            ));
        }
        if self.seconds >= limits.time.as_secs() {
            let hours = self.seconds as f64 / 3600.0;
            return back(format!(
                "trial over: {hours:.1} h of running without a confirmation"
            ));
        }
        None
    }
}
