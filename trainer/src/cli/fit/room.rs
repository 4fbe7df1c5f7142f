//! Room on the disk for the bundle, taken before the long work and not looked for after it.

use crate::cli::{make_folder_of, partial, unwritable, write_file};
use crate::error::TrainError;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Bytes written at a time.
const PIECE: usize = 1 << 20;

/// A nameless file on the output's disk that holds the bundle's place. It goes when this does, and
/// with the process, however that ends: a fit that is killed leaves nothing behind.
pub(super) struct Room {
    output: PathBuf,
    held: File,
}

impl Room {
    /// Takes `bytes` beside `output`. They are really written, which works on every file system
    /// and counts against quotas, and are random, which no file system can compress.
    pub(super) fn take(output: &Path, bytes: u64) -> Result<Self, TrainError> {
        make_folder_of(output)?;
        // A name of its own: another fit may be taking room for the same output.
        let mut name = partial(output).into_os_string();
        name.push(format!("-{}", std::process::id()));
        let name = PathBuf::from(name);
        let mut held = File::create(&name)
            .and_then(|file| fs::remove_file(&name).map(|()| file))
            .map_err(unwritable(output))?;
        fill(&mut held, bytes).map_err(|source| TrainError::Room {
            path: output.to_path_buf(),
            needed_mib: bytes.div_ceil(1 << 20),
            source,
        })?;
        Ok(Self {
            output: output.to_path_buf(),
            held,
        })
    }

    /// Writes the bundle in the room's place.
    pub(super) fn write(self, bundle: &[u8]) -> Result<(), TrainError> {
        let Self { output, held } = self;
        drop(held);
        write_file(&output, bundle)
    }
}

fn fill(file: &mut File, bytes: u64) -> io::Result<()> {
    let mut noise = blake3::Hasher::new().finalize_xof();
    let mut piece = vec![0; PIECE];
    let mut left = bytes;
    while left > 0 {
        let now = left.min(PIECE as u64) as usize;
        noise.fill(&mut piece[..now]);
        file.write_all(&piece[..now])?;
        left -= now as u64;
    }
    // Network file systems only say now that there was no room.
    file.sync_data()
}
