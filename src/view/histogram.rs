//! Scores of several groups as histograms over one axis, with the thresholds drawn through all of
//! them. An inline SVG, so a page still fetches nothing.

use super::content::{Tone, escape};
use std::fmt::Write;

/// Scores that are counted together.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Name of the group.
    pub label: String,
    /// Colour of the columns.
    pub tone: Tone,
    /// The scores. A score that is NaN is not drawn but counted in the label.
    pub scores: Vec<f32>,
}

/// Groups below each other with the same axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// The groups, top to bottom.
    pub groups: Vec<Group>,
    /// Above: UNKNOWN.
    pub unknown: f32,
    /// Above: NG.
    pub ng: f32,
}

const WIDTH: f64 = 960.0;
const ROW: f64 = 84.0;
/// Room for a threshold's label beside the threshold.
const LABEL_WIDTH: f64 = 170.0;
/// Room for a group's label above its columns.
const LABEL: f64 = 22.0;
const TOP: f64 = 24.0;
const AXIS: f64 = 26.0;
const COLUMNS: usize = 64;

/// A round step that gives about five to ten ticks over `span`.
fn step(span: f64) -> f64 {
    let raw = span / 7.0;
    let power = 10f64.powf(raw.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .find(|f| raw <= f * power)
        .unwrap_or(10.0);
    factor * power
}

/// Ends of the axis. One outlier must not compress all others, so the axis ends at three times the
/// NG threshold. The last column holds everything above.
fn range(histogram: &Histogram) -> (f64, f64) {
    let scores = || histogram.groups.iter().flat_map(|g| &g.scores);
    let finite = |v: &f32| v.is_finite();
    let thresholds = [histogram.unknown, histogram.ng];
    let all = || scores().chain(&thresholds).copied().filter(finite);
    let low = all().fold(f32::INFINITY, f32::min);
    let high = all().fold(f32::NEG_INFINITY, f32::max);
    let (mut low, mut high) = (f64::from(low), f64::from(high));
    if !(low.is_finite() && high.is_finite()) {
        return (0.0, 1.0);
    }
    let ng = f64::from(histogram.ng);
    if ng > 0.0 && low < ng * 3.0 {
        high = high.min(ng * 3.0);
    }
    let pad = (high - low).max(high.abs() * 1e-3).max(1e-6) * 0.03;
    let (floor, unknown) = (low.min(0.0), f64::from(histogram.unknown));
    low -= pad;
    high += pad;
    // Room for the words beside the thresholds.
    if ng.is_finite() && unknown.is_finite() {
        high = high.max(low + (ng - low) / 0.85);
        low = low.min(high - (high - unknown) / 0.85);
    }
    (low.max(floor), high)
}

pub(super) fn svg(histogram: &Histogram) -> String {
    let (low, high) = range(histogram);
    let x = |score: f64| ((score - low) / (high - low)).clamp(0.0, 1.0) * WIDTH;
    let height = TOP + ROW * histogram.groups.len() as f64 + AXIS;
    let base = height - AXIS;
    let spoken: Vec<&str> = histogram.groups.iter().map(|g| g.label.as_str()).collect();
    let mut out = format!(
        "<div class=scroll><svg class=histogram viewBox=\"0 0 {WIDTH} {height}\" role=img \
         aria-label=\"Histogram of scores: {}; UNKNOWN above {}, NG above {}\">\n",
        escape(&spoken.join(", ")),
        histogram.unknown,
        histogram.ng
    );
    let step = step(high - low);
    let decimals = (-step.log10().floor()).clamp(0.0, 6.0) as usize;
    let mut tick = (low / step).ceil() * step;
    while tick <= high {
        let at = x(tick);
        let _ = write!(
            out,
            "<path class=tick d=\"M{at:.1} {base}v5\"/><text x=\"{at:.1}\" y=\"{}\" \
             text-anchor=middle>{tick:.decimals$}</text>",
            base + 19.0
        );
        tick += step;
    }
    for (row, group) in histogram.groups.iter().enumerate() {
        draw_group(&mut out, group, TOP + ROW * row as f64, &x);
    }
    let (unknown, ng) = (x(f64::from(histogram.unknown)), x(f64::from(histogram.ng)));
    for (class, at) in [("unknown", unknown), ("ng", ng)] {
        let _ = write!(
            out,
            "<path class=\"threshold {class}\" d=\"M{at:.1} 4V{base}\"/>"
        );
    }
    let words = [
        format!("UNKNOWN above {:.3}", histogram.unknown),
        format!("NG above {:.3}", histogram.ng),
    ];
    let mut label = |at: f64, anchor: &str, text: &str| {
        let _ = write!(
            out,
            "<text x=\"{at:.1}\" y=14 text-anchor={anchor}>{text}</text>"
        );
    };
    // One label on each side, or both on the side that has room.
    if unknown < LABEL_WIDTH {
        label(ng + 5.0, "start", &words.join(", "));
    } else if ng > WIDTH - LABEL_WIDTH {
        label(unknown - 5.0, "end", &words.join(", "));
    } else {
        label(unknown - 5.0, "end", &words[0]);
        label(ng + 5.0, "start", &words[1]);
    }
    out.push_str("\n</svg></div>\n");
    out
}

fn draw_group(out: &mut String, group: &Group, top: f64, x: &impl Fn(f64) -> f64) {
    let width = WIDTH / COLUMNS as f64;
    let mut counts = [0usize; COLUMNS];
    let mut strange = 0;
    for &score in &group.scores {
        if score.is_nan() {
            strange += 1;
            continue;
        }
        let column = (x(f64::from(score)) / width) as usize;
        counts[column.min(COLUMNS - 1)] += 1;
    }
    let most = counts.iter().copied().max().unwrap_or(0);
    let _ = write!(
        out,
        "<text x=2 y=\"{:.1}\">{} ({}{})</text>",
        top + LABEL - 8.0,
        escape(&group.label),
        group.scores.len(),
        if strange > 0 {
            format!(", {strange} without a score")
        } else {
            String::new()
        }
    );
    let _ = write!(out, "<g class={}>", group.tone.class());
    let base = top + ROW;
    for (column, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        // A single image must be visible beside a column of hundreds.
        let height = ((ROW - LABEL) * count as f64 / most as f64).max(2.0);
        let _ = write!(
            out,
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\">\
             <title>{count}</title></rect>",
            column as f64 * width + 0.5,
            base - height,
            width - 1.0,
        );
    }
    let _ = write!(out, "</g><path class=tick d=\"M0 {base:.1}H{WIDTH}\"/>");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(good: &[f32], bad: &[f32], unknown: f32, ng: f32) -> Histogram {
        let group = |label: &str, tone, scores: &[f32]| Group {
            label: label.into(),
            tone,
            scores: scores.to_vec(),
        };
        Histogram {
            groups: vec![
                group("good", Tone::Good, good),
                group("<b>defective", Tone::Bad, bad),
            ],
            unknown,
            ng,
        }
    }

    #[test]
    fn every_score_is_in_a_column() {
        let goods: Vec<f32> = (0..100).map(|i| 1.0 + i as f32 * 0.01).collect();
        let html = svg(&histogram(&goods, &[2.5, 1e9, f32::INFINITY], 2.0, 2.2));
        let counted: usize = html
            .split("<title>")
            .skip(1)
            .filter_map(|t| t.split('<').next()?.parse::<usize>().ok())
            .sum();
        assert_eq!(counted, 103);
        assert!(html.contains("good (100)") && html.contains("(3)"));
        assert!(html.contains("UNKNOWN above 2.000") && html.contains("NG above 2.200"));
        assert!(html.contains("&lt;b&gt;defective") && !html.contains("<b>"));
        assert!(!html.contains("NaN") && !html.contains("inf\""));
    }

    #[test]
    fn strange_scores_and_thresholds_draw_all_the_same() {
        for (scores, unknown, ng) in [
            (vec![], 0.0, 0.0),
            (vec![f32::NAN], 1.0, 1.0),
            (vec![0.0, 0.0], 0.0, 0.0),
            (vec![5.0; 3], 5.0, 5.0),
            (vec![f32::MAX, -1.0], 1e-30, 1e-30),
        ] {
            let html = svg(&histogram(&scores, &[], unknown, ng));
            assert!(html.starts_with("<div") && html.ends_with("</svg></div>\n"));
            assert!(!html.contains("NaN"), "{html}");
            assert!(html.len() < 20_000, "{} ticks?", html.len());
        }
        let html = svg(&histogram(&[f32::NAN], &[], 1.0, 1.0));
        assert!(html.contains("1 without a score"));
    }
}
