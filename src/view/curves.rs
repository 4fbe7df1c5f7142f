//! Shares over a threshold as curves: what each threshold rejects. An inline SVG, so a page still
//! fetches nothing.

use super::content::{Tone, escape};
use std::fmt::Write;

/// A share that falls as the threshold rises.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// What it counts.
    pub label: String,
    /// Its colour.
    pub tone: Tone,
    /// From 0, drawn full, to 1, drawn pale: for curves of one colour.
    pub pale: f64,
    /// Threshold and share, 0 to 1, ascending by threshold.
    pub points: Vec<(f32, f64)>,
    /// Lowest and highest share at the same thresholds; empty for none.
    pub band: Vec<[f64; 2]>,
}

/// A threshold with a name.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// Its name.
    pub label: String,
    /// The threshold.
    pub at: f32,
    /// Whether it is the one that is used.
    pub used: bool,
}

/// Curves over one axis of thresholds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curves {
    /// The curves.
    pub curves: Vec<Curve>,
    /// Vertical lines.
    pub marks: Vec<Mark>,
}

const WIDTH: f64 = 960.0;
const LEFT: f64 = 56.0;
const TOP: f64 = 12.0;
const ROW: f64 = 16.0;
const PLOT: f64 = 260.0;
const AXIS: f64 = 26.0;
const KEY: f64 = 18.0;

/// The ends of the axis of thresholds.
fn range(curves: &Curves) -> Option<(f64, f64)> {
    let points = curves.curves.iter().flat_map(|c| c.points.iter());
    let all = points.map(|p| p.0).chain(curves.marks.iter().map(|m| m.at));
    let (mut low, mut high) = (f32::INFINITY, f32::NEG_INFINITY);
    for value in all.filter(|v| v.is_finite()) {
        (low, high) = (low.min(value), high.max(value));
    }
    let (low, high) = (f64::from(low), f64::from(high));
    (low.is_finite() && high.is_finite()).then(|| {
        let pad = (high - low).max(high.abs() * 1e-3).max(1e-6) * 0.02;
        (low - pad, high + pad)
    })
}

pub(super) fn svg(curves: &Curves) -> String {
    let Some((low, high)) = range(curves) else {
        return String::new();
    };
    let x = |score: f32| {
        let at = (f64::from(score) - low) / (high - low);
        let at = if at.is_nan() { 0.0 } else { at.clamp(0.0, 1.0) };
        LEFT + at * (WIDTH - LEFT)
    };
    let top = TOP + ROW * curves.marks.len() as f64;
    let base = top + PLOT;
    let y = |share: f64| {
        let share = if share.is_nan() { 0.0 } else { share };
        base - share.clamp(0.0, 1.0) * PLOT
    };
    let keys = curves.curves.len().div_ceil(2) as f64;
    let height = base + AXIS + KEY * keys + 8.0;
    let spoken: Vec<&str> = curves.curves.iter().map(|c| c.label.as_str()).collect();
    let mut out = format!(
        "<div class=scroll><svg class=histogram viewBox=\"0 0 {WIDTH} {height}\" role=img \
         aria-label=\"Shares above a threshold: {}\">\n",
        escape(&spoken.join(", "))
    );
    for quarter in 0..=4 {
        let at = y(f64::from(quarter) / 4.0);
        let _ = write!(
            out,
            "<path class=tick d=\"M{LEFT} {at:.1}H{WIDTH}\"/><text x=\"{}\" y=\"{:.1}\" \
             text-anchor=end>{} %</text>",
            LEFT - 8.0,
            at + 4.5,
            quarter * 25
        );
    }
    out.push_str(&super::histogram::ticks((low, high), (LEFT, WIDTH), base));
    for curve in &curves.curves {
        draw(&mut out, curve, &x, &y);
    }
    marks(&mut out, &curves.marks, base, &x);
    for (index, curve) in curves.curves.iter().enumerate() {
        let left = LEFT + (index % 2) as f64 * (WIDTH - LEFT) / 2.0;
        let at = base + AXIS + KEY * (1.0 + (index / 2) as f64);
        let _ = write!(
            out,
            "<path class=\"curve {}\" style=\"opacity:{:.2}\" d=\"M{left:.1} {:.1}h22\"/>\
             <text x=\"{:.1}\" y=\"{at:.1}\">{}</text>",
            curve.tone.class(),
            1.0 - 0.75 * curve.pale,
            at - 4.5,
            left + 30.0,
            escape(&curve.label)
        );
    }
    out.push_str("\n</svg></div>\n");
    out
}

fn draw(out: &mut String, curve: &Curve, x: &impl Fn(f32) -> f64, y: &impl Fn(f64) -> f64) {
    let class = curve.tone.class();
    let path = |points: &mut dyn Iterator<Item = (f32, f64)>| {
        let mut path = String::new();
        for (index, (at, share)) in points.enumerate() {
            let letter = if index == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{letter}{:.1} {:.1}", x(at), y(share));
        }
        path
    };
    if curve.band.len() == curve.points.len() && !curve.band.is_empty() {
        let both = || curve.points.iter().zip(&curve.band);
        let above = both().map(|(p, b)| (p.0, b[1]));
        let below = both().rev().map(|(p, b)| (p.0, b[0]));
        let outline = path(&mut above.chain(below));
        let _ = write!(out, "<path class=\"band {class}\" d=\"{outline}Z\"/>");
    }
    let line = path(&mut curve.points.iter().copied());
    let _ = write!(
        out,
        "<path class=\"curve {class}\" style=\"opacity:{:.2}\" d=\"{line}\"/>",
        1.0 - 0.75 * curve.pale
    );
}

/// Each mark has a row of its own for its name, so that names never touch.
fn marks(out: &mut String, marks: &[Mark], base: f64, x: &impl Fn(f32) -> f64) {
    for (row, mark) in marks.iter().enumerate() {
        let at = x(mark.at);
        let top = TOP + ROW * row as f64;
        let (anchor, beside) = if at > WIDTH / 2.0 {
            ("end", at - 5.0)
        } else {
            ("start", at + 5.0)
        };
        let class = if mark.used { "" } else { " unknown" };
        let weight = if mark.used { " font-weight=700" } else { "" };
        let _ = write!(
            out,
            "<path class=\"threshold{class}\" d=\"M{at:.1} {:.1}V{base}\"/>\
             <text x=\"{beside:.1}\" y=\"{:.1}\" text-anchor={anchor}{weight}>{}</text>",
            top - 2.0,
            top + 8.0,
            escape(&mark.label)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(label: &str, points: &[(f32, f64)]) -> Curve {
        Curve {
            label: label.into(),
            tone: Tone::Good,
            pale: 0.0,
            points: points.to_vec(),
            band: points.iter().map(|p| [p.1 / 2.0, p.1]).collect(),
        }
    }

    #[test]
    fn curves_marks_and_names_are_drawn_inside() {
        let curves = Curves {
            curves: vec![
                curve("goods <b>", &[(10.0, 1.0), (20.0, 0.25), (30.0, 0.0)]),
                curve("copies", &[(10.0, 1.0), (40.0, 0.5)]),
            ],
            marks: vec![
                Mark {
                    label: "budget 1 %".into(),
                    at: 25.0,
                    used: true,
                },
                Mark {
                    label: "budget 5 %".into(),
                    at: 24.9,
                    used: false,
                },
            ],
        };
        let html = svg(&curves);
        assert!(html.contains("goods &lt;b&gt;") && !html.contains("<b>"));
        assert!(html.contains("budget 1 %") && html.contains("budget 5 %"));
        assert_eq!(html.matches("class=\"band good\"").count(), 2);
        assert!(html.contains(">100 %<") && html.contains(">20<"), "{html}");
        assert!(!html.contains("NaN") && !html.contains("inf"));
        // The names of two marks side by side have a row each.
        let rows: Vec<&str> = html
            .split("budget")
            .filter_map(|t| t.rsplit("y=\"").next())
            .collect();
        assert_ne!(rows[0], rows[1]);
    }

    #[test]
    fn nothing_and_strange_numbers_draw_all_the_same() {
        assert_eq!(svg(&Curves::default()), "");
        let html = svg(&Curves {
            curves: vec![curve("a", &[(f32::NAN, 0.5), (1.0, f64::NAN)])],
            marks: Vec::new(),
        });
        assert!(html.ends_with("</svg></div>\n") && !html.contains("NaN"));
        let html = svg(&Curves {
            curves: vec![curve("a", &[(5.0, 0.5)])],
            marks: Vec::new(),
        });
        assert!(html.contains("<svg") && html.len() < 20_000);
    }
}
