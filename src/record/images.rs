//! Images of parts: of every rejected part and of a share of the passed parts, within a quota.
//!
//! This runs on the recorder's thread. An image that cannot be kept is counted; nothing else
//! depends on it.

use super::entry::PartEntry;
use super::free_bytes::free_bytes;
use super::kept::{Index, Name};
use super::marks::{self, Mark, MarkError};
use super::wall::Utc;
use crate::frame::{Frame, Pixels};
use crate::frame::{PixelFormat, RawFrame};
use crate::line::gate::PartId;
use crate::seed::Rng;
use crate::time::{Duration, Instant};
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder, ImageError};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Most files that are removed to make room for one image, and most that one [`Images::tick`]
/// removes. It bounds the time that both take.
const AT_ONCE: usize = 64;
/// Files of earlier runs that one [`Images::tick`] adds to the index.
const FOUND_AT_ONCE: usize = 2_000;
/// Shortest time between two warnings.
const WARN_EVERY: Duration = Duration::from_millis(60_000);
/// Name of an image while it is written, in the folder of images.
const UNFINISHED: &str = "unfinished";

/// Turns a raw frame into pixels. It is the same function that the inspector uses.
pub type Decode =
    Box<dyn FnMut(&RawFrame) -> Result<Frame, Box<dyn std::error::Error + Send + Sync>> + Send>;

/// Which images are kept, where, and how many.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageOptions {
    /// The folder, created if it is missing. Files that this program did not name are left alone
    /// and not counted.
    pub folder: PathBuf,
    /// Most bytes that images can take on the disk; 0 keeps none.
    pub quota_bytes: u64,
    /// Share of the passed parts whose image is kept, per cent.
    pub ok_sample_percent: f64,
    /// Bytes that stay free on the disk for others. If less is free, images of earlier parts are
    /// removed.
    pub min_free_bytes: u64,
    /// Seed that selects the passed parts: the same seed and part number give the same choice.
    pub seed: u64,
}

impl ImageOptions {
    /// Which passed parts are kept. For code that must know it before the part is decided.
    pub fn sampler(&self) -> Sampler {
        let kept = self.quota_bytes > 0;
        Sampler {
            percent: if kept { self.ok_sample_percent } else { 0.0 },
            seed: self.seed,
        }
    }
}

/// Selects the passed parts whose images are kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    percent: f64,
    seed: u64,
}

impl Sampler {
    /// Whether `part` is selected.
    pub fn takes(&self, part: PartId) -> bool {
        let unit = || f64::from(Rng::stream(self.seed, part.0).unit());
        self.percent > 0.0 && unit() * 100.0 < self.percent
    }
}

/// Why an image was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dropped {
    /// It does not fit the quota or the free space, even after all images that can go are removed.
    NoRoom,
    /// The file could not be written.
    NotWritten,
    /// The frame could not be decoded or encoded.
    NotEncoded,
}

impl Dropped {
    /// All of them, in the order of their numbers.
    pub const ALL: [Dropped; 3] = [Dropped::NoRoom, Dropped::NotWritten, Dropped::NotEncoded];

    /// Name in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Dropped::NoRoom => "no_room",
            Dropped::NotWritten => "not_written",
            Dropped::NotEncoded => "not_encoded",
        }
    }
}

/// What happened to a part's image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// No image was wanted: there is no frame, or the part passed and is not selected.
    NotWanted,
    /// It is kept in this file; the path is relative to the folder of images.
    As(PathBuf),
    /// It was wanted but is not kept.
    Dropped(Dropped),
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImageCounts {
    /// Kept images of passed parts.
    pub kept_passed: u64,
    /// Kept images of rejected parts.
    pub kept_rejected: u64,
    /// Images that were wanted but are not kept, in the order of [`Dropped::ALL`].
    pub dropped: [u64; Dropped::ALL.len()],
    /// Older images that were removed to make room.
    pub removed: u64,
}

#[derive(Debug, Error)]
enum KeepError {
    #[error(
        "{} free bytes are left, {min_free} must stay free, and no older image can make room",
        free
    )]
    DiskFull { free: u64, min_free: u64 },
    #[error(
        "an image of {bytes} bytes does not fit the quota of {quota} bytes beside what has to stay"
    )]
    Quota { bytes: u64, quota: u64 },
    #[error("{}: cannot be written: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("the frame cannot be decoded: {0}")]
    Decode(Box<dyn std::error::Error + Send + Sync>),
    #[error("the image cannot be encoded: {0}")]
    Encode(ImageError),
}

impl KeepError {
    fn kind(&self) -> Dropped {
        match self {
            KeepError::DiskFull { .. } | KeepError::Quota { .. } => Dropped::NoRoom,
            KeepError::Write { .. } => Dropped::NotWritten,
            KeepError::Decode(_) | KeepError::Encode(_) => Dropped::NotEncoded,
        }
    }
}

/// The kept images. One thread owns them.
pub struct Images {
    options: ImageOptions,
    decode: Decode,
    index: Index,
    counts: ImageCounts,
    /// Buffer for encoded bytes, reused.
    encoded: Vec<u8>,
    warned: Option<Instant>,
    /// Images dropped since the last call of `news`, and why the last one was.
    news: (u64, String),
}

impl Images {
    /// Never fails and does not touch the disk yet. [`Images::tick`] adds the images of earlier
    /// runs to the index, some per call.
    pub fn new(options: ImageOptions, decode: Decode) -> Self {
        Self {
            index: Index::new(options.folder.clone()),
            options,
            decode,
            counts: ImageCounts::default(),
            encoded: Vec::new(),
            warned: None,
            news: (0, String::new()),
        }
    }

    /// Counts since the start.
    pub fn counts(&self) -> ImageCounts {
        self.counts
    }

    /// Known kept images: bytes on the disk, and their number.
    pub fn stored(&self) -> (u64, u64) {
        (self.index.bytes(), self.index.files())
    }

    /// Whether all images of earlier runs are in the index.
    pub fn found_all(&self) -> bool {
        self.index.complete()
    }

    /// Number of images dropped since the last call, and why the last one was.
    pub fn news(&mut self) -> Option<(u64, String)> {
        (self.news.0 > 0).then(|| std::mem::take(&mut self.news))
    }

    /// Whether the image of this part is wanted.
    pub fn wanted(&self, entry: &PartEntry) -> bool {
        let sampled = || self.options.sampler().takes(entry.part);
        self.options.quota_bytes > 0 && (!entry.passed() || sampled())
    }

    /// Keeps the image of a part if it is wanted.
    pub fn keep(&mut self, entry: &PartEntry, frame: Option<&RawFrame>, now: Instant) -> Kept {
        let Some(frame) = frame.filter(|f| !f.bytes.is_empty() && self.wanted(entry)) else {
            return Kept::NotWanted;
        };
        match self.store(entry, frame) {
            Ok(path) => {
                if entry.passed() {
                    self.counts.kept_passed += 1;
                } else {
                    self.counts.kept_rejected += 1;
                }
                Kept::As(path)
            }
            Err(error) => {
                let kind = error.kind();
                self.counts.dropped[kind as usize] += 1;
                self.news.0 += 1;
                self.news.1 = error.to_string();
                if self.warned.is_none_or(|at| now.since(at) >= WARN_EVERY) {
                    self.warned = Some(now);
                    ::log::warn!("image of part {}: {error}; the gate goes on", entry.part.0);
                }
                Kept::Dropped(kind)
            }
        }
    }

    /// Keeps the newest image of this part until a person takes it away. Returns its path below the
    /// folder of the record.
    pub fn mark(&mut self, mark: &Mark) -> Result<PathBuf, MarkError> {
        let name = self.index.newest_of(mark.part);
        let name = name.ok_or(MarkError::NoPicture(mark.part))?;
        let (folder, least) = (&self.options.folder, self.options.min_free_bytes);
        marks::put(folder, &name, mark.kind, least)
    }

    /// To be called a few times per second. Adds images of earlier runs to the index, and removes
    /// images over the quota.
    pub fn tick(&mut self) {
        if self.options.quota_bytes == 0 {
            return;
        }
        self.index.find_more(FOUND_AT_ONCE);
        // Free space is not checked here. If others fill the disk, kept images must not be removed
        // while no new image needs the room.
        for _ in 0..AT_ONCE {
            if self.index.bytes() <= self.options.quota_bytes || !self.remove_oldest(true) {
                break;
            }
        }
    }

    fn store(&mut self, entry: &PartEntry, frame: &RawFrame) -> Result<PathBuf, KeepError> {
        let kept_as = file_ending(frame);
        let bytes: &[u8] = match kept_as {
            Some(_) => &frame.bytes,
            None => {
                let decoded = (self.decode)(frame).map_err(KeepError::Decode)?;
                self.encoded.clear();
                encode_png(&decoded, &mut self.encoded).map_err(KeepError::Encode)?;
                &self.encoded
            }
        };
        let length = bytes.len() as u64;
        self.make_room(length, !entry.passed())?;
        let bytes: &[u8] = match kept_as {
            Some(_) => &frame.bytes,
            None => &self.encoded,
        };
        let name = Name::new(
            Utc::from(entry.wall),
            entry.part.0,
            entry.reason,
            kept_as.unwrap_or("png"),
        );
        let folder = &self.options.folder;
        let name = write(folder, name, bytes).map_err(|(path, source)| {
            // A partly written image is of no use.
            let _ = std::fs::remove_file(folder.join(UNFINISHED));
            KeepError::Write { path, source }
        })?;
        let path = name.path();
        self.index.add(name, length);
        Ok(path)
    }

    /// Removes older images until `bytes` more fit. Images of rejected parts are removed only for
    /// other rejected parts.
    fn make_room(&mut self, bytes: u64, rejected: bool) -> Result<(), KeepError> {
        let quota = self.options.quota_bytes;
        let min_free = self.options.min_free_bytes;
        let needed = Index::on_disk(bytes);
        if needed > quota {
            return Err(KeepError::Quota { bytes, quota });
        }
        for _ in 0..=AT_ONCE {
            let over = self.index.bytes() + needed > quota;
            let free = free_bytes(&self.options.folder);
            let full = free.is_some_and(|free| free < min_free.saturating_add(needed));
            if !over && !full {
                return Ok(());
            }
            if !self.remove_oldest(rejected) {
                return Err(match free {
                    Some(free) if full => KeepError::DiskFull { free, min_free },
                    _ => KeepError::Quota { bytes, quota },
                });
            }
        }
        Err(KeepError::Quota { bytes, quota })
    }

    /// Removes the oldest image of a passed part. If there is none and `rejects` is true, the
    /// oldest one of a rejected part.
    fn remove_oldest(&mut self, rejects: bool) -> bool {
        let removed = self.index.remove_oldest(rejects);
        self.counts.removed += u64::from(removed);
        removed
    }
}

impl std::fmt::Debug for Images {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Images")
            .field("options", &self.options)
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}

/// The file ending of a frame that is kept as the camera gave it; None if it must be encoded.
pub fn file_ending(frame: &RawFrame) -> Option<&'static str> {
    match frame.format {
        PixelFormat::Mjpeg => Some("jpg"),
        PixelFormat::File => Some(match &frame.bytes[..] {
            [0x89, b'P', b'N', b'G', ..] => "png",
            [0xff, 0xd8, ..] => "jpg",
            [b'B', b'M', ..] => "bmp",
            [b'I', b'I', ..] | [b'M', b'M', ..] => "tif",
            // Not a known image format. It is kept so that a person can look at the bytes.
            _ => "bin",
        }),
        _ => None,
    }
}

/// Appends `frame` to `into` as a PNG file with the frame's own depth and channels.
///
/// # Errors
/// The error of the encoder.
pub fn encode_png(frame: &Frame, into: &mut Vec<u8>) -> Result<(), ImageError> {
    use ExtendedColorType::{L8, L16, Rgb8, Rgb16};
    let encoder = PngEncoder::new_with_quality(into, CompressionType::Fast, FilterType::Adaptive);
    let (width, height) = (frame.width() as u32, frame.height() as u32);
    // The encoder takes 16-bit samples in the machine's byte order and swaps them itself.
    let native = |v: &[u16]| v.iter().flat_map(|s| s.to_ne_bytes()).collect::<Vec<u8>>();
    match frame.pixels() {
        Pixels::Gray8(v) => encoder.write_image(v, width, height, L8),
        Pixels::Rgb8(v) => encoder.write_image(v, width, height, Rgb8),
        Pixels::Gray16(v) => encoder.write_image(&native(v), width, height, L16),
        Pixels::Rgb16(v) => encoder.write_image(&native(v), width, height, Rgb16),
    }
}

/// Writes the whole file or nothing: it is written under another name first. Returns the name that
/// is used.
fn write(folder: &Path, mut name: Name, bytes: &[u8]) -> Result<Name, (PathBuf, io::Error)> {
    let day = folder.join(name.day());
    let unfinished = folder.join(UNFINISHED);
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |error| (path, error)
    };
    std::fs::create_dir_all(&day).map_err(failed(&day))?;
    let mut file: File = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&unfinished)
        .map_err(failed(&unfinished))?;
    file.write_all(bytes).map_err(failed(&unfinished))?;
    drop(file);
    loop {
        let path = folder.join(name.path());
        // A hard link does not replace an existing file; a rename would.
        match std::fs::hard_link(&unfinished, &path) {
            Ok(()) => break,
            // The clock was set back, and the same part number came in the same millisecond.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                name = name.next().ok_or((path, e))?;
            }
            // The file system has no hard links (FAT, exFAT).
            Err(_) if !path.exists() => {
                return match std::fs::rename(&unfinished, &path) {
                    Ok(()) => Ok(name),
                    Err(error) => Err((path, error)),
                };
            }
            Err(error) => return Err((path, error)),
        }
    }
    std::fs::remove_file(&unfinished).map_err(failed(&unfinished))?;
    Ok(name)
}
