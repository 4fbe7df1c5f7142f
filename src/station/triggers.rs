//! The thread that waits for edges, or makes triggers by the clock.

use super::alive::Word;
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
    /// When this thread last went round.
    pub(super) alive: &'a Word,
}

impl TriggerEnds<'_> {
    fn see(&mut self, edge: Edge, stop: &AtomicBool) {
        if edge.input == Input::Trigger && edge.on {
            fire(self.flash, edge.at);
        }
        // The gate does not take off-edges yet; what was lost before one it must hear of.
        if !edge.on && edge.lost == 0 {
            return;
        }
        self.hand_over(Arrival::Edge(edge), stop);
    }

    /// Edges are never dropped: while the gate does not take them this thread waits, and the kernel
    /// keeps count of what it has to drop meanwhile.
    fn hand_over(&mut self, arrival: Arrival, stop: &AtomicBool) {
        let mut arrival = arrival;
        while let Err(back) = self.out.enqueue(arrival) {
            arrival = back;
            self.alive.stamp();
            self.gate.unpark();
            if stop.load(Ordering::Relaxed) {
                return;
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        self.gate.unpark();
    }
}

/// Waits for edges of `inputs`, and makes a trigger `every` so often, until `stop`.
pub(super) fn run(
    mut inputs: Option<Box<dyn Inputs>>,
    every: Option<Nanos>,
    mut ends: TriggerEnds<'_>,
    stop: &AtomicBool,
) {
    let mut failed = false;
    let mut next = every.map(|every| clock::now().after(every));
    while !stop.load(Ordering::Relaxed) {
        ends.alive.stamp();
        let wait = next.map_or(WAIT, |next| clock::until(next).min(WAIT));
        let came = match &mut inputs {
            Some(inputs) => inputs.wait(wait),
            None => {
                std::thread::sleep(wait);
                Ok(None)
            }
        };
        match came {
            Ok(edge) => {
                if std::mem::take(&mut failed) {
                    ends.hand_over(Arrival::Inputs(false), stop);
                }
                if let Some(edge) = edge {
                    ends.see(edge, stop);
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut failed, true) {
                    log::error!("inputs: {}", said(&error));
                    ends.hand_over(Arrival::Inputs(true), stop);
                }
                std::thread::sleep(wait);
            }
        }
        if let (Some(at), Some(every)) = (next, every)
            && clock::now() >= at
        {
            next = Some(at.after(every));
            let input = Input::Trigger;
            let edge = Edge {
                input,
                on: true,
                at,
                lost: 0,
            };
            ends.see(edge, stop);
        }
    }
}
