//! Faults of a line in real time that no device around another one can inject.

use crate::seed::Rng;
use crate::simulation::faults::Kind;
use std::sync::{Mutex, PoisonError};

/// Draws faults from a seed and counts them.
#[derive(Clone, Debug)]
pub(super) struct Injector {
    kinds: Vec<Kind>,
    rng: Rng,
    /// How many times as often as in virtual time, because real time is short.
    often: usize,
    pub(super) injected: [u64; Kind::ALL.len()],
}

impl Injector {
    fn new(kinds: &[Kind], seed: u64, often: usize) -> Self {
        Self {
            kinds: kinds.to_vec(),
            rng: Rng::stream(seed, 0x6661_756c_7473),
            often,
            injected: [0; Kind::ALL.len()],
        }
    }

    /// Whether `kind` strikes now.
    pub(super) fn strikes(&mut self, kind: Kind) -> bool {
        if !self.kinds.contains(&kind) || self.rng.below(kind.one_in() / self.often) != 0 {
            return false;
        }
        self.injected[kind as usize] += 1;
        true
    }

    /// A time in `low..high`, nanoseconds.
    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.rng.below((high - low) as usize) as u64
    }
}

/// An injector that several threads use: its draws depend on their order.
#[derive(Debug)]
pub(super) struct SharedInjector(Mutex<Injector>);

impl SharedInjector {
    pub(super) fn new(kinds: &[Kind], seed: u64, often: usize) -> Self {
        Self(Mutex::new(Injector::new(kinds, seed, often)))
    }

    pub(super) fn with<T>(&self, draw: impl FnOnce(&mut Injector) -> T) -> T {
        draw(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
