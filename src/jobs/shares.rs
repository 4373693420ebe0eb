//! How images are divided into splits: some splits take whole persons, the others share out the images of each person who is left.

use crate::error::{Error, Result};
use crate::manifest::keys;
use crate::seeds::Seeds;
use rand::seq::SliceRandom;
use rand::{Rng, RngExt};
use std::collections::BTreeMap;
use std::str::FromStr;

/// Word after the share of a split that takes whole persons.
const PERSONS: &str = "@persons";

/// The shares of splits, as `train=0.8,val=0.1,dev=0.1@persons`.
#[derive(Clone, Debug, PartialEq)]
pub struct Shares {
    of_images: Vec<(String, f64)>,
    of_persons: Vec<(String, f64)>,
}

impl FromStr for Shares {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let mut shares = Self { of_images: Vec::new(), of_persons: Vec::new() };
        let mut names = Vec::new();
        for part in text.split(',') {
            let expected = || format!("`{part}`: expected NAME=SHARE or NAME=SHARE{PERSONS}");
            let (name, share) = part.trim().split_once('=').ok_or_else(expected)?;
            let (share, persons) = share.strip_suffix(PERSONS).map_or((share, false), |share| (share, true));
            let share: f64 = share.trim().parse().map_err(|_| expected())?;
            if name.is_empty() || !(share > 0.0 && share <= 1.0) || names.contains(&name) {
                return Err(format!("`{part}`: a split has a name of its own and a share in (0, 1]"));
            }
            names.push(name);
            let of = if persons { &mut shares.of_persons } else { &mut shares.of_images };
            of.push((name.to_owned(), share));
        }
        let sum: f64 = shares.of_images.iter().chain(&shares.of_persons).map(|(_, share)| share).sum();
        if (sum - 1.0).abs() > 1e-6 {
            return Err(format!("shares must sum to 1, these sum to {sum}"));
        }
        if shares.of_images.is_empty() {
            return Err(format!("one split must take images, without {PERSONS}"));
        }
        Ok(shares)
    }
}

/// The split of each image of a person, in their order.
pub(super) struct Division {
    splits: BTreeMap<String, Person>,
    shares: Shares,
    seeds: Seeds,
}

struct Person {
    images: usize,
    /// The split of the whole person.
    whole: Option<usize>,
    /// Splits of the images that are to come, the last one first; none before the first image.
    rest: Option<Vec<u8>>,
}

impl Shares {
    /// Divides persons with these numbers of images.
    ///
    /// # Errors
    /// Too few persons.
    pub(super) fn divide(&self, counts: &BTreeMap<String, usize>, seed: u64) -> Result<Division> {
        let seeds = Seeds::keyed(&[b"splits", &seed.to_le_bytes()]);
        let mut order: Vec<&String> = counts.keys().collect();
        order.sort_by(|a, b| keys::compare(a, b));
        order.shuffle(&mut seeds.stream("persons", &[]));
        let mut whole = BTreeMap::new();
        for (n, (name, share)) in self.of_persons.iter().enumerate() {
            // Two persons are the least that can be told apart.
            let wanted = ((counts.len() as f64 * share).round() as usize).max(2);
            for _ in 0..wanted {
                let person = order.pop().filter(|_| !order.is_empty());
                let person = person.ok_or_else(|| {
                    Error::Usage(format!(
                        "option `split`: {} persons are too few for a split `{name}` of other persons",
                        counts.len()
                    ))
                })?;
                whole.insert(person.clone(), n);
            }
        }
        let person = |(name, images): (&String, &usize)| {
            (name.clone(), Person { images: *images, whole: whole.get(name).copied(), rest: None })
        };
        Ok(Division { splits: counts.iter().map(person).collect(), shares: self.clone(), seeds })
    }

    /// Splits of `images` images of one person in a random order, rounded at random. The first image is of the first split.
    fn of_one(&self, images: usize, rng: &mut impl Rng) -> Vec<u8> {
        let sum: f64 = self.of_images.iter().map(|(_, share)| share).sum();
        let mut splits = Vec::with_capacity(images);
        for (n, (_, share)) in self.of_images.iter().enumerate().skip(1) {
            let wanted = (images as f64 * share / sum + rng.random::<f64>()).floor() as usize;
            let room = (images - splits.len()).saturating_sub(1);
            splits.extend(std::iter::repeat_n(n as u8, wanted.min(room)));
        }
        splits.resize(images, 0);
        splits.shuffle(rng);
        // They are taken from the end; images that turn out to be unusable leave the last ones untaken.
        if let Some(first) = splits.iter().position(|split| *split == 0) {
            splits.swap(first, images - 1);
        }
        splits
    }
}

impl Division {
    /// The split of the next image of `identity`.
    pub fn next(&mut self, identity: &str) -> &str {
        let first = || &self.shares.of_images[0].0;
        let Some(person) = self.splits.get_mut(identity) else { return first() };
        if let Some(whole) = person.whole {
            return &self.shares.of_persons[whole].0;
        }
        let (shares, seeds, images) = (&self.shares, &self.seeds, person.images);
        let rest = person.rest.get_or_insert_with(|| {
            let key = blake3::hash(identity.as_bytes());
            let key: [u8; 8] = std::array::from_fn(|i| key.as_bytes()[i]);
            shares.of_one(images, &mut seeds.stream("images", &[u64::from_le_bytes(key)]))
        });
        let split = rest.pop().unwrap_or(0);
        &self.shares.of_images[usize::from(split)].0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn persons_and_images_are_divided_by_their_shares() {
        let shares: Shares = "train=0.8,val=0.1,dev=0.1@persons".parse().unwrap();
        let counts: BTreeMap<String, usize> = (0..100).map(|i| (format!("p{i}"), 1 + i % 20)).collect();
        let mut division = shares.divide(&counts, 3).unwrap();
        let mut found: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
        for (person, n) in &counts {
            for _ in 0..*n {
                *found.entry(person.clone()).or_default().entry(division.next(person).to_owned()).or_default() += 1;
            }
        }
        let dev = found.values().filter(|splits| splits.contains_key("dev")).count();
        assert_eq!(dev, 10);
        for (person, splits) in &found {
            if splits.contains_key("dev") {
                assert_eq!(splits.len(), 1);
                continue;
            }
            let val = splits.get("val").copied().unwrap_or(0);
            assert!(
                splits["train"] >= 1 && (val as f64 - counts[person] as f64 / 9.0).abs() < 1.0,
                "{person}: {splits:?}"
            );
        }
        // The same again, and others with another seed.
        let persons = |seed: u64| {
            let mut division = shares.divide(&counts, seed).unwrap();
            counts.keys().filter(|p| division.next(p) == "dev").cloned().collect::<Vec<_>>()
        };
        assert!(persons(3) == persons(3) && persons(3) != persons(4));
    }

    #[test]
    fn what_is_no_division_is_refused() {
        let refused = |text: &str| text.parse::<Shares>().unwrap_err();
        assert!(refused("train=0.8").contains("sum to 1"));
        assert!(refused("train").contains("expected NAME=SHARE"));
        assert!(refused("train=0.5,train=0.5").contains("name of its own"));
        assert!(refused("dev=1@persons").contains("must take images"));
        let few = "train=0.5,dev=0.5@persons".parse::<Shares>().unwrap();
        assert!(few.divide(&BTreeMap::from([("a".into(), 1), ("b".into(), 2)]), 0).is_err());
    }
}
