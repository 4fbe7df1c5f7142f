//! Room on the disk for the bundle, taken before the long work and not looked for after it.

use crate::cli::{make_folder_of, partial, unwritable, write_file};
use crate::error::TrainError;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Bytes written at a time.
const PIECE: usize = 1 << 20;

/// A file beside the output that holds its place, and goes when this does.
pub(super) struct Room {
    output: PathBuf,
    taken: bool,
}

impl Room {
    /// Takes `bytes` beside `output`. They are really written, which works on every file system
    /// and counts against quotas, and are random, which no file system can compress.
    ///
    /// The file is closed again: where two fits have the same output, none writes into what the
    /// other has finished.
    pub(super) fn take(output: &Path, bytes: u64) -> Result<Self, TrainError> {
        make_folder_of(output)?;
        let path = partial(output);
        let mut file = File::create(&path).map_err(unwritable(output))?;
        let room = Self {
            output: output.to_path_buf(),
            taken: true,
        };
        fill(&mut file, bytes).map_err(|source| TrainError::Room {
            path: output.to_path_buf(),
            needed_mib: bytes.div_ceil(1 << 20),
            source,
        })?;
        Ok(room)
    }

    /// Writes the bundle in the room's place.
    pub(super) fn write(mut self, bundle: &[u8]) -> Result<(), TrainError> {
        self.taken = false;
        write_file(&self.output, bundle)
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

impl Drop for Room {
    fn drop(&mut self) {
        if self.taken {
            let _ = std::fs::remove_file(partial(&self.output));
        }
    }
}
