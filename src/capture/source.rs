//! The interface of every camera, real or not, to the line.
//!
//! A source delivers raw frames: the bytes as the camera made them, with the kernel's time. They
//! are decoded only after a part has claimed them, on the inspection thread, because most frames of
//! a free-running camera show no part.

use crate::time::{Duration, Instant};
use std::path::PathBuf;
use thiserror::Error;

use crate::frame::RawFrame;
/// Why a source gives no frames.
#[derive(Debug, Error)]
pub enum CaptureError {
    /// The device or folder does not exist, or cannot be used as configured.
    #[error("{source_name}: {problem}")]
    Open {
        /// Device or folder.
        source_name: String,
        /// What is wrong, and the fix if one is known.
        problem: String,
    },
    /// The device is gone, or no longer answers; opening it again can help.
    #[error("{source_name}: lost: {problem}")]
    Lost {
        /// Device or folder.
        source_name: String,
        /// The system's error.
        problem: String,
    },
    /// The device still gives frames, but a setting has changed.
    #[error("{source_name}: no longer as it was set: {problem}")]
    Changed {
        /// Device.
        source_name: String,
        /// What differs.
        problem: String,
    },
    /// A file of a folder source cannot be read.
    #[error("{}: cannot be read", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
}

/// How the thread that owns a source handles it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handling {
    /// Number of frames after each opening that are not used: exposure and gain settle in them.
    pub warmup_frames: u32,
    /// Time between two calls of [`FrameSource::check_controls`].
    pub controls_every: Duration,
    /// No two frames are alike to the byte, so a frame that is like another came twice.
    pub never_alike: bool,
}

impl Default for Handling {
    /// Frames are usable from the first one on, and can be alike.
    fn default() -> Self {
        Self {
            warmup_frames: 0,
            controls_every: Duration::from_secs(1),
            never_alike: false,
        }
    }
}

/// A source with another [`Handling`] than its own.
pub struct Handled {
    inner: Box<dyn FrameSource>,
    handling: Handling,
}

impl Handled {
    /// `inner` with `handling`.
    pub fn new(inner: Box<dyn FrameSource>, handling: Handling) -> Self {
        Self { inner, handling }
    }
}

impl FrameSource for Handled {
    fn open(&mut self) -> Result<(), CaptureError> {
        self.inner.open()
    }

    fn next(&mut self, into: &mut RawFrame, at_most: Duration) -> Result<bool, CaptureError> {
        self.inner.next(into, at_most)
    }

    fn frame_bytes(&self) -> usize {
        self.inner.frame_bytes()
    }

    fn check_controls(&mut self) -> Result<(), CaptureError> {
        self.inner.check_controls()
    }

    fn handling(&self) -> Handling {
        self.handling
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn flash(&mut self) -> Option<Box<dyn Flash>> {
        self.inner.flash()
    }
}

/// The source of frames. One thread owns it.
pub trait FrameSource: Send {
    /// Opens the source, or opens it again after [`CaptureError::Lost`]; returns within a bounded
    /// time. Afterwards, frames that were waiting from before are gone.
    ///
    /// # Errors
    /// [`CaptureError`] that names the device and the fix.
    fn open(&mut self) -> Result<(), CaptureError>;

    /// Waits for the next frame, at most `at_most`, and writes it into `into` without allocating
    /// memory beyond its capacity. False if none came.
    ///
    /// # Errors
    /// [`CaptureError::Lost`] if the source is gone: the caller opens it again later.
    fn next(&mut self, into: &mut RawFrame, at_most: Duration) -> Result<bool, CaptureError>;

    /// Largest size of a frame, bytes; known after the source is open.
    fn frame_bytes(&self) -> usize;

    /// Whether the settings of the start (exposure, gain, focus, ...) are unchanged. It takes
    /// milliseconds on a real camera and can allocate memory, so call it between parts, not for
    /// each.
    ///
    /// # Errors
    /// [`CaptureError::Changed`] names what differs; [`CaptureError::Lost`] if the device does not
    /// answer.
    fn check_controls(&mut self) -> Result<(), CaptureError> {
        Ok(())
    }

    /// How the camera's thread handles this source.
    fn handling(&self) -> Handling {
        Handling::default()
    }

    /// Source, format, size and rate as opened, for logs and `doctor`.
    fn describe(&self) -> String;

    /// For sources that expose on command: what to call at every trigger. None for cameras that run
    /// freely or have a wired trigger.
    fn flash(&mut self) -> Option<Box<dyn Flash>> {
        None
    }
}

/// Makes a source expose. The trigger thread calls it: it allocates no memory and does not wait.
pub trait Flash: Send {
    /// A part was seen at `at`.
    fn fire(&mut self, at: Instant);
}
