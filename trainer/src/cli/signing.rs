//! `keygen`, `sign` and `verify`: keys, and what they say about a bundle. With `--oms` the same by a detached
//! signature.

mod detached;

use super::{check_target, print_json, write_file};
use crate::error::TrainError;
use clap::{Args, ValueEnum};
use partgate::keys::{
    Origin, PublicKey, PublicKeyFile, Role, SecretKeyFile, TrustPolicy, TrustedKeys,
};
use partgate::product::{Product, check, sign};
use serde::Serialize;
use std::path::PathBuf;

/// Arguments of `keygen`.
#[derive(Args)]
pub(crate) struct KeygenArgs {
    /// Name of the key, as people will read it on every board: letters, digits, `-`, `_` and `.`
    name: String,
    /// What the key is for. Lines take products of a test key only if their configuration allows it
    #[arg(long, value_name = "ROLE", default_value = "production")]
    role: RoleName,
    /// Make a key for detached signatures in the form of OpenSSF Model Signing instead: NAME.pem (secret)
    /// and NAME.pub.pem, on the curve P-256. Boards do not need it
    #[arg(long, conflicts_with = "role")]
    oms: bool,
    /// Folder for the two files
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum RoleName {
    /// Products that decide about parts for customers
    Production,
    /// Products for trials
    Test,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Production => Role::Production,
            RoleName::Test => Role::Test,
        }
    }
}

/// Arguments of `sign`.
#[derive(Args)]
pub(crate) struct SignArgs {
    /// The bundle
    bundle: PathBuf,
    /// The secret key file
    #[arg(long, value_name = "NAME.secret", required_unless_present = "oms")]
    key: Option<PathBuf>,
    /// Write a detached signature in the form of OpenSSF Model Signing beside the bundle (FILE.pgp.sig),
    /// by this secret key in PEM. Without --key the bundle stays as it is
    #[arg(long, value_name = "NAME.pem")]
    oms: Option<PathBuf>,
    /// The bundle to write [default: the bundle itself]
    #[arg(short, long, value_name = "FILE.pgp", requires = "key")]
    output: Option<PathBuf>,
    /// Raise the revision to this number before signing. Boards refuse a lower one than they had
    #[arg(long, value_name = "N", requires = "key")]
    revision: Option<u32>,
    /// The product is for this board, by the name of its profile; repeat it for several. Without it
    /// the boards stay as they are [default of a fit: every board]
    #[arg(long = "board", value_name = "NAME", requires = "key")]
    boards: Vec<String>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Arguments of `verify`.
#[derive(Args)]
pub(crate) struct VerifyArgs {
    /// The bundle
    bundle: PathBuf,
    /// Verify the detached signature beside the bundle (FILE.pgp.sig) by this public key in PEM instead of
    /// the bundle's own
    #[arg(long, value_name = "NAME.pub.pem", conflicts_with_all = ["keys", "allow_test_key"])]
    oms: Option<PathBuf>,
    /// With --oms: the detached signature
    #[arg(long, value_name = "FILE.sig", requires = "oms")]
    signature: Option<PathBuf>,
    /// Folder of trusted keys, as a board has it
    #[arg(long, value_name = "DIR", default_value = partgate::keys::FOLDER)]
    keys: PathBuf,
    /// Accept a test key
    #[arg(long)]
    allow_test_key: bool,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct KeyReport {
    secret: PathBuf,
    public: PathBuf,
    #[serde(flatten)]
    key: PublicKeyFile,
}

/// Runs `keygen`.
pub(crate) fn keygen(args: &KeygenArgs) -> Result<(), TrainError> {
    if args.oms {
        return detached::keygen(args);
    }
    let key = SecretKeyFile::generate(&args.name, args.role.into())?;
    let secret = args.out.join(format!("{}.secret", args.name));
    let public = args.out.join(format!("{}.key", args.name));
    key.create(&secret)?;
    if let Err(error) = key.public().create(&public) {
        // Made just now, and nothing was signed with it.
        let _ = std::fs::remove_file(&secret);
        return Err(error.into());
    }
    let report = KeyReport {
        secret,
        public,
        key: key.public(),
    };
    if args.json {
        return print_json(&report);
    }
    println!(
        "{}: the secret key; keep it and a backup of it where only those who sign can read it",
        report.secret.display()
    );
    println!(
        "{}: the public key, {} role; copy it to {} on every board that takes its products",
        report.public.display(),
        report.key.role,
        partgate::keys::FOLDER
    );
    println!("key {}", report.key.key);
    Ok(())
}

#[derive(Serialize)]
struct SignReport {
    file: PathBuf,
    product: String,
    revision: u32,
    blake3: String,
    #[serde(flatten)]
    key: PublicKeyFile,
}

/// Runs `sign`.
pub(crate) fn sign_bundle(args: &SignArgs) -> Result<(), TrainError> {
    // Before anything is written.
    let detached = args.oms.as_deref().map(detached::secret).transpose()?;
    let output = args.output.as_ref().unwrap_or(&args.bundle);
    let Some(key) = &args.key else {
        let Some(key) = detached else {
            return Err(TrainError::Setting("--key or --oms: give a key".into()));
        };
        return detached::sign(&key, output, !args.json, args.json);
    };
    let key = SecretKeyFile::open(key)?;
    check_target(output)?;
    let product = Product::open(&args.bundle)?;
    let mut manifest = product.manifest().clone();
    if let Some(revision) = args.revision {
        if revision < manifest.revision {
            return Err(TrainError::Setting(format!(
                "--revision {revision}: the bundle has revision {} already, and boards refuse to go back; give a higher number",
                manifest.revision
            )));
        }
        manifest.revision = revision;
    }
    if !args.boards.is_empty() {
        manifest.boards.clone_from(&args.boards);
    }
    let bytes = if manifest == *product.manifest() {
        Product::read(&args.bundle)?
    } else {
        product.rewritten(manifest.clone())?
    };
    let bytes = sign(bytes, &key)?;
    write_file(output, &bytes)?;
    let report = SignReport {
        file: output.clone(),
        product: manifest.name,
        revision: manifest.revision,
        blake3: blake3::hash(&bytes).to_hex().to_string(),
        key: key.public(),
    };
    if let Some(key) = detached {
        detached::sign(&key, output, !args.json, false)?;
    }
    if args.json {
        return print_json(&report);
    }
    println!(
        "{}: {}, revision {}, signed by {} ({})",
        report.file.display(),
        report.product,
        report.revision,
        report.key.name,
        report.key.role
    );
    println!("blake3 {}", report.blake3);
    Ok(())
}

#[derive(Serialize)]
struct VerifyReport {
    file: PathBuf,
    product: String,
    revision: u32,
    blake3: String,
    key: Option<PublicKey>,
    trusted: bool,
    #[serde(flatten)]
    origin: Option<Origin>,
    why: Option<String>,
}

/// Runs `verify`.
pub(crate) fn verify(args: &VerifyArgs) -> Result<(), TrainError> {
    if let Some(key) = &args.oms {
        return detached::verify(key, args.signature.as_deref(), &args.bundle, args.json);
    }
    let bytes = Product::read(&args.bundle)?;
    let name = args.bundle.display().to_string();
    let (manifest, signature) = check(&bytes).map_err(|source| {
        TrainError::Product(partgate::product::ProductError::Container { name, source })
    })?;
    let keys = TrustedKeys::open(&args.keys)?;
    let policy = TrustPolicy {
        allow_unsigned: false,
        allow_test_keys: args.allow_test_key,
    };
    let judged = keys.judge(signature.signer(), policy);
    let report = VerifyReport {
        file: args.bundle.clone(),
        product: manifest.name,
        revision: manifest.revision,
        blake3: blake3::hash(&bytes).to_hex().to_string(),
        key: signature.signer().copied(),
        trusted: judged.is_ok(),
        origin: judged.as_ref().ok().cloned(),
        why: judged.as_ref().err().map(ToString::to_string),
    };
    if args.json {
        print_json(&report)?;
    }
    let origin = judged.map_err(|source| TrainError::Refused {
        path: args.bundle.clone(),
        source,
    })?;
    if !args.json {
        println!(
            "{}: {}, revision {}, {origin}",
            report.file.display(),
            report.product,
            report.revision
        );
        println!("blake3 {}", report.blake3);
    }
    Ok(())
}
