//! Marks: a person says that a part was rejected by mistake, or passed by mistake. Its picture is kept
//! until a person takes it away.

use super::entry::ShortText;
use super::free_bytes::free_bytes;
use super::kept::Name;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Most marked pictures of a kind.
const MOST: usize = 2_000;

/// What a marked part really is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkKind {
    /// A good part.
    Good,
    /// A defective part.
    Defect,
}

impl MarkKind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Good, Self::Defect];

    /// Name in commands, in the log, and of the folder.
    pub const fn name(self) -> &'static str {
        match self {
            MarkKind::Good => "good",
            MarkKind::Defect => "defect",
        }
    }

    const fn other(self) -> Self {
        match self {
            MarkKind::Good => MarkKind::Defect,
            MarkKind::Defect => MarkKind::Good,
        }
    }
}

/// What a person says about a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Number of the part.
    pub part: u64,
    /// What it is.
    pub kind: MarkKind,
    /// Who says so, and why.
    pub said: ShortText<96>,
}

/// Why a picture is not marked.
#[derive(Debug, Error)]
pub enum MarkError {
    /// Nothing to mark.
    #[error(
        "no picture of part {0} is kept: pictures of passed parts are kept in part only (record.ok_sample_percent), and the oldest are removed"
    )]
    NoPicture(u64),
    /// Marked pictures are no record without an end.
    #[error("{}: {MOST} marked pictures are there already; take them to the desk first", .0.display())]
    Full(PathBuf),
    /// The disk is full.
    #[error("only {free} bytes are free, and {least} must stay free")]
    NoRoom {
        /// Free bytes.
        free: u64,
        /// Bytes that stay free.
        least: u64,
    },
    /// The picture cannot be put there.
    #[error("{}: cannot be written: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// Puts the picture `name` of `folder` among the marked ones beside that folder. Returns the path,
/// relative to the folder of the record. A picture that was marked otherwise changes its place.
pub(super) fn put(
    folder: &Path,
    name: &Name,
    kind: MarkKind,
    least_free: u64,
) -> Result<PathBuf, MarkError> {
    let marked = |kind: MarkKind| Path::new("marked").join(kind.name());
    let record = folder.parent().unwrap_or(folder);
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| MarkError::Write { path, source }
    };
    let relative = marked(kind).join(name.flat());
    let (to, target) = (record.join(marked(kind)), record.join(&relative));
    if target.exists() {
        return Ok(relative);
    }
    fs::create_dir_all(&to).map_err(failed(&to))?;
    if fs::read_dir(&to).map_err(failed(&to))?.take(MOST).count() == MOST {
        return Err(MarkError::Full(to));
    }
    let from = folder.join(name.path());
    match fs::hard_link(&from, &target) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        // The file system has no hard links (FAT, exFAT).
        Err(_) => {
            let length = fs::metadata(&from).map_err(failed(&from))?.len();
            if let Some(free) = free_bytes(folder)
                && free < least_free.saturating_add(length)
            {
                return Err(MarkError::NoRoom {
                    free,
                    least: least_free,
                });
            }
            fs::copy(&from, &target).map_err(failed(&target))?;
        }
    }
    let other = record.join(marked(kind.other())).join(name.flat());
    match fs::remove_file(&other) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(&other)(error)),
        _ => Ok(relative),
    }
}
