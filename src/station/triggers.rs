//! The thread that waits for edges, or makes triggers by the clock.

use super::rails::{Arrival, said};
use crate::capture::source::Flash;
use crate::clock;
use crate::line::devices::{Edge, Input, Inputs};
use crate::line::gate::Nanos;
use heapless::spsc::Producer;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;
use std::time::Duration;

const WAIT: Duration = Duration::from_millis(50);

/// The exposure on command, shared by those who see triggers: this thread and the control socket.
pub(super) type SharedFlash = Mutex<Option<Box<dyn Flash>>>;

/// Tells the camera of a trigger, where it exposes on command.
pub(super) fn fire(flash: &SharedFlash, at: Nanos) {
    // A holder that panicked left a flash that is as good as before.
    let mut flash = flash.lock().unwrap_or_else(|e| e.into_inner());
    if let Some(flash) = flash.as_mut() {
        flash.fire(at.0);
    }
}

/// Hands edges to the gate.
pub(super) struct TriggerEnds<'a> {
    pub(super) out: Producer<'a, Arrival>,
    pub(super) gate: Thread,
    pub(super) flash: &'a SharedFlash,
}

impl TriggerEnds<'_> {
    /// Edges are never dropped: while the gate does not take them this thread waits, and the kernel
    /// keeps count of what it has to drop meanwhile.
    fn hand_over(&mut self, arrival: Arrival, stop: &AtomicBool) {
        let mut arrival = arrival;
        while let Err(back) = self.out.enqueue(arrival) {
            arrival = back;
            self.gate.unpark();
            if stop.load(Ordering::Relaxed) {
                return;
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        self.gate.unpark();
    }
}

/// Inputs that may fail and come back.
struct Listened<'a> {
    inputs: &'a mut dyn Inputs,
    failed: bool,
}

impl Listened<'_> {
    /// Hands on what comes within `at_most`, where `wanted`.
    fn listen(
        &mut self,
        at_most: Duration,
        wanted: fn(Input) -> bool,
        ends: &mut TriggerEnds<'_>,
        stop: &AtomicBool,
    ) {
        match self.inputs.wait(at_most) {
            Ok(edge) => {
                if std::mem::take(&mut self.failed) {
                    ends.hand_over(Arrival::Inputs(false), stop);
                }
                if let Some(edge) = edge.filter(|e| wanted(e.input)) {
                    if edge.input == Input::Trigger {
                        fire(ends.flash, edge.at);
                    }
                    ends.hand_over(Arrival::Edge(edge), stop);
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failed, true) {
                    log::error!("inputs: {}", said(&error));
                    ends.hand_over(Arrival::Inputs(true), stop);
                }
                std::thread::sleep(at_most);
            }
        }
    }
}

/// Waits for edges of `inputs` until `stop`.
pub(super) fn from_inputs(inputs: &mut dyn Inputs, mut ends: TriggerEnds<'_>, stop: &AtomicBool) {
    let mut inputs = Listened {
        inputs,
        failed: false,
    };
    while !stop.load(Ordering::Relaxed) {
        inputs.listen(WAIT, |_| true, &mut ends, stop);
    }
}

/// Makes a trigger `every` so often until `stop`. Of `inputs` only the acknowledgement is listened
/// to.
pub(super) fn from_clock(
    every: Nanos,
    inputs: Option<&mut dyn Inputs>,
    mut ends: TriggerEnds<'_>,
    stop: &AtomicBool,
) {
    let mut inputs = inputs.map(|inputs| Listened {
        inputs,
        failed: false,
    });
    let mut next = clock::now().after(every);
    while !stop.load(Ordering::Relaxed) {
        let left = clock::until(next).min(WAIT);
        if !left.is_zero() {
            match &mut inputs {
                Some(inputs) => {
                    inputs.listen(left, |i| i == Input::Acknowledge, &mut ends, stop);
                }
                None => std::thread::sleep(left),
            }
            continue;
        }
        let at = next;
        next = next.after(every);
        fire(ends.flash, at);
        let edge = Edge {
            input: Input::Trigger,
            at,
            lost: 0,
        };
        ends.hand_over(Arrival::Edge(edge), stop);
    }
}
