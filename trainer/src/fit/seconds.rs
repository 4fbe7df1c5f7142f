//! Where the time of a fit goes.

use serde::Serialize;
use std::time::Instant;

/// Seconds of each stage of a fit, over all members.
#[derive(Debug, Default, Serialize)]
pub(crate) struct FitSeconds {
    pub(crate) features: f64,
    pub(crate) folds: f64,
    pub(crate) choice: f64,
    pub(crate) thresholds: f64,
    /// Trying other light.
    pub(crate) light: f64,
    pub(crate) bank: f64,
    /// Combining members, inspection golden images, writing.
    pub(crate) bundle: f64,
    pub(crate) total: f64,
}

/// Runs `work` and adds the seconds that it takes to `stage`.
pub(crate) fn timed<T>(stage: &mut f64, work: impl FnOnce() -> T) -> T {
    let since = Instant::now();
    let found = work();
    *stage += since.elapsed().as_secs_f64();
    found
}
