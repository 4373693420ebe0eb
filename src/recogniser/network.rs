//! The recogniser's network: a residual trunk with PReLU, a global depthwise convolution, an embedding, and a row of
//! weights for each class, which only training uses.

use crate::config::RecogniserConfig;
use crate::error::Result;
use crate::nn::layers::{BatchNorm, Linear, Mode};
use crate::nn::params::{Init, Params};
use crate::ops::{self, Activation, Value, apply};
use candle_core::{D, Tensor, Var};

/// Slope of PReLU before training.
const SLOPE: f64 = 0.25;
/// Keeps the norm of a zero vector from dividing by zero.
const NORM_EPS: f64 = 1e-12;

/// Convolution without bias and batch normalisation.
struct ConvNorm {
    weight: Var,
    stride: usize,
    norm: BatchNorm,
}

impl ConvNorm {
    fn new(
        p: &mut Params,
        name: &str,
        (inputs, outputs): (usize, usize),
        kernel: usize,
        stride: usize,
    ) -> Result<Self> {
        // He et al. 2015: activations keep their variance from layer to layer.
        let std = (2.0 / (kernel * kernel * inputs) as f64).sqrt();
        let weight = p.weight(&format!("{name}.conv"), &[kernel, kernel, inputs, outputs], Init::Normal(0.0, std))?;
        Ok(Self { weight, stride, norm: BatchNorm::new(p, name, outputs, None, Activation::Identity)? })
    }

    fn forward(&self, x: &Value, mode: Mode) -> Result<Value> {
        let pad = self.weight.dim(0)? / 2;
        self.norm.forward(&ops::conv2d(x, &x.leaf(&self.weight), self.stride, pad)?, None, mode)
    }
}

/// Declares the slopes of a PReLU.
fn slopes(p: &mut Params, name: &str, channels: usize) -> Result<Var> {
    p.weight(&format!("{name}.slopes"), &[channels], Init::Constant(SLOPE))
}

/// Two 3x3 convolutions beside a shortcut.
struct Block {
    first: ConvNorm,
    slopes: Var,
    second: ConvNorm,
    shortcut: Option<ConvNorm>,
    out_slopes: Var,
}

impl Block {
    fn new(p: &mut Params, name: &str, (inputs, outputs): (usize, usize), stride: usize) -> Result<Self> {
        let reshapes = stride != 1 || inputs != outputs;
        Ok(Self {
            first: ConvNorm::new(p, &format!("{name}.first"), (inputs, outputs), 3, stride)?,
            slopes: slopes(p, &format!("{name}.first"), outputs)?,
            second: ConvNorm::new(p, &format!("{name}.second"), (outputs, outputs), 3, 1)?,
            shortcut: reshapes
                .then(|| ConvNorm::new(p, &format!("{name}.shortcut"), (inputs, outputs), 1, stride))
                .transpose()?,
            out_slopes: slopes(p, name, outputs)?,
        })
    }

    fn forward(&self, x: &Value, mode: Mode) -> Result<Value> {
        let h = self.first.forward(x, mode)?;
        let h = self.second.forward(&ops::prelu(&h, &x.leaf(&self.slopes))?, mode)?;
        let short = match &self.shortcut {
            Some(conv) => conv.forward(x, mode)?,
            None => x.clone(),
        };
        Ok(ops::prelu(&h.add(&short)?, &x.leaf(&self.out_slopes))?)
    }
}

/// The network of [`RecogniserConfig`].
pub struct RecogniserNet {
    stem: ConvNorm,
    stem_slopes: Var,
    blocks: Vec<Block>,
    /// `[side, side, channels]`
    global: Var,
    global_norm: BatchNorm,
    embedding: Linear,
    embedding_norm: BatchNorm,
    /// `[1, 1, embedding_size, K]`
    classes: Var,
}

impl RecogniserNet {
    /// Declares the network for images of side `image_size` and `classes` labels.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn new(p: &mut Params, config: &RecogniserConfig, image_size: usize, classes: usize) -> Result<Self> {
        let stem = ConvNorm::new(p, "stem", (3, config.stem_channels), 3, 1)?;
        let stem_slopes = slopes(p, "stem", config.stem_channels)?;
        let (mut blocks, mut inputs) = (Vec::new(), config.stem_channels);
        for (stage, (&outputs, &count)) in config.channels.iter().zip(&config.blocks).enumerate() {
            for i in 0..count {
                let stride = if i == 0 { 2 } else { 1 };
                blocks.push(Block::new(p, &format!("stage{stage}.{i}"), (inputs, outputs), stride)?);
                inputs = outputs;
            }
        }
        let side = image_size >> config.channels.len();
        let std = 1.0 / side as f64;
        let size = config.embedding_size;
        Ok(Self {
            stem,
            stem_slopes,
            blocks,
            global: p.weight("global.depthwise", &[side, side, inputs], Init::Normal(0.0, std))?,
            global_norm: BatchNorm::new(p, "global", inputs, None, Activation::Identity)?,
            embedding: Linear::new(p, "embedding", inputs, size)?,
            embedding_norm: BatchNorm::new(p, "embedding", size, None, Activation::Identity)?,
            classes: p.weight("classes.weight", &[1, 1, size, classes], Init::Normal(0.0, 0.01))?,
        })
    }

    /// Embeddings of length 1.
    ///
    /// # Shapes
    /// - `x`: `[B, S, S, 3]` in [-1, 1]; returns `[B, embedding_size]`
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn embed(&self, x: &Value, mode: Mode) -> Result<Value> {
        let mut h = ops::prelu(&self.stem.forward(x, mode)?, &x.leaf(&self.stem_slopes))?;
        for block in &self.blocks {
            h = block.forward(&h, mode)?;
        }
        let h = ops::depthwise_conv2d(&h, &h.leaf(&self.global), 1, 0)?;
        let h = h.reshape((h.dim(0)?, h.dim(D::Minus1)?))?;
        let h = self.embedding.forward(&self.global_norm.forward(&h, None, mode)?)?;
        normalised(&self.embedding_norm.forward(&h, None, mode)?, 1)
    }

    /// Cosines between embeddings and the weights of each class.
    ///
    /// # Shapes
    /// - `embeddings`: `[B, embedding_size]`; returns `[B, K]`
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn cosines(&self, embeddings: &Value) -> Result<Value> {
        let (b, size) = embeddings.dims2()?;
        let weights = normalised(&embeddings.leaf(&self.classes), 2)?;
        let cosines = ops::conv2d(&embeddings.reshape((b, 1, 1, size))?, &weights, 1, 0)?;
        Ok(cosines.reshape((b, cosines.dim(D::Minus1)?))?)
    }
}

/// Vectors along dimension `dim` scaled to length 1.
fn normalised(x: &Value, dim: usize) -> Result<Value> {
    Ok(apply(&[x], |t| unit(&t[0], dim))?)
}

/// [`normalised`] on a plain tensor.
///
/// # Errors
/// Shapes that do not fit together, or too little memory.
pub fn unit(x: &Tensor, dim: usize) -> candle_core::Result<Tensor> {
    x.broadcast_div(&(x.sqr()?.sum_keepdim(dim)? + NORM_EPS)?.sqrt()?)
}
