//! Which faults can be injected, and how often they strike.

/// Kinds of faults that can be injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The camera delivers no frame for a part.
    LostFrame,
    /// The frame arrives long after the allowed time.
    LateFrame,
    /// The frame arrives twice.
    RepeatedFrame,
    /// The driver marks the frame as damaged.
    DamagedFrame,
    /// The frame's stamp is wrong by up to 120 ms, too early or too late: a clock was stepped.
    WrongStamp,
    /// The camera repeats an old picture with new stamps for a while.
    FrozenCamera,
    /// The camera is gone for a while.
    Unplug,
    /// The sensor's edge bounces.
    Bounce,
    /// A second trigger a few milliseconds after the first.
    DoubleTrigger,
    /// Two parts that are closer than `min_pitch` allows.
    Crowding,
    /// Two parts that touch: the sensor sees one long part.
    Touching,
    /// The kernel drops a trigger edge, and the next edge reports this.
    LostTrigger,
    /// The trigger reaches the program late.
    SlowTrigger,
    /// The chip of the inputs is gone for a while, and the program is informed.
    UnpluggedInputs,
    /// Sensor and encoder are dead together while the belt moves, for example a fuse that feeds
    /// both. Nothing reports it.
    DeadInputs,
    /// The encoder gives no counts while the belt moves.
    DeadEncoder,
    /// The encoder gives counts although the belt does not move.
    EncoderNoise,
    /// The encoder's wheel slips: it gives fewer counts than the belt moves.
    EncoderSlip,
    /// Inspection takes several times as long.
    SlowInference,
    /// Inspection hangs for up to two seconds.
    StuckInference,
    /// Inspection fails.
    FailedInference,
    /// The inspector gives two verdicts, the second one OK.
    RepeatedVerdict,
    /// The gate's thread is not run for up to 50 ms.
    GateStall,
    /// The vision process is not run for 0.05 to 2 s.
    VisionStall,
    /// The supervisor, which holds the outputs, is not run for 0.05 to 2 s.
    SupervisorStall,
    /// Neither process is run for 0.05 to 1.5 s.
    BothStall,
    /// The outputs cannot be set for a while; they keep their levels, or switch off.
    LostOutputs,
    /// The vision process dies at once and is started again.
    ProcessDeath,
    /// The supervisor dies; the service is started again.
    SupervisorDeath,
    /// Both processes die at once; the outputs keep their levels until the service is started again.
    BothDeath,
    /// Another revision of the product is installed or brought back, or the recipe inputs ask for
    /// another product: a sound one, one that does not prove itself, one that is not there, none, or
    /// they flicker. No fault, but it must be as safe.
    ProductSwitch,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 31] = [
        Kind::LostFrame,
        Kind::LateFrame,
        Kind::RepeatedFrame,
        Kind::DamagedFrame,
        Kind::WrongStamp,
        Kind::FrozenCamera,
        Kind::Unplug,
        Kind::Bounce,
        Kind::DoubleTrigger,
        Kind::Crowding,
        Kind::Touching,
        Kind::LostTrigger,
        Kind::SlowTrigger,
        Kind::UnpluggedInputs,
        Kind::DeadInputs,
        Kind::DeadEncoder,
        Kind::EncoderNoise,
        Kind::EncoderSlip,
        Kind::SlowInference,
        Kind::StuckInference,
        Kind::FailedInference,
        Kind::RepeatedVerdict,
        Kind::GateStall,
        Kind::VisionStall,
        Kind::SupervisorStall,
        Kind::BothStall,
        Kind::LostOutputs,
        Kind::ProcessDeath,
        Kind::SupervisorDeath,
        Kind::BothDeath,
        Kind::ProductSwitch,
    ];

    /// Whether a line in real time can meet it. That line has one inspector, no encoder, and runs
    /// in one process.
    pub const fn is_real(self) -> bool {
        matches!(
            self,
            Kind::LostFrame
                | Kind::LateFrame
                | Kind::RepeatedFrame
                | Kind::DamagedFrame
                | Kind::WrongStamp
                | Kind::Unplug
                | Kind::Bounce
                | Kind::DoubleTrigger
                | Kind::Crowding
                | Kind::LostTrigger
                | Kind::SlowTrigger
                | Kind::SlowInference
                | Kind::StuckInference
                | Kind::FailedInference
                | Kind::GateStall
                | Kind::LostOutputs
        )
    }

    /// The kinds that a line in real time can meet.
    pub fn in_real_time() -> impl Iterator<Item = Kind> {
        Self::ALL.into_iter().filter(|k| k.is_real())
    }

    /// Name in commands and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::LostFrame => "lost_frame",
            Kind::LateFrame => "late_frame",
            Kind::RepeatedFrame => "repeated_frame",
            Kind::DamagedFrame => "damaged_frame",
            Kind::WrongStamp => "wrong_stamp",
            Kind::FrozenCamera => "frozen_camera",
            Kind::Unplug => "unplug",
            Kind::Bounce => "bounce",
            Kind::DoubleTrigger => "double_trigger",
            Kind::Crowding => "crowding",
            Kind::Touching => "touching",
            Kind::LostTrigger => "lost_trigger",
            Kind::SlowTrigger => "slow_trigger",
            Kind::UnpluggedInputs => "unplugged_inputs",
            Kind::DeadInputs => "dead_inputs",
            Kind::DeadEncoder => "dead_encoder",
            Kind::EncoderNoise => "encoder_noise",
            Kind::EncoderSlip => "encoder_slip",
            Kind::SlowInference => "slow_inference",
            Kind::StuckInference => "stuck_inference",
            Kind::FailedInference => "failed_inference",
            Kind::RepeatedVerdict => "repeated_verdict",
            Kind::GateStall => "gate_stall",
            Kind::VisionStall => "vision_stall",
            Kind::SupervisorStall => "supervisor_stall",
            Kind::BothStall => "both_stall",
            Kind::LostOutputs => "lost_outputs",
            Kind::ProcessDeath => "process_death",
            Kind::SupervisorDeath => "supervisor_death",
            Kind::BothDeath => "both_death",
            Kind::ProductSwitch => "product_switch",
        }
    }

    /// Kinds by their names: `all`, `none`, or names separated by commas.
    ///
    /// # Errors
    /// A text that names the unknown kind and all known ones.
    pub fn list(text: &str) -> Result<Vec<Self>, String> {
        let named = |name: &str| {
            let found = Self::ALL.into_iter().find(|k| k.name() == name);
            found.ok_or_else(|| {
                let known: Vec<_> = Self::ALL.into_iter().map(Self::name).collect();
                format!("no fault is called `{name}`; known: {}", known.join(", "))
            })
        };
        match text {
            "all" => Ok(Self::ALL.to_vec()),
            "none" => Ok(Vec::new()),
            list => list.split(',').map(|name| named(name.trim())).collect(),
        }
    }

    /// It strikes one in this many parts on average, if it is injected.
    pub(crate) const fn one_in(self) -> usize {
        match self {
            Kind::LostFrame
            | Kind::LateFrame
            | Kind::RepeatedFrame
            | Kind::DamagedFrame
            | Kind::WrongStamp
            | Kind::Bounce
            | Kind::DoubleTrigger
            | Kind::SlowInference
            | Kind::FailedInference
            | Kind::RepeatedVerdict => 100,
            Kind::Crowding | Kind::LostTrigger | Kind::SlowTrigger | Kind::GateStall => 300,
            Kind::Touching | Kind::EncoderNoise => 600,
            Kind::EncoderSlip | Kind::ProductSwitch => 1000,
            Kind::FrozenCamera
            | Kind::Unplug
            | Kind::UnpluggedInputs
            | Kind::DeadInputs
            | Kind::DeadEncoder
            | Kind::StuckInference
            | Kind::VisionStall
            | Kind::SupervisorStall
            | Kind::LostOutputs
            | Kind::ProcessDeath => 1500,
            Kind::BothStall | Kind::SupervisorDeath => 3000,
            Kind::BothDeath => 4000,
        }
    }
}
