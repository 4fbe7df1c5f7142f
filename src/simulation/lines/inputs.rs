//! Inputs that another thread feeds.

use super::{SimulatedError, check_capacity};
use crate::clock;
use crate::line::devices::{DeviceError, Edge, Input, Inputs};
use crate::time::{Duration, Instant};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};

/// How long a wait on unplugged inputs takes, so that repeated waits are not a busy loop.
const UNPLUGGED_WAIT: Duration = Duration::from_millis(1);

/// One edge in the ring. One thread writes and one reads; `head` and `tail` order their turns.
#[derive(Debug, Default)]
struct Slot {
    at: AtomicU64,
    /// Input and direction in the upper half, lost edges in the lower.
    what: AtomicU64,
}

/// Set in [`Slot::what`] for off-edges.
const OFF: u64 = 1 << 63;
/// Levels as [`Shared::levels`] holds them.
const UNKNOWN: u8 = 2;

#[derive(Debug)]
struct Shared {
    slots: Box<[Slot]>,
    /// Edges taken out so far.
    head: AtomicUsize,
    /// Edges put in so far.
    tail: AtomicUsize,
    unplugged: AtomicBool,
    /// 0, 1 or [`UNKNOWN`], by input.
    levels: [AtomicU8; Input::ALL.len()],
    /// Readable after every push; `wait` sleeps on it.
    wake: OwnedFd,
}

/// Inputs whose edges come from an [`InputFeed`]. No lock, and no allocation after the start.
#[derive(Debug)]
pub struct SimulatedInputs {
    shared: Arc<Shared>,
}

/// The plant's end of [`SimulatedInputs`]. One thread owns it.
#[derive(Debug)]
pub struct InputFeed {
    shared: Arc<Shared>,
    lost: [u32; Input::ALL.len()],
}

impl SimulatedInputs {
    /// Inputs and their feed; up to `capacity` edges can wait.
    ///
    /// # Errors
    /// [`SimulatedError::Capacity`], or [`SimulatedError::Text`] if the system has no file
    /// descriptor left.
    pub fn new(capacity: usize) -> Result<(Self, InputFeed), SimulatedError> {
        let wake = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC);
        let shared = Arc::new(Shared {
            slots: (0..check_capacity(capacity)?)
                .map(|_| Slot::default())
                .collect(),
            head: AtomicUsize::new(0),
            tail: AtomicUsize::new(0),
            unplugged: AtomicBool::new(false),
            levels: std::array::from_fn(|_| AtomicU8::new(UNKNOWN)),
            wake: wake.map_err(|e| SimulatedError::Text {
                path: "eventfd".into(),
                problem: "cannot be made",
                source: e.into(),
            })?,
        });
        let feed = InputFeed {
            shared: Arc::clone(&shared),
            lost: [0; Input::ALL.len()],
        };
        Ok((Self { shared }, feed))
    }

    fn pop(&mut self) -> Option<Edge> {
        let shared = &*self.shared;
        let head = shared.head.load(Ordering::Relaxed);
        if head == shared.tail.load(Ordering::Acquire) {
            return None;
        }
        let slot = &shared.slots[head % shared.slots.len()];
        let what = slot.what.load(Ordering::Relaxed);
        let edge = Edge {
            on: what & OFF == 0,
            input: Input::ALL[((what & !OFF) >> 32) as usize % Input::ALL.len()],
            at: Instant(slot.at.load(Ordering::Relaxed)),
            lost: (what & u64::from(u32::MAX)) as u32,
        };
        shared.head.store(head.wrapping_add(1), Ordering::Release);
        Some(edge)
    }
}

impl Inputs for SimulatedInputs {
    fn wait(&mut self, at_most: Duration) -> Result<Option<Edge>, DeviceError> {
        let deadline = clock::now().after(at_most);
        loop {
            if self.shared.unplugged.load(Ordering::Acquire) {
                clock::sleep(UNPLUGGED_WAIT.min(at_most));
                return Err(SimulatedError::Unplugged("inputs").into());
            }
            if let Some(edge) = self.pop() {
                return Ok(Some(edge));
            }
            let timeout = clock::timespec(clock::until(deadline));
            let mut fds = [PollFd::new(&self.shared.wake, PollFlags::IN)];
            match poll(&mut fds, Some(&timeout)) {
                Ok(0) => return Ok(None),
                Ok(_) => {
                    // Reset before the ring is read again, so that no push is missed. A failure
                    // means that it was reset already.
                    let _ = rustix::io::read(&self.shared.wake, &mut [0u8; 8]);
                }
                Err(Errno::INTR) => {}
                Err(e) => return Err(Box::new(std::io::Error::from(e))),
            }
        }
    }

    fn level(&mut self, input: Input) -> Result<Option<bool>, DeviceError> {
        if self.shared.unplugged.load(Ordering::Acquire) {
            return Err(SimulatedError::Unplugged("inputs").into());
        }
        let level = self.shared.levels[input as usize].load(Ordering::Acquire);
        Ok((level != UNKNOWN).then_some(level == 1))
    }
}

impl InputFeed {
    /// An on-edge of `input` at `at`. Returns false if there is no room: then the edge is dropped,
    /// and the input's next edge reports it as lost, as the kernel does.
    pub fn edge(&mut self, input: Input, at: Instant) -> bool {
        // A plant that never sends off-edges has no levels.
        let _ = self.shared.levels[input as usize].compare_exchange(
            0,
            1,
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
        self.push(input, true, at)
    }

    /// An off-edge of `input` at `at`. After the first one the level of the input can be read. If
    /// there is no room, as [`InputFeed::edge`].
    #[cfg(test)]
    pub(crate) fn edge_off(&mut self, input: Input, at: Instant) -> bool {
        self.set_level(input, false);
        self.push(input, false, at)
    }

    /// The level of `input` changes and no edge reports it.
    #[cfg(test)]
    pub(crate) fn set_level(&mut self, input: Input, on: bool) {
        self.shared.levels[input as usize].store(u8::from(on), Ordering::Release);
    }

    fn push(&mut self, input: Input, on: bool, at: Instant) -> bool {
        let shared = &*self.shared;
        let lost = &mut self.lost[input as usize];
        let tail = shared.tail.load(Ordering::Relaxed);
        let waiting = tail.wrapping_sub(shared.head.load(Ordering::Acquire));
        if waiting >= shared.slots.len() {
            *lost = lost.saturating_add(1);
            return false;
        }
        let slot = &shared.slots[tail % shared.slots.len()];
        slot.at.store(at.0, Ordering::Relaxed);
        let direction = if on { 0 } else { OFF };
        let what = direction | (input as u64) << 32 | u64::from(*lost);
        slot.what.store(what, Ordering::Relaxed);
        *lost = 0;
        shared.tail.store(tail.wrapping_add(1), Ordering::Release);
        self.wake();
        true
    }

    /// An on-edge of `input` at the present time. Returns false if there is no room.
    pub fn edge_now(&mut self, input: Input) -> bool {
        self.edge(input, clock::now())
    }

    /// Removes the device: waiting fails until [`InputFeed::plug`].
    pub fn unplug(&mut self) {
        self.shared.unplugged.store(true, Ordering::Release);
        self.wake();
    }

    /// Brings the device back. Edges that were fed while it was away are delivered. A real plant
    /// has none, so feed none.
    pub fn plug(&mut self) {
        self.shared.unplugged.store(false, Ordering::Release);
    }

    /// Number of edges that wait to be read.
    pub fn waiting(&self) -> usize {
        let tail = self.shared.tail.load(Ordering::Relaxed);
        tail.wrapping_sub(self.shared.head.load(Ordering::Acquire))
    }

    fn wake(&self) {
        // Fails only at 2^64 - 1 unread wakes, and then it is readable anyway.
        let _ = rustix::io::write(&self.shared.wake, &1u64.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_come_out_as_they_went_in() {
        let (mut inputs, mut feed) = SimulatedInputs::new(32).unwrap();
        assert_eq!(inputs.wait(Duration::ZERO).unwrap(), None);
        let edges: Vec<Edge> = Input::ALL
            .into_iter()
            .flat_map(|input| [(input, true), (input, false)])
            .zip(0..)
            .map(|((input, on), n)| Edge {
                input,
                on,
                at: Instant(n),
                lost: 0,
            })
            .collect();
        for edge in &edges {
            assert!(if edge.on {
                feed.edge(edge.input, edge.at)
            } else {
                feed.edge_off(edge.input, edge.at)
            });
        }
        assert_eq!(feed.waiting(), edges.len());
        for edge in edges {
            assert_eq!(inputs.wait(Duration::ZERO).unwrap(), Some(edge));
        }
    }

    #[test]
    fn levels_are_known_once_the_plant_sends_off_edges() {
        let (mut inputs, mut feed) = SimulatedInputs::new(2).unwrap();
        let level = |inputs: &mut SimulatedInputs| inputs.level(Input::Trigger).unwrap();
        assert_eq!(level(&mut inputs), None);
        feed.edge(Input::Trigger, Instant(1));
        assert_eq!(level(&mut inputs), None, "it would stay on for ever");
        feed.edge_off(Input::Trigger, Instant(2));
        assert_eq!(level(&mut inputs), Some(false));
        // The ring is full: the edge is lost, the level is there.
        assert!(!feed.edge(Input::Trigger, Instant(3)));
        assert_eq!(level(&mut inputs), Some(true));
        feed.set_level(Input::Trigger, false);
        assert_eq!(level(&mut inputs), Some(false));
        assert_eq!(inputs.level(Input::Encoder).unwrap(), None);
        for on in [true, false] {
            assert_eq!(inputs.wait(Duration::ZERO).unwrap().unwrap().on, on);
        }
        // An off-edge reports lost edges as well.
        feed.edge_off(Input::Trigger, Instant(4));
        let edge = inputs.wait(Duration::ZERO).unwrap().unwrap();
        assert_eq!((edge.on, edge.lost), (false, 1));
        feed.unplug();
        assert!(inputs.level(Input::Trigger).is_err());
    }

    #[test]
    fn edges_without_room_are_reported_as_lost() {
        let (mut inputs, mut feed) = SimulatedInputs::new(2).unwrap();
        let fed: Vec<bool> = (0..5)
            .map(|n| feed.edge(Input::Trigger, Instant(n)))
            .collect();
        assert_eq!(fed, [true, true, false, false, false]);
        for _ in 0..2 {
            assert_eq!(inputs.wait(Duration::ZERO).unwrap().unwrap().lost, 0);
        }
        // Another input's edge does not carry the trigger's losses.
        assert!(feed.edge(Input::Encoder, Instant(6)));
        assert!(feed.edge(Input::Trigger, Instant(7)));
        assert_eq!(inputs.wait(Duration::ZERO).unwrap().unwrap().lost, 0);
        assert_eq!(inputs.wait(Duration::ZERO).unwrap().unwrap().lost, 3);
    }

    #[test]
    fn a_wait_ends_with_the_edge_and_otherwise_on_time() {
        let (mut inputs, mut feed) = SimulatedInputs::new(8).unwrap();
        let started = clock::now();
        assert_eq!(inputs.wait(Duration::from_millis(30)).unwrap(), None);
        assert!(clock::now().since(started) >= Duration::from_millis(30));
        let feeder = std::thread::spawn(move || {
            clock::sleep(Duration::from_millis(20));
            feed.edge_now(Input::Trigger);
            feed
        });
        let started = clock::now();
        let edge = inputs.wait(Duration::from_secs(20)).unwrap().unwrap();
        assert!(clock::now().since(started) < Duration::from_secs(10));
        assert!(edge.at <= clock::now());
        drop(feeder.join().unwrap());
    }

    #[test]
    fn an_unplug_ends_a_wait_with_an_error_and_a_plug_ends_the_errors() {
        let (mut inputs, mut feed) = SimulatedInputs::new(8).unwrap();
        let feeder = std::thread::spawn(move || {
            clock::sleep(Duration::from_millis(10));
            feed.unplug();
            feed
        });
        let error = inputs.wait(Duration::from_secs(20)).unwrap_err();
        assert!(error.to_string().contains("unplugged"), "{error}");
        let mut feed = feeder.join().unwrap();
        assert!(inputs.wait(Duration::ZERO).is_err());
        feed.plug();
        assert_eq!(inputs.wait(Duration::ZERO).unwrap(), None);
        feed.edge_now(Input::Trigger);
        assert!(inputs.wait(Duration::ZERO).unwrap().is_some());
    }

    #[test]
    fn between_two_threads_every_edge_arrives_or_is_reported_as_lost() {
        const EDGES: u64 = 200_000;
        let (mut inputs, mut feed) = SimulatedInputs::new(64).unwrap();
        let feeder = std::thread::spawn(move || {
            for n in 1..=EDGES {
                feed.edge(Input::Trigger, Instant(n));
            }
            // One more edge, which reports the last losses. It is sent when there is certainly
            // room.
            while feed.waiting() > 0 {
                std::thread::yield_now();
            }
            assert!(feed.edge(Input::Trigger, Instant(EDGES + 1)));
        });
        let (mut seen, mut last) = (0, 0);
        while last <= EDGES {
            let edge = inputs.wait(Duration::from_secs(20)).unwrap().unwrap();
            assert!(edge.at.0 > last, "order");
            last = edge.at.0;
            seen += 1 + u64::from(edge.lost);
        }
        feeder.join().unwrap();
        assert_eq!(seen, EDGES + 1);
        assert_eq!(inputs.wait(Duration::ZERO).unwrap(), None);
    }

    #[test]
    fn capacities_are_bounded() {
        assert!(SimulatedInputs::new(0).is_err());
        assert!(SimulatedInputs::new(usize::MAX).is_err());
    }
}
