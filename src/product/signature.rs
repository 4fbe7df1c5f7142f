//! What a signature covers.
//!
//! Signed are a constant that says what this is, bytes 0 to 96 of the header (magic, format, scheme,
//! lengths, the manifest's digest and the signer's key), and the manifest. The manifest has the digest
//! of every section, so nothing in the file can change under a signature.

use crate::keys::{self, PublicKey};
use std::fmt;

/// Length of the header, bytes.
pub(super) const HEADER: usize = 192;
/// Keeps a signature of a bundle from being one of anything else.
const CONTEXT: &[u8] = b"partgate product bundle, signature 1\n";
/// The signed bytes of the header: all before the signature.
const SIGNED_HEADER: usize = 96;

/// Who signed a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signature {
    /// Nobody.
    Unsigned,
    /// Ed25519. The signature of a bundle that was opened is that of its contents; whether the key is
    /// trusted is a question to [`crate::keys::TrustedKeys`].
    Ed25519 {
        /// The signer's public key.
        public_key: PublicKey,
        /// The signature.
        signature: Box<[u8; 64]>,
    },
}

impl fmt::Display for Signature {
    /// For desks, which trust nobody and refuse nobody.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsigned => f.write_str("UNSIGNED"),
            Self::Ed25519 { public_key, .. } => write!(f, "signed by key {public_key}"),
        }
    }
}

impl Signature {
    /// The key of the signer; None: nobody signed.
    pub fn signer(&self) -> Option<&PublicKey> {
        match self {
            Self::Unsigned => None,
            Self::Ed25519 { public_key, .. } => Some(public_key),
        }
    }

    /// Whether it is the signature of this bundle, whose manifest has `length` bytes. No signature fits
    /// every bundle.
    pub(super) fn fits(&self, bytes: &[u8], length: usize) -> bool {
        match self {
            Self::Unsigned => true,
            Self::Ed25519 {
                public_key,
                signature,
            } => keys::verify(public_key, &message(bytes, length), signature),
        }
    }
}

/// What is signed in a bundle whose manifest has `length` bytes.
pub(super) fn message(bytes: &[u8], length: usize) -> Vec<u8> {
    let manifest = &bytes[HEADER..HEADER + length];
    [CONTEXT, &bytes[..SIGNED_HEADER], manifest].concat()
}
