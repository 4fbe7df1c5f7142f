//! The state: one small file that says which slot is active, what both hold, and which revisions are
//! too old.

use super::StoreError;
use super::head::Head;
use super::sealed;
use super::trial::Trial;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Name of the file.
pub(super) const STATE: &str = "state";
/// The state while it is written.
pub(super) const STATE_NEW: &str = "state.new";
/// Version of the file's meaning.
const FORMAT: u32 = 1;
/// Longest digest text.
const DIGITS: usize = 64;

/// A slot of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Slot {
    /// The first one.
    A,
    /// The second one.
    B,
}

impl Slot {
    /// Both.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    /// The slot that this one is not.
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// Name of the file of a product with this digest.
    pub(super) fn file(self, digest: &str) -> String {
        // The digest was checked to be hexadecimal, so it is no path.
        let letter = match self {
            Self::A => 'a',
            Self::B => 'b',
        };
        format!("slot-{letter}-{}.pgp", digest.get(..16).unwrap_or_default())
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::B => "B",
        })
    }
}

/// Which product that is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Name in the manifest.
    pub product: String,
    /// Revision in the manifest.
    pub revision: u32,
    /// BLAKE3 of the file, 64 hexadecimal digits.
    pub digest: String,
    /// Who signed it, in words; "UNSIGNED" if nobody did.
    pub origin: String,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, revision {}", self.product, self.revision)
    }
}

/// What became of the product in a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "state")]
pub enum SlotState {
    /// It runs until it is confirmed or given up.
    Trial(Trial),
    /// It has proven itself, or a person said so.
    Confirmed,
    /// It was given up and is never started again.
    Bad {
        /// Why.
        reason: String,
    },
}

/// The product in a slot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// Which product.
    #[serde(flatten)]
    pub identity: Identity,
    /// What became of it.
    #[serde(flatten)]
    pub state: SlotState,
    /// The UNKNOWN threshold that a person has set on this board; None: the product's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown: Option<f32>,
}

/// Everything that the store knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    format: u32,
    /// Grows with every write.
    pub sequence: u64,
    /// The slot that a line runs; None: no product.
    pub active: Option<Slot>,
    /// Slot A.
    pub a: Option<Held>,
    /// Slot B.
    pub b: Option<Held>,
    /// The highest revision that was confirmed, by product.
    pub floors: BTreeMap<String, u32>,
    /// How far the history counts.
    pub history: Head,
}

impl Default for State {
    fn default() -> Self {
        Self {
            format: FORMAT,
            sequence: 0,
            active: None,
            a: None,
            b: None,
            floors: BTreeMap::new(),
            history: Head::default(),
        }
    }
}

impl State {
    /// What a slot holds.
    pub fn held(&self, slot: Slot) -> Option<&Held> {
        match slot {
            Slot::A => self.a.as_ref(),
            Slot::B => self.b.as_ref(),
        }
    }

    pub(super) fn place(&mut self, slot: Slot) -> &mut Option<Held> {
        match slot {
            Slot::A => &mut self.a,
            Slot::B => &mut self.b,
        }
    }

    /// The active slot and what it holds.
    pub fn active(&self) -> Option<(Slot, &Held)> {
        let slot = self.active?;
        Some((slot, self.held(slot)?))
    }

    /// The trial that runs, if one does.
    pub fn trial(&self) -> Option<&Trial> {
        match self.active()? {
            (
                _,
                Held {
                    state: SlotState::Trial(trial),
                    ..
                },
            ) => Some(trial),
            _ => None,
        }
    }

    /// The file of a slot.
    pub fn file(&self, slot: Slot) -> Option<String> {
        Some(slot.file(&self.held(slot)?.identity.digest))
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, StoreError> {
        sealed::seal(self).map_err(|e| StoreError::State(e.to_string()))
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let bad = |problem: &str| StoreError::State(problem.to_owned());
        let json = sealed::open(bytes).map_err(bad)?;
        let state: Self =
            serde_json::from_str(json).map_err(|e| StoreError::State(e.to_string()))?;
        if state.format != FORMAT {
            let format = state.format;
            return Err(StoreError::State(format!(
                "format {format}, and this program knows format {FORMAT}"
            )));
        }
        let hexadecimal = |held: &Held| {
            let digest = &held.identity.digest;
            digest.len() == DIGITS && digest.bytes().all(|b| b.is_ascii_hexdigit())
        };
        let slots = [&state.a, &state.b];
        if !slots.into_iter().flatten().all(hexadecimal) {
            return Err(bad("a digest in it is none"));
        }
        let sound = |held: &Held| held.unknown.is_none_or(|u| u.is_finite() && u > 0.0);
        if !slots.into_iter().flatten().all(sound) {
            return Err(bad("a threshold in it is none"));
        }
        if state.active.is_some() && state.active().is_none() {
            return Err(bad("the active slot is empty"));
        }
        Ok(state)
    }
}
