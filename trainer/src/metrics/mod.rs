//! How well scores separate good parts from defective ones (definitions as in the MVTec AD evaluation).
//!
//! Image metrics take one score per image ([`image`]), pixel metrics take score maps and masks
//! ([`pixel`]), and [`intervals`] says how far a figure from a small set can be trusted. A higher
//! score always means more anomalous, and equal scores are always handled as one step: a metric
//! never depends on the order in which images or pixels arrive.

mod components;
pub(crate) mod distributions;
pub(crate) mod image;
pub(crate) mod intervals;
pub(crate) mod pixel;
mod sweep;

use components::{MaskPixel, connected_components};
pub(crate) use image::{f1_max, false_reject_rate_at_full_recall, image_auroc};
pub(crate) use intervals::{CONFIDENCE, Share, auroc_interval};
pub(crate) use pixel::PixelScores;

/// Why a metric could not be computed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum MetricError {
    /// As many labels as scores are needed.
    #[error("{scores} scores but {labels} labels; give exactly one label to every score")]
    LengthMismatch { scores: usize, labels: usize },
    /// A score is NaN, which has no place in an order.
    #[error("score {index} is NaN; find out why image {index} has no score before measuring")]
    NotANumber {
        /// Position of the first NaN.
        index: usize,
    },
    /// A metric that compares two classes was given only one.
    #[error("no {missing} among the {given} given, and this metric compares two classes; {fix}")]
    MissingClass {
        /// The class that is absent.
        missing: &'static str,
        /// How many items were given.
        given: u64,
        /// What to do about it.
        fix: &'static str,
    },
    /// The variance inside a class needs two members.
    #[error(
        "{goods} good and {defects} defective images are too few for an interval of the AUROC; \
         add images until there are at least 2 of each, or report the AUROC without an interval"
    )]
    TooFewForInterval {
        /// Number of good images.
        goods: u64,
        /// Number of defective images.
        defects: u64,
    },
    /// A map or mask does not have the stated size.
    #[error(
        "image {image} is stated as {width} x {height} but its map has {map} and its mask {mask} \
         values; bring both to the same size (masks by nearest neighbour)"
    )]
    SizeMismatch {
        /// Position of the image among those added.
        image: usize,
        /// Stated width.
        width: usize,
        /// Stated height.
        height: usize,
        /// Values in the map.
        map: usize,
        /// Values in the mask.
        mask: usize,
    },
    /// A pixel of a map is NaN.
    #[error(
        "pixel {index} (row {row}, column {column}) of image {image} is NaN; find out why its map \
         is damaged before measuring"
    )]
    PixelNotANumber {
        /// Position of the image among those added.
        image: usize,
        /// Position of the pixel in the map.
        index: usize,
        /// Its row.
        row: usize,
        /// Its column.
        column: usize,
    },
    /// More than 2^32 - 1 pixels in an image or components in a set.
    #[error(
        "image {image} brings more than {limit} {what}; measure at network resolution, or split \
         the set",
        limit = u32::MAX
    )]
    TooMany {
        /// Position of the image among those added.
        image: usize,
        /// What there is too much of.
        what: &'static str,
    },
    /// AUPRO is a mean over ground-truth components, and there are none.
    #[error(
        "no defect component in the masks of {images} images, so AUPRO has nothing to average; \
         add defective images with masks, or report image metrics only"
    )]
    NoComponents {
        /// Number of images added.
        images: usize,
    },
    /// The limit of the AUPRO integral is not a false-positive rate.
    #[error(
        "AUPRO cannot be integrated up to a false-positive rate of {limit}; use 0.3 (or any value \
         above 0 up to 1)"
    )]
    FprLimit { limit: f64 },
    /// A count is larger than what it is a part of, or a confidence is not a probability.
    #[error(
        "{count} of {of} at confidence {confidence} is no proportion; the count must not exceed \
         the total, the total must be at least 1 and the confidence lie between 0 and 1"
    )]
    NotAProportion {
        count: u64,
        of: u64,
        confidence: f64,
    },
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod reference_tests;
