//! Faults, what they stop, and settings that cannot be used.

use super::*;

#[test]
fn every_fault_has_a_place_of_its_own() {
    let mut faults = Faults::NONE;
    assert!(faults.is_empty());
    for (place, fault) in Fault::ALL.into_iter().enumerate() {
        assert_eq!(fault.index(), place);
        assert!(!faults.has(fault));
        assert!(faults.set(fault, true) && faults.has(fault));
        assert!(!faults.set(fault, true), "it was there");
    }
    assert!(faults.iter().eq(Fault::ALL));
    assert!(faults.set(Fault::Camera, false) && !faults.has(Fault::Camera));
    assert!(!faults.set(Fault::Camera, false), "it was gone");
    assert!(faults.iter().all(|f| f != Fault::Camera));
    assert_eq!(faults.iter().count(), Fault::ALL.len() - 1);
}

#[test]
fn only_what_stops_parts_is_safe() {
    let safe: Vec<_> = Output::ALL
        .into_iter()
        .flat_map(|l| [(l, false), (l, true)])
        .filter(|(l, on)| l.is_safe(*on))
        .collect();
    let expected = [
        (Output::Ready, false),
        (Output::Reject, true),
        (Output::Pass, false),
        (Output::Fault, true),
    ];
    assert_eq!(safe, expected);
}

#[test]
fn counters_that_miss_a_trigger_or_a_part_do_not_balance() {
    let mut counters = Counters::default();
    assert!(counters.balance(0));
    counters.triggers = 5;
    assert!(!counters.balance(0));
    counters.bounces = 1;
    counters.parts = 4;
    counters.passed = 1;
    counters.rejected[Reason::Ng as usize] = 1;
    counters.rejected[Reason::Late as usize] = 1;
    assert_eq!(counters.rejected_in_all(), 2);
    assert!(counters.balance(1) && !counters.balance(0));
    counters.bounces = 0;
    assert!(!counters.balance(1));
}

#[test]
fn a_gate_starts_with_a_fault_that_is_counted_and_shown() {
    let line = Belt::new(by_time(Ejector::Pass));
    assert_eq!(line.gate.counters().faults[Fault::Starting.index()], 1);
    assert!(line.gate.level(Output::Fault) && line.gate.level(Output::Reject));
    assert!(!line.gate.level(Output::Pass) && !line.gate.level(Output::Ready));
}

#[test]
fn a_fault_is_shown_long_enough_for_a_plc_to_see_it() {
    let mut line = Belt::new(by_counts(Ejector::Pass));
    line.start();
    line.run(39);
    assert!(line.gate.level(Output::Fault), "the start's own");
    line.run(1);
    assert!(!line.gate.level(Output::Fault));
    line.run(300);
    let start = line.clock;
    line.fault(Fault::Camera, true);
    line.fault(Fault::Camera, false);
    // Emitted at once, and not again.
    line.run(39);
    assert!(line.gate.level(Output::Fault) && line.gate.ready());
    line.run(100);
    assert_eq!(line.on(Output::Fault)[1..], [(start, start + 40 * MS)]);
}

#[test]
fn a_fault_that_is_told_again_is_counted_once_and_rejects_once() {
    let mut line = Belt::new(by_counts(Ejector::Pass));
    line.settle();
    line.fault(Fault::Camera, true);
    line.run(10);
    line.fault(Fault::Camera, true);
    line.run(10);
    line.fault(Fault::Camera, false);
    line.fault(Fault::Camera, false);
    assert_eq!(line.gate.counters().faults[Fault::Camera.index()], 1);
    let stated = line.reported.iter().filter(|(_, o)| {
        matches!(
            o,
            Action::Fault {
                fault: Fault::Camera,
                ..
            }
        )
    });
    assert_eq!(stated.count(), 2);
}

#[test]
fn heartbeat_toggles_while_all_that_matters_works_and_stands_still_otherwise() {
    let mut line = Belt::new(by_counts(Ejector::Pass));
    line.run(200);
    assert_eq!(line.changes(Output::Heartbeat, 0), [], "starting");
    line.start();
    let start = line.clock;
    line.run(200);
    let beats: Vec<_> = (1..=4u64)
        .map(|n| (start + n * 50 * MS, n % 2 == 1))
        .collect();
    assert_eq!(line.changes(Output::Heartbeat, start), beats);
    for fault in Fault::ALL {
        let stands = matches!(
            fault,
            Fault::Starting
                | Fault::Camera
                | Fault::Inference
                | Fault::Inputs
                | Fault::Outputs
                | Fault::Supervisor
        );
        let from = line.clock + 1;
        line.fault(fault, true);
        // Those that end by themselves are emitted again.
        line.run(100);
        assert_eq!(
            line.changes(Output::Heartbeat, from).is_empty(),
            stands,
            "{fault:?}"
        );
        line.fault(fault, false);
    }
}

#[test]
fn heartbeat_does_not_make_up_for_a_time_in_which_nobody_called() {
    let mut line = Belt::new(by_time(Ejector::Pass));
    line.settle();
    line.clock += 500 * MS;
    let from = line.clock;
    line.run(49);
    assert_eq!(line.changes(Output::Heartbeat, from).len(), 1);
    line.run(1);
    assert_eq!(line.changes(Output::Heartbeat, from).len(), 2);
}

#[test]
fn heartbeat_keeps_its_time_although_calls_come_late() {
    let mut line = Belt::new(by_time(Ejector::Pass));
    line.settle();
    let from = line.clock + 1;
    line.clock += 60 * MS;
    let late = line.clock;
    line.call(|g, at, emit| g.tick(at.time, &mut |o| emit(o)));
    line.stand(50);
    let beats: Vec<_> = line.changes(Output::Heartbeat, from);
    let beats: Vec<_> = beats.iter().map(|(at, _)| *at).collect();
    assert_eq!(beats, [late, late + 40 * MS]);
    // If one is a whole period late, it is one change and not two at once.
    let from = line.clock + 1;
    line.clock = late + 140 * MS;
    line.call(|g, at, emit| g.tick(at.time, &mut |o| emit(o)));
    assert_eq!(line.changes(Output::Heartbeat, from).len(), 1);
}

#[test]
fn the_gate_asks_to_be_called_when_fault_may_fall() {
    let mut line = Belt::new(by_counts(Ejector::Pass));
    line.settle();
    // At a time when HEARTBEAT is not due as well.
    line.run(25);
    let start = line.clock;
    line.fault(Fault::Camera, true);
    line.fault(Fault::Camera, false);
    line.stand(39);
    assert!(line.gate.level(Output::Fault));
    line.stand(100);
    assert_eq!(line.on(Output::Fault)[1..], [(start, start + 40 * MS)]);
}

#[test]
fn what_was_due_before_a_fault_or_an_alarm_came_is_decided_without_it() {
    type Call = fn(&mut Gate<ROOM>, Position, &mut dyn FnMut(Action));
    let calls: [Call; 7] = [
        |g, at, emit| g.fault(Fault::Camera, true, at.time, &mut |o| emit(o)),
        |g, at, emit| g.lost(1, at, at.time, &mut |o| emit(o)),
        |g, at, emit| g.lost_since(Position::default(), at, at.time, &mut |o| emit(o)),
        |g, at, emit| g.unwatched(at, at.time, &mut |o| emit(o)),
        |g, at, emit| g.outputs_were_late(at.time, &mut |o| emit(o)),
        |g, at, emit| g.raise_alarm(at.time, &mut |o| emit(o)),
        |g, at, emit| g.encoder_unsure(at.time, &mut |o| emit(o)),
    ];
    for (n, call) in calls.into_iter().enumerate() {
        let (gate, pulse) = (Span::Time(Duration(100 * MS)), Span::Counts(Counts(15)));
        let mut settings = settings(gate, pulse, Ejector::Pass);
        settings.alarm.stop_line = true;
        let mut line = Belt::new(settings);
        line.settle();
        line.good();
        line.run(99);
        line.clock += 2 * MS;
        line.call(|g, at, emit| call(g, at, emit));
        assert_eq!(line.decisions()[&1], None, "{n}");
    }
}

#[test]
fn an_acknowledgement_holds_for_what_was_due_before_it() {
    let mut settings = by_counts(Ejector::Pass);
    settings.gate = Span::Time(Duration(100 * MS));
    settings.min_off = Span::Time(Duration(5 * MS));
    settings.alarm.consecutive = 1;
    let mut line = Belt::new(settings);
    line.settle();
    let part = line.trigger().expect("wanted");
    line.verdict(part, PartVerdict::Ng);
    line.run(99);
    line.clock += 2 * MS;
    line.acknowledge();
    assert_eq!(line.gate.counters().alarms, 1);
    assert!(!line.gate.alarm());
}

/// If the gate is in counts, positions stay known while the belt stands: only some faults reject what
/// lies on it.
#[test]
fn after_a_fault_that_hid_parts_everything_on_the_belt_goes_even_where_the_encoder_tells_places() {
    for fault in [
        Fault::Inputs,
        Fault::Supervisor,
        Fault::LateOutput,
        Fault::Confirm,
    ] {
        let mut line = Belt::new(by_counts(Ejector::Pass));
        line.settle();
        line.fault(fault, true);
        assert!(line.gate.level(Output::Reject), "{fault:?}");
        line.run(20);
        line.fault(fault, false);
        assert!(line.gate.ready());
        let over = line.clock;
        line.run(50);
        let part = line.good();
        line.run(300);
        // What was unseen has left 100 counts after the line is ready, or 125 if the encoder errs.
        let rejects = line.on(Output::Reject);
        assert_eq!(rejects[1].1, over + (125 + 15) * MS, "{fault:?}");
        assert_eq!(line.decisions()[&part.0], None, "{fault:?}");
    }
    for fault in [
        Fault::Camera,
        Fault::Inference,
        Fault::SelfTest,
        Fault::Record,
    ] {
        let mut line = Belt::new(by_counts(Ejector::Pass));
        line.settle();
        let lost = line.good();
        line.fault(fault, true);
        line.run(20);
        assert!(!line.gate.level(Output::Reject), "{fault:?}");
        assert_eq!(line.trigger(), None);
        line.run(5);
        line.fault(fault, false);
        line.run(20);
        let part = line.good();
        line.run(300);
        let decisions = line.decisions();
        assert_eq!(decisions[&lost.0], Some(Reason::NotReady), "{fault:?}");
        assert_eq!(decisions[&part.0], None, "{fault:?}");
    }
}

#[test]
fn a_belt_that_takes_time_to_run_is_thrown_out_for_so_much_longer() {
    let mut settings = by_time(Ejector::Pass);
    settings.spin_up = Duration(30 * MS);
    let mut line = Belt::new(settings);
    line.start();
    line.run(300);
    assert_eq!(line.on(Output::Reject), [(0, 145 * MS)]);
}

#[test]
fn outputs_that_nobody_can_trust_end_a_pass_for_good() {
    for settings in [by_time(Ejector::Pass), by_counts(Ejector::Pass)] {
        for fault in [Fault::Outputs, Fault::LateOutput, Fault::Inputs] {
            let mut line = Belt::new(settings);
            line.settle();
            line.good();
            line.run(105);
            assert!(line.gate.level(Output::Pass));
            line.fault(fault, true);
            assert!(!line.gate.level(Output::Pass), "{fault:?}");
            line.fault(fault, false);
            assert!(!line.gate.level(Output::Pass), "{fault:?}");
        }
    }
    // By counts, with pulses in time: a fault that does not concern the outputs leaves a pass that has
    // begun.
    let mut line = Belt::new(by_counts(Ejector::Pass));
    line.settle();
    line.good();
    line.run(105);
    line.fault(Fault::Camera, true);
    assert!(line.gate.level(Output::Pass));
}

#[test]
fn settings_that_make_no_line_are_refused() {
    let good = Settings {
        occupied_max: Some(Span::Time(Duration(30 * MS))),
        confirm: Some(ConfirmSettings {
            kind: ConfirmKind::Part,
            tolerance: Span::Time(Duration(MS)),
        }),
        ..by_time(Ejector::Pass)
    };
    let refused = |change: &dyn Fn(&mut Settings)| {
        let mut settings = good;
        change(&mut settings);
        settings.check(ROOM).err()
    };
    let counts = |n| Span::Counts(Counts(n));
    let time = |n| Span::Time(Duration(n));
    assert_eq!(refused(&|_| ()), None);
    assert_eq!(
        refused(&|s| s.gate = time(0)),
        Some(SettingsError::Zero("gate"))
    );
    assert_eq!(
        refused(&|s| s.gate = counts(0)),
        Some(SettingsError::Zero("gate"))
    );
    assert_eq!(
        refused(&|s| s.pulse = time(0)),
        Some(SettingsError::Zero("pulse"))
    );
    assert_eq!(
        refused(&|s| s.heartbeat = Duration(0)),
        Some(SettingsError::Zero("heartbeat"))
    );
    for off in [counts(1), time(100 * MS), time(101 * MS)] {
        assert_eq!(refused(&|s| s.min_off = off), Some(SettingsError::MinOff));
    }
    assert_eq!(refused(&|s| s.min_off = time(100 * MS - 1)), None);
    for (off, error) in [(99, None), (100, Some(SettingsError::MinOff))] {
        let by_counts = Settings {
            min_off: counts(off),
            ..by_counts(Ejector::Pass)
        };
        assert_eq!(by_counts.check(ROOM).err(), error);
    }
    for capacity in [0, ROOM + 1] {
        let error = Some(SettingsError::Capacity { room: ROOM });
        assert_eq!(refused(&|s| s.capacity = capacity), error);
    }
    for waiting in [0, ROOM + 1] {
        assert_eq!(
            refused(&|s| s.max_waiting = waiting),
            Some(SettingsError::MaxWaiting)
        );
    }
    assert_eq!(refused(&|s| s.max_waiting = ROOM), None);
    assert_eq!(
        refused(&|s| s.occupied_max = Some(counts(3))),
        Some(SettingsError::Unit("occupied_max"))
    );
    assert_eq!(
        refused(&|s| s.confirm = Some(ConfirmSettings {
            kind: ConfirmKind::Reject,
            tolerance: counts(3)
        })),
        Some(SettingsError::Unit("confirm.tolerance"))
    );
    assert_eq!(
        refused(&|s| s.bounce = Duration(20 * MS + 1)),
        Some(SettingsError::Pitch)
    );
    assert_eq!(refused(&|s| s.bounce = Duration(20 * MS)), None);
    let alarm = |rejects, window| AlarmSettings {
        consecutive: 0,
        rejects,
        window,
        stop_line: false,
    };
    for (rejects, window, error) in [
        (256, 256, None),
        (1, 257, Some(SettingsError::Window)),
        (11, 10, Some(SettingsError::Window)),
    ] {
        assert_eq!(refused(&|s| s.alarm = alarm(rejects, window)), error);
    }
    assert!(
        Gate::<ROOM>::new(
            Settings {
                capacity: 0,
                ..good
            },
            Instant(0)
        )
        .is_err()
    );
}
