//! The end of the history that the state counts.

use serde::{Deserialize, Serialize};

/// How far the history counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Bytes.
    pub bytes: u64,
    /// Entries.
    pub entries: u64,
    /// Checksum of the last entry.
    pub chain: u32,
}
