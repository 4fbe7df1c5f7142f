//! Late outputs, pulses that overlap, and more parts than there is room or time for.

use super::*;

fn late(line: &Belt) -> (bool, u64) {
    let known = line.gate.faults().has(Fault::LateOutput);
    (known, line.gate.counters().late_outputs)
}

fn bad(line: &mut Belt) {
    let part = line.trigger().expect("wanted");
    line.verdict(part, PartVerdict::Ng);
}

fn tick(line: &mut Belt) {
    line.call(|g, at, emit| g.tick(at.time, &mut |o| emit(o)));
}

#[test]
fn outputs_that_were_set_late_throw_out_everything_and_it_is_over_by_itself() {
    for (settings, emptied) in [
        (by_time(Ejector::Pass), 100),
        (by_counts(Ejector::Pass), 125),
    ] {
        let mut line = Belt::new(settings);
        line.settle();
        line.good();
        line.run(30);
        let behind = line.good();
        line.run(75);
        assert!(line.gate.level(Output::Pass));
        line.call(|g, at, emit| g.outputs_were_late(at.time, &mut |o| emit(o)));
        assert_eq!(late(&line), (true, 1));
        assert!(!line.gate.level(Output::Pass) && line.gate.level(Output::Reject));
        assert!(!line.gate.ready());
        line.run(39);
        assert!(!line.gate.ready());
        line.run(1);
        assert!(
            line.gate.ready(),
            "after the time for which faults are shown"
        );
        let over = line.clock;
        line.run(300);
        assert_eq!(line.decisions()[&behind.0], Some(Reason::NotReady));
        let off = line.on(Output::Reject)[1].1;
        // In counts: from the last count before it was over.
        let least = over + (emptied + 14) * MS;
        assert!((least..=least + MS).contains(&off));
        assert_eq!(line.on(Output::Pass).len(), 1);
    }
}

#[test]
fn a_pass_that_is_taken_away_late_is_a_fault() {
    for (ms, is) in [(18, false), (19, true)] {
        let mut line = Belt::new(by_time(Ejector::Pass));
        line.settle();
        line.good();
        line.run(100);
        assert!(line.gate.level(Output::Pass));
        // It ends after 15 ms; 3 ms are allowed.
        line.clock += ms * MS;
        tick(&mut line);
        assert_eq!(late(&line), (is, u64::from(is)), "{ms}");
    }
}

#[test]
fn a_reject_that_comes_late_is_a_fault_where_the_ejector_has_to_be_told() {
    for (ejector, ms, is) in [
        (Ejector::Reject, 3, false),
        (Ejector::Reject, 4, true),
        (Ejector::Pass, 4, false),
    ] {
        let mut line = Belt::new(by_time(ejector));
        line.settle();
        bad(&mut line);
        line.run(99);
        line.clock += (1 + ms) * MS;
        tick(&mut line);
        assert_eq!(late(&line), (is, u64::from(is)), "{ejector:?} {ms}");
    }
}

#[test]
fn a_reject_that_comes_late_under_another_pulse_is_none() {
    let mut settings = by_time(Ejector::Reject);
    settings.min_pitch = Duration(5 * MS);
    let mut line = Belt::new(settings);
    line.settle();
    bad(&mut line);
    line.run(6);
    bad(&mut line);
    line.run(95);
    assert!(line.gate.level(Output::Reject));
    line.clock += 10 * MS;
    tick(&mut line);
    assert_eq!(late(&line), (false, 0));
}

#[test]
fn a_reject_under_a_pass_that_was_not_taken_away_in_time_is_a_fault() {
    let mut settings = by_time(Ejector::Pass);
    settings.min_pitch = Duration(5 * MS);
    let mut line = Belt::new(settings);
    line.settle();
    line.good();
    line.run(6);
    bad(&mut line);
    line.run(95);
    assert!(line.gate.level(Output::Pass));
    line.clock += 10 * MS;
    tick(&mut line);
    assert_eq!(late(&line), (true, 1));
}

#[test]
fn a_stretch_that_is_rejected_late_is_a_fault() {
    let mut line = Belt::new(by_time(Ejector::Reject));
    line.settle();
    line.good();
    line.run(30);
    line.call(|g, at, emit| g.trigger(at, 1, at.time, &mut |o| emit(o)));
    line.run(69);
    line.clock += 6 * MS;
    tick(&mut line);
    assert!(late(&line).0);
}

#[test]
fn a_part_that_is_reached_a_little_late_passes_and_much_too_late_does_not() {
    for (ms, why) in [(3, None), (4, Some(Reason::Late))] {
        let mut line = Belt::new(by_time(Ejector::Pass));
        line.settle();
        line.good();
        line.run(99);
        line.clock += (1 + ms) * MS;
        tick(&mut line);
        assert_eq!(line.decisions()[&1], why, "{ms}");
    }
    let mut line = Belt::new(by_time(Ejector::Reject));
    line.settle();
    line.good();
    line.run(99);
    line.clock += 20 * MS;
    tick(&mut line);
    assert_eq!(line.decisions()[&1], None, "nothing had to be done");
}

#[test]
fn a_pulse_by_the_clock_that_begins_late_is_as_long_as_any_other() {
    let mut line = Belt::new(by_time(Ejector::Pass));
    line.settle();
    bad(&mut line);
    line.run(99);
    line.clock += 11 * MS;
    let began = line.clock;
    line.run(100);
    assert_eq!(
        line.on(Output::Reject).pop(),
        Some((began, began + 15 * MS))
    );
}

#[test]
fn time_does_not_go_back() {
    let mut line = Belt::new(by_time(Ejector::Pass));
    line.settle();
    line.good();
    line.run(105);
    let now = line.clock;
    line.clock -= 50 * MS;
    tick(&mut line);
    assert!(line.gate.level(Output::Pass));
    line.clock = now;
    line.run(100);
    assert_eq!(line.on(Output::Pass).len(), 1);
    assert_eq!(line.on(Output::Pass)[0].1, now + 10 * MS);
}

#[test]
fn an_ejector_that_had_no_rest_is_counted() {
    // Rejected only after the pulse before it went off, so that nothing could foresee it.
    for (apart, short) in [(18, 1), (19, 1), (20, 0)] {
        let mut settings = by_time(Ejector::Reject);
        settings.min_pitch = Duration(5 * MS);
        let mut line = Belt::new(settings);
        line.settle();
        let start = line.clock;
        bad(&mut line);
        line.run(apart);
        let second = line.good();
        line.run(116 - apart);
        assert!(!line.gate.level(Output::Reject));
        line.verdict(second, PartVerdict::Ng);
        line.run(100);
        let counters = line.gate.counters();
        assert_eq!(
            (counters.short_rests, counters.pulses),
            (short, 2),
            "{apart}"
        );
        let gate = start + (100 + apart) * MS;
        assert_eq!(line.on(Output::Reject)[2], (gate, gate + 15 * MS));
    }
}

#[test]
fn pulses_merge_up_to_the_rest_that_the_ejector_needs() {
    for (apart, pulses) in [(19, 1), (20, 2)] {
        let mut settings = by_time(Ejector::Reject);
        settings.min_pitch = Duration(5 * MS);
        let mut line = Belt::new(settings);
        line.settle();
        bad(&mut line);
        line.run(apart);
        bad(&mut line);
        line.run(200);
        assert_eq!(line.on(Output::Reject).len(), 1 + pulses, "{apart}");
        assert_eq!(line.gate.counters().pulses, pulses as u64);
        assert_eq!(line.gate.counters().short_rests, 0);
    }
}

#[test]
fn a_part_without_a_verdict_just_behind_a_pulse_goes_with_it() {
    let mut settings = by_time(Ejector::Reject);
    settings.min_pitch = Duration(5 * MS);
    let mut line = Belt::new(settings);
    line.settle();
    let start = line.clock;
    bad(&mut line);
    line.run(18);
    let waits = line.trigger().expect("wanted");
    line.run(98);
    // The ejector has not returned yet, and would have no rest.
    assert!(line.gate.level(Output::Reject));
    line.verdict(waits, PartVerdict::Ok);
    line.run(100);
    assert_eq!(line.decisions()[&waits.0], Some(Reason::Neighbour));
    assert_eq!(
        line.on(Output::Reject)[1],
        (start + 100 * MS, start + 133 * MS)
    );
}

#[test]
fn a_good_part_just_behind_a_pulse_has_its_pass() {
    let mut settings = by_time(Ejector::Pass);
    settings.min_pitch = Duration(5 * MS);
    let mut line = Belt::new(settings);
    line.settle();
    let start = line.clock;
    bad(&mut line);
    line.run(18);
    line.good();
    line.run(200);
    assert_eq!(
        line.on(Output::Reject)[1],
        (start + 100 * MS, start + 115 * MS)
    );
    assert_eq!(
        line.on(Output::Pass),
        [(start + 118 * MS, start + 133 * MS)]
    );
}

#[test]
fn a_stretch_just_behind_a_pulse_is_rejected_with_it() {
    for (apart, pulses) in [(19, 1), (20, 2)] {
        let mut settings = by_time(Ejector::Reject);
        settings.min_pitch = Duration(5 * MS);
        let mut line = Belt::new(settings);
        line.settle();
        bad(&mut line);
        line.run(apart);
        let since = line.here();
        line.run(10);
        line.call(|g, at, emit| g.lost_since(since, at, at.time, &mut |o| emit(o)));
        line.run(250);
        assert_eq!(line.on(Output::Reject).len(), 1 + pulses, "{apart}");
        assert_eq!(line.gate.counters().short_rests, 0);
    }
}

#[test]
fn edges_that_were_lost_before_any_was_seen_reject_all_that_lies_before() {
    let mut line = Belt::new(by_time(Ejector::Pass));
    line.settle();
    let at = line.clock;
    line.call(|g, at, emit| g.lost(3, at, at.time, &mut |o| emit(o)));
    assert!(line.gate.level(Output::Reject));
    line.run(300);
    assert_eq!(line.on(Output::Reject)[1], (at, at + 115 * MS));
    let counters = line.gate.counters();
    assert_eq!(
        (counters.lost_triggers, counters.untracked, counters.parts),
        (3, 3, 3)
    );
    assert_eq!((counters.triggers, line.decisions().len()), (3, 3));
    assert!(counters.balance(0));
    assert_eq!(late(&line), (false, 0));
}

#[test]
fn a_backlog_stops_the_line_until_half_of_it_is_gone() {
    let mut settings = by_counts(Ejector::Pass);
    settings.gate = Span::Counts(Counts(1000));
    let mut line = Belt::new(settings);
    line.start();
    line.run(1200);
    let mut waiting = Vec::new();
    for _ in 0..6 {
        waiting.push(line.trigger().expect("wanted"));
        line.run(25);
    }
    assert_eq!(line.gate.waiting(), 6);
    assert!(line.gate.ready() && line.gate.level(Output::Busy));
    assert_eq!(line.trigger(), None, "the seventh");
    assert!(line.gate.faults().has(Fault::Overrun) && !line.gate.ready());
    assert_eq!(line.gate.waiting(), 6);
    for part in &waiting[..2] {
        line.verdict(*part, PartVerdict::Ok);
    }
    assert!(line.gate.faults().has(Fault::Overrun), "4 of 6");
    line.verdict(waiting[2], PartVerdict::Ok);
    assert!(!line.gate.faults().has(Fault::Overrun), "3 of 6");
    for part in &waiting[3..] {
        assert!(line.gate.level(Output::Busy));
        line.verdict(*part, PartVerdict::Ok);
    }
    assert!(!line.gate.level(Output::Busy));
    line.run(1200);
    assert!(
        line.decisions()
            .values()
            .all(|why| *why == Some(Reason::NotReady))
    );
}

#[test]
fn a_backlog_whose_parts_have_gone_by_stops_the_line_no_longer() {
    let mut settings = by_time(Ejector::Pass);
    settings.max_waiting = 1;
    let mut line = Belt::new(settings);
    line.settle();
    line.trigger();
    line.run(30);
    assert_eq!(line.trigger(), None);
    assert!(line.gate.faults().has(Fault::Overrun));
    line.run(100);
    assert!(!line.gate.faults().has(Fault::Overrun) && line.gate.ready());
}

#[test]
fn a_part_that_has_left_makes_room_before_the_next_is_counted() {
    let mut settings = by_time(Ejector::Pass);
    settings.capacity = 3;
    settings.max_waiting = 3;
    let mut line = Belt::new(settings);
    line.settle();
    line.good();
    line.run(40);
    line.good();
    line.run(59);
    line.clock += 2 * MS;
    assert!(line.trigger().is_some());
    assert!(!line.gate.faults().has(Fault::Overload));
}

#[test]
fn a_second_trigger_is_a_bounce_before_its_time_and_a_part_from_then_on() {
    for (us, bounce, double) in [
        (999, true, false),
        (1000, false, true),
        (19_999, false, true),
        (20_000, false, false),
    ] {
        let mut line = Belt::new(by_time(Ejector::Pass));
        line.settle();
        line.good();
        line.clock += us * 1000;
        line.trigger();
        let counters = line.gate.counters();
        assert_eq!(counters.bounces, u64::from(bounce), "{us}");
        line.run(200);
        let why = line.decisions()[&1];
        assert_eq!(why == Some(Reason::DoubleTrigger), double, "{us}");
    }
}

#[test]
fn the_reason_for_which_a_part_goes_is_the_first_one() {
    let mut line = Belt::new(by_time(Ejector::Pass));
    line.settle();
    bad(&mut line);
    line.run(10);
    line.trigger();
    line.fault(Fault::Camera, true);
    line.run(200);
    let why = [(1, Some(Reason::Ng)), (2, Some(Reason::DoubleTrigger))];
    assert_eq!(line.decisions(), BTreeMap::from(why));
}

#[test]
fn a_full_line_keeps_the_reasons_that_its_parts_had() {
    let mut settings = by_counts(Ejector::Reject);
    settings.gate = Span::Counts(Counts(1000));
    settings.capacity = 4;
    settings.max_waiting = 4;
    let mut line = Belt::new(settings);
    line.start();
    line.run(1200);
    let start = line.clock;
    bad(&mut line);
    line.run(25);
    line.good();
    line.run(25);
    line.trigger();
    line.run(25);
    assert_eq!(line.gate.under_way(), 3);
    assert!(line.decisions().is_empty());
    assert_eq!(line.trigger(), None);
    let over = Some(Reason::Overload);
    let why = [(1, Some(Reason::Ng)), (2, over), (3, over), (4, over)];
    assert_eq!(line.decisions(), BTreeMap::from(why));
    assert_eq!(line.gate.counters().untracked, 4);
    assert_eq!(line.gate.under_way(), 0);
    let inspected = line.reported.iter().filter_map(|(_, o)| match o {
        Action::Decided(d) => Some(d.verdict_at.is_some()),
        _ => None,
    });
    assert_eq!(inspected.collect::<Vec<_>>(), [true, true, false, false]);
    line.run(1200);
    let last = line.on(Output::Reject).pop().expect("a pulse");
    assert_eq!(last, (start + 1000 * MS, start + (1075 + 15) * MS));
}

#[test]
fn what_is_asked_of_a_part_holds_while_it_is_tracked() {
    let mut line = Belt::new(by_time(Ejector::Pass));
    line.settle();
    let at = line.clock;
    let first = line.trigger().expect("wanted");
    line.run(30);
    let second = line.trigger().expect("wanted");
    assert_eq!(line.gate.under_way(), 2);
    assert_eq!(line.gate.waiting(), 2);
    assert_eq!(line.gate.trigger_of(first), Some(Instant(at)));
    assert_eq!(line.gate.trigger_of(second), Some(Instant(at + 30 * MS)));
    assert_eq!(line.gate.trigger_of(PartId(9)), None);
    line.verdict(first, PartVerdict::Ng);
    assert!(!line.gate.undecided(first) && line.gate.undecided(second));
    assert!(!line.gate.undecided(PartId(9)));
    assert_eq!(line.gate.waiting(), 1);
    line.run(200);
    assert!(!line.gate.undecided(second));
    assert_eq!(line.gate.trigger_of(second), None);
}

#[test]
fn a_part_that_is_told_of_after_the_next_one_is_rejected_with_all_that_may_lie_beside_it() {
    // At 0, 25 and 50 ms parts are seen; then one at 30, or once more at 25, with edges lost before it.
    for (place, lost, received) in [(30, 0, 75), (30, 2, 80), (25, 0, 90), (30, 0, 110)] {
        let mut line = Belt::new(by_time(Ejector::Pass));
        line.settle();
        let start = line.clock;
        for _ in 0..3 {
            line.good();
            line.run(25);
        }
        line.run(received - 75);
        let at = Position {
            time: Instant(start + place * MS),
            ..line.here()
        };
        let wanted = line.call(|g, here, emit| g.trigger(at, lost, here.time, &mut |o| emit(o)));
        assert_eq!(wanted, None);
        line.run(60);
        let after = line.good();
        line.run(300);
        let counters = *line.gate.counters();
        let lost = 1 + u64::from(lost);
        assert_eq!((counters.triggers, counters.parts), (4 + lost, 4 + lost));
        assert_eq!(counters.lost_triggers, lost);
        // Its frame may be that of the part before it, which is rejected with it.
        let decisions = line.decisions().into_iter();
        let passed: Vec<_> = decisions.filter(|(_, why)| why.is_none()).collect();
        assert_eq!(passed, [(1, None), (after.0, None)], "{place}, {received}");
        let last = line.on(Output::Reject).pop().expect("a pulse");
        assert_eq!(last, (start + 125 * MS, start + (150 + 15) * MS));
    }
}

#[test]
fn a_part_that_is_told_of_when_it_has_gone_by_throws_out_what_is_there_at_once() {
    let mut line = Belt::new(by_time(Ejector::Pass));
    line.settle();
    let between = line.here();
    line.run(10);
    line.good();
    line.run(200);
    line.call(|g, here, emit| g.trigger(between, 0, here.time, &mut |o| emit(o)));
    assert!(line.gate.level(Output::Reject));
}

#[test]
fn a_trigger_whose_part_is_lost_to_a_late_output_keeps_nobody_busy() {
    let mut line = Belt::new(by_time(Ejector::Reject));
    line.settle();
    line.good();
    line.run(250);
    // A part was lost before it and has gone by.
    let part = line.call(|g, at, emit| g.trigger(at, 1, at.time, &mut |o| emit(o)));
    assert_eq!((part, late(&line)), (None, (true, 1)));
    assert!(!line.gate.level(Output::Busy));
}

#[test]
fn a_pass_that_is_over_when_its_count_is_heard_of_is_not_left_on() {
    let pulse = Span::Time(Duration(4 * MS));
    let mut settings = settings(Span::Counts(Counts(100)), pulse, Ejector::Pass);
    settings.late_output = Duration(5 * MS);
    let mut line = Belt::new(settings);
    line.settle();
    line.good();
    line.run(99);
    let at = line.clock;
    line.clock += 9 * MS / 2;
    line.counts_to(line.counts + 1, at);
    assert_eq!(line.decisions()[&1], None);
    assert!(!line.gate.level(Output::Pass));
}

#[test]
fn microseconds_are_whole_ones() {
    assert_eq!(Duration(1_999).as_micros(), 1);
}
