//! From checked settings to the plain values that the rooms take.

use super::LineConfig;
use super::board::{Bias, Board, Drive, LineSpec};
use super::document::{Document, Setting};
use super::nearest::nearest;
use super::problem::ConfigError;
use super::sections::{
    Access, Alarm, Camera, CameraSource, Capture, Challenge, Confirm, Controls, Drift, Gate,
    Handshake, Inference, Lines, Plant, Record, Sanity, Supervisor, Trigger, TriggerKind,
    V4l2Camera,
};
use super::settings::{
    CameraSettings, ChallengeSettings, ConfirmSettings, LineSettings, PlantSettings, Settings,
    SourceName, SpanSettings, TriggerName, TriggerSettings,
};
use super::texts::is_path;
use crate::time::{Counts, Duration, Span};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const MIB: u64 = 1 << 20;

/// Milliseconds of a checked range; the finest step is a nanosecond.
fn duration(ms: f64) -> Duration {
    Duration((ms * 1e6).round() as u64)
}

/// None where a problem was noted before: then there is no configuration anyway.
pub(super) fn assemble(
    settings: Settings,
    file: &Path,
    document: &mut Document,
) -> Option<LineConfig> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let beside = |path: String| folder.join(path);
    let board = board(&settings.board, folder, document);
    let lines = lines(&settings.lines, board.as_ref(), document);
    let camera = camera(settings.camera, board.as_ref(), &beside, document);
    let supervisor = settings.supervisor;
    let (lease_ms, restart_ms) = (supervisor.lease_ms.value, supervisor.restart_ms.value);
    let watchdog = watchdog(supervisor.watchdog_device, board.as_ref(), document);
    let late_ms = supervisor.late_ms.value;
    let handshake = settings.handshake;
    let (capture, gate, alarm) = (settings.capture, settings.gate, settings.alarm);
    let after = span(&gate.after)?;
    let no_rest = match after {
        Span::Time(_) => Span::Time(Duration::ZERO),
        Span::Counts(_) => Span::Counts(Counts(0)),
    };
    let (sanity, drift, inference) = (settings.sanity, settings.drift, settings.inference);
    let record = settings.record;
    Some(LineConfig {
        file: file.to_path_buf(),
        product: beside(settings.product.value?),
        board: board?,
        camera: camera?,
        trigger: trigger(&settings.trigger)?,
        capture: Capture {
            exposure_min: duration(capture.exposure_min_ms.value?),
            exposure_max: duration(capture.exposure_max_ms.value?),
            delivery: duration(capture.delivery_ms.value?),
        },
        gate: Gate {
            after,
            pulse: span(&gate.pulse)?,
            min_off: span(&gate.min_off).unwrap_or(no_rest),
            ejector: gate.ejector.value?,
            late_output: duration(gate.late_output_ms.value?),
            capacity: size(gate.capacity.value?),
            heartbeat: duration(gate.heartbeat_ms.value?),
            fault_hold: duration(gate.fault_hold_ms.value?),
            spin_up: duration(gate.spin_up_ms.value?),
            encoder_silence: duration(gate.encoder_silence_ms.value.unwrap_or(0.0)),
            count_min: gate.count_min_us.value.map(Duration::from_micros),
        },
        confirm: confirm(&settings.confirm),
        handshake: Handshake {
            ack: duration(handshake.ack_ms.value?),
            valid: duration(handshake.valid_ms.value?),
        },
        challenge: challenge(&settings.challenge),
        alarm: Alarm {
            consecutive_rejects: narrow(alarm.consecutive_rejects.value?),
            rate_percent: alarm.rate_percent.value,
            rate_window: size(alarm.rate_window.value?),
            restarts_per_hour: narrow(alarm.restarts_per_hour.value?),
            stop_line: alarm.stop_line.value?,
        },
        inference: Inference {
            threads: inference.threads.value.map(size),
            timeout: duration(inference.timeout_ms.value?),
            max_waiting: size(inference.max_waiting.value?),
        },
        sanity: Sanity {
            min_mean: sanity.min_mean.value,
            max_saturated_percent: sanity.max_saturated_percent.value,
            min_sharpness: sanity.min_sharpness.value,
            max_shift_percent: sanity.max_shift_percent.value,
        },
        drift: if drift.present {
            Some(Drift {
                window: size(drift.window.value?),
                rise_percent: drift.rise_percent.value?,
            })
        } else {
            None
        },
        lines,
        plant: plant(settings.plant, &beside),
        supervisor: Supervisor {
            lease: duration(lease_ms?),
            late: duration(late_ms?),
            restart: duration(restart_ms?),
            watchdog,
        },
        record: Record {
            folder: beside(record.folder.value?),
            log_max: record.log_max_mib.value?.saturating_mul(MIB),
            log_keep: narrow(record.log_keep.value?),
            images_quota: record.images_quota_mib.value?.saturating_mul(MIB),
            ok_sample_percent: record.ok_sample_percent.value?,
            min_free: record.min_free_mib.value?.saturating_mul(MIB),
            required: record.required.value?,
        },
        access: Access {
            metrics: settings.metrics.value.and_then(|text| text.parse().ok()),
            control: settings.control.value.map(beside),
        },
        places: BTreeMap::new(),
    })
}

/// Checked ranges fit; the bound is for the compiler.
fn narrow(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn size(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

fn span(settings: &SpanSettings) -> Option<Span> {
    let time = || settings.ms.value.map(|ms| Span::Time(duration(ms)));
    let counts = || settings.counts.value.map(|n| Span::Counts(Counts(n)));
    time().or_else(counts)
}

fn board(setting: &Setting<String>, folder: &Path, document: &mut Document) -> Option<Board> {
    let (text, line) = (setting.value.as_deref()?, setting.line.unwrap_or(1));
    if is_path(text) {
        let path = folder.join(text);
        let board = match document.profile.take() {
            Some(profile) => Board::parse(&profile, &path),
            None => Board::open(&path),
        };
        return match board {
            Ok(board) => Some(board),
            Err(error) => {
                let message = format!("no usable profile: {}", told(&error));
                document.problems.note(line, "board", message);
                None
            }
        };
    }
    match Board::embedded(text) {
        Some(Ok(board)) => Some(board),
        Some(Err(error)) => {
            document.problems.note(line, "board", told(&error));
            None
        }
        None => {
            let meant = nearest(text, Board::known());
            let hint = meant.map_or_else(String::new, |name| format!("; did you mean {name:?}?"));
            let known: Vec<&str> = Board::known().collect();
            let message = format!(
                "{text:?} is no known board{hint}; known: {}, or the path of a profile",
                known.join(", ")
            );
            document.problems.note(line, "board", message);
            None
        }
    }
}

/// An error with its causes, in one line.
fn told(error: &ConfigError) -> String {
    let cause = std::error::Error::source(error);
    let cause = cause.map_or_else(String::new, |cause| format!(": {cause}"));
    format!("{error}{cause}").replace('\n', "; ")
}

fn camera(
    settings: CameraSettings,
    board: Option<&Board>,
    beside: &impl Fn(String) -> PathBuf,
    document: &mut Document,
) -> Option<Camera> {
    let on_trigger = settings.on_trigger.value?;
    let source = match settings.source.value? {
        SourceName::Folder => CameraSource::Folder {
            folder: beside(settings.folder.value?),
            on_trigger,
        },
        SourceName::Recorded => CameraSource::Recorded {
            folder: beside(settings.folder.value?),
        },
        SourceName::Rendered => CameraSource::Rendered {
            seed: settings.seed.value?,
            defective_percent: settings.defective_percent.value?,
            on_trigger,
        },
        SourceName::V4l2 => {
            // Without a board there is a problem already; its defaults are not to be missed.
            let board = board?;
            let given = settings.device.given();
            let device = settings.device.value.map(PathBuf::from);
            let device = device.or_else(|| board.camera_device.clone());
            let side = |setting: &Setting<u64>, default| setting.value.map(narrow).or(default);
            let width = side(&settings.width, board.camera_width);
            let height = side(&settings.height, board.camera_height);
            let line = settings.source.line.unwrap_or(1);
            for (key, known) in [
                ("camera.device", device.is_some() || given),
                ("camera.width", width.is_some() || settings.width.given()),
                ("camera.height", height.is_some() || settings.height.given()),
            ] {
                if !known {
                    let message = format!(
                        "missing; camera.source = \"v4l2\" needs it, and board {} has no default",
                        board.name
                    );
                    document.problems.note(line, key, message);
                }
            }
            CameraSource::V4l2(V4l2Camera {
                device: device?,
                width: width?,
                height: height?,
                format: settings.format.value?,
                on_trigger,
                allow_identical: settings.allow_identical.value?,
                warmup_frames: narrow(settings.warmup_frames.value?),
                controls_every: duration(settings.controls_every_ms.value?),
                controls: Controls {
                    exposure: settings.exposure_us.value.map(Duration::from_micros),
                    gain: settings.gain.value.and_then(|v| i64::try_from(v).ok()),
                    focus: settings.focus.value.and_then(|v| i64::try_from(v).ok()),
                    white_balance_k: settings.white_balance_k.value.map(narrow),
                    others: settings.others,
                },
            })
        }
    };
    Some(Camera {
        source,
        fps: settings.fps.value?,
        timeout: duration(settings.timeout_ms.value?),
    })
}

fn trigger(settings: &TriggerSettings) -> Option<Trigger> {
    let kind = match settings.kind.value? {
        TriggerName::Gpio => TriggerKind::Gpio {
            debounce: Duration::from_micros(settings.debounce_us.value?),
        },
        TriggerName::Socket => TriggerKind::Socket,
        TriggerName::Timer => TriggerKind::Timer {
            every: duration(settings.every_ms.value?),
        },
        TriggerName::Encoder => TriggerKind::Encoder {
            every: Counts(settings.every_counts.value?),
        },
    };
    let level = settings.level_ms.value?;
    let watched = matches!(kind, TriggerKind::Gpio { .. }) && level > 0.0;
    Some(Trigger {
        kind,
        occupied_max: span(&settings.occupied_max),
        level: watched.then(|| duration(level)),
        bounce: Duration::from_micros(settings.bounce_us.value?),
        min_pitch: duration(settings.min_pitch_ms.value?),
    })
}

/// None, too, where a key of the section is missing: that is a problem already.
fn confirm(settings: &ConfirmSettings) -> Option<Confirm> {
    Some(Confirm {
        kind: settings.kind.value?,
        tolerance: span(&settings.tolerance)?,
    })
}

fn challenge(settings: &ChallengeSettings) -> Option<Challenge> {
    let hours = settings.every_hours.value?;
    Some(Challenge {
        every: duration(hours * 3_600_000.0),
    })
}

/// None, too, where one of its two paths is missing: that is a problem already.
fn plant(settings: PlantSettings, beside: &impl Fn(String) -> PathBuf) -> Option<Plant> {
    Some(Plant {
        inputs: beside(settings.inputs.value?),
        outputs: beside(settings.outputs.value?),
    })
}

fn watchdog(
    setting: Setting<String>,
    board: Option<&Board>,
    document: &mut Document,
) -> Option<PathBuf> {
    let text = setting.value?;
    if text != "board" {
        return Some(PathBuf::from(text));
    }
    let board = board?;
    if board.watchdog.is_none() {
        let message = format!(
            "board {} has no watchdog that is known; give its device node",
            board.name
        );
        let line = setting.line.unwrap_or(1);
        document
            .problems
            .note(line, "supervisor.watchdog_device", message);
    }
    board.watchdog.clone()
}

fn lines(settings: &LineSettings, board: Option<&Board>, document: &mut Document) -> Lines {
    let mut found: BTreeMap<&'static str, LineSpec> = BTreeMap::new();
    for (name, setting) in &settings.wired {
        let (Some(text), Some(line), Some(board)) = (&setting.value, setting.line, board) else {
            continue;
        };
        let spec = match board.line(text, Lines::OUTPUTS.contains(name)) {
            Ok(spec) => spec,
            Err(why) => {
                let message = format!("{text:?}: {why}");
                document
                    .problems
                    .note(line, format!("lines.{name}"), message);
                continue;
            }
        };
        let same = |other: &LineSpec| other.same_wire(&spec);
        if let Some((other, _)) = found.iter().find(|(_, other)| same(other)) {
            let message =
                format!("{text:?} is wired to lines.{other} already; a line has one meaning");
            document
                .problems
                .note(line, format!("lines.{name}"), message);
        }
        found.insert(name, spec);
    }
    let given: Vec<&'static str> = settings
        .wired
        .iter()
        .filter(|(_, setting)| setting.given())
        .map(|(name, _)| *name)
        .collect();
    let (inputs, outputs) = (&Lines::INPUTS[..], &Lines::OUTPUTS[..]);
    let every = [inputs, outputs].concat();
    let mut apply = |key: &str,
                     setting: &Setting<Vec<String>>,
                     among: &[&'static str],
                     change: fn(&mut LineSpec)| {
        for name in setting.value.iter().flatten() {
            if among.contains(&&**name) && given.contains(&&**name) {
                if let Some(spec) = found.get_mut(&**name) {
                    change(spec);
                }
                continue;
            }
            let usable: Vec<&str> = among
                .iter()
                .copied()
                .filter(|n| given.contains(n))
                .collect();
            let message = format!(
                "{name:?} is not among the lines that are wired and can be {key}: {}",
                usable.join(", ")
            );
            let line = setting.line.unwrap_or(settings.line);
            document
                .problems
                .note(line, format!("lines.{key}"), message);
        }
    };
    apply("active_low", &settings.active_low, &every, |spec| {
        spec.active_low = true
    });
    apply("pull_up", &settings.pull_up, inputs, |spec| {
        spec.bias = Bias::PullUp
    });
    apply("pull_down", &settings.pull_down, inputs, |spec| {
        spec.bias = Bias::PullDown
    });
    apply("open_drain", &settings.open_drain, outputs, |spec| {
        spec.drive = Drive::OpenDrain
    });
    let ups = settings.pull_up.value.iter().flatten();
    let downs = || settings.pull_down.value.iter().flatten();
    for name in ups.filter(|name| downs().any(|down| down == *name)) {
        let line = settings.pull_down.line.unwrap_or(settings.line);
        let message =
            format!("{name:?} is in lines.pull_up too; a pull resistor has one direction");
        document.problems.note(line, "lines.pull_down", message);
    }
    let mut take = |name: &str| found.remove(name);
    Lines {
        trigger: take("trigger"),
        encoder: take("encoder"),
        encoder_b: take("encoder_b"),
        index: take("index"),
        confirm: take("confirm"),
        acknowledge: take("acknowledge"),
        ready: take("ready"),
        busy: take("busy"),
        ok: take("ok"),
        reject: take("reject"),
        pass: take("pass"),
        fault: take("fault"),
        heartbeat: take("heartbeat"),
        trigger_ack: take("trigger_ack"),
        result_valid: take("result_valid"),
        record_lost: take("record_lost"),
    }
}
