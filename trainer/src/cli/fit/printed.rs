//! The report of `fit` as text.

use crate::fit::outliers::Outlier;
use crate::fit::report::{EnsembleReport, FitReport};
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

/// Good images that stand out, and what they cost.
fn print_outliers(report: &FitReport) {
    let images = |count: usize| match count {
        1 => "1 good image".to_owned(),
        n => format!("{n} good images"),
    };
    let copies = |[caught, of]: [usize; 2]| format!("{caught} of {of} damaged copies");
    if let Some(dropped) = &report.dropped {
        println!(
            "  {} left out, which stood out:",
            images(dropped.outliers.len())
        );
        print_names(&dropped.outliers);
        println!(
            "    with them the UNKNOWN threshold was {:.4} and rejected {}; now it is {:.4} and rejects {}",
            dropped.threshold_with,
            copies(dropped.caught_with),
            report.thresholds.unknown.threshold,
            copies(report.caught())
        );
    }
    if report.outliers.is_empty() {
        return;
    }
    let (verb, they) = match report.outliers.len() {
        1 => ("stands", "is it"),
        _ => ("stand", "are they"),
    };
    println!(
        "  {} {verb} out far from the others; {they} good? (--report shows them, --drop-outliers leaves them out)",
        images(report.outliers.len())
    );
    print_names(&report.outliers);
    if let Some(cost) = &report.outlier_cost {
        println!(
            "    the UNKNOWN threshold is {:.4} with them and about {:.4} without, which would reject {} instead of {}",
            cost.thresholds[0],
            cost.thresholds[1],
            copies([cost.caught[1], cost.copies]),
            cost.caught[0]
        );
    }
}

fn print_names(outliers: &[Outlier]) {
    const SHOWN: usize = 8;
    for outlier in outliers.iter().take(SHOWN) {
        let what = match &outlier.alike {
            None => "held-out score".to_owned(),
            Some(other) => format!("only {other} shows the same; score without it"),
        };
        println!(
            "    {}: {what} {:.4}, {:.2} times the median",
            outlier.image, outlier.score, outlier.over_median
        );
    }
    if let Some(more) = outliers.len().checked_sub(SHOWN).filter(|&more| more > 0) {
        println!("    and {more} more");
    }
}

pub(super) fn print(report: &FitReport, output: &Path, verbose: bool) {
    println!("{} -> {}", report.name, output.display());
    println!(
        "  {} good images of {}, {} cells of {} values, backbone {}",
        report.images,
        match report.image_sizes {
            1 => "1 size".to_owned(),
            n => format!("{n} sizes"),
        },
        report.cells,
        report.dimensions,
        report.backbone
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
            "  input chosen on {} damaged copies that every one of these sees{}:",
            size.copies,
            match size.fine {
                0 => String::new(),
                fine => format!(", {fine} of them with fine damage"),
            }
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
    for line in &report.choice_summary {
        println!("  auto: {line}");
    }
    if let (true, Some(choice)) = (verbose, &report.choice) {
        for line in choice.lines() {
            println!("    {line}");
        }
        for sentence in choice.reason.split("; ").skip(1) {
            println!("    {sentence}");
        }
    }
    // What was chosen and why is in the lines above.
    for (name, sentence) in report.method.iter().filter(|(name, _)| *name != "chosen") {
        println!("  {name}: {sentence}");
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
    print_outliers(report);
    print_end(report);
}

/// The light, the size of the bundle and where the time went.
fn print_end(report: &FitReport) {
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
