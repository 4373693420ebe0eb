//! Which images to synthesize: how many of each existing identity, and new identities from mixed labels.

use super::{Item, Sampling};
use crate::error::{Error, Result};
use crate::seeds::Seeds;
use rand::RngExt;
use rand::seq::SliceRandom;
use std::collections::BTreeSet;
use std::ops::Range;

/// Largest weight of one person in a new identity: above it, the new class shows that person again.
const LARGEST_WEIGHT: f32 = 0.75;

/// How many images of each existing identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// The same number of each.
    PerIdentity(usize),
    /// Up to this many, real ones counted.
    BalanceTo(usize),
}

/// New identities.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NewIdentities {
    /// Number of new identities.
    pub count: usize,
    /// Existing identities mixed into each.
    pub mix: usize,
    /// Sum of their weights: above 1 the mix lies farther out, where persons differ more.
    pub sum: f32,
    /// Images of each.
    pub per_id: usize,
}

/// One identity of the output.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Identity key.
    pub identity: String,
    /// Class number in the output.
    pub label: i64,
    /// Labels of the model and their weights, which sum to 1 for an existing identity.
    pub mix: Vec<(u32, f32)>,
    /// Numbers of the images to make.
    pub indices: Vec<u64>,
}

impl Target {
    /// Its image `index`.
    pub fn item(&self, index: u64) -> Item {
        Item { identity: self.identity.clone(), index, mix: self.mix.clone() }
    }
}

/// All images to make from one model.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Identities in the order of their labels.
    pub targets: Vec<Target>,
    /// How z is drawn.
    pub sampling: Sampling,
}

impl Plan {
    /// Plans the existing identities of a model, numbered from `first_label`.
    ///
    /// `real` is the number of real images of each.
    pub fn existing(
        identities: &[String],
        real: &[usize],
        amount: Amount,
        first_label: i64,
        sampling: Sampling,
    ) -> Self {
        let targets = identities.iter().zip(real).enumerate().map(|(i, (identity, real))| Target {
            identity: identity.clone(),
            label: first_label + i as i64,
            mix: vec![(i as u32, 1.0)],
            indices: match amount {
                Amount::PerIdentity(n) => (0..n as u64).collect(),
                Amount::BalanceTo(n) => (0..n.saturating_sub(*real) as u64).collect(),
            },
        });
        Self { targets: targets.collect(), sampling }
    }

    /// Adds new identities, numbered from `first_label`: labels of distinct identities mixed with weights drawn evenly
    /// from the simplex, none above [`LARGEST_WEIGHT`], times `new.sum`.
    ///
    /// # Errors
    /// More identities are to be mixed than there are.
    pub fn add_new(&mut self, identities: &[String], new: NewIdentities, first_label: i64) -> Result<()> {
        if new.count > 0 && (new.mix < 2 || new.mix > identities.len()) {
            return Err(Error::Usage(format!(
                "option `mix` {} needs at least 2 and at most the {} identities of the set",
                new.mix,
                identities.len()
            )));
        }
        let seeds = Seeds::new(self.sampling.seed);
        let mut known = blake3::Hasher::new();
        known.update(format!("{identities:?} ").as_bytes());
        let alike: BTreeSet<&str> = identities.iter().map(String::as_str).filter(|i| i.starts_with("new-")).collect();
        for i in 0..new.count {
            let mut rng = seeds.stream("new identity", &[i as u64]);
            let mut labels: Vec<u32> = (0..identities.len() as u32).collect();
            let (chosen, _) = labels.partial_shuffle(&mut rng, new.mix);
            let weights = loop {
                // Exponential draws over their sum are even on the simplex.
                let draws: Vec<f32> = chosen.iter().map(|_| -(1.0 - rng.random::<f32>()).ln()).collect();
                let total: f32 = draws.iter().sum();
                let weights: Vec<f32> = draws.iter().map(|d| d / total).collect();
                // Draws that are all 0 give NaN, which fails this too.
                if weights.iter().all(|w| *w <= LARGEST_WEIGHT) {
                    break weights;
                }
            };
            let mix: Vec<(u32, f32)> = chosen.iter().copied().zip(weights.into_iter().map(|w| w * new.sum)).collect();
            // The sources are part of the key: another mix is another person.
            let sources = known.clone().update(format!("{mix:?}").as_bytes()).finalize().to_hex();
            let mut identity = format!("new-{i:06}-{}", &sources[..8]);
            while alike.contains(identity.as_str()) {
                identity.push('_');
            }
            let indices = (0..new.per_id as u64).collect();
            self.targets.push(Target { identity, label: first_label + i as i64, mix, indices });
        }
        Ok(())
    }

    /// Leaves the targets whose places are in `part`.
    pub fn keep(&mut self, part: &Range<usize>) {
        self.targets.truncate(part.end);
        self.targets.drain(..part.start.min(self.targets.len()));
    }

    /// Number of images.
    pub fn images(&self) -> usize {
        self.targets.iter().map(|t| t.indices.len()).sum()
    }

    /// Every image in order.
    pub fn items(&self) -> impl Iterator<Item = (&Target, Item)> {
        self.targets.iter().flat_map(|t| t.indices.iter().map(move |index| (t, t.item(*index))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LatentSource;

    fn plan(amount: Amount) -> Plan {
        let names = ["a", "b", "c"].map(str::to_owned);
        let sampling = Sampling { seed: 1, latent: LatentSource::Prior, truncation: 1.0 };
        Plan::existing(&names, &[4, 10, 0], amount, 5, sampling)
    }

    #[test]
    fn balancing_fills_up() {
        let counts: Vec<usize> = plan(Amount::BalanceTo(6)).targets.iter().map(|t| t.indices.len()).collect();
        assert_eq!(counts, [2, 0, 6]);
        assert_eq!(plan(Amount::PerIdentity(3)).images(), 9);
    }

    #[test]
    fn new_identities_mix_distinct_labels_and_never_clash() {
        let mut p = plan(Amount::PerIdentity(1));
        let names = ["a", "b", "c"].map(str::to_owned);
        p.add_new(&names, NewIdentities { count: 20, mix: 3, sum: 1.3, per_id: 2 }, 8).unwrap();
        let labels: Vec<i64> = p.targets.iter().map(|t| t.label).collect();
        assert_eq!(labels, (5..28).collect::<Vec<_>>());
        for t in &p.targets[3..] {
            let mut ids: Vec<u32> = t.mix.iter().map(|m| m.0).collect();
            ids.sort_unstable();
            assert_eq!(ids, [0, 1, 2]);
            assert!((t.mix.iter().map(|m| m.1).sum::<f32>() - 1.3).abs() < 1e-5);
            assert!(t.mix.iter().all(|m| m.1 <= 1.3 * LARGEST_WEIGHT));
            assert!(!names.contains(&t.identity));
        }
        assert!(p.add_new(&names, NewIdentities { count: 1, mix: 4, sum: 1.3, per_id: 1 }, 28).is_err());
    }
}
