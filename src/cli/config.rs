//! `partgate config`: checks a line's configuration, prints examples and board profiles.

use super::failure::{Code, Failure, causes};
use super::terminal::{Colour, Out};
use clap::{Args, Subcommand};
use partgate::config::{Board, ConfigError, LineConfig, Pin, Problem, example, known_keys};
use partgate::station::{DeviceSetupError, sanity};
use serde::Serialize;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Check a line's configuration, print an example, list board profiles
///
/// A configuration is one TOML file per line. It states what is wired to what.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  partgate config example --board jetson-agx-orin > line.toml\n  partgate config check line.toml\n  partgate config boards\n\nExit codes: 0 done, 3 the configuration or profile cannot be used as it is."
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Check(CheckArguments),
    Example(ExampleArguments),
    Boards(BoardsArguments),
    /// Print every key with its range and default, as the table in docs/config.md
    Keys,
}

/// Report everything that is wrong with a configuration
///
/// Reads the file strictly, opens the bundle that it names, and compares the size of the pictures
/// with the size that the bundle was fitted on. `partgate doctor` checks the devices.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  partgate config check line.toml\n\nExit codes: 0 nothing is wrong, 3 the file cannot be used as it is.\n\nJSON: file, ok, problems.{line,key,message},\nwarnings.{line,key,message}."
)]
struct CheckArguments {
    /// The configuration
    file: PathBuf,
    /// Check only the file, not the bundle and folders that it names
    #[arg(long)]
    syntax_only: bool,
}

/// Print a commented configuration with every key
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  partgate config example > line.toml\n  partgate config example --board gpio-sim\n\nExit codes: 0 done, 3 there is no such board."
)]
struct ExampleArguments {
    /// Board whose wiring is shown (`partgate config boards` lists them), or the path of a profile
    #[arg(long, value_name = "NAME")]
    board: Option<String>,
}

/// List the board profiles in this binary, or show one with its pins
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  partgate config boards\n  partgate config boards jetson-orin-nano\n\nExit codes: 0 done, 3 there is no such board."
)]
struct BoardsArguments {
    /// Name of the profile to show, or the path of one
    name: Option<String>,
}

#[derive(Serialize)]
struct Check<'a> {
    file: &'a Path,
    ok: bool,
    problems: &'a [Problem],
    warnings: &'a [Problem],
}

#[derive(Debug, Error)]
#[error("{name:?} is not a board profile; known are {known}, and paths of files")]
struct NoBoard {
    name: String,
    known: String,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments, out: &mut Out) -> Result<Code, Failure> {
    match &arguments.action {
        Action::Check(arguments) => check(arguments, out),
        Action::Example(arguments) => {
            let name = arguments.board.as_deref();
            let board = named(name.unwrap_or("jetson-orin-nano"))?;
            print_text(&example(&board), out)
        }
        Action::Boards(arguments) => match &arguments.name {
            Some(name) => show(&named(name)?, out),
            None => list(out),
        },
        Action::Keys => keys(out),
    }
}

fn check(arguments: &CheckArguments, out: &mut Out) -> Result<Code, Failure> {
    let file = &*arguments.file;
    out.when_left(Code::Input);
    let (problems, warnings) = match LineConfig::open(file) {
        Ok(config) if arguments.syntax_only => (Vec::new(), config.warnings()),
        Ok(config) => {
            let mut problems = config.check_files();
            if problems.is_empty() {
                problems.extend(unfit_limits(&config));
            }
            (problems, config.warnings())
        }
        Err(ConfigError::Problems { problems, .. }) => (problems, Vec::new()),
        Err(error) => return Err(Failure::input(error)),
    };
    let ok = problems.is_empty();
    if out.json() {
        out.json_page(&Check {
            file,
            ok,
            problems: &problems,
            warnings: &warnings,
        })?;
    } else {
        for warning in &warnings {
            let place = format!("{}:{}:", file.display(), warning.line);
            let word = out.paint("warning", Colour::Unsure);
            let key = out.paint(&*warning.key, Colour::Bold);
            out.line(format_args!("{place} {word}: {key}: {}", warning.message))?;
        }
        for problem in &problems {
            // In the format of compilers, so that editors find the place.
            let key = match &*problem.key {
                "" => String::new(),
                key => format!("{}: ", out.paint(key, Colour::Bold)),
            };
            let place = format!("{}:{}:", file.display(), problem.line);
            out.line(format_args!("{place} {key}{}", problem.message))?;
        }
        out.line(match problems.len() {
            0 => out.paint(
                format_args!("{}: nothing is wrong", file.display()),
                Colour::Good,
            ),
            1 => out.paint("1 problem", Colour::Bad),
            count => out.paint(format_args!("{count} problems"), Colour::Bad),
        })?;
    }
    Ok(if ok { Code::Done } else { Code::Input })
}

/// A limit of `[sanity]` that the product's own good parts violate: `run` refuses it.
fn unfit_limits(config: &LineConfig) -> Option<Problem> {
    let product = config.product.open().ok()?;
    let error = sanity(config, &product).err()?;
    let key = match &error {
        DeviceSetupError::Unfit { key, .. } => format!("sanity.{key}"),
        _ => "sanity".into(),
    };
    Some(Problem {
        line: config.line_of(&key).unwrap_or(1),
        message: causes(&error).join(": "),
        key,
    })
}

fn print_text(text: &str, out: &mut Out) -> Result<Code, Failure> {
    for line in text.lines() {
        out.line(line)?;
    }
    Ok(Code::Done)
}

fn named(name: &str) -> Result<Board, Failure> {
    if name.contains('/') || name.ends_with(".toml") {
        return Board::open(Path::new(name)).map_err(Failure::input);
    }
    match Board::embedded(name) {
        Some(board) => board.map_err(Failure::unexpected),
        None => Err(Failure::input(NoBoard {
            name: name.into(),
            known: Board::known().collect::<Vec<_>>().join(", "),
        })),
    }
}

fn list(out: &mut Out) -> Result<Code, Failure> {
    let here = Board::of_this_machine();
    let mut boards = Vec::new();
    for name in Board::known() {
        boards.push(named(name)?);
    }
    if out.json() {
        out.json_page(&boards)?;
        return Ok(Code::Done);
    }
    let width = boards.iter().map(|b| b.name.len()).max().unwrap_or(0);
    for board in &boards {
        let mark = if here == Some(&*board.name) {
            out.paint("  (this machine)", Colour::Good)
        } else {
            String::new()
        };
        out.line(format_args!("{:width$}  {}{mark}", board.name, board.title))?;
    }
    Ok(Code::Done)
}

fn show(board: &Board, out: &mut Out) -> Result<Code, Failure> {
    if out.json() {
        out.json_page(board)?;
        return Ok(Code::Done);
    }
    out.line(out.paint(&board.title, Colour::Bold))?;
    out.line(format_args!("verified: {}", board.verified))?;
    for source in &board.sources {
        out.line(format_args!("source: {source}"))?;
    }
    if let Some(volts) = board.volts {
        out.line(format_args!("levels: {volts} V"))?;
    }
    let device = board.camera_device.as_deref();
    if let Some(device) = device {
        out.line(format_args!("camera: {}", device.display()))?;
    }
    out.line(format_args!("accelerator: {}", board.accelerator))?;
    if let Some(device) = &board.watchdog {
        out.line(format_args!("watchdog: {}", device.display()))?;
    }
    out.line(board.note.trim())?;
    let usable = |pin: &Pin| match pin.usable {
        partgate::config::Direction::Both => "in, out",
        partgate::config::Direction::Input => "in",
        partgate::config::Direction::Output => "out",
    };
    for pin in board.pins.values() {
        out.line(format_args!(
            "pin {:<3} {:<8} {:<18} {:<8} {}",
            pin.number,
            pin.line,
            pin.chip.as_deref().unwrap_or("-"),
            usable(pin),
            pin.note
        ))?;
    }
    for (name, line) in &board.names {
        out.line(format_args!("{name:<12} line {line}"))?;
    }
    Ok(Code::Done)
}

fn keys(out: &mut Out) -> Result<Code, Failure> {
    let known = known_keys();
    if out.json() {
        out.json_page(&known)?;
        return Ok(Code::Done);
    }
    out.line("| key | allowed | where absent |")?;
    out.line("|---|---|---|")?;
    for key in known {
        let dot = if key.section.is_empty() { "" } else { "." };
        out.line(format_args!(
            "| `{}{dot}{}` | {} | {} |",
            key.section,
            key.key,
            key.allowed.replace('|', "\\|"),
            key.absent
        ))?;
    }
    Ok(Code::Done)
}
