//! The history: one entry per step, only ever appended, chained by checksums as the event log is.

use super::disk::Disk;
use super::head::Head;
use super::state::{Identity, Slot};
use crate::record::chain;
use serde::{Deserialize, Serialize};
use std::io;

/// Name of the file.
pub(super) const HISTORY: &str = "history";
/// Longest text of a reason in an entry, so that an entry fits into a line of the chain.
const MAX_WHY: usize = 2000;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// A product was installed and is on trial.
    Installed,
    /// A product was refused.
    Refused,
    /// A trial ended with a confirmation.
    Confirmed,
    /// A person went back to the other product.
    RolledBack,
    /// The board went back to the other product by itself.
    Returned,
    /// A person set another threshold, within what the bundle allows.
    ThresholdSet,
    /// A person took that back: the product's own threshold counts.
    ThresholdRestored,
    /// A person chose this one of several products to run.
    Chosen,
    /// Entries before this one were damaged; they are in another file.
    HistoryDamaged,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Number, from 1.
    pub n: u64,
    /// What happened.
    pub event: Event,
    /// The wall clock, for people. It can be wrong.
    pub wall: String,
    /// Who did it.
    pub by: String,
    /// The slot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<Slot>,
    /// The product.
    #[serde(flatten)]
    pub product: Option<Identity>,
    /// Why, or what was said to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// The history as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Records {
    /// The entries that are whole, the oldest first.
    pub entries: Vec<Entry>,
    /// What is wrong behind them; None: the history is whole.
    pub fault: Option<String>,
    /// Bytes of the file, with what does not count.
    pub(super) file_bytes: Option<u64>,
}

impl Records {
    /// Reads the entries that `head` counts.
    ///
    /// # Errors
    /// The system's error.
    pub(super) fn read(disk: &impl Disk, head: &Head) -> io::Result<Self> {
        let bytes = disk.read(HISTORY)?;
        let file_bytes = bytes.as_ref().map(|bytes| bytes.len() as u64);
        let mut records = Self {
            entries: Vec::new(),
            fault: None,
            file_bytes,
        };
        let bytes = bytes.unwrap_or_default();
        let counted = usize::try_from(head.bytes).unwrap_or(usize::MAX);
        let mut rest = bytes.get(..counted).unwrap_or_else(|| {
            records.fault = Some(format!("{} bytes are missing", counted - bytes.len()));
            &bytes
        });
        let mut chain = chain::START;
        while !rest.is_empty() {
            let end = rest.iter().position(|&b| b == b'\n');
            let (line, after) = rest.split_at(end.unwrap_or(rest.len()));
            let number = records.entries.len() as u64 + 1;
            let Some((entry, sum)) = entry_of(line, chain, number).filter(|_| end.is_some()) else {
                let fault = format!("entry {number} is damaged");
                records.fault.get_or_insert(fault);
                return Ok(records);
            };
            chain = sum;
            records.entries.push(entry);
            rest = after.get(1..).unwrap_or_default();
        }
        if records.fault.is_none()
            && (chain, records.entries.len() as u64) != (head.chain, head.entries)
        {
            records.fault = Some("the last entry is not the one that the state counts".into());
        }
        Ok(records)
    }
}

fn entry_of(line: &[u8], before: u32, number: u64) -> Option<(Entry, u32)> {
    let (json, sum) = chain::split(line)?;
    if chain::checksum(before, json) != sum {
        return None;
    }
    let entry: Entry = serde_json::from_slice(json).ok()?;
    (entry.n == number).then_some((entry, sum))
}

/// The line of an entry after `head`, and the head after it.
pub(super) fn line(head: &Head, mut entry: Entry) -> io::Result<(Vec<u8>, Head)> {
    entry.n = head.entries + 1;
    if let Some(why) = &mut entry.why {
        let cut = (0..=MAX_WHY.min(why.len()))
            .rev()
            .find(|&at| why.is_char_boundary(at));
        why.truncate(cut.unwrap_or(0));
    }
    let mut line = serde_json::to_vec(&entry)?;
    let chain = chain::seal(head.chain, &mut line);
    let head = Head {
        bytes: head.bytes + line.len() as u64,
        entries: entry.n,
        chain,
    };
    Ok((line, head))
}
