//! When the alarm calls a person.

use super::*;
use crate::line::gate::alarm::Alarm;

fn limits(consecutive: u32, rejects: u16, window: u16) -> AlarmSettings {
    AlarmSettings {
        consecutive,
        rejects,
        window,
        stop_line: true,
    }
}

#[test]
fn a_pass_begins_the_row_of_rejects_anew() {
    let mut alarm = Alarm::new(limits(3, 0, 0));
    for rejected in [true, true, false, true, true] {
        assert!(!alarm.inspected(rejected) && !alarm.raised());
    }
    assert!(alarm.inspected(true) && alarm.raised());
}

#[test]
fn without_a_limit_no_row_of_rejects_raises_the_alarm() {
    let mut alarm = Alarm::new(limits(0, 0, 0));
    let mut by_rate = Alarm::new(limits(0, 200, 200));
    for _ in 0..150 {
        assert!(!alarm.inspected(true) && !by_rate.inspected(true));
    }
}

#[test]
fn an_alarm_is_told_once_until_it_is_acknowledged() {
    let mut alarm = Alarm::new(limits(2, 0, 0));
    let stated: Vec<_> = (0..5).map(|_| alarm.inspected(true)).collect();
    assert_eq!(stated, [false, true, false, false, false]);
    assert!(!alarm.inspected(false));
    assert!(
        alarm.raised() && alarm.stops_the_line(),
        "a pass does not end it"
    );
    assert!(alarm.acknowledge());
    assert!(!alarm.acknowledge(), "there is none any more");
    assert!(!alarm.raised() && !alarm.stops_the_line());
    let stated: Vec<_> = (0..3).map(|_| alarm.inspected(true)).collect();
    assert_eq!(stated, [false, true, false], "counted anew");
}

#[test]
fn an_alarm_of_an_earlier_process_stands_and_is_told_once() {
    let mut alarm = Alarm::new(limits(0, 0, 0));
    assert!(alarm.raise());
    assert!(!alarm.raise());
    assert!(alarm.raised() && alarm.stops_the_line());
    let mut reported_only = Alarm::new(AlarmSettings {
        stop_line: false,
        ..limits(0, 0, 0)
    });
    reported_only.raise();
    assert!(reported_only.raised() && !reported_only.stops_the_line());
}

#[test]
fn a_reject_counts_for_as_long_as_it_is_among_the_last() {
    for window in [3, 63, 64, 65, 128, 200, 256] {
        for passes in [0, 1, window - 3, window - 2, window - 1, window, 2 * window] {
            let mut alarm = Alarm::new(limits(0, 2, window));
            // More than once round the ring, and not from its beginning.
            for _ in 0..window + 7 {
                assert!(!alarm.inspected(false));
            }
            assert!(!alarm.inspected(true), "one is below the limit");
            for _ in 0..passes {
                assert!(!alarm.inspected(false));
            }
            let both = passes + 2 <= window;
            assert_eq!(alarm.inspected(true), both, "{passes} between, of {window}");
        }
    }
}

#[test]
fn rejects_that_left_the_window_never_come_back() {
    let mut alarm = Alarm::new(limits(0, 2, 3));
    for _ in 0..50 {
        for rejected in [true, false, false] {
            assert!(!alarm.inspected(rejected));
        }
    }
}

#[test]
fn an_alarm_that_stands_from_before_stops_the_line_until_a_person_looked() {
    let mut settings = by_time(Ejector::Pass);
    settings.alarm = limits(0, 0, 0);
    let mut line = Belt::new(settings);
    line.settle();
    let waits = line.trigger().expect("wanted");
    line.run(50);
    let alarms = |line: &Belt| -> Vec<Action> {
        let reported = line.reported.iter().map(|(_, o)| *o);
        reported.filter(|o| matches!(o, Action::Alarm(_))).collect()
    };
    for _ in 0..2 {
        line.call(|g, at, emit| g.raise_alarm(at.time, &mut |o| emit(o)));
        assert_eq!(alarms(&line), [Action::Alarm(true)]);
    }
    assert!(line.gate.alarm() && line.gate.level(Output::Fault) && !line.gate.level(Output::Ready));
    assert!(
        line.gate.level(Output::Reject),
        "timed parts are lost with READY"
    );
    assert_eq!(line.gate.counters().alarms, 1);
    assert!(!line.gate.undecided(waits), "nothing can help it any more");
    line.run(500);
    assert_eq!(line.decisions()[&1], Some(Reason::NotReady));
    assert!(!line.gate.ready() && line.gate.level(Output::Fault));
    for _ in 0..2 {
        line.acknowledge();
        assert_eq!(alarms(&line), [Action::Alarm(true), Action::Alarm(false)]);
    }
    assert!(line.gate.level(Output::Ready) && !line.gate.alarm());
    line.run(100);
    assert!(!line.gate.level(Output::Fault));
}

#[test]
fn while_the_alarm_stops_the_line_no_part_is_inspected_even_where_the_encoder_tells_places() {
    let mut settings = by_counts(Ejector::Pass);
    settings.alarm = limits(0, 0, 0);
    let mut line = Belt::new(settings);
    line.settle();
    let before = line.good();
    line.call(|g, at, emit| g.raise_alarm(at.time, &mut |o| emit(o)));
    line.run(30);
    assert_eq!(line.trigger(), None);
    line.run(200);
    // The alarm is no fault: what was inspected before it keeps its verdict.
    let decisions = line.decisions();
    assert_eq!(decisions[&before.0], None);
    assert_eq!(decisions[&2], Some(Reason::NotReady));
    line.acknowledge();
    line.run(30);
    line.good();
    line.run(150);
    assert_eq!(line.decisions()[&3], None);
}

#[test]
fn an_alarm_that_is_only_told_stops_nothing() {
    let mut settings = by_counts(Ejector::Pass);
    settings.alarm = AlarmSettings {
        stop_line: false,
        ..limits(0, 0, 0)
    };
    let mut line = Belt::new(settings);
    line.settle();
    line.call(|g, at, emit| g.raise_alarm(at.time, &mut |o| emit(o)));
    assert!(line.gate.ready() && line.gate.level(Output::Fault));
    line.good();
    line.run(150);
    assert_eq!(line.decisions()[&1], None);
}

#[test]
fn double_triggers_count_for_the_alarm() {
    let mut settings = by_time(Ejector::Pass);
    settings.alarm = limits(4, 0, 0);
    let mut line = Belt::new(settings);
    line.settle();
    for _ in 0..2 {
        line.good();
        line.run(10);
        assert_eq!(line.trigger(), None);
        line.run(30);
    }
    line.run(70);
    assert!(line.gate.alarm());
    assert_eq!(
        line.gate.counters().rejected[Reason::DoubleTrigger as usize],
        4
    );
    let raised = line
        .reported
        .iter()
        .filter(|(_, o)| *o == Action::Alarm(true));
    assert_eq!((raised.count(), line.gate.counters().alarms), (1, 1));
}

#[test]
fn parts_that_cannot_be_tracked_count_for_the_alarm() {
    let mut settings = by_time(Ejector::Pass);
    settings.alarm = limits(3, 0, 0);
    let mut line = Belt::new(settings);
    line.settle();
    line.call(|g, at, emit| g.lost(2, at, at.time, &mut |o| emit(o)));
    assert!(!line.gate.alarm());
    line.call(|g, at, emit| g.lost(1, at, at.time, &mut |o| emit(o)));
    assert!(line.gate.alarm());
}

#[test]
fn what_a_fault_or_a_neighbour_rejects_does_not_call_a_person() {
    let mut settings = by_time(Ejector::Pass);
    settings.alarm = limits(2, 0, 0);
    let mut line = Belt::new(settings);
    line.settle();
    line.good();
    line.run(25);
    line.good();
    line.run(5);
    line.fault(Fault::Camera, true);
    line.run(200);
    line.fault(Fault::Camera, false);
    line.run(200);
    // An NG whose pulse of 15 ms overlaps the next part, which is 10 ms behind it.
    let mut near = settings;
    near.min_pitch = Duration(5 * MS);
    assert!(!line.gate.alarm());
    let mut line = Belt::new(near);
    line.settle();
    for _ in 0..3 {
        let bad = line.trigger().expect("wanted");
        line.verdict(bad, PartVerdict::Ng);
        line.run(10);
        line.good();
        line.run(10);
        line.run(40);
        line.good();
        line.run(60);
    }
    line.run(200);
    let counters = line.gate.counters();
    assert_eq!(counters.rejected[Reason::Neighbour as usize], 3);
    assert_eq!(counters.rejected[Reason::Ng as usize], 3);
    assert!(!line.gate.alarm());
}

#[test]
fn what_was_due_before_an_alarm_is_as_it_was_without() {
    let mut settings = by_time(Ejector::Pass);
    settings.alarm = limits(0, 0, 0);
    settings.min_pitch = Duration(MS);
    let mut line = Belt::new(settings);
    line.settle();
    line.good();
    line.clock += MS;
    line.good();
    line.run(98);
    // The gates of both parts, and a little later.
    line.clock += 3 * MS;
    line.call(|g, at, emit| g.raise_alarm(at.time, &mut |o| emit(o)));
    assert_eq!(line.decisions(), BTreeMap::from([(1, None), (2, None)]));
}

#[test]
fn rejects_in_a_row_raise_the_alarm_and_a_person_ends_it() {
    let mut settings = by_time(Ejector::Pass);
    settings.alarm = AlarmSettings {
        consecutive: 3,
        rejects: 0,
        window: 0,
        stop_line: true,
    };
    let mut line = Belt::new(settings);
    line.settle();
    for _ in 0..3 {
        let part = line.trigger().expect("wanted");
        line.verdict(part, PartVerdict::Ng);
        line.run(40);
    }
    line.run(300);
    assert!(line.gate.alarm() && !line.gate.ready() && line.gate.level(Output::Fault));
    line.call(|g, at, emit| g.acknowledge(at.time, &mut |o| emit(o)));
    assert!(line.gate.ready());
    assert_eq!(line.gate.counters().alarms, 1);
}

#[test]
fn a_rate_of_rejects_raises_the_alarm() {
    let mut settings = by_time(Ejector::Pass);
    settings.alarm = AlarmSettings {
        consecutive: 0,
        rejects: 3,
        window: 10,
        stop_line: false,
    };
    let mut line = Belt::new(settings);
    line.settle();
    for round in 0..12 {
        let part = line.trigger().expect("wanted");
        let verdict = if round % 5 == 4 {
            PartVerdict::Ng
        } else {
            PartVerdict::Ok
        };
        line.verdict(part, verdict);
        line.run(40);
    }
    assert!(!line.gate.alarm(), "2 of 10");
    for _ in 0..2 {
        let part = line.trigger().expect("wanted");
        line.verdict(part, PartVerdict::Ng);
        line.run(40);
    }
    line.run(200);
    assert!(line.gate.alarm() && line.gate.ready());
}
