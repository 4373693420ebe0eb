//! Doubling an image by repeating pixels and then convolving, as one transposed convolution.
//!
//! A pixel of the doubled image is seen through several taps of the kernel; their weights can be added up first. For an odd
//! kernel of side k that gives a transposed convolution of stride 2 with a kernel of side k + 1: the same function with
//! 2.25 (k = 3) to 2.8 (k = 5) times fewer products, and no doubled image in memory.

use super::conv::{conv_transpose2d, conv2d};
use super::tape::{Value, apply};
use super::{use_kernels, with_values};
use candle_core::{Result, Tensor};
use rayon::prelude::*;

/// Calls `f(folded tap, original tap)` for every pair of which the first contains the second, for a kernel of side `k`.
fn pairs(k: usize, mut f: impl FnMut(usize, usize)) {
    for (y, x) in (0..k).flat_map(|y| (0..k).map(move |x| (y, x))) {
        for (ey, ex) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            f((k - 1 - y + ey) * (k + 1) + k - 1 - x + ex, y * k + x);
        }
    }
}

/// `out += a^T` for a matrix `a` of `rows` rows.
fn add_transposed(a: &[f32], rows: usize, out: &mut [f32]) {
    let columns = a.len() / rows.max(1);
    for (i, row) in a.chunks_exact(columns.max(1)).enumerate() {
        for (j, v) in row.iter().enumerate() {
            out[j * rows + i] += v;
        }
    }
}

/// `[k, k, Ci, Co]` to the weights `[k + 1, k + 1, Co, Ci]` of the transposed convolution.
fn fold(w: &[f32], k: usize, ci: usize) -> Vec<f32> {
    let tap = w.len() / (k * k);
    let mut taps: Vec<Vec<usize>> = vec![Vec::new(); (k + 1) * (k + 1)];
    pairs(k, |folded, original| taps[folded].push(original));
    let mut out = vec![0.0; taps.len() * tap];
    out.par_chunks_mut(tap).zip(&taps).for_each(|(out, taps)| {
        taps.iter().for_each(|t| add_transposed(&w[t * tap..(t + 1) * tap], ci, out));
    });
    out
}

/// The gradient of [`fold`]: from `[k + 1, k + 1, Co, Ci]` to `[k, k, Ci, Co]`.
fn unfold(d: &[f32], k: usize, ci: usize) -> Vec<f32> {
    let tap = d.len() / ((k + 1) * (k + 1));
    let mut taps: Vec<Vec<usize>> = vec![Vec::new(); k * k];
    pairs(k, |folded, original| taps[original].push(folded));
    let mut out = vec![0.0; taps.len() * tap];
    out.par_chunks_mut(tap).zip(&taps).for_each(|(out, taps)| {
        taps.iter().for_each(|t| add_transposed(&d[t * tap..(t + 1) * tap], tap / ci, out));
    });
    out
}

/// Nearest upsampling to twice the side, then a convolution of stride 1 that keeps it, without bias.
///
/// # Shapes
/// - `x`: `[B, H, W, Ci]`, `w`: `[K, K, Ci, Co]`, K odd; returns `[B, 2H, 2W, Co]`
///
/// # Errors
/// Shapes that do not fit together, or too little memory.
pub fn upsample_conv2d(x: &Value, w: &Value) -> Result<Value> {
    let (b, h, width, c) = x.dims4()?;
    let (k, kw, ci, co) = w.dims4()?;
    if k != kw || k.is_multiple_of(2) || ci != c {
        candle_core::bail!("upsample_conv2d: weights {:?} do not fit {:?} or are not odd squares", w.dims(), x.dims());
    }
    if !use_kernels(x) {
        // By broadcasting rather than candle's upsampling, whose gradient we have not verified.
        let doubled = apply(&[x], |t| {
            let t = t[0].reshape((b, h, 1, width, 1, c))?.broadcast_as((b, h, 2, width, 2, c))?;
            t.contiguous()?.reshape((b, 2 * h, 2 * width, c))
        })?;
        return conv2d(&doubled, w, 1, k / 2);
    }
    let folded = with_values(w, |w| Ok(fold(w, k, ci)))?;
    let folded = Tensor::from_vec(folded, (k + 1, k + 1, co, ci), w.device())?;
    let folded = Value::record(&[w], folded, move |d, _| {
        let unfolded = with_values(d, |d| Ok(unfold(d, k, ci)))?;
        Ok(vec![Some(Tensor::from_vec(unfolded, (k, k, ci, co), d.device())?)])
    });
    conv_transpose2d(x, &folded, 2, k / 2)
}
