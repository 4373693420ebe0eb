//! The figures of embedded images: similarity to identities, score, uniqueness, diversity, equal error.

use crate::dataset::IdentityDataset;
use crate::recogniser::copies;
use crate::recogniser::{Embeddings, class_means, dot};

/// Images of an identity that its diversity is measured on, at most.
const DIVERSITY_IMAGES: usize = 20;

/// Images of a kind that are looked at, about: as many of each identity as possible, two at least.
const SAMPLE: usize = 4000;
/// Labels that have images.
pub(super) fn present(images: &IdentityDataset) -> impl Iterator<Item = u32> {
    (0..images.identities().len() as u32).filter(|l| !images.images_of(*l).is_empty())
}

/// The first images of each identity, see [`SAMPLE`].
pub(super) fn sample(images: &IdentityDataset) -> Vec<usize> {
    let per_id = (SAMPLE / present(images).count().max(1)).max(2);
    present(images).flat_map(|l| images.images_of(l).iter().take(per_id)).copied().collect()
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

/// See [`super::quality::Figures::score`].
pub(super) fn score(cosines: &[Vec<f32>], scale: f64) -> f64 {
    let softmax = |row: &Vec<f32>| -> Vec<f64> {
        let largest = row.iter().fold(f32::MIN, |a, b| a.max(*b));
        let e: Vec<f64> = row.iter().map(|c| (scale * f64::from(c - largest)).exp()).collect();
        let sum: f64 = e.iter().sum();
        e.into_iter().map(|v| v / sum).collect()
    };
    let each: Vec<Vec<f64>> = cosines.iter().map(softmax).collect();
    let mut mean = vec![0.0; cosines.first().map_or(0, Vec::len)];
    for p in &each {
        mean.iter_mut().zip(p).for_each(|(m, p)| *m += p / each.len() as f64);
    }
    let divergence =
        |p: &Vec<f64>| -> f64 { p.iter().zip(&mean).filter(|(p, _)| **p > 0.0).map(|(p, m)| p * (p / m).ln()).sum() };
    (each.iter().map(divergence).sum::<f64>() / each.len().max(1) as f64).exp()
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
