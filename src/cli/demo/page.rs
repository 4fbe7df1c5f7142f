//! The page of the demonstration.

use super::{Inspected, Outcome, Summary};
use partgate::product::{Manifest, Product};
use partgate::verdict::Verdict;
use partgate::view::{Badge, Cell, Figure, Page, ScoreBar, Tone};

fn tone(verdict: Verdict) -> Tone {
    match verdict {
        Verdict::Ok => Tone::Good,
        Verdict::Ng => Tone::Bad,
        Verdict::Unknown => Tone::Unsure,
    }
}

/// Snake case as words.
fn words(name: &str) -> String {
    let mut text = name.replace('_', " ");
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text
}

fn row(inspected: &Inspected, manifest: &Manifest, top: f32) -> Vec<Cell> {
    let mut badges = vec![Badge::new(
        inspected.verdict.to_string(),
        tone(inspected.verdict),
    )];
    match inspected.outcome {
        Outcome::Right => {}
        Outcome::Escape => badges.push(Badge::new("escape", Tone::Alarm)),
        Outcome::FalseReject => badges.push(Badge::new("false reject", Tone::Alarm)),
    }
    let what = match inspected.defect {
        Some(defect) => defect.what(),
        None => "Nothing is wrong with it.",
    };
    let [part, heat] = match &inspected.pictures {
        Some(pictures) => pictures.clone().map(Cell::Picture),
        None => [Cell::from("not shown"), Cell::from("not shown")],
    };
    vec![
        Cell::Number(inspected.part.to_string()),
        part,
        heat,
        Cell::Badges(badges),
        Cell::Titled(words(inspected.shown), what.into()),
        Cell::Score(ScoreBar {
            score: inspected.score,
            unknown: manifest.thresholds.unknown.threshold,
            ng: manifest.thresholds.ng.threshold,
            top,
            tone: tone(inspected.verdict),
        }),
        Cell::Number(format!("{:.1}", inspected.ms)),
    ]
}

/// Builds the page.
pub(super) fn build(
    product: &Product,
    inspected: &[Inspected],
    summary: &Summary,
    threads: usize,
) -> String {
    let manifest = product.manifest();
    let mistakes = |count: usize| if count == 0 { Tone::Good } else { Tone::Alarm };
    let mut page = Page::new("partgate demo");
    page.paragraph(&format!(
        "{} rendered parts of the product \u{201c}{}\u{201d} (revision {}, {}), {} of them good, inspected by a bank fitted on {} other good parts. \
         The fit has seen no defective part, only good ones and synthetic damage on copies of them.",
        summary.parts, manifest.name, manifest.revision, product.signature(), summary.good, manifest.training.images
    ));
    page.figures(&[
        Figure::new("Parts", summary.parts.to_string()),
        Figure::new("OK", summary.ok.to_string()),
        Figure::new("NG", summary.ng.to_string()),
        Figure::new("UNKNOWN", summary.unknown.to_string()),
        Figure::toned(
            "Escapes",
            format!("{} / {}", summary.escapes, summary.parts - summary.good),
            mistakes(summary.escapes),
        ),
        Figure::toned(
            "False rejects",
            format!("{} / {}", summary.false_rejects, summary.good),
            mistakes(summary.false_rejects),
        ),
        Figure::new("Median time", format!("{:.1} ms", summary.median_ms)),
        Figure::new(
            "Parts per second",
            format!("{:.1}", summary.parts_per_second),
        ),
    ]);
    page.paragraph(&format!(
        "A part is OK up to a score of {:.3}, NG above {:.3}, and UNKNOWN between; both NG and UNKNOWN are rejected. \
         An escape is a defective part with the verdict OK. A false reject is a good part with another verdict. \
         Times are inspection times on this machine with {threads} thread{}.",
        manifest.thresholds.unknown.threshold,
        manifest.thresholds.ng.threshold,
        if threads == 1 { "" } else { "s" }
    ));
    page.colour_scale();

    // The bar ends at the highest score, within a limit: one outlier must not compress all others.
    let ng = manifest.thresholds.ng.threshold;
    let highest = inspected.iter().map(|j| j.score).fold(ng, f32::max);
    let top = (highest * 1.05).clamp(ng * 1.25, (ng * 4.0).max(f32::MIN_POSITIVE));
    let headers = ["#", "Part", "Score map", "Verdict", "Shown", "Score", "ms"];
    let rows: Vec<Vec<Cell>> = inspected.iter().map(|j| row(j, manifest, top)).collect();
    page.heading("Every part, in the order shown");
    page.table(&headers, &rows);
    page.finish()
}
