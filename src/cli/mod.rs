//! Commands: each one parses its arguments, calls the library and prints. Nothing is inspected
//! here.

mod bench;
mod built_in;
mod capture;
mod completions;
mod config;
mod demo;
mod diff;
mod doctor;
mod failure;
mod inspect;
mod log;
mod man;
mod memory;
mod output_folder;
mod progress;
mod render;
mod report;
mod run;
mod score;
mod selftest;
mod signals;
mod simulate;
mod store;
mod tell;
mod terminal;

use ::log::LevelFilter;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use failure::Failure;
use partgate::inspection::{InspectionError, Inspector, Kernels};
use partgate::network::{Accelerator, Placement, Threads};
use partgate::product::Product;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use terminal::Out;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  unexpected failure
  2  wrong usage
  3  an input cannot be used: an image, a folder, an output folder, a configuration, a broken log
  4  the bundle cannot be used
  5  the self-test disagrees, or the bundle has nothing to test with (also at `install`)
  6  only with `score --gate`: every image was inspected and at least one is not OK
  7  only with `doctor`: a check failed

Examples:
  partgate demo                          see it inspect parts; nothing else is needed
  partgate score part.pgp photos/        one line of JSON for every image under photos/
  partgate inspect part.pgp              what a bundle holds and what its thresholds rest on

`partgate COMMAND --help` explains one command. Errors go to standard error with their causes.";

/// Visual inspection of parts: a picture in, OK, NG or UNKNOWN out.
///
/// A product bundle (NAME.pgp) holds everything that is needed to inspect one kind of part.
/// `partgate-train` fits bundles on pictures of good parts.
#[derive(Debug, Parser)]
#[command(name = "partgate", version, after_help = EXIT_CODES, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    general: General,
}

/// Options of every command.
#[derive(Debug, Args)]
struct General {
    /// Print JSON instead of text (`score` always does)
    #[arg(long, global = true)]
    json: bool,
    /// Print more on standard error; give it twice or three times for still more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    /// Print only errors on standard error
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Arguments),
    Score(score::Arguments),
    Inspect(inspect::Arguments),
    Diff(diff::Arguments),
    Selftest(selftest::Arguments),
    Bench(bench::Arguments),
    Render(render::Arguments),
    Run(run::Arguments),
    Simulate(simulate::Arguments),
    Tell(tell::Arguments),
    Install(store::InstallArguments),
    Choose(store::ChooseArguments),
    Confirm(store::ConfirmArguments),
    Rollback(store::RollbackArguments),
    Threshold(store::ThresholdArguments),
    Store(store::StoreArguments),
    History(store::HistoryArguments),
    Capture(capture::Arguments),
    Config(config::Arguments),
    Doctor(doctor::Arguments),
    Report(report::Arguments),
    Completions(completions::Arguments),
    Man(man::Arguments),
    Log(log::Arguments),
}

/// The number of threads of a command that inspects.
#[derive(Debug, Args)]
struct ThreadCount {
    /// Threads that work on one image [default: one per processor]; scores do not depend on it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
}

impl ThreadCount {
    fn number(&self) -> usize {
        match self.threads {
            Some(n) => usize::from(n),
            None => std::thread::available_parallelism().map_or(1, usize::from),
        }
    }

    fn threads(&self) -> Result<Threads, Failure> {
        Threads::new(self.number()).map_err(Failure::unexpected)
    }
}

/// What runs the backbone of a command that inspects.
#[derive(Debug, Args)]
struct PlacementOptions {
    /// What runs the backbone and the search [default: cpu]; the other networks run on the CPU
    #[arg(long, value_name = "NAME")]
    accelerator: Option<AcceleratorName>,
    /// With --accelerator: nodes of the backbone that it does not have may run on the CPU
    #[arg(long, requires = "accelerator")]
    cpu_nodes: bool,
}

/// Names of accelerators on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum AcceleratorName {
    /// The processor
    Cpu,
    /// An NVIDIA GPU, for f32 backbones, in a build with `--features cuda`
    Cuda,
}

impl PlacementOptions {
    fn placement(&self) -> Placement {
        Placement {
            accelerator: match self.accelerator {
                None | Some(AcceleratorName::Cpu) => Accelerator::Cpu,
                Some(AcceleratorName::Cuda) => Accelerator::Cuda,
            },
            cpu_nodes: self.cpu_nodes,
        }
    }
}

fn open(path: &Path) -> Result<Product, Failure> {
    let product = Product::open(path).map_err(Failure::bundle)?;
    ::log::info!("opened {}", path.display());
    for sentence in product.inputs().iter().flat_map(|inputs| &inputs.forced) {
        ::log::warn!(
            "{}: fitted with --force although {sentence}",
            path.display()
        );
    }
    Ok(product)
}

fn load(product: &Product, threads: &Threads, placement: Placement) -> Result<Inspector, Failure> {
    // Before the product: a build without the accelerator refuses it whatever the product is.
    placement.accelerator.built().map_err(Failure::input)?;
    let started = Instant::now();
    let inspector = Inspector::placed(product, threads, placement).map_err(refused)?;
    ::log::info!(
        "network ready after {:.0} ms, {} threads",
        started.elapsed().as_secs_f64() * 1e3,
        threads.count()
    );
    Ok(inspector)
}

/// The failure of a product that does not load: the machine's where the accelerator is the reason.
fn refused(error: InspectionError) -> Failure {
    if error.is_accelerator() {
        Failure::input(error)
    } else {
        Failure::bundle(error)
    }
}

/// Where everything runs if an accelerator runs the backbones, one line each; empty on the CPU.
fn places(kernels: &Kernels) -> Vec<String> {
    let others = kernels.others.iter().map(|member| &member.backbone);
    let backbones = std::iter::once(&kernels.backbone).chain(others);
    let mut lines: Vec<String> = backbones
        .filter_map(|network| network.device.as_ref())
        .map(|device| format!("backbone: {device}"))
        .collect();
    if lines.is_empty() {
        return lines;
    }
    for (name, network) in [
        ("neighbourhood network", &kernels.neighbourhood),
        ("refinement network", &kernels.refinement),
    ] {
        lines.extend(network.iter().map(|n| format!("{name}: {}", n.engine)));
    }
    lines
}

/// Milliseconds, rounded to whole microseconds. Finer digits do not repeat.
fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

fn start_log(general: &General) {
    let level = match (general.quiet, general.verbose) {
        (true, _) => LevelFilter::Error,
        (false, 0) => LevelFilter::Warn,
        (false, 1) => LevelFilter::Info,
        (false, 2) => LevelFilter::Debug,
        (false, _) => LevelFilter::Trace,
    };
    // tract logs each of its rewrites at `info`; that is shown with the third -v.
    let others = if level == LevelFilter::Trace {
        LevelFilter::Debug
    } else {
        level.min(LevelFilter::Warn)
    };
    env_logger::Builder::new()
        .filter_level(others)
        .filter_module("partgate", level)
        .parse_default_env()
        .init();
}

/// Runs the command line. `started` is when the process began.
pub(crate) fn main(started: Instant) -> ExitCode {
    let cli = Cli::parse();
    start_log(&cli.general);
    let mut out = Out::new(cli.general.json);
    let result = match cli.command {
        Command::Demo(arguments) => demo::run(&arguments, &mut out),
        Command::Score(arguments) => score::run(&arguments, &mut out),
        Command::Inspect(arguments) => inspect::run(&arguments, &mut out),
        Command::Diff(arguments) => diff::run(&arguments, &mut out),
        Command::Selftest(arguments) => selftest::run(&arguments, &mut out),
        Command::Bench(arguments) => bench::run(&arguments, started, &mut out),
        Command::Render(arguments) => render::run(&arguments, &mut out),
        Command::Run(arguments) => run::run(&arguments, &mut out),
        Command::Simulate(arguments) => simulate::run(&arguments, &mut out),
        Command::Tell(arguments) => tell::run(&arguments, &mut out),
        Command::Install(arguments) => store::install(&arguments, &mut out),
        Command::Choose(arguments) => store::choose(&arguments, &mut out),
        Command::Confirm(arguments) => store::confirm(&arguments, &mut out),
        Command::Rollback(arguments) => store::rollback(&arguments, &mut out),
        Command::Threshold(arguments) => store::threshold(&arguments, &mut out),
        Command::Store(arguments) => store::store(&arguments, &mut out),
        Command::History(arguments) => store::history(&arguments, &mut out),
        Command::Capture(arguments) => capture::run(&arguments, &mut out),
        Command::Config(arguments) => config::run(&arguments, &mut out),
        Command::Doctor(arguments) => doctor::run(&arguments, &mut out),
        Command::Report(arguments) => report::run(&arguments, &mut out),
        Command::Completions(arguments) => completions::run(&arguments, &mut out),
        Command::Man(arguments) => man::run(&arguments, &mut out),
        Command::Log(arguments) => log::run(&arguments, &mut out),
    };
    let code = result
        .and_then(|code| out.finish().map(|()| code))
        .unwrap_or_else(Failure::report);
    ExitCode::from(code as u8)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
