//! The figures of embedded images: similarity to identities, score, uniqueness, diversity, equal error.

use crate::dataset::{Catalogue, IdentityDataset, Images};
use crate::recogniser::copies;
use crate::recogniser::{Embeddings, class_means, dot};

/// Images of an identity that its diversity is measured on, at most.
const DIVERSITY_IMAGES: usize = 20;

/// Images of a kind that are looked at, about: as many of each identity as possible.
const SAMPLE: usize = 4000;
/// Images of an identity that are looked at, at least: of more identities than that allows, some are looked at.
const LEAST: usize = 2;

/// Labels that have images.
pub(super) fn present(images: &IdentityDataset) -> impl Iterator<Item = u32> {
    images.catalogue().present()
}

/// Those of the labels `present` whose images are looked at, evenly spread over all, and at how many of each at most: see [`SAMPLE`].
pub(super) fn looked_at(present: &[u32]) -> (Vec<u32>, usize) {
    let persons = present.len().min(SAMPLE / LEAST);
    ((0..persons).map(|i| present[i * present.len() / persons]).collect(), SAMPLE / persons.max(1))
}

/// The first images of each identity, or of some of many, see [`looked_at`].
pub(super) fn sample(images: &Catalogue) -> Vec<usize> {
    let (labels, each) = looked_at(&images.present().collect::<Vec<_>>());
    labels.into_iter().flat_map(|l| images.images_of(l).iter().take(each)).copied().collect()
}

/// Cosine of each image to the mean of the other images of its label; of the only one to itself.
pub(super) fn similarity_to_others(embeddings: &Embeddings, images: &IdentityDataset) -> Vec<f32> {
    let of = |i: usize| {
        let own = images.images_of(images.labels()[i]);
        let mut sum = vec![0.0; embeddings.size];
        for j in own.iter().filter(|j| **j != i || own.len() == 1) {
            sum.iter_mut().zip(embeddings.row(*j)).for_each(|(s, v)| *s += v);
        }
        dot(embeddings.row(i), &sum) / dot(&sum, &sum).sqrt().max(1e-12)
    };
    (0..images.len()).map(of).collect()
}

/// Index of the largest value.
pub(super) fn top(values: &[f32]) -> usize {
    (0..values.len()).max_by(|a, b| values[*a].total_cmp(&values[*b]).then(b.cmp(a))).unwrap_or_default()
}

/// The value that `share` of `values` do not exceed.
pub(super) fn quantile(mut values: Vec<f64>, share: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(((values.len() as f64 * share).ceil() as usize).saturating_sub(1)).copied()
}

/// What a recogniser takes images for, summed up image by image.
pub(super) struct TakenFor {
    scale: f64,
    /// Sum of p(y given x).
    sum: Vec<f64>,
    /// Sum of E log p(y given x) under itself.
    certainty: f64,
    /// The identity that each image is taken for.
    pub top: Vec<usize>,
}

impl TakenFor {
    /// Of cosines that `scale` makes logits of.
    pub fn new(scale: f64) -> Self {
        Self { scale, sum: Vec::new(), certainty: 0.0, top: Vec::new() }
    }

    /// Adds an image by its cosines.
    pub fn add(&mut self, cosines: &[f32]) {
        let largest = cosines.iter().fold(f32::MIN, |a, b| a.max(*b));
        let logit = |c: &f32| self.scale * f64::from(c - largest);
        let sum: f64 = cosines.iter().map(|c| logit(c).exp()).sum();
        let mut certainty = 0.0;
        self.sum.resize(cosines.len(), 0.0);
        for (total, c) in self.sum.iter_mut().zip(cosines) {
            let p = logit(c).exp() / sum;
            certainty += p * (logit(c) - sum.ln());
            *total += p;
        }
        self.certainty += certainty;
        self.top.push(top(cosines));
    }

    /// See [`super::quality::Figures::score`].
    pub fn score(&self) -> f64 {
        let n = self.top.len().max(1) as f64;
        let of_all: f64 = self.sum.iter().map(|s| s / n).filter(|m| *m > 0.0).map(|m| m * m.ln()).sum();
        (self.certainty / n - of_all).exp()
    }
}

/// See [`super::quality::Figures::uniqueness`]: identities that no earlier unique one is taken for.
pub(super) fn uniqueness(embeddings: &Embeddings, images: &IdentityDataset, threshold: f64) -> f64 {
    let centres = class_means(embeddings, images);
    let mut unique: Vec<usize> = Vec::new();
    for i in present(images).map(|l| l as usize) {
        if unique.iter().all(|j| f64::from(centres.cosine_similarity(i, *j)) < threshold) {
            unique.push(i);
        }
    }
    unique.len() as f64 / present(images).count().max(1) as f64
}

/// See [`super::quality::Figures::diversity`].
pub(super) fn diversity(images: &IdentityDataset) -> Option<f64> {
    let mut means = Vec::new();
    for label in present(images) {
        let some = images.images_of(label).iter().take(DIVERSITY_IMAGES);
        let own: Vec<Vec<f32>> = some.map(|i| copies::whole(images, *i)).collect();
        let pairs = (0..own.len()).flat_map(|j| (0..j).map(move |i| (i, j)));
        let distances: Vec<f64> = pairs.map(|(i, j)| 1.0 - f64::from(dot(&own[i], &own[j]))).collect();
        if !distances.is_empty() {
            means.push(distances.iter().sum::<f64>() / distances.len() as f64);
        }
    }
    (!means.is_empty()).then(|| means.iter().sum::<f64>() / means.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// exp(E KL(p to mean p)) as it is defined, of all rows at once.
    fn score(cosines: &[Vec<f32>], scale: f64) -> f64 {
        let softmax = |row: &Vec<f32>| {
            let e: Vec<f64> = row.iter().map(|c| (scale * f64::from(*c)).exp()).collect();
            let sum: f64 = e.iter().sum();
            e.into_iter().map(|v| v / sum).collect::<Vec<f64>>()
        };
        let each: Vec<Vec<f64>> = cosines.iter().map(softmax).collect();
        let n = each.len() as f64;
        let mean = |c: usize| each.iter().map(|p| p[c]).sum::<f64>() / n;
        let divergence = |p: &Vec<f64>| p.iter().enumerate().map(|(c, p)| p * (p / mean(c)).ln()).sum::<f64>();
        (each.iter().map(divergence).sum::<f64>() / n).exp()
    }

    #[test]
    fn the_score_counts_the_identities_that_are_seen() {
        let of = |rows: &[Vec<f32>], scale| {
            let mut taken_for = TakenFor::new(scale);
            rows.iter().for_each(|row| taken_for.add(row));
            (taken_for.score(), taken_for.top)
        };
        let one_hot = |c: usize| (0..5).map(|i| if i == c { 1.0 } else { -1.0 }).collect::<Vec<f32>>();
        let (all, top) = of(&(0..10).map(|i| one_hot(i % 5)).collect::<Vec<_>>(), 64.0);
        assert!((all - 5.0).abs() < 1e-9 && top == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4], "{all} {top:?}");
        let (one, _) = of(&vec![one_hot(3); 4], 64.0);
        assert!((one - 1.0).abs() < 1e-9, "{one}");
        let rows: Vec<Vec<f32>> =
            (0..7).map(|i| (0..5).map(|c| ((i * 3 + c * 5) % 11) as f32 / 11.0).collect()).collect();
        for scale in [1.0, 16.0] {
            assert!((of(&rows, scale).0 / score(&rows, scale) - 1.0).abs() < 1e-9);
        }
        assert!(of(&[], 1.0).0.is_finite());
    }

    #[test]
    fn of_many_identities_some_are_looked_at() {
        let labels = |persons: u32, each: usize| (0..persons).flat_map(|l| vec![l; each]).collect::<Vec<_>>();
        let of = |persons: u32, each: usize| {
            let names = (0..persons).map(|i| i.to_string()).collect();
            let labels = labels(persons, each);
            let images = IdentityDataset::new(1, vec![0; labels.len() * 3], labels, names).unwrap();
            sample(images.catalogue()).into_iter().map(|i| images.labels()[i]).collect::<Vec<u32>>()
        };
        assert_eq!(of(3, 5), labels(3, 5));
        assert_eq!(of(1000, 6), labels(1000, 4));
        let spread = of(5000, 3);
        assert_eq!((spread.len(), spread[0], spread[3998], spread[3999]), (4000, 0, 4997, 4997));
        assert_eq!(of(0, 1), Vec::<u32>::new());
    }
}
