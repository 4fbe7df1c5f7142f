//! The detached signature in the form of OpenSSF Model Signing 1.0: a Sigstore bundle with a DSSE envelope
//! around an in-toto statement, which names the SHA-256 of the file. Signed with an elliptic key
//! (P-256), without certificates and without a log: who has the public key can verify it offline.
//!
//! Boards do not read it. They verify the bundle's own Ed25519 signature.

use base64ct::{Base64, Encoding};
use p256::SecretKey;
use p256::ecdsa::signature::{Signer, Verifier};
use p256::ecdsa::{Signature, SigningKey, VerifyingKey};
use p256::pkcs8::{
    DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, LineEnding,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::Path;
use thiserror::Error;

/// Largest signature that is read, bytes.
pub(crate) const MAX_FILE: u64 = 1 << 20;
/// Largest key file that is read, bytes.
pub(crate) const MAX_KEY: u64 = 16 << 10;

const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
const PREDICATE_TYPE: &str = "https://model_signing/signature/v1.0";
const METHOD: &str = "files";
const SHA256: &str = "sha256";
/// Name of the only file of a model that is one file.
const ITSELF: &str = ".";

/// Why a detached signature does not hold.
#[derive(Debug, Error)]
pub(crate) enum OmsError {
    #[error(
        "the key is no {0} in PEM on the curve P-256; make one with `partgate-train keygen NAME --oms`"
    )]
    Key(&'static str),
    #[error("no random numbers for a key")]
    Random(#[source] std::io::Error),
    #[error("the signature is no Sigstore bundle")]
    Bundle(#[source] serde_json::Error),
    #[error("the signature has {what} {found:?}; this program knows {known:?}")]
    Kind {
        what: &'static str,
        found: String,
        known: &'static str,
    },
    #[error(
        "the signature has no public key, so it was made with a certificate or without keys; this program verifies signatures by bare keys"
    )]
    NoKey,
    #[error(
        "the signature was made with another key: its key has the SHA-256 {found}, and this one {ours}"
    )]
    OtherKey { found: String, ours: String },
    #[error("the signature's {0} is no base64")]
    Base64(&'static str),
    #[error("the envelope has {0} signatures; there must be exactly one")]
    Count(usize),
    #[error("the signature does not fit the statement: it was changed, or made with another key")]
    Invalid,
    #[error("the signed statement is none that this program knows")]
    Statement(#[source] serde_json::Error),
    #[error("the statement does not agree with itself: {0}")]
    Inconsistent(&'static str),
    #[error("the statement is about {0} files; a product is one file")]
    Resources(usize),
    #[error(
        "the file has the SHA-256 {found}, and {signed} was signed: it is another file, or it was changed"
    )]
    Digest { found: String, signed: String },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    media_type: String,
    verification_material: Material,
    dsse_envelope: Envelope,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Material {
    #[serde(skip_serializing_if = "Option::is_none")]
    public_key: Option<Hint>,
    #[serde(default)]
    tlog_entries: Vec<serde_json::Value>,
}

/// Which key: the SHA-256 of its PEM text.
#[derive(Serialize, Deserialize)]
struct Hint {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Serialize, Deserialize)]
struct EnvelopeSignature {
    sig: String,
    #[serde(default)]
    keyid: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Subject>,
    predicate_type: String,
    predicate: Predicate,
}

#[derive(Serialize, Deserialize)]
struct Subject {
    name: String,
    digest: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct Predicate {
    serialization: Serialization,
    resources: Vec<Resource>,
}

#[derive(Serialize, Deserialize)]
struct Serialization {
    method: String,
    hash_type: String,
    #[serde(default)]
    allow_symlinks: bool,
    #[serde(default)]
    ignore_paths: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Resource {
    name: String,
    algorithm: String,
    digest: String,
}

/// A key that signs.
pub(crate) struct OmsKey(SigningKey);

/// A key that verifies.
pub(crate) struct OmsPublicKey(VerifyingKey);

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256, hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// SHA-256 over the digests of all files; here there is one.
fn root(digest: &str) -> Option<String> {
    let pairs = digest.as_bytes().chunks(2);
    let bytes: Option<Vec<u8>> = pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    Some(sha256(&bytes.filter(|bytes| bytes.len() == 32)?))
}

/// What is signed of a payload, by DSSE 1.0.
fn encoded(payload: &[u8]) -> Vec<u8> {
    let head = format!(
        "DSSEv1 {} {PAYLOAD_TYPE} {} ",
        PAYLOAD_TYPE.len(),
        payload.len()
    );
    [head.as_bytes(), payload].concat()
}

impl OmsKey {
    /// A new key from the system's random numbers.
    pub(crate) fn generate() -> Result<Self, OmsError> {
        use std::io::Read;
        let mut random = std::fs::File::open("/dev/urandom").map_err(OmsError::Random)?;
        loop {
            let mut seed = [0; 32];
            random.read_exact(&mut seed).map_err(OmsError::Random)?;
            // Zero, or above the order of the curve: once in 2^32 draws.
            if let Ok(key) = SecretKey::from_slice(&seed) {
                return Ok(Self(key.into()));
            }
        }
    }

    /// From PEM text: PKCS #8, or the older form of `openssl ecparam`.
    pub(crate) fn from_pem(text: &str) -> Result<Self, OmsError> {
        let key = SecretKey::from_pkcs8_pem(text).or_else(|_| SecretKey::from_sec1_pem(text));
        let key = key.map_err(|_| OmsError::Key("secret key"))?;
        Ok(Self(key.into()))
    }

    /// PEM text, PKCS #8.
    pub(crate) fn to_pem(&self) -> Result<String, OmsError> {
        let pem = self.0.to_pkcs8_pem(LineEnding::LF);
        let pem = pem.map_err(|_| OmsError::Key("secret key"))?;
        Ok(pem.as_str().to_owned())
    }

    pub(crate) fn public(&self) -> OmsPublicKey {
        OmsPublicKey(*self.0.verifying_key())
    }

    /// The detached signature of a file called `name`.
    pub(crate) fn sign(&self, bytes: &[u8], name: &str) -> Result<String, OmsError> {
        let digest = sha256(bytes);
        let whole = root(&digest).ok_or(OmsError::Inconsistent("its own digest"))?;
        let statement = Statement {
            kind: STATEMENT_TYPE.into(),
            subject: vec![Subject {
                name: name.into(),
                digest: BTreeMap::from([(SHA256.into(), whole)]),
            }],
            predicate_type: PREDICATE_TYPE.into(),
            predicate: Predicate {
                serialization: Serialization {
                    method: METHOD.into(),
                    hash_type: SHA256.into(),
                    allow_symlinks: false,
                    ignore_paths: Vec::new(),
                },
                resources: vec![Resource {
                    name: ITSELF.into(),
                    algorithm: SHA256.into(),
                    digest,
                }],
            },
        };
        let payload = serde_json::to_vec(&statement).map_err(OmsError::Statement)?;
        let signature: Signature = self.0.sign(&encoded(&payload));
        let bundle = Bundle {
            media_type: MEDIA_TYPE.into(),
            verification_material: Material {
                public_key: Some(Hint {
                    hint: Some(self.public().hint()?),
                }),
                tlog_entries: Vec::new(),
            },
            dsse_envelope: Envelope {
                payload: Base64::encode_string(&payload),
                payload_type: PAYLOAD_TYPE.into(),
                signatures: vec![EnvelopeSignature {
                    sig: Base64::encode_string(signature.to_der().as_bytes()),
                    keyid: String::new(),
                }],
            },
        };
        serde_json::to_string(&bundle).map_err(OmsError::Bundle)
    }
}

/// Refuses another kind of something than the known one.
fn known(what: &'static str, found: &str, known: &'static str) -> Result<(), OmsError> {
    if found == known {
        return Ok(());
    }
    Err(OmsError::Kind {
        what,
        // It is printed, so a megabyte of wrong text is cut.
        found: found.chars().take(100).collect(),
        known,
    })
}

impl OmsPublicKey {
    /// From PEM text.
    pub(crate) fn from_pem(text: &str) -> Result<Self, OmsError> {
        let key = VerifyingKey::from_public_key_pem(text);
        key.map(Self).map_err(|_| OmsError::Key("public key"))
    }

    /// PEM text.
    pub(crate) fn to_pem(&self) -> Result<String, OmsError> {
        let pem = self.0.to_public_key_pem(LineEnding::LF);
        pem.map_err(|_| OmsError::Key("public key"))
    }

    /// How a signature names the key.
    pub(crate) fn hint(&self) -> Result<String, OmsError> {
        Ok(sha256(self.to_pem()?.as_bytes()))
    }

    /// Whether `signature` is one of this key for these bytes; returns the name that was signed.
    pub(crate) fn verify(&self, bytes: &[u8], signature: &[u8]) -> Result<String, OmsError> {
        let bundle: Bundle = serde_json::from_slice(signature).map_err(OmsError::Bundle)?;
        known("the media type", &bundle.media_type, MEDIA_TYPE)?;
        let hint = bundle
            .verification_material
            .public_key
            .ok_or(OmsError::NoKey)?;
        let ours = self.hint()?;
        if let Some(found) = hint
            .hint
            .filter(|found| !found.is_empty() && *found != ours)
        {
            let found = found.chars().take(100).collect();
            return Err(OmsError::OtherKey { found, ours });
        }
        let envelope = bundle.dsse_envelope;
        known("the payload type", &envelope.payload_type, PAYLOAD_TYPE)?;
        let [signed] = &*envelope.signatures else {
            return Err(OmsError::Count(envelope.signatures.len()));
        };
        let payload = Base64::decode_vec(&envelope.payload);
        let payload = payload.map_err(|_| OmsError::Base64("payload"))?;
        let raw = Base64::decode_vec(&signed.sig).map_err(|_| OmsError::Base64("signature"))?;
        let signature = Signature::from_der(&raw).map_err(|_| OmsError::Invalid)?;
        let verified = self.0.verify(&encoded(&payload), &signature);
        verified.map_err(|_| OmsError::Invalid)?;
        stated(&payload, bytes)
    }
}

/// Whether the signed statement is about these bytes.
fn stated(payload: &[u8], bytes: &[u8]) -> Result<String, OmsError> {
    let statement: Statement = serde_json::from_slice(payload).map_err(OmsError::Statement)?;
    known("the statement type", &statement.kind, STATEMENT_TYPE)?;
    known(
        "the predicate type",
        &statement.predicate_type,
        PREDICATE_TYPE,
    )?;
    let Predicate {
        serialization,
        resources,
    } = statement.predicate;
    known("the method", &serialization.method, METHOD)?;
    known("the hash type", &serialization.hash_type, SHA256)?;
    let [subject] = &*statement.subject else {
        return Err(OmsError::Inconsistent("it has not exactly one subject"));
    };
    let [resource] = &*resources else {
        return Err(OmsError::Resources(resources.len()));
    };
    known("the algorithm", &resource.algorithm, SHA256)?;
    if subject.digest.get(SHA256) != root(&resource.digest).as_ref() {
        return Err(OmsError::Inconsistent(
            "the digest of its subject is not that of its files",
        ));
    }
    let found = sha256(bytes);
    if resource.digest != found {
        return Err(OmsError::Digest {
            found,
            signed: resource.digest.chars().take(100).collect(),
        });
    }
    Ok(subject.name.clone())
}

/// Where the detached signature of a file is: beside it.
pub(crate) fn beside(file: &Path) -> std::path::PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".sig");
    name.into()
}

#[cfg(test)]
mod tests;
