//! The running line: threads around the [controller](crate::line::controller), and the supervisor
//! that holds the outputs. This is the one room that knows all others.
//!
//! ```text
//! supervisor process                    vision process
//!   outputs       <--- link --> gate thread  <-- trigger thread <-- sensor, encoder
//!        ^----- switch off -------+
//!                                 |  ^   ^
//!                      recorder <-+  |   +-- camera thread <-- camera
//!                                    +------ inspector thread
//! ```
//!
//! - `gate_thread`: the gate thread.
//! - `executor`: executes the controller's commands there.
//! - `camera`, `triggers`, `inference`: the threads that send it what it needs. `activity`:
//!   whether they still make their rounds.
//! - `control`: the socket for people and PLC gateways.
//! - [`supervisor`](supervise): whatever happens to the vision process, the outputs are switched
//!   off. `link`: the messages between the two. `handover`, `sealed_files`: what a new vision
//!   process gets.
//! - `challenge`: a known-bad part that must be rejected from time to time.
//! - [`keepalive`]: systemd and the hardware watchdog.
//! - `latch`: the file that keeps an alarm after every process has ended.
//! - `trigger_test`: after what time the camera sees an output.
//! - `devices`: makes devices from a configuration.

mod activity;
mod camera;
mod challenge;
mod control;
mod devices;
mod executor;
mod gate_thread;
mod handover;
mod inference;
mod inspector;
pub mod keepalive;
mod latch;
mod link;
mod priority;
mod queues;
mod recording;
mod sealed_files;
mod supervisor;
mod trigger_test;
mod triggers;

pub use control::{ControlError, ask, ensure_alone};
pub use devices::{
    DeviceSetupError, SimulatedDevices, controller_settings, inputs, outputs, safe_outputs, sanity,
    source, v4l2_settings,
};
pub use handover::{EndedBy, Handover};
pub use inspector::{Inspected, InspectorError, PartInspector, ProductInspector};
pub use latch::{AlarmLatch, standing_at_start};
pub use link::{LinkError, LinkedOutputs, SupervisorEnd, VisionEnd, pair as link_pair};
pub use priority::{LINES as HIGHEST_PRIORITY, hold_memory, ordinary as ordinary_priority};
pub use sealed_files::{Changes, Received, SealedFiles, SealedFilesError};
pub use supervisor::{START_LIMIT, Supervision, SupervisorError, supervise};
pub use trigger_test::{
    Round, Seen, Spread, Suggestion, TriggerTest, TriggerTestError, TriggerTested, trigger_test,
};

use crate::capture::source::{CaptureError, FrameSource};
use crate::clock;
use crate::line::controller::{ControllerSettings, FrameCounters};
use crate::line::devices::{Inputs, LatchedAlarm, Outputs};
use crate::line::gate::{Counters, Fault, SettingsError};
use crate::record::{Metrics, ProductLabel, Recorder, Sampler};
use crate::station::keepalive::Keepalive;
use crate::time::{Duration, Instant};
use activity::ThreadActivity;
use camera::{CameraQueues, CameraSettings};
use challenge::Challenge;
use control::{Control, ControlQueues};
use executor::Observers;
use gate_thread::{GateQueues, GateThread, Watched};
use inference::InspectorQueues;
use queues::{ControlRequest, Queues};
use recording::RecorderQueues;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;
use thiserror::Error;
use triggers::{SharedFlash, TriggerQueues};

/// Where triggers come from.
pub enum TriggerSource {
    /// Edges of inputs; with an encoder, also its counts.
    Inputs(Box<dyn Inputs>),
    /// The clock. Edges of other inputs (an encoder, a button) count too.
    Clock {
        /// Time from part to part.
        every: Duration,
        /// The other inputs, if any is wired.
        inputs: Option<Box<dyn Inputs>>,
    },
    /// Only the control socket.
    Socket,
}

/// What happened on this line before this vision process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Number of restarts of the vision process.
    pub restarts: u32,
    /// How the previous one ended.
    pub ended_by: EndedBy,
    /// How many times the supervisor ran late.
    pub supervisor_late: u32,
    /// Files that are different on the disk now than when the line was started.
    pub changed: Changes,
    /// Those of them that were not reported yet.
    pub newly_changed: Changes,
    /// The latched alarm.
    pub alarm: LatchedAlarm,
    /// When a challenge was last passed, in seconds since 1970; None if unknown.
    pub challenge: Option<u64>,
}

/// Everything that a running line needs.
pub struct Station {
    /// Settings of gate and controller.
    pub settings: ControllerSettings,
    /// Where frames come from.
    pub source: Box<dyn FrameSource>,
    /// A free-running camera that is silent for this long is lost.
    pub camera_timeout: Duration,
    /// Whether a signal makes the camera expose once per part. A source that this program makes
    /// expose states it itself: [`FrameSource::flash`].
    pub camera_wired: bool,
    /// Where triggers come from.
    pub triggers: TriggerSource,
    /// The outputs.
    pub outputs: Box<dyn Outputs>,
    /// The inspector.
    pub inspector: Box<dyn PartInspector>,
    /// Whether the product scores here as it did in the fit. If not, READY stays off.
    pub self_test_passed: bool,
    /// Writes the record; None: nothing is recorded.
    pub recorder: Option<Recorder>,
    /// The line's metrics.
    pub metrics: Arc<Metrics>,
    /// systemd and the hardware watchdog, which are informed that the gate works.
    pub keepalive: Option<Keepalive>,
    /// Which pictures of passed parts are kept.
    pub sampler: Option<Sampler>,
    /// The product's NG threshold, for the metrics.
    pub ng_threshold: f32,
    /// Whether triggers can come from the control socket.
    pub socket_triggers: bool,
    /// The product's label, for the log.
    pub product: ProductLabel,
    /// Time between two messages to the supervisor that show that the gate works.
    pub alive_every: Duration,
    /// If the gate thread runs later than this, everything on the line is rejected.
    pub late: Duration,
    /// Whether the line must not run while the event log cannot be written.
    pub record_required: bool,
    /// Longest time between two challenges; None: no limit.
    pub challenge_every: Option<Duration>,
    /// What happened before this process started.
    pub history: History,
    /// Path of the control socket; None: there is none.
    pub control: Option<PathBuf>,
    /// Keeps the latched alarm after this process ends; None: it is not kept.
    pub latch: Option<AlarmLatch>,
}

/// Why a line cannot run.
#[derive(Debug, Error)]
pub enum StationError {
    /// The settings are not valid for a line.
    #[error("these settings make no line")]
    Settings(#[from] SettingsError),
    /// The camera cannot be opened as configured.
    #[error("the camera cannot be used")]
    Camera(#[from] CaptureError),
    /// The control socket cannot be used.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The system gives no thread.
    #[error("a thread cannot be started")]
    Thread(#[source] std::io::Error),
}

/// Metrics with the names of the line's faults and alarms.
pub fn metrics() -> Metrics {
    let [_, alarms @ ..] = LatchedAlarm::ALL.map(LatchedAlarm::name);
    let [a, b, c, d] = alarms;
    Metrics::new(&Fault::ALL.map(Fault::name), &[a, b, c, d, "drift"])
}

/// What a line counted until it was stopped.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    /// Counts of parts and triggers.
    pub counters: Counters,
    /// Counts of frames.
    pub frames: FrameCounters,
    /// Parts that were on their way at the end.
    pub under_way: u64,
    /// Frames for which there was no room.
    pub frames_without_room: u64,
}

impl Station {
    /// Runs the line until `stop`. The calling thread becomes the gate thread.
    ///
    /// # Errors
    /// [`StationError`] before anything runs.
    pub fn run(self, stop: &AtomicBool) -> Result<Summary, StationError> {
        let Self {
            settings,
            mut source,
            camera_timeout,
            camera_wired,
            triggers,
            outputs,
            mut inspector,
            self_test_passed,
            recorder,
            metrics,
            keepalive,
            sampler,
            ng_threshold,
            socket_triggers,
            product,
            alive_every,
            late,
            record_required,
            challenge_every,
            history,
            control,
            latch,
        } = self;
        settings.gate.check(crate::line::controller::MAX_PARTS)?;
        source.open()?;
        log::info!("camera: {}", source.describe());
        metrics.challenge.set_passed_at(history.challenge);
        let age = metrics.challenge.age(SystemTime::now());
        let challenge = Challenge::new(challenge_every, age.map(Into::into), clock::now());
        let flash = source.flash();
        let on_trigger = camera_wired || flash.is_some();
        let flash: SharedFlash = Mutex::new(flash);
        let control = control.as_deref().map(Control::bind).transpose()?;
        let keeps_ok = move |part| sampler.is_some_and(|s| s.takes(part));
        let entries_lost = AtomicU64::new(0);

        let mut queues = Box::new(Queues::default());
        let Queues {
            arrivals,
            camera,
            jobs,
            answers,
            words,
            items,
            pictures,
            free_gate,
            free_inspector,
            free_recorder,
        } = &mut *queues;
        let (arrivals_in, arrivals_out) = arrivals.split();
        let (camera_in, camera_out) = camera.split();
        let (jobs_in, jobs_out) = jobs.split();
        let (answers_in, answers_out) = answers.split();
        let (mut words_in, words_out) = words.split();
        let (items_in, items_out) = items.split();
        let (pictures_in, pictures_out) = pictures.split();
        let (free_gate_in, free_gate_out) = free_gate.split();
        let (free_inspector_in, free_inspector_out) = free_inspector.split();
        let (free_recorder_in, free_recorder_out) = free_recorder.split();
        let no_room = AtomicU64::new(0);
        let alive = ThreadActivity::new();
        let record_lost = AtomicBool::new(false);
        // Not the number of an alarm: the recorder waits until the gate has reported the latched
        // one.
        let alarm = AtomicU8::new(u8::MAX);
        let gate = std::thread::current();

        if !self_test_passed {
            let _ = words_in.enqueue(ControlRequest::Fault(Fault::SelfTest, true));
        }
        std::thread::scope(|scope| {
            // If this scope ends for any reason, its threads end too, because all their waits are
            // short.
            let _stop_all = StopAtEnd(stop);
            let ends = RecorderQueues {
                items: items_out,
                pictures: pictures_out,
                free: free_recorder_in,
                lost: &entries_lost,
                latch,
                alarm: &alarm,
                metrics: metrics.clone(),
                record_lost: &record_lost,
                gate: gate.clone(),
                alive: &alive.record,
            };
            let recorder_thread = spawn(scope, "record", move || {
                recording::run(recorder, ends, stop);
            })?;

            let ends = InspectorQueues {
                jobs: jobs_out,
                answers: answers_in,
                pictures: pictures_in,
                free: free_inspector_in,
                gate: gate.clone(),
                recorder: recorder_thread.clone(),
                keeps_ok: &keeps_ok,
                alive: &alive.inspector,
            };
            let inspector_thread = spawn(scope, "judge", move || {
                inference::run(&mut *inspector, ends, stop);
            })?;

            let ends = CameraQueues {
                out: camera_in,
                free: [free_gate_out, free_inspector_out, free_recorder_out],
                gate: gate.clone(),
                no_room: &no_room,
                alive: &alive.camera,
            };
            let camera_settings = CameraSettings {
                timeout: camera_timeout,
                on_trigger,
            };
            spawn(scope, "camera", move || {
                priority::real_time(priority::CAMERA);
                camera::run(source, &camera_settings, ends, stop);
            })?;

            let ends = TriggerQueues {
                out: arrivals_in,
                gate: gate.clone(),
                flash: &flash,
                alive: &alive.trigger,
                known: None,
                doubted: false,
            };
            let level_every = settings.level_every;
            let (inputs, every) = match triggers {
                TriggerSource::Inputs(inputs) => (Some(inputs), None),
                TriggerSource::Clock { every, inputs } => (inputs, Some(every)),
                TriggerSource::Socket => (None, None),
            };
            spawn(scope, "trigger", move || {
                priority::real_time(priority::TRIGGER);
                triggers::run(inputs, every, level_every, ends, stop);
            })?;

            if let Some(control) = &control {
                let ends = ControlQueues {
                    words: words_in,
                    gate: gate.clone(),
                    flash: &flash,
                    metrics: metrics.clone(),
                    triggers: socket_triggers,
                    late: settings.gate.late_output,
                    last: Instant(0),
                    alive: &alive.control,
                };
                spawn(scope, "control", move || {
                    control::run(control, ends, stop);
                })?;
            }

            priority::real_time(priority::GATE);
            let ends = GateQueues {
                arrivals: arrivals_out,
                camera: camera_out,
                answers: answers_out,
                words: words_out,
                jobs: jobs_in,
                items: items_in,
                free: free_gate_in,
            };
            let observers = Observers {
                metrics,
                keepalive,
                product,
                ng_threshold,
                entries_lost: &entries_lost,
                alarm: &alarm,
                challenge,
                inspector: &inspector_thread,
                recorder: &recorder_thread,
            };
            let watched = Watched {
                alive: &alive,
                control_triggers: socket_triggers && control.is_some(),
                alive_every,
                late,
                record_lost: &record_lost,
                record_required,
            };
            let mut gate_thread =
                GateThread::new(settings, outputs, ends, observers, watched, history)?;
            gate_thread.run(stop);
            let controller = gate_thread.controller();
            Ok(Summary {
                counters: *controller.counters(),
                frames: *controller.frames(),
                under_way: controller.under_way() as u64,
                frames_without_room: no_room.load(Ordering::Relaxed),
            })
        })
    }
}

/// Starts a thread with a name for `top -H`.
fn spawn<'scope>(
    scope: &'scope std::thread::Scope<'scope, '_>,
    name: &str,
    work: impl FnOnce() + Send + 'scope,
) -> Result<std::thread::Thread, StationError> {
    let builder = std::thread::Builder::new().name(format!("partgate-{name}"));
    let handle = builder.spawn_scoped(scope, work);
    let handle = handle.map_err(StationError::Thread)?;
    Ok(handle.thread().clone())
}

/// Sets the flag when dropped, so that an early return leaves no thread running.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
