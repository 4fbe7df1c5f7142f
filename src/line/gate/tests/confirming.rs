//! The confirming sensor: it shows that the gate's decisions took effect.

use super::*;

/// Parts, or rejected ones, are confirmed within 10 ms, or counts.
fn confirmed(settings: Settings, kind: ConfirmKind) -> Settings {
    let tolerance = match settings.gate {
        Span::Time(_) => Span::Time(Duration(10 * MS)),
        Span::Counts(_) => Span::Counts(Counts(10)),
    };
    Settings {
        confirm: Some(ConfirmSettings { kind, tolerance }),
        ..settings
    }
}

fn both() -> [Settings; 2] {
    [by_time(Ejector::Pass), by_counts(Ejector::Pass)]
}

fn stopped(line: &Belt) -> bool {
    line.gate.faults().has(Fault::Confirm)
}

fn bad(line: &mut Belt) {
    let part = line.trigger().expect("wanted");
    line.verdict(part, PartVerdict::Ng);
}

#[test]
fn a_part_that_is_seen_within_the_tolerance_is_confirmed() {
    for settings in both() {
        for seen in [90, 95, 100, 105, 110] {
            let mut line = Belt::new(confirmed(settings, ConfirmKind::Part));
            line.settle();
            line.good();
            line.run(seen);
            line.confirm(0);
            line.run(200);
            assert!(!stopped(&line), "{seen}, {:?}", settings.gate);
            let counters = line.gate.counters();
            assert_eq!(
                (counters.unconfirmed, counters.surplus_confirmations),
                (0, 0)
            );
            assert_eq!(counters.passed, 1, "{seen}");
        }
    }
}

#[test]
fn a_part_that_is_seen_where_none_can_be_stops_the_line_until_a_person_looked() {
    for settings in both() {
        for seen in [40, 89] {
            let mut line = Belt::new(confirmed(settings, ConfirmKind::Part));
            line.settle();
            line.good();
            line.run(seen);
            line.confirm(0);
            assert!(stopped(&line) && !line.gate.ready(), "{seen}");
            assert_eq!(line.gate.counters().surplus_confirmations, 1);
            line.run(400);
            assert!(stopped(&line), "it does not end by itself");
            assert_eq!(line.gate.counters().unconfirmed, 0, "one fault, told once");
            assert!(line.decisions()[&1].is_some());
            line.acknowledge();
            assert!(!stopped(&line) && line.gate.ready());
        }
    }
}

#[test]
fn a_part_that_is_not_seen_stops_the_line() {
    // By the clock the edge may still be on its way: 3 ms, as for a late output.
    for (settings, last) in both().into_iter().zip([112, 110]) {
        let mut line = Belt::new(confirmed(settings, ConfirmKind::Part));
        line.settle();
        line.good();
        line.run(last);
        assert!(!stopped(&line), "{:?}", settings.gate);
        line.run(1);
        assert!(stopped(&line), "{:?}", settings.gate);
        assert_eq!(line.gate.counters().unconfirmed, 1);
        line.run(100);
        assert_eq!(line.gate.counters().unconfirmed, 1);
    }
}

#[test]
fn a_rejected_part_is_expected_at_the_ejector_as_well() {
    let mut line = Belt::new(confirmed(by_time(Ejector::Pass), ConfirmKind::Part));
    line.settle();
    bad(&mut line);
    line.run(120);
    assert!(stopped(&line));
}

#[test]
fn parts_are_confirmed_one_by_one_in_their_order() {
    for settings in both() {
        let mut line = Belt::new(confirmed(settings, ConfirmKind::Part));
        line.settle();
        for _ in 0..12 {
            line.good();
            line.run(25);
            if line.gate.counters().parts > 3 {
                // 100 ms after the trigger of the part three back.
                line.confirm(0);
            }
        }
        for _ in 0..3 {
            line.run(25);
            line.confirm(0);
        }
        line.run(100);
        assert!(!stopped(&line), "{:?}", line.gate.counters());
        assert_eq!(line.gate.counters().passed, 12);
        line.confirm(0);
        assert!(stopped(&line), "a thirteenth");
    }
}

#[test]
fn two_parts_seen_early_are_two_parts() {
    let mut settings = confirmed(by_time(Ejector::Pass), ConfirmKind::Part);
    settings.min_pitch = Duration(4 * MS);
    let mut line = Belt::new(settings);
    line.settle();
    line.good();
    line.run(5);
    line.good();
    line.run(90);
    line.confirm(0);
    line.confirm(0);
    assert!(!stopped(&line));
    line.confirm(0);
    assert!(stopped(&line));

    // In counts, both at one count; both are confirmed for good.
    let mut settings = confirmed(by_counts(Ejector::Pass), ConfirmKind::Part);
    settings.min_pitch = Duration(4 * MS);
    let mut line = Belt::new(settings);
    line.settle();
    line.good();
    line.run(5);
    line.good();
    line.run(90);
    line.confirm(0);
    line.confirm(0);
    line.run(100);
    assert!(!stopped(&line));
}

#[test]
fn one_edge_confirms_one_part_and_the_next_one_is_missed() {
    for mut settings in both() {
        settings.min_pitch = Duration(4 * MS);
        let mut line = Belt::new(confirmed(settings, ConfirmKind::Part));
        line.settle();
        line.good();
        line.run(6);
        line.good();
        line.run(96);
        line.confirm(0);
        line.run(20);
        assert!(stopped(&line));
        assert_eq!(line.gate.counters().unconfirmed, 1);
    }
}

#[test]
fn a_part_that_is_seen_after_the_tolerance_is_a_surplus_one() {
    for kind in [ConfirmKind::Part, ConfirmKind::Reject] {
        let mut line = Belt::new(confirmed(by_time(Ejector::Pass), kind));
        line.settle();
        bad(&mut line);
        // The part still waits, for an edge that is on its way.
        line.run(112);
        line.confirm(0);
        line.run(20);
        assert!(stopped(&line));
        let counters = line.gate.counters();
        let surplus = u64::from(kind == ConfirmKind::Part);
        assert_eq!(
            counters.surplus_confirmations, surplus,
            "under its pulse it is none"
        );
        assert_eq!(counters.unconfirmed, 1 - surplus);
    }
}

#[test]
fn parts_of_a_stretch_that_is_still_to_come_confirm_nothing() {
    let mut line = Belt::new(confirmed(by_time(Ejector::Pass), ConfirmKind::Part));
    line.settle();
    let since = line.here();
    line.run(30);
    line.call(|g, at, emit| g.lost_since(since, at, at.time, &mut |o| emit(o)));
    line.confirm(0);
    assert!(stopped(&line));
}

#[test]
fn parts_that_a_fault_rejected_are_not_expected() {
    let mut line = Belt::new(confirmed(by_counts(Ejector::Pass), ConfirmKind::Part));
    line.settle();
    line.good();
    line.run(10);
    line.fault(Fault::Camera, true);
    line.fault(Fault::Camera, false);
    line.run(300);
    assert!(!stopped(&line), "somebody may have taken it off");
    assert_eq!(line.decisions()[&1], Some(Reason::NotReady));
}

#[test]
fn a_pass_is_not_made_longer_while_a_fault_is_present() {
    let mut line = Belt::new(confirmed(by_counts(Ejector::Pass), ConfirmKind::Part));
    line.settle();
    let start = line.clock;
    line.good();
    line.run(101);
    line.fault(Fault::Camera, true);
    line.run(7);
    line.confirm(0);
    line.run(100);
    assert_eq!(
        line.on(Output::Pass),
        [(start + 100 * MS, start + 115 * MS)]
    );
}

#[test]
fn a_part_that_is_seen_while_the_encoder_is_silent_is_spared_where_it_is() {
    let pulse = Span::Counts(Counts(15));
    let of = settings(Span::Time(Duration(100 * MS)), pulse, Ejector::Pass);
    let mut line = Belt::new(confirmed(of, ConfirmKind::Part));
    line.settle();
    let start = line.clock;
    line.good();
    line.run(90);
    line.stand(18);
    line.confirm(0);
    line.stand(20);
    // 5 ms without a count end it each time.
    let at = |ms: u64| start + ms * MS;
    assert_eq!(
        line.on(Output::Pass),
        [(at(100), at(105)), (at(108), at(113))]
    );
}

#[test]
fn a_part_whose_gate_was_due_when_it_is_seen_was_decided_there() {
    let mut line = Belt::new(confirmed(by_time(Ejector::Pass), ConfirmKind::Part));
    line.settle();
    let start = line.clock;
    line.good();
    line.run(99);
    line.clock += 3 * MS;
    line.confirm(0);
    line.run(100);
    assert_eq!(
        line.on(Output::Pass),
        [(start + 102 * MS, start + 117 * MS)]
    );
}

#[test]
fn a_part_that_comes_early_meets_its_verdict_where_it_is() {
    for settings in both() {
        let mut line = Belt::new(confirmed(settings, ConfirmKind::Part));
        line.settle();
        let start = line.clock;
        line.good();
        line.run(50);
        bad(&mut line);
        line.run(45);
        line.confirm(0);
        line.run(50);
        line.confirm(0);
        line.run(200);
        assert_eq!(line.on(Output::Pass), [(start + 95 * MS, start + 110 * MS)]);
        let reject = line.on(Output::Reject).pop().expect("a pulse");
        assert_eq!(reject, (start + 145 * MS, start + 160 * MS));
        assert!(!stopped(&line));
    }
}

#[test]
fn a_part_that_comes_late_is_spared_or_thrown_out_where_it_is() {
    for settings in both() {
        let mut line = Belt::new(confirmed(settings, ConfirmKind::Part));
        line.settle();
        let start = line.clock;
        line.good();
        line.run(50);
        bad(&mut line);
        line.run(58);
        line.confirm(0);
        line.run(50);
        line.confirm(0);
        line.run(200);
        // From its gate on, until a pulse after it was seen.
        assert_eq!(
            line.on(Output::Pass),
            [(start + 100 * MS, start + 123 * MS)]
        );
        let reject = line.on(Output::Reject).pop().expect("a pulse");
        assert_eq!(reject, (start + 150 * MS, start + 173 * MS));
        assert!(!stopped(&line));
    }
}

#[test]
fn a_good_part_that_comes_late_is_not_spared_while_something_else_goes() {
    let mut settings = confirmed(by_time(Ejector::Pass), ConfirmKind::Part);
    settings.min_pitch = Duration(5 * MS);
    let mut line = Belt::new(settings);
    line.settle();
    let start = line.clock;
    line.good();
    line.run(6);
    bad(&mut line);
    // The second is being rejected when the first is seen.
    line.run(101);
    line.confirm(0);
    line.run(2);
    line.confirm(0);
    line.run(100);
    assert_eq!(
        line.on(Output::Pass),
        [(start + 100 * MS, start + 106 * MS)]
    );

    // The same with a fault in between.
    let mut line = Belt::new(confirmed(by_counts(Ejector::Pass), ConfirmKind::Part));
    line.settle();
    line.good();
    line.run(101);
    line.fault(Fault::Outputs, true);
    assert!(!line.gate.level(Output::Pass));
    line.run(4);
    line.confirm(0);
    line.fault(Fault::Outputs, false);
    assert!(!line.gate.level(Output::Pass));
}

#[test]
fn while_the_belt_is_thrown_out_nothing_is_expected_and_nothing_surprises() {
    for settings in both() {
        let mut line = Belt::new(confirmed(settings, ConfirmKind::Part));
        line.start();
        line.run(10);
        line.confirm(0);
        line.good();
        line.run(50);
        assert!(line.gate.level(Output::Reject));
        line.confirm(0);
        // The part comes to its gate once positions are known again.
        line.run(50);
        line.confirm(0);
        line.run(200);
        assert!(!stopped(&line), "{:?}", line.gate.counters());
    }
}

#[test]
fn a_bad_part_that_is_thrown_out_with_the_whole_belt_is_not_expected() {
    let mut line = Belt::new(confirmed(by_counts(Ejector::Pass), ConfirmKind::Part));
    line.settle();
    bad(&mut line);
    line.run(5);
    line.fault(Fault::Supervisor, true);
    line.fault(Fault::Supervisor, false);
    line.run(300);
    assert!(!stopped(&line));
    assert_eq!(line.decisions()[&1], Some(Reason::Ng));
}

#[test]
fn a_part_that_was_awaited_when_the_belt_was_lost_is_not_missed() {
    let mut line = Belt::new(confirmed(by_counts(Ejector::Pass), ConfirmKind::Part));
    line.settle();
    line.good();
    line.run(105);
    line.fault(Fault::Supervisor, true);
    line.run(20);
    assert_eq!(line.gate.counters().unconfirmed, 0);
    assert!(!stopped(&line));
}

#[test]
fn lost_edges_of_the_confirming_sensor_are_no_surprise_and_confirm_what_was_awaited() {
    let mut line = Belt::new(confirmed(by_time(Ejector::Pass), ConfirmKind::Part));
    line.settle();
    line.confirm(1);
    assert!(!stopped(&line));
    line.good();
    line.run(25);
    line.good();
    line.run(78);
    // The edge of the first was lost, and this is noise.
    line.run(8);
    line.confirm(2);
    line.run(12);
    assert!(!stopped(&line), "{:?}", line.gate.counters());
}

#[test]
fn parts_of_a_stretch_that_is_thrown_out_confirm_themselves() {
    let mut line = Belt::new(confirmed(by_time(Ejector::Pass), ConfirmKind::Part));
    line.settle();
    line.call(|g, at, emit| g.lost(1, at, at.time, &mut |o| emit(o)));
    line.run(40);
    line.confirm(0);
    assert!(!stopped(&line));
    line.run(200);
    line.confirm(0);
    assert!(stopped(&line));
}

#[test]
fn double_triggers_may_be_one_part_and_are_not_expected() {
    let mut line = Belt::new(confirmed(by_time(Ejector::Pass), ConfirmKind::Part));
    line.settle();
    line.good();
    line.run(10);
    line.trigger();
    line.run(300);
    assert!(!stopped(&line));
    assert_eq!(
        line.gate.counters().rejected[Reason::DoubleTrigger as usize],
        2
    );
}

#[test]
fn a_reject_that_does_not_reach_the_bin_stops_the_line() {
    for (settings, last) in both().into_iter().zip([112, 110]) {
        let mut line = Belt::new(confirmed(settings, ConfirmKind::Reject));
        line.settle();
        bad(&mut line);
        line.run(last);
        assert!(!stopped(&line));
        line.run(1);
        assert!(stopped(&line));
        assert_eq!(line.gate.counters().unconfirmed, 1);
    }
}

#[test]
fn a_reject_that_reaches_the_bin_in_time_is_confirmed_and_a_good_part_is_not_expected_there() {
    for settings in both() {
        for seen in [100, 105, 110] {
            let mut line = Belt::new(confirmed(settings, ConfirmKind::Reject));
            line.settle();
            line.good();
            line.run(30);
            bad(&mut line);
            line.run(seen);
            line.confirm(0);
            line.run(100);
            assert!(!stopped(&line), "{seen}: {:?}", line.gate.counters());
        }
    }
}

#[test]
fn something_in_the_bin_that_nothing_threw_there_stops_the_line() {
    for settings in both() {
        let mut line = Belt::new(confirmed(settings, ConfirmKind::Reject));
        line.settle();
        line.good();
        line.run(105);
        line.confirm(0);
        assert!(stopped(&line));
        assert_eq!(line.gate.counters().surplus_confirmations, 1);
    }
}

#[test]
fn what_a_pulse_throws_out_besides_its_part_is_no_surprise() {
    for settings in both() {
        for (after, stops) in [(10, false), (15, false), (25, false), (26, true)] {
            let mut line = Belt::new(confirmed(settings, ConfirmKind::Reject));
            line.settle();
            bad(&mut line);
            line.run(101);
            line.confirm(0);
            line.run(after - 1);
            // The pulse of 15 is over at 115, and what it rejected last drops for 10.
            line.confirm(0);
            assert_eq!(stopped(&line), stops, "{after}, {:?}", settings.gate);
        }
    }
}

#[test]
fn without_a_confirming_sensor_its_edges_mean_nothing() {
    let mut line = Belt::new(by_time(Ejector::Pass));
    line.settle();
    line.confirm(0);
    line.good();
    line.run(300);
    assert!(!stopped(&line));
    assert_eq!(line.gate.counters().surplus_confirmations, 0);
}

#[test]
fn parts_that_are_not_expected_are_no_surprise_where_they_lie_and_go_there() {
    // Two triggers too close: both are rejected, and a part is seen a little after its gate.
    let mut line = Belt::new(confirmed(by_time(Ejector::Pass), ConfirmKind::Part));
    line.settle();
    let start = line.clock;
    line.good();
    line.run(19);
    line.trigger();
    line.run(89);
    line.confirm(0);
    line.run(19);
    line.confirm(0);
    line.run(100);
    assert!(!stopped(&line), "{:?}", line.gate.counters());
    let last = line.on(Output::Reject).pop().expect("a pulse");
    assert_eq!(last, (start + 100 * MS, start + 142 * MS));
    // A fault after which positions stay known.
    let mut line = Belt::new(confirmed(by_counts(Ejector::Pass), ConfirmKind::Part));
    line.settle();
    line.good();
    line.run(20);
    line.fault(Fault::Camera, true);
    line.fault(Fault::Camera, false);
    line.run(90);
    line.confirm(0);
    assert!(!stopped(&line));
    // Beyond the tolerance it is an unknown part.
    line.run(1);
    line.confirm(0);
    assert!(stopped(&line));
}

#[test]
fn two_edges_are_two_parts_even_if_their_stamps_lie_ahead() {
    let mut settings = confirmed(by_time(Ejector::Pass), ConfirmKind::Part);
    settings.min_pitch = Duration(4 * MS);
    let mut line = Belt::new(settings);
    line.settle();
    line.good();
    line.run(5);
    line.good();
    line.run(90);
    for _ in 0..2 {
        let at = Position {
            time: Instant(line.clock + 2 * MS),
            ..line.here()
        };
        line.call(|g, here, emit| g.confirm(at, 0, here.time, &mut |o| emit(o)));
    }
    line.run(100);
    assert!(!stopped(&line), "{:?}", line.gate.counters());
}

/// While the belt starts, times give no places: a reject then needs no confirmation, and a missing one
/// does not stop the line.
#[test]
fn what_is_decided_while_the_belt_is_emptied_needs_no_confirmation() {
    let mut settings = confirmed(by_time(Ejector::Pass), ConfirmKind::Reject);
    settings.spin_up = Duration(50 * MS);
    let mut line = Belt::new(settings);
    line.settle();
    line.run(50);
    line.fault(Fault::Camera, true);
    line.run(1);
    line.fault(Fault::Camera, false);
    // Ready, and what lay on the belt leaves it for 150 ms. This part is decided 5 ms before.
    line.run(45);
    let part = line.trigger().expect("wanted");
    line.verdict(part, PartVerdict::Ng);
    line.run(400);
    let reasons: Vec<_> = line.decisions().into_values().collect();
    assert_eq!(reasons, [Some(Reason::Ng)]);
    assert!(!stopped(&line), "{:?}", line.gate.faults());
}
