//! Verification: are two images of the same person? Accuracy by ten folds as insightface evaluates LFW, and what the ROC
//! curve says.

use crate::formats::pairs::{FOLDS, Pair};
use crate::recogniser::{Embeddings, dot};
use serde::{Deserialize, Serialize};

/// Name of the protocol, which every result carries.
pub const PROTOCOL: &str = "lfw-10fold-flip";
/// Candidate thresholds: squared distances 0, 0.01 .. 3.99.
const THRESHOLDS: usize = 400;
/// Points of a stored ROC curve, at most.
const ROC_POINTS: usize = 200;

/// Figures of one recogniser on one list of pairs. All are fractions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verification {
    /// [`PROTOCOL`].
    pub protocol: String,
    /// Number of pairs.
    pub pairs: usize,
    /// Mean accuracy over the folds.
    pub accuracy: f64,
    /// Deviation of the accuracy over the folds.
    pub accuracy_deviation: f64,
    /// Share of genuine pairs accepted where at most 1 % of the impostors are.
    pub tar_at_far_1e2: f64,
    /// Share of genuine pairs accepted where at most 0.1 % of the impostors are.
    pub tar_at_far_1e3: f64,
    /// Error rate where false acceptances and false rejections are equally many.
    pub eer: f64,
    /// Area under the ROC curve.
    pub auc: f64,
    /// Points (false acceptance rate, true acceptance rate) of the ROC curve.
    pub roc: Vec<(f64, f64)>,
    /// For each pair, whether the threshold of the other folds decides it right.
    pub correct: Vec<bool>,
}

/// The squared L2 distance of two embeddings, in [0, 4].
fn squared_l2(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum()
}

/// Verifies `pairs` of images with `embeddings`.
pub fn test_pairs(embeddings: &Embeddings, pairs: &[Pair]) -> Verification {
    let distance = |p: &Pair| squared_l2(embeddings.row(p.left), embeddings.row(p.right));
    let distances: Vec<f64> = pairs.iter().map(distance).collect();
    judge(&distances, pairs)
}

/// Verifies `pairs` by their squared distances.
pub fn judge(distances: &[f64], pairs: &[Pair]) -> Verification {
    let mut correct = vec![false; pairs.len()];
    let mut accuracies = Vec::new();
    for fold in 0..FOLDS {
        let tested = |p: &Pair| p.fold == fold;
        let right = |threshold: f64, i: usize| (distances[i] < threshold) == pairs[i].is_same;
        let trained: Vec<usize> = (0..pairs.len()).filter(|i| !tested(&pairs[*i])).collect();
        let mut best = (0, 0.0);
        for step in 0..THRESHOLDS {
            let threshold = step as f64 * 0.01;
            let hits = trained.iter().filter(|i| right(threshold, **i)).count();
            // The first of equally good thresholds.
            if hits > best.0 || step == 0 {
                best = (hits, threshold);
            }
        }
        let own: Vec<usize> = (0..pairs.len()).filter(|i| tested(&pairs[*i])).collect();
        own.iter().for_each(|i| correct[*i] = right(best.1, *i));
        if !own.is_empty() {
            accuracies.push(own.iter().filter(|i| correct[**i]).count() as f64 / own.len() as f64);
        }
    }
    let n = accuracies.len().max(1) as f64;
    let accuracy = accuracies.iter().sum::<f64>() / n;
    let deviation = (accuracies.iter().map(|a| (a - accuracy).powi(2)).sum::<f64>() / n).sqrt();
    let curve = roc(distances, pairs);
    let tar = |far: f64| curve.iter().filter(|p| p.0 <= far).map(|p| p.1).fold(0.0, f64::max);
    Verification {
        protocol: PROTOCOL.into(),
        pairs: pairs.len(),
        accuracy,
        accuracy_deviation: deviation,
        tar_at_far_1e2: tar(1e-2),
        tar_at_far_1e3: tar(1e-3),
        eer: equal_error_rate(&curve),
        auc: curve.windows(2).map(|w| (w[1].0 - w[0].0) * (w[0].1 + w[1].1) / 2.0).sum(),
        roc: thinned(&curve),
        correct,
    }
}

/// (false acceptance rate, true acceptance rate) for every threshold between two distances, from (0, 0) to (1, 1).
fn roc(distances: &[f64], pairs: &[Pair]) -> Vec<(f64, f64)> {
    let mut order: Vec<usize> = (0..pairs.len()).collect();
    order.sort_by(|a, b| distances[*a].total_cmp(&distances[*b]));
    let genuine = pairs.iter().filter(|p| p.is_same).count();
    let (p, n) = (genuine.max(1) as f64, (pairs.len() - genuine).max(1) as f64);
    let (mut accepted, mut wrongly) = (0.0, 0.0);
    let mut curve = vec![(0.0, 0.0)];
    for (at, i) in order.iter().enumerate() {
        if pairs[*i].is_same {
            accepted += 1.0;
        } else {
            wrongly += 1.0;
        }
        // No threshold lies between equal distances.
        if order.get(at + 1).is_none_or(|next| distances[*next] > distances[*i]) {
            curve.push((wrongly / n, accepted / p));
        }
    }
    curve
}

/// Where the curve meets `false acceptance = false rejection`, between two points if need be.
fn equal_error_rate(curve: &[(f64, f64)]) -> f64 {
    let gap = |p: &(f64, f64)| p.0 - (1.0 - p.1);
    for w in curve.windows(2) {
        let (before, after) = (gap(&w[0]), gap(&w[1]));
        if after >= 0.0 {
            let share = if after > before { -before / (after - before) } else { 0.0 };
            return w[0].0 + share * (w[1].0 - w[0].0);
        }
    }
    0.0
}

/// At most [`ROC_POINTS`] points of a curve, dense where few impostors are accepted.
fn thinned(curve: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let (mut out, mut last) = (Vec::new(), (-1.0, -1.0));
    for (i, p) in curve.iter().enumerate() {
        let far = p.0 - last.0 > 2.0 / ROC_POINTS as f64 || p.1 - last.1 > 2.0 / ROC_POINTS as f64;
        if far || i + 1 == curve.len() {
            out.push(*p);
            last = *p;
        }
    }
    out
}

/// Share of `probes` whose nearest `k` gallery rows (by cosine) hold their own label, for each of `ks`.
///
/// A gallery row stands for the label of its index.
pub fn identify(gallery: &Embeddings, probes: &Embeddings, labels: &[u32], ks: &[usize]) -> Vec<f64> {
    let mut hits = vec![0usize; ks.len()];
    for (i, label) in labels.iter().enumerate() {
        let similarity = |j: usize| dot(probes.row(i), gallery.row(j));
        let own = similarity(*label as usize);
        let better = (0..gallery.len()).filter(|j| *j != *label as usize && similarity(*j) >= own).count();
        ks.iter().zip(&mut hits).filter(|(k, _)| better < **k).for_each(|(_, h)| *h += 1);
    }
    hits.into_iter().map(|h| h as f64 / labels.len().max(1) as f64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(same: &[bool]) -> Vec<Pair> {
        let pair =
            |(i, is_same): (usize, &bool)| Pair { left: 0, right: 0, is_same: *is_same, fold: i * FOLDS / same.len() };
        same.iter().enumerate().map(pair).collect()
    }

    #[test]
    fn separable_pairs_are_all_right_and_shuffled_ones_by_chance() {
        let same: Vec<bool> = (0..200).map(|i| i % 2 == 0).collect();
        let apart: Vec<f64> =
            same.iter().enumerate().map(|(i, s)| if *s { 0.5 } else { 1.5 } + i as f64 * 1e-4).collect();
        let v = judge(&apart, &pairs(&same));
        assert_eq!((v.accuracy, v.accuracy_deviation, v.eer), (1.0, 0.0, 0.0));
        assert!((v.auc - 1.0).abs() < 1e-12 && v.tar_at_far_1e3 == 1.0 && v.correct.iter().all(|c| *c));
        let equal = judge(&vec![1.0; 200], &pairs(&same));
        assert!((equal.auc - 0.5).abs() < 1e-12 && (equal.eer - 0.5).abs() < 1e-12 && equal.tar_at_far_1e2 == 0.0);
        assert!((equal.accuracy - 0.5).abs() < 1e-12);
    }

    #[test]
    fn ranks_count_ties_against_the_probe() {
        let e = |values: &[f32]| Embeddings { size: 2, values: values.to_vec() };
        let gallery = e(&[1.0, 0.0, 0.0, 1.0, 1.0, 0.0]);
        let probes = e(&[1.0, 0.0, 0.6, 0.8]);
        assert_eq!(identify(&gallery, &probes, &[0, 1], &[1, 2]), [0.5, 1.0]);
    }
}
