//! What happens at the ejector, and the levels of the outputs.

use super::super::along::Unit;
use super::super::fault::Fault;
use super::super::lines::Output;
use super::super::output::{Action, Decision};
use super::super::part::Reason;
use super::super::settings::Ejector;
use super::due::Due;
use super::{Gate, Hold, State};
use crate::time::{Duration, Instant, Position};

impl<const N: usize> Gate<N> {
    /// Whether everything at the ejector is rejected now.
    pub(super) fn rejecting(&self) -> bool {
        self.reject_until.is_some()
            || self.reject_tail.is_some()
            || self.hold != Hold::Off
            || self.stretch.is_some_and(|s| s.open)
            || self.bridge.is_some()
    }

    pub(super) fn happen(&mut self, due: Due, at: Instant, emit: &mut impl FnMut(Action)) {
        // Lateness counts from here: nothing can be done before it is known.
        let mut asked = at;
        match due {
            Due::StretchBegins => {
                if let Some(stretch) = &mut self.stretch {
                    stretch.open = true;
                    asked = asked.max(stretch.known);
                }
                self.note_lateness(at, emit);
            }
            Due::StretchEnds => {
                self.stretch = None;
                self.start_reject(at);
            }
            Due::Part => self.decide(at, emit),
            Due::HoldEnds => {
                self.hold = Hold::Off;
                self.start_reject(at);
            }
            Due::RejectEnds => self.end_reject(at),
            Due::RejectTailEnds => {
                self.reject_tail = None;
                self.look_ahead();
            }
            Due::PassEnds | Due::PassUnseen => {
                self.pass_until = None;
                self.note_lateness(at, emit);
            }
            Due::OkEnds => self.ok_until = None,
            Due::PassingFaultsEnd => {
                self.passing_faults_until = None;
                self.set_fault(Fault::LateOutput, false, emit);
                self.set_fault(Fault::Overload, false, emit);
                self.set_fault(Fault::Encoder, false, emit);
            }
            Due::EncoderSilent => self.lose_places(),
            Due::CoveredTooLong => self.covered_too_long(),
            Due::Unconfirmed => self.unconfirmed(emit),
            Due::AckEnds => self.ack_until = None,
            Due::ValidEnds => self.valid_until = None,
            Due::FaultShown => self.fault_shown_until = Instant(0),
            Due::Heartbeat => {
                let stuck = [
                    Fault::Starting,
                    Fault::Camera,
                    Fault::Inference,
                    Fault::Inputs,
                    Fault::Outputs,
                    Fault::Supervisor,
                ];
                if !stuck.into_iter().any(|f| self.faults.has(f)) {
                    self.set(
                        Output::Heartbeat,
                        !self.level(Output::Heartbeat),
                        at,
                        None,
                        emit,
                    );
                }
                let next = at.after(self.settings.heartbeat);
                self.heartbeat_at = if next <= self.clock {
                    self.clock.after(self.settings.heartbeat)
                } else {
                    next
                };
            }
        }
        self.show(asked, emit);
    }

    /// The front part is at its gate.
    fn decide(&mut self, at: Instant, emit: &mut impl FnMut(Action)) {
        let Some(part) = self.parts.pop_front() else {
            return;
        };
        self.busy_unsure = true;
        let late = self.clock.since(at) > self.settings.late_output;
        let rejected = match part.state {
            State::Waiting => Some(Reason::Late),
            State::Rejected(reason) => Some(reason),
            State::Ok if self.hold != Hold::Off => Some(Reason::NotReady),
            State::Ok if self.rejecting() => Some(Reason::Neighbour),
            // The part's time at the ejector is over, or nearly.
            State::Ok if late && self.settings.ejector == Ejector::Pass => Some(Reason::Late),
            State::Ok => None,
        };
        if self.bridge == Some(part.id) {
            self.bridge = None;
        }
        let place = Position {
            time: at,
            count: self.now.count,
        };
        if let Some(reason) = rejected {
            self.counters.rejected[reason as usize] += 1;
            self.pass_until = None;
            self.ok_until = None;
            self.note_lateness(at, emit);
            self.start_reject(at);
        } else {
            self.counters.passed += 1;
            let end = self.pulse.after(place);
            self.pass_until = Some(end);
            self.pass_since = at;
            self.ok_until = Some(end);
        }
        self.result_ok = rejected.is_none();
        self.valid_anew = self.valid_until.is_some();
        self.valid_until =
            (self.settings.valid > Duration::ZERO).then(|| self.clock.after(self.settings.valid));
        self.await_confirmation(&part, rejected);
        emit(Action::Decided(Decision {
            part: part.id,
            trigger: part.trigger,
            due: at,
            verdict_at: part.verdict_at,
            rejected,
        }));
        self.watch_rejects(rejected, emit);
        self.catch_up_with_inspector(emit);
    }

    /// Counts for the alarm. Parts that are rejected because of a fault, or because they are too close
    /// to another part, do not count.
    pub(super) fn watch_rejects(
        &mut self,
        rejected: Option<Reason>,
        emit: &mut impl FnMut(Action),
    ) {
        let counts = !matches!(rejected, Some(Reason::NotReady | Reason::Neighbour));
        if counts && self.alarm.inspected(rejected.is_some()) {
            self.counters.alarms += 1;
            emit(Action::Alarm(true));
        }
    }

    /// The ejector was due to reject since `at`: a fault if, as it is wired, it did not.
    fn note_lateness(&mut self, at: Instant, emit: &mut impl FnMut(Action)) {
        let wrong = match self.settings.ejector {
            Ejector::Pass => self.level(Output::Pass),
            Ejector::Reject => !self.level(Output::Reject),
        };
        if wrong && self.clock.since(at) > self.settings.late_output {
            self.counters.late_outputs += 1;
            self.passing_fault(Fault::LateOutput, emit);
        }
    }

    /// Raises a fault that ends by itself but must be shown.
    pub(super) fn passing_fault(&mut self, fault: Fault, emit: &mut impl FnMut(Action)) {
        self.set_fault(fault, true, emit);
        self.passing_faults_until = Some(self.clock.after(self.settings.fault_hold));
    }

    /// Begins or lengthens a reject pulse that was due at `at`.
    pub(super) fn start_reject(&mut self, at: Instant) {
        if !self.levels[Output::Reject as usize] {
            self.counters.pulses += 1;
            let place = self.gate.unit.of(self.now);
            let rested = |off: u64| place.saturating_sub(off) >= self.min_off;
            if !self.rejected_until.is_none_or(rested) {
                self.counters.short_rests += 1;
            }
        }
        self.reject_since = (at, at.max(self.clock));
        // A pulse that begins late has its full length.
        let begins = Position {
            time: at.max(self.clock),
            count: self.now.count,
        };
        let end = self.pulse.after(begins);
        self.reject_until = Some(self.reject_until.map_or(end, |e| e.max(end)));
    }

    /// Whether the part that is being rejected may still be at the ejector although by the clock it has
    /// gone by: the encoder does not count, or did not a moment ago.
    fn belt_stands(&mut self) -> bool {
        let by_clock = self.gate.unit == Unit::Counts && self.pulse.unit == Unit::Time;
        if !by_clock {
            return false;
        }
        let stands = self.clock.since(self.counted_at).0 > self.pulse.length / 4;
        core::mem::replace(&mut self.stood, stands) || stands
    }

    /// A count came `at` that time. If the belt stood in the middle of a pulse by the clock, what was
    /// left of the pulse begins again, and a quarter more: the part is as far back.
    pub(super) fn reject_what_stood(&mut self, at: Instant) {
        let stopped = self.counted_at.max(self.reject_since.1);
        let quarter = self.pulse.length / 4;
        let by_clock = self.gate.unit == Unit::Counts && self.pulse.unit == Unit::Time;
        if by_clock && at.since(stopped).0 > quarter {
            let longer = |until: u64| {
                let left = until.saturating_sub(stopped.0).saturating_add(quarter);
                until.max(at.0.saturating_add(left.min(self.pulse.length)))
            };
            self.reject_until = self.reject_until.map(longer);
        }
    }

    /// The pulse is over, unless the ejector would have no rest before the next one.
    fn end_reject(&mut self, at: Instant) {
        if self.belt_stands() {
            self.reject_until = Some(self.clock.0.saturating_add(self.pulse.length));
            return;
        }
        self.reject_until = None;
        let (due, began) = self.reject_since;
        let end = began.after(at.since(due));
        if self.pulse.unit == Unit::Counts && end.since(self.clock) > self.settings.late_output {
            // A pulse that begins late may find its counts already there: it still has its full length.
            self.reject_tail = Some(end);
            return;
        }
        self.look_ahead();
    }

    /// REJECT stays on if the ejector would have no rest before the next pulse.
    fn look_ahead(&mut self) {
        let place = self.gate.unit.of(self.now);
        let soon = place.saturating_add(self.min_off);
        let mut next = self.parts.iter().take_while(|p| p.gate < soon);
        self.bridge = next.find(|p| p.state != State::Ok).map(|p| p.id);
        if let Some(stretch) = self.stretch.as_mut().filter(|s| s.from < soon) {
            stretch.open = true;
        }
    }

    fn set(
        &mut self,
        output: Output,
        on: bool,
        due: Instant,
        until: Option<Instant>,
        emit: &mut impl FnMut(Action),
    ) {
        if self.levels[output as usize] != on {
            self.levels[output as usize] = on;
            emit(Action::Set {
                output,
                on,
                due,
                until,
            });
        }
    }

    /// PASS goes on, or stays on for longer. Counts lengthen it all the time; that is reported four
    /// times per [`super::super::settings::Settings::pass_unseen`].
    fn pass(&mut self, until: Instant, due: Instant, emit: &mut impl FnMut(Action)) {
        let step = match self.pulse.unit {
            Unit::Time => Duration::ZERO,
            Unit::Counts => self.settings.pass_unseen() / 4,
        };
        if !self.level(Output::Pass) {
            self.set(Output::Pass, true, due, Some(until), emit);
        } else if until > self.pass_announced.after(step) {
            emit(Action::Extend { until });
        } else {
            return;
        }
        self.pass_announced = until;
    }

    /// Where everything that was on the belt has left it. In counts a quarter of the distance is
    /// added: the encoder may have counted wrongly, unnoticed or before this process began.
    pub(super) fn emptied(&self, here: Position) -> u64 {
        let margin = match self.gate.unit {
            Unit::Time => 0,
            Unit::Counts => self.gate.length / 4,
        };
        self.gate.after(here).saturating_add(margin)
    }

    /// Updates READY and what depends on it, then the outputs.
    pub(super) fn show(&mut self, due: Instant, emit: &mut impl FnMut(Action)) {
        let ready = self.faults.is_empty() && !self.alarm.stops_the_line();
        if self.ready && !ready && self.gate.unit == Unit::Time {
            // The line may stop now. Then times no longer give places.
            self.hold = Hold::On;
            self.reject_all();
        }
        if ready && !self.ready {
            self.ready_since = self.clock;
        }
        self.ready = ready;
        if ready && self.hold == Hold::On {
            let here = Position {
                time: self.clock.after(self.settings.spin_up),
                count: self.now.count,
            };
            self.hold = Hold::Until(self.emptied(here));
        }
        let rejecting = self.rejecting();
        let was = self.levels[Output::Reject as usize];
        if was && !rejecting {
            self.rejected_until = Some(self.gate.unit.of(self.now));
        }
        // If outputs are late or gone, their levels cannot be trusted.
        let distrusted = self.faults.has(Fault::Outputs)
            || self.faults.has(Fault::LateOutput)
            || (self.pulse.unit == Unit::Counts && self.faults.has(Fault::Inputs));
        if rejecting || distrusted {
            // For good: what is at the ejector later is another part.
            self.pass_until = None;
        }
        let passing = match self.pulse.unit {
            Unit::Time => self.pass_until.map(Instant),
            Unit::Counts => self.pass_unseen_at(),
        };
        // Off before on: PASS and REJECT are never on together.
        let fault =
            !self.faults.is_empty() || self.alarm.raised() || self.clock < self.fault_shown_until;
        self.set(Output::Ready, ready, due, None, emit);
        if passing.is_none() {
            self.set(Output::Pass, false, due, None, emit);
        }
        self.set(Output::Reject, rejecting, due, None, emit);
        if let Some(until) = passing {
            self.pass(until, due, emit);
        }
        // RESULT-VALID goes on only when OK shows the result, and goes off between two results.
        if core::mem::take(&mut self.valid_anew) || self.valid_until.is_none() {
            self.set(Output::ResultValid, false, due, None, emit);
        }
        // The ejector's pulse may be shorter than RESULT-VALID.
        let ok = self.ok_until.is_some() || (self.valid_until.is_some() && self.result_ok);
        self.set(Output::Ok, ok, due, None, emit);
        self.set(
            Output::ResultValid,
            self.valid_until.is_some(),
            due,
            None,
            emit,
        );
        if core::mem::take(&mut self.ack_anew) {
            self.set(Output::TriggerAck, false, due, None, emit);
        }
        self.set(
            Output::TriggerAck,
            self.ack_until.is_some(),
            due,
            None,
            emit,
        );
        if core::mem::take(&mut self.busy_unsure) {
            self.busy = self.waiting() > 0;
        }
        self.set(Output::Busy, self.busy, due, None, emit);
        self.set(Output::Fault, fault, due, None, emit);
    }
}
