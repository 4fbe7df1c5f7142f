//! The trials of the gate, in this order, and their expected results.

use crate::belt::{Belt, SETTLING, ms, now, sleep_until};
use crate::gate::{self, Gate};
use crate::parts::Part;
use crate::pins::{FAULT, HEARTBEAT, OK, PASS, READY, REJECT};
use crate::report::Report;
use crate::video::{self, Scene};
use rustix::process::Signal;
use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};
use std::io::Result;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

/// Longest wait for READY: an emulated processor needs long to read the bundle and to load the
/// network.
const START: Duration = Duration::from_secs(120);

/// A line under test.
pub struct Trials<'a> {
    pub belt: Belt,
    pub gate: Gate,
    pub report: &'a mut Report,
    /// The parts, in the order in which they come.
    pub parts: &'a [Part],
}

/// Alternates parts that may pass and parts that must not, as long as both last.
pub fn mixed(parts: Vec<Part>) -> Vec<Part> {
    let (good, bad): (Vec<_>, Vec<_>) = parts.into_iter().partition(Part::may_pass);
    let (mut good, mut bad) = (good.into_iter(), bad.into_iter());
    let mut mixed = Vec::new();
    loop {
        let pair = [good.next(), bad.next()];
        if pair.iter().all(Option::is_none) {
            return mixed;
        }
        mixed.extend(pair.into_iter().flatten());
    }
}

/// Smallest, median and largest value, in milliseconds.
fn spread(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    match (values.first(), values.get(values.len() / 2), values.last()) {
        (Some(least), Some(median), Some(most)) => {
            format!("{least:.2} / {median:.2} / {most:.2} ms (least / median / most)")
        }
        _ => "none".to_owned(),
    }
}

impl<'a> Trials<'a> {
    fn first(&self, may_pass: bool) -> Option<&'a Part> {
        self.parts.iter().find(|part| part.may_pass() == may_pass)
    }

    /// Waits until the line can run again.
    fn ready(&mut self, since: u64, after: &str) -> Result<bool> {
        let ready = self.belt.ready(since, START)?;
        let (lines, clear) = ready.unwrap_or_default();
        Ok(self.report.check(
            ready.is_some(),
            format_args!(
                "READY {:.0} ms after {after}, the belt clear after {:.0} ms",
                ms(lines),
                ms(clear)
            ),
        ))
    }

    /// Sends parts along the belt, at half the distance to the ejector. Returns their triggers
    /// after the last one has left.
    fn send(&mut self, parts: impl Iterator<Item = &'a Part>) -> Result<Vec<(&'a Part, u64)>> {
        let mut sent: Vec<(&Part, u64)> = Vec::new();
        for part in parts {
            if let Some((_, before)) = sent.last() {
                sleep_until(before + self.belt.settings.after / 2 - SETTLING);
            }
            sent.push((part, self.belt.place(part)?));
        }
        if let Some((_, last)) = sent.last() {
            self.belt.leave(*last);
        }
        Ok(sent)
    }

    /// Checks that the line works as before: a good part passes and a bad part does not.
    fn works(&mut self) -> Result<()> {
        let both = [self.first(true), self.first(false)];
        for (part, trigger) in self.send(both.into_iter().flatten())? {
            let outcome = self.belt.outcome(trigger);
            self.report.check(
                outcome.is_right_for(part),
                format_args!("{} is {} again: {outcome}", part.name, part.verdict),
            );
        }
        Ok(())
    }

    /// Checks that the part of this trigger was rejected.
    fn was_rejected(&mut self, trigger: u64, part: &str) {
        let outcome = self.belt.outcome(trigger);
        self.report.check(
            outcome.rejected && self.belt.changes(PASS, true, trigger) == 0,
            format_args!("{part} is rejected: {outcome}"),
        );
    }

    /// Checks that an output went to a level within `at_most` of an event.
    fn goes(&mut self, line: usize, up: bool, since: u64, at_most: u64, what: &str) -> Result<()> {
        let already = self.belt.pins.level(line)? == up;
        let change = self
            .belt
            .recorder
            .wait_for(line, up, since, Duration::from_micros(at_most));
        let took = change.map(|c| c.at - since);
        self.report.check(
            took.is_some_and(|took| took <= at_most),
            match took {
                Some(took) => format!("{what} after {:.1} ms", ms(took)),
                None if already => format!("{what}: it was so before"),
                None => format!("{what}: not within {:.1} ms", ms(at_most)),
            },
        );
        Ok(())
    }

    /// The start: nothing passes before READY.
    pub fn start(&mut self, since: u64) -> Result<bool> {
        let ready = self.ready(since, "the start")?;
        self.report.check(
            self.belt.changes(PASS, true, since) == 0,
            "PASS was off until the first part",
        );
        if ready {
            let status = Gate::status(crate::CONFIG)?;
            self.report.check(
                status["ready"] == true
                    && status["pid"].as_i64() == self.gate.vision().map(i64::from),
                format_args!("partgate tell: {status}"),
            );
        }
        Ok(ready)
    }

    /// The gate decides on every part as `partgate score` does on its picture.
    pub fn verdicts(&mut self) -> Result<()> {
        let began = now();
        let sent = self.send(self.parts.iter())?;
        let (mut starts, mut lengths, mut equal) = (Vec::new(), Vec::new(), 0);
        for (part, trigger) in &sent {
            let outcome = self.belt.outcome(*trigger);
            let right = outcome.is_right_for(part);
            equal += usize::from(right);
            println!(
                "part    {:<28} score {:7.3}  expected {:<8} {outcome}{}",
                part.name,
                part.score,
                part.verdict,
                if right { "" } else { "  <- WRONG" }
            );
            if let Some((start, length)) = outcome.pulse {
                starts.push(ms(start) - ms(self.belt.settings.after));
                lengths.push(ms(length));
            }
        }
        let count = self.parts.len();
        let good = self.parts.iter().filter(|p| p.may_pass()).count();
        let report = &mut *self.report;
        report.check(
            equal == count && good > 0 && good < count,
            format_args!(
                "{equal} of {count} parts as expected ({good} OK, {} not)",
                count - good
            ),
        );
        let falls = self.belt.changes(READY, false, began);
        report.check(falls == 0, "READY all the time");
        let pulses = self.belt.changes(PASS, true, began);
        report.check(
            pulses == good,
            format_args!("{pulses} PASS pulses for {good} good parts"),
        );
        let settings = self.belt.settings;
        let worst = starts.iter().copied().fold(0.0, f64::max);
        report.check(
            starts.iter().all(|&s| s >= 0.0) && worst <= ms(settings.late),
            format_args!(
                "PASS begins {} after its time of {:.0} ms; allowed {:.0} ms",
                spread(starts),
                ms(settings.after),
                ms(settings.late)
            ),
        );
        let short = lengths
            .iter()
            .any(|&l| l > ms(settings.pulse + settings.late));
        report.check(
            !short && !lengths.is_empty(),
            format_args!(
                "PASS is on for {}; set {:.0} ms",
                spread(lengths),
                ms(settings.pulse)
            ),
        );
        let ok = self.belt.changes(OK, true, began);
        let beats = self.belt.changes(HEARTBEAT, true, began);
        report.check(
            ok == good && beats > 0,
            format_args!("OK {ok} times, HEARTBEAT {beats} times"),
        );
        match gate::metrics() {
            Ok(lines) => {
                for line in &lines {
                    println!("metric  {line}");
                }
            }
            Err(error) => report.broken(format_args!("metrics: {error}")),
        }
        Ok(())
    }

    /// The camera delivers no frame while a part is in view.
    pub fn no_frames(&mut self) -> Result<()> {
        let (Some(part), Some(scene)) = (self.first(true), &self.belt.scene) else {
            return Ok(());
        };
        scene.inject("Percentage of Dropped Buffers", 100)?;
        let since = now();
        let trigger = self.belt.place(part)?;
        let limit = self.belt.settings.camera + 1_000_000;
        self.goes(READY, false, since, limit, "camera silent: READY off")?;
        self.belt.leave(trigger);
        self.was_rejected(trigger, "a good part that no frame shows");
        if let Some(scene) = &self.belt.scene {
            scene.inject("Percentage of Dropped Buffers", 0)?;
        }
        self.ready(now(), "the camera delivers frames again")?;
        self.works()
    }

    /// Two parts that touch each other.
    pub fn double_trigger(&mut self) -> Result<()> {
        let Some(part) = self.first(true) else {
            return Ok(());
        };
        let first = self.belt.place(part)?;
        sleep(Duration::from_micros(self.belt.settings.pitch / 4));
        let second = self.belt.trip()?;
        self.belt.leave(second);
        if second - first >= self.belt.settings.pitch {
            self.report.broken(format_args!(
                "the test machine stopped for a while: {:.0} ms between two triggers meant to be closer than {:.0} ms",
                ms(second - first),
                ms(self.belt.settings.pitch)
            ));
            return Ok(());
        }
        self.was_rejected(first, "a good part with another too close behind it");
        self.was_rejected(second, "a part too close behind another");
        Ok(())
    }

    /// The wall clock is set while a part is on its way. Nothing must change.
    pub fn clock_step(&mut self) -> Result<()> {
        let wall = |by: i64| {
            let t = clock_gettime(ClockId::Realtime);
            clock_settime(
                ClockId::Realtime,
                Timespec {
                    tv_sec: t.tv_sec + by,
                    ..t
                },
            )
        };
        for (by, what) in [(86_400, "a day ahead"), (-86_400, "back again")] {
            let Some(part) = self.first(true) else {
                return Ok(());
            };
            let trigger = self.belt.place(part)?;
            wall(by)?;
            self.belt.leave(trigger);
            let outcome = self.belt.outcome(trigger);
            self.report.check(
                outcome.passed && self.belt.pins.level(READY)?,
                format_args!("wall clock {what}: {} passes: {outcome}", part.name),
            );
        }
        Ok(())
    }

    /// The camera is unplugged while a good part is on its way, and plugged in again.
    pub fn unplug(&mut self) -> Result<()> {
        let Some(part) = self.first(true) else {
            return Ok(());
        };
        let under_way = self.belt.place(part)?;
        sleep(Duration::from_micros(self.belt.settings.exposure * 2));
        self.belt.scene = None;
        let since = now();
        video::unplug()?;
        let limit = self.belt.settings.camera + 1_000_000;
        self.goes(READY, false, since, limit, "camera unplugged: READY off")?;
        self.report
            .check(self.belt.pins.level(FAULT)?, "camera unplugged: FAULT on");
        let without = self.belt.place(part)?;
        self.belt.leave(without);
        self.was_rejected(under_way, "the good part under way");
        self.was_rejected(without, "a good part that comes without a camera");
        self.report.check(
            !self.belt.pins.level(READY)? && !Path::new("/dev/video0").exists(),
            "READY is still off",
        );
        let since = now();
        video::plug_in()?;
        self.belt.scene = Some(Scene::set_up(&part.rgb)?);
        self.ready(since, "the camera was plugged in")?;
        self.works()
    }

    /// The vision process dies or stops while a good part is on its way.
    pub fn vision(&mut self, signal: Signal, what: &str) -> Result<()> {
        let Some(part) = self.first(true) else {
            return Ok(());
        };
        let under_way = self.belt.place(part)?;
        sleep(Duration::from_millis(500));
        let since = now();
        let pid = self.gate.signal_vision(signal)?;
        let limit = self.belt.settings.lease + self.belt.settings.late;
        self.goes(READY, false, since, limit, &format!("{what}: READY off"))?;
        self.belt.leave(under_way);
        self.was_rejected(under_way, "the good part under way");
        self.ready(since, what)?;
        self.report.check(
            self.gate.vision().is_some_and(|new| new != pid) && !gate::alive(pid),
            "another vision process is at work, the old one is gone",
        );
        self.works()
    }

    /// The vision process dies while PASS is on.
    pub fn killed_while_passing(&mut self) -> Result<()> {
        let Some(part) = self.first(true) else {
            return Ok(());
        };
        let trigger = self.belt.place(part)?;
        let at_most = Duration::from_micros(self.belt.settings.after + 1_000_000);
        let on = self.belt.recorder.wait_for(PASS, true, trigger, at_most);
        self.report.check(on.is_some(), "PASS is on");
        let since = now();
        self.gate.signal_vision(Signal::KILL)?;
        let limit = self.belt.settings.lease + self.belt.settings.late;
        self.goes(
            PASS,
            false,
            since,
            limit,
            "killed while PASS is on: PASS off",
        )?;
        self.goes(
            READY,
            false,
            since,
            limit,
            "killed while PASS is on: READY off",
        )?;
        self.goes(
            REJECT,
            true,
            since,
            limit,
            "killed while PASS is on: REJECT on",
        )?;
        self.ready(since, "the kill")?;
        Ok(())
    }

    /// After a request to end, the program ends in an orderly way, and the line is stopped.
    pub fn terminate(&mut self) -> Result<()> {
        let since = now();
        self.gate.signal(Signal::TERM)?;
        let status = self.gate.ended(Duration::from_secs(10))?;
        self.report.check(
            status.is_some_and(|s| s.success()),
            format_args!(
                "SIGTERM: ended with {} after {:.0} ms",
                status.map_or("nothing".to_owned(), |s| s.to_string()),
                ms(now() - since)
            ),
        );
        self.report.check(
            !self.belt.pins.level(READY)? && !self.belt.pins.level(PASS)?,
            "READY and PASS are off",
        );
        Ok(())
    }

    /// The supervisor dies. The kernel releases the outputs, and the resistors give their levels.
    pub fn supervisor_killed(&mut self) -> Result<()> {
        let vision = self.gate.vision();
        let since = now();
        self.gate.signal(Signal::KILL)?;
        let limit = self.belt.settings.lease + self.belt.settings.late;
        self.goes(READY, false, since, limit, "supervisor killed: READY off")?;
        sleep(Duration::from_secs(2));
        self.report.check(
            vision.is_some_and(|pid| !gate::alive(pid)),
            "the vision process has ended too",
        );
        let part = self.first(true);
        if let Some(part) = part {
            let trigger = self.belt.place(part)?;
            self.belt.leave(trigger);
            self.report.check(
                self.belt.changes(PASS, true, since) == 0,
                "nothing passes any more",
            );
        }
        Ok(())
    }
}
