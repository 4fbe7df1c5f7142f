//! `fleet.toml`: the boards of a plant.

use super::Target;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Most boards of a file.
const MOST: usize = 10_000;

/// Why a fleet file cannot be used.
#[derive(Debug, Error)]
pub(crate) enum FleetError {
    #[error("{}: cannot be read", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{}: {message}", path.display())]
    Text { path: PathBuf, message: String },
}

/// The boards.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fleet {
    /// The line's configuration on every board that names no other.
    line: Option<String>,
    /// Whether `sudo` is needed, on every board that says nothing else.
    #[serde(default)]
    sudo: bool,
    /// Boards that are flashed at the same time, after the canaries.
    #[serde(default = "parallel")]
    pub(crate) parallel: usize,
    /// The boards.
    #[serde(rename = "board")]
    pub(crate) boards: Vec<FleetBoard>,
}

/// One board.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FleetBoard {
    /// Its name in the table.
    pub(crate) name: String,
    /// Where ssh goes.
    host: String,
    line: Option<String>,
    sudo: Option<bool>,
    /// Flashed before the others, one after the other.
    #[serde(default)]
    pub(crate) canary: bool,
}

fn parallel() -> usize {
    4
}

impl Fleet {
    /// Reads the file.
    pub(crate) fn open(path: &Path) -> Result<Self, FleetError> {
        let text = std::fs::read_to_string(path).map_err(|source| FleetError::Read {
            path: path.to_path_buf(),
            source,
        })?;
        Self::parse(&text).map_err(|message| FleetError::Text {
            path: path.to_path_buf(),
            message,
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let fleet: Self = toml::from_str(text).map_err(|e| e.to_string())?;
        if fleet.boards.is_empty() || fleet.boards.len() > MOST {
            return Err(format!("{} boards; 1 to {MOST}", fleet.boards.len()));
        }
        if !(1..=64).contains(&fleet.parallel) {
            return Err(format!("parallel = {}; 1 to 64", fleet.parallel));
        }
        let mut names = BTreeSet::new();
        for board in &fleet.boards {
            if board.name.is_empty() || !names.insert(&board.name) {
                return Err(format!("the name {:?} is empty or there twice", board.name));
            }
            if board.host.is_empty() || board.host.starts_with('-') {
                return Err(format!("{}: {:?} is no host", board.name, board.host));
            }
        }
        Ok(fleet)
    }

    /// How `board` is asked.
    pub(crate) fn target(&self, board: &FleetBoard) -> Target {
        Target {
            host: board.host.clone(),
            line: board.line.clone().or_else(|| self.line.clone()),
            sudo: board.sudo.unwrap_or(self.sudo),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fleet_says_what_holds_for_each_board() {
        let fleet = Fleet::parse(
            "line = \"/etc/partgate/line.toml\"\nsudo = true\n\
             [[board]]\nname = \"a\"\nhost = \"anna@10.0.0.1\"\ncanary = true\n\
             [[board]]\nname = \"b\"\nhost = \"b\"\nline = \"/b.toml\"\nsudo = false\n",
        )
        .expect("valid");
        let targets: Vec<Target> = fleet.boards.iter().map(|b| fleet.target(b)).collect();
        assert_eq!(targets[0].line.as_deref(), Some("/etc/partgate/line.toml"));
        assert!(targets[0].sudo && fleet.boards[0].canary && fleet.parallel == 4);
        assert_eq!(targets[1].line.as_deref(), Some("/b.toml"));
        assert!(!targets[1].sudo && !fleet.boards[1].canary);
    }

    #[test]
    fn wrong_fleets_are_refused() {
        for (text, part) in [
            ("", "board"),
            ("board = []\n", "0 boards"),
            ("[[board]]\nname = \"a\"\n", "host"),
            ("[[board]]\nname = \"a\"\nhost = \"a\"\nhots = 1\n", "hots"),
            (
                "[[board]]\nname = \"a\"\nhost = \"-oProxyCommand=x\"\n",
                "no host",
            ),
            (
                "parallel = 0\n[[board]]\nname = \"a\"\nhost = \"a\"\n",
                "parallel",
            ),
            (
                "[[board]]\nname = \"a\"\nhost = \"a\"\n[[board]]\nname = \"a\"\nhost = \"b\"\n",
                "twice",
            ),
        ] {
            let error = Fleet::parse(text).expect_err(part);
            assert!(error.contains(part), "{error}");
        }
    }
}
