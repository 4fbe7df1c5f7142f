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
/// Room for half of a tick's number.
const TICK: f64 = 22.0;
/// Room for a group's label above its columns.
const LABEL: f64 = 22.0;
/// Room for the label of one threshold.
const LINE: f64 = 17.0;
const TOP: f64 = 2.0 * LINE + 6.0;
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
    out.push_str(&ticks((low, high), (0.0, WIDTH), base));
    for (row, group) in histogram.groups.iter().enumerate() {
        draw_group(&mut out, group, TOP + ROW * row as f64, &x);
    }
    let (unknown, ng) = (x(f64::from(histogram.unknown)), x(f64::from(histogram.ng)));
    for (class, at, top) in [("unknown", unknown, 4.0), ("ng", ng, LINE + 4.0)] {
        let _ = write!(
            out,
            "<path class=\"threshold {class}\" d=\"M{at:.1} {top}V{base}\"/>"
        );
    }
    // Each in a line of its own, so that they stay apart wherever the thresholds are.
    for (line, at, words) in [
        (
            1.0,
            unknown,
            format!("UNKNOWN above {:.3}", histogram.unknown),
        ),
        (2.0, ng, format!("NG above {:.3}", histogram.ng)),
    ] {
        let (anchor, beside) = if at > WIDTH - LABEL_WIDTH {
            ("end", at - 5.0)
        } else {
            ("start", at + 5.0)
        };
        let _ = write!(
            out,
            "<text x=\"{beside:.1}\" y=\"{:.1}\" text-anchor={anchor}>{words}</text>",
            LINE * line - 3.0
        );
    }
    out.push_str("\n</svg></div>\n");
    out
}

/// Ticks of an axis from `low` to `high`, drawn from `left` to `right` below `base`. A number that
/// would be cut off at an end is left out.
pub(super) fn ticks((low, high): (f64, f64), (left, right): (f64, f64), base: f64) -> String {
    let step = step(high - low);
    let decimals = (-step.log10().floor()).clamp(0.0, 6.0) as usize;
    let mut out = String::new();
    // By number and not by sum, so that no rounding is added up.
    let first = (low / step).ceil();
    for number in 0..=24 {
        let tick = (first + f64::from(number)) * step;
        if tick > high {
            break;
        }
        // Zero has no sign.
        let tick = if tick == 0.0 { 0.0 } else { tick };
        let at = left + (tick - low) / (high - low) * (right - left);
        let _ = write!(out, "<path class=tick d=\"M{at:.1} {base}v5\"/>");
        if at - TICK >= left - 1.0 && at + TICK <= right + 1.0 || tick == low {
            let anchor = if tick == low { "start" } else { "middle" };
            let _ = write!(
                out,
                "<text x=\"{at:.1}\" y=\"{}\" text-anchor={anchor}>{tick:.decimals$}</text>",
                base + 19.0
            );
        }
    }
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
    fn labels_are_whole_and_apart() {
        let text_at = |html: &str, words: &str| {
            let head = html.split(words).next().expect("before").to_owned();
            let tag = head.rsplit("<text ").next().expect("a tag").to_owned();
            let value = |name: &str| {
                let rest = tag.split(&format!("{name}=\"")).nth(1).expect("a value");
                rest.split('"')
                    .next()
                    .expect("end")
                    .parse::<f64>()
                    .expect("a number")
            };
            (value("x"), value("y"), tag.contains("anchor=end"))
        };
        for (unknown, ng) in [
            (40.0, 40.0),
            (40.0, 40.1),
            (1.0, 49.0),
            (49.0, 49.5),
            (0.1, 0.2),
        ] {
            let goods: Vec<f32> = (0..50).map(|i| i as f32).collect();
            let html = svg(&histogram(&goods, &[], unknown, ng));
            let one = text_at(&html, &format!("UNKNOWN above {unknown:.3}"));
            let other = text_at(&html, &format!("NG above {ng:.3}"));
            assert!((one.1 - other.1).abs() > 12.0, "{one:?} {other:?}");
            for (x, _, end) in [one, other] {
                let (from, to) = if end { (x - 165.0, x) } else { (x, x + 165.0) };
                assert!(from >= 0.0 && to <= WIDTH, "{from} {to}");
            }
        }
        // Round steps, and no number beyond an end.
        let html = ticks((0.0, 51.3), (0.0, WIDTH), 0.0);
        assert!(
            html.contains(">0<") && html.contains(">10<") && !html.contains('.')
                || html.contains(">50<")
        );
        assert!(!ticks((-3.0, 3.0), (0.0, WIDTH), 0.0).contains(">-0<"));
        let html = ticks((9.97, 20.1), (0.0, WIDTH), 0.0);
        assert!(!html.contains(">10<") && html.contains(">12<"), "{html}");
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
