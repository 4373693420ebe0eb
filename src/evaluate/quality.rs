//! Quality of synthetic images, judged by a recogniser that was trained on real images only; each figure stands beside
//! that of held-out real images, the level to compare with.

use super::comparison::Material;
use super::distribution::Distances;
use super::figures::{quantile, sample};
use super::measures::{Measures, SHOWN};
use super::membership::{self, Membership};
use super::synthetic::Made;
use crate::config::EvaluationConfig;
use crate::dataset::Images;
use crate::error::Result;
use crate::progress::Progress;
use crate::recogniser::copies;
use crate::recogniser::judge::Judge;
use serde::Serialize;

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
    pub(super) fn new(similarities: Vec<f64>, limit: f64) -> Self {
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
