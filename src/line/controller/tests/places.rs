//! Where parts are: edges that arrive late, the encoder's channels, and the index.

use super::*;

/// Gate after 40 counts, no pockets.
fn by_counts() -> ControllerSettings {
    let of = pockets();
    ControllerSettings {
        gate: Settings {
            gate: Span::Counts(Counts(40)),
            ..of.gate
        },
        every_counts: None,
        ..of
    }
}

impl Run {
    /// `n` counts, 10 ms apart.
    fn counts(&mut self, n: u64) {
        for _ in 0..n {
            self.wait(10);
            self.count(0);
        }
    }

    /// A controller that is ready, with an empty belt, `n` counts from the start.
    fn by_counts(settings: ControllerSettings, n: u64) -> Self {
        let mut run = Self::new(settings);
        run.counts(n);
        run.reported.clear();
        run
    }

    fn triggered(&mut self, at: u64, lost: u32) {
        let now = self.now();
        self.controller
            .trigger(Instant(at), lost, now, &mut |c| self.reported.push(c));
    }

    fn index(&mut self, at: u64, lost: u32) {
        let now = self.now();
        self.controller
            .index(Instant(at), lost, now, &mut |c| self.reported.push(c));
    }

    fn edge(&mut self, second: bool, on: bool, lost: u32) {
        let now = self.now();
        self.controller
            .encoder_edge(second, on, now, lost, now, &mut |c| self.reported.push(c));
    }

    fn parts(&self) -> u64 {
        self.controller.counters().parts
    }

    fn unsure(&self) -> u64 {
        self.controller.counters().implausible_counts
    }
}

#[test]
fn a_trigger_that_is_heard_of_late_is_placed_where_it_happened() {
    // Counts at 10, 20, 30 ms and so on after the start; they arrive 54 ms later.
    for (ms, count) in [(0, 0), (9, 0), (10, 1), (19, 1), (20, 2), (49, 4), (50, 5)] {
        let mut run = Run::by_counts(by_counts(), 60);
        let (start, counts) = (run.clock, run.controller.count().0);
        run.counts(5);
        run.wait(4);
        run.triggered(start + ms * MS, 0);
        run.counts(60);
        let place = run.decisions()[0].trigger;
        assert_eq!(place.count.0, counts + count, "{ms} ms");
        assert_eq!(place.time.0, start + ms * MS);
    }
}

#[test]
fn counts_that_nobody_saw_are_placed_where_the_next_one_was() {
    let mut run = Run::by_counts(by_counts(), 60);
    let (start, counts) = (run.clock, run.controller.count().0);
    run.wait(30);
    run.count(2);
    assert_eq!(run.controller.count().0, counts + 3);
    run.triggered(start + 29 * MS, 0);
    run.wait(30);
    run.triggered(run.clock, 0);
    run.counts(60);
    let places: Vec<_> = run.decisions().iter().map(|d| d.trigger.count.0).collect();
    assert_eq!(places, [counts, counts + 3]);
}

#[test]
fn a_trigger_from_before_all_counts_that_are_remembered_is_a_lost_one() {
    for (counts, lost) in [(COUNT_TIMES as u64 - 1, 0), (COUNT_TIMES as u64, 1)] {
        let mut run = Run::by_counts(by_counts(), 60);
        let at = run.clock;
        run.counts(counts);
        run.triggered(at, 0);
        assert_eq!(run.controller.counters().lost_triggers, lost, "{counts}");
        assert_eq!(run.parts(), 1);
        run.counts(60);
        assert_eq!(run.controller.counters().passed, 0);
    }
    let mut run = Run::by_counts(by_counts(), 60);
    let at = run.clock;
    run.counts(COUNT_TIMES as u64 + 10);
    run.triggered(at, 2);
    assert_eq!(
        run.controller.counters().lost_triggers,
        3,
        "with those before it"
    );
}

#[test]
fn more_counts_than_are_remembered_at_once_are_the_place_of_all_that_follows() {
    let mut run = Run::by_counts(by_counts(), 60);
    let counts = run.controller.count().0;
    run.wait(10);
    run.count(3 * COUNT_TIMES as u32);
    let now = counts + 3 * COUNT_TIMES as u64 + 1;
    assert_eq!(run.controller.count().0, now);
    run.wait(3);
    run.triggered(run.clock, 0);
    run.counts(60);
    assert_eq!(run.decisions()[0].trigger.count.0, now);
}

#[test]
fn lost_edges_of_the_trigger_are_parts_that_are_rejected() {
    let mut run = Run::by_counts(by_counts(), 60);
    let now = run.now();
    run.controller
        .triggers_lost(2, now, &mut |c| run.reported.push(c));
    let counters = run.controller.counters();
    assert_eq!((counters.lost_triggers, counters.parts), (2, 2));
    run.triggered(run.clock, 1);
    assert_eq!(run.controller.counters().lost_triggers, 3);
}

#[test]
fn an_encoder_of_one_channel_counts_its_on_edges() {
    let mut run = Run::new(by_counts());
    for (second, on, counts) in [
        (false, true, 1),
        (false, false, 1),
        (true, true, 1),
        (true, false, 1),
        (false, true, 2),
    ] {
        run.wait(10);
        run.edge(second, on, 0);
        assert_eq!(run.controller.count().0, counts);
    }
    run.wait(10);
    run.edge(false, true, 3);
    assert_eq!(run.controller.count().0, 6, "with those that were lost");
    assert_eq!(run.unsure(), 0);
}

#[test]
fn an_encoder_of_two_channels_counts_a_full_step_and_knows_when_an_edge_is_missing() {
    let mut run = Run::new(ControllerSettings {
        quadrature: true,
        ..by_counts()
    });
    for step in 1..4 {
        for (second, on) in [(false, true), (true, true), (false, false)] {
            run.wait(3);
            run.edge(second, on, 0);
            assert_eq!(run.controller.count().0, step - 1);
        }
        run.wait(3);
        run.edge(true, false, 0);
        assert_eq!(run.controller.count().0, step);
    }
    assert_eq!(run.unsure(), 0);
    // Off again, as the level is.
    run.edge(true, false, 0);
    assert_eq!(run.unsure(), 1);
    assert!(run.controller.faults().has(Fault::Encoder));
    run.edge(false, true, 1);
    assert_eq!(run.unsure(), 2, "one that the kernel lost");
    assert_eq!(run.controller.count().0, 3);
}

/// Pockets 32 counts apart with an index each; a part at every 32nd count.
fn indexed() -> ControllerSettings {
    ControllerSettings {
        every_counts: Some(Counts(32)),
        indexed: true,
        ..by_counts()
    }
}

#[test]
fn before_the_first_index_no_pocket_is_known() {
    let mut run = Run::by_counts(indexed(), 70);
    assert_eq!(run.parts(), 0);
    run.index(run.clock, 0);
    assert_eq!((run.parts(), run.unsure()), (1, 0));
    assert!(!run.controller.faults().has(Fault::Encoder));
    // Parts between pockets and ejector are rejected: up to the count before this part's.
    run.counts(1);
    assert!(run.controller.level(Output::Reject));
    run.counts(38);
    assert!(run.controller.level(Output::Reject));
    assert_eq!(run.parts(), 2, "at the next pocket");
}

#[test]
fn an_index_confirms_the_pocket_that_is_there_and_makes_no_second_part() {
    // Counts from one index to the next: 32 is right, and it may be two off.
    for counts in [30, 31, 32, 33, 34] {
        let mut run = Run::by_counts(indexed(), 70);
        run.index(run.clock, 0);
        for n in 0..4 {
            run.counts(counts);
            run.index(run.clock, 0);
            assert_eq!(run.parts(), 2 + n, "{counts}");
            assert_eq!(run.unsure(), 0, "{counts}");
        }
        // The next pocket follows the index.
        run.counts(31);
        assert_eq!(run.parts(), 5);
        run.counts(1);
        assert_eq!(run.parts(), 6);
    }
}

#[test]
fn an_index_that_comes_where_no_pocket_can_be_throws_out_the_belt_and_begins_anew() {
    for counts in [29, 35, 20, 45] {
        let mut run = Run::by_counts(indexed(), 70);
        run.index(run.clock, 0);
        run.counts(counts);
        let before = run.parts();
        run.index(run.clock, 0);
        assert!(run.controller.faults().has(Fault::Encoder), "{counts}");
        assert_eq!(run.unsure(), 1, "{counts}");
        assert_eq!(run.parts(), before + 1, "{counts}");
        run.counts(31);
        assert_eq!(run.parts(), before + 1);
        run.counts(1);
        assert_eq!(run.parts(), before + 2);
        assert_eq!(run.controller.counters().passed, 0);
    }
}

#[test]
fn two_pockets_without_an_index_throw_out_the_belt() {
    let mut run = Run::by_counts(indexed(), 70);
    run.index(run.clock, 0);
    run.counts(32);
    assert_eq!(
        (run.parts(), run.unsure()),
        (2, 0),
        "its index may come late"
    );
    run.counts(31);
    assert_eq!(run.unsure(), 0);
    run.counts(1);
    assert_eq!((run.parts(), run.unsure()), (3, 1));
    // One without an index, the next with one, however early: they do not add up.
    let mut run = Run::by_counts(indexed(), 70);
    run.index(run.clock, 0);
    run.counts(63);
    run.index(run.clock, 0);
    run.counts(32);
    assert_eq!((run.parts(), run.unsure()), (4, 0));
    // Without an index input none is missing.
    let mut run = Run::by_counts(
        ControllerSettings {
            indexed: false,
            ..indexed()
        },
        200,
    );
    assert_eq!((run.parts(), run.unsure()), (6, 0));
    run.counts(24);
    assert_eq!((run.parts(), run.unsure()), (7, 0));
}

#[test]
fn a_second_index_for_one_pocket_is_noise_of_which_nobody_knows_which_is_right() {
    let mut run = Run::by_counts(indexed(), 70);
    run.index(run.clock, 0);
    run.counts(1);
    run.index(run.clock, 0);
    assert_eq!(run.unsure(), 1);
    assert!(run.controller.faults().has(Fault::Encoder));
}

#[test]
fn an_index_whose_edges_were_lost_throws_out_the_belt() {
    let mut run = Run::by_counts(indexed(), 70);
    run.index(run.clock, 0);
    run.counts(32);
    run.index(run.clock, 1);
    assert_eq!(run.unsure(), 1);
}

#[test]
fn an_index_that_is_heard_of_late_is_placed_where_it_happened() {
    let mut run = Run::by_counts(indexed(), 70);
    run.index(run.clock, 0);
    run.counts(31);
    let at = run.clock;
    run.counts(3);
    run.index(at, 0);
    assert_eq!((run.parts(), run.unsure()), (2, 0));
    run.counts(28);
    assert_eq!(run.parts(), 2);
    run.counts(1);
    assert_eq!(run.parts(), 3);
}

#[test]
fn where_no_pockets_are_an_index_means_nothing() {
    let mut run = Run::by_counts(by_counts(), 70);
    run.index(run.clock, 0);
    assert_eq!(run.parts(), 0);
}

#[test]
fn pockets_of_few_counts_may_be_one_off() {
    let few = ControllerSettings {
        every_counts: Some(Counts(8)),
        ..indexed()
    };
    for (counts, unsure) in [(8, 0), (7, 0), (9, 0), (6, 1), (10, 1)] {
        let mut run = Run::by_counts(few, 70);
        run.index(run.clock, 0);
        run.counts(counts);
        run.index(run.clock, 0);
        assert_eq!(run.unsure(), unsure, "{counts}");
    }
}

#[test]
fn what_the_other_sensors_tell_is_placed_where_it_happened() {
    use crate::line::gate::{ConfirmKind, ConfirmSettings};
    let of = by_counts();
    let mut settings = of;
    settings.gate.occupied_max = Some(Span::Counts(Counts(5)));
    settings.gate.confirm = Some(ConfirmSettings {
        kind: ConfirmKind::Part,
        tolerance: Span::Counts(Counts(2)),
    });
    let mut run = Run::by_counts(settings, 70);
    run.trigger();
    run.frame();
    run.verdict(1);
    run.counts(4);
    let free = run.clock;
    run.wait(9);
    let now = run.now();
    run.controller
        .release(Instant(free), 0, now, &mut |c| run.reported.push(c));
    run.counts(38);
    assert_eq!(run.decisions()[0].rejected, None);
    let seen = run.clock;
    run.wait(9);
    let now = run.now();
    run.controller
        .confirm(Instant(seen), 0, now, &mut |c| run.reported.push(c));
    run.counts(20);
    let counters = *run.controller.counters();
    assert_eq!(
        (counters.unconfirmed, counters.surplus_confirmations),
        (0, 0)
    );
    assert_eq!(counters.covered_too_long, 0);
    // A level that no edge explains, twice.
    for on in [false, true, true] {
        let now = run.now();
        run.controller
            .level_read(on, now, &mut |c| run.reported.push(c));
    }
    assert_eq!(run.controller.counters().found_by_level, 1);
    run.counts(60);
    let now = run.now();
    run.controller
        .release(now, 0, now, &mut |c| run.reported.push(c));
    run.counts(60);
    // A confirmation without a part, and one with lost edges before it.
    let now = run.now();
    run.controller
        .confirm(now, 1, now, &mut |c| run.reported.push(c));
    assert!(!run.controller.faults().has(Fault::Confirm));
    run.controller
        .confirm(now, 0, now, &mut |c| run.reported.push(c));
    assert!(run.controller.faults().has(Fault::Confirm));
}

#[test]
fn whatever_is_called_all_that_was_due_before_has_happened() {
    type Call = fn(&mut Controller<u64>, Instant, &mut dyn FnMut(Command<u64>));
    let calls: [Call; 11] = [
        |c, now, e| c.trigger(now, 0, now, &mut |x| e(x)),
        |c, now, e| c.command_trigger(now, now, &mut |x| e(x)),
        |c, now, e| c.trigger_lost_since(now, now, &mut |x| e(x)),
        |c, now, e| c.release(now, 0, now, &mut |x| e(x)),
        |c, now, e| c.level_read(true, now, &mut |x| e(x)),
        |c, now, e| c.confirm(now, 0, now, &mut |x| e(x)),
        |c, now, e| c.outputs_were_late(now, &mut |x| e(x)),
        |c, now, e| c.encoder(now, 0, now, &mut |x| e(x)),
        |c, now, e| c.encoder_edge(false, true, now, 0, now, &mut |x| e(x)),
        // It confirms the pocket that was triggered just now.
        |c, now, e| c.index(now, 0, now, &mut |x| e(x)),
        |c, now, e| c.fault(Fault::Record, true, now, &mut |x| e(x)),
    ];
    for (n, call) in calls.into_iter().enumerate() {
        let mut run = Run::by_counts(
            ControllerSettings {
                quadrature: true,
                ..indexed()
            },
            70,
        );
        run.index(run.clock, 0);
        run.counts(32);
        run.frame();
        assert_eq!(run.jobs(), [(2, 1)]);
        // The inspector has 50 ms.
        run.clock += 60 * MS;
        let now = run.now();
        call(&mut run.controller, now, &mut |c| run.reported.push(c));
        assert_eq!(run.changes(Fault::Inference), [true], "{n}");
    }
}

#[test]
fn a_picture_that_was_there_first_goes_to_the_inspector_with_its_trigger() {
    let mut run = Run::new(settings());
    let exposed = run.clock;
    run.frame();
    run.wait(5);
    run.triggered(exposed, 0);
    assert_eq!(run.jobs(), [(1, 1)]);
}

#[test]
fn what_is_heard_of_so_late_that_its_place_is_forgotten_counts_where_the_belt_is() {
    use crate::line::gate::{ConfirmKind, ConfirmSettings};
    let long_ago = |run: &mut Run| {
        let at = run.clock;
        run.counts(COUNT_TIMES as u64 + 10);
        at
    };
    // The sensor is free again: all parts before it until now are rejected.
    let mut settings = by_counts();
    settings.gate.occupied_max = Some(Span::Counts(Counts(5)));
    let mut run = Run::by_counts(settings, 60);
    run.trigger();
    let at = long_ago(&mut run);
    let now = run.now();
    run.controller
        .release(Instant(at), 0, now, &mut |c| run.reported.push(c));
    run.counts(42);
    assert!(run.controller.level(Output::Reject));
    run.counts(1);
    assert!(!run.controller.level(Output::Reject));

    // A part at the ejector is the one at its gate.
    settings.gate.confirm = Some(ConfirmSettings {
        kind: ConfirmKind::Part,
        tolerance: Span::Counts(Counts(2)),
    });
    settings.gate.occupied_max = None;
    let mut run = Run::by_counts(settings, 60);
    run.counts(COUNT_TIMES as u64);
    let at = run.clock - COUNT_TIMES as u64 * 10 * MS - 1;
    run.trigger();
    run.counts(40);
    let now = run.now();
    run.controller
        .confirm(Instant(at), 0, now, &mut |c| run.reported.push(c));
    assert!(!run.controller.faults().has(Fault::Confirm));

    // An index is where the belt is, and no pocket has gone by unseen since then.
    let mut run = Run::by_counts(indexed(), 70);
    run.index(run.clock, 0);
    let at = long_ago(&mut run);
    run.index(at, 0);
    let lost = run.controller.counters().lost_triggers;
    run.counts(32);
    assert_eq!(run.controller.counters().lost_triggers, lost);
}

#[test]
fn counts_however_many_take_no_time() {
    let mut run = Run::by_counts(by_counts(), 60);
    let counts = run.controller.count();
    for n in 1..9 {
        run.wait(10);
        run.count(u32::MAX);
        assert_eq!(run.controller.count(), counts.after(Counts(n << 32)));
    }
}

#[test]
fn pockets_at_no_distance_are_one_at_every_count() {
    let mut run = Run::new(ControllerSettings {
        every_counts: Some(Counts(0)),
        ..by_counts()
    });
    run.counts(1);
    let before = run.parts();
    run.counts(5);
    assert_eq!(run.parts(), before + 5);
}

#[test]
fn an_index_halfway_between_two_pockets_is_the_one_to_come() {
    let two = ControllerSettings {
        every_counts: Some(Counts(2)),
        ..indexed()
    };
    for (counts, parts) in [(1, 2), (3, 3)] {
        let mut run = Run::by_counts(two, 70);
        run.index(run.clock, 0);
        run.counts(counts);
        run.index(run.clock, 0);
        assert_eq!((run.parts(), run.unsure()), (parts, 0), "{counts}");
    }
}

#[test]
fn an_index_where_no_pocket_can_be_throws_out_the_belt_even_where_the_clock_tells_places() {
    let mut run = Run::by_counts(
        ControllerSettings {
            every_counts: Some(Counts(32)),
            indexed: true,
            ..settings()
        },
        70,
    );
    run.index(run.clock, 0);
    run.counts(20);
    assert!(!run.controller.level(Output::Reject));
    run.index(run.clock, 0);
    assert!(run.controller.level(Output::Reject));
}
