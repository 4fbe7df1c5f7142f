//! Single-file HTML pages: everything is embedded, there is no script, nothing is fetched. They
//! work in light and dark mode, on a phone and on paper. All text is escaped here, so callers pass
//! plain text.

use super::content::{Badge, Card, Cell, Figure, ScoreBar, escape};
use super::curves::{self, Curves};
use super::histogram::{self, Histogram};
use super::overlay::STOPS;
use super::picture::Picture;
use std::fmt::Write;

/// Written into every page, so that the program recognises its own pages.
pub const GENERATOR: &str = "<meta name=\"generator\" content=\"partgate\">";

/// A page that is being built; its methods append, top to bottom.
#[derive(Clone, Debug)]
pub struct Page {
    title: String,
    body: String,
}

impl Page {
    /// An empty page; `title` is also its first heading.
    pub fn new(title: impl Into<String>) -> Self {
        let title = title.into();
        let body = format!("<h1>{}</h1>\n", escape(&title));
        Self { title, body }
    }

    /// A heading of the second level.
    pub fn heading(&mut self, text: &str) -> &mut Self {
        self.push(&format!("<h2>{}</h2>\n", escape(text)))
    }

    /// A heading of the third level.
    pub fn subheading(&mut self, text: &str) -> &mut Self {
        self.push(&format!("<h3>{}</h3>\n", escape(text)))
    }

    /// A paragraph of text.
    pub fn paragraph(&mut self, text: &str) -> &mut Self {
        self.push(&format!("<p>{}</p>\n", escape(text)))
    }

    /// Key figures in a row of boxes.
    pub fn figures(&mut self, figures: &[Figure]) -> &mut Self {
        let mut out = String::from("<dl class=figures>\n");
        for figure in figures {
            let _ = writeln!(
                out,
                "<div class={}><dt>{}</dt><dd>{}</dd>{}</div>",
                figure.tone.class(),
                escape(&figure.label),
                escape(&figure.value),
                if figure.note.is_empty() {
                    String::new()
                } else {
                    format!("<dd class=note>{}</dd>", escape(&figure.note))
                }
            );
        }
        out.push_str("</dl>\n");
        self.push(&out)
    }

    /// A table. On a narrow screen a table with pictures becomes one block per row; other tables
    /// scroll sideways.
    pub fn table(&mut self, headers: &[&str], rows: &[Vec<Cell>]) -> &mut Self {
        let pictured = rows
            .iter()
            .flatten()
            .any(|cell| matches!(cell, Cell::Picture(_)));
        let kind = if pictured { "pictured" } else { "plain" };
        let numbers = |column: usize| {
            let mut cells = rows.iter().filter_map(|row| row.get(column)).peekable();
            cells.peek().is_some() && cells.all(|cell| matches!(cell, Cell::Number(_)))
        };
        let mut out = format!("<div class=scroll><table class={kind}>\n<thead><tr>");
        for (column, header) in headers.iter().enumerate() {
            let class = if numbers(column) { " class=number" } else { "" };
            let _ = write!(out, "<th{class}>{}</th>", escape(header));
        }
        out.push_str("</tr></thead>\n<tbody>\n");
        for row in rows {
            out.push_str("<tr>");
            for (column, cell) in row.iter().enumerate() {
                let class = match cell {
                    Cell::Number(_) => "number",
                    Cell::Picture(_) => "picture",
                    _ => "text",
                };
                let header = headers.get(column).copied().unwrap_or("");
                let _ = write!(
                    out,
                    "<td class={class} data-label=\"{}\">{}</td>",
                    escape(header),
                    cell_html(cell)
                );
            }
            out.push_str("</tr>\n");
        }
        out.push_str("</tbody></table></div>\n");
        self.push(&out)
    }

    /// Cards in as many columns as fit.
    pub fn gallery(&mut self, cards: &[Card]) -> &mut Self {
        let mut out = String::from("<div class=gallery>\n");
        for card in cards {
            out.push_str("<figure><div class=pictures>");
            for picture in &card.pictures {
                out.push_str(&picture_html(picture));
            }
            out.push_str("</div>");
            if let Some(score) = card.score {
                out.push_str(&score_html(score));
            }
            let _ = write!(
                out,
                "<figcaption>{}<strong>{}</strong>",
                badges_html(&card.badges),
                escape(&card.caption)
            );
            if !card.note.is_empty() {
                let _ = write!(out, "<small>{}</small>", escape(&card.note));
            }
            out.push_str("</figcaption></figure>\n");
        }
        out.push_str("</div>\n");
        self.push(&out)
    }

    /// Scores of groups over one axis, with the thresholds.
    pub fn histogram(&mut self, histogram: &Histogram) -> &mut Self {
        self.push(&histogram::svg(histogram))
    }

    /// Shares above a threshold.
    pub fn curves(&mut self, curves: &Curves) -> &mut Self {
        self.push(&curves::svg(curves))
    }

    /// A command to be copied.
    pub fn command(&mut self, line: &str) -> &mut Self {
        self.push(&format!("<pre>{}</pre>\n", escape(line)))
    }

    /// The colours of score maps with what they mean.
    pub fn colour_scale(&mut self) -> &mut Self {
        let last = STOPS[STOPS.len() - 1].0;
        let threshold = 100.0 / last;
        let mut stops = String::new();
        for (level, [r, g, b], opacity) in STOPS {
            let at = level / last * 100.0;
            let _ = write!(stops, ",rgba({r},{g},{b},{opacity}) {at:.1}%");
        }
        self.push(&format!(
            "<div class=scale><span>Score map, against the NG threshold:</span>\
             <div><i style=\"background-image:linear-gradient(90deg{stops})\"></i>\
             <span><b>0</b><b style=\"left:{threshold:.1}%\">NG threshold</b>\
             <b>{last} times</b></span></div></div>\n"
        ))
    }

    /// The whole document as HTML.
    #[must_use]
    pub fn finish(&self) -> String {
        format!(
            "<!DOCTYPE html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n{GENERATOR}\n\
             <meta name=viewport content=\"width=device-width, initial-scale=1\">\n\
             <meta name=color-scheme content=\"light dark\">\n\
             <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{}</main>\n\
             <footer>partgate {}</footer>\n</body>\n</html>\n",
            escape(&self.title),
            self.body,
            crate::VERSION
        )
    }

    fn push(&mut self, html: &str) -> &mut Self {
        self.body.push_str(html);
        self
    }
}

fn cell_html(cell: &Cell) -> String {
    match cell {
        Cell::Text(text) | Cell::Number(text) => escape(text),
        Cell::Titled(title, text) => {
            format!(
                "<strong>{}</strong><small>{}</small>",
                escape(title),
                escape(text)
            )
        }
        Cell::Badges(badges) => badges_html(badges),
        Cell::Picture(picture) => picture_html(picture),
        Cell::Score(score) => score_html(*score),
    }
}

fn badges_html(badges: &[Badge]) -> String {
    badges.iter().fold(String::new(), |mut out, badge| {
        let _ = write!(
            out,
            "<span class=\"badge {}\">{}</span> ",
            badge.tone.class(),
            escape(&badge.text)
        );
        out
    })
}

fn picture_html(picture: &Picture) -> String {
    format!(
        "<img width={0} height={1} style=\"aspect-ratio:{0}/{1}\" alt=\"{2}\" src=\"data:{3};base64,{4}\">",
        picture.width,
        picture.height,
        escape(&picture.alt),
        picture.media,
        base64(&picture.bytes)
    )
}

fn score_html(bar: ScoreBar) -> String {
    let percent = |v: f32| {
        let share = f64::from(v) / f64::from(bar.top) * 100.0;
        if share.is_finite() {
            share.clamp(0.0, 100.0)
        } else {
            100.0
        }
    };
    format!(
        "<div class=score><span>{:.3}</span><div class=\"track {}\" \
         title=\"score {}, UNKNOWN above {}, NG above {}\"><i style=\"width:{:.1}%\"></i>\
         <b style=\"left:{:.1}%\"></b><b class=ng style=\"left:{:.1}%\"></b></div></div>",
        bar.score,
        bar.tone.class(),
        bar.score,
        bar.unknown,
        bar.ng,
        percent(bar.score),
        percent(bar.unknown),
        percent(bar.ng)
    )
}

/// Base64 by RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let word = (0..3).fold(0u32, |w, i| {
            w << 8 | u32::from(group.get(i).copied().unwrap_or(0))
        });
        for i in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * i) & 63) as usize];
            out.push(if i <= group.len() { digit as char } else { '=' });
        }
    }
    out
}

const STYLE: &str = include_str!("page.css");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::Tone;

    #[test]
    fn base64_matches_the_rfc() {
        let cases = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (plain, coded) in cases {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }

    #[test]
    fn nothing_given_as_text_becomes_markup() {
        let bad = "<script>\"'&\u{1}";
        let picture = Picture {
            media: "image/png",
            bytes: vec![1],
            width: 1,
            height: 1,
            alt: bad.into(),
        };
        let mut page = Page::new(bad);
        page.heading(bad)
            .subheading(bad)
            .paragraph(bad)
            .figures(&[Figure::new(bad, bad)])
            .table(
                &[bad],
                &[
                    vec![Cell::from(bad)],
                    vec![Badge::new(bad, Tone::Bad).into()],
                    vec![Cell::Titled(bad.into(), bad.into())],
                    vec![Cell::Picture(picture.clone())],
                ],
            )
            .gallery(&[Card {
                pictures: vec![picture],
                caption: bad.into(),
                note: bad.into(),
                badges: vec![Badge::new(bad, Tone::Alarm)],
                score: None,
            }])
            .command(bad);
        let html = page.finish();
        assert!(!html.contains("<script") && !html.contains('\u{1}'));
        assert!(html.contains("&lt;script&gt;&quot;&#39;&amp;\u{fffd}"));
        assert!(!html.contains("http"), "a page must fetch nothing");
    }

    #[test]
    fn bars_stay_inside_whatever_the_score() {
        for score in [f32::NAN, f32::INFINITY, -1.0, 0.0, 1e30] {
            let html = score_html(ScoreBar {
                score,
                unknown: 1.0,
                ng: 2.0,
                top: 4.0,
                tone: Tone::Bad,
            });
            assert!(html.contains("left:25.0%") && html.contains("left:50.0%"));
            assert!(html.contains("width:100.0%") || html.contains("width:0.0%"));
        }
    }
}
