//! What can go wrong on the host, each with the name of the thing and the fix.

use partgate::backbone::{BackboneError, GeometryError};
use partgate::frame::file::ImageFileError;
use partgate::inspection::InspectionError;
use partgate::keys::{KeyFileError, Refusal, TrustedKeysError};
use partgate::network::NetworkError;
use partgate::product::{ContainerError, ProductError};
use std::path::PathBuf;
use thiserror::Error;

use crate::fit::thresholds::ThresholdError;
use crate::fleet::FleetError;
use crate::metrics::MetricError;
use crate::oms::OmsError;

/// Any failure of the trainer.
#[derive(Debug, Error)]
pub(crate) enum TrainError {
    #[error(transparent)]
    Folder(#[from] ImageFileError),
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    #[error(transparent)]
    Backbone(#[from] BackboneError),
    #[error(transparent)]
    Network(#[from] NetworkError),
    #[error(transparent)]
    Product(#[from] ProductError),
    #[error(transparent)]
    Inspection(#[from] InspectionError),
    #[error(transparent)]
    Metric(#[from] MetricError),
    #[error(transparent)]
    Threshold(#[from] ThresholdError),
    #[error(transparent)]
    Key(#[from] KeyFileError),
    #[error(transparent)]
    Keys(#[from] TrustedKeysError),
    #[error("{}: not trusted", path.display())]
    Refused { path: PathBuf, source: Refusal },
    #[error(transparent)]
    DetachedKey(#[from] OmsError),
    #[error("{}: the detached signature does not hold", path.display())]
    Detached { path: PathBuf, source: OmsError },
    #[error(transparent)]
    Fleet(#[from] FleetError),
    #[error("{failed} of {of} boards: see above")]
    Boards { failed: usize, of: usize },
    #[error("the bundle cannot be written")]
    Container(#[from] ContainerError),
    #[error("{}: {problem}", path.display())]
    Dataset { path: PathBuf, problem: String },
    #[error("{}: cannot inspect this image", path.display())]
    Image {
        path: PathBuf,
        source: InspectionError,
    },
    #[error("{}: {action} failed", path.display())]
    File {
        path: PathBuf,
        action: &'static str,
        source: std::io::Error,
    },
    #[error("{}: cannot be written; may this user write there, and is there room?", path.display())]
    Unwritable {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{0}")]
    Setting(String),
    #[error(
        "{needed_mib} MiB of memory are needed for {what} but {available_mib} MiB are free; the need grows with the number of images and the square of --size: use fewer images, a smaller --size (or --crop), or a machine with more memory"
    )]
    Memory {
        what: String,
        needed_mib: u64,
        available_mib: u64,
    },
    #[error(
        "{}: no room for the bundle, which may take {needed_mib} MiB; free some or write it to another disk (-o)",
        path.display()
    )]
    FreeSpace {
        path: PathBuf,
        needed_mib: u64,
        source: std::io::Error,
    },
    #[error("JSON cannot be written")]
    Json(#[from] serde_json::Error),
}
