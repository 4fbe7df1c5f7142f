//! What the store does to files. Tests put a disk behind it that fails, or loses what was not synced.

use std::io;

/// One folder of files. What is written is safe only after [`Disk::sync`] of the file; what is created,
/// renamed or removed only after [`Disk::sync_folder`].
pub trait Disk {
    /// Names of the files in the folder.
    ///
    /// # Errors
    /// The system's error.
    fn list(&self) -> io::Result<Vec<String>>;

    /// A whole file; None if it is not there.
    ///
    /// # Errors
    /// The system's error.
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>>;

    /// Makes an empty file that was not there.
    ///
    /// # Errors
    /// The system's error.
    fn create(&mut self, name: &str) -> io::Result<()>;

    /// Writes all of `bytes` from the byte `at` of the file.
    ///
    /// # Errors
    /// The system's error. Some of the bytes can have been written.
    fn write(&mut self, name: &str, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts the file to `length` bytes.
    ///
    /// # Errors
    /// The system's error.
    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()>;

    /// Brings the file's bytes to the disk.
    ///
    /// # Errors
    /// The system's error. Nobody knows then what of the file is on the disk.
    fn sync(&mut self, name: &str) -> io::Result<()>;

    /// Gives a file another name. A file that has it is replaced.
    ///
    /// # Errors
    /// The system's error.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// The system's error.
    fn remove(&mut self, name: &str) -> io::Result<()>;

    /// Brings the folder's names to the disk.
    ///
    /// # Errors
    /// The system's error.
    fn sync_folder(&mut self) -> io::Result<()>;
}
