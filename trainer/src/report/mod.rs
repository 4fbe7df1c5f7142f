//! HTML reports: one file each, nothing to fetch.

mod benchmark;
mod fit;
mod gallery;
mod goods;
mod tables;

pub(crate) use benchmark::{BenchmarkPage, Category, Comparison, FailedCategory, Published};
pub(crate) use fit::fit_page;

use crate::budgets::stands_for;
use crate::error::TrainError;
use crate::validation::{Inspected, ValidationReport, percent};
use gallery::{Gallery, Worst, false_rejects, misses};
use partgate::product::{Operating, Product};
use partgate::verdict::Thresholds;
use partgate::view::{Figure, Group, Histogram, Page, Tone};
use std::path::Path;

/// Pictures of one kind of mistake on a validation page.
const SHOWN: usize = 12;

/// The page of one validation: figures, scores against the thresholds, the worst mistakes with
/// pictures, and `command`, which reproduces it.
pub(crate) fn validation_page(
    product: &Product,
    figures: &ValidationReport,
    inspected: &[Inspected],
    command: &str,
) -> Result<String, TrainError> {
    let manifest = product.manifest();
    let mut page = Page::new(format!("Validation of {}", manifest.name));
    page.paragraph(&format!(
        "{} images: {} good, {} defective, {} of them with a mask of the defect. \
         Both NG and UNKNOWN reject a part: an escape is a defective part called OK, a false reject a good part called anything else.",
        figures.images, figures.good, figures.defective, figures.with_mask
    ));
    page.figures(&key_figures(figures));
    page.heading("Figures: counts, and per cent");
    let rule = figures.inspect();
    if !figures.plain {
        page.paragraph(if figures.members > 1 {
            "Beside the ensemble stands patchcore (every bank row may explain every place) on the features and the bank of its first member, \
             with thresholds of its own from the same held-out images: the baseline that counts."
        } else {
            "Beside the rule stands patchcore (every bank row may explain every place) on the same features and the same bank, \
             with thresholds of its own from the same held-out images: the baseline that counts."
        });
        page.table(
            &["Figure", &rule, "patchcore, same features"],
            &tables::measures(figures),
        );
    } else {
        page.paragraph(
            "The rule is patchcore itself, so there is no other baseline on the same features.",
        );
        page.table(&["Figure", &rule], &tables::measures(figures));
    }
    page.heading("Scores against the thresholds");
    let mut scores = histogram(inspected, |j| j.score, &manifest.thresholds);
    if let Some(operating) = product.operating() {
        scores.groups.extend(fitted_groups(operating));
    }
    page.histogram(&scores);
    if !figures.budgets.is_empty() {
        page.paragraph("The same images under the thresholds for other budgets of false rejects. The budget is the share of good parts that the fit expects above the threshold.");
        page.table(&tables::BUDGET_HEADERS, &tables::budgets(figures));
    }
    if let Some(separating) = &figures.separating {
        page.paragraph(&format!(
            "For comparison: {}.",
            separating.in_words(figures.good, figures.defective)
        ));
    }
    if let (false, Some(baseline)) = (figures.plain, &manifest.baseline_thresholds) {
        page.paragraph("The same images under patchcore:");
        page.histogram(&histogram(inspected, |j| j.baseline_score, baseline));
    }
    if !figures.kinds.is_empty() {
        page.heading("By kind of defect");
        let (headers, rows) = tables::kinds(figures);
        page.table(&headers, &rows);
    }
    let mut gallery = Gallery::new(product, Path::new(""))?;
    page.heading("Worst mistakes");
    picture_keys(&mut page);
    mistakes(&mut page, &mut gallery, inspected, SHOWN)?;
    page.heading("Product and method");
    page.table(&["Setting", "Value"], &tables::facts(product));
    page.heading("To reproduce");
    page.command(command);
    Ok(page.finish())
}

/// What a line would see first, then how well the scores separate. What the data cannot tell has no
/// box.
fn key_figures(report: &ValidationReport) -> Vec<Figure> {
    let figures = &report.figures;
    let counted = |label: &str, count: Option<usize>, of: usize| {
        let count = count?;
        let tone = if count == 0 { Tone::Good } else { Tone::Alarm };
        let figure = Figure::toned(label, format!("{count} of {of}"), tone);
        Some(figure.noted(stands_for(count, of).unwrap_or_default()))
    };
    let share = |label: &str, value: Option<f64>| {
        value.map(|_| Figure::new(label, format!("{} %", percent(value))))
    };
    let rejects = report.false_rejects(figures);
    [
        counted("False rejects", rejects, report.good),
        counted("Escapes", report.escapes(figures), report.defective),
        share("Image AUROC", figures.image_auroc),
        share("Pixel AUROC", figures.pixel_auroc),
        share("AUPRO", figures.aupro),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What the thresholds come from, for the same axis.
fn fitted_groups(operating: &Operating) -> [Group; 2] {
    [
        Group {
            label: "Good parts that the fit held out".into(),
            tone: Tone::Good,
            scores: operating.goods.clone(),
        },
        Group {
            label: "Damaged copies of them".into(),
            tone: Tone::Alarm,
            scores: operating.damaged.iter().map(|d| d.score).collect(),
        },
    ]
}

fn histogram(
    inspected: &[Inspected],
    score: impl Fn(&Inspected) -> f32,
    thresholds: &Thresholds,
) -> Histogram {
    let group = |label: &str, tone, defective| Group {
        label: label.into(),
        tone,
        scores: inspected
            .iter()
            .filter(|j| j.defective == defective)
            .map(&score)
            .collect(),
    };
    Histogram {
        groups: vec![
            group("Good", Tone::Good, false),
            group("Defective", Tone::Bad, true),
        ],
        unknown: thresholds.unknown.threshold,
        ng: thresholds.ng.threshold,
    }
}

/// How to read the galleries' pictures.
fn picture_keys(page: &mut Page) {
    page.paragraph(
        "Left: as the network sees the part, the labelled defect outlined in green where there is a mask. \
         Right: the score map, outlined where it is above the NG threshold.",
    );
    page.colour_scale();
}

/// The galleries of misses and false rejects.
fn mistakes(
    page: &mut Page,
    gallery: &mut Gallery<'_>,
    inspected: &[Inspected],
    at_most: usize,
) -> Result<(), TrainError> {
    let title = |worst: &Worst<'_>, mistakes: &str, closest: &str| {
        let shown = worst.images.len();
        match worst.mistakes {
            0 => format!("No {mistakes}; {closest}"),
            all if all > shown => format!("Worst {shown} of {all} {mistakes}"),
            all => format!("All {all} {mistakes}"),
        }
    };
    for (worst, names) in [
        (
            misses(inspected, at_most),
            ["escapes", "the defective parts that came closest"],
        ),
        (
            false_rejects(inspected, at_most),
            ["false rejects", "the good parts that came closest"],
        ),
    ] {
        if !worst.images.is_empty() {
            page.subheading(&title(&worst, names[0], names[1]));
            page.gallery(&gallery.cards(&worst)?);
        }
    }
    Ok(())
}
