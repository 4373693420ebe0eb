//! Max pooling and nearest upsampling on `[B, H, W, C]` tensors, with their gradients.

use super::{slice, use_kernels, with_values};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

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

impl CustomOp1 for MaxPool2d {
    fn name(&self) -> &'static str {
        "max-pool2d-nhwc"
    }

    fn cpu_fwd(&self, x: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let (b, h, w, c) = l.shape().dims4()?;
        let x = slice(x, l)?;
        let (oh, ow) = (self.side(h), self.side(w));
        let mut y = vec![f32::NEG_INFINITY; b * oh * ow * c];
        y.par_chunks_mut(oh * ow * c).zip(x.par_chunks(h * w * c)).for_each(|(y, x)| {
            self.windows(h, w, c, |to, from| {
                for (y, x) in y[to..to + c].iter_mut().zip(&x[from..from + c]) {
                    // A NaN must not vanish in the pooling.
                    *y = if *x > *y || x.is_nan() { *x } else { *y };
                }
            });
        });
        Ok((CpuStorage::F32(y), (b, oh, ow, c).into()))
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let (_, h, w, c) = x.dims4()?;
        let out = y.elem_count() / x.dim(0)?;
        let mut dx = vec![0.0; x.elem_count()];
        with_values(x, |xv| {
            with_values(y, |yv| {
                with_values(dy, |dyv| {
                    dx.par_chunks_mut(h * w * c).enumerate().for_each(|(b, dx)| {
                        let (x, y) = (&xv[b * h * w * c..], &yv[b * out..]);
                        // The gradient goes to the first maximum of each window.
                        let mut left = dyv[b * out..(b + 1) * out].to_vec();
                        self.windows(h, w, c, |to, from| {
                            for i in 0..c {
                                if x[from + i] == y[to + i] {
                                    dx[from + i] += left[to + i];
                                    left[to + i] = 0.0;
                                }
                            }
                        });
                    });
                    Ok(())
                })
            })
        })?;
        Ok(Some(Tensor::from_vec(dx, x.shape(), x.device())?))
    }
}

/// Max pooling over `kernel` x `kernel` windows; padding never wins.
///
/// # Shapes
/// - `x`: `[B, H, W, C]`; returns `[B, (H + 2 pad - kernel) / stride + 1, .., C]`
pub fn max_pool2d(x: &Tensor, kernel: usize, stride: usize, pad: usize) -> Result<Tensor> {
    let (_, h, w, _) = x.dims4()?;
    if kernel == 0 || stride == 0 || pad >= kernel || h.min(w) + 2 * pad < kernel {
        candle_core::bail!("max_pool2d: window {kernel} (padding {pad}) does not fit {:?}", x.dims());
    }
    if use_kernels(x) {
        return x.contiguous()?.apply_op1(MaxPool2d { kernel, stride, pad });
    }
    // candle pools without padding and has no gradient for overlapping windows: take the maximum of shifted views.
    let pool = MaxPool2d { kernel, stride, pad };
    let (oh, ow) = (pool.side(h), pool.side(w));
    // Above the minimum every value is at least the padding's zero.
    let low = x.detach().flatten_all()?.min(0)?;
    let above = x.broadcast_sub(&low)?;
    let padded = above.pad_with_zeros(1, pad, pad + stride)?.pad_with_zeros(2, pad, pad + stride)?;
    let padded = padded.broadcast_add(&low)?;
    let mut best: Option<Tensor> = None;
    for ky in 0..kernel {
        for kx in 0..kernel {
            let rows = Tensor::arange_step(ky as u32, (ky + oh * stride) as u32, stride as u32, x.device())?;
            let cols = Tensor::arange_step(kx as u32, (kx + ow * stride) as u32, stride as u32, x.device())?;
            let view = padded.index_select(&rows, 1)?.index_select(&cols, 2)?;
            best = Some(match best {
                None => view,
                Some(b) => b.maximum(&view)?,
            });
        }
    }
    best.ok_or_else(|| candle_core::Error::Msg("max_pool2d: empty window".into()))
}

struct Upsample2x;

/// Adds the four pixels that came from each input pixel (`sum`) or copies it to them.
fn each_source(h: usize, w: usize, c: usize, mut f: impl FnMut(usize, usize)) {
    for y in 0..2 * h {
        for x in 0..2 * w {
            f((y * 2 * w + x) * c, ((y / 2) * w + x / 2) * c);
        }
    }
}

impl CustomOp1 for Upsample2x {
    fn name(&self) -> &'static str {
        "upsample-nearest2x-nhwc"
    }

    fn cpu_fwd(&self, x: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let (b, h, w, c) = l.shape().dims4()?;
        let x = slice(x, l)?;
        let mut y = vec![0.0; 4 * x.len()];
        y.par_chunks_mut(4 * h * w * c).zip(x.par_chunks(h * w * c)).for_each(|(y, x)| {
            each_source(h, w, c, |to, from| y[to..to + c].copy_from_slice(&x[from..from + c]));
        });
        Ok((CpuStorage::F32(y), (b, 2 * h, 2 * w, c).into()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let (_, h, w, c) = x.dims4()?;
        let mut dx = vec![0.0; x.elem_count()];
        with_values(dy, |dy| {
            dx.par_chunks_mut(h * w * c).zip(dy.par_chunks(4 * h * w * c)).for_each(|(dx, dy)| {
                each_source(h, w, c, |from, to| {
                    dx[to..to + c].iter_mut().zip(&dy[from..from + c]).for_each(|(a, b)| *a += b);
                });
            });
            Ok(())
        })?;
        Ok(Some(Tensor::from_vec(dx, x.shape(), x.device())?))
    }
}

/// Doubles height and width by repeating pixels.
///
/// # Shapes
/// - `x`: `[B, H, W, C]`; returns `[B, 2H, 2W, C]`
pub fn upsample_nearest2x(x: &Tensor) -> Result<Tensor> {
    let (b, h, w, c) = x.dims4()?;
    if use_kernels(x) {
        return x.contiguous()?.apply_op1(Upsample2x);
    }
    // By broadcasting rather than candle's upsampling, whose gradient we have not verified.
    x.reshape((b, h, 1, w, 1, c))?.broadcast_as((b, h, 2, w, 2, c))?.contiguous()?.reshape((b, 2 * h, 2 * w, c))
}
