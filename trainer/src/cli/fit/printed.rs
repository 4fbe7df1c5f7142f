//! The report of `fit` as text.

use crate::fit::report::{EnsembleReport, FitReport};
use partgate::product::Choice;
use partgate::verdict::{Bound, BoundMethod};
use std::path::Path;

/// One threshold in a line for people.
pub(crate) fn bound_line(name: &str, bound: &Bound) -> String {
    if bound.method == BoundMethod::Manual {
        return format!(
            "{name:>8} above {:.4}  (set by hand; it states nothing about false rejects)\n{:>9}{}",
            bound.threshold, "", bound.note
        );
    }
    format!(
        "{name:>8} above {:.4}  ({} over {} held-out goods; states <= {:.3} % of goods at {:.0} % confidence, {:.3} % without assumptions)\n{:>9}{}",
        bound.threshold,
        serde_json::to_value(bound.method)
            .ok()
            .and_then(|v| v.as_str().map(String::from))
            .unwrap_or_default(),
        bound.n,
        bound.stated_rate * 100.0,
        bound.confidence * 100.0,
        bound.distribution_free_rate * 100.0,
        "",
        bound.note
    )
}

/// The members after the first, and the gain of the ensemble.
fn print_ensemble(ensemble: &EnsembleReport) {
    for member in &ensemble.members[1..] {
        println!(
            "  with {} at {} px: bank {} rows of {} values, rule {}",
            member.backbone,
            member.size.briefly(),
            member.bank_rows,
            member.dimensions,
            member.rule
        );
        if member.cached_images > 0 {
            println!(
                "    features of {} of the images came from the cache",
                member.cached_images
            );
        }
        for (name, sentence) in &member.method {
            println!("    {name}: {sentence}");
        }
    }
    let Some(together) = &ensemble.separation else {
        return;
    };
    println!(
        "  {} damaged copies against held-out goods, each way under its own UNKNOWN threshold:",
        together.copies
    );
    let alone = ensemble.members.iter().filter_map(|m| {
        let name = format!("{} at {} px, {}", m.backbone, m.size.briefly(), m.rule);
        Some((name, m.separation.as_ref()?))
    });
    for (name, s) in alone.chain([("together".to_string(), together)]) {
        println!(
            "    {name:<64} AUROC {:.4}  caught {:>5.1} %  shortfall {:.4}",
            s.image_auroc,
            100.0 * s.caught,
            s.shortfall
        );
    }
    if ensemble.better == Some(false) {
        println!(
            "  on these copies they do no better together than the best of them alone; real defects may say otherwise, and a board needs the time of all members"
        );
    }
}

pub(super) fn print(report: &FitReport, output: &Path) {
    println!("{} -> {}", report.name, output.display());
    println!(
        "  {} good images of {} size(s), {} cells of {} values, backbone {}",
        report.images, report.image_sizes, report.cells, report.dimensions, report.backbone
    );
    if report.cached_images > 0 {
        println!(
            "  features of {} of the images came from the cache",
            report.cached_images
        );
    }
    if let Some(part) = &report.part {
        let advice = match report.region {
            None => "; --roi auto would look at this region only",
            Some(region) if region == part.region => ", which is the region",
            Some(_) => "",
        };
        println!("  {}{advice}", part.in_words());
    }
    if let Some(size) = &report.size {
        println!(
            "  input chosen on {} damaged copies that every one of these sees:",
            size.copies
        );
        for line in size.lines() {
            println!("    {line}");
        }
    }
    if let Some(kept) = report.variance_kept {
        println!(
            "  the {} principal directions keep {:.1} % of the features' variance",
            report.dimensions,
            100.0 * kept
        );
    }
    println!("  bank {} rows, rule {}", report.bank_rows, report.rule);
    for (name, sentence) in &report.method {
        println!("  {name}: {sentence}");
    }
    for line in report.choice.iter().flat_map(Choice::lines) {
        println!("    {line}");
    }
    if let Some(ensemble) = &report.ensemble {
        print_ensemble(ensemble);
    }
    println!("{}", bound_line("UNKNOWN", &report.thresholds.unknown));
    println!("{}", bound_line("NG", &report.thresholds.ng));
    for line in report.operating.lines(report.thresholds.unknown.threshold) {
        println!("  {line}");
    }
    println!("  {}", report.operating.legend());
    if !report.outliers.is_empty() {
        println!(
            "  {} good image(s) score far above the others and may set the thresholds; are they good?",
            report.outliers.len()
        );
        for outlier in report.outliers.iter().take(8) {
            println!(
                "    {}: held-out score {:.4}, {:.2} times the median",
                outlier.image, outlier.score, outlier.over_median
            );
        }
    }
    for line in report.light.iter().flat_map(|light| light.in_words()) {
        println!("  light    {line}");
    }
    println!(
        "  {} bytes, BLAKE3 {}; {:.1} s (features {:.1}, folds {:.1}, choice {:.1}, held-out scores and refinement {:.1}, other light {:.1}, bank {:.1}, bundle {:.1})",
        report.bytes,
        report.blake3,
        report.seconds.total,
        report.seconds.features,
        report.seconds.folds,
        report.seconds.choice,
        report.seconds.thresholds,
        report.seconds.light,
        report.seconds.bank,
        report.seconds.bundle
    );
}
