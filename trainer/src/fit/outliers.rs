//! Good images whose scores stand out: they may be defective, and a single one can set a threshold.

use crate::dataset::GoodImages;
use serde::Serialize;

/// A good image whose score stands out.
#[derive(Debug, Serialize)]
pub(crate) struct Outlier {
    pub(crate) image: String,
    pub(crate) score: f32,
    /// Score over the median of all held-out scores.
    pub(crate) over_median: f32,
}

/// An outlier's score is this many robust standard deviations above the median.
const OUTLIER_DEVIATIONS: f32 = 6.0;

/// The images whose held-out score is far above the others', highest first.
pub(super) fn outliers(scores: &[f32], images: &GoodImages) -> Vec<Outlier> {
    let median = |mut values: Vec<f32>| {
        values.sort_by(f32::total_cmp);
        values[values.len() / 2]
    };
    let middle = median(scores.to_vec());
    // 1.4826 times the median absolute deviation is the standard deviation of normal values.
    let deviation = 1.4826 * median(scores.iter().map(|s| (s - middle).abs()).collect());
    let mut found: Vec<Outlier> = scores
        .iter()
        .zip(&images.paths)
        .filter(|(score, _)| **score - middle > OUTLIER_DEVIATIONS * deviation)
        .map(|(&score, path)| Outlier {
            image: images.relative(path),
            score,
            over_median: score / middle,
        })
        .collect();
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_image_that_stands_out_is_named() {
        let images = GoodImages {
            root: "r".into(),
            paths: (0..30).map(|i| format!("r/{i}.png").into()).collect(),
            ..GoodImages::default()
        };
        let mut scores: Vec<f32> = (0..30).map(|i| 10.0 + 0.05 * (i % 7) as f32).collect();
        assert!(outliers(&scores, &images).is_empty());
        scores[12] = 20.0;
        let found = outliers(&scores, &images);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].image, "12.png");
    }
}
