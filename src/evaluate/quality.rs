//! Quality of synthetic images, judged by a recogniser that was trained on real images only; each figure stands beside
//! that of held-out real images, the level to compare with.
//!
//! Held-out images are cut in two: one half is the reference (of distances, and for the thresholds), the other the level.

use super::comparison::{Material, class_means};
use super::copies;
use super::distribution::{Distances, NEIGHBOURS, distances};
use super::judge::Judge;
use super::recogniser::{Embeddings, Recogniser, dot};
use crate::config::EvaluationConfig;
use crate::dataset::IdentityDataset;
use crate::error::Result;
use crate::progress::Progress;
use serde::Serialize;

/// Images of a kind that are looked at, about: as many of each identity as possible, two at least.
const SAMPLE: usize = 4000;
/// Similarity that counts as a copy where held-out images do not say less.
const COPY_LIMIT: f64 = 0.98;
/// Share of held-out real images whose similarity to a training image does not count as a copy.
const NATURAL: f64 = 0.999;
/// Images of an identity that its diversity is measured on, at most.
const DIVERSITY_IMAGES: usize = 20;

/// Figures of one kind of images. All but `score` and the distances are fractions.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Number of images looked at.
    pub images: usize,
    /// Share whose own identity has the largest cosine; none for new identities.
    pub top1: Option<f64>,
    /// exp(E KL(p(y given x) to p(y))) of the identities that the recogniser sees (Bao et al. 2017, after Salimans et al. 2016).
    pub score: f64,
    /// Mean cosine similarity to the mean embedding of the identity's training images; for new identities, of its other images.
    pub similarity: f64,
    /// Share of images that count as their identity by that similarity.
    pub consistency: f64,
    /// Share of identities whose mean embedding does not count as one of an earlier unique identity.
    pub uniqueness: f64,
    /// Mean over identities of the mean distance (1 - correlation of aligned pixels) between their images; none where no
    /// identity has two.
    pub diversity: Option<f64>,
    /// Error rate where as many images are closer to another identity as are far from their own; none for new identities.
    pub eer: Option<f64>,
    /// Distances of embeddings to held-out real images, and how many images of each kind they compare.
    pub distances: Option<(usize, Distances)>,
    /// Similarity (aligned pixels) to the most similar training image.
    pub copies: CopyFigures,
}

/// How similar images are to their most similar training image.
#[derive(Clone, Debug, Serialize)]
pub struct CopyFigures {
    /// Mean.
    pub mean: f64,
    /// 99 % of the images are not above this.
    pub high: f64,
    /// Share of images above the limit.
    pub share: f64,
}

/// Figures of the synthetic images of one identity.
#[derive(Clone, Debug, Serialize)]
pub struct IdentityFigures {
    /// Its key.
    pub identity: String,
    /// Images looked at.
    pub images: usize,
    /// Share that is consistent with the identity.
    pub consistency: f64,
    /// Largest similarity to a training image.
    pub nearest: f64,
}

/// Figures of all kinds of images.
#[derive(Clone, Debug, Serialize)]
pub struct Quality {
    /// Held-out real images.
    pub real: Option<Figures>,
    /// Synthetic images of existing identities.
    pub existing: Option<Figures>,
    /// Images of new identities.
    pub new: Option<Figures>,
    /// Similarity to a training image above which an image counts as a copy.
    pub copy_limit: f64,
    /// Cosine similarity from which an image counts as showing its identity.
    pub identity_threshold: f64,
    /// True if held-out images decided both.
    pub calibrated: bool,
    /// Synthetic images of existing identities, by identity.
    pub identities: Vec<IdentityFigures>,
    /// The (training, synthetic) images that are most similar to each other, most similar first.
    #[serde(skip)]
    pub nearest: Vec<NearPair>,
}

/// A training image and a synthetic one.
#[derive(Clone, Debug)]
pub struct NearPair {
    /// Index of the training image.
    pub training: usize,
    /// Pixels of the synthetic image.
    pub synthetic: Vec<u8>,
    /// Their similarity.
    pub similarity: f32,
}

/// Pairs that are kept.
const NEAREST: usize = 12;

/// The figures of some images, and of each of them: similarity to its identity, most similar training image.
type Judged = (Figures, Vec<f32>, Vec<copies::Nearest>);

/// What images are measured with.
struct Measures<'a> {
    judge: &'a Judge,
    training: &'a IdentityDataset,
    /// Embeddings of real images that nothing was trained on.
    reference: Option<Embeddings>,
    /// Factor on cosines.
    scale: f64,
    copy_limit: f64,
}

impl Measures<'_> {
    /// Measures `images`, whose labels are those of the training images if `known`.
    fn figures(
        &self,
        name: &str,
        images: &IdentityDataset,
        known: bool,
        progress: &mut dyn Progress,
    ) -> Result<Judged> {
        let recogniser = self.judge.recogniser();
        let embeddings = recogniser.embed(images)?;
        let label = |i: usize| images.labels()[i] as usize;
        let similarity: Vec<f32> = if known {
            (0..images.len()).map(|i| dot(embeddings.row(i), self.judge.means.row(label(i)))).collect()
        } else {
            similarity_to_others(&embeddings, images)
        };
        let found = nearest(images, self.training, name, progress)?;
        let near: Vec<f64> = found.iter().map(|n| f64::from(n.similarity)).collect();
        let cosines = recogniser.class_cosines(images)?;
        let share = |n: usize| n as f64 / images.len() as f64;
        let right = (0..images.len()).filter(|i| known && top(&cosines[*i]) == label(*i)).count();
        let figures = Figures {
            images: images.len(),
            top1: known.then(|| share(right)),
            score: score(&cosines, self.scale),
            similarity: similarity.iter().map(|s| f64::from(*s)).sum::<f64>() / images.len() as f64,
            consistency: share(similarity.iter().filter(|s| self.consistent(**s)).count()),
            uniqueness: uniqueness(&embeddings, images, self.judge.threshold),
            diversity: diversity(images),
            eer: known.then(|| equal_error(&embeddings, images.labels(), &self.judge.means).0),
            distances: self.distances(&embeddings),
            copies: CopyFigures {
                mean: near.iter().sum::<f64>() / near.len() as f64,
                high: quantile(near.clone(), 0.99).unwrap_or_default(),
                share: share(near.iter().filter(|n| **n > self.copy_limit).count()),
            },
        };
        Ok((figures, similarity, found))
    }

    fn consistent(&self, similarity: f32) -> bool {
        f64::from(similarity) >= self.judge.threshold
    }

    /// Distances to the reference, of as many images as it has, if there are enough.
    fn distances(&self, examined: &Embeddings) -> Option<(usize, Distances)> {
        let reference = self.reference.as_ref()?;
        let n = reference.len().min(examined.len());
        let cut = |e: &Embeddings| {
            let rows = (0..n).flat_map(|i| e.row(i * e.len() / n));
            Embeddings { size: e.size, values: rows.copied().collect() }
        };
        (n > NEIGHBOURS).then(|| (n, distances(&cut(reference), &cut(examined))))
    }

    /// Figures by identity.
    fn by_identity(
        &self,
        images: &IdentityDataset,
        similarity: &[f32],
        found: &[copies::Nearest],
    ) -> Vec<IdentityFigures> {
        let figures = |label: u32| {
            let own = images.images_of(label);
            let consistent = own.iter().filter(|i| self.consistent(similarity[**i])).count();
            IdentityFigures {
                identity: images.identities()[label as usize].clone(),
                images: own.len(),
                consistency: consistent as f64 / own.len() as f64,
                nearest: own.iter().map(|i| f64::from(found[*i].similarity)).fold(-1.0, f64::max),
            }
        };
        present(images).map(figures).collect()
    }
}

/// Measures the images of `material` with `recogniser`, which knows its training images; returns it as a judge, too.
///
/// A similarity above `copy_limit` counts as a copy; without one, a similarity above that of nearly all of the reference.
pub fn measure(
    material: &Material,
    recogniser: Recogniser,
    config: &EvaluationConfig,
    copy_limit: Option<f64>,
    progress: &mut dyn Progress,
) -> Result<(Quality, Judge)> {
    let mut judge = Judge::new(recogniser, config, &material.real)?;
    let halves = material.held_out.as_ref().map(|h| halves(&h.subset(&sample(h))?)).transpose()?.flatten();
    let mut limit = COPY_LIMIT;
    let mut embedded = None;
    if let Some((reference, _)) = &halves {
        let embeddings = judge.recogniser().embed(reference)?;
        judge.threshold = equal_error(&embeddings, reference.labels(), &judge.means).1;
        let natural = nearest(reference, &material.real, "copies (reference)", progress)?;
        let natural = quantile(natural.iter().map(|n| f64::from(n.similarity)).collect(), NATURAL);
        // Real photographs that are in the set twice must not hide copies.
        limit = limit.min(natural.unwrap_or(limit));
        embedded = Some(embeddings);
    }
    let copy_limit = copy_limit.unwrap_or(limit);
    let (training, scale) = (&material.real, config.recipe.scale);
    let measures = Measures { judge: &judge, training, reference: embedded, scale, copy_limit };
    let real = match &halves {
        Some((_, level)) => Some(measures.figures("copies (held out)", level, true, progress)?.0),
        None => None,
    };
    let (mut near, mut identities) = (Vec::new(), Vec::new());
    let mut synthetic = |name: &str, images: &Option<IdentityDataset>, known: bool| -> Result<Option<Figures>> {
        let Some(images) = images else { return Ok(None) };
        let images = images.subset(&sample(images))?;
        let (figures, similarity, found) = measures.figures(name, &images, known, progress)?;
        if known {
            identities = measures.by_identity(&images, &similarity, &found);
        }
        let pair = |(i, n): (usize, &copies::Nearest)| NearPair {
            training: n.index,
            synthetic: images.image(i).to_vec(),
            similarity: n.similarity,
        };
        near.extend(found.iter().enumerate().map(pair));
        near.sort_by(|a, b| b.similarity.total_cmp(&a.similarity));
        near.truncate(NEAREST);
        Ok(Some(figures))
    };
    let existing = synthetic("copies (existing)", &material.existing, true)?;
    let new = synthetic("copies (new)", &material.new, false)?;
    let (identity_threshold, calibrated) = (judge.threshold, halves.is_some());
    let quality =
        Quality { real, existing, new, copy_limit, identity_threshold, calibrated, identities, nearest: near };
    Ok((quality, judge))
}

fn nearest(
    images: &IdentityDataset,
    training: &IdentityDataset,
    name: &str,
    progress: &mut dyn Progress,
) -> Result<Vec<copies::Nearest>> {
    progress.start(name, training.len() as u64, "training images");
    let found = copies::search(images, training, progress)?;
    progress.finish();
    Ok(found)
}

/// Labels that have images.
fn present(images: &IdentityDataset) -> impl Iterator<Item = u32> {
    (0..images.identities().len() as u32).filter(|l| !images.images_of(*l).is_empty())
}

/// The first images of each identity, see [`SAMPLE`].
fn sample(images: &IdentityDataset) -> Vec<usize> {
    let per_id = (SAMPLE / present(images).count().max(1)).max(2);
    present(images).flat_map(|l| images.images_of(l).iter().take(per_id)).copied().collect()
}

/// Every other image, in the order of identities, and the rest; none if one half would be empty.
fn halves(images: &IdentityDataset) -> Result<Option<(IdentityDataset, IdentityDataset)>> {
    let ordered: Vec<usize> = present(images).flat_map(|l| images.images_of(l)).copied().collect();
    if ordered.len() < 2 {
        return Ok(None);
    }
    let half = |part: usize| images.subset(&ordered.iter().skip(part).step_by(2).copied().collect::<Vec<_>>());
    Ok(Some((half(0)?, half(1)?)))
}

/// Cosine of each image to the mean of the other images of its label; of the only one to itself.
fn similarity_to_others(embeddings: &Embeddings, images: &IdentityDataset) -> Vec<f32> {
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
fn top(values: &[f32]) -> usize {
    (0..values.len()).max_by(|a, b| values[*a].total_cmp(&values[*b]).then(b.cmp(a))).unwrap_or_default()
}

/// The value that `share` of `values` do not exceed.
fn quantile(mut values: Vec<f64>, share: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(((values.len() as f64 * share).ceil() as usize).saturating_sub(1)).copied()
}

/// See [`Figures::score`].
fn score(cosines: &[Vec<f32>], scale: f64) -> f64 {
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

/// See [`Figures::uniqueness`]: identities that no earlier unique one is taken for.
fn uniqueness(embeddings: &Embeddings, images: &IdentityDataset, threshold: f64) -> f64 {
    let centres = class_means(embeddings, images);
    let mut unique: Vec<usize> = Vec::new();
    for i in present(images).map(|l| l as usize) {
        if unique.iter().all(|j| f64::from(centres.cosine_similarity(i, *j)) < threshold) {
            unique.push(i);
        }
    }
    unique.len() as f64 / present(images).count().max(1) as f64
}

/// See [`Figures::diversity`].
fn diversity(images: &IdentityDataset) -> Option<f64> {
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

/// Equal error rate of images against the centres of all identities, and its threshold.
fn equal_error(embeddings: &Embeddings, labels: &[u32], centres: &Embeddings) -> (f64, f64) {
    let mut scored: Vec<(f32, bool)> = Vec::new();
    for (i, label) in labels.iter().enumerate() {
        scored.extend((0..centres.len()).map(|c| (dot(embeddings.row(i), centres.row(c)), c == *label as usize)));
    }
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    let genuine = labels.len() as f64;
    let impostors = (scored.len() - labels.len()).max(1) as f64;
    let (mut accepted, mut wrongly) = (0.0, 0.0);
    for (similarity, own) in &scored {
        if *own {
            accepted += 1.0;
        } else {
            wrongly += 1.0;
        }
        if wrongly / impostors >= 1.0 - accepted / genuine {
            return (wrongly / impostors, f64::from(*similarity));
        }
    }
    (0.0, -1.0)
}
