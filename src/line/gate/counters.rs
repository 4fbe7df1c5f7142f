//! The count of every trigger and every part.

use super::fault::Fault;
use super::part::Reason;

/// Totals since the program started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Edges of the trigger, with those that the kernel reports as lost.
    pub triggers: u64,
    /// Edges that count as the bounce of the part before them.
    pub bounces: u64,
    /// All parts.
    pub parts: u64,
    /// Parts that passed, each on an OK verdict of its own.
    pub passed: u64,
    /// Rejected parts by reason, in the order of [`Reason::ALL`].
    pub rejected: [u64; Reason::ALL.len()],
    /// Parts that could not be tracked one by one; all are rejected.
    pub untracked: u64,
    /// Triggers that the kernel lost; each counts as an untracked part.
    pub lost_triggers: u64,
    /// Verdicts that came after their part's gate.
    pub late_verdicts: u64,
    /// Second verdicts for one part.
    pub repeated_verdicts: u64,
    /// Verdicts on parts that do not exist.
    pub foreign_verdicts: u64,
    /// Reject pulses.
    pub pulses: u64,
    /// Outputs set later than allowed. With [`super::Ejector::Reject`] a defective part may have
    /// passed.
    pub late_outputs: u64,
    /// Reject pulses that began before the ejector had its rest.
    pub short_rests: u64,
    /// Encoder counts that came faster than a belt can move.
    pub implausible_counts: u64,
    /// Parts at the sensor whose edge was lost: found by the level of the input.
    pub found_by_level: u64,
    /// Times that the sensor was covered for longer than one part takes.
    pub covered_too_long: u64,
    /// Parts that were not confirmed in time.
    pub unconfirmed: u64,
    /// Confirmations without a known part.
    pub surplus_confirmations: u64,
    /// Faults raised, in the order of [`Fault::ALL`].
    pub faults: [u64; Fault::ALL.len()],
    /// Alarms raised.
    pub alarms: u64,
}

impl Counters {
    /// All rejected parts.
    pub fn rejected_in_all(&self) -> u64 {
        self.rejected.iter().sum()
    }

    /// Whether every trigger is a part or a bounce, and every part is passed, rejected or one of the
    /// `under_way`.
    pub fn balance(&self, under_way: u64) -> bool {
        self.triggers == self.parts + self.bounces
            && self.parts == self.passed + self.rejected_in_all() + under_way
    }
}
