//! G: an image from latent attributes and a label.

use crate::config::{RunConfig, Upsample};
use crate::error::Result;
use crate::nn::labels::{LabelLayer, LabelShape, LabelValues, Labels};
use crate::nn::layers::{BatchNorm, Bias, Linear, Mode, WEIGHT_STD, conv_weight};
use crate::nn::params::Params;
use crate::ops::{self, Activation, Value};
use candle_core::Var;

enum Output {
    Hidden(BatchNorm),
    Image(Bias),
}

struct Block {
    weight: Var,
    kernel: usize,
    output: Output,
}

/// G(z, c): fully connected layers on the concatenation of z and the one-hot label, or the values that stand for it; then doubling blocks.
pub struct Generator {
    fc: Linear,
    values: LabelValues,
    label: LabelLayer,
    hidden: Option<(BatchNorm, Linear)>,
    first: BatchNorm,
    blocks: Vec<Block>,
    upsample: Upsample,
    start: (usize, usize),
}

impl Generator {
    /// Declares G for `classes` labels.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn new(p: &mut Params, config: &RunConfig, classes: usize) -> Result<Self> {
        let (g, z) = (&config.model.generator, config.model.latent_dim);
        let labels = LabelShape { classes, width: config.model.label_width };
        let conditional = g.conditional_norm.then_some(labels);
        let start = g.start_side * g.start_side * g.start_channels;
        let width = if g.hidden > 0 { g.hidden } else { start };
        let fc = Linear::new(p, "fc", z, width)?;
        // One row acts like the sum over all of z.
        let std = WEIGHT_STD * (z as f64).sqrt();
        let values = LabelValues::new(p, "fc", labels)?;
        let label = LabelLayer::new(p, "fc", labels, width, std)?;
        let hidden = if g.hidden > 0 {
            Some((BatchNorm::new(p, "fc", width, None, Activation::Relu)?, Linear::new(p, "fc2", width, start)?))
        } else {
            None
        };
        let first = BatchNorm::new(p, "start", g.start_channels, conditional, Activation::Relu)?;
        let mut blocks = Vec::new();
        let mut inputs = g.start_channels;
        for (i, (&outputs, &kernel)) in g.channels.iter().zip(&g.kernels).enumerate() {
            let name = format!("block{i}");
            // A transposed convolution has the weights of the convolution that it is the gradient of.
            let weight = match g.upsample {
                Upsample::Transposed => conv_weight(p, &name, kernel, outputs, inputs)?,
                Upsample::Nearest => conv_weight(p, &name, kernel, inputs, outputs)?,
            };
            let output = if i + 1 == g.channels.len() {
                Output::Image(Bias::new(p, &name, outputs, Activation::Tanh)?)
            } else {
                Output::Hidden(BatchNorm::new(p, &name, outputs, conditional, Activation::Relu)?)
            };
            blocks.push(Block { weight, kernel, output });
            inputs = outputs;
        }
        let start = (g.start_side, g.start_channels);
        Ok(Self { fc, values, label, hidden, first, blocks, upsample: g.upsample, start })
    }

    /// # Shapes
    /// - `z`: `[B, Z]`; returns `[B, S, S, 3]` in [-1, 1]
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn forward(&self, z: &Value, labels: &Labels, mode: Mode) -> Result<Value> {
        let labels = &self.values.tell(z, labels)?;
        let x = self.fc.forward(z)?;
        let mut x = x.add(&self.label.forward(&x, labels)?)?;
        if let Some((norm, fc2)) = &self.hidden {
            x = fc2.forward(&norm.forward(&x, None, mode)?)?;
        }
        let (side, channels) = self.start;
        x = self.first.forward(&x.reshape((z.dim(0)?, side, side, channels))?, Some(labels), mode)?;
        for block in &self.blocks {
            let weight = x.leaf(&block.weight);
            x = match self.upsample {
                Upsample::Transposed => ops::conv_transpose2d(&x, &weight, 2, block.kernel / 2 - 1)?,
                Upsample::Nearest => ops::upsample_conv2d(&x, &weight)?,
            };
            x = match &block.output {
                Output::Hidden(norm) => norm.forward(&x, Some(labels), mode)?,
                Output::Image(bias) => bias.forward(&x)?,
            };
        }
        Ok(x)
    }
}
