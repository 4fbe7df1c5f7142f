//! The folder of trusted keys, and what it decides about a product.

use super::file::{KeyFileError, PublicKey, PublicKeyFile, Role, short_text};
use serde::Serialize;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Name of the revocation list in the folder.
pub const REVOKED: &str = "revoked";
/// Largest revocation list that is read, bytes.
const MAX_REVOKED: u64 = 1 << 20;
/// Most trusted keys.
const MAX_KEYS: usize = 256;

/// Why the folder cannot be used. Nothing is trusted then.
#[derive(Debug, Error)]
pub enum TrustedKeysError {
    /// The folder cannot be read.
    #[error("{}: the trusted keys cannot be read", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A file in it is no key.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// One key in two files, with another name or role.
    #[error("{} and {}: the same key under two names or roles; remove one file", first.display(), second.display())]
    Twice {
        /// One file.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// A line of the revocation list is no key.
    #[error("{}:{line}: not a key of 64 hexadecimal digits; correct the line", path.display())]
    Revoked {
        /// The list.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
    },
    /// Too many files.
    #[error("{}: more than {MAX_KEYS} keys; remove those that nobody signs with", path.display())]
    Many {
        /// The folder.
        path: PathBuf,
    },
}

/// What a line accepts besides production keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrustPolicy {
    /// Products that nobody signed.
    pub allow_unsigned: bool,
    /// Products that a test key signed.
    pub allow_test_keys: bool,
}

/// Where a product that was accepted comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "origin")]
pub enum Origin {
    /// Nobody signed it, and that is allowed.
    Unsigned,
    /// A trusted key signed it.
    Signed {
        /// Name of the key.
        key: String,
        /// Role of the key.
        role: Role,
    },
}

impl Origin {
    /// Whether a production key signed it.
    pub fn is_proven(&self) -> bool {
        matches!(
            self,
            Self::Signed {
                role: Role::Production,
                ..
            }
        )
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsigned => f.write_str("UNSIGNED"),
            Self::Signed {
                key,
                role: Role::Production,
            } => write!(f, "signed by {key}"),
            Self::Signed {
                key,
                role: Role::Test,
            } => write!(f, "signed by TEST KEY {key}"),
        }
    }
}

/// Why a product is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Nobody signed it.
    #[error(
        "the product is UNSIGNED: nobody can say where it comes from; sign it with `partgate-train sign`, or accept it as it is with --allow-unsigned, on a line with allow_unsigned = true in [trust]"
    )]
    Unsigned,
    /// The signature is sound, but the key is not in the folder.
    #[error(
        "the product is signed by key {key}, which is not trusted here; if you know whose key that is, put its public key file into {}", folder.display()
    )]
    Unknown {
        /// The key.
        key: PublicKey,
        /// The folder.
        folder: PathBuf,
    },
    /// The key is on the revocation list.
    #[error("the product is signed by key {key}, which is revoked{}; sign it again with another key", reason_words(.reason))]
    Revoked {
        /// The key.
        key: PublicKey,
        /// What the list states behind the key.
        reason: String,
    },
    /// A test key, and the line is no test line.
    #[error(
        "the product is signed by the test key `{name}`, and this line takes production keys only; sign it with a production key, or allow it with --allow-test-key, on a line with allow_test_keys = true in [trust]"
    )]
    TestKey {
        /// Name of the key.
        name: String,
    },
}

fn reason_words(reason: &str) -> String {
    if reason.is_empty() {
        String::new()
    } else {
        format!(" ({reason})")
    }
}

/// The keys in a folder.
#[derive(Clone, Debug, Default)]
pub struct TrustedKeys {
    folder: PathBuf,
    keys: Vec<PublicKeyFile>,
    revoked: Vec<(PublicKey, String)>,
}

impl TrustedKeys {
    /// Reads every `*.key` and the revocation list in `folder`. A folder that is not there holds no
    /// keys.
    ///
    /// # Errors
    /// [`TrustedKeysError`]. A file that cannot be read is not passed over: it may be the
    /// revocation.
    pub fn open(folder: &Path) -> Result<Self, TrustedKeysError> {
        let mut keys = Self {
            folder: folder.to_path_buf(),
            ..Self::default()
        };
        let failed = |source| TrustedKeysError::Folder {
            path: folder.to_path_buf(),
            source,
        };
        let entries = match std::fs::read_dir(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(keys),
            other => other.map_err(failed)?,
        };
        let mut paths = Vec::new();
        for entry in entries {
            paths.push(entry.map_err(failed)?.path());
        }
        paths.retain(|path| path.extension().is_some_and(|e| e == "key"));
        paths.sort();
        if paths.len() > MAX_KEYS {
            return Err(TrustedKeysError::Many {
                path: folder.to_path_buf(),
            });
        }
        let mut read: Vec<(PathBuf, PublicKeyFile)> = Vec::new();
        for path in paths {
            let file = PublicKeyFile::open(&path)?;
            let same = read.iter().find(|(_, known)| known.key == file.key);
            if let Some((first, known)) = same
                && *known != file
            {
                return Err(TrustedKeysError::Twice {
                    first: first.clone(),
                    second: path,
                });
            }
            read.push((path, file));
        }
        keys.keys = read.into_iter().map(|(_, file)| file).collect();
        keys.revoked = revoked(&folder.join(REVOKED))?;
        Ok(keys)
    }

    /// The keys that are trusted and not revoked.
    pub fn keys(&self) -> impl Iterator<Item = &PublicKeyFile> {
        let revoked = |key: &PublicKey| self.revoked.iter().any(|(r, _)| r == key);
        self.keys.iter().filter(move |file| !revoked(&file.key))
    }

    /// Decides about a product that `signer` signed; None: nobody did. The signature itself was
    /// verified when the bundle was opened.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn judge(
        &self,
        signer: Option<&PublicKey>,
        policy: TrustPolicy,
    ) -> Result<Origin, Refusal> {
        let Some(key) = signer else {
            return if policy.allow_unsigned {
                Ok(Origin::Unsigned)
            } else {
                Err(Refusal::Unsigned)
            };
        };
        if let Some((key, reason)) = self.revoked.iter().find(|(r, _)| r == key) {
            return Err(Refusal::Revoked {
                key: *key,
                reason: reason.clone(),
            });
        }
        let Some(file) = self.keys.iter().find(|file| file.key == *key) else {
            return Err(Refusal::Unknown {
                key: *key,
                folder: self.folder.clone(),
            });
        };
        if file.role == Role::Test && !policy.allow_test_keys {
            return Err(Refusal::TestKey {
                name: file.name.clone(),
            });
        }
        Ok(Origin::Signed {
            key: file.name.clone(),
            role: file.role,
        })
    }
}

/// Lines of `KEY` and a reason; `#` begins a comment. No file: nothing is revoked.
fn revoked(path: &Path) -> Result<Vec<(PublicKey, String)>, TrustedKeysError> {
    let text = match short_text(path, MAX_REVOKED) {
        Err(KeyFileError::File { source, .. }) if source.kind() == ErrorKind::NotFound => {
            return Ok(Vec::new());
        }
        other => other?,
    };
    let mut out = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let (key, reason) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        match PublicKey::from_hex(key) {
            Some(key) => out.push((key, reason.trim().to_owned())),
            None => {
                return Err(TrustedKeysError::Revoked {
                    path: path.to_path_buf(),
                    line: at + 1,
                });
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::super::file::SecretKeyFile;
    use super::*;

    fn key(name: &str, role: Role) -> SecretKeyFile {
        SecretKeyFile::generate(name, role).expect("a key")
    }

    #[test]
    fn a_key_file_says_what_was_written_and_is_never_overwritten() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("a.secret");
        let secret = key("plant-7", Role::Test);
        secret.create(&path).expect("written");
        let again = SecretKeyFile::open(&path).expect("read");
        assert_eq!(again.public(), secret.public());
        assert!(matches!(
            secret.create(&path),
            Err(KeyFileError::Exists { .. })
        ));
        let mode = std::os::unix::fs::MetadataExt::mode(&path.metadata().expect("file"));
        assert_eq!(mode & 0o077, 0);
        let error = PublicKeyFile::open(&path)
            .expect_err("a secret")
            .to_string();
        assert!(error.contains("keep it at the desk"), "{error}");
        let public = folder.path().join("a.key");
        secret.public().create(&public).expect("written");
        assert_eq!(PublicKeyFile::open(&public).expect("read"), secret.public());
        let message = b"a bundle";
        let signed = again.sign(message);
        assert!(super::super::verify(&secret.public().key, message, &signed));
        assert!(!super::super::verify(
            &secret.public().key,
            b"another",
            &signed
        ));
    }

    #[test]
    fn wrong_files_are_named_and_not_passed_over() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("x.key");
        let public = key("plant-7", Role::Production).public();
        let good = format!(
            "partgate public key\nname: a\nrole: test\nkey: {}\n",
            public.key
        );
        for (text, part) in [
            ("", "first line"),
            ("partgate public key\nname: a\nrole: test\n", "missing"),
            (&good.replace("test", "boss"), "`boss`"),
            (&good.replace("name: a", "name: a b"), "`a b`"),
            (&good.replace("name: a", "name: a\nname: a"), "twice"),
            (&good.replace("key: ", "key: 0"), "64 hexadecimal"),
            (
                &format!(
                    "partgate public key\nname: a\nrole: test\nkey: 01{:062}\n",
                    0
                ),
                "not an Ed25519",
            ),
            (&"x".repeat(5000), "longer than"),
        ] {
            std::fs::write(&path, text).expect("write");
            let error = TrustedKeys::open(folder.path())
                .expect_err(part)
                .to_string();
            assert!(error.contains(part) && error.contains("x.key"), "{error}");
        }
        std::fs::write(&path, &good).expect("write");
        std::fs::write(folder.path().join(REVOKED), "# none\n\nnonsense\n").expect("write");
        let error = TrustedKeys::open(folder.path())
            .expect_err("list")
            .to_string();
        assert!(error.contains("revoked:3"), "{error}");
        std::fs::write(folder.path().join(REVOKED), "").expect("write");
        std::fs::write(
            folder.path().join("y.key"),
            good.replace("test", "production"),
        )
        .expect("write");
        let error = TrustedKeys::open(folder.path())
            .expect_err("twice")
            .to_string();
        assert!(error.contains("two names or roles"), "{error}");
    }

    #[test]
    fn roles_revocation_and_rotation_decide() {
        let folder = tempfile::tempdir().expect("folder");
        let open = || TrustedKeys::open(folder.path()).expect("keys");
        let strict = TrustPolicy::default();
        let loose = TrustPolicy {
            allow_unsigned: true,
            allow_test_keys: true,
        };
        let none = TrustedKeys::open(&folder.path().join("missing")).expect("no keys");
        let (old, new) = (key("old", Role::Production), key("new", Role::Production));
        let lab = key("lab", Role::Test);
        let public = |k: &SecretKeyFile| k.public().key;
        assert!(matches!(
            none.judge(Some(&public(&old)), loose),
            Err(Refusal::Unknown { .. })
        ));
        for k in [&old, &new, &lab] {
            let name = format!("{}.key", k.public().name);
            k.public().create(&folder.path().join(name)).expect("write");
        }
        for k in [&old, &new] {
            let origin = open().judge(Some(&public(k)), strict).expect("trusted");
            assert_eq!(origin.to_string(), format!("signed by {}", k.public().name));
        }
        assert!(matches!(
            open().judge(Some(&public(&lab)), strict),
            Err(Refusal::TestKey { .. })
        ));
        let origin = open()
            .judge(Some(&public(&lab)), loose)
            .expect("a test line");
        assert_eq!(origin.to_string(), "signed by TEST KEY lab");
        assert_eq!(open().judge(None, strict), Err(Refusal::Unsigned));
        assert_eq!(open().judge(None, loose), Ok(Origin::Unsigned));
        let list = format!("{} lost laptop # 2026\n", public(&old));
        std::fs::write(folder.path().join(REVOKED), list).expect("write");
        let refused = open()
            .judge(Some(&public(&old)), loose)
            .expect_err("revoked");
        assert!(
            refused.to_string().contains("revoked (lost laptop)"),
            "{refused}"
        );
        open()
            .judge(Some(&public(&new)), strict)
            .expect("the new key");
        assert_eq!(open().keys().count(), 2);
    }
}
