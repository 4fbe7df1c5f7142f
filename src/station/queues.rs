//! Queues between the threads of a running line: fixed capacity, one writer and one reader each,
//! without locks.

use super::inspector::{Inspected, InspectorError};
use crate::frame::RawFrame;
use crate::line::devices::{DeviceError, Edge};
use crate::line::gate::{Fault, PartId};
use crate::record::{EventEntry, Mark, PartEntry, ShortText};
use crate::time::{Duration, Instant};
use heapless::spsc::Queue;

/// From the trigger thread to the gate.
#[derive(Debug)]
pub(super) enum Arrival {
    /// An edge.
    Edge(Edge),
    /// The inputs failed (true) or work again (false).
    Inputs(bool),
    /// The level of TRIGGER, read while no edge of it waits.
    Level(bool),
}

/// From the camera thread to the gate.
#[derive(Debug)]
pub(super) enum FromCamera {
    /// A frame, and when the program had it.
    Frame(RawFrame, Instant),
    /// The camera is lost (false) or works again (true).
    Works(bool),
}

/// From the gate to the inspector.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) part: PartId,
    pub(super) frame: RawFrame,
    /// The time of the part's gate, if the gate is in time. A part whose verdict comes later is
    /// rejected, so its picture is kept.
    pub(super) gate: Option<Instant>,
}

/// From the inspector to the gate.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) part: PartId,
    pub(super) inspected: Result<Inspected, InspectorError>,
    pub(super) took: Duration,
}

/// From the control socket to the gate.
#[derive(Clone, Copy, Debug)]
pub(super) enum ControlRequest {
    /// A part is there. The command has no time; it arrived then.
    Trigger(Instant),
    /// A part was there at the time that the command states.
    StampedTrigger(Instant),
    /// A part was there at some unknown time since then.
    LostTrigger(Instant),
    /// A person has seen the alarm.
    Acknowledge,
    /// The next part that is triggered after this time is known to be bad.
    Challenge(Instant),
    /// Raise (true) or clear (false) a fault: the self-test.
    Fault(Fault, bool),
}

/// From the gate to the recorder.
#[derive(Clone, Copy, Debug)]
pub(super) enum RecordItem {
    Part(PartEntry),
    Event(EventEntry),
}

/// From the inspector to the recorder: a frame that can be kept.
#[derive(Debug)]
pub(super) struct Picture {
    pub(super) part: PartId,
    pub(super) frame: RawFrame,
}

/// A mark on its way to the recorder, with the number by which its answer is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct MarkRequest {
    pub(super) number: u64,
    pub(super) mark: Mark,
}

/// What the recorder did: the picture's path, or why there is none.
#[derive(Clone, Copy, Debug)]
pub(super) struct MarkAnswer {
    pub(super) number: u64,
    pub(super) outcome: Result<ShortText<96>, ShortText<224>>,
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
    pub(super) marks: Queue<MarkRequest, 8>,
    pub(super) marked: Queue<MarkAnswer, 8>,
    /// Free frames, from each thread at which the way of a frame can end.
    pub(super) free_gate: Queue<RawFrame, 32>,
    pub(super) free_inspector: Queue<RawFrame, 32>,
    pub(super) free_recorder: Queue<RawFrame, 32>,
}

/// Number of frames: kept for a late trigger, waiting for the inspector, being inspected, being
/// stored, being filled.
pub(super) const POOL: usize = 24;

/// A device's error with its causes, in one text line.
pub(super) fn describe(error: &DeviceError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}
