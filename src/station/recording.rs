//! The recorder thread. It can be slow and the disk can be full: no other thread waits for it.

use super::activity::ActivityStamp;
use super::latch::AlarmLatch;
use super::queues::{MarkAnswer, MarkRequest, Picture, RecordItem};
use crate::clock;
use crate::frame::RawFrame;
use crate::line::devices::LatchedAlarm;
use crate::record::{EventEntry, EventKind, Metrics, PartEntry, Recorder, ShortText};
use crate::time::{Duration, Instant};
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
    pub(super) marks: Consumer<'a, MarkRequest>,
    pub(super) marked: Producer<'a, MarkAnswer>,
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
pub(super) fn run(recorder: Option<Recorder>, ends: RecorderQueues<'_>, stop: &AtomicBool) {
    let started = clock::now();
    let mut thread = RecorderThread {
        recorder,
        ends,
        held: Deque::new(),
        looked: started,
        latched: None,
        ahead: 0,
        failed_at: None,
    };
    thread.line_event(EventKind::Start, started);
    loop {
        thread.ends.alive.stamp();
        let stopping = stop.load(Ordering::Relaxed);
        thread.hold_pictures();
        let now = clock::now();
        let idle = !thread.write_next(now);
        thread.keep_alarm(idle);
        if idle {
            thread.mark(now);
        }
        if now.since(thread.looked) >= LOOK || (idle && stopping) {
            thread.look(now);
        }
        thread.report_loss(now);
        if idle {
            if stopping {
                break;
            }
            std::thread::park_timeout(Duration::from_millis(50).into());
        }
    }
    thread.line_event(EventKind::Stop, clock::now());
}

/// The thread's state.
struct RecorderThread<'a> {
    recorder: Option<Recorder>,
    ends: RecorderQueues<'a>,
    held: Deque<Picture, HELD>,
    /// Time of the recorder's last tick.
    looked: Instant,
    /// The alarm and the last passed challenge that [`AlarmLatch`] got last.
    latched: Option<(LatchedAlarm, Option<u64>)>,
    /// Entries that were written in a row, before the alarm's file.
    ahead: u32,
    /// When the record last failed.
    failed_at: Option<Instant>,
}

impl RecorderThread<'_> {
    fn line_event(&mut self, kind: EventKind, now: Instant) {
        if let Some(recorder) = &mut self.recorder {
            recorder.event(&EventEntry::new(kind, "line", "", now), now);
        }
    }

    fn hold_pictures(&mut self) {
        while let Some(picture) = self.ends.pictures.dequeue() {
            if let Err(picture) = self.held.push_back(picture) {
                // The part keeps its entry but loses its picture.
                if let Some(oldest) = self.held.pop_front() {
                    let _ = self.ends.free.enqueue(oldest.frame);
                }
                let _ = self.held.push_back(picture);
            }
        }
    }

    /// Writes one entry; false if none waits.
    fn write_next(&mut self, now: Instant) -> bool {
        let Some(item) = self.ends.items.dequeue() else {
            return false;
        };
        match item {
            RecordItem::Part(entry) => {
                let frame = take(&mut self.held, &entry);
                if let Some(recorder) = &mut self.recorder {
                    recorder.part(&entry, frame.as_ref(), now);
                }
                if let Some(frame) = frame {
                    let _ = self.ends.free.enqueue(frame);
                }
            }
            RecordItem::Event(event) => {
                if let Some(recorder) = &mut self.recorder {
                    recorder.event(&event, now);
                }
            }
        }
        true
    }

    /// Keeps the picture of a part that a person has marked.
    fn mark(&mut self, now: Instant) {
        let Some(MarkRequest { number, mark }) = self.ends.marks.dequeue() else {
            return;
        };
        let outcome = match &mut self.recorder {
            None => Err(ShortText::new("this line keeps no record")),
            Some(recorder) => match recorder.mark(&mark, now) {
                Ok(path) => Ok(ShortText::of(path.display())),
                Err(error) => Err(ShortText::of(error)),
            },
        };
        // Nobody may ask for it.
        let _ = self.ends.marked.enqueue(MarkAnswer { number, outcome });
    }

    /// Writes a changed alarm to its file, after the few waiting entries, because a sync that must
    /// survive a power cut takes long. The alarm is a value and not an entry of the queue, so it
    /// cannot be lost.
    fn keep_alarm(&mut self, idle: bool) {
        self.ahead = if idle { 0 } else { self.ahead + 1 };
        let alarm = LatchedAlarm::numbered(self.ends.alarm.load(Ordering::Relaxed));
        let challenge = self.ends.metrics.challenge.passed_at();
        if let (Some(latch), Some(alarm)) = (&mut self.ends.latch, alarm)
            && self.latched != Some((alarm, challenge))
            && (idle || self.ahead >= AT_ONCE)
        {
            self.ahead = 0;
            self.latched = Some((alarm, challenge));
            latch.set(alarm, challenge);
        }
    }

    /// What is done from time to time only: the recorder's own work, and another attempt at an
    /// alarm's file that could not be written.
    fn look(&mut self, now: Instant) {
        let Some(recorder) = &mut self.recorder else {
            return;
        };
        self.looked = now;
        let lost = self.ends.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            recorder.missing(lost);
        }
        recorder.tick(now);
        if let Some(latch) = &mut self.ends.latch {
            latch.tick();
        }
    }

    /// Tells the gate when the event log cannot be written any more, and when it can again.
    fn report_loss(&mut self, now: Instant) {
        let Some(recorder) = &self.recorder else {
            return;
        };
        let was = self.ends.record_lost.load(Ordering::Relaxed);
        if recorder.lost() {
            self.failed_at = Some(now);
        }
        let lost = self.failed_at.is_some_and(|at| now.since(at) < SOUND);
        if lost != was {
            self.ends.record_lost.store(lost, Ordering::Relaxed);
            self.ends.gate.unpark();
        }
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
