use super::case::Case;
use super::line::Line;
use super::trace::Trace;
use super::world::World;
use super::{known_cases, shrink};
use crate::seed::mix;
use crate::simulation::faults::Kind;
use crate::simulation::outcome::Outcome;

fn run(case: &Case) -> Outcome {
    match case.run() {
        Ok((_, outcome)) => outcome,
        Err(stuck) => panic!("{stuck}"),
    }
}

fn case(n: u64, parts: u64, kinds: &[Kind]) -> Case {
    Case::of(77, n, parts, kinds)
}

fn beyond(outcome: &Outcome) -> u64 {
    outcome.beyond.iter().flatten().sum()
}

#[test]
fn every_seed_draws_a_line_that_config_check_accepts() {
    for seed in 0..500 {
        let line = Line::draw(mix(seed), &[]);
        assert!(line.is_some(), "{seed}");
    }
}

#[test]
fn without_faults_nothing_passes_unverified_and_the_line_does_its_work() {
    for n in 0..40 {
        let case = case(n, 400, &[]);
        let outcome = run(&case);
        assert!(outcome.balances(), "{case}");
        assert_eq!(outcome.passed_unverified + beyond(&outcome), 0, "{case}");
        let passed = outcome.passed_physically as f64 / outcome.physical as f64;
        assert!(passed > 0.4, "{case}: {passed}");
    }
}

#[test]
fn with_every_fault_nothing_passes_without_an_ok_of_its_own() {
    let mut all = Outcome::default();
    for n in 0..60 {
        let case = case(1000 + n, 700, &Kind::ALL);
        let outcome = run(&case);
        assert_eq!(outcome.passed_unverified, 0, "{case}");
        assert!(outcome.balances(), "{case}");
        all.merge(&outcome);
    }
    assert!(all.passed_physically * 10 > all.physical * 4, "{all:?}");
}

#[test]
fn each_fault_alone_is_survived_and_was_there() {
    for kind in Kind::ALL {
        let mut injected = 0;
        for n in 0..16 {
            let case = case(2000 + n, 500, &[kind]);
            let outcome = run(&case);
            assert_eq!(outcome.passed_unverified, 0, "{case}");
            assert!(outcome.balances(), "{case}");
            injected += outcome.injected[kind as usize];
        }
        assert!(injected > 0, "{}", kind.name());
    }
}

#[test]
fn cases_that_failed_once_do_not_fail_again() {
    for case in known_cases().expect("a list of cases") {
        let outcome = run(&case);
        assert_eq!(outcome.passed_unverified, 0, "{case}");
        assert!(outcome.balances(), "{case}");
    }
}

#[test]
fn the_same_case_is_the_same_run() {
    let case = case(3, 800, &Kind::ALL);
    let (a, b) = (run(&case), run(&case));
    assert_eq!((a.counters, a.virtual_ns), (b.counters, b.virtual_ns));
    assert_eq!(case.trace(2), case.trace(2));
}

/// The plant must notice what a gate does wrong, or these tests prove nothing. Here the ejector is
/// further away than the configuration states, so parts meet the PASS of others.
#[test]
fn a_line_whose_ejector_is_elsewhere_fails() {
    let mut failed = 0;
    for n in 0..12 {
        let case = case(3000 + n, 300, &[]);
        let mut line = Line::draw(case.line, &[]).expect("a line");
        line.way += line.pitch * 3 / 2;
        let mut world = World::new(line, 300, 1, [0; Kind::ALL.len()], Trace::new(false));
        assert!(world.run());
        failed += u64::from(world.outcome.passed_unverified > 0);
    }
    assert!(failed >= 6, "{failed} of 12");
}

#[test]
fn a_case_is_read_as_it_is_written() {
    for text in [
        "line=7 parts=300 faults=lost_trigger,vision_stall",
        "line=18446744073709551615 parts=1 faults=all without=alarm,speed",
        "line=0 parts=5 faults=none",
    ] {
        let case: Case = text.parse().expect(text);
        assert_eq!(case.to_string(), text);
    }
    for (text, says) in [
        ("", "line is missing"),
        ("line=x parts=1 faults=all", "`x` is no whole number"),
        ("line=1 parts=0 faults=all", "parts (1 to"),
        (
            "line=1 parts=1 faults=nonsense",
            "no fault is called `nonsense`",
        ),
        (
            "line=1 parts=1 faults=all without=wheels",
            "no piece is called `wheels`",
        ),
        ("line=1 parts=1 faults=all more", "`more` has no ="),
        ("speed=1", "`speed` is not known"),
    ] {
        let error = text.parse::<Case>().expect_err(text).to_string();
        assert!(error.contains(says), "{text}: {error}");
    }
}

#[test]
fn what_does_not_fail_is_not_made_smaller() {
    assert!(shrink(&case(5, 200, &[Kind::LostFrame])).is_none());
}
