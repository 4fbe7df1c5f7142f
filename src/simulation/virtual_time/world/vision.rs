//! The vision process, which can stall or die at any instant: what it receives, and what it sends.

use super::{Away, Delivery, Edge, Event, Frame, World};
use crate::line::controller::{Command, Controller};
use crate::line::gate::{Action, Fault, Faults, Output, PartId, PartVerdict, Reason};
use crate::line::lease::{Watch, What};
use crate::line::pairing::FrameInfo;
use crate::simulation::virtual_time::line::{MS, US};
use crate::time::{Duration, Instant};

/// Number of commands that the socket holds.
const SOCKET: usize = 42;

pub(super) struct Vision {
    controller: Option<Box<Controller<Frame>>>,
    watch: Watch,
    pub(super) life: u64,
    wake: u64,
    next_alive: u64,
    overdue: bool,
    /// The gate's thread, or the whole process, is not run before these times.
    gate_until: u64,
    process_until: u64,
    pub(super) away: Away,
    /// Faults from outside, which a new process must receive again.
    outside: Faults,
}

impl Vision {
    pub(super) fn none() -> Self {
        Self {
            controller: None,
            watch: Watch::new(Duration::ZERO),
            life: 0,
            wake: u64::MAX,
            next_alive: u64::MAX,
            overdue: false,
            gate_until: 0,
            process_until: 0,
            away: Away::default(),
            outside: Faults::NONE,
        }
    }

    pub(super) fn wakes(&self) -> u64 {
        if self.controller.is_some() {
            self.wake.max(self.gate_until).max(self.process_until)
        } else {
            u64::MAX
        }
    }

    /// Whether the gate's thread is not run.
    pub(super) fn stopped(&self, now: u64) -> bool {
        now < self.gate_until || now < self.process_until
    }

    pub(super) fn process_stopped(&self, now: u64) -> bool {
        now < self.process_until
    }

    pub(super) fn alive(&self) -> bool {
        self.controller.is_some()
    }

    /// Whether a process has the inputs open and believes that it receives every edge.
    pub(super) fn watches(&self) -> bool {
        self.controller
            .as_ref()
            .is_some_and(|c| !c.faults().has(Fault::Inputs) && !c.faults().has(Fault::Starting))
    }

    pub(super) fn away(&self) -> Away {
        self.away
    }

    fn deadline(&self) -> u64 {
        let controller = self
            .controller
            .as_ref()
            .map_or(u64::MAX, |c| c.deadline().0);
        controller.min(self.watch.deadline().0).min(self.next_alive)
    }
}

impl World {
    pub(super) fn vision_starts(&mut self, life: u64) {
        if life != self.vision.life || self.vision.alive() || !self.supervisor.alive() {
            return;
        }
        if !self.begins_with_a_product() {
            self.start_vision();
            return;
        }
        let now = self.now;
        self.trace.note(now, || "a vision process runs".into());
        // A test checks the settings of the drawn lines; a wrong one has no line.
        let started = Controller::new(self.line.settings, Instant(now));
        self.vision.controller = started.ok().map(Box::new);
        self.vision.watch = Watch::new(self.line.lease.late);
        self.vision.overdue = false;
        self.vision.gate_until = 0;
        self.vision.process_until = 0;
        self.vision.away.to = now;
        self.vision.next_alive = now;
        self.kernel.clear();
        self.overflow = [0; 5];
        self.lost = [0; 5];
        self.lost_parts.clear();
        for output in Output::ALL {
            let on = output.when_unattended();
            self.send(What::Set {
                output,
                on,
                until: None,
            });
        }
        if self.latch {
            self.call(|c, now, emit| c.raise_alarm(now, &mut |x| emit(x)));
            self.acknowledge_soon();
        }
        for (fault, broken) in [
            (Fault::Camera, self.broken.camera),
            (Fault::Inputs, self.broken.chip),
        ] {
            if broken {
                self.deliver(now + 5 * MS, Delivery::Fault(fault, true));
            }
        }
        self.holds_until_read();
        self.deliver(now + 20 * MS, Delivery::Fault(Fault::Starting, false));
        self.run_vision();
    }

    /// A person comes and acknowledges.
    fn acknowledge_soon(&mut self) {
        let later = self.now + self.draw(300 * MS, 3000 * MS);
        self.deliver(later, Delivery::Acknowledge);
    }

    pub(super) fn close_life(&mut self) {
        if let Some(controller) = &self.vision.controller {
            let under_way = controller.under_way() as u64;
            let (counters, frames) = (*controller.counters(), *controller.frames());
            self.outcome.close(&counters, &frames, under_way);
        }
    }

    pub(super) fn vision_ends(&mut self, why: &str) {
        if !self.vision.alive() {
            return;
        }
        let now = self.now;
        self.trace
            .note(now, || format!("the vision process ends: {why}"));
        self.close_life();
        self.vision.controller = None;
        // Everything on its way to the process is lost, and everything that it knew.
        self.vision.life += 1;
        // A part that is past its gate, or nearly there, was decided by a process that knew it.
        let decided = self.here() + self.line.pitch / 4;
        for part in self.on_belt.iter_mut().filter(|p| p.gate > decided) {
            part.ok_at = None;
            part.ok_by = None;
            part.watched = false;
        }
        self.vision.away.extend(now, u64::MAX);
        if self.supervisor.alive() {
            let life = self.vision.life;
            let noticed = now + self.draw(200 * US, 4 * MS);
            self.at(noticed, Event::LinkClosed(life));
        }
    }

    pub(super) fn stop_vision(&mut self, until: u64, process: bool) {
        if !self.vision.alive() {
            return;
        }
        let stop = if process {
            &mut self.vision.process_until
        } else {
            &mut self.vision.gate_until
        };
        *stop = until.max(*stop);
        self.vision.away.extend(self.now, until);
        self.at(until, Event::VisionRuns);
    }

    pub(super) fn vision_runs(&mut self) {
        if !self.vision.alive() || self.vision.stopped(self.now) {
            return;
        }
        // Edges wait in the kernel and are read in order.
        while let Some((edge, at, lost)) = self.kernel.pop_front() {
            self.hand_edge(edge, at, lost);
        }
        self.run_vision();
    }

    pub(super) fn run_vision(&mut self) {
        let under_way = self.vision.controller.as_ref().map(|c| c.under_way());
        if under_way.is_some_and(|n| self.ends_for_another(n)) {
            return;
        }
        let now = Instant(self.now);
        for output in self.vision.watch.switched_off(now) {
            self.set_level(*output, output.when_unattended());
        }
        let overdue = self.vision.watch.overdue(now);
        if overdue != self.vision.overdue {
            self.vision.overdue = overdue;
            self.call(|c, now, emit| c.fault(Fault::Supervisor, overdue, now, &mut |x| emit(x)));
        }
        if self.now >= self.vision.next_alive {
            self.vision.next_alive = self.now + self.line.alive_every;
            self.send(What::Alive);
        }
        self.call(|c, now, emit| c.tick(now, &mut |x| emit(x)));
    }

    /// A fault from outside, at once.
    pub(super) fn fault_now(&mut self, fault: Fault, present: bool, now: Instant) {
        self.vision.outside.set(fault, present);
        self.call(|c, _, emit| c.fault(fault, present, now, &mut |x| emit(x)));
    }

    /// Sends a command to the supervisor.
    fn send(&mut self, what: What) {
        if !self.vision.alive() || !self.supervisor.alive() {
            return;
        }
        if self.supervisor.link.len() >= SOCKET {
            self.switch_off_all();
            self.vision_ends("the supervisor does not read its commands");
            return;
        }
        let command = self.vision.watch.command(what, Instant(self.now));
        let arrives = self.now + self.jitter();
        let last = self.supervisor.link.back().map_or(0, |(at, _)| *at);
        self.supervisor.link.push_back((arrives.max(last), command));
    }

    fn send_all_again(&mut self) {
        for output in Output::ALL {
            let on = self
                .vision
                .controller
                .as_ref()
                .is_some_and(|c| c.level(output));
            if output != Output::Pass || !on {
                self.send(What::Set {
                    output,
                    on,
                    until: None,
                });
            }
        }
    }

    pub(super) fn take(&mut self, delivery: Delivery) {
        if !self.vision.alive() {
            return;
        }
        if let Delivery::Edge { edge, at, lost } = delivery {
            self.edge_arrives(edge, at, lost);
            return;
        }
        let mut delivery = delivery;
        // The thread that receives it runs even if the gate's thread does not.
        if let Delivery::Command { at: at @ None, .. } = &mut delivery
            && !self.vision.process_stopped(self.now)
        {
            *at = Some(self.now);
        }
        if self.vision.stopped(self.now) {
            let later = self.vision.gate_until.max(self.vision.process_until);
            self.deliver(later, delivery);
            return;
        }
        match delivery {
            Delivery::Edge { .. } => {}
            Delivery::Level(on) => self.take_level(on),
            Delivery::Command {
                number,
                at,
                by_clock,
            } => self.take_command(number, at.unwrap_or(self.now), by_clock),
            Delivery::Frame {
                frame,
                arrived,
                stamp,
                sequence,
                content,
                damaged,
            } => {
                let info = FrameInfo {
                    exposed: Instant(stamp),
                    sequence,
                    content,
                    damaged,
                };
                self.take_frame(frame, arrived, info);
            }
            Delivery::Verdict {
                part,
                shown,
                verdict,
            } => self.take_verdict(part, shown, verdict),
            Delivery::Fault(fault, present) => {
                self.vision.outside.set(fault, present);
                self.call(|c, now, emit| c.fault(fault, present, now, &mut |x| emit(x)));
            }
            Delivery::Acknowledge => {
                self.call(|c, now, emit| c.acknowledge(now, &mut |x| emit(x)));
            }
            Delivery::Answer(answer) => {
                if self.vision.watch.answer(answer) {
                    self.call(|c, now, emit| c.outputs_were_late(now, &mut |x| emit(x)));
                    self.send_all_again();
                }
                self.run_vision();
            }
            Delivery::LinkGone => {
                self.switch_off_all();
                self.vision_ends("its supervisor is gone");
            }
        }
    }

    /// The poll reads what the sensor shows by now, so a level from before is not taken.
    fn take_level(&mut self, on: bool) {
        if !self.level_is(on) {
            return;
        }
        let before = self.found_by_level();
        self.call(|c, now, emit| c.level_read(on, now, &mut |x| emit(x)));
        if self.found_by_level() > before {
            let (number, now) = (self.next_number, self.now);
            self.reveal(number, now);
        }
    }

    fn take_command(&mut self, number: u64, at: u64, by_clock: bool) {
        self.known(number, at);
        let stamp = Instant(at);
        self.call(|c, clock, emit| {
            if by_clock {
                c.trigger(stamp, 0, clock, &mut |x| emit(x));
            } else {
                c.command_trigger(stamp, clock, &mut |x| emit(x));
            }
        });
    }

    /// A frame that the broken camera had still sent is lost with it.
    fn take_frame(&mut self, frame: Frame, arrived: u64, info: FrameInfo) {
        if self.broken.camera {
            return;
        }
        self.last_frame = Some(frame);
        let waited = self.now.saturating_sub(arrived);
        let frame = Frame { waited, ..frame };
        self.call(|c, now, emit| c.frame(frame, info, now, &mut |x| emit(x)));
    }

    /// `shown` is the part in the inspected picture, which need not be `part`.
    fn take_verdict(&mut self, part: PartId, shown: u64, verdict: Result<PartVerdict, Reason>) {
        let now = self.now;
        if verdict == Ok(PartVerdict::Ok) {
            let digest = self.products.loaded();
            if let Some(shown) = self.part(shown) {
                shown.ok_at.get_or_insert(now);
                shown.ok_by.get_or_insert(digest);
            }
        }
        self.call(|c, now, emit| c.verdict(part, verdict, now, &mut |x| emit(x)));
    }

    fn found_by_level(&self) -> u64 {
        let counters = self.vision.controller.as_ref().map(|c| c.counters());
        counters.map_or(0, |c| c.found_by_level)
    }

    /// The program learns of part `number`, whose trigger is at `at`.
    fn known(&mut self, number: u64, at: u64) {
        let now = self.now;
        if let Some(part) = self.part(number) {
            part.trigger_at = at;
            part.revealed.get_or_insert(now);
        }
    }

    pub(super) fn hand_edge(&mut self, edge: Edge, at: u64, lost: u32) {
        let lost = self.take_lost(edge, at, lost);
        let stamp = Instant(at);
        match edge {
            Edge::On(number) => {
                self.known(number, at);
                self.call(|c, now, emit| c.trigger(stamp, lost, now, &mut |x| emit(x)));
            }
            Edge::Off => self.call(|c, now, emit| c.release(stamp, lost, now, &mut |x| emit(x))),
            Edge::Count => {
                let gate = &self.line.settings.gate;
                let (least, silence) = (gate.count_min.0, gate.encoder_silence.0);
                self.ledger.counted(at, least, silence);
                self.call(|c, now, emit| c.encoder(stamp, lost, now, &mut |x| emit(x)));
            }
            Edge::Quarter { second, on } => {
                let unsure = self.implausible();
                let counts = self.counts();
                self.call(|c, now, emit| {
                    c.encoder_edge(second, on, stamp, lost, now, &mut |x| emit(x));
                });
                if self.implausible() > unsure {
                    self.ledger.violated(at);
                }
                if self.counts() > counts {
                    let gate = &self.line.settings.gate;
                    let (least, silence) = (gate.count_min.0, gate.encoder_silence.0);
                    self.ledger.counted(at, least, silence);
                }
            }
            Edge::Index => {
                let unsure = self.implausible();
                self.call(|c, now, emit| c.index(stamp, lost, now, &mut |x| emit(x)));
                if self.implausible() > unsure {
                    self.ledger.violated(at);
                }
            }
            Edge::Confirm => {
                self.call(|c, now, emit| c.confirm(stamp, lost, now, &mut |x| emit(x)))
            }
        }
        if self.vision.alive() && self.covered_too_long() {
            self.reveal_touching();
        }
    }

    fn implausible(&self) -> u64 {
        let counters = self.vision.controller.as_ref().map(|c| c.counters());
        counters.map_or(0, |c| c.implausible_counts)
    }

    fn counts(&self) -> u64 {
        self.vision.controller.as_ref().map_or(0, |c| c.count().0)
    }

    fn covered_too_long(&mut self) -> bool {
        let counters = self.vision.controller.as_ref().map(|c| c.counters());
        let now = counters.map_or(0, |c| c.covered_too_long);
        let before = std::mem::replace(&mut self.ledger.covered_too_long, now);
        now > before
    }

    /// Calls the program and carries out its commands.
    fn call(
        &mut self,
        what: impl FnOnce(&mut Controller<Frame>, Instant, &mut dyn FnMut(Command<Frame>)),
    ) {
        let Some(mut controller) = self.vision.controller.take() else {
            return;
        };
        let mut commands = std::mem::take(&mut self.commands);
        what(&mut controller, Instant(self.now), &mut |command| {
            commands.push(command)
        });
        self.outcome.most_tracked = self.outcome.most_tracked.max(controller.under_way() as u64);
        self.vision.controller = Some(controller);
        for command in commands.drain(..) {
            self.carry_out(command);
        }
        self.commands = commands;
        let jitter = self.jitter();
        self.vision.wake = self.vision.deadline().max(self.now).saturating_add(jitter);
        if self.covered_too_long() {
            self.reveal_touching();
        }
    }

    fn carry_out(&mut self, command: Command<Frame>) {
        if !self.vision.alive() {
            return;
        }
        match command {
            Command::Gate(Action::Set {
                output,
                on,
                due,
                until,
            }) => {
                if matches!(output, Output::Pass | Output::Reject) && on {
                    self.outcome.lateness.record(self.now.saturating_sub(due.0));
                }
                // A level that can only stop parts is set at once, without the supervisor.
                if output.is_safe(on) {
                    self.set_level(output, on);
                }
                self.send(What::Set { output, on, until });
            }
            Command::Gate(Action::Extend { until }) => self.send(What::Set {
                output: Output::Pass,
                on: true,
                until: Some(until),
            }),
            Command::Gate(Action::Decided(decision)) => {
                let waited = self.now.saturating_sub(decision.trigger.time.0);
                self.outcome.trigger_to_output.record(waited);
                let now = self.now;
                self.trace.note(now, || {
                    let why = decision.rejected.map_or("pass", |r| r.name());
                    format!(
                        "gate: its part {} of trigger {:.3}: {why}",
                        decision.part.0,
                        decision.trigger.time.0 as f64 / 1e6
                    )
                });
            }
            Command::Gate(Action::Fault { fault, present }) => {
                let now = self.now;
                self.trace.note(now, || {
                    format!(
                        "gate: fault {} {}",
                        fault.name(),
                        if present { "comes" } else { "goes" }
                    )
                });
                if fault == Fault::Confirm && present {
                    self.acknowledge_soon();
                }
            }
            Command::Gate(Action::Alarm(raised)) => {
                self.latch = raised;
                if raised {
                    self.acknowledge_soon();
                }
            }
            Command::Free(..) => {}
            Command::PartInspector {
                part,
                trigger,
                frame,
                ..
            } => self.inspect(part, trigger.0, frame),
        }
    }
}
