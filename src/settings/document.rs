//! A TOML file as sections and settings. The caller asks for every value by name, type and range.
//! Keys that nobody asked for are unknown.
//!
//! Values are not read through `serde`, because `serde` stops at the first error. A person at a
//! machine needs the whole list.

use super::kind::Kind;
use super::nearest::nearest;
use super::problem::Problems;
use super::value::{kind as kind_of, shown, whole};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What a setting can be, for messages and for the reference page.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Known {
    /// Dotted name of the section; empty at the top of the file.
    pub section: &'static str,
    /// The key.
    pub key: &'static str,
    /// Allowed values, with their unit.
    pub allowed: String,
    /// What holds if the key is absent.
    pub absent: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Setting<T> {
    /// Its dotted key.
    pub(crate) key: String,
    /// The value, or its default. None if it is absent without a default, or was refused.
    pub(crate) value: Option<T>,
    /// Its line number, if it is in the file.
    pub(crate) line: Option<usize>,
}

impl<T> Setting<T> {
    pub(crate) fn given(&self) -> bool {
        self.line.is_some()
    }
}

/// Where a section is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Line number of its start. If it is absent, that of its parent.
    pub(crate) line: usize,
    /// Whether it is in the file.
    pub(crate) given: bool,
}

/// What an absent key means.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Absent {
    /// The key must be given.
    Refused,
    /// This value holds, in TOML.
    Means(&'static str),
    /// There is no value; the text states what that means.
    Leaves(&'static str),
}

impl Absent {
    fn word(self) -> &'static str {
        match self {
            Absent::Refused => "required",
            Absent::Means(value) => value.trim_matches('"'),
            Absent::Leaves(text) => text,
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
pub(crate) struct Section<'i> {
    name: &'static str,
    here: Place,
    entries: Vec<Entry<'i>>,
}

/// The start offsets of the lines of the text, and the problems found so far.
pub(crate) struct Document {
    line_starts: Vec<usize>,
    pub(crate) problems: Problems,
    /// Every key that was asked for.
    pub(crate) known: Vec<Known>,
    /// Every key in the file, dotted, with its line number.
    pub(crate) places: Vec<(String, usize)>,
    strangers: Vec<UnknownKey>,
    /// Every section that was asked for, dotted.
    sections: Vec<&'static str>,
    /// Folder to which paths in the file are relative.
    folder: PathBuf,
}

/// A key that nobody asked for.
struct UnknownKey {
    section: &'static str,
    key: String,
    line: usize,
}

impl Document {
    /// Parses `text`, the text of `file`.
    ///
    /// # Errors
    /// What is not TOML. Nothing else can be checked then.
    pub(crate) fn parse<'i>(
        text: &'i str,
        file: &Path,
    ) -> Result<(Self, Spanned<DeTable<'i>>), Problems> {
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
            folder: file.parent().unwrap_or(Path::new("")).to_path_buf(),
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
    pub(crate) fn top<'i>(&self, table: &'i Spanned<DeTable<'i>>) -> Section<'i> {
        Section {
            name: "",
            here: Place {
                line: 1,
                given: true,
            },
            entries: self.entries(table.get_ref()),
        }
    }

    /// Table `name` of `parent`; empty if it is absent.
    pub(crate) fn section<'i>(
        &mut self,
        parent: &mut Section<'i>,
        name: &'static str,
    ) -> Section<'i> {
        let short = name.rsplit('.').next().unwrap_or(name);
        self.sections.push(name);
        let mut section = Section {
            name,
            here: Place {
                line: parent.here.line,
                given: false,
            },
            entries: Vec::new(),
        };
        if let Some((line, value)) = parent.ask(short) {
            section.here = Place { line, given: true };
            match value {
                DeValue::Table(table) => section.entries = self.entries(table),
                other => self.problems.note(
                    line,
                    name,
                    format!(
                        "{} is {}, not a section; write [{name}]",
                        shown(other),
                        kind_of(other)
                    ),
                ),
            }
        }
        section
    }

    /// Ends the reading of a section: keys that nobody asked for are unknown.
    pub(crate) fn close(&mut self, section: &Section<'_>) {
        for entry in &section.entries {
            self.places.push((section.dotted(&entry.key), entry.line));
            if !entry.asked {
                self.strangers.push(UnknownKey {
                    section: section.name,
                    key: entry.key.clone(),
                    line: entry.line,
                });
            }
        }
    }

    /// Notes every unknown key, with the key that was probably meant. To be called when every
    /// section is closed, because a key can belong to another section.
    pub(crate) fn finish(&mut self) {
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

    /// Reads `key` of `section`.
    pub(crate) fn setting<T>(
        &mut self,
        section: &mut Section<'_>,
        key: &'static str,
        kind: Kind<T>,
        absent: Absent,
    ) -> Setting<T> {
        let Kind { allowed, take } = kind;
        let given = section.ask(key);
        let dotted = section.dotted(key);
        let value = match (given, absent) {
            (Some((line, value)), _) => match take(value, &self.folder) {
                Some(Ok(taken)) => Some(taken),
                wrong => {
                    let why = match wrong {
                        Some(Err(why)) => why,
                        _ => format!("is {}", kind_of(value)),
                    };
                    let message = format!("{} {why}; allowed: {allowed}", shown(value));
                    self.problems.note(line, &dotted, message);
                    None
                }
            },
            (None, Absent::Means(text)) => {
                let value = DeValue::parse(text).ok();
                let value = value.and_then(|value| take(value.get_ref(), &self.folder)?.ok());
                debug_assert!(value.is_some(), "{dotted} has no default in {allowed}");
                value
            }
            (None, Absent::Leaves(_)) => None,
            (None, Absent::Refused) => {
                let missing = if section.here.given {
                    format!("missing {}", place(section.name))
                } else {
                    format!("missing, like the whole section [{}]", section.name)
                };
                let message = format!("{missing}; allowed: {allowed}");
                self.problems.note(section.here.line, &dotted, message);
                None
            }
        };
        self.known.push(Known {
            section: section.name,
            key,
            allowed,
            absent: absent.word().into(),
        });
        Setting {
            key: dotted,
            value,
            line: given.map(|(line, _)| line),
        }
    }

    /// All keys that nobody has asked for by name, as whole numbers in `range`.
    pub(crate) fn other_wholes<'i>(
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

    /// All texts in table `name` of `parent`, with any keys.
    pub(crate) fn pairs(
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
                    format!("{} is {}; allowed: text", shown(other), kind_of(other)),
                ),
            }
        }
        found
    }

    /// All tables in `section`, with any names, as sections called `name`.
    pub(crate) fn tables<'i>(
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
                        here: Place {
                            line: entry.line,
                            given: true,
                        },
                        entries: self.entries(table),
                    },
                )),
                other => self.problems.note(
                    entry.line,
                    format!("{}.{}", section.name, entry.key),
                    format!("{} is {}, not a table", shown(other), kind_of(other)),
                ),
            }
        }
        section.entries = entries;
        found
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

    pub(crate) fn here(&self) -> Place {
        self.here
    }

    fn dotted(&self, key: &str) -> String {
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
