//! One line on one record folder: two would write into each other's log.

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use thiserror::Error;

/// The file in the record folder that its line holds.
pub const LOCK: &str = "lock";

/// A process that was killed a moment ago may hold it still.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why a record folder is not this line's.
#[derive(Debug, Error)]
pub enum RecordLockError {
    /// Another line has it.
    #[error("{}: another line ({holder}) writes there; give every line a record.folder of its own", folder.display())]
    Held {
        /// The folder.
        folder: PathBuf,
        /// Who, as far as it said.
        holder: String,
    },
    /// It cannot be told.
    #[error("{}: cannot be locked", path.display())]
    Io {
        /// The folder or the file in it.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Held for as long as it lives, and by the kernel's hand never longer than its process.
#[derive(Debug)]
pub struct RecordLock {
    _file: File,
}

impl RecordLock {
    /// Takes `folder`, which is made where it is not there. Waits up to a second for whoever has it.
    ///
    /// # Errors
    /// [`RecordLockError`]; [`RecordLockError::Io`] says nothing of other lines.
    pub fn take(folder: &Path) -> Result<Self, RecordLockError> {
        let path = folder.join(LOCK);
        let failed = |path: &Path| {
            let path = path.to_path_buf();
            move |source| RecordLockError::Io { path, source }
        };
        std::fs::create_dir_all(folder).map_err(failed(folder))?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path);
        let mut file = file.map_err(failed(&path))?;
        let began = Instant::now();
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(Errno::WOULDBLOCK) if began.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(Errno::WOULDBLOCK) => {
                    return Err(RecordLockError::Held {
                        folder: folder.to_path_buf(),
                        holder: holder(&mut file),
                    });
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(failed(&path)(error.into())),
            }
        }
        // Only for whoever finds it held; a full disk must not keep the line from running.
        let _ = file.set_len(0);
        let _ = writeln!(file, "{}", std::process::id());
        Ok(Self { _file: file })
    }
}

/// Who wrote itself into the file, in words.
fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file
        .rewind()
        .and_then(|()| file.take(32).read_to_string(&mut text));
    match (read, text.trim().parse::<u32>()) {
        (Ok(_), Ok(pid)) => format!("process {pid}"),
        _ => "a process that did not say which".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_lines_on_one_record_folder_are_refused_and_told_whose_it_is() {
        let folder = tempfile::tempdir().expect("folder");
        let record = folder.path().join("record");
        let first = RecordLock::take(&record).expect("free");
        let error = RecordLock::take(&record).expect_err("held").to_string();
        let who = format!("process {}", std::process::id());
        assert!(error.contains(&who), "{error}");
        assert!(error.contains("record.folder"), "{error}");
        RecordLock::take(&folder.path().join("other")).expect("another folder");
        drop(first);
        RecordLock::take(&record).expect("free again");
    }

    #[test]
    fn one_that_goes_in_time_is_waited_for() {
        let folder = tempfile::tempdir().expect("folder");
        let first = RecordLock::take(folder.path()).expect("free");
        std::thread::scope(|scope| {
            scope.spawn(move || {
                std::thread::sleep(Duration::from_millis(50));
                drop(first);
            });
            RecordLock::take(folder.path()).expect("free in a moment");
        });
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("file");
        std::fs::write(&file, "").expect("write");
        let error = RecordLock::take(&file.join("record")).expect_err("no folder");
        assert!(matches!(error, RecordLockError::Io { .. }), "{error}");
        assert!(error.to_string().contains("file/record"), "{error}");
    }
}
