//! The inspector thread: one frame after the other.

use super::activity::ActivityStamp;
use super::inspector::{Inspected, PartInspector};
use super::queues::{Answer, Job, Picture};
use crate::clock;
use crate::frame::RawFrame;
use crate::line::gate::{PartId, PartVerdict};
use crate::time::Duration;
use heapless::spsc::{Consumer, Producer};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;

const WAIT: Duration = Duration::from_millis(50);

/// The inspector thread's ends of the queues.
pub(super) struct InspectorQueues<'a> {
    pub(super) jobs: Consumer<'a, Job>,
    pub(super) answers: Producer<'a, Answer>,
    pub(super) pictures: Producer<'a, Picture>,
    pub(super) free: Producer<'a, RawFrame>,
    pub(super) gate: Thread,
    pub(super) recorder: Thread,
    /// Whether the picture of an OK part is kept.
    pub(super) keeps_ok: &'a (dyn Fn(PartId) -> bool + Sync),
    /// Time of this thread's last round.
    pub(super) alive: &'a ActivityStamp,
}

/// Inspects until `stop`.
pub(super) fn run(
    inspector: &mut dyn PartInspector,
    mut ends: InspectorQueues<'_>,
    stop: &AtomicBool,
) {
    while !stop.load(Ordering::Relaxed) {
        ends.alive.stamp();
        let Some(Job { part, frame, gate }) = ends.jobs.dequeue() else {
            std::thread::park_timeout(WAIT.into());
            continue;
        };
        let started = clock::now();
        let inspected = inspector.inspect(&frame);
        let done = clock::now();
        // Before the answer, because the gate checks this time again from the answer on.
        ends.alive.stamp();
        if let Err(error) = &inspected {
            log::warn!("part {}: {error}", part.0);
        }
        if let Ok(Inspected {
            finding: Some(finding),
            ..
        }) = &inspected
        {
            log::debug!("part {}: {finding}", part.0);
        }
        let ok = matches!(&inspected, Ok(j) if j.verdict == PartVerdict::Ok);
        let late = gate.is_some_and(|gate| done >= gate);
        let mut answer = Answer {
            part,
            inspected,
            took: done.since(started),
        };
        // The verdict goes first. There is one job at a time and room for eight answers. If the
        // gate were so far behind, it would long since count this thread as hung.
        while let Err(back) = ends.answers.enqueue(answer) {
            answer = back;
            ends.alive.stamp();
            ends.gate.unpark();
            if stop.load(Ordering::Relaxed) {
                return;
            }
            clock::sleep(Duration::from_millis(1));
        }
        ends.gate.unpark();
        if !ok || late || (ends.keeps_ok)(part) {
            // If the recorder is too slow, pictures are lost but no frame buffers.
            match ends.pictures.enqueue(Picture { part, frame }) {
                Ok(()) => ends.recorder.unpark(),
                Err(picture) => drop(ends.free.enqueue(picture.frame)),
            }
        } else {
            let _ = ends.free.enqueue(frame);
        }
    }
}
