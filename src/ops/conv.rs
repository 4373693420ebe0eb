//! Two-dimensional convolution and its transpose on `[B, H, W, C]` tensors, with their gradients.
//!
//! Three primitives do all: `forward`, `input_gradient` and `weight_gradient` of one convolution ([`super::direct`]). A
//! transposed convolution runs forward as an input gradient, and its input gradient is a forward convolution.

use super::direct::Geometry;
use super::{slice, to_nchw, to_nhwc, use_kernels, weights_frozen, with_values};
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};

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
