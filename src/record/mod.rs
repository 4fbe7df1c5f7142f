//! What happened: event log, kept images, metrics. This room observes and decides nothing.
//!
//! The gate never waits for it. The gate thread makes [`PartEntry`] and [`EventEntry`] values of
//! fixed size and counts in [`Metrics`]. Another thread owns the [`Recorder`], which writes. If
//! the disk is full or slow or the folder is missing, entries and images are lost and counted, but
//! the gate loses no time.

pub(crate) mod chain;
mod challenge;
mod counter;
mod drift;
mod entry;
mod free_bytes;
mod histogram;
mod images;
mod kept;
mod lock;
mod log;
mod marks;
mod metrics;
mod reader;
mod recorder;
mod server;
mod settings;
mod wall;

pub use self::log::{EventLog, LogCounts, LogOptions, MAX_LINE};
pub use challenge::{ChallengeFigures, ChallengeState};
pub use counter::{Counter, Gauge};
pub(crate) use drift::DriftRead;
pub use drift::{Drift, DriftChange, DriftError, DriftSettings};
pub use entry::{
    EventEntry, EventKind, FrameStamp, Latencies, Latency, PartEntry, ProductLabel, ShortText,
};
pub use histogram::{Histogram, Quantiles};
pub use images::{
    Decode, Dropped, ImageCounts, ImageOptions, Images, Kept, Sampler, encode_png, file_ending,
};
pub use lock::{RecordLock, RecordLockError};
pub use marks::{Mark, MarkError, MarkKind};
pub use metrics::{KnownProduct, Metrics};
pub use reader::{LogCheck, LogFault, LogLine, LogReader};
pub use recorder::{RecordOptions, Recorder};
pub use server::{MetricsServer, ServeError};
pub use settings::Record;
pub(crate) use settings::RecordRead;
pub use wall::Utc;
