//! A face recogniser trained from scratch: the instrument that a gain is measured with.

pub mod augmentation;
pub mod copies;
pub mod filter;
pub mod judge;
pub mod margin;
pub mod network;
pub mod outside;
pub mod training;

use crate::config::EvaluationConfig;
use crate::dataset::IdentityDataset;
use crate::error::Result;
use crate::nn::{Mode, Network, Weights, build};
use crate::seeds::Seeds;
use candle_core::{Device, Tensor};
use network::RecogniserNet;
use std::collections::BTreeMap;
pub use training::{Curriculum, Ingredient, Phase, Trained, Training, train};

/// Images that pass through the network at a time when nothing is learned.
const BATCH: usize = 64;

/// A recogniser ready to embed images.
pub struct Recogniser {
    network: Network<RecogniserNet>,
    embedding_size: usize,
    device: Device,
}

/// Embeddings of length 1, a row each.
pub struct Embeddings {
    /// Values of a row.
    pub size: usize,
    /// `[N, size]`
    pub values: Vec<f32>,
}

impl Embeddings {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.values.len() / self.size
    }

    /// True without rows.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Row `i`.
    pub fn row(&self, i: usize) -> &[f32] {
        &self.values[i * self.size..(i + 1) * self.size]
    }

    /// `n` of the rows (all, if there are no more), evenly chosen.
    #[must_use]
    pub fn thinned(&self, n: usize) -> Self {
        let n = n.min(self.len());
        let rows = (0..n).flat_map(|i| self.row(i * self.len() / n));
        Self { size: self.size, values: rows.copied().collect() }
    }

    /// Mean of the rows `rows`, scaled to length 1.
    pub fn mean(&self, rows: impl IntoIterator<Item = usize>) -> Vec<f32> {
        let mut mean = vec![0.0; self.size];
        for i in rows {
            mean.iter_mut().zip(self.row(i)).for_each(|(m, v)| *m += v);
        }
        let norm = mean.iter().map(|v| v * v).sum::<f32>().sqrt().max(1e-12);
        mean.iter_mut().for_each(|v| *v /= norm);
        mean
    }

    /// Cosine similarity of rows `i` and `j`, in [-1, 1].
    pub fn cosine_similarity(&self, i: usize, j: usize) -> f32 {
        dot(self.row(i), self.row(j))
    }
}

/// Mean embedding of each identity, of length 1.
pub fn class_means(embeddings: &Embeddings, images: &IdentityDataset) -> Embeddings {
    let mut rows = vec![Vec::new(); images.identities().len()];
    images.labels().iter().enumerate().for_each(|(i, label)| rows[*label as usize].push(i));
    Embeddings { size: embeddings.size, values: rows.into_iter().flat_map(|r| embeddings.mean(r)).collect() }
}

/// Sum of products.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

impl Recogniser {
    /// A recogniser of `classes` identities with fresh weights drawn from `seeds`, or with given ones.
    ///
    /// # Errors
    /// `Model`: weights that are missing, or of another shape.
    pub fn new(config: &EvaluationConfig, classes: usize, mut weights: Weights, device: &Device) -> Result<Self> {
        let new = |p: &mut _| RecogniserNet::new(p, &config.recogniser, config.image_size, classes);
        let network = build("recogniser", &mut weights, device, new)?;
        Ok(Self { network, embedding_size: config.recogniser.embedding_size, device: device.clone() })
    }

    /// Embeddings of `images` as verification uses them: `normalise(f(x) + f(mirrored x))`.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn embed(&self, images: &IdentityDataset) -> Result<Embeddings> {
        let mut values = Vec::new();
        in_batches(images, |part| {
            let plain = self.network.net.embed(&(&images.batch(part, &[], &self.device)?).into(), Mode::Eval)?;
            let mirrored = images.batch(part, &vec![true; part.len()], &self.device)?;
            let mirrored = self.network.net.embed(&(&mirrored).into(), Mode::Eval)?;
            let sum = network::unit(&(plain.tensor() + mirrored.tensor())?, 1)?;
            values.extend(sum.flatten_all()?.to_vec1::<f32>()?);
            Ok(())
        })?;
        Ok(Embeddings { size: self.embedding_size, values })
    }

    /// Calls `f` for each image with the cosines between its embedding (not mirrored) and the weights of each class.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn class_cosines(&self, images: &IdentityDataset, mut f: impl FnMut(&[f32])) -> Result<()> {
        in_batches(images, |part| {
            let x = images.batch(part, &[], &self.device)?;
            let cosines = self.network.net.cosines(&self.network.net.embed(&(&x).into(), Mode::Eval)?)?;
            cosines.tensor().to_vec2::<f32>()?.iter().for_each(|row| f(row));
            Ok(())
        })
    }

    /// Every parameter, named `recogniser.layer.value`.
    pub fn export(&self) -> BTreeMap<String, Tensor> {
        let mut out = BTreeMap::new();
        self.network.export("recogniser", &mut out);
        out
    }

    /// Number of values that training moves.
    pub fn parameters(&self) -> usize {
        self.network.params.values().filter(|p| p.trainable).map(|p| p.var.elem_count()).sum()
    }
}

/// Calls `f` with the indices of all images, batch by batch.
fn in_batches(images: &IdentityDataset, mut f: impl FnMut(&[usize]) -> Result<()>) -> Result<()> {
    let all: Vec<usize> = (0..images.len()).collect();
    all.chunks(BATCH).try_for_each(&mut f)
}

/// Streams of the recogniser's training with `seed`: others than the generator's.
fn streams(seed: u64) -> Seeds {
    Seeds::keyed(&[b"recogniser", &seed.to_le_bytes()])
}

/// The device's tensor of `labels`.
fn label_tensor(labels: &[u32], device: &Device) -> Result<Tensor> {
    Ok(Tensor::from_slice(labels, labels.len(), device)?)
}
