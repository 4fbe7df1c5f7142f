//! `--oms`: detached signatures in the form of OpenSSF Model Signing.

use super::super::{print_json, write_file};
use super::KeygenArgs;
use crate::error::TrainError;
use crate::oms::{self, OmsKey, OmsPublicKey};
use partgate::product::Product;
use serde::Serialize;
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

#[derive(Serialize)]
struct Report {
    file: PathBuf,
    signature: PathBuf,
    sha256: String,
    /// SHA-256 of the public key's PEM text.
    key: String,
}

/// At most `most` bytes of a file.
fn read(path: &Path, most: u64) -> Result<Vec<u8>, TrainError> {
    let failed = |source| TrainError::File {
        path: path.to_path_buf(),
        action: "reading",
        source,
    };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > most {
        return Err(TrainError::Setting(format!(
            "{}: larger than {most} bytes; this is no key and no signature",
            path.display()
        )));
    }
    Ok(bytes)
}

fn pem(path: &Path) -> Result<String, TrainError> {
    let bytes = read(path, oms::MAX_KEY)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The secret key in a file.
pub(super) fn secret(path: &Path) -> Result<OmsKey, TrainError> {
    Ok(OmsKey::from_pem(&pem(path)?)?)
}

/// Writes a new file that nobody had before; `mode` is who may read it.
fn create(path: &Path, text: &str, mode: u32) -> Result<(), TrainError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    let written = options
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|source| TrainError::File {
        path: path.to_path_buf(),
        action: "writing a new key",
        source,
    })
}

/// Makes a pair of keys.
pub(super) fn keygen(args: &KeygenArgs) -> Result<(), TrainError> {
    let key = OmsKey::generate()?;
    let secret = args.out.join(format!("{}.pem", args.name));
    let public = args.out.join(format!("{}.pub.pem", args.name));
    create(&secret, &key.to_pem()?, 0o600)?;
    if let Err(error) = create(&public, &key.public().to_pem()?, 0o644) {
        // Made just now, and nothing was signed with it.
        let _ = std::fs::remove_file(&secret);
        return Err(error);
    }
    let hint = key.public().hint()?;
    if args.json {
        return print_json(&serde_json::json!({
            "secret": secret, "public": public, "key": hint,
        }));
    }
    println!(
        "{}: the secret key for detached signatures; keep it where only those who sign can read it",
        secret.display()
    );
    println!("{}: the public key, for whoever verifies", public.display());
    println!("key {hint}");
    Ok(())
}

/// Writes the detached signature of a bundle beside it.
pub(super) fn sign(key: &OmsKey, bundle: &Path, tell: bool, json: bool) -> Result<(), TrainError> {
    let bytes = Product::read(bundle)?;
    let name = bundle.file_name().unwrap_or_default().to_string_lossy();
    let signature = oms::beside(bundle);
    write_file(&signature, key.sign(&bytes, &name)?.as_bytes())?;
    if json {
        return print_json(&Report {
            file: bundle.to_path_buf(),
            signature,
            sha256: oms::sha256(&bytes),
            key: key.public().hint()?,
        });
    }
    if tell {
        println!("{}: the detached signature", signature.display());
    }
    Ok(())
}

/// Verifies the detached signature of a bundle.
pub(super) fn verify(
    key: &Path,
    signature: Option<&Path>,
    bundle: &Path,
    json: bool,
) -> Result<(), TrainError> {
    let key = OmsPublicKey::from_pem(&pem(key)?)?;
    let beside = oms::beside(bundle);
    let signature = signature.unwrap_or(&beside);
    let text = read(signature, oms::MAX_FILE)?;
    let bytes = Product::read(bundle)?;
    let name = key
        .verify(&bytes, &text)
        .map_err(|source| TrainError::Detached {
            path: signature.to_path_buf(),
            source,
        })?;
    if json {
        return print_json(&Report {
            file: bundle.to_path_buf(),
            signature: signature.to_path_buf(),
            sha256: oms::sha256(&bytes),
            key: key.hint()?,
        });
    }
    println!(
        "{}: the detached signature holds; it was made for {name:?} by the key {}",
        bundle.display(),
        key.hint()?
    );
    Ok(())
}
