//! The running line: threads round the [controller](crate::line::controller), and the supervisor
//! that holds the output lines. The one room that knows all others.
//!
//! ```text
//! supervisor process                    vision process
//!   output lines  <--- link --> gate thread  <-- trigger thread <-- sensor, encoder
//!        ^---- let fall round it ----+
//!                                 |  ^   ^
//!                      recorder <-+  |   +-- camera thread <-- camera
//!                                    +------ inference thread
//! ```
//!
//! - `conductor`: the gate's thread.
//! - `desk`: where it carries out what the controller says.
//! - `camera`, `triggers`, `inference`: the threads that bring it what it needs; `alive`: whether they
//!   still go round.
//! - `control`: the socket for people and PLC gateways.
//! - [`supervisor`](supervise): whatever happens to the vision process, the lines fall. `link`: what
//!   the two say to each other; `handover`, `given`: what a new vision process is given.
//! - `challenge`: a known-bad part that has to be rejected from time to time.
//! - `latch`: where an alarm outlives everything.
//! - `trigger_test`: how long after an output the camera sees it.
//! - `devices`: from a configuration to devices.

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
use crate::line::keepalive::Keepalive;
use crate::record::{Metrics, ProductLabel, Recorder, Sampler};
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
    /// Edges; with an encoder, its counts as well.
    Inputs(Box<dyn Inputs>),
    /// The clock; edges of other inputs (an encoder, a button) count as well.
    Clock {
        /// From part to part.
        every: Duration,
        /// The other inputs, where any is wired.
        inputs: Option<Box<dyn Inputs>>,
    },
    /// The control socket alone.
    Socket,
}

/// What was before this vision process, on the same line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Vision processes that were started again.
    pub restarts: u32,
    /// How the last one ended.
    pub ended_by: EndedBy,
    /// How often the supervisor was late.
    pub supervisor_late: u32,
    /// Files that are on disk otherwise than when the line was started.
    pub changed: Changes,
    /// Of these, what was not told yet.
    pub newly_changed: Changes,
    /// The alarm that stands.
    pub alarm: LatchedAlarm,
    /// When a challenge was passed last, in seconds since 1970; None: nobody knows.
    pub challenge: Option<u64>,
}

/// Everything that a running line is made of.
pub struct Station {
    /// What the gate needs to know.
    pub settings: ControllerSettings,
    /// Where frames come from.
    pub source: Box<dyn FrameSource>,
    /// A free-running camera that is silent for so long is lost.
    pub camera_timeout: Duration,
    /// A wire makes the camera expose once a part. (One that this program makes expose says so
    /// itself, [`FrameSource::flash`].)
    pub camera_wired: bool,
    /// Where triggers come from.
    pub triggers: TriggerSource,
    /// The output lines.
    pub outputs: Box<dyn Outputs>,
    /// What inspects.
    pub inspector: Box<dyn PartInspector>,
    /// Whether the product scores here as it did in the fit; READY stays off otherwise.
    pub self_test_passed: bool,
    /// What happened; None: nothing is kept.
    pub recorder: Option<Recorder>,
    /// Counters for whoever asks.
    pub metrics: Arc<Metrics>,
    /// Whom to tell that the gate lives.
    pub keepalive: Option<Keepalive>,
    /// Which pictures of parts that pass are kept.
    pub sampler: Option<Sampler>,
    /// The product's, for the metrics.
    pub ng_threshold: f32,
    /// Whether triggers may come from the control socket.
    pub socket_triggers: bool,
    /// For the log.
    pub product: ProductLabel,
    /// How often the holder of the lines hears that the gate lives.
    pub alive_every: Duration,
    /// When the gate's thread is run later than this, what lies on the line is thrown out.
    pub late: Duration,
    /// The line must not run while the event log cannot be written.
    pub record_required: bool,
    /// A known-bad part must be rejected at least this often.
    pub challenge_every: Option<Duration>,
    /// What was before.
    pub history: History,
    /// The control socket's file.
    pub control: Option<PathBuf>,
    /// Where an alarm outlives this process.
    pub latch: Option<AlarmLatch>,
}

/// Why a line cannot run.
#[derive(Debug, Error)]
pub enum StationError {
    /// The settings make no line.
    #[error("these settings make no line")]
    Settings(#[from] SettingsError),
    /// The camera cannot be opened as configured.
    #[error("the camera cannot be used")]
    Camera(#[from] CaptureError),
    /// The control socket.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The system gives no thread.
    #[error("a thread cannot be started")]
    Thread(#[source] std::io::Error),
}

/// Metrics that know the line's faults and alarms by name.
pub fn metrics() -> Metrics {
    let [_, alarms @ ..] = LatchedAlarm::ALL.map(LatchedAlarm::name);
    let [a, b, c, d] = alarms;
    Metrics::new(&Fault::ALL.map(Fault::name), &[a, b, c, d, "drift"])
}

/// What a line counted until it was stopped.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    /// Parts and triggers.
    pub counters: Counters,
    /// Frames.
    pub frames: FrameCounters,
    /// Parts that were under way at the end.
    pub under_way: u64,
    /// Frames for which there was no room.
    pub frames_without_room: u64,
}

impl Station {
    /// Runs the line on this thread, which becomes the gate's, until `stop`.
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
        // No alarm's number: the recorder waits until the gate has said which stands.
        let alarm = AtomicU8::new(u8::MAX);
        let gate = std::thread::current();

        if !self_test_passed {
            let _ = words_in.enqueue(ControlRequest::Fault(Fault::SelfTest, true));
        }
        std::thread::scope(|scope| {
            // Whatever ends this scope ends its threads too: all their waits are short.
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

/// Sets the flag when dropped, so that an early way out leaves no thread behind.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
