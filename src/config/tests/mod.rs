mod agreement;
mod any;
mod around;
mod boards;
mod meaning;
mod recipe;
mod values;

use super::*;

const FILE: &str = "line.toml";

fn parse(text: &str) -> Result<LineConfig, ConfigError> {
    LineConfig::parse(text, Path::new(FILE))
}

/// The problems of `text` as printed, one per entry.
fn problems(text: &str) -> Vec<String> {
    match parse(text) {
        Ok(_) => Vec::new(),
        Err(error) => error.problems().iter().map(ToString::to_string).collect(),
    }
}

/// The example with each `old` replaced. Every `old` must be in it.
fn changed(changes: &[(&str, &str)]) -> String {
    let mut text = EXAMPLE.to_string();
    for (old, new) in changes {
        assert!(text.contains(old), "the example has no {old:?}");
        text = text.replacen(old, new, 1);
    }
    text
}

fn line_of(text: &str, start: &str) -> usize {
    let at = text.lines().position(|line| line.starts_with(start));
    1 + at.unwrap_or_else(|| panic!("no line starts with {start:?}"))
}

/// Asserts that `changes` to the example give exactly one problem: about `key`, at the line that
/// starts with `at`, with all of `words` in its message.
fn refuses(changes: &[(&str, &str)], at: &str, key: &str, words: &[&str]) {
    let text = changed(changes);
    let found = problems(&text);
    assert_eq!(found.len(), 1, "{changes:?}: {found:#?}");
    let start = format!("line {}: {key}: ", line_of(&text, at));
    assert!(found[0].starts_with(&start), "{start:?}: {}", found[0]);
    for word in words {
        assert!(found[0].contains(word), "{word:?}: {}", found[0]);
    }
}
