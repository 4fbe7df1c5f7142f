//! The trigger thread: waits for edges, or makes triggers by the clock.

use super::activity::ActivityStamp;
use super::asked::AskedProduct;
use super::queues::{Arrival, describe};
use crate::capture::source::Flash;
use crate::clock;
use crate::line::devices::{Edge, Input, Inputs};
use crate::line::recipe::{Reading, RecipeInputs, Wires};
use crate::time::{Duration, Instant};
use heapless::spsc::Producer;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::Thread;

const WAIT: Duration = Duration::from_millis(50);

/// How often the recipe inputs are read.
const RECIPE_LOOK: Duration = Duration::from_millis(10);

/// The exposure on command, shared by the trigger thread and the control socket.
pub(super) type SharedFlash = Mutex<Option<Box<dyn Flash>>>;

/// Makes a camera expose at a trigger, if it exposes on command.
pub(super) fn fire(flash: &SharedFlash, at: Instant) {
    // If a thread panicked while it held the lock, the flash can still be used.
    let mut flash = flash.lock().unwrap_or_else(|e| e.into_inner());
    if let Some(flash) = flash.as_mut() {
        flash.fire(at);
    }
}

/// The recipe inputs and what is told of them.
pub(super) struct RecipeWatch {
    pub(super) inputs: RecipeInputs,
    pub(super) wires: Wires,
    pub(super) asked: Arc<AskedProduct>,
}

impl RecipeWatch {
    /// Reads the inputs. A device that is gone reports its error at the next wait for an edge.
    fn look(&mut self, inputs: &mut Option<Box<dyn Inputs>>, gate: &Thread) {
        let reading = inputs.as_mut().and_then(|inputs| {
            Reading::take(self.wires, |input| inputs.level(input).ok().flatten())
        });
        let asked = self.inputs.see(reading, clock::now());
        let number = reading.map_or(0, |reading| reading.number);
        let idle = reading.is_some_and(|reading| !reading.strobe);
        let unserved = self.inputs.unserved();
        if self.asked.see(number, idle, asked, unserved) {
            gate.unpark();
        }
    }
}

/// The trigger thread's ends of the queues.
pub(super) struct TriggerQueues<'a> {
    pub(super) out: Producer<'a, Arrival>,
    pub(super) gate: Thread,
    pub(super) flash: &'a SharedFlash,
    /// Time of this thread's last round.
    pub(super) alive: &'a ActivityStamp,
    /// The level of TRIGGER by its edges.
    pub(super) known: Option<bool>,
    /// A reading of the level differed from it.
    pub(super) doubted: bool,
    /// The inputs that ask for a product; None: there are none.
    pub(super) recipe: Option<RecipeWatch>,
}

impl TriggerQueues<'_> {
    fn see(&mut self, edge: Edge, stop: &AtomicBool) {
        if edge.input == Input::Trigger && edge.on {
            fire(self.flash, edge.at);
        }
        if edge.input == Input::Trigger {
            self.known = Some(edge.on);
            self.doubted = false;
        }
        self.hand_over(Arrival::Edge(edge), stop);
    }

    /// The level was read while no edge waited. It is reported if it differs from the edges, and
    /// once more when it agrees again.
    fn see_level(&mut self, on: bool, stop: &AtomicBool) {
        let known = *self.known.get_or_insert(on) == on;
        if known && !self.doubted {
            return;
        }
        let twice = !known && self.doubted;
        self.doubted = !known && !twice;
        if twice {
            self.known = Some(on);
        }
        self.hand_over(Arrival::Level(on), stop);
    }

    /// Edges are never dropped. While the gate does not take them this thread waits, and the
    /// kernel counts the edges that it drops meanwhile.
    fn hand_over(&mut self, arrival: Arrival, stop: &AtomicBool) {
        let mut arrival = arrival;
        while let Err(back) = self.out.enqueue(arrival) {
            arrival = back;
            self.alive.stamp();
            self.gate.unpark();
            if stop.load(Ordering::Relaxed) {
                return;
            }
            clock::sleep(Duration::from_micros(200));
        }
        self.gate.unpark();
    }
}

/// Waits for edges of `inputs`, and makes a trigger once per `every`, until `stop`.
pub(super) fn run(
    mut inputs: Option<Box<dyn Inputs>>,
    every: Option<Duration>,
    level_every: Option<Duration>,
    mut ends: TriggerQueues<'_>,
    stop: &AtomicBool,
) {
    let mut failed = false;
    let mut next = every.map(|every| clock::now().after(every));
    let mut recipe_at = match ends.recipe {
        Some(_) => Instant(0),
        None => Instant::MAX,
    };
    let mut level_at = level_every.map_or(Instant::MAX, |every| clock::now().after(every));
    while !stop.load(Ordering::Relaxed) {
        ends.alive.stamp();
        let wait = next.map_or(WAIT, |next| clock::until(next).min(WAIT));
        let wait = wait
            .min(clock::until(level_at))
            .min(clock::until(recipe_at));
        let came = match &mut inputs {
            Some(inputs) => inputs.wait(wait),
            None => {
                clock::sleep(wait);
                Ok(None)
            }
        };
        match came {
            Ok(edge) => {
                if std::mem::take(&mut failed) {
                    ends.hand_over(Arrival::Inputs(false), stop);
                }
                if let Some(edge) = edge {
                    if edge.input.is_recipe() {
                        // Its level is read at once.
                        recipe_at = Instant(0);
                    } else {
                        ends.see(edge, stop);
                    }
                } else if clock::now() >= level_at
                    && let Some(every) = level_every
                {
                    level_at = clock::now().after(every);
                    read_level(&mut inputs, &mut ends, stop);
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut failed, true) {
                    log::error!("inputs: {}", describe(&error));
                    ends.hand_over(Arrival::Inputs(true), stop);
                }
                clock::sleep(wait);
            }
        }
        if clock::now() >= recipe_at
            && let Some(recipe) = &mut ends.recipe
        {
            recipe_at = clock::now().after(RECIPE_LOOK);
            recipe.look(&mut inputs, &ends.gate);
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

/// Reads the level of TRIGGER. If an edge comes at the same time, it explains the level, which is
/// then not reported. A failing device reports its error at the next wait.
fn read_level(
    inputs: &mut Option<Box<dyn Inputs>>,
    ends: &mut TriggerQueues<'_>,
    stop: &AtomicBool,
) {
    let Some(inputs) = inputs else {
        return;
    };
    let Ok(Some(on)) = inputs.level(Input::Trigger) else {
        return;
    };
    match inputs.wait(Duration::ZERO) {
        Ok(Some(edge)) => ends.see(edge, stop),
        Ok(None) => ends.see_level(on, stop),
        Err(_) => {}
    }
}
