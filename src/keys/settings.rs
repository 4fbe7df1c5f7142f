//! `[trust]`: which products a line accepts.

use super::trusted::TrustPolicy;
use crate::settings::kind::{flag, path};
use crate::settings::section;
use std::path::PathBuf;

section! {
    /// `[trust]`: whose products the line accepts.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct TrustSettings, read as TrustRead in "trust" {
        /// The folder of trusted public keys and of the revocation list.
        keys: PathBuf = "keys", path("a folder"), default "/etc/partgate/keys";
        /// Products that nobody signed are accepted. Every output says so.
        allow_unsigned: bool = "allow_unsigned", flag(), default false;
        /// Products that a test key signed are accepted. Every output says so.
        allow_test_keys: bool = "allow_test_keys", flag(), default false;
    }
}

impl TrustSettings {
    /// What is accepted besides production keys.
    pub fn policy(&self) -> TrustPolicy {
        TrustPolicy {
            allow_unsigned: self.allow_unsigned,
            allow_test_keys: self.allow_test_keys,
        }
    }
}
