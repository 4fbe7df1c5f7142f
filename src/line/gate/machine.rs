//! The state machine itself: its events. What follows from them at the ejector is in `ejection`, what
//! is due next in `due`, and parts that cannot be tracked one by one are in `untracked`.

mod confirming;
mod due;
mod ejection;
mod sensor;
mod untracked;

use super::alarm::Alarm;
use super::along::{Along, Unit};
use super::counters::Counters;
use super::fault::{Fault, Faults};
use super::lines::Output;
use super::output::Action;
use super::part::{PartId, PartVerdict, Reason};
use super::settings::{Settings, SettingsError};
use crate::time::{Count, Duration, Instant, Position};
use confirming::Confirming;
use heapless::Deque;
use sensor::Sensor;

/// A part between sensor and ejector.
#[derive(Clone, Copy, Debug)]
struct Tracked {
    id: PartId,
    trigger: Position,
    /// The place of its gate, in the gate's unit.
    gate: u64,
    /// Whether a verdict is expected.
    wanted: bool,
    /// When the verdict arrived, whatever it is.
    verdict_at: Option<Instant>,
    /// The confirming sensor saw it.
    confirmed: bool,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Ok,
    Rejected(Reason),
}

/// Unknown positions: whether everything on the line is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    /// Positions are known.
    Off,
    /// Until the line is ready.
    On,
    /// Until the encoder counts again.
    Blind,
    /// The line runs again. The parts that lay between sensor and ejector have left when it reaches
    /// this place.
    Until(u64),
}

/// A section of the line on which parts could not be tracked one by one: all of it is rejected.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    from: u64,
    to: u64,
    /// Its beginning is at the ejector.
    open: bool,
    /// When it became known. Its beginning may have been at the ejector before: a lost edge is noticed
    /// at the next edge.
    known: Instant,
}

/// The gate: tracks up to `N` parts.
#[derive(Debug)]
pub struct Gate<const N: usize> {
    settings: Settings,
    gate: Along,
    pulse: Along,
    min_off: u64,
    /// The line's place, by the events so far.
    now: Position,
    /// The caller's clock at this call; later than `now` while the gate catches up.
    clock: Instant,
    /// When the last encoder count came, by the kernel.
    counted_at: Instant,
    parts: Deque<Tracked, N>,
    last_trigger: Option<Position>,
    faults: Faults,
    fault_shown_until: Instant,
    /// When the faults that end by themselves end.
    passing_faults_until: Option<Instant>,
    ready: bool,
    hold: Hold,
    stretch: Option<Stretch>,
    /// Ends of pulses, in the pulse's unit.
    reject_until: Option<u64>,
    /// When the last reject pulse was due, and when it began.
    reject_since: (Instant, Instant),
    /// A reject pulse in counts that began late lasts until then, because its counts were over before
    /// it began.
    reject_tail: Option<Instant>,
    pass_until: Option<u64>,
    /// When a part last switched PASS on or lengthened it.
    pass_since: Instant,
    /// When PASS goes off by itself, as it was last emitted.
    pass_announced: Instant,
    ok_until: Option<u64>,
    /// The result on RESULT-VALID is OK.
    result_ok: bool,
    /// A reject pulse by the clock was due to end while the belt stood: it must last a pulse longer
    /// once the belt moves.
    stood: bool,
    /// REJECT stays on until this part's gate, because the ejector would have no rest before it.
    bridge: Option<PartId>,
    sensor: Sensor,
    confirming: Confirming<N>,
    /// Whether a part waits for its verdict, and whether that must be checked again.
    busy: bool,
    busy_unsure: bool,
    ack_until: Option<Instant>,
    valid_until: Option<Instant>,
    /// A pulse of TRIGGER-ACK or RESULT-VALID begins while the one before lasts: the output goes off
    /// first.
    ack_anew: bool,
    valid_anew: bool,
    /// When the line last became ready: the belt runs at full speed `spin_up` later.
    ready_since: Instant,
    /// Where REJECT went off, in the gate's unit.
    rejected_until: Option<u64>,
    alarm: Alarm,
    heartbeat_at: Instant,
    levels: [bool; Output::ALL.len()],
    counters: Counters,
}

impl<const N: usize> Gate<N> {
    /// A gate with [`Fault::Starting`], which rejects everything.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn new(settings: Settings, now: Instant) -> Result<Self, SettingsError> {
        settings.check(N)?;
        let mut faults = Faults::NONE;
        faults.set(Fault::Starting, true);
        let mut counters = Counters::default();
        counters.faults[Fault::Starting.index()] = 1;
        Ok(Self {
            gate: Along::new(settings.gate),
            pulse: Along::new(settings.pulse),
            min_off: Along::new(settings.min_off).length,
            now: Position {
                time: now,
                count: Count(0),
            },
            clock: now,
            counted_at: now,
            parts: Deque::new(),
            last_trigger: None,
            faults,
            fault_shown_until: now.after(settings.fault_hold),
            passing_faults_until: None,
            ready: false,
            hold: Hold::On,
            stretch: None,
            reject_until: None,
            reject_since: (now, now),
            reject_tail: None,
            pass_until: None,
            pass_since: now,
            pass_announced: Instant(0),
            ok_until: None,
            result_ok: false,
            stood: false,
            bridge: None,
            sensor: Sensor::new(),
            confirming: Confirming::new(),
            busy: false,
            busy_unsure: false,
            ack_until: None,
            valid_until: None,
            ack_anew: false,
            valid_anew: false,
            ready_since: now,
            rejected_until: None,
            alarm: Alarm::new(settings.alarm),
            heartbeat_at: now.after(settings.heartbeat),
            levels: Output::ALL.map(Output::when_unattended),
            counters,
            settings,
        })
    }

    /// The present level of `output`; at the start, the level to set it to.
    pub fn level(&self, output: Output) -> bool {
        self.levels[output as usize]
    }

    /// Totals of triggers, parts and faults.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Parts between sensor and ejector that are tracked.
    pub fn under_way(&self) -> usize {
        self.parts.len()
    }

    /// When `part` was triggered; None if it is not tracked any more.
    pub fn trigger_of(&self, part: PartId) -> Option<Instant> {
        let mut tracked = self.parts.iter();
        tracked.find(|p| p.id == part).map(|p| p.trigger.time)
    }

    /// Whether a verdict on `part` can still change its decision.
    pub fn undecided(&self, part: PartId) -> bool {
        let mut tracked = self.parts.iter();
        tracked.any(|p| p.id == part && p.state == State::Waiting)
    }

    /// Parts that wait for their verdict.
    pub fn waiting(&self) -> usize {
        self.parts
            .iter()
            .filter(|p| p.verdict_at.is_none() && p.wanted)
            .count()
    }

    /// The faults that are present.
    pub fn faults(&self) -> Faults {
        self.faults
    }

    /// Whether the alarm is raised.
    pub fn alarm(&self) -> bool {
        self.alarm.raised()
    }

    /// Whether the line can take a new part.
    pub fn ready(&self) -> bool {
        self.ready
    }

    /// Does everything that is due by `clock`.
    pub fn tick(&mut self, clock: Instant, emit: &mut impl FnMut(Action)) {
        self.clock = self.clock.max(clock);
        while let Some((at, due)) = self.first(Unit::Time).filter(|(at, _)| *at <= self.clock.0) {
            self.now.time = self.now.time.max(Instant(at));
            self.happen(due, Instant(at), emit);
        }
        self.now.time = self.clock;
        // A place that the belt has passed before it became known is due now, even without a count.
        while let Some((_, due)) = self
            .first(Unit::Counts)
            .filter(|(place, _)| *place <= self.now.count.0)
        {
            self.happen(due, self.counted_at, emit);
        }
        self.show(self.clock, emit);
    }

    /// The encoder has been at `count` since `at`.
    pub fn encoder(
        &mut self,
        count: Count,
        at: Instant,
        clock: Instant,
        emit: &mut impl FnMut(Action),
    ) {
        self.tick(clock, emit);
        if count <= self.now.count {
            return;
        }
        let at = at.min(self.clock);
        let delta = count.since(self.now.count).0;
        let least = self.settings.count_min * delta;
        if self.now.count.0 > 0 && at.since(self.counted_at) < least {
            // Noise, or a wheel that jumps: the belt moved less than the counts say.
            self.counters.implausible_counts += 1;
            self.passing_fault(Fault::Encoder, emit);
            self.lose_places();
        }
        if self.pulse.unit == Unit::Counts && at <= self.reject_since.0 {
            // The count is from before the pulse but arrived after its beginning: it does not belong to
            // the pulse.
            self.reject_until = self.reject_until.map(|until| until.saturating_add(delta));
        }
        self.reject_what_stood(at);
        self.counted_at = at;
        while let Some((place, due)) = self.first(Unit::Counts).filter(|(p, _)| *p <= count.0) {
            self.now.count = self.now.count.max(Count(place));
            self.happen(due, self.counted_at, emit);
        }
        self.now.count = count;
        if self.hold == Hold::Blind {
            self.hold = Hold::Until(self.emptied(self.now));
        }
        self.tick(clock, emit);
    }

    /// The encoder may have moved without a count, or counted without moving.
    pub fn encoder_unsure(&mut self, clock: Instant, emit: &mut impl FnMut(Action)) {
        self.tick(clock, emit);
        if self.counts() {
            self.counters.implausible_counts += 1;
            self.passing_fault(Fault::Encoder, emit);
            self.lose_places();
        }
        self.tick(clock, emit);
    }

    /// A part was at the sensor at `at` (kernel time, and the encoder's count then). The kernel lost
    /// `lost` edges before it. Returns the part's number if a verdict on it is wanted.
    pub fn trigger(
        &mut self,
        at: Position,
        lost: u32,
        clock: Instant,
        emit: &mut impl FnMut(Action),
    ) -> Option<PartId> {
        self.tick(clock, emit);
        let last = self.last_trigger;
        if let Some(last) = last.filter(|last| at.time < last.time) {
            // Out of order (an edge of another chip): it is a part, but nobody knows which parts are
            // beside it. The part before it may have been paired with its frame, or be where the lost
            // parts are.
            let mut tracked = self.parts.iter().rev();
            let before = tracked.find(|p| p.trigger.time <= at.time);
            let before = before.map(|p| p.trigger);
            self.lose_triggers(before, last, 1 + u64::from(lost), emit);
            self.tick(clock, emit);
            return None;
        }
        if lost > 0 {
            self.lose_triggers(last, at, u64::from(lost), emit);
        }
        self.counters.triggers += 1;
        let since = last.map(|l| at.time.since(l.time));
        if since.is_some_and(|s| s < self.settings.bounce) {
            self.counters.bounces += 1;
            self.sensor.covered(at, true);
            return None;
        }
        self.last_trigger = Some(at);
        let still = last.is_some_and(|l| l.count == at.count);
        let apart = since.is_some_and(|s| s >= self.settings.min_pitch);
        // If the gate is by the clock, a belt may stand while READY is off and commands trigger parts.
        // It runs some time after READY.
        let running = self.ready_since.after(self.settings.spin_up);
        let runs = match self.gate.unit {
            Unit::Time => self.ready && last.is_some_and(|l| l.time >= running),
            Unit::Counts => true,
        };
        if self.counts() && still && apart && runs {
            // Two parts at one count: the belt moves and the encoder does not. The fault must end by
            // itself: a belt that stands because of the fault never counts again.
            self.passing_fault(Fault::Encoder, emit);
            self.lose_places();
        }
        let near = since.is_some_and(|s| s < self.settings.min_pitch);
        self.sensor.covered(at, near);
        let id = self.number();
        let mut state = if self.accepting() {
            State::Waiting
        } else {
            State::Rejected(Reason::NotReady)
        };
        if near {
            let before = PartId(id.0 - 1);
            self.reject(before, Reason::DoubleTrigger);
            state = State::Rejected(Reason::DoubleTrigger);
        }
        let tracked = Tracked {
            id,
            trigger: at,
            gate: self.gate.after(at),
            wanted: state == State::Waiting,
            verdict_at: None,
            confirmed: false,
            state,
        };
        self.busy_unsure = true;
        self.ack_anew = self.ack_until.is_some();
        self.ack_until =
            (self.settings.ack > Duration::ZERO).then(|| self.clock.after(self.settings.ack));
        // The last free place stays free: READY promises that a new part can be tracked.
        if self.parts.len() + 1 >= self.settings.capacity || self.parts.push_back(tracked).is_err()
        {
            self.give_up_all(tracked, emit);
            self.passing_fault(Fault::Overload, emit);
        }
        if self.waiting() > self.settings.max_waiting {
            self.set_fault(Fault::Overrun, true, emit);
        }
        self.tick(clock, emit);
        let waits = self.find(id).is_some_and(|p| p.state == State::Waiting);
        if !waits && let Some(part) = self.find(id) {
            // No verdict is requested, so none will come: the part must not count as waiting.
            part.wanted = false;
            self.busy_unsure = true;
            self.catch_up_with_inspector(emit);
            self.tick(clock, emit);
        }
        waits.then_some(id)
    }

    /// The verdict on `part`. Only an OK that arrives before the part's gate lets it pass.
    pub fn verdict(
        &mut self,
        part: PartId,
        verdict: PartVerdict,
        clock: Instant,
        emit: &mut impl FnMut(Action),
    ) {
        let reason = match verdict {
            PartVerdict::Ok => None,
            PartVerdict::Ng => Some(Reason::Ng),
            PartVerdict::Unknown => Some(Reason::Unknown),
        };
        self.answer(part, reason, clock, emit);
    }

    /// No verdict on `part` will come.
    pub fn no_verdict(
        &mut self,
        part: PartId,
        reason: Reason,
        clock: Instant,
        emit: &mut impl FnMut(Action),
    ) {
        self.answer(part, Some(reason), clock, emit);
    }

    fn answer(
        &mut self,
        part: PartId,
        rejected: Option<Reason>,
        clock: Instant,
        emit: &mut impl FnMut(Action),
    ) {
        self.tick(clock, emit);
        self.busy_unsure = true;
        let (at, known) = (self.clock, 1..=self.counters.parts);
        match self.find(part) {
            Some(tracked) => {
                let repeated = tracked.verdict_at.is_some();
                tracked.verdict_at.get_or_insert(at);
                match (tracked.state, rejected) {
                    (State::Waiting, None) if !repeated => tracked.state = State::Ok,
                    // A second verdict can only make it stricter.
                    (State::Waiting | State::Ok, Some(reason)) => {
                        tracked.state = State::Rejected(reason);
                    }
                    _ => {}
                }
                self.counters.repeated_verdicts += u64::from(repeated);
            }
            None if known.contains(&part.0) => self.counters.late_verdicts += 1,
            None => self.counters.foreign_verdicts += 1,
        }
        self.catch_up_with_inspector(emit);
        self.tick(clock, emit);
    }

    /// A fault from outside the gate begins or ends.
    pub fn fault(
        &mut self,
        fault: Fault,
        present: bool,
        clock: Instant,
        emit: &mut impl FnMut(Action),
    ) {
        self.tick(clock, emit);
        self.set_fault(fault, present, emit);
        self.tick(clock, emit);
    }

    /// Edges of the input were lost and no edge came after them yet: everything up to here is rejected.
    pub fn lost(&mut self, lost: u32, at: Position, clock: Instant, emit: &mut impl FnMut(Action)) {
        self.tick(clock, emit);
        self.lose_triggers(self.last_trigger, at, u64::from(lost), emit);
        self.tick(clock, emit);
    }

    /// The supervisor was late, or outputs were set late: nobody knows which parts went by, nor which
    /// level they met.
    pub fn outputs_were_late(&mut self, clock: Instant, emit: &mut impl FnMut(Action)) {
        self.tick(clock, emit);
        self.counters.late_outputs += 1;
        self.passing_fault(Fault::LateOutput, emit);
        self.tick(clock, emit);
    }

    /// An alarm from before this gate was made is still latched.
    pub fn raise_alarm(&mut self, clock: Instant, emit: &mut impl FnMut(Action)) {
        self.tick(clock, emit);
        if self.alarm.raise() {
            self.counters.alarms += 1;
            emit(Action::Alarm(true));
        }
        self.tick(clock, emit);
    }

    /// A person acknowledges the alarm.
    pub fn acknowledge(&mut self, clock: Instant, emit: &mut impl FnMut(Action)) {
        self.tick(clock, emit);
        if self.alarm.acknowledge() {
            emit(Action::Alarm(false));
        }
        self.set_fault(Fault::Confirm, false, emit);
        self.tick(clock, emit);
    }

    /// Ends the overrun once half of the backlog is gone.
    fn catch_up_with_inspector(&mut self, emit: &mut impl FnMut(Action)) {
        if self.faults.has(Fault::Overrun) && self.waiting() * 2 <= self.settings.max_waiting {
            self.set_fault(Fault::Overrun, false, emit);
        }
    }

    fn number(&mut self) -> PartId {
        self.counters.parts += 1;
        PartId(self.counters.parts)
    }

    fn find(&mut self, id: PartId) -> Option<&mut Tracked> {
        self.parts.iter_mut().find(|p| p.id == id)
    }

    /// Rejects a tracked part unless it is rejected already.
    fn reject(&mut self, id: PartId, reason: Reason) {
        if let Some(tracked) = self.find(id)
            && !matches!(tracked.state, State::Rejected(_))
        {
            tracked.state = State::Rejected(reason);
        }
    }

    /// Whether the encoder gives the place of parts or the length of the pulse.
    fn counts(&self) -> bool {
        self.gate.unit == Unit::Counts || self.pulse.unit == Unit::Counts
    }

    /// Whether a verdict on a part that is triggered now can count.
    fn accepting(&self) -> bool {
        match self.gate.unit {
            Unit::Time => self.ready,
            // Positions stay known while the belt stands; only faults make them unknown. Nobody may
            // feed parts while the alarm stops the line.
            Unit::Counts => self.faults.is_empty() && !self.alarm.stops_the_line(),
        }
    }

    fn set_fault(&mut self, fault: Fault, present: bool, emit: &mut impl FnMut(Action)) {
        if !self.faults.set(fault, present) {
            return;
        }
        emit(Action::Fault { fault, present });
        if present {
            self.counters.faults[fault.index()] += 1;
            self.reject_all();
            // Parts may have gone by unseen, or met an ejector that did something else. If the gate is
            // by the clock, READY going off has the same effect.
            let unseen = [
                Fault::Inputs,
                Fault::Supervisor,
                Fault::LateOutput,
                Fault::Confirm,
            ];
            if unseen.contains(&fault) {
                self.hold = Hold::On;
            }
        }
        self.fault_shown_until = self.clock.after(self.settings.fault_hold);
    }

    /// Unknown positions, until the encoder counts again and the belt is empty.
    fn lose_places(&mut self) {
        if self.hold != Hold::On {
            self.hold = Hold::Blind;
        }
    }

    fn reject_all(&mut self) {
        for part in self.parts.iter_mut() {
            if !matches!(part.state, State::Rejected(_)) {
                part.state = State::Rejected(Reason::NotReady);
            }
        }
    }
}
