//! The page of a benchmark: a table over all categories and the worst mistakes of each.

use super::gallery::Gallery;
use super::{histogram, mistakes, picture_keys};
use crate::error::TrainError;
use crate::validation::{Figures, Judged, ValidationReport, percent};
use partgate::product::Product;
use partgate::view::{Cell, Page};
use std::path::PathBuf;

/// One category that was fitted and validated.
pub(crate) struct Category<'a> {
    pub(crate) name: &'a str,
    pub(crate) report: &'a ValidationReport,
    pub(crate) judged: &'a [Judged],
    /// What the judged paths are relative to.
    pub(crate) root: PathBuf,
    pub(crate) bundle: PathBuf,
    pub(crate) fit_seconds: f64,
}

/// Figures that others published on the same data set.
pub(crate) struct Comparison {
    /// Method and source.
    pub(crate) method: &'static str,
    pub(crate) image_auroc: Option<f64>,
    pub(crate) pixel_auroc: Option<f64>,
    pub(crate) aupro: Option<f64>,
}

/// Pictures of one kind of mistake in one category.
const SHOWN: usize = 6;

const HEADERS: [&str; 10] = [
    "Category",
    "Images",
    "Image AUROC",
    "Pixel AUROC",
    "AUPRO",
    "False rejects",
    "Escapes",
    "patchcore image",
    "patchcore pixel",
    "Fit, s",
];

fn row(name: Cell, images: String, main: &Figures, plain: &Figures, seconds: String) -> Vec<Cell> {
    let mut row = vec![name, Cell::Number(images)];
    for value in [
        main.image_auroc,
        main.pixel_auroc,
        main.aupro,
        main.false_reject_rate,
        main.escape_rate,
        plain.image_auroc,
        plain.pixel_auroc,
    ] {
        row.push(Cell::Number(percent(value)));
    }
    row.push(Cell::Number(seconds));
    row
}

/// Everything that was measured, with `mean` over the categories (the rule's and the plain bank's)
/// and what others published.
pub(crate) fn benchmark_page(
    title: &str,
    categories: &[Category<'_>],
    failed: &[(String, String)],
    mean: [&Figures; 2],
    published: &[(&str, &[Comparison])],
    notes: &[String],
    command: &str,
) -> Result<String, TrainError> {
    let mut page = Page::new(format!("Benchmark: {title}"));
    page.paragraph(
        "Every category is a product of its own, fitted on its good images only and judged on its whole test set. \
         Per cent; false rejects (goods not called OK) and escapes (defectives called OK) are at each product's own threshold. \
         Beside the rule stands patchcore on the same features and bank.",
    );
    let mut rows: Vec<Vec<Cell>> = categories
        .iter()
        .map(|c| {
            row(
                c.name.into(),
                c.report.images.to_string(),
                &c.report.figures,
                &c.report.baseline,
                format!("{:.1}", c.fit_seconds),
            )
        })
        .collect();
    rows.push(row(
        Cell::Titled("Mean".into(), "unweighted".into()),
        String::new(),
        mean[0],
        mean[1],
        String::new(),
    ));
    page.table(&HEADERS, &rows);
    for note in notes {
        page.paragraph(note);
    }
    for (set, figures) in published {
        page.heading(&format!("{set}, as published"));
        page.paragraph("By those named, on other backbones; not measured here.");
        page.table(
            &["Method", "Image AUROC", "Pixel AUROC", "AUPRO"],
            &comparison(figures),
        );
    }
    if !failed.is_empty() {
        page.heading("Categories that failed");
        let rows: Vec<Vec<Cell>> = failed
            .iter()
            .map(|(name, error)| vec![name.as_str().into(), error.as_str().into()])
            .collect();
        page.table(&["Category", "Why"], &rows);
    }
    for (i, category) in categories.iter().enumerate() {
        page.heading(category.name);
        let product = Product::open(&category.bundle)?;
        let thresholds = &product.manifest().thresholds;
        page.histogram(&histogram(category.judged, |j| j.score, thresholds));
        if i == 0 {
            picture_keys(&mut page);
        }
        let mut gallery = Gallery::new(&product, &category.root)?;
        mistakes(&mut page, &mut gallery, category.judged, SHOWN)?;
    }
    page.heading("To reproduce");
    page.command(command);
    Ok(page.finish())
}

fn comparison(published: &[Comparison]) -> Vec<Vec<Cell>> {
    published
        .iter()
        .map(|c| {
            let mut row = vec![Cell::from(c.method)];
            for value in [c.image_auroc, c.pixel_auroc, c.aupro] {
                row.push(Cell::Number(percent(value)));
            }
            row
        })
        .collect()
}
