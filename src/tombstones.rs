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
    /// Class names of new identities that it is mixed into, until then.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pending_classes: BTreeSet<String>,
    /// Those of datasets that this one was made from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    inherited: Vec<Self>,
}

impl Tombstones {
    /// None yet, with a key of its own.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn new() -> Result<Self> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|e| Error::io("random numbers of the system", std::io::Error::other(e)))?;
        Ok(Self {
            key,
            hashes: BTreeSet::new(),
            pending: None,
            pending_classes: BTreeSet::new(),
            inherited: Vec::new(),
        })
    }

    fn hash(&self, identity: &str) -> String {
        blake3::keyed_hash(&self.key, identity.as_bytes()).to_hex().to_string()
    }

    /// True if `identity` was forgotten, or is about to be.
    pub fn contains(&self, identity: &str) -> bool {
        self.hashes.contains(&self.hash(identity)) || self.inherited.iter().any(|other| other.contains(identity))
    }

    /// Adds all names that `other` has.
    pub fn inherit(&mut self, other: &Self) {
        if other.key == self.key {
            self.hashes.extend(other.hashes.iter().cloned());
        } else if let Some(known) = self.inherited.iter_mut().find(|known| known.key == other.key) {
            known.hashes.extend(other.hashes.iter().cloned());
        } else {
            let hashes = other.hashes.clone();
            self.inherited.push(Self { hashes, pending: None, pending_classes: BTreeSet::new(), ..other.clone() });
            // Each list once, whatever it was inherited through.
            let below = self.inherited.last_mut().map(|last| std::mem::take(&mut last.inherited)).unwrap_or_default();
            below.iter().for_each(|list| self.inherit(list));
            return;
        }
        other.inherited.iter().for_each(|list| self.inherit(list));
    }

    /// Adds `identity`.
    pub fn add(&mut self, identity: &str) {
        self.hashes.insert(self.hash(identity));
    }

    /// Adds `identity`, whose erasure begins, and with it that of the new identities whose classes are `classes`.
    pub fn begin(&mut self, identity: &str, classes: BTreeSet<String>) {
        self.add(identity);
        self.pending = Some(self.hash(identity));
        self.pending_classes = classes;
    }

    /// Classes of new identities whose erasure has begun and is not complete.
    pub fn pending_classes(&self) -> &BTreeSet<String> {
        &self.pending_classes
    }

    /// Whether an erasure has begun and is not complete.
    pub fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// The erasure that had begun is complete.
    pub fn complete(&mut self) {
        self.pending = None;
        self.pending_classes.clear();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_of_a_dataset_forgets_whom_it_forgot() {
        let mut lists = [(); 3].map(|()| Tombstones::new().unwrap());
        lists.iter_mut().zip(["a", "b", "c"]).for_each(|(list, name)| list.add(name));
        let [mut a, mut b, c] = lists;
        b.inherit(&c);
        a.inherit(&b);
        a.inherit(&b);
        assert!(["a", "b", "c"].iter().all(|name| a.contains(name)) && !a.contains("d") && !b.contains("a"));
        assert_eq!(a.inherited.len(), 2);
        let read: Tombstones = serde_json::from_str(&serde_json::to_string(&a).unwrap()).unwrap();
        assert!(read.contains("c"));
    }
}
