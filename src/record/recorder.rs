//! The recorder thread's work: it takes parts and events and writes log entries and images.

use super::drift::{Drift, DriftChange};
use super::entry::{EventEntry, EventKind, Latencies, PartEntry, ShortText};
use super::images::{Decode, ImageOptions, Images, Kept};
use super::log::{EventLog, LogOptions};
use super::marks::{Mark, MarkError};
use super::metrics::Metrics;
use super::wall::Utc;
use crate::frame::RawFrame;
use crate::line::gate::PartVerdict;
use crate::time::{Duration, Instant};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// Shortest time between two log entries about images that were not kept.
const IMAGE_NEWS_EVERY: Duration = Duration::from_millis(60_000);

/// What is recorded, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordOptions {
    /// The event log.
    pub log: LogOptions,
    /// The images.
    pub images: ImageOptions,
}

#[derive(Serialize)]
struct PartLine<'a> {
    part: u64,
    trigger_ns: u64,
    wall: Utc,
    #[serde(skip_serializing_if = "Option::is_none")]
    frame_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frame_sequence: Option<u64>,
    score: Option<f32>,
    verdict: Option<&'static str>,
    decision: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    latency_us: &'a Latencies,
    product: &'a str,
    digest: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    set: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<&'a Path>,
}

#[derive(Serialize)]
struct EventLine<'a> {
    event: &'static str,
    at_ns: u64,
    wall: Utc,
    subject: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    detail: &'a str,
}

#[derive(Serialize)]
struct ImageNews<'a> {
    event: &'static str,
    at_ns: u64,
    wall: Utc,
    count: u64,
    why: &'a str,
}

/// Owns log and images. Never fails and never waits for space. `now` is CLOCK_MONOTONIC.
#[derive(Debug)]
pub struct Recorder {
    log: EventLog,
    images: Images,
    metrics: Arc<Metrics>,
    drift: Option<Drift>,
    image_news: Option<Instant>,
}

impl Recorder {
    /// Does not touch the disk yet. `decode` turns frames into pixels, as the inspector does.
    pub fn new(
        options: RecordOptions,
        decode: Decode,
        drift: Option<Drift>,
        metrics: Arc<Metrics>,
    ) -> Self {
        if let Some(drift) = &drift {
            metrics.drift_reference.set(drift.reference());
        }
        Self {
            log: EventLog::new(options.log),
            images: Images::new(options.images, decode),
            metrics,
            drift,
            image_news: None,
        }
    }

    /// Records a decided part. `frame` is the frame on which it was inspected.
    pub fn part(&mut self, entry: &PartEntry, frame: Option<&RawFrame>, now: Instant) {
        let kept = self.images.keep(entry, frame, now);
        let image = match &kept {
            Kept::As(path) => Some(path.as_path()),
            _ => None,
        };
        let line = PartLine {
            part: entry.part.0,
            trigger_ns: entry.trigger.0,
            wall: entry.wall.into(),
            frame_ns: entry.frame.map(|f| f.time.0),
            frame_sequence: entry.frame.map(|f| f.sequence),
            score: entry.score,
            verdict: entry.verdict.map(|v| match v {
                PartVerdict::Ok => "OK",
                PartVerdict::Ng => "NG",
                PartVerdict::Unknown => "UNKNOWN",
            }),
            decision: if entry.passed() { "passed" } else { "rejected" },
            reason: entry.reason.map(|r| r.name()),
            latency_us: &entry.latencies,
            product: entry.product.name.as_str(),
            digest: entry.product.digest.as_str(),
            origin: entry.product.unproven(),
            set: entry.product.set_threshold(),
            image,
        };
        self.log.append(&line, now);
        self.watch_drift(entry, now);
        self.show();
    }

    /// Records an event of the line.
    pub fn event(&mut self, entry: &EventEntry, now: Instant) {
        let line = EventLine {
            event: entry.kind.name(),
            at_ns: entry.at.0,
            wall: entry.wall.into(),
            subject: entry.subject.as_str(),
            detail: entry.detail.as_str(),
        };
        self.log.append(&line, now);
        if entry.kind == EventKind::Stop {
            self.log.sync(now);
        }
        self.show();
    }

    /// Keeps the picture of a marked part, and notes the mark. Returns the picture's path below the
    /// folder of the record.
    ///
    /// # Errors
    /// [`MarkError`]; then nothing is noted.
    pub fn mark(&mut self, mark: &Mark, now: Instant) -> Result<PathBuf, MarkError> {
        let path = self.images.mark(mark)?;
        let subject = ShortText::<32>::of(format_args!("part {}", mark.part));
        let said = mark.said.as_str();
        let words = format_args!("{}: {}; {said}", mark.kind.name(), path.display());
        let entry = EventEntry::new(EventKind::Marked, subject.as_str(), words, now);
        self.event(&entry, now);
        Ok(path)
    }

    /// Counts entries that were lost because the queue to this thread was full.
    pub fn missing(&mut self, lines: u64) {
        self.log
            .missing(lines, "the queue to the recorder was full");
        self.show();
    }

    /// To be called a few times per second, also if nothing happened.
    pub fn tick(&mut self, now: Instant) {
        self.images.tick();
        let due = |at: Instant| now.since(at) >= IMAGE_NEWS_EVERY;
        if self.image_news.is_none_or(due)
            && let Some((count, why)) = self.images.news()
        {
            self.image_news = Some(now);
            let why = ShortText::<1024>::new(&why);
            let line = ImageNews {
                event: "images_dropped",
                at_ns: now.0,
                wall: SystemTime::now().into(),
                count,
                why: why.as_str(),
            };
            self.log.append(&line, now);
        }
        self.log.tick(now);
        self.show();
    }

    /// The kept images, for reports.
    pub fn images(&self) -> &Images {
        &self.images
    }

    /// Whether entries are being lost.
    pub fn lost(&self) -> bool {
        self.log.failing()
    }

    /// The event log, for reports.
    pub fn log(&self) -> &EventLog {
        &self.log
    }

    fn watch_drift(&mut self, entry: &PartEntry, now: Instant) {
        let (Some(drift), Some(PartVerdict::Ok), Some(score)) =
            (&mut self.drift, entry.verdict, entry.score)
        else {
            return;
        };
        let change = drift.ok_part(score);
        if let Some(mean) = drift.mean() {
            self.metrics.drift_mean.set(mean);
        }
        let rise = drift.rise_percent().unwrap_or(0.0);
        let kind = match change {
            None => return,
            Some(DriftChange::Raised) => EventKind::Alarm,
            Some(DriftChange::Cleared) => EventKind::AlarmCleared,
        };
        self.metrics.alarm("drift", kind == EventKind::Alarm);
        let detail = format_args!(
            "mean score of passed parts is {rise:.1} % over the product's own; clean lens and lamps, check the fixture"
        );
        let event = EventEntry::new(kind, "drift", detail, now);
        self.event(&event, now);
    }

    fn show(&self) {
        self.metrics.show_log(self.log.counts());
        let (bytes, _) = self.images.stored();
        self.metrics.show_images(self.images.counts(), bytes);
    }
}
