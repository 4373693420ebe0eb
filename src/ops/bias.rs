//! Bias fused with the activation that follows, forward and backward.

use super::buffer::written;
use super::norm::{Activation, affine, total};
use super::tape::{Value, apply};
use super::{use_kernels, with_values};
use candle_core::{Result, Tensor};
use multiversion::multiversion;
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// `dx = dy * act'` of one image and its sum over pixels; `y` is the activation's result.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2+fma"))]
fn image_gradient(y: &[f32], dy: &[f32], slope: Option<f32>, dx: &mut [MaybeUninit<f32>], sum: &mut [f32]) {
    let c = sum.len();
    for ((dx, y), dy) in dx.chunks_exact_mut(c).zip(y.chunks_exact(c)).zip(dy.chunks_exact(c)) {
        for (((dx, y), dy), sum) in dx.iter_mut().zip(y).zip(dy).zip(sum.iter_mut()) {
            let d = match slope {
                Some(slope) => dy * if *y > 0.0 { 1.0 } else { slope },
                None => dy * (1.0 - y * y),
            };
            dx.write(d);
            *sum += d;
        }
    }
}

fn forward(x: &[f32], bias: &[f32], image: usize, act: Activation) -> Vec<f32> {
    let ones = vec![1.0; bias.len()];
    // SAFETY: the chunks of `y` and of `x` are the same, and `affine` writes every value of a chunk.
    let mut y = unsafe {
        written(x.len(), |y| {
            y.par_chunks_mut(image).zip(x.par_chunks(image)).for_each(|(y, x)| {
                affine(x, &ones, bias, act.slope().unwrap_or(1.0), y);
            });
        })
    };
    if act == Activation::Tanh {
        y.par_chunks_mut(image).for_each(|y| y.iter_mut().for_each(|v| *v = v.tanh()));
    }
    y
}

/// `act(x + bias)` per channel.
///
/// # Shapes
/// - `x`: `[B, .., C]`, `bias`: `[C]`
///
/// # Errors
/// Shapes that do not fit together, or too little memory.
pub fn bias_act(x: &Value, bias: &Value, act: Activation) -> Result<Value> {
    let c = bias.elem_count();
    if x.rank() < 2 || x.elem_count() == 0 || x.dims().last() != Some(&c) {
        candle_core::bail!("bias_act: bias {:?} does not fit {:?}", bias.dims(), x.dims());
    }
    if !use_kernels(x) {
        return apply(&[x, bias], |t| act.reference(&t[0].broadcast_add(&t[1])?));
    }
    let image = x.elem_count() / x.dim(0)?;
    let y = with_values(x, |x| with_values(bias, |bias| Ok(forward(x, bias, image, act))))?;
    let y = Tensor::from_vec(y, x.shape(), x.device())?;
    let saved = y.clone();
    let shape = bias.shape().clone();
    Ok(Value::record(&[x, bias], y, move |dy, _| {
        let mut sums = vec![vec![0.0; c]; saved.elem_count() / image];
        let dx = with_values(&saved, |y| {
            with_values(dy, |dy| {
                let write = |dx: &mut [MaybeUninit<f32>]| {
                    let parts = dx.par_chunks_mut(image).zip(y.par_chunks(image).zip(dy.par_chunks(image)));
                    parts.zip(&mut sums).for_each(|((dx, (y, dy)), sum)| image_gradient(y, dy, act.slope(), dx, sum));
                };
                // SAFETY: there are as many chunks of `dx` as of `y`, and whole pixels of each are written.
                Ok(unsafe { written(y.len(), write) })
            })
        })?;
        let dx = Tensor::from_vec(dx, saved.shape(), dy.device())?;
        Ok(vec![Some(dx), Some(Tensor::from_vec(total(&sums, c), &shape, dy.device())?)])
    }))
}
