//! What a signature covers, and how it is made and verified.
//!
//! Signed are a constant that says what this is, bytes 0 to 96 of the header (magic, format, scheme,
//! lengths, the manifest's digest and the signer's key), and the manifest. The manifest has the digest
//! of every section, so nothing in the file can change under a signature.

use super::container::{self, ContainerError, HEADER, Signature};
use super::manifest::Manifest;
use crate::keys::{self, SecretKeyFile};

/// Keeps a signature of a bundle from being one of anything else.
const CONTEXT: &[u8] = b"partgate product bundle, signature 1\n";
/// The signed bytes of the header: all before the signature.
const SIGNED_HEADER: usize = 96;

/// What is signed in a bundle whose manifest has `length` bytes.
pub(super) fn message(bytes: &[u8], length: usize) -> Vec<u8> {
    let manifest = &bytes[HEADER..HEADER + length];
    [CONTEXT, &bytes[..SIGNED_HEADER], manifest].concat()
}

pub(super) fn verify(
    signature: &Signature,
    bytes: &[u8],
    length: usize,
) -> Result<(), ContainerError> {
    let Signature::Ed25519 {
        public_key,
        signature,
    } = signature
    else {
        return Ok(());
    };
    if keys::verify(public_key, &message(bytes, length), signature) {
        Ok(())
    } else {
        Err(ContainerError::Forged { key: *public_key })
    }
}

/// Checks every byte of a bundle and its signature, and not whether the contents fit together.
///
/// # Errors
/// [`ContainerError`].
pub fn check(bytes: &[u8]) -> Result<(Manifest, Signature), ContainerError> {
    container::read(bytes)
}

/// The bundle with a signature by `key`, which replaces an earlier one.
///
/// # Errors
/// [`ContainerError`] if the bytes are not a complete bundle.
pub fn sign(mut bytes: Vec<u8>, key: &SecretKeyFile) -> Result<Vec<u8>, ContainerError> {
    container::read(&bytes)?;
    container::set_signature(&mut bytes, &key.public().key, |message| key.sign(message));
    Ok(bytes)
}

