//! What the threads of a running line hand each other: queues of fixed capacity, one writer and one
//! reader each, without locks.

use super::inspector::{Inspected, InspectorError};
use crate::frame::RawFrame;
use crate::line::devices::{DeviceError, Edge};
use crate::line::gate::{Fault, PartId};
use crate::record::{EventEntry, PartEntry};
use crate::time::{Duration, Instant};
use heapless::spsc::Queue;

/// To the gate from the thread that waits on inputs.
#[derive(Debug)]
pub(super) enum Arrival {
    /// An edge.
    Edge(Edge),
    /// The inputs failed (true) or work again.
    Inputs(bool),
    /// The level of the trigger's input, read while no edge of it waits.
    Level(bool),
}

/// To the gate from the camera thread.
#[derive(Debug)]
pub(super) enum FromCamera {
    /// A frame, and when it was in hand.
    Frame(RawFrame, Instant),
    /// The camera is gone (false) or there again.
    Works(bool),
}

/// To the inspector from the gate.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) part: PartId,
    pub(super) frame: RawFrame,
    /// When its gate is, where that is a time: a picture that comes too late is a reject's.
    pub(super) gate: Option<Instant>,
}

/// To the gate from the inspector.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) part: PartId,
    pub(super) inspected: Result<Inspected, InspectorError>,
    pub(super) took: Duration,
}

/// To the gate from the control socket.
#[derive(Clone, Copy, Debug)]
pub(super) enum ControlRequest {
    /// A part is there: heard of then, for nobody stamped the word.
    Trigger(Instant),
    /// A part was there then, says who stamped it.
    StampedTrigger(Instant),
    /// A part was there at some time since then, and nobody knows when.
    LostTrigger(Instant),
    /// A person has seen the alarm.
    Acknowledge,
    /// The next part that is triggered is known to be bad.
    Challenge(Instant),
    /// Raise or take back a fault: the self-test.
    Fault(Fault, bool),
}

/// To the recorder from the gate.
#[derive(Clone, Copy, Debug)]
pub(super) enum RecordItem {
    Part(PartEntry),
    Event(EventEntry),
}

/// To the recorder from the inspector: a frame that may be kept.
#[derive(Debug)]
pub(super) struct Picture {
    pub(super) part: PartId,
    pub(super) frame: RawFrame,
}

/// All queues. They live as long as the line.
#[derive(Default)]
pub(super) struct Queues {
    pub(super) arrivals: Queue<Arrival, 512>,
    pub(super) camera: Queue<FromCamera, 16>,
    pub(super) jobs: Queue<Job, 4>,
    pub(super) answers: Queue<Answer, 8>,
    pub(super) words: Queue<ControlRequest, 128>,
    pub(super) items: Queue<RecordItem, 2048>,
    pub(super) pictures: Queue<Picture, 8>,
    /// Frames that are free again, from each thread that ends a frame's way.
    pub(super) free_gate: Queue<RawFrame, 32>,
    pub(super) free_inspector: Queue<RawFrame, 32>,
    pub(super) free_recorder: Queue<RawFrame, 32>,
}

/// Frames in circulation: kept for a late trigger, waiting for the inspector, being inspected, being
/// stored, being filled.
pub(super) const POOL: usize = 24;

/// Something a device said, cut to a line.
pub(super) fn said(error: &DeviceError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}
