//! `[record]`: the event log and the kept images.

use super::images::ImageOptions;
use super::log::LogOptions;
use super::recorder::RecordOptions;
use crate::settings::kind::{decimal, flag, mib, path, whole};
use crate::settings::section;
use std::path::PathBuf;

const MOST_MIB: u64 = 16 * 1024 * 1024;

section! {
    /// `[record]`: the event log and the kept images.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Record, read as RecordRead in "record" {
        /// The folder of the log, of the images and of the lock.
        folder: PathBuf = "folder", path("a folder"), required;
        /// A log file is rotated at this size, bytes.
        log_max: u64 = "log_max_mib", mib(1..=4096), default 64;
        /// Number of log files that are kept.
        log_keep: u32 = "log_keep", whole(1..=100_000, "files"), default 16;
        /// Most disk space of kept images, bytes; 0 keeps none.
        images_quota: u64 = "images_quota_mib", mib(0..=MOST_MIB), default 2048;
        /// Share of passed parts whose image is kept, 0 to 100 per cent.
        ok_sample_percent: f64 = "ok_sample_percent", decimal(0.0..=100.0, "%"), default 1;
        /// If fewer bytes are free on the disk, older images are removed or no new ones are kept.
        min_free: u64 = "min_free_mib", mib(0..=MOST_MIB), default 512;
        /// Whether the line stops if the event log cannot be written.
        required: bool = "required", flag(), default false;
    }
}

impl Record {
    /// Options for the recorder. Images are in the subfolder `images`.
    pub fn options(&self) -> RecordOptions {
        RecordOptions {
            log: LogOptions {
                folder: self.folder.clone(),
                max_bytes: self.log_max,
                keep: self.log_keep as usize,
            },
            images: ImageOptions {
                folder: self.folder.join("images"),
                quota_bytes: self.images_quota,
                ok_sample_percent: self.ok_sample_percent,
                min_free_bytes: self.min_free,
                seed: 0,
            },
        }
    }
}
