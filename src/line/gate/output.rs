//! What the gate says.

use super::fault::Fault;
use super::lines::Output;
use super::part::{PartId, Reason};
use crate::time::{Instant, Position};

/// The end of a part, at its gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The part.
    pub part: PartId,
    /// Where the line was at its trigger.
    pub trigger: Position,
    /// When it was due at the ejector.
    pub due: Instant,
    /// When its verdict arrived; None when it did not, in time.
    pub verdict_at: Option<Instant>,
    /// Why it is rejected; None when it passes.
    pub rejected: Option<Reason>,
}

/// What the gate wants done, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A line takes a level.
    Set {
        /// Which.
        output: Output,
        /// On or off.
        on: bool,
        /// When this was due; now, or earlier when the gate was called late.
        due: Instant,
        /// When the line is to fall by itself if nothing more is heard. PASS that goes on has it
        /// always, other lines never.
        until: Option<Instant>,
    },
    /// PASS, which is on, stays on until then: the pulse is longer, or the belt is seen to move.
    Extend {
        /// When PASS is to fall by itself if nothing more is heard.
        until: Instant,
    },
    /// A part reached its gate.
    Decided(Decision),
    /// A fault came or went.
    Fault {
        /// Which.
        fault: Fault,
        /// Whether it came.
        present: bool,
    },
    /// The alarm was raised (true) or acknowledged.
    Alarm(bool),
}
