//! Which product a line starts with, and what becomes of it in the store.
//!
//! A product on trial that cannot start is given up, and the line starts with the other one. Only
//! counts decide, never the wall clock.

use crate::config::{LineConfig, ProductPlace, ProductPlaceError, StorePlace, StoreSettings};
use crate::keys::Origin;
use crate::product::{self, Product};
use crate::store::{Current, Folder, Slot, Store, StoreError, StoreLock, TrialEnd, Who};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;
use thiserror::Error;

/// Another command can hold the store while it proves a product.
const PATIENCE: Duration = Duration::from_secs(60);
/// Who is named in the history if the board acts by itself.
const LINE: &str = "the line";

/// Why a line has no product to start with.
#[derive(Debug, Error)]
pub enum ChoiceError {
    /// The bundle cannot be read.
    #[error(transparent)]
    Place(#[from] ProductPlaceError),
    /// The bundle is refused.
    #[error("{name}: refused")]
    Refused {
        /// The file.
        name: String,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The store cannot be used.
    #[error("{}: the store gives no product", folder.display())]
    Store {
        /// Folder of the store.
        folder: PathBuf,
        /// The cause.
        source: StoreError,
    },
    /// Neither slot holds a product that can start.
    #[error("{}: {why}, and there is no other product: {source}", folder.display())]
    NoOther {
        /// Folder of the store.
        folder: PathBuf,
        /// What is wrong with the active product.
        why: String,
        /// What is wrong with the other one.
        source: StoreError,
    },
}

/// The product that a line starts with.
#[derive(Debug)]
pub struct Chosen {
    /// Its file.
    pub path: PathBuf,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The UNKNOWN threshold that was set on this board; None: its own.
    pub unknown: Option<f32>,
}

/// A store that nobody else changes meanwhile.
struct Held {
    folder: PathBuf,
    store: Store<Folder>,
    _lock: StoreLock,
}

impl Held {
    fn take(folder: &Path, patience: Duration) -> Result<Self, StoreError> {
        let lock = StoreLock::take(folder, patience)?;
        Ok(Self {
            folder: folder.to_path_buf(),
            store: Store::open(Folder::new(folder))?,
            _lock: lock,
        })
    }

    /// Gives the active product up and says so.
    fn give_up(&mut self, why: &str) -> Result<Slot, StoreError> {
        let name = self.store.state().active();
        let name = name.map_or_else(String::new, |(_, held)| held.identity.to_string());
        let slot = self.store.give_up(why.to_owned(), &Who::now(LINE));
        match &slot {
            Ok(slot) => log::error!(
                "{}: {name} is given up: {why}; the line returns to slot {slot}",
                self.folder.display()
            ),
            Err(error) => log::error!("{}: {name}: {why}: {error}", self.folder.display()),
        }
        slot
    }
}

/// The product for the next start of the line. In a store it counts as one more start of a trial, and
/// a trial that is over ends here.
///
/// # Errors
/// [`ChoiceError`].
pub fn choose(config: &LineConfig) -> Result<Chosen, ChoiceError> {
    match &config.product {
        ProductPlace::File(path) => {
            let (_, bytes) = config.product.read()?;
            judged(config, &bytes).map_err(|source| ChoiceError::Refused {
                name: path.display().to_string(),
                source,
            })?;
            Ok(Chosen {
                path: path.clone(),
                bytes,
                unknown: None,
            })
        }
        ProductPlace::Store(place) => choose_among(config, place),
    }
}

/// Whether the bytes are a bundle that this line accepts.
fn judged(config: &LineConfig, bytes: &[u8]) -> Result<Origin, Box<dyn Error + Send + Sync>> {
    let (_, signature) = product::check(bytes)?;
    config.judge(&signature)
}

/// The chosen one of several products. If it cannot start, the one before, with which no part passes
/// until somebody chooses.
fn choose_among(config: &LineConfig, place: &StorePlace) -> Result<Chosen, ChoiceError> {
    let of_store = |source| ChoiceError::Store {
        folder: place.settings.folder.clone(),
        source,
    };
    loop {
        let current = place.products.current().map_err(of_store)?;
        let error = match choose_in(config, &place.settings, &current) {
            Ok(chosen) => return Ok(chosen),
            Err(error) => error,
        };
        let why = crate::causes::causes(&error).join(": ");
        // It has none before after this, so that this ends.
        match place.products.fall_back(&why, &Who::now(LINE)) {
            Ok(Some(before)) => log::error!("{why}; the line returns to {before}, and waits"),
            Ok(None) => return Err(error),
            Err(other) => {
                log::error!("{}", crate::causes::causes(&other).join(": "));
                return Err(error);
            }
        }
    }
}

/// The product in one store.
fn choose_in(
    config: &LineConfig,
    settings: &StoreSettings,
    current: &Current,
) -> Result<Chosen, ChoiceError> {
    let folder = &current.folder;
    let of_store = |source| ChoiceError::Store {
        folder: folder.clone(),
        source,
    };
    let mut held = Held::take(folder, PATIENCE).map_err(of_store)?;
    // Each pass gives a product up, and there are two.
    for _ in 0..=Slot::ALL.len() {
        held.store
            .note(|trial| trial.starts += 1)
            .map_err(of_store)?;
        let on_trial = held.store.state().trial().copied();
        let (slot, active) = held
            .store
            .state()
            .active()
            .ok_or_else(|| of_store(StoreError::Empty))?;
        if let Some(wanted) = current
            .name
            .as_ref()
            .filter(|n| **n != active.identity.product)
        {
            return Err(of_store(StoreError::OtherName {
                wanted: wanted.clone(),
                held: active.identity.product.clone(),
            }));
        }
        let unknown = active.unknown;
        let over = match on_trial.and_then(|trial| trial.end(&settings.limits())) {
            Some(TrialEnd::Return(why)) => Some(why),
            // The line confirms while it runs.
            Some(TrialEnd::Confirm) | None => None,
        };
        let why = match over {
            Some(why) => why,
            None => match held.store.bundle(slot) {
                Err(error) => error.to_string(),
                Ok(bytes) => match judged(config, &bytes) {
                    Ok(_) => {
                        let file = held.store.state().file(slot).unwrap_or_default();
                        return Ok(Chosen {
                            path: folder.join(file),
                            bytes,
                            unknown,
                        });
                    }
                    // Whose products are accepted is a question of the configuration. A confirmed
                    // product is not given up because of it.
                    Err(source) if on_trial.is_none() => {
                        let name = format!("slot {slot} of {}", folder.display());
                        return Err(ChoiceError::Refused { name, source });
                    }
                    Err(refusal) => format!("failed start: {refusal}"),
                },
            },
        };
        held.give_up(&why).map_err(|source| ChoiceError::NoOther {
            folder: folder.clone(),
            why,
            source,
        })?;
    }
    Err(of_store(StoreError::Empty))
}

/// The store of the product that runs; None: the line runs a file.
fn store_of(config: &LineConfig) -> Option<Result<(&StorePlace, Current), StoreError>> {
    match &config.product {
        ProductPlace::File(_) => None,
        ProductPlace::Store(place) => Some(place.products.current().map(|now| (&**place, now))),
    }
}

/// False, and says why.
fn failed(error: &StoreError) -> bool {
    log::error!("{}", crate::causes::causes(error).join(": "));
    false
}

/// Gives up the product that could not start and has this digest. False: the store cannot help, or the
/// line runs a file.
///
/// A confirmed product is given up only if there is another one.
pub fn give_up(config: &LineConfig, digest: &blake3::Hash, why: &str) -> bool {
    let Some(current) = store_of(config) else {
        return false;
    };
    let given_up = || {
        let (_, current) = current?;
        let mut held = Held::take(&current.folder, PATIENCE)?;
        let active = held.store.state().active();
        if active.is_none_or(|(_, held)| held.identity.digest != digest.to_hex().as_str()) {
            // Somebody has switched meanwhile.
            return Ok(true);
        }
        held.give_up(why).map(|_| true)
    };
    given_up().unwrap_or_else(|error: StoreError| failed(&error))
}

/// Returns from the chosen one of several products to the one before, because it could not start. No
/// part passes with that until somebody chooses. False: there is none.
pub fn fall_back(config: &LineConfig, why: &str) -> bool {
    let Some(products) = config.products() else {
        return false;
    };
    match products.fall_back(why, &Who::now(LINE)) {
        Ok(Some(before)) => {
            log::error!("{why}; the line returns to {before}, and waits until somebody chooses");
            true
        }
        Ok(None) => false,
        Err(error) => failed(&error),
    }
}

/// Whether the product that runs is on trial.
pub fn on_trial(config: &LineConfig) -> bool {
    let Some(Ok((_, current))) = store_of(config) else {
        return false;
    };
    let store = Store::open(Folder::new(&current.folder));
    store.is_ok_and(|store| store.state().trial().is_some())
}

/// Counts a restart of the vision process in a trial. True: the trial is over by this, and another
/// product is to run.
pub fn note_restart(config: &LineConfig) -> bool {
    let Some(current) = store_of(config) else {
        return false;
    };
    let noted = || {
        let (place, current) = current?;
        let mut held = Held::take(&current.folder, PATIENCE)?;
        held.store.note(|trial| trial.restarts += 1)?;
        let trial = held.store.state().trial().copied();
        match trial.and_then(|trial| trial.end(&place.settings.limits())) {
            Some(TrialEnd::Return(why)) => held.give_up(&why).map(|_| true),
            _ => Ok(false),
        }
    };
    noted().unwrap_or_else(|error: StoreError| failed(&error))
}

/// The product in `bytes`, and where it comes from, by the keys that are trusted now.
///
/// # Errors
/// What is wrong with the bundle, or a refusal.
pub fn open_accepted(
    config: &LineConfig,
    bytes: Vec<u8>,
) -> Result<(Product, Origin), Box<dyn Error + Send + Sync>> {
    let product = Product::from_bytes(bytes, &config.product.to_string())?;
    let origin = config.judge(product.signature())?;
    Ok((product, origin))
}
