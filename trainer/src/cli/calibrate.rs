//! `partgate-train calibrate`: thresholds from goods of another day, or by hand, with a trail.

use super::another_day::{another_day, inspect_goldens, wider};
use super::fit::bound_line;
use super::inspected::inspected;
use super::layout::LayoutArgs;
use super::risk::RiskArgs;
use super::{Common, check_writable, print_json, write_file};
use crate::error::TrainError;
use crate::fit::member::lowest_median_highest;
use crate::fit::operating::operating;
use crate::fit::thresholds::thresholds_from;
use crate::fit::without_spread;
use clap::Args;
use partgate::product::{AuditEntry, Light, Operating, Product};
use partgate::verdict::{Bound, Thresholds, Verdict};
use serde::Serialize;
use std::path::PathBuf;

/// Arguments of `calibrate`.
#[derive(Args)]
pub(crate) struct CalibrateArgs {
    /// The bundle whose thresholds change
    bundle: PathBuf,
    /// Folder of good images that were not used for the fit. Without it, --budget moves the
    /// threshold by the held-out scores of the fit
    #[arg(long, value_name = "DIR", required_unless_present_any = ["set_unknown", "budget"])]
    goods: Option<PathBuf>,
    #[command(flatten)]
    layout: LayoutArgs,
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
        conflicts_with_all = ["goods", "budget", "unknown_rate"]
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
    /// How the new goods lie, in a line.
    #[serde(skip_serializing_if = "Option::is_none")]
    layout: Option<String>,
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

fn by_hand(old: &Thresholds, unknown: f32, ng: Option<f32>, reason: &str) -> Thresholds {
    let bound = |threshold| Bound::by_hand(threshold, format!("Set by hand: {reason}"));
    let ng = ng.unwrap_or(old.ng.threshold.max(unknown));
    Thresholds {
        unknown: bound(unknown),
        ng: bound(ng),
    }
}

/// New thresholds, and the scores of the good images that they come from (none by hand).
struct Calibrated {
    thresholds: Thresholds,
    /// How the new goods lie, in a line.
    layout: Option<String>,
    scores: Vec<f32>,
    /// `None` where the old evidence stays.
    operating: Option<Operating>,
    /// `None` where the old range stays.
    light: Option<Light>,
}

fn calibrated(args: &CalibrateArgs, product: &Product) -> Result<Calibrated, TrainError> {
    let manifest = product.manifest();
    let found = match (&args.goods, args.set_unknown) {
        (Some(dir), _) => {
            let (goods, layout) = another_day(dir, args.layout, product, args.common.json)?;
            let found = inspected(product, &goods.paths, "goods", false)?;
            let scores: Vec<f32> = found.iter().map(|image| image.score).collect();
            if let Some(problem) = without_spread(&scores).filter(|_| !args.force) {
                return Err(TrainError::Setting(format!(
                    "{problem}; insist with --force"
                )));
            }
            let risk = args.risk.risk(manifest.training.seed)?;
            let damaged = product.operating().map(|o| o.damaged.clone());
            Calibrated {
                thresholds: thresholds_from(&scores, risk)?,
                layout: Some(layout),
                operating: Some(operating(&scores, 0, damaged.unwrap_or_default(), risk)?),
                light: wider(product, found.iter().map(|image| image.light)),
                scores,
            }
        }
        (None, Some(unknown)) => {
            let reason = args.reason.as_deref().unwrap_or_default();
            Calibrated {
                thresholds: by_hand(&manifest.thresholds, unknown, args.set_ng, reason),
                layout: None,
                scores: Vec::new(),
                operating: None,
                light: None,
            }
        }
        (None, None) => by_budget(args, product)?,
    };
    found
        .thresholds
        .check()
        .map_err(|e| TrainError::Setting(e.to_string()))?;
    Ok(found)
}

/// Thresholds for another budget, from the scores that the bundle has.
fn by_budget(args: &CalibrateArgs, product: &Product) -> Result<Calibrated, TrainError> {
    if !args.risk.has_budget() {
        return Err(TrainError::Setting(
            "--goods, --budget or --set-unknown is needed".into(),
        ));
    }
    let Some(old) = product.operating() else {
        return Err(TrainError::Setting(format!(
            "{}: this bundle does not hold the held-out scores of its fit, so a budget alone cannot move its threshold; fit it again, or give good images with --goods",
            args.bundle.display()
        )));
    };
    let risk = args.risk.risk(product.manifest().training.seed)?;
    let (goods, partitions) = (&old.goods, old.partitions as usize);
    Ok(Calibrated {
        thresholds: thresholds_from(goods, risk)?,
        layout: None,
        operating: Some(operating(goods, partitions, old.damaged.clone(), risk)?),
        scores: Vec::new(),
        light: None,
    })
}

fn audit_entry(args: &CalibrateArgs, old: &Thresholds, new: &Calibrated) -> AuditEntry {
    let origin = match (&args.goods, &new.operating) {
        (Some(_), _) => format!("calibrated on {} good images", new.scores.len()),
        (None, Some(_)) => "for another budget".into(),
        (None, None) => "by hand".into(),
    };
    let light = match &new.light {
        Some(_) => ", and the accepted light is wider",
        None => "",
    };
    let reason = args.reason.iter().map(|r| format!(": {r}"));
    AuditEntry {
        action: format!(
            "thresholds UNKNOWN {} -> {}, NG {} -> {} ({origin}){light}{}",
            old.unknown.threshold,
            new.thresholds.unknown.threshold,
            old.ng.threshold,
            new.thresholds.ng.threshold,
            reason.collect::<String>()
        ),
        unix: Some(super::now()),
    }
}

impl CalibrationReport {
    fn new(product: &Product, new: Calibrated) -> Self {
        let manifest = product.manifest();
        let (old, fit_scores) = (manifest.thresholds.clone(), manifest.training.held_out);
        let Calibrated {
            thresholds,
            scores,
            layout,
            ..
        } = new;
        let new_scores = (!scores.is_empty()).then(|| lowest_median_highest(&scores));
        let rejected = scores.iter().filter(|&&s| old.verdict(s) != Verdict::Ok);
        Self {
            images: scores.len(),
            layout,
            fit_scores,
            new_scores,
            shift: new_scores.map(|s| s[1] / fit_scores[1]),
            rejected_by_old: rejected.count(),
            old,
            new: thresholds,
        }
    }

    fn print(&self, args: &CalibrateArgs) {
        println!("{} -> {}", args.bundle.display(), args.output.display());
        if let (Some(new), Some(shift)) = (self.new_scores, self.shift) {
            let fit = self.fit_scores;
            println!(
                "  scores of {} goods: {:.4} .. {:.4} .. {:.4} (held out in the fit: {:.4} .. {:.4} .. {:.4}); the median moved by a factor of {shift:.3}",
                self.images, new[0], new[1], new[2], fit[0], fit[1], fit[2]
            );
            println!(
                "  the old thresholds would have rejected {} of them",
                self.rejected_by_old
            );
        }
        println!("{}", bound_line("UNKNOWN", &self.new.unknown));
        println!("{}", bound_line("NG", &self.new.ng));
    }
}

pub(crate) fn run(args: &CalibrateArgs) -> Result<(), TrainError> {
    args.common.start_threads()?;
    let product = Product::open(&args.bundle)?;
    check_writable(&args.output)?;
    let new = calibrated(args, &product)?;
    let mut manifest = product.manifest().clone();
    let problem = inspect_goldens(&mut manifest.goldens, &new.thresholds);
    if let Some(problem) = problem.filter(|_| !args.force) {
        return Err(TrainError::Setting(format!(
            "{problem}, or insist with --force"
        )));
    }
    // They come from other images than the new ones, so a comparison is not fair any more.
    manifest.baseline_thresholds = None;
    let entry = audit_entry(args, &manifest.thresholds, &new);
    manifest.audit.push(entry);
    manifest.thresholds = new.thresholds.clone();
    let mut changed = Vec::new();
    if let Some(operating) = &new.operating {
        changed.push(operating.section()?);
    }
    if let Some(light) = &new.light {
        changed.push(light.section()?);
    }
    let bytes = product.rewritten_with(manifest, changed)?;
    write_file(&args.output, &bytes)?;
    let report = CalibrationReport::new(&product, new);
    if args.common.json {
        return print_json(&report);
    }
    report.print(args);
    Ok(())
}
