//! `fit --drop-outliers`: a fit, and one more without the good images that stood out.

use crate::dataset::GoodImages;
use crate::error::TrainError;
use crate::fit;
use crate::fit::report::{Dropped, FittedProduct};
use crate::fit::settings::Settings;

/// More than one in so many is no outlier.
const MOST: usize = 5;
/// Names that the bundle keeps.
const NAMED: usize = 20;

/// A product, and the images that it was fitted on.
pub(super) struct Fitted {
    pub(super) images: GoodImages,
    pub(super) product: FittedProduct,
}

/// Fits, and if images stand out, fits without them.
pub(super) fn fit_without_outliers(
    images: GoodImages,
    mut settings: Settings,
) -> Result<Fitted, TrainError> {
    // What stands out can lift the threshold so high that a product would be refused. It is not
    // written, so its refusal does not matter.
    let force = std::mem::replace(&mut settings.force, true);
    let product = fit::fit(&images, &settings)?;
    settings.force = force;
    let report = &product.report;
    let count = report.outliers.len();
    if count == 0 && (force || report.forced.is_empty()) {
        return Ok(Fitted { images, product });
    }
    if count == 0 {
        let product = fit::fit(&images, &settings)?;
        return Ok(Fitted { images, product });
    }
    let all = images.paths.len();
    if count * MOST > all {
        return Err(TrainError::Setting(format!(
            "--drop-outliers: {count} of {all} good images stand out, which is more than one in {MOST}: look at them first (--report without --drop-outliers shows them); perhaps two kinds of parts are in the folder"
        )));
    }
    let outliers = report.outliers.clone();
    let threshold_with = report.thresholds.unknown.threshold;
    let caught_with = report.caught();
    let names: Vec<&str> = outliers
        .iter()
        .map(|o| o.image.as_str())
        .take(NAMED)
        .collect();
    let more = match count - names.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    settings.left_out = Some(format!(
        "fitted without {count} of {all} good images, which stand out: {}{more}; with them the UNKNOWN threshold was {threshold_with:.4}, and {} of {} damaged copies were rejected",
        names.join(", "),
        caught_with[0],
        caught_with[1]
    ));
    let left_out: Vec<usize> = outliers.iter().map(|o| o.index).collect();
    let images = images.without(&left_out);
    let mut product = fit::fit(&images, &settings)?;
    product.report.dropped = Some(Dropped {
        outliers,
        threshold_with,
        caught_with,
    });
    Ok(Fitted { images, product })
}
