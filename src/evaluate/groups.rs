//! Accuracy and gain by group of persons, where the images of the test name groups.

use super::comparison::{Arm, Run};
use super::gain::{Gain, differences, paired};
use super::statistics::{Summary, summary};
use crate::formats::pairs::PairSet;
use serde::Serialize;
use std::collections::BTreeMap;

/// What verification says of the pairs within one group, with the thresholds of all pairs.
#[derive(Clone, Debug, Serialize)]
pub struct GroupResult {
    /// Its name.
    pub group: String,
    /// Pairs of two images of it.
    pub pairs: usize,
    /// Those of one person.
    pub genuine: usize,
    /// The arms, in the order of a report.
    pub arms: Vec<GroupArm>,
}

/// One arm on the pairs of one group.
#[derive(Clone, Debug, Serialize)]
pub struct GroupArm {
    /// What its recognisers are trained on.
    pub arm: Arm,
    /// Share of right decisions, over seeds.
    pub accuracy: Summary,
    /// Gain against the baseline; none for the baseline.
    pub gain: Option<Gain>,
}

/// The groups of `test` that have pairs, in the order of their names.
pub fn by_group(runs: &[Run], test: &PairSet) -> Vec<GroupResult> {
    let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    let group = |image: usize| test.images.group(test.images.labels()[image]);
    for (i, pair) in test.pairs.iter().enumerate() {
        if let Some(name) = group(pair.left).filter(|g| group(pair.right) == Some(*g)) {
            groups.entry(name).or_default().push(i);
        }
    }
    let result = |(name, pairs): (&str, Vec<usize>)| GroupResult {
        group: name.to_owned(),
        pairs: pairs.len(),
        genuine: pairs.iter().filter(|i| test.pairs[**i].is_same).count(),
        arms: Arm::ALL.into_iter().filter_map(|arm| on(arm, runs, &pairs)).collect(),
    };
    groups.into_iter().map(result).collect()
}

/// `arm` on `pairs`, if it was trained.
fn on(arm: Arm, runs: &[Run], pairs: &[usize]) -> Option<GroupArm> {
    let of = |arm: Arm| -> Vec<&Run> { runs.iter().filter(|r| r.arm == arm).collect() };
    let accuracy = |r: &Run| pairs.iter().filter(|i| r.verification.correct[**i]).count() as f64 / pairs.len() as f64;
    let own = of(arm);
    let paired = paired(&own, &of(Arm::Real));
    let gain = (arm != Arm::Real && !paired.is_empty()).then(|| {
        let by_seed = paired.iter().map(|(r, b)| accuracy(r) - accuracy(b)).collect();
        Gain::new(by_seed, &differences(&paired, pairs))
    });
    let accuracies: Vec<f64> = own.iter().map(|r| accuracy(r)).collect();
    (!own.is_empty()).then(|| GroupArm { arm, accuracy: summary(&accuracies), gain })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::IdentityDataset;
    use crate::evaluate::verification::judge;

    #[test]
    fn each_group_has_the_pairs_within_it() {
        // Four persons of two images; the first two are of one group, the last has none.
        let labels = (0..8).map(|i| i / 2).collect();
        let names = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
        let groups = [("a", "young"), ("b", "young"), ("c", "old")].map(|(n, g)| (n.to_owned(), g.to_owned()));
        let images = IdentityDataset::new(1, vec![0; 8 * 3], labels, names).unwrap().with_groups(groups.into());
        let test = PairSet::draw("test", images, 100).unwrap();
        // Decides every pair right, or those of one person wrong where the first image is below `wrong`.
        let run = |arm: Arm, seed: u64, wrong: usize| {
            let distance = |p: &crate::formats::pairs::Pair| match (p.is_same, p.left < wrong) {
                (true, true) => 3.5,
                (true, false) => 0.5,
                _ => 3.0,
            };
            let verification = judge(&test.pairs.iter().map(distance).collect::<Vec<_>>(), &test.pairs);
            let (key, curve) = (String::new(), Vec::new());
            Run { key, arm, seed, verification, rank1: None, rank5: None, curve, seconds: 0.0 }
        };
        let runs = [(Arm::Real, 2), (Arm::New, 0)].map(|(arm, wrong)| (0..2).map(move |s| (arm, s, wrong)));
        let runs: Vec<Run> = runs.into_iter().flatten().map(|(arm, seed, wrong)| run(arm, seed, wrong)).collect();
        let found = by_group(&runs, &test);
        assert_eq!(found.iter().map(|g| (g.group.as_str(), g.genuine)).collect::<Vec<_>>(), [("old", 1), ("young", 2)]);
        let young = &found[1];
        assert_eq!(young.arms.iter().map(|a| a.arm).collect::<Vec<_>>(), [Arm::Real, Arm::New]);
        let share = 1.0 / young.pairs as f64;
        assert!((young.arms[0].accuracy.mean - (1.0 - share)).abs() < 1e-12, "{found:?}");
        assert!((young.arms[1].gain.as_ref().unwrap().accuracy_gain - share).abs() < 1e-12);
        assert!(found[0].arms[1].gain.as_ref().unwrap().accuracy_gain.abs() < 1e-12);
    }
}
