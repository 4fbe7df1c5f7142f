//! Keys that sign products, and which of them this board trusts.
//!
//! A key is a small text file with a name and a role. The folder of trusted keys holds one public
//! key per file (`NAME.key`), so that a new key can be trusted before the old one is taken away. The
//! file `revoked` in it lists keys that are refused whatever else the folder holds.

mod file;
mod settings;
mod trusted;

pub use file::{KeyFileError, PublicKey, PublicKeyFile, Role, SecretKeyFile};
pub(crate) use settings::TrustRead;
pub use settings::TrustSettings;
pub use trusted::{Origin, REVOKED, Refusal, TrustPolicy, TrustedKeys, TrustedKeysError};

use ed25519_dalek::{Signature, VerifyingKey};

/// Folder of trusted keys if nobody names another.
pub const FOLDER: &str = "/etc/partgate/keys";

/// Whether `signature` is that of `message` by `key`. Strict: it refuses keys of small order and every
/// second form of a signature.
pub(crate) fn verify(key: &PublicKey, message: &[u8], signature: &[u8; 64]) -> bool {
    VerifyingKey::from_bytes(&key.0).is_ok_and(|key| {
        let signature = Signature::from_bytes(signature);
        key.verify_strict(message, &signature).is_ok()
    })
}
