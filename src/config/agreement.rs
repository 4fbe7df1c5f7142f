//! Checks whether the values of one file agree. Only values that are valid by themselves are
//! compared, so each mistake is reported once.

mod around;

use super::TriggerKind;
use super::recipe;
use super::sections::Settings;
use crate::capture::settings::{CameraRead, SourceName};
use crate::line::controller::MAX_PARTS;
use crate::line::devices::Input;
use crate::line::gate::{Ejector, Output};
use crate::network::Accelerator;
use crate::settings::kind::in_ms;
use crate::settings::{Problems, Setting};
use crate::time::Counts;
use std::time::Duration;

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
    accelerator(settings, problems);
    around::check(settings, problems);
    recipe::check(settings, problems);
}

/// Notes a key that is in the file but has no effect with the other values.
fn useless<T>(problems: &mut Problems, setting: &Setting<T>, only: &str) {
    if let Some(line) = setting.line {
        let message = format!("has an effect only with {only}; remove it or change that");
        problems.note(line, &setting.key, message);
    }
}

/// Notes a key that is missing because of another value; `line` is the line of that value.
fn needed<T>(problems: &mut Problems, setting: &Setting<T>, line: usize, why: &str) {
    if !setting.given() {
        problems.note(line, &setting.key, format!("missing; {why} needs it"));
    }
}

/// A time in the unit of its key.
fn in_its_unit(key: &str, time: Duration) -> String {
    match key.ends_with("_us") {
        true => format!("{} us", time.as_micros()),
        false => format!("{} ms", in_ms(time)),
    }
}

/// Notes that `time` is not shorter than `limit`. `why` states the consequence, with its leading
/// punctuation. True if it is noted.
fn not_shorter(
    time: &Setting<Duration>,
    limit: &Setting<Duration>,
    why: &str,
    problems: &mut Problems,
) -> bool {
    let (Some(value), Some(longest)) = (time.value, limit.value) else {
        return false;
    };
    if value >= longest {
        let (value, longest) = (
            in_its_unit(&time.key, value),
            in_its_unit(&limit.key, longest),
        );
        let message = format!("{value} is not shorter than {} = {longest}{why}", limit.key);
        let line = time.line.or(limit.line).unwrap_or(1);
        problems.note(line, &time.key, message);
        return true;
    }
    false
}

/// The same check for counts.
fn not_less(counts: &Setting<Counts>, limit: &Setting<Counts>, why: &str, problems: &mut Problems) {
    if let (Some(Counts(value)), Some(Counts(most)), Some(line)) =
        (counts.value, limit.value, counts.line)
        && value >= most
    {
        let message = format!("{value} is not less than {} = {most}{why}", limit.key);
        problems.note(line, &counts.key, message);
    }
}

fn camera(camera: &CameraRead, problems: &mut Problems) {
    let Some(source) = camera.source.value else {
        return;
    };
    let line = camera.source.line.unwrap_or(1);
    let timing = &camera.timing;
    if source != SourceName::V4l2 {
        let (v4l2, only) = (&camera.v4l2, "camera.source = \"v4l2\"");
        useless(problems, &v4l2.device, only);
        useless(problems, &v4l2.width, only);
        useless(problems, &v4l2.height, only);
        useless(problems, &v4l2.format, only);
        useless(problems, &v4l2.bits, only);
        useless(problems, &v4l2.allow_identical, only);
        useless(problems, &v4l2.warmup_frames, only);
        useless(problems, &v4l2.controls_every, only);
        if camera.controls_here.given {
            let message = format!("has an effect only with {only}; remove it or change that");
            problems.note(camera.controls_here.line, "camera.controls", message);
        }
    }
    let folder = "camera.source = \"folder\" or \"recorded\"";
    if matches!(source, SourceName::Folder | SourceName::Recorded) {
        needed(problems, &camera.folder, line, folder);
    } else {
        useless(problems, &camera.folder, folder);
    }
    if source == SourceName::Recorded {
        let other = "a camera.source whose frames' times are not recorded";
        useless(problems, &timing.fps, other);
        useless(problems, &timing.on_trigger, other);
    }
    if source != SourceName::Rendered {
        let rendered = "camera.source = \"rendered\"";
        useless(problems, &camera.rendered.seed, rendered);
        useless(problems, &camera.rendered.defective_percent, rendered);
    }
    let waits = timing.on_trigger.value == Some(true);
    if let (Some(timeout), Some(fps)) = (timing.timeout.value, timing.fps.value)
        && !waits
        && source != SourceName::Recorded
        && in_ms(timeout) <= 1000.0 / fps
    {
        let line = timing.timeout.line.or(timing.fps.line).unwrap_or(line);
        let message = format!(
            "{} ms is over before the next frame at {fps} frames per second is due; allowed: more than {:.1} ms",
            in_ms(timeout),
            1000.0 / fps
        );
        problems.note(line, &timing.timeout.key, message);
    }
}

fn accelerator(settings: &Settings, problems: &mut Problems) {
    let inference = &settings.inference;
    if inference.accelerator.value == Some(Accelerator::Cpu) {
        let only = "inference.accelerator = \"cuda\"";
        useless(problems, &inference.cpu_nodes, only);
    }
    if let (Some(Accelerator::Cuda), Some(true)) = (
        inference.accelerator.value,
        inference.require_integers.value,
    ) {
        let key = &inference.require_integers;
        let line = key.line.or(inference.accelerator.line).unwrap_or(1);
        let message = "true with inference.accelerator = \"cuda\": no network runs in integers there, so no product would be accepted; leave one of the two out";
        problems.note(line, &key.key, message);
    }
}

fn trigger(settings: &Settings, problems: &mut Problems) {
    let trigger = &settings.trigger;
    let Some(kind) = trigger.kind.value else {
        return;
    };
    let line = trigger.kind.line.unwrap_or(1);
    let wired = settings.lines.input(Input::Trigger);
    let gpio = "trigger.kind = \"gpio\"";
    if kind == TriggerKind::Gpio {
        needed(problems, wired, line, gpio);
    } else {
        useless(problems, &trigger.debounce, gpio);
        useless(problems, wired, gpio);
    }
    let timer = "trigger.kind = \"timer\"";
    if kind == TriggerKind::Timer {
        needed(problems, &trigger.every, line, timer);
        if settings.gate.after_counts.given() {
            let message = "\"timer\" with gate.after_counts: the clock makes parts while the belt stands as well, which never reach a gate in counts; use \"encoder\", or give gate.after_ms";
            problems.note(line, &trigger.kind.key, message);
        }
    } else {
        useless(problems, &trigger.every, timer);
    }
    let on_trigger = &settings.camera.timing.on_trigger;
    if let (TriggerKind::Encoder, Some(true), Some(SourceName::Folder | SourceName::Rendered)) =
        (kind, on_trigger.value, settings.camera.source.value)
    {
        // The code that makes these sources expose sees edges. It does not see at which count a
        // part begins.
        let line = on_trigger.line.unwrap_or(line);
        let message = "with trigger.kind = \"encoder\" no part would have a frame: folder and rendered sources expose at edges, the timer and the socket; leave it out (frames come at camera.fps then), or change trigger.kind";
        problems.note(line, &on_trigger.key, message);
    }
    let encoder = "trigger.kind = \"encoder\"";
    if kind == TriggerKind::Encoder {
        needed(problems, &trigger.every_counts, line, encoder);
    } else {
        useless(problems, &trigger.every_counts, encoder);
        useless(problems, settings.lines.input(Input::Index), encoder);
    }
    if kind == TriggerKind::Socket {
        let socket = "trigger.kind = \"socket\"";
        needed(problems, &settings.control.socket, line, socket);
    }
    let Some(pitch) = trigger.min_pitch.value else {
        return;
    };
    if let (Some(every), Some(line)) = (trigger.every.value, trigger.every.line)
        && every < pitch
    {
        let message = format!(
            "{} ms is shorter than {}, so every part would be rejected as a double trigger",
            in_ms(every),
            of_pitch(pitch)
        );
        problems.note(line, &trigger.every.key, message);
    }
    for setting in [&trigger.bounce, &trigger.debounce] {
        let lost = ", so the next part would be lost";
        not_shorter(setting, &trigger.min_pitch, lost, problems);
    }
}

fn of_pitch(pitch: Duration) -> String {
    format!("trigger.min_pitch_ms = {} ms", in_ms(pitch))
}

fn capture(settings: &Settings, problems: &mut Problems) {
    let capture = &settings.capture;
    let (Some(earliest), Some(latest)) = (capture.exposure_min.value, capture.exposure_max.value)
    else {
        return;
    };
    let mut note = |message: String| {
        let line = capture.exposure_max.line.unwrap_or(1);
        problems.note(line, &capture.exposure_max.key, message);
    };
    let Some(window) = latest.checked_sub(earliest) else {
        return note(format!(
            "{} ms is before capture.exposure_min_ms = {} ms",
            in_ms(latest),
            in_ms(earliest)
        ));
    };
    if let Some(pitch) = settings.trigger.min_pitch.value
        && window >= pitch
    {
        note(format!(
            "the window of {} ms from capture.exposure_min_ms is not shorter than {}, so one frame could belong to two parts",
            in_ms(window),
            of_pitch(pitch)
        ));
    }
}

/// Notes that a distance is given in both units; `keep` states which one to keep.
fn twice(
    ms: &Setting<Duration>,
    counts: &Setting<Counts>,
    keep: &str,
    problems: &mut Problems,
) -> bool {
    let (Some(first), Some(second)) = (ms.line, counts.line) else {
        return false;
    };
    let message = format!(
        "given twice: {} is on line {first}, {} on line {second}; keep {keep}",
        ms.key, counts.key
    );
    problems.note(first.max(second), &counts.key, message);
    true
}

/// Exactly one of the two keys must be given.
fn one_of(ms: &Setting<Duration>, counts: &Setting<Counts>, line: usize, problems: &mut Problems) {
    if !twice(ms, counts, "one", problems) && !ms.given() && !counts.given() {
        let message = format!(
            "missing; give {}, or {} with an encoder",
            ms.key, counts.key
        );
        problems.note(line, &ms.key, message);
    }
}

/// Notes that a distance is given twice, or not in the unit of the gate. False if it notes
/// something.
fn in_the_gates_unit(
    settings: &Settings,
    ms: &Setting<Duration>,
    counts: &Setting<Counts>,
    keep: &str,
    problems: &mut Problems,
) -> bool {
    if twice(ms, counts, keep, problems) {
        return false;
    }
    let gate = &settings.gate;
    let (wrong, right, why) = match (gate.after_time.given(), gate.after_counts.given()) {
        (false, true) => ((&ms.key, ms.line), &counts.key, "after_counts is in counts"),
        (true, false) => ((&counts.key, counts.line), &ms.key, "after_ms is in time"),
        // Reported elsewhere. It is not known which one was meant.
        _ => return true,
    };
    if let (key, Some(line)) = wrong {
        let message = format!("not in the unit of the gate: gate.{why}; give {right}");
        problems.note(line, key, message);
    }
    wrong.1.is_none()
}

fn units(settings: &Settings, problems: &mut Problems) {
    let gate = &settings.gate;
    let line = gate.here.line;
    one_of(&gate.after_time, &gate.after_counts, line, problems);
    one_of(&gate.pulse_time, &gate.pulse_counts, line, problems);
    let every = &settings.trigger.every_counts;
    for setting in [&gate.after_counts, &gate.pulse_counts, every] {
        if let (Some(line), false) = (setting.line, settings.lines.input(Input::Encoder).given()) {
            let message = "counts need an encoder: give lines.encoder";
            problems.note(line, &setting.key, message);
        }
    }
    let silence = &gate.encoder_silence;
    match (gate.after_time.given(), gate.after_counts.line) {
        // Reported above. It is not known which one was meant.
        (true, Some(_)) => {}
        (false, Some(line)) => {
            let why = "gate.after_counts (an encoder that dies and comes back leaves every part in another's place; 0 is never, for a belt that stands still now and then and an encoder that is trusted)";
            needed(problems, silence, line, why);
            useless(problems, &gate.spin_up, "gate.after_ms");
        }
        (_, None) => useless(problems, silence, "gate.after_counts"),
    }
    let (ms, counts) = (&gate.min_off_time, &gate.min_off_counts);
    if !in_the_gates_unit(settings, ms, counts, "one", problems) {
        return;
    }
    let way = ", the way from trigger to gate";
    not_shorter(ms, &gate.after_time, way, problems);
    not_less(counts, &gate.after_counts, way, problems);
}

/// Checks whether a frame can arrive before the gate.
fn budget(settings: &Settings, problems: &mut Problems) {
    let (gate, capture) = (&settings.gate, &settings.capture);
    let Some(after) = gate.after_time.value else {
        return;
    };
    let line = gate.after_time.line.unwrap_or(1);
    if let (Some(latest), Some(delivery)) = (capture.exposure_max.value, capture.delivery.value)
        && latest + delivery >= after
    {
        let message = format!(
            "{} ms leaves no time for inspection: a frame may come {} ms after the trigger (capture.exposure_max_ms + capture.delivery_ms); allowed: more than that",
            in_ms(after),
            in_ms(latest + delivery)
        );
        problems.note(line, &gate.after_time.key, message);
    }
    not_shorter(&gate.late_output, &gate.after_time, "", problems);
}

/// Checks whether every part between sensor and gate has a place.
fn capacity(settings: &Settings, problems: &mut Problems) {
    let (gate, trigger) = (&settings.gate, &settings.trigger);
    let Some(capacity) = gate.capacity.value else {
        return;
    };
    let line = gate.capacity.line.unwrap_or(gate.here.line);
    let by_time = gate.after_time.value.zip(trigger.min_pitch.value);
    let by_counts = gate.after_counts.value.zip(trigger.every_counts.value);
    let between = by_time
        .map(|(after, pitch)| after.as_nanos() / pitch.as_nanos().max(1))
        .or(by_counts.map(|(after, every)| u128::from(after.0 / every.0.max(1))));
    let parts = between.map_or(1, |parts| parts + 1);
    // READY promises that one more part can be tracked, so one place stays free.
    let least = parts + 1;
    if least > capacity as u128 {
        let cure = if least > MAX_PARTS as u128 {
            format!(
                "more than {MAX_PARTS} cannot be tracked: the sensor must be nearer to the ejector, or parts further apart"
            )
        } else {
            format!("allowed: {least} to {MAX_PARTS} parts")
        };
        let message = format!(
            "{capacity} parts are too few: {parts} fit between sensor and ejector at the closest pitch, and one place is kept free; {cure}"
        );
        problems.note(line, &gate.capacity.key, message);
    }
    let waiting = &settings.inference.max_waiting;
    if let Some(parts) = waiting.value
        && parts > capacity
    {
        let message = format!(
            "{parts} parts are more than can be on their way, gate.capacity = {capacity}; allowed: 1 to {capacity}"
        );
        problems.note(waiting.line.unwrap_or(line), &waiting.key, message);
    }
}

/// Checks whether the outputs that the ejector needs are wired.
fn wiring(settings: &Settings, problems: &mut Problems) {
    let Some(ejector) = settings.gate.ejector.value else {
        return;
    };
    let line = settings.gate.ejector.line.unwrap_or(1);
    let (why, outputs): (_, &[Output]) = match ejector {
        Ejector::Pass => ("gate.ejector = \"pass\"", &[Output::Pass]),
        Ejector::Reject => (
            "gate.ejector = \"reject\" (the line must stop when nobody is in charge)",
            &[Output::Reject, Output::Ready],
        ),
    };
    for output in outputs {
        needed(problems, settings.lines.output(*output), line, why);
    }
}

fn alarm(settings: &Settings, problems: &mut Problems) {
    let alarm = &settings.alarm;
    let acknowledged =
        settings.control.socket.given() || settings.lines.input(Input::Acknowledge).given();
    let alarms = alarm.consecutive_rejects.value != Some(0)
        || alarm.rate_percent.given()
        || alarm.restarts_per_hour.value != Some(0)
        || settings.confirm.here.given
        || settings.challenge.here.given;
    let stops = &alarm.stop_line;
    if stops.value == Some(true) && alarms && !acknowledged {
        let line = stops.line.or(alarm.consecutive_rejects.line).unwrap_or(1);
        problems.note(
            line,
            &stops.key,
            "true, but nobody could start the line again: give control.socket or lines.acknowledge, or set it to false",
        );
    }
}

fn plant(settings: &Settings, problems: &mut Problems) {
    let plant = &settings.plant;
    if !plant.here.given {
        return;
    }
    let line = plant.here.line;
    needed(problems, &plant.outputs, line, "[plant]");
    needed(problems, &plant.inputs, line, "[plant]");
    if let (Some(outputs), Some(inputs)) = (&plant.outputs.value, &plant.inputs.value)
        && outputs == inputs
    {
        let message = format!("{inputs:?} is plant.outputs already; each needs its own path");
        problems.note(
            plant.inputs.line.unwrap_or(line),
            &plant.inputs.key,
            message,
        );
    }
}

/// A pulse that reaches the next part rejects that part, and so on until there is a gap.
fn pulse(settings: &Settings, problems: &mut Problems) {
    let (ms, counts) = (&settings.gate.pulse_time, &settings.gate.pulse_counts);
    let trigger = &settings.trigger;
    let reaches = ": the pulse for one part would reach the next one";
    not_shorter(ms, &trigger.min_pitch, reaches, problems);
    not_less(counts, &trigger.every_counts, reaches, problems);
    counted_pass(settings, problems);
}

/// PASS in counts lasts until the belt has moved that many counts. A sensor does not give the
/// number of counts from part to part.
fn counted_pass(settings: &Settings, problems: &mut Problems) {
    let gate = &settings.gate;
    let sensor = settings.trigger.kind.value != Some(TriggerKind::Encoder);
    let (Some(Counts(counts)), Some(line), Some(pitch), Some(Ejector::Pass), true) = (
        gate.pulse_counts.value,
        gate.pulse_counts.line,
        settings.trigger.min_pitch.value.map(in_ms),
        gate.ejector.value,
        sensor && !gate.pulse_time.given(),
    ) else {
        return;
    };
    let mut note = |message: String| problems.note(line, &gate.pulse_counts.key, message);
    if let Some(least) = gate.count_min.value {
        let shortest = in_ms(least) * counts as f64;
        if shortest >= 0.75 * pitch {
            note(format!(
                "{counts} counts take {shortest} ms on the fastest belt (gate.count_min_us = {}), which is not less than three quarters of trigger.min_pitch_ms = {pitch} ms: PASS would be on when the next part is there",
                least.as_micros()
            ));
        }
        return;
    }
    let slowest = slowest_count(gate.encoder_silence.value, pitch);
    if counts as f64 * slowest >= pitch {
        note(format!(
            "nothing says how long {counts} counts take, so PASS could be on when the next part is there, trigger.min_pitch_ms = {pitch} ms later; give gate.count_min_us (the fastest belt), or a gate.encoder_silence_ms below {:.3} with gate.after_counts (the slowest), or gate.pulse_ms instead, or trigger.kind = \"encoder\"",
            pitch / counts as f64
        ));
    }
}

/// The longest time between two counts while PASS is on, ms. The gate switches PASS off when it
/// sees no count for a quarter of the pitch. It rejects all parts on the line after `silence`, if
/// that is set.
pub(super) fn slowest_count(silence: Option<Duration>, pitch: f64) -> f64 {
    let silence = silence.filter(|silence| !silence.is_zero());
    silence.map_or(f64::INFINITY, in_ms).min(pitch / 4.0)
}
