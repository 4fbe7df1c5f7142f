//! The gate's settings.

use crate::time::{Counts, Duration, Span};

/// How the ejector is wired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ejector {
    /// Removes every part unless [`super::Output::Pass`] is on. If the wiring fails, parts are
    /// rejected.
    Pass,
    /// Removes a part when [`super::Output::Reject`] is on. Safe only if the line stops when READY goes
    /// off.
    Reject,
}

/// When the alarm is raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlarmSettings {
    /// Inspected rejects in a row; 0: never.
    pub consecutive: u32,
    /// Rejects among the last `window` inspected parts that raise the alarm; 0: never.
    pub rejects: u16,
    /// Parts over which `rejects` counts; at most 256.
    pub window: u16,
    /// Whether READY stays off until the alarm is acknowledged.
    pub stop_line: bool,
}

impl AlarmSettings {
    /// No alarm by rejects.
    pub const NONE: Self = Self {
        consecutive: 0,
        rejects: 0,
        window: 0,
        stop_line: false,
    };
}

/// What a confirming sensor sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfirmKind {
    /// At the entry of the ejector: one edge per part, passed or rejected.
    Part,
    /// In the reject bin: one edge per rejected part.
    Reject,
}

/// A sensor that confirms what the gate did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfirmSettings {
    /// What it sees.
    pub kind: ConfirmKind,
    /// How far from its gate a part may be confirmed, in the gate's unit. Before and after the gate for
    /// [`ConfirmKind::Part`], after it for [`ConfirmKind::Reject`].
    pub tolerance: Span,
}

/// All settings of the gate. Check them with [`Settings::check`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// From the trigger to the ejector: the verdict must arrive within this distance.
    pub gate: Span,
    /// How long the ejector acts on a part.
    pub pulse: Span,
    /// Shortest rest between two reject pulses, in the gate's unit. Pulses that are closer merge.
    pub min_off: Span,
    /// How the ejector is wired.
    pub ejector: Ejector,
    /// A second trigger within this time is a bounce of the same part.
    pub bounce: Duration,
    /// Two parts are never closer than this.
    pub min_pitch: Duration,
    /// An output that is set this much later than it was due is a fault.
    pub late_output: Duration,
    /// The most parts that may be tracked at once; the last one raises [`super::Fault::Overload`].
    pub capacity: usize,
    /// The most parts that may wait for their verdict; more raise [`super::Fault::Overrun`].
    pub max_waiting: usize,
    /// Half a period of HEARTBEAT.
    pub heartbeat: Duration,
    /// Only if the gate is by the clock: how long a stopped belt needs to reach full speed after READY.
    /// Parts that lay on it arrive that much later.
    pub spin_up: Duration,
    /// Only if the gate is by the encoder: a belt without a count for this long may have moved unseen.
    /// Everything is then rejected until the parts that lay on it have left. 0: never. Then a dead
    /// encoder can let a part pass in the place of another.
    pub encoder_silence: Duration,
    /// The longest that one part covers the sensor, in the gate's unit. Longer means parts that touch.
    /// None: not watched.
    pub occupied_max: Option<Span>,
    /// Two encoder counts are never closer than this. A closer one is noise, and nobody knows where the
    /// parts are. 0: not watched.
    pub count_min: Duration,
    /// A sensor that confirms what the gate did.
    pub confirm: Option<ConfirmSettings>,
    /// Length of the pulse on TRIGGER-ACK; 0: none.
    pub ack: Duration,
    /// Length of the pulse on RESULT-VALID; 0: none.
    pub valid: Duration,
    /// FAULT stays on for at least this long, so that a PLC sees it.
    pub fault_hold: Duration,
    /// When the alarm is raised.
    pub alarm: AlarmSettings,
}

/// Why settings cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingsError {
    /// The gate or the pulse has zero length; which one.
    Zero(&'static str),
    /// `min_off` is in another unit than the gate, or is not shorter than the gate.
    MinOff,
    /// The capacity is 0, or more than the gate has room for.
    Capacity {
        /// The gate's room, in parts.
        room: usize,
    },
    /// `max_waiting` is 0 or above the capacity.
    MaxWaiting,
    /// `bounce` is longer than `min_pitch`.
    Pitch,
    /// The named setting is in another unit than the gate.
    Unit(&'static str),
    /// The alarm's window is above 256 or below its number of rejects.
    Window,
}

impl core::fmt::Display for SettingsError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Zero(what) => write!(f, "{what} must be longer than zero"),
            Self::MinOff => f.write_str(
                "min_off must be in the gate's unit (time or counts) and shorter than the gate",
            ),
            Self::Capacity { room } => write!(f, "capacity must be 1 to {room}"),
            Self::MaxWaiting => f.write_str("max_waiting must be 1 to the capacity"),
            Self::Unit(what) => write!(f, "{what} must be in the gate's unit (time or counts)"),
            Self::Pitch => f.write_str("bounce must not be longer than min_pitch"),
            Self::Window => {
                f.write_str("the alarm's window must be at most 256 and at least its rejects")
            }
        }
    }
}

impl core::error::Error for SettingsError {}

impl Settings {
    /// A gate that watches only what every gate must: nothing that a setting switches on is on. For a
    /// handful of parts, with the times of a small machine; change what is different.
    pub const fn plain(gate: Span, pulse: Span, ejector: Ejector, min_pitch: Duration) -> Self {
        Self {
            gate,
            pulse,
            min_off: match gate {
                Span::Time(_) => Span::Time(Duration::ZERO),
                Span::Counts(_) => Span::Counts(Counts(0)),
            },
            ejector,
            bounce: Duration::from_millis(1),
            min_pitch,
            late_output: Duration::from_millis(5),
            capacity: 16,
            max_waiting: 16,
            heartbeat: Duration::from_millis(250),
            spin_up: Duration::ZERO,
            encoder_silence: Duration::ZERO,
            occupied_max: None,
            count_min: Duration::ZERO,
            confirm: None,
            ack: Duration::ZERO,
            valid: Duration::ZERO,
            fault_hold: Duration::from_millis(200),
            alarm: AlarmSettings::NONE,
        }
    }

    /// Whether the gate is by the encoder.
    pub const fn by_counts(&self) -> bool {
        matches!(self.gate, Span::Counts(_))
    }

    /// If the pulse is in counts: PASS goes off if no count comes for this long, a quarter of the
    /// smallest pitch. A pulse that takes at most three quarters of the pitch on the fastest belt then
    /// ends before the next part is at the ejector, even if the encoder dies during it.
    pub fn pass_unseen(&self) -> Duration {
        self.min_pitch / 4
    }

    /// # Errors
    /// [`SettingsError`] naming the first wrong setting; `room` is the size of the gate's array.
    pub fn check(&self, room: usize) -> Result<(), SettingsError> {
        let zero = |span| matches!(span, Span::Time(Duration::ZERO) | Span::Counts(Counts(0)));
        if zero(self.gate) {
            return Err(SettingsError::Zero("gate"));
        }
        if zero(self.pulse) {
            return Err(SettingsError::Zero("pulse"));
        }
        if self.heartbeat == Duration::ZERO {
            return Err(SettingsError::Zero("heartbeat"));
        }
        let shorter = match (self.min_off, self.gate) {
            (Span::Time(off), Span::Time(gate)) => off < gate,
            (Span::Counts(off), Span::Counts(gate)) => off < gate,
            _ => false,
        };
        if !shorter {
            return Err(SettingsError::MinOff);
        }
        if self.capacity == 0 || self.capacity > room {
            return Err(SettingsError::Capacity { room });
        }
        if self.max_waiting == 0 || self.max_waiting > self.capacity {
            return Err(SettingsError::MaxWaiting);
        }
        let same = |span| matches!(span, Span::Counts(_)) == self.by_counts();
        if !self.occupied_max.is_none_or(same) {
            return Err(SettingsError::Unit("occupied_max"));
        }
        if !self.confirm.is_none_or(|c| same(c.tolerance)) {
            return Err(SettingsError::Unit("confirm.tolerance"));
        }
        if self.bounce > self.min_pitch {
            return Err(SettingsError::Pitch);
        }
        if self.alarm.window > 256 || self.alarm.rejects > self.alarm.window {
            return Err(SettingsError::Window);
        }
        Ok(())
    }
}
