//! What should be known of images before hours are spent on them: persons with few, images that stand twice, their sizes.

use crate::dataset::IdentityDataset;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use unicode_normalization::UnicodeNormalization;

/// A person with fewer images has few.
const FEW: usize = 5;
/// Images that show fewer pixels from edge to edge are small.
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
    /// Persons.
    pub persons: usize,
    /// Persons with one image.
    pub single: usize,
    /// Persons with fewer than five.
    pub few: usize,
    /// Images that a person has more than once.
    pub repeated: usize,
    /// Images of a person that stand in several splits.
    pub across: usize,
    /// Images that several persons share, and examples of the persons.
    pub shared: usize,
    /// See `shared`.
    pub shared_by: Vec<String>,
    /// Examples of persons whose keys differ in capital letters, blanks or the way accents are written alone.
    pub alike: Vec<String>,
    /// Sides of what is shown of images, in their pixels: smallest, median, largest.
    pub sides: Option<[u32; 3]>,
    /// Images of which less than 64 px are shown.
    pub small: usize,
    /// Photographs in which no face was found; they are left out.
    pub faceless: usize,
    /// Photographs with several faces, one of which was taken.
    pub several: usize,
}

impl Findings {
    /// What the numbers of images of persons tell.
    pub(super) fn of_counts(counts: &(impl Iterator<Item = usize> + Clone)) -> Self {
        let below = |n: usize| counts.clone().filter(|images| *images < n).count();
        Self { persons: counts.clone().count(), single: below(2), few: below(FEW), ..Self::default() }
    }

    /// What should be known, in sentences.
    pub fn in_words(&self) -> Vec<String> {
        let sides = self.sides.map(|[least, middle, most]| format!("sides {least} to {most} px, median {middle}"));
        let notes = [
            (self.few - self.single, "person has", "persons have", "two to four images: theirs will vary little"),
            (self.small, "image shows", "images show", "less than 64 px: what it lacks, synthetic ones will lack too"),
            (self.faceless, "photograph shows", "photographs show", "no face: left out"),
            (
                self.several,
                "photograph shows",
                "photographs show",
                "several faces: the largest near the middle is taken",
            ),
        ];
        sides.into_iter().chain(counted(&notes)).chain(self.warnings()).collect()
    }

    /// What will spoil whatever is made of the images, and how, in sentences.
    pub fn warnings(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.persons == 1 {
            lines.push("all images show one person: nothing tells what makes a face this person's, and no recogniser gains by it".into());
        }
        if let Some(first) = self.alike.first() {
            lines.push(format!(
                "keys differ in capital letters, blanks or the way accents are written alone, such as {first}: they count as different persons"
            ));
        }
        lines.extend(counted(&[
            (
                self.single,
                "person has",
                "persons have",
                "one image: nothing tells pose and light from the face, synthetic images will vary as those of others do, and no judge can be \
                 tested on it",
            ),
            (self.across, "image stands", "images stand", "in two splits: a test on what was learned from means nothing"),
            (self.repeated, "image is", "images are", "the same as another of the same person: it teaches nothing new"),
        ]));
        if self.shared > 0 {
            lines.push(format!(
                "{} images are shared by several persons, such as {}: one label of each is wrong, and their synthetic images will look alike",
                self.shared,
                self.shared_by.join("; ")
            ));
        }
        lines
    }
}

/// Sentences about what there is at all.
fn counted(notes: &[(usize, &str, &str, &str)]) -> Vec<String> {
    let there = notes.iter().filter(|(n, ..)| *n > 0);
    there.map(|(n, one, many, what)| format!("{n} {} {what}", if *n == 1 { one } else { many })).collect()
}

/// What a look at an image told.
pub(super) struct Looked {
    /// Start of the hash of its file, or of its pixels.
    hash: u64,
    /// Side of what is shown of it, in its pixels.
    side: Option<u32>,
    /// Faces in it, where they were looked for.
    faces: usize,
}

impl Looked {
    /// A look at `bytes`, a file or its pixels.
    pub fn at(bytes: &[u8], side: Option<u32>, faces: usize) -> Self {
        let hash = blake3::hash(bytes);
        let start: [u8; 8] = std::array::from_fn(|i| hash.as_bytes()[i]);
        Self { hash: u64::from_le_bytes(start), side, faces }
    }
}

/// What is known of the images that were seen.
#[derive(Default)]
pub(super) struct Seen {
    persons: BTreeMap<String, u32>,
    /// Persons, in the order in which they were met.
    pub names: Vec<String>,
    images: Vec<usize>,
    splits: BTreeMap<String, BTreeMap<u32, usize>>,
    /// Start of the hash of each image, its identity set, its person and its split.
    hashes: Vec<(u64, u32, u32, u32)>,
    sets: BTreeMap<String, u32>,
    split_numbers: BTreeMap<String, u32>,
    /// Number of images by their side.
    sides: BTreeMap<u32, usize>,
    several: usize,
}

impl Seen {
    /// Adds an image of `identity`, whose `set` and `split` may have no name, and what a look at it told; the number of the person.
    pub fn add(&mut self, identity: &str, set: Option<&str>, split: Option<&str>, looked: &Looked) -> u32 {
        let number = self.names.len() as u32;
        let person = *self.persons.entry(key(identity, set)).or_insert(number);
        if person == number {
            self.names.push(identity.to_owned());
            self.images.push(0);
        }
        self.images[person as usize] += 1;
        *self.splits.entry(split.unwrap_or_default().to_owned()).or_default().entry(person).or_default() += 1;
        let set = numbered(&mut self.sets, set.unwrap_or_default());
        let split = numbered(&mut self.split_numbers, split.unwrap_or_default());
        self.hashes.push((looked.hash, set, person, split));
        if let Some(side) = looked.side {
            *self.sides.entry(side).or_default() += 1;
        }
        self.several += usize::from(looked.faces > 1);
        person
    }

    /// Adds the images of a set, as networks see them.
    pub fn add_all(&mut self, set: &str, images: &IdentityDataset) {
        for (i, label) in images.labels().iter().enumerate() {
            self.add(&images.identities()[*label as usize], Some(set), None, &Looked::at(images.image(i), None, 1));
        }
    }

    /// What the images show.
    pub fn findings(&mut self) -> Findings {
        let mut found = Findings { several: self.several, ..Findings::of_counts(&self.images.iter().copied()) };
        let mut alike: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
        for name in &self.names {
            alike.entry(name.trim().nfkc().collect::<String>().to_lowercase()).or_default().insert(name);
        }
        let alike = alike.into_values().filter(|names| names.len() > 1);
        found.alike = alike
            .map(|names| format!("`{}`", names.into_iter().collect::<Vec<_>>().join("` and `")))
            .take(EXAMPLES)
            .collect();
        self.hashes.sort_unstable();
        // What persons of two sets share is no fault: a model knows one set.
        for equal in self.hashes.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)).filter(|equal| equal.len() > 1) {
            let persons: Vec<u32> = equal.chunk_by(|a, b| a.2 == b.2).map(|own| own[0].2).collect();
            let splits: BTreeSet<u32> = equal.iter().map(|image| image.3).collect();
            if persons.len() > 1 {
                found.shared += equal.len();
                if found.shared_by.len() < EXAMPLES {
                    let names = persons.iter().take(EXAMPLES).map(|p| self.names[*p as usize].as_str());
                    found.shared_by.push(names.collect::<Vec<_>>().join(" and "));
                }
            } else {
                found.across += splits.len() - 1;
                found.repeated += equal.len() - splits.len();
            }
        }
        let all: usize = self.sides.values().sum();
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

/// The number of `name`: the next one, if it is new.
fn numbered(numbers: &mut BTreeMap<String, u32>, name: &str) -> u32 {
    let next = numbers.len() as u32;
    match numbers.get(name) {
        Some(number) => *number,
        None => *numbers.entry(name.to_owned()).or_insert(next),
    }
}

/// A person's name, which is unique within an identity set.
pub(super) fn key(identity: &str, identity_set: Option<&str>) -> String {
    identity_set.map_or_else(|| identity.to_owned(), |set| format!("{set}/{identity}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_look_the_same_are_told() {
        let mut seen = Seen::default();
        // The accent within the letter, as Linux writes it, and apart, as macOS does.
        for name in ["Andr\u{e9}", "Andre\u{301}", "Ann", "ann ", "Bob"] {
            seen.add(name, None, None, &Looked::at(name.as_bytes(), None, 1));
        }
        let found = seen.findings();
        assert_eq!(found.alike, ["`Andre\u{301}` and `Andr\u{e9}`", "`Ann` and `ann `"]);
        assert!(found.warnings()[0].contains("they count as different persons"), "{:?}", found.warnings());
    }
}
