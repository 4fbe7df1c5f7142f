//! Promises of the running line in real time: nothing passes unverified under faults, every part is
//! accounted for, and `bench --line` measures what it reports.

#![allow(clippy::expect_used, clippy::panic)]

mod bundle;
mod command;

use command::{field, number, partgate};

#[test]
fn a_soak_with_all_faults_lets_nothing_pass_unverified() {
    let ran = partgate(&[
        "simulate",
        "--real-time",
        "12s",
        "--quick-judge",
        "--seed",
        "5",
        "--json",
        "-q",
    ])
    .exits(0);
    let report = ran.json();
    assert_eq!(number(&report, "passed_unverified"), 0.0);
    assert_eq!(
        field(&report, "balance_exact"),
        &serde_json::Value::Bool(true)
    );
    assert!(number(&report, "seconds") >= 12.0);
    // The slowest machine still sees one part per second, and one fault in these.
    assert!(number(&report, "came") >= 12.0, "{report}");
    let injected = field(&report, "injected").as_object().expect("kinds");
    let injected: u64 = injected.values().filter_map(|n| n.as_u64()).sum();
    assert!(injected > 0, "{report}");
    // The parts that passed the ejector and the parts that the gate decided to pass are counted
    // separately: every pass that the plant saw needs one of the gate.
    let physically = number(&report, "passed_physically");
    assert!(physically <= number(&report, "passed"), "{report}");
}

#[test]
fn without_faults_good_parts_pass_and_defective_ones_do_not() {
    let arguments = [
        "simulate",
        "--real-time",
        "10s",
        "--faults",
        "none",
        "--json",
        "-q",
    ];
    let report = partgate(&arguments).exits(0).json();
    assert_eq!(number(&report, "passed_unverified"), 0.0);
    assert!(number(&report, "passed_physically") >= 1.0, "{report}");
    let injected = field(&report, "injected").as_object().expect("kinds");
    assert!(injected.values().all(|n| n.as_u64() == Some(0)), "{report}");
}

#[test]
fn the_line_is_measured_at_every_rate() {
    let report = partgate(&["bench", "--line", "--seconds", "1", "--json", "-q"])
        .exits(0)
        .json();
    let rates = field(&report, "rates").as_array().expect("rates");
    assert!(rates.len() >= 5);
    let gate_us = number(&report, "gate_ms") * 1e3;
    let mut last = 0.0;
    for rate in rates {
        assert!(number(rate, "parts_per_second") > last);
        last = number(rate, "parts_per_second");
        let parts = number(rate, "parts");
        assert_eq!(number(rate, "passed") + number(rate, "rejected"), parts);
        // Outputs are set at the gate, never before.
        assert!(
            number(rate, "trigger_to_output.p50_us") >= gate_us * 0.999,
            "{rate}"
        );
        assert_eq!(number(rate, "trigger_to_output.count"), parts);
    }
    // A rate above one with late parts was good by chance, above all on a busy machine.
    let kept = rates.iter().take_while(|r| number(r, "late") == 0.0);
    let best = kept.last().map(|r| number(r, "parts_per_second"));
    let reported = field(&report, "highest_parts_per_second").as_f64();
    assert_eq!(reported, best, "{report}");
}

#[test]
fn wrong_uses_are_refused() {
    partgate(&["simulate", "--real-time", "5"])
        .exits(2)
        .tells("30m");
    partgate(&["simulate", "--real-time", "5s", "--parts", "100"]).exits(2);
    partgate(&["bench"]).exits(2).tells("BUNDLE");
    partgate(&["bench", "--line", "--image", "x.png"]).exits(2);
    partgate(&["bench", "x.pgp", "--seconds", "3"]).exits(2);
}
