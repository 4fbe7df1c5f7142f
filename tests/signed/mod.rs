//! Signed products and folders of trusted keys.

// Each test crate uses only some of this.
#![allow(dead_code)]

use super::bundle;
use partgate::keys::{REVOKED, Role, SecretKeyFile};
use partgate::product::{GoldenKind, Manifest, Product, sign};
use std::path::Path;

pub(crate) fn key(name: &str, role: Role) -> SecretKeyFile {
    SecretKeyFile::generate(name, role).expect("a key")
}

/// Makes `folder` trust `key`.
pub(crate) fn trust(folder: &Path, key: &SecretKeyFile) {
    std::fs::create_dir_all(folder).expect("folder");
    let public = key.public();
    let file = folder.join(format!("{}.key", public.name));
    public.create(&file).expect("key file");
}

/// Makes `folder` refuse `key`.
pub(crate) fn revoke(folder: &Path, key: &SecretKeyFile) {
    let line = format!("{} lost laptop\n", key.public().key);
    std::fs::write(folder.join(REVOKED), line).expect("list");
}

/// The small product with thresholds between its good and its damaged golden image, so that rendered
/// good parts pass and the challenge is rejected.
pub(crate) fn lenient(change: impl FnOnce(&mut Manifest)) -> Vec<u8> {
    bundle::changed(bundle::small(), |manifest| {
        let score = |kind| {
            let golden = manifest.goldens.iter().find(|g| g.kind == kind);
            golden.expect("a golden image").score
        };
        let (good, damaged) = (score(GoldenKind::Good), score(GoldenKind::Damaged));
        assert!(damaged > good * 1.1, "{good} {damaged}");
        let threshold = damaged * 0.99;
        manifest.thresholds.unknown.threshold = threshold;
        manifest.thresholds.ng.threshold = threshold;
        for golden in &mut manifest.goldens {
            golden.verdict = manifest.thresholds.verdict(golden.score);
        }
        change(manifest);
    })
}

/// [`lenient`] of this revision, signed.
pub(crate) fn revision(number: u32, key: &SecretKeyFile) -> Vec<u8> {
    let bytes = lenient(|manifest| manifest.revision = number);
    sign(bytes, key).expect("signed")
}

/// BLAKE3 of a bundle, as the event log shows it.
pub(crate) fn short_digest(bytes: &[u8]) -> String {
    let product = Product::from_bytes(bytes.to_vec(), "a product").expect("opens");
    product.digest().to_hex()[..16].to_owned()
}
