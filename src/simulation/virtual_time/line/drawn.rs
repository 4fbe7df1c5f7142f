//! The values of a line as they are drawn, and the configuration that they make.

use super::{FULL, Line, MS, Trigger, US};
use crate::config::LineConfig;
use crate::line::gate::Ejector;
use crate::line::lease::LeaseSettings;
use crate::simulation::virtual_time::draws::Draws;
use crate::station::controller_settings;
use crate::time::Duration;
use std::fmt::Write;
use std::path::Path;

fn ms(ns: u64) -> String {
    format!("{:.6}", ns as f64 / 1e6)
}

/// Draws the values of one line. Every value has its own number, so that one more value does not
/// change the others. Their order is therefore part of what a seed means.
pub(super) struct Values<'a> {
    pub(super) draws: Draws,
    pub(super) number: u64,
    pub(super) left_out: &'a [&'a str],
}

impl Values<'_> {
    /// Uniform in `low..high`.
    fn between(&mut self, low: u64, high: u64) -> u64 {
        const PURPOSE: u64 = 0x6c69_6e65;
        self.number += 1;
        self.draws.between(PURPOSE, self.number, low, high)
    }

    /// True in `share` of a hundred lines.
    fn percent(&mut self, share: u64) -> bool {
        self.between(0, 100) < share
    }

    fn has(&self, piece: &str) -> bool {
        !self.left_out.contains(&piece)
    }
}

/// What is wired, and whether time or counts tell where a part is.
struct Wiring {
    trigger: Trigger,
    counts_gate: bool,
    counts_pulse: bool,
    encoder: bool,
    quadrature: bool,
    ejector: Ejector,
    stops: bool,
}

impl Wiring {
    fn draw(values: &mut Values<'_>) -> Self {
        let trigger = match values.between(0, 100) {
            0..60 => Trigger::Sensor,
            60..76 => Trigger::Encoder,
            76..88 => Trigger::Socket,
            _ => Trigger::Timer,
        };
        let counts_gate = values.percent(50);
        let counts_pulse = values.percent(40);
        let encoder = counts_gate || counts_pulse || trigger == Trigger::Encoder;
        let quadrature = values.percent(30) && encoder && values.has("quadrature");
        let ejector = if values.percent(60) {
            Ejector::Pass
        } else {
            Ejector::Reject
        };
        let stops = values.percent(60) || ejector == Ejector::Reject;
        Self {
            trigger,
            counts_gate,
            counts_pulse,
            encoder,
            quadrature,
            ejector,
            stops,
        }
    }
}

/// The parts on the belt, and how the belt moves; units as in [`Line`].
struct Transport {
    pitch: u64,
    slowest: u64,
    count: u64,
    length: u64,
    reaction: u64,
}

impl Transport {
    fn draw(values: &mut Values<'_>, wiring: &Wiring) -> Self {
        let pitch = values.between(40, 300) * MS;
        // The belt's speed varies only if places come from the encoder alone.
        let varies = wiring.counts_gate && values.percent(60) && values.has("speed");
        let slowest = if varies {
            values.between(FULL * 6 / 10, FULL)
        } else {
            FULL
        };
        let count = (pitch / values.between(9, 26)).max(MS / 2) / US * US;
        let length = pitch * values.between(15, 60) / 100;
        let reaction = values.between(2, 40) * MS;
        Self {
            pitch,
            slowest,
            count,
            length,
            reaction,
        }
    }

    /// The longest time in which the belt moves by `distance`, ns.
    fn slowest_time(&self, distance: u64) -> u64 {
        distance * FULL / self.slowest
    }
}

/// From a part's exposure to its verdict, ns.
struct Seeing {
    frame_every: u64,
    exposure_min: u64,
    exposure_max: u64,
    delivery: u64,
    inspection: u64,
}

impl Seeing {
    fn draw(values: &mut Values<'_>, wiring: &Wiring, pitch: u64) -> Self {
        let free = values.percent(35) && values.has("free_running");
        let frame_every = if free || wiring.trigger == Trigger::Encoder {
            pitch * values.between(12, 40) / 100
        } else {
            0
        };
        let exposure_min = values.between(0, 6) * MS;
        let window = if frame_every > 0 {
            frame_every + values.between(1, 4) * MS
        } else {
            values.between(8, 25) * MS
        };
        let exposure_max = exposure_min + window.min(pitch * 8 / 10);
        // Usually short enough that no wrong stamp can give a part the frame of another.
        let room = pitch * 9 / 10 - (exposure_max - exposure_min);
        let delivery = if values.percent(85) {
            (room * 9 / 10).clamp(3 * MS, 60 * MS)
        } else {
            values.between(20, 80) * MS
        };
        let inspection = values.between(3, 26).min(pitch / MS * 6 / 10) * MS;
        Self {
            frame_every,
            exposure_min,
            exposure_max,
            delivery,
            inspection,
        }
    }
}

/// From a part's trigger to the ejector: times in ns, or belt distances.
struct Ejection {
    /// From the trigger to the part's gate.
    after: u64,
    pulse: u64,
    nest: u64,
    min_pitch: u64,
    max_waiting: u64,
}

impl Ejection {
    fn draw(
        values: &mut Values<'_>,
        wiring: &Wiring,
        transport: &Transport,
        seeing: &Seeing,
    ) -> Self {
        let (pitch, count) = (transport.pitch, transport.count);
        let after = seeing.exposure_max
            + seeing.delivery
            + seeing.inspection * values.between(2, 6)
            + values.between(5, 900) * MS;
        // Long enough in spite of the encoder's step and the slowest belt.
        let shortest = if wiring.encoder { 6 * count } else { 0 };
        let pulse = (pitch * values.between(15, 55) / 100).max(shortest);
        let nest = pitch / count * count + count * values.between(1, 8);
        let min_pitch = pitch * values.between(80, 97) / 100;
        let max_waiting = values.between(2, 9);
        Self {
            after,
            pulse,
            nest,
            min_pitch,
            max_waiting,
        }
    }
}

/// The limits by which the program notices that something is wrong, ns.
struct Limits {
    lease: u64,
    late: u64,
    count_min: Option<u64>,
    silence: u64,
    /// Longest time for which a part covers the sensor.
    occupied: Option<u64>,
    level: u64,
}

impl Limits {
    fn draw(values: &mut Values<'_>, wiring: &Wiring, transport: &Transport) -> Self {
        let (count, length) = (transport.count, transport.length);
        let lease = values.between(40, 400) * MS;
        let late = values.between(5, 60).min(lease / MS / 2).max(5) * MS;
        let count_min = (wiring.encoder && values.percent(80) && values.has("count_min"))
            .then(|| count * values.between(55, 85) / 100);
        let silence = if values.percent(85) {
            transport.slowest_time(count) * values.between(16, 50) / 10
        } else {
            0
        };
        let sensor = wiring.trigger == Trigger::Sensor;
        let occupied = (sensor && values.percent(60) && values.has("occupied"))
            .then(|| transport.slowest_time(length) * values.between(12, 16) / 10);
        let level = if sensor && values.percent(80) && values.has("level") {
            values.between(1, 12).min(length / MS / 3).max(1) * MS
        } else {
            0
        };
        Self {
            lease,
            late,
            count_min,
            silence,
            occupied,
            level,
        }
    }
}

/// What a line can have besides; times in ns.
struct Extras {
    never_alike: bool,
    alarm: bool,
    /// Rejects in a row until the alarm.
    consecutive: u64,
    /// Whether an alarm stops the line.
    stop_line: bool,
    /// What a confirming sensor sees.
    confirm: Option<&'static str>,
    handshake: bool,
    late_output: u64,
    inference_timeout: u64,
    restart: u64,
    capacity: u64,
}

impl Extras {
    fn draw(values: &mut Values<'_>, inspection: u64, ejection: &Ejection) -> Self {
        let never_alike = values.percent(60);
        let alarm = values.percent(40) && values.has("alarm");
        let consecutive = values.between(3, 40);
        let stop_line = values.percent(70);
        let confirm = values.between(0, 100);
        let confirms = values.has("confirm") && confirm < 20;
        let kind = if confirm.is_multiple_of(2) {
            "part"
        } else {
            "reject"
        };
        let handshake = values.percent(40) && values.has("handshake");
        let late_output = values.between(3, 12) * MS;
        let inference_timeout = values.between(60, 600) * MS + 4 * inspection;
        let restart = values.between(20, 500) * MS;
        let capacity = (ejection.after / ejection.min_pitch + values.between(3, 30)).min(255);
        Self {
            never_alike,
            alarm,
            consecutive,
            stop_line,
            confirm: confirms.then_some(kind),
            handshake,
            late_output,
            inference_timeout,
            restart,
            capacity,
        }
    }
}

/// The values of a line that `config check` has not seen yet.
pub(super) struct Drawn {
    wiring: Wiring,
    transport: Transport,
    seeing: Seeing,
    ejection: Ejection,
    limits: Limits,
    extras: Extras,
}

impl Drawn {
    pub(super) fn draw(mut values: Values<'_>) -> Self {
        let values = &mut values;
        let wiring = Wiring::draw(values);
        let transport = Transport::draw(values, &wiring);
        let seeing = Seeing::draw(values, &wiring, transport.pitch);
        let ejection = Ejection::draw(values, &wiring, &transport, &seeing);
        let limits = Limits::draw(values, &wiring, &transport);
        let extras = Extras::draw(values, seeing.inspection, &ejection);
        Self {
            wiring,
            transport,
            seeing,
            ejection,
            limits,
            extras,
        }
    }

    fn pulse_counts(&self) -> u64 {
        (self.ejection.pulse / self.transport.count).max(3)
    }

    /// The configuration, as a person would write it.
    fn text(&self) -> String {
        let mut text = String::new();
        let t = &mut text;
        self.write_camera(t);
        self.write_trigger(t);
        self.write_gate(t);
        self.write_alarm(t);
        self.write_processes(t);
        self.write_confirm(t);
        if self.extras.handshake {
            let _ = writeln!(t, "[handshake]\nack_ms = 5\nvalid_ms = 8");
        }
        let _ = writeln!(
            t,
            "[record]\nfolder = \"record\"\n[control]\nsocket = \"c.sock\""
        );
        self.write_lines(t);
        let _ = writeln!(t, "[plant]\noutputs = \"o\"\ninputs = \"i\"");
        text
    }

    fn write_camera(&self, t: &mut String) {
        let _ = writeln!(
            t,
            "product = \"p.pgp\"\nboard = \"generic-x86\"\n[camera]\nsource = \"rendered\""
        );
        if self.seeing.frame_every > 0 {
            let fps = 1e9 / self.seeing.frame_every as f64;
            let _ = writeln!(t, "fps = {fps:.4}\ntimeout_ms = 60000");
        } else if self.wiring.trigger != Trigger::Encoder {
            let _ = writeln!(t, "on_trigger = true");
        }
    }

    fn write_trigger(&self, t: &mut String) {
        let Transport {
            pitch,
            count,
            length,
            ..
        } = self.transport;
        let _ = writeln!(
            t,
            "[trigger]\nmin_pitch_ms = {}",
            ms(self.ejection.min_pitch)
        );
        let _ = match self.wiring.trigger {
            Trigger::Sensor => writeln!(
                t,
                "kind = \"gpio\"\ndebounce_us = 0\nlevel_ms = {}",
                ms(self.limits.level)
            ),
            Trigger::Encoder => writeln!(
                t,
                "kind = \"encoder\"\nevery_counts = {}",
                self.ejection.nest / count
            ),
            Trigger::Socket => writeln!(t, "kind = \"socket\""),
            Trigger::Timer => writeln!(t, "kind = \"timer\"\nevery_ms = {}", ms(pitch)),
        };
        if let Some(longest) = self.limits.occupied {
            let _ = if self.wiring.counts_gate {
                writeln!(t, "occupied_max_counts = {}", length * 13 / 10 / count + 2)
            } else {
                writeln!(t, "occupied_max_ms = {}", ms(longest))
            };
        }
        let _ = writeln!(
            t,
            "[capture]\nexposure_min_ms = {}\nexposure_max_ms = {}\ndelivery_ms = {}",
            ms(self.seeing.exposure_min),
            ms(self.seeing.exposure_max),
            ms(self.seeing.delivery)
        );
    }

    fn write_gate(&self, t: &mut String) {
        let after = self.ejection.after;
        let _ = if self.wiring.counts_gate {
            writeln!(
                t,
                "[gate]\nafter_counts = {}\nencoder_silence_ms = {}\nmin_off_counts = 1",
                after / self.transport.count,
                ms(self.limits.silence)
            )
        } else {
            writeln!(
                t,
                "[gate]\nafter_ms = {}\nspin_up_ms = {}\nmin_off_ms = 2",
                ms(after),
                ms(2 * self.transport.reaction)
            )
        };
        let _ = if self.wiring.counts_pulse {
            writeln!(t, "pulse_counts = {}", self.pulse_counts())
        } else {
            writeln!(t, "pulse_ms = {}", ms(self.ejection.pulse))
        };
        if let Some(least) = self.limits.count_min {
            let _ = writeln!(t, "count_min_us = {}", least / US);
        }
        let wired = match self.wiring.ejector {
            Ejector::Pass => "pass",
            Ejector::Reject => "reject",
        };
        let _ = writeln!(
            t,
            "ejector = \"{wired}\"\nlate_output_ms = {}\ncapacity = {}\nheartbeat_ms = 100\nfault_hold_ms = 100",
            ms(self.extras.late_output),
            self.extras.capacity
        );
    }

    fn write_alarm(&self, t: &mut String) {
        let (consecutive, stop_line) = if self.extras.alarm {
            (self.extras.consecutive, self.extras.stop_line)
        } else {
            (0, false)
        };
        let _ = writeln!(
            t,
            "[alarm]\nconsecutive_rejects = {consecutive}\nstop_line = {stop_line}"
        );
    }

    fn write_processes(&self, t: &mut String) {
        let _ = writeln!(
            t,
            "[inference]\ntimeout_ms = {}\nmax_waiting = {}\n[supervisor]\nlease_ms = {}\nlate_ms = {}\nrestart_ms = {}",
            ms(self.extras.inference_timeout),
            self.ejection.max_waiting,
            ms(self.limits.lease),
            ms(self.limits.late),
            ms(self.extras.restart)
        );
    }

    fn write_confirm(&self, t: &mut String) {
        let Some(kind) = self.extras.confirm else {
            return;
        };
        let _ = if self.wiring.counts_gate {
            writeln!(
                t,
                "[confirm]\nkind = \"{kind}\"\ntolerance_counts = {}",
                (self.pulse_counts() + 2).max(3)
            )
        } else {
            writeln!(
                t,
                "[confirm]\nkind = \"{kind}\"\ntolerance_ms = {}",
                ms(self.ejection.pulse + 3 * MS)
            )
        };
    }

    fn write_lines(&self, t: &mut String) {
        let _ = writeln!(t, "[lines]");
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
        let (wiring, extras) = (&self.wiring, &self.extras);
        for (name, there) in [
            ("trigger", wiring.trigger == Trigger::Sensor),
            ("encoder", wiring.encoder),
            ("encoder_b", wiring.quadrature),
            ("index", wiring.trigger == Trigger::Encoder),
            ("confirm", extras.confirm.is_some()),
            ("trigger_ack", extras.handshake),
            ("result_valid", extras.handshake),
        ] {
            if there {
                let _ = writeln!(t, "{name} = \"line {name}\"");
            }
        }
    }

    /// The line, if `config check` accepts it.
    pub(super) fn into_line(self) -> Option<Line> {
        let text = self.text();
        let config = LineConfig::parse(&text, Path::new("simulated.toml")).ok()?;
        let settings = controller_settings(&config);
        settings
            .gate
            .check(crate::line::controller::MAX_PARTS)
            .ok()?;
        let pulse_counts = self.pulse_counts();
        let Self {
            wiring,
            transport,
            seeing,
            ejection,
            limits,
            extras,
        } = self;
        let count = transport.count;
        let whole_counts = |distance: u64| distance / count * count;
        let after = if wiring.counts_gate {
            whole_counts(ejection.after)
        } else {
            ejection.after
        };
        let pulse = if wiring.counts_pulse {
            pulse_counts * count
        } else {
            ejection.pulse
        };
        Some(Line {
            lease: LeaseSettings {
                lease: config.supervisor.lease.into(),
                late: config.supervisor.late.into(),
                start: Duration::from_millis(5_000),
                look: Duration::from_millis(50),
            },
            alive_every: Duration::from(config.supervisor.lease).0 / 4,
            restart: extras.restart,
            level_every: limits.level,
            trigger: wiring.trigger,
            counts_gate: wiring.counts_gate,
            counts_pulse: wiring.counts_pulse,
            ejector: wiring.ejector,
            stops: wiring.stops,
            encoder: wiring.encoder,
            quadrature: wiring.quadrature,
            count,
            slowest: transport.slowest,
            pitch: transport.pitch,
            length: transport.length,
            way: after + pulse * 4 / 10,
            nest: whole_counts(ejection.nest),
            reaction: transport.reaction,
            frame_every: seeing.frame_every,
            exposure_min: seeing.exposure_min,
            exposure_max: seeing.exposure_max,
            delivery: seeing.delivery,
            late_output: extras.late_output,
            never_alike: extras.never_alike,
            inspection: seeing.inspection,
            pulse,
            settings,
            text,
        })
    }
}
