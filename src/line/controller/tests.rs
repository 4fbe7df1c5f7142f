//! The controller's promises: one job at a time, every frame returned, a verdict on every part.

mod commands;
mod inspection;
mod places;

use super::*;
use crate::line::gate::{Decision, Ejector};
use crate::time::{Counts, Duration, Instant, Span};
use proptest::prelude::*;
use std::collections::BTreeMap;

const MS: u64 = 1_000_000;

/// Gate 100 ms after the trigger, frames exposed up to 15 ms after it and up to 30 ms on their way, 50
/// ms per inspection.
fn settings() -> ControllerSettings {
    let ms = |ms| Span::Time(Duration(ms * MS));
    let gate = Settings {
        min_off: ms(5),
        late_output: Duration(3 * MS),
        max_waiting: 6,
        heartbeat: Duration(50 * MS),
        fault_hold: Duration(40 * MS),
        ..Settings::plain(ms(100), ms(15), Ejector::Pass, Duration(20 * MS))
    };
    let pairing = PairingSettings {
        exposure_min: Duration::ZERO,
        exposure_max: Duration(15 * MS),
        delivery: Duration(30 * MS),
    };
    ControllerSettings::plain(gate, pairing, Duration(50 * MS))
}

/// A controller, its clock, and everything that it emitted. Frames are numbers.
struct Run {
    controller: Controller<u64>,
    clock: u64,
    reported: Vec<Command<u64>>,
    frames: u64,
}

impl Run {
    /// A controller that is ready, with an empty belt.
    fn new(settings: ControllerSettings) -> Self {
        let mut run = Self {
            controller: Controller::new(settings, Instant(0)).expect("settings"),
            clock: 0,
            reported: Vec::new(),
            frames: 0,
        };
        run.fault(Fault::Starting, false);
        run.wait(200);
        run.reported.clear();
        run
    }

    fn now(&self) -> Instant {
        Instant(self.clock)
    }

    /// Lets `ms` pass; calls the controller whenever it asks for it.
    fn wait(&mut self, ms: u64) {
        let end = self.clock + ms * MS;
        loop {
            self.clock = self.controller.deadline().0.clamp(self.clock, end);
            let now = self.now();
            self.controller.tick(now, &mut |c| self.reported.push(c));
            if self.clock == end {
                return;
            }
        }
    }

    fn trigger(&mut self) {
        let now = self.now();
        self.controller
            .trigger(now, 0, now, &mut |c| self.reported.push(c));
    }

    /// A frame that was exposed now.
    fn frame(&mut self) -> u64 {
        self.frame_of(self.clock, false)
    }

    fn frame_of(&mut self, exposed: u64, damaged: bool) -> u64 {
        self.frames += 1;
        let now = self.now();
        self.controller.frame(
            self.frames,
            FrameInfo {
                exposed: Instant(exposed),
                sequence: self.frames,
                content: None,
                damaged,
            },
            now,
            &mut |c| {
                self.reported.push(c);
            },
        );
        self.frames
    }

    fn verdict(&mut self, part: u64) {
        let now = self.now();
        self.controller
            .verdict(PartId(part), Ok(PartVerdict::Ok), now, &mut |c| {
                self.reported.push(c);
            });
    }

    fn fault(&mut self, fault: Fault, present: bool) {
        let now = self.now();
        self.controller
            .fault(fault, present, now, &mut |c| self.reported.push(c));
    }

    fn count(&mut self, lost: u32) {
        let now = self.now();
        self.controller
            .encoder(now, lost, now, &mut |c| self.reported.push(c));
    }

    /// Parts and frames that were given to the inspector.
    fn jobs(&self) -> Vec<(u64, u64)> {
        let jobs = self.reported.iter().filter_map(|c| match c {
            Command::PartInspector { part, frame, .. } => Some((part.0, *frame)),
            _ => None,
        });
        jobs.collect()
    }

    fn freed(&self) -> Vec<(u64, Option<Unused>)> {
        let freed = self.reported.iter().filter_map(|c| match c {
            Command::Free(frame, why) => Some((*frame, *why)),
            _ => None,
        });
        freed.collect()
    }

    fn decisions(&self) -> Vec<Decision> {
        let decided = self.reported.iter().filter_map(|c| match c {
            Command::Gate(Action::Decided(decision)) => Some(*decision),
            _ => None,
        });
        decided.collect()
    }

    /// The last level of `output` that was emitted.
    fn stated(&self, output: Output) -> Option<bool> {
        self.reported.iter().rev().find_map(|c| match *c {
            Command::Gate(Action::Set { output: l, on, .. }) if l == output => Some(on),
            _ => None,
        })
    }

    /// Every time that `fault` began or ended.
    fn changes(&self, of: Fault) -> Vec<bool> {
        let changes = self.reported.iter().filter_map(|c| match c {
            Command::Gate(Action::Fault { fault, present }) if *fault == of => Some(*present),
            _ => None,
        });
        changes.collect()
    }
}

#[test]
fn the_inspector_has_one_job_at_a_time() {
    let mut run = Run::new(settings());
    run.trigger();
    run.wait(5);
    run.frame();
    assert_eq!(run.jobs(), [(1, 1)]);
    run.wait(20);
    run.trigger();
    run.frame();
    assert_eq!(run.jobs(), [(1, 1)]);
    run.verdict(1);
    assert_eq!(run.jobs(), [(1, 1), (2, 2)]);
    run.verdict(2);
    run.wait(150);
    let passed: Vec<_> = run.decisions().iter().map(|d| d.rejected).collect();
    assert_eq!(passed, [None, None]);
    assert_eq!(run.freed(), []);
}

#[test]
fn an_answer_for_another_part_does_not_bring_the_next_job() {
    let mut run = Run::new(settings());
    run.trigger();
    run.frame();
    run.wait(25);
    run.trigger();
    run.frame();
    run.verdict(7);
    assert_eq!(run.jobs(), [(1, 1)]);
}

#[test]
fn the_job_of_a_decided_part_is_skipped() {
    let patient = ControllerSettings {
        inspection: Duration(10_000 * MS),
        ..settings()
    };
    let mut run = Run::new(patient);
    run.trigger();
    run.frame();
    run.wait(25);
    run.trigger();
    run.frame();
    run.wait(150);
    run.trigger();
    run.frame();
    assert_eq!(run.freed(), []);
    run.verdict(1);
    // The second part has left; a verdict on the third still counts.
    assert_eq!(run.jobs(), [(1, 1), (3, 3)]);
    assert_eq!(run.freed(), [(2, None)]);
    assert_eq!(run.controller.frames().skipped, 1);
    let late_verdicts = run.controller.counters().late_verdicts;
    assert_eq!(late_verdicts, 1, "nobody answers for the second");
    let late = run
        .decisions()
        .iter()
        .map(|d| d.rejected)
        .collect::<Vec<_>>();
    assert_eq!(late, [Some(Reason::Late), Some(Reason::Late)]);
}

#[test]
fn a_part_that_is_rejected_while_it_waits_is_not_inspected() {
    let mut run = Run::new(settings());
    run.trigger();
    run.frame();
    run.wait(25);
    run.trigger();
    run.frame();
    // Whatever the verdict is, all parts on the line are rejected.
    run.fault(Fault::Inputs, true);
    run.verdict(1);
    assert_eq!(run.jobs(), [(1, 1)]);
    assert_eq!(run.freed(), [(2, None)]);
    assert!(!run.controller.level(Output::Busy));
    assert_eq!(run.stated(Output::Busy), Some(false));
}

#[test]
fn inspection_too_long_is_a_fault_until_the_answer() {
    let mut run = Run::new(settings());
    // At a time when HEARTBEAT is not due as well.
    run.wait(13);
    run.trigger();
    run.frame();
    run.wait(49);
    assert!(run.controller.fresh());
    assert_eq!(run.controller.deadline(), run.now().after(Duration(MS)));
    run.wait(1);
    assert!(!run.controller.fresh());
    run.wait(300);
    assert_eq!(run.changes(Fault::Inference), [true]);
    run.verdict(1);
    assert_eq!(run.changes(Fault::Inference), [true, false]);
    assert!(run.controller.fresh());
}

fn pockets() -> ControllerSettings {
    let of = settings();
    ControllerSettings {
        gate: Settings {
            gate: Span::Counts(Counts(20)),
            pulse: Span::Counts(Counts(3)),
            min_off: Span::Counts(Counts(1)),
            ..of.gate
        },
        every_counts: Some(Counts(4)),
        ..of
    }
}

#[test]
fn the_encoder_makes_a_part_every_so_many_counts() {
    let mut run = Run::new(pockets());
    let mut parts = Vec::new();
    for _ in 0..13 {
        run.wait(10);
        run.count(0);
        parts.push(run.controller.counters().parts);
    }
    assert_eq!(parts, [0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3]);
}

#[test]
fn lost_counts_move_no_pocket_and_pockets_that_went_by_are_rejected() {
    let mut run = Run::new(pockets());
    let mut parts = Vec::new();
    // The belt stands at 1, 5, 8, 20, 23, 24 counts; pockets are at 4, 8, 12 and so on.
    for lost in [0, 3, 2, 11, 2, 0] {
        run.wait(10 * u64::from(lost + 1));
        run.count(lost);
        parts.push(run.controller.counters().parts);
    }
    assert_eq!(parts, [0, 1, 2, 5, 5, 6]);
    assert_eq!(run.controller.counters().lost_triggers, 2);
}

#[test]
fn a_frame_that_finds_the_queue_full_is_an_overload_of_its_part() {
    let of = settings();
    let long = ControllerSettings {
        gate: Settings {
            gate: Span::Time(Duration(5_000 * MS)),
            capacity: 64,
            max_waiting: 64,
            ..of.gate
        },
        inspection: Duration(20_000 * MS),
        ..of
    };
    let mut run = Run::new(long);
    run.wait(6_000);
    let all = MAX_JOBS as u64 + 2;
    for n in 1..=all {
        run.trigger();
        let exposed = run.clock;
        if n == all {
            // What is due by then is emitted all the same.
            run.clock = run.controller.gate.deadline().0;
        }
        run.frame_of(exposed, false);
        run.wait(25);
    }
    let heartbeat = run.controller.level(Output::Heartbeat);
    assert_eq!(run.stated(Output::Heartbeat), Some(heartbeat));
    assert_eq!(run.jobs(), [(1, 1)]);
    assert_eq!(run.freed(), [(all, None)]);
    assert_eq!(run.controller.frames().skipped, 1);
    for part in 1..all {
        run.verdict(part);
    }
    run.wait(6_000);
    let why: Vec<_> = run.decisions().iter().filter_map(|d| d.rejected).collect();
    // The neighbouring parts have their own pulses, 25 ms apart.
    assert_eq!(why, [Reason::Overload]);
    assert_eq!(run.decisions().len() as u64, all);
}

#[test]
fn a_lost_camera_gives_back_its_frames_and_its_parts_go_without() {
    let mut run = Run::new(settings());
    run.frame();
    run.wait(20);
    run.trigger();
    assert!(run.controller.level(Output::Busy));
    assert_eq!(run.freed(), []);
    run.fault(Fault::Camera, true);
    assert_eq!(run.freed(), [(1, Some(Unused::Unclaimed))]);
    assert!(!run.controller.level(Output::Busy));
    assert!(run.controller.fresh(), "a watchdog brings no camera back");
    // A camera whose time stamps begin again is accepted.
    run.fault(Fault::Camera, false);
    let exposed = run.clock - 25 * MS;
    run.frame_of(exposed, false);
    assert_eq!(run.controller.frames().stale, 0);
}

/// Random events on a line: which one, how many milliseconds after the last, and whether in the unusual
/// form.
fn steps() -> impl Strategy<Value = Vec<(u8, u64, bool)>> {
    proptest::collection::vec((0u8..10, 0u64..14, any::<bool>()), 1..300)
}

proptest! {
    #[test]
    fn every_frame_comes_out_once_and_every_part_is_answered_once(steps in steps()) {
        let mut run = Run::new(settings());
        let (mut at_the_inspector, mut seen) = (None, 0);
        let mut wanted = 0;
        let mut stamps = BTreeMap::new();
        for (kind, ms, odd) in steps {
            run.wait(ms);
            match kind {
                0..=2 => {
                    let before = run.controller.counters().parts;
                    run.trigger();
                    let part = PartId(run.controller.counters().parts);
                    // A bounce makes no part, and a part that is rejected at once needs no verdict.
                    if part.0 > before && run.controller.gate.undecided(part) {
                        wanted += 1;
                    }
                }
                3..=5 => {
                    let exposed = run.clock - if odd { ms * MS } else { 0 };
                    let frame = run.frame_of(exposed, odd && ms > 11);
                    stamps.insert(frame, exposed);
                }
                6 => run.fault(Fault::Camera, odd),
                _ => {
                    if let Some(part) = at_the_inspector.take() {
                        run.verdict(part);
                    }
                }
            }
            // The queue never fills up here: a part that finds it full is rejected at its trigger.
            while run.controller.jobs.len() > MAX_JOBS / 2 {
                let Some((part, _)) = run.controller.inspection else {
                    break;
                };
                at_the_inspector = None;
                run.verdict(part.0);
            }
            for command in &run.reported[seen..] {
                if let Command::PartInspector { part, .. } = command {
                    at_the_inspector = Some(part.0);
                }
            }
            seen = run.reported.len();
            prop_assert_eq!(at_the_inspector, run.controller.inspection.map(|(part, _)| part.0));
        }
        // Every part leaves the belt.
        run.fault(Fault::Camera, false);
        while let Some((part, _)) = run.controller.inspection {
            run.verdict(part.0);
        }
        run.wait(200);
        while let Some((part, _)) = run.controller.inspection {
            run.verdict(part.0);
        }
        prop_assert_eq!(run.controller.under_way(), 0);
        prop_assert!(run.controller.jobs.is_empty());

        let mut out = BTreeMap::new();
        let mut inspected = BTreeMap::new();
        let (mut open, mut answered) = (None, 0);
        for command in &run.reported {
            match command {
                Command::PartInspector { part, trigger, frame, exposed } => {
                    prop_assert_eq!(stamps[frame], exposed.0);
                    prop_assert!(exposed.since(*trigger) <= Duration(15 * MS) && exposed >= trigger);
                    prop_assert!(inspected.insert(part.0, *frame).is_none(), "inspected twice");
                    prop_assert!(open.is_none_or(|before| before < part.0), "out of order");
                    open = Some(part.0);
                    prop_assert!(out.insert(*frame, ()).is_none(), "a frame twice");
                }
                Command::Free(frame, _) => {
                    prop_assert!(out.insert(*frame, ()).is_none(), "a frame twice");
                }
                Command::Gate(Action::Decided(decision)) => {
                    answered += u64::from(decision.verdict_at.is_some());
                }
                Command::Gate(_) => {}
            }
        }
        prop_assert_eq!(out.len(), stamps.len());
        let frames = run.controller.frames();
        let unused = frames.unclaimed
            + frames.stale
            + frames.repeated
            + frames.ambiguous
            + frames.damaged;
        prop_assert_eq!(frames.frames, inspected.len() as u64 + unused + frames.skipped);
        let counters = run.controller.counters();
        prop_assert!(counters.balance(0));
        prop_assert_eq!(run.decisions().len() as u64, counters.parts);
        // A part that left the belt before the inspector got its frame has no verdict; that frame is
        // skipped.
        let stated = answered + counters.late_verdicts;
        prop_assert!(stated <= wanted && wanted <= stated + frames.skipped, "{stated} of {wanted}");
        prop_assert_eq!(counters.repeated_verdicts + counters.foreign_verdicts, 0);
    }
}
