//! E: the posterior of the latent attributes of an image, given its label.

use super::trunk::Trunk;
use crate::config::RunConfig;
use crate::error::Result;
use crate::nn::labels::{LabelLayer, LabelShape, LabelValues, Labels};
use crate::nn::layers::{Bias, Linear, Mode, WEIGHT_STD};
use crate::nn::params::Params;
use crate::ops::{Activation, Value, apply};

/// E(x, c). The label joins at the last fully connected layer, as in the paper.
pub struct Encoder {
    trunk: Trunk,
    fc: Linear,
    values: LabelValues,
    label: LabelLayer,
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
        // As many values of a label as the layer has are enough for it.
        let labels = LabelShape { classes, width: config.model.label_width.min(2 * z) };
        Ok(Self {
            fc: Linear::new(p, "fc", trunk.features(), 2 * z)?,
            values: LabelValues::new(p, "fc", labels)?,
            label: LabelLayer::new(p, "fc", labels, 2 * z, WEIGHT_STD)?,
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
        let told = self.values.tell(x, labels)?;
        let h = self.fc.forward(&self.trunk.forward(x, mode)?)?;
        let h = h.add(&self.label.forward(&h, &told)?)?;
        let h = self.bias.forward(&h)?;
        let z = self.latent_dim;
        let mu = apply(&[&h], |t| t[0].narrow(1, 0, z)?.contiguous())?;
        // Bounded so that exp(logvar) stays finite whatever a bad step does.
        let logvar = apply(&[&h], |t| t[0].narrow(1, z, z)?.contiguous()?.clamp(-12f32, 8f32))?;
        Ok((mu, logvar))
    }
}
