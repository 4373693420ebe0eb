//! What the kernels of this process run on. Chosen once, before the first operation, by whoever runs the process; without a choice, the
//! best that the processor has.

use super::simd;
use crate::error::{Error, Result};
use std::num::NonZeroUsize;
use std::sync::OnceLock;

/// A choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Choice {
    simd: Option<&'static str>,
    reference: bool,
}

static CHOICE: OnceLock<Choice> = OnceLock::new();

/// Chooses the instruction set `simd` (`avx512`, `avx2`, `portable`, `amx`, `avx512bf16`), and whether candle's own operations serve
/// instead of our kernels (`ops` is `reference` or `kernels`).
///
/// # Errors
/// `Usage` for another name, an instruction set that the processor lacks, or a choice after another one.
pub fn choose(simd: Option<&str>, ops: Option<&str>) -> Result<()> {
    let have = simd::available();
    let simd = match simd {
        None => None,
        Some(name) => Some(have.iter().copied().find(|n| *n == name).ok_or_else(|| {
            let why = if simd::NAMES.contains(&name) { "this processor does not have it" } else { "no such name" };
            Error::Usage(format!("AUGMENT_SIMD={name}: {why}; there are: {}", have.join(", ")))
        })?),
    };
    let reference = match ops {
        None | Some("kernels") => false,
        Some("reference") => true,
        Some(name) => return Err(Error::Usage(format!("AUGMENT_OPS={name}: expected kernels or reference"))),
    };
    let choice = Choice { simd, reference };
    if *CHOICE.get_or_init(|| choice) == choice {
        Ok(())
    } else {
        Err(Error::Usage("the kernels of this process have been chosen already".into()))
    }
}

fn choice() -> Choice {
    *CHOICE.get_or_init(Choice::default)
}

/// The instruction set that was asked for.
pub(super) fn forced() -> Option<&'static str> {
    choice().simd
}

/// True if candle's own operations serve.
pub(super) fn reference() -> bool {
    choice().reference
}

/// Lets `n` threads work. Results do not depend on it.
pub fn set_threads(n: NonZeroUsize) {
    // Fails only if the pool exists already, and then it has been used.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(n.get()).build_global();
}
