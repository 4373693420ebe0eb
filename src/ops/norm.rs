//! Batch normalisation fused with the activation that follows, forward and backward.
//!
//! All work on `[B, .., C]` tensors, one image (row of B) per task: sums over an image are taken in order, then the
//! images' sums in order, so that threads cannot change a bit.

use super::{slice, use_kernels, weights_frozen, with_values};
use candle_core::{CpuStorage, CustomOp3, D, Layout, Result, Shape, Tensor};
use multiversion::multiversion;
use rayon::prelude::*;
use std::sync::{Arc, OnceLock};

/// Added to variances.
pub const EPS: f64 = 1e-5;

/// The function applied to a normalised or biased value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// The value itself.
    Identity,
    /// `max(x, 0)`
    Relu,
    /// `max(x, 0.2 x)`, DCGAN's.
    LeakyRelu,
    /// Hyperbolic tangent, for image outputs.
    Tanh,
}

impl Activation {
    /// Slope for negative values; the activation's sign then tells its argument's sign.
    pub(super) fn slope(self) -> Option<f32> {
        match self {
            Self::Identity => Some(1.0),
            Self::Relu => Some(0.0),
            Self::LeakyRelu => Some(0.2),
            Self::Tanh => None,
        }
    }

    /// The same function in candle's operations.
    pub(super) fn reference(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Identity => Ok(x.clone()),
            Self::Relu => x.relu(),
            Self::LeakyRelu => (x.relu()? * 0.8)? + (x * 0.2)?,
            Self::Tanh => x.tanh(),
        }
    }
}

/// Mean and (biased) variance of each channel over a batch, `[C]` each.
#[derive(Clone, Debug)]
pub struct BatchStats {
    /// `[C]`
    pub mean: Tensor,
    /// `[C]`
    pub var: Tensor,
}

/// Channel sums of one image: mean and sum of squared deviations.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2+fma"))]
fn image_moments(x: &[f32], mean: &mut [f32], m2: &mut [f32]) {
    let c = mean.len();
    for px in x.chunks_exact(c) {
        for (m, v) in mean.iter_mut().zip(px) {
            *m += v;
        }
    }
    let n = (x.len() / c) as f32;
    mean.iter_mut().for_each(|m| *m /= n);
    for px in x.chunks_exact(c) {
        for ((s, v), m) in m2.iter_mut().zip(px).zip(mean.iter()) {
            *s += (v - m) * (v - m);
        }
    }
}

/// Per-channel mean and variance over the batch, from `[B, n, C]` values.
fn moments(x: &[f32], batch: usize, c: usize) -> (Vec<f32>, Vec<f32>) {
    let per_image: Vec<(Vec<f32>, Vec<f32>)> = x
        .par_chunks(x.len() / batch)
        .map(|image| {
            let (mut mean, mut m2) = (vec![0.0; c], vec![0.0; c]);
            image_moments(image, &mut mean, &mut m2);
            (mean, m2)
        })
        .collect();
    let n = (x.len() / batch / c) as f64;
    let mut mean = vec![0.0f64; c];
    for (m, _) in &per_image {
        mean.iter_mut().zip(m).for_each(|(a, b)| *a += f64::from(*b));
    }
    mean.iter_mut().for_each(|m| *m /= batch as f64);
    let mut var = vec![0.0f64; c];
    for (m, m2) in &per_image {
        for ((v, mean), (m, m2)) in var.iter_mut().zip(&mean).zip(m.iter().zip(m2)) {
            *v += f64::from(*m2) + n * (f64::from(*m) - mean).powi(2);
        }
    }
    let total = n * batch as f64;
    (mean.iter().map(|m| *m as f32).collect(), var.iter().map(|v| (v / total) as f32).collect())
}

/// `y = act(x * scale + shift)` over pixels of C channels.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2+fma"))]
pub(super) fn affine(x: &[f32], scale: &[f32], shift: &[f32], slope: f32, y: &mut [f32]) {
    let c = scale.len();
    for (px, out) in x.chunks_exact(c).zip(y.chunks_exact_mut(c)) {
        for (((o, v), a), b) in out.iter_mut().zip(px).zip(scale).zip(shift) {
            let t = v * a + b;
            *o = if t > 0.0 { t } else { t * slope };
        }
    }
}

/// Sums over one image of `dpre` and `dpre * xhat`, where `dpre = dy * act'`.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2+fma"))]
fn image_gradient_sums(
    (x, y, dy): (&[f32], &[f32], &[f32]),
    (mean, inv_std): (&[f32], &[f32]),
    slope: f32,
    s1: &mut [f32],
    s2: &mut [f32],
) {
    let c = mean.len();
    for ((px, py), pd) in x.chunks_exact(c).zip(y.chunks_exact(c)).zip(dy.chunks_exact(c)) {
        for i in 0..c {
            let d = if py[i] > 0.0 { pd[i] } else { pd[i] * slope };
            s1[i] += d;
            s2[i] += d * ((px[i] - mean[i]) * inv_std[i]);
        }
    }
}

/// `dx = dpre * a - xhat * k2 - k1` for one image, per-channel coefficients.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2+fma"))]
fn image_input_gradient(
    (x, y, dy): (&[f32], &[f32], &[f32]),
    (mean, inv_std): (&[f32], &[f32]),
    slope: f32,
    (a, k1, k2): (&[f32], &[f32], &[f32]),
    dx: &mut [f32],
) {
    let c = mean.len();
    for (((px, py), pd), out) in
        x.chunks_exact(c).zip(y.chunks_exact(c)).zip(dy.chunks_exact(c)).zip(dx.chunks_exact_mut(c))
    {
        for i in 0..c {
            let d = if py[i] > 0.0 { pd[i] } else { pd[i] * slope };
            out[i] = d * a[i] - (px[i] - mean[i]) * inv_std[i] * k2[i] - k1[i];
        }
    }
}

/// Statistics that the forward pass leaves for the backward pass and the caller.
type Saved = Arc<OnceLock<(Vec<f32>, Vec<f32>)>>;

struct BatchNormAct {
    slope: f32,
    saved: Saved,
}

/// The row of `[C]` or `[B, C]` parameters that belongs to image `b`.
fn row(v: &[f32], b: usize, c: usize) -> &[f32] {
    if v.len() == c { v } else { &v[b * c..(b + 1) * c] }
}

fn inv_std(var: &[f32]) -> Vec<f32> {
    var.iter().map(|v| (1.0 / (f64::from(*v) + EPS).sqrt()) as f32).collect()
}

impl CustomOp3 for BatchNormAct {
    fn name(&self) -> &'static str {
        "batch-norm-act"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        gamma: &CpuStorage,
        gl: &Layout,
        beta: &CpuStorage,
        bl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (xv, gamma, beta) = (slice(x, xl)?, slice(gamma, gl)?, slice(beta, bl)?);
        let (batch, c) = (xl.dims()[0], xl.shape().dims()[xl.dims().len() - 1]);
        let (mean, var) = moments(xv, batch, c);
        let inv = inv_std(&var);
        let mut y = vec![0.0; xv.len()];
        let image = xv.len() / batch;
        y.par_chunks_mut(image).zip(xv.par_chunks(image)).enumerate().for_each(|(b, (y, x))| {
            let scale: Vec<f32> = row(gamma, b, c).iter().zip(&inv).map(|(g, i)| g * i).collect();
            let shift: Vec<f32> = row(beta, b, c).iter().zip(&mean).zip(&scale).map(|((b, m), s)| b - m * s).collect();
            affine(x, &scale, &shift, self.slope, y);
        });
        let _ = self.saved.set((mean, var));
        Ok((CpuStorage::F32(y), xl.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        gamma: &Tensor,
        beta: &Tensor,
        y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let dims = x.dims();
        let (batch, c) = (dims[0], dims[dims.len() - 1]);
        let Some((mean, var)) = self.saved.get() else {
            candle_core::bail!("batch normalisation: backward before forward")
        };
        let inv = inv_std(var);
        let slope = self.slope;
        let image = x.elem_count() / batch;
        let (dx, sums) = with_values(x, |xv| {
            with_values(y, |yv| {
                with_values(dy, |dyv| {
                    with_values(gamma, |gamma| {
                        let sums: Vec<(Vec<f32>, Vec<f32>)> = (0..batch)
                            .into_par_iter()
                            .map(|b| {
                                let r = b * image..(b + 1) * image;
                                let (mut s1, mut s2) = (vec![0.0; c], vec![0.0; c]);
                                let (x, y, dy) = (&xv[r.clone()], &yv[r.clone()], &dyv[r]);
                                image_gradient_sums((x, y, dy), (mean, &inv), slope, &mut s1, &mut s2);
                                (s1, s2)
                            })
                            .collect();
                        let n = (batch * image / c) as f64;
                        // inv_std * mean over the batch of dxhat and of dxhat * xhat
                        let (mut k1, mut k2) = (vec![0.0f64; c], vec![0.0f64; c]);
                        for (b, (s1, s2)) in sums.iter().enumerate() {
                            for (i, g) in row(gamma, b, c).iter().enumerate() {
                                k1[i] += f64::from(g * s1[i]);
                                k2[i] += f64::from(g * s2[i]);
                            }
                        }
                        let scale =
                            |k: &[f64]| -> Vec<f32> { k.iter().zip(&inv).map(|(k, i)| (k / n) as f32 * i).collect() };
                        let (k1, k2) = (scale(&k1), scale(&k2));
                        let mut dx = vec![0.0; xv.len()];
                        dx.par_chunks_mut(image).enumerate().for_each(|(b, dx)| {
                            let a: Vec<f32> = row(gamma, b, c).iter().zip(&inv).map(|(g, i)| g * i).collect();
                            let r = b * image..(b + 1) * image;
                            let (x, y, dy) = (&xv[r.clone()], &yv[r.clone()], &dyv[r]);
                            image_input_gradient((x, y, dy), (mean, &inv), slope, (&a, &k1, &k2), dx);
                        });
                        Ok((dx, sums))
                    })
                })
            })
        })?;
        let dx = Some(Tensor::from_vec(dx, x.shape(), x.device())?);
        if weights_frozen() {
            return Ok((dx, None, None));
        }
        let (s1, s2): (Vec<_>, Vec<_>) = sums.into_iter().unzip();
        // Parameters of each image have gradients of their own; shared ones the sum.
        let gather =
            |per_image: Vec<Vec<f32>>| if gamma.elem_count() == c { total(&per_image, c) } else { per_image.concat() };
        let dbeta = Tensor::from_vec(gather(s1), beta.shape(), x.device())?;
        let dgamma = Tensor::from_vec(gather(s2), gamma.shape(), x.device())?;
        Ok((dx, Some(dgamma), Some(dbeta)))
    }
}

/// Sum of rows of `c` values, in order.
pub(super) fn total(rows: &[Vec<f32>], c: usize) -> Vec<f32> {
    let mut sum = vec![0.0; c];
    for row in rows {
        sum.iter_mut().zip(row).for_each(|(t, v)| *t += v);
    }
    sum
}

/// Reshapes `[C]` or `[B, C]` parameters so that they broadcast over `[B, .., C]`.
fn broadcastable(p: &Tensor, rank: usize) -> Result<Tensor> {
    if p.rank() == 1 {
        return Ok(p.clone());
    }
    let (b, c) = p.dims2()?;
    let mut shape = vec![1; rank];
    (shape[0], shape[rank - 1]) = (b, c);
    p.reshape(shape)
}

/// Batch normalisation over all but the last dimension, then the activation (not tanh).
///
/// Returns the result and the batch's statistics.
///
/// # Shapes
/// - `x`: `[B, .., C]`; `gamma`, `beta`: `[C]`, or `[B, C]` where each image has its own (conditional normalisation)
pub fn batch_norm_act(x: &Tensor, gamma: &Tensor, beta: &Tensor, act: Activation) -> Result<(Tensor, BatchStats)> {
    let c = x.dim(D::Minus1)?;
    let expected: [&[usize]; 2] = [&[c], &[x.dim(0)?, c]];
    if !expected.contains(&gamma.dims()) || gamma.dims() != beta.dims() {
        candle_core::bail!("batch_norm: parameters {:?} do not fit {:?}", gamma.dims(), x.dims());
    }
    let Some(slope) = act.slope() else { candle_core::bail!("batch_norm: {act:?} has no fused backward pass") };
    if use_kernels(x) {
        let saved = Saved::default();
        let op = BatchNormAct { slope, saved: saved.clone() };
        let y = x.contiguous()?.apply_op3(&gamma.contiguous()?, &beta.contiguous()?, op)?;
        let Some((mean, var)) = saved.get() else { candle_core::bail!("batch_norm: no statistics") };
        let stats =
            BatchStats { mean: Tensor::from_slice(mean, c, x.device())?, var: Tensor::from_slice(var, c, x.device())? };
        return Ok((y, stats));
    }
    let flat = x.reshape(((), c))?;
    let mean = flat.mean(0)?;
    let var = flat.broadcast_sub(&mean)?.sqr()?.mean(0)?;
    let xhat = x.broadcast_sub(&mean)?.broadcast_div(&(&var + EPS)?.sqrt()?)?;
    let y = xhat.broadcast_mul(&broadcastable(gamma, x.rank())?)?.broadcast_add(&broadcastable(beta, x.rank())?)?;
    Ok((act.reference(&y)?, BatchStats { mean: mean.detach(), var: var.detach() }))
}

struct Affine {
    slope: f32,
}

impl CustomOp3 for Affine {
    fn name(&self) -> &'static str {
        "channel-affine-act"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        scale: &CpuStorage,
        sl: &Layout,
        shift: &CpuStorage,
        hl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, scale, shift) = (slice(x, xl)?, slice(scale, sl)?, slice(shift, hl)?);
        let (batch, c) = (xl.dims()[0], xl.dims()[xl.dims().len() - 1]);
        let image = x.len() / batch;
        let mut y = vec![0.0; x.len()];
        y.par_chunks_mut(image).zip(x.par_chunks(image)).enumerate().for_each(|(b, (y, x))| {
            affine(x, row(scale, b, c), row(shift, b, c), self.slope, y);
        });
        Ok((CpuStorage::F32(y), xl.shape().clone()))
    }
}

/// `act(x * scale + shift)` per channel: normalisation with fixed statistics. For inference: no gradient passes.
///
/// # Shapes
/// - `x`: `[B, .., C]`; `scale`, `shift`: `[C]` or `[B, C]`
pub fn channel_affine_act(x: &Tensor, scale: &Tensor, shift: &Tensor, act: Activation) -> Result<Tensor> {
    if let (true, Some(slope)) = (use_kernels(x), act.slope()) {
        return x.contiguous()?.apply_op3_no_bwd(&scale.contiguous()?, &shift.contiguous()?, &Affine { slope });
    }
    let y = x.broadcast_mul(&broadcastable(scale, x.rank())?)?.broadcast_add(&broadcastable(shift, x.rank())?)?;
    act.reference(&y)
}
