//! Layers that the four networks share. Images are `[B, H, W, C]`.

use super::params::{Init, Params};
use crate::error::Result;
use crate::ops::{self, Activation, Value, apply, batch_norm_act, channel_affine_act, norm::EPS};
use candle_core::{D, Device, Tensor, Var};

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

/// Deviation of DCGAN's initial weights.
pub const WEIGHT_STD: f64 = 0.02;

/// Class labels of a batch: one label an image, or a weighted mix of several.
#[derive(Clone, Debug)]
pub struct Labels {
    /// u32 `[B * M]`
    ids: Tensor,
    /// `[B, M, 1]`, absent for plain labels (M = 1)
    weights: Option<Tensor>,
    /// What the weights lack to a sum of 1, `[B, 1]`: the weight of the mean of all labels. Absent where nothing is lacking.
    rest: Option<Tensor>,
}

/// Sums of weights that differ by less are equal.
const SAME_SUM: f32 = 1e-6;

impl Labels {
    /// One label an image.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn plain(labels: &[u32], device: &Device) -> Result<Self> {
        Ok(Self { ids: Tensor::from_slice(labels, labels.len(), device)?, weights: None, rest: None })
    }

    /// The same number M of (label, weight) pairs an image. The mean of all labels has the weight that is left to 1: weights of a sum above
    /// 1 lie beyond the labels' own average as seen from it.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn mixed(mixes: &[Vec<(u32, f32)>], device: &Device) -> Result<Self> {
        let m = mixes.first().map_or(0, Vec::len);
        if m == 1 && mixes.iter().all(|mix| mix[0].1 == 1.0) {
            return Self::plain(&mixes.iter().map(|mix| mix[0].0).collect::<Vec<_>>(), device);
        }
        let ids: Vec<u32> = mixes.iter().flatten().map(|(id, _)| *id).collect();
        let weights: Vec<f32> = mixes.iter().flatten().map(|(_, w)| *w).collect();
        let lacking = |mix: &Vec<(u32, f32)>| 1.0 - mix.iter().map(|(_, w)| w).sum::<f32>();
        let rest: Vec<f32> = mixes.iter().map(lacking).map(|r| if r.abs() < SAME_SUM { 0.0 } else { r }).collect();
        let whole = rest.iter().all(|r| *r == 0.0);
        Ok(Self {
            ids: Tensor::from_slice(&ids, ids.len(), device)?,
            weights: Some(Tensor::from_vec(weights, (mixes.len(), m, 1), device)?),
            rest: if whole { None } else { Some(Tensor::from_vec(rest, (mixes.len(), 1), device)?) },
        })
    }

    /// Rows of `table` that belong to the labels: the product of one-hot rows and `table`, without the one-hot.
    ///
    /// # Shapes
    /// - `table`: `[K, N]`; returns `[B, N]`
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn gather(&self, table: &Value) -> Result<Value> {
        let Some(weights) = &self.weights else { return Ok(table.rows(&self.ids)?) };
        let (b, m, _) = weights.dims3()?;
        let rows = table.rows(&self.ids)?;
        Ok(apply(&[&rows, table], |t| {
            let mixed = t[0].reshape((b, m, ()))?.broadcast_mul(weights)?.sum(1)?;
            match &self.rest {
                Some(rest) => mixed + rest.matmul(&t[1].mean_keepdim(0)?)?,
                None => Ok(mixed),
            }
        })?)
    }
}

/// Fully connected layer without bias or activation: `x W`, as a 1x1 convolution, whose sums have a fixed order.
#[derive(Clone)]
pub struct Linear {
    /// `[1, 1, inputs, outputs]`
    weight: Var,
}

impl Linear {
    /// Declares the weights of `inputs` x `outputs`.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn new(p: &mut Params, name: &str, inputs: usize, outputs: usize) -> Result<Self> {
        Ok(Self {
            weight: p.weight(&format!("{name}.weight"), &[1, 1, inputs, outputs], Init::Normal(0.0, WEIGHT_STD))?,
        })
    }

    /// `[B, inputs]` to `[B, outputs]`.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn forward(&self, x: &Value) -> Result<Value> {
        let (b, inputs) = x.dims2()?;
        let y = ops::conv2d(&x.reshape((b, 1, 1, inputs))?, &x.leaf(&self.weight), 1, 0)?;
        Ok(y.reshape((b, y.dim(D::Minus1)?))?)
    }
}

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

/// Batch normalisation, then an activation; with `classes`, scale and shift depend on the label.
#[derive(Clone)]
pub struct BatchNorm {
    gamma: Var,
    beta: Var,
    running_mean: Var,
    running_var: Var,
    act: Activation,
}

impl BatchNorm {
    /// Declares scale and shift `[channels]`, or `[classes, channels]`.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn new(p: &mut Params, name: &str, channels: usize, classes: Option<usize>, act: Activation) -> Result<Self> {
        let shape: Vec<usize> = classes.into_iter().chain([channels]).collect();
        // Labels need different rows from the start to be worth listening to.
        let shift = if classes.is_some() { Init::Normal(0.0, 0.1) } else { Init::Constant(0.0) };
        Ok(Self {
            gamma: p.weight(&format!("{name}.gamma"), &shape, Init::Normal(1.0, WEIGHT_STD))?,
            beta: p.weight(&format!("{name}.beta"), &shape, shift)?,
            running_mean: p.buffer(&format!("{name}.running_mean"), &[channels], 0.0)?,
            running_var: p.buffer(&format!("{name}.running_var"), &[channels], 1.0)?,
            act,
        })
    }

    /// Same shape as `x`; `labels` are needed by conditional normalisation only.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn forward(&self, x: &Value, labels: Option<&Labels>, mode: Mode) -> Result<Value> {
        let (gamma, beta) = (x.leaf(&self.gamma), x.leaf(&self.beta));
        let (gamma, beta) = match (labels, self.gamma.rank()) {
            (Some(labels), 2) => (labels.gather(&gamma)?, labels.gather(&beta)?),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_that_do_not_sum_to_1_leave_the_rest_to_the_mean() {
        let table = Tensor::new(&[[1f32, 10.0], [3.0, 30.0], [8.0, 20.0]], &Device::Cpu).unwrap();
        let mixes = [vec![(0, 0.5), (1, 1.0)], vec![(2, 1.0), (0, 0.0)], vec![(0, 0.25), (1, 0.75)]];
        let rows = |mixes: &[Vec<(u32, f32)>]| {
            let labels = Labels::mixed(mixes, &Device::Cpu).unwrap();
            labels.gather(&(&table).into()).unwrap().to_vec2::<f32>().unwrap()
        };
        // The mean is 4, 20; half of it too much has been taken.
        let expected = [vec![3.5 - 2.0, 35.0 - 10.0], vec![8.0, 20.0], vec![2.5, 25.0]];
        assert_eq!(rows(&mixes), expected);
        // A row does not depend on the others.
        for (mix, row) in mixes.iter().zip(&expected) {
            assert_eq!(rows(std::slice::from_ref(mix))[0], *row);
        }
    }
}
