//! A TOML file as sections and settings: every value is asked for by name, type and range, and
//! whatever is left over was not known.
//!
//! Values are not taken through `serde`, because that stops at the first thing it dislikes; a
//! person at a machine wants the whole list.

use super::nearest::nearest;
use super::problem::Problems;
use super::value::{decimal, kind, shown, whole};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What a setting may be, for messages and for the reference page.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Known {
    /// Dotted name of the section; empty at the top of the file.
    pub section: &'static str,
    /// The key.
    pub key: &'static str,
    /// Allowed values, with their unit.
    pub allowed: String,
    /// What counts where the key is absent.
    pub absent: String,
}

/// A setting as read.
#[derive(Clone, Debug)]
pub(super) struct Setting<T> {
    /// The value, or its default; None when it is absent without a default, or was refused.
    pub(super) value: Option<T>,
    /// Its line, when it is in the file.
    pub(super) line: Option<usize>,
}

impl<T> Setting<T> {
    pub(super) fn given(&self) -> bool {
        self.line.is_some()
    }
}

/// What an absent key means.
#[derive(Clone, Copy, Debug)]
pub(super) enum Absent<T> {
    /// It has to be there.
    Refused,
    /// This value.
    Means(T),
    /// There is none, which means what the text says.
    Leaves(&'static str),
}

impl<T: std::fmt::Display> Absent<T> {
    fn word(&self) -> String {
        match self {
            Absent::Refused => "required".into(),
            Absent::Means(value) => value.to_string(),
            Absent::Leaves(text) => (*text).into(),
        }
    }
}

struct Entry<'i> {
    key: String,
    line: usize,
    value: &'i DeValue<'i>,
    asked: bool,
}

/// One table of the file.
pub(super) struct Section<'i> {
    name: &'static str,
    line: usize,
    present: bool,
    entries: Vec<Entry<'i>>,
}

/// Where lines begin in the text, and what is wrong with it so far.
pub(super) struct Document {
    line_starts: Vec<usize>,
    pub(super) problems: Problems,
    /// Every key that was asked for.
    pub(super) known: Vec<Known>,
    /// Every key that is in the file, dotted, with its line.
    pub(super) places: Vec<(String, usize)>,
    strangers: Vec<Stranger>,
    /// Every section that was asked for, dotted.
    sections: Vec<&'static str>,
    /// The text of the board profile that the file names, where it was read already.
    pub(super) profile: Option<String>,
}

/// A key that nobody asked for.
struct Stranger {
    section: &'static str,
    key: String,
    line: usize,
}

impl Document {
    /// Reads `text`.
    ///
    /// # Errors
    /// What is not TOML in it; nothing else can be told then.
    pub(super) fn parse(text: &str) -> Result<(Self, Spanned<DeTable<'_>>), Problems> {
        let line_starts = text
            .bytes()
            .enumerate()
            .filter(|(_, byte)| *byte == b'\n')
            .map(|(at, _)| at + 1);
        let mut document = Self {
            line_starts: line_starts.collect(),
            problems: Problems::default(),
            known: Vec::new(),
            places: Vec::new(),
            strangers: Vec::new(),
            sections: Vec::new(),
            profile: None,
        };
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let line = error.span().map_or(1, |span| document.line_at(span.start));
            document
                .problems
                .note(line, "", format!("not TOML: {}", error.message()));
        }
        if document.problems.is_empty() {
            Ok((document, table))
        } else {
            Err(document.problems)
        }
    }

    fn line_at(&self, offset: usize) -> usize {
        1 + self.line_starts.partition_point(|start| *start <= offset)
    }

    fn entries<'i>(&self, table: &'i DeTable<'i>) -> Vec<Entry<'i>> {
        table
            .iter()
            .map(|(key, value)| Entry {
                key: key.get_ref().to_string(),
                line: self.line_at(key.span().start),
                value: value.get_ref(),
                asked: false,
            })
            .collect()
    }

    /// The file itself as a section.
    pub(super) fn top<'i>(&self, table: &'i Spanned<DeTable<'i>>) -> Section<'i> {
        Section {
            name: "",
            line: 1,
            present: true,
            entries: self.entries(table.get_ref()),
        }
    }

    /// Table `name` of `parent`; empty where it is absent.
    pub(super) fn section<'i>(
        &mut self,
        parent: &mut Section<'i>,
        name: &'static str,
    ) -> Section<'i> {
        let short = name.rsplit('.').next().unwrap_or(name);
        self.sections.push(name);
        let mut section = Section {
            name,
            line: parent.line,
            present: false,
            entries: Vec::new(),
        };
        if let Some((line, value)) = parent.ask(short) {
            section.line = line;
            section.present = true;
            match value {
                DeValue::Table(table) => section.entries = self.entries(table),
                other => self.problems.note(
                    line,
                    name,
                    format!(
                        "{} is {}, not a section; write [{name}]",
                        shown(other),
                        kind(other)
                    ),
                ),
            }
        }
        section
    }

    /// Ends the reading of a section: what nobody asked for was not known.
    pub(super) fn close(&mut self, section: &Section<'_>) {
        for entry in &section.entries {
            self.places.push((section.dotted(&entry.key), entry.line));
            if !entry.asked {
                self.strangers.push(Stranger {
                    section: section.name,
                    key: entry.key.clone(),
                    line: entry.line,
                });
            }
        }
    }

    /// Notes every key that is not known, with what it was probably meant to be. Called once every
    /// section is closed, because the key may belong to another one.
    pub(super) fn finish(&mut self) {
        for stranger in std::mem::take(&mut self.strangers) {
            let keys = || {
                let known = self.known.iter();
                known
                    .filter(|known| known.section == stranger.section)
                    .map(|known| known.key)
            };
            let sections = self.sections.iter().filter_map(|name| {
                let (parent, short) = name.rsplit_once('.').unwrap_or(("", name));
                (parent == stranger.section).then_some(short)
            });
            let here = || keys().chain(sections.clone());
            let elsewhere = || {
                let mut known = self.known.iter();
                known.find(|known| known.key == stranger.key)
            };
            let hint = if let Some(name) = nearest(&stranger.key, here()) {
                format!("did you mean `{name}`?")
            } else if let Some(known) = elsewhere() {
                format!("it belongs {}", place(known.section))
            } else {
                format!("known here: {}", here().collect::<Vec<_>>().join(", "))
            };
            self.problems.note(
                stranger.line,
                dotted(stranger.section, &stranger.key),
                format!("not a known key; {hint}"),
            );
        }
    }

    fn learn(&mut self, section: &Section<'_>, key: &'static str, allowed: &str, absent: String) {
        self.known.push(Known {
            section: section.name,
            key,
            allowed: allowed.into(),
            absent,
        });
    }

    /// Reads `key` through `take`, which returns None for a wrong type and an error text for a
    /// value that is not allowed.
    fn setting<'i, T: std::fmt::Display>(
        &mut self,
        section: &mut Section<'i>,
        key: &'static str,
        absent: Absent<T>,
        allowed: &str,
        take: impl FnOnce(&'i DeValue<'i>) -> Option<Result<T, String>>,
    ) -> Setting<T> {
        self.learn(section, key, allowed, absent.word());
        let Some((line, value)) = section.ask(key) else {
            let value = match absent {
                Absent::Means(value) => Some(value),
                Absent::Leaves(_) => None,
                Absent::Refused => {
                    self.missing(section, key, allowed);
                    None
                }
            };
            return Setting { value, line: None };
        };
        let taken = match take(value) {
            Some(Ok(taken)) => Some(taken),
            Some(Err(why)) => {
                let message = format!("{} {why}; allowed: {allowed}", shown(value));
                self.problems.note(line, section.dotted(key), message);
                None
            }
            None => {
                let message = format!("{} is {}; allowed: {allowed}", shown(value), kind(value));
                self.problems.note(line, section.dotted(key), message);
                None
            }
        };
        Setting {
            value: taken,
            line: Some(line),
        }
    }

    fn missing(&mut self, section: &Section<'_>, key: &str, allowed: &str) {
        let place = place(section.name);
        let message = if section.present {
            format!("missing {place}; allowed: {allowed}")
        } else {
            format!(
                "missing, like the whole section [{}]; allowed: {allowed}",
                section.name
            )
        };
        self.problems
            .note(section.line, section.dotted(key), message);
    }

    /// A whole number in `range`.
    pub(super) fn whole<'i>(
        &mut self,
        section: &mut Section<'i>,
        key: &'static str,
        range: RangeInclusive<u64>,
        unit: &str,
        absent: Absent<u64>,
    ) -> Setting<u64> {
        let allowed = spaced(format!("{} to {}", range.start(), range.end()), unit);
        self.setting(section, key, absent, &allowed, |value| {
            let number = match value {
                DeValue::Integer(_) => whole(value).and_then(|number| u64::try_from(number).ok()),
                DeValue::Float(_) => return Some(Err("is not a whole number".into())),
                _ => return None,
            };
            Some(
                number
                    .filter(|number| range.contains(number))
                    .ok_or_else(|| "is out of range".to_string()),
            )
        })
    }

    /// A number in `range`; whole ones are taken too.
    pub(super) fn decimal<'i>(
        &mut self,
        section: &mut Section<'i>,
        key: &'static str,
        range: RangeInclusive<f64>,
        unit: &str,
        absent: Absent<f64>,
    ) -> Setting<f64> {
        let allowed = spaced(format!("{} to {}", range.start(), range.end()), unit);
        self.setting(section, key, absent, &allowed, |value| {
            let number = decimal(value)?;
            Some(if range.contains(&number) {
                Ok(number)
            } else {
                Err("is out of range".into())
            })
        })
    }

    /// True or false.
    pub(super) fn flag<'i>(
        &mut self,
        section: &mut Section<'i>,
        key: &'static str,
        absent: Absent<bool>,
    ) -> Setting<bool> {
        self.setting(section, key, absent, "true or false", |value| match value {
            DeValue::Boolean(flag) => Some(Ok(*flag)),
            _ => None,
        })
    }

    /// Text that `check` has nothing against; empty text is refused.
    pub(super) fn text<'i>(
        &mut self,
        section: &mut Section<'i>,
        key: &'static str,
        allowed: &str,
        absent: Absent<String>,
        check: impl FnOnce(&str) -> Result<(), String>,
    ) -> Setting<String> {
        self.setting(section, key, absent, allowed, |value| match value {
            DeValue::String(text) if text.is_empty() => Some(Err("is empty".into())),
            DeValue::String(text) if text.contains('\0') => {
                Some(Err("holds a NUL character".into()))
            }
            DeValue::String(text) => Some(check(text).map(|()| text.to_string())),
            _ => None,
        })
    }

    /// One of the words.
    pub(super) fn word<T: Copy>(
        &mut self,
        section: &mut Section<'_>,
        key: &'static str,
        words: &[(&'static str, T)],
        absent: Absent<&'static str>,
    ) -> Setting<T> {
        let names: Vec<&'static str> = words.iter().map(|(name, _)| *name).collect();
        let allowed = names
            .iter()
            .map(|name| format!("{name:?}"))
            .collect::<Vec<_>>()
            .join(" | ");
        let setting = self.setting(section, key, absent, &allowed, |value| match value {
            DeValue::String(text) => Some(
                names
                    .iter()
                    .find(|name| **name == text.as_ref())
                    .copied()
                    .ok_or_else(|| match nearest(text, names.iter().copied()) {
                        Some(name) => format!("is not known, did you mean {name:?}?"),
                        None => "is not known".into(),
                    }),
            ),
            _ => None,
        });
        let of = |name: &str| words.iter().find(|(n, _)| *n == name).map(|(_, t)| *t);
        Setting {
            value: setting.value.and_then(of),
            line: setting.line,
        }
    }

    /// A list of texts, at most `most`; empty where absent.
    pub(super) fn texts<'i>(
        &mut self,
        section: &mut Section<'i>,
        key: &'static str,
        allowed: &str,
        most: usize,
    ) -> Setting<Vec<String>> {
        self.learn(section, key, allowed, "none".into());
        let Some((line, value)) = section.ask(key) else {
            return Setting {
                value: Some(Vec::new()),
                line: None,
            };
        };
        let texts: Option<Vec<String>> = match value {
            DeValue::Array(items) if items.len() <= most => items
                .iter()
                .map(|item| match item.get_ref() {
                    DeValue::String(text) => Some(text.to_string()),
                    _ => None,
                })
                .collect(),
            _ => None,
        };
        if texts.is_none() {
            let message = format!(
                "{} is not a list of at most {most} texts; allowed: {allowed}",
                shown(value)
            );
            self.problems.note(line, section.dotted(key), message);
        }
        Setting {
            value: texts,
            line: Some(line),
        }
    }

    /// Every key that has not been asked for by name, as whole numbers in `range`.
    pub(super) fn other_wholes<'i>(
        &mut self,
        section: &mut Section<'i>,
        range: RangeInclusive<i64>,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> Vec<(String, i64)> {
        let mut found = Vec::new();
        for entry in section.entries.iter_mut().filter(|entry| !entry.asked) {
            entry.asked = true;
            let value = match entry.value {
                DeValue::Boolean(flag) => Some(i64::from(*flag)),
                other => whole(other),
            };
            let dotted = format!("{}.{}", section.name, entry.key);
            match (check(&entry.key), value) {
                (Err(why), _) => self.problems.note(entry.line, dotted, why),
                (Ok(()), Some(value)) if range.contains(&value) => {
                    found.push((entry.key.clone(), value));
                }
                _ => self.problems.note(
                    entry.line,
                    dotted,
                    format!(
                        "{} is not a control's value; allowed: {} to {}, true or false",
                        shown(entry.value),
                        range.start(),
                        range.end()
                    ),
                ),
            }
        }
        found
    }

    /// The texts in table `name` of `parent`, whatever their keys.
    pub(super) fn pairs(
        &mut self,
        parent: &mut Section<'_>,
        name: &'static str,
    ) -> BTreeMap<String, String> {
        let mut section = self.section(parent, name);
        let mut found = BTreeMap::new();
        for entry in &mut section.entries {
            entry.asked = true;
            match entry.value {
                DeValue::String(text) => {
                    found.insert(entry.key.clone(), text.to_string());
                }
                other => self.problems.note(
                    entry.line,
                    format!("{name}.{}", entry.key),
                    format!("{} is {}; allowed: text", shown(other), kind(other)),
                ),
            }
        }
        found
    }

    /// The tables in `section`, whatever their names, as sections called `name`.
    pub(super) fn tables<'i>(
        &mut self,
        section: &mut Section<'i>,
        name: &'static str,
    ) -> Vec<(String, Section<'i>)> {
        let mut found = Vec::new();
        let mut entries = std::mem::take(&mut section.entries);
        for entry in &mut entries {
            entry.asked = true;
            match entry.value {
                DeValue::Table(table) => found.push((
                    entry.key.clone(),
                    Section {
                        name,
                        line: entry.line,
                        present: true,
                        entries: self.entries(table),
                    },
                )),
                other => self.problems.note(
                    entry.line,
                    format!("{}.{}", section.name, entry.key),
                    format!("{} is {}, not a table", shown(other), kind(other)),
                ),
            }
        }
        section.entries = entries;
        found
    }
}

fn spaced(range: String, unit: &str) -> String {
    if unit.is_empty() {
        range
    } else {
        format!("{range} {unit}")
    }
}

fn place(section: &str) -> String {
    if section.is_empty() {
        "at the top of the file, before the first section".into()
    } else {
        format!("in [{section}]")
    }
}

impl<'i> Section<'i> {
    fn ask(&mut self, key: &str) -> Option<(usize, &'i DeValue<'i>)> {
        let entry = self.entries.iter_mut().find(|entry| entry.key == key)?;
        entry.asked = true;
        Some((entry.line, entry.value))
    }

    /// Where the section starts, or where its absence shows.
    pub(super) fn line(&self) -> usize {
        self.line
    }

    /// Whether it is in the file.
    pub(super) fn present(&self) -> bool {
        self.present
    }

    pub(super) fn dotted(&self, key: &str) -> String {
        dotted(self.name, key)
    }
}

fn dotted(section: &str, key: &str) -> String {
    if section.is_empty() {
        key.into()
    } else {
        format!("{section}.{key}")
    }
}
