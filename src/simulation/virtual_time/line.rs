//! The simulated lines: drawn from all that `config check` accepts, with a belt, parts and a camera
//! that are as the configuration states.

mod drawn;

use super::draws::Draws;
use crate::line::controller::{ControllerSettings, LOOK};
use crate::line::gate::Ejector;
use crate::line::lease::LeaseSettings;
use drawn::{Drawn, Values};

pub(super) const MS: u64 = 1_000_000;
pub(super) const US: u64 = 1_000;
/// Full speed of a belt: its place grows by this much in [`FULL`] nanoseconds.
pub(super) const FULL: u64 = 1024;

/// What triggers a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trigger {
    /// A sensor at the belt.
    Sensor,
    /// The encoder: parts are in nests.
    Encoder,
    /// A PLC, over the control socket.
    Socket,
    /// The clock.
    Timer,
}

/// Pieces that can be left out of a line to make a failing one easier to read.
pub const PIECES: [&str; 9] = [
    "alarm",
    "confirm",
    "quadrature",
    "occupied",
    "level",
    "free_running",
    "speed",
    "count_min",
    "handshake",
];

/// A simulated line: its configuration, and what it really is.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// The configuration, as a person would write it.
    pub(super) text: String,
    pub(super) settings: ControllerSettings,
    pub(super) lease: LeaseSettings,
    pub(super) alive_every: u64,
    pub(super) restart: u64,
    /// Time between two reads of the trigger's level, ns; 0: never.
    pub(super) level_every: u64,
    pub(super) trigger: Trigger,
    pub(super) counts_gate: bool,
    pub(super) counts_pulse: bool,
    pub(super) ejector: Ejector,
    /// The belt stops while READY is off.
    pub(super) stops: bool,
    /// An encoder is present and is used.
    pub(super) encoder: bool,
    pub(super) quadrature: bool,
    /// Belt distance from count to count.
    pub(super) count: u64,
    /// Slowest speed of the belt, in units of 1 / [`FULL`].
    pub(super) slowest: u64,
    /// Smallest belt distance between two parts, without faults.
    pub(super) pitch: u64,
    /// Length of a part on the belt.
    pub(super) length: u64,
    /// Belt distance from the sensor to the place where a part reaches the ejector.
    pub(super) way: u64,
    /// Belt distance between two nests, for triggers by the encoder.
    pub(super) nest: u64,
    /// How soon the belt follows READY, ns.
    pub(super) reaction: u64,
    /// Time from frame to frame, ns; 0: exposes at every trigger.
    pub(super) frame_every: u64,
    pub(super) exposure_min: u64,
    pub(super) exposure_max: u64,
    pub(super) delivery: u64,
    pub(super) late_output: u64,
    /// No two frames are alike, and the program knows it.
    pub(super) never_alike: bool,
    /// Shortest time of inspection, ns; it takes up to twice that.
    pub(super) inspection: u64,
    /// Longest pulse, as a belt distance.
    pub(super) pulse: u64,
}

impl Line {
    /// A line from `seed`, without the pieces in `left_out`. Draws until `config check` accepts
    /// one; None if it never does, which a test excludes.
    pub(super) fn draw(seed: u64, left_out: &[&str]) -> Option<Self> {
        (0..200).find_map(|attempt| Self::attempt(Draws::new(seed), attempt * 1000, left_out))
    }

    fn attempt(draws: Draws, base: u64, left_out: &[&str]) -> Option<Self> {
        Drawn::draw(Values {
            draws,
            number: base,
            left_out,
        })
        .into_line()
    }

    /// How far beyond its window a part can still be seen, as a belt distance.
    pub(super) const fn blur(&self) -> u64 {
        self.pitch / 20
    }

    /// Whether no stamp that the program can accept gives a part the frame of another, if that frame
    /// `waited` for the program. If it waited for longer than the program can overlook, the program
    /// knows when it may have arrived.
    pub(super) const fn stamps_are_safe(&self, waited: u64) -> bool {
        let overlooked = LOOK.0 + self.late_output + MS;
        let unknown = if waited > overlooked { 0 } else { waited };
        let window = self.exposure_max - self.exposure_min;
        window + self.delivery + unknown + self.blur() + 2 * self.count < self.pitch
    }

    /// A class of lines in reports.
    pub(super) fn class(&self) -> usize {
        usize::from(self.counts_gate)
            | usize::from(self.counts_pulse) << 1
            | usize::from(self.ejector == Ejector::Reject) << 2
    }
}

/// Classes of lines.
pub(super) const CLASSES: usize = 8;

/// Name of a class in reports.
pub(super) fn class_name(class: usize) -> String {
    let unit = |bit: usize| if class & bit != 0 { "counts" } else { "time" };
    let wired = if class & 4 != 0 { "reject" } else { "pass" };
    format!(
        "gate by {}, pulse by {}, wired to {wired}",
        unit(1),
        unit(2)
    )
}
