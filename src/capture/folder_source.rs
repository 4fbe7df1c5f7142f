//! A simulated camera of image files: those of a folder, in the order of their names, again and
//! again.

use super::pace::{Exposure, Pacer};
use super::source::{CaptureError, Flash, FrameSource};
use crate::frame::file::{ImageFileError, list};
use crate::frame::{PixelFormat, RawFrame};
use crate::time::Duration;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Largest size of an image file, bytes.
const LARGEST: u64 = 1 << 28;

/// Image files as frames, [`PixelFormat::File`]. The files are listed when the source is opened and
/// read in turn, so a folder can be larger than memory.
pub struct FolderSource {
    folder: PathBuf,
    exposure: Exposure,
    pacer: Option<Pacer>,
    files: Vec<PathBuf>,
    largest: usize,
}

impl FolderSource {
    /// A source of the images under `folder`; nothing is read yet.
    pub fn new(folder: &Path, exposure: Exposure) -> Self {
        Self {
            folder: folder.to_path_buf(),
            exposure,
            pacer: None,
            files: Vec::new(),
            largest: 0,
        }
    }

    /// The file that frame `sequence` shows; None before the source is open.
    pub fn file(&self, sequence: u64) -> Option<&Path> {
        let count = self.files.len() as u64;
        let at = sequence.checked_rem(count)?;
        self.files.get(at as usize).map(PathBuf::as_path)
    }

    fn failed(&self, problem: impl Into<String>) -> CaptureError {
        CaptureError::Open {
            source_name: self.folder.display().to_string(),
            problem: problem.into(),
        }
    }
}

/// Size of the largest of `files`.
pub(super) fn largest(files: &[PathBuf]) -> Result<usize, CaptureError> {
    let mut largest = 0;
    for path in files {
        let failed = |source| CaptureError::File {
            path: path.clone(),
            source,
        };
        let meta = std::fs::metadata(path).map_err(failed)?;
        // A pipe can block without end.
        if !meta.is_file() {
            return Err(failed(std::io::Error::other("not a regular file")));
        }
        if meta.len() > LARGEST {
            return Err(failed(std::io::Error::other("larger than 256 MiB")));
        }
        largest = largest.max(meta.len() as usize);
    }
    Ok(largest)
}

/// Reads a file into the frame's memory. A file that no longer fits counts as damaged.
pub(super) fn read_into(path: &Path, into: &mut RawFrame) -> Result<(), CaptureError> {
    let failed = |source| CaptureError::File {
        path: path.to_path_buf(),
        source,
    };
    let mut file = File::open(path).map_err(failed)?;
    let length = usize::try_from(file.metadata().map_err(failed)?.len()).unwrap_or(usize::MAX);
    let taken = length.min(into.bytes.capacity());
    into.bytes.clear();
    into.bytes.resize(taken, 0);
    file.read_exact(&mut into.bytes).map_err(failed)?;
    into.format = PixelFormat::File;
    (into.width, into.height, into.stride) = (0, 0, 0);
    into.damaged = taken < length;
    Ok(())
}

impl FrameSource for FolderSource {
    fn open(&mut self) -> Result<(), CaptureError> {
        let listed = list(&self.folder).map_err(|error| match error {
            ImageFileError::Read { path, source } => CaptureError::File { path, source },
            other => self.failed(other.to_string()),
        })?;
        if let Some(words) = listed.passed_over() {
            log::warn!("{}: {words}", self.folder.display());
        }
        self.files = listed.images;
        if self.files.is_empty() {
            return Err(self.failed("no images in this folder"));
        }
        self.largest = largest(&self.files)?;
        if self.pacer.is_none() {
            let pacer = Pacer::new(self.exposure).map_err(|problem| self.failed(problem))?;
            self.pacer = Some(pacer);
        }
        if let Some(pacer) = &mut self.pacer {
            pacer.restart();
        }
        Ok(())
    }

    fn next(&mut self, into: &mut RawFrame, at_most: Duration) -> Result<bool, CaptureError> {
        let Some(pacer) = &mut self.pacer else {
            return Err(CaptureError::Lost {
                source_name: self.folder.display().to_string(),
                problem: "not open".to_owned(),
            });
        };
        let Some(exposed) = pacer.next(at_most) else {
            return Ok(false);
        };
        (into.time, into.sequence) = (exposed.time, exposed.sequence);
        into.lost_before = exposed.lost_before;
        match self.file(exposed.sequence) {
            Some(path) => read_into(path, into).map(|()| true),
            None => Ok(false),
        }
    }

    fn frame_bytes(&self) -> usize {
        self.largest
    }

    fn describe(&self) -> String {
        let pace = describe(self.exposure);
        format!(
            "{}: {} images, {pace}",
            self.folder.display(),
            self.files.len()
        )
    }

    fn flash(&mut self) -> Option<Box<dyn Flash>> {
        self.pacer.as_mut()?.flash()
    }
}

pub(crate) fn describe(exposure: Exposure) -> String {
    match exposure {
        Exposure::FreeRunning { fps } => format!("{fps} fps"),
        Exposure::OnTrigger { delay } => format!("exposed {delay:?} after each trigger"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::decode;
    use crate::frame::{Frame, Pixels};

    const SOON: Duration = Duration::from_secs(5);

    fn folder_of(levels: &[u8]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("folder");
        for &level in levels {
            image::GrayImage::from_pixel(6, 4, image::Luma([level]))
                .save(folder.path().join(format!("{level:03}.png")))
                .expect("write");
        }
        folder
    }

    #[test]
    fn files_come_by_name_and_begin_again() {
        let folder = folder_of(&[30, 10, 20]);
        let mut source =
            FolderSource::new(folder.path(), Exposure::OnTrigger { delay: SOON / 500 });
        source.open().expect("open");
        let mut flash = source.flash().expect("flash");
        let mut raw = RawFrame::with_capacity(source.frame_bytes());
        let mut frame = Frame::blank();
        for (number, level) in [10, 20, 30, 10, 20].into_iter().enumerate() {
            let time = crate::clock::now();
            flash.fire(time);
            assert!(source.next(&mut raw, SOON).expect("next"));
            assert_eq!(
                (raw.time, raw.sequence),
                (time.after(SOON / 500), number as u64)
            );
            decode(&raw, &mut frame).expect("decode");
            assert_eq!(frame.pixels(), &Pixels::Gray8(vec![level; 24]));
            let name = source.file(number as u64).expect("file");
            assert!(name.ends_with(format!("{level:03}.png")));
        }
        assert!(!source.next(&mut raw, Duration::ZERO).expect("nothing"));
        assert!(
            source.describe().contains("3 images"),
            "{}",
            source.describe()
        );
    }

    #[test]
    fn problems_name_the_folder_or_file() {
        let folder = folder_of(&[]);
        let pace = Exposure::FreeRunning { fps: 1000.0 };
        let open = |path: &Path| {
            let mut source = FolderSource::new(path, pace);
            let error = source.open().expect_err("opened");
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            format!("{error} {cause:?}")
        };
        let name = folder.path().display().to_string();
        let error = open(folder.path());
        assert!(
            error.contains(&name) && error.contains("no images"),
            "{error}"
        );
        assert!(open(&folder.path().join("gone")).contains("gone"));
        std::os::unix::fs::symlink("/dev/zero", folder.path().join("a.png")).expect("link");
        assert!(open(folder.path()).contains("regular file"));
    }

    #[test]
    fn a_file_that_goes_away_is_an_error_and_one_that_grows_is_damaged() {
        let folder = folder_of(&[5, 6]);
        let pace = Exposure::FreeRunning { fps: 500.0 };
        let mut source = FolderSource::new(folder.path(), pace);
        source.open().expect("open");
        let mut raw = RawFrame::with_capacity(source.frame_bytes());
        let room = raw.bytes.capacity();
        std::fs::write(folder.path().join("005.png"), vec![1; room + 50]).expect("write");
        std::fs::remove_file(folder.path().join("006.png")).expect("remove");
        let (mut damaged, mut gone) = (false, false);
        for _ in 0..8 {
            match source.next(&mut raw, SOON) {
                Ok(_) => damaged |= raw.damaged,
                Err(error) => gone |= error.to_string().contains("006.png"),
            }
            assert_eq!(raw.bytes.capacity(), room);
        }
        assert!(damaged && gone);
    }
}
