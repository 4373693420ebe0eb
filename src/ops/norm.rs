//! Batch normalisation fused with the activation that follows, forward and backward.
//!
//! All work on `[B, .., C]` tensors, one image (row of B) per task: sums over an image are taken in order, then the
//! images' sums in order, so that threads cannot change a bit.

use super::buffer::written;
use super::tape::{Value, apply};
use super::{use_kernels, with_values};
use candle_core::{D, Result, Tensor};
use multiversion::multiversion;
use rayon::prelude::*;
use std::mem::MaybeUninit;

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
pub(super) fn affine(x: &[f32], scale: &[f32], shift: &[f32], slope: f32, y: &mut [MaybeUninit<f32>]) {
    let c = scale.len();
    for (px, out) in x.chunks_exact(c).zip(y.chunks_exact_mut(c)) {
        for (((o, v), a), b) in out.iter_mut().zip(px).zip(scale).zip(shift) {
            let t = v * a + b;
            o.write(if t > 0.0 { t } else { t * slope });
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
    dx: &mut [MaybeUninit<f32>],
) {
    let c = mean.len();
    for (((px, py), pd), out) in
        x.chunks_exact(c).zip(y.chunks_exact(c)).zip(dy.chunks_exact(c)).zip(dx.chunks_exact_mut(c))
    {
        for i in 0..c {
            let d = if py[i] > 0.0 { pd[i] } else { pd[i] * slope };
            out[i].write(d * a[i] - (px[i] - mean[i]) * inv_std[i] * k2[i] - k1[i]);
        }
    }
}

/// Sums over one image, for each channel, of the gradient and of its product with the normalised value.
type Sums = (Vec<f32>, Vec<f32>);

/// The row of `[C]` or `[B, C]` parameters that belongs to image `b`.
fn row(v: &[f32], b: usize, c: usize) -> &[f32] {
    if v.len() == c { v } else { &v[b * c..(b + 1) * c] }
}

fn inv_std(var: &[f32]) -> Vec<f32> {
    var.iter().map(|v| (1.0 / (f64::from(*v) + EPS).sqrt()) as f32).collect()
}

/// `act((x - mean) / std * gamma + beta)`; `gamma` and `beta` are `[C]` or `[B, C]`.
fn forward(
    x: &[f32],
    gamma: &[f32],
    beta: &[f32],
    (mean, var): (&[f32], &[f32]),
    batch: usize,
    slope: f32,
) -> Vec<f32> {
    let (c, image, inv) = (mean.len(), x.len() / batch, inv_std(var));
    let write = |y: &mut [MaybeUninit<f32>]| {
        y.par_chunks_mut(image).zip(x.par_chunks(image)).enumerate().for_each(|(b, (y, x))| {
            let scale: Vec<f32> = row(gamma, b, c).iter().zip(&inv).map(|(g, i)| g * i).collect();
            let shift: Vec<f32> = row(beta, b, c).iter().zip(mean).zip(&scale).map(|((b, m), s)| b - m * s).collect();
            affine(x, &scale, &shift, slope, y);
        });
    };
    // SAFETY: the chunks of `y` and of `x` are the same, and `affine` writes every value of a chunk.
    unsafe { written(x.len(), write) }
}

/// Gradients with respect to `x`, and sums for each image of those with respect to its shift and scale.
fn backward(
    (x, y, dy): (&[f32], &[f32], &[f32]),
    gamma: &[f32],
    (mean, var): (&[f32], &[f32]),
    batch: usize,
    slope: f32,
) -> (Vec<f32>, Vec<Sums>) {
    let (c, image, inv) = (mean.len(), x.len() / batch, inv_std(var));
    let of = |b: usize| {
        let r = b * image..(b + 1) * image;
        (&x[r.clone()], &y[r.clone()], &dy[r])
    };
    let sums: Vec<Sums> = (0..batch)
        .into_par_iter()
        .map(|b| {
            let (mut s1, mut s2) = (vec![0.0; c], vec![0.0; c]);
            image_gradient_sums(of(b), (mean, &inv), slope, &mut s1, &mut s2);
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
    let scale = |k: &[f64]| -> Vec<f32> { k.iter().zip(&inv).map(|(k, i)| (k / n) as f32 * i).collect() };
    let (k1, k2) = (scale(&k1), scale(&k2));
    let write = |dx: &mut [MaybeUninit<f32>]| {
        dx.par_chunks_mut(image).enumerate().for_each(|(b, dx)| {
            let a: Vec<f32> = row(gamma, b, c).iter().zip(&inv).map(|(g, i)| g * i).collect();
            image_input_gradient(of(b), (mean, &inv), slope, (&a, &k1, &k2), dx);
        });
    };
    // SAFETY: `dx` is cut into the images of `x`, and all pixels of each are written.
    (unsafe { written(x.len(), write) }, sums)
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
///
/// # Errors
/// Shapes that do not fit together, or too little memory.
pub fn batch_norm_act(x: &Value, gamma: &Value, beta: &Value, act: Activation) -> Result<(Value, BatchStats)> {
    let (batch, c) = (x.dim(0)?, x.dim(D::Minus1)?);
    let expected: [&[usize]; 2] = [&[c], &[batch, c]];
    let fits = x.rank() >= 2 && x.elem_count() > 0;
    if !fits || !expected.contains(&gamma.dims()) || gamma.dims() != beta.dims() {
        candle_core::bail!("batch_norm: parameters {:?} do not fit {:?}", gamma.dims(), x.dims());
    }
    let Some(slope) = act.slope() else { candle_core::bail!("batch_norm: {act:?} has no fused backward pass") };
    if !use_kernels(x) {
        return reference(x, gamma, beta, act);
    }
    let (y, mean, var) = with_values(x, |x| {
        let (mean, var) = moments(x, batch, c);
        let y = with_values(gamma, |g| with_values(beta, |b| Ok(forward(x, g, b, (&mean, &var), batch, slope))))?;
        Ok((y, mean, var))
    })?;
    let y = Tensor::from_vec(y, x.shape(), x.device())?;
    let stats =
        BatchStats { mean: Tensor::from_slice(&mean, c, x.device())?, var: Tensor::from_slice(&var, c, x.device())? };
    let (xt, yt, gt) = (x.tensor().clone(), y.clone(), gamma.tensor().clone());
    let y = Value::record(&[x, gamma, beta], y, move |dy, wanted| {
        let (dx, sums) = with_values(&xt, |x| {
            with_values(&yt, |y| {
                with_values(dy, |dy| with_values(&gt, |g| Ok(backward((x, y, dy), g, (&mean, &var), batch, slope))))
            })
        })?;
        let (s1, s2): (Vec<_>, Vec<_>) = sums.into_iter().unzip();
        // Parameters of each image have gradients of their own; shared ones the sum.
        let gather = |per_image: Vec<Vec<f32>>| {
            let values = if gt.elem_count() == c { total(&per_image, c) } else { per_image.concat() };
            Tensor::from_vec(values, gt.shape(), gt.device())
        };
        let dx = Tensor::from_vec(dx, xt.shape(), xt.device())?;
        Ok(vec![Some(dx), wanted[1].then(|| gather(s2)).transpose()?, wanted[2].then(|| gather(s1)).transpose()?])
    });
    Ok((y, stats))
}

/// [`batch_norm_act`] in candle's operations.
fn reference(x: &Value, gamma: &Value, beta: &Value, act: Activation) -> Result<(Value, BatchStats)> {
    let moments = |x: &Tensor| -> Result<(Tensor, Tensor)> {
        let flat = x.reshape(((), x.dim(D::Minus1)?))?;
        let mean = flat.mean(0)?;
        let var = flat.broadcast_sub(&mean)?.sqr()?.mean(0)?;
        Ok((mean, var))
    };
    let (mean, var) = moments(&x.detach())?;
    let y = apply(&[x, gamma, beta], |t| {
        let (mean, var) = moments(&t[0])?;
        let xhat = t[0].broadcast_sub(&mean)?.broadcast_div(&(&var + EPS)?.sqrt()?)?;
        let rank = t[0].rank();
        let y = xhat.broadcast_mul(&broadcastable(&t[1], rank)?)?.broadcast_add(&broadcastable(&t[2], rank)?)?;
        act.reference(&y)
    })?;
    Ok((y, BatchStats { mean, var }))
}

/// `act(x * scale + shift)` per channel: normalisation with fixed statistics. Differentiated by `x` alone.
///
/// # Shapes
/// - `x`: `[B, .., C]`; `scale`, `shift`: `[C]` or `[B, C]`
///
/// # Errors
/// Shapes that do not fit together, or too little memory.
pub fn channel_affine_act(x: &Value, scale: &Tensor, shift: &Tensor, act: Activation) -> Result<Value> {
    let (true, Some(slope)) = (use_kernels(x), act.slope()) else {
        let (scale, shift) = (broadcastable(scale, x.rank())?, broadcastable(shift, x.rank())?);
        return apply(&[x], |t| act.reference(&t[0].broadcast_mul(&scale)?.broadcast_add(&shift)?));
    };
    let (batch, c) = (x.dim(0)?, x.dim(D::Minus1)?);
    let sizes = [c, batch * c];
    if x.rank() < 2 || x.elem_count() == 0 || ![scale, shift].iter().all(|t| sizes.contains(&t.elem_count())) {
        candle_core::bail!("channel_affine: parameters {:?} do not fit {:?}", scale.dims(), x.dims());
    }
    let image = x.elem_count() / batch;
    let y = with_values(x, |x| {
        with_values(scale, |scale| {
            with_values(shift, |shift| {
                let write = |y: &mut [MaybeUninit<f32>]| {
                    y.par_chunks_mut(image).zip(x.par_chunks(image)).enumerate().for_each(|(b, (y, x))| {
                        affine(x, row(scale, b, c), row(shift, b, c), slope, y);
                    });
                };
                // SAFETY: the chunks of `y` and of `x` are the same, and `affine` writes every value of a chunk.
                Ok(unsafe { written(x.len(), write) })
            })
        })
    })?;
    let y = Tensor::from_vec(y, x.shape(), x.device())?;
    let (yt, scale) = (y.clone(), scale.clone());
    Ok(Value::record(&[x], y, move |dy, _| {
        let zeros = vec![0.0; c];
        let dx = with_values(&yt, |y| {
            with_values(dy, |dy| {
                with_values(&scale, |scale| {
                    let write = |dx: &mut [MaybeUninit<f32>]| {
                        let images = y.par_chunks(image).zip(dy.par_chunks(image));
                        dx.par_chunks_mut(image).zip(images).enumerate().for_each(|(b, (dx, (y, dy)))| {
                            // Fixed statistics depend on nothing: what they add to the gradient is 0.
                            let fixed = (row(scale, b, c), &zeros[..], &zeros[..]);
                            image_input_gradient((y, y, dy), (&zeros, &zeros), slope, fixed, dx);
                        });
                    };
                    // SAFETY: there are as many chunks of `dx` as of `y`, and all pixels of each are written.
                    Ok(unsafe { written(y.len(), write) })
                })
            })
        })?;
        Ok(vec![Some(Tensor::from_vec(dx, yt.shape(), yt.device())?)])
    }))
}
