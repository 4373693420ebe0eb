//! C: the identity of an image.

use super::trunk::{Seen, Trunk};
use crate::config::RunConfig;
use crate::error::Result;
use crate::nn::layers::{BatchNorm, Bias, Linear, Mode, WEIGHT_STD};
use crate::nn::params::Params;
use crate::ops::{self, Activation, Value, apply};
use candle_core::{Tensor, Var};

/// C(x): a convolutional trunk, hidden fully connected layers, and one logit a label.
pub struct Classifier {
    trunk: Trunk,
    hidden: Vec<(Linear, BatchNorm)>,
    last: Last,
}

/// The last layer.
enum Last {
    /// All labels at once.
    Dense(Linear, Bias),
    /// A row `[F]` for each label, `[K, F]`, without a bias: some labels can be told apart alone.
    Rows(Var),
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
        let last = if config.train.sampled_classes > 0 {
            Last::Rows(p.table("fc.label", classes, width, WEIGHT_STD)?)
        } else {
            let fc = Linear::new(p, "fc", width, classes)?;
            Last::Dense(fc, Bias::new(p, "fc", classes, Activation::Identity)?)
        };
        Ok(Self { trunk, hidden, last })
    }

    /// The logits of the labels, and what leads to them.
    ///
    /// # Shapes
    /// - `x`: `[B, S, S, 3]`
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn forward(&self, x: &Value, mode: Mode) -> Result<Seen> {
        self.forward_among(x, None, mode)
    }

    /// The same, with the logits of the labels `among` (u32 `[P]`) alone, in this order, where these are given and C has a row for each label.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn forward_among(&self, x: &Value, among: Option<&Tensor>, mode: Mode) -> Result<Seen> {
        let (mut features, maps) = self.trunk.forward_maps(x, mode)?;
        for (fc, norm) in &self.hidden {
            features = norm.forward(&fc.forward(&features)?, None, mode)?;
        }
        let output = match &self.last {
            Last::Dense(fc, bias) => bias.forward(&fc.forward(&features)?)?,
            Last::Rows(table) => {
                let table = features.leaf(table);
                products(&features, &among.map_or(Ok(table.clone()), |ids| table.lookup(ids))?)?
            }
        };
        Ok(Seen { maps, features, output })
    }
}

/// Products of each of `features` (`[B, F]`) with each of `rows` (`[P, F]`): `[B, P]`, as a 1x1 convolution, whose sums have a fixed order.
fn products(features: &Value, rows: &Value) -> Result<Value> {
    let ((b, f), p) = (features.dims2()?, rows.dim(0)?);
    let weight = apply(&[rows], |t| t[0].t()?.contiguous()?.reshape((1, 1, f, p)))?;
    Ok(ops::conv2d(&features.reshape((b, 1, 1, f))?, &weight, 1, 0)?.reshape((b, p))?)
}
