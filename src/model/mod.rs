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
use crate::nn::params::{Param, Params};
use crate::nn::{Network, Weights, build};
use candle_core::{Device, Tensor};
use classifier::Classifier;
use discriminator::Discriminator;
use encoder::Encoder;
use generator::Generator;
use std::collections::BTreeMap;

/// E, G, D and C, as far as the method has them.
pub struct CvaeGan {
    /// E(x, c)
    pub encoder: Option<Network<Encoder>>,
    /// G(z, c)
    pub generator: Network<Generator>,
    /// D(x)
    pub discriminator: Option<Network<Discriminator>>,
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
        let discriminator = |p: &mut Params| Discriminator::new(p, config);
        let discriminates = config.train.method.discriminates();
        Ok(Self {
            encoder: build_encoder(config, classes, w, device)?,
            generator: build_generator(config, classes, w, device)?,
            discriminator: discriminates.then(|| build("discriminator", w, device, discriminator)).transpose()?,
            classifier: build_classifier(config, classes, w, device)?,
        })
    }

    /// Every parameter, named `network.layer.value`.
    pub fn export(&self) -> BTreeMap<String, Tensor> {
        let named = |(network, params): (&'static str, &BTreeMap<String, Param>)| {
            let named = |(name, p): (&String, &Param)| (format!("{network}.{name}"), p.var.as_tensor().clone());
            params.iter().map(named).collect::<Vec<_>>()
        };
        self.networks().flat_map(named).collect()
    }

    /// The parameters of each network that there is, with its name.
    pub fn networks(&self) -> impl Iterator<Item = (&'static str, &BTreeMap<String, Param>)> {
        let networks = [
            ("classifier", Some(&self.classifier.params)),
            ("discriminator", self.discriminator.as_ref().map(|n| &n.params)),
            ("encoder", self.encoder.as_ref().map(|n| &n.params)),
            ("generator", Some(&self.generator.params)),
        ];
        networks.into_iter().filter_map(|(name, params)| Some((name, params?)))
    }
}

/// What a finished training is used by: G, E if the method has one, and C.
pub struct Networks {
    /// G(z, c)
    pub generator: Network<Generator>,
    /// E(x, c)
    pub encoder: Option<Network<Encoder>>,
    /// C(x)
    pub classifier: Network<Classifier>,
}

impl Networks {
    /// Takes their parameters out of `tensors`, where they are named `network.layer.value`.
    ///
    /// # Errors
    /// Weights that are missing or of another shape; too little memory.
    pub fn loaded(
        config: &RunConfig,
        classes: usize,
        tensors: &mut BTreeMap<String, Tensor>,
        device: &Device,
    ) -> Result<Self> {
        let mut weights = Weights::Loaded(tensors);
        Ok(Self {
            generator: build_generator(config, classes, &mut weights, device)?,
            encoder: build_encoder(config, classes, &mut weights, device)?,
            classifier: build_classifier(config, classes, &mut weights, device)?,
        })
    }

    /// Copies every parameter into `out`, as [`Networks::loaded`] takes it.
    pub fn export(&self, out: &mut BTreeMap<String, Tensor>) {
        self.generator.export("generator", out);
        self.encoder.iter().for_each(|e| e.export("encoder", out));
        self.classifier.export("classifier", out);
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

/// An encoder alone, if the method has one.
///
/// # Errors
/// Weights that are missing or of another shape; too little memory.
pub fn build_encoder(
    config: &RunConfig,
    classes: usize,
    weights: &mut Weights,
    device: &Device,
) -> Result<Option<Network<Encoder>>> {
    let encoder = |p: &mut Params| Encoder::new(p, config, classes);
    config.train.method.encodes().then(|| build("encoder", weights, device, encoder)).transpose()
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
