//! What images are measured with: a judge, the training images, and held-out images, which are cut in two: one half is the reference (of
//! distances, and for the thresholds), the other the level.

use super::distribution::{Distances, NEIGHBOURS, distances};
use super::figures::{self, TakenFor, diversity, present, quantile, sample, similarity_to_others, uniqueness};
use super::nearest::nearest_cosines;
use super::quality::{Failing, Figures, IdentityFigures, NearFigures};
use crate::config::EvaluationConfig;
use crate::dataset::{IdentityDataset, Images};
use crate::error::Result;
use crate::progress::Progress;
use crate::recogniser::copies;
use crate::recogniser::judge::{Judge, equal_error};
use crate::recogniser::{Embeddings, dot};

/// Share of real photographs whose cosine to others is taken for natural.
pub(super) const NATURAL: f64 = 0.999;

/// Pairs, and failing images, that are kept.
pub(super) const SHOWN: usize = 12;

/// The figures of some images, and what is known of each of them.
pub(super) struct Judged {
    pub figures: Figures,
    /// Similarity to its identity.
    similarity: Vec<f32>,
    /// Its most similar training image.
    pub found: Vec<copies::Nearest>,
    /// The identity that the recogniser takes it for.
    taken_for: Vec<usize>,
}

/// What images are measured with.
pub struct Measures<'a> {
    pub(super) judge: &'a Judge,
    training: &'a IdentityDataset,
    embedded_training: Embeddings,
    /// Embeddings of real images that nothing was trained on.
    reference: Option<Embeddings>,
    /// Other such images, the level to compare with.
    pub(super) level: Option<IdentityDataset>,
    /// Factor on cosines.
    scale: f64,
    pub(super) copy_limit: f64,
    pub(super) embedded_limit: f64,
}

/// Labels of those of `identities` identities whose images [`Measures::figures`] looks at, and at how many of each, where each has `per_id`.
pub fn looked_at(identities: usize, per_id: usize) -> (Vec<u32>, usize) {
    let (labels, each) = figures::looked_at(&(0..identities as u32).collect::<Vec<_>>());
    (labels, per_id.min(each))
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
    pub(super) fn judged(
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
    pub(super) fn failing(&self, images: &IdentityDataset, judged: &Judged) -> Vec<Failing> {
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
    pub(super) fn by_identity(&self, images: &IdentityDataset, judged: &Judged) -> Vec<IdentityFigures> {
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
