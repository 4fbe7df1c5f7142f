//! The exact bytes that a line was started with: configuration, board profile and bundle. The
//! supervisor reads them once and passes them to every vision process. So a later change on the
//! disk has no effect until the line is started again.

use super::choice::{ChoiceError, Chosen};
use crate::config::{ConfigError, LineConfig, Texts};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why the files of a line cannot be used.
#[derive(Debug, Error)]
pub enum SealedFilesError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The bundle cannot be used.
    #[error(transparent)]
    Product(#[from] ChoiceError),
    /// The system keeps no copy in memory.
    #[error("{}: no copy of it can be kept in memory for the vision process", path.display())]
    Kept {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A file from the supervisor cannot be read.
    #[error("what the supervisor handed over cannot be read: {0}")]
    Unread(&'static str, #[source] std::io::Error),
    /// The supervisor did not send a file: a bug, or another version of the program.
    #[error("the supervisor did not hand over the {0}")]
    Missing(&'static str),
}

/// Which of the files are different on the disk now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes(u8);

impl Changes {
    /// The files, by number.
    pub(crate) const NAMES: [&'static str; 3] = ["configuration", "board", "bundle"];

    pub(super) fn add(&mut self, which: usize) {
        self.0 |= 1 << which;
    }

    pub(super) const fn bits(self) -> u8 {
        self.0
    }

    pub(super) fn from_bits(bits: u8) -> Option<Self> {
        (bits < 1 << Self::NAMES.len()).then_some(Self(bits))
    }

    /// Whether nothing has changed.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Names of the changed files.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let names = Self::NAMES.into_iter().enumerate();
        names.filter_map(move |(i, name)| (self.0 >> i & 1 == 1).then_some(name))
    }
}

const CONFIGURATION: usize = 0;
const BOARD: usize = 1;
const BUNDLE: usize = 2;

/// A file as it was at the start.
#[derive(Debug)]
struct Kept {
    which: usize,
    path: PathBuf,
    sealed: OwnedFd,
    digest: blake3::Hash,
    /// Metadata of the file on the disk. The file is read again only if they change.
    seen: Seen,
    changed: bool,
    /// The change that was reported. Another change is reported again.
    stated: Option<Option<blake3::Hash>>,
}

/// Device, inode, size and times; None if there is no file.
type Seen = Option<[i64; 6]>;

fn seen(path: &Path) -> Seen {
    let m = std::fs::metadata(path).ok()?;
    let size = [m.dev(), m.ino(), m.size()].map(u64::cast_signed);
    let [dev, ino, size] = size;
    Some([dev, ino, size, m.mtime(), m.mtime_nsec(), m.ctime_nsec()])
}

impl Kept {
    fn new(which: usize, path: &Path, bytes: &[u8], seen: Seen) -> Result<Self, SealedFilesError> {
        let keep = || -> std::io::Result<OwnedFd> {
            let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
            let mut file = File::from(memfd_create("partgate", flags)?);
            file.write_all(bytes)?;
            let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
            fcntl_add_seals(&file, seals)?;
            Ok(file.into())
        };
        Ok(Self {
            which,
            path: path.to_path_buf(),
            sealed: keep().map_err(|source| SealedFilesError::Kept {
                path: path.to_path_buf(),
                source,
            })?,
            digest: blake3::hash(bytes),
            seen,
            changed: false,
            stated: None,
        })
    }

    /// Whether the file on the disk is different now, and whether that is new.
    fn look(&mut self) -> (bool, bool) {
        let now = seen(&self.path);
        if now == self.seen {
            return (self.changed, false);
        }
        self.seen = now;
        let digest = std::fs::read(&self.path).ok().map(|b| blake3::hash(&b));
        self.changed = digest != Some(self.digest);
        let news = self.changed && self.stated != Some(digest);
        if news {
            self.stated = Some(digest);
            log::warn!(
                "{}: changed on disk since this line was started; the line goes on with what it was started with, until it is stopped and started anew",
                self.path.display()
            );
        }
        (self.changed, news)
    }
}

fn bundle(chosen: &Chosen) -> Result<Kept, SealedFilesError> {
    // A change between the reading and this is noticed at the next look.
    Kept::new(BUNDLE, &chosen.path, &chosen.bytes, None)
}

/// The files that a line was started with.
#[derive(Debug)]
pub struct SealedFiles {
    files: Vec<Kept>,
    /// The UNKNOWN threshold that was set on this board.
    unknown: Option<f32>,
}

impl SealedFiles {
    /// Reads `file` and the files that it names, once. `choose` reads the bundle.
    ///
    /// # Errors
    /// [`SealedFilesError`].
    pub fn read(
        file: &Path,
        choose: impl FnOnce(&LineConfig) -> Result<Chosen, ChoiceError>,
    ) -> Result<(Self, LineConfig), SealedFilesError> {
        // The metadata are read before the file, so a change in between is found later.
        let at = seen(file);
        let texts = Texts::read(file)?;
        let config = LineConfig::of_texts(&texts, file)?;
        let mut files = vec![Kept::new(CONFIGURATION, file, texts.line.as_bytes(), at)?];
        if let Some((path, profile)) = &texts.profile {
            let kept = Kept::new(BOARD, path, profile.as_bytes(), None)?;
            files.push(kept);
        }
        // The bundle last: `choose` may count a start.
        let chosen = choose(&config)?;
        files.push(bundle(&chosen)?);
        let unknown = chosen.unknown;
        Ok((Self { files, unknown }, config))
    }

    /// Puts another bundle into the place of the one before.
    ///
    /// # Errors
    /// [`SealedFilesError::Kept`].
    pub fn replace(&mut self, chosen: &Chosen) -> Result<(), SealedFilesError> {
        let new = bundle(chosen)?;
        self.files.retain(|kept| kept.which != BUNDLE);
        self.files.push(new);
        self.unknown = chosen.unknown;
        Ok(())
    }

    /// BLAKE3 of the bundle.
    pub fn digest(&self) -> Option<blake3::Hash> {
        let bundle = self.files.iter().find(|kept| kept.which == BUNDLE)?;
        Some(bundle.digest)
    }

    #[cfg(test)]
    pub(super) fn nothing() -> Self {
        Self {
            files: Vec::new(),
            unknown: None,
        }
    }

    /// Copies that nobody can change. [`Received::new`] takes them in this order.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.files.iter().map(|kept| kept.sealed.as_fd())
    }

    pub(super) fn unknown(&self) -> Option<f32> {
        self.unknown
    }

    pub(super) fn with_board(&self) -> bool {
        self.files.iter().any(|kept| kept.which == BOARD)
    }

    /// Files that are different on the disk now, and those of them that were not known. Logs new
    /// changes.
    pub(super) fn look(&mut self) -> (Changes, Changes) {
        let (mut changed, mut news) = (Changes::default(), Changes::default());
        for kept in &mut self.files {
            let (is_changed, is_news) = kept.look();
            if is_changed {
                changed.add(kept.which);
            }
            if is_news {
                news.add(kept.which);
            }
        }
        (changed, news)
    }
}

/// What the vision process reads from [`SealedFiles`].
pub struct Received {
    /// The configuration.
    pub config: LineConfig,
    /// The bundle's bytes.
    pub bundle: Vec<u8>,
    /// The requests of the outputs.
    pub requests: Vec<OwnedFd>,
}

impl Received {
    /// Reads the `descriptors` that came with the link. Errors name the configuration `file`.
    ///
    /// # Errors
    /// [`SealedFilesError`].
    pub fn new(
        descriptors: Vec<OwnedFd>,
        with_board: bool,
        file: &Path,
    ) -> Result<Self, SealedFilesError> {
        let mut descriptors = descriptors.into_iter();
        let mut next = |which: usize| -> Result<Vec<u8>, SealedFilesError> {
            let name = Changes::NAMES[which];
            let kept = descriptors.next().ok_or(SealedFilesError::Missing(name))?;
            bytes_of(kept).map_err(|source| SealedFilesError::Unread(name, source))
        };
        let text = |bytes: Vec<u8>, which: usize| {
            String::from_utf8(bytes).map_err(|e| {
                let source = std::io::Error::other(e.utf8_error());
                SealedFilesError::Unread(Changes::NAMES[which], source)
            })
        };
        let texts = Texts {
            line: text(next(CONFIGURATION)?, CONFIGURATION)?,
            profile: if with_board {
                Some((PathBuf::new(), text(next(BOARD)?, BOARD)?))
            } else {
                None
            },
        };
        let config = LineConfig::of_texts(&texts, file)?;
        let bundle = next(BUNDLE)?;
        Ok(Self {
            config,
            bundle,
            requests: descriptors.collect(),
        })
    }
}

/// Reads a whole file by position, because both processes share its offset.
fn bytes_of(descriptor: OwnedFd) -> std::io::Result<Vec<u8>> {
    let file = File::from(descriptor);
    let size = usize::try_from(file.metadata()?.len()).map_err(std::io::Error::other)?;
    let mut bytes = vec![0; size];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(path: &Path, bytes: &[u8]) -> Kept {
        std::fs::write(path, bytes).expect("written");
        Kept::new(BUNDLE, path, bytes, seen(path)).expect("kept")
    }

    #[test]
    fn a_copy_stays_what_it_was_and_nobody_can_change_it() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("bundle");
        let kept = kept(&path, b"as it was");
        std::fs::write(&path, b"otherwise").expect("written");
        let copy = kept.sealed.try_clone().expect("descriptor");
        assert_eq!(bytes_of(copy).expect("read"), b"as it was");
        let copy = File::from(kept.sealed.try_clone().expect("descriptor"));
        assert!((&copy).write_all(b"x").is_err());
        assert!(copy.set_len(1).is_err());
    }

    #[test]
    fn a_change_is_told_once_another_again_and_what_is_the_same_again_is_none() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("bundle");
        let mut kept = kept(&path, b"as it was");
        assert_eq!(kept.look(), (false, false));
        std::fs::write(&path, b"otherwise!").expect("written");
        assert_eq!(kept.look(), (true, true));
        assert_eq!(kept.look(), (true, false));
        std::fs::write(&path, b"once more otherwise").expect("written");
        assert_eq!(kept.look(), (true, true));
        std::fs::write(&path, b"as it was").expect("written");
        assert_eq!(kept.look(), (false, false));
        std::fs::remove_file(&path).expect("removed");
        assert_eq!(kept.look(), (true, true));
        assert_eq!(kept.look(), (true, false));
    }

    #[test]
    fn changes_have_names() {
        let mut changes = Changes::default();
        assert!(changes.is_empty());
        changes.add(BUNDLE);
        changes.add(CONFIGURATION);
        let names: Vec<_> = changes.names().collect();
        assert_eq!(names, ["configuration", "bundle"]);
        assert_eq!(Changes::from_bits(8), None);
    }
}
