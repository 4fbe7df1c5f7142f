//! Image folders: labelled data sets (MVTec AD and its relatives, or plain `good` and `bad`
//! folders), or a plain folder of good images.

mod agreement;
mod findings;
mod folders;
mod goods;
mod ground_truth;
mod labelled;
mod near_copies;
mod pictures;
mod survey;

pub(crate) use agreement::{CheckedSet, checked};
pub(crate) use goods::GoodImages;
pub(crate) use ground_truth::{defect_mask, seen_by_network};
pub(crate) use labelled::{TestImage, TestSet, categories};
pub(crate) use survey::Asked;

use crate::error::TrainError;
use std::path::Path;

fn problem(path: &Path, problem: impl Into<String>) -> TrainError {
    TrainError::Dataset {
        path: path.to_path_buf(),
        problem: problem.into(),
    }
}
