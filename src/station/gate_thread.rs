//! The gate thread: passes what the other threads send to the controller, and executes the
//! controller's commands.
//!
//! From the trigger to the output it uses no heap and no lock. It sleeps until a message comes or
//! a time is due. It also checks whether the other threads make their rounds, whether the
//! supervisor answers, and whether it was itself run in time.

mod incoming;

use super::History;
use super::activity::{ActivityStamp, ThreadActivity};
use super::asked::{AskedProduct, AskedWhy};
use super::executor::{Executor, Observers};
use super::queues::{Answer, Arrival, ControlRequest, FromCamera, Job, RecordItem};
use crate::clock::{self, Suspension};
use crate::frame::RawFrame;
use crate::line::controller::{Controller, ControllerSettings};
use crate::line::devices::{LatchedAlarm, Outputs};
use crate::line::gate::{Counters, Fault, Output, SettingsError};
use crate::line::lease::SAFE_ORDER;
use crate::record::EventKind;
use crate::time::{Duration, Instant, Span};
use heapless::spsc::{Consumer, Producer};
use std::sync::atomic::{AtomicBool, Ordering};

/// The camera thread makes ten rounds per second. If it makes none for this long, it hangs in its
/// driver.
const CAMERA_SILENT: Duration = Duration::from_millis(2_000);
/// The threads of trigger, inspector and control socket make twenty rounds per second.
const THREAD_SILENT: Duration = Duration::from_millis(500);
/// A disk can need seconds for one write. After this time the record counts as lost.
const RECORD_SILENT: Duration = Duration::from_millis(5_000);
/// Opening a camera can take seconds. After this time only a new process can help against a
/// hanging thread.
const STUCK: Duration = Duration::from_millis(10_000);
/// Parts can have moved unseen if the machine slept longer than this.
const SLEPT: Duration = Duration::from_millis(5);
/// Outputs that failed are tried again so often.
const OUTPUTS_AGAIN: Duration = Duration::from_millis(5);
/// Longest sleep. It bounds the delay of a request to stop.
const LONGEST_SLEEP: Duration = Duration::from_millis(20);

/// How long a gap between two parts is waited for before another product runs.
const LONGEST_GAP_WAIT: Duration = Duration::from_millis(10_000);

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

/// What the gate thread watches.
pub(super) struct Watched<'a> {
    pub(super) alive: &'a ThreadActivity,
    /// Triggers come from the control socket's thread.
    pub(super) control_triggers: bool,
    /// Time between two messages to the supervisor that show that the gate works.
    pub(super) alive_every: Duration,
    /// If this thread runs later than this, it is an incident.
    pub(super) late: Duration,
    /// Set by the recorder thread while the event log cannot be written.
    pub(super) record_lost: &'a AtomicBool,
    /// Whether the line must not run while the event log cannot be written.
    pub(super) record_required: bool,
    /// Another product is to run.
    pub(super) switch: Option<&'a AtomicBool>,
    /// Which product is asked for.
    pub(super) asked: &'a AskedProduct,
}

/// The threads that hang.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct HungThreads {
    camera: bool,
    inputs: bool,
    inspector: bool,
}

/// Why the gate thread ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// A person or a signal asked for it.
    Asked,
    /// No supervisor holds the outputs any more.
    Orphaned,
    /// The machine slept.
    Suspended,
    /// Another product is to run.
    Switched,
}

/// The thread's state.
pub(super) struct GateThread<'a> {
    controller: Controller<(RawFrame, Instant)>,
    executor: Executor<'a>,
    ends: Arriving<'a>,
    watched: Watched<'a>,
    history: History,
    next_alive: Instant,
    /// Last state that the camera thread reported.
    camera_works: bool,
    /// Last state that the trigger thread reported.
    inputs_failed: bool,
    hung: HungThreads,
    record_lost: bool,
    /// What was last told about the product that is asked for: whether it lets no part pass, whether
    /// the PLC may rely on it, the number, and why.
    asked_for: (bool, bool, u8, AskedWhy),
    /// The supervisor's answer is overdue.
    overdue: bool,
    asked: bool,
    ask_again: Instant,
    /// This thread must run again by then.
    due_here: Instant,
    /// Before this time, silence of other threads is not a fault, because the whole process was
    /// stopped.
    excused_until: Instant,
    suspension: Suspension,
    /// Until when a gap between two parts is waited for, once another product is to run.
    gap_until: Option<Instant>,
    /// READY as systemd knows it.
    announced: Option<bool>,
    /// The counters that the metrics already contain.
    stated: Counters,
}

/// The consuming half of [`GateQueues`], separate so that commands can be executed while it is
/// read.
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
            asked_for: Default::default(),
            overdue: false,
            asked: false,
            ask_again: Instant::MAX,
            due_here: now,
            excused_until: now,
            suspension: Suspension::watch(),
            gap_until: None,
            announced: None,
            stated: Counters::default(),
        })
    }

    /// Runs until `stop`, or until another product is to run: then it is true. Afterwards READY and
    /// PASS are off.
    pub(super) fn run(&mut self, stop: &AtomicBool) -> bool {
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
            if self.may_switch() {
                break Ending::Switched;
            }
            if self.suspension.lasted() > SLEPT {
                log::error!(
                    "this machine was suspended: nobody knows where parts are; starting anew"
                );
                break Ending::Suspended;
            }
            self.look_at_the_clock();
            self.watch_the_supervisor();
            self.watch_what_is_asked();
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
        ending == Ending::Switched
    }

    /// Whether the line ends here for another product: no part is on its way, or there was no gap for
    /// too long. Parts that are on their way then are rejected.
    fn may_switch(&mut self) -> bool {
        let wanted = self
            .watched
            .switch
            .is_some_and(|s| s.load(Ordering::Relaxed));
        if !wanted {
            return false;
        }
        let now = clock::now();
        let until = *self.gap_until.get_or_insert(now.after(LONGEST_GAP_WAIT));
        let under_way = self.controller.under_way();
        // Parts that are held back already lose nothing by a switch at once.
        if under_way > 0 && now < until && !self.watched.asked.holds() {
            return false;
        }
        self.executor.now = now;
        let detail = format_args!("another product is to run; {under_way} parts under way");
        self.executor.event(EventKind::Product, "product", detail);
        true
    }

    /// Reports what happened before this process started.
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
        if self.watched.switch.is_some() {
            let product = self.executor.observers.product;
            let [name, digest, origin, set] = [
                product.name.as_str(),
                product.digest.as_str(),
                product.origin.as_str(),
                product.set_threshold().unwrap_or("its own thresholds"),
            ];
            let detail = format_args!("{name}, {digest}, {origin}, {set}");
            self.executor.event(EventKind::Product, "product", detail);
        }
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
            // The camera must first show that it works.
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
        for output in SAFE_ORDER {
            self.executor.set(output, output.when_unattended(), None);
        }
        if let Some(keepalive) = self.executor.observers.keepalive.take() {
            // Only the supervisor may send STOPPING=1. Otherwise systemd would wait for the end of
            // the whole service, and kill the next vision process and the supervisor at its time
            // limit.
            let _ = keepalive.status("the vision process ends");
            if ending == Ending::Asked {
                let _ = keepalive.end();
            }
            // Otherwise the hardware watchdog stays armed. Nobody asked for this end, so the next
            // process must show that it works.
        }
    }

    /// The controller, for the summary at the end.
    pub(super) fn controller(&self) -> &Controller<(RawFrame, Instant)> {
        &self.controller
    }

    fn something_waits(&self) -> bool {
        self.ends.arrivals.ready()
            || self.ends.camera.ready()
            || self.ends.answers.ready()
            || self.ends.words.ready()
    }

    /// Calls the controller, then reports what was decided. The outputs are set by then.
    fn act(
        &mut self,
        what: impl FnOnce(&mut Controller<(RawFrame, Instant)>, Instant, &mut Executor<'a>),
    ) {
        let now = clock::now();
        self.executor.now = now;
        what(&mut self.controller, now, &mut self.executor);
        self.executor.finish(&mut self.controller);
    }

    /// Checks whether this thread was run too late (stopped, swapped out, no processor). If so, it
    /// is unknown which parts passed meanwhile.
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
            "the {who} process was {ms} ms late: the outputs take the safe state, and what lies on the line is thrown out"
        );
        self.act(|c, now, executor| {
            executor.event(EventKind::WasLate, who, format_args!("{ms} ms"));
            c.outputs_were_late(now, &mut |x| executor.carry_out(x));
        });
        self.say_all_again();
    }

    /// Sends every level again, for a supervisor that has switched the outputs off.
    fn say_all_again(&mut self) {
        for output in SAFE_ORDER {
            let level = match output {
                // A part that can pass later sets PASS again.
                Output::Pass => false,
                Output::RecordLost => self.record_lost,
                Output::RecipeAck => self.asked_for.1,
                Output::Heartbeat if self.executor.hung => continue,
                output => self.controller.level(output),
            };
            self.executor.set(output, level, None);
        }
    }

    fn watch_the_supervisor(&mut self) {
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
                log::error!(
                    "the supervisor does not answer: the vision process sets the safe state without it"
                );
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

    /// A thread that hangs, for example in a driver, cannot report it.
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
            // The controller watches the time of an inspection itself.
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

    /// Checks whether events can be recorded.
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

    /// No part passes while another product is asked for than the one that runs.
    fn watch_what_is_asked(&mut self) {
        let asked = self.watched.asked;
        let (holds, why) = (asked.holds(), asked.why());
        let acknowledged = asked.acknowledged() && !holds;
        let now = (holds, acknowledged, asked.number(), why);
        let before = std::mem::replace(&mut self.asked_for, now);
        if now == before {
            return;
        }
        if holds != before.0 {
            self.act(|c, now, executor| {
                let fault = Fault::AskedProduct;
                c.fault(fault, holds, now, &mut |x| executor.carry_out(x));
            });
        }
        if acknowledged != before.1 {
            self.executor.set(Output::RecipeAck, acknowledged, None);
        }
        // Inputs that change are no news until it is clear what they ask for.
        if why != AskedWhy::Settling && (why, now.2) != (before.3, before.2) {
            self.executor.now = clock::now();
            let number = now.2;
            let detail = format_args!("number {number}: {why}");
            self.executor.event(EventKind::Product, "asked", detail);
        }
    }

    /// Whether everything works that a watchdog's restart could repair.
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
            let (counters, stated) = (*self.controller.counters(), &mut self.stated);
            let metrics = &self.executor.observers.metrics;
            metrics
                .triggers_bounced
                .add(counters.bounces - stated.bounces);
            metrics
                .triggers_missed
                .add(counters.lost_triggers - stated.lost_triggers);
            *stated = counters;
        }
        let fresh = self.fresh(now);
        if let Some(keepalive) = &mut self.executor.observers.keepalive {
            if fresh && let Err(error) = keepalive.kick(now) {
                log::error!("{error}");
            }
            let ready = self.controller.ready();
            if self.announced != Some(ready) {
                let status = status(&self.controller);
                let stated = match self.announced {
                    // The service counts as started when the gate runs, also if the line cannot
                    // run yet.
                    None => keepalive.serving(&status),
                    Some(_) => keepalive.status(&status),
                };
                self.announced = Some(ready);
                if let Err(error) = stated {
                    log::warn!("{error}");
                }
            }
        }
    }
}

/// READY or the reasons against it, for `systemctl status`.
fn status<F>(controller: &Controller<F>) -> String {
    if controller.ready() {
        return "READY: the line may run".into();
    }
    let faults = controller.faults();
    let alarm = controller.alarm().then_some("alarm");
    let why: std::vec::Vec<&str> = faults.iter().map(Fault::name).chain(alarm).collect();
    format!("not READY: {}", why.join(", "))
}
