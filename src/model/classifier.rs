//! C: the identity of an image.

use super::trunk::Trunk;
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

    /// f_C (the input of the last fully connected layer) and the logits of the labels.
    ///
    /// # Shapes
    /// - `x`: `[B, S, S, 3]`; returns `[B, F]`, `[B, K]`
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn forward(&self, x: &Value, mode: Mode) -> Result<(Value, Value)> {
        let mut h = self.trunk.forward(x, mode)?;
        for (fc, norm) in &self.hidden {
            h = norm.forward(&fc.forward(&h)?, None, mode)?;
        }
        let logits = self.bias.forward(&self.fc.forward(&h)?)?;
        Ok((h, logits))
    }
}
