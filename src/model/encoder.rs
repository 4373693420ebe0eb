//! E: the posterior of the latent attributes of an image, given its label.

use super::trunk::Trunk;
use crate::config::RunConfig;
use crate::error::Result;
use crate::nn::layers::{Bias, Labels, Linear, Mode, WEIGHT_STD};
use crate::nn::params::{Init, Params};
use crate::ops::{Activation, Value, apply};
use candle_core::Var;

/// E(x, c). The label joins at the last fully connected layer, as in the paper.
pub struct Encoder {
    trunk: Trunk,
    fc: Linear,
    label: Var,
    bias: Bias,
    latent_dim: usize,
}

impl Encoder {
    /// Declares E for `classes` labels.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn new(p: &mut Params, config: &RunConfig, classes: usize) -> Result<Self> {
        let trunk = Trunk::new(p, &config.model.encoder, config.image_size)?;
        let z = config.model.latent_dim;
        Ok(Self {
            fc: Linear::new(p, "fc", trunk.features(), 2 * z)?,
            label: p.weight("fc.label", &[classes, 2 * z], Init::Normal(0.0, WEIGHT_STD))?,
            bias: Bias::new(p, "fc", 2 * z, Activation::Identity)?,
            trunk,
            latent_dim: z,
        })
    }

    /// Mean and log-variance of z.
    ///
    /// # Shapes
    /// - `x`: `[B, S, S, 3]` in [-1, 1]; returns `mu`, `logvar`: `[B, Z]`
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn forward(&self, x: &Value, labels: &Labels, mode: Mode) -> Result<(Value, Value)> {
        let h = self.fc.forward(&self.trunk.forward(x, mode)?)?.add(&labels.gather(&x.leaf(&self.label))?)?;
        let h = self.bias.forward(&h)?;
        let z = self.latent_dim;
        let mu = apply(&[&h], |t| t[0].narrow(1, 0, z)?.contiguous())?;
        // Bounded so that exp(logvar) stays finite whatever a bad step does.
        let logvar = apply(&[&h], |t| t[0].narrow(1, z, z)?.contiguous()?.clamp(-12f32, 8f32))?;
        Ok((mu, logvar))
    }
}
