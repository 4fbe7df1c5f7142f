//! Key files: text of a few lines that people can read and compare.

use ed25519_dalek::{Signer, SigningKey};
use serde::{Serialize, Serializer};
use std::fmt;
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Largest key file that is read, bytes.
const MAX_FILE: u64 = 4096;
/// Longest name of a key.
const MAX_NAME: usize = 64;
/// First line of a public key file.
const PUBLIC: &str = "partgate public key";
/// First line of a secret key file.
const SECRET: &str = "partgate secret key";

/// Why a key file cannot be used.
#[derive(Debug, Error)]
pub enum KeyFileError {
    /// The file cannot be read or written.
    #[error("{}: {action} failed", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was attempted.
        action: &'static str,
        /// The system's error.
        source: std::io::Error,
    },
    /// A key is never written over another file.
    #[error("{}: there is a file already, and keys are never overwritten; choose another name, or move the file away", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The text is no key.
    #[error("{}: {problem}", path.display())]
    Text {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the cure.
        problem: String,
    },
}

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Products that decide about parts for customers.
    Production,
    /// Products for trials. A line takes them only if its configuration allows it.
    Test,
}

impl Role {
    /// The role's word in files and on the command line.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Test => "test",
        }
    }

    fn named(word: &str) -> Option<Self> {
        [Self::Production, Self::Test]
            .into_iter()
            .find(|role| role.word() == word)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// An Ed25519 public key. It prints as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// From 64 hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        blake3::Hash::from_hex(text).ok().map(|h| Self(h.into()))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// A public key with its name and role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PublicKeyFile {
    /// Who signs with it, as people call it.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// The key.
    pub key: PublicKey,
}

impl PublicKeyFile {
    /// Reads a public key file.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn open(path: &Path) -> Result<Self, KeyFileError> {
        let [name, role, key] = fields(path, PUBLIC, "key")?;
        let (name, role) = (checked_name(path, name)?, checked_role(path, &role)?);
        let Some(key) = PublicKey::from_hex(&key) else {
            return problem(
                path,
                "`key` is not 64 hexadecimal digits; copy the file again",
            );
        };
        if ed25519_dalek::VerifyingKey::from_bytes(&key.0).map_or(true, |key| key.is_weak()) {
            return problem(
                path,
                "`key` is not an Ed25519 public key; copy the file again",
            );
        }
        Ok(Self { name, role, key })
    }

    /// Writes a new file, readable by everybody.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn create(&self, path: &Path) -> Result<(), KeyFileError> {
        let Self { name, role, key } = self;
        let text = format!("{PUBLIC}\nname: {name}\nrole: {role}\nkey: {key}\n");
        create(path, 0o644, &text)
    }
}

/// A secret key with its name and role.
pub struct SecretKeyFile {
    name: String,
    role: Role,
    key: SigningKey,
}

impl SecretKeyFile {
    /// Makes a new key from the system's random numbers.
    ///
    /// # Errors
    /// A sentence that names what is wrong with the name, or why there are no random numbers.
    pub fn generate(name: &str, role: Role) -> Result<Self, KeyFileError> {
        let source = Path::new("/dev/urandom");
        let mut seed = [0; 32];
        let read = |seed: &mut [u8]| std::fs::File::open(source)?.read_exact(seed);
        read(&mut seed).map_err(failed(source, "reading random numbers"))?;
        Ok(Self {
            name: checked_name(Path::new("the new key"), name.to_owned())?,
            role,
            key: SigningKey::from_bytes(&seed),
        })
    }

    /// Reads a secret key file.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn open(path: &Path) -> Result<Self, KeyFileError> {
        let [name, role, seed] = fields(path, SECRET, "secret")?;
        let (name, role) = (checked_name(path, name)?, checked_role(path, &role)?);
        match PublicKey::from_hex(&seed) {
            Some(PublicKey(seed)) => Ok(Self {
                name,
                role,
                key: SigningKey::from_bytes(&seed),
            }),
            None => problem(
                path,
                "`secret` is not 64 hexadecimal digits; restore the file from its backup",
            ),
        }
    }

    /// Writes a new file that only its owner may read.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn create(&self, path: &Path) -> Result<(), KeyFileError> {
        let Self { name, role, key } = self;
        let seed = PublicKey(key.to_bytes());
        let text = format!("{SECRET}\nname: {name}\nrole: {role}\nsecret: {seed}\n");
        create(path, 0o600, &text)
    }

    /// The public part.
    pub fn public(&self) -> PublicKeyFile {
        PublicKeyFile {
            name: self.name.clone(),
            role: self.role,
            key: PublicKey(self.key.verifying_key().to_bytes()),
        }
    }

    /// The signature of `message`.
    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }
}

impl fmt::Debug for SecretKeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKeyFile({}, {})", self.name, self.role)
    }
}

fn failed(path: &Path, action: &'static str) -> impl FnOnce(std::io::Error) -> KeyFileError {
    let path = path.to_path_buf();
    move |source| KeyFileError::File {
        path,
        action,
        source,
    }
}

fn problem<T>(path: &Path, problem: impl Into<String>) -> Result<T, KeyFileError> {
    Err(KeyFileError::Text {
        path: path.to_path_buf(),
        problem: problem.into(),
    })
}

/// The text of a file that must be short.
pub(super) fn short_text(path: &Path, limit: u64) -> Result<String, KeyFileError> {
    let read = || {
        let file = std::fs::File::open(path)?;
        let mut text = String::new();
        file.take(limit + 1).read_to_string(&mut text)?;
        Ok(text)
    };
    let text: String = read().map_err(failed(path, "reading"))?;
    if text.len() as u64 > limit {
        return problem(
            path,
            format!("longer than {limit} bytes; this is no key file"),
        );
    }
    Ok(text)
}

/// Values of `name`, `role` and `last` after the line `head`. Every line must be known.
fn fields(path: &Path, head: &str, last: &str) -> Result<[String; 3], KeyFileError> {
    let text = short_text(path, MAX_FILE)?;
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    if first != head {
        let hint = match first {
            SECRET => "; this is the secret key: keep it at the desk, and copy the public one",
            PUBLIC => "; this is the public key, and the secret one signs",
            _ => "",
        };
        return problem(path, format!("the first line is not `{head}`{hint}"));
    }
    let mut found = [None, None, None];
    for line in lines.filter(|line| !line.trim().is_empty()) {
        let field = line.split_once(": ").and_then(|(key, value)| {
            let at = ["name", "role", last].iter().position(|k| *k == key)?;
            Some((at, value.trim().to_owned()))
        });
        match field {
            Some((at, value)) if found[at].is_none() => found[at] = Some(value),
            _ => {
                return problem(
                    path,
                    format!("the line `{line}` is not known or there twice"),
                );
            }
        }
    }
    match found {
        [Some(name), Some(role), Some(key)] => Ok([name, role, key]),
        _ => problem(path, format!("`name`, `role` or `{last}` is missing")),
    }
}

fn checked_name(path: &Path, name: String) -> Result<String, KeyFileError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(plain) {
        return problem(
            path,
            format!("the name `{name}` is not 1 to {MAX_NAME} letters, digits, `-`, `_` and `.`"),
        );
    }
    Ok(name)
}

fn checked_role(path: &Path, word: &str) -> Result<Role, KeyFileError> {
    match Role::named(word) {
        Some(role) => Ok(role),
        None => problem(
            path,
            format!("the role `{word}` is not `production` or `test`"),
        ),
    }
}

fn create(path: &Path, mode: u32, text: &str) -> Result<(), KeyFileError> {
    let mut options = OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(mode).open(path);
    let mut file = match opened {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(KeyFileError::Exists {
                path: path.to_path_buf(),
            });
        }
        other => other.map_err(failed(path, "writing"))?,
    };
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(failed(path, "writing"))
}
