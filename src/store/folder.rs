//! The store's folder on a real disk, and the lock on it.

use super::StoreError;
use super::disk::Disk;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Name of the lock file.
const LOCK: &str = "store.lock";
/// Largest file that is read, bytes: a bundle.
const MAX_FILE: u64 = crate::product::MAX_FILE;
/// The line's user reads and writes, its group reads.
const MODE: u32 = 0o640;

/// A folder of the file system.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// The file that is being written. It stays open until its sync, which then states every error
    /// of its writes.
    open: Option<(String, File)>,
}

impl Folder {
    /// The folder `path`, which need not be there for reading.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_path_buf(),
            open: None,
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn file(&mut self, name: &str) -> io::Result<&File> {
        if self.open.as_ref().is_none_or(|(open, _)| open != name) {
            let file = OpenOptions::new().write(true).open(self.at(name))?;
            self.open = Some((name.to_owned(), file));
        }
        match &self.open {
            Some((_, file)) => Ok(file),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    fn forget(&mut self, name: &str) {
        self.open.take_if(|(open, _)| open == name);
    }
}

/// A root user makes files for the owner of the folder, who runs the line.
fn give_to_owner(file: &File, folder: &Path) -> io::Result<()> {
    let owner = std::fs::metadata(folder)?;
    let mine = file.metadata()?;
    if (mine.uid(), mine.gid()) == (owner.uid(), owner.gid()) {
        return Ok(());
    }
    match fchown(file, Some(owner.uid()), Some(owner.gid())) {
        // Another user of the group; the owner reads the file through the group.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
        other => other,
    }
}

impl Disk for Folder {
    fn list(&self) -> io::Result<Vec<String>> {
        let entries = match std::fs::read_dir(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let mut names = Vec::new();
        for entry in entries {
            // The store's own names are text.
            names.extend(entry?.file_name().into_string());
        }
        names.sort();
        Ok(names)
    }

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(self.at(name)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let mut bytes = Vec::new();
        file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(io::Error::other("larger than any file of a store"));
        }
        Ok(Some(bytes))
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(MODE);
        let file = options.open(self.at(name))?;
        give_to_owner(&file, &self.path)?;
        self.open = Some((name.to_owned(), file));
        Ok(())
    }

    fn write(&mut self, name: &str, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.file(name)?.write_all_at(bytes, at)
    }

    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()> {
        self.file(name)?.set_len(length)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        let synced = self.file(name)?.sync_all();
        self.forget(name);
        synced
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.forget(from);
        self.forget(to);
        std::fs::rename(self.at(from), self.at(to))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.forget(name);
        std::fs::remove_file(self.at(name))
    }

    fn sync_folder(&mut self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

/// The lock on a store's folder. It ends when this value is dropped, or when the process ends.
#[derive(Debug)]
pub struct StoreLock {
    _file: File,
}

impl StoreLock {
    /// Locks `folder`, which is made if it is missing. If another process holds it, waits up to
    /// `patience`.
    ///
    /// # Errors
    /// [`StoreError::Busy`], [`StoreError::Lock`].
    pub fn take(folder: &Path, patience: Duration) -> Result<Self, StoreError> {
        let path = folder.join(LOCK);
        let failed = |path: &Path| {
            let path = path.to_path_buf();
            move |source| StoreError::Lock { path, source }
        };
        std::fs::create_dir_all(folder).map_err(failed(folder))?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).mode(0o660);
        let file = options.truncate(false).open(&path);
        let file = file.map_err(failed(&path))?;
        give_to_owner(&file, folder).map_err(failed(&path))?;
        let began = Instant::now();
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { _file: file }),
                Err(Errno::WOULDBLOCK) if began.elapsed() < patience => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(Errno::WOULDBLOCK) => {
                    return Err(StoreError::Busy {
                        path: folder.to_path_buf(),
                    });
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(failed(&path)(error.into())),
            }
        }
    }
}
