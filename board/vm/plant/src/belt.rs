//! The belt: parts come before the camera and trip the sensor. The outputs of the gate show what
//! it does with them.

use crate::parts::Part;
use crate::pins::{PASS, Pins, READY, REJECT, TRIGGER};
use crate::recorder::{Change, Recorder};
use crate::settings::Settings;
use crate::video::Scene;
use rustix::time::{ClockId, clock_gettime};
use std::fmt;
use std::io::{Error, Result};
use std::thread::sleep;
use std::time::Duration;

/// Time from showing a part until the camera surely sees it, microseconds: two frames of the
/// output, two of the camera, and as much again.
pub const SETTLING: u64 = 200_000;

/// CLOCK_MONOTONIC in microseconds, as in the recorder.
pub fn now() -> u64 {
    let t = clock_gettime(ClockId::Monotonic);
    t.tv_sec as u64 * 1_000_000 + t.tv_nsec as u64 / 1000
}

/// Microseconds as milliseconds for people.
pub fn ms(us: u64) -> f64 {
    us as f64 / 1000.0
}

/// Sleeps until the time `at` of [`now`].
pub fn sleep_until(at: u64) {
    sleep(Duration::from_micros(at.saturating_sub(now())));
}

/// What the gate did with one part.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// PASS was on in the middle of the part's pulse, REJECT was off.
    pub passed: bool,
    /// REJECT was on in the middle of the part's pulse, PASS was off.
    pub rejected: bool,
    /// Begin of the PASS pulse after the trigger, and its length, microseconds.
    pub pulse: Option<(u64, u64)>,
}

impl Outcome {
    /// Whether it agrees with the part's expected verdict.
    pub fn is_right_for(&self, part: &Part) -> bool {
        if part.may_pass() {
            self.passed
        } else {
            self.rejected
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.passed, self.rejected, self.pulse) {
            (true, _, Some((start, length))) => {
                write!(f, "PASS at {:.1} ms for {:.1} ms", ms(start), ms(length))
            }
            (true, ..) => f.write_str("PASS without end"),
            (_, true, _) => f.write_str("REJECT"),
            _ => f.write_str("neither PASS nor REJECT alone"),
        }
    }
}

/// The belt with its sensor.
pub struct Belt {
    pub pins: Pins,
    pub recorder: Recorder,
    pub settings: Settings,
    /// None while the camera is unplugged.
    pub scene: Option<Scene>,
    /// Times of all triggers so far, microseconds.
    pub triggers: Vec<u64>,
}

impl Belt {
    /// Brings a part before the camera, waits until it is in view, and trips the sensor. Returns
    /// the time of the trigger as the kernel saw it.
    pub fn place(&mut self, part: &Part) -> Result<u64> {
        if let Some(scene) = &mut self.scene {
            scene.show(&part.rgb)?;
            sleep(Duration::from_micros(SETTLING));
        }
        self.trip()
    }

    /// Trips the sensor. Returns the time of the trigger.
    pub fn trip(&mut self) -> Result<u64> {
        let before = now();
        self.pins.pull(TRIGGER, true)?;
        let edge = self
            .recorder
            .wait_for(TRIGGER, true, before, Duration::from_secs(2))
            .ok_or_else(|| Error::other("the recorder did not see the trigger"))?;
        sleep(Duration::from_millis(5));
        self.pins.pull(TRIGGER, false)?;
        self.triggers.push(edge.at);
        Ok(edge.at)
    }

    /// Waits until the part's pulse is over.
    pub fn leave(&self, trigger: u64) {
        sleep_until(
            trigger + self.settings.after + self.settings.pulse + self.settings.late + 50_000,
        );
    }

    /// Level of a pin at a time.
    fn level_at(changes: &[Change], line: usize, at: u64) -> bool {
        let mut before = changes.iter().filter(|c| c.line == line && c.at <= at);
        before.next_back().is_some_and(|c| c.up)
    }

    /// What the gate did with the part of this trigger. To be called after the part has left.
    pub fn outcome(&self, trigger: u64) -> Outcome {
        let changes = self.recorder.changes();
        let due = trigger + self.settings.after;
        let middle = due + self.settings.pulse / 2;
        let pass = Self::level_at(&changes, PASS, middle);
        let reject = Self::level_at(&changes, REJECT, middle);
        let of_pass = || changes.iter().filter(|c| c.line == PASS);
        let begin = of_pass().rfind(|c| c.up && c.at <= middle).filter(|_| pass);
        let end = of_pass().find(|c| !c.up && c.at > middle);
        Outcome {
            passed: pass && !reject,
            rejected: reject && !pass,
            pulse: begin
                .zip(end)
                .map(|(begin, end)| (begin.at.saturating_sub(trigger), end.at - begin.at)),
        }
    }

    /// How many times a pin went to a level at or after `since`.
    pub fn changes(&self, line: usize, up: bool, since: u64) -> usize {
        let changes = self.recorder.changes();
        let such = |c: &&Change| c.line == line && c.up == up && c.at >= since;
        changes.iter().filter(such).count()
    }

    /// Waits until the line can run: READY is on, and REJECT is off because no unknown part is
    /// between sensor and ejector. Returns how long each took.
    pub fn ready(&self, since: u64, at_most: Duration) -> Result<Option<(u64, u64)>> {
        let until = now() + at_most.as_micros() as u64;
        let mut ready = None;
        while now() < until {
            if self.pins.level(READY)? {
                let at = *ready.get_or_insert_with(now);
                if !self.pins.level(REJECT)? {
                    return Ok(Some((at - since, now() - since)));
                }
            } else {
                ready = None;
            }
            sleep(Duration::from_millis(5));
        }
        Ok(None)
    }
}
