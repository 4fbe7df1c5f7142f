//! `partgate-train validate`.

use super::{Common, check_writable, command_line, print_json, write_file};
use crate::budgets::counted;
use crate::dataset::TestSet;
use crate::error::TrainError;
use crate::report::validation_page;
use crate::validation::{MEASURES, Validation, ValidationReport, percent, validate};
use clap::Args;
use partgate::product::Product;
use std::path::PathBuf;

/// Arguments of `validate`.
#[derive(Args)]
pub(crate) struct ValidateArgs {
    /// Folder in MVTec layout: test/good, test/KIND, ground_truth/KIND
    dir: PathBuf,
    /// The bundle to inspect with
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

/// The figures as a table for people, in per cent.
pub(crate) fn print(report: &ValidationReport) {
    println!(
        "{} images: {} good, {} defective ({} with masks)",
        report.images, report.good, report.defective, report.with_mask
    );
    println!("  {:<38} {:>8} {:>10}", "%", report.inspect(), "patchcore");
    for measure in &MEASURES {
        let name = format!(
            "{}{}",
            measure.name,
            if measure.oracle { " (oracle)" } else { "" }
        );
        println!(
            "  {name:<38} {:>8} {:>10}",
            percent((measure.value)(&report.figures)),
            percent((measure.value)(&report.baseline))
        );
    }
    println!("  by kind of defect: images, escapes (patchcore), image AUROC (patchcore)");
    for k in &report.kinds {
        println!(
            "    {:<24} {:>4} {:>4} ({:>3}) {:>8} ({:>6})",
            k.kind,
            k.images,
            k.escapes,
            k.baseline_escapes.map_or("-".into(), |n| n.to_string()),
            percent(k.image_auroc),
            percent(k.baseline_image_auroc)
        );
    }
    print_budgets(report);
}

/// What other budgets would have cost and brought.
fn print_budgets(report: &ValidationReport) {
    if !report.budgets.is_empty() {
        println!(
            "  by budget of false rejects: threshold, good images rejected, defective images passed, 95 % intervals"
        );
    }
    for b in &report.budgets {
        let own = if b.threshold == report.thresholds[0] {
            '>'
        } else {
            ' '
        };
        println!(
            "  {own} {:>5} % {:>11.4}   {:<26} {}",
            100.0 * b.budget,
            b.threshold,
            counted(b.false_rejects, report.good),
            counted(b.escapes, report.defective)
        );
    }
    if let Some(separating) = &report.separating {
        println!("  {}", separating.in_words(report.good, report.defective));
    }
}

pub(crate) fn run(args: &ValidateArgs) -> Result<(), TrainError> {
    args.common.start_threads()?;
    let product = Product::open(&args.bundle)?;
    let TestSet { images, layout } = TestSet::find(&args.dir)?;
    log::info!("{}: {layout}", args.dir.display());
    for path in args.report.iter().chain(&args.scores) {
        check_writable(path)?;
    }
    let Validation { report, inspected } = validate(&product, &images, args.eroded_masks)?;
    if let Some(path) = &args.scores {
        let mut lines = String::new();
        for j in &inspected {
            lines.push_str(&serde_json::to_string(j)?);
            lines.push('\n');
        }
        write_file(path, lines.as_bytes())?;
    }
    if let Some(path) = &args.report {
        let page = validation_page(&product, &report, &inspected, &command_line())?;
        write_file(path, page.as_bytes())?;
    }
    if args.common.json {
        print_json(&report)
    } else {
        println!("layout: {layout}");
        println!("product: {}", product.signature());
        print(&report);
        Ok(())
    }
}
