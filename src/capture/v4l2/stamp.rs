//! The kernel's time stamps and sequence numbers.

#![cfg_attr(not(feature = "v4l2"), allow(dead_code))]

/// Which clock a buffer's stamp is from (`V4L2_BUF_FLAG_TIMESTAMP_MASK`).
const CLOCK_MASK: u32 = 0xe000;
const CLOCK_MONOTONIC: u32 = 0x2000;

/// Which instant of a frame is stamped (`V4L2_BUF_FLAG_TSTAMP_SRC_MASK`): the start of its
/// exposure, or, for 0, the arrival of its last byte.
const SOURCE_MASK: u32 = 0x7_0000;

/// Whether a buffer's stamp is from the end of its frame, after exposure and readout.
pub(super) fn stamped_at_the_end(flags: u32) -> bool {
    flags & SOURCE_MASK == 0
}

/// A buffer's stamp as CLOCK_MONOTONIC nanoseconds.
///
/// # Errors
/// In words, if the driver uses another clock: then its new frames cannot be distinguished from old
/// ones.
pub(super) fn monotonic_ns(flags: u32, seconds: i64, microseconds: i64) -> Result<u64, String> {
    let clock = match flags & CLOCK_MASK {
        CLOCK_MONOTONIC => None,
        0x0000 => Some("of an unknown clock"),
        0x4000 => Some("copied from an output"),
        _ => Some("of a clock that is not known here"),
    };
    if let Some(clock) = clock {
        return Err(format!(
            "the driver's time stamps are {clock}, not CLOCK_MONOTONIC, so frames cannot be matched with triggers; use a driver that stamps by CLOCK_MONOTONIC"
        ));
    }
    let ns = u64::try_from(seconds)
        .ok()
        .zip(u64::try_from(microseconds).ok())
        .and_then(|(s, us)| {
            s.checked_mul(1_000_000_000)?
                .checked_add(us.checked_mul(1000)?)
        });
    ns.ok_or_else(|| format!("the driver's time stamp {seconds} s {microseconds} us is not a time"))
}

/// Follows a driver's 32-bit frame counter.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sequence {
    last: Option<u64>,
    /// Whether the counter has increased before.
    counts: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Numbered {
    /// The number without wraps, and how many frames were lost before it.
    Next(u64, u32),
    /// The driver does not count: the number was the same every time so far.
    Uncounted(u64),
}

impl Sequence {
    /// Takes the next frame's number.
    ///
    /// # Errors
    /// In words, if a counter that increased before stands still or goes back: the driver delivers
    /// a frame again, or has restarted, and nobody knows which frames these are.
    pub(super) fn take(&mut self, counter: u32) -> Result<Numbered, String> {
        let Some(last) = self.last else {
            self.last = Some(u64::from(counter));
            return Ok(Numbered::Next(u64::from(counter), 0));
        };
        let step = counter.wrapping_sub(last as u32);
        if step == 0 && !self.counts {
            return Ok(Numbered::Uncounted(last));
        }
        // More than half the range ahead means behind.
        if step == 0 || step > u32::MAX / 2 {
            let how = if step == 0 {
                "stands still at"
            } else {
                "goes back to"
            };
            return Err(format!(
                "the driver's frame counter {how} {counter} after {}: frames come again, or it started anew",
                last as u32
            ));
        }
        self.counts = true;
        let number = last + u64::from(step);
        self.last = Some(number);
        Ok(Numbered::Next(number, step - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_monotonic_clock_counts() {
        let start_of_exposure = 0x0001_0000;
        let flags = CLOCK_MONOTONIC | start_of_exposure | 1;
        assert_eq!(monotonic_ns(flags, 12, 345_678), Ok(12_345_678_000));
        for flags in [0, 0x4000, 0x6000] {
            let error = monotonic_ns(flags, 1, 1).expect_err("accepted");
            assert!(error.contains("CLOCK_MONOTONIC"), "{error}");
        }
        assert!(monotonic_ns(CLOCK_MONOTONIC, -1, 0).is_err());
        assert!(monotonic_ns(CLOCK_MONOTONIC, i64::MAX, i64::MAX).is_err());
    }

    #[test]
    fn the_stamped_instant_is_known() {
        assert!(stamped_at_the_end(CLOCK_MONOTONIC | 1));
        assert!(!stamped_at_the_end(CLOCK_MONOTONIC | 0x1_0000));
    }

    #[test]
    fn gaps_are_counted_across_the_wrap() {
        let mut sequence = Sequence::default();
        let next = |number, lost| Ok(Numbered::Next(number, lost));
        assert_eq!(
            sequence.take(u32::MAX - 1),
            next(u64::from(u32::MAX) - 1, 0)
        );
        assert_eq!(sequence.take(u32::MAX), next(u64::from(u32::MAX), 0));
        assert_eq!(sequence.take(2), next((1 << 32) + 2, 2));
        assert_eq!(sequence.take(3), next((1 << 32) + 3, 0));
        assert_eq!(sequence.take(5), next((1 << 32) + 5, 1));
    }

    #[test]
    fn a_counter_that_goes_back_or_stands_still_is_no_counter_to_go_by() {
        for (again, how) in [(7, "stands still at 7"), (3, "goes back to 3")] {
            let mut sequence = Sequence::default();
            for counter in [6, 7] {
                assert!(sequence.take(counter).is_ok());
            }
            let error = sequence.take(again).expect_err("taken");
            assert!(error.contains(how), "{error}");
        }
        // A driver that never counts does not deliver frames again.
        let mut sequence = Sequence::default();
        assert_eq!(sequence.take(0), Ok(Numbered::Next(0, 0)));
        for _ in 0..3 {
            assert_eq!(sequence.take(0), Ok(Numbered::Uncounted(0)));
        }
        assert_eq!(sequence.take(1), Ok(Numbered::Next(1, 0)));
        assert!(sequence.take(1).is_err());
    }
}
