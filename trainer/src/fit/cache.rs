//! Feature vectors of images, kept on disk: a fit that was interrupted, or is repeated with
//! another bank or method, does not run the backbone again.
//!
//! One file an image, named by a BLAKE3 over everything that its features depend on and closed by
//! a BLAKE3 over its contents:
//!
//! `format (8) | name's digest (32) | width, height (u32 LE each) | features (f32 LE) | BLAKE3
//! (32)`
//!
//! Files appear by renaming, so fits may share a folder, and a killed fit leaves no half entry. The
//! digest at the end shows a file that a power cut has damaged. The cache never fails a fit: an
//! entry that cannot be read is computed again, and one that cannot be written is not kept.

use std::collections::{HashSet, VecDeque};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// Raised with every change of an entry's layout, and of the arithmetic of a network (02: int8 in integers).
/// Part of every name, too.
const FORMAT: [u8; 8] = *b"PGFEAT02";
const ENDING: &str = ".features";
const UNFINISHED: &str = ".part";
const HEADER: usize = FORMAT.len() + blake3::OUT_LEN + 8;

/// Writes between two looks at the folder, which other fits may be filling, too.
const WRITES_A_LISTING: usize = 64;

/// Unfinished files this old belong to nobody any more: writing one takes well under a second.
const ABANDONED: Duration = Duration::from_secs(3600);

/// The folder and its limit. Clones share the state of the folder, so that the entries which one
/// member of an ensemble uses are not dropped for the next one.
#[derive(Clone, Debug)]
pub(crate) struct CacheSettings {
    folder: PathBuf,
    limit_mib: u64,
    state: Arc<Mutex<FolderState>>,
}

impl CacheSettings {
    /// Features in `folder`, `limit_mib` MiB at most.
    pub(crate) fn new(folder: PathBuf, limit_mib: u64) -> Self {
        Self {
            folder,
            limit_mib,
            state: Arc::default(),
        }
    }
}

/// An entry that this fit has not used yet, and may drop.
#[derive(Debug)]
struct Unused {
    modified: SystemTime,
    name: String,
    bytes: u64,
}

/// Entries of the folder, as of the last look at it.
#[derive(Debug, Default)]
struct FolderState {
    /// Oldest first.
    unused: VecDeque<Unused>,
    used: HashSet<String>,
    bytes: u64,
    writes: usize,
}

/// Why an entry was not kept.
enum NotKept {
    /// Everything in the folder is of this fit, and more does not fit below the limit.
    Limit,
    Io(io::Error),
}

impl From<io::Error> for NotKept {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Features on disk, of one backbone and geometry. Threads share it.
pub(crate) struct Cache {
    folder: PathBuf,
    /// What the features depend on besides the image.
    dependencies: blake3::Hash,
    /// Features of an image.
    values: usize,
    limit: u64,
    state: Arc<Mutex<FolderState>>,
    hits: AtomicUsize,
    gave_up: AtomicBool,
}

impl Cache {
    /// Opens the cache and makes its folder if there is none; `None`, and a warning, where that is
    /// not possible. `dependencies` is a digest of all that the `values` features of an image
    /// depend on besides its bytes.
    pub(crate) fn open(
        settings: &CacheSettings,
        dependencies: blake3::Hash,
        values: usize,
    ) -> Option<Self> {
        let folder = settings.folder.clone();
        let cache = Self {
            dependencies,
            values,
            limit: settings.limit_mib.saturating_mul(1 << 20),
            state: Arc::clone(&settings.state),
            hits: AtomicUsize::new(0),
            gave_up: AtomicBool::new(false),
            folder,
        };
        let listed =
            fs::create_dir_all(&cache.folder).and_then(|()| cache.list(&mut cache.state()));
        match listed {
            Ok(()) => Some(cache),
            Err(error) => {
                log::warn!(
                    "{}: cannot be used as a cache ({error}); the fit goes on without",
                    cache.folder.display()
                );
                None
            }
        }
    }

    /// Images whose features came from here.
    pub(crate) fn hits(&self) -> usize {
        self.hits.load(Ordering::Relaxed)
    }

    /// Fills `out` with the features of the image whose bytes have the digest `image`, and gives
    /// the image's width and height. A damaged entry counts as none, with a warning.
    pub(crate) fn get(&self, image: &blake3::Hash, out: &mut [f32]) -> Option<[u32; 2]> {
        let key = self.key(image);
        let name = name_of(&key);
        let path = self.folder.join(&name);
        match self.read(&path, &key, out) {
            Ok(size) => {
                self.state().used.insert(name);
                self.hits.fetch_add(1, Ordering::Relaxed);
                Some(size)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => {
                log::warn!(
                    "{}: this cached entry cannot be used ({error}); its image is computed again",
                    path.display()
                );
                None
            }
        }
    }

    /// Keeps the features of an image of `size` pixels. Only the first failure is logged; after it
    /// nothing more is kept.
    pub(crate) fn put(&self, image: &blake3::Hash, size: [u32; 2], features: &[f32]) {
        if self.gave_up.load(Ordering::Relaxed) {
            return;
        }
        let Err(why) = self.write(&self.key(image), size, features) else {
            return;
        };
        if self.gave_up.swap(true, Ordering::Relaxed) {
            return;
        }
        let folder = self.folder.display();
        match why {
            NotKept::Limit => log::warn!(
                "{folder}: this fit's features do not all fit into {} MiB; no more are kept (--cache-limit)",
                self.limit >> 20
            ),
            NotKept::Io(error) => log::warn!(
                "{folder}: the cache cannot be written ({error}); the fit goes on without"
            ),
        }
    }

    fn state(&self) -> MutexGuard<'_, FolderState> {
        // Counts only: they stay usable when a thread has panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key(&self, image: &blake3::Hash) -> blake3::Hash {
        let mut digest = blake3::Hasher::new();
        digest.update(&FORMAT);
        digest.update(self.dependencies.as_bytes());
        digest.update(image.as_bytes());
        digest.finalize()
    }

    fn length(&self) -> usize {
        HEADER + 4 * self.values + blake3::OUT_LEN
    }

    fn read(&self, path: &Path, key: &blake3::Hash, out: &mut [f32]) -> io::Result<[u32; 2]> {
        let damaged = |what: &str| Err(io::Error::new(ErrorKind::InvalidData, what));
        let length = fs::metadata(path).map(|m| if m.is_file() { m.len() } else { 0 })?;
        if length != self.length() as u64 || out.len() != self.values {
            return damaged("it has another length");
        }
        let bytes = fs::read(path)?;
        if bytes.len() != self.length() {
            return damaged("it has another length");
        }
        let (body, digest) = bytes.split_at(bytes.len() - blake3::OUT_LEN);
        if blake3::hash(body).as_bytes() != digest {
            return damaged("its digest is not that of its contents");
        }
        let (header, values) = body.split_at(HEADER);
        let (format, header) = header.split_at(FORMAT.len());
        let (owner, size) = header.split_at(blake3::OUT_LEN);
        if format != FORMAT || owner != key.as_bytes() {
            return damaged("it belongs to something else");
        }
        for (value, bytes) in out.iter_mut().zip(values.as_chunks().0) {
            *value = f32::from_le_bytes(*bytes);
        }
        let size = size.as_chunks().0;
        // What is used becomes the youngest; where that is not allowed, it merely ages.
        let _ = File::open(path).and_then(|f| f.set_modified(SystemTime::now()));
        Ok([u32::from_le_bytes(size[0]), u32::from_le_bytes(size[1])])
    }

    fn write(&self, key: &blake3::Hash, size: [u32; 2], features: &[f32]) -> Result<(), NotKept> {
        let name = name_of(key);
        let length = self.length() as u64;
        let number = self.drop_oldest(name.clone(), length)?;
        let mut bytes = Vec::with_capacity(self.length());
        bytes.extend_from_slice(&FORMAT);
        bytes.extend_from_slice(key.as_bytes());
        bytes.extend(size.iter().flat_map(|s| s.to_le_bytes()));
        bytes.extend(features.iter().flat_map(|v| v.to_le_bytes()));
        let digest = blake3::hash(&bytes);
        bytes.extend_from_slice(digest.as_bytes());

        // No other thread or process, nor one in another container, writes under this name.
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let moment = since.map_or(0, |d| d.as_nanos());
        let process = std::process::id();
        let unfinished = format!(".{name}.{process}-{number}-{moment}{UNFINISHED}");
        let unfinished = self.folder.join(unfinished);
        File::create_new(&unfinished)
            .and_then(|mut file| file.write_all(&bytes))
            .and_then(|()| fs::rename(&unfinished, self.folder.join(&name)))
            .inspect_err(|_| {
                let _ = fs::remove_file(&unfinished);
                let mut state = self.state();
                state.bytes = state.bytes.saturating_sub(length);
            })?;
        Ok(())
    }

    /// Drops the oldest entries until one of `length` bytes fits below the limit, and counts it;
    /// returns how many writes there were. What this fit uses stays: it would be wanted again by
    /// the fit that repeats it.
    fn drop_oldest(&self, name: String, length: u64) -> Result<usize, NotKept> {
        let mut state = self.state();
        state.writes += 1;
        if state.writes.is_multiple_of(WRITES_A_LISTING) {
            self.list(&mut state)?;
        }
        while state.bytes + length > self.limit {
            let oldest = state.unused.pop_front().ok_or(NotKept::Limit)?;
            if state.used.contains(&oldest.name) {
                continue;
            }
            match fs::remove_file(self.folder.join(&oldest.name)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
                _ => state.bytes = state.bytes.saturating_sub(oldest.bytes),
            }
        }
        state.bytes += length;
        state.used.insert(name);
        Ok(state.writes)
    }

    /// Looks the folder through. Files that are not the cache's own are left alone.
    fn list(&self, state: &mut FolderState) -> io::Result<()> {
        let mut unused = Vec::new();
        let mut total = 0;
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            // Another fit may have dropped it since.
            let Ok(facts) = entry.metadata() else {
                continue;
            };
            let modified = facts.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            if !facts.is_file() {
                continue;
            }
            if is_unfinished(&name) && modified.elapsed().is_ok_and(|age| age > ABANDONED) {
                let _ = fs::remove_file(entry.path());
            } else if is_entry(&name) {
                total += facts.len();
                if !state.used.contains(&name) {
                    unused.push(Unused {
                        modified,
                        name,
                        bytes: facts.len(),
                    });
                }
            }
        }
        unused.sort_by(|a, b| (a.modified, &a.name).cmp(&(b.modified, &b.name)));
        state.unused = unused.into();
        state.bytes = total;
        Ok(())
    }
}

fn name_of(key: &blake3::Hash) -> String {
    format!("{}{ENDING}", key.to_hex())
}

fn is_entry(name: &str) -> bool {
    name.strip_suffix(ENDING)
        .is_some_and(|hex| blake3::Hash::from_hex(hex).is_ok())
}

fn is_unfinished(name: &str) -> bool {
    name.strip_prefix('.')
        .filter(|rest| rest.ends_with(UNFINISHED))
        .and_then(|rest| rest.split_once(ENDING))
        .is_some_and(|(hex, _)| blake3::Hash::from_hex(hex).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: usize = 1 << 17;
    /// One entry is a little over half a MiB.
    const ENTRY: u64 = (HEADER + 4 * VALUES + blake3::OUT_LEN) as u64;

    fn image(number: u32) -> blake3::Hash {
        blake3::hash(&number.to_le_bytes())
    }

    fn features(number: u32) -> Vec<f32> {
        (0..VALUES)
            .map(|i| (i as f32).sin() + number as f32)
            .collect()
    }

    fn open(folder: &Path, limit_mib: u64) -> Cache {
        let settings = CacheSettings::new(folder.to_path_buf(), limit_mib);
        Cache::open(&settings, blake3::hash(b"backbone"), VALUES).expect("a usable folder")
    }

    fn keep(cache: &Cache, number: u32) {
        cache.put(&image(number), [320, number], &features(number));
    }

    /// Whether the entry is there, checked to be the right one.
    fn has(cache: &Cache, number: u32) -> bool {
        let mut out = vec![0.0; VALUES];
        let size = cache.get(&image(number), &mut out);
        if let Some(size) = size {
            assert_eq!(size, [320, number]);
            assert!(out == features(number));
        }
        size.is_some()
    }

    fn age(cache: &Cache, number: u32, seconds: u64) {
        let path = cache.folder.join(name_of(&cache.key(&image(number))));
        let then = SystemTime::now() - Duration::from_secs(seconds);
        let file = File::options().write(true).open(path).expect("an entry");
        file.set_modified(then).expect("set the time");
    }

    fn used(folder: &Path) -> u64 {
        let entries = fs::read_dir(folder).expect("list");
        entries
            .map(|e| e.expect("entry").metadata().expect("facts").len())
            .sum()
    }

    #[test]
    fn what_was_kept_comes_back_and_nothing_else() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let cache = open(folder.path(), 100);
        assert!(!has(&cache, 1));
        keep(&cache, 1);
        assert!(has(&cache, 1) && !has(&cache, 2));
        assert_eq!((cache.hits(), used(folder.path())), (1, ENTRY));
        let settings = CacheSettings::new(folder.path().to_path_buf(), 100);
        let other = Cache::open(&settings, blake3::hash(b"another"), VALUES).expect("folder");
        assert!(!has(&other, 1));
    }

    #[test]
    fn any_flipped_bit_or_missing_byte_is_found() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let cache = open(folder.path(), 100);
        keep(&cache, 1);
        let path = folder.path().join(name_of(&cache.key(&image(1))));
        let whole = fs::read(&path).expect("entry");
        for at in [0, 8, 40, 44, HEADER, whole.len() / 2, whole.len() - 1] {
            let mut flipped = whole.clone();
            flipped[at] ^= 4;
            fs::write(&path, flipped).expect("write");
            assert!(!has(&cache, 1), "byte {at}");
        }
        for length in [0, 1, HEADER, whole.len() - 1] {
            fs::write(&path, &whole[..length]).expect("write");
            assert!(!has(&cache, 1), "{length} bytes");
        }
        // Whole, but of another image.
        keep(&cache, 2);
        fs::copy(folder.path().join(name_of(&cache.key(&image(2)))), &path).expect("copy");
        assert!(!has(&cache, 1));
        fs::remove_file(&path).expect("remove");
        fs::create_dir(&path).expect("a folder in its place");
        assert!(!has(&cache, 1));
        fs::remove_dir(&path).expect("remove");
        fs::write(&path, whole).expect("write");
        assert!(has(&cache, 1));
    }

    #[test]
    fn the_oldest_go_first_and_what_was_read_is_young() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let cache = open(folder.path(), 3);
        for number in 0..5 {
            keep(&cache, number);
            age(&cache, number, 1000 - u64::from(number));
        }
        assert!(has(&cache, 0));
        // Two more than the 3 MiB hold: 1 and 2 are the oldest now.
        let next = open(folder.path(), 3);
        keep(&next, 5);
        keep(&next, 6);
        assert!(used(folder.path()) <= 3 << 20);
        let there: Vec<u32> = (0..7).filter(|&n| has(&next, n)).collect();
        assert_eq!(there, [0, 3, 4, 5, 6]);
    }

    #[test]
    fn a_fit_larger_than_the_limit_keeps_what_it_has_and_the_next_one_finds_it() {
        let folder = tempfile::tempdir().expect("temporary folder");
        for _ in 0..2 {
            let cache = open(folder.path(), 2);
            let served = (0..8).filter(|&n| {
                let there = has(&cache, n);
                if !there {
                    keep(&cache, n);
                }
                there
            });
            let served: Vec<u32> = served.collect();
            assert!(used(folder.path()) <= 2 << 20);
            assert!(served.is_empty() || served == [0, 1, 2], "{served:?}");
        }
        let cache = open(folder.path(), 2);
        assert_eq!((0..8).filter(|&n| has(&cache, n)).count(), 3);
    }

    #[test]
    fn what_other_fits_keep_at_the_same_time_counts_too() {
        let folder = tempfile::tempdir().expect("temporary folder");
        // The limit holds 127 such entries; two fits that knew nothing of each other would keep
        // 254.
        let values = 1 << 12;
        let two = [b"one", b"two"].map(|name| {
            let settings = CacheSettings::new(folder.path().to_path_buf(), 2);
            Cache::open(&settings, blake3::hash(name), values).expect("a usable folder")
        });
        for number in 0..150 {
            for cache in &two {
                cache.put(&image(number), [1, 1], &vec![0.0; values]);
            }
        }
        let entries = fs::read_dir(folder.path()).expect("list").count();
        assert!(entries <= 127 + WRITES_A_LISTING, "{entries} entries");
    }

    #[test]
    fn what_one_member_uses_is_not_dropped_for_the_next() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let member = |settings: &CacheSettings, name: &[u8]| {
            Cache::open(settings, blake3::hash(name), VALUES).expect("a usable folder")
        };
        // Room for three of the four entries that both members want, in two fits.
        for served in [0, 2] {
            let settings = CacheSettings::new(folder.path().to_path_buf(), 2);
            let found = [b"small", b"large"].map(|name| {
                let cache = member(&settings, name);
                (0..2)
                    .filter(|&number| {
                        let there = has(&cache, number);
                        if !there {
                            keep(&cache, number);
                        }
                        there
                    })
                    .count()
            });
            assert_eq!(found[0], served);
            assert_eq!(found[1], served / 2);
        }
        assert!(used(folder.path()) <= 2 << 20);
    }

    #[test]
    fn only_its_own_files_are_touched() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let at = |name: &str| folder.path().join(name);
        let hex = image(1).to_hex();
        let abandoned = format!(".{hex}{ENDING}.7-7{UNFINISHED}");
        let fresh = format!(".{hex}{ENDING}.8-8{UNFINISHED}");
        let strange = ["photo.png", "x.features", ".notes.part", "left.part"];
        for name in strange.into_iter().chain([&*abandoned, &*fresh]) {
            fs::write(at(name), vec![0; 1 << 20]).expect("write");
            if name != fresh {
                let then = SystemTime::now() - 2 * ABANDONED;
                let file = File::options().write(true).open(at(name)).expect("open");
                file.set_modified(then).expect("set the time");
            }
        }
        let cache = open(folder.path(), 1);
        keep(&cache, 1);
        assert!(has(&cache, 1));
        assert!(!at(&abandoned).exists());
        assert!(at(&fresh).exists());
        assert!(strange.iter().all(|name| at(name).exists()));
    }
}
