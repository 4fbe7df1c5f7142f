//! `partgate-train validate`.

use super::layout::{LayoutArgs, print_layout};
use super::{Common, check_writable, command_line, print_json, write_file};
use crate::budgets::counted;
use crate::dataset::TestSet;
use crate::error::TrainError;
use crate::report::validation_page;
use crate::validation::{Validation, ValidationReport, percent, validate};
use clap::Args;
use partgate::product::Product;
use std::path::PathBuf;

/// Arguments of `validate`.
#[derive(Args)]
pub(crate) struct ValidateArgs {
    /// Folder in a known layout (test/good, test/KIND, ground_truth/KIND and others), or a list
    /// (path,label,mask,part)
    dir: PathBuf,
    #[command(flatten)]
    layout: LayoutArgs,
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
    // A product that is its own baseline has one column.
    let beside = |text: &str| match report.plain {
        true => String::new(),
        false => format!(" {text:>10}"),
    };
    println!(
        "  {:<38} {:>10}{}",
        "counts, and %",
        report.inspect(),
        beside("patchcore")
    );
    for measure in report.measures() {
        let name = format!(
            "{}{}",
            measure.name,
            if measure.oracle { " (oracle)" } else { "" }
        );
        let [value, stands_for] = report.in_words(measure, &report.figures);
        let [baseline, _] = report.in_words(measure, &report.baseline);
        let line = format!(
            "  {name:<38} {value:>10}{}  {stands_for}",
            beside(&baseline)
        );
        println!("{}", line.trim_end());
    }
    print_kinds(report);
    print_budgets(report);
}

fn print_kinds(report: &ValidationReport) {
    if report.kinds.is_empty() {
        return;
    }
    let compared = if report.plain {
        ""
    } else {
        ", the same of patchcore"
    };
    println!("  by kind of defect: escapes, image AUROC in %{compared}");
    for k in &report.kinds {
        let of = |escapes: Option<usize>| {
            escapes.map_or(String::new(), |n| format!("{n} of {}", k.images))
        };
        let own = format!(
            "    {:<24} {:>10} {:>8}",
            k.kind,
            of(Some(k.escapes)),
            percent(k.image_auroc)
        );
        if report.plain {
            println!("{own}");
        } else {
            println!(
                "{own} {:>10} {:>8}",
                of(k.baseline_escapes),
                percent(k.baseline_image_auroc)
            );
        }
    }
}

/// What other budgets would have cost and brought.
fn print_budgets(report: &ValidationReport) {
    if !report.budgets.is_empty() {
        println!(
            "  by budget of false rejects: threshold, good images rejected, defective images passed"
        );
    }
    for b in &report.budgets {
        let own = if b.threshold == report.thresholds[0] {
            '>'
        } else {
            ' '
        };
        println!(
            "  {own} {:>5} % {:>11.4}   {:<34} {}",
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
    let TestSet { images, layout } = args.layout.source(&args.dir)?.tests()?;
    print_layout(&layout, args.common.json);
    for path in args.report.iter().chain(&args.scores) {
        check_writable(path)?;
    }
    let Validation {
        mut report,
        inspected,
    } = validate(&product, &images, args.eroded_masks)?;
    report.layout = layout;
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
        println!("product: {}", product.signature());
        print(&report);
        Ok(())
    }
}
