//! Sensor, camera and judge of a simulated line, and what breaks them.

use super::{Delivery, Event, US, World};
use crate::line::gate::{Ejector, Judgement, PartId, Reason};
use crate::simulator::faults::Kind;
use crate::simulator::model::{GATE, MS, PITCH};

impl World {
    /// A part is at the sensor and under the camera.
    pub(super) fn sensor(&mut self) {
        let (now, place) = (self.now, self.next_arrival);
        self.put_on_belt(place, GATE);
        let number = self.next_number;
        // A part that no sensor sees, closer to one that is seen than parts can be, goes by under its PASS:
        // nobody can know.
        let crowded = self.inputs_work && self.faults.strikes(Kind::Crowding);
        self.next_arrival = place
            + if crowded {
                self.faults.between(5 * MS, PITCH / 2)
            } else {
                PITCH + self.rng.below((2 * PITCH) as usize) as u64
            };
        self.break_something(now, crowded);
        self.edge(now, number);
        if self.camera_works {
            self.expose(now, number);
        }
    }

    fn edge(&mut self, now: u64, number: u64) {
        if !self.inputs_work {
            return;
        }
        // The kernel tells of a lost edge with the next one. A line that is wired to reject must hear of
        // it before that part is at the ejector: two in a row could be too long, and after the last
        // part nothing comes. A line that is wired to pass needs no such mercy.
        let heard_in_time = !self.last_edge_lost && self.next_number < self.parts;
        let may_lose = self.model.ejector == Ejector::Pass || heard_in_time;
        self.last_edge_lost = may_lose && self.faults.strikes(Kind::LostTrigger);
        if self.last_edge_lost {
            self.lost_edges += 1;
            return;
        }
        let mut delay = 20 * US + self.rng.below(60) as u64 * US;
        if self.faults.strikes(Kind::SlowTrigger) {
            delay += self.faults.between(MS, 20 * MS);
        }
        // One line's edges arrive in their order.
        let arrives = (now + delay).max(self.last_trigger_delivery + 1);
        self.last_trigger_delivery = arrives;
        let lost = std::mem::take(&mut self.lost_edges);
        let trigger = |at, lost, physical| Delivery::Trigger { at, lost, physical };
        self.deliver(arrives, trigger(now, lost, Some(number)));
        let mut extra = None;
        if self.faults.strikes(Kind::Bounce) {
            extra = Some(self.faults.between(10 * US, MS));
        } else if self.faults.strikes(Kind::DoubleTrigger) {
            extra = Some(self.faults.between(2 * MS, 30 * MS));
        }
        if let Some(after) = extra {
            self.last_trigger_delivery = (now + after).max(arrives) + 1;
            self.deliver(self.last_trigger_delivery, trigger(now + after, 0, None));
        }
    }

    fn expose(&mut self, now: u64, number: u64) {
        if self.faults.strikes(Kind::LostFrame) {
            return;
        }
        let mut exposed = now + 2 * MS + self.rng.below(8_000) as u64 * US;
        let mut arrives = exposed + 5 * MS + self.rng.below(15_000) as u64 * US;
        if self.faults.strikes(Kind::LateFrame) {
            arrives += self.faults.between(60 * MS, 150 * MS);
        }
        if self.faults.strikes(Kind::WrongStamp) {
            exposed = (exposed + self.faults.between(0, 240 * MS)).saturating_sub(120 * MS);
        }
        let damaged = self.faults.strikes(Kind::DamagedFrame);
        let frame = Delivery::Frame {
            physical: number,
            exposed,
            damaged,
        };
        self.deliver(arrives, frame);
        if self.faults.strikes(Kind::RepeatedFrame) {
            let again = arrives + self.faults.between(MS, 120 * MS);
            self.deliver(again, frame);
        }
    }

    /// The faults that last.
    fn break_something(&mut self, now: u64, crowded: bool) {
        if self.camera_works && self.faults.strikes(Kind::Unplug) {
            self.at(now, Event::Camera(false));
            let back = now + self.faults.between(200 * MS, 1500 * MS);
            self.at(back, Event::Camera(true));
        }
        if self.encoder_works && self.faults.strikes(Kind::DeadEncoder) {
            self.at(now, Event::Encoder(false));
            let back = now + self.faults.between(2 * MS, 1000 * MS);
            self.at(back, Event::Encoder(true));
        }
        if self.inputs_work && !crowded && self.faults.strikes(Kind::DeadInputs) {
            self.at(now, Event::Inputs(false));
            let back = now + self.faults.between(50 * MS, 1500 * MS);
            self.at(back, Event::Inputs(true));
        }
        if self.outputs_work && self.controller.is_some() && self.faults.strikes(Kind::LostOutputs)
        {
            self.at(now, Event::Outputs(false));
            let back = now + self.faults.between(100 * MS, 1000 * MS);
            self.at(back, Event::Outputs(true));
        }
        if self.faults.strikes(Kind::GateStall) {
            self.stalled_until = now + self.faults.between(5 * MS, 50 * MS);
        }
        if self.controller.is_some() && self.outputs_work && self.faults.strikes(Kind::ProcessDeath)
        {
            self.die();
        }
    }

    pub(super) fn judge(&mut self, part: PartId, shown: u64) {
        let mut takes = 8 * MS + self.rng.below(17_000) as u64 * US;
        if self.faults.strikes(Kind::SlowInference) {
            takes *= self.faults.between(3, 8);
        }
        if self.faults.strikes(Kind::StuckInference) {
            takes = self.faults.between(500 * MS, 2000 * MS);
        }
        let truth = self.on_belt.iter().find(|p| p.number == shown);
        // A picture of a part that has left is judged all the same; it can change nothing.
        let truth = truth.map_or(Judgement::Ng, |p| p.truth);
        let verdict = if self.faults.strikes(Kind::FailedInference) {
            Err(Reason::Failed)
        } else {
            Ok(truth)
        };
        let answer = |verdict| Delivery::Verdict {
            part,
            shown,
            verdict,
        };
        self.deliver(self.now + takes, answer(verdict));
        if self.faults.strikes(Kind::RepeatedVerdict) {
            let again = self.faults.between(MS, 100 * MS);
            if verdict == Ok(Judgement::Ok) {
                self.deliver(self.now + takes + again, answer(Ok(Judgement::Ok)));
            } else {
                // Not what the judge said of this picture: it must not count.
                let lie = Delivery::Verdict {
                    part,
                    shown: u64::MAX,
                    verdict: Ok(Judgement::Ok),
                };
                self.deliver(self.now + takes + again, lie);
            }
        }
    }
}
