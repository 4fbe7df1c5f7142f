//! Executes the controller's commands on the gate thread: outputs, jobs of the inspector, the
//! record.

use super::challenge::{Challenge, Outcome};
use super::link::LinkError;
use super::queues::{Answer, Job, RecordItem, describe};
use crate::clock;
use crate::frame::RawFrame;
use crate::line::controller::{Command, Controller};
use crate::line::devices::{DeviceError, LatchedAlarm, Outputs};
use crate::line::gate::{Action, Decision, Fault, Output, PartId, PartVerdict, Reason};
use crate::line::pairing::Unused;
use crate::record::{
    EventEntry, EventKind, FrameStamp, Latencies, Latency, Metrics, PartEntry, ProductLabel,
    ShortText,
};
use crate::station::keepalive::Keepalive;
use crate::time::{Duration, Instant};
use heapless::Vec;
use heapless::spsc::Producer;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::thread::Thread;
use std::time::{SystemTime, UNIX_EPOCH};

/// Shortest time between two warnings about a camera's wrong time stamps.
const BETWEEN_WARNINGS: Duration = Duration::from_millis(10_000);

/// Parts whose inspection is remembered until they are decided; a power of two.
const REMEMBERED: usize = 512;

/// What is known of a part before it is decided.
#[derive(Clone, Copy)]
struct PendingPart {
    part: PartId,
    stamp: FrameStamp,
    latencies: Latencies,
    score: Option<f32>,
    verdict: Option<PartVerdict>,
}

/// What the gate thread reports to, besides the controller's commands.
pub(super) struct Observers<'a> {
    pub(super) metrics: Arc<Metrics>,
    pub(super) keepalive: Option<Keepalive>,
    pub(super) product: ProductLabel,
    /// The product's NG threshold, for the metrics.
    pub(super) ng_threshold: f32,
    /// Number of entries for which the recorder's queue had no room.
    pub(super) entries_lost: &'a AtomicU64,
    /// The latched alarm by its number, for the recorder.
    pub(super) alarm: &'a AtomicU8,
    pub(super) challenge: Challenge,
    pub(super) inspector: &'a Thread,
    pub(super) recorder: &'a Thread,
}

/// Executes the controller's commands.
pub(super) struct Executor<'a> {
    pub(super) outputs: Box<dyn Outputs>,
    jobs: Producer<'a, Job>,
    items: Producer<'a, RecordItem>,
    free: Producer<'a, RawFrame>,
    pub(super) observers: Observers<'a>,
    known: Box<[Option<PendingPart>; REMEMBERED]>,
    decided: Vec<Decision, 64>,
    gate_after: Option<Duration>,
    tell_stale_at: Instant,
    pub(super) outputs_failed: bool,
    /// No supervisor holds the outputs any more.
    pub(super) orphaned: bool,
    /// The inspector is working on a part.
    pub(super) inspection: bool,
    /// An important thread hangs, so HEARTBEAT stops.
    pub(super) hung: bool,
    /// Kind of the next alarm that the gate raises.
    pub(super) next_alarm: LatchedAlarm,
    /// The latched alarm, without one of the challenge.
    stands: LatchedAlarm,
    /// Whether an alarm stops the line.
    stop_line: bool,
    /// The gate's alarm changes without a report, because the latched alarm stays the same.
    quietly: bool,
    /// The part whose frame could not be passed to the inspector.
    undelivered: Option<PartId>,
    pub(super) now: Instant,
}

impl<'a> Executor<'a> {
    pub(super) fn new(
        outputs: Box<dyn Outputs>,
        jobs: Producer<'a, Job>,
        items: Producer<'a, RecordItem>,
        free: Producer<'a, RawFrame>,
        observers: Observers<'a>,
        gate_after: Option<Duration>,
        stop_line: bool,
    ) -> Self {
        Self {
            outputs,
            jobs,
            items,
            free,
            observers,
            known: Box::new([None; REMEMBERED]),
            decided: Vec::new(),
            gate_after,
            tell_stale_at: Instant(0),
            outputs_failed: false,
            orphaned: false,
            inspection: false,
            hung: false,
            next_alarm: LatchedAlarm::Rejects,
            stands: LatchedAlarm::None,
            stop_line,
            quietly: false,
            undelivered: None,
            now: clock::now(),
        }
    }

    /// Work that is left after a call of the controller: parts that no inspector will see, outputs
    /// that failed, and reports of decided parts. Their outputs are set by then.
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
            if let Some(outcome) = self.observers.challenge.outcome(now) {
                self.end_challenge(controller, outcome);
            } else if self.observers.challenge.overdue(now) {
                let detail = "overdue";
                self.raise_challenge(controller, detail);
            } else {
                return;
            }
        }
    }

    /// An earlier process raised an alarm. The gate gets it next.
    pub(super) fn stood(&mut self, alarm: LatchedAlarm) {
        self.next_alarm = alarm;
        if alarm == LatchedAlarm::Challenge {
            self.observers.challenge.stands_still();
        }
        self.show_challenge();
    }

    /// The latched alarm, or none.
    fn standing(&self) -> LatchedAlarm {
        if self.stands == LatchedAlarm::None && self.observers.challenge.stands() {
            LatchedAlarm::Challenge
        } else {
            self.stands
        }
    }

    /// Passes the latched alarm to the supervisor and the recorder, because they keep it after
    /// this process ends.
    pub(super) fn remember(&mut self, alarm: LatchedAlarm) {
        self.observers.alarm.store(alarm as u8, Ordering::Relaxed);
        self.observers.recorder.unpark();
        if let Err(error) = self.outputs.remember(alarm) {
            self.outputs_gone(&error);
        }
    }

    fn alarm(&mut self, raised: bool) {
        if self.quietly {
            return;
        }
        if raised {
            let alarm = std::mem::replace(&mut self.next_alarm, LatchedAlarm::Rejects);
            self.raised(alarm, "");
        } else {
            self.acknowledged();
        }
    }

    fn raised(&mut self, alarm: LatchedAlarm, detail: &str) {
        log::warn!(
            "alarm: {}; it stands until it is acknowledged (`partgate tell CONFIG acknowledge`, or the acknowledge input)",
            alarm_state(alarm)
        );
        self.event(EventKind::Alarm, alarm.name(), detail);
        self.observers.metrics.alarm(alarm.name(), true);
        if alarm != LatchedAlarm::Challenge {
            self.stands = alarm;
        }
        self.remember(self.standing());
    }

    fn acknowledged(&mut self) {
        log::info!("the alarm was acknowledged");
        let stood = std::mem::take(&mut self.stands);
        if stood != LatchedAlarm::None {
            self.event(EventKind::Acknowledged, stood.name(), "");
        }
        if self.observers.challenge.stands() {
            self.event(EventKind::Acknowledged, LatchedAlarm::Challenge.name(), "");
            self.observers.challenge.acknowledged();
        }
        for alarm in LatchedAlarm::ALL {
            self.observers.metrics.alarm(alarm.name(), false);
        }
        self.show_challenge();
        self.remember(LatchedAlarm::None);
    }
}

/// A part as the subject of an event.
fn numbered(part: PartId) -> ShortText<32> {
    ShortText::of(format_args!("part {}", part.0))
}

/// An alarm as text.
fn alarm_state(alarm: LatchedAlarm) -> &'static str {
    match alarm {
        LatchedAlarm::None | LatchedAlarm::Rejects => "too many rejects",
        LatchedAlarm::Restarts => "the vision process was started again too often",
        LatchedAlarm::Challenge => {
            "challenge: no known-bad part was rejected within challenge.every_hours, or one was inspected OK; `partgate tell CONFIG challenge`, then let a known-bad part through"
        }
        LatchedAlarm::Unknown => {
            "unknown: the file `alarm` in the record's folder is missing or cannot be read, so nobody knows whether one stood; at the first start of a line that is as it should be"
        }
    }
}

impl Executor<'_> {
    pub(super) fn carry_out(&mut self, command: Command<(RawFrame, Instant)>) {
        match command {
            Command::Gate(action) => self.act(action),
            Command::PartInspector {
                part,
                trigger,
                frame,
                exposed,
            } => self.hand_to_inspector(part, trigger, frame, exposed),
            Command::Free((frame, in_hand), why) => {
                match why {
                    Some(Unused::Stale | Unused::Repeated) => self.note_stale(&frame, in_hand),
                    Some(Unused::Damaged) => self.observers.metrics.frames_damaged.inc(),
                    _ => {}
                }
                self.release(frame);
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Set {
                output,
                on,
                due,
                until,
            } => {
                if output == Output::Heartbeat && self.hung {
                    return;
                }
                self.set(output, on, until);
                if on && matches!(output, Output::Pass | Output::Reject) {
                    let late = clock::now().since(due);
                    let lateness = self.observers.metrics.latency(Latency::OutputLateness);
                    lateness.record(late.as_micros());
                }
                if output == Output::Ready {
                    self.note_ready(on);
                }
            }
            Action::Extend { until } => self.set(Output::Pass, true, Some(until)),
            Action::Decided(decision) => self.note_decision(decision),
            Action::Fault { fault, present } => self.note_fault(fault, present),
            Action::Alarm(raised) => self.alarm(raised),
        }
    }

    fn note_ready(&mut self, on: bool) {
        if on {
            self.observers.challenge.line_was_ready();
        }
        self.observers.metrics.set_ready(on);
        let kind = if on {
            EventKind::Ready
        } else {
            EventKind::NotReady
        };
        self.event(kind, "line", "");
    }

    fn note_decision(&mut self, decision: Decision) {
        self.observers.challenge.decided(decision.part);
        if self.decided.push(decision).is_err() {
            // There is no more room, so the decisions are reported now, before their outputs are
            // timed.
            self.tell_of_decided();
            let _ = self.decided.push(decision);
        }
    }

    fn note_fault(&mut self, fault: Fault, present: bool) {
        let kind = if present {
            EventKind::FaultRaised
        } else {
            EventKind::FaultCleared
        };
        self.event(kind, fault.name(), "");
        self.observers.metrics.fault(fault.name(), present);
        if present && fault != Fault::Starting {
            log::warn!("fault: {}", fault.name());
        }
    }

    /// A part whose frame finds no room in the queue gets its verdict in [`Self::finish`].
    fn hand_to_inspector(
        &mut self,
        part: PartId,
        trigger: Instant,
        (frame, in_hand): (RawFrame, Instant),
        exposed: Instant,
    ) {
        let latencies = Latencies::NONE
            .with(Latency::TriggerToFrame, exposed.since(trigger))
            .with(Latency::Delivery, in_hand.since(exposed))
            .with(Latency::Waiting, self.now.since(in_hand));
        self.known[part.0 as usize % REMEMBERED] = Some(PendingPart {
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
            self.inspection = true;
            self.observers.inspector.unpark();
        }
    }

    pub(super) fn acknowledge(&mut self, c: &mut Controller<(RawFrame, Instant)>, now: Instant) {
        if self.observers.challenge.needed() {
            log::warn!(
                "the alarm challenge cannot be acknowledged before a challenge was passed: `partgate tell CONFIG challenge`, then let a known-bad part through"
            );
            let stood = std::mem::take(&mut self.stands);
            if stood != LatchedAlarm::None {
                self.event(EventKind::Acknowledged, stood.name(), "");
                self.observers.metrics.alarm(stood.name(), false);
                self.remember(LatchedAlarm::Challenge);
            }
            // A person has looked at what the confirming sensor found, also if another alarm
            // stays.
            c.fault(Fault::Confirm, false, now, &mut |x| self.carry_out(x));
            return;
        }
        let alarm = c.alarm();
        c.acknowledge(now, &mut |x| self.carry_out(x));
        if !alarm && self.standing() != LatchedAlarm::None {
            // The gate's alarm was withdrawn for the challenge that is going on.
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
        if !self.observers.challenge.begin(at) {
            return;
        }
        self.event(
            EventKind::Challenge,
            "line",
            "the next part is known to be bad",
        );
        if self.standing() == LatchedAlarm::Challenge && self.stop_line && c.alarm() {
            // A stopped line cannot show whether it rejects. The alarm stays latched, and stops
            // the line again when the challenge is over.
            self.observers.challenge.let_run = true;
            self.quietly = true;
            c.acknowledge(now, &mut |x| self.carry_out(x));
            self.quietly = false;
        }
        self.show_challenge();
    }

    /// Parts are numbered up to `last`; the newest was triggered `at`.
    pub(super) fn numbered(&mut self, last: u64, at: Instant) {
        self.observers.challenge.numbered(last, at);
        self.show_challenge();
    }

    fn show_challenge(&self) {
        let (challenge, shown) = (&self.observers.challenge, &self.observers.metrics.challenge);
        shown.set_state(challenge.state());
        shown.set_needed(challenge.needed());
    }

    fn end_challenge(&mut self, c: &mut Controller<(RawFrame, Instant)>, outcome: Outcome) {
        let metrics = self.observers.metrics.clone();
        let figures = &metrics.challenge;
        let again = std::mem::take(&mut self.observers.challenge.let_run);
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
            Outcome::VoidReason(why) => {
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
        self.observers.recorder.unpark();
    }

    fn raise_challenge(&mut self, c: &mut Controller<(RawFrame, Instant)>, why: &str) {
        self.observers.challenge.raise();
        // Reported once, whether or not the gate had another alarm already.
        self.quietly = true;
        c.raise_alarm(self.now, &mut |x| self.carry_out(x));
        self.quietly = false;
        self.raised(LatchedAlarm::Challenge, why);
        self.show_challenge();
    }

    /// A camera with wrong time stamps leaves every part without a frame. A person must learn why.
    fn note_stale(&mut self, frame: &RawFrame, in_hand: Instant) {
        self.observers.metrics.frames_stale.inc();
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

    /// The queue has room for all frames. If it were full, the pool would lose one.
    fn release(&mut self, frame: RawFrame) {
        let _ = self.free.enqueue(frame);
    }

    pub(super) fn set(&mut self, output: Output, on: bool, until: Option<Instant>) {
        if let Err(error) = self.outputs.set_until(output, on, until) {
            self.outputs_gone(&error);
        }
    }

    pub(super) fn outputs_gone(&mut self, error: &DeviceError) {
        // The supervisor has ended the link, and with it this process.
        let let_go = matches!(error.downcast_ref(), Some(LinkError::Gone));
        if !self.outputs_failed && let_go {
            log::info!("the supervisor has let go of this process: it ends");
        } else if !self.outputs_failed {
            log::error!("output lines: {}", describe(error));
        }
        self.outputs_failed = true;
        self.orphaned |= error.is::<LinkError>();
    }

    pub(super) fn note_answer(&mut self, answer: &Answer) -> Result<PartVerdict, Reason> {
        self.inspection = false;
        let verdict = match &answer.inspected {
            Ok(inspected) => Ok(inspected.verdict),
            Err(error) => Err(error.reason()),
        };
        if let Some(known) = &mut self.known[answer.part.0 as usize % REMEMBERED]
            && known.part == answer.part
        {
            known.latencies.set(Latency::Inspection, answer.took);
            known.verdict = verdict.ok();
            known.score = answer.inspected.as_ref().ok().map(|j| j.score);
        }
        if let Ok(inspected) = &answer.inspected {
            let threshold = self.observers.ng_threshold;
            self.observers.metrics.score(inspected.score, threshold);
        }
        verdict
    }

    /// Reports the decided parts. Their outputs are set by now.
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
            entry.product = self.observers.product;
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
            self.observers.metrics.part(&entry);
            self.observers.challenge.entry(&entry);
            self.hand_to_recorder(RecordItem::Part(entry));
        }
        self.decided.clear();
    }

    pub(super) fn event(&mut self, kind: EventKind, subject: &str, detail: impl std::fmt::Display) {
        let event = EventEntry::new(kind, subject, detail, self.now);
        self.hand_to_recorder(RecordItem::Event(event));
    }

    /// If the recorder is too slow, entries are lost and counted. The gate does not wait.
    fn hand_to_recorder(&mut self, item: RecordItem) {
        if self.items.enqueue(item).is_err() {
            self.observers.entries_lost.fetch_add(1, Ordering::Relaxed);
        } else {
            self.observers.recorder.unpark();
        }
    }
}
