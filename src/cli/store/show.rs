//! `partgate store` and `partgate history`: what is active, and how it came to that.

use super::super::terminal::{Colour, Out};
use super::{Place, refused};
use crate::cli::failure::{Code, Failure};
use clap::Args;
use partgate::store::{Entry, Folder, Held, Slot, SlotState, State, Store, Trial};
use serde::Serialize;

/// Show both slots: which product is active, on trial, confirmed or given up
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  partgate store\n  partgate store --line /etc/partgate/line.toml --json | jq .active\n\nExit codes: 0 the active product is whole, 3 it is not, there is none, or the store cannot be used."
)]
pub(crate) struct StoreArguments {
    #[command(flatten)]
    place: Place,
}

/// Show what happened in the store: who, when, which product, with what result
///
/// Every entry has a checksum over itself and the one before, so that a changed, moved or removed
/// entry is seen.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  partgate history\n  partgate history --json | jq 'select(.event == \"returned\")'\n\nExit codes: 0 the history is whole, 3 it is damaged, or the store cannot be used."
)]
pub(crate) struct HistoryArguments {
    #[command(flatten)]
    place: Place,
}

#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    state: &'a State,
    /// What is wrong with each product.
    damage: Vec<String>,
}

fn open(place: &Place) -> Result<Store<Folder>, Failure> {
    let config = place.config()?;
    let folder = place.folder(config.as_ref())?;
    Store::open(Folder::new(&folder)).map_err(refused)
}

/// Runs `store`.
pub(crate) fn store(arguments: &StoreArguments, out: &mut Out) -> Result<Code, Failure> {
    let store = open(&arguments.place)?;
    let state = store.state();
    let held = Slot::ALL
        .into_iter()
        .filter(|slot| state.held(*slot).is_some());
    let mut damage = Vec::new();
    let mut sound = state.active().is_some();
    for slot in held {
        if let Err(error) = store.bundle(slot) {
            sound &= state.active != Some(slot);
            damage.push(error.to_string());
        }
    }
    if out.json() {
        out.json_page(&Report { state, damage })?;
    } else {
        for slot in Slot::ALL {
            print_slot(state, slot, out)?;
        }
        for line in &damage {
            out.line(out.paint(line, Colour::Bad))?;
        }
        for (product, floor) in &state.floors {
            out.line(format_args!(
                "{product}: revisions below {floor} are refused"
            ))?;
        }
        if state.active().is_none() {
            out.line(out.paint(
                "no product is active; install one with `partgate install FILE`",
                Colour::Bad,
            ))?;
        }
    }
    Ok(if sound { Code::Done } else { Code::Input })
}

fn print_slot(state: &State, slot: Slot, out: &mut Out) -> Result<(), Failure> {
    let mark = if state.active == Some(slot) { "*" } else { " " };
    let Some(Held {
        identity,
        state,
        unknown,
    }) = state.held(slot)
    else {
        return out.line(format_args!("{mark} {slot}  empty"));
    };
    let (word, colour) = match state {
        SlotState::Trial(trial) => (on_trial(trial), Colour::Unsure),
        SlotState::Confirmed => ("confirmed".into(), Colour::Good),
        SlotState::Bad { reason } => (format!("given up: {reason}"), Colour::Bad),
    };
    let word = out.paint(word, colour);
    let digest = identity.digest.get(..16).unwrap_or_default();
    out.line(format_args!(
        "{mark} {slot}  {identity}, {digest}, {}: {word}",
        identity.origin
    ))?;
    if let Some(unknown) = unknown {
        let words = format_args!("     UNKNOWN above {unknown}, as set on this board");
        out.line(out.paint(words, Colour::Unsure))?;
    }
    Ok(())
}

fn on_trial(trial: &Trial) -> String {
    format!(
        "on trial: {} parts, {} of them good, {:.1} h, {} starts without a ready line, {} restarts",
        trial.parts,
        trial.good,
        trial.seconds as f64 / 3600.0,
        trial.starts,
        trial.restarts
    )
}

/// Runs `history`.
pub(crate) fn history(arguments: &HistoryArguments, out: &mut Out) -> Result<Code, Failure> {
    let store = open(&arguments.place)?;
    let records = store.history().map_err(refused)?;
    for entry in &records.entries {
        if out.json() {
            out.json_line(entry)?;
        } else {
            print_entry(entry, out)?;
        }
    }
    if let Some(fault) = &records.fault {
        return Err(Failure::input(format!(
            "the history is damaged: {fault}; the entries before are whole"
        )));
    }
    Ok(Code::Done)
}

fn print_entry(entry: &Entry, out: &mut Out) -> Result<(), Failure> {
    let event = serde_json::to_value(entry.event).map_err(Failure::unexpected)?;
    let event = event.as_str().unwrap_or_default().to_owned();
    let product = entry.product.as_ref().map_or_else(String::new, |product| {
        let digest = product.digest.get(..16).unwrap_or_default();
        format!("  {product}, {digest}, {}", product.origin)
    });
    let slot = entry
        .slot
        .map_or_else(String::new, |slot| format!("  slot {slot}"));
    let why = entry
        .why
        .as_ref()
        .map_or_else(String::new, |why| format!("  {why}"));
    out.line(format_args!(
        "{:4}  {}  {event:12}  {}{slot}{product}{why}",
        entry.n, entry.wall, entry.by
    ))
}
