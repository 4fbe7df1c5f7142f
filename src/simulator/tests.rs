use super::*;
use crate::line::gate::{Ejector, Fault, Reason};

#[test]
fn every_model_makes_a_line() {
    for model in LineModel::ALL {
        let settings = model.settings();
        let controller =
            crate::line::controller::Controller::<u64>::new(settings, crate::line::gate::Nanos(0));
        assert!(controller.is_ok(), "{}", model.name());
    }
}

#[test]
fn without_faults_only_what_is_not_good_is_thrown_out() {
    for model in LineModel::ALL {
        let outcome = simulate(model, 3000, 7, &[]).expect("it runs");
        assert!(outcome.balances(), "{}", model.name());
        assert_eq!(outcome.passed_unverified, 0, "{}", model.name());
        // Three parts lay on the belt before the program knew of it, and a few reach the sensor
        // before the line is ready.
        assert!(
            outcome.good_thrown_out <= 8,
            "{}: {outcome:?}",
            model.name()
        );
        let counters = &outcome.counters;
        for reason in [
            Reason::Late,
            Reason::NoFrame,
            Reason::Overload,
            Reason::Neighbour,
        ] {
            assert!(
                counters.rejected[reason as usize] <= 1,
                "{}: {counters:?}",
                model.name()
            );
        }
        assert!(counters.passed > 2500);
    }
}

#[test]
fn with_every_fault_nothing_passes_without_an_ok_of_its_own() {
    for (index, model) in LineModel::ALL.into_iter().enumerate() {
        let seed = seed_of(1, index);
        let outcome = simulate(model, 6000, seed, &Kind::ALL).expect("it recovers");
        assert_eq!(outcome.passed_unverified, 0, "{} seed {seed}", model.name());
        assert!(outcome.balances(), "{} seed {seed}", model.name());
        // It still does its work.
        let share = outcome.passed_physically as f64 / outcome.physical as f64;
        assert!(share > 0.4, "{}: {share}", model.name());
        assert!(outcome.counters.faults[Fault::Camera.index()] > 0);
    }
}

#[test]
fn each_fault_alone_is_survived_and_was_there() {
    for kind in Kind::ALL {
        let mut injected = [0; 2];
        for (index, model) in LineModel::ALL.into_iter().enumerate() {
            let seed = seed_of(2, index);
            let outcome = simulate(model, 2500, seed, &[kind]).expect("it recovers");
            let label = format!("{} with {}", model.name(), kind.name());
            assert_eq!(outcome.passed_unverified, 0, "{label}");
            assert!(outcome.balances(), "{label}");
            injected[usize::from(model.ejector == Ejector::Pass)] +=
                outcome.injected[kind as usize];
        }
        let reject_too = kind.spares_reject_wiring();
        assert!(
            injected[1] > 0 && (injected[0] > 0) == reject_too,
            "{}",
            kind.name()
        );
    }
}

#[test]
fn the_same_seed_is_the_same_line() {
    let run = || simulate(LineModel::ALL[3], 2000, 5, &Kind::ALL).expect("it recovers");
    let (a, b) = (run(), run());
    assert_eq!((a.counters, a.virtual_ns), (b.counters, b.virtual_ns));
}
