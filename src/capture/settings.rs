//! `[camera]`: where frames come from.

use crate::frame::PixelFormat;
use crate::settings::kind::{decimal, device, flag, ms, path, whole, word};
use crate::settings::{Absent, Declared, Document, Place, Section, Setting, section};
use std::path::PathBuf;
use std::time::Duration;

/// `[camera]`: where frames come from.
#[derive(Clone, Debug, PartialEq)]
pub struct Camera {
    /// The source.
    pub source: CameraSource,
    /// When it exposes.
    pub timing: Timing,
    /// `[camera.controls]` of a V4L2 device by their keys: set at start, read back, and checked
    /// while the line runs. The camera keeps its own value of every other control.
    pub controls: Vec<(String, i64)>,
}

impl Camera {
    /// Whether the camera exposes once per part. Then a time without frames is no sign of a fault.
    pub fn on_trigger(&self) -> bool {
        self.timing.on_trigger
    }

    /// Time from frame to frame of a free-running camera. None if the camera exposes on triggers,
    /// and for a recording, which has its own times.
    pub fn interval(&self) -> Option<Duration> {
        let by_rate = !self.on_trigger() && !matches!(self.source, CameraSource::Recorded { .. });
        by_rate.then_some(Duration::from_nanos((1e9 / self.timing.fps) as u64))
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
    },
    /// A recording: image files and the times at which they were taken, again and again.
    Recorded {
        /// The folder with [`INDEX`](crate::capture::recorded::INDEX).
        folder: PathBuf,
    },
    /// The demonstration part, rendered.
    Rendered(Rendered),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SourceName {
    V4l2,
    Folder,
    Recorded,
    Rendered,
}

const SOURCES: &[(&str, SourceName)] = &[
    ("v4l2", SourceName::V4l2),
    ("folder", SourceName::Folder),
    ("recorded", SourceName::Recorded),
    ("rendered", SourceName::Rendered),
];

/// None: those of the pictures that the product was fitted on.
const BITS: &[(&str, Option<u8>)] = &[
    ("product", None),
    ("10", Some(10)),
    ("12", Some(12)),
    ("14", Some(14)),
    ("16", Some(16)),
];

/// None: the best format that the camera offers.
const FORMATS: &[(&str, Option<PixelFormat>)] = &[
    ("auto", None),
    ("GREY", Some(PixelFormat::Grey8)),
    ("Y16", Some(PixelFormat::Grey16)),
    ("YUYV", Some(PixelFormat::Yuyv)),
    ("RGB3", Some(PixelFormat::Rgb24)),
    ("BGR3", Some(PixelFormat::Bgr24)),
    ("MJPG", Some(PixelFormat::Mjpeg)),
];

section! {
    /// When a source exposes.
    #[derive(Clone, Copy, Debug, PartialEq)]
    pub struct Timing, read as TimingRead in "camera" {
        /// Frames per second: requested from a V4L2 camera, the rate of a free-running folder or
        /// rendered source.
        fps: f64 = "fps", decimal(0.1..=1000.0, "frames per second"), default 30;
        /// Time without a frame after which the camera counts as lost.
        timeout: Duration = "timeout_ms", ms(20.0..=60_000.0), default 1000;
        /// Expose once per part instead of at `fps`. A V4L2 camera does so by a wire; then a time
        /// without frames is no sign of a fault.
        on_trigger: bool = "on_trigger", flag(), default false;
    }
}

section! {
    /// A V4L2 camera and its settings. Device and size come from the board profile if they are
    /// absent.
    #[derive(Clone, Debug, PartialEq)]
    pub struct V4l2Camera, read as V4l2Read in "camera" {
        /// Device node.
        device: PathBuf = "device", device("a device node"), demanded "the board profile's";
        /// Width, pixels.
        width: u32 = "width", whole(16..=16384, "pixels"), demanded "the board profile's";
        /// Height, pixels.
        height: u32 = "height", whole(16..=16384, "pixels"), demanded "the board profile's";
        /// None: the best format that the camera offers.
        format: Option<PixelFormat> = "format", word(FORMATS), default "auto";
        /// Bits that count in the samples of Y16, from the right. None: as the product was fitted.
        bits: Option<u8> = "bits", word(BITS), default "product";
        /// Whether two parts can have the same picture to the byte; if not, the second is UNKNOWN.
        allow_identical: bool = "allow_identical", flag(), default false;
        /// Number of frames after each opening that are not used: exposure and gain settle in them.
        warmup_frames: u32 = "warmup_frames", whole(0..=1000, "frames"), default 3;
        /// How often the controls are read while the line runs.
        controls_every: Duration = "controls_every_ms", ms(100.0..=60_000.0), default 1000;
    }
}

section! {
    /// The demo's production.
    #[derive(Clone, Copy, Debug, PartialEq)]
    pub struct Rendered, read as RenderedRead in "camera" {
        /// Seed of the production.
        seed: u64 = "seed", whole(0..=i64::MAX as u64, ""), default 1;
        /// Share of parts with a defect, 0 to 100.
        defective_percent: f64 = "defective_percent", decimal(0.0..=100.0, "%"), default 10;
    }
}

/// `[camera]` and `[camera.controls]` as read.
pub(crate) struct CameraRead {
    pub(crate) source: Setting<SourceName>,
    pub(crate) timing: TimingRead,
    pub(crate) v4l2: V4l2Read,
    pub(crate) folder: Setting<PathBuf>,
    pub(crate) rendered: RenderedRead,
    pub(crate) controls_here: Place,
    controls: Vec<(String, i64)>,
}

impl CameraRead {
    pub(crate) fn read(document: &mut Document, top: &mut Section<'_>) -> Self {
        let mut section = document.section(top, "camera");
        let s = &mut section;
        let source = document.setting(s, "source", word(SOURCES), Absent::Refused);
        let v4l2 = V4l2Read::read_part(document, s);
        let timing = TimingRead::read_part(document, s);
        let folder = document.setting(s, "folder", path("a folder"), Absent::Leaves("none"));
        let rendered = RenderedRead::read_part(document, s);
        let mut section = document.section(s, "camera.controls");
        let controls = controls(document, &mut section);
        let controls_here = section.here();
        document.close(&section);
        document.close(s);
        Self {
            source,
            timing,
            v4l2,
            folder,
            rendered,
            controls_here,
            controls,
        }
    }

    /// None if something was refused or is missing, which is a problem already.
    pub(crate) fn taken(self) -> Option<Camera> {
        Some(Camera {
            source: match self.source.value? {
                SourceName::V4l2 => CameraSource::V4l2(self.v4l2.taken()?),
                SourceName::Folder => CameraSource::Folder {
                    folder: self.folder.value?,
                },
                SourceName::Recorded => CameraSource::Recorded {
                    folder: self.folder.value?,
                },
                SourceName::Rendered => CameraSource::Rendered(self.rendered.taken()?),
            },
            timing: self.timing.taken()?,
            controls: self.controls,
        })
    }
}

/// The controls that are given: the four that every camera can have, and others by their V4L2 name
/// in lower case with underscores, such as `power_line_frequency`. The automatic mode of each of
/// the four is switched off for it.
fn controls(document: &mut Document, section: &mut Section<'_>) -> Vec<(String, i64)> {
    let scale = || whole(0..=i32::MAX as u64, "on the camera's own scale");
    let mut found = Vec::new();
    for (key, kind) in [
        ("exposure_us", whole(1..=10_000_000, "us")),
        ("gain", scale()),
        ("focus", scale()),
        ("white_balance_k", whole(1000..=20_000, "K")),
    ] {
        let setting = document.setting(section, key, kind, Absent::Leaves("left as it is"));
        found.extend(setting.value.map(|value| (key.to_string(), value)));
    }
    let any = i64::from(i32::MIN)..=i64::from(i32::MAX);
    found.extend(document.other_wholes(section, any, control_name));
    found
}

fn control_name(key: &str) -> Result<(), String> {
    let named = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    if key.len() <= 64 && key.bytes().all(named) {
        Ok(())
    } else {
        Err("not the name of a V4L2 control: lower-case letters, digits and underscores, such as \"power_line_frequency\" (`v4l2-ctl --list-ctrls` shows them)".into())
    }
}
