//! A fault injector around any inputs.

use super::{Injected, Kind, Shares};
use crate::clock;
use crate::line::devices::{DeviceError, Edge, Input, Inputs};
use crate::seed::Rng;
use crate::simulation::lines::SimulatedError;
use crate::time::{Duration, Instant};
use std::sync::Arc;

/// The longest injected absence or delay, seconds.
const LONGEST_SECONDS: f64 = 3600.0;

/// Largest number of extra edges of one bouncing trigger.
const MOST_BOUNCES: usize = 4;

/// Extra edges that can wait for their time; if more are due, none are injected.
const WAITING: usize = 32;

/// How often each fault strikes, and how it shows.
#[derive(Clone, Debug, PartialEq)]
pub struct InputFaults {
    /// Shares of edges. [`Kind::Bounce`] of a trigger: one to four more edges, each within
    /// `bounce_within` of it. [`Kind::DoubleTrigger`]: the trigger comes a second time.
    /// [`Kind::LostTrigger`]: an edge of a trigger or encoder is dropped, and the next edge of that
    /// input reports it as lost. [`Kind::UnpluggedInputs`]: the device is gone; edges of that time
    /// are dropped and not reported.
    pub shares: Shares,
    /// Longest time from a trigger to a bounce of it.
    pub bounce_within: Duration,
    /// Longest time from a trigger to the second one.
    pub duplicate_within: Duration,
    /// How long the device is away.
    pub unplug_for: Duration,
}

impl Default for InputFaults {
    /// No faults; times as a worn contact and an unsteady sensor give them.
    fn default() -> Self {
        Self {
            shares: Shares::NONE,
            bounce_within: Duration::from_micros(500),
            duplicate_within: Duration::from_millis(4),
            unplug_for: Duration::from_millis(500),
        }
    }
}

impl InputFaults {
    /// The kinds of faults that can strike an edge.
    pub const KINDS: [Kind; 4] = [
        Kind::Bounce,
        Kind::DoubleTrigger,
        Kind::LostTrigger,
        Kind::UnpluggedInputs,
    ];

    fn check(&self) -> Result<(), SimulatedError> {
        if let Some((kind, value, limit)) = self.shares.wrong(&Self::KINDS) {
            let name = kind.name();
            return Err(SimulatedError::Fault { name, value, limit });
        }
        let values = [
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

/// Inputs with faults. The faults follow from the seed and the edges alone.
#[derive(Debug)]
pub struct FaultyInputs<I> {
    inner: I,
    faults: InputFaults,
    rng: Rng,
    injected: Arc<Injected>,
    unseen: u64,
    /// Extra edges whose time has not come, in no order, each with the fault that made it.
    waiting: heapless::Vec<(Edge, Kind), WAITING>,
    lost: [u32; Input::ALL.len()],
    away_until: Option<Instant>,
}

impl<I: Inputs> FaultyInputs<I> {
    /// `inner` with `faults`, drawn from `seed`.
    ///
    /// # Errors
    /// [`SimulatedError::Fault`], which names the value.
    pub fn new(inner: I, faults: InputFaults, seed: u64) -> Result<Self, SimulatedError> {
        faults.check()?;
        Ok(Self {
            inner,
            faults,
            rng: Rng::new(seed),
            injected: Arc::default(),
            unseen: 0,
            waiting: heapless::Vec::new(),
            lost: [0; Input::ALL.len()],
            away_until: None,
        })
    }

    /// The counters. Any thread can read them.
    pub fn injected(&self) -> Arc<Injected> {
        Arc::clone(&self.injected)
    }

    /// Number of edges that came while the device was away and that nothing reports, with the edge
    /// at which it went.
    #[cfg(test)]
    pub(crate) fn unseen_edges(&self) -> u64 {
        self.unseen
    }

    fn chance(&mut self, of: Kind) -> bool {
        // 53 bits, so that 0 means never and 1 means always.
        let draw = (self.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        draw < self.faults.shares.of(of)
    }

    /// A time in (0, `most`].
    fn some(&mut self, most: Duration) -> Duration {
        let most = most.0.max(1);
        Duration(1 + self.rng.next_u64() % most)
    }

    /// Keeps an extra edge until its time; if there is no room, it is dropped.
    fn later(&mut self, edge: Edge, by: Duration, why: Kind) {
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

    /// The earliest extra edge, if its time has come.
    fn due(&mut self) -> Option<Edge> {
        let now = clock::now();
        let (place, edge) = self.earliest()?;
        if edge.at > now {
            return None;
        }
        let (edge, why) = self.waiting.swap_remove(place);
        self.injected.count(why);
        Some(edge)
    }

    fn earliest(&self) -> Option<(usize, Edge)> {
        let waiting = self.waiting.iter().map(|(edge, _)| *edge).enumerate();
        waiting.min_by_key(|(_, edge)| edge.at)
    }

    /// What happens to a real edge.
    fn pass(&mut self, mut edge: Edge) -> Result<Option<Edge>, DeviceError> {
        if self.chance(Kind::UnpluggedInputs) {
            self.away_until = Some(clock::now().after(self.faults.unplug_for));
            self.waiting.clear();
            self.injected.count(Kind::UnpluggedInputs);
            self.unseen += 1 + u64::from(edge.lost);
            return Err(SimulatedError::Unplugged("inputs").into());
        }
        let lost = self.lost[edge.input as usize].saturating_add(edge.lost);
        if edge.input != Input::Acknowledge && self.chance(Kind::LostTrigger) {
            self.injected.count(Kind::LostTrigger);
            self.lost[edge.input as usize] = lost.saturating_add(1);
            return Ok(None);
        }
        self.lost[edge.input as usize] = 0;
        edge.lost = lost;
        if edge.input == Input::Trigger && edge.on {
            if self.chance(Kind::Bounce) {
                for _ in 0..=self.rng.below(MOST_BOUNCES) {
                    let by = self.some(self.faults.bounce_within);
                    self.later(edge, by, Kind::Bounce);
                }
            }
            if self.chance(Kind::DoubleTrigger) {
                let by = self.some(self.faults.duplicate_within);
                self.later(edge, by, Kind::DoubleTrigger);
            }
        }
        Ok(Some(edge))
    }

    /// While the device is away: drops edges that come, and fails.
    fn stay_away(&mut self, until: Instant, at_most: Duration) -> Result<(), DeviceError> {
        let wait = at_most.min(clock::until(until));
        match self.inner.wait(wait.min(Duration::from_millis(1))) {
            Ok(Some(edge)) => self.unseen += 1 + u64::from(edge.lost),
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
    use super::*;
    use crate::simulation::lines::{InputFeed, SimulatedInputs};

    const LONG: Duration = Duration::from_secs(20);

    fn faulty(faults: InputFaults, seed: u64) -> (FaultyInputs<SimulatedInputs>, InputFeed) {
        let (inner, feed) = SimulatedInputs::new(4096).unwrap();
        (FaultyInputs::new(inner, faults, seed).unwrap(), feed)
    }

    /// All edges until `quiet` passes without one.
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
        assert!(Kind::ALL.iter().all(|k| inputs.injected().of(*k) == 0));
    }

    #[test]
    fn a_bouncing_trigger_is_followed_by_edges_within_its_time_and_after_it() {
        let faults = InputFaults {
            shares: Shares::NONE.with(Kind::Bounce, 1.0),
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
        assert!(inputs.injected().of(Kind::Bounce) >= 20);
    }

    #[test]
    fn a_duplicate_comes_once_and_not_before_its_time() {
        let faults = InputFaults {
            shares: Shares::NONE.with(Kind::DoubleTrigger, 1.0),
            ..InputFaults::default()
        };
        let (mut inputs, mut feed) = faulty(faults, 3);
        feed.edge_now(Input::Trigger);
        let first = inputs.wait(LONG).unwrap().unwrap();
        let second = inputs.wait(LONG).unwrap().unwrap();
        assert!(second.at > first.at && second.at.since(first.at).0 <= 4_000_000);
        assert!(clock::now() >= second.at);
        assert_eq!(inputs.wait(Duration::from_millis(20)).unwrap(), None);
        assert_eq!(inputs.injected().of(Kind::DoubleTrigger), 1);
    }

    #[test]
    fn off_edges_and_levels_pass_and_do_not_bounce() {
        let faults = InputFaults {
            shares: Shares::NONE
                .with(Kind::Bounce, 1.0)
                .with(Kind::DoubleTrigger, 1.0),
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
    fn every_edge_arrives_or_is_reported_as_lost() {
        let faults = InputFaults {
            shares: Shares::NONE.with(Kind::LostTrigger, 0.3),
            ..InputFaults::default()
        };
        let (mut inputs, mut feed) = faulty(faults, 4);
        for n in 0..1000 {
            feed.edge(Input::Trigger, Instant(n));
        }
        let edges = drain(&mut inputs, Duration::ZERO);
        let reported: u64 = edges.iter().map(|edge| u64::from(edge.lost)).sum();
        let unreported = 1000 - edges.len() as u64 - reported;
        assert!((200..400).contains(&inputs.injected().of(Kind::LostTrigger)));
        assert_eq!(
            reported + unreported,
            inputs.injected().of(Kind::LostTrigger)
        );
        assert!(unreported < 20, "only losses after the last edge");
    }

    #[test]
    fn an_unplugged_device_fails_for_its_time_and_drops_edges() {
        let faults = InputFaults {
            shares: Shares::NONE.with(Kind::UnpluggedInputs, 1.0),
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
        assert_eq!(inputs.injected().of(Kind::UnpluggedInputs), 1);
        assert_eq!(inputs.unseen_edges(), 3);
    }

    #[test]
    fn the_seed_decides() {
        let run = |seed| {
            let faults = InputFaults {
                shares: Shares::NONE.with(Kind::LostTrigger, 0.5),
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
            shares: Shares::NONE.with(Kind::LostTrigger, f64::NAN),
            ..InputFaults::default()
        };
        let error = FaultyInputs::new(inner, faults, 1).unwrap_err();
        assert!(error.to_string().contains("lost_trigger"), "{error}");
    }
}
