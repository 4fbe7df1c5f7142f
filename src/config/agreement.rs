//! Whether the values of one file go together. Only values that are sound by themselves are
//! compared, so that one mistake is told once.

mod around;

use super::document::Setting;
use super::problem::Problems;
use super::sections::MAX_CAPACITY;
use super::settings::{CameraSettings, Settings, SourceName, SpanSettings, TriggerName};
use crate::line::gate::Ejector;

/// Notes every contradiction.
pub(super) fn check(settings: &Settings, problems: &mut Problems) {
    camera(&settings.camera, problems);
    trigger(settings, problems);
    capture(settings, problems);
    units(settings, problems);
    budget(settings, problems);
    capacity(settings, problems);
    wiring(settings, problems);
    alarm(settings, problems);
    plant(settings, problems);
    pulse(settings, problems);
    around::check(settings, problems);
}

/// Notes that a key which is in the file does nothing as the file stands.
fn useless<T>(problems: &mut Problems, key: &str, setting: &Setting<T>, only: &str) {
    if let Some(line) = setting.line {
        problems.note(
            line,
            key,
            format!("has an effect only with {only}; remove it or change that"),
        );
    }
}

/// Notes that a key is missing as the file stands; `line` is where that shows.
fn needed<T>(problems: &mut Problems, key: &str, setting: &Setting<T>, line: usize, why: &str) {
    if !setting.given() {
        problems.note(line, key, format!("missing; {why} needs it"));
    }
}

fn camera(camera: &CameraSettings, problems: &mut Problems) {
    let Some(source) = camera.source.value else {
        return;
    };
    let line = camera.source.line.unwrap_or(1);
    let v4l2 = "camera.source = \"v4l2\"";
    if source != SourceName::V4l2 {
        useless(problems, "camera.device", &camera.device, v4l2);
        useless(problems, "camera.width", &camera.width, v4l2);
        useless(problems, "camera.height", &camera.height, v4l2);
        useless(problems, "camera.format", &camera.format, v4l2);
        let identical = &camera.allow_identical;
        useless(problems, "camera.allow_identical", identical, v4l2);
        useless(
            problems,
            "camera.warmup_frames",
            &camera.warmup_frames,
            v4l2,
        );
        let every = &camera.controls_every_ms;
        useless(problems, "camera.controls_every_ms", every, v4l2);
        if let Some(line) = camera.controls_line {
            let message = format!("has an effect only with {v4l2}; remove it or change that");
            problems.note(line, "camera.controls", message);
        }
    }
    let folder = "camera.source = \"folder\" or \"recorded\"";
    if matches!(source, SourceName::Folder | SourceName::Recorded) {
        needed(problems, "camera.folder", &camera.folder, line, folder);
    } else {
        useless(problems, "camera.folder", &camera.folder, folder);
    }
    if source == SourceName::Recorded {
        let other = "a camera.source whose frames' times are not recorded";
        useless(problems, "camera.fps", &camera.fps, other);
        useless(problems, "camera.on_trigger", &camera.on_trigger, other);
    }
    if source != SourceName::Rendered {
        let rendered = "camera.source = \"rendered\"";
        useless(problems, "camera.seed", &camera.seed, rendered);
        let percent = &camera.defective_percent;
        useless(problems, "camera.defective_percent", percent, rendered);
    }
    let waits = camera.on_trigger.value == Some(true);
    if let (Some(timeout), Some(fps)) = (camera.timeout_ms.value, camera.fps.value)
        && !waits
        && source != SourceName::Recorded
        && timeout <= 1000.0 / fps
    {
        let line = camera.timeout_ms.line.or(camera.fps.line).unwrap_or(line);
        problems.note(
            line,
            "camera.timeout_ms",
            format!(
                "{timeout} ms is over before the next frame at {fps} frames a second is due; allowed: more than {:.1} ms",
                1000.0 / fps
            ),
        );
    }
}

fn trigger(settings: &Settings, problems: &mut Problems) {
    let trigger = &settings.trigger;
    let Some(kind) = trigger.kind.value else {
        return;
    };
    let line = trigger.kind.line.unwrap_or(1);
    let wired = line_setting(settings, "trigger");
    let gpio = "trigger.kind = \"gpio\"";
    if kind == TriggerName::Gpio {
        if let Some(wired) = wired {
            needed(problems, "lines.trigger", wired, line, gpio);
        }
    } else {
        useless(problems, "trigger.debounce_us", &trigger.debounce_us, gpio);
        if let Some(wired) = wired {
            useless(problems, "lines.trigger", wired, gpio);
        }
    }
    let timer = "trigger.kind = \"timer\"";
    if kind == TriggerName::Timer {
        needed(problems, "trigger.every_ms", &trigger.every_ms, line, timer);
        if settings.gate.after.counts.given() {
            let message = "\"timer\" with gate.after_counts: the clock makes parts while the belt stands as well, which never reach a gate in counts; use \"encoder\", or give gate.after_ms";
            problems.note(line, "trigger.kind", message);
        }
    } else {
        useless(problems, "trigger.every_ms", &trigger.every_ms, timer);
    }
    let camera = &settings.camera;
    if let (TriggerName::Encoder, Some(true), Some(SourceName::Folder | SourceName::Rendered)) =
        (kind, camera.on_trigger.value, camera.source.value)
    {
        // Who makes these sources expose sees edges, not which count begins a part.
        let line = camera.on_trigger.line.unwrap_or(line);
        let message = "with trigger.kind = \"encoder\" no part would have a frame: folder and rendered sources expose at edges, the timer and the socket; leave it out (frames come at camera.fps then), or change trigger.kind";
        problems.note(line, "camera.on_trigger", message);
    }
    let encoder = "trigger.kind = \"encoder\"";
    let counts = &trigger.every_counts;
    if kind == TriggerName::Encoder {
        needed(problems, "trigger.every_counts", counts, line, encoder);
    } else {
        useless(problems, "trigger.every_counts", counts, encoder);
        if let Some(index) = line_setting(settings, "index") {
            useless(problems, "lines.index", index, encoder);
        }
    }
    if kind == TriggerName::Socket {
        let socket = "trigger.kind = \"socket\"";
        needed(problems, "control.socket", &settings.control, line, socket);
    }
    let Some(pitch) = trigger.min_pitch_ms.value else {
        return;
    };
    if let (Some(every), Some(line)) = (trigger.every_ms.value, trigger.every_ms.line)
        && every < pitch
    {
        let message = format!(
            "{every} ms is shorter than trigger.min_pitch_ms = {pitch} ms, so every part would be rejected as a double trigger"
        );
        problems.note(line, "trigger.every_ms", message);
    }
    for (key, setting) in [
        ("trigger.bounce_us", &trigger.bounce_us),
        ("trigger.debounce_us", &trigger.debounce_us),
    ] {
        if let Some(time) = setting.value
            && time as f64 >= pitch * 1000.0
        {
            let line = setting.line.or(trigger.min_pitch_ms.line).unwrap_or(line);
            let message = format!(
                "{time} us is not shorter than trigger.min_pitch_ms = {pitch} ms, so the next part would be lost"
            );
            problems.note(line, key, message);
        }
    }
}

fn capture(settings: &Settings, problems: &mut Problems) {
    let capture = &settings.capture;
    let (Some(earliest), Some(latest)) =
        (capture.exposure_min_ms.value, capture.exposure_max_ms.value)
    else {
        return;
    };
    let line = capture.exposure_max_ms.line.unwrap_or(1);
    if latest < earliest {
        let message = format!("{latest} ms is before capture.exposure_min_ms = {earliest} ms");
        problems.note(line, "capture.exposure_max_ms", message);
    } else if let Some(pitch) = settings.trigger.min_pitch_ms.value
        && latest - earliest >= pitch
    {
        let message = format!(
            "the window of {} ms from capture.exposure_min_ms is not shorter than trigger.min_pitch_ms = {pitch} ms, so one frame could belong to two parts",
            latest - earliest
        );
        problems.note(line, "capture.exposure_max_ms", message);
    }
}

/// One of two keys has to be there, not both.
fn one_of(problems: &mut Problems, line: usize, name: &str, span: &SpanSettings) {
    match (span.ms.line, span.counts.line) {
        (Some(ms), Some(counts)) => problems.note(
            ms.max(counts),
            format!("gate.{name}_counts"),
            format!("given twice: gate.{name}_ms is on line {ms}, gate.{name}_counts on line {counts}; keep one"),
        ),
        (None, None) => problems.note(
            line,
            format!("gate.{name}_ms"),
            format!("missing; give gate.{name}_ms, or gate.{name}_counts with an encoder"),
        ),
        _ => {}
    }
}

fn units(settings: &Settings, problems: &mut Problems) {
    let gate = &settings.gate;
    one_of(problems, gate.line, "after", &gate.after);
    one_of(problems, gate.line, "pulse", &gate.pulse);
    let encoder = line_setting(settings, "encoder").is_some_and(Setting::given);
    for (key, setting) in [
        ("gate.after_counts", &gate.after.counts),
        ("gate.pulse_counts", &gate.pulse.counts),
        ("trigger.every_counts", &settings.trigger.every_counts),
    ] {
        if let (Some(line), false) = (setting.line, encoder) {
            problems.note(line, key, "counts need an encoder: give lines.encoder");
        }
    }
    if gate.after.ms.given() && gate.after.counts.given() {
        // Told above; which one was meant is not known.
    } else if gate.after.counts.given() {
        let silence = &gate.encoder_silence_ms;
        let line = gate.after.counts.line.unwrap_or(gate.line);
        let why = "gate.after_counts (an encoder that dies and comes back leaves every part in another's place; 0 is never, for a belt that stands still now and then and an encoder that is trusted)";
        needed(problems, "gate.encoder_silence_ms", silence, line, why);
        useless(
            problems,
            "gate.spin_up_ms",
            &gate.spin_up_ms,
            "gate.after_ms",
        );
    } else {
        let counts = "gate.after_counts";
        let silence = &gate.encoder_silence_ms;
        useless(problems, "gate.encoder_silence_ms", silence, counts);
    }
    let off = &gate.min_off;
    if let (Some(ms), Some(counts)) = (off.ms.line, off.counts.line) {
        let message = format!(
            "given twice: gate.min_off_ms is on line {ms}, gate.min_off_counts on line {counts}; keep one"
        );
        problems.note(ms.max(counts), "gate.min_off_counts", message);
        return;
    }
    if gate.after.ms.given() && gate.after.counts.given() {
        return;
    }
    let same = "not in the unit of the gate";
    if let (Some(line), true) = (off.ms.line, gate.after.counts.given()) {
        problems.note(
            line,
            "gate.min_off_ms",
            format!("{same}: gate.after_counts is in counts; give gate.min_off_counts"),
        );
    }
    if let (Some(line), true) = (off.counts.line, gate.after.ms.given()) {
        problems.note(
            line,
            "gate.min_off_counts",
            format!("{same}: gate.after_ms is in time; give gate.min_off_ms"),
        );
    }
    let longer = "is not shorter than the way from trigger to gate";
    if let (Some(ms), Some(after), Some(line)) = (off.ms.value, gate.after.ms.value, off.ms.line)
        && ms >= after
    {
        let message = format!("{ms} ms {longer}, gate.after_ms = {after} ms");
        problems.note(line, "gate.min_off_ms", message);
    }
    if let (Some(counts), Some(after), Some(line)) =
        (off.counts.value, gate.after.counts.value, off.counts.line)
        && counts >= after
    {
        let message = format!("{counts} counts {longer}, gate.after_counts = {after}");
        problems.note(line, "gate.min_off_counts", message);
    }
}

/// Whether a frame can be there before the gate at all.
fn budget(settings: &Settings, problems: &mut Problems) {
    let (gate, capture) = (&settings.gate, &settings.capture);
    let Some(after) = gate.after.ms.value else {
        return;
    };
    let line = gate.after.ms.line.unwrap_or(1);
    if let (Some(latest), Some(delivery)) =
        (capture.exposure_max_ms.value, capture.delivery_ms.value)
        && latest + delivery >= after
    {
        problems.note(
            line,
            "gate.after_ms",
            format!(
                "{after} ms leaves no time for judging: a frame may come {} ms after the trigger (capture.exposure_max_ms + capture.delivery_ms); allowed: more than that",
                latest + delivery
            ),
        );
    }
    if let Some(late) = gate.late_output_ms.value
        && late >= after
    {
        let line = gate.late_output_ms.line.unwrap_or(line);
        let message = format!("{late} ms is not shorter than gate.after_ms = {after} ms");
        problems.note(line, "gate.late_output_ms", message);
    }
}

/// Whether every part on its way has a place.
fn capacity(settings: &Settings, problems: &mut Problems) {
    let gate = &settings.gate;
    let Some(capacity) = gate.capacity.value else {
        return;
    };
    let line = gate.capacity.line.unwrap_or(gate.line);
    let parts = match (gate.after.ms.value, settings.trigger.min_pitch_ms.value) {
        (Some(after), Some(pitch)) if gate.after.ms.given() => Some((after / pitch).floor() + 1.0),
        _ => match (gate.after.counts.value, settings.trigger.every_counts.value) {
            (Some(after), Some(every)) => Some((after / every) as f64 + 1.0),
            _ => None,
        },
    };
    // READY promises that one more could be tracked, so that one place is never taken.
    if let Some(parts) = parts.map_or(Some(1.0), Some)
        && parts + 1.0 > capacity as f64
    {
        let least = parts + 1.0;
        let cure = if least > MAX_CAPACITY as f64 {
            format!(
                "more than {MAX_CAPACITY} cannot be tracked: the sensor must be nearer to the ejector, or parts further apart"
            )
        } else {
            format!("allowed: {least} to {MAX_CAPACITY} parts")
        };
        problems.note(
            line,
            "gate.capacity",
            format!("{capacity} parts are too few: {parts} fit between sensor and ejector at the closest pitch, and one place is kept free; {cure}"),
        );
    }
    if let Some(waiting) = settings.inference.max_waiting.value
        && waiting > capacity
    {
        let line = settings.inference.max_waiting.line.unwrap_or(line);
        let message = format!(
            "{waiting} parts are more than can be on their way, gate.capacity = {capacity}; allowed: 1 to {capacity}"
        );
        problems.note(line, "inference.max_waiting", message);
    }
}

fn line_setting<'a>(settings: &'a Settings, name: &str) -> Option<&'a Setting<String>> {
    let mut wired = settings.lines.wired.iter();
    wired.find(|(known, _)| *known == name).map(|(_, s)| s)
}

/// Whether the ejector is wired as the file says it works.
fn wiring(settings: &Settings, problems: &mut Problems) {
    let Some(ejector) = settings.gate.ejector.value else {
        return;
    };
    let line = settings.gate.ejector.line.unwrap_or(1);
    let (why, names): (_, &[&str]) = match ejector {
        Ejector::Pass => ("gate.ejector = \"pass\"", &["pass"]),
        Ejector::Reject => (
            "gate.ejector = \"reject\" (the line must stop when nobody is in charge)",
            &["reject", "ready"],
        ),
    };
    for name in names {
        if let Some(setting) = line_setting(settings, name) {
            needed(problems, &format!("lines.{name}"), setting, line, why);
        }
    }
}

fn alarm(settings: &Settings, problems: &mut Problems) {
    let alarm = &settings.alarm;
    let acknowledged = settings.control.given()
        || line_setting(settings, "acknowledge").is_some_and(Setting::given);
    let alarms = alarm.consecutive_rejects.value != Some(0)
        || alarm.rate_percent.given()
        || alarm.restarts_per_hour.value != Some(0)
        || settings.confirm.line.is_some()
        || settings.challenge.line.is_some();
    if alarm.stop_line.value == Some(true) && alarms && !acknowledged {
        let line = alarm
            .stop_line
            .line
            .or(alarm.consecutive_rejects.line)
            .unwrap_or(1);
        problems.note(
            line,
            "alarm.stop_line",
            "true, but nobody could start the line again: give control.socket or lines.acknowledge, or set it to false",
        );
    }
}

fn plant(settings: &Settings, problems: &mut Problems) {
    let plant = &settings.plant;
    let Some(line) = plant.line else {
        return;
    };
    let why = "[plant]";
    needed(problems, "plant.outputs", &plant.outputs, line, why);
    needed(problems, "plant.inputs", &plant.inputs, line, why);
    if let (Some(outputs), Some(inputs)) = (&plant.outputs.value, &plant.inputs.value)
        && outputs == inputs
    {
        let message = format!("{inputs:?} is plant.outputs already; each needs its own path");
        problems.note(plant.inputs.line.unwrap_or(line), "plant.inputs", message);
    }
}

/// A pulse that reaches the next part rejects it, and so on until there is a gap.
fn pulse(settings: &Settings, problems: &mut Problems) {
    let pulse = &settings.gate.pulse;
    let pitch = settings.trigger.min_pitch_ms.value;
    let reaches = "the pulse for one part would reach the next one";
    if let (Some(ms), Some(pitch), Some(line)) = (pulse.ms.value, pitch, pulse.ms.line)
        && ms >= pitch
    {
        let message =
            format!("{ms} ms is not shorter than trigger.min_pitch_ms = {pitch} ms: {reaches}");
        problems.note(line, "gate.pulse_ms", message);
    }
    let every = settings.trigger.every_counts.value;
    if let (Some(counts), Some(every), Some(line)) = (pulse.counts.value, every, pulse.counts.line)
        && counts >= every
    {
        let message =
            format!("{counts} is not less than trigger.every_counts = {every}: {reaches}");
        problems.note(line, "gate.pulse_counts", message);
    }
    counted_pass(settings, problems);
}

/// PASS in counts lasts as long as the belt takes for them, and a sensor says nothing of how many
/// counts there are from part to part.
fn counted_pass(settings: &Settings, problems: &mut Problems) {
    let gate = &settings.gate;
    let sensor = settings.trigger.kind.value != Some(TriggerName::Encoder);
    let (Some(counts), Some(line), Some(pitch), Some(Ejector::Pass), true) = (
        gate.pulse.counts.value,
        gate.pulse.counts.line,
        settings.trigger.min_pitch_ms.value,
        gate.ejector.value,
        sensor && !gate.pulse.ms.given(),
    ) else {
        return;
    };
    let key = "gate.pulse_counts";
    let fastest = gate.count_min_us.value.map(|us| us as f64 / 1000.0);
    if let Some(shortest) = fastest.map(|ms| ms * counts as f64)
        && shortest >= 0.75 * pitch
    {
        let least = gate.count_min_us.value.unwrap_or_default();
        let message = format!(
            "{counts} counts take {shortest} ms on the fastest belt (gate.count_min_us = {least}), which is not less than three quarters of trigger.min_pitch_ms = {pitch} ms: PASS would be on when the next part is there"
        );
        problems.note(line, key, message);
        return;
    }
    let slowest = slowest_count(gate.encoder_silence_ms.value, pitch);
    if fastest.is_none() && counts as f64 * slowest >= pitch {
        let message = format!(
            "nothing says how long {counts} counts take, so PASS could be on when the next part is there, trigger.min_pitch_ms = {pitch} ms later; give gate.count_min_us (the fastest belt), or a gate.encoder_silence_ms below {:.3} with gate.after_counts (the slowest), or gate.pulse_ms instead, or trigger.kind = \"encoder\"",
            pitch / counts as f64
        );
        problems.note(line, key, message);
    }
}

/// The longest time between two counts while PASS is on, ms: the gate takes PASS away when it sees no
/// count for a quarter of the pitch, and throws out everything after `silence` where that is set.
pub(super) fn slowest_count(silence: Option<f64>, pitch: f64) -> f64 {
    let silence = silence.filter(|ms| *ms > 0.0).unwrap_or(f64::INFINITY);
    silence.min(pitch / 4.0)
}
