//! Ties the binary to its inputs: checks the shipped backbones against their manifest, writes
//! their digests and the versions that reports name, packs the built-in product, and embeds the board
//! profiles.

use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

fn fail(message: &str) -> ! {
    println!("cargo::error={message}");
    std::process::exit(1)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    })
}

/// The version of tract in the lock file, so that kernel reports never name another one.
fn tract_version(lock: &str) -> Option<&str> {
    let (_, after) = lock.split_once("name = \"tract-onnx\"\nversion = \"")?;
    after.split('"').next()
}

/// The board profiles as a table of names and texts, sorted by name.
fn board_profiles() -> Result<String, std::io::Error> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir("board/profiles")? {
        let path = entry?.path();
        if let (Some(stem), Some("toml")) = (
            path.file_stem().and_then(|s| s.to_str()),
            path.extension().and_then(|e| e.to_str()),
        ) {
            names.push(stem.to_string());
        }
    }
    names.sort();
    let mut table = String::from("&[\n");
    for name in &names {
        let text = std::fs::read_to_string(format!("board/profiles/{name}.toml"))?;
        let _ = writeln!(table, "    ({name:?}, {text:?}),");
    }
    table.push(']');
    Ok(table)
}

/// Writes `from` to `to`, deflated: a sixth of the built-in product.
fn packed(from: &str, to: &Path) -> Result<(), std::io::Error> {
    let file = std::fs::File::create(to)?;
    let mut packing = flate2::write::ZlibEncoder::new(file, flate2::Compression::best());
    packing.write_all(&std::fs::read(from)?)?;
    packing.finish()?.sync_all()
}

fn main() {
    println!("cargo::rerun-if-changed=models");
    println!("cargo::rerun-if-changed=Cargo.lock");
    println!("cargo::rerun-if-changed=board/profiles");
    println!("cargo::rerun-if-changed=calibration/demo.pgp");
    let text = std::fs::read_to_string("models/manifest.json")
        .unwrap_or_else(|e| fail(&format!("models/manifest.json cannot be read: {e}")));
    let manifest: serde_json::Value = serde_json::from_str(&text)
        .unwrap_or_else(|e| fail(&format!("models/manifest.json is not JSON: {e}")));
    let mut table = String::from("&[\n");
    for entry in manifest["backbones"].as_array().into_iter().flatten() {
        let field = |key: &str| {
            entry[key].as_str().unwrap_or_else(|| {
                fail(&format!(
                    "models/manifest.json: a backbone has no string `{key}`"
                ))
            })
        };
        let path = Path::new("models").join(field("file"));
        let bytes = std::fs::read(&path)
            .unwrap_or_else(|e| fail(&format!("{} cannot be read: {e}", path.display())));
        let found = hex(&Sha256::digest(&bytes));
        if found != field("sha256") {
            fail(&format!(
                "{}: SHA-256 is {found}, models/manifest.json has {}; restore the file or re-make both with models/export.py",
                path.display(),
                field("sha256")
            ));
        }
        let _ = writeln!(
            table,
            "    ({:?}, {:?}),",
            field("name"),
            blake3::hash(&bytes).to_hex().as_str()
        );
    }
    table.push(']');
    let out = std::env::var("OUT_DIR").unwrap_or_else(|e| fail(&format!("OUT_DIR: {e}")));
    if let Err(e) = std::fs::write(Path::new(&out).join("shipped_backbones.rs"), table) {
        fail(&format!("{out}: {e}"));
    }

    if let Err(e) = packed(
        "calibration/demo.pgp",
        &Path::new(&out).join("demo.pgp.zlib"),
    ) {
        fail(&format!("calibration/demo.pgp cannot be packed: {e}"));
    }

    let profiles = board_profiles().unwrap_or_else(|e| fail(&format!("board/profiles: {e}")));
    if let Err(e) = std::fs::write(Path::new(&out).join("board_profiles.rs"), profiles) {
        fail(&format!("{out}: {e}"));
    }

    let lock = std::fs::read_to_string("Cargo.lock").unwrap_or_default();
    let version = tract_version(&lock)
        .unwrap_or_else(|| fail("Cargo.lock names no tract-onnx; run cargo generate-lockfile"));
    println!("cargo::rustc-env=PARTGATE_TRACT_VERSION={version}");
}
