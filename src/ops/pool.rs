//! Pooling on `[B, H, W, C]` tensors, with gradients: the maximum of windows, the mean of a whole image.

use super::tape::{Value, apply};
use super::{use_kernels, with_values};
use candle_core::{Result, Tensor};
use rayon::prelude::*;

/// Square windows that slide over an image.
#[derive(Clone, Copy)]
pub(super) struct Windows {
    pub kernel: usize,
    pub stride: usize,
    pub pad: usize,
}

impl Windows {
    /// Number of windows along a side of `n` pixels.
    pub fn side(&self, n: usize) -> usize {
        (n + 2 * self.pad - self.kernel) / self.stride + 1
    }

    /// Calls `f(offset of the window, offset of the pixel, tap)` for every pixel of every window of one image, in order.
    pub fn visit(&self, h: usize, w: usize, c: usize, mut f: impl FnMut(usize, usize, usize)) {
        let (oh, ow) = (self.side(h), self.side(w));
        let inside = |o: usize, k: usize, n: usize| (o * self.stride + k).checked_sub(self.pad).filter(|i| *i < n);
        for (oy, ox) in (0..oh).flat_map(|oy| (0..ow).map(move |ox| (oy, ox))) {
            for ky in 0..self.kernel {
                let Some(y) = inside(oy, ky, h) else { continue };
                for kx in 0..self.kernel {
                    let Some(x) = inside(ox, kx, w) else { continue };
                    f((oy * ow + ox) * c, (y * w + x) * c, ky * self.kernel + kx);
                }
            }
        }
    }

    /// The same in candle's operations: for each tap, what the windows of images of `h` x `w` pixels see through it.
    /// `padded` has `pad` pixels before each image and `pad + stride` behind.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn views(&self, padded: &Tensor, h: usize, w: usize) -> Result<Vec<Tensor>> {
        let (oh, ow, s) = (self.side(h), self.side(w), self.stride);
        let mut views = Vec::with_capacity(self.kernel * self.kernel);
        for (ky, kx) in (0..self.kernel).flat_map(|ky| (0..self.kernel).map(move |kx| (ky, kx))) {
            let rows = Tensor::arange_step(ky as u32, (ky + oh * s) as u32, s as u32, padded.device())?;
            let cols = Tensor::arange_step(kx as u32, (kx + ow * s) as u32, s as u32, padded.device())?;
            views.push(padded.index_select(&rows, 1)?.index_select(&cols, 2)?);
        }
        Ok(views)
    }
}

fn max_forward(windows: &Windows, x: &[f32], (h, w, c): (usize, usize, usize)) -> Vec<f32> {
    let out = windows.side(h) * windows.side(w) * c;
    let mut y = vec![f32::NEG_INFINITY; x.len() / (h * w * c) * out];
    y.par_chunks_mut(out).zip(x.par_chunks(h * w * c)).for_each(|(y, x)| {
        windows.visit(h, w, c, |to, from, _| {
            for (y, x) in y[to..to + c].iter_mut().zip(&x[from..from + c]) {
                // A NaN must not vanish in the pooling.
                *y = if *x > *y || x.is_nan() { *x } else { *y };
            }
        });
    });
    y
}

/// The gradient goes to the first maximum of each window.
fn max_backward(windows: &Windows, (x, y, dy): (&[f32], &[f32], &[f32]), (h, w, c): (usize, usize, usize)) -> Vec<f32> {
    let out = windows.side(h) * windows.side(w) * c;
    let mut dx = vec![0.0; x.len()];
    dx.par_chunks_mut(h * w * c).enumerate().for_each(|(b, dx)| {
        let (x, y) = (&x[b * h * w * c..], &y[b * out..]);
        let mut left = dy[b * out..(b + 1) * out].to_vec();
        windows.visit(h, w, c, |to, from, _| {
            for i in 0..c {
                if x[from + i] == y[to + i] {
                    dx[from + i] += left[to + i];
                    left[to + i] = 0.0;
                }
            }
        });
    });
    dx
}

/// Max pooling over `kernel` x `kernel` windows; padding never wins.
///
/// # Shapes
/// - `x`: `[B, H, W, C]`; returns `[B, (H + 2 pad - kernel) / stride + 1, .., C]`
///
/// # Errors
/// Shapes that do not fit together, or too little memory.
pub fn max_pool2d(x: &Value, kernel: usize, stride: usize, pad: usize) -> Result<Value> {
    let (b, h, w, c) = x.dims4()?;
    if kernel == 0 || stride == 0 || pad >= kernel || h.min(w) + 2 * pad < kernel {
        candle_core::bail!("max_pool2d: window {kernel} (padding {pad}) does not fit {:?}", x.dims());
    }
    let windows = Windows { kernel, stride, pad };
    if !use_kernels(x) {
        return apply(&[x], |t| max_reference(&windows, &t[0]));
    }
    let y = with_values(x, |x| Ok(max_forward(&windows, x, (h, w, c))))?;
    let y = Tensor::from_vec(y, (b, windows.side(h), windows.side(w), c), x.device())?;
    let (xt, yt) = (x.tensor().clone(), y.clone());
    Ok(Value::record(&[x], y, move |dy, _| {
        let dx = with_values(&xt, |x| {
            with_values(&yt, |y| with_values(dy, |dy| Ok(max_backward(&windows, (x, y, dy), (h, w, c)))))
        })?;
        Ok(vec![Some(Tensor::from_vec(dx, xt.shape(), xt.device())?)])
    }))
}

/// candle pools without padding and has no gradient for overlapping windows: take the maximum of shifted views.
fn max_reference(windows: &Windows, x: &Tensor) -> Result<Tensor> {
    let (_, h, w, _) = x.dims4()?;
    let (before, behind) = (windows.pad, windows.pad + windows.stride);
    // Above the minimum every value is at least the padding's zero.
    let low = x.detach().flatten_all()?.min(0)?;
    let above = x.broadcast_sub(&low)?;
    let padded = above.pad_with_zeros(1, before, behind)?.pad_with_zeros(2, before, behind)?;
    let padded = padded.broadcast_add(&low)?;
    let mut best: Option<Tensor> = None;
    for view in windows.views(&padded, h, w)? {
        best = Some(match best {
            None => view,
            Some(b) => b.maximum(&view)?,
        });
    }
    best.ok_or_else(|| candle_core::Error::Msg("max_pool2d: empty window".into()))
}

/// Mean over height and width.
///
/// # Shapes
/// - `x`: `[B, H, W, C]`; returns `[B, C]`
///
/// # Errors
/// Shapes that do not fit together, or too little memory.
pub fn global_mean_pool(x: &Value) -> Result<Value> {
    let (b, h, w, c) = x.dims4()?;
    if !use_kernels(x) {
        return apply(&[x], |t| t[0].mean((1, 2)));
    }
    let scale = 1.0 / (h * w) as f32;
    let y = with_values(x, |x| {
        let mut y = vec![0.0; b * c];
        y.par_chunks_mut(c).zip(x.par_chunks(h * w * c)).for_each(|(y, x)| {
            x.chunks_exact(c).for_each(|pixel| y.iter_mut().zip(pixel).for_each(|(y, x)| *y += x));
            y.iter_mut().for_each(|y| *y *= scale);
        });
        Ok(y)
    })?;
    Ok(Value::record(&[x], Tensor::from_vec(y, (b, c), x.device())?, move |dy, _| {
        let dx = with_values(dy, |dy| {
            let mut dx = vec![0.0; b * h * w * c];
            dx.par_chunks_mut(h * w * c).zip(dy.par_chunks(c)).for_each(|(dx, dy)| {
                dx.chunks_exact_mut(c).for_each(|pixel| pixel.iter_mut().zip(dy).for_each(|(x, y)| *x = y * scale));
            });
            Ok(dx)
        })?;
        Ok(vec![Some(Tensor::from_vec(dx, (b, h, w, c), dy.device())?)])
    }))
}
