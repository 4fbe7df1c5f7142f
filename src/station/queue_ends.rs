//! The ends of all queues, by the thread that takes them.

use super::control::Marks;
use super::gate_thread::GateQueues;
use super::queues::{
    Answer, Arrival, ControlRequest, FromCamera, Job, MarkAnswer, MarkRequest, Picture, Queues,
    RecordItem,
};
use crate::frame::RawFrame;
use heapless::spsc::{Consumer, Producer};

pub(super) struct RecorderEnds<'a> {
    pub(super) items: Consumer<'a, RecordItem>,
    pub(super) pictures: Consumer<'a, Picture>,
    pub(super) free: Producer<'a, RawFrame>,
    pub(super) marks: Consumer<'a, MarkRequest>,
    pub(super) marked: Producer<'a, MarkAnswer>,
}

pub(super) struct InspectorEnds<'a> {
    pub(super) jobs: Consumer<'a, Job>,
    pub(super) answers: Producer<'a, Answer>,
    pub(super) pictures: Producer<'a, Picture>,
    pub(super) free: Producer<'a, RawFrame>,
}

pub(super) struct CameraEnds<'a> {
    pub(super) out: Producer<'a, FromCamera>,
    pub(super) free: [Consumer<'a, RawFrame>; 3],
}

/// The ends of all queues, by the thread that takes them.
pub(super) struct QueueEnds<'a> {
    pub(super) recorder: RecorderEnds<'a>,
    pub(super) inspector: InspectorEnds<'a>,
    pub(super) camera: CameraEnds<'a>,
    pub(super) trigger: Producer<'a, Arrival>,
    pub(super) control: Producer<'a, ControlRequest>,
    pub(super) marks: Marks<'a>,
    pub(super) gate: GateQueues<'a>,
}

impl<'a> QueueEnds<'a> {
    pub(super) fn split(queues: &'a mut Queues) -> Self {
        let (arrivals_in, arrivals_out) = queues.arrivals.split();
        let (camera_in, camera_out) = queues.camera.split();
        let (jobs_in, jobs_out) = queues.jobs.split();
        let (answers_in, answers_out) = queues.answers.split();
        let (words_in, words_out) = queues.words.split();
        let (items_in, items_out) = queues.items.split();
        let (pictures_in, pictures_out) = queues.pictures.split();
        let (marks_in, marks_out) = queues.marks.split();
        let (marked_in, marked_out) = queues.marked.split();
        let (free_gate_in, free_gate_out) = queues.free_gate.split();
        let (free_inspector_in, free_inspector_out) = queues.free_inspector.split();
        let (free_recorder_in, free_recorder_out) = queues.free_recorder.split();
        Self {
            recorder: RecorderEnds {
                items: items_out,
                pictures: pictures_out,
                free: free_recorder_in,
                marks: marks_out,
                marked: marked_in,
            },
            inspector: InspectorEnds {
                jobs: jobs_out,
                answers: answers_in,
                pictures: pictures_in,
                free: free_inspector_in,
            },
            camera: CameraEnds {
                out: camera_in,
                free: [free_gate_out, free_inspector_out, free_recorder_out],
            },
            trigger: arrivals_in,
            control: words_in,
            marks: Marks::new(marks_in, marked_out),
            gate: GateQueues {
                arrivals: arrivals_out,
                camera: camera_out,
                answers: answers_out,
                words: words_out,
                jobs: jobs_in,
                items: items_in,
                free: free_gate_in,
            },
        }
    }
}
