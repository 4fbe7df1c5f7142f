//! Triggers by command, which carry no time stamp, and a delayed process.

use super::*;

impl Run {
    fn command(&mut self) {
        let now = self.now();
        self.controller
            .command_trigger(now, now, &mut |c| self.reported.push(c));
    }

    fn lost(&self) -> u64 {
        self.controller.counters().lost_triggers
    }
}

#[test]
fn a_part_that_is_told_of_in_time_is_a_part_like_any_other() {
    let mut run = Run::new(settings());
    run.command();
    run.frame();
    run.verdict(1);
    run.wait(200);
    assert_eq!(run.lost(), 0);
    assert_eq!(run.decisions()[0].rejected, None);
}

#[test]
fn a_word_that_may_have_waited_while_the_program_was_not_run_places_no_part() {
    let mut run = Run::new(settings());
    let before = run.clock;
    // It had to be called 20 ms later at the latest.
    run.clock += 60 * MS;
    run.command();
    assert_eq!(run.lost(), 1);
    assert_eq!(run.decisions()[0].rejected, Some(Reason::Overload));
    run.wait(300);
    // The part is anywhere between then and now, and so is one that its frame may have been paired
    // with: 15 ms before.
    let rejects: Vec<_> = run
        .reported
        .iter()
        .filter_map(|c| match c {
            Command::Gate(Action::Set {
                output: Output::Reject,
                due,
                on,
                ..
            }) => Some((due.0, *on)),
            _ => None,
        })
        .collect();
    let end = before + (60 + 100 + 15) * MS;
    assert_eq!(rejects, [(before + 85 * MS, true), (end, false)]);
}

#[test]
fn words_shortly_after_such_a_time_may_have_waited_too_and_later_ones_did_not() {
    for (ms, lost) in [(0, 1), (19, 1), (20, 1), (21, 0), (200, 0)] {
        let mut run = Run::new(settings());
        run.clock += 60 * MS;
        run.wait(0);
        run.wait(ms);
        run.command();
        assert_eq!(run.lost(), lost, "{ms}");
        assert_eq!(run.controller.counters().parts, 1);
    }
}

#[test]
fn a_call_that_is_hardly_late_is_none() {
    // 20 ms, and 3 ms that outputs may be late.
    for (ms, lost) in [(20, 0), (23, 0), (24, 1)] {
        let mut run = Run::new(settings());
        // At a time when nothing else is due.
        let next = run.controller.deadline().0;
        run.clock = next - 20 * MS + ms * MS;
        run.command();
        assert_eq!(run.lost(), lost, "{ms}");
    }
}

#[test]
fn a_word_from_before_the_program_stood_still_is_placed_where_it_was_said() {
    let mut run = Run::new(settings());
    let reported = run.clock;
    run.wait(10);
    run.clock += 60 * MS;
    let now = run.now();
    run.controller
        .command_trigger(Instant(reported), now, &mut |c| run.reported.push(c));
    assert_eq!(run.lost(), 0);
    assert_eq!(run.controller.counters().parts, 1);
}

#[test]
fn a_word_may_have_waited_from_the_last_call_on_and_so_may_all_that_come_with_it() {
    let mut run = Run::new(settings());
    let before = run.clock;
    run.clock += 60 * MS;
    let now = run.now();
    for (lost, ms) in [(1, 60), (2, 50), (3, 0)] {
        let at = Instant(before + ms * MS);
        run.controller
            .command_trigger(at, now, &mut |c| run.reported.push(c));
        assert_eq!(run.lost(), lost, "{ms} ms");
    }
}

#[test]
fn at_the_start_nothing_has_waited() {
    let mut controller = Controller::<u64>::new(settings(), Instant(0)).expect("settings");
    let now = Instant(10 * MS);
    controller.command_trigger(now, now, &mut |_| {});
    let counters = controller.counters();
    assert_eq!((counters.parts, counters.lost_triggers), (1, 0));
}

#[test]
fn the_controller_asks_to_be_called_often_and_notices_when_it_was_not() {
    let mut run = Run::new(settings());
    assert!(run.controller.deadline() <= run.now().after(LOOK));
    run.wait(300);
    assert!(run.controller.deadline() <= run.now().after(LOOK));
    run.command();
    assert_eq!(run.lost(), 0, "who is called in time was not away");
}

/// Simulator: the process stood still while two frames arrived. The first had a stamp in the future,
/// which had passed when the process went on.
#[test]
fn a_frame_that_may_have_waited_is_not_believed_if_its_stamp_was_in_the_future_when_it_came() {
    for (stood, exposed, inspected) in [
        (60, 55, false),
        (28, 1, false),
        // Before the process stood still.
        (26, -3, true),
        // Not long enough to be noticed.
        (4, 3, true),
    ] {
        let mut run = Run::new(settings());
        run.wait(40);
        let before = run.clock;
        run.clock += stood * MS;
        let now = run.now();
        let exposed_at = before.saturating_add_signed(exposed * MS as i64);
        let trigger = Instant(exposed_at - 2 * MS);
        run.controller
            .trigger(trigger, 0, now, &mut |c| run.reported.push(c));
        run.frame_of(exposed_at, false);
        let matched = run
            .reported
            .iter()
            .any(|c| matches!(c, Command::PartInspector { .. }));
        assert_eq!(matched, inspected, "{stood} ms, stamped after {exposed}");
    }
}

/// The process stood still for 30 ms. A frame is there `after` ms later, exposed `exposed` ms later.
fn believed_after_a_delay(after: u64, exposed: i64) -> bool {
    let mut run = Run::new(settings());
    run.wait(40);
    run.clock += 30 * MS;
    let to = run.clock;
    let exposed = to.saturating_add_signed(exposed * MS as i64);
    let now = run.now();
    run.controller
        .trigger(Instant(exposed - 2 * MS), 0, now, &mut |c| {
            run.reported.push(c)
        });
    run.wait(after);
    run.frame_of(exposed, false);
    let matched = |c: &Command<u64>| matches!(c, Command::PartInspector { .. });
    run.reported.iter().any(matched)
}

#[test]
fn what_comes_a_while_after_a_delay_has_not_waited() {
    for (after, exposed, believed) in [(20, -5, false), (21, -5, true), (5, 0, false), (5, 1, true)]
    {
        let found = believed_after_a_delay(after, exposed);
        assert_eq!(found, believed, "{after} ms later, stamped {exposed}");
    }
}

#[test]
fn a_frame_that_is_the_first_to_come_after_a_delay_has_waited_too() {
    let mut run = Run::new(settings());
    run.wait(40);
    run.clock += 30 * MS;
    let exposed = run.clock - 5 * MS;
    run.frame_of(exposed, false);
    let now = run.now();
    run.controller
        .trigger(Instant(exposed - 2 * MS), 0, now, &mut |c| {
            run.reported.push(c)
        });
    let matched = |c: &Command<u64>| matches!(c, Command::PartInspector { .. });
    assert!(!run.reported.iter().any(matched));
}

#[test]
fn a_frame_that_came_since_a_delay_is_believed() {
    let mut run = Run::new(settings());
    run.clock += 60 * MS;
    run.trigger();
    run.wait(3);
    let exposed = run.clock;
    run.wait(5);
    run.frame_of(exposed, false);
    assert!(
        run.reported
            .iter()
            .any(|c| matches!(c, Command::PartInspector { .. }))
    );
}

#[test]
fn with_an_encoder_a_part_that_may_have_waited_lies_between_the_counts_of_then_and_now() {
    let of = pockets();
    let mut run = Run::new(ControllerSettings {
        every_counts: None,
        ..of
    });
    for _ in 0..60 {
        run.wait(10);
        run.count(0);
    }
    run.reported.clear();
    // Five counts wait while the process is delayed; the command arrives after them.
    let start = run.clock;
    run.clock += 60 * MS;
    let now = run.now();
    for n in 1..=5 {
        run.controller
            .encoder(Instant(start + n * 10 * MS), 0, now, &mut |c| {
                run.reported.push(c)
            });
    }
    run.command();
    assert_eq!(run.lost(), 1);
    let mut rejecting = Vec::new();
    for n in 6..40 {
        run.wait(10);
        run.count(0);
        if run.controller.level(Output::Reject) {
            rejecting.push(n);
        }
    }
    // The gate is 20 counts after it: from 20 to 25, and a pulse of 3. Also the parts of 15 ms before,
    // which may have been paired with its frame.
    assert_eq!(rejecting, (18..28).collect::<Vec<_>>());
}

#[test]
fn a_part_that_went_by_nobody_knows_when_throws_out_all_that_may_be_it() {
    let mut run = Run::new(settings());
    run.wait(100);
    let since = run.clock;
    run.wait(30);
    let now = run.now();
    run.controller
        .trigger_lost_since(Instant(since), now, &mut |c| run.reported.push(c));
    assert_eq!(run.lost(), 1);
    let mut rejecting = Vec::new();
    for ms in 31..200 {
        run.wait(1);
        if run.controller.level(Output::Reject) {
            rejecting.push(ms);
        }
    }
    assert_eq!(rejecting, (100..145).collect::<Vec<_>>());
}
