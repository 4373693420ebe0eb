//! Whose images an evaluation has seen: `_EVALUATION.json`, written before anything is trained, so that a person can be forgotten there.

use crate::error::{Error, Result};
use crate::evaluate::comparison::Material;
use crate::store;
use crate::tombstones::Tombstones;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeSet;
use std::path::Path;

/// Its name in the folder of an evaluation.
pub(super) const SEEN: &str = "_EVALUATION.json";

/// Persons of whom an evaluation holds pictures or weights, and those of whom it held some.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Seen {
    version: u32,
    identities: BTreeSet<String>,
    forgotten: Option<Tombstones>,
}

impl Seen {
    /// Those of the evaluation in `dir`; nobody where there is none.
    ///
    /// # Errors
    /// `Damaged`.
    pub fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(SEEN);
        let Some(object) = store::read_sealed(&path)? else { return Ok(Self { version: 1, ..Self::default() }) };
        serde_json::from_value(object).map_err(|_| Error::Damaged { path, what: "it is no list of identities".into() })
    }

    /// Adds the persons of `material` to those that `dir` has seen.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn add(dir: &Path, material: &Material) -> Result<()> {
        let mut seen = Self::read(dir)?;
        let Material { real, held_out, test, .. } = material;
        let images = [Some(real), held_out.as_ref(), Some(&test.images)];
        seen.identities.extend(images.into_iter().flatten().flat_map(|i| i.identities().to_vec()));
        store::write_sealed(&dir.join(SEEN), &json!(seen))
    }

    /// True if something of `identity` is there.
    pub fn contains(&self, identity: &str) -> bool {
        self.identities.contains(identity)
    }

    /// True if something of `identity` was there.
    pub fn forgot(&self, identity: &str) -> bool {
        self.forgotten.as_ref().is_some_and(|t| t.contains(identity))
    }

    /// Writes down that nothing of anybody is left in `dir`, which was emptied for `identity`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn forget(self, dir: &Path, identity: &str) -> Result<()> {
        let mut forgotten = self.forgotten.map_or_else(Tombstones::new, Ok)?;
        forgotten.add(identity);
        let seen = Self { forgotten: Some(forgotten), identities: BTreeSet::new(), ..self };
        store::write_sealed(&dir.join(SEEN), &json!(seen))
    }
}
