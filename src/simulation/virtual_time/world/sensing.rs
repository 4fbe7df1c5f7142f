//! Sensor, encoder, confirming sensor, and their faults.

use super::ledger::Part;
use super::{Delivery, Edge, Event, World};
use crate::line::gate::{ConfirmKind, Fault, PartVerdict};
use crate::simulation::faults::Kind;
use crate::simulation::virtual_time::line::{MS, Trigger, US};

/// Number of edges that the kernel buffers for each input of a chip.
const KERNEL_ROOM: usize = 16;

impl World {
    /// Puts a new part with its front at the sensor on the belt; returns its number.
    pub(super) fn put_on_belt(&mut self, front: u64, way: u64) -> u64 {
        self.next_number += 1;
        let number = self.next_number;
        let truth = match self.draws.between(2, number, 0, 100) {
            0..10 => PartVerdict::Ng,
            10..12 => PartVerdict::Unknown,
            _ => PartVerdict::Ok,
        };
        let centre = front + way;
        let gate = centre - (self.line.pulse * 4 / 10).min(way);
        self.on_belt.push_back(Part {
            number,
            front,
            gate,
            centre,
            truth,
            arrived: self.now,
            trigger_at: 0,
            gate_at: self.now,
            revealed: None,
            silent: None,
            misled: None,
            ok_by: None,
            judged_by: None,
            misled_waited: 0,
            ok_at: None,
            watched: self.vision.watches(),
        });
        number
    }

    pub(super) fn part(&mut self, number: u64) -> Option<&mut Part> {
        let first = self.on_belt.front()?.number;
        let at = number.checked_sub(first)?;
        self.on_belt.get_mut(usize::try_from(at).ok()?)
    }

    /// A part is at the sensor and under the camera.
    pub(super) fn front_arrives(&mut self) {
        let front = self.next_front;
        if self.line.trigger == Trigger::Encoder {
            self.next_front += self.line.nest;
            if !self.broken.inputs && !self.broken.chip {
                let at = self.now;
                self.deliver(
                    at + 40 * US,
                    Delivery::Edge {
                        edge: Edge::Index,
                        at,
                        lost: 0,
                    },
                );
            }
            // Some nests are empty.
            if self.draws.percent(3, front, 25) {
                return;
            }
        }
        let number = self.put_on_belt(front, self.line.way);
        let now = self.now;
        self.trace
            .note(now, || format!("part {number} at the sensor"));
        if self.line.trigger != Trigger::Encoder {
            let pitch = self.line.pitch;
            let gap = if self.strikes(Kind::Touching, number) {
                self.of(
                    Kind::Touching,
                    number,
                    self.line.length / 2,
                    self.line.length,
                )
            } else if self.strikes(Kind::Crowding, number) {
                self.of(Kind::Crowding, number, 2 * MS, pitch / 2)
            } else {
                pitch + self.draws.between(4, number, 0, 2 * pitch)
            };
            self.next_front = front + gap.max(MS / 2);
        }
        self.break_something(number);
        match self.line.trigger {
            Trigger::Sensor => self.cover(front, number),
            Trigger::Socket => {
                let later = now + self.draws.between(5, number, 100 * US, 2 * MS);
                let later = later.max(self.last_trigger_delivery + 1);
                self.last_trigger_delivery = later;
                self.command(later, number, false);
                self.expose(number);
            }
            Trigger::Encoder | Trigger::Timer => {}
        }
    }

    /// A trigger by command or clock, which is never lost.
    pub(super) fn command(&mut self, at: u64, number: u64, by_clock: bool) {
        let received = by_clock.then_some(at);
        self.deliver(
            at,
            Delivery::Command {
                number,
                at: received,
                by_clock,
            },
        );
    }

    /// The clock's trigger: whatever is there is the part.
    pub(super) fn tick_trigger(&mut self) {
        if self.next_number < self.parts {
            let next = self.now + self.line.pitch;
            self.at(next, Event::Tick);
        }
        let here = self.here();
        let last = self.on_belt.back().map_or(0, |p| p.front);
        // A belt that stands brings no part.
        let mut number = 0;
        if here >= last + self.line.pitch / 2 {
            number = self.put_on_belt(here, self.line.way);
            self.break_something(number);
        }
        let at = self.now + 5 * US;
        self.command(at, number, true);
        self.expose(number);
    }

    fn cover(&mut self, front: u64, number: u64) {
        let rear = front + self.line.length;
        let covered = self
            .covered_to
            .replace(rear.max(self.covered_to.unwrap_or(0)));
        if covered.is_none() {
            self.covered_from = front;
        } else {
            // It touches the part before it: there is no edge.
            self.silence(number, Kind::Touching);
            return;
        }
        // The camera is wired to the sensor.
        if self.broken.inputs {
            self.silence(number, Kind::DeadInputs);
            return;
        }
        self.expose(number);
        if self.broken.chip {
            return;
        }
        let now = self.now;
        if self.strikes(Kind::LostTrigger, number) {
            self.lost[0] += 1;
            self.silence(number, Kind::LostTrigger);
            self.lost_parts.push((number, u64::MAX));
            self.poll_level(true);
            return;
        }
        let mut delay = 20 * US + self.draws.between(6, number, 0, 60) * US;
        if self.strikes(Kind::SlowTrigger, number) {
            delay += self.of(Kind::SlowTrigger, number, MS, 20 * MS);
        }
        self.trigger_edge(Edge::On(number), delay);
        if self.strikes(Kind::Bounce, number) {
            let after = self.of(Kind::Bounce, number, 10 * US, 900 * US);
            self.at(now + after, Event::Ghost);
        } else if self.strikes(Kind::DoubleTrigger, number) {
            let after = self.of(Kind::DoubleTrigger, number, 2 * MS, 30 * MS);
            self.at(now + after, Event::Ghost);
        }
    }

    fn silence(&mut self, number: u64, kind: Kind) {
        if let Some(part) = self.part(number) {
            part.silent = Some(kind);
        }
    }

    /// An edge of the trigger happens now. Edges of one input arrive in order, and each reports
    /// those that were lost before it.
    pub(super) fn trigger_edge(&mut self, edge: Edge, delay: u64) {
        let at = self.now;
        let arrives = (at + delay).max(self.last_trigger_delivery + 1);
        self.last_trigger_delivery = arrives;
        let lost = std::mem::take(&mut self.lost[0]);
        for (_, reported_by) in &mut self.lost_parts {
            if *reported_by == u64::MAX {
                *reported_by = at;
            }
        }
        self.deliver(arrives, Delivery::Edge { edge, at, lost });
    }

    pub(super) fn rear_leaves(&mut self) {
        self.covered_to = None;
        if self.broken.inputs || self.broken.chip {
            return;
        }
        let number = self.next_number;
        // The rear edge of a part whose front edge was lost can be lost as well.
        let lost = self.rates[Kind::LostTrigger as usize] > 0
            && (self
                .draws
                .one_in(7, number, 3 * self.rates[Kind::LostTrigger as usize])
                || (self
                    .lost_parts
                    .last()
                    .is_some_and(|(lost, _)| *lost == number)
                    && self.draws.percent(8, number, 40)));
        if lost {
            self.lost[0] += 1;
            self.poll_level(false);
        } else {
            self.trigger_edge(Edge::Off, 30 * US);
        }
    }

    /// The program reads the level again and again. A read has an effect only if it differs from
    /// what the edges report.
    fn poll_level(&mut self, on: bool) {
        let every = self.line.level_every;
        if let Some(polls) = self.now.checked_div(every) {
            let first = (polls + 1) * every;
            for at in [first, first + every] {
                self.deliver(at, Delivery::Level(on));
            }
        }
    }

    /// Whether the sensor still has the level that the poll should find.
    pub(super) fn level_is(&self, on: bool) -> bool {
        self.covered_to.is_some() == on && !self.broken.inputs && !self.broken.chip
    }

    /// The belt has moved by one count, or by a quarter of one.
    pub(super) fn count(&mut self) {
        let step = if self.line.quadrature {
            self.line.count / 4
        } else {
            self.line.count
        };
        self.next_count += step;
        self.quarter += 1;
        if self.broken.inputs || self.broken.encoder {
            self.ledger.deviates(self.now, Kind::DeadEncoder);
            return;
        }
        if self.broken.slip > 0 {
            self.slipped += self.broken.slip;
            if self.slipped >= 100 {
                self.slipped -= 100;
                self.ledger.deviates(self.now, Kind::EncoderSlip);
                // A wheel that slips stands: the edge comes at the next step.
                self.quarter -= 1;
                return;
            }
        }
        if self.broken.chip {
            // The program gets a report, but not at once.
            self.ledger.deviates(self.now, Kind::UnpluggedInputs);
            return;
        }
        let now = self.now;
        let edge = if self.line.quadrature {
            // A leads: A on, B on, A off, B off.
            let second = self.quarter.is_multiple_of(2);
            let on = matches!(self.quarter % 4, 1 | 2);
            self.channels[usize::from(second)] = on;
            Edge::Quarter { second, on }
        } else {
            Edge::Count
        };
        self.count_edge(edge, now);
    }

    fn count_edge(&mut self, edge: Edge, at: u64) {
        let later = at + 5 * US + self.draw(0, 20) * US;
        self.deliver(later, Delivery::Edge { edge, at, lost: 0 });
    }

    /// Edges without movement.
    pub(super) fn noise(&mut self, left: u8) {
        let (now, dead) = (
            self.now,
            self.broken.encoder || self.broken.inputs || self.broken.chip,
        );
        if !dead && self.line.quadrature {
            // There and back on one channel: no effect, unless the other channel changes meanwhile.
            let real = self.belt.reaches(self.next_count);
            if real.is_some_and(|at| at <= now + 100 * US) {
                self.ledger.deviates(now, Kind::EncoderNoise);
            }
            let on = self.channels[0];
            self.count_edge(
                Edge::Quarter {
                    second: false,
                    on: !on,
                },
                now,
            );
            self.count_edge(Edge::Quarter { second: false, on }, now + 50 * US);
        } else if !dead {
            self.ledger.deviates(now, Kind::EncoderNoise);
            self.count_edge(Edge::Count, now);
        }
        if left > 1 {
            let next = now + self.draw(100 * US, 4 * self.line.count);
            self.at(next, Event::Noise(left - 1));
        }
    }

    /// The chip of the inputs goes away, or comes back; the program gets a report.
    pub(super) fn chip(&mut self, works: bool) {
        self.broken.chip = !works;
        self.lost = [0; 5];
        // The reports keep the order of the events.
        let noticed = (self.now + self.draw(MS, 60 * MS)).max(self.chip_reported + 1);
        self.chip_reported = noticed;
        self.deliver(noticed, Delivery::Fault(Fault::Inputs, !works));
    }

    /// A part passes the confirming sensor at the ejector's entry.
    pub(super) fn confirm_part(&mut self) {
        let kind = self.line.settings.gate.confirm.map(|c| c.kind);
        if kind == Some(ConfirmKind::Part) && !self.broken.inputs && !self.broken.chip {
            let (at, edge) = (self.now, Edge::Confirm);
            self.deliver(at + 40 * US, Delivery::Edge { edge, at, lost: 0 });
        }
    }

    /// A part falls into the reject bin.
    pub(super) fn confirm_reject(&mut self) {
        let kind = self.line.settings.gate.confirm.map(|c| c.kind);
        if kind == Some(ConfirmKind::Reject) && !self.broken.inputs && !self.broken.chip {
            let (at, edge) = (self.now + MS, Edge::Confirm);
            self.deliver(at + 40 * US, Delivery::Edge { edge, at, lost: 0 });
        }
    }

    /// An edge reaches the program, or the kernel buffers it while the program is not run.
    pub(super) fn edge_arrives(&mut self, edge: Edge, at: u64, lost: u32) {
        if !self.vision.stopped(self.now) {
            self.hand_edge(edge, at, lost);
            return;
        }
        self.kernel.push_back((edge, at, lost));
        let inputs = 1 + usize::from(self.line.encoder) + usize::from(self.line.quadrature);
        if self.vision.process_stopped(self.now)
            && self.kernel.len() > KERNEL_ROOM * inputs
            && let Some((edge, _, lost)) = self.kernel.pop_front()
        {
            self.overflow[edge.input()] += 1 + lost;
            if let Edge::On(number) = edge {
                self.lost_parts.push((number, 0));
            }
        }
    }

    /// How many of the lost edges can have been parts: both edges of the trigger are watched.
    pub(super) fn take_lost(&mut self, edge: Edge, at: u64, lost: u32) -> u32 {
        let lost = lost + std::mem::take(&mut self.overflow[edge.input()]);
        if edge.input() != 0 || lost == 0 {
            return lost;
        }
        let now = self.now;
        let reported: Vec<u64> = self
            .lost_parts
            .iter()
            .filter(|(_, reported_by)| *reported_by <= at)
            .map(|(number, _)| *number)
            .collect();
        self.lost_parts.retain(|(_, reported_by)| *reported_by > at);
        for number in reported {
            self.reveal(number, now);
        }
        lost.div_ceil(2)
    }

    /// The program knows of this part from now on.
    pub(super) fn reveal(&mut self, number: u64, now: u64) {
        if let Some(part) = self.part(number) {
            part.revealed.get_or_insert(now);
        }
    }

    /// The sensor was covered for longer than one part takes: the program knows of all parts that
    /// cover it.
    pub(super) fn reveal_touching(&mut self) {
        let (now, from) = (self.now, self.covered_from);
        for part in self.on_belt.iter_mut().rev() {
            if part.front < from {
                break;
            }
            if part.silent == Some(Kind::Touching) {
                part.revealed.get_or_insert(now);
            }
        }
    }
}
