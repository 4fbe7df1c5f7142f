//! What is known of the challenge: a known-bad part that the line has to reject from time to time.

use super::counter::Counter;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where the challenge is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum ChallengeState {
    /// None was asked for.
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

/// How challenges ended, and when one was passed last. Shared by all threads, without locks.
#[derive(Debug, Default)]
pub struct ChallengeFigures {
    /// Known-bad parts that the inspector called NG and the line rejected.
    pub passed: Counter,
    /// Known-bad parts that were inspected OK, or that passed.
    pub failed: Counter,
    /// Challenges that prove nothing and have to be repeated.
    pub void: Counter,
    /// Seconds since 1970 by the wall clock; 0: nobody knows.
    passed_at: AtomicU64,
    state: AtomicU8,
    needed: AtomicBool,
}

impl ChallengeFigures {
    /// When one was passed last, in seconds since 1970; None: nobody knows.
    pub fn passed_at(&self) -> Option<u64> {
        Some(self.passed_at.load(Relaxed)).filter(|&at| at > 0)
    }

    /// One was passed then; None: nobody knows when.
    pub fn set_passed_at(&self, seconds: Option<u64>) {
        self.passed_at.store(seconds.unwrap_or(0), Relaxed);
    }

    /// Since one was passed, by the wall clock. None where nobody knows, or where the clock stands
    /// before it.
    pub fn age(&self, now: SystemTime) -> Option<Duration> {
        let passed = UNIX_EPOCH + Duration::from_secs(self.passed_at()?);
        now.duration_since(passed).ok()
    }

    /// Where it is.
    pub fn state(&self) -> ChallengeState {
        let number = usize::from(self.state.load(Relaxed));
        ChallengeState::ALL.get(number).copied().unwrap_or_default()
    }

    /// It goes on.
    pub fn set_state(&self, state: ChallengeState) {
        self.state.store(state as u8, Relaxed);
    }

    /// Whether the alarm `challenge` stands and cannot be acknowledged before one is passed.
    pub fn needed(&self) -> bool {
        self.needed.load(Relaxed)
    }

    /// See [`ChallengeFigures::needed`].
    pub fn set_needed(&self, needed: bool) {
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
        // The clock was set back: nobody knows.
        let before = UNIX_EPOCH + Duration::from_secs(now - 200);
        assert_eq!(metrics.challenge.age(before), None);
    }
}
