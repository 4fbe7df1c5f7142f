//! `partgate choose`: which of several products a line runs.

use super::super::terminal::Out;
use super::{By, Place, refused};
use crate::cli::failure::{Code, Failure};
use clap::Args;
use partgate::config::LineConfig;
use partgate::station::ask;
use partgate::store::Products;
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant};
use thiserror::Error;

/// How often a running line is asked.
const LOOK: Duration = Duration::from_millis(50);

/// Choose which of several products the line runs
///
/// The products are named in the key `store.products` of the line's configuration, and each is installed
/// on its own. A running line takes the chosen one between two parts. If it cannot start, the line
/// returns to the product before, and no part passes until somebody chooses again.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  partgate choose lid --line /etc/partgate/line.toml --by anna\n  partgate choose base --line /etc/partgate/line.toml --wait 60\n\nExit codes: 0 chosen, 1 the disk fails, or with --wait the line does not run it in time, 3 the\nproduct is not known or not installed, the configuration or the inputs choose, or the store cannot be\nused."
)]
pub(crate) struct ChooseArguments {
    /// Name of the product
    name: String,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    by: By,
    /// Why, for the history
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Wait for up to so many seconds until the running line is ready with it
    #[arg(long, value_name = "SECONDS", requires = "line", value_parser = clap::value_parser!(u64).range(1..=3600))]
    wait: Option<u64>,
}

#[derive(Debug, Error)]
enum ChooseError {
    #[error(
        "this store holds one product, so there is nothing to choose; several are named in store.products of a line's configuration"
    )]
    OneProduct,
    #[error("--product: the product to choose is named without it, as in `partgate choose lid`")]
    Twice,
    #[error("--wait: no control.socket in this configuration")]
    NoSocket,
    #[error(
        "{product} could not start: {why}; the line returned to {back}, and no part passes until somebody chooses"
    )]
    Failed {
        product: String,
        why: String,
        back: String,
    },
    #[error("the line is not ready with {product} after {seconds} s: {state}")]
    Late {
        product: String,
        seconds: u64,
        state: String,
    },
}

/// Runs the command.
pub(crate) fn choose(arguments: &ChooseArguments, out: &mut Out) -> Result<Code, Failure> {
    let config = arguments.place.config()?;
    let products = arguments.place.products(config.as_ref())?;
    if arguments.place.product.is_some() {
        return Err(Failure::input(ChooseError::Twice));
    }
    if !products.several() {
        return Err(Failure::input(ChooseError::OneProduct));
    }
    let (name, why) = (&arguments.name, arguments.reason.clone());
    let chosen = products.choose(name, why, &arguments.by.who());
    chosen.map_err(refused)?;
    if let (Some(seconds), Some(config)) = (arguments.wait, &config) {
        await_line(config, &products, name, seconds)?;
    }
    let choice = products.choice().map_err(refused)?;
    if out.json() {
        out.json_page(&choice)?;
    } else {
        out.line(format_args!("chosen: {name}"))?;
    }
    Ok(Code::Done)
}

/// Waits until the line is ready with the product.
fn await_line(
    config: &LineConfig,
    products: &Products,
    name: &str,
    seconds: u64,
) -> Result<(), Failure> {
    let Some(socket) = &config.control.socket else {
        return Err(Failure::input(ChooseError::NoSocket));
    };
    let until = Instant::now() + Duration::from_secs(seconds);
    loop {
        let status = status(socket);
        if status["ready"] == true && status["product"]["name"] == name {
            return Ok(());
        }
        let choice = products.choice().map_err(refused)?;
        if let Some(choice) = choice
            && let Some(failed) = choice.refused
            && failed.product == name
        {
            return Err(Failure::unexpected(ChooseError::Failed {
                product: failed.product,
                why: failed.why,
                back: choice.product,
            }));
        }
        if Instant::now() >= until {
            let state = match status {
                Value::Null => "it does not answer".to_owned(),
                status => format!(
                    "it runs {}, ready: {}, faults: {}, alarms: {}",
                    status["product"]["name"], status["ready"], status["faults"], status["alarms"]
                ),
            };
            return Err(Failure::unexpected(ChooseError::Late {
                product: name.to_owned(),
                seconds,
                state,
            }));
        }
        std::thread::sleep(LOOK);
    }
}

/// The state of the running line; null if it does not answer.
fn status(socket: &Path) -> Value {
    let answer = ask(socket, "status").unwrap_or_default();
    serde_json::from_str(&answer).unwrap_or_default()
}
