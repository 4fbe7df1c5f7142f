//! Parts of a page: cells, badges, figures, bars, cards. Plain values; [`super::page`] turns them
//! into HTML.

use super::picture::Picture;

/// Meaning of a colour. The words beside it have the same meaning, so nothing depends on colour
/// alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Rejected.
    Bad,
    /// Undecided.
    Unsure,
    /// A mistake of the program.
    Alarm,
    /// Without a meaning.
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

/// What a table cell holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Plain text.
    Text(String),
    /// A title with a smaller text below it.
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

/// A key figure of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    /// What it counts.
    pub label: String,
    /// The value with its unit.
    pub value: String,
    /// Its colour.
    pub tone: Tone,
    /// What it rests on, in small type; may be empty.
    pub note: String,
}

impl Figure {
    /// A figure without a colour.
    pub fn new(label: impl Into<String>, value: impl Into<String>) -> Self {
        Self::toned(label, value, Tone::Plain)
    }

    /// A figure whose colour shows whether it is good or bad.
    pub fn toned(label: impl Into<String>, value: impl Into<String>, tone: Tone) -> Self {
        Self {
            label: label.into(),
            value: value.into(),
            tone,
            note: String::new(),
        }
    }

    /// The same with a note.
    #[must_use]
    pub fn noted(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }
}

/// One entry of a gallery: pictures side by side with text below.
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

/// Escapes text for use between tags and in double-quoted attributes.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Control characters are not allowed in HTML, but a file name can hold them.
            c if c.is_control() && c != '\n' && c != '\t' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
