//! One simulated line: a few numbers that describe it completely, so that a failing line can be
//! kept, read and run again.

use super::draws::Draws;
use super::line::{CLASSES, Line, MS, PIECES};
use super::trace::Trace;
use super::world::{Rates, World};
use crate::seed::mix;
use crate::simulation::faults::Kind;
use crate::simulation::outcome::Outcome;
use thiserror::Error;

/// Cases that failed once, one per entry; every run includes them.
pub(crate) const KNOWN: &str = include_str!("known_cases.txt");

/// A line that did not reach its end.
#[derive(Clone, Debug, Error)]
#[error(
    "the line stood still for a minute and did not recover; play it again: partgate simulate --replay '{0}'"
)]
pub struct Stuck(pub Case);

/// A text that is no case.
#[derive(Clone, Debug, Error)]
#[error(
    "`{text}` is no case: {problem}; write line=NUMBER parts=N faults=NAME,NAME|all|none [without=PIECE,...]"
)]
pub struct CaseError {
    text: String,
    problem: String,
}

/// One simulated line; see the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Seed from which the line, its faults and their rates are drawn.
    pub line: u64,
    /// Number of parts that come.
    pub parts: u64,
    /// Faults that may be drawn.
    pub kinds: Vec<Kind>,
    /// The entries of [`PIECES`] that the line lacks.
    pub without: Vec<&'static str>,
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line={} parts={} faults=", self.line, self.parts)?;
        let names: Vec<&str> = self.kinds.iter().map(|k| k.name()).collect();
        match names.len() {
            0 => f.write_str("none")?,
            n if n == Kind::ALL.len() => f.write_str("all")?,
            _ => f.write_str(&names.join(","))?,
        }
        if !self.without.is_empty() {
            write!(f, " without={}", self.without.join(","))?;
        }
        Ok(())
    }
}

impl std::str::FromStr for Case {
    type Err = CaseError;

    fn from_str(text: &str) -> Result<Self, CaseError> {
        let wrong = |problem: String| CaseError {
            text: text.chars().take(200).collect(),
            problem,
        };
        let (mut line, mut parts, mut kinds, mut without) = (None, None, None, Vec::new());
        for word in text.split_ascii_whitespace() {
            let Some((key, value)) = word.split_once('=') else {
                return Err(wrong(format!("`{word}` has no =")));
            };
            let number = || {
                value
                    .parse::<u64>()
                    .map_err(|_| wrong(format!("`{value}` is no whole number")))
            };
            match key {
                "line" => line = Some(number()?),
                "parts" => parts = Some(number()?),
                "faults" => kinds = Some(Kind::list(value).map_err(&wrong)?),
                "without" => {
                    for name in value.split(',') {
                        let piece = PIECES.into_iter().find(|p| *p == name);
                        without.push(piece.ok_or_else(|| {
                            wrong(format!(
                                "no piece is called `{name}`; known: {}",
                                PIECES.join(", ")
                            ))
                        })?);
                    }
                }
                _ => return Err(wrong(format!("`{key}` is not known"))),
            }
        }
        let missing = |what: &str| wrong(format!("{what} is missing"));
        Ok(Self {
            line: line.ok_or_else(|| missing("line"))?,
            parts: parts
                .filter(|n| (1..=1_000_000_000).contains(n))
                .ok_or_else(|| missing("parts (1 to 1000000000)"))?,
            kinds: kinds.ok_or_else(|| missing("faults"))?,
            without,
        })
    }
}

/// The description of a failing case.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The smallest failing case that was found.
    pub case: Case,
    /// The line's configuration.
    pub configuration: String,
    /// The trace of its last seconds.
    pub trace: Vec<String>,
}

impl Case {
    /// Line number `index` of a run under `seed`.
    pub fn of(seed: u64, index: u64, parts: u64, kinds: &[Kind]) -> Self {
        Self {
            line: mix(mix(seed) ^ index),
            parts,
            kinds: kinds.to_vec(),
            without: Vec::new(),
        }
    }

    fn world(&self, trace: bool) -> Option<World> {
        let line = Line::draw(self.line, &self.without)?;
        let parts = self.parts;
        Some(World::new(
            line,
            parts,
            mix(self.line),
            self.rates(),
            Trace::new(trace),
        ))
    }

    /// Half of the kinds, each a quarter to four times as often as usual.
    fn rates(&self) -> Rates {
        let draws = Draws::new(self.line);
        let mut rates = [0; Kind::ALL.len()];
        for kind in &self.kinds {
            let at = *kind as usize;
            let shift = draws.between(20, at as u64, 0, 5);
            if self.kinds.len() < 4 || draws.percent(21, at as u64, 50) {
                rates[at] = ((kind.one_in() as u64) << shift >> 2).max(2);
            }
        }
        rates
    }

    /// Runs it and returns the class of its line and the outcome.
    ///
    /// # Errors
    /// [`Stuck`] if the line never recovers from a fault.
    pub fn run(&self) -> Result<(usize, Outcome), Stuck> {
        let stuck = || Stuck(self.clone());
        let class = Line::draw(self.line, &self.without).map_or(CLASSES, |l| l.class());
        let mut world = self.world(false).ok_or_else(stuck)?;
        if world.run() {
            Ok((class, world.outcome))
        } else {
            Err(stuck())
        }
    }

    /// The configuration of its line, as a person would write it.
    pub fn configuration(&self) -> String {
        Line::draw(self.line, &self.without).map_or_else(String::new, |l| l.text)
    }

    /// The trace of its last `seconds`, in words: up to the first part that passes unverified, or
    /// to its end.
    pub fn trace(&self, seconds: u64) -> Vec<String> {
        let Some(mut world) = self.world(true) else {
            return Vec::new();
        };
        world.run();
        world.trace.last(seconds * 1000 * MS)
    }
}

/// Whether a case fails, and the number of parts that it must run until it does.
pub(crate) fn failure_of(case: &Case) -> Option<u64> {
    match case.run() {
        Ok((_, outcome)) => outcome
            .first_failure
            .or((!outcome.balances()).then_some(case.parts)),
        Err(_) => Some(case.parts),
    }
}

/// The smallest case that still fails: fewer parts, fewer faults, fewer pieces. None if `case` does
/// not fail.
pub fn shrink(case: &Case) -> Option<Failure> {
    let mut best = case.clone();
    let mut tries = 0;
    let mut smaller = |best: &mut Case, candidate: Case| {
        tries += 1;
        if tries > 200 {
            return false;
        }
        let Some(at) = failure_of(&candidate) else {
            return false;
        };
        *best = candidate;
        // Parts behind this one may be needed for the failure.
        for more in [1, 20, 300] {
            let mut shorter = best.clone();
            shorter.parts = at + more;
            if shorter.parts < best.parts && failure_of(&shorter).is_some() {
                *best = shorter;
                break;
            }
        }
        true
    };
    let whole = best.clone();
    if !smaller(&mut best, whole) {
        return None;
    }
    // With a short list, the list changes which faults are drawn. So the drawn ones come first.
    let rates = best.rates();
    let drawn: Vec<Kind> = best
        .kinds
        .iter()
        .copied()
        .filter(|k| rates[*k as usize] > 0)
        .collect();
    for kind in drawn {
        let mut candidate = best.clone();
        candidate.kinds.retain(|k| *k != kind);
        smaller(&mut best, candidate);
    }
    let mut candidate = best.clone();
    let rates = best.rates();
    candidate.kinds.retain(|k| rates[*k as usize] > 0);
    smaller(&mut best, candidate);
    for piece in PIECES {
        let mut candidate = best.clone();
        if !candidate.without.contains(&piece) {
            candidate.without.push(piece);
            smaller(&mut best, candidate);
        }
    }
    Some(Failure {
        configuration: best.configuration(),
        trace: best.trace(3),
        case: best,
    })
}

/// The cases that failed once, of `known_cases.txt`.
///
/// # Errors
/// [`CaseError`] for the entry that is not a case.
pub fn known_cases() -> Result<Vec<Case>, CaseError> {
    KNOWN
        .lines()
        .map(|entry| entry.split('#').next().unwrap_or("").trim())
        .filter(|entry| !entry.is_empty())
        .map(str::parse)
        .collect()
}
