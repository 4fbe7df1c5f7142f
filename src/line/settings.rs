//! The line's sections of the configuration: triggers, frames, the ejector.
//! [`controller_settings`](crate::station::controller_settings) makes the gate's settings from them.

use super::controller::MAX_PARTS;
use super::gate::{ConfirmKind, Ejector};
use crate::settings::kind::{Kind, decimal, flag, ms, ms_or_never, us, whole, word};
use crate::settings::section;
use crate::time::{Counts, Span};
use std::time::Duration;

/// Milliseconds, ten minutes: no line waits longer.
const LONGEST: f64 = 600_000.0;

/// The most parts over which the gate takes the rate of rejects.
const LARGEST_WINDOW: u64 = 256;

fn counts(least: u64) -> Kind<Counts> {
    whole(least..=100_000_000, "counts").map(Counts)
}

const TRIGGERS: &[(&str, TriggerKind)] = &[
    ("gpio", TriggerKind::Gpio),
    ("socket", TriggerKind::Socket),
    ("timer", TriggerKind::Timer),
    ("encoder", TriggerKind::Encoder),
];

/// Where triggers come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TriggerKind {
    /// Edges on the input `lines.trigger`.
    Gpio,
    /// Commands on the control socket.
    Socket,
    /// The clock.
    Timer,
    /// Counts of the encoder.
    Encoder,
}

section! {
    /// `[trigger]`: what makes a part.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Trigger, read as TriggerRead in "trigger" {
        /// Where triggers come from.
        kind: TriggerKind = "kind", word(TRIGGERS), required;
        /// For a digital input: shorter pulses are ignored; 0 switches the kernel's debouncing off.
        debounce: Duration = "debounce_us", us(0..=1_000_000), default 200;
        /// A second trigger within this time is a bounce of the same part.
        bounce: Duration = "bounce_us", us(0..=1_000_000), default 1000;
        /// Two parts are never closer than this.
        min_pitch: Duration = "min_pitch_ms", ms(0.1..=LONGEST), required;
        /// Time from part to part; only and always if the clock triggers.
        every: Duration = "every_ms", ms(1.0..=LONGEST), optional "none";
        /// Counts from part to part; only and always if the encoder triggers.
        every_counts: Counts = "every_counts", counts(1), optional "none";
        /// See [`Trigger::occupied_max`].
        occupied_time: Duration = "occupied_max_ms", ms(1.0..=LONGEST), optional "none";
        /// See [`Trigger::occupied_max`].
        occupied_counts: Counts = "occupied_max_counts", counts(1), optional "none";
        /// How often the level of the trigger input is read, to find a part whose edge was lost. See
        /// [`Trigger::level_every`].
        level: Duration = "level_ms", ms_or_never(0.0..=1000.0), default 5;
    }
}

impl Trigger {
    /// The longest that one part covers the sensor, in the gate's unit. Longer means parts that touch,
    /// which are all rejected. None: not watched.
    pub fn occupied_max(&self) -> Option<Span> {
        span(self.occupied_time, self.occupied_counts)
    }

    /// How often the level of the trigger input is read. None: never, or there is no such input.
    pub fn level_every(&self) -> Option<Duration> {
        (self.kind == TriggerKind::Gpio && !self.level.is_zero()).then_some(self.level)
    }
}

section! {
    /// `[capture]`: which frame belongs to which part: the first one exposed between `exposure_min` and
    /// `exposure_max` after the trigger.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Capture, read as CaptureRead in "capture" {
        /// Earliest exposure after the trigger; the capture delay if the camera runs freely.
        exposure_min: Duration = "exposure_min_ms", ms(0.0..=LONGEST), default 0;
        /// Latest exposure after the trigger.
        exposure_max: Duration = "exposure_max_ms", ms(0.0..=LONGEST), required;
        /// The longest time from a frame's exposure until it arrives here.
        delivery: Duration = "delivery_ms", ms(0.0..=LONGEST), required;
    }
}

impl Capture {
    /// The latest time after the trigger at which the part's frame can arrive.
    pub fn latest(&self) -> Duration {
        self.exposure_max + self.delivery
    }
}

const EJECTORS: &[(&str, Ejector)] = &[("pass", Ejector::Pass), ("reject", Ejector::Reject)];

section! {
    /// `[gate]`: when the ejector acts. Of the two keys for one distance, in time and in counts, at
    /// most one is given; the methods return the one that counts.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Gate, read as GateRead in "gate" {
        /// See [`Gate::after`].
        after_time: Duration = "after_ms", ms(1.0..=LONGEST), optional "none";
        /// See [`Gate::after`].
        after_counts: Counts = "after_counts", counts(1), optional "none";
        /// See [`Gate::pulse`].
        pulse_time: Duration = "pulse_ms", ms(1.0..=LONGEST), optional "none";
        /// See [`Gate::pulse`].
        pulse_counts: Counts = "pulse_counts", counts(1), optional "none";
        /// See [`Gate::min_off`].
        min_off_time: Duration = "min_off_ms", ms(0.0..=LONGEST), optional "none";
        /// See [`Gate::min_off`].
        min_off_counts: Counts = "min_off_counts", counts(0), optional "none";
        /// How the ejector is wired.
        ejector: Ejector = "ejector", word(EJECTORS), required;
        /// An output that is set this much later than it was due is a fault.
        late_output: Duration = "late_output_ms", ms(0.1..=1000.0), default 5;
        /// The most parts between sensor and ejector.
        capacity: usize = "capacity", whole(1..=MAX_PARTS as u64, "parts"), default 64;
        /// Half a period of HEARTBEAT.
        heartbeat: Duration = "heartbeat_ms", ms(10.0..=10_000.0), default 250;
        /// FAULT stays on for at least this long, so that a PLC sees it.
        fault_hold: Duration = "fault_hold_ms", ms(0.0..=60_000.0), default 200;
        /// Only if the gate is by the clock: how long a stopped belt needs to reach full speed.
        spin_up: Duration = "spin_up_ms", ms(0.0..=LONGEST), default 0;
        /// Only if the gate is by the encoder: after this long without a count everything on the belt
        /// is rejected; 0: never.
        encoder_silence: Duration = "encoder_silence_ms", ms_or_never(0.0..=LONGEST), optional "none";
        /// Two counts of the encoder are never closer than this.
        count_min: Duration = "count_min_us", us(1..=1_000_000), optional "not watched";
    }
}

impl Gate {
    /// Distance from trigger to ejector.
    pub fn after(&self) -> Span {
        span(self.after_time, self.after_counts).unwrap_or(self.nothing())
    }

    /// How long the ejector acts.
    pub fn pulse(&self) -> Span {
        span(self.pulse_time, self.pulse_counts).unwrap_or(self.nothing())
    }

    /// The rest of the ejector between two pulses, in the unit of [`Gate::after`].
    pub fn min_off(&self) -> Span {
        span(self.min_off_time, self.min_off_counts).unwrap_or(self.nothing())
    }

    /// The distance 0, in the unit of the gate.
    fn nothing(&self) -> Span {
        match self.after_counts {
            Some(_) => Span::Counts(Counts(0)),
            None => time(Duration::ZERO),
        }
    }
}

fn time(time: Duration) -> Span {
    Span::Time(time.into())
}

/// The distance in the unit in which it is given.
fn span(ms: Option<Duration>, counts: Option<Counts>) -> Option<Span> {
    ms.map(time).or(counts.map(Span::Counts))
}

const CONFIRMATIONS: &[(&str, ConfirmKind)] =
    &[("part", ConfirmKind::Part), ("reject", ConfirmKind::Reject)];

section! {
    /// `[confirm]`: a sensor behind the gate that confirms what the ejector did.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Confirm, read as ConfirmRead in "confirm" {
        /// What an edge of the sensor means.
        kind: ConfirmKind = "kind", word(CONFIRMATIONS), demanded "none";
        /// See [`Confirm::tolerance`].
        tolerance_time: Duration = "tolerance_ms", ms(1.0..=LONGEST), optional "none";
        /// See [`Confirm::tolerance`].
        tolerance_counts: Counts = "tolerance_counts", counts(1), optional "none";
    }
}

impl Confirm {
    /// How far from its expected place an edge may be, in the unit of the gate.
    pub fn tolerance(&self) -> Span {
        let given = span(self.tolerance_time, self.tolerance_counts);
        given.unwrap_or(time(Duration::ZERO))
    }
}

section! {
    /// `[handshake]`: pulses by which a PLC assigns verdicts to parts.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Handshake, read as HandshakeRead in "handshake" {
        /// Length of TRIGGER-ACK.
        ack: Duration = "ack_ms", ms(1.0..=10_000.0), default 10;
        /// Length of RESULT-VALID.
        valid: Duration = "valid_ms", ms(1.0..=10_000.0), default 10;
    }
}

section! {
    /// `[alarm]`: when there are too many rejects.
    #[derive(Clone, Copy, Debug, PartialEq)]
    pub struct Alarm, read as AlarmRead in "alarm" {
        /// Rejects in a row that raise the alarm; 0: never.
        consecutive_rejects: u32 =
            "consecutive_rejects", whole(0..=1_000_000, "parts, 0 is never"), default 10;
        /// Share of the last `rate_window` parts, 0 to 100; None: never.
        rate_percent: f64 = "rate_percent", decimal(0.1..=100.0, "%"), optional "never";
        /// Parts over which this share is taken.
        rate_window: usize = "rate_window", whole(1..=LARGEST_WINDOW, "parts"), default 100;
        /// Restarts of the vision process within an hour above which the alarm is raised; 0: never.
        restarts_per_hour: u32 =
            "restarts_per_hour", whole(0..=1000, "restarts per hour, 0 is never"), default 10;
        /// READY stays off until a person acknowledges.
        stop_line: bool = "stop_line", flag(), default true;
    }
}

impl Alarm {
    /// Rejects among the last [`Alarm::rate_window`] parts that raise the alarm: the share rounded up,
    /// at least 1. None: never.
    pub fn rate_rejects(&self) -> Option<usize> {
        let share = self.rate_percent? / 100.0 * self.rate_window as f64;
        // A share of 30 % of 100 is 30, whatever the rounding of the product is.
        Some(((share - 1e-9).ceil() as usize).clamp(1, self.rate_window))
    }
}
