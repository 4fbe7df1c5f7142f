//! A configuration before it is parsed: its own text, and the text of its board profile if that is
//! a file.

use super::{ConfigError, read_file};
use std::path::{Path, PathBuf};

/// All texts that a line's configuration is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Texts {
    /// The configuration.
    pub line: String,
    /// Path and text of the board profile, if `board` is a path that can be read.
    pub profile: Option<(PathBuf, String)>,
}

impl Texts {
    /// Reads `file`, and the profile that it names.
    ///
    /// # Errors
    /// [`ConfigError`] if `file` cannot be read. A profile that cannot be read is reported when the
    /// configuration is made of the texts.
    pub fn read(file: &Path) -> Result<Self, ConfigError> {
        let line = read_file(file)?;
        let profile = profile_file(&line, file).and_then(|path| {
            let text = read_file(&path).ok()?;
            Some((path, text))
        });
        Ok(Self { line, profile })
    }
}

/// Whether `board` is the path of a profile; otherwise it is a name.
pub(super) fn is_path(board: &str) -> bool {
    board.contains('/') || board.ends_with(".toml")
}

fn profile_file(line: &str, file: &Path) -> Option<PathBuf> {
    let table: toml::Table = line.parse().ok()?;
    let board = table.get("board")?.as_str().filter(|text| is_path(text))?;
    Some(file.parent().unwrap_or(Path::new("")).join(board))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::board::PROFILES;
    use crate::config::{Board, LineConfig};

    #[test]
    fn a_profile_is_read_once_with_its_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("line.toml");
        let mine = folder.path().join("mine.toml");
        let (name, profile) = PROFILES[0];
        std::fs::write(&mine, profile).unwrap();
        let board = Board::embedded(name).unwrap().unwrap();
        let example = crate::config::example(&board);
        let named = format!("board = {name:?}");
        assert!(example.contains(&named), "{example}");
        let text = example.replace(&named, "board = \"mine.toml\"");
        std::fs::write(&file, &text).unwrap();
        let texts = Texts::read(&file).unwrap();
        assert_eq!(texts.profile, Some((mine.clone(), profile.to_string())));
        // Later changes on the disk do not matter.
        std::fs::write(&mine, "no profile").unwrap();
        let config = LineConfig::of_texts(&texts, &file).unwrap();
        assert_eq!(config.board.name, "mine");
        assert!(LineConfig::open(&file).is_err());
        std::fs::write(&file, &example).unwrap();
        assert_eq!(Texts::read(&file).unwrap().profile, None);
    }
}
