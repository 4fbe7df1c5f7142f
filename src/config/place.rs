//! Where a line's product comes from: a file, or the store.

use crate::product::{Product, ProductError};
use crate::store::{Folder, Products, Store, StoreError, StoreSettings};
use std::fmt;
use std::path::PathBuf;
use thiserror::Error;

/// Where a line's product comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum ProductPlace {
    /// A bundle file.
    File(PathBuf),
    /// What is active in a store.
    Store(Box<StorePlace>),
}

/// A store, or several.
#[derive(Clone, Debug, PartialEq)]
pub struct StorePlace {
    /// The section `[store]`.
    pub settings: StoreSettings,
    /// The products of the line.
    pub products: Products,
}

/// Why a line has no product.
#[derive(Debug, Error)]
pub enum ProductPlaceError {
    /// The bundle cannot be used.
    #[error(transparent)]
    Product(#[from] ProductError),
    /// The store has none.
    #[error("{}: no product", folder.display())]
    Store {
        /// Folder of the store.
        folder: PathBuf,
        /// The cause.
        source: StoreError,
    },
}

impl ProductPlace {
    /// The bundle's bytes as they are now, and their file. Of a store the digest is checked too.
    ///
    /// # Errors
    /// [`ProductPlaceError`].
    pub fn read(&self) -> Result<(PathBuf, Vec<u8>), ProductPlaceError> {
        match self {
            Self::File(path) => Ok((path.clone(), Product::read(path)?)),
            Self::Store(place) => {
                let read = || {
                    let folder = place.products.current()?.folder;
                    let store = Store::open(Folder::new(&folder))?;
                    let (slot, _) = store.state().active().ok_or(StoreError::Empty)?;
                    let file = store.state().file(slot).unwrap_or_default();
                    Ok((folder.join(file), store.bundle(slot)?))
                };
                read().map_err(|source| ProductPlaceError::Store {
                    folder: place.settings.folder.clone(),
                    source,
                })
            }
        }
    }

    /// The product as it is now.
    ///
    /// # Errors
    /// [`ProductPlaceError`].
    pub fn open(&self) -> Result<Product, ProductPlaceError> {
        let (path, bytes) = self.read()?;
        Ok(Product::from_bytes(bytes, &path.display().to_string())?)
    }

    /// The key of the configuration that names it.
    pub(super) fn key(&self) -> &'static str {
        match self {
            Self::File(_) => "product",
            Self::Store(_) => "store.folder",
        }
    }
}

impl fmt::Display for ProductPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Store(place) => write!(f, "store {}", place.settings.folder.display()),
        }
    }
}
