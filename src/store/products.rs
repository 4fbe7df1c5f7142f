//! Several products on one board. Each has a store of its own, with two slots, trial, floor and history,
//! in the folder `products/NAME`; the file `chosen` says which of them runs.

use super::StoreError;
use super::choice::{Choice, Refused};
use super::folder::{Folder, StoreLock};
use super::state::{Identity, State};
use super::steps::{Store, Who};
use crate::record::Utc;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Folder of the products' stores.
const PRODUCTS: &str = "products";
/// Longest name of a product with a store of its own, bytes.
const LONGEST: usize = 64;
/// How long the file of the choice can be in use by another process.
const PATIENCE: Duration = Duration::from_secs(5);

/// Who may choose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Chooser {
    /// A person, by command.
    #[default]
    Person,
    /// The configuration, which names the product.
    Configuration(String),
    /// The recipe inputs of the line.
    Inputs,
}

/// The products of one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Products {
    folder: PathBuf,
    /// By recipe number, from 1; empty if the number is no product. No names: the folder is the store of
    /// the only product.
    names: Vec<String>,
    chooser: Chooser,
}

/// The product that runs, and its store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Current {
    /// Its name; None if the line has one product only.
    pub name: Option<String>,
    /// Folder of its store.
    pub folder: PathBuf,
}

/// Whether a product can have a store of this name: its name in the manifest, as the name of a folder.
pub fn is_store_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let starts = name
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphanumeric());
    starts && name.len() <= LONGEST && name.bytes().all(plain)
}

impl Products {
    /// The products called `names`, in `folder`.
    pub fn new(folder: &Path, names: &[String], chooser: Chooser) -> Self {
        Self {
            folder: folder.to_path_buf(),
            names: names.to_vec(),
            chooser,
        }
    }

    /// What is in `folder`, for commands that know no configuration.
    ///
    /// # Errors
    /// [`StoreError::Disk`].
    pub fn found(folder: &Path) -> Result<Self, StoreError> {
        let inside = folder.join(PRODUCTS);
        let mut names = Vec::new();
        let entries = match std::fs::read_dir(&inside) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            other => Some(other.map_err(|source| StoreError::Disk {
                action: format!("reading {}", inside.display()),
                source,
            })?),
        };
        for entry in entries.into_iter().flatten().flatten() {
            names.extend(entry.file_name().into_string());
        }
        names.retain(|name| is_store_name(name));
        names.sort();
        Ok(Self::new(folder, &names, Chooser::Person))
    }

    /// Whether each product has a store of its own.
    pub fn several(&self) -> bool {
        !self.names.is_empty()
    }

    /// Whether the recipe inputs of the line choose.
    pub fn by_inputs(&self) -> bool {
        self.chooser == Chooser::Inputs
    }

    /// The folder of all.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names
            .iter()
            .map(String::as_str)
            .filter(|n| !n.is_empty())
    }

    /// The product with this recipe number.
    pub fn numbered(&self, number: u8) -> Option<&str> {
        let at = usize::from(number).checked_sub(1)?;
        let name = self.names.get(at)?;
        (!name.is_empty()).then_some(name)
    }

    /// The recipe number of a product.
    pub fn number_of(&self, name: &str) -> Option<u8> {
        let at = self.names.iter().position(|known| known == name)?;
        u8::try_from(at + 1).ok()
    }

    /// The folder of the store of a product.
    ///
    /// # Errors
    /// [`StoreError::UnknownProduct`].
    pub fn store_of(&self, name: &str) -> Result<PathBuf, StoreError> {
        if name.is_empty() || !self.names().any(|known| known == name) {
            return Err(self.unknown(name));
        }
        Ok(self.folder.join(PRODUCTS).join(name))
    }

    fn unknown(&self, name: &str) -> StoreError {
        StoreError::UnknownProduct {
            name: name.to_owned(),
            known: self.names().collect::<Vec<_>>().join(", "),
        }
    }

    /// The choice; None if nobody has chosen yet.
    ///
    /// # Errors
    /// [`StoreError::Choice`], [`StoreError::Disk`].
    pub fn choice(&self) -> Result<Option<Choice>, StoreError> {
        Choice::read(&Folder::new(&self.folder))
    }

    /// The product that runs. Where nobody has chosen, it is the only one that is installed; with recipe
    /// inputs the first one, which lets no part pass until the inputs ask for it.
    ///
    /// # Errors
    /// [`StoreError::NotChosen`] and others.
    pub fn current(&self) -> Result<Current, StoreError> {
        if !self.several() {
            return Ok(Current {
                name: None,
                folder: self.folder.clone(),
            });
        }
        let name = match (&self.chooser, self.choice()?) {
            (Chooser::Configuration(name), _) => name.clone(),
            (_, Some(choice)) => choice.product,
            (chooser, None) => {
                let installed = |name: &&str| {
                    let state = self.state_of(name);
                    state.is_ok_and(|state| state.active().is_some())
                };
                let mut there = self.names().filter(installed);
                match (there.next(), there.next(), chooser) {
                    (Some(first), None, _) | (Some(first), _, Chooser::Inputs) => first.to_owned(),
                    (None, ..) => return Err(StoreError::Empty),
                    (Some(_), Some(_), _) => return Err(StoreError::NotChosen),
                }
            }
        };
        let folder = self.store_of(&name)?;
        Ok(Current {
            name: Some(name),
            folder,
        })
    }

    /// The state of the store of a product.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn state_of(&self, name: &str) -> Result<State, StoreError> {
        let store = Store::open(Folder::new(&self.store_of(name)?))?;
        Ok(store.state().clone())
    }

    /// Whether nothing may pass until somebody chooses: something else was asked for than what runs, or
    /// the inputs choose and have not asked yet.
    ///
    /// # Errors
    /// As [`Products::choice`].
    pub fn unserved(&self) -> Result<bool, StoreError> {
        match self.chooser {
            Chooser::Configuration(_) => Ok(false),
            Chooser::Inputs | Chooser::Person if !self.several() => Ok(false),
            Chooser::Inputs => Ok(self.choice()?.is_none_or(|choice| choice.unserved)),
            Chooser::Person => Ok(self.choice()?.is_some_and(|choice| choice.unserved)),
        }
    }

    /// A person chooses the product that runs from now on. A running line takes it between two parts.
    ///
    /// # Errors
    /// [`StoreError`]; the choice is as before.
    pub fn choose(&self, name: &str, why: Option<String>, who: &Who) -> Result<(), StoreError> {
        match &self.chooser {
            Chooser::Person => {}
            Chooser::Configuration(fixed) => return Err(StoreError::Fixed(fixed.clone())),
            Chooser::Inputs => return Err(StoreError::ByInputs),
        }
        self.whole(name)?;
        let folder = self.store_of(name)?;
        let _lock = StoreLock::take(&self.folder, PATIENCE)?;
        {
            let _lock = StoreLock::take(&folder, PATIENCE)?;
            Store::open(Folder::new(&folder))?.chosen(why, who)?;
        }
        self.put(name, who)
    }

    /// The recipe inputs choose the product that runs from now on. It is no entry of a history: a PLC
    /// can do it at any time, and the event log has it.
    ///
    /// # Errors
    /// [`StoreError`]; the choice is as before.
    pub fn choose_by_inputs(&self, name: &str, who: &Who) -> Result<(), StoreError> {
        self.whole(name)?;
        let _lock = StoreLock::take(&self.folder, PATIENCE)?;
        self.put(name, who)
    }

    /// The first product that is installed is chosen, unless somebody chose before.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn choose_first(&self, name: &str, who: &Who) -> Result<(), StoreError> {
        if self.chooser != Chooser::Person || !self.several() {
            return Ok(());
        }
        let _lock = StoreLock::take(&self.folder, PATIENCE)?;
        match self.choice()? {
            Some(_) => Ok(()),
            None => self.put(name, who),
        }
    }

    /// The active product of this name, which is whole.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn whole(&self, name: &str) -> Result<Identity, StoreError> {
        let store = Store::open(Folder::new(&self.store_of(name)?))?;
        let Some((slot, held)) = store.state().active() else {
            return Err(StoreError::NotInstalled(name.to_owned()));
        };
        store.bundle(slot)?;
        Ok(held.identity.clone())
    }

    fn put(&self, name: &str, who: &Who) -> Result<(), StoreError> {
        let before = match self.choice() {
            Ok(Some(choice)) if choice.product == name => choice.before,
            Ok(Some(choice)) => Some(choice.product),
            // A damaged choice is replaced: this is how a person repairs it.
            Ok(None) | Err(StoreError::Choice(_)) => None,
            Err(error) => return Err(error),
        };
        let choice = Choice::new(
            name,
            before,
            who.name.clone(),
            Utc::from(who.wall).to_string(),
        );
        choice.write(&mut Folder::new(&self.folder))
    }

    /// The chosen product cannot start: the line returns to the one before, and no part passes until
    /// somebody chooses. The name of the one before; None if there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn fall_back(&self, why: &str, who: &Who) -> Result<Option<String>, StoreError> {
        if !self.several() || matches!(self.chooser, Chooser::Configuration(_)) {
            return Ok(None);
        }
        let _lock = StoreLock::take(&self.folder, PATIENCE)?;
        let Some(choice) = self.choice()? else {
            return Ok(None);
        };
        let Some(before) = choice.before.filter(|before| *before != choice.product) else {
            return Ok(None);
        };
        let state = self.state_of(&choice.product).ok();
        let digest = state.and_then(|s| Some(s.active()?.1.identity.digest.clone()));
        let wall = Utc::from(who.wall).to_string();
        let mut back = Choice::new(&before, None, who.name.clone(), wall);
        back.unserved = true;
        back.refused = Some(Refused {
            product: choice.product,
            digest,
            why: why.to_owned(),
        });
        back.write(&mut Folder::new(&self.folder))?;
        Ok(Some(before))
    }

    /// Notes whether what the recipe inputs asked for is what runs.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn note_unserved(&self, name: &str, unserved: bool, who: &Who) -> Result<(), StoreError> {
        let _lock = StoreLock::take(&self.folder, Duration::ZERO)?;
        let mut choice = match self.choice()? {
            Some(choice) if choice.product != name => return Ok(()),
            Some(choice) if choice.unserved == unserved => return Ok(()),
            Some(choice) => choice,
            None => Choice::new(
                name,
                None,
                who.name.clone(),
                Utc::from(who.wall).to_string(),
            ),
        };
        choice.unserved = unserved;
        if !unserved {
            choice.refused = None;
        }
        choice.write(&mut Folder::new(&self.folder))
    }
}
