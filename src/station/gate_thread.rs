//! The gate's thread: takes what the other threads bring to the controller, and does what it says.
//!
//! From the trigger to the output it takes no memory and no lock. It sleeps until something comes
//! or something is due. It also looks whether the others still go round, whether whoever holds the
//! output lines answers, and whether it was itself run in time.

use super::History;
use super::activity::{ActivityStamp, ThreadActivity};
use super::executor::{Executor, Observers};
use super::queues::{Answer, Arrival, ControlRequest, FromCamera, Job, RecordItem};
use crate::clock::{self, Suspension};
use crate::frame::RawFrame;
use crate::line::controller::{Controller, ControllerSettings};
use crate::line::devices::{Input, LatchedAlarm, Outputs};
use crate::line::gate::{Counters, Fault, Output, SettingsError};
use crate::line::holder::FALL;
use crate::line::pairing::FrameInfo;
use crate::record::EventKind;
use crate::time::{Duration, Instant, Span};
use heapless::spsc::{Consumer, Producer};
use std::sync::atomic::{AtomicBool, Ordering};

/// A camera's thread goes round ten times a second; one that has not for so long hangs in its driver.
const CAMERA_SILENT: Duration = Duration::from_millis(2_000);
/// The threads of trigger, inspect and control socket go round twenty times a second.
const THREAD_SILENT: Duration = Duration::from_millis(500);
/// A disk may take seconds for what it is given; one that takes longer records nothing.
const RECORD_SILENT: Duration = Duration::from_millis(5_000);
/// Opening a camera may take seconds; after these, a thread that hangs is mended by a new process only.
const STUCK: Duration = Duration::from_millis(10_000);
/// Time that the machine slept and that parts may have moved unseen.
const SLEPT: Duration = Duration::from_millis(5);
/// Outputs that failed are tried again so often.
const OUTPUTS_AGAIN: Duration = Duration::from_millis(5);
/// Longest sleep: how late a request to stop is seen.
const LONGEST_SLEEP: Duration = Duration::from_millis(20);

/// The gate thread's ends of all queues.
pub(super) struct GateQueues<'a> {
    pub(super) arrivals: Consumer<'a, Arrival>,
    pub(super) camera: Consumer<'a, FromCamera>,
    pub(super) answers: Consumer<'a, Answer>,
    pub(super) words: Consumer<'a, ControlRequest>,
    pub(super) jobs: Producer<'a, Job>,
    pub(super) items: Producer<'a, RecordItem>,
    pub(super) free: Producer<'a, RawFrame>,
}

/// What the gate's thread watches.
pub(super) struct Watched<'a> {
    pub(super) alive: &'a ThreadActivity,
    /// Triggers come from the control socket's thread.
    pub(super) control_triggers: bool,
    /// Where it belongs to the gate's work that the holder of the lines hears of it.
    pub(super) alive_every: Duration,
    /// To be run later than this is an incident.
    pub(super) late: Duration,
    /// The event log cannot be written, says its thread.
    pub(super) record_lost: &'a AtomicBool,
    /// And then the line must not run.
    pub(super) record_required: bool,
}

/// Who hangs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct HungThreads {
    camera: bool,
    inputs: bool,
    inspector: bool,
}

/// Why the gate's thread ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Somebody asked for it.
    Asked,
    /// Nobody holds the lines any more.
    Orphaned,
    /// The machine slept.
    Suspended,
}

/// See the module.
pub(super) struct GateThread<'a> {
    controller: Controller<(RawFrame, Instant)>,
    executor: Executor<'a>,
    ends: Arriving<'a>,
    watched: Watched<'a>,
    history: History,
    next_alive: Instant,
    /// What the camera's thread said last.
    camera_works: bool,
    /// What the trigger's thread said last.
    inputs_failed: bool,
    hung: HungThreads,
    record_lost: bool,
    /// Whoever holds the lines ought to have answered.
    overdue: bool,
    asked: bool,
    ask_again: Instant,
    /// This thread has to be here again by then.
    due_here: Instant,
    /// Before this, silence of other threads says nothing: all of this process was stopped.
    excused_until: Instant,
    suspension: Suspension,
    /// What systemd was last told of READY.
    announced: Option<bool>,
    /// What the metrics know of the counters.
    told: Counters,
}

/// The consuming half of [`Ends`], apart so that commands can be carried out while it is read.
struct Arriving<'a> {
    arrivals: Consumer<'a, Arrival>,
    camera: Consumer<'a, FromCamera>,
    answers: Consumer<'a, Answer>,
    words: Consumer<'a, ControlRequest>,
}

impl<'a> GateThread<'a> {
    pub(super) fn new(
        settings: ControllerSettings,
        outputs: Box<dyn Outputs>,
        ends: GateQueues<'a>,
        observers: Observers<'a>,
        watched: Watched<'a>,
        history: History,
    ) -> Result<Self, SettingsError> {
        let now = clock::now();
        let gate_after = match settings.gate.gate {
            Span::Time(after) => Some(after),
            Span::Counts(_) => None,
        };
        let stop_line = settings.gate.alarm.stop_line;
        let (jobs, items, free) = (ends.jobs, ends.items, ends.free);
        Ok(Self {
            controller: Controller::new(settings, now)?,
            executor: Executor::new(outputs, jobs, items, free, observers, gate_after, stop_line),
            ends: Arriving {
                arrivals: ends.arrivals,
                camera: ends.camera,
                answers: ends.answers,
                words: ends.words,
            },
            watched,
            history,
            next_alive: now,
            camera_works: false,
            inputs_failed: false,
            hung: HungThreads::default(),
            record_lost: false,
            overdue: false,
            asked: false,
            ask_again: Instant::MAX,
            due_here: now,
            excused_until: now,
            suspension: Suspension::watch(),
            announced: None,
            told: Counters::default(),
        })
    }

    /// Runs until `stop`; READY and PASS are off afterwards.
    pub(super) fn run(&mut self, stop: &AtomicBool) {
        for output in Output::ALL {
            let level = self.controller.level(output);
            self.executor.set(output, level, None);
        }
        self.begin();
        self.due_here = clock::now();
        let ending = loop {
            if stop.load(Ordering::Relaxed) || self.asked {
                break Ending::Asked;
            }
            if self.executor.orphaned {
                break Ending::Orphaned;
            }
            if self.suspension.lasted() > SLEPT {
                log::error!(
                    "this machine was suspended: nobody knows where parts are; starting anew"
                );
                break Ending::Suspended;
            }
            self.look_at_the_clock();
            self.watch_the_holder();
            self.take_what_came();
            self.watch_the_threads();
            self.watch_the_record();
            self.act(|c, now, executor| c.tick(now, &mut |x| executor.carry_out(x)));
            self.tell_that_it_lives();
            self.look_at_the_clock();
            let next = self.controller.deadline().min(self.next_alive);
            let due = clock::until(next.min(self.ask_again)).min(LONGEST_SLEEP);
            if !self.something_waits() && !self.executor.orphaned {
                self.due_here = clock::now().after(due);
                std::thread::park_timeout(due.into());
            }
        };
        self.end(ending);
    }

    /// What an earlier process left behind.
    fn begin(&mut self) {
        let history = self.history;
        let metrics = &self.executor.observers.metrics;
        metrics.restarts.add(u64::from(history.restarts));
        metrics
            .supervisor_late
            .add(u64::from(history.supervisor_late));
        for name in history.changed.names() {
            metrics.changed_on_disk(name);
        }
        self.executor.now = clock::now();
        for name in history.newly_changed.names() {
            let detail = "the line goes on with what it was started with, until it is started anew";
            self.executor.event(EventKind::ChangedOnDisk, name, detail);
        }
        if history.restarts > 0 {
            let why = history.ended_by.words();
            let detail = format_args!("restart {}: {why}", history.restarts);
            self.executor.event(EventKind::Restarted, "vision", detail);
        }
        self.act(|c, now, executor| {
            if history.alarm == LatchedAlarm::None {
                executor.remember(LatchedAlarm::None);
            } else {
                executor.stood(history.alarm);
                c.raise_alarm(now, &mut |x| executor.carry_out(x));
            }
            // The camera has to show itself first.
            c.fault(Fault::Camera, true, now, &mut |x| executor.carry_out(x));
            c.fault(Fault::Starting, false, now, &mut |x| executor.carry_out(x));
        });
    }

    fn end(&mut self, ending: Ending) {
        if ending == Ending::Orphaned {
            self.act(|c, now, executor| {
                c.fault(Fault::Supervisor, true, now, &mut |x| executor.carry_out(x));
            });
        }
        self.executor.set(Output::Pass, false, None);
        self.executor.set(Output::Ready, false, None);
        for output in FALL {
            self.executor.set(output, output.when_unattended(), None);
        }
        if let Some(keepalive) = self.executor.observers.keepalive.take() {
            // Not STOPPING=1, which is the supervisor's to say: systemd would wait for the whole
            // service to end, and kill the next vision process and the supervisor when its time is over.
            let _ = keepalive.status("the vision process ends");
            if ending == Ending::Asked {
                let _ = keepalive.end();
            }
            // Else the hardware watchdog stays armed: nobody asked for this end, and what comes next
            // has to show that it lives.
        }
    }

    /// The controller, for what is printed at the end.
    pub(super) fn controller(&self) -> &Controller<(RawFrame, Instant)> {
        &self.controller
    }

    fn something_waits(&self) -> bool {
        self.ends.arrivals.ready()
            || self.ends.camera.ready()
            || self.ends.answers.ready()
            || self.ends.words.ready()
    }

    /// Calls the controller, then tells of what was decided: the outputs have been set by then.
    fn act(
        &mut self,
        what: impl FnOnce(&mut Controller<(RawFrame, Instant)>, Instant, &mut Executor<'a>),
    ) {
        let now = clock::now();
        self.executor.now = now;
        what(&mut self.controller, now, &mut self.executor);
        self.executor.finish(&mut self.controller);
    }

    /// This thread was run later than may be (stopped, swapped out, kept from the processor): nobody
    /// knows what went by meanwhile.
    fn look_at_the_clock(&mut self) {
        let now = clock::now();
        let late = now.since(self.due_here);
        self.due_here = now;
        if late > self.watched.late {
            self.excused_until = now.after(THREAD_SILENT);
            self.executor.observers.metrics.vision_late.inc();
            self.was_late("vision", late);
        }
    }

    fn was_late(&mut self, who: &'static str, late: Duration) {
        let ms = late.as_micros() / 1_000;
        log::error!(
            "the {who} process was {ms} ms late: the lines fall, and what lies on the line is thrown out"
        );
        self.act(|c, now, executor| {
            executor.event(EventKind::WasLate, who, format_args!("{ms} ms"));
            c.outputs_were_late(now, &mut |x| executor.carry_out(x));
        });
        self.say_all_again();
    }

    /// Every level, for a holder of the lines that has let them fall.
    fn say_all_again(&mut self) {
        for output in FALL {
            let level = match output {
                // What may pass later says so later.
                Output::Pass => false,
                Output::RecordLost => self.record_lost,
                Output::Heartbeat if self.executor.hung => continue,
                output => self.controller.level(output),
            };
            self.executor.set(output, level, None);
        }
    }

    fn watch_the_holder(&mut self) {
        let now = clock::now();
        let holding = match self.executor.outputs.holding(now) {
            Ok(holding) => holding,
            Err(error) => {
                self.executor.outputs_gone(&error);
                // Outputs that come back are switched off then.
                self.ask_again = if self.executor.orphaned {
                    Instant::MAX
                } else {
                    now.after(OUTPUTS_AGAIN)
                };
                return;
            }
        };
        self.asked |= holding.end;
        self.ask_again = holding.ask_again;
        if let Some(late) = holding.was_late {
            self.executor.observers.metrics.supervisor_late.inc();
            self.was_late("supervisor", late);
        }
        let overdue = holding.overdue;
        if overdue != self.overdue || (overdue && holding.was_late.is_some()) {
            self.overdue = overdue;
            if overdue {
                log::error!("the supervisor does not answer: the lines fall round it");
            }
            self.act(|c, now, executor| {
                c.fault(Fault::Supervisor, overdue, now, &mut |x| {
                    executor.carry_out(x)
                });
            });
            if !overdue {
                self.say_all_again();
            }
        }
    }

    fn take_what_came(&mut self) {
        while let Some(arrival) = self.ends.arrivals.dequeue() {
            if let Arrival::Inputs(failed) = arrival {
                self.inputs_failed = failed;
            }
            let failed = self.inputs_failed || self.hung.inputs;
            let at = match arrival {
                Arrival::Edge(edge) => edge.at,
                _ => clock::now(),
            };
            self.act(|c, now, executor| {
                match arrival {
                    Arrival::Edge(edge) => match edge.input {
                        Input::Trigger if edge.on => {
                            c.trigger(edge.at, edge.lost, now, &mut |x| executor.carry_out(x));
                        }
                        Input::Trigger => {
                            c.release(edge.at, edge.lost, now, &mut |x| executor.carry_out(x));
                        }
                        Input::Encoder | Input::EncoderB => {
                            let second = edge.input == Input::EncoderB;
                            c.encoder_edge(second, edge.on, edge.at, edge.lost, now, &mut |x| {
                                executor.carry_out(x);
                            });
                        }
                        Input::Index if edge.on => {
                            c.index(edge.at, edge.lost, now, &mut |x| executor.carry_out(x));
                        }
                        Input::Confirm if edge.on => {
                            c.confirm(edge.at, edge.lost, now, &mut |x| executor.carry_out(x));
                        }
                        Input::Acknowledge if edge.on => executor.acknowledge(c, now),
                        Input::Index | Input::Confirm | Input::Acknowledge => {}
                    },
                    Arrival::Level(on) => c.level_read(on, now, &mut |x| executor.carry_out(x)),
                    Arrival::Inputs(_) => {
                        c.fault(Fault::Inputs, failed, now, &mut |x| executor.carry_out(x));
                    }
                }
                executor.numbered(c.counters().parts, at);
            });
        }
        while let Some(word) = self.ends.words.dequeue() {
            self.act(|c, now, executor| match word {
                ControlRequest::Trigger(at) => {
                    c.command_trigger(at, now, &mut |x| executor.carry_out(x));
                    executor.numbered(c.counters().parts, at);
                }
                ControlRequest::StampedTrigger(at) => {
                    c.trigger(at, 0, now, &mut |x| executor.carry_out(x));
                    executor.numbered(c.counters().parts, at);
                }
                ControlRequest::LostTrigger(since) => {
                    c.trigger_lost_since(since, now, &mut |x| executor.carry_out(x));
                    executor.numbered(c.counters().parts, now);
                }
                ControlRequest::Challenge(at) => executor.challenge(c, at, now),
                ControlRequest::Acknowledge => executor.acknowledge(c, now),
                ControlRequest::Fault(fault, present) => {
                    c.fault(fault, present, now, &mut |x| executor.carry_out(x));
                }
            });
        }
        while let Some(answer) = self.ends.answers.dequeue() {
            self.act(|c, now, executor| {
                let verdict = executor.note_answer(&answer);
                c.verdict(answer.part, verdict, now, &mut |x| executor.carry_out(x));
            });
        }
        while let Some(came) = self.ends.camera.dequeue() {
            if let FromCamera::Works(works) = came {
                self.camera_works = works;
            }
            self.act(|c, now, executor| match came {
                FromCamera::Frame(frame, in_hand) => {
                    let info = FrameInfo {
                        exposed: frame.time,
                        sequence: frame.sequence,
                        content: frame.content,
                        damaged: frame.damaged,
                    };
                    let metrics = &executor.observers.metrics;
                    metrics.frames.inc();
                    metrics.frames_lost.add(u64::from(frame.lost_before));
                    c.frame((frame, in_hand), info, now, &mut |x| {
                        executor.carry_out(x);
                    });
                }
                FromCamera::Works(works) => {
                    c.fault(Fault::Camera, !works, now, &mut |x| executor.carry_out(x));
                }
            });
        }
    }

    /// A thread that hangs, in a driver for instance, cannot say so itself.
    fn watch_the_threads(&mut self) {
        let now = clock::now();
        if now < self.excused_until {
            return;
        }
        let alive = self.watched.alive;
        let silent = |word: &ActivityStamp, limit| word.silent_for(now) > limit;
        let hung = HungThreads {
            camera: silent(&alive.camera, CAMERA_SILENT),
            inputs: silent(&alive.trigger, THREAD_SILENT)
                || (self.watched.control_triggers && silent(&alive.control, THREAD_SILENT)),
            // How long it may take for a part is the controller's to watch.
            inspector: !self.executor.inspection && silent(&alive.inspector, THREAD_SILENT),
        };
        let before = std::mem::replace(&mut self.hung, hung);
        if hung == before {
            return;
        }
        self.executor.hung = hung != HungThreads::default();
        for (was, is, who) in [
            (before.camera, hung.camera, "camera: its driver"),
            (before.inputs, hung.inputs, "the thread of the triggers"),
            (before.inspector, hung.inspector, "the inspector's thread"),
        ] {
            if is && !was {
                log::error!("{who} does not answer");
            }
        }
        let (works, failed) = (self.camera_works, self.inputs_failed);
        self.act(|c, now, executor| {
            for (changed, fault, present) in [
                (
                    hung.camera != before.camera,
                    Fault::Camera,
                    hung.camera || !works,
                ),
                (
                    hung.inputs != before.inputs,
                    Fault::Inputs,
                    hung.inputs || failed,
                ),
                (
                    hung.inspector != before.inspector,
                    Fault::Inference,
                    hung.inspector,
                ),
            ] {
                if changed {
                    c.fault(fault, present, now, &mut |x| executor.carry_out(x));
                }
            }
        });
    }

    /// What happens is not written down.
    fn watch_the_record(&mut self) {
        let now = clock::now();
        let hangs =
            now >= self.excused_until && self.watched.alive.record.silent_for(now) > RECORD_SILENT;
        let lost = self.watched.record_lost.load(Ordering::Relaxed) || hangs;
        if lost == self.record_lost {
            return;
        }
        self.record_lost = lost;
        self.executor.observers.metrics.record_lost(lost);
        self.executor.set(Output::RecordLost, lost, None);
        if self.watched.record_required {
            self.act(|c, now, executor| {
                c.fault(Fault::Record, lost, now, &mut |x| executor.carry_out(x));
            });
        }
    }

    /// Whether everything that a watchdog could mend works.
    fn fresh(&self, now: Instant) -> bool {
        let alive = self.watched.alive;
        let control = self.watched.control_triggers && alive.control.silent_for(now) >= STUCK;
        let stuck = control
            || alive.camera.silent_for(now) >= STUCK
            || alive.trigger.silent_for(now) >= STUCK
            || (self.hung.inspector && alive.inspector.silent_for(now) >= STUCK);
        self.controller.fresh() && !stuck
    }

    fn tell_that_it_lives(&mut self) {
        let now = clock::now();
        if now >= self.next_alive {
            self.next_alive = now.after(self.watched.alive_every);
            if let Err(error) = self.executor.outputs.alive() {
                self.executor.outputs_gone(&error);
            }
            let (counters, told) = (*self.controller.counters(), &mut self.told);
            let metrics = &self.executor.observers.metrics;
            metrics
                .triggers_bounced
                .add(counters.bounces - told.bounces);
            metrics
                .triggers_missed
                .add(counters.lost_triggers - told.lost_triggers);
            *told = counters;
        }
        let fresh = self.fresh(now);
        if let Some(keepalive) = &mut self.executor.observers.keepalive {
            if fresh && let Err(error) = keepalive.kick(now) {
                log::error!("{error}");
            }
            let ready = self.controller.ready();
            if self.announced != Some(ready) {
                let status = status(&self.controller);
                let told = match self.announced {
                    // The service has started when the gate runs; whether the line may is another matter.
                    None => keepalive.serving(&status),
                    Some(_) => keepalive.status(&status),
                };
                self.announced = Some(ready);
                if let Err(error) = told {
                    log::warn!("{error}");
                }
            }
        }
    }
}

/// READY or why not, for `systemctl status`.
fn status<F>(controller: &Controller<F>) -> String {
    if controller.ready() {
        return "READY: the line may run".into();
    }
    let faults = controller.faults();
    let alarm = controller.alarm().then_some("alarm");
    let why: std::vec::Vec<&str> = faults.iter().map(Fault::name).chain(alarm).collect();
    format!("not READY: {}", why.join(", "))
}
