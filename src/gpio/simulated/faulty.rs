//! A fault injector around any inputs.

use super::SimulatedError;
use crate::clock;
use crate::line::devices::{DeviceError, Edge, Input, Inputs};
use crate::seed::Rng;
use crate::time::{Duration, Instant};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The longest that an injected absence or delay may be, seconds.
const LONGEST_SECONDS: f64 = 3600.0;

/// Most extra edges that one bouncing trigger makes.
const MOST_BOUNCES: usize = 4;

/// Extra edges that can wait for their time; beyond it none are injected.
const WAITING: usize = 32;

/// How often each fault comes and how it looks. Chances are per edge, in [0, 1].
#[derive(Clone, Debug, PartialEq)]
pub struct InputFaults {
    /// Chance that a trigger bounces: one to four more edges, each within `bounce_within` of the
    /// trigger.
    pub bounce: f64,
    /// How far a bounce is from its trigger at most.
    pub bounce_within: Duration,
    /// Chance that a trigger comes a second time.
    pub duplicate: f64,
    /// How much later the second one comes at most.
    pub duplicate_within: Duration,
    /// Chance that an edge of a trigger or encoder is swallowed, and told as lost with the next
    /// edge of that input.
    pub lose: f64,
    /// Chance, per edge, that the device goes away. Edges of that time never happened.
    pub unplug: f64,
    /// For how long.
    pub unplug_for: Duration,
}

impl Default for InputFaults {
    /// No faults; times as a contact and a nervous sensor would have them.
    fn default() -> Self {
        Self {
            bounce: 0.0,
            bounce_within: Duration::from_micros(500),
            duplicate: 0.0,
            duplicate_within: Duration::from_millis(4),
            lose: 0.0,
            unplug: 0.0,
            unplug_for: Duration::from_millis(500),
        }
    }
}

impl InputFaults {
    fn check(&self) -> Result<(), SimulatedError> {
        let values = [
            ("bounce", self.bounce, 1.0),
            ("duplicate", self.duplicate, 1.0),
            ("lose", self.lose, 1.0),
            ("unplug", self.unplug, 1.0),
            (
                "bounce_within",
                self.bounce_within.as_secs_f64(),
                LONGEST_SECONDS,
            ),
            (
                "duplicate_within",
                self.duplicate_within.as_secs_f64(),
                LONGEST_SECONDS,
            ),
            ("unplug_for", self.unplug_for.as_secs_f64(), LONGEST_SECONDS),
        ];
        for (name, value, limit) in values {
            if !(0.0..=limit).contains(&value) {
                return Err(SimulatedError::Fault { name, value, limit });
            }
        }
        Ok(())
    }
}

/// What was injected so far; any thread may read it.
#[derive(Debug, Default)]
pub struct InjectedFaults {
    bounces: AtomicU64,
    duplicates: AtomicU64,
    lost: AtomicU64,
    unplugs: AtomicU64,
    unseen: AtomicU64,
}

impl InjectedFaults {
    /// Extra edges of bouncing triggers.
    pub fn bounces(&self) -> u64 {
        self.bounces.load(Ordering::Relaxed)
    }

    /// Triggers that came twice.
    pub fn duplicates(&self) -> u64 {
        self.duplicates.load(Ordering::Relaxed)
    }

    /// Edges swallowed and told as lost.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Times that the device went away.
    pub fn unplugs(&self) -> u64 {
        self.unplugs.load(Ordering::Relaxed)
    }

    /// Edges that came while the device was away and that nobody will hear of, the one included
    /// at which it went.
    pub fn unseen_edges(&self) -> u64 {
        self.unseen.load(Ordering::Relaxed)
    }

    fn unseen(&self, edge: &Edge) {
        let edges = 1 + u64::from(edge.lost);
        self.unseen.fetch_add(edges, Ordering::Relaxed);
    }

    fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Why an edge is extra.
#[derive(Clone, Copy, Debug)]
enum Extra {
    Bounce,
    Duplicate,
}

/// Inputs with faults. The faults follow from the seed and the edges alone.
#[derive(Debug)]
pub struct FaultyInputs<I> {
    inner: I,
    faults: InputFaults,
    rng: Rng,
    injected: Arc<InjectedFaults>,
    /// Extra edges whose time has not come, in no order.
    waiting: heapless::Vec<(Edge, Extra), WAITING>,
    lost: [u32; Input::ALL.len()],
    away_until: Option<Instant>,
}

impl<I: Inputs> FaultyInputs<I> {
    /// `inner` with `faults`, drawn from `seed`.
    ///
    /// # Errors
    /// [`SimulatedError::Fault`] that names the value.
    pub fn new(inner: I, faults: InputFaults, seed: u64) -> Result<Self, SimulatedError> {
        faults.check()?;
        Ok(Self {
            inner,
            faults,
            rng: Rng::new(seed),
            injected: Arc::default(),
            waiting: heapless::Vec::new(),
            lost: [0; Input::ALL.len()],
            away_until: None,
        })
    }

    /// The counters.
    pub fn injected(&self) -> Arc<InjectedFaults> {
        Arc::clone(&self.injected)
    }

    fn chance(&mut self, of: f64) -> bool {
        // 53 bits, so that 0 is never and 1 is always.
        let draw = (self.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        draw < of
    }

    /// A time in (0, `most`].
    fn some(&mut self, most: Duration) -> Duration {
        let most = most.0.max(1);
        Duration(1 + self.rng.next_u64() % most)
    }

    /// Puts an extra edge aside until its time; without room there is none.
    fn later(&mut self, edge: Edge, by: Duration, why: Extra) {
        let at = edge.at.after(by);
        let _ = self.waiting.push((
            Edge {
                at,
                lost: 0,
                ..edge
            },
            why,
        ));
    }

    /// The earliest edge put aside, if its time has come.
    fn due(&mut self) -> Option<Edge> {
        let now = clock::now();
        let (place, edge) = self.earliest()?;
        if edge.at > now {
            return None;
        }
        let (edge, why) = self.waiting.swap_remove(place);
        InjectedFaults::count(match why {
            Extra::Bounce => &self.injected.bounces,
            Extra::Duplicate => &self.injected.duplicates,
        });
        Some(edge)
    }

    fn earliest(&self) -> Option<(usize, Edge)> {
        let waiting = self.waiting.iter().map(|(edge, _)| *edge).enumerate();
        waiting.min_by_key(|(_, edge)| edge.at)
    }

    /// What becomes of a real edge.
    fn pass(&mut self, mut edge: Edge) -> Result<Option<Edge>, DeviceError> {
        if self.chance(self.faults.unplug) {
            self.away_until = Some(clock::now().after(self.faults.unplug_for));
            self.waiting.clear();
            InjectedFaults::count(&self.injected.unplugs);
            self.injected.unseen(&edge);
            return Err(SimulatedError::Unplugged("inputs").into());
        }
        let told = self.lost[edge.input as usize].saturating_add(edge.lost);
        if edge.input != Input::Acknowledge && self.chance(self.faults.lose) {
            InjectedFaults::count(&self.injected.lost);
            self.lost[edge.input as usize] = told.saturating_add(1);
            return Ok(None);
        }
        self.lost[edge.input as usize] = 0;
        edge.lost = told;
        if edge.input == Input::Trigger && edge.on {
            if self.chance(self.faults.bounce) {
                for _ in 0..=self.rng.below(MOST_BOUNCES) {
                    let by = self.some(self.faults.bounce_within);
                    self.later(edge, by, Extra::Bounce);
                }
            }
            if self.chance(self.faults.duplicate) {
                let by = self.some(self.faults.duplicate_within);
                self.later(edge, by, Extra::Duplicate);
            }
        }
        Ok(Some(edge))
    }

    /// While the device is away: drops what comes, and fails.
    fn stay_away(&mut self, until: Instant, at_most: Duration) -> Result<(), DeviceError> {
        let wait = at_most.min(clock::until(until));
        match self.inner.wait(wait.min(Duration::from_millis(1))) {
            Ok(Some(edge)) => self.injected.unseen(&edge),
            Ok(None) => {}
            Err(error) => return Err(error),
        }
        if clock::now() < until {
            return Err(SimulatedError::Unplugged("inputs").into());
        }
        self.away_until = None;
        Ok(())
    }
}

impl<I: Inputs> Inputs for FaultyInputs<I> {
    fn wait(&mut self, at_most: Duration) -> Result<Option<Edge>, DeviceError> {
        let deadline = clock::now().after(at_most);
        if let Some(until) = self.away_until {
            self.stay_away(until, at_most)?;
        }
        loop {
            if let Some(edge) = self.due() {
                return Ok(Some(edge));
            }
            let mut next = deadline;
            if let Some((_, edge)) = self.earliest() {
                next = next.min(edge.at);
            }
            match self.inner.wait(clock::until(next))? {
                Some(edge) => {
                    if let Some(edge) = self.pass(edge)? {
                        return Ok(Some(edge));
                    }
                }
                None if clock::now() >= deadline => return Ok(self.due()),
                None => {}
            }
        }
    }

    fn level(&mut self, input: Input) -> Result<Option<bool>, DeviceError> {
        if self.away_until.is_some_and(|until| clock::now() < until) {
            return Err(SimulatedError::Unplugged("inputs").into());
        }
        self.inner.level(input)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{InputFeed, SimulatedInputs};
    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    fn faulty(faults: InputFaults, seed: u64) -> (FaultyInputs<SimulatedInputs>, InputFeed) {
        let (inner, feed) = SimulatedInputs::new(4096).unwrap();
        (FaultyInputs::new(inner, faults, seed).unwrap(), feed)
    }

    /// Everything that comes within `quiet` of each other.
    fn drain(inputs: &mut impl Inputs, quiet: Duration) -> Vec<Edge> {
        std::iter::from_fn(|| inputs.wait(quiet).unwrap()).collect()
    }

    #[test]
    fn without_faults_edges_pass_unchanged() {
        let (mut inputs, mut feed) = faulty(InputFaults::default(), 1);
        for n in 0..100 {
            feed.edge(Input::Trigger, Instant(n));
            feed.edge(Input::Encoder, Instant(n));
        }
        let edges = drain(&mut inputs, Duration::ZERO);
        assert_eq!(edges.len(), 200);
        assert!(edges.iter().all(|edge| edge.lost == 0));
        let injected = inputs.injected();
        assert_eq!(
            injected.bounces() + injected.duplicates() + injected.lost(),
            0
        );
    }

    #[test]
    fn a_bouncing_trigger_is_followed_by_edges_within_its_time_and_after_it() {
        let faults = InputFaults {
            bounce: 1.0,
            ..InputFaults::default()
        };
        let (mut inputs, mut feed) = faulty(faults, 2);
        for _ in 0..20 {
            let at = clock::now();
            feed.edge(Input::Trigger, at);
            feed.edge(Input::Encoder, at);
            let edges = drain(&mut inputs, Duration::from_millis(2));
            let triggers: Vec<Instant> = edges
                .iter()
                .filter(|edge| edge.input == Input::Trigger)
                .map(|edge| edge.at)
                .collect();
            assert!((2..=5).contains(&triggers.len()), "{triggers:?}");
            assert_eq!(edges.len(), triggers.len() + 1, "encoders do not bounce");
            assert!(triggers.is_sorted());
            assert!(triggers.iter().all(|t| t.since(at).0 <= 500_000));
        }
        assert!(inputs.injected().bounces() >= 20);
    }

    #[test]
    fn a_duplicate_comes_once_and_not_before_its_time() {
        let faults = InputFaults {
            duplicate: 1.0,
            ..InputFaults::default()
        };
        let (mut inputs, mut feed) = faulty(faults, 3);
        feed.edge_now(Input::Trigger);
        let first = inputs.wait(LONG).unwrap().unwrap();
        let second = inputs.wait(LONG).unwrap().unwrap();
        assert!(second.at > first.at && second.at.since(first.at).0 <= 4_000_000);
        assert!(clock::now() >= second.at);
        assert_eq!(inputs.wait(Duration::from_millis(20)).unwrap(), None);
        assert_eq!(inputs.injected().duplicates(), 1);
    }

    #[test]
    fn off_edges_and_levels_pass_and_do_not_bounce() {
        let faults = InputFaults {
            bounce: 1.0,
            duplicate: 1.0,
            ..InputFaults::default()
        };
        let (mut inputs, mut feed) = faulty(faults, 8);
        feed.edge_off(Input::Trigger, clock::now());
        let edges = drain(&mut inputs, Duration::from_millis(8));
        assert_eq!(edges.len(), 1, "{edges:?}");
        assert!(!edges[0].on);
        assert_eq!(inputs.level(Input::Trigger).unwrap(), Some(false));
    }

    #[test]
    fn every_edge_arrives_or_is_told_as_lost() {
        let faults = InputFaults {
            lose: 0.3,
            ..InputFaults::default()
        };
        let (mut inputs, mut feed) = faulty(faults, 4);
        for n in 0..1000 {
            feed.edge(Input::Trigger, Instant(n));
        }
        let edges = drain(&mut inputs, Duration::ZERO);
        let told: u64 = edges.iter().map(|edge| u64::from(edge.lost)).sum();
        let untold = 1000 - edges.len() as u64 - told;
        assert!((200..400).contains(&inputs.injected().lost()));
        assert_eq!(told + untold, inputs.injected().lost());
        assert!(untold < 20, "only what follows the last edge");
    }

    #[test]
    fn an_unplugged_device_fails_for_its_time_and_swallows_what_comes() {
        let faults = InputFaults {
            unplug: 1.0,
            unplug_for: Duration::from_millis(50),
            ..InputFaults::default()
        };
        let (mut inputs, mut feed) = faulty(faults, 5);
        let started = clock::now();
        feed.edge_now(Input::Trigger);
        let mut failures = 0;
        while inputs.wait(Duration::from_millis(10)).is_err() {
            if failures == 0 {
                feed.edge_now(Input::Trigger);
                feed.edge_now(Input::Trigger);
            }
            failures += 1;
        }
        assert!(clock::now().since(started).0 >= 50_000_000);
        assert!(failures >= 2);
        assert_eq!(inputs.injected().unplugs(), 1);
        assert_eq!(inputs.injected().unseen_edges(), 3);
    }

    #[test]
    fn the_seed_decides() {
        let run = |seed| {
            let faults = InputFaults {
                lose: 0.5,
                ..InputFaults::default()
            };
            let (mut inputs, mut feed) = faulty(faults, seed);
            for n in 0..200 {
                feed.edge(Input::Trigger, Instant(n));
            }
            drain(&mut inputs, Duration::ZERO)
        };
        assert_eq!(run(6), run(6));
        assert_ne!(run(6), run(7));
    }

    #[test]
    fn chances_and_times_are_checked() {
        let (inner, _feed) = SimulatedInputs::new(1).unwrap();
        let faults = InputFaults {
            lose: f64::NAN,
            ..InputFaults::default()
        };
        let error = FaultyInputs::new(inner, faults, 1).unwrap_err();
        assert!(error.to_string().contains("lose"), "{error}");
    }
}
