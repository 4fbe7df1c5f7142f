//! The page of one fit: what the thresholds rest on, which good images stand out, what was chosen and
//! why.

use super::goods::Goods;
use super::tables;
use crate::budgets::stands_for;
use crate::dataset::GoodImages;
use crate::error::TrainError;
use crate::fit::outliers::Outlier;
use crate::fit::report::FitReport;
use crate::metrics::{CONFIDENCE, Share};
use partgate::product::{BudgetPoint, Operating, Product};
use partgate::view::{Cell, Curve, Curves, Figure, Group, Histogram, Mark, Page, Tone};

/// Pictures of one kind on a page.
const SHOWN: usize = 12;
/// Points of a curve, at most.
const POINTS: usize = 160;

/// The page of a fit. `images` are those that the product was fitted on, and those before any was left
/// out; `command` reproduces it.
pub(crate) fn fit_page(
    product: &Product,
    report: &FitReport,
    [images, all]: [&GoodImages; 2],
    command: &str,
) -> Result<String, TrainError> {
    let mut page = Page::new(format!("Fit of {}", report.name));
    page.paragraph(&format!(
        "Fitted on {} good images. Everything here comes from good images alone: each was scored by banks that had not seen it (held out), \
         and copies of good images were damaged by a program. Real defects can differ: validate on them.",
        report.images
    ));
    page.figures(&key_figures(report));
    for note in report.forced.iter().chain(&report.notes) {
        page.paragraph(&format!("Note: {note}."));
    }
    choice(&mut page, report);
    operating_points(&mut page, report);
    let mut goods = Goods::new(product)?;
    outliers(&mut page, &mut goods, report, [images, all])?;
    page.heading("Good images nearest to the threshold");
    page.paragraph(
        "Those with the highest held-out scores that do not stand out. They set the threshold: look whether they are good, and whether others like them are missing.",
    );
    page.colour_scale();
    page.gallery(&cards(&mut goods, &report.closest, images)?);
    page.heading("Product and method");
    page.table(&["Setting", "Value"], &tables::facts(product));
    page.heading("To reproduce");
    page.command(command);
    Ok(page.finish())
}

/// What so many good images prove about a threshold: rounded up, because a bound must stay one.
fn proves(point: &BudgetPoint, operating: &Operating) -> String {
    format!(
        "at most {:.1} % at {:.0} %",
        (1000.0 * point.at_most).ceil() / 10.0,
        100.0 * operating.confidence
    )
}

fn key_figures(report: &FitReport) -> Vec<Figure> {
    let goods = report.held_out_scores.len();
    let unknown = report.thresholds.unknown.threshold;
    let above = report
        .held_out_scores
        .iter()
        .filter(|&&s| s > unknown)
        .count();
    let mut points = report.operating.points.iter();
    let own = points.find(|point| point.threshold == unknown);
    let [caught, copies] = report.caught();
    let count = Figure::new("Good images", report.images.to_string());
    let mut figures = vec![
        match report.dropped.as_ref().map(|d| d.outliers.len()) {
            None => count,
            Some(left_out) => count.noted(format!("{left_out} left out")),
        },
        Figure::new("Held-out goods rejected", format!("{above} of {goods}")).noted(
            own.map_or_else(
                || stands_for(above, goods).unwrap_or_default(),
                |point| proves(point, &report.operating),
            ),
        ),
    ];
    if copies > 0 {
        figures.push(
            Figure::new("Damaged copies rejected", format!("{caught} of {copies}"))
                .noted("painted and misplaced, all sizes"),
        );
    }
    let tone = if report.outliers.is_empty() {
        Tone::Good
    } else {
        Tone::Alarm
    };
    figures.push(Figure::toned(
        "Stand out",
        report.outliers.len().to_string(),
        tone,
    ));
    figures.push(Figure::new("UNKNOWN above", format!("{unknown:.4}")));
    figures.push(Figure::new(
        "NG above",
        format!("{:.4}", report.thresholds.ng.threshold),
    ));
    figures
}

/// What `--method auto` chose and why.
fn choice(page: &mut Page, report: &FitReport) {
    let Some(choice) = &report.choice else {
        return;
    };
    page.heading("What auto chose and why");
    for line in &report.choice_summary {
        let mut words = line.chars();
        let first = words.next().map(|c| c.to_uppercase().to_string());
        page.paragraph(&format!("{}{}.", first.unwrap_or_default(), words.as_str()));
    }
    // The first sentence is among the lines above.
    for sentence in choice.reason.split("; ").skip(1) {
        page.paragraph(&format!("{sentence}."));
    }
    if choice.candidates.len() < 2 {
        return;
    }
    let names = choice.names();
    let rows = choice.candidates.iter().zip(names).map(|(c, name)| {
        let share = |of: usize, caught: f64| {
            let text = match of {
                0 => String::new(),
                of => format!("{:.0} of {of}", caught * of as f64),
            };
            Cell::Number(text)
        };
        let [surface, misplaced, exchanged] = choice.damaged.map(|n| n as usize);
        vec![
            name.into(),
            share(surface, c.caught[0]),
            share(misplaced, c.caught[1]),
            share(exchanged, c.caught[2]),
            Cell::Number(format!("{:.4}", c.shortfall)),
        ]
    });
    let rows: Vec<Vec<Cell>> = rows.collect();
    page.table(
        &[
            "Rule",
            "Surface damage",
            "Misplaced",
            "Exchanged places",
            "Shortfall",
        ],
        &rows,
    );
    page.paragraph(
        "Damaged copies above the rule's own threshold; shortfall: how far the others stay below it, on average (small is good).",
    );
}

fn operating_points(page: &mut Page, report: &FitReport) {
    let operating = &report.operating;
    page.heading("Thresholds and operating points");
    page.histogram(&scores(report));
    page.paragraph(
        "What each threshold rejects. The band around the good parts is the 95 % interval of so many images; the curves of damage are copies of good images, by the side of the damage in pixels of the picture.",
    );
    page.curves(&curves(report));
    page.paragraph(
        "Budget: the share of good parts that is expected above the threshold. The command calibrate with --budget moves it later, without the images.",
    );
    let sizes = operating.sizes();
    let mut headers = vec![
        "Budget".to_owned(),
        "Threshold".into(),
        "Goods rejected".into(),
    ];
    headers.extend(sizes.iter().map(|class| class.name()));
    let rows = operating.points.iter().map(|point| {
        let used = point.threshold == report.thresholds.unknown.threshold;
        let mark = if used { ", this product's" } else { "" };
        let (above, goods) = (point.above as usize, operating.goods.len());
        let mut row = vec![
            Cell::Text(format!("{} %{mark}", 100.0 * point.budget)),
            Cell::Number(format!("{:.4}", point.threshold)),
            Cell::Titled(format!("{above} of {goods}"), proves(point, operating)),
        ];
        row.extend(sizes.iter().map(|class| {
            let caught = operating.caught(class, point.threshold);
            Cell::Number(format!("{caught} of {}", class.copies))
        }));
        row
    });
    let rows: Vec<Vec<Cell>> = rows.collect();
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
    page.table(&headers, &rows);
}

/// Scores of the held-out good images and of the damaged copies.
fn scores(report: &FitReport) -> Histogram {
    let copies = |label: &str, misplaced: bool| Group {
        label: label.into(),
        tone: Tone::Alarm,
        scores: (report.operating.damaged.iter())
            .filter(|d| d.misplaced == misplaced)
            .map(|d| d.score)
            .collect(),
    };
    let goods = Group {
        label: "Good images, held out".into(),
        tone: Tone::Good,
        scores: report.held_out_scores.clone(),
    };
    let groups = [
        goods,
        copies("Copies with damage painted on", false),
        copies("Copies with something misplaced", true),
    ];
    Histogram {
        groups: groups
            .into_iter()
            .filter(|g| !g.scores.is_empty())
            .collect(),
        unknown: report.thresholds.unknown.threshold,
        ng: report.thresholds.ng.threshold,
    }
}

/// Thresholds at which the curves have a point: enough of all scores, with both ends.
fn stops(operating: &Operating) -> Vec<f32> {
    let damaged = operating.damaged.iter().map(|d| d.score);
    let mut all: Vec<f32> = operating.goods.iter().copied().chain(damaged).collect();
    // Beyond twice the highest threshold nothing is decided.
    let highest = operating
        .points
        .iter()
        .map(|p| p.threshold)
        .fold(0.0, f32::max);
    all.retain(|&score| highest <= 0.0 || score <= 2.0 * highest);
    all.sort_by(f32::total_cmp);
    all.dedup();
    let step = all.len().div_ceil(POINTS).max(1);
    let last = all.last().copied();
    let mut stops: Vec<f32> = all.into_iter().step_by(step).collect();
    if stops.last().copied() != last {
        stops.extend(last);
    }
    stops
}

/// Shares that are rejected, by threshold.
fn curves(report: &FitReport) -> Curves {
    let operating = &report.operating;
    let (stops, goods) = (stops(operating), &operating.goods);
    let above = |at: f32| goods.len() - goods.partition_point(|&score| score <= at);
    let share = |at: f32| above(at) as f64 / goods.len().max(1) as f64;
    let interval = |at: &f32| {
        let share = Share::new(above(*at) as u64, goods.len() as u64, CONFIDENCE);
        share.map_or([0.0, 1.0], |s| [s.low, s.high])
    };
    let sizes = operating.sizes();
    let mut curves = vec![Curve {
        label: format!("Good parts, {} held out", goods.len()),
        tone: Tone::Good,
        pale: 0.0,
        points: stops.iter().map(|&at| (at, share(at))).collect(),
        band: stops.iter().map(interval).collect(),
    }];
    curves.extend(sizes.iter().enumerate().map(|(index, class)| {
        let caught = |at: f32| operating.caught(class, at) as f64 / class.copies as f64;
        let copies = if class.copies == 1 { "copy" } else { "copies" };
        Curve {
            label: format!("Damage of {}, {} {copies}", class.name(), class.copies),
            tone: Tone::Bad,
            pale: 1.0 - (index + 1) as f64 / sizes.len() as f64,
            points: stops.iter().map(|&at| (at, caught(at))).collect(),
            band: Vec::new(),
        }
    }));
    let unknown = report.thresholds.unknown.threshold;
    let mut marks: Vec<Mark> = operating
        .points
        .iter()
        .map(|point| Mark {
            label: format!("budget {} %", 100.0 * point.budget),
            at: point.threshold,
            used: point.threshold == unknown,
        })
        .collect();
    if marks.iter().all(|mark| !mark.used) {
        marks.push(Mark {
            label: "UNKNOWN".into(),
            at: unknown,
            used: true,
        });
    }
    Curves { curves, marks }
}

fn outliers(
    page: &mut Page,
    goods: &mut Goods<'_>,
    report: &FitReport,
    [images, all]: [&GoodImages; 2],
) -> Result<(), TrainError> {
    let copies = |[caught, of]: [usize; 2]| format!("{caught} of {of} damaged copies");
    page.heading("Good images that stand out");
    if let Some(dropped) = &report.dropped {
        page.subheading("Left out");
        page.paragraph(&format!(
            "With them the UNKNOWN threshold was {:.4} and rejected {}; without them it is {:.4} and rejects {}.",
            dropped.threshold_with,
            copies(dropped.caught_with),
            report.thresholds.unknown.threshold,
            copies(report.caught())
        ));
        page.gallery(&cards(goods, &dropped.outliers, all)?);
        page.subheading("Among those that are left");
    }
    if report.outliers.is_empty() {
        page.paragraph(
            "None. No held-out score is more than six robust standard deviations above the median, and no image depends on one other image alone.",
        );
        return Ok(());
    }
    page.paragraph(
        "Their score is more than six robust standard deviations above the median. A single defective part among the goods can lift the threshold over real defects; two that look alike hide each other until one is scored without the other. \
         Left: as the network sees the part. Right: where it differs from the other good images.",
    );
    if let Some(cost) = &report.outlier_cost {
        page.paragraph(&format!(
            "The UNKNOWN threshold is {:.4} with them and about {:.4} without, which would reject {} instead of {}. The option --drop-outliers leaves them out.",
            cost.thresholds[0],
            cost.thresholds[1],
            copies([cost.caught[1], cost.copies]),
            cost.caught[0]
        ));
    }
    page.gallery(&cards(goods, &report.outliers, images)?);
    Ok(())
}

fn cards(
    goods: &mut Goods<'_>,
    outliers: &[Outlier],
    images: &GoodImages,
) -> Result<Vec<partgate::view::Card>, TrainError> {
    let shown = outliers.iter().take(SHOWN);
    shown.map(|outlier| goods.card(outlier, images)).collect()
}
