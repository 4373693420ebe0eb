//! Rectifier whose negative slope is learned, one for each channel (He et al. 2015).

use super::norm::total;
use super::tape::{Value, apply};
use super::{use_kernels, with_values};
use candle_core::{Result, Tensor};
use multiversion::multiversion;
use rayon::prelude::*;

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2+fma"))]
fn forward(x: &[f32], slopes: &[f32], y: &mut [f32]) {
    let c = slopes.len();
    for (x, y) in x.chunks_exact(c).zip(y.chunks_exact_mut(c)) {
        for ((y, x), a) in y.iter_mut().zip(x).zip(slopes) {
            *y = if *x > 0.0 { *x } else { a * x };
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2+fma"))]
fn backward(x: &[f32], dy: &[f32], slopes: &[f32], dx: &mut [f32], sum: &mut [f32]) {
    let c = slopes.len();
    for ((x, dy), dx) in x.chunks_exact(c).zip(dy.chunks_exact(c)).zip(dx.chunks_exact_mut(c)) {
        for i in 0..c {
            let negative = if x[i] > 0.0 { 0.0 } else { dy[i] };
            dx[i] = if x[i] > 0.0 { dy[i] } else { dy[i] * slopes[i] };
            sum[i] += negative * x[i];
        }
    }
}

/// `max(x, 0) + slope * min(x, 0)` per channel.
///
/// # Shapes
/// - `x`: `[B, .., C]`, `slopes`: `[C]`
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
            let mut y = vec![0.0; x.len()];
            y.par_chunks_mut(image).zip(x.par_chunks(image)).for_each(|(y, x)| forward(x, a, y));
            Ok(y)
        })
    })?;
    let y = Tensor::from_vec(y, x.shape(), x.device())?;
    let (xt, at) = (x.tensor().clone(), slopes.tensor().clone());
    Ok(Value::record(&[x, slopes], y, move |dy, _| {
        let mut sums = vec![vec![0.0; c]; xt.elem_count() / image];
        let mut dx = vec![0.0; xt.elem_count()];
        with_values(&xt, |x| {
            with_values(dy, |dy| {
                with_values(&at, |a| {
                    let parts = dx.par_chunks_mut(image).zip(x.par_chunks(image).zip(dy.par_chunks(image)));
                    parts.zip(&mut sums).for_each(|((dx, (x, dy)), sum)| backward(x, dy, a, dx, sum));
                    Ok(())
                })
            })
        })?;
        let dx = Tensor::from_vec(dx, xt.shape(), xt.device())?;
        Ok(vec![Some(dx), Some(Tensor::from_vec(total(&sums, c), at.shape(), at.device())?)])
    }))
}
