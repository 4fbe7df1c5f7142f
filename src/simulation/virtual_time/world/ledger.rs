//! What really happened to each part. Only the plant has this record: it uses neither the gate's
//! decisions nor its counters nor its part numbers.
//!
//! A part is verified if the inspector's first verdict on a frame of that very part was OK, and
//! reached the living vision process before the part reached the ejector. Any other part that
//! passes the ejector is a failure, unless the plant proves that no program could have known or
//! acted. Then it counts as beyond knowledge, by kind and wiring.

use super::products::Digest;
use super::{Away, World};
use crate::line::gate::{Ejector, Output, PartVerdict};
use crate::simulation::faults::Kind;
use crate::simulation::virtual_time::line::MS;
use std::collections::VecDeque;

/// A part on the belt, until it has passed the ejector.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) number: u64,
    /// Belt places at which the part is at the sensor, at the gate, at the ejector.
    pub(super) front: u64,
    pub(super) gate: u64,
    pub(super) centre: u64,
    pub(super) truth: PartVerdict,
    pub(super) arrived: u64,
    /// The time of the trigger that reached the program; 0: none.
    pub(super) trigger_at: u64,
    pub(super) gate_at: u64,
    /// When the first event of the part, however vague, reached the program.
    pub(super) revealed: Option<u64>,
    /// The fault that hid the part from the program.
    pub(super) silent: Option<Kind>,
    /// The fault that made the program take another part's frame for this part's own.
    pub(super) misled: Option<Kind>,
    /// How long that frame had waited for the program.
    pub(super) misled_waited: u64,
    pub(super) ok_at: Option<u64>,
    /// The product that said so.
    pub(super) ok_by: Option<Digest>,
    /// The product that judged it as its own part.
    pub(super) judged_by: Option<Digest>,
    /// A vision process watched the inputs when the part came, so the part was not rejected as
    /// unknown.
    pub(super) watched: bool,
}

/// What the plant keeps besides the parts.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// When the counts differed from the belt, and the fault.
    deviations: VecDeque<(u64, Kind)>,
    /// When the program could last notice that.
    violation: Option<u64>,
    last_count: Option<u64>,
    /// Arrival times of the last few parts that have reached the ejector.
    arrivals: VecDeque<u64>,
    /// Until when the supervisor's last PASS may stay on.
    pub(super) pass_until: u64,
    /// The last time in which the outputs could not be set.
    pub(super) outputs_away: Away,
    /// Last value of the gate's counter, to notice that it grows.
    pub(super) covered_too_long: u64,
    pub(super) failed: bool,
}

const REMEMBERED: u64 = 30_000 * MS;

impl Ledger {
    pub(super) fn deviates(&mut self, now: u64, kind: Kind) {
        while self
            .deviations
            .front()
            .is_some_and(|(at, _)| at + REMEMBERED < now)
        {
            self.deviations.pop_front();
        }
        self.deviations.push_back((now, kind));
    }

    /// A count reached the program, stamped `at`.
    pub(super) fn counted(&mut self, at: u64, least: u64, silence: u64) {
        let before = self.last_count.replace(at);
        let Some(before) = before else {
            return;
        };
        let gap = at.saturating_sub(before);
        if (least > 0 && gap < least) || (silence > 0 && gap > silence) {
            self.violation = Some(at);
        }
    }

    pub(super) fn violated(&mut self, at: u64) {
        self.violation = Some(at);
    }
}

/// Whether no program could have stopped a part.
enum Beyond {
    /// A program could have stopped it.
    No,
    /// No program could, because of this fault.
    Yes(Kind),
}

impl World {
    /// The first part is at the ejector.
    pub(super) fn meet_ejector(&mut self) {
        let Some(part) = self.on_belt.pop_front() else {
            return;
        };
        self.past_gate = self.past_gate.saturating_sub(1);
        let passes = match self.line.ejector {
            Ejector::Pass => self.levels[Output::Pass as usize],
            Ejector::Reject => !self.levels[Output::Reject as usize],
        };
        if !passes {
            self.confirm_reject();
        }
        let verified = part.ok_at.is_some();
        let now = self.now;
        self.trace.note(now, || {
            let number = part.number;
            let how = if passes { "passes" } else { "is rejected" };
            let why = if verified {
                ""
            } else {
                " without an OK of its own"
            };
            format!("part {number} ({:?}) {how}{why}", part.truth)
        });
        let outcome = &mut self.outcome;
        outcome.physical += 1;
        outcome.passed_physically += u64::from(passes);
        outcome.good_thrown_out += u64::from(!passes && part.truth == PartVerdict::Ok);
        if passes && self.passes_another_product(part.ok_by, part.gate_at) {
            self.outcome.passed_another += 1;
            self.outcome.first_failure.get_or_insert(part.number);
            self.ledger.failed = true;
            self.trace.note(now, || {
                format!("  PASSED WHILE ANOTHER PRODUCT IS ASKED FOR: {part:?}")
            });
        }
        if passes && !verified {
            match self.beyond(&part) {
                Beyond::Yes(kind) => {
                    let wiring = usize::from(self.line.ejector == Ejector::Reject);
                    self.outcome.beyond[wiring][kind as usize] += 1;
                    self.trace
                        .note(now, || format!("  beyond knowledge: {}", kind.name()));
                }
                Beyond::No => {
                    self.outcome.passed_unverified += 1;
                    self.outcome.first_failure.get_or_insert(part.number);
                    self.ledger.failed = true;
                    self.trace
                        .note(now, || format!("  PASSED UNVERIFIED: {part:?}"));
                }
            }
        }
        self.ledger.arrivals.push_back(part.arrived);
        if self.ledger.arrivals.len() > 4 {
            self.ledger.arrivals.pop_front();
        }
    }

    fn beyond(&self, part: &Part) -> Beyond {
        let now = self.now;
        // The time since which a program could have acted.
        let since = match self.line.ejector {
            Ejector::Pass => self.ledger.pass_until,
            Ejector::Reject => part.gate_at,
        };
        let away = self.ledger.outputs_away;
        if away.all_since(since, now) {
            return Beyond::Yes(Kind::LostOutputs);
        }
        let vision = self.vision.away().all_since(since, now);
        let supervisor = self.supervisor.away().all_since(since, now);
        match self.line.ejector {
            // Either process ends a PASS whose time is over.
            Ejector::Pass if since < now && vision && supervisor => {
                return Beyond::Yes(self.why_nobody());
            }
            // Only the vision process knows which part must be rejected, until the supervisor
            // notices its silence.
            Ejector::Reject if vision => return Beyond::Yes(self.why_nobody()),
            _ => {}
        }
        // First there was no output that could be set, and then nobody who could set it, or the other
        // way round.
        let nobody = match self.line.ejector {
            Ejector::Pass => self.vision.away().and(self.supervisor.away()),
            Ejector::Reject => self.vision.away(),
        };
        if since < now && away.or_all_since(nobody, since, now) {
            return Beyond::Yes(Kind::LostOutputs);
        }
        // A fault hid the part from the program, and the program had every reason to think that it
        // knew all parts.
        if let Some(kind) = part.silent
            && part.watched
            && part.revealed.is_none_or(|at| at + 2 * MS > now)
        {
            return Beyond::Yes(kind);
        }
        if let Some(kind) = part.misled {
            // A stamp that cannot be distinguished from a true one; a picture that can come twice.
            let tellable = match kind {
                Kind::WrongStamp => self.line.stamps_are_safe(part.misled_waited),
                Kind::FrozenCamera | Kind::RepeatedFrame => self.line.never_alike,
                _ => false,
            };
            if !tellable {
                return Beyond::Yes(kind);
            }
        }
        if let Some(kind) = self.encoder_was_wrong(part) {
            return Beyond::Yes(kind);
        }
        Beyond::No
    }

    fn why_nobody(&self) -> Kind {
        match (self.vision.alive(), self.supervisor.alive()) {
            (true, true) if self.line.ejector == Ejector::Pass => Kind::BothStall,
            (true, _) => Kind::VisionStall,
            (false, true) => Kind::ProcessDeath,
            (false, false) => Kind::BothDeath,
        }
    }

    /// Counts that differ from the belt, all of them plausible to the program.
    fn encoder_was_wrong(&self, part: &Part) -> Option<Kind> {
        if !self.line.encoder {
            return None;
        }
        // The PASS may belong to a part that came at one of these times, or to this part. The
        // program empties the belt by counts after it has noticed the encoder's fault, with a
        // quarter to spare. More wrong counts than that, each of them plausible, cannot be known.
        let spare = self.line.way / self.line.count / 5;
        if let Some(found_out) = self.ledger.violation {
            let mut since = self.ledger.deviations.iter().rev();
            let more = since.by_ref().take_while(|(at, _)| *at > found_out).count();
            if more as u64 > spare {
                return self.ledger.deviations.back().map(|(_, kind)| *kind);
            }
        }
        let came = self.ledger.arrivals.iter().copied();
        came.chain([part.arrived]).find_map(|since| {
            if self.ledger.violation.is_some_and(|at| at >= since) {
                return None;
            }
            let (_, kind) = self
                .ledger
                .deviations
                .back()
                .filter(|(at, _)| *at >= since)?;
            Some(*kind)
        })
    }
}
