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
mod asked;
mod camera;
mod challenge;
mod choice;
mod control;
mod devices;
mod executor;
mod gate_thread;
mod handover;
mod health;
mod inference;
mod inspector;
pub mod keepalive;
mod latch;
mod link;
mod priority;
mod proof;
mod queue_ends;
mod queues;
mod recording;
mod sealed_files;
mod store_watch;
mod supervisor;
mod trigger_test;
mod triggers;

pub use asked::{AskedProduct, AskedWhy};
pub use choice::{
    ChoiceError, Chosen, choose, fall_back, give_up, note_restart, on_trial, open_accepted,
};
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
pub use proof::{Proof, Unproven, in_time, prove};
pub use sealed_files::{Changes, Received, SealedFiles, SealedFilesError};
pub use store_watch::StoreWatch;
pub use supervisor::{End, START_LIMIT, Supervision, SupervisorError, supervise};
pub use trigger_test::{
    Round, Seen, Spread, Suggestion, TriggerTest, TriggerTestError, TriggerTested, trigger_test,
};

use crate::capture::source::{CaptureError, Flash, FrameSource};
use crate::clock;
use crate::frame::RawFrame;
use crate::line::controller::{Controller, ControllerSettings, FrameCounters};
use crate::line::devices::{Inputs, LatchedAlarm, Outputs};
use crate::line::gate::{Counters, Fault, PartId, SettingsError};
use crate::line::recipe::{RecipeInputs, RecipeRules};
use crate::record::{Metrics, ProductLabel, Recorder, Sampler};
use crate::station::keepalive::Keepalive;
use crate::time::{Duration, Instant};
use activity::ThreadActivity;
use camera::{CameraQueues, CameraSettings};
use challenge::Challenge;
use control::{Control, ControlQueues, Marks};
use executor::Observers;
use gate_thread::{GateThread, Watched};
use heapless::spsc::Producer;
use inference::InspectorQueues;
use queue_ends::{CameraEnds, InspectorEnds, QueueEnds, RecorderEnds};
use queues::{Arrival, ControlRequest, Queues};
use recording::RecorderQueues;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{Scope, Thread};
use std::time::SystemTime;
use thiserror::Error;
use triggers::{RecipeWatch, SharedFlash, TriggerQueues};

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
    /// When it becomes true, the line ends between two parts, because another product is to run;
    /// None: it never does.
    pub switch: Option<Arc<AtomicBool>>,
    /// Which product is asked for.
    pub asked: Arc<AskedProduct>,
    /// The inputs that ask for a product; None: there are none.
    pub recipe: Option<(RecipeRules, RecipeInputs)>,
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
    /// Whether it ended for another product ([`Station::switch`]).
    pub switched: bool,
}

impl Station {
    /// Runs the line until `stop`. The calling thread becomes the gate thread.
    ///
    /// # Errors
    /// [`StationError`] before anything runs.
    pub fn run(mut self, stop: &AtomicBool) -> Result<Summary, StationError> {
        let (settings, history) = (self.settings, self.history);
        settings.gate.check(crate::line::controller::MAX_PARTS)?;
        self.source.open()?;
        log::info!("camera: {}", self.source.describe());
        self.metrics.challenge.set_passed_at(history.challenge);
        let age = self.metrics.challenge.age(SystemTime::now());
        let challenge = Challenge::new(self.challenge_every, age.map(Into::into), clock::now());
        if self.recipe.is_some() {
            self.asked.hold_until_read();
        }
        let shared = Shared::new(self.source.flash(), self.metrics, self.asked);
        let control = self.control.as_deref().map(Control::bind).transpose()?;
        let keeps_ok = move |part| self.sampler.is_some_and(|s| s.takes(part));

        let mut queues = Box::new(Queues::default());
        let mut ends = QueueEnds::split(&mut queues);
        if !self.self_test_passed {
            let failed = ControlRequest::Fault(Fault::SelfTest, true);
            let _ = ends.control.enqueue(failed);
        }
        std::thread::scope(|scope| {
            // If this scope ends for any reason, its threads end too, because all their waits are
            // short.
            let _stop_all = StopAtEnd(stop);
            let threads = Threads {
                scope,
                shared: &shared,
                gate: std::thread::current(),
                stop,
            };
            let recorder = threads.record(self.recorder, self.latch, ends.recorder)?;
            let inspector =
                threads.inspect(self.inspector, &keeps_ok, recorder.clone(), ends.inspector)?;
            let camera = CameraSettings {
                timeout: self.camera_timeout,
                on_trigger: self.camera_wired || shared.flashes,
            };
            threads.camera(self.source, camera, ends.camera)?;
            threads.trigger(
                self.triggers,
                settings.level_every,
                self.recipe,
                ends.trigger,
            )?;
            if let Some(control) = &control {
                let late = settings.gate.late_output;
                let triggers = self.socket_triggers;
                threads.control(control, triggers, late, ends.control, ends.marks)?;
            }

            priority::real_time(priority::GATE);
            let observers = Observers {
                metrics: shared.metrics.clone(),
                keepalive: self.keepalive,
                product: self.product,
                ng_threshold: self.ng_threshold,
                entries_lost: &shared.entries_lost,
                alarm: &shared.alarm,
                challenge,
                inspector: &inspector,
                recorder: &recorder,
            };
            let watched = Watched {
                alive: &shared.alive,
                control_triggers: self.socket_triggers && control.is_some(),
                alive_every: self.alive_every,
                late: self.late,
                record_lost: &shared.record_lost,
                record_required: self.record_required,
                switch: self.switch.as_deref(),
                asked: &shared.asked,
            };
            let outputs = self.outputs;
            let mut gate =
                GateThread::new(settings, outputs, ends.gate, observers, watched, history)?;
            let switched = gate.run(stop);
            let frames_without_room = shared.no_room.load(Ordering::Relaxed);
            Ok(Summary::of(
                gate.controller(),
                frames_without_room,
                switched,
            ))
        })
    }
}

impl Summary {
    fn of(
        controller: &Controller<(RawFrame, Instant)>,
        frames_without_room: u64,
        switched: bool,
    ) -> Self {
        Self {
            counters: *controller.counters(),
            frames: *controller.frames(),
            under_way: controller.under_way() as u64,
            frames_without_room,
            switched,
        }
    }
}

/// What the threads share besides the queues.
struct Shared {
    alive: ThreadActivity,
    metrics: Arc<Metrics>,
    asked: Arc<AskedProduct>,
    flash: SharedFlash,
    /// The source exposes on command.
    flashes: bool,
    /// Number of frames for which there was no room.
    no_room: AtomicU64,
    /// Number of entries for which the recorder's queue had no room.
    entries_lost: AtomicU64,
    /// The event log cannot be written.
    record_lost: AtomicBool,
    /// The latched alarm by its number.
    alarm: AtomicU8,
}

impl Shared {
    fn new(flash: Option<Box<dyn Flash>>, metrics: Arc<Metrics>, asked: Arc<AskedProduct>) -> Self {
        Self {
            alive: ThreadActivity::new(),
            metrics,
            asked,
            flashes: flash.is_some(),
            flash: Mutex::new(flash),
            no_room: AtomicU64::new(0),
            entries_lost: AtomicU64::new(0),
            record_lost: AtomicBool::new(false),
            // Not the number of an alarm: the recorder waits until the gate has reported the
            // latched one.
            alarm: AtomicU8::new(u8::MAX),
        }
    }
}

/// Starts the threads around the gate thread. All of them run until `stop`.
struct Threads<'scope, 'env: 'scope> {
    scope: &'scope Scope<'scope, 'env>,
    shared: &'scope Shared,
    gate: Thread,
    stop: &'scope AtomicBool,
}

impl<'scope> Threads<'scope, '_> {
    fn record(
        &self,
        recorder: Option<Recorder>,
        latch: Option<AlarmLatch>,
        ends: RecorderEnds<'scope>,
    ) -> Result<Thread, StationError> {
        let (shared, stop) = (self.shared, self.stop);
        let ends = RecorderQueues {
            items: ends.items,
            pictures: ends.pictures,
            free: ends.free,
            marks: ends.marks,
            marked: ends.marked,
            lost: &shared.entries_lost,
            latch,
            alarm: &shared.alarm,
            metrics: shared.metrics.clone(),
            record_lost: &shared.record_lost,
            gate: self.gate.clone(),
            alive: &shared.alive.record,
        };
        spawn(self.scope, "record", move || {
            recording::run(recorder, ends, stop);
        })
    }

    fn inspect(
        &self,
        mut inspector: Box<dyn PartInspector>,
        keeps_ok: &'scope (dyn Fn(PartId) -> bool + Sync),
        recorder: Thread,
        ends: InspectorEnds<'scope>,
    ) -> Result<Thread, StationError> {
        let (shared, stop) = (self.shared, self.stop);
        let ends = InspectorQueues {
            jobs: ends.jobs,
            answers: ends.answers,
            pictures: ends.pictures,
            free: ends.free,
            gate: self.gate.clone(),
            recorder,
            keeps_ok,
            alive: &shared.alive.inspector,
        };
        spawn(self.scope, "judge", move || {
            inference::run(&mut *inspector, ends, stop);
        })
    }

    fn camera(
        &self,
        source: Box<dyn FrameSource>,
        settings: CameraSettings,
        ends: CameraEnds<'scope>,
    ) -> Result<Thread, StationError> {
        let (shared, stop) = (self.shared, self.stop);
        let ends = CameraQueues {
            out: ends.out,
            free: ends.free,
            gate: self.gate.clone(),
            no_room: &shared.no_room,
            alive: &shared.alive.camera,
        };
        spawn(self.scope, "camera", move || {
            priority::real_time(priority::CAMERA);
            camera::run(source, &settings, ends, stop);
        })
    }

    fn trigger(
        &self,
        source: TriggerSource,
        level_every: Option<Duration>,
        recipe: Option<(RecipeRules, RecipeInputs)>,
        out: Producer<'scope, Arrival>,
    ) -> Result<Thread, StationError> {
        let (shared, stop) = (self.shared, self.stop);
        let ends = TriggerQueues {
            out,
            gate: self.gate.clone(),
            flash: &shared.flash,
            alive: &shared.alive.trigger,
            known: None,
            doubted: false,
            recipe: recipe.map(|(rules, inputs)| RecipeWatch {
                inputs,
                wires: rules.wires,
                asked: shared.asked.clone(),
            }),
        };
        let (inputs, every) = match source {
            TriggerSource::Inputs(inputs) => (Some(inputs), None),
            TriggerSource::Clock { every, inputs } => (inputs, Some(every)),
            TriggerSource::Socket => (None, None),
        };
        spawn(self.scope, "trigger", move || {
            priority::real_time(priority::TRIGGER);
            triggers::run(inputs, every, level_every, ends, stop);
        })
    }

    /// `triggers`: whether triggers can come from the socket.
    fn control(
        &self,
        control: &'scope Control,
        triggers: bool,
        late: Duration,
        words: Producer<'scope, ControlRequest>,
        marks: Marks<'scope>,
    ) -> Result<Thread, StationError> {
        let (shared, stop) = (self.shared, self.stop);
        let ends = ControlQueues {
            words,
            gate: self.gate.clone(),
            flash: &shared.flash,
            metrics: shared.metrics.clone(),
            asked: shared.asked.clone(),
            marks,
            triggers,
            late,
            last: Instant(0),
            alive: &shared.alive.control,
        };
        spawn(self.scope, "control", move || {
            control::run(control, ends, stop);
        })
    }
}

/// Starts a thread with a name for `top -H`.
fn spawn<'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    work: impl FnOnce() + Send + 'scope,
) -> Result<Thread, StationError> {
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
