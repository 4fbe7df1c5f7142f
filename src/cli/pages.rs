//! `partgate man` and `partgate completions`: from the same definitions as `--help`.

use super::Cli;
use super::failure::{Code, Failure};
use super::output_folder;
use super::terminal::Out;
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Write the manual pages: partgate.1 and one for every command
///
/// `man -l DIR/partgate.1` shows one; packages install them.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  partgate man pages\n  man -l pages/partgate-score.1\n\nExit codes: 0 done, 3 the folder cannot be written."
)]
pub(crate) struct ManArguments {
    /// Folder to write into; made where it is missing
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Print the completions for a shell
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  partgate completions bash > /etc/bash_completion.d/partgate\n  partgate completions fish > ~/.config/fish/completions/partgate.fish\n\nExit codes: 0 done."
)]
pub(crate) struct CompletionsArguments {
    /// Whose
    #[arg(value_name = "SHELL", value_enum)]
    shell: Shell,
}

#[derive(Serialize)]
struct Pages<'a> {
    folder: &'a Path,
    pages: Vec<String>,
}

#[derive(Serialize)]
struct Completions {
    shell: String,
    completions: String,
}

/// The page of `command`, then those of its commands, each with the name of the whole way there.
fn render(
    command: &clap::Command,
    name: &str,
    pages: &mut Vec<(String, Vec<u8>)>,
) -> Result<(), Failure> {
    let page = clap_mangen::Man::new(command.clone().display_name(name.to_owned()))
        .source(format!("partgate {}", partgate::VERSION))
        .manual("partgate");
    let mut text = Vec::new();
    page.render(&mut text).map_err(Failure::unexpected)?;
    pages.push((page.get_filename(), text));
    let visible = command.get_subcommands().filter(|c| !c.is_hide_set());
    for below in visible.filter(|c| c.get_name() != "help") {
        render(below, &format!("{name}-{}", below.get_name()), pages)?;
    }
    Ok(())
}

pub(crate) fn man(arguments: &ManArguments, out: &mut Out) -> Result<Code, Failure> {
    let mut command = Cli::command();
    command.build();
    let mut pages = Vec::new();
    render(&command, "partgate", &mut pages)?;
    output_folder::make(&arguments.folder)?;
    for (name, text) in &pages {
        output_folder::write(&arguments.folder.join(name), text)?;
    }
    if out.json() {
        out.json_page(&Pages {
            folder: &arguments.folder,
            pages: pages.into_iter().map(|(name, _)| name).collect(),
        })?;
    } else {
        let (count, folder) = (pages.len(), arguments.folder.display());
        out.line(format_args!("{count} pages in {folder}"))?;
    }
    Ok(Code::Done)
}

pub(crate) fn completions(
    arguments: &CompletionsArguments,
    out: &mut Out,
) -> Result<Code, Failure> {
    let mut bytes = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "partgate", &mut bytes);
    let text = String::from_utf8(bytes).map_err(Failure::unexpected)?;
    if out.json() {
        out.json_page(&Completions {
            shell: arguments.shell.to_string(),
            completions: text,
        })?;
    } else {
        out.line(text.trim_end())?;
    }
    Ok(Code::Done)
}
