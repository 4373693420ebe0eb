//! Two-dimensional convolution and its transpose on `[B, H, W, C]` tensors, with their gradients.
//!
//! Three primitives do all: `forward`, `input_gradient` and `weight_gradient` of one convolution ([`super::direct`]). A
//! transposed convolution runs forward as an input gradient, and its input gradient is a forward convolution.

use super::direct::Geometry;
use super::tape::{Value, apply};
use super::{to_nchw, to_nhwc, use_kernels, with_values};
use candle_core::{Result, Shape, Tensor};

/// Checks shapes and derives the geometry of a convolution of `x` by `w`.
fn geometry(value: &Value, w: &Shape, stride: usize, pad: usize) -> Result<Geometry> {
    let (x, precision) = (value.shape(), value.precision());
    let (b, h, w_, ci) = x.dims4()?;
    let (kh, kw, wi, co) = w.dims4()?;
    let empty = x.elem_count() == 0 || w.elem_count() == 0;
    if empty || wi != ci || h + 2 * pad < kh || w_ + 2 * pad < kw || stride == 0 {
        candle_core::bail!("conv2d: image {x:?} does not fit weights {w:?} (stride {stride}, padding {pad})");
    }
    let (oh, ow) = ((h + 2 * pad - kh) / stride + 1, (w_ + 2 * pad - kw) / stride + 1);
    Ok(Geometry { b, h, w: w_, ci, kh, kw, co, stride, pad, oh, ow, precision })
}

/// Records a convolution-like operation on `x` with weights `w`: `forward`, and the gradients of both from that of the
/// result.
pub(super) fn record(
    (x, w): (&Value, &Value),
    shape: impl Into<Shape>,
    forward: impl Fn(&[f32], &[f32]) -> Vec<f32>,
    input_gradient: impl Fn(&[f32], &[f32]) -> Vec<f32> + 'static,
    weight_gradient: impl Fn(&[f32], &[f32]) -> Vec<f32> + 'static,
) -> Result<Value> {
    let y = with_values(x, |x| with_values(w, |w| Ok(forward(x, w))))?;
    let y = Tensor::from_vec(y, shape, x.device())?;
    let (xt, wt) = (x.tensor().clone(), w.tensor().clone());
    Ok(Value::record(&[x, w], y, move |dy, wanted| {
        with_values(dy, |dy| {
            let dx = wanted[0].then(|| {
                let dx = with_values(&wt, |w| Ok(input_gradient(dy, w)))?;
                Tensor::from_vec(dx, xt.shape(), xt.device())
            });
            let dw = wanted[1].then(|| {
                let dw = with_values(&xt, |x| Ok(weight_gradient(x, dy)))?;
                Tensor::from_vec(dw, wt.shape(), xt.device())
            });
            Ok(vec![dx.transpose()?, dw.transpose()?])
        })
    }))
}

/// Convolution without bias.
///
/// # Shapes
/// - `x`: `[B, H, W, Ci]`, `w`: `[KH, KW, Ci, Co]`
/// - returns `[B, (H + 2 pad - KH) / stride + 1, (W + 2 pad - KW) / stride + 1, Co]`
///
/// # Errors
/// Shapes that do not fit together, or too little memory.
pub fn conv2d(x: &Value, w: &Value, stride: usize, pad: usize) -> Result<Value> {
    let g = geometry(x, w.shape(), stride, pad)?;
    if !use_kernels(x) {
        return apply(&[x, w], |t| {
            let w = t[1].permute((3, 2, 0, 1))?.contiguous()?;
            to_nhwc(&to_nchw(&t[0])?.conv2d(&w, pad, stride, 1, 1)?)
        });
    }
    record(
        (x, w),
        (g.b, g.oh, g.ow, g.co),
        |x, w| g.forward(x, w),
        move |dy, w| g.input_gradient(dy, w),
        move |x, dy| g.weight_gradient(x, dy),
    )
}

/// The convolution whose input gradient a transposed convolution is; its output is our input `x`.
fn transposed_geometry(value: &Value, w: &Shape, stride: usize, pad: usize) -> Result<Geometry> {
    let (x, precision) = (value.shape(), value.precision());
    let (b, oh, ow, co) = x.dims4()?;
    let (kh, kw, ci, wo) = w.dims4()?;
    let side = |o: usize, k: usize| ((o - 1) * stride + k).checked_sub(2 * pad);
    if stride == 0 || x.elem_count() == 0 || w.elem_count() == 0 {
        candle_core::bail!("conv_transpose2d: stride {stride}, image {x:?}, weights {w:?}");
    }
    match (side(oh, kh), side(ow, kw)) {
        (Some(h), Some(w)) if wo == co && h > 0 && w > 0 => {
            Ok(Geometry { b, h, w, ci, kh, kw, co, stride, pad, oh, ow, precision })
        }
        _ => candle_core::bail!("conv_transpose2d: image {x:?} does not fit weights {w:?}"),
    }
}

/// Transposed convolution without bias: the input gradient of [`conv2d`] with the same weights.
///
/// # Shapes
/// - `x`: `[B, H, W, Ci]`, `w`: `[KH, KW, Co, Ci]`
/// - returns `[B, (H - 1) stride + KH - 2 pad, (W - 1) stride + KW - 2 pad, Co]`
///
/// # Errors
/// Shapes that do not fit together, or too little memory.
pub fn conv_transpose2d(x: &Value, w: &Value, stride: usize, pad: usize) -> Result<Value> {
    let g = transposed_geometry(x, w.shape(), stride, pad)?;
    if !use_kernels(x) {
        return apply(&[x, w], |t| {
            let w = t[1].permute((3, 2, 0, 1))?.contiguous()?;
            to_nhwc(&to_nchw(&t[0])?.conv_transpose2d(&w, pad, 0, stride, 1)?)
        });
    }
    record(
        (x, w),
        (g.b, g.h, g.w, g.ci),
        |x, w| g.input_gradient(x, w),
        move |dy, w| g.forward(dy, w),
        move |x, dy| g.weight_gradient(dy, x),
    )
}
