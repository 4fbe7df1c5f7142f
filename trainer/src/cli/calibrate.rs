//! `partgate-train calibrate`: thresholds from goods of another day, or by hand, with a trail.

use super::fit::bound_line;
use super::risk::RiskArgs;
use super::{Common, check_writable, print_json, write_file};
use crate::dataset::GoodImages;
use crate::error::TrainError;
use crate::fit::thresholds_from;
use crate::progress::Progress;
use clap::Args;
use partgate::backbone::Threads;
use partgate::capture::folder::read_frame;
use partgate::inspection::Inspector;
use partgate::product::{AuditEntry, Golden, GoldenKind, Product};
use partgate::verdict::{Bound, Thresholds, Verdict};
use rayon::prelude::*;
use serde::Serialize;
use std::path::PathBuf;

/// Arguments of `calibrate`.
#[derive(Args)]
pub(crate) struct CalibrateArgs {
    /// The bundle whose thresholds change
    bundle: PathBuf,
    /// Folder of good images that were not used for the fit
    #[arg(long, value_name = "DIR", required_unless_present = "set_unknown")]
    goods: Option<PathBuf>,
    /// The bundle to write
    #[arg(short, long, value_name = "FILE.pgp")]
    output: PathBuf,
    #[command(flatten)]
    risk: RiskArgs,
    /// Set the UNKNOWN threshold by hand instead
    #[arg(
        long,
        value_name = "SCORE",
        requires = "reason",
        conflicts_with = "goods"
    )]
    set_unknown: Option<f32>,
    /// Set the NG threshold by hand as well [default: at least the UNKNOWN one]
    #[arg(long, value_name = "SCORE", requires = "set_unknown")]
    set_ng: Option<f32>,
    /// Accept thresholds under which no damaged golden image is rejected any more
    #[arg(long)]
    force: bool,
    /// Why; kept in the bundle
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Serialize)]
struct CalibrationReport {
    images: usize,
    old: Thresholds,
    new: Thresholds,
    /// Lowest, median and highest held-out score of the fit.
    fit_scores: [f32; 3],
    /// The same of the new goods.
    new_scores: Option<[f32; 3]>,
    /// Median of the new goods over the fit's: how far the process has moved.
    shift: Option<f32>,
    /// New goods that the old thresholds would have rejected.
    rejected_by_old: usize,
}

fn scores(product: &Product, goods: &GoodImages) -> Result<Vec<f32>, TrainError> {
    let progress = Progress::new("goods", goods.paths.len() as u64);
    let share = goods
        .paths
        .len()
        .div_ceil(rayon::current_num_threads())
        .max(1);
    let scores: Vec<Vec<f32>> = goods
        .paths
        .par_chunks(share)
        .map(|paths| {
            let mut inspector = Inspector::new(product, &Threads::default())?;
            let mut scores = Vec::with_capacity(paths.len());
            for path in paths {
                let frame = read_frame(path)?;
                let inspection = inspector
                    .inspect(&frame)
                    .map_err(|source| TrainError::Image {
                        path: path.clone(),
                        source,
                    })?;
                scores.push(inspection.score);
                progress.advance(1);
            }
            Ok::<_, TrainError>(scores)
        })
        .collect::<Result<_, _>>()?;
    progress.finish();
    Ok(scores.concat())
}

fn by_hand(old: &Thresholds, unknown: f32, ng: Option<f32>, reason: &str) -> Thresholds {
    let bound = |threshold| Bound::by_hand(threshold, format!("Set by hand: {reason}"));
    let ng = ng.unwrap_or(old.ng.threshold.max(unknown));
    Thresholds {
        unknown: bound(unknown),
        ng: bound(ng),
    }
}

/// Runs `calibrate`.
pub(crate) fn run(args: &CalibrateArgs) -> Result<(), TrainError> {
    args.common.start_threads()?;
    let product = Product::open(&args.bundle)?;
    check_writable(&args.output)?;
    let mut manifest = product.manifest().clone();
    let old = manifest.thresholds.clone();
    let mut found = Vec::new();
    let new = match (&args.goods, args.set_unknown) {
        (Some(dir), _) => {
            let goods = GoodImages::find(dir)?;
            if crate::fit::digest_of(&goods)? == manifest.training.digest {
                return Err(TrainError::Setting(format!(
                    "{}: these are the images of the fit; they are in the bank, so their scores say nothing about new parts. Take good images of another day",
                    dir.display()
                )));
            }
            found = scores(&product, &goods)?;
            let risk = args.risk.risk(manifest.training.seed)?;
            thresholds_from(&found, risk)?
        }
        (None, Some(unknown)) => by_hand(
            &old,
            unknown,
            args.set_ng,
            args.reason.as_deref().unwrap_or_default(),
        ),
        (None, None) => {
            return Err(TrainError::Setting(
                "--goods or --set-unknown is needed".into(),
            ));
        }
    };
    new.check()
        .map_err(|e| TrainError::Setting(e.to_string()))?;
    manifest.thresholds = new.clone();
    // The goldens' scores stay what they were; what they mean follows the thresholds.
    let caught = |goldens: &[Golden]| {
        let mut damaged = goldens.iter().filter(|g| g.kind == GoldenKind::Damaged);
        damaged.any(|g| g.verdict != Verdict::Ok)
    };
    let caught_before = caught(&manifest.goldens);
    for golden in &mut manifest.goldens {
        golden.verdict = new.verdict(golden.score);
    }
    if caught_before && !caught(&manifest.goldens) && !args.force {
        return Err(TrainError::Setting(format!(
            "with an UNKNOWN threshold of {} none of the synthetically damaged golden images is rejected any more; look at the goods with the highest scores, or insist with --force",
            new.unknown.threshold
        )));
    }
    // They were calibrated on other images than the new ones: no longer a fair comparison.
    manifest.baseline_thresholds = None;
    manifest.audit.push(AuditEntry {
        action: format!(
            "thresholds UNKNOWN {} -> {}, NG {} -> {} ({}){}",
            old.unknown.threshold,
            new.unknown.threshold,
            old.ng.threshold,
            new.ng.threshold,
            match &args.goods {
                Some(_) => format!("calibrated on {} good images", found.len()),
                None => "by hand".into(),
            },
            args.reason
                .as_ref()
                .map_or(String::new(), |r| format!(": {r}"))
        ),
        unix: Some(super::now()),
    });
    write_file(&args.output, &product.rewritten(manifest)?)?;

    let mut sorted = found.clone();
    sorted.sort_by(f32::total_cmp);
    let fit_scores = product.manifest().training.held_out;
    let new_scores = (!sorted.is_empty()).then(|| {
        [
            sorted[0],
            sorted[sorted.len() / 2],
            sorted[sorted.len() - 1],
        ]
    });
    let report = CalibrationReport {
        images: found.len(),
        fit_scores,
        shift: new_scores.map(|s| s[1] / fit_scores[1]),
        new_scores,
        rejected_by_old: found
            .iter()
            .filter(|&&s| old.verdict(s) != Verdict::Ok)
            .count(),
        old,
        new,
    };
    if args.common.json {
        return print_json(&report);
    }
    println!("{} -> {}", args.bundle.display(), args.output.display());
    if let (Some(s), Some(shift)) = (report.new_scores, report.shift) {
        println!(
            "  scores of {} goods: {:.4} .. {:.4} .. {:.4} (held out in the fit: {:.4} .. {:.4} .. {:.4}); the median moved by a factor of {shift:.3}",
            report.images, s[0], s[1], s[2], fit_scores[0], fit_scores[1], fit_scores[2]
        );
        println!(
            "  the old thresholds would have rejected {} of them",
            report.rejected_by_old
        );
    }
    println!("{}", bound_line("UNKNOWN", &report.new.unknown));
    println!("{}", bound_line("NG", &report.new.ng));
    Ok(())
}
