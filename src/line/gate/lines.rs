//! The output lines that a PLC or an ejector sees.

/// An output line by its meaning. What level it takes on the wire is the board profile's business;
/// here `on` always means what the name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Output {
    /// A new trigger can be served within its gate: the line may run.
    Ready,
    /// At least one part waits for its verdict.
    Busy,
    /// A pulse for each part that passes; for counters and lamps.
    Ok,
    /// The ejector, wired to throw out what it is told to: on for every part that does not pass.
    Reject,
    /// The ejector, wired to throw out whatever it is not told to leave: on only while a part with
    /// an OK verdict of its own passes. The wiring that fails to reject.
    Pass,
    /// A fault is present.
    Fault,
    /// Toggles while the gate lives and everything that it depends on is fresh.
    Heartbeat,
    /// A pulse for each trigger that was taken as a part.
    TriggerAck,
    /// A pulse for each part whose end is decided; OK is steady while it is on.
    ResultValid,
    /// The event log cannot be written.
    RecordLost,
}

impl Output {
    /// All lines.
    pub const ALL: [Output; 10] = [
        Output::Ready,
        Output::Busy,
        Output::Ok,
        Output::Reject,
        Output::Pass,
        Output::Fault,
        Output::Heartbeat,
        Output::TriggerAck,
        Output::ResultValid,
        Output::RecordLost,
    ];

    /// Name in configurations, logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Output::Ready => "ready",
            Output::Busy => "busy",
            Output::Ok => "ok",
            Output::Reject => "reject",
            Output::Pass => "pass",
            Output::Fault => "fault",
            Output::Heartbeat => "heartbeat",
            Output::TriggerAck => "trigger_ack",
            Output::ResultValid => "result_valid",
            Output::RecordLost => "record_lost",
        }
    }

    /// What the line must show when nobody is in charge: the process is starting, dead or stuck.
    pub const fn when_unattended(self) -> bool {
        matches!(self, Output::Reject | Output::Fault)
    }

    /// Whether taking the level `on` can only stop parts, never let one pass.
    pub const fn is_safe(self, on: bool) -> bool {
        match self {
            Output::Pass | Output::Ready => !on,
            Output::Reject | Output::Fault => on,
            _ => false,
        }
    }
}
