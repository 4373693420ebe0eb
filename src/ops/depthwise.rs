//! Depthwise convolution on `[B, H, W, C]` tensors: every channel has a kernel of its own.

use super::conv::record;
use super::norm::total;
use super::pool::Windows;
use super::tape::{Value, apply};
use super::use_kernels;
use candle_core::{Result, Tensor};
use multiversion::multiversion;
use rayon::prelude::*;

/// `out += a * b`, value by value.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2+fma"))]
fn add_products(out: &mut [f32], a: &[f32], b: &[f32]) {
    for ((o, a), b) in out.iter_mut().zip(a).zip(b) {
        *o += a * b;
    }
}

/// Sizes of an image.
type Image = (usize, usize, usize);

fn forward(windows: &Windows, x: &[f32], w: &[f32], (h, width, c): Image) -> Vec<f32> {
    let out = windows.side(h) * windows.side(width) * c;
    let mut y = vec![0.0; x.len() / (h * width * c) * out];
    y.par_chunks_mut(out).zip(x.par_chunks(h * width * c)).for_each(|(y, x)| {
        windows.visit(h, width, c, |to, from, tap| {
            add_products(&mut y[to..to + c], &x[from..from + c], &w[tap * c..(tap + 1) * c]);
        });
    });
    y
}

fn input_gradient(windows: &Windows, dy: &[f32], w: &[f32], (h, width, c): Image) -> Vec<f32> {
    let out = windows.side(h) * windows.side(width) * c;
    let mut dx = vec![0.0; dy.len() / out * h * width * c];
    dx.par_chunks_mut(h * width * c).zip(dy.par_chunks(out)).for_each(|(dx, dy)| {
        windows.visit(h, width, c, |from, to, tap| {
            add_products(&mut dx[to..to + c], &dy[from..from + c], &w[tap * c..(tap + 1) * c]);
        });
    });
    dx
}

fn weight_gradient(windows: &Windows, x: &[f32], dy: &[f32], (h, width, c): Image) -> Vec<f32> {
    let out = windows.side(h) * windows.side(width) * c;
    let taps = windows.kernel * windows.kernel * c;
    let parts: Vec<Vec<f32>> = x
        .par_chunks(h * width * c)
        .zip(dy.par_chunks(out))
        .map(|(x, dy)| {
            let mut dw = vec![0.0; taps];
            windows.visit(h, width, c, |from, to, tap| {
                add_products(&mut dw[tap * c..(tap + 1) * c], &dy[from..from + c], &x[to..to + c]);
            });
            dw
        })
        .collect();
    total(&parts, taps)
}

/// Depthwise convolution without bias.
///
/// # Shapes
/// - `x`: `[B, H, W, C]`, `w`: `[K, K, C]`
/// - returns `[B, (H + 2 pad - K) / stride + 1, (W + 2 pad - K) / stride + 1, C]`
///
/// # Errors
/// Shapes that do not fit together, or too little memory.
pub fn depthwise_conv2d(x: &Value, w: &Value, stride: usize, pad: usize) -> Result<Value> {
    let (b, h, width, c) = x.dims4()?;
    let (kernel, kw, wc) = w.dims3()?;
    if kernel != kw || wc != c || stride == 0 || kernel == 0 || h.min(width) + 2 * pad < kernel {
        candle_core::bail!("depthwise_conv2d: weights {:?} do not fit {:?}", w.dims(), x.dims());
    }
    let windows = Windows { kernel, stride, pad };
    if !use_kernels(x) {
        return apply(&[x, w], |t| {
            let padded = t[0].pad_with_zeros(1, pad, pad + stride)?.pad_with_zeros(2, pad, pad + stride)?;
            let taps = t[1].reshape((kernel * kernel, c))?;
            let mut sum: Option<Tensor> = None;
            for (tap, view) in windows.views(&padded, h, width)?.into_iter().enumerate() {
                let product = view.broadcast_mul(&taps.narrow(0, tap, 1)?)?;
                sum = Some(match sum {
                    None => product,
                    Some(s) => (s + product)?,
                });
            }
            sum.ok_or_else(|| candle_core::Error::Msg("depthwise_conv2d: empty kernel".into()))
        });
    }
    let image = (h, width, c);
    record(
        (x, w),
        (b, windows.side(h), windows.side(width), c),
        |x, w| forward(&windows, x, w, image),
        move |dy, w| input_gradient(&windows, dy, w, image),
        move |x, dy| weight_gradient(&windows, x, dy, image),
    )
}
