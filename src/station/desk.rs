//! Where the gate's thread carries out what the controller says: lines, the judge's jobs, the record.

use super::challenge::{Challenge, Outcome};
use super::link::LinkError;
use super::rails::{Answer, Item, Job, said};
use crate::capture::source::RawFrame;
use crate::clock;
use crate::line::controller::{Command, Controller};
use crate::line::devices::{DeviceError, Outputs, Standing};
use crate::line::gate::{Decision, Fault, Judgement, Line, Output, PartId, Reason};
use crate::line::keepalive::Keepalive;
use crate::line::pairing::Unused;
use crate::record::{
    EventEntry, EventKind, FrameStamp, Latencies, Latency, Metrics, PartEntry, ProductLabel,
    ShortText,
};
use crate::time::{Duration, Instant};
use heapless::Vec;
use heapless::spsc::Producer;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::thread::Thread;
use std::time::{SystemTime, UNIX_EPOCH};

/// A camera with wrong stamps is told of this often.
const BETWEEN_WARNINGS: Duration = Duration::from_millis(10_000);

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

/// What the gate thread tells besides parts, and whom.
pub(super) struct Company<'a> {
    pub(super) metrics: Arc<Metrics>,
    pub(super) keepalive: Option<Keepalive>,
    pub(super) product: ProductLabel,
    /// The product's, for the metrics.
    pub(super) ng_threshold: f32,
    /// Entries for which the recorder's queue had no room.
    pub(super) entries_lost: &'a AtomicU64,
    /// The alarm that stands, by its number, for the recorder.
    pub(super) alarm: &'a AtomicU8,
    pub(super) challenge: Challenge,
    pub(super) judge: &'a Thread,
    pub(super) recorder: &'a Thread,
}

/// See the module.
pub(super) struct Desk<'a> {
    pub(super) outputs: Box<dyn Outputs>,
    jobs: Producer<'a, Job>,
    items: Producer<'a, Item>,
    free: Producer<'a, RawFrame>,
    pub(super) company: Company<'a>,
    known: Box<[Option<Known>; REMEMBERED]>,
    decided: Vec<Decision, 64>,
    gate_after: Option<Duration>,
    tell_stale_at: Instant,
    pub(super) outputs_failed: bool,
    /// Nobody holds the lines any more.
    pub(super) orphaned: bool,
    /// The judge is at a part.
    pub(super) judging: bool,
    /// A thread that matters hangs: HEARTBEAT stands still.
    pub(super) hung: bool,
    /// What the next alarm that the gate raises is called.
    pub(super) next_alarm: Standing,
    /// The alarm that stands besides one that the challenge raised.
    stands: Standing,
    /// An alarm stops the line.
    stop_line: bool,
    /// The gate's alarm comes or goes without a word: the one that stands goes on standing.
    quietly: bool,
    /// A frame could not be handed to the judge: its part's number.
    undelivered: Option<PartId>,
    pub(super) now: Instant,
}

impl<'a> Desk<'a> {
    pub(super) fn new(
        outputs: Box<dyn Outputs>,
        jobs: Producer<'a, Job>,
        items: Producer<'a, Item>,
        free: Producer<'a, RawFrame>,
        company: Company<'a>,
        gate_after: Option<Duration>,
        stop_line: bool,
    ) -> Self {
        Self {
            outputs,
            jobs,
            items,
            free,
            company,
            known: Box::new([None; REMEMBERED]),
            decided: Vec::new(),
            gate_after,
            tell_stale_at: Instant(0),
            outputs_failed: false,
            orphaned: false,
            judging: false,
            hung: false,
            next_alarm: Standing::Rejects,
            stands: Standing::None,
            stop_line,
            quietly: false,
            undelivered: None,
            now: clock::now(),
        }
    }

    /// What is left to do once the controller has been called: parts that no judge will see, outputs
    /// that failed, and what is told of the parts that were decided; their outputs are set by then.
    pub(super) fn finish(&mut self, controller: &mut Controller<(RawFrame, Instant)>) {
        let now = self.now;
        loop {
            while let Some(part) = self.undelivered.take() {
                controller.verdict(part, Err(Reason::Overload), now, &mut |x| self.carry_out(x));
            }
            if self.outputs_failed && !controller.faults().has(Fault::Outputs) {
                controller.fault(Fault::Outputs, true, now, &mut |x| self.carry_out(x));
            }
            if !self.decided.is_empty() {
                self.tell_of_decided();
            }
            if let Some(outcome) = self.company.challenge.outcome(now) {
                self.end_challenge(controller, outcome);
            } else if self.company.challenge.overdue(now) {
                let detail = "overdue";
                self.raise_challenge(controller, detail);
            } else {
                return;
            }
        }
    }

    /// An alarm of an earlier process stands, and the gate is told next.
    pub(super) fn stood(&mut self, alarm: Standing) {
        self.next_alarm = alarm;
        if alarm == Standing::Challenge {
            self.company.challenge.stands_still();
        }
        self.show_challenge();
    }

    /// Which alarm stands, where it is one.
    fn standing(&self) -> Standing {
        if self.stands == Standing::None && self.company.challenge.stands() {
            Standing::Challenge
        } else {
            self.stands
        }
    }

    /// The alarm that stands now, for the supervisor and the recorder, who outlive this process.
    pub(super) fn remember(&mut self, alarm: Standing) {
        self.company.alarm.store(alarm as u8, Ordering::Relaxed);
        self.company.recorder.unpark();
        if let Err(error) = self.outputs.remember(alarm) {
            self.outputs_gone(&error);
        }
    }

    fn alarm(&mut self, raised: bool) {
        if self.quietly {
            return;
        }
        if raised {
            let alarm = std::mem::replace(&mut self.next_alarm, Standing::Rejects);
            self.raised(alarm, "");
        } else {
            self.acknowledged();
        }
    }

    fn raised(&mut self, alarm: Standing, detail: &str) {
        log::warn!(
            "alarm: {}; it stands until it is acknowledged (`partgate tell CONFIG acknowledge`, or the acknowledge input)",
            told(alarm)
        );
        self.event(EventKind::Alarm, alarm.name(), detail);
        self.company.metrics.alarm(alarm.name(), true);
        if alarm != Standing::Challenge {
            self.stands = alarm;
        }
        self.remember(self.standing());
    }

    fn acknowledged(&mut self) {
        log::info!("the alarm was acknowledged");
        let stood = std::mem::take(&mut self.stands);
        if stood != Standing::None {
            self.event(EventKind::Acknowledged, stood.name(), "");
        }
        if self.company.challenge.stands() {
            self.event(EventKind::Acknowledged, Standing::Challenge.name(), "");
            self.company.challenge.acknowledged();
        }
        for alarm in Standing::ALL {
            self.company.metrics.alarm(alarm.name(), false);
        }
        self.show_challenge();
        self.remember(Standing::None);
    }
}

/// A part as the subject of an event.
fn numbered(part: PartId) -> ShortText<32> {
    ShortText::of(format_args!("part {}", part.0))
}

/// An alarm in words.
fn told(alarm: Standing) -> &'static str {
    match alarm {
        Standing::None | Standing::Rejects => "too many rejects",
        Standing::Restarts => "the vision process was started again too often",
        Standing::Challenge => {
            "challenge: no known-bad part was rejected within challenge.every_hours, or one was judged OK; `partgate tell CONFIG challenge`, then let a known-bad part through"
        }
        Standing::Unknown => {
            "unknown: the file `alarm` in the record's folder is missing or cannot be read, so nobody knows whether one stood; at the first start of a line that is as it should be"
        }
    }
}

impl Desk<'_> {
    pub(super) fn carry_out(&mut self, command: Command<(RawFrame, Instant)>) {
        match command {
            Command::Gate(Output::Set {
                line,
                on,
                due,
                until,
            }) => {
                if line == Line::Heartbeat && self.hung {
                    return;
                }
                self.set(line, on, until);
                if on && matches!(line, Line::Pass | Line::Reject) {
                    let late = clock::now().since(due);
                    let lateness = self.company.metrics.latency(Latency::OutputLateness);
                    lateness.record(late.as_micros());
                }
                if line == Line::Ready {
                    if on {
                        self.company.challenge.line_was_ready();
                    }
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
                self.company.challenge.decided(decision.part);
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
            Command::Gate(Output::Alarm(raised)) => self.alarm(raised),
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
                    self.judging = true;
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

    pub(super) fn acknowledge(&mut self, c: &mut Controller<(RawFrame, Instant)>, now: Instant) {
        if self.company.challenge.needed() {
            log::warn!(
                "the alarm challenge cannot be acknowledged before a challenge was passed: `partgate tell CONFIG challenge`, then let a known-bad part through"
            );
            let stood = std::mem::take(&mut self.stands);
            if stood != Standing::None {
                self.event(EventKind::Acknowledged, stood.name(), "");
                self.company.metrics.alarm(stood.name(), false);
                self.remember(Standing::Challenge);
            }
            // A person has looked at what the confirming sensor found, whatever else stands.
            c.fault(Fault::Confirm, false, now, &mut |x| self.carry_out(x));
            return;
        }
        let alarm = c.alarm();
        c.acknowledge(now, &mut |x| self.carry_out(x));
        if !alarm && self.standing() != Standing::None {
            // Taken back for the challenge that goes on.
            self.acknowledged();
        }
    }

    /// The next part that is triggered after `at` is known to be bad.
    pub(super) fn challenge(
        &mut self,
        c: &mut Controller<(RawFrame, Instant)>,
        at: Instant,
        now: Instant,
    ) {
        if !self.company.challenge.begin(at) {
            return;
        }
        self.event(
            EventKind::Challenge,
            "line",
            "the next part is known to be bad",
        );
        if self.standing() == Standing::Challenge && self.stop_line && c.alarm() {
            // A line that stands cannot show whether it rejects. The alarm goes on standing, and stops
            // the line again when the challenge is over.
            self.company.challenge.let_run = true;
            self.quietly = true;
            c.acknowledge(now, &mut |x| self.carry_out(x));
            self.quietly = false;
        }
        self.show_challenge();
    }

    /// Parts are numbered up to `last`, the newest was triggered `at`.
    pub(super) fn numbered(&mut self, last: u64, at: Instant) {
        self.company.challenge.numbered(last, at);
        self.show_challenge();
    }

    fn show_challenge(&self) {
        let (challenge, shown) = (&self.company.challenge, &self.company.metrics.challenge);
        shown.set_state(challenge.state());
        shown.set_needed(challenge.needed());
    }

    fn end_challenge(&mut self, c: &mut Controller<(RawFrame, Instant)>, outcome: Outcome) {
        let metrics = self.company.metrics.clone();
        let figures = &metrics.challenge;
        let again = std::mem::take(&mut self.company.challenge.let_run);
        match outcome {
            Outcome::Passed { part, score } => {
                figures.passed.inc();
                let wall = SystemTime::now().duration_since(UNIX_EPOCH);
                figures.set_passed_at(wall.ok().map(|since| since.as_secs()));
                let detail = format_args!("NG, score {score}");
                self.event(EventKind::ChallengePassed, numbered(part).as_str(), detail);
                log::info!(
                    "challenge passed: part {} was rejected, score {score}",
                    part.0
                );
            }
            Outcome::Failed { part, score } => {
                figures.failed.inc();
                figures.set_passed_at(None);
                let detail = format_args!("OK, score {score}");
                self.event(EventKind::ChallengeFailed, numbered(part).as_str(), detail);
                log::error!(
                    "challenge FAILED: the known-bad part {} was not found to be NG, score {score}; do not trust this line",
                    part.0
                );
            }
            Outcome::Void(why) => {
                figures.void.inc();
                let subject = why.part().map_or(ShortText::new("line"), numbered);
                self.event(EventKind::ChallengeVoid, subject.as_str(), why);
                log::warn!("the challenge proves nothing: {why}; repeat it");
            }
        }
        if matches!(outcome, Outcome::Failed { .. }) {
            self.raise_challenge(c, "failed");
        } else if again {
            self.quietly = true;
            c.raise_alarm(self.now, &mut |x| self.carry_out(x));
            self.quietly = false;
        }
        self.show_challenge();
        self.company.recorder.unpark();
    }

    fn raise_challenge(&mut self, c: &mut Controller<(RawFrame, Instant)>, why: &str) {
        self.company.challenge.raise();
        // Told once, whether or not the gate had another alarm already.
        self.quietly = true;
        c.raise_alarm(self.now, &mut |x| self.carry_out(x));
        self.quietly = false;
        self.raised(Standing::Challenge, why);
        self.show_challenge();
    }

    /// A camera whose stamps are wrong leaves every part without a picture; somebody must be told why.
    fn note_stale(&mut self, frame: &RawFrame, in_hand: Instant) {
        self.company.metrics.frames_stale.inc();
        if self.now >= self.tell_stale_at {
            self.tell_stale_at = self.now.after(BETWEEN_WARNINGS);
            log::warn!(
                "a frame is stamped {} us before it was in hand ({} ns): its time is in the future, older than capture.delivery_ms, or not newer than the frame before; no part is given it",
                in_hand
                    .0
                    .cast_signed()
                    .wrapping_sub(frame.time.0.cast_signed())
                    / 1_000,
                frame.time.0
            );
        }
    }

    /// The queue has room for every frame there is; were it full, the pool would shrink by one.
    fn release(&mut self, frame: RawFrame) {
        let _ = self.free.enqueue(frame);
    }

    pub(super) fn set(&mut self, line: Line, on: bool, until: Option<Instant>) {
        if let Err(error) = self.outputs.set_until(line, on, until) {
            self.outputs_gone(&error);
        }
    }

    pub(super) fn outputs_gone(&mut self, error: &DeviceError) {
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

    pub(super) fn note_answer(&mut self, answer: &Answer) -> Result<Judgement, Reason> {
        self.judging = false;
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
                wall.checked_sub(since.into()).unwrap_or(wall),
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
            self.company.challenge.entry(&entry);
            self.hand_to_recorder(Item::Part(entry));
        }
        self.decided.clear();
    }

    pub(super) fn event(&mut self, kind: EventKind, subject: &str, detail: impl std::fmt::Display) {
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
