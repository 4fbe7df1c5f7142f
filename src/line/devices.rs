//! What the line needs of the outside world. Rooms to the right implement it.

use super::gate::Output;
use crate::time::{Duration, Instant};
use std::os::fd::BorrowedFd;

/// Whatever a device says went wrong; its text names the pin or file and the fix.
pub type DeviceError = Box<dyn std::error::Error + Send + Sync>;

/// An input line by its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Input {
    /// A part is present.
    Trigger,
    /// The belt moved by one encoder count; with [`Input::EncoderB`] the first of two channels.
    Encoder,
    /// The second channel of a quadrature encoder.
    EncoderB,
    /// A part is at its place in a nest: where triggers by the encoder count from.
    Index,
    /// A part is at the ejector, or fell into the reject bin: what the gate did is confirmed.
    Confirm,
    /// A person acknowledges an alarm.
    Acknowledge,
}

impl Input {
    /// All inputs.
    pub const ALL: [Input; 6] = [
        Input::Trigger,
        Input::Encoder,
        Input::EncoderB,
        Input::Index,
        Input::Confirm,
        Input::Acknowledge,
    ];

    /// Name in configurations, logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Input::Trigger => "trigger",
            Input::Encoder => "encoder",
            Input::EncoderB => "encoder_b",
            Input::Index => "index",
            Input::Confirm => "confirm",
            Input::Acknowledge => "acknowledge",
        }
    }
}

/// An input went on or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// Which input.
    pub input: Input,
    /// Whether it went on. Off-edges come of the trigger, whose length matters, and of both channels
    /// of a quadrature encoder; of other inputs on-edges alone.
    pub on: bool,
    /// When, by the kernel.
    pub at: Instant,
    /// Edges of this input that the kernel had to drop since the last one that was read. The line
    /// treats each as a part that was not seen.
    pub lost: u32,
}

/// Input lines. One thread waits on them.
pub trait Inputs: Send {
    /// The next edge, or None after `at_most`.
    ///
    /// # Errors
    /// When the device is gone; the line drops READY and asks again.
    fn wait(&mut self, at_most: Duration) -> Result<Option<Edge>, DeviceError>;

    /// The level of `input` now; None where it is not wired or its level cannot be read.
    ///
    /// # Errors
    /// As [`Inputs::wait`].
    fn level(&mut self, input: Input) -> Result<Option<bool>, DeviceError> {
        let _ = input;
        Ok(None)
    }
}

/// The way round whoever holds the output lines: a second process may let them fall, never raise
/// them. PASS and READY off, REJECT and FAULT on; nothing else. Takes no memory and does not wait.
pub trait SafeOutputs: Send {
    /// Sets `line` to [`Output::when_unattended`], unless the line is not wired.
    ///
    /// # Errors
    /// When the device is gone.
    fn fall(&mut self, output: Output) -> Result<(), DeviceError>;
}

/// The alarm that stands until a person acknowledges it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum LatchedAlarm {
    /// None.
    #[default]
    None,
    /// Too many rejects.
    Rejects,
    /// The vision process was started again too often.
    Restarts,
    /// Nobody knows whether an alarm stands: what said so is gone.
    Unknown,
    /// No known-bad part was rejected in time, or one was inspected OK.
    Challenge,
}

impl LatchedAlarm {
    /// All of them, by their number.
    pub const ALL: [LatchedAlarm; 5] = [
        LatchedAlarm::None,
        LatchedAlarm::Rejects,
        LatchedAlarm::Restarts,
        LatchedAlarm::Unknown,
        LatchedAlarm::Challenge,
    ];

    /// Name of the alarm in logs and metrics; of none, "none".
    pub const fn name(self) -> &'static str {
        match self {
            LatchedAlarm::None => "none",
            LatchedAlarm::Rejects => "rejects",
            LatchedAlarm::Restarts => "restarts",
            LatchedAlarm::Unknown => "unknown",
            LatchedAlarm::Challenge => "challenge",
        }
    }

    /// The one with this number.
    pub fn numbered(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// What is known of whoever holds the output lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holding {
    /// It has said that it was late, and by how much: it let the lines fall, takes nothing that could
    /// let a part pass until everything is said to it again, and nobody knows what went by.
    pub was_late: Option<Duration>,
    /// It ought to have answered and has not: the lines have fallen round it.
    pub overdue: bool,
    /// An orderly end was asked for.
    pub end: bool,
    /// When to ask again, whatever happens.
    pub ask_again: Instant,
}

impl Holding {
    /// Outputs that this process holds itself.
    pub const OWN: Self = Self {
        was_late: None,
        overdue: false,
        end: false,
        ask_again: Instant::MAX,
    };
}

/// A descriptor that drives output lines, and which, in the order of their bits.
#[derive(Clone, Debug)]
pub struct SharedLines<'a> {
    /// What the kernel gave for the lines of one chip.
    pub descriptor: BorrowedFd<'a>,
    /// The line of each bit, from bit 0.
    pub lines: Vec<Output>,
}

/// Output lines. The gate thread alone sets them; it must not wait here.
pub trait Outputs: Send {
    /// Sets `line`, unless the line is not wired. Takes no memory.
    ///
    /// # Errors
    /// When the device is gone.
    fn set(&mut self, output: Output, on: bool) -> Result<(), DeviceError>;

    /// Sets `line`, which is to fall by itself at `until` where somebody stands by to do that.
    ///
    /// # Errors
    /// As [`Outputs::set`].
    fn set_until(
        &mut self,
        output: Output,
        on: bool,
        until: Option<Instant>,
    ) -> Result<(), DeviceError> {
        let _ = until;
        self.set(output, on)
    }

    /// Sets several lines, those of one chip at one moment where the device can. Takes no memory. All
    /// that can be set are, whatever fails.
    ///
    /// # Errors
    /// As [`Outputs::set`]; the first of them.
    fn set_all(&mut self, levels: &[(Output, bool)]) -> Result<(), DeviceError> {
        let mut failed = None;
        for &(output, on) in levels {
            if let Err(error) = self.set(output, on) {
                failed.get_or_insert(error);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Reads every line back: one whose level is not what was set, as after an expander was reset.
    /// None where all are as set, and of devices that cannot be read. Takes no memory.
    ///
    /// # Errors
    /// When the device is gone.
    fn differs(&mut self) -> Result<Option<Output>, DeviceError> {
        Ok(None)
    }

    /// Tells whoever holds the lines that the gate lives.
    ///
    /// # Errors
    /// When nobody holds them any more.
    fn alive(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }

    /// What whoever holds the lines has answered by `now`. To be called whenever the gate runs; takes
    /// no memory.
    ///
    /// # Errors
    /// When nobody holds them any more.
    fn holding(&mut self, now: Instant) -> Result<Holding, DeviceError> {
        let _ = now;
        Ok(Holding::OWN)
    }

    /// Whoever holds the lines remembers the alarm, should this process end.
    ///
    /// # Errors
    /// When nobody holds them any more.
    fn remember(&mut self, alarm: LatchedAlarm) -> Result<(), DeviceError> {
        let _ = alarm;
        Ok(())
    }

    /// By what another process can let these lines fall ([`SafeOutputs`]); empty where there is no
    /// such thing.
    fn shared(&self) -> Vec<SharedLines<'_>> {
        Vec::new()
    }
}
