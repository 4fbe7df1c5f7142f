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

/// The cell of a report, from its figures and those of the plain bank; of the means where there is no
/// report.
type CellOf = Box<dyn Fn(Option<&ValidationReport>, &Figures, &Figures) -> String>;

/// A column of the table: its head and its cells.
struct Column {
    head: &'static str,
    cell: CellOf,
}

/// The columns between the names and the times. A column that no category has a value for is left out,
/// and the plain bank's where every product is the plain bank.
fn columns(categories: &[Category<'_>]) -> Vec<Column> {
    fn share(head: &'static str, value: fn(&Figures) -> Option<f64>) -> Column {
        let cell = move |_: Option<&ValidationReport>, main: &Figures, _: &Figures| {
            value(main).map_or(String::new(), |v| percent(Some(v)))
        };
        Column {
            head,
            cell: Box::new(cell),
        }
    }
    fn plain(head: &'static str, value: fn(&Figures) -> Option<f64>) -> Column {
        let cell = move |_: Option<&ValidationReport>, _: &Figures, plain: &Figures| {
            value(plain).map_or(String::new(), |v| percent(Some(v)))
        };
        Column {
            head,
            cell: Box::new(cell),
        }
    }
    fn counted(
        head: &'static str,
        count: fn(&ValidationReport) -> (Option<usize>, usize),
        value: fn(&Figures) -> Option<f64>,
    ) -> Column {
        let cell =
            move |report: Option<&ValidationReport>, main: &Figures, _: &Figures| match report
                .map(count)
            {
                Some((Some(count), of)) => format!("{count} of {of}"),
                Some((None, _)) => String::new(),
                None => value(main).map_or(String::new(), |v| format!("{} %", percent(Some(v)))),
            };
        Column {
            head,
            cell: Box::new(cell),
        }
    }
    let all = [
        counted(
            "False rejects",
            |r| (r.false_rejects(&r.figures), r.good),
            |f| f.false_reject_rate,
        ),
        counted(
            "Escapes",
            |r| (r.escapes(&r.figures), r.defective),
            |f| f.escape_rate,
        ),
        share("Image AUROC", |f| f.image_auroc),
        share("Pixel AUROC", |f| f.pixel_auroc),
        share("AUPRO", |f| f.aupro),
        plain("Image AUROC, patchcore", |f| f.image_auroc),
        plain("Pixel AUROC, patchcore", |f| f.pixel_auroc),
    ];
    let own = !categories.is_empty() && categories.iter().all(|c| c.report.plain);
    let mut columns: Vec<Column> = all.into_iter().collect();
    if own {
        columns.truncate(5);
    }
    columns.retain(|column| {
        let cell = |c: &Category<'_>| {
            let report = c.report;
            (column.cell)(Some(report), &report.figures, &report.baseline)
        };
        categories.iter().any(|c| !cell(c).is_empty())
    });
    columns
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
             False rejects (goods not called OK) and escapes (defectives called OK) are counted at each product's own threshold; the rest is per cent. \
             Beside another rule stands patchcore on the same features and bank.",
        );
        let columns = columns(self.categories);
        let mut headers = vec!["Category", "Images"];
        headers.extend(columns.iter().map(|column| column.head));
        headers.push("Fit, s");
        page.table(&headers, &self.rows(&columns));
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

    /// The table: a row per category, then the means.
    fn rows(&self, columns: &[Column]) -> Vec<Vec<Cell>> {
        let row = |name: Cell, images: String, cells: Vec<String>, seconds: String| {
            let mut row = vec![name, Cell::Number(images)];
            row.extend(cells.into_iter().map(Cell::Number));
            row.push(Cell::Number(seconds));
            row
        };
        let mut rows: Vec<Vec<Cell>> = Vec::new();
        for c in self.categories {
            let (main, plain) = (&c.report.figures, &c.report.baseline);
            let cells = columns
                .iter()
                .map(|column| (column.cell)(Some(c.report), main, plain));
            rows.push(row(
                c.name.into(),
                c.report.images.to_string(),
                cells.collect(),
                format!("{:.1}", c.fit_seconds),
            ));
        }
        // The mean of one category repeats it.
        if self.categories.len() > 1 {
            let cells = columns
                .iter()
                .map(|c| (c.cell)(None, self.mean, self.baseline_mean));
            rows.push(row(
                Cell::Titled("Mean".into(), "unweighted".into()),
                String::new(),
                cells.collect(),
                String::new(),
            ));
        }
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
                row.push(Cell::Number(
                    value.map_or(String::new(), |v| percent(Some(v))),
                ));
            }
            row
        })
        .collect()
}
