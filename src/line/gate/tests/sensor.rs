//! The trigger's sensor: how long it is covered, and lost edges that its level shows.

use super::*;

/// A part covers the sensor for 30 ms, or counts, at most.
fn watched(gate: Span, ejector: Ejector) -> Settings {
    let pulse = match gate {
        Span::Time(_) => Span::Time(Duration(15 * MS)),
        Span::Counts(_) => Span::Counts(Counts(15)),
    };
    let mut settings = settings(gate, pulse, ejector);
    settings.occupied_max = Some(match gate {
        Span::Time(_) => Span::Time(Duration(30 * MS)),
        Span::Counts(_) => Span::Counts(Counts(30)),
    });
    settings
}

const GATES: [Span; 2] = [Span::Time(Duration(100 * MS)), Span::Counts(Counts(100))];

#[test]
fn a_part_that_covers_the_sensor_as_long_as_a_part_does_passes() {
    for gate in GATES {
        let mut line = Belt::new(watched(gate, Ejector::Pass));
        line.settle();
        for _ in 0..3 {
            line.good();
            line.run(29);
            line.release();
            line.run(30);
        }
        line.run(200);
        assert_eq!(line.gate.counters().covered_too_long, 0, "{gate:?}");
        assert_eq!(line.gate.counters().passed, 3, "{gate:?}");
    }
}

#[test]
fn parts_that_touch_are_all_rejected_until_the_sensor_is_free() {
    for gate in GATES {
        let mut line = Belt::new(watched(gate, Ejector::Reject));
        line.settle();
        let start = line.clock;
        line.good();
        line.run(29);
        assert_eq!(line.gate.counters().covered_too_long, 0);
        line.run(21);
        assert_eq!(line.gate.counters().covered_too_long, 1);
        // An edge in between, because the sensor flickered: its part is in the middle of them.
        let within = line.trigger();
        if let Some(part) = within {
            line.verdict(part, PartVerdict::Ok);
        }
        line.run(30);
        line.release();
        line.run(30);
        let after = line.good();
        line.run(20);
        line.release();
        line.run(200);
        let decisions = line.decisions();
        assert_eq!(decisions[&1], Some(Reason::DoubleTrigger), "{gate:?}");
        assert!(decisions[&2].is_some(), "{gate:?}");
        assert_eq!(decisions[&after.0], None, "{gate:?}");
        let last = line.on(Output::Reject).pop().expect("a pulse");
        assert_eq!(
            last,
            (start + 100 * MS, start + (80 + 100 + 15) * MS),
            "{gate:?}"
        );
        assert_eq!(line.gate.counters().covered_too_long, 1, "{gate:?}");
    }
}

/// Noise must not hide the part that touches: the sensor is covered from the first edge on.
#[test]
fn an_edge_under_the_same_cover_does_not_begin_it_anew() {
    for gate in GATES {
        for (after, off) in [(20, false), (20, true), (1, false), (1, true)] {
            let mut settings = watched(gate, Ejector::Reject);
            settings.bounce = Duration(2 * MS);
            settings.min_pitch = Duration(35 * MS);
            let mut line = Belt::new(settings);
            line.settle();
            let start = line.clock;
            line.good();
            line.run(after);
            if off {
                line.release();
            }
            line.trigger();
            line.run(32 - after);
            let case = format!("{gate:?}, {after} ms, off-edge {off}");
            assert_eq!(line.gate.counters().covered_too_long, 1, "{case}");
            line.run(8);
            line.release();
            line.run(200);
            assert_eq!(line.decisions()[&1], Some(Reason::DoubleTrigger), "{case}");
            let (from, to) = line.on(Output::Reject).pop().expect("a pulse");
            assert_eq!(from, start + 100 * MS, "{case}");
            assert!(to >= start + 140 * MS, "{case}: {to}");
        }
    }
}

#[test]
fn a_sensor_that_stays_covered_rejects_for_as_long_as_it_is() {
    for gate in GATES {
        let mut line = Belt::new(watched(gate, Ejector::Pass));
        line.settle();
        line.good();
        line.run(700);
        assert!(line.gate.level(Output::Reject), "{gate:?}");
        line.release();
        line.run(116);
        assert!(!line.gate.level(Output::Reject), "{gate:?}");
    }
}

#[test]
fn where_it_is_not_watched_a_sensor_may_be_covered_for_ever() {
    for gate in GATES {
        let mut settings = watched(gate, Ejector::Pass);
        settings.occupied_max = None;
        let mut line = Belt::new(settings);
        line.settle();
        line.good();
        line.run(300);
        assert_eq!(line.gate.counters().covered_too_long, 0);
        assert_eq!(line.decisions()[&1], None);
    }
}

#[test]
fn by_the_clock_a_belt_that_stands_with_a_part_at_the_sensor_says_nothing_of_its_length() {
    let mut settings = watched(GATES[0], Ejector::Pass);
    settings.spin_up = Duration(20 * MS);
    let mut line = Belt::new(settings);
    line.settle();
    line.good();
    line.run(10);
    line.fault(Fault::Camera, true);
    line.run(300);
    assert_eq!(line.gate.counters().covered_too_long, 0, "it stands");
    line.fault(Fault::Camera, false);
    // It takes 20 ms to run, and a part 30 ms to go by.
    line.run(49);
    assert_eq!(line.gate.counters().covered_too_long, 0);
    line.run(1);
    assert_eq!(line.gate.counters().covered_too_long, 1);
}

#[test]
fn by_counts_a_belt_that_stands_with_a_part_at_the_sensor_says_nothing_of_its_length() {
    let mut line = Belt::new(watched(GATES[1], Ejector::Pass));
    line.settle();
    line.good();
    line.run(10);
    line.stand(500);
    line.run(10);
    line.release();
    line.run(200);
    assert_eq!(line.decisions()[&1], None);
}

#[test]
fn a_part_whose_edge_was_lost_is_found_by_the_level_and_rejected() {
    for gate in GATES {
        let mut line = Belt::new(watched(gate, Ejector::Pass));
        line.settle();
        line.level_read(false);
        line.run(10);
        // The first reading may be before the edge arrives; the second one is not.
        line.level_read(true);
        assert_eq!(line.gate.counters().found_by_level, 0);
        line.run(10);
        let found = line.clock;
        line.level_read(true);
        if matches!(gate, Span::Time(_)) {
            assert!(line.gate.level(Output::Reject), "at once");
        }
        line.level_read(true);
        line.level_read(true);
        let counters = line.gate.counters();
        assert_eq!(
            (counters.found_by_level, counters.lost_triggers),
            (1, 1),
            "{gate:?}"
        );
        assert_eq!(counters.triggers, 1, "{gate:?}");
        line.run(10);
        line.release();
        line.run(200);
        let last = line.on(Output::Reject).pop().expect("a pulse");
        assert_eq!(last.1, found + 115 * MS, "{gate:?}: {last:?}");
        // From the reading of the level on, it is watched like any other part.
        line.level_read(true);
        line.level_read(true);
        line.run(31);
        assert_eq!(line.gate.counters().covered_too_long, 1, "{gate:?}");
    }
}

#[test]
fn a_level_that_the_edges_explain_is_no_lost_part() {
    let mut line = Belt::new(watched(GATES[0], Ejector::Pass));
    line.settle();
    line.level_read(false);
    for _ in 0..5 {
        // Read before the edge arrives, each time.
        line.level_read(true);
        line.good();
        line.level_read(true);
        line.run(20);
        line.level_read(false);
        line.release();
        line.level_read(false);
        line.run(20);
    }
    // Two doubtful readings, not one after the other.
    line.level_read(true);
    line.level_read(false);
    line.level_read(true);
    line.level_read(false);
    line.run(200);
    let counters = line.gate.counters();
    assert_eq!((counters.found_by_level, counters.passed), (0, 5));
}

#[test]
fn an_edge_ends_the_doubt_about_the_level() {
    let mut line = Belt::new(watched(GATES[0], Ejector::Pass));
    line.settle();
    line.level_read(false);
    line.level_read(true);
    line.good();
    // One reading that disagrees with the edges while a part is there.
    line.level_read(false);
    line.level_read(true);
    line.level_read(true);
    assert_eq!(line.gate.counters().found_by_level, 0);
    line.run(10);
    line.level_read(false);
    line.release();
    line.level_read(true);
    line.level_read(false);
    line.run(200);
    assert_eq!(line.gate.counters().found_by_level, 0);
    assert_eq!(line.gate.counters().covered_too_long, 0);
    assert_eq!(line.decisions()[&1], None);
}

#[test]
fn a_sensor_that_is_free_although_no_edge_told_so_is_believed_at_the_second_look() {
    let mut line = Belt::new(watched(GATES[0], Ejector::Pass));
    line.settle();
    line.good();
    line.run(10);
    line.level_read(false);
    line.run(5);
    line.level_read(false);
    line.run(200);
    assert_eq!(line.gate.counters().covered_too_long, 0);
    assert_eq!(line.decisions()[&1], None);
    // It is free: a part now is one whose edge was lost.
    line.level_read(true);
    line.level_read(true);
    assert_eq!(line.gate.counters().found_by_level, 1);
}

#[test]
fn one_look_that_contradicts_the_edges_is_not_believed() {
    let mut line = Belt::new(watched(GATES[0], Ejector::Pass));
    line.settle();
    line.good();
    line.run(10);
    line.level_read(false);
    line.run(30);
    assert_eq!(line.gate.counters().covered_too_long, 1);
}

#[test]
fn what_covers_the_sensor_at_the_start_is_watched_from_then_on() {
    let mut line = Belt::new(watched(GATES[0], Ejector::Pass));
    line.settle();
    line.level_read(true);
    line.level_read(true);
    assert_eq!(line.gate.counters().found_by_level, 0);
    line.run(29);
    assert_eq!(line.gate.counters().covered_too_long, 0);
    line.run(1);
    assert_eq!(line.gate.counters().covered_too_long, 1);
}

#[test]
fn edges_lost_before_the_sensor_was_free_again_are_parts_that_are_rejected() {
    let mut line = Belt::new(watched(GATES[0], Ejector::Reject));
    line.settle();
    let start = line.clock;
    line.good();
    line.run(20);
    line.call(|g, at, emit| g.release(at, 2, at.time, &mut |o| emit(o)));
    line.run(300);
    let counters = line.gate.counters();
    assert_eq!(
        (counters.lost_triggers, counters.parts, counters.passed),
        (2, 3, 0)
    );
    let last = line.on(Output::Reject).pop().expect("a pulse");
    assert_eq!(last, (start + 100 * MS, start + 135 * MS));
}

#[test]
fn a_part_heard_of_too_late_to_place_it_rejects_all_it_may_lie_on() {
    let mut line = Belt::new(by_time(Ejector::Reject));
    line.settle();
    let since = line.here();
    line.run(30);
    line.call(|g, at, emit| g.lost_since(since, at, at.time, &mut |o| emit(o)));
    line.run(300);
    let counters = line.gate.counters();
    assert_eq!(
        (counters.parts, counters.lost_triggers, counters.passed),
        (1, 1, 0)
    );
    assert_eq!(line.decisions()[&1], Some(Reason::Overload));
    let last = line.on(Output::Reject).pop().expect("a pulse");
    assert_eq!(last, (since.time.0 + 100 * MS, since.time.0 + 145 * MS));
}

#[test]
fn what_lies_before_a_place_that_nothing_watched_is_thrown_out_and_what_follows_is_not() {
    let mut line = Belt::new(by_counts(Ejector::Pass));
    line.settle();
    let first = line.good();
    line.run(20);
    line.call(|g, at, emit| g.unwatched(at, at.time, &mut |o| emit(o)));
    line.run(1);
    assert!(line.gate.level(Output::Reject), "with the next count");
    line.run(30);
    let second = line.good();
    line.run(300);
    assert!(line.decisions()[&first.0].is_some());
    assert_eq!(line.decisions()[&second.0], None);
    assert!(line.gate.counters().balance(0));
}

#[test]
fn stretches_that_are_lost_one_after_the_other_are_rejected_from_the_first_to_the_last() {
    let mut line = Belt::new(by_time(Ejector::Reject));
    line.settle();
    let start = line.clock;
    let place = |ms: u64| Position {
        time: Instant(start + ms * MS),
        count: Count(0),
    };
    line.run(40);
    line.call(|g, at, emit| g.lost_since(place(30), place(40), at.time, &mut |o| emit(o)));
    // Known later, but begins and ends earlier.
    line.call(|g, at, emit| g.lost_since(place(10), place(20), at.time, &mut |o| emit(o)));
    line.run(300);
    let last = line.on(Output::Reject).pop().expect("a pulse");
    assert_eq!(last, (start + 110 * MS, start + 155 * MS));

    let mut line = Belt::new(by_time(Ejector::Reject));
    line.settle();
    line.run(40);
    line.call(|g, at, emit| g.lost_since(place(10), place(20), at.time, &mut |o| emit(o)));
    line.call(|g, at, emit| g.lost_since(place(30), place(40), at.time, &mut |o| emit(o)));
    line.run(300);
    let last = line.on(Output::Reject).pop().expect("a pulse");
    assert_eq!(last, (start + 110 * MS, start + 155 * MS));
}

#[test]
fn a_stretch_is_due_when_it_is_known_even_if_a_later_one_was_known_before() {
    let mut line = Belt::new(by_time(Ejector::Pass));
    line.settle();
    let start = line.clock;
    let place = |ms: u64| Position {
        time: Instant(start + ms * MS),
        count: Count(0),
    };
    line.run(40);
    line.call(|g, at, emit| g.lost_since(place(30), place(40), at.time, &mut |o| emit(o)));
    line.run(80);
    let known = line.clock;
    line.call(|g, at, emit| g.lost_since(place(5), place(10), at.time, &mut |o| emit(o)));
    let due = line.reported.iter().rev().find_map(|(_, o)| match *o {
        Action::Set {
            output: Output::Reject,
            on: true,
            due,
            ..
        } => Some(due.0),
        _ => None,
    });
    assert_eq!(due, Some(known));
}

#[test]
fn an_edge_that_was_lost_before_the_last_part_is_rejected_where_it_is() {
    let mut line = Belt::new(by_time(Ejector::Pass));
    line.settle();
    let start = line.clock;
    line.run(10);
    line.good();
    let before = Position {
        time: Instant(start + 5 * MS),
        count: Count(0),
    };
    line.call(|g, at, emit| g.lost(1, before, at.time, &mut |o| emit(o)));
    line.run(300);
    let last = line.on(Output::Reject).pop().expect("a pulse");
    assert_eq!(last.0, start + 105 * MS);
}

#[test]
fn what_is_told_of_the_sensor_counts_after_what_was_due_before() {
    // Covered for 30 ms at the time; the gate is called a little later.
    let mut line = Belt::new(watched(GATES[0], Ejector::Pass));
    line.settle();
    line.good();
    line.run(29);
    line.clock += 3 * MS;
    line.release();
    assert_eq!(line.gate.counters().covered_too_long, 1);
    line.run(200);
    line.good();
    line.run(20);
    line.level_read(false);
    line.run(9);
    line.clock += 3 * MS;
    line.level_read(false);
    assert_eq!(line.gate.counters().covered_too_long, 2);
}

#[test]
fn a_sensor_that_was_found_out_is_doubted_anew_from_the_first_look_on() {
    let mut line = Belt::new(watched(GATES[0], Ejector::Pass));
    line.settle();
    for on in [false, true, true, false, true, true] {
        line.level_read(on);
    }
    assert_eq!(line.gate.counters().found_by_level, 1);
}

#[test]
fn by_counts_parts_that_touch_are_noticed_while_the_line_is_not_ready() {
    let mut line = Belt::new(watched(GATES[1], Ejector::Pass));
    line.settle();
    line.fault(Fault::Camera, true);
    line.trigger();
    line.run(30);
    assert_eq!(line.gate.counters().covered_too_long, 1);
}

#[test]
fn what_nothing_watched_is_thrown_out_at_once() {
    type Call = fn(&mut Gate<ROOM>, Position, &mut dyn FnMut(Action));
    let calls: [Call; 4] = [
        |g, at, emit| g.release(at, 1, at.time, &mut |o| emit(o)),
        |g, at, emit| g.lost(1, at, at.time, &mut |o| emit(o)),
        |g, at, emit| g.lost_since(Position::default(), at, at.time, &mut |o| emit(o)),
        |g, at, emit| g.unwatched(at, at.time, &mut |o| emit(o)),
    ];
    for (n, call) in calls.into_iter().enumerate() {
        let mut line = Belt::new(by_time(Ejector::Pass));
        line.settle();
        line.call(|g, at, emit| call(g, at, emit));
        assert!(line.gate.level(Output::Reject), "{n}");
    }
}
