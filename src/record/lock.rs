//! One line per record folder: two lines would write into each other's log.

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use thiserror::Error;

/// Name of the lock file in the record folder.
pub(crate) const LOCK: &str = "lock";

/// A process that was killed a moment ago can still hold the lock.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why this line cannot take a record folder.
#[derive(Debug, Error)]
pub enum RecordLockError {
    /// Another line holds it.
    #[error("{}: another line ({holder}) writes there; give every line a record.folder of its own", folder.display())]
    Held {
        /// The folder.
        folder: PathBuf,
        /// The process that holds it, if the lock file names it.
        holder: String,
    },
    /// The lock cannot be taken for another reason.
    #[error("{}: cannot be locked", path.display())]
    Io {
        /// The folder or the file in it.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
}

/// The lock on a record folder. It ends when this value is dropped, or when the process ends.
#[derive(Debug)]
pub struct RecordLock {
    _file: File,
}

impl RecordLock {
    /// Locks `folder`, which is created if it is missing. If another process holds it, waits up to
    /// one second.
    ///
    /// # Errors
    /// [`RecordLockError`]. [`RecordLockError::Io`] does not mean that another line is there.
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
        // The number only helps people who find the folder locked. A full disk must not stop the
        // line.
        let _ = file.set_len(0);
        let _ = writeln!(file, "{}", std::process::id());
        Ok(Self { _file: file })
    }
}

/// The process that wrote its number into the file, as text.
fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file
        .rewind()
        .and_then(|()| file.take(32).read_to_string(&mut text));
    match (read, text.trim().parse::<u32>()) {
        (Ok(_), Ok(pid)) => format!("process {pid}"),
        _ => "an unknown process".into(),
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
