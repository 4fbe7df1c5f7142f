//! The gate: a pure state machine that decides, for every part, whether it may pass.
//!
//! No heap, no clock, no input or output of its own: events with their times go in, actions with their
//! times come out. It uses nothing of this program but the types of time and of encoder counts in
//! [`crate::time`]. The simulator, the property tests and the running line drive exactly this code.
//!
//! - Every trigger becomes a part, or counts as the bounce of one. If a part cannot be tracked, the
//!   whole section of the line where it can be is rejected.
//! - A part passes only on an OK verdict of its own that arrived before its gate, and only if nothing
//!   at the ejector must be rejected.
//! - While a fault is present READY is off and every tracked part is rejected. If the gate is by the
//!   clock, nobody knows where the parts are once the line may have stopped. Everything is then
//!   rejected until the parts between sensor and ejector have left. The same holds after a start.
//! - Reject pulses merge and are never shortened. A pass pulse ends early as soon as another part must
//!   be rejected.

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
