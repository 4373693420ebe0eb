//! What should be known of images before hours are spent on them: persons with few, images that stand twice, their sizes.

use crate::manifest::write::Entry;
use serde::Serialize;
use std::collections::BTreeMap;

/// A person with fewer images has few.
const FEW: usize = 5;
/// Images whose shorter side is smaller are small.
const SMALL: u32 = 64;
/// Examples of a finding.
const EXAMPLES: usize = 3;

/// Images of a split.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SplitCount {
    /// Persons.
    pub identities: usize,
    /// Images.
    pub images: usize,
}

/// What should be known of the images.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Findings {
    /// Persons with one image.
    pub single: usize,
    /// Persons with fewer than five.
    pub few: usize,
    /// Images that a person has more than once.
    pub repeated: usize,
    /// Images that several persons share, and examples of the persons.
    pub shared: usize,
    /// See `shared`.
    pub shared_by: Vec<String>,
    /// Shorter sides: smallest, median, largest, in pixels.
    pub sides: Option<[u32; 3]>,
    /// Images with a shorter side below 64 px.
    pub small: usize,
}

/// What a look at an image told.
pub(super) struct Looked {
    /// Start of the hash of its file, or of its pixels.
    pub hash: u64,
    /// Shorter side, in pixels.
    pub side: u32,
}

/// What is known of the images that were seen.
#[derive(Default)]
pub(super) struct Seen {
    persons: BTreeMap<String, u32>,
    /// Persons, in the order in which they were met.
    pub names: Vec<String>,
    images: Vec<usize>,
    splits: BTreeMap<String, BTreeMap<u32, usize>>,
    /// Start of the hash of each image, and its person.
    hashes: Vec<(u64, u32)>,
    /// Number of images by their shorter side.
    sides: BTreeMap<u32, usize>,
}

impl Seen {
    /// Adds a row and what a look at its image told.
    pub fn add(&mut self, entry: &Entry, looked: &Looked) {
        let number = self.names.len() as u32;
        let person = *self.persons.entry(key(&entry.identity, entry.identity_set.as_deref())).or_insert(number);
        if person == number {
            self.names.push(entry.identity.clone());
            self.images.push(0);
        }
        self.images[person as usize] += 1;
        let split = entry.split.clone().unwrap_or_default();
        *self.splits.entry(split).or_default().entry(person).or_default() += 1;
        self.hashes.push((looked.hash, person));
        *self.sides.entry(looked.side).or_default() += 1;
    }

    /// What the images show.
    pub fn findings(&mut self) -> Findings {
        let below = |n: usize| self.images.iter().filter(|images| **images < n).count();
        let mut found = Findings { single: below(2), few: below(FEW), ..Findings::default() };
        self.hashes.sort_unstable();
        for equal in self.hashes.chunk_by(|a, b| a.0 == b.0).filter(|equal| equal.len() > 1) {
            let persons: Vec<u32> = equal.chunk_by(|a, b| a.1 == b.1).map(|own| own[0].1).collect();
            if persons.len() > 1 {
                found.shared += equal.len();
                if found.shared_by.len() < EXAMPLES {
                    let names = persons.iter().take(EXAMPLES).map(|p| self.names[*p as usize].as_str());
                    found.shared_by.push(names.collect::<Vec<_>>().join(" and "));
                }
            } else {
                found.repeated += equal.len() - 1;
            }
        }
        let all = self.hashes.len();
        let mut before = 0;
        let mut middle = 0;
        for (side, n) in &self.sides {
            if before <= all / 2 && all / 2 < before + n {
                middle = *side;
            }
            before += n;
        }
        if let (Some((least, _)), Some((most, _))) = (self.sides.first_key_value(), self.sides.last_key_value()) {
            found.sides = Some([*least, middle, *most]);
        }
        found.small = self.sides.range(..SMALL).map(|(_, n)| n).sum();
        found
    }

    /// Images by split.
    pub fn splits(&self) -> BTreeMap<String, SplitCount> {
        let count =
            |persons: &BTreeMap<u32, usize>| SplitCount { identities: persons.len(), images: persons.values().sum() };
        self.splits.iter().map(|(name, persons)| (name.clone(), count(persons))).collect()
    }
}

/// A person's name, which is unique within an identity set.
pub(super) fn key(identity: &str, identity_set: Option<&str>) -> String {
    identity_set.map_or_else(|| identity.to_owned(), |set| format!("{set}/{identity}"))
}
