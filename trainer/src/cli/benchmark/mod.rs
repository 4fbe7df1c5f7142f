//! `partgate-train benchmark`: every category of a data set, fitted and validated.

mod published;
mod record;

use super::fit::MethodArgs;
use super::{Common, check_writable, command_line, print_json, write_file};
use crate::cli::layout::LayoutArgs;
use crate::dataset::{Source, categories};
use crate::error::TrainError;
use crate::report::{BenchmarkPage, Category, FailedCategory, Published};
use crate::validation::{Figures, ValidationReport, percent};
use clap::Args;
use partgate::causes::causes;
use published::{KnownSet, data_sets};
use record::{CategoryRecord, Record, Run};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Arguments of `benchmark`.
#[derive(Args)]
pub(crate) struct BenchmarkArgs {
    /// Root of a data set in a known layout (MVTec AD and its relatives, VisA): one folder per
    /// category; or a single category, Magnetic-Tile, or a list (path,label,mask,part)
    root: PathBuf,
    #[command(flatten)]
    layout: LayoutArgs,
    /// Where bundles, figures (CATEGORY.json) and report.html go; an interrupted run goes on
    /// from there
    #[arg(long, value_name = "DIR", default_value = "partgate-benchmark")]
    out: PathBuf,
    /// Do not use what an earlier run left there, even if program, settings and images are the same
    #[arg(long)]
    fresh: bool,
    /// Shrink masks to what bilinear resizing keeps whole, as published figures do
    #[arg(long)]
    eroded_masks: bool,
    #[command(flatten)]
    method: MethodArgs,
    #[command(flatten)]
    common: Common,
}

#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    #[serde(flatten)]
    report: &'a ValidationReport,
    fit_seconds: f64,
}

#[derive(Serialize)]
struct Mean {
    #[serde(flatten)]
    figures: Figures,
    baseline: Figures,
    categories: usize,
}

#[derive(Serialize)]
struct Report<'a> {
    categories: Vec<Line<'a>>,
    mean: &'a Mean,
    failed: &'a [FailedCategory],
}

fn name_of(folder: &Path) -> String {
    // `.` and `..` are folders too; their names are elsewhere.
    let whole = folder.canonicalize();
    whole
        .as_deref()
        .unwrap_or(folder)
        .file_name()
        .map_or_else(|| "category".into(), |n| n.to_string_lossy().into_owned())
}

const WIDTHS: [usize; 10] = [16, 7, 11, 11, 8, 8, 8, 10, 9, 8];

fn table_line(cells: &[String; 10]) -> String {
    let mut line = format!("{:<1$}", cells[0], WIDTHS[0]);
    for (cell, width) in cells.iter().zip(WIDTHS).skip(1) {
        line.push_str(&format!("{cell:>width$}"));
    }
    line
}

/// `counts`: false rejects and escapes.
fn figures_line(
    name: &str,
    images: String,
    counts: [String; 2],
    [main, plain]: [&Figures; 2],
    last: String,
) -> String {
    let [false_rejects, escapes] = counts;
    table_line(&[
        name.into(),
        images,
        false_rejects,
        escapes,
        percent(main.image_auroc),
        percent(main.pixel_auroc),
        percent(main.aupro),
        percent(plain.image_auroc),
        percent(plain.pixel_auroc),
        last,
    ])
}

fn print_heading() {
    let line = |cells: [&str; 10]| println!("{}", table_line(&cells.map(String::from)));
    line([
        "",
        "",
        "false",
        "",
        "image",
        "pixel",
        "",
        "patchcore",
        "patchc.",
        "fit",
    ]);
    line([
        "category", "images", "rejects", "escapes", "AUROC %", "AUROC %", "AUPRO %", "image",
        "pixel", "s",
    ]);
}

/// Unweighted means; a figure that a category does not have is left out of that figure's mean.
fn mean(of: &[&Figures]) -> Figures {
    let mean = |value: fn(&Figures) -> Option<f64>| {
        let values: Vec<f64> = of.iter().filter_map(|f| value(f)).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    Figures {
        image_auroc: mean(|f| f.image_auroc),
        image_auroc_interval: None,
        pixel_auroc: mean(|f| f.pixel_auroc),
        aupro: mean(|f| f.aupro),
        image_f1_max: mean(|f| f.image_f1_max),
        image_f1_max_threshold: None,
        pixel_f1_max: mean(|f| f.pixel_f1_max),
        false_reject_rate_at_full_recall: mean(|f| f.false_reject_rate_at_full_recall),
        false_reject_rate: mean(|f| f.false_reject_rate),
        false_reject_interval: None,
        escape_rate: mean(|f| f.escape_rate),
        escape_interval: None,
    }
}

/// What a reader must know to take the means for what they are.
fn notes(records: &[&Record], failed: usize) -> Vec<String> {
    let mut notes = Vec::new();
    let masked = records
        .iter()
        .filter(|r| r.report.figures.pixel_auroc.is_some())
        .count();
    if masked > 0 && masked < records.len() {
        notes.push(format!(
            "Pixel figures exist, and are averaged, over {}.",
            match masked {
                1 => "the 1 category that has masks".to_owned(),
                n => format!("the {n} categories that have masks"),
            }
        ));
    }
    if failed > 0 {
        notes.push(format!(
            "The means leave out {}: they are not those of the data set.",
            match failed {
                1 => "1 category that failed".to_owned(),
                n => format!("{n} categories that failed"),
            }
        ));
    }
    if !records.is_empty() && records.iter().all(|r| r.report.plain) {
        notes.push("The rule is patchcore, so the columns beside it repeat it.".into());
    }
    notes
}

fn print_published(published: &Published) {
    println!(
        "{}, as published by those named, on other backbones, not measured here:",
        published.set
    );
    println!("  {:<66} {:>7} {:>7} {:>7}", "", "image", "pixel", "AUPRO");
    for f in published.figures {
        println!(
            "  {:<66} {:>7} {:>7} {:>7}",
            f.method,
            percent(f.image_auroc),
            percent(f.pixel_auroc),
            percent(f.aupro)
        );
    }
}

/// A category that was fitted and validated, with its folder.
struct Done {
    record: Record,
    root: PathBuf,
}

/// All categories of a run.
#[derive(Default)]
struct Outcome {
    done: Vec<Done>,
    failed: Vec<FailedCategory>,
}

impl Outcome {
    /// Fits and validates every category; with `text` it prints each at once.
    fn of(run: &Run<'_>, sources: &[Source], text: bool) -> Self {
        let mut outcome = Self::default();
        for source in sources {
            let name = source.name();
            match run.category(source, &name) {
                Ok(CategoryRecord { record, kept }) => {
                    if text {
                        print_category(&record, kept);
                    }
                    outcome.done.push(Done {
                        record,
                        root: source.root(),
                    });
                }
                Err(error) => {
                    let error = causes(&error).join(": ");
                    eprintln!("{name}: failed: {error}");
                    outcome.failed.push(FailedCategory { name, error });
                }
            }
        }
        outcome
    }

    fn mean(&self) -> Mean {
        let of = |figures: fn(&Record) -> &Figures| {
            mean(
                &self
                    .done
                    .iter()
                    .map(|d| figures(&d.record))
                    .collect::<Vec<_>>(),
            )
        };
        Mean {
            figures: of(|r| &r.report.figures),
            baseline: of(|r| &r.report.baseline),
            categories: self.done.len(),
        }
    }

    /// The categories as a page shows them.
    fn categories(&self, run: &Run<'_>) -> Vec<Category<'_>> {
        self.done
            .iter()
            .map(|Done { record, root }| Category {
                name: &record.name,
                report: &record.report,
                inspected: &record.inspected,
                root: root.clone(),
                bundle: run.bundle_path(&record.name),
                fit_seconds: record.fit_seconds,
            })
            .collect()
    }

    fn print_json(&self, mean: &Mean) -> Result<(), TrainError> {
        print_json(&Report {
            categories: self
                .done
                .iter()
                .map(|d| Line {
                    name: &d.record.name,
                    report: &d.record.report,
                    fit_seconds: d.record.fit_seconds,
                })
                .collect(),
            mean,
            failed: &self.failed,
        })
    }

    /// The error of a run in which a category failed.
    fn check(&self, out: &Path) -> Result<(), TrainError> {
        if self.failed.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = self.failed.iter().map(|f| f.name.as_str()).collect();
        Err(TrainError::Setting(format!(
            "{} of {} categories failed: {}; the others are done and kept in {}",
            names.len(),
            names.len() + self.done.len(),
            names.join(", "),
            out.display()
        )))
    }
}

fn print_category(record: &Record, kept: bool) {
    let (report, seconds) = (&record.report, record.fit_seconds);
    let of = |count: Option<usize>, of: usize| {
        count.map_or("-".to_owned(), |count| format!("{count} of {of}"))
    };
    let figures = &report.figures;
    let line = figures_line(
        &record.name,
        report.images.to_string(),
        [
            of(report.false_rejects(figures), report.good),
            of(report.escapes(figures), report.defective),
        ],
        [figures, &report.baseline],
        format!("{seconds:.1}"),
    );
    println!("{line}{}", if kept { "  (kept)" } else { "" });
}

/// Says what the published figures of each of `sets` are.
fn cautions(sets: &[KnownSet]) -> impl Iterator<Item = String> {
    sets.iter().map(|KnownSet { set, whole }| {
        let part = if *whole {
            ""
        } else {
            "; only some of its categories are here"
        };
        format!(
            "The published figures for {} are {}{part}.",
            set.name, set.caution
        )
    })
}

pub(crate) fn run(args: &BenchmarkArgs) -> Result<(), TrainError> {
    args.common.start_threads()?;
    let sources = categories(&args.root, args.layout.layout)?;
    let names: Vec<String> = sources.iter().map(Source::name).collect();
    let run = Run::new(&args.method, args.eroded_masks, args.fresh, &args.out)?;
    let page_path = args.out.join("report.html");
    check_writable(&page_path)?;
    let text = !args.common.json;
    if text {
        print_heading();
    }
    let outcome = Outcome::of(&run, &sources, text);
    let mean = outcome.mean();
    let records: Vec<&Record> = outcome.done.iter().map(|d| &d.record).collect();
    let sets = data_sets(&names);
    let mut notes = notes(&records, outcome.failed.len());
    notes.extend(cautions(&sets));
    notes.extend(args.method.preset_note());
    let published: Vec<Published> = sets.iter().map(|known| known.set.published()).collect();
    if text {
        let [images, seconds] = [String::new(), String::new()];
        let shares = [mean.figures.false_reject_rate, mean.figures.escape_rate];
        let shares = shares.map(|share| format!("{} %", percent(share)));
        let both = [&mean.figures, &mean.baseline];
        let line = figures_line("mean", images, shares, both, seconds);
        println!("{line}");
        published.iter().for_each(print_published);
    }
    let page = BenchmarkPage {
        title: &name_of(&args.root),
        categories: &outcome.categories(&run),
        failed: &outcome.failed,
        mean: &mean.figures,
        baseline_mean: &mean.baseline,
        published: &published,
        notes: &notes,
        command: &command_line(),
    };
    write_file(&page_path, page.render()?.as_bytes())?;
    if text {
        for record in &records {
            println!("layout of {}: {}", record.name, record.report.layout);
        }
        notes.iter().for_each(|note| println!("{note}"));
        println!("pictures of the worst mistakes: {}", page_path.display());
    } else {
        outcome.print_json(&mean)?;
    }
    outcome.check(&args.out)
}
