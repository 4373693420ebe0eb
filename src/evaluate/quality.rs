//! Quality of synthetic images, judged by a recogniser that was trained on real images only; each figure stands beside
//! that of held-out real images, the level to compare with.

use super::comparison::{Material, class_means};
use super::copies;
use super::distribution::{Distances, distances};
use super::recogniser::{Embeddings, Recogniser, dot};
use crate::dataset::IdentityDataset;
use crate::error::Result;
use crate::progress::Progress;
use serde::Serialize;

/// Images of a kind that are looked at, at most: as many of each identity as possible.
const SAMPLE: usize = 4000;
/// Cosine similarity that counts as the same identity where no held-out images tell.
const THRESHOLD: f64 = 0.5;
/// Similarity that counts as a copy where no held-out images tell.
const COPY_LIMIT: f64 = 0.98;
/// Share of held-out real images above which a similarity to a training image counts as a copy.
const NATURAL: f64 = 0.999;

/// Figures of one kind of images. All but `score` and the distances are fractions.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Number of images looked at.
    pub images: usize,
    /// Share whose own identity has the largest cosine; none for new identities.
    pub top1: Option<f64>,
    /// exp(E KL(p(y given x) to p(y))) of the identities that the recogniser sees (Bao et al. 2017, after Salimans et al. 2016).
    pub score: f64,
    /// Mean cosine similarity to the mean embedding of the own identity's training images (of its own images for new ones).
    pub similarity: f64,
    /// Share of images whose similarity to their identity is above the threshold of equal error of held-out real images.
    pub consistency: f64,
    /// Share of identities whose mean embedding is not within that threshold of another one's before it.
    pub uniqueness: f64,
    /// Mean over identities of the mean distance (1 - correlation of aligned pixels) between their images.
    pub diversity: f64,
    /// Error rate where as many images are closer to another identity as are far from their own.
    pub eer: f64,
    /// Distances of embeddings to held-out real images.
    pub distances: Option<Distances>,
    /// Similarity (aligned pixels) to the most similar training image.
    pub copies: CopyFigures,
}

/// How similar images are to their most similar training image.
#[derive(Clone, Debug, Serialize)]
pub struct CopyFigures {
    /// Mean.
    pub mean: f64,
    /// 99 % of the images are below this.
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
    /// Half of the held-out real images, the other half being what the distances are measured to.
    pub real: Option<Figures>,
    /// Synthetic images of existing identities.
    pub existing: Option<Figures>,
    /// Images of new identities.
    pub new: Option<Figures>,
    /// Similarity to a training image above which an image counts as a copy.
    pub copy_limit: f64,
    /// Cosine similarity above which an image counts as showing its identity.
    pub identity_threshold: f64,
    /// Synthetic images of existing identities, by identity.
    pub identities: Vec<IdentityFigures>,
    /// The most similar (training, synthetic) images: indices into both and the similarity, most similar first.
    #[serde(skip)]
    pub nearest: Vec<(usize, usize, f32)>,
}

/// What images are judged with.
struct Judge<'a> {
    recogniser: &'a Recogniser,
    training: &'a IdentityDataset,
    /// Mean embedding of each identity's training images.
    means: Embeddings,
    /// Embeddings of real images that nothing was trained on.
    reference: Option<Embeddings>,
    /// Factor on cosines.
    scale: f64,
    threshold: f64,
    copy_limit: f64,
}

/// The figures of some images, and of each of them: similarity to its identity, most similar training image.
type Judged = (Figures, Vec<f32>, Vec<copies::Nearest>);

impl Judge<'_> {
    /// Judges `images`, whose labels are those of the training images if `known`.
    fn figures(
        &self,
        name: &str,
        images: &IdentityDataset,
        known: bool,
        progress: &mut dyn Progress,
    ) -> Result<Judged> {
        let embeddings = self.recogniser.embed(images)?;
        let own = class_means(&embeddings, images);
        let centres = if known { &self.means } else { &own };
        let label = |i: usize| images.labels()[i] as usize;
        let similarity: Vec<f32> = (0..images.len()).map(|i| dot(embeddings.row(i), centres.row(label(i)))).collect();
        let found = nearest(images, self.training, name, progress);
        let near: Vec<f64> = found.iter().map(|n| f64::from(n.similarity)).collect();
        let cosines = self.recogniser.class_cosines(images)?;
        let share = |n: usize| n as f64 / images.len() as f64;
        let right = (0..images.len()).filter(|i| top(&cosines[*i]) == label(*i)).count();
        let figures = Figures {
            images: images.len(),
            top1: known.then(|| share(right)),
            score: score(&cosines, self.scale),
            similarity: similarity.iter().map(|s| f64::from(*s)).sum::<f64>() / images.len() as f64,
            consistency: share(similarity.iter().filter(|s| f64::from(**s) > self.threshold).count()),
            uniqueness: uniqueness(&own, self.threshold),
            diversity: diversity(images),
            eer: equal_error(&embeddings, images.labels(), centres).0,
            distances: self.reference.as_ref().map(|r| distances(r, &embeddings)),
            copies: CopyFigures {
                mean: near.iter().sum::<f64>() / near.len() as f64,
                high: quantile(near.clone(), 0.99).unwrap_or_default(),
                share: share(near.iter().filter(|n| **n > self.copy_limit).count()),
            },
        };
        Ok((figures, similarity, found))
    }

    /// Figures by identity, and the pairs of training image and image, most similar first.
    fn by_identity(
        &self,
        images: &IdentityDataset,
        similarity: &[f32],
        found: &[copies::Nearest],
    ) -> Vec<IdentityFigures> {
        let labels = 0..images.identities().len() as u32;
        let figures = |label: u32| {
            let own = images.images_of(label);
            let consistent = own.iter().filter(|i| f64::from(similarity[**i]) > self.threshold).count();
            (!own.is_empty()).then(|| IdentityFigures {
                identity: images.identities()[label as usize].clone(),
                images: own.len(),
                consistency: consistent as f64 / own.len() as f64,
                nearest: own.iter().map(|i| f64::from(found[*i].similarity)).fold(-1.0, f64::max),
            })
        };
        labels.filter_map(figures).collect()
    }
}

/// Judges the images of `material`. A similarity above `copy_limit` counts as a copy; without one, a similarity above that of
/// nearly all held-out real images.
pub fn judge(
    material: &Material,
    recogniser: &Recogniser,
    scale: f64,
    copy_limit: Option<f64>,
    progress: &mut dyn Progress,
) -> Result<Quality> {
    let real = material.real.subset(&sample(&material.real))?;
    let mut judge = Judge {
        recogniser,
        training: &material.real,
        means: class_means(&recogniser.embed(&real)?, &real),
        reference: None,
        scale,
        threshold: THRESHOLD,
        copy_limit: copy_limit.unwrap_or(COPY_LIMIT),
    };
    let level = match &material.held_out {
        Some(held_out) => {
            let held_out = held_out.subset(&sample(held_out))?;
            let natural = nearest(&held_out, judge.training, "copies (held out)", progress);
            let natural = quantile(natural.iter().map(|n| f64::from(n.similarity)).collect(), NATURAL);
            judge.copy_limit = copy_limit.or(natural).unwrap_or(COPY_LIMIT);
            let (reference, level) = halves(&held_out)?;
            judge.reference = Some(recogniser.embed(&reference)?);
            judge.threshold = equal_error(&recogniser.embed(&level)?, level.labels(), &judge.means).1;
            Some(judge.figures("copies (real)", &level, true, progress)?.0)
        }
        None => None,
    };
    let (mut pairs, mut identities) = (Vec::new(), Vec::new());
    let existing = match &material.existing {
        Some(images) => {
            let chosen = sample(images);
            let images = images.subset(&chosen)?;
            let (figures, similarity, found) = judge.figures("copies (existing)", &images, true, progress)?;
            identities = judge.by_identity(&images, &similarity, &found);
            pairs = found.iter().zip(chosen).map(|(n, i)| (n.index, i, n.similarity)).collect();
            pairs.sort_by(|a, b| b.2.total_cmp(&a.2));
            Some(figures)
        }
        None => None,
    };
    let new = match &material.new {
        Some(images) => Some(judge.figures("copies (new)", &images.subset(&sample(images))?, false, progress)?.0),
        None => None,
    };
    let (copy_limit, identity_threshold) = (judge.copy_limit, judge.threshold);
    Ok(Quality { real: level, existing, new, copy_limit, identity_threshold, identities, nearest: pairs })
}

fn nearest(
    images: &IdentityDataset,
    training: &IdentityDataset,
    name: &str,
    progress: &mut dyn Progress,
) -> Vec<copies::Nearest> {
    progress.start(name, images.len() as u64, "images");
    let found = copies::search(images, training, |done| progress.at(done as u64));
    progress.finish();
    found
}

/// The first images of each identity, so many that there are at most [`SAMPLE`].
fn sample(images: &IdentityDataset) -> Vec<usize> {
    let per_id = (SAMPLE / images.identities().len().max(1)).max(2);
    let labels = 0..images.identities().len() as u32;
    labels.flat_map(|l| images.images_of(l).iter().take(per_id)).copied().collect()
}

/// Every other image of each identity, and the rest.
fn halves(images: &IdentityDataset) -> Result<(IdentityDataset, IdentityDataset)> {
    let of = |part: usize| -> Vec<usize> {
        let labels = 0..images.identities().len() as u32;
        labels.flat_map(|l| images.images_of(l).iter().skip(part).step_by(2)).copied().collect()
    };
    Ok((images.subset(&of(0))?, images.subset(&of(1))?))
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

/// See [`Figures::uniqueness`]: identities that no earlier unique one is within the threshold of.
fn uniqueness(centres: &Embeddings, threshold: f64) -> f64 {
    let mut unique: Vec<usize> = Vec::new();
    for i in 0..centres.len() {
        if unique.iter().all(|j| f64::from(centres.cosine_similarity(i, *j)) <= threshold) {
            unique.push(i);
        }
    }
    unique.len() as f64 / centres.len().max(1) as f64
}

/// See [`Figures::diversity`].
fn diversity(images: &IdentityDataset) -> f64 {
    let mut means = Vec::new();
    for label in 0..images.identities().len() as u32 {
        let own: Vec<Vec<f32>> = images.images_of(label).iter().take(20).map(|i| copies::whole(images, *i)).collect();
        let pairs = (0..own.len()).flat_map(|j| (0..j).map(move |i| (i, j)));
        let distances: Vec<f64> = pairs.map(|(i, j)| 1.0 - f64::from(dot(&own[i], &own[j]))).collect();
        if !distances.is_empty() {
            means.push(distances.iter().sum::<f64>() / distances.len() as f64);
        }
    }
    means.iter().sum::<f64>() / means.len().max(1) as f64
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
