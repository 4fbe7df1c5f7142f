//! Files and folders that a command writes.

use super::failure::Failure;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use thiserror::Error;

#[derive(Debug, Error)]
pub(crate) enum OutputError {
    #[error("{}: the folder cannot be made{}", path.display(), hint(source))]
    Make {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{}: cannot be written{}", path.display(), hint(source))]
    Write {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{}: the folder cannot be read", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{}: the folder is not empty; name a new or an empty one", path.display())]
    NotEmpty { path: PathBuf },
    #[error(
        "{}: was not written by partgate and is not overwritten; choose another --out", path.display()
    )]
    Foreign { path: PathBuf },
    #[error(
        "{}: holds images that are to be inspected, and what is written could overwrite them or be inspected next time; choose another {option}",
        path.display()
    )]
    HoldsInputs { path: PathBuf, option: &'static str },
    #[error("{}: this is {what}; name a file", path.display())]
    NoFile { path: PathBuf, what: &'static str },
    #[error("{}: this is read by the same command; name another file", path.display())]
    IsInput { path: PathBuf },
}

fn hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::PermissionDenied => "; may this user write there?",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "; the disk is full",
        ErrorKind::ReadOnlyFilesystem => "; the file system is read-only",
        ErrorKind::AlreadyExists | ErrorKind::NotADirectory => "; a file of that name is there",
        _ => "",
    }
}

/// Creates `path` and its parents if they are missing.
pub(crate) fn make(path: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(path).map_err(|source| {
        Failure::input(OutputError::Make {
            path: path.into(),
            source,
        })
    })
}

/// Opens a new file, in place of a regular one of that name, and makes its folder if it is missing.
/// A folder, a link, a device and a pipe are refused, and so is whatever is one of `inputs`.
pub(crate) fn create<'a>(
    path: &Path,
    inputs: impl IntoIterator<Item = &'a Path>,
) -> Result<File, Failure> {
    if let Ok(there) = std::fs::symlink_metadata(path) {
        let kind = there.file_type();
        let what = match () {
            () if kind.is_file() => None,
            () if kind.is_dir() => Some("a folder"),
            () if kind.is_symlink() => Some("a link"),
            () => Some("a device or a pipe"),
        };
        if let Some(what) = what {
            let path = path.to_path_buf();
            return Err(Failure::input(OutputError::NoFile { path, what }));
        }
        let itself = path.canonicalize().ok();
        let same = |input: &Path| itself.is_some() && input.canonicalize().ok() == itself;
        if inputs.into_iter().any(same) {
            let path = path.to_path_buf();
            return Err(Failure::input(OutputError::IsInput { path }));
        }
    } else if let Some(parent) = path.parent()
        && !parent.as_os_str().is_empty()
        && !parent.is_dir()
    {
        make(parent)?;
        log::warn!(
            "{}: this folder was not there and was made",
            parent.display()
        );
    }
    File::create(path).map_err(|source| {
        Failure::input(OutputError::Write {
            path: path.into(),
            source,
        })
    })
}

/// Creates `path`, and refuses a folder that is not empty.
pub(crate) fn make_empty(path: &Path) -> Result<(), Failure> {
    make(path)?;
    let mut entries = std::fs::read_dir(path).map_err(|source| {
        Failure::input(OutputError::Read {
            path: path.into(),
            source,
        })
    })?;
    if entries.next().is_some() {
        return Err(Failure::input(OutputError::NotEmpty { path: path.into() }));
    }
    Ok(())
}

/// Writes one file, or leaves none: a partly written picture could be taken for a whole one.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let failed = |source| {
        Failure::input(OutputError::Write {
            path: path.into(),
            source,
        })
    };
    let mut file = File::create(path).map_err(failed)?;
    file.write_all(bytes).map_err(|source| {
        let _ = std::fs::remove_file(path);
        failed(source)
    })
}
