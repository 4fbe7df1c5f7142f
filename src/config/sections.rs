//! The configuration as the rooms of the program take it: plain values with their units in their
//! types.

use super::board::LineSpec;
use crate::capture::source::PixelFormat;
use crate::line::gate::Ejector;
use crate::time::{Counts, Duration, Span};
use std::net::SocketAddr;
use std::path::PathBuf;

/// `[camera]`: where frames come from.
#[derive(Clone, Debug, PartialEq)]
pub struct Camera {
    /// Which source.
    pub source: CameraSource,
    /// Frames a second: asked of a V4L2 camera, kept by a free-running folder or rendered source.
    pub fps: f64,
    /// No frame for so long: the camera counts as lost.
    pub timeout: Duration,
}

impl Camera {
    /// Whether the camera exposes once a part, so that silence says nothing.
    pub fn on_trigger(&self) -> bool {
        match &self.source {
            CameraSource::V4l2(camera) => camera.on_trigger,
            CameraSource::Folder { on_trigger, .. } | CameraSource::Rendered { on_trigger, .. } => {
                *on_trigger
            }
            CameraSource::Recorded { .. } => false,
        }
    }

    /// From frame to frame of a camera that runs freely; a recording's times are its own.
    pub fn interval(&self) -> Option<Duration> {
        let by_rate = !self.on_trigger() && !matches!(self.source, CameraSource::Recorded { .. });
        by_rate.then_some(Duration((1e9 / self.fps) as u64))
    }
}

/// The kinds of source.
#[derive(Clone, Debug, PartialEq)]
pub enum CameraSource {
    /// A V4L2 device.
    V4l2(V4l2Camera),
    /// Image files of a folder, in the order of their names, again and again.
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Expose at every trigger instead of at [`Camera::fps`].
        on_trigger: bool,
    },
    /// A recording: image files and the times at which they were taken, again and again.
    Recorded {
        /// The folder with [`INDEX`](crate::capture::recorded::INDEX).
        folder: PathBuf,
    },
    /// The demo's part, rendered.
    Rendered {
        /// Seed of the production.
        seed: u64,
        /// Share of parts with a defect, 0 to 100.
        defective_percent: f64,
        /// Expose at every trigger instead of at [`Camera::fps`].
        on_trigger: bool,
    },
}

/// A V4L2 camera and what is set on it.
#[derive(Clone, Debug, PartialEq)]
pub struct V4l2Camera {
    /// Device node.
    pub device: PathBuf,
    /// Pixels a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// None: the best that the camera offers.
    pub format: Option<PixelFormat>,
    /// A wire makes it expose once a part: that no frame comes says nothing then.
    pub on_trigger: bool,
    /// Two parts may have the same picture to the byte; else the second is UNKNOWN.
    pub allow_identical: bool,
    /// The first frames after each opening are not used: exposure and gain settle in them.
    pub warmup_frames: u32,
    /// How often the controls are read while the line runs.
    pub controls_every: Duration,
    /// `[camera.controls]`.
    pub controls: Controls,
}

/// `[camera.controls]`: set at start, read back, checked while the line runs. What is None is left
/// as the camera has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Controls {
    /// Exposure time; automatic exposure is switched off for it.
    pub exposure: Option<Duration>,
    /// The camera's own scale; automatic gain is switched off for it.
    pub gain: Option<i64>,
    /// The camera's own scale; automatic focus is switched off for it.
    pub focus: Option<i64>,
    /// Kelvin; automatic white balance is switched off for it.
    pub white_balance_k: Option<u32>,
    /// Other controls by their V4L2 name in lower case with underscores, such as
    /// `power_line_frequency`.
    pub others: Vec<(String, i64)>,
}

/// `[trigger]`: what makes a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// Where triggers come from.
    pub kind: TriggerKind,
    /// A second trigger within this time is the same part.
    pub bounce: Duration,
    /// Parts are never closer.
    pub min_pitch: Duration,
    /// A part covers the sensor at most this long, in the unit of the gate: longer means parts that
    /// touch, which are all rejected. None: not watched.
    pub occupied_max: Option<Span>,
    /// How often the level of the trigger input is read, so that a part whose edge was lost is found;
    /// None: never, or there is no such input.
    pub level: Option<Duration>,
}

/// The kinds of trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TriggerKind {
    /// Edges on `lines.trigger`.
    Gpio {
        /// Shorter pulses are not seen; 0 switches the kernel's debouncing off.
        debounce: Duration,
    },
    /// Commands on the control socket.
    Socket,
    /// The clock.
    Timer {
        /// Time from part to part.
        every: Duration,
    },
    /// The encoder.
    Encoder {
        /// Counts from part to part.
        every: Counts,
    },
}

/// `[capture]`: which frame belongs to which part: the first one exposed from `exposure_min` to
/// `exposure_max` after the trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capture {
    /// Earliest exposure after the trigger; with a free-running camera the capture delay.
    pub exposure_min: Duration,
    /// Latest exposure after the trigger.
    pub exposure_max: Duration,
    /// A frame's way from the sensor to this program, at most.
    pub delivery: Duration,
}

impl Capture {
    /// The latest moment after the trigger at which the part's frame can be here.
    pub fn latest(&self) -> Duration {
        self.exposure_max + self.delivery
    }
}

/// `[plant]`: all wired lines go through text, for tests and demonstrations without hardware.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plant {
    /// Unix datagram socket on which edges of the input lines arrive; made here.
    pub inputs: PathBuf,
    /// FIFO, unix datagram socket or plain file that is told every change of the output lines.
    pub outputs: PathBuf,
}

/// `[gate]`: when the ejector acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate {
    /// From trigger to ejector.
    pub after: Span,
    /// How long the ejector acts.
    pub pulse: Span,
    /// The ejector's rest, in the unit of `after`.
    pub min_off: Span,
    /// How the ejector is wired.
    pub ejector: Ejector,
    /// An output later than this is a fault.
    pub late_output: Duration,
    /// Parts between sensor and ejector, at most [`MAX_CAPACITY`].
    pub capacity: usize,
    /// Half a period of HEARTBEAT.
    pub heartbeat: Duration,
    /// FAULT stays on at least this long, so that a PLC sees it.
    pub fault_hold: Duration,
    /// Only where the gate is by the clock: how long a stopped belt takes to full speed.
    pub spin_up: Duration,
    /// Only where the gate is by the encoder: no count for so long, and everything on the belt is
    /// thrown out; 0 is never.
    pub encoder_silence: Duration,
    /// Two counts of the encoder are never closer than this; None: not watched.
    pub count_min: Option<Duration>,
}

/// `[confirm]`: a sensor behind the gate that tells whether the ejector did what it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirm {
    /// What an edge of the sensor means.
    pub kind: ConfirmKind,
    /// How far from its expected place an edge may lie, in the unit of the gate.
    pub tolerance: Span,
}

/// The kinds of confirmation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfirmKind {
    /// The sensor is at the ejector's entry: one edge a part.
    Part,
    /// The sensor is in the reject bin: one edge a rejected part.
    Reject,
}

/// `[handshake]`: pulses by which a PLC correlates parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// Length of TRIGGER-ACK.
    pub ack: Duration,
    /// Length of RESULT-VALID.
    pub valid: Duration,
}

/// `[challenge]`: a known-bad part must be rejected from time to time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// At least this often.
    pub every: Duration,
}

/// Parts that can be tracked at most.
pub const MAX_CAPACITY: usize = 256;

/// Parts over which the reject rate can be taken at most.
pub const MAX_RATE_WINDOW: usize = 256;

/// `[alarm]`: when rejects are too many.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Alarm {
    /// Rejects in a row; 0 is never.
    pub consecutive_rejects: u32,
    /// Share of the last `rate_window` parts, 0 to 100; None is never.
    pub rate_percent: Option<f64>,
    /// Parts, at most [`MAX_RATE_WINDOW`].
    pub rate_window: usize,
    /// Restarts of the vision process within an hour above which the alarm is raised; 0 is never.
    pub restarts_per_hour: u32,
    /// READY stays off until somebody acknowledges.
    pub stop_line: bool,
}

impl Alarm {
    /// Rejects among the last [`Alarm::rate_window`] parts that raise the alarm: the share rounded
    /// up, at least 1; None is never.
    pub fn rate_rejects(&self) -> Option<usize> {
        let share = self.rate_percent? / 100.0 * self.rate_window as f64;
        // A share of 30 % of 100 is 30, whatever the last bit of the product says.
        Some(((share - 1e-9).ceil() as usize).clamp(1, self.rate_window))
    }
}

/// `[inference]`: the judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inference {
    /// Threads that share one image; None: one a processor, less one for camera and gate.
    pub threads: Option<usize>,
    /// Judging one part longer than this is a fault.
    pub timeout: Duration,
    /// Parts waiting for the judge beyond which READY drops.
    pub max_waiting: usize,
}

impl Inference {
    /// [`Inference::threads`] on this machine.
    pub fn threads_here(&self) -> usize {
        let processors = || std::thread::available_parallelism().map_or(1, usize::from);
        self.threads
            .unwrap_or_else(|| processors().saturating_sub(1).max(1))
    }
}

/// `[sanity]`: a picture outside these is UNKNOWN, whatever its score. None is off.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sanity {
    /// Grey levels, 0 to 255: darker is black.
    pub min_mean: Option<f64>,
    /// Share of points with a channel at 254 or above, 0 to 100.
    pub max_saturated_percent: Option<f64>,
    /// Mean absolute Laplacian of the sharpest 2 % of the points, grey levels: less is blurred.
    pub min_sharpness: Option<f64>,
    /// Share of the side, 0.1 to 10, against the product's golden good image.
    pub max_shift_percent: Option<f64>,
}

/// `[drift]`: an alarm on slowly rising scores, never a verdict.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drift {
    /// OK parts.
    pub window: usize,
    /// Rise of their mean score over the product's own.
    pub rise_percent: f64,
}

/// `[lines]`: what is wired to what. Every entry is on another line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// Part present.
    pub trigger: Option<LineSpec>,
    /// Belt counts.
    pub encoder: Option<LineSpec>,
    /// The encoder's second channel.
    pub encoder_b: Option<LineSpec>,
    /// Where triggers by the encoder count from: a part is at its place in a nest.
    pub index: Option<LineSpec>,
    /// A part is at the ejector, or fell into the reject bin.
    pub confirm: Option<LineSpec>,
    /// A person acknowledges an alarm.
    pub acknowledge: Option<LineSpec>,
    /// The line may run.
    pub ready: Option<LineSpec>,
    /// At least one part waits for its verdict.
    pub busy: Option<LineSpec>,
    /// A pulse for each part that passes.
    pub ok: Option<LineSpec>,
    /// The ejector that acts on what must go.
    pub reject: Option<LineSpec>,
    /// The ejector that spares what may pass.
    pub pass: Option<LineSpec>,
    /// A fault is present.
    pub fault: Option<LineSpec>,
    /// Toggles while everything is fresh.
    pub heartbeat: Option<LineSpec>,
    /// A pulse for each trigger that was taken as a part.
    pub trigger_ack: Option<LineSpec>,
    /// A pulse for each part whose end is decided.
    pub result_valid: Option<LineSpec>,
    /// The event log cannot be written.
    pub record_lost: Option<LineSpec>,
}

impl Lines {
    /// Names of the inputs, as in the file.
    pub const INPUTS: [&'static str; 6] = [
        "trigger",
        "encoder",
        "encoder_b",
        "index",
        "confirm",
        "acknowledge",
    ];
    /// Names of the outputs, as in the file.
    pub const OUTPUTS: [&'static str; 10] = [
        "ready",
        "busy",
        "ok",
        "reject",
        "pass",
        "fault",
        "heartbeat",
        "trigger_ack",
        "result_valid",
        "record_lost",
    ];

    /// The line called `name` in the file.
    pub fn named(&self, name: &str) -> Option<&LineSpec> {
        match name {
            "trigger" => self.trigger.as_ref(),
            "encoder" => self.encoder.as_ref(),
            "encoder_b" => self.encoder_b.as_ref(),
            "index" => self.index.as_ref(),
            "confirm" => self.confirm.as_ref(),
            "acknowledge" => self.acknowledge.as_ref(),
            "ready" => self.ready.as_ref(),
            "busy" => self.busy.as_ref(),
            "ok" => self.ok.as_ref(),
            "reject" => self.reject.as_ref(),
            "pass" => self.pass.as_ref(),
            "fault" => self.fault.as_ref(),
            "heartbeat" => self.heartbeat.as_ref(),
            "trigger_ack" => self.trigger_ack.as_ref(),
            "result_valid" => self.result_valid.as_ref(),
            "record_lost" => self.record_lost.as_ref(),
            _ => None,
        }
    }

    /// The lines that are wired, by name, inputs first.
    pub fn wired(&self) -> impl Iterator<Item = (&'static str, &LineSpec)> {
        Self::INPUTS
            .into_iter()
            .chain(Self::OUTPUTS)
            .filter_map(|name| Some((name, self.named(name)?)))
    }
}

/// `[supervisor]`: who holds the output lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Supervisor {
    /// READY and PASS fall when the vision process is silent for so long.
    pub lease: Duration,
    /// A command that is carried out later than this, or a supervisor that runs later than this, is
    /// an incident: the lines fall and what lay on the stretch is rejected.
    pub late: Duration,
    /// Pause before it is started again.
    pub restart: Duration,
    /// Hardware watchdog; None: not used.
    pub watchdog: Option<PathBuf>,
}

/// `[record]`: what is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The folder.
    pub folder: PathBuf,
    /// A log file is rotated at this size, bytes.
    pub log_max: u64,
    /// Log files.
    pub log_keep: u32,
    /// Kept images, bytes.
    pub images_quota: u64,
    /// Share of OK parts whose image is kept, 0 to 100.
    pub ok_sample_percent: f64,
    /// Below so many free bytes no images are kept.
    pub min_free: u64,
    /// An event log that cannot be written stops the line.
    pub required: bool,
}

/// `[metrics]` and `[control]`: who may ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Address of the Prometheus page; None: there is none.
    pub metrics: Option<SocketAddr>,
    /// The control socket; None: there is none.
    pub control: Option<PathBuf>,
}
