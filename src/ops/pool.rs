//! Max pooling on `[B, H, W, C]` tensors, with its gradient.

use super::tape::{Value, apply};
use super::{use_kernels, with_values};
use candle_core::{Result, Tensor};
use rayon::prelude::*;

#[derive(Clone, Copy)]
struct MaxPool2d {
    kernel: usize,
    stride: usize,
    pad: usize,
}

impl MaxPool2d {
    fn side(&self, n: usize) -> usize {
        (n + 2 * self.pad - self.kernel) / self.stride + 1
    }

    /// Calls `f(output offset, input offset)` of whole pixels for every window of one image, in order.
    fn windows(&self, h: usize, w: usize, c: usize, mut f: impl FnMut(usize, usize)) {
        let (oh, ow) = (self.side(h), self.side(w));
        let inside = |o: usize, k: usize, n: usize| (o * self.stride + k).checked_sub(self.pad).filter(|i| *i < n);
        for oy in 0..oh {
            for ox in 0..ow {
                for y in (0..self.kernel).filter_map(|k| inside(oy, k, h)) {
                    for x in (0..self.kernel).filter_map(|k| inside(ox, k, w)) {
                        f((oy * ow + ox) * c, (y * w + x) * c);
                    }
                }
            }
        }
    }
}

impl MaxPool2d {
    fn forward(&self, x: &[f32], (h, w, c): (usize, usize, usize)) -> Vec<f32> {
        let out = self.side(h) * self.side(w) * c;
        let mut y = vec![f32::NEG_INFINITY; x.len() / (h * w * c) * out];
        y.par_chunks_mut(out).zip(x.par_chunks(h * w * c)).for_each(|(y, x)| {
            self.windows(h, w, c, |to, from| {
                for (y, x) in y[to..to + c].iter_mut().zip(&x[from..from + c]) {
                    // A NaN must not vanish in the pooling.
                    *y = if *x > *y || x.is_nan() { *x } else { *y };
                }
            });
        });
        y
    }

    /// The gradient goes to the first maximum of each window.
    fn backward(&self, x: &[f32], y: &[f32], dy: &[f32], (h, w, c): (usize, usize, usize)) -> Vec<f32> {
        let out = self.side(h) * self.side(w) * c;
        let mut dx = vec![0.0; x.len()];
        dx.par_chunks_mut(h * w * c).enumerate().for_each(|(b, dx)| {
            let (x, y) = (&x[b * h * w * c..], &y[b * out..]);
            let mut left = dy[b * out..(b + 1) * out].to_vec();
            self.windows(h, w, c, |to, from| {
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
}

/// Max pooling over `kernel` x `kernel` windows; padding never wins.
///
/// # Shapes
/// - `x`: `[B, H, W, C]`; returns `[B, (H + 2 pad - kernel) / stride + 1, .., C]`
pub fn max_pool2d(x: &Value, kernel: usize, stride: usize, pad: usize) -> Result<Value> {
    let (b, h, w, c) = x.dims4()?;
    if kernel == 0 || stride == 0 || pad >= kernel || h.min(w) + 2 * pad < kernel {
        candle_core::bail!("max_pool2d: window {kernel} (padding {pad}) does not fit {:?}", x.dims());
    }
    let pool = MaxPool2d { kernel, stride, pad };
    if !use_kernels(x) {
        return apply(&[x], |t| pool.reference(&t[0]));
    }
    let y = with_values(x, |x| Ok(pool.forward(x, (h, w, c))))?;
    let y = Tensor::from_vec(y, (b, pool.side(h), pool.side(w), c), x.device())?;
    let (xt, yt) = (x.tensor().clone(), y.clone());
    Ok(Value::record(&[x], y, move |dy, _| {
        let dx =
            with_values(&xt, |x| with_values(&yt, |y| with_values(dy, |dy| Ok(pool.backward(x, y, dy, (h, w, c))))))?;
        Ok(vec![Some(Tensor::from_vec(dx, xt.shape(), xt.device())?)])
    }))
}

impl MaxPool2d {
    /// candle pools without padding and has no gradient for overlapping windows: take the maximum of shifted views.
    fn reference(&self, x: &Tensor) -> Result<Tensor> {
        let (_, h, w, _) = x.dims4()?;
        let (oh, ow, s) = (self.side(h), self.side(w), self.stride);
        // Above the minimum every value is at least the padding's zero.
        let low = x.detach().flatten_all()?.min(0)?;
        let above = x.broadcast_sub(&low)?;
        let padded = above.pad_with_zeros(1, self.pad, self.pad + s)?.pad_with_zeros(2, self.pad, self.pad + s)?;
        let padded = padded.broadcast_add(&low)?;
        let mut best: Option<Tensor> = None;
        for ky in 0..self.kernel {
            for kx in 0..self.kernel {
                let rows = Tensor::arange_step(ky as u32, (ky + oh * s) as u32, s as u32, x.device())?;
                let cols = Tensor::arange_step(kx as u32, (kx + ow * s) as u32, s as u32, x.device())?;
                let view = padded.index_select(&rows, 1)?.index_select(&cols, 2)?;
                best = Some(match best {
                    None => view,
                    Some(b) => b.maximum(&view)?,
                });
            }
        }
        best.ok_or_else(|| candle_core::Error::Msg("max_pool2d: empty window".into()))
    }
}
