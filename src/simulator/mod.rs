//! A production line in virtual time: the running line's own [`Controller`](crate::line::controller)
//! between a simulated plant and devices that fail on purpose.
//!
//! The plant knows what really lies on the belt. It counts a part as verified only when the line let
//! it pass on an OK that was spoken on that part's own picture; whatever else the ejector lets by is
//! `passed_unverified`, and must be nothing at all.
//!
//! `plant` does the same in real time, round all threads of the running line.

mod belt;
mod faults;
mod model;
mod outcome;
mod plant;
mod world;

#[cfg(test)]
mod tests;

pub use faults::Kind;
pub use model::LineModel;
pub use outcome::{Outcome, Times};
pub use plant::{
    ComparingJudge, JudgingTimes, LineFigures, LineTrial, Picture, Soak, SoakError, SoakOutcome,
    judging_times, rendered_pictures, soak, try_line,
};

use crate::seed::Rng;
use world::World;

/// A run that never came to its end.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the line stood still for a minute and did not recover (model: {model}, seed {seed})")]
pub struct Stuck {
    /// The line.
    pub model: String,
    /// Seed of that line.
    pub seed: u64,
}

/// Runs `parts` parts over one line.
///
/// # Errors
/// [`Stuck`] when the line never recovers from a fault.
pub fn simulate(model: LineModel, parts: u64, seed: u64, kinds: &[Kind]) -> Result<Outcome, Stuck> {
    let mut world = World::new(model, parts, seed, kinds);
    if world.run() {
        Ok(world.outcome)
    } else {
        Err(Stuck {
            model: model.name(),
            seed,
        })
    }
}

/// The seed of line number `index` under `seed`: one command, many lines, no draw shared.
pub fn seed_of(seed: u64, index: usize) -> u64 {
    Rng::stream(seed, index as u64).next_u64()
}
