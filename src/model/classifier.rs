//! C: the identity of an image.

use super::trunk::{Seen, Trunk};
use crate::config::RunConfig;
use crate::error::Result;
use crate::nn::layers::{BatchNorm, Bias, Linear, Mode};
use crate::nn::params::Params;
use crate::ops::{Activation, Value};

/// C(x): a convolutional trunk, hidden fully connected layers, and one logit a label.
pub struct Classifier {
    trunk: Trunk,
    hidden: Vec<(Linear, BatchNorm)>,
    fc: Linear,
    bias: Bias,
}

impl Classifier {
    /// Declares C for `classes` labels.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn new(p: &mut Params, config: &RunConfig, classes: usize) -> Result<Self> {
        let trunk = Trunk::new(p, &config.model.classifier, config.image_size)?;
        let mut hidden = Vec::new();
        let mut width = trunk.features();
        for (i, &outputs) in config.model.classifier_hidden.iter().enumerate() {
            let name = format!("hidden{i}");
            let norm = BatchNorm::new(p, &name, outputs, None, Activation::LeakyRelu)?;
            hidden.push((Linear::new(p, &name, width, outputs)?, norm));
            width = outputs;
        }
        let fc = Linear::new(p, "fc", width, classes)?;
        Ok(Self { trunk, hidden, fc, bias: Bias::new(p, "fc", classes, Activation::Identity)? })
    }

    /// The logits of the labels, and what leads to them.
    ///
    /// # Shapes
    /// - `x`: `[B, S, S, 3]`
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn forward(&self, x: &Value, mode: Mode) -> Result<Seen> {
        let (mut features, maps) = self.trunk.forward_maps(x, mode)?;
        for (fc, norm) in &self.hidden {
            features = norm.forward(&fc.forward(&features)?, None, mode)?;
        }
        let output = self.bias.forward(&self.fc.forward(&features)?)?;
        Ok(Seen { maps, features, output })
    }
}
