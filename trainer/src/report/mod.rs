//! HTML reports: one file each, nothing to fetch.

use crate::error::TrainError;
use crate::validation::{Judged, ValidationReport};
use partgate::product::Product;

pub(crate) fn validation_page(_: &Product, _: &ValidationReport, _: &[Judged]) -> Result<String, TrainError> {
    Ok(String::new())
}
