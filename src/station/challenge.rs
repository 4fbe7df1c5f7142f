//! The challenge: from time to time a known-bad part must get the verdict NG and be rejected, or
//! the alarm is raised. This code reports which part it is, how it ended and when it is overdue;
//! the executor acts on it.

use crate::line::gate::{PartId, PartVerdict, Reason};
use crate::record::{ChallengeState, PartEntry};
use crate::time::{Duration, Instant};

/// Longest wait for the known-bad part.
const PATIENCE: Duration = Duration::from_millis(300_000);

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Outcome {
    /// The part got the verdict NG and was rejected for it.
    Passed { part: PartId, score: f32 },
    /// The part got the verdict OK, or it passed.
    Failed { part: PartId, score: f32 },
    /// It shows nothing about the inspector.
    VoidReason(VoidReason),
}

/// Why a challenge shows nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum VoidReason {
    /// The part was rejected for another reason than the verdict NG.
    Rejected(PartId, Reason),
    /// The next part's trigger was lost, so no picture shows it.
    Unseen,
    /// No part was triggered.
    NoPart,
}

impl VoidReason {
    /// The part, if it is known.
    pub(super) fn part(self) -> Option<PartId> {
        match self {
            VoidReason::Rejected(part, _) => Some(part),
            VoidReason::Unseen | VoidReason::NoPart => None,
        }
    }
}

impl std::fmt::Display for VoidReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            VoidReason::Rejected(_, reason) => write!(f, "it was rejected for {}", reason.name()),
            VoidReason::Unseen => f.write_str("the next part's trigger was lost"),
            VoidReason::NoPart => write!(
                f,
                "no part was triggered within {} s",
                PATIENCE.as_millis() / 1_000
            ),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    /// The next part that is triggered after `from`.
    Awaited {
        from: Instant,
        until: Instant,
    },
    UnderWay(PartId),
}

/// State of the challenge on one line.
#[derive(Debug)]
pub(super) struct Challenge {
    every: Option<Duration>,
    /// When one is overdue. None: it is overdue already, because it is unknown when the last one
    /// was passed.
    due: Option<Instant>,
    was_ready: bool,
    state: State,
    /// The last part that has a number, and the last one that was decided.
    numbered: u64,
    decided: u64,
    /// The alarm is latched.
    stands: bool,
    /// A challenge was passed since the alarm was raised, so it can be acknowledged.
    answered: bool,
    /// The line runs for the known-bad part although the alarm is latched.
    pub(super) let_run: bool,
    ended: Option<Outcome>,
}

impl Challenge {
    /// A challenge must be passed at least once per `every`. The last one was `age` ago, if that
    /// is known.
    pub(super) fn new(every: Option<Duration>, age: Option<Duration>, now: Instant) -> Self {
        let left = every
            .zip(age)
            .filter(|(every, age)| age <= every)
            .map(|(every, age)| every - age);
        Self {
            every,
            due: left.map(|left| now.after(left)),
            was_ready: false,
            state: State::Idle,
            numbered: 0,
            decided: 0,
            stands: false,
            answered: left.is_some(),
            let_run: false,
            ended: None,
        }
    }

    pub(super) fn state(&self) -> ChallengeState {
        match self.state {
            State::Idle => ChallengeState::Idle,
            State::Awaited { .. } => ChallengeState::Awaited,
            State::UnderWay(_) => ChallengeState::UnderWay,
        }
    }

    /// Whether the alarm is latched.
    pub(super) fn stands(&self) -> bool {
        self.stands
    }

    /// Whether the alarm is latched and cannot be acknowledged yet.
    pub(super) fn needed(&self) -> bool {
        self.stands && !self.answered && self.every.is_some()
    }

    /// An earlier process raised the alarm.
    pub(super) fn stands_still(&mut self) {
        self.stands = true;
    }

    /// This process raises the alarm.
    pub(super) fn raise(&mut self) {
        self.stands = true;
        self.answered = false;
        self.let_run = false;
    }

    pub(super) fn acknowledged(&mut self) {
        self.stands = false;
        self.let_run = false;
    }

    /// The line was ready: parts that were on it before have left or will be rejected.
    pub(super) fn line_was_ready(&mut self) {
        self.was_ready = true;
    }

    /// A person asked for a challenge at `from`. False if the known-bad part is on its way.
    pub(super) fn begin(&mut self, from: Instant) -> bool {
        if matches!(self.state, State::UnderWay(_)) {
            return false;
        }
        let until = from.after(PATIENCE);
        self.state = State::Awaited { from, until };
        true
    }

    /// Parts are numbered up to `last`; the newest of them was triggered `at`.
    pub(super) fn numbered(&mut self, last: u64, at: Instant) {
        let new = last.saturating_sub(self.numbered);
        self.numbered = last;
        let State::Awaited { from, .. } = self.state else {
            return;
        };
        if new == 0 || at <= from {
            return;
        }
        if new == 1 && self.decided < last {
            self.state = State::UnderWay(PartId(last));
        } else {
            self.end(Outcome::VoidReason(VoidReason::Unseen));
        }
    }

    /// The gate has decided `part`. [`Challenge::entry`] gets the result.
    pub(super) fn decided(&mut self, part: PartId) {
        self.decided = self.decided.max(part.0);
    }

    /// The decision on a part.
    pub(super) fn entry(&mut self, entry: &PartEntry) {
        if self.state != State::UnderWay(entry.part) {
            return;
        }
        let part = entry.part;
        let score = entry.score.unwrap_or(f32::NAN);
        self.end(match (entry.reason, entry.verdict) {
            (None, _) | (_, Some(PartVerdict::Ok)) => Outcome::Failed { part, score },
            (Some(Reason::Ng), Some(PartVerdict::Ng)) => Outcome::Passed { part, score },
            (Some(reason), _) => Outcome::VoidReason(VoidReason::Rejected(part, reason)),
        });
    }

    fn end(&mut self, outcome: Outcome) {
        self.state = State::Idle;
        self.ended = Some(outcome);
    }

    /// How the challenge ended; reported once. The caller acts on it.
    pub(super) fn outcome(&mut self, now: Instant) -> Option<Outcome> {
        if let State::Awaited { until, .. } = self.state
            && now >= until
        {
            self.end(Outcome::VoidReason(VoidReason::NoPart));
        }
        let outcome = self.ended.take()?;
        match outcome {
            Outcome::Passed { .. } => {
                self.due = self.every.map(|every| now.after(every));
                self.answered = true;
            }
            Outcome::Failed { .. } => {
                self.due = None;
                self.answered = false;
            }
            Outcome::VoidReason(_) => {}
        }
        Some(outcome)
    }

    /// Whether a challenge is overdue and the alarm is not raised for it yet. False while one is
    /// going on, because the alarm would stop the line that has to show what it does.
    pub(super) fn overdue(&self, now: Instant) -> bool {
        self.every.is_some()
            && self.was_ready
            && !self.stands
            && self.state == State::Idle
            && self.due.is_none_or(|due| now >= due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    const fn s(n: u64) -> Instant {
        Instant::from_millis(1_000 * n)
    }

    fn entry(part: u64, reason: Option<Reason>, verdict: Option<PartVerdict>) -> PartEntry {
        let mut entry = PartEntry::rejected(PartId(part), s(1), SystemTime::now(), Reason::Late);
        (entry.reason, entry.verdict, entry.score) = (reason, verdict, Some(2.0));
        entry
    }

    fn ends(reason: Option<Reason>, verdict: Option<PartVerdict>) -> Option<Outcome> {
        let mut challenge = Challenge::new(None, None, s(0));
        challenge.numbered(6, s(9));
        assert!(challenge.begin(s(10)));
        // This trigger is reported late: the part was there before the command.
        challenge.numbered(7, s(10));
        assert_eq!(challenge.state(), ChallengeState::Awaited);
        challenge.numbered(8, s(11));
        assert_eq!(challenge.state(), ChallengeState::UnderWay);
        assert!(!challenge.begin(s(12)));
        challenge.numbered(9, s(12));
        challenge.entry(&entry(7, None, Some(PartVerdict::Ok)));
        assert_eq!(challenge.outcome(s(12)), None);
        challenge.entry(&entry(8, reason, verdict));
        challenge.outcome(s(13))
    }

    #[test]
    fn only_a_part_that_is_rejected_because_the_inspector_said_ng_proves_anything() {
        let part = PartId(8);
        let (passed, failed) = (
            Some(Outcome::Passed { part, score: 2.0 }),
            Some(Outcome::Failed { part, score: 2.0 }),
        );
        assert_eq!(ends(Some(Reason::Ng), Some(PartVerdict::Ng)), passed);
        assert_eq!(ends(None, Some(PartVerdict::Ok)), failed);
        for reason in Reason::ALL {
            assert_eq!(
                ends(Some(reason), Some(PartVerdict::Ok)),
                failed,
                "{reason:?}"
            );
            let void = Some(Outcome::VoidReason(VoidReason::Rejected(part, reason)));
            assert_eq!(ends(Some(reason), None), void);
            assert_eq!(ends(Some(reason), Some(PartVerdict::Unknown)), void);
            if reason != Reason::Ng {
                assert_eq!(ends(Some(reason), Some(PartVerdict::Ng)), void);
            }
        }
    }

    #[test]
    fn a_challenge_whose_part_nobody_saw_or_that_never_came_is_void() {
        let mut challenge = Challenge::new(None, None, s(0));
        challenge.begin(s(10));
        challenge.numbered(2, s(11));
        let unseen = Some(Outcome::VoidReason(VoidReason::Unseen));
        assert_eq!(challenge.outcome(s(11)), unseen, "one of the two was lost");
        challenge.begin(s(12));
        challenge.decided(PartId(3));
        challenge.numbered(3, s(13));
        assert_eq!(
            challenge.outcome(s(13)),
            unseen,
            "decided without a picture"
        );
        challenge.begin(s(20));
        assert_eq!(challenge.outcome(s(319)), None);
        let no_part = Some(Outcome::VoidReason(VoidReason::NoPart));
        assert_eq!(challenge.outcome(s(320)), no_part);
        assert_eq!(challenge.state(), ChallengeState::Idle);
    }

    #[test]
    fn it_is_overdue_when_none_was_passed_in_time_or_nobody_knows() {
        let every = Some(Duration::from_secs(100));
        let age = |s| Some(Duration::from_secs(s));
        for (age, due) in [(None, 0), (age(101), 0), (age(40), 60)] {
            let mut challenge = Challenge::new(every, age, s(1_000));
            assert!(!challenge.overdue(s(9_000)), "the line was never ready");
            challenge.line_was_ready();
            assert_eq!(challenge.overdue(s(1_000)), due == 0);
            assert!(challenge.overdue(s(1_000 + due)));
            challenge.begin(s(2_000));
            assert!(!challenge.overdue(s(2_000)), "it is on its way");
            challenge.numbered(1, s(2_001));
            challenge.entry(&entry(1, Some(Reason::Ng), Some(PartVerdict::Ng)));
            challenge.outcome(s(2_002));
            assert!(!challenge.overdue(s(2_101)));
            assert!(challenge.overdue(s(2_102)));
        }
        let mut never = Challenge::new(None, None, s(0));
        never.line_was_ready();
        assert!(!never.overdue(s(9_000_000)));
    }

    #[test]
    fn the_alarm_may_be_acknowledged_once_one_was_passed() {
        let mut challenge = Challenge::new(Some(Duration::from_secs(100)), None, s(0));
        challenge.raise();
        assert!(challenge.needed());
        challenge.begin(s(1));
        challenge.numbered(1, s(2));
        challenge.entry(&entry(1, Some(Reason::Late), None));
        challenge.outcome(s(3));
        assert!(challenge.needed(), "void");
        challenge.begin(s(3));
        challenge.numbered(2, s(4));
        challenge.entry(&entry(2, Some(Reason::Ng), Some(PartVerdict::Ng)));
        challenge.outcome(s(5));
        assert!(challenge.stands() && !challenge.needed());
        // Without [challenge] an alarm of an earlier configuration must not stay forever.
        let mut without = Challenge::new(None, None, s(0));
        without.stands_still();
        assert!(without.stands() && !without.needed());
        // Passed, but not acknowledged before a new start.
        let day = Some(Duration::from_secs(86_400));
        let mut again = Challenge::new(day, Some(Duration::from_secs(60)), s(0));
        again.stands_still();
        assert!(again.stands() && !again.needed());
    }
}
