//! What every camera, real or not, looks like to the line.
//!
//! A source hands over raw frames: the bytes as the camera made them, with the kernel's time. They
//! are decoded only once a part has claimed them, on the inference thread, because most frames of
//! a free-running camera show no part.

use crate::time::{Duration, Instant};
use std::path::PathBuf;
use thiserror::Error;

use crate::frame::RawFrame;
/// Why a source gives no frames.
#[derive(Debug, Error)]
pub enum CaptureError {
    /// The device or folder is not there, or not usable as configured.
    #[error("{source_name}: {problem}")]
    Open {
        /// Device or folder.
        source_name: String,
        /// What is off, and the fix where one is known.
        problem: String,
    },
    /// The device went away, or stopped answering; opening it again may help.
    #[error("{source_name}: lost: {problem}")]
    Lost {
        /// Device or folder.
        source_name: String,
        /// What the system said.
        problem: String,
    },
    /// The device still gives frames, but something that was set has changed since.
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
        /// What the system said.
        source: std::io::Error,
    },
}

/// How the thread that owns a source handles it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handling {
    /// So many frames after each opening are not used: exposure and gain settle in them.
    pub warmup_frames: u32,
    /// Between two calls of [`FrameSource::check_controls`].
    pub controls_every: Duration,
    /// No two pictures are alike to the byte, so that one that is like another came twice.
    pub never_alike: bool,
}

impl Default for Handling {
    /// Frames are good from the first one on, and may be alike.
    fn default() -> Self {
        Self {
            warmup_frames: 0,
            controls_every: Duration::from_secs(1),
            never_alike: false,
        }
    }
}

/// A source that is handled otherwise than it would ask for.
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

/// Where frames come from. One thread owns it.
pub trait FrameSource: Send {
    /// Opens, or opens again after [`CaptureError::Lost`]; returns within a bounded time. Frames
    /// that were waiting from before are gone afterwards.
    ///
    /// # Errors
    /// [`CaptureError`] that names the device and the fix.
    fn open(&mut self) -> Result<(), CaptureError>;

    /// Waits for the next frame, at most `at_most`, and writes it into `into` without taking
    /// memory beyond its capacity. False when none came.
    ///
    /// # Errors
    /// [`CaptureError::Lost`] when the source is gone: the caller opens again, later.
    fn next(&mut self, into: &mut RawFrame, at_most: Duration) -> Result<bool, CaptureError>;

    /// Bytes that the largest frame may take; known once opened.
    fn frame_bytes(&self) -> usize;

    /// Whether what was set at start (exposure, gain, focus, ...) is still so. Takes milliseconds on
    /// a real camera and may take memory: call it between parts, not for each.
    ///
    /// # Errors
    /// [`CaptureError::Changed`] names what differs; [`CaptureError::Lost`] when nobody answers.
    fn check_controls(&mut self) -> Result<(), CaptureError> {
        Ok(())
    }

    /// How the camera's thread is to handle it.
    fn handling(&self) -> Handling {
        Handling::default()
    }

    /// Source, format, size and rate as opened, for logs and `doctor`.
    fn describe(&self) -> String;

    /// For sources that expose on command: what to call at every trigger. None for cameras that
    /// run freely or are triggered by wire.
    fn flash(&mut self) -> Option<Box<dyn Flash>> {
        None
    }
}

/// Tells a source to expose. Called on the trigger thread: takes no memory and does not wait.
pub trait Flash: Send {
    /// A part was seen at `at`.
    fn fire(&mut self, at: Instant);
}
