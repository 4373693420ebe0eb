//! Adam (Kingma and Ba 2015) as in-place updates, with its state in tensors that can be saved.

use super::{slice, use_kernels};
use candle_core::{CpuStorage, InplaceOp2, InplaceOp3, Layout, Result, Tensor, Var};
use multiversion::multiversion;
use rayon::prelude::*;

const CHUNK: usize = 1 << 16;

/// `dst = keep * dst + add * src^power`
struct Combine {
    keep: f32,
    add: f32,
    squared: bool,
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2+fma"))]
fn combine_values(dst: &mut [f32], src: &[f32], keep: f32, add: f32, squared: bool) {
    for (d, s) in dst.iter_mut().zip(src) {
        let v = if squared { s * s } else { *s };
        *d = keep * *d + add * v;
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2+fma"))]
fn descend(param: &mut [f32], m: &[f32], v: &[f32], step: &Descend) {
    for ((p, m), v) in param.iter_mut().zip(m).zip(v) {
        *p = step.keep * *p - step.step_size * m / ((v * step.inv_bias2).sqrt() + step.eps);
    }
}

fn values_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    let CpuStorage::F32(data) = storage else { candle_core::bail!("expected f32") };
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&mut data[start..end]),
        None => candle_core::bail!("in-place update needs a contiguous tensor"),
    }
}

impl InplaceOp2 for Combine {
    fn name(&self) -> &'static str {
        "combine"
    }

    fn cpu_fwd(&self, d: &mut CpuStorage, dl: &Layout, s: &CpuStorage, sl: &Layout) -> Result<()> {
        let (d, s) = (values_mut(d, dl)?, slice(s, sl)?);
        d.par_chunks_mut(CHUNK)
            .zip(s.par_chunks(CHUNK))
            .for_each(|(d, s)| combine_values(d, s, self.keep, self.add, self.squared));
        Ok(())
    }
}

struct Descend {
    keep: f32,
    step_size: f32,
    inv_bias2: f32,
    eps: f32,
}

impl Descend {
    /// Step `t`, counted from 1.
    fn at(t: u64, p: &AdamParams) -> Self {
        let bias1 = 1.0 - p.beta1.powf(t as f64);
        let bias2 = 1.0 - p.beta2.powf(t as f64);
        Self {
            keep: (1.0 - p.learning_rate * p.weight_decay) as f32,
            step_size: (p.learning_rate / bias1) as f32,
            inv_bias2: (1.0 / bias2) as f32,
            eps: p.eps as f32,
        }
    }
}

/// Step `t` of some values and their moments.
pub(super) fn step_values(param: &mut [f32], m: &mut [f32], v: &mut [f32], grad: &[f32], p: &AdamParams, t: u64) {
    combine_values(m, grad, p.beta1 as f32, 1.0 - p.beta1 as f32, false);
    combine_values(v, grad, p.beta2 as f32, 1.0 - p.beta2 as f32, true);
    descend(param, m, v, &Descend::at(t, p));
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2+fma"))]
fn coast_values(param: &mut [f32], m: &mut [f32], v: &mut [f32], (beta1, beta2): (f32, f32), step: &Descend) {
    for ((p, m), v) in param.iter_mut().zip(m).zip(v) {
        (*m, *v) = (beta1 * *m, beta2 * *v);
        *p = step.keep * *p - step.step_size * *m / ((*v * step.inv_bias2).sqrt() + step.eps);
    }
}

/// The same without a gradient.
pub(super) fn coast(param: &mut [f32], m: &mut [f32], v: &mut [f32], p: &AdamParams, t: u64) {
    coast_values(param, m, v, (p.beta1 as f32, p.beta2 as f32), &Descend::at(t, p));
}

/// `target = decay * target + (1 - decay) * source`
pub(super) fn average_values(target: &mut [f32], source: &[f32], decay: f64) {
    combine_values(target, source, decay as f32, (1.0 - decay) as f32, false);
}

impl InplaceOp3 for Descend {
    fn name(&self) -> &'static str {
        "adam-step"
    }

    fn cpu_fwd(
        &self,
        p: &mut CpuStorage,
        pl: &Layout,
        m: &CpuStorage,
        ml: &Layout,
        v: &CpuStorage,
        vl: &Layout,
    ) -> Result<()> {
        let (p, m, v) = (values_mut(p, pl)?, slice(m, ml)?, slice(v, vl)?);
        p.par_chunks_mut(CHUNK)
            .zip(m.par_chunks(CHUNK).zip(v.par_chunks(CHUNK)))
            .for_each(|(p, (m, v))| descend(p, m, v, self));
        Ok(())
    }
}

/// `target = keep * target + add * source`, in place.
pub(super) fn combine(target: &Var, keep: f64, source: &Tensor, add: f64) -> Result<()> {
    if use_kernels(source) {
        let op = Combine { keep: keep as f32, add: add as f32, squared: false };
        return target.as_tensor().inplace_op2(&source.detach().contiguous()?, &op);
    }
    target.set(&((target.as_tensor() * keep)? + (source * add)?)?.detach())
}

/// `target = decay * target + (1 - decay) * source`, in place.
///
/// # Errors
/// Shapes that do not fit together, or too little memory.
pub fn moving_average(target: &Var, source: &Tensor, decay: f64) -> Result<()> {
    combine(target, decay, source, 1.0 - decay)
}

/// Constants of Adam.
#[derive(Clone, Copy, Debug)]
pub struct AdamParams {
    /// Step size.
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay (Loshchilov and Hutter 2019): the parameter shrinks by this share of the step size.
    pub weight_decay: f64,
}

/// First and second moments of one parameter's gradient.
pub struct Moments {
    /// Same shape as the parameter.
    pub first: Var,
    /// Same shape as the parameter.
    pub second: Var,
}

impl Moments {
    /// Zero moments for `param`.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn zeros_like(param: &Tensor) -> Result<Self> {
        let zeros = || Var::zeros(param.shape(), param.dtype(), param.device());
        Ok(Self { first: zeros()?, second: zeros()? })
    }

    /// Updates the moments with `grad` and moves `param`; `t` counts this step from 1.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn step(&self, param: &Var, grad: &Tensor, t: u64, p: &AdamParams) -> Result<()> {
        let (m, v) = (self.first.as_tensor(), self.second.as_tensor());
        if use_kernels(grad) {
            let grad = grad.contiguous()?;
            let average = |decay: f64, squared| Combine { keep: decay as f32, add: 1.0 - decay as f32, squared };
            m.inplace_op2(&grad, &average(p.beta1, false))?;
            v.inplace_op2(&grad, &average(p.beta2, true))?;
            return param.as_tensor().inplace_op3(m, v, &Descend::at(t, p));
        }
        let bias1 = 1.0 - p.beta1.powf(t as f64);
        let bias2 = 1.0 - p.beta2.powf(t as f64);
        self.first.set(&((m * p.beta1)? + (grad * (1.0 - p.beta1))?)?)?;
        self.second.set(&((v * p.beta2)? + (grad.sqr()? * (1.0 - p.beta2))?)?)?;
        let step = ((self.first.as_tensor() * (p.learning_rate / bias1))?
            / ((self.second.as_tensor() / bias2)?.sqrt()? + p.eps)?)?;
        param.set(&((param.as_tensor() * (1.0 - p.learning_rate * p.weight_decay))? - step)?.detach())
    }
}
