//! TRIGGER-ACK and RESULT-VALID: which result belongs to which part.

use super::*;

/// TRIGGER-ACK of 5 ms, RESULT-VALID of 10 ms.
fn shaking(settings: Settings) -> Settings {
    Settings {
        ack: Duration(5 * MS),
        valid: Duration(10 * MS),
        ..settings
    }
}

#[test]
fn every_trigger_that_is_taken_as_a_part_is_acknowledged_and_a_bounce_is_not() {
    let mut line = Belt::new(shaking(by_time(Ejector::Pass)));
    line.settle();
    let start = line.clock;
    line.good();
    line.clock += MS / 2;
    assert_eq!(line.trigger(), None);
    line.run(30);
    assert_eq!(line.on(Output::TriggerAck), [(start, start + 5 * MS)]);
}

#[test]
fn a_part_that_is_rejected_at_once_is_acknowledged_too() {
    let mut line = Belt::new(shaking(by_time(Ejector::Pass)));
    line.settle();
    line.fault(Fault::Camera, true);
    let start = line.clock;
    assert_eq!(line.trigger(), None);
    line.run(30);
    assert_eq!(line.on(Output::TriggerAck), [(start, start + 5 * MS)]);
}

#[test]
fn a_trigger_during_an_acknowledgement_gets_one_of_its_own() {
    let mut line = Belt::new(shaking(by_time(Ejector::Pass)));
    line.settle();
    let start = line.clock;
    line.trigger();
    line.run(3);
    line.trigger();
    line.run(30);
    let changes = line.changes(Output::TriggerAck, start);
    let second = start + 3 * MS;
    let end = second + 5 * MS;
    assert_eq!(
        changes,
        [(start, true), (second, false), (second, true), (end, false)]
    );
}

#[test]
fn every_part_has_a_result_at_its_gate_and_ok_is_steady_while_it_is_valid() {
    for gate in [Span::Time(Duration(100 * MS)), Span::Counts(Counts(100))] {
        let pulse = match gate {
            Span::Time(_) => Span::Time(Duration(15 * MS)),
            Span::Counts(_) => Span::Counts(Counts(15)),
        };
        let mut line = Belt::new(shaking(settings(gate, pulse, Ejector::Pass)));
        line.settle();
        let start = line.clock;
        line.good();
        line.run(40);
        let bad = line.trigger().expect("wanted");
        line.verdict(bad, PartVerdict::Ng);
        line.run(300);
        let (first, second) = (start + 100 * MS, start + 140 * MS);
        let valid = line.on(Output::ResultValid);
        assert_eq!(
            valid,
            [(first, first + 10 * MS), (second, second + 10 * MS)],
            "{gate:?}"
        );
        assert_eq!(line.on(Output::Ok), [(first, first + 15 * MS)], "{gate:?}");
    }
}

#[test]
fn two_results_close_together_are_two_pulses_and_ok_changes_only_between_them() {
    let mut near = shaking(by_time(Ejector::Pass));
    near.min_pitch = Duration(6 * MS);
    let mut line = Belt::new(near);
    line.settle();
    // OK, NG, OK, 8 ms apart: the RESULT-VALID of each, of 10 ms, is on when the next one comes.
    for verdict in [PartVerdict::Ok, PartVerdict::Ng, PartVerdict::Ok] {
        let part = line.trigger().expect("wanted");
        line.verdict(part, verdict);
        line.run(8);
    }
    line.run(300);
    let (mut valid, mut ok, mut pulses) = (false, false, Vec::new());
    for (_, output) in &line.reported {
        match *output {
            Action::Set {
                output: Output::ResultValid,
                on,
                ..
            } => {
                valid = on;
                if on {
                    pulses.push(ok);
                }
            }
            Action::Set {
                output: Output::Ok,
                on,
                ..
            } => {
                assert!(!valid, "OK changes while RESULT-VALID is on");
                ok = on;
            }
            _ => {}
        }
    }
    // The third is within the pulse that rejects the second.
    assert_eq!(pulses, [true, false, false]);
    assert_eq!(line.decisions()[&3], Some(Reason::Neighbour));
}

#[test]
fn ok_of_one_part_goes_on_to_the_next_but_each_has_a_result_of_its_own() {
    let mut near = shaking(by_time(Ejector::Pass));
    near.min_pitch = Duration(6 * MS);
    let mut line = Belt::new(near);
    line.settle();
    let start = line.clock;
    for _ in 0..2 {
        line.good();
        line.run(8);
    }
    line.run(300);
    let (first, second) = (start + 100 * MS, start + 108 * MS);
    let changes = line.changes(Output::ResultValid, start);
    let end = second + 10 * MS;
    assert_eq!(
        changes,
        [(first, true), (second, false), (second, true), (end, false)]
    );
    assert_eq!(line.on(Output::Ok), [(first, second + 15 * MS)]);
}

#[test]
fn without_a_length_there_is_no_handshake() {
    let mut line = Belt::new(by_time(Ejector::Pass));
    line.settle();
    line.good();
    line.run(200);
    assert_eq!(line.changes(Output::TriggerAck, 0), []);
    assert_eq!(line.changes(Output::ResultValid, 0), []);
}

#[test]
fn ok_is_steady_as_long_as_the_result_is_valid_even_where_the_ejectors_pulse_is_shorter() {
    for pulse in [4, 10] {
        let mut short = shaking(by_time(Ejector::Pass));
        short.pulse = Span::Time(Duration(pulse * MS));
        let mut line = Belt::new(short);
        line.settle();
        let gate = line.clock + 100 * MS;
        line.good();
        line.run(300);
        let shown: Vec<_> = line
            .reported
            .iter()
            .filter_map(|&(at, o)| match o {
                Action::Set { output, on, .. } => Some((at, output, on)),
                _ => None,
            })
            .filter(|(_, l, _)| matches!(l, Output::Ok | Output::ResultValid))
            .collect();
        let end = gate + 10 * MS;
        let expected = [
            (gate, Output::Ok, true),
            (gate, Output::ResultValid, true),
            (end, Output::ResultValid, false),
            (end, Output::Ok, false),
        ];
        assert_eq!(shown, expected, "{pulse}");
    }
}
