//! What a line does at one part rate, without faults.

use super::camera::{BeltCamera, Picture};
use super::ledger::Ledger;
use super::life::{DELIVERY, EXPOSURE, Pace, Running, SoakError};
use crate::clock;
use crate::frame::{PixelFormat, RawFrame};
use crate::line::devices::Input;
use crate::line::gate::{Counters, Output, Reason};
use crate::record::{Latency, ProductLabel, Quantiles};
use crate::simulation::lines::{SimulatedInputs, SimulatedOutputs};
use crate::station::{self, Inspected, InspectorError, PartInspector, Station, TriggerSource};
use crate::time::Duration;
use std::sync::{Arc, Mutex, PoisonError};

/// A line that is not ready after this time will not become ready.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// How long inspection takes if nothing else runs.
#[derive(Clone, Copy, Debug)]
pub struct InspectionTimes {
    /// Median.
    pub median: Duration,
    /// The longest.
    pub max: Duration,
}

/// Inspects `pictures` in turn, `runs` times after two runs that do not count.
///
/// # Errors
/// The inspector's error.
pub fn inspection_times(
    inspector: &mut dyn PartInspector,
    pictures: &[Picture],
    runs: usize,
) -> Result<InspectionTimes, InspectorError> {
    let mut times = Vec::with_capacity(runs);
    for (run, picture) in pictures.iter().cycle().take(runs + 2).enumerate() {
        let raw = RawFrame {
            bytes: picture.rgb.clone(),
            format: PixelFormat::Rgb24,
            width: picture.width,
            height: picture.height,
            stride: 3 * picture.width,
            ..RawFrame::with_capacity(0)
        };
        let started = clock::now();
        inspector.inspect(&raw)?;
        if run >= 2 {
            times.push(clock::now().since(started));
        }
    }
    times.sort_unstable();
    let at = |place: usize| times.get(place).copied().unwrap_or_default();
    Ok(InspectionTimes {
        median: at(times.len() / 2),
        max: at(times.len().saturating_sub(1)),
    })
}

/// One part rate to try.
#[derive(Clone, Copy, Debug)]
pub struct LineTrial {
    /// Time between two parts.
    pub pitch: Duration,
    /// Time from sensor to ejector.
    pub gate: Duration,
    /// Number of parts.
    pub parts: u64,
}

/// The results of one part rate.
#[derive(Clone, Copy, Debug)]
pub struct LineFigures {
    /// The gate's counters.
    pub counters: Counters,
    /// Parts that came, whether the line saw them or not.
    pub came: u64,
    /// Parts that were rejected for lack of time (no verdict at the gate, no place left, or the
    /// line was not ready after such a part), and outputs that were late.
    pub late: u64,
    /// Time of one part's inspection.
    pub inspection: Quantiles,
    /// From the trigger to the verdict.
    pub trigger_to_verdict: Quantiles,
    /// From the trigger to the change of the ejector's output; includes the way from sensor to
    /// ejector.
    pub trigger_to_output: Quantiles,
    /// How much later than scheduled the ejector was switched on.
    pub lateness: Quantiles,
}

/// An inspector that several lines use one after the other.
struct Lent(Arc<Mutex<Box<dyn PartInspector>>>);

impl PartInspector for Lent {
    fn inspect(&mut self, raw: &RawFrame) -> Result<Inspected, InspectorError> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.inspect(raw)
    }
}

/// Runs parts through a line at a steady rate.
///
/// # Errors
/// [`SoakError`] if the line cannot run.
pub fn try_line(
    trial: LineTrial,
    inspector: &Arc<Mutex<Box<dyn PartInspector>>>,
    pictures: &Arc<[Picture]>,
    ng_threshold: f32,
) -> Result<LineFigures, SoakError> {
    let (pitch, gate) = (trial.pitch, trial.gate);
    let on_belt = (gate.0 / pitch.0.max(1)) as usize + 8;
    let capacity = on_belt.min(crate::line::controller::MAX_PARTS);
    let pace = Pace {
        gate,
        pulse: (pitch * 2 / 5).clamp(Duration(1), Duration::from_millis(40)),
        min_pitch: (pitch / 2).max(Duration::from_millis(1)),
        inspection: gate * 2,
        capacity,
        max_waiting: capacity,
    };
    let ledger = Arc::new(Ledger::new(gate));
    let camera = BeltCamera::new(Arc::clone(&ledger), Arc::clone(pictures), EXPOSURE, 0);
    let (inputs, mut feed) = SimulatedInputs::new(1024)?;
    let (outputs, view) = SimulatedOutputs::new(64)?;
    let metrics = Arc::new(station::metrics());
    let running = Running::start(Station {
        settings: pace.settings(),
        source: Box::new(camera),
        camera_timeout: Duration::from_secs(1),
        camera_wired: false,
        triggers: TriggerSource::Inputs(Box::new(inputs)),
        outputs: Box::new(outputs),
        inspector: Box::new(Lent(Arc::clone(inspector))),
        self_test_passed: true,
        recorder: None,
        metrics: Arc::clone(&metrics),
        keepalive: None,
        sampler: None,
        ng_threshold,
        socket_triggers: false,
        product: ProductLabel::new("bench", ""),
        alive_every: Duration::from_millis(50),
        late: crate::time::Duration::from_millis(1_000),
        record_required: false,
        challenge_every: None,
        history: crate::station::History::default(),
        control: None,
        latch: None,
        switch: None,
        asked: Default::default(),
        recipe: None,
    })?;
    let limit = clock::now().after(READY_WITHIN);
    while !view.level(Output::Ready) && running.runs() && clock::now() < limit {
        clock::sleep(Duration::from_millis(5));
    }
    let mut next = clock::now().after(pitch);
    for _ in 0..trial.parts {
        clock::sleep(clock::until(next));
        // The sensor's own time: the plant is on time even if this thread is not.
        ledger.arrive(next);
        feed.edge(Input::Trigger, next);
        next = next.after(pitch);
        while ledger.settle(clock::now()).is_some() {}
    }
    clock::sleep(gate + pace.pulse + DELIVERY);
    let summary = running.end().ok_or(SoakError::Panicked)??;
    let counters = summary.counters;
    let rejected = |reason: Reason| counters.rejected[reason as usize];
    let inspected = rejected(Reason::Ng) + rejected(Reason::Unknown) + rejected(Reason::Neighbour);
    let quantiles = |which| metrics.latency(which).quantiles();
    Ok(LineFigures {
        counters,
        came: trial.parts,
        late: trial.parts.saturating_sub(counters.passed + inspected) + counters.late_outputs,
        inspection: quantiles(Latency::Inspection),
        trigger_to_verdict: quantiles(Latency::TriggerToVerdict),
        trigger_to_output: quantiles(Latency::TriggerToOutput),
        lateness: quantiles(Latency::OutputLateness),
    })
}
