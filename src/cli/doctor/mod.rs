//! `partgate doctor`: is this machine ready to run the line, and what must be changed?

mod accelerator;
mod camera;
mod devices;
mod finding;
mod inspector;
mod lines;
mod machine;
mod node;
mod places;
mod report;
mod trigger_test;

use super::failure::{Code, Failure, causes};
use super::terminal::{Colour, Out};
use clap::Args;
use finding::{Finding, Findings, State};
use partgate::config::{ConfigError, LineConfig};
use serde::Serialize;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Inspections that are measured.
const RUNS: u32 = 20;
/// The same for a support archive, which must be quick.
const SUPPORT_RUNS: u32 = 5;

/// Check this machine and a configuration, and show a fix for each problem
///
/// Checks clock, priorities and processor speed. With a configuration it also checks the devices,
/// inputs and outputs, folders, ports and the product: does it open, does it give the results of
/// the fit, is it fast enough for the gate. No output is switched and no watchdog is started. A
/// test file is written into the record folder and removed.
///
/// With --warm it only opens the product and inspects its golden images once, as the line will. A
/// GPU compiles its kernels at the first start of a product, which takes minutes; after this they
/// are in the cache of the user who ran it.
///
/// With --trigger-test it does something else: it takes the line's outputs, switches one of them
/// on 20 times, and measures after what time its light is in a picture. Connect a lamp to that
/// output so that it lights what the camera sees, switch belt and ejector off, and stop the line
/// first.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  partgate doctor\n  partgate doctor line.toml\n  partgate doctor line.toml --report support.txt\n  partgate doctor line.toml --warm           before the first start with a GPU\n  partgate doctor line.toml --trigger-test=busy   a lamp on BUSY, the line stopped\n\nJSON: ok, warnings, failed, not_checked, checks.{check,state,found,fix}; state is ok, warning,\nfailed or not_checked.\n\nExit codes: 0 nothing failed, 7 a check failed."
)]
pub(crate) struct Arguments {
    /// The line's configuration. Without it only the machine is checked
    config: Option<PathBuf>,
    /// Write a report for support into this file
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Number of inspections that are measured
    #[arg(long, value_name = "N", default_value_t = RUNS, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    runs: u32,
    /// Only fill the cache of a GPU's compiled kernels
    #[arg(long, requires = "config", conflicts_with_all = ["report", "runs", "trigger_test"])]
    warm: bool,
    /// Switch this output and measure until the camera sees it [default: busy]
    #[arg(long, value_name = "OUTPUT", num_args = 0..=1, require_equals = true,
        default_missing_value = "busy", requires = "config", conflicts_with = "report")]
    trigger_test: Option<String>,
    /// With --trigger-test: change of the picture's mean brightness that counts as seen, of 255
    #[arg(long, value_name = "N", default_value_t = 10, requires = "trigger_test", value_parser = clap::value_parser!(u8).range(1..=254))]
    change: u8,
}

#[derive(Serialize)]
struct Summary<'a> {
    ok: usize,
    warnings: usize,
    failed: usize,
    not_checked: usize,
    checks: &'a [Finding],
}

impl<'a> Summary<'a> {
    fn of(checks: &'a [Finding]) -> Self {
        let count = |state| checks.iter().filter(|c| c.state == state).count();
        Self {
            ok: count(State::Ok),
            warnings: count(State::Warning),
            failed: count(State::Failed),
            not_checked: count(State::NotChecked),
            checks,
        }
    }
}

#[derive(Debug, Error)]
#[error("{}: the report cannot be written", path.display())]
struct ReportError {
    path: PathBuf,
    source: std::io::Error,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments, out: &mut Out) -> Result<Code, Failure> {
    if let (Some(name), Some(config)) = (&arguments.trigger_test, &arguments.config) {
        return trigger_test::run(config, name, arguments.change.into(), out);
    }
    let root = Path::new("/");
    let mut findings = Findings::new();
    let config = arguments
        .config
        .as_deref()
        .and_then(|file| configuration(file, &mut findings));
    match &config {
        Some(config) if arguments.warm => accelerator::warm(config, &mut findings),
        _ => all(root, arguments, config.as_ref(), &mut findings),
    }
    if let Some(path) = &arguments.report {
        let text = report::text(root, arguments.config.as_deref(), &findings);
        std::fs::write(path, text).map_err(|source| {
            let path = path.clone();
            Failure::input(ReportError { path, source })
        })?;
    }
    let summary = Summary::of(&findings);
    let code = if summary.failed == 0 {
        Code::Done
    } else {
        Code::Unhealthy
    };
    out.when_left(code);
    if out.json() {
        out.json_page(&summary)?;
    } else {
        print(&summary, out)?;
        if let Some(path) = &arguments.report {
            out.line(format_args!("report: {}", path.display()))?;
        }
    }
    Ok(code)
}

/// The report for support on this machine and a configuration.
pub(super) fn support_text(config: &Path) -> String {
    let arguments = Arguments {
        config: Some(config.to_path_buf()),
        report: None,
        runs: SUPPORT_RUNS,
        warm: false,
        trigger_test: None,
        change: 1,
    };
    let root = Path::new("/");
    let mut findings = Findings::new();
    let line = configuration(config, &mut findings);
    all(root, &arguments, line.as_ref(), &mut findings);
    report::text(root, Some(config), &findings)
}

/// Every check.
fn all(root: &Path, arguments: &Arguments, config: Option<&LineConfig>, findings: &mut Findings) {
    machine::check(root, config.map(|c| &c.board), findings);
    if let Some(config) = config {
        devices::check(root, config, findings);
        places::check(root, config, findings);
        accelerator::check(config, findings);
        inspector::check(config, arguments.runs, findings);
    } else {
        findings.push(Finding::not_checked(
            "devices, folders, product",
            match arguments.config {
                None => "no configuration was given",
                Some(_) => "the configuration cannot be used",
            },
        ));
    }
}

/// Reads the configuration. Its problems are added to the findings.
fn configuration(file: &Path, findings: &mut Findings) -> Option<LineConfig> {
    let check = "configuration";
    let fix = "`partgate config check` after the change";
    match LineConfig::open(file) {
        Ok(config) => {
            findings.push(Finding::ok(check, file.display().to_string()));
            Some(config)
        }
        Err(ConfigError::Problems { file, problems }) => {
            for problem in problems {
                let found = format!("{}: {problem}", file.display());
                findings.push(Finding::failed(check, found, fix));
            }
            None
        }
        Err(error) => {
            findings.push(Finding::failed(check, causes(&error).join(": "), fix));
            None
        }
    }
}

fn print(summary: &Summary<'_>, out: &mut Out) -> Result<(), Failure> {
    let width = summary.checks.iter().map(|c| c.check.chars().count()).max();
    let width = width.unwrap_or(0).min(24);
    for finding in summary.checks {
        let word = format!("{:<11}", finding.state.name());
        let word = match finding.state {
            State::Ok => out.paint(word, Colour::Good),
            State::Warning => out.paint(word, Colour::Unsure),
            State::Failed => out.paint(word, Colour::Bad),
            State::NotChecked => out.paint(word, Colour::Soft),
        };
        out.line(format_args!(
            "{word}  {:width$}  {}",
            finding.check, finding.found
        ))?;
        if let Some(fix) = &finding.fix {
            out.line(format_args!("{:11}  {:width$}  fix: {fix}", "", ""))?;
        }
    }
    let total = format!(
        "{} ok, {} warnings, {} failed, {} not checked",
        summary.ok, summary.warnings, summary.failed, summary.not_checked
    );
    let colour = match (summary.failed, summary.warnings) {
        (0, 0) => Colour::Good,
        (0, _) => Colour::Unsure,
        _ => Colour::Bad,
    };
    out.line(out.paint(total, colour))
}
