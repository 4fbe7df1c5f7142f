//! The plant and the devices of a simulated line, in virtual time: belt, parts, sensor, camera,
//! judge, ejector. What it drives is the running line's own [`Controller`].

mod devices;

use super::belt::Belt;
use super::faults::{Injector, Kind};
use super::model::{COUNT, GATE, LineModel, MS, PITCH, PULSE, REACTION};
use super::outcome::Outcome;
use crate::line::controller::{Command, Controller};
use crate::line::gate::{Decision, Ejector, Fault, Judgement, Line, Nanos, Output, PartId, Reason};
use crate::seed::Rng;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};

const US: u64 = 1_000;

/// A part on the belt, until it has passed the ejector.
#[derive(Clone, Copy, Debug)]
struct Physical {
    number: u64,
    /// Belt place at which it meets the ejector.
    centre: u64,
    truth: Judgement,
    /// The line decided to let it pass, on an OK that was spoken on its own picture.
    verified: bool,
}

/// What the program gets to know, and when.
#[derive(Clone, Copy, Debug)]
enum Delivery {
    Trigger {
        at: u64,
        lost: u32,
        /// None for an edge behind which there is no part of its own.
        physical: Option<u64>,
    },
    Encoder {
        at: u64,
        lost: u32,
    },
    Frame {
        physical: u64,
        exposed: u64,
        damaged: bool,
    },
    Verdict {
        part: PartId,
        shown: u64,
        verdict: Result<Judgement, Reason>,
    },
    Fault(Fault, bool),
}

#[derive(Clone, Copy, Debug)]
enum Event {
    /// To the program, if the process of that life still lives.
    Deliver(Delivery, u64),
    Belt(bool),
    /// The lines fall to what they show unattended, if the same life is still dead.
    Unattended,
    Restart,
    Outputs(bool),
    Camera(bool),
    Encoder(bool),
    Inputs(bool),
}

/// What stands at a place of the belt.
enum Place {
    Sensor,
    Centre,
    Count,
}

#[derive(Clone, Copy, Debug)]
struct Levels {
    on: [bool; Line::ALL.len()],
    /// When PASS falls by itself.
    pass_until: u64,
}

impl Levels {
    fn unattended() -> Self {
        Self {
            on: Line::ALL.map(Line::when_unattended),
            pass_until: 0,
        }
    }
}

pub(super) struct World {
    model: LineModel,
    now: u64,
    order: u64,
    events: BinaryHeap<Reverse<(u64, u64, usize)>>,
    /// The bodies of `events`, by their last field; reused.
    bodies: Vec<Event>,
    vacant: Vec<usize>,
    rng: Rng,
    faults: Injector,
    belt: Belt,
    next_arrival: u64,
    next_count: u64,
    next_number: u64,
    parts: u64,
    on_belt: VecDeque<Physical>,
    controller: Option<Controller<u64>>,
    life: u64,
    wake: u64,
    /// The gate's thread is not run before this.
    stalled_until: u64,
    levels: Levels,
    outputs_work: bool,
    camera_works: bool,
    encoder_works: bool,
    inputs_work: bool,
    lost_edges: u32,
    last_edge_lost: bool,
    last_trigger_delivery: u64,
    /// Part number to physical part, of this life.
    triggered: HashMap<u64, u64>,
    /// Parts whose first OK came from a picture of this physical part.
    ok: HashMap<u64, u64>,
    pub(super) outcome: Outcome,
}

impl World {
    pub(super) fn new(model: LineModel, parts: u64, seed: u64, kinds: &[Kind]) -> Self {
        let survives = |k: &Kind| model.ejector == Ejector::Pass || k.spares_reject_wiring();
        let kinds: Vec<Kind> = kinds.iter().copied().filter(survives).collect();
        let mut world = Self {
            model,
            now: 0,
            order: 0,
            events: BinaryHeap::new(),
            bodies: Vec::new(),
            vacant: Vec::new(),
            rng: Rng::stream(seed, 1),
            faults: Injector::new(&kinds, seed),
            belt: Belt::running(),
            next_arrival: PITCH,
            next_count: COUNT,
            next_number: 0,
            parts,
            on_belt: VecDeque::new(),
            controller: None,
            life: 0,
            wake: u64::MAX,
            stalled_until: 0,
            levels: Levels::unattended(),
            outputs_work: true,
            camera_works: true,
            encoder_works: true,
            inputs_work: true,
            lost_edges: 0,
            last_edge_lost: false,
            last_trigger_delivery: 0,
            triggered: HashMap::new(),
            ok: HashMap::new(),
            outcome: Outcome::default(),
        };
        // What somebody left on the belt before the program started.
        for k in 0..3 {
            let place = GATE / 4 * (k + 1);
            world.put_on_belt(place.saturating_sub(GATE), place);
        }
        world.restart();
        world
    }

    fn put_on_belt(&mut self, sensor: u64, centre_from_sensor: u64) {
        let defective = self.rng.below(10) == 0;
        let truth = match (defective, self.rng.below(50)) {
            (true, _) => Judgement::Ng,
            (false, 0) => Judgement::Unknown,
            (false, _) => Judgement::Ok,
        };
        self.next_number += 1;
        self.on_belt.push_back(Physical {
            number: self.next_number,
            centre: sensor + centre_from_sensor + PULSE / 2,
            truth,
            verified: false,
        });
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
        let life = self.life;
        self.at(time, Event::Deliver(delivery, life));
    }

    /// Runs to the end; false when the line stood still for a minute and never recovered.
    pub(super) fn run(&mut self) -> bool {
        let mut moved = 0;
        loop {
            let place = self.next_place();
            let event = self.events.peek().map(|Reverse((time, ..))| *time);
            let wake = if self.controller.is_some() {
                self.wake.max(self.stalled_until)
            } else {
                u64::MAX
            };
            let at_place = place.as_ref().map_or(u64::MAX, |(time, _)| *time);
            let next = at_place.min(event.unwrap_or(u64::MAX)).min(wake);
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
            } else if Some(next) == event {
                if let Some(Reverse((_, _, slot))) = self.events.pop() {
                    self.vacant.push(slot);
                    self.happen(self.bodies[slot]);
                }
            } else {
                self.call(|c, clock, emit| c.tick(clock, &mut |x| emit(x)));
            }
        }
    }

    fn next_place(&self) -> Option<(u64, Place)> {
        let arrival = (self.next_number < self.parts).then_some(self.next_arrival);
        let centre = self.on_belt.front().map(|p| p.centre);
        [
            (arrival, Place::Sensor),
            (centre, Place::Centre),
            (Some(self.next_count), Place::Count),
        ]
        .into_iter()
        .filter_map(|(at, place)| Some((self.belt.reaches(at?)?, place)))
        .min_by_key(|(time, _)| *time)
    }

    fn reach(&mut self, place: Place) {
        match place {
            Place::Sensor => self.sensor(),
            Place::Centre => self.meet_ejector(),
            Place::Count => {
                self.next_count += COUNT;
                if self.encoder_works && self.inputs_work {
                    let later = self.now + 5 * US + self.rng.below(20) as u64 * US;
                    let at = self.now;
                    self.deliver(later, Delivery::Encoder { at, lost: 0 });
                }
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Deliver(delivery, life) => {
                if life != self.life || self.controller.is_none() {
                    // It was on its way to a process that is dead.
                } else if self.now < self.stalled_until {
                    self.at(self.stalled_until, event);
                } else {
                    self.hand_over(delivery);
                }
            }
            Event::Belt(runs) => self.belt.set(runs, self.now),
            Event::Unattended => self.levels_change(Levels::unattended()),
            Event::Restart => self.restart(),
            Event::Outputs(work) => {
                self.outputs_work = work;
                if work {
                    let mut levels = Levels::unattended();
                    if let Some(controller) = &self.controller {
                        levels.on = Line::ALL.map(|line| controller.level(line));
                        levels.on[Line::Pass as usize] = false;
                        self.levels_change(levels);
                    }
                } else {
                    self.levels_change(Levels::unattended());
                }
                self.deliver(self.now + MS, Delivery::Fault(Fault::Outputs, !work));
            }
            Event::Camera(works) => {
                self.camera_works = works;
                let noticed = self.now + self.faults.between(20 * MS, 60 * MS);
                self.deliver(noticed, Delivery::Fault(Fault::Camera, !works));
            }
            Event::Encoder(works) => self.encoder_works = works,
            Event::Inputs(works) => self.inputs_work = works,
        }
    }

    fn die(&mut self) {
        self.close_life();
        self.controller = None;
        self.triggered.clear();
        self.ok.clear();
        self.life += 1;
        // The supervisor's turn.
        self.at(self.now + MS, Event::Unattended);
        self.at(self.now + 300 * MS, Event::Restart);
    }

    fn restart(&mut self) {
        let started = Controller::new(self.model.settings(), Nanos(self.now));
        // The models are checked by a test; one that is off has no line.
        self.controller = started.ok();
        self.wake = self.now;
        self.lost_edges = 0;
        self.stalled_until = 0;
        self.deliver(self.now + 100 * MS, Delivery::Fault(Fault::Starting, false));
        if !self.camera_works {
            self.deliver(self.now + 20 * MS, Delivery::Fault(Fault::Camera, true));
        }
    }

    fn hand_over(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Trigger { at, lost, physical } => {
                let before = self.part_count();
                self.call(|c, clock, emit| c.trigger(Nanos(at), lost, clock, &mut |x| emit(x)));
                let after = self.part_count();
                // The lost ones come first; the last number is this edge's.
                if after > before + u64::from(lost)
                    && let Some(physical) = physical
                {
                    self.triggered.insert(after, physical);
                }
            }
            Delivery::Encoder { at, lost } => {
                self.call(|c, clock, emit| c.encoder(Nanos(at), lost, clock, &mut |x| emit(x)));
            }
            Delivery::Frame {
                physical,
                exposed,
                damaged,
            } => {
                if self.camera_works {
                    self.call(|c, clock, emit| {
                        let info = crate::line::pairing::FrameInfo {
                            exposed: Nanos(exposed),
                            sequence: physical,
                            content: None,
                            damaged,
                        };
                        c.frame(physical, info, clock, &mut |x| emit(x));
                    });
                }
            }
            Delivery::Verdict {
                part,
                shown,
                verdict,
            } => {
                if verdict == Ok(Judgement::Ok) {
                    self.ok.entry(part.0).or_insert(shown);
                }
                self.call(|c, clock, emit| c.verdict(part, verdict, clock, &mut |x| emit(x)));
            }
            Delivery::Fault(fault, present) => {
                self.call(|c, clock, emit| c.fault(fault, present, clock, &mut |x| emit(x)));
            }
        }
    }

    fn part_count(&self) -> u64 {
        self.controller.as_ref().map_or(0, |c| c.counters().parts)
    }

    /// Calls the program and does what it says.
    fn call(
        &mut self,
        what: impl FnOnce(&mut Controller<u64>, Nanos, &mut dyn FnMut(Command<u64>)),
    ) {
        let Some(mut controller) = self.controller.take() else {
            return;
        };
        let clock = Nanos(self.now);
        what(&mut controller, clock, &mut |command| match command {
            Command::Gate(Output::Set {
                line,
                on,
                due,
                until,
            }) => self.set_line(line, on, due.0, until),
            Command::Gate(Output::Extend { until }) => self.pass_until(until),
            Command::Gate(Output::Decided(decision)) => self.decided(&decision),
            Command::Gate(Output::Fault { .. } | Output::Alarm(_)) | Command::Free(..) => {}
            Command::Judge { part, frame, .. } => self.judge(part, frame),
        });
        let jitter = 10 * US + self.rng.below(50) as u64 * US;
        self.wake = controller.deadline().0.max(self.now).saturating_add(jitter);
        self.outcome.most_tracked = self.outcome.most_tracked.max(controller.under_way() as u64);
        self.controller = Some(controller);
    }

    fn set_line(&mut self, line: Line, on: bool, due: u64, until: Option<Nanos>) {
        if matches!(line, Line::Pass | Line::Reject) && on {
            self.outcome.lateness.record(self.now.saturating_sub(due));
        }
        if !self.outputs_work {
            return;
        }
        let mut levels = self.levels;
        levels.on[line as usize] = on;
        self.levels_change(levels);
        if line == Line::Pass {
            self.pass_until(until.unwrap_or(Nanos(0)));
        }
    }

    /// Whoever holds the lines ends PASS by then.
    fn pass_until(&mut self, until: Nanos) {
        if self.outputs_work {
            self.levels.pass_until = until.0 + 100 * US;
        }
    }

    fn levels_change(&mut self, levels: Levels) {
        let ready = |l: &Levels| l.on[Line::Ready as usize];
        if self.model.stops && ready(&self.levels) != ready(&levels) {
            self.at(self.now + REACTION, Event::Belt(ready(&levels)));
        }
        self.levels = levels;
    }

    fn decided(&mut self, decision: &Decision) {
        let part = decision.part.0;
        let physical = self.triggered.remove(&part);
        let shown = self.ok.remove(&part);
        let waited = self.now.saturating_sub(decision.trigger.time.0);
        self.outcome.trigger_to_output.record(waited);
        if decision.rejected.is_none()
            && physical.is_some()
            && physical == shown
            && let Some(there) = self.on_belt.iter_mut().find(|p| Some(p.number) == physical)
        {
            there.verified = there.truth == Judgement::Ok;
        }
    }

    /// The front part is at the ejector.
    fn meet_ejector(&mut self) {
        let Some(part) = self.on_belt.pop_front() else {
            return;
        };
        let passes = match self.model.ejector {
            Ejector::Pass => {
                self.levels.on[Line::Pass as usize] && self.now < self.levels.pass_until
            }
            Ejector::Reject => !self.levels.on[Line::Reject as usize],
        };
        let outcome = &mut self.outcome;
        outcome.physical += 1;
        outcome.passed_physically += u64::from(passes);
        outcome.passed_unverified += u64::from(passes && !part.verified);
        outcome.good_thrown_out += u64::from(!passes && part.truth == Judgement::Ok);
    }

    /// The counters of a process that ends.
    fn close_life(&mut self) {
        if let Some(controller) = &self.controller {
            let under_way = controller.under_way() as u64;
            self.outcome.close(controller.counters(), under_way);
        }
    }

    fn finish(&mut self) {
        self.close_life();
        self.outcome.virtual_ns = self.now;
        self.outcome.injected = self.faults.injected;
    }
}
