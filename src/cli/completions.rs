//! `partgate completions`: completion scripts for shells, from the same definition as the help
//! text.

use super::Cli;
use super::failure::{Code, Failure};
use super::terminal::Out;
use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  partgate completions bash > /etc/bash_completion.d/partgate\n  partgate completions zsh > ~/.zfunc/_partgate\n\nExit codes: 0 done."
)]
pub(crate) struct Arguments {
    /// The shell
    shell: Shell,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments, out: &mut Out) -> Result<Code, Failure> {
    let mut script = Vec::new();
    generate(
        arguments.shell,
        &mut Cli::command(),
        "partgate",
        &mut script,
    );
    let script = String::from_utf8(script).map_err(Failure::unexpected)?;
    if out.json() {
        let shell = arguments.shell.to_string();
        out.json_page(&serde_json::json!({ "shell": shell, "script": script }))?;
        return Ok(Code::Done);
    }
    for line in script.lines() {
        out.line(line)?;
    }
    Ok(Code::Done)
}
