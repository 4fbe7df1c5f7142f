//! `partgate install`: a product into the store, after it has proven itself on this board.

use super::super::terminal::{Colour, Out};
use super::{Allowed, By, Place, refused, take};
use crate::cli::failure::{Code, Failure, causes};
use crate::cli::{PlacementOptions, ThreadCount};
use clap::Args;
use partgate::config::LineConfig;
use partgate::keys::{self, Origin, Refusal, TrustedKeys};
use partgate::product::{Product, ProductError, check};
use partgate::station::{Proof, prove};
use partgate::store::{Identity, Installed, Slot, StoreError};
use serde::Serialize;
use std::path::PathBuf;
use thiserror::Error;

/// Install a product: verify it, prove it on this board, make it active on trial
///
/// The bundle's signature and digests are verified. Then it is written into the slot that is not
/// active, and inspects its own golden images from there. Only if all of them have the results of the
/// fit, and a part is fast enough, the product becomes active. It is on trial until `confirm`, or until
/// the line has passed enough good parts. If it fails, the board returns to the product before.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  partgate install lid.pgp --line /etc/partgate/line.toml\n  partgate install lid.pgp --store ./store --keys ./keys\n  partgate install lid-1.pgp --allow-downgrade --by anna\n\nExit codes: 0 installed, or active already, 1 the disk fails, 3 the configuration, the keys or the\nstore, 4 the bundle is refused, 5 its golden images disagree here."
)]
pub(crate) struct Arguments {
    /// The product bundle
    bundle: PathBuf,
    #[command(flatten)]
    place: Place,
    /// Folder of trusted keys [default: that of the line, or /etc/partgate/keys]
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
    #[command(flatten)]
    allowed: Allowed,
    /// Accept an older revision than this board had. It is logged
    #[arg(long)]
    allow_downgrade: bool,
    #[command(flatten)]
    by: By,
    #[command(flatten)]
    threads: ThreadCount,
    #[command(flatten)]
    placement: PlacementOptions,
}

#[derive(Debug, Error)]
enum InstallError {
    #[error("{}: refused", path.display())]
    Refused { path: PathBuf, source: Box<Refusal> },
    #[error("--product {wanted}: the bundle holds the product {found}")]
    Other { wanted: String, found: String },
    #[error("{}: not activated: {why}", path.display())]
    Unproven { path: PathBuf, why: String },
}

#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    identity: Identity,
    slot: Slot,
    /// "trial", or "active already".
    state: &'static str,
    store: PathBuf,
    proof: Option<Proof>,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments, out: &mut Out) -> Result<Code, Failure> {
    let config = arguments.place.config()?;
    let config = config.as_ref();
    let products = arguments.place.products(config)?;
    let bytes = Product::read(&arguments.bundle).map_err(Failure::bundle)?;
    let who = arguments.by.who();
    let (mut identity, judged) = identify(arguments, config, &bytes)?;
    let folder = match (products.several(), &arguments.place.product) {
        (true, Some(other)) if *other != identity.product => {
            return Err(Failure::input(InstallError::Other {
                wanted: other.clone(),
                found: identity.product,
            }));
        }
        (true, _) => products.store_of(&identity.product).map_err(refused)?,
        (false, _) => arguments.place.folder_among(&products)?,
    };
    let (mut store, _lock) = take(&folder)?;
    match judged {
        Ok(origin) => identity.origin = origin.to_string(),
        Err(refusal) => {
            let noted = store.refused(identity, refusal.to_string(), &who);
            noted.map_err(refused)?;
            return Err(Failure::bundle(InstallError::Refused {
                path: arguments.bundle.clone(),
                source: Box::new(refusal),
            }));
        }
    }
    let mut proof = None;
    let mut parity = false;
    let installed = store.install(
        identity.clone(),
        &bytes,
        arguments.allow_downgrade,
        &who,
        |copy| {
            let proven = prove_copy(arguments, config, copy);
            parity = matches!(&proven, Err((_, true)));
            proof = Some(proven.map_err(|(why, _)| why)?);
            Ok(())
        },
    );
    let (slot, state) = match installed {
        Ok(Installed::Trial(slot)) => (slot, "trial"),
        Ok(Installed::Already(slot)) => (slot, "active already"),
        Err(StoreError::Unproven(why)) => {
            let error = InstallError::Unproven {
                path: arguments.bundle.clone(),
                why,
            };
            let code = if parity { Code::Parity } else { Code::Bundle };
            return Err(Failure::Error(code, error.into()));
        }
        Err(other) => return Err(refused(other)),
    };
    products
        .choose_first(&identity.product, &who)
        .map_err(refused)?;
    let report = Report {
        identity,
        slot,
        state,
        store: folder,
        proof,
    };
    if out.json() {
        out.json_page(&report)?;
    } else {
        print(&report, out)?;
    }
    Ok(Code::Done)
}

/// Verifies the bundle and asks whether this board trusts it.
fn identify(
    arguments: &Arguments,
    config: Option<&LineConfig>,
    bytes: &[u8],
) -> Result<(Identity, Result<Origin, Refusal>), Failure> {
    let (manifest, signature) = check(bytes).map_err(|source| {
        let name = arguments.bundle.display().to_string();
        Failure::bundle(ProductError::Container { name, source })
    })?;
    let of_line = config.map(|config| config.trust.keys.clone());
    let folder = arguments.keys.clone().or(of_line);
    let folder = folder.unwrap_or_else(|| keys::FOLDER.into());
    let keys = TrustedKeys::open(&folder).map_err(Failure::input)?;
    let policy = arguments.allowed.policy(config);
    let identity = Identity {
        product: manifest.name,
        revision: manifest.revision,
        digest: blake3::hash(bytes).to_hex().to_string(),
        origin: signature
            .signer()
            .map_or_else(|| Origin::Unsigned.to_string(), |key| format!("key {key}")),
    };
    Ok((identity, keys.judge(signature.signer(), policy)))
}

/// Lets the copy in the slot prove itself. The error says whether the golden images disagree.
fn prove_copy(
    arguments: &Arguments,
    config: Option<&LineConfig>,
    copy: &[u8],
) -> Result<Proof, (String, bool)> {
    let words = |error: &(dyn std::error::Error + 'static)| causes(error).join(": ");
    let name = arguments.bundle.display().to_string();
    let product = Product::from_bytes(copy.to_vec(), &name).map_err(|e| (words(&e), false))?;
    // As the line will run it, if there is one.
    let (threads, placement) = match config {
        Some(config) => (
            config.inference.threads_here(),
            config.inference.placement(),
        ),
        None => (arguments.threads.number(), arguments.placement.placement()),
    };
    prove(&product, config, threads, placement).map_err(|error| {
        let parity = matches!(error, partgate::station::Unproven::Disagrees(_));
        (words(&error), parity)
    })
}

fn print(report: &Report, out: &mut Out) -> Result<(), Failure> {
    let Report {
        identity,
        slot,
        proof,
        ..
    } = report;
    out.line(format_args!("{identity}"))?;
    out.line(format_args!("  digest    {}", identity.digest))?;
    let colour = if identity.origin.starts_with("signed by ") {
        Colour::Good
    } else {
        Colour::Unsure
    };
    let origin = out.paint(&identity.origin, colour);
    out.line(format_args!("  origin    {origin}"))?;
    let Some(proof) = proof else {
        return out.line(format_args!(
            "  nothing to do: slot {slot} of {} has it, and it is active",
            report.store.display()
        ));
    };
    out.line(format_args!(
        "  parity    all {} golden images agree, {} damaged ones are rejected",
        proof.goldens.len(),
        proof.rejected
    ))?;
    let budget = proof.budget_ms.map_or_else(
        || "; no line's times to compare with".into(),
        |budget| format!("; the gate leaves {budget:.1} ms"),
    );
    out.line(format_args!(
        "  time      median {:.1} ms, longest {:.1} ms{budget}",
        proof.median_ms, proof.longest_ms
    ))?;
    out.line(out.paint(
        format_args!("on trial in slot {slot} of {}", report.store.display()),
        Colour::Good,
    ))?;
    out.line("then: watch it, and `partgate confirm`, or `partgate rollback`")
}
