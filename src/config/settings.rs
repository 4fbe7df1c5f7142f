//! A line's settings as read, key by key, before anything is compared or put together.

use super::document::Setting;
use super::sections::ConfirmKind;
use crate::capture::source::PixelFormat;
use crate::line::gate::Ejector;

/// Sources by name only; what each needs is in other keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SourceName {
    V4l2,
    Folder,
    Recorded,
    Rendered,
}

/// Triggers by name only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TriggerName {
    Gpio,
    Socket,
    Timer,
    Encoder,
}

pub(super) struct CameraSettings {
    pub(super) source: Setting<SourceName>,
    pub(super) device: Setting<String>,
    pub(super) width: Setting<u64>,
    pub(super) height: Setting<u64>,
    pub(super) format: Setting<Option<PixelFormat>>,
    pub(super) fps: Setting<f64>,
    pub(super) timeout_ms: Setting<f64>,
    pub(super) folder: Setting<String>,
    pub(super) on_trigger: Setting<bool>,
    pub(super) allow_identical: Setting<bool>,
    pub(super) warmup_frames: Setting<u64>,
    pub(super) controls_every_ms: Setting<f64>,
    pub(super) seed: Setting<u64>,
    pub(super) defective_percent: Setting<f64>,
    /// Line of `[camera.controls]`, where it is in the file.
    pub(super) controls_line: Option<usize>,
    pub(super) exposure_us: Setting<u64>,
    pub(super) gain: Setting<u64>,
    pub(super) focus: Setting<u64>,
    pub(super) white_balance_k: Setting<u64>,
    pub(super) others: Vec<(String, i64)>,
}

pub(super) struct TriggerSettings {
    pub(super) kind: Setting<TriggerName>,
    pub(super) debounce_us: Setting<u64>,
    pub(super) bounce_us: Setting<u64>,
    pub(super) min_pitch_ms: Setting<f64>,
    pub(super) every_ms: Setting<f64>,
    pub(super) every_counts: Setting<u64>,
    pub(super) occupied_max: SpanSettings,
    pub(super) level_ms: Setting<f64>,
}

pub(super) struct CaptureSettings {
    pub(super) exposure_min_ms: Setting<f64>,
    pub(super) exposure_max_ms: Setting<f64>,
    pub(super) delivery_ms: Setting<f64>,
}

/// A distance that the file gives in one of two units.
pub(super) struct SpanSettings {
    pub(super) ms: Setting<f64>,
    pub(super) counts: Setting<u64>,
}

pub(super) struct GateSettings {
    pub(super) line: usize,
    pub(super) after: SpanSettings,
    pub(super) pulse: SpanSettings,
    pub(super) min_off: SpanSettings,
    pub(super) ejector: Setting<Ejector>,
    pub(super) late_output_ms: Setting<f64>,
    pub(super) capacity: Setting<u64>,
    pub(super) heartbeat_ms: Setting<f64>,
    pub(super) fault_hold_ms: Setting<f64>,
    pub(super) spin_up_ms: Setting<f64>,
    pub(super) encoder_silence_ms: Setting<f64>,
    pub(super) count_min_us: Setting<u64>,
}

pub(super) struct ConfirmSettings {
    /// Its line, where it is in the file.
    pub(super) line: Option<usize>,
    pub(super) kind: Setting<ConfirmKind>,
    pub(super) tolerance: SpanSettings,
}

pub(super) struct HandshakeSettings {
    pub(super) ack_ms: Setting<f64>,
    pub(super) valid_ms: Setting<f64>,
}

pub(super) struct ChallengeSettings {
    /// Its line, where it is in the file.
    pub(super) line: Option<usize>,
    pub(super) every_hours: Setting<f64>,
}

pub(super) struct AlarmSettings {
    pub(super) consecutive_rejects: Setting<u64>,
    pub(super) rate_percent: Setting<f64>,
    pub(super) rate_window: Setting<u64>,
    pub(super) restarts_per_hour: Setting<u64>,
    pub(super) stop_line: Setting<bool>,
}

pub(super) struct InferenceSettings {
    pub(super) threads: Setting<u64>,
    pub(super) timeout_ms: Setting<f64>,
    pub(super) max_waiting: Setting<u64>,
}

pub(super) struct SanitySettings {
    pub(super) min_mean: Setting<f64>,
    pub(super) max_saturated_percent: Setting<f64>,
    pub(super) min_sharpness: Setting<f64>,
    pub(super) max_shift_percent: Setting<f64>,
}

pub(super) struct DriftSettings {
    pub(super) present: bool,
    pub(super) window: Setting<u64>,
    pub(super) rise_percent: Setting<f64>,
}

pub(super) struct LineSettings {
    pub(super) line: usize,
    /// Inputs, then outputs, by name.
    pub(super) wired: Vec<(&'static str, Setting<String>)>,
    pub(super) active_low: Setting<Vec<String>>,
    pub(super) pull_up: Setting<Vec<String>>,
    pub(super) pull_down: Setting<Vec<String>>,
    pub(super) open_drain: Setting<Vec<String>>,
}

pub(super) struct PlantSettings {
    /// Its line, where it is in the file.
    pub(super) line: Option<usize>,
    pub(super) inputs: Setting<String>,
    pub(super) outputs: Setting<String>,
}

pub(super) struct SupervisorSettings {
    pub(super) lease_ms: Setting<f64>,
    pub(super) late_ms: Setting<f64>,
    pub(super) restart_ms: Setting<f64>,
    pub(super) watchdog_device: Setting<String>,
}

pub(super) struct RecordSettings {
    pub(super) folder: Setting<String>,
    pub(super) log_max_mib: Setting<u64>,
    pub(super) log_keep: Setting<u64>,
    pub(super) images_quota_mib: Setting<u64>,
    pub(super) ok_sample_percent: Setting<f64>,
    pub(super) min_free_mib: Setting<u64>,
    pub(super) required: Setting<bool>,
}

/// The whole file.
pub(super) struct Settings {
    pub(super) product: Setting<String>,
    pub(super) board: Setting<String>,
    pub(super) camera: CameraSettings,
    pub(super) trigger: TriggerSettings,
    pub(super) capture: CaptureSettings,
    pub(super) gate: GateSettings,
    pub(super) confirm: ConfirmSettings,
    pub(super) handshake: HandshakeSettings,
    pub(super) challenge: ChallengeSettings,
    pub(super) alarm: AlarmSettings,
    pub(super) inference: InferenceSettings,
    pub(super) sanity: SanitySettings,
    pub(super) drift: DriftSettings,
    pub(super) lines: LineSettings,
    pub(super) plant: PlantSettings,
    pub(super) supervisor: SupervisorSettings,
    pub(super) record: RecordSettings,
    pub(super) metrics: Setting<String>,
    pub(super) control: Setting<String>,
}
