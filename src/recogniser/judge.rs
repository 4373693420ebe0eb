//! A recogniser of real images kept on disk with what it takes to judge whether an image shows an identity.

use super::filter::{Chooser, Known};
use super::{Embeddings, Recogniser, class_means, dot};
use crate::config::EvaluationConfig;
use crate::dataset::{IdentityDataset, View};
use crate::error::{Error, Result};
use crate::nn::{Weights, sealed};
use candle_core::{Device, Tensor};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Name of a judge's file in the folder of an evaluation.
pub const JUDGE_FILE: &str = "judge.safetensors";
/// Cosine similarity that counts as the same identity where no held-out images tell.
pub const THRESHOLD: f64 = 0.5;
/// Comparisons of an image with an identity that a threshold is taken from, at most.
const CALIBRATED: usize = 10_000_000;
const FORMAT: u32 = 2;

#[derive(Serialize, Deserialize)]
struct JudgeHeader {
    format: u32,
    config: EvaluationConfig,
    identities: Vec<String>,
    threshold: f64,
    /// Hash of the images that it was trained on.
    #[serde(default)]
    images: String,
}

/// A recogniser, the mean embedding of each identity's training images, and a threshold.
pub struct Judge {
    recogniser: Recogniser,
    /// How it was trained.
    pub config: EvaluationConfig,
    /// Hash of the images that it was trained on.
    pub images: String,
    /// The identities of its training images, and the similarity of equal error of held-out real images, or [`THRESHOLD`] where there were
    /// none.
    pub known: Known,
    /// blake3 (hex) of the file; empty before it is saved.
    pub hash: String,
}

impl Judge {
    /// A judge of the identities of `training`, which `recogniser` was trained on and embeds as `embedded`.
    pub fn new(
        recogniser: Recogniser,
        config: &EvaluationConfig,
        training: &IdentityDataset,
        embedded: &Embeddings,
    ) -> Self {
        let means = class_means(embedded, training);
        let known = Known { identities: training.identities().to_vec(), means, threshold: THRESHOLD };
        let (config, images) = (config.clone(), training.hash().to_owned());
        Self { recogniser, config, images, known, hash: String::new() }
    }

    /// Takes the similarity of equal error of `images`, which it was not trained on, for its threshold; of none, it stays.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn calibrate(&mut self, images: &IdentityDataset) -> Result<()> {
        if images.is_empty() {
            return Ok(());
        }
        let step = step(images.len(), self.known.means.len());
        let images = images.subset(&(0..images.len()).step_by(step).collect::<Vec<_>>())?;
        self.known.threshold = equal_error(&self.recogniser.embed(&images)?, images.labels(), &self.known.means).1;
        Ok(())
    }

    /// The recogniser.
    pub fn recogniser(&self) -> &Recogniser {
        &self.recogniser
    }

    /// Writes the judge.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut tensors = self.recogniser.export();
        let Known { identities, means, threshold } = &self.known;
        tensors.insert("means".into(), Tensor::from_slice(&means.values, (means.len(), means.size), &Device::Cpu)?);
        let (config, identities, images) = (self.config.clone(), identities.clone(), self.images.clone());
        let header = JudgeHeader { format: FORMAT, config, identities, threshold: *threshold, images };
        sealed::write(path, &tensors, &header)
    }

    /// Reads a judge: exact names, shapes and types, finite values.
    ///
    /// # Errors
    /// `Model`: a file that is damaged, is no judge, or knows a forgotten person; `OtherVersion`.
    pub fn load(path: &Path, device: &Device) -> Result<Self> {
        let path = if path.is_dir() { path.join(JUDGE_FILE) } else { path.to_owned() };
        let failed = |m: String| Error::Model(format!("{}: {m}", path.display()));
        let (mut tensors, header, hash): (_, serde_json::Value, _) = sealed::read(&path, device)?;
        if header["format"] != FORMAT {
            let found = header["format"].to_string();
            return Err(Error::OtherVersion { path, found, known: FORMAT });
        }
        let header: JudgeHeader =
            serde_json::from_value(header).map_err(|e| failed(format!("damaged or not a judge: {e}")))?;
        header.config.validate()?;
        let (classes, size) = (header.identities.len(), header.config.recogniser.embedding_size);
        let means = tensors.remove("means").filter(|t| t.dims() == [classes, size]);
        let means = means.ok_or_else(|| failed("tensor `means` is missing or has another shape".into()))?;
        let means = Embeddings { size, values: means.flatten_all()?.to_vec1()? };
        let recogniser = Recogniser::new(&header.config, classes, Weights::Loaded(&mut tensors), device)?;
        if means.values.iter().any(|v| !v.is_finite()) || !tensors.is_empty() {
            return Err(failed("holds values that are not finite, or unexpected tensors".into()));
        }
        Ok(Self {
            recogniser,
            config: header.config,
            images: header.images,
            known: Known { identities: header.identities, means, threshold: header.threshold },
            hash,
        })
    }

    /// Side of the images that it judges, in pixels.
    pub fn image_size(&self) -> usize {
        self.config.image_size
    }
}

impl Chooser for Judge {
    fn embed(&self, images: &[Vec<u8>], size: usize) -> Result<Embeddings> {
        let (own, n) = (self.config.image_size, images.len());
        let seen = images.par_iter().map(|p| View::square(own).pixels(p.clone(), size).map_err(Error::Model));
        let pixels = seen.collect::<Result<Vec<_>>>()?.concat();
        self.recogniser.embed(&IdentityDataset::new(own, pixels, vec![0; n], vec![String::new()])?)
    }

    fn known(&self) -> &Known {
        &self.known
    }
}

/// Every how many of `images` images are compared with each of `persons` persons to take a threshold from.
pub(super) fn step(images: usize, persons: usize) -> usize {
    images.div_ceil((CALIBRATED / persons.max(1)).max(1)).max(1)
}

/// Equal error rate of images against the centres of all identities, and its threshold. Where these are more than ten million comparisons,
/// an image is compared with its own identity and with some of the others, of which every image has a turn at others.
pub fn equal_error(embeddings: &Embeddings, labels: &[u32], centres: &Embeddings) -> (f64, f64) {
    let every = (labels.len() * centres.len()).div_ceil(CALIBRATED).max(1);
    let mut scored: Vec<(f32, bool)> = Vec::new();
    for (i, label) in labels.iter().enumerate() {
        let own = |c: usize| c == *label as usize;
        let compared = (0..centres.len()).filter(|c| own(*c) || (c + i).is_multiple_of(every));
        scored.extend(compared.map(|c| (dot(embeddings.row(i), centres.row(c)), own(c))));
    }
    equal_error_of(scored)
}

/// Equal error rate of similarities, each of one person or of two, and its threshold.
pub(super) fn equal_error_of(mut scored: Vec<(f32, bool)>) -> (f64, f64) {
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    let genuine = scored.iter().filter(|(_, own)| *own).count().max(1) as f64;
    let impostors = scored.iter().filter(|(_, own)| !own).count().max(1) as f64;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeds::{Seeds, normal_vec};

    #[test]
    fn a_part_of_very_many_comparisons_tells_nearly_the_same() {
        let size = 4;
        let draw = |n: usize, key| {
            let mut values = normal_vec(&mut Seeds::new(7).stream("rows", &[key]), n * size);
            for row in values.chunks_exact_mut(size) {
                let norm = row.iter().map(|v| v * v).sum::<f32>().sqrt();
                row.iter_mut().for_each(|v| *v /= norm);
            }
            Embeddings { size, values }
        };
        let centres = draw(4000, 0);
        // Images near to their own centre, 3,000 of them: 12 million comparisons.
        let labels: Vec<u32> = (0..3000).collect();
        let noise = draw(3000, 1);
        let values = noise.values.iter().zip(&centres.values).map(|(n, c)| c + 0.4 * n).collect();
        let images = Embeddings { size, values };
        let (rate, threshold) = equal_error(&images, &labels, &centres);
        let part = Embeddings { size, values: images.values[..2000 * size].to_vec() };
        let (of_part, limit) = equal_error(&part, &labels[..2000], &centres);
        assert!(rate > 0.001 && (rate - of_part).abs() < 0.01, "{rate} {of_part}");
        assert!((threshold - limit).abs() < 0.02, "{threshold} {limit}");
    }
}
