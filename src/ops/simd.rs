//! The instruction set that the kernels run on: chosen once, by what the processor has.
//!
//! [`engine::choose`] forces a path, for tests; `amx` and `avx512bf16` round the operands of all products of
//! convolutions to bf16, as [`Precision::Bf16`] does with those of a training, and name the instructions for it. This is for the
//! products of [`super::tile`]; loops over single values are left to the compiler, which makes a version for each instruction set
//! that gives the same bits.

#[cfg(target_arch = "x86_64")]
use super::bf16::Bf16;
use super::{Precision, engine};
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
    *PATH.get_or_init(|| Path::choose(engine::forced()))
}

/// Every name that a path may have.
pub const NAMES: [&str; 5] = ["avx512", "avx2", "portable", "amx", "avx512bf16"];

/// Names of the paths that this processor has.
pub fn available() -> Vec<&'static str> {
    let mut names = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        names.extend(V4::try_new().map(|_| "avx512"));
        names.extend(V3::try_new().map(|_| "avx2"));
    }
    names.push("portable");
    names.extend(bf16_paths());
    names
}

/// True if the processor has products of bf16 that this process may use: what [`Precision::Bf16`] needs.
pub fn has_bf16() -> bool {
    !bf16_paths().is_empty()
}

/// Names of these products, as [`engine::choose`] takes them.
pub fn bf16_paths() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    return BF16_PRODUCTS.into_iter().filter_map(|(name, get)| get().map(|_| name)).collect();
    #[cfg(not(target_arch = "x86_64"))]
    Vec::new()
}

/// The name of an instruction, and what asks for it.
#[cfg(target_arch = "x86_64")]
type Named = (&'static str, fn() -> Option<Bf16>);

#[cfg(target_arch = "x86_64")]
const BF16_PRODUCTS: [Named; 2] = [("amx", Bf16::tiles), ("avx512bf16", Bf16::dots)];

/// What was asked for whatever the precision, with its name.
#[cfg(target_arch = "x86_64")]
fn forced() -> Option<(&'static str, Bf16)> {
    static FORCED: OnceLock<Option<(&str, Bf16)>> = OnceLock::new();
    *FORCED.get_or_init(|| {
        let wanted = engine::forced()?;
        let (name, get) = BF16_PRODUCTS.into_iter().find(|(name, _)| *name == wanted)?;
        Some((name, get()?))
    })
}

/// What multiplies in `precision`, if that is bf16.
#[cfg(target_arch = "x86_64")]
pub(super) fn bf16(precision: Precision) -> Option<Bf16> {
    let forced = forced().map(|(_, by)| by);
    if precision == Precision::Bf16 { forced.or_else(Bf16::get) } else { forced }
}

/// Name of the path in use: `amx`, `avx512bf16`, `avx512`, `avx2` or `portable`.
pub fn name() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    if let Some((name, _)) = forced() {
        return name;
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
