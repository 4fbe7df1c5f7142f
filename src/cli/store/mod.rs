//! The commands on the store: `install`, `choose`, `confirm`, `rollback`, `threshold`, `store`, `history`.

mod choose;
mod install;
mod show;
mod threshold;
mod trial;

pub(super) use choose::{ChooseArguments, choose};
pub(super) use install::Arguments as InstallArguments;
pub(super) use install::run as install;
pub(super) use show::{HistoryArguments, StoreArguments, history, store};
pub(super) use threshold::{ThresholdArguments, threshold};
pub(super) use trial::{ConfirmArguments, RollbackArguments, confirm, rollback};

use super::failure::Failure;
use clap::Args;
use partgate::config::{LineConfig, ProductPlace};
use partgate::keys::TrustPolicy;
use partgate::store::{self, Folder, Products, Store, StoreError, StoreLock, Who};
use std::path::{Path, PathBuf};
use std::time::Duration;
use thiserror::Error;

/// How long a command waits for another one.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which store, for every command on one.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// The line's configuration: its [store], and with `install` also its keys, board, camera and
    /// times
    #[arg(long, value_name = "FILE", conflicts_with = "store")]
    line: Option<PathBuf>,
    /// Folder of the store [default: /var/lib/partgate]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// On a line with several products: which one is meant [default: the one that runs; with
    /// `install` the one in the bundle]
    #[arg(long, value_name = "NAME")]
    product: Option<String>,
}

#[derive(Debug, Error)]
enum PlaceError {
    #[error(
        "{}: this line runs a bundle file (`product = ...`), not a store; replace that by the section [store], or name a folder with --store", .0.display()
    )]
    NoStore(PathBuf),
    #[error(
        "--product: this store holds one product; several are named in the key store.products of a line's configuration (--line)"
    )]
    OneProduct,
}

impl Place {
    fn config(&self) -> Result<Option<LineConfig>, Failure> {
        let open = |path: &PathBuf| LineConfig::open(path).map_err(Failure::input);
        self.line.as_ref().map(open).transpose()
    }

    /// The products of the line, or those that are in the folder.
    fn products(&self, config: Option<&LineConfig>) -> Result<Products, Failure> {
        let found = |folder: &Path| Products::found(folder).map_err(refused);
        match (&self.store, config) {
            (Some(folder), _) => found(folder),
            (None, None) => found(Path::new(store::FOLDER)),
            (None, Some(config)) => match &config.product {
                ProductPlace::Store(place) => Ok(place.products.clone()),
                ProductPlace::File(_) => {
                    Err(Failure::input(PlaceError::NoStore(config.file.clone())))
                }
            },
        }
    }

    /// The folder of the store that is meant.
    fn folder(&self, config: Option<&LineConfig>) -> Result<PathBuf, Failure> {
        self.folder_among(&self.products(config)?)
    }

    fn folder_among(&self, products: &Products) -> Result<PathBuf, Failure> {
        match &self.product {
            Some(name) if products.several() => products.store_of(name).map_err(refused),
            Some(_) => Err(Failure::input(PlaceError::OneProduct)),
            None => Ok(products.current().map_err(refused)?.folder),
        }
    }

    /// The store, which nobody else changes until both values are dropped.
    fn take(&self) -> Result<(Store<Folder>, StoreLock), Failure> {
        let config = self.config()?;
        take(&self.folder(config.as_ref())?)
    }
}

/// What a command accepts besides production keys.
#[derive(Debug, Args)]
pub(crate) struct Allowed {
    /// Accept a product that nobody signed. Every output, page, metric and log entry says so
    #[arg(long)]
    allow_unsigned: bool,
    /// Accept a product that a test key signed
    #[arg(long)]
    allow_test_key: bool,
}

impl Allowed {
    fn policy(&self, config: Option<&LineConfig>) -> TrustPolicy {
        let of_line = config
            .map(|config| config.trust.policy())
            .unwrap_or_default();
        TrustPolicy {
            allow_unsigned: self.allow_unsigned || of_line.allow_unsigned,
            allow_test_keys: self.allow_test_key || of_line.allow_test_keys,
        }
    }
}

/// Who gives the command, for the history.
#[derive(Debug, Args)]
pub(crate) struct By {
    /// Who does it, for the history [default: the user]
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
}

impl By {
    fn who(&self) -> Who {
        Who::now(user(self.by.as_ref()))
    }
}

/// The name that was given, or that of the user.
pub(crate) fn user(given: Option<&String>) -> String {
    let names = ["SUDO_USER", "USER", "LOGNAME"];
    let user = || names.into_iter().find_map(|name| std::env::var(name).ok());
    let number = || format!("user {}", rustix_uid());
    given.cloned().or_else(user).unwrap_or_else(number)
}

/// The user's number; the program asks the kernel, because a name can be anything.
fn rustix_uid() -> u32 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").map_or(u32::MAX, |own| own.uid())
}

/// The store, which nobody else changes until both values are dropped.
fn take(folder: &Path) -> Result<(Store<Folder>, StoreLock), Failure> {
    let lock = StoreLock::take(folder, PATIENCE).map_err(refused)?;
    let store = Store::open(Folder::new(folder)).map_err(refused)?;
    Ok((store, lock))
}

/// The failure of a step: of the product, or of the store.
fn refused(error: StoreError) -> Failure {
    match error {
        StoreError::Unproven(_) | StoreError::Downgrade { .. } => Failure::bundle(error),
        StoreError::Disk { .. } => Failure::unexpected(error),
        _ => Failure::input(error),
    }
}
