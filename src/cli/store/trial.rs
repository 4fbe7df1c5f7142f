//! `partgate confirm` and `partgate rollback`: a person ends a trial.

use super::super::terminal::Out;
use super::{By, Place, refused};
use crate::cli::failure::{Code, Failure};
use clap::Args;
use partgate::store::State;

/// Confirm the product on trial: it stays, and older revisions of it are refused from now on
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  partgate confirm --line /etc/partgate/line.toml\n  partgate confirm --by anna --reason 'a shift without a false reject'\n\nExit codes: 0 done, 1 the disk fails, 3 no trial runs, or the store cannot be used."
)]
pub(crate) struct ConfirmArguments {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    by: By,
    /// Why, for the history
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// Go back to the product in the other slot
///
/// A product on trial is given up by this. A confirmed one stays, so that a second `rollback` returns
/// to it. A running line switches between two parts.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  partgate rollback --line /etc/partgate/line.toml\n  partgate rollback --by anna --reason 'scratches pass'\n\nExit codes: 0 done, 1 the disk fails, 3 the other slot has nothing to go back to, or the store\ncannot be used."
)]
pub(crate) struct RollbackArguments {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    by: By,
    /// Why, for the history
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// Runs `confirm`.
pub(crate) fn confirm(arguments: &ConfirmArguments, out: &mut Out) -> Result<Code, Failure> {
    let (mut store, _lock) = arguments.place.take()?;
    store
        .confirm(arguments.reason.clone(), &arguments.by.who())
        .map_err(refused)?;
    say(store.state(), "confirmed", out)
}

/// Runs `rollback`.
pub(crate) fn rollback(arguments: &RollbackArguments, out: &mut Out) -> Result<Code, Failure> {
    let (mut store, _lock) = arguments.place.take()?;
    store
        .rollback(arguments.reason.clone(), &arguments.by.who())
        .map_err(refused)?;
    say(store.state(), "active", out)
}

fn say(state: &State, word: &str, out: &mut Out) -> Result<Code, Failure> {
    if out.json() {
        out.json_page(state)?;
    } else if let Some((slot, held)) = state.active() {
        let identity = &held.identity;
        out.line(format_args!(
            "{word}: {identity}, {}, in slot {slot}",
            identity.origin
        ))?;
    }
    Ok(Code::Done)
}
