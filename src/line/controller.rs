//! The gate with its inputs: which frame shows which part, and which part the inspector works on.
//!
//! Pure like the gate: no clock, no threads, no memory taken. The running line and the simulator call
//! the same controller with different devices. `F` stands for a frame: the frame itself on a line, a
//! number in the simulator.

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

/// The most parts that one line can track.
pub const MAX_PARTS: usize = 256;
/// Frames kept for a trigger that is still on its way.
pub const KEPT_FRAMES: usize = 4;
/// The controller is called this often, so that it notices when it was not called in time.
pub const LOOK: Duration = Duration::from_millis(20);
/// A command or a frame that arrives this soon after the process was delayed may have waited for it.
const AFTER_STALL: Duration = Duration::from_millis(20);
/// The most parts whose frame waits for the inspector.
pub const MAX_JOBS: usize = 32;

/// The line's settings, the gate's included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControllerSettings {
    /// Settings of the gate.
    pub gate: Settings,
    /// Which frame belongs to which part.
    pub pairing: PairingSettings,
    /// An inspection of one part that takes longer than this is a fault.
    pub inspection: Duration,
    /// Parts come at this fixed distance of the encoder; None: a sensor triggers.
    pub every_counts: Option<Counts>,
    /// An index input marks where these distances begin.
    pub indexed: bool,
    /// How often the level of the trigger's input is read; None: never.
    pub level_every: Option<Duration>,
    /// The encoder has two channels.
    pub quadrature: bool,
}

impl ControllerSettings {
    /// A sensor triggers, and only its edges are read.
    pub const fn plain(gate: Settings, pairing: PairingSettings, inspection: Duration) -> Self {
        Self {
            gate,
            pairing,
            inspection,
            every_counts: None,
            indexed: false,
            level_every: None,
            quadrature: false,
        }
    }
}

/// What the caller must do.
#[derive(Debug, PartialEq, Eq)]
pub enum Command<F> {
    /// An action of the gate.
    Gate(Action),
    /// Inspect this frame for this part. The next job follows after the verdict on this one.
    PartInspector {
        /// The part.
        part: PartId,
        /// When the part was triggered.
        trigger: Instant,
        /// The frame.
        frame: F,
        /// When the frame was exposed.
        exposed: Instant,
    },
    /// The frame is free again. The reason; None if its part needs no verdict any more.
    Free(F, Option<Unused>),
}

#[derive(Debug)]
struct Job<F> {
    part: PartId,
    trigger: Instant,
    frame: F,
    exposed: Instant,
}

/// Frames that were not inspected, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameCounters {
    /// All frames.
    pub frames: u64,
    /// No part was in front of the camera.
    pub unclaimed: u64,
    /// Not newer than an earlier frame, or with a time stamp that cannot be true.
    pub stale: u64,
    /// The same frame came before.
    pub repeated: u64,
    /// The frame could show two parts.
    pub ambiguous: u64,
    /// Damaged on the way.
    pub damaged: u64,
    /// Their part was decided before the inspector had time.
    pub skipped: u64,
}

/// The controller; see the module.
#[derive(Debug)]
pub struct Controller<F> {
    settings: ControllerSettings,
    gate: Gate<MAX_PARTS>,
    pairing: Pairing<F, MAX_PARTS, KEPT_FRAMES>,
    jobs: Deque<Job<F>, MAX_JOBS>,
    /// The part that the inspector works on, and since when.
    inspection: Option<(PartId, Instant)>,
    /// Running mean of how long inspection takes.
    usual_inspection: Duration,
    count: Count,
    /// When each of the last counts was reached.
    count_times: [Instant; COUNT_TIMES],
    quadrature: Quadrature,
    next_part_at: Count,
    /// The index was seen since the start, or no index is wired.
    phased: bool,
    /// Triggers by count since the last index.
    since_index: u32,
    /// The controller was not called in time: from the call before to the late call.
    stall: (Instant, Instant),
    /// When it must be called next, and when it was called last.
    due: Instant,
    called: Instant,
    frames: FrameCounters,
}

impl<F> Controller<F> {
    /// A controller whose line is not ready yet.
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

    /// Totals of triggers, parts and faults.
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

    /// Whether the line can take a new part.
    pub fn ready(&self) -> bool {
        self.gate.ready()
    }

    /// The faults that are present.
    pub fn faults(&self) -> Faults {
        self.gate.faults()
    }

    /// Whether the alarm is raised.
    pub fn alarm(&self) -> bool {
        self.gate.alarm()
    }

    /// The level of an output.
    pub fn level(&self, output: Output) -> bool {
        self.gate.level(output)
    }

    /// Whether inspection and the outputs work, so that the watchdogs may be kicked. A lost camera does
    /// not count: a reset does not repair it, and the program tries to open it again all the time.
    pub fn fresh(&self) -> bool {
        let stuck = [Fault::Inference, Fault::Outputs];
        !stuck.into_iter().any(|f| self.gate.faults().has(f))
    }

    /// The latest time of the next call.
    pub fn deadline(&self) -> Instant {
        let inspection = match self.inspection {
            Some((_, since)) if !self.gate.faults().has(Fault::Inference) => {
                since.after(self.settings.inspection)
            }
            _ => Instant::MAX,
        };
        let first = self.gate.deadline().min(self.pairing.deadline());
        first.min(inspection).min(self.called.after(LOOK))
    }

    /// Does everything that is due.
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

    /// A part was at the sensor at `at`, kernel time. The kernel lost `lost` edges before it.
    pub fn trigger(
        &mut self,
        at: Instant,
        lost: u32,
        clock: Instant,
        emit: &mut impl FnMut(Command<F>),
    ) {
        let Some(place) = self.place_at(at) else {
            // So late that the belt's place at that time is unknown: treated like a lost edge.
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

    /// A part is at the sensor, by a command on the control socket that arrived at `at`.
    ///
    /// A command carries no time stamp. If it arrives just after this process was delayed, it may have
    /// waited since then: its part can be anywhere in between.
    pub fn command_trigger(
        &mut self,
        at: Instant,
        clock: Instant,
        emit: &mut impl FnMut(Command<F>),
    ) {
        self.notice_stall(clock);
        let (from, to) = self.stall;
        if to.0 > 0 && at >= from && at <= to.after(AFTER_STALL) {
            // The part before it may have been paired with this part's frame.
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

    /// A part went by at an unknown time since `since`: every part that it can be is rejected.
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

    /// Notes a call that comes later than it was due.
    fn notice_stall(&mut self, clock: Instant) {
        if clock.since(self.due) > self.settings.gate.late_output {
            // The delay may have begun right after the last call.
            self.stall = (self.called, clock);
        }
        self.due = clock;
        self.called = clock;
    }

    /// The supervisor was late: nobody knows which parts went by.
    pub fn outputs_were_late(&mut self, clock: Instant, emit: &mut impl FnMut(Command<F>)) {
        self.gate
            .outputs_were_late(clock, &mut |o| emit(Command::Gate(o)));
        self.tick(clock, emit);
    }

    /// The kernel lost edges of the trigger, and no edge came after them.
    pub fn triggers_lost(&mut self, lost: u32, clock: Instant, emit: &mut impl FnMut(Command<F>)) {
        let place = Position {
            time: clock,
            count: self.count,
        };
        self.gate
            .lost(lost, place, clock, &mut |o| emit(Command::Gate(o)));
    }

    /// A frame arrived.
    pub fn frame(
        &mut self,
        frame: F,
        info: FrameInfo,
        clock: Instant,
        emit: &mut impl FnMut(Command<F>),
    ) {
        self.frames.frames += 1;
        self.notice_stall(clock);
        let (from, to) = self.stall;
        // A frame that may have waited for this process may have arrived at the beginning of the delay.
        // A stamp after that could have been in the future.
        let waited = clock <= to.after(AFTER_STALL) && info.exposed <= to;
        let latest = if waited { from } else { clock };
        self.pair(clock, emit, |pairing, emit| {
            pairing.frame(frame, info, latest, clock, emit);
        });
        self.tick(clock, emit);
    }

    /// The inspector's verdict on `part`, or the reason why there is none.
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

    /// A fault from outside the gate begins or ends.
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

    /// An alarm from before this start is still latched.
    pub fn raise_alarm(&mut self, clock: Instant, emit: &mut impl FnMut(Command<F>)) {
        self.gate
            .raise_alarm(clock, &mut |o| emit(Command::Gate(o)));
    }

    /// A person acknowledges the alarm.
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

    /// Whether a part triggered at `trigger` reaches its gate before its inspection can end.
    fn too_late(&self, trigger: Instant, clock: Instant) -> bool {
        match self.settings.gate.gate {
            Span::Time(after) => clock.after(self.usual_inspection) >= trigger.after(after),
            Span::Counts(_) => false,
        }
    }

    /// Gives the inspector its next job. It skips parts that are decided already or will be before
    /// their inspection ends: inspecting them changes nothing and would make the next part late too.
    fn dispatch(&mut self, clock: Instant, emit: &mut impl FnMut(Command<F>)) {
        while self.inspection.is_none()
            && let Some(job) = self.jobs.pop_front()
        {
            // The last job is always tried: only an inspection shows how long inspections take now.
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
                // No verdict will come for it. If the gate waited for one, it would count the part as
                // backlog.
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
