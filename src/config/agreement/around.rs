//! What watches the parts besides gate and camera: the sensor's occupancy and level, the encoder,
//! the confirmation behind the gate, the handshake with a PLC, the challenge, the supervisor.

use super::{line_setting, needed, useless};
use crate::config::document::Setting;
use crate::config::problem::Problems;
use crate::config::sections::ConfirmKind;
use crate::config::settings::{Settings, SpanSettings, TriggerName};

pub(super) fn check(settings: &Settings, problems: &mut Problems) {
    occupancy(settings, problems);
    level(settings, problems);
    encoder(settings, problems);
    confirm(settings, problems);
    handshake(settings, problems);
    challenge(settings, problems);
    late(settings, problems);
}

fn wired(settings: &Settings, name: &str) -> bool {
    line_setting(settings, name).is_some_and(Setting::given)
}

/// Notes that `span` is given twice, or not in the unit of the gate. False when it was.
fn in_the_gates_unit(
    settings: &Settings,
    section: &str,
    name: &str,
    span: &SpanSettings,
    problems: &mut Problems,
) -> bool {
    let (ms, counts) = (
        format!("{section}.{name}_ms"),
        format!("{section}.{name}_counts"),
    );
    let after = &settings.gate.after;
    match (span.ms.line, span.counts.line) {
        (Some(first), Some(second)) => problems.note(
            first.max(second),
            counts.clone(),
            format!(
                "given twice: {ms} is on line {first}, {counts} on line {second}; keep the one in the unit of the gate"
            ),
        ),
        (Some(line), None) if after.counts.given() && !after.ms.given() => problems.note(
            line,
            ms,
            format!("not in the unit of the gate: gate.after_counts is in counts; give {counts}"),
        ),
        (None, Some(line)) if after.ms.given() && !after.counts.given() => problems.note(
            line,
            counts,
            format!("not in the unit of the gate: gate.after_ms is in time; give {ms}"),
        ),
        _ => return true,
    }
    false
}

/// A part that covers the sensor for too long is found before its gate, and before the next one.
fn occupancy(settings: &Settings, problems: &mut Problems) {
    let trigger = &settings.trigger;
    let occupied = &trigger.occupied_max;
    if trigger.kind.value.is_some_and(|k| k != TriggerName::Gpio) {
        let gpio = "trigger.kind = \"gpio\"";
        useless(problems, "trigger.occupied_max_ms", &occupied.ms, gpio);
        let counts = &occupied.counts;
        useless(problems, "trigger.occupied_max_counts", counts, gpio);
        return;
    }
    if !in_the_gates_unit(settings, "trigger", "occupied_max", occupied, problems) {
        return;
    }
    let after = &settings.gate.after;
    if let (Some(ms), Some(line)) = (occupied.ms.value, occupied.ms.line) {
        let key = "trigger.occupied_max_ms";
        if let Some(pitch) = trigger.min_pitch_ms.value
            && ms >= pitch
        {
            let message = format!(
                "{ms} ms is not shorter than trigger.min_pitch_ms = {pitch} ms, so two parts that touch would look like one"
            );
            problems.note(line, key, message);
        } else if let Some(after) = after.ms.value
            && ms >= after
        {
            let message = format!(
                "{ms} ms is not shorter than gate.after_ms = {after} ms, so parts that touch would be found after they passed"
            );
            problems.note(line, key, message);
        }
    }
    if let (Some(counts), Some(line), Some(after)) = (
        occupied.counts.value,
        occupied.counts.line,
        after.counts.value,
    ) && counts >= after
    {
        let message = format!(
            "{counts} is not less than gate.after_counts = {after}, so parts that touch would be found after they passed"
        );
        problems.note(line, "trigger.occupied_max_counts", message);
    }
}

fn level(settings: &Settings, problems: &mut Problems) {
    let trigger = &settings.trigger;
    let level = &trigger.level_ms;
    if trigger.kind.value.is_some_and(|k| k != TriggerName::Gpio) {
        useless(
            problems,
            "trigger.level_ms",
            level,
            "trigger.kind = \"gpio\"",
        );
    } else if let (Some(ms), Some(line)) = (level.value, level.line) {
        let key = "trigger.level_ms";
        if ms > 0.0 && ms < 1.0 {
            let message = format!("{ms} ms is out of range; allowed: 0 (never), or 1 to 1000 ms");
            problems.note(line, key, message);
        } else if let Some(pitch) = trigger.min_pitch_ms.value
            && ms >= pitch
        {
            let message = format!(
                "{ms} ms is not shorter than trigger.min_pitch_ms = {pitch} ms, so a whole part would go by between two looks"
            );
            problems.note(line, key, message);
        }
    }
}

fn encoder(settings: &Settings, problems: &mut Problems) {
    let gate = &settings.gate;
    if !wired(settings, "encoder") {
        let encoder = "lines.encoder";
        useless(problems, "gate.count_min_us", &gate.count_min_us, encoder);
        if let Some(second) = line_setting(settings, "encoder_b") {
            useless(problems, "lines.encoder_b", second, encoder);
        }
    }
    let (least, silence) = (&gate.count_min_us, &gate.encoder_silence_ms);
    if let (Some(us), Some(line), Some(silence)) = (least.value, least.line, silence.value)
        && silence > 0.0
        && us as f64 >= silence * 1000.0
    {
        let message = format!(
            "{us} us is not shorter than gate.encoder_silence_ms = {silence} ms, so no belt would be both slow and fast enough"
        );
        problems.note(line, "gate.count_min_us", message);
    }
}

fn confirm(settings: &Settings, problems: &mut Problems) {
    let confirm = &settings.confirm;
    let Some(wire) = line_setting(settings, "confirm") else {
        return;
    };
    let Some(line) = confirm.line else {
        if let Some(line) = wire.line {
            let message = "has an effect only with a section [confirm], which says what an edge of it means; give one with kind and tolerance, or remove it";
            problems.note(line, "lines.confirm", message);
        }
        return;
    };
    needed(problems, "lines.confirm", wire, line, "[confirm]");
    needed(problems, "confirm.kind", &confirm.kind, line, "[confirm]");
    let tolerance = &confirm.tolerance;
    if !in_the_gates_unit(settings, "confirm", "tolerance", tolerance, problems) {
        return;
    }
    let counts = settings.gate.after.counts.given();
    if !tolerance.ms.given() && !tolerance.counts.given() {
        let (key, unit) = if counts {
            ("confirm.tolerance_counts", "counts")
        } else {
            ("confirm.tolerance_ms", "ms")
        };
        let message = format!("missing; [confirm] needs it, in the unit of the gate: {unit}");
        problems.note(line, key, message);
    }
    if confirm.kind.value != Some(ConfirmKind::Part) {
        return;
    }
    let two = "so one edge could confirm two parts";
    if let (Some(ms), Some(line), Some(pitch)) = (
        tolerance.ms.value,
        tolerance.ms.line,
        settings.trigger.min_pitch_ms.value,
    ) && 2.0 * ms >= pitch
    {
        let message =
            format!("{ms} ms is not shorter than half of trigger.min_pitch_ms = {pitch} ms, {two}");
        problems.note(line, "confirm.tolerance_ms", message);
    }
    if let (Some(counts), Some(line), Some(every)) = (
        tolerance.counts.value,
        tolerance.counts.line,
        settings.trigger.every_counts.value,
    ) && 2 * counts >= every
    {
        let message =
            format!("{counts} is not less than half of trigger.every_counts = {every}, {two}");
        problems.note(line, "confirm.tolerance_counts", message);
    }
}

/// A pulse that meets the next one is none.
fn handshake(settings: &Settings, problems: &mut Problems) {
    let handshake = &settings.handshake;
    for (output, key, setting) in [
        ("trigger_ack", "handshake.ack_ms", &handshake.ack_ms),
        ("result_valid", "handshake.valid_ms", &handshake.valid_ms),
    ] {
        if !wired(settings, output) {
            useless(problems, key, setting, &format!("lines.{output}"));
        } else if let (Some(ms), Some(pitch)) = (setting.value, settings.trigger.min_pitch_ms.value)
            && ms >= pitch
        {
            let line = setting.line.or(settings.trigger.min_pitch_ms.line);
            let message = format!(
                "{ms} ms is not shorter than trigger.min_pitch_ms = {pitch} ms: the pulses of two parts would be one"
            );
            problems.note(line.unwrap_or(1), key, message);
        }
    }
}

fn challenge(settings: &Settings, problems: &mut Problems) {
    let challenge = &settings.challenge;
    if let Some(line) = challenge.line {
        let every = &challenge.every_hours;
        needed(
            problems,
            "challenge.every_hours",
            every,
            line,
            "[challenge]",
        );
    }
}

fn late(settings: &Settings, problems: &mut Problems) {
    let (late, lease) = (&settings.supervisor.late_ms, &settings.supervisor.lease_ms);
    if let (Some(late_ms), Some(lease_ms)) = (late.value, lease.value)
        && late_ms >= lease_ms
    {
        let line = late.line.or(lease.line).unwrap_or(1);
        let message = format!(
            "{late_ms} ms is not shorter than supervisor.lease_ms = {lease_ms} ms: lateness must be noticed before the lines fall for silence"
        );
        problems.note(line, "supervisor.late_ms", message);
    }
}
