//! Does a product do here what it did in the fit, and fast enough for this line? Asked before a product
//! becomes active.

use crate::config::{LineConfig, Problem};
use crate::frame::file::ImageFileError;
use crate::inspection::{InspectionError, Inspector};
use crate::network::{NetworkError, Placement, Threads};
use crate::product::{GoldenKind, GoldenOutcome, Product};
use crate::verdict::Verdict;
use serde::Serialize;
use std::time::Duration;
use thiserror::Error;

/// Inspections before the measured ones.
const WARM_UP: usize = 2;
/// Measured inspections.
const RUNS: usize = 10;
/// Measured inspections at a start, where every moment counts.
const START_RUNS: usize = 3;

/// Why a product is not taken.
#[derive(Debug, Error)]
pub enum Unproven {
    /// The product cannot be loaded here.
    #[error("the product cannot be loaded here")]
    Loads(#[source] InspectionError),
    /// The threads cannot be started.
    #[error("the threads cannot be started")]
    Threads(#[source] NetworkError),
    /// A golden image cannot be inspected.
    #[error("a golden image cannot be inspected")]
    Inspects(#[source] InspectionError),
    /// A golden image cannot be read.
    #[error("a golden image cannot be read")]
    Golden(#[source] ImageFileError),
    /// The bundle has nothing to prove itself with.
    #[error(
        "the bundle has no golden images, so nothing can be compared; fit it again with partgate-train"
    )]
    NoGoldens,
    /// A golden image has another result here.
    #[error("{}", disagreement(.0))]
    Disagrees(Vec<GoldenOutcome>),
    /// Nothing that is damaged is rejected.
    #[error(
        "none of the bundle's damaged golden images is rejected, so nothing shows that this product rejects anything; fit it again, or calibrate it with a lower threshold"
    )]
    NoChallenge,
    /// For boards of another kind.
    #[error(
        "the product is for {}, and this board is {board}; get the product for this board, or sign it for this board too (`partgate-train sign --board {board}`)", boards.join(", ")
    )]
    Board {
        /// The board of the configuration.
        board: String,
        /// The boards of the product.
        boards: Vec<String>,
    },
    /// It does not fit the configuration.
    #[error("the product does not fit this line: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Unfit(Vec<Problem>),
    /// Too slow for the line, by the median of several inspections, or the shortest at a start.
    #[error(
        "too slow for this line: a part takes {:.1} ms here (longest {:.1} ms), and its gate leaves {:.1} ms; a quicker board, a smaller product, or a larger gate.after_ms", ms(*median), ms(*longest), ms(*limit)
    )]
    Slow {
        /// Time of a part.
        median: Duration,
        /// Longest time of a part.
        longest: Duration,
        /// Time that the line leaves.
        limit: Duration,
    },
}

/// What was shown.
#[derive(Clone, Debug, Serialize)]
pub struct Proof {
    /// The golden images.
    pub goldens: Vec<GoldenOutcome>,
    /// Damaged golden images that are rejected here.
    pub rejected: usize,
    /// Median time of a part, milliseconds.
    pub median_ms: f64,
    /// Longest time of a part, milliseconds.
    pub longest_ms: f64,
    /// Time that the line leaves, milliseconds; None: no configuration, or a gate in counts.
    pub budget_ms: Option<f64>,
}

fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// Both numbers of each image that disagrees.
fn disagreement(outcomes: &[GoldenOutcome]) -> String {
    let away = outcomes.iter().filter(|golden| !golden.agrees);
    let words: Vec<String> = away
        .map(|golden| {
            format!(
                "{}: {} {} here, {} {} in the fit, maps correlate by {:.4}",
                golden.name,
                golden.score,
                golden.verdict,
                golden.expected_score,
                golden.expected_verdict,
                golden.map_correlation
            )
        })
        .collect();
    format!(
        "failed parity: {} of {} golden images disagree ({}); this board does not inspect as the trainer did: fit the product again, or update partgate",
        words.len(),
        outcomes.len(),
        words.join("; ")
    )
}

/// Inspects the product's golden images here, as the line would, and measures the time of a part. With
/// a configuration the product must fit its board, camera and times.
///
/// # Errors
/// [`Unproven`].
pub fn prove(
    product: &Product,
    line: Option<&LineConfig>,
    threads: usize,
    placement: Placement,
) -> Result<Proof, Unproven> {
    if let Some(line) = line {
        fits(product, line)?;
    }
    let threads = Threads::new(threads).map_err(Unproven::Threads)?;
    let mut inspector = Inspector::placed(product, &threads, placement).map_err(Unproven::Loads)?;
    if line.is_some_and(|line| line.inference.require_integers) {
        inspector.require_integers().map_err(Unproven::Loads)?;
    }
    let goldens = inspector.selftest(product).map_err(Unproven::Inspects)?;
    if goldens.is_empty() {
        return Err(Unproven::NoGoldens);
    }
    if goldens.iter().any(|golden| !golden.agrees) {
        return Err(Unproven::Disagrees(goldens));
    }
    let kinds = product.manifest().goldens.iter().map(|golden| golden.kind);
    let damaged = kinds
        .zip(&goldens)
        .filter(|(kind, _)| *kind == GoldenKind::Damaged);
    let rejected = damaged
        .filter(|(_, golden)| golden.verdict != Verdict::Ok)
        .count();
    if rejected == 0 {
        return Err(Unproven::NoChallenge);
    }
    let times = times(&mut inspector, product, WARM_UP, RUNS)?;
    let (median, longest) = (times[times.len() / 2], times[times.len() - 1]);
    let budget = line.and_then(LineConfig::inspection_budget);
    let timeout = line.map(|line| line.inference.timeout);
    if let Some(limit) = budget.filter(|&budget| median > budget) {
        return Err(Unproven::Slow {
            median,
            longest,
            limit,
        });
    }
    if let Some(limit) = timeout.filter(|&timeout| longest > timeout) {
        return Err(Unproven::Slow {
            median,
            longest,
            limit,
        });
    }
    Ok(Proof {
        goldens,
        rejected,
        median_ms: ms(median),
        longest_ms: ms(longest),
        budget_ms: budget.map(ms),
    })
}

/// Board, accelerator, pictures and limits of the configuration.
fn fits(product: &Product, line: &LineConfig) -> Result<(), Unproven> {
    let boards = &product.manifest().boards;
    if !boards.is_empty() && !boards.contains(&line.board.name) {
        return Err(Unproven::Board {
            board: line.board.name.clone(),
            boards: boards.clone(),
        });
    }
    let mut problems = line.check_product(product);
    if let Err(error) = super::sanity(line, product) {
        let key = "sanity";
        problems.push(Problem {
            line: line.line_of(key).unwrap_or(1),
            key: key.into(),
            message: crate::causes::causes(&error).join(": "),
        });
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(Unproven::Unfit(problems))
    }
}

/// Asked at every start: whether a part takes longer here than the line's gate leaves, also where nothing
/// else delays it. The golden images have been inspected before.
///
/// # Errors
/// [`Unproven::Slow`], or [`Unproven`] for a golden image that cannot be inspected.
pub fn in_time(
    product: &Product,
    line: &LineConfig,
    inspector: &mut Inspector,
) -> Result<(), Unproven> {
    let Some(limit) = line.inspection_budget() else {
        return Ok(());
    };
    let times = times(inspector, product, 0, START_RUNS)?;
    // The shortest: a machine that starts has much else to do, and a sound product must not fail by it.
    match (times.first(), times.last()) {
        (Some(&shortest), Some(&longest)) if shortest > limit => Err(Unproven::Slow {
            median: shortest,
            longest,
            limit,
        }),
        _ => Ok(()),
    }
}

/// Times of inspections of the first golden image, shortest first.
fn times(
    inspector: &mut Inspector,
    product: &Product,
    warm_up: usize,
    runs: usize,
) -> Result<Vec<Duration>, Unproven> {
    let golden = product.manifest().goldens.first();
    let golden = golden.ok_or(Unproven::NoGoldens)?;
    let frame = product.golden_frame(golden).map_err(Unproven::Golden)?;
    let mut times = Vec::with_capacity(runs);
    for run in 0..warm_up + runs {
        let inspection = inspector.inspect(&frame).map_err(Unproven::Inspects)?;
        if run >= warm_up {
            times.push(inspection.total());
        }
    }
    times.sort_unstable();
    Ok(times)
}
