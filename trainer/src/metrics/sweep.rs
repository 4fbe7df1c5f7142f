//! One descending pass over scores: what AUROC, F1 and AUPRO have in common.
//!
//! An entry is a `u64`: the score as an order-preserving key in the upper half, a label in the
//! lower half (0 = good, anything else = defective). Sorting entries by their upper half sorts the
//! scores, so one array of integers serves ten images and twenty million pixels alike.

/// Maps scores to integers so that a *higher* score has a *smaller* key: an ascending sort of keys
/// goes from the most to the least anomalous.
pub(super) fn descending_key(score: f32) -> u32 {
    // Adding zero turns -0.0 into 0.0: the two are equal as scores and must share a key.
    let bits = (score + 0.0).to_bits();
    let ascending = if bits >> 31 == 1 {
        !bits
    } else {
        bits | 0x8000_0000
    };
    !ascending
}

/// The score whose key this is.
fn score_of(key: u32) -> f32 {
    let ascending = !key;
    f32::from_bits(if ascending >> 31 == 1 {
        ascending & 0x7fff_ffff
    } else {
        !ascending
    })
}

/// Packs a score and its label.
pub(super) fn entry(score: f32, label: u32) -> u64 {
    (u64::from(descending_key(score)) << 32) | u64::from(label)
}

pub(super) fn key_of(entry: u64) -> u32 {
    (entry >> 32) as u32
}

pub(super) fn label_of(entry: u64) -> u32 {
    entry as u32
}

/// All entries that share one score.
pub(super) struct Step<'a> {
    pub(super) score: f32,
    /// Defective entries with that score.
    pub(super) defective: u64,
    /// Good entries with that score.
    pub(super) good: u64,
    pub(super) entries: &'a [u64],
}

/// The steps of sorted entries, highest score first.
pub(super) struct Steps<'a> {
    rest: &'a [u64],
}

impl<'a> Steps<'a> {
    pub(super) fn new(sorted: &'a [u64]) -> Self {
        Self { rest: sorted }
    }
}

impl<'a> Iterator for Steps<'a> {
    type Item = Step<'a>;

    fn next(&mut self) -> Option<Step<'a>> {
        let key = key_of(*self.rest.first()?);
        let mut end = 0;
        let mut defective = 0;
        for &entry in self.rest.iter().take_while(|&&e| key_of(e) == key) {
            end += 1;
            defective += u64::from(label_of(entry) != 0);
        }
        let (entries, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(Step {
            score: score_of(key),
            defective,
            good: end as u64 - defective,
            entries,
        })
    }
}

/// Numbers of good and defective entries.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClassCounts {
    pub(super) goods: u64,
    pub(super) defects: u64,
}

impl ClassCounts {
    pub(super) fn of(entries: &[u64]) -> Self {
        let defects = entries.iter().filter(|&&e| label_of(e) != 0).count() as u64;
        Self {
            goods: entries.len() as u64 - defects,
            defects,
        }
    }
}

/// Mann-Whitney with half credit for ties. Both counts must be above 0.
pub(super) fn auroc(sorted: &[u64], ClassCounts { goods, defects }: ClassCounts) -> f64 {
    // Twice the number of (defective, good) pairs in the right order, in integers: exact up to
    // 10^19 pairs of pixels and more.
    let mut twice_ordered: u128 = 0;
    let mut goods_below = goods;
    for step in Steps::new(sorted) {
        goods_below -= step.good;
        twice_ordered +=
            u128::from(step.defective) * (2 * u128::from(goods_below) + u128::from(step.good));
    }
    twice_ordered as f64 / (2.0 * goods as f64 * defects as f64)
}

/// The best F1 that any threshold reaches, with that threshold.
///
/// The threshold is an **oracle**: it was chosen with the labels of the test set in hand. It says
/// what the scores could do, not what a line will see at the product's own threshold.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub(crate) struct F1Max {
    /// Harmonic mean of precision and recall.
    pub(crate) f1: f64,
    /// Positive if score >= threshold; the highest such threshold where several are equally good.
    pub(crate) threshold: f64,
    /// Share of the positives that are defective.
    pub(crate) precision: f64,
    /// Share of the defective that are positive.
    pub(crate) recall: f64,
}

/// The best F1 over all thresholds "positive if score >= threshold". `defects` must be above 0.
pub(super) fn f1_max(sorted: &[u64], defects: u64) -> F1Max {
    let mut best = F1Max {
        f1: 0.0,
        threshold: f64::INFINITY,
        precision: 0.0,
        recall: 0.0,
    };
    let (mut found, mut called) = (0u64, 0u64);
    for step in Steps::new(sorted) {
        found += step.defective;
        called += step.defective + step.good;
        let f1 = 2.0 * found as f64 / (called + defects) as f64;
        // Strictly better only: among equal F1 the highest threshold (fewest false rejects) stays.
        if f1 > best.f1 {
            best = F1Max {
                f1,
                threshold: f64::from(step.score),
                precision: found as f64 / called as f64,
                recall: found as f64 / defects as f64,
            };
        }
    }
    best
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_the_order_and_come_back() {
        let falling = [
            f32::INFINITY,
            3.5,
            1.0,
            f32::MIN_POSITIVE / 2.0,
            0.0,
            -1e-30,
            -2.0,
            f32::NEG_INFINITY,
        ];
        for pair in falling.windows(2) {
            assert!(descending_key(pair[0]) < descending_key(pair[1]));
        }
        for score in falling {
            assert_eq!(score_of(descending_key(score)), score);
        }
        assert_eq!(descending_key(-0.0), descending_key(0.0));
    }
}
