//! What the outcomes of a comparison say: each arm's figures over seeds, and its gain over the baseline.

use super::comparison::{Arm, Run};
use super::statistics::{self, Summary};
use serde::Serialize;
use std::collections::BTreeMap;

/// The figures of one arm over all seeds, beside the baseline's.
#[derive(Clone, Debug, Serialize)]
pub struct ArmResult {
    /// What its recognisers are trained on.
    pub arm: Arm,
    /// What it was trained on, in words.
    pub description: String,
    /// Accuracy of verification.
    pub accuracy: Summary,
    /// Other figures of verification and identification.
    pub figures: BTreeMap<String, Summary>,
    /// Gain against the baseline; none for the baseline.
    pub gain: Option<Gain>,
    /// Gain of an arm with synthetic images against the control whose accuracy is highest, the baseline among them.
    pub over_control: Option<(Arm, Gain)>,
    /// Mean time of a training, in seconds.
    pub seconds: f64,
}

/// Difference of accuracy to the baseline of the same seed.
#[derive(Clone, Debug, Serialize)]
pub struct Gain {
    /// Mean over seeds, as a fraction.
    pub accuracy_gain: f64,
    /// The difference of each seed.
    pub by_seed: Vec<f64>,
    /// 95 % interval over paired seeds (Student's t); none with a single seed.
    pub ci95_seeds: Option<(f64, f64)>,
    /// 95 % interval over pairs of images (bootstrap of differences averaged over seeds).
    pub ci95_pairs: (f64, f64),
    /// 95 % interval over both, other seeds tested on other pairs (with a single seed over pairs alone); none with fewer than
    /// 30 pairs.
    pub ci95: Option<(f64, f64)>,
}

/// The arms with synthetic images whose gain was measured.
pub fn gained(arms: &[ArmResult]) -> impl Iterator<Item = (&ArmResult, &Gain)> {
    arms.iter().filter(|a| a.arm.is_synthetic()).filter_map(|a| Some((a, a.gain.as_ref()?)))
}

/// The one of them that stands best: they compare by the lower ends of their intervals.
pub fn best(arms: &[ArmResult]) -> Option<(&ArmResult, &Gain)> {
    gained(arms).max_by(|a, b| a.1.interval().0.total_cmp(&b.1.interval().0))
}

impl Gain {
    /// Its 95 % interval; everything, where too few pairs say nothing.
    pub fn interval(&self) -> (f64, f64) {
        self.ci95.unwrap_or((f64::NEG_INFINITY, f64::INFINITY))
    }

    /// From the difference of each seed, and that of each seed on each pair of images.
    pub fn new(by_seed: Vec<f64>, differences: &[Vec<f64>]) -> Self {
        let gain = statistics::summary(&by_seed).mean;
        let half = statistics::crossed_half_width(differences);
        Self {
            accuracy_gain: gain,
            ci95_seeds: statistics::t_interval(&by_seed),
            ci95_pairs: statistics::bootstrap_interval(&statistics::column_means(differences)),
            ci95: half.map(|half| (gain - half, gain + half)),
            by_seed,
        }
    }
}

/// One figure of an outcome.
type Figure = fn(&Run) -> Option<f64>;

/// Summarises `runs`: an entry for each arm, in their order, with gains against [`Arm::Real`].
pub fn summarise(runs: &[Run]) -> Vec<ArmResult> {
    let of = |arm: Arm| -> Vec<&Run> { runs.iter().filter(|r| r.arm == arm).collect() };
    let baseline = of(Arm::Real);
    let accuracy = |arm: Arm| {
        let own = of(arm);
        own.iter().map(|r| r.verification.accuracy).sum::<f64>() / own.len().max(1) as f64
    };
    let controls = [Arm::Real, Arm::Repeats, Arm::Composite].into_iter().filter(|a| !of(*a).is_empty());
    let strongest = controls.max_by(|a, b| accuracy(*a).total_cmp(&accuracy(*b)));
    let arms: Vec<Arm> = Arm::ALL.into_iter().filter(|a| !of(*a).is_empty()).collect();
    arms.into_iter()
        .map(|arm| {
            let own = of(arm);
            let over = |f: &dyn Fn(&Run) -> Option<f64>| {
                let values: Vec<f64> = own.iter().filter_map(|r| f(r)).collect();
                (!values.is_empty()).then(|| statistics::summary(&values))
            };
            let figure: [(&str, Figure); 6] = [
                ("tar_at_far_1e2", |r| Some(r.verification.tar_at_far_1e2)),
                ("tar_at_far_1e3", |r| Some(r.verification.tar_at_far_1e3)),
                ("eer", |r| Some(r.verification.eer)),
                ("auc", |r| Some(r.verification.auc)),
                ("rank1", |r| r.rank1),
                ("rank5", |r| r.rank5),
            ];
            let figures = figure.into_iter().filter_map(|(name, f)| Some((name.to_owned(), over(&f)?))).collect();
            let accuracies: Vec<f64> = own.iter().map(|r| r.verification.accuracy).collect();
            ArmResult {
                arm,
                description: arm.description().into(),
                accuracy: statistics::summary(&accuracies),
                figures,
                gain: if arm == Arm::Real { None } else { gain(&own, &baseline) },
                over_control: strongest
                    .filter(|_| arm.is_synthetic())
                    .and_then(|control| Some((control, gain(&own, &of(control))?))),
                seconds: own.iter().map(|r| r.seconds).sum::<f64>() / own.len() as f64,
            }
        })
        .collect()
}

/// Gain of `runs` over the baseline's of the same seeds.
fn gain(runs: &[&Run], baseline: &[&Run]) -> Option<Gain> {
    let paired = paired(runs, baseline);
    let by_seed = paired.iter().map(|(r, b)| r.verification.accuracy - b.verification.accuracy).collect();
    let pairs: Vec<usize> = (0..paired.first()?.0.verification.correct.len()).collect();
    Some(Gain::new(by_seed, &differences(&paired, &pairs)))
}

/// Each of `runs` with the baseline's of its seed.
pub(super) fn paired<'a>(runs: &[&'a Run], baseline: &[&'a Run]) -> Vec<(&'a Run, &'a Run)> {
    runs.iter().filter_map(|r| Some((*r, *baseline.iter().find(|b| b.seed == r.seed)?))).collect()
}

/// For each seed, how much more often each of `pairs` is decided right than by the baseline: 1, 0 or -1.
pub(super) fn differences(paired: &[(&Run, &Run)], pairs: &[usize]) -> Vec<Vec<f64>> {
    let right = |r: &Run, pair: usize| f64::from(u8::from(r.verification.correct[pair]));
    paired.iter().map(|(r, b)| pairs.iter().map(|i| right(r, *i) - right(b, *i)).collect()).collect()
}
