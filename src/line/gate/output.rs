//! What the gate does: its actions and decisions.

use super::fault::Fault;
use super::lines::Output;
use super::part::{PartId, Reason};
use crate::time::{Instant, Position};

/// What the gate did with a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The part.
    pub part: PartId,
    /// The line's place at the trigger.
    pub trigger: Position,
    /// When the part was due at the ejector.
    pub due: Instant,
    /// When its verdict arrived; None if it did not arrive in time.
    pub verdict_at: Option<Instant>,
    /// Why it is rejected; None if it passes.
    pub rejected: Option<Reason>,
}

/// What the caller must do, in the order in which it is emitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// An output changes its level.
    Set {
        /// Which output.
        output: Output,
        /// On or off.
        on: bool,
        /// When this was due: now, or earlier if the gate was called late.
        due: Instant,
        /// When the output must go off by itself unless another action follows. Only PASS that goes on
        /// has such a time, and always.
        until: Option<Instant>,
    },
    /// PASS, which is on, stays on for longer: the pulse was lengthened, or the belt moves.
    Extend {
        /// When PASS must go off by itself unless another action follows.
        until: Instant,
    },
    /// A part reached its gate.
    Decided(Decision),
    /// A fault began or ended.
    Fault {
        /// Which fault.
        fault: Fault,
        /// True if it began.
        present: bool,
    },
    /// The alarm was raised (true) or acknowledged.
    Alarm(bool),
}
