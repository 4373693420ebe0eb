//! The real images of a step and its random draws.

use super::sampled::Candidates;
use crate::config::TrainConfig;
use crate::error::Result;
use crate::seeds::{Seeds, normal};
use candle_core::Tensor;
use rand::RngExt;
use rand::seq::SliceRandom;

/// A real batch and the random draws that go with it.
pub struct Batch {
    /// `[B, S, S, 3]`
    pub images: Tensor,
    /// Label of each image.
    pub labels: Vec<u32>,
    /// Label of each label-only fake.
    pub fake_labels: Vec<u32>,
    /// `[B, Z]`, for the posterior's sample.
    pub posterior_noise: Tensor,
    /// `[B, Z]`, z of the label-only fakes.
    pub prior_noise: Tensor,
    /// For each label-only fake, the image whose posterior sample replaces its noise.
    pub cross: Vec<Option<usize>>,
    /// The labels among which C is asked; all, if there are none.
    pub candidates: Option<Candidates>,
}

impl Batch {
    /// Draws labels and noise of `step` for `images` with `labels`. Fakes take their labels from `pool`.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn draw(
        images: Tensor,
        labels: Vec<u32>,
        pool: &[u32],
        latent_dim: usize,
        config: &TrainConfig,
        seeds: &Seeds,
        step: u64,
    ) -> Result<Self> {
        let (b, device) = (labels.len(), images.device().clone());
        let mut rng = seeds.stream("fake labels", &[step]);
        let fake_labels: Vec<u32> = (0..b).map(|_| pool[rng.random_range(0..pool.len())]).collect();
        let mut others: Vec<usize> = (0..b).collect();
        others.shuffle(&mut rng);
        let crossed = (b as f64 * config.cross_fraction).round() as usize;
        let cross = others.into_iter().enumerate().map(|(i, o)| (i < crossed).then_some(o)).collect();
        Ok(Self {
            posterior_noise: normal(&mut seeds.stream("posterior", &[step]), &[b, latent_dim], &device)?,
            prior_noise: normal(&mut seeds.stream("prior", &[step]), &[b, latent_dim], &device)?,
            images,
            labels,
            fake_labels,
            cross,
            candidates: None,
        })
    }
}
