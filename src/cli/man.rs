//! `partgate man`: manual pages, from the same definition as the help text.

use super::Cli;
use super::failure::{Code, Failure};
use super::terminal::Out;
use clap::{Args, Command, CommandFactory};
use clap_mangen::Man;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Write the manual pages
///
/// Without a folder the main page goes to standard output. With a folder every command gets its
/// own page, such as `partgate-score.1`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  partgate man | man -l -\n  partgate man /usr/local/share/man/man1\n\nExit codes: 0 done, 3 the folder cannot be written."
)]
pub(crate) struct Arguments {
    /// Folder for the pages, created if it is missing
    folder: Option<PathBuf>,
}

#[derive(Debug, Error)]
#[error("{}: cannot be written", path.display())]
struct WriteError {
    path: PathBuf,
    source: std::io::Error,
}

/// Every page: file name and roff text, the main page first.
fn pages() -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let mut command = Cli::command();
    command.build();
    let mut found = Vec::new();
    add(&command, "partgate", &mut found)?;
    Ok(found)
}

fn add(command: &Command, name: &str, found: &mut Vec<(String, Vec<u8>)>) -> std::io::Result<()> {
    let mut page = Vec::new();
    // The title of the page is the file's name; the usage has spaces.
    let version = format!("partgate {}", partgate::VERSION);
    Man::new(command.clone().display_name(name.to_string()))
        .source(version)
        .render(&mut page)?;
    found.push((format!("{name}.1"), page));
    for child in command.get_subcommands().filter(|c| c.get_name() != "help") {
        add(child, &format!("{name}-{}", child.get_name()), found)?;
    }
    Ok(())
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments, out: &mut Out) -> Result<Code, Failure> {
    let pages = pages().map_err(Failure::unexpected)?;
    let Some(folder) = &arguments.folder else {
        if let Some((_, page)) = pages.first() {
            for line in String::from_utf8_lossy(page).lines() {
                out.line(line)?;
            }
        }
        return Ok(Code::Done);
    };
    let failed = |path: &Path, source| {
        Failure::input(WriteError {
            path: path.to_path_buf(),
            source,
        })
    };
    std::fs::create_dir_all(folder).map_err(|e| failed(folder, e))?;
    let mut written = Vec::new();
    for (name, page) in pages {
        let path = folder.join(name);
        std::fs::write(&path, page).map_err(|e| failed(&path, e))?;
        written.push(path);
    }
    if out.json() {
        out.json_page(&written)?;
    } else {
        for path in &written {
            out.line(path.display())?;
        }
    }
    Ok(Code::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(command: &Command, name: &str, into: &mut Vec<String>) {
        into.push(name.to_string());
        for child in command.get_subcommands().filter(|c| c.get_name() != "help") {
            names(child, &format!("{name}-{}", child.get_name()), into);
        }
    }

    #[test]
    fn every_command_has_a_page_that_says_what_it_does() {
        let command = Cli::command();
        let mut expected = Vec::new();
        names(&command, "partgate", &mut expected);
        assert!(expected.len() > 8, "{expected:?}");
        let pages = pages().expect("pages");
        for name in &expected {
            let file = format!("{name}.1");
            let page = pages.iter().find(|(known, _)| *known == file);
            let page =
                String::from_utf8_lossy(&page.unwrap_or_else(|| panic!("{file}")).1).into_owned();
            assert!(page.contains(".SH NAME"), "{file}");
            assert!(page.contains(".SH SYNOPSIS"), "{file}");
        }
        assert_eq!(pages.len(), expected.len());
        let check = pages
            .iter()
            .find(|(name, _)| name == "partgate-config-check.1");
        let check = String::from_utf8_lossy(&check.expect("page").1).into_owned();
        let usage = check.split(".SH SYNOPSIS").nth(1).expect("synopsis");
        assert!(usage.contains("partgate config check"), "{usage}");
        assert!(check.contains(".TH partgate-config-check 1"), "{check}");
    }
}
