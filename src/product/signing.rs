//! Signing a bundle, and checking one without opening it.

use super::container::{self, ContainerError};
use super::manifest::Manifest;
use super::signature::Signature;
use crate::keys::SecretKeyFile;

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
