//! Command line only: arguments to calls, results to text or JSON.

mod ablate;
mod amend;
mod another_day;
mod benchmark;
mod calibrate;
mod damage;
pub(crate) mod fit;
mod flash;
mod inspected;
mod layout;
mod risk;
mod signing;
mod validate;

use crate::error::TrainError;
use clap::{Args, Parser, Subcommand};
use partgate::causes::print_error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  unexpected failure
  2  the command line is wrong
  3  an image, folder or setting cannot be used
  4  a bundle cannot be used, or `verify` does not trust it
  5  `flash`, `fleet`: a board did not do what it should

Examples:
  partgate-train fit photos/of/good/parts -o lid.pgp
  partgate-train fit DATA/bottle -o bottle.pgp --size 256 --method position
  partgate-train fit DATA/bottle -o bottle.pgp --member size=320
  partgate-train validate DATA/bottle --bundle bottle.pgp --report bottle.html
  partgate-train calibrate lid.pgp --goods photos/of/another/day -o lid-2.pgp
  partgate-train amend lid.pgp --goods marked/good --defects marked/defect -o lid-2.pgp
  partgate-train benchmark DATA --out figures
  partgate-train ablate DATA/bottle
  partgate-train damage photos/of/good/parts look --sheet look.png
  partgate-train keygen plant-7 && partgate-train sign lid.pgp --key plant-7.secret
  partgate-train verify lid.pgp --keys .
  partgate-train flash anna@board lid.pgp --line /etc/partgate/line.toml --sudo
  partgate-train flash --fleet fleet.toml lid.pgp --dry-run
  partgate-train fleet status fleet.toml";

/// Fits products from good images only, validates and calibrates them.
#[derive(Parser)]
#[command(name = "partgate-train", version, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Fit a product from good images and write its bundle
    Fit(fit::FitArgs),
    /// Inspect labelled images with a bundle and print every figure
    Validate(validate::ValidateArgs),
    /// Re-derive a bundle's thresholds from good images of another day, or set them by hand
    Calibrate(calibrate::CalibrateArgs),
    /// Add good images to a finished product without the images of its fit
    Amend(amend::AmendArgs),
    /// Fit and validate every category of a data set and print the table
    Benchmark(benchmark::BenchmarkArgs),
    /// Fit and validate with every rule and a few other settings, and print the table
    Ablate(ablate::AblateArgs),
    /// Damage good images synthetically, to see what training sees
    Damage(damage::DamageArgs),
    /// Make a key that signs bundles
    Keygen(signing::KeygenArgs),
    /// Sign a bundle
    Sign(signing::SignArgs),
    /// Say who signed a bundle, and whether a board would trust it
    Verify(signing::VerifyArgs),
    /// Copy a bundle to a board by ssh and install it there, or to every board of a fleet
    Flash(flash::FlashArgs),
    /// Ask the boards of a fleet for their state
    Fleet(flash::FleetArgs),
}

/// Options that every command has.
#[derive(Args)]
struct Common {
    /// Threads to use; the results do not depend on it [default: all cores]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

impl Common {
    fn start_threads(&self) -> Result<(), TrainError> {
        if self.threads == Some(0) {
            return Err(TrainError::Setting("--threads 0: at least 1".into()));
        }
        let count = self.threads.unwrap_or(0);
        rayon::ThreadPoolBuilder::new()
            .num_threads(count)
            .build_global()
            .map_err(|e| TrainError::Setting(format!("--threads {count}: {e}")))
    }
}

/// Path of a file while it is written.
fn partial(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".part");
    path.with_file_name(name)
}

fn unwritable(path: &Path) -> impl FnOnce(std::io::Error) -> TrainError {
    let path = path.to_path_buf();
    |source| TrainError::Unwritable { path, source }
}

fn make_folder_of(path: &Path) -> Result<(), TrainError> {
    match path.parent().filter(|p| !p.as_os_str().is_empty()) {
        Some(parent) if !parent.exists() => {
            std::fs::create_dir_all(parent).map_err(unwritable(parent))?;
            log::warn!(
                "{}: this folder was not there and was made",
                parent.display()
            );
            Ok(())
        }
        Some(_) => Ok(()),
        None => Ok(()),
    }
}

/// Refuses a target that is there and is no regular file: a rename would put a file in the place of
/// a device node, a pipe or a link.
fn check_target(path: &Path) -> Result<(), TrainError> {
    let Ok(there) = std::fs::symlink_metadata(path) else {
        return Ok(());
    };
    let kind = there.file_type();
    let what = match () {
        () if kind.is_file() => return Ok(()),
        () if kind.is_dir() => "this is a folder; name a file in it",
        () if kind.is_symlink() => "this is a link; name the file itself",
        () => "this is a device or a pipe, not a file; name a file",
    };
    Err(TrainError::Setting(format!("{}: {what}", path.display())))
}

/// Seconds since 1970.
fn now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}

/// Writes beside the target and renames, so that an interrupted run leaves no half file.
fn write_file(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    check_target(path)?;
    make_folder_of(path)?;
    let partial = partial(path);
    std::fs::write(&partial, bytes)
        .and_then(|()| std::fs::rename(&partial, path))
        .map_err(|e| {
            let _ = std::fs::remove_file(&partial);
            unwritable(path)(e)
        })
}

/// Fails early when the target cannot be written: not after an hour of fitting.
fn check_writable(path: &Path) -> Result<(), TrainError> {
    check_target(path)?;
    make_folder_of(path)?;
    let partial = partial(path);
    std::fs::write(&partial, b"")
        .and_then(|()| std::fs::remove_file(&partial))
        .map_err(unwritable(path))
}

/// This run's command line, fit to be typed again.
fn command_line() -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./,=:+@%".contains(c);
    let mut words = vec!["partgate-train".to_string()];
    for word in std::env::args_os().skip(1) {
        let word = word.to_string_lossy();
        words.push(if !word.is_empty() && word.chars().all(plain) {
            word.into_owned()
        } else {
            format!("'{}'", word.replace('\'', "'\\''"))
        });
    }
    words.join(" ")
}

fn print_json(value: &impl serde::Serialize) -> Result<(), TrainError> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

/// Runs the command and turns failures into messages and exit codes.
pub(crate) fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn"))
        .format_timestamp(None)
        .format_target(false)
        .init();
    let outcome = match Cli::parse().command {
        Command::Fit(args) => fit::run(&args),
        Command::Validate(args) => validate::run(&args),
        Command::Calibrate(args) => calibrate::run(&args),
        Command::Amend(args) => amend::run(&args),
        Command::Benchmark(args) => benchmark::run(&args),
        Command::Ablate(args) => ablate::run(&args),
        Command::Damage(args) => damage::run(&args),
        Command::Keygen(args) => signing::keygen(&args),
        Command::Sign(args) => signing::sign_bundle(&args),
        Command::Verify(args) => signing::verify(&args),
        Command::Flash(args) => flash::flash(&args),
        Command::Fleet(args) => flash::fleet(&args),
    };
    let Err(error) = outcome else {
        return ExitCode::SUCCESS;
    };
    print_error(&error);
    ExitCode::from(match error {
        TrainError::Product(_) | TrainError::Refused { .. } => 4,
        TrainError::Json(_) | TrainError::Container(_) => 1,
        TrainError::Boards { .. } => 5,
        _ => 3,
    })
}
