//! An alarm stands until a person has looked, whatever becomes of the process that raised it: a file
//! beside the event log says so to the next one.

use std::io;
use std::path::{Path, PathBuf};

/// Whether an alarm stands, on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlarmLatch {
    path: PathBuf,
}

impl AlarmLatch {
    /// In the record's folder.
    pub fn new(record: &Path) -> Self {
        Self {
            path: record.join("alarm"),
        }
    }

    /// Whether an alarm was raised and nobody acknowledged it. Where that cannot be told, one was.
    pub fn stands(&self) -> bool {
        self.path.try_exists().unwrap_or_else(|error| {
            log::error!(
                "{}: cannot be looked at ({error}), so the alarm is taken to stand",
                self.path.display()
            );
            true
        })
    }

    /// The alarm `stands`, or was acknowledged. What fails is told: the next start would not know.
    pub(super) fn set(&self, stands: bool) {
        let done = if stands {
            self.raise()
        } else {
            match std::fs::remove_file(&self.path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
                _ => Ok(()),
            }
        };
        if let Err(error) = done {
            let what = if stands { "raised" } else { "acknowledged" };
            log::error!(
                "{}: the next start will not know that the alarm was {what}: {error}",
                self.path.display()
            );
        }
    }

    fn raise(&self) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let text = "An alarm was raised. `partgate tell CONFIG acknowledge` removes this file.\n";
        std::fs::write(&self.path, text)?;
        std::fs::File::open(&self.path)?.sync_all()?;
        // Its name too has to outlive a power cut.
        std::fs::File::open(folder)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_raised_stands_until_it_is_acknowledged() {
        let folder = tempfile::tempdir().unwrap();
        let latch = AlarmLatch::new(&folder.path().join("record"));
        assert!(!latch.stands());
        latch.set(false);
        latch.set(true);
        assert!(AlarmLatch::new(&folder.path().join("record")).stands());
        latch.set(false);
        assert!(!latch.stands());
    }
}
