//! Rectifier whose negative slope is learned, one for each channel (He et al. 2015).

#![allow(
    clippy::inline_always,
    clippy::needless_range_loop,
    reason = "passes are compiled for the instruction set of their caller; fixed ranges become vectors"
)]

use super::buffer::written;
use super::norm::total;
use super::tape::{Value, apply};
use super::{use_kernels, with_values};
use candle_core::{Result, Tensor};
use multiversion::multiversion;
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// Channels that one pass over an image takes: their slopes and sums stay in registers.
const LANES: usize = 16;

/// Calls `$pass` with [`LANES`] channels at a time, and with the rest as single ones.
macro_rules! by_channels {
    ($c:expr, $pass:ident, $($arguments:expr),*) => {
        for first in (0..$c / LANES * LANES).step_by(LANES) {
            $pass::<LANES>(first, $($arguments),*);
        }
        for first in $c / LANES * LANES..$c {
            $pass::<1>(first, $($arguments),*);
        }
    };
}

/// `N` neighbouring values.
#[inline(always)]
fn lanes<const N: usize>(values: &[f32], first: usize) -> [f32; N] {
    let mut out = [0.0; N];
    out.copy_from_slice(&values[first..first + N]);
    out
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2+fma"))]
fn forward(x: &[f32], slopes: &[f32], y: &mut [MaybeUninit<f32>]) {
    by_channels!(slopes.len(), forward_lanes, x, slopes, y);
}

#[inline(always)]
fn forward_lanes<const N: usize>(first: usize, x: &[f32], slopes: &[f32], y: &mut [MaybeUninit<f32>]) {
    let (c, a) = (slopes.len(), lanes::<N>(slopes, first));
    for (x, y) in x.chunks_exact(c).zip(y.chunks_exact_mut(c)) {
        let (x, y) = (lanes::<N>(x, first), &mut y[first..first + N]);
        for i in 0..N {
            y[i].write(if x[i] > 0.0 { x[i] } else { a[i] * x[i] });
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2+fma"))]
fn backward(x: &[f32], dy: &[f32], slopes: &[f32], dx: &mut [MaybeUninit<f32>], sum: &mut [f32]) {
    by_channels!(slopes.len(), backward_lanes, x, dy, slopes, dx, sum);
}

#[inline(always)]
fn backward_lanes<const N: usize>(
    first: usize,
    x: &[f32],
    dy: &[f32],
    slopes: &[f32],
    dx: &mut [MaybeUninit<f32>],
    sum: &mut [f32],
) {
    let (c, a) = (slopes.len(), lanes::<N>(slopes, first));
    let mut sums = [0.0; N];
    for ((x, dy), dx) in x.chunks_exact(c).zip(dy.chunks_exact(c)).zip(dx.chunks_exact_mut(c)) {
        let (x, dy, dx) = (lanes::<N>(x, first), lanes::<N>(dy, first), &mut dx[first..first + N]);
        for i in 0..N {
            let negative = if x[i] > 0.0 { 0.0 } else { dy[i] };
            dx[i].write(if x[i] > 0.0 { dy[i] } else { dy[i] * a[i] });
            sums[i] += negative * x[i];
        }
    }
    sum[first..first + N].copy_from_slice(&sums);
}

/// `max(x, 0) + slope * min(x, 0)` per channel.
///
/// # Shapes
/// - `x`: `[B, .., C]`, `slopes`: `[C]`
///
/// # Errors
/// Shapes that do not fit together, or too little memory.
pub fn prelu(x: &Value, slopes: &Value) -> Result<Value> {
    let c = slopes.elem_count();
    if x.rank() < 2 || x.elem_count() == 0 || x.dims().last() != Some(&c) {
        candle_core::bail!("prelu: slopes {:?} do not fit {:?}", slopes.dims(), x.dims());
    }
    if !use_kernels(x) {
        return apply(&[x, slopes], |t| t[0].relu()? - t[0].neg()?.relu()?.broadcast_mul(&t[1])?);
    }
    let image = x.elem_count() / x.dim(0)?;
    let y = with_values(x, |x| {
        with_values(slopes, |a| {
            let write = |y: &mut [MaybeUninit<f32>]| {
                y.par_chunks_mut(image).zip(x.par_chunks(image)).for_each(|(y, x)| forward(x, a, y));
            };
            // SAFETY: every chunk is written, pixel by pixel and channel by channel.
            Ok(unsafe { written(x.len(), write) })
        })
    })?;
    let y = Tensor::from_vec(y, x.shape(), x.device())?;
    let (xt, at) = (x.tensor().clone(), slopes.tensor().clone());
    Ok(Value::record(&[x, slopes], y, move |dy, _| {
        let mut sums = vec![vec![0.0; c]; xt.elem_count() / image];
        let dx = with_values(&xt, |x| {
            with_values(dy, |dy| {
                with_values(&at, |a| {
                    let write = |dx: &mut [MaybeUninit<f32>]| {
                        let parts = dx.par_chunks_mut(image).zip(x.par_chunks(image).zip(dy.par_chunks(image)));
                        parts.zip(&mut sums).for_each(|((dx, (x, dy)), sum)| backward(x, dy, a, dx, sum));
                    };
                    // SAFETY: as above.
                    Ok(unsafe { written(x.len(), write) })
                })
            })
        })?;
        let dx = Tensor::from_vec(dx, xt.shape(), xt.device())?;
        Ok(vec![Some(dx), Some(Tensor::from_vec(total(&sums, c), at.shape(), at.device())?)])
    }))
}
