//! What the encoder reports, and which of its reports must not be trusted.

use super::*;

fn time_gate_counts_pulse(ejector: Ejector) -> Settings {
    settings(
        Span::Time(Duration(100 * MS)),
        Span::Counts(Counts(15)),
        ejector,
    )
}

fn unsure(line: &mut Belt) {
    line.call(|g, at, emit| g.encoder_unsure(at.time, &mut |o| emit(o)));
}

#[test]
fn counts_closer_than_any_belt_makes_them_throw_out_all_that_lies_on_it() {
    // How many counts, after how many microseconds: the least is 500 per count.
    for (counts, us, noise) in [
        (1, 499, true),
        (1, 500, false),
        (2, 999, true),
        (2, 1000, false),
    ] {
        let mut settings = by_counts(Ejector::Pass);
        settings.count_min = Duration(MS / 2);
        let mut line = Belt::new(settings);
        line.settle();
        let part = line.good();
        line.run(10);
        let at = line.clock + us * 1000;
        line.clock = at;
        line.counts_to(line.counts + counts, at);
        assert_eq!(
            line.gate.faults().has(Fault::Encoder),
            noise,
            "{counts} in {us}"
        );
        assert_eq!(line.gate.counters().implausible_counts, u64::from(noise));
        assert_eq!(line.gate.level(Output::Reject), noise);
        assert_eq!(line.gate.ready(), !noise);
        if noise {
            // The belt stands for an instant, so that the next count is not too close.
            line.stand(1);
            line.run(500);
            assert_eq!(line.decisions()[&part.0], Some(Reason::NotReady));
            assert!(line.gate.ready(), "it is over by itself");
            // The way to the gate, a quarter of it for what it may have counted wrongly before, and a
            // pulse.
            let (_, off) = line.on(Output::Reject)[1];
            let next_count = (at / MS + 2) * MS;
            assert_eq!(
                off,
                next_count + (100 + 25 + 15 - 1) * MS,
                "{counts} in {us}"
            );
        }
    }
}

#[test]
fn counts_are_not_doubted_where_that_is_not_asked_for_nor_before_the_first() {
    let mut line = Belt::new(by_counts(Ejector::Pass));
    line.settle();
    line.clock += 1;
    line.counts_to(line.counts + 1, line.clock);
    assert_eq!(line.gate.counters().implausible_counts, 0);
    let mut settings = by_counts(Ejector::Pass);
    settings.count_min = Duration(10 * MS);
    let mut line = Belt::new(settings);
    line.clock = MS;
    // The belt's place before the start is not known.
    line.counts_to(1, MS);
    assert_eq!(line.gate.counters().implausible_counts, 0);
    line.clock = 2 * MS;
    line.counts_to(2, 2 * MS);
    assert_eq!(line.gate.counters().implausible_counts, 1);
}

#[test]
fn a_count_that_was_told_already_is_none() {
    let mut settings = by_counts(Ejector::Pass);
    settings.count_min = Duration(MS / 2);
    settings.encoder_silence = Duration(10 * MS);
    let mut line = Belt::new(settings);
    line.settle();
    let counts = line.counts;
    line.stand(9);
    line.counts_to(counts, line.clock);
    line.counts_to(counts - 5, line.clock);
    assert!(!line.gate.level(Output::Reject));
    line.stand(2);
    assert!(line.gate.level(Output::Reject), "it is silent all the same");
    assert_eq!(line.gate.counters().implausible_counts, 0);
}

#[test]
fn an_encoder_that_may_have_missed_an_edge_throws_out_what_it_placed() {
    let (gate, pulse) = (Span::Counts(Counts(100)), Span::Time(Duration(15 * MS)));
    for settings in [
        by_counts(Ejector::Pass),
        time_gate_counts_pulse(Ejector::Pass),
        settings(gate, pulse, Ejector::Pass),
    ] {
        let mut line = Belt::new(settings);
        line.settle();
        let part = line.good();
        line.run(10);
        unsure(&mut line);
        assert!(line.gate.faults().has(Fault::Encoder) && line.gate.level(Output::Reject));
        assert_eq!(line.gate.counters().implausible_counts, 1);
        line.run(500);
        assert_eq!(line.decisions()[&part.0], Some(Reason::NotReady));
        assert!(line.gate.ready() && !line.gate.level(Output::Reject));
    }
    let mut line = Belt::new(by_time(Ejector::Pass));
    line.settle();
    line.good();
    unsure(&mut line);
    line.run(150);
    assert_eq!(line.decisions()[&1], None, "the clock places it");
    assert_eq!(line.gate.counters().implausible_counts, 0);
}

#[test]
fn a_line_that_is_not_ready_yet_is_known_once_it_is_whatever_the_encoder_did_before() {
    let mut line = Belt::new(by_counts(Ejector::Pass));
    line.run(50);
    unsure(&mut line);
    line.run(100);
    line.start();
    line.run(300);
    assert_eq!(line.on(Output::Reject), [(0, (150 + 125 + 15) * MS)]);
}

#[test]
fn an_encoder_that_may_have_missed_edges_again_is_unknown_for_as_long_again() {
    let mut line = Belt::new(by_counts(Ejector::Pass));
    line.settle();
    unsure(&mut line);
    line.run(60);
    unsure(&mut line);
    let again = line.clock;
    line.run(400);
    let (_, off) = line.on(Output::Reject)[1];
    assert_eq!(off, again + (1 + 125 + 15) * MS);
}

#[test]
fn two_parts_at_one_count_are_a_fault_only_where_the_encoder_matters_and_the_belt_runs() {
    let apart = |settings: Settings, ms: u64, ready: bool| {
        let mut line = Belt::new(settings);
        line.settle();
        if !ready {
            line.fault(Fault::Camera, true);
        }
        line.trigger();
        line.stand(ms);
        line.trigger();
        line.gate.faults().has(Fault::Encoder)
    };
    assert!(apart(by_counts(Ejector::Pass), 20, true));
    assert!(apart(by_counts(Ejector::Pass), 20, false));
    // Closer than parts can be: one part that triggers twice.
    assert!(!apart(by_counts(Ejector::Pass), 19, true));
    assert!(apart(time_gate_counts_pulse(Ejector::Pass), 20, true));
    assert!(
        !apart(time_gate_counts_pulse(Ejector::Pass), 20, false),
        "it may stand"
    );
    assert!(
        !apart(by_time(Ejector::Pass), 20, true),
        "there is no encoder"
    );
    let mut line = Belt::new(by_counts(Ejector::Pass));
    line.settle();
    line.trigger();
    line.stand(30);
    line.run(1);
    line.trigger();
    assert!(!line.gate.faults().has(Fault::Encoder), "it moved");
}

/// Triggers by the clock, 20 ms apart, also while the belt stands because READY is off. It starts
/// some time after READY. If that were a fault, READY would go off again before the belt moves, for
/// ever.
#[test]
fn a_belt_that_starts_after_ready_is_no_dead_encoder() {
    let mut settings = time_gate_counts_pulse(Ejector::Reject);
    for (spin_up, longest) in [(0, 1), (30, 3), (40, 3), (41, 4)] {
        settings.spin_up = Duration(spin_up * MS);
        let mut line = Belt::new(settings);
        line.settle();
        line.fault(Fault::Camera, true);
        line.trigger();
        line.stand(20);
        line.fault(Fault::Camera, false);
        let mut triggers = 0;
        while !line.gate.faults().has(Fault::Encoder) {
            line.trigger();
            line.stand(20);
            triggers += 1;
        }
        assert_eq!(triggers, longest + 1, "after {spin_up} ms it has to move");
    }
}

#[test]
fn a_belt_that_stops_while_a_part_is_thrown_out_by_the_clock_throws_it_out_when_it_moves_again() {
    let (gate, pulse) = (Span::Counts(Counts(100)), Span::Time(Duration(15 * MS)));
    for stand in [12, 20, 50, 300] {
        let mut line = Belt::new(settings(gate, pulse, Ejector::Reject));
        line.settle();
        let part = line.trigger().expect("wanted");
        line.verdict(part, PartVerdict::Ng);
        line.run(102);
        line.stand(stand);
        assert!(line.gate.level(Output::Reject), "{stand}");
        let moves = line.clock;
        line.run(100);
        let (_, off) = line.on(Output::Reject).pop().expect("a pulse");
        assert!(off >= moves + 15 * MS, "{stand}: {} ms", (off - moves) / MS);
        assert!(off <= moves + 31 * MS, "{stand}: {} ms", (off - moves) / MS);
    }
    // It stops in the middle of the pulse, and moves again before the pulse is over.
    for (before, stand) in [(102, 8), (105, 6), (109, 5)] {
        let mut line = Belt::new(settings(gate, pulse, Ejector::Reject));
        line.settle();
        let part = line.trigger().expect("wanted");
        line.verdict(part, PartVerdict::Ng);
        line.run(before);
        line.stand(stand);
        line.run(100);
        let (on, off) = line.on(Output::Reject).pop().expect("a pulse");
        // Almost a quarter of the pulse more: the belt may have stood so long unnoticed.
        assert!(off - on >= (15 + stand + 3) * MS, "{before}, {stand}");
        assert!(off - on <= 45 * MS, "{before}, {stand}");
    }
    // A belt that goes on, or stops for an instant, gets the pulse that was set.
    for stand in [0, 3] {
        let mut line = Belt::new(settings(gate, pulse, Ejector::Reject));
        line.settle();
        let part = line.trigger().expect("wanted");
        line.verdict(part, PartVerdict::Ng);
        line.run(112);
        line.stand(stand);
        line.run(50);
        let (on, off) = line.on(Output::Reject).pop().expect("a pulse");
        assert_eq!(off - on, 15 * MS, "{stand}");
    }
    // By the clock alone, or by counts alone, it makes no difference.
    let mut line = Belt::new(by_time(Ejector::Reject));
    line.settle();
    let part = line.trigger().expect("wanted");
    line.verdict(part, PartVerdict::Ng);
    line.stand(200);
    let (on, off) = line.on(Output::Reject).pop().expect("a pulse");
    assert_eq!(off - on, 15 * MS);
}

#[test]
fn counts_from_before_a_pulse_are_none_of_its_own() {
    // Late counts of a belt that moved before the pulse began, up to its very beginning.
    for (before, own) in [(2, 5), (0, 5), (-1, 0)] {
        let mut line = Belt::new(time_gate_counts_pulse(Ejector::Pass));
        line.settle();
        let part = line.trigger().expect("wanted");
        line.verdict(part, PartVerdict::Ng);
        line.run(95);
        line.stand(5);
        assert!(line.gate.level(Output::Reject));
        let began = line.clock;
        line.clock += 2 * MS;
        let at = began.saturating_add_signed(-before * MS as i64);
        line.counts_to(line.counts + 5, at);
        line.run(60);
        let (on, off) = line.on(Output::Reject).pop().expect("a pulse");
        assert_eq!(on, began);
        // Counts go on every millisecond, 2 ms after the beginning.
        assert_eq!(off, began + (2 + 10 + own) * MS, "{before} ms before it");
    }
    let mut settings = by_time(Ejector::Pass);
    settings.pulse = Span::Time(Duration(15 * MS));
    let mut line = Belt::new(settings);
    line.settle();
    let part = line.trigger().expect("wanted");
    line.verdict(part, PartVerdict::Ng);
    line.run(95);
    line.stand(5);
    line.counts_to(line.counts + 5, line.clock - MS);
    line.run(60);
    let (on, off) = line.on(Output::Reject).pop().expect("a pulse");
    assert_eq!(off - on, 15 * MS, "by the clock");
}

#[test]
fn a_pulse_by_counts_that_begins_late_is_as_long_as_any_other() {
    let mut line = Belt::new(time_gate_counts_pulse(Ejector::Pass));
    line.settle();
    let part = line.trigger().expect("wanted");
    line.verdict(part, PartVerdict::Ng);
    line.run(99);
    // Not called for 11 ms; counts waited.
    line.clock += 11 * MS;
    let began = line.clock;
    line.call(|g, at, emit| g.tick(at.time, &mut |o| emit(o)));
    line.counts_to(line.counts + 11, began);
    line.run(60);
    // From the 99th count on, the last one that it knew.
    assert_eq!(
        line.on(Output::Reject).pop(),
        Some((began, began + 14 * MS))
    );
}

#[test]
fn a_pass_by_counts_is_told_on_four_times_in_the_time_it_may_last_unseen() {
    let mut line = Belt::new(by_counts(Ejector::Pass));
    line.settle();
    line.good();
    line.run(150);
    let stated: Vec<_> = line
        .reported
        .iter()
        .filter_map(|(_, o)| match o {
            Action::Extend { until } => Some(until.0),
            _ => None,
        })
        .collect();
    // One count per millisecond for 15 ms; the end moves on by more than 1.25 ms each time.
    assert!(
        stated.windows(2).all(|w| w[1] - w[0] == 2 * MS),
        "{stated:?}"
    );
    assert_eq!(stated.len(), 7, "{stated:?}");
}

#[test]
fn a_pass_by_the_clock_goes_on_to_the_end_of_the_last_part() {
    let mut settings = by_time(Ejector::Pass);
    settings.min_pitch = Duration(5 * MS);
    let mut line = Belt::new(settings);
    line.settle();
    let start = line.clock;
    line.good();
    line.run(8);
    line.good();
    line.run(200);
    assert_eq!(
        line.on(Output::Pass),
        [(start + 100 * MS, start + 123 * MS)]
    );
    let stated: Vec<_> = line
        .reported
        .iter()
        .filter(|(_, o)| matches!(o, Action::Extend { .. }))
        .collect();
    let until = Instant(start + 123 * MS);
    assert_eq!(stated, [&(start + 108 * MS, Action::Extend { until })]);
}

#[test]
fn a_silent_encoder_begins_the_wait_for_an_empty_belt_anew() {
    let mut settings = by_counts(Ejector::Pass);
    settings.encoder_silence = Duration(10 * MS);
    let mut line = Belt::new(settings);
    line.start();
    line.run(50);
    line.stand(20);
    line.run(300);
    // 50 ms, 20 ms of silence, the next count and 125 of them, a pulse.
    assert_eq!(
        line.on(Output::Reject),
        [(0, (50 + 20 + 1 + 125 + 15) * MS)]
    );
}

#[test]
fn silence_counts_from_the_last_count_even_if_its_stamp_lies_in_the_future() {
    let mut settings = by_counts(Ejector::Pass);
    settings.encoder_silence = Duration(10 * MS);
    let mut line = Belt::new(settings);
    line.settle();
    line.clock += MS;
    line.counts_to(line.counts + 1, line.clock + 500 * MS);
    line.stand(9);
    assert!(!line.gate.level(Output::Reject));
    line.stand(1);
    assert!(line.gate.level(Output::Reject));
}

#[test]
fn where_the_clock_places_parts_or_nobody_asked_an_encoder_may_be_silent() {
    let mut watched = by_time(Ejector::Pass);
    watched.encoder_silence = Duration(10 * MS);
    for settings in [watched, by_counts(Ejector::Pass)] {
        let mut line = Belt::new(settings);
        line.settle();
        line.stand(200);
        assert!(!line.gate.level(Output::Reject));
    }
}

#[test]
fn many_counts_at_once_decide_every_part_in_between_at_its_place() {
    let mut line = Belt::new(by_counts(Ejector::Pass));
    line.settle();
    line.good();
    line.run(25);
    let bad = line.trigger().expect("wanted");
    line.verdict(bad, PartVerdict::Ng);
    line.run(25);
    line.good();
    line.run(25);
    line.clock += 60 * MS;
    // From 75 to 135 counts: the first part has gone by, the second is at the ejector.
    line.counts_to(line.counts + 60, line.clock);
    assert!(line.gate.level(Output::Reject) && !line.gate.level(Output::Pass));
    assert_eq!(line.decisions().len(), 2);
    let (clock, counts) = (line.clock, line.counts);
    line.run(100);
    assert_eq!(line.counts, counts + 100);
    // Its pulse is 125 to 140 counts after the first trigger.
    assert_eq!(line.on(Output::Reject).pop(), Some((clock, clock + 5 * MS)));
    assert_eq!(line.decisions()[&3], None);
}

#[test]
fn a_pass_by_counts_that_begins_without_a_count_ends_when_none_comes() {
    let mut line = Belt::new(time_gate_counts_pulse(Ejector::Pass));
    line.settle();
    let start = line.clock;
    line.good();
    line.run(90);
    line.stand(30);
    assert_eq!(
        line.on(Output::Pass),
        [(start + 100 * MS, start + 105 * MS)]
    );
}

#[test]
fn pulses_by_counts_merge_where_the_ejector_would_have_no_rest() {
    for (apart, pulses) in [(19, 1), (20, 2)] {
        let mut settings = time_gate_counts_pulse(Ejector::Reject);
        settings.min_pitch = Duration(5 * MS);
        let mut line = Belt::new(settings);
        line.settle();
        for _ in 0..2 {
            let part = line.trigger().expect("wanted");
            line.verdict(part, PartVerdict::Ng);
            line.run(apart);
        }
        line.run(200);
        assert_eq!(line.on(Output::Reject).len(), 1 + pulses, "{apart}");
        assert_eq!(line.gate.counters().short_rests, 0);
    }
}

#[test]
fn a_pulse_by_counts_that_began_late_merges_with_the_next_one() {
    let mut line = Belt::new(time_gate_counts_pulse(Ejector::Pass));
    line.settle();
    for _ in 0..2 {
        let part = line.trigger().expect("wanted");
        line.verdict(part, PartVerdict::Ng);
        line.run(27);
    }
    line.run(45);
    line.clock += 11 * MS;
    let began = line.clock;
    line.call(|g, at, emit| g.tick(at.time, &mut |o| emit(o)));
    line.counts_to(line.counts + 11, began);
    line.run(60);
    // The first ends 14 ms after it began, the second is due 3 ms later.
    assert_eq!(
        line.on(Output::Reject).pop(),
        Some((began, began + 32 * MS))
    );
}

#[test]
fn counts_however_many_say_nothing_of_the_time() {
    let mut line = Belt::new(by_counts(Ejector::Pass));
    line.settle();
    let from = line.clock;
    line.counts_to(1 << 60, from);
    assert_eq!(line.changes(Output::Heartbeat, from + 1), []);
    assert!(line.gate.ready());
}

#[test]
fn an_encoder_that_stands_while_parts_come_is_a_fault() {
    let mut line = Belt::new(settings(
        Span::Counts(Counts(80)),
        Span::Counts(Counts(10)),
        Ejector::Reject,
    ));
    line.settle();
    line.trigger();
    line.clock += 30 * MS;
    line.trigger();
    assert!(line.gate.faults().has(Fault::Encoder) && line.gate.level(Output::Reject));
    line.run(300);
    assert!(line.gate.ready() && !line.gate.level(Output::Reject));
    assert_eq!(line.gate.counters().passed, 0);
}

#[test]
fn a_silent_encoder_throws_everything_out_until_the_belt_is_known_again() {
    let mut settings = settings(
        Span::Counts(Counts(80)),
        Span::Counts(Counts(10)),
        Ejector::Pass,
    );
    settings.encoder_silence = Duration(10 * MS);
    let mut line = Belt::new(settings);
    line.settle();
    let part = line.trigger().expect("wanted");
    line.verdict(part, PartVerdict::Ok);
    line.run(5);
    assert!(!line.gate.level(Output::Reject));
    // The belt moves on for 12 ms without a count.
    line.clock += 12 * MS;
    line.call(|g, at, emit| g.tick(at.time, &mut |o| emit(o)));
    assert!(
        line.gate.level(Output::Reject) && line.gate.ready(),
        "a standing belt may start"
    );
    // The way to the gate and a quarter of it, for what it may have counted wrongly before.
    line.run(109);
    assert!(line.gate.level(Output::Reject));
    line.run(10);
    assert!(!line.gate.level(Output::Reject));
    assert_eq!(line.decisions()[&1], Some(Reason::NotReady));
}

#[test]
fn an_encoder_that_dies_under_pass_ends_it_for_good() {
    for gate in [Span::Time(Duration(100 * MS)), Span::Counts(Counts(100))] {
        let pulse = Span::Counts(Counts(15));
        let mut line = Belt::new(settings(gate, pulse, Ejector::Pass));
        line.settle();
        let part = line.trigger().expect("wanted");
        line.verdict(part, PartVerdict::Ok);
        line.run(103);
        assert!(line.gate.level(Output::Pass), "{gate:?}");
        // Time goes on without a count.
        let died = line.clock;
        while line.clock < died + 12 * MS {
            line.clock = line.gate.deadline().0.clamp(line.clock, died + 12 * MS);
            let (clock, reported) = (line.clock, &mut line.reported);
            line.gate
                .tick(Instant(clock), &mut |o| reported.push((clock, o)));
        }
        let off = line.on(Output::Pass).pop().expect("PASS was on").1;
        assert!(off <= died + 5 * MS, "{gate:?}: {} ms", (off - died) / MS);
        // The belt moved unseen: parts are elsewhere now.
        line.run(5);
        assert!(!line.gate.level(Output::Pass), "{gate:?}");
    }
}
