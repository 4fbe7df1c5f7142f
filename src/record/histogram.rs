//! Latency histograms of fixed size: each bucket is 1/128 of its values wide.
//!
//! The layout is that of HdrHistogram: whole microseconds up to 256, then 128 buckets per
//! doubling. So a quantile is at most 0.8 % too high. Recording costs four atomic operations and
//! allocates nothing. Other threads can read meanwhile.

use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Buckets per doubling.
const PER_OCTAVE: u64 = 128;
/// Values below it have one bucket each.
const EXACT: u64 = 2 * PER_OCTAVE;
/// log2 of [`EXACT`].
const EXACT_BITS: u32 = EXACT.ilog2();
/// Longest time with a bucket of its own: one hour. Longer times count in that bucket; the maximum
/// keeps their value.
const LONGEST_US: u64 = 3_600_000_000;
const BUCKETS: usize = index(LONGEST_US) + 1;

/// Upper limits for Prometheus, microseconds: 1, 2, 5 from 100 us to 10 s.
pub(crate) const LIMITS_US: [u64; 16] = [
    100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000,
    1_000_000, 2_000_000, 5_000_000, 10_000_000,
];

const fn index(us: u64) -> usize {
    if us < EXACT {
        return us as usize;
    }
    let octave = us.ilog2() - EXACT_BITS;
    // The leading bit and the seven after it: 128..256.
    let within = us >> (octave + 1);
    (EXACT + PER_OCTAVE * octave as u64 + (within - PER_OCTAVE)) as usize
}

/// Largest value in a bucket.
const fn highest(index: usize) -> u64 {
    let index = index as u64;
    if index < EXACT {
        return index;
    }
    let (octave, within) = (
        (index - EXACT) / PER_OCTAVE,
        (index - EXACT) % PER_OCTAVE + PER_OCTAVE,
    );
    ((within + 1) << (octave + 1)) - 1
}

/// Times in microseconds. Any number of threads record and read at the same time.
#[derive(Debug)]
pub struct Histogram {
    buckets: Box<[AtomicU64]>,
    limits: [AtomicU64; LIMITS_US.len() + 1],
    sum_us: AtomicU64,
    max_us: AtomicU64,
}

/// The usual figures of a histogram, in microseconds; all zero if it is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Quantiles {
    /// Number of recorded values.
    pub count: u64,
    /// Half of the values are at or below it.
    pub p50_us: u64,
    /// 99 % of the values are at or below it.
    pub p99_us: u64,
    /// 99.9 % of the values are at or below it.
    pub p999_us: u64,
    /// The largest value, exact.
    pub max_us: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

impl Histogram {
    /// An empty histogram. Allocates all memory that it will need, 28 kB.
    pub fn new() -> Self {
        Self {
            buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            limits: std::array::from_fn(|_| AtomicU64::new(0)),
            sum_us: AtomicU64::new(0),
            max_us: AtomicU64::new(0),
        }
    }

    /// Counts one time, in microseconds. No allocation and no lock.
    pub fn record(&self, us: u64) {
        self.buckets[index(us.min(LONGEST_US))].fetch_add(1, Relaxed);
        let limit = LIMITS_US.partition_point(|&limit| limit < us);
        self.limits[limit].fetch_add(1, Relaxed);
        // The sum overflows after 584,000 years of added time.
        self.sum_us.fetch_add(us.min(LONGEST_US), Relaxed);
        self.max_us.fetch_max(us, Relaxed);
    }

    /// Adds all counts of `other`.
    pub fn merge(&self, other: &Self) {
        let add = |to: &AtomicU64, from: &AtomicU64| to.fetch_add(from.load(Relaxed), Relaxed);
        for (to, from) in self.buckets.iter().zip(&other.buckets) {
            add(to, from);
        }
        for (to, from) in self.limits.iter().zip(&other.limits) {
            add(to, from);
        }
        add(&self.sum_us, &other.sum_us);
        self.max_us.fetch_max(other.max_us.load(Relaxed), Relaxed);
    }

    /// Number of recorded values.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|b| b.load(Relaxed)).sum()
    }

    /// The smallest recorded value so that at least the share `q` (0..=1) of all values is at or
    /// below it. The result is the top of its bucket: never below the true value, and at most 0.8
    /// % above it. None if the histogram is empty.
    pub fn quantile(&self, q: f64) -> Option<u64> {
        let count = self.count();
        let max = self.max_us.load(Relaxed);
        // As a float: an exact rank is of no use above 2^53 values. NaN gives the first value.
        let rank = ((q * count as f64).ceil() as u64).clamp(1, count.max(1));
        let mut seen = 0;
        for (i, bucket) in self.buckets.iter().enumerate() {
            seen += bucket.load(Relaxed);
            if seen >= rank {
                let last = i + 1 == BUCKETS;
                return Some(if last { max } else { highest(i).min(max) });
            }
        }
        None
    }

    /// The usual quantiles.
    pub(crate) fn quantiles(&self) -> Quantiles {
        let at = |q| self.quantile(q).unwrap_or(0);
        Quantiles {
            count: self.count(),
            p50_us: at(0.5),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: self.max_us.load(Relaxed),
        }
    }

    /// How many values are at or below each of [`LIMITS_US`], how many there are in all, and their
    /// sum.
    pub(crate) fn cumulative(&self) -> ([u64; LIMITS_US.len()], u64, u64) {
        let mut seen = 0;
        let mut out = [0; LIMITS_US.len()];
        for (slot, limit) in out.iter_mut().zip(&self.limits) {
            seen += limit.load(Relaxed);
            *slot = seen;
        }
        let all = seen + self.limits[LIMITS_US.len()].load(Relaxed);
        (out, all, self.sum_us.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn buckets_follow_each_other_and_are_narrow() {
        assert_eq!(index(0), 0);
        for i in 0..BUCKETS {
            let top = highest(i);
            assert_eq!(index(top), i, "{top}");
            assert_eq!(index(top + 1), i + 1, "{top}");
            let bottom = if i == 0 { 0 } else { highest(i - 1) + 1 };
            assert!((top - bottom) as f64 <= 0.008 * bottom.max(1) as f64);
        }
        assert!(highest(BUCKETS - 1) >= LONGEST_US);
        const { assert!(BUCKETS * 8 <= 28_000) };
    }

    #[test]
    fn empty_and_endless_are_told() {
        let histogram = Histogram::new();
        assert_eq!(histogram.quantile(0.5), None);
        assert_eq!(histogram.quantiles(), Quantiles::default());
        histogram.record(u64::MAX);
        histogram.record(0);
        assert_eq!(histogram.quantile(1.0), Some(u64::MAX));
        assert_eq!(histogram.quantile(0.0), Some(0));
        assert_eq!(histogram.quantile(f64::NAN), Some(0));
        assert_eq!(histogram.cumulative().1, 2);
    }

    #[test]
    fn threads_lose_nothing() {
        let histogram = Histogram::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|us| histogram.record(us)));
            }
        });
        assert_eq!(histogram.count(), 40_000);
        assert_eq!(histogram.cumulative().2, 4 * 9_999 * 10_000 / 2);
    }

    /// Spread over all orders of magnitude.
    fn times() -> impl Strategy<Value = Vec<u64>> {
        let one = (0u32..32, any::<u64>()).prop_map(|(bits, v)| (v % (1 << bits)).min(LONGEST_US));
        prop::collection::vec(one, 1..300)
    }

    proptest! {
        #[test]
        fn quantiles_are_those_of_the_sorted_values(mut values in times(), q in 0.0f64..=1.0) {
            let histogram = Histogram::new();
            values.iter().for_each(|&v| histogram.record(v));
            values.sort_unstable();
            for q in [q, 0.5, 0.99, 0.999, 1.0] {
                let rank = ((q * values.len() as f64).ceil() as usize).max(1);
                let exact = values[rank - 1];
                let found = histogram.quantile(q).expect("not empty");
                prop_assert_eq!(index(found), index(exact), "{} for {}", found, exact);
                prop_assert!(found >= exact && (found - exact) as f64 <= 0.01 * exact as f64);
            }
            prop_assert_eq!(histogram.quantiles().max_us, *values.last().expect("not empty"));
            let (limits, count, sum) = histogram.cumulative();
            for (&limit, at_most) in LIMITS_US.iter().zip(limits) {
                prop_assert_eq!(at_most, values.iter().filter(|&&v| v <= limit).count() as u64);
            }
            prop_assert_eq!(count, values.len() as u64);
            prop_assert_eq!(sum, values.iter().sum::<u64>());
        }

        #[test]
        fn merged_is_as_if_recorded_in_one(a in times(), b in times()) {
            let parts = [Histogram::new(), Histogram::new()];
            let whole = Histogram::new();
            for (histogram, values) in parts.iter().zip([&a, &b]) {
                values.iter().for_each(|&v| { histogram.record(v); whole.record(v); });
            }
            parts[0].merge(&parts[1]);
            prop_assert_eq!(parts[0].quantiles(), whole.quantiles());
            prop_assert_eq!(parts[0].cumulative(), whole.cumulative());
        }
    }
}
