//! The page of a benchmark: a table over all categories and the worst mistakes of each.

use super::gallery::Gallery;
use super::{histogram, mistakes, picture_keys};
use crate::error::TrainError;
use crate::validation::{Figures, Inspected, ValidationReport, percent};
use partgate::product::Product;
use partgate::view::{Cell, Page};
use serde::Serialize;
use std::path::PathBuf;

/// One category that was fitted and validated.
pub(crate) struct Category<'a> {
    pub(crate) name: &'a str,
    pub(crate) report: &'a ValidationReport,
    pub(crate) inspected: &'a [Inspected],
    /// The folder that the inspected paths are relative to.
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

/// A category that could not be fitted or validated.
#[derive(Serialize)]
pub(crate) struct FailedCategory {
    pub(crate) name: String,
    /// The error with its causes.
    pub(crate) error: String,
}

/// Published figures on one data set.
pub(crate) struct Published {
    pub(crate) set: &'static str,
    pub(crate) figures: &'static [Comparison],
}

/// Contents of the page.
pub(crate) struct BenchmarkPage<'a> {
    pub(crate) title: &'a str,
    pub(crate) categories: &'a [Category<'a>],
    pub(crate) failed: &'a [FailedCategory],
    /// Means over the categories.
    pub(crate) mean: &'a Figures,
    /// Means of the plain bank.
    pub(crate) baseline_mean: &'a Figures,
    pub(crate) published: &'a [Published],
    pub(crate) notes: &'a [String],
    /// The command that makes the page again.
    pub(crate) command: &'a str,
}

impl BenchmarkPage<'_> {
    /// The page as HTML.
    ///
    /// # Errors
    /// [`TrainError`] for a bundle or an image that cannot be read.
    pub(crate) fn render(&self) -> Result<String, TrainError> {
        let mut page = Page::new(format!("Benchmark: {}", self.title));
        page.paragraph(
            "Every category is a product of its own, fitted on its good images only and inspected on its whole test set. \
             Per cent; false rejects (goods not called OK) and escapes (defectives called OK) are at each product's own threshold. \
             Beside the rule stands patchcore on the same features and bank.",
        );
        page.table(&HEADERS, &self.rows());
        for note in self.notes {
            page.paragraph(note);
        }
        for published in self.published {
            page.heading(&format!("{}, as published", published.set));
            page.paragraph("By those named, on other backbones; not measured here.");
            page.table(
                &["Method", "Image AUROC", "Pixel AUROC", "AUPRO"],
                &comparison(published.figures),
            );
        }
        if !self.failed.is_empty() {
            page.heading("Categories that failed");
            let rows: Vec<Vec<Cell>> = self
                .failed
                .iter()
                .map(|failed| vec![failed.name.as_str().into(), failed.error.as_str().into()])
                .collect();
            page.table(&["Category", "Why"], &rows);
        }
        self.add_mistakes(&mut page)?;
        page.heading("To reproduce");
        page.command(self.command);
        Ok(page.finish())
    }

    /// The table: a row a category, then the means.
    fn rows(&self) -> Vec<Vec<Cell>> {
        let mut rows: Vec<Vec<Cell>> = self
            .categories
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
            self.mean,
            self.baseline_mean,
            String::new(),
        ));
        rows
    }

    /// Scores and worst mistakes of each category.
    fn add_mistakes(&self, page: &mut Page) -> Result<(), TrainError> {
        for (i, category) in self.categories.iter().enumerate() {
            page.heading(category.name);
            let product = Product::open(&category.bundle)?;
            let thresholds = &product.manifest().thresholds;
            page.histogram(&histogram(category.inspected, |j| j.score, thresholds));
            if i == 0 {
                picture_keys(page);
            }
            let mut gallery = Gallery::new(&product, &category.root)?;
            mistakes(page, &mut gallery, category.inspected, SHOWN)?;
        }
        Ok(())
    }
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
