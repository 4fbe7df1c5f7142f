//! Production lines in virtual time: the running line's own [`Controller`](crate::line::controller)
//! and [`Holder`](crate::line::holder), in two processes that stall and die, between a simulated plant
//! and devices that fail on purpose.
//!
//! Every line's settings are drawn from all that `config check` accepts, and so is which faults strike
//! it and how often. The plant alone knows what really lies on the belt. It counts a part as verified
//! only when an OK that was spoken on that part's own picture reached the program in time; whatever else
//! the ejector lets by is `passed_unverified`, and must be nothing at all, unless the plant proves that
//! no program could have prevented it.
//!
//! [`real_time`](super::real_time) does the same round all threads of the running line.

mod belt;
mod case;
mod draws;
mod line;
mod trace;
mod world;

#[cfg(test)]
mod tests;

pub use case::{Case, CaseError, Failure, KNOWN, Stuck, failure_of, known_cases, shrink};
pub use line::PIECES;

/// Classes of lines in reports: units of gate and pulse, and the wiring.
pub fn classes() -> Vec<String> {
    (0..line::CLASSES).map(line::class_name).collect()
}
