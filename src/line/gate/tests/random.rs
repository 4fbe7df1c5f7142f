//! The gate against event sequences drawn at random and a separate observer.

use super::*;
use proptest::prelude::*;

/// What the random line does next.
#[derive(Clone, Copy, Debug)]
enum Step {
    Run(u64),
    /// The gate is not called for this long.
    Stall(u64),
    Trigger,
    Bounce,
    Lost(u32),
    Verdict(u8, PartVerdict),
    NoVerdict(u8, Reason),
    Fault(Fault, bool),
    Acknowledge,
}

fn step() -> impl Strategy<Value = Step> {
    let verdict = prop_oneof![
        6 => Just(PartVerdict::Ok),
        1 => Just(PartVerdict::Ng),
        1 => Just(PartVerdict::Unknown)
    ];
    let outside = prop_oneof![
        Just(Fault::Camera),
        Just(Fault::Inference),
        Just(Fault::Inputs),
        Just(Fault::Outputs)
    ];
    prop_oneof![
        8 => (1u64..60).prop_map(Step::Run),
        1 => (1u64..40).prop_map(Step::Stall),
        8 => Just(Step::Trigger),
        1 => Just(Step::Bounce),
        1 => (1u32..3).prop_map(Step::Lost),
        10 => (0u8..5, verdict).prop_map(|(n, j)| Step::Verdict(n, j)),
        1 => (0u8..5).prop_map(|n| Step::NoVerdict(n, Reason::NoFrame)),
        1 => (outside, any::<bool>()).prop_map(|(f, p)| Step::Fault(f, p)),
        1 => Just(Step::Acknowledge),
    ]
}

fn any_settings() -> impl Strategy<Value = Settings> {
    let gate = prop_oneof![
        Just(Span::Time(Duration(100 * MS))),
        Just(Span::Counts(Counts(100)))
    ];
    let pulse = prop_oneof![
        Just(Span::Time(Duration(15 * MS))),
        Just(Span::Counts(Counts(15)))
    ];
    let ejector = prop_oneof![Just(Ejector::Pass), Just(Ejector::Reject)];
    (gate, pulse, ejector, 3u32..9).prop_map(|(gate, pulse, ejector, consecutive)| {
        let mut settings = settings(gate, pulse, ejector);
        settings.alarm = AlarmSettings {
            consecutive,
            rejects: 0,
            window: 0,
            stop_line: true,
        };
        settings
    })
}

/// The observer: which parts had an OK verdict of their own before their gate.
#[derive(Default)]
struct Observer {
    /// Part to (trigger time, trigger count).
    triggered: BTreeMap<u64, (u64, u64)>,
    /// The first verdict on each part, if it was OK, and when.
    ok_at: BTreeMap<u64, u64>,
    answered: std::collections::BTreeSet<u64>,
}

impl Observer {
    /// A verdict other than OK, in time.
    fn spoil(&mut self, line: &Belt, part: u64) {
        if !line.decisions().contains_key(&part) {
            self.ok_at.remove(&part);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn only_an_ok_of_its_own_lets_a_part_pass(
        settings in any_settings(),
        steps in proptest::collection::vec(step(), 1..160),
    ) {
        let mut line = Belt::new(settings);
        line.start();
        let mut seen = Observer::default();
        let mut stalled = false;
        for step in steps {
            match step {
                Step::Run(ms) => line.run(ms),
                Step::Stall(ms) => {
                    stalled = true;
                    line.clock += ms * MS;
                }
                Step::Trigger | Step::Bounce | Step::Lost(_) => {
                    let lost = if let Step::Lost(n) = step { n } else { 0 };
                    let before = line.gate.counters().parts + u64::from(lost);
                    let wanted = line.call(|g, at, emit| g.trigger(at, lost, at.time, &mut |o| emit(o)));
                    if line.gate.counters().parts > before {
                        seen.triggered.insert(before + 1, (line.clock, line.counts));
                    }
                    prop_assert!(wanted.is_none_or(|w| w.0 == before + 1));
                    if matches!(step, Step::Bounce) {
                        line.clock += MS / 10;
                        let bounced = line.trigger();
                        prop_assert_eq!(bounced, None);
                    }
                }
                Step::Verdict(back, verdict) => {
                    let part = (line.gate.counters().parts + 1).saturating_sub(u64::from(back));
                    let known = (1..=line.gate.counters().parts).contains(&part);
                    let first = known && seen.answered.insert(part);
                    line.verdict(PartId(part), verdict);
                    if verdict != PartVerdict::Ok {
                        seen.spoil(&line, part);
                    } else if first {
                        seen.ok_at.insert(part, line.clock);
                    }
                }
                Step::NoVerdict(back, reason) => {
                    let part = (line.gate.counters().parts + 1).saturating_sub(u64::from(back));
                    if (1..=line.gate.counters().parts).contains(&part) {
                        seen.answered.insert(part);
                    }
                    line.call(|g, at, emit| g.no_verdict(PartId(part), reason, at.time, &mut |o| emit(o)));
                    seen.spoil(&line, part);
                }
                Step::Fault(fault, present) => line.fault(fault, present),
                Step::Acknowledge => line.call(|g, at, emit| g.acknowledge(at.time, &mut |o| emit(o))),
            }
            let counters = line.gate.counters();
            prop_assert!(counters.balance(line.gate.under_way() as u64), "{:?}", counters);
            prop_assert!(!(line.gate.level(Output::Pass) && line.gate.level(Output::Reject)));
            let idle = line.gate.faults().is_empty();
            prop_assert!(!line.gate.ready() || idle);
            prop_assert!(line.gate.level(Output::Ready) == line.gate.ready());
            prop_assert!(line.gate.level(Output::Fault) || idle);
        }
        for fault in Fault::ALL {
            line.fault(fault, false);
        }
        line.run(400);
        prop_assert_eq!(line.gate.under_way(), 0);

        // Every part has one decision.
        let mut decided = BTreeMap::new();
        for (at, output) in &line.reported {
            if let Action::Decided(d) = output {
                prop_assert!(decided.insert(d.part.0, (*at, *d)).is_none(), "decided twice");
            }
        }
        prop_assert_eq!(decided.len() as u64, line.gate.counters().parts);

        let gate_of = |part: &u64| {
            let (time, counts) = seen.triggered[part];
            match settings.gate {
                Span::Time(t) => Err(time + t.0),
                Span::Counts(c) => Ok(counts + c.0),
            }
        };
        let rejects = line.on(Output::Reject);
        let passes = line.on(Output::Pass);
        for (part, (at, decision)) in &decided {
            if decision.rejected.is_none() {
                let ok = seen.ok_at.get(part);
                prop_assert!(ok.is_some_and(|ok| ok < at), "part {} passed without an OK", part);
                if let Err(due) = gate_of(part) {
                    prop_assert!(ok.is_some_and(|ok| *ok < due), "part {} passed on a late OK", part);
                }
            } else if !stalled && decision.due.0 == *at && seen.triggered.contains_key(part) {
                // A part that is rejected at the ejector meets an ejector that rejects.
                let due = gate_of(part).err().unwrap_or(*at);
                if *at == due {
                    prop_assert!(rejects.iter().any(|(from, to)| *from <= due && due < *to),
                        "part {} at {} of {:?}", part, due, rejects);
                    prop_assert!(!passes.iter().any(|(from, to)| *from <= due && due < *to));
                }
            }
        }
        // PASS is on only from the gate of a part that passes, and not longer than its pulse.
        for (from, to) in &passes {
            let owner = decided.values().any(|(at, d)| at == from && d.rejected.is_none());
            prop_assert!(owner, "PASS from {} without a part", from);
            if let (Span::Time(pulse), false) = (settings.pulse, stalled) {
                let last = decided.values().filter(|(at, d)| at <= to && d.rejected.is_none());
                let last = last.map(|(at, _)| *at).max().unwrap_or(0);
                prop_assert!(*to <= last + pulse.0);
            }
        }
        // A reject pulse is never shorter than set.
        if let Span::Time(pulse) = settings.pulse {
            for (from, to) in &rejects {
                prop_assert!(to - from >= pulse.0 || *to > line.clock, "pulse {}..{}", from, to);
            }
        }
    }
}
