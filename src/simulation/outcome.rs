//! The results of a simulated line.

use super::faults::Kind;
use crate::line::controller::FrameCounters;
use crate::line::gate::{Counters, Fault, Reason};

/// Times in steps of 1/64 of their size: memory does not grow with the number of times.
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

    /// The time that `share` (0 to 1) of all times do not exceed, microseconds, at most one 64th
    /// too high. 0 if there are no times.
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

/// Everything that a run counts: the program's own counters, and what happened to the parts.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The program's own counters, the sum over all its lives.
    pub counters: Counters,
    /// Parts that were on the way when the process died.
    pub lost_at_death: u64,
    /// Lives whose counters did not balance exactly.
    pub unbalanced: u64,
    /// Parts that reached the ejector.
    pub physical: u64,
    /// Parts that passed the ejector.
    pub passed_physically: u64,
    /// Parts that passed the ejector without an OK verdict on their own frame, although a program
    /// could have known and acted. Must be 0.
    pub passed_unverified: u64,
    /// Switches to another product.
    pub switches: u64,
    /// Wishes for a product that were refused.
    pub refused_switches: u64,
    /// Parts that two products judged. Must be 0.
    pub judged_by_two: u64,
    /// Parts that passed although the gate knew that another product is asked for. Must be 0.
    pub passed_another: u64,
    /// How long READY was off for a switch, ns.
    pub ready_off: Times,
    /// The number, on its line, of the first part in `passed_unverified`.
    pub first_failure: Option<u64>,
    /// Parts that passed without an OK of their own, if the plant proves that no program could have
    /// prevented it: wired to pass, wired to reject; by [`Kind::ALL`].
    pub beyond: [[u64; Kind::ALL.len()]; 2],
    /// How often the supervisor ran late and noticed it.
    pub incidents: u64,
    /// Frames that came a second time and were not used.
    pub repeated_frames: u64,
    /// Good parts that were rejected.
    pub good_thrown_out: u64,
    /// Injected faults, by [`Kind::ALL`].
    pub injected: [u64; Kind::ALL.len()],
    /// From a part's trigger to the change of the ejector's output for it, ns.
    pub trigger_to_output: Times,
    /// How much later than scheduled the ejector's output was set, ns.
    pub lateness: Times,
    /// Largest number of parts tracked at one time.
    pub most_tracked: u64,
    /// Virtual time, ns.
    pub virtual_ns: u64,
}

impl Outcome {
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

    /// Adds the counts of another run.
    pub fn merge(&mut self, other: &Self) {
        self.add_counters(&other.counters);
        self.lost_at_death += other.lost_at_death;
        self.unbalanced += other.unbalanced;
        self.physical += other.physical;
        self.passed_physically += other.passed_physically;
        self.passed_unverified += other.passed_unverified;
        self.switches += other.switches;
        self.refused_switches += other.refused_switches;
        self.judged_by_two += other.judged_by_two;
        self.passed_another += other.passed_another;
        self.ready_off.merge(&other.ready_off);
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

    /// Parts that must not have passed, or that two products judged.
    pub fn wrong(&self) -> u64 {
        self.passed_unverified + self.passed_another + self.judged_by_two
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
            let estimate = times.quantile_us(share);
            assert!(
                estimate >= exact * 0.999 && estimate <= exact * (1.0 + 1.0 / 64.0),
                "{share}: {estimate}"
            );
        }
        assert_eq!(times.max_us(), 3_700.0);
        times.record(u64::MAX);
        assert_eq!(times.quantile_us(1.0), u64::MAX as f64 / 1e3);
    }
}
