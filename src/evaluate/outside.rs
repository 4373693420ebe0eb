//! Quality of the images under a face network that had no part in anything: neither the choice of the images nor any training.

use super::comparison::Material;
use super::distribution::{NEIGHBOURS, distances, frechet};
use super::figures::{sample, top};
use crate::dataset::{IdentityDataset, Images};
use crate::error::Result;
use crate::progress::Progress;
use crate::recogniser::outside::{Outside, Placement};
use crate::recogniser::{Embeddings, class_means, dot};
use serde::Serialize;

/// Figures of one kind of images.
#[derive(Clone, Debug, Serialize)]
pub struct OutsideFigures {
    /// Number of images looked at.
    pub images: usize,
    /// Share whose own identity has the nearest mean of training embeddings, among all identities.
    pub top1: f64,
    /// Mean cosine similarity to that mean.
    pub similarity: f64,
    /// Frechet distance of embeddings to the training images; none for these.
    pub frechet: Option<f64>,
    /// Precision and recall (5 neighbours) against as many held-out real images; none without these, or for them.
    pub precision: Option<f64>,
    /// See `precision`.
    pub recall: Option<f64>,
}

/// Figures of all kinds of images.
#[derive(Clone, Debug, Serialize)]
pub struct OutsideQuality {
    /// blake3 (hex) of the network's file.
    pub network: String,
    /// How images were placed in its input.
    pub placement: Placement,
    /// Held-out real images.
    pub held_out: Option<OutsideFigures>,
    /// The real training images: what precision and recall can reach.
    pub training: OutsideFigures,
    /// Reconstructions of training images.
    pub reconstructed: Option<OutsideFigures>,
    /// Synthetic images of existing identities.
    pub existing: Option<OutsideFigures>,
}

/// Measures the images of `material`, whose training images are `embedded` already.
///
/// # Errors
/// `Stopped`; `Model`: the network fails on an image.
pub fn measure(
    outside: &Outside,
    embedded: &Embeddings,
    material: &Material,
    progress: &mut dyn Progress,
) -> Result<OutsideQuality> {
    let training = &material.real;
    let means = class_means(embedded, training);
    let mut embed = |name: &str, images: Option<&IdentityDataset>| -> Result<Option<(IdentityDataset, Embeddings)>> {
        let Some(images) = images else { return Ok(None) };
        let images = images.subset(&sample(images.catalogue()))?;
        let embeddings = outside.embed(name, &images, progress)?;
        Ok(Some((images, embeddings)))
    };
    let held_out = embed("outside judge (held out)", material.held_out.as_ref())?;
    let reconstructed = embed("outside judge (reconstructions)", material.reconstructed.as_ref())?;
    let existing = embed("outside judge (synthetic)", material.existing.as_ref().map(|made| &made.sample))?;
    let figures = |images: &IdentityDataset, embeddings: &Embeddings, reference: Option<&Embeddings>| {
        let n = embeddings.len();
        let cosines = |i: usize| (0..means.len()).map(|c| dot(embeddings.row(i), means.row(c))).collect::<Vec<_>>();
        let (mut right, mut similarity) = (0, 0.0);
        for (i, label) in images.labels().iter().enumerate() {
            let cosines = cosines(i);
            right += usize::from(top(&cosines) == *label as usize);
            similarity += f64::from(cosines[*label as usize]);
        }
        let near = reference.and_then(|reference| {
            let n = reference.len().min(n);
            (n > NEIGHBOURS).then(|| distances(&reference.thinned(n), &embeddings.thinned(n)))
        });
        OutsideFigures {
            images: n,
            top1: right as f64 / n as f64,
            similarity: similarity / n as f64,
            frechet: Some(frechet(embedded, embeddings)),
            precision: near.map(|d| d.precision),
            recall: near.map(|d| d.recall),
        }
    };
    let reference = held_out.as_ref().map(|(_, embeddings)| embeddings);
    Ok(OutsideQuality {
        network: outside.hash.clone(),
        placement: outside.placement(),
        held_out: held_out.as_ref().map(|(images, e)| figures(images, e, None)),
        training: OutsideFigures { frechet: None, ..figures(training, embedded, reference) },
        reconstructed: reconstructed.as_ref().map(|(images, e)| figures(images, e, reference)),
        existing: existing.as_ref().map(|(images, e)| figures(images, e, reference)),
    })
}
