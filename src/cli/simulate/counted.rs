//! What the reports in virtual and in real time have in common.

use crate::cli::failure::{Code, Failure};
use crate::cli::terminal::{Colour, Out};
use partgate::line::gate::{Counters, Fault, Reason};
use partgate::simulation::{Kind, Outcome, Stuck};
use std::collections::BTreeMap;
use thiserror::Error;

/// Counts by name.
pub(super) type Counted = BTreeMap<&'static str, u64>;

/// Why a simulation that ran to its end fails.
#[derive(Debug, Error)]
pub(super) enum SimulationFailed {
    #[error("{0} parts passed without an OK verdict of their own")]
    Passed(u64),
    #[error(
        "{another} parts passed while another product was asked for, {two} were judged by two products"
    )]
    Products { another: u64, two: u64 },
    #[error("the counters do not balance")]
    Unbalanced,
    #[error(transparent)]
    Stuck(#[from] Stuck),
}

pub(super) fn reasons(counters: &Counters) -> Counted {
    let count = |r: Reason| (r.name(), counters.rejected[r as usize]);
    Reason::ALL.into_iter().map(count).collect()
}

pub(super) fn faults(counters: &Counters) -> Counted {
    let count = |f: Fault| (f.name(), counters.faults[f.index()]);
    Fault::ALL.into_iter().map(count).collect()
}

pub(super) fn injected(kinds: impl Iterator<Item = Kind>, line: &Outcome) -> Counted {
    kinds
        .map(|k| (k.name(), line.injected[k as usize]))
        .collect()
}

/// The most important result.
pub(super) fn tell_unverified(passed: u64, out: &mut Out) -> Result<(), Failure> {
    let words = if passed == 0 {
        let good = "nothing passed without an OK verdict of its own";
        out.paint(good, Colour::Good)
    } else {
        let bad = format!("{passed} parts passed UNVERIFIED");
        out.paint(bad, Colour::Bad)
    };
    out.line(words)
}

/// Fails unless no part passed unverified and every part is accounted for.
pub(super) fn proved(passed_unverified: u64, balance_exact: bool) -> Result<Code, Failure> {
    if passed_unverified > 0 {
        let passed = SimulationFailed::Passed(passed_unverified);
        return Err(Failure::unexpected(passed));
    }
    if !balance_exact {
        return Err(Failure::unexpected(SimulationFailed::Unbalanced));
    }
    Ok(Code::Done)
}

/// Fails unless each part was judged by one product, and passed with the one that was asked for.
pub(super) fn by_one_product(another: u64, two: u64) -> Result<(), Failure> {
    if another + two > 0 {
        let wrong = SimulationFailed::Products { another, two };
        return Err(Failure::unexpected(wrong));
    }
    Ok(())
}

/// All names with a count above 0, in one text line.
pub(super) fn listed(counted: &Counted) -> String {
    let some = counted.iter().filter(|(_, n)| **n > 0);
    let parts: Vec<_> = some.map(|(name, n)| format!("{name} {n}")).collect();
    if parts.is_empty() {
        "none".to_string()
    } else {
        parts.join(", ")
    }
}
