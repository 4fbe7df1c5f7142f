//! The gate with what it needs to be told: which frame shows which part, what the inspector is at.
//!
//! Pure like the gate: no clock, no threads, no memory taken. The running line and the simulator
//! call the same controller with different devices. `F` is whatever stands for a frame: the frame
//! itself on a line, a number in the simulator.

use super::gate::{
    Action, Counters, Fault, Faults, Gate, Output, PartId, PartVerdict, Reason, Settings,
    SettingsError,
};
use super::pairing::{FrameInfo, Paired, Pairing, PairingSettings, Unused};
use super::quadrature::Quadrature;
use crate::time::{Count, Counts, Duration, Instant, Position, Span};
use belt::COUNT_TIMES;
use heapless::Deque;

mod belt;
#[cfg(test)]
mod tests;

/// Parts that one line can track at most.
pub const MAX_PARTS: usize = 256;
/// Frames kept for a trigger that is still on its way.
pub const KEPT_FRAMES: usize = 4;
/// Where parts are told of by commands the controller is called so often, to notice when it was not.
const LOOK: Duration = Duration::from_millis(20);
/// A word that is heard so soon after this program was not run may have waited for it.
const AFTER_STALL: Duration = Duration::from_millis(20);
/// Parts whose frame waits for the inspector at most.
pub const MAX_JOBS: usize = 32;

/// What a line needs to know beyond the gate's settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControllerSettings {
    /// The gate's.
    pub gate: Settings,
    /// Frames to parts.
    pub pairing: PairingSettings,
    /// Inspection one part longer than this is a fault.
    pub inspection: Duration,
    /// Where parts come at fixed distances of the encoder instead of from a sensor.
    pub every_counts: Option<Counts>,
    /// An index input says where these distances begin.
    pub indexed: bool,
    /// How often the level of the trigger's input is read; None: never.
    pub level_every: Option<Duration>,
    /// The encoder has two channels.
    pub quadrature: bool,
    /// Parts are told of by commands, which nobody stamps.
    pub by_command: bool,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Command<F> {
    /// The gate says so.
    Gate(Action),
    /// Inspect this frame for this part. The next job follows when this one is answered.
    PartInspector {
        /// The part.
        part: PartId,
        /// The trigger's time.
        trigger: Instant,
        /// The frame.
        frame: F,
        /// When it was exposed.
        exposed: Instant,
    },
    /// The frame is free again; None: its part needs no verdict any more.
    Free(F, Option<Unused>),
}

#[derive(Debug)]
struct Job<F> {
    part: PartId,
    trigger: Instant,
    frame: F,
    exposed: Instant,
}

/// Frames that did not come to inspection, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameCounters {
    /// Frames that came.
    pub frames: u64,
    /// No part was in front of the camera.
    pub unclaimed: u64,
    /// Not newer than a frame before, or with a stamp that cannot be true.
    pub stale: u64,
    /// Came before.
    pub repeated: u64,
    /// Could show two parts.
    pub ambiguous: u64,
    /// Damaged on the way.
    pub damaged: u64,
    /// Their part was decided before the inspector had time.
    pub skipped: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Controller<F> {
    settings: ControllerSettings,
    gate: Gate<MAX_PARTS>,
    pairing: Pairing<F, MAX_PARTS, KEPT_FRAMES>,
    jobs: Deque<Job<F>, MAX_JOBS>,
    /// What the inspector is at, and since when.
    inspection: Option<(PartId, Instant)>,
    /// Running mean of how long inspection takes.
    usual_inspection: Duration,
    count: Count,
    /// When each of the last counts was reached.
    count_times: [Instant; COUNT_TIMES],
    quadrature: Quadrature,
    next_part_at: Count,
    /// An index was seen since the start, or none is wired.
    phased: bool,
    /// Triggers by count since the last index.
    since_index: u32,
    /// The controller was not called when it had to be: from the call before until it was.
    stall: (Instant, Instant),
    /// When it has to be called, and was last.
    due: Instant,
    called: Instant,
    frames: FrameCounters,
}

impl<F> Controller<F> {
    /// A line that is not ready yet.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn new(settings: ControllerSettings, clock: Instant) -> Result<Self, SettingsError> {
        Ok(Self {
            gate: Gate::new(settings.gate, clock)?,
            pairing: Pairing::new(settings.pairing),
            jobs: Deque::new(),
            inspection: None,
            usual_inspection: Duration::ZERO,
            count: Count(0),
            count_times: [Instant(0); COUNT_TIMES],
            quadrature: Quadrature::default(),
            next_part_at: settings
                .every_counts
                .map_or(Count::MAX, |every| Count(0).after(every)),
            phased: !settings.indexed,
            since_index: 0,
            stall: (Instant(0), Instant(0)),
            due: Instant::MAX,
            called: clock,
            frames: FrameCounters::default(),
            settings,
        })
    }

    /// Totals of parts.
    pub fn counters(&self) -> &Counters {
        self.gate.counters()
    }

    /// Totals of frames.
    pub fn frames(&self) -> &FrameCounters {
        &self.frames
    }

    /// Parts that are tracked.
    pub fn under_way(&self) -> usize {
        self.gate.under_way()
    }

    /// The encoder's reading.
    pub fn count(&self) -> Count {
        self.count
    }

    /// Whether a new part can be served.
    pub fn ready(&self) -> bool {
        self.gate.ready()
    }

    /// What is wrong.
    pub fn faults(&self) -> Faults {
        self.gate.faults()
    }

    /// Whether the alarm is raised.
    pub fn alarm(&self) -> bool {
        self.gate.alarm()
    }

    /// The level of a line.
    pub fn level(&self, output: Output) -> bool {
        self.gate.level(output)
    }

    /// Whether inspection and the outputs work, so that a watchdog may be told. A camera that is gone is
    /// not among what a watchdog could mend: it is asked for again and again already.
    pub fn fresh(&self) -> bool {
        let stuck = [Fault::Inference, Fault::Outputs];
        !stuck.into_iter().any(|f| self.gate.faults().has(f))
    }

    /// When the controller must be called again, whatever happens in between.
    pub fn deadline(&self) -> Instant {
        let inspection = match self.inspection {
            Some((_, since)) if !self.gate.faults().has(Fault::Inference) => {
                since.after(self.settings.inspection)
            }
            _ => Instant::MAX,
        };
        let first = self.gate.deadline().min(self.pairing.deadline());
        let look = if self.settings.by_command {
            self.called.after(LOOK)
        } else {
            Instant::MAX
        };
        first.min(inspection).min(look)
    }

    /// Lets everything happen that is due.
    pub fn tick(&mut self, clock: Instant, emit: &mut impl FnMut(Command<F>)) {
        self.notice_stall(clock);
        if let Some((_, since)) = self.inspection
            && since.after(self.settings.inspection) <= clock
            && !self.gate.faults().has(Fault::Inference)
        {
            self.gate.fault(Fault::Inference, true, clock, &mut |o| {
                emit(Command::Gate(o))
            });
        }
        self.pair(clock, emit, |pairing, emit| pairing.tick(clock, emit));
        self.gate.tick(clock, &mut |o| emit(Command::Gate(o)));
        self.dispatch(clock, emit);
        self.due = self.deadline();
    }

    /// A part was seen at `at`, kernel time; `lost` edges before it were not.
    pub fn trigger(
        &mut self,
        at: Instant,
        lost: u32,
        clock: Instant,
        emit: &mut impl FnMut(Command<F>),
    ) {
        let Some(place) = self.place_at(at) else {
            // So late that nobody knows where the belt was: as if it had been lost.
            self.triggers_lost(lost.saturating_add(1), clock, emit);
            return;
        };
        let wanted = self
            .gate
            .trigger(place, lost, clock, &mut |o| emit(Command::Gate(o)));
        if let Some(part) = wanted {
            self.pair(clock, emit, |pairing, emit| pairing.trigger(part, at, emit));
        }
        self.tick(clock, emit);
    }

    /// A part is there, as somebody says over the control socket: it was heard of at `at`.
    ///
    /// Nobody stamps such a word on its way. One that is heard just after this program was not run may
    /// have waited since then: its part lies anywhere in between.
    pub fn command_trigger(
        &mut self,
        at: Instant,
        clock: Instant,
        emit: &mut impl FnMut(Command<F>),
    ) {
        self.notice_stall(clock);
        let (from, to) = self.stall;
        if to.0 > 0 && at >= from && at <= to.after(AFTER_STALL) {
            // A part before it may have been given its picture.
            let window = self.settings.pairing.exposure_max;
            let first = from.before(window);
            let since = self.place_at(first).unwrap_or_default();
            let here = self.here(clock);
            self.gate
                .lost_since(since, here, clock, &mut |o| emit(Command::Gate(o)));
            self.tick(clock, emit);
            return;
        }
        self.trigger(at, 0, clock, emit);
    }

    /// A part went by at some time since `since`, and nobody knows when: whatever may be it is thrown
    /// out.
    pub fn trigger_lost_since(
        &mut self,
        since: Instant,
        clock: Instant,
        emit: &mut impl FnMut(Command<F>),
    ) {
        let since = self.place_at(since).unwrap_or_default();
        let here = self.here(clock);
        self.gate
            .lost_since(since, here, clock, &mut |o| emit(Command::Gate(o)));
        self.tick(clock, emit);
    }

    /// Remembers when it was called later than it had to be.
    fn notice_stall(&mut self, clock: Instant) {
        if clock.since(self.due) > self.settings.gate.late_output {
            // It may have begun right after the last call.
            self.stall = (self.called, clock);
        }
        self.due = clock;
        self.called = clock;
    }

    /// The holder of the output lines was late: nobody knows what went by.
    pub fn outputs_were_late(&mut self, clock: Instant, emit: &mut impl FnMut(Command<F>)) {
        self.gate
            .outputs_were_late(clock, &mut |o| emit(Command::Gate(o)));
        self.tick(clock, emit);
    }

    /// Edges of the trigger were lost, and none came after them.
    pub fn triggers_lost(&mut self, lost: u32, clock: Instant, emit: &mut impl FnMut(Command<F>)) {
        let place = Position {
            time: clock,
            count: self.count,
        };
        self.gate
            .lost(lost, place, clock, &mut |o| emit(Command::Gate(o)));
    }

    /// A frame came.
    pub fn frame(
        &mut self,
        frame: F,
        info: FrameInfo,
        clock: Instant,
        emit: &mut impl FnMut(Command<F>),
    ) {
        self.frames.frames += 1;
        self.pair(clock, emit, |pairing, emit| {
            pairing.frame(frame, info, clock, emit);
        });
        self.tick(clock, emit);
    }

    /// The inspector answers for `part`.
    pub fn verdict(
        &mut self,
        part: PartId,
        verdict: Result<PartVerdict, Reason>,
        clock: Instant,
        emit: &mut impl FnMut(Command<F>),
    ) {
        if let Some((at, since)) = self.inspection
            && at == part
        {
            self.inspection = None;
            let took = clock.since(since);
            let usual = self.usual_inspection;
            self.usual_inspection = if usual == Duration::ZERO {
                took
            } else {
                usual - usual / 8 + took / 8
            };
        }
        let mut gate = |o| emit(Command::Gate(o));
        match verdict {
            Ok(verdict) => self.gate.verdict(part, verdict, clock, &mut gate),
            Err(reason) => self.gate.no_verdict(part, reason, clock, &mut gate),
        }
        if self.inspection.is_none() && self.gate.faults().has(Fault::Inference) {
            self.gate.fault(Fault::Inference, false, clock, &mut gate);
        }
        self.tick(clock, emit);
    }

    /// Something outside went wrong, or right again.
    pub fn fault(
        &mut self,
        fault: Fault,
        present: bool,
        clock: Instant,
        emit: &mut impl FnMut(Command<F>),
    ) {
        self.gate
            .fault(fault, present, clock, &mut |o| emit(Command::Gate(o)));
        if fault == Fault::Camera && present {
            self.pair(clock, emit, |pairing, emit| pairing.camera_lost(emit));
        }
        self.tick(clock, emit);
    }

    /// An alarm that was raised before this start still stands.
    pub fn raise_alarm(&mut self, clock: Instant, emit: &mut impl FnMut(Command<F>)) {
        self.gate
            .raise_alarm(clock, &mut |o| emit(Command::Gate(o)));
    }

    /// A person has looked at the alarm.
    pub fn acknowledge(&mut self, clock: Instant, emit: &mut impl FnMut(Command<F>)) {
        self.gate
            .acknowledge(clock, &mut |o| emit(Command::Gate(o)));
    }

    fn pair(
        &mut self,
        clock: Instant,
        emit: &mut impl FnMut(Command<F>),
        what: impl FnOnce(&mut Pairing<F, MAX_PARTS, KEPT_FRAMES>, &mut dyn FnMut(Paired<F>)),
    ) {
        let Self {
            pairing,
            gate,
            jobs,
            frames,
            ..
        } = self;
        what(pairing, &mut |paired| match paired {
            Paired::Match {
                part,
                frame,
                exposed,
            } => {
                let trigger = gate.trigger_of(part).unwrap_or(exposed);
                let job = Job {
                    part,
                    trigger,
                    frame,
                    exposed,
                };
                if let Err(job) = jobs.push_back(job) {
                    gate.no_verdict(part, Reason::Overload, clock, &mut |o| {
                        emit(Command::Gate(o));
                    });
                    frames.skipped += 1;
                    emit(Command::Free(job.frame, None));
                }
            }
            Paired::Free(frame, why) => {
                match why {
                    Unused::Unclaimed => frames.unclaimed += 1,
                    Unused::Stale => frames.stale += 1,
                    Unused::Repeated => frames.repeated += 1,
                    Unused::Ambiguous => frames.ambiguous += 1,
                    Unused::Damaged => frames.damaged += 1,
                }
                emit(Command::Free(frame, Some(why)));
            }
            Paired::Missing(part, reason) => {
                gate.no_verdict(part, reason, clock, &mut |o| emit(Command::Gate(o)));
            }
        });
    }

    /// Whether a part triggered at `trigger` will be at its gate before the inspector is done with it.
    fn too_late(&self, trigger: Instant, clock: Instant) -> bool {
        match self.settings.gate.gate {
            Span::Time(after) => clock.after(self.usual_inspection) >= trigger.after(after),
            Span::Counts(_) => false,
        }
    }

    /// Gives the inspector its next job. Parts that are decided already, or will be before the inspector is
    /// done, are passed over: frames that can change nothing would make the next part late too.
    fn dispatch(&mut self, clock: Instant, emit: &mut impl FnMut(Command<F>)) {
        while self.inspection.is_none()
            && let Some(job) = self.jobs.pop_front()
        {
            // The last one that waits is tried whatever it looks like: how long inspection takes can only
            // be learnt by inspecting.
            let hopeless = !self.jobs.is_empty() && self.too_late(job.trigger, clock);
            if self.gate.undecided(job.part) && !hopeless {
                self.inspection = Some((job.part, clock));
                emit(Command::PartInspector {
                    part: job.part,
                    trigger: job.trigger,
                    frame: job.frame,
                    exposed: job.exposed,
                });
            } else {
                self.frames.skipped += 1;
                // Nobody will answer for it now; a gate that waited would count it as backlog.
                if self.gate.trigger_of(job.part).is_some() {
                    self.gate
                        .no_verdict(job.part, Reason::Late, clock, &mut |o| {
                            emit(Command::Gate(o));
                        });
                }
                emit(Command::Free(job.frame, None));
            }
        }
    }
}
