//! What the line needs from the outside world. Rooms to the right implement it.

use super::gate::Output;
use crate::time::{Duration, Instant};
use std::os::fd::BorrowedFd;

/// An error of a device. Its text names the pin or file and the fix.
pub type DeviceError = Box<dyn std::error::Error + Send + Sync>;

/// A digital input by its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Input {
    /// A part is at the sensor.
    Trigger,
    /// The belt moved by one encoder count. With [`Input::EncoderB`] this is the first of two channels.
    Encoder,
    /// The second channel of a quadrature encoder.
    EncoderB,
    /// A part is at its place in a nest: triggers by the encoder count from here.
    Index,
    /// A part is at the ejector or dropped into the reject bin: this confirms what the gate did.
    Confirm,
    /// A person acknowledges an alarm.
    Acknowledge,
    /// Asks for a product by its number: 1, 2, 4, 8 and 16 in binary.
    Recipe1,
    /// As [`Input::Recipe1`].
    Recipe2,
    /// As [`Input::Recipe1`].
    Recipe4,
    /// As [`Input::Recipe1`].
    Recipe8,
    /// As [`Input::Recipe1`].
    Recipe16,
    /// Makes the number of recipe inputs that are on odd.
    RecipeParity,
    /// The number of the recipe counts while this is on.
    RecipeStrobe,
}

impl Input {
    /// All inputs.
    pub const ALL: [Input; 13] = [
        Input::Trigger,
        Input::Encoder,
        Input::EncoderB,
        Input::Index,
        Input::Confirm,
        Input::Acknowledge,
        Input::Recipe1,
        Input::Recipe2,
        Input::Recipe4,
        Input::Recipe8,
        Input::Recipe16,
        Input::RecipeParity,
        Input::RecipeStrobe,
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
            Input::Recipe1 => "recipe_1",
            Input::Recipe2 => "recipe_2",
            Input::Recipe4 => "recipe_4",
            Input::Recipe8 => "recipe_8",
            Input::Recipe16 => "recipe_16",
            Input::RecipeParity => "recipe_parity",
            Input::RecipeStrobe => "recipe_strobe",
        }
    }

    /// Whether it is one of those that ask for a product. Their levels matter, not their edges.
    pub const fn is_recipe(self) -> bool {
        matches!(
            self,
            Input::Recipe1
                | Input::Recipe2
                | Input::Recipe4
                | Input::Recipe8
                | Input::Recipe16
                | Input::RecipeParity
                | Input::RecipeStrobe
        )
    }
}

/// A digital input went on or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// Which input.
    pub input: Input,
    /// True if it went on. Only the trigger, whose length matters, and both channels of a quadrature
    /// encoder report that they go off. The other inputs report only that they go on.
    pub on: bool,
    /// When, by the kernel's clock.
    pub at: Instant,
    /// Edges of this input that the kernel dropped since the last one that was read. The line treats
    /// each as a part that was not seen.
    pub lost: u32,
}

/// The digital inputs. One thread waits on them.
pub trait Inputs: Send {
    /// The next edge, or None after `at_most`.
    ///
    /// # Errors
    /// When the device is gone; the line switches READY off and tries again.
    fn wait(&mut self, at_most: Duration) -> Result<Option<Edge>, DeviceError>;

    /// The level of `input` now. None if it is not wired or its level cannot be read.
    ///
    /// # Errors
    /// As [`Inputs::wait`].
    fn level(&mut self, input: Input) -> Result<Option<bool>, DeviceError> {
        let _ = input;
        Ok(None)
    }
}

/// The way past the supervisor: a second process may switch outputs to their safe state, and to nothing
/// else. PASS and READY off, REJECT and FAULT on. Takes no memory and does not wait.
pub trait SafeOutputs: Send {
    /// Sets `output` to [`Output::when_unattended`]. Does nothing if the output is not wired.
    ///
    /// # Errors
    /// When the device is gone.
    fn set_safe(&mut self, output: Output) -> Result<(), DeviceError>;
}

/// The latched alarm: it stays until a person acknowledges it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum LatchedAlarm {
    /// No alarm.
    #[default]
    None,
    /// Too many rejects.
    Rejects,
    /// The vision process was restarted too often.
    Restarts,
    /// Nobody knows whether an alarm is latched: the record of it is gone.
    Unknown,
    /// A known-bad part was not rejected in time, or its verdict was OK.
    Challenge,
}

impl LatchedAlarm {
    /// All alarms, in the order of their numbers.
    pub const ALL: [LatchedAlarm; 5] = [
        LatchedAlarm::None,
        LatchedAlarm::Rejects,
        LatchedAlarm::Restarts,
        LatchedAlarm::Unknown,
        LatchedAlarm::Challenge,
    ];

    /// Name in logs and metrics; "none" for no alarm.
    pub const fn name(self) -> &'static str {
        match self {
            LatchedAlarm::None => "none",
            LatchedAlarm::Rejects => "rejects",
            LatchedAlarm::Restarts => "restarts",
            LatchedAlarm::Unknown => "unknown",
            LatchedAlarm::Challenge => "challenge",
        }
    }

    /// The alarm with this number; None if there is no such alarm.
    pub fn numbered(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// What this process knows of the process that sets the outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holding {
    /// It reports that it was late, and by how much: it switched the outputs off, and nobody knows
    /// which parts went by. It takes nothing that lets a part pass until every output has been sent to
    /// it again.
    pub was_late: Option<Duration>,
    /// Its acknowledgement is overdue: the outputs were switched off past it.
    pub overdue: bool,
    /// It requests an orderly end.
    pub end: bool,
    /// When to ask again at the latest.
    pub ask_again: Instant,
}

impl Holding {
    /// The outputs are set by this process itself.
    pub const OWN: Self = Self {
        was_late: None,
        overdue: false,
        end: false,
        ask_again: Instant::MAX,
    };
}

/// A descriptor that drives outputs, and the output of each bit.
#[derive(Clone, Debug)]
pub struct SharedLines<'a> {
    /// The kernel's descriptor for the outputs of one chip.
    pub descriptor: BorrowedFd<'a>,
    /// The output of each bit, from bit 0.
    pub lines: Vec<Output>,
}

/// The digital outputs. Only the gate thread sets them; it must not wait here.
pub trait Outputs: Send {
    /// Sets `output`. Does nothing if the output is not wired. Takes no memory.
    ///
    /// # Errors
    /// When the device is gone.
    fn set(&mut self, output: Output, on: bool) -> Result<(), DeviceError>;

    /// Sets `output`, which another process switches off at `until` if there is such a process.
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

    /// Sets several outputs, those of one chip at the same moment if the device can. Takes no memory.
    /// If one fails, the others are set all the same.
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

    /// Reads every output back and returns one whose level is not as it was set, for example after a
    /// reset of an expander. None if all levels are right, or if the device cannot be read back. Takes
    /// no memory.
    ///
    /// # Errors
    /// When the device is gone.
    fn differs(&mut self) -> Result<Option<Output>, DeviceError> {
        Ok(None)
    }

    /// Reports to the process that sets the outputs that the gate is alive.
    ///
    /// # Errors
    /// When no process sets the outputs any more.
    fn alive(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }

    /// What the process that sets the outputs has acknowledged by `now`. To be called whenever the gate
    /// runs; takes no memory.
    ///
    /// # Errors
    /// When no process sets the outputs any more.
    fn holding(&mut self, now: Instant) -> Result<Holding, DeviceError> {
        let _ = now;
        Ok(Holding::OWN)
    }

    /// The process that sets the outputs keeps this alarm in case this process ends.
    ///
    /// # Errors
    /// When no process sets the outputs any more.
    fn remember(&mut self, alarm: LatchedAlarm) -> Result<(), DeviceError> {
        let _ = alarm;
        Ok(())
    }

    /// The descriptors by which another process can switch these outputs off ([`SafeOutputs`]). Empty
    /// if there are none.
    fn shared(&self) -> Vec<SharedLines<'_>> {
        Vec::new()
    }
}
