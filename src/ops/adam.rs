//! Adam (Kingma and Ba 2015) as in-place updates, with its state in tensors that can be saved.

use super::{slice, use_kernels};
use candle_core::{CpuStorage, InplaceOp2, InplaceOp3, Layout, Result, Tensor, Var};
use multiversion::multiversion;
use rayon::prelude::*;

const CHUNK: usize = 1 << 16;

/// `dst = decay * dst + (1 - decay) * src^power`
struct Average {
    decay: f32,
    squared: bool,
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2+fma"))]
fn average(dst: &mut [f32], src: &[f32], decay: f32, squared: bool) {
    for (d, s) in dst.iter_mut().zip(src) {
        let v = if squared { s * s } else { *s };
        *d = decay * *d + (1.0 - decay) * v;
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2+fma"))]
fn descend(param: &mut [f32], m: &[f32], v: &[f32], step_size: f32, inv_bias2: f32, eps: f32) {
    for ((p, m), v) in param.iter_mut().zip(m).zip(v) {
        *p -= step_size * m / ((v * inv_bias2).sqrt() + eps);
    }
}

fn values_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    let CpuStorage::F32(data) = storage else { candle_core::bail!("expected f32") };
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&mut data[start..end]),
        None => candle_core::bail!("in-place update needs a contiguous tensor"),
    }
}

impl InplaceOp2 for Average {
    fn name(&self) -> &'static str {
        "moving-average"
    }

    fn cpu_fwd(&self, d: &mut CpuStorage, dl: &Layout, s: &CpuStorage, sl: &Layout) -> Result<()> {
        let (d, s) = (values_mut(d, dl)?, slice(s, sl)?);
        d.par_chunks_mut(CHUNK).zip(s.par_chunks(CHUNK)).for_each(|(d, s)| average(d, s, self.decay, self.squared));
        Ok(())
    }
}

struct Descend {
    step_size: f32,
    inv_bias2: f32,
    eps: f32,
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
            .for_each(|(p, (m, v))| descend(p, m, v, self.step_size, self.inv_bias2, self.eps));
        Ok(())
    }
}

/// `target = decay * target + (1 - decay) * source`, in place.
pub fn moving_average(target: &Var, source: &Tensor, decay: f64) -> Result<()> {
    if use_kernels(source) {
        let op = Average { decay: decay as f32, squared: false };
        return target.as_tensor().inplace_op2(&source.detach().contiguous()?, &op);
    }
    target.set(&((target.as_tensor() * decay)? + (source * (1.0 - decay))?)?.detach())
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
    pub fn zeros_like(param: &Tensor) -> Result<Self> {
        let zeros = || Var::zeros(param.shape(), param.dtype(), param.device());
        Ok(Self { first: zeros()?, second: zeros()? })
    }

    /// Updates the moments with `grad` and moves `param`; `t` counts this step from 1.
    pub fn step(&self, param: &Var, grad: &Tensor, t: u64, p: &AdamParams) -> Result<()> {
        let bias1 = 1.0 - p.beta1.powf(t as f64);
        let bias2 = 1.0 - p.beta2.powf(t as f64);
        let (m, v) = (self.first.as_tensor(), self.second.as_tensor());
        if use_kernels(grad) {
            let grad = grad.contiguous()?;
            m.inplace_op2(&grad, &Average { decay: p.beta1 as f32, squared: false })?;
            v.inplace_op2(&grad, &Average { decay: p.beta2 as f32, squared: true })?;
            let op = Descend {
                step_size: (p.learning_rate / bias1) as f32,
                inv_bias2: (1.0 / bias2) as f32,
                eps: p.eps as f32,
            };
            return param.as_tensor().inplace_op3(m, v, &op);
        }
        self.first.set(&((m * p.beta1)? + (grad * (1.0 - p.beta1))?)?)?;
        self.second.set(&((v * p.beta2)? + (grad.sqr()? * (1.0 - p.beta2))?)?)?;
        let step = ((self.first.as_tensor() * (p.learning_rate / bias1))?
            / ((self.second.as_tensor() / bias2)?.sqrt()? + p.eps)?)?;
        param.set(&(param.as_tensor() - step)?.detach())
    }
}
