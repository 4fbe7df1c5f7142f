//! Production lines in virtual time: the running line's own [`Controller`](crate::line::controller)
//! and [`Lease`](crate::line::lease), in two processes that stall and die, between a simulated
//! plant and devices that fail on purpose.
//!
//! Every line's settings are drawn from all that `config check` accepts. The faults that strike it,
//! and how often, are drawn too. Only the plant knows what is really on the belt. It counts a part
//! as verified only if an OK for that part's own frame reached the program in time. Every other
//! part that passes the ejector is `passed_unverified`. There must be none, unless the plant proves
//! that no program could have prevented it.
//!
//! [`real_time`](super::real_time) does the same around all threads of the running line.

mod belt;
mod case;
mod draws;
mod line;
mod trace;
mod world;

#[cfg(test)]
mod tests;

pub use case::{Case, CaseError, Failure, Stuck, known_cases, shrink};
pub use line::PIECES;

/// Classes of lines in reports: units of gate and pulse, and the wiring.
pub fn classes() -> Vec<String> {
    (0..line::CLASSES).map(line::class_name).collect()
}
