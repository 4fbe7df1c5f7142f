//! A simulated line in virtual time: belt, parts, sensor, encoder, camera and inspector on one
//! side, the ejector on the other. Between them are the running line's own [`Controller`],
//! [`Lease`] and [`Watch`], in two processes that stall and die.
//!
//! - `ledger`: what really happened to each part; only the plant knows it.
//! - `sensing`, `seeing`: what reaches the program, and the faults in it.
//! - `vision`, `supervisor`: the two processes, and the link between them; `outputs`: the outputs
//!   that they set.

mod away;
mod ledger;
mod outputs;
mod products;
mod seeing;
mod sensing;
mod supervisor;
mod vision;

use super::belt::Belt;
use super::draws::Draws;
use super::line::{FULL, Line, MS, Trigger, US};
use super::trace::Trace;
use crate::line::gate::{Fault, PartId, PartVerdict, Reason};
use crate::line::lease;
use crate::simulation::faults::Kind;
use crate::simulation::outcome::Outcome;
use away::Away;
use ledger::Part;
use products::Products;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use supervisor::Supervisor;
use vision::Vision;

/// A frame: its number, the part that it shows (0: none), its fault, and how long it waited until
/// the process that had stood still took it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    id: u64,
    shows: u64,
    odd: Option<Kind>,
    waited: u64,
}

/// An edge of an input.
#[derive(Clone, Copy, Debug)]
enum Edge {
    /// The trigger goes on, for this part (0: none of its own).
    On(u64),
    Off,
    Count,
    Quarter {
        second: bool,
        on: bool,
    },
    Index,
    Confirm,
}

impl Edge {
    /// The input whose losses it reports.
    const fn input(self) -> usize {
        match self {
            Edge::On(_) | Edge::Off => 0,
            Edge::Count | Edge::Quarter { second: false, .. } => 1,
            Edge::Quarter { second: true, .. } => 2,
            Edge::Index => 3,
            Edge::Confirm => 4,
        }
    }
}

/// What reaches the vision process, and when.
#[derive(Clone, Copy, Debug)]
enum Delivery {
    Edge {
        edge: Edge,
        at: u64,
        /// Edges of its input that the kernel dropped before it.
        lost: u32,
    },
    /// The trigger's level was read.
    Level(bool),
    /// A trigger by command or clock, for this part (0: none), and when it was received.
    Command {
        number: u64,
        at: Option<u64>,
        by_clock: bool,
    },
    Frame {
        frame: Frame,
        /// When it came to the program.
        arrived: u64,
        stamp: u64,
        sequence: u64,
        content: Option<u64>,
        damaged: bool,
    },
    Verdict {
        part: PartId,
        shown: u64,
        verdict: Result<PartVerdict, Reason>,
    },
    Fault(Fault, bool),
    Acknowledge,
    Answer(lease::Answer),
    LinkGone,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    /// To the vision process of that life number.
    Deliver(Delivery, u64),
    Belt(bool),
    Speed,
    /// The clock's trigger.
    Tick,
    FrameTick,
    Camera(bool),
    Thaw,
    Encoder(bool),
    /// Sensor and encoder; nothing reports it.
    Inputs(bool),
    /// The chip of the inputs; the program gets a report.
    Chip(bool),
    Slip(u64),
    Noise(u8),
    /// An edge of the sensor with no part of its own.
    Ghost,
    Outputs(bool),
    /// The vision process of that life number runs again.
    VisionRuns,
    SupervisorRuns,
    /// The supervisor sees that the vision process has ended.
    LinkClosed(u64),
    VisionStarts(u64),
    ServiceStarts,
    /// The next revision of the product is installed (true), or the one before comes back.
    Install(bool),
    /// The PLC asks for the product with this number.
    Show(u8),
    ReadInputs,
    /// In the vision process of that life number, what the inputs ask for reaches the store.
    Serve(u64),
}

/// What is at a place of the belt.
#[derive(Clone, Copy, Debug)]
enum Place {
    Front,
    Rear,
    Gate,
    Centre,
    Count,
}

/// How often each kind of fault strikes, one in this many parts; 0: never.
pub(super) type Rates = [u64; Kind::ALL.len()];

#[derive(Clone, Copy, Debug)]
struct Broken {
    camera: bool,
    frozen: Option<Frame>,
    encoder: bool,
    inputs: bool,
    chip: bool,
    /// The wheel slips: this many of 100 counts are missing.
    slip: u64,
    outputs: bool,
}

pub(super) struct World {
    line: Line,
    draws: Draws,
    rates: Rates,
    now: u64,
    order: u64,
    events: BinaryHeap<Reverse<(u64, u64, usize)>>,
    /// The bodies of `events`, by their last field; reused.
    bodies: Vec<Event>,
    vacant: Vec<usize>,
    /// Number of draws so far that belong to no part.
    drawn: u64,
    belt: Belt,
    parts: u64,
    next_front: u64,
    next_count: u64,
    /// Quarters of a count so far, and the levels of both channels.
    quarter: u64,
    channels: [bool; 2],
    slipped: u64,
    next_number: u64,
    /// Parts from the sensor to the ejector, in order.
    on_belt: VecDeque<Part>,
    /// How many of them are past the gate's place.
    past_gate: usize,
    /// The sensor is covered up to this place of the belt.
    covered_to: Option<u64>,
    /// The place where the cover began.
    covered_from: u64,
    /// When the program gets the last report about the inputs' chip.
    chip_reported: u64,
    broken: Broken,
    /// Edges that the kernel dropped and has not reported, by input; those that it buffers.
    lost: [u32; 5],
    /// Edges that found no room in the kernel's buffer.
    overflow: [u32; 5],
    /// Parts whose edge was lost, and the time of the edge that reports it; 0: the next edge that
    /// is read.
    lost_parts: Vec<(u64, u64)>,
    /// The kernel's buffer: edge, time, edges lost before.
    kernel: VecDeque<(Edge, u64, u32)>,
    last_trigger_delivery: u64,
    frames: u64,
    last_frame: Option<Frame>,
    sequence: u64,
    levels: [bool; crate::line::gate::Output::ALL.len()],
    vision: Vision,
    supervisor: Supervisor,
    products: Products,
    latch: bool,
    /// Commands of the program that are not yet carried out; the memory is reused.
    commands: Vec<crate::line::controller::Command<Frame>>,
    ledger: ledger::Ledger,
    pub(super) trace: Trace,
    pub(super) outcome: Outcome,
}

impl World {
    pub(super) fn new(line: Line, parts: u64, seed: u64, rates: Rates, trace: Trace) -> Self {
        let mut world = Self {
            draws: Draws::new(seed),
            rates,
            now: 0,
            order: 0,
            events: BinaryHeap::new(),
            bodies: Vec::new(),
            vacant: Vec::new(),
            drawn: 0,
            belt: Belt::running(),
            parts,
            next_front: line.pitch,
            next_count: line.count,
            quarter: 0,
            channels: [false; 2],
            slipped: 0,
            next_number: 0,
            on_belt: VecDeque::new(),
            past_gate: 0,
            covered_to: None,
            covered_from: 0,
            chip_reported: 0,
            broken: Broken {
                camera: false,
                frozen: None,
                encoder: false,
                inputs: false,
                chip: false,
                slip: 0,
                outputs: false,
            },
            lost: [0; 5],
            overflow: [0; 5],
            lost_parts: Vec::new(),
            kernel: VecDeque::new(),
            last_trigger_delivery: 0,
            frames: 0,
            last_frame: None,
            sequence: 0,
            levels: crate::line::gate::Output::ALL.map(crate::line::gate::Output::when_unattended),
            vision: Vision::none(),
            supervisor: Supervisor::none(),
            products: Products::new(),
            latch: false,
            commands: Vec::new(),
            ledger: ledger::Ledger::default(),
            trace,
            outcome: Outcome::default(),
            line,
        };
        // Parts that were left on the belt before the program started.
        for k in 1..4 {
            let front = 0;
            let way = world.line.way * k / 4;
            world.put_on_belt(front, way);
        }
        if world.line.trigger == Trigger::Encoder {
            world.next_front = world.line.nest;
        }
        if world.line.trigger == Trigger::Timer {
            world.at(world.line.pitch, Event::Tick);
        }
        if world.line.frame_every > 0 {
            world.at(world.line.frame_every, Event::FrameTick);
        }
        if world.line.slowest < FULL {
            world.at(0, Event::Speed);
        }
        world.start_service();
        world
    }

    /// A number in `low..high` that belongs to no part.
    fn draw(&mut self, low: u64, high: u64) -> u64 {
        self.drawn += 1;
        self.draws.between(1, self.drawn, low, high)
    }

    /// A number in `low..high` for what `kind` does to part `number`.
    fn of(&self, kind: Kind, number: u64, low: u64, high: u64) -> u64 {
        self.draws.between(0x1000 + kind as u64, number, low, high)
    }

    /// Whether `kind` strikes at part `number`.
    fn strikes(&mut self, kind: Kind, number: u64) -> bool {
        let one_in = self.rates[kind as usize];
        let strikes = self.draws.one_in(0x2000 + kind as u64, number, one_in);
        if strikes {
            self.outcome.injected[kind as usize] += 1;
            let now = self.now;
            self.trace
                .note(now, || format!("FAULT {} at part {number}", kind.name()));
        }
        strikes
    }

    fn at(&mut self, time: u64, event: Event) {
        let slot = if let Some(slot) = self.vacant.pop() {
            self.bodies[slot] = event;
            slot
        } else {
            self.bodies.push(event);
            self.bodies.len() - 1
        };
        self.order += 1;
        self.events
            .push(Reverse((time.max(self.now), self.order, slot)));
    }

    fn deliver(&mut self, time: u64, delivery: Delivery) {
        let life = self.vision.life;
        self.at(time, Event::Deliver(delivery, life));
    }

    fn jitter(&mut self) -> u64 {
        self.draw(JITTER.0, JITTER.1)
    }

    fn here(&self) -> u64 {
        self.belt.place(self.now)
    }

    /// Runs to the end; false if the line stood still for a minute and never recovered.
    pub(super) fn run(&mut self) -> bool {
        let mut moved = 0;
        loop {
            let place = self.next_place();
            let event = self
                .events
                .peek()
                .map_or(u64::MAX, |Reverse((time, ..))| *time);
            let vision = self.vision.wakes();
            let supervisor = self.supervisor.wakes();
            let at_place = place.map_or(u64::MAX, |(time, _)| time);
            let next = at_place.min(event).min(vision).min(supervisor);
            if next == u64::MAX || next > moved + 60_000 * MS {
                return false;
            }
            self.now = self.now.max(next);
            if next == at_place {
                moved = self.now;
                if let Some((_, place)) = place {
                    self.reach(place);
                }
                if self.next_number >= self.parts && self.on_belt.is_empty() {
                    self.finish();
                    return true;
                }
            } else if next == event {
                if let Some(Reverse((_, _, slot))) = self.events.pop() {
                    self.vacant.push(slot);
                    self.happen(self.bodies[slot]);
                }
            } else if next == supervisor {
                self.run_supervisor();
            } else {
                self.run_vision();
            }
            if self.ledger.failed && self.trace.wanted() {
                self.finish();
                return true;
            }
        }
    }

    fn next_place(&self) -> Option<(u64, Place)> {
        if !self.belt.runs() {
            return None;
        }
        // The nearest place is the first in time. This runs at every event.
        let (mut at, mut place) = (u64::MAX, Place::Count);
        let mut take = |candidate: u64, what: Place| {
            if candidate < at {
                (at, place) = (candidate, what);
            }
        };
        if self.line.encoder {
            take(self.next_count, Place::Count);
        }
        if self.line.trigger != Trigger::Timer && self.next_number < self.parts {
            take(self.next_front, Place::Front);
        }
        if let Some(rear) = self.covered_to {
            take(rear, Place::Rear);
        }
        if let Some(part) = self.on_belt.get(self.past_gate) {
            take(part.gate, Place::Gate);
        }
        if let Some(part) = self.on_belt.front() {
            take(part.centre, Place::Centre);
        }
        if at == u64::MAX {
            return None;
        }
        Some((self.belt.reaches(at)?, place))
    }

    fn reach(&mut self, place: Place) {
        match place {
            Place::Front => self.front_arrives(),
            Place::Rear => self.rear_leaves(),
            Place::Gate => {
                let now = self.now;
                if let Some(part) = self.on_belt.get_mut(self.past_gate) {
                    part.gate_at = now;
                }
                self.past_gate += 1;
                self.confirm_part();
            }
            Place::Centre => self.meet_ejector(),
            Place::Count => self.count(),
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Deliver(delivery, life) => {
                if life == self.vision.life {
                    self.take(delivery);
                }
            }
            Event::Belt(runs) => {
                if runs != self.belt.runs() {
                    let speed = self.belt.speed();
                    self.belt.set(runs, speed, self.now);
                    let now = self.now;
                    self.trace.note(now, || {
                        format!("belt {}", if runs { "runs" } else { "stands" })
                    });
                }
            }
            Event::Speed => {
                let speed = self.draw(self.line.slowest, FULL + 1);
                self.belt.set(self.belt.runs(), speed, self.now);
                let later = self.now + self.draw(300 * MS, 3000 * MS);
                self.at(later, Event::Speed);
            }
            Event::Tick => self.tick_trigger(),
            Event::FrameTick => self.frame_tick(),
            Event::Camera(works) => {
                self.broken.camera = !works;
                let noticed = self.now + self.draw(20 * MS, 60 * MS);
                self.deliver(noticed, Delivery::Fault(Fault::Camera, !works));
            }
            Event::Thaw => self.broken.frozen = None,
            Event::Encoder(works) => self.broken.encoder = !works,
            Event::Inputs(work) => self.broken.inputs = !work,
            Event::Chip(works) => self.chip(works),
            Event::Slip(percent) => self.broken.slip = percent,
            Event::Noise(left) => self.noise(left),
            Event::Ghost => {
                if !self.broken.inputs && !self.broken.chip {
                    self.trigger_edge(Edge::On(0), 30 * US);
                }
            }
            Event::Outputs(work) => self.outputs(work),
            Event::VisionRuns => self.vision_runs(),
            Event::SupervisorRuns => self.supervisor_runs(),
            Event::LinkClosed(life) => self.link_closed(life),
            Event::VisionStarts(life) => self.vision_starts(life),
            Event::ServiceStarts => self.start_service(),
            Event::Install(next) => self.install(next),
            Event::Show(number) => self.show(number),
            Event::ReadInputs => self.read_inputs(),
            Event::Serve(life) => self.serve(life),
        }
    }

    /// Faults that last, at the arrival of part `number`.
    fn break_something(&mut self, number: u64) {
        let now = self.now;
        if !self.broken.camera && self.strikes(Kind::Unplug, number) {
            self.at(now, Event::Camera(false));
            let back = now + self.of(Kind::Unplug, number, 200 * MS, 1500 * MS);
            self.at(back, Event::Camera(true));
        }
        if self.broken.frozen.is_none() && self.strikes(Kind::FrozenCamera, number) {
            self.freeze(number);
        }
        if self.line.encoder {
            if !self.broken.encoder && self.strikes(Kind::DeadEncoder, number) {
                self.at(now, Event::Encoder(false));
                let back = now + self.of(Kind::DeadEncoder, number, 2 * MS, 1000 * MS);
                self.at(back, Event::Encoder(true));
            }
            if self.strikes(Kind::EncoderNoise, number) {
                let count = self.of(Kind::EncoderNoise, number, 1, 24) as u8;
                self.at(now, Event::Noise(count));
            }
            if self.broken.slip == 0 && self.strikes(Kind::EncoderSlip, number) {
                let percent = self.of(Kind::EncoderSlip, number, 3, 70);
                self.at(now, Event::Slip(percent));
                let back = now + self.draw(100 * MS, 2000 * MS);
                self.at(back, Event::Slip(0));
            }
        }
        let wired = self.line.trigger == Trigger::Sensor || self.line.encoder;
        if wired && !self.broken.inputs && self.strikes(Kind::DeadInputs, number) {
            self.at(now, Event::Inputs(false));
            let back = now + self.of(Kind::DeadInputs, number, 50 * MS, 1500 * MS);
            self.at(back, Event::Inputs(true));
        }
        if wired && !self.broken.chip && self.strikes(Kind::UnpluggedInputs, number) {
            self.at(now, Event::Chip(false));
            let back = now + self.of(Kind::UnpluggedInputs, number, 50 * MS, 1500 * MS);
            self.at(back, Event::Chip(true));
        }
        if !self.broken.outputs && self.strikes(Kind::LostOutputs, number) {
            self.at(now, Event::Outputs(false));
            let back = now + self.of(Kind::LostOutputs, number, 100 * MS, 1000 * MS);
            self.at(back, Event::Outputs(true));
        }
        self.break_processes(number);
        self.ask_for_something(number);
    }

    fn break_processes(&mut self, number: u64) {
        let now = self.now;
        // Long and short stalls: the square of a draw gives more short ones.
        let length = |world: &Self, kind, most: u64| {
            let power = world.of(kind, number, 0, 1000);
            50 * MS + most * power * power / 1_000_000
        };
        if self.strikes(Kind::GateStall, number) {
            let until = now + self.of(Kind::GateStall, number, 5 * MS, 50 * MS);
            self.stop_vision(until, false);
        }
        if self.strikes(Kind::VisionStall, number) {
            let until = now + length(self, Kind::VisionStall, 1950 * MS);
            self.stop_vision(until, true);
        }
        if self.strikes(Kind::SupervisorStall, number) {
            let until = now + length(self, Kind::SupervisorStall, 1950 * MS);
            self.stop_supervisor(until);
        }
        if self.strikes(Kind::BothStall, number) {
            let until = now + length(self, Kind::BothStall, 1450 * MS);
            self.stop_vision(until, true);
            self.stop_supervisor(until);
        }
        if self.strikes(Kind::ProcessDeath, number) {
            self.vision_ends("it dies");
        }
        if self.strikes(Kind::SupervisorDeath, number) {
            self.supervisor_dies();
        }
        if self.strikes(Kind::BothDeath, number) {
            self.vision_ends("both die");
            self.supervisor_dies();
        }
    }

    fn finish(&mut self) {
        self.close_life();
        self.outcome.virtual_ns = self.now;
    }
}

/// Time that waking up takes, ns.
const JITTER: (u64, u64) = (10 * US, 60 * US);
