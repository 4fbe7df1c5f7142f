//! Searches for lines on which a part passes unverified: seed after seed, with one thread per
//! processor. The result does not depend on the number of threads.

use super::Failure;
use crate::cli::progress::Progress;
use partgate::simulation::{Case, Kind, Outcome, Stuck, classes, known_cases, shrink};
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Most parts of one line.
const LINE: u64 = 5_000;
/// Fewest lines of one seed.
const FEWEST: u64 = 12;
/// Most failing lines that are reduced and printed; there can be more.
const SHOWN: usize = 5;

/// What is searched.
pub(super) struct Plan<'a> {
    pub(super) seed: u64,
    pub(super) seeds: u64,
    /// If given, further seeds are run until this time, whatever `seeds` is.
    pub(super) until: Option<Instant>,
    /// Parts per seed.
    pub(super) parts: u64,
    pub(super) kinds: &'a [Kind],
    pub(super) keep: Option<&'a Path>,
}

/// The results.
pub(super) struct Found {
    pub(super) seeds: u64,
    /// By class: number of lines, and their joined counts.
    pub(super) classes: Vec<(u64, Outcome)>,
    pub(super) failures: Vec<partgate::simulation::Failure>,
    pub(super) stuck: Option<Stuck>,
}

pub(super) fn search(plan: &Plan<'_>) -> Result<Found, Failure> {
    let mut found = Found {
        seeds: 0,
        classes: vec![(0, Outcome::default()); classes().len()],
        failures: Vec::new(),
        stuck: None,
    };
    let known = known_cases().map_err(Failure::input)?;
    let mut progress = Progress::new("simulating seeds", plan.seeds as usize);
    run_all(&known, &mut found, plan)?;
    let share = (plan.parts / FEWEST).clamp(1, LINE);
    let lines = plan.parts.div_ceil(share);
    loop {
        let seed = plan.seed.wrapping_add(found.seeds);
        let cases: Vec<Case> = (0..lines)
            .map(|index| {
                let parts = share.min(plan.parts - index * share);
                Case::of(seed, index, parts, plan.kinds)
            })
            .collect();
        run_all(&cases, &mut found, plan)?;
        found.seeds += 1;
        progress.step();
        let more = match plan.until {
            Some(until) => Instant::now() < until,
            None => found.seeds < plan.seeds,
        };
        if !more {
            return Ok(found);
        }
    }
}

fn run_all(cases: &[Case], found: &mut Found, plan: &Plan<'_>) -> Result<(), Failure> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::with_capacity(cases.len()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(cases.len()) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = cases.get(index) else {
                        break;
                    };
                    let result = case.run();
                    if let Ok(mut results) = results.lock() {
                        results.push((index, result));
                    }
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(|e| e.into_inner());
    results.sort_by_key(|(index, _)| *index);
    for (index, result) in results {
        let fails = match result {
            Ok((class, outcome)) => {
                let fails = outcome.wrong() > 0 || !outcome.balances();
                if let Some((lines, all)) = found.classes.get_mut(class) {
                    *lines += 1;
                    all.merge(&outcome);
                }
                fails
            }
            Err(stuck) => {
                found.stuck.get_or_insert(stuck);
                true
            }
        };
        if fails {
            note_failure(&cases[index], found, plan)?;
        }
    }
    Ok(())
}

fn note_failure(case: &Case, found: &mut Found, plan: &Plan<'_>) -> Result<(), Failure> {
    let mut smallest = case.clone();
    if found.failures.len() < SHOWN
        && let Some(failure) = shrink(case)
    {
        smallest = failure.case.clone();
        found.failures.push(failure);
    }
    let Some(path) = plan.keep else {
        return Ok(());
    };
    let mut file = std::fs::File::options()
        .append(true)
        .create(true)
        .open(path)
        .map_err(|e| Failure::input(NotKept(path.to_path_buf(), e)))?;
    writeln!(file, "{smallest}").map_err(|e| Failure::input(NotKept(path.to_path_buf(), e)))
}

#[derive(Debug, thiserror::Error)]
#[error("{}: failing cases cannot be kept there", .0.display())]
struct NotKept(std::path::PathBuf, #[source] std::io::Error);
