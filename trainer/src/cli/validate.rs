//! `partgate-train validate`.

use super::{Common, check_writable, print_json, write_file};
use crate::dataset::test_images;
use crate::error::TrainError;
use crate::report;
use crate::validation::{Figures, ValidationReport, validate};
use clap::Args;
use partgate::product::Product;
use std::path::PathBuf;

/// Arguments of `validate`.
#[derive(Args)]
pub(crate) struct ValidateArgs {
    /// Folder in MVTec layout: test/good, test/<kind>, ground_truth/<kind>
    dir: PathBuf,
    /// The bundle to judge with
    #[arg(long, value_name = "FILE.pgp")]
    bundle: PathBuf,
    /// Write a single-file HTML report with the worst misses shown
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Write one JSON line an image (path, kind, score, verdict)
    #[arg(long, value_name = "FILE")]
    scores: Option<PathBuf>,
    /// Shrink masks to what bilinear resizing keeps whole, as published figures do
    #[arg(long)]
    eroded_masks: bool,
    #[command(flatten)]
    common: Common,
}

fn percent(value: Option<f64>) -> String {
    value.map_or("-".into(), |v| format!("{:.2}", v * 100.0))
}

fn row(name: &str, rule: Option<f64>, baseline: Option<f64>) {
    println!("  {name:<34} {:>8} {:>10}", percent(rule), percent(baseline));
}

/// The figures as a table for people, in per cent.
pub(crate) fn print(report: &ValidationReport) {
    println!(
        "{} images: {} good, {} defective ({} with masks)",
        report.images, report.good, report.defective, report.with_mask
    );
    println!("  {:<34} {:>8} {:>10}", "%", report.rule.to_string(), "patchcore");
    let both = |f: fn(&Figures) -> Option<f64>| (f(&report.figures), f(&report.baseline));
    let lines: [(&str, fn(&Figures) -> Option<f64>); 8] = [
        ("image AUROC", |f| f.image_auroc),
        ("pixel AUROC", |f| f.pixel_auroc),
        ("AUPRO (to 30 % FPR)", |f| f.aupro),
        ("image F1-max (oracle)", |f| f.image_f1_max),
        ("pixel F1-max (oracle)", |f| f.pixel_f1_max),
        ("false rejects at 100 % recall", |f| f.false_reject_rate_at_full_recall),
        ("false rejects at own threshold", |f| f.false_reject_rate),
        ("escapes at own threshold", |f| f.escape_rate),
    ];
    for (name, f) in lines {
        let (a, b) = both(f);
        row(name, a, b);
    }
    println!("  by kind of defect: images, escapes (patchcore), image AUROC (patchcore)");
    for k in &report.kinds {
        println!(
            "    {:<24} {:>4} {:>4} ({:>3}) {:>8} ({:>6})",
            k.kind,
            k.images,
            k.escapes,
            k.baseline_escapes,
            percent(k.image_auroc),
            percent(k.baseline_image_auroc)
        );
    }
}

/// Runs `validate`.
pub(crate) fn run(args: &ValidateArgs) -> Result<(), TrainError> {
    args.common.start_threads()?;
    let product = Product::open(&args.bundle)?;
    let images = test_images(&args.dir)?;
    for path in args.report.iter().chain(&args.scores) {
        check_writable(path)?;
    }
    let (figures, judged) = validate(&product, &images, args.eroded_masks)?;
    if let Some(path) = &args.scores {
        let mut lines = String::new();
        for j in &judged {
            lines.push_str(&serde_json::to_string(j)?);
            lines.push('\n');
        }
        write_file(path, lines.as_bytes())?;
    }
    if let Some(path) = &args.report {
        let page = report::validation_page(&product, &figures, &judged)?;
        write_file(path, page.as_bytes())?;
    }
    if args.common.json {
        print_json(&figures)
    } else {
        print(&figures);
        Ok(())
    }
}
