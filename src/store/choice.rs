//! Which of several products a line runs: one small file beside their stores.
//!
//! It is written beside the old one and renamed over it, as the state of a store is. So after a cut the
//! choice is the old one or the new one.

use super::StoreError;
use super::disk::Disk;
use super::sealed;
use serde::{Deserialize, Serialize};
use std::io::{self, ErrorKind};

/// Name of the file.
pub(super) const CHOICE: &str = "chosen";
/// The choice while it is written.
pub(super) const CHOICE_NEW: &str = "chosen.new";
/// Version of the file's meaning.
const FORMAT: u32 = 1;

/// A product that was asked for and could not start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refused {
    /// Name of the product.
    pub product: String,
    /// Digest of its bundle. Another one may start.
    pub digest: Option<String>,
    /// Why it could not start.
    pub why: String,
}

/// Which product runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    format: u32,
    /// Name of the product.
    pub product: String,
    /// The product that ran before. The line returns to it if the chosen one cannot start.
    pub before: Option<String>,
    /// The product that was asked for last and could not start.
    pub refused: Option<Refused>,
    /// Whether something else was asked for than the product that runs, so that no part may pass until
    /// somebody asks for what runs, or for another product that can start.
    pub unserved: bool,
    /// Who chose.
    pub by: String,
    /// The wall clock, for people. It can be wrong.
    pub wall: String,
}

impl Choice {
    pub(super) fn new(product: &str, before: Option<String>, by: String, wall: String) -> Self {
        Self {
            format: FORMAT,
            product: product.to_owned(),
            before,
            refused: None,
            unserved: false,
            by,
            wall,
        }
    }

    /// The choice; None if nobody has chosen yet.
    ///
    /// # Errors
    /// [`StoreError::Choice`], [`StoreError::Disk`].
    pub(super) fn read(disk: &impl Disk) -> Result<Option<Self>, StoreError> {
        let bytes = disk.read(CHOICE).map_err(|source| StoreError::Disk {
            action: "reading which product is chosen".into(),
            source,
        })?;
        let Some(bytes) = bytes else {
            return Ok(None);
        };
        let json = sealed::open(&bytes).map_err(|why| StoreError::Choice(why.to_owned()))?;
        let choice: Self =
            serde_json::from_str(json).map_err(|e| StoreError::Choice(e.to_string()))?;
        if choice.format != FORMAT {
            let format = choice.format;
            return Err(StoreError::Choice(format!(
                "format {format}, and this program knows format {FORMAT}"
            )));
        }
        Ok(Some(choice))
    }

    /// Brings the choice to the disk.
    ///
    /// # Errors
    /// [`StoreError::Disk`]; the choice is then the one before, or this one.
    pub(super) fn write(&self, disk: &mut impl Disk) -> Result<(), StoreError> {
        let bytes = sealed::seal(self).map_err(|e| StoreError::Choice(e.to_string()))?;
        let mut write = || -> io::Result<()> {
            match disk.remove(CHOICE_NEW) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            disk.create(CHOICE_NEW)?;
            disk.write(CHOICE_NEW, 0, &bytes)?;
            disk.sync(CHOICE_NEW)?;
            disk.rename(CHOICE_NEW, CHOICE)?;
            disk.sync_folder()
        };
        write().map_err(|source| StoreError::Disk {
            action: "writing which product is chosen".into(),
            source,
        })
    }
}
