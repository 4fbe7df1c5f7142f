//! Fewer values per feature vector, by a linear map before the bank: principal directions, the channels
//! that good parts use most, or means of neighbouring channels.

use super::features::Features;
use super::principal::principal_weights;
use partgate::score::LinearMap;
use rayon::prelude::*;

/// How feature vectors are made shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reduction {
    /// To the leading principal directions.
    Principal(usize),
    /// To the channels that are not zero in most of the good parts' cells (N-pad).
    Channels(usize),
    /// To means of neighbouring channels, as many from each tap (PatchCore, PNI).
    Average(usize),
    /// To the directions in which damage differs most from what good parts leave unexplained.
    Discriminant(usize),
}

impl Reduction {
    /// Values of a vector after it, of `dimensions` before.
    pub(crate) fn of(self, dimensions: usize) -> usize {
        match self {
            Self::Principal(n) | Self::Channels(n) | Self::Average(n) | Self::Discriminant(n) => {
                n.min(dimensions)
            }
        }
    }

    /// Whether it does anything to vectors of `dimensions` values. Directions turn them even
    /// where they leave out none.
    pub(crate) fn shortens(self, dimensions: usize) -> bool {
        matches!(self, Self::Principal(_) | Self::Discriminant(_))
            || self.of(dimensions) < dimensions
    }

    /// The map on `features`; `None` for one that is learnt from damage. Of them, `ignored` cells do not count. `taps` are the channels of the
    /// backbone's taps.
    pub(crate) fn fit(
        self,
        features: &Features,
        ignored: &[bool],
        taps: &[usize],
        seed: u64,
    ) -> Option<FeatureMap> {
        let d = features.dimensions;
        Some(match self {
            Self::Discriminant(_) => return None,
            Self::Principal(n) => {
                let (weights, kept) = principal_weights(features, ignored, n, seed);
                FeatureMap::new(weights, d, Some(kept))
            }
            Self::Channels(n) => {
                let chosen = most_used(&usage(features, ignored), n.min(d));
                FeatureMap::new(selection(&chosen, d), d, None)
            }
            Self::Average(n) => FeatureMap::new(averages(taps, n.min(d)), d, None),
        })
    }
}

/// A map to fewer values.
#[derive(Clone)]
pub(crate) struct FeatureMap {
    pub(crate) map: LinearMap,
    /// `[from, to]`.
    pub(crate) weights: Vec<f32>,
    /// Share of the features' variance that principal directions keep.
    pub(crate) variance_kept: Option<f64>,
}

impl FeatureMap {
    pub(super) fn new(weights: Vec<f32>, from: usize, variance_kept: Option<f64>) -> Self {
        Self {
            map: LinearMap::new(&weights, from),
            weights,
            variance_kept,
        }
    }

    /// The features under the map.
    pub(crate) fn of(&self, features: Features) -> Features {
        let (from, to) = (self.map.from(), self.map.to());
        let cells = features.cells();
        let mut values = vec![0.0; features.values.len() / from * to];
        values
            .par_chunks_mut(cells * to)
            .zip(features.values.par_chunks(cells * from))
            .for_each(|(out, image)| self.map.run(image, out));
        Features {
            values,
            dimensions: to,
            ..features
        }
    }
}

/// How good parts use one channel.
#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    /// Cells in which it is not zero.
    nonzero: u64,
    variance: f64,
}

/// Each channel over the inspected cells of the good images.
fn usage(features: &Features, ignored: &[bool]) -> Vec<Usage> {
    let (d, cells) = (features.dimensions, features.cells());
    let vectors = || {
        let inspected = (0..features.images * cells).filter(|at| !ignored[at % cells]);
        inspected.map(|at| &features.values[at * d..][..d])
    };
    let count = vectors().count().max(1) as f64;
    let mut sums = vec![(0u64, 0.0f64, 0.0f64); d];
    for vector in vectors() {
        for ((nonzero, sum, squares), &value) in sums.iter_mut().zip(vector) {
            *nonzero += u64::from(value != 0.0);
            *sum += f64::from(value);
            *squares += f64::from(value) * f64::from(value);
        }
    }
    sums.into_iter()
        .map(|(nonzero, sum, squares)| Usage {
            nonzero,
            variance: squares / count - (sum / count).powi(2),
        })
        .collect()
}

/// The `count` channels that are used most, ascending. Channels that are used alike are taken by their
/// variance: where the tap comes before the rectifier, no channel is ever zero.
fn most_used(usage: &[Usage], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..usage.len()).collect();
    order.sort_by(|&a, &b| {
        let (x, y) = (usage[a], usage[b]);
        let more = y.nonzero.cmp(&x.nonzero);
        let more = more.then(y.variance.total_cmp(&x.variance));
        more.then(a.cmp(&b))
    });
    order.truncate(count);
    order.sort_unstable();
    order
}

fn selection(chosen: &[usize], from: usize) -> Vec<f32> {
    let mut weights = vec![0.0; from * chosen.len()];
    for (column, &row) in chosen.iter().enumerate() {
        weights[row * chosen.len() + column] = 1.0;
    }
    weights
}

/// Means of neighbouring channels of each tap, `to` in all: those of an adaptive average pooling over
/// the channels.
fn averages(taps: &[usize], to: usize) -> Vec<f32> {
    let from: usize = taps.iter().sum();
    let mut weights = vec![0.0; from * to];
    let (mut first, mut column) = (0, 0);
    for (index, &channels) in taps.iter().enumerate() {
        // What does not divide goes to the first taps; no tap gives more than it has.
        let left = taps.len() - index;
        let wanted = (to - column).div_ceil(left);
        let later: usize = taps[index + 1..].iter().sum();
        let count = wanted
            .max((to - column).saturating_sub(later))
            .min(channels);
        for out in 0..count {
            let range = out * channels / count..((out + 1) * channels).div_ceil(count);
            let weight = 1.0 / range.len() as f32;
            for channel in range {
                weights[(first + channel) * to + column] = weight;
            }
            column += 1;
        }
        first += channels;
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;
    use partgate::size::Size;

    fn features() -> Features {
        // Channel 0 is never zero, 1 in one cell of four, 2 never and varies more, 3 always.
        let cells = [
            [1.0, 0.0, 5.0, 0.0],
            [1.0, 2.0, -5.0, 0.0],
            [1.5, 2.0, 5.0, 0.0],
            [1.0, 2.0, -5.0, 0.0],
        ];
        Features::made_up(cells.concat(), 1, Size::square(2))
    }

    #[test]
    fn channels_that_are_used_most_stay_as_they_are() {
        let ignored = [false; 4];
        for (count, kept) in [(1, vec![2]), (2, vec![0, 2]), (3, vec![0, 1, 2])] {
            let map = Reduction::Channels(count)
                .fit(&features(), &ignored, &[4], 0)
                .expect("a map");
            assert_eq!(map.weights, selection(&kept, 4), "{count}");
            let mapped = map.of(features());
            let of = |cell: usize| kept.iter().map(move |&k| features().values[cell * 4 + k]);
            assert_eq!(mapped.values, (0..4).flat_map(of).collect::<Vec<_>>());
        }
    }

    #[test]
    fn ignored_cells_have_no_say_about_channels() {
        let ignored = [false, true, true, true];
        let map = Reduction::Channels(2)
            .fit(&features(), &ignored, &[4], 0)
            .expect("a map");
        assert_eq!(map.weights, selection(&[0, 2], 4));
    }

    #[test]
    fn means_are_over_neighbouring_channels_of_one_tap() {
        let map = Reduction::Average(2).fit(&features(), &[false; 4], &[2, 2], 0);
        let map = map.expect("a map");
        assert_eq!(map.weights, [0.5, 0.0, 0.5, 0.0, 0.0, 0.5, 0.0, 0.5]);
        // The published 1,024 of 512 and 1,024 channels: the first as they are, the others in pairs.
        let weights = averages(&[512, 1024], 1024);
        let at = |row: usize, column: usize| weights[row * 1024 + column];
        assert_eq!((at(17, 17), at(17, 18)), (1.0, 0.0));
        assert_eq!((at(512, 512), at(513, 512), at(514, 512)), (0.5, 0.5, 0.0));
        assert_eq!((at(1534, 1023), at(1535, 1023)), (0.5, 0.5));
        assert!(weights.iter().sum::<f32>() == 1024.0);
        // A short tap gives what it has, the others the rest.
        let weights = averages(&[2, 8], 6);
        assert_eq!(weights.iter().filter(|w| **w == 1.0).count(), 2);
        assert_eq!(weights.iter().filter(|w| **w == 0.5).count(), 8);
    }
}
