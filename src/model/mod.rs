//! The four networks of the CVAE-GAN and its losses: pure functions of tensors.
//!
//! Shape legend: B batch, S image side, Z latent, K identities, F features. Images are `[B, S, S, 3]` in [-1, 1].

pub mod classifier;
pub mod discriminator;
pub mod encoder;
pub mod generator;
pub mod loss;
pub mod trunk;

use crate::config::RunConfig;
use crate::error::Result;
use crate::nn::{Network, Weights, build};
use candle_core::{Device, Tensor};
use classifier::Classifier;
use discriminator::Discriminator;
use encoder::Encoder;
use generator::Generator;
use std::collections::BTreeMap;

/// E, G, D and C.
pub struct CvaeGan {
    /// E(x, c)
    pub encoder: Network<Encoder>,
    /// G(z, c)
    pub generator: Network<Generator>,
    /// D(x)
    pub discriminator: Network<Discriminator>,
    /// C(x)
    pub classifier: Network<Classifier>,
}

impl CvaeGan {
    /// The networks of `config` for `classes` labels.
    ///
    /// # Errors
    /// Weights that are missing or of another shape; too little memory.
    pub fn new(config: &RunConfig, classes: usize, mut weights: Weights, device: &Device) -> Result<Self> {
        let w = &mut weights;
        Ok(Self {
            encoder: build_encoder(config, classes, w, device)?,
            generator: build_generator(config, classes, w, device)?,
            discriminator: build("discriminator", w, device, |p| Discriminator::new(p, config))?,
            classifier: build_classifier(config, classes, w, device)?,
        })
    }

    /// Every parameter, named `network.layer.value`.
    pub fn export(&self) -> BTreeMap<String, Tensor> {
        let mut out = BTreeMap::new();
        self.encoder.export("encoder", &mut out);
        self.generator.export("generator", &mut out);
        self.discriminator.export("discriminator", &mut out);
        self.classifier.export("classifier", &mut out);
        out
    }
}

/// A generator alone: the averaged one beside the trained one, or the one that synthesizes.
///
/// # Errors
/// Weights that are missing or of another shape; too little memory.
pub fn build_generator(
    config: &RunConfig,
    classes: usize,
    weights: &mut Weights,
    device: &Device,
) -> Result<Network<Generator>> {
    build("generator", weights, device, |p| Generator::new(p, config, classes))
}

/// An encoder alone.
///
/// # Errors
/// Weights that are missing or of another shape; too little memory.
pub fn build_encoder(
    config: &RunConfig,
    classes: usize,
    weights: &mut Weights,
    device: &Device,
) -> Result<Network<Encoder>> {
    build("encoder", weights, device, |p| Encoder::new(p, config, classes))
}

/// A classifier alone.
///
/// # Errors
/// Weights that are missing or of another shape; too little memory.
pub fn build_classifier(
    config: &RunConfig,
    classes: usize,
    weights: &mut Weights,
    device: &Device,
) -> Result<Network<Classifier>> {
    build("classifier", weights, device, |p| Classifier::new(p, config, classes))
}
