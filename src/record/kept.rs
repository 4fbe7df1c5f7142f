//! Names of kept images, and which of them is the oldest.

use super::wall::Utc;
use crate::line::gate::Reason;
use std::collections::BTreeMap;
use std::fs::ReadDir;
use std::path::{Path, PathBuf};

/// File endings of kept images.
const ENDINGS: [&str; 5] = ["png", "jpg", "bmp", "tif", "bin"];
/// The disk space of one file is a multiple of this, in bytes. So the quota also bounds the number
/// of files, and the memory of the index.
const BLOCK: u64 = 4_096;

/// A kept image: `2026-11-25/15-45-41.123-p000000042-ng.png`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    /// Time of the trigger; names sort by it.
    wall: Utc,
    part: u64,
    /// Distinguishes images with the same part number and millisecond.
    copy: u8,
    /// None: the part passed.
    reason: Option<Reason>,
    ending: &'static str,
}

impl Name {
    pub(super) fn new(wall: Utc, part: u64, reason: Option<Reason>, ending: &'static str) -> Self {
        Self {
            wall,
            part,
            copy: 0,
            reason,
            ending,
        }
    }

    /// The name to try if this one is taken.
    pub(super) fn next(self) -> Option<Self> {
        let copy = self.copy.checked_add(1)?;
        Some(Self { copy, ..self })
    }

    /// Name of the folder for its day.
    pub(super) fn day(&self) -> String {
        day_name(self.wall)
    }

    /// Path below the folder of images.
    pub(super) fn path(&self) -> PathBuf {
        Path::new(&self.day()).join(self.file())
    }

    /// The day and the file in one name, for a folder without days.
    pub(super) fn flat(&self) -> String {
        format!("{}_{}", self.day(), self.file())
    }

    fn file(&self) -> String {
        let ms = self.wall.millis_of_day();
        let (s, ms) = (ms / 1000, ms % 1000);
        let (hour, minute, second) = (s / 3600, s / 60 % 60, s % 60);
        let verdict = self.reason.map_or("ok", Reason::name);
        let copy = match self.copy {
            0 => String::new(),
            n => format!("-{n}"),
        };
        format!(
            "{hour:02}-{minute:02}-{second:02}.{ms:03}-p{:09}-{verdict}{copy}.{}",
            self.part, self.ending
        )
    }

    /// Reads the name of a file that this program wrote; None for any other name.
    fn parse(day: &str, file: &str) -> Option<Self> {
        let (stem, ending) = file.rsplit_once('.')?;
        let ending = *ENDINGS.iter().find(|e| **e == ending)?;
        let mut parts = stem.split('-');
        let mut number = |prefix: &str| parts.next()?.strip_prefix(prefix)?.parse::<u32>().ok();
        let (hour, minute) = (number("")?, number("")?);
        let (second, ms) = parts.next()?.split_once('.')?;
        let (second, ms) = (second.parse::<u32>().ok()?, ms.parse::<u32>().ok()?);
        let part = parts.next()?.strip_prefix('p')?.parse().ok()?;
        let verdict = parts.next()?;
        let reason = match verdict {
            "ok" => None,
            _ => Some(Reason::ALL.into_iter().find(|r| r.name() == verdict)?),
        };
        let copy = match parts.next() {
            None => 0,
            Some(n) => n.parse().ok()?,
        };
        if hour > 23 || minute > 59 || second > 59 || ms > 999 {
            return None;
        }
        let millis = ((hour * 60 + minute) * 60 + second) * 1000 + ms;
        let (year, month, date) = parse_day(day)?;
        let name = Self {
            wall: Utc::at(year, month, date, millis)?,
            part,
            copy,
            reason,
            ending,
        };
        // Accept only the exact form that this program writes, because the file can be removed
        // later.
        (name.file() == file && name.day() == day).then_some(name)
    }
}

fn day_name(wall: Utc) -> String {
    let (year, month, day) = wall.date();
    format!("{year:04}-{month:02}-{day:02}")
}

fn parse_day(day: &str) -> Option<(u32, u32, u32)> {
    let mut numbers = day.split('-').map(|n| n.parse::<u32>().ok());
    let date = (numbers.next()??, numbers.next()??, numbers.next()??);
    numbers.next().is_none().then_some(date)
}

/// State of the search for images of earlier runs.
#[derive(Debug)]
enum Search {
    NotBegun,
    Days {
        days: Vec<PathBuf>,
        open: Option<(String, ReadDir)>,
    },
    Done,
}

/// All known images, by age.
#[derive(Debug)]
pub(super) struct Index {
    folder: PathBuf,
    passed: BTreeMap<Name, u64>,
    rejected: BTreeMap<Name, u64>,
    bytes: u64,
    search: Search,
}

impl Index {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            passed: BTreeMap::new(),
            rejected: BTreeMap::new(),
            bytes: 0,
            search: Search::NotBegun,
        }
    }

    /// Bytes that a file of `length` bytes takes on the disk.
    pub(super) fn on_disk(length: u64) -> u64 {
        length.max(1).div_ceil(BLOCK).saturating_mul(BLOCK)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn files(&self) -> u64 {
        (self.passed.len() + self.rejected.len()) as u64
    }

    pub(super) fn complete(&self) -> bool {
        matches!(self.search, Search::Done)
    }

    fn of(&mut self, name: &Name) -> &mut BTreeMap<Name, u64> {
        match name.reason {
            None => &mut self.passed,
            Some(_) => &mut self.rejected,
        }
    }

    pub(super) fn add(&mut self, name: Name, length: u64) {
        let bytes = Self::on_disk(length);
        let before = self.of(&name).insert(name, bytes).unwrap_or(0);
        self.bytes = self.bytes + bytes - before;
    }

    /// The newest image of the part with this number. Numbers begin anew with every start of a line.
    pub(super) fn newest_of(&self, part: u64) -> Option<Name> {
        let all = self.passed.keys().chain(self.rejected.keys());
        all.filter(|name| name.part == part).max().copied()
    }

    /// Removes the oldest image of a passed part. If there is none and `rejects` is true, it
    /// removes the oldest one of a rejected part. False if there was nothing to remove.
    pub(super) fn remove_oldest(&mut self, rejects: bool) -> bool {
        let oldest = match self.passed.pop_first() {
            None if rejects => self.rejected.pop_first(),
            found => found,
        };
        let Some((name, bytes)) = oldest else {
            return false;
        };
        self.bytes -= bytes;
        let path = self.folder.join(name.path());
        match std::fs::remove_file(&path) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            // The file stays on the disk but leaves the index. If it were tried again and again,
            // no other image could make room.
            Err(error) => ::log::warn!("{}: cannot be removed: {error}", path.display()),
        }
        let day = name.day();
        let others = |index: &BTreeMap<Name, u64>| {
            let first = index.first_key_value();
            first.is_some_and(|(name, _)| name.day() <= day)
        };
        if !others(&self.passed) && !others(&self.rejected) {
            // Fails if the folder holds something else. Then it must stay.
            let _ = std::fs::remove_dir(self.folder.join(day));
        }
        true
    }

    /// Adds up to `most` files of earlier runs to the index.
    pub(super) fn find_more(&mut self, most: usize) {
        for _ in 0..most {
            match &mut self.search {
                Search::Done => return,
                Search::NotBegun => {
                    let Ok(entries) = std::fs::read_dir(&self.folder) else {
                        // The folder does not exist yet or cannot be read, so nothing in it can be
                        // removed.
                        self.search = Search::Done;
                        return;
                    };
                    let days = entries
                        .filter_map(|e| e.ok().map(|e| e.path()))
                        .filter(|p| day_of(p).is_some_and(|d| parse_day(&d).is_some()))
                        .collect();
                    self.search = Search::Days { days, open: None };
                }
                Search::Days {
                    open: Some((day, entries)),
                    ..
                } => match entries.next() {
                    Some(Ok(entry)) => {
                        let name = Name::parse(day, &entry.file_name().to_string_lossy());
                        let length = entry.metadata().ok().filter(|m| m.is_file());
                        if let (Some(name), Some(meta)) = (name, length) {
                            self.add(name, meta.len());
                        }
                    }
                    Some(Err(_)) => {}
                    None => {
                        if let Search::Days { open, .. } = &mut self.search {
                            *open = None;
                        }
                    }
                },
                Search::Days { days, open } => match days.pop() {
                    Some(path) => {
                        *open = day_of(&path).zip(std::fs::read_dir(&path).ok());
                    }
                    None => self.search = Search::Done,
                },
            }
        }
    }
}

fn day_of(path: &Path) -> Option<String> {
    Some(path.file_name()?.to_str()?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name() -> impl Strategy<Value = Name> {
        let ending = prop::sample::select(ENDINGS.to_vec());
        let reason = prop::option::of(prop::sample::select(Reason::ALL.to_vec()));
        (
            0i64..4_000_000_000_000,
            any::<u64>(),
            any::<u8>(),
            reason,
            ending,
        )
            .prop_map(|(ms, part, copy, reason, ending)| Name {
                wall: Utc::from_unix_millis(ms),
                part,
                copy,
                reason,
                ending,
            })
    }

    proptest! {
        #[test]
        fn names_are_read_back(name in name()) {
            prop_assert_eq!(Name::parse(&name.day(), &name.file()), Some(name));
        }

        #[test]
        fn names_of_others_are_not_taken_for_ours(
            day in "[0-9-]{0,12}", file in "[0-9a-z.+-]{0,40}", name in name(),
        ) {
            for (day, file) in [(day.as_str(), &name.file()), (&name.day(), &file)] {
                if let Some(found) = Name::parse(day, file) {
                    prop_assert_eq!(&found.file(), file);
                    prop_assert_eq!(found.day(), day);
                }
            }
        }

        #[test]
        fn names_sort_by_time(a in name(), b in name()) {
            let written = |n: &Name| n.path().to_string_lossy().into_owned();
            if a.wall != b.wall {
                prop_assert_eq!(a < b, written(&a) < written(&b));
            }
        }
    }

    #[test]
    fn a_name_says_time_part_and_verdict() {
        let wall = Utc::at(2026, 11, 25, 56_741_123).expect("a date");
        let name = Name::new(wall, 42, Some(Reason::NoFrame), "png");
        let path = name.path();
        assert_eq!(
            path.to_str(),
            Some("2026-11-25/15-45-41.123-p000000042-no_frame.png")
        );
        let passed = Name::new(wall, 42, None, "jpg").next().expect("a next one");
        assert!(passed.path().ends_with("15-45-41.123-p000000042-ok-1.jpg"));
    }
}
