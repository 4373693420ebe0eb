//! What a trained model does with images that are there: it fills holes, makes small images large, and morphs. Every image is treated
//! as if it were alone: what comes out does not depend on what else is treated with it.
//!
//! Shape legend: B batch, S image side, Z latent. Images are `[B, S, S, 3]` in [-1, 1].

pub mod inpaint;
pub mod mask;
pub mod morph;
pub mod upscale;

use crate::error::{Error, Result};
use crate::model::encoder::Encoder;
use crate::model::generator::Generator;
use crate::nn::{Labels, Mode, Network};
use crate::ops::adam::{AdamParams, Moments};
use crate::ops::{Tape, differentiate};
use crate::train::TrainedModel;
use crate::train::reconstruction::{difference, reconstruct};
use candle_core::{Device, Tensor, Var};

/// Images that pass through the networks at a time.
pub const BATCH: usize = 32;
/// Step size of [`Networks::refine`].
const STEP: f64 = 0.1;

/// The networks of a model that has an encoder.
#[derive(Clone, Copy)]
pub struct Networks<'a> {
    model: &'a TrainedModel,
    encoder: &'a Network<Encoder>,
    generator: &'a Network<Generator>,
    device: &'a Device,
}

impl<'a> Networks<'a> {
    /// The networks of `model`.
    ///
    /// # Errors
    /// `Config`: its method has no encoder.
    pub fn of(model: &'a TrainedModel) -> Result<Self> {
        let encoder = model.encoder.as_ref().ok_or_else(|| {
            Error::Config(format!(
                "this model was trained with train.method {}, which has no encoder: nothing can be read out of images; train with method \
                 cvae-gan or cvae",
                model.header.config.train.method.name()
            ))
        })?;
        Ok(Self { model, encoder, generator: &model.generator, device: &model.device })
    }

    /// Side of images, in pixels.
    pub fn image_size(&self) -> usize {
        self.model.header.config.image_size
    }

    /// Dimensions of z.
    pub fn latent_dim(&self) -> usize {
        self.model.header.config.model.latent_dim
    }

    /// The label that C gives each of `images`.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn classify(&self, images: &[Vec<f32>]) -> Result<Vec<u32>> {
        let seen = self.model.classifier.net.forward(&(&self.tensor(images)?).into(), Mode::Eval)?;
        Ok(seen.output.argmax(candle_core::D::Minus1)?.to_vec1()?)
    }

    /// Mean and deviation of the posterior of each of `images`, `[B, Z]` each.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn encode(&self, images: &[Vec<f32>], labels: &[u32]) -> Result<(Tensor, Tensor)> {
        let x = self.tensor(images)?;
        let (mu, logvar) = self.encoder.net.forward(&(&x).into(), &self.labels(labels)?, Mode::Eval)?;
        Ok((mu.tensor().clone(), (logvar.tensor() * 0.5)?.exp()?))
    }

    /// How far each of `images` is from what is made of it, in steps of 8 bits, by the values at which `counts`.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn differences(&self, images: &[Vec<f32>], labels: &[u32], counts: impl Fn(usize) -> bool) -> Result<Vec<f32>> {
        let x = self.tensor(images)?;
        let made = reconstruct(&self.encoder.net, &self.generator.net, &x, &self.labels(labels)?)?;
        let pairs = images.iter().zip(made.chunks_exact(made.len() / images.len()));
        let counted = |(image, made): (&Vec<f32>, &[f32])| {
            difference(image.iter().zip(made).enumerate().filter(|(i, _)| counts(*i)).map(|(_, pair)| pair))
        };
        Ok(pairs.map(counted).collect())
    }

    /// What G makes of `z`, `[B, Z]`.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn decode(&self, z: &Tensor, labels: &Labels) -> Result<Vec<Vec<f32>>> {
        let images = self.generator.net.forward(&z.into(), labels, Mode::Eval)?;
        let size = self.image_size();
        Ok(images.flatten_all()?.to_vec1::<f32>()?.chunks_exact(size * size * 3).map(<[f32]>::to_vec).collect())
    }

    /// `z` after `steps` of Adam on `loss` of what G makes of it (a sum over images) and on its distance from N(0, I), weighed against each
    /// other as pixels and KL divergence are in training.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn refine(
        &self,
        z: &Tensor,
        labels: &[u32],
        steps: usize,
        loss: impl Fn(&Tensor) -> candle_core::Result<Tensor>,
    ) -> Result<Tensor> {
        let t = &self.model.header.config.train;
        let pixels = t.pair_weight * t.pair_pixel;
        let prior = if pixels > 0.0 { t.kl_weight / pixels } else { t.kl_weight };
        let z = Var::from_tensor(&z.contiguous()?)?;
        let moments = Moments::zeros_like(&z)?;
        let params = AdamParams { learning_rate: STEP, beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.0 };
        let labels = self.labels(labels)?;
        for step in 1..=steps as u64 {
            let tape = Tape::default();
            let leaf = tape.leaf(&z);
            let images = self.generator.net.forward(&leaf, &labels, Mode::Eval)?;
            let ((), at_images) = differentiate(&[&images], |t| Ok((loss(&t[0])?, ())))?;
            let at_z = (z.as_tensor() * prior)?;
            let grads = tape.gradients(&[(&images, &at_images[0]), (&leaf, &at_z)], [z.as_tensor()])?;
            if let Some(grad) = grads.get(&z) {
                moments.step(&z, grad, step, &params)?;
            }
        }
        Ok(z.as_tensor().clone())
    }

    /// Labels, as G and E take them.
    fn labels(&self, labels: &[u32]) -> Result<Labels> {
        Labels::plain(labels, self.device)
    }

    /// `[B, S, S, 3]`
    fn tensor(&self, images: &[Vec<f32>]) -> Result<Tensor> {
        let size = self.image_size();
        Ok(Tensor::from_vec(images.concat(), (images.len(), size, size, 3), self.device)?)
    }
}

/// Values in [-1, 1] of bytes.
pub fn values(pixels: &[u8]) -> Vec<f32> {
    pixels.iter().map(|p| f32::from(*p) / 127.5 - 1.0).collect()
}

/// Bytes of values in [-1, 1].
pub fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().map(|v| crate::dataset::to_byte(*v)).collect()
}
