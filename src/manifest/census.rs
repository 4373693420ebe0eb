//! What a manifest holds, counted without looking at pictures.

use super::{Manifest, Place};
use crate::error::Result;
use std::collections::{BTreeMap, BTreeSet};

/// What a manifest holds: images per (identity set, split, identity), without looking at pictures.
#[derive(Clone, Debug, Default)]
pub struct Census {
    /// Number of images by (set, split, identity); no split is the empty string.
    pub images: BTreeMap<(String, String, String), usize>,
    /// Number of rows without identity by (set, split).
    pub unlabelled: BTreeMap<(String, String), usize>,
    /// The row groups that hold rows of a set; those without identity are of no set.
    places: BTreeMap<Option<String>, BTreeSet<Place>>,
}

impl Census {
    /// Counts the rows of `manifest`.
    ///
    /// # Errors
    /// A file is damaged.
    pub fn take(manifest: &Manifest) -> Result<Self> {
        let mut census = Self::default();
        manifest.read(false, |rows| {
            for row in rows {
                let set = row.set().to_owned();
                let of_set = row.identity.is_some().then(|| set.clone());
                if !census.places.get(&of_set).is_some_and(|known| known.contains(&row.place)) {
                    census.places.entry(of_set).or_default().insert(row.place);
                }
                let split = row.split.unwrap_or_default();
                match row.identity {
                    None => *census.unlabelled.entry((set, split)).or_default() += 1,
                    Some(identity) => *census.images.entry((set, split, identity)).or_default() += 1,
                }
            }
            Ok(())
        })?;
        Ok(census)
    }

    /// That of images whose rows are known: their numbers by (set, split, identity), and the row groups of each set.
    pub fn known(
        images: BTreeMap<(String, String, String), usize>,
        places: impl IntoIterator<Item = (String, BTreeSet<Place>)>,
    ) -> Self {
        let places = places.into_iter().map(|(set, places)| (Some(set), places)).collect();
        Self { images, unlabelled: BTreeMap::new(), places }
    }

    /// The row groups with rows of `sets`, and with those that have no identity if `unlabelled`.
    pub fn places(&self, sets: &[String], unlabelled: bool) -> BTreeSet<Place> {
        let none = unlabelled.then(|| self.places.get(&None)).flatten();
        let of = |set: &String| self.places.get(&Some(set.clone()));
        sets.iter().filter_map(of).chain(none).flatten().copied().collect()
    }

    /// Names of the splits, without the empty one.
    pub fn splits(&self) -> BTreeSet<&str> {
        self.images.keys().map(|(_, s, _)| s.as_str()).filter(|s| !s.is_empty()).collect()
    }

    /// Names of the identity sets that have rows in `split`.
    pub fn sets(&self, split: Option<&str>) -> BTreeSet<String> {
        let chosen = self.images.keys().filter(|(_, s, _)| split.is_none_or(|want| want == s));
        chosen.map(|(set, _, _)| set.clone()).collect()
    }
}
