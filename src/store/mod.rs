//! Which product this board runs: two slots, a state and a history.
//!
//! One slot is active. A new product goes into the other one, as a trial, so that there is always a
//! product to return to. Power can fail at any time: afterwards the store is as it was before the
//! step or after it, never between. This holds because of the order of the writes:
//!
//! 1. A bundle has a file of its own, named by its digest. It is on the disk before the state names it.
//! 2. An entry of the history is on the disk before the state counts it. What lies behind the counted
//!    entries is the rest of a step that did not happen.
//! 3. The state is written beside the old one and renamed over it. This is the moment of the switch.
//! 4. A file is removed only when the state on the disk does not name it any more.

mod choice;
mod disk;
mod folder;
mod head;
mod history;
mod products;
mod sealed;
mod settings;
mod state;
mod steps;
mod trial;

pub use choice::{Choice, Refused};
pub use disk::Disk;
pub use folder::{Folder, StoreLock};
pub use history::{Entry, Event, Records};
pub use products::{Chooser, Current, Products, is_store_name};
pub(crate) use settings::{RecipeRead, StoreRead};
pub use settings::{RecipeSettings, StoreSettings};
pub use state::{Held, Identity, Slot, SlotState, State};
pub use steps::{Installed, Store, Who};
pub use trial::{Trial, TrialEnd, TrialLimits};

use std::path::PathBuf;
use thiserror::Error;

/// Folder of the store if nobody names another.
pub const FOLDER: &str = "/var/lib/partgate";

/// Why a step of the store was not taken.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The system refuses something.
    #[error("the store: {action} failed; the active product is as before, or see `partgate store`")]
    Disk {
        /// What was attempted, with the file.
        action: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The folder cannot be locked.
    #[error("{}: cannot be locked; may this user write there? Run it with sudo", path.display())]
    Lock {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// Another command works on the store.
    #[error("{}: another command works on this store; wait for its end", path.display())]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// The state cannot be read.
    #[error(
        "the store's state is damaged ({0}), so that nobody knows which product is active and which revisions are too old; move the store's files away and install the product again"
    )]
    State(String),
    /// There is no state, but there are other files of a store.
    #[error(
        "the store has the file {0}, but its state is missing: somebody removed it, so that nobody knows which product is active; move the store's files away and install the product again"
    )]
    NoState(String),
    /// A file of a slot is not what was written there.
    #[error("slot {slot}: {problem}; install the product again")]
    Slot {
        /// The slot.
        slot: Slot,
        /// What is wrong.
        problem: String,
    },
    /// The choice cannot be read.
    #[error(
        "the file that says which product is chosen is damaged ({0}); choose one with `partgate choose NAME`"
    )]
    Choice(String),
    /// Several products are installed, and nobody has chosen.
    #[error(
        "several products are installed, and nobody has chosen one; choose with `partgate choose NAME`"
    )]
    NotChosen,
    /// A name that the line's configuration does not have.
    #[error(
        "{name:?} is no product of this line, which has {known}; add it to store.products of the line's configuration"
    )]
    UnknownProduct {
        /// The name.
        name: String,
        /// The names that the line has.
        known: String,
    },
    /// The product has no active slot.
    #[error("{0} is not installed here; install it with `partgate install FILE`")]
    NotInstalled(String),
    /// The configuration names the product.
    #[error(
        "the line's configuration says that {0} runs (store.product); change it there and restart the line, or remove the key"
    )]
    Fixed(String),
    /// The recipe inputs choose.
    #[error("the recipe inputs of the line choose its product; ask for it at the PLC")]
    ByInputs,
    /// The store holds another product than its name says.
    #[error("the store of {wanted} holds the product {held}; install {wanted} again")]
    OtherName {
        /// Name of the store.
        wanted: String,
        /// Name in the manifest.
        held: String,
    },
    /// No product is active.
    #[error("no product is active; install one with `partgate install FILE`")]
    Empty,
    /// A trial runs.
    #[error(
        "{product}, revision {revision}, is on trial; end the trial first, with `partgate confirm` or `partgate rollback`"
    )]
    TrialRuns {
        /// Name of the product.
        product: String,
        /// Its revision.
        revision: u32,
    },
    /// Nothing to confirm.
    #[error("no trial runs, so there is nothing to confirm; `partgate store` shows both slots")]
    NoTrial,
    /// Nothing to return to.
    #[error(
        "the other slot holds no sound product to return to ({0}); install one with `partgate install FILE`"
    )]
    NoOther(String),
    /// An older revision than this board had.
    #[error(
        "{product} has revision {revision}, but this board had revision {floor} confirmed; install a newer one, or insist with --allow-downgrade, which is logged"
    )]
    Downgrade {
        /// Name of the product.
        product: String,
        /// Its revision.
        revision: u32,
        /// The highest one that was confirmed.
        floor: u32,
    },
    /// The product did not prove itself on this board.
    #[error("not activated: {0}")]
    Unproven(String),
}

#[cfg(test)]
mod tests;
