//! What happened: event log, kept images, metrics. Listens; decides nothing.
//!
//! Everything here runs behind the gate: the gate thread makes [`PartEntry`] and [`EventEntry`]
//! values of fixed size and counts in [`Metrics`]; a thread of its own owns the [`Recorder`], which
//! writes. A full disk, a missing folder or a slow one costs lines and images, which are counted,
//! and never time of the gate.

mod chain;
mod challenge;
mod counter;
mod drift;
mod entry;
mod histogram;
mod images;
mod kept;
mod lock;
mod log;
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
pub use lock::{LOCK, RecordLock, RecordLockError};
pub use metrics::Metrics;
pub use reader::{LogCheck, LogFault, LogLine, LogReader};
pub use recorder::{RecordOptions, Recorder};
pub use server::{MetricsServer, ServeError};
pub use settings::Record;
pub(crate) use settings::RecordRead;
pub use wall::Utc;
