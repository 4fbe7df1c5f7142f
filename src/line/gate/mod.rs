//! The gate: a pure state machine that decides, for every part, whether it may pass.
//!
//! No heap, no clock, no input or output, nothing else of this program: events with their times go
//! in, line changes with their times come out. The simulator, the property tests and the running
//! line drive exactly this code.

mod lines;
mod part;
mod time;

pub use lines::Line;
pub use part::{Judgement, PartId, Reason};
pub use time::{Counts, Nanos, Position, Span};
