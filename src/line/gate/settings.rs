//! What the gate must know of the line.

use crate::time::{Counts, Duration, Span};

/// How the ejector is wired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ejector {
    /// Throws out whatever it is not told to leave: [`super::Output::Pass`]. Fails to reject.
    Pass,
    /// Throws out what it is told to: [`super::Output::Reject`]. Safe only where the line stops when
    /// READY falls.
    Reject,
}

/// When to call a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlarmSettings {
    /// Inspected rejects in a row; 0: never.
    pub consecutive: u32,
    /// Rejects among the last `window` inspected parts that raise the alarm; 0: never.
    pub rejects: u16,
    /// See `rejects`; at most 256.
    pub window: u16,
    /// Whether READY falls until the alarm is acknowledged.
    pub stop_line: bool,
}

/// What a confirming sensor sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfirmKind {
    /// At the ejector's entry: one edge for each part, whatever becomes of it.
    Part,
    /// In the reject bin: one edge for each part that is thrown out.
    Reject,
}

/// A sensor that confirms what the gate did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfirmSettings {
    /// What it sees.
    pub kind: ConfirmKind,
    /// How far from its gate a part may be confirmed, in the gate's unit: before and after it for
    /// [`ConfirmKind::Part`], after it for [`ConfirmKind::Reject`].
    pub tolerance: Span,
}

/// The line as the gate sees it. Check with [`Settings::check`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// From the trigger to the ejector: here the verdict must be there.
    pub gate: Span,
    /// How long the ejector acts on a part.
    pub pulse: Span,
    /// Least time between two reject pulses, in the gate's unit; nearer ones merge.
    pub min_off: Span,
    /// How the ejector is wired.
    pub ejector: Ejector,
    /// A second trigger this soon is the same part's edge bouncing.
    pub bounce: Duration,
    /// Parts are never closer than this.
    pub min_pitch: Duration,
    /// An output later than this against its schedule is a fault.
    pub late_output: Duration,
    /// Parts that may be tracked at once; the last one raises [`super::Fault::Overload`].
    pub capacity: usize,
    /// Parts that may wait for their verdict; more raise [`super::Fault::Overrun`].
    pub max_waiting: usize,
    /// Half a period of HEARTBEAT.
    pub heartbeat: Duration,
    /// Only where the gate is by the clock: how long a stopped belt takes to run at full speed again
    /// after READY. What lay on it arrives that much later.
    pub spin_up: Duration,
    /// Only where the gate is by the encoder: a belt that gives no count for so long may have moved
    /// unseen, and everything is thrown out until what lay on it has left. 0: never; then an
    /// encoder that dies can let a part pass in another's place.
    pub encoder_silence: Duration,
    /// A part covers the sensor at most this long, in the gate's unit; longer means parts that touch.
    /// None: not watched.
    pub occupied_max: Option<Span>,
    /// Two encoder counts are never closer; what is closer is noise, and nobody knows where parts
    /// are. 0: not watched.
    pub count_min: Duration,
    /// A sensor that confirms what the gate did.
    pub confirm: Option<ConfirmSettings>,
    /// Length of TRIGGER-ACK.
    pub ack: Duration,
    /// Length of RESULT-VALID.
    pub valid: Duration,
    /// FAULT stays on at least this long, so that a PLC sees it.
    pub fault_hold: Duration,
    /// When to call a person.
    pub alarm: AlarmSettings,
}

/// Why settings make no line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingsError {
    /// Gate or pulse of zero length.
    Zero(&'static str),
    /// `min_off` is in another unit than the gate, or not shorter.
    MinOff,
    /// No part, or more than the gate has room for.
    Capacity {
        /// Room.
        room: usize,
    },
    /// More parts may wait than are tracked, or none.
    MaxWaiting,
    /// Not bounce <= min_pitch.
    Pitch,
    /// In another unit than the gate: its name.
    Unit(&'static str),
    /// The alarm's window is over 256 or below its number of rejects.
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
    /// Whether the gate is by encoder.
    pub const fn by_counts(&self) -> bool {
        matches!(self.gate, Span::Counts(_))
    }

    /// Where the pulse is in counts: PASS falls when no count was seen for so long, a quarter of the
    /// least pitch. A pulse that takes at most three quarters of it on the fastest belt is over before
    /// the next part is at the ejector, even if the encoder dies while it lasts.
    pub fn pass_unseen(&self) -> Duration {
        self.min_pitch / 4
    }

    /// # Errors
    /// [`SettingsError`] naming the first setting that is off; `room` is the gate's array size.
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
