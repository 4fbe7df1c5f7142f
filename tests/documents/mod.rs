//! The project's documents: their commands, links and paths, for tests.

// Each test crate uses only some of this.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A document: its path below the root, and its text.
pub(crate) struct Document {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

/// All documents of the project, from its root.
pub(crate) fn documents(root: &Path) -> Vec<Document> {
    let mut paths = vec![PathBuf::from("README.md"), PathBuf::from("CONTRIBUTING.md")];
    for folder in ["docs", "board", "models", "calibration", "tests/golden"] {
        let entries = std::fs::read_dir(root.join(folder)).expect("folder");
        let names = entries.map(|e| Path::new(folder).join(e.expect("entry").file_name()));
        paths.extend(names.filter(|p| p.extension().is_some_and(|e| e == "md")));
    }
    paths.sort();
    let read = |path: PathBuf| Document {
        text: std::fs::read_to_string(root.join(&path)).expect("document"),
        path,
    };
    paths.into_iter().map(read).collect()
}

impl Document {
    /// Whether each line of text is inside a fenced block.
    fn fenced(&self) -> impl Iterator<Item = (&str, bool)> {
        let mut inside = false;
        self.text.lines().map(move |line| {
            let fence = line.starts_with("```");
            inside ^= fence;
            (line, inside || fence)
        })
    }

    /// The text between backquotes in running text.
    pub(crate) fn code_spans(&self) -> Vec<&str> {
        let running = self.fenced().filter(|(_, fenced)| !fenced);
        running
            .flat_map(|(line, _)| line.split('`').skip(1).step_by(2))
            .collect()
    }

    /// Arguments of every call of `program`: in console blocks, indented blocks and code spans.
    pub(crate) fn calls(&self, program: &str) -> Vec<Vec<String>> {
        let blocks = self.fenced().filter_map(|(line, fenced)| {
            let command = if fenced { "$ " } else { "    " };
            line.strip_prefix(command)
        });
        let spans = self.code_spans().into_iter();
        let commands = blocks.chain(spans).flat_map(|line| {
            let line = line.split(" #").next().unwrap_or("");
            line.split('|').map(str::trim)
        });
        commands.filter_map(|c| arguments(c, program)).collect()
    }

    /// Link targets as written.
    pub(crate) fn links(&self) -> Vec<&str> {
        let running = self.fenced().filter(|(_, fenced)| !fenced);
        running
            .flat_map(|(line, _)| line.split("](").skip(1))
            .filter_map(|rest| rest.split(')').next())
            .collect()
    }

    /// Anchors that headings make on code hosts.
    pub(crate) fn anchors(&self) -> Vec<String> {
        let headings = self.fenced().filter(|(l, f)| !f && l.starts_with('#'));
        let anchor = |(line, _): (&str, bool)| {
            let text = line.trim_start_matches('#').trim().to_lowercase();
            let kept = text
                .chars()
                .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        };
        headings.map(anchor).collect()
    }
}

/// The arguments in `command`, if it calls `program`.
fn arguments(command: &str, program: &str) -> Option<Vec<String>> {
    let words: Vec<&str> = command.split_whitespace().collect();
    let words = match words.as_slice() {
        ["sudo", "-u", _, rest @ ..] | ["sudo", rest @ ..] => rest,
        all => all,
    };
    let rest = match words {
        ["cargo", "run", "--", rest @ ..] if program == "partgate" => rest,
        [called, rest @ ..] if *called == program => rest,
        _ => return None,
    };
    let bare = |word: &&str| word.trim_matches(['[', ']']).to_owned();
    Some(rest.iter().map(bare).collect())
}

/// Help texts of a program; each is read once.
pub(crate) struct Helps {
    program: &'static str,
    known: BTreeMap<Vec<String>, Option<String>>,
}

impl Helps {
    pub(crate) fn new(program: &'static str) -> Self {
        Self {
            program,
            known: BTreeMap::new(),
        }
    }

    /// The help of `commands`, None if there is no such command.
    fn of(&mut self, commands: &[String]) -> Option<String> {
        let program = self.program;
        let ask = || {
            let asked = Command::new(program).args(commands).arg("--help").output();
            let output = asked.expect("the program runs");
            let text = String::from_utf8(output.stdout).expect("UTF-8");
            output.status.success().then_some(text)
        };
        self.known
            .entry(commands.to_vec())
            .or_insert_with(ask)
            .clone()
    }

    /// What is wrong with a call: a command or an option that does not exist.
    pub(crate) fn problem(&mut self, call: &[String]) -> Option<String> {
        let mut commands = Vec::new();
        let mut help = self.of(&commands)?;
        let mut words = call.iter().peekable();
        while help.contains("\nCommands:\n") {
            let Some(word) = words.next_if(|w| !w.starts_with('-')) else {
                break;
            };
            // `COMMAND` and `...` stand for any word.
            if word.chars().all(|c| c.is_ascii_uppercase() || c == '.') {
                return None;
            }
            commands.push(word.clone());
            match self.of(&commands) {
                Some(text) => help = text,
                None => return Some(format!("no command `{word}`")),
            }
        }
        let options = words.filter(|w| w.starts_with('-') && w.len() > 1);
        for option in options {
            let name = option.split('=').next().unwrap_or(option);
            let known = help
                .split(|c: char| c.is_whitespace() || ",=[]".contains(c))
                .any(|word| word == name);
            if !known && name != "--" {
                return Some(format!("no option `{name}`"));
            }
        }
        None
    }
}
