//! `[record]`: what is kept.

use super::images::ImageOptions;
use super::log::LogOptions;
use super::recorder::RecordOptions;
use crate::settings::kind::{decimal, flag, mib, path, whole};
use crate::settings::section;
use std::path::PathBuf;

const MOST_MIB: u64 = 16 * 1024 * 1024;

section! {
    /// `[record]`: what is kept.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Record, read as RecordRead in "record" {
        /// The folder.
        folder: PathBuf = "folder", path("a folder"), required;
        /// A log file is rotated at this size, bytes.
        log_max: u64 = "log_max_mib", mib(1..=4096), default 64;
        /// Log files.
        log_keep: u32 = "log_keep", whole(1..=100_000, "files"), default 16;
        /// Kept images, bytes.
        images_quota: u64 = "images_quota_mib", mib(0..=MOST_MIB), default 2048;
        /// Share of OK parts whose image is kept, 0 to 100.
        ok_sample_percent: f64 = "ok_sample_percent", decimal(0.0..=100.0, "%"), default 1;
        /// Below so many free bytes no images are kept.
        min_free: u64 = "min_free_mib", mib(0..=MOST_MIB), default 512;
        /// An event log that cannot be written stops the line.
        required: bool = "required", flag(), default false;
    }
}

impl Record {
    /// What the recorder is told of it; images are in a folder of their own.
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
