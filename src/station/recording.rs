//! The recorder thread. It can be slow and the disk can be full: no other thread waits for it.

use super::activity::ActivityStamp;
use super::latch::AlarmLatch;
use super::queues::{Picture, RecordItem};
use crate::clock;
use crate::frame::RawFrame;
use crate::line::devices::LatchedAlarm;
use crate::record::{EventEntry, EventKind, Metrics, PartEntry, Recorder};
use crate::time::Duration;
use heapless::Deque;
use heapless::spsc::{Consumer, Producer};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::thread::Thread;

/// Pictures of inspected parts that wait for their part's decision.
const HELD: usize = 6;
/// Most entries that are written before the alarm's file.
const AT_ONCE: u32 = 8;
const LOOK: Duration = Duration::from_millis(200);
/// The record counts as written again after this time without a failure.
const SOUND: Duration = Duration::from_millis(2_000);

/// The recorder thread's ends of the queues.
pub(super) struct RecorderQueues<'a> {
    pub(super) items: Consumer<'a, RecordItem>,
    pub(super) pictures: Consumer<'a, Picture>,
    pub(super) free: Producer<'a, RawFrame>,
    /// Number of entries for which the queue had no room.
    pub(super) lost: &'a AtomicU64,
    /// Keeps the latched alarm after this process ends.
    pub(super) latch: Option<AlarmLatch>,
    /// The latched alarm by its number. Another number: the gate has not reported one yet.
    pub(super) alarm: &'a AtomicU8,
    /// Holds the time of the last passed challenge.
    pub(super) metrics: Arc<Metrics>,
    /// Set while the event log cannot be written.
    pub(super) record_lost: &'a AtomicBool,
    pub(super) gate: Thread,
    /// Time of this thread's last round.
    pub(super) alive: &'a ActivityStamp,
}

/// Records until `stop` and until everything is written.
pub(super) fn run(mut recorder: Option<Recorder>, mut ends: RecorderQueues<'_>, stop: &AtomicBool) {
    let mut held: Deque<Picture, HELD> = Deque::new();
    let mut looked = clock::now();
    if let Some(recorder) = &mut recorder {
        recorder.event(
            &EventEntry::new(EventKind::Start, "line", "", looked),
            looked,
        );
    }
    let mut latched = None;
    let mut ahead = 0;
    let mut failed_at = None;
    loop {
        ends.alive.stamp();
        let stopping = stop.load(Ordering::Relaxed);
        let mut idle = true;
        while let Some(picture) = ends.pictures.dequeue() {
            if let Err(picture) = held.push_back(picture) {
                // The part keeps its entry but loses its picture.
                if let Some(oldest) = held.pop_front() {
                    let _ = ends.free.enqueue(oldest.frame);
                }
                let _ = held.push_back(picture);
            }
        }
        let now = clock::now();
        if let Some(item) = ends.items.dequeue() {
            idle = false;
            match item {
                RecordItem::Part(entry) => {
                    let frame = take(&mut held, &entry);
                    if let Some(recorder) = &mut recorder {
                        recorder.part(&entry, frame.as_ref(), now);
                    }
                    if let Some(frame) = frame {
                        let _ = ends.free.enqueue(frame);
                    }
                }
                RecordItem::Event(event) => {
                    if let Some(recorder) = &mut recorder {
                        recorder.event(&event, now);
                    }
                }
            }
        }
        // After the few waiting entries, because a sync that must survive a power cut takes long.
        // The alarm is a value and not an entry of the queue, so it cannot be lost.
        ahead = if idle { 0 } else { ahead + 1 };
        let alarm = LatchedAlarm::numbered(ends.alarm.load(Ordering::Relaxed));
        let challenge = ends.metrics.challenge.passed_at();
        if let (Some(latch), Some(alarm)) = (&mut ends.latch, alarm)
            && latched != Some((alarm, challenge))
            && (idle || ahead >= AT_ONCE)
        {
            ahead = 0;
            latched = Some((alarm, challenge));
            latch.set(alarm, challenge);
        }
        if let Some(recorder) = &mut recorder
            && (now.since(looked) >= LOOK || (idle && stopping))
        {
            looked = now;
            let lost = ends.lost.swap(0, Ordering::Relaxed);
            if lost > 0 {
                recorder.missing(lost);
            }
            recorder.tick(now);
            if let Some(latch) = &mut ends.latch {
                latch.tick();
            }
        }
        if let Some(recorder) = &recorder {
            let was = ends.record_lost.load(Ordering::Relaxed);
            if recorder.lost() {
                failed_at = Some(now);
            }
            let lost = failed_at.is_some_and(|at| now.since(at) < SOUND);
            if lost != was {
                ends.record_lost.store(lost, Ordering::Relaxed);
                ends.gate.unpark();
            }
        }
        if idle {
            if stopping {
                break;
            }
            std::thread::park_timeout(Duration::from_millis(50).into());
        }
    }
    if let Some(recorder) = &mut recorder {
        let now = clock::now();
        recorder.event(&EventEntry::new(EventKind::Stop, "line", "", now), now);
    }
}

/// The frame of this entry's part, if it is held.
fn take(held: &mut Deque<Picture, HELD>, entry: &PartEntry) -> Option<RawFrame> {
    let at = held.iter().position(|p| p.part == entry.part)?;
    // Parts are decided in their order, except those that are rejected at once.
    for _ in 0..at {
        let picture = held.pop_front()?;
        let _ = held.push_back(picture);
    }
    held.pop_front().map(|p| p.frame)
}
