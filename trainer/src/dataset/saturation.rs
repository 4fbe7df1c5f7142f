//! `defects_config.json` of MVTec LOCO: how much of a defect must be found before it counts as found.

use super::csv::MOST_BYTES;
use super::problem;
use crate::error::TrainError;
use serde::{Deserialize, Serialize};
use std::path::Path;

const NAME: &str = "defects_config.json";

/// The saturation threshold of one kind of defect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Saturation {
    pub(crate) defect_name: String,
    /// The value of its pixels in the masks.
    pub(crate) pixel_value: u8,
    /// Pixels, or a share of the defect's area.
    pub(crate) saturation_threshold: f64,
    /// Whether the threshold is a share of the area.
    pub(crate) relative_saturation: bool,
}

impl Saturation {
    /// What is wrong with it, if anything.
    fn problem(&self) -> Option<String> {
        let (name, threshold) = (&self.defect_name, self.saturation_threshold);
        if !threshold.is_finite() || threshold <= 0.0 {
            return Some(format!(
                "`{name}`: saturation_threshold {threshold} is not above 0"
            ));
        }
        if self.relative_saturation && threshold > 1.0 {
            return Some(format!(
                "`{name}`: saturation_threshold {threshold} is more than the whole defect, where relative_saturation is true"
            ));
        }
        (self.pixel_value == 0).then(|| format!("`{name}`: pixel_value 0 is that of good pixels"))
    }
}

/// What the text of a file says.
pub(crate) fn parse(text: &[u8]) -> Result<Vec<Saturation>, String> {
    let all: Vec<Saturation> =
        serde_json::from_slice(text).map_err(|e| format!("line {}: {e}", e.line()))?;
    if let Some(problem) = all.iter().find_map(Saturation::problem) {
        return Err(problem);
    }
    for (index, one) in all.iter().enumerate() {
        let same = |other: &&Saturation| other.pixel_value == one.pixel_value;
        if let Some(other) = all[..index].iter().find(same) {
            return Err(format!(
                "`{}` and `{}` have the same pixel_value {}",
                other.defect_name, one.defect_name, one.pixel_value
            ));
        }
    }
    Ok(all)
}

/// The saturation thresholds of the data set in `dir`; none if it gives none.
pub(super) fn in_folder(dir: &Path) -> Result<Vec<Saturation>, TrainError> {
    let path = dir.join(NAME);
    let there = match std::fs::metadata(&path) {
        Ok(there) if there.is_file() => there,
        _ => return Ok(Vec::new()),
    };
    if there.len() > MOST_BYTES {
        return Err(problem(
            &path,
            format!("{} bytes are no such table", there.len()),
        ));
    }
    let text = std::fs::read(&path).map_err(|source| TrainError::File {
        path: path.clone(),
        action: "reading",
        source,
    })?;
    parse(&text).map_err(|words| problem(&path, words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_read_and_impossible_ones_refused() {
        let one = |pixel: u8, threshold: f64, relative: bool| {
            format!(
                r#"{{"defect_name": "missing_{pixel}", "pixel_value": {pixel}, "saturation_threshold": {threshold}, "relative_saturation": {relative}}}"#
            )
        };
        let parse = |all: &[String]| parse(format!("[{}]", all.join(",")).as_bytes());
        let read = parse(&[one(255, 2000.0, false), one(254, 1.0, true)]).expect("read");
        assert_eq!(read[1].saturation_threshold, 1.0);
        assert!(read[1].relative_saturation && !read[0].relative_saturation);
        for (all, words) in [
            (vec![one(255, 0.0, false)], "not above 0"),
            (vec![one(255, 1.5, true)], "more than the whole"),
            (vec![one(0, 5.0, false)], "good pixels"),
            (
                vec![one(9, 5.0, false), one(9, 1.0, true)],
                "same pixel_value 9",
            ),
            (vec!["{}".into()], "line 1"),
        ] {
            let error = parse(&all).expect_err("accepted");
            assert!(error.contains(words), "{error}");
        }
    }
}
