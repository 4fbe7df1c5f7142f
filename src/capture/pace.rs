//! When a simulated camera exposes: at a steady rate, or at every trigger.

use super::source::Flash;
use crate::clock;
use crate::time::{Duration, Instant};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fd::OwnedFd;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Number of triggers that can wait for their exposure; more are lost and counted.
const WAITING: usize = 64;
/// Number of frames that a free-running camera keeps for a slow reader, like the buffers of a real
/// one.
const BUFFERS: u64 = 4;

/// When a source exposes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Exposure {
    /// At a steady rate, frames per second.
    FreeRunning {
        /// Frames per second, above 0.
        fps: f64,
    },
    /// At every call of the source's [`Flash`].
    OnTrigger {
        /// Time from the trigger to the exposure. The time of the exposure is the frame's stamp.
        delay: Duration,
    },
}

/// Triggers on their way from the thread that fires to the thread that exposes: a ring without
/// locks, and an event counter of the kernel to wait on.
struct Triggers {
    times: [AtomicU64; WAITING],
    written: AtomicUsize,
    read: AtomicUsize,
    lost: AtomicU64,
    bell: OwnedFd,
}

impl Triggers {
    fn new() -> io::Result<Self> {
        Ok(Self {
            times: [const { AtomicU64::new(0) }; WAITING],
            written: AtomicUsize::new(0),
            read: AtomicUsize::new(0),
            lost: AtomicU64::new(0),
            bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    /// Only the one writer calls it.
    fn push(&self, at: Instant) {
        let written = self.written.load(Ordering::Relaxed);
        if written.wrapping_sub(self.read.load(Ordering::Acquire)) >= WAITING {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.times[written % WAITING].store(at.0, Ordering::Relaxed);
        self.written
            .store(written.wrapping_add(1), Ordering::Release);
        // Fails only if the counter is at its end, and then the reader is awake anyway.
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }

    /// Only the one reader calls it.
    fn pop(&self) -> Option<Instant> {
        let read = self.read.load(Ordering::Relaxed);
        if read == self.written.load(Ordering::Acquire) {
            return None;
        }
        let time = self.times[read % WAITING].load(Ordering::Relaxed);
        self.read.store(read.wrapping_add(1), Ordering::Release);
        Some(Instant(time))
    }

    /// Waits until something was pushed, at most until `until`.
    fn wait(&self, until: Instant) {
        sleep_until(until, Some(&self.bell));
        let mut counter = [0; 8];
        let _ = rustix::io::read(&self.bell, &mut counter);
    }
}

/// Waits until `until`, or until `bell` can be read. A signal can end it early, so the caller
/// checks the clock.
fn sleep_until(until: Instant, bell: Option<&OwnedFd>) {
    let left = clock::timespec(clock::until(until));
    let _ = match bell {
        Some(bell) => poll(&mut [PollFd::new(bell, PollFlags::IN)], Some(&left)),
        None => poll(&mut [], Some(&left)),
    };
}

/// Waits until the clock shows `until`, at most until `deadline`. Returns whether `until` was
/// reached.
pub(crate) fn wait_until(until: Instant, deadline: Instant) -> bool {
    let end = until.min(deadline);
    while clock::now() < end {
        sleep_until(end, None);
    }
    until <= deadline
}

struct Trigger(Arc<Triggers>);

impl Flash for Trigger {
    fn fire(&mut self, at: Instant) {
        self.0.push(at);
    }
}

/// A frame to be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exposed {
    /// The stamp.
    pub(crate) time: Instant,
    /// Counter of all exposures, with the lost ones, from 0.
    pub(crate) sequence: u64,
    /// Number of frames lost just before it.
    pub(crate) lost_before: u32,
}

/// Returns exposures at their times.
pub(crate) struct Pacer {
    exposure: Exposure,
    triggers: Option<Arc<Triggers>>,
    /// Whether the one flash was returned: a second one would be a second writer of the ring.
    flash_given: bool,
    /// On triggers: taken from the ring and not yet due.
    pending: Option<Instant>,
    /// Free-running: the time of exposure 0 since the source was opened, and the number of
    /// exposures since.
    start: Instant,
    since_start: u64,
    sequence: u64,
    lost: u64,
}

impl Pacer {
    /// # Errors
    /// In words, if the rate is not possible or the kernel has no event counter left.
    pub(crate) fn new(exposure: Exposure) -> Result<Self, String> {
        let triggers = match exposure {
            Exposure::FreeRunning { fps } if !(1e-3..=1e6).contains(&fps) => {
                return Err(format!("{fps} frames per second is not a rate"));
            }
            Exposure::FreeRunning { .. } => None,
            Exposure::OnTrigger { .. } => {
                let triggers = Triggers::new()
                    .map_err(|error| format!("no event counter for triggers: {error}"))?;
                Some(Arc::new(triggers))
            }
        };
        Ok(Self {
            exposure,
            triggers,
            flash_given: false,
            pending: None,
            start: clock::now(),
            since_start: 0,
            sequence: 0,
            lost: 0,
        })
    }

    /// Drops what waits; a free-running camera exposes first one interval from now.
    pub(crate) fn restart(&mut self) {
        let waiting = self
            .triggers
            .iter()
            .flat_map(|t| std::iter::from_fn(|| t.pop()));
        let waiting = waiting.take(WAITING).count() + usize::from(self.pending.take().is_some());
        self.lost += waiting as u64;
        self.start = clock::now();
        self.since_start = 1;
    }

    pub(crate) fn flash(&mut self) -> Option<Box<dyn Flash>> {
        if std::mem::replace(&mut self.flash_given, true) {
            return None;
        }
        let triggers = self.triggers.as_ref()?;
        Some(Box::new(Trigger(Arc::clone(triggers))))
    }

    /// The next exposure that is over within `at_most`; waits for it.
    pub(crate) fn next(&mut self, at_most: Duration) -> Option<Exposed> {
        let deadline = clock::now().after(at_most);
        let time = match self.exposure {
            Exposure::FreeRunning { fps } => self.steady(1e9 / fps, deadline)?,
            Exposure::OnTrigger { delay } => self.triggered(delay, deadline)?,
        };
        if let Some(triggers) = &self.triggers {
            self.lost += triggers.lost.swap(0, Ordering::Relaxed);
        }
        let lost = std::mem::take(&mut self.lost);
        let sequence = self.sequence.saturating_add(lost);
        self.sequence = sequence.saturating_add(1);
        Some(Exposed {
            time,
            sequence,
            lost_before: u32::try_from(lost).unwrap_or(u32::MAX),
        })
    }

    fn steady(&mut self, interval_ns: f64, deadline: Instant) -> Option<Instant> {
        let at = |number: u64| {
            self.start
                .after(Duration((number as f64 * interval_ns) as u64))
        };
        let over = (clock::now().since(self.start).0 as f64 / interval_ns) as u64;
        let oldest = over.saturating_sub(BUFFERS - 1);
        let number = self.since_start.max(oldest);
        let time = at(number);
        if !wait_until(time, deadline) {
            return None;
        }
        self.lost += number - self.since_start;
        self.since_start = number + 1;
        Some(time)
    }

    fn triggered(&mut self, delay: Duration, deadline: Instant) -> Option<Instant> {
        let triggers = self.triggers.as_ref()?;
        let trigger = loop {
            if let Some(time) = self.pending.take().or_else(|| triggers.pop()) {
                break time;
            }
            if clock::now() >= deadline {
                return None;
            }
            triggers.wait(deadline);
        };
        let time = trigger.after(delay);
        if !wait_until(time, deadline) {
            self.pending = Some(trigger);
            return None;
        }
        Some(time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    #[test]
    fn a_free_running_camera_keeps_its_rate_and_counts_what_nobody_took() {
        let mut pacer = Pacer::new(Exposure::FreeRunning { fps: 200.0 }).expect("pacer");
        pacer.restart();
        let start = clock::now();
        let first = pacer.next(SOON).expect("frame");
        let second = pacer.next(SOON).expect("frame");
        assert_eq!(second.time.since(first.time), Duration(5_000_000));
        assert!(first.time >= start && clock::now() >= second.time);
        assert_eq!((first.sequence, second.sequence), (0, 1));
        clock::sleep(Duration::from_millis(100));
        let late = pacer.next(SOON).expect("frame");
        assert!(late.lost_before >= 10, "{late:?}");
        assert_eq!(late.sequence, 2 + u64::from(late.lost_before));
        assert_eq!(late.time.since(first.time).0 % 5_000_000, 0);
    }

    #[test]
    fn nothing_comes_early_and_waiting_ends_in_time() {
        let mut pacer = Pacer::new(Exposure::FreeRunning { fps: 1.0 }).expect("pacer");
        pacer.restart();
        let start = clock::now();
        assert_eq!(pacer.next(Duration::from_millis(20)), None);
        assert!((20_000_000..5_000_000_000).contains(&clock::now().since(start).0));
        let delay = Duration::from_millis(60);
        let mut pacer = Pacer::new(Exposure::OnTrigger { delay }).expect("pacer");
        let mut flash = pacer.flash().expect("flash");
        assert_eq!(pacer.next(Duration::ZERO), None);
        let trigger = clock::now();
        flash.fire(trigger);
        assert_eq!(pacer.next(Duration::from_millis(5)), None);
        // The trigger that was not yet due is not dropped.
        let frame = pacer.next(SOON).expect("frame");
        assert_eq!(frame.time, trigger.after(delay));
        assert!(clock::now() >= frame.time);
    }

    #[test]
    fn a_trigger_wakes_the_camera_from_another_thread() {
        let exposure = Exposure::OnTrigger {
            delay: Duration::ZERO,
        };
        let mut pacer = Pacer::new(exposure).expect("pacer");
        let mut flash = pacer.flash().expect("flash");
        assert!(pacer.flash().is_none(), "two writers");
        let fired = std::thread::spawn(move || {
            let mut times = Vec::new();
            for _ in 0..200 {
                clock::sleep(Duration::from_micros(300));
                times.push(clock::now());
                flash.fire(times[times.len() - 1]);
            }
            times
        });
        let frames: Vec<Exposed> = (0..200).map(|_| pacer.next(SOON).expect("frame")).collect();
        let times = fired.join().expect("thread");
        for (number, (frame, time)) in frames.iter().zip(times).enumerate() {
            assert_eq!((frame.time, frame.sequence), (time, number as u64));
        }
    }

    #[test]
    fn triggers_beyond_the_ring_and_before_a_restart_are_counted() {
        let exposure = Exposure::OnTrigger {
            delay: Duration::ZERO,
        };
        let mut pacer = Pacer::new(exposure).expect("pacer");
        let mut flash = pacer.flash().expect("flash");
        for time in 0..WAITING as u64 + 7 {
            flash.fire(Instant(time));
        }
        let first = pacer.next(SOON).expect("frame");
        assert_eq!(
            (first.time, first.sequence, first.lost_before),
            (Instant(0), 7, 7)
        );
        pacer.restart();
        flash.fire(Instant(1000));
        let after = pacer.next(SOON).expect("frame");
        let forgotten = WAITING as u32 - 1;
        assert_eq!((after.time, after.lost_before), (Instant(1000), forgotten));
    }

    #[test]
    fn absurd_rates_are_refused() {
        for fps in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Pacer::new(Exposure::FreeRunning { fps }).is_err());
        }
    }
}
