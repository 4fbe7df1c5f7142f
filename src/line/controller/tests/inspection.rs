//! What is inspected, what is not, and when the watchdogs are kicked.

use super::*;

fn reasons(run: &Run) -> Vec<Option<Reason>> {
    let mut decided = run.decisions();
    decided.sort_by_key(|d| d.part);
    decided.iter().map(|d| d.rejected).collect()
}

/// An inspector that may take any time.
fn patient() -> ControllerSettings {
    ControllerSettings {
        inspection: Duration(10_000 * MS),
        ..settings()
    }
}

#[test]
fn a_part_that_will_be_gone_before_it_is_inspected_makes_room_for_the_next() {
    // The inspection of the second part ends 80 ms after its trigger and took 45 ms on average: that of
    // the third, whose gate is 125 ms after that trigger, would end just then.
    for (ms, next) in [(79, 3), (80, 4)] {
        let mut run = Run::new(patient());
        run.trigger();
        run.frame();
        run.wait(40);
        run.verdict(1);
        for _ in 0..3 {
            run.trigger();
            run.frame();
            run.wait(25);
        }
        run.wait(ms - 75);
        run.verdict(2);
        assert_eq!(run.jobs(), [(1, 1), (2, 2), (next, next)], "{ms}");
        let skipped = u64::from(next == 4);
        assert_eq!(run.controller.frames().skipped, skipped);
        if next == 4 {
            assert_eq!(run.freed(), [(3, None)]);
            run.verdict(4);
            run.wait(200);
            let why = reasons(&run);
            assert_eq!(why, [None, None, Some(Reason::Late), None]);
        }
    }
}

#[test]
fn the_last_job_is_tried_however_late_it_looks() {
    let mut run = Run::new(patient());
    run.trigger();
    run.frame();
    run.wait(48);
    run.verdict(1);
    run.trigger();
    run.frame();
    run.wait(20);
    run.trigger();
    run.frame();
    run.wait(70);
    // It has 30 ms left, and an inspection took 48 ms.
    run.verdict(2);
    assert_eq!(run.jobs(), [(1, 1), (2, 2), (3, 3)]);
    assert_eq!(run.freed(), []);
}

#[test]
fn by_counts_nobody_knows_when_a_part_will_be_gone() {
    let of = pockets();
    let mut run = Run::new(ControllerSettings {
        every_counts: None,
        inspection: Duration(10_000 * MS),
        ..of
    });
    for _ in 0..60 {
        run.wait(10);
        run.count(0);
    }
    run.reported.clear();
    for _ in 0..3 {
        run.trigger();
        run.frame();
        run.wait(25);
        run.count(0);
    }
    run.verdict(1);
    run.wait(40);
    run.verdict(2);
    assert_eq!(run.jobs(), [(1, 1), (2, 2), (3, 3)]);
}

#[test]
fn how_long_inspection_takes_is_learnt_slowly() {
    let mut run = Run::new(settings());
    let mut inspected = |ms: u64| {
        run.trigger();
        run.frame();
        let part = run.controller.counters().parts;
        run.wait(ms);
        run.verdict(part);
        run.wait(30);
        run.controller.usual_inspection.0
    };
    assert_eq!(inspected(8), 8 * MS);
    assert_eq!(inspected(8), 8 * MS);
    assert_eq!(inspected(16), 9 * MS);
    assert_eq!(inspected(9), 9 * MS);
    assert_eq!(inspected(1), 8 * MS);
}

#[test]
fn an_answer_for_another_part_teaches_nothing_and_ends_no_fault() {
    let mut run = Run::new(settings());
    run.trigger();
    run.frame();
    run.wait(60);
    assert_eq!(run.changes(Fault::Inference), [true]);
    run.verdict(7);
    assert_eq!(run.controller.usual_inspection, Duration(0));
    assert_eq!(run.changes(Fault::Inference), [true]);
    assert_eq!(run.controller.counters().foreign_verdicts, 1);
}

#[test]
fn an_inspector_that_cannot_inspect_rejects_and_has_its_next_job() {
    let mut run = Run::new(settings());
    run.trigger();
    run.frame();
    run.wait(25);
    run.trigger();
    run.frame();
    let now = run.now();
    run.controller
        .verdict(PartId(1), Err(Reason::Failed), now, &mut |c| {
            run.reported.push(c)
        });
    assert_eq!(run.jobs(), [(1, 1), (2, 2)]);
    run.verdict(2);
    run.wait(200);
    assert_eq!(reasons(&run), [Some(Reason::Failed), None]);
}

#[test]
fn a_job_says_when_its_part_was_triggered_and_its_frame_exposed() {
    let mut run = Run::new(settings());
    let trigger = run.now();
    run.trigger();
    run.wait(5);
    let exposed = run.clock;
    run.wait(5);
    run.frame_of(exposed, false);
    let job = run.reported.iter().find_map(|c| match c {
        Command::PartInspector {
            trigger, exposed, ..
        } => Some((*trigger, exposed.0)),
        _ => None,
    });
    assert_eq!(job, Some((trigger, exposed)));
}

#[test]
fn watchdogs_are_told_of_an_inspector_and_of_outputs_that_stand_still_and_of_nothing_else() {
    for fault in Fault::ALL {
        let mut run = Run::new(settings());
        run.fault(fault, true);
        let stuck = matches!(fault, Fault::Inference | Fault::Outputs);
        assert_eq!(run.controller.fresh(), !stuck, "{fault:?}");
        assert!(run.controller.faults().has(fault));
    }
}

#[test]
fn only_the_cameras_loss_costs_the_frames_that_are_kept() {
    for (fault, present) in [(Fault::Record, true), (Fault::Camera, false)] {
        let mut run = Run::new(settings());
        run.frame();
        run.fault(fault, present);
        assert_eq!(run.freed(), [], "{fault:?}");
    }
}

#[test]
fn every_frame_that_nobody_inspects_is_counted_by_its_reason() {
    let mut run = Run::new(settings());
    let info = |sequence, exposed, damaged| FrameInfo {
        exposed: Instant(exposed),
        sequence,
        content: None,
        damaged,
    };
    let frame = |run: &mut Run, sequence, exposed, damaged| {
        let now = run.now();
        run.controller
            .frame(sequence, info(sequence, exposed, damaged), now, &mut |c| {
                run.reported.push(c)
            });
    };
    let at = run.clock;
    frame(&mut run, 1, at, false);
    run.wait(40);
    let at = run.clock;
    frame(&mut run, 2, at - 31 * MS, false);
    frame(&mut run, 2, at - MS, false);
    frame(&mut run, 3, at, true);
    let frames = *run.controller.frames();
    assert_eq!((frames.frames, frames.unclaimed, frames.stale), (4, 1, 1));
    assert_eq!(
        (frames.repeated, frames.damaged, frames.ambiguous),
        (1, 1, 0)
    );
}

#[test]
fn a_frame_that_could_show_two_parts_is_counted_and_both_go() {
    let mut near = settings();
    near.gate.min_pitch = Duration(5 * MS);
    let mut run = Run::new(near);
    run.trigger();
    run.wait(6);
    run.trigger();
    run.wait(4);
    run.frame();
    assert_eq!(run.controller.frames().ambiguous, 1);
    run.wait(200);
    let none = Some(Reason::NoFrame);
    assert_eq!(reasons(&run), [none, none]);
}

#[test]
fn an_alarm_from_before_and_late_outputs_reach_the_gate() {
    let mut stopping = settings();
    stopping.gate.alarm.stop_line = true;
    let mut run = Run::new(stopping);
    assert!(run.controller.ready() && !run.controller.alarm());
    let now = run.now();
    run.controller
        .raise_alarm(now, &mut |c| run.reported.push(c));
    assert!(run.controller.alarm() && !run.controller.ready());
    run.controller
        .acknowledge(now, &mut |c| run.reported.push(c));
    assert!(!run.controller.alarm() && run.controller.ready());
    run.controller
        .outputs_were_late(now, &mut |c| run.reported.push(c));
    assert!(run.controller.faults().has(Fault::LateOutput));
    assert_eq!(run.controller.counters().late_outputs, 1);
}

#[test]
fn the_controller_asks_to_be_called_when_the_inspector_is_overdue_and_when_a_frame_is() {
    let mut run = Run::new(settings());
    run.trigger();
    // The frame may arrive until 45 ms after the trigger.
    let overdue = run.clock + 45 * MS + 1;
    run.wait(40);
    assert_eq!(
        run.controller.deadline().0,
        overdue.min(run.controller.gate.deadline().0)
    );
    run.wait(10);
    assert!(
        !run.controller.level(Output::Busy),
        "nobody waits for it any more"
    );
}
