//! The simulated lines: drawn from all that `config check` accepts, with a belt, parts and a camera
//! that are as the configuration states.

use super::draws::Draws;
use crate::config::LineConfig;
use crate::line::controller::{ControllerSettings, LOOK};
use crate::line::gate::Ejector;
use crate::line::lease::LeaseSettings;
use crate::station::controller_settings;
use crate::time::Duration;
use std::fmt::Write;
use std::path::Path;

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

fn ms(ns: u64) -> String {
    format!("{:.6}", ns as f64 / 1e6)
}

impl Line {
    /// A line from `seed`, without the pieces in `left_out`. Draws until `config check` accepts
    /// one; None if it never does, which a test excludes.
    pub(super) fn draw(seed: u64, left_out: &[&str]) -> Option<Self> {
        (0..200).find_map(|attempt| Self::attempt(Draws::new(seed), attempt * 1000, left_out))
    }

    fn attempt(draws: Draws, base: u64, left_out: &[&str]) -> Option<Self> {
        const PURPOSE: u64 = 0x6c69_6e65;
        let mut next = base;
        // Every value has its own number, so that one more value does not change the others.
        let mut between = |low: u64, high: u64| {
            next += 1;
            draws.between(PURPOSE, next, low, high)
        };
        let has = |piece: &str| !left_out.contains(&piece);
        let trigger = match between(0, 100) {
            0..60 => Trigger::Sensor,
            60..76 => Trigger::Encoder,
            76..88 => Trigger::Socket,
            _ => Trigger::Timer,
        };
        let counts_gate = between(0, 100) < 50;
        let counts_pulse = between(0, 100) < 40;
        let encoder = counts_gate || counts_pulse || trigger == Trigger::Encoder;
        let quadrature = between(0, 100) < 30 && encoder && has("quadrature");
        let ejector = if between(0, 100) < 60 {
            Ejector::Pass
        } else {
            Ejector::Reject
        };
        let stops = between(0, 100) < 60 || ejector == Ejector::Reject;
        let pitch = between(40, 300) * MS;
        // The belt's speed varies only if places come from the encoder alone.
        let varies = counts_gate && between(0, 100) < 60 && has("speed");
        let slowest = if varies {
            between(FULL * 6 / 10, FULL)
        } else {
            FULL
        };
        let count = (pitch / between(9, 26)).max(MS / 2) / US * US;
        let length = pitch * between(15, 60) / 100;
        let reaction = between(2, 40) * MS;
        let free = between(0, 100) < 35 && has("free_running");
        let frame_every = if free || trigger == Trigger::Encoder {
            pitch * between(12, 40) / 100
        } else {
            0
        };
        let exposure_min = between(0, 6) * MS;
        let window = if frame_every > 0 {
            frame_every + between(1, 4) * MS
        } else {
            between(8, 25) * MS
        };
        let exposure_max = exposure_min + window.min(pitch * 8 / 10);
        // Usually short enough that no wrong stamp can give a part the frame of another.
        let room = pitch * 9 / 10 - (exposure_max - exposure_min);
        let delivery = if between(0, 100) < 85 {
            (room * 9 / 10).clamp(3 * MS, 60 * MS)
        } else {
            between(20, 80) * MS
        };
        let inspection = between(3, 26).min(pitch / MS * 6 / 10) * MS;
        let after = exposure_max + delivery + inspection * between(2, 6) + between(5, 900) * MS;
        // Long enough in spite of the encoder's step and the slowest belt.
        let shortest = if encoder { 6 * count } else { 0 };
        let pulse = (pitch * between(15, 55) / 100).max(shortest);
        let nest = pitch / count * count + count * between(1, 8);
        let min_pitch = pitch * between(80, 97) / 100;
        let max_waiting = between(2, 9);
        let lease = between(40, 400) * MS;
        let late = between(5, 60).min(lease / MS / 2).max(5) * MS;
        let spin_up = 2 * reaction;
        let count_min = (encoder && between(0, 100) < 80 && has("count_min"))
            .then(|| count * between(55, 85) / 100);
        let silence = if between(0, 100) < 85 {
            count * FULL / slowest * between(16, 50) / 10
        } else {
            0
        };
        let occupied = (trigger == Trigger::Sensor && between(0, 100) < 60 && has("occupied"))
            .then(|| length * FULL / slowest * between(12, 16) / 10);
        let level = if trigger == Trigger::Sensor && between(0, 100) < 80 && has("level") {
            between(1, 12).min(length / MS / 3).max(1) * MS
        } else {
            0
        };
        let never_alike = between(0, 100) < 60;
        let alarm = between(0, 100) < 40 && has("alarm");
        let consecutive = between(3, 40);
        let stop_line = between(0, 100) < 70;
        let confirm = between(0, 100);
        let confirms = has("confirm") && confirm < 20;
        let handshake = between(0, 100) < 40 && has("handshake");
        let late_output = between(3, 12) * MS;
        let inference_timeout = between(60, 600) * MS + 4 * inspection;
        let restart = between(20, 500) * MS;
        let capacity = (after / min_pitch + between(3, 30)).min(255);

        let mut text = String::new();
        let t = &mut text;
        let _ = writeln!(
            t,
            "product = \"p.pgp\"\nboard = \"generic-x86\"\n[camera]\nsource = \"rendered\""
        );
        if frame_every > 0 {
            let fps = 1e9 / frame_every as f64;
            let _ = writeln!(t, "fps = {fps:.4}\ntimeout_ms = 60000");
        } else if trigger != Trigger::Encoder {
            let _ = writeln!(t, "on_trigger = true");
        }
        let _ = writeln!(t, "[trigger]\nmin_pitch_ms = {}", ms(min_pitch));
        let _ = match trigger {
            Trigger::Sensor => writeln!(
                t,
                "kind = \"gpio\"\ndebounce_us = 0\nlevel_ms = {}",
                ms(level)
            ),
            Trigger::Encoder => writeln!(t, "kind = \"encoder\"\nevery_counts = {}", nest / count),
            Trigger::Socket => writeln!(t, "kind = \"socket\""),
            Trigger::Timer => writeln!(t, "kind = \"timer\"\nevery_ms = {}", ms(pitch)),
        };
        if let Some(longest) = occupied {
            let _ = if counts_gate {
                writeln!(t, "occupied_max_counts = {}", length * 13 / 10 / count + 2)
            } else {
                writeln!(t, "occupied_max_ms = {}", ms(longest))
            };
        }
        let _ = writeln!(
            t,
            "[capture]\nexposure_min_ms = {}\nexposure_max_ms = {}\ndelivery_ms = {}\n[gate]",
            ms(exposure_min),
            ms(exposure_max),
            ms(delivery)
        );
        let (after_counts, pulse_counts) = (after / count, (pulse / count).max(3));
        let _ = if counts_gate {
            writeln!(
                t,
                "after_counts = {after_counts}\nencoder_silence_ms = {}\nmin_off_counts = 1",
                ms(silence)
            )
        } else {
            writeln!(
                t,
                "after_ms = {}\nspin_up_ms = {}\nmin_off_ms = 2",
                ms(after),
                ms(spin_up)
            )
        };
        let _ = if counts_pulse {
            writeln!(t, "pulse_counts = {pulse_counts}")
        } else {
            writeln!(t, "pulse_ms = {}", ms(pulse))
        };
        if let Some(least) = count_min {
            let _ = writeln!(t, "count_min_us = {}", least / US);
        }
        let wired = match ejector {
            Ejector::Pass => "pass",
            Ejector::Reject => "reject",
        };
        let _ = writeln!(
            t,
            "ejector = \"{wired}\"\nlate_output_ms = {}\ncapacity = {capacity}\nheartbeat_ms = 100\nfault_hold_ms = 100",
            ms(late_output)
        );
        if alarm {
            let _ = writeln!(
                t,
                "[alarm]\nconsecutive_rejects = {consecutive}\nstop_line = {stop_line}"
            );
        } else {
            let _ = writeln!(t, "[alarm]\nconsecutive_rejects = 0\nstop_line = false");
        }
        let _ = writeln!(
            t,
            "[inference]\ntimeout_ms = {}\nmax_waiting = {max_waiting}\n[supervisor]\nlease_ms = {}\nlate_ms = {}\nrestart_ms = {}",
            ms(inference_timeout),
            ms(lease),
            ms(late),
            ms(restart)
        );
        if confirms {
            let kind = if confirm % 2 == 0 { "part" } else { "reject" };
            let _ = if counts_gate {
                writeln!(
                    t,
                    "[confirm]\nkind = \"{kind}\"\ntolerance_counts = {}",
                    (pulse_counts + 2).max(3)
                )
            } else {
                writeln!(
                    t,
                    "[confirm]\nkind = \"{kind}\"\ntolerance_ms = {}",
                    ms(pulse + 3 * MS)
                )
            };
        }
        if handshake {
            let _ = writeln!(t, "[handshake]\nack_ms = 5\nvalid_ms = 8");
        }
        let _ = writeln!(
            t,
            "[record]\nfolder = \"record\"\n[control]\nsocket = \"c.sock\"\n[lines]"
        );
        for name in [
            "ready",
            "pass",
            "reject",
            "fault",
            "heartbeat",
            "ok",
            "busy",
        ] {
            let _ = writeln!(t, "{name} = \"line {name}\"");
        }
        for (name, there) in [
            ("trigger", trigger == Trigger::Sensor),
            ("encoder", encoder),
            ("encoder_b", quadrature),
            ("index", trigger == Trigger::Encoder),
            ("confirm", confirms),
            ("trigger_ack", handshake),
            ("result_valid", handshake),
        ] {
            if there {
                let _ = writeln!(t, "{name} = \"line {name}\"");
            }
        }
        let _ = writeln!(t, "[plant]\noutputs = \"o\"\ninputs = \"i\"");

        let config = LineConfig::parse(&text, Path::new("simulated.toml")).ok()?;
        let settings = controller_settings(&config);
        settings
            .gate
            .check(crate::line::controller::MAX_PARTS)
            .ok()?;
        let reckoned = |counts: bool, length: u64| {
            if counts {
                length / count * count
            } else {
                length
            }
        };
        let acts = if counts_pulse {
            pulse_counts * count
        } else {
            pulse
        };
        Some(Self {
            lease: LeaseSettings {
                lease: config.supervisor.lease.into(),
                late: config.supervisor.late.into(),
                start: Duration::from_millis(5_000),
                look: Duration::from_millis(50),
            },
            alive_every: Duration::from(config.supervisor.lease).0 / 4,
            restart,
            level_every: level,
            trigger,
            counts_gate,
            counts_pulse,
            ejector,
            stops,
            encoder,
            quadrature,
            count,
            slowest,
            pitch,
            length,
            way: reckoned(counts_gate, after) + acts * 4 / 10,
            nest: nest / count * count,
            reaction,
            frame_every,
            exposure_min,
            exposure_max,
            delivery,
            late_output,
            never_alike,
            inspection,
            pulse: acts,
            settings,
            text,
        })
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
