//! Checks of what watches the parts besides gate and camera: the sensor's occupancy and level, the
//! encoder, the confirmation behind the gate, the handshake with a PLC, the challenge, the
//! supervisor.

use super::{in_the_gates_unit, needed, not_less, not_shorter, of_pitch, useless};
use crate::config::sections::Settings;
use crate::config::{ConfirmKind, TriggerKind};
use crate::line::devices::Input;
use crate::line::gate::Output;
use crate::settings::Problems;
use crate::settings::kind::in_ms;
use std::time::Duration;

const ONE_OF_GATE: &str = "the one in the unit of the gate";

pub(super) fn check(settings: &Settings, problems: &mut Problems) {
    occupancy(settings, problems);
    level(settings, problems);
    encoder(settings, problems);
    confirm(settings, problems);
    handshake(settings, problems);
    challenge(settings, problems);
    late(settings, problems);
}

/// A part that covers the sensor for too long must be found before its gate and before the next
/// part.
fn occupancy(settings: &Settings, problems: &mut Problems) {
    let (trigger, gate) = (&settings.trigger, &settings.gate);
    let (ms, counts) = (&trigger.occupied_time, &trigger.occupied_counts);
    if trigger.kind.value.is_some_and(|k| k != TriggerKind::Gpio) {
        let gpio = "trigger.kind = \"gpio\"";
        useless(problems, ms, gpio);
        useless(problems, counts, gpio);
        return;
    }
    if !in_the_gates_unit(settings, ms, counts, ONE_OF_GATE, problems) {
        return;
    }
    let one = ", so two parts that touch would look like one";
    let late = ", so parts that touch would be found after they passed";
    if !not_shorter(ms, &trigger.min_pitch, one, problems) {
        not_shorter(ms, &gate.after_time, late, problems);
    }
    not_less(counts, &gate.after_counts, late, problems);
}

fn level(settings: &Settings, problems: &mut Problems) {
    let trigger = &settings.trigger;
    let level = &trigger.level;
    if trigger.kind.value.is_some_and(|k| k != TriggerKind::Gpio) {
        useless(problems, level, "trigger.kind = \"gpio\"");
    } else if let (Some(time), Some(line)) = (level.value, level.line) {
        if !time.is_zero() && time < Duration::from_millis(1) {
            let message = format!(
                "{} ms is out of range; allowed: 0 (never), or 1 to 1000 ms",
                in_ms(time)
            );
            problems.note(line, &level.key, message);
        } else {
            let whole = ", so a whole part could pass between two readings";
            not_shorter(level, &trigger.min_pitch, whole, problems);
        }
    }
}

fn encoder(settings: &Settings, problems: &mut Problems) {
    let (gate, lines) = (&settings.gate, &settings.lines);
    let least = &gate.count_min;
    if !lines.input(Input::Encoder).given() {
        useless(problems, least, "lines.encoder");
        useless(problems, lines.input(Input::EncoderB), "lines.encoder");
    }
    if gate.encoder_silence.value != Some(Duration::ZERO) {
        let none = ", so no belt would be both slow and fast enough";
        not_shorter(least, &gate.encoder_silence, none, problems);
    }
}

fn confirm(settings: &Settings, problems: &mut Problems) {
    let confirm = &settings.confirm;
    let wire = settings.lines.input(Input::Confirm);
    if !confirm.here.given {
        if let Some(line) = wire.line {
            let message = "has an effect only with a section [confirm], which states what an edge of it means; give one with kind and tolerance, or remove it";
            problems.note(line, &wire.key, message);
        }
        return;
    }
    let line = confirm.here.line;
    needed(problems, wire, line, "[confirm]");
    needed(problems, &confirm.kind, line, "[confirm]");
    let (ms, counts) = (&confirm.tolerance_time, &confirm.tolerance_counts);
    if !in_the_gates_unit(settings, ms, counts, ONE_OF_GATE, problems) {
        return;
    }
    if !ms.given() && !counts.given() {
        let (key, unit) = match settings.gate.after_counts.given() {
            true => (&counts.key, "counts"),
            false => (&ms.key, "ms"),
        };
        let message = format!("missing; [confirm] needs it, in the unit of the gate: {unit}");
        problems.note(line, key, message);
    }
    if confirm.kind.value != Some(ConfirmKind::Part) {
        return;
    }
    let two = "so one edge could confirm two parts";
    if let (Some(time), Some(line), Some(pitch)) =
        (ms.value, ms.line, settings.trigger.min_pitch.value)
        && 2 * time >= pitch
    {
        let message = format!(
            "{} ms is not shorter than half of {}, {two}",
            in_ms(time),
            of_pitch(pitch)
        );
        problems.note(line, &ms.key, message);
    }
    if let (Some(length), Some(line), Some(every)) = (
        counts.value,
        counts.line,
        settings.trigger.every_counts.value,
    ) && 2 * length.0 >= every.0
    {
        let message = format!(
            "{} is not less than half of trigger.every_counts = {}, {two}",
            length.0, every.0
        );
        problems.note(line, &counts.key, message);
    }
}

/// Two pulses that touch are one pulse.
fn handshake(settings: &Settings, problems: &mut Problems) {
    let (handshake, pitch) = (&settings.handshake, &settings.trigger.min_pitch);
    for (output, setting) in [
        (Output::TriggerAck, &handshake.ack),
        (Output::ResultValid, &handshake.valid),
    ] {
        let wire = settings.lines.output(output);
        if wire.given() {
            let one = ": the pulses of two parts would be one";
            not_shorter(setting, pitch, one, problems);
        } else {
            useless(problems, setting, &wire.key);
        }
    }
}

fn challenge(settings: &Settings, problems: &mut Problems) {
    let challenge = &settings.challenge;
    if challenge.here.given {
        needed(
            problems,
            &challenge.every,
            challenge.here.line,
            "[challenge]",
        );
    }
}

fn late(settings: &Settings, problems: &mut Problems) {
    let supervisor = &settings.supervisor;
    let why = ": lateness must be noticed before the outputs are switched off for silence";
    not_shorter(&supervisor.late, &supervisor.lease, why, problems);
}
