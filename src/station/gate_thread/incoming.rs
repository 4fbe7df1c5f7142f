//! What the other threads send to the gate thread, in the order in which it is taken.

use super::GateThread;
use crate::clock;
use crate::frame::RawFrame;
use crate::line::controller::Controller;
use crate::line::devices::{Edge, Input};
use crate::line::gate::Fault;
use crate::line::pairing::FrameInfo;
use crate::station::executor::Executor;
use crate::station::queues::{Arrival, ControlRequest, FromCamera};
use crate::time::Instant;

impl GateThread<'_> {
    pub(super) fn take_what_came(&mut self) {
        self.take_arrivals();
        self.take_requests();
        self.take_answers();
        self.take_frames();
    }

    fn take_arrivals(&mut self) {
        while let Some(arrival) = self.ends.arrivals.dequeue() {
            if let Arrival::Inputs(failed) = arrival {
                self.inputs_failed = failed;
            }
            let failed = self.inputs_failed || self.hung.inputs;
            let at = match arrival {
                Arrival::Edge(edge) => edge.at,
                _ => clock::now(),
            };
            self.act(|c, now, executor| {
                match arrival {
                    Arrival::Edge(edge) => pass_edge(edge, c, now, executor),
                    Arrival::Level(on) => c.level_read(on, now, &mut |x| executor.carry_out(x)),
                    Arrival::Inputs(_) => {
                        c.fault(Fault::Inputs, failed, now, &mut |x| executor.carry_out(x));
                    }
                }
                executor.numbered(c.counters().parts, at);
            });
        }
    }

    fn take_requests(&mut self) {
        while let Some(word) = self.ends.words.dequeue() {
            self.act(|c, now, executor| match word {
                ControlRequest::Trigger(at) => {
                    c.command_trigger(at, now, &mut |x| executor.carry_out(x));
                    executor.numbered(c.counters().parts, at);
                }
                ControlRequest::StampedTrigger(at) => {
                    c.trigger(at, 0, now, &mut |x| executor.carry_out(x));
                    executor.numbered(c.counters().parts, at);
                }
                ControlRequest::LostTrigger(since) => {
                    c.trigger_lost_since(since, now, &mut |x| executor.carry_out(x));
                    executor.numbered(c.counters().parts, now);
                }
                ControlRequest::Challenge(at) => executor.challenge(c, at, now),
                ControlRequest::Acknowledge => executor.acknowledge(c, now),
                ControlRequest::Fault(fault, present) => {
                    c.fault(fault, present, now, &mut |x| executor.carry_out(x));
                }
            });
        }
    }

    fn take_answers(&mut self) {
        while let Some(answer) = self.ends.answers.dequeue() {
            self.act(|c, now, executor| {
                let verdict = executor.note_answer(&answer);
                c.verdict(answer.part, verdict, now, &mut |x| executor.carry_out(x));
            });
        }
    }

    fn take_frames(&mut self) {
        while let Some(came) = self.ends.camera.dequeue() {
            if let FromCamera::Works(works) = came {
                self.camera_works = works;
            }
            self.act(|c, now, executor| match came {
                FromCamera::Frame(frame, in_hand) => {
                    let info = FrameInfo {
                        exposed: frame.time,
                        sequence: frame.sequence,
                        content: frame.content,
                        damaged: frame.damaged,
                    };
                    let metrics = &executor.observers.metrics;
                    metrics.frames.inc();
                    metrics.frames_lost.add(u64::from(frame.lost_before));
                    c.frame((frame, in_hand), info, now, &mut |x| {
                        executor.carry_out(x);
                    });
                }
                FromCamera::Works(works) => {
                    c.fault(Fault::Camera, !works, now, &mut |x| executor.carry_out(x));
                }
            });
        }
    }
}

/// Of index, confirming sensor and acknowledge button, only going on means something.
fn pass_edge(
    edge: Edge,
    c: &mut Controller<(RawFrame, Instant)>,
    now: Instant,
    executor: &mut Executor<'_>,
) {
    match edge.input {
        Input::Trigger if edge.on => {
            c.trigger(edge.at, edge.lost, now, &mut |x| executor.carry_out(x));
        }
        Input::Trigger => {
            c.release(edge.at, edge.lost, now, &mut |x| executor.carry_out(x));
        }
        Input::Encoder | Input::EncoderB => {
            let second = edge.input == Input::EncoderB;
            c.encoder_edge(second, edge.on, edge.at, edge.lost, now, &mut |x| {
                executor.carry_out(x);
            });
        }
        Input::Index if edge.on => {
            c.index(edge.at, edge.lost, now, &mut |x| executor.carry_out(x));
        }
        Input::Confirm if edge.on => {
            c.confirm(edge.at, edge.lost, now, &mut |x| executor.carry_out(x));
        }
        Input::Acknowledge if edge.on => executor.acknowledge(c, now),
        Input::Index | Input::Confirm | Input::Acknowledge => {}
        // The trigger thread keeps these.
        Input::Recipe1
        | Input::Recipe2
        | Input::Recipe4
        | Input::Recipe8
        | Input::Recipe16
        | Input::RecipeParity
        | Input::RecipeStrobe => {}
    }
}
