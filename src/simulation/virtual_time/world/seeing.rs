//! Camera and inspector of a simulated line, and their faults.

use super::{Delivery, Event, Frame, World};
use crate::line::gate::{PartId, PartVerdict, Reason};
use crate::simulation::faults::Kind;
use crate::simulation::virtual_time::line::{MS, Trigger};

impl World {
    /// The part that the camera sees at a belt place: the last one whose front has passed, until it
    /// has left the picture.
    fn in_view(&self, place: u64) -> u64 {
        // An index is as exact as the encoder.
        let early = if self.line.trigger == Trigger::Encoder {
            2 * self.line.count
        } else {
            0
        };
        let mut parts = self.on_belt.iter().rev();
        parts
            .find(|p| p.front <= place + early)
            .filter(|p| place.saturating_sub(p.front) < self.line.exposure_max + self.line.blur())
            .map_or(0, |p| p.number)
    }

    /// A camera whose trigger is wired exposes for part `number`.
    pub(super) fn expose(&mut self, number: u64) {
        if self.line.frame_every > 0 || self.broken.camera {
            return;
        }
        self.frames += 1;
        let key = self.frames;
        if self.strikes(Kind::LostFrame, key) {
            return;
        }
        let window = self.line.exposure_max - self.line.exposure_min;
        let after =
            self.line.exposure_min + self.draws.between(10, key, window / 10, window * 8 / 10);
        let exposed = self.now + after;
        self.expose_frame(number, exposed, key);
    }

    /// A free-running camera exposes.
    pub(super) fn frame_tick(&mut self) {
        let next = self.now + self.line.frame_every;
        self.at(next, Event::FrameTick);
        self.frames += 1;
        let key = self.frames;
        if self.broken.camera || self.strikes(Kind::LostFrame, key) {
            return;
        }
        let shows = self.in_view(self.here());
        let exposed = self.now;
        self.expose_frame(shows, exposed, key);
    }

    fn expose_frame(&mut self, shows: u64, exposed: u64, key: u64) {
        self.sequence += 1;
        let mut frame = Frame {
            id: key,
            shows,
            odd: None,
            waited: 0,
        };
        if let Some(frozen) = self.broken.frozen {
            frame = frozen;
        }
        let on_its_way = self
            .draws
            .between(11, key, MS, (self.line.delivery * 8 / 10).max(MS + 1));
        let mut arrives = exposed + on_its_way;
        let late = self.strikes(Kind::LateFrame, key);
        if late {
            let delivery = self.line.delivery;
            arrives += self.of(Kind::LateFrame, key, delivery, 4 * delivery);
        }
        let mut stamp = exposed;
        if self.strikes(Kind::WrongStamp, key) {
            stamp =
                (exposed + self.of(Kind::WrongStamp, key, 0, 240 * MS)).saturating_sub(120 * MS);
            // A frame that arrives too late and has a stamp that is too late looks fresh.
            let odd = if late {
                Kind::LateFrame
            } else {
                Kind::WrongStamp
            };
            frame.odd = frame.odd.or(Some(odd));
        }
        let damaged = self.strikes(Kind::DamagedFrame, key);
        let content = self.line.never_alike.then_some(frame.id);
        let delivery = Delivery::Frame {
            frame,
            arrived: arrives,
            stamp,
            sequence: self.sequence,
            content,
            damaged,
        };
        self.deliver(arrives, delivery);
        if self.strikes(Kind::RepeatedFrame, key) {
            let again = arrives + self.of(Kind::RepeatedFrame, key, MS, 120 * MS);
            // Some drivers give it a new number.
            let anew = self.draws.percent(12, key, 30);
            self.sequence += u64::from(anew);
            let delivery = Delivery::Frame {
                frame,
                arrived: again,
                stamp,
                sequence: self.sequence,
                content,
                damaged,
            };
            self.deliver(again, delivery);
        }
    }

    /// The camera continues with a picture that it delivered before.
    pub(super) fn freeze(&mut self, number: u64) {
        let Some(last) = self.last_frame else {
            return;
        };
        self.broken.frozen = Some(Frame {
            odd: Some(Kind::FrozenCamera),
            ..last
        });
        let thaw = self.now + self.of(Kind::FrozenCamera, number, 100 * MS, 1500 * MS);
        self.at(thaw, Event::Thaw);
    }

    /// The inspector gets `frame` for a part that was triggered at `trigger`.
    pub(super) fn inspect(&mut self, part: PartId, trigger: u64, frame: Frame) {
        let mut shown_is_silent = None;
        if let Some(shown) = self.part(frame.shows) {
            shown_is_silent = shown.silent.filter(|_| shown.revealed.is_none());
        }
        let by_encoder = self.line.trigger == Trigger::Encoder;
        let apart = self.line.pitch / 3;
        let digest = self.products.loaded();
        let mut parts = self.on_belt.iter_mut();
        if let Some(owner) = parts.find(|p| {
            p.trigger_at == trigger || (by_encoder && p.arrived.abs_diff(trigger) < apart)
        }) {
            if owner.number != frame.shows {
                // Another part's frame. The ledger decides whether the program can know that.
                owner.misled = shown_is_silent.or(frame.odd);
                owner.misled_waited = frame.waited;
            }
            if owner
                .judged_by
                .replace(digest)
                .is_some_and(|by| by != digest)
            {
                self.outcome.judged_by_two += 1;
                self.outcome.first_failure.get_or_insert(owner.number);
            }
        }
        let key = self.draw(0, u64::MAX);
        let mut takes = self.line.inspection + self.draws.between(13, key, 0, self.line.inspection);
        if self.strikes(Kind::SlowInference, key) {
            takes *= self.of(Kind::SlowInference, key, 3, 8);
        }
        if self.strikes(Kind::StuckInference, key) {
            takes = self.of(Kind::StuckInference, key, 500 * MS, 2000 * MS);
        }
        // An empty belt is no part. A part that has left is inspected anyway, which changes
        // nothing.
        let shows = frame.shows;
        let truth = self.part(shows).map_or(PartVerdict::Unknown, |p| p.truth);
        let truth = self.verdict_here(truth, shows);
        let verdict = if self.strikes(Kind::FailedInference, key) {
            Err(Reason::Failed)
        } else {
            Ok(truth)
        };
        let delivery = |verdict, shown| Delivery::Verdict {
            part,
            shown,
            verdict,
        };
        let now = self.now;
        self.deliver(now + takes, delivery(verdict, shows));
        if self.strikes(Kind::RepeatedVerdict, key) {
            let again = now + takes + self.of(Kind::RepeatedVerdict, key, MS, 100 * MS);
            // If the inspector did not give OK before, this OK is false and must not count.
            let shown = if verdict == Ok(PartVerdict::Ok) {
                shows
            } else {
                0
            };
            self.deliver(again, delivery(Ok(PartVerdict::Ok), shown));
        }
    }
}
