//! Bias fused with the activation that follows, forward and backward.

use super::norm::{Activation, affine, total};
use super::{slice, use_kernels, weights_frozen, with_values};
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

struct BiasAct {
    act: Activation,
}

impl CustomOp2 for BiasAct {
    fn name(&self) -> &'static str {
        "bias-act"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, bias: &CpuStorage, bl: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, bias) = (slice(x, xl)?, slice(bias, bl)?);
        let image = x.len() / xl.dims()[0];
        let ones = vec![1.0; bias.len()];
        let mut y = vec![0.0; x.len()];
        y.par_chunks_mut(image).zip(x.par_chunks(image)).for_each(|(y, x)| {
            affine(x, &ones, bias, self.act.slope().unwrap_or(1.0), y);
            if self.act == Activation::Tanh {
                y.iter_mut().for_each(|v| *v = v.tanh());
            }
        });
        Ok((CpuStorage::F32(y), xl.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, bias: &Tensor, y: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let c = bias.elem_count();
        let image = x.elem_count() / x.dim(0)?;
        let (dx, sums) = with_values(y, |y| {
            with_values(dy, |dy| {
                let mut dx = vec![0.0; y.len()];
                let sums: Vec<Vec<f32>> = dx
                    .par_chunks_mut(image)
                    .zip(y.par_chunks(image).zip(dy.par_chunks(image)))
                    .map(|(dx, (y, dy))| {
                        match self.act.slope() {
                            Some(slope) => dx
                                .iter_mut()
                                .zip(y.iter().zip(dy))
                                .for_each(|(d, (y, g))| *d = if *y > 0.0 { *g } else { g * slope }),
                            None => dx.iter_mut().zip(y.iter().zip(dy)).for_each(|(d, (y, g))| *d = g * (1.0 - y * y)),
                        }
                        let mut sum = vec![0.0; c];
                        for px in dx.chunks_exact(c) {
                            sum.iter_mut().zip(px).for_each(|(s, d)| *s += d);
                        }
                        sum
                    })
                    .collect();
                Ok((dx, sums))
            })
        })?;
        let dx = Some(Tensor::from_vec(dx, x.shape(), x.device())?);
        if weights_frozen() {
            return Ok((dx, None));
        }
        Ok((dx, Some(Tensor::from_vec(total(&sums, c), bias.shape(), x.device())?)))
    }
}

/// `act(x + bias)` per channel.
///
/// # Shapes
/// - `x`: `[B, .., C]`, `bias`: `[C]`
pub fn bias_act(x: &Tensor, bias: &Tensor, act: Activation) -> Result<Tensor> {
    if use_kernels(x) {
        return x.contiguous()?.apply_op2(&bias.contiguous()?, BiasAct { act });
    }
    act.reference(&x.broadcast_add(bias)?)
}
