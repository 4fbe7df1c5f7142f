//! `partgate store` and `partgate history`: what is active, and how it came to that.

use super::super::terminal::{Colour, Out};
use super::{Place, refused};
use crate::cli::failure::{Code, Failure};
use clap::Args;
use partgate::store::{
    Choice, Entry, Folder, Held, Products, Slot, SlotState, State, Store, Trial,
};
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

/// One store of several.
#[derive(Serialize)]
struct Entries<'a> {
    name: &'a str,
    /// The recipe number.
    number: Option<u8>,
    /// Whether this one runs.
    runs: bool,
    /// What its store knows; None if nothing was installed there.
    state: Option<State>,
    /// Why its store cannot be read.
    problem: Option<String>,
}

#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    state: &'a State,
    /// What is wrong with each product.
    damage: Vec<String>,
    /// The products of a line with several. What is above belongs to the one that runs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    products: Vec<Entries<'a>>,
    /// Which of them was chosen, by whom, and what was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    choice: Option<Choice>,
}

/// All products of a line with several.
fn entries<'a>(products: &'a Products, current: Option<&str>) -> Vec<Entries<'a>> {
    let of = |name: &'a str| {
        let (state, problem) = match products.state_of(name) {
            Ok(state) => (Some(state), None),
            Err(error) => (None, Some(error.to_string())),
        };
        Entries {
            name,
            number: products.number_of(name),
            runs: current == Some(name),
            state,
            problem,
        }
    };
    match products.several() {
        true => products.names().map(of).collect(),
        false => Vec::new(),
    }
}

/// Runs `store`.
pub(crate) fn store(arguments: &StoreArguments, out: &mut Out) -> Result<Code, Failure> {
    let config = arguments.place.config()?;
    let products = arguments.place.products(config.as_ref())?;
    let choice = match products.several() {
        true => products.choice().map_err(refused)?,
        false => None,
    };
    let current = products.current();
    let name = current
        .as_ref()
        .ok()
        .and_then(|current| current.name.clone());
    let entries = entries(&products, name.as_deref());
    if !out.json() {
        print_products(&entries, choice.as_ref(), out)?;
    }
    let folder = arguments.place.folder_among(&products)?;
    let store = Store::open(Folder::new(&folder)).map_err(refused)?;
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
        out.json_page(&Report {
            state,
            damage,
            products: entries,
            choice,
        })?;
    } else {
        print_state(state, &damage, out)?;
    }
    Ok(if sound { Code::Done } else { Code::Input })
}

/// One line for each of several products.
fn print_products(
    entries: &[Entries<'_>],
    choice: Option<&Choice>,
    out: &mut Out,
) -> Result<(), Failure> {
    for entry in entries {
        let mark = if entry.runs { "*" } else { " " };
        let number = entry.number.unwrap_or(0);
        let active = entry.state.as_ref().and_then(State::active);
        let (words, colour) = match (active, &entry.problem) {
            (Some((slot, held)), _) => {
                let state = match held.state {
                    SlotState::Trial(_) => "on trial",
                    SlotState::Confirmed => "confirmed",
                    SlotState::Bad { .. } => "given up",
                };
                let words = format!(
                    "revision {}, {state} in slot {slot}",
                    held.identity.revision
                );
                (words, Colour::Good)
            }
            (None, None) => ("not installed".into(), Colour::Unsure),
            (None, Some(problem)) => (problem.clone(), Colour::Bad),
        };
        let words = out.paint(words, colour);
        out.line(format_args!("{mark} {number:2}  {}: {words}", entry.name))?;
    }
    let Some(choice) = choice else {
        return Ok(());
    };
    out.line(format_args!(
        "{} was chosen by {}, {}",
        choice.product, choice.by, choice.wall
    ))?;
    if let Some(refused) = &choice.refused {
        let words = format!("{} could not start: {}", refused.product, refused.why);
        out.line(out.paint(words, Colour::Bad))?;
    }
    if choice.unserved {
        let words = "no part passes until somebody asks for this product again or for another one";
        out.line(out.paint(words, Colour::Bad))?;
    }
    Ok(())
}

fn print_state(state: &State, damage: &[String], out: &mut Out) -> Result<(), Failure> {
    for slot in Slot::ALL {
        print_slot(state, slot, out)?;
    }
    for line in damage {
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
    Ok(())
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

/// Runs `history`. Of several products each has a history of its own.
pub(crate) fn history(arguments: &HistoryArguments, out: &mut Out) -> Result<Code, Failure> {
    let place = &arguments.place;
    let config = place.config()?;
    let products = place.products(config.as_ref())?;
    if !products.several() || place.product.is_some() {
        let folder = place.folder_among(&products)?;
        let store = Store::open(Folder::new(&folder)).map_err(refused)?;
        return history_of(&store, out);
    }
    for name in products.names() {
        let folder = products.store_of(name).map_err(refused)?;
        let store = Store::open(Folder::new(&folder)).map_err(refused)?;
        if !out.json() {
            out.line(format_args!("{name}:"))?;
        }
        history_of(&store, out)?;
    }
    Ok(Code::Done)
}

fn history_of(store: &Store<Folder>, out: &mut Out) -> Result<Code, Failure> {
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
