//! Every key of a line's configuration, with its range, unit and default. This is the one place
//! that knows them: the reference page and the example are tested against it.

use super::document::{Absent, Document, Section, Setting};
use super::sections::{ConfirmKind, Lines, MAX_CAPACITY, MAX_RATE_WINDOW};
use super::settings::{
    AlarmSettings, CameraSettings, CaptureSettings, ChallengeSettings, ConfirmSettings,
    DriftSettings, GateSettings, HandshakeSettings, InferenceSettings, LineSettings, PlantSettings,
    RecordSettings, SanitySettings, Settings, SourceName, SpanSettings, SupervisorSettings,
    TriggerName, TriggerSettings,
};
use crate::capture::source::PixelFormat;
use crate::line::gate::Ejector;
use crate::record::LARGEST_WINDOW;

/// A wait of a day is no line's.
const LONGEST_MS: f64 = 600_000.0;
const MOST_COUNTS: u64 = 100_000_000;
const MOST_MIB: u64 = 16 * 1024 * 1024;

fn anything(_: &str) -> Result<(), String> {
    Ok(())
}

fn socket_address(text: &str) -> Result<(), String> {
    text.parse::<std::net::SocketAddr>()
        .map(|_| ())
        .map_err(|_| "is no address with a port, such as \"127.0.0.1:9464\"".into())
}

/// `sun_path` of unix(7) holds 107 bytes and a NUL.
fn socket_path(text: &str) -> Result<(), String> {
    if text.len() > 107 {
        Err(format!(
            "has {} bytes; a socket's path has at most 107",
            text.len()
        ))
    } else {
        Ok(())
    }
}

fn control_name(key: &str) -> Result<(), String> {
    let known = key.len() <= 64
        && key
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if known {
        Ok(())
    } else {
        Err("no name of a V4L2 control: lower-case letters, digits and underscores, such as \"power_line_frequency\" (`v4l2-ctl --list-ctrls` shows them)".into())
    }
}

impl Settings {
    /// Reads every key; wrong ones are in the document's problems afterwards.
    pub(super) fn read<'i>(document: &mut Document, top: &mut Section<'i>) -> Self {
        let bundle = "path of a bundle, relative to this file";
        let product = document.text(top, "product", bundle, Absent::Refused, anything);
        let profile = "name of a board profile, or path of one (with a / or .toml)";
        let board = document.text(top, "board", profile, Absent::Refused, anything);
        Self {
            product,
            board,
            camera: camera(document, top),
            trigger: trigger(document, top),
            capture: capture(document, top),
            gate: gate(document, top),
            confirm: confirm(document, top),
            handshake: handshake(document, top),
            challenge: challenge(document, top),
            alarm: alarm(document, top),
            inference: inference(document, top),
            sanity: sanity(document, top),
            drift: drift(document, top),
            lines: lines(document, top),
            plant: plant(document, top),
            supervisor: supervisor(document, top),
            record: record(document, top),
            metrics: metrics(document, top),
            control: control(document, top),
        }
    }
}

fn camera<'i>(document: &mut Document, top: &mut Section<'i>) -> CameraSettings {
    let mut section = document.section(top, "camera");
    let s = &mut section;
    let sources = [
        ("v4l2", SourceName::V4l2),
        ("folder", SourceName::Folder),
        ("recorded", SourceName::Recorded),
        ("rendered", SourceName::Rendered),
    ];
    let formats = [
        ("auto", None),
        ("GREY", Some(PixelFormat::Grey8)),
        ("Y16", Some(PixelFormat::Grey16)),
        ("YUYV", Some(PixelFormat::Yuyv)),
        ("RGB3", Some(PixelFormat::Rgb24)),
        ("BGR3", Some(PixelFormat::Bgr24)),
        ("MJPG", Some(PixelFormat::Mjpeg)),
    ];
    let of_board = "the board profile's";
    let source = document.word(s, "source", &sources, Absent::Refused);
    let device = document.text(
        s,
        "device",
        "a device node",
        Absent::Leaves(of_board),
        anything,
    );
    let width = document.whole(s, "width", 16..=16384, "pixels", Absent::Leaves(of_board));
    let height = document.whole(s, "height", 16..=16384, "pixels", Absent::Leaves(of_board));
    let format = document.word(s, "format", &formats, Absent::Means("auto"));
    let fps = document.decimal(
        s,
        "fps",
        0.1..=1000.0,
        "frames a second",
        Absent::Means(30.0),
    );
    let timeout_ms = document.decimal(
        s,
        "timeout_ms",
        20.0..=60_000.0,
        "ms",
        Absent::Means(1000.0),
    );
    let folder = document.text(s, "folder", "a folder", Absent::Leaves("none"), anything);
    let on_trigger = document.flag(s, "on_trigger", Absent::Means(false));
    let allow_identical = document.flag(s, "allow_identical", Absent::Means(false));
    let warm = Absent::Means(3);
    let warmup_frames = document.whole(s, "warmup_frames", 0..=1000, "frames", warm);
    let controls_every_ms = document.decimal(
        s,
        "controls_every_ms",
        100.0..=60_000.0,
        "ms",
        Absent::Means(1000.0),
    );
    let seed = document.whole(s, "seed", 0..=i64::MAX as u64, "", Absent::Means(1));
    let defective_percent = document.decimal(
        s,
        "defective_percent",
        0.0..=100.0,
        "%",
        Absent::Means(10.0),
    );

    let mut section = document.section(s, "camera.controls");
    let controls_line = section.present().then(|| section.line());
    let c = &mut section;
    let left = || Absent::Leaves("left as it is");
    let exposure_us = document.whole(c, "exposure_us", 1..=10_000_000, "us", left());
    let scale = "on the camera's own scale";
    let gain = document.whole(c, "gain", 0..=i32::MAX as u64, scale, left());
    let focus = document.whole(c, "focus", 0..=i32::MAX as u64, scale, left());
    let white_balance_k = document.whole(c, "white_balance_k", 1000..=20_000, "K", left());
    let whole = i64::from(i32::MIN)..=i64::from(i32::MAX);
    let others = document.other_wholes(c, whole, control_name);
    document.close(c);
    document.close(s);
    CameraSettings {
        source,
        device,
        width,
        height,
        format,
        fps,
        timeout_ms,
        folder,
        on_trigger,
        allow_identical,
        warmup_frames,
        controls_every_ms,
        seed,
        defective_percent,
        controls_line,
        exposure_us,
        gain,
        focus,
        white_balance_k,
        others,
    }
}

fn trigger<'i>(document: &mut Document, top: &mut Section<'i>) -> TriggerSettings {
    let mut section = document.section(top, "trigger");
    let s = &mut section;
    let kinds = [
        ("gpio", TriggerName::Gpio),
        ("socket", TriggerName::Socket),
        ("timer", TriggerName::Timer),
        ("encoder", TriggerName::Encoder),
    ];
    let settings = TriggerSettings {
        kind: document.word(s, "kind", &kinds, Absent::Refused),
        debounce_us: document.whole(s, "debounce_us", 0..=1_000_000, "us", Absent::Means(200)),
        bounce_us: document.whole(s, "bounce_us", 0..=1_000_000, "us", Absent::Means(1000)),
        min_pitch_ms: document.decimal(s, "min_pitch_ms", 0.1..=LONGEST_MS, "ms", Absent::Refused),
        every_ms: document.decimal(s, "every_ms", 1.0..=LONGEST_MS, "ms", none()),
        every_counts: document.whole(s, "every_counts", 1..=MOST_COUNTS, "counts", none()),
        occupied_max: span(
            document,
            s,
            "occupied_max_ms",
            "occupied_max_counts",
            [1, 1],
        ),
        level_ms: document.decimal(
            s,
            "level_ms",
            0.0..=1000.0,
            "ms, 0 is never",
            Absent::Means(5.0),
        ),
    };
    document.close(s);
    settings
}

fn capture<'i>(document: &mut Document, top: &mut Section<'i>) -> CaptureSettings {
    let mut section = document.section(top, "capture");
    let s = &mut section;
    let range = || 0.0..=LONGEST_MS;
    let settings = CaptureSettings {
        exposure_min_ms: document.decimal(s, "exposure_min_ms", range(), "ms", Absent::Means(0.0)),
        exposure_max_ms: document.decimal(s, "exposure_max_ms", range(), "ms", Absent::Refused),
        delivery_ms: document.decimal(s, "delivery_ms", range(), "ms", Absent::Refused),
    };
    document.close(s);
    settings
}

fn gate<'i>(document: &mut Document, top: &mut Section<'i>) -> GateSettings {
    let mut section = document.section(top, "gate");
    let s = &mut section;
    let ejectors = [("pass", Ejector::Pass), ("reject", Ejector::Reject)];
    let after = span(document, s, "after_ms", "after_counts", [1, 1]);
    let pulse = span(document, s, "pulse_ms", "pulse_counts", [1, 1]);
    let min_off = span(document, s, "min_off_ms", "min_off_counts", [0, 0]);
    let capacity = 1..=MAX_CAPACITY as u64;
    let settings = GateSettings {
        line: s.line(),
        after,
        pulse,
        min_off,
        ejector: document.word(s, "ejector", &ejectors, Absent::Refused),
        late_output_ms: document.decimal(
            s,
            "late_output_ms",
            0.1..=1000.0,
            "ms",
            Absent::Means(5.0),
        ),
        capacity: document.whole(s, "capacity", capacity, "parts", Absent::Means(64)),
        heartbeat_ms: document.decimal(
            s,
            "heartbeat_ms",
            10.0..=10_000.0,
            "ms",
            Absent::Means(250.0),
        ),
        fault_hold_ms: document.decimal(
            s,
            "fault_hold_ms",
            0.0..=60_000.0,
            "ms",
            Absent::Means(200.0),
        ),
        spin_up_ms: document.decimal(s, "spin_up_ms", 0.0..=LONGEST_MS, "ms", Absent::Means(0.0)),
        encoder_silence_ms: document.decimal(
            s,
            "encoder_silence_ms",
            0.0..=LONGEST_MS,
            "ms, 0 is never",
            none(),
        ),
        count_min_us: document.whole(
            s,
            "count_min_us",
            1..=1_000_000,
            "us",
            Absent::Leaves("not watched"),
        ),
    };
    document.close(s);
    settings
}

/// A distance in time or in counts; `least` of each.
fn span<'i>(
    document: &mut Document,
    section: &mut Section<'i>,
    ms: &'static str,
    counts: &'static str,
    least: [u64; 2],
) -> SpanSettings {
    SpanSettings {
        ms: document.decimal(section, ms, least[0] as f64..=LONGEST_MS, "ms", none()),
        counts: document.whole(section, counts, least[1]..=MOST_COUNTS, "counts", none()),
    }
}

fn confirm<'i>(document: &mut Document, top: &mut Section<'i>) -> ConfirmSettings {
    let mut section = document.section(top, "confirm");
    let s = &mut section;
    let kinds = [("part", ConfirmKind::Part), ("reject", ConfirmKind::Reject)];
    let settings = ConfirmSettings {
        line: s.present().then(|| s.line()),
        kind: document.word(s, "kind", &kinds, none()),
        tolerance: span(document, s, "tolerance_ms", "tolerance_counts", [1, 1]),
    };
    document.close(s);
    settings
}

fn handshake<'i>(document: &mut Document, top: &mut Section<'i>) -> HandshakeSettings {
    let mut section = document.section(top, "handshake");
    let s = &mut section;
    let range = || 1.0..=10_000.0;
    let settings = HandshakeSettings {
        ack_ms: document.decimal(s, "ack_ms", range(), "ms", Absent::Means(10.0)),
        valid_ms: document.decimal(s, "valid_ms", range(), "ms", Absent::Means(10.0)),
    };
    document.close(s);
    settings
}

fn challenge<'i>(document: &mut Document, top: &mut Section<'i>) -> ChallengeSettings {
    let mut section = document.section(top, "challenge");
    let s = &mut section;
    let settings = ChallengeSettings {
        line: s.present().then(|| s.line()),
        every_hours: document.decimal(s, "every_hours", 0.01..=744.0, "h", never()),
    };
    document.close(s);
    settings
}

fn alarm<'i>(document: &mut Document, top: &mut Section<'i>) -> AlarmSettings {
    let mut section = document.section(top, "alarm");
    let s = &mut section;
    let window = 1..=MAX_RATE_WINDOW as u64;
    let settings = AlarmSettings {
        consecutive_rejects: document.whole(
            s,
            "consecutive_rejects",
            0..=1_000_000,
            "parts, 0 is never",
            Absent::Means(10),
        ),
        rate_percent: document.decimal(s, "rate_percent", 0.1..=100.0, "%", never()),
        rate_window: document.whole(s, "rate_window", window, "parts", Absent::Means(100)),
        restarts_per_hour: document.whole(
            s,
            "restarts_per_hour",
            0..=1000,
            "restarts an hour, 0 is never",
            Absent::Means(10),
        ),
        stop_line: document.flag(s, "stop_line", Absent::Means(true)),
    };
    document.close(s);
    settings
}

fn inference<'i>(document: &mut Document, top: &mut Section<'i>) -> InferenceSettings {
    let mut section = document.section(top, "inference");
    let s = &mut section;
    let waiting = 1..=MAX_CAPACITY as u64;
    let all = Absent::Leaves("one a processor, less one for camera and gate");
    let settings = InferenceSettings {
        threads: document.whole(s, "threads", 1..=256, "threads", all),
        timeout_ms: document.decimal(s, "timeout_ms", 1.0..=60_000.0, "ms", Absent::Means(1000.0)),
        max_waiting: document.whole(s, "max_waiting", waiting, "parts", Absent::Means(2)),
    };
    document.close(s);
    settings
}

fn sanity<'i>(document: &mut Document, top: &mut Section<'i>) -> SanitySettings {
    let mut section = document.section(top, "sanity");
    let s = &mut section;
    let off = || Absent::Leaves("off");
    let grey = "grey levels";
    let settings = SanitySettings {
        min_mean: document.decimal(s, "min_mean", 0.0..=255.0, grey, off()),
        max_saturated_percent: document.decimal(
            s,
            "max_saturated_percent",
            0.0..=100.0,
            "%",
            off(),
        ),
        min_sharpness: document.decimal(s, "min_sharpness", 0.0..=1020.0, grey, off()),
        max_shift_percent: document.decimal(s, "max_shift_percent", 0.1..=10.0, "%", off()),
    };
    document.close(s);
    settings
}

fn drift<'i>(document: &mut Document, top: &mut Section<'i>) -> DriftSettings {
    let mut section = document.section(top, "drift");
    let s = &mut section;
    let settings = DriftSettings {
        present: s.present(),
        window: document.whole(
            s,
            "window",
            10..=LARGEST_WINDOW as u64,
            "parts",
            Absent::Means(200),
        ),
        rise_percent: document.decimal(s, "rise_percent", 0.1..=1000.0, "%", Absent::Means(20.0)),
    };
    document.close(s);
    settings
}

fn lines<'i>(document: &mut Document, top: &mut Section<'i>) -> LineSettings {
    let mut section = document.section(top, "lines");
    let s = &mut section;
    let forms = "\"pin N\", \"gpiochipN:OFFSET\", \"LABEL:OFFSET\", \"line NAME\" or a name of the board profile";
    let wired = Lines::INPUTS.into_iter().chain(Lines::OUTPUTS).map(|name| {
        let text = document.text(s, name, forms, Absent::Leaves("not wired"), anything);
        (name, text)
    });
    let wired = wired.collect();
    let most = Lines::INPUTS.len() + Lines::OUTPUTS.len();
    let names = "names of lines in this section";
    let inputs = "names of inputs in this section";
    let outputs = "names of outputs in this section";
    let settings = LineSettings {
        line: s.line(),
        wired,
        active_low: document.texts(s, "active_low", names, most),
        pull_up: document.texts(s, "pull_up", inputs, most),
        pull_down: document.texts(s, "pull_down", inputs, most),
        open_drain: document.texts(s, "open_drain", outputs, most),
    };
    document.close(s);
    settings
}

fn plant<'i>(document: &mut Document, top: &mut Section<'i>) -> PlantSettings {
    let mut section = document.section(top, "plant");
    let s = &mut section;
    let told = "path of a FIFO, unix datagram socket or file";
    let settings = PlantSettings {
        line: s.present().then(|| s.line()),
        outputs: document.text(s, "outputs", told, none(), anything),
        inputs: document.text(s, "inputs", "path of a socket", none(), socket_path),
    };
    document.close(s);
    settings
}

fn supervisor<'i>(document: &mut Document, top: &mut Section<'i>) -> SupervisorSettings {
    let mut section = document.section(top, "supervisor");
    let s = &mut section;
    let device = "a device node, or \"board\" for the board profile's";
    let settings = SupervisorSettings {
        lease_ms: document.decimal(s, "lease_ms", 20.0..=5000.0, "ms", Absent::Means(200.0)),
        late_ms: document.decimal(s, "late_ms", 5.0..=1000.0, "ms", Absent::Means(40.0)),
        restart_ms: document.decimal(s, "restart_ms", 0.0..=60_000.0, "ms", Absent::Means(200.0)),
        watchdog_device: document.text(s, "watchdog_device", device, none(), anything),
    };
    document.close(s);
    settings
}

fn record<'i>(document: &mut Document, top: &mut Section<'i>) -> RecordSettings {
    let mut section = document.section(top, "record");
    let s = &mut section;
    let mib = "MiB";
    let settings = RecordSettings {
        folder: document.text(s, "folder", "a folder", Absent::Refused, anything),
        log_max_mib: document.whole(s, "log_max_mib", 1..=4096, mib, Absent::Means(64)),
        log_keep: document.whole(s, "log_keep", 1..=100_000, "files", Absent::Means(16)),
        images_quota_mib: document.whole(
            s,
            "images_quota_mib",
            0..=MOST_MIB,
            mib,
            Absent::Means(2048),
        ),
        ok_sample_percent: document.decimal(
            s,
            "ok_sample_percent",
            0.0..=100.0,
            "%",
            Absent::Means(1.0),
        ),
        min_free_mib: document.whole(s, "min_free_mib", 0..=MOST_MIB, mib, Absent::Means(512)),
        required: document.flag(s, "required", Absent::Means(false)),
    };
    document.close(s);
    settings
}

fn metrics<'i>(document: &mut Document, top: &mut Section<'i>) -> Setting<String> {
    let mut section = document.section(top, "metrics");
    let s = &mut section;
    let address = "an address with a port";
    let setting = document.text(s, "listen", address, none(), socket_address);
    document.close(s);
    setting
}

fn control<'i>(document: &mut Document, top: &mut Section<'i>) -> Setting<String> {
    let mut section = document.section(top, "control");
    let s = &mut section;
    let setting = document.text(s, "socket", "path of a socket", none(), socket_path);
    document.close(s);
    setting
}

fn none<T>() -> Absent<T> {
    Absent::Leaves("none")
}

fn never<T>() -> Absent<T> {
    Absent::Leaves("never")
}
