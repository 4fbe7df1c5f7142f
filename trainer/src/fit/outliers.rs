//! Good images whose scores stand out: they may be defective, and a single one can set a threshold.

use super::alike::Lonely;
use super::member::FittedMember;
use super::thresholds::{Risk, ThresholdError, thresholds_from};
use crate::dataset::GoodImages;
use partgate::product::Operating;
use serde::Serialize;

/// A good image that stands out.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outlier {
    pub(crate) image: String,
    /// Held-out score; where another image hides it, the score without that one.
    pub(crate) score: f32,
    /// Score over the median of all such scores.
    pub(crate) over_median: f32,
    /// The image that hides it: with it in the bank the score is not high.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) alike: Option<String>,
    /// Its number among the images.
    #[serde(skip)]
    pub(crate) index: usize,
    /// Scores of the first member's cells behind the score.
    #[serde(skip)]
    pub(crate) cells: Vec<f32>,
}

/// What outliers cost, from the scores of one fit with them. Banks without them would score the other
/// images a little higher, so a fit without them tells it exactly.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct OutlierCost {
    /// UNKNOWN threshold with them and without.
    pub(crate) thresholds: [f32; 2],
    /// Damaged copies above it, with them and without.
    pub(crate) caught: [usize; 2],
    pub(crate) copies: usize,
}

/// An outlier's score is this many robust standard deviations above the median.
const OUTLIER_DEVIATIONS: f32 = 6.0;

/// The middle of `values`, and from where on one of them stands out.
fn middle_and_limit(values: &[f32]) -> (f32, f32) {
    let median = |mut values: Vec<f32>| {
        values.sort_by(f32::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(0.0)
    };
    let middle = median(values.to_vec());
    // 1.4826 times the median absolute deviation is the standard deviation of normal values.
    let deviation = 1.4826 * median(values.iter().map(|s| (s - middle).abs()).collect());
    (middle, middle + OUTLIER_DEVIATIONS * deviation)
}

/// The images whose held-out score, or whose score without those like them, is far above the others',
/// highest first.
pub(super) fn outliers(scores: &[f32], member: &FittedMember, images: &GoodImages) -> Vec<Outlier> {
    let mut found = high(scores, images);
    for outlier in &mut found {
        outlier.cells = mean_cells(&member.held_out.cells, outlier.index);
    }
    if let Some(lonely) = &member.lonely {
        found.extend(hidden(lonely, &found, images));
    }
    found.sort_by(|a, b| b.over_median.total_cmp(&a.over_median));
    found
}

/// Good images that are shown beside outliers.
const CLOSEST: usize = 8;

/// The images with the highest scores that are no outliers, highest first.
pub(super) fn closest(
    scores: &[f32],
    outliers: &[Outlier],
    member: &FittedMember,
    images: &GoodImages,
) -> Vec<Outlier> {
    let (middle, _) = middle_and_limit(scores);
    let is_one = |index: &usize| outliers.iter().any(|o| o.index == *index);
    let mut others: Vec<usize> = (0..scores.len()).filter(|index| !is_one(index)).collect();
    others.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    others.truncate(CLOSEST);
    let shown = others.into_iter().map(|index| Outlier {
        image: images.relative(&images.paths[index]),
        score: scores[index],
        over_median: scores[index] / middle,
        alike: None,
        index,
        cells: mean_cells(&member.held_out.cells, index),
    });
    shown.collect()
}

/// The images whose score is far above the others'.
fn high(scores: &[f32], images: &GoodImages) -> Vec<Outlier> {
    let (middle, limit) = middle_and_limit(scores);
    let all = scores.iter().zip(&images.paths).enumerate();
    all.filter(|(_, (score, _))| **score > limit)
        .map(|(index, (&score, path))| Outlier {
            image: images.relative(path),
            score,
            over_median: score / middle,
            alike: None,
            index,
            cells: Vec::new(),
        })
        .collect()
}

/// The images, not among `known`, that stand out only without those that explain them.
fn hidden(lonely: &[Lonely], known: &[Outlier], images: &GoodImages) -> Vec<Outlier> {
    let without: Vec<f32> = lonely.iter().map(|l| l.without_share).collect();
    // A part that is hard to explain anyway is not hidden by one other image.
    let lost = |l: &Lonely| l.without_share / l.with_all.max(f32::MIN_POSITIVE);
    let losses: Vec<f32> = lonely.iter().map(lost).collect();
    let ((middle, limit), (_, most)) = (middle_and_limit(&without), middle_and_limit(&losses));
    let is_known = |index: usize| known.iter().any(|outlier| outlier.index == index);
    let fits = |(index, l): &(usize, &Lonely)| {
        let (high, hides) = (l.without_share > limit, lost(l) > most);
        // The two that explain each other best, of which one stands out by itself.
        let mutual = is_known(l.other) && lonely[l.other].other == *index;
        !is_known(*index) && ((high && hides) || (mutual && (high || hides)))
    };
    let name = |index: usize| images.paths.get(index).map(|path| images.relative(path));
    let found = lonely.iter().enumerate().filter(fits);
    found
        .map(|(index, l)| Outlier {
            image: name(index).unwrap_or_default(),
            score: l.without_share,
            over_median: l.without_share / middle,
            alike: name(l.other),
            index,
            cells: l.cells.clone(),
        })
        .collect()
}

/// The mean over the partitions of an image's cells.
fn mean_cells(partitions: &[Vec<Vec<f32>>], image: usize) -> Vec<f32> {
    let mut of_image = partitions.iter().filter_map(|images| images.get(image));
    let Some(first) = of_image.next() else {
        return Vec::new();
    };
    let (mut sum, mut count) = (first.clone(), 1.0);
    for cells in of_image {
        for (sum, cell) in sum.iter_mut().zip(cells) {
            *sum += cell;
        }
        count += 1.0;
    }
    sum.iter_mut().for_each(|cell| *cell /= count);
    sum
}

/// What `outliers` cost; `None` without any, and where nothing else is left.
///
/// # Errors
/// [`ThresholdError`] for scores that give no threshold.
pub(super) fn cost(
    scores: &[f32],
    outliers: &[Outlier],
    operating: &Operating,
    risk: Risk,
) -> Result<Option<OutlierCost>, ThresholdError> {
    let is_one = |index: &usize| outliers.iter().any(|o| o.index == *index);
    let others: Vec<f32> = (0..scores.len())
        .filter(|index| !is_one(index))
        .map(|index| scores[index])
        .collect();
    if outliers.is_empty() || others.len() < 2 {
        return Ok(None);
    }
    let with = thresholds_from(scores, risk)?.unknown.threshold;
    let without = thresholds_from(&others, risk)?.unknown.threshold;
    let copies = &operating.damaged;
    let above = |threshold: f32| copies.iter().filter(|c| c.score > threshold).count();
    Ok(Some(OutlierCost {
        thresholds: [with, without],
        caught: [above(with), above(without)],
        copies: copies.len(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(count: usize) -> GoodImages {
        GoodImages {
            root: "r".into(),
            paths: (0..count).map(|i| format!("r/{i}.png").into()).collect(),
            ..GoodImages::default()
        }
    }

    #[test]
    fn a_good_image_that_stands_out_is_named() {
        let images = images(30);
        let mut scores: Vec<f32> = (0..30).map(|i| 10.0 + 0.05 * (i % 7) as f32).collect();
        assert!(high(&scores, &images).is_empty());
        scores[12] = 20.0;
        let found = high(&scores, &images);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].image.as_str(), found[0].index), ("12.png", 12));
    }

    #[test]
    fn two_that_hide_each_other_are_named_and_a_hard_part_is_not() {
        let images = images(30);
        let mut lonely: Vec<Lonely> = (0..30)
            .map(|i| Lonely {
                with_all: 10.0 + 0.05 * (i % 7) as f32,
                without_share: 10.5 + 0.05 * (i % 5) as f32,
                other: 0,
                cells: vec![i as f32],
            })
            .collect();
        assert!(hidden(&lonely, &[], &images).is_empty());
        (lonely[4].without_share, lonely[4].other) = (20.0, 9);
        (lonely[9].without_share, lonely[9].other) = (21.0, 4);
        // High with and without the others.
        (lonely[20].with_all, lonely[20].without_share) = (19.0, 20.0);
        let found = hidden(&lonely, &[], &images);
        let names: Vec<(&str, &str)> = found
            .iter()
            .map(|o| (o.image.as_str(), o.alike.as_deref().expect("another")))
            .collect();
        assert_eq!(names, [("4.png", "9.png"), ("9.png", "4.png")]);
        assert_eq!(found[0].cells, [4.0]);
        // What is known already is not named twice.
        assert_eq!(hidden(&lonely, &found[..1], &images).len(), 1);
    }

    #[test]
    fn cells_are_the_mean_over_the_partitions() {
        let partitions = vec![
            vec![vec![1.0, 2.0], vec![9.0, 9.0]],
            vec![vec![3.0, 4.0], vec![9.0, 9.0]],
        ];
        assert_eq!(mean_cells(&partitions, 0), [2.0, 3.0]);
        assert!(mean_cells(&[], 0).is_empty());
    }
}
