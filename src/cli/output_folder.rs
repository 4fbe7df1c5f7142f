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
        "{}: holds images that are to be inspected, and overlays could overwrite them or be inspected next time; choose another --out",
        path.display()
    )]
    HoldsInputs { path: PathBuf },
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
