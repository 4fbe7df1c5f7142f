//! Figures and facts as table rows.

use crate::budgets::counted;
use crate::validation::{Figures, KindFigures, Measure, ValidationReport, percent};
use partgate::product::{Manifest, MemberData, Product, Training};
use partgate::verdict::Bound;
use partgate::view::Cell;

/// A figure with what it stands for in small type.
fn figure(report: &ValidationReport, measure: &Measure, figures: &Figures) -> Cell {
    let [value, stands_for] = report.in_words(measure, figures);
    Cell::Titled(value, stands_for)
}

/// Every figure that the data can tell, with those of the plain bank beside it if the product is not
/// the plain bank itself.
pub(super) fn measures(report: &ValidationReport) -> Vec<Vec<Cell>> {
    report
        .measures()
        .map(|measure| {
            let origin = if measure.oracle {
                "oracle: found with the labels of these very images"
            } else {
                ""
            };
            let name = Cell::Titled(measure.name.into(), origin.into());
            let mut row = vec![name, figure(report, measure, &report.figures)];
            if !report.plain {
                row.push(figure(report, measure, &report.baseline));
            }
            row
        })
        .collect()
}

/// Kinds of defects, the worst separated first. Columns of the plain bank stand beside those of another
/// rule, where there are figures of it.
pub(super) fn kinds(report: &ValidationReport) -> (Vec<&'static str>, Vec<Vec<Cell>>) {
    let mut kinds: Vec<&KindFigures> = report.kinds.iter().collect();
    let compared = !report.plain;
    let escapes = compared && kinds.iter().all(|k| k.baseline_escapes.is_some());
    let mut headers = vec!["Kind of defect", "Escapes", "Image AUROC"];
    if escapes {
        headers.push("Escapes, patchcore");
    }
    if compared {
        headers.push("Image AUROC, patchcore");
    }
    kinds.sort_by(|a, b| {
        let auroc = |k: &KindFigures| k.image_auroc.unwrap_or(0.0);
        auroc(a).total_cmp(&auroc(b))
    });
    let number = |text: String| Cell::Number(text);
    let rows = kinds.into_iter().map(|k| {
        let of = |count: usize| number(format!("{count} of {}", k.images));
        let mut row = vec![
            k.kind.as_str().into(),
            of(k.escapes),
            number(percent(k.image_auroc)),
        ];
        if let (true, Some(count)) = (escapes, k.baseline_escapes) {
            row.push(of(count));
        }
        if compared {
            row.push(number(percent(k.baseline_image_auroc)));
        }
        row
    });
    (headers, rows.collect())
}

pub(super) const BUDGET_HEADERS: [&str; 4] = [
    "Budget",
    "Threshold",
    "Good images rejected",
    "Defective images passed",
];

/// The images under the thresholds of other budgets.
pub(super) fn budgets(figures: &ValidationReport) -> Vec<Vec<Cell>> {
    let rows = figures.budgets.iter();
    rows.map(|b| {
        let own = if b.threshold == figures.thresholds[0] {
            " (this product's)"
        } else {
            ""
        };
        vec![
            Cell::from(format!("{} %{own}", 100.0 * b.budget)),
            Cell::from(format!("{:.4}", b.threshold)),
            Cell::from(counted(b.false_rejects, figures.good)),
            Cell::from(counted(b.escapes, figures.defective)),
        ]
    })
    .collect()
}

fn bound(bound: &Bound) -> Cell {
    Cell::Titled(format!("{:.4}", bound.threshold), bound.note.clone())
}

fn geometry(manifest: &Manifest) -> String {
    let input = &manifest.input;
    let mut text = match input.roi {
        Some(r) => format!(
            "{} x {} pixels from ({}, {}), ",
            r.width, r.height, r.x, r.y
        ),
        None => String::new(),
    };
    text += &format!("resized to {}", input.resize);
    if input.crop != input.resize {
        text += &format!(", centre {}", input.crop);
    }
    text
}

/// Facts about the product and its fit.
pub(super) fn facts(product: &Product) -> Vec<Vec<Cell>> {
    let manifest = product.manifest();
    let mut rows = vec![
        ("Product", identity(product)),
        ("Network input", geometry(manifest).into()),
        (
            "Backbone",
            Cell::Titled(
                manifest.backbone.name.clone(),
                format!("{}", manifest.backbone.precision),
            ),
        ),
        ("Rule", rule(&product.members()[0])),
        ("Bank", bank(product)),
    ];
    let others = product.members().iter().zip(&manifest.member_scales);
    rows.extend(
        others
            .skip(1)
            .map(|(other, scale)| ("With", member(other, *scale, manifest.member_scales[0]))),
    );
    rows.push(("Fitted on", training(&manifest.training)));
    rows.push(("UNKNOWN above", bound(&manifest.thresholds.unknown)));
    rows.push(("NG above", bound(&manifest.thresholds.ng)));
    for entry in &manifest.audit {
        rows.push(("Changed", entry.action.as_str().into()));
    }
    rows.into_iter()
        .map(|(name, value)| vec![name.into(), value])
        .collect()
}

fn identity(product: &Product) -> Cell {
    let manifest = product.manifest();
    Cell::Titled(
        manifest.name.clone(),
        format!(
            "revision {}{}; {} bytes, BLAKE3 {}; {}; {}",
            manifest.revision,
            if manifest.part_number.is_empty() {
                String::new()
            } else {
                format!(", part number {}", manifest.part_number)
            },
            product.size(),
            product.digest().to_hex(),
            product.signature(),
            manifest.tool_version
        ),
    )
}

fn rule(member: &MemberData) -> Cell {
    let method = member.method();
    let words = method.in_words().into_iter();
    let words = words.chain(member.scoring().in_words());
    let words: Vec<String> = words.map(|(name, s)| format!("{name}: {s}")).collect();
    Cell::Titled(method.rule.to_string(), words.join("; "))
}

fn bank(product: &Product) -> Cell {
    let (bank, manifest) = (product.bank(), product.manifest());
    Cell::Titled(
        format!("{} rows", bank.rows()),
        format!(
            "of {} values each, chosen from {} cells; averaged over {2} x {2} cells; map blurred by {3} pixels",
            bank.dimensions(),
            manifest.training.cells,
            manifest.method.patch,
            manifest.method.sigma
        ),
    )
}

/// A further member of an ensemble.
fn member(member: &MemberData, scale: f32, first_scale: f32) -> Cell {
    let (backbone, words) = (member.backbone(), member.method().in_words());
    let words = words.into_iter().chain(member.scoring().in_words());
    let words = words.map(|(name, s)| format!("; {name}: {s}"));
    Cell::Titled(
        format!(
            "{} at {} pixels, rule {}",
            backbone.name,
            member.input().size().briefly(),
            member.method().rule
        ),
        format!(
            "bank of {} rows, map divided by {scale} (the first member's by {first_scale}){}",
            member.bank().rows(),
            words.collect::<String>()
        ),
    )
}

fn training(training: &Training) -> Cell {
    Cell::Titled(
        format!("{} good images", training.images),
        format!(
            "seed {}; thresholds from {} folds, each scored by a bank without it; held-out scores {:.4} to {:.4}, median {:.4}",
            training.seed,
            training.folds,
            training.held_out[0],
            training.held_out[2],
            training.held_out[1]
        ),
    )
}
