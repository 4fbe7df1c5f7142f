//! What came of a simulated line.

use super::faults::Kind;
use crate::line::controller::FrameCounters;
use crate::line::gate::{Counters, Fault, Reason};

/// Times in steps of 1/64 of their size: memory does not grow with what is counted.
#[derive(Clone, Debug)]
pub struct Times {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

const STEPS: u64 = 64;

impl Default for Times {
    fn default() -> Self {
        Self {
            counts: vec![0; (64 * STEPS) as usize],
            total: 0,
            max: 0,
        }
    }
}

impl Times {
    fn bucket(ns: u64) -> usize {
        if ns < STEPS {
            return ns as usize;
        }
        let power = u64::from(ns.ilog2());
        let step = (ns >> (power - 6)) - STEPS;
        ((power - 5) * STEPS + step) as usize
    }

    /// The largest time that falls into bucket `at`.
    fn upper(at: usize) -> u64 {
        let at = at as u64;
        if at < STEPS {
            return at;
        }
        let (power, step) = (at / STEPS + 5, at % STEPS);
        let next = u128::from(STEPS + step + 1) << (power - 6);
        u64::try_from(next - 1).unwrap_or(u64::MAX)
    }

    /// Counts `ns` nanoseconds.
    pub fn record(&mut self, ns: u64) {
        self.counts[Self::bucket(ns)] += 1;
        self.total += 1;
        self.max = self.max.max(ns);
    }

    /// Adds everything that `other` counted.
    pub fn merge(&mut self, other: &Self) {
        for (sum, count) in self.counts.iter_mut().zip(&other.counts) {
            *sum += count;
        }
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    /// Microseconds that a share of all times do not exceed, by at most a 64th too high; 0 without
    /// any.
    pub fn quantile_us(&self, share: f64) -> f64 {
        let wanted = (share * self.total as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (at, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Self::upper(at).min(self.max) as f64 / 1e3;
            }
        }
        self.max as f64 / 1e3
    }

    /// The longest, microseconds.
    pub fn max_us(&self) -> f64 {
        self.max as f64 / 1e3
    }
}

/// Everything that is counted of a run: what the program says, and what happened to the parts.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The program's own counters, all its lives together.
    pub counters: Counters,
    /// Parts that were under way when the process died.
    pub lost_at_death: u64,
    /// Whether the counters of every life balanced exactly.
    pub unbalanced: u64,
    /// Parts that met the ejector.
    pub physical: u64,
    /// Parts that the ejector let pass.
    pub passed_physically: u64,
    /// Parts that the ejector let pass without an OK verdict on their own picture, although a program
    /// could have known and acted: must be 0.
    pub passed_unverified: u64,
    /// The number of the first of them on its line.
    pub first_failure: Option<u64>,
    /// Parts that passed without an OK of their own, of which the plant proves that no program could
    /// have prevented it: wired to pass, wired to reject; by [`Kind::ALL`].
    pub beyond: [[u64; Kind::ALL.len()]; 2],
    /// Times that the holder of the outputs was late and knew it.
    pub incidents: u64,
    /// Frames that came before and were not taken.
    pub repeated_frames: u64,
    /// Good parts that were thrown out.
    pub good_thrown_out: u64,
    /// Faults injected, by [`Kind::ALL`].
    pub injected: [u64; Kind::ALL.len()],
    /// From a part's trigger to the change of the ejector for it, ns.
    pub trigger_to_output: Times,
    /// How much later than scheduled the ejector was switched, ns.
    pub lateness: Times,
    /// Most parts tracked at once.
    pub most_tracked: u64,
    /// Virtual time, ns.
    pub virtual_ns: u64,
}

impl Outcome {
    /// A life of the process ends.
    pub(super) fn close(&mut self, counters: &Counters, frames: &FrameCounters, under_way: u64) {
        self.repeated_frames += frames.repeated;
        self.unbalanced += u64::from(!counters.balance(under_way));
        self.lost_at_death += under_way;
        self.add_counters(counters);
    }

    fn add_counters(&mut self, other: &Counters) {
        let all = &mut self.counters;
        for (sum, count) in [
            (&mut all.triggers, other.triggers),
            (&mut all.bounces, other.bounces),
            (&mut all.parts, other.parts),
            (&mut all.passed, other.passed),
            (&mut all.untracked, other.untracked),
            (&mut all.lost_triggers, other.lost_triggers),
            (&mut all.late_verdicts, other.late_verdicts),
            (&mut all.repeated_verdicts, other.repeated_verdicts),
            (&mut all.foreign_verdicts, other.foreign_verdicts),
            (&mut all.pulses, other.pulses),
            (&mut all.late_outputs, other.late_outputs),
            (&mut all.short_rests, other.short_rests),
            (&mut all.alarms, other.alarms),
            (&mut all.implausible_counts, other.implausible_counts),
            (&mut all.found_by_level, other.found_by_level),
            (&mut all.covered_too_long, other.covered_too_long),
            (&mut all.unconfirmed, other.unconfirmed),
            (&mut all.surplus_confirmations, other.surplus_confirmations),
        ] {
            *sum += count;
        }
        for reason in Reason::ALL {
            all.rejected[reason as usize] += other.rejected[reason as usize];
        }
        for fault in Fault::ALL {
            all.faults[fault.index()] += other.faults[fault.index()];
        }
    }

    /// Adds another run.
    pub fn merge(&mut self, other: &Self) {
        self.add_counters(&other.counters);
        self.lost_at_death += other.lost_at_death;
        self.unbalanced += other.unbalanced;
        self.physical += other.physical;
        self.passed_physically += other.passed_physically;
        self.passed_unverified += other.passed_unverified;
        self.incidents += other.incidents;
        self.repeated_frames += other.repeated_frames;
        for (sums, counts) in self.beyond.iter_mut().zip(&other.beyond) {
            for (sum, count) in sums.iter_mut().zip(counts) {
                *sum += count;
            }
        }
        self.good_thrown_out += other.good_thrown_out;
        for (sum, count) in self.injected.iter_mut().zip(other.injected) {
            *sum += count;
        }
        self.trigger_to_output.merge(&other.trigger_to_output);
        self.lateness.merge(&other.lateness);
        self.most_tracked = self.most_tracked.max(other.most_tracked);
        self.virtual_ns += other.virtual_ns;
    }

    /// Whether every part and every trigger is accounted for, exactly.
    pub fn balances(&self) -> bool {
        self.unbalanced == 0 && self.counters.balance(self.lost_at_death)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_64th() {
        let mut times = Times::default();
        for ns in 1..=100_000u64 {
            times.record(ns * 37);
        }
        for share in [0.5, 0.9, 0.99, 0.999] {
            let exact = share * 3_700.0;
            let told = times.quantile_us(share);
            assert!(
                told >= exact * 0.999 && told <= exact * (1.0 + 1.0 / 64.0),
                "{share}: {told}"
            );
        }
        assert_eq!(times.max_us(), 3_700.0);
        times.record(u64::MAX);
        assert_eq!(times.quantile_us(1.0), u64::MAX as f64 / 1e3);
    }
}
