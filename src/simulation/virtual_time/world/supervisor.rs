//! The supervisor, which owns the outputs and can stall or die at any instant, and its end of the
//! link.

use super::{Away, Delivery, Event, World};
use crate::line::gate::Output;
use crate::line::lease::{self, Act, Lease, What};
use crate::simulation::virtual_time::line::{MS, US};
use crate::time::Instant;
use std::collections::VecDeque;

/// Time from the start of a vision process until its product is loaded.
const LOADING: u64 = 150 * MS;

pub(super) struct Supervisor {
    lease: Option<Lease>,
    pub(super) link: VecDeque<(u64, lease::Command)>,
    wake: u64,
    until: u64,
    away: Away,
}

impl Supervisor {
    pub(super) fn none() -> Self {
        Self {
            lease: None,
            link: VecDeque::new(),
            wake: u64::MAX,
            until: 0,
            away: Away::default(),
        }
    }

    pub(super) fn wakes(&self) -> u64 {
        if self.lease.is_none() {
            return u64::MAX;
        }
        let arrives = self.link.front().map_or(u64::MAX, |(at, _)| *at);
        self.wake.min(arrives).max(self.until)
    }

    pub(super) fn alive(&self) -> bool {
        self.lease.is_some()
    }

    pub(super) fn away(&self) -> Away {
        self.away
    }
}

impl World {
    /// The service manager starts the supervisor, which opens the outputs and starts a vision
    /// process.
    pub(super) fn start_service(&mut self) {
        let now = self.now;
        self.supervisor.link.clear();
        self.supervisor.until = 0;
        self.supervisor.away.to = now;
        if self.broken.outputs {
            // It tries to open the outputs again and again.
            let later = now + 100 * MS;
            self.supervisor.away.to = later;
            self.at(later, Event::ServiceStarts);
            return;
        }
        self.trace.note(now, || "the service starts".into());
        // Nothing of the old process is left when the service manager starts it again.
        self.vision_ends("the service manager ends it");
        self.switch_off_all();
        self.start_vision();
    }

    pub(super) fn start_vision(&mut self) {
        let now = self.now;
        self.supervisor.lease = Some(Lease::new(self.line.lease, Instant(now)));
        self.supervisor.link.clear();
        self.supervisor.wake = now;
        self.vision.life += 1;
        let life = self.vision.life;
        let loaded = now + self.line.restart + LOADING;
        self.vision.away.extend(now, loaded);
        self.at(loaded, Event::VisionStarts(life));
    }

    /// The supervisor sees that the vision process is gone.
    pub(super) fn link_closed(&mut self, life: u64) {
        if life != self.vision.life || !self.supervisor.alive() {
            return;
        }
        if self.now < self.supervisor.until {
            let later = self.supervisor.until;
            self.at(later, Event::LinkClosed(life));
            return;
        }
        self.supervisor_switches_off("the link is closed");
    }

    /// Switches off the outputs, kills the vision process, and starts another one.
    fn supervisor_switches_off(&mut self, why: &str) {
        let now = self.now;
        self.trace.note(now, || {
            format!("the supervisor switches off the outputs: {why}")
        });
        self.vision_ends("it is killed");
        self.switch_off_all();
        if self.broken.outputs {
            // It opens the outputs again before anything else.
            self.supervisor.lease = None;
            self.supervisor.away.extend(now, u64::MAX);
            self.at(now + 100 * MS, Event::ServiceStarts);
        } else {
            self.start_vision();
        }
    }

    pub(super) fn stop_supervisor(&mut self, until: u64) {
        if self.supervisor.alive() {
            self.supervisor.until = until.max(self.supervisor.until);
            self.supervisor.away.extend(self.now, until);
            self.at(until, Event::SupervisorRuns);
        }
    }

    pub(super) fn supervisor_dies(&mut self) {
        if !self.supervisor.alive() {
            return;
        }
        let now = self.now;
        self.trace.note(now, || "the supervisor dies".into());
        self.supervisor.lease = None;
        self.supervisor.link.clear();
        self.supervisor.until = 0;
        self.supervisor.away.extend(now, u64::MAX);
        let noticed = now + self.draw(50 * US, 20 * MS);
        self.deliver(noticed, Delivery::LinkGone);
        let again = now + self.draw(150 * MS, 1000 * MS);
        self.at(again, Event::ServiceStarts);
    }

    pub(super) fn supervisor_runs(&mut self) {
        self.supervisor.wake = self.supervisor.wake.min(self.now);
    }

    pub(super) fn run_supervisor(&mut self) {
        let now = self.now;
        let Some(mut lease) = self.supervisor.lease.take() else {
            return;
        };
        let mut acts: heapless::Vec<Act, 64> = heapless::Vec::new();
        let before = lease.incidents();
        // It takes one message at a time, and can be stopped between any two.
        if let Some((_, command)) = self
            .supervisor
            .link
            .front()
            .copied()
            .filter(|(at, _)| *at <= now)
        {
            self.supervisor.link.pop_front();
            if let What::Set {
                output: Output::Pass,
                on: true,
                until: Some(until),
            } = command.what
            {
                self.ledger.pass_until = until.0;
            }
            lease.receive(command, Instant(now), &mut |act| {
                let _ = acts.push(act);
            });
        }
        let next = self.supervisor.link.front();
        if next.is_none_or(|(at, _)| *at > now) {
            lease.tick(Instant(now), &mut |act| {
                let _ = acts.push(act);
            });
        }
        self.outcome.incidents += u64::from(lease.incidents() - before);
        let jitter = self.jitter();
        self.supervisor.wake = lease.deadline().0.max(now) + jitter;
        self.supervisor.lease = Some(lease);
        for act in acts {
            match act {
                Act::Set(output, on) => {
                    if !self.set_level(output, on) {
                        self.supervisor_switches_off("the outputs are gone");
                        return;
                    }
                }
                Act::Answer(answer) => {
                    let later = now + self.jitter();
                    self.deliver(later, Delivery::Answer(answer));
                }
                Act::Silent(_) => {
                    self.supervisor_switches_off("the vision process is silent");
                    return;
                }
            }
        }
    }
}
