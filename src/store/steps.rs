//! The steps of the store, each of them all or nothing.

use super::StoreError;
use super::disk::Disk;
use super::head::Head;
use super::history::{self, Entry, Event, HISTORY, Records};
use super::state::{Held, Identity, STATE, STATE_NEW, Slot, SlotState, State};
use super::trial::Trial;
use crate::record::Utc;
use std::io;
use std::time::SystemTime;

/// Bytes per write of a bundle.
#[cfg(not(test))]
const CHUNK: usize = 1 << 20;
#[cfg(test)]
const CHUNK: usize = 24;

/// Who takes a step, for the history.
#[derive(Clone, Debug)]
pub struct Who {
    /// A person, or the line.
    pub name: String,
    /// The wall clock.
    pub wall: SystemTime,
}

impl Who {
    /// `name`, now.
    pub fn now(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            wall: SystemTime::now(),
        }
    }
}

/// What [`Store::install`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Installed {
    /// The product is on trial in this slot.
    Trial(Slot),
    /// It was active before; nothing was changed.
    Already(Slot),
}

/// A store that was opened.
#[derive(Debug)]
pub struct Store<D> {
    disk: D,
    state: State,
    /// Whether the state is on the disk. A new store has none.
    written: bool,
}

fn disk_error(action: impl Into<String>) -> impl FnOnce(io::Error) -> StoreError {
    let action = action.into();
    move |source| StoreError::Disk { action, source }
}

impl<D: Disk> Store<D> {
    /// Reads the state. A folder without files is a new store.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(disk: D) -> Result<Self, StoreError> {
        let read = disk.read(STATE).map_err(disk_error("reading the state"))?;
        let (state, written) = match read {
            Some(bytes) => (State::decode(&bytes)?, true),
            None => {
                let names = disk.list().map_err(disk_error("reading the folder"))?;
                // A first step that was cut leaves none of these before it leaves a state.
                let ours = |name: &String| name == HISTORY || name.starts_with("slot-");
                if let Some(name) = names.into_iter().find(ours) {
                    return Err(StoreError::NoState(name));
                }
                (State::default(), false)
            }
        };
        Ok(Self {
            disk,
            state,
            written,
        })
    }

    /// What the store knows.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The history, as far as it is whole.
    ///
    /// # Errors
    /// [`StoreError::Disk`].
    pub fn history(&self) -> Result<Records, StoreError> {
        Records::read(&self.disk, &self.state.history).map_err(disk_error("reading the history"))
    }

    /// The bundle in a slot, which is what was written there.
    ///
    /// # Errors
    /// [`StoreError::Slot`], [`StoreError::Disk`].
    pub fn bundle(&self, slot: Slot) -> Result<Vec<u8>, StoreError> {
        let bad = |problem: &str| StoreError::Slot {
            slot,
            problem: problem.into(),
        };
        let held = self.state.held(slot).ok_or_else(|| bad("it is empty"))?;
        let name = slot.file(&held.identity.digest);
        let read = self.disk.read(&name);
        let bytes = read.map_err(disk_error(format!("reading {name}")))?;
        let bytes = bytes.ok_or_else(|| bad("its file is missing"))?;
        if blake3::hash(&bytes).to_hex().as_str() != held.identity.digest {
            return Err(bad("its file is damaged"));
        }
        Ok(bytes)
    }

    /// Puts a product into the slot that is not active, lets it prove itself on the copy there, and
    /// makes it active, on trial. `prove` gets the bytes as they were read back.
    ///
    /// # Errors
    /// [`StoreError`]; the active product is as before.
    pub fn install(
        &mut self,
        identity: Identity,
        bytes: &[u8],
        allow_downgrade: bool,
        who: &Who,
        prove: impl FnOnce(&[u8]) -> Result<(), String>,
    ) -> Result<Installed, StoreError> {
        if let Some((slot, held)) = self.state.active()
            && held.identity.digest == identity.digest
            && self.bundle(slot).is_ok()
        {
            return Ok(Installed::Already(slot));
        }
        if self.state.trial().is_some()
            && let Some((_, held)) = self.state.active()
        {
            return Err(StoreError::TrialRuns {
                product: held.identity.product.clone(),
                revision: held.identity.revision,
            });
        }
        let floor = self.state.floors.get(&identity.product).copied();
        let lower = floor.filter(|&floor| identity.revision < floor);
        if let Some(floor) = lower.filter(|_| !allow_downgrade) {
            let error = StoreError::Downgrade {
                product: identity.product.clone(),
                revision: identity.revision,
                floor,
            };
            self.refused(identity, error.to_string(), who)?;
            return Err(error);
        }
        self.begin()?;
        let slot = self.state.active.map_or(Slot::A, Slot::other);
        let name = slot.file(&identity.digest);
        if let Err(error) = self.put(slot, &name, bytes, prove) {
            let unproven = matches!(error, StoreError::Unproven(_));
            self.tidy();
            if unproven {
                self.refused(identity, error.to_string(), who)?;
            }
            return Err(error);
        }
        let why = lower
            .map(|floor| format!("--allow-downgrade: revision {floor} was confirmed here before"));
        let mut next = self.state.clone();
        next.active = Some(slot);
        *next.place(slot) = Some(Held {
            identity: identity.clone(),
            state: SlotState::Trial(Trial::default()),
            unknown: None,
        });
        let entry = entry(Event::Installed, Some(slot), Some(identity), why, who);
        self.commit(next, Some(entry))?;
        self.tidy();
        Ok(Installed::Trial(slot))
    }

    /// Writes a product's file, reads it back and lets it prove itself.
    fn put(
        &mut self,
        slot: Slot,
        name: &str,
        bytes: &[u8],
        prove: impl FnOnce(&[u8]) -> Result<(), String>,
    ) -> Result<(), StoreError> {
        let used = self.state.file(slot).is_some_and(|used| used == name);
        let sound = used && self.bundle(slot).is_ok();
        if !sound {
            self.write_file(name, bytes, CHUNK)?;
            self.sync_folder()?;
        }
        let copy = self.disk.read(name);
        let copy = copy.map_err(disk_error(format!("reading {name} back")))?;
        match copy {
            Some(copy) if copy == bytes => prove(&copy).map_err(StoreError::Unproven),
            _ => Err(StoreError::Slot {
                slot,
                problem: "the disk gives back other bytes than were written; the disk is failing"
                    .into(),
            }),
        }
    }

    /// Notes that a product was refused. The slots stay as they are.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn refused(
        &mut self,
        identity: Identity,
        why: String,
        who: &Who,
    ) -> Result<(), StoreError> {
        let entry = entry(Event::Refused, None, Some(identity), Some(why), who);
        self.commit(self.state.clone(), Some(entry))
    }

    /// Ends the trial: the product is confirmed, and older revisions of it are refused from now on.
    ///
    /// # Errors
    /// [`StoreError::NoTrial`] and others.
    pub fn confirm(&mut self, why: Option<String>, who: &Who) -> Result<(), StoreError> {
        let Some((slot, held)) = self.state.active().filter(|_| self.state.trial().is_some())
        else {
            return Err(StoreError::NoTrial);
        };
        let (identity, unknown) = (held.identity.clone(), held.unknown);
        let mut next = self.state.clone();
        let floor = next.floors.entry(identity.product.clone()).or_default();
        *floor = identity.revision.max(*floor);
        *next.place(slot) = Some(Held {
            identity: identity.clone(),
            state: SlotState::Confirmed,
            unknown,
        });
        let entry = entry(Event::Confirmed, Some(slot), Some(identity), why, who);
        self.commit(next, Some(entry))
    }

    /// A person sets the UNKNOWN threshold of the active product on this board; None: its own counts
    /// again. Whether the product allows it is the caller's question. False: it is so already.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set_threshold(
        &mut self,
        unknown: Option<f32>,
        why: String,
        who: &Who,
    ) -> Result<bool, StoreError> {
        let Some((slot, held)) = self.state.active() else {
            return Err(StoreError::Empty);
        };
        if held.unknown == unknown {
            return Ok(false);
        }
        let mut changed = held.clone();
        changed.unknown = unknown;
        let identity = changed.identity.clone();
        let mut next = self.state.clone();
        *next.place(slot) = Some(changed);
        let event = match unknown {
            Some(_) => Event::ThresholdSet,
            None => Event::ThresholdRestored,
        };
        let entry = entry(event, Some(slot), Some(identity), Some(why), who);
        self.commit(next, Some(entry))?;
        Ok(true)
    }

    /// Notes that a person chose this product, of several, to run from now on.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn chosen(&mut self, why: Option<String>, who: &Who) -> Result<(), StoreError> {
        let Some((slot, held)) = self.state.active() else {
            return Err(StoreError::Empty);
        };
        let identity = held.identity.clone();
        let entry = entry(Event::Chosen, Some(slot), Some(identity), why, who);
        self.commit(self.state.clone(), Some(entry))
    }

    /// A person goes back to the other product. A product on trial is given up by this.
    ///
    /// # Errors
    /// [`StoreError::NoOther`] and others.
    pub fn rollback(&mut self, why: Option<String>, who: &Who) -> Result<Slot, StoreError> {
        let on_trial = self.state.trial().is_some();
        let bad = on_trial.then(|| match &why {
            Some(why) => format!("rolled back by {}: {why}", who.name),
            None => format!("rolled back by {}", who.name),
        });
        self.go_back(Event::RolledBack, bad, why, who)
    }

    /// The board goes back by itself and gives the active product up.
    ///
    /// # Errors
    /// [`StoreError::NoOther`] if the other slot holds nothing to return to. A product on trial is
    /// given up all the same; then no product is active.
    pub fn give_up(&mut self, why: String, who: &Who) -> Result<Slot, StoreError> {
        match self.go_back(Event::Returned, Some(why.clone()), Some(why.clone()), who) {
            Err(StoreError::NoOther(other)) if self.state.trial().is_some() => {
                let Some((slot, held)) = self.state.active() else {
                    return Err(StoreError::Empty);
                };
                let identity = held.identity.clone();
                let mut next = self.state.clone();
                next.active = None;
                *next.place(slot) = Some(Held {
                    identity: identity.clone(),
                    state: SlotState::Bad {
                        reason: why.clone(),
                    },
                    unknown: None,
                });
                let entry = entry(Event::Returned, Some(slot), Some(identity), Some(why), who);
                self.commit(next, Some(entry))?;
                Err(StoreError::NoOther(other))
            }
            other => other,
        }
    }

    fn go_back(
        &mut self,
        event: Event,
        bad: Option<String>,
        why: Option<String>,
        who: &Who,
    ) -> Result<Slot, StoreError> {
        let Some((from, held)) = self.state.active() else {
            return Err(StoreError::Empty);
        };
        let to = from.other();
        match self.state.held(to).map(|held| &held.state) {
            Some(SlotState::Confirmed) => {}
            Some(SlotState::Bad { reason }) => {
                return Err(StoreError::NoOther(format!("it was given up: {reason}")));
            }
            Some(SlotState::Trial(_)) => {
                return Err(StoreError::NoOther("it was never confirmed".into()));
            }
            None => return Err(StoreError::NoOther("it is empty".into())),
        }
        if let Err(error) = self.bundle(to) {
            return Err(StoreError::NoOther(error.to_string()));
        }
        let left = held.clone();
        let mut next = self.state.clone();
        next.active = Some(to);
        if let Some(reason) = bad {
            *next.place(from) = Some(Held {
                identity: left.identity.clone(),
                state: SlotState::Bad { reason },
                unknown: None,
            });
        }
        let entry = entry(event, Some(to), Some(left.identity), why, who);
        self.commit(next, Some(entry))?;
        Ok(to)
    }

    /// Changes what the trial has done so far. Nothing happens without a trial. No entry is made.
    ///
    /// # Errors
    /// [`StoreError::Disk`].
    pub fn note(&mut self, change: impl FnOnce(&mut Trial)) -> Result<(), StoreError> {
        let mut next = self.state.clone();
        let Some(active) = next.active else {
            return Ok(());
        };
        let Some(Held {
            state: SlotState::Trial(trial),
            ..
        }) = next.place(active)
        else {
            return Ok(());
        };
        change(trial);
        self.commit(next, None)
    }

    /// Brings a new store's first state to the disk and removes what a cut step left.
    fn begin(&mut self) -> Result<(), StoreError> {
        self.tidy();
        if !self.written {
            self.write_state(self.state.clone())?;
        }
        Ok(())
    }

    /// Removes files that the state does not name. What cannot be removed takes room and does no
    /// harm.
    fn tidy(&mut self) {
        let named: Vec<String> = Slot::ALL
            .into_iter()
            .filter_map(|slot| self.state.file(slot))
            .collect();
        for name in self.disk.list().unwrap_or_default() {
            if name == STATE_NEW || (name.starts_with("slot-") && !named.contains(&name)) {
                let _ = self.disk.remove(&name);
            }
        }
    }

    /// The whole of a step: its entry, then the state.
    fn commit(&mut self, mut next: State, entry: Option<Entry>) -> Result<(), StoreError> {
        if let Some(entry) = entry {
            if !self.written {
                self.write_state(self.state.clone())?;
                next.sequence = self.state.sequence;
            }
            self.append(&mut next, entry)?;
        }
        self.write_state(next)
    }

    fn append(&mut self, next: &mut State, entry: Entry) -> Result<(), StoreError> {
        let failed = || disk_error("writing the history");
        let records = self.history()?;
        let mut there = records.file_bytes;
        if let Some(fault) = records.fault {
            // It stays readable for whoever wants to know what happened to it.
            let aside = format!("history.damaged-{}", next.sequence);
            if there.is_some() {
                self.disk.rename(HISTORY, &aside).map_err(failed())?;
            }
            there = None;
            next.history = Head::default();
            let about = Entry {
                event: Event::HistoryDamaged,
                slot: None,
                product: None,
                why: Some(format!("{fault}; the earlier entries are in {aside}")),
                ..entry.clone()
            };
            self.append_line(next, &mut there, about)?;
        }
        self.append_line(next, &mut there, entry)
    }

    fn append_line(
        &mut self,
        next: &mut State,
        there: &mut Option<u64>,
        entry: Entry,
    ) -> Result<(), StoreError> {
        let failed = || disk_error("writing the history");
        let (line, head) = history::line(&next.history, entry).map_err(failed())?;
        let new = next.history.bytes == 0;
        if new {
            // One that no state counts may have a name that a failed sync has left in doubt.
            if there.is_some() {
                self.disk.remove(HISTORY).map_err(failed())?;
            }
            self.disk.create(HISTORY).map_err(failed())?;
        } else if *there != Some(next.history.bytes) {
            let length = next.history.bytes;
            self.disk.truncate(HISTORY, length).map_err(failed())?;
        }
        let at = next.history.bytes;
        self.disk.write(HISTORY, at, &line).map_err(failed())?;
        self.disk.sync(HISTORY).map_err(failed())?;
        if new {
            self.sync_folder()?;
        }
        *there = Some(head.bytes);
        next.history = head;
        Ok(())
    }

    fn write_state(&mut self, mut next: State) -> Result<(), StoreError> {
        next.sequence += 1;
        let bytes = next.encode()?;
        self.write_file(STATE_NEW, &bytes, bytes.len())?;
        let renamed = self.disk.rename(STATE_NEW, STATE);
        renamed.map_err(disk_error("replacing the state"))?;
        // From here on every reader sees the new state, so this store must too, whatever the sync says.
        self.state = next;
        self.written = true;
        self.sync_folder()
    }

    /// A new file of `bytes`, on the disk. An old one of this name is removed and not overwritten:
    /// a disk that failed once may bring back old bytes of it.
    fn write_file(&mut self, name: &str, bytes: &[u8], chunk: usize) -> Result<(), StoreError> {
        let mut write = || -> io::Result<()> {
            match self.disk.remove(name) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            self.disk.create(name)?;
            let mut at = 0;
            for piece in bytes.chunks(chunk.max(1)) {
                self.disk.write(name, at, piece)?;
                at += piece.len() as u64;
            }
            self.disk.sync(name)
        };
        write().map_err(disk_error(format!("writing {name}")))
    }

    fn sync_folder(&mut self) -> Result<(), StoreError> {
        let synced = self.disk.sync_folder();
        synced.map_err(disk_error("bringing the folder to the disk"))
    }

    /// The disk behind it.
    #[cfg(test)]
    pub(super) fn disk(&self) -> &D {
        &self.disk
    }

    /// The disk behind it.
    #[cfg(test)]
    pub(super) fn into_disk(self) -> D {
        self.disk
    }
}

fn entry(
    event: Event,
    slot: Option<Slot>,
    product: Option<Identity>,
    why: Option<String>,
    who: &Who,
) -> Entry {
    Entry {
        n: 0,
        event,
        wall: Utc::from(who.wall).to_string(),
        by: who.name.clone(),
        slot,
        product,
        why,
    }
}
