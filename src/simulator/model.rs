//! The lines that are simulated: how the gate is measured, how the ejector is wired.

use crate::line::controller::ControllerSettings;
use crate::line::gate::{AlarmSettings, Counts, Ejector, Nanos, Settings, Span};
use crate::line::pairing::PairingSettings;

pub(super) const MS: u64 = 1_000_000;
/// Nominal way from sensor to ejector, nanoseconds of a moving belt.
pub(super) const GATE: u64 = 400 * MS;
/// How long the ejector acts.
pub(super) const PULSE: u64 = 40 * MS;
/// Parts are at least this far apart.
pub(super) const PITCH: u64 = 100 * MS;
/// The encoder's step.
pub(super) const COUNT: u64 = 5 * MS;
/// How fast the belt answers READY.
pub(super) const REACTION: u64 = 15 * MS;

/// One way to build a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineModel {
    /// The gate is measured in encoder counts.
    pub gate_by_counts: bool,
    /// The pulse is measured in encoder counts.
    pub pulse_by_counts: bool,
    /// How the ejector is wired.
    pub ejector: Ejector,
    /// The belt stands while READY is off.
    pub stops: bool,
}

impl LineModel {
    /// All four combinations of units, with both wirings; a line wired to reject has to stop when
    /// READY falls, a line wired to pass may or may not.
    pub const ALL: [LineModel; 12] = {
        let mut all = [LineModel {
            gate_by_counts: false,
            pulse_by_counts: false,
            ejector: Ejector::Pass,
            stops: false,
        }; 12];
        let mut at = 0;
        while at < 12 {
            all[at].gate_by_counts = at & 1 != 0;
            all[at].pulse_by_counts = at & 2 != 0;
            if at >= 4 {
                all[at].stops = true;
            }
            if at >= 8 {
                all[at].ejector = Ejector::Reject;
            }
            at += 1;
        }
        all
    };

    /// Name in reports.
    pub fn name(self) -> String {
        let unit = |counts| if counts { "counts" } else { "time" };
        let ejector = match self.ejector {
            Ejector::Pass => "pass",
            Ejector::Reject => "reject",
        };
        let stops = if self.stops { "stops" } else { "runs on" };
        format!(
            "gate by {}, pulse by {}, wired to {ejector}, {stops}",
            unit(self.gate_by_counts),
            unit(self.pulse_by_counts)
        )
    }

    pub(super) fn settings(self) -> ControllerSettings {
        let span = |counts: bool, length: u64| {
            if counts {
                Span::Counts(Counts(length / COUNT))
            } else {
                Span::Time(Nanos(length))
            }
        };
        ControllerSettings {
            gate: Settings {
                gate: span(self.gate_by_counts, GATE),
                pulse: span(self.pulse_by_counts, PULSE),
                min_off: span(self.gate_by_counts, 10 * MS),
                ejector: self.ejector,
                bounce: Nanos(MS),
                min_pitch: Nanos(PITCH * 9 / 10),
                late_output: Nanos(4 * MS),
                capacity: 32,
                max_waiting: 6,
                heartbeat: Nanos(100 * MS),
                spin_up: Nanos(2 * REACTION),
                encoder_silence: Nanos(3 * COUNT),
                occupied_max: None,
                count_min: Nanos(0),
                confirm: None,
                ack: Nanos(0),
                valid: Nanos(0),
                fault_hold: Nanos(100 * MS),
                alarm: AlarmSettings {
                    consecutive: 0,
                    rejects: 0,
                    window: 0,
                    stop_line: false,
                },
            },
            pairing: PairingSettings {
                exposure_min: Nanos(MS),
                exposure_max: Nanos(20 * MS),
                delivery: Nanos(40 * MS),
            },
            judging: Nanos(300 * MS),
            every_counts: None,
        }
    }
}
