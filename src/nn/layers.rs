//! Layers that the four networks share. Images are `[B, H, W, C]`.

use super::labels::{LabelShape, Told};
pub use super::linear::{Linear, WEIGHT_STD};
use super::params::{Init, Params};
use crate::error::Result;
use crate::ops::{self, Activation, Value, batch_norm_act, channel_affine_act, norm::EPS};
use candle_core::{D, Var};

/// Which statistics normalisations use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The batch's, and the running statistics follow them.
    Train,
    /// The batch's; the running statistics stay.
    Batch,
    /// The running ones: each image's result is independent of the others.
    Eval,
}

/// Share of the newest batch in the running statistics.
const MOMENTUM: f64 = 0.1;

/// Bias, then an activation.
#[derive(Clone)]
pub struct Bias {
    bias: Var,
    act: Activation,
}

impl Bias {
    /// Declares a bias of `channels` zeros.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn new(p: &mut Params, name: &str, channels: usize, act: Activation) -> Result<Self> {
        Ok(Self { bias: p.weight(&format!("{name}.bias"), &[channels], Init::Constant(0.0))?, act })
    }

    /// Same shape as `x`.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn forward(&self, x: &Value) -> Result<Value> {
        Ok(ops::bias_act(x, &x.leaf(&self.bias), self.act)?)
    }
}

/// Deviation of initial shifts among labels: they need different ones from the start to be worth listening to.
const LABEL_SHIFT: f64 = 0.1;

/// Batch normalisation, then an activation; scale and shift may depend on the label.
#[derive(Clone)]
pub struct BatchNorm {
    gamma: Var,
    beta: Var,
    /// What the values of a label add to scale and shift.
    of_label: Option<[Linear; 2]>,
    running_mean: Var,
    running_var: Var,
    act: Activation,
}

impl BatchNorm {
    /// Declares scale and shift: `[channels]`, or `[K, channels]` where every label has its own.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn new(
        p: &mut Params,
        name: &str,
        channels: usize,
        labels: Option<LabelShape>,
        act: Activation,
    ) -> Result<Self> {
        let shape: Vec<usize> = labels.and_then(LabelShape::rows).into_iter().chain([channels]).collect();
        let (scale, shift) = match labels {
            Some(l) if l.width > 0 => (Init::Constant(1.0), Init::Constant(0.0)),
            Some(_) => (Init::Normal(1.0, WEIGHT_STD), Init::Normal(0.0, LABEL_SHIFT)),
            None => (Init::Normal(1.0, WEIGHT_STD), Init::Constant(0.0)),
        };
        let mut dense = |kind: &str, l: LabelShape, std| l.dense(p, &format!("{name}.label_{kind}"), channels, std);
        let of_label = match labels.filter(|l| l.width > 0) {
            Some(l) => Some([dense("gamma", l, WEIGHT_STD)?, dense("beta", l, LABEL_SHIFT)?]),
            None => None,
        };
        Ok(Self {
            gamma: p.weight(&format!("{name}.gamma"), &shape, scale)?,
            beta: p.weight(&format!("{name}.beta"), &shape, shift)?,
            of_label,
            running_mean: p.buffer(&format!("{name}.running_mean"), &[channels], 0.0)?,
            running_var: p.buffer(&format!("{name}.running_var"), &[channels], 1.0)?,
            act,
        })
    }

    /// Same shape as `x`; `labels` are needed by conditional normalisation only.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn forward(&self, x: &Value, labels: Option<&Told>, mode: Mode) -> Result<Value> {
        let (gamma, beta) = (x.leaf(&self.gamma), x.leaf(&self.beta));
        let (gamma, beta) = match (labels, &self.of_label) {
            (Some(Told::Numbers(labels)), None) if gamma.rank() == 2 => (labels.gather(&gamma)?, labels.gather(&beta)?),
            (Some(Told::Values(values)), Some([scale, shift])) => {
                let sum = |of: &Linear, to: &Value| -> Result<Value> {
                    Ok(ops::bias_act(&of.forward(values)?, to, Activation::Identity)?)
                };
                (sum(scale, &gamma)?, sum(shift, &beta)?)
            }
            _ => (gamma, beta),
        };
        if mode == Mode::Eval {
            let inv_std = (self.running_var.as_tensor() + EPS)?.sqrt()?.recip()?;
            let scale = gamma.broadcast_mul(&inv_std)?;
            let shift = (beta.tensor() - scale.broadcast_mul(self.running_mean.as_tensor())?)?;
            return Ok(channel_affine_act(x, &scale, &shift, self.act)?);
        }
        let (y, stats) = batch_norm_act(x, &gamma, &beta, self.act)?;
        if mode == Mode::Train {
            let n = (x.elem_count() / x.dim(D::Minus1)?) as f64;
            let unbiased = (stats.var * (n / (n - 1.0).max(1.0)))?;
            ops::adam::moving_average(&self.running_mean, &stats.mean, 1.0 - MOMENTUM)?;
            ops::adam::moving_average(&self.running_var, &unbiased, 1.0 - MOMENTUM)?;
        }
        Ok(y)
    }
}

/// Convolution, batch normalisation, activation.
#[derive(Clone)]
pub struct ConvNorm {
    weight: Var,
    stride: usize,
    pad: usize,
    norm: BatchNorm,
}

impl ConvNorm {
    /// Declares a square `kernel` with `pad` such that stride 1 keeps the side (odd kernels).
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn new(
        p: &mut Params,
        name: &str,
        (inputs, outputs): (usize, usize),
        (kernel, stride, pad): (usize, usize, usize),
        act: Activation,
    ) -> Result<Self> {
        Ok(Self {
            weight: conv_weight(p, name, kernel, inputs, outputs)?,
            stride,
            pad,
            norm: BatchNorm::new(p, name, outputs, None, act)?,
        })
    }

    /// `[B, H, W, inputs]` to `[B, H', W', outputs]`.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn forward(&self, x: &Value, mode: Mode) -> Result<Value> {
        self.norm.forward(&ops::conv2d(x, &x.leaf(&self.weight), self.stride, self.pad)?, None, mode)
    }
}

/// Declares the weights `[kernel, kernel, inputs, outputs]` of a convolution.
///
/// # Errors
/// Shapes that do not fit together, or too little memory.
pub fn conv_weight(p: &mut Params, name: &str, kernel: usize, inputs: usize, outputs: usize) -> Result<Var> {
    p.weight(&format!("{name}.conv"), &[kernel, kernel, inputs, outputs], Init::Normal(0.0, WEIGHT_STD))
}
