//! Free space for the bundle, reserved before the long work.

use crate::cli::{make_folder_of, partial, unwritable, write_file};
use crate::error::TrainError;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Bytes written at a time.
const PIECE: usize = 1 << 20;

/// A deleted file on the output's disk that is as large as the bundle may be. The system frees it
/// when it is closed, so a fit that is killed leaves nothing behind.
pub(super) struct ReservedSpace {
    output: PathBuf,
    file: File,
}

impl ReservedSpace {
    /// Reserves `bytes` beside `output`. It writes them, which works on every file system and
    /// counts against quotas. They are random, so that no file system can compress them.
    ///
    /// # Errors
    /// [`TrainError::FreeSpace`] where there is less, [`TrainError::Unwritable`] where this user
    /// may not write.
    pub(super) fn take(output: &Path, bytes: u64) -> Result<Self, TrainError> {
        make_folder_of(output)?;
        // A name of its own: another fit may reserve space for the same output.
        let mut name = partial(output).into_os_string();
        name.push(format!("-{}", std::process::id()));
        let name = PathBuf::from(name);
        let mut file = File::create(&name)
            .and_then(|file| fs::remove_file(&name).map(|()| file))
            .map_err(unwritable(output))?;
        fill(&mut file, bytes).map_err(|source| TrainError::FreeSpace {
            path: output.to_path_buf(),
            needed_mib: bytes.div_ceil(1 << 20),
            source,
        })?;
        Ok(Self {
            output: output.to_path_buf(),
            file,
        })
    }

    /// Frees the space and writes the bundle.
    pub(super) fn write(self, bundle: &[u8]) -> Result<(), TrainError> {
        let Self { output, file } = self;
        drop(file);
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
    // Network file systems report a full disk only here.
    file.sync_data()
}
