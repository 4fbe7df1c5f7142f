//! `flash` and `fleet`: a product to one board or many, by the system's ssh.

use super::print_json;
use crate::error::TrainError;
use crate::fleet::{FlashError, Fleet, FleetBoard, Parcel, Ssh, Target, in_parallel};
use clap::{Args, Subcommand};
use partgate::causes::causes;
use partgate::product::{Product, check};
use serde::Serialize;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Options of everything that goes to a board.
#[derive(Args)]
pub(crate) struct Remote {
    /// The ssh program
    #[arg(long, value_name = "PROGRAM", default_value = "ssh")]
    ssh: String,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Arguments of `flash`.
#[derive(Args)]
pub(crate) struct FlashArgs {
    /// The board, as ssh takes it: user@board. Not with --fleet
    #[arg(value_name = "BOARD", required_unless_present = "fleet")]
    board: Option<String>,
    /// The bundle
    #[arg(value_name = "FILE.pgp", required_unless_present = "fleet")]
    bundle: Option<PathBuf>,
    /// Flash this bundle to every board of this file: canaries first, one by one, then the others,
    /// several at a time. After a failure no further board is begun
    #[arg(long, num_args = 2, value_names = ["fleet.toml", "FILE.pgp"], conflicts_with_all = ["board", "bundle", "line", "sudo"])]
    fleet: Option<Vec<PathBuf>>,
    /// The line's configuration on the board [default: the store /var/lib/partgate]
    #[arg(long, value_name = "FILE")]
    line: Option<String>,
    /// Run `partgate install` there with sudo
    #[arg(long)]
    sudo: bool,
    /// Say what would be done, and connect to nothing
    #[arg(long)]
    dry_run: bool,
    /// Accept a product that nobody signed
    #[arg(long)]
    allow_unsigned: bool,
    /// Accept an older revision than a board had
    #[arg(long)]
    allow_downgrade: bool,
    /// Who does it, for the history on the boards [default: the user here]
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

/// Arguments of `fleet`.
#[derive(Args)]
pub(crate) struct FleetArgs {
    #[command(subcommand)]
    command: FleetCommand,
}

#[derive(Subcommand)]
enum FleetCommand {
    /// Ask every board for program, product and line
    Status {
        /// The boards
        #[arg(value_name = "fleet.toml")]
        fleet: PathBuf,
        #[command(flatten)]
        remote: Remote,
    },
}

/// What became of one board.
#[derive(Clone, Serialize)]
struct Outcome {
    board: String,
    /// "installed", "failed" or "not begun".
    result: &'static str,
    seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    #[serde(skip_serializing_if = "Value::is_null")]
    answer: Value,
}

fn by(given: Option<&String>) -> String {
    let user = || std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
    given
        .cloned()
        .or_else(|| user().ok())
        .unwrap_or_else(|| "flash".into())
}

/// Runs `flash`.
pub(crate) fn flash(args: &FlashArgs) -> Result<(), TrainError> {
    let (bundle, fleet) = match (&args.fleet, &args.bundle) {
        (Some(both), _) => (&both[1], Some(Fleet::open(&both[0])?)),
        (None, Some(bundle)) => (bundle, None),
        (None, None) => return Err(TrainError::Setting("a bundle is needed".into())),
    };
    let bytes = Product::read(bundle)?;
    let (manifest, signature) = check(&bytes).map_err(|source| {
        let name = bundle.display().to_string();
        TrainError::Product(partgate::product::ProductError::Container { name, source })
    })?;
    let mut options = Vec::new();
    if args.allow_unsigned {
        options.push("--allow-unsigned".to_owned());
    }
    if args.allow_downgrade {
        options.push("--allow-downgrade".to_owned());
    }
    let parcel = Parcel {
        digest: blake3::hash(&bytes).to_hex().to_string(),
        bytes: &bytes,
        by: by(args.by.as_ref()),
        options,
    };
    let jobs: Vec<Job> = match (&fleet, &args.board) {
        (Some(fleet), _) => jobs_of(fleet),
        (None, Some(board)) => vec![Job {
            name: board.clone(),
            canary: true,
            target: Target {
                host: board.clone(),
                line: args.line.clone(),
                sudo: args.sudo,
            },
        }],
        (None, None) => return Err(TrainError::Setting("a board is needed".into())),
    };
    if !args.remote.json {
        let signer = signature
            .signer()
            .map_or("UNSIGNED".into(), |key| format!("signed by key {key}"));
        println!(
            "{}, revision {}, {} bytes, {signer}",
            manifest.name,
            manifest.revision,
            bytes.len()
        );
    }
    if args.dry_run {
        for job in &jobs {
            let first = if job.canary {
                ", before the others"
            } else {
                ""
            };
            println!(
                "{}: would copy to {} and install{first}",
                job.name, job.target.host
            );
        }
        return Ok(());
    }
    let parallel = fleet.as_ref().map_or(1, |fleet| fleet.parallel);
    let outcomes = all(&jobs, parallel, &args.remote, &parcel);
    print(&outcomes, &args.remote)?;
    let failed = outcomes.iter().filter(|o| o.result != "installed").count();
    if failed == 0 {
        Ok(())
    } else {
        let of = outcomes.len();
        Err(TrainError::Boards { failed, of })
    }
}

/// One board to be flashed.
struct Job {
    name: String,
    canary: bool,
    target: Target,
}

/// Canaries first, each group in the order of the file.
fn jobs_of(fleet: &Fleet) -> Vec<Job> {
    let job = |board: &FleetBoard| Job {
        name: board.name.clone(),
        canary: board.canary,
        target: fleet.target(board),
    };
    let group = |canary| fleet.boards.iter().filter(move |b| b.canary == canary);
    group(true).chain(group(false)).map(job).collect()
}

/// Flashes the canaries one by one, then the others, and begins no further board after a failure.
fn all(jobs: &[Job], parallel: usize, remote: &Remote, parcel: &Parcel<'_>) -> Vec<Outcome> {
    let failed = AtomicBool::new(false);
    let canaries = jobs.iter().take_while(|job| job.canary).count();
    let (first, rest) = jobs.split_at(canaries);
    let flash = |job: &Job| one(job, remote, parcel, &failed);
    let mut outcomes = in_parallel(first, 1, flash);
    outcomes.extend(in_parallel(rest, parallel, flash));
    outcomes
}

fn one(job: &Job, remote: &Remote, parcel: &Parcel<'_>, failed: &AtomicBool) -> Outcome {
    let mut outcome = Outcome {
        board: job.name.clone(),
        result: "not begun",
        seconds: 0.0,
        why: None,
        answer: Value::Null,
    };
    if failed.load(Ordering::Relaxed) {
        return outcome;
    }
    let began = Instant::now();
    let ssh = Ssh {
        program: remote.ssh.clone(),
    };
    let mut step = |text: String| {
        if !remote.json {
            println!("{}: {text}", job.name);
        }
    };
    let flashed: Result<Value, FlashError> = job.target.flash(&ssh, parcel, &mut step);
    outcome.seconds = (began.elapsed().as_secs_f64() * 10.0).round() / 10.0;
    match flashed {
        Ok(answer) => {
            step(format!("slot {}, {}", answer["slot"], answer["state"]));
            outcome.result = "installed";
            outcome.answer = answer;
        }
        Err(error) => {
            failed.store(true, Ordering::Relaxed);
            outcome.result = "failed";
            outcome.why = Some(causes(&error).join(": "));
        }
    }
    outcome
}

fn print(outcomes: &[Outcome], remote: &Remote) -> Result<(), TrainError> {
    if remote.json {
        return print_json(&outcomes);
    }
    let width = outcomes.iter().map(|o| o.board.len()).max().unwrap_or(0);
    println!();
    for outcome in outcomes {
        let why = outcome.why.as_deref().unwrap_or_default();
        println!(
            "{:width$}  {:9}  {:>6.1} s  {why}",
            outcome.board, outcome.result, outcome.seconds
        );
    }
    Ok(())
}

/// Runs `fleet`.
pub(crate) fn fleet(args: &FleetArgs) -> Result<(), TrainError> {
    let FleetCommand::Status { fleet, remote } = &args.command;
    let fleet = Fleet::open(fleet)?;
    let ssh = Ssh {
        program: remote.ssh.clone(),
    };
    let asked = in_parallel(&fleet.boards, fleet.parallel, |board| {
        fleet.target(board).status(&ssh)
    });
    let width = fleet.boards.iter().map(|b| b.name.len()).max().unwrap_or(0);
    let mut silent = 0;
    let mut all = Vec::new();
    for (board, answer) in fleet.boards.iter().zip(asked) {
        let name = &board.name;
        let words = match answer {
            Ok(status) => {
                let words = [status.version.clone(), status.active(), status.running()];
                all.push(serde_json::json!({"board": name, "status": status}));
                words.join("  ")
            }
            Err(error) => {
                silent += 1;
                let why = causes(&error).join(": ");
                all.push(serde_json::json!({"board": name, "why": why}));
                why
            }
        };
        if !remote.json {
            println!("{name:width$}  {words}");
        }
    }
    if remote.json {
        print_json(&all)?;
    }
    match silent {
        0 => Ok(()),
        failed => Err(TrainError::Boards {
            failed,
            of: fleet.boards.len(),
        }),
    }
}
