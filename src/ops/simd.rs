//! The instruction set that the kernels run on: chosen once, by what the processor has.
//!
//! `AUGMENT_SIMD=avx512|avx2|portable` forces a path, for tests; `amx` gives all products of convolutions to the
//! matrix unit, as [`Precision::Bf16`] does those of a training. This is for the products of [`super::tile`]; loops over
//! single values are left to the compiler, which makes a version for each instruction set that gives the same bits.

use super::Precision;
use pulp::{Scalar, WithSimd};
#[cfg(target_arch = "x86_64")]
use pulp::{x86::V3, x86::V4};
use std::sync::OnceLock;

#[derive(Clone, Copy)]
enum Path {
    #[cfg(target_arch = "x86_64")]
    Avx512(V4),
    #[cfg(target_arch = "x86_64")]
    Avx2(V3),
    Portable,
}

impl Path {
    #[cfg(target_arch = "x86_64")]
    fn choose(forced: Option<&str>) -> Self {
        let avx512 = || V4::try_new().map(Self::Avx512);
        let avx2 = || V3::try_new().map(Self::Avx2);
        match forced {
            Some("portable") => Some(Self::Portable),
            Some("avx2") => avx2(),
            _ => avx512().or_else(avx2),
        }
        .unwrap_or(Self::Portable)
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn choose(_: Option<&str>) -> Self {
        Self::Portable
    }
}

fn path() -> Path {
    static PATH: OnceLock<Path> = OnceLock::new();
    *PATH.get_or_init(|| Path::choose(std::env::var("AUGMENT_SIMD").ok().as_deref()))
}

/// True if the processor has a matrix unit that this process may use: what [`Precision::Bf16`] needs.
pub fn has_matrix_unit() -> bool {
    #[cfg(target_arch = "x86_64")]
    return super::amx::Amx::get().is_some();
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// True if `AUGMENT_SIMD` asks for the matrix unit whatever the precision.
#[cfg(target_arch = "x86_64")]
fn forced_unit() -> bool {
    static FORCED: OnceLock<bool> = OnceLock::new();
    *FORCED.get_or_init(|| std::env::var("AUGMENT_SIMD").is_ok_and(|v| v == "amx"))
}

/// The matrix unit, if products of `precision` run on it.
#[cfg(target_arch = "x86_64")]
pub(super) fn matrix_unit(precision: Precision) -> Option<super::amx::Amx> {
    (precision == Precision::Bf16 || forced_unit()).then(super::amx::Amx::get).flatten()
}

/// Name of the path in use: `amx`, `avx512`, `avx2` or `portable`.
pub fn name() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    if forced_unit() && has_matrix_unit() {
        return "amx";
    }
    match path() {
        #[cfg(target_arch = "x86_64")]
        Path::Avx512(_) => "avx512",
        #[cfg(target_arch = "x86_64")]
        Path::Avx2(_) => "avx2",
        Path::Portable => "portable",
    }
}

/// Runs the kernel `op` compiled for the instruction set in use.
pub fn dispatch<Op: WithSimd>(op: Op) -> Op::Output {
    use pulp::Simd;
    match path() {
        #[cfg(target_arch = "x86_64")]
        Path::Avx512(simd) => Simd::vectorize(simd, op),
        #[cfg(target_arch = "x86_64")]
        Path::Avx2(simd) => Simd::vectorize(simd, op),
        Path::Portable => Simd::vectorize(Scalar::new(), op),
    }
}
