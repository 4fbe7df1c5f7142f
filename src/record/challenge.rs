//! State of the challenge: a known-bad part that the line must reject from time to time.

use super::counter::Counter;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// State of the challenge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum ChallengeState {
    /// Nobody has asked for a challenge.
    #[default]
    Idle,
    /// The next part is the known-bad one.
    Awaited,
    /// The known-bad part is between sensor and ejector.
    UnderWay,
}

impl ChallengeState {
    const ALL: [Self; 3] = [Self::Idle, Self::Awaited, Self::UnderWay];

    /// Name in the line's status.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Awaited => "awaited",
            Self::UnderWay => "under_way",
        }
    }
}

/// How challenges ended, and when one was last passed. All threads share it, without locks.
#[derive(Debug, Default)]
pub struct ChallengeFigures {
    /// Known-bad parts with the verdict NG that the line rejected.
    pub passed: Counter,
    /// Known-bad parts with the verdict OK, or that passed the gate.
    pub failed: Counter,
    /// Challenges that show nothing and must be repeated.
    pub void: Counter,
    /// Seconds since 1970 by the wall clock; 0 if unknown.
    passed_at: AtomicU64,
    state: AtomicU8,
    needed: AtomicBool,
}

impl ChallengeFigures {
    /// When a challenge was last passed, in seconds since 1970; None if unknown.
    pub(crate) fn passed_at(&self) -> Option<u64> {
        Some(self.passed_at.load(Relaxed)).filter(|&at| at > 0)
    }

    /// Sets when a challenge was last passed, in seconds since 1970; None if unknown.
    pub(crate) fn set_passed_at(&self, seconds: Option<u64>) {
        self.passed_at.store(seconds.unwrap_or(0), Relaxed);
    }

    /// Time since a challenge was passed, by the wall clock. None if unknown, or if the clock is
    /// before that time.
    pub fn age(&self, now: SystemTime) -> Option<Duration> {
        let passed = UNIX_EPOCH + Duration::from_secs(self.passed_at()?);
        now.duration_since(passed).ok()
    }

    /// State of the challenge now.
    pub fn state(&self) -> ChallengeState {
        let number = usize::from(self.state.load(Relaxed));
        ChallengeState::ALL.get(number).copied().unwrap_or_default()
    }

    /// Sets the state.
    pub(crate) fn set_state(&self, state: ChallengeState) {
        self.state.store(state as u8, Relaxed);
    }

    /// Whether the alarm `challenge` is latched and cannot be acknowledged before a challenge is
    /// passed.
    pub fn needed(&self) -> bool {
        self.needed.load(Relaxed)
    }

    /// See [`ChallengeFigures::needed`].
    pub(crate) fn set_needed(&self, needed: bool) {
        self.needed.store(needed, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use crate::record::Metrics;
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    #[test]
    fn the_page_counts_challenges_by_their_end_and_shows_no_age_where_nobody_knows() {
        let metrics = Metrics::new(&[], &["challenge"]);
        metrics.challenge.passed.inc();
        metrics.challenge.void.add(2);
        let page = metrics.page();
        for line in [
            "partgate_challenges_total{result=\"passed\"} 1\n",
            "partgate_challenges_total{result=\"failed\"} 0\n",
            "partgate_challenges_total{result=\"void\"} 2\n",
        ] {
            assert!(page.contains(line), "{line}: {page}");
        }
        assert!(!page.contains("\npartgate_challenge_age_seconds "));
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        metrics.challenge.set_passed_at(Some(now - 100));
        let page = metrics.page();
        let (_, after) = page
            .split_once("\npartgate_challenge_age_seconds ")
            .unwrap();
        let age: u64 = after.split_once('\n').unwrap().0.parse().unwrap();
        assert!((100..200).contains(&age), "{age}");
        // The clock was set back, so the age is unknown.
        let before = UNIX_EPOCH + Duration::from_secs(now - 200);
        assert_eq!(metrics.challenge.age(before), None);
    }
}
