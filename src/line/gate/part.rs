//! Parts and the reasons for rejecting them.

/// A part's number, from 1 in the order of the triggers since the program started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartId(pub u64);

/// The verdict of the inspector on a part. Everything but `Ok` rejects it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PartVerdict {
    /// The part may pass.
    Ok,
    /// The part is defective.
    Ng,
    /// The score is between the thresholds, or the picture cannot be used.
    Unknown,
}

/// Why a part is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The verdict is NG.
    Ng,
    /// The verdict is UNKNOWN.
    Unknown,
    /// No verdict before the gate.
    Late,
    /// No frame within the part's window.
    NoFrame,
    /// The frame arrived damaged, or could not be read.
    DamagedFrame,
    /// Inspection failed.
    Failed,
    /// More parts than can be tracked, or no room for the frame.
    Overload,
    /// Two triggers closer than parts can be: no picture shows one of the parts alone.
    DoubleTrigger,
    /// The line was not ready at the trigger, or while the part was on its way.
    NotReady,
    /// Its verdict was OK, but it is too close to a part that must be rejected.
    Neighbour,
}

impl Reason {
    /// All reasons.
    pub const ALL: [Reason; 10] = [
        Reason::Ng,
        Reason::Unknown,
        Reason::Late,
        Reason::NoFrame,
        Reason::DamagedFrame,
        Reason::Failed,
        Reason::Overload,
        Reason::DoubleTrigger,
        Reason::NotReady,
        Reason::Neighbour,
    ];

    /// Name in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Reason::Ng => "ng",
            Reason::Unknown => "unknown",
            Reason::Late => "late",
            Reason::NoFrame => "no_frame",
            Reason::DamagedFrame => "damaged_frame",
            Reason::Failed => "failed",
            Reason::Overload => "overload",
            Reason::DoubleTrigger => "double_trigger",
            Reason::NotReady => "not_ready",
            Reason::Neighbour => "neighbour",
        }
    }
}
