//! One life of a line: from the start of its threads until they have ended.

use crate::capture::source::CaptureError;
use crate::line::controller::ControllerSettings;
use crate::line::gate::{Ejector, Settings};
use crate::line::pairing::PairingSettings;
use crate::simulation::lines::SimulatedError;
use crate::station::{InspectorError, Station, StationError, Summary};
use crate::time::{Duration, Span};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use thiserror::Error;

/// From the trigger to the exposure.
pub(super) const EXPOSURE: Duration = Duration::from_millis(2);
/// Longest time from the exposure of a frame until the program has it.
pub(super) const DELIVERY: Duration = Duration::from_millis(60);

/// Why a soak ends early.
#[derive(Debug, Error)]
pub enum SoakError {
    /// There is no picture of a part.
    #[error("no picture of a part")]
    NoPicture,
    /// The inspector fails on its own product's pictures.
    #[error("the product cannot inspect its own parts")]
    PartInspector(#[from] InspectorError),
    /// A simulated device cannot be made.
    #[error(transparent)]
    Device(#[from] SimulatedError),
    /// The settings of the camera's faults are refused.
    #[error(transparent)]
    Camera(#[from] CaptureError),
    /// The line cannot start or run.
    #[error(transparent)]
    Station(#[from] StationError),
    /// A thread of the line panicked.
    #[error("a thread of the line panicked")]
    Panicked,
}

/// What distinguishes one line in real time from another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// From sensor to ejector.
    pub(super) gate: Duration,
    pub(super) pulse: Duration,
    pub(super) min_pitch: Duration,
    /// Longest time for one part's inspection.
    pub(super) inspection: Duration,
    pub(super) capacity: usize,
    pub(super) max_waiting: usize,
}

impl Pace {
    pub(super) fn settings(self) -> ControllerSettings {
        let (gate, pulse) = (Span::Time(self.gate), Span::Time(self.pulse));
        let gate = Settings {
            min_off: Span::Time(Duration::from_millis(10)),
            capacity: self.capacity,
            max_waiting: self.max_waiting,
            ..Settings::plain(gate, pulse, Ejector::Pass, self.min_pitch)
        };
        let pairing = PairingSettings {
            exposure_min: Duration::ZERO,
            exposure_max: Duration::from_millis(20),
            delivery: DELIVERY,
        };
        ControllerSettings::plain(gate, pairing, self.inspection)
    }
}

/// A station that runs on its own thread.
pub(super) struct Running {
    stop: Arc<AtomicBool>,
    gate: Option<JoinHandle<Result<Summary, StationError>>>,
}

impl Running {
    pub(super) fn start(station: Station) -> Result<Self, StationError> {
        let stop = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&stop);
        let gate = std::thread::Builder::new()
            .name("partgate-gate".into())
            .spawn(move || station.run(&theirs))
            .map_err(StationError::Thread)?;
        Ok(Self {
            stop,
            gate: Some(gate),
        })
    }

    /// Whether it still runs.
    pub(super) fn runs(&self) -> bool {
        self.gate.as_ref().is_some_and(|g| !g.is_finished())
    }

    /// Ends it; None if one of its threads panicked.
    pub(super) fn end(mut self) -> Option<Result<Summary, StationError>> {
        self.stop.store(true, Ordering::Relaxed);
        self.gate.take()?.join().ok()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(gate) = self.gate.take() {
            let _ = gate.join();
        }
    }
}
