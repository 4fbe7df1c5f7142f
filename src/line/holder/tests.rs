use super::*;
use proptest::prelude::*;

const MS: u64 = 1_000_000;
const SETTINGS: HolderSettings = HolderSettings {
    lease: Nanos(200 * MS),
    late: Nanos(40 * MS),
    start: Nanos(1000 * MS),
    look: Nanos(50 * MS),
};

/// A holder, what the lines show, and what it answered.
struct Bench {
    holder: Holder,
    levels: [bool; Line::ALL.len()],
    answers: Vec<Answer>,
    silent: bool,
}

impl Bench {
    fn new() -> Self {
        Self {
            holder: Holder::new(SETTINGS, Nanos(0)),
            levels: Line::ALL.map(Line::when_unattended),
            answers: Vec::new(),
            silent: false,
        }
    }

    fn run(&mut self, what: impl FnOnce(&mut Holder, &mut dyn FnMut(Act))) {
        let (levels, answers, silent) = (&mut self.levels, &mut self.answers, &mut self.silent);
        what(&mut self.holder, &mut |act| match act {
            Act::Set(line, on) => levels[line as usize] = on,
            Act::Answer(answer) => answers.push(answer),
            Act::Silent(_) => *silent = true,
        });
    }

    fn hear(&mut self, command: Command, at: u64) {
        self.run(|h, act| h.hear(command, Nanos(at), &mut |x| act(x)));
        self.tick(at);
    }

    fn tick(&mut self, at: u64) {
        self.run(|h, act| h.tick(Nanos(at), &mut |x| act(x)));
    }

    fn on(&self, line: Line) -> bool {
        self.levels[line as usize]
    }
}

fn set(line: Line, on: bool) -> What {
    What::Set {
        line,
        on,
        until: None,
    }
}

fn pass_until(ms: u64) -> What {
    What::Set {
        line: Line::Pass,
        on: true,
        until: Some(Nanos(ms * MS)),
    }
}

#[test]
fn pass_ends_by_itself_and_is_not_raised_after_its_end() {
    let (mut bench, mut watch) = (Bench::new(), Watch::new(SETTINGS.late));
    bench.hear(watch.command(pass_until(30), Nanos(0)), MS);
    assert!(bench.on(Line::Pass));
    assert_eq!(bench.holder.deadline(), Nanos(30 * MS));
    bench.tick(30 * MS);
    assert!(!bench.on(Line::Pass));
    bench.hear(watch.command(pass_until(60), Nanos(50 * MS)), 60 * MS);
    assert!(!bench.on(Line::Pass), "its part has gone by");
    let endless = What::Set {
        line: Line::Pass,
        on: true,
        until: None,
    };
    bench.hear(watch.command(endless, Nanos(61 * MS)), 61 * MS);
    assert!(!bench.on(Line::Pass), "no PASS without an end");
}

#[test]
fn a_late_holder_lets_the_lines_fall_and_takes_nothing_back_until_the_other_knows() {
    let (mut bench, mut watch) = (Bench::new(), Watch::new(SETTINGS.late));
    for line in [Line::Reject, Line::Fault] {
        bench.hear(watch.command(set(line, false), Nanos(0)), MS);
    }
    bench.hear(watch.command(set(Line::Ready, true), Nanos(0)), MS);
    assert!(bench.on(Line::Ready) && !bench.on(Line::Reject));
    // Stopped for 250 ms while three commands waited.
    let waiting = [
        watch.command(pass_until(40), Nanos(5 * MS)),
        watch.command(set(Line::Pass, false), Nanos(40 * MS)),
        watch.command(pass_until(290), Nanos(249 * MS)),
    ];
    for command in waiting {
        bench.hear(command, 255 * MS);
    }
    assert!(!bench.on(Line::Ready) && !bench.on(Line::Pass));
    assert!(bench.on(Line::Reject) && bench.on(Line::Fault));
    assert!(bench.holder.incidents() > 0);
    let last = *bench.answers.last().expect("an answer");
    assert!(last.late.0 >= 200 * MS, "{last:?}");
    assert!(watch.answer(last), "the other learns of it");
    assert!(!watch.answer(last), "once");
    bench.hear(
        watch.command(set(Line::Ready, true), Nanos(256 * MS)),
        256 * MS,
    );
    assert!(bench.on(Line::Ready));
}

#[test]
fn a_holder_that_slept_over_the_end_of_pass_knows_it() {
    let (mut bench, mut watch) = (Bench::new(), Watch::new(SETTINGS.late));
    bench.hear(watch.command(pass_until(30), Nanos(0)), MS);
    bench.tick(700 * MS);
    assert!(!bench.on(Line::Pass));
    assert_eq!(bench.holder.incidents(), 1);
}

#[test]
fn silence_ends_it_after_the_lease() {
    let (mut bench, mut watch) = (Bench::new(), Watch::new(SETTINGS.late));
    bench.hear(watch.command(What::Alive, Nanos(0)), 0);
    for at in (0..200).step_by(10) {
        bench.tick(at * MS);
    }
    assert!(!bench.silent);
    bench.tick(200 * MS);
    assert!(bench.silent);
}

#[test]
fn the_vision_process_notices_a_holder_that_does_not_answer() {
    let (mut bench, mut watch) = (Bench::new(), Watch::new(SETTINGS.late));
    assert_eq!(watch.deadline(), Nanos::MAX);
    let first = watch.command(What::Alive, Nanos(0));
    assert!(!watch.overdue(SETTINGS.late));
    assert!(watch.overdue(SETTINGS.late.after(Nanos(1))));
    let second = watch.command(What::Alive, Nanos(20 * MS));
    bench.hear(first, 30 * MS);
    watch.answer(bench.answers[0]);
    assert!(!watch.overdue(Nanos(60 * MS)));
    assert!(watch.overdue(Nanos(61 * MS)));
    bench.hear(second, 61 * MS);
    watch.answer(bench.answers[1]);
    assert!(!watch.overdue(Nanos(10_000 * MS)));
}

#[test]
fn pass_falls_again_and_again_until_the_holder_has_heard_of_its_end() {
    let (mut bench, mut watch) = (Bench::new(), Watch::new(SETTINGS.late));
    let on = watch.command(pass_until(40), Nanos(0));
    let off = watch.command(set(Line::Pass, false), Nanos(MS));
    assert!(!watch.must_fall_again(Nanos(MS)));
    assert!(watch.must_fall_again(Nanos(2 * MS)));
    assert!(!watch.must_fall_again(Nanos(2 * MS + 1)));
    bench.hear(on, 2 * MS);
    watch.answer(bench.answers[0]);
    assert!(watch.must_fall_again(Nanos(3 * MS)), "it is on now");
    bench.hear(off, 3 * MS);
    watch.answer(bench.answers[1]);
    assert!(!watch.must_fall_again(Nanos(9 * MS)));
    assert_eq!(watch.deadline(), Nanos::MAX);
}

proptest! {
    /// Whatever is said and however late: PASS is on only before its end, and never while the holder
    /// knows of an incident that the vision process does not.
    #[test]
    fn pass_is_on_only_in_time(
        steps in proptest::collection::vec((0u64..120, 0u64..90, 0u8..4, any::<bool>(), any::<bool>()), 1..80),
    ) {
        let (mut bench, mut watch) = (Bench::new(), Watch::new(SETTINGS.late));
        let (mut now, mut end, mut known) = (0, 0, 0);
        for (wait, way, kind, on, answered) in steps {
            now += wait * MS;
            let said = now;
            let what = match kind {
                0 => What::Alive,
                1 => set(Line::Ready, on),
                2 => set(Line::Pass, false),
                _ => { end = now / MS + 40; pass_until(end) }
            };
            let command = watch.command(what, Nanos(said));
            now += way * MS;
            bench.hear(command, now);
            let incidents = bench.holder.incidents();
            if bench.on(Line::Pass) {
                prop_assert!(now < end * MS);
                prop_assert_eq!(known, incidents);
            }
            if bench.on(Line::Ready) {
                prop_assert_eq!(known, incidents);
            }
            prop_assert!(way <= 40 || incidents > known, "a late command is an incident");
            if answered && let Some(answer) = bench.answers.last() {
                watch.answer(*answer);
                known = incidents;
            }
        }
        let silent = bench.holder.deadline().0.max(now);
        bench.tick(silent);
        prop_assert!(!bench.on(Line::Pass) || silent < end * MS);
    }
}
