//! The gate: a pure state machine that decides, for every part, whether it may pass.
//!
//! No heap, no clock, no input or output: events with their times go in, line changes with their times
//! come out. Of this program it uses nothing but the types of time and of the encoder's counts, which
//! live in [`crate::time`]. The simulator, the property tests and the running line drive exactly this
//! code.
//!
//! - Every trigger becomes a part, or is counted as the bounce of one. A part that cannot be tracked
//!   is rejected with the whole stretch of the line that it may lie on.
//! - A part passes only on an OK verdict of its own that arrived before its gate, while nothing else
//!   that must go is at the ejector.
//! - While a fault is present READY is off and every tracked part is rejected. On a line that is
//!   timed by the clock nobody knows where parts lie once it may have stopped, so everything is
//!   thrown out until what lay between sensor and ejector has left; the same at start.
//! - Reject pulses merge and are never shortened; a pass ends early as soon as anything else must go.

mod alarm;
mod along;
mod counters;
mod fault;
mod lines;
mod machine;
mod output;
mod part;
mod settings;

#[cfg(test)]
mod tests;

pub use counters::Counters;
pub use fault::{Fault, Faults};
pub use lines::Output;
pub use machine::Gate;
pub use output::{Action, Decision};
pub use part::{PartId, PartVerdict, Reason};
pub use settings::{AlarmSettings, ConfirmKind, ConfirmSettings, Ejector, Settings, SettingsError};
