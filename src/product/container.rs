//! The file: header, manifest, 64-byte-aligned sections. Every byte is covered by a digest or a rule,
//! so every flipped bit and every cut is detected. If the bundle is signed, its signature covers the same
//! bytes.
//!
//! ```text
//!   0  magic            8  89 'P' 'G' 'P' 0d 0a 1a 0a
//!   8  format version   4  little-endian: the oldest that can hold the product
//!  12  signature scheme 4  0 none, 1 Ed25519 (what is signed: `signature.rs`)
//!  16  manifest length  8
//!  24  file length      8
//!  32  manifest BLAKE3 32
//!  64  public key      32  zero when unsigned
//!  96  signature       64  zero when unsigned
//! 160  header BLAKE3   32  over bytes 0..160
//! 192  manifest           postcard
//!      sections           each at a multiple of 64, zeros between
//! ```

use super::earlier::ManifestV1;
use super::manifest::{DType, Manifest, Section, SectionKind};
use super::signature::{HEADER, Signature};
use crate::keys::PublicKey;
use crate::score::Rule;
use thiserror::Error;

/// First bytes of every bundle. As in PNG, the line ends detect a transfer in text mode.
pub(super) const MAGIC: [u8; 8] = *b"\x89PGP\r\n\x1a\n";
/// The newest format that this version reads. It writes the oldest one that can hold a product.
pub const FORMAT: u32 = 5;
/// Largest file that is opened.
pub const MAX_FILE: u64 = 512 << 20;
const MAX_MANIFEST: u64 = 8 << 20;
const MAX_SECTIONS: usize = 1024;
const ALIGN: usize = 64;

/// Why bytes are not a usable bundle.
#[derive(Debug, Error)]
pub enum ContainerError {
    /// The file is not a bundle.
    #[error("not a partgate bundle (the first bytes are wrong)")]
    Magic,
    /// Written by a later version.
    #[error(
        "bundle format {found} is newer than this program reads (up to {FORMAT}); update partgate, or fit with a tool of this version"
    )]
    Newer {
        /// Format of the file.
        found: u32,
    },
    /// Format 0 was never released.
    #[error("bundle format {found} was never released; the file is damaged")]
    NeverReleased {
        /// Format of the file.
        found: u32,
    },
    /// The file is too short or too long.
    #[error("the bundle is {found} bytes long but must be {expected}; copy it again")]
    Length {
        /// Bytes found.
        found: u64,
        /// Bytes expected.
        expected: u64,
    },
    /// A digest does not match.
    #[error("{what} is damaged (its digest does not match); copy the bundle again")]
    Digest {
        /// Which part of the file.
        what: String,
    },
    /// Padding that is not zero.
    #[error("bytes between sections are not zero at offset {offset}; copy the bundle again")]
    Padding {
        /// The first such byte.
        offset: usize,
    },
    /// An unknown signature scheme, or remains of one.
    #[error("signature fields are not valid (scheme {scheme})")]
    Signature {
        /// The scheme.
        scheme: u32,
    },
    /// The signature is not that of these contents.
    #[error(
        "the signature by key {key} does not fit the contents: the bundle was changed after it was signed; get it again from where it was signed"
    )]
    Forged {
        /// The key that the bundle names.
        key: PublicKey,
    },
    /// The manifest does not parse.
    #[error("the manifest cannot be read: {message}")]
    Manifest {
        /// The decoder's message.
        message: String,
    },
    /// The place or shape of a section is impossible.
    #[error("section {index} ({kind}): {problem}")]
    Section {
        /// Index in the manifest.
        index: usize,
        /// The kind that it claims to be.
        kind: SectionKind,
        /// What is wrong.
        problem: String,
    },
    /// A number is over its limit.
    #[error("{what} of {found} is over the limit of {limit}")]
    Limit {
        /// What was counted.
        what: &'static str,
        /// The value.
        found: u64,
        /// The limit.
        limit: u64,
    },
}

/// Bytes of one section to be written.
#[derive(Clone, Debug)]
pub struct SectionBytes {
    /// What it holds.
    pub kind: SectionKind,
    /// Which member of an ensemble it belongs to.
    pub member: u8,
    /// Element type.
    pub dtype: DType,
    /// Shape in elements.
    pub shape: Vec<u64>,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// Bits per element; 0 for opaque bytes, whose shape is their length.
fn element_bits(dtype: DType) -> u64 {
    match dtype {
        DType::Bits => 1,
        DType::Bytes | DType::I8 | DType::U8 => 8,
        DType::U16 | DType::F16 => 16,
        DType::F32 | DType::U32 => 32,
    }
}

/// Bytes that `shape` elements of `dtype` take; `None` on overflow.
fn byte_length(dtype: DType, shape: &[u64]) -> Option<u64> {
    let elements = shape.iter().try_fold(1u64, |n, &s| n.checked_mul(s))?;
    Some(elements.checked_mul(element_bits(dtype))?.div_ceil(8))
}

/// Serialises a bundle; `manifest.sections` is replaced by the sections that are written.
///
/// # Errors
/// [`ContainerError`] if a section's bytes do not fit its shape or a limit is exceeded.
pub fn write(
    mut manifest: Manifest,
    sections: &[SectionBytes],
    signature: &Signature,
) -> Result<Vec<u8>, ContainerError> {
    for (index, section) in sections.iter().enumerate() {
        if byte_length(section.dtype, &section.shape) != Some(section.bytes.len() as u64) {
            return Err(ContainerError::Section {
                index,
                kind: section.kind,
                problem: format!(
                    "{} bytes do not make {:?} of {:?}",
                    section.bytes.len(),
                    section.shape,
                    section.dtype
                ),
            });
        }
    }
    let describe = |section: &SectionBytes| Section {
        kind: section.kind,
        member: section.member,
        dtype: section.dtype,
        shape: section.shape.clone(),
        offset: 0,
        length: section.bytes.len() as u64,
        blake3: *blake3::hash(&section.bytes).as_bytes(),
    };
    manifest.sections = sections.iter().map(describe).collect();
    // Offsets are varints, so the manifest's length depends on them and they depend on it: repeat until
    // both agree. Offsets only grow, so this ends.
    let encoded = loop {
        let encoded = postcard::to_stdvec(&manifest).map_err(|e| ContainerError::Manifest {
            message: e.to_string(),
        })?;
        let mut at = (HEADER + encoded.len()).next_multiple_of(ALIGN);
        let mut moved = false;
        for section in &mut manifest.sections {
            moved |= section.offset != at as u64;
            section.offset = at as u64;
            at = (at + section.length as usize).next_multiple_of(ALIGN);
        }
        if !moved {
            break encoded;
        }
    };
    let mut out = vec![0; HEADER];
    out.extend_from_slice(&encoded);
    for (section, bytes) in manifest.sections.iter().zip(sections) {
        out.resize(section.offset as usize, 0);
        out.extend_from_slice(&bytes.bytes);
    }
    let length = out.len() as u64;
    if length > MAX_FILE {
        return Err(ContainerError::Limit {
            what: "bundle size",
            found: length,
            limit: MAX_FILE,
        });
    }
    let (scheme, key, signed) = match signature {
        Signature::Unsigned => (0u32, [0; 32], Box::new([0; 64])),
        Signature::Ed25519 {
            public_key,
            signature,
        } => (1, public_key.0, signature.clone()),
    };
    out[0..8].copy_from_slice(&MAGIC);
    out[8..12].copy_from_slice(&format_of(&manifest).to_le_bytes());
    out[12..16].copy_from_slice(&scheme.to_le_bytes());
    out[16..24].copy_from_slice(&(encoded.len() as u64).to_le_bytes());
    out[24..32].copy_from_slice(&length.to_le_bytes());
    out[32..64].copy_from_slice(blake3::hash(&encoded).as_bytes());
    out[64..96].copy_from_slice(&key);
    out[96..160].copy_from_slice(&signed[..]);
    seal(&mut out);
    Ok(out)
}

/// Writes the digest of the header.
fn seal(bytes: &mut [u8]) {
    let digest = *blake3::hash(&bytes[..160]).as_bytes();
    bytes[160..HEADER].copy_from_slice(&digest);
}

/// `bytes`, a bundle that was read before, with another signature.
pub(super) fn set_signature(bytes: &mut [u8], key: &PublicKey, sign: impl Fn(&[u8]) -> [u8; 64]) {
    bytes[12..16].copy_from_slice(&1u32.to_le_bytes());
    bytes[64..96].copy_from_slice(&key.0);
    let length = u64::from_le_bytes(array(bytes, 16)) as usize;
    let signature = sign(&super::signature::message(bytes, length));
    bytes[96..160].copy_from_slice(&signature);
    seal(bytes);
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

/// The oldest format that can hold `manifest`.
fn format_of(manifest: &Manifest) -> u32 {
    let kinds = manifest.sections.iter().map(|s| s.kind.since());
    let rules = manifest.rules().map(Rule::since);
    let sizes = if manifest.is_square() { 2 } else { 3 };
    kinds.chain(rules).fold(sizes, u32::max)
}

/// The format version of a file that was read.
pub(super) fn format(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(array(bytes, 8))
}

/// A manifest that fills its bytes exactly.
fn decode<'a, T: serde::Deserialize<'a>>(encoded: &'a [u8]) -> Result<T, ContainerError> {
    let (manifest, rest) =
        postcard::take_from_bytes::<T>(encoded).map_err(|e| ContainerError::Manifest {
            message: e.to_string(),
        })?;
    if !rest.is_empty() {
        return Err(ContainerError::Manifest {
            message: format!("{} bytes too many", rest.len()),
        });
    }
    Ok(manifest)
}

/// Checks every byte of a bundle and returns its manifest and signature.
///
/// # Errors
/// [`ContainerError`] naming the part of the file and the fix. A newer format is distinguished from
/// damage as far as the header allows.
pub(super) fn read(bytes: &[u8]) -> Result<(Manifest, Signature), ContainerError> {
    let found = bytes.len() as u64;
    if bytes.len() < MAGIC.len() || bytes[..8] != MAGIC {
        return Err(ContainerError::Magic);
    }
    if bytes.len() < HEADER {
        return Err(ContainerError::Length {
            found,
            expected: HEADER as u64,
        });
    }
    // The version first: a later format may have another header or another digest of it.
    let format = format(bytes);
    if format > FORMAT {
        return Err(ContainerError::Newer { found: format });
    }
    if format == 0 {
        return Err(ContainerError::NeverReleased { found: format });
    }
    if blake3::hash(&bytes[..160]).as_bytes() != &bytes[160..192] {
        return Err(ContainerError::Digest {
            what: "the header".into(),
        });
    }
    let expected = u64::from_le_bytes(array(bytes, 24));
    if found != expected {
        return Err(ContainerError::Length { found, expected });
    }
    let length = u64::from_le_bytes(array(bytes, 16));
    if length > MAX_MANIFEST || length > found - HEADER as u64 {
        return Err(ContainerError::Limit {
            what: "manifest size",
            found: length,
            limit: MAX_MANIFEST.min(found - HEADER as u64),
        });
    }
    let scheme = u32::from_le_bytes(array(bytes, 12));
    let signature = match scheme {
        0 if bytes[64..160].iter().all(|&b| b == 0) => Signature::Unsigned,
        1 => Signature::Ed25519 {
            public_key: PublicKey(array(bytes, 64)),
            signature: Box::new(array(bytes, 96)),
        },
        _ => return Err(ContainerError::Signature { scheme }),
    };
    let manifest_end = HEADER + length as usize;
    let encoded = &bytes[HEADER..manifest_end];
    if blake3::hash(encoded).as_bytes() != &bytes[32..64] {
        return Err(ContainerError::Digest {
            what: "the manifest".into(),
        });
    }
    if let Some(key) = signature
        .signer()
        .filter(|_| !signature.fits(bytes, length as usize))
    {
        return Err(ContainerError::Forged { key: *key });
    }
    let manifest: Manifest = match format {
        1 => decode::<ManifestV1>(encoded)?.into(),
        _ => decode(encoded)?,
    };
    // A file states the oldest format that can hold it, so that one product has one form, and what an
    // earlier program would misread has a format that it refuses.
    let oldest = format_of(&manifest);
    if format > 1 && format != oldest {
        return Err(ContainerError::Manifest {
            message: format!(
                "the file states format {format}, but holds what is of format {oldest}"
            ),
        });
    }
    check_sections(bytes, manifest_end, &manifest.sections)?;
    Ok((manifest, signature))
}

/// Sections must follow each other in order, aligned, with zeros between and nothing after.
fn check_sections(
    bytes: &[u8],
    manifest_end: usize,
    sections: &[Section],
) -> Result<(), ContainerError> {
    if sections.len() > MAX_SECTIONS {
        return Err(ContainerError::Limit {
            what: "section count",
            found: sections.len() as u64,
            limit: MAX_SECTIONS as u64,
        });
    }
    let mut end = manifest_end;
    for (index, section) in sections.iter().enumerate() {
        let fail = |problem: String| ContainerError::Section {
            index,
            kind: section.kind,
            problem,
        };
        let start = end.next_multiple_of(ALIGN);
        if section.offset != start as u64 {
            return Err(fail(format!(
                "starts at {} but must start at {start}",
                section.offset
            )));
        }
        if byte_length(section.dtype, &section.shape) != Some(section.length) {
            return Err(fail(format!(
                "{} bytes do not make {:?} of {:?}",
                section.length, section.shape, section.dtype
            )));
        }
        let room = bytes.len().saturating_sub(start) as u64;
        if start > bytes.len() || section.length > room {
            return Err(fail(format!(
                "{} bytes long with {room} left in the file",
                section.length
            )));
        }
        if let Some(i) = bytes[end..start].iter().position(|&b| b != 0) {
            return Err(ContainerError::Padding { offset: end + i });
        }
        end = start + section.length as usize;
        if blake3::hash(&bytes[start..end]).as_bytes() != &section.blake3 {
            return Err(ContainerError::Digest {
                what: format!("section {index} ({})", section.kind),
            });
        }
    }
    if end != bytes.len() {
        return Err(ContainerError::Length {
            found: bytes.len() as u64,
            expected: end as u64,
        });
    }
    Ok(())
}
