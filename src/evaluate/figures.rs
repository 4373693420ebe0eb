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

/// The first images of each identity, or of identities evenly spread over all, see [`SAMPLE`].
pub(super) fn sample(images: &Catalogue) -> Vec<usize> {
    let present: Vec<u32> = images.present().collect();
    let persons = present.len().min(SAMPLE / LEAST);
    let chosen = (0..persons).map(|i| present[i * present.len() / persons]);
    chosen.flat_map(|l| images.images_of(l).iter().take(SAMPLE / persons)).copied().collect()
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
