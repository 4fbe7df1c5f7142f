//! The digital outputs that a PLC or an ejector sees.

/// A digital output by its meaning. The board profile defines its electrical level; here `on` always
/// means what the name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Output {
    /// A new trigger can be decided by its gate: the line may run.
    Ready,
    /// At least one part waits for its verdict.
    Busy,
    /// A pulse per part that passes, for counters and lamps.
    Ok,
    /// To an ejector that removes a part when this is on: on for every part that does not pass.
    Reject,
    /// To an ejector that removes every part unless this is on: on only while a part with an OK verdict
    /// of its own passes. If the wiring fails, parts are rejected.
    Pass,
    /// A fault is present.
    Fault,
    /// Toggles while the gate is alive and everything that it depends on works.
    Heartbeat,
    /// A pulse per trigger that became a part.
    TriggerAck,
    /// A pulse per decision; OK does not change while it is on.
    ResultValid,
    /// The event log cannot be written.
    RecordLost,
    /// The product that the recipe inputs ask for is the one that runs, and it has proven itself.
    RecipeAck,
}

impl Output {
    /// All outputs.
    pub const ALL: [Output; 11] = [
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
        Output::RecipeAck,
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
            Output::RecipeAck => "recipe_ack",
        }
    }

    /// The level in the safe state, when no process is in charge: it starts, ended or hangs.
    pub const fn when_unattended(self) -> bool {
        matches!(self, Output::Reject | Output::Fault)
    }

    /// Whether the level `on` can only stop parts and cannot let one pass.
    pub const fn is_safe(self, on: bool) -> bool {
        match self {
            Output::Pass | Output::Ready => !on,
            Output::Reject | Output::Fault => on,
            _ => false,
        }
    }
}
