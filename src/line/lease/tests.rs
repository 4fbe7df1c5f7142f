use super::*;
use proptest::prelude::*;

const MS: u64 = 1_000_000;
const SETTINGS: LeaseSettings = LeaseSettings {
    lease: Duration(200 * MS),
    late: Duration(40 * MS),
    start: Duration(1000 * MS),
    look: Duration(50 * MS),
};

/// A supervisor, the levels of its outputs, and its acknowledgements.
struct Bench {
    lease: Lease,
    levels: [bool; Output::ALL.len()],
    answers: Vec<Answer>,
    silent: bool,
}

impl Bench {
    fn new() -> Self {
        Self {
            lease: Lease::new(SETTINGS, Instant(0)),
            levels: Output::ALL.map(Output::when_unattended),
            answers: Vec::new(),
            silent: false,
        }
    }

    fn run(&mut self, what: impl FnOnce(&mut Lease, &mut dyn FnMut(Act))) {
        let (levels, answers, silent) = (&mut self.levels, &mut self.answers, &mut self.silent);
        what(&mut self.lease, &mut |act| match act {
            Act::Set(output, on) => levels[output as usize] = on,
            Act::Answer(answer) => answers.push(answer),
            Act::Silent(_) => *silent = true,
        });
    }

    fn receive(&mut self, command: Command, at: u64) {
        self.run(|h, act| h.receive(command, Instant(at), &mut |x| act(x)));
        self.tick(at);
    }

    fn tick(&mut self, at: u64) {
        self.run(|h, act| h.tick(Instant(at), &mut |x| act(x)));
    }

    fn on(&self, output: Output) -> bool {
        self.levels[output as usize]
    }
}

fn set(output: Output, on: bool) -> What {
    What::Set {
        output,
        on,
        until: None,
    }
}

fn pass_until(ms: u64) -> What {
    What::Set {
        output: Output::Pass,
        on: true,
        until: Some(Instant(ms * MS)),
    }
}

#[test]
fn pass_ends_by_itself_and_is_not_raised_after_its_end() {
    let (mut bench, mut watch) = (Bench::new(), Watch::new(SETTINGS.late));
    bench.receive(watch.command(pass_until(30), Instant(0)), MS);
    assert!(bench.on(Output::Pass));
    assert_eq!(bench.lease.deadline(), Instant(30 * MS));
    bench.tick(30 * MS);
    assert!(!bench.on(Output::Pass));
    bench.receive(watch.command(pass_until(60), Instant(50 * MS)), 60 * MS);
    assert!(!bench.on(Output::Pass), "its part has gone by");
    let endless = What::Set {
        output: Output::Pass,
        on: true,
        until: None,
    };
    bench.receive(watch.command(endless, Instant(61 * MS)), 61 * MS);
    assert!(!bench.on(Output::Pass), "no PASS without an end");
}

#[test]
fn a_late_supervisor_switches_the_outputs_off_and_takes_nothing_back_until_the_other_knows() {
    let (mut bench, mut watch) = (Bench::new(), Watch::new(SETTINGS.late));
    for output in [Output::Reject, Output::Fault] {
        bench.receive(watch.command(set(output, false), Instant(0)), MS);
    }
    bench.receive(watch.command(set(Output::Ready, true), Instant(0)), MS);
    assert!(bench.on(Output::Ready) && !bench.on(Output::Reject));
    // Stopped for 250 ms while three commands waited.
    let waiting = [
        watch.command(pass_until(40), Instant(5 * MS)),
        watch.command(set(Output::Pass, false), Instant(40 * MS)),
        watch.command(pass_until(290), Instant(249 * MS)),
    ];
    for command in waiting {
        bench.receive(command, 255 * MS);
    }
    assert!(!bench.on(Output::Ready) && !bench.on(Output::Pass));
    assert!(bench.on(Output::Reject) && bench.on(Output::Fault));
    assert!(bench.lease.incidents() > 0);
    let last = *bench.answers.last().expect("an answer");
    assert!(last.late.0 >= 200 * MS, "{last:?}");
    assert!(watch.answer(last), "the other learns of it");
    assert!(!watch.answer(last), "once");
    bench.receive(
        watch.command(set(Output::Ready, true), Instant(256 * MS)),
        256 * MS,
    );
    assert!(bench.on(Output::Ready));
}

#[test]
fn a_supervisor_that_slept_over_the_end_of_pass_knows_it() {
    let (mut bench, mut watch) = (Bench::new(), Watch::new(SETTINGS.late));
    bench.receive(watch.command(pass_until(30), Instant(0)), MS);
    bench.tick(700 * MS);
    assert!(!bench.on(Output::Pass));
    assert_eq!(bench.lease.incidents(), 1);
}

#[test]
fn silence_ends_it_after_the_lease() {
    let (mut bench, mut watch) = (Bench::new(), Watch::new(SETTINGS.late));
    bench.receive(watch.command(What::Alive, Instant(0)), 0);
    for at in (0..200).step_by(10) {
        bench.tick(at * MS);
    }
    assert!(!bench.silent);
    bench.tick(200 * MS);
    assert!(bench.silent);
}

#[test]
fn the_vision_process_notices_a_supervisor_that_does_not_answer() {
    let (mut bench, mut watch) = (Bench::new(), Watch::new(SETTINGS.late));
    assert_eq!(watch.deadline(), Instant::MAX);
    let first = watch.command(What::Alive, Instant(0));
    assert!(!watch.overdue(Instant(0).after(SETTINGS.late)));
    assert!(watch.overdue(Instant(0).after(SETTINGS.late + Duration(1))));
    let second = watch.command(What::Alive, Instant(20 * MS));
    bench.receive(first, 30 * MS);
    watch.answer(bench.answers[0]);
    assert!(!watch.overdue(Instant(60 * MS)));
    assert!(watch.overdue(Instant(61 * MS)));
    bench.receive(second, 61 * MS);
    watch.answer(bench.answers[1]);
    assert!(!watch.overdue(Instant(10_000 * MS)));
}

#[test]
fn pass_is_switched_off_again_and_again_until_the_supervisor_has_heard_of_its_end() {
    let (mut bench, mut watch) = (Bench::new(), Watch::new(SETTINGS.late));
    let on = watch.command(pass_until(40), Instant(0));
    let off = watch.command(set(Output::Pass, false), Instant(MS));
    assert!(watch.switched_off(Instant(MS)).is_empty());
    assert_eq!(watch.switched_off(Instant(2 * MS)), [Output::Pass]);
    assert!(watch.switched_off(Instant(2 * MS + 1)).is_empty());
    bench.receive(on, 2 * MS);
    watch.answer(bench.answers[0]);
    assert_eq!(
        watch.switched_off(Instant(3 * MS)),
        [Output::Pass],
        "it is on now"
    );
    bench.receive(off, 3 * MS);
    watch.answer(bench.answers[1]);
    assert!(watch.switched_off(Instant(9 * MS)).is_empty());
    assert_eq!(watch.deadline(), Instant::MAX);
}

#[test]
fn while_the_supervisor_is_overdue_all_outputs_are_switched_off_again_and_again() {
    let (mut bench, mut watch) = (Bench::new(), Watch::new(SETTINGS.late));
    let alive = watch.command(What::Alive, Instant(0));
    let late = SETTINGS.late.0;
    assert!(watch.switched_off(Instant(late)).is_empty());
    assert_eq!(watch.deadline(), Instant(late + 1));
    let all = [Output::Pass, Output::Ready, Output::Reject, Output::Fault];
    for n in 0..3 {
        let now = late + 1 + n * MS;
        assert_eq!(watch.switched_off(Instant(now)), all);
        assert!(watch.switched_off(Instant(now + MS - 1)).is_empty());
        assert_eq!(watch.deadline(), Instant(now + MS));
    }
    bench.receive(alive, late + 4 * MS);
    watch.answer(bench.answers[0]);
    assert!(watch.switched_off(Instant(late + 10 * MS)).is_empty());
    assert_eq!(watch.deadline(), Instant::MAX);
}

#[test]
fn a_vision_process_that_has_said_nothing_yet_has_more_patience_than_one_that_spoke() {
    let mut lease = Lease::new(SETTINGS, Instant(0));
    let silent = |lease: &mut Lease, from: u64, to: u64| {
        let mut first = None;
        for at in from..=to {
            lease.tick(Instant(at * MS), &mut |act| {
                if let Act::Silent(patience) = act {
                    first.get_or_insert((at, patience.0 / MS));
                }
            });
        }
        first
    };
    assert_eq!(silent(&mut lease, 0, 1000), Some((1000, 1000)));
    let mut watch = Watch::new(SETTINGS.late);
    let word = watch.command(What::Alive, Instant(1001 * MS));
    lease.receive(word, Instant(1001 * MS), &mut |_| ());
    assert_eq!(silent(&mut lease, 1001, 1300), Some((1201, 200)));
}

#[test]
fn the_supervisor_asks_to_be_run_for_the_first_of_look_lease_and_end() {
    let (mut bench, mut watch) = (Bench::new(), Watch::new(SETTINGS.late));
    assert_eq!(bench.lease.deadline(), Instant(50 * MS));
    bench.tick(10 * MS);
    assert_eq!(bench.lease.deadline(), Instant(60 * MS));
    bench.receive(watch.command(What::Alive, Instant(20 * MS)), 20 * MS);
    assert_eq!(bench.lease.deadline(), Instant(70 * MS));
    for at in [60, 100, 140, 180] {
        bench.tick(at * MS);
    }
    assert_eq!(bench.lease.deadline(), Instant(220 * MS), "the lease");
    assert_eq!(bench.lease.incidents(), 0);
}

#[test]
fn a_supervisor_that_is_run_or_told_just_in_time_is_not_late() {
    for (late, incidents) in [(40, 0), (41, 1)] {
        // It runs after 50 ms at the latest.
        let mut bench = Bench::new();
        bench.tick((50 + late) * MS);
        assert_eq!(bench.lease.incidents(), incidents, "{late}");
        assert_eq!(bench.answers.len(), incidents as usize, "told unasked");
        // The vision process knows of it.
        let (mut bench, mut watch) = (Bench::new(), Watch::new(SETTINGS.late));
        bench.tick(40 * MS);
        let word = watch.command(What::Alive, Instant(40 * MS));
        bench.tick((40 + late) * MS);
        bench.receive(word, (40 + late) * MS);
        assert_eq!(bench.lease.incidents(), incidents, "{late}");
        let answer = bench.answers.last().expect("an answer");
        assert_eq!((answer.number, answer.incident), (1, incidents));
        assert_eq!(answer.late, Duration(u64::from(incidents) * late * MS));
    }
}

#[test]
fn every_word_is_answered_once() {
    let (mut bench, mut watch) = (Bench::new(), Watch::new(SETTINGS.late));
    bench.tick(MS);
    assert!(bench.answers.is_empty());
    for n in 1..4 {
        bench.receive(watch.command(What::Alive, Instant(n * MS)), n * MS);
        bench.tick(n * MS);
        assert_eq!(bench.answers.len() as u64, n);
        assert_eq!(bench.answers[n as usize - 1].number, n);
    }
}

#[test]
fn what_stops_parts_is_taken_even_from_one_that_does_not_know_of_an_incident() {
    let (mut bench, mut watch) = (Bench::new(), Watch::new(SETTINGS.late));
    bench.receive(watch.command(set(Output::Reject, false), Instant(0)), 0);
    bench.tick(500 * MS);
    assert!(bench.on(Output::Reject), "set with the incident");
    let at = 500 * MS;
    for (output, on) in [
        (Output::Ready, true),
        (Output::Reject, false),
        (Output::Fault, false),
        (Output::Ok, true),
    ] {
        bench.receive(watch.command(set(output, on), Instant(at)), at);
        assert_ne!(bench.on(output), on, "{output:?}");
    }
    bench.receive(watch.command(pass_until(600), Instant(at)), at);
    assert!(!bench.on(Output::Pass));
    // The vision process learns of it; commands sent before stay refused.
    watch.answer(*bench.answers.last().expect("an answer"));
    for (output, on) in [
        (Output::Ready, true),
        (Output::Reject, false),
        (Output::Fault, false),
        (Output::Ok, true),
    ] {
        bench.receive(watch.command(set(output, on), Instant(at)), at);
        assert_eq!(bench.on(output), on, "{output:?}");
    }
    bench.receive(watch.command(pass_until(600), Instant(at)), at);
    assert!(bench.on(Output::Pass));
    bench.tick(545 * MS);
    bench.tick(590 * MS);
    // And again: every output that lets parts pass is switched off.
    bench.tick(700 * MS);
    assert!(!bench.on(Output::Pass) && !bench.on(Output::Ready));
    for output in [Output::Reject, Output::Fault] {
        bench.receive(
            watch.command(set(output, true), Instant(700 * MS)),
            700 * MS,
        );
        assert!(bench.on(output));
    }
}

#[test]
fn ready_is_remembered_and_nothing_else_is_taken_for_it() {
    let (mut bench, mut watch) = (Bench::new(), Watch::new(SETTINGS.late));
    for (output, on) in [
        (Output::Ready, false),
        (Output::Ok, true),
        (Output::Fault, false),
    ] {
        bench.receive(watch.command(set(output, on), Instant(0)), 0);
        assert!(!bench.lease.was_ready());
    }
    for on in [true, false] {
        bench.receive(watch.command(set(Output::Ready, on), Instant(0)), 0);
        assert!(bench.lease.was_ready());
    }
}

#[test]
fn a_pass_that_is_made_longer_ends_at_its_new_end_and_one_that_is_taken_away_at_once() {
    let (mut bench, mut watch) = (Bench::new(), Watch::new(SETTINGS.late));
    bench.receive(watch.command(pass_until(30), Instant(0)), 0);
    bench.receive(watch.command(pass_until(40), Instant(10 * MS)), 10 * MS);
    bench.tick(39 * MS);
    assert!(bench.on(Output::Pass));
    bench.tick(40 * MS);
    assert!(!bench.on(Output::Pass));
    bench.receive(watch.command(pass_until(60), Instant(41 * MS)), 41 * MS);
    assert!(bench.on(Output::Pass));
    let off = What::Set {
        output: Output::Pass,
        on: false,
        until: Some(Instant(60 * MS)),
    };
    bench.receive(watch.command(off, Instant(42 * MS)), 42 * MS);
    assert!(!bench.on(Output::Pass));
    assert_eq!(
        bench.lease.deadline(),
        Instant(92 * MS),
        "nothing ends any more"
    );
}

#[test]
fn the_vision_process_looks_again_when_the_supervisor_is_overdue_or_pass_may_be_on() {
    let mut watch = Watch::new(SETTINGS.late);
    watch.command(What::Alive, Instant(5 * MS));
    let overdue = Instant(45 * MS + 1);
    assert_eq!(watch.deadline(), overdue);
    assert!(watch.overdue(overdue) && !watch.overdue(Instant(45 * MS)));
    let on = watch.command(pass_until(40), Instant(6 * MS));
    assert_eq!(watch.deadline(), overdue);
    assert!(
        watch.switched_off(Instant(9 * MS)).is_empty(),
        "it is wanted"
    );
    let off = watch.command(set(Output::Pass, false), Instant(7 * MS));
    assert_eq!(watch.deadline(), Instant(8 * MS));
    assert_eq!(watch.switched_off(Instant(8 * MS)), [Output::Pass]);
    assert_eq!(watch.deadline(), Instant(9 * MS));
    // Another output that goes off makes no difference.
    watch.command(set(Output::Ready, false), Instant(8 * MS));
    assert_eq!(watch.deadline(), Instant(9 * MS));
    let answer = |number, incident| Answer {
        number,
        incident,
        late: Duration::ZERO,
    };
    assert!(!watch.answer(answer(on.number, 0)));
    assert_eq!(watch.switched_off(Instant(9 * MS)), [Output::Pass]);
    assert!(!watch.answer(answer(off.number, 0)));
    assert_eq!(watch.deadline(), Instant(48 * MS + 1));
    // A new pass ends it as well.
    watch.command(set(Output::Pass, false), Instant(9 * MS));
    watch.command(pass_until(60), Instant(9 * MS));
    assert!(watch.switched_off(Instant(20 * MS)).is_empty());
    assert_eq!(watch.deadline(), Instant(48 * MS + 1));
}

#[test]
fn an_answer_to_what_was_never_said_and_an_old_one_answer_nothing_new() {
    let mut watch = Watch::new(SETTINGS.late);
    let answer = |number| Answer {
        number,
        incident: 0,
        late: Duration::ZERO,
    };
    watch.command(What::Alive, Instant(0));
    watch.command(What::Alive, Instant(0));
    watch.answer(answer(99));
    assert_eq!(watch.deadline(), Instant::MAX);
    watch.answer(answer(1));
    assert_eq!(watch.deadline(), Instant::MAX, "it was answered");
    watch.command(What::Alive, Instant(7 * MS));
    assert!(watch.overdue(Instant(100 * MS)), "what comes after is not");
}

#[test]
fn a_supervisor_that_answers_nothing_is_overdue_however_much_is_said_to_it() {
    let mut watch = Watch::new(SETTINGS.late);
    for n in 0..3 * REMEMBERED as u64 {
        watch.command(What::Alive, Instant(n * MS));
        // As far back as times are kept.
        let oldest = (n + 1).saturating_sub(REMEMBERED as u64);
        assert_eq!(watch.deadline(), Instant((oldest + 40) * MS + 1), "{n}");
        assert_eq!(watch.overdue(Instant(n * MS)), n - oldest > 40, "{n}");
    }
}

#[test]
fn another_line_says_nothing_of_pass() {
    let (mut bench, mut watch) = (Bench::new(), Watch::new(SETTINGS.late));
    bench.receive(watch.command(pass_until(60), Instant(0)), 0);
    bench.receive(watch.command(set(Output::Ok, true), Instant(0)), 0);
    bench.receive(watch.command(set(Output::Ready, false), Instant(0)), 0);
    assert!(bench.on(Output::Pass));
    bench.tick(60 * MS);
    for at in [90, 130, 170] {
        bench.tick(at * MS);
    }
    assert_eq!(
        (bench.on(Output::Pass), bench.lease.incidents()),
        (false, 0)
    );
}

#[test]
fn a_pass_that_is_heard_of_too_late_is_not_shown_for_an_instant() {
    for (at, until) in [(60, 60), (61, 60), (200, 300)] {
        // The last command is in time, and finds a supervisor that did not run for 150 ms.
        let (mut lease, mut watch) = (Lease::new(SETTINGS, Instant(0)), Watch::new(SETTINGS.late));
        let command = watch.command(pass_until(until), Instant((at - 10) * MS));
        lease.receive(command, Instant(at * MS), &mut |act| {
            assert_ne!(act, Act::Set(Output::Pass, true), "{at}");
        });
    }
}

#[test]
fn under_a_long_pass_the_supervisor_notices_all_the_same_that_it_was_not_run() {
    let (mut bench, mut watch) = (Bench::new(), Watch::new(SETTINGS.late));
    bench.receive(watch.command(pass_until(120), Instant(0)), 0);
    bench.tick(100 * MS);
    assert_eq!(
        (bench.on(Output::Pass), bench.lease.incidents()),
        (false, 1)
    );
    assert_eq!(
        bench.lease.deadline(),
        Instant(150 * MS),
        "no end is awaited"
    );
}

proptest! {
    /// Whatever is sent and however late: PASS is on only before its end, and never while the
    /// supervisor knows of an incident that the vision process does not know.
    #[test]
    fn pass_is_on_only_in_time(
        steps in proptest::collection::vec((0u64..120, 0u64..90, 0u8..4, any::<bool>(), any::<bool>()), 1..80),
    ) {
        let (mut bench, mut watch) = (Bench::new(), Watch::new(SETTINGS.late));
        let (mut now, mut end, mut known) = (0, 0, 0);
        for (wait, way, kind, on, answered) in steps {
            now += wait * MS;
            let reported = now;
            let what = match kind {
                0 => What::Alive,
                1 => set(Output::Ready, on),
                2 => set(Output::Pass, false),
                _ => { end = now / MS + 40; pass_until(end) }
            };
            let command = watch.command(what, Instant(reported));
            now += way * MS;
            bench.receive(command, now);
            let incidents = bench.lease.incidents();
            if bench.on(Output::Pass) {
                prop_assert!(now < end * MS);
                prop_assert_eq!(known, incidents);
            }
            if bench.on(Output::Ready) {
                prop_assert_eq!(known, incidents);
            }
            prop_assert!(way <= 40 || incidents > known, "a late command is an incident");
            if answered && let Some(answer) = bench.answers.last() {
                watch.answer(*answer);
                known = incidents;
            }
        }
        let silent = bench.lease.deadline().0.max(now);
        bench.tick(silent);
        prop_assert!(!bench.on(Output::Pass) || silent < end * MS);
    }
}
