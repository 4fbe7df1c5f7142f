//! What pages are made of: cells, badges, figures, bars, cards. Plain values; [`super::page`] turns
//! them into HTML.

use super::picture::Picture;

/// What a colour says. The words beside it say it too: nothing rests on colour alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Rejected.
    Bad,
    /// Undecided.
    Unsure,
    /// The program was wrong.
    Alarm,
    /// Nothing to say.
    Plain,
}

impl Tone {
    pub(super) fn class(self) -> &'static str {
        match self {
            Tone::Good => "good",
            Tone::Bad => "bad",
            Tone::Unsure => "unsure",
            Tone::Alarm => "alarm",
            Tone::Plain => "plain",
        }
    }
}

/// A word in a coloured box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Badge {
    /// The word.
    pub text: String,
    /// Its colour.
    pub tone: Tone,
}

impl Badge {
    /// `text` in the colour of `tone`.
    pub fn new(text: impl Into<String>, tone: Tone) -> Self {
        Self {
            text: text.into(),
            tone,
        }
    }
}

/// A score drawn against its two thresholds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoreBar {
    /// The score.
    pub score: f32,
    /// Above: UNKNOWN.
    pub unknown: f32,
    /// Above: NG.
    pub ng: f32,
    /// Right end of the bar; the same for all bars that are to be compared.
    pub top: f32,
    /// Colour of the bar.
    pub tone: Tone,
}

/// What stands in a table.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Words.
    Text(String),
    /// Words to whose side smaller ones stand.
    Titled(String, String),
    /// A number, set flush right.
    Number(String),
    /// Coloured words.
    Badges(Vec<Badge>),
    /// A picture.
    Picture(Picture),
    /// A score against its thresholds.
    Score(ScoreBar),
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Cell::Text(text.into())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Cell::Text(text)
    }
}

impl From<Badge> for Cell {
    fn from(badge: Badge) -> Self {
        Cell::Badges(vec![badge])
    }
}

/// A key figure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    /// What it counts.
    pub label: String,
    /// The value with its unit.
    pub value: String,
    /// Its colour.
    pub tone: Tone,
}

impl Figure {
    /// A figure without a verdict.
    pub fn new(label: impl Into<String>, value: impl Into<String>) -> Self {
        Self::toned(label, value, Tone::Plain)
    }

    /// A figure that is good or bad news.
    pub fn toned(label: impl Into<String>, value: impl Into<String>, tone: Tone) -> Self {
        Self {
            label: label.into(),
            value: value.into(),
            tone,
        }
    }
}

/// One entry of a gallery: pictures side by side with words below.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Card {
    /// The pictures.
    pub pictures: Vec<Picture>,
    /// First line.
    pub caption: String,
    /// Second line, smaller; may be empty.
    pub note: String,
    /// Coloured words beside the caption.
    pub badges: Vec<Badge>,
    /// Score under the pictures.
    pub score: Option<ScoreBar>,
}

/// Text made safe between tags and in double-quoted attributes.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Control characters have no place in HTML; a file name may hold them.
            c if c.is_control() && c != '\n' && c != '\t' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
