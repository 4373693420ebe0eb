//! Quality of synthetic images, judged by a recogniser that was trained on real images only; each figure stands beside
//! that of held-out real images, the level to compare with.
//!
//! Held-out images are cut in two: one half is the reference (of distances, and for the thresholds), the other the level.

use super::comparison::Material;
use super::distribution::{Distances, NEIGHBOURS, distances};
use super::figures::{self, TakenFor, diversity, present, quantile, sample, similarity_to_others, uniqueness};
use super::membership::{self, Membership};
use super::nearest::nearest_cosines;
use super::synthetic::Made;
use crate::config::EvaluationConfig;
use crate::dataset::{IdentityDataset, Images};
use crate::error::Result;
use crate::progress::Progress;
use crate::recogniser::copies;
use crate::recogniser::judge::{Judge, equal_error};
use crate::recogniser::{Embeddings, dot};
use serde::Serialize;

/// Share of real photographs whose cosine to others is taken for natural.
pub(super) const NATURAL: f64 = 0.999;

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
    pub copies: NearFigures,
    /// Cosine similarity of embeddings to the most similar training image.
    pub embedded: NearFigures,
}

/// How similar images are to their most similar training image.
#[derive(Clone, Debug, Serialize)]
pub struct NearFigures {
    /// Mean similarity.
    pub mean: f64,
    /// 99 % of the images are not above this.
    pub high: f64,
    /// Share of images above the limit.
    pub share: f64,
}

impl NearFigures {
    fn new(similarities: Vec<f64>, limit: f64) -> Self {
        let n = similarities.len() as f64;
        Self {
            mean: similarities.iter().sum::<f64>() / n,
            share: similarities.iter().filter(|s| **s > limit).count() as f64 / n,
            high: quantile(similarities, 0.99).unwrap_or_default(),
        }
    }
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
    /// Reconstructions of training images.
    pub reconstructed: Option<Figures>,
    /// Synthetic images of existing identities.
    pub existing: Option<Figures>,
    /// Images of new identities.
    pub new: Option<Figures>,
    /// Similarity to a training image above which an image counts as a copy.
    pub copy_limit: f64,
    /// Cosine similarity to a training image that counts as larger than that of held-out real images.
    pub embedded_limit: f64,
    /// Cosine similarity from which an image counts as showing its identity.
    pub identity_threshold: f64,
    /// True if held-out images decided these.
    pub calibrated: bool,
    /// Membership inference from the synthetic images of existing identities; none without held-out images.
    pub membership: Option<Membership>,
    /// Synthetic images of existing identities, by identity.
    pub identities: Vec<IdentityFigures>,
    /// The (training, synthetic) images that are most similar to each other, most similar first.
    pub nearest: Vec<NearPair>,
    /// The synthetic images of existing identities that least show theirs.
    pub failing: Vec<Failing>,
}

/// A training image and a synthetic one.
#[derive(Clone, Debug, Serialize)]
pub struct NearPair {
    /// Identity of the training image.
    pub identity: String,
    /// Index of the training image.
    #[serde(skip)]
    pub training: usize,
    /// Pixels of the synthetic image.
    #[serde(skip)]
    pub synthetic: Vec<u8>,
    /// Their similarity.
    pub similarity: f32,
}

/// A synthetic image that does not pass for what it should show.
#[derive(Clone, Debug, Serialize)]
pub struct Failing {
    /// Its identity.
    pub identity: String,
    /// Label of its identity.
    #[serde(skip)]
    pub label: u32,
    /// Its pixels.
    #[serde(skip)]
    pub synthetic: Vec<u8>,
    /// What speaks against it.
    pub reason: String,
}

/// Pairs, and failing images, that are kept.
const SHOWN: usize = 12;

/// The figures of some images, and what is known of each of them.
struct Judged {
    figures: Figures,
    /// Similarity to its identity.
    similarity: Vec<f32>,
    /// Its most similar training image.
    found: Vec<copies::Nearest>,
    /// The identity that the recogniser takes it for.
    taken_for: Vec<usize>,
}

/// What images are measured with.
pub struct Measures<'a> {
    judge: &'a Judge,
    training: &'a IdentityDataset,
    embedded_training: Embeddings,
    /// Embeddings of real images that nothing was trained on.
    reference: Option<Embeddings>,
    /// Other such images, the level to compare with.
    level: Option<IdentityDataset>,
    /// Factor on cosines.
    scale: f64,
    copy_limit: f64,
    embedded_limit: f64,
}

/// Labels of the images that [`Measures::figures`] looks at, where there are `per_id` images of each of `identities` identities: one of an
/// image, those of an identity one after the other.
pub fn looked_at(identities: usize, per_id: usize) -> Vec<u32> {
    let (labels, each) = figures::looked_at(&(0..identities as u32).collect::<Vec<_>>());
    labels.into_iter().flat_map(|label| vec![label; per_id.min(each)]).collect()
}

impl<'a> Measures<'a> {
    /// Measures with `judge`, a recogniser of real images alone, against the images `training`. Images `held_out`, which nothing was trained
    /// on, decide the judge's threshold, where there are some. A similarity above `copy_limit` counts as a copy; without one, a similarity
    /// above that of nearly all of the reference.
    ///
    /// # Errors
    /// `Stopped`.
    pub fn new(
        training: &'a IdentityDataset,
        held_out: Option<&IdentityDataset>,
        judge: &'a mut Judge,
        config: &EvaluationConfig,
        copy_limit: Option<f64>,
        progress: &mut dyn Progress,
    ) -> Result<Self> {
        let embedded_training = judge.recogniser().embed(training)?;
        let halves = held_out.map(|h| halves(&h.subset(&sample(h.catalogue()))?)).transpose()?.flatten();
        let (mut limit, mut embedded_limit) = (copies::LIMIT, copies::LIMIT);
        let (mut embedded, mut level) = (None, None);
        if let Some((reference, other)) = halves {
            let embeddings = judge.recogniser().embed(&reference)?;
            judge.known.threshold = equal_error(&embeddings, reference.labels(), &judge.known.means).1;
            let natural = nearest(&reference, training, "copies (reference)", progress)?;
            limit = copies::natural(natural.iter().map(|n| n.similarity));
            let natural =
                quantile(nearest_cosines("nearest (reference)", &embeddings, &embedded_training, progress)?, NATURAL);
            embedded_limit = natural.unwrap_or(embedded_limit);
            (embedded, level) = (Some(embeddings), Some(other));
        }
        let copy_limit = copy_limit.unwrap_or(limit);
        let scale = config.recipe.scale;
        Ok(Self { judge, training, embedded_training, reference: embedded, level, scale, copy_limit, embedded_limit })
    }

    /// Figures of held-out real images, the level to compare with; none where there are none.
    ///
    /// # Errors
    /// `Stopped`.
    pub fn level(&self, progress: &mut dyn Progress) -> Result<Option<Figures>> {
        let level = self.level.as_ref().map(|level| self.judged("copies (held out)", level, true, progress));
        Ok(level.transpose()?.map(|judged| judged.figures))
    }

    /// Figures of some of `images`, which show identities of the training images. `name` names them in the progress.
    ///
    /// # Errors
    /// `Stopped`.
    pub fn figures(&self, name: &str, images: &IdentityDataset, progress: &mut dyn Progress) -> Result<Figures> {
        let images = images.subset(&sample(images.catalogue()))?;
        Ok(self.judged(&format!("copies ({name})"), &images, true, progress)?.figures)
    }

    /// Measures `images`, whose labels are those of the training images if `known`.
    fn judged(&self, name: &str, images: &IdentityDataset, known: bool, progress: &mut dyn Progress) -> Result<Judged> {
        let recogniser = self.judge.recogniser();
        let embeddings = recogniser.embed(images)?;
        let label = |i: usize| images.labels()[i] as usize;
        let similarity: Vec<f32> = if known {
            (0..images.len()).map(|i| dot(embeddings.row(i), self.judge.known.means.row(label(i)))).collect()
        } else {
            similarity_to_others(&embeddings, images)
        };
        let found = nearest(images, self.training, name, progress)?;
        let near: Vec<f64> = found.iter().map(|n| f64::from(n.similarity)).collect();
        let mut taken_for = TakenFor::new(self.scale);
        recogniser.class_cosines(images, |cosines| taken_for.add(cosines))?;
        let share = |n: usize| n as f64 / images.len() as f64;
        let right = (0..images.len()).filter(|i| known && taken_for.top[*i] == label(*i)).count();
        let stage = name.replacen("copies", "nearest", 1);
        let cosine_of_nearest = nearest_cosines(&stage, &embeddings, &self.embedded_training, progress)?;
        let figures = Figures {
            images: images.len(),
            top1: known.then(|| share(right)),
            score: taken_for.score(),
            similarity: similarity.iter().map(|s| f64::from(*s)).sum::<f64>() / images.len() as f64,
            consistency: share(similarity.iter().filter(|s| self.consistent(**s)).count()),
            uniqueness: uniqueness(&embeddings, images, self.judge.known.threshold),
            diversity: diversity(images),
            eer: known.then(|| equal_error(&embeddings, images.labels(), &self.judge.known.means).0),
            distances: self.distances(&embeddings),
            copies: NearFigures::new(near, self.copy_limit),
            embedded: NearFigures::new(cosine_of_nearest, self.embedded_limit),
        };
        Ok(Judged { figures, similarity, found, taken_for: taken_for.top })
    }

    fn consistent(&self, similarity: f32) -> bool {
        f64::from(similarity) >= self.judge.known.threshold
    }

    /// Distances to the reference, of as many images as it has, if there are enough.
    fn distances(&self, examined: &Embeddings) -> Option<(usize, Distances)> {
        let reference = self.reference.as_ref()?;
        let n = reference.len().min(examined.len());
        (n > NEIGHBOURS).then(|| (n, distances(&reference.thinned(n), &examined.thinned(n))))
    }

    /// The images that fail, least similar to their identity first.
    fn failing(&self, images: &IdentityDataset, judged: &Judged) -> Vec<Failing> {
        let reason = |i: usize| {
            let (similarity, near, taken_for) = (judged.similarity[i], judged.found[i].similarity, judged.taken_for[i]);
            if f64::from(near) > self.copy_limit {
                Some(format!("copy: similarity {near:.3} to a training image"))
            } else if taken_for != images.labels()[i] as usize {
                Some(format!("taken for {}", images.identities()[taken_for]))
            } else if !self.consistent(similarity) {
                Some(format!("similarity {similarity:.2} to its identity, below {:.2}", self.judge.known.threshold))
            } else {
                None
            }
        };
        let mut order: Vec<usize> = (0..images.len()).collect();
        order.sort_by(|a, b| judged.similarity[*a].total_cmp(&judged.similarity[*b]));
        let failing = order.into_iter().filter_map(|i| {
            let label = images.labels()[i];
            let identity = images.identities()[label as usize].clone();
            Some(Failing { identity, label, synthetic: images.image(i).to_vec(), reason: reason(i)? })
        });
        failing.take(SHOWN).collect()
    }

    /// Figures by identity.
    fn by_identity(&self, images: &IdentityDataset, judged: &Judged) -> Vec<IdentityFigures> {
        let figures = |label: u32| {
            let own = images.images_of(label);
            let consistent = own.iter().filter(|i| self.consistent(judged.similarity[**i])).count();
            IdentityFigures {
                identity: images.identities()[label as usize].clone(),
                images: own.len(),
                consistency: consistent as f64 / own.len() as f64,
                nearest: own.iter().map(|i| f64::from(judged.found[*i].similarity)).fold(-1.0, f64::max),
            }
        };
        present(images).map(figures).collect()
    }
}

/// Measures the images of `material` as [`Measures::new`] says.
///
/// # Errors
/// `Stopped`.
pub fn measure(
    material: &Material,
    judge: &mut Judge,
    config: &EvaluationConfig,
    copy_limit: Option<f64>,
    progress: &mut dyn Progress,
) -> Result<Quality> {
    let training = &material.real;
    let measures = Measures::new(training, material.held_out.as_ref(), judge, config, copy_limit, progress)?;
    let real = measures.level(progress)?;
    let reconstructed = material
        .reconstructed
        .as_ref()
        .map(|images| measures.figures("reconstructions", images, progress))
        .transpose()?;
    let (mut near, mut identities, mut failing) = (Vec::new(), Vec::new(), Vec::new());
    let mut synthetic = |name: &str, made: &Option<Made>, known: bool| -> Result<Option<Figures>> {
        let Some(Made { sample: images, .. }) = made else { return Ok(None) };
        let judged = measures.judged(name, images, known, progress)?;
        if known {
            identities = measures.by_identity(images, &judged);
            failing = measures.failing(images, &judged);
        }
        let pair = |(i, n): (usize, &copies::Nearest)| NearPair {
            identity: training.identities()[training.labels()[n.index] as usize].clone(),
            training: n.index,
            synthetic: images.image(i).to_vec(),
            similarity: n.similarity,
        };
        near.extend(judged.found.iter().enumerate().map(pair));
        near.sort_by(|a, b| b.similarity.total_cmp(&a.similarity));
        near.truncate(SHOWN);
        Ok(Some(judged.figures))
    };
    let existing = synthetic("copies (existing)", &material.existing, true)?;
    let new = synthetic("copies (new)", &material.new, false)?;
    let membership = match (&material.existing, &material.held_out) {
        (Some(Made { sample: made, .. }), Some(others)) => {
            // Of persons that the images show.
            let shown = |i: &usize| !made.images_of(others.labels()[*i]).is_empty();
            let others = others.subset(&(0..others.len()).filter(shown).collect::<Vec<_>>())?;
            let others = others.subset(&sample(others.catalogue()))?;
            (!others.is_empty()).then(|| membership::attack(made, training, &others, progress)).transpose()?
        }
        _ => None,
    };
    Ok(Quality {
        real,
        reconstructed,
        existing,
        new,
        copy_limit: measures.copy_limit,
        embedded_limit: measures.embedded_limit,
        identity_threshold: measures.judge.known.threshold,
        calibrated: measures.level.is_some(),
        membership,
        identities,
        nearest: near,
        failing,
    })
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

/// Every other image, in the order of identities, and the rest; none if one half would be empty.
fn halves(images: &IdentityDataset) -> Result<Option<(IdentityDataset, IdentityDataset)>> {
    let ordered: Vec<usize> = present(images).flat_map(|l| images.images_of(l)).copied().collect();
    if ordered.len() < 2 {
        return Ok(None);
    }
    let half = |part: usize| images.subset(&ordered.iter().skip(part).step_by(2).copied().collect::<Vec<_>>());
    Ok(Some((half(0)?, half(1)?)))
}
