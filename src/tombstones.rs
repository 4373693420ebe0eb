//! Names that must not be used again, kept as keyed hashes, so that the list does not tell them.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Keyed hashes of forgotten identities.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tombstones {
    /// Random: equal names have other hashes elsewhere.
    key: [u8; 32],
    hashes: BTreeSet<String>,
    /// Hash of the identity whose erasure has begun and is not complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pending: Option<String>,
}

impl Tombstones {
    /// None yet, with a key of its own.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn new() -> Result<Self> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|e| Error::io("random numbers of the system", std::io::Error::other(e)))?;
        Ok(Self { key, hashes: BTreeSet::new(), pending: None })
    }

    fn hash(&self, identity: &str) -> String {
        blake3::keyed_hash(&self.key, identity.as_bytes()).to_hex().to_string()
    }

    /// True if `identity` was forgotten, or is about to be.
    pub fn contains(&self, identity: &str) -> bool {
        self.hashes.contains(&self.hash(identity))
    }

    /// Adds `identity`.
    pub fn add(&mut self, identity: &str) {
        self.hashes.insert(self.hash(identity));
    }

    /// Adds `identity`, whose erasure begins.
    pub fn begin(&mut self, identity: &str) {
        self.add(identity);
        self.pending = Some(self.hash(identity));
    }

    /// Whether an erasure has begun and is not complete.
    pub fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// The erasure that had begun is complete.
    pub fn complete(&mut self) {
        self.pending = None;
    }

    /// Whether an erasure has begun and is not complete, and if so, whether it is that of `identity`.
    pub fn pending(&self, identity: &str) -> Option<bool> {
        self.pending.as_ref().map(|hash| *hash == self.hash(identity))
    }

    /// What takes the place of the name.
    pub fn placeholder(&self, identity: &str) -> String {
        format!("forgotten-{}", &self.hash(identity)[..8])
    }
}
