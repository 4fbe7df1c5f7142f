//! Images with their labels: data sets in the layouts of MVTec AD and its relatives, VisA and
//! Magnetic-Tile, plain `good` and `bad` folders, lists, or a plain folder of good images.

mod agreement;
pub(crate) mod csv;
mod findings;
mod folders;
mod goods;
mod ground_truth;
mod labelled;
pub(crate) mod list;
mod magnetic_tile;
#[cfg(test)]
mod mutated;
mod near_copies;
mod pictures;
pub(crate) mod saturation;
mod source;
mod survey;

pub(crate) use agreement::{CheckedSet, checked};
pub(crate) use goods::GoodImages;
pub(crate) use ground_truth::{defect_mask, seen_by_network};
pub(crate) use labelled::{TestImage, TestSet};
pub(crate) use source::{Layout, Source, categories};
pub(crate) use survey::Asked;

use crate::error::TrainError;
use std::path::Path;

fn problem(path: &Path, problem: impl Into<String>) -> TrainError {
    TrainError::Dataset {
        path: path.to_path_buf(),
        problem: problem.into(),
    }
}
