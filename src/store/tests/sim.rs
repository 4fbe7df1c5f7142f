//! A disk in memory that knows what is synced and what is not.
//!
//! Every call makes effects. A sync of a file makes the effects on its bytes safe, a sync of the folder
//! those on names. After a cut, any of the other effects can be there, in any order.

use super::super::disk::Disk;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};

/// Bytes of a piece that survives as a whole, or not.
const SECTOR: usize = 192;
/// Effects whose every order is tried.
const ALL_ORDERS: usize = 5;

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Inode {
    bytes: Vec<u8>,
    length: usize,
}

impl Inode {
    fn content(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes.resize(self.length, 0);
        bytes
    }
}

/// Something that a call did and that may or may not be on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Effect {
    Link(String, usize),
    Unlink(String),
    Rename(String, String, usize),
    Bytes(usize, usize, Vec<u8>),
    Length(usize, usize),
}

impl Effect {
    /// The names that it changes.
    fn names(&self) -> Vec<&str> {
        match self {
            Self::Link(name, _) | Self::Unlink(name) => vec![name],
            Self::Rename(from, to, _) => vec![from, to],
            Self::Bytes(..) | Self::Length(..) => vec![],
        }
    }

    /// The file whose sync makes it safe; None: the folder's.
    fn inode(&self) -> Option<usize> {
        match self {
            Self::Bytes(inode, ..) | Self::Length(inode, _) => Some(*inode),
            _ => None,
        }
    }
}

/// What a disk holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Image {
    names: BTreeMap<String, usize>,
    inodes: Vec<Inode>,
}

impl Image {
    fn apply(&mut self, effect: &Effect) {
        match effect {
            Effect::Link(name, inode) => drop(self.names.insert(name.clone(), *inode)),
            Effect::Unlink(name) => drop(self.names.remove(name)),
            Effect::Rename(from, to, inode) => {
                if self.names.get(from) == Some(inode) {
                    self.names.remove(from);
                }
                self.names.insert(to.clone(), *inode);
            }
            Effect::Bytes(inode, at, bytes) => {
                let file = &mut self.inodes[*inode].bytes;
                let end = at + bytes.len();
                if file.len() < end {
                    file.resize(end, 0);
                }
                file[*at..end].copy_from_slice(bytes);
            }
            Effect::Length(inode, length) => {
                let file = &mut self.inodes[*inode];
                file.bytes.truncate(*length);
                file.length = *length;
            }
        }
    }

    /// Names and contents: all that a program can see.
    fn seen(&self) -> BTreeMap<String, Vec<u8>> {
        let content = |inode: &usize| self.inodes[*inode].content();
        self.names
            .iter()
            .map(|(name, inode)| (name.clone(), content(inode)))
            .collect()
    }
}

/// What happens at a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Power fails before the call.
    Cut,
    /// The call fails; half of a write has happened.
    Error(ErrorKind),
}

/// The disk.
#[derive(Clone, Debug, Default)]
pub(super) struct SimDisk {
    /// What a program sees while the power is on.
    now: Image,
    /// What is safe.
    safe: Image,
    /// What is not safe yet, in the order in which it happened.
    pending: Vec<Effect>,
    /// What a failed sync left: a later sync does not make it safe.
    doomed: Vec<Effect>,
    pub(super) calls: usize,
    /// Names of the calls so far.
    pub(super) log: Vec<String>,
    pub(super) fault: Option<(usize, Fault)>,
}

impl SimDisk {
    /// The same disk with nothing to happen, and no call counted.
    pub(super) fn fresh(&self) -> Self {
        Self {
            calls: 0,
            log: Vec::new(),
            fault: None,
            ..self.clone()
        }
    }

    /// A disk that holds these files, all of them safe.
    fn holding(files: &BTreeMap<String, Vec<u8>>) -> Self {
        let mut image = Image::default();
        for (name, bytes) in files {
            image.names.insert(name.clone(), image.inodes.len());
            image.inodes.push(Inode {
                length: bytes.len(),
                bytes: bytes.clone(),
            });
        }
        Self {
            now: image.clone(),
            safe: image,
            ..Self::default()
        }
    }

    /// Changes a byte of a file behind the store's back.
    pub(super) fn damage(&mut self, name: &str) {
        let inode = self.now.names[name];
        for image in [&mut self.now, &mut self.safe] {
            image.inodes[inode].bytes[3] ^= 1;
        }
    }

    /// Removes a file behind the store's back.
    pub(super) fn lose(&mut self, name: &str) {
        self.now.names.remove(name);
        self.safe.names.remove(name);
    }

    pub(super) fn names(&self) -> Vec<&str> {
        self.now.names.keys().map(String::as_str).collect()
    }

    /// Everything that a program can see.
    pub(super) fn look(&self) -> BTreeMap<String, Vec<u8>> {
        self.now.seen()
    }

    /// Every disk that there can be after the power fails now. Two that look the same count once.
    /// Returns them, and how many were tried.
    pub(super) fn after_cut(&self) -> (Vec<SimDisk>, usize) {
        let effects: Vec<&Effect> = self.doomed.iter().chain(&self.pending).collect();
        assert!(effects.len() <= 16, "{} effects at once", effects.len());
        let (mut seen, mut tried) = (BTreeSet::new(), 0);
        for subset in 0u32..1 << effects.len() {
            let chosen: Vec<&Effect> = (0..effects.len())
                .filter(|i| subset >> i & 1 == 1)
                .map(|i| effects[i])
                .collect();
            for order in orders(chosen.len()) {
                let mut image = self.safe.clone();
                image.inodes.resize(self.now.inodes.len(), Inode::default());
                order.iter().for_each(|&i| image.apply(chosen[i]));
                seen.insert(image.seen());
                tried += 1;
            }
        }
        (seen.iter().map(Self::holding).collect(), tried)
    }

    /// Counts a call; a fault happens at the one that it is set for. True: this one fails half-way.
    fn call(&mut self, name: String) -> io::Result<bool> {
        self.calls += 1;
        self.log.push(name);
        match self.fault {
            Some((at, Fault::Cut)) if self.calls > at => Err(io::Error::other("the power is off")),
            Some((at, Fault::Error(_))) if self.calls == at + 1 => Ok(true),
            _ => Ok(false),
        }
    }

    fn failure(&self) -> io::Error {
        match self.fault {
            Some((_, Fault::Error(kind))) => kind.into(),
            _ => io::Error::other("no fault is set"),
        }
    }

    fn happen(&mut self, effect: Effect) {
        self.now.apply(&effect);
        // New bytes and lengths end what an earlier failure left in the same place.
        match &effect {
            Effect::Bytes(inode, at, bytes) => {
                let range = *at..at + bytes.len();
                self.doomed.retain_mut(|old| match old {
                    Effect::Bytes(i, from, old) if i == inode && *from >= range.start => {
                        let cut = range.end.saturating_sub(*from).min(old.len());
                        old.drain(..cut);
                        *from += cut;
                        !old.is_empty()
                    }
                    _ => true,
                });
            }
            Effect::Length(inode, _) => {
                self.doomed
                    .retain(|old| !matches!(old, Effect::Length(i, _) if i == inode));
            }
            _ => {}
        }
        self.pending.push(effect);
    }

    fn settle(&mut self, inode: Option<usize>, fails: bool) {
        let (done, left) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|effect| effect.inode() == inode);
        self.pending = left;
        let done: Vec<Effect> = done;
        if fails {
            self.doomed.extend(done);
        } else {
            self.safe
                .inodes
                .resize(self.now.inodes.len(), Inode::default());
            for effect in &done {
                self.safe.apply(effect);
                // What a failed sync left of the same names is gone now.
                let names = effect.names();
                self.doomed
                    .retain(|old| !old.names().iter().any(|name| names.contains(name)));
            }
        }
    }

    fn inode(&self, name: &str) -> io::Result<usize> {
        self.now
            .names
            .get(name)
            .copied()
            .ok_or_else(|| ErrorKind::NotFound.into())
    }
}

/// Orders of `n` effects: all of a few, first and last order of many.
fn orders(n: usize) -> Vec<Vec<usize>> {
    if n > ALL_ORDERS {
        return vec![(0..n).collect(), (0..n).rev().collect()];
    }
    let mut all = vec![Vec::new()];
    for next in 0..n {
        let longer = |order: &Vec<usize>| {
            let order = order.clone();
            (0..=order.len()).map(move |at| {
                let mut longer = order.clone();
                longer.insert(at, next);
                longer
            })
        };
        all = all.iter().flat_map(longer).collect();
    }
    all
}

impl Disk for SimDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.now.names.keys().cloned().collect())
    }

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let inode = self.now.names.get(name);
        Ok(inode.map(|inode| self.now.inodes[*inode].content()))
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        if self.call(format!("create {name}"))? {
            return Err(self.failure());
        }
        if self.now.names.contains_key(name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        self.now.inodes.push(Inode::default());
        self.happen(Effect::Link(name.into(), self.now.inodes.len() - 1));
        Ok(())
    }

    fn write(&mut self, name: &str, at: u64, bytes: &[u8]) -> io::Result<()> {
        let fails = self.call(format!("write {name}"))?;
        let (inode, at) = (self.inode(name)?, at as usize);
        let bytes = if fails {
            &bytes[..bytes.len() / 2]
        } else {
            bytes
        };
        let end = at + bytes.len();
        if end > self.now.inodes[inode].length {
            self.happen(Effect::Length(inode, end));
        }
        for (i, piece) in bytes.chunks(SECTOR).enumerate() {
            self.happen(Effect::Bytes(inode, at + i * SECTOR, piece.into()));
        }
        if fails { Err(self.failure()) } else { Ok(()) }
    }

    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()> {
        if self.call(format!("truncate {name}"))? {
            return Err(self.failure());
        }
        let inode = self.inode(name)?;
        self.happen(Effect::Length(inode, length as usize));
        Ok(())
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        let fails = self.call(format!("sync {name}"))?;
        let inode = self.inode(name)?;
        self.settle(Some(inode), fails);
        if fails { Err(self.failure()) } else { Ok(()) }
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        if self.call(format!("rename {from} {to}"))? {
            return Err(self.failure());
        }
        let inode = self.inode(from)?;
        self.happen(Effect::Rename(from.into(), to.into(), inode));
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        if self.call(format!("remove {name}"))? {
            return Err(self.failure());
        }
        self.inode(name)?;
        self.happen(Effect::Unlink(name.into()));
        Ok(())
    }

    fn sync_folder(&mut self) -> io::Result<()> {
        let fails = self.call("sync the folder".into())?;
        self.settle(None, fails);
        if fails { Err(self.failure()) } else { Ok(()) }
    }
}
