//! The instruction set that the kernels run on: chosen once, by what the processor has.
//!
//! `AUGMENT_SIMD=avx512|avx2|portable` forces a path, for tests. This is for the products of [`super::tile`]; loops over
//! single values are left to the compiler, which makes a version for each instruction set that gives the same bits.

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

/// Name of the path in use: `avx512`, `avx2` or `portable`.
pub fn name() -> &'static str {
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
