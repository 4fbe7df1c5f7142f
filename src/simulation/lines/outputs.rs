//! Outputs that another thread can watch.

use super::{SimulatedError, check_capacity};
use crate::clock;
use crate::line::devices::{DeviceError, Outputs};
use crate::line::gate::Output;
use crate::time::Instant;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// A change of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The output.
    pub output: Output,
    /// Its new level.
    pub on: bool,
    /// When it was set, CLOCK_MONOTONIC, nanoseconds.
    pub at: Instant,
}

impl Change {
    /// A change as one 64-bit word, so that no reader sees half of one: 59 bits of time (18 years
    /// since boot), 4 of output, 1 of level.
    fn pack(self) -> u64 {
        self.at.0 << 5 | (self.output as u64) << 1 | u64::from(self.on)
    }

    fn unpack(word: u64) -> Option<Self> {
        Some(Self {
            output: *Output::ALL.get((word >> 1 & 15) as usize)?,
            on: word & 1 == 1,
            at: Instant(word >> 5),
        })
    }
}

#[derive(Debug)]
struct Shared {
    ring: Box<[AtomicU64]>,
    /// Changes written so far.
    written: AtomicU64,
    /// One bit per output.
    levels: AtomicU32,
    /// Outputs whose wire has another level than was set, one bit each.
    lost: AtomicU32,
    unplugged: AtomicBool,
}

/// Outputs that are recorded in memory. Every output starts at its unattended level and returns to
/// it when this is dropped. No lock, and no allocation after the start.
#[derive(Debug)]
pub struct SimulatedOutputs {
    shared: Arc<Shared>,
}

/// The plant's end of [`SimulatedOutputs`]: the present levels, and the changes one by one. Each
/// view reads all changes independently.
#[derive(Clone, Debug)]
pub struct OutputView {
    shared: Arc<Shared>,
    read: u64,
    missed: u64,
}

impl SimulatedOutputs {
    /// Outputs and a view of them. A view that is more than `capacity` changes behind misses the
    /// oldest.
    ///
    /// # Errors
    /// [`SimulatedError::Capacity`].
    pub fn new(capacity: usize) -> Result<(Self, OutputView), SimulatedError> {
        let levels = Output::ALL
            .into_iter()
            .filter(|output| output.when_unattended());
        let shared = Arc::new(Shared {
            // One slot more, because the next slot may be partly written.
            ring: (0..=check_capacity(capacity)?)
                .map(|_| AtomicU64::new(0))
                .collect(),
            written: AtomicU64::new(0),
            levels: AtomicU32::new(levels.fold(0, |bits, output| bits | bit(output))),
            lost: AtomicU32::new(0),
            unplugged: AtomicBool::new(false),
        });
        let view = OutputView {
            shared: Arc::clone(&shared),
            read: 0,
            missed: 0,
        };
        Ok((Self { shared }, view))
    }

    fn change(&mut self, output: Output, on: bool) {
        let shared = &*self.shared;
        shared.lost.fetch_and(!bit(output), Ordering::AcqRel);
        let levels = shared.levels.load(Ordering::Relaxed);
        let changed = if on {
            levels | bit(output)
        } else {
            levels & !bit(output)
        };
        if changed == levels {
            return;
        }
        shared.levels.store(changed, Ordering::Release);
        let written = shared.written.load(Ordering::Relaxed);
        let at = clock::now();
        let slot = (written % shared.ring.len() as u64) as usize;
        shared.ring[slot].store(Change { output, on, at }.pack(), Ordering::Release);
        shared.written.store(written + 1, Ordering::Release);
    }
}

fn bit(output: Output) -> u32 {
    1 << output as u32
}

impl Outputs for SimulatedOutputs {
    fn set(&mut self, output: Output, on: bool) -> Result<(), DeviceError> {
        if self.shared.unplugged.load(Ordering::Acquire) {
            return Err(SimulatedError::Unplugged("outputs").into());
        }
        self.change(output, on);
        Ok(())
    }

    fn differs(&mut self) -> Result<Option<Output>, DeviceError> {
        if self.shared.unplugged.load(Ordering::Acquire) {
            return Err(SimulatedError::Unplugged("outputs").into());
        }
        let lost = self.shared.lost.load(Ordering::Acquire);
        Ok(Output::ALL
            .into_iter()
            .find(|output| lost & bit(*output) != 0))
    }
}

impl Drop for SimulatedOutputs {
    fn drop(&mut self) {
        for output in Output::ALL {
            self.change(output, output.when_unattended());
        }
    }
}

impl OutputView {
    /// The present level of `output`.
    pub fn level(&self, output: Output) -> bool {
        self.shared.levels.load(Ordering::Acquire) & bit(output) != 0
    }

    /// Number of changes so far, with the missed ones.
    pub fn changes(&self) -> u64 {
        self.shared.written.load(Ordering::Acquire)
    }

    /// Number of changes that were overwritten before this view read them.
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// The wire of `output` takes the other level by itself until the output is set again, as
    /// behind an expander that was reset. [`Self::level`] still gives what was set.
    pub fn lose(&self, output: Output) {
        self.shared.lost.fetch_or(bit(output), Ordering::AcqRel);
    }

    /// Makes setting fail, or work again.
    pub fn unplug(&self, unplugged: bool) {
        self.shared.unplugged.store(unplugged, Ordering::Release);
    }
}

impl Iterator for OutputView {
    type Item = Change;

    /// The next change, oldest first; None if there is none yet.
    fn next(&mut self) -> Option<Change> {
        let slots = self.shared.ring.len() as u64;
        loop {
            let written = self.shared.written.load(Ordering::Acquire);
            let oldest = (written + 1).saturating_sub(slots);
            if self.read < oldest {
                self.missed += oldest - self.read;
                self.read = oldest;
            }
            if self.read >= written {
                return None;
            }
            let slot = (self.read % slots) as usize;
            let word = self.shared.ring[slot].load(Ordering::Acquire);
            // A reader that sees a newer word in the slot also sees the count that was stored
            // before it.
            if self.shared.written.load(Ordering::Acquire) >= self.read + slots {
                continue;
            }
            self.read += 1;
            return Change::unpack(word);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_that_lost_its_level_differs_until_it_is_set_again() {
        let (mut outputs, view) = SimulatedOutputs::new(8).unwrap();
        outputs
            .set_all(&[(Output::Ready, true), (Output::Pass, true)])
            .unwrap();
        assert!(view.level(Output::Ready) && view.level(Output::Pass));
        assert_eq!(outputs.differs().unwrap(), None);
        view.lose(Output::Pass);
        assert_eq!(outputs.differs().unwrap(), Some(Output::Pass));
        outputs.set(Output::Pass, true).unwrap();
        assert_eq!(outputs.differs().unwrap(), None);
        view.unplug(true);
        assert!(outputs.differs().is_err());
    }

    #[test]
    fn outputs_start_unattended_and_go_back_there() {
        let (mut outputs, mut view) = SimulatedOutputs::new(100).unwrap();
        let unattended = |view: &OutputView| {
            Output::ALL
                .into_iter()
                .all(|output| view.level(output) == output.when_unattended())
        };
        assert!(unattended(&view));
        outputs.set(Output::Ready, true).unwrap();
        outputs.set(Output::Ready, true).unwrap();
        outputs.set(Output::Fault, false).unwrap();
        assert!(view.level(Output::Ready) && !view.level(Output::Fault));
        assert_eq!(view.changes(), 2, "setting what is set is no change");
        drop(outputs);
        assert!(unattended(&view));
        let seen: Vec<(Output, bool)> = view.by_ref().map(|c| (c.output, c.on)).collect();
        assert_eq!(
            seen,
            [
                (Output::Ready, true),
                (Output::Fault, false),
                (Output::Ready, false),
                (Output::Fault, true)
            ]
        );
        assert_eq!(view.missed(), 0);
    }

    #[test]
    fn changes_carry_the_time_and_survive_packing() {
        let before = clock::now();
        let (mut outputs, mut view) = SimulatedOutputs::new(4).unwrap();
        outputs.set(Output::Heartbeat, true).unwrap();
        let change = view.next().unwrap();
        assert!(change.at >= before && change.at <= clock::now());
        for output in Output::ALL {
            for on in [false, true] {
                let change = Change {
                    output,
                    on,
                    at: Instant(123_456_789_012_345),
                };
                assert_eq!(Change::unpack(change.pack()), Some(change));
            }
        }
    }

    #[test]
    fn a_slow_view_misses_the_oldest_and_knows_how_many() {
        for capacity in [1, 2, 7] {
            let (mut outputs, mut view) = SimulatedOutputs::new(capacity).unwrap();
            for n in 0..20 {
                outputs.set(Output::Busy, n % 2 == 0).unwrap();
            }
            let seen: Vec<Change> = view.by_ref().collect();
            assert_eq!(seen.len(), capacity);
            assert_eq!(view.missed(), 20 - capacity as u64);
            assert!(!seen[capacity - 1].on, "the newest is there");
        }
    }

    #[test]
    fn while_being_written_every_change_is_read_once_in_order_or_counted() {
        const CHANGES: u64 = 200_000;
        let (mut outputs, mut view) = SimulatedOutputs::new(16).unwrap();
        let writer = std::thread::spawn(move || {
            for n in 0..CHANGES {
                outputs.set(Output::Busy, n % 2 == 0).unwrap();
            }
            // The main thread drops it, so that no change follows.
            outputs
        });
        let (mut seen, mut last) = (0, Instant(0));
        while seen + view.missed() < CHANGES {
            if let Some(change) = view.next() {
                assert!(change.at >= last && change.output == Output::Busy);
                last = change.at;
                seen += 1;
            }
        }
        assert_eq!(seen + view.missed(), CHANGES);
        drop(writer.join().unwrap());
    }

    #[test]
    fn unplugged_outputs_fail_and_keep_their_levels() {
        let (mut outputs, view) = SimulatedOutputs::new(4).unwrap();
        view.unplug(true);
        assert!(outputs.set(Output::Ready, true).is_err());
        assert!(!view.level(Output::Ready));
        view.unplug(false);
        outputs.set(Output::Ready, true).unwrap();
        assert!(view.level(Output::Ready));
    }
}
