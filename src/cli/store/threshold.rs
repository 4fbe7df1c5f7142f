//! `partgate threshold`: a person moves the threshold of the active product on this board, within what
//! the bundle allows, or takes that back.

use super::super::terminal::{Colour, Out};
use super::{By, Place, refused};
use crate::cli::failure::{Code, Failure};
use clap::{Args, Subcommand};
use partgate::config::{LineConfig, ProductPlace};
use partgate::product::{GoldenKind, Product};
use partgate::store::{Folder, Held, Slot, Store};
use partgate::verdict::Verdict;
use serde::Serialize;
use thiserror::Error;

/// Show, set or restore the UNKNOWN threshold on this board
///
/// A bundle holds what each budget of false rejects costs (`partgate inspect`). On the board the
/// threshold can be set between the lowest and the highest of these. The signed bundle stays as it is,
/// and every output says that the threshold is another one. A running line takes it between two parts.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  partgate threshold --line /etc/partgate/line.toml show\n  partgate threshold --line /etc/partgate/line.toml set 38.5 --by anna --reason 'scratches pass'\n  partgate threshold --line /etc/partgate/line.toml restore --reason 'the new lamp is there'\n\nExit codes: 0 done, 1 the disk fails, 3 the value is not allowed, this user may not set it, or the\nstore cannot be used."
)]
pub(crate) struct ThresholdArguments {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show the threshold, and what the bundle allows
    Show,
    /// Set the UNKNOWN threshold: scores above it are rejected
    Set {
        /// The threshold
        score: f32,
        #[command(flatten)]
        said: Said,
    },
    /// Let the product's own threshold count again
    Restore {
        #[command(flatten)]
        said: Said,
    },
}

#[derive(Debug, Args)]
struct Said {
    #[command(flatten)]
    by: By,
    /// Why, for the history
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

#[derive(Debug, Error)]
enum ThresholdError {
    #[error(
        "{product}: the bundle does not hold what thresholds cost, so none can be set here; fit it again, or calibrate it at the desk"
    )]
    NoLimits { product: String },
    #[error(
        "{score}: the bundle allows {} to {}, the thresholds of its budgets (`partgate inspect` shows what each costs); beyond them calibrate it at the desk", limits[0], limits[1]
    )]
    Beyond { score: f32, limits: [f32; 2] },
    #[error(
        "with a threshold of {0} none of the bundle's damaged golden images is rejected, so nothing would show that the line rejects anything"
    )]
    NoChallenge(f32),
    #[error("{user} may not set a threshold here: only members of the group {group} may")]
    Forbidden { user: String, group: String },
    #[error("--reason: say why, for the history")]
    NoReason,
}

#[derive(Serialize)]
struct Report {
    product: String,
    slot: Slot,
    /// The threshold that counts.
    unknown: f32,
    /// The product's own.
    own: f32,
    set: bool,
    /// What the bundle allows.
    limits: Option<[f32; 2]>,
}

/// The active product of the store.
struct Active {
    slot: Slot,
    held: Held,
    product: Product,
}

fn active(store: &Store<Folder>) -> Result<Active, Failure> {
    let state = store.state();
    let (slot, held) = state
        .active()
        .ok_or(partgate::store::StoreError::Empty)
        .map_err(refused)?;
    let bytes = store.bundle(slot).map_err(refused)?;
    let product = Product::from_bytes(bytes, &format!("slot {slot}")).map_err(Failure::bundle)?;
    Ok(Active {
        slot,
        held: held.clone(),
        product,
    })
}

impl Active {
    fn limits(&self) -> Option<[f32; 2]> {
        self.product.operating()?.limits()
    }

    /// Why this product may not have the threshold `score`.
    fn refusal(&self, score: f32) -> Option<ThresholdError> {
        let Some(limits) = self.limits() else {
            let product = self.held.identity.to_string();
            return Some(ThresholdError::NoLimits { product });
        };
        if !(limits[0]..=limits[1]).contains(&score) {
            return Some(ThresholdError::Beyond { score, limits });
        }
        let manifest = self.product.manifest();
        let new = manifest.thresholds.with_unknown(score);
        let goldens = manifest.goldens.iter();
        let mut damaged = goldens.filter(|golden| golden.kind == GoldenKind::Damaged);
        let caught = damaged.any(|golden| new.verdict(golden.score) != Verdict::Ok);
        (!caught).then_some(ThresholdError::NoChallenge(score))
    }
}

/// The system's list of users and groups.
struct Accounts {
    passwd: String,
    group: String,
}

/// The fields of the line of `text` that begins with `name`.
fn fields<'a>(text: &'a str, name: &str) -> Option<Vec<&'a str>> {
    let mut lines = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    lines.find(|fields| fields.len() >= 4 && fields[0] == name)
}

impl Accounts {
    fn read() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        Self {
            passwd: read("/etc/passwd"),
            group: read("/etc/group"),
        }
    }

    /// Who calls. The environment counts only under root, where sudo sets it.
    fn caller(&self, uid: u32, sudo_user: Option<String>) -> String {
        if let Some(user) = sudo_user.filter(|_| uid == 0) {
            return user;
        }
        let number = uid.to_string();
        let mut users = self
            .passwd
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>());
        let own = users.find(|fields| fields.len() >= 4 && fields[2] == number);
        own.map_or_else(|| format!("user {uid}"), |fields| fields[0].to_owned())
    }

    /// Whether `user` is in `group`, also by its primary group.
    fn is_member(&self, group: &str, user: &str) -> bool {
        let Some(group) = fields(&self.group, group) else {
            return false;
        };
        let primary = fields(&self.passwd, user).is_some_and(|user| user[3] == group[2]);
        primary || group[3].split(',').any(|member| member == user)
    }
}

/// Refuses whoever is not in the group that the line names. Behind `sudo` the person counts, not root.
fn check_role(config: Option<&LineConfig>) -> Result<(), Failure> {
    let group = match config.map(|config| &config.product) {
        Some(ProductPlace::Store(place)) => place.settings.threshold_group.as_ref(),
        _ => None,
    };
    let Some(group) = group else {
        return Ok(());
    };
    let accounts = Accounts::read();
    let user = accounts.caller(super::rustix_uid(), std::env::var("SUDO_USER").ok());
    if accounts.is_member(group, &user) {
        return Ok(());
    }
    let group = group.clone();
    Err(Failure::input(ThresholdError::Forbidden { user, group }))
}

/// Runs the command.
pub(crate) fn threshold(arguments: &ThresholdArguments, out: &mut Out) -> Result<Code, Failure> {
    let config = arguments.place.config()?;
    let (said, score) = match &arguments.action {
        Action::Show => {
            let folder = arguments.place.folder(config.as_ref())?;
            let store = Store::open(Folder::new(&folder)).map_err(refused)?;
            return show(&active(&store)?, out);
        }
        Action::Set { score, said } => (said, Some(*score)),
        Action::Restore { said } => (said, None),
    };
    if said.reason.trim().is_empty() {
        return Err(Failure::input(ThresholdError::NoReason));
    }
    check_role(config.as_ref())?;
    let (mut store, _lock) = arguments.place.take()?;
    let before = active(&store)?;
    if let Some(refusal) = score.and_then(|score| before.refusal(score)) {
        return Err(Failure::input(refusal));
    }
    let own = before.product.manifest().thresholds.unknown.threshold;
    let from = before.held.unknown.unwrap_or(own);
    let to = score.unwrap_or(own);
    let why = format!("UNKNOWN {from} -> {to}: {}", said.reason.trim());
    store
        .set_threshold(score, why, &said.by.who())
        .map_err(refused)?;
    show(&active(&store)?, out)
}

fn show(active: &Active, out: &mut Out) -> Result<Code, Failure> {
    let own = active.product.manifest().thresholds.unknown.threshold;
    let report = Report {
        product: active.held.identity.to_string(),
        slot: active.slot,
        unknown: active.held.unknown.unwrap_or(own),
        own,
        set: active.held.unknown.is_some(),
        limits: active.limits(),
    };
    if out.json() {
        out.json_page(&report)?;
        return Ok(Code::Done);
    }
    out.line(format_args!("{}, slot {}", report.product, report.slot))?;
    let words = if report.set {
        let words = format!(
            "UNKNOWN above {}, as set on this board; its own is {own}",
            report.unknown
        );
        out.paint(words, Colour::Unsure)
    } else {
        format!("UNKNOWN above {own}, its own")
    };
    out.line(words)?;
    match report.limits {
        Some([low, high]) => out.line(format_args!("the bundle allows {low} to {high}"))?,
        None => out.line("the bundle allows no other")?,
    }
    Ok(Code::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_a_group_are_known_by_their_user() {
        let accounts = Accounts {
            passwd: "root:x:0:0::/root:/bin/sh\nanna:x:1000:1000::/:/bin/sh\ndora:x:1001:990::/:/bin/sh\n".into(),
            group: "root:x:0:\nsetters:x:990:anna,ben\nbroken\nsetter:x:991:carl\n".into(),
        };
        for (group, user, member) in [
            ("setters", "anna", true),
            ("setters", "ben", true),
            ("setters", "dora", true),
            ("setters", "carl", false),
            ("setters", "an", false),
            ("setters", "", false),
            ("root", "anna", false),
            ("broken", "anna", false),
            ("none", "anna", false),
        ] {
            assert_eq!(accounts.is_member(group, user), member, "{group} {user}");
        }
        let sudo = || Some("ben".to_owned());
        assert_eq!(accounts.caller(0, sudo()), "ben");
        assert_eq!(accounts.caller(0, None), "root");
        assert_eq!(
            accounts.caller(1000, sudo()),
            "anna",
            "nobody becomes ben by a variable"
        );
        assert_eq!(accounts.caller(7, None), "user 7");
    }
}
