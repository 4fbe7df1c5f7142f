//! How often faults come, and how often they came.

use super::Kind;
use std::sync::atomic::{AtomicU64, Ordering};

/// How often each kind of fault comes: shares of what it strikes (frames, edges), in [0, 1].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shares([f64; Kind::ALL.len()]);

impl Shares {
    /// No faults.
    pub const NONE: Self = Self([0.0; Kind::ALL.len()]);

    /// These, with `share` for `kind`.
    #[must_use]
    pub fn with(mut self, kind: Kind, share: f64) -> Self {
        self.0[kind as usize] = share;
        self
    }

    /// That of `kind`.
    pub fn of(&self, kind: Kind) -> f64 {
        self.0[kind as usize]
    }

    /// A kind whose share is none, with the share and the largest that can be: 1 of the `known`
    /// kinds, 0 of the others.
    pub(super) fn wrong(&self, known: &[Kind]) -> Option<(Kind, f64, f64)> {
        let limited = Kind::ALL.into_iter().map(|kind| {
            let limit = f64::from(u8::from(known.contains(&kind)));
            (kind, self.of(kind), limit)
        });
        limited
            .into_iter()
            .find(|(_, share, limit)| !(0.0..=*limit).contains(share))
    }
}

/// How many faults of each kind there were. Any thread may read it.
#[derive(Debug, Default)]
pub struct Injected([AtomicU64; Kind::ALL.len()]);

impl Injected {
    /// Faults of this kind so far.
    pub fn of(&self, kind: Kind) -> u64 {
        self.0[kind as usize].load(Ordering::Relaxed)
    }

    pub(super) fn count(&self, kind: Kind) {
        self.0[kind as usize].fetch_add(1, Ordering::Relaxed);
    }
}
