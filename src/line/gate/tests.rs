//! The gate's promises, one by one; those against random events are in `random`.

mod alarm;
mod confirming;
mod encoder;
mod faults;
mod handshake;
mod lateness;
mod random;
mod sensor;

use super::*;
use crate::time::{Count, Counts, Duration, Instant, Position, Span};
use std::collections::BTreeMap;
use std::vec::Vec;

const MS: u64 = 1_000_000;
const ROOM: usize = 16;

fn settings(gate: Span, pulse: Span, ejector: Ejector) -> Settings {
    Settings {
        min_off: match gate {
            Span::Time(_) => Span::Time(Duration(5 * MS)),
            Span::Counts(_) => Span::Counts(Counts(5)),
        },
        late_output: Duration(3 * MS),
        capacity: ROOM,
        max_waiting: 6,
        heartbeat: Duration(50 * MS),
        fault_hold: Duration(40 * MS),
        ..Settings::plain(gate, pulse, ejector, Duration(20 * MS))
    }
}

fn by_time(ejector: Ejector) -> Settings {
    settings(
        Span::Time(Duration(100 * MS)),
        Span::Time(Duration(15 * MS)),
        ejector,
    )
}

fn by_counts(ejector: Ejector) -> Settings {
    let (gate, pulse) = (Span::Counts(Counts(100)), Span::Counts(Counts(15)));
    settings(gate, pulse, ejector)
}

/// A gate on a belt that moves one count per millisecond, and all its actions.
struct Belt {
    gate: Gate<ROOM>,
    reported: Vec<(u64, Action)>,
    clock: u64,
    counts: u64,
}

impl Belt {
    fn new(settings: Settings) -> Self {
        Self {
            gate: Gate::new(settings, Instant(0)).expect("settings"),
            reported: Vec::new(),
            clock: 0,
            counts: 0,
        }
    }

    /// Runs for `ms`; calls the gate whenever it asks for it, and at every count.
    fn run(&mut self, ms: u64) {
        let end = self.clock + ms * MS;
        while self.clock < end {
            let next_count = (self.clock / MS + 1) * MS;
            self.clock = self
                .gate
                .deadline()
                .0
                .max(self.clock)
                .min(next_count)
                .min(end);
            let (clock, reported) = (self.clock, &mut self.reported);
            if clock == next_count {
                self.counts += 1;
                self.gate.encoder(
                    Count(self.counts),
                    Instant(clock),
                    Instant(clock),
                    &mut |o| {
                        reported.push((clock, o));
                    },
                );
            }
            self.gate
                .tick(Instant(clock), &mut |o| reported.push((clock, o)));
        }
    }

    fn here(&self) -> Position {
        Position {
            time: Instant(self.clock),
            count: Count(self.counts),
        }
    }

    fn call<T>(
        &mut self,
        what: impl FnOnce(&mut Gate<ROOM>, Position, &mut dyn FnMut(Action)) -> T,
    ) -> T {
        let (clock, here) = (self.clock, self.here());
        let reported = &mut self.reported;
        what(&mut self.gate, here, &mut |o| reported.push((clock, o)))
    }

    fn start(&mut self) {
        self.call(|g, at, emit| g.fault(Fault::Starting, false, at.time, &mut |o| emit(o)));
    }

    fn trigger(&mut self) -> Option<PartId> {
        self.call(|g, at, emit| g.trigger(at, 0, at.time, &mut |o| emit(o)))
    }

    fn verdict(&mut self, part: PartId, verdict: PartVerdict) {
        self.call(|g, at, emit| g.verdict(part, verdict, at.time, &mut |o| emit(o)));
    }

    fn fault(&mut self, fault: Fault, present: bool) {
        self.call(|g, at, emit| g.fault(fault, present, at.time, &mut |o| emit(o)));
    }

    fn counts_to(&mut self, counts: u64, at: u64) {
        self.counts = counts;
        self.call(|g, here, emit| {
            g.encoder(Count(counts), Instant(at), here.time, &mut |o| emit(o));
        });
    }

    /// Time goes on for `ms` without a count.
    fn stand(&mut self, ms: u64) {
        let end = self.clock + ms * MS;
        while self.clock < end {
            self.clock = self.gate.deadline().0.clamp(self.clock, end);
            self.call(|g, at, emit| g.tick(at.time, &mut |o| emit(o)));
        }
    }

    /// A part with an OK.
    fn good(&mut self) -> PartId {
        let part = self.trigger().expect("wanted");
        self.verdict(part, PartVerdict::Ok);
        part
    }

    fn release(&mut self) {
        self.call(|g, at, emit| g.release(at, 0, at.time, &mut |o| emit(o)));
    }

    fn level_read(&mut self, on: bool) {
        self.call(|g, at, emit| g.level_read(on, at, at.time, &mut |o| emit(o)));
    }

    fn confirm(&mut self, lost: u32) {
        self.call(|g, at, emit| g.confirm(at, lost, at.time, &mut |o| emit(o)));
    }

    fn acknowledge(&mut self) {
        self.call(|g, at, emit| g.acknowledge(at.time, &mut |o| emit(o)));
    }

    /// Levels of `output` since `from`.
    fn changes(&self, output: Output, from: u64) -> Vec<(u64, bool)> {
        let set = self.reported.iter().filter_map(|(at, o)| match *o {
            Action::Set { output: l, on, .. } => (l == output && *at >= from).then_some((*at, on)),
            _ => None,
        });
        set.collect()
    }

    fn decisions(&self) -> BTreeMap<u64, Option<Reason>> {
        let decided = self.reported.iter().filter_map(|(_, o)| match o {
            Action::Decided(d) => Some((d.part.0, d.rejected)),
            _ => None,
        });
        decided.collect()
    }

    /// When `output` was on, as [from, to) in nanoseconds; the end of the run closes the last.
    fn on(&self, output: Output) -> Vec<(u64, u64)> {
        let mut since = output.when_unattended().then_some(0);
        let mut stretches = Vec::new();
        for (at, action) in &self.reported {
            if let Action::Set { output: l, on, .. } = action
                && *l == output
            {
                match (since, *on) {
                    (None, true) => since = Some(*at),
                    (Some(from), false) => {
                        stretches.push((from, *at));
                        since = None;
                    }
                    _ => panic!("{output:?} set to what it is at {at}"),
                }
            }
        }
        stretches.extend(since.map(|from| (from, self.clock + 1)));
        stretches.retain(|(from, to)| from < to);
        stretches
    }

    /// A line that is ready, with an empty belt.
    fn settle(&mut self) {
        self.start();
        self.run(300);
    }
}

#[test]
fn a_good_part_passes_and_a_bad_one_is_rejected_each_at_its_gate() {
    for ejector in [Ejector::Pass, Ejector::Reject] {
        let mut line = Belt::new(by_time(ejector));
        assert!(!line.gate.ready());
        line.settle();
        assert!(line.gate.ready());
        let good = line.trigger().expect("wanted");
        line.run(30);
        line.verdict(good, PartVerdict::Ok);
        line.run(10);
        let bad = line.trigger().expect("wanted");
        line.run(30);
        line.verdict(bad, PartVerdict::Ng);
        line.run(300);
        assert_eq!(
            line.decisions(),
            BTreeMap::from([(1, None), (2, Some(Reason::Ng))])
        );
        assert_eq!(line.on(Output::Pass), [(400 * MS, 415 * MS)]);
        let rejects = line.on(Output::Reject);
        // At the start until every part that may lie on the belt has left, then the bad part.
        assert_eq!(rejects, [(0, 115 * MS), (440 * MS, 455 * MS)]);
        assert_eq!(line.on(Output::Ok), [(400 * MS, 415 * MS)]);
        assert!(line.gate.counters().balance(0));
        assert_eq!(line.gate.counters().pulses, 1);
    }
}

#[test]
fn silence_rejects() {
    let mut line = Belt::new(by_time(Ejector::Pass));
    line.settle();
    let part = line.trigger().expect("wanted");
    assert!(line.gate.level(Output::Busy));
    line.run(150);
    assert!(
        !line.gate.level(Output::Busy),
        "nobody waits for it any more"
    );
    assert_eq!(line.decisions()[&1], Some(Reason::Late));
    line.verdict(part, PartVerdict::Ok);
    line.verdict(PartId(99), PartVerdict::Ok);
    line.run(100);
    assert_eq!(line.on(Output::Pass), []);
    let counters = line.gate.counters();
    assert_eq!((counters.late_verdicts, counters.foreign_verdicts), (1, 1));
}

#[test]
fn a_verdict_at_the_gate_itself_is_too_late() {
    for (before, passes) in [(1, true), (0, false)] {
        let mut line = Belt::new(by_time(Ejector::Pass));
        line.settle();
        let part = line.trigger().expect("wanted");
        line.run(99);
        line.clock += MS - before;
        line.verdict(part, PartVerdict::Ok);
        line.run(50);
        assert_eq!(line.decisions()[&1].is_none(), passes);
    }
}

#[test]
fn a_second_verdict_can_only_make_it_stricter() {
    let mut line = Belt::new(by_time(Ejector::Pass));
    line.settle();
    let first = line.trigger().expect("wanted");
    line.verdict(first, PartVerdict::Ok);
    line.verdict(first, PartVerdict::Ng);
    line.run(40);
    let second = line.trigger().expect("wanted");
    line.verdict(second, PartVerdict::Unknown);
    line.verdict(second, PartVerdict::Ok);
    line.run(200);
    assert_eq!(
        line.decisions(),
        BTreeMap::from([(1, Some(Reason::Ng)), (2, Some(Reason::Unknown))])
    );
    assert_eq!(line.gate.counters().repeated_verdicts, 2);
}

#[test]
fn triggers_too_close_reject_both_and_bounces_are_one_part() {
    let mut line = Belt::new(by_time(Ejector::Pass));
    line.settle();
    let first = line.trigger().expect("wanted");
    line.clock += MS / 2;
    assert_eq!(line.trigger(), None);
    line.verdict(first, PartVerdict::Ok);
    line.run(10);
    assert_eq!(line.trigger(), None);
    line.run(200);
    let both = Some(Reason::DoubleTrigger);
    assert_eq!(line.decisions(), BTreeMap::from([(1, both), (2, both)]));
    let counters = line.gate.counters();
    assert_eq!(
        (counters.bounces, counters.parts, counters.triggers),
        (1, 2, 3)
    );
    assert!(counters.balance(0));
}

#[test]
fn a_fault_rejects_what_is_tracked_and_drops_ready_until_it_is_over() {
    let mut line = Belt::new(by_time(Ejector::Pass));
    line.settle();
    let part = line.trigger().expect("wanted");
    line.verdict(part, PartVerdict::Ok);
    line.run(10);
    line.fault(Fault::Camera, true);
    assert!(!line.gate.ready() && line.gate.level(Output::Fault));
    assert!(line.gate.level(Output::Reject));
    line.run(30);
    assert_eq!(line.trigger(), None, "not ready: nobody is asked");
    line.run(200);
    line.fault(Fault::Camera, false);
    assert!(line.gate.ready());
    line.run(50);
    let after = line.trigger().expect("wanted");
    line.verdict(after, PartVerdict::Ok);
    line.run(200);
    let gone = Some(Reason::NotReady);
    assert_eq!(
        line.decisions(),
        BTreeMap::from([(1, gone), (2, gone), (3, None)])
    );
    assert!(!line.gate.level(Output::Fault));
}

#[test]
fn what_lay_on_the_belt_at_the_start_is_thrown_out_even_with_an_encoder() {
    let mut line = Belt::new(settings(
        Span::Counts(Counts(80)),
        Span::Counts(Counts(10)),
        Ejector::Reject,
    ));
    line.run(20);
    line.start();
    let early = line.trigger().expect("wanted");
    line.verdict(early, PartVerdict::Ok);
    line.run(200);
    // The way to the gate, a quarter of it, and a pulse.
    assert_eq!(line.on(Output::Reject), [(0, (20 + 80 + 20 + 10) * MS)]);
    // At its gate the last unknown part leaves too.
    assert!(line.decisions()[&1].is_some());
}

#[test]
fn a_full_line_rejects_the_stretch_and_tracks_again() {
    let mut line = Belt::new(settings(
        Span::Counts(Counts(1000)),
        Span::Counts(Counts(10)),
        Ejector::Reject,
    ));
    line.start();
    line.run(1200);
    let first = line.clock;
    for _ in 0..ROOM {
        if let Some(part) = line.trigger() {
            line.verdict(part, PartVerdict::Ok);
        }
        line.run(25);
    }
    assert_eq!(line.gate.counters().faults[Fault::Overload.index()], 1);
    line.run(100);
    assert!(line.gate.ready(), "there is room again");
    line.run(1500);
    let counters = *line.gate.counters();
    assert_eq!((counters.parts, counters.passed), (ROOM as u64, 0));
    let rejects = line.on(Output::Reject);
    let (from, to) = rejects[1];
    let last = first + 25 * MS * (ROOM as u64 - 1);
    assert_eq!((from, to), (first + 1000 * MS, last + 1010 * MS));
}

#[test]
fn a_pass_always_tells_when_it_ends_by_itself() {
    for pulse in [Span::Time(Duration(15 * MS)), Span::Counts(Counts(15))] {
        let mut line = Belt::new(settings(
            Span::Time(Duration(100 * MS)),
            pulse,
            Ejector::Pass,
        ));
        line.settle();
        let part = line.trigger().expect("wanted");
        line.verdict(part, PartVerdict::Ok);
        line.run(130);
        let mut until = 0;
        for &(at, reported) in &line.reported {
            match reported {
                Action::Set {
                    output: Output::Pass,
                    on: true,
                    until: stated,
                    ..
                } => until = stated.expect("an end").0,
                Action::Set {
                    output: Output::Pass,
                    ..
                } => {
                    assert!(at <= until, "{pulse:?}");
                    until = 0;
                }
                Action::Extend { until: stated } => {
                    assert!(at < until && until < stated.0, "{pulse:?}");
                    until = stated.0;
                }
                _ => {}
            }
        }
        assert_eq!(line.on(Output::Pass).len(), 1, "{pulse:?}");
        assert_eq!(until, 0);
    }
}

#[test]
fn a_part_that_the_inspector_is_not_asked_for_does_not_keep_the_line_waiting() {
    let gate = Span::Counts(Counts(100));
    let mut settings = settings(gate, Span::Counts(Counts(15)), Ejector::Pass);
    settings.max_waiting = 1;
    let mut line = Belt::new(settings);
    line.settle();
    let part = line.trigger().expect("wanted");
    line.run(30);
    assert_eq!(line.trigger(), None, "more wait than may");
    assert!(line.gate.faults().has(Fault::Overrun));
    // The belt stands because READY is off: no more counts come.
    line.verdict(part, PartVerdict::Ok);
    assert!(line.gate.faults().is_empty());
    assert!(line.gate.ready());
}

#[test]
fn lost_edges_reject_the_stretch_that_the_parts_may_lie_on() {
    let mut line = Belt::new(by_time(Ejector::Reject));
    line.settle();
    let start = line.clock;
    let part = line.trigger().expect("wanted");
    line.verdict(part, PartVerdict::Ok);
    line.run(60);
    let next = line
        .call(|g, at, emit| g.trigger(at, 2, at.time, &mut |o| emit(o)))
        .expect("wanted");
    line.verdict(next, PartVerdict::Ok);
    line.run(300);
    let counters = line.gate.counters();
    assert_eq!(
        (counters.parts, counters.passed, counters.lost_triggers),
        (4, 0, 2)
    );
    let last = line.on(Output::Reject).pop().expect("a pulse");
    assert_eq!(last, (start + 100 * MS, start + 175 * MS));
    assert!(counters.balance(0));
}

#[test]
fn an_edge_that_is_missed_too_late_makes_no_output_late() {
    let mut line = Belt::new(by_time(Ejector::Pass));
    line.settle();
    line.trigger();
    // The part after it leaves the ejector before the next edge reports that there was one.
    line.run(250);
    let stated = line.clock;
    line.call(|g, at, emit| g.trigger(at, 1, at.time, &mut |o| emit(o)));
    line.run(300);
    let set = |o: &Action| match *o {
        Action::Set {
            output, on, due, ..
        } => (output == Output::Reject && on).then_some(due.0),
        _ => None,
    };
    let mut rejects = line.reported.iter().filter(|(at, _)| *at >= stated);
    let first = rejects.find_map(|(at, o)| set(o).map(|due| (*at, due)));
    assert_eq!(first, Some((stated, stated)));
    assert_eq!(line.gate.counters().late_outputs, 0);
    assert_eq!(line.gate.counters().passed, 0);
}

#[test]
fn an_output_that_comes_late_is_a_fault_and_passes_nothing() {
    let mut line = Belt::new(by_time(Ejector::Reject));
    line.settle();
    let part = line.trigger().expect("wanted");
    line.verdict(part, PartVerdict::Ng);
    // Nobody calls the gate for 110 ms.
    line.clock += 110 * MS;
    line.run(1);
    assert_eq!(line.gate.counters().late_outputs, 1);
    assert!(line.gate.faults().has(Fault::LateOutput));
    line.run(200);
    assert!(line.gate.ready(), "it is over by itself");

    let mut line = Belt::new(by_time(Ejector::Pass));
    line.settle();
    let part = line.trigger().expect("wanted");
    line.verdict(part, PartVerdict::Ok);
    line.clock += 104 * MS;
    line.run(50);
    assert_eq!(line.decisions()[&1], Some(Reason::Late));
}

#[test]
fn near_pulses_merge_where_the_ejector_would_have_no_rest() {
    let mut settings = by_time(Ejector::Reject);
    settings.min_pitch = Duration(10 * MS);
    let mut line = Belt::new(settings);
    line.settle();
    for _ in 0..3 {
        // 18 ms apart, pulses of 15 ms: 3 ms of rest, but 5 are needed.
        let part = line.trigger().expect("wanted");
        line.verdict(part, PartVerdict::Ng);
        line.run(18);
    }
    line.run(200);
    let rejects = line.on(Output::Reject);
    assert_eq!(rejects[1..], [(400 * MS, (436 + 15) * MS)]);
    assert_eq!(line.gate.counters().short_rests, 0);
}
