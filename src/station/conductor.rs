//! The gate's thread: takes what the other threads bring to the controller, and does what it says.
//!
//! From the trigger to the output it takes no memory and no lock. It sleeps until something comes
//! or something is due.

use super::link::LinkError;
use super::rails::{Answer, Arrival, FromCamera, Item, Job, Word, said};
use crate::capture::source::RawFrame;
use crate::clock::{self, Suspension};
use crate::line::controller::{Command, Controller, ControllerSettings};
use crate::line::devices::{DeviceError, Input, Outputs};
use crate::line::gate::{
    Counters, Decision, Fault, Judgement, Line, Nanos, Output, PartId, Reason, SettingsError, Span,
};
use crate::line::keepalive::Keepalive;
use crate::line::pairing::{FrameInfo, Unused};
use crate::record::{
    EventEntry, EventKind, FrameStamp, Latencies, Latency, Metrics, PartEntry, ProductLabel,
};
use heapless::Vec;
use heapless::spsc::{Consumer, Producer};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::Thread;
use std::time::{Duration, SystemTime};

/// The alarm's name in log and metrics.
pub(super) const REJECTS: &str = "rejects";

/// A camera with wrong stamps is told of this often.
const BETWEEN_WARNINGS: Nanos = Nanos::from_millis(10_000);

/// A camera's thread goes round ten times a second; one that has not for so long hangs in its driver.
const CAMERA_SILENT: Nanos = Nanos::from_millis(2_000);
/// Opening a camera may take seconds; after these only a new process helps.
const CAMERA_STUCK: Nanos = Nanos::from_millis(10_000);
/// Time that the machine slept and that parts may have moved unseen.
const SLEPT: Nanos = Nanos::from_millis(5);
/// Longest sleep: how late a request to stop is seen.
const LONGEST_SLEEP: Duration = Duration::from_millis(20);

/// Parts whose judging is remembered until they are decided; a power of two.
const REMEMBERED: usize = 512;

/// What is known of a part before it is decided.
#[derive(Clone, Copy)]
struct Known {
    part: PartId,
    stamp: FrameStamp,
    latencies: Latencies,
    score: Option<f32>,
    verdict: Option<Judgement>,
}

/// The gate thread's ends of all queues.
pub(super) struct Ends<'a> {
    pub(super) arrivals: Consumer<'a, Arrival>,
    pub(super) camera: Consumer<'a, FromCamera>,
    pub(super) answers: Consumer<'a, Answer>,
    pub(super) words: Consumer<'a, Word>,
    pub(super) jobs: Producer<'a, Job>,
    pub(super) items: Producer<'a, Item>,
    pub(super) free: Producer<'a, RawFrame>,
}

/// What the gate thread listens to and tells besides parts.
pub(super) struct Company<'a> {
    pub(super) metrics: Arc<Metrics>,
    pub(super) keepalive: Option<Keepalive>,
    pub(super) product: ProductLabel,
    /// The product's, for the metrics.
    pub(super) ng_threshold: f32,
    /// Entries for which the recorder's queue had no room.
    pub(super) entries_lost: &'a AtomicU64,
    /// Where it belongs to the gate's work that the holder of the lines hears of it.
    pub(super) alive_every: Nanos,
    pub(super) judge: &'a Thread,
    pub(super) recorder: &'a Thread,
    /// When the camera's thread last went round.
    pub(super) camera_alive: &'a AtomicU64,
    /// An alarm of an earlier process stands.
    pub(super) alarm_stands: bool,
}

/// See the module.
pub(super) struct Conductor<'a> {
    controller: Controller<(RawFrame, Nanos)>,
    desk: Desk<'a>,
    ends: Arriving<'a>,
    next_alive: Nanos,
    /// What the camera's thread said last.
    camera_works: bool,
    camera_hangs: bool,
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
    words: Consumer<'a, Word>,
}

/// Where commands are carried out.
struct Desk<'a> {
    outputs: Box<dyn Outputs>,
    jobs: Producer<'a, Job>,
    items: Producer<'a, Item>,
    free: Producer<'a, RawFrame>,
    company: Company<'a>,
    known: Box<[Option<Known>; REMEMBERED]>,
    decided: Vec<Decision, 64>,
    gate_after: Option<Nanos>,
    tell_stale_at: Nanos,
    outputs_failed: bool,
    orphaned: bool,
    /// A frame could not be handed to the judge: its part's number.
    undelivered: Option<PartId>,
    now: Nanos,
}

impl<'a> Conductor<'a> {
    pub(super) fn new(
        settings: ControllerSettings,
        outputs: Box<dyn Outputs>,
        ends: Ends<'a>,
        company: Company<'a>,
    ) -> Result<Self, SettingsError> {
        let now = clock::now();
        let gate_after = match settings.gate.gate {
            Span::Time(after) => Some(after),
            Span::Counts(_) => None,
        };
        Ok(Self {
            controller: Controller::new(settings, now)?,
            desk: Desk {
                outputs,
                jobs: ends.jobs,
                items: ends.items,
                free: ends.free,
                company,
                known: Box::new([None; REMEMBERED]),
                decided: Vec::new(),
                gate_after,
                tell_stale_at: Nanos(0),
                outputs_failed: false,
                orphaned: false,
                undelivered: None,
                now,
            },
            ends: Arriving {
                arrivals: ends.arrivals,
                camera: ends.camera,
                answers: ends.answers,
                words: ends.words,
            },
            next_alive: now,
            camera_works: false,
            camera_hangs: false,
            suspension: Suspension::watch(),
            announced: None,
            told: Counters::default(),
        })
    }

    /// Runs until `stop`; READY and PASS are off afterwards.
    pub(super) fn run(&mut self, stop: &AtomicBool) {
        for line in Line::ALL {
            let level = self.controller.level(line);
            self.desk.set(line, level, None);
        }
        self.act(|c, now, desk| {
            if desk.company.alarm_stands {
                c.raise_alarm(now, &mut |x| desk.carry_out(x));
            }
            // The camera has to show itself first.
            c.fault(Fault::Camera, true, now, &mut |x| desk.carry_out(x));
            c.fault(Fault::Starting, false, now, &mut |x| desk.carry_out(x));
        });
        while !stop.load(Ordering::Relaxed) && !self.desk.orphaned {
            if self.suspension.lasted() > SLEPT {
                log::error!(
                    "this machine was suspended: nobody knows where parts are; starting anew"
                );
                break;
            }
            self.take_what_came();
            self.watch_the_camera();
            self.act(|c, now, desk| c.tick(now, &mut |x| desk.carry_out(x)));
            self.tell_that_it_lives();
            let due = clock::until(self.controller.deadline().min(self.next_alive));
            if !self.something_waits() {
                std::thread::park_timeout(due.min(LONGEST_SLEEP));
            }
        }
        self.desk.set(Line::Pass, false, None);
        self.desk.set(Line::Ready, false, None);
        for line in Line::ALL {
            self.desk.set(line, line.when_unattended(), None);
        }
        if let Some(keepalive) = self.desk.company.keepalive.take() {
            // Not STOPPING=1, which is the supervisor's to say: systemd would wait for the whole
            // service to end, and kill the next vision process and the supervisor when its time is over.
            let _ = keepalive.status("the vision process ends");
            let _ = keepalive.end();
        }
    }

    /// The controller, for what is printed at the end.
    pub(super) fn controller(&self) -> &Controller<(RawFrame, Nanos)> {
        &self.controller
    }

    fn something_waits(&self) -> bool {
        self.ends.arrivals.ready()
            || self.ends.camera.ready()
            || self.ends.answers.ready()
            || self.ends.words.ready()
    }

    /// Calls the controller, then tells of what was decided: the outputs have been set by then.
    fn act(&mut self, what: impl FnOnce(&mut Controller<(RawFrame, Nanos)>, Nanos, &mut Desk<'a>)) {
        let now = clock::now();
        self.desk.now = now;
        what(&mut self.controller, now, &mut self.desk);
        while let Some(part) = self.desk.undelivered.take() {
            let desk = &mut self.desk;
            self.controller
                .verdict(part, Err(Reason::Overload), now, &mut |x| desk.carry_out(x));
        }
        if self.desk.outputs_failed && !self.controller.faults().has(Fault::Outputs) {
            let desk = &mut self.desk;
            self.controller
                .fault(Fault::Outputs, true, now, &mut |x| desk.carry_out(x));
        }
        if !self.desk.decided.is_empty() {
            self.desk.tell_of_decided();
        }
    }

    fn take_what_came(&mut self) {
        while let Some(arrival) = self.ends.arrivals.dequeue() {
            self.act(|c, now, desk| match arrival {
                Arrival::Edge(edge) => match edge.input {
                    Input::Trigger => {
                        c.trigger(edge.at, edge.lost, now, &mut |x| desk.carry_out(x));
                    }
                    Input::Encoder => {
                        c.encoder(edge.at, edge.lost, now, &mut |x| desk.carry_out(x));
                    }
                    Input::Acknowledge => desk.acknowledge(c, now),
                    Input::EncoderB | Input::Index | Input::Confirm => {}
                },
                Arrival::Inputs(failed) => {
                    c.fault(Fault::Inputs, failed, now, &mut |x| desk.carry_out(x));
                }
            });
        }
        while let Some(word) = self.ends.words.dequeue() {
            self.act(|c, now, desk| match word {
                Word::Trigger(at) => c.command_trigger(at, now, &mut |x| desk.carry_out(x)),
                Word::Acknowledge => desk.acknowledge(c, now),
                Word::Fault(fault, present) => {
                    c.fault(fault, present, now, &mut |x| desk.carry_out(x));
                }
            });
        }
        while let Some(answer) = self.ends.answers.dequeue() {
            self.act(|c, now, desk| {
                let verdict = desk.note_answer(&answer);
                c.verdict(answer.part, verdict, now, &mut |x| desk.carry_out(x));
            });
        }
        while let Some(came) = self.ends.camera.dequeue() {
            if let FromCamera::Works(works) = came {
                self.camera_works = works;
            }
            self.act(|c, now, desk| match came {
                FromCamera::Frame(frame, in_hand) => {
                    let info = FrameInfo {
                        exposed: Nanos(frame.time_ns),
                        sequence: frame.sequence,
                        content: None,
                        damaged: frame.damaged,
                    };
                    let metrics = &desk.company.metrics;
                    metrics.frames.inc();
                    metrics.frames_lost.add(u64::from(frame.lost_before));
                    c.frame((frame, in_hand), info, now, &mut |x| {
                        desk.carry_out(x);
                    });
                }
                FromCamera::Works(works) => {
                    c.fault(Fault::Camera, !works, now, &mut |x| desk.carry_out(x));
                }
            });
        }
    }

    /// A camera's thread that hangs in the driver cannot say so itself.
    fn watch_the_camera(&mut self) {
        let seen = Nanos(self.desk.company.camera_alive.load(Ordering::Relaxed));
        let hangs = clock::now().since(seen) > CAMERA_SILENT;
        if hangs != self.camera_hangs {
            self.camera_hangs = hangs;
            if hangs {
                log::error!("camera: its driver does not answer");
            }
            let broken = hangs || !self.camera_works;
            self.act(|c, now, desk| {
                c.fault(Fault::Camera, broken, now, &mut |x| desk.carry_out(x));
            });
        }
    }

    fn tell_that_it_lives(&mut self) {
        let now = clock::now();
        if now >= self.next_alive {
            self.next_alive = now.after(self.desk.company.alive_every);
            if let Err(error) = self.desk.outputs.alive() {
                self.desk.outputs_gone(&error);
            }
            let (counters, told) = (*self.controller.counters(), &mut self.told);
            let metrics = &self.desk.company.metrics;
            metrics
                .triggers_bounced
                .add(counters.bounces - told.bounces);
            metrics
                .triggers_missed
                .add(counters.lost_triggers - told.lost_triggers);
            *told = counters;
        }
        let seen = Nanos(self.desk.company.camera_alive.load(Ordering::Relaxed));
        let fresh = self.controller.fresh() && now.since(seen) < CAMERA_STUCK;
        if let Some(keepalive) = &mut self.desk.company.keepalive {
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

impl Desk<'_> {
    fn carry_out(&mut self, command: Command<(RawFrame, Nanos)>) {
        match command {
            Command::Gate(Output::Set {
                line,
                on,
                due,
                until,
            }) => {
                self.set(line, on, until);
                if on && matches!(line, Line::Pass | Line::Reject) {
                    let late = clock::now().since(due);
                    let lateness = self.company.metrics.latency(Latency::OutputLateness);
                    lateness.record(late.as_micros());
                }
                if line == Line::Ready {
                    self.company.metrics.set_ready(on);
                    let kind = if on {
                        EventKind::Ready
                    } else {
                        EventKind::NotReady
                    };
                    self.event(kind, "line", "");
                }
            }
            Command::Gate(Output::Extend { until }) => self.set(Line::Pass, true, Some(until)),
            Command::Gate(Output::Decided(decision)) => {
                if self.decided.push(decision).is_err() {
                    // More at once than is told of singly: told of now, before its output is timed.
                    self.tell_of_decided();
                    let _ = self.decided.push(decision);
                }
            }
            Command::Gate(Output::Fault { fault, present }) => {
                let kind = if present {
                    EventKind::FaultRaised
                } else {
                    EventKind::FaultCleared
                };
                self.event(kind, fault.name(), "");
                self.company.metrics.fault(fault.name(), present);
                if present && fault != Fault::Starting {
                    log::warn!("fault: {}", fault.name());
                }
            }
            Command::Gate(Output::Alarm(raised)) => {
                let kind = if raised {
                    log::warn!(
                        "alarm: too many rejects; it stands until it is acknowledged (`partgate tell CONFIG acknowledge`, or the acknowledge input)"
                    );
                    EventKind::Alarm
                } else {
                    log::info!("the alarm was acknowledged");
                    EventKind::Acknowledged
                };
                self.event(kind, REJECTS, "");
                self.company.metrics.alarm(REJECTS, raised);
            }
            Command::Judge {
                part,
                trigger,
                frame: (frame, in_hand),
                exposed,
            } => {
                let latencies = Latencies::NONE
                    .with(Latency::TriggerToFrame, exposed.since(trigger))
                    .with(Latency::Delivery, in_hand.since(exposed))
                    .with(Latency::Waiting, self.now.since(in_hand));
                self.known[part.0 as usize % REMEMBERED] = Some(Known {
                    part,
                    stamp: FrameStamp {
                        time: exposed,
                        sequence: frame.sequence,
                    },
                    latencies,
                    score: None,
                    verdict: None,
                });
                let job = Job {
                    part,
                    frame,
                    gate: self.gate_after.map(|after| trigger.after(after)),
                };
                if let Err(job) = self.jobs.enqueue(job) {
                    self.undelivered = Some(part);
                    self.release(job.frame);
                } else {
                    self.company.judge.unpark();
                }
            }
            Command::Free((frame, in_hand), why) => {
                match why {
                    Some(Unused::Stale | Unused::Repeated) => self.note_stale(&frame, in_hand),
                    Some(Unused::Damaged) => self.company.metrics.frames_damaged.inc(),
                    _ => {}
                }
                self.release(frame);
            }
        }
    }

    fn acknowledge(&mut self, c: &mut Controller<(RawFrame, Nanos)>, now: Nanos) {
        c.acknowledge(now, &mut |x| self.carry_out(x));
    }

    /// A camera whose stamps are wrong leaves every part without a picture; somebody must be told why.
    fn note_stale(&mut self, frame: &RawFrame, in_hand: Nanos) {
        self.company.metrics.frames_stale.inc();
        if self.now >= self.tell_stale_at {
            self.tell_stale_at = self.now.after(BETWEEN_WARNINGS);
            log::warn!(
                "a frame is stamped {} us before it was in hand ({} ns): its time is in the future, older than capture.delivery_ms, or not newer than the frame before; no part is given it",
                in_hand
                    .0
                    .cast_signed()
                    .wrapping_sub(frame.time_ns.cast_signed())
                    / 1_000,
                frame.time_ns
            );
        }
    }

    /// The queue has room for every frame there is; were it full, the pool would shrink by one.
    fn release(&mut self, frame: RawFrame) {
        let _ = self.free.enqueue(frame);
    }

    fn set(&mut self, line: Line, on: bool, until: Option<Nanos>) {
        if let Err(error) = self.outputs.set_until(line, on, until) {
            self.outputs_gone(&error);
        }
    }

    fn outputs_gone(&mut self, error: &DeviceError) {
        // The supervisor has dropped the lines and this process with them.
        let let_go = matches!(error.downcast_ref(), Some(LinkError::Gone));
        if !self.outputs_failed && let_go {
            log::info!("the supervisor has let go of this process: it ends");
        } else if !self.outputs_failed {
            log::error!("output lines: {}", said(error));
        }
        self.outputs_failed = true;
        self.orphaned |= error.is::<LinkError>();
    }

    fn note_answer(&mut self, answer: &Answer) -> Result<Judgement, Reason> {
        let verdict = match &answer.judged {
            Ok(judged) => Ok(judged.judgement),
            Err(error) => Err(error.reason()),
        };
        if let Some(known) = &mut self.known[answer.part.0 as usize % REMEMBERED]
            && known.part == answer.part
        {
            known.latencies.set(Latency::Judging, answer.took);
            known.verdict = verdict.ok();
            known.score = answer.judged.as_ref().ok().map(|j| j.score);
        }
        if let Ok(judged) = &answer.judged {
            let threshold = self.company.ng_threshold;
            self.company.metrics.score(judged.score, threshold);
        }
        verdict
    }

    /// Parts that were decided: their outputs are set by now.
    fn tell_of_decided(&mut self) {
        let set_at = clock::now();
        let wall = SystemTime::now();
        for at in 0..self.decided.len() {
            let decision = self.decided[at];
            let since = set_at.since(decision.trigger.time);
            let mut entry = PartEntry::rejected(
                decision.part,
                decision.trigger.time,
                wall.checked_sub(Duration::from_nanos(since.0))
                    .unwrap_or(wall),
                Reason::Late,
            );
            entry.reason = decision.rejected;
            entry.product = self.company.product;
            let known = self.known[decision.part.0 as usize % REMEMBERED].take();
            if let Some(known) = known.filter(|k| k.part == decision.part) {
                entry.frame = Some(known.stamp);
                entry.latencies = known.latencies;
                entry.score = known.score;
                entry.verdict = known.verdict;
            }
            if let Some(at) = decision.verdict_at {
                let waited = at.since(decision.trigger.time);
                entry.latencies.set(Latency::TriggerToVerdict, waited);
            }
            entry.latencies.set(Latency::TriggerToOutput, since);
            self.company.metrics.part(&entry);
            self.hand_to_recorder(Item::Part(entry));
        }
        self.decided.clear();
    }

    fn event(&mut self, kind: EventKind, subject: &str, detail: impl std::fmt::Display) {
        let event = EventEntry::new(kind, subject, detail, self.now);
        self.hand_to_recorder(Item::Event(event));
    }

    /// A recorder that does not keep up loses lines, which are counted; the gate does not wait.
    fn hand_to_recorder(&mut self, item: Item) {
        if self.items.enqueue(item).is_err() {
            self.company.entries_lost.fetch_add(1, Ordering::Relaxed);
        } else {
            self.company.recorder.unpark();
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
