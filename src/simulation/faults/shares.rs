//! How often faults strike, and how often they did.

use super::Kind;
use std::sync::atomic::{AtomicU64, Ordering};

/// How often each kind of fault strikes: shares of frames or edges, in [0, 1].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shares([f64; Kind::ALL.len()]);

impl Shares {
    /// No faults.
    pub const NONE: Self = Self([0.0; Kind::ALL.len()]);

    /// These shares, with `share` for `kind`.
    #[must_use]
    pub fn with(mut self, kind: Kind, share: f64) -> Self {
        self.0[kind as usize] = share;
        self
    }

    /// The share of `kind`, 0 to 1.
    pub fn of(&self, kind: Kind) -> f64 {
        self.0[kind as usize]
    }

    /// A kind whose share is not allowed, with the share and its limit: 1 for the `known` kinds, 0
    /// for the others.
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

/// How many faults of each kind were injected. Any thread can read it.
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
