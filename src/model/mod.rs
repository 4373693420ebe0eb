//! The four networks of the CVAE-GAN and its losses: pure functions of tensors.
//!
//! Shape legend: B batch, S image side, Z latent, K identities, F features. Images are `[B, S, S, 3]` in [-1, 1].

pub mod classifier;
pub mod discriminator;
pub mod encoder;
pub mod generator;
pub mod layers;
pub mod loss;
pub mod params;
pub mod trunk;

use crate::config::RunConfig;
use crate::error::{Error, Result};
use crate::seeds::Seeds;
use candle_core::{Device, Tensor};
use classifier::Classifier;
use discriminator::Discriminator;
use encoder::Encoder;
use generator::Generator;
pub use layers::{Labels, Mode};
use params::{Param, Params};
use std::collections::BTreeMap;

/// A network with its named parameters.
pub struct Network<N> {
    /// Forward functions.
    pub net: N,
    /// Parameters in the order of their names.
    pub params: BTreeMap<String, Param>,
}

impl<N> Network<N> {
    /// Copies every parameter under `prefix.` into `out`.
    pub fn export(&self, prefix: &str, out: &mut BTreeMap<String, Tensor>) {
        for (name, p) in &self.params {
            out.insert(format!("{prefix}.{name}"), p.var.as_tensor().clone());
        }
    }
}

/// Where a network's parameters come from.
pub enum Weights<'a> {
    /// Drawn from seeded streams.
    Fresh(&'a Seeds),
    /// Taken out of a map of tensors named `prefix.name`.
    Loaded(&'a mut BTreeMap<String, Tensor>),
}

/// Builds one network from `weights` under `prefix`.
pub(crate) fn build<N>(
    prefix: &str,
    weights: &mut Weights,
    device: &Device,
    new: impl FnOnce(&mut Params) -> Result<N>,
) -> Result<Network<N>> {
    let mut params = match weights {
        Weights::Fresh(seeds) => Params::fresh(seeds, prefix, device),
        Weights::Loaded(tensors) => {
            let dotted = format!("{prefix}.");
            let names: Vec<String> = tensors.keys().filter(|k| k.starts_with(&dotted)).cloned().collect();
            let own = names
                .into_iter()
                .filter_map(|k| tensors.remove(&k).map(|t| (k[dotted.len()..].to_owned(), t)))
                .collect();
            Params::loaded(own, device)
        }
    };
    let net = new(&mut params)?;
    let params = params.finish().map_err(|e| match e {
        Error::Model(m) => Error::Model(format!("{prefix}: {m}")),
        e => e,
    })?;
    Ok(Network { net, params })
}

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
pub fn build_generator(
    config: &RunConfig,
    classes: usize,
    weights: &mut Weights,
    device: &Device,
) -> Result<Network<Generator>> {
    build("generator", weights, device, |p| Generator::new(p, config, classes))
}

/// An encoder alone.
pub fn build_encoder(
    config: &RunConfig,
    classes: usize,
    weights: &mut Weights,
    device: &Device,
) -> Result<Network<Encoder>> {
    build("encoder", weights, device, |p| Encoder::new(p, config, classes))
}

/// A classifier alone.
pub fn build_classifier(
    config: &RunConfig,
    classes: usize,
    weights: &mut Weights,
    device: &Device,
) -> Result<Network<Classifier>> {
    build("classifier", weights, device, |p| Classifier::new(p, config, classes))
}
