//! What the simulator breaks on purpose, and how often.

use crate::seed::Rng;
use std::sync::{Mutex, PoisonError};

/// Kinds of faults that can be injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The camera delivers nothing for a part.
    LostFrame,
    /// The frame arrives long after it should.
    LateFrame,
    /// The frame arrives twice.
    RepeatedFrame,
    /// The driver marks the frame as damaged.
    DamagedFrame,
    /// The frame's stamp is off by up to 120 ms, either way: a clock was stepped.
    WrongStamp,
    /// The camera is gone for a while.
    Unplug,
    /// The sensor's edge bounces.
    Bounce,
    /// A second trigger a few milliseconds after the first.
    DoubleTrigger,
    /// Two parts closer than parts can be.
    Crowding,
    /// The kernel had to drop a trigger edge, and says so with the next.
    LostTrigger,
    /// The trigger reaches the program late.
    SlowTrigger,
    /// Judging takes several times as long.
    SlowInference,
    /// Judging stands still for up to two seconds.
    StuckInference,
    /// Judging fails.
    FailedInference,
    /// The judge answers twice, the second time with OK.
    RepeatedVerdict,
    /// The gate's thread is not run for up to 50 ms.
    GateStall,
    /// The output lines cannot be set for a while.
    LostOutputs,
    /// The encoder gives no counts while the belt moves.
    DeadEncoder,
    /// Sensor and encoder are dead together while the belt moves: a fuse that feeds both.
    DeadInputs,
    /// The vision process dies at once and is started again.
    ProcessDeath,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 20] = [
        Kind::LostFrame,
        Kind::LateFrame,
        Kind::RepeatedFrame,
        Kind::DamagedFrame,
        Kind::WrongStamp,
        Kind::Unplug,
        Kind::Bounce,
        Kind::DoubleTrigger,
        Kind::Crowding,
        Kind::LostTrigger,
        Kind::SlowTrigger,
        Kind::SlowInference,
        Kind::StuckInference,
        Kind::FailedInference,
        Kind::RepeatedVerdict,
        Kind::GateStall,
        Kind::LostOutputs,
        Kind::DeadEncoder,
        Kind::DeadInputs,
        Kind::ProcessDeath,
    ];

    /// Whether a line wired to reject survives it. A gate that is not called cannot start a pulse in time,
    /// and nobody rejects what no sensor saw: such a line lets the part go. That is why it is not the
    /// wiring to choose.
    pub(super) const fn spares_reject_wiring(self) -> bool {
        !matches!(self, Kind::GateStall | Kind::DeadInputs)
    }

    /// Whether a line in real time can meet it: that one has a single judge, no encoder, and lives in
    /// the process that would have to die.
    pub const fn is_real(self) -> bool {
        !matches!(
            self,
            Kind::RepeatedVerdict | Kind::DeadEncoder | Kind::DeadInputs | Kind::ProcessDeath
        )
    }

    /// The kinds that a line in real time can meet.
    pub fn in_real_time() -> impl Iterator<Item = Kind> {
        Self::ALL.into_iter().filter(|k| k.is_real())
    }

    /// Name on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::LostFrame => "lost_frame",
            Kind::LateFrame => "late_frame",
            Kind::RepeatedFrame => "repeated_frame",
            Kind::DamagedFrame => "damaged_frame",
            Kind::WrongStamp => "wrong_stamp",
            Kind::Unplug => "unplug",
            Kind::Bounce => "bounce",
            Kind::DoubleTrigger => "double_trigger",
            Kind::Crowding => "crowding",
            Kind::LostTrigger => "lost_trigger",
            Kind::SlowTrigger => "slow_trigger",
            Kind::SlowInference => "slow_inference",
            Kind::StuckInference => "stuck_inference",
            Kind::FailedInference => "failed_inference",
            Kind::RepeatedVerdict => "repeated_verdict",
            Kind::GateStall => "gate_stall",
            Kind::LostOutputs => "lost_outputs",
            Kind::DeadEncoder => "dead_encoder",
            Kind::DeadInputs => "dead_inputs",
            Kind::ProcessDeath => "process_death",
        }
    }

    /// One in how many parts meets it when it is injected.
    pub(super) const fn one_in(self) -> usize {
        match self {
            Kind::Unplug
            | Kind::StuckInference
            | Kind::LostOutputs
            | Kind::DeadEncoder
            | Kind::DeadInputs
            | Kind::ProcessDeath => 1500,
            Kind::GateStall | Kind::SlowTrigger | Kind::LostTrigger | Kind::Crowding => 300,
            _ => 100,
        }
    }
}

/// Draws faults from a seed and counts them.
#[derive(Clone, Debug)]
pub(super) struct Injector {
    kinds: Vec<Kind>,
    rng: Rng,
    /// So many times as often as in virtual time: real time is short.
    often: usize,
    pub(super) injected: [u64; Kind::ALL.len()],
}

impl Injector {
    pub(super) fn new(kinds: &[Kind], seed: u64) -> Self {
        Self {
            kinds: kinds.to_vec(),
            rng: Rng::stream(seed, 0x6661_756c_7473),
            often: 1,
            injected: [0; Kind::ALL.len()],
        }
    }

    /// Whether `kind` strikes now.
    pub(super) fn strikes(&mut self, kind: Kind) -> bool {
        if !self.kinds.contains(&kind) || self.rng.below(kind.one_in() / self.often) != 0 {
            return false;
        }
        self.injected[kind as usize] += 1;
        true
    }

    /// A time in `low..high`, nanoseconds.
    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.rng.below((high - low) as usize) as u64
    }
}

/// An injector that several threads draw from: its draws depend on their order.
#[derive(Debug)]
pub(super) struct SharedInjector(Mutex<Injector>);

impl SharedInjector {
    pub(super) fn new(kinds: &[Kind], seed: u64, often: usize) -> Self {
        let injector = Injector::new(kinds, seed);
        Self(Mutex::new(Injector { often, ..injector }))
    }

    pub(super) fn with<T>(&self, draw: impl FnOnce(&mut Injector) -> T) -> T {
        draw(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
