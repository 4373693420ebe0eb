//! Two-dimensional convolution and its transpose on `[B, H, W, C]` tensors, with their gradients.
//!
//! Three primitives do all: `forward`, `input_gradient` and `weight_gradient` of one convolution. A transposed
//! convolution runs forward as an input gradient, and its input gradient is a forward convolution.
//! Each gathers patches (whole runs of `kernel width * channels` values) for a block of output pixels and multiplies.

use super::matmul::{Mat, matmul};
use super::{slice, to_nchw, to_nhwc, use_kernels, weights_frozen, with_values};
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

/// Sizes of one convolution: image `[b, h, w, ci]` to `[b, oh, ow, co]` with weights `[kh, kw, ci, co]`.
#[derive(Clone, Copy, Debug)]
struct Geometry {
    b: usize,
    h: usize,
    w: usize,
    ci: usize,
    kh: usize,
    kw: usize,
    co: usize,
    stride: usize,
    pad: usize,
    oh: usize,
    ow: usize,
}

impl Geometry {
    fn patch(&self) -> usize {
        self.kh * self.kw * self.ci
    }

    fn rows(&self) -> usize {
        self.b * self.oh * self.ow
    }

    /// Output pixels gathered at a time: patches of about 4 MiB, at least 256 rows to pay for packing the weights.
    fn block(&self) -> usize {
        // A power of two, so that whole images fill whole blocks and an image's sums do not depend on its place.
        let rows = ((1 << 20) / self.patch()).clamp(256, 4096);
        1 << rows.ilog2()
    }

    /// Images whose gradients are computed together, so that a block has enough rows.
    fn image_group(&self) -> usize {
        self.block().div_ceil(self.oh * self.ow).min(self.b).max(1)
    }

    /// Calls `f(offset in the patch row, offset in the image, length)` for every run of values that kernel rows `kys`
    /// read inside the image for output pixel `row`; what is not visited lies in the padding.
    fn runs(&self, row: usize, kys: std::ops::Range<usize>, mut f: impl FnMut(usize, usize, usize)) {
        let (n, rest) = (row / (self.oh * self.ow), row % (self.oh * self.ow));
        let (oy, ox) = (rest / self.ow, rest % self.ow);
        let x0 = (ox * self.stride) as isize - self.pad as isize;
        let first = (-x0).max(0) as usize;
        let last = (self.w as isize - x0).clamp(0, self.kw as isize) as usize;
        if first >= last {
            return;
        }
        let x = (x0 + first as isize) as usize;
        for ky in kys.clone() {
            let y = (oy * self.stride + ky) as isize - self.pad as isize;
            if y < 0 || y >= self.h as isize {
                continue;
            }
            f(
                ((ky - kys.start) * self.kw + first) * self.ci,
                ((n * self.h + y as usize) * self.w + x) * self.ci,
                (last - first) * self.ci,
            );
        }
    }

    /// Fills `cols` (`[rows.len(), kys.len() * kw * ci]`) with the patches of the output pixels `rows`.
    fn gather(&self, x: &[f32], rows: std::ops::Range<usize>, kys: std::ops::Range<usize>, cols: &mut [f32]) {
        let width = kys.len() * self.kw * self.ci;
        for (row, out) in rows.zip(cols.chunks_exact_mut(width)) {
            let mut filled = 0;
            self.runs(row, kys.clone(), |to, from, len| {
                out[filled..to].fill(0.0);
                out[to..to + len].copy_from_slice(&x[from..from + len]);
                filled = to + len;
            });
            out[filled..].fill(0.0);
        }
    }

    /// Adds patch rows back to the image: the transpose of `gather`. `base` is the offset of `dx` in the whole image.
    fn scatter(&self, cols: &[f32], rows: std::ops::Range<usize>, dx: &mut [f32], base: usize) {
        for (row, src) in rows.zip(cols.chunks_exact(self.patch())) {
            self.runs(row, 0..self.kh, |from, to, len| {
                let to = to - base;
                for (d, s) in dx[to..to + len].iter_mut().zip(&src[from..from + len]) {
                    *d += s;
                }
            });
        }
    }

    /// `y[b, oh, ow, co] = conv(x, w)`.
    fn forward(&self, x: &[f32], w: &[f32]) -> Vec<f32> {
        let (patch, block) = (self.patch(), self.block());
        let mut y = vec![0.0; self.rows() * self.co];
        y.par_chunks_mut(block * self.co).enumerate().for_each_init(Vec::new, |cols, (i, out)| {
            let rows = i * block..i * block + out.len() / self.co;
            cols.resize(block * patch, 0.0);
            let cols = &mut cols[..rows.len() * patch];
            self.gather(x, rows.clone(), 0..self.kh, cols);
            matmul(out, Mat::new(cols, rows.len(), patch), Mat::new(w, patch, self.co), false);
        });
        y
    }

    /// Gradient with respect to `x` of `sum(dy * conv(x, w))`.
    fn input_gradient(&self, dy: &[f32], w: &[f32]) -> Vec<f32> {
        let (patch, group) = (self.patch(), self.image_group());
        let (image, pixels) = (self.h * self.w * self.ci, self.oh * self.ow);
        let mut dx = vec![0.0; self.b * image];
        dx.par_chunks_mut(group * image).enumerate().for_each_init(Vec::new, |cols, (i, out)| {
            let rows = i * group * pixels..(i * group + out.len() / image) * pixels;
            let block = self.block();
            cols.resize(block.min(group * pixels) * patch, 0.0);
            for start in rows.clone().step_by(block) {
                let part = start..(start + block).min(rows.end);
                let cols = &mut cols[..part.len() * patch];
                let dy = &dy[part.start * self.co..part.end * self.co];
                matmul(cols, Mat::new(dy, part.len(), self.co), Mat::new(w, patch, self.co).t(), false);
                self.scatter(cols, part, out, i * group * image);
            }
        });
        dx
    }

    /// Gradient with respect to `w` of `sum(dy * conv(x, w))`.
    ///
    /// Cut into kernel rows times two halves of the output pixels, a fixed number whatever the threads.
    fn weight_gradient(&self, x: &[f32], dy: &[f32]) -> Vec<f32> {
        const HALVES: usize = 2;
        let (rows, width) = (self.rows(), self.kw * self.ci);
        let block = ((1 << 18) / width).clamp(256, 4096);
        let parts: Vec<Vec<f32>> = (0..self.kh * HALVES)
            .into_par_iter()
            .map(|task| {
                let (ky, half) = (task / HALVES, task % HALVES);
                let span = half * rows / HALVES..(half + 1) * rows / HALVES;
                let mut dw = vec![0.0; width * self.co];
                let mut cols = vec![0.0; block * width];
                for start in span.clone().step_by(block) {
                    let part = start..(start + block).min(span.end);
                    let cols = &mut cols[..part.len() * width];
                    self.gather(x, part.clone(), ky..ky + 1, cols);
                    let dy = &dy[part.start * self.co..part.end * self.co];
                    matmul(&mut dw, Mat::new(cols, part.len(), width).t(), Mat::new(dy, part.len(), self.co), true);
                }
                dw
            })
            .collect();
        let mut dw = Vec::with_capacity(self.patch() * self.co);
        for halves in parts.chunks_exact(HALVES) {
            dw.extend(halves[0].iter().zip(&halves[1]).map(|(a, b)| a + b));
        }
        dw
    }
}

/// Checks shapes and derives the geometry of a convolution of `x` by `w`.
fn geometry(x: &Shape, w: &Shape, stride: usize, pad: usize) -> Result<Geometry> {
    let (b, h, w_, ci) = x.dims4()?;
    let (kh, kw, wi, co) = w.dims4()?;
    if wi != ci || h + 2 * pad < kh || w_ + 2 * pad < kw || stride == 0 {
        candle_core::bail!("conv2d: image {x:?} does not fit weights {w:?} (stride {stride}, padding {pad})");
    }
    let (oh, ow) = ((h + 2 * pad - kh) / stride + 1, (w_ + 2 * pad - kw) / stride + 1);
    Ok(Geometry { b, h, w: w_, ci, kh, kw, co, stride, pad, oh, ow })
}

struct Conv2d {
    stride: usize,
    pad: usize,
}

impl CustomOp2 for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d-nhwc"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, w: &CpuStorage, wl: &Layout) -> Result<(CpuStorage, Shape)> {
        let g = geometry(xl.shape(), wl.shape(), self.stride, self.pad)?;
        let y = g.forward(slice(x, xl)?, slice(w, wl)?);
        Ok((CpuStorage::F32(y), (g.b, g.oh, g.ow, g.co).into()))
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let g = geometry(x.shape(), w.shape(), self.stride, self.pad)?;
        with_values(dy, |dyv| {
            let dx = if x.track_op() {
                let dx = with_values(w, |w| Ok(g.input_gradient(dyv, w)))?;
                Some(Tensor::from_vec(dx, x.shape(), x.device())?)
            } else {
                None
            };
            let dw = if w.track_op() && !weights_frozen() {
                let dw = with_values(x, |x| Ok(g.weight_gradient(x, dyv)))?;
                Some(Tensor::from_vec(dw, w.shape(), x.device())?)
            } else {
                None
            };
            Ok((dx, dw))
        })
    }
}

/// Convolution without bias.
///
/// # Shapes
/// - `x`: `[B, H, W, Ci]`, `w`: `[KH, KW, Ci, Co]`
/// - returns `[B, (H + 2 pad - KH) / stride + 1, (W + 2 pad - KW) / stride + 1, Co]`
pub fn conv2d(x: &Tensor, w: &Tensor, stride: usize, pad: usize) -> Result<Tensor> {
    if use_kernels(x) {
        return x.contiguous()?.apply_op2(&w.contiguous()?, Conv2d { stride, pad });
    }
    geometry(x.shape(), w.shape(), stride, pad)?;
    let w = w.permute((3, 2, 0, 1))?.contiguous()?;
    to_nhwc(&to_nchw(x)?.conv2d(&w, pad, stride, 1, 1)?)
}

struct ConvTranspose2d {
    stride: usize,
    pad: usize,
}

impl ConvTranspose2d {
    /// The convolution whose input gradient this is; its output is our input `x`.
    fn geometry(&self, x: &Shape, w: &Shape) -> Result<Geometry> {
        let (b, oh, ow, co) = x.dims4()?;
        let (kh, kw, ci, wo) = w.dims4()?;
        let side = |o: usize, k: usize| ((o - 1) * self.stride + k).checked_sub(2 * self.pad);
        match (side(oh, kh), side(ow, kw)) {
            (Some(h), Some(w)) if wo == co && h > 0 && w > 0 => {
                Ok(Geometry { b, h, w, ci, kh, kw, co, stride: self.stride, pad: self.pad, oh, ow })
            }
            _ => candle_core::bail!("conv_transpose2d: image {x:?} does not fit weights {w:?}"),
        }
    }
}

impl CustomOp2 for ConvTranspose2d {
    fn name(&self) -> &'static str {
        "conv-transpose2d-nhwc"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, w: &CpuStorage, wl: &Layout) -> Result<(CpuStorage, Shape)> {
        let g = self.geometry(xl.shape(), wl.shape())?;
        let y = g.input_gradient(slice(x, xl)?, slice(w, wl)?);
        Ok((CpuStorage::F32(y), (g.b, g.h, g.w, g.ci).into()))
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let g = self.geometry(x.shape(), w.shape())?;
        with_values(dy, |dyv| {
            let dx = if x.track_op() {
                let dx = with_values(w, |w| Ok(g.forward(dyv, w)))?;
                Some(Tensor::from_vec(dx, x.shape(), x.device())?)
            } else {
                None
            };
            let dw = if w.track_op() && !weights_frozen() {
                let dw = with_values(x, |x| Ok(g.weight_gradient(dyv, x)))?;
                Some(Tensor::from_vec(dw, w.shape(), x.device())?)
            } else {
                None
            };
            Ok((dx, dw))
        })
    }
}

/// Transposed convolution without bias: the input gradient of [`conv2d`] with the same weights.
///
/// # Shapes
/// - `x`: `[B, H, W, Ci]`, `w`: `[KH, KW, Co, Ci]`
/// - returns `[B, (H - 1) stride + KH - 2 pad, (W - 1) stride + KW - 2 pad, Co]`
pub fn conv_transpose2d(x: &Tensor, w: &Tensor, stride: usize, pad: usize) -> Result<Tensor> {
    if use_kernels(x) {
        return x.contiguous()?.apply_op2(&w.contiguous()?, ConvTranspose2d { stride, pad });
    }
    ConvTranspose2d { stride, pad }.geometry(x.shape(), w.shape())?;
    let w = w.permute((3, 2, 0, 1))?.contiguous()?;
    to_nhwc(&to_nchw(x)?.conv_transpose2d(&w, pad, 0, stride, 1)?)
}
