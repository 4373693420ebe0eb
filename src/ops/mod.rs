//! Fast CPU kernels on candle tensors (convolution, batch normalisation, pooling, Adam) and a tape that differentiates
//! them.
//!
//! Every image tensor in this crate is channels-last, `[B, H, W, C]`: a patch then is a few straight runs of values, and a
//! normalisation runs over contiguous channels. On a CPU the functions here
//! run our kernels; on any other device, or where [`engine::choose`] says so, the same functions compose candle's own
//! operations, which is also what the kernels are tested against.
//!
//! Results do not depend on the number of threads: work is cut into fixed pieces and sums are taken in a fixed order.
//! The vector instructions come through `pulp`; `unsafe` is only in [`buffer`] and where it is used, to leave memory
//! uncleared that is about to be written, and in `bf16`, for the instructions that multiply it.

pub mod adam;
#[cfg(target_arch = "x86_64")]
mod bf16;
pub mod bias;
mod buffer;
pub mod conv;
pub mod depthwise;
mod direct;
pub mod engine;
pub mod norm;
pub mod pool;
pub mod prelu;
pub mod rows;
pub mod sgd;
pub mod simd;
pub mod tape;
mod tile;
pub mod upsample;

use serde::{Deserialize, Serialize};

use candle_core::{CpuStorage, Device, Layout, Result, Storage, Tensor};

/// Version of the kernels: a change of what the same operands give must change it.
pub const VERSION: u32 = 1;

/// Name of the kernels that compute on `device`: those of [`simd::name`], or `cuda`.
pub fn kernels(device: &Device) -> &'static str {
    if device.is_cpu() { simd::name() } else { "cuda" }
}

/// How the operands of products are held; sums and everything else are f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// As they are.
    #[default]
    F32,
    /// Rounded to bf16.
    Bf16,
}

impl Precision {
    /// Refuses what `device` cannot do.
    ///
    /// # Errors
    /// `Config`: the device or the processor lacks it.
    pub fn check(self, device: &Device) -> crate::error::Result<()> {
        if self == Self::Bf16 && !device.is_cpu() {
            return Err(crate::error::Error::Config("precision bf16 is for the CPU; use f32 on this device".into()));
        }
        if self == Self::Bf16 && !simd::has_bf16() {
            return Err(crate::error::Error::Config(
                "precision bf16 needs Intel AMX or AVX512-BF16, which this processor or system lacks; use f32".into(),
            ));
        }
        Ok(())
    }
}

pub use bias::bias_act;
pub use conv::{conv_transpose2d, conv2d};
pub use depthwise::depthwise_conv2d;
pub use direct::dot_products;
pub use norm::{Activation, BatchStats, batch_norm_act, channel_affine_act};
pub use pool::{global_mean_pool, max_pool2d};
pub use prelu::prelu;
pub use tape::{Gradients, Tape, Value, apply, differentiate};
pub use upsample::upsample_conv2d;

/// True where our kernels serve `t`; false where candle's own operations do.
fn use_kernels(t: &Tensor) -> bool {
    !engine::reference() && t.device().is_cpu() && t.dtype() == candle_core::DType::F32
}

/// The contiguous f32 values of a CPU storage under `layout`.
fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let data = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&data[start..end]),
        None => candle_core::bail!("operation needs contiguous tensors, got {layout:?}"),
    }
}

/// Calls `f` with the values of a CPU tensor of f32, made contiguous if needed.
fn with_values<T>(t: &Tensor, f: impl FnOnce(&[f32]) -> Result<T>) -> Result<T> {
    let t = t.contiguous()?;
    let (storage, layout) = t.storage_and_layout();
    match &*storage {
        Storage::Cpu(cpu) => f(slice(cpu, layout)?),
        _ => candle_core::bail!("expected a CPU tensor"),
    }
}

/// `[B, H, W, C]` to candle's `[B, C, H, W]`.
fn to_nchw(x: &Tensor) -> Result<Tensor> {
    x.permute((0, 3, 1, 2))?.contiguous()
}

/// `[B, C, H, W]` to ours.
fn to_nhwc(x: &Tensor) -> Result<Tensor> {
    x.permute((0, 2, 3, 1))?.contiguous()
}
