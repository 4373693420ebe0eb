//! D: tells real images from synthetic ones; not conditioned on the label.

use super::trunk::{Seen, Trunk};
use crate::config::RunConfig;
use crate::error::Result;
use crate::nn::layers::{Bias, Linear, Mode};
use crate::nn::params::Params;
use crate::ops::{Activation, Value};

/// D(x), DCGAN's.
pub struct Discriminator {
    trunk: Trunk,
    fc: Linear,
    bias: Bias,
}

impl Discriminator {
    /// Declares D.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn new(p: &mut Params, config: &RunConfig) -> Result<Self> {
        let trunk = Trunk::new(p, &config.model.discriminator, config.image_size)?;
        let fc = Linear::new(p, "fc", trunk.features(), 1)?;
        Ok(Self { fc, bias: Bias::new(p, "fc", 1, Activation::Identity)?, trunk })
    }

    /// The logit of "real", and what leads to it.
    ///
    /// # Shapes
    /// - `x`: `[B, S, S, 3]`
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn forward(&self, x: &Value, mode: Mode) -> Result<Seen> {
        let (features, maps) = self.trunk.forward_maps(x, mode)?;
        let output = self.bias.forward(&self.fc.forward(&features)?)?.reshape(x.dim(0)?)?;
        Ok(Seen { maps, features, output })
    }
}
